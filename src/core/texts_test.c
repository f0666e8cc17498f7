/* What entries and values say, of well-formed and of hostile bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/testing.h"
#include "core/texts_impl.h"

static struct arena A;

static int setup(void **state)
{
	(void)state;
	arena_init(&A, 256u << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&A);
	return 0;
}

static void entry_says(const char *json, const char *role, const char *content)
{
	struct said s;

	assert_int_equal(said_by_entry(&A, str_c(json), &s), OK);
	if (!str_eq(s.content, str_c(content)) || (*content && !str_eq(s.role, str_c(role))))
		fail_msg("%s says \"%.*s\" as %.*s", json, STR_ARG(s.content), STR_ARG(s.role));
}

static void test_entries(void **state)
{
	(void)state;
	entry_says("{\"role\":\"user\",\"content\":\"hi\"}", "user", "hi");
	entry_says("{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"a\"},{\"type\":"
		   "\"refusal\",\"refusal\":\"no\"},{\"type\":\"input_image\"},\"b\"]}",
		   "assistant", "a\nb");
	entry_says("{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"31\"}", "tool", "31");
	entry_says("{\"type\":\"function_call_output\",\"output\":[{\"type\":\"input_text\",\"text\":\"x\"}]}", "tool", "x");
	entry_says("{\"type\":\"function_call\",\"role\":\"assistant\",\"content\":\"x\"}", "", "");
	entry_says("{\"type\":\"reasoning\",\"summary\":[]}", "", "");
	entry_says("{\"role\":\"system\",\"content\":\"x\"}", "", "");
	entry_says("{\"role\":\"user\",\"content\":\"  \\n\"}", "", "");
	entry_says("{\"role\":[],\"content\":{}}", "", "");
	entry_says("[]", "", "");
	entry_says("{", "", "");
	entry_says("", "", "");
}

static struct said_list value(const char *type, struct str bytes)
{
	struct said_list l = {0};

	assert_int_equal(said_by_value(&A, str_c(type), bytes, &l), OK);
	return l;
}

static void test_json_values(void **state)
{
	struct said_list l;

	(void)state;
	l = value("json",
		  STR("[{\"lc\":1,\"type\":\"constructor\",\"id\":[\"langchain_core\",\"messages\",\"HumanMessage\"],\"kwargs\":"
		      "{\"content\":\"h\",\"id\":\"1\"}},{\"role\":\"assistant\",\"content\":\"a\",\"id\":\"2\"},"
		      "{\"type\":\"system\",\"content\":\"s\"},{\"type\":\"ai\",\"data\":{\"content\":\"d\",\"name\":\"N\"}}]"));
	assert_int_equal(l.n, 3);
	assert_true(str_eq(l.v[0].mid, STR("1")) && str_eq(l.v[0].role, STR("user")) && str_eq(l.v[0].content, STR("h")));
	assert_true(str_eq(l.v[1].mid, STR("2")) && str_eq(l.v[1].role, STR("assistant")));
	assert_true(str_starts(l.v[2].mid, STR("text-")) && str_eq(l.v[2].name, STR("N")));
	/* the same words twice without an id are two; lists of other things are none */
	l = value("json", STR("[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\",\"content\":\"x\"}]"));
	assert_true(l.n == 2 && !str_eq(l.v[0].mid, l.v[1].mid));
	assert_int_equal(value("json", STR("[{\"role\":\"user\",\"content\":\"x\"},{\"type\":\"text\",\"text\":\"x\"}]")).n, 0);
	assert_int_equal(value("json", STR("{\"role\":\"user\",\"content\":\"x\"}")).n, 0);
	assert_int_equal(value("json", STR("[")).n, 0);
	assert_int_equal(value("bytes", STR("[{\"role\":\"user\",\"content\":\"x\"}]")).n, 0);
}

/* [HumanMessage(content="hello", id="1")] as langgraph's serializer writes it: extension 5. */
static const unsigned char human[] = "\x91\xc7\x8b\x05\x94\xbdlangchain_core.messages.human\xacHumanMessage\x86\xa7"
				     "content\xa5hello\xb1"
				     "additional_kwargs\x80\xb1"
				     "response_metadata\x80\xa4type\xa5human\xa4name\xc0\xa2id\xa1"
				     "1\xb3model_validate_json";

static void test_msgpack_values(void **state)
{
	struct str whole = str_of((const char *)human, sizeof human - 1);
	struct said_list l = value("msgpack", whole);
	char bent[sizeof human];

	(void)state;
	assert_int_equal(l.n, 1);
	assert_true(str_eq(l.v[0].mid, STR("1")) && str_eq(l.v[0].role, STR("user")) && str_eq(l.v[0].content, STR("hello")));
	/* cut or bent anywhere: no crash, at most one text */
	for (size_t n = 0; n < whole.n; n++) {
		assert_int_equal(value("msgpack", str_sub(whole, 0, n)).n, 0);
		memcpy(bent, human, sizeof bent);
		for (unsigned bit = 0; bit < 8; bit++) {
			bent[n] = (char)(human[n] ^ 1u << bit);
			assert_true(value("msgpack", str_of(bent, whole.n)).n <= 1);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_entries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_json_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msgpack_values, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
