/* Copying threads between two stores: records, checkpoints, pending writes, entries; again without writing; after an interruption;
 * what differs is found. */
#include "base/clock.h"
#include "core/checkpoint_testing.h"
#include "core/copy.h"

struct told {
	char text[4000];
	unsigned calls, stop_at;
};

static void on_problem(void *ctx, const struct copy_problem *p)
{
	static const char *const kinds[] = {"item", "message", "thread", "checkpoint", "entry"};
	struct told *t = ctx;
	size_t n = strlen(t->text);

	snprintf(t->text + n, sizeof t->text - n, "%s %s %.*s %.*s: %.*s\n", p->what == COPY_FAILED ? "failed" : "differs",
		 kinds[p->kind], STR_ARG(p->ns), STR_ARG(p->key), STR_ARG(p->reason));
}

static bool stopped(void *ctx)
{
	struct told *t = ctx;

	return ++t->calls == t->stop_at;
}

struct pair {
	struct bench from, to;
	struct told told;
	struct copy_result r;
	struct copy_options opt;
};

static void pair_init(struct pair *p)
{
	*p = (struct pair){0};
	bench_init(&p->from);
	bench_init(&p->to);
	p->opt = (struct copy_options){
		.source = STR("s1"), .languages = STR("english"), .problem = on_problem, .stopped = stopped, .ctx = &p->told};
}

static void pair_release(struct pair *p)
{
	bench_release(&p->from);
	bench_release(&p->to);
}

static enum err run(struct pair *p)
{
	p->told.text[0] = '\0';
	p->told.calls = 0;
	return copy_tenant(p->from.store, p->to.store, STR("default"), &p->opt, &p->r);
}

static void say(struct bench *b, const struct principal *who, const char *thread, const char *json)
{
	struct session_entry v = {.data = str_c(json)};
	struct entry_append e = {.thread = str_c(thread), .v = &v, .n = 1};

	OKAY(b->store->ops->threads->append(b->store, who, &e));
}

static void record(struct bench *b, const char *thread, const char *metadata)
{
	struct thread_record r = {.thread = str_c(thread),
				  .user = STR("ann"),
				  .metadata = str_c(metadata),
				  .config = STR("{}"),
				  .ttl_minutes = 5,
				  .ttl_strategy = TTL_KEEP_LATEST};

	OKAY(b->store->ops->threads->put(b->store, &ann, &r, IF_ANY));
}

/* Five threads; one with everything. */
static void fill(struct bench *b)
{
	struct str last = STR("");

	record(b, "all", "{\"k\": [1.0, 2]}");
	for (int i = 0; i < 250; i++) {
		struct ckpt_value v = {STR("c"), arena_printf(&b->a, "%d", i), STR("msgpack"), arena_printf(&b->a, "value %d", i)};
		char id[37];

		ckpt_new_id(i, id);
		struct str mine = arena_str(&b->a, str_c(id));
		ck_put(b, &ann, STR("all"), i % 5 ? STR("") : STR("sub:1"), mine, last,
		       arena_printf(&b->a, "{\"v\":4,\"channel_versions\":{\"c\":\"%d\"}}", i), STR("{\"step\": 1}"), &v, 1);
		last = mine;
	}
	ck_write(b, "all", "", last, "task1", "c", "w1");
	ck_write(b, "all", "", last, "task2", "c", "w2");
	for (int i = 0; i < 3; i++)
		ck_plain(b, (const char *[]){"x", "y", "z"}[i], "", STR(""), i, "");
	for (int i = 0; i < 700; i++)
		say(b, &bound, "session", arena_cstr(&b->a, arena_printf(&b->a, "{\"n\": %d}", i)));
}

