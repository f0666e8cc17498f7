#include "core/filter.h"
#include "core/testing.h"

struct row {
	const char *filter, *value;
	bool match;
};

#define V                                                                                                                          \
	"{\"n\":9,\"f\":9.5,\"s\":\"m\",\"t\":true,\"z\":null,\"a\":[1,2],\"o\":{\"b\":5,\"c\":{\"d\":\"x\"}},\"e\":{},\"\":1,\"$" \
	"k\":2,\"x/y~z\":3}"

static const struct row table[] = {
	/* nothing to hold */
	{"null", V, true},
	{"{}", V, true},
	{"{\"n\":{}}", V, true},
	{"{\"missing\":{}}", V, true},
	{"{\"o\":{\"b\":{}}}", V, true},
	/* equality */
	{"{\"n\":9}", V, true},
	{"{\"n\":9.0}", V, true},
	{"{\"n\":90e-1}", V, true},
	{"{\"n\":\"9\"}", V, false},
	{"{\"n\":8}", V, false},
	{"{\"f\":9.5}", V, true},
	{"{\"s\":\"m\"}", V, true},
	{"{\"s\":\"\\u006d\"}", V, true},
	{"{\"s\":\"M\"}", V, false},
	{"{\"t\":true}", V, true},
	{"{\"t\":1}", V, false},
	{"{\"t\":false}", V, false},
	{"{\"z\":null}", V, true},
	{"{\"missing\":null}", V, false},
	{"{\"n\":null}", V, false},
	{"{\"a\":[1,2]}", V, true},
	{"{\"a\":[1.0,2]}", V, true},
	{"{\"a\":[2,1]}", V, false},
	{"{\"a\":[1]}", V, false},
	{"{\"a\":1}", V, false},
	{"{\"\":1}", V, true},
	{"{\"$k\":2}", V, true},
	{"{\"n\":9,\"s\":\"m\"}", V, true},
	{"{\"n\":9,\"s\":\"q\"}", V, false},
	{"{\"big\":12345678901234567890}", "{\"big\":12345678901234567891}", false},
	{"{\"big\":12345678901234567890}", "{\"big\":12345678901234567890}", true},
	/* $eq, $ne */
	{"{\"n\":{\"$eq\":9}}", V, true},
	{"{\"n\":{\"$eq\":8}}", V, false},
	{"{\"o\":{\"$eq\":{\"c\":{\"d\":\"x\"},\"b\":5}}}", V, true},
	{"{\"o\":{\"$eq\":{\"b\":5}}}", V, false},
	{"{\"e\":{\"$eq\":{}}}", V, true},
	{"{\"z\":{\"$eq\":null}}", V, true},
	{"{\"missing\":{\"$eq\":null}}", V, false},
	{"{\"n\":{\"$ne\":8}}", V, true},
	{"{\"n\":{\"$ne\":9}}", V, false},
	{"{\"n\":{\"$ne\":\"9\"}}", V, true},
	{"{\"missing\":{\"$ne\":1}}", V, false},
	{"{\"z\":{\"$ne\":1}}", V, true},
	/* order */
	{"{\"n\":{\"$gt\":8}}", V, true},
	{"{\"n\":{\"$gt\":9}}", V, false},
	{"{\"n\":{\"$gt\":10}}", V, false}, /* as text 9 would be greater */
	{"{\"n\":{\"$gte\":9}}", V, true},
	{"{\"n\":{\"$gte\":9.5}}", V, false},
	{"{\"n\":{\"$lt\":10}}", V, true},
	{"{\"n\":{\"$lt\":9}}", V, false},
	{"{\"n\":{\"$lte\":9}}", V, true},
	{"{\"n\":{\"$lte\":8.99}}", V, false},
	{"{\"n\":{\"$gt\":5,\"$lt\":10}}", V, true},
	{"{\"n\":{\"$gt\":5,\"$lt\":9}}", V, false},
	{"{\"n\":{\"$gt\":-1e300}}", V, true},
	{"{\"s\":{\"$gt\":\"a\"}}", V, true},
	{"{\"s\":{\"$lt\":\"z\"}}", V, true},
	{"{\"s\":{\"$gt\":\"Z\"}}", V, true}, /* by code point */
	{"{\"s\":{\"$lt\":\"\xc3\xa9\"}}", V, true},
	{"{\"s\":{\"$gt\":5}}", V, false},
	{"{\"n\":{\"$gt\":\"5\"}}", V, false},
	{"{\"t\":{\"$gt\":false}}", V, false},
	{"{\"z\":{\"$lte\":null}}", V, false},
	{"{\"a\":{\"$gt\":[0]}}", V, false},
	{"{\"missing\":{\"$lt\":5}}", V, false},
	{"{\"missing\":{\"$gte\":5}}", V, false},
	/* nested */
	{"{\"o\":{\"b\":5}}", V, true},
	{"{\"o\":{\"b\":6}}", V, false},
	{"{\"o\":{\"b\":{\"$gt\":4}}}", V, true},
	{"{\"o\":{\"c\":{\"d\":\"x\"}}}", V, true},
	{"{\"o\":{\"c\":{\"d\":{\"$ne\":\"x\"}}}}", V, false},
	{"{\"o\":{\"b\":5,\"c\":{\"d\":\"x\"}}}", V, true},
	{"{\"o\":{\"b\":5,\"c\":{\"d\":\"y\"}}}", V, false},
	{"{\"o\":{\"missing\":{\"$ne\":1}}}", V, false},
	{"{\"n\":{\"b\":5}}", V, false},
	{"{\"a\":{\"0\":1}}", V, false},
	{"{\"missing\":{\"b\":null}}", V, false},
};

