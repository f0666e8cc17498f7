/* Pruning and deleting runs: the cases of the conformance suite and of the contract one by one; then random histories with delta
 * channels against a plain model: whatever is kept must read the same as before, and nothing else may be left. */
#include <stdlib.h>

#include "core/checkpoint_testing.h"

/* ---------------------------------------------------------------- one by one */

static struct str chain(struct bench *b, const char *thread, const char *ns, int n, const char *metadata, struct str *ids)
{
	struct str last = STR("");

	for (int i = 0; i < n; i++) {
		last = ck_plain(b, thread, ns, last, i, metadata);
		if (ids)
			ids[i] = last;
	}
	return last;
}

static void keeps_the_latest_of_every_namespace(void **state)
{
	struct bench b;
	struct ckpt_full *rows;
	struct str last, child;

	bench_init(&b);
	last = chain(&b, "t", "", 4, "", NULL);
	child = chain(&b, "t", "child:1", 3, "", NULL);
	chain(&b, "u", "", 3, "", NULL);
	ck_write(&b, "t", "", last, "task", "ch", "val");
	struct ckpt_pruned dry = ck_prune(&b, "t", &keep_latest, true), p = ck_prune(&b, "t", &keep_latest, false);
	assert_int_equal(dry.threads, 1);
	assert_int_equal(dry.removed.checkpoints, 5);
	assert_true(dry.removed.bytes > 0);
	assert_int_equal(p.threads, 1);
	assert_int_equal(p.removed.checkpoints, 5);
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 2);
	assert_true(ck_there(&b, "t", "", last) && ck_there(&b, "t", "child:1", child));
	struct ckpt_full c = ck_get(&b, "t", "", last);
	assert_int_equal(c.c.parent.n, 0);
	assert_int_equal(c.c.writes_n, 1);
	assert_int_equal(ck_rows(&b, &ann, "u", NULL, &rows), 3);
	/* Nothing more goes, nothing that is not there is an error. */
	assert_int_equal(ck_prune(&b, "t", &keep_latest, false).removed.checkpoints, 0);
	assert_int_equal(ck_prune(&b, "none", &keep_latest, false).threads, 0);
	struct ckpt_pruned none;
	OKAY(ckpt_prune(b.m, &b.a, &ann, NULL, 0, &keep_latest, false, &none));
	bench_release(&b);
}

static void deletes_everything(void **state)
{
	static const struct ckpt_policy all = {.drop_all = true};
	struct bench b;
	struct ckpt_full *rows;

	bench_init(&b);
	chain(&b, "t", "", 3, "", NULL);
	chain(&b, "t", "x", 2, "", NULL);
	assert_int_equal(ck_prune(&b, "t", &all, true).removed.checkpoints, 5);
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 5);
	assert_int_equal(ck_prune(&b, "t", &all, false).removed.checkpoints, 5);
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 0);
	assert_int_equal(ck_prune(&b, "t", &all, false).threads, 0);
	bench_release(&b);
}

static const char *parents(struct bench *b, struct str root)
{
	return arena_cstr(&b->a, arena_printf(&b->a, ",\"parents\":{\"\":\"%.*s\"}", STR_ARG(root)));
}

static void calls_of_subgraphs_go_with_their_root(void **state)
{
	struct bench b;
	struct ckpt_full *rows;
	struct str root[3], kept, lasting;

	bench_init(&b);
	chain(&b, "t", "", 3, "", root);
	chain(&b, "t", "sub:1", 3, parents(&b, root[0]), NULL);
	chain(&b, "t", "sub:1|deep:2", 2, parents(&b, root[0]), NULL);
	kept = chain(&b, "t", "sub:3", 3, parents(&b, root[2]), NULL);
	lasting = chain(&b, "t", "memory", 3, parents(&b, root[0]), NULL);
	struct str orphan = chain(&b, "t", "sub:4", 2, parents(&b, STR("1f000000-0000-6000-8000-000000000000")), NULL);
	/* A head without the entry stays, whatever older ones say. */
	chain(&b, "t", "sub:5", 2, parents(&b, root[0]), NULL);
	struct str plain = chain(&b, "t", "sub:5", 1, "", NULL);
	assert_int_equal(ck_prune(&b, "t", &keep_latest, false).removed.checkpoints, 2 + 3 + 2 + 2 + 2 + 1 + 2);
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 5);
	assert_true(ck_there(&b, "t", "", root[2]) && ck_there(&b, "t", "sub:3", kept) && ck_there(&b, "t", "memory", lasting));
	assert_true(ck_there(&b, "t", "sub:4", orphan) && ck_there(&b, "t", "sub:5", plain));
	bench_release(&b);
}