static void everything_arrives(void **state)
{
	struct pair p;
	struct thread_info t;
	bool found;

	pair_init(&p);
	fill(&p.from);
	p.opt.dry_run = true;
	OKAY(run(&p));
	assert_int_equal(p.r.checkpoints_copied, 253);
	assert_int_equal(p.r.entries_copied, 700);
	assert_int_equal(fake_store_write_calls(p.to.store), 0);
	p.opt.dry_run = false;
	OKAY(run(&p));
	assert_string_equal(p.told.text, "");
	assert_true(p.r.compared && p.r.equal);
	assert_int_equal(p.r.checkpoints, 253);
	assert_int_equal(p.r.checkpoints_copied, 253);
	assert_int_equal(p.r.entries_copied, 700);
	assert_int_equal(p.r.threads, 1);
	assert_int_equal(p.r.from_count, 253 + 700 + 1);
	OKAY(p.to.store->ops->threads->get(p.to.store, &p.to.a, &ann, STR("all"), &t, &found));
	assert_true(found && t.checkpoints == 250 && t.ttl_minutes == 5 && t.ttl_strategy == TTL_KEEP_LATEST &&
		    str_eq(t.user, STR("ann")));
	/* Whose it is, it is there too. */
	OKAY(p.to.store->ops->threads->get(p.to.store, &p.to.a, &bound, STR("session"), &t, &found));
	assert_true(found && t.entries == 700 && str_eq(t.user, bound.user));
	struct ckpt_full a = ck_get(&p.from, "all", "", STR("")), b = ck_get(&p.to, "all", "", STR(""));
	assert_true(str_eq(a.c.id, b.c.id) && str_eq(a.c.parent, b.c.parent) && a.c.writes_n == b.c.writes_n);
	assert_true(str_eq(a.c.values[0].bytes, b.c.values[0].bytes));
	/* Again: nothing is written; then what was added. */
	OKAY(run(&p));
	assert_true(p.r.equal && p.r.checkpoints_copied == 0 && p.r.entries_copied == 0);
	ck_plain(&p.from, "x", "", STR(""), 1, "");
	say(&p.from, &bound, "session", "{}");
	OKAY(run(&p));
	assert_true(p.r.equal && p.r.checkpoints_copied == 1 && p.r.entries_copied == 1);
	pair_release(&p);
}

static void an_interrupted_copy_goes_on(void **state)
{
	struct pair p;
	int64_t entries = 0;

	for (unsigned stop = 2; stop < 24; stop += 3) {
		pair_init(&p);
		fill(&p.from);
		p.told.stop_at = stop;
		enum err e = run(&p);
		assert_true(e == E_CANCELLED || e == OK);
		p.told.stop_at = 0;
		if (e != OK)
			OKAY(run(&p));
		assert_true(p.r.equal);
		assert_int_equal(p.r.from_count, 253 + 700 + 1);
		struct store_stats st;
		OKAY(p.to.store->ops->stats(p.to.store, &ann, &st));
		entries += st.entries;
		assert_int_equal(st.entries, 700);
		pair_release(&p);
	}
	assert_true(entries > 0);
}

static void what_differs_is_told(void **state)
{
	struct pair p;
	struct ckpt_full head;
	struct thread_info t;
	bool found;

	pair_init(&p);
	fill(&p.from);
	/* Another session under the name; another record, which is newer: the one copied from has the time of its last change,
	 * which may lie ahead of the clock (fake_tick). */
	say(&p.to, &bound, "session", "{\"n\": 1}");
	OKAY(p.from.store->ops->threads->get(p.from.store, &p.from.a, &ann, STR("all"), &t, &found));
	while (clock_wall_us() <= t.updated_us)
		;
	record(&p.to, "all", "{\"k\": 2}");
	OKAY(run(&p));
	assert_non_null(strstr(p.told.text, "failed entry session : the target's session has other entries"));
	assert_true(p.r.newer == 1 && p.r.failed == 1);
	/* A thread of another user is left alone. */
	say(&p.from, &ann, "mine", "{}");
	const struct principal eve = {.tenant = STR("default"), .user = STR("eve"), .user_bound = true, .rights = RIGHT_ALL};
	ck_put(&p.to, &eve, STR("x2"), STR(""), STR("1"), STR(""), STR("{}"), STR("{}"), NULL, 0);
	ck_put(&p.from, &bound, STR("x2"), STR(""), STR("1"), STR(""), STR("{}"), STR("{}"), NULL, 0);
	OKAY(run(&p));
	assert_non_null(strstr(p.told.text, "failed checkpoint x2 1: "));
	pair_release(&p);
	/* Something else in the target: told by the comparison, put right by the next copy. */
	pair_init(&p);
	fill(&p.from);
	OKAY(run(&p));
	head = ck_get(&p.to, "all", "", STR(""));
	ck_put(&p.to, &ann, STR("all"), STR(""), head.c.id, STR(""), STR("{\"v\":4}"), STR("{}"), NULL, 0);
	OKAY(run(&p));
	assert_true(p.r.equal && p.r.checkpoints_copied == 1);
	pair_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_arrives),
		cmocka_unit_test(an_interrupted_copy_goes_on),
		cmocka_unit_test(what_differs_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
