/* Rules of sessions: order, paging, taking from the end, repeated calls, owners, and many at once. */
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const struct principal ANN = {.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .user_bound = true, .rights = RIGHT_ALL};
static const struct principal BEN = {.tenant = STR_INIT("alice"), .user = STR_INIT("ben"), .user_bound = true, .rights = RIGHT_ALL};
static const struct principal FOR_ANN = {.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .rights = RIGHT_ALL};
static const struct principal READER = {.tenant = STR_INIT("alice"), .rights = RIGHT_READ};

#define OPS (S->ops->threads)
#define MANY 1500

static struct arena scratch;

/* The n of {"n":12}. */
static int number_of(struct str data)
{
	int64_t n;
	if (!str_int(str_sub(data, 5, data.n - 1), 0, INT32_MAX, &n))
		fail_msg("not one of ours: %.*s", STR_ARG(data));
	return (int)n;
}

/* Appends entries {"n":from} .. and gives their ids. */
static enum err add_n(const struct principal *who, const char *thread, int from, size_t n, int64_t *ids)
{
	struct session_entry *v = calloc(n ? n : 1, sizeof *v);
	char(*text)[40] = calloc(n ? n : 1, sizeof *text);
	struct entry_append a = {.thread = str_c(thread), .v = v, .n = n};
	for (size_t i = 0; i < n; i++) {
		snprintf(text[i], sizeof text[i], "{\"n\":%d}", from + (int)i);
		v[i].data = str_c(text[i]);
	}
	enum err e = OPS->append(S, who, &a);
	for (size_t i = 0; i < n && e == OK; i++) {
		assert_true(v[i].id > 0 && v[i].created_us > 0 && !v[i].unreadable);
		assert_true(i == 0 || v[i].id > v[i - 1].id);
		if (ids)
			ids[i] = v[i].id;
	}
	free(text);
	free(v);
	return e;
}

static void add(const char *thread, int from, size_t n, int64_t *ids)
{
	assert_ok(add_n(&ALICE, thread, from, n, ids));
}

/* The whole text of an entry without blanks and the braces: "n":1 */
static bool show(void *ctx, const struct session_entry *e)
{
	struct buf *b = ctx;
	assert_true(e->id > 0 && e->created_us > 0 && !e->unreadable);
	buf_printf(b, "%.*s ", STR_ARG(str_sub(e->data, 5, e->data.n - 1)));
	return true;
}

static const char *list_as(const struct principal *who, const char *thread, bool newest_first, int64_t after, size_t limit,
			   enum err want)
{
	const struct entry_list q = {.thread = str_c(thread), .newest_first = newest_first, .after = after, .limit = limit};
	struct buf b;
	arena_clear(&scratch);
	buf_init(&b, &scratch, 1 << 20);
	assert_err(want, OPS->entries(S, who, &q, show, &b));
	buf_byte(&b, 0);
	return b.p;
}

static const char *list(const char *thread)
{
	return list_as(&ALICE, thread, false, 0, 100, OK);
}

/* What pop gives, "" : nothing. */
static const char *pop_as(const struct principal *who, const char *thread)
{
	struct session_entry e;
	bool found;
	arena_clear(&scratch);
	assert_ok(OPS->pop(S, &scratch, who, str_c(thread), &e, &found));
	return found ? arena_cstr(&scratch, e.data) : "";
}

