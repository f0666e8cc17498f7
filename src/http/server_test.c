/* A real server, driven with raw bytes: every status that is answered here, bodies, pipelining, parking handlers, slow and vanished
 * clients, streams, drain, limits. */
#include "http/testing.h"

#include <time.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "rt/fiber.h"
#include "rt/wait.h"

/* ----------------------------------------------------------------- handlers */

static atomic_int parked, seen; /* seen: the error a wait ended with, + 1 */

static void h_hello(struct http_req *rq, void *ctx)
{
	(void)ctx;
	rs_header(rq, "X-Extra", STR("1"));
	rs_json(rq, 200, STR("{\"hello\":true}"));
}

static void h_echo(struct http_req *rq, void *ctx)
{
	(void)ctx;
	rs_send(rq, 200, "application/octet-stream", rq_body(rq));
}

static void h_param(struct http_req *rq, void *ctx)
{
	(void)ctx;
	rs_json(rq, 200, arena_printf(rq_arena(rq), "%.*s|%.*s", STR_ARG(rq_param(rq, "id")), STR_ARG(rq_query(rq, "q"))));
}

static void h_park(struct http_req *rq, void *ctx)
{
	int64_t ms = 0;
	enum err e;

	(void)ctx;
	str_int(rq_param(rq, "ms"), 0, 100000, &ms);
	atomic_fetch_add(&parked, 1);
	e = wait_until(clock_mono_ns() + (uint64_t)ms * 1000000);
	if (e != OK)
		rs_error(rq, e);
	else
		rs_json(rq, 200, rq_param(rq, "ms"));
}

/* Waits until cancelled or out of time, and tells which. */
static void h_forever(struct http_req *rq, void *ctx)
{
	enum err e;

	(void)ctx;
	atomic_fetch_add(&parked, 1);
	e = wait_until(NEVER);
	atomic_store(&seen, (int)e + 1);
	rs_error(rq, e);
}

static void h_uid(struct http_req *rq, void *ctx)
{
	(void)ctx;
	rs_json(rq, 200, rq_principal(rq)->id);
}

static void h_stream(struct http_req *rq, void *ctx)
{
	struct str piece = arena_str(rq_arena(rq), STR("0123456789abcdef0123456789abcdef"));
	int64_t n = 0, ms = 0;
	enum err e;

	(void)ctx;
	str_int(rq_query(rq, "n"), 0, 1000000, &n);
	str_int(rq_query(rq, "ms"), 0, 1000, &ms);
	if (ms && wait_until(clock_mono_ns() + (uint64_t)ms * 1000000) != OK)
		return;
	e = rs_begin(rq, 200, "text/plain");
	for (int64_t i = 0; e == OK && i < n; i++) {
		if (ms && i % 4 == 0)
			e = wait_until(clock_mono_ns() + (uint64_t)ms * 1000000);
		if (e == OK)
			e = rs_write(rq, piece);
	}
	atomic_store(&seen, (int)e + 1);
	if (e == OK)
		rs_end(rq);
	else
		rs_abort(rq);
}

static void h_error(struct http_req *rq, void *ctx)
{
	(void)ctx;
	rs_error(rq, err_field(E_INVALID, "/limit", 7, "must be 1..1000"));
}

static void h_internal(struct http_req *rq, void *ctx)
{
	(void)ctx;
	rs_error(rq, err_set(E_IO, "secret path of the disk"));
}

static void h_big(struct http_req *rq, void *ctx)
{
	char *p = arena_alloc(rq_arena(rq), 100000);

	(void)ctx;
	memset(p, 'b', 100000);
	rs_send(rq, 200, "text/plain", str_of(p, 100000));
}

static void h_nothing(struct http_req *rq, void *ctx)
{
	(void)rq, (void)ctx;
}

static const struct http_route routes[] = {
	{"GET", "/hello", h_hello, RIGHT_READ, 0, "hello"},
	{"GET", "/public", h_hello, 0, R_PUBLIC | R_QUIET, "public"},
	{"POST", "/echo", h_echo, RIGHT_WRITE, R_BODY | R_ANY_TYPE, "echo"},
	{"PUT", "/json", h_echo, RIGHT_WRITE, R_BODY, "json"},
	{"POST", "/optional", h_echo, RIGHT_WRITE, R_BODY | R_BODY_OPTIONAL, "optional"},
	{"PUT", "/raw", h_echo, RIGHT_WRITE, R_BODY | R_RAW_BODY, "raw"},
	{"GET", "/items/{id}", h_param, RIGHT_READ, 0, "param"},
	{"GET", "/park/{ms:int}", h_park, RIGHT_READ, 0, "park"},
	{"POST", "/park/{ms:int}", h_park, RIGHT_READ, R_BODY, "parkPost"},
	{"GET", "/forever", h_forever, RIGHT_READ, 0, "forever"},
	{"GET", "/uid", h_uid, RIGHT_READ, 0, "uid"},
	{"GET", "/stream", h_stream, RIGHT_READ, R_STREAM_OUT, "stream"},
	{"GET", "/error", h_error, RIGHT_READ, 0, "error"},
	{"GET", "/internal", h_internal, RIGHT_READ, 0, "internal"},
	{"GET", "/big", h_big, RIGHT_READ, 0, "big"},
	{"GET", "/nothing", h_nothing, RIGHT_READ, 0, "nothing"},
	{"GET", "/admin", h_hello, RIGHT_ADMIN, 0, "admin"},
};

