/* Rules of checkpoints: what comes back, conflicts, order, lists, history, removal, copies, isolation. Random histories are in
 * suite_history.c. */
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

static enum err get_ck(const struct principal *who, const char *thread, const char *ns, const char *id, unsigned want,
		       struct ckpt *out, bool *found)
{
	struct ckpt_query q = {.thread = str_c(thread), .ns = str_c(ns), .id = str_c(id), .want = want};
	return S->ops->checkpoints->get(S, &scratch, who, &q, out, found);
}

struct ckpt_seen {
	struct arena *a;
	size_t n;
	struct ckpt last; /* names and texts kept; values and writes only counted */
};

static bool ckpt_see(void *ctx, const struct ckpt *c)
{
	struct ckpt_seen *x = ctx;
	x->n++;
	x->last = *c;
	x->last.thread = arena_str(x->a, c->thread);
	x->last.ns = arena_str(x->a, c->ns);
	x->last.id = arena_str(x->a, c->id);
	x->last.parent = arena_str(x->a, c->parent);
	x->last.checkpoint = arena_str(x->a, c->checkpoint);
	x->last.metadata = arena_str(x->a, c->metadata);
	return true;
}

static bool add_names(void *ctx, const struct ckpt *c)
{
	buf_printf(ctx, "%.*s/%.*s/%.*s ", STR_ARG(c->thread), STR_ARG(c->ns), STR_ARG(c->id));
	return true;
}

/* "thread/ns/id ..." */
static const char *list_as(const struct principal *who, struct ckpt_list q)
{
	struct buf b;
	buf_init(&b, &scratch, 1 << 20);
	assert_ok(S->ops->checkpoints->list(S, who, &q, add_names, &b));
	buf_byte(&b, 0);
	return b.p;
}

static const char *runs_as(const struct principal *who, const char *run)
{
	struct buf b;
	struct str ids[2] = {STR("no such run"), str_c(run)};
	buf_init(&b, &scratch, 1 << 20);
	assert_ok(S->ops->checkpoints->by_run(S, who, ids, 2, add_names, &b));
	buf_byte(&b, 0);
	return b.p;
}