static void in_order(void **state)
{
	int64_t ids[3];
	(void)state;
	add("s", 1, 3, ids);
	add("s", 4, 1, NULL);
	add("other", 9, 1, NULL);
	assert_string_equal(list("s"), "1 2 3 4 ");
	assert_string_equal(list_as(&ALICE, "s", true, 0, 100, OK), "4 3 2 1 ");
	assert_string_equal(list_as(&ALICE, "s", true, 0, 2, OK), "4 3 ");
	assert_string_equal(list_as(&ALICE, "s", false, 0, 0, OK), "");
	assert_string_equal(list_as(&ALICE, "s", false, ids[1], 100, OK), "3 4 ");
	assert_string_equal(list_as(&ALICE, "s", true, ids[1], 100, OK), "1 ");
	assert_string_equal(list_as(&ALICE, "s", false, ids[0], 1, OK), "2 ");
	S = suite_driver->reopen(S);
	assert_string_equal(list("s"), "1 2 3 4 ");
	/* a cursor must be an entry of this session */
	list_as(&ALICE, "s", false, ids[2] + 1000000, 5, E_NOT_FOUND);
	list_as(&ALICE, "other", false, ids[0], 5, E_NOT_FOUND);
	list_as(&ALICE, "none", false, 0, 5, E_NOT_FOUND);
	list_as(&BOB, "s", false, 0, 5, E_NOT_FOUND);
}

static void nothing_makes_nothing(void **state)
{
	struct thread_info t;
	bool found;
	(void)state;
	assert_ok(add_n(&ALICE, "s", 0, 0, NULL));
	list_as(&ALICE, "s", false, 0, 5, E_NOT_FOUND);
	assert_string_equal(pop_as(&ALICE, "s"), "");
	assert_ok(OPS->clear(S, &ALICE, STR("s"), NULL));
	assert_err(E_NOT_FOUND, OPS->entry_delete(S, &ALICE, STR("s"), 1));
	assert_ok(OPS->get(S, &scratch, &ALICE, STR("s"), &t, &found));
	assert_false(found);
	assert_err(E_DENIED, add_n(&READER, "s", 1, 1, NULL));
	assert_err(E_DENIED, OPS->clear(S, &READER, STR("s"), NULL));
	add("s", 1, 1, NULL);
	assert_string_equal(list_as(&READER, "s", false, 0, 5, OK), "1 ");
}

static bool stop_at_two(void *ctx, const struct session_entry *e)
{
	(void)e;
	return ++*(int *)ctx < 2;
}

struct walk {
	int n;
	int64_t last;
	bool down;
};

static bool numbered(void *ctx, const struct session_entry *e)
{
	struct walk *w = ctx;
	char want[32];
	snprintf(want, sizeof want, "{\"n\":%d}", w->down ? MANY - 1 - w->n : w->n);
	assert_str(str_c(want), e->data);
	assert_true(w->n == 0 || (w->down ? e->id < w->last : e->id > w->last));
	w->last = e->id;
	w->n++;
	return true;
}

static void long_sessions(void **state)
{
	struct walk up = {0}, down = {.down = true};
	struct entry_list q = {.thread = STR("s"), .limit = SIZE_MAX};
	int seen = 0;
	(void)state;
	add("s", 0, MANY / 2, NULL);
	add("s", MANY / 2, MANY - MANY / 2, NULL);
	assert_ok(OPS->entries(S, &ALICE, &q, numbered, &up));
	assert_int_equal(up.n, MANY);
	q.newest_first = true;
	assert_ok(OPS->entries(S, &ALICE, &q, numbered, &down));
	assert_int_equal(down.n, MANY);
	assert_ok(OPS->entries(S, &ALICE, &q, stop_at_two, &seen));
	assert_int_equal(seen, 2);
	/* page by page, both ways */
	for (int way = 0; way < 2; way++) {
		struct walk w = {.down = way == 1};
		q = (struct entry_list){.thread = STR("s"), .newest_first = way == 1, .limit = 7};
		for (int before = -1; before != w.n; q.after = w.last) {
			before = w.n;
			assert_ok(OPS->entries(S, &ALICE, &q, numbered, &w));
		}
		assert_int_equal(w.n, MANY);
	}
}

