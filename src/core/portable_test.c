/* Import and export: lines in, lines out, the same lines again; errors by line; what exists already. */
#include "base/clock.h"
#include "core/portable.h"
#include "core/testing.h"

static const char lines[] =
	"{\"namespace\":[\"a\"],\"key\":\"k1\",\"value\":{\"x\": 1.50, \"y\":[ ]},\"created_at\":\"2026-01-01T00:00:00.000001Z\","
	"\"updated_at\":\"2026-01-02T00:00:00.000000Z\"}\n"
	"{\"namespace\":[\"a\",\"b\"],\"key\":\"k2\",\"value\":{\"t\":\"\\u00e9\"},\"created_at\":\"2026-01-01T00:00:00.000000Z\","
	"\"updated_at\":\"2026-01-02T00:00:00.000000Z\",\"ttl_minutes\":1.5}\n"
	"{\"namespace\":[\"b\"],\"key\":\"k\",\"value\":{},\"created_at\":\"2026-01-01T00:00:00.000000Z\","
	"\"updated_at\":\"2026-01-02T00:00:00.000000Z\",\"ttl_minutes\":2,\"expires_at\":\"2030-01-01T00:00:00.000000Z\"}\n"
	"{\"thread\":\"t1\",\"id\":\"m1\",\"user\":\"u\",\"role\":\"user\",\"content\":\"hi\",\"time\":\"2026-01-01T00:00:00."
	"000000Z\"}\n"
	"{\"thread\":\"t1\",\"id\":\"m2\",\"user\":\"u\",\"role\":\"assistant\",\"content\":\"\",\"metadata\":{\"a\": 1}}\n"
	"{\"thread\":\"t2\",\"id\":\"m1\",\"role\":\"tool\",\"name\":\"n\",\"content\":\"hi\"}\n";

static struct import_result import_as(struct bench *b, const struct principal *who, const char *text, enum import_conflict how)
{
	struct import_result r;

	OKAY(portable_import(b->m, &b->a, who, str_c(text), how, false, &r));
	return r;
}

static void counts(struct import_result r, size_t stored, size_t unchanged, size_t failed)
{
	if (r.failed > failed)
		print_error("line %zu: %.*s\n", r.errors[0].line, STR_ARG(r.errors[0].detail));
	assert_int_equal(r.stored, stored);
	assert_int_equal(r.unchanged, unchanged);
	assert_int_equal(r.failed, failed);
}

static struct str export_as(struct bench *b, const struct principal *who, struct export_state st)
{
	struct buf out;

	buf_init(&out, &b->a, 64 << 20);
	while (!st.done)
		OKAY(portable_export(b->m, who, &st, &out));
	return buf_slice(&out);
}

static const struct export_state everything = {.items = true, .messages = true};

static void there_and_back(void **state)
{
	struct bench b, c;
	struct str out;

	bench_init(&b);
	bench_init(&c);
	counts(import_as(&b, &ann, lines, IMPORT_REPLACE), 6, 0, 0);
	out = export_as(&b, &ann, everything);
	assert_string_equal(arena_cstr(&b.a, out), lines);
	for (int how = IMPORT_REPLACE; how <= IMPORT_FAIL; how++)
		counts(import_as(&b, &ann, lines, (enum import_conflict)how), 0, 6, 0);
	assert_true(str_eq(export_as(&b, &ann, everything), out));
	counts(import_as(&c, &other, lines, IMPORT_FAIL), 6, 0, 0);
	assert_true(str_eq(export_as(&c, &other, everything), out));
	assert_int_equal(export_as(&c, &ann, everything).n, 0); /* another tenant */
	bench_release(&b);
	bench_release(&c);
}

static void parts(void **state)
{
	struct export_state st = everything;
	struct bench b;
	struct str out;

	bench_init(&b);
	import_as(&b, &ann, lines, IMPORT_REPLACE);
	st.messages = false;
	st.prefix = STR("a");
	out = export_as(&b, &ann, st);
	assert_true(str_starts(STR(lines), out));
	assert_true(str_ends(out, STR("1.5}\n")));
	st = everything;
	st.items = false;
	out = export_as(&b, &ann, st);
	assert_true(str_ends(STR(lines), out));
	assert_true(str_starts(out, STR("{\"thread\":\"t1\"")));
	bench_release(&b);
}

