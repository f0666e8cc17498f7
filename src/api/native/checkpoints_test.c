/* The checkpoint route on a real server: frames in and out, every operation, what is one transaction, and that each refusal names
 * the field. */
#include "api/native/frames.h"
#include "api/testing.h"

#define PATH "/cenote/v1/checkpoints"
#define TYPE "Content-Type: " FRAMES_TYPE "\r\n"

/* head and bytes as a body; the caller frees it. */
static char *frame(const char *head, const char *bytes, size_t *n)
{
	size_t h = strlen(head), b = strlen(bytes);
	char *p = malloc(4 + h + b + 1);

	for (int i = 0; i < 4; i++)
		p[i] = (char)(h >> (8 * i));
	memcpy(p + 4, head, h);
	memcpy(p + 4 + h, bytes, b + 1);
	*n = 4 + h + b;
	return p;
}

static struct reply ask(struct api_bench *b, const char *as, const char *head, const char *bytes)
{
	size_t n;
	char *body = frame(head, bytes, &n);
	struct reply r = call_n(b, as, "POST", PATH, TYPE, body, n);

	free(body);
	return r;
}

/* The head of an answer as text and the bytes behind it. */
static void open_frame(const struct reply *r, struct str *head, struct str *bytes)
{
	const unsigned char *p = (const unsigned char *)r->body;
	size_t n;

	assert_string_equal(header_of(r, "content-type"), FRAMES_TYPE);
	assert_true(r->body_n >= 4);
	n = p[0] | p[1] << 8 | p[2] << 16 | (size_t)p[3] << 24;
	assert_true(n <= r->body_n - 4);
	*head = str_of(r->body + 4, n);
	*bytes = str_of(r->body + 4 + n, r->body_n - 4 - n);
}

/* A request and its answer: 200 with this head and these bytes, or (bytes NULL) a status with a text in the problem. */
struct talk {
	const char *as, *head, *bytes;
	int status;
	const char *want_head, *want_bytes;
};

static void run_talks(struct api_bench *b, const struct talk *t, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct reply r = ask(b, t[i].as, t[i].head, t[i].bytes);
		struct str head, bytes;

		if (r.status != t[i].status)
			fail_msg("%zu: %s: %d %s", i, t[i].head, r.status, r.status == 200 ? r.body + 4 : r.body);
		if (r.status == 200) {
			open_frame(&r, &head, &bytes);
			if (!str_eq(head, str_c(t[i].want_head)))
				fail_msg("%zu: %s: %.*s, wanted %s", i, t[i].head, STR_ARG(head), t[i].want_head);
			assert_true(str_eq(bytes, str_c(t[i].want_bytes)));
		} else if (!strstr(r.body, t[i].want_head)) {
			fail_msg("%zu: %s: %s, wanted %s", i, t[i].head, r.body, t[i].want_head);
		}
		reply_free(&r);
	}
}
#define TALK(b, talks) run_talks((b), (talks), sizeof(talks) / sizeof((talks)[0]))

#define CP "{\"v\":4,\"id\":\"1\",\"channel_values\":{\"n\":1},\"channel_versions\":{\"n\":\"1\",\"m\":\"2\"}}"
#define PUT(thread, id, more) "{\"op\":\"put\",\"thread\":\"" thread "\",\"id\":\"" id "\",\"checkpoint\":" CP more "}"
#define OPS(ops) "{\"ops\":[" ops "]}"
#define OK_HEAD(results) "{\"results\":[" results "]}"
#define TUPLE(thread, id, parent, metadata, values, writes)                                                                        \
	"{\"thread\":\"" thread "\",\"ns\":\"\",\"id\":\"" id "\",\"parent\":" parent ",\"checkpoint\":" CP                        \
	",\"metadata\":" metadata ",\"values\":[" values "],\"writes\":[" writes "]}"

