/* Ids, checks with the fields they name, reading in pages, sends of the old format. */
#include "base/clock.h"
#include "base/uuid7.h"
#include "core/checkpoint_testing.h"

static void ids_sort_by_time_and_carry_the_step(void **state)
{
	char id[37], before[37] = "";
	static const struct {
		int64_t step;
		const char *group;
	} t[] = {{-2, "bffe"}, {-1, "bfff"}, {0, "8000"}, {3, "8003"}, {16383, "bfff"}};

	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		ckpt_new_id(t[i].step, id);
		assert_true(uuid_valid(str_c(id)));
		assert_memory_equal(id + 19, t[i].group, 4);
		assert_int_equal(id[14], '6');
	}
	int64_t now = clock_wall_us();
	for (int i = 0; i < 20000; i++) {
		ckpt_new_id(i % 100, id);
		assert_true(str_cmp(str_c(id), str_c(before)) > 0);
		memcpy(before, id, sizeof id);
	}
	int64_t at = ckpt_id_time(str_c(id));
	assert_true(at >= now && at < now + 60000000);
	assert_int_equal(ckpt_id_time(STR("1ef4f797-8335-6428-8001-8a1503f9b875")), 1722456859804164);
	assert_int_equal(ckpt_id_time(STR("1ef4f797-8335-7428-8001-8a1503f9b875")), 0);
	assert_int_equal(ckpt_id_time(STR("no id")), 0);
	assert_int_equal(ckpt_id_time(STR("00000000-0000-6000-8000-000000000000")), 0);
}

static void ids_follow_a_head_from_a_faster_clock(void **state)
{
	struct str head = STR("3fffffff-ffff-6ffe-8000-ffffffffffff");
	char id[37], next[37];

	OKAY(ckpt_new_id_after(1, head, id));
	assert_memory_equal(id, "3fffffff-ffff-6fff-8001-", 24);
	ckpt_new_id(1, next);
	assert_true(str_cmp(str_c(next), head) < 0);
	FAILS(ckpt_new_id_after(1, STR("zzz"), id), E_CONFLICT);
	FAILS(ckpt_new_id_after(1, STR("ffffffff-ffff-6fff-bfff-ffffffffffff"), id), E_CONFLICT);
}

/* ---------------------------------------------------------------- checks */

static struct ckpt_change good(void)
{
	return (struct ckpt_change){.op = CK_PUT,
				    .thread = STR("t"),
				    .ns = STR(""),
				    .id = STR("1"),
				    .parent = STR(""),
				    .checkpoint = STR("{}"),
				    .metadata = STR("{}")};
}

static void refused(struct bench *b, struct ckpt_change *c, size_t n, enum err e, const char *field)
{
	enum err got = ckpt_write(b->m, &b->a, &ann, c, n);

	if (got != e || strcmp(diag_get()->field, field) != 0)
		fail_msg("%s at \"%s\" (%s), expected %s at \"%s\"", err_name(got), diag_get()->field, diag_get()->text,
			 err_name(e), field);
}

static void every_name_is_checked(void **state)
{
	struct bench b;
	struct ckpt_change c = good();
	char *long_name = memset(malloc(5000), 'x', 5000);

	bench_init(&b);
	c.thread = STR("");
	refused(&b, &c, 1, E_INVALID, "/thread");
	c.thread = str_of(long_name, 257);
	refused(&b, &c, 1, E_INVALID, "/thread");
	c = good();
	c.ns = str_of(long_name, 4097);
	refused(&b, &c, 1, E_INVALID, "/ns");
	c.ns = STR("a\0b");
	refused(&b, &c, 1, E_INVALID, "/ns");
	c = good();
	c.id = STR("");
	refused(&b, &c, 1, E_INVALID, "/id");
	c.id = STR("\xff");
	refused(&b, &c, 1, E_INVALID, "/id");
	c = good();
	c.parent = str_of(long_name, 257);
	refused(&b, &c, 1, E_INVALID, "/parent");
	/* At the limits. */
	c = good();
	c.thread = c.id = c.parent = str_of(long_name, 256);
	c.ns = str_of(long_name, 4096);
	OKAY(ckpt_write(b.m, &b.a, &ann, &c, 1));
	free(long_name);
	bench_release(&b);
}

