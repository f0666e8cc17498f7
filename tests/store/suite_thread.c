/* Rules of threads: one listing of everything, records and their versions, owners, removing by parts. */
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const struct principal ANN = {.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .user_bound = true, .rights = RIGHT_ALL};
static const struct principal BEN = {.tenant = STR_INIT("alice"), .user = STR_INIT("ben"), .user_bound = true, .rights = RIGHT_ALL};
static const struct principal FOR_ANN = {.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .rights = RIGHT_ALL};
static const struct principal READER = {.tenant = STR_INIT("alice"), .rights = RIGHT_READ};

#define OPS (S->ops->threads)
#define EARLY "1ef00000-0000-6000-8000-000000000000"
#define LATE "1ef00001-0000-6000-8001-000000000000"

static struct arena scratch;

static void message(const char *thread, const char *user)
{
	struct message m = {.thread = str_c(thread),
			    .mid = STR("m"),
			    .user = str_c(user),
			    .role = STR("user"),
			    .content = STR("text"),
			    .terms = STR("t")};
	assert_ok(S->ops->message_append(S, &ALICE, &m, 1));
}

static enum err entry_as(const struct principal *who, const char *thread)
{
	struct session_entry v = {.data = STR("{\"role\":\"user\",\"content\":\"hi\"}")};
	struct entry_append a = {.thread = str_c(thread), .v = &v, .n = 1};
	return OPS->append(S, who, &a);
}

static enum err checkpoint_as(const struct principal *who, const char *thread, const char *id)
{
	struct ckpt_value v = {.channel = STR("c"), .version = STR("1"), .type = STR("msgpack"), .bytes = STR("\xc0")};
	struct ckpt_change c = {.op = CK_PUT,
				.thread = str_c(thread),
				.id = str_c(id),
				.checkpoint = STR("{\"v\":4,\"channel_values\":{},\"channel_versions\":{\"c\":\"1\"}}"),
				.metadata = STR("{}"),
				.values = &v,
				.values_n = 1};
	return S->ops->checkpoints->write(S, who, &c, 1);
}

static enum err pending(const char *thread, const char *id, const char *channel)
{
	struct ckpt_pending w = {.task_id = STR("t"), .channel = str_c(channel), .type = STR("msgpack"), .bytes = STR("\xc0")};
	struct ckpt_change c = {.op = CK_WRITES, .thread = str_c(thread), .id = str_c(id), .writes = &w, .writes_n = 1};
	return S->ops->checkpoints->write(S, &ALICE, &c, 1);
}

static bool get_as(const struct principal *who, const char *thread, struct thread_info *t)
{
	bool found;
	assert_ok(OPS->get(S, &scratch, who, str_c(thread), t, &found));
	return found;
}

/* The record as JSON, the same object whatever the spaces; "" counts as {}. */
static void assert_json(const char *want, struct str got)
{
	suite_assert_value(str_c(want), got.n ? got : STR("{}"), __FILE__, __LINE__);
}

static bool add(void *ctx, const struct thread_info *t)
{
	assert_true(t->created_us > 0 && t->updated_us >= t->created_us);
	buf_printf(ctx, "%.*s(%.*s,%lld,%lld,%lld) ", STR_ARG(t->thread), STR_ARG(t->user), (long long)t->messages,
		   (long long)t->checkpoints, (long long)t->entries);
	return true;
}

static const char *list_as(const struct principal *who, const char *user, const char *after, size_t limit)
{
	struct buf b;
	struct str u = str_c(user);
	arena_clear(&scratch);
	buf_init(&b, &scratch, 4 << 20);
	assert_ok(S->ops->thread_list(S, who, user ? &u : NULL, str_c(after), limit, add, &b));
	buf_byte(&b, 0);
	return b.p;
}

