/* The route table: parameters, precedence, methods, conflicts, escapes, dots, empty segments, error writers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http/internal.h"

static void nothing(struct http_req *rq, void *ctx)
{
	(void)rq, (void)ctx;
}

static const char *errors_a(struct http_req *rq, int status, struct buf *b)
{
	(void)rq, (void)status, (void)b;
	return "a";
}

static const char *errors_b(struct http_req *rq, int status, struct buf *b)
{
	(void)rq, (void)status, (void)b;
	return "b";
}

static const struct http_route table[] = {
	{"GET", "/", nothing, 0, 0, "root"},
	{"GET", "/threads/search", nothing, 0, 0, "search"},
	{"POST", "/threads/search", nothing, 0, 0, "searchPost"},
	{"GET", "/threads/{id}", nothing, 0, 0, "any"},
	{"PATCH", "/threads/{id}", nothing, 0, 0, "anyPatch"},
	{"GET", "/runs/{id:uuid}", nothing, 0, 0, "uuid"},
	{"GET", "/runs/{n:int}", nothing, 0, 0, "int"},
	{"GET", "/runs/{name}", nothing, 0, 0, "name"},
	{"GET", "/threads/{id}/state/{checkpoint}", nothing, 0, 0, "two"},
	{"GET", "/files/{path...}", nothing, 0, 0, "rest"},
	{"DELETE", "/only/delete", nothing, 0, 0, "del"},
	{"GET", "/trailing/", nothing, 0, 0, "trailing"},
};

struct fix {
	struct http_router *r;
	struct arena a;
	struct match m;
};

static int setup(void **state)
{
	static struct fix f;

	arena_init(&f.a, 1 << 20);
	assert_int_equal(http_router_new(&f.r), OK);
	assert_int_equal(http_router_add(f.r, "/", table, sizeof table / sizeof table[0], &f, NULL), OK);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	http_router_free(f->r);
	arena_release(&f->a);
	return 0;
}

static enum match_result go(struct fix *f, const char *method, const char *path)
{
	return router_match(f->r, &f->a, str_c(method), str_c(path), &f->m);
}

static void finds(struct fix *f, const char *method, const char *path, const char *operation, const char *p0, const char *p1)
{
	assert_int_equal(go(f, method, path), MATCH_OK);
	assert_string_equal(f->m.ep->route->operation, operation);
	if (p0)
		assert_true(str_eq(f->m.values[0], str_c(p0)));
	if (p1)
		assert_true(str_eq(f->m.values[1], str_c(p1)));
	assert_int_equal(f->m.ep->params_n, p1 ? 2 : p0 ? 1 : 0);
}

static void test_match(void **state)
{
	struct fix *f = *state;

	finds(f, "GET", "/", "root", NULL, NULL);
	finds(f, "GET", "/threads/search", "search", NULL, NULL);
	finds(f, "HEAD", "/threads/search", "search", NULL, NULL);
	finds(f, "GET", "/threads/t1", "any", "t1", NULL);
	finds(f, "GET", "/threads/t1/state/c9", "two", "t1", "c9");
	finds(f, "GET", "/runs/0199c0de-0000-7000-8000-00000000000a", "uuid", "0199c0de-0000-7000-8000-00000000000a", NULL);
	finds(f, "GET", "/runs/42", "int", "42", NULL);
	finds(f, "GET", "/runs/42x", "name", "42x", NULL);
	finds(f, "GET", "/runs/99999999999999999999", "name", "99999999999999999999", NULL);
	finds(f, "GET", "/files/a/b/c.txt", "rest", "a/b/c.txt", NULL);
	finds(f, "GET", "/files/", "rest", "", NULL);
	finds(f, "GET", "/trailing/", "trailing", NULL, NULL);
	/* The static node has no PATCH; the parameter beside it has. */
	finds(f, "PATCH", "/threads/search", "anyPatch", "search", NULL);
}

static void test_no_match(void **state)
{
	struct fix *f = *state;
	static const char *const none[] = {"",		 "*",		"threads",	 "/nope",
					   "/threads",	 "/threads/",	"/threads//",	 "//threads/t1",
					   "/files",	 "/trailing",	"/threads/t1/x", "/threads/t1/state",
					   "/threads/.", "/threads/..", "/THREADS/t1"};

	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
		assert_int_equal(go(f, "GET", none[i]), MATCH_NONE);
}