/* "none": everybody; "k": the key k, parks when it is "slow". */
static enum err auth(void *ctx, struct arena *a, struct http_req *rq, int64_t uid, struct principal *out)
{
	struct str key = rq_header(rq, "x-api-key");

	*out = (struct principal){.tenant = STR("t"), .rights = RIGHT_READ | RIGHT_WRITE};
	out->id = arena_printf(a, "uid %lld", (long long)uid);
	if (ctx && !key.p)
		return err_kind(E_DENIED, ERR_UNAUTHENTICATED, "no key");
	if (str_eq(key, STR("slow")))
		return wait_until(clock_mono_ns() + 3000000);
	return OK;
}

static struct fixture *start(struct fixture *f)
{
	static const struct http_options base = {
		.max_body = 100000,
		.max_header = 8192,
		.max_connections = 3000,
		.header_timeout_ms = 10000,
		.idle_timeout_ms = 5000,
		.request_timeout_ms = 20000,
	};
	struct http_options o = base;

	o.auth = auth;
	o.auth_ctx = f->opt.auth_ctx;
	o.max_body = f->opt.max_body ? f->opt.max_body : o.max_body;
	o.max_connections = f->opt.max_connections ? f->opt.max_connections : o.max_connections;
	o.header_timeout_ms = f->opt.header_timeout_ms ? f->opt.header_timeout_ms : o.header_timeout_ms;
	o.idle_timeout_ms = f->opt.idle_timeout_ms ? f->opt.idle_timeout_ms : o.idle_timeout_ms;
	o.request_timeout_ms = f->opt.request_timeout_ms ? f->opt.request_timeout_ms : o.request_timeout_ms;
	o.allowed_hosts = f->opt.allowed_hosts;
	o.allowed_hosts_n = f->opt.allowed_hosts_n;
	o.local_hosts = f->opt.local_hosts;
	o.cors_origins = f->opt.cors_origins;
	o.cors_origins_n = f->opt.cors_origins_n;
	f->opt = o;
	f->routes = routes;
	f->routes_n = sizeof routes / sizeof routes[0];
	atomic_store(&parked, 0);
	atomic_store(&seen, 0);
	log_set_level(LOG_ERROR + 1);
	fixture_start(f);
	return f;
}

static void until_parked(int n)
{
	while (atomic_load(&parked) < n)
		sched_yield();
}

