/* Recall and store search by meaning: an encoder that knows some synonyms stands for a real one. */
#include <math.h>

#include "core/recall.h"
#include "core/testing.h"
#include "core/vectors.h"
#include "core/words_impl.h"

#define DIMS 32

/* ---------------------------------------------------------------- the encoder */

struct knowing {
	struct embedder base;
	enum err fail; /* OK: it answers */
	unsigned calls;
	char last[128];
};

static const char *const synonyms[][4] = {{"boat", "vessel", "ship", NULL},
					  {"dog", "puppy", "hound", NULL},
					  {"buy", "purchase", "acquire", NULL},
					  {"red", "crimson", NULL}};
#define GROUPS (sizeof synonyms / sizeof synonyms[0])

/* Words of one group lie in one direction, every other word in that of its first letters. */
static void add_word(struct str w, float *v)
{
	for (size_t g = 0; g < GROUPS; g++)
		for (int i = 0; synonyms[g][i]; i++)
			if (str_eq(w, str_c(synonyms[g][i]))) {
				v[g] += 4;
				return;
			}
	if (w.n)
		v[GROUPS + ((unsigned char)w.p[0] * 7 + (unsigned char)w.p[w.n - 1]) % (DIMS - GROUPS)] += 1;
}

static void vector_of(struct str text, float *v)
{
	size_t from = 0;
	double sum = 0;

	memset(v, 0, DIMS * sizeof *v);
	v[DIMS - 1] = 0.25f;
	for (size_t i = 0; i <= text.n; i++)
		if (i == text.n || !((text.p[i] >= 'a' && text.p[i] <= 'z') || (text.p[i] >= 'A' && text.p[i] <= 'Z'))) {
			add_word(str_sub(text, from, i), v);
			from = i + 1;
		}
	for (int d = 0; d < DIMS; d++)
		sum += (double)v[d] * v[d];
	for (int d = 0; d < DIMS; d++)
		v[d] /= (float)sqrt(sum);
}

static enum err knowing_encode(struct embedder *base, struct arena *a, const struct str *texts, size_t n,
			       const struct trace_span *span, struct embed_vectors *out)
{
	struct knowing *k = (struct knowing *)base;
	(void)span;

	k->calls++;
	if (k->fail != OK)
		return err_set(k->fail, "the encoder was told to fail");
	*out = (struct embed_vectors){.v = arena_array(a, n * DIMS, sizeof(float)), .dims = DIMS, .n = n};
	if (!out->v)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		vector_of(texts[i], out->v + i * DIMS);
	if (n)
		snprintf(k->last, sizeof k->last, "%.*s", (int)(texts[n - 1].n < 120 ? texts[n - 1].n : 120), texts[n - 1].p);
	return OK;
}

static void knowing_close(struct embedder *base)
{
	(void)base;
}

static const struct embed_ops knowing_ops = {knowing_encode, knowing_close};

struct rig {
	struct bench b;
	struct knowing enc;
	struct vectors *v;
};

static void rig_options(struct rig *r, struct memory_options mo)
{
	r->enc = (struct knowing){.base = {.ops = &knowing_ops, .model = STR("knowing"), .dims = DIMS, .batch = 16}};
	arena_init(&r->b.a, (size_t)256 << 20);
	r->b.store = fake_store_new();
	OKAY(vectors_new(r->b.store, &r->enc.base, NULL, &r->v));
	mo.vectors = r->v;
	mo.languages = STR("english");
	OKAY(memory_new(r->b.store, &mo, &r->b.m));
}

static void rig_init(struct rig *r)
{
	rig_options(r, (struct memory_options){.index_cache_bytes = (size_t)8 << 20, .near = 0.97});
}

static void rig_release(struct rig *r)
{
	memory_free(r->b.m);
	vectors_free(r->v);
	r->b.store->ops->close(r->b.store);
	arena_release(&r->b.a);
}

static void say(struct rig *r, const char *role, const char *name, const char *content)
{
	static int64_t now = 1700000000000000;
	struct message m = {
		.thread = STR("t"), .user = STR("ann"), .role = str_c(role), .name = str_c(name), .content = str_c(content)};
	size_t stored, unchanged;

	m.time_us = now += 1000000;
	OKAY(session_append(r->b.m, &r->b.a, &ann, &m, 1, &stored, &unchanged));
	assert_int_equal(stored, 1);
}

