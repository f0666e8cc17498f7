/* Recall: messages and items in one answer, whose they are, restrictions, budgets, explanations. The ranker itself is tested in
 * index/. */
#include "core/recall.h"

#include "core/testing.h"

static void say_as(struct bench *b, const struct principal *who, const char *user, const char *thread, const char *role,
		   const char *name, const char *content, int64_t time_us)
{
	struct message m = {.thread = str_c(thread),
			    .mid = STR(""),
			    .user = str_c(user),
			    .role = str_c(role),
			    .name = str_c(name),
			    .content = str_c(content),
			    .time_us = time_us};
	size_t stored, unchanged;

	OKAY(session_append(b->m, &b->a, who, &m, 1, &stored, &unchanged));
	assert_int_equal(stored, 1);
}

static void say(struct bench *b, const char *thread, const char *content, int64_t time_us)
{
	say_as(b, &ann, "ann", thread, "user", "", content, time_us);
}

struct answer {
	struct recall_hit *h;
	size_t n;
};

static struct answer ask_as(struct bench *b, const struct principal *who, struct recall_request rq)
{
	static const struct str user = STR_INIT("ann");
	struct answer r;

	if (!rq.user && !who->user_bound)
		rq.user = &user;
	if (!rq.limit)
		rq.limit = 10;
	OKAY(recall(b->m, &b->a, who, &rq, &r.h, &r.n));
	for (size_t i = 0; i < r.n; i++) {
		assert_true(r.h[i].score >= 0 && r.h[i].score <= 1);
		assert_true(i == 0 || r.h[i].score <= r.h[i - 1].score);
	}
	return r;
}

static struct answer ask(struct bench *b, const char *query)
{
	return ask_as(b, &ann, (struct recall_request){.query = str_c(query)});
}

static bool has_text(const struct answer *r, const char *text)
{
	for (size_t i = 0; i < r->n; i++)
		if (str_eq(r->h[i].is_item ? r->h[i].item.value : r->h[i].message.content, str_c(text)))
			return true;
	return false;
}

static void messages_and_items(void **state)
{
	struct bench b;
	struct answer r;

	(void)state;
	bench_init(&b);
	assert_int_equal(ask(&b, "anything").n, 0);
	say(&b, "t1", "the boat is called Windflower", 0);
	say(&b, "t1", "nice weather today", 0);
	say_as(&b, &ann, "zoe", "t9", "user", "", "the boat of somebody else", 0);
	put(&b, "notes", "1", "{\"t\":\"boat licence expires in June\"}");
	put(&b, "notes", "2", "{\"t\":\"buy bread\"}");
	r = ask(&b, "what about the boat");
	assert_int_equal(r.n, 2); /* one message of the user, one item; the weather has nothing to do with it */
	assert_false(r.h[0].is_item);
	assert_true(str_eq(r.h[0].message.content, STR("the boat is called Windflower")));
	assert_true(r.h[1].is_item);
	assert_float_equal(r.h[0].score, 1, 0);
	assert_float_equal(r.h[1].score, 1, 0);
	assert_false(has_text(&r, "the boat of somebody else"));
	r = ask_as(&b, &ann, (struct recall_request){.query = STR("boat"), .want_items = true});
	assert_int_equal(r.n, 1);
	assert_true(r.h[0].is_item);
	r = ask_as(&b, &ann, (struct recall_request){.query = STR("boat"), .want_messages = true});
	assert_int_equal(r.n, 1);
	assert_false(r.h[0].is_item);
	r = ask_as(&b, &ann, (struct recall_request){.query = STR("boat"), .limit = 1});
	assert_int_equal(r.n, 1);
	/* What is said is recalled at once; what is deleted is not. */
	say(&b, "t1", "the boat has a new sail", 0);
	r = ask(&b, "sail");
	assert_true(str_eq(r.h[0].message.content, STR("the boat has a new sail")));
	OKAY(session_delete(b.m, &ann, STR("t1")));
	r = ask_as(&b, &ann, (struct recall_request){.query = STR("sail"), .want_messages = true});
	assert_int_equal(r.n, 0);
	/* Another tenant has nothing of it. */
	assert_int_equal(ask_as(&b, &other, (struct recall_request){.query = STR("boat")}).n, 0);
	bench_release(&b);
}