static void what_is_put_comes_back(void **state)
{
	(void)state;
	struct ckpt c;
	bool found;
	struct ckpt_value v[2] = {val("messages", "2", "msgpack", STR("\xa2\0b")), val("a", "1", "null", STR(""))};
	struct ckpt_change ch =
		put_ck("t", "", "1", "0", "{\"v\":4,\"channel_versions\":{\"messages\":\"2\",\"a\":\"1\",\"z\":\"7\"}}");
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

static enum err write_ck(const struct principal *who, struct ckpt_change ch)
{
	return S->ops->checkpoints->write(S, who, &ch, 1);
}

static void put_value(const char *thread, const char *id, const char *parent, const char *version, struct str bytes)
{
	char json[256];
	struct ckpt_value v = val("m", version, "msgpack", bytes);
	snprintf(json, sizeof json, "{\"v\":4,\"channel_versions\":{\"m\":\"%s\"}}", version);
	struct ckpt_change ch = put_ck(thread, "", id, parent, json);
	ch.values = &v;
	ch.values_n = 1;
	assert_ok(write_ck(&ALICE, ch));
}

static struct ckpt must_get(const char *thread, const char *ns, const char *id)
{
	struct ckpt c;
	bool found;
	assert_ok(get_ck(&ALICE, thread, ns, id, CK_VALUES | CK_WRITES_TOO, &c, &found));
	assert_true(found);
	return c;
}

static bool there(const struct principal *who, const char *thread, const char *ns, const char *id)
{
	struct ckpt c;
	bool found;
	assert_ok(get_ck(who, thread, ns, id, 0, &c, &found));
	return found;
}

static struct ckpt_change writes_of(const char *thread, const char *id, const struct ckpt_pending *w, size_t n, bool replace)
{
	return (struct ckpt_change){.op = CK_WRITES,
				    .thread = str_c(thread),
				    .ns = STR(""),
				    .id = str_c(id),
				    .writes = w,
				    .writes_n = n,
				    .replace = replace};
}

static struct ckpt_pending pend(const char *task, const char *path, int idx, const char *channel, const char *bytes)
{
	return (struct ckpt_pending){str_c(task), str_c(path), str_c(channel), STR("msgpack"), str_c(bytes), idx};
}

static const char *writes_text(const struct ckpt *c)
{
	struct buf b;
	buf_init(&b, &scratch, 1 << 20);
	for (size_t i = 0; i < c->writes_n; i++)
		buf_printf(&b, "%.*s/%.*s/%d %.*s=%.*s; ", STR_ARG(c->writes[i].task_path), STR_ARG(c->writes[i].task_id),
			   (int)c->writes[i].idx, STR_ARG(c->writes[i].channel), STR_ARG(c->writes[i].bytes));
	buf_byte(&b, 0);
	assert_int_equal(b.err, OK);
	return b.p;
}

static void conflicts(void **state)
{
	(void)state;
	put_value("t", "1", "0", "1", STR("one"));
	struct ckpt_value v = val("m", "1", "json", STR("two"));
	struct ckpt_change ch = put_ck("t", "", "1", "other", "{\"v\":5,\"channel_versions\":{\"m\":\"1\"}}");
	ch.metadata = STR("{\"step\":2}");
	ch.values = &v;
	ch.values_n = 1;
	assert_ok(write_ck(&ALICE, ch));
	struct ckpt c = must_get("t", "", "1");
	assert_str(STR("0"), c.parent);
	assert_value(ch.checkpoint, c.checkpoint);
	assert_value(ch.metadata, c.metadata);
	assert_str(STR("one"), c.values[0].bytes);
	assert_str(STR("msgpack"), c.values[0].type);
}

static void versions_without_values(void **state)
{
	(void)state;
	struct ckpt_value v = val("m", "3", "empty", STR(""));
	struct ckpt_change ch = put_ck("t", "", "1", "", "{\"channel_versions\":{\"m\":3,\"x\":1.5,\"y\":\"3\"}}");
	ch.values = &v;
	ch.values_n = 1;
	assert_ok(write_ck(&ALICE, ch));
	assert_int_equal(must_get("t", "", "1").values_n, 0);
	struct ckpt_value more[2] = {val("m", "3", "json", STR("1")), val("x", "1.5", "json", STR("2"))};
	ch.values = more;
	ch.values_n = 2;
	assert_ok(write_ck(&ALICE, ch));
	struct ckpt c = must_get("t", "", "1");
	assert_int_equal(c.values_n, 1); /* what is "empty" stays so */
	assert_str(STR("x"), c.values[0].channel);
	assert_str(STR("2"), c.values[0].bytes);
	assert_str(STR(""), c.parent);
}

static void only_some_channels(void **state)
{
	(void)state;
	struct ckpt c;
	bool found;
	struct ckpt_value v[2] = {val("a", "1", "json", STR("1")), val("b", "1", "json", STR("2"))};
	struct ckpt_change ch = put_ck("t", "", "1", "", "{\"channel_versions\":{\"b\":\"1\",\"a\":\"1\"}}");
	ch.values = v;
	ch.values_n = 2;
	assert_ok(write_ck(&ALICE, ch));
	struct str only[2] = {STR("none"), STR("b")};
	struct ckpt_query q = {
		.thread = STR("t"), .ns = STR(""), .id = STR(""), .want = CK_VALUES, .channels = only, .channels_n = 2};
	assert_ok(S->ops->checkpoints->get(S, &scratch, &ALICE, &q, &c, &found));
	assert_true(found);
	assert_int_equal(c.values_n, 1);
	assert_str(STR("b"), c.values[0].channel);
	q.want = 0;
	assert_ok(S->ops->checkpoints->get(S, &scratch, &ALICE, &q, &c, &found));
	assert_int_equal(c.values_n, 0);
}

static void writes_in_order(void **state)
{
	(void)state;
	struct ckpt_pending b[2] = {pend("b", "~p", 1, "x", "1"), pend("b", "~p", 0, "y", "2")};
	struct ckpt_pending z[1] = {pend("z", "", 0, "x", "3")};
	struct ckpt_pending a[1] = {pend("a", "~p", -1, "__error__", "4")};
	struct ckpt_change ch[3] = {writes_of("t", "1", b, 2, false), writes_of("t", "1", z, 1, false),
				    writes_of("t", "1", a, 1, true)};
	assert_ok(S->ops->checkpoints->write(S, &ALICE, ch, 3)); /* before their checkpoint */
	assert_false(there(&ALICE, "t", "", "1"));
	assert_false(there(&ALICE, "t", "", ""));
	assert_ok(write_ck(&ALICE, put_ck("t", "", "1", "", "{}")));
	struct ckpt c = must_get("t", "", "1");
	assert_string_equal(writes_text(&c), "/z/0 x=3; ~p/a/-1 __error__=4; ~p/b/0 y=2; ~p/b/1 x=1; ");
	assert_str(STR("msgpack"), c.writes[0].type);
}

static void writes_again(void **state)
{
	(void)state;
	struct ckpt_pending one[2] = {pend("a", "p", 0, "x", "1"), pend("a", "p", -3, "__interrupt__", "2")};
	struct ckpt_pending two[3] = {pend("a", "q", 0, "y", "3"), pend("a", "q", 1, "z", "4"), pend("a", "q", -3, "w", "5")};
	assert_ok(write_ck(&ALICE, put_ck("t", "", "1", "", "{}")));
	assert_ok(write_ck(&ALICE, writes_of("t", "1", one, 2, false)));
	assert_ok(write_ck(&ALICE, writes_of("t", "1", two, 3, false)));
	struct ckpt c = must_get("t", "", "1");
	assert_string_equal(writes_text(&c), "p/a/-3 __interrupt__=2; p/a/0 x=1; q/a/1 z=4; ");
	struct ckpt_pending three[1] = {pend("a", "r", -3, "__interrupt__", "6")};
	assert_ok(write_ck(&ALICE, writes_of("t", "1", three, 1, true)));
	c = must_get("t", "", "1");
	assert_string_equal(writes_text(&c), "p/a/-3 __interrupt__=6; p/a/0 x=1; q/a/1 z=4; "); /* not the path */
}

static void all_or_nothing(void **state)
{
	(void)state;
	static const struct principal ann = {.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .rights = RIGHT_ALL},
				      ben = {.tenant = STR_INIT("alice"), .user = STR_INIT("ben"), .rights = RIGHT_ALL};
	assert_ok(write_ck(&ann, put_ck("t", "", "1", "", "{}")));
	struct ckpt_change ch[3] = {put_ck("new", "", "1", "", "{}"), put_ck("t", "", "2", "1", "{}"),
				    put_ck("new", "", "2", "", "{}")};
	assert_err(E_CONFLICT, S->ops->checkpoints->write(S, &ben, ch, 3));
	assert_false(there(&ALICE, "new", "", "1"));
	assert_false(there(&ALICE, "t", "", "2"));
	assert_ok(S->ops->checkpoints->write(S, &ann, ch, 3));
	assert_true(there(&ALICE, "new", "", "2") && there(&ALICE, "t", "", "2"));
	assert_ok(S->ops->checkpoints->write(S, &ann, NULL, 0));
}

static void isolation(void **state)
{
	(void)state;
	static const struct principal
		ann = {.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .user_bound = true, .rights = RIGHT_ALL},
		ben = {.tenant = STR_INIT("alice"), .user = STR_INIT("ben"), .user_bound = true, .rights = RIGHT_ALL};
	struct ckpt_ref ref = {STR(""), STR("1")};
	struct ckpt_removed gone;
	struct ckpt_storage size;
	struct ckpt_pending w = pend("a", "", 0, "__pregel_tasks", "1");
	struct ckpt_sends sends = {.id = STR("1")};
	struct ckpt_history h = {.channel = STR("m")};
	struct ckpt_query q = {.thread = STR("t"), .ns = STR(""), .id = STR("")};
	struct ckpt_change ch = put_ck("t", "", "1", "", "{}");
	ch.metadata = STR("{\"run_id\":\"r\"}");
	assert_ok(write_ck(&ann, ch));
	assert_ok(write_ck(&ann, writes_of("t", "1", &w, 1, false)));
	const struct principal *const others[] = {&ben, &BOB};
	for (int i = 0; i < 2; i++) {
		const struct principal *who = others[i];
		assert_false(there(who, "t", "", "1") || there(who, "t", "", ""));
		assert_string_equal(list_as(who, (struct ckpt_list){.limit = 10}), "");
		assert_string_equal(list_as(who, (struct ckpt_list){.thread = &q.thread, .limit = 10}), "");
		assert_ok(S->ops->checkpoints->sends(S, &scratch, who, q.thread, &sends, 1));
		assert_int_equal(sends.n, 0);
		assert_ok(S->ops->checkpoints->history(S, &scratch, who, &q, &h, 1));
		assert_int_equal(h.writes_n, 0);
		assert_ok(S->ops->checkpoints->storage(S, &scratch, who, q.thread, &size));
		assert_int_equal(size.checkpoints, 0);
		assert_string_equal(runs_as(who, "r"), "");
		assert_ok(S->ops->checkpoints->remove(S, who, q.thread, &ref, 1, &gone));
		assert_int_equal(gone.checkpoints, 0);
		assert_err(E_NOT_FOUND, S->ops->checkpoints->copy(S, who, q.thread, STR("copy"), NULL, 0));
		assert_err(E_NOT_FOUND, S->ops->threads->remove(S, who, q.thread, THREAD_ALL));
	}
	assert_err(E_CONFLICT, write_ck(&ben, put_ck("t", "", "2", "1", "{}")));
	assert_err(E_CONFLICT, write_ck(&ben, writes_of("t", "1", &w, 1, false)));
	assert_ok(write_ck(&BOB, put_ck("t", "", "9", "", "{}"))); /* another tenant's thread of that name */
	assert_true(there(&BOB, "t", "", "9") && !there(&ALICE, "t", "", "9"));
	assert_true(there(&ann, "t", "", "1") && there(&ALICE, "t", "", "1"));
	assert_string_equal(runs_as(&ann, "r"), "t//1 ");
	struct principal reader = ALICE;
	reader.rights = RIGHT_READ;
	assert_err(E_DENIED, write_ck(&reader, put_ck("t", "", "3", "", "{}")));
	reader.rights = RIGHT_WRITE;
	struct ckpt c;
	bool found;
	assert_err(E_DENIED, get_ck(&reader, "t", "", "1", 0, &c, &found));
}

/* A principal that names a user without being bound to it reaches that user's threads and nobody's. */
static void users_of_one_key(void **state)
{
	(void)state;
	static const struct principal ann = {.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .rights = RIGHT_ALL},
				      ben = {.tenant = STR_INIT("alice"), .user = STR_INIT("ben"), .rights = RIGHT_ALL};
	assert_ok(write_ck(&ann, put_ck("a", "", "1", "", "{}")));
	assert_ok(write_ck(&ben, put_ck("b", "", "1", "", "{}")));
	assert_ok(write_ck(&ALICE, put_ck("n", "", "1", "", "{}")));
	assert_string_equal(list_as(&ann, (struct ckpt_list){.limit = 10}), "a//1 n//1 ");
	assert_string_equal(list_as(&ben, (struct ckpt_list){.limit = 10}), "b//1 n//1 ");
	assert_string_equal(list_as(&ALICE, (struct ckpt_list){.limit = 10}), "a//1 b//1 n//1 ");
	assert_ok(write_ck(&ben, put_ck("n", "", "2", "1", "{}")));
	assert_true(there(&ann, "n", "", "2"));
	assert_false(there(&ann, "b", "", "1"));
}

static void lists(void **state)
{
	(void)state;
	static const char *const rows[][3] = {{"t", "", "1"}, {"t", "", "3"},  {"t", "s", "2"}, {"u", "", "2"},
					      {"u", "", "5"}, {"t", "r", "3"}, {"a", "", "3"}};
	struct str t = STR("t"), none = STR("none"), root = STR(""), s = STR("s");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char meta[160];
		struct ckpt_change ch = put_ck(rows[i][0], rows[i][1], rows[i][2], "0", "{}");
		snprintf(meta, sizeof meta, "{\"step\":%s,\"o\":{\"a\":[1,{\"b\":2}],\"n\":null},\"th\":\"%s\"}", rows[i][2],
			 rows[i][0]);
		ch.metadata = str_c(meta);
		assert_ok(write_ck(&ALICE, ch));
	}
	struct ckpt_pending w = pend("a", "", 0, "x", "1");
	assert_ok(write_ck(&ALICE, writes_of("t", "9", &w, 1, false))); /* no checkpoint: not in lists */
#define LIST(...) list_as(&ALICE, (struct ckpt_list){__VA_ARGS__})
	assert_string_equal(LIST(.limit = 99), "u//5 a//3 t//3 t/r/3 t/s/2 u//2 t//1 ");
	assert_string_equal(LIST(.limit = 2), "u//5 a//3 ");
	assert_string_equal(LIST(.thread = &t, .limit = 99), "t//3 t/r/3 t/s/2 t//1 ");
	assert_string_equal(LIST(.thread = &t, .limit = 3), "t//3 t/r/3 t/s/2 ");
	assert_string_equal(LIST(.thread = &t, .ns = &root, .limit = 99), "t//3 t//1 ");
	assert_string_equal(LIST(.thread = &t, .ns = &s, .limit = 99), "t/s/2 ");
	assert_string_equal(LIST(.ns = &root, .limit = 99), "u//5 a//3 t//3 u//2 t//1 ");
	assert_string_equal(LIST(.thread = &none, .limit = 99), "");
	assert_string_equal(LIST(.thread = &t, .ns = &none, .limit = 99), "");
	assert_string_equal(LIST(.thread = &t, .before = STR("3"), .limit = 99), "t/s/2 t//1 ");
	assert_string_equal(LIST(.before = STR("3"), .limit = 99), "t/s/2 u//2 t//1 ");
	assert_string_equal(LIST(.thread = &t, .id = STR("3"), .limit = 99), "t//3 t/r/3 ");
	assert_string_equal(LIST(.id = STR("3"), .limit = 99), "a//3 t//3 t/r/3 ");
	assert_string_equal(LIST(.id = STR("3"), .before = STR("3"), .limit = 99), "");
	assert_string_equal(LIST(.after = {STR("3"), STR("a"), STR("")}, .limit = 99), "t//3 t/r/3 t/s/2 u//2 t//1 ");
	assert_string_equal(LIST(.after = {STR("3"), STR("t"), STR("")}, .limit = 2), "t/r/3 t/s/2 ");
	assert_string_equal(LIST(.thread = &t, .after = {STR("3"), STR("t"), STR("")}, .limit = 99), "t/r/3 t/s/2 t//1 ");
	assert_string_equal(LIST(.thread = &t, .ns = &root, .after = {STR("3"), STR("t"), STR("")}, .limit = 99), "t//1 ");
	assert_string_equal(LIST(.filter = STR("{\"step\":3.0}"), .limit = 99), "a//3 t//3 t/r/3 ");
	assert_string_equal(LIST(.filter = STR("{\"step\":3}"), .limit = 1), "a//3 ");
	assert_string_equal(LIST(.filter = STR("{\"th\":\"u\",\"o\":{\"a\":[1]}}"), .limit = 99), "u//5 u//2 ");
	assert_string_equal(LIST(.thread = &t, .filter = STR("{\"o\":{\"a\":[{\"b\":2}],\"n\":null}}"), .limit = 99),
			    "t//3 t/r/3 t/s/2 t//1 ");
	assert_string_equal(LIST(.filter = STR("{\"o\":{\"a\":[3]}}"), .limit = 99), "");
	assert_string_equal(LIST(.filter = STR("{\"step\":\"3\"}"), .limit = 99), "");
	assert_string_equal(LIST(.filter = STR("{\"none\":null}"), .limit = 99), "");
	assert_string_equal(LIST(.filter = STR("{}"), .limit = 1), "u//5 ");
#undef LIST
}

