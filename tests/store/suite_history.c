/* Checkpoints of random histories against a plain model: forks, versions shared and not, values that grow, shrink and begin anew,
 * writes before and after their checkpoint, replacement, removal of any of them, copies. After each round everything that remains
 * must come back as it went in, and nothing that nobody refers to may be left. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

enum { CHANNELS = 3, SLOTS = 64, VALUES = 4096, ROUNDS = 60, VALUE_MAX = 40000 };

struct value {
	int channel, used;
	char version[64];
	size_t n;
	char *bytes;
};
struct point {
	bool used;
	const char *ns;
	char id[24], parent[24], json[512], meta[64];
	int value[CHANNELS]; /* -1: none; -2: a version without a value */
	char bare[CHANNELS][64];
	int writes;
	int write_idx[8];
	char write_bytes[8][16];
};

static struct arena scratch;
static uint64_t seed;
static struct value values[VALUES];
static int values_n;
static struct point points[SLOTS];
static const char *const channels[CHANNELS] = {"a \xc3\xa9", "messages", "z"};
static const char *const spaces[2] = {"", "node:1|x"};
static int next_id;

static unsigned rnd(unsigned n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (unsigned)((seed * UINT64_C(2685821657736338717)) >> 33) % n;
}

static void text(char *p, size_t n)
{
	static const char *const words[] = {"human ", "ai ", "tool_call ", "langchain_core.messages ", "content ", "0123456789 "};
	for (size_t i = 0; i < n;) {
		const char *w = words[rnd(6)];
		for (; *w && i < n; w++)
			p[i++] = *w;
		if (i < n)
			p[i++] = (char)rnd(256);
	}
}

/* A new version of a channel; old: what it had (-1: nothing). */
static int value_new(int channel, int old)
{
	struct value *v = &values[values_n];
	const struct value *o = old >= 0 ? &values[old] : NULL;
	size_t keep = o ? (rnd(5) ? o->n : rnd((unsigned)o->n + 1)) : 0, more = rnd(4) ? rnd(3000) : rnd(VALUE_MAX / 2);
	if (keep + more > VALUE_MAX)
		keep = 0;
	v->channel = channel;
	v->n = keep + more;
	v->bytes = malloc(v->n + 1);
	assert_non_null(v->bytes);
	if (keep)
		memcpy(v->bytes, o->bytes, keep);
	text(v->bytes + keep, more);
	if (keep > 3 && rnd(2)) /* a length at the head that changes */
		v->bytes[1] = (char)rnd(256);
	snprintf(v->version, sizeof v->version, "%032d.0.%016u", values_n, rnd(1000000000));
	return values_n++;
}

static struct point *point_free(void)
{
	for (int i = 0; i < SLOTS; i++)
		if (!points[i].used)
			return &points[i];
	return NULL;
}

static struct point *point_any(const char *ns)
{
	for (int tries = 0; tries < 200; tries++) {
		struct point *p = &points[rnd(SLOTS)];
		if (p->used && (!ns || p->ns == ns))
			return p;
	}
	return NULL;
}

static void point_json(struct point *p)
{
	size_t n = (size_t)snprintf(p->json, sizeof p->json, "{\"v\":4,\"channel_versions\":{");
	bool first = true;
	for (int k = 0; k < CHANNELS; k++) {
		if (p->value[k] == -1)
			continue;
		n += (size_t)snprintf(p->json + n, sizeof p->json - n, "%s\"%s\":\"%s\"", first ? "" : ",", channels[k],
				      p->value[k] >= 0 ? values[p->value[k]].version : p->bare[k]);
		first = false;
	}
	snprintf(p->json + n, sizeof p->json - n, "}}");
	snprintf(p->meta, sizeof p->meta, "{\"step\":%d}", next_id);
}