static void many_chunks(void **state)
{
	struct bench b;
	struct buf text;
	struct str out;

	bench_init(&b);
	buf_init(&text, &b.a, 16 << 20);
	for (int i = 0; i < 4000; i++)
		buf_printf(&text,
			   "{\"namespace\":[\"n\"],\"key\":\"k%05d\",\"value\":{\"i\":%d},\"created_at\":\"2026-01-01T00:00:00."
			   "000000Z\","
			   "\"updated_at\":\"2026-01-02T00:00:00.%06dZ\"}\n",
			   i, i, i);
	for (int i = 0; i < 1000; i++)
		buf_printf(&text, "{\"thread\":\"t%d\",\"id\":\"m%04d\",\"role\":\"user\",\"content\":\"c%d\"}\n", i / 600, i, i);
	counts(import_as(&b, &ann, arena_cstr(&b.a, buf_slice(&text)), IMPORT_REPLACE), 5000, 0, 0);
	out = export_as(&b, &ann, everything);
	assert_true(str_eq(out, buf_slice(&text)));
	bench_release(&b);
}

static void line_breaks_in_values(void **state)
{
	struct export_state st = {.items = true};
	struct bench b;
	struct str out;

	bench_init(&b);
	put(&b, "a", "k", "{\r\n  \"x\": \"a\\nb\",\n\t\"y\": 2\n}");
	out = export_as(&b, &ann, st);
	assert_int_equal(str_chr(out, '\n', 0), out.n - 1);
	counts(import_as(&b, &other, arena_cstr(&b.a, out), IMPORT_FAIL), 1, 0, 0);
	assert_string_equal(value_as(&b, &other, "a", "k"), "{    \"x\": \"a\\nb\", \t\"y\": 2 }");
	assert_true(str_eq(export_as(&b, &other, st), out));
	bench_release(&b);
}

static void existing_items(void **state)
{
	static const char line[] = "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{\"v\":2}}\n";
	struct import_result r;
	struct bench b;

	bench_init(&b);
	put(&b, "a", "k", "{\"v\":1}");
	counts(import_as(&b, &ann, line, IMPORT_SKIP), 0, 1, 0);
	assert_string_equal(value_as(&b, &ann, "a", "k"), "{\"v\":1}");
	r = import_as(&b, &ann, line, IMPORT_FAIL);
	counts(r, 0, 0, 1);
	assert_int_equal(r.errors[0].line, 1);
	assert_true(str_eq(r.errors[0].field, STR("/key")));
	counts(import_as(&b, &ann, line, IMPORT_REPLACE), 1, 0, 0);
	assert_string_equal(value_as(&b, &ann, "a", "k"), "{\"v\":2}");
	counts(import_as(&b, &ann, line, IMPORT_REPLACE), 0, 1, 0);
	bench_release(&b);
}

static void one_name_many_lines(void **state)
{
	static const char text[] = "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{\"v\":1}}\n"
				   "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{\"v\":2}}\n"
				   "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{\"v\":2}}\n"
				   "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{\"v\":3}}";
	struct bench b;

	bench_init(&b);
	counts(import_as(&b, &ann, text, IMPORT_REPLACE), 3, 1, 0);
	assert_string_equal(value_as(&b, &ann, "a", "k"), "{\"v\":3}");
	bench_release(&b);
}

static void errors_by_line(void **state)
{
	static const char text[] = "{\"cenote_export\":1,\"items\":2}\n"
				   "\n"
				   "{\"namespace\":[\"a\"],\"key\":\"good\",\"value\":{}}\r\n"
				   "{\"namespace\":[\"a\"],\"key\":\"k\"}\n"
				   "not json\n"
				   "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{},\"more\":1}\n"
				   "5\n"
				   "{\"thread\":\"t\",\"role\":\"robot\",\"content\":\"\"}\n"
				   "{\"thread\":\"t\",\"role\":\"user\",\"content\":\"x\",\"user\":\"a\"}\n"
				   "{\"thread\":\"t\",\"role\":\"user\",\"content\":\"y\",\"user\":\"b\"}\n"
				   "{\"thread\":\"t\",\"role\":\"user\",\"content\":\"z\",\"user\":\"a\"}\n"
				   "{\"namespace\":[],\"key\":\"k\",\"value\":{}}\n"
				   "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{},\"ttl_minutes\":-1}\n";
	static const size_t numbers[] = {4, 5, 6, 7, 8, 10, 12, 13};
	static const char *const fields[] = {"/value", "", "/more", "", "/role", "", "/namespace", "/ttl_minutes"};
	struct import_result r;
	struct bench b;

	bench_init(&b);
	r = import_as(&b, &ann, text, IMPORT_REPLACE);
	counts(r, 3, 0, 8);
	for (size_t i = 0; i < r.failed; i++) {
		assert_int_equal(r.errors[i].line, numbers[i]);
		assert_string_equal(r.errors[i].field.p, fields[i]);
		assert_true(r.errors[i].detail.n > 0);
	}
	OKAY(portable_import(b.m, &b.a, &ann, STR("{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{},\"more\":1}"), IMPORT_REPLACE,
			     true, &r));
	counts(r, 1, 0, 0);
	bench_release(&b);
}