static void lists_have_what_is_wanted(void **state)
{
	(void)state;
	struct str t = STR("t");
	put_value("t", "1", "0", "1", STR("v"));
	struct ckpt_pending w = pend("a", "", 0, "x", "1");
	assert_ok(write_ck(&ALICE, writes_of("t", "1", &w, 1, false)));
	struct ckpt_list q = {.thread = &t, .limit = 5};
	struct ckpt_seen seen = {.a = &scratch};
	assert_ok(S->ops->checkpoints->list(S, &ALICE, &q, ckpt_see, &seen));
	assert_true(seen.n == 1 && seen.last.values_n == 0 && seen.last.writes_n == 0);
	assert_str(STR("0"), seen.last.parent);
	q.want = CK_VALUES | CK_WRITES_TOO | CK_SIZES;
	assert_ok(S->ops->checkpoints->list(S, &ALICE, &q, ckpt_see, &seen));
	assert_true(seen.n == 2 && seen.last.values_n == 1 && seen.last.writes_n == 1 && seen.last.bytes > 0);
	assert_str(STR("{\"step\":1}"),
		   suite_same(seen.last.metadata, STR("{\"step\":1}")) ? STR("{\"step\":1}") : seen.last.metadata);
}

static void latest_is_the_greatest(void **state)
{
	(void)state;
	static const char *const ids[] = {"b", "a", "\xc3\xa9", "Z", "1efd4b2e-0000-6000-8000-000000000001", "~"};
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		assert_ok(write_ck(&ALICE, put_ck("t", "n", ids[i], "", "{}")));
	assert_str(STR("\xc3\xa9"), must_get("t", "n", "").id);
	assert_false(there(&ALICE, "t", "", ""));
	assert_str(STR("1efd4b2e-0000-6000-8000-000000000001"), must_get("t", "n", "1efd4b2e-0000-6000-8000-000000000001").id);
}

