/* The native API on a real server: items and preconditions, batches, messages, threads, recall, pages and their cursors, import and
 * export, and who sees what. */
#include "api/testing.h"

#define ITEMS "/cenote/v1/items?namespace="
#define BATCH "POST", "/cenote/v1/batch", NULL
#define MESSAGES "POST", "/cenote/v1/messages", NULL
#define RECALL "POST", "/cenote/v1/recall", NULL

static void items(void **state)
{
	static const struct step steps[] = {
		{"ann", "PUT", ITEMS "a.b&key=k", NULL, "{\"x\": 1.50}", 201,
		 "={\"namespace\":[\"a\",\"b\"],\"key\":\"k\",\"version\":1,\"created\":true}"},
		{"ann", "PUT", ITEMS "a.b&key=k", NULL, "{\"x\": 2}", 200, "\"version\":2,\"created\":false}"},
		{"ann", "GET", ITEMS "a.b&key=k", NULL, NULL, 200,
		 "{\"namespace\":[\"a\",\"b\"],\"key\":\"k\",\"value\":{\"x\": 2},\"created_at\":\""},
		{"ann", "GET", ITEMS "a&namespace=b&key=k", NULL, NULL, 200, "\"version\":2}"},
		{"ann", "GET", ITEMS "a.b&key=none", NULL, NULL, 404, "urn:cenote:problem:not-found"},
		{"ann", "GET", ITEMS "a.b", NULL, NULL, 422, "\"field\":\"key\""},
		{"ann", "GET", ITEMS "a..b&key=k", NULL, NULL, 422, "\"field\":\"namespace\""},
		{"ann", "PUT", "/cenote/v1/items?key=k", NULL, "{}", 422, "\"field\":\"namespace\""},
		{"ann", "PUT", ITEMS "a&key=k", NULL, "[]", 422, "not a JSON object"},
		{"ann", "PUT", ITEMS "a&key=k", NULL, "{", 400, "urn:cenote:problem:bad-request"},
		{"ann", "PUT", ITEMS "a&key=k", "Content-Type: text/plain\r\n", "{}", 415, NULL},
		{"ann", "PUT", ITEMS "a&key=k&ttl_minutes=x", NULL, "{}", 422, "\"field\":\"ttl_minutes\""},
		{"ann", "PUT", ITEMS "a&key=k&ttl_minutes=1.5", NULL, "{}", 201, NULL},
		{"ann", "GET", ITEMS "a&key=k&refresh_ttl=false", NULL, NULL, 200, "\"ttl_minutes\":1.5"},
		{"ann", "DELETE", ITEMS "a.b&key=k", NULL, NULL, 204, "="},
		{"ann", "DELETE", ITEMS "a.b&key=k", NULL, NULL, 404, "urn:cenote:problem:not-found"},
	};

	RUN(*state, steps);
}

static void preconditions(void **state)
{
	static const struct step steps[] = {
		{"ann", "PUT", ITEMS "p&key=k", "If-Match: *\r\n", "{}", 412, "urn:cenote:problem:version-conflict"},
		{"ann", "PUT", ITEMS "p&key=k", "If-None-Match: *\r\n", "{}", 201, NULL},
		{"ann", "PUT", ITEMS "p&key=k", "If-None-Match: *\r\n", "{}", 412, NULL},
		{"ann", "PUT", ITEMS "p&key=k", "If-None-Match: \"1\"\r\n", "{}", 400, NULL},
		{"ann", "PUT", ITEMS "p&key=k", "If-Match: *\r\nIf-None-Match: *\r\n", "{}", 400, NULL},
		{"ann", "PUT", ITEMS "p&key=k", "If-Match: \"2\"\r\n", "{}", 412, NULL},
		{"ann", "PUT", ITEMS "p&key=k", "If-Match: W/\"1\"\r\n", "{}", 412, NULL},
		{"ann", "PUT", ITEMS "p&key=k", "If-Match: \"7\", \"1\"\r\n", "{}", 200, "\"version\":2"},
		{"ann", "PUT", ITEMS "p&key=k", "If-Match: *\r\n", "{}", 200, "\"version\":3"},
		{"ann", "GET", ITEMS "p&key=k", "If-None-Match: \"3\"\r\n", NULL, 304, "="},
		{"ann", "GET", ITEMS "p&key=k", "If-None-Match: *\r\n", NULL, 304, "="},
		{"ann", "GET", ITEMS "p&key=k", "If-None-Match: \"2\"\r\n", NULL, 200, NULL},
		{"ann", "DELETE", ITEMS "p&key=k", "If-Match: \"2\"\r\n", NULL, 412, NULL},
		{"ann", "DELETE", ITEMS "p&key=k", "If-Match: \"3\"\r\n", NULL, 204, NULL},
		{"ann", "DELETE", ITEMS "p&key=k", "If-Match: *\r\n", NULL, 412, NULL},
		{"ann", "PUT", ITEMS "p&key=k", NULL, "{}", 201, NULL},
	};
	struct reply r;

	RUN(*state, steps);
	r = call(*state, "ann", "GET", ITEMS "p&key=k", NULL, NULL);
	assert_string_equal(header_of(&r, "etag"), "\"1\"");
	reply_free(&r);
}

