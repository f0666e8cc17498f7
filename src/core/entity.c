/* Entities as items: names, values, merging. See core/entity.h. */
#include "core/entity.h"

#include <string.h>

#include "base/clock.h"
#include "core/fact_store.h"
#include "core/normal.h"

enum { ATTEMPTS = 5 };

/* -------------------------------------------------------------------- names */

struct str entity_namespace(struct arena *a, struct str user)
{
	struct str ns = user.n ? user_namespace(a, user) : STR("shared");

	return ns.p ? arena_printf(a, "%.*s.entities", STR_ARG(ns)) : ns;
}

static enum err check(struct str s, const char *field, size_t most)
{
	if (s.n == 0 || s.n > most)
		return err_field(E_INVALID, field, -1, "%s must have 1 to %zu bytes, this one has %zu", field, most, s.n);
	return OK;
}

enum err entity_key(struct arena *a, const struct entity_ref *ref, struct str *out)
{
	struct str name, type;

	TRY(check(str_trim(ref->name), "name", ENTITY_NAME_MAX));
	TRY(check(ref->type.n ? str_trim(ref->type) : STR("thing"), "type", ENTITY_TYPE_MAX));
	name = normal_text(a, ref->name);
	type = normal_text(a, ref->type.n ? ref->type : STR("thing"));
	if (!name.p || !type.p)
		return E_NOMEM;
	if (name.n == 0 || type.n == 0 || memchr(type.p, ':', type.n))
		return err_field(E_INVALID, name.n ? "type" : "name", -1, "a name has letters or digits, and a type no colon");
	*out = arena_printf(a, "%.*s:%.*s", STR_ARG(type), STR_ARG(name));
	if (!out->p)
		return E_NOMEM;
	/* Letters may fold to more of them. */
	return key_check(*out, "name");
}

static bool same(struct arena *a, struct str x, struct str y)
{
	struct str nx = normal_text(a, x), ny = normal_text(a, y);

	return nx.p && ny.p && str_eq(nx, ny);
}

static bool same_ref(struct arena *a, const struct entity_ref *x, const struct entity_ref *y)
{
	return same(a, x->name, y->name) && same(a, x->type.n ? x->type : STR("thing"), y->type.n ? y->type : STR("thing"));
}

/* ------------------------------------------------------------------- values */

static enum err text_member(struct arena *a, struct jval v, const char *name, struct str *out)
{
	struct jval m = j_get(v, str_c(name));

	*out = j_is(m, JSON_STRING) ? j_str(a, m) : STR("");
	return out->p ? OK : E_NOMEM;
}

/* What earlier builds have written has none of these. */
static enum err read_origin(struct arena *a, struct jval r, struct entity_relation *x)
{
	struct jval source = j_get(r, STR("source"));
	struct str since;

	TRY(text_member(a, r, "since", &since));
	if (since.n == 0 || clock_parse(since, &x->since_us) != OK)
		x->since_us = 0;
	x->replaces = j_is(j_get(r, STR("replaces")), JSON_TRUE);
	x->source = j_is(source, JSON_OBJECT) ? j_raw(source) : STR("");
	return OK;
}

static enum err read_relations(struct arena *a, struct jval list, struct entity *e)
{
	struct jval r;

	if (!j_is(list, JSON_ARRAY))
		return OK;
	e->relations = ARENA_ARRAY(a, struct entity_relation, j_node(list)->count + 1);
	if (!e->relations)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &r);) {
		struct entity_relation *x = &e->relations[e->relations_n];

		TRY(text_member(a, r, "relation", &x->relation));
		TRY(text_member(a, r, "name", &x->to.name));
		TRY(text_member(a, r, "type", &x->to.type));
		TRY(read_origin(a, r, x));
		e->relations_n += x->relation.n && x->to.name.n;
	}
	return OK;
}

static enum err read_notes(struct arena *a, struct jval list, struct entity *e)
{
	struct jval n;