static void one_listing(void **state)
{
	struct thread_info t;
	struct thread_record r = {.thread = STR("r")};
	(void)state;
	message("m", "ann");
	assert_ok(entry_as(&ALICE, "e"));
	assert_ok(entry_as(&ALICE, "e"));
	assert_ok(checkpoint_as(&ALICE, "c", EARLY));
	assert_ok(checkpoint_as(&ALICE, "c", LATE));
	assert_ok(OPS->put(S, &ALICE, &r, IF_ANY));
	message("all", "");
	assert_ok(entry_as(&ALICE, "all"));
	assert_ok(checkpoint_as(&ALICE, "all", EARLY));
	assert_string_equal(list_as(&ALICE, NULL, "", 100), "all(,1,1,1) c(,0,2,0) e(,0,0,2) m(ann,1,0,0) r(,0,0,0) ");
	assert_string_equal(list_as(&ALICE, NULL, "c", 2), "e(,0,0,2) m(ann,1,0,0) ");
	assert_string_equal(list_as(&ALICE, NULL, "", 1), "all(,1,1,1) ");
	assert_string_equal(list_as(&ALICE, NULL, "r", 10), "");
	assert_string_equal(list_as(&ALICE, NULL, "", 0), "");
	assert_string_equal(list_as(&BOB, NULL, "", 10), "");
	assert_true(get_as(&ALICE, "all", &t));
	assert_true(t.messages == 1 && t.entries == 1 && t.checkpoints == 1 && t.version == 0);
	assert_false(get_as(&BOB, "all", &t));
	assert_false(get_as(&ALICE, "none", &t));
	S = suite_driver->reopen(S);
	assert_string_equal(list_as(&ALICE, NULL, "c", 2), "e(,0,0,2) m(ann,1,0,0) ");
}

/* By bytes, whatever a locale thinks. */
static void byte_order(void **state)
{
	static const char *const names[] = {"a",   "Z", "_",  "\xc3\xa9",    "a b", "-", "\xf0\x9f\x98\x80",
					    "a-b", "B", "ab", "\xef\xbf\xbd"};
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (i % 3 == 0)
			assert_ok(entry_as(&ALICE, names[i]));
		else if (i % 3 == 1)
			assert_ok(checkpoint_as(&ALICE, names[i], EARLY));
		else
			message(names[i], "");
	}
	const char *all = arena_cstr(&scratch, str_c(list_as(&ALICE, NULL, "", 100)));
	static const char *const sorted[] = {
		"-", "B", "Z", "_", "a", "a b", "a-b", "ab", "\xc3\xa9", "\xef\xbf\xbd", "\xf0\x9f\x98\x80"};
	const char *at = all;
	for (size_t i = 0; i < sizeof sorted / sizeof *sorted; i++) {
		size_t n = strlen(sorted[i]);
		assert_int_equal(strncmp(at, sorted[i], n), 0);
		assert_int_equal(at[n], '(');
		at = strchr(at, ')') + 2;
	}
	assert_int_equal(*at, 0);
	/* the same page by page */
	const char *after = "";
	for (size_t i = 0; i < sizeof sorted / sizeof *sorted; i++) {
		const char *page = list_as(&ALICE, NULL, after, 1);
		size_t n = strlen(sorted[i]);
		assert_int_equal(strncmp(page, sorted[i], n), 0);
		assert_int_equal(page[n], '(');
		after = sorted[i];
	}
	assert_string_equal(list_as(&ALICE, NULL, after, 1), "");
}

struct seen {
	size_t n;
	char last[64];
};

static bool count(void *ctx, const struct thread_info *t)
{
	struct seen *x = ctx;
	assert_true(str_cmp(str_c(x->last), t->thread) < 0);
	snprintf(x->last, sizeof x->last, "%.*s", STR_ARG(t->thread));
	x->n++;
	return true;
}

static void many_threads(void **state)
{
	enum { N = 2300 };
	struct seen all = {0}, paged = {0};
	struct message *m = calloc(N, sizeof *m);
	char(*names)[16] = calloc(N, sizeof *names);
	(void)state;
	for (size_t i = 0; i < N; i++) {
		snprintf(names[i], sizeof names[i], "t%05zu", i);
		m[i] = (struct message){
			.thread = str_c(names[i]), .mid = STR("m"), .role = STR("user"), .content = STR("x"), .terms = STR("t")};
	}
	assert_ok(S->ops->message_append(S, &ALICE, m, N));
	for (size_t i = 0; i < N; i += 100)
		assert_ok(entry_as(&ALICE, arena_cstr(&scratch, arena_printf(&scratch, "s%05zu", i))));
	assert_ok(S->ops->thread_list(S, &ALICE, NULL, STR(""), SIZE_MAX, count, &all));
	assert_int_equal(all.n, N + N / 100);
	for (size_t before = 1; before != paged.n;) {
		char after[64];
		before = paged.n;
		snprintf(after, sizeof after, "%s", paged.last);
		assert_ok(S->ops->thread_list(S, &ALICE, NULL, str_c(after), 400, count, &paged));
	}
	assert_int_equal(paged.n, N + N / 100);
	free(m);
	free(names);
}

