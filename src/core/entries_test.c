/* Sessions over a store of one thread in an array: what is refused before the store is asked, what is left out of reads, where
 * pages end. What the drivers do with entries is tests/store's business. */
#include "core/testing.h"
#include "core/thread.h"

enum { ROWS = 64 };

/* The thread "t"; data "" : unreadable. */
static struct {
	const char *data[ROWS];
	size_t n;
	unsigned calls, appends, clears;
	size_t lose_after; /* rows vanish before the call with this number; 0: never */
} fake;

static enum err fake_entries(struct store *s, const struct principal *who, const struct entry_list *q, entry_fn fn, void *ctx)
{
	size_t given = 0;

	fake.calls++;
	if (!str_eq(q->thread, STR("t")) || (fake.lose_after && fake.calls >= fake.lose_after))
		return err_set(E_NOT_FOUND, "there is no such session");
	for (size_t i = 0; i < fake.n && given < q->limit; i++) {
		size_t at = q->newest_first ? fake.n - 1 - i : i;
		struct session_entry e = {.id = (int64_t)at + 1, .data = str_c(fake.data[at]), .unreadable = !fake.data[at][0]};

		if (q->after && (q->newest_first ? e.id >= q->after : e.id <= q->after))
			continue;
		given++;
		if (!fn(ctx, &e))
			break;
	}
	return OK;
}

static enum err fake_append(struct store *s, const struct principal *who, struct entry_append *e)
{
	fake.appends++;
	return OK;
}

static enum err fake_clear(struct store *s, const struct principal *who, struct str thread, struct entry_append *with)
{
	fake.clears += with ? 10 : 1;
	return OK;
}

static enum err fake_entry(struct store *s, struct arena *a, const struct principal *who, struct str thread, int64_t id,
			   struct session_entry *out, bool *found)
{
	*found = id >= 1 && id <= (int64_t)fake.n;
	if (*found)
		*out = (struct session_entry){.id = id, .data = str_c(fake.data[id - 1]), .unreadable = !fake.data[id - 1][0]};
	return OK;
}

static const struct thread_ops ops = {.entries = fake_entries, .append = fake_append, .clear = fake_clear, .entry = fake_entry};
static struct store_ops table;

static int setup(void **state)
{
	static struct bench b;

	memset(&fake, 0, sizeof fake);
	bench_init(&b);
	table = *b.store->ops;
	table.threads = &ops;
	b.store->ops = &table;
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	bench_release(*state);
	return 0;
}

static void refusals(void **state)
{
	static const struct {
		const char *data;
		enum err err;
	} rows[] = {
		{"[]", E_INVALID},
		{"5", E_INVALID},
		{"", E_INVALID},
		{"{", E_INVALID},
		{"{\"a\":NaN}", E_INVALID},
		{"null", E_INVALID},
		{"{\"a\":\"\\ud800\"}", E_INVALID},
		{"{} {}", E_INVALID},
		{"{\"a\":\"\xff\"}", E_INVALID},
	};
	struct bench *b = *state;
	struct session_entry v[4] = {{.data = STR("{}")}, {.data = STR("{\"a\": 1.0, \"a\": 2}")}, {.data = STR("{}")}};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct entry_append e = {.thread = STR("t"), .v = v, .n = 4};

		v[3].data = str_c(rows[i].data);
		FAILS(entries_append(b->m, &b->a, &ann, &e), rows[i].err);
		assert_string_equal(diag_get()->field, "/items/3");
		FAILS(entries_replace(b->m, &ann, &e), rows[i].err);
	}
	assert_int_equal(fake.appends + fake.clears, 0);
	v[3].data = STR("{\"deep\":{}}");
	OKAY(entries_append(b->m, &b->a, &ann, &(struct entry_append){.thread = STR("t"), .v = v, .n = 4}));
	assert_int_equal(fake.appends, 1);
}

