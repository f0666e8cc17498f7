/* Index documents of items: languages by namespace, LangGraph's index paths, and making documents again when the analysis has
 * changed. */
#include "core/words_impl.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "core/field_path.h"
#include "core/session.h"

/* ---------------------------------------------------------------- languages */

static enum err rule_parse(struct words *w, struct str part)
{
	struct str ns, name;
	const struct lang *l;

	if (!str_cut(part, '=', &ns, &name)) {
		name = ns;
		ns = STR("");
	}
	ns = str_trim(ns);
	name = str_trim(name);
	l = lang_find(name);
	if (!l)
		return err_field(E_INVALID, "languages", -1, "\"%.*s\" is not a language; there are: %s", STR_ARG(name),
				 lang_all());
	if (ns.n == 0) {
		w->rules[0].lang = l;
		return OK;
	}
	w->rules[w->rules_n++] = (struct lang_rule){ns, l};
	return OK;
}

enum err words_languages_parse(struct words *w, struct str languages)
{
	struct str rest, part;
	size_t parts = 2;
	bool more = true;

	for (size_t i = 0; i < languages.n; i++)
		parts += languages.p[i] == ',';
	w->text = malloc(languages.n + 1);
	w->rules = calloc(parts, sizeof *w->rules);
	if (!w->text || !w->rules)
		return err_set(E_LIMIT, "out of memory");
	if (languages.n)
		memcpy(w->text, languages.p, languages.n);
	rest = str_trim(str_of(w->text, languages.n));
	w->rules[0] = (struct lang_rule){STR(""), lang_find(STR("english"))};
	w->rules_n = 1;
	while (more && rest.n) {
		more = str_cut(rest, ',', &part, &rest);
		TRY(rule_parse(w, str_trim(part)));
	}
	for (size_t i = 0; i < w->rules_n; i++)
		w->langs |= 1u << w->rules[i].lang->id;
	return OK;
}

const struct lang *words_language(const struct words *w, struct str ns)
{
	const struct lang_rule *best = &w->rules[0];

	for (size_t i = 1; i < w->rules_n; i++) {
		const struct lang_rule *r = &w->rules[i];

		if (r->ns.n >= best->ns.n && str_starts(ns, r->ns) && (ns.n == r->ns.n || ns.p[r->ns.n] == '.'))
			best = r;
	}
	return best->lang;
}

/* ------------------------------------------------------------------- texts */

struct texts {
	struct arena *a;
	struct str *v;
	size_t n, cap;
};

static enum err text_add(struct texts *t, struct str s)
{
	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 32;
		struct str *v = arena_grow(t->a, t->v, t->cap * sizeof *v, cap * sizeof *v);

		if (!v)
			return E_NOMEM;
		t->v = v;
		t->cap = cap;
	}
	t->v[t->n++] = s;
	return OK;
}

/* Names, strings and numbers of a whole subtree; a leaf that is true or false only when it was asked for by a path. */
static enum err subtree_texts(struct texts *t, struct jval v)
{
	uint32_t end = j_node(v)->next;

	for (struct jval at = v; at.i < end; at.i++) {
		if (j_is(at, JSON_STRING)) {
			struct str s = j_str(t->a, at);

			if (!s.p)
				return E_NOMEM;
			TRY(text_add(t, s));
		} else if (j_is(at, JSON_NUMBER)) {
			TRY(text_add(t, j_raw(at)));
		}
	}
	return OK;
}

static enum err leaf_texts(void *ctx, struct jval v)
{
	struct texts *t = ctx;

	if (j_is(v, JSON_TRUE) || j_is(v, JSON_FALSE))
		return text_add(t, j_is(v, JSON_TRUE) ? STR("True") : STR("False"));
	return subtree_texts(t, v);
}

static enum err item_texts(struct texts *t, const struct json *value, const struct str *paths, size_t paths_n)
{
	struct field_walk w = {.leaf = leaf_texts, .ctx = t};

	if (!paths)
		return subtree_texts(t, json_root(value));
	for (size_t i = 0; i < paths_n; i++)
		TRY(field_path_walk(&w, json_root(value), paths[i]));
	return OK;
}

