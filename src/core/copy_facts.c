/* The history of facts of a tenant: pages of states, in the order of names, each put where it is not there yet. That is the same
 * however often it is done, so the stage keeps no place: a copy that goes on begins it anew. Then every state of the source must
 * mean the same in the target.
 *
 * What may differ and is only counted: states of the target alone, those that came into the source's history after the copy began,
 * and those that have expired. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "core/copy_impl.h"

#include "core/fact_store.h"

/* A walk over the history of a store, page by page in order of (ns, key, recorded_from). */
struct states {
	struct copy *c;
	struct store *s;      /* NULL: no states */
	struct arena a;	      /* what the page's slices point into */
	struct fact_state *v; /* COPY_PAGE of them */
	size_t n, at, bytes;
	bool end; /* no page after this one */
	enum err err;
	char ns[NS_MAX_BYTES], key[KEY_MAX_BYTES]; /* the last state of the page, after which the next one begins */
	size_t ns_n, key_n;
	int64_t us;
};

static enum err begin(struct states *x, struct copy *c, struct store *s)
{
	*x = (struct states){.c = c, .s = s, .end = s == NULL, .v = calloc(COPY_PAGE, sizeof *x->v)};
	arena_init(&x->a, (size_t)96 << 20); /* a page, and one state more of the largest size */
	return x->v ? OK : err_set(E_LIMIT, "out of memory");
}

static void end(struct states *x)
{
	free(x->v);
	arena_release(&x->a);
}

static bool on_state(void *ctx, const struct fact_state *s)
{
	struct states *x = ctx;
	struct fact_state *f = &x->v[x->n];

	if (s->ns.n > sizeof x->ns || s->key.n > sizeof x->key) {
		x->err = err_set(E_LIMIT, "a name in the history is longer than names may be");
		return false;
	}
	*f = *s;
	f->ns = arena_str(&x->a, s->ns);
	f->key = arena_str(&x->a, s->key);
	f->value = arena_str(&x->a, s->value);
	f->by = arena_str(&x->a, s->by);
	f->terms = arena_str(&x->a, s->terms);
	if (!f->ns.p || !f->key.p || !f->value.p || !f->by.p || !f->terms.p) {
		x->err = err_set(E_LIMIT, "out of memory while copying the history");
		return false;
	}
	x->n++;
	x->bytes += s->value.n + s->terms.n + s->key.n + s->ns.n;
	x->end = x->n < COPY_PAGE && x->bytes < COPY_PAGE_BYTES; /* unless another one comes */
	return x->end;
}

/* n is 0 when there are no more. */
static enum err next_page(struct states *x)
{
	x->n = x->at = x->bytes = 0;
	arena_clear(&x->a);
	if (x->end)
		return OK;
	x->end = true;
	TRY(x->s->ops->facts->walk(x->s, &x->c->who, STR(""), str_of(x->ns, x->ns_n), str_of(x->key, x->key_n), x->us, on_state,
				   x));
	TRY(x->err);
	if (x->n == 0)
		return OK;
	const struct fact_state *last = &x->v[x->n - 1];

	memcpy(x->ns, last->ns.p, x->ns_n = last->ns.n);
	memcpy(x->key, last->key.p, x->key_n = last->key.n);
	x->us = last->recorded_from_us;
	return OK;
}

static enum err peek(struct states *x, const struct fact_state **out)
{
	if (x->at == x->n)
		TRY(next_page(x));
	*out = x->at < x->n ? &x->v[x->at] : NULL;
	return OK;
}

static int order(const struct fact_state *a, const struct fact_state *b)
{
	int c = str_cmp(a->ns, b->ns);

	c = c ? c : str_cmp(a->key, b->key);
	return c ? c : (a->recorded_from_us > b->recorded_from_us) - (a->recorded_from_us < b->recorded_from_us);
}

/* Moves on to the state of that name, passing those before it (*passed counts them); NULL when there is none. */
static enum err find(struct states *x, const struct fact_state *like, int64_t *passed, const struct fact_state **out)
{
	for (;;) {
		TRY(peek(x, out));
		int c = *out ? order(*out, like) : 1;

		if (c > 0) {
			*out = NULL;
			return OK;
		}
		x->at++;
		if (c == 0)
			return OK;
		++*passed;
	}
}