static void batches(void **state)
{
	static const struct step steps[] = {
		{"ann", BATCH,
		 "{\"operations\":[{\"op\":\"put\",\"namespace\":[\"b\"],\"key\":\"k\",\"value\":{\"w\":\"zebra\"}},"
		 "{\"op\":\"get\",\"namespace\":\"b\",\"key\":\"k\"},{\"op\":\"delete\",\"namespace\":[\"b\"],\"key\":\"none\"}]}",
		 200,
		 "={\"results\":[{\"status\":201,\"version\":1},{\"status\":404,\"problem\":{\"type\":\"urn:cenote:problem:not-"
		 "found\",\"status\":404,"
		 "\"detail\":\"there is no such "
		 "item\"}},{\"status\":404,\"problem\":{\"type\":\"urn:cenote:problem:not-found\",\"status\":404,"
		 "\"detail\":\"there is no such item\"}}]}"},
		{"ann", BATCH,
		 "{\"operations\":[{\"op\":\"get\",\"namespace\":[\"b\"],\"key\":\"k\"},"
		 "{\"op\":\"search\",\"namespace\":[\"b\"],\"query\":\"zebra\",\"explain\":true},{\"op\":\"list_namespaces\","
		 "\"prefix\":[\"b\"]}]}",
		 200, "\"namespaces\":[[\"b\"]]}]}"},
		{"ann", BATCH, "{\"operations\":[{\"op\":\"search\",\"namespace\":\"b\",\"query\":\"zebra\",\"explain\":true}]}",
		 200, "\"explain\":{"},
		{"ann", BATCH,
		 "{\"operations\":[{\"op\":\"put\",\"namespace\":[\"b\"],\"key\":\"\",\"value\":{}},"
		 "{\"op\":\"put\",\"namespace\":[\"b\"],\"key\":\"l\",\"value\":{}}]}",
		 200, "{\"status\":201,\"version\":1}]}"},
		{"ann", BATCH,
		 "{\"operations\":[{\"op\":\"put\",\"namespace\":[\"b\"],\"key\":\"m\",\"value\":{}},"
		 "{\"op\":\"put\",\"namespace\":[\"b\"],\"key\":\"l\",\"value\":{},\"if_absent\":true}]}",
		 200, "urn:cenote:problem:version-conflict"},
		{"ann", "POST", "/cenote/v1/batch?atomic=true", NULL,
		 "{\"operations\":[{\"op\":\"put\",\"namespace\":[\"b\"],\"key\":\"n\",\"value\":{}},"
		 "{\"op\":\"put\",\"namespace\":[\"b\"],\"key\":\"l\",\"value\":{},\"if_version\":9}]}",
		 412, "\"field\":\"/operations/1\""},
		{"ann", "GET", ITEMS "b&key=n", NULL, NULL, 404, NULL},
		{"ann", BATCH, "{\"operations\":[{\"op\":\"push\"}]}", 422, "\"field\":\"/operations/0/op\""},
		{"ann", BATCH, "{\"operations\":[5]}", 422, "\"field\":\"/operations/0\""},
		{"ann", BATCH, "{\"operations\":{}}", 422, "\"field\":\"/operations\""},
		{"ann", BATCH, "{}", 422, "\"field\":\"/operations\""},
		{"ann", BATCH, "{\"operations\":[{\"op\":\"search\",\"limit\":0}]}", 422, "\"field\":\"/operations/0/limit\""},
		{"ann", BATCH, "{\"operations\":[{\"op\":\"search\",\"filter\":{\"a\":{\"$in\":1}}}]}", 422,
		 "\"field\":\"/operations/0/filter/a/$in\""},
		{"ann", BATCH, "{\"operations\":[],\"more\":1}", 200, "={\"results\":[]}"},
		{"ann", "POST", "/cenote/v1/batch?strict=1", NULL, "{\"operations\":[],\"more\":1}", 422, "\"field\":\"/more\""},
		{"ann", "POST", "/cenote/v1/batch?strict=1", NULL, "{\"operations\":[{\"op\":\"get\",\"more\":1}]}", 422,
		 "\"field\":\"/more\""},
		{"reader", BATCH,
		 "{\"operations\":[{\"op\":\"get\",\"namespace\":[\"b\"],\"key\":\"k\"},"
		 "{\"op\":\"delete\",\"namespace\":[\"b\"],\"key\":\"k\"}]}",
		 200, "urn:cenote:problem:forbidden"},
		{"ann", "GET", ITEMS "b&key=k", NULL, NULL, 200, NULL},
	};

	RUN(*state, steps);
}

