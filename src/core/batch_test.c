/* Batches: order of kinds, last write wins, atomic and not, conditions. */
#include "core/testing.h"

static struct op op_put_of(const char *key, const char *value)
{
	return (struct op){.kind = OP_PUT,
			   .put = {.ns = STR("b"), .key = str_c(key), .value = str_c(value), .ttl_minutes = TTL_DEFAULT}};
}

static struct op op_get_of(const char *key)
{
	return (struct op){.kind = OP_GET, .get = {.ns = STR("b"), .key = str_c(key)}};
}

static struct op op_delete_of(const char *key)
{
	return (struct op){.kind = OP_DELETE, .put = {.ns = STR("b"), .key = str_c(key)}};
}

static void reads_come_first(void **state)
{
	struct bench b;
	struct op ops[4];

	bench_init(&b);
	put(&b, "b", "k", "{\"v\":1}");
	ops[0] = op_put_of("k", "{\"v\":2}");
	ops[1] = op_get_of("k");
	ops[2] = (struct op){.kind = OP_SEARCH, .search = {.prefix = STR("b"), .limit = 10}};
	ops[3] = (struct op){.kind = OP_LIST_NAMESPACES, .list = {.limit = 10}};
	OKAY(memory_batch(b.m, &b.a, &ann, ops, 4, false));
	assert_true(str_eq(ops[1].get.item.value, STR("{\"v\":1}")));
	assert_true(str_eq(ops[2].search.hits[0].item.value, STR("{\"v\":1}")));
	assert_int_equal(ops[3].list.n, 1);
	assert_int_equal(ops[0].put.version, 2);
	assert_string_equal(value_as(&b, &ann, "b", "k"), "{\"v\":2}");
	bench_release(&b);
}

static void the_last_write_wins(void **state)
{
	struct bench b;
	struct op ops[6];
	unsigned writes;

	bench_init(&b);
	ops[0] = op_put_of("k", "{\"v\":1}");
	ops[1] = op_put_of("l", "{\"v\":1}");
	ops[2] = op_delete_of("k");
	ops[3] = op_put_of("k", "{\"v\":3}");
	ops[4] = op_put_of("l", "{\"v\":4}");
	ops[5] = op_delete_of("l");
	writes = fake_store_writes(b.store);
	OKAY(memory_batch(b.m, &b.a, &ann, ops, 6, false));
	assert_int_equal(fake_store_writes(b.store), writes + 2);
	assert_string_equal(value_as(&b, &ann, "b", "k"), "{\"v\":3}");
	assert_string_equal(value_as(&b, &ann, "b", "l"), "");
	assert_int_equal(ops[0].put.version, 1); /* reports what stands for it */
	bench_release(&b);
}

static void conditions_are_kept_in_order(void **state)
{
	struct bench b;
	struct op ops[4];

	bench_init(&b);
	ops[0] = op_put_of("k", "{\"v\":1}");
	ops[1] = op_put_of("k", "{\"v\":2}");
	ops[1].put.cond = IF_VERSION;
	ops[1].put.if_version = 1;
	ops[2] = op_put_of("k", "{\"v\":3}");
	ops[2].put.cond = IF_ABSENT;
	ops[3] = op_put_of("m", "{\"v\":3}");
	ops[3].put.cond = IF_ABSENT;
	OKAY(memory_batch(b.m, &b.a, &ann, ops, 4, false));
	FAILS(ops[0].err, OK);
	FAILS(ops[1].err, OK);
	FAILS(ops[2].err, E_CONFLICT);
	assert_non_null(ops[2].diag);
	assert_int_equal(ops[2].diag->kind, ERR_PRECONDITION);
	FAILS(ops[3].err, OK);
	assert_string_equal(value_as(&b, &ann, "b", "k"), "{\"v\":2}");
	bench_release(&b);
}

