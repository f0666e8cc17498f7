/* Trees of checkpoints, differences of states, messages as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cli/thread_diff.h"
#include "cli/thread_text.h"
#include "cli/thread_tree.h"

static int setup(void **state)
{
	struct arena *a = calloc(1, sizeof *a);
	assert_non_null(a);
	arena_init(a, 64 << 20);
	*state = a;
	return 0;
}

static int teardown(void **state)
{
	arena_release(*state);
	free(*state);
	return 0;
}

/* ---------------------------------------------------------------------- tree */

/* spec: "id<parent id<parent ...", newest first; returns the drawing with the ids behind the marks. */
static const char *drawn(struct arena *a, const char *spec)
{
	struct tree_row rows[100] = {0};
	struct str rest = str_c(spec), word;
	size_t n = 0, width;
	struct buf b;
	for (bool more = true; more; n++) {
		more = str_cut(rest, ' ', &word, &rest);
		str_cut(word, '<', &rows[n].id, &rows[n].parent);
		rows[n].head = n == 0;
	}
	assert_int_equal(tree_draw(a, rows, n, &width), OK);
	buf_init(&b, a, 1 << 20);
	for (size_t i = 0; i < n; i++) {
		if (rows[i].joins.n)
			buf_printf(&b, "%.*s\n", STR_ARG(rows[i].joins));
		buf_printf(&b, "%.*s %.*s\n", STR_ARG(rows[i].marks), STR_ARG(rows[i].id));
		assert_true(tree_width(rows[i].marks) <= width);
	}
	buf_byte(&b, '\0');
	return b.p;
}

static void test_chain(void **state)
{
	assert_string_equal(drawn(*state, "c<b b<a a"), "◉ c\n● b\n● a\n");
	assert_string_equal(drawn(*state, "a"), "◉ a\n");
}

static void test_fork(void **state)
{
	assert_string_equal(drawn(*state, "e<c d<b c<b b<a a"), "◉ e\n│ ● d\n● │ c\n├─╯\n● b\n● a\n");
	/* Three branches from one, and a branch of a branch. */
	assert_string_equal(drawn(*state, "d<a c<a b<a a"), "◉ d\n│ ● c\n│ │ ● b\n├─┴─╯\n● a\n");
	assert_string_equal(drawn(*state, "f<e g<d e<b d<b c<b b<a a"), "◉ f\n│ ● g\n● │ e\n│ ● d\n│ │ ● c\n├─┴─╯\n● b\n● a\n");
}

static void test_lines_that_cross(void **state)
{
	/* b joins a's first column over the open one of y. */
	assert_string_equal(drawn(*state, "d<a y<x b<a a x"), "◉ d\n│ ● y\n│ │ ● b\n├─┼─╯\n● │ a\n  ● x\n");
}

static void test_columns_are_used_again(void **state)
{
	/* x ends its column; the next tip gets it. */
	assert_string_equal(drawn(*state, "d<c x z<c c"), "◉ d\n│ ● x\n│ ● z\n├─╯\n● c\n");
}

static void test_parents_that_are_not_shown(void **state)
{
	assert_string_equal(drawn(*state, "c<b b<gone"), "◉ c\n● b\n");
	/* A child that sorts below its parent: the parent's row is past. */
	assert_string_equal(drawn(*state, "b<a c<b a"), "◉ b\n│ ● c\n● │ a\n");
}

static void test_loops_and_many_branches_end(void **state)
{
	struct arena *a = *state;
	struct tree_row *rows = calloc(500, sizeof *rows);
	size_t width;
	assert_string_equal(drawn(a, "a<a"), "◉ a\n");
	assert_non_null(rows);
	for (size_t i = 0; i < 500; i++) {
		rows[i].id = arena_printf(a, "tip%zu", i);
		rows[i].parent = arena_printf(a, "base%zu", i);
	}
	assert_int_equal(tree_draw(a, rows, 500, &width), OK);
	assert_int_equal(width, 127);
	free(rows);
}

static void test_short_ids(void **state)
{
	struct tree_row rows[] = {
		{.id = STR("1f1e0001-0006-6000")}, {.id = STR("1f1e0001-0005-6000")}, {.id = STR("1f1e0001-0006-6000")}};
	struct tree_row apart[] = {{.id = STR("aaaaaaaaaaaa")}, {.id = STR("baaaaaaaaaaa")}, {.id = STR("b")}};
	assert_int_equal(tree_short(*state, rows, 3), 13);
	assert_int_equal(tree_short(*state, apart, 3), 8);
	assert_int_equal(tree_short(*state, apart, 0), 8);
}

/* ---------------------------------------------------------------------- diff */

static struct jval value(struct arena *a, const char *text)
{
	struct json *doc = ARENA_NEW(a, struct json);
	assert_non_null(doc);
	assert_int_equal(json_parse(a, str_c(text), &json_default_limits, doc), OK);
	return json_root(doc);
}

static const char *diff(struct arena *a, const char *from, const char *to)
{
	struct diff_channel *d;
	struct buf b;
	struct jw w;
	size_t n;
	assert_int_equal(thread_diff(a, value(a, from), value(a, to), &d, &n), OK);
	buf_init(&b, a, 1 << 20);
	jw_init(&w, &b);
	diff_json(&w, d, n);
	buf_byte(&b, '\0');
	return b.p;
}