static void records(void **state)
{
	struct thread_record r = {.thread = STR("t"),
				  .user = STR("ann"),
				  .metadata = STR("{\"a\":{\"b\":[1,null]}}"),
				  .config = STR("{\"k\":\"\xc3\xa9\"}"),
				  .ttl_minutes = 1.5,
				  .ttl_strategy = TTL_KEEP_LATEST};
	struct thread_info t;
	(void)state;
	assert_ok(OPS->put(S, &ALICE, &r, IF_ABSENT));
	assert_int_equal(r.version, 1);
	assert_err(E_CONFLICT, OPS->put(S, &ALICE, &r, IF_ABSENT));
	assert_true(get_as(&ALICE, "t", &t));
	assert_str(STR("ann"), t.user);
	assert_json("{\"a\":{\"b\":[1,null]}}", t.metadata);
	assert_json("{\"k\":\"\xc3\xa9\"}", t.config);
	assert_true(t.ttl_minutes == 1.5 && t.ttl_strategy == TTL_KEEP_LATEST && t.version == 1);
	/* a thread keeps its user */
	r = (struct thread_record){.thread = STR("t"), .user = STR("ben"), .version = 1};
	assert_ok(OPS->put(S, &ALICE, &r, IF_VERSION));
	assert_int_equal(r.version, 2);
	r.version = 1;
	assert_err(E_CONFLICT, OPS->put(S, &ALICE, &r, IF_VERSION));
	assert_true(get_as(&ALICE, "t", &t));
	assert_str(STR("ann"), t.user);
	assert_json("{}", t.metadata);
	assert_true(t.ttl_minutes == 0 && t.version == 2);
	assert_ok(OPS->put(S, &ALICE, &r, IF_ANY));
	assert_int_equal(r.version, 3);
	/* anything under the name counts as being there */
	message("m", "");
	assert_ok(entry_as(&ALICE, "e"));
	assert_ok(checkpoint_as(&ALICE, "c", EARLY));
	static const char *const names[] = {"m", "e", "c"};
	for (size_t i = 0; i < 3; i++) {
		r = (struct thread_record){.thread = str_c(names[i])};
		assert_err(E_CONFLICT, OPS->put(S, &ALICE, &r, IF_ABSENT));
		assert_ok(OPS->put(S, &ALICE, &r, IF_VERSION)); /* it has no record yet */
		assert_int_equal(r.version, 1);
	}
	r = (struct thread_record){.thread = STR("new"), .version = 7};
	assert_err(E_CONFLICT, OPS->put(S, &ALICE, &r, IF_VERSION));
	assert_false(get_as(&ALICE, "new", &t));
	assert_err(E_DENIED, OPS->put(S, &READER, &r, IF_ANY));
	S = suite_driver->reopen(S);
	assert_true(get_as(&ALICE, "t", &t));
	assert_int_equal(t.version, 3);
}

