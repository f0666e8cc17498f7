/* The import readers: what they make of each format, and what they do with what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/json/json.h"
#include "cli/readers.h"

struct got {
	struct arena a;
	struct str json[64];
	uint64_t unit[64], order[64], bad_unit[16];
	char bad_text[16][200];
	size_t n, bad;
	bool stop;
};

static enum err on_record(void *ctx, const struct record *r)
{
	struct got *g = ctx;
	struct json doc;
	assert_true(g->n < 64);
	assert_int_equal(json_parse(&g->a, r->json, &json_default_limits, &doc), OK);
	assert_null(memchr(r->json.p, '\n', r->json.n));
	g->json[g->n] = arena_str(&g->a, r->json);
	g->order[g->n] = r->order;
	g->unit[g->n++] = r->unit;
	return OK;
}

static enum err on_bad(void *ctx, uint64_t unit, enum err e)
{
	struct got *g = ctx;
	assert_true(g->bad < 16 && e != OK);
	g->bad_unit[g->bad] = unit;
	snprintf(g->bad_text[g->bad++], 200, "%.199s", diag_get()->text);
	return g->stop ? E_CANCELLED : OK;
}

static int setup(void **state)
{
	struct got *g = calloc(1, sizeof *g);
	assert_non_null(g);
	arena_init(&g->a, (size_t)64 << 20);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct got *g = *state;
	arena_release(&g->a);
	free(g);
	return 0;
}

typedef enum err (*read_fn)(struct source *, const struct read_options *, const struct sink *);

static enum err run(struct got *g, read_fn fn, struct str text, const struct read_options *o)
{
	struct sink k = {on_record, on_bad, g};
	struct source s;
	source_mem(&s, text);
	g->n = g->bad = 0;
	enum err e = fn(&s, o, &k);
	source_release(&s);
	return e;
}

static struct str member(struct got *g, size_t i, const char *name)
{
	struct json *doc = arena_alloc(&g->a, sizeof *doc);
	assert_int_equal(json_parse(&g->a, g->json[i], &json_default_limits, doc), OK);
	struct jval v = j_get(json_root(doc), str_c(name));
	return j_is(v, JSON_STRING) ? j_str(&g->a, v) : j_ok(v) ? j_raw(v) : STR("");
}

#define EQ(s, lit) assert_true(str_eq((s), STR(lit)))

static void jsonl_items(void **state)
{
	struct got *g = *state;
	struct read_options o = {0};
	struct str item = STR("{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{\"x\": 1.0}}");
	struct str text = arena_printf(&g->a, "\n%.*s\r\n  \nnot json\n[1]\n{\"a\":1}\n%.*s", STR_ARG(item), STR_ARG(item));
	assert_int_equal(run(g, read_jsonl, text, &o), OK);
	assert_int_equal(g->n, 2);
	assert_true(str_eq(g->json[0], item));
	assert_int_equal(g->unit[0], 2);
	assert_int_equal(g->unit[1], 7);
	assert_int_equal(g->order[0], g->order[1]);
	assert_int_equal(g->bad, 3);
	assert_int_equal(g->bad_unit[0], 4);
	assert_int_equal(g->bad_unit[2], 6);
	g->stop = true;
	assert_int_equal(run(g, read_jsonl, text, &o), E_CANCELLED);
	assert_int_equal(g->bad, 1);
}

static void jsonl_messages_get_stable_ids(void **state)
{
	struct got *g = *state;
	struct read_options o = {.user = STR("ann")};
	struct str text = STR(
		"{\"thread\":\"t\",\"role\":\"user\",\"content\":\"hi\"}\n{\"thread\":\"t\",\"role\":\"user\",\"content\":\"hi\"}\n"
		"{\"thread\":\"t\",\"id\":\"m\",\"user\":\"bob\",\"role\":\"user\",\"content\":\"hi\"}\n");
	assert_int_equal(run(g, read_jsonl, text, &o), OK);
	assert_int_equal(g->n, 3);
	struct str first = member(g, 0, "id"), second = member(g, 1, "id");
	assert_int_equal(first.n, 32);
	assert_false(str_eq(first, second));
	EQ(member(g, 0, "user"), "ann");
	EQ(member(g, 2, "user"), "bob");
	EQ(member(g, 2, "id"), "m");
	assert_int_equal(g->order[0], g->order[2]);
	assert_int_equal(run(g, read_jsonl, text, &o), OK);
	assert_true(str_eq(member(g, 0, "id"), first));
	assert_true(str_eq(member(g, 1, "id"), second));
}

static struct str export_of(struct got *g, const char *lines)
{
	uint8_t sum[32];
	char hex[65];
	struct str body = arena_printf(&g->a, "{\"cenote_export\":1,\"items\":1}\n%s", lines);
	sha256_of(body, sum);
	hex_encode(sum, 32, hex);
	return arena_printf(&g->a, "%.*s{\"sha256\":\"%s\"}\n", STR_ARG(body), hex);
}

static void exports_are_verified(void **state)
{
	struct got *g = *state;
	struct read_options o = {0};
	struct source s;
	bool is_export;
	struct str text = export_of(g, "{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{}}\n");
	assert_int_equal(run(g, read_jsonl, text, &o), OK);
	assert_int_equal(g->n, 1);
	source_mem(&s, text);
	assert_int_equal(verify_export(&s, &is_export), OK);
	assert_true(is_export);
	/* Cut off, changed, longer. */
	source_mem(&s, str_sub(text, 0, text.n - 70));
	assert_int_equal(verify_export(&s, &is_export), E_CORRUPT);
	char *p = arena_cstr(&g->a, text);
	*strstr(p, "\"k\"") = ' ';
	source_mem(&s, str_c(p));
	assert_int_equal(verify_export(&s, &is_export), E_CORRUPT);
	struct str more = arena_printf(&g->a, "%.*s{}\n", STR_ARG(text));
	source_mem(&s, more);
	assert_int_equal(verify_export(&s, &is_export), E_CORRUPT);
	source_mem(&s, STR("{\"cenote_export\":2}\n"));
	assert_int_equal(verify_export(&s, &is_export), E_INVALID);
	source_mem(&s, STR("{\"namespace\":[\"a\"]}\n"));
	assert_int_equal(verify_export(&s, &is_export), OK);
	assert_false(is_export);
}

