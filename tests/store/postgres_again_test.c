/* Calls that the executor sends a second time because the answer to the first was lost: they answer as if it had arrived. Needs a
 * server: CENOTE_TEST_PG; else skipped (77). */
#include <poll.h>
#include <unistd.h>

#include "base/uuid7.h"
#include "core/thread_store.h"
#include "pg_world.h"
#include "store/open.h"

static struct store *S;
static char home[64];
static const struct principal ME = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL, .id = STR_INIT("test")};

#define assert_ok(expr)                                                                                                            \
	do {                                                                                                                       \
		enum err got_ = (expr);                                                                                            \
		if (got_ != OK)                                                                                                    \
			fail_msg("%s: %s (%s)", #expr, err_name(got_), diag_get()->text);                                          \
	} while (0)

/* In place of the driver's own: a call that gets the number of an earlier one finds that one in the journal. */
static int64_t given_op;

int64_t pg_new_op(void)
{
	int64_t v;
	random_bytes(&v, sizeof v);
	return given_op ? given_op : (v & INT64_MAX) | 1;
}

static struct store *must_open(const char *to, enum ckpt_layout layout)
{
	struct store_options opt = {.durable = true, .pg.schema = str_c(home), .layout = layout};
	struct store *s;
	if (store_open(str_c(to), &opt, &s) != OK) {
		fprintf(stderr, "%s\n", diag_get()->text);
		abort();
	}
	return s;
}

static int end_store(void **state)
{
	(void)state;
	given_op = 0;
	if (S)
		S->ops->close(S);
	S = NULL;
	if (proxy)
		pg_proxy_free(proxy);
	proxy = NULL;
	PQclear(sql("DROP SCHEMA IF EXISTS \"%s\" CASCADE", home));
	return 0;
}

static enum err append(struct session_entry *v, size_t n, bool wants_empty, int64_t behind)
{
	struct entry_append a = {.thread = STR("s"), .v = v, .n = n, .wants_empty = wants_empty, .behind = behind};
	for (size_t i = 0; i < n; i++)
		v[i] = (struct session_entry){.data = STR("{\"role\": \"user\", \"content\": \"hello\"}")};
	return S->ops->threads->append(S, &ME, &a);
}

/* What it asks of the session was so before the first attempt, and is not after it. */
static void appends_with_conditions(void **state)
{
	struct session_entry first[2], once_more[2];
	(void)state;
	S = must_open(url, CKPT_LAYOUT_AUTO);
	for (int64_t behind = 0, round = 0; round < 2; behind = first[1].id, round++) {
		given_op = 1000 + round;
		assert_ok(append(first, 2, round == 0, behind));
		assert_ok(append(once_more, 2, round == 0, behind));
		assert_int_equal(first[0].id, once_more[0].id);
		assert_int_equal(first[1].id, once_more[1].id);
		assert_int_equal(number("SELECT count(*) FROM \"%s\".agent_messages", home), 2 + 2 * round);
		given_op = 0;
		assert_int_equal(append(once_more, 2, round == 0, behind), E_CONFLICT);
	}
}

/* The server's URL with the proxy's address in it. */
static void through_proxy(char *to, size_t size)
{
	char words[512];
	const char *at = strchr(url, '@') ? strchr(url, '@') + 1 : strstr(url, "//") + 2;
	proxy_before(PROXY_OPEN, words, sizeof words);
	snprintf(to, size, "%.*s127.0.0.1:%d%s", (int)(at - url), url, pg_proxy_port(proxy), at + strcspn(at, "/?"));
}

static void *copy_main(void *arg)
{
	enum err *e = arg;
	*e = S->ops->checkpoints->copy(S, &ME, STR("from"), STR("to"), NULL, 0);
	if (*e != OK)
		fprintf(stderr, "%s\n", diag_get()->text);
	return NULL;
}

static void until(const char *what)
{
	uint64_t end_ns = deadline_in_ms(20000);
	while (number(what, home) == 0) {
		if (clock_mono_ns() > end_ns)
			fail_msg("not within 20 s: %s", what);
		poll(NULL, 0, 2);
		PQclear(sql("SELECT pg_stat_clear_snapshot()")); /* what a transaction has read of it, it would read again */
	}
}

/* Copied, committed, and the connection is cut before the answer: no conflict with what it has copied itself. */
static void copies_in_the_compact_layout(void **state)
{
	char to[512];
	enum err e = E_INTERNAL;
	pthread_t thread;
	struct ckpt_change c = {.op = CK_PUT,
				.thread = STR("from"),
				.ns = STR(""),
				.id = STR("1"),
				.checkpoint = STR("{\"v\":4,\"channel_versions\":{}}"),
				.metadata = STR("{}")};
	(void)state;
	through_proxy(to, sizeof to);
	S = must_open(to, CKPT_LAYOUT_COMPACT);
	PQclear(sql("SET search_path = \"%s\"", home));
	assert_ok(S->ops->checkpoints->write(S, &ME, &c, 1));
	PQclear(sql("BEGIN; SELECT 1 FROM \"%s\".cenote_thread FOR UPDATE", home));
	EXPECT(pthread_create(&thread, NULL, copy_main, &e) == 0);
	until("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active' AND query LIKE "
	      "'%%\"%s\"%%'");
	pg_proxy_set(proxy, PROXY_DEAF);
	PQclear(sql("COMMIT"));
	until("SELECT count(*) FROM cenote_thread t JOIN cenote_checkpoint_ns n ON n.thread = t.id WHERE t.thread = 'to'");
	pg_proxy_set(proxy, PROXY_CUT);
	pthread_join(thread, NULL);
	assert_int_equal(e, OK);
	assert_int_equal(number("SELECT count(*) FROM \"%s\".cenote_checkpoint", home), 2);
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(appends_with_conditions, end_store),
		cmocka_unit_test_teardown(copies_in_the_compact_layout, end_store),
	};
	PQclear(sql("SET client_min_messages = error"));
	snprintf(home, sizeof home, "again%ld", (long)getpid());
	return cmocka_run_group_tests_name("again", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return world_main(argc, argv, run, NULL);
}
