/* Rules of checkpoints: what comes back, conflicts, order, lists, history, removal, copies, isolation. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

static struct arena scratch;

static struct ckpt_value val(const char *channel, const char *version, const char *type, struct str bytes)
{
	return (struct ckpt_value){str_c(channel), str_c(version), str_c(type), bytes};
}

static struct ckpt_change put_ck(const char *thread, const char *ns, const char *id, const char *parent, const char *checkpoint)
{
	return (struct ckpt_change){.op = CK_PUT,
				    .thread = str_c(thread),
				    .ns = str_c(ns),
				    .id = str_c(id),
				    .parent = str_c(parent),
				    .checkpoint = str_c(checkpoint),
				    .metadata = STR("{\"step\":1}")};
}

static enum err get_ck(const struct principal *who, const char *thread, const char *ns, const char *id, unsigned want, struct ckpt *out,
		       bool *found)
{
	struct ckpt_query q = {.thread = str_c(thread), .ns = str_c(ns), .id = str_c(id), .want = want};
	return S->ops->checkpoints->get(S, &scratch, who, &q, out, found);
}

static void what_is_put_comes_back(void **state)
{
	(void)state;
	struct ckpt c;
	bool found;
	struct ckpt_value v[2] = {val("messages", "2", "msgpack", STR("\xa2\0b")), val("a", "1", "null", STR(""))};
	struct ckpt_change ch = put_ck("t", "", "1", "0", "{\"v\":4,\"channel_versions\":{\"messages\":\"2\",\"a\":\"1\",\"z\":\"7\"}}");
	ch.values = v;
	ch.values_n = 2;
	assert_ok(S->ops->checkpoints->write(S, &ALICE, &ch, 1));
	assert_ok(get_ck(&ALICE, "t", "", "", CK_VALUES | CK_WRITES_TOO, &c, &found));
	assert_true(found);
	assert_str(STR("1"), c.id);
	assert_str(STR("0"), c.parent);
	assert_value(ch.checkpoint, c.checkpoint);
	assert_value(ch.metadata, c.metadata);
	assert_int_equal(c.values_n, 2);
	assert_str(STR("a"), c.values[0].channel);
	assert_str(STR("null"), c.values[0].type);
	assert_str(STR(""), c.values[0].bytes);
	assert_str(STR("\xa2\0b"), c.values[1].bytes);
	assert_str(STR("msgpack"), c.values[1].type);
	assert_str(STR("2"), c.values[1].version);
	assert_int_equal(c.writes_n, 0);
}

static int group_setup(void **state)
{
	(void)state;
	arena_init(&scratch, 1u << 30);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	arena_release(&scratch);
	return 0;
}

int suite_checkpoints(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(what_is_put_comes_back),
	};
	return cmocka_run_group_tests_name("checkpoints", tests, group_setup, group_teardown);
}