static void put_and_get(void **state)
{
	static const struct talk t[] = {
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"a\"}"), "", 200, OK_HEAD("{\"ok\":null}"), ""},
		{"ann",
		 OPS(PUT("a", "1",
			 ",\"metadata\":{\"step\":1},\"values\":[[\"m\",\"2\",\"msgpack\",3]]") ",{\"op\":\"writes\",\"thread\":"
												"\"a\",\"id\":\"1\",\"task_id\":"
												"\"t\","
												"\"task_path\":\"~p\",\"writes\":[["
												"0,\"m\",\"msgpack\",2],[-3,\"__"
												"interrupt__\",\"null\",0]]}"),
		 "abcde", 200, OK_HEAD("{\"ok\":{}},{\"ok\":{}}"), ""},
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"a\",\"id\":null}"), "", 200,
		 OK_HEAD("{\"ok\":" TUPLE(
			 "a", "1", "null", "{\"step\":1}", "[\"m\",\"2\",\"msgpack\",3]",
			 "[\"t\",\"~p\",-3,\"__interrupt__\",\"null\",0],[\"t\",\"~p\",0,\"m\",\"msgpack\",2]") "}"),
		 "abcde"},
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"a\",\"values\":false,\"writes\":false}"), "", 200,
		 OK_HEAD("{\"ok\":" TUPLE("a", "1", "null", "{\"step\":1}", "", "") "}"), ""},
		{"ann",
		 OPS("{\"op\":\"get\",\"thread\":\"a\",\"channels\":[\"n\"],\"writes\":false},{\"op\":\"get\",\"thread\":\"b\"}"),
		 "", 200, OK_HEAD("{\"ok\":" TUPLE("a", "1", "null", "{\"step\":1}", "", "") "},{\"ok\":null}"), ""},
		{"ann",
		 OPS(PUT("a", "2",
			 ",\"parent\":\"1\"") ",{\"op\":\"list\",\"thread\":\"a\",\"limit\":1,\"values\":false,\"writes\":false}"),
		 "", 200,
		 OK_HEAD("{\"ok\":{}},{\"ok\":{\"tuples\":[" TUPLE("a", "2", "\"1\"", "{}", "", "") "],\"cursor\":\"AQEyAWEA\"}}"),
		 ""},
		{"ann",
		 OPS("{\"op\":\"list\",\"thread\":\"a\",\"ns\":\"\",\"limit\":5,\"cursor\":\"AQEyAWEA\",\"values\":false,"
		     "\"writes\":false}"),
		 "", 200, OK_HEAD("{\"ok\":{\"tuples\":[" TUPLE("a", "1", "null", "{\"step\":1}", "", "") "],\"cursor\":null}}"),
		 ""},
		{"ann", OPS("{\"op\":\"list\",\"thread\":\"a\",\"limit\":0}"), "", 200,
		 OK_HEAD("{\"ok\":{\"tuples\":[],\"cursor\":null}}"), ""},
		{"ann", OPS("{\"op\":\"list\",\"thread\":\"a\",\"before\":\"1\"}"), "", 200,
		 OK_HEAD("{\"ok\":{\"tuples\":[],\"cursor\":null}}"), ""},
		{"ann", OPS("{\"op\":\"history\",\"thread\":\"a\",\"channels\":[\"m\",\"n\",\"x\"]}"), "", 200,
		 OK_HEAD("{\"ok\":{\"channels\":{\"m\":{\"seed\":[\"value\",\"msgpack\",3],\"writes\":[[\"t\",\"msgpack\",2]]},"
			 "\"n\":{\"seed\":[\"json\",1],\"writes\":[]},\"x\":{\"writes\":[]}}}}"),
		 "abcde"},
	};

	TALK(*state, t);
}

static void whole_threads(void **state)
{
	static const struct talk t[] = {
		{"ann", OPS(PUT("w", "1", ",\"metadata\":{\"run_id\":\"r1\"}") "," PUT("w", "2", ",\"parent\":\"1\"")), "", 200,
		 OK_HEAD("{\"ok\":{}},{\"ok\":{}}"), ""},
		{"ann", OPS("{\"op\":\"copy\",\"from\":\"w\",\"to\":\"w2\"},{\"op\":\"copy\",\"from\":\"w\",\"to\":\"w3\"}"), "",
		 200, OK_HEAD("{\"ok\":{}},{\"ok\":{}}"), ""},
		{"ann", OPS("{\"op\":\"copy\",\"from\":\"w\",\"to\":\"w2\"}"), "", 409, "urn:cenote:problem:conflict", NULL},
		{"ann", OPS("{\"op\":\"copy\",\"from\":\"none\",\"to\":\"x\"}"), "", 404, "urn:cenote:problem:not-found", NULL},
		{"ann", OPS("{\"op\":\"prune\",\"threads\":[\"w2\",\"none\"]}"), "", 200,
		 OK_HEAD("{\"ok\":{\"threads\":1,\"checkpoints\":1}}"), ""},
		{"ann", OPS("{\"op\":\"prune\",\"threads\":[\"w2\"],\"strategy\":\"delete\"}"), "", 200,
		 OK_HEAD("{\"ok\":{\"threads\":1,\"checkpoints\":1}}"), ""},
		{"ann", OPS("{\"op\":\"delete_runs\",\"runs\":[\"r1\"]}"), "", 200, OK_HEAD("{\"ok\":{\"checkpoints\":2}}"), ""},
		{"ann", OPS("{\"op\":\"delete_thread\",\"thread\":\"w\"},{\"op\":\"delete_thread\",\"thread\":\"w\"}"), "", 200,
		 OK_HEAD("{\"ok\":{}},{\"ok\":{}}"), ""},
		{"ann", OPS("{\"op\":\"list\",\"thread\":\"w\"}"), "", 200, OK_HEAD("{\"ok\":{\"tuples\":[],\"cursor\":null}}"),
		 ""},
	};

	TALK(*state, t);
}