static void test_methods(void **state)
{
	struct fix *f = *state;
	char allow[96];

	assert_int_equal(go(f, "PUT", "/threads/search"), MATCH_METHOD);
	assert_string_equal(f->m.allow, "GET, HEAD, POST, PATCH, OPTIONS");
	assert_int_equal(go(f, "QUERY", "/only/delete"), MATCH_METHOD);
	assert_string_equal(f->m.allow, "DELETE, OPTIONS");
	assert_int_equal(go(f, "HEAD", "/only/delete"), MATCH_METHOD);
	assert_int_equal(go(f, "get", "/threads/t1"), MATCH_METHOD);
	router_allow(f->r, &f->a, STR("/threads/t1"), allow);
	assert_string_equal(allow, "GET, HEAD, PATCH, OPTIONS");
	router_allow(f->r, &f->a, STR("/nope"), allow);
	assert_string_equal(allow, "");
}

static void test_escapes(void **state)
{
	struct fix *f = *state;
	static const char *const bad[] = {"/threads/%",	   "/threads/%4", "/threads/%zz", "/threads/%00", "/threads/%ff",
					  "/threads/\xff", "/nope/%g0",	  "/threads/a%",  "/files/%00/x", "/threads/%c3"};

	finds(f, "GET", "/threads/a%20b%2Fc", "any", "a b/c", NULL);
	finds(f, "GET", "/threads/%C3%A9", "any", "\xc3\xa9", NULL);
	finds(f, "GET", "/threads/\xc3\xa9", "any", "\xc3\xa9", NULL);
	finds(f, "GET", "/threads/a+b", "any", "a+b", NULL);
	finds(f, "GET", "/%74hreads/%73earch", "search", NULL, NULL);
	/* Clients that keep a key ".." from being navigation send it escaped: then it is data. */
	finds(f, "GET", "/threads/%2E%2E", "any", "..", NULL);
	finds(f, "GET", "/runs/4%32", "int", "42", NULL);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(go(f, "GET", bad[i]), MATCH_MALFORMED);
}

static void test_rest_has_no_dots(void **state)
{
	struct fix *f = *state;
	static const char *const out[] = {"/files/..",	       "/files/a/../b", "/files/%2e%2e/b",
					  "/files/a%2f..%2fb", "/files/.",	"/files/a/."};

	for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
		assert_int_equal(go(f, "GET", out[i]), MATCH_NONE);
	finds(f, "GET", "/files/..a/b..", "rest", "..a/b..", NULL);
}

static void test_conflicts(void **state)
{
	struct fix *f = *state;
	static const struct http_route same[] = {{"GET", "/threads/{other}", nothing, 0, 0, "x"}};
	static const struct http_route type[] = {{"GET", "/threads/{n:int}", nothing, 0, 0, "x"}};
	static const struct http_route method[] = {{"PUT", "/threads/{other}", nothing, 0, 0, "x"}};
	static const struct http_route bad[] = {{"GET", "no-slash", nothing, 0, 0, "x"},
						{"GET", "/a/{x:date}", nothing, 0, 0, "x"},
						{"GET", "/a/{}", nothing, 0, 0, "x"},
						{"GET", "/a/{x...}/b", nothing, 0, 0, "x"},
						{"BREW", "/a", nothing, 0, 0, "x"}};

	assert_int_equal(http_router_add(f->r, "/", same, 1, NULL, NULL), E_CONFLICT);
	assert_int_equal(http_router_add(f->r, "/", type, 1, NULL, NULL), OK);
	assert_int_equal(http_router_add(f->r, "/", method, 1, NULL, NULL), OK);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(http_router_add(f->r, "/", &bad[i], 1, NULL, NULL), E_INVALID);
}

static void test_error_writers(void **state)
{
	struct fix *f = *state;

	assert_int_equal(http_router_add(f->r, "/store", NULL, 0, NULL, errors_a), OK);
	assert_int_equal(http_router_add(f->r, "/store/deep/", NULL, 0, NULL, errors_b), OK);
	assert_true(router_errors(f->r, STR("/store")) == errors_a);
	assert_true(router_errors(f->r, STR("/store/x")) == errors_a);
	assert_true(router_errors(f->r, STR("/store/deep/x")) == errors_b);
	assert_true(router_errors(f->r, STR("/store/deeper")) == errors_a);
	assert_true(router_errors(f->r, STR("/stored")) == NULL);
}

static void count(void *ctx, const struct http_route *route)
{
	(void)route;
	++*(int *)ctx;
}

static void test_walk(void **state)
{
	struct fix *f = *state;
	int n = 0;

	http_router_walk(f->r, count, &n);
	assert_int_equal(n, sizeof table / sizeof table[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_match, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_match, setup, teardown),
		cmocka_unit_test_setup_teardown(test_methods, setup, teardown),
		cmocka_unit_test_setup_teardown(test_escapes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rest_has_no_dots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_conflicts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_error_writers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
