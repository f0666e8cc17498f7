/* Log lines as they reach standard error, and the limit with a clock that the test moves. */
#include "base/test_util.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json/json.h"
#include "base/log.h"
#include "base/log_limit.h"

static char out[1 << 20];

/* Runs f with standard error going to a file; what was written is in out. */
static size_t captured(void (*f)(void))
{
	char path[] = "/tmp/cenote-log-XXXXXX";
	int fd = mkstemp(path), saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_true(fd >= 0 && saved >= 0);
	unlink(path);
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	dup2(fd, STDERR_FILENO);
	f();
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(fd, out, sizeof out - 1, 0);
	assert_true(n >= 0);
	out[n] = 0;
	close(fd);
	return (size_t)n;
}

static void one_of_each(void)
{
	const struct log_field context[] = {LF_C("request_id", "r-1")};
	const struct log_field *seen;

	log_setup(LOG_INFO, LOG_JSON);
	log_context(context, 1);
	assert_int_equal(log_context_get(&seen), 1);
	assert_ptr_equal(seen, context);
	LOG(LOG_INFO, "http", "request", LF_STR("route", STR("/a\"\n\xff")), LF_INT("status", 200), LF_MS("duration_ms", 1.23456));
	log_context(NULL, 5);
	assert_int_equal(log_context_get(&seen), 0);
	LOG(LOG_DEBUG, "http", "not written");
	LOG(LOG_ERROR, "store", "no fields");
	LOG(LOG_WARN, "store", "numbers", LF_MS("a", -0.0005), LF_MS("b", 1e300), LF_MS("c", 12), LF_INT("d", INT64_MIN));
}

static void json_lines(void **state)
{
	struct arena a;
	struct str rest, line;
	struct json d;
	int lines = 0;

	assert_true(captured(one_of_each) > 0);
	arena_init(&a, 1u << 20);
	rest = str_c(out);
	while (str_cut(rest, '\n', &line, &rest)) {
		struct jval root;

		assert_int_equal(json_parse(&a, line, NULL, &d), OK);
		root = json_root(&d);
		assert_true(j_is(j_get(root, STR("ts")), JSON_STRING));
		switch (lines++) {
		case 0:
			assert_true(str_starts(j_raw(root), STR("{\"ts\":\"2")));
			assert_true(j_str_eq(j_get(root, STR("level")), STR("info")));
			assert_true(j_str_eq(j_get(root, STR("msg")), STR("request")));
			assert_true(j_str_eq(j_get(root, STR("logger")), STR("http")));
			assert_true(j_str_eq(j_get(root, STR("request_id")), STR("r-1")));
			assert_true(j_str_eq(j_get(root, STR("route")), STR("/a\"\n\xef\xbf\xbd")));
			assert_str(j_raw(j_get(root, STR("status"))), "200");
			assert_str(j_raw(j_get(root, STR("duration_ms"))), "1.235");
			break;
		case 1:
			assert_true(j_str_eq(j_get(root, STR("level")), STR("error")));
			assert_false(j_ok(j_get(root, STR("request_id"))));
			break;
		default:
			assert_str(j_raw(j_get(root, STR("a"))), "-0.001");
			assert_str(j_raw(j_get(root, STR("b"))), "null");
			assert_str(j_raw(j_get(root, STR("c"))), "12.000");
			assert_str(j_raw(j_get(root, STR("d"))), "-9223372036854775808");
		}
	}
	assert_int_equal(lines, 3);
	assert_int_equal(rest.n, 0);
	arena_release(&a);
}

static void text_line(void)
{
	unsetenv("JOURNAL_STREAM");
	log_setup(LOG_DEBUG, LOG_TEXT);
	LOG(LOG_WARN, "store", "slow commit", LF_MS("ms", 4.5), LF_C("plain", "abc"), LF_C("odd", "a b\n"), LF_C("none", ""));
}

static void journal_line(void)
{
	setenv("JOURNAL_STREAM", "8:1", 1);
	log_setup(LOG_DEBUG, LOG_TEXT);
	LOG(LOG_WARN, "store", "journal commit");
	unsetenv("JOURNAL_STREAM");
	log_setup(LOG_INFO, LOG_TEXT);
}

static void text_lines(void **state)
{
	assert_true(captured(text_line) > 30);
	assert_non_null(strstr(out, "Z warn  store: slow commit ms=4.500 plain=abc odd=\"a b\\n\" none=\"\"\n"));
	assert_true(captured(journal_line) > 3);
	assert_memory_equal(out, "<4>2", 4);
}

static void too_long(void)
{
	static char big[100000];

	memset(big, 'x', sizeof big - 1);
	log_setup(LOG_INFO, LOG_JSON);
	LOG(LOG_INFO, "a", "with too much", LF_C("big", big));
}