static void limits(void **state)
{
	struct bench *b = *state;
	struct entry_append e = {.thread = STR("t")};
	struct session_entry *v = calloc(ENTRIES_PER_CALL + 1, sizeof *v);
	size_t n = ENTRY_MAX_BYTES + 1;
	char *big = malloc(n), name[300];

	memset(big, ' ', n);
	memcpy(big, "{}", 2);
	for (size_t i = 0; i <= ENTRIES_PER_CALL; i++)
		v[i].data = STR("{}");
	e.v = v;
	e.n = ENTRIES_PER_CALL + 1;
	FAILS(entries_append(b->m, &b->a, &ann, &e), E_LIMIT);
	e.n = ENTRIES_PER_CALL;
	OKAY(entries_append(b->m, &b->a, &ann, &e));
	e.n = 2;
	v[1].data = str_of(big, n);
	FAILS(entries_append(b->m, &b->a, &ann, &e), E_LIMIT);
	assert_string_equal(diag_get()->field, "/items/1");
	assert_int_equal(diag_get()->kind, ERR_SIZE);
	v[1].data.n--;
	OKAY(entries_append(b->m, &b->a, &ann, &e));
	memset(name, 'x', sizeof name);
	e.thread = str_of(name, 257);
	FAILS(entries_append(b->m, &b->a, &ann, &e), E_INVALID);
	e.thread = STR("");
	FAILS(entries_append(b->m, &b->a, &ann, &e), E_INVALID);
	e.thread = STR("t");
	FAILS(entries_append(b->m, &b->a, &reader, &e), E_DENIED);
	FAILS(entries_clear(b->m, &reader, STR("t")), E_DENIED);
	assert_int_equal(fake.appends, 2);
	free(big);
	free(v);
}

static void nothing_to_append(void **state)
{
	struct bench *b = *state;
	struct entry_append e = {.thread = STR("t")};

	OKAY(entries_append(b->m, &b->a, &ann, &e));
	assert_int_equal(fake.appends, 0); /* creates nothing */
	OKAY(entries_replace(b->m, &ann, &e));
	assert_int_equal(fake.clears, 1); /* leaves nothing */
}

static void fill(size_t n)
{
	static const char *const data[] = {"{\"a\":0}", "", "{\"a\":2}", "", ""};

	for (size_t i = 0; i < n; i++)
		fake.data[i] = data[i % 5];
	fake.n = n;
}

/* Readable ones of 64 are 0, 2, 5, 7, 10, ...: 26 of them. */
static void tails(void **state)
{
	struct bench *b = *state;
	struct session_entry *v;
	size_t n;

	fill(ROWS);
	OKAY(entries_tail(b->m, &b->a, &ann, STR("t"), SIZE_MAX, &v, &n));
	assert_int_equal(n, 26);
	assert_int_equal(v[0].id, 1);
	assert_int_equal(v[25].id, 63);
	OKAY(entries_tail(b->m, &b->a, &ann, STR("t"), 3, &v, &n));
	assert_int_equal(n, 3);
	assert_int_equal(v[0].id, 58);
	assert_int_equal(v[1].id, 61);
	assert_int_equal(v[2].id, 63);
	assert_true(str_eq(v[2].data, STR("{\"a\":2}")));
	OKAY(entries_tail(b->m, &b->a, &ann, STR("t"), 0, &v, &n));
	assert_int_equal(n, 0);
	OKAY(entries_tail(b->m, &b->a, &ann, STR("none"), 5, &v, &n));
	assert_int_equal(n, 0);
	/* What others remove while it is read is not taken for the end. */
	fake.calls = 0;
	fake.lose_after = 2;
	FAILS(entries_tail(b->m, &b->a, &ann, STR("t"), 3, &v, &n), E_BUSY);
}

static void recent_ones(void **state)
{
	struct bench *b = *state;
	struct session_entry *v;
	bool full;
	size_t n;

	fill(ROWS);
	OKAY(entries_recent(b->m, &b->a, &ann, STR("t"), 0, 100, SIZE_MAX, &v, &n, &full));
	assert_int_equal(n, 26);
	assert_false(full);
	/* Those that have room, oldest first; one has always. */
	OKAY(entries_recent(b->m, &b->a, &ann, STR("t"), 0, 100, 3 * strlen("{\"a\":2}"), &v, &n, &full));
	assert_int_equal(n, 3);
	assert_int_equal(v[0].id, 58);
	assert_int_equal(v[2].id, 63);
	assert_true(full);
	OKAY(entries_recent(b->m, &b->a, &ann, STR("t"), 0, 100, 1, &v, &n, &full));
	assert_int_equal(n, 1);
	assert_true(full);
	OKAY(entries_recent(b->m, &b->a, &ann, STR("none"), 0, 100, 1, &v, &n, &full));
	assert_int_equal(n, 0);
	assert_false(full);
}