/* A failed transaction leaves nothing; what stands elsewhere in the request is done all the same. */
static void transactions(void **state)
{
	struct reply r;
	struct str head, bytes;
	static const struct talk t[] = {
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"x1\"}"), "", 200, OK_HEAD("{\"ok\":null}"), ""},
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"x3\",\"writes\":false}"), "", 200,
		 OK_HEAD("{\"ok\":" TUPLE("x3", "1", "null", "{}", "", "") "}"), ""},
	};

	r = ask(*state, "ann",
		OPS(PUT("x1", "1", "") "," PUT(
			"x2", "1", ",\"values\":[[\"m\",\"2\",\"a\",0],[\"m\",\"2\",\"\",0]]") ",{\"op\":\"get\","
											       "\"thread\":\"x1\"}," PUT("x3", "1",
															 "")),
		"");
	assert_int_equal(r.status, 200);
	open_frame(&r, &head, &bytes);
	r.body[4 + head.n] = 0;
	const char *first = strstr(r.body + 4, "{\"error\":"), *second = first ? strstr(first + 1, "{\"error\":") : NULL;

	assert_non_null(second);
	assert_non_null(strstr(first, "\"status\":422"));
	assert_non_null(strstr(second, "\"field\":\"/ops/1/values/1/2\""));
	assert_non_null(strstr(second, ",{\"ok\":null},{\"ok\":{}}]}"));
	reply_free(&r);
	TALK(*state, t);
}