enum err words_item_texts(struct arena *a, const struct json *value, const struct str *paths, size_t paths_n, struct str **out,
			  size_t *n)
{
	struct texts t = {.a = a};

	TRY(item_texts(&t, value, paths, paths_n));
	*out = t.v;
	*n = t.n;
	return OK;
}

enum err words_item_doc(const struct words *w, struct arena *a, struct str ns, const struct json *value, const struct str *paths,
			size_t paths_n, struct str *terms)
{
	struct texts t = {.a = a};

	if (paths && paths_n == 0) { /* an empty list: nothing of it is to be found */
		*terms = STR("");
		return OK;
	}
	TRY(item_texts(&t, value, paths, paths_n));
	return doc_of_texts_at(a, words_language(w, ns), t.v, t.n, paths, paths ? paths_n : 0, terms);
}

bool words_beyond(enum err e)
{
	enum err_kind kind = diag_get()->kind;

	return e == E_INVALID || (e == E_LIMIT && (kind == ERR_SYNTAX || kind == ERR_SIZE));
}

enum err words_stored_doc(const struct words *w, struct arena *a, struct str ns, struct str value, const struct str *paths,
			  size_t paths_n, struct str *terms)
{
	struct json doc;
	enum err e = json_parse(a, value, &json_default_limits, &doc);

	if (e == OK)
		return words_item_doc(w, a, ns, &doc, paths, paths_n, terms);
	if (!words_beyond(e))
		return e;
	LOG(LOG_WARN, "words", "an item's value is beyond the limits: it is not found by words", LF_STR("namespace", ns),
	    LF_C("reason", diag_get()->text));
	diag_clear();
	*terms = STR("");
	return OK;
}

uint64_t doc_mark(struct str terms)
{
	return hash64(terms);
}

/* ------------------------------------------------------------ making again */

bool remake_needed(const struct words *w, const struct doc_change *d)
{
	struct doc_reader r;
	struct doc_head h;

	if (d->terms.n == 0)
		return false;
	return doc_open(d->terms, &r, &h) != DOC_GOOD || h.lang != words_language(w, d->lang_ns);
}

enum err remake_add(struct remake *r, const struct doc_change *d)
{
	struct remake_entry *e;
	struct doc_reader reader;
	struct doc_head h;

	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 256;

		e = realloc(r->v, cap * sizeof *e);
		if (!e)
			return err_set(E_LIMIT, "out of memory while analysing texts again");
		r->v = e;
		r->cap = cap;
	}
	e = &r->v[r->n];
	*e = (struct remake_entry){.id = d->id, .version = d->version};
	if (doc_open(d->terms, &reader, &h) == DOC_GOOD && reader.has_paths) {
		e->doc = malloc(d->terms.n);
		if (!e->doc)
			return err_set(E_LIMIT, "out of memory while analysing texts again");
		memcpy(e->doc, d->terms.p, d->terms.n);
		e->doc_n = d->terms.n;
	}
	r->n++;
	return OK;
}

void remake_release(struct remake *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->v[i].doc);
	free(r->v);
	r->v = NULL;
	r->n = r->cap = 0;
}

#define REMAKE_BATCH 128

static enum err remake_message(const struct remake *r, struct arena *a, const struct message *m, struct doc_change *d)
{
	struct doc_message_in in = {m->content, m->name, m->role, m->time_us};

	*d = (struct doc_change){.id = m->id, .lang_ns = m->thread};
	return doc_of_message(a, words_language(r->w, m->thread), &in, &d->terms);
}

static enum err remake_item(const struct remake *r, struct arena *a, const struct remake_entry *e, const struct item *it,
			    struct doc_change *d)
{
	struct doc_reader reader;
	struct str *paths = NULL;
	struct doc_head h;
	size_t paths_n = 0;

	*d = (struct doc_change){.id = it->id, .lang_ns = it->ns};
	if (e->doc && doc_open(str_of(e->doc, e->doc_n), &reader, &h) == DOC_GOOD)
		TRY(doc_paths(&reader, a, &paths, &paths_n));
	return words_stored_doc(r->w, a, it->ns, it->value, paths, paths_n, &d->terms);
}