static struct str old_format(struct bench *b, struct str parent, int step)
{
	char id[37];

	ckpt_new_id(step, id);
	struct str mine = arena_str(&b->a, str_c(id));
	ck_put(b, &ann, STR("t"), STR(""), mine, parent, STR("{\"v\":3}"), arena_printf(&b->a, "{\"step\":%d}", step), NULL, 0);
	return mine;
}

static void parents_with_sends_of_the_old_format_stay(void **state)
{
	struct bench b;
	struct ckpt_full *rows;
	struct str ids[4];

	bench_init(&b);
	for (int i = 0; i < 4; i++)
		ids[i] = old_format(&b, i ? ids[i - 1] : STR(""), i);
	ck_write(&b, "t", "", ids[2], "task", "__pregel_tasks", "send");
	ck_write(&b, "t", "", ids[1], "task", "__pregel_tasks", "older");
	struct ckpt_full before = ck_get(&b, "t", "", ids[3]);
	assert_int_equal(before.sends_n, 1);
	ck_prune(&b, "t", &keep_latest, false);
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 2);
	struct ckpt_full after = ck_get(&b, "t", "", ids[3]);
	assert_int_equal(after.sends_n, 1);
	assert_true(str_eq(after.sends[0].bytes, STR("send")));
	assert_true(str_eq(after.c.parent, ids[2]));
	bench_release(&b);
}

static void reasons_to_stay_add_up(void **state)
{
	static const struct ckpt_policy p = {.keep_last = 2, .keep_every = 10};
	struct bench b;
	struct str ids[35];
	int left = 0;

	bench_init(&b);
	chain(&b, "t", "", 35, "", ids);
	/* Again and again: what a step's number keeps stays kept. */
	for (int round = 0; round < 3; round++) {
		left = 0;
		ck_prune(&b, "t", &p, false);
		for (int i = 0; i < 35; i++) {
			bool stays = i % 10 == 0 || i >= 33;

			assert_int_equal(ck_there(&b, "t", "", ids[i]), stays);
			left += stays;
		}
	}
	assert_int_equal(left, 6);
	bench_release(&b);
}

static void the_young_stay(void **state)
{
	const struct ckpt_policy p = {.keep_last = 1, .keep_days_us = 86400000000ll};
	struct ckpt_prune_how how = {&p, false, 0, 0};
	struct ckpt_plan_result r;
	struct bench b;
	struct str ids[4];

	bench_init(&b);
	chain(&b, "t", "", 4, "", ids);
	/* By its ts, and with no time at all. */
	ck_put(&b, &ann, STR("t"), STR(""), STR("0-dated"), STR(""), STR("{\"v\":4,\"ts\":\"2020-01-01T00:00:00+00:00\"}"),
	       STR("{}"), NULL, 0);
	ck_put(&b, &ann, STR("t"), STR(""), STR("0-undated"), STR(""), STR("{\"v\":4}"), STR("{}"), NULL, 0);
	how.now_us = ckpt_id_time(ids[3]) + 1;
	OKAY(ckpt_prune_thread(b.store, &ann, STR("t"), &how, &r));
	assert_int_equal(r.removed.checkpoints, 1);
	assert_int_equal(r.next_us, ckpt_id_time(ids[0]) + p.keep_days_us);
	how.now_us = ckpt_id_time(ids[1]) + p.keep_days_us;
	OKAY(ckpt_prune_thread(b.store, &ann, STR("t"), &how, &r));
	assert_int_equal(r.removed.checkpoints, 2);
	assert_int_equal(r.next_us, ckpt_id_time(ids[2]) + p.keep_days_us);
	assert_true(ck_there(&b, "t", "", ids[2]) && ck_there(&b, "t", "", STR("0-undated")));
	bench_release(&b);
}

