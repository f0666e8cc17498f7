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
		{"ann", "POST", "/v1/completions", NULL, "{}", 404,
		 ERR("There is no such route: of OpenAI's API, Cenote serves responses")},
		{"ann", "POST", "/v1/responses", NULL, "{}", 404, ERR("this server has no chat model: the test has none")},
		{"ann", "POST", "/chat/completions", NULL, "{}", 404, ERR("this server has no chat model")},
		{"ann", "PUT", "/v1/conversations/p", NULL, "{}", 405, ERR("")},
	};

	RUN(*state, steps);
}

/* ------------------------------------------------------------- embeddings, models */

/* Vectors of two dimensions: (3, 4) / 5 for a text that begins with 'a', (1, 0) for others; more of them when it is told to. */
struct fake_encoder {
	struct embedder base;
	enum err err;
	uint32_t dims;
};

static enum err fake_encode(struct embedder *e, struct arena *a, const struct str *texts, size_t n, const struct trace_span *span,
			    struct embed_vectors *out)
{
	struct fake_encoder *f = (struct fake_encoder *)e;
	uint32_t dims = f->dims ? f->dims : 2;
	(void)span;

	if (f->err != OK)
		return err_set(f->err, "scripted failure");
	*out = (struct embed_vectors){.v = arena_zalloc(a, n * dims * sizeof(float)), .dims = dims, .n = n, .tokens = 7};
	for (size_t i = 0; i < n; i++) {
		bool first = texts[i].n && texts[i].p[0] == 'a';

		out->v[i * dims] = first ? 0.6f : 1;
		out->v[i * dims + 1] = first ? 0.8f : 0;
	}
	return OK;
}

static const struct embed_ops fake_ops = {.encode = fake_encode};

#define ASK(rest) "{\"model\":\"org/fake\",\"input\":" rest "}"
#define VECTOR(i, v) "{\"object\":\"embedding\",\"index\":" #i ",\"embedding\":" v "}"
#define LIST(list)                                                                                                                 \
	"={\"object\":\"list\",\"data\":[" list "],\"model\":\"org/fake\",\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}"
#define MODEL "{\"id\":\"org/fake\",\"object\":\"model\",\"created\":1,\"owned_by\":\"cenote\",\"kind\":\"embedding\"}"

static void embeddings(void **state)
{
	static const struct step steps[] = {
		{"reader", "POST", "/v1/embeddings", NULL, ASK("\"a\""), 200, LIST(VECTOR(0, "[0.600000024,0.800000012]"))},
		{"ann", "POST", "/embeddings", NULL, ASK("[\"b\",\"\"],\"encoding_format\":\"float\",\"user\":\"u\""), 200,
		 LIST(VECTOR(0, "[1,0]") "," VECTOR(1, "[1,0]"))},
		{"bound", "POST", "/serving-endpoints/embeddings", NULL,
		 ASK("[\"b\"],\"encoding_format\":\"base64\",\"dimensions\":2"), 200, LIST(VECTOR(0, "\"AACAPwAAAAA=\""))},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("\"x\",\"encoding_format\":null,\"dimensions\":null"), 200, "[1,0]"},
		{"ann", "GET", "/v1/models", NULL, NULL, 200, "={\"object\":\"list\",\"data\":[" MODEL "]}"},
		{"ann", "GET", "/v1/models/org/fake", NULL, NULL, 200, "=" MODEL},
		{"ann", "GET", "/models/org%2Ffake", NULL, NULL, 200, "=" MODEL},
		{"ann", "GET", "/v1/models/fake", NULL, NULL, 404,
		 ERR("there is no model \\\"fake\\\"; there is "
		     "\\\"org/fake\\\"\",\"type\":\"invalid_request_error\",\"param\":\"model\","
		     "\"code\":\"model_not_found\"}}")},
		{"ann", "POST", "/v1/embeddings", NULL, "{\"model\":\"other\",\"input\":\"x\"}", 404,
		 "\"code\":\"model_not_found\""},
		{"nobody", "POST", "/v1/embeddings", NULL, ASK("\"a\""), 401, "invalid_api_key"},
	};
	struct fake_encoder f = {.base = {.ops = &fake_ops, .model = STR("org/fake"), .dims = 2}};
	struct api_bench *b = *state;

	b->models.encoder = &f.base;
	RUN(b, steps);
	b->models.encoder = NULL;
}

