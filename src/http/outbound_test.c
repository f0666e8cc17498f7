/* Requests to a scripted service: in fibers and in threads, what goes wrong, what is never exceeded. */
#include "base/test_util.h"
#include "http/outbound.h"
#include "http/test_peer.h"

#include <signal.h>
#include <time.h>

#define OK_JSON "={\"a\":1}"
#define KEY "sk-very-secret"

struct test {
	struct peer peer;
	struct outbound *o;
	unsigned conc; /* 0: 2 */
	unsigned kept;
	void (*fn)(struct test *t);
};

static const struct outbound_request plain = {
	.method = "POST", .path = STR_INIT("/x"), .bearer = STR_INIT(KEY), .body = STR_INIT("{\"q\":2}"), .max_body = 1000};

static enum err call(struct test *t, const struct outbound_request *rq, struct outbound_reply *r, struct arena *a)
{
	struct outbound_request copy = *rq;

	if (!copy.deadline_ns)
		copy.deadline_ns = deadline_in_ms(20000);
	return outbound_call(t->o, a, &copy, r);
}

/* Expects this error, with this in the sentence, and never the key. */
static void fails(struct test *t, const struct outbound_request *rq, enum err want, const char *text)
{
	struct outbound_reply r;
	struct arena a;
	enum err e;

	arena_init(&a, 1 << 20);
	e = call(t, rq, &r, &a);
	if (e != want || !strstr(diag_get()->text, text) || strstr(diag_get()->text, KEY)) {
		fprintf(stderr, "wanted %s (%s), got %s: %s\n", err_name(want), text, err_name(e), diag_get()->text);
		abort();
	}
	arena_release(&a);
}

static void works(struct test *t)
{
	struct outbound_reply r;
	struct arena a;

	arena_init(&a, 1 << 20);
	EXPECT(call(t, &plain, &r, &a) == OK);
	EXPECT(r.status == 200 && str_eq(r.body, STR("{\"a\":1}")));
	arena_release(&a);
}

static void in_fiber(void *arg)
{
	struct test *t = arg;

	t->fn(t);
}

static void fixture(struct test *t, const char *const *script, size_t n)
{
	struct outbound_options opt = {.concurrency = t->conc ? t->conc : 2, .kept = t->kept, .connect_ms = 5000};

	t->peer.script = script;
	t->peer.script_n = n;
	peer_start(&t->peer);
	opt.base = str_c(t->peer.url);
	EXPECT(outbound_new(&opt, &t->o) == OK);
}

static void done(struct test *t)
{
	peer_stop(&t->peer);
	outbound_free(t->o);
}

/* Once in a fiber, once outside of loops. */
static void both(void (*fn)(struct test *t), const char *const *script, size_t n)
{
	for (int fiber = 0; fiber < 2; fiber++) {
		struct test t = {.fn = fn};

		fixture(&t, script, n);
		if (fiber)
			run_in_loop(in_fiber, &t);
		else
			fn(&t);
		done(&t);
	}
}
#define BOTH(fn, ...)                                                                                                              \
	do {                                                                                                                       \
		static const char *const script_[] = {__VA_ARGS__};                                                                \
		both((fn), script_, sizeof script_ / sizeof script_[0]);                                                           \
	} while (0)

/* ---------------------------------------------------------------- what works */

static void asks(struct test *t)
{
	static const struct outbound_header more = {STR_INIT("X-More"), STR_INIT("m")};
	struct outbound_request rq = plain;
	struct outbound_reply r;
	struct arena a;

	arena_init(&a, 1 << 20);
	rq.headers = &more;
	rq.headers_n = 1;
	EXPECT(call(t, &rq, &r, &a) == OK);
	EXPECT(r.status == 200 && str_eq(r.body, STR("{\"a\":1}")));
	EXPECT(str_eq(outbound_header(&r, "content-type"), STR("application/json")));
	EXPECT(outbound_header(&r, "x-none").n == 0);
	rq = (struct outbound_request){.method = "GET", .path = STR("/y?z=1"), .max_body = 1000};
	EXPECT(call(t, &rq, &r, &a) == OK);
	EXPECT(r.status == 404 && str_eq(r.body, STR("no")) && str_eq(outbound_header(&r, "x-a"), STR("b c")));
	EXPECT(call(t, &rq, &r, &a) == OK && r.status == 204 && r.body.n == 0);
	EXPECT(strstr(t->peer.heads[0], "POST /v1/x HTTP/1.1\r\n") && strstr(t->peer.heads[0], "\r\nX-More: m"));
	EXPECT(strstr(t->peer.heads[0], "\r\nAuthorization: Bearer " KEY));
	EXPECT(strstr(t->peer.heads[0], "\r\nContent-Type: application/json"));
	EXPECT(strcmp(t->peer.bodies[0], "{\"q\":2}") == 0);
	EXPECT(strstr(t->peer.heads[1], "GET /v1/y?z=1 HTTP/1.1\r\n") && !strstr(t->peer.heads[1], "Authorization"));
	for (int i = 0; i < 5; i++)
		works(t);
	EXPECT(t->peer.conns_n == 1); /* connections are kept */
	arena_release(&a);
}

