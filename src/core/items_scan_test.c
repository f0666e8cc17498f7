/* A scope that does not fit the cache gives the same answers, to the bit, as one that does; and both what all cosines in double
 * precision say. */
#include <math.h>

#include "core/hnsw_store.h"
#include "core/items_scan.h"
#include "core/testing.h"

#define DIMS 48 /* not a multiple of VECTOR_PAD */
#define ITEMS 900
#define MODEL "m/48"

static const char *const names[] = {"boat", "river", "tea", "lamp", "north", "bridge", "apple", "storm"};

static uint32_t seed = 7;
static uint32_t next(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static void random_vector(float *v, uint32_t near)
{
	for (int d = 0; d < DIMS; d++)
		v[d] = (float)((int)next(2001) - 1000) / 1000 + (near && d < 8 ? 0.7f : 0);
}

/* Vectors of two thirds of the items, those of every 50th made of an earlier text, and some blobs that are damaged. */
struct rig {
	struct bench b;
	float v[ITEMS + 1][DIMS];
	bool has[ITEMS + 1];
	int64_t id[ITEMS + 1];
	size_t n;
	double less; /* share of items without a vector */
	enum err err;
};

static bool add_vector(void *ctx, const struct doc_change *d)
{
	struct rig *r = ctx;
	size_t i = r->n++;

	r->id[i] = d->id;
	r->has[i] = next(100) >= r->less * 100;
	random_vector(r->v[i], i % 3 == 0);
	return true;
}

static struct doc_scope scope_of(const char *prefix, const char *model)
{
	return (struct doc_scope){.kind = DOC_ITEM, .prefix = str_c(prefix), .model = str_c(model)};
}

struct marks_of {
	struct arena *a;
	struct doc_vector *v;
	size_t n;
};

static bool take_mark(void *ctx, const struct doc_change *d)
{
	struct marks_of *m = ctx;

	m->v[m->n++] = (struct doc_vector){.id = d->id, .mark = doc_mark(d->terms)};
	return true;
}

static void keep_vectors(struct rig *r)
{
	struct store *s = r->b.store;
	struct doc_scope all = scope_of("", "");
	struct marks_of m = {&r->b.a, ARENA_ARRAY(&r->b.a, struct doc_vector, ITEMS + 1), 0};
	uint64_t cursor;
	size_t n = 0;

	OKAY(s->ops->doc_scan(s, &ann, &all, &cursor, add_vector, r));
	OKAY(s->ops->doc_scan(s, &ann, &all, &cursor, take_mark, &m));
	for (size_t i = 0; i < m.n; i++) {
		if (!r->has[i])
			continue;
		OKAY(vector_pack(&r->b.a, r->v[i], DIMS, &m.v[i].data));
		if (i % 50 == 7)
			m.v[i].mark++;
		if (i % 50 == 8)
			m.v[i].data.n -= 1;
		r->has[i] = i % 50 != 7 && i % 50 != 8;
		m.v[n++] = m.v[i];
	}
	OKAY(s->ops->vector_put(s, &ann, DOC_ITEM, STR(MODEL), m.v, n));
}

static struct rig *rig(double less)
{
	struct rig *r = calloc(1, sizeof *r);
	char value[160], key[16], ns[16];

	assert_non_null(r);
	seed = 7;
	r->less = less;
	bench_init(&r->b);
	for (int i = 0; i < ITEMS; i++) {
		snprintf(key, sizeof key, "k%d", i);
		snprintf(ns, sizeof ns, "n.%c", 'a' + i % 3);
		snprintf(value, sizeof value, "{\"text\":\"%s %s %s number%u\"}", names[next(8)], names[next(8)],
			 i % 4 ? names[next(8)] : "", next(300));
		put(&r->b, ns, key, value);
	}
	keep_vectors(r);
	return r;
}

static void rig_free(struct rig *r)
{
	bench_release(&r->b);
	free(r);
}

/* A memory over the same store whose cache holds nothing as large. */
static struct memory *small_memory(struct rig *r, size_t cache)
{
	struct memory_options opt = {.languages = STR("english"), .index_cache_bytes = cache};
	struct memory *m;

	OKAY(memory_new(r->b.store, &opt, &m));
	return m;
}

static void random_question(struct arena *a, struct vector_question *q, float *v)
{
	random_vector(v, next(2));
	OKAY(vector_question_make(a, v, DIMS, q));
}

static void same_found(const struct items_found *x, const struct items_found *y, size_t want)
{
	assert_true(x->by_meaning && y->by_meaning);
	assert_true(y->n >= x->n);
	assert_true(x->complete ? y->complete && y->n == x->n : y->n >= want);
	assert_int_equal(x->pending, y->pending);
	assert_true(x->best == y->best && x->lowest == y->lowest && x->highest == y->highest);
	for (size_t i = 0; i < x->n; i++) {
		const struct item_hit *a = &x->v[i], *b = &y->v[i];

		assert_int_equal(a->id, b->id);
		assert_true(a->score == b->score && a->bm25 == b->bm25 && a->lex == b->lex && a->v == b->v);
		assert_true(a->cosine == b->cosine || (isnan(a->cosine) && isnan(b->cosine)));
		assert_int_equal(a->like, b->like);
		assert_true(str_eq(a->words, b->words));
	}
}

static void the_same_as_in_memory(void **state)
{
	static const char *const queries[] = {"boat on the river", "number17", "the", "tea lamp storm apple", "nowhere"};
	struct rig *r = rig(0.33);
	struct memory *few = small_memory(r, 4096), *none = small_memory(r, 0);
	struct items_found x, y, z;

	(void)state;
	for (int i = 0; i < 60; i++) {
		struct vector_question question;
		float v[DIMS];
		struct items_query q = {.prefix = i % 4 ? STR("n") : STR("n.b"),
					.query = str_c(queries[i % 5]),
					.model = STR(MODEL),
					.question = &question,
					.mode = i % 3 == 2 ? RANK_BY_VECTORS : RANK_AUTO,
					.near = i % 2 ? 0.6 : 0,
					.want = i % 7 == 3 ? 2000 : 1 + next(60),
					.explain = i % 2};

		random_question(&r->b.a, &question, v);
		OKAY(items_search(r->b.m, &r->b.a, &ann, &q, &x));
		OKAY(items_search(few, &r->b.a, &ann, &q, &y));
		OKAY(items_search(none, &r->b.a, &ann, &q, &z));
		same_found(&x, &y, q.want);
		same_found(&x, &z, q.want);
	}
	memory_free(few);
	memory_free(none);
	rig_free(r);
}

/* Where codes fit but not vectors: the best are the same, figures to the bit; further down some cosines are estimates. */
static void by_codes(void **state)
{
	static const char *const queries[] = {"boat on the river", "number17", "the", "tea lamp storm apple", "nowhere"};
	struct rig *r = rig(0.33);
	struct memory *some = small_memory(r, (size_t)150 << 10);
	unsigned same = 0, all = 0;

	(void)state;
	for (int i = 0; i < 40; i++) {
		struct vector_question question;
		struct items_query q = {.prefix = STR("n"),
					.query = str_c(queries[i % 5]),
					.model = STR(MODEL),
					.question = &question,
					.mode = i % 3 == 2 ? RANK_BY_VECTORS : RANK_AUTO,
					.near = i % 2 ? 0.6 : 0,
					.want = i % 7 == 3 ? 2000 : 1 + next(60),
					.explain = i % 2};
		struct items_found x, y;
		float v[DIMS];

		if (i == 20) { /* changes go on where codes are */
			put(&r->b, "n.a", "k3", "{\"text\":\"boat of another kind\"}");
			put(&r->b, "n.a", "new", "{\"text\":\"apple and tea and nothing besides\"}");
		}
		random_question(&r->b.a, &question, v);
		OKAY(items_search(r->b.m, &r->b.a, &ann, &q, &x));
		OKAY(items_search(some, &r->b.a, &ann, &q, &y));
		assert_true(y.by_meaning && y.by_codes && !x.by_codes);
		assert_int_equal(x.pending, y.pending);
		assert_true(x.best == y.best && x.highest == y.highest && fabs(x.lowest - y.lowest) < 1e-9);
		for (size_t k = 0; k < q.want && k < x.n; k++) {
			assert_true(k < y.n);
			all++;
			same += x.v[k].id == y.v[k].id && x.v[k].bm25 == y.v[k].bm25 && x.v[k].score == y.v[k].score &&
				x.v[k].like == y.v[k].like && str_eq(x.v[k].words, y.v[k].words);
		}
	}
	assert_true(same * 100 >= all * 98);
	memory_free(some);
	rig_free(r);
}

/* A store with an index of vectors that misses nothing, or gives no more than `most`. */
static struct index_store {
	struct store_ops ops;
	const struct store_ops *former;
	bool ready;
	size_t most, asked;
	/* of one question */
	struct arena *a;
	const struct hnsw_question *q;
	struct near_row {
		double cosine;
		struct hnsw_row row;
	} * v;
	size_t n;
} idx;

static uint64_t index_least(struct store *s)
{
	(void)s;
	return 100;
}

static bool index_row(void *ctx, const struct doc_change *d)
{
	struct near_row *r = &idx.v[idx.n];
	struct vector v;
	float f[DIMS];

	(void)ctx;
	if (d->vector.n == 0 || d->mark != doc_mark(d->terms))
		return true;
	*r = (struct near_row){.cosine = -2, .row = {.id = d->id, .data = arena_str(idx.a, d->vector)}};
	idx.n++;
	if (vector_unpack(d->vector, &v) == OK) {
		vector_floats(&v, f);
		r->cosine = 0;
		for (int i = 0; i < DIMS; i++)
			r->cosine += (double)f[i] * idx.q->v->fine[i];
	}
	return true;
}

static int by_cosine(const void *x, const void *y)
{
	double a = ((const struct near_row *)x)->cosine, b = ((const struct near_row *)y)->cosine;

	return (a < b) - (a > b);
}

static enum err index_find(struct store *s, struct arena *a, const struct principal *who, const struct hnsw_question *q,
			   bool *ready, struct hnsw_row **out, size_t *n)
{
	struct doc_scope scope = {.kind = DOC_ITEM, .prefix = q->prefix, .model = q->model};
	uint64_t cursor;

	assert_true(q->nearest + q->farthest + q->ids_n <= HNSW_ROWS_MAX);
	idx.asked += q->nearest > 0;
	*ready = idx.ready;
	*n = 0;
	idx.a = a;
	idx.q = q;
	idx.n = 0;
	idx.v = ARENA_ARRAY(a, struct near_row, ITEMS + 10);
	*out = ARENA_ARRAY(a, struct hnsw_row, HNSW_ROWS_MAX);
	TRY(s->ops->doc_scan(s, who, &scope, &cursor, index_row, NULL));
	qsort(idx.v, idx.n, sizeof *idx.v, by_cosine);
	for (size_t i = 0; idx.ready && i < idx.n; i++) {
		struct hnsw_row r = idx.v[i].row;

		if (i < q->nearest && i < idx.most)
			(*out)[(*n)++] = (struct hnsw_row){HNSW_NEAREST, r.id, r.data};
		if (idx.n - i <= q->farthest)
			(*out)[(*n)++] = (struct hnsw_row){HNSW_FARTHEST, r.id, r.data};
		for (size_t k = 0; k < q->ids_n; k++)
			if (q->ids[k] == r.id)
				(*out)[(*n)++] = (struct hnsw_row){HNSW_ASKED, r.id, r.data};
	}
	return OK;
}

static void index_begin(struct store *s)
{
	static const struct hnsw_ops hnsw = {.least = index_least, .find = index_find};

	idx = (struct index_store){.ops = *s->ops, .former = s->ops, .ready = true, .most = SIZE_MAX};
	idx.ops.hnsw = &hnsw;
	s->ops = &idx.ops;
}

/* By an index in the store: the best are the same, figures to the bit, while the words fit the cache; else by meaning alone. */
static void by_an_index(void **state)
{
	static const char *const queries[] = {"boat on the river", "number17", "the", "tea lamp storm apple", "nowhere"};
	struct rig *r = rig(0.33);
	struct memory *some = small_memory(r, (size_t)36 << 10), *few = small_memory(r, 12 << 10);
	size_t asked;

	(void)state;
	index_begin(r->b.store);
	for (int i = 0; i < 60; i++) {
		struct vector_question question;
		struct items_query q = {.prefix = STR("n"),
					.query = str_c(queries[i % 5]),
					.model = STR(MODEL),
					.question = &question,
					.mode = i % 3 == 2 ? RANK_BY_VECTORS : RANK_AUTO,
					.near = i % 2 ? 0.6 : 0,
					.want = i % 7 == 3 ? 600 : 1 + next(60),
					.explain = i % 2};
		struct items_found x, y, z;
		float v[DIMS];

		if (i == 20) { /* what changes has no vector yet */
			put(&r->b, "n.a", "k3", "{\"text\":\"boat of another kind\"}");
			put(&r->b, "n.a", "new", "{\"text\":\"apple and tea and nothing besides\"}");
		}
		random_question(&r->b.a, &question, v);
		OKAY(items_search(r->b.m, &r->b.a, &ann, &q, &x));
		OKAY(items_search(some, &r->b.a, &ann, &q, &y));
		OKAY(items_search(few, &r->b.a, &ann, &q, &z));
		assert_true(x.by_meaning && !x.by_hnsw && y.by_meaning && y.by_hnsw && z.by_hnsw);
		assert_true(!y.wordless && z.wordless == (q.mode != RANK_BY_VECTORS));
		assert_true(x.best == y.best || q.mode == RANK_BY_VECTORS);
		assert_true(x.highest == y.highest && fabs(x.lowest - y.lowest) < 1e-9);
		for (size_t k = 0; k < q.want && k < x.n; k++) {
			assert_true(k < y.n && x.v[k].id == y.v[k].id && fabs(x.v[k].score - y.v[k].score) < 1e-9);
			assert_true(x.v[k].like == y.v[k].like);
			assert_true(q.mode == RANK_BY_VECTORS || str_eq(x.v[k].words, y.v[k].words));
		}
		for (size_t k = 1; k < q.want && k < z.n; k++)
			assert_true(z.v[k].v <= z.v[k - 1].v && z.v[k].bm25 == 0 && fabs(z.v[k].score - z.v[k].v) < 1e-9);
	}
	/* Not ready, or too little let through: the scope is read. */
	asked = idx.asked;
	for (int i = 0; i < 3; i++) {
		struct vector_question question;
		struct items_query q = {
			.prefix = STR("n"), .query = STR("tea"), .model = STR(MODEL), .question = &question, .want = 20};
		struct items_found x, y;
		float v[DIMS];

		idx.ready = i != 0;
		idx.most = i == 1 ? 30 : SIZE_MAX;
		q.want = i == 2 ? 3000 : 20; /* and more are wanted than it gives */
		random_question(&r->b.a, &question, v);
		OKAY(items_search(r->b.m, &r->b.a, &ann, &q, &x));
		OKAY(items_search(some, &r->b.a, &ann, &q, &y));
		assert_true(!y.by_hnsw);
		same_found(&x, &y, q.want);
	}
	assert_int_equal(idx.asked, asked + 2);
	r->b.store->ops = idx.former;
	memory_free(some);
	memory_free(few);
	rig_free(r);
}

/* The best by cosines of the floats. */
static void as_brute_force(void **state)
{
	struct rig *r = rig(0);
	struct memory *few = small_memory(r, 4096);
	unsigned right = 0, asked = 0;

	(void)state;
	for (int i = 0; i < 40; i++) {
		struct vector_question question;
		struct items_query q = {.prefix = STR(""),
					.query = STR("boat"),
					.model = STR(MODEL),
					.question = &question,
					.mode = RANK_BY_VECTORS,
					.want = 10};
		struct items_found x;
		float v[DIMS];

		random_question(&r->b.a, &question, v);
		OKAY(items_search(few, &r->b.a, &ann, &q, &x));
		assert_true(x.n >= 10);
		for (size_t k = 0; k < 10; k++) {
			double mine = 0;
			unsigned better = 0;

			for (int pass = 0; pass < 2; pass++)
				for (size_t d = 0; d < r->n; d++) {
					double dot = 0, len = 0;

					for (int c = 0; c < DIMS; c++) {
						dot += (double)v[c] * (double)r->v[d][c];
						len += (double)r->v[d][c] * (double)r->v[d][c];
					}
					if (pass == 0 && r->id[d] == x.v[k].id)
						mine = dot / sqrt(len);
					better += pass == 1 && r->has[d] && dot / sqrt(len) > mine;
				}
			right += better < 10;
			asked++;
		}
	}
	assert_true(right * 100 >= asked * 99);
	memory_free(few);
	rig_free(r);
}

/* Where not all that matches can be remembered, the scope is read again, for the same answer. */
static void in_little_room(void **state)
{
	struct rig *r = rig(0.2);
	struct vector_question question;
	struct doc_scope scope = scope_of("n", MODEL);
	float v[DIMS];
	struct items_query q = {
		.prefix = STR("n"), .query = STR("river tea number5"), .model = STR(MODEL), .question = &question, .want = 20};
	struct items_scan much = {.words = memory_words(r->b.m),
				  .who = &ann,
				  .scope = &scope,
				  .q = &q,
				  .lex = 1.5,
				  .v = 2,
				  .room = ITEMS_SCAN_ROOM,
				  .until = NEVER,
				  .arena = &r->b.a},
			  little = much;

	(void)state;
	random_question(&r->b.a, &question, v);
	little.room = 1000;
	OKAY(items_scan(&much));
	OKAY(items_scan(&little));
	assert_true(much.ready && little.ready && much.r.n > 600);
	assert_int_equal(much.r.n, little.r.n);
	assert_true(much.r.complete && little.r.complete);
	assert_memory_equal(much.tf, little.tf, much.r.n * much.terms_n * sizeof *much.tf);
	for (size_t i = 0; i < much.r.n; i++) {
		assert_int_equal(much.r.r[i].id, little.r.r[i].id);
		assert_true(much.r.r[i].sum == little.r.r[i].sum);
		assert_true(much.r.r[i].bm25 == 0 || much.len[i] == little.len[i]);
	}
	/* No time: nothing is found, and who asked may go by words. */
	much = little;
	much.docs = much.vectors = 0;
	much.until = 1;
	OKAY(items_scan(&much));
	assert_true(much.late && !much.ready);
	rig_free(r);
}

/* A scope that once took too long to read is not read again, which is said with what would help, until it has another size. */
static void late_is_remembered(void **state)
{
	struct rig *r = rig(0.2);
	struct memory *few = small_memory(r, 4096);
	struct doc_scope scope = scope_of("n", MODEL);
	struct vector_question question;
	float v[DIMS];
	struct items_query q = {
		.prefix = STR("n"), .query = STR("river tea"), .model = STR(MODEL), .question = &question, .want = 20};
	struct items_found x;

	(void)state;
	random_question(&r->b.a, &question, v);
	OKAY(items_search(few, &r->b.a, &ann, &q, &x));
	assert_true(x.by_meaning && !x.late);
	words_set_late(memory_words(few), &r->b.a, &ann, &scope, ITEMS - 10);
	for (int i = 0; i < 2; i++) {
		OKAY(items_search(few, &r->b.a, &ann, &q, &x));
		assert_true(x.late && !x.by_meaning && x.n >= 20);
		assert_true(x.cache_needed > (uint64_t)ITEMS * 20 && x.cache_needed < (uint64_t)ITEMS * 1000);
	}
	words_set_late(memory_words(few), &r->b.a, &ann, &scope, ITEMS / 2);
	OKAY(items_search(few, &r->b.a, &ann, &q, &x));
	assert_true(x.late);
	OKAY(items_search(few, &r->b.a, &ann, &q, &x));
	assert_true(x.by_meaning && !x.late);
	memory_free(few);
	rig_free(r);
}

/* Too few vectors: by words, and a store that fails while the scope is read is an error. */
static void words_alone_and_errors(void **state)
{
	struct rig *r = rig(0.7);
	struct memory *few = small_memory(r, 4096);
	struct vector_question question;
	float v[DIMS];
	struct items_query q = {
		.prefix = STR("n"), .query = STR("river tea"), .model = STR(MODEL), .question = &question, .want = 20};
	struct items_found x, y;

	(void)state;
	random_question(&r->b.a, &question, v);
	OKAY(items_search(r->b.m, &r->b.a, &ann, &q, &x));
	OKAY(items_search(few, &r->b.a, &ann, &q, &y));
	assert_false(x.by_meaning || y.by_meaning);
	assert_int_equal(x.pending, y.pending);
	assert_true(y.pending > ITEMS / 2 && y.n >= 20 && x.n >= 20);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(x.v[i].id, y.v[i].id);
	fake_store_fail(r->b.store, E_TIMEOUT, 1);
	FAILS(items_search(few, &r->b.a, &ann, &q, &y), E_TIMEOUT);
	memory_free(few);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_as_in_memory), cmocka_unit_test(by_codes),
		cmocka_unit_test(as_brute_force),	 cmocka_unit_test(in_little_room),
		cmocka_unit_test(late_is_remembered),	 cmocka_unit_test(words_alone_and_errors),
		cmocka_unit_test(by_an_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
