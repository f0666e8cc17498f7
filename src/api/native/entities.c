/* Entities and their relations: listing, neighbours, putting, linking, removing. Whose they are is said by `user`: without it the
 * principal's own, and for a principal without a user the tenant's shared ones. */
#include "api/native/impl.h"
#include "core/entity.h"
#include "core/fact_store.h"

enum { GRAPH_DEFAULT = 100, GRAPH_MAX = 1000, HOPS_DEFAULT = 1 };

/* ------------------------------------------------------------------- reading */

static enum err whose(struct http_req *rq, struct str named, struct str *out)
{
	const struct principal *who = rq_principal(rq);

	*out = named.p ? named : who->user;
	if (who->user_bound && !str_eq(*out, who->user))
		return err_field(E_DENIED, "user", -1, "the key belongs to one user and reaches no other's entities");
	return OK;
}

static struct str or_empty(struct str s)
{
	return s.p ? s : STR("");
}

/* The entity that the query names. */
static enum err query_ref(struct http_req *rq, struct str *user, struct entity_ref *ref)
{
	TRY(whose(rq, rq_query(rq, "user"), user));
	*ref = (struct entity_ref){rq_query(rq, "name"), or_empty(rq_query(rq, "type"))};
	return ref->name.n ? OK : nv_bad("name", "is missing");
}

static enum err query_as_of(struct http_req *rq, int64_t *out)
{
	bool given;

	TRY(nv_query_instant(rq, "as_of", &given, out));
	*out = given ? *out : 0;
	return OK;
}

/* An object {"name","type"}, or a name. */
static enum err body_ref(struct arena *a, struct jval v, const char *at, struct entity_ref *ref)
{
	*ref = (struct entity_ref){STR(""), STR("")};
	if (j_is(v, JSON_STRING)) {
		ref->name = j_str(a, v);
		return ref->name.p ? OK : E_NOMEM;
	}
	if (!j_is(v, JSON_OBJECT))
		return nv_bad(at, "must be a name, or an object with name and type");
	TRY(nv_str(a, v, at, "name", &ref->name));
	TRY(nv_str(a, v, at, "type", &ref->type));
	ref->type = or_empty(ref->type);
	return ref->name.p ? OK : nv_bad(at, "must have a name");
}

/* ------------------------------------------------------------------- writing */

static void write_ref(struct jw *w, const struct entity_ref *ref)
{
	jw_obj(w);
	jw_key(w, "name");
	jw_str(w, ref->name);
	jw_key(w, "type");
	jw_str(w, ref->type);
	jw_end_obj(w);
}

/* Members of an open object. */
static void write_origin(struct jw *w, const struct entity_relation *r)
{
	nv_write_instant(w, "since", r->since_us ? r->since_us : FACT_NONE);
	jw_key(w, "source");
	if (r->source.n)
		jw_raw(w, r->source);
	else
		jw_null(w);
}

static void write_relations(struct jw *w, const struct entity *e)
{
	jw_key(w, "relations");
	jw_arr(w);
	for (size_t i = 0; i < e->relations_n; i++) {
		jw_obj(w);
		jw_key(w, "relation");
		jw_str(w, e->relations[i].relation);
		jw_key(w, "to");
		write_ref(w, &e->relations[i].to);
		write_origin(w, &e->relations[i]);
		jw_end_obj(w);
	}
	jw_end_arr(w);
}

/* Members of an open object. */
static void write_entity(struct jw *w, const struct entity *e)
{
	jw_key(w, "name");
	jw_str(w, e->ref.name);
	jw_key(w, "type");
	jw_str(w, e->ref.type);
	jw_key(w, "notes");
	jw_arr(w);
	for (size_t i = 0; i < e->notes_n; i++)
		jw_str(w, e->notes[i]);
	jw_end_arr(w);
	jw_key(w, "source");
	if (e->source.n)
		jw_raw(w, e->source);
	else
		jw_null(w);
	nv_write_instant(w, "created_at", e->created_us);
	nv_write_instant(w, "updated_at", e->updated_us);
}

/* -------------------------------------------------------------------- listing */

void nv_entities(struct http_req *rq, void *ctx)
{
	static const char *const filters[] = {"user", "type", "as_of", NULL};
	struct entity_list l = {.type = or_empty(rq_query(rq, "type"))};
	struct page p = {.filters = filters};
	struct str user;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(whose(rq, rq_query(rq, "user"), &user));
	CHECK(query_as_of(rq, &l.as_of_us));
	CHECK(page_begin(rq, ctx, &p));
	l.limit = (size_t)p.limit;
	l.after = p.after;
	CHECK(entity_list(ctx, rq_arena(rq), rq_principal(rq), user, &l));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "data");
	jw_arr(&w);
	for (size_t i = 0; i < l.n; i++) {
		jw_obj(&w);
		write_entity(&w, &l.v[i]);
		write_relations(&w, &l.v[i]);
		jw_end_obj(&w);
	}
	e = page_end(rq, ctx, &p, &w, l.more, l.n ? l.v[l.n - 1].key : STR(""));
out:
	nv_answer(rq, e, &b);
}

static void write_graph(struct jw *w, const struct entity_graph *g)
{
	jw_obj(w);
	jw_key(w, "entities");
	jw_arr(w);
	for (size_t i = 0; i < g->n; i++) {
		jw_obj(w);
		write_entity(w, &g->v[i]);
		jw_key(w, "hops");
		jw_u64(w, g->hop[i]);
		jw_end_obj(w);
	}
	jw_end_arr(w);
	jw_key(w, "relations");
	jw_arr(w);
	for (size_t i = 0; i < g->edges_n; i++) {
		jw_obj(w);
		jw_key(w, "from");
		write_ref(w, &g->v[g->edges[i].from].ref);
		jw_key(w, "relation");
		jw_str(w, g->edges[i].r->relation);
		jw_key(w, "to");
		write_ref(w, &g->v[g->edges[i].to].ref);
		write_origin(w, g->edges[i].r);
		jw_end_obj(w);
	}
	jw_end_arr(w);
	jw_key(w, "cut");
	jw_bool(w, g->cut);
	jw_end_obj(w);
}