static void old_sends(void **state)
{
	(void)state;
	struct ckpt_pending w[3] = {pend("b", "p", 0, "__pregel_tasks", "1"), pend("b", "p", 1, "x", "2"),
				    pend("b", "p", 2, "__pregel_tasks", "3")};
	struct ckpt_pending other = pend("a", "p", 0, "__pregel_tasks", "0");
	struct ckpt_change ch = writes_of("t", "1", w, 3, false), in_ns = writes_of("t", "1", &other, 1, false);
	in_ns.ns = STR("sub");
	assert_ok(write_ck(&ALICE, ch));
	assert_ok(write_ck(&ALICE, in_ns));
	ch.id = STR("3");
	ch.writes_n = 1;
	assert_ok(write_ck(&ALICE, ch));
	struct ckpt_sends got[] = {{.id = STR("1")}, {.id = STR("2")}, {.id = STR("3")}, {.id = STR("1")}};
	assert_ok(S->ops->checkpoints->sends(S, &scratch, &ALICE, STR("t"), got, 4));
	assert_true(got[0].n == 3 && got[1].n == 0 && got[2].n == 1 && got[3].n == 3);
	assert_str(STR("0"), got[0].v[0].bytes);
	assert_str(STR("1"), got[0].v[1].bytes);
	assert_str(STR("3"), got[3].v[2].bytes);
	assert_str(STR("1"), got[2].v[0].bytes);
}

