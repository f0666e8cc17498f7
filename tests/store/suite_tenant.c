/* Rules of principals and tenants on every call, keys, small values, statistics. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

static struct arena scratch;

static bool no_item(void *ctx, const struct item *it)
{
	(void)it;
	++*(int *)ctx;
	return true;
}
static bool no_doc(void *ctx, const struct doc_change *d)
{
	(void)d;
	++*(int *)ctx;
	return true;
}
static bool no_message(void *ctx, const struct message *m)
{
	(void)m;
	++*(int *)ctx;
	return true;
}
static bool no_thread(void *ctx, const struct thread_info *t)
{
	(void)t;
	++*(int *)ctx;
	return true;
}
static bool no_name(void *ctx, struct str name)
{
	(void)name;
	++*(int *)ctx;
	return true;
}

/* The default tenant may be there from the start. */
static bool other_tenant(void *ctx, struct str name)
{
	*(int *)ctx += !str_eq(name, STR("default"));
	return true;
}

/* Every call that takes a principal, reading alice's things; `want` for each, and nothing is seen. */
static void read_everything(const struct principal *who, enum err want, enum err want_thread, int64_t item, int64_t message)
{
	const struct store_ops *o = S->ops;
	struct item it;
	struct message m;
	struct store_stats st;
	struct str text;
	struct doc_scope items = {DOC_ITEM, STR("")}, messages = {DOC_MESSAGE, STR("ann")};
	bool found;
	uint64_t cursor = 0;
	int seen = 0;
	assert_err(want, o->item_get(S, &scratch, who, STR("n"), STR("k"), 0, &it, &found));
	assert_true(want != OK || !found);
	assert_err(want, o->item_scan(S, who, STR(""), 0, NULL, no_item, &seen));
	assert_err(want, o->item_walk(S, who, STR(""), STR(""), STR(""), no_item, &seen));
	assert_err(want, o->item_by_id(S, &scratch, who, &item, 1, &it));
	assert_true(want != OK || it.id == 0);
	assert_err(want, o->namespaces(S, who, STR(""), no_name, &seen));
	assert_err(want, o->doc_scan(S, who, &items, &cursor, no_doc, &seen));
	assert_err(want, o->doc_changes(S, who, &items, &cursor, no_doc, &seen));
	assert_err(want, o->doc_scan(S, who, &messages, &cursor, no_doc, &seen));
	assert_err(want_thread, o->message_list(S, who, STR("t"), 0, 10, no_message, &seen));
	assert_err(want, o->message_by_id(S, &scratch, who, &message, 1, &m));
	assert_true(want != OK || m.id == 0);
	assert_err(want, o->thread_list(S, who, NULL, STR(""), 10, no_thread, &seen));
	assert_err(want, o->stats(S, who, &st));
	assert_true(want != OK || (st.items == 0 && st.messages == 0));
	assert_err(want, o->meta_get(S, &scratch, who, STR("m"), &text, &found));
	assert_true(want != OK || !found);
	assert_int_equal(seen, 0);
}

static void fill(const struct principal *who, int64_t *item, int64_t *message)
{
	struct item_write w = put_of("n", "k", "{\"secret\":1}");
	struct message m = {.thread = STR("t"),
			    .mid = STR("1"),
			    .user = STR("ann"),
			    .role = STR("user"),
			    .content = STR("secret"),
			    .terms = STR("t")};
	struct item it;
	bool found;
	assert_ok(S->ops->item_write(S, who, &w, 1, false));
	assert_ok(S->ops->message_append(S, who, &m, 1));
	assert_ok(S->ops->meta_put(S, who, STR("m"), STR("v")));
	assert_ok(S->ops->item_get(S, &scratch, who, STR("n"), STR("k"), 0, &it, &found));
	*item = it.id;
	*message = m.id;
}