static void messages(void **state)
{
	static const char two[] = "{\"messages\":[{\"thread\":\"t1\",\"id\":\"m1\",\"user\":\"u\",\"role\":\"user\",\"content\":"
				  "\"the elephant sleeps\","
				  "\"time\":\"2026-08-20T07:02:48Z\"},{\"thread\":\"t1\",\"user\":\"u\",\"role\":\"assistant\","
				  "\"content\":\"good night\"}]}";
	static const struct step steps[] = {
		{"ann", MESSAGES, two, 200, "={\"stored\":2,\"unchanged\":0}"},
		{"ann", MESSAGES, two, 200, "={\"stored\":0,\"unchanged\":2}"},
		{"ann", "GET", "/cenote/v1/threads/t1/messages", NULL, NULL, 200,
		 "{\"data\":[{\"thread\":\"t1\",\"id\":\"m1\",\"user\":\"u\",\"role\":\"user\",\"content\":\"the elephant "
		 "sleeps\",\"time\":\"2026-08-20T07:02:48"},
		{"ann", "GET", "/cenote/v1/threads?user=u", NULL, NULL, 200,
		 "{\"data\":[{\"thread\":\"t1\",\"user\":\"u\",\"messages\":2,"},
		{"ann", "GET", "/cenote/v1/threads?user=nobody", NULL, NULL, 200,
		 "={\"data\":[],\"next_cursor\":null,\"has_more\":false}"},
		{"ann", "GET", "/cenote/v1/threads/none/messages", NULL, NULL, 404, NULL},
		{"ann", MESSAGES, "{\"messages\":[{\"thread\":\"t1\",\"role\":\"robot\",\"content\":\"\"}]}", 422,
		 "\"field\":\"/messages/0/role\""},
		{"ann", MESSAGES, "{\"messages\":[{\"thread\":\"t1\",\"user\":\"v\",\"role\":\"user\",\"content\":\"\"}]}", 409,
		 "urn:cenote:problem:conflict"},
		{"ann", MESSAGES, "{\"messages\":{}}", 422, "\"field\":\"/messages\""},
		{"ann", "POST", "/cenote/v1/messages?strict=1", NULL,
		 "{\"messages\":[{\"thread\":\"t\",\"role\":\"user\",\"content\":\"\",\"x\":1}]}", 422, "\"field\":\"/x\""},
		{"ann", RECALL, "{\"query\":\"elephants\",\"user\":\"u\"}", 200,
		 "{\"results\":[{\"kind\":\"message\",\"id\":\"m1\",\"thread\":\"t1\",\"namespace\":null,\"key\":null,\"role\":"
		 "\"user\",\"name\":null,"
		 "\"text\":\"the elephant sleeps\",\"time\":\"2026-08-20T07:02:48.000Z\",\"score\":"},
		{"ann", RECALL, "{\"query\":\"elephants\",\"user\":\"u\",\"kinds\":[\"fact\"]}", 200,
		 "={\"results\":[],\"mode\":\"words\",\"pending\":0,\"note\":\"nothing else in the scope has to do with the words, "
		 "dates and speakers of the question\"}"},
		{"ann", RECALL, "{\"query\":\"x\",\"mode\":\"vectors\"}", 422, "\"field\":\"/mode\""},
		{"ann", RECALL, "{\"query\":\"x\",\"mode\":\"magic\"}", 422, "\"field\":\"/mode\""},
		{"ann", RECALL, "{\"query\":\"x\",\"limit\":1001}", 422, "\"field\":\"/limit\""},
		{"ann", RECALL, "{\"query\":\"x\",\"kinds\":[\"dream\"]}", 422, "\"field\":\"/kinds\""},
		{"ann", RECALL, "{\"query\":\"x\",\"time\":{\"from\":\"noon\"}}", 422, "\"field\":\"/time/from\""},
		{"ann", RECALL, "{\"query\":\"x\",\"namespaces\":[[\"a.b\"]]}", 422, "\"field\":\"/namespaces/0/0\""},
		{"ann", RECALL, "{}", 422, "\"field\":\"/query\""},
		{"ann", "DELETE", "/cenote/v1/threads/t1", NULL, NULL, 204, "="},
		{"ann", "DELETE", "/cenote/v1/threads/t1", NULL, NULL, 404, NULL},
		{"ann", RECALL, "{\"query\":\"elephants\",\"user\":\"u\"}", 200,
		 "={\"results\":[],\"mode\":\"words\",\"pending\":0,\"note\":\"nothing else in the scope has to do with the words, "
		 "dates and speakers of the question\"}"},
	};

	RUN(*state, steps);
}

