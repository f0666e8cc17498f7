/* Copying between two stores: everything arrives, newer stays, an interrupted copy goes on, what differs is found. */
#include "core/copy.h"
#include "core/session.h"
#include "core/testing.h"

struct told {
	char text[2000];
	unsigned calls, stop_at;
};

static void on_problem(void *ctx, const struct copy_problem *p)
{
	struct told *t = ctx;
	size_t n = strlen(t->text);

	snprintf(t->text + n, sizeof t->text - n, "%s %.*s %.*s: %.*s\n", p->what == COPY_FAILED ? "failed" : "differs",
		 STR_ARG(p->ns), STR_ARG(p->key), STR_ARG(p->reason));
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

static void put_at(struct bench *b, const char *ns, const char *key, const char *value, int64_t updated, double ttl, enum tri index)
{
	struct op_put op = {.ns = str_c(ns),
			    .key = str_c(key),
			    .value = str_c(value),
			    .ttl_minutes = ttl,
			    .index = index,
			    .created_us = 5,
			    .updated_us = updated};

	OKAY(memory_put(b->m, &b->a, &ann, &op));
}

static void say(struct bench *b, const char *thread, const char *mid, const char *content)
{
	struct message m = {.thread = str_c(thread),
			    .mid = str_c(mid),
			    .role = STR("user"),
			    .content = str_c(content),
			    .metadata = STR("{\"x\": 1}"),
			    .time_us = 77};
	size_t stored, unchanged;

	OKAY(session_append(b->m, &b->a, &ann, &m, 1, &stored, &unchanged));
}

static void fill(struct bench *b, int n)
{
	for (int i = 0; i < n; i++) {
		char key[32];

		snprintf(key, sizeof key, "k%d", i);
		put_at(b, i % 2 ? "a.b" : "a", key, "{\"text\":\"hello world\",\"n\":1.50}", 1000 + i, i % 3 ? 0 : 1e9 / 60,
		       TRI_UNSET);
		snprintf(key, sizeof key, "t%d", i % 7);
		say(b, key, arena_cstr(&b->a, arena_printf(&b->a, "m%d", i)), "good morning");
	}
}

static void arrives(void **state)
{
	struct pair p;
	struct item it;
	bool found;

	pair_init(&p);
	fill(&p.from, 2000);
	OKAY(run(&p));
	assert_int_equal(p.r.items, 2000);
	assert_int_equal(p.r.copied, 2000);
	assert_int_equal(p.r.messages_copied, 2000);
	assert_true(p.r.compared && p.r.equal);
	assert_int_equal(p.r.from_count, 4000);
	assert_true(p.r.from_sum == p.r.to_sum && p.r.from_sum != 0);
	OKAY(p.to.store->ops->item_get(p.to.store, &p.to.a, &ann, STR("a"), STR("k6"), 0, &it, &found));
	assert_true(found && it.created_us == 5 && it.updated_us == 1006 && it.ttl_minutes > 0 && it.expires_us > 1006);
	OKAY(run(&p)); /* again: nothing to do */
	assert_int_equal(p.r.unchanged, 2000);
	assert_int_equal(p.r.copied + p.r.messages_copied + p.r.newer, 0);
	assert_true(p.r.equal);
	pair_release(&p);
}

static void newer_stays(void **state)
{
	struct pair p;

	pair_init(&p);
	put_at(&p.from, "n", "older here", "{\"v\":1}", 1000, 0, TRI_UNSET);
	put_at(&p.to, "n", "older here", "{\"v\":2}", 2000, 0, TRI_UNSET);
	put_at(&p.from, "n", "newer here", "{\"v\":1}", 2000, 0, TRI_UNSET);
	put_at(&p.to, "n", "newer here", "{\"v\":2}", 1000, 0, TRI_UNSET);
	put_at(&p.from, "n", "same time", "{\"v\":1}", 3000, 0, TRI_UNSET);
	put_at(&p.to, "n", "same time", "{\"v\":2}", 3000, 0, TRI_UNSET);
	put_at(&p.to, "n", "own", "{\"v\":2}", 3000, 0, TRI_UNSET);
	p.opt.dry_run = true;
	OKAY(run(&p));
	assert_int_equal(p.r.copied, 2);
	assert_int_equal(p.r.newer, 1);
	p.opt.dry_run = false;
	OKAY(run(&p));
	assert_int_equal(p.r.copied, 2);
	assert_int_equal(p.r.newer, 1);
	assert_int_equal(p.r.extra, 1);
	assert_true(p.r.equal);
	assert_int_equal(p.r.from_count, 2);
	pair_release(&p);
}

static void goes_on(void **state)
{
	struct pair p;
	int64_t before = 0;

	pair_init(&p);
	fill(&p.from, 1800);
	for (unsigned stop = 2; stop < 7; stop++) {
		p.told.stop_at = stop;
		FAILS(run(&p), E_CANCELLED);
		assert_true(p.r.resumed == (stop > 2));
		assert_true(p.r.copied >= before);
		before = p.r.copied;
	}
	p.told.stop_at = 0;
	OKAY(run(&p));
	assert_true(p.r.resumed);
	assert_int_equal(p.r.items, 1800);
	assert_int_equal(p.r.copied, 1800);
	assert_int_equal(p.r.messages_copied, 1800);
	assert_int_equal(p.r.unchanged, 0);
	assert_true(p.r.equal);
	assert_int_equal(fake_store_writes(p.to.store), 3600);
	OKAY(run(&p));
	assert_false(p.r.resumed);
	pair_release(&p);
}

static void differences(void **state)
{
	struct pair p;
	struct message m = {.thread = STR("t"), .mid = STR("m"), .role = STR("user"), .content = STR("other")};
	size_t stored, unchanged;

	pair_init(&p);
	say(&p.from, "t", "m", "hello");
	say(&p.from, "u", "m", "hello");
	OKAY(session_append(p.to.m, &p.to.a, &ann, &m, 1, &stored, &unchanged));
	OKAY(run(&p));
	assert_true(p.r.compared && !p.r.equal);
	assert_int_equal(p.r.differ, 1);
	assert_int_equal(p.r.messages_copied, 1);
	assert_string_equal(p.told.text, "differs t m: is another one in the target\n");
	assert_true(p.r.from_sum != p.r.to_sum);
	pair_release(&p);
}

static void owners(void **state)
{
	struct pair p;
	struct message m = {.thread = STR("t"), .mid = STR("x"), .user = STR("ben"), .role = STR("user"), .content = STR("mine")};
	size_t stored, unchanged;

	pair_init(&p);
	say(&p.from, "s", "m", "hello");
	say(&p.from, "t", "m", "hello");
	OKAY(session_append(p.to.m, &p.to.a, &ann, &m, 1, &stored, &unchanged));
	OKAY(run(&p));
	assert_int_equal(p.r.failed, 1);
	assert_int_equal(p.r.messages_copied, 1);
	assert_non_null(strstr(p.told.text, "failed t m: "));
	assert_true(p.r.equal);
	pair_release(&p);
}

static void searches(struct pair *p, const char *query, size_t want)
{
	struct op_search s = {.prefix = STR("n"), .limit = 10, .query = str_c(query)};

	OKAY(memory_search(p->to.m, &p->to.a, &ann, &s));
	assert_int_equal(s.n, want);
}

static void documents(void **state)
{
	struct pair p;
	struct str path = STR("title");
	struct op_put op = {.ns = STR("n"),
			    .key = STR("paths"),
			    .value = STR("{\"title\":\"lighthouse\",\"body\":\"harbour\"}"),
			    .index_paths = &path,
			    .index_paths_n = 1};

	pair_init(&p);
	put_at(&p.from, "n", "hidden", "{\"t\":\"walrus\"}", 1000, 0, TRI_NO);
	put_at(&p.from, "n", "plain", "{\"t\":\"penguin\"}", 1000, 0, TRI_UNSET);
	OKAY(memory_put(p.from.m, &p.from.a, &ann, &op));
	OKAY(run(&p));
	assert_int_equal(p.r.copied, 3);
	searches(&p, "walrus", 0);
	searches(&p, "penguin", 1);
	searches(&p, "lighthouse", 1);
	searches(&p, "harbour", 0);
	pair_release(&p);
}

static void keys(void **state)
{
	struct pair p;
	struct key_record k = {.id = STR("0123abcd"), .name = STR("n"), .tenant = STR("default"), .rights = RIGHT_READ}, out;
	bool found;

	pair_init(&p);
	OKAY(p.from.store->ops->key_put(p.from.store, &k));
	k.id = STR("11111111");
	k.tenant = STR("other");
	OKAY(p.from.store->ops->key_put(p.from.store, &k));
	OKAY(run(&p));
	assert_int_equal(p.r.keys, 1);
	OKAY(p.to.store->ops->key_get(p.to.store, &p.to.a, k.id, &out, &found));
	assert_false(found);
	k.id = STR("0123abcd");
	k.tenant = STR("default");
	k.revoked_us = 9;
	OKAY(p.from.store->ops->key_put(p.from.store, &k));
	OKAY(run(&p));
	assert_int_equal(p.r.keys, 1);
	k.revoked_us = 0;
	OKAY(p.from.store->ops->key_put(p.from.store, &k));
	OKAY(run(&p));
	assert_int_equal(p.r.keys, 0);
	OKAY(p.to.store->ops->key_get(p.to.store, &p.to.a, k.id, &out, &found));
	assert_true(found && out.revoked_us == 9);
	pair_release(&p);
}

static void errors_end_it(void **state)
{
	struct pair p;

	pair_init(&p);
	fill(&p.from, 10);
	fake_store_fail(p.to.store, E_IO, 1);
	FAILS(run(&p), E_IO);
	OKAY(run(&p));
	assert_true(p.r.equal);
	pair_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arrives),     cmocka_unit_test(newer_stays),	cmocka_unit_test(goes_on),
		cmocka_unit_test(differences), cmocka_unit_test(owners),	cmocka_unit_test(documents),
		cmocka_unit_test(keys),	       cmocka_unit_test(errors_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
