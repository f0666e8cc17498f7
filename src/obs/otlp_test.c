/* Traces in protobuf: a request that a server has accepted byte for byte, limits, what a collector answers; and traces as they are
 * collected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/json/json.h"
#include "base/utf8.h"
#include "obs/otlp.h"

/* ------------------------------------------------------------------ the wire */

static void hex_is(struct str s, const char *want)
{
	char *hex = malloc(2 * s.n + 1);

	assert_non_null(hex);
	hex_encode((const uint8_t *)s.p, s.n, hex);
	assert_string_equal(hex, want);
	free(hex);
}

static void the_vector(void **state)
{
	(void)state;
	const uint8_t tid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		      sid[8] = {0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18};
	const struct otlp_attr attrs[] = {{.key = STR_INIT("session.id"), .type = ATTR_STR, .s = STR_INIT("t1")},
					  {.key = STR_INIT("mlflow.spanType"), .type = ATTR_STR, .s = STR_INIT("AGENT")},
					  {.key = STR_INIT("n"), .type = ATTR_INT, .i = 3}};
	const struct otlp_span s = {.trace = tid,
				    .id = sid,
				    .name = STR_INIT("turn"),
				    .kind = 2,
				    .status = 1,
				    .start_ns = UINT64_C(1760000000000000000),
				    .end_ns = UINT64_C(1760000000250000000),
				    .attrs = attrs,
				    .attrs_n = 3};
	struct buf b;

	buf_init(&b, NULL, 4096);
	otlp_write(&b, NULL, 0, STR("cenote"), STR(""), &s, 1);
	assert_int_equal(b.n, 132);
	hex_is(buf_slice(&b), "0a8101127f0a080a0663656e6f746512730a100102030405060708090a0b0c0d0e0f10120811121314151617182a04747572"
			      "6e3002390000b0d4acc66c184180b296e3acc66c184a120a0a73657373696f6e2e696412040a0274314a1a0a0f6d6c666c6f"
			      "772e7370616e5479706512070a054147454e544a070a016e120218037a021801");
	buf_release(&b);
}

static void sizes_above_a_byte(void **state)
{
	static const size_t sizes[] = {0, 1, 100, 127, 128, 16383, 16384, 70000};
	const uint8_t tid[16] = {1}, sid[8] = {1};
	char *text = malloc(70000);
	struct buf b;
	(void)state;

	memset(text, 'x', 70000);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		const struct otlp_attr at = {.key = STR("k"), .type = ATTR_STR, .s = str_of(text, sizes[i])};
		const struct otlp_span s = {.trace = tid, .id = sid, .parent = sid, .name = STR("n"), .attrs = &at, .attrs_n = 1};
		const uint8_t *p, *end;
		uint64_t key, n;

		buf_init(&b, NULL, 1 << 20);
		otlp_write(&b, NULL, 0, STR("c"), STR("1"), &s, 1);
		assert_int_equal(b.err, OK);
		p = (const uint8_t *)b.p;
		end = p + b.n;
		assert_true(varint_get(&p, end, &key) && varint_get(&p, end, &n));
		assert_int_equal(key, 1 << 3 | 2);
		assert_int_equal(n, end - p);
		buf_release(&b);
	}
	/* What does not fit is an error, and no half of a request. */
	buf_init(&b, NULL, 1000);
	otlp_write(&b, &(const struct otlp_attr){.key = STR("k"), .type = ATTR_STR, .s = str_of(text, 5000)}, 1, STR("c"), STR(""),
		   NULL, 0);
	assert_int_equal(b.err, E_LIMIT);
	buf_release(&b);
	free(text);
}

static void cut_on_a_border(void **state)
{
	(void)state;
	assert_true(str_eq(otlp_cut(STR("abc"), 250), STR("abc")));
	assert_true(str_eq(otlp_cut(STR("a\xc3\xa4\xe2\x82\xacz"), 3), STR("a\xc3\xa4\xe2\x82\xac")));
	assert_true(str_eq(otlp_cut(STR("\xf0\x9f\x98\x80\xf0\x9f\x98\x80"), 1), STR("\xf0\x9f\x98\x80")));
	assert_int_equal(otlp_cut(STR("abc"), 0).n, 0);
}

static void what_a_collector_did_not_take(void **state)
{
	struct str why;
	(void)state;

	assert_int_equal(otlp_rejected(STR(""), &why), 0);
	assert_int_equal(otlp_rejected(STR("\x0a\x07\x08\x03\x12\x03"
					   "bad"),
				       &why),
			 3);
	assert_true(str_eq(why, STR("bad")));
	/* Unknown fields are passed over; what is cut off, or no protobuf, says nothing. */
	assert_int_equal(otlp_rejected(STR("\x1a\x01x\x15"
					   "abcd\x0a\x02\x08\x05"),
				       &why),
			 5);
	assert_int_equal(otlp_rejected(STR("\x0a\x7f\x08\x03"), &why), 0);
	assert_int_equal(otlp_rejected(STR("<html>"), &why), 0);
	assert_int_equal(otlp_rejected(STR("\x0a\x02\x08\xff"), &why), 0);
}