/* --------------------------------------------------------------------- pages */

static char *cursor_of(const struct reply *r)
{
	static char out[512];
	const char *p = strstr(r->body, "\"next_cursor\":\"");
	size_t n;

	if (!p)
		return NULL;
	p += 15;
	n = strcspn(p, "\"");
	assert_true(n < sizeof out);
	memcpy(out, p, n);
	out[n] = 0;
	return out;
}

static void pages(void **state)
{
	struct api_bench *b = *state;
	char path[1024], seen[64] = "", cursor[512] = "";
	struct reply r;
	int rounds = 0;

	for (int i = 0; i < 7; i++) {
		char body[256];

		snprintf(body, sizeof body,
			 "{\"messages\":[{\"thread\":\"page%d\",\"id\":\"m\",\"user\":\"pager\",\"role\":\"user\",\"content\":"
			 "\"x\"}]}",
			 i);
		r = call(b, "ann", "POST", "/cenote/v1/messages", NULL, body);
		assert_int_equal(r.status, 200);
		reply_free(&r);
	}
	do {
		snprintf(path, sizeof path, "/cenote/v1/threads?user=pager&limit=3%s%s", cursor[0] ? "&cursor=" : "", cursor);
		r = call(b, "ann", "GET", path, NULL, NULL);
		assert_int_equal(r.status, 200);
		for (const char *p = r.body; (p = strstr(p, "\"thread\":\"page")); p += 14)
			strncat(seen, p + 14, 1);
		cursor[0] = 0;
		if (cursor_of(&r)) {
			snprintf(cursor, sizeof cursor, "%s", cursor_of(&r));
			assert_non_null(strstr(r.body, "\"has_more\":true"));
			assert_non_null(strstr(header_of(&r, "link"), "rel=\"next\""));
			assert_non_null(strstr(header_of(&r, "link"), cursor));
		} else {
			assert_non_null(strstr(r.body, "\"has_more\":false"));
			assert_string_equal(header_of(&r, "link"), "");
		}
		reply_free(&r);
	} while (cursor[0] && ++rounds < 10);
	assert_string_equal(seen, "0123456");
}