static void messages_again(void **state)
{
	static const char text[] = "{\"thread\":\"t\",\"role\":\"user\",\"content\":\"ok\"}\n"
				   "{\"thread\":\"t\",\"role\":\"assistant\",\"content\":\"fine\"}\n"
				   "{\"thread\":\"t\",\"role\":\"user\",\"content\":\"ok\"}\n";
	struct bench b;

	bench_init(&b);
	counts(import_as(&b, &ann, text, IMPORT_REPLACE), 3, 0, 0);
	counts(import_as(&b, &ann, text, IMPORT_REPLACE), 0, 3, 0);
	bench_release(&b);
}

static void who_may(void **state)
{
	static const char text[] = "{\"namespace\":[\"m\",\"bob-at-example-com\"],\"key\":\"k\",\"value\":{}}\n"
				   "{\"namespace\":[\"m\",\"ann\"],\"key\":\"k\",\"value\":{}}\n"
				   "{\"thread\":\"mine\",\"role\":\"user\",\"content\":\"x\"}\n"
				   "{\"thread\":\"hers\",\"role\":\"user\",\"content\":\"x\",\"user\":\"ann\"}\n";
	struct export_state st = everything;
	struct import_result r;
	struct bench b;
	struct buf out;

	bench_init(&b);
	import_as(&b, &ann, lines, IMPORT_REPLACE);
	r = import_as(&b, &bound, text, IMPORT_REPLACE);
	counts(r, 2, 0, 2);
	assert_int_equal(r.errors[0].line, 2);
	assert_int_equal(r.errors[1].line, 4);
	assert_string_equal(r.errors[1].field.p, "/user");
	FAILS(portable_import(b.m, &b.a, &reader, STR(text), IMPORT_REPLACE, false, &r), E_DENIED);
	buf_init(&out, &b.a, 1 << 20);
	FAILS(portable_export(b.m, &bound, &st, &out), E_DENIED);
	st = (struct export_state){.messages = true};
	assert_true(str_starts(export_as(&b, &bound, st), STR("{\"thread\":\"mine\"")));
	assert_true(export_as(&b, &bound, st).n < 120);
	bench_release(&b);
}

static void limits(void **state)
{
	struct import_result r;
	struct bench b;
	char *text;

	bench_init(&b);
	text = arena_alloc(&b.a, IMPORT_MAX_LINES + 3);
	memset(text, '\n', IMPORT_MAX_LINES + 2);
	OKAY(portable_import(b.m, &b.a, &ann, str_of(text, IMPORT_MAX_LINES), IMPORT_REPLACE, false, &r));
	FAILS(portable_import(b.m, &b.a, &ann, str_of(text, IMPORT_MAX_LINES + 2), IMPORT_REPLACE, false, &r), E_LIMIT);
	OKAY(portable_import(b.m, &b.a, &ann, STR(""), IMPORT_REPLACE, false, &r));
	fake_store_fail(b.store, E_IO, 1);
	FAILS(portable_import(b.m, &b.a, &ann, STR(lines), IMPORT_REPLACE, false, &r), E_IO);
	counts(import_as(&b, &ann, lines, IMPORT_REPLACE), 6, 0, 0);
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back), cmocka_unit_test(parts),
		cmocka_unit_test(many_chunks),	  cmocka_unit_test(line_breaks_in_values),
		cmocka_unit_test(existing_items), cmocka_unit_test(one_name_many_lines),
		cmocka_unit_test(errors_by_line), cmocka_unit_test(messages_again),
		cmocka_unit_test(who_may),	  cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