static void test_calls(void **state)
{
	(void)state;
	BOTH(asks, OK_JSON, "HTTP/1.1 404 No\r\nX-A: b c\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 204 None\r\n\r\n", OK_JSON);
}

static void answers_in_forms(struct test *t)
{
	for (int i = 0; i < 4; i++)
		works(t);
}

static void test_forms(void **state)
{
	(void)state;
	BOTH(answers_in_forms, "~HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
	     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
	     "~HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\nTrail: 1\r\n\r\n",
	     "|HTTP/1.1 200 OK\r\n\r\n{\"a\":1}");
}

static void retries_after(struct test *t)
{
	static const uint64_t want[] = {250, 3000, 1000, 0, 0};
	struct outbound_reply r;
	struct arena a;
	uint64_t ms;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < 5; i++) {
		EXPECT(call(t, &plain, &r, &a) == OK && r.status == 429);
		EXPECT(outbound_retry_after(&r) == want[i]);
	}
	EXPECT(call(t, &plain, &r, &a) == OK);
	ms = outbound_retry_after(&r); /* a date far away */
	EXPECT(ms > UINT64_C(1000000000));
	arena_release(&a);
}

static void test_retry_after(void **state)
{
	(void)state;
#define E429(h) "HTTP/1.1 429 X\r\n" h "\r\nContent-Length: 0\r\n\r\n"
	BOTH(retries_after, E429("Retry-After-Ms: 250\r\nRetry-After: 9"), E429("Retry-After: 3"), E429("retry-after: 1.5"),
	     E429("Retry-After: soon"), E429("Retry-After: Thu, 01 Jan 1998 00:00:00 GMT"),
	     E429("Retry-After: Fri, 01 Jan 2100 00:00:00 GMT"));
}

/* ------------------------------------------------------------ what goes wrong */

static void breaks(struct test *t)
{
	struct outbound_request rq = plain;

	fails(t, &plain, E_UPSTREAM, "127.0.0.1");
	fails(t, &plain, E_UPSTREAM, "127.0.0.1");
	fails(t, &plain, E_UPSTREAM, "broke off");
	fails(t, &plain, E_UPSTREAM, "127.0.0.1"); /* no HTTP at all */
	fails(t, &plain, E_LIMIT, "larger than 1000 bytes");
	rq.max_body = 6;
	fails(t, &rq, E_LIMIT, "larger than 6 bytes");
	rq.max_body = 7;
	{
		struct outbound_reply r;
		struct arena a;

		arena_init(&a, 1 << 20);
		EXPECT(call(t, &rq, &r, &a) == OK && r.body.n == 7);
		arena_release(&a);
	}
	rq.bearer = STR("a\r\nX-Evil: 1");
	fails(t, &rq, E_INVALID, "control characters");
	works(t);
}

static void test_breaks(void **state)
{
	static char big[1200];

	(void)state;
	memset(big, ' ', sizeof big - 1);
	big[0] = '=';
	const char *const script[] = {"!close",		"!reset", "|HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\"",
				      "|SSH-2.0-x\r\n", big,	  OK_JSON};

	both(breaks, script, sizeof script / sizeof script[0]);
}

static void late(struct test *t)
{
	struct outbound_request rq = plain;
	uint64_t begun = clock_mono_ns();

	rq.deadline_ns = deadline_in_ms(300);
	fails(t, &rq, E_TIMEOUT, "did not answer in time");
	rq.deadline_ns = deadline_in_ms(20000);
	rq.idle_ms = 300;
	fails(t, &rq, E_TIMEOUT, "sent nothing for 300 ms");
	fiber_set_deadline(deadline_in_ms(300));
	fails(t, &plain, E_TIMEOUT, "did not answer in time");
	fails(t, &plain, E_TIMEOUT, "");
	fiber_set_deadline(NEVER);
	EXPECT(clock_mono_ns() - begun < UINT64_C(15000000000));
}

