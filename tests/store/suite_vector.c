/* Rules of documents' vectors: kept beside their documents, seen by scans, changes and walks, gone with their documents. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

static const struct principal BOUND = {
	.tenant = STR_INIT("alice"), .user = STR_INIT("ann"), .user_bound = true, .rights = RIGHT_ALL, .id = STR_INIT("test")};

/* ------------------------------------------------------------ what was read */

struct seen {
	int64_t id;
	bool removed;
	char terms[24], where[24], vector[24];
	uint64_t mark, stamp;
	size_t vector_n;
};
struct reading {
	struct seen v[4200];
	size_t n, stop_at; /* 0: never */
	uint64_t cursor;
	struct doc_scope scope;
};

static bool take(void *ctx, const struct doc_change *c)
{
	struct reading *r = ctx;
	struct seen *s = &r->v[r->n];
	assert_true(r->n < sizeof r->v / sizeof *r->v);
	*s = (struct seen){.id = c->id, .removed = c->removed, .mark = c->mark, .stamp = c->stamp, .vector_n = c->vector.n};
	snprintf(s->terms, sizeof s->terms, "%.*s", STR_ARG(c->terms));
	snprintf(s->where, sizeof s->where, "%.*s", STR_ARG(c->lang_ns));
	snprintf(s->vector, sizeof s->vector, "%.*s", STR_ARG(c->vector));
	return ++r->n != r->stop_at;
}

static struct reading *reading_of(enum doc_kind kind, const char *prefix, const char *model)
{
	struct reading *r = calloc(1, sizeof *r);
	assert_non_null(r);
	r->scope = (struct doc_scope){.kind = kind, .prefix = str_c(prefix), .model = str_c(model)};
	return r;
}

static void scan_docs(struct reading *r)
{
	r->n = 0;
	assert_ok(S->ops->doc_scan(S, &ALICE, &r->scope, &r->cursor, take, r));
}

static void changes(struct reading *r)
{
	r->n = 0;
	assert_ok(S->ops->doc_changes(S, &ALICE, &r->scope, &r->cursor, take, r));
}

static void walk_docs(struct reading *r, int64_t after, size_t limit)
{
	r->n = 0;
	assert_ok(S->ops->doc_walk(S, &ALICE, r->scope.kind, r->scope.model, after, limit, take, r));
}

/* What was read of the document with these terms; expects it once. */
static const struct seen *of(const struct reading *r, const char *terms)
{
	const struct seen *found = NULL;
	for (size_t i = 0; i < r->n; i++) {
		if (strcmp(r->v[i].terms, terms) != 0)
			continue;
		assert_null(found);
		found = &r->v[i];
	}
	assert_non_null(found);
	return found;
}

static void assert_vector(const struct reading *r, const char *terms, const char *vector, const char *made_for)
{
	const struct seen *s = of(r, terms);
	assert_string_equal(s->vector, vector);
	assert_true(s->mark == (*made_for ? doc_mark(str_c(made_for)) : 0));
}

/* -------------------------------------------------------------- what is written */