static void optional_flags_are_no_delta_channels(void **state)
{
	static const char *const flags[] = {"true", "null", "null", "null"};
	struct bench b;
	struct ckpt_full *rows;
	struct str last = STR("");

	bench_init(&b);
	for (int i = 0; i < 4; i++) {
		char id[37];

		ckpt_new_id(i, id);
		struct str mine = arena_str(&b.a, str_c(id));
		ck_put(&b, &ann, STR("t"), STR(""), mine, last,
		       arena_printf(&b.a,
				    "{\"v\":4,\"channel_values\":{\"flag\":%s},\"channel_versions\":{\"flag\":\"%d\",\"__start__\":"
				    "\"1\"}}",
				    flags[i], i),
		       STR("{}"), NULL, 0);
		last = mine;
	}
	ck_prune(&b, "t", &keep_latest, false);
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 1);
	bench_release(&b);
}

static void delta_channels_of_javascript(void **state)
{
	struct bench b;
	struct ckpt_full *rows;
	struct str ids[6];

	bench_init(&b);
	for (int i = 0; i < 6; i++) {
		struct ckpt_value v = {STR("d"), i == 2 ? STR("2") : STR("0"), STR("json"), STR("[]")};
		char id[37];

		ckpt_new_id(i, id);
		ids[i] = arena_str(&b.a, str_c(id));
		ck_put(&b, &ann, STR("t"), STR(""), ids[i], i ? ids[i - 1] : STR(""),
		       arena_printf(&b.a, "{\"v\":4,\"channel_versions\":{\"d\":\"%d\",\"branch:to:x\":\"1\",\"__start__\":\"1\"}}",
				    i),
		       STR("{\"delta_writes_versioned\":true}"), &v, i == 0 || i == 2 ? 1 : 0);
	}
	ck_prune(&b, "t", &keep_latest, false);
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 4);
	assert_true(ck_there(&b, "t", "", ids[2]) && !ck_there(&b, "t", "", ids[1]));
	bench_release(&b);
}

/* ---------------------------------------------------------------- runs */

static struct str of_run(struct bench *b, const char *thread, const char *ns, const char *run, struct str parent)
{
	return ck_plain(b, thread, ns, parent, 0, arena_cstr(&b->a, arena_printf(&b->a, ",\"run_id\":\"%s\"", run)));
}

static int64_t delete_runs(struct bench *b, const struct principal *who, const char *r1, const char *r2)
{
	struct str ids[] = {str_c(r1), str_c(r2)};
	struct ckpt_removed out;

	OKAY(ckpt_delete_runs(b->m, &b->a, who, ids, 2, &out));
	return out.checkpoints;
}

static void runs_go_everywhere(void **state)
{
	struct bench b;
	struct ckpt_full *rows;
	struct str x, y, z, w;
	struct ckpt_removed none;

	bench_init(&b);
	x = of_run(&b, "t", "", "r1", STR(""));
	y = of_run(&b, "t", "", "r2", x);
	z = of_run(&b, "t", "", "r3", y);
	of_run(&b, "t", "child:1", "r1", STR(""));
	w = of_run(&b, "u", "", "r2", STR(""));
	ck_write(&b, "u", "", w, "task", "ch", "v");
	ck_plain(&b, "u", "", w, 1, "");
	assert_int_equal(delete_runs(&b, &other, "r1", "r2"), 0);
	assert_int_equal(delete_runs(&b, &ann, "r1", "r2"), 4);
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 1);
	assert_true(str_eq(rows[0].c.id, z) && rows[0].c.parent.n == 0);
	assert_int_equal(ck_rows(&b, &ann, "u", NULL, &rows), 1);
	assert_int_equal(delete_runs(&b, &ann, "r1", "nobody"), 0);
	OKAY(ckpt_delete_runs(b.m, &b.a, &ann, NULL, 0, &none));
	/* The last one, too. */
	assert_int_equal(delete_runs(&b, &ann, "r3", "r4"), 1);
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 0);
	bench_release(&b);
}

