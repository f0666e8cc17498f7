/* Rules of conversations: order, ownership, idempotence, visibility for user-bound principals. */
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const struct principal ANN = {.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .user_bound = true, .rights = RIGHT_ALL};
static const struct principal BEN = {.tenant = STR_INIT("alice"), .user = STR_INIT("ben"), .user_bound = true, .rights = RIGHT_ALL};

static struct message msg(const char *thread, const char *mid, const char *user, const char *content)
{
	return (struct message){.thread = str_c(thread),
				.mid = str_c(mid),
				.user = str_c(user),
				.role = STR("user"),
				.name = STR("n"),
				.content = str_c(content),
				.metadata = STR("{\"a\":1}"),
				.time_us = 77,
				.terms = STR("t")};
}

static enum err append(struct message m)
{
	return S->ops->message_append(S, &ALICE, &m, 1);
}

static struct arena scratch;

static bool add(void *ctx, const struct message *m)
{
	buf_printf(ctx, "%lld=%.*s/%.*s ", (long long)m->pos, STR_ARG(m->mid), STR_ARG(m->content));
	return true;
}

static const char *list(const struct principal *who, const char *thread, int64_t from, size_t limit, enum err want)
{
	struct buf b;
	arena_clear(&scratch);
	buf_init(&b, &scratch, 1 << 20);
	assert_err(want, S->ops->message_list(S, who, str_c(thread), from, limit, add, &b));
	buf_byte(&b, 0);
	return b.p;
}

static bool add_thread(void *ctx, const struct thread_info *t)
{
	assert_true(t->created_us > 0 && t->updated_us >= t->created_us);
	buf_printf(ctx, "%.*s(%.*s,%lld) ", STR_ARG(t->thread), STR_ARG(t->user), (long long)t->messages);
	return true;
}

static const char *threads(const struct principal *who, const char *user, const char *after, size_t limit)
{
	struct buf b;
	struct str u = str_c(user);
	arena_clear(&scratch);
	buf_init(&b, &scratch, 1 << 20);
	assert_ok(S->ops->thread_list(S, who, user ? &u : NULL, str_c(after), limit, add_thread, &b));
	buf_byte(&b, 0);
	return b.p;
}

static void appends_in_order(void **state)
{
	(void)state;
	struct message m[3] = {msg("t", "a", "ann", "1"), msg("t", "b", "ann", "2"), msg("u", "a", "ann", "3")};
	assert_ok(S->ops->message_append(S, &ALICE, m, 3));
	assert_true(m[0].stored && m[1].stored && m[2].stored);
	assert_true(m[0].pos == 0 && m[1].pos == 1 && m[2].pos == 0);
	assert_ok(append(msg("t", "c", "ann", "4")));
	assert_string_equal(list(&ALICE, "t", 0, 100, OK), "0=a/1 1=b/2 2=c/4 ");
	assert_string_equal(list(&ALICE, "t", 1, 1, OK), "1=b/2 ");
	assert_string_equal(list(&ALICE, "t", 9, 10, OK), "");
	assert_string_equal(list(&ALICE, "none", 0, 10, E_NOT_FOUND), "");
	assert_ok(S->ops->message_append(S, &ALICE, NULL, 0));
}

static void idempotent(void **state)
{
	(void)state;
	struct message m = msg("t", "a", "ann", "1");
	assert_ok(S->ops->message_append(S, &ALICE, &m, 1));
	int64_t id = m.id;
	m = msg("t", "a", "ann", "changed");
	assert_ok(S->ops->message_append(S, &ALICE, &m, 1));
	assert_false(m.stored);
	assert_true(m.id == id && m.pos == 0);
	struct message two[3] = {msg("t", "b", "ann", "2"), msg("t", "b", "ann", "2"), msg("t", "a", "ann", "1")};
	assert_ok(S->ops->message_append(S, &ALICE, two, 3));
	assert_true(two[0].stored && !two[1].stored && !two[2].stored);
	assert_string_equal(list(&ALICE, "t", 0, 10, OK), "0=a/1 1=b/2 ");
}