static void put_doc(const char *ns, const char *key, const char *terms)
{
	struct item_write w = put_of(ns, key, "{}");
	w.terms = str_c(terms);
	write1(&w);
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

/* The id of the document with these terms, by a walk. */
static int64_t id_of(enum doc_kind kind, const char *terms)
{
	struct reading *r = reading_of(kind, "", "");
	walk_docs(r, 0, 4000);
	int64_t id = of(r, terms)->id;
	free(r);
	return id;
}

static void keep(enum doc_kind kind, const char *model, int64_t id, const char *made_for, const char *vector)
{
	struct doc_vector v = {id, doc_mark(str_c(made_for)), str_c(vector)};
	assert_ok(S->ops->vector_put(S, &ALICE, kind, str_c(model), &v, 1));
}

static void keep_item(const char *model, const char *terms, const char *vector)
{
	keep(DOC_ITEM, model, id_of(DOC_ITEM, terms), terms, vector);
}

struct models {
	char text[256];
	size_t n;
};
static void add_model(void *ctx, struct str model, int64_t n)
{
	struct models *m = ctx;
	m->n += (size_t)snprintf(m->text + m->n, sizeof m->text - m->n, "%.*s=%lld ", STR_ARG(model), (long long)n);
	assert_true(m->n < sizeof m->text);
}

/* "model=number ", by the models' first vectors. */
static void assert_models(const struct principal *who, const char *want)
{
	struct models m = {0};
	assert_ok(S->ops->vector_models(S, who, add_model, &m));
	assert_string_equal(m.text, want);
}

/* --------------------------------------------------------------------- tests */

static void kept_and_read(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "a", "m");
	scan_docs(r); /* before there is anything */
	assert_models(&ALICE, "");
	put_doc("a", "1", "one");
	put_doc("a.b", "2", "two");
	put_doc("c", "3", "three");
	keep_item("m", "one", "V1");
	scan_docs(r);
	assert_int_equal(r->n, 2);
	assert_vector(r, "one", "V1", "one");
	assert_vector(r, "two", "", "");
	assert_models(&ALICE, "m=1 ");
	keep_item("m", "two", "V2");
	keep_item("m", "three", "V3");
	changes(r);
	assert_int_equal(r->n, 1); /* three is not below a, one has not changed */
	assert_vector(r, "two", "V2", "two");
	changes(r);
	assert_int_equal(r->n, 0);
	walk_docs(r, 0, 100);
	assert_int_equal(r->n, 3);
	assert_vector(r, "one", "V1", "one");
	assert_vector(r, "three", "V3", "three");
	assert_string_equal(of(r, "two")->where, "a.b");
	r->scope.model = STR("");
	scan_docs(r);
	assert_vector(r, "one", "", ""); /* none was asked for */
	assert_models(&ALICE, "m=3 ");
	free(r);
}

/* The bytes are the caller's, whatever they are. */
static void bytes_of_every_kind(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "", "m");
	enum { BIG = 8 + 2 * 8192 };
	char *big = malloc(BIG);
	assert_non_null(big);
	for (size_t i = 0; i < BIG; i++)
		big[i] = (char)(i * 131 >> 3);
	put_doc("a", "1", "one");
	put_doc("a", "2", "two");
	struct doc_vector v[2] = {{id_of(DOC_ITEM, "one"), UINT64_MAX, str_of(big, BIG)},
				  {id_of(DOC_ITEM, "two"), 1, str_of("\0'\\\xff", 4)}};
	assert_ok(S->ops->vector_put(S, &ALICE, DOC_ITEM, STR("m"), v, 2));
	scan_docs(r);
	assert_true(of(r, "one")->mark == UINT64_MAX);
	assert_int_equal(of(r, "one")->vector_n, BIG);
	assert_true(of(r, "two")->mark == 1 && of(r, "two")->vector_n == 4);
	free(big);
	free(r);
}

static void replaced(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "", "m");
	put_doc("a", "1", "one");
	keep_item("m", "one", "V1");
	keep_item("m", "one", "V1 anew");
	scan_docs(r);
	assert_vector(r, "one", "V1 anew", "one");
	assert_models(&ALICE, "m=1 ");
	/* two in one call: the last counts */
	struct doc_vector v[2] = {{of(r, "one")->id, 1, STR("x")}, {of(r, "one")->id, doc_mark(STR("one")), STR("y")}};
	assert_ok(S->ops->vector_put(S, &ALICE, DOC_ITEM, STR("m"), v, 2));
	changes(r);
	assert_vector(r, "one", "y", "one");
	assert_models(&ALICE, "m=1 ");
	free(r);
}

/* A text that changed after its vector was made: the mark says so, whatever came first. */
static void marks_tell(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "", "m");
	put_doc("a", "1", "one");
	keep_item("m", "one", "V1");
	scan_docs(r);
	put_doc("a", "1", "uno");
	changes(r);
	assert_true(of(r, "uno")->mark != doc_mark(STR("uno"))); /* the former text's, or none */
	keep(DOC_ITEM, "m", r->v[0].id, "one", "late");
	changes(r);
	assert_vector(r, "uno", "late", "one");
	keep_item("m", "uno", "V2");
	changes(r);
	assert_vector(r, "uno", "V2", "uno");
	assert_models(&ALICE, "m=1 ");
	free(r);
}

