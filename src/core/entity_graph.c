/* Entities as a graph: all of a user's are read, at most ENTITIES_MAX, and joined by their keys.
 *
 * As of a time they are those that were written by then and stand as they were, and the states of the history that were known then.
 * Items are read before the history: what changes in between is found twice, not never, and one of the two is dropped. */
#include <stdlib.h>

#include "base/map.h"
#include "core/entity.h"
#include "core/fact_store.h"
#include "core/memory_impl.h"
#include "core/normal.h"

struct gather {
	struct arena *a;
	struct item *v;
	size_t n, cap, most;
	struct str ns;
	int64_t omit_us, as_of_us;
	enum err err;
};

static bool keep(struct gather *g, const struct item *it)
{
	struct item *x;

	if (g->n == g->most)
		return false;
	if (g->n == g->cap) {
		size_t cap = g->cap ? g->cap * 2 : 32;

		x = arena_grow(g->a, g->v, g->cap * sizeof *x, cap * sizeof *x);
		if (!x) {
			g->err = E_NOMEM;
			return false;
		}
		g->v = x;
		g->cap = cap;
	}
	x = &g->v[g->n++];
	*x = *it;
	x->ns = g->ns;
	x->key = arena_str(g->a, it->key);
	x->value = arena_str(g->a, it->value);
	g->err = x->key.p && x->value.p ? OK : E_NOMEM;
	return g->err == OK;
}

static bool on_item(void *ctx, const struct item *it)
{
	struct gather *g = ctx;

	/* Behind the namespace come those below it. */
	if (!str_eq(it->ns, g->ns))
		return false;
	if ((g->omit_us && it->expires_us && it->expires_us < g->omit_us) || (g->as_of_us && it->updated_us > g->as_of_us))
		return true;
	return keep(g, it);
}

static bool on_state(void *ctx, const struct fact_state *s)
{
	struct gather *g = ctx;
	const struct item it = fact_state_item(s);

	/* In no order of namespaces. */
	return str_eq(s->ns, g->ns) ? keep(g, &it) : true;
}

static int by_key(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int c = str_cmp(x->key, y->key);

	return c ? c : (x->updated_us > y->updated_us) - (x->updated_us < y->updated_us);
}

/* Of one key the last that was written by then, in order of keys, behind `after`. */
static void settle(struct gather *g, struct str after)
{
	size_t n = 0;

	if (g->n)
		qsort(g->v, g->n, sizeof *g->v, by_key);
	for (size_t i = 0; i < g->n; i++) {
		bool twice = i + 1 < g->n && str_eq(g->v[i].key, g->v[i + 1].key);

		if (!twice && str_cmp(g->v[i].key, after) > 0)
			g->v[n++] = g->v[i];
	}
	g->n = n;
}

static enum err read_past(struct store *s, const struct principal *who, struct str after, struct gather *g)
{
	TRY(s->ops->item_walk(s, who, g->ns, STR(""), STR(""), on_item, g));
	TRY(g->err);
	TRY(s->ops->facts->known_at(s, who, g->ns, g->as_of_us, g->omit_us, on_state, g));
	TRY(g->err);
	if (g->n == g->most)
		return err_set(E_LIMIT, "there were more than %d entities", ENTITIES_MAX);
	settle(g, after);
	return OK;
}

static enum err read_items(struct memory *m, struct arena *a, const struct principal *who, struct str user, struct str after,
			   size_t most, int64_t as_of_us, struct gather *g)
{
	struct store *s = memory_store(m);

	*g = (struct gather){
		.a = a, .ns = entity_namespace(a, user), .most = most, .omit_us = memory_omit_us(m), .as_of_us = as_of_us};
	if (!g->ns.p)
		return E_NOMEM;
	TRY(principal_check(who, RIGHT_READ));
	TRY(ns_check(g->ns, "user", false));
	TRY(principal_namespace(who, g->ns));
	if (as_of_us)
		return read_past(s, who, after, g);
	TRY(s->ops->item_walk(s, who, g->ns, after.n ? g->ns : STR(""), after, on_item, g));
	return g->err;
}

enum err entity_list(struct memory *m, struct arena *a, const struct principal *who, struct str user, struct entity_list *l)
{
	struct str type = normal_text(a, l->type);
	struct gather g;

