/* Functions of Unity Catalog as tools, without a workspace: names, types, schemas, statements, answers. */
#include "base/test_util.h"

#include <stdlib.h>

#include "tool/uc_impl.h"

static struct jval parse(struct arena *a, const char *text)
{
	struct json *doc = ARENA_NEW(a, struct json);

	OKAY(json_parse(a, str_c(text), &json_default_limits, doc));
	return json_root(doc);
}

/* ------------------------------------------------------------------------- names */

static void test_names(void **state)
{
	static const struct {
		const char *full, *tool;
	} t[] = {
		{"main.tools.add", "main__tools__add"},
		{"a b.\xc3\xa9.c`d-e", "a_b______c_d-e"},
		{"catalog_of_twenty_by.schema_of_twenty_five_b.function_of_twenty_seven_b",
		 "og_of_twenty_by__schema_of_twenty_five_b__function_of_twenty_seven_b"},
	};
	static const char *const wrong[] = {"",	    "a",       "a.b",	  "a.b.c.d", "a..c", ".b.c",
					    "a.b.", "a.b c.d", "a.b/c.d", "a.b.c\n", "a.b.*"};
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct str full = str_c(t[i].full), want = str_c(t[i].tool), got = uc_tool_name(&a, full);

		assert_true(tool_name_ok(got));
		assert_str(got, str_sub(want, want.n > 64 ? want.n - 64 : 0, want.n).p);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct str one = str_c(wrong[i]);

		if (uc_names_check(&one, 1) != E_INVALID)
			fail_msg("accepted: %s", wrong[i]);
	}
	arena_release(&a);
}

/* ------------------------------------------------------------------------- types */

static const struct {
	const char *text, *schema, *sql; /* schema NULL: there is none */
	enum uc_form form;
} types[] = {
	{"string", "{\"type\":\"string\"}", "STRING", UC_TEXT},
	{"STRING COLLATE UTF8_LCASE", "{\"type\":\"string\"}", "STRING", UC_TEXT},
	{"varchar(20)", "{\"type\":\"string\"}", "STRING", UC_TEXT},
	{"tinyint", "{\"type\":\"integer\",\"minimum\":-128,\"maximum\":127}", "TINYINT", UC_WHOLE},
	{"LONG", "{\"type\":\"integer\"}", "BIGINT", UC_WHOLE},
	{"decimal(10, 2)", "{\"type\":\"number\"}", "DECIMAL(10, 2)", UC_NUMBER},
	{"boolean", "{\"type\":\"boolean\"}", "BOOLEAN", UC_NUMBER},
	{"timestamp", "{\"type\":\"string\",\"format\":\"date-time\"}", "TIMESTAMP", UC_TEXT},
	{"binary", "{\"type\":\"string\",\"format\":\"byte\"}", "STRING", UC_BINARY},
	{"variant", "{}", "STRING", UC_VARIANT},
	{"array< array<double> >", "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"number\"}}}", "STRING",
	 UC_JSON},
	{"map<string,decimal(3,1)>", "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\"}}", "STRING", UC_JSON},
	{"struct<a:string NOT NULL, `b ``<c`:variant>",
	 "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},\"b `<c\":{}}}", "STRING", UC_JSON},
	{"", NULL, NULL, 0},
	{"interval day", NULL, NULL, 0},
	{"string x", NULL, NULL, 0},
	{"array", NULL, NULL, 0},
	{"array<int", NULL, NULL, 0},
	{"array<int>>", NULL, NULL, 0},
	{"array<>", NULL, NULL, 0},
	{"map<int>", NULL, NULL, 0},
	{"struct<a int>", NULL, NULL, 0},
	{"struct<`a:int>", NULL, NULL, 0},
	{"decimal(10", NULL, NULL, 0},
	{"struct<`a'`:int>", NULL, NULL, 0},
	{"array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<int>>>>>>>>"
	 ">>>>>>>>>",
	 NULL, NULL, 0},
};

static void test_types(void **state)
{
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		struct uc_type type;
		struct buf b;
		struct jw w;
		enum err e;

		buf_init(&b, &a, 4096);
		jw_init(&w, &b);
		jw_obj(&w);
		e = uc_type_read(&a, str_c(types[i].text), &w, &type);
		if ((e == OK) != (types[i].schema != NULL))
			fail_msg("%s: %s", types[i].text, e == OK ? "accepted" : diag_get()->text);
		if (e != OK)
			continue;
		jw_end_obj(&w);
		assert_str(buf_slice(&b), types[i].schema);
		assert_str(type.sql, types[i].sql);
		assert_int_equal(type.form, types[i].form);
	}
	arena_release(&a);
}

/* --------------------------------------------------------------------- functions */

static enum err read(struct arena *a, const char *info, struct uc_function *f)
{
	struct arena theirs;
	char *text = strdup(info);
	enum err e;

	/* What is kept of it does not lie in it. */
	arena_init(&theirs, 1 << 20);
	*f = (struct uc_function){.full = STR("c`.s.f")};
	e = uc_function_read(a, parse(&theirs, text), f);
	arena_release(&theirs);
	memset(text, 'x', strlen(text));
	free(text);
	return e;
}