static void refusals(void **state)
{
#define WRITES(w) OPS("{\"op\":\"writes\",\"thread\":\"a\",\"id\":\"1\",\"task_id\":\"t\",\"writes\":[" w "]}")
	static const struct talk t[] = {
		{"ann", "{\"ops\":[]}", "", 422, "\"field\":\"/ops\"", NULL},
		{"ann", "{\"ops\":5}", "", 422, "\"field\":\"/ops\"", NULL},
		{"ann", "{}", "", 422, "\"field\":\"/ops\"", NULL},
		{"ann", "[]", "", 422, "must be a JSON object", NULL},
		{"ann", "{", "", 400, "urn:cenote:problem:bad-request", NULL},
		{"ann", "{\"ops\":[],\"x\":1}", "", 422, "\"field\":\"/x\"", NULL},
		{"ann", OPS("5"), "", 422, "\"field\":\"/ops/0\"", NULL},
		{"ann", OPS("{\"op\":\"pull\"}"), "", 422, "\"field\":\"/ops/0/op\"", NULL},
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"a\"},{\"op\":\"get\",\"thread\":\"a\",\"x\":1}"), "", 422,
		 "\"field\":\"/ops/1/x\"", NULL},
		{"ann", OPS("{\"op\":\"get\"}"), "", 422, "\"field\":\"/ops/0/thread\"", NULL},
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"\"}"), "", 422, "\"field\":\"/ops/0/thread\"", NULL},
		{"ann", OPS("{\"op\":\"get\",\"thread\":7}"), "", 422, "\"field\":\"/ops/0/thread\"", NULL},
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"a\",\"channels\":[\"c\",\"c\"]}"), "", 422,
		 "\"field\":\"/ops/0/channels/1\"", NULL},
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"a\",\"channels\":[\"c\",3]}"), "", 422, "\"field\":\"/ops/0/channels/1\"",
		 NULL},
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"a\",\"values\":1}"), "", 422, "\"field\":\"/ops/0/values\"", NULL},
		{"ann", OPS("{\"op\":\"put\",\"thread\":\"a\",\"id\":\"1\"}"), "", 422, "\"field\":\"/ops/0/checkpoint\"", NULL},
		{"ann", OPS("{\"op\":\"put\",\"thread\":\"a\",\"id\":\"1\",\"checkpoint\":[]}"), "", 422,
		 "\"field\":\"/ops/0/checkpoint\"", NULL},
		{"ann", OPS("{\"op\":\"put\",\"thread\":\"a\",\"id\":\"\",\"checkpoint\":{}}"), "", 422, "\"field\":\"/ops/0/id\"",
		 NULL},
		{"ann", OPS(PUT("a", "1", ",\"values\":[[\"m\",\"2\",\"msgpack\"]]")), "", 422, "\"field\":\"/ops/0/values/0\"",
		 NULL},
		{"ann", OPS(PUT("a", "1", ",\"values\":[[\"m\",2,\"msgpack\",0]]")), "", 422, "\"field\":\"/ops/0/values/0/1\"",
		 NULL},
		{"ann", OPS(PUT("a", "1", ",\"values\":[[\"m\",\"2\",\"msgpack\",3]]")), "ab", 422,
		 "\"field\":\"/ops/0/values/0/3\"", NULL},
		{"ann", OPS(PUT("a", "1", ",\"values\":[[\"m\",\"2\",\"empty\",1]]")), "a", 422, "\"field\":\"/ops/0/values/0/3\"",
		 NULL},
		{"ann", OPS(PUT("a", "1", ",\"values\":[[\"m\",\"2\",\"msgpack\",1]]")), "ab", 400, "1 bytes follow", NULL},
		{"ann", OPS(PUT("a", "1", ",\"values\":[[\"\",\"2\",\"msgpack\",0]]")), "", 422, "\"field\":\"/ops/0/values/0/0\"",
		 NULL},
		{"ann", WRITES("[0,\"m\",\"msgpack\",-1]"), "", 422, "\"field\":\"/ops/0/writes/0/3\"", NULL},
		{"ann", WRITES("[0,\"m\",\"msgpack\",1],[0.5,\"m\",\"msgpack\",0]"), "a", 422, "\"field\":\"/ops/0/writes/1/0\"",
		 NULL},
		{"ann", WRITES("[4294967296,\"m\",\"msgpack\",0]"), "", 422, "\"field\":\"/ops/0/writes/0/0\"", NULL},
		{"ann", WRITES("[0,\"m\",\"\",0]"), "", 422, "\"field\":\"/ops/0/writes/0/2\"", NULL},
		{"ann", OPS("{\"op\":\"list\",\"limit\":-1}"), "", 422, "\"field\":\"/ops/0/limit\"", NULL},
		{"ann", OPS("{\"op\":\"list\",\"cursor\":\"x\"}"), "", 422, "\"field\":\"/ops/0/cursor\"", NULL},
		{"ann", OPS("{\"op\":\"list\",\"filter\":[]}"), "", 422, "\"field\":\"/ops/0/filter\"", NULL},
		{"ann", OPS("{\"op\":\"history\",\"thread\":\"a\"}"), "", 422, "\"field\":\"/ops/0/channels\"", NULL},
		{"ann", OPS("{\"op\":\"prune\",\"threads\":\"a\"}"), "", 422, "\"field\":\"/ops/0/threads\"", NULL},
		{"ann", OPS("{\"op\":\"prune\",\"threads\":[],\"strategy\":\"all\"}"), "", 422, "\"field\":\"/ops/0/strategy\"",
		 NULL},
		{"reader", OPS(PUT("a", "1", "")), "", 403, "urn:cenote:problem:forbidden", NULL},
		{"reader", OPS("{\"op\":\"delete_thread\",\"thread\":\"a\"}"), "", 403, "urn:cenote:problem:forbidden", NULL},
		{"reader", OPS("{\"op\":\"copy\",\"from\":\"a\",\"to\":\"b\"}"), "", 403, "urn:cenote:problem:forbidden", NULL},
		{"reader", OPS("{\"op\":\"prune\",\"threads\":[\"a\"]}"), "", 403, "urn:cenote:problem:forbidden", NULL},
		{"reader", OPS("{\"op\":\"delete_runs\",\"runs\":[\"a\"]}"), "", 403, "urn:cenote:problem:forbidden", NULL},
		{"reader", OPS("{\"op\":\"get\",\"thread\":\"none\"}"), "", 200, OK_HEAD("{\"ok\":null}"), ""},
		{"nobody", OPS("{\"op\":\"get\",\"thread\":\"a\"}"), "", 401, "urn:cenote:problem:unauthenticated", NULL},
	};
	struct reply r;

	TALK(*state, t);
	r = call(*state, "ann", "POST", PATH, NULL, "{}");
	assert_int_equal(r.status, 415);
	reply_free(&r);
	r = call_n(*state, "ann", "POST", PATH, TYPE, "\1\0", 2);
	assert_int_equal(r.status, 400);
	reply_free(&r);
	r = call_n(*state, "ann", "POST", PATH, TYPE, "\377\377\377\377{}", 6);
	assert_int_equal(r.status, 400);
	reply_free(&r);
}

