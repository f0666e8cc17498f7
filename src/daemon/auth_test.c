/* API keys as text, and a whole node on a real store: who may do what over TCP and over the unix socket, with and without keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <ftw.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/json/json.h"
#include "base/log.h"
#include "daemon/auth.h"
#include "daemon/node.h"
#include "http/client.h"

/* ------------------------------------------------------------------ keys */

static void key_text(void **state)
{
	(void)state;
	char text[APIKEY_TEXT + 1], id[APIKEY_ID + 1];
	uint8_t hash[32], again[32];
	struct str got;
	apikey_make(text, id, hash);
	assert_int_equal(strlen(text), APIKEY_TEXT);
	assert_true(apikey_parse(str_c(text), &got, again));
	assert_true(str_eq(got, str_c(id)));
	assert_memory_equal(hash, again, 32);
	/* Another secret, another hash. */
	text[20] = text[20] == 'a' ? 'b' : 'a';
	assert_true(apikey_parse(str_c(text), &got, again));
	assert_memory_not_equal(hash, again, 32);
	static const struct {
		int at;
		char c;
	} bad[] = {{0, 'x'}, {3, 'g'}, {3, 'A'}, {11, '-'}, {30, '='}, {30, '+'}, {54, '/'}};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char t[APIKEY_TEXT + 1];
		memcpy(t, text, sizeof t);
		t[bad[i].at] = bad[i].c;
		assert_false(apikey_parse(str_c(t), &got, again));
	}
	assert_false(apikey_parse(str_sub(str_c(text), 0, 54), &got, again));
	assert_false(apikey_parse(STR(""), &got, again));
}

static void rights(void **state)
{
	(void)state;
	unsigned r;
	assert_int_equal(rights_parse(STR("read, admin"), &r), OK);
	assert_int_equal(r, RIGHT_READ | RIGHT_ADMIN);
	assert_int_equal(rights_parse(STR("read,own"), &r), E_INVALID);
	assert_int_equal(rights_parse(STR(""), &r), E_INVALID);
	struct buf b;
	buf_init(&b, NULL, 100);
	rights_format(RIGHT_ALL, &b);
	assert_true(str_eq(buf_slice(&b), STR("read,write,admin")));
	buf_release(&b);
}

/* ------------------------------------------------------------------ node */

struct world {
	struct config cfg;
	struct node *node;
	struct arena a;
	char dir[64];
	struct str tcp, unix_; /* server URLs */
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type, (void)f;
	return remove(path);
}

static void start(struct world *w, bool keys)
{
	struct str bound;
	char store[100];
	const char *tmp = getenv("TMPDIR");
	memset(w, 0, sizeof *w);
	snprintf(w->dir, sizeof w->dir, "%.30s/cenote-auth-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(w->dir));
	arena_init(&w->a, 64 << 20);
	assert_int_equal(config_init(&w->cfg), OK);
	snprintf(store, sizeof store, "sqlite:%s/store", w->dir);
	w->cfg.store = arena_str(&w->a, str_c(store));
	w->cfg.auth = keys ? AUTH_KEYS : AUTH_OFF;
	w->cfg.http_loops = 2;
	assert_int_equal(node_open(&w->cfg, 0, &w->node), OK);
	assert_int_equal(node_listen(w->node, STR("127.0.0.1:0"), &bound), OK);
	w->tcp = arena_printf(&w->a, "http://%.*s", STR_ARG(bound));
	w->unix_ = arena_printf(&w->a, "unix:%s/socket", w->dir);
	assert_int_equal(node_listen(w->node, w->unix_, &bound), OK);
	assert_int_equal(node_start(w->node, true), OK);
}

static void stop(struct world *w)
{
	node_drain(w->node, 5000);
	node_close(w->node);
	assert_int_equal(access(arena_printf(&w->a, "%s/socket", w->dir).p, F_OK), -1);
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	config_release(&w->cfg);
	arena_release(&w->a);
}

/* Status of a request; the body in *json. */
static int ask(struct world *w, struct str server, const char *key, const char *user, const char *method, const char *path,
	       const char *body, struct json *json)
{
	struct http_client *h;
	struct http_reply r;
	assert_int_equal(http_client_new(server, str_c(key), str_c(user), 10000, &h), OK);
	if (http_client_call(h, &w->a, method, str_c(path), NULL, str_c(body), 1 << 20, &r) != OK)
		fail_msg("%s", diag_get()->text);
	if (json)
		assert_int_equal(json_parse(&w->a, r.body, &json_default_limits, json), OK);
	http_client_free(h);
	return r.status;
}

static const char *text_of(struct world *w, const struct json *doc, const char *name)
{
	struct jval v = j_get(json_root(doc), str_c(name));
	return j_is(v, JSON_STRING) ? arena_cstr(&w->a, j_str(&w->a, v)) : "";
}

#define STATS "/cenote/v1/stats"
#define KEYS "/cenote/v1/admin/keys"
#define ITEM "/cenote/v1/items?namespace=a&key=k"

static void without_keys(void **state)
{
	(void)state;
	struct world w;
	struct json doc;
	start(&w, false);
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "GET", STATS, NULL, &doc), 200);
	assert_string_equal(text_of(&w, &doc, "tenant"), "default");
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "PUT", ITEM, "{}", NULL), 201);
	/* Administration is for the socket's owner. */
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "GET", KEYS, NULL, NULL), 403);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "GET", KEYS, NULL, NULL), 200);
	assert_int_equal(ask(&w, w.tcp, NULL, "\x01", "GET", STATS, NULL, NULL), 422);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "PUT", "/cenote/v1/admin/log-level", "{\"level\":\"loud\"}", NULL), 422);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "GET", "/cenote/v1/admin/config", NULL, NULL), 200);
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "GET", "/readyz", NULL, NULL), 200);
	stop(&w);
}