static void every_part_is_checked(void **state)
{
	struct bench b;
	struct ckpt_change c[2] = {good(), good()};
	struct ckpt_value v = {STR("ch"), STR("1"), STR("msgpack"), STR("x")};

	bench_init(&b);
	c[1].checkpoint = STR("[]");
	refused(&b, c, 2, E_INVALID, "/1/checkpoint");
	c[1].checkpoint = STR("{");
	refused(&b, c, 2, E_INVALID, "/1/checkpoint");
	c[1].checkpoint = STR("");
	refused(&b, c, 2, E_INVALID, "/1/checkpoint");
	c[1].checkpoint = STR("{\"channel_versions\":{\"a\":true}}");
	refused(&b, c, 2, E_INVALID, "/1/checkpoint/channel_versions");
	c[1].checkpoint = STR("{\"channel_values\":[]}");
	refused(&b, c, 2, E_INVALID, "/1/checkpoint/channel_values");
	c[1].checkpoint = STR("{\"channel_versions\":{\"a\":1,\"b\":\"2\",\"c\":1.5},\"channel_values\":null}");
	c[1].metadata = STR("null");
	refused(&b, c, 2, E_INVALID, "/1/metadata");
	c[1].metadata = STR("{}");
	c[1].values = &v;
	c[1].values_n = 1;
	v.channel = STR("");
	refused(&b, c, 2, E_INVALID, "/1/values/0/channel");
	v = (struct ckpt_value){STR("ch"), STR(""), STR("msgpack"), STR("x")};
	refused(&b, c, 2, E_INVALID, "/1/values/0/version");
	v = (struct ckpt_value){STR("ch"), STR("1"), STR(""), STR("x")};
	refused(&b, c, 2, E_INVALID, "/1/values/0/type");
	v = (struct ckpt_value){STR("ch"), STR("1"), STR("empty"), STR("x")};
	refused(&b, c, 2, E_INVALID, "/1/values/0");
	v = (struct ckpt_value){STR("ch"), STR("1"), STR("msgpack"), {"", CKPT_VALUE_MAX + 1ul}};
	refused(&b, c, 2, E_LIMIT, "/1/values/0/bytes");
	assert_int_equal(diag_get()->kind, ERR_SIZE);
	/* Nothing of all that was written. */
	struct ckpt_full *rows;
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 0);
	assert_int_equal(fake_store_write_calls(b.store), 0);
	bench_release(&b);
}

static void writes_are_of_one_task(void **state)
{
	struct bench b;
	struct ckpt_pending w[2] = {{STR("k"), STR(""), STR("ch"), STR("null"), STR(""), 0},
				    {STR("l"), STR(""), STR("ch"), STR("null"), STR(""), 1}};
	struct ckpt_change c = {.op = CK_WRITES, .thread = STR("t"), .ns = STR(""), .id = STR("1"), .writes = w, .writes_n = 2};

	bench_init(&b);
	refused(&b, &c, 1, E_INVALID, "/writes/1");
	w[1].task_id = STR("k");
	w[1].channel = STR("");
	refused(&b, &c, 1, E_INVALID, "/writes/1/channel");
	w[0].task_id = STR("");
	refused(&b, &c, 1, E_INVALID, "/task_id");
	/* None are nothing: no thread appears. */
	c.writes_n = 0;
	OKAY(ckpt_write(b.m, &b.a, &ann, &c, 1));
	struct store_stats st;
	OKAY(b.store->ops->stats(b.store, &ann, &st));
	assert_int_equal(st.threads, 0);
	FAILS(ckpt_write(b.m, &b.a, &reader, &c, 1), E_DENIED);
	FAILS(ckpt_write(b.m, &b.a, &ann, &c, CKPT_CHANGES_MAX + 1), E_LIMIT);
	bench_release(&b);
}

/* ---------------------------------------------------------------- reading */

static void the_old_format_is_recognised(void **state)
{
	assert_true(ckpt_is_old(STR("{\"v\": 1, \"id\": \"x\"}")));
	assert_true(ckpt_is_old(STR(" {\n\"v\":3}")));
	assert_true(ckpt_is_old(STR("{\"id\":\"x\",\"v\":2}")));
	assert_true(ckpt_is_old(STR("{\"v\":1.5}")));
	assert_false(ckpt_is_old(STR("{\"v\": 4, \"id\": \"x\"}")));
	assert_false(ckpt_is_old(STR("{\"v\":10}")));
	assert_false(ckpt_is_old(STR("{\"id\":{\"v\":1}}")));
	assert_false(ckpt_is_old(STR("{\"v\":\"1\"}")));
	assert_false(ckpt_is_old(STR("{}")));
}

/* An object of n names. */
static void filter_of(struct bench *b, int n, struct str *out)
{
	struct buf t;

	buf_init(&t, &b->a, 1 << 16);
	for (int i = 0; i < n; i++)
		buf_printf(&t, "%s\"k%d\":0", i ? "," : "{", i);
	buf_byte(&t, '}');
	*out = buf_slice(&t);
}