static const struct str user = STR_INIT("ann");

struct answer {
	struct recall_hit *h;
	size_t n;
	const char *why;
	enum rank_mode used;
	uint64_t pending;
};

static struct answer ask_with(struct rig *r, struct recall_request rq)
{
	struct answer x = {0};

	rq.user = &user;
	if (!rq.limit)
		rq.limit = 10;
	rq.why = &x.why;
	rq.used = &x.used;
	rq.pending = &x.pending;
	OKAY(recall(r->b.m, &r->b.a, &ann, &rq, &x.h, &x.n));
	for (size_t i = 0; i < x.n; i++) {
		assert_true(x.h[i].score >= 0 && x.h[i].score <= 1);
		assert_true(i == 0 || x.h[i].score <= x.h[i - 1].score);
	}
	return x;
}

static struct answer ask(struct rig *r, const char *query)
{
	return ask_with(r, (struct recall_request){.query = str_c(query)});
}

static const char *text_at(struct rig *r, const struct answer *x, size_t i)
{
	assert_true(i < x->n);
	return arena_cstr(&r->b.a, x->h[i].is_item ? x->h[i].item.value : x->h[i].message.content);
}

static void some_messages(struct rig *r)
{
	say(r, "person", "Ann", "the vessel is called Windflower");
	say(r, "person", "Bob", "nice weather again");
	say(r, "person", "Ann", "a hound barks over there");
	say(r, "person", "Bob", "tea at five?");
}

/* ---------------------------------------------------------------------- tests */

/* No word of the question is in the message, but its meaning is. */
static void messages_by_meaning(void **state)
{
	struct answer x;
	struct rig r;

	(void)state;
	rig_init(&r);
	some_messages(&r);
	OKAY(vectors_wait(r.v, &ann, 0));
	x = ask_with(&r, (struct recall_request){.query = STR("boat"), .want_messages = true});
	assert_string_equal(text_at(&r, &x, 0), "the vessel is called Windflower");
	assert_int_equal(x.used, RANK_AUTO);
	assert_int_equal(x.pending, 0);
	x = ask_with(&r, (struct recall_request){.query = STR("boat"), .want_messages = true, .mode = RANK_BY_WORDS});
	assert_int_equal(x.n, 0);
	assert_int_equal(x.used, RANK_BY_WORDS);
	x = ask_with(&r, (struct recall_request){.query = STR("the puppy"), .want_messages = true, .mode = RANK_BY_VECTORS});
	assert_string_equal(text_at(&r, &x, 0), "a hound barks over there");
	assert_int_equal(x.used, RANK_BY_VECTORS);
	rig_release(&r);
}

/* Names of speakers are not part of what is encoded. */
static void names_are_left_out(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	some_messages(&r);
	OKAY(vectors_wait(r.v, &ann, 0));
	(void)ask_with(&r, (struct recall_request){.query = STR("which boat has Ann?"), .want_messages = true});
	assert_string_equal(r.enc.last, "which boat has ?");
	(void)ask_with(&r, (struct recall_request){.query = STR("which boat has Ann?"), .want_items = true});
	assert_string_equal(r.enc.last, "which boat has Ann?");
	rig_release(&r);
}