static void foreign_cursors(void **state)
{
	struct api_bench *b = *state;
	char cursor[512], path[1024];
	struct reply r = call(b, "ann", "GET", "/cenote/v1/threads?user=pager&limit=2", NULL, NULL);
	static const struct {
		const char *as, *path;
		int status;
	} uses[] = {
		{"ann", "/cenote/v1/threads?user=pager&limit=2&cursor=", 200},
		{"ann", "/cenote/v1/threads?limit=5&user=pager&cursor=", 200},
		{"reader", "/cenote/v1/threads?user=pager&cursor=", 200}, /* the same tenant */
		{"other", "/cenote/v1/threads?user=pager&cursor=", 400},
		{"bound", "/cenote/v1/threads?user=pager&cursor=", 400},
		{"ann", "/cenote/v1/threads?user=other&cursor=", 400},
		{"ann", "/cenote/v1/threads?cursor=", 400},
		{"ann", "/cenote/v1/threads/page0/messages?cursor=", 400},
		{"ann", "/cenote/v1/namespaces?cursor=", 400},
		{"ann", "/cenote/v1/threads?user=pager&cursor=A", 400},
	};

	snprintf(cursor, sizeof cursor, "%s", cursor_of(&r));
	reply_free(&r);
	for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
		snprintf(path, sizeof path, "%s%s", uses[i].path, cursor);
		r = call(b, uses[i].as, "GET", path, NULL, NULL);
		if (r.status != uses[i].status)
			fail_msg("%s as %s: %d %s", uses[i].path, uses[i].as, r.status, r.body);
		reply_free(&r);
	}
	/* No bit of it may be changed. */
	for (size_t i = 0; cursor[i]; i++) {
		char was = cursor[i];

		cursor[i] = was == 'A' ? 'B' : 'A';
		snprintf(path, sizeof path, "/cenote/v1/threads?user=pager&cursor=%s", cursor);
		r = call(b, "ann", "GET", path, NULL, NULL);
		assert_int_equal(r.status, 400);
		reply_free(&r);
		cursor[i] = was;
	}
	static const struct step steps[] = {
		{"ann", "GET", "/cenote/v1/threads?cursor=", NULL, NULL, 400, "\"field\":\"cursor\""},
		{"ann", "GET", "/cenote/v1/threads?cursor=!!", NULL, NULL, 400, NULL},
		{"ann", "GET", "/cenote/v1/threads?cursor=AAAA", NULL, NULL, 400, NULL},
		{"ann", "GET", "/cenote/v1/threads?limit=0", NULL, NULL, 422, "\"field\":\"limit\""},
		{"ann", "GET", "/cenote/v1/threads?limit=1001", NULL, NULL, 422, NULL},
	};

	RUN(b, steps);
}

static void namespaces_and_stats(void **state)
{
	static const struct step steps[] = {
		{"other", "PUT", ITEMS "n.a.z&key=k", NULL, "{}", 201, NULL},
		{"other", "PUT", ITEMS "n.b.z&key=k", NULL, "{}", 201, NULL},
		{"other", "GET", "/cenote/v1/namespaces?prefix=n&suffix=z", NULL, NULL, 200,
		 "={\"data\":[{\"namespace\":[\"n\",\"a\",\"z\"]},{\"namespace\":[\"n\",\"b\",\"z\"]}],\"next_cursor\":null,\"has_"
		 "more\":false}"},
		{"other", "GET", "/cenote/v1/namespaces?max_depth=1", NULL, NULL, 200,
		 "={\"data\":[{\"namespace\":[\"n\"]}],\"next_cursor\":null,\"has_more\":false}"},
		{"other", "GET", "/cenote/v1/namespaces?max_depth=0", NULL, NULL, 422, NULL},
		{"other", "GET", "/cenote/v1/stats", NULL, NULL, 200,
		 "{\"tenant\":\"other\",\"store\":\"fake\",\"items\":2,\"namespaces\":2,\"threads\":0,\"messages\":0"},
		{"bound", "GET", "/cenote/v1/stats", NULL, NULL, 403, NULL},
	};

	RUN(*state, steps);
}