	l->n = 0;
	l->more = false;
	if (!type.p)
		return E_NOMEM;
	TRY(read_items(m, a, who, user, l->after, ENTITIES_MAX + 1, l->as_of_us, &g));
	l->v = ARENA_ARRAY(a, struct entity, (g.n < l->limit ? g.n : l->limit) + 1);
	if (!l->v)
		return E_NOMEM;
	for (size_t i = 0; i < g.n && !l->more; i++) {
		struct str of, name;

		if (type.n && (!str_cut(g.v[i].key, ':', &of, &name) || !str_eq(of, type)))
			continue;
		if (l->n == l->limit)
			l->more = true;
		else
			TRY(entity_parse(a, &g.v[i], &l->v[l->n++]));
	}
	return OK;
}

/* --------------------------------------------------------------------- graph */

struct net {
	struct entity *v;
	size_t n;
	size_t **to;	   /* of each, where its relations lead: an index, or n and above: nowhere */
	struct map by_key; /* key -> index + 1 */
};

static size_t index_of(const struct net *net, struct arena *a, const struct entity_ref *ref)
{
	struct str key;

	if (entity_key(a, ref, &key) != OK)
		return SIZE_MAX;
	return (size_t)(uintptr_t)map_get(&net->by_key, key) - 1;
}

static enum err join(struct net *net, struct arena *a)
{
	net->to = ARENA_ARRAY(a, size_t *, net->n + 1);
	if (!net->to)
		return E_NOMEM;
	for (size_t i = 0; i < net->n; i++) {
		net->to[i] = ARENA_ARRAY(a, size_t, net->v[i].relations_n + 1);
		if (!net->to[i])
			return E_NOMEM;
		for (size_t k = 0; k < net->v[i].relations_n; k++)
			net->to[i][k] = index_of(net, a, &net->v[i].relations[k].to);
	}
	return OK;
}

static enum err load(struct memory *m, struct arena *a, const struct principal *who, struct str user, int64_t as_of_us,
		     struct net *net)
{
	struct gather g;

	TRY(read_items(m, a, who, user, STR(""), ENTITIES_MAX + 1, as_of_us, &g));
	if (g.n > ENTITIES_MAX)
		return err_set(E_LIMIT, "there are more than %d entities", ENTITIES_MAX);
	net->v = ARENA_ARRAY(a, struct entity, g.n + 1);
	if (!net->v)
		return E_NOMEM;
	for (size_t i = 0; i < g.n; i++) {
		TRY(entity_parse(a, &g.v[i], &net->v[i]));
		TRY(map_put(&net->by_key, g.v[i].key, (void *)(uintptr_t)(i + 1), NULL));
	}
	net->n = g.n;
	return join(net, a);
}

/* By name and type, or by name alone when one has it; "TYPE:NAME" as a name will do, too. */
static enum err find(const struct net *net, struct arena *a, const struct entity_ref *ref, size_t *at)
{
	struct str name = normal_text(a, ref->name);
	size_t found = 0;

	if (!name.p)
		return E_NOMEM;
	if (ref->type.n) {
		*at = index_of(net, a, ref);
		found = *at < net->n;
	} else if (map_get(&net->by_key, name)) {
		*at = (size_t)(uintptr_t)map_get(&net->by_key, name) - 1;
		found = 1;
	} else {
		for (size_t i = 0; i < net->n; i++) {
			struct str of = normal_text(a, net->v[i].ref.name);

			if (!of.p || !str_eq(of, name))
				continue;
			*at = i;
			found++;
		}
	}
	if (found > 1)
		return err_field(E_INVALID, "type", -1, "%zu entities have that name; name the type, too", found);
	return found ? OK : err_set(E_NOT_FOUND, "there is no such entity");
}

/* Neighbours of all in v[from..to) that are not there yet. */
static void spread(const struct net *net, struct entity_graph *g, uint32_t *place, size_t *at, uint32_t hop)
{
	size_t to = g->n;

	for (size_t i = 0; i < net->n; i++) {
		for (size_t k = 0; k < net->v[i].relations_n; k++) {
			size_t j = net->to[i][k], far;

			if (j >= net->n || j == i)
				continue;
			if (place[i] && place[i] <= to && !place[j])
				far = j;
			else if (place[j] && place[j] <= to && !place[i])
				far = i;
			else
				continue;
			if (g->n == g->limit) {
				g->cut = true;
				return;
			}
			place[far] = (uint32_t)g->n + 1;
			g->hop[g->n] = hop;
			at[g->n++] = far;
		}
	}
}