static int until_seen(void)
{
	while (atomic_load(&seen) == 0)
		sched_yield();
	return atomic_load(&seen) - 1;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

/* -------------------------------------------------------------------- tests */

static void test_basics(void **state)
{
	struct fixture f = {0};
	struct answer *a;

	(void)state;
	start(&f);
	a = ask(&f, "GET /hello HTTP/1.1\r\nHost: x\r\nX-Request-Id: my-id_1.2\r\n\r\n");
	assert_int_equal(a->status, 200);
	assert_string_equal(a->body, "{\"hello\":true}");
	assert_non_null(answer_head(a, "\r\nX-Request-Id: my-id_1.2\r\n"));
	assert_non_null(answer_head(a, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(answer_head(a, "\r\nX-Extra: 1\r\n"));
	assert_non_null(answer_head(a, "\r\nDate: "));
	a = ask(&f, "GET /hello HTTP/1.1\r\nHost: x\r\nX-Request-Id: not ok\r\n\r\n");
	assert_null(answer_head(a, "not ok"));
	assert_non_null(answer_head(a, "\r\nX-Request-Id: 0"));
	a = ask(&f, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(a->status, 200);
	assert_non_null(answer_head(a, "\r\nContent-Length: 14\r\n"));
	a = ask(&f, "OPTIONS /json HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(a->status, 204);
	assert_non_null(answer_head(a, "\r\nAllow: PUT, OPTIONS\r\n"));
	a = ask(&f, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(a->status, 204);
	a = ask(&f, GET("/items/a%2Fb%20c?x=1&q=%C3%A9+z"));
	assert_string_equal(a->body, "a/b c|\xc3\xa9 z");
	a = ask(&f, GET("http://x/items/7?q=absolute"));
	assert_string_equal(a->body, "7|absolute");
	a = ask(&f, "GET /hello HTTP/1.0\r\n\r\n");
	assert_int_equal(a->status, 200);
	a = ask(&f, GET("/big"));
	assert_int_equal(a->body_n, 100000);
	a = ask(&f, GET("/uid"));
	assert_string_equal(a->body, "uid -1");
	fixture_stop(&f);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
		{GET("/nope"), 404},
		{GET("/hello/"), 404},
		{GET("/../hello"), 404},
		{GET("/json"), 405},
		{"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405},
		{"QUERY /hello HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"TRACE /hello HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"A-VERY-LONG-METHOD-NAME-INDEED /hello HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{GET("/items/%zz"), 400},
		{GET("/items/%00"), 400},
		{GET("/items/a?q=%"), 400},
		{GET("/items/a?q=%ff"), 400},
		{GET("/admin"), 403},
		{GET("/error"), 422},
		{GET("/internal"), 500},
		{GET("/nothing"), 500},
		{"PUT /json HTTP/1.1\r\nHost: x\r\n\r\n", 411},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nContent-Type: application/jsonx\r\nContent-Length: 2\r\n\r\n{}", 415},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n", 413},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n", 413},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n", 413},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413},
		{"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413},
		{"GARBAGE\r\n\r\n", 400},
		{"GET /hello\r\n\r\n", 400},
		{"GET /hello HTTX/1.1\r\n\r\n", 400},
		{"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET /hello HTTP/1.1\r\n\r\n", 400},
		{"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		{"GET /hello HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n", 400},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{}", 400},
		{"PUT /json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", 505},
	};
	struct fixture f = {0};
	struct answer *a;

	(void)state;
	start(&f);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		a = ask(&f, cases[i].text);
		if (a->status != cases[i].status)
			fail_msg("%s: %d instead of %d\n%s%s", cases[i].text, a->status, cases[i].status, a->head, a->body);
	}
	a = ask(&f, "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
	assert_non_null(answer_head(a, "\r\nAllow: GET, HEAD, OPTIONS\r\n"));
	assert_non_null(answer_head(a, "\r\nContent-Type: application/problem+json\r\n"));
	assert_non_null(answer_head(a, "\r\nX-Request-Id: "));
	a = ask(&f, GET("/error"));
	assert_non_null(strstr(a->body, "\"errors\":[{\"field\":\"/limit\",\"position\":7,\"detail\":\"must be 1..1000\"}]"));
	a = ask(&f, GET("/internal"));
	assert_null(strstr(a->body, "secret"));
	fixture_stop(&f);
}

/* One answer to what is beyond repair, and then the end. */
static void test_answered_once(void **state)
{
	static const char *const cases[] = {"GARBAGE\r\n\r\n", "GET /hello HTTX/1.1\r\n\r\n",
					    "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
					    "GET /hello HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", "GET /hello HTTP/1.1\r\n\r\n"};
	struct fixture f = {0};

	(void)state;
	start(&f);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct client *c = client_open(&f);

		client_send(c, cases[i]);
		assert_int_equal(client_read(c, false)->status, 400);
		if (!client_at_end(c))
			fail_msg("%s: followed by %s", cases[i], c->buf);
		client_close(c);
	}
	fixture_stop(&f);
}

static void test_long_lines(void **state)
{
	struct fixture f = {0};
	char *text = malloc(300000);
	static const size_t lengths[] = {8300, 9000, 12000, 20000, 200000};
	int n;

	(void)state;
	start(&f);
	n = snprintf(text, 300000, "GET /items/%0*d HTTP/1.1\r\nHost: x\r\n\r\n", 7000, 1);
	assert_true(n > 0);
	assert_int_equal(ask(&f, text)->status, 200);
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		snprintf(text, 300000, "GET /items/%0*d HTTP/1.1\r\nHost: x\r\n\r\n", (int)lengths[i], 1);
		n = ask(&f, text)->status;
		if (n != 414)
			fail_msg("a line of %zu bytes: %d instead of 414", lengths[i], n);
		snprintf(text, 300000, "GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: %0*d\r\n\r\n", (int)lengths[i], 1);
		assert_int_equal(ask(&f, text)->status, 431);
	}
	n = snprintf(text, 300000, "GET /hello HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 1000; i++)
		n += snprintf(text + n, 300000 - (size_t)n, "X-%d: 1\r\n", i);
	snprintf(text + n, 300000 - (size_t)n, "\r\n");
	assert_int_equal(ask(&f, text)->status, 431);
	free(text);
	fixture_stop(&f);
}

static void send_body(struct client *c, size_t n, bool chunked)
{
	char head[200], *body = malloc(n + 1);

	memset(body, 'a', n);
	snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\nHost: x\r\n%s: %.0zu%s\r\n\r\n",
		 chunked ? "Transfer-Encoding" : "Content-Length", chunked ? 0 : n, chunked ? "chunked" : "");
	client_send(c, head);
	for (size_t at = 0; at < n;) {
		size_t part = n - at < 5000 ? n - at : 5000;

		if (chunked) {
			snprintf(head, sizeof head, "%zx\r\n", part);
			client_send(c, head);
		}
		client_send_n(c, body + at, part);
		if (chunked)
			client_send(c, "\r\n");
		at += part;
	}
	if (chunked)
		client_send(c, "0\r\n\r\n");
	free(body);
}

static void test_bodies(void **state)
{
	static const size_t sizes[] = {1, 100, 5000, 65535, 65536, 65537, 100000};
	struct fixture f = {0};
	struct answer *a;
	struct client *c;

	(void)state;
	start(&f);
	c = client_open(&f);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		for (int chunked = 0; chunked < 2; chunked++) {
			send_body(c, sizes[i], chunked);
			a = client_read(c, false);
			assert_int_equal(a->status, 200);
			assert_int_equal(a->body_n, sizes[i]);
			assert_int_equal(a->body[sizes[i] - 1], 'a');
		}
	/* One byte too many, found only while reading. */
	send_body(c, 100001, true);
	a = client_read(c, false);
	assert_int_equal(a->status, 413);
	assert_non_null(answer_head(a, "\r\nConnection: close\r\n"));
	assert_non_null(answer_head(a, "\r\nX-Request-Id: "));
	assert_true(client_at_end(c));
	client_close(c);
	a = ask(&f, "POST /optional HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(a->status, 200);
	a = ask(&f, "PUT /json HTTP/1.1\r\nHost: x\r\nContent-Type: application/merge-patch+json; charset=utf-8\r\nContent-Length: "
		    "2\r\n\r\n{}");
	assert_int_equal(a->status, 200);
	a = ask(&f, "PUT /raw HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\nabc");
	assert_string_equal(a->body, "abc");
	a = ask(&f, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc");
	assert_string_equal(a->body, "abc");
	/* Ignored where none is taken, and the connection goes on. */
	c = client_open(&f);
	client_send(c, "GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde" GET("/items/2"));
	assert_int_equal(client_read(c, false)->status, 200);
	assert_string_equal(client_read(c, false)->body, "2|");
	client_close(c);
	c = client_open(&f);
	client_send(c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
	assert_int_equal(client_read(c, false)->status, 100);
	client_send(c, "xyz");
	assert_string_equal(client_read(c, false)->body, "xyz");
	client_close(c);
	fixture_stop(&f);
}

static void test_auth(void **state)
{
	struct fixture f = {.opt = {.auth_ctx = "k"}};
	static const char *const hidden[] = {GET("/hello"), GET("/nope"), "PATCH /hello HTTP/1.1\r\nHost: x\r\n\r\n",
					     GET("/items/%zz"), "OPTIONS /hello HTTP/1.1\r\nHost: x\r\n\r\n"};
	struct answer *a;

	(void)state;
	start(&f);
	for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
		a = ask(&f, hidden[i]);
		assert_int_equal(a->status, 401);
		assert_non_null(answer_head(a, "\r\nWWW-Authenticate: Bearer"));
	}
	/* Before the body has been read, too. */
	a = ask(&f, "PUT /json HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n");
	assert_int_equal(a->status, 401);
	assert_int_equal(ask(&f, GET("/public"))->status, 200);
	assert_int_equal(ask(&f, "GET /hello HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\n\r\n")->status, 200);
	assert_int_equal(ask(&f, "GET /nope HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\n\r\n")->status, 404);
	/* A check that parks, in front of a small body and of one that is read later. */
	assert_int_equal(ask(&f, "POST /echo HTTP/1.1\r\nHost: x\r\nX-API-Key: slow\r\nContent-Length: 2\r\n\r\nab")->status, 200);
	a = ask(&f, "POST /echo HTTP/1.1\r\nHost: x\r\nX-API-Key: slow\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
	assert_int_equal(a->status, 200);
	assert_string_equal(a->body, "ab");
	fixture_stop(&f);
}

static void test_hosts_and_origins(void **state)
{
	static const struct str hosts[] = {STR_INIT("good.example"), STR_INIT("[::1]")};
	static const struct str origins[] = {STR_INIT("https://app.example")};
	struct fixture f = {.opt = {.allowed_hosts = hosts, .allowed_hosts_n = 2, .cors_origins = origins, .cors_origins_n = 1}};
	struct answer *a;

	(void)state;
	start(&f);
	assert_int_equal(ask(&f, GET("/hello"))->status, 403);
	assert_int_equal(ask(&f, GET("/public"))->status, 200);
	assert_int_equal(ask(&f, "GET /hello HTTP/1.1\r\nHost: GOOD.example:8000\r\n\r\n")->status, 200);
	assert_int_equal(ask(&f, "GET /hello HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n")->status, 200);
	assert_int_equal(ask(&f, "GET /hello HTTP/1.1\r\nHost: good.example.evil\r\n\r\n")->status, 403);
	a = ask(&f, "GET /hello HTTP/1.1\r\nHost: good.example\r\nOrigin: https://app.example\r\n\r\n");
	assert_int_equal(a->status, 200);
	assert_non_null(answer_head(a, "\r\nAccess-Control-Allow-Origin: https://app.example\r\n"));
	assert_non_null(answer_head(a, "\r\nVary: Origin\r\n"));
	assert_non_null(answer_head(a, "\r\nAccess-Control-Expose-Headers: "));
	a = ask(&f, "GET /hello HTTP/1.1\r\nHost: good.example\r\nOrigin: https://evil.example\r\n\r\n");
	assert_int_equal(a->status, 200);
	assert_null(answer_head(a, "Access-Control-Allow-Origin"));
	a = ask(&f, "OPTIONS /json HTTP/1.1\r\nHost: good.example\r\nOrigin: https://app.example\r\n"
		    "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Private-Network: true\r\n\r\n");
	assert_int_equal(a->status, 204);
	assert_non_null(answer_head(a, "\r\nAccess-Control-Allow-Methods: PUT, OPTIONS\r\n"));
	assert_non_null(answer_head(a, "\r\nAccess-Control-Max-Age: 600\r\n"));
	assert_non_null(answer_head(a, "\r\nAccess-Control-Allow-Private-Network: true\r\n"));
	a = ask(&f, "POST /echo HTTP/1.1\r\nHost: good.example\r\nOrigin: https://evil.example\r\nContent-Length: 1\r\n\r\nx");
	assert_int_equal(a->status, 403);
	a = ask(&f, "POST /echo HTTP/1.1\r\nHost: good.example\r\nOrigin: http://good.example\r\nContent-Length: 1\r\n\r\nx");
	assert_int_equal(a->status, 200);
	fixture_stop(&f);
}

/* A server that trusts whoever reaches it answers to names of this machine alone. */
static void test_local_hosts(void **state)
{
	static const char *const local[] = {
		"localhost",  "LOCALHOST:8000", "a.localhost:80", "cenote:8000", "host.docker.internal:1",
		"localhost.", "127.0.0.1:8000", "127.1.2.3",	  "10.0.0.5",	 "[::1]:8000",
		"[::1]"};
	static const char *const foreign[] = {"evil.example",
					      "evil.example:8000",
					      "localhost.evil.example",
					      "evil.notlocalhost",
					      "127.0.0.1.evil.example",
					      "a.internal.evil.example",
					      "[evil]",
					      "1.2.3.4.5"};
	struct fixture f = {.opt = {.local_hosts = true}};
	char text[200];

	(void)state;
	start(&f);
	for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
		snprintf(text, sizeof text, "GET /hello HTTP/1.1\r\nHost: %s\r\n\r\n", local[i]);
		assert_int_equal(ask(&f, text)->status, 200);
	}
	for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
		struct answer *a;

		snprintf(text, sizeof text, "POST /echo HTTP/1.1\r\nHost: %s\r\nOrigin: http://%s\r\nContent-Length: 1\r\n\r\nx",
			 foreign[i], foreign[i]);
		a = ask(&f, text);
		assert_int_equal(a->status, 403);
		assert_non_null(strstr(a->body, "http.allowed_hosts"));
	}
	fixture_stop(&f);
}

/* A header that a proxy takes for a length and libmicrohttpd does not would hide a second request in a body. */
static void test_names_of_headers(void **state)
{
	static const char *const bad[] = {"Content-Length : 30", "Transfer-Encoding\t: chunked", "X Y: 1", "X\x01: 1"};
	struct fixture f = {0};
	char text[200];

	(void)state;
	start(&f);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct answer *a;

		snprintf(text, sizeof text, "GET /hello HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", bad[i]);
		a = ask(&f, text);
		assert_int_equal(a->status, 400);
		assert_non_null(answer_head(a, "\r\nConnection: close\r\n"));
	}
	assert_int_equal(ask(&f, "GET /hello HTTP/1.1\r\nHost: x\r\nX-A.b_c~1!: 1\r\n\r\n")->status, 200);
	fixture_stop(&f);
}

static void pipeline(struct fixture *f, const char *format, int n)
{
	char *text = malloc((size_t)n * 200), want[40];
	struct client *c = client_open(f);
	struct answer *a;
	int len = 0;

	for (int i = 0; i < n; i++)
		len += snprintf(text + len, (size_t)n * 200 - (size_t)len, format, i % 4, i);
	client_send_n(c, text, (size_t)len);
	for (int i = 0; i < n; i++) {
		a = client_read(c, false);
		assert_int_equal(a->status, 200);
		snprintf(want, sizeof want, "\r\nX-Request-Id: n%d\r\n", i);
		assert_non_null(answer_head(a, want));
	}
	client_close(c);
	free(text);
}

static void test_pipelining(void **state)
{
	struct fixture f = {0};

	(void)state;
	start(&f);
	pipeline(&f, "GET /items/%d HTTP/1.1\r\nHost: x\r\nX-Request-Id: n%d\r\n\r\n", 100);
	pipeline(&f, "GET /items/%d HTTP/1.1\r\nHost: x\r\nX-Request-Id: n%d\r\n\r\n", 3000);
	pipeline(&f, "GET /park/%d HTTP/1.1\r\nHost: x\r\nX-Request-Id: n%d\r\n\r\n", 100);
	pipeline(&f, "POST /park/%d HTTP/1.1\r\nHost: x\r\nX-Request-Id: n%d\r\nContent-Length: 2\r\n\r\n{}", 100);
	fixture_stop(&f);
}

static void test_half_closed(void **state)
{
	static const char *const cases[] = {GET("/hello"), GET("/park/20"), GET("/stream?n=100&ms=1"),
					    "POST /park/20 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"};

	(void)state;
	for (int on_unix = 0; on_unix < 2; on_unix++) {
		struct fixture f = {.on_unix = on_unix};

		start(&f);
		for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
			struct client *c = client_open(&f);

			client_send(c, cases[i]);
			shutdown(c->fd, SHUT_WR);
			assert_int_equal(client_read(c, false)->status, 200);
			assert_true(client_at_end(c));
			client_close(c);
		}
		fixture_stop(&f);
	}
}

static void reset(struct client *c)
{
	struct linger lg = {.l_onoff = 1, .l_linger = 0};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &lg, sizeof lg);
	client_close(c);
}

static void test_client_gone(void **state)
{
	(void)state;
	for (int on_unix = 0; on_unix < 2; on_unix++) {
		struct fixture f = {.on_unix = on_unix};
		struct client *c;

		start(&f);
		c = client_open(&f);
		client_send(c, GET("/forever"));
		until_parked(1);
		reset(c);
		assert_int_equal(until_seen(), E_CANCELLED);
		assert_int_equal(ask(&f, GET("/hello"))->status, 200);
		/* In the middle of a stream. */
		atomic_store(&seen, 0);
		c = client_open(&f);
		client_send(c, GET("/stream?n=1000000"));
		assert_true(client_fill(c));
		reset(c);
		assert_int_equal(until_seen(), E_CANCELLED);
		assert_int_equal(ask(&f, GET("/hello"))->status, 200);
		fixture_stop(&f);
	}
}

static void test_request_timeout(void **state)
{
	struct fixture f = {.opt = {.request_timeout_ms = 1000}};
	struct client *c;

	(void)state;
	start(&f);
	c = client_open(&f);
	client_send(c, GET("/forever"));
	assert_int_equal(client_read(c, false)->status, 504);
	/* The connection goes on. */
	client_send(c, GET("/hello"));
	assert_int_equal(client_read(c, false)->status, 200);
	/* A streamed answer has the time for each of its pieces: six pauses of 200 ms, two of them before the first. */
	client_send(c, GET("/stream?n=20&ms=200"));
	assert_int_equal(client_read(c, false)->body_n, 20 * 32);
	client_close(c);
	fixture_stop(&f);
}

static void test_slow_senders(void **state)
{
	struct fixture f = {.opt = {.header_timeout_ms = 100, .idle_timeout_ms = 5000}};
	static const char *const parts[] = {"GE", "GET /hello HTTP/1.1\r\n", "GET /hello HTTP/1.1\r\nHost: x\r\nA",
					    "PUT /json HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
					    "PUT /json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{"};
	struct answer *a;
	struct client *c;

	(void)state;
	start(&f);
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		c = client_open(&f);
		/* After a first request the clock starts anew, too. */
		if (i % 2) {
			client_send(c, GET("/hello"));
			assert_int_equal(client_read(c, false)->status, 200);
		}
		client_send(c, parts[i]);
		a = client_read(c, false);
		if (a->status != 408)
			fail_msg("%s: %d instead of 408", parts[i], a->status);
		assert_non_null(answer_head(a, "\r\nConnection: close\r\n"));
		assert_true(client_at_end(c));
		client_close(c);
	}
	fixture_stop(&f);
}

