/* Retention: rules and the places of what is wrong in them; passes at times that are given; the background task beside a writer. */
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "core/checkpoint_testing.h"
#include "core/retention_impl.h"
#include "rt/wait.h"

#define DAY (86400ll * 1000000)

/* ---------------------------------------------------------------- rules */

static void rules_are_taken_in_order(void **state)
{
	struct retention *r;
	const struct retention_rule *rule;

	OKAY(retention_parse(
		STR(" default/vip- : every=5 last=100 ; default/user:a: idle=1;\n*: last=10 days=30 idle=365 ;; other:last=1 "),
		&r));
	assert_int_equal(r->n, 4);
	rule = retention_rule_of(r, STR("default"), STR("vip-1"));
	assert_string_equal(rule->text, "last=100 every=5");
	assert_true(rule->prunes && rule->policy.keep_last == 100 && rule->policy.keep_every == 5 && rule->idle_us == 0);
	rule = retention_rule_of(r, STR("default"), STR("user:abc"));
	assert_true(!rule->prunes && rule->idle_us == DAY);
	rule = retention_rule_of(r, STR("default"), STR("user:b"));
	assert_string_equal(rule->text, "last=10 days=30 idle=365");
	assert_true(rule->policy.keep_days_us == 30 * DAY && rule->idle_us == 365 * DAY);
	/* The first that fits counts. */
	assert_ptr_equal(retention_rule_of(r, STR("other"), STR("x")), rule);
	retention_free(r);
	OKAY(retention_parse(STR(""), &r));
	assert_null(retention_rule_of(r, STR("default"), STR("x")));
	assert_null(retention_rule_of(NULL, STR("default"), STR("x")));
	retention_free(r);
	OKAY(retention_parse(STR("t: days=7"), &r));
	assert_int_equal(r->v[0].policy.keep_last, 1);
	retention_free(r);
	retention_free(NULL);
}

static void wrong_rules_say_where(void **state)
{
	static const struct {
		const char *text;
		int position;
		const char *says;
	} t[] = {
		{"last=1", 0, "no colon"},
		{"default:", 0, "says nothing"},
		{"a: last=1; b: ", 11, "says nothing"},
		{"a: last=1; B: last=1", 11, "a tenant's name"},
		{": last=1", 0, "a tenant's name"},
		{"a: last=0", 8, "1..1000000000"},
		{"a: last=x", 8, "whole number"},
		{"a: days=", 3, "1..36500"},
		{"a: idle=36501", 8, "1..36500"},
		{"a: last=1 frist=2", 10, "last=N"},
		{"a: last", 3, "last=N"},
		{"a: last=1 last=2", 10, "twice"},
		{"a: last=1, days=2", 8, "whole number"},
	};

	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		struct retention *r;
		char place[40];

		FAILS(retention_parse(str_c(t[i].text), &r), E_INVALID);
		assert_null(r);
		snprintf(place, sizeof place, "at character %d: ", t[i].position + 1);
		if (diag_get()->position != t[i].position || !strstr(diag_get()->text, t[i].says) ||
		    !strstr(diag_get()->text, place))
			fail_msg("%s: %s (%lld)", t[i].text, diag_get()->text, (long long)diag_get()->position);
	}
}

/* ---------------------------------------------------------------- passes */

struct told {
	int n, whole;
	int64_t checkpoints;
	char last[400];
};

static void tell(void *ctx, const struct retention_step *s)
{
	struct told *t = ctx;

	t->n++;
	t->whole += s->whole;
	t->checkpoints += s->removed.checkpoints;
	snprintf(t->last, sizeof t->last, "%.*s/%.*s %s", STR_ARG(s->tenant), STR_ARG(s->thread), s->rule);
}

static struct told pass(struct bench *b, const char *rules, bool dry_run, int64_t later_us)
{
	struct retention *r = NULL;
	struct told t = {.n = 0};

	if (rules)
		OKAY(retention_parse(str_c(rules), &r));
	OKAY(retention_pass_at(b->store, &ann, r, dry_run, clock_wall_us() + later_us, tell, &t));
	retention_free(r);
	return t;
}

static void fill(struct bench *b, const char *thread, int n)
{
	struct str last = STR("");

	for (int i = 0; i < n; i++)
		last = ck_plain(b, thread, "", last, i, "");
}

static size_t left(struct bench *b, const char *thread)
{
	struct ckpt_full *rows;

	return ck_rows(b, &ann, thread, NULL, &rows);
}