static void atomic_is_all_or_nothing(void **state)
{
	struct bench b;
	struct op ops[3];

	bench_init(&b);
	ops[0] = op_put_of("a", "{}");
	ops[1] = op_put_of("b", "{}");
	ops[1].put.cond = IF_VERSION;
	ops[1].put.if_version = 9;
	ops[2] = op_put_of("c", "{}");
	FAILS(memory_batch(b.m, &b.a, &ann, ops, 3, true), E_CONFLICT);
	assert_string_equal(diag_get()->field, "/operations/1");
	assert_int_equal(diag_get()->kind, ERR_PRECONDITION);
	assert_string_equal(value_as(&b, &ann, "b", "a"), "");
	assert_string_equal(value_as(&b, &ann, "b", "c"), "");
	ops[1] = op_put_of("b", "[]");
	FAILS(memory_batch(b.m, &b.a, &ann, ops, 3, true), E_INVALID);
	assert_string_equal(diag_get()->field, "/operations/1/value");
	assert_string_equal(value_as(&b, &ann, "b", "a"), "");
	OKAY(memory_batch(b.m, &b.a, &ann, ops, 3, false));
	FAILS(ops[0].err, OK);
	FAILS(ops[1].err, E_INVALID);
	FAILS(ops[2].err, OK);
	assert_string_equal(value_as(&b, &ann, "b", "a"), "{}");
	bench_release(&b);
}

static void each_op_is_checked_for_rights(void **state)
{
	struct bench b;
	struct op ops[3];

	bench_init(&b);
	put(&b, "b", "k", "{\"secret\":1}");
	ops[0] = op_get_of("k");
	ops[1] = op_put_of("k", "{}");
	ops[2] = (struct op){.kind = OP_GET, .get = {.ns = STR("b.bob-at-example-com"), .key = STR("k")}};
	OKAY(memory_batch(b.m, &b.a, &reader, ops, 2, false));
	assert_true(ops[0].get.found);
	FAILS(ops[1].err, E_DENIED);
	OKAY(memory_batch(b.m, &b.a, &bound, ops, 3, false));
	FAILS(ops[0].err, E_DENIED);
	assert_false(ops[0].get.found);
	FAILS(ops[1].err, E_DENIED);
	FAILS(ops[2].err, OK);
	FAILS(memory_batch(b.m, &b.a, NULL, ops, 3, false), E_DENIED);
	OKAY(memory_batch(b.m, &b.a, &other, ops, 1, false));
	assert_false(ops[0].get.found);
	bench_release(&b);
}

static void a_thousand_in_one_write(void **state)
{
	enum { N = 1000 };
	struct bench b;
	struct op *ops;
	unsigned calls;

	bench_init(&b);
	ops = arena_zalloc(&b.a, 10001 * sizeof *ops);
	for (int i = 0; i < N; i++) {
		struct str key = arena_printf(&b.a, "k%d", i);

		ops[i] = op_put_of(key.p, "{\"text\":\"something worth keeping in the index\"}");
	}
	calls = fake_store_write_calls(b.store);
	OKAY(memory_batch(b.m, &b.a, &ann, ops, N, true));
	assert_int_equal(fake_store_write_calls(b.store), calls + 1);
	OKAY(memory_batch(b.m, &b.a, &ann, ops, 0, true));
	FAILS(memory_batch(b.m, &b.a, &ann, ops, 10001, true), E_LIMIT);
	bench_release(&b);
}

static void a_failing_store_ends_the_batch(void **state)
{
	struct bench b;
	struct op ops[2];

	bench_init(&b);
	ops[0] = op_get_of("k");
	ops[1] = op_put_of("k", "{}");
	fake_store_fail(b.store, E_BUSY, 1);
	FAILS(memory_batch(b.m, &b.a, &ann, ops, 2, false), E_BUSY);
	assert_string_equal(value_as(&b, &ann, "b", "k"), "");
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_come_first),
		cmocka_unit_test(the_last_write_wins),
		cmocka_unit_test(conditions_are_kept_in_order),
		cmocka_unit_test(atomic_is_all_or_nothing),
		cmocka_unit_test(each_op_is_checked_for_rights),
		cmocka_unit_test(a_thousand_in_one_write),
		cmocka_unit_test(a_failing_store_ends_the_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
