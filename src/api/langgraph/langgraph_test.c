/* LangGraph's routes on a real server: status codes, bodies, errors, who sees what. */
#include "api/testing.h"

#define ITEM(ns, key, value) "{\"namespace\":" ns ",\"key\":\"" key "\",\"value\":" value "}"
#define PUT(ns, key, value)                                                                                                        \
	{                                                                                                                          \
		"ann", "PUT", "/store/items", NULL, ITEM(ns, key, value), 204, "="                                                 \
	}
#define SEARCH "POST", "/store/items/search", NULL
#define LIST "POST", "/store/namespaces", NULL

static void items(void **state)
{
	static const struct step steps[] = {
		PUT("[\"a\",\"b\"]", "k", "{\"x\": 1.50}"),
		{"ann", "GET", "/store/items?namespace=a.b&key=k", NULL, NULL, 200,
		 "{\"namespace\":[\"a\",\"b\"],\"key\":\"k\",\"value\":{\"x\": 1.50},\"created_at\":\""},
		{"ann", "GET", "/store/items?namespace=a&namespace=b&key=k&refresh_ttl=true", NULL, NULL, 200,
		 "\"value\":{\"x\": 1.50}"},
		{"ann", "GET", "/store/items?namespace=a.b&key=none", NULL, NULL, 200, "=null"},
		{"ann", "GET", "/store/items?namespace=&key=k", NULL, NULL, 200, "=null"},
		{"ann", "GET", "/store/items?key=k", NULL, NULL, 200, "=null"},
		{"ann", "GET", "/store/items?namespace=a.b", NULL, NULL, 400, "{\"detail\":\""},
		{"ann", "GET", "/store/items?namespace=a..b&key=k", NULL, NULL, 422, "{\"detail\":\""},
		{"ann", "GET", "/store/items?namespace=a.b&namespace=c&key=k", NULL, NULL, 422, "{\"detail\":\""},
		{"ann", "GET", "/store/items?namespace=a&key=k&refresh_ttl=maybe", NULL, NULL, 422, "{\"detail\":\""},
		{"ann", "PUT", "/store/items", "Content-Type: text/plain\r\n", ITEM("[\"a\"]", "k2", "{}"), 204, "="},
		{"ann", "DELETE", "/store/items", NULL, "{\"namespace\":[\"a\",\"b\"],\"key\":\"k\"}", 204, "="},
		{"ann", "DELETE", "/store/items", NULL, "{\"namespace\":[\"a\",\"b\"],\"key\":\"k\"}", 204, "="},
		{"ann", "DELETE", "/store/items", NULL, "{\"key\":\"k\"}", 204, "="},
		{"ann", "DELETE", "/store/items", NULL, "{\"namespace\":[\"a\"]}", 422, "{\"detail\":\"key must be a string\"}"},
		{"ann", "GET", "/store/items?namespace=a.b&key=k", NULL, NULL, 200, "=null"},
	};

	RUN(*state, steps);
}

