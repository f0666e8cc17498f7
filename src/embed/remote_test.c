/* The driver for services against a scripted one: what it sends, what it takes, what it tries again, what it never says. */
#include "base/test_util.h"
#include "base/buf.h"
#include "embed/remote.h"
#include "embed/remote_impl.h"
#include "http/outbound.h"
#include "http/test_peer.h"
#include "rt/work.h"

#include <math.h>
#include <signal.h>

#define KEY "sk-very-secret"
#define V(i, list) "{\"object\":\"embedding\",\"index\":" #i ",\"embedding\":" list "}"
#define DATA(list) "={\"object\":\"list\",\"data\":[" list "],\"usage\":{\"prompt_tokens\":3,\"total_tokens\":3}}"
#define ONE DATA(V(0, "[3,4]"))
#define STATUS(code, head, body) "HTTP/1.1 " code " X\r\n" head "Content-Length: " body

struct test {
	struct peer peer;
	struct remote_options opt;
	struct embedder *e;
	struct arena a;
	void (*fn)(struct test *t);
};

static void start(struct test *t, const char *const *script, size_t n)
{
	static char url[80];

	t->peer.script = script;
	t->peer.script_n = n;
	peer_start(&t->peer);
	arena_init(&t->a, (size_t)64 << 20);
	if (!t->opt.base_url.n)
		t->opt.base_url = str_c(t->peer.url);
	else {
		snprintf(url, sizeof url, "http://127.0.0.1:%d%.*s", t->peer.port, STR_ARG(t->opt.base_url));
		t->opt.base_url = str_c(url);
	}
	t->opt.model = STR("m");
	t->opt.api_key = STR(KEY);
	t->opt.concurrency = 2;
	t->opt.timeout_ms = t->opt.timeout_ms ? t->opt.timeout_ms : 10000;
	t->opt.backoff_ms = 2;
	EXPECT(remote_open(&t->opt, &t->e) == OK);
}

static void stop(struct test *t)
{
	embed_close(t->e);
	peer_stop(&t->peer);
	arena_release(&t->a);
}

static void in_fiber(void *arg)
{
	struct test *t = arg;

	t->fn(t);
}

static void both(void (*fn)(struct test *t), const struct remote_options *opt, const char *const *script, size_t n)
{
	for (int fiber = 0; fiber < 2; fiber++) {
		struct test t = {.fn = fn};

		if (opt)
			t.opt = *opt;
		start(&t, script, n);
		if (fiber)
			run_in_loop(in_fiber, &t);
		else
			fn(&t);
		stop(&t);
	}
}
#define BOTH(fn, opt, ...)                                                                                                         \
	do {                                                                                                                       \
		static const char *const script_[] = {__VA_ARGS__};                                                                \
		both((fn), (opt), script_, sizeof script_ / sizeof script_[0]);                                                    \
	} while (0)

static enum err ask(struct test *t, const char *const *texts, size_t n, struct embed_vectors *v)
{
	struct str s[8];

	for (size_t i = 0; i < n; i++)
		s[i] = str_c(texts[i]);
	return embed_encode(t->e, &t->a, s, n, v);
}

/* One text; the error and a part of its sentence, which holds neither key nor text. */
static void fails(struct test *t, enum err want, const char *part)
{
	static const char *const texts[] = {"my secret words"};
	struct embed_vectors v;
	enum err e = ask(t, texts, 1, &v);

	if (e != want || !strstr(diag_get()->text, part) || strstr(diag_get()->text, KEY) ||
	    strstr(diag_get()->text, "secret words")) {
		fprintf(stderr, "wanted %s (%s), got %s: %s\n", err_name(want), part, err_name(e), diag_get()->text);
		abort();
	}
}

static bool near(float x, double want)
{
	return fabs((double)x - want) < 1e-6;
}

/* ------------------------------------------------------------------ what it does */