/* A body may take its time; what is done with it has its own. */
static void test_slow_body(void **state)
{
	struct fixture f = {.opt = {.request_timeout_ms = 1000, .header_timeout_ms = 20000}};
	struct client *c;

	(void)state;
	start(&f);
	c = client_open(&f);
	client_send(c, "POST /park/10 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{");
	nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 100000000}, NULL);
	client_send(c, "}");
	assert_int_equal(client_read(c, false)->status, 200);
	client_close(c);
	fixture_stop(&f);
}

static void test_idle(void **state)
{
	struct fixture f = {.opt = {.header_timeout_ms = 100, .idle_timeout_ms = 1000}};
	struct client *silent, *used, *busy;

	(void)state;
	start(&f);
	used = client_open(&f);
	client_send(used, GET("/hello"));
	busy = client_open(&f);
	client_send(busy, GET("/park/1300"));
	silent = client_open(&f);
	assert_int_equal(client_read(used, false)->status, 200);
	/* Closed without a word. */
	assert_true(client_at_end(silent));
	assert_true(client_at_end(used));
	/* Longer than all timeouts, but in the handler's hands. */
	assert_int_equal(client_read(busy, false)->status, 200);
	client_close(silent);
	client_close(used);
	client_close(busy);
	fixture_stop(&f);
}