static void test_late(void **state)
{
	(void)state;
	BOTH(late, "!hang");
}

static void refused(struct test *t)
{
	fails(t, &plain, E_UPSTREAM, "is not reachable");
}

static void test_refused(void **state)
{
	(void)state;
	for (int fiber = 0; fiber < 2; fiber++) {
		struct test t = {.fn = refused};

		fixture(&t, NULL, 0);
		peer_stop(&t.peer); /* nobody listens any more */
		if (fiber)
			run_in_loop(in_fiber, &t);
		else
			refused(&t);
		outbound_free(t.o);
	}
}

/* ------------------------------------------------------------------- streams */

static void reads_pieces(struct test *t)
{
	struct outbound_request rq = plain;
	struct outbound_stream *s;
	struct outbound_reply r;
	struct str piece;
	struct arena a;
	size_t n = 0, largest = 0;

	arena_init(&a, 1 << 20);
	rq.deadline_ns = deadline_in_ms(20000);
	rq.max_body = (size_t)8 << 20;
	EXPECT(outbound_open(t->o, &a, &rq, &r, &s) == OK && r.status == 200);
	do {
		EXPECT(outbound_read(s, &piece) == OK);
		for (size_t i = 0; i < piece.n; i++, n++)
			EXPECT(piece.p[i] == (char)('a' + n % 23));
		largest = piece.n > largest ? piece.n : largest;
	} while (piece.n);
	EXPECT(n == (size_t)3 << 20 && largest <= (size_t)272 << 10);
	EXPECT(outbound_read(s, &piece) == OK && piece.n == 0);
	outbound_close(s);
	/* Closed in the middle: the connection cannot be used again. */
	EXPECT(outbound_open(t->o, &a, &rq, &r, &s) == OK);
	EXPECT(outbound_read(s, &piece) == OK && piece.n > 0);
	outbound_close(s);
	works(t);
	EXPECT(t->peer.conns_n == 2);
	arena_release(&a);
}

static void test_streams(void **state)
{
	size_t n = (size_t)3 << 20;
	char *big = malloc(n + 2);
	const char *const script[] = {big, big, OK_JSON};

	(void)state;
	big[0] = '=';
	for (size_t i = 0; i < n; i++)
		big[i + 1] = (char)('a' + i % 23);
	big[n + 1] = 0;
	both(reads_pieces, script, 3);
	free(big);
}

/* ------------------------------------------------------------------ many at once */

struct many {
	struct test t;
	struct fiber *fibers[8];
	unsigned finished;
	enum err errs[8];
};
struct one {
	struct many *m;
	unsigned i;
	uint64_t deadline;
};

static void ask_one(void *arg)
{
	struct one one = *(struct one *)arg;
	struct outbound_request rq = plain;
	struct outbound_reply r;
	struct arena a;

	arena_init(&a, 1 << 20);
	rq.deadline_ns = one.deadline;
	one.m->errs[one.i] = call(&one.m->t, &rq, &r, &a);
	one.m->finished++;
	arena_release(&a);
}

static void spawn_one(struct many *m, unsigned i, uint64_t deadline)
{
	struct one one = {m, i, deadline};

	EXPECT(fiber_spawn(ask_one, &one, &m->fibers[i], NULL) == OK);
}

/* Waits for the peer without holding up the loop. */
static void await(struct many *m, unsigned now)
{
	for (;;) {
		pthread_mutex_lock(&m->t.peer.lock);
		bool there = m->t.peer.now >= now;
		pthread_mutex_unlock(&m->t.peer.lock);
		if (there)
			return;
		EXPECT(wait_until(clock_mono_ns() + 1000000) == OK);
	}
}