/* ---------------------------------------------------------------- histories at random */

enum { DELTAS = 2, ROWS = 60 };
static const char *const delta_name[DELTAS] = {"d0", "d1"};

struct row {
	struct str id, state[DELTAS + 1]; /* what was read before: of each delta channel, and of the ordinary one */
	int parent, step;
	bool stored[DELTAS];
	int version[DELTAS]; /* 0: none */
	bool kept, needed;
	char run;
};
struct history {
	struct bench b;
	struct row v[ROWS];
	int n;
	unsigned seed;
	bool from_start; /* every delta channel is there from the root on */
};

static unsigned roll(struct history *h, unsigned n)
{
	h->seed = h->seed * 1103515245u + 12345u;
	return (h->seed >> 16) % n;
}

static struct str read_delta(struct history *h, struct str id, int d)
{
	struct ckpt_query q = {.thread = STR("t"), .ns = STR("g"), .id = id, .want = CK_VALUES};
	struct ckpt_history hist = {.channel = str_c(delta_name[d])};
	struct ckpt_full c;
	struct buf out;
	bool found;

	buf_init(&out, &h->b.a, 1 << 20);
	OKAY(ckpt_get(h->b.m, &h->b.a, &ann, &q, &c, &found));
	assert_true(found);
	for (size_t i = 0; i < c.c.values_n; i++)
		if (str_eq(c.c.values[i].channel, hist.channel)) {
			buf_str(&out, c.c.values[i].bytes);
			return buf_slice(&out);
		}
	OKAY(ckpt_history(h->b.m, &h->b.a, &ann, &q, &hist, 1));
	if (hist.seeded)
		buf_str(&out, hist.seed.bytes);
	for (size_t i = 0; i < hist.writes_n; i++)
		buf_str(&out, hist.writes[i].bytes);
	return buf_slice(&out);
}

static struct str read_ordinary(struct history *h, struct str id)
{
	struct ckpt_full c = ck_get(&h->b, "t", "g", id);

	for (size_t i = 0; i < c.c.values_n; i++)
		if (str_eq(c.c.values[i].channel, STR("o")))
			return c.c.values[i].bytes;
	return STR("none");
}