/* A client that never reads must not hold its handler for ever. */
static void test_slow_reader(void **state)
{
	struct fixture f = {.opt = {.header_timeout_ms = 100, .idle_timeout_ms = 1000}};
	struct client *c;
	int small = 4096;

	(void)state;
	start(&f);
	c = client_open(&f);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	client_send(c, GET("/stream?n=1000000"));
	assert_int_equal(until_seen(), E_CANCELLED);
	client_close(c);
	fixture_stop(&f);
}

static void test_stream(void **state)
{
	struct fixture f = {0};
	struct answer *a;
	struct client *c;

	(void)state;
	start(&f);
	c = client_open(&f);
	for (int round = 0; round < 3; round++) {
		client_send(c, GET("/stream?n=4000"));
		a = client_read(c, false);
		assert_int_equal(a->status, 200);
		assert_int_equal(a->body_n, 4000 * 32);
		client_send(c, GET("/stream?n=10&ms=1"));
		a = client_read(c, false);
		assert_int_equal(a->body_n, 320);
		assert_memory_equal(a->body + 288, "0123456789abcdef0123456789abcdef", 32);
		client_send(c, GET("/stream?n=0"));
		a = client_read(c, false);
		assert_int_equal(a->status, 200);
		assert_int_equal(a->body_n, 0);
	}
	client_close(c);
	fixture_stop(&f);
}

