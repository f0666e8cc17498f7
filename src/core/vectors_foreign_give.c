/* Vectors for LangGraph's PostgresStore: of the items that Cenote writes and that have no rows in its tables, or rows of another
 * text, they are made and put there. When that is done says vectors_foreign.c, whose invariants hold here, too. */
#include "core/vectors_impl.h"

#include <stdlib.h>

#include "base/json/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "core/field_text.h"
#include "core/foreign_vectors.h"
#include "core/words.h"
#include "index/doc.h"

#define ITEMS_AT_ONCE 32 /* of 4 MiB at most */
#define TEXTS_AT_ONCE 128
#define SHORTEN_TO 2048
#define ROOM ((size_t)512 << 20)
#define CHANGED_MAX 4096

struct writer {
	struct vectors *v;
	struct vtenant *t;
	struct arena *a;
	struct foreign_put put[ITEMS_AT_ONCE];
	size_t n;
	/* of all of them, one after the other */
	struct str *texts, *fields;
	size_t texts_n, cap;
	size_t first[ITEMS_AT_ONCE + 1]; /* of each item among the texts */
	float **vectors;		 /* NULL: the encoder refuses the text */
	enum err err;
	bool ours; /* it was the encoder that failed */
};

static enum err add_text(struct writer *w, struct str field, struct str text)
{
	/* A name that comes again is the later text's. */
	for (size_t i = w->first[w->n]; i < w->texts_n; i++)
		if (str_eq(w->fields[i], field)) {
			w->texts[i] = text;
			return OK;
		}
	if (w->texts_n - w->first[w->n] == FOREIGN_FIELDS_MAX)
		return OK;
	if (w->texts_n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 64;
		struct str *texts = arena_grow(w->a, w->texts, w->cap * sizeof *texts, cap * sizeof *texts);
		struct str *fields = arena_grow(w->a, w->fields, w->cap * sizeof *fields, cap * sizeof *fields);

		if (!texts || !fields)
			return E_NOMEM;
		w->texts = texts;
		w->fields = fields;
		w->cap = cap;
	}
	w->texts[w->texts_n] = text;
	w->fields[w->texts_n++] = field;
	return OK;
}

/* Texts of the paths that were given with the item, else of those that are configured. */
static enum err item_texts(struct writer *w, const struct foreign_item *it)
{
	const struct vectors_options *o = &w->v->opt;
	const struct str *paths = o->foreign_fields;
	size_t paths_n = o->foreign_fields_n, n;
	struct str *own = NULL, *texts, field;
	struct str value = arena_str(w->a, it->value); /* texts may be slices of it */
	struct doc_reader r;
	struct doc_head h;
	struct json doc;
	size_t own_n = 0;
	enum err e;

	if (!value.p)
		return E_NOMEM;
	if (doc_open(it->terms, &r, &h) == DOC_GOOD && r.has_paths)
		TRY(doc_paths(&r, w->a, &own, &own_n));
	if (own_n > 0) {
		paths = own;
		paths_n = own_n;
	}
	e = json_parse(w->a, value, &json_default_limits, &doc);
	if (words_beyond(e)) /* it has no texts */
		return OK;
	TRY(e);
	for (size_t p = 0; p < paths_n; p++) {
		struct str path = arena_str(w->a, paths[p]);

		TRY(field_texts(w->a, &doc, path, own_n == 0, &texts, &n));
		for (size_t i = 0; i < n; i++) {
			TRY(field_name(w->a, path, i, n, &field));
			TRY(add_text(w, field, texts[i]));
		}
	}
	return OK;
}

static bool on_item(void *ctx, const struct foreign_item *it)
{
	struct writer *w = ctx;

	if (w->n == ITEMS_AT_ONCE)
		return false;
	w->put[w->n] = (struct foreign_put){.id = it->id, .version = it->version};
	w->first[w->n] = w->texts_n;
	w->err = item_texts(w, it);
	if (w->err == OK)
		w->first[++w->n] = w->texts_n;
	return w->err == OK;
}

/* The vectors of n texts; one that is refused alone is tried shorter, then left without. Depth: log2 of n. */
static enum err encode(struct writer *w, size_t from, size_t n)
{
	struct embed_vectors got = {0};
	enum err e;

	if (n == 0)
		return OK;
	e = embed_encode(w->v->embedder, w->a, w->texts + from, n, &got);
	if (e == OK) {
		for (size_t i = 0; i < n; i++)
			w->vectors[from + i] = got.v + i * got.dims;
		return OK;
	}
	if (e != E_INVALID && e != E_CORRUPT)
		return e;
	if (n > 1) {
		TRY(encode(w, from, n / 2));
		return encode(w, from + n / 2, n - n / 2);
	}
	if (e == E_CORRUPT || w->texts[from].n <= SHORTEN_TO)
		return OK;
	w->texts[from] = utf8_cut(w->texts[from], w->texts[from].n / 2);
	return encode(w, from, 1);
}

static enum err make_rows(struct writer *w)
{
	struct foreign_row *rows = ARENA_ARRAY(w->a, struct foreign_row, w->texts_n + 1);
	size_t k = 0;