static void rules_prune_and_delete(void **state)
{
	static const char rules[] = "default/a: last=3; default/b: days=2; *: idle=10";
	struct bench b;
	struct told t;

	bench_init(&b);
	fill(&b, "a1", 10);
	fill(&b, "b1", 10);
	fill(&b, "c1", 10);
	t = pass(&b, rules, true, 0);
	assert_true(t.n == 1 && t.checkpoints == 7 && t.whole == 0);
	assert_string_equal(t.last, "default/a1 last=3");
	assert_int_equal(left(&b, "a1"), 10);
	t = pass(&b, rules, false, 0);
	assert_true(t.n == 1 && t.checkpoints == 7);
	assert_int_equal(left(&b, "a1"), 3);
	assert_int_equal(pass(&b, rules, false, 0).n, 0);
	/* Days go by. */
	t = pass(&b, rules, false, 3 * DAY);
	assert_true(t.n == 1 && t.checkpoints == 9);
	assert_string_equal(t.last, "default/b1 days=2");
	assert_int_equal(pass(&b, rules, false, 9 * DAY).n, 0);
	t = pass(&b, rules, true, 11 * DAY);
	assert_true(t.n == 1 && t.whole == 1 && t.checkpoints == 10);
	assert_int_equal(left(&b, "c1"), 10);
	t = pass(&b, rules, false, 11 * DAY);
	assert_true(t.n == 1 && t.whole == 1);
	assert_string_equal(t.last, "default/c1 idle=10");
	assert_int_equal(left(&b, "c1"), 0);
	/* The head of a living thread never. */
	assert_int_equal(left(&b, "a1"), 3);
	assert_int_equal(left(&b, "b1"), 1);
	bench_release(&b);
}

static void with_ttl(struct bench *b, const char *thread, double minutes, enum thread_ttl strategy)
{
	struct thread_record r = {.thread = str_c(thread),
				  .user = STR(""),
				  .metadata = STR("{}"),
				  .config = STR(""),
				  .ttl_minutes = minutes,
				  .ttl_strategy = strategy};

	OKAY(b->store->ops->threads->put(b->store, &ann, &r, IF_ANY));
}

static void threads_own_ttl_comes_first(void **state)
{
	static const char rules[] = "*: last=4 idle=1";
	struct bench b;
	struct told t;

	bench_init(&b);
	fill(&b, "a", 6);
	fill(&b, "b", 6);
	fill(&b, "c", 6);
	with_ttl(&b, "a", 60 * 24 * 5, TTL_DELETE);
	with_ttl(&b, "b", 60 * 24 * 5, TTL_KEEP_LATEST);
	with_ttl(&b, "only", 60, TTL_DELETE);
	/* Without rules: ttl alone. */
	t = pass(&b, NULL, false, DAY / 12);
	assert_true(t.n == 1 && t.whole == 1);
	assert_string_equal(t.last, "default/only ttl");
	t = pass(&b, rules, false, 2 * DAY);
	assert_int_equal(t.whole, 1);
	assert_int_equal(left(&b, "a"), 4);
	assert_int_equal(left(&b, "b"), 4);
	assert_int_equal(left(&b, "c"), 0);
	pass(&b, rules, false, 6 * DAY);
	assert_int_equal(left(&b, "a"), 0);
	assert_int_equal(left(&b, "b"), 1);
	assert_int_equal(pass(&b, rules, false, 60 * DAY).n, 0);
	bench_release(&b);
}

static void a_pass_stays_in_its_tenant(void **state)
{
	struct bench b;
	struct ckpt_full *rows;
	struct retention *r;
	char id[37];

	bench_init(&b);
	fill(&b, "t", 3);
	for (int i = 0; i < 3; i++) {
		ckpt_new_id(i, id);
		ck_put(&b, &other, STR("t"), STR(""), str_c(id), STR(""), STR("{}"), STR("{}"), NULL, 0);
	}
	pass(&b, "other: last=1; default: last=2", false, 0);
	assert_int_equal(left(&b, "t"), 2);
	assert_int_equal(ck_rows(&b, &other, "t", NULL, &rows), 3);
	OKAY(retention_parse(STR("*: last=1"), &r));
	FAILS(retention_pass(b.m, &reader, r, false, NULL, NULL), E_DENIED);
	OKAY(retention_pass(b.m, &reader, r, true, NULL, NULL));
	assert_int_equal(left(&b, "t"), 2);
	retention_free(r);
	bench_release(&b);
}

static void a_pass_that_fails_is_gone_on_with(void **state)
{
	struct bench b;
	struct retention *r;

	bench_init(&b);
	for (int i = 0; i < 5; i++)
		fill(&b, (const char *[]){"a", "b", "c", "d", "e"}[i], 5);
	OKAY(retention_parse(STR("*: last=1"), &r));
	for (unsigned calls = 0; calls < 12; calls++) {
		fake_store_fail_after(b.store, E_IO, calls);
		enum err e = retention_pass(b.m, &ann, r, false, NULL, NULL);
		fake_store_fail(b.store, OK, 0);
		assert_true(e == OK || e == E_IO);
		for (int i = 0; i < 5; i++)
			assert_true(left(&b, (const char *[]){"a", "b", "c", "d", "e"}[i]) >= 1);
	}
	OKAY(retention_pass(b.m, &ann, r, false, NULL, NULL));
	for (int i = 0; i < 5; i++)
		assert_int_equal(left(&b, (const char *[]){"a", "b", "c", "d", "e"}[i]), 1);
	retention_free(r);
	bench_release(&b);
}

