/* See core/facts.h. */
#include "core/facts.h"

#include "core/memory_impl.h"

#define HISTORY_LIMIT_MAX 1000

struct gather {
	struct arena *a;
	struct fact_state *v;
	size_t n, cap;
	bool short_of_memory;
};

static bool on_state(void *ctx, const struct fact_state *s)
{
	struct gather *g = ctx;
	struct fact_state *f;

	if (g->n == g->cap) {
		size_t cap = g->cap ? g->cap * 2 : 16;

		f = arena_grow(g->a, g->v, g->cap * sizeof *f, cap * sizeof *f);
		g->short_of_memory = !f;
		if (!f)
			return false;
		g->v = f;
		g->cap = cap;
	}
	f = &g->v[g->n++];
	*f = *s;
	f->ns = arena_str(g->a, s->ns);
	f->key = arena_str(g->a, s->key);
	f->value = arena_str(g->a, s->value);
	f->by = arena_str(g->a, s->by);
	f->terms = STR("");
	g->short_of_memory = !f->ns.p || !f->key.p || !f->value.p || !f->by.p;
	return !g->short_of_memory;
}

static enum err check(const struct principal *who, struct str ns, struct str key)
{
	TRY(principal_check(who, RIGHT_READ));
	TRY(ns_check(ns, "namespace", true));
	TRY(principal_namespace(who, ns));
	return key_check(key, "key");
}

static enum err read_states(struct memory *m, const struct principal *who, struct str ns, struct str key, int64_t before_us,
			    size_t limit, struct gather *g)
{
	TRY(m->store->ops->facts->history(m->store, who, ns, key, before_us, memory_omit_us(m), limit, on_state, g));
	return g->short_of_memory ? err_set(E_LIMIT, "the history is larger than what one answer may hold; ask for fewer states")
				  : OK;
}

enum err facts_history(struct memory *m, struct arena *a, const struct principal *who, struct fact_history *h)
{
	struct gather g = {.a = a};

	TRY(check(who, h->ns, h->key));
	if (h->limit < 1 || h->limit > HISTORY_LIMIT_MAX)
		return err_field(E_INVALID, "limit", -1, "limit must be 1..%d, got %u", HISTORY_LIMIT_MAX, h->limit);
	TRY(read_states(m, who, h->ns, h->key, h->before_us, (size_t)h->limit + 1, &g));
	h->more = g.n > h->limit;
	h->n = h->more ? h->limit : g.n;
	h->v = g.v;
	return OK;
}

enum err facts_get_as_of(struct memory *m, struct arena *a, const struct principal *who, struct op_get *op, int64_t as_of_us)
{
	struct gather g = {.a = a};

	/* The item first: what is superseded in between is then in the history. */
	TRY(memory_get(m, a, who, op));
	if (op->found && op->item.updated_us <= as_of_us)
		return OK;
	op->found = false;
	TRY(read_states(m, who, op->ns, op->key, as_of_us + 1, 1, &g));
	if (g.n == 0 || g.v[0].recorded_to_us <= as_of_us)
		return OK;
	op->found = true;
	op->item = fact_state_item(&g.v[0]);
	return OK;
}