static void child_of(struct history *h, int parent)
{
	struct row *r = &h->v[h->n], *p = parent >= 0 ? &h->v[parent] : NULL;
	struct ckpt_value values[DELTAS + 1];
	struct buf versions, inl;
	size_t n = 0;
	char id[37];

	*r = (struct row){.parent = parent, .step = p ? p->step + 1 : -1, .run = (char)('a' + h->n / 12)};
	ckpt_new_id(r->step, id);
	r->id = arena_str(&h->b.a, str_c(id));
	buf_init(&versions, &h->b.a, 4096);
	buf_init(&inl, &h->b.a, 4096);
	for (int d = 0; d < DELTAS; d++) {
		struct str name = str_c(delta_name[d]);
		bool writes = p && roll(h, 3) > 0;

		r->version[d] = p ? p->version[d] : 0;
		r->stored[d] = p && p->stored[d];
		if (writes)
			ck_write(&h->b, "t", "g", p->id, arena_cstr(&h->b.a, arena_printf(&h->b.a, "k%d.%d", h->n, d)),
				 delta_name[d], arena_cstr(&h->b.a, arena_printf(&h->b.a, "w%d.%d;", h->n, d)));
		if (writes || (!p && h->from_start)) {
			r->version[d] = h->n + 1;
			r->stored[d] = p && roll(h, 6) == 0;
			if (r->stored[d])
				values[n++] = (struct ckpt_value){name, arena_printf(&h->b.a, "%d", r->version[d]), STR("msgpack"),
								  arena_printf(&h->b.a, "S%d.%d;", h->n, d)};
		}
		if (r->version[d])
			buf_printf(&versions, ",\"%s\":\"%d\"", delta_name[d], r->version[d]);
		if (r->stored[d])
			buf_printf(&inl, "%s\"%s\":true", inl.n ? "," : "", delta_name[d]);
	}
	values[n++] = (struct ckpt_value){STR("o"), arena_printf(&h->b.a, "%d", h->n), STR("msgpack"),
					  arena_printf(&h->b.a, "o%d", h->n)};
	/* Counters name the channels at times only: the sign of a snapshot has to do as well. */
	ck_put(&h->b, &ann, STR("t"), STR("g"), r->id, p ? p->id : STR(""),
	       arena_printf(&h->b.a, "{\"v\":4,\"channel_values\":{%.*s},\"channel_versions\":{\"o\":\"%d\"%.*s}}",
			    STR_ARG(buf_slice(&inl)), h->n, STR_ARG(buf_slice(&versions))),
	       arena_printf(&h->b.a, "{\"step\":%d,\"run_id\":\"%c\"%s}", r->step, r->run,
			    h->n % 3 ? "" : ",\"counters_since_delta_snapshot\":{\"d0\":[1,1],\"d1\":[1,1]}"),
	       values, n);
	h->n++;
}

static void remember(struct history *h)
{
	for (int i = 0; i < h->n; i++) {
		for (int d = 0; d < DELTAS; d++)
			h->v[i].state[d] = arena_str(&h->b.a, read_delta(h, h->v[i].id, d));
		h->v[i].state[DELTAS] = arena_str(&h->b.a, read_ordinary(h, h->v[i].id));
	}
}

static void build(struct history *h, unsigned seed)
{
	*h = (struct history){.seed = seed, .from_start = seed % 2};
	bench_init(&h->b);
	while (h->n < ROWS)
		child_of(h, h->n == 0 ? -1 : roll(h, 5) ? h->n - 1 : (int)roll(h, (unsigned)h->n));
	remember(h);
}

/* The plain model: every kept row walks for itself. */
static void mark_needed(struct history *h)
{
	for (int i = 0; i < h->n; i++)
		for (int d = 0; d < DELTAS && h->v[i].kept; d++) {
			int at = i;

			if (h->v[i].version[d] == 0)
				continue;
			while (!h->v[at].stored[d] && (at = h->v[at].parent) >= 0)
				h->v[at].needed = true;
		}
}

static void compare(struct history *h, unsigned seed)
{
	for (int i = 0; i < h->n; i++) {
		const struct row *r = &h->v[i];
		bool there = ck_there(&h->b, "t", "g", r->id);

		if (r->kept != there && (r->kept || (h->from_start && r->needed != there)))
			fail_msg("history %u, row %d: there %d, kept %d, needed %d", seed, i, there, r->kept, r->needed);
		for (int d = 0; d < DELTAS && r->kept; d++)
			if (!str_eq(read_delta(h, r->id, d), r->state[d]))
				fail_msg("history %u, row %d, %s: \"%.*s\", before \"%.*s\"", seed, i, delta_name[d],
					 STR_ARG(read_delta(h, r->id, d)), STR_ARG(r->state[d]));
		if (r->kept)
			assert_true(str_eq(read_ordinary(h, r->id), r->state[DELTAS]));
	}
}

