/* Faults of the disk below SQLite: the Nth write, sync or read fails, for N = 1, 2, 3 ... until a whole run meets none; once, and
 * from then on until the cause is gone. After each: the error was reported, nothing is half done, what was answered OK is there,
 * what was answered with an error is not, and the store works again - also after it was opened anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "fault_vfs.h"
#include "rt/fiber.h"
#include "store/sqlite/sqlite.h"
#include "temp_store.h"

static const struct principal ALICE = {.tenant = STR_INIT("alice"), .rights = RIGHT_ALL};

#define KEYS 12
#define MESSAGES 64
/* What has to be in the store. */
static struct model {
	int value[KEYS]; /* 0: absent */
	bool message[MESSAGES];
	int64_t id[MESSAGES];	 /* of the message */
	uint64_t mark[MESSAGES]; /* of its vector, 0: none */
} model;
static struct store *S;
static char where[128];

#define check(cond)                                                                                                                \
	do {                                                                                                                       \
		if (!(cond))                                                                                                       \
			fail_msg("%s: %s (%s)", where, #cond, diag_get()->text);                                                   \
	} while (0)

static void open_it(void)
{
	struct store_options opt = {.durable = true, .wal_limit_bytes = 64 << 10, .cache_bytes = 64 << 10};
	enum err e = sqlite_store_open(str_c(temp_dir), &opt, "fault", &S);
	check(e == OK);
}

static struct str value_of(char *out, size_t size, int value)
{
	memset(out, 'x', size);
	int n = snprintf(out, size, "{\"v\":%d,\"p\":\"", value);
	out[n] = 'x';
	memcpy(out + size - 2, "\"}", 2);
	return str_of(out, size);
}

static void key_of(char *out, size_t n, int key)
{
	snprintf(out, n, "key%d", key);
}

static bool expected_error(enum err e)
{
	return (e == E_IO || e == E_LIMIT || e == E_CORRUPT || e == E_BUSY) && diag_get()->text[0];
}

/* Two puts, or a put and a delete, in one call; the model follows only when it was answered OK. */
static enum err pair(int a, int va, int b, int vb)
{
	char ka[16], kb[16], buf_a[3000], buf_b[700];
	key_of(ka, sizeof ka, a);
	key_of(kb, sizeof kb, b);
	struct item_write w[2] = {
		{.op = W_PUT, .ns = STR("n"), .key = str_c(ka), .value = value_of(buf_a, sizeof buf_a, va), .terms = STR("t")},
		{.op = vb ? W_PUT : W_DELETE, .ns = STR("m"), .key = str_c(kb), .terms = STR("t")}};
	if (vb)
		w[1].value = value_of(buf_b, sizeof buf_b, vb);
	enum err e = S->ops->item_write(S, &ALICE, w, 2, true);
	if (e == OK) {
		model.value[a] = va;
		model.value[b] = vb;
	}
	return e;
}

static enum err message(int i)
{
	char mid[16];
	snprintf(mid, sizeof mid, "m%d", i);
	struct message m = {.thread = STR("t"),
			    .mid = str_c(mid),
			    .user = STR("u"),
			    .role = STR("user"),
			    .content = STR("hello"),
			    .terms = STR("t")};
	enum err e = S->ops->message_append(S, &ALICE, &m, 1);
	if (e == OK) {
		model.message[i] = true;
		model.id[i] = m.id;
	}
	return e;
}

/* Vectors of the last two messages, in one call. */
static enum err vectors(int i, uint64_t mark)
{
	char data[700];
	struct doc_vector v[2];
	size_t n = 0;
	memset(data, 'v', sizeof data);
	for (int k = i ? i - 1 : i; k <= i; k++)
		if (model.message[k])
			v[n++] = (struct doc_vector){model.id[k], mark, str_of(data, sizeof data)};
	enum err e = S->ops->vector_put(S, &ALICE, DOC_MESSAGE, STR("m"), v, n);
	for (int k = i ? i - 1 : i; e == OK && k <= i; k++)
		if (model.message[k])
			model.mark[k] = mark;
	return e;
}

/* The keys below KEYS / 2 lie in namespace n, the others in m. */
static void check_reads(bool faults)
{
	struct arena a;
	arena_init(&a, 1 << 20);
	for (int i = 0; i < KEYS; i++) {
		struct item it;
		bool found;
		char k[16];
		key_of(k, sizeof k, i);
		enum err e = S->ops->item_get(S, &a, &ALICE, i < KEYS / 2 ? STR("n") : STR("m"), str_c(k), 0, &it, &found);
		if (faults && e != OK) {
			check(expected_error(e));
			continue;
		}
		check(e == OK);
		check(found == (model.value[i] != 0));
		char *text = arena_cstr(&a, found ? it.value : STR(""));
		check(!found || strtol(text + 5, NULL, 10) == model.value[i]);
		check(!found || it.value.n == (i < KEYS / 2 ? 3000 : 700));
		arena_clear(&a);
	}
	arena_release(&a);
}

static bool seen_message(void *ctx, const struct message *m)
{
	bool *seen = ctx;
	char text[16] = "";
	memcpy(text, m->mid.p, m->mid.n < 15 ? m->mid.n : 15);
	long i = strtol(text + 1, NULL, 10);
	check(i >= 0 && i < MESSAGES && !seen[i]);
	seen[i] = true;
	return true;
}

static bool count_item(void *ctx, const struct item *it)
{
	(void)it;
	++*(int *)ctx;
	return true;
}

static bool seen_vector(void *ctx, const struct doc_change *d)
{
	int64_t *n = ctx;
	int i = 0;
	while (i < MESSAGES && model.id[i] != d->id)
		i++;
	check(i < MESSAGES && d->mark == model.mark[i] && d->vector.n == (d->mark ? 700 : 0));
	*n += d->vector.n > 0;
	return true;
}

static void add_count(void *ctx, struct str name, int64_t n)
{
	(void)name;
	*(int64_t *)ctx += n;
}

static void check_vectors(void)
{
	int64_t seen = 0, counted = 0;
	check(S->ops->doc_walk(S, &ALICE, DOC_MESSAGE, STR("m"), 0, 1000, seen_vector, &seen) == OK);
	check(S->ops->vector_models(S, &ALICE, add_count, &counted) == OK);
	check(seen == counted);
}

static void check_all(void)
{
	bool seen[MESSAGES] = {false};
	int items = 0, want = 0;
	check_reads(false);
	enum err e = S->ops->message_list(S, &ALICE, STR("t"), 0, 1000, seen_message, seen);
	check(e == OK || e == E_NOT_FOUND);
	check(memcmp(seen, model.message, sizeof seen) == 0);
	for (int i = 0; i < KEYS; i++)
		want += model.value[i] != 0;
	e = S->ops->item_scan(S, &ALICE, STR(""), 0, NULL, count_item, &items);
	check(e == OK && items == want);
	check_vectors();
}

/* Enough work to fill the log past its limit. stop: at the first error. */
static void work(bool faults, bool stop)
{
	for (int i = 0; i < 16; i++) {
		enum err e = pair(i % (KEYS / 2), i + 1, KEYS / 2 + i % (KEYS / 2), i % 4 == 3 ? 0 : i + 1);
		check(e == OK || (faults && expected_error(e)));
		if (e == OK || !stop)
			e = message(i);
		check(e == OK || (faults && expected_error(e)));
		if (i % 6 == 5 && (e == OK || !stop))
			e = vectors(i, (uint64_t)i + 1);
		check(e == OK || (faults && expected_error(e)));
		if (e != OK && stop)
			return;
		if (i % 8 == 0)
			check_reads(faults);
	}
}

/* What a crash at this moment would leave: the log's index in memory is lost, the files are as they are. Above all, no transaction
 * that was answered with an error may come back from the log. */
static void crashed_now(void)
{
	char from[512];
	struct store *live = S;
	temp_copy(from);
	open_it();
	check_all();
	S->ops->close(S);
	temp_remove();
	memcpy(temp_dir, from, sizeof from);
	S = live;
}

/* The cause is gone: at once, or after the store has noticed it with one more error, writes work. */
static void works_again(void)
{
	enum err e = OK;
	for (int i = 0; i < 3; i++) {
		e = message(40);
		if (e == OK)
			break;
		check(expected_error(e));
	}
	check(e == OK);
	work(false, false);
	check_all();
}

static void reopened(void)
{
	S->ops->close(S);
	open_it();
	check_all();
	check(message(41) == OK);
	check_all();
}

/* at: 0 - faults while working on a file that is there; 1 - while it is made; 2 - while it is opened; 3 - while the store is
 * closed. */
static bool one_run(enum fault_kind kind, int nth, bool sticky, int at)
{
	static const char *const stage[] = {"working", "making", "opening", "closing"};
	snprintf(where, sizeof where, "%s fault, number %d%s, while %s", fault_names[kind], nth, sticky ? " and on" : "",
		 stage[at]);
	memset(&model, 0, sizeof model);
	temp_new();
	open_it();
	if (at != 1) {
		check(pair(0, 100, KEYS / 2, 100) == OK);
		check(message(50) == OK);
		check_all();
	}
	if (at == 2) {
		S->ops->close(S);
		open_it();
	}
	fault_arm(kind, nth, sticky);
	if (at == 3) {
		S->ops->close(S);
	} else {
		work(true, !sticky);
		check_reads(true);
	}
	bool hit = fault_disarm();
	if (at == 3)
		open_it();
	else
		check_all();
	if (at != 3 && hit && !sticky)
		crashed_now();
	works_again();
	reopened();
	S->ops->close(S);
	temp_remove();
	return hit;
}

static void loop(enum fault_kind kind, int at)
{
	for (int sticky = 0; sticky < 2; sticky++) {
		int n = 1;
		/* Densely at first, then in growing steps: later faults meet the same code with other pages. */
		int wide = (int)temp_slowness(), step = sticky || wide > 1 ? 2 : 6;
		while (one_run(kind, n, sticky, at) && n < 100000)
			n += 1 + n * wide / step;
		assert_true(n > 1 || at == 3);
	}
}

#define FAULT_TEST(name, kind)                                                                                                     \
	static void name(void **state)                                                                                             \
	{                                                                                                                          \
		(void)state;                                                                                                       \
		for (int at = 0; at < 4; at++)                                                                                     \
			loop(kind, at);                                                                                            \
	}
FAULT_TEST(writes_fail, FAULT_WRITE)
FAULT_TEST(writes_are_short, FAULT_SHORT)
FAULT_TEST(disk_is_full, FAULT_FULL)
FAULT_TEST(syncs_fail, FAULT_SYNC)
FAULT_TEST(reads_fail, FAULT_READ)

static void full_disk_is_a_quota(void **state)
{
	(void)state;
	snprintf(where, sizeof where, "full disk");
	memset(&model, 0, sizeof model);
	temp_new();
	open_it();
	check(pair(0, 1, KEYS / 2, 1) == OK);
	fault_arm(FAULT_FULL, 1, true);
	check(message(1) == E_LIMIT);
	assert_int_equal(diag_get()->kind, ERR_QUOTA);
	assert_non_null(strstr(diag_get()->text, "disk is full"));
	enum err e = S->ops->ping(S);
	assert_int_equal(e, E_LIMIT);
	check_reads(false); /* reading goes on */
	fault_disarm();
	works_again();
	e = S->ops->ping(S);
	assert_int_equal(e, OK);
	S->ops->close(S);
	temp_remove();
}

/* ---------------------------------------------------------------- a disk that does not answer */

static void *write_one(void *arg)
{
	struct item_write w = {.op = W_PUT, .ns = STR("n"), .key = str_c(arg), .value = STR("{}"), .terms = STR("t")};
	return S->ops->item_write(S, &ALICE, &w, 1, false) == OK ? NULL : arg;
}

static bool exists(const char *key)
{
	struct arena a;
	struct item it;
	bool found;
	arena_init(&a, 1 << 16);
	enum err e = S->ops->item_get(S, &a, &ALICE, STR("n"), str_c(key), 0, &it, &found);
	arena_release(&a);
	check(e == OK);
	return found;
}

static void disk_hangs(void **state)
{
	(void)state;
	static char names[4][4] = {"a", "b", "c", "d"};
	struct store_options opt = {.durable = true, .queue_max = 3};
	pthread_t t[4];
	void *bad;
	struct store_stats st;
	snprintf(where, sizeof where, "a disk that hangs");
	temp_new();
	assert_int_equal(sqlite_store_open(str_c(temp_dir), &opt, "fault", &S), OK);
	check(write_one("first") == NULL);
	fault_hang();
	pthread_create(&t[0], NULL, write_one, names[0]);
	fault_hangs(); /* the writer has taken it */
	/* A write with a deadline is withdrawn, reads go on. */
	fiber_set_deadline(deadline_in_ms(150));
	check(write_one("late") != NULL);
	assert_int_equal(diag_get()->code, E_TIMEOUT);
	fiber_set_deadline(NEVER);
	check(exists("first") && !exists("a"));
	/* More writes than may wait are refused. */
	for (int i = 1; i < 4; i++)
		pthread_create(&t[i], NULL, write_one, names[i]);
	do {
		sched_yield();
		check(S->ops->stats(S, &ALICE, &st) == OK);
	} while (st.queue_depth < 3);
	check(write_one("refused") != NULL);
	assert_int_equal(diag_get()->code, E_BUSY);
	assert_int_equal(diag_get()->retry_after_s, 1);
	assert_int_equal(S->ops->ping(S), E_BUSY);
	fault_release();
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
		check(exists(names[i]));
	}
	check(!exists("late") && !exists("refused"));
	S->ops->close(S);
	temp_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disk_hangs),	    cmocka_unit_test(full_disk_is_a_quota), cmocka_unit_test(writes_fail),
		cmocka_unit_test(writes_are_short), cmocka_unit_test(disk_is_full),	    cmocka_unit_test(syncs_fail),
		cmocka_unit_test(reads_fail),
	};
	log_set_level((enum log_level)(LOG_ERROR + 1)); /* the faults are expected */
	fault_register();
	return cmocka_run_group_tests_name("sqlite faults", tests, NULL, NULL);
}
