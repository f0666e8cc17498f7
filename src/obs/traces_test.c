/* Keeping traces, and sending them to a scripted collector: what it gets, what happens when it refuses, is slow or is away. */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/log.h"
#include "http/test_peer.h"
#include "obs/traces.h"

#define TOKEN "tok-very-secret"
#define TOOK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define REFUSED(code) "HTTP/1.1 " code " X\r\nContent-Length: 0\r\n\r\n"

static const struct principal ann = {.tenant = STR_INIT("acme"), .user = STR_INIT("ann"), .rights = RIGHT_READ},
			      bob = {.tenant = STR_INIT("acme"), .user = STR_INIT("bob"), .user_bound = true, .rights = RIGHT_READ},
			      all = {.tenant = STR_INIT("acme"), .rights = RIGHT_READ},
			      other = {.tenant = STR_INIT("bolt"), .rights = RIGHT_READ};

struct test {
	struct peer peer;
	struct traces *tr;
	pthread_t sender;
};

static void sending(void *arg)
{
	traces_send(((struct test *)arg)->tr);
}

static void *sender_main(void *arg)
{
	run_in_loop(sending, arg);
	return NULL;
}

static void open_test(struct test *t, const char *const *script, size_t n, uint32_t queue)
{
	struct traces_options opt = {.keep = 3,
				     .keep_bytes = 1 << 20,
				     .experiment = STR("42"),
				     .token = STR(TOKEN),
				     .headers = STR("X-Org = a%2Cb , Y=z"),
				     .timeout_ms = 10000,
				     .queue = queue,
				     .backoff_ms = 2};
	char url[100];

	memset(t, 0, sizeof *t);
	log_setup(LOG_ERROR, LOG_TEXT);
	t->peer.script = script;
	t->peer.script_n = n;
	peer_start(&t->peer);
	snprintf(url, sizeof url, "%s/traces", t->peer.url);
	opt.endpoint = str_c(url);
	assert_int_equal(traces_open(&opt, &t->tr), OK);
	assert_true(traces_sends(t->tr));
}

static void start_sending(struct test *t)
{
	assert_int_equal(pthread_create(&t->sender, NULL, sender_main, t), 0);
}

static void close_test(struct test *t)
{
	peer_stop(&t->peer);
	pthread_join(t->sender, NULL);
	traces_close(t->tr);
}

static void turn(struct traces *tr, const struct principal *who, const char *name, const char *parent)
{
	struct arena a;
	struct trace *t;

	arena_init(&a, 1 << 20);
	t = trace_begin(traces_tracer(tr), &a, who, str_c(parent), STR(""));
	assert_non_null(t);
	(void)span_end(span_begin(t, NULL, SPAN_AGENT, str_c(name)), OK);
	trace_end(t);
	trace_end(t); /* once is enough */
	arena_release(&a);
}

/* A figure of cenote_traces_*. */
static long figure(const struct traces *tr, const char *name)
{
	struct buf b;
	char want[120];
	const char *p;
	long v = -1;

	buf_init(&b, NULL, 1 << 16);
	traces_metrics(tr, &b);
	buf_byte(&b, 0);
	snprintf(want, sizeof want, "\ncenote_traces_%s ", name);
	p = strstr(b.p, want);
	if (p)
		v = strtol(p + strlen(want), NULL, 10);
	buf_release(&b);
	return v;
}
#define IS(name, n) assert_int_equal(figure(t.tr, name), n)

/* --------------------------------------------------------------------- keeping */

static void the_last_ones_are_kept(void **state)
{
	struct traces_options opt = {.keep = 3, .keep_bytes = 1 << 20};
	struct trace *v[8], *one;
	struct traces *tr;
	size_t n;
	(void)state;

	assert_int_equal(traces_open(&opt, &tr), OK);
	assert_false(traces_sends(tr));
	for (int i = 0; i < 5; i++)
		turn(tr, i == 2 ? &(const struct principal){.tenant = STR("acme"), .user = STR("bob")} : &ann,
		     (const char *[]){"0", "1", "2", "3", "4"}[i], "");
	turn(tr, &other, "theirs", "");
	struct tracer *base = traces_tracer(tr);

	n = base->ops->list(base, &all, v, 8);
	assert_int_equal(n, 2);
	assert_true(str_eq(v[0]->spans->name, STR("4")) && str_eq(v[1]->spans->name, STR("3")));
	/* Nobody else sees it, by its id neither. */
	one = base->ops->get(base, &ann, v[0]->id);
	assert_ptr_equal(one, v[0]);
	trace_unref(one);
	assert_null(base->ops->get(base, &bob, v[0]->id));
	assert_null(base->ops->get(base, &other, v[0]->id));
	assert_int_equal(base->ops->list(base, &bob, v + 2, 6), 0);
	trace_unref(v[0]);
	trace_unref(v[1]);
	assert_int_equal(base->ops->list(base, &other, v, 8), 1);
	trace_unref(v[0]);
	assert_int_equal(figure(tr, "total"), 6);
	traces_close(tr);
	/* By bytes: each of these has more than a third of the room. */
	opt.keep_bytes = 900;
	assert_int_equal(traces_open(&opt, &tr), OK);
	for (int i = 0; i < 9; i++)
		turn(tr, &ann, "x", "");
	base = traces_tracer(tr);
	n = base->ops->list(base, &all, v, 8);
	assert_in_range(n, 1, 2);
	while (n)
		trace_unref(v[--n]);
	traces_close(tr);
	opt.keep = 0;
	assert_int_equal(traces_open(&opt, &tr), OK);
	assert_null(tr);
	assert_null(trace_begin(traces_tracer(tr), NULL, &ann, STR(""), STR("")));
}