static void test_diff(void **state)
{
	static const char none[] = "{\"added\":{},\"removed\":{},\"changed\":{},\"appended\":{}}";
	assert_string_equal(diff(*state, "{\"a\":1}", "{\"a\":1.0}"), none);
	assert_string_equal(diff(*state, "{\"a\":{\"x\":1,\"y\":2}}", "{\"a\":{\"y\":2,\"x\":1}}"), none);
	assert_string_equal(diff(*state, "null", "null"), none);
	assert_string_equal(diff(*state, "{\"b\":1,\"gone\":null,\"m\":[1]}", "{\"m\":[1,2,3],\"b\":2,\"new\":[]}"),
			    "{\"added\":{\"new\":[]},\"removed\":{\"gone\":null},\"changed\":{\"b\":{\"from\":1,\"to\":2}},"
			    "\"appended\":{\"m\":[2,3]}}");
	/* Not only appended: changed. */
	assert_string_equal(diff(*state, "{\"m\":[1,2]}", "{\"m\":[0,2,3]}"),
			    "{\"added\":{},\"removed\":{},\"changed\":{\"m\":{\"from\":[1,2],\"to\":[0,2,3]}},\"appended\":{}}");
	assert_string_equal(diff(*state, "{\"m\":[1,2]}", "{\"m\":[1]}"),
			    "{\"added\":{},\"removed\":{},\"changed\":{\"m\":{\"from\":[1,2],\"to\":[1]}},\"appended\":{}}");
	assert_string_equal(diff(*state, "{\"m\":[]}", "{\"m\":[7]}"),
			    "{\"added\":{},\"removed\":{},\"changed\":{},\"appended\":{\"m\":[7]}}");
}

/* ---------------------------------------------------------------------- text */

static const char *message(struct arena *a, const char *text)
{
	struct buf b;
	buf_init(&b, a, 1 << 20);
	text_message(&b, a, value(a, text), 0, false);
	buf_byte(&b, '\0');
	return b.p;
}

static void test_messages(void **state)
{
	static const char *const t[][2] = {
		{"{\"type\":\"human\",\"content\":\"hi\"}", "human    hi\n"},
		{"{\"role\":\"user\",\"content\":\"a\\nb\",\"name\":\"Ann\"}", "user (Ann) a\n         b\n"},
		{"{\"lc\":1,\"type\":\"constructor\",\"id\":[\"x\",\"AIMessage\"],\"kwargs\":{\"content\":\"yes\",\"tool_calls\":[{"
		 "\"name\":"
		 "\"f\",\"args\":{\"x\":1}}]}}",
		 "ai       yes\n         \xe2\x86\x92 f({\"x\":1})\n"},
		{"{\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"one\"},{\"type\":\"input_image\"}]}",
		 "assistant one\n         [input_image]\n"},
		{"{\"type\":\"function_call\",\"name\":\"look\",\"arguments\":\"{}\"}", "function_call \xe2\x86\x92 look({})\n"},
		{"{\"type\":\"function_call_output\",\"output\":\"found\"}", "function_call_output found\n"},
		{"{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"hm\"}]}", "reasoning hm\n"},
		{"{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}",
		 "assistant \xe2\x86\x92 g({})\n"},
		{"{\"type\":\"human\",\"content\":\"\\u001b[2J\\u009b1mX\\u007f\"}", "human     [2J 1mX\n"},
	};
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		assert_true(text_is_message(value(*state, t[i][0])));
		assert_string_equal(message(*state, t[i][0]), t[i][1]);
	}
	assert_false(text_is_message(value(*state, "{\"type\":\"other\",\"content\":1}")));
	assert_false(text_is_message(value(*state, "[1]")));
	assert_false(text_is_message(value(*state, "\"x\"")));
}

static const char *shown(struct arena *a, const char *text, size_t width)
{
	struct buf b;
	buf_init(&b, a, 1 << 20);
	text_value(&b, a, value(a, text), width);
	buf_byte(&b, '\0');
	return b.p;
}

static void test_values(void **state)
{
	assert_string_equal(shown(*state, "\"abc\"", 3), "abc");
	assert_string_equal(shown(*state, "\"abcd\"", 3), "ab\xe2\x80\xa6");
	assert_string_equal(shown(*state, "\"\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f\"", 3), "\xc3\xa4\xc3\xb6\xe2\x80\xa6");
	assert_string_equal(shown(*state, "{\"a\":[1,2]}", 0), "{\"a\":[1,2]}");
	assert_string_equal(shown(*state, "\"a\\nb\\tc\"", 0), "a b c");
}

static void test_sizes_and_ages(void **state)
{
	struct buf b;
	int64_t day = 86400 * INT64_C(1000000);
	buf_init(&b, *state, 4096);
	text_bytes(&b, 1023);
	buf_lit(&b, "|");
	text_bytes(&b, 1536);
	buf_lit(&b, "|");
	text_bytes(&b, INT64_C(5) << 30);
	buf_lit(&b, "|");
	text_age(&b, STR("1970-01-01T00:00:00Z"), 3 * day + 1);
	buf_lit(&b, "|");
	text_age(&b, STR("1970-01-01T00:00:00Z"), day / 24 * 5);
	buf_lit(&b, "|");
	text_age(&b, STR("1970-01-01T00:00:00Z"), 500000);
	buf_lit(&b, "|");
	text_age(&b, STR(""), 0);
	buf_byte(&b, '\0');
	assert_string_equal(b.p, "1023 B|1.5 KiB|5.0 GiB|3d|5h|now|");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_chain),
		T(test_fork),
		T(test_lines_that_cross),
		T(test_columns_are_used_again),
		T(test_parents_that_are_not_shown),
		T(test_loops_and_many_branches_end),
		T(test_short_ids),
		T(test_diff),
		T(test_messages),
		T(test_values),
		T(test_sizes_and_ages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
