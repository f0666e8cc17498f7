/* Percent-encoding, status codes, problem bodies, addresses to listen on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/json/json.h"
#include "http/client.h"
#include "http/internal.h"

static void test_encode(void **state)
{
	struct arena a;
	char all[256];
	struct str enc, dec;

	(void)state;
	arena_init(&a, 1 << 16);
	assert_true(str_eq(url_encode(&a, STR("a b/\xc3\xa9~-._Z9")), STR("a%20b%2F%C3%A9~-._Z9")));
	assert_true(str_eq(url_encode(&a, STR("")), STR("")));
	for (int i = 1; i < 256; i++)
		all[i - 1] = (char)i;
	enc = url_encode(&a, str_of(all, 255));
	dec = url_decode(&a, enc, true);
	assert_true(str_eq(dec, str_of(all, 255)));
	arena_release(&a);
}

static void test_decode(void **state)
{
	static const char *const bad[] = {"%", "a%", "%4", "a%4", "%zz", "%4g", "%g4", "%00", "a%00b", "%%41", "% 41"};
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 16);
	assert_true(str_eq(url_decode(&a, STR("a%2eb%2E"), false), STR("a.b.")));
	assert_true(str_eq(url_decode(&a, STR("a+b"), false), STR("a+b")));
	assert_true(str_eq(url_decode(&a, STR("a+b%2B"), true), STR("a b+")));
	assert_true(str_eq(url_decode(&a, STR("%41"), true), STR("A")));
	assert_non_null(url_decode(&a, STR(""), true).p);
	assert_null(url_decode(&a, str_of("a\0b", 3), true).p);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_null(url_decode(&a, str_c(bad[i]), true).p);
	arena_release(&a);
}

static void test_status(void **state)
{
	(void)state;
	assert_int_equal(http_status(E_INVALID, ERR_SYNTAX), 400);
	assert_int_equal(http_status(E_INVALID, ERR_PLAIN), 422);
	assert_int_equal(http_status(E_DENIED, ERR_UNAUTHENTICATED), 401);
	assert_int_equal(http_status(E_DENIED, ERR_PLAIN), 403);
	assert_int_equal(http_status(E_NOT_FOUND, ERR_PLAIN), 404);
	assert_int_equal(http_status(E_CONFLICT, ERR_PLAIN), 409);
	assert_int_equal(http_status(E_CONFLICT, ERR_PRECONDITION), 412);
	assert_int_equal(http_status(E_LIMIT, ERR_PLAIN), 413);
	assert_int_equal(http_status(E_LIMIT, ERR_SIZE), 413);
	assert_int_equal(http_status(E_LIMIT, ERR_RATE), 429);
	assert_int_equal(http_status(E_LIMIT, ERR_QUOTA), 507);
	assert_int_equal(http_status(E_BUSY, ERR_PLAIN), 503);
	assert_int_equal(http_status(E_BUSY, ERR_RATE), 429);
	assert_int_equal(http_status(E_TIMEOUT, ERR_PLAIN), 504);
	assert_int_equal(http_status(E_UPSTREAM, ERR_PLAIN), 502);
	assert_int_equal(http_status(E_IO, ERR_PLAIN), 500);
	assert_int_equal(http_status(E_CORRUPT, ERR_PLAIN), 500);
	assert_int_equal(http_status(E_INTERNAL, ERR_PLAIN), 500);
}

static void test_problem(void **state)
{
	struct http_req rq = {.path = STR_INIT("/x\"y"), .id = STR_INIT("id-1")};
	struct arena a;
	struct buf b;
	struct json doc;
	struct jval v, item;
	int64_t n;

	(void)state;
	arena_init(&a, 1 << 16);
	buf_init(&b, &a, 1 << 14);
	(void)err_field(E_INVALID, "/limit", 31, "must be 1..1000, got \"%s\"", "5000");
	problem_write(&b, &rq, 422, diag_get());
	assert_int_equal(json_parse(&a, buf_slice(&b), &json_default_limits, &doc), OK);
	v = json_root(&doc);
	assert_true(j_str_eq(j_get(v, STR("type")), STR("urn:cenote:problem:invalid")));
	assert_true(j_str_eq(j_get(v, STR("title")), STR("Invalid request")));
	assert_true(j_str_eq(j_get(v, STR("detail")), STR("must be 1..1000, got \"5000\"")));
	assert_true(j_str_eq(j_get(v, STR("instance")), STR("/x\"y")));
	assert_true(j_str_eq(j_get(v, STR("request_id")), STR("id-1")));
	assert_true(j_i64(j_get(v, STR("status")), &n) && n == 422);
	struct j_iter it = j_iter(j_get(v, STR("errors")));

	assert_true(j_next(&it, NULL, &item));
	assert_true(j_str_eq(j_get(item, STR("field")), STR("/limit")));
	assert_true(j_i64(j_get(item, STR("position")), &n) && n == 31);
	arena_release(&a);
}

static void test_kinds(void **state)
{
	static const int codes[] = {400, 401, 403, 404, 405, 408, 409, 411, 412, 413, 414,
				    415, 422, 428, 429, 431, 500, 502, 503, 504, 507};

	(void)state;
	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
		assert_int_equal(problem_kind(codes[i])->status, codes[i]);
	assert_int_equal(problem_kind(418)->status, 500);
}

static void test_listen_tcp(void **state)
{
	static const char *const bad[] = {"",	      "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "example.org:80", "::1:80",
					  "1.2.3:80", "[::1]",	   "unix:"};
	struct arena a;
	struct str bound, again;
	int fd, fd2;

	(void)state;
	arena_init(&a, 1 << 16);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(http_listen(&a, str_c(bad[i]), &fd, &bound), E_INVALID);
	assert_int_equal(http_listen(&a, STR("127.0.0.1:0"), &fd, &bound), OK);
	assert_true(str_starts(bound, STR("127.0.0.1:")) && !str_ends(bound, STR(":0")));
	/* One socket per loop. */
	assert_int_equal(http_listen(&a, bound, &fd2, &again), OK);
	assert_true(str_eq(bound, again));
	close(fd);
	close(fd2);
	arena_release(&a);
}