static void sends(struct test *t)
{
	static const char *const texts[] = {"a\"\n\xc3\xa9", ""};
	struct embed_vectors v;

	EXPECT(t->e->dims == 0 && t->e->batch == REMOTE_BATCH && str_eq(t->e->model, STR("m")));
	EXPECT(ask(t, texts, 2, &v) == OK);
	EXPECT(v.n == 2 && v.dims == 2 && v.tokens == 3 && t->e->dims == 2);
	EXPECT(near(v.v[0], 0.6) && near(v.v[1], 0.8) && near(v.v[2], 0) && near(v.v[3], -1));
	EXPECT(strstr(t->peer.heads[0], "POST /v1/embeddings HTTP/1.1\r\n"));
	EXPECT(strstr(t->peer.heads[0], "\r\nAuthorization: Bearer " KEY));
	EXPECT(strcmp(t->peer.bodies[0],
		      "{\"input\":[\"a\\\"\\n\xc3\xa9\",\" \"],\"model\":\"m\",\"encoding_format\":\"float\"}") == 0);
}

static void test_sends(void **state)
{
	(void)state;
	BOTH(sends, NULL, DATA(V(1, "[0,-7]") "," V(0, "[3,4]")));
}

static void databricks(struct test *t)
{
	static const char *const texts[] = {"x"};
	struct embed_vectors v;

	EXPECT(t->e->batch == REMOTE_BATCH_DATABRICKS);
	EXPECT(ask(t, texts, 1, &v) == OK && near(v.v[0], 0.6));
	EXPECT(strstr(t->peer.heads[0], "POST /serving-endpoints/embeddings "));
	EXPECT(strcmp(t->peer.bodies[0], "{\"input\":[\"x\"],\"model\":\"m\"}") == 0);
}

static void test_databricks(void **state)
{
	static const struct remote_options opt = {.base_url = STR_INIT("/serving-endpoints/")};

	(void)state;
	BOTH(databricks, &opt, ONE);
}

static void forms(struct test *t)
{
	static const char *const texts[] = {"x"};
	struct embed_vectors v;

	for (int i = 0; i < 3; i++)
		EXPECT(ask(t, texts, 1, &v) == OK && v.dims == 2 && near(v.v[0], 0.6) && near(v.v[1], 0.8));
}

static void test_forms(void **state)
{
	(void)state;
	/* numbers; base64 of 3.0f, 4.0f; without index and usage, with more members than known */
	BOTH(forms, NULL, DATA(V(0, "[3e0,4.0]")), DATA(V(0, "\"AABAQAAAgEA=\"")),
	     "={\"data\":[{\"embedding\":[0.3,0.4],\"x\":{}}],\"x\":[]}");
}

/* Vectors of the texts "0".."n": length 1, direction by number. */
static char *numbered(void *arg, const char *head, const char *body)
{
	const char *p = strchr(body, '[');
	char *out = malloc(1 << 16);
	size_t n = 0;
	int i = 0;

	(void)arg, (void)head;
	n += (size_t)snprintf(out, 100, "{\"data\":[");
	while (p && (p = strchr(p, '"')) && p[1] >= '0' && p[1] <= '9') {
		n += (size_t)snprintf(out + n, 100, "%s{\"index\":%d,\"embedding\":[1,%ld]}", i ? "," : "", i,
				      strtol(p + 1, NULL, 10));
		p = strchr(p + 1, '"') + 1;
		i++;
	}
	snprintf(out + n, 100, "],\"usage\":{\"prompt_tokens\":%d}}", i);
	return out;
}

static void batches(struct test *t)
{
	struct str texts[250];
	struct embed_vectors v;

	for (int i = 0; i < 250; i++)
		texts[i] = arena_printf(&t->a, "%d", i);
	EXPECT(embed_encode(t->e, &t->a, texts, 250, &v) == OK);
	EXPECT(v.n == 250 && v.dims == 2 && v.tokens == 250 && peer_requests(&t->peer) == 3);
	for (int i = 0; i < 250; i++)
		EXPECT(near(v.v[2 * i + 1], i / sqrt(1.0 + (double)i * i)));
	EXPECT(embed_encode(t->e, &t->a, texts, 0, &v) == OK && v.n == 0 && peer_requests(&t->peer) == 3);
	EXPECT(embed_encode(t->e, &t->a, texts, EMBED_BATCH_MAX + 1, &v) == E_LIMIT);
}