	w->vectors = arena_zalloc(w->a, (w->texts_n + 1) * sizeof *w->vectors);
	if (!rows || !w->vectors)
		return E_NOMEM;
	for (size_t at = 0; at < w->texts_n; at += TEXTS_AT_ONCE) {
		enum err e = encode(w, at, w->texts_n - at < TEXTS_AT_ONCE ? w->texts_n - at : TEXTS_AT_ONCE);

		w->ours = w->v->no_encoder = e != OK;
		TRY(e);
	}
	for (size_t i = 0; i < w->n; i++) {
		w->put[i].rows = rows + k;
		for (size_t x = w->first[i]; x < w->first[i + 1]; x++)
			if (w->vectors[x])
				rows[k++] = (struct foreign_row){w->fields[x], w->vectors[x]};
		w->put[i].n = (size_t)(rows + k - w->put[i].rows);
	}
	return OK;
}

static enum err write_some(struct writer *w, const int64_t *ids, size_t n, int64_t *after, bool *end)
{
	const struct foreign_vector_ops *ops = w->v->store->ops->foreign_vectors;
	struct vforeign *f = &w->t->foreign;
	uint32_t dims = __atomic_load_n(&w->v->embedder->dims, __ATOMIC_ACQUIRE);

	TRY(ops->lacking(w->v->store, &w->t->who, ids, n, ITEMS_AT_ONCE, after, end, on_item, w));
	TRY(w->err);
	if (w->n == 0)
		return OK;
	TRY(make_rows(w));
	TRY(ops->put(w->v->store, &w->t->who, w->put, w->n, dims));
	for (size_t i = 0; i < w->n; i++) {
		atomic_fetch_add(&w->v->given, w->put[i].done ? w->put[i].n : 0);
		/* Somebody has it locked: with the next round. Or it has changed: the feed tells. */
		if (!w->put[i].done && f->late_n < sizeof f->late / sizeof *f->late)
			f->late[f->late_n++] = w->put[i].id;
	}
	return OK;
}

static bool on_change(void *ctx, const struct doc_change *d)
{
	struct vforeign *f = ctx;

	if (d->removed || d->terms.n == 0)
		return true;
	if (f->changed_n == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 64;
		int64_t *ids = cap <= CHANGED_MAX ? realloc(f->changed, cap * sizeof *ids) : NULL;

		if (!ids) { /* too many: all are looked at */
			f->walking = true;
			f->after = 0;
			f->changed_n = 0;
			return true;
		}
		f->changed = ids;
		f->cap = cap;
	}
	f->changed[f->changed_n++] = d->id;
	return true;
}

static bool nothing(void *ctx, const struct doc_change *d)
{
	(void)ctx;
	(void)d;
	return false;
}

static enum err follow(struct vectors *v, struct vtenant *t)
{
	const struct doc_scope scope = {.kind = DOC_ITEM, .prefix = STR(""), .model = STR("")};
	struct vforeign *f = &t->foreign;
	const struct store_ops *ops = v->store->ops;
	enum err e = OK;

	for (; f->late_n > 0; f->late_n--) {
		struct doc_change d = {.id = f->late[f->late_n - 1], .terms = STR("late")};

		(void)on_change(f, &d);
	}
	if (f->following)
		e = ops->doc_changes(v->store, &t->who, &scope, &f->cursor, on_change, f);
	if (f->following && e != E_CONFLICT)
		return e;
	TRY(ops->doc_scan(v->store, &t->who, &scope, &f->cursor, nothing, NULL));
	f->following = f->walking = true;
	f->after = 0;
	f->changed_n = 0;
	return OK;
}

/* One step: of what has changed, else of the walk through all. */
static enum err step(struct writer *w)
{
	struct vforeign *f = &w->t->foreign;
	int64_t none = 0;
	bool end = true;

	if (f->changed_n > 0) {
		size_t n = f->changed_n < ITEMS_AT_ONCE ? f->changed_n : ITEMS_AT_ONCE;

		TRY(write_some(w, f->changed + f->changed_n - n, n, &none, &end));
		f->changed_n -= n;
	} else if (f->walking) {
		TRY(write_some(w, NULL, 0, &f->after, &end));
		f->walking = !end;
	}
	return OK;
}

enum err vectors_foreign_give(struct vectors *v, struct vtenant *t, bool *more)
{
	struct writer w = {.v = v, .t = t};
	char key[MODEL_ROOM];
	struct arena a;
	enum err e;

	*more = false;
	vectors_key(v, key);
	TRY(vectors_foreign_settle(v, t, key));
	if (!t->foreign.writes)
		return OK;
	arena_init(&a, ROOM);
	w.a = &a;
	e = follow(v, t);
	if (e == OK)
		e = step(&w);
	arena_release(&a);
	if (e == OK)
		*more = t->foreign.changed_n > 0 || t->foreign.walking;
	if (e == OK || e == E_CANCELLED || w.ours)
		return e;
	t->foreign.look_at = 0;
	t->foreign.following = false;
	LOG(LOG_WARN, "core.vectors", "vectors for LangGraph's PostgresStore could not be written; it is tried again",
	    LF_C("tenant", t->name), LF_C("reason", diag_get()->text));
	return OK;
}
