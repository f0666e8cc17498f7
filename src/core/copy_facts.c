/* The history of facts of a tenant: pages of states, in the order of names, each put where it is not there yet. That is the same
 * however often it is done, so the stage keeps no place: a copy that goes on begins it anew. */
#include <stdlib.h>

#include "core/copy_impl.h"

#include "core/fact_store.h"

struct facts {
	struct copy *c;
	struct fact_state *v; /* COPY_PAGE of them; texts in c->page */
	size_t n, bytes;
	bool full; /* there may be more */
	enum err err;
};

static bool on_state(void *ctx, const struct fact_state *s)
{
	struct facts *x = ctx;
	struct arena *a = &x->c->page;
	struct fact_state *f = &x->v[x->n];

	*f = *s;
	f->ns = arena_str(a, s->ns);
	f->key = arena_str(a, s->key);
	f->value = arena_str(a, s->value);
	f->by = arena_str(a, s->by);
	f->terms = arena_str(a, s->terms);
	if (!f->ns.p || !f->key.p || !f->value.p || !f->by.p || !f->terms.p) {
		x->err = err_set(E_LIMIT, "out of memory while copying the history");
		return false;
	}
	x->n++;
	x->bytes += s->value.n + s->terms.n + s->key.n + s->ns.n;
	x->full = x->n == COPY_PAGE || x->bytes >= COPY_PAGE_BYTES;
	return !x->full;
}

/* Where the target refuses, halves until the culprits stand alone. */
static enum err keep_range(struct copy *c, const struct fact_state *v, size_t n)
{
	size_t stored;
	enum err e = c->to->ops->facts->keep(c->to, &c->who, v, n, &stored);

	if (e == OK)
		return OK;
	if (!copy_is_local(e))
		return err_wrap(e, "writing history to the target");
	if (n == 1)
		return copy_fail(c, COPY_ITEM, v->ns, v->key);
	TRY(keep_range(c, v, n / 2));
	return keep_range(c, v + n / 2, n - n / 2);
}

enum err copy_facts(struct copy *c)
{
	struct facts x = {.c = c, .v = calloc(COPY_PAGE, sizeof *x.v), .full = true};
	char ns[NS_MAX_BYTES], key[KEY_MAX_BYTES];
	size_t ns_n = 0, key_n = 0;
	int64_t us = 0;
	enum err e = x.v ? OK : err_set(E_LIMIT, "out of memory");

	while (e == OK && x.full) {
		x.n = x.bytes = 0;
		x.full = false;
		arena_clear(&c->page);
		CHECK(c->from->ops->facts->walk(c->from, &c->who, STR(""), str_of(ns, ns_n), str_of(key, key_n), us, on_state, &x));
		CHECK(x.err);
		if (x.n == 0)
			break;
		CHECK(keep_range(c, x.v, x.n));
		const struct fact_state *last = &x.v[x.n - 1];

		if (last->ns.n > sizeof ns || last->key.n > sizeof key) {
			e = err_set(E_LIMIT, "a name in the history is longer than names may be");
			goto out;
		}
		memcpy(ns, last->ns.p, ns_n = last->ns.n);
		memcpy(key, last->key.p, key_n = last->key.n);
		us = last->recorded_from_us;
		e = copy_pause(c, false);
	}
out:
	free(x.v);
	arena_clear(&c->page);
	return e;
}