static void by_run(void **state)
{
	(void)state;
	static const char *const runs[] = {"{\"run_id\":\"r1\"}", "{\"run_id\":\"0190c6b0-7a2e-7000-8000-00000000beef\"}", "{}",
					   "{\"run_id\":1}"};
	char id[8];
	for (int i = 0; i < 8; i++) {
		snprintf(id, sizeof id, "%d", i);
		struct ckpt_change ch = put_ck(i < 4 ? "t" : "u", "", id, "", "{}");
		ch.metadata = str_c(runs[i % 4]);
		assert_ok(write_ck(&ALICE, ch));
	}
	assert_string_equal(runs_as(&ALICE, "r1"), "t//0 u//4 ");
	assert_string_equal(runs_as(&ALICE, "0190c6b0-7a2e-7000-8000-00000000beef"), "t//1 u//5 ");
	assert_string_equal(runs_as(&ALICE, "1"), "");
	struct ckpt_change ch = put_ck("t", "", "0", "", "{}");
	assert_ok(write_ck(&ALICE, ch)); /* replaced: no run any more */
	assert_string_equal(runs_as(&ALICE, "r1"), "u//4 ");
}

static void removing(void **state)
{
	(void)state;
	struct ckpt_removed gone;
	struct ckpt_ref refs[3] = {{STR(""), STR("2")}, {STR(""), STR("none")}, {STR("other"), STR("2")}};
	struct ckpt_pending w = pend("a", "", 0, "x", "1");
	put_value("t", "1", "", "1", STR("one"));
	put_value("t", "2", "1", "2", STR("two"));
	put_value("t", "3", "2", "2", STR("two"));
	put_value("t", "4", "1", "4", STR("four"));
	assert_ok(write_ck(&ALICE, writes_of("t", "2", &w, 1, false)));
	assert_ok(write_ck(&ALICE, writes_of("t", "none", &w, 1, false))); /* early: stays */
	assert_ok(S->ops->checkpoints->remove(S, &ALICE, STR("t"), refs, 3, &gone));
	assert_true(gone.checkpoints == 1 && gone.values == 0 && gone.writes == 1);
	assert_false(there(&ALICE, "t", "", "2"));
	assert_str(STR(""), must_get("t", "", "3").parent);
	assert_str(STR("two"), must_get("t", "", "3").values[0].bytes);
	assert_str(STR("1"), must_get("t", "", "4").parent);
	refs[0].id = STR("3");
	assert_ok(S->ops->checkpoints->remove(S, &ALICE, STR("t"), refs, 1, &gone));
	assert_true(gone.checkpoints == 1 && gone.values == 1);
	assert_ok(write_ck(&ALICE, put_ck("t", "", "none", "4", "{}")));
	struct ckpt c = must_get("t", "", "none");
	assert_string_equal(writes_text(&c), "/a/0 x=1; ");
	assert_ok(S->ops->checkpoints->remove(S, &ALICE, STR("t"), NULL, 0, &gone));
	assert_ok(S->ops->checkpoints->remove(S, &ALICE, STR("nothing"), refs, 1, &gone));
	assert_int_equal(gone.checkpoints, 0);
}