/* ---------------------------------------------------------------- for ever */

struct keeper {
	struct memory *m;
	struct retention *r;
	enum err e;
};

static void *keep(void *arg)
{
	struct keeper *k = arg;

	k->e = retention_forever(k->m, k->r, 5);
	return NULL;
}

/* Beside a writer, over several tenants, until the store fails for good with what ends it: the writer's chain is never cut. */
static void in_the_background(void **state)
{
	struct bench b;
	struct keeper k = {.e = OK};
	struct buf metrics;
	pthread_t thread;
	struct str last = STR("");

	bench_init(&b);
	OKAY(retention_parse(STR("*: last=5"), &k.r));
	k.m = b.m;
	assert_int_equal(pthread_create(&thread, NULL, keep, &k), 0);
	for (int i = 0; i < 300; i++) {
		last = ck_plain(&b, i % 2 ? "x" : "y", "", i > 1 ? STR("") : last, i, "");
		assert_true(ck_there(&b, i % 2 ? "x" : "y", "", last));
		if (i % 50 == 0)
			OKAY(wait_until(deadline_in_ms(5)));
	}
	for (int i = 0; i < 2000 && left(&b, "x") + left(&b, "y") != 10; i++)
		OKAY(wait_until(deadline_in_ms(5)));
	assert_int_equal(left(&b, "x"), 5);
	assert_int_equal(left(&b, "y"), 5);
	fake_store_fail(b.store, E_CANCELLED, 1000000);
	pthread_join(thread, NULL);
	assert_string_equal(err_name(k.e), err_name(E_CANCELLED));
	buf_init(&metrics, &b.a, 1 << 16);
	retention_metrics(&metrics);
	buf_byte(&metrics, 0);
	assert_non_null(strstr(metrics.p, "# TYPE cenote_retention_checkpoints_removed_total counter\n"));
	assert_null(strstr(metrics.p, "cenote_retention_passes_total 0\n"));
	retention_free(k.r);
	bench_release(&b);
}

/* A store whose tenant "broken" has a damaged file. */
static const struct store_ops *whole;

static enum err broken_list(struct store *s, const struct principal *who, const struct str *user, struct str after, size_t limit,
			    thread_fn fn, void *ctx)
{
	if (str_eq(who->tenant, STR("broken")))
		return err_set(E_CORRUPT, "the store file broken.sqlite is damaged");
	return whole->thread_list(s, who, user, after, limit, fn, ctx);
}

static void a_damaged_tenant_does_not_stop_the_others(void **state)
{
	static const struct principal broken = {.tenant = STR_INIT("broken"), .rights = RIGHT_ALL};
	struct bench b;
	struct keeper k = {.e = OK};
	struct store_ops table;
	pthread_t thread;
	char id[37];

	bench_init(&b);
	ckpt_new_id(0, id);
	ck_put(&b, &broken, STR("t"), STR(""), str_c(id), STR(""), STR("{}"), STR("{}"), NULL, 0); /* the first tenant */
	fill(&b, "t", 9);
	OKAY(retention_parse(STR("*: last=5"), &k.r));
	whole = b.store->ops;
	table = *whole;
	table.thread_list = broken_list;
	b.store->ops = &table;
	k.m = b.m;
	assert_int_equal(pthread_create(&thread, NULL, keep, &k), 0);
	for (int i = 0; i < 2000 && left(&b, "t") != 5; i++)
		OKAY(wait_until(deadline_in_ms(5)));
	assert_int_equal(left(&b, "t"), 5);
	fake_store_fail(b.store, E_CANCELLED, 1000000);
	pthread_join(thread, NULL);
	assert_string_equal(err_name(k.e), err_name(E_CANCELLED));
	b.store->ops = whole;
	retention_free(k.r);
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_taken_in_order),   cmocka_unit_test(wrong_rules_say_where),
		cmocka_unit_test(rules_prune_and_delete),     cmocka_unit_test(threads_own_ttl_comes_first),
		cmocka_unit_test(a_pass_stays_in_its_tenant), cmocka_unit_test(a_pass_that_fails_is_gone_on_with),
		cmocka_unit_test(in_the_background),	      cmocka_unit_test(a_damaged_tenant_does_not_stop_the_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
