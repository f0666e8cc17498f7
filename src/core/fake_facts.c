/* The history of facts in memory; see fake_store.c. */
#include <stdlib.h>

#include "core/fake_impl.h"

static bool below(struct str ns, struct str prefix)
{
	return prefix.n == 0 || (str_starts(ns, prefix) && (ns.n == prefix.n || ns.p[prefix.n] == '.'));
}

static int by_name(const void *a, const void *b)
{
	const struct fact_state *x = *(const void *const *)a, *y = *(const void *const *)b;
	int c = str_cmp(x->ns, y->ns);

	c = c ? c : str_cmp(x->key, y->key);
	return c ? c : (x->recorded_from_us > y->recorded_from_us) - (x->recorded_from_us < y->recorded_from_us);
}

static bool add(struct fake *f, struct fake_tenant *t, const struct fact_state *s)
{
	struct fact_state *v;
	size_t first = 0, n = 0;

	for (size_t i = 0; i < t->facts.n; i++)
		if (by_name(&t->facts.p[i], &s) == 0)
			return false;
	v = ARENA_NEW(&f->arena, struct fact_state);
	*v = *s;
	v->ns = arena_str(&f->arena, s->ns);
	v->key = arena_str(&f->arena, s->key);
	v->value = arena_str(&f->arena, s->value);
	v->by = arena_str(&f->arena, s->by);
	v->terms = arena_str(&f->arena, s->terms);
	fake_add(&t->facts, v);
	qsort(t->facts.p, t->facts.n, sizeof *t->facts.p, by_name);
	for (size_t i = 0; i < t->facts.n; i++) {
		const struct fact_state *x = t->facts.p[i];

		if (!str_eq(x->ns, s->ns) || !str_eq(x->key, s->key))
			continue;
		first = n++ ? first : i;
	}
	if (n > FACT_HISTORY_MAX)
		fake_del(&t->facts, first);
	return true;
}

void fake_fact_retire(struct fake *f, struct fake_tenant *t, const struct fake_row *r, const struct fact_put *by, struct str key,
		      int64_t at_us)
{
	struct fact_state s = {.ns = r->it.ns,
			       .key = r->it.key,
			       .value = r->it.value,
			       .recorded_from_us = r->it.updated_us,
			       .recorded_to_us = at_us > r->it.updated_us ? at_us : r->it.updated_us,
			       .valid_from_us = r->it.fact ? r->it.valid_from_us : FACT_NONE,
			       .valid_to_us = r->it.fact ? r->it.valid_to_us : FACT_NONE,
			       .expires_us = r->it.expires_us,
			       .by = key,
			       .terms = r->terms,
			       .fact = r->it.fact};

	s.ended_us = by ? fact_end(s.valid_from_us, s.valid_to_us, by->valid_from_us) : FACT_NONE;
	(void)add(f, t, &s);
}

bool fake_fact_forget(struct fake_tenant *t, struct str ns, struct str key)
{
	bool any = false;

	for (size_t i = t->facts.n; i-- > 0;) {
		const struct fact_state *x = t->facts.p[i];

		if (str_eq(x->ns, ns) && str_eq(x->key, key)) {
			fake_del(&t->facts, i);
			any = true;
		}
	}
	return any;
}

static bool omitted(const struct fact_state *s, int64_t omit_us)
{
	return omit_us > 0 && s->expires_us > 0 && s->expires_us < omit_us;
}

static enum err fake_history(struct store *s, const struct principal *who, struct str ns, struct str key, int64_t before_us,
			     int64_t omit_us, size_t limit, fact_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	for (size_t i = t->facts.n; i-- > 0 && limit > 0;) {
		const struct fact_state *x = t->facts.p[i];

		if (!str_eq(x->ns, ns) || !str_eq(x->key, key) || omitted(x, omit_us) ||
		    (before_us && x->recorded_from_us >= before_us))
			continue;
		limit--;
		if (!fn(ctx, x))
			break;
	}
	return fake_leave(f, OK);
}

static enum err fake_known_at(struct store *s, const struct principal *who, struct str prefix, int64_t at_us, int64_t omit_us,
			      fact_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	for (size_t i = 0; i < t->facts.n; i++) {
		const struct fact_state *x = t->facts.p[i];

		if (below(x->ns, prefix) && x->recorded_from_us <= at_us && x->recorded_to_us > at_us && !omitted(x, omit_us) &&
		    !fn(ctx, x))
			break;
	}
	return fake_leave(f, OK);
}

static enum err fake_walk(struct store *s, const struct principal *who, struct str prefix, struct str after_ns,
			  struct str after_key, int64_t after_us, fact_fn fn, void *ctx)
{
	const struct fact_state after = {.ns = after_ns, .key = after_key, .recorded_from_us = after_us}, *place = &after;
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	for (size_t i = 0; i < t->facts.n; i++) {
		const struct fact_state *x = t->facts.p[i];

		if (below(x->ns, prefix) && by_name(&x, &place) > 0 && !fn(ctx, x))
			break;
	}
	return fake_leave(f, OK);
}

static enum err fake_keep(struct store *s, const struct principal *who, const struct fact_state *v, size_t n, size_t *stored)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	*stored = 0;
	if (!t)
		return e;
	for (size_t i = 0; i < n; i++)
		*stored += add(f, t, &v[i]);
	return fake_leave(f, OK);
}

const struct fact_ops fake_fact_ops = {.history = fake_history, .known_at = fake_known_at, .walk = fake_walk, .keep = fake_keep};
