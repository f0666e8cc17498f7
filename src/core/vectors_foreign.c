/* Vectors that LangGraph's PostgresStore keeps beside the items (core/foreign_vectors.h): what it has made of items is taken over
 * instead of being made again, and what it will look for is made of the items that Cenote writes.
 *
 * Nothing in its tables says which model made them. So a few of its texts are encoded by ours and compared before either is done:
 *
 *   UNKNOWN --rows of others, all like ours--> SAME      --there are none--> EMPTY      --one is not--> DIFFERS
 *
 *   SAME     vectors are taken over, and rows are written
 *   EMPTY    as when a judgement of SAME by this model was kept earlier; else rows are written if the configuration says so
 *            (FOREIGN_ON), and there is nothing to take over
 *   DIFFERS  nothing is taken over or written
 *
 * Invariants
 *  1. It is looked and judged anew from time to time, so that tables, rights and rows that come later count; what was found is kept
 *     in the store (META_NAME) for `cenote doctor`, and logged when it changes.
 *  2. Which items lack rows lies in the store alone: the worker looks at items that have changed (its own cursor in the feed), and
 *     through all of them when writing begins. Nothing is lost by a kill, and two processes do at worst the same work twice.
 *  3. Trouble with the tables is no trouble of ours: it is logged, and tried again. Only the encoder's failures are given on. */
#include "core/vectors_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "core/field_text.h"
#include "core/foreign_vectors.h"
#include "core/words.h"
#include "index/doc.h"
#include "index/vector.h"

#define META_NAME "foreign_vectors"
/* The same text by the same model comes to 0.995 at least, whatever holds it (halfvec, weights of 8 bits, a service that rounds, a
 * number that jsonb writes otherwise than Python); texts that differ, and other models, stay far below. */
#define LIKE_OURS 0.98
#define SAMPLES 8
#define SAMPLE_TEXT_MAX 4000
#define LOOK_MS 2000 /* while there is something to wait for: rows, rights */
#define LOOK_SAME_MS 30000
#define JUDGE_MS 3600000 /* of SAME */
#define JUDGE_DIFF_MS 60000
#define ITEMS_AT_ONCE 32 /* of 4 MiB at most */
#define TEXTS_AT_ONCE 128
#define SHORTEN_TO 2048
#define ROOM ((size_t)512 << 20)
#define CHANGED_MAX 4096

/* ---------------------------------------------------------------- what is told */

static const char *const verdicts[] = {"unknown", "empty", "same", "differs"};

/* One sentence, for the log and `cenote doctor`. */
static void describe(const struct vforeign *f, const struct foreign_look *l, const char *key, char *out, size_t cap)
{
	const char *slash = strrchr(key, '/');

	if (l->trouble[0] && !l->read)
		snprintf(out, cap, "%s", l->trouble);
	else if (!f->fits)
		snprintf(out, cap,
			 "store_vectors has %s, the model in use %s dimensions: PostgresStore's vectors are left alone, ours are "
			 "made",
			 l->type, slash ? slash + 1 : "other");
	else if (f->verdict == FOREIGN_DIFFERS)
		snprintf(out, cap,
			 "the vectors in store_vectors are not of the model in use (cosine %.3f where %.2f is the least): they are "
			 "left alone, ours are made",
			 f->cosine, LIKE_OURS);
	else if (f->verdict == FOREIGN_EMPTY && !f->writes)
		snprintf(out, cap,
			 "store_vectors has no vectors of others by which the model could be verified: nothing is written there "
			 "before there are some (or pg.vectors is on)");
	else if (!l->write)
		snprintf(out, cap, "vectors in store_vectors are taken over, but not written: %s", l->trouble);
	else if (!f->lengths)
		snprintf(out, cap,
			 "vectors in store_vectors are taken over, but not written: theirs are not of length 1, and they are not "
			 "compared by cosine");
	else
		snprintf(out, cap, "vectors in store_vectors are %s, and written for what Cenote writes",
			 f->verdict == FOREIGN_SAME ? "of the model in use: they are taken over"
						    : "taken to be of the model in use (pg.vectors: on)");
}

/* Kept, and logged, when it changes. */
static enum err tell(struct vectors *v, struct vtenant *t, const struct foreign_look *l, const char *key)
{
	struct vforeign *f = &t->foreign;
	char text[sizeof f->told];
	struct arena a;
	struct buf b;
	struct jw w;
	enum err e;