static void models_beside_each_other(void **state)
{
	(void)state;
	struct reading *a = reading_of(DOC_ITEM, "", "old"), *b = reading_of(DOC_ITEM, "", "new model/2 \xc3\xa9");
	put_doc("a", "1", "one");
	put_doc("a", "2", "two");
	keep_item("old", "one", "O1");
	keep_item("old", "two", "O2");
	keep_item("new model/2 \xc3\xa9", "one", "N1");
	assert_models(&ALICE, "old=2 new model/2 \xc3\xa9=1 ");
	scan_docs(a);
	scan_docs(b);
	assert_vector(a, "one", "O1", "one");
	assert_vector(b, "one", "N1", "one");
	assert_vector(b, "two", "", "");
	walk_docs(b, 0, 10);
	assert_vector(b, "one", "N1", "one");
	del("a", "1");
	assert_models(&ALICE, "old=1 ");
	free(a);
	free(b);
}

static void gone_with_items(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "", "m");
	unsigned removed;
	int64_t next;
	struct item_write w = put_of("a", "2", "{}");
	w.terms = STR("two");
	w.expires_us = 5;
	write1(&w);
	put_doc("a", "1", "one");
	put_doc("a", "3", "three");
	put_doc("a", "4", "four");
	keep_item("m", "one", "V1");
	keep_item("m", "two", "V2");
	keep_item("m", "three", "V3");
	keep_item("m", "four", "V4");
	int64_t one = id_of(DOC_ITEM, "one");
	scan_docs(r);
	del("a", "1");
	assert_models(&ALICE, "m=3 ");
	assert_ok(S->ops->sweep(S, 10, 10, &removed, &next));
	assert_int_equal(removed, 1);
	assert_models(&ALICE, "m=2 ");
	put_doc("a", "3", ""); /* no longer indexed */
	assert_models(&ALICE, "m=1 ");
	struct item_write both[2] = {put_of("a", "4", "{}"), put_of("a", "5", "{}")}; /* in one statement with others */
	both[0].terms = STR("");
	assert_ok(S->ops->item_write(S, &ALICE, both, 2, true));
	assert_models(&ALICE, "");
	keep(DOC_ITEM, "m", one, "one", "too late");
	keep(DOC_ITEM, "m", 987654321, "one", "never was");
	assert_models(&ALICE, "");
	put_doc("a", "3", "three"); /* indexed again: as new */
	scan_docs(r);
	assert_vector(r, "three", "", "");
	free(r);
}

/* What is undone takes no vectors along. */
static void undone_deletes(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "", "m");
	put_doc("a", "1", "one");
	keep_item("m", "one", "V1");
	struct item_write w[2] = {{.op = W_DELETE, .ns = STR("a"), .key = STR("1")}, put_of("a", "1", "{}")};
	w[1].cond = IF_VERSION;
	w[1].if_version = 77;
	assert_err(E_CONFLICT, S->ops->item_write(S, &ALICE, w, 2, true));
	assert_models(&ALICE, "m=1 ");
	scan_docs(r);
	assert_vector(r, "one", "V1", "one");
	free(r);
}