static void isolation(void **state)
{
	static const struct talk t[] = {
		{"bound", OPS(PUT("mine", "1", "")), "", 200, OK_HEAD("{\"ok\":{}}"), ""},
		{"other",
		 OPS("{\"op\":\"get\",\"thread\":\"mine\"},{\"op\":\"list\"},{\"op\":\"prune\",\"threads\":[\"mine\"],\"strategy\":"
		     "\"delete\"},{\"op\":\"delete_thread\",\"thread\":\"mine\"}"),
		 "", 200,
		 OK_HEAD("{\"ok\":null},{\"ok\":{\"tuples\":[],\"cursor\":null}},{\"ok\":{\"threads\":0,\"checkpoints\":0}},{"
			 "\"ok\":{}}"),
		 ""},
		{"other", OPS("{\"op\":\"copy\",\"from\":\"mine\",\"to\":\"b\"}"), "", 404, "not-found", NULL},
		{"ann", OPS("{\"op\":\"get\",\"thread\":\"mine\",\"writes\":false}"), "", 200,
		 OK_HEAD("{\"ok\":" TUPLE("mine", "1", "null", "{}", "", "") "}"), ""},
		{"ann", OPS(PUT("anns", "1", "") ",{\"op\":\"delete_thread\",\"thread\":\"none\"}"), "", 200,
		 OK_HEAD("{\"ok\":{}},{\"ok\":{}}"), ""},
	};

	TALK(*state, t);
}

/* 40 MiB in and out: above max_body of this bench, below max_large_body. */
static void large(void **state)
{
	const char *head = OPS(PUT("large", "1", ",\"values\":[[\"m\",\"2\",\"bytes\",41943040]]"));
	size_t h = strlen(head), n = (size_t)40 << 20;
	char *body = malloc(4 + h + n);
	struct str got_head, bytes;
	struct reply r;

	for (int i = 0; i < 4; i++)
		body[i] = (char)(h >> (8 * i));
	memcpy(body + 4, head, h);
	for (size_t i = 0; i < n; i++)
		body[4 + h + i] = (char)(i * 31 >> 3);
	r = call_n(*state, "ann", "POST", PATH, TYPE, body, 4 + h + n);
	assert_int_equal(r.status, 200);
	reply_free(&r);
	r = ask(*state, "ann", OPS("{\"op\":\"get\",\"thread\":\"large\"}"), "");
	assert_int_equal(r.status, 200);
	open_frame(&r, &got_head, &bytes);
	assert_int_equal(bytes.n, n);
	assert_memory_equal(bytes.p, body + 4 + h, n);
	reply_free(&r);
	/* Other routes keep their limit. */
	r = call_n(*state, "ann", "POST", "/cenote/v1/batch", NULL, body, n);
	assert_int_equal(r.status, 413);
	reply_free(&r);
	free(body);
	r = ask(*state, "ann", OPS("{\"op\":\"delete_thread\",\"thread\":\"large\"}"), "");
	assert_int_equal(r.status, 200);
	reply_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(put_and_get, api_start, api_stop),
		cmocka_unit_test_setup_teardown(whole_threads, api_start, api_stop),
		cmocka_unit_test_setup_teardown(transactions, api_start, api_stop),
		cmocka_unit_test_setup_teardown(refusals, api_start, api_stop),
		cmocka_unit_test_setup_teardown(isolation, api_start, api_stop),
		cmocka_unit_test_setup_teardown(large, api_start, api_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