static void test_batches(void **state)
{
	(void)state;
	for (int fiber = 0; fiber < 2; fiber++) {
		struct test t = {.fn = batches, .peer.answer = numbered};

		start(&t, NULL, 0);
		if (fiber)
			run_in_loop(in_fiber, &t);
		else
			batches(&t);
		stop(&t);
	}
}

static void shortens(struct test *t)
{
	static const char *const texts[] = {"x"};
	struct embed_vectors v;

	EXPECT(t->e->dims == 2);
	EXPECT(ask(t, texts, 1, &v) == OK && v.dims == 2 && near(v.v[0], 0.6));
	EXPECT(!strstr(t->peer.bodies[0], "dimensions") && strstr(t->peer.bodies[1], ",\"dimensions\":2}"));
	EXPECT(ask(t, texts, 1, &v) == OK && strstr(t->peer.bodies[2], ",\"dimensions\":2}"));
	fails(t, E_CORRUPT, "3 dimensions where 2 are wanted");
}

static void has_fewer(struct test *t)
{
	fails(t, E_CORRUPT, "has 1 dimensions, embed.dims says 2");
}

static void test_dims(void **state)
{
	static const struct remote_options opt = {.dims = 2};

	(void)state;
	BOTH(shortens, &opt, DATA(V(0, "[1,2,3]")), ONE, ONE, DATA(V(0, "[1,2,3]")));
	BOTH(has_fewer, &opt, DATA(V(0, "[1]")));
}

/* ---------------------------------------------------------------- trying again */

static void comes_through(struct test *t)
{
	static const char *const texts[] = {"x"};
	struct embed_vectors v;

	for (int i = 0; i < 5; i++)
		EXPECT(ask(t, texts, 1, &v) == OK && near(v.v[1], 0.8));
	EXPECT(peer_requests(&t->peer) == 15);
}

static void test_again(void **state)
{
	(void)state;
	BOTH(comes_through, NULL, STATUS("500", "", "0\r\n\r\n"), "!reset", ONE, "!close",
	     STATUS("429", "Retry-After-Ms: 1\r\n", "0\r\n\r\n"), ONE, "={\"data\":[{\"index\":0,\"embed",
	     STATUS("503", "Retry-After: 0\r\n", "0\r\n\r\n"), ONE, STATUS("408", "", "0\r\n\r\n"), STATUS("504", "", "0\r\n\r\n"),
	     ONE, STATUS("502", "", "0\r\n\r\n"), "|HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"data\":", ONE);
}

static void gives_up(struct test *t)
{
	fails(t, E_UPSTREAM, "answered 500: overloaded");
	EXPECT(peer_requests(&t->peer) == REMOTE_TRIES);
}

static void waits_not_so_long(struct test *t)
{
	uint64_t begun = clock_mono_ns();

	fails(t, E_BUSY, "too many requests (429)");
	EXPECT(peer_requests(&t->peer) == 1 && diag_get()->retry_after_s == 3600);
	/* Nor beyond the fiber's own deadline. */
	fiber_set_deadline(deadline_in_ms(20000));
	fails(t, E_BUSY, "too many requests (429)");
	fiber_set_deadline(NEVER);
	EXPECT(diag_get()->retry_after_s == 30 && clock_mono_ns() - begun < UINT64_C(15000000000));
}

static void hangs(struct test *t)
{
	fails(t, E_TIMEOUT, "did not answer in time");
	peer_await_requests(&t->peer, REMOTE_TRIES);
	EXPECT(peer_requests(&t->peer) == REMOTE_TRIES);
	fiber_set_deadline(deadline_in_ms(10));
	fails(t, E_TIMEOUT, "did not answer in time");
	fiber_set_deadline(NEVER);
	EXPECT(peer_requests(&t->peer) <= REMOTE_TRIES + 1);
}