static void items_by_meaning(void **state)
{
	struct op_search s = {.prefix = STR("notes"), .limit = 10, .query = STR("purchase a ship"), .explain = true};
	struct answer x;
	struct rig r;
	char key[8];

	(void)state;
	rig_init(&r);
	put(&r.b, "notes", "1", "{\"t\":\"we acquire the vessel in June\"}");
	put(&r.b, "notes", "2", "{\"t\":\"the hound sleeps\"}");
	put(&r.b, "notes", "3", "{\"t\":\"a ship in a bottle\"}");
	put(&r.b, "other", "1", "{\"t\":\"purchase a ship\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	x = ask_with(&r, (struct recall_request){.query = STR("buy a boat"), .want_items = true});
	assert_int_equal(x.n, 4);
	assert_string_equal(text_at(&r, &x, 0), "{\"t\":\"purchase a ship\"}");
	assert_string_equal(text_at(&r, &x, 1), "{\"t\":\"we acquire the vessel in June\"}");
	assert_int_equal(x.used, RANK_AUTO);
	/* The same by LangGraph's search, below one namespace. */
	OKAY(memory_search(r.b.m, &r.b.a, &ann, &s));
	assert_int_equal(s.n, 3);
	for (size_t i = 0; i < s.n; i++) {
		struct jval v = parsed(&r.b.a, arena_cstr(&r.b.a, s.hits[i].explain));
		double sum;

		assert_true(s.hits[i].scored && s.hits[i].score >= 0 && s.hits[i].score <= 1);
		assert_true(j_double(j_get(v, STR("sum")), &sum));
		assert_float_equal(s.hits[i].score, sum / 2.5, 1e-9);
	}
	/* Pages of one do not overlap and leave nothing out. */
	for (uint32_t i = 0; i < 3; i++) {
		struct op_search one = s;

		one.limit = 1;
		one.offset = i;
		OKAY(memory_search(r.b.m, &r.b.a, &ann, &one));
		assert_int_equal(one.n, 1);
		assert_true(str_eq(one.hits[0].item.key, s.hits[i].item.key));
		assert_float_equal(one.hits[0].score, s.hits[i].score, 0);
	}
	/* A filter does not make it shorter than it need be. */
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof key, "k%d", i);
		put(&r.b, "many", key, i % 100 == 7 ? "{\"t\":\"the weather\",\"n\":1}" : "{\"t\":\"the boat\",\"n\":2}");
	}
	OKAY(vectors_wait(r.v, &ann, 0));
	OKAY(filter_compile(&r.b.a, parsed(&r.b.a, "{\"n\":1}"), "/filter", &s.filter));
	s.prefix = STR("many");
	s.query = STR("vessel");
	OKAY(memory_search(r.b.m, &r.b.a, &ann, &s));
	assert_int_equal(s.n, 3);
	rig_release(&r);
}

