/* HTTP tools: which hosts and addresses the list allows, what becomes of arguments, what a file may not say. */
#include "base/test_util.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/test_peer.h"
#include "tool/impl.h"

static void listed(struct arena *a, struct allow *l, const char *text)
{
	struct str rest = str_c(text), one, v[16];
	size_t n = 0;

	while (rest.n) {
		str_cut(rest, ' ', &one, &rest);
		v[n++] = one;
	}
	OKAY(allow_parse(a, v, n, l));
}

/* ------------------------------------------------------------------- the list */

static void test_hosts(void **state)
{
	static const struct {
		const char *host;
		uint16_t port;
		bool secure, want;
	} cases[] = {
		{"api.example.com", 443, true, true},
		{"API.example.COM", 443, true, true},
		{"api.example.com", 80, false, true},
		{"api.example.com", 80, true, false},
		{"api.example.com", 8443, true, false},
		{"xapi.example.com", 443, true, false},
		{"a.inner.example.com", 443, true, true},
		{"inner.example.com", 443, true, false},
		{"ainner.example.com", 443, true, false},
		{"db.example.com", 5000, false, true},
		{"db.example.com", 80, false, false},
		{"10.1.2.3", 8080, false, true},
		{"10.1.2.3", 80, false, false},
		{"010.1.2.3", 8080, false, false},
		{"::1", 9000, false, true},
		{"0:0::1", 9000, false, true},
		{"10.9.0.1", 80, false, false},
		{"", 80, false, false},
	};
	struct allow l;
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	listed(&a, &l, "api.example.com *.inner.example.com DB.example.com:5000 10.1.2.3:8080 [::1]:9000 10.9.0.0/16");
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (allow_host(&l, str_c(cases[i].host), cases[i].port, cases[i].secure) != cases[i].want)
			fail_msg("%s:%u", cases[i].host, cases[i].port);
	arena_release(&a);
}

static bool reaches(const struct allow *l, const char *address, uint16_t port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (inet_pton(AF_INET, address, &four.sin_addr) == 1)
		return allow_address(l, (const struct sockaddr *)&four);
	assert_int_equal(inet_pton(AF_INET6, address, &six.sin6_addr), 1);
	return allow_address(l, (const struct sockaddr *)&six);
}

static void test_addresses(void **state)
{
	static const char *const no[] = {"127.0.0.1",
					 "127.9.9.9",
					 "10.0.0.1",
					 "172.16.0.1",
					 "172.31.255.255",
					 "192.168.1.1",
					 "169.254.169.254",
					 "100.64.0.1",
					 "0.0.0.0",
					 "224.0.0.1",
					 "255.255.255.255",
					 "::",
					 "::1",
					 "fe80::1",
					 "fd00::1",
					 "ff02::1",
					 "::ffff:10.0.0.1",
					 "64:ff9b::7f00:1",
					 "2002:a00:1::",
					 "2001::1"};
	static const char *const yes[] = {"1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"};
	struct allow none = {NULL, 0}, l;
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		if (reaches(&none, no[i], 80))
			fail_msg("%s can be reached", no[i]);
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		if (!reaches(&none, yes[i], 80))
			fail_msg("%s cannot be reached", yes[i]);
	listed(&a, &l, "10.9.0.0/16 192.168.1.1:8080 localhost:7000 fd00::/8 example.com");
	assert_true(reaches(&l, "10.9.255.1", 1) && reaches(&l, "::ffff:10.9.0.1", 1) && !reaches(&l, "10.10.0.1", 80));
	assert_true(reaches(&l, "192.168.1.1", 8080) && !reaches(&l, "192.168.1.1", 80) && !reaches(&l, "192.168.1.2", 8080));
	assert_true(reaches(&l, "127.0.0.1", 7000) && reaches(&l, "::1", 7000) && !reaches(&l, "127.0.0.1", 80));
	assert_true(reaches(&l, "fd12::1", 443) && !reaches(&l, "fe80::1", 443));
	arena_release(&a);
}

static void test_wrong_entries(void **state)
{
	static const char *const wrong[] = {"",
					    "https://example.com",
					    "example.com:0",
					    "example.com:99999",
					    "10.0.0.0/33",
					    "a b.com",
					    "-x.com",
					    "*.",
					    "[::1",
					    "*",
					    "x/8",
					    "exa*mple.com",
					    "[::1]8080"};
	struct allow l;
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct str s = str_c(wrong[i]);

		if (allow_parse(&a, &s, 1, &l) != E_INVALID)
			fail_msg("\"%s\" was taken", wrong[i]);
	}
	arena_release(&a);
}

/* -------------------------------------------------------------------- requests */

static void made(const char *path, const char *body, bool sends, const char *arguments, const char *want_path,
		 const char *want_body)
{
	struct http_tool t = {.to = {.path = str_c(path)}, .body = body ? str_c(body) : str_of(NULL, 0), .sends = sends};
	struct str p, b;
	struct json doc;
	struct arena a;

	arena_init(&a, 1 << 20);
	OKAY(json_parse(&a, str_c(arguments), &json_default_limits, &doc));
	OKAY(http_request_make(&t, &a, json_root(&doc), &p, &b));
	assert_str(p, want_path);
	assert_str(b, want_body);
	arena_release(&a);
}

