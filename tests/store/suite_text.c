/* Rules of texts (core/text_store.h, 13 and 14): documents like messages, but known to nothing else; gone with what they were made
 * of. */
#include "suite.h"

#include <string.h>

#include "core/text_store.h"

#define TEXTS (S->ops->texts)
static const struct principal BOUND = {
	.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .user_bound = true, .rights = RIGHT_ALL, .id = STR_INIT("test")};
static const struct principal ANN = {
	.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .rights = RIGHT_ALL, .id = STR_INIT("test")};

struct docs {
	int64_t ids[64];
	size_t n, removed;
};

static bool on_doc(void *ctx, const struct doc_change *d)
{
	struct docs *x = ctx;
	x->removed += d->removed;
	x->ids[x->n++] = d->id;
	return x->n < 64;
}

/* A session of ann's with so many entries; their ids. */
static void session(const char *thread, size_t n, int64_t *ids)
{
	struct session_entry v[8] = {{0}};
	struct entry_append a = {.thread = str_c(thread), .v = v, .n = n};
	for (size_t i = 0; i < n; i++)
		v[i].data = STR("{\"role\":\"user\",\"content\":\"x\"}");
	assert_ok(S->ops->threads->append(S, &ANN, &a));
	for (size_t i = 0; i < n; i++)
		ids[i] = v[i].id;
}

static enum err keep(const char *thread, const char *user, enum text_source source, int64_t ref, const char *mid,
		     const char *content)
{
	struct text t = {.ref = ref,
			 .time_us = 5,
			 .mark = 7,
			 .mid = str_c(mid),
			 .role = STR("user"),
			 .name = STR("Ann"),
			 .content = str_c(content),
			 .terms = str_c(content)};
	struct text_change c = {.thread = str_c(thread), .user = str_c(user), .source = source, .v = &t, .n = 1, .seen = STR("s")};
	return TEXTS->put(S, &ALICE, &c);
}

static struct text_known *known(struct arena *a, const char *thread, enum text_source source, size_t *n)
{
	struct text_known *v;
	assert_ok(TEXTS->known(S, a, &ALICE, str_c(thread), source, &v, n));
	return v;
}

static size_t scan_all(const struct principal *who, const char *user, struct docs *x, uint64_t *cursor)
{
	const struct doc_scope scope = {.kind = DOC_MESSAGE, .prefix = str_c(user)};
	*x = (struct docs){0};
	assert_ok(S->ops->doc_scan(S, who, &scope, cursor, on_doc, x));
	return x->n;
}

static bool count_message(void *ctx, const struct message *m)
{
	(void)m;
	++*(size_t *)ctx;
	return true;
}

static void test_found_like_messages(void **state)
{
	struct message native = {.thread = STR("t"),
				 .mid = STR("1"),
				 .user = STR("ann"),
				 .role = STR("user"),
				 .name = STR(""),
				 .content = STR("n"),
				 .metadata = STR(""),
				 .terms = STR("n")},
		       by_id[1];
	const struct doc_scope scope = {.kind = DOC_MESSAGE, .prefix = STR("ann")};
	struct store_stats st;
	struct arena a;
	struct docs x;
	uint64_t cursor;
	size_t n = 0;
	int64_t ids[2];
	(void)state;
	arena_init(&a, 1 << 20);
	assert_ok(S->ops->message_append(S, &ALICE, &native, 1));
	session("t", 2, ids);
	assert_int_equal(scan_all(&ALICE, "ann", &x, &cursor), 1);
	assert_ok(keep("t", "ann", TEXT_ENTRY, ids[0], "1", "text"));
	x = (struct docs){0};
	assert_ok(S->ops->doc_changes(S, &ALICE, &scope, &cursor, on_doc, &x));
	assert_int_equal(x.n, 1);
	assert_true(x.ids[0] >= TEXT_ID_FIRST && native.id < TEXT_ID_FIRST);
	assert_ok(S->ops->message_by_id(S, &a, &ALICE, x.ids, 1, by_id));
	assert_str(STR("text"), by_id[0].content);
	assert_str(STR("t"), by_id[0].thread);
	assert_str(STR("ann"), by_id[0].user);
	assert_str(STR("1"), by_id[0].mid);
	assert_int_equal(by_id[0].time_us, 5);
	x = (struct docs){0};
	assert_ok(S->ops->doc_walk(S, &ALICE, DOC_MESSAGE, STR("m"), 0, 64, on_doc, &x));
	assert_int_equal(x.n, 2);
	x = (struct docs){0};
	assert_ok(S->ops->doc_walk(S, &ALICE, DOC_MESSAGE, STR("m"), TEXT_ID_FIRST + 1000, 64, on_doc, &x));
	assert_int_equal(x.n, 0);
	/* nothing else knows it */
	assert_ok(S->ops->message_list(S, &ALICE, STR("t"), 0, 100, count_message, &n));
	assert_int_equal(n, 1);
	assert_ok(S->ops->stats(S, &ALICE, &st));
	assert_int_equal(st.messages, 1);
	assert_int_equal(st.texts, 1);
	/* other users, other tenants */
	assert_int_equal(scan_all(&ALICE, "bob", &x, &cursor), 0);
	assert_int_equal(scan_all(&BOB, "ann", &x, &cursor), 0);
	assert_err(E_DENIED, TEXTS->drop(S, &BOUND, STR("t"), false));
	arena_release(&a);
}