static void owners(void **state)
{
	struct thread_info t;
	struct thread_record r = {.thread = STR("a"), .user = STR("ann")};
	(void)state;
	assert_ok(OPS->put(S, &ANN, &r, IF_ABSENT));
	assert_ok(entry_as(&BEN, "b"));
	assert_ok(checkpoint_as(&BEN, "cb", EARLY));
	assert_ok(entry_as(&ALICE, "n"));
	assert_string_equal(list_as(&ALICE, NULL, "", 9), "a(ann,0,0,0) b(ben,0,0,1) cb(ben,0,1,0) n(,0,0,1) ");
	assert_string_equal(list_as(&ANN, NULL, "", 9), "a(ann,0,0,0) ");
	assert_string_equal(list_as(&BEN, NULL, "", 9), "b(ben,0,0,1) cb(ben,0,1,0) ");
	assert_string_equal(list_as(&FOR_ANN, NULL, "", 9), "a(ann,0,0,0) n(,0,0,1) ");
	assert_string_equal(list_as(&FOR_ANN, "ann", "", 9), "a(ann,0,0,0) ");
	assert_string_equal(list_as(&FOR_ANN, "ben", "", 9), "");
	assert_string_equal(list_as(&ANN, "ben", "", 9), "");
	assert_string_equal(list_as(&ALICE, "ben", "", 9), "b(ben,0,0,1) cb(ben,0,1,0) ");
	assert_string_equal(list_as(&ALICE, "", "", 9), "n(,0,0,1) ");
	assert_false(get_as(&BEN, "a", &t));
	assert_false(get_as(&BEN, "n", &t));
	assert_true(get_as(&FOR_ANN, "n", &t));
	assert_true(get_as(&ANN, "a", &t));
	r = (struct thread_record){.thread = STR("a"), .user = STR("ben")};
	assert_err(E_CONFLICT, OPS->put(S, &BEN, &r, IF_ANY));
	r = (struct thread_record){.thread = STR("n"), .user = STR("ben")};
	assert_err(E_CONFLICT, OPS->put(S, &BEN, &r, IF_ANY));
	assert_err(E_NOT_FOUND, OPS->remove(S, &BEN, STR("a"), THREAD_ALL));
	assert_err(E_NOT_FOUND, OPS->remove(S, &BEN, STR("n"), THREAD_ALL));
	assert_err(E_CONFLICT, checkpoint_as(&ANN, "b", LATE));
	assert_err(E_CONFLICT, checkpoint_as(&ANN, "n", LATE));
	assert_err(E_CONFLICT, entry_as(&ANN, "cb"));
	struct message m = {.thread = STR("n"),
			    .mid = STR("x"),
			    .user = STR("ann"),
			    .role = STR("user"),
			    .content = STR("c"),
			    .terms = STR("t")};
	assert_err(E_CONFLICT, S->ops->message_append(S, &ANN, &m, 1));
	m.thread = STR("b");
	assert_err(E_CONFLICT, S->ops->message_append(S, &ANN, &m, 1));
	assert_string_equal(list_as(&ALICE, NULL, "", 9), "a(ann,0,0,0) b(ben,0,0,1) cb(ben,0,1,0) n(,0,0,1) ");
	/* messages follow the same rule */
	message("mb", "ben");
	assert_ok(OPS->remove(S, &BEN, STR("b"), THREAD_ALL));
	assert_string_equal(list_as(&BEN, NULL, "", 9), "cb(ben,0,1,0) mb(ben,1,0,0) ");
}

static bool nothing(void *ctx, const struct message *m)
{
	(void)ctx;
	(void)m;
	return true;
}

static void messages_of_others(void **state)
{
	(void)state;
	message("b", "ben");
	message("n", "");
	assert_err(E_NOT_FOUND, S->ops->message_list(S, &FOR_ANN, STR("b"), 0, 5, nothing, NULL));
	assert_ok(S->ops->message_list(S, &FOR_ANN, STR("n"), 0, 5, nothing, NULL));
	assert_err(E_NOT_FOUND, S->ops->message_list(S, &ANN, STR("n"), 0, 5, nothing, NULL));
	assert_ok(S->ops->message_list(S, &ALICE, STR("b"), 0, 5, nothing, NULL));
}

static void fill(const char *thread)
{
	message(thread, "");
	assert_ok(entry_as(&ALICE, thread));
	assert_ok(checkpoint_as(&ALICE, thread, EARLY));
}

static void by_parts(void **state)
{
	struct thread_record r = {.thread = STR("t"), .metadata = STR("{\"a\":1}")};
	struct thread_info t;
	(void)state;
	fill("t");
	fill("u");
	assert_ok(OPS->remove(S, &ALICE, STR("t"), THREAD_MESSAGES));
	assert_err(E_NOT_FOUND, OPS->remove(S, &ALICE, STR("t"), THREAD_MESSAGES));
	assert_string_equal(list_as(&ALICE, NULL, "", 9), "t(,0,1,1) u(,1,1,1) ");
	assert_ok(OPS->remove(S, &ALICE, STR("t"), THREAD_ENTRIES));
	assert_string_equal(list_as(&ALICE, NULL, "", 9), "t(,0,1,0) u(,1,1,1) ");
	assert_ok(OPS->remove(S, &ALICE, STR("t"), THREAD_CHECKPOINTS));
	assert_string_equal(list_as(&ALICE, NULL, "", 9), "u(,1,1,1) "); /* nobody has put it: it went with the last part */
	/* a record that was put stays until it is named */
	assert_ok(OPS->put(S, &ALICE, &r, IF_ANY));
	fill("t");
	assert_ok(OPS->remove(S, &ALICE, STR("t"), THREAD_MESSAGES | THREAD_CHECKPOINTS | THREAD_ENTRIES));
	assert_true(get_as(&ALICE, "t", &t));
	assert_true(t.version == 1 && t.messages == 0 && t.entries == 0 && t.checkpoints == 0);
	assert_json("{\"a\":1}", t.metadata);
	assert_ok(OPS->remove(S, &ALICE, STR("t"), THREAD_RECORD));
	assert_false(get_as(&ALICE, "t", &t));
	/* the record alone, with other parts under the name */
	r.thread = STR("u");
	assert_ok(OPS->put(S, &ALICE, &r, IF_ANY));
	assert_ok(OPS->remove(S, &ALICE, STR("u"), THREAD_RECORD));
	assert_true(get_as(&ALICE, "u", &t));
	assert_true(t.version == 0 && t.messages == 1 && t.entries == 1 && t.checkpoints == 1);
	assert_json("{}", t.metadata);
	assert_ok(OPS->remove(S, &ALICE, STR("u"), THREAD_ALL));
	assert_string_equal(list_as(&ALICE, NULL, "", 9), "");
	assert_err(E_NOT_FOUND, OPS->remove(S, &ALICE, STR("u"), THREAD_ALL));
	assert_err(E_NOT_FOUND, OPS->remove(S, &BOB, STR("u"), THREAD_ALL));
	assert_err(E_DENIED, OPS->remove(S, &READER, STR("u"), THREAD_ALL));
}