static void messages(void **state)
{
	(void)state;
	struct reading *ann = reading_of(DOC_MESSAGE, "ann", "m"), *all = reading_of(DOC_MESSAGE, "", "m");
	all->scope.every_user = true;
	append("t0", "1", "ann", "first");
	scan_docs(all);
	assert_ok(S->ops->threads->remove(S, &ALICE, STR("t0"), THREAD_ALL));
	changes(all);
	assert_true(all->n == 1 && all->v[0].removed);
	append("t1", "1", "ann", "hello");
	append("t1", "2", "ann", "more");
	append("t2", "1", "", "nobody's");
	append("t3", "1", "bob", "other");
	put_doc("t1", "1", "an item"); /* its id may be that of a message */
	keep(DOC_MESSAGE, "m", id_of(DOC_MESSAGE, "hello"), "hello", "V1");
	keep(DOC_MESSAGE, "m", id_of(DOC_MESSAGE, "other"), "other", "V2");
	keep(DOC_MESSAGE, "m", id_of(DOC_MESSAGE, "nobody's"), "nobody's", "V3");
	scan_docs(ann);
	assert_int_equal(ann->n, 2);
	assert_vector(ann, "hello", "V1", "hello");
	assert_vector(ann, "more", "", "");
	changes(all);
	assert_int_equal(all->n, 4);
	assert_vector(all, "other", "V2", "other");
	assert_vector(all, "nobody's", "V3", "nobody's");
	scan_docs(all);
	assert_int_equal(all->n, 4);
	assert_vector(all, "other", "V2", "other");
	assert_string_equal(of(all, "other")->where, "t3");
	all->scope.model = STR("");
	scan_docs(all);
	assert_int_equal(all->n, 4);
	walk_docs(ann, 0, 10);
	assert_int_equal(ann->n, 4);
	assert_string_equal(of(ann, "nobody's")->where, "t2");
	assert_models(&ALICE, "m=3 ");
	assert_ok(S->ops->threads->remove(S, &ALICE, STR("t1"), THREAD_ALL));
	assert_models(&ALICE, "m=2 ");
	assert_ok(S->ops->threads->remove(S, &ALICE, STR("t3"), THREAD_MESSAGES));
	assert_models(&ALICE, "m=1 ");
	keep_item("m", "an item", "V4");
	assert_models(&ALICE, "m=2 ");
	free(ann);
	free(all);
}

static void walks_by_pages(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "", "m");
	enum { N = 2500 };
	struct item_write *w = calloc(N, sizeof *w);
	char(*keys)[16] = calloc(N, sizeof *keys);
	assert_true(w && keys);
	for (int i = 0; i < N; i++) {
		snprintf(keys[i], sizeof keys[i], "k%d", i);
		w[i] = put_of("n", keys[i], "{}");
		w[i].terms = i % 5 == 4 ? STR("") : str_c(keys[i]); /* every fifth is no document */
	}
	assert_ok(S->ops->item_write(S, &ALICE, w, N, false));
	int64_t after = 0;
	size_t n = 0;
	do {
		walk_docs(r, after, 300);
		for (size_t i = 0; i < r->n; i++) {
			assert_true(r->v[i].id > after);
			after = r->v[i].id;
		}
		n += r->n;
		assert_true(r->n == 300 || n == N / 5 * 4);
	} while (r->n);
	assert_int_equal(n, N / 5 * 4);
	walk_docs(r, 0, 4000);
	assert_int_equal(r->n, N / 5 * 4);
	r->stop_at = 7;
	walk_docs(r, 0, 4000);
	assert_int_equal(r->n, 7);
	walk_docs(r, 0, 0);
	assert_int_equal(r->n, 0);
	free(keys);
	free(w);
	free(r);
}

struct lacks {
	char text[4096];
	size_t n;
	int calls;
};

static bool take_lack(void *ctx, const struct doc_change *c)
{
	struct lacks *l = ctx;
	int n = snprintf(l->text + l->n, sizeof l->text - l->n, "%.*s%s ", STR_ARG(c->terms), c->has_vector ? "!" : "");
	assert_true(n > 0 && l->n + (size_t)n < sizeof l->text);
	assert_int_equal(c->vector.n, 0);
	assert_false(c->removed);
	l->n += (size_t)n;
	return true;
}

/* The terms of all that lacks a vector, to the end; "!": one of an earlier text is there. */
static struct lacks lacking(enum doc_kind kind, const char *model, size_t limit)
{
	struct lacks l = {0};
	struct doc_lack at = {0};
	int64_t before;
	do {
		before = at.after;
		assert_ok(S->ops->doc_lacking(S, &ALICE, kind, str_c(model), &at, limit, take_lack, &l));
		assert_true(at.end || at.after > before);
		assert_true(++l.calls < 2000);
	} while (!at.end);
	return l;
}

static void assert_lacking(enum doc_kind kind, const char *model, const char *want)
{
	for (size_t limit = 1; limit < 5; limit++) {
		struct lacks l = lacking(kind, model, limit);
		assert_string_equal(l.text, want);
	}
}