/* --------------------------------------------------------- import and export */

static void import_and_export(void **state)
{
#define LINE1                                                                                                                      \
	"{\"namespace\":[\"x\"],\"key\":\"1\",\"value\":{\"v\": "                                                                  \
	"1},\"created_at\":\"2026-01-01T00:00:00.000000Z\",\"updated_at\":\"2026-01-01T00:00:00.000000Z\"}\n"
#define LINE2 "{\"thread\":\"xt\",\"id\":\"1\",\"user\":\"xu\",\"role\":\"user\",\"content\":\"hi\"}\n"
#define IMPORT(query) "POST", "/cenote/v1/import" query, "Content-Type: application/x-ndjson\r\n"
	static const struct step steps[] = {
		{"other", IMPORT(""), LINE1 LINE2, 200, "={\"stored\":2,\"unchanged\":0,\"failed\":0,\"errors\":[]}"},
		{"other", IMPORT(""), LINE1 LINE2, 200, "={\"stored\":0,\"unchanged\":2,\"failed\":0,\"errors\":[]}"},
		{"other", IMPORT("?on_conflict=fail"), "{\"namespace\":[\"x\"],\"key\":\"1\",\"value\":{}}\n{\n", 200,
		 "{\"stored\":0,\"unchanged\":0,\"failed\":2,\"errors\":[{\"line\":1,\"detail\":\"the item exists already with "
		 "another value or other times\","
		 "\"field\":\"/key\",\"status\":409},{\"line\":2,\"detail\":\""},
		{"other", IMPORT("?on_conflict=maybe"), LINE1, 422, "\"field\":\"on_conflict\""},
		{"other", "GET", "/cenote/v1/export?namespace=x", NULL, NULL, 200, "=" LINE1},
		{"other", "GET", "/cenote/v1/export?kind=messages", NULL, NULL, 200, "=" LINE2},
		{"other", "GET", "/cenote/v1/export?kind=all", NULL, NULL, 200, LINE1 LINE2},
		{"other", "GET", "/cenote/v1/export?kind=none", NULL, NULL, 422, "\"field\":\"kind\""},
		{"other", "GET", "/cenote/v1/export?kind=messages&namespace=x", NULL, NULL, 422, "\"field\":\"namespace\""},
		{"reader", IMPORT(""), LINE1, 403, NULL},
		{"bound", "GET", "/cenote/v1/export", NULL, NULL, 403, NULL},
		{"bound", IMPORT(""), LINE1 LINE2, 200, "\"stored\":0,\"unchanged\":0,\"failed\":2"},
	};

	RUN(*state, steps);
}

static void a_large_export(void **state)
{
	struct api_bench *b = *state;
	struct arena a;
	struct buf text;
	struct reply r;

	arena_init(&a, 64 << 20);
	buf_init(&text, &a, 32 << 20);
	for (int i = 0; i < 5000; i++)
		buf_printf(&text,
			   "{\"namespace\":[\"big\"],\"key\":\"k%05d\",\"value\":{\"text\":\"some words to fill the line up to "
			   "three hundred bytes or so "
			   "because that is what one of them has on the "
			   "whole\"},\"created_at\":\"2026-01-01T00:00:00.000000Z\",\"updated_at\":"
			   "\"2026-01-01T00:00:00.%06dZ\"}\n",
			   i, i);
	r = call_n(b, "ann", "POST", "/cenote/v1/import", "Content-Type: application/x-ndjson\r\n", text.p, text.n);
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body, "{\"stored\":5000,\"unchanged\":0,\"failed\":0,\"errors\":[]}");
	reply_free(&r);
	r = call(b, "ann", "GET", "/cenote/v1/export?namespace=big", NULL, NULL);
	assert_int_equal(r.status, 200);
	assert_string_equal(header_of(&r, "content-type"), "application/x-ndjson");
	assert_int_equal(r.body_n, text.n);
	assert_memory_equal(r.body, text.p, text.n);
	reply_free(&r);
	buf_lit(&text, "{}\n{}\n");
	r = call_n(b, "ann", "POST", "/cenote/v1/import", "Content-Type: application/x-ndjson\r\n", text.p, text.n);
	assert_int_equal(r.status, 413);
	reply_free(&r);
	arena_release(&a);
}