static void last_one_takes_the_thread(void **state)
{
	(void)state;
	static const char id[] = "1f1e5b1a-1d7a-6295-8000-124b859d0fa9"; /* has a time, for drivers that have no other */
	struct ckpt_removed gone;
	struct ckpt_ref ref = {STR(""), str_c(id)};
	struct thread_info t;
	bool found;
	put_value("t", id, "", "1", STR("one"));
	assert_ok(S->ops->threads->get(S, &scratch, &ALICE, STR("t"), &t, &found));
	assert_true(found && t.checkpoints == 1 && t.messages == 0 && t.version == 0 && t.state_us > 0);
	assert_ok(S->ops->checkpoints->remove(S, &ALICE, STR("t"), &ref, 1, &gone));
	assert_ok(S->ops->threads->get(S, &scratch, &ALICE, STR("t"), &t, &found));
	assert_false(found);
	put_value("t", id, "", "1", STR("again")); /* nothing of the old is left */
	assert_str(STR("again"), must_get("t", "", id).values[0].bytes);
	assert_ok(S->ops->threads->remove(S, &ALICE, STR("t"), THREAD_CHECKPOINTS));
	assert_false(there(&ALICE, "t", "", ""));
	assert_err(E_NOT_FOUND, S->ops->threads->remove(S, &ALICE, STR("t"), THREAD_ALL));
	put_value("t", id, "", "1", STR("third"));
	assert_str(STR("third"), must_get("t", "", id).values[0].bytes);
}

