/* The command line's client against a real server, over TCP and a unix socket. */
#include "http/client.h"
#include "http/testing.h"

#include "rt/wait.h"

static void h_echo(struct http_req *rq, void *ctx)
{
	(void)ctx;
	rs_header(rq, "ETag", STR("\"4\""));
	rs_send(rq, 200, "text/plain",
		arena_printf(rq_arena(rq), "%.*s %.*s auth=%.*s user=%.*s type=%.*s body=%.*s", STR_ARG(rq_method(rq)),
			     STR_ARG(rq_path(rq)), STR_ARG(rq_header(rq, "authorization")), STR_ARG(rq_header(rq, "x-cenote-user")),
			     STR_ARG(rq_header(rq, "content-type")), STR_ARG(rq_body(rq))));
}

static void h_big(struct http_req *rq, void *ctx)
{
	char *p = arena_alloc(rq_arena(rq), 50000);

	(void)ctx;
	memset(p, 'b', 50000);
	rs_send(rq, 200, "text/plain", str_of(p, 50000));
}

static void h_slow(struct http_req *rq, void *ctx)
{
	enum err e = wait_until(clock_mono_ns() + UINT64_C(2000000000));

	(void)ctx;
	if (e == OK)
		rs_empty(rq, 204);
	else
		rs_error(rq, e);
}

static const struct http_route routes[] = {
	{"GET", "/echo", h_echo, 0, R_PUBLIC, "a"},
	{"PUT", "/echo", h_echo, 0, R_PUBLIC | R_BODY, "b"},
	{"POST", "/echo", h_echo, 0, R_PUBLIC | R_BODY, "c"},
	{"DELETE", "/echo", h_echo, 0, R_PUBLIC | R_BODY | R_BODY_OPTIONAL, "d"},
	{"GET", "/big", h_big, 0, R_PUBLIC, "e"},
	{"GET", "/slow", h_slow, 0, R_PUBLIC, "f"},
};

static void start(struct fixture *f)
{
	f->opt = (struct http_options){.max_body = 100000,
				       .max_header = 8192,
				       .max_connections = 10,
				       .header_timeout_ms = 10000,
				       .idle_timeout_ms = 10000,
				       .request_timeout_ms = 10000};
	f->routes = routes;
	f->routes_n = sizeof routes / sizeof routes[0];
	log_set_level(LOG_ERROR + 1);
	fixture_start(f);
}

static struct http_client *connect_to(struct fixture *f, struct arena *a, struct str key, struct str user, uint32_t ms)
{
	struct str url = f->on_unix ? arena_printf(a, "unix:%s", f->path) : arena_printf(a, "http://127.0.0.1:%d/", f->port);
	struct http_client *c;

	assert_int_equal(http_client_new(url, key, user, ms, &c), OK);
	return c;
}

static void expect(struct http_client *c, struct arena *a, const char *method, struct str body, const char *want)
{
	struct http_reply r;

	assert_int_equal(http_client_call(c, a, method, STR("/echo?x=1"), NULL, body, 10000, &r), OK);
	assert_int_equal(r.status, 200);
	assert_true(str_eq(r.body, str_c(want)));
	assert_true(str_eq(r.etag, STR("\"4\"")));
	assert_true(str_eq(r.content_type, STR("text/plain")));
	assert_int_equal(r.request_id.n, 36);
}

static void test_calls(void **state)
{
	(void)state;
	for (int on_unix = 0; on_unix < 2; on_unix++) {
		struct fixture f = {.on_unix = on_unix};
		struct http_client *c;
		struct http_reply r;
		struct arena a;

		arena_init(&a, 1 << 20);
		start(&f);
		c = connect_to(&f, &a, STR("k1"), STR("ann"), 10000);
		expect(c, &a, "GET", STR(""), "GET /echo auth=Bearer k1 user=ann type= body=");
		expect(c, &a, "PUT", STR("{}"), "PUT /echo auth=Bearer k1 user=ann type=application/json body={}");
		expect(c, &a, "DELETE", STR(""), "DELETE /echo auth=Bearer k1 user=ann type= body=");
		expect(c, &a, "DELETE", STR("{}"), "DELETE /echo auth=Bearer k1 user=ann type=application/json body={}");
		expect(c, &a, "POST", STR(""), "POST /echo auth=Bearer k1 user=ann type= body=");
		assert_int_equal(http_client_call(c, &a, "HEAD", STR("/echo"), NULL, STR(""), 10000, &r), OK);
		assert_int_equal(r.status, 200);
		assert_int_equal(r.body.n, 0);
		assert_int_equal(http_client_call(c, &a, "GET", STR("/nope"), NULL, STR(""), 10000, &r), OK);
		assert_int_equal(r.status, 401);
		assert_int_equal(http_client_call(c, &a, "GET", STR("/big"), NULL, STR(""), 10000, &r), E_LIMIT);
		assert_int_equal(http_client_call(c, &a, "GET", STR("/big"), NULL, STR(""), 50000, &r), OK);
		assert_int_equal(r.body.n, 50000);
		http_client_free(c);
		arena_release(&a);
		fixture_stop(&f);
	}
}

static void test_failures(void **state)
{
	struct fixture f = {0};
	struct http_client *c;
	struct http_reply r;
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	start(&f);
	c = connect_to(&f, &a, STR(""), STR(""), 50);
	assert_int_equal(http_client_call(c, &a, "GET", STR("/slow"), NULL, STR(""), 10000, &r), E_TIMEOUT);
	http_client_free(c);
	c = connect_to(&f, &a, STR(""), STR(""), 10000);
	fixture_stop(&f);
	assert_int_equal(http_client_call(c, &a, "GET", STR("/echo"), NULL, STR(""), 10000, &r), E_UPSTREAM);
	http_client_free(c);
	assert_int_equal(http_client_new(STR("ftp://x"), STR(""), STR(""), 10, &c), E_INVALID);
	assert_int_equal(http_client_new(STR("unix:"), STR(""), STR(""), 10, &c), E_INVALID);
	assert_int_equal(http_client_new(STR("http://x"), STR("a\nb"), STR(""), 10, &c), E_INVALID);
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