static void from_the_end(void **state)
{
	int64_t ids[4];
	struct session_entry e;
	bool found;
	(void)state;
	add("s", 1, 4, ids);
	assert_string_equal(pop_as(&ALICE, "s"), "{\"n\":4}");
	assert_string_equal(pop_as(&ALICE, "s"), "{\"n\":3}");
	assert_string_equal(list("s"), "1 2 ");
	add("s", 5, 1, NULL);
	assert_string_equal(list("s"), "1 2 5 ");
	assert_ok(OPS->entry_delete(S, &ALICE, STR("s"), ids[0]));
	assert_err(E_NOT_FOUND, OPS->entry_delete(S, &ALICE, STR("s"), ids[0]));
	add("other", 1, 1, NULL);
	assert_err(E_NOT_FOUND, OPS->entry_delete(S, &ALICE, STR("other"), ids[1]));
	assert_ok(OPS->entry(S, &scratch, &ALICE, STR("s"), ids[1], &e, &found));
	assert_true(found);
	assert_str(STR("{\"n\":2}"), e.data);
	assert_int_equal(e.id, ids[1]);
	assert_ok(OPS->entry(S, &scratch, &ALICE, STR("other"), ids[1], &e, &found));
	assert_false(found);
	assert_ok(OPS->entry(S, &scratch, &ALICE, STR("none"), ids[1], &e, &found));
	assert_false(found);
	assert_ok(OPS->entry(S, &scratch, &BOB, STR("s"), ids[1], &e, &found));
	assert_false(found);
	assert_string_equal(pop_as(&ALICE, "s"), "{\"n\":5}");
	assert_string_equal(pop_as(&ALICE, "s"), "{\"n\":2}");
	assert_string_equal(pop_as(&ALICE, "s"), "");
	assert_string_equal(pop_as(&BOB, "other"), "");
	assert_string_equal(list("s"), ""); /* an empty session is there */
}

static void clearing(void **state)
{
	struct session_entry v[2] = {{.data = STR("{\"n\":7}")}, {.data = STR("{\"n\":8}")}};
	struct entry_append with = {.thread = STR("s"), .v = v, .n = 2};
	struct thread_info t;
	bool found;
	(void)state;
	add("s", 1, 3, NULL);
	add("other", 1, 1, NULL);
	assert_ok(OPS->clear(S, &ALICE, STR("s"), &with));
	assert_string_equal(list("s"), "7 8 ");
	assert_ok(OPS->clear(S, &ALICE, STR("s"), NULL));
	list_as(&ALICE, "s", false, 0, 5, E_NOT_FOUND);
	assert_ok(OPS->get(S, &scratch, &ALICE, STR("s"), &t, &found));
	assert_false(found);
	assert_ok(OPS->clear(S, &ALICE, STR("s"), &with)); /* and where nothing was */
	assert_string_equal(list("s"), "7 8 ");
	assert_string_equal(list("other"), "1 ");
	/* what somebody has put stays */
	struct thread_record r = {.thread = STR("s"), .metadata = STR("{\"a\":1}")};
	assert_ok(OPS->put(S, &ALICE, &r, IF_ANY));
	assert_ok(OPS->clear(S, &ALICE, STR("s"), NULL));
	assert_string_equal(list("s"), "");
	assert_ok(OPS->get(S, &scratch, &ALICE, STR("s"), &t, &found));
	assert_true(found && t.entries == 0 && t.version == 1);
}

static bool value_there(const char *name)
{
	struct str v;
	bool found;
	assert_ok(S->ops->meta_get(S, &scratch, &ALICE, str_c(name), &v, &found));
	return found;
}