static enum err edges(const struct net *net, struct arena *a, struct entity_graph *g, const uint32_t *place, const size_t *at)
{
	size_t most = 0;

	for (size_t i = 0; i < g->n; i++)
		most += net->v[at[i]].relations_n;
	g->edges = ARENA_ARRAY(a, struct entity_edge, most + 1);
	if (!g->edges)
		return E_NOMEM;
	for (size_t i = 0; i < g->n; i++) {
		const struct entity *e = &net->v[at[i]];

		for (size_t k = 0; k < e->relations_n; k++) {
			size_t j = net->to[at[i]][k];

			if (j < net->n && place[j])
				g->edges[g->edges_n++] = (struct entity_edge){i, place[j] - 1, &e->relations[k]};
		}
	}
	return OK;
}

static enum err walk(struct net *net, struct arena *a, struct entity_graph *g)
{
	uint32_t *place = arena_zalloc(a, (net->n + 1) * sizeof *place); /* in g->v, + 1 */
	size_t most = g->limit < net->n ? g->limit : net->n, *at = ARENA_ARRAY(a, size_t, most + 1), start;

	g->v = ARENA_ARRAY(a, struct entity, most + 1);
	g->hop = ARENA_ARRAY(a, uint32_t, most + 1);
	if (!place || !at || !g->v || !g->hop)
		return E_NOMEM;
	TRY(find(net, a, &g->start, &start));
	place[start] = 1;
	at[0] = start;
	g->hop[0] = 0;
	g->n = 1;
	for (uint32_t hop = 1; hop <= g->hops; hop++) {
		size_t before = g->n;

		spread(net, g, place, at, hop);
		if (g->n == before)
			break;
	}
	for (size_t i = 0; i < g->n; i++)
		g->v[i] = net->v[at[i]];
	return edges(net, a, g, place, at);
}

enum err entity_graph(struct memory *m, struct arena *a, const struct principal *who, struct str user, struct entity_graph *g)
{
	struct net net = {0};
	enum err e;

	g->n = g->edges_n = 0;
	g->cut = false;
	if (g->hops > ENTITY_HOPS_MAX)
		return err_field(E_INVALID, "hops", -1, "hops must be 0..%d, got %u", ENTITY_HOPS_MAX, g->hops);
	if (g->limit < 1)
		return err_field(E_INVALID, "limit", -1, "limit must be at least 1");
	map_init(&net.by_key);
	e = load(m, a, who, user, g->as_of_us, &net);
	if (e == OK)
		e = walk(&net, a, g);
	map_release(&net.by_key);
	return e;
}

/* The entity goes last: what is interrupted can be done again. */
static enum err remove_found(struct memory *m, struct arena *a, const struct principal *who, struct str user, const struct net *net,
			     const struct entity_ref *ref)
{
	struct op_put gone = {.ns = entity_namespace(a, user), .ttl_minutes = TTL_DEFAULT};
	size_t at, removed;

	if (!gone.ns.p)
		return E_NOMEM;
	TRY(find(net, a, ref, &at));
	for (size_t i = 0; i < net->n; i++) {
		for (size_t k = 0; k < net->v[i].relations_n; k++) {
			struct entity_relation to = {.relation = STR(""), .to = net->v[at].ref};

			if (net->to[i][k] != at)
				continue;
			TRY(entity_unlink(m, a, who, user, &net->v[i].ref, &to, &removed));
			break;
		}
	}
	gone.key = net->v[at].key;
	return memory_put(m, a, who, &gone);
}

enum err entity_remove(struct memory *m, struct arena *a, const struct principal *who, struct str user,
		       const struct entity_ref *ref)
{
	struct net net = {0};
	enum err e;

	map_init(&net.by_key);
	e = load(m, a, who, user, 0, &net);
	if (e == OK)
		e = remove_found(m, a, who, user, &net, ref);
	map_release(&net.by_key);
	return e;
}

enum err entity_resolve(struct memory *m, struct arena *a, const struct principal *who, struct str user, struct entity_ref *ref)
{
	struct net net = {0};
	size_t at;
	enum err e;

	if (ref->type.n)
		return OK;
	map_init(&net.by_key);
	e = load(m, a, who, user, 0, &net);
	if (e == OK)
		e = find(&net, a, ref, &at);
	if (e == OK)
		*ref = net.v[at].ref;
	map_release(&net.by_key);
	return e == E_NOT_FOUND ? OK : e;
}