/* --------------------------------------------------------------------- sending */

static void turns_share_a_request(void **state)
{
	static const char *const script[] = {TOOK};
	struct test t;
	(void)state;

	open_test(&t, script, 1, 100);
	turn(t.tr, &ann, "one", "");
	turn(t.tr, &ann, "two", "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-03");
	turn(t.tr, &ann, "not wanted", "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-02");
	start_sending(&t);
	assert_true(traces_drain(t.tr, 10000));
	assert_int_equal(peer_requests(&t.peer), 1);
	assert_non_null(strstr(t.peer.heads[0], "POST /v1/traces HTTP/1.1"));
	assert_non_null(strstr(t.peer.heads[0], "Content-Type: application/x-protobuf\r\n"));
	assert_non_null(strstr(t.peer.heads[0], "x-mlflow-experiment-id: 42\r\n"));
	assert_non_null(strstr(t.peer.heads[0], "Authorization: Bearer " TOKEN "\r\n"));
	assert_non_null(strstr(t.peer.heads[0], "X-Org: a,b\r\n"));
	assert_non_null(strstr(t.peer.heads[0], "Y: z"));
	IS("exported_total", 2);
	IS("exported_spans_total", 2);
	IS("total", 3);
	IS("queue_length", 0);
	close_test(&t);
}

static void what_passes_is_tried_again(void **state)
{
	static const char *const script[] = {REFUSED("503"), REFUSED("429"), "!close", "!reset", REFUSED("500"), TOOK};
	struct test t;
	(void)state;

	open_test(&t, script, 6, 100);
	start_sending(&t);
	turn(t.tr, &ann, "one", "");
	peer_await_requests(&t.peer, 6);
	assert_true(traces_drain(t.tr, 10000));
	IS("exported_total", 1);
	/* libcurl itself asks again on a new connection when one that was kept is dead. */
	assert_in_range(figure(t.tr, "export_failures_total"), 4, 5);
	IS("dropped_total{reason=\"refused\"}", 0);
	close_test(&t);
}

static void a_bad_trace_takes_no_other_with_it(void **state)
{
	static const char *const script[] = {REFUSED("400"), TOOK, REFUSED("422"), TOOK, REFUSED("404"), TOOK};
	struct test t;
	(void)state;

	open_test(&t, script, 6, 100);
	for (int i = 0; i < 3; i++)
		turn(t.tr, &ann, "x", "");
	start_sending(&t);
	assert_true(traces_drain(t.tr, 10000));
	assert_int_equal(peer_requests(&t.peer), 4);
	IS("exported_total", 2);
	IS("dropped_total{reason=\"refused\"}", 1);
	close_test(&t);
}

static void what_is_refused_for_good_is_dropped(void **state)
{
	static const char *const codes[] = {REFUSED("401"), REFUSED("403"), REFUSED("404"), REFUSED("501")};
	struct test t;
	(void)state;

	for (size_t i = 0; i < 4; i++) {
		open_test(&t, &codes[i], 1, 100);
		turn(t.tr, &ann, "x", "");
		turn(t.tr, &ann, "y", "");
		start_sending(&t);
		assert_true(traces_drain(t.tr, 10000));
		assert_int_equal(peer_requests(&t.peer), 1);
		IS("dropped_total{reason=\"refused\"}", 2);
		close_test(&t);
	}
}

static void a_full_line_drops(void **state)
{
	static const char *const script[] = {TOOK};
	struct test t;
	(void)state;

	open_test(&t, script, 1, 2);
	for (int i = 0; i < 5; i++)
		turn(t.tr, &ann, "x", "");
	IS("dropped_total{reason=\"queue\"}", 3);
	IS("queue_length", 2);
	start_sending(&t);
	assert_true(traces_drain(t.tr, 10000));
	IS("exported_total", 2);
	close_test(&t);
}

/* A collector that says nothing does not hold up the end. */
static void cancel_here(void *arg)
{
	fiber_cancel(arg);
}

struct cancelled {
	struct test *t;
	struct fiber *f;
	struct loop_task task;
	struct loop *loop;
};

static void sending_cancelled(void *arg)
{
	struct cancelled *c = arg;

	c->loop = loop_current();
	c->f = fiber_current();
	traces_send(c->t->tr);
}

static void *cancelled_main(void *arg)
{
	run_in_loop(sending_cancelled, arg);
	return NULL;
}

static void the_end_does_not_wait_for_ever(void **state)
{
	static const char *const script[] = {"!hang"};
	struct cancelled c = {.t = NULL};
	struct test t;
	(void)state;

	open_test(&t, script, 1, 100);
	c.t = &t;
	assert_int_equal(pthread_create(&t.sender, NULL, cancelled_main, &c), 0);
	turn(t.tr, &ann, "x", "");
	peer_await_requests(&t.peer, 1);
	turn(t.tr, &ann, "y", "");
	assert_false(traces_drain(t.tr, 10));
	IS("dropped_total{reason=\"shutdown\"}", 2);
	c.task = (struct loop_task){.fn = cancel_here, .arg = c.f};
	loop_post(c.loop, &c.task);
	close_test(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_last_ones_are_kept),
					   cmocka_unit_test(turns_share_a_request),
					   cmocka_unit_test(what_passes_is_tried_again),
					   cmocka_unit_test(a_bad_trace_takes_no_other_with_it),
					   cmocka_unit_test(what_is_refused_for_good_is_dropped),
					   cmocka_unit_test(a_full_line_drops),
					   cmocka_unit_test(the_end_does_not_wait_for_ever)};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