/* A question that nothing in the scope speaks to finds nothing, and says so. */
static void nothing_fits(void **state)
{
	const char *why = "unset";
	struct recall_request rq = {.query = STR("zebra quantum"), .why = &why};
	struct bench b;

	(void)state;
	bench_init(&b);
	say(&b, "t1", "the boat is called Windflower", 0);
	say(&b, "t1", "when do we sail?", 0);
	put(&b, "notes", "1", "{\"t\":\"buy bread\"}");
	assert_int_equal(ask_as(&b, &ann, rq).n, 0);
	assert_non_null(why);
	assert_non_null(strstr(why, "nothing else"));
	rq.query = STR("boat");
	rq.limit = 1;
	assert_int_equal(ask_as(&b, &ann, rq).n, 1);
	assert_null(why);
	bench_release(&b);
}

/* What says the same as a better result takes no place of others, however much there is of it. */
static void many_the_same(void **state)
{
	const char *why = NULL;
	struct recall_request rq = {.query = STR("boat"), .limit = 10, .want_messages = true, .why = &why};
	struct memory_options opt = {.languages = STR("english"), .index_cache_bytes = (size_t)8 << 20, .near = 0.97};
	struct answer r;
	struct bench b;
	char key[16];

	(void)state;
	bench_options(&b, &opt);
	for (int i = 0; i < 400; i++)
		say(&b, "t1", "boat boat", 1000000 * (i + 1));
	say(&b, "t1", "a boat that was painted red in the harbour", 0);
	say(&b, "t1", "a boat that was painted blue in the harbour", 0);
	r = ask_as(&b, &ann, rq);
	assert_int_equal(r.n, 3);
	assert_non_null(strstr(why, "say the same"));
	assert_non_null(strstr(why, "nothing else"));
	put(&b, "a", "red", "{\"t\":\"a boat that was painted red in the harbour\"}");
	put(&b, "a", "blue", "{\"t\":\"a boat that was painted blue in the harbour\"}");
	for (int i = 0; i < 400; i++) {
		snprintf(key, sizeof key, "k%d", i);
		put(&b, "a", key, "{\"t\":\"boat boat\"}");
	}
	rq.want_messages = false;
	rq.want_items = true;
	r = ask_as(&b, &ann, rq);
	assert_int_equal(r.n, 3);
	assert_true(has_text(&r, "{\"t\":\"a boat that was painted blue in the harbour\"}"));
	rq.limit = 3;
	assert_int_equal(ask_as(&b, &ann, rq).n, 3);
	assert_null(why);
	/* Also where the order is that of time. */
	rq.query = STR("");
	assert_int_equal(ask_as(&b, &ann, rq).n, 3);
	bench_release(&b);
}

static void whose_memory(void **state)
{
	struct str bob = STR("bob@example.com"), zoe = STR("zoe");
	struct str own = STR("users.bob-at-example-com"), foreign = STR("users.zoe");
	struct recall_request rq = {.query = STR("boat"), .limit = 5};
	struct bench b;
	struct answer r;

	(void)state;
	bench_init(&b);
	say_as(&b, &ann, "bob@example.com", "t1", "user", "", "my boat", 0);
	say_as(&b, &ann, "zoe", "t2", "user", "", "her boat", 0);
	put(&b, "users.bob-at-example-com", "1", "{\"t\":\"boat of Bob\"}");
	put(&b, "users.zoe", "1", "{\"t\":\"boat of Zoe\"}");
	/* A bound principal needs no user, may name itself, and nobody else. */
	r = ask_as(&b, &bound, rq);
	assert_int_equal(r.n, 2);
	assert_true(has_text(&r, "my boat") && has_text(&r, "{\"t\":\"boat of Bob\"}"));
	rq.user = &bob;
	assert_int_equal(ask_as(&b, &bound, rq).n, 2);
	rq.user = &zoe;
	FAILS(recall(b.m, &b.a, &bound, &rq, &r.h, &r.n), E_DENIED);
	rq.want_items = true;
	FAILS(recall(b.m, &b.a, &bound, &rq, &r.h, &r.n), E_DENIED);
	rq = (struct recall_request){.query = STR("boat"), .limit = 5, .namespaces = &own, .namespaces_n = 1};
	assert_int_equal(ask_as(&b, &bound, rq).n, 2);
	rq.namespaces = &foreign;
	FAILS(recall(b.m, &b.a, &bound, &rq, &r.h, &r.n), E_DENIED);
	/* Without a credential of one user: the user that is named, or threads without a user. */
	rq = (struct recall_request){.query = STR("boat"), .limit = 5, .want_messages = true, .user = &zoe};
	r = ask_as(&b, &ann, rq);
	assert_int_equal(r.n, 1);
	assert_true(has_text(&r, "her boat"));
	FAILS(recall(b.m, &b.a, NULL, &rq, &r.h, &r.n), E_DENIED);
	bench_release(&b);
}