/* The small value of a thread goes with all of its entries, however they go, and by nobody who may not remove them. */
static void value_of_a_thread(void **state)
{
	(void)state;
	static const char *const names[] = {META_OF_THREAD "s", META_OF_THREAD "s2", META_OF_THREAD "p"};
	for (int way = 0; way < 3; way++) {
		int64_t ids[2];
		add("s", 0, 2, ids);
		for (size_t i = 0; i < 3; i++)
			assert_ok(S->ops->meta_put(S, &ALICE, str_c(names[i]), STR("x")));
		assert_ok(OPS->entry_delete(S, &ALICE, STR("s"), ids[0]));
		assert_true(value_there(names[0]));
		if (way == 0)
			assert_ok(OPS->clear(S, &ALICE, STR("s"), NULL));
		else if (way == 1)
			assert_ok(OPS->remove(S, &ALICE, STR("s"), THREAD_ALL));
		else
			assert_ok(OPS->remove(S, &ALICE, STR("s"), THREAD_ENTRIES));
		assert_false(value_there(names[0]));
		assert_true(value_there(names[1]) && value_there(names[2]));
	}
	assert_ok(add_n(&ANN, "p", 0, 1, NULL));
	assert_ok(OPS->clear(S, &BEN, STR("p"), NULL));
	assert_err(E_NOT_FOUND, OPS->remove(S, &BEN, STR("p"), THREAD_ALL));
	assert_true(value_there(names[2]));
	for (size_t i = 0; i < 3; i++)
		assert_ok(S->ops->meta_put(S, &ALICE, str_c(names[i]), STR("")));
	assert_ok(OPS->clear(S, &ANN, STR("p"), NULL));
}

/* The small value of an entry goes with it, however it goes. */
static void values_of_entries(void **state)
{
	(void)state;
	for (int way = 0; way < 5; way++) {
		char names[3][48];
		int64_t ids[3];
		add("s", 0, 3, ids);
		for (int i = 0; i < 3; i++) {
			snprintf(names[i], sizeof names[i], META_OF_ENTRY "%lld", (long long)ids[i]);
			assert_ok(S->ops->meta_put(S, &ALICE, str_c(names[i]), STR("x")));
		}
		if (way == 0)
			assert_ok(OPS->entry_delete(S, &ALICE, STR("s"), ids[2]));
		else if (way == 1)
			assert_string_equal(pop_as(&ALICE, "s"), "{\"n\":2}");
		assert_int_equal(value_there(names[2]), way >= 2);
		assert_true(value_there(names[0]) && value_there(names[1]));
		if (way < 2)
			assert_ok(OPS->clear(S, &ALICE, STR("s"), NULL));
		else
			assert_ok(OPS->remove(S, &ALICE, STR("s"), way == 2 ? THREAD_ALL : THREAD_ENTRIES));
		for (int i = 0; i < 3; i++)
			assert_false(value_there(names[i]));
	}
}

/* An append that counts on the session's end. */
static void behind_the_end(void **state)
{
	struct session_entry v[2] = {{.data = STR("{\"n\":7}")}, {.data = STR("{\"n\":8}")}};
	char name[32] = "0123456789abcdef0123456789abcdef";
	int64_t ids[2];
	struct entry_append a = {.thread = STR("s"), .v = v, .n = 2};
	(void)state;
	a.behind = 1;
	assert_err(E_CONFLICT, OPS->append(S, &ALICE, &a)); /* nothing is there */
	list_as(&ALICE, "s", false, 0, 5, E_NOT_FOUND);
	add("s", 1, 2, ids);
	a.behind = ids[0];
	assert_err(E_CONFLICT, OPS->append(S, &ALICE, &a));
	assert_string_equal(list("s"), "1 2 ");
	a.behind = ids[1];
	a.once = str_of(name, 32);
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_string_equal(list("s"), "1 2 7 8 ");
	a.look = true;
	assert_ok(OPS->append(S, &ALICE, &a)); /* over again */
	assert_true(a.repeated);
	a.look = false;
	assert_err(E_CONFLICT, OPS->append(S, &ALICE, &a));
	assert_string_equal(list("s"), "1 2 7 8 ");
	add("other", 5, 1, NULL);
	a.behind = v[1].id;
	assert_ok(OPS->append(S, &ALICE, &a)); /* others' sessions do not count */
	assert_string_equal(list("s"), "1 2 7 8 7 8 ");
	assert_ok(OPS->clear(S, &ALICE, STR("s"), NULL));
	assert_ok(OPS->clear(S, &ALICE, STR("other"), NULL));
}

