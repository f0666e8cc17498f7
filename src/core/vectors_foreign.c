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
#define ROOM ((size_t)512 << 20)

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

enum err vectors_foreign_settle(struct vectors *v, struct vtenant *t, const char *key)
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
	TRY(vectors_foreign_settle(v, t, key));
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

void vectors_foreign_free(struct vforeign *f)
{
	free(f->changed);
}