static const char chat[] =
	"[{\"title\":\"T\",\"id\":\"c1\",\"current_node\":\"n4\",\"mapping\":{"
	"\"n0\":{\"id\":\"n0\",\"message\":null,\"parent\":null,\"children\":[\"n1\"]},"
	"\"n1\":{\"id\":\"n1\",\"parent\":\"n0\",\"children\":[\"n2\",\"n3\"],\"message\":{\"id\":\"m1\",\"author\":{\"role\":"
	"\"user\",\"name\":null},"
	"\"create_time\":1700000000.5,\"content\":{\"content_type\":\"text\",\"parts\":[\"Hello [}\\\"]\"]}}},"
	"\"n2\":{\"id\":\"n2\",\"parent\":\"n1\",\"children\":[],\"message\":{\"id\":\"m2\",\"author\":{\"role\":\"assistant\"},"
	"\"content\":{\"content_type\":\"text\",\"parts\":[\"left out\"]}}},"
	"\"n3\":{\"id\":\"n3\",\"parent\":\"n1\",\"children\":[\"n4\"],\"message\":{\"id\":\"m3\",\"author\":{\"role\":\"system\"},"
	"\"content\":{\"content_type\":\"text\",\"parts\":[\"\"]}}},"
	"\"n4\":{\"id\":\"n4\",\"parent\":\"n3\",\"children\":[],\"message\":{\"id\":\"m4\",\"author\":{\"role\":\"assistant\"},"
	"\"create_time\":null,"
	"\"content\":{\"content_type\":\"multimodal_text\",\"parts\":[{\"content_type\":\"image_asset_pointer\"},\"a\",\"b\"]}}}}}"
	" , {\"no\":\"mapping\"}, 7,\n "
	"{\"id\":\"c2\",\"current_node\":\"x\",\"mapping\":{\"x\":{\"parent\":\"y\",\"message\":null},"
	"\"y\":{\"parent\":\"x\",\"message\":null}}}]";