static void conditions(void **state)
{
	struct session_entry v[1] = {{.data = STR("{\"n\":1}")}};
	struct entry_append a = {.thread = STR("s"), .v = v, .n = 1, .must_exist = true};
	struct thread_record r = {.thread = STR("put")};
	(void)state;
	assert_err(E_NOT_FOUND, OPS->append(S, &ALICE, &a));
	list_as(&ALICE, "s", false, 0, 5, E_NOT_FOUND);
	assert_ok(OPS->put(S, &ALICE, &r, IF_ABSENT));
	a.thread = STR("put");
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_ok(OPS->append(S, &ALICE, &a));
	a.must_exist = false;
	a.wants_empty = true;
	assert_err(E_CONFLICT, OPS->append(S, &ALICE, &a));
	assert_string_equal(list("put"), "1 1 ");
	a.thread = STR("s");
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_err(E_CONFLICT, OPS->append(S, &ALICE, &a));
	assert_string_equal(list("s"), "1 ");
}

static void repeated_calls(void **state)
{
	char mark[2][33] = {"0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdeX"};
	struct session_entry v[2] = {{.data = STR("{\"n\":1}")}, {.data = STR("{\"n\":2}")}};
	struct entry_append a = {.thread = STR("s"), .v = v, .n = 2, .once = str_of(mark[0], 32)};
	(void)state;
	assert_ok(OPS->append(S, &ALICE, &a));
	int64_t first = v[0].id, second = v[1].id;
	a.look = true;
	memset(v, 0, sizeof v);
	v[0].data = v[1].data = STR("{\"n\":1}");
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_true(a.repeated && v[0].id == first && v[1].id == second && v[0].created_us > 0);
	assert_string_equal(list("s"), "1 2 ");
	S = suite_driver->reopen(S);
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_true(a.repeated);
	assert_ok(OPS->clear(S, &ALICE, STR("s"), &a)); /* a replacement that was done already */
	assert_true(a.repeated);
	assert_string_equal(list("s"), "1 2 ");
	/* another mark, another number of entries, or nobody looks: appended */
	a.once = str_of(mark[1], 32);
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_false(a.repeated);
	a.n = 1;
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_false(a.repeated);
	a.look = false;
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_false(a.repeated);
	a.look = true;
	add("s", 5, 1, NULL); /* the last append has no mark */
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_false(a.repeated);
	a.thread = STR("other");
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_false(a.repeated);
}

/* What a call writes behind its first entries does not make it forgotten; and it can be asked for without appending. */
static void calls_of_several_appends(void **state)
{
	char mark[2][33] = {"0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdeX"};
	struct session_entry v[2] = {{.data = STR("{\"n\":1}")}, {.data = STR("{\"n\":2}")}}, w[1] = {{.data = STR("{\"n\":3}")}};
	struct entry_append a = {.thread = STR("several"), .v = v, .n = 2, .once = str_of(mark[0], 32)},
			    more = {.thread = STR("several"), .v = w, .n = 1, .same_call = true},
			    ask = {.thread = STR("several"), .once = str_of(mark[0], 32), .look = true, .must_exist = true};
	(void)state;
	assert_err(E_NOT_FOUND, OPS->append(S, &ALICE, &ask));
	assert_ok(OPS->append(S, &ALICE, &a));
	int64_t first = v[0].id;
	assert_ok(OPS->append(S, &ALICE, &more));
	more.instead = w[0].id;
	assert_ok(OPS->append(S, &ALICE, &more));
	assert_string_equal(list("several"), "1 2 3 ");
	a.look = true;
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_true(a.repeated && v[0].id == first);
	assert_ok(OPS->append(S, &ALICE, &ask));
	assert_true(ask.repeated);
	assert_err(E_NOT_FOUND, (ask.thread = STR("nowhere"), OPS->append(S, &ALICE, &ask)));
	ask.thread = STR("several");
	ask.once = str_of(mark[1], 32);
	assert_ok(OPS->append(S, &ALICE, &ask));
	assert_false(ask.repeated);
	a.look = true; /* having been asked about another call changes nothing */
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_true(a.repeated);
	assert_string_equal(list("several"), "1 2 3 ");
	add("several", 5, 1, NULL);
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_false(a.repeated);
}