/* Only what has no vector of its present text is given, however it came to have none. */
static void what_is_lacking(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "", "m");
	assert_lacking(DOC_ITEM, "m", "");
	put_doc("a", "1", "one");
	put_doc("a", "2", "two");
	put_doc("b", "3", "three");
	put_doc("b", "4", "");
	assert_lacking(DOC_ITEM, "m", "one two three ");
	assert_lacking(DOC_MESSAGE, "m", "");
	keep_item("m", "one", "V1");
	keep_item("m", "three", "V3");
	keep_item("other", "two", "V2");
	assert_lacking(DOC_ITEM, "m", "two ");
	assert_lacking(DOC_ITEM, "other", "one three ");
	put_doc("a", "1", "one anew"); /* another text */
	put_doc("b", "3", "three");    /* the same again */
	assert_lacking(DOC_ITEM, "m", "one anew! two ");
	keep(DOC_ITEM, "m", id_of(DOC_ITEM, "one anew"), "one", "V0"); /* made of what it was before: late */
	assert_lacking(DOC_ITEM, "m", "one anew! two ");
	/* With the stamps that came with the texts; then a text changes. */
	scan_docs(r);
	for (size_t i = 0; i < r->n; i++)
		keep(DOC_ITEM, "m", r->v[i].id, r->v[i].terms, "V");
	assert_lacking(DOC_ITEM, "m", "");
	walk_docs(r, 0, 100);
	for (size_t i = 0; i < r->n; i++) {
		struct doc_vector v = {r->v[i].id, doc_mark(str_c(r->v[i].terms)), STR("W"), r->v[i].stamp};
		assert_ok(S->ops->vector_put(S, &ALICE, DOC_ITEM, STR("m"), &v, 1));
	}
	assert_lacking(DOC_ITEM, "m", "");
	put_doc("a", "2", "too");
	assert_lacking(DOC_ITEM, "m", "too! ");
	/* The vector of a text that has been replaced in the meantime comes with that text's stamp. */
	const struct seen *was = of(r, "two");
	struct doc_vector late = {was->id, doc_mark(STR("two")), STR("W"), was->stamp};
	assert_ok(S->ops->vector_put(S, &ALICE, DOC_ITEM, STR("m"), &late, 1));
	assert_lacking(DOC_ITEM, "m", "too! ");
	append("t1", "1", "ann", "hello");
	append("t2", "1", "bob", "world");
	assert_lacking(DOC_MESSAGE, "m", "hello world ");
	keep(DOC_MESSAGE, "m", id_of(DOC_MESSAGE, "hello"), "hello", "V");
	assert_lacking(DOC_MESSAGE, "m", "world ");
	free(r);
}

static void dropped_in_steps(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "", "keep");
	enum { N = 25 };
	char keys[N][16];
	struct doc_vector v[N];
	bool left = true;
	unsigned steps = 0;
	for (int i = 0; i < N; i++) {
		snprintf(keys[i], sizeof keys[i], "k%d", i);
		put_doc("n", keys[i], keys[i]);
	}
	walk_docs(r, 0, 100);
	for (int i = 0; i < N; i++)
		v[i] = (struct doc_vector){r->v[i].id, 7, STR("x")};
	assert_ok(S->ops->vector_put(S, &ALICE, DOC_ITEM, STR("drop"), v, N));
	assert_ok(S->ops->vector_put(S, &ALICE, DOC_ITEM, STR("keep"), v, N));
	append("t", "1", "ann", "hello");
	keep(DOC_MESSAGE, "drop", id_of(DOC_MESSAGE, "hello"), "hello", "x");
	assert_models(&ALICE, "drop=26 keep=25 ");
	assert_ok(S->ops->vector_drop(S, &ALICE, STR("drop"), 10, &left));
	assert_true(left);
	assert_models(&ALICE, "drop=16 keep=25 ");
	while (left && steps++ < 10)
		assert_ok(S->ops->vector_drop(S, &ALICE, STR("drop"), 10, &left));
	assert_false(left);
	assert_models(&ALICE, "keep=25 ");
	assert_ok(S->ops->vector_drop(S, &ALICE, STR("drop"), 10, &left)); /* there is none */
	assert_false(left);
	scan_docs(r);
	assert_int_equal(r->n, N);
	for (int i = 0; i < N; i++)
		assert_true(strcmp(of(r, keys[i])->vector, "x") == 0 && of(r, keys[i])->mark == 7);
	free(r);
}