static void chatgpt(void **state)
{
	struct got *g = *state;
	struct read_options o = {.user = STR("ann")};
	assert_int_equal(run(g, read_chatgpt, str_c(chat), &o), OK);
	assert_int_equal(g->n, 2);
	EQ(member(g, 0, "thread"), "c1");
	EQ(member(g, 0, "id"), "m1");
	EQ(member(g, 0, "user"), "ann");
	EQ(member(g, 0, "content"), "Hello [}\"]");
	EQ(member(g, 0, "time"), "2023-11-14T22:13:20.500000Z");
	EQ(member(g, 1, "content"), "a\nb");
	EQ(member(g, 1, "role"), "assistant");
	assert_int_equal(g->bad, 3);
	assert_int_equal(g->bad_unit[0], 2);
	assert_int_equal(g->bad_unit[1], 3);
	assert_int_equal(g->bad_unit[2], 4); /* the circle */
	assert_int_equal(run(g, read_chatgpt, STR("[{\"mapping\":{}"), &o), E_INVALID);
	assert_int_equal(run(g, read_chatgpt, STR("[]"), &o), OK);
	assert_int_equal(run(g, read_chatgpt, STR("{}"), &o), E_INVALID);
}

static void text_sections(void **state)
{
	struct got *g = *state;
	struct read_options o = {.namespace_ = STR("docs.x")};
	struct sink k = {on_record, on_bad, g};
	struct str md = STR(
		"\xef\xbb\xbfintro\n\n# First Part! #\nbody 1\n```\n# not a heading\n```\n## First part\nbody 2\n#no\n### \xc3\x9c"
		"ber\nlast");
	assert_int_equal(read_text(md, STR("a/b.md"), &o, &k), OK);
	assert_int_equal(g->n, 4);
	EQ(member(g, 0, "key"), "a/b.md");
	EQ(member(g, 1, "key"), "a/b.md#first-part");
	EQ(member(g, 2, "key"), "a/b.md#first-part-2");
	EQ(member(g, 3, "key"), "a/b.md#\xc3\x9c"
				"ber");
	EQ(member(g, 0, "namespace"), "[\"docs\",\"x\"]");
	EQ(member(g, 1, "value"),
	   "{\"path\":\"a/b.md\",\"heading\":\"First Part!\",\"text\":\"body 1\\n```\\n# not a heading\\n```\"}");
	EQ(member(g, 2, "value"), "{\"path\":\"a/b.md\",\"heading\":\"First part\",\"text\":\"body 2\\n#no\"}");
	assert_int_equal(g->unit[1], 3);
	g->n = 0;
	assert_int_equal(read_text(STR("# not split\nx"), STR("n.txt"), &o, &k), OK);
	assert_int_equal(g->n, 1);
	g->n = 0;
	assert_int_equal(read_text(STR(""), STR("n.md"), &o, &k), OK);
	assert_int_equal(g->n, 0);
	assert_int_equal(read_text(STR("\xff\xfe"), STR("n.md"), &o, &k), OK);
	assert_int_equal(g->bad, 1);
}

static void guessing(void **state)
{
	(void)state;
	static const struct {
		const char *name, *text;
		enum format f;
	} t[] = {{"x.md", "{", FORMAT_TEXT},   {"x.TXT", "", FORMAT_TEXT}, {"x", " {\"a\"", FORMAT_JSONL},
		 {"x", "\n[", FORMAT_CHATGPT}, {"x", "", FORMAT_JSONL},	   {"x", "abc", FORMAT_GUESS}};
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct source s;
		enum format f;
		source_mem(&s, str_c(t[i].text));
		enum err e = format_guess(&s, str_c(t[i].name), &f);
		assert_int_equal(e, t[i].f == FORMAT_GUESS ? E_INVALID : OK);
		assert_int_equal(f, t[i].f);
	}
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(jsonl_items),	    T(jsonl_messages_get_stable_ids),
					   T(exports_are_verified), T(chatgpt),
					   T(text_sections),	    T(guessing)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