/* One entry goes when others come; not one of another thread, and not twice. */
static void in_the_place_of(void **state)
{
	struct session_entry v[2] = {{.data = STR("{\"n\":7}")}, {.data = STR("{\"n\":8}")}};
	struct entry_append a = {.thread = STR("s"), .v = v, .n = 2};
	int64_t ids[3], other[1];
	(void)state;
	add("s", 1, 3, ids);
	add("t", 1, 1, other);
	a.instead = ids[1];
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_string_equal(list("s"), "1 3 7 8 ");
	a.n = 1;
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_string_equal(list("s"), "1 3 7 8 7 ");
	a.instead = other[0];
	assert_ok(OPS->append(S, &ALICE, &a));
	assert_string_equal(list("s"), "1 3 7 8 7 7 ");
	assert_string_equal(list("t"), "1 ");
	S = suite_driver->reopen(S);
	assert_string_equal(list("s"), "1 3 7 8 7 7 ");
	struct thread_info t;
	bool found;
	assert_ok(OPS->get(S, &scratch, &ALICE, STR("s"), &t, &found));
	assert_true(found && t.entries == 6);
}

/* What an entry says is its own affair: bytes, size, number. */
static void any_object(void **state)
{
	static const char *const odd[] = {
		"{}",
		"{ \"a\" : 1.0 , \"b\":null }",
		"{\"id\":\"__fake_id__\",\"content\":[{\"text\":\"\\u00e9 \\ud83d\\ude00 \\u0000\"}]}",
		"{\"id\":\"__fake_id__\",\"content\":\"\xc3\xa9 \xf0\x9f\x98\x80 ' \\\\ \\\"\"}",
		"{\"__enc__\":1,\"v\":1,\"kid\":\"hkdf-v1\",\"payload\":\"gAAA\"}",
		"{\"a\":{\"a\":[[],{},[1,-0.5e-7,true,false,null,\"\"]]}}",
	};
	enum { N = sizeof odd / sizeof *odd };
	struct session_entry v[N + 1] = {0}, e;
	struct entry_append a = {.thread = STR("s"), .v = v, .n = N + 1};
	size_t big = 1u << 20;
	char *text = malloc(big + 1);
	bool found;
	(void)state;
	for (size_t i = 0; i < N; i++)
		v[i].data = str_c(odd[i]);
	memset(text, 'x', big);
	memcpy(text, "{\"a\":\"", 6);
	memcpy(text + big - 2, "\"}", 2);
	v[N].data = str_of(text, big);
	assert_ok(OPS->append(S, &ALICE, &a));
	for (size_t i = 0; i <= N; i++) {
		assert_ok(OPS->entry(S, &scratch, &ALICE, STR("s"), v[i].id, &e, &found));
		assert_true(found && !e.unreadable);
		assert_str(v[i].data, e.data);
	}
	free(text);
}

static void odd_names(void **state)
{
	static const char *const names[] = {"a", "A", "a b", "%", "\xc3\xa9", "\xf0\x9f\x98\x80", "a/b", "'; --", "\"q\"", "\\"};
	char longest[257];
	(void)state;
	memset(longest, 'l', 256);
	longest[256] = 0;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		add(names[i], (int)i + 1, 1, NULL);
	add(longest, 77, 1, NULL);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char want[16];
		snprintf(want, sizeof want, "%zu ", i + 1);
		assert_string_equal(list(names[i]), want);
	}
	assert_string_equal(list(longest), "77 ");
}