static void threads_have_owners(void **state)
{
	(void)state;
	assert_ok(append(msg("t", "a", "ann", "1")));
	assert_err(E_CONFLICT, append(msg("t", "b", "ben", "2")));
	assert_err(E_CONFLICT, append(msg("t", "a", "", "1")));
	struct message m[3] = {msg("new", "a", "ben", "1"), msg("t", "b", "ben", "2"), msg("new", "b", "ben", "3")};
	assert_err(E_CONFLICT, S->ops->message_append(S, &ALICE, m, 3));
	assert_false(m[0].stored);
	assert_string_equal(threads(&ALICE, NULL, "", 10), "t(ann,1) ");
	struct message n[2] = {msg("new", "a", "ben", "1"), msg("new", "b", "ann", "2")};
	assert_err(E_CONFLICT, S->ops->message_append(S, &ALICE, n, 2));
	assert_string_equal(threads(&ALICE, NULL, "", 10), "t(ann,1) ");
}

static void bound_principals(void **state)
{
	(void)state;
	struct message out[1], m = msg("t", "a", "ann", "1");
	struct str ann = STR("ann");
	uint64_t cursor;
	assert_ok(S->ops->message_append(S, &ANN, &m, 1));
	assert_string_equal(list(&ANN, "t", 0, 10, OK), "0=a/1 ");
	assert_string_equal(list(&BEN, "t", 0, 10, E_NOT_FOUND), "");
	assert_string_equal(threads(&BEN, NULL, "", 10), "");
	assert_string_equal(threads(&BEN, "ann", "", 10), "");
	assert_string_equal(threads(&ANN, NULL, "", 10), "t(ann,1) ");
	assert_ok(S->ops->message_by_id(S, &scratch, &BEN, &m.id, 1, out));
	assert_int_equal(out[0].id, 0);
	assert_err(E_NOT_FOUND, S->ops->threads->remove(S, &BEN, STR("t"), THREAD_ALL));
	struct message other = msg("x", "a", "ann", "1");
	assert_err(E_DENIED, S->ops->message_append(S, &BEN, &other, 1));
	struct doc_scope scope = {DOC_MESSAGE, ann};
	assert_err(E_DENIED, S->ops->doc_scan(S, &BEN, &scope, &cursor, NULL, NULL));
	assert_ok(S->ops->threads->remove(S, &ANN, STR("t"), THREAD_ALL));
}

static void by_id(void **state)
{
	(void)state;
	struct message m[2] = {msg("t", "a", "ann", "1"), msg("t2", "b", "", "2")}, out[3];
	assert_ok(S->ops->message_append(S, &ALICE, m, 2));
	int64_t ids[3] = {m[1].id, m[1].id + 1000, m[0].id};
	assert_ok(S->ops->message_by_id(S, &scratch, &ALICE, ids, 3, out));
	assert_int_equal(out[1].id, 0);
	assert_str(STR("t2"), out[0].thread);
	assert_str(STR("t"), out[2].thread);
	assert_str(STR("ann"), out[2].user);
	assert_str(STR("a"), out[2].mid);
	assert_str(STR("user"), out[2].role);
	assert_str(STR("n"), out[2].name);
	assert_str(STR("1"), out[2].content);
	assert_str(STR("{\"a\":1}"), out[2].metadata);
	assert_str(STR("t"), out[2].terms);
	assert_true(out[2].time_us == 77 && out[2].pos == 0);
}

static void listing_threads(void **state)
{
	(void)state;
	assert_ok(append(msg("b", "1", "ann", "1")));
	assert_ok(append(msg("a", "1", "ben", "1")));
	assert_ok(append(msg("c", "1", "ann", "1")));
	assert_ok(append(msg("c", "2", "ann", "1")));
	assert_ok(append(msg("d", "2", "", "1")));
	assert_string_equal(threads(&ALICE, NULL, "", 10), "a(ben,1) b(ann,1) c(ann,2) d(,1) ");
	assert_string_equal(threads(&ALICE, NULL, "a", 2), "b(ann,1) c(ann,2) ");
	assert_string_equal(threads(&ALICE, "ann", "", 10), "b(ann,1) c(ann,2) ");
	assert_string_equal(threads(&ALICE, "ann", "b", 10), "c(ann,2) ");
	assert_string_equal(threads(&ALICE, "", "", 10), "d(,1) ");
}