static void lists_in_pages(void **state)
{
	struct bench b;
	struct str t = STR("t"), last = STR("");
	struct ckpt_list q = {.thread = &t, .limit = 100};
	struct ckpt_full *page;
	size_t n, seen = 0, pages = 0;
	bool more;

	bench_init(&b);
	for (int i = 0; i < 50; i++)
		last = ck_plain(&b, "t", i % 2 ? "" : "s", last, i, "");
	do {
		OKAY(ckpt_list(b.m, &b.a, &ann, &q, 3000, &page, &n, &more));
		assert_true(n > 0 && n < 50);
		for (size_t i = 0; i < n; i++)
			assert_true(seen + i == 0 || str_cmp(page[i].c.id, i ? page[i - 1].c.id : q.after.id) < 0);
		seen += n;
		pages++;
		q.after.id = page[n - 1].c.id;
		q.after.thread = page[n - 1].c.thread;
		q.after.ns = page[n - 1].c.ns;
	} while (more);
	assert_int_equal(seen, 50);
	assert_true(pages > 3);
	q = (struct ckpt_list){.thread = &t, .limit = 7};
	OKAY(ckpt_list(b.m, &b.a, &ann, &q, SIZE_MAX, &page, &n, &more));
	assert_true(n == 7 && !more);
	q.limit = 0;
	OKAY(ckpt_list(b.m, &b.a, &ann, &q, SIZE_MAX, &page, &n, &more));
	assert_true(n == 0 && !more);
	q.limit = 1;
	q.filter = STR("[1]");
	FAILS(ckpt_list(b.m, &b.a, &ann, &q, SIZE_MAX, &page, &n, &more), E_INVALID);
	assert_string_equal(diag_get()->field, "/filter");
	filter_of(&b, 499, &q.filter);
	OKAY(ckpt_list(b.m, &b.a, &ann, &q, SIZE_MAX, &page, &n, &more));
	assert_int_equal(n, 0);
	filter_of(&b, 500, &q.filter);
	FAILS(ckpt_list(b.m, &b.a, &ann, &q, SIZE_MAX, &page, &n, &more), E_INVALID);
	assert_string_equal(diag_get()->field, "/filter");
	assert_string_equal(diag_get()->text, "filter has more than 1000 names and values in all");
	bench_release(&b);
}

static void sends_come_with_values_only(void **state)
{
	struct bench b;
	struct ckpt_query q = {.thread = STR("t"), .ns = STR("")};
	struct ckpt_full c, *page;
	struct str t = STR("t");
	struct ckpt_list l = {.thread = &t, .limit = 10, .want = CK_VALUES};
	size_t n;
	bool found, more;

	bench_init(&b);
	ck_put(&b, &ann, t, STR(""), STR("1"), STR(""), STR("{\"v\":1}"), STR("{}"), NULL, 0);
	ck_put(&b, &ann, t, STR(""), STR("2"), STR("1"), STR("{\"v\":1}"), STR("{}"), NULL, 0);
	ck_put(&b, &ann, t, STR(""), STR("3"), STR("1"), STR("{\"v\":4}"), STR("{}"), NULL, 0);
	/* Of any namespace. */
	ck_write(&b, "t", "x", STR("1"), "task", "__pregel_tasks", "a");
	ck_write(&b, "t", "", STR("1"), "task2", "__pregel_tasks", "b");
	ck_write(&b, "t", "", STR("1"), "task3", "other", "c");
	OKAY(ckpt_list(b.m, &b.a, &ann, &l, SIZE_MAX, &page, &n, &more));
	assert_int_equal(n, 3);
	assert_int_equal(page[0].sends_n, 0);
	assert_int_equal(page[1].sends_n, 2);
	assert_true(str_eq(page[1].sends[1].bytes, STR("b")));
	assert_int_equal(page[2].sends_n, 0);
	q.id = STR("2");
	OKAY(ckpt_get(b.m, &b.a, &ann, &q, &c, &found));
	assert_int_equal(c.sends_n, 0);
	q.want = CK_VALUES;
	OKAY(ckpt_get(b.m, &b.a, &ann, &q, &c, &found));
	assert_int_equal(c.sends_n, 2);
	q.id = STR("none");
	OKAY(ckpt_get(b.m, &b.a, &ann, &q, &c, &found));
	assert_false(found);
	bench_release(&b);
}

static void threads_end(void **state)
{
	struct bench b;
	struct ckpt_full *rows;

	bench_init(&b);
	ck_plain(&b, "t", "", STR(""), 0, "");
	OKAY(ckpt_delete_thread(b.m, &ann, STR("t")));
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 0);
	OKAY(ckpt_delete_thread(b.m, &ann, STR("t")));
	FAILS(ckpt_delete_thread(b.m, &reader, STR("t")), E_DENIED);
	FAILS(ckpt_delete_thread(b.m, &ann, STR("")), E_INVALID);
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_sort_by_time_and_carry_the_step),
		cmocka_unit_test(ids_follow_a_head_from_a_faster_clock),
		cmocka_unit_test(every_name_is_checked),
		cmocka_unit_test(every_part_is_checked),
		cmocka_unit_test(writes_are_of_one_task),
		cmocka_unit_test(the_old_format_is_recognised),
		cmocka_unit_test(lists_in_pages),
		cmocka_unit_test(sends_come_with_values_only),
		cmocka_unit_test(threads_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