static void with_keys(void **state)
{
	(void)state;
	struct world w;
	struct json doc;
	start(&w, true);
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "GET", STATS, NULL, NULL), 401);
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "GET", "/no/such/path", NULL, NULL), 401);
	assert_int_equal(ask(&w, w.tcp, "cn_00000000_0000000000000000000000000000000000000000000", NULL, "GET", STATS, NULL, NULL),
			 401);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"tenant\":\"acme\",\"name\":\"app\"}", &doc), 201);
	const char *key = text_of(&w, &doc, "key"), *id = text_of(&w, &doc, "id");
	assert_int_equal(strlen(key), APIKEY_TEXT);
	assert_int_equal(ask(&w, w.tcp, key, NULL, "GET", STATS, NULL, &doc), 200);
	assert_string_equal(text_of(&w, &doc, "tenant"), "acme");
	/* The same over the socket: the key says who asks. */
	assert_int_equal(ask(&w, w.unix_, key, NULL, "GET", STATS, NULL, &doc), 200);
	assert_string_equal(text_of(&w, &doc, "tenant"), "acme");
	assert_int_equal(ask(&w, w.tcp, key, "ann", "PUT", ITEM, "{}", NULL), 201);
	assert_int_equal(ask(&w, w.tcp, key, NULL, "GET", KEYS, NULL, NULL), 403);
	/* Tenants are apart. */
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "GET", ITEM, NULL, NULL), 404);
	/* Revoked through this process: at once, although the record was cached. */
	char path[100];
	snprintf(path, sizeof path, KEYS "/%s", id);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "DELETE", path, NULL, &doc), 200);
	assert_true(text_of(&w, &doc, "revoked_at")[0] != 0);
	assert_int_equal(ask(&w, w.tcp, key, NULL, "GET", STATS, NULL, NULL), 401);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "DELETE", KEYS "/00000000", NULL, NULL), 404);
	stop(&w);
}

static void bound_and_limited(void **state)
{
	(void)state;
	struct world w;
	struct json doc;
	start(&w, true);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"user\":\"ann\",\"rights\":\"read\"}", &doc), 201);
	const char *key = text_of(&w, &doc, "key");
	assert_int_equal(ask(&w, w.tcp, key, "ann", "GET", "/cenote/v1/threads", NULL, NULL), 200);
	assert_int_equal(ask(&w, w.tcp, key, "bob", "GET", "/cenote/v1/threads", NULL, NULL), 403);
	assert_int_equal(ask(&w, w.tcp, key, NULL, "PUT", "/cenote/v1/items?namespace=ann&key=k", "{}", NULL), 403);
	/* The use was noted, once, in the background of the first request. */
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "GET", KEYS, NULL, &doc), 200);
	static const char *const bad[] = {"{\"rights\":\"own\"}", "{\"tenant\":\"A B\"}",
					  "{\"expires_at\":\"2001-01-01T00:00:00Z\"}", "{\"nme\":\"x\"}", "{\"name\":7}"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, bad[i], NULL), 422);
	stop(&w);
}

