/* Items as they are shown, their ids, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/openai/impl.h"

struct box {
	struct arena a, scratch;
};

static int setup(void **state)
{
	struct box *x = calloc(1, sizeof *x);

	arena_init(&x->a, 64 << 20);
	arena_init(&x->scratch, 256 << 20);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct box *x = *state;

	arena_release(&x->a);
	arena_release(&x->scratch);
	free(x);
	return 0;
}

static void shows(struct box *x, const char *stored, const char *own, const char *wanted)
{
	struct str id, mine = own ? str_c(own) : (struct str){NULL, 0};
	struct buf b;

	buf_init(&b, &x->a, 1 << 20);
	assert_int_equal(oa_item_write(&b, &x->a, &x->scratch, str_c(stored), 0x2a, mine, &id), OK);
	if (!str_eq(buf_slice(&b), str_c(wanted)))
		fail_msg("%s\nis shown as %.*s\nnot as      %s", stored, STR_ARG(buf_slice(&b)), wanted);
	assert_true(x->scratch.used < 64); /* cleared */
}

#define MSG "{\"type\":\"message\",\"id\":\"msg_cn000000000000002a\",\"status\":\"completed\""

static void messages(void **state)
{
	struct box *x = *state;

	shows(x, "{\"role\":\"user\",\"content\":\"Hello\"}", NULL,
	      MSG ",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Hello\"}]}");
	shows(x, "{\"content\": \"a\\u00e9\\n\", \"role\": \"assistant\"}", NULL,
	      MSG ",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"a\\u00e9\\n\",\"annotations\":[],"
		  "\"logprobs\":[]}]}");
	shows(x, "{\"role\":\"system\",\"content\":null,\"type\":null,\"id\":null,\"status\":null}", NULL,
	      MSG ",\"role\":\"system\",\"content\":[]}");
	shows(x, "{\"role\":\"user\",\"type\":\"message\"}", NULL, MSG ",\"role\":\"user\",\"content\":[]}");
	/* Parts stay, but an output_text has all of its members. */
	shows(x,
	      "{\"id\":\"__fake_id__\",\"content\":[{\"annotations\":[],\"text\":\"3\",\"type\":\"output_text\",\"logprobs\":[]},"
	      "{\"type\":\"output_text\",\"text\":\"4\"},{\"type\":\"refusal\",\"refusal\":\"no\"},\"5\"],"
	      "\"role\":\"assistant\",\"status\":\"incomplete\",\"type\":\"message\",\"provider_data\":{\"model\":1.0}}",
	      NULL,
	      "{\"type\":\"message\",\"id\":\"msg_cn000000000000002a\",\"role\":\"assistant\",\"status\":\"incomplete\","
	      "\"provider_data\":{\"model\":1.0},\"content\":[{\"annotations\":[],\"text\":\"3\",\"type\":\"output_text\","
	      "\"logprobs\":[]},{\"type\":\"output_text\",\"text\":\"4\",\"annotations\":[],\"logprobs\":[]},"
	      "{\"type\":\"refusal\",\"refusal\":\"no\"},"
	      "{\"type\":\"output_text\",\"text\":\"5\",\"annotations\":[],\"logprobs\":[]}]}");
	/* An unknown role and a content of no known kind are shown as they are. */
	shows(x, "{\"role\":\"robot\",\"content\":{\"a\":1},\"phase\":\"commentary\"}", "mine",
	      "{\"type\":\"message\",\"id\":\"mine\",\"status\":\"completed\",\"role\":\"robot\",\"phase\":\"commentary\","
	      "\"content\":{\"a\":1}}");
}