static void test_functions(void **state)
{
	static const char *const wrong[][2] = {
		{"{\"input_params\":{\"parameters\":{}}}", "no list"},
		{"{\"input_params\":{\"parameters\":[{}]}}", "parameter \"\""},
		{"{\"input_params\":{\"parameters\":[{\"name\":\"a b\",\"type_text\":\"int\"}]}}", "parameter \"a b\""},
		{"{\"input_params\":{\"parameters\":[{\"name\":\"1\",\"type_text\":\"int\"}]}}", "begins with a digit"},
		{"{\"input_params\":{\"parameters\":[{\"name\":\"a\"}]}}", "parameter a: there is no argument for the type "},
		{"{\"input_params\":{\"parameters\":[{\"name\":\"a\",\"type_text\":\"int\"},{\"name\":\"A\",\"type_text\":\"int\"}]"
		 "}}",
		 "two parameters"},
	};
	struct uc_function f;
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		assert_int_equal(read(&a, wrong[i][0], &f), E_INVALID);
		if (!strstr(diag_get()->text, wrong[i][1]))
			fail_msg("%s: %s", wrong[i][0], diag_get()->text);
	}
	OKAY(read(&a, "{\"comment\":\" \",\"data_type\":\"INT\"}", &f));
	assert_str(f.tool.description, "The function c`.s.f.");
	assert_str(f.tool.parameters, "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}");
	assert_false(f.table);
	/* Of what is no text nothing is taken; the order is that of the positions. */
	OKAY(read(&a,
		  "{\"comment\":7,\"data_type\":\"TABLE_TYPE\",\"input_params\":{\"parameters\":[{\"name\":\"b\",\"type_name\":"
		  "\"INT\","
		  "\"position\":1,\"comment\":[]},{\"name\":\"a\",\"type_text\":\"date\",\"position\":0,\"comment\":\"x\"}]}}",
		  &f));
	assert_str(f.v[0].name, "a");
	assert_true(f.table);
	assert_str(f.tool.parameters,
		   "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"format\":\"date\",\"description\":\"x\"},"
		   "\"b\":{\"type\":\"integer\",\"minimum\":-2147483648,\"maximum\":2147483647}},\"required\":[\"a\",\"b\"],"
		   "\"additionalProperties\":false}");
	arena_release(&a);
}

static void test_statements(void **state)
{
	static const struct {
		const char *arguments, *text, *values;
	} t[] = {
		{"{\"a\":\"x\"}", "SELECT `c```.`s`.`f`(:a)", "a STRING x|"},
		{"{\"b\":1e2,\"a\":\"') --\"}", "SELECT `c```.`s`.`f`(:a, :b)", "a STRING ') --|b BIGINT 100|"},
		{"{\"a\":\"\",\"c\":{\"k\":[1.50]}}", "SELECT `c```.`s`.`f`(:a, `c` => from_json(:c, 'map<string,array<double>>'))",
		 "a STRING |c STRING {\"k\":[1.50]}|"},
		{"{\"a\":\"x\",\"d\":true}", "SELECT `c```.`s`.`f`(:a, `d` => :d)", "a STRING x|d BOOLEAN true|"},
	};
	struct uc_function f;
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	OKAY(read(&a,
		  "{\"input_params\":{\"parameters\":[{\"name\":\"a\",\"type_text\":\"string\"},{\"name\":\"b\",\"type_text\":"
		  "\"bigint\","
		  "\"parameter_default\":\"1\"},{\"name\":\"c\",\"type_text\":\"map<string,array<double>>\",\"parameter_default\":"
		  "\"NULL\"},"
		  "{\"name\":\"d\",\"type_text\":\"boolean\",\"parameter_default\":\"false\"}]}}",
		  &f));
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct jval schema = parse(&a, arena_cstr(&a, f.tool.parameters)), arguments = parse(&a, t[i].arguments);
		struct sql_statement s = {.n = 0};
		struct buf b;

		OKAY(tool_schema_fits(&a, schema, arguments));
		OKAY(uc_statement(&f, &a, arguments, &s));
		assert_str(s.text, t[i].text);
		buf_init(&b, &a, 4096);
		for (size_t k = 0; k < s.n; k++)
			buf_printf(&b, "%.*s %.*s %.*s|", STR_ARG(s.v[k].name), STR_ARG(s.v[k].type), STR_ARG(s.v[k].value));
		assert_str(buf_slice(&b), t[i].values);
	}
	arena_release(&a);
}

/* ----------------------------------------------------------------------- answers */

static void test_answers(void **state)
{
	struct sql_column columns[] = {{STR_INIT("a\"b"), STR_INIT("INT")}, {STR_INIT("c"), STR_INIT("STRUCT")}};
	struct sql_table t = {.columns = columns, .columns_n = 2, .total = 9};
	struct uc_function f = {.table = true};
	struct uc_answer x;
	struct arena a;
	struct str text;
	bool enough = false;
	(void)state;

	arena_init(&a, 1 << 20);
	uc_answer_init(&x, &f, &a, 110);
	OKAY(uc_answer_row(&x, &t, parse(&a, "[\"-7\",\"{\\\"x\\\": 1}\"]"), &enough));
	assert_false(enough);
	OKAY(uc_answer_row(&x, &t, parse(&a, "[\"Infinity\",null]"), &enough));
	assert_true(enough);
	OKAY(uc_answer_end(&x, &t, &text));
	assert_str(text, "[{\"a\\\"b\":-7,\"c\":{\"x\": 1}}]\n[the first 1 rows of 9]");
	f.table = enough = false;
	uc_answer_init(&x, &f, &a, 110);
	OKAY(uc_answer_row(&x, &t, parse(&a, "[\"a\\nb\",null]"), &enough));
	assert_true(enough);
	OKAY(uc_answer_end(&x, &t, &text));
	assert_str(text, "a\nb");
	uc_answer_init(&x, &f, &a, 110);
	OKAY(uc_answer_row(&x, &t, parse(&a, "[\"\\u0000\"]"), &enough));
	assert_int_equal(uc_answer_end(&x, &t, &text), E_UPSTREAM);
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),	   cmocka_unit_test(test_types),   cmocka_unit_test(test_functions),
		cmocka_unit_test(test_statements), cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