static void test_connection_limit(void **state)
{
	struct fixture f = {.opt = {.max_connections = 2}};
	struct client *c[2], *over;
	struct answer *a;

	(void)state;
	start(&f);
	for (int i = 0; i < 2; i++) {
		c[i] = client_open(&f);
		client_send(c[i], GET("/hello"));
		assert_int_equal(client_read(c[i], false)->status, 200);
	}
	for (int i = 0; i < 300; i++) {
		over = client_open(&f);
		client_send(over, GET("/hello"));
		a = client_read(over, false);
		assert_int_equal(a->status, 503);
		assert_non_null(answer_head(a, "\r\nRetry-After: 1\r\n"));
		client_close(over);
	}
	client_send(c[0], GET("/hello"));
	assert_int_equal(client_read(c[0], false)->status, 200);
	for (int i = 0; i < 2; i++)
		client_close(c[i]);
	fixture_stop(&f);
}

static void test_drain(void **state)
{
	struct fixture f = {0};
	struct client *busy, *idle, *next;
	struct answer *a;

	(void)state;
	start(&f);
	idle = client_open(&f);
	client_send(idle, GET("/hello"));
	assert_int_equal(client_read(idle, false)->status, 200);
	next = client_open(&f);
	client_send(next, GET("/hello"));
	assert_int_equal(client_read(next, false)->status, 200);
	busy = client_open(&f);
	client_send(busy, GET("/park/900"));
	until_parked(1);
	fixture_begin_drain(&f);
	/* The loop has begun to drain when a task posted later would run; the next answer tells, or that there is none, when it was
	 * idle at that moment. */
	do {
		client_send(next, GET("/hello"));
		a = client_read(next, false);
	} while (a->status == 200 && !answer_head(a, "\r\nConnection: close\r\n"));
	if (a->status != 200 && a->status != 0) {
		assert_int_equal(a->status, 503);
		assert_non_null(answer_head(a, "\r\nConnection: close\r\n"));
		assert_non_null(answer_head(a, "\r\nRetry-After: "));
	}
	assert_true(client_at_end(next));
	assert_true(client_at_end(idle));
	a = client_read(busy, false);
	assert_int_equal(a->status, 200);
	assert_non_null(answer_head(a, "\r\nConnection: close\r\n"));
	assert_true(client_at_end(busy));
	fixture_join(&f);
	client_close(busy);
	client_close(idle);
	client_close(next);
}