static void put_point(const struct principal *who, const struct point *p, const int *fresh, int n)
{
	struct ckpt_value v[CHANNELS];
	struct ckpt_change c = {.op = CK_PUT,
				.thread = STR("t"),
				.ns = str_c(p->ns),
				.id = str_c(p->id),
				.parent = str_c(p->parent),
				.checkpoint = str_c(p->json),
				.metadata = str_c(p->meta),
				.values = v,
				.values_n = (size_t)n};
	for (int i = 0; i < n; i++) {
		const struct value *x = &values[fresh[i]];
		v[i] = (struct ckpt_value){str_c(channels[x->channel]), str_c(x->version), STR("msgpack"), str_of(x->bytes, x->n)};
	}
	assert_ok(S->ops->checkpoints->write(S, who, &c, 1));
}

static void step_put(void)
{
	struct point *p = point_free();
	const char *ns = spaces[rnd(4) == 0];
	const struct point *parent = rnd(12) ? point_any(ns) : NULL;
	int fresh[CHANNELS], n = 0;
	if (!p || values_n + CHANNELS > VALUES)
		return;
	*p = (struct point){.used = true, .ns = ns};
	snprintf(p->id, sizeof p->id, "%04x-%04d", rnd(3) ? (unsigned)next_id : rnd(65536), next_id);
	next_id++;
	if (parent)
		snprintf(p->parent, sizeof p->parent, "%s", parent->id);
	for (int k = 0; k < CHANNELS; k++) {
		p->value[k] = parent ? parent->value[k] : -1;
		if (parent)
			memcpy(p->bare[k], parent->bare[k], sizeof p->bare[k]);
		if (rnd(3) == 0) {
			p->value[k] = fresh[n] = value_new(k, p->value[k] >= 0 ? p->value[k] : -1);
			n++;
		} else if (rnd(10) == 0) {
			p->value[k] = -2;
			snprintf(p->bare[k], sizeof p->bare[k], "bare-%d", next_id);
		}
	}
	point_json(p);
	put_point(&ALICE, p, fresh, n);
}

/* The same checkpoint again, with other versions: those of another one of its namespace. */
static void step_replace(void)
{
	struct point *p = point_any(NULL);
	const struct point *o = p ? point_any(p->ns) : NULL;
	if (!p || !o)
		return;
	memcpy(p->value, o->value, sizeof p->value);
	memcpy(p->bare, o->bare, sizeof p->bare);
	point_json(p);
	put_point(&ALICE, p, NULL, 0);
}

static void step_write(void)
{
	struct point *p = point_any(NULL);
	if (!p || p->writes == 8)
		return;
	int i = p->writes++;
	p->write_idx[i] = i;
	snprintf(p->write_bytes[i], sizeof p->write_bytes[i], "w%u", rnd(1000));
	struct ckpt_pending w = {STR("task"), STR("~path"), STR("messages"), STR("json"), str_c(p->write_bytes[i]), i};
	struct ckpt_change c = {
		.op = CK_WRITES, .thread = STR("t"), .ns = str_c(p->ns), .id = str_c(p->id), .writes = &w, .writes_n = 1};
	assert_ok(S->ops->checkpoints->write(S, &ALICE, &c, 1));
}

static void forget(struct point *p)
{
	p->used = false;
	for (int i = 0; i < SLOTS; i++)
		if (points[i].used && points[i].ns == p->ns && strcmp(points[i].parent, p->id) == 0)
			points[i].parent[0] = 0;
}

static void step_remove(unsigned share)
{
	struct ckpt_ref refs[SLOTS];
	struct point *going[SLOTS];
	struct ckpt_removed gone;
	size_t n = 0;
	for (int i = 0; i < SLOTS; i++) {
		if (!points[i].used || rnd(100) >= share)
			continue;
		refs[n] = (struct ckpt_ref){str_c(points[i].ns), str_c(points[i].id)};
		going[n++] = &points[i];
	}
	assert_ok(S->ops->checkpoints->remove(S, &ALICE, STR("t"), refs, n, &gone));
	assert_int_equal(gone.checkpoints, n);
	for (size_t i = 0; i < n; i++)
		forget(going[i]);
}

/* ---------------------------------------------------------------- comparing */