static void matches(void **state)
{
	struct arena a, scratch;

	arena_init(&a, 1 << 20);
	arena_init(&scratch, 1 << 20);
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct filter *f;
		bool match = !table[i].match;

		OKAY(filter_compile(&a, parsed(&a, table[i].filter), "/filter", &f));
		OKAY(filter_match(f, &scratch, str_c(table[i].value), &match));
		if (match != table[i].match)
			fail_msg("%s on %s: %d", table[i].filter, table[i].value, match);
		arena_clear(&a);
		arena_clear(&scratch);
	}
	arena_release(&a);
	arena_release(&scratch);
}

static void refusals(void **state)
{
	static const struct {
		const char *filter, *field;
	} bad[] = {
		{"[]", "/filter"},
		{"5", "/filter"},
		{"\"x\"", "/filter"},
		{"{\"a\":{\"$in\":[1]}}", "/filter/a/$in"},
		{"{\"a\":{\"$\":1}}", "/filter/a/$"},
		{"{\"a\":{\"$GT\":1}}", "/filter/a/$GT"},
		{"{\"a\":{\"$gt\":1,\"b\":2}}", "/filter/a"},
		{"{\"a\":{\"b\":2,\"$gt\":1}}", "/filter/a"},
		{"{\"a\":{\"b\":{\"$or\":1}}}", "/filter/a/b/$or"},
		{"{\"x/y~z\":{\"$nope\":1}}", "/filter/x~1y~0z/$nope"},
	};
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct filter *f;

		FAILS(filter_compile(&a, parsed(&a, bad[i].filter), "/filter", &f), E_INVALID);
		assert_string_equal(diag_get()->field, bad[i].field);
		assert_null(f);
	}
	arena_release(&a);
}

static void limits_and_absence(void **state)
{
	struct arena a;
	struct buf b;
	struct filter *f = (struct filter *)&a;

	arena_init(&a, 8 << 20);
	OKAY(filter_compile(&a, (struct jval){0}, "/filter", &f));
	assert_null(f);
	for (unsigned n = FILTER_MAX_CONDITIONS; n <= FILTER_MAX_CONDITIONS + 1; n++) {
		buf_init(&b, &a, 1 << 20);
		for (unsigned i = 0; i < n; i++)
			buf_printf(&b, "%s\"m%u\":1", i ? "," : "{", i);
		buf_lit(&b, "}");
		buf_byte(&b, 0);
		assert_string_equal(err_name(filter_compile(&a, parsed(&a, b.p), "/filter", &f)),
				    n > FILTER_MAX_CONDITIONS ? "invalid" : "ok");
	}
	arena_release(&a);
}

static void stored_garbage_is_corrupt(void **state)
{
	struct arena a;
	struct filter *f;
	bool match;

	arena_init(&a, 1 << 20);
	OKAY(filter_compile(&a, parsed(&a, "{\"a\":1}"), "", &f));
	FAILS(filter_match(f, &a, STR("{\"a\":"), &match), E_CORRUPT);
	OKAY(filter_match(NULL, &a, STR("{\"a\":"), &match));
	assert_true(match);
	arena_release(&a);
}

/* ------------------------------------------------------------- containment */

static void containment(void **state)
{
	static const struct {
		const char *filter, *contains;
	} cases[] = {
		{"{}", ""},
		{"{\"n\":{\"$gt\":5}}", ""},
		{"{\"n\":{\"$ne\":5}}", ""},
		{"{\"n\":9}", "{\"n\":9}"},
		{"{\"n\":{\"$eq\": [1, {\"x\":null}]}}", "{\"n\":[1, {\"x\":null}]}"},
		{"{\"a\":{\"b\":5}}", "{\"a\":{\"b\":5}}"},
		{"{\"a\":{\"b\":5,\"c\":6},\"d\":7}", "{\"a\":{\"b\":5,\"c\":6},\"d\":7}"},
		{"{\"a\":{\"b\":{\"c\":1,\"d\":{\"e\":2}},\"f\":3},\"g\":{\"h\":4}}",
		 "{\"a\":{\"b\":{\"c\":1,\"d\":{\"e\":2}},\"f\":3},\"g\":{\"h\":4}}"},
		{"{\"a\":{\"b\":{\"$gt\":1},\"c\":2},\"d\":{\"$lt\":3}}", "{\"a\":{\"c\":2}}"},
		{"{\"\":1,\"x\\\"y\":2}", "{\"\":1,\"x\\\"y\":2}"},
		{"{\"a\":{\"$eq\":1,\"$gt\":0}}", "{\"a\":1}"},
		/* what PostgreSQL cannot hold */
		{"{\"a\":\"x\\u0000\",\"b\":1}", "{\"b\":1}"},
		{"{\"a\":{\"$eq\":{\"k\\u0000\":1}},\"b\":1}", "{\"b\":1}"},
		{"{\"a\\u0000\":1,\"b\":1}", "{\"b\":1}"},
		{"{\"a\":1e400000,\"b\":1e308}", "{\"b\":1e308}"},
		{"{\"a\":[1,-2.5E-99999],\"b\":1}", "{\"b\":1}"},
	};
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct filter *f;
		struct str got;

		OKAY(filter_compile(&a, parsed(&a, cases[i].filter), "", &f));
		OKAY(filter_contains(f, &a, &got));
		if (!str_eq(got, str_c(cases[i].contains)))
			fail_msg("%s: %.*s, not %s", cases[i].filter, STR_ARG(got), cases[i].contains);
	}
	arena_release(&a);
}