/* What has no vector yet is found by its words. */
static void not_embedded_yet(void **state)
{
	struct answer x;
	struct rig r;

	(void)state;
	rig_init(&r);
	some_messages(&r);
	for (int i = 0; i < 6; i++)
		put(&r.b, "a", (char[]){(char)('a' + i), 0}, "{\"t\":\"nothing of interest\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	say(&r, "person", "Ann", "a kettle boils");
	put(&r.b, "a", "z", "{\"t\":\"kettle\"}");
	x = ask(&r, "kettle");
	assert_int_equal(x.pending, 2);
	assert_string_equal(text_at(&r, &x, 0), "a kettle boils");
	assert_string_equal(text_at(&r, &x, 1), "{\"t\":\"kettle\"}");
	rig_release(&r);
}

/* An encoder that does not answer: words, and the answer says so; by vectors alone it is an error. */
static void encoder_down(void **state)
{
	struct recall_request rq = {.query = STR("vessel"), .limit = 5, .mode = RANK_BY_VECTORS, .user = &user};
	struct answer x;
	struct rig r;

	(void)state;
	rig_init(&r);
	some_messages(&r);
	OKAY(vectors_wait(r.v, &ann, 0));
	r.enc.fail = E_UPSTREAM;
	x = ask(&r, "vessel");
	assert_string_equal(text_at(&r, &x, 0), "the vessel is called Windflower");
	assert_int_equal(x.used, RANK_BY_WORDS);
	assert_non_null(strstr(x.why, "encoder does not answer"));
	FAILS(recall(r.b.m, &r.b.a, &ann, &rq, &x.h, &x.n), E_UPSTREAM);
	rig_release(&r);
}

static void no_encoder(void **state)
{
	struct recall_request rq = {.query = STR("vessel"), .limit = 5, .mode = RANK_BY_VECTORS, .user = &user};
	struct answer x;
	struct bench b;

	(void)state;
	bench_init(&b);
	FAILS(recall(b.m, &b.a, &ann, &rq, &x.h, &x.n), E_INVALID);
	assert_string_equal(diag_get()->field, "/mode");
	bench_release(&b);
}

static void repetitions(void **state)
{
	struct answer x;
	struct rig r;

	(void)state;
	rig_init(&r);
	for (int i = 0; i < 5; i++)
		say(&r, "person", "Ann", "my boat is red");
	say(&r, "person", "Ann", "my vessel is crimson"); /* means the same */
	say(&r, "person", "Ann", "rain all day");
	put(&r.b, "a", "1", "{\"t\":\"boat is red\"}");
	put(&r.b, "a", "2", "{\"t\":\"boat is red\"}");
	put(&r.b, "a", "3", "{\"t\":\"ship is crimson\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	x = ask_with(&r, (struct recall_request){.query = STR("red boat"), .want_messages = true});
	assert_int_equal(x.n, 2);
	assert_non_null(strstr(x.why, "say the same"));
	x = ask_with(&r, (struct recall_request){.query = STR("red boat"), .want_items = true});
	assert_int_equal(x.n, 1);
	/* By words alone equal texts are left out. */
	x = ask_with(&r, (struct recall_request){.query = STR("red boat"), .want_items = true, .mode = RANK_BY_WORDS});
	assert_int_equal(x.n, 1);
	rig_release(&r);
	/* Not when the setting says so. */
	rig_options(&r, (struct memory_options){.index_cache_bytes = (size_t)8 << 20});
	for (int i = 0; i < 5; i++)
		say(&r, "person", "Ann", "my boat is red");
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(ask(&r, "red boat").n, 5);
	rig_release(&r);
}

/* What does not fit is passed over, and what fits is taken in its place. */
static void budget(void **state)
{
	struct answer x;
	struct rig r;
	char text[2001];

	(void)state;
	rig_init(&r);
	memset(text, 'x', sizeof text);
	memcpy(text, "boat boat ", 10);
	text[2000] = '\0';
	say(&r, "person", "Ann", text);
	say(&r, "person", "Ann", "boat one, which is blue");  /* 23 bytes: 6 tokens */
	say(&r, "person", "Ann", "boat two, which is green"); /* 24 bytes: 6 tokens */
	say(&r, "person", "Ann", "a boat");		      /* 2 tokens */
	OKAY(vectors_wait(r.v, &ann, 0));
	x = ask_with(&r, (struct recall_request){.query = STR("boat"), .want_messages = true, .budget_tokens = 14});
	assert_int_equal(x.n, 3);
	assert_non_null(strstr(x.why, "budget_tokens"));
	x = ask_with(&r, (struct recall_request){.query = STR("boat"), .want_messages = true, .budget_tokens = 8});
	assert_int_equal(x.n, 2);
	x = ask_with(&r, (struct recall_request){.query = STR("boat"), .want_messages = true, .budget_tokens = 1});
	assert_int_equal(x.n, 0);
	x = ask_with(&r, (struct recall_request){.query = STR("boat"), .want_messages = true, .budget_tokens = 600});
	assert_int_equal(x.n, 4);
	assert_int_equal(recall_tokens(STR("")), 0);
	assert_int_equal(recall_tokens(STR("a")), 1);
	assert_int_equal(recall_tokens(STR("abcde")), 2);
	assert_int_equal(recall_tokens(STR("\xe6\x97\xa5\xe6\x9c\xac ab")), 3);
	rig_release(&r);
}

static double number(struct jval v, const char *key)
{
	double d;

	assert_true(j_double(j_get(v, str_c(key)), &d));
	return d;
}

static void explanations(void **state)
{
	struct answer x;
	struct rig r;

	(void)state;
	rig_init(&r);
	some_messages(&r);
	put(&r.b, "a", "1", "{\"t\":\"ship licence\"}");
	put(&r.b, "a", "2", "{\"t\":\"boat\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	x = ask_with(&r, (struct recall_request){.query = STR("Ann has a boat"), .explain = true});
	assert_true(x.n >= 5);
	for (size_t i = 0; i < x.n; i++) {
		struct jval v = parsed(&r.b.a, arena_cstr(&r.b.a, x.h[i].explain)), features = j_get(v, STR("features")), key, f;
		struct j_iter it = j_iter(features);
		double sum = 0;
		int n = 0;

		for (; j_next(&it, &key, &f); n++) {
			assert_float_equal(number(f, "value") * number(f, "weight"), number(f, "contribution"), 1e-12);
			sum += number(f, "contribution");
		}
		assert_int_equal(n, x.h[i].is_item ? 2 : 12); /* of a message all but `user` */
		assert_float_equal(sum, number(v, "sum"), 1e-9);
		assert_true(fabs(number(v, "cosine")) <= 1.0001);
		assert_float_equal(number(j_get(features, STR("v")), "weight"), x.h[i].is_item ? 1.5 : 3.4, 0);
	}
	rig_release(&r);
}

/* Items lie in time by their last change. */
static void items_in_time(void **state)
{
	struct op_put op = {.ns = STR("a"), .key = STR("old"), .value = STR("{\"t\":\"boat\"}"), .updated_us = 1000000};
	struct answer x;
	struct rig r;

	(void)state;
	rig_init(&r);
	OKAY(memory_put(r.b.m, &r.b.a, &ann, &op));
	put(&r.b, "a", "new", "{\"t\":\"boat two\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	x = ask_with(&r, (struct recall_request){.query = STR("boat"), .want_items = true, .to_us = 2000000});
	assert_int_equal(x.n, 1);
	assert_true(str_eq(x.h[0].item.key, STR("old")));
	x = ask_with(&r, (struct recall_request){.query = STR("boat"), .want_items = true, .from_us = 2000000});
	assert_int_equal(x.n, 1);
	assert_true(str_eq(x.h[0].item.key, STR("new")));
	rig_release(&r);
}

/* A scope that is too large to be read in three seconds is read all the same when a filter leaves too few of what the words find.
 */
static void few_pass_a_filter(void **state)
{
	struct doc_scope scope = {.kind = DOC_ITEM, .prefix = STR("many"), .model = STR("knowing/32")};
	struct op_search s = {.prefix = STR("many"), .limit = 10, .query = STR("the ship")};
	const struct str many = STR("many");
	struct recall_request rq = {.query = s.query, .want_items = true, .namespaces = &many, .namespaces_n = 1};
	struct answer x;
	char key[16];
	struct rig r;

	(void)state;
	rig_options(&r, (struct memory_options){.index_cache_bytes = 4096});
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof key, "k%d", i);
		put(&r.b, "many", key,
		    i % 30 == 7	  ? "{\"t\":\"a vessel\",\"rare\":1}"
		    : i % 30 == 8 ? "{\"t\":\"a ship\"}"
				  : "{\"t\":\"a boat\"}");
	}
	OKAY(vectors_wait(r.v, &ann, 0));
	OKAY(memory_search(r.b.m, &r.b.a, &ann, &s));
	for (int filtered = 0; filtered < 2; filtered++) {
		words_set_late(memory_words(r.b.m), &r.b.a, &ann, &scope, 300);
		if (filtered)
			OKAY(filter_compile(&r.b.a, parsed(&r.b.a, "{\"rare\":1}"), "/filter", &s.filter));
		rq.filter = s.filter;
		OKAY(memory_search(r.b.m, &r.b.a, &ann, &s));
		assert_int_equal(s.n, 10); /* not filtered: the ships */
		x = ask_with(&r, rq);
		assert_int_equal(x.n, 10);
		for (int i = 0; i < 10; i++) {
			const char *want = filtered ? "{\"t\":\"a vessel\",\"rare\":1}" : "{\"t\":\"a ship\"}";

			assert_true(str_eq(s.hits[i].item.value, str_c(want)) && str_eq(x.h[i].item.value, str_c(want)));
		}
		assert_true(filtered ? x.why == NULL : strstr(x.why, "by words alone") != NULL);
	}
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_by_meaning), cmocka_unit_test(names_are_left_out),
		cmocka_unit_test(items_by_meaning),    cmocka_unit_test(not_embedded_yet),
		cmocka_unit_test(encoder_down),	       cmocka_unit_test(no_encoder),
		cmocka_unit_test(repetitions),	       cmocka_unit_test(budget),
		cmocka_unit_test(explanations),	       cmocka_unit_test(items_in_time),
		cmocka_unit_test(few_pass_a_filter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