static void restrictions(void **state)
{
	struct str threads[] = {STR("t2")}, spaces[] = {STR("a"), STR("a.b"), STR("c")};
	struct recall_request rq = {.query = STR("boat"), .want_messages = true, .threads = threads, .threads_n = 1};
	struct bench b;
	struct answer r;

	(void)state;
	bench_init(&b);
	say(&b, "t1", "boat one", 1000000);
	say(&b, "t2", "boat two", 2000000);
	say(&b, "t2", "boat three", 3000000);
	put(&b, "a", "1", "{\"t\":\"boat\",\"n\":1}");
	put(&b, "a.b", "2", "{\"t\":\"boat\",\"n\":2}");
	put(&b, "c", "3", "{\"t\":\"boat\",\"n\":3}");
	put(&b, "d", "4", "{\"t\":\"boat\",\"n\":4}");
	r = ask_as(&b, &ann, rq);
	assert_int_equal(r.n, 2);
	assert_false(has_text(&r, "boat one"));
	rq = (struct recall_request){.query = STR("boat"), .want_messages = true, .from_us = 2000000, .to_us = 2500000};
	r = ask_as(&b, &ann, rq);
	assert_int_equal(r.n, 1);
	assert_true(has_text(&r, "boat two"));
	rq.from_us = 3000000;
	rq.user = &threads[0];
	rq.limit = 1;
	FAILS(recall(b.m, &b.a, &ann, &rq, &r.h, &r.n), E_INVALID);
	/* Overlapping namespaces give an item once. */
	rq = (struct recall_request){.query = STR("boat"), .want_items = true, .namespaces = spaces, .namespaces_n = 3};
	r = ask_as(&b, &ann, rq);
	assert_int_equal(r.n, 3);
	assert_false(has_text(&r, "{\"t\":\"boat\",\"n\":4}"));
	OKAY(filter_compile(&b.a, parsed(&b.a, "{\"n\":{\"$gte\":2}}"), "/filter", &rq.filter));
	r = ask_as(&b, &ann, rq);
	assert_int_equal(r.n, 2);
	rq.limit = 0;
	FAILS(recall(b.m, &b.a, &ann, &rq, &r.h, &r.n), E_INVALID);
	rq.limit = 1001;
	FAILS(recall(b.m, &b.a, &ann, &rq, &r.h, &r.n), E_INVALID);
	bench_release(&b);
}

/* A filter that few pass does not make the answer short. */
static void a_narrow_filter(void **state)
{
	struct recall_request rq = {.query = STR("boat"), .want_items = true, .limit = 5};
	struct bench b;
	char key[16], value[64];

	(void)state;
	bench_init(&b);
	for (int i = 0; i < 500; i++) {
		snprintf(key, sizeof key, "k%d", i);
		snprintf(value, sizeof value, "{\"t\":\"%sboat\",\"n\":%d}", i % 100 == 99 ? "old rusty " : "", i % 100);
		put(&b, "a", key, value);
	}
	OKAY(filter_compile(&b.a, parsed(&b.a, "{\"n\":99}"), "/filter", &rq.filter));
	assert_int_equal(ask_as(&b, &ann, rq).n, 5);
	bench_release(&b);
}

static void no_words(void **state)
{
	struct bench b;
	struct answer r;

	(void)state;
	bench_init(&b);
	say(&b, "t", "first", 1000000);
	say(&b, "t", "second", 2000000);
	put(&b, "a", "1", "{\"t\":\"old\"}");
	put(&b, "a", "2", "{\"t\":\"new\"}");
	r = ask_as(&b, &ann, (struct recall_request){.query = STR("what is the"), .want_messages = true, .explain = true});
	assert_int_equal(r.n, 2);
	assert_true(str_eq(r.h[0].message.content, STR("second")));
	assert_non_null(strstr(arena_cstr(&b.a, r.h[0].explain), "newest first"));
	r = ask_as(&b, &ann, (struct recall_request){.query = STR(""), .want_items = true, .explain = true});
	assert_int_equal(r.n, 2);
	assert_true(str_eq(r.h[0].item.key, STR("2")));
	assert_non_null(strstr(arena_cstr(&b.a, r.h[0].explain), "newest first"));
	r = ask(&b, "");
	assert_int_equal(r.n, 4);
	bench_release(&b);
}

static void budget(void **state)
{
	struct bench b;
	struct answer r;

	(void)state;
	bench_init(&b);
	for (int i = 0; i < 10; i++)
		say(&b, "t", "boat 34567890123456789012345678901234567", 1000000 + i); /* 40 bytes: 10 tokens */
	r = ask_as(&b, &ann, (struct recall_request){.query = STR("boat"), .budget_tokens = 35});
	assert_int_equal(r.n, 3);
	r = ask_as(&b, &ann, (struct recall_request){.query = STR("boat"), .budget_tokens = 9});
	assert_int_equal(r.n, 0);
	r = ask_as(&b, &ann, (struct recall_request){.query = STR("boat")});
	assert_int_equal(r.n, 10);
	bench_release(&b);
}