	if (!j_is(list, JSON_ARRAY))
		return OK;
	e->notes = ARENA_ARRAY(a, struct str, j_node(list)->count + 1);
	if (!e->notes)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &n);)
		if (j_is(n, JSON_STRING) && !(e->notes[e->notes_n++] = j_str(a, n)).p)
			return E_NOMEM;
	return OK;
}

/* Others may write into the namespace: what is missing is taken from the key, what is wrong is passed over. */
enum err entity_parse(struct arena *a, const struct item *it, struct entity *out)
{
	struct json *doc = ARENA_NEW(a, struct json);
	struct jval root, source;
	struct str type, name;

	if (!doc)
		return E_NOMEM;
	*out = (struct entity){.key = it->key, .source = STR(""), .created_us = it->created_us, .updated_us = it->updated_us};
	if (it->fact && it->valid_from_us != FACT_NONE)
		out->since_us = it->valid_from_us;
	TRY(json_parse(a, it->value, NULL, doc));
	root = json_root(doc);
	TRY(text_member(a, root, "name", &out->ref.name));
	TRY(text_member(a, root, "type", &out->ref.type));
	if (!str_cut(it->key, ':', &type, &name))
		name = it->key, type = STR("thing");
	if (!out->ref.name.n)
		out->ref.name = name;
	if (!out->ref.type.n)
		out->ref.type = type;
	source = j_get(root, STR("source"));
	if (j_is(source, JSON_OBJECT))
		out->source = j_raw(source);
	TRY(read_notes(a, j_get(root, STR("notes")), out));
	return read_relations(a, j_get(root, STR("relations")), out);
}

static void write_relation(struct jw *w, const struct entity_relation *r)
{
	char when[CLOCK_TEXT_MAX];

	jw_obj(w);
	jw_key(w, "relation");
	jw_str(w, r->relation);
	jw_key(w, "name");
	jw_str(w, r->to.name);
	jw_key(w, "type");
	jw_str(w, r->to.type);
	if (r->since_us) {
		jw_key(w, "since");
		jw_str(w, str_of(when, clock_format(r->since_us, CLOCK_MICROS_Z, when)));
	}
	if (r->replaces) {
		jw_key(w, "replaces");
		jw_bool(w, true);
	}
	if (r->source.n) {
		jw_key(w, "source");
		jw_raw(w, r->source);
	}
	jw_end_obj(w);
}

static enum err write_value(struct arena *a, const struct entity *e, struct str *out)
{
	struct buf b;
	struct jw w;

	buf_init(&b, a, VALUE_MAX_BYTES);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "name");
	jw_str(&w, e->ref.name);
	jw_key(&w, "type");
	jw_str(&w, e->ref.type);
	jw_key(&w, "notes");
	jw_arr(&w);
	for (size_t i = 0; i < e->notes_n; i++)
		jw_str(&w, e->notes[i]);
	jw_end_arr(&w);
	jw_key(&w, "relations");
	jw_arr(&w);
	for (size_t i = 0; i < e->relations_n; i++)
		write_relation(&w, &e->relations[i]);
	jw_end_arr(&w);
	if (e->source.n) {
		jw_key(&w, "source");
		jw_raw(&w, e->source);
	}
	jw_end_obj(&w);
	*out = buf_slice(&b);
	return b.err;
}

/* ------------------------------------------------------------------ changing */

/* What is done to an entity under its version. *changed: it has to be written. */
struct change {
	const struct entity *add; /* notes, relations, source; NULL: none */
	const struct entity_relation *unlink;
	int64_t at_us; /* since when that is so */
	bool must_exist;
	size_t removed; /* out */
	bool created, changed, added_relation;
};

static enum err add_notes(struct arena *a, struct entity *e, const struct entity *add, bool *changed)
{
	struct str *v = ARENA_ARRAY(a, struct str, e->notes_n + add->notes_n + 1);
	size_t n = e->notes_n;