static void pruned_histories_read_the_same(void **state)
{
	for (unsigned seed = 1; seed <= 60; seed++) {
		static struct history h;
		struct ckpt_policy p = {.keep_last = 1};

		build(&h, seed);
		if (seed % 3)
			p.keep_last = 1 + roll(&h, 8);
		if (seed % 4 == 1)
			p.keep_every = 2 + roll(&h, 9);
		for (int i = 0; i < h.n; i++)
			h.v[i].kept = i >= h.n - p.keep_last || (p.keep_every && h.v[i].step % p.keep_every == 0);
		mark_needed(&h);
		struct ckpt_pruned dry = ck_prune(&h.b, "t", &p, true);
		assert_int_equal(dry.removed.checkpoints, ck_prune(&h.b, "t", &p, false).removed.checkpoints);
		compare(&h, seed);
		bench_release(&h.b);
	}
}

static void histories_without_runs_read_the_same(void **state)
{
	for (unsigned seed = 1; seed <= 40; seed++) {
		static struct history h;
		char run;

		build(&h, seed);
		run = (char)('a' + roll(&h, 5));
		for (int i = 0; i < h.n; i++)
			h.v[i].kept = h.v[i].run != run;
		mark_needed(&h);
		delete_runs(&h.b, &ann, (char[]){run, 0}, "none");
		compare(&h, seed);
		bench_release(&h.b);
	}
}

/* The store fails somewhere in the middle: what is kept reads the same, and the next prune ends where the first would have. */
static void interrupted_prunes_go_on(void **state)
{
	for (unsigned calls = 0; calls < 30; calls++) {
		static struct history h;
		struct ckpt_pruned out;
		struct str t = STR("t");

		build(&h, 7);
		for (int i = 0; i < h.n; i++)
			h.v[i].kept = i == h.n - 1;
		mark_needed(&h);
		fake_store_fail_after(h.b.store, E_IO, calls);
		enum err e = ckpt_prune(h.b.m, &h.b.a, &ann, &t, 1, &keep_latest, false, &out);
		fake_store_fail(h.b.store, OK, 0);
		assert_true(e == OK || e == E_IO);
		for (int d = 0; d < DELTAS; d++)
			assert_true(str_eq(read_delta(&h, h.v[h.n - 1].id, d), h.v[h.n - 1].state[d]));
		ck_prune(&h.b, "t", &keep_latest, false);
		compare(&h, 7);
		bench_release(&h.b);
	}
}

/* ---------------------------------------------------------------- limits, isolation */

/* More than one step; a new checkpoint from an old one comes in between and is not cut off. */
static void many_checkpoints(void **state)
{
	struct bench b;
	struct ckpt_full *rows;
	struct str last = STR("");

	bench_init(&b);
	for (int i = 0; i < 5000; i++)
		last = ck_plain(&b, "t", i % 7 ? "" : "other", last, i, "");
	unsigned before = fake_store_write_calls(b.store);
	assert_int_equal(ck_prune(&b, "t", &keep_latest, false).removed.checkpoints, 4998);
	assert_int_equal(fake_store_write_calls(b.store) - before, (4998 + CKPT_REMOVE_STEP - 1) / CKPT_REMOVE_STEP);
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 2);
	bench_release(&b);
}

static void newcomers_keep_what_they_need(void **state)
{
	static struct history h;
	struct plan p;
	size_t added;

	build(&h, 3);
	plan_init(&p, h.b.store, &ann, STR("t"), 0);
	OKAY(plan_scan(&p));
	int n = h.n;
	h.n--; /* room for one more */
	child_of(&h, 20);
	OKAY(plan_refresh(&p, &added));
	assert_int_equal(p.n, (size_t)n + 1);
	assert_int_equal(added, (size_t)n);
	OKAY(plan_needs(&p, added));
	uint32_t from = plan_find(&p, plan_ns_find(&p, STR("g")), h.v[20].id);
	assert_true(p.rows[from].support);
	plan_release(&p);
	bench_release(&h.b);
}