static void check_point(const char *thread, const struct point *p)
{
	struct ckpt c;
	bool found;
	size_t at = 0;
	struct ckpt_query q = {
		.thread = str_c(thread), .ns = str_c(p->ns), .id = str_c(p->id), .want = CK_VALUES | CK_WRITES_TOO | CK_SIZES};
	arena_clear(&scratch);
	assert_ok(S->ops->checkpoints->get(S, &scratch, &ALICE, &q, &c, &found));
	assert_true(found);
	assert_str(str_c(p->parent), c.parent);
	assert_value(str_c(p->json), c.checkpoint);
	assert_value(str_c(p->meta), c.metadata);
	for (int k = 0; k < CHANNELS; k++) {
		if (p->value[k] < 0)
			continue;
		const struct value *v = &values[p->value[k]];
		assert_true(at < c.values_n);
		assert_str(str_c(channels[k]), c.values[at].channel);
		assert_str(str_c(v->version), c.values[at].version);
		assert_true(str_eq(str_of(v->bytes, v->n), c.values[at].bytes));
		at++;
	}
	assert_int_equal(at, c.values_n);
	assert_int_equal(p->writes, c.writes_n);
	for (int i = 0; i < p->writes; i++)
		assert_str(str_c(p->write_bytes[i]), c.writes[i].bytes);
}

/* As many versions stored as remaining checkpoints refer to. */
static void check_storage(const char *thread)
{
	struct ckpt_storage s;
	int64_t want = 0, writes = 0, all = 0;
	for (int i = 0; i < values_n; i++)
		values[i].used = 0;
	for (int i = 0; i < SLOTS; i++) {
		if (!points[i].used)
			continue;
		all++;
		writes += points[i].writes;
		for (int k = 0; k < CHANNELS; k++)
			if (points[i].value[k] >= 0)
				values[points[i].value[k]].used |= points[i].ns == spaces[0] ? 1 : 2;
	}
	for (int i = 0; i < values_n; i++)
		want += (values[i].used & 1) + (values[i].used >> 1);
	arena_clear(&scratch);
	assert_ok(S->ops->checkpoints->storage(S, &scratch, &ALICE, str_c(thread), &s));
	assert_int_equal(s.checkpoints, all);
	assert_int_equal(s.writes, writes);
	assert_int_equal(s.values, want);
}

struct order {
	size_t n;
	char last[24];
	bool bad;
};

static bool in_order(void *ctx, const struct ckpt *c)
{
	struct order *o = ctx;
	o->bad = o->bad || (o->n && str_cmp(c->id, str_c(o->last)) > 0);
	snprintf(o->last, sizeof o->last, "%.*s", STR_ARG(c->id));
	o->n++;
	return true;
}

static void check_all(const char *thread)
{
	struct order o = {0};
	struct str t = str_c(thread);
	struct ckpt_list q = {.thread = &t, .limit = 1000, .want = CK_VALUES};
	size_t all = 0;
	for (int i = 0; i < SLOTS; i++) {
		if (!points[i].used)
			continue;
		check_point(thread, &points[i]);
		all++;
	}
	assert_ok(S->ops->checkpoints->list(S, &ALICE, &q, in_order, &o));
	assert_true(o.n == all && !o.bad);
	check_storage(thread);
}

static void clear_model(void)
{
	for (int i = 0; i < values_n; i++)
		free(values[i].bytes);
	values_n = next_id = 0;
	memset(points, 0, sizeof points);
}

/* What replacement makes unreachable without a removal is not freed by it, so the histories that count versions do not replace. */
static void random_history(void **state)
{
	(void)state;
	seed = 4711;
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < 12; i++)
			rnd(4) ? step_put() : step_write();
		if (rnd(2))
			step_remove(rnd(8) ? rnd(40) : 90);
		if (rnd(10) == 0)
			S = suite_driver->reopen(S);
		check_all("t");
	}
	step_remove(101);
	check_all("t");
	clear_model();
}