static void isolated(void **state)
{
	(void)state;
	int64_t item, message, bobs_item, bobs_message;
	int n = 0;
	fill(&ALICE, &item, &message);
	read_everything(&BOB, OK, E_NOT_FOUND, item, message); /* bob has no file yet */
	struct item_write w = put_of("other", "k", "{}");
	struct item_write d[2] = {{.op = W_DELETE, .ns = STR("n"), .key = STR("k")},
				  {.op = W_TOUCH, .ns = STR("n"), .key = STR("k")}};
	assert_ok(S->ops->item_write(S, &BOB, &w, 1, false));
	d[0].err = d[1].err = OK;
	assert_ok(S->ops->item_write(S, &BOB, d, 2, false));
	assert_false(d[0].existed || d[1].existed);
	assert_err(E_NOT_FOUND, S->ops->threads->remove(S, &BOB, STR("t"), THREAD_ALL));
	assert_value(STR("{\"secret\":1}"), get("n", "k"));
	fill(&BOB, &bobs_item, &bobs_message); /* the same names, a thread of the same name */
	assert_ok(S->ops->item_write(S, &BOB, d, 1, false));
	assert_true(d[0].changed);
	assert_value(STR("{\"secret\":1}"), get("n", "k"));
	assert_string_equal(names(""), "n");
	assert_ok(S->ops->tenants(S, other_tenant, &n));
	assert_int_equal(n, 2);
}

static void fails_closed(void **state)
{
	(void)state;
	static const struct principal empty = {.rights = RIGHT_ALL}, bad = {.tenant = STR_INIT("../alice"), .rights = RIGHT_ALL},
				      none = {.tenant = STR_INIT("alice")};
	const struct principal *const all[] = {NULL, &empty, &bad, &none};
	int64_t item, message;
	fill(&ALICE, &item, &message);
	for (unsigned i = 0; i < 4; i++) {
		struct item_write w = put_of("n", "k", "{}");
		struct message m = {.thread = STR("t"), .mid = STR("9"), .user = STR("ann")};
		read_everything(all[i], E_DENIED, E_DENIED, item, message);
		assert_err(E_DENIED, S->ops->item_write(S, all[i], &w, 1, false));
		assert_err(E_DENIED, S->ops->message_append(S, all[i], &m, 1));
		assert_err(E_DENIED, S->ops->threads->remove(S, all[i], STR("t"), THREAD_ALL));
		assert_err(E_DENIED, S->ops->meta_put(S, all[i], STR("m"), STR("x")));
	}
	const struct principal reader = {.tenant = STR("alice"), .rights = RIGHT_READ};
	struct item_write w = put_of("n", "k", "{}");
	assert_err(E_DENIED, S->ops->item_write(S, &reader, &w, 1, false));
	assert_value(STR("{\"secret\":1}"), get("n", "k"));
}

static bool add_key(void *ctx, const struct key_record *k)
{
	buf_printf(ctx, "%.*s ", STR_ARG(k->id));
	return true;
}

static void keys(void **state)
{
	(void)state;
	struct key_record k = {.id = STR("0123abcd"),
			       .name = STR("laptop"),
			       .tenant = STR("alice"),
			       .user = STR("ann"),
			       .rights = RIGHT_READ | RIGHT_WRITE,
			       .created_us = 10,
			       .expires_us = 20};
	struct key_record out;
	struct buf b;
	bool found;
	memset(k.hash, 0xA5, sizeof k.hash);
	assert_ok(S->ops->key_get(S, &scratch, k.id, &out, &found));
	assert_false(found);
	assert_ok(S->ops->key_put(S, &k));
	struct key_record second = k;
	second.id = STR("00000000");
	second.created_us = 11;
	assert_ok(S->ops->key_put(S, &second));
	k.revoked_us = 15;
	k.used_us = 14;
	assert_ok(S->ops->key_put(S, &k)); /* replaces */
	S = suite_driver->reopen(S);
	assert_ok(S->ops->key_get(S, &scratch, STR("0123abcd"), &out, &found));
	assert_true(found);
	assert_str(k.name, out.name);
	assert_str(k.tenant, out.tenant);
	assert_str(k.user, out.user);
	assert_memory_equal(k.hash, out.hash, 32);
	assert_int_equal(out.rights, RIGHT_READ | RIGHT_WRITE);
	assert_true(out.created_us == 10 && out.expires_us == 20 && out.revoked_us == 15 && out.used_us == 14);
	buf_init(&b, &scratch, 1000);
	assert_ok(S->ops->key_list(S, add_key, &b));
	buf_byte(&b, 0);
	assert_string_equal(b.p, "0123abcd 00000000 ");
}