	if (!v)
		return E_NOMEM;
	if (n)
		memcpy(v, e->notes, n * sizeof *v);
	for (size_t i = 0; i < add->notes_n; i++) {
		bool known = str_trim(add->notes[i]).n == 0;

		for (size_t k = 0; k < n && !known; k++)
			known = same(a, v[k], add->notes[i]);
		if (known)
			continue;
		TRY(check(add->notes[i], "note", ENTITY_NOTE_MAX));
		v[n++] = add->notes[i];
		*changed = true;
	}
	e->notes = n > ENTITY_NOTES_MAX ? v + (n - ENTITY_NOTES_MAX) : v;
	e->notes_n = n > ENTITY_NOTES_MAX ? ENTITY_NOTES_MAX : n;
	return OK;
}

static bool goes(struct arena *a, const struct entity_relation *old, const struct entity_relation *unlink)
{
	return (!unlink->relation.n || same(a, old->relation, unlink->relation)) && same(a, old->to.name, unlink->to.name) &&
	       (!unlink->to.type.n || same(a, old->to.type, unlink->to.type));
}

/* The same name from the same entity, to another one. */
static bool rivals(struct arena *a, const struct entity_relation *x, const struct entity_relation *y)
{
	return same(a, x->relation, y->relation) && !same_ref(a, &x->to, &y->to);
}

static void drop_relations(struct arena *a, struct entity *e, const struct entity_relation *by, struct change *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < e->relations_n; i++) {
		const struct entity_relation *old = &e->relations[i];
		bool gone = by == c->unlink ? goes(a, old, by) : rivals(a, old, by) && old->since_us <= by->since_us;

		c->removed += gone;
		c->changed |= gone;
		if (!gone)
			e->relations[kept++] = *old;
	}
	e->relations_n = kept;
}

/* It is said again: what earlier builds have kept learns when and where, and that it is the only one is kept. */
static void confirm(struct entity_relation *old, const struct entity_relation *r, struct change *c)
{
	if (old->since_us == 0) {
		old->since_us = r->since_us;
		old->source = r->source;
		c->changed = true;
	}
	c->changed |= r->replaces && !old->replaces;
	old->replaces |= r->replaces;
}

/* Whether it is there, or is older than what has taken its place. */
static bool settled(struct arena *a, struct entity *e, const struct entity_relation *r, struct change *c)
{
	for (size_t i = 0; i < e->relations_n; i++) {
		struct entity_relation *old = &e->relations[i];

		if (same(a, old->relation, r->relation) && same_ref(a, &old->to, &r->to)) {
			confirm(old, r, c);
			return true;
		}
		if (old->replaces && old->since_us > r->since_us && rivals(a, old, r))
			return true;
	}
	return false;
}

static enum err add_relation(struct arena *a, struct entity *e, struct entity_relation r, struct change *c)
{
	TRY(check(r.relation, "relation", ENTITY_TYPE_MAX));
	r.since_us = r.since_us ? r.since_us : c->at_us;
	r.to.type = r.to.type.n ? r.to.type : STR("thing");
	if (r.replaces)
		drop_relations(a, e, &r, c);
	if (settled(a, e, &r, c))
		return OK;
	if (e->relations_n == ENTITY_RELATIONS_MAX)
		return err_set(E_LIMIT, "an entity has at most %d relations", ENTITY_RELATIONS_MAX);
	e->relations[e->relations_n++] = r;
	c->changed = c->added_relation = true;
	return OK;
}

static enum err add_relations(struct arena *a, struct entity *e, const struct entity *add, struct change *c)
{
	struct entity_relation *v = ARENA_ARRAY(a, struct entity_relation, e->relations_n + add->relations_n + 1);