static void put_refusals(void **state)
{
#define BAD(status, body)                                                                                                          \
	{                                                                                                                          \
		"ann", "PUT", "/store/items", NULL, body, status, "{\"detail\":\""                                                 \
	}
	static const struct step steps[] = {
		BAD(400, ITEM("[]", "k", "{}")),
		BAD(422, ITEM("[\"a\",\"\"]", "k", "{}")),
		BAD(422, ITEM("[\"a.b\"]", "k", "{}")),
		BAD(422, ITEM("[\"a\\u0000\"]", "k", "{}")),
		BAD(422, ITEM("\"a\"", "k", "{}")),
		BAD(422, ITEM("[1]", "k", "{}")),
		BAD(422, ITEM("null", "k", "{}")),
		BAD(422, ITEM("[\"langgraph\"]", "k", "{}")),
		BAD(422, ITEM("[\"a\"]", "", "{}")),
		BAD(422, ITEM("[\"a\"]", "k", "[1]")),
		BAD(422, ITEM("[\"a\"]", "k", "\"text\"")),
		BAD(422, ITEM("[\"a\"]", "k", "null")),
		BAD(422, "{\"namespace\":[\"a\"],\"value\":{}}"),
		BAD(422, "{\"namespace\":[\"a\"],\"key\":5,\"value\":{}}"),
		BAD(422, "{\"namespace\":[\"a\"],\"key\":\"k\"}"),
		BAD(422, "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{},\"ttl\":\"soon\"}"),
		BAD(422, "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{},\"ttl\":-1}"),
		BAD(422, "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{},\"ttl\":0}"),
		BAD(422, "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{},\"index\":\"text\"}"),
		BAD(422, "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{},\"index\":true}"),
		BAD(422, "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{},\"index\":[1]}"),
		BAD(422, "[]"),
		BAD(400, "{"),
		BAD(400, "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{\"a\":1,}}"),
		BAD(400, "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{\"a\":\"\xff\"}}"),
	};
	struct buf deep;
	struct arena a;

	RUN(*state, steps);
	arena_init(&a, 1 << 20);
	buf_init(&deep, &a, 1 << 16);
	buf_lit(&deep, "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":");
	for (int i = 0; i < 65; i++)
		buf_lit(&deep, "{\"a\":");
	buf_lit(&deep, "1");
	for (int i = 0; i < 65; i++)
		buf_lit(&deep, "}");
	buf_lit(&deep, "}");
	buf_byte(&deep, 0);
	for (int cut = 0; cut < 2; cut++) {
		struct reply r = call(*state, "ann", "PUT", "/store/items", NULL, deep.p);

		assert_int_equal(r.status, 400);
		reply_free(&r);
	}
	arena_release(&a);
}

static void ttl_and_index(void **state)
{
	static const struct step steps[] = {
		{"ann", "PUT", "/store/items", NULL,
		 "{\"namespace\":[\"t\"],\"key\":\"a\",\"value\":{\"w\":\"zebra\"},\"ttl\":5.5,\"index\":null}", 204, "="},
		{"ann", "PUT", "/store/items", NULL,
		 "{\"namespace\":[\"t\"],\"key\":\"b\",\"value\":{\"w\":\"zebra\"},\"ttl\":null,\"index\":false}", 204, "="},
		{"ann", "PUT", "/store/items", NULL,
		 "{\"namespace\":[\"t\"],\"key\":\"c\",\"value\":{\"w\":\"zebra\",\"v\":\"lion\"},\"index\":[\"v\"],\"other\":1}",
		 204, "="},
		{"ann", SEARCH, "{\"namespace_prefix\":[\"t\"],\"query\":\"zebra\"}", 200, "\"key\":\"a\""},
		{"ann", SEARCH, "{\"namespace_prefix\":[\"t\"],\"query\":\"lion\"}", 200, "\"key\":\"c\""},
	};
	struct reply r;

	RUN(*state, steps);
	r = call(*state, "ann", "POST", "/store/items/search", NULL, "{\"namespace_prefix\":[\"t\"],\"query\":\"zebra\"}");
	assert_null(strstr(r.body, "\"key\":\"b\""));
	assert_null(strstr(r.body, "\"key\":\"c\""));
	assert_null(strstr(r.body, "\"score\":null"));
	reply_free(&r);
}

static void searching(void **state)
{
	static const struct step steps[] = {
		PUT("[\"s\"]", "1", "{\"n\":1,\"o\":{\"p\":\"x\"}}"),
		PUT("[\"s\",\"x\"]", "2", "{\"n\":2}"),
		PUT("[\"sx\"]", "3", "{\"n\":3}"),
		{"ann", SEARCH, "{\"namespace_prefix\":[\"s\"],\"filter\":{\"n\":2}}", 200,
		 "{\"items\":[{\"namespace\":[\"s\",\"x\"],\"key\":\"2\""},
		{"ann", SEARCH, "{\"namespace_prefix\":[\"s\"],\"filter\":{\"n\":3}}", 200, "={\"items\":[]}"},
		{"ann", SEARCH, "{\"namespace_prefix\":[\"s\"],\"filter\":{\"o\":{\"p\":\"x\"}}}", 200, "\"key\":\"1\""},
		{"ann", SEARCH, "{\"namespace_prefix\":[\"s\"],\"limit\":1}", 200, "\"score\":null}]}"},
		{"ann", SEARCH,
		 "{\"namespace_prefix\":null,\"filter\":null,\"query\":null,\"refresh_ttl\":null,\"limit\":1,\"offset\":0}", 200,
		 "\"items\":[{"},
		{"ann", SEARCH, "{}", 200, "\"items\":[{"},
		{"ann", SEARCH, "{\"namespace_prefix\":\"a\"}", 422, "{\"detail\":\""},
		{"ann", SEARCH, "{\"limit\":0}", 422, "{\"detail\":\""},
		{"ann", SEARCH, "{\"limit\":1001}", 422, "{\"detail\":\""},
		{"ann", SEARCH, "{\"limit\":\"ten\"}", 422, "{\"detail\":\""},
		{"ann", SEARCH, "{\"offset\":-1}", 422, "{\"detail\":\""},
		{"ann", SEARCH, "{\"filter\":[]}", 422, "{\"detail\":\""},
		{"ann", SEARCH, "{\"filter\":{\"x\":{\"$in\":[1]}}}", 422, "Unsupported operator"},
		{"ann", SEARCH, "{\"query\":5}", 422, "{\"detail\":\""},
		{"ann", SEARCH, "{\"refresh_ttl\":\"yes\"}", 422, "{\"detail\":\""},
	};

	RUN(*state, steps);
}

static void listing(void **state)
{
	static const struct step steps[] = {
		PUT("[\"l\",\"a\",\"z\"]", "1", "{}"),
		PUT("[\"l\",\"b\",\"z\"]", "1", "{}"),
		PUT("[\"l\",\"b\"]", "1", "{}"),
		{"ann", LIST, "{\"prefix\":[\"l\"]}", 200,
		 "={\"namespaces\":[[\"l\",\"a\",\"z\"],[\"l\",\"b\"],[\"l\",\"b\",\"z\"]]}"},
		{"ann", LIST, "{\"prefix\":[\"l\"],\"max_depth\":2}", 200, "={\"namespaces\":[[\"l\",\"a\"],[\"l\",\"b\"]]}"},
		{"ann", LIST, "{\"prefix\":[\"l\"],\"suffix\":[\"z\"],\"limit\":1,\"offset\":1}", 200,
		 "={\"namespaces\":[[\"l\",\"b\",\"z\"]]}"},
		{"ann", LIST, "{\"prefix\":[\"l\",\"*\",\"z\"]}", 200,
		 "={\"namespaces\":[[\"l\",\"a\",\"z\"],[\"l\",\"b\",\"z\"]]}"},
		{"ann", LIST, "{\"prefix\":null,\"suffix\":null,\"max_depth\":null}", 200, "{\"namespaces\":["},
		{"ann", LIST, "{}", 200, "{\"namespaces\":["},
		{"ann", LIST, "{\"max_depth\":0}", 422, "{\"detail\":\""},
		{"ann", LIST, "{\"prefix\":[\"a\",\"\"]}", 422, "{\"detail\":\""},
		{"ann", LIST, "{\"limit\":0}", 422, "{\"detail\":\""},
	};

	RUN(*state, steps);
}

#define NAME "2c5b6f0e-4f0a-7000-8000-000000000001"
static void threads(void **state)
{
	static const struct step steps[] = {
		{"reader", "POST", "/threads", NULL, "{}", 403, "{\"detail\":\""},
		{"ann", "POST", "/threads", NULL, "{\"thread_id\":\"" NAME "\",\"metadata\":{\"a\":1}}", 200,
		 "{\"thread_id\":\"" NAME "\",\"created_at\":\""},
		{"ann", "POST", "/threads", NULL, "{\"thread_id\":\"" NAME "\"}", 409, "{\"detail\":\""},
		{"other", "GET", "/threads/" NAME, NULL, NULL, 404, "={\"detail\":\"there is no thread \\\"" NAME "\\\"\"}"},
		{"other", "DELETE", "/threads/" NAME, NULL, NULL, 404, "{\"detail\":\""},
		{"other", "POST", "/threads/" NAME "/copy", NULL, NULL, 409, "{\"detail\":\""},
		{"bound", "GET", "/threads/" NAME "/state", NULL, NULL, 404, "{\"detail\":\""},
		{"bound", "POST", "/threads/search", NULL, "{}", 200, "=[]"},
		{"other", "POST", "/threads/count", NULL, NULL, 200, "=0"},
		{"ann", "POST", "/threads/count", NULL, "{\"metadata\":{\"a\":1}}", 200, "=1"},
		{"ann", "PATCH", "/threads/" NAME, "Prefer: return=minimal\r\n", "{\"metadata\":{\"b\":2}}", 204, "="},
		{"ann", "GET", "/threads/" NAME "?include=x,ttl", NULL, NULL, 200, "\"metadata\":{\"a\":1,\"b\":2}"},
		{"ann", "PATCH", "/threads/" NAME, NULL, "{\"metadata\":[]}", 422, "{\"detail\":\"metadata must be an object\"}"},
		{"ann", "POST", "/threads/" NAME "/state", NULL, "{\"values\":{\"x\":{\"y\":[1]}}}", 200, "{\"checkpoint\":{"},
		{"ann", "GET", "/threads/" NAME "/state?select=values.x&select=next", NULL, NULL, 200,
		 "={\"values\":{\"x\":{\"y\":[1]}},\"next\":[]}"},
		{"ann", "GET", "/threads/" NAME "/state?subgraphs=maybe", NULL, NULL, 422, "{\"detail\":\""},
		{"ann", "GET", "/threads/" NAME "/history?limit=0", NULL, NULL, 422, "{\"detail\":\""},
		{"ann", "POST", "/threads/" NAME "/state/checkpoint", NULL, "{}", 422, "checkpoint is missing"},
		{"reader", "POST", "/threads/" NAME "/state", NULL, "{\"values\":{}}", 403, "{\"detail\":\""},
		{"ann", "POST", "/threads/prune", NULL, "{\"thread_ids\":[\"" NAME "\",\"\"]}", 422, "{\"detail\":\""},
		{"ann", "GET", "/threads/" NAME, NULL, NULL, 200, NULL},
		{"ann", "DELETE", "/threads/" NAME, NULL, NULL, 204, "="},
		{"ann", "DELETE", "/threads/" NAME, NULL, NULL, 404, "{\"detail\":\""},
	};
	static const struct step failing[] = {
		{"ann", "POST", "/threads", NULL, "{}", 500, "Internal error"},
		{"ann", "POST", "/threads/search", NULL, "{}", 500, "Internal error"},
		{"ann", "GET", "/threads/" NAME "/state", NULL, NULL, 500, "Internal error"},
		{"ann", "POST", "/threads/prune", NULL, "{\"thread_ids\":[\"" NAME "\"]}", 500, "Internal error"},
	};
	struct api_bench *b = *state;

	RUN(b, steps);
	for (size_t i = 0; i < sizeof failing / sizeof *failing; i++) {
		fake_store_fail(b->store, E_IO, 1);
		run_steps(b, &failing[i], 1);
	}
}

static void system_and_what_is_not_offered(void **state)
{
	static const struct step steps[] = {
		{"nobody", "GET", "/ok", NULL, NULL, 200, "={\"ok\":true}"},
		{"nobody", "GET", "/ok?check_db=1", NULL, NULL, 200, "={\"ok\":true}"},
		{"nobody", "GET", "/info", NULL, NULL, 200, "\"flags\":{\"assistants\":false,\"crons\":false},\"metadata\":{}}"},
		{"ann", "POST", "/assistants/search", NULL, "{}", 200, "=[]"},
		{"ann", "POST", "/assistants/count", NULL, "{}", 200, "=0"},
		{"ann", "GET", "/threads/2c5b6f0e-4f0a-7000-8000-000000000001/runs", NULL, NULL, 200, "=[]"},
		{"ann", "POST", "/runs/crons/search", NULL, "{}", 200, "=[]"},
		{"ann", "POST", "/runs/crons/count", NULL, "{}", 200, "=0"},
		{"ann", "POST", "/assistants", NULL, "{}", 404, "Cenote runs no graphs"},
		{"ann", "POST", "/runs/stream", NULL, "{}", 404, "Cenote runs no graphs"},
		{"ann", "POST", "/threads/x/runs/wait", NULL, "{}", 404, "Cenote runs no graphs"},
		{"ann", "POST", "/threads/x/stream", NULL, "{}", 404, "Cenote runs no graphs"},
		{"ann", "POST", "/threads/x/runs", NULL, "{}", 404, "Cenote runs no graphs"},
		{"ann", "GET", "/threads/x/runs/y", NULL, NULL, 404, "Cenote runs no graphs"},
		{"ann", "POST", "/threads/x/commands", NULL, "{}", 404, "Cenote runs no graphs"},
		{"ann", "PATCH", "/threads/x/state", NULL, "{\"metadata\":{}}", 404, "PATCH the thread"},
		{"ann", "GET", "/threads/x/nothing", NULL, NULL, 404, "{\"detail\":\"There is no such route\"}"},
		{"ann", "GET", "/store/nothing", NULL, NULL, 404, "{\"detail\":\""},
		{"ann", "POST", "/store/items", NULL, "{}", 405, "{\"detail\":\""},
	};
	struct api_bench *b = *state;
	struct reply r;

	RUN(b, steps);
	r = call(b, "ann", "POST", "/store/items", NULL, "{}");
	assert_non_null(strstr(header_of(&r, "allow"), "PUT"));
	reply_free(&r);
	fake_store_fail(b->store, E_IO, 1);
	r = call(b, "nobody", "GET", "/ok?check_db=1", NULL, NULL);
	assert_int_equal(r.status, 500);
	assert_string_equal(r.body, "{\"detail\":\"the store does not answer\"}");
	reply_free(&r);
	fake_store_fail(b->store, E_IO, 1);
	r = call(b, "ann", "POST", "/store/items/search", NULL, "{}");
	assert_int_equal(r.status, 500);
	assert_null(strstr(r.body, "told to fail"));
	reply_free(&r);
}

static void who_sees_what(void **state)
{
	static const struct step steps[] = {
		PUT("[\"w\"]", "k", "{\"of\":\"ann secret\"}"),
		{"other", "GET", "/store/items?namespace=w&key=k", NULL, NULL, 200, "=null"},
		{"other", SEARCH, "{\"namespace_prefix\":[\"w\"]}", 200, "={\"items\":[]}"},
		{"other", SEARCH, "{\"query\":\"secret\"}", 200, "={\"items\":[]}"},
		{"other", LIST, "{}", 200, "={\"namespaces\":[]}"},
		{"other", "DELETE", "/store/items", NULL, "{\"namespace\":[\"w\"],\"key\":\"k\"}", 204, "="},
		{"ann", "GET", "/store/items?namespace=w&key=k", NULL, NULL, 200, "ann secret"},
		{"reader", "GET", "/store/items?namespace=w&key=k", NULL, NULL, 200, "ann secret"},
		{"reader", "PUT", "/store/items", NULL, ITEM("[\"w\"]", "k", "{}"), 403, "{\"detail\":\""},
		{"reader", "DELETE", "/store/items", NULL, "{\"namespace\":[\"w\"],\"key\":\"k\"}", 403, "{\"detail\":\""},
		{"nobody", "GET", "/store/items?namespace=w&key=k", NULL, NULL, 401, "{\"detail\":\""},
		{"nobody", SEARCH, "{}", 401, "{\"detail\":\""},
		{"bound", "GET", "/store/items?namespace=w&key=k", NULL, NULL, 403, "{\"detail\":\""},
		{"bound", "GET", "/store/items?key=k", NULL, NULL, 403, "{\"detail\":\""},
		{"bound", SEARCH, "{}", 403, "{\"detail\":\""},
		{"bound", SEARCH, "{\"namespace_prefix\":[\"w\"]}", 403, "{\"detail\":\""},
		{"bound", LIST, "{}", 403, "{\"detail\":\""},
		{"bound", "PUT", "/store/items", NULL, ITEM("[\"w\"]", "k", "{}"), 403, "{\"detail\":\""},
		{"bound", "DELETE", "/store/items", NULL, "{\"namespace\":[\"w\"],\"key\":\"k\"}", 403, "{\"detail\":\""},
		{"bound", "PUT", "/store/items", NULL, ITEM("[\"m\",\"bob-at-example-com\"]", "k", "{}"), 204, "="},
		{"bound", SEARCH, "{\"namespace_prefix\":[\"m\",\"bob-at-example-com\"]}", 200, "\"key\":\"k\""},
	};

	RUN(*state, steps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items),	 cmocka_unit_test(put_refusals), cmocka_unit_test(ttl_and_index),
		cmocka_unit_test(searching),	 cmocka_unit_test(listing),	 cmocka_unit_test(system_and_what_is_not_offered),
		cmocka_unit_test(who_sees_what), cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, api_start, api_stop);
}