	describe(f, l, key, text, sizeof text);
	if (strcmp(text, f->told) == 0)
		return OK;
	LOG(f->writes ? LOG_INFO : LOG_WARN, "core.vectors", "vectors of LangGraph's PostgresStore", LF_C("tenant", t->name),
	    LF_C("model", key), LF_C("found", text));
	arena_init(&a, 64 << 10);
	buf_init(&b, &a, 16 << 10);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "model");
	jw_cstr(&w, key);
	jw_key(&w, "verdict");
	jw_cstr(&w, verdicts[f->verdict]);
	jw_key(&w, "writes");
	jw_bool(&w, f->writes);
	jw_key(&w, "text");
	jw_cstr(&w, text);
	jw_end_obj(&w);
	e = b.err == OK ? v->store->ops->meta_put(v->store, &t->who, STR(META_NAME), buf_slice(&b)) : b.err;
	arena_release(&a);
	if (e == OK)
		memcpy(f->told, text, sizeof text);
	return e;
}

/* An earlier judgement, of this model. */
static enum err recall_verdict(struct vectors *v, struct vtenant *t, const char *key, bool *same)
{
	struct str text;
	struct json doc;
	struct arena a;
	bool found;
	enum err e;

	*same = false;
	arena_init(&a, 1 << 20);
	CHECK(v->store->ops->meta_get(v->store, &a, &t->who, STR(META_NAME), &text, &found));
	if (found && json_parse(&a, text, &json_default_limits, &doc) == OK) {
		struct jval model = j_get(json_root(&doc), STR("model")), verdict = j_get(json_root(&doc), STR("verdict"));

		*same = j_is(model, JSON_STRING) && j_str_eq(model, str_c(key)) && j_is(verdict, JSON_STRING) &&
			j_str_eq(verdict, STR("same"));
	}
out:
	arena_release(&a);
	return e;
}

/* ---------------------------------------------------------------- judging */

struct sample {
	struct str text;
	float *v;
};
struct samples {
	struct arena *a;
	struct sample v[SAMPLES];
	size_t n;
	uint32_t dims;
	size_t compared;
	bool other_dims;
	enum err err;
};

static double length(const float *v, uint32_t dims)
{
	double sum = 0;

	for (uint32_t i = 0; i < dims; i++)
		sum += (double)v[i] * (double)v[i];
	return sqrt(sum);
}

/* jsonb writes numbers out that Python writes with an exponent. */
static bool odd_number(const struct json *doc)
{
	for (uint32_t i = 0; i < doc->n; i++)
		if (doc->nodes[i].type == JSON_NUMBER && doc->nodes[i].raw.n > 15)
			return true;
	return false;
}

/* "*" of an object: in Python's order of its members, which jsonb does not keep. */
static bool any_member(struct str path)
{
	for (size_t i = 0; i < path.n; i++)
		if (path.p[i] == '*' && (i == 0 || path.p[i - 1] != '['))
			return true;
	return false;
}

static enum err sample_add(struct samples *s, const struct foreign_field *f)
{
	struct json doc;
	struct str text;
	bool found;
	enum err e;

	if (f->dims != s->dims || !(length(f->v, f->dims) > 0))
		return OK;
	e = json_parse(s->a, f->value, &json_default_limits, &doc);
	if (words_beyond(e))
		return OK;
	TRY(e);
	if (odd_number(&doc) || any_member(f->field))
		return OK;
	TRY(field_text_of(s->a, &doc, f->field, &text, &found));
	if (!found || str_trim(text).n == 0 || text.n > SAMPLE_TEXT_MAX)
		return OK;
	for (size_t i = 0; i < s->n; i++)
		if (str_eq(s->v[i].text, text))
			return OK;
	s->v[s->n].text = arena_str(s->a, text);
	s->v[s->n].v = ARENA_ARRAY(s->a, float, f->dims);
	if (!s->v[s->n].text.p || !s->v[s->n].v)
		return E_NOMEM;
	memcpy(s->v[s->n++].v, f->v, f->dims * sizeof *f->v);
	return OK;
}

static bool on_sample(void *ctx, const struct foreign_field *f)
{
	struct samples *s = ctx;

	s->err = sample_add(s, f);
	return s->err == OK && s->n < SAMPLES;
}

static double cosine(const float *x, const float *y, uint32_t dims)
{
	double sum = 0;

	for (uint32_t i = 0; i < dims; i++)
		sum += (double)x[i] * (double)y[i];
	return sum / (length(x, dims) * length(y, dims));
}

/* n samples from `from` on; those that the service refuses alone count neither way. Depth: log2 of SAMPLES. */
static enum err compare(struct vectors *v, struct vforeign *f, struct samples *s, size_t from, size_t n)
{
	struct embed_vectors got = {0};
	struct str texts[SAMPLES] = {{0}};
	enum err e;