static void others(void **state)
{
	struct box *x = *state;

	shows(x, "{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\",\"id\":\"fc_1\"}", "fc_1",
	      "{\"id\":\"fc_1\",\"status\":\"completed\",\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":"
	      "\"{}\"}");
	shows(x,
	      "{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":[{\"type\":\"input_text\",\"text\":\"x\"}],"
	      "\"status\":\"in_progress\"}",
	      NULL,
	      "{\"id\":\"fc_cn000000000000002a\",\"type\":\"function_call_output\",\"call_id\":\"c\","
	      "\"output\":[{\"type\":\"input_text\",\"text\":\"x\"}],\"status\":\"in_progress\"}");
	shows(x, "{\"type\":\"reasoning\",\"summary\":[]}", NULL,
	      "{\"id\":\"rs_cn000000000000002a\",\"type\":\"reasoning\",\"summary\":[]}");
	shows(x, "{ \"__enc__\" : 1, \"payload\":\"gA\" }", NULL,
	      "{\"id\":\"item_cn000000000000002a\",\"__enc__\":1,\"payload\":\"gA\"}");
	shows(x, "{}", NULL, "{\"id\":\"item_cn000000000000002a\"}");
	shows(x, "{\"type\":null}", NULL, "{\"id\":\"item_cn000000000000002a\",\"type\":null}");
	/* Its id names another item: it stays. */
	shows(x, "{\"type\":\"item_reference\",\"id\":\"msg_1\"}", NULL, "{\"type\":\"item_reference\",\"id\":\"msg_1\"}");
	/* Numbers, members and escapes are not rewritten. */
	shows(x, "{\"type\":\"x\",\"a\":1.0,\"b\":1e400,\"\\u0061b\":null,\"d\":12345678901234567890123}", NULL,
	      "{\"id\":\"item_cn000000000000002a\",\"type\":\"x\",\"a\":1.0,\"b\":1e400,\"\\u0061b\":null,\"d\":"
	      "12345678901234567890123}");
}

static void lone_surrogates(void **state)
{
	struct box *x = *state;

	shows(x, "{\"role\":\"user\",\"content\":\"\\ud83d \\uD83D\\uDE00 \\\\ud83d \\udc00\\ud800\"}", NULL,
	      MSG ",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"\\ud83d \\uD83D\\uDE00 \\\\ud83d "
		  "\\udc00\\ud800\"}]}");
	shows(x, "{\"a\\udfff\":\"\\ud800\\ud800\\udc00\"}", NULL,
	      "{\"id\":\"item_cn000000000000002a\",\"a\\udfff\":\"\\ud800\\ud800\\udc00\"}");
	/* What nobody can read goes out as it is. */
	shows(x, "{\"a\":NaN}", NULL, "{\"a\":NaN}");
}

static void own_ids(void **state)
{
	static const struct {
		const char *item, *id;
	} rows[] = {
		{"{}", NULL},
		{"{\"id\":\"msg_1\"}", "msg_1"},
		{"{\"id\":\"a\\u00e9\"}", "a\xc3\xa9"},
		{"{\"id\":\"__fake_id__\"}", NULL},
		{"{\"id\":\"\"}", NULL},
		{"{\"id\":null}", NULL},
		{"{\"id\":7}", NULL},
		{"{\"id\":\"a\\nb\"}", NULL},
		{"{\"id\":\"a\\u0000\"}", NULL},
		{"{\"id\":\"msg_cn000000000000002a\"}", NULL},
		{"{\"id\":\"msg_cn000000000000002g\"}", "msg_cn000000000000002g"},
		{"{\"id\":\"1234567890123456789012345678901234567890123456789012345678901234\"}",
		 "1234567890123456789012345678901234567890123456789012345678901234"},
		{"{\"id\":\"12345678901234567890123456789012345678901234567890123456789012345\"}", NULL},
		{"{\"type\":\"item_reference\",\"id\":\"msg_1\"}", NULL},
		{"{\"x\":{\"id\":\"inner\"}}", NULL},
		{"{\"id\":\"lone\",\"t\":\"\\ud800\"}", "lone"},
		{"{\"id\":\"x\",\"a\":NaN}", NULL},
	};
	struct box *x = *state;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct str id;

		assert_int_equal(oa_own_id(&x->a, &x->scratch, str_c(rows[i].item), &id), OK);
		if (!id.p != !rows[i].id || (id.p && !str_eq(id, str_c(rows[i].id))))
			fail_msg("%s has the id %.*s", rows[i].item, STR_ARG(id));
		assert_true(x->scratch.used < 64); /* cleared */
	}
}

static void made_ids(void **state)
{
	static const struct {
		const char *id;
		int64_t number; /* 0: not one */
	} rows[] = {
		{"msg_cn000000000000002a", 42}, {"item_cn7fffffffffffffff", INT64_MAX},
		{"x_cn0000000000000001", 1},	{"msg_cn0000000000000000", 0},
		{"msg_cn8000000000000000", 0},	{"msg_cn000000000000002A", 0},
		{"msg_cn00000000000002a", 0},	{"_cn000000000000002a", 0},
		{"m1_cn000000000000002a", 0},	{"", 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		int64_t n = 0;
		bool is = oa_id_number(str_c(rows[i].id), &n);

		assert_int_equal(is, rows[i].number != 0);
		assert_true(!is || n == rows[i].number);
	}
}

static void refusals(void **state)
{
	static const struct {
		const char *item, *field; /* NULL: accepted */
	} rows[] = {
		{"[]", "/items/3"},
		{"\"x\"", "/items/3"},
		{"{\"type\":5}", "/items/3/type"},
		{"{\"type\":\"message\",\"content\":\"x\"}", "/items/3/role"},
		{"{\"role\":\"robot\",\"content\":\"x\"}", "/items/3/role"},
		{"{\"role\":\"user\"}", "/items/3/content"},
		{"{\"role\":\"user\",\"content\":5}", "/items/3/content"},
		{"{\"role\":\"user\",\"content\":[\"x\"]}", "/items/3/content"},
		{"{\"type\":\"function_call\",\"name\":\"n\",\"arguments\":\"{}\"}", "/items/3/call_id"},
		{"{\"type\":\"function_call\",\"call_id\":\"c\",\"arguments\":\"{}\"}", "/items/3/name"},
		{"{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"n\",\"arguments\":{}}", "/items/3/arguments"},
		{"{\"role\":\"discriminator\",\"content\":[]}", NULL},
		{"{\"role\":5,\"content\":5}", NULL},
		{"{\"type\":\"reasoning\"}", NULL},
		{"{}", NULL},
	};
	struct box *x = *state;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct json doc;
		enum err e;

		assert_int_equal(json_parse(&x->a, str_c(rows[i].item), NULL, &doc), OK);
		e = item_check(json_root(&doc), (struct item_place){"items", 3});
		assert_int_equal(e, rows[i].field ? E_INVALID : OK);
		if (rows[i].field)
			assert_string_equal(diag_get()->field, rows[i].field);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(messages, setup, teardown),
		cmocka_unit_test_setup_teardown(others, setup, teardown),
		cmocka_unit_test_setup_teardown(lone_surrogates, setup, teardown),
		cmocka_unit_test_setup_teardown(own_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(made_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