static double number(struct jval v, const char *key)
{
	double d;

	assert_true(j_double(j_get(v, str_c(key)), &d));
	return d;
}

static void explanations(void **state)
{
	struct bench b;
	struct answer r;

	(void)state;
	bench_init(&b);
	say_as(&b, &ann, "ann", "t", "person", "Bob", "Where is the boat?", 0);
	say_as(&b, &ann, "ann", "t", "person", "Ann", "the boat is in the harbour", 0);
	put(&b, "a", "1", "{\"t\":\"boat licence\"}");
	r = ask_as(&b, &ann, (struct recall_request){.query = STR("Where did Ann see the boat?"), .explain = true});
	assert_int_equal(r.n, 3);
	for (size_t i = 0; i < r.n; i++) {
		struct jval v = parsed(&b.a, arena_cstr(&b.a, r.h[i].explain)), key, f;
		struct j_iter it;
		double sum = 0;
		int n = 0;

		if (r.h[i].is_item) {
			assert_float_equal(number(v, "bm25") / number(v, "best"), r.h[i].score, 1e-12);
			assert_true(j_is(j_get(j_get(v, STR("detail")), STR("words")), JSON_ARRAY));
			continue;
		}
		it = j_iter(j_get(v, STR("features")));
		for (; j_next(&it, &key, &f); n++) {
			assert_float_equal(number(f, "value") * number(f, "weight"), number(f, "contribution"), 1e-12);
			sum += number(f, "contribution");
		}
		assert_int_equal(n, 10); /* all but `user`: nobody has a role here */
		assert_float_equal(sum, number(v, "sum"), 1e-9);
		assert_true(j_is(j_get(v, STR("roles")), JSON_FALSE));
		assert_int_equal((int)number(v, "messages"), 2);
	}
	assert_true(str_eq(r.h[0].message.content, STR("the boat is in the harbour")));
	bench_release(&b);
}

/* With the cache, without it and with one that is far too small the answers are the same. */
static void cache_does_not_matter(void **state)
{
	static const size_t ceilings[] = {8 << 20, 0, 4096};
	struct str order[3][50];
	double scores[3][50];

	(void)state;
	for (int k = 0; k < 3; k++) {
		struct memory_options opt = {.languages = STR("english"), .index_cache_bytes = ceilings[k]};
		struct bench b;
		struct answer r;
		char text[100];

		bench_options(&b, &opt);
		for (int i = 0; i < 1500; i++) {
			snprintf(text, sizeof text, "boat%d sail%d harbour%d", i % 3, i % 17, i % 101);
			say(&b, i % 3 ? "t1" : "t2", text, 1000000 + i);
			if (i % 300 == 0)
				(void)ask(&b, "boat1");
		}
		r = ask_as(&b, &ann, (struct recall_request){.query = STR("boat1 sail4 harbour77"), .limit = 50});
		assert_int_equal(r.n, 50);
		for (int i = 0; i < 50; i++) {
			order[k][i] = str_of(malloc(r.h[i].message.content.n + 1), r.h[i].message.content.n);
			memcpy((char *)order[k][i].p, r.h[i].message.content.p, r.h[i].message.content.n);
			scores[k][i] = r.h[i].score;
			assert_true(str_eq(order[k][i], order[0][i]));
			assert_memory_equal(&scores[k][i], &scores[0][i], sizeof(double));
		}
		bench_release(&b);
	}
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < 50; i++)
			free((char *)order[k][i].p);
}

static void a_store_that_fails(void **state)
{
	struct recall_request rq = {.query = STR("boat"), .limit = 5};
	struct bench b;
	struct answer r;

	(void)state;
	bench_init(&b);
	say_as(&b, &ann, "", "t", "user", "", "my boat", 0);
	fake_store_fail(b.store, E_IO, 1);
	FAILS(recall(b.m, &b.a, &ann, &rq, &r.h, &r.n), E_IO);
	OKAY(recall(b.m, &b.a, &ann, &rq, &r.h, &r.n));
	assert_int_equal(r.n, 1);
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_and_items), cmocka_unit_test(nothing_fits),
		cmocka_unit_test(many_the_same),      cmocka_unit_test(whose_memory),
		cmocka_unit_test(restrictions),	      cmocka_unit_test(a_narrow_filter),
		cmocka_unit_test(no_words),	      cmocka_unit_test(budget),
		cmocka_unit_test(explanations),	      cmocka_unit_test(cache_does_not_matter),
		cmocka_unit_test(a_store_that_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