void nv_entity_graph(struct http_req *rq, void *ctx)
{
	struct entity_graph g = {0};
	int64_t hops, limit;
	struct str user;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(query_ref(rq, &user, &g.start));
	CHECK(rq_query_int(rq, "hops", 0, ENTITY_HOPS_MAX, HOPS_DEFAULT, &hops));
	CHECK(rq_query_int(rq, "limit", 1, GRAPH_MAX, GRAPH_DEFAULT, &limit));
	CHECK(query_as_of(rq, &g.as_of_us));
	g.hops = (uint32_t)hops;
	g.limit = (uint32_t)limit;
	CHECK(entity_graph(ctx, rq_arena(rq), rq_principal(rq), user, &g));
	jw_init(&w, &b);
	write_graph(&w, &g);
out:
	nv_answer(rq, e, &b);
}

/* ------------------------------------------------------------------- changing */

static enum err read_notes(struct arena *a, struct jval v, struct entity *e)
{
	struct jval note;

	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_ARRAY) || j_node(v)->count > ENTITY_NOTES_MAX)
		return nv_bad("/notes", "must be an array of at most 64 strings");
	e->notes = ARENA_ARRAY(a, struct str, j_node(v)->count + 1);
	if (!e->notes)
		return E_NOMEM;
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &note); e->notes_n++) {
		if (!j_is(note, JSON_STRING))
			return nv_bad("/notes", "must be an array of at most 64 strings");
		e->notes[e->notes_n] = j_str(a, note);
		if (!e->notes[e->notes_n].p)
			return E_NOMEM;
	}
	return OK;
}

void nv_entity_put(struct http_req *rq, void *ctx)
{
	static const struct str names[] = {STR_INIT("user"), STR_INIT("name"), STR_INIT("type"), STR_INIT("notes")};
	struct entity x = {.source = STR("")};
	struct arena *a = rq_arena(rq);
	struct str named, user;
	struct json doc;
	bool created;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(nv_body(rq, names, 4, &doc));
	CHECK(nv_str(a, json_root(&doc), "", "user", &named));
	CHECK(whose(rq, named, &user));
	CHECK(body_ref(a, json_root(&doc), "", &x.ref));
	CHECK(read_notes(a, j_get(json_root(&doc), STR("notes")), &x));
	CHECK(entity_put(ctx, a, rq_principal(rq), user, &x, &created));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "created");
	jw_bool(&w, created);
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}

void nv_entity_delete(struct http_req *rq, void *ctx)
{
	struct entity_ref ref;
	struct str user;
	enum err e = query_ref(rq, &user, &ref);

	if (e == OK)
		e = entity_remove(ctx, rq_arena(rq), rq_principal(rq), user, &ref);
	if (e == OK)
		rs_empty(rq, 204);
	else
		rs_error(rq, e);
}

/* from, relation, to, replaces, of a body. */
static enum err body_link(struct http_req *rq, struct str *user, struct entity_ref *from, struct entity_relation *r)
{
	static const struct str names[] = {STR_INIT("user"), STR_INIT("from"), STR_INIT("relation"), STR_INIT("to"),
					   STR_INIT("replaces")};
	struct arena *a = rq_arena(rq);
	struct json doc;
	struct str named;
	bool given;

	*r = (struct entity_relation){.source = STR("")};
	TRY(nv_body(rq, names, 5, &doc));
	TRY(nv_str(a, json_root(&doc), "", "user", &named));
	TRY(whose(rq, named, user));
	TRY(body_ref(a, j_get(json_root(&doc), STR("from")), "/from", from));
	TRY(body_ref(a, j_get(json_root(&doc), STR("to")), "/to", &r->to));
	TRY(nv_str(a, json_root(&doc), "", "relation", &r->relation));
	TRY(nv_bool(json_root(&doc), "", "replaces", &given, &r->replaces));
	return r->relation.p ? OK : nv_bad("/relation", "is missing");
}

void nv_entity_link(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct entity_relation r;
	struct entity_ref from;
	struct str user;
	bool added;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(body_link(rq, &user, &from, &r));
	CHECK(entity_resolve(ctx, a, rq_principal(rq), user, &from));
	CHECK(entity_resolve(ctx, a, rq_principal(rq), user, &r.to));
	CHECK(entity_link(ctx, a, rq_principal(rq), user, &from, &r, &added));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "added");
	jw_bool(&w, added);
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}

void nv_entity_unlink(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct entity_relation r = {.relation = or_empty(rq_query(rq, "relation"))};
	struct entity_ref from = {rq_query(rq, "from"), or_empty(rq_query(rq, "from_type"))};
	struct str user;
	size_t removed;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(whose(rq, rq_query(rq, "user"), &user));
	r.to = (struct entity_ref){rq_query(rq, "to"), or_empty(rq_query(rq, "to_type"))};
	e = from.name.n && r.to.name.n ? OK : nv_bad(from.name.n ? "to" : "from", "is missing");
	if (e != OK)
		goto out;
	CHECK(entity_resolve(ctx, a, rq_principal(rq), user, &from));
	CHECK(entity_unlink(ctx, a, rq_principal(rq), user, &from, &r, &removed));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "removed");
	jw_u64(&w, removed);
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}