/* Nothing of the old is under the name when it is used again. */
static void used_again(void **state)
{
	struct ckpt c;
	bool found;
	struct ckpt_query q = {.thread = STR("t"), .want = CK_VALUES | CK_WRITES_TOO};
	(void)state;
	fill("t");
	assert_ok(pending("t", EARLY, "x"));
	assert_ok(OPS->remove(S, &ALICE, STR("t"), THREAD_ALL));
	assert_ok(S->ops->checkpoints->get(S, &scratch, &ALICE, &q, &c, &found));
	assert_false(found);
	assert_ok(checkpoint_as(&ANN, "t", EARLY));
	assert_ok(S->ops->checkpoints->get(S, &scratch, &ANN, &q, &c, &found));
	assert_true(found && c.values_n == 1 && c.writes_n == 0);
	assert_string_equal(list_as(&ALICE, NULL, "", 9), "t(ann,0,1,0) ");
}

static void status(void **state)
{
	struct thread_info t;
	(void)state;
	assert_ok(checkpoint_as(&ALICE, "t", EARLY));
	assert_true(get_as(&ALICE, "t", &t));
	assert_true(!t.interrupted && !t.error && t.state_us > 0);
	int64_t was = t.state_us;
	assert_ok(pending("t", EARLY, "__interrupt__"));
	assert_true(get_as(&ALICE, "t", &t));
	assert_true(t.interrupted && !t.error);
	assert_ok(checkpoint_as(&ALICE, "t", LATE)); /* only the head counts */
	assert_true(get_as(&ALICE, "t", &t));
	assert_true(!t.interrupted && !t.error && t.state_us > was);
	assert_ok(pending("t", LATE, "__error__"));
	assert_true(get_as(&ALICE, "t", &t));
	assert_true(!t.interrupted && t.error);
}

/* ---------------------------------------------------------------- many at once */

#define THREADS 8
struct putter {
	pthread_t thread;
	enum err err;
	int64_t version;
};

static void *put_absent(void *arg)
{
	struct putter *w = arg;
	struct thread_record r = {.thread = STR("t")};
	w->err = OPS->put(S, &ALICE, &r, IF_ABSENT);
	return NULL;
}

static void *put_next(void *arg)
{
	struct putter *w = arg;
	struct thread_record r = {.thread = STR("t"), .version = 1};
	w->err = OPS->put(S, &ALICE, &r, IF_VERSION);
	return NULL;
}

static void one_wins(void **state)
{
	(void)state;
	for (int round = 0; round < 2; round++) {
		struct putter w[THREADS] = {0};
		int won = 0;
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&w[i].thread, NULL, round ? put_next : put_absent, &w[i]), 0);
		for (int i = 0; i < THREADS; i++) {
			pthread_join(w[i].thread, NULL);
			assert_true(w[i].err == OK || w[i].err == E_CONFLICT);
			won += w[i].err == OK;
		}
		assert_int_equal(won, 1);
	}
}

int suite_threads(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(one_listing), SUITE_TEST(byte_order),	 SUITE_TEST(many_threads), SUITE_TEST(records),
		SUITE_TEST(owners),	 SUITE_TEST(messages_of_others), SUITE_TEST(by_parts),	   SUITE_TEST(used_again),
		SUITE_TEST(status),	 SUITE_TEST(one_wins),
	};
	arena_init(&scratch, 64u << 20);
	int failed = cmocka_run_group_tests_name("threads", tests, NULL, NULL);
	arena_release(&scratch);
	return failed;
}