static void who_sees_what(void **state)
{
	static const struct step steps[] = {
		{"ann", "PUT", ITEMS "w&key=k", NULL, "{\"text\":\"confidential giraffe\"}", 201, NULL},
		{"ann", MESSAGES,
		 "{\"messages\":[{\"thread\":\"wt\",\"id\":\"m\",\"user\":\"w\",\"role\":\"user\",\"content\":\"confidential "
		 "giraffe\"}]}",
		 200, NULL},
		{"other", "GET", ITEMS "w&key=k", NULL, NULL, 404, NULL},
		{"other", "DELETE", ITEMS "w&key=k", NULL, NULL, 404, NULL},
		{"other", BATCH, "{\"operations\":[{\"op\":\"search\",\"query\":\"giraffe\"}]}", 200,
		 "={\"results\":[{\"status\":200,\"items\":[]}]}"},
		{"other", RECALL, "{\"query\":\"giraffe\",\"user\":\"w\"}", 200,
		 "={\"results\":[],\"mode\":\"words\",\"pending\":0,\"note\":\"nothing else in the scope has to do with the words, "
		 "dates and speakers of the question\"}"},
		{"other", "GET", "/cenote/v1/threads/wt/messages", NULL, NULL, 404, NULL},
		{"other", "DELETE", "/cenote/v1/threads/wt", NULL, NULL, 404, NULL},
		{"other", "GET", "/cenote/v1/threads?user=w", NULL, NULL, 200,
		 "={\"data\":[],\"next_cursor\":null,\"has_more\":false}"},
		{"bound", "GET", ITEMS "w&key=k", NULL, NULL, 403, NULL},
		{"bound", "PUT", ITEMS "w&key=k", NULL, "{}", 403, NULL},
		{"bound", BATCH, "{\"operations\":[{\"op\":\"search\",\"query\":\"giraffe\"}]}", 200,
		 "urn:cenote:problem:forbidden"},
		{"bound", RECALL, "{\"query\":\"giraffe\",\"user\":\"w\"}", 403, NULL},
		{"bound", "GET", "/cenote/v1/threads?user=w", NULL, NULL, 403, NULL},
		{"bound", "GET", "/cenote/v1/threads/wt/messages", NULL, NULL, 404, NULL},
		{"bound", "DELETE", "/cenote/v1/threads/wt", NULL, NULL, 404, NULL},
		{"bound", "GET", "/cenote/v1/namespaces", NULL, NULL, 403, NULL},
		{"nobody", "GET", ITEMS "w&key=k", NULL, NULL, 401, "urn:cenote:problem:unauthenticated"},
		{"nobody", RECALL, "{\"query\":\"giraffe\"}", 401, NULL},
		{"ann", "GET", ITEMS "w&key=k", NULL, NULL, 200, "giraffe"},
		{"ann", RECALL, "{\"query\":\"giraffe\",\"user\":\"w\"}", 200, "confidential giraffe"},
	};

	RUN(*state, steps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items),
		cmocka_unit_test(preconditions),
		cmocka_unit_test(batches),
		cmocka_unit_test(messages),
		cmocka_unit_test(pages),
		cmocka_unit_test(foreign_cursors),
		cmocka_unit_test(namespaces_and_stats),
		cmocka_unit_test(import_and_export),
		cmocka_unit_test(a_large_export),
		cmocka_unit_test(who_sees_what),
	};

	return cmocka_run_group_tests(tests, api_start, api_stop);
}