	for (size_t i = 0; i < n; i++)
		texts[i] = s->v[from + i].text;
	e = embed_encode(v->embedder, s->a, texts, n, &got);
	if ((e == E_INVALID || e == E_CORRUPT) && n > 1) {
		TRY(compare(v, f, s, from, n / 2));
		return compare(v, f, s, from + n / 2, n - n / 2);
	}
	if (e == E_INVALID || e == E_CORRUPT)
		return OK;
	TRY(e);
	for (size_t i = 0; i < n && got.dims == s->dims; i++) {
		const struct sample *x = &s->v[from + i];
		double c = cosine(got.v + i * got.dims, x->v, got.dims), l = length(x->v, got.dims);

		f->cosine = c < f->cosine ? c : f->cosine;
		f->lengths = f->lengths && l > 0.99 && l < 1.01;
	}
	s->compared += n;
	s->other_dims |= got.dims != s->dims;
	return OK;
}

static enum err compare_all(struct vectors *v, struct vforeign *f, struct samples *s)
{
	f->cosine = 1;
	f->lengths = true;
	v->no_encoder = true;
	TRY(compare(v, f, s, 0, s->n));
	v->no_encoder = false;
	if (s->compared == 0) /* the diagnostic says why */
		return err_wrap(E_INVALID, "none of the texts that the vectors were made of can be compared");
	f->verdict = !s->other_dims && f->cosine >= LIKE_OURS ? FOREIGN_SAME : FOREIGN_DIFFERS;
	return OK;
}

/* *ours: it was the encoder that failed. */
static enum err judge(struct vectors *v, struct vtenant *t, const struct foreign_look *l, const char *key, bool *ours)
{
	struct vforeign *f = &t->foreign;
	struct samples s = {.dims = l->dims};
	struct arena a;
	bool same = false;
	enum err e;

	*ours = false;
	arena_init(&a, ROOM);
	s.a = &a;
	CHECK(v->store->ops->foreign_vectors->sample(v->store, &t->who, on_sample, &s));
	CHECK(s.err);
	if (s.n > 0) {
		e = compare_all(v, f, &s);
		*ours = v->no_encoder;
	} else {
		CHECK(recall_verdict(v, t, key, &same));
		f->verdict = same ? FOREIGN_SAME : FOREIGN_EMPTY;
		f->lengths = true;
	}
out:
	arena_release(&a);
	if (e == OK) {
		memcpy(f->model, key, strlen(key) + 1);
		f->judge_at = deadline_in_ms(f->verdict == FOREIGN_SAME	     ? JUDGE_MS
					     : f->verdict == FOREIGN_DIFFERS ? JUDGE_DIFF_MS
									     : LOOK_MS);
	}
	return e;
}

static enum err look(struct vectors *v, struct vtenant *t, const char *key, bool *ours)
{
	const char *slash = strrchr(key, '/');
	struct vforeign *f = &t->foreign;
	struct foreign_look l;
	int64_t dims = 0;
	bool wrote = f->writes;

	*ours = false;
	TRY(v->store->ops->foreign_vectors->look(v->store, &t->who, &l));
	f->reads = f->writes = false;
	f->look_at = deadline_in_ms(LOOK_MS);
	if (!l.there && !l.trouble[0])
		return OK;
	f->fits = slash && str_int(str_c(slash + 1), 1, EMBED_DIMS_MAX, &dims) && dims == l.dims;
	if (l.read && f->fits && (strcmp(f->model, key) != 0 || clock_mono_ns() >= f->judge_at))
		TRY(judge(v, t, &l, key, ours));
	if (l.read && f->fits) {
		f->lengths = f->lengths || l.cosine;
		f->reads = f->verdict == FOREIGN_SAME;
		f->writes = l.write && f->lengths && (f->reads || (f->verdict == FOREIGN_EMPTY && v->opt.foreign == FOREIGN_ON));
	}
	if (f->writes && !wrote)
		f->following = false; /* what lacks rows is looked for among all */
	if (f->writes)
		f->look_at = deadline_in_ms(LOOK_SAME_MS);
	return tell(v, t, &l, key);
}

/* Sees to it that reads and writes are right. Gives on what the encoder fails with, and being cancelled. */
static enum err settle(struct vectors *v, struct vtenant *t, const char *key)
{
	struct vforeign *f = &t->foreign;
	bool ours;
	enum err e;

	if (!v->store->ops->foreign_vectors || v->opt.foreign == FOREIGN_OFF)
		return OK;
	if (strcmp(f->model, key) == 0 && clock_mono_ns() < f->look_at)
		return OK;
	e = look(v, t, key, &ours);
	if (e == OK || e == E_CANCELLED || ours)
		return e;
	f->look_at = deadline_in_ms(LOOK_MS);
	LOG(LOG_WARN, "core.vectors", "vectors of LangGraph's PostgresStore could not be looked at; it is tried again",
	    LF_C("tenant", t->name), LF_C("reason", diag_get()->text));
	return OK;
}