static void copies_of_histories(void **state)
{
	(void)state;
	seed = 815;
	for (int i = 0; i < 60; i++)
		rnd(4) ? step_put() : step_write();
	assert_ok(S->ops->checkpoints->copy(S, &ALICE, STR("t"), STR("copy"), NULL, 0));
	check_all("copy");
	check_all("t");
	assert_ok(S->ops->threads->remove(S, &ALICE, STR("t"), THREAD_ALL));
	check_all("copy");
	clear_model();
}

static void copies_of_parts(void **state)
{
	(void)state;
	struct ckpt_ref refs[SLOTS];
	size_t n = 0;
	seed = 99;
	for (int i = 0; i < 60; i++)
		rnd(4) ? step_put() : step_write();
	for (int i = 0; i < SLOTS; i++) {
		if (points[i].used && rnd(3) == 0)
			refs[n++] = (struct ckpt_ref){str_c(points[i].ns), str_c(points[i].id)};
	}
	assert_ok(S->ops->checkpoints->copy(S, &ALICE, STR("t"), STR("part"), refs, n));
	check_all("t");
	for (int i = 0; i < SLOTS; i++) {
		bool in = false;
		for (size_t k = 0; k < n; k++)
			in = in || (refs[k].id.p == points[i].id);
		points[i].used = in;
	}
	check_all("part");
	clear_model();
}

static void replaced_histories(void **state)
{
	(void)state;
	seed = 31337;
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 10; i++)
			rnd(3) ? step_put() : step_replace();
		for (int i = 0; i < SLOTS; i++)
			if (points[i].used)
				check_point("t", &points[i]);
		/* Versions that a replaced checkpoint had alone may be kept or freed: no other may refer to them again, so what is
		 * put later names only what a checkpoint has. */
		if (rnd(2))
			step_remove(rnd(30));
		for (int i = 0; i < SLOTS; i++)
			if (points[i].used)
				check_point("t", &points[i]);
	}
	clear_model();
}

/* ---------------------------------------------------------------- delta channels */

struct grown {
	char id[16], parent[16];
	bool stored, inline_value;
	int writes;
};

static void put_delta(const struct grown *g, int i)
{
	char json[200], version[16];
	snprintf(version, sizeof version, "%d", i);
	snprintf(json, sizeof json, "{\"channel_versions\":{\"d\":\"%s\",\"e\":\"1\"},\"channel_values\":{%s}}", version,
		 g->inline_value ? "\"d\":[7]"
		 : g->stored	 ? "\"d\":true"
				 : "\"d\":null");
	char bytes[16];
	snprintf(bytes, sizeof bytes, "seed%d", i);
	struct ckpt_value v = {STR("d"), str_c(version), STR("msgpack"), str_c(bytes)};
	struct ckpt_change c = {.op = CK_PUT,
				.thread = STR("t"),
				.ns = STR(""),
				.id = str_c(g->id),
				.parent = str_c(g->parent),
				.checkpoint = str_c(json),
				.metadata = STR("{}"),
				.values = &v,
				.values_n = g->stored};
	assert_ok(S->ops->checkpoints->write(S, &ALICE, &c, 1));
	for (int k = 0; k < g->writes; k++) {
		char text_of_write[24];
		snprintf(text_of_write, sizeof text_of_write, "%d.%d", i, k);
		struct ckpt_pending w = {k % 2 ? STR("a") : STR("b"), STR(""), k == 3 ? STR("e") : STR("d"), STR("msgpack"),
					 str_c(text_of_write),	      k};
		struct ckpt_change ch = {
			.op = CK_WRITES, .thread = STR("t"), .ns = STR(""), .id = str_c(g->id), .writes = &w, .writes_n = 1};
		assert_ok(S->ops->checkpoints->write(S, &ALICE, &ch, 1));
	}
}

enum { GROWN = 40 };