/* Another process with the port: what matters is that this module did not bind it. */
static void test_listen_foreign(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t n = sizeof in;
	struct arena a;
	struct str bound;
	int fd, theirs = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	(void)state;
	arena_init(&a, 1 << 16);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(setsockopt(theirs, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
	assert_int_equal(setsockopt(theirs, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one), 0);
	assert_int_equal(bind(theirs, (struct sockaddr *)&in, n), 0);
	assert_int_equal(listen(theirs, 1), 0);
	assert_int_equal(getsockname(theirs, (struct sockaddr *)&in, &n), 0);
	assert_int_equal(http_listen(&a, arena_printf(&a, "127.0.0.1:%u", ntohs(in.sin_port)), &fd, &bound), E_BUSY);
	close(theirs);
	arena_release(&a);
}

static void test_listen_unix(void **state)
{
	char dir[] = "/tmp/cenote-url-XXXXXX";
	struct arena a;
	struct str addr, bound;
	struct stat st;
	int fd, fd2;

	(void)state;
	arena_init(&a, 1 << 16);
	assert_non_null(mkdtemp(dir));
	addr = arena_printf(&a, "unix:%s/sock", dir);
	assert_int_equal(http_listen(&a, addr, &fd, &bound), OK);
	assert_true(str_eq(addr, bound));
	assert_int_equal(stat(addr.p + 5, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(http_listen(&a, addr, &fd2, &bound), E_BUSY);
	close(fd);
	/* The file is still there, but nobody listens: as after a kill. */
	assert_int_equal(http_listen(&a, addr, &fd, &bound), OK);
	close(fd);
	unlink(addr.p + 5);
	close(creat(addr.p + 5, 0600));
	assert_int_equal(http_listen(&a, addr, &fd, &bound), E_CONFLICT);
	unlink(addr.p + 5);
	rmdir(dir);
	arena_release(&a);
}

static void test_loopback(void **state)
{
	(void)state;
	assert_true(http_is_loopback(STR("127.0.0.1:80")));
	assert_true(http_is_loopback(STR("127.9.9.9:80")));
	assert_true(http_is_loopback(STR("localhost:80")));
	assert_true(http_is_loopback(STR("[::1]:80")));
	assert_true(http_is_loopback(STR("unix:/x")));
	assert_false(http_is_loopback(STR("0.0.0.0:80")));
	assert_false(http_is_loopback(STR("*:80")));
	assert_false(http_is_loopback(STR("[::]:80")));
	assert_false(http_is_loopback(STR("10.0.0.1:80")));
	assert_false(http_is_loopback(STR("junk")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode),	       cmocka_unit_test(test_decode),	   cmocka_unit_test(test_status),
		cmocka_unit_test(test_problem),	       cmocka_unit_test(test_kinds),	   cmocka_unit_test(test_listen_tcp),
		cmocka_unit_test(test_listen_foreign), cmocka_unit_test(test_listen_unix), cmocka_unit_test(test_loopback),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