static void small_values(void **state)
{
	(void)state;
	struct str v;
	bool found;
	assert_ok(S->ops->meta_get(S, &scratch, &ALICE, STR("import:x"), &v, &found));
	assert_false(found);
	assert_ok(S->ops->meta_put(S, &ALICE, STR("import:x"), STR("12")));
	assert_ok(S->ops->meta_put(S, &ALICE, STR("schema"), STR("mine")));
	assert_ok(S->ops->meta_put(S, &ALICE, STR("import:x"), STR("13")));
	S = suite_driver->reopen(S);
	assert_ok(S->ops->meta_get(S, &scratch, &ALICE, STR("import:x"), &v, &found));
	assert_true(found);
	assert_str(STR("13"), v);
	assert_ok(S->ops->meta_put(S, &ALICE, STR("import:x"), STR("")));
	assert_ok(S->ops->meta_get(S, &scratch, &ALICE, STR("import:x"), &v, &found));
	assert_false(found);
}

static bool add_value(void *ctx, struct str name, struct str value)
{
	struct buf *b = ctx;
	buf_printf(b, "%.*s=%.*s ", STR_ARG(name), STR_ARG(value));
	return b->n < 60;
}

static void small_values_by_prefix(void **state)
{
	(void)state;
	static const char *const names[] = {"turn:2", "turn:10", "turn:a\xc3\xa9", "turn:Z", "turn", "turn;", "turm:z"};
	struct principal other = ALICE;
	struct buf b;
	other.tenant = STR("elsewhere");
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		assert_ok(S->ops->meta_put(S, &ALICE, str_c(names[i]), str_c(names[i])));
	buf_init(&b, &scratch, 1000);
	assert_ok(S->ops->meta_walk(S, &ALICE, STR("turn:"), STR(""), 2, add_value, &b));
	assert_str(STR("turn:10=turn:10 turn:2=turn:2 "), buf_slice(&b));
	buf_clear(&b);
	assert_ok(S->ops->meta_walk(S, &ALICE, STR("turn:"), STR("turn:2"), 100, add_value, &b));
	assert_str(STR("turn:Z=turn:Z turn:a\xc3\xa9=turn:a\xc3\xa9 "), buf_slice(&b));
	buf_clear(&b);
	assert_ok(S->ops->meta_walk(S, &other, STR("turn:"), STR(""), 100, add_value, &b));
	assert_int_equal(b.n, 0);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		assert_ok(S->ops->meta_put(S, &ALICE, str_c(names[i]), STR("")));
}

static void statistics(void **state)
{
	(void)state;
	struct store_stats st;
	int64_t item, message;
	struct buf b;
	assert_ok(S->ops->stats(S, &ALICE, &st));
	assert_int_equal(st.items, 0);
	fill(&ALICE, &item, &message);
	struct item_write w = put_of("n.x", "k", "{}");
	w.ttl_minutes = 5;
	write1(&w);
	put("gone", "k", "{}");
	del("gone", "k");
	assert_ok(S->ops->stats(S, &ALICE, &st));
	assert_int_equal(st.items, 2);
	assert_int_equal(st.namespaces, 2);
	assert_int_equal(st.threads, 1);
	assert_int_equal(st.messages, 1);
	assert_int_equal(st.expiring, 1);
	assert_int_equal(st.queue_depth, 0);
	assert_true(st.bytes_data > 0);
	assert_ok(S->ops->ping(S));
	buf_init(&b, &scratch, 1 << 16);
	if (S->ops->metrics)
		S->ops->metrics(S, &b);
	assert_int_equal(b.err, OK);
}

static int group_setup(void **state)
{
	(void)state;
	arena_init(&scratch, 16u << 20);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	arena_release(&scratch);
	return 0;
}

int suite_tenants(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(isolated),	  SUITE_TEST(fails_closed),	      SUITE_TEST(keys),
		SUITE_TEST(small_values), SUITE_TEST(small_values_by_prefix), SUITE_TEST(statistics),
	};
	return cmocka_run_group_tests_name("tenants", tests, group_setup, group_teardown);
}
