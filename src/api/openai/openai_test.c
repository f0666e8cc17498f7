/* OpenAI's routes on a real server over the in-memory store: forms of answers and errors, who sees what. What the stock clients
 * make of them is tests/wire's business. */
#include "api/testing.h"

#define ITEMS(list) "{\"items\":" list "}"
#define HI "{\"role\":\"user\",\"content\":\"hi\"}"
#define ERR(text) "{\"error\":{\"message\":\"" text
#define KEY "Idempotency-Key: k\r\n"

static void conversations(void **state)
{
	static const struct step steps[] = {
		{"ann", "POST", "/v1/conversations", NULL, "{}", 200, "\"object\":\"conversation\",\"created_at\":"},
		{"ann", "POST", "/conversations", NULL, NULL, 200, "{\"id\":\"conv_"},
		{"ann", "POST", "/serving-endpoints/conversations", NULL, "{\"items\":null,\"metadata\":null}", 200,
		 "\"metadata\":{}}"},
		{"ann", "POST", "/v1/conversations", KEY, "{\"metadata\":{\"a\":\"b\"},\"items\":[" HI "]}", 200,
		 "\"metadata\":{\"a\":\"b\"}}"},
		{"ann", "POST", "/cenote/v1/sessions/t%2F1/items", NULL, ITEMS("[" HI "]"), 200, NULL},
		{"ann", "GET", "/v1/conversations/t%2F1", NULL, NULL, 200,
		 "{\"id\":\"t/1\",\"object\":\"conversation\",\"created_at\":"},
		{"ann", "POST", "/v1/conversations/t%2F1", NULL, "{\"metadata\":{\"x\":\"y\"}}", 200,
		 "\"metadata\":{\"x\":\"y\"}}"},
		{"ann", "POST", "/v1/conversations/t%2F1", NULL, "{\"metadata\":null}", 200, "\"metadata\":{}}"},
		{"ann", "POST", "/v1/conversations/t%2F1", NULL, "{}", 400, "\"param\":\"metadata\""},
		{"ann", "DELETE", "/v1/conversations/t%2F1", NULL, NULL, 200,
		 "={\"id\":\"t/1\",\"object\":\"conversation.deleted\",\"deleted\":true}"},
		{"ann", "DELETE", "/v1/conversations/t%2F1", NULL, NULL, 404,
		 ERR("there is no conversation \\\"t/1\\\"\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}")},
		{"ann", "DELETE", "/v1/conversations/t%2F1", "x-stainless-retry-count: 1\r\n", NULL, 200, "\"deleted\":true"},
		{"ann", "GET", "/v1/conversations/t%2F1/items", NULL, NULL, 404, "there is no conversation"},
		/* Messages alone make no conversation. */
		{"ann", "POST", "/cenote/v1/messages", NULL,
		 "{\"messages\":[{\"thread\":\"talk\",\"role\":\"user\",\"content\":\"x\"}]}", 200, NULL},
		{"ann", "GET", "/v1/conversations/talk", NULL, NULL, 404, "there is no conversation"},
	};

	RUN(*state, steps);
}

static void items(void **state)
{
	static const struct step steps[] = {
		{"ann", "POST", "/cenote/v1/sessions/c/items", NULL,
		 ITEMS("[{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[]}]"), 200, NULL},
		{"ann", "POST", "/v1/conversations/c/items", NULL, ITEMS("[" HI "]"), 200,
		 "\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"hi\"}]}],\"first_id\":\"msg_cn"},
		{"ann", "POST", "/v1/conversations/c/items", "x-stainless-retry-count: 2\r\n", ITEMS("[" HI "]"), 200, "msg_cn"},
		{"ann", "POST", "/v1/conversations/c/items", NULL, ITEMS("[]"), 200,
		 "={\"object\":\"list\",\"data\":[],\"first_id\":\"\",\"last_id\":\"\",\"has_more\":false}"},
		{"ann", "GET", "/v1/conversations/c/items?limit=1", NULL, NULL, 200, "\"has_more\":true}"},
		{"ann", "GET", "/v1/conversations/c/items?limit=1&order=asc&include%5B%5D=a&include=b", NULL, NULL, 200,
		 "={\"object\":\"list\",\"data\":[{\"id\":\"rs_1\",\"type\":\"reasoning\",\"summary\":[]}],\"first_id\":\"rs_1\","
		 "\"last_id\":\"rs_1\",\"has_more\":true}"},
		{"ann", "GET", "/v1/conversations/c/items?after=rs_1", NULL, NULL, 200, "\"data\":[],"},
		{"ann", "GET", "/v1/conversations/c/items?after=rs_1&order=asc", NULL, NULL, 200, "\"has_more\":false}"},
		{"ann", "GET", "/v1/conversations/c/items?after=", NULL, NULL, 200, "\"rs_1\""},
		{"ann", "GET", "/v1/conversations/c/items/rs_1", NULL, NULL, 200,
		 "={\"id\":\"rs_1\",\"type\":\"reasoning\",\"summary\":[]}"},
		{"ann", "DELETE", "/v1/conversations/c/items/rs_1", NULL, NULL, 200, "{\"id\":\"c\",\"object\":\"conversation\""},
		{"ann", "DELETE", "/v1/conversations/c/items/rs_1", NULL, NULL, 404, ERR("there is no item \\\"rs_1\\\"")},
		{"ann", "GET", "/cenote/v1/sessions/c/items", NULL, NULL, 200,
		 "={\"data\":[" HI "]}"}, /* once, in spite of the repeated call */
	};

	RUN(*state, steps);
}

