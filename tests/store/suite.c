/* The conformance suite: its life cycle and its small vocabulary. */
#include "suite.h"

#include "base/json/json.h"

#include <stdio.h>
#include <stdlib.h>

const struct suite_driver *suite_driver;
struct store *S;
const struct principal ALICE = {.tenant = STR_INIT("alice"), .rights = RIGHT_ALL, .id = STR_INIT("test")};
const struct principal BOB = {.tenant = STR_INIT("bob"), .rights = RIGHT_ALL, .id = STR_INIT("test")};
static struct arena scratch;

int suite_setup(void **state)
{
	(void)state;
	arena_init(&scratch, 256u << 20);
	S = suite_driver->open_empty();
	return 0;
}

int suite_teardown(void **state)
{
	(void)state;
	suite_driver->close(S);
	S = NULL;
	arena_release(&scratch);
	return 0;
}

int suite_run(const struct suite_driver *d)
{
	suite_driver = d;
	const char *only = getenv("SUITE_FILTER"); /* a pattern of tests' names */
	if (only)
		cmocka_set_test_filter(only);
	return suite_items() + suite_feed() + suite_messages() + suite_tenants() + suite_checkpoints() + suite_entries() +
	       suite_threads() + suite_histories() + suite_vectors() + suite_facts() + suite_texts();
}

void suite_assert_str(struct str want, struct str got, const char *file, int line)
{
	if (str_eq(want, got))
		return;
	print_error("%s:%d: expected \"%.*s\" (%zu bytes), got \"%.*s\" (%zu bytes)\n", file, line, STR_ARG(str_sub(want, 0, 200)),
		    want.n, STR_ARG(str_sub(got, 0, 200)), got.n);
	_fail(file, line);
}

bool suite_same(struct str want, struct str got)
{
	struct arena a;
	struct json x, y;
	if (suite_driver->same_bytes || want.n == 0 || got.n == 0)
		return str_eq(want, got);
	arena_init(&a, 256u << 20);
	bool same = json_parse(&a, want, &json_default_limits, &x) == OK && json_parse(&a, got, &json_default_limits, &y) == OK &&
		    j_equal(json_root(&x), json_root(&y));
	arena_release(&a);
	return same;
}

void suite_assert_value(struct str want, struct str got, const char *file, int line)
{
	if (!suite_same(want, got))
		suite_assert_str(want, got, file, line);
}

struct item_write put_of(const char *ns, const char *key, const char *value)
{
	return (struct item_write){.op = W_PUT, .ns = str_c(ns), .key = str_c(key), .value = str_c(value), .terms = STR("t")};
}

void write1(struct item_write *w)
{
	assert_ok(S->ops->item_write(S, &ALICE, w, 1, false));
}

void put(const char *ns, const char *key, const char *value)
{
	struct item_write w = put_of(ns, key, value);
	write1(&w);
	assert_int_equal(w.err, OK);
}

void del(const char *ns, const char *key)
{
	struct item_write w = {.op = W_DELETE, .ns = str_c(ns), .key = str_c(key)};
	write1(&w);
	assert_int_equal(w.err, OK);
}

struct str get(const char *ns, const char *key)
{
	struct item it;
	bool found;
	arena_clear(&scratch);
	assert_ok(S->ops->item_get(S, &scratch, &ALICE, str_c(ns), str_c(key), 0, &it, &found));
	return found ? it.value : STR("");
}

struct item get_item(const char *ns, const char *key)
{
	struct item it;
	bool found;
	arena_clear(&scratch);
	assert_ok(S->ops->item_get(S, &scratch, &ALICE, str_c(ns), str_c(key), 0, &it, &found));
	assert_true(found);
	assert_str(str_c(ns), it.ns);
	assert_str(str_c(key), it.key);
	return it;
}

static bool add_item(void *ctx, const struct item *it)
{
	struct buf *b = ctx;
	buf_printf(b, "%s%.*s:%.*s", b->n ? " " : "", STR_ARG(it->ns), STR_ARG(it->key));
	return true;
}

static const char *text_of(struct buf *b)
{
	buf_byte(b, 0);
	assert_int_equal(b->err, OK);
	return b->p;
}

static void begin(struct buf *b)
{
	arena_clear(&scratch);
	buf_init(b, &scratch, 64u << 20);
}

const char *scan(const char *prefix)
{
	struct buf b;
	begin(&b);
	assert_ok(S->ops->item_scan(S, &ALICE, str_c(prefix), 0, NULL, add_item, &b));
	return text_of(&b);
}

const char *walk(const char *prefix, const char *after_ns, const char *after_key)
{
	struct buf b;
	begin(&b);
	assert_ok(S->ops->item_walk(S, &ALICE, str_c(prefix), str_c(after_ns), str_c(after_key), add_item, &b));
	return text_of(&b);
}

static bool add_name(void *ctx, struct str name)
{
	struct buf *b = ctx;
	buf_printf(b, "%s%.*s", b->n ? " " : "", STR_ARG(name));
	return true;
}

const char *names(const char *prefix)
{
	struct buf b;
	begin(&b);
	assert_ok(S->ops->namespaces(S, &ALICE, str_c(prefix), add_name, &b));
	return text_of(&b);
}
