/* See core/learn.h. */
#include "core/learn.h"

#include "base/clock.h"
#include "base/utf8.h"
#include "core/fact_store.h"
#include "core/normal.h"

enum { ATTEMPTS = 5 };

struct learning {
	struct memory *m;
	struct arena *a;
	const struct principal *who;
	struct str user, ns, source; /* source: JSON */
	const struct learn_source *from;
	const struct known_fact *known;
	size_t known_n, added;
	struct learn_counts *counts;
};

struct str learn_namespace(struct arena *a, struct str user)
{
	struct str ns = user_namespace(a, user);

	return ns.p ? arena_printf(a, "%.*s.facts", STR_ARG(ns)) : ns;
}

/* ------------------------------------------------------------------ reading */

struct gather {
	struct arena *a;
	struct str ns;
	struct known_fact *v;
	size_t n;
	enum err err;
};

static enum err text_of(struct arena *a, struct jval v, const char *name, struct str *out)
{
	struct jval m = j_get(v, str_c(name));
	struct str s = j_is(m, JSON_STRING) ? j_str(a, m) : STR("");

	*out = arena_str(a, s);
	return s.p && out->p ? OK : E_NOMEM;
}

/* What others have written into the namespace without a text is nothing that could be told. */
static enum err read_fact(struct arena *a, const struct item *it, struct known_fact *out)
{
	struct json doc;
	enum err e = json_parse(a, it->value, NULL, &doc);

	*out = (struct known_fact){.version = it->version, .valid_from_us = it->fact ? it->valid_from_us : FACT_NONE};
	out->key = arena_str(a, it->key);
	if (!out->key.p || e == E_LIMIT)
		return E_NOMEM;
	TRY(e);
	TRY(text_of(a, json_root(&doc), "text", &out->text));
	TRY(text_of(a, json_root(&doc), "value", &out->value));
	out->same = normal_text(a, out->text);
	return out->same.p ? OK : E_NOMEM;
}

static bool on_item(void *ctx, const struct item *it)
{
	struct gather *g = ctx;

	if (!str_eq(it->ns, g->ns) || g->n == LEARN_FACTS_MAX)
		return false;
	g->err = read_fact(g->a, it, &g->v[g->n]);
	g->n++;
	return g->err == OK;
}

enum err learn_known(struct memory *m, struct arena *a, const struct principal *who, struct str user, struct known_fact **v,
		     size_t *n)
{
	struct store *s = memory_store(m);
	struct gather g = {.a = a, .ns = learn_namespace(a, user), .v = ARENA_ARRAY(a, struct known_fact, LEARN_FACTS_MAX)};

	*n = 0;
	if (!g.ns.p || !g.v)
		return E_NOMEM;
	TRY(ns_check(g.ns, "user", false));
	TRY(principal_namespace(who, g.ns));
	TRY(s->ops->item_walk(s, who, g.ns, STR(""), STR(""), on_item, &g));
	TRY(g.err);
	*v = g.v;
	*n = g.n;
	return OK;
}

/* ------------------------------------------------------------------ writing */

static enum err source_json(struct learning *l)
{
	char when[CLOCK_TEXT_MAX];
	struct buf b;
	struct jw w;

	buf_init(&b, l->a, 8192);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "thread");
	jw_str(&w, l->from->thread);
	jw_key(&w, "item");
	jw_str(&w, l->from->item);
	jw_key(&w, "time");
	jw_str(&w, str_of(when, clock_format(l->from->time_us, CLOCK_MILLIS_Z, when)));
	jw_end_obj(&w);
	l->source = buf_slice(&b);
	return b.err;
}

static enum err value_json(struct learning *l, const struct learned_fact *f, struct str *out)
{
	struct buf b;
	struct jw w;

	buf_init(&b, l->a, VALUE_MAX_BYTES);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "text");
	jw_str(&w, utf8_cut(f->text, LEARN_TEXT_MAX));
	jw_key(&w, "kind");
	jw_cstr(&w, f->preference ? "preference" : "fact");
	jw_key(&w, "key");
	jw_str(&w, f->key);
	jw_key(&w, "value");
	jw_str(&w, utf8_cut(f->value, LEARN_TEXT_MAX));
	jw_key(&w, "source");
	jw_raw(&w, l->source);
	jw_end_obj(&w);
	*out = buf_slice(&b);
	return b.err;
}