static void tail_starts(void **state)
{
	static const struct {
		size_t limit;
		int64_t after;
		bool found;
	} rows[] = {{SIZE_MAX, 0, true}, {26, 0, true}, {25, 1, true}, {3, 56, true}, {1, 61, true}, {0, 0, false}};
	struct bench *b = *state;
	int64_t after;
	bool found;

	fill(ROWS);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		OKAY(entries_tail_from(b->m, &ann, STR("t"), rows[i].limit, &after, &found));
		assert_int_equal(after, rows[i].after);
		assert_int_equal(found, rows[i].found);
	}
	OKAY(entries_tail_from(b->m, &ann, STR("none"), 3, &after, &found));
	assert_false(found);
}

static void pages(void **state)
{
	struct bench *b = *state;
	struct entry_list q = {.thread = STR("t"), .limit = 10};
	struct session_entry *v;
	size_t n, total = 0;
	bool more = true;

	fill(ROWS);
	for (int64_t last = 0; more; q.after = last) {
		OKAY(entries_page(b->m, &b->a, &ann, &q, &v, &n, &more));
		assert_true(n == 10 || !more);
		for (size_t i = 0; i < n; i++) {
			assert_true(v[i].id > last);
			last = v[i].id;
		}
		total += n;
	}
	assert_int_equal(total, 26);
	q.newest_first = true;
	q.after = 3;
	OKAY(entries_page(b->m, &b->a, &ann, &q, &v, &n, &more));
	assert_int_equal(n, 1);
	assert_false(more);
	q.thread = STR("none");
	FAILS(entries_page(b->m, &b->a, &ann, &q, &v, &n, &more), E_NOT_FOUND);
}

/* A page has at most 4 MiB, but at least one entry. */
static void large_pages(void **state)
{
	struct bench *b = *state;
	struct entry_list q = {.thread = STR("t"), .limit = 100};
	char *big = malloc((3 << 20) + 1), *huge = malloc((5 << 20) + 1);
	struct session_entry *v;
	size_t n;
	bool more;

	memset(big, 'x', 3 << 20);
	memset(huge, 'x', 5 << 20);
	big[3 << 20] = huge[5 << 20] = 0;
	fake.data[0] = "{}";
	fake.data[1] = big;
	fake.data[2] = big;
	fake.data[3] = huge;
	fake.n = 4;
	for (int64_t i = 0; i < 3; i++) {
		static const size_t sizes[] = {2, 1, 1};
		static const int64_t after[] = {0, 2, 3};

		q.after = after[i];
		OKAY(entries_page(b->m, &b->a, &ann, &q, &v, &n, &more));
		assert_int_equal(n, sizes[i]);
		assert_int_equal(more, i < 2);
	}
	free(big);
	free(huge);
}

static void one(void **state)
{
	struct bench *b = *state;
	struct session_entry e;

	fill(5);
	OKAY(entries_get(b->m, &b->a, &ann, STR("t"), 3, &e));
	assert_true(str_eq(e.data, STR("{\"a\":2}")));
	FAILS(entries_get(b->m, &b->a, &ann, STR("t"), 2, &e), E_NOT_FOUND); /* unreadable */
	FAILS(entries_get(b->m, &b->a, &ann, STR("t"), 9, &e), E_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(limits, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_to_append, setup, teardown),
		cmocka_unit_test_setup_teardown(tails, setup, teardown),
		cmocka_unit_test_setup_teardown(recent_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(tail_starts, setup, teardown),
		cmocka_unit_test_setup_teardown(pages, setup, teardown),
		cmocka_unit_test_setup_teardown(large_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(one, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