static void owners(void **state)
{
	struct session_entry v[1] = {{.data = STR("{\"n\":9}")}}, e;
	struct entry_append with = {.thread = STR("a"), .v = v, .n = 1};
	int64_t id;
	bool found;
	(void)state;
	assert_ok(add_n(&ANN, "a", 1, 1, &id));
	assert_ok(add_n(&ALICE, "all", 1, 1, NULL));
	/* whoever names a user reaches what is the user's and what is nobody's; who is bound, only the former */
	assert_string_equal(list_as(&FOR_ANN, "a", false, 0, 5, OK), "1 ");
	assert_string_equal(list_as(&FOR_ANN, "all", false, 0, 5, OK), "1 ");
	assert_string_equal(list_as(&ALICE, "a", false, 0, 5, OK), "1 ");
	list_as(&ANN, "all", false, 0, 5, E_NOT_FOUND);
	list_as(&BEN, "a", false, 0, 5, E_NOT_FOUND);
	assert_ok(OPS->entry(S, &scratch, &BEN, STR("a"), id, &e, &found));
	assert_false(found);
	assert_err(E_CONFLICT, add_n(&BEN, "a", 2, 1, NULL));
	assert_err(E_CONFLICT, add_n(&ANN, "all", 2, 1, NULL));
	assert_err(E_CONFLICT, OPS->clear(S, &BEN, STR("a"), &with));
	assert_ok(OPS->clear(S, &BEN, STR("a"), NULL));
	assert_string_equal(pop_as(&BEN, "a"), "");
	assert_err(E_NOT_FOUND, OPS->entry_delete(S, &BEN, STR("a"), id));
	assert_err(E_NOT_FOUND, OPS->remove(S, &BEN, STR("a"), THREAD_ALL));
	assert_string_equal(list("a"), "1 ");
	assert_ok(add_n(&FOR_ANN, "all", 2, 1, NULL)); /* stays nobody's */
	assert_string_equal(list("all"), "1 2 ");
	list_as(&ANN, "all", false, 0, 5, E_NOT_FOUND);
	assert_string_equal(pop_as(&ANN, "a"), "{\"n\":1}");
	/* an emptied session is still its owner's, a cleared one is free */
	assert_err(E_CONFLICT, add_n(&BEN, "a", 2, 1, NULL));
	assert_ok(OPS->clear(S, &ANN, STR("a"), NULL));
	assert_ok(add_n(&BEN, "a", 2, 1, NULL));
	list_as(&ANN, "a", false, 0, 5, E_NOT_FOUND);
}

/* ---------------------------------------------------------------- many at once */

#define THREADS 6
#define ROUNDS 25
struct worker {
	pthread_t thread;
	int n;
	enum err err;
	int popped, appended;
	bool seen[THREADS * ROUNDS * 2];
};

static void *append_and_pop(void *arg)
{
	struct worker *w = arg;
	struct arena a;
	arena_init(&a, 1 << 20);
	for (int i = 0; i < ROUNDS && w->err == OK; i++) {
		struct session_entry v[2], e;
		char text[2][40];
		struct entry_append ap = {.thread = STR("s"), .v = v, .n = 2};
		bool found;
		for (int k = 0; k < 2; k++) {
			snprintf(text[k], sizeof text[k], "{\"n\":%d}", (w->n * ROUNDS + i) * 2 + k);
			v[k] = (struct session_entry){.data = str_c(text[k])};
		}
		w->err = OPS->append(S, &ALICE, &ap);
		if (w->err != OK)
			break;
		w->appended += 2;
		arena_clear(&a);
		w->err = OPS->pop(S, &a, &ALICE, STR("s"), &e, &found);
		if (w->err != OK || !found)
			break;
		int n = number_of(e.data);
		w->popped++;
		w->seen[n] = true;
	}
	arena_release(&a);
	return NULL;
}

static bool mark(void *ctx, const struct session_entry *e)
{
	int n = number_of(e->data);
	bool *seen = ctx;
	assert_false(seen[n]); /* neither popped nor twice here */
	seen[n] = true;
	return true;
}