static void test_drain_deadline(void **state)
{
	struct fixture f = {.drain_ms = 50};
	struct client *c[3];

	(void)state;
	start(&f);
	for (int i = 0; i < 3; i++) {
		c[i] = client_open(&f);
		client_send(c[i], i < 2 ? GET("/forever") : "GET /half HTTP/1.1\r\nHo");
	}
	until_parked(2);
	fixture_stop(&f);
	assert_int_equal(until_seen(), E_CANCELLED);
	for (int i = 0; i < 3; i++) {
		assert_true(client_at_end(c[i]));
		client_close(c[i]);
	}
}

static void test_unix_socket(void **state)
{
	struct fixture f = {.on_unix = true};
	char want[40];

	(void)state;
	start(&f);
	snprintf(want, sizeof want, "uid %lld", (long long)getuid());
	assert_string_equal(ask(&f, GET("/uid"))->body, want);
	pipeline(&f, "GET /park/%d HTTP/1.1\r\nHost: x\r\nX-Request-Id: n%d\r\n\r\n", 20);
	fixture_stop(&f);
}

static void test_many_idle(void **state)
{
	struct rlimit rl;
	int want = 10000, n = 0, *fds;
	struct fixture f = {.opt = {.max_connections = 11000}};
	struct sockaddr_in in = {.sin_family = AF_INET};

	(void)state;
	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	getrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_cur < 20100)
		want = rl.rlim_cur > 5000 ? 2000 : 200;
	start(&f);
	fds = calloc((size_t)want, sizeof *fds);
	in.sin_port = htons((uint16_t)f.port);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (; n < want; n++) {
		fds[n] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fds[n], (struct sockaddr *)&in, sizeof in) != 0)
			break;
	}
	assert_int_equal(n, want);
	assert_int_equal(ask(&f, GET("/hello"))->status, 200);
	/* Each of them still works. */
	for (int i = 0; i < n; i += 97) {
		char buf[600];

		assert_int_equal(send(fds[i], GET("/hello"), strlen(GET("/hello")), MSG_NOSIGNAL), strlen(GET("/hello")));
		assert_true(recv(fds[i], buf, sizeof buf, 0) > 12);
		assert_memory_equal(buf, "HTTP/1.1 200", 12);
	}
	for (int i = 0; i < n; i++)
		close(fds[i]);
	free(fds);
	fixture_stop(&f);
}