	if (!v)
		return E_NOMEM;
	if (e->relations_n)
		memcpy(v, e->relations, e->relations_n * sizeof *v);
	e->relations = v;
	for (size_t i = 0; i < add->relations_n; i++)
		TRY(add_relation(a, e, add->relations[i], c));
	return OK;
}

static enum err apply(struct arena *a, struct entity *e, struct change *c)
{
	bool newer = c->at_us >= e->since_us;

	if (c->unlink)
		drop_relations(a, e, c->unlink, c);
	if (c->add) {
		TRY(add_notes(a, e, c->add, &c->changed));
		TRY(add_relations(a, e, c->add, c));
		if (c->changed && newer && c->add->source.n)
			e->source = c->add->source;
	}
	if (newer)
		e->since_us = c->at_us;
	return OK;
}

static enum err change_once(struct memory *m, struct arena *a, const struct principal *who, struct str ns,
			    const struct entity_ref *ref, struct change *c)
{
	static const struct str paths[] = {STR_INIT("name"), STR_INIT("type"), STR_INIT("notes"),
					   STR_INIT("relations[*].{relation,name,type}")};
	struct op_get get = {.ns = ns, .refresh = TRI_NO};
	struct op_put put = {.ns = ns,
			     .ttl_minutes = TTL_DEFAULT,
			     .index_paths = paths,
			     .index_paths_n = 4,
			     .fact = true,
			     .valid_to_us = FACT_NONE};
	struct entity e = {.ref = *ref, .source = STR("")};

	c->removed = 0;
	c->changed = c->created = c->added_relation = false;
	TRY(entity_key(a, ref, &get.key));
	TRY(memory_get(m, a, who, &get));
	if (!get.found && c->must_exist)
		return OK;
	if (get.found)
		TRY(entity_parse(a, &get.item, &e));
	if (!e.ref.type.n)
		e.ref.type = STR("thing");
	c->created = c->changed = !get.found;
	TRY(apply(a, &e, c));
	if (!c->changed)
		return OK;
	put.key = get.key;
	put.cond = get.found ? IF_VERSION : IF_ABSENT;
	put.if_version = get.item.version;
	put.valid_from_us = e.since_us;
	TRY(write_value(a, &e, &put.value));
	return memory_put(m, a, who, &put);
}

static enum err change(struct memory *m, struct arena *a, const struct principal *who, struct str ns, const struct entity_ref *ref,
		       struct change *c)
{
	enum err e = OK;

	for (int i = 0; i < ATTEMPTS; i++) {
		e = change_once(m, a, who, ns, ref, c);
		if (e != E_CONFLICT)
			return e;
	}
	return e;
}

/* ---------------------------------------------------------------- operations */

enum err entity_get(struct memory *m, struct arena *a, const struct principal *who, struct str user, const struct entity_ref *ref,
		    struct entity *out, bool *found)
{
	struct op_get get = {.ns = entity_namespace(a, user), .refresh = TRI_NO};

	*out = (struct entity){.ref = *ref, .source = STR("")};
	if (!get.ns.p)
		return E_NOMEM;
	TRY(entity_key(a, ref, &get.key));
	TRY(memory_get(m, a, who, &get));
	*found = get.found;
	return get.found ? entity_parse(a, &get.item, out) : OK;
}

/* Ends first: a relation never leads to what there has not been. */
static enum err put_with_ends(struct memory *m, struct arena *a, const struct principal *who, struct str user,
			      const struct entity *e, struct change *c)
{
	struct str ns = entity_namespace(a, user);
	const struct entity bare = {.source = e->source};

	*c = (struct change){.add = e, .at_us = e->since_us ? e->since_us : clock_wall_us()};
	if (!ns.p)
		return E_NOMEM;
	for (size_t i = 0; i < e->relations_n; i++) {
		struct change end = {.add = &bare, .at_us = c->at_us};

		TRY(check(e->relations[i].relation, "relation", ENTITY_TYPE_MAX));
		TRY(change(m, a, who, ns, &e->relations[i].to, &end));
	}
	return change(m, a, who, ns, &e->ref, c);
}