/* An administrator's key reaches the keys of its own tenant and no others. */
static void administers_one_tenant(void **state)
{
	(void)state;
	struct world w;
	struct json doc;
	char path[100];
	start(&w, true);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"tenant\":\"acme\",\"rights\":\"read,admin\"}", &doc), 201);
	const char *key = text_of(&w, &doc, "key");
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"tenant\":\"other\"}", &doc), 201);
	snprintf(path, sizeof path, KEYS "/%s", text_of(&w, &doc, "id"));
	assert_int_equal(ask(&w, w.tcp, key, NULL, "GET", KEYS, NULL, &doc), 200);
	assert_int_equal(j_node(j_get(json_root(&doc), STR("data")))->count, 1);
	assert_int_equal(ask(&w, w.tcp, key, NULL, "DELETE", path, NULL, NULL), 404);
	assert_int_equal(ask(&w, w.tcp, key, NULL, "POST", KEYS, "{\"tenant\":\"other\"}", NULL), 403);
	assert_int_equal(ask(&w, w.tcp, key, NULL, "POST", KEYS, "{}", &doc), 201);
	assert_string_equal(text_of(&w, &doc, "tenant"), "acme");
	stop(&w);
}

/* Two users whose ids are written as the same label cannot both have keys of their own. */
static void labels_do_not_collide(void **state)
{
	(void)state;
	struct world w;
	struct json doc;
	char path[100];
	start(&w, true);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"user\":\"a.b\"}", &doc), 201);
	snprintf(path, sizeof path, KEYS "/%s", text_of(&w, &doc, "id"));
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"user\":\"a.b\"}", NULL), 201);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"user\":\"a-b\"}", NULL), 409);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"user\":\"a-b\",\"tenant\":\"t2\"}", NULL), 201);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"user\":\"a@b\"}", NULL), 201);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"user\":\"a-at-b\"}", NULL), 409);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"user\":\"ann\",\"rights\":\"admin\"}", NULL), 422);
	/* Nor can one whose id is a label that all have. */
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"user\":\"facts\"}", NULL), 422);
	assert_int_equal(ask(&w, w.unix_, NULL, NULL, "POST", KEYS, "{\"user\":\"user_memories\"}", NULL), 422);
	stop(&w);
}

static void import_progress(void **state)
{
	(void)state;
	struct world w;
	struct json doc;
	int64_t n;
	start(&w, false);
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "GET", "/cenote/v1/imports/ab12", NULL, NULL), 404);
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "PUT", "/cenote/v1/imports/ab12", "{\"done\":7}", NULL), 204);
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "GET", "/cenote/v1/imports/ab12", NULL, &doc), 200);
	assert_true(j_i64(j_get(json_root(&doc), STR("done")), &n) && n == 7);
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "DELETE", "/cenote/v1/imports/ab12", NULL, NULL), 204);
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "GET", "/cenote/v1/imports/ab12", NULL, NULL), 404);
	assert_int_equal(ask(&w, w.tcp, NULL, NULL, "GET", "/cenote/v1/imports/zz", NULL, NULL), 422);
	stop(&w);
}

static void one_owner(void **state)
{
	(void)state;
	struct world w;
	struct node *second;
	start(&w, false);
	assert_int_equal(node_open(&w.cfg, 0, &second), E_BUSY);
	assert_true(node_alive(w.node));
	stop(&w);
}

static int quiet(void **state)
{
	(void)state;
	log_setup(LOG_ERROR, LOG_TEXT);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(key_text),
					   cmocka_unit_test(rights),
					   cmocka_unit_test(without_keys),
					   cmocka_unit_test(with_keys),
					   cmocka_unit_test(bound_and_limited),
					   cmocka_unit_test(administers_one_tenant),
					   cmocka_unit_test(labels_do_not_collide),
					   cmocka_unit_test(import_progress),
					   cmocka_unit_test(one_owner)};
	return cmocka_run_group_tests(tests, quiet, NULL);
}