/* ---------------------------------------------------------------- taking over */

struct taker {
	struct arena *a;
	uint32_t dims;
	double *sum; /* of the directions of an item's rows */
	int64_t item;
	struct doc_vector *out; /* as many as were asked for, by id */
	size_t n, most;
	enum err err;
};

/* An item's vector: the direction in the middle of its rows'. */
static enum err take_item(struct taker *k)
{
	float *v;
	enum err e;

	if (k->item == 0 || k->n == k->most)
		return OK;
	v = ARENA_ARRAY(k->a, float, k->dims);
	if (!v)
		return E_NOMEM;
	for (uint32_t i = 0; i < k->dims; i++)
		v[i] = (float)k->sum[i];
	e = vector_pack(k->a, v, k->dims, &k->out[k->n].data);
	if (e == E_INVALID) /* without direction: ours is made */
		return OK;
	TRY(e);
	k->out[k->n++].id = k->item;
	return OK;
}

static bool on_row(void *ctx, const struct foreign_field *f)
{
	struct taker *k = ctx;
	double l = length(f->v, f->dims);

	if (f->item != k->item) {
		k->err = take_item(k);
		k->item = f->item;
		memset(k->sum, 0, k->dims * sizeof *k->sum);
	}
	for (uint32_t i = 0; f->dims == k->dims && l > 0 && i < k->dims; i++)
		k->sum[i] += (double)f->v[i] / l;
	return k->err == OK;
}

static enum err take_rows(struct vectors *v, struct vtenant *t, struct taker *k, const struct todo *todo, size_t n)
{
	const char *slash = strrchr(t->foreign.model, '/');
	int64_t *ids = ARENA_ARRAY(k->a, int64_t, n), dims;
	size_t ids_n = 0;

	k->most = n;
	k->out = ARENA_ARRAY(k->a, struct doc_vector, n);
	if (!ids || !k->out || !str_int(str_c(slash + 1), 1, EMBED_DIMS_MAX, &dims))
		return E_NOMEM;
	k->dims = (uint32_t)dims;
	k->sum = arena_zalloc(k->a, k->dims * sizeof *k->sum);
	if (!k->sum)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		if (!todo[i].none)
			ids[ids_n++] = todo[i].id;
	if (ids_n == 0)
		return OK;
	TRY(v->store->ops->foreign_vectors->of_items(v->store, &t->who, ids, ids_n, on_row, k));
	TRY(k->err);
	return take_item(k);
}

/* Keeps what was taken, with the marks of the texts. */
static enum err keep_taken(struct vectors *v, struct vtenant *t, struct taker *k, struct todo *todo, size_t n)
{
	size_t kept = 0;

	for (size_t x = 0; x < k->n; x++)
		for (size_t i = 0; i < n; i++)
			if (todo[i].id == k->out[x].id) {
				k->out[x].mark = todo[i].mark;
				k->out[x].stamp = todo[i].stamp;
				todo[i].taken = true;
			}
	for (; kept < k->n; kept += 64)
		TRY(v->store->ops->vector_put(v->store, &t->who, DOC_ITEM, str_c(t->foreign.model), k->out + kept,
					      k->n - kept < 64 ? k->n - kept : 64));
	atomic_fetch_add(&v->taken, k->n);
	return OK;
}

enum err vectors_foreign_take(struct vectors *v, struct vtenant *t, struct todo *todo, size_t n)
{
	char key[MODEL_ROOM];
	struct taker k = {0};
	struct arena a;
	enum err e;

	for (size_t i = 0; i < n; i++)
		todo[i].taken = false;
	vectors_key(v, key);
	TRY(settle(v, t, key));
	if (!t->foreign.reads || n == 0)
		return OK;
	arena_init(&a, ROOM);
	k.a = &a;
	e = take_rows(v, t, &k, todo, n);
	if (e == OK)
		e = keep_taken(v, t, &k, todo, n);
	arena_release(&a);
	if (e == OK || e == E_CANCELLED)
		return e;
	for (size_t i = 0; i < n; i++)
		todo[i].taken = false;
	t->foreign.look_at = 0;
	LOG(LOG_WARN, "core.vectors", "vectors of LangGraph's PostgresStore could not be taken over; ours are made",
	    LF_C("tenant", t->name), LF_C("reason", diag_get()->text));
	return OK;
}

/* ---------------------------------------------------------------- writing */

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
	TRY(settle(v, t, key));
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

void vectors_foreign_free(struct vforeign *f)
{
	free(f->changed);
}