static void limited(void *arg)
{
	struct many *m = arg;

	for (unsigned i = 0; i < 6; i++)
		spawn_one(m, i, deadline_in_ms(20000));
	spawn_one(m, 6, deadline_in_ms(20));	/* its turn does not come */
	spawn_one(m, 7, deadline_in_ms(20000)); /* is cancelled while it waits for its turn */
	await(m, 2);
	fiber_cancel(m->fibers[7]);
	while (m->finished < 2)
		EXPECT(wait_until(clock_mono_ns() + 1000000) == OK);
	EXPECT(m->errs[6] == E_TIMEOUT && m->errs[7] == E_CANCELLED);
	fiber_cancel(m->fibers[0]); /* while it waits for the answer */
	while (m->finished < 3)
		EXPECT(wait_until(clock_mono_ns() + 1000000) == OK);
	EXPECT(m->errs[0] == E_CANCELLED);
	peer_hold(&m->t.peer, false);
}

static void test_limit(void **state)
{
	static const char *const script[] = {OK_JSON};
	struct many m = {.t.conc = 2};

	(void)state;
	m.t.peer.held = true;
	fixture(&m.t, script, 1);
	run_in_loop(limited, &m);
	assert_int_equal(m.finished, 8);
	for (unsigned i = 1; i < 6; i++)
		assert_int_equal(m.errs[i], OK);
	/* The cancelled one's request is with the peer until the peer looks. */
	assert_true(m.t.peer.most <= 3);
	assert_int_equal(peer_requests(&m.t.peer), 6);
	works(&m.t);
	done(&m.t);
}

/* Three at a time, twice. */
static void bursts(void *arg)
{
	struct many *m = arg;

	for (unsigned n = 0; n < 2; n++) {
		peer_hold(&m->t.peer, true);
		for (unsigned i = 0; i < 3; i++)
			spawn_one(m, i, deadline_in_ms(20000));
		await(m, 3);
		peer_hold(&m->t.peer, false);
		while (m->finished < 3 * (n + 1))
			EXPECT(wait_until(clock_mono_ns() + 1000000) == OK);
		for (unsigned i = 0; i < 3; i++)
			EXPECT(m->errs[i] == OK);
	}
}

/* Of what a burst has opened only so much stays. */
static void test_kept(void **state)
{
	static const char *const script[] = {OK_JSON};
	static const unsigned kept[] = {0, 1, 2}, opened[] = {3, 5, 4};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct many m = {.t.conc = 3, .t.kept = kept[i]};

		fixture(&m.t, script, 1);
		run_in_loop(bursts, &m);
		assert_int_equal(m.t.peer.conns_n, opened[i]);
		done(&m.t);
	}
}

static void *hammer(void *arg)
{
	for (int i = 0; i < 40; i++)
		works(arg);
	return NULL;
}

static void hammer_fiber(void *arg)
{
	hammer(arg);
}

static void *hammer_loop(void *arg)
{
	run_in_loop(hammer_fiber, arg);
	return NULL;
}

/* Lanes go from threads to loops and back. */
static void test_threads(void **state)
{
	static const char *const script[] = {OK_JSON};
	struct test t = {.conc = 3};
	pthread_t th[6];

	(void)state;
	fixture(&t, script, 1);
	for (int i = 0; i < 6; i++)
		assert_int_equal(pthread_create(&th[i], NULL, i % 2 ? hammer : hammer_loop, &t), 0);
	for (int i = 0; i < 6; i++)
		pthread_join(th[i], NULL);
	assert_int_equal(peer_requests(&t.peer), 240);
	assert_true(t.peer.most <= 3 && t.peer.conns_n <= 3);
	done(&t);
}

static void test_bases(void **state)
{
	static const char *const good[] = {"http://h", "https://h/v1", "http://[::1]:80/v1/", "https://h/serving-endpoints"},
				 *const bad[] = {"",
						 "h",
						 "ftp://h",
						 "http://",
						 "http:///v1",
						 "http://u@h",
						 "http://u:p@h/v1",
						 "http://h?x=1",
						 "http://h/v1#f",
						 "http://h/ v",
						 "http://h/\nv"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_int_equal(outbound_base_check(str_c(good[i])), OK);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct outbound_options opt = {.base = str_c(bad[i]), .concurrency = 1, .connect_ms = 1};
		struct outbound *o;

		assert_int_equal(outbound_new(&opt, &o), E_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),	cmocka_unit_test(test_forms), cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_breaks),	cmocka_unit_test(test_late),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_streams), cmocka_unit_test(test_limit), cmocka_unit_test(test_kept),
		cmocka_unit_test(test_threads), cmocka_unit_test(test_bases),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