static void tenants_apart(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "", "m");
	bool left;
	put_doc("a", "1", "one");
	int64_t id = id_of(DOC_ITEM, "one");
	struct doc_vector v = {id, 1, STR("bob's")};
	assert_ok(S->ops->vector_put(S, &BOB, DOC_ITEM, STR("m"), &v, 1)); /* bob has no such document, and no tenant */
	assert_models(&BOB, "");
	struct item_write w = put_of("a", "1", "{}");
	assert_ok(S->ops->item_write(S, &BOB, &w, 1, false));
	keep_item("m", "one", "V1");
	assert_ok(S->ops->vector_put(S, &BOB, DOC_ITEM, STR("m"), &v, 1));
	assert_ok(S->ops->vector_put(S, &BOB, DOC_ITEM, STR("of bob"), &v, 1));
	assert_models(&ALICE, "m=1 ");
	scan_docs(r);
	assert_vector(r, "one", "V1", "one");
	assert_ok(S->ops->vector_drop(S, &BOB, STR("m"), 100, &left));
	assert_models(&ALICE, "m=1 ");
	free(r);
}

static void bound_principals(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_MESSAGE, "ann", "m");
	bool left;
	append("t1", "1", "ann", "hello");
	append("t2", "1", "bob", "secret");
	int64_t id = id_of(DOC_MESSAGE, "hello");
	keep(DOC_MESSAGE, "m", id, "hello", "V1");
	struct doc_vector v = {id, 1, STR("x")};
	assert_ok(S->ops->doc_scan(S, &BOUND, &r->scope, &r->cursor, take, r));
	assert_int_equal(r->n, 1);
	assert_vector(r, "hello", "V1", "hello");
	assert_models(&BOUND, "m=1 ");
	r->scope.every_user = true;
	assert_err(E_DENIED, S->ops->doc_scan(S, &BOUND, &r->scope, &r->cursor, take, r));
	assert_err(E_DENIED, S->ops->doc_changes(S, &BOUND, &r->scope, &r->cursor, take, r));
	assert_err(E_DENIED, S->ops->doc_walk(S, &BOUND, DOC_MESSAGE, STR("m"), 0, 10, take, r));
	assert_err(E_DENIED, S->ops->doc_walk(S, &BOUND, DOC_ITEM, STR("m"), 0, 10, take, r));
	assert_err(E_DENIED, S->ops->doc_lacking(S, &BOUND, DOC_ITEM, STR("m"), &(struct doc_lack){0}, 10, take, r));
	assert_err(E_DENIED, S->ops->vector_put(S, &BOUND, DOC_MESSAGE, STR("m"), &v, 1));
	assert_err(E_DENIED, S->ops->vector_drop(S, &BOUND, STR("m"), 10, &left));
	assert_int_equal(r->n, 1);
	struct principal reader = ALICE;
	reader.rights = RIGHT_READ;
	assert_err(E_DENIED, S->ops->vector_put(S, &reader, DOC_MESSAGE, STR("m"), &v, 1));
	assert_err(E_DENIED, S->ops->vector_drop(S, &reader, STR("m"), 10, &left));
	free(r);
}

static void refused(void **state)
{
	(void)state;
	struct doc_vector v = {1, 1, STR("x")}, none = {1, 1, STR("")};
	bool left;
	put_doc("a", "1", "one");
	assert_err(E_INVALID, S->ops->vector_put(S, &ALICE, DOC_ITEM, STR(""), &v, 1));
	assert_err(E_INVALID, S->ops->vector_put(S, &ALICE, DOC_ITEM, str_of("a\0b", 3), &v, 1));
	assert_err(E_INVALID, S->ops->vector_put(S, &ALICE, DOC_ITEM, STR("m"), &none, 1));
	assert_err(E_INVALID, S->ops->vector_drop(S, &ALICE, STR(""), 10, &left));
	assert_err(E_INVALID, S->ops->vector_drop(S, &ALICE, STR("m"), 0, &left));
	assert_ok(S->ops->vector_put(S, &ALICE, DOC_ITEM, STR("m"), &v, 0));
	assert_models(&ALICE, "");
}