static void copying(void **state)
{
	(void)state;
	struct ckpt_pending w = pend("a", "p", 0, "x", "1");
	struct ckpt_ref refs[2] = {{STR(""), STR("2")}, {STR("sub"), STR("5")}};
	put_value("t", "1", "0", "1", STR("one"));
	put_value("t", "2", "1", "2", STR("two"));
	put_value("t", "3", "2", "3", STR("three"));
	struct ckpt_change sub = put_ck("t", "sub", "5", "", "{\"channel_versions\":{}}");
	assert_ok(write_ck(&ALICE, sub));
	assert_ok(write_ck(&ALICE, writes_of("t", "2", &w, 1, false)));
	assert_err(E_NOT_FOUND, S->ops->checkpoints->copy(S, &ALICE, STR("none"), STR("x"), NULL, 0));
	assert_ok(S->ops->checkpoints->copy(S, &ALICE, STR("t"), STR("whole"), NULL, 0));
	assert_err(E_CONFLICT, S->ops->checkpoints->copy(S, &ALICE, STR("t"), STR("whole"), NULL, 0));
	assert_ok(S->ops->checkpoints->copy(S, &ALICE, STR("t"), STR("part"), refs, 2));
	struct ckpt c = must_get("whole", "", "2");
	assert_str(STR("1"), c.parent);
	assert_str(STR("two"), c.values[0].bytes);
	assert_string_equal(writes_text(&c), "p/a/0 x=1; ");
	assert_str(STR("5"), must_get("whole", "sub", "").id);
	assert_str(STR("0"), must_get("whole", "", "1").parent);
	assert_str(STR("3"), must_get("whole", "", "").id);
	c = must_get("part", "", "");
	assert_str(STR("2"), c.id);
	assert_str(STR("1"), c.parent);
	assert_str(STR("two"), c.values[0].bytes);
	assert_string_equal(writes_text(&c), "p/a/0 x=1; ");
	assert_false(there(&ALICE, "part", "", "1") || there(&ALICE, "part", "", "3"));
	assert_true(there(&ALICE, "part", "sub", "5"));
	put_value("whole", "4", "3", "4", STR("four")); /* the two go their own ways */
	assert_false(there(&ALICE, "t", "", "4"));
	assert_ok(S->ops->threads->remove(S, &ALICE, STR("t"), THREAD_ALL));
	assert_str(STR("three"), must_get("whole", "", "3").values[0].bytes);
	struct thread_info t;
	bool found;
	assert_ok(S->ops->threads->get(S, &scratch, &ALICE, STR("whole"), &t, &found));
	assert_true(found && t.checkpoints == 5);
	assert_ok(S->ops->threads->get(S, &scratch, &ALICE, STR("part"), &t, &found));
	assert_true(found && t.checkpoints == 2);
}

static void storage_of_a_thread(void **state)
{
	(void)state;
	struct ckpt_storage s;
	struct ckpt_pending w[2] = {pend("a", "", 0, "x", "1"), pend("a", "", 1, "x", "2")};
	put_value("t", "1", "", "1", STR("one"));
	put_value("t", "2", "1", "2", STR("two"));
	assert_ok(write_ck(&ALICE, writes_of("t", "2", w, 2, false)));
	assert_ok(S->ops->checkpoints->storage(S, &scratch, &ALICE, STR("t"), &s));
	assert_true(s.checkpoints == 2 && s.values == 2 && s.writes == 2);
	assert_true(s.checkpoint_bytes > 0 && s.value_bytes > 0 && s.write_bytes > 0);
	assert_int_equal(s.channels_n, 1);
	assert_str(STR("m"), s.channels[0].channel);
	assert_int_equal(s.channels[0].versions, 2);
	assert_ok(S->ops->checkpoints->storage(S, &scratch, &ALICE, STR("none"), &s));
	assert_true(s.checkpoints == 0 && s.values == 0 && s.channels_n == 0);
}

static void states_of_threads(void **state)
{
	(void)state;
	struct thread_info t;
	bool found;
	struct ckpt_pending w = pend("a", "", -3, "__interrupt__", "1"), x = pend("a", "", -1, "__error__", "1");
	assert_ok(write_ck(&ALICE, put_ck("t", "", "1", "", "{}")));
	assert_ok(write_ck(&ALICE, writes_of("t", "1", &w, 1, true)));
	assert_ok(S->ops->threads->get(S, &scratch, &ALICE, STR("t"), &t, &found));
	assert_true(found && t.interrupted && !t.error);
	assert_ok(write_ck(&ALICE, writes_of("t", "1", &x, 1, true)));
	assert_ok(S->ops->threads->get(S, &scratch, &ALICE, STR("t"), &t, &found));
	assert_true(t.interrupted && t.error);
	assert_ok(write_ck(&ALICE, put_ck("t", "sub", "9", "", "{}")));
	assert_ok(write_ck(&ALICE, put_ck("t", "", "2", "1", "{}")));
	assert_ok(S->ops->threads->get(S, &scratch, &ALICE, STR("t"), &t, &found));
	assert_true(!t.interrupted && !t.error && t.checkpoints == 3);
}