/* What the model says: the writes of d along the parents of `from`, oldest first. */
static void expect_history(const struct grown *g, int from, struct buf *want, int *seed_at)
{
	int line[GROWN], n = 0;
	*seed_at = -1;
	for (int at = from;;) {
		int up = -1;
		for (int i = 0; i < GROWN; i++)
			if (strcmp(g[i].id, g[at].parent) == 0)
				up = i;
		for (int i = 0; i < n; i++)
			if (line[i] == up)
				up = -1;
		if (up < 0 || up == from)
			break;
		line[n++] = up;
		at = up;
		if (g[up].stored || g[up].inline_value) {
			*seed_at = up;
			break;
		}
	}
	while (n-- > 0) {
		const struct grown *x = &g[line[n]];
		for (int odd = 1; odd >= 0; odd--) /* task a before b */
			for (int k = odd; k < x->writes; k += 2)
				if (k != 3)
					buf_printf(want, "%d.%d ", line[n], k);
	}
	buf_byte(want, 0);
}

static void check_history(const struct grown *g, int i)
{
	struct ckpt_history h[2] = {{.channel = STR("d")}, {.channel = STR("none")}};
	struct ckpt_query q = {.thread = STR("t"), .ns = STR(""), .id = str_c(g[i].id)};
	struct buf want, got;
	int seed_at;
	char bytes[16];
	arena_clear(&scratch);
	buf_init(&want, &scratch, 1 << 16);
	buf_init(&got, &scratch, 1 << 16);
	expect_history(g, i, &want, &seed_at);
	assert_ok(S->ops->checkpoints->history(S, &scratch, &ALICE, &q, h, 2));
	for (size_t k = 0; k < h[0].writes_n; k++)
		buf_printf(&got, "%.*s ", STR_ARG(h[0].writes[k].bytes));
	buf_byte(&got, 0);
	assert_string_equal(want.p, got.p);
	assert_int_equal(h[0].seeded, seed_at >= 0);
	if (seed_at >= 0 && g[seed_at].stored) {
		snprintf(bytes, sizeof bytes, "seed%d", seed_at);
		assert_str(str_c(bytes), h[0].seed.bytes);
		assert_str(STR("msgpack"), h[0].seed.type);
	} else if (seed_at >= 0) {
		assert_str(STR(""), h[0].seed.type);
		assert_true(suite_same(STR("[7]"), h[0].seed.bytes));
	}
	assert_true(h[1].writes_n == 0 && !h[1].seeded);
}

static void delta_histories(void **state)
{
	(void)state;
	struct grown g[GROWN] = {0};
	seed = 2024;
	for (int i = 0; i < GROWN; i++) {
		snprintf(g[i].id, sizeof g[i].id, "c%03u", (unsigned)(i * 37 % GROWN));
		if (i)
			memcpy(g[i].parent, g[rnd(4) ? (unsigned)i - 1 : rnd((unsigned)i)].id, sizeof g[i].parent);
		g[i].stored = rnd(9) == 0;
		g[i].inline_value = !g[i].stored && rnd(15) == 0;
		g[i].writes = (int)rnd(5);
	}
	memcpy(g[0].parent, g[9].id, sizeof g[0].parent); /* a loop */
	for (int i = 0; i < GROWN; i++)
		put_delta(&g[i], i);
	for (int i = 0; i < GROWN; i++)
		check_history(g, i);
	struct ckpt_history h = {.channel = STR("d")};
	struct ckpt_query q = {.thread = STR("t"), .ns = STR(""), .id = STR("unknown")};
	assert_ok(S->ops->checkpoints->history(S, &scratch, &ALICE, &q, &h, 1));
	assert_true(h.writes_n == 0 && !h.seeded);
}

static int group_setup(void **state)
{
	(void)state;
	arena_init(&scratch, 256u << 20);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	arena_release(&scratch);
	return 0;
}

int suite_histories(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(random_history),	SUITE_TEST(copies_of_histories), SUITE_TEST(copies_of_parts),
		SUITE_TEST(replaced_histories), SUITE_TEST(delta_histories),
	};
	return cmocka_run_group_tests_name("checkpoint histories", tests, group_setup, group_teardown);
}