static const struct known_fact *known_by(const struct learning *l, struct str key, struct str same)
{
	for (size_t i = 0; i < l->known_n; i++)
		if (key.n ? str_eq(l->known[i].key, key) : str_eq(l->known[i].same, same))
			return &l->known[i];
	return NULL;
}

/* The item as it is, under its version: what was known when this began may have changed since. */
static enum err keep_once(struct learning *l, const struct learned_fact *f, const struct str *gone, size_t gone_n)
{
	static const struct str paths[] = {STR_INIT("text")};
	struct op_get get = {.ns = l->ns, .key = f->key, .refresh = TRI_NO};
	struct op_put put = {.ns = l->ns,
			     .key = f->key,
			     .ttl_minutes = TTL_DEFAULT,
			     .index_paths = paths,
			     .index_paths_n = 1,
			     .fact = true,
			     .valid_from_us = l->from->time_us,
			     .valid_to_us = FACT_NONE,
			     .supersedes = gone,
			     .supersedes_n = gone_n};
	struct known_fact old = {0};

	TRY(memory_get(l->m, l->a, l->who, &get));
	if (get.found) {
		TRY(read_fact(l->a, &get.item, &old));
		struct str x = normal_text(l->a, old.value), y = normal_text(l->a, f->value);

		if (!x.p || !y.p)
			return E_NOMEM;
		if ((str_eq(x, y) && x.n) || (old.valid_from_us != FACT_NONE && old.valid_from_us > l->from->time_us)) {
			l->counts->merged++;
			return OK;
		}
	}
	put.cond = get.found ? IF_VERSION : IF_ABSENT;
	put.if_version = get.item.version;
	TRY(value_json(l, f, &put.value));
	TRY(memory_put(l->m, l->a, l->who, &put));
	l->added += !get.found;
	l->counts->superseded += get.found + put.superseded;
	l->counts->added++;
	return OK;
}

static enum err keep_fact(struct learning *l, const struct learned_fact *f)
{
	struct str same = normal_text(l->a, f->text);
	const struct known_fact *twin, *old = f->replaces.n ? known_by(l, f->replaces, STR("")) : NULL;
	enum err e = E_CONFLICT;

	if (!same.p)
		return E_NOMEM;
	twin = known_by(l, STR(""), same);
	if (twin && !str_eq(twin->key, f->key)) {
		l->counts->merged++;
		return OK;
	}
	if (l->known_n + l->added >= LEARN_FACTS_MAX && !known_by(l, f->key, STR("")))
		return err_set(E_LIMIT, "there are %d facts of the user already", LEARN_FACTS_MAX);
	if (old && (str_eq(old->key, f->key) || (old->valid_from_us != FACT_NONE && old->valid_from_us > l->from->time_us)))
		old = NULL;
	for (int i = 0; i < ATTEMPTS && e == E_CONFLICT; i++)
		e = keep_once(l, f, old ? &old->key : NULL, old != NULL);
	return e;
}

static enum err keep_entities(struct learning *l, const struct learned *what)
{
	bool made, added;

	for (size_t i = 0; i < what->entities_n; i++) {
		struct entity e = what->entities[i];

		e.source = l->source;
		e.since_us = l->from->time_us;
		TRY(entity_put(l->m, l->a, l->who, l->user, &e, &made));
		l->counts->entities += made;
	}
	for (size_t i = 0; i < what->links_n; i++) {
		struct entity_relation r = what->links[i].r;

		r.source = l->source;
		r.since_us = l->from->time_us;
		TRY(entity_link(l->m, l->a, l->who, l->user, &what->links[i].from, &r, &added));
		l->counts->relations += added;
	}
	return OK;
}

enum err learn_keep(struct memory *m, struct arena *a, const struct principal *who, struct str user, const struct learned *what,
		    const struct learn_source *from, const struct known_fact *known, size_t known_n, struct learn_counts *counts)
{
	struct learning l = {.m = m,
			     .a = a,
			     .who = who,
			     .user = user,
			     .ns = learn_namespace(a, user),
			     .from = from,
			     .known = known,
			     .known_n = known_n,
			     .counts = counts};

	if (user.n == 0)
		return err_set(E_INTERNAL, "facts are kept of a user");
	if (!l.ns.p)
		return E_NOMEM;
	TRY(source_json(&l));
	for (size_t i = 0; i < what->facts_n; i++)
		TRY(keep_fact(&l, &what->facts[i]));
	return keep_entities(&l, what);
}
