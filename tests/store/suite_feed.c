/* Rules of the word index's source: scans, the change feed without gaps, scopes. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* What a reader of the feed knows: id -> terms. */
#define MAX_DOCS 8192
struct mirror {
	struct doc {
		int64_t id;
		char terms[24], where[24];
	} d[MAX_DOCS];
	size_t n;
	unsigned calls;
	uint64_t cursor;
	struct doc_scope scope;
};

static bool learn(void *ctx, const struct doc_change *c)
{
	struct mirror *m = ctx;
	size_t i = 0;
	m->calls++;
	while (i < m->n && m->d[i].id != c->id)
		i++;
	assert_true(c->removed == (c->terms.n == 0));
	if (c->removed) {
		if (i < m->n)
			m->d[i] = m->d[--m->n];
		return true;
	}
	assert_true(i < MAX_DOCS);
	if (i == m->n)
		m->n++;
	m->d[i].id = c->id;
	snprintf(m->d[i].terms, sizeof m->d[i].terms, "%.*s", STR_ARG(c->terms));
	snprintf(m->d[i].where, sizeof m->d[i].where, "%.*s", STR_ARG(c->lang_ns));
	return true;
}

static void start(struct mirror *m, enum doc_kind kind, const char *prefix)
{
	m->n = 0;
	m->calls = 0;
	m->scope = (struct doc_scope){kind, str_c(prefix)};
	assert_ok(S->ops->doc_scan(S, &ALICE, &m->scope, &m->cursor, learn, m));
}

static void follow(struct mirror *m)
{
	enum err e = S->ops->doc_changes(S, &ALICE, &m->scope, &m->cursor, learn, m);
	if (e == E_CONFLICT)
		start(m, m->scope.kind, m->scope.prefix.p);
	else
		assert_int_equal(e, OK);
}

static bool knows(const struct mirror *m, const char *where, const char *terms)
{
	for (size_t i = 0; i < m->n; i++)
		if (strcmp(m->d[i].terms, terms) == 0 && strcmp(m->d[i].where, where) == 0)
			return true;
	return false;
}

static void put_doc(const char *ns, const char *key, const char *terms)
{
	struct item_write w = put_of(ns, key, "{}");
	w.terms = str_c(terms);
	write1(&w);
}

static struct mirror *new_mirror(void)
{
	struct mirror *m = calloc(1, sizeof *m);
	assert_non_null(m);
	return m;
}

static void follows_changes(void **state)
{
	(void)state;
	struct mirror *m = new_mirror();
	start(m, DOC_ITEM, "a"); /* before the tenant has anything */
	assert_int_equal(m->n, 0);
	put_doc("a", "1", "one");
	put_doc("a.b", "2", "two");
	put_doc("ab", "3", "not below a");
	follow(m);
	assert_int_equal(m->n, 2);
	assert_true(knows(m, "a", "one") && knows(m, "a.b", "two"));
	m->calls = 0;
	follow(m);
	assert_int_equal(m->calls, 0);
	put_doc("a", "1", "uno");
	del("a.b", "2");
	put_doc("a", "4", ""); /* stored without an index document: none */
	follow(m);
	assert_int_equal(m->n, 1);
	assert_true(knows(m, "a", "uno"));
	put_doc("a", "1", "");
	follow(m);
	assert_int_equal(m->n, 0);
	put_doc("a", "1", "back");
	del("a", "1");
	put_doc("a", "1", "again"); /* a new id */
	follow(m);
	assert_int_equal(m->n, 1);
	assert_true(knows(m, "a", "again"));
	start(m, DOC_ITEM, "");
	assert_int_equal(m->n, 2);
	assert_true(knows(m, "ab", "not below a"));
	free(m);
}

static void undone_changes_do_not_show(void **state)
{
	(void)state;
	struct mirror *m = new_mirror();
	start(m, DOC_ITEM, "");
	put_doc("n", "x", "x");
	follow(m);
	struct item_write w[2] = {put_of("n", "a", "{}"), put_of("n", "x", "{}")};
	w[1].cond = IF_ABSENT;
	assert_err(E_CONFLICT, S->ops->item_write(S, &ALICE, w, 2, true));
	struct item_write touch = {.op = W_TOUCH, .ns = STR("n"), .key = STR("x")};
	write1(&touch);
	m->calls = 0;
	follow(m);
	assert_int_equal(m->calls, 0);
	assert_int_equal(m->n, 1);
	free(m);
}

static void sweep_shows(void **state)
{
	(void)state;
	struct mirror *m = new_mirror();
	unsigned removed;
	int64_t next;
	struct item_write w = put_of("n", "a", "{}");
	w.expires_us = 5;
	write1(&w);
	start(m, DOC_ITEM, "n");
	assert_int_equal(m->n, 1);
	assert_ok(S->ops->sweep(S, 10, 10, &removed, &next));
	follow(m);
	assert_int_equal(m->n, 0);
	free(m);
}