static void test_requests(void **state)
{
	(void)state;
	made("/a", NULL, false, "{}", "/a", "");
	made("/a", NULL, false, "{\"q\":\"x y&z\",\"n\":2,\"l\":[1],\"no\":null}", "/a?q=x%20y%26z&n=2&l=%5B1%5D", "");
	made("/a/{id}?k={q}", NULL, false, "{\"id\":\"../b?#\",\"q\":\"\",\"r\":true}", "/a/..%2Fb%3F%23?k=&r=true", "");
	made("/a/{id}", NULL, true, "{\"id\":7,\"r\":{\"s\":\"{id}\"}}", "/a/7", "{\"r\":{\"s\":\"{id}\"}}");
	/* Arguments are put in once: what they say is no template. */
	made("/a", "{\"x\":\"{p}\",\"y\":[\"{q}\",\"a{p}b{p}\"],\"z\":\"{r}\",\"k\":{}}", true,
	     "{\"p\":\"{q}\\n\\\"\",\"q\":{\"v\":[1.50]}}", "/a",
	     "{\"x\":\"{q}\\n\\\"\",\"y\":[{\"v\":[1.50]},\"a{q}\\n\\\"b{q}\\n\\\"\"],\"k\":{}}");
	made("/a", "\"{not one}\"", true, "{}", "/a", "\"{not one}\"");
}

static void test_parts_of_paths(void **state)
{
	static const char *const bad[] = {"{\"id\":\"..\"}", "{\"id\":\".\"}", "{\"id\":\"\"}", "{}", "{\"id\":null}"};
	struct http_tool t = {.to = {.path = STR("/a/{id}/b")}, .body = {NULL, 0}};
	struct str p, b;
	struct json doc;
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		OKAY(json_parse(&a, str_c(bad[i]), &json_default_limits, &doc));
		assert_int_equal(http_request_make(&t, &a, json_root(&doc), &p, &b), E_INVALID);
	}
	arena_release(&a);
}

/* ----------------------------------------------------------------------- calls */

static void declare(char path[64], const char *text)
{
	int fd;
	FILE *f;

	snprintf(path, 64, "/tmp/cenote-tools-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	f = fdopen(fd, "w");
	fputs(text, f);
	fclose(f);
}

/* A name may lead to this machine only when the list has its address, too. */
static void test_names_that_lead_inside(void **state)
{
	static const struct principal who = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL, .id = STR_INIT("k")};
	static const char *const script[] = {"={\"a\":1}"};
	struct peer peer = {.script = script, .script_n = 1};
	char path[64], text[256], entry[64];
	struct str hosts[2], answer;
	struct http_tools_options opt = {.path = path, .allow_hosts = hosts, .max_result = 1000};
	struct http_tools *t;
	struct json none;
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	peer_start(&peer);
	snprintf(entry, sizeof entry, "inner.localhost:%u", peer.port);
	snprintf(text, sizeof text, "{\"tools\":[{\"name\":\"t\",\"description\":\"d\",\"url\":\"http://%s\"}]}", entry);
	declare(path, text);
	hosts[0] = str_c(entry);
	hosts[1] = STR("127.0.0.0/8");
	OKAY(json_parse(&a, STR("{}"), &json_default_limits, &none));
	for (opt.allow_hosts_n = 1; opt.allow_hosts_n <= 2; opt.allow_hosts_n++) {
		OKAY(http_tools_open(&opt, &t));
		const struct tool *tool = http_tools_box(t).v[0];
		enum err e = tool->ops->call(tool, &a, &who, json_root(&none), NULL, &answer);

		if (opt.allow_hosts_n == 1) {
			assert_int_equal(e, E_DENIED);
			assert_non_null(strstr(diag_get()->text, "may not be connected to"));
		} else {
			assert_int_equal(e, OK);
			assert_str(answer, "{\"a\":1}");
		}
		http_tools_close(t);
	}
	unlink(path);
	peer_stop(&peer);
	arena_release(&a);
}

static void test_secrets_in_files(void **state)
{
	char secret[64], path[64], text[512];
	struct str host = STR("example.com");
	struct http_tools_options opt = {.path = path, .allow_hosts = &host, .allow_hosts_n = 1, .max_result = 1000};
	struct http_tools *t;
	(void)state;

	declare(secret, "sk-very-secret\n");
	snprintf(text, sizeof text,
		 "{\"tools\":[\n {\"name\":\"t\",\"description\":\"d\",\"url\":\"https://example.com/\",\n  "
		 "\"headers\":{\"X-Key\":{\"file\":"
		 "\"%s\"}}}]}",
		 secret);
	declare(path, text);
	OKAY(http_tools_open(&opt, &t));
	const struct http_tool *tool = (const struct http_tool *)http_tools_box(t).v[0];
	assert_str(tool->to.headers[0].value, "sk-very-secret");
	http_tools_close(t);
	/* One that others may read is none. */
	chmod(secret, 0644);
	assert_int_not_equal(http_tools_open(&opt, &t), OK);
	assert_non_null(strstr(diag_get()->text, ":3:22: "));
	assert_null(strstr(diag_get()->text, "very-secret"));
	unlink(secret);
	unlink(path);
	assert_int_equal(http_tools_open(&opt, &t), E_IO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_wrong_entries),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_parts_of_paths),
		cmocka_unit_test(test_names_that_lead_inside),
		cmocka_unit_test(test_secrets_in_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