static void test_gives_up(void **state)
{
	static const struct remote_options quick = {.timeout_ms = 750};

	(void)state;
	BOTH(gives_up, NULL, STATUS("500", "", "25\r\n\r\n{\"message\":\"overloaded\"} "));
	BOTH(waits_not_so_long, NULL, STATUS("429", "Retry-After: 3600\r\n", "0\r\n\r\n"),
	     STATUS("429", "Retry-After: 30\r\n", "0\r\n\r\n"));
	BOTH(hangs, &quick, "!hang");
}

/* ---------------------------------------------------------------------- refusals */

static void final(struct test *t)
{
	fails(t, E_INVALID, "refused the texts (400): too long");
	fails(t, E_INVALID, "refused the texts (422)");
	fails(t, E_INVALID, "refused the texts (413)");
	fails(t, E_UPSTREAM, "refused the key (401); embed.api_key");
	fails(t, E_UPSTREAM, "knows no model \"m\"");
	EXPECT(diag_get()->kind == ERR_ABSENT);
	fails(t, E_UPSTREAM, "answered 302");
	EXPECT(peer_requests(&t->peer) == 6); /* none was sent again */
}

static void test_final(void **state)
{
	(void)state;
	BOTH(final, NULL, STATUS("400", "", "32\r\n\r\n{\"error\":{\"message\":\"too long\"}} "),
	     STATUS("422", "", "39\r\n\r\n{\"error\":\"cannot take my secret words\"} "),
	     STATUS("413", "", "38\r\n\r\n{\"detail\":\"key sk-very-secret is bad\"} "),
	     STATUS("401", "", "24\r\n\r\n{\"message\":\"bad " KEY), STATUS("404", "", "0\r\n\r\n"),
	     STATUS("302", "Location: /elsewhere\r\n", "0\r\n\r\n"));
}

static void damaged(struct test *t)
{
	static const char *const good[] = {"x"};
	struct embed_vectors v;

	EXPECT(ask(t, good, 1, &v) == OK);
	fails(t, E_CORRUPT, "not a finite number");
	fails(t, E_CORRUPT, "not a finite number"); /* beyond float32 */
	fails(t, E_CORRUPT, "1 dimensions where 2 are wanted");
	fails(t, E_CORRUPT, "no number");
	fails(t, E_CORRUPT, "length 0");
	fails(t, E_CORRUPT, "2 vectors for 1 texts");
	fails(t, E_CORRUPT, "0 vectors for 1 texts");
	fails(t, E_CORRUPT, "outside of 0..0");
	fails(t, E_CORRUPT, "outside of 0..0");
	fails(t, E_CORRUPT, "no vector of 1 to");
	fails(t, E_CORRUPT, "no vector of 1 to");
	fails(t, E_CORRUPT, "no base64");
	fails(t, E_CORRUPT, "no list \"data\"");
	fails(t, E_CORRUPT, "no list \"data\"");
	EXPECT(ask(t, good, 1, &v) == OK && peer_requests(&t->peer) == 16);
}

static void test_damaged(void **state)
{
	(void)state;
	BOTH(damaged, NULL, ONE, DATA(V(0, "\"AABAQAAAwH8=\"")), DATA(V(0, "[1e39,1]")), DATA(V(0, "[1]")), DATA(V(0, "[1,null]")),
	     DATA(V(0, "[0,-0.0]")), DATA(V(0, "[1,2]") "," V(1, "[1,2]")), DATA(""), DATA(V(1, "[1,2]")), DATA(V(-1, "[1,2]")),
	     DATA("5"), DATA(V(0, "\"AABA\"")), DATA(V(0, "\"AABAQAAAgE!=\"")), "=[]", "={\"data\":{}}", ONE);
}