static void durable(void **state)
{
	(void)state;
	struct reading *r = reading_of(DOC_ITEM, "", "m");
	put_doc("a", "1", "one");
	put_doc("a", "2", "two");
	keep_item("m", "one", "V1");
	keep_item("other", "two", "V2");
	S = suite_driver->reopen(S);
	assert_models(&ALICE, "m=1 other=1 ");
	scan_docs(r);
	assert_vector(r, "one", "V1", "one");
	del("a", "2"); /* the first write of the process knows the models */
	assert_models(&ALICE, "m=1 ");
	keep_item("m", "one", "V1 anew");
	changes(r);
	assert_vector(r, "one", "V1 anew", "one");
	free(r);
}

/* By their documents' ids, in the order asked, more than one page; for readers too, of whatever kind is asked. */
static void of_some_documents(void **state)
{
	(void)state;
	enum { N = 1203 };
	int64_t *ids = calloc(N, sizeof *ids), one, two;
	struct doc_vector *out = calloc(N, sizeof *out);
	struct arena a;
	arena_init(&a, (size_t)1 << 20);
	assert_non_null(ids);
	assert_non_null(out);
	put_doc("a", "1", "one");
	put_doc("a", "2", "two");
	append("t", "m1", "ann", "three");
	keep_item("m", "one", "V1");
	keep_item("m", "two", "V2");
	keep_item("other", "two", "other's");
	keep(DOC_MESSAGE, "m", id_of(DOC_MESSAGE, "three"), "three", "V3");
	one = id_of(DOC_ITEM, "one");
	two = id_of(DOC_ITEM, "two");
	for (int i = 0; i < N; i++)
		ids[i] = i == 1 || i == N - 1 ? two : i == N - 2 ? one : 1000000 + i;
	assert_ok(S->ops->vector_get(S, &a, &BOUND, DOC_ITEM, STR("m"), ids, N, out));
	for (int i = 0; i < N; i++) {
		assert_int_equal(out[i].id, ids[i]);
		assert_str(ids[i] == one ? STR("V1") : ids[i] == two ? STR("V2") : STR(""), out[i].data);
		assert_true(out[i].mark == (ids[i] == one ? doc_mark(STR("one")) : ids[i] == two ? doc_mark(STR("two")) : 0));
	}
	ids[0] = id_of(DOC_MESSAGE, "three");
	assert_ok(S->ops->vector_get(S, &a, &ALICE, DOC_MESSAGE, STR("m"), ids, 1, out));
	assert_str(STR("V3"), out[0].data);
	assert_ok(S->ops->vector_get(S, &a, &ALICE, DOC_ITEM, STR("unknown"), &two, 1, out));
	assert_int_equal(out[0].data.n, 0);
	assert_ok(S->ops->vector_get(S, &a, &BOB, DOC_ITEM, STR("m"), &two, 1, out));
	assert_int_equal(out[0].data.n, 0);
	assert_ok(S->ops->vector_get(S, &a, &ALICE, DOC_ITEM, STR("m"), NULL, 0, NULL));
	arena_release(&a);
	free(ids);
	free(out);
}

int suite_vectors(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(kept_and_read),
		SUITE_TEST(bytes_of_every_kind),
		SUITE_TEST(replaced),
		SUITE_TEST(marks_tell),
		SUITE_TEST(models_beside_each_other),
		SUITE_TEST(gone_with_items),
		SUITE_TEST(undone_deletes),
		SUITE_TEST(messages),
		SUITE_TEST(walks_by_pages),
		SUITE_TEST(what_is_lacking),
		SUITE_TEST(dropped_in_steps),
		SUITE_TEST(tenants_apart),
		SUITE_TEST(bound_principals),
		SUITE_TEST(refused),
		SUITE_TEST(durable),
		SUITE_TEST(of_some_documents),
	};
	return cmocka_run_group_tests_name("vectors", tests, NULL, NULL);
}