/* Nothing is lost, nothing is given twice, and what one call appends stays together. */
static void appends_and_pops_at_once(void **state)
{
	struct worker *w = calloc(THREADS, sizeof *w);
	bool seen[THREADS * ROUNDS * 2] = {0};
	const struct entry_list q = {.thread = STR("s"), .limit = SIZE_MAX};
	int appended = 0;
	(void)state;
	for (int i = 0; i < THREADS; i++) {
		w[i].n = i;
		assert_int_equal(pthread_create(&w[i].thread, NULL, append_and_pop, &w[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].err, OK);
		appended += w[i].appended;
		for (int n = 0; n < THREADS * ROUNDS * 2; n++) {
			assert_false(w[i].seen[n] && seen[n]);
			seen[n] = seen[n] || w[i].seen[n];
		}
	}
	assert_int_equal(appended, THREADS * ROUNDS * 2);
	assert_ok(OPS->entries(S, &ALICE, &q, mark, seen));
	for (int n = 0; n < THREADS * ROUNDS * 2; n++)
		assert_true(seen[n]);
	free(w);
}

static void *replace(void *arg)
{
	struct worker *w = arg;
	for (int i = 0; i < ROUNDS && w->err == OK; i++) {
		struct session_entry v[3];
		char text[40];
		struct entry_append ap = {.thread = STR("s"), .v = v, .n = 3};
		snprintf(text, sizeof text, "{\"n\":%d}", w->n);
		for (int k = 0; k < 3; k++)
			v[k] = (struct session_entry){.data = str_c(text)};
		w->err = i % 5 == 4 ? OPS->clear(S, &ALICE, STR("s"), NULL) : OPS->clear(S, &ALICE, STR("s"), &ap);
		if (w->err != OK)
			fprintf(stderr, "replacing: %s\n", diag_get()->text);
	}
	return NULL;
}

static bool all_alike(void *ctx, const struct session_entry *e)
{
	int *x = ctx;
	int n = number_of(e->data);
	if (x[0]++ == 0)
		x[1] = n;
	assert_int_equal(x[1], n);
	return true;
}

/* A history is replaced as a whole: no reader sees parts of two. */
static void replaced_at_once(void **state)
{
	struct worker *w = calloc(THREADS, sizeof *w);
	const struct entry_list q = {.thread = STR("s"), .limit = 10};
	(void)state;
	for (int i = 0; i < THREADS; i++) {
		w[i].n = i;
		assert_int_equal(pthread_create(&w[i].thread, NULL, replace, &w[i]), 0);
	}
	for (int i = 0; i < 200; i++) {
		int x[2] = {0};
		enum err e = OPS->entries(S, &ALICE, &q, all_alike, x);
		assert_true(e == OK || e == E_NOT_FOUND);
		assert_true(x[0] == 0 || x[0] == 3);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].err, OK);
	}
	free(w);
}

int suite_entries(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(in_order),
		SUITE_TEST(nothing_makes_nothing),
		SUITE_TEST(long_sessions),
		SUITE_TEST(from_the_end),
		SUITE_TEST(clearing),
		SUITE_TEST(value_of_a_thread),
		SUITE_TEST(values_of_entries),
		SUITE_TEST(behind_the_end),
		SUITE_TEST(conditions),
		SUITE_TEST(repeated_calls),
		SUITE_TEST(calls_of_several_appends),
		SUITE_TEST(any_object),
		SUITE_TEST(odd_names),
		SUITE_TEST(owners),
		SUITE_TEST(in_the_place_of),
		SUITE_TEST(appends_and_pops_at_once),
		SUITE_TEST(replaced_at_once),
	};
	arena_init(&scratch, 64u << 20);
	int failed = cmocka_run_group_tests_name("sessions", tests, NULL, NULL);
	arena_release(&scratch);
	return failed;
}