/* Twice the same index among several texts. */
static void doubled(struct test *t)
{
	static const char *const texts[] = {"x", "y"};
	struct embed_vectors v;

	EXPECT(ask(t, texts, 2, &v) == E_CORRUPT && strstr(diag_get()->text, "index 0 twice"));
}

static void test_doubled(void **state)
{
	(void)state;
	BOTH(doubled, NULL, DATA(V(0, "[1,2]") "," V(0, "[1,2]")));
}

/* Answers that claim more than they may. */
static void test_hostile(void **state)
{
	struct arena scratch, a;
	struct buf b;
	float *v;

	(void)state;
	arena_init(&scratch, (size_t)64 << 20);
	arena_init(&a, (size_t)1 << 20);
	buf_init(&b, NULL, (size_t)4 << 20);
	for (int kind = 0; kind < 3; kind++) {
		uint32_t dims = 0;
		uint64_t tokens = 0;

		buf_clear(&b);
		buf_lit(&b, "{\"data\":[{\"embedding\":");
		for (int i = 0; kind == 0 && i < 9000; i++)
			buf_lit(&b, i ? ",1" : "[1");
		for (int i = 0; kind == 1 && i < 60; i++)
			buf_byte(&b, '[');
		for (int i = 0; kind == 2 && i < 40000; i++)
			buf_lit(&b, i ? ",[]" : "[[]");
		assert_int_not_equal(remote_answer(&scratch, &a, buf_slice(&b), 1, &dims, &v, &tokens), OK);
		buf_lit(&b, "]}]}");
		arena_clear(&scratch);
		assert_int_not_equal(remote_answer(&scratch, &a, buf_slice(&b), 1, &dims, &v, &tokens), OK);
		assert_true(a.used < 100000);
		arena_clear(&scratch);
	}
	buf_release(&b);
	arena_release(&scratch);
	arena_release(&a);
}

static void test_reasons(void **state)
{
	static const struct str texts[] = {STR_INIT("abcdefgh"), STR_INIT("xy")};
	static const char *const rows[][2] = {
		{"{\"error\":{\"message\":\"no\\nway\"}}", "no way"},
		{"{\"error\":\"plain\"}", "plain"},
		{"{\"message\":\"m\"}", "m"},
		{"{\"detail\":\"d\"}", "d"},
		{"{\"detail\":[{}]}", ""},
		{"{\"error\":{\"message\":\"got abcdefgh\"}}", ""},
		{"{\"error\":{\"message\":\"key k-1 is bad\"}}", ""},
		{"{\"error\":{\"message\":\"xy is short enough to be anything\"}}", "xy is short enough to be anything"},
		{"oops", ""},
		{"", ""},
		{"[1]", ""},
		{"null", ""},
	};
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_str(outbound_reason(&a, str_c(rows[i][0]), texts, 2, STR("k-1")), rows[i][1]);
	arena_release(&a);
}

static void test_open(void **state)
{
	struct remote_options opt = {.base_url = STR("http://h/v1"), .model = STR(""), .concurrency = 1, .timeout_ms = 1};
	struct embedder *e;

	(void)state;
	assert_int_equal(remote_open(&opt, &e), E_INVALID);
	opt.model = STR("m");
	opt.base_url = STR("h");
	assert_int_equal(remote_open(&opt, &e), E_INVALID);
	assert_non_null(strstr(diag_get()->text, "embed.base_url"));
	opt.base_url = STR("http://h/v1");
	opt.batch = 5;
	assert_int_equal(remote_open(&opt, &e), OK);
	assert_int_equal(e->batch, 5);
	embed_close(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sends),	 cmocka_unit_test(test_databricks), cmocka_unit_test(test_forms),
		cmocka_unit_test(test_batches),	 cmocka_unit_test(test_dims),	    cmocka_unit_test(test_again),
		cmocka_unit_test(test_gives_up), cmocka_unit_test(test_final),	    cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_doubled),	 cmocka_unit_test(test_hostile),    cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_open),
	};

	signal(SIGPIPE, SIG_IGN);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	work_stop();
	return failed;
}