static bool stop(void *ctx, const struct doc_change *c)
{
	(void)c;
	++*(int *)ctx;
	return false;
}

static void scan_stops_early(void **state)
{
	(void)state;
	uint64_t cursor;
	int n = 0;
	struct doc_scope scope = {DOC_ITEM, STR("")};
	put_doc("a", "1", "x");
	put_doc("b", "1", "x");
	assert_ok(S->ops->doc_scan(S, &ALICE, &scope, &cursor, stop, &n));
	assert_int_equal(n, 1);
}

static void append(const char *thread, const char *mid, const char *user, const char *terms)
{
	struct message m = {.thread = str_c(thread),
			    .mid = str_c(mid),
			    .user = str_c(user),
			    .role = STR("user"),
			    .content = STR("c"),
			    .terms = str_c(terms)};
	assert_ok(S->ops->message_append(S, &ALICE, &m, 1));
}

static void message_scopes(void **state)
{
	(void)state;
	struct mirror *ann = new_mirror(), *none = new_mirror();
	append("t1", "1", "ann", "hello");
	append("t2", "1", "", "nobody");
	start(ann, DOC_MESSAGE, "ann");
	start(none, DOC_MESSAGE, "");
	assert_true(ann->n == 1 && knows(ann, "t1", "hello"));
	assert_true(none->n == 1 && knows(none, "t2", "nobody"));
	append("t1", "2", "ann", "more");
	append("t3", "1", "ann", "third");
	append("t4", "1", "bob", "other");
	append("t4", "1", "bob", "other"); /* there already */
	put_doc("ann", "x", "an item");
	follow(ann);
	follow(none);
	assert_int_equal(ann->n, 3);
	assert_int_equal(none->n, 1);
	assert_true(knows(ann, "t1", "more") && knows(ann, "t3", "third"));
	assert_ok(S->ops->threads->remove(S, &ALICE, STR("t1"), THREAD_ALL));
	follow(ann);
	assert_int_equal(ann->n, 1);
	assert_true(knows(ann, "t3", "third"));
	free(ann);
	free(none);
}

/* More changes than any driver remembers: either all are told, or E_CONFLICT and a new scan tells the same. */
static void overflow(void **state)
{
	(void)state;
	enum { N = 5000, ROUNDS = 15 };
	struct mirror *m = new_mirror();
	struct item_write *w = calloc(N, sizeof *w);
	char(*keys)[16] = calloc(N, sizeof *keys);
	assert_true(w && keys);
	put_doc("n", "first", "f");
	start(m, DOC_ITEM, "n");
	for (int i = 0; i < N; i++) {
		snprintf(keys[i], sizeof keys[i], "k%d", i);
		w[i] = put_of("n", keys[i], "{}");
	}
	for (int r = 0; r < ROUNDS; r++)
		assert_ok(S->ops->item_write(S, &ALICE, w, N, false));
	follow(m);
	assert_int_equal(m->n, N + 1);
	del("n", "k17");
	follow(m);
	assert_int_equal(m->n, N);
	free(m);
	free(w);
	free(keys);
}

/* A reader that scans and follows while others write misses nothing. */
struct writing {
	int me;
	atomic_int *left;
};
static void *write_many(void *arg)
{
	struct writing *x = arg;
	char key[24], terms[24];
	for (int i = 0; i < 150; i++) {
		snprintf(key, sizeof key, "%d-%d", x->me, i % 40);
		snprintf(terms, sizeof terms, "%d/%d", x->me, i);
		struct item_write w = put_of("n", key, "{}");
		w.terms = str_c(terms);
		if (i % 7 == 6)
			w = (struct item_write){.op = W_DELETE, .ns = STR("n"), .key = str_c(key)};
		if (S->ops->item_write(S, &ALICE, &w, 1, false) != OK)
			abort();
	}
	atomic_fetch_sub(x->left, 1);
	return NULL;
}

static void no_gap_under_load(void **state)
{
	(void)state;
	struct mirror *m = new_mirror(), *fresh = new_mirror();
	pthread_t t[3];
	atomic_int left = 3;
	struct writing w[3] = {{0, &left}, {1, &left}, {2, &left}};
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, write_many, &w[i]);
	start(m, DOC_ITEM, "n");
	while (atomic_load(&left))
		follow(m);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	follow(m);
	start(fresh, DOC_ITEM, "n");
	assert_int_equal(m->n, fresh->n);
	for (size_t i = 0; i < fresh->n; i++)
		assert_true(knows(m, "n", fresh->d[i].terms));
	free(m);
	free(fresh);
}

int suite_feed(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(follows_changes),   SUITE_TEST(undone_changes_do_not_show),
		SUITE_TEST(sweep_shows),       SUITE_TEST(scan_stops_early),
		SUITE_TEST(message_scopes),    SUITE_TEST(overflow),
		SUITE_TEST(no_gap_under_load),
	};
	return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}