/* Containment of jsonb below the top: objects by member, arrays as sets, the rest by equality. */
static bool holds(struct jval v, struct jval part)
{
	struct jval key, x, y;

	if (j_is(part, JSON_OBJECT)) {
		if (!j_is(v, JSON_OBJECT))
			return false;
		for (struct j_iter it = j_iter(part); j_next(&it, &key, &x);) {
			struct str raw = j_raw(key);

			y = j_get(v, str_sub(raw, 1, raw.n - 1)); /* without escapes here */
			if (!j_ok(y) || !holds(y, x))
				return false;
		}
		return true;
	}
	if (!j_is(part, JSON_ARRAY))
		return j_equal(v, part);
	if (!j_is(v, JSON_ARRAY))
		return false;
	for (struct j_iter it = j_iter(part); j_next(&it, NULL, &x);) {
		bool any = false;

		for (struct j_iter of = j_iter(v); !any && j_next(&of, NULL, &y);)
			any = holds(y, x);
		if (!any)
			return false;
	}
	return true;
}

static uint32_t seed = 20260821;

static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 16) % sides;
}

/* A random value; op: an object's place may hold operators instead. */
static void random_value(struct buf *b, unsigned depth, bool op)
{
	static const char *const plain[] = {"1", "1.0", "2", "\"x\"", "\"y\"", "null", "true"};
	static const char *const names[] = {"a", "b", "c"};
	static const char *const ops[] = {"$eq", "$ne", "$gt", "$lte"};
	uint32_t kind = depth >= 3 ? 0 : dice(6), from = dice(3), n = 1 + dice(3);

	if (op && depth > 0 && kind == 1) {
		buf_printf(b, "{\"%s\":", ops[dice(4)]);
		random_value(b, depth + 1, false);
		buf_lit(b, "}");
	} else if (kind == 2) {
		buf_lit(b, "[");
		for (uint32_t i = 0; i < n; i++) {
			buf_lit(b, i ? "," : "");
			random_value(b, depth + 1, false);
		}
		buf_lit(b, "]");
	} else if (depth == 0 || kind >= 3) {
		for (uint32_t i = 0; i < n; i++) {
			buf_printf(b, "%s\"%s\":", i ? "," : "{", names[(from + i) % 3]);
			random_value(b, depth + 1, op);
		}
		buf_lit(b, "}");
	} else {
		buf_lit(b, plain[dice(7)]);
	}
}

static void object(struct arena *a, bool op, struct buf *b)
{
	do {
		buf_init(b, a, 1 << 16);
		random_value(b, 0, op);
	} while (b->p[0] != '{');
	buf_byte(b, 0);
}

/* Whatever matches contains what filter_contains says. */
static void matches_contain(void **state)
{
	unsigned both = 0, differ = 0;
	struct arena a;

	arena_init(&a, 1 << 20);
	for (unsigned i = 0; i < 200000; i++) {
		struct buf text, value;
		struct filter *f;
		struct str part;
		bool match;

		arena_clear(&a);
		object(&a, true, &text);
		object(&a, false, &value);
		OKAY(filter_compile(&a, parsed(&a, text.p), "", &f));
		OKAY(filter_match(f, &a, str_of(value.p, value.n - 1), &match));
		OKAY(filter_contains(f, &a, &part));
		if (part.n == 0)
			continue;
		if (holds(parsed(&a, value.p), parsed(&a, arena_cstr(&a, part)))) {
			both += match;
			differ += !match;
		} else if (match) {
			fail_msg("%s matches %s, which does not contain %.*s", text.p, value.p, STR_ARG(part));
		}
	}
	arena_release(&a);
	assert_true(both > 500 && differ > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches),
		cmocka_unit_test(refusals),
		cmocka_unit_test(limits_and_absence),
		cmocka_unit_test(stored_garbage_is_corrupt),
		cmocka_unit_test(containment),
		cmocka_unit_test(matches_contain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