static void loses_fields_before_the_event(void **state)
{
	assert_true(captured(too_long) < 1000);
	assert_non_null(strstr(out, "\"msg\":\"with too much\",\"logger\":\"a\"}\n"));
}

static void many(void)
{
	log_setup(LOG_INFO, LOG_JSON);
	for (int i = 0; i < 500; i++)
		LOG(LOG_WARN, "a", "a flood", LF_INT("i", i));
	for (int i = 0; i < 50; i++)
		LOG(LOG_INFO, "a", "another message");
}

static unsigned count(const char *what)
{
	unsigned n = 0;

	for (const char *p = out; (p = strstr(p, what)); p++)
		n++;
	return n;
}

static void holds_back_a_flood(void **state)
{
	captured(many);
	/* On a machine that stalls for a second in between, another 20 may pass. */
	assert_true(count("a flood\",\"logger\"") == 20 || count("log lines suppressed") > 0);
	assert_int_equal(count("another message"), 50);
}

static void in_masses(void)
{
	const struct log_field f[] = {LF_INT("i", 1)};
	struct buf pending;

	log_setup(LOG_INFO, LOG_JSON);
	buf_init(&pending, NULL, 1000);
	for (int i = 0; i < 100; i++)
		log_collect(&pending, LOG_INFO, "a", "one of many", f, 1);
	log_collect(&pending, LOG_DEBUG, "a", "below the level", f, 1);
	assert_int_equal(pending.err, OK);
	log_flush(&pending);
	buf_release(&pending);
}

static void collects_without_losing(void **state)
{
	struct str rest, line;
	unsigned lines = 0;

	captured(in_masses);
	rest = str_c(out);
	for (; str_cut(rest, '\n', &line, &rest); lines++)
		assert_true(str_starts(line, STR("{\"ts\"")) && str_ends(line, STR("\"i\":1}")));
	assert_int_equal(lines, 100);
	assert_int_equal(count("below the level"), 0);
}

static void *writes(void *unused)
{
	for (int i = 0; i < 100; i++) {
		char msg[32];

		snprintf(msg, sizeof msg, "line %d", i);
		LOG(LOG_INFO, "a", msg, LF_C("filler", "0123456789012345678901234567890123456789"));
	}
	return NULL;
}

static void from_threads(void)
{
	pthread_t threads[4];

	log_setup(LOG_INFO, LOG_JSON);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writes, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static void lines_stay_whole(void **state)
{
	struct str rest, line;
	unsigned lines = 0;

	captured(from_threads);
	rest = str_c(out);
	for (; str_cut(rest, '\n', &line, &rest); lines++)
		assert_true(str_starts(line, STR("{\"ts\"")) && str_ends(line, STR("}")));
	assert_int_equal(lines, 400);
}

#define SECOND UINT64_C(1000000000)

static void limits_per_message(void **state)
{
	static struct log_limit l;
	struct log_limit_slot owed;
	uint64_t now = 5 * SECOND;
	unsigned passed = 0;

	memset(&l, 0, sizeof l);
	for (int i = 0; i < 100; i++)
		passed += log_limit_pass(&l, LOG_WARN, "m", now + (unsigned)i);
	assert_int_equal(passed, 20);
	assert_true(log_limit_pass(&l, LOG_INFO, "other", now));
	assert_false(log_limit_report(&l, now + SECOND / 2, &owed));
	now += SECOND;
	assert_true(log_limit_report(&l, now, &owed));
	assert_string_equal(owed.msg, "m");
	assert_int_equal(owed.left_out, 80);
	assert_int_equal(owed.level, LOG_WARN);
	assert_false(log_limit_report(&l, now, &owed));
	assert_int_equal(l.owing, 0);
	assert_true(log_limit_pass(&l, LOG_WARN, "m", now));
}

/* More messages than slots: nothing is lost from the count, and few lines get out. */
static void survives_many_messages(void **state)
{
	static struct log_limit l;
	struct log_limit_slot owed;
	unsigned passed = 0, left_out = 0;

	memset(&l, 0, sizeof l);
	for (int i = 0; i < 10000; i++) {
		char msg[200];

		snprintf(msg, sizeof msg, "message number %d with a long tail that does not fit into the report, not at all", i);
		passed += log_limit_pass(&l, LOG_INFO, msg, SECOND);
	}
	while (log_limit_report(&l, 3 * SECOND, &owed))
		left_out += owed.left_out;
	assert_true(passed <= LOG_LIMIT_SLOTS * LOG_LIMIT_LINES);
	assert_int_equal(passed + left_out, 10000);
	assert_int_equal(l.owing, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_lines),
		cmocka_unit_test(text_lines),
		cmocka_unit_test(loses_fields_before_the_event),
		cmocka_unit_test(holds_back_a_flood),
		cmocka_unit_test(collects_without_losing),
		cmocka_unit_test(lines_stay_whole),
		cmocka_unit_test(limits_per_message),
		cmocka_unit_test(survives_many_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