static void deleting(void **state)
{
	(void)state;
	assert_err(E_NOT_FOUND, S->ops->threads->remove(S, &ALICE, STR("t"), THREAD_ALL));
	assert_ok(append(msg("t", "1", "ann", "1")));
	assert_ok(append(msg("t", "2", "ann", "2")));
	assert_ok(append(msg("u", "1", "ann", "3")));
	assert_ok(S->ops->threads->remove(S, &ALICE, STR("t"), THREAD_ALL));
	assert_err(E_NOT_FOUND, S->ops->threads->remove(S, &ALICE, STR("t"), THREAD_ALL));
	assert_string_equal(list(&ALICE, "t", 0, 10, E_NOT_FOUND), "");
	assert_string_equal(list(&ALICE, "u", 0, 10, OK), "0=1/3 ");
	assert_ok(append(msg("t", "1", "ben", "new owner")));
	S = suite_driver->reopen(S);
	assert_string_equal(list(&ALICE, "t", 0, 10, OK), "0=1/new owner ");
}

static void long_thread(void **state)
{
	(void)state;
	enum { N = 2000 };
	struct message *m = calloc(N, sizeof *m);
	char(*mids)[16] = calloc(N, sizeof *mids);
	assert_true(m && mids);
	for (int i = 0; i < N; i++) {
		snprintf(mids[i], sizeof mids[i], "%d", i);
		m[i] = msg("t", mids[i], "ann", "x");
	}
	assert_ok(S->ops->message_append(S, &ALICE, m, N));
	for (int i = 0; i < N; i++)
		assert_true(m[i].stored && m[i].pos == i);
	assert_string_equal(threads(&ALICE, NULL, "", 10), "t(ann,2000) ");
	assert_string_equal(list(&ALICE, "t", 1998, 10, OK), "1998=1998/x 1999=1999/x ");
	free(m);
	free(mids);
}

enum { WRITERS = 4, CALLS = 40 };

/* Each call appends to two threads that all share: a message of the call's own, and one that every writer has. */
static void *writer(void *arg)
{
	char own[32], shared[32];
	long me = (long)(intptr_t)arg;
	for (int i = 0; i < CALLS; i++) {
		snprintf(own, sizeof own, "w%ld-%d", me, i);
		snprintf(shared, sizeof shared, "s%d", i);
		struct message m[4] = {msg("one", own, "ann", "x"), msg("one", shared, "ann", "x"), msg("two", own, "ben", "x"),
				       msg("two", own, "ben", "x")};
		if (S->ops->message_append(S, &ALICE, m, 4) != OK || !m[0].stored || !m[2].stored || m[3].stored ||
		    m[2].id != m[3].id || (m[1].stored && m[1].id <= m[0].id))
			return arg ? arg : (void *)S;
	}
	return NULL;
}

struct order {
	int64_t pos, id;
	bool bad;
};

static bool in_order(void *ctx, const struct message *m)
{
	struct order *o = ctx;
	o->bad = o->bad || m->pos != o->pos || m->id <= o->id;
	o->pos++;
	o->id = m->id;
	return true;
}

static void concurrent_appends(void **state)
{
	(void)state;
	pthread_t t[WRITERS];
	void *failed;
	for (long i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, writer, (void *)(intptr_t)i), 0);
	for (int i = 0; i < WRITERS; i++) {
		assert_int_equal(pthread_join(t[i], &failed), 0);
		assert_null(failed);
	}
	struct order one = {0}, two = {0};
	assert_ok(S->ops->message_list(S, &ALICE, STR("one"), 0, 100000, in_order, &one));
	assert_ok(S->ops->message_list(S, &ALICE, STR("two"), 0, 100000, in_order, &two));
	assert_false(one.bad || two.bad);
	assert_true(one.pos == (WRITERS + 1) * CALLS && two.pos == WRITERS * CALLS);
	assert_string_equal(threads(&ALICE, NULL, "", 10), "one(ann,200) two(ben,160) ");
}

static int group_setup(void **state)
{
	(void)state;
	arena_init(&scratch, 16u << 20);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	arena_release(&scratch);
	return 0;
}

int suite_messages(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(appends_in_order), SUITE_TEST(idempotent),  SUITE_TEST(threads_have_owners),
		SUITE_TEST(bound_principals), SUITE_TEST(by_id),       SUITE_TEST(listing_threads),
		SUITE_TEST(deleting),	      SUITE_TEST(long_thread), SUITE_TEST(concurrent_appends),
	};
	return cmocka_run_group_tests_name("messages", tests, group_setup, group_teardown);
}