static void others_are_out_of_reach(void **state)
{
	const struct principal eve = {.tenant = STR("default"), .user = STR("eve"), .user_bound = true, .rights = RIGHT_ALL};
	static const struct ckpt_policy all = {.drop_all = true};
	struct bench b;
	struct ckpt_full *rows;
	struct ckpt_pruned out;
	struct str t = STR("t");
	char id[37];

	bench_init(&b);
	ckpt_new_id(0, id);
	ck_put(&b, &bound, t, STR(""), str_c(id), STR(""), STR("{}"), STR("{\"run_id\":\"r\"}"), NULL, 0);
	OKAY(ckpt_prune(b.m, &b.a, &eve, &t, 1, &all, false, &out));
	assert_int_equal(out.threads, 0);
	OKAY(ckpt_prune(b.m, &b.a, &other, &t, 1, &all, false, &out));
	assert_int_equal(delete_runs(&b, &eve, "r", "s"), 0);
	assert_int_equal(ck_rows(&b, &bound, "t", NULL, &rows), 1);
	assert_int_equal(ck_rows(&b, &eve, "t", NULL, &rows), 0);
	FAILS(ckpt_copy(b.m, &b.a, &eve, t, STR("mine"), NULL), E_NOT_FOUND);
	FAILS(ckpt_prune(b.m, &b.a, &reader, &t, 1, &all, false, &out), E_DENIED);
	bench_release(&b);
}

/* ---------------------------------------------------------------- copy */

static void copies_up_to_a_checkpoint(void **state)
{
	struct bench b;
	struct ckpt_full *rows;
	struct str ids[4], side;

	bench_init(&b);
	chain(&b, "t", "", 4, "", ids);
	side = ck_plain(&b, "t", "", ids[0], 1, "");
	chain(&b, "t", "sub:1", 2, parents(&b, ids[1]), NULL);
	chain(&b, "t", "sub:2", 2, parents(&b, ids[3]), NULL);
	OKAY(ckpt_copy(b.m, &b.a, &ann, STR("t"), STR("all"), NULL));
	assert_int_equal(ck_rows(&b, &ann, "all", NULL, &rows), 9);
	struct ckpt_ref upto = {STR(""), ids[2]};
	OKAY(ckpt_copy(b.m, &b.a, &ann, STR("t"), STR("part"), &upto));
	assert_int_equal(ck_rows(&b, &ann, "part", NULL, &rows), 5);
	assert_true(ck_there(&b, "part", "", ids[0]) && !ck_there(&b, "part", "", side) && !ck_there(&b, "part", "", ids[3]));
	FAILS(ckpt_copy(b.m, &b.a, &ann, STR("t"), STR("part"), NULL), E_CONFLICT);
	FAILS(ckpt_copy(b.m, &b.a, &ann, STR("none"), STR("x"), NULL), E_NOT_FOUND);
	FAILS(ckpt_copy(b.m, &b.a, &ann, STR("t"), STR("t"), NULL), E_CONFLICT);
	upto.id = STR("1f000000-0000-6000-8000-000000000000");
	FAILS(ckpt_copy(b.m, &b.a, &ann, STR("t"), STR("x"), &upto), E_NOT_FOUND);
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_the_latest_of_every_namespace),
		cmocka_unit_test(deletes_everything),
		cmocka_unit_test(calls_of_subgraphs_go_with_their_root),
		cmocka_unit_test(parents_with_sends_of_the_old_format_stay),
		cmocka_unit_test(reasons_to_stay_add_up),
		cmocka_unit_test(the_young_stay),
		cmocka_unit_test(optional_flags_are_no_delta_channels),
		cmocka_unit_test(delta_channels_of_javascript),
		cmocka_unit_test(runs_go_everywhere),
		cmocka_unit_test(pruned_histories_read_the_same),
		cmocka_unit_test(histories_without_runs_read_the_same),
		cmocka_unit_test(interrupted_prunes_go_on),
		cmocka_unit_test(many_checkpoints),
		cmocka_unit_test(newcomers_keep_what_they_need),
		cmocka_unit_test(others_are_out_of_reach),
		cmocka_unit_test(copies_up_to_a_checkpoint),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