static void test_metrics(void **state)
{
	struct fixture f = {0};
	struct buf b;
	struct str text;

	(void)state;
	start(&f);
	ask(&f, GET("/hello"));
	ask(&f, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	ask(&f, GET("/nope"));
	ask(&f, "BREW /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	/* Counted when libmicrohttpd has let go of it, which is before it reads the next one. */
	ask(&f, GET("/hello"));
	buf_init(&b, NULL, 1 << 20);
	http_metrics(&b);
	buf_byte(&b, '\0');
	text = buf_slice(&b);
	assert_non_null(strstr(text.p, "cenote_http_requests_total{method=\"HEAD\",route=\"/hello\",code=\"200\"} 1\n"));
	assert_non_null(strstr(text.p, "cenote_http_requests_total{method=\"GET\",route=\"none\",code=\"404\"} 1\n"));
	assert_non_null(strstr(text.p, "cenote_http_requests_total{method=\"other\",route=\"none\",code=\"405\"} 1\n"));
	assert_non_null(
		strstr(text.p, "cenote_http_request_duration_seconds_bucket{method=\"GET\",route=\"/hello\",le=\"+Inf\"} "));
	assert_non_null(strstr(text.p, "cenote_http_connections "));
	buf_release(&b);
	fixture_stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_basics),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_answered_once),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_auth),
		cmocka_unit_test(test_hosts_and_origins),
		cmocka_unit_test(test_local_hosts),
		cmocka_unit_test(test_names_of_headers),
		cmocka_unit_test(test_pipelining),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_client_gone),
		cmocka_unit_test(test_request_timeout),
		cmocka_unit_test(test_slow_senders),
		cmocka_unit_test(test_slow_body),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_connection_limit),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_drain_deadline),
		cmocka_unit_test(test_unix_socket),
		cmocka_unit_test(test_many_idle),
		cmocka_unit_test(test_metrics),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