static void embeddings_refused(void **state)
{
	static const struct step steps[] = {
		{"ann", "POST", "/v1/embeddings", NULL, "{\"input\":\"x\"}", 400, "\"param\":\"model\""},
		{"ann", "POST", "/v1/embeddings", NULL, "{\"model\":5,\"input\":\"x\"}", 400, "\"param\":\"model\""},
		{"ann", "POST", "/v1/embeddings", NULL, "{\"model\":\"org/fake\"}", 400, "\"param\":\"input\""},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("[]"), 400, "1 to 2048 texts"},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("5"), 400, "\"param\":\"input\""},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("[\"x\",null]"), 400, "\"param\":\"input[1]\""},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("[1,2,3]"), 400, "tokens"},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("[[1,2],[3]]"), 400, "tokens"},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("\"x\",\"encoding_format\":\"hex\""), 400,
		 "\"param\":\"encoding_format\""},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("\"x\",\"dimensions\":3"), 400, "have 2 dimensions"},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("\"x\",\"dimensions\":0"), 400, "\"param\":\"dimensions\""},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("\"x\",\"dimensions\":\"2\""), 400, "\"param\":\"dimensions\""},
		{"ann", "POST", "/v1/embeddings", NULL, "[]", 400, "object"},
		{"ann", "POST", "/v1/embeddings", NULL, "{", 400, "invalid_request_error"},
		{"ann", "GET", "/v1/embeddings", NULL, NULL, 405, ERR("")},
	};
	static const struct {
		enum err err;
		int status;
		const char *part;
	} rows[] = {
		{E_INVALID, 400, "invalid_request_error"}, {E_UPSTREAM, 502, "upstream_error"}, {E_CORRUPT, 502, "upstream_error"},
		{E_TIMEOUT, 504, "server_error"},	   {E_BUSY, 503, "server_error"},
	};
	struct fake_encoder f = {.base = {.ops = &fake_ops, .model = STR("org/fake"), .dims = 2}};
	struct api_bench *b = *state;
	struct buf body;
	struct reply r;

	b->models.encoder = &f.base;
	RUN(b, steps);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		f.err = rows[i].err;
		r = call(b, "ann", "POST", "/v1/embeddings", NULL, ASK("\"x\""));
		if (r.status != rows[i].status || !strstr(r.body, rows[i].part) || !strstr(r.body, "scripted failure"))
			fail_msg("%s: %d %s", err_name(rows[i].err), r.status, r.body);
		reply_free(&r);
	}
	f.err = OK;
	/* Dimensions that the encoder learns with its first answer. */
	f.base.dims = 0;
	r = call(b, "ann", "POST", "/v1/embeddings", NULL, ASK("\"x\",\"dimensions\":3"));
	assert_int_equal(r.status, 400);
	reply_free(&r);
	buf_init(&body, NULL, 1 << 20);
	buf_lit(&body, "{\"model\":\"org/fake\",\"input\":[\"\"");
	for (int i = 0; i < EMBED_BATCH_MAX; i++)
		buf_lit(&body, ",\"\"");
	buf_lit(&body, "]}");
	r = call_n(b, "ann", "POST", "/v1/embeddings", NULL, body.p, body.n);
	assert_int_equal(r.status, 400);
	assert_non_null(strstr(r.body, "this one has 2049"));
	reply_free(&r);
	buf_release(&body);
	b->models.encoder = NULL;
}

/* Large answers go out in pieces, and are whole. */
static void embeddings_many(void **state)
{
	struct fake_encoder f = {.base = {.ops = &fake_ops, .model = STR("org/fake"), .dims = 1000}, .dims = 1000};
	struct json_limits lim = {.depth = 8, .nodes = 3000000, .bytes = (size_t)64 << 20};
	struct api_bench *b = *state;

	b->models.encoder = &f.base;
	for (int packed = 0; packed < 2; packed++) {
		struct jval data, item, v;
		struct arena a;
		struct json doc;
		struct buf body;
		struct reply r;
		int64_t at;

		arena_init(&a, (size_t)256 << 20);
		buf_init(&body, &a, 1 << 20);
		buf_lit(&body, "{\"model\":\"org/fake\",\"input\":[\"a\"");
		for (int i = 1; i < 500; i++)
			buf_lit(&body, i % 3 ? ",\"b\"" : ",\"a\"");
		buf_printf(&body, "],\"encoding_format\":\"%s\"}", packed ? "base64" : "float");
		r = call_n(b, "ann", "POST", "/v1/embeddings", NULL, body.p, body.n);
		assert_int_equal(r.status, 200);
		assert_string_equal(header_of(&r, "transfer-encoding"), "chunked");
		assert_int_equal(json_parse(&a, str_of(r.body, r.body_n), &lim, &doc), OK);
		data = j_get(json_root(&doc), STR("data"));
		assert_int_equal(j_node(data)->count, 500);
		struct j_iter it = j_iter(data);
		for (int64_t i = 0; j_next(&it, NULL, &item); i++) {
			assert_true(j_i64(j_get(item, STR("index")), &at) && at == i);
			v = j_get(item, STR("embedding"));
			if (packed)
				assert_true(str_starts(j_raw(v), i % 3 ? STR("\"AACAPwAAAAA") : STR("\"mpkZP83MTD8")));
			else
				assert_int_equal(j_node(v)->count, 1000);
		}
		reply_free(&r);
		arena_release(&a);
	}
	b->models.encoder = NULL;
}

static void no_encoder(void **state)
{
	static const struct step steps[] = {
		{"ann", "GET", "/v1/models", NULL, NULL, 200, "={\"object\":\"list\",\"data\":[]}"},
		{"ann", "GET", "/v1/models/x", NULL, NULL, 404, "has no embedding model: the test has none"},
		{"ann", "POST", "/v1/embeddings", NULL, ASK("\"x\""), 404,
		 ERR("this server has no embedding model: the test has "
		     "none\",\"type\":\"invalid_request_error\",\"param\":\"model\",\"code\":"
		     "\"model_not_found\"}}")},
	};

	RUN(*state, steps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conversations),       cmocka_unit_test(items),		  cmocka_unit_test(others_see_nothing),
		cmocka_unit_test(errors_of_the_store), cmocka_unit_test(params),	  cmocka_unit_test(embeddings),
		cmocka_unit_test(embeddings_refused),  cmocka_unit_test(embeddings_many), cmocka_unit_test(no_encoder),
	};

	return cmocka_run_group_tests(tests, api_start, api_stop);
}