/* Hands documents that were made again to a store that keeps them. They are right without that: a failure costs only that they are
 * made again next time. */
static void keep(const struct remake *r, const struct doc_kept *v, size_t n)
{
	struct store *s = r->w->store;
	struct diag before = *diag_get();
	enum err e;

	if (!s->ops->doc_keep || n == 0)
		return;
	e = s->ops->doc_keep(s, r->who, r->kind, v, n);
	if (e != OK)
		LOG(LOG_DEBUG, "words", "documents that were made again could not be kept", LF_C("error", err_name(e)),
		    LF_C("reason", diag_get()->text));
	*diag_get() = before;
}

/* Of n entries, into the arena: (*out)[i].id is 0 where what it was has gone. */
static enum err remake_read(const struct remake *r, struct arena *a, const struct remake_entry *v, size_t n,
			    struct doc_change **out, struct doc_kept **kept, size_t *kept_n)
{
	struct store *s = r->w->store;
	struct item *items = ARENA_ARRAY(a, struct item, n);
	struct message *msgs = ARENA_ARRAY(a, struct message, n);
	struct doc_change *d = *out = ARENA_ARRAY(a, struct doc_change, n);
	int64_t ids[REMAKE_BATCH];

	*kept = ARENA_ARRAY(a, struct doc_kept, n);
	*kept_n = 0;
	if (!items || !msgs || !d || !*kept)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		ids[i] = v[i].id;
	if (r->kind == DOC_ITEM)
		TRY(s->ops->item_by_id(s, a, r->who, ids, n, items));
	else
		TRY(s->ops->message_by_id(s, a, r->who, ids, n, msgs));
	for (size_t i = 0; i < n; i++) {
		d[i] = (struct doc_change){0};
		if ((r->kind == DOC_ITEM ? items[i].id : msgs[i].id) == 0)
			continue; /* gone in the meantime */
		if (r->kind == DOC_ITEM)
			TRY(remake_item(r, a, &v[i], &items[i], &d[i]));
		else
			TRY(remake_message(r, a, &msgs[i], &d[i]));
		/* An item that was written in the meantime has brought its own document, perhaps of some paths only. */
		if (r->kind == DOC_MESSAGE || items[i].version == v[i].version)
			(*kept)[(*kept_n)++] = (struct doc_kept){d[i].id, v[i].version, d[i].terms};
	}
	return OK;
}

/* *n: entries to be done, made fewer when they do not fit the arena together. */
static enum err remake_batch(struct remake *r, struct arena *a, size_t from, size_t *n,
			     enum err (*fn)(void *ctx, const struct doc_change *d), void *ctx)
{
	struct doc_change *d;
	struct doc_kept *kept;
	size_t kept_n;
	enum err e;

	while ((e = remake_read(r, a, r->v + from, *n, &d, &kept, &kept_n)) == E_LIMIT && *n > 1) {
		arena_clear(a);
		*n /= 2;
	}
	TRY(e);
	for (size_t i = 0; i < *n; i++)
		if (d[i].id && (d[i].terms.n || r->changes))
			TRY(fn(ctx, &d[i]));
	keep(r, kept, kept_n);
	return OK;
}

/* Room for one batch: values of 4 MiB at most, and what their analysis takes. */
#define REMAKE_ROOM ((size_t)1 << 30)

enum err remake_all(struct remake *r, enum err (*fn)(void *ctx, const struct doc_change *d), void *ctx)
{
	enum err e = OK;
	struct arena a;

	arena_init(&a, r->room ? r->room : REMAKE_ROOM);
	for (size_t at = 0, n; at < r->n && e == OK; at += n) {
		n = r->n - at < REMAKE_BATCH ? r->n - at : REMAKE_BATCH;
		e = remake_batch(r, &a, at, &n, fn, ctx);
		arena_clear(&a);
	}
	arena_release(&a);
	return e;
}