enum err entity_put(struct memory *m, struct arena *a, const struct principal *who, struct str user, const struct entity *e,
		    bool *created)
{
	struct change c;

	TRY(put_with_ends(m, a, who, user, e, &c));
	*created = c.created;
	return OK;
}

enum err entity_link(struct memory *m, struct arena *a, const struct principal *who, struct str user, const struct entity_ref *from,
		     const struct entity_relation *r, bool *added)
{
	struct entity_relation copy = *r;
	const struct entity e = {.ref = *from, .relations = &copy, .relations_n = 1, .since_us = r->since_us, .source = r->source};
	struct change c;

	TRY(put_with_ends(m, a, who, user, &e, &c));
	*added = c.added_relation;
	return OK;
}

enum err entity_unlink(struct memory *m, struct arena *a, const struct principal *who, struct str user,
		       const struct entity_ref *from, const struct entity_relation *r, size_t *removed)
{
	struct str ns = entity_namespace(a, user);
	struct change c = {.unlink = r, .at_us = clock_wall_us(), .must_exist = true};

	if (!ns.p)
		return E_NOMEM;
	TRY(change(m, a, who, ns, from, &c));
	*removed = c.removed;
	return OK;
}

/* ---------------------------------------------------------------------- recall */

static bool named(const struct recall_hit *h, struct str question)
{
	struct str type, name;

	return h->is_item && str_ends(h->item.ns, STR(".entities")) && str_cut(h->item.key, ':', &type, &name) &&
	       normal_within(question, name);
}

void entity_named_first(struct arena *a, struct str question, struct recall_hit *v, size_t n)
{
	struct str normal = normal_text(a, question);
	size_t front = 0;

	for (size_t i = 0; normal.p && i < n && front < 3; i++) {
		struct recall_hit h = v[i];

		if (!named(&h, normal))
			continue;
		memmove(&v[front + 1], &v[front], (i - front) * sizeof *v);
		v[front++] = h;
	}
}

/* Members of an object, but for what says when and where a relation was said. */
static void copy_members(struct arena *a, struct jw *w, struct jval from, bool relation);

static void write_brief(struct arena *a, struct jw *w, struct jval relations)
{
	struct jval r;

	jw_arr(w);
	for (struct j_iter it = j_iter(relations); j_next(&it, NULL, &r);) {
		if (j_is(r, JSON_OBJECT))
			copy_members(a, w, r, true);
		else
			jw_raw(w, j_raw(r));
	}
	jw_end_arr(w);
}

static void copy_members(struct arena *a, struct jw *w, struct jval from, bool relation)
{
	struct jval key, v;

	jw_obj(w);
	for (struct j_iter it = j_iter(from); j_next(&it, &key, &v);) {
		struct str name = j_str(a, key);

		if (!name.p) {
			w->b->err = E_NOMEM;
			return;
		}
		if (relation && (str_eq(name, STR("since")) || str_eq(name, STR("replaces")) || str_eq(name, STR("source"))))
			continue;
		jw_key_str(w, name);
		if (!relation && str_eq(name, STR("relations")) && j_is(v, JSON_ARRAY))
			write_brief(a, w, v);
		else
			jw_raw(w, j_raw(v));
	}
	jw_end_obj(w);
}

/* A prompt has little room, and a relation says where it is from in as many bytes again as what it says. */
struct str entity_brief(struct arena *a, const struct item *it)
{
	struct json doc;
	struct buf b;
	struct jw w;

	if (!str_ends(it->ns, STR(".entities")) || json_parse(a, it->value, NULL, &doc) != OK)
		return it->value;
	buf_init(&b, a, VALUE_MAX_BYTES);
	jw_init(&w, &b);
	copy_members(a, &w, json_root(&doc), false);
	return b.err == OK ? buf_slice(&b) : it->value;
}