/* Values of any bytes and every size around which they are kept differently, and names of any characters. */
static void sizes_and_names(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 23, 24, 511, 512, 513, 4096, 100000, 262143, 262144, 3000000};
	static const char odd[] = "\xf0\x9f\x92\xa9 \"\\\n\xe2\x80\xae\xc3\xa9 e\xcc\x81 %s '--";
	char version[64], id[64], json[400];
	char *bytes = malloc(3000000);
	assert_non_null(bytes);
	uint64_t r = 88172645463325252u;
	for (size_t i = 0; i < 3000000; i++) {
		r = r * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = i / 1000 % 3 ? (char)(r >> 56) : "messages"[i % 8];
	}
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		snprintf(version, sizeof version, "%032zu.0.%016zu", i, i * 7919);
		snprintf(id, sizeof id, "%zu", i + 10);
		snprintf(json, sizeof json, "{\"channel_versions\":{\"\xc3\xa9 \\\"q\\\"\":\"%s\"}}", version);
		struct ckpt_value v = val("\xc3\xa9 \"q\"", version, "a type \xc3\xa9",
					  str_of(bytes + i, sizes[i] - (i && sizes[i] > i ? i : 0)));
		struct ckpt_change ch = put_ck(odd, odd, id, odd, json);
		ch.values = &v;
		ch.values_n = 1;
		assert_ok(write_ck(&ALICE, ch));
		struct ckpt c = must_get(odd, odd, id);
		assert_str(str_c(odd), c.parent);
		assert_int_equal(c.values_n, 1);
		assert_true(str_eq(v.bytes, c.values[0].bytes));
		assert_str(v.type, c.values[0].type);
		assert_str(v.version, c.values[0].version);
		arena_clear(&scratch);
	}
	S = suite_driver->reopen(S);
	struct ckpt c = must_get(odd, odd, "21");
	assert_true(str_eq(c.values[0].bytes, str_of(bytes + 11, 3000000 - 11)));
	arena_clear(&scratch);
	free(bytes);
}

enum { MANY = 3000 };

/* A long thread: the newest page costs what a short one's does; paging sees every row once. */
static void long_thread(void **state)
{
	(void)state;
	struct ckpt_change *ch = calloc(MANY, sizeof *ch);
	char(*ids)[16] = calloc(MANY, sizeof *ids);
	assert_true(ch && ids);
	for (int i = 0; i < MANY; i++) {
		snprintf(ids[i], sizeof ids[i], "%06d", i);
		ch[i] = put_ck("t", i % 3 ? "" : "s", ids[i], i ? ids[i - 1] : "", "{}");
	}
	for (int i = 0; i < MANY; i += 1000)
		assert_ok(S->ops->checkpoints->write(S, &ALICE, ch + i, 1000));
	struct str t = STR("t");
	struct ckpt_list q = {.thread = &t, .limit = 700};
	struct ckpt_seen seen = {.a = &scratch};
	for (size_t had = 1; had != seen.n;) {
		had = seen.n;
		assert_ok(S->ops->checkpoints->list(S, &ALICE, &q, ckpt_see, &seen));
		q.after.id = seen.last.id;
		q.after.thread = seen.last.thread;
		q.after.ns = seen.last.ns;
	}
	assert_int_equal(seen.n, MANY);
	assert_str(STR("000000"), seen.last.id);
	free(ids);
	free(ch);
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
		SUITE_TEST(conflicts),
		SUITE_TEST(versions_without_values),
		SUITE_TEST(only_some_channels),
		SUITE_TEST(writes_in_order),
		SUITE_TEST(writes_again),
		SUITE_TEST(all_or_nothing),
		SUITE_TEST(isolation),
		SUITE_TEST(users_of_one_key),
		SUITE_TEST(lists),
		SUITE_TEST(lists_have_what_is_wanted),
		SUITE_TEST(latest_is_the_greatest),
		SUITE_TEST(old_sends),
		SUITE_TEST(by_run),
		SUITE_TEST(removing),
		SUITE_TEST(last_one_takes_the_thread),
		SUITE_TEST(copying),
		SUITE_TEST(storage_of_a_thread),
		SUITE_TEST(states_of_threads),
		SUITE_TEST(sizes_and_names),
		SUITE_TEST(long_thread),
	};
	return cmocka_run_group_tests_name("checkpoints", tests, group_setup, group_teardown);
}