static void others_see_nothing(void **state)
{
	static const struct step steps[] = {
		{"bound", "POST", "/cenote/v1/sessions/bobs/items", NULL, ITEMS("[{\"type\":\"x\",\"id\":\"i\"}]"), 200, NULL},
		{"other", "GET", "/v1/conversations/bobs", NULL, NULL, 404, ERR("")},
		{"other", "GET", "/v1/conversations/bobs/items", NULL, NULL, 404, ERR("")},
		{"other", "GET", "/v1/conversations/bobs/items/i", NULL, NULL, 404, ERR("")},
		{"other", "POST", "/v1/conversations/bobs/items", NULL, ITEMS("[" HI "]"), 404, ERR("")},
		{"other", "POST", "/v1/conversations/bobs", NULL, "{\"metadata\":{}}", 404, ERR("")},
		{"other", "DELETE", "/v1/conversations/bobs/items/i", NULL, NULL, 404, ERR("")},
		{"other", "DELETE", "/v1/conversations/bobs", NULL, NULL, 404, ERR("")},
		{"bound", "GET", "/v1/conversations/bobs/items/i", NULL, NULL, 200, "={\"id\":\"i\",\"type\":\"x\"}"},
		{"ann", "POST", "/cenote/v1/sessions/anns/items", NULL, ITEMS("[" HI "]"), 200, NULL},
		{"bound", "GET", "/v1/conversations/anns/items", NULL, NULL, 404, ERR("")},
		{"reader", "POST", "/v1/conversations", NULL, "{}", 403,
		 "\"type\":\"permission_error\",\"param\":null,\"code\":null}}"},
		{"nobody", "POST", "/v1/conversations", NULL, "{}", 401,
		 "\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_api_key\"}}"},
	};

	RUN(*state, steps);
}

/* What the store says, as these clients are told. */
static void errors_of_the_store(void **state)
{
	static const struct {
		enum err err;
		int status;
		const char *type, *retry;
	} rows[] = {
		{E_CONFLICT, 409, "\"invalid_request_error\"", "false"}, /* clients repeat a 409 otherwise */
		{E_INVALID, 400, "\"invalid_request_error\"", ""},
		{E_LIMIT, 413, "\"invalid_request_error\"", ""},
		{E_BUSY, 503, "\"server_error\"", ""},
		{E_TIMEOUT, 504, "\"server_error\"", ""},
		{E_UPSTREAM, 502, "\"server_error\",\"param\":null,\"code\":\"upstream_error\"", ""},
		{E_CORRUPT, 500, "\"server_error\"", ""},
	};
	struct api_bench *b = *state;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct reply r;

		fake_store_fail(b->store, rows[i].err, 1);
		r = call(b, "ann", "GET", "/v1/conversations/any", NULL, NULL);
		if (r.status != rows[i].status || !strstr(r.body, rows[i].type))
			fail_msg("%s: %d %s", err_name(rows[i].err), r.status, r.body);
		assert_string_equal(header_of(&r, "x-should-retry"), rows[i].retry);
		assert_true(rows[i].status != 503 || header_of(&r, "retry-after")[0]);
		reply_free(&r);
	}
}

static void params(void **state)
{
	static const struct step steps[] = {
		{"ann", "POST", "/cenote/v1/sessions/p/items", NULL, ITEMS("[{}]"), 200, NULL},
		{"ann", "POST", "/v1/conversations/p/items", NULL, ITEMS("[{},{\"role\":\"x\",\"content\":\"\"}]"), 400,
		 "\"param\":\"items[1].role\""},
		{"ann", "POST", "/v1/conversations/p/items", NULL, ITEMS("[5]"), 400, "\"param\":\"items[0]\""},
		{"ann", "POST", "/v1/conversations/p/items", NULL, "{}", 400, "\"param\":\"items\""},
		{"ann", "POST", "/v1/conversations/p/items", NULL, "{", 400, "\"type\":\"invalid_request_error\",\"param\":null"},
		{"ann", "GET", "/v1/conversations/p/items?limit=0", NULL, NULL, 400, "\"param\":\"limit\""},
		{"ann", "GET", "/v1/conversations/p/items?order=up", NULL, NULL, 400, "\"param\":\"order\""},
		{"ann", "GET", "/v1/conversations/p/items?after=none", NULL, NULL, 404, "\"param\":\"after\""},
		{"ann", "POST", "/v1/responses", NULL, "{}", 404,
		 ERR("There is no such route: of OpenAI's API, Cenote serves conversations")},
		{"ann", "POST", "/chat/completions", NULL, "{}", 404, ERR("There is no such route")},
		{"ann", "PUT", "/v1/conversations/p", NULL, "{}", 405, ERR("")},
	};

	RUN(*state, steps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conversations),       cmocka_unit_test(items),	 cmocka_unit_test(others_see_nothing),
		cmocka_unit_test(errors_of_the_store), cmocka_unit_test(params),
	};

	return cmocka_run_group_tests(tests, api_start, api_stop);
}