static void test_changes_keep_their_id(void **state)
{
	struct text t = {
		.mark = 8, .mid = STR("a"), .role = STR("user"), .name = STR(""), .content = STR("new"), .terms = STR("new")};
	struct text_change c = {.thread = STR("t"), .user = STR("ann"), .source = TEXT_CHECKPOINT, .v = &t, .n = 1};
	struct text_known *v;
	struct arena a;
	int64_t ids[1];
	size_t n;
	(void)state;
	arena_init(&a, 1 << 20);
	session("t", 1, ids);
	assert_ok(keep("t", "ann", TEXT_CHECKPOINT, 0, "a", "old"));
	assert_ok(keep("t", "ann", TEXT_CHECKPOINT, 0, "b", "other"));
	v = known(&a, "t", TEXT_CHECKPOINT, &n);
	assert_int_equal(n, 2);
	assert_true(v[0].id < v[1].id && v[0].mark == 7);
	t.id = v[0].id;
	c.gone = &v[1].id;
	c.gone_n = 1;
	assert_ok(TEXTS->put(S, &ALICE, &c));
	v = known(&a, "t", TEXT_CHECKPOINT, &n);
	assert_int_equal(n, 1);
	assert_true(v[0].id == t.id && v[0].mark == 8);
	S = suite_driver->reopen(S);
	assert_ok(
		TEXTS->put(S, &ALICE,
			   &(struct text_change){
				   .thread = STR("t"), .user = STR("ann"), .source = TEXT_CHECKPOINT, .gone = &t.id, .gone_n = 1}));
	(void)known(&a, "t", TEXT_CHECKPOINT, &n);
	assert_int_equal(n, 0);
	arena_release(&a);
}

static void test_gone_with_their_thread(void **state)
{
	struct session_entry popped;
	struct arena a;
	struct docs x;
	struct str seen;
	uint64_t cursor;
	int64_t ids[3];
	size_t n;
	bool found;
	(void)state;
	arena_init(&a, 1 << 20);
	session("t", 3, ids);
	for (int i = 0; i < 3; i++)
		assert_ok(keep("t", "ann", TEXT_ENTRY, ids[i], i == 0 ? "0" : i == 1 ? "1" : "2", "text"));
	assert_ok(keep("t", "ann", TEXT_CHECKPOINT, 0, "c", "text"));
	assert_ok(TEXTS->seen(S, &a, &ALICE, STR("t"), &seen));
	assert_str(STR("s"), seen);
	assert_ok(S->ops->threads->pop(S, &a, &ANN, STR("t"), &popped, &found));
	assert_ok(S->ops->threads->entry_delete(S, &ANN, STR("t"), ids[0]));
	struct text_known *v = known(&a, "t", TEXT_ENTRY, &n);
	assert_true(n == 1 && v[0].ref == ids[1]);
	/* a part goes, the other stays; who does not see the thread removes nothing */
	assert_err(E_NOT_FOUND, S->ops->threads->remove(S,
							&(struct principal){.tenant = STR("alice"),
									    .user = STR("bob"),
									    .user_bound = true,
									    .rights = RIGHT_ALL,
									    .id = STR("x")},
							STR("t"), THREAD_ALL));
	assert_int_equal(scan_all(&ALICE, "ann", &x, &cursor), 2);
	assert_ok(TEXTS->drop(S, &ALICE, STR("t"), true));
	assert_int_equal(scan_all(&ALICE, "ann", &x, &cursor), 2);
	assert_ok(S->ops->threads->remove(S, &ANN, STR("t"), THREAD_ALL));
	x = (struct docs){0};
	assert_ok(S->ops->doc_changes(S, &ALICE, &(struct doc_scope){.kind = DOC_MESSAGE, .prefix = STR("ann")}, &cursor, on_doc,
				      &x));
	assert_true(x.n == 2 && x.removed == 2);
	assert_int_equal(scan_all(&ALICE, "ann", &x, &cursor), 0);
	/* and none come afterwards, nor for another user */
	assert_err(E_CONFLICT, keep("t", "ann", TEXT_ENTRY, ids[1], "1", "late"));
	session("t2", 1, ids);
	assert_err(E_CONFLICT, keep("t2", "bob", TEXT_ENTRY, ids[0], "1", "not his"));
	arena_release(&a);
}

int suite_texts(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(test_found_like_messages),
		SUITE_TEST(test_changes_keep_their_id),
		SUITE_TEST(test_gone_with_their_thread),
	};
	return cmocka_run_group_tests_name("texts", tests, NULL, NULL);
}