/* --------------------------------------------------------------------- traces */

static struct trace *taken;

static void take(struct tracer *tr, const struct trace *t)
{
	(void)tr;
	taken = trace_copy(t);
}

static const struct tracer_ops ops = {.take = take};
static const struct principal ann = {.tenant = STR_INIT("acme"), .user = STR_INIT("ann"), .rights = RIGHT_READ};

static void make(bool contents, const char *parent, bool own_thread, struct str thread)
{
	struct tracer tr = {.ops = &ops, .contents = contents};
	struct trace_span *root, *s;
	struct trace *t;
	struct arena a;

	arena_init(&a, 1 << 20);
	t = trace_begin(&tr, &a, &ann, str_c(parent), STR("vendor=1"));
	trace_session(t, STR("ann"), thread, own_thread);
	root = span_begin(t, NULL, SPAN_AGENT, STR("turn"));
	span_input(root, STR("{\"input\":\"marmalade\"}"));
	s = span_begin(t, NULL, SPAN_TOOL, STR("look"));
	span_output(s, STR("not JSON: marmalade"));
	(void)span_end(s, err_set(E_UPSTREAM, "it is away"));
	(void)span_end(root, OK);
	trace_end(t);
	arena_release(&a);
}

static bool sends(const char *what)
{
	struct arena a;
	struct buf b;
	bool found;

	arena_init(&a, 1 << 20);
	buf_init(&b, NULL, 1 << 20);
	otlp_request(&b, &a, &taken, 1);
	assert_int_equal(b.err, OK);
	found = memmem(b.p, b.n, what, strlen(what)) != NULL;
	buf_release(&b);
	arena_release(&a);
	return found;
}

/* Work behind a turn: a link to the turn, which it names as MLflow does, and no session. */
static void what_follows_a_turn(void **state)
{
	struct tracer tr = {.ops = &ops};
	struct trace_span *s;
	struct arena a;
	struct trace *t;
	struct str mark;
	(void)state;

	make(false, "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-03", false, STR("t1"));
	arena_init(&a, 1 << 20);
	mark = trace_mark(&a, taken);
	trace_unref(taken);
	assert_int_equal(mark.n, TRACEPARENT_BYTES);
	t = trace_begin(&tr, &a, &ann, STR(""), STR(""));
	trace_follow(t, mark);
	s = span_begin(t, NULL, SPAN_CHAIN, STR("remember"));
	trace_session(t, STR("ann"), STR("t1"), false);
	(void)span_end(s, OK);
	trace_end(t);
	assert_true(sends("tr-0af7651916cd43dd8448eb211c80319c") && sends("mlflow.traceTag.cenote.turn") && sends("user.id"));
	assert_false(sends("session.id"));
	/* Span.links: a message of 28 bytes with the turn's trace and its root. */
	assert_true(sends("\x6a\x1c\x0a\x10\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c\x12\x08"));
	assert_true(taken->sampled);
	trace_unref(taken);
	/* What does not go out does not bring out what follows, and what is no mark changes nothing. */
	t = trace_begin(&tr, &a, &ann, STR(""), STR(""));
	trace_follow(t, STR("nonsense"));
	assert_true(!t->follows && t->sampled);
	trace_follow(t, STR("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00"));
	assert_true(t->follows && !t->sampled);
	assert_int_equal(trace_mark(&a, NULL).n, 0);
	arena_release(&a);
}

static void a_trace_as_it_is_sent(void **state)
{
	char many[900], cut[501];
	(void)state;

	for (int i = 0; i < 450; i++)
		memcpy(many + 2 * (size_t)i, "\xc3\xa4", 2);
	make(true, "", false, str_of(many, sizeof many));
	/* 250 characters of the thread, not a byte more. */
	snprintf(cut, sizeof cut, "%.500s", many);
	assert_true(sends(cut));
	memcpy(cut, many, 500);
	char longer[503];
	memcpy(longer, many, 502);
	longer[502] = 0;
	assert_false(sends(longer));
	assert_true(sends("session.id") && sends("user.id") && sends("mlflow.spanInputs") && sends("{\"input\":\"marmalade\"}"));
	assert_true(sends("\"not JSON: marmalade\"") && sends("it is away") && sends("upstream"));
	trace_unref(taken);
	/* Without contents nothing of them goes out. */
	make(false, "", false, STR("t1"));
	assert_false(sends("marmalade"));
	assert_true(sends("session.id"));
	trace_unref(taken);
	/* In the caller's trace: its ids and state; a session only when the caller named the thread. */
	make(false, "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-03", true, STR("t1"));
	assert_true(sends("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c") && sends("vendor=1"));
	assert_false(sends("session.id"));
	assert_true(sends("user.id"));
	trace_unref(taken);
	make(false, "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-03", false, STR("t1"));
	assert_true(sends("session.id"));
	trace_unref(taken);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_vector),
					   cmocka_unit_test(sizes_above_a_byte),
					   cmocka_unit_test(cut_on_a_border),
					   cmocka_unit_test(what_a_collector_did_not_take),
					   cmocka_unit_test(a_trace_as_it_is_sent),
					   cmocka_unit_test(what_follows_a_turn)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