/* ---------------------------------------------------------------- copying */

/* Where the target refuses, halves until the culprits stand alone. */
static enum err keep_range(struct copy *c, const struct fact_state *v, size_t n)
{
	size_t stored;
	enum err e = c->to->ops->facts->keep(c->to, &c->who, v, n, &stored);

	if (e == OK) {
		c->r->states_copied += (int64_t)stored;
		return OK;
	}
	if (!copy_is_local(e))
		return err_wrap(e, "writing history to the target");
	if (n == 1)
		return copy_fail(c, COPY_STATE, v->ns, v->key);
	TRY(keep_range(c, v, n / 2));
	return keep_range(c, v + n / 2, n - n / 2);
}

/* What would be copied. */
static enum err count_page(struct copy *c, const struct states *from, struct states *to)
{
	const struct fact_state *there;
	int64_t passed = 0;

	for (size_t i = 0; i < from->n; i++) {
		TRY(find(to, &from->v[i], &passed, &there));
		c->r->states_copied += there == NULL;
	}
	return OK;
}

enum err copy_facts(struct copy *c)
{
	struct states from, to;
	enum err e = begin(&from, c, c->from), b = begin(&to, c, c->opt->dry_run ? c->to : NULL);

	e = e == OK ? b : e;
	c->r->states = 0;
	while (e == OK && (e = next_page(&from)) == OK && from.n) {
		c->r->states += (int64_t)from.n;
		CHECK(c->opt->dry_run ? count_page(c, &from, &to) : keep_range(c, from.v, from.n));
		e = copy_pause(c, false);
	}
out:
	end(&from);
	end(&to);
	return e;
}

/* -------------------------------------------------------------- comparing */

static enum err state_sum(struct copy *c, const struct fact_state *s, uint64_t *sum)
{
	struct item it = fact_state_item(s);
	uint64_t item;
	struct buf b;

	arena_clear(&c->work);
	TRY(copy_item_sum(&c->work, &it, &item));
	buf_init(&b, &c->work, (size_t)1 << 20);
	buf_printf(&b, "%llx,%lld,%lld,%lld ", (unsigned long long)item, (long long)s->recorded_to_us, (long long)s->ended_us,
		   (long long)s->expires_us);
	buf_str(&b, s->by);
	*sum = hash64(buf_slice(&b));
	return b.err;
}

static enum err compare(struct copy *c, const struct fact_state *s, const struct fact_state *there)
{
	uint64_t sum, other = 0;

	TRY(state_sum(c, s, &sum));
	if (there)
		TRY(state_sum(c, there, &other));
	if (there && other == sum) {
		copy_both(c, sum, other);
	} else if (copy_has_failed(c, COPY_STATE, s->ns, s->key)) {
		return OK;
	} else if (s->recorded_to_us >= c->at.begun_us || (s->expires_us && s->expires_us <= clock_wall_us())) {
		c->r->changed++;
	} else if (there) {
		copy_both(c, sum, other);
		copy_differs(c, COPY_STATE, s->ns, s->key, "is another one in the target");
	} else {
		c->r->from_count++;
		c->r->from_sum += sum;
		copy_differs(c, COPY_STATE, s->ns, s->key, "is not in the target");
	}
	return OK;
}

enum err copy_compare_facts(struct copy *c)
{
	struct states from, to;
	const struct fact_state *there;
	enum err e = begin(&from, c, c->from), b = begin(&to, c, c->to);

	e = e == OK ? b : e;
	while (e == OK && (e = next_page(&from)) == OK && from.n) {
		for (size_t i = 0; i < from.n; i++) {
			CHECK(find(&to, &from.v[i], &c->r->extra, &there));
			CHECK(compare(c, &from.v[i], there));
		}
		e = copy_pause(c, false);
	}
	for (; e == OK && (e = peek(&to, &there)) == OK && there; to.at++)
		c->r->extra++;
out:
	end(&from);
	end(&to);
	return e;
}
