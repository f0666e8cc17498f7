/* The word index over a store: documents of items, languages, and above all that a search gives the same bits whether its scope is
 * cached, not cached, or too large to be, whatever was written in between. */
#include <pthread.h>

#include "core/testing.h"
#include "core/words_impl.h"
#include "index/text.h"

/* ---------------------------------------------------------------- documents */

/* Stems of a document are not readable; so: is the stem in it? */
static bool doc_has(struct str doc, const char *word)
{
	struct terms t;
	struct doc_reader r;
	struct doc_head h;
	uint32_t id, tf, len;
	bool found = false;

	terms_init(&t);
	text_analyse(lang_find(STR("english")), str_c(word), &t);
	assert_int_equal(t.n, 1);
	assert_int_equal(doc_open(doc, &r, &h), DOC_GOOD);
	assert_true(doc_passage(&r, &len));
	while (doc_term(&r, &id, &tf))
		found |= id == t.ids[0];
	terms_release(&t);
	return found;
}

static struct words *words(struct store *s, size_t cache, const char *languages)
{
	struct words *w;

	OKAY(words_new(s, cache, str_c(languages), &w));
	return w;
}

static void whole_values(void **state)
{
	struct bench b;
	struct str doc;

	(void)state;
	bench_init(&b);
	OKAY(words_item_doc(
		memory_words(b.m), &b.a, STR("n"),
		parsed(&b.a, "{\"preferred_workspace\":{\"name\":\"Pro\\u0064uction\",\"n\":[12345,true,null,\"deep\"]}}").doc,
		NULL, 0, &doc));
	assert_true(doc_has(doc, "preferred") && doc_has(doc, "workspace") && doc_has(doc, "production") && doc_has(doc, "12345") &&
		    doc_has(doc, "deep") && doc_has(doc, "name"));
	assert_false(doc_has(doc, "true"));
	bench_release(&b);
}

static void index_paths(void **state)
{
	static const char value[] =
		"{\"a\":{\"b\":\"inner\",\"c\":7,\"t\":true,\"z\":null},\"list\":[{\"x\":\"first\"},{\"x\":\"second\"},\"third\"],"
		"\"$\":\"dollar\",\"m\":[[\"one\",\"two\"]]}";
	static const struct {
		const char *path, *has, *lacks;
	} rows[] = {
		{"a.b", "inner", "first"},
		{"a", "inner 7 c", "first true"},
		{"a.t", "true", "inner"},
		{"a.z", "", "inner"},
		{"a.nosuch", "", "inner"},
		{"a.b.c", "", "inner"},
		{"list[0].x", "first", "second third"},
		{"list[-1]", "third", "first"},
		{"list[*].x", "first second", "third"},
		{"list[5]", "", "first"},
		{"list[x]", "", "first"},
		{"a[0]", "", "inner"},
		{"m[0][1]", "two", "one"},
		{"m[*][*]", "one two", "inner"},
		{"*", "inner first dollar one", ""},
		{"a.*", "inner 7 true", "first"},
		{"list.*.x", "first second", "third"},
		{"{a.b,list}", "inner third", "dollar"},
		{"{a.b, m}", "inner two", "dollar"},
		{"{nosuch}", "", "inner"},
		{"$", "dollar", "inner"},
		{"", "inner first dollar", ""},
		{"..a..b", "inner", "first"},
		{"[", "", "inner"},
		{"{", "", "inner"},
	};
	struct bench b;

	(void)state;
	bench_init(&b);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct str path = str_c(rows[i].path), doc;
		struct str lists[2] = {str_c(rows[i].has), str_c(rows[i].lacks)};

		OKAY(words_item_doc(memory_words(b.m), &b.a, STR("n"), parsed(&b.a, value).doc, &path, 1, &doc));
		for (int k = 0; k < 2; k++)
			while (lists[k].n) {
				struct str word;

				str_cut(lists[k], ' ', &word, &lists[k]);
				if (doc_has(doc, arena_cstr(&b.a, word)) != (k == 0))
					fail_msg("path \"%s\": \"%.*s\"", rows[i].path, STR_ARG(word));
			}
	}
	/* An empty list of paths: nothing is to be found. */
	struct str none, nothing = STR("");
	OKAY(words_item_doc(memory_words(b.m), &b.a, STR("n"), parsed(&b.a, value).doc, &nothing, 0, &none));
	assert_int_equal(none.n, 0);
	bench_release(&b);
}

static void languages(void **state)
{
	struct store *s = fake_store_new();
	struct words *w = words(s, 0, " german , notes.de=english,notes=french,notes.de.x=none");
	static const struct {
		const char *ns, *lang;
	} rows[] = {{"", "german"},	    {"other", "german"},     {"notes", "french"},	{"notes.en", "french"},
		    {"notesx", "german"},   {"notes.de", "english"}, {"notes.de.y", "english"}, {"notes.de.x.z", "none"},
		    {"notes.dex", "french"}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_string_equal(lang_name(words_language(w, str_c(rows[i].ns))), rows[i].lang);
	words_free(w);
	w = words(s, 0, "");
	assert_string_equal(lang_name(words_language(w, STR("a"))), "english");
	words_free(w);
	FAILS(words_new(s, 0, STR("english,x=klingon"), &w), E_INVALID);
	assert_non_null(strstr(diag_get()->text, "klingon"));
	assert_non_null(strstr(diag_get()->text, "german"));
	s->ops->close(s);
}

/* ------------------------------------------------------------------ searches */

struct result {
	struct word_hit *hits;
	size_t n, total;
	unsigned terms;
};

static struct result search_as(struct words *w, struct arena *a, const struct principal *who, const char *prefix, const char *query,
			       size_t want, bool explain)
{
	struct doc_scope scope = {DOC_ITEM, str_c(prefix)};
	struct result r;

	OKAY(words_search(w, a, who, &scope, str_c(query), want, explain, &r.hits, &r.n, &r.total, &r.terms));
	return r;
}

static struct result search(struct words *w, struct arena *a, const char *prefix, const char *query, size_t want)
{
	return search_as(w, a, &ann, prefix, query, want, false);
}

static void same_results(const struct result *x, const struct result *y)
{
	assert_int_equal(x->n, y->n);
	assert_int_equal(x->total, y->total);
	assert_int_equal(x->terms, y->terms);
	for (size_t i = 0; i < x->n; i++) {
		assert_int_equal(x->hits[i].id, y->hits[i].id);
		assert_memory_equal(&x->hits[i].score, &y->hits[i].score, sizeof(double)); /* bit by bit */
		assert_true(str_eq(x->hits[i].explain, y->hits[i].explain));
	}
}

static void finding(void **state)
{
	struct bench b;
	struct result r;
	struct words *w;

	(void)state;
	bench_init(&b);
	w = memory_words(b.m);
	assert_int_equal(search(w, &b.a, "", "anything", 10).n, 0);
	put(&b, "a", "1", "{\"t\":\"red house\"}");
	put(&b, "a.b", "2", "{\"t\":\"red red roof\"}");
	put(&b, "ab", "3", "{\"t\":\"red car\"}");
	put_as(&b, &other, "a", "4", "{\"t\":\"red secret\"}");
	r = search(w, &b.a, "a", "Reds, the houses!", 10);
	assert_int_equal(r.n, 2); /* whole labels, one tenant */
	assert_int_equal(r.total, 2);
	assert_int_equal(r.terms, 2);
	assert_true(r.hits[0].score > r.hits[1].score);
	assert_int_equal(search(w, &b.a, "", "red", 10).n, 3);
	assert_int_equal(search(w, &b.a, "ab", "red", 10).n, 1);
	assert_int_equal(search(w, &b.a, "", "red", 1).total, 3);
	r = search(w, &b.a, "", "what is the", 10);
	assert_int_equal(r.terms, 0);
	assert_int_equal(r.n, 0);
	FAILS(words_search(w, &b.a, NULL, &(struct doc_scope){DOC_ITEM, STR("")}, STR("red"), 1, false, &r.hits, &r.n, NULL,
			   &r.terms),
	      E_DENIED);
	/* A new state replaces the old one, a deletion removes it. */
	put(&b, "a", "1", "{\"t\":\"green garden\"}");
	assert_int_equal(search(w, &b.a, "a", "house", 10).n, 0);
	assert_int_equal(search(w, &b.a, "a", "garden", 10).n, 1);
	struct op_put del = {.ns = STR("a"), .key = STR("1"), .ttl_minutes = TTL_DEFAULT};
	OKAY(memory_put(b.m, &b.a, &ann, &del));
	assert_int_equal(search(w, &b.a, "a", "garden", 10).n, 0);
	/* Not indexed on demand. */
	struct op_put hidden = {.ns = STR("a"),
				.key = STR("5"),
				.value = STR("{\"t\":\"hidden words\"}"),
				.index = TRI_NO,
				.ttl_minutes = TTL_DEFAULT};
	OKAY(memory_put(b.m, &b.a, &ann, &hidden));
	assert_int_equal(search(w, &b.a, "a", "hidden", 10).n, 0);
	bench_release(&b);
}

static void ties(void **state)
{
	struct bench b;
	struct result r;
	char key[16];

	(void)state;
	bench_init(&b);
	for (int i = 0; i < 50; i++) {
		snprintf(key, sizeof key, "k%d", i);
		put(&b, "a", key, i == 20 ? "{\"t\":\"twin twin\"}" : "{\"t\":\"twin other\"}");
	}
	r = search(memory_words(b.m), &b.a, "a", "twin", 1);
	assert_int_equal(r.n, 1);
	r = search(memory_words(b.m), &b.a, "a", "twin", 2);
	assert_int_equal(r.n, 50); /* all that tie with the last */
	assert_int_equal(r.total, 50);
	for (size_t i = 2; i < r.n; i++)
		assert_true(r.hits[i - 1].id < r.hits[i].id);
	bench_release(&b);
}

static void explaining(void **state)
{
	struct bench b;
	struct result r;

	(void)state;
	bench_init(&b);
	put(&b, "a", "1", "{\"t\":\"red house red\"}");
	put(&b, "a", "2", "{\"t\":\"blue house\"}");
	r = search_as(memory_words(b.m), &b.a, &ann, "a", "red house mouse", 10, true);
	assert_int_equal(r.n, 2);
	for (size_t i = 0; i < r.n; i++) {
		struct jval v = parsed(&b.a, arena_cstr(&b.a, r.hits[i].explain)), key, one;
		struct j_iter it = j_iter(j_get(v, STR("words")));
		double sum = 0, part, len, avg;
		int terms = 0;

		for (; j_next(&it, &key, &one); terms++) {
			assert_true(j_double(j_get(one, STR("contribution")), &part));
			sum += part;
		}
		assert_float_equal(sum, r.hits[i].score, 1e-12);
		assert_int_equal(terms, i == 0 ? 2 : 1);
		assert_true(j_double(j_get(v, STR("length")), &len));
		assert_true(j_double(j_get(v, STR("average_length")), &avg));
		assert_float_equal(avg, 2.5, 0);
		assert_float_equal(len, i == 0 ? 3 : 2, 0);
	}
	bench_release(&b);
}

/* ------------------------------------------------- with and without the cache */

static uint64_t seed = 88172645463325252u;

static uint32_t random_below(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 33) % n;
}

static void random_change(struct bench *b)
{
	static const char *const spaces[] = {"n", "n.a", "n.de", "m"};
	char key[16], value[400];
	size_t n = 0;
	struct op_put op = {.ns = str_c(spaces[random_below(4)]), .ttl_minutes = TTL_DEFAULT};

	op.key = str_of(key, (size_t)snprintf(key, sizeof key, "k%u", random_below(150)));
	if (random_below(5) > 0) {
		n = (size_t)snprintf(value, sizeof value, "{\"t\":\"");
		for (uint32_t i = random_below(30); i > 0; i--) {
			uint32_t r = random_below(100);

			n += (size_t)snprintf(value + n, sizeof value - n, "wording%u ", r * r / 200);
		}
		n += (size_t)snprintf(value + n, sizeof value - n, "\"}");
		op.value = str_of(value, n);
	}
	OKAY(memory_put(b->m, &b->a, &ann, &op));
}

static void same_with_and_without_cache(void **state)
{
	const char *langs = "english,n.de=german";
	struct memory_options opt = {.languages = STR("english,n.de=german")};
	struct words *w[4];
	struct bench b;

	(void)state;
	bench_options(&b, &opt);
	w[0] = words(b.store, (size_t)8 << 20, langs);	/* cached */
	w[1] = words(b.store, 0, langs);		/* never */
	w[2] = words(b.store, 4096, langs);		/* too large at once */
	w[3] = words(b.store, (size_t)96 << 10, langs); /* fits at first, then does not, and back */
	for (int round = 0; round < 60; round++) {
		static const char *const prefixes[] = {"n", "", "n.de", "m", "nosuch"};
		char query[100];

		for (uint32_t i = 1 + random_below(40); i > 0; i--)
			random_change(&b);
		for (int p = 0; p < 5; p++) {
			size_t want = 1 + random_below(30);
			struct result first;

			snprintf(query, sizeof query, "wording%u wording%u the wordings%u nosuchword", random_below(10),
				 random_below(50), random_below(50));
			first = search_as(w[0], &b.a, &ann, prefixes[p], query, want, true);
			for (int k = 1; k < 4; k++) {
				struct result r = search_as(w[k], &b.a, &ann, prefixes[p], query, want, true);

				same_results(&first, &r);
			}
		}
	}
	struct cache_stats stats;
	cache_stats(w[0]->cache, &stats);
	assert_true(stats.hits > 200);
	assert_true(stats.misses <= 10);
	for (int k = 0; k < 4; k++)
		words_free(w[k]);
	bench_release(&b);
}

/* -------------------------------------------------------------------- faults */

static struct store_ops patched;
static const struct store_ops *original;
static unsigned forget, scans;

static enum err forgetful_changes(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor,
				  doc_fn fn, void *ctx)
{
	if (forget) {
		forget--;
		return err_set(E_CONFLICT, "forgotten");
	}
	return original->doc_changes(s, who, scope, cursor, fn, ctx);
}

static enum err counted_scan(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor,
			     doc_fn fn, void *ctx)
{
	scans++;
	return original->doc_scan(s, who, scope, cursor, fn, ctx);
}

static void patch(struct store *s)
{
	original = s->ops;
	patched = *s->ops;
	patched.doc_changes = forgetful_changes;
	patched.doc_scan = counted_scan;
	s->ops = &patched;
	forget = scans = 0;
}

static void a_store_that_forgets(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b);
	patch(b.store);
	put(&b, "a", "1", "{\"t\":\"red\"}");
	assert_int_equal(search(memory_words(b.m), &b.a, "a", "red", 10).n, 1);
	assert_int_equal(scans, 1);
	put(&b, "a", "2", "{\"t\":\"red\"}");
	assert_int_equal(search(memory_words(b.m), &b.a, "a", "red", 10).n, 2);
	assert_int_equal(scans, 1);
	forget = 1;
	put(&b, "a", "3", "{\"t\":\"red\"}");
	assert_int_equal(search(memory_words(b.m), &b.a, "a", "red", 10).n, 3);
	assert_int_equal(scans, 2);
	forget = 1000; /* for ever: it says so */
	struct doc_scope scope = {DOC_ITEM, STR("a")};
	struct result r;
	FAILS(words_search(memory_words(b.m), &b.a, &ann, &scope, STR("red"), 10, false, &r.hits, &r.n, &r.total, &r.terms),
	      E_BUSY);
	forget = 0;
	assert_int_equal(search(memory_words(b.m), &b.a, "a", "red", 10).n, 3);
	b.store->ops = original;
	bench_release(&b);
}

static void a_store_that_fails(void **state)
{
	struct bench b;
	struct doc_scope scope = {DOC_ITEM, STR("a")};
	struct result r;

	(void)state;
	bench_init(&b);
	put(&b, "a", "1", "{\"t\":\"red\"}");
	for (unsigned n = 1; n < 3; n++) {
		fake_store_fail(b.store, E_IO, n);
		for (unsigned i = 0; i < n; i++)
			FAILS(words_search(memory_words(b.m), &b.a, &ann, &scope, STR("red"), 10, false, &r.hits, &r.n, &r.total,
					   &r.terms),
			      E_IO);
		assert_int_equal(search(memory_words(b.m), &b.a, "a", "red", 10).n, 1);
	}
	bench_release(&b);
}

static void must_append(struct store *s, const char *thread, const char *mid, const char *content, struct str terms)
{
	struct message m = {.thread = str_c(thread),
			    .mid = str_c(mid),
			    .user = STR("u"),
			    .role = STR("user"),
			    .content = str_c(content),
			    .terms = terms};

	OKAY(s->ops->message_append(s, &ann, &m, 1));
}

static enum err nothing_to_do(void *ctx, const struct scope *s, const struct vector_scope *v)
{
	(void)ctx;
	(void)v;
	(void)s;
	return OK;
}

static unsigned refused;

static enum err refuse_to_keep(struct store *s, const struct principal *who, enum doc_kind kind, const struct doc_kept *v, size_t n)
{
	(void)s;
	(void)who;
	(void)kind;
	(void)v;
	refused += (unsigned)n;
	return err_set(E_BUSY, "it cannot be written to");
}

/* A store that keeps documents is given those that were made again, once; where that fails, the answers are the same. */
static void made_again_is_kept(void **state)
{
	enum { N = 300 };
	struct memory_options opt = {.languages = STR("english"), .index_cache_bytes = 1 << 20};
	struct doc_scope messages = {DOC_MESSAGE, STR("u")};
	struct words *german[3];
	struct result r[3];
	struct bench b;
	char key[16];
	bool skipped;

	(void)state;
	bench_options(&b, &opt);
	for (int i = 0; i < N; i++) {
		snprintf(key, sizeof key, "k%d", i);
		put(&b, "a", key, i % 3 ? "{\"t\":\"Katze und Hund\"}" : "{\"t\":\"viele Hunde\"}");
	}
	must_append(b.store, "th", "1", "viele Hunde", STR("\0")); /* outdated */
	for (int k = 0; k < 3; k++)
		german[k] = words(b.store, 1 << 20, "german");
	r[0] = search(german[0], &b.a, "a", "Katzen", 500);
	assert_int_equal(r[0].n, 200);
	assert_int_equal(fake_store_kept(b.store), 0); /* it was not asked to */
	fake_store_keeps(b.store);
	r[1] = search(german[1], &b.a, "a", "Katzen", 500);
	same_results(&r[0], &r[1]);
	assert_int_equal(fake_store_kept(b.store), N);
	r[2] = search(german[2], &b.a, "a", "Katzen", 500);
	same_results(&r[0], &r[2]);
	assert_int_equal(fake_store_kept(b.store), N); /* they were good by now */
	OKAY(words_with_scope(german[2], &b.a, &ann, &messages, nothing_to_do, NULL, &skipped));
	assert_int_equal(fake_store_kept(b.store), N + 1);
	OKAY(words_with_scope(german[1], &b.a, &ann, &messages, nothing_to_do, NULL, &skipped));
	assert_int_equal(fake_store_kept(b.store), N + 1);
	/* One that cannot be kept. */
	struct store_ops refusing = *b.store->ops;
	refusing.doc_keep = refuse_to_keep;
	b.store->ops = &refusing;
	put(&b, "a", "late", "{\"t\":\"noch eine Katze\"}");
	assert_int_equal(search(german[2], &b.a, "a", "Katzen", 500).n, 201);
	assert_int_equal(refused, 1);
	assert_int_equal(fake_store_kept(b.store), N + 1);
	for (int k = 0; k < 3; k++)
		words_free(german[k]);
	bench_release(&b);
}

/* A value that is beyond the limits here, which another client of the database wrote, is not found; it keeps no other from it. */
static void beyond_the_limits(void **state)
{
	struct words *w[3];
	struct bench b;
	char key[16];

	(void)state;
	bench_init(&b);
	fake_store_keeps(b.store);
	put_raw(&b, "a", "deep", too_deep(&b.a), STR("\0"));
	for (int i = 0; i < 5; i++) {
		snprintf(key, sizeof key, "k%d", i);
		put(&b, "a", key, "{\"t\":\"common words\"}");
	}
	for (int k = 0; k < 3; k++)
		w[k] = words(b.store, k == 0 ? 1 << 20 : k == 1 ? 4096 : 0, "english");
	for (int k = 0; k < 3; k++)
		assert_int_equal(search(w[k], &b.a, "a", "common", 10).n, 5);
	assert_int_equal(fake_store_kept(b.store), 1); /* it is not read again */
	/* Comes as a change. */
	put_raw(&b, "a", "k0", too_deep(&b.a), STR("\0"));
	for (int k = 0; k < 3; k++)
		assert_int_equal(search(w[k], &b.a, "a", "common", 10).n, 4);
	for (int k = 0; k < 3; k++)
		words_free(w[k]);
	bench_release(&b);
}

static enum err count_docs(void *ctx, const struct doc_change *d)
{
	(void)d;
	++*(int *)ctx;
	return OK;
}

/* Values that do not fit the memory together are read in smaller steps. */
static void made_again_in_steps(void **state)
{
	enum { N = 40 };
	struct remake r = {.who = &ann, .kind = DOC_ITEM, .room = (size_t)256 << 10};
	struct bench b;
	char key[16], *text;
	int n = 0;

	(void)state;
	bench_init(&b);
	r.w = memory_words(b.m);
	text = arena_cstr(&b.a, arena_printf(&b.a, "{\"t\":\"%s %0*d\"}", "common words", 20000, 7));
	for (int i = 0; i < N; i++) {
		snprintf(key, sizeof key, "k%d", i);
		put(&b, "a", key, text);
		OKAY(remake_add(&r, &(struct doc_change){.id = i + 1, .version = 1}));
	}
	OKAY(remake_all(&r, count_docs, &n));
	assert_int_equal(n, N);
	remake_release(&r);
	bench_release(&b);
}

static struct bench *interfered;
static const struct store_ops *plain_ops;

/* Before the items are read, somebody puts one of them, not to be found by words. */
static enum err put_first(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
			  struct item *out)
{
	struct op_put hidden = {.ns = STR("a"),
				.key = STR("k"),
				.value = STR("{\"t\":\"hidden words\"}"),
				.index = TRI_NO,
				.ttl_minutes = TTL_DEFAULT};

	OKAY(memory_put(interfered->m, &interfered->a, who, &hidden));
	return plain_ops->item_by_id(s, a, who, ids, n, out);
}

/* The document of a put that came between is not replaced by one that was made for the state before. */
static void made_again_too_late(void **state)
{
	struct words *german;
	struct bench b;

	(void)state;
	bench_init(&b);
	put(&b, "a", "k", "{\"t\":\"Katze und Hund\"}");
	fake_store_keeps(b.store);
	german = words(b.store, 1 << 20, "german");
	struct store_ops meddling = *b.store->ops;
	meddling.item_by_id = put_first;
	plain_ops = b.store->ops;
	interfered = &b;
	b.store->ops = &meddling;
	assert_int_equal(search(german, &b.a, "a", "Katzen", 10).n, 0);
	b.store->ops = plain_ops;
	assert_int_equal(fake_store_kept(b.store), 0);
	assert_int_equal(search(german, &b.a, "a", "hidden", 10).n, 0);
	words_free(german);
	bench_release(&b);
}

/* Documents of another analysis are made again from the values, by the paths that they were made by. */
static void another_language(void **state)
{
	struct memory_options opt = {.languages = STR("english"), .index_cache_bytes = 1 << 20};
	struct str path = STR("t");
	struct op_put put_path = {.ns = STR("a"),
				  .key = STR("p"),
				  .value = STR("{\"t\":\"H\303\244user\",\"u\":\"Katzen\"}"),
				  .index_paths = &path,
				  .index_paths_n = 1,
				  .ttl_minutes = TTL_DEFAULT};
	struct words *german[3];
	struct bench b;
	char key[16];

	(void)state;
	bench_options(&b, &opt);
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof key, "k%d", i);
		put(&b, "a", key, i % 3 ? "{\"t\":\"Katze und Hund\"}" : "{\"t\":\"viele Hunde\"}");
	}
	OKAY(memory_put(b.m, &b.a, &ann, &put_path));
	german[0] = words(b.store, 1 << 20, "german");
	german[1] = words(b.store, 0, "german");
	german[2] = words(b.store, 4096, "german");
	for (int round = 0; round < 2; round++) {
		struct result first = search(german[0], &b.a, "a", "Katzen", 500);

		assert_int_equal(first.n, round ? 201 : 200); /* as english: none; "u" is not indexed */
		for (int k = 1; k < 3; k++) {
			struct result r = search(german[k], &b.a, "a", "Katzen", 500);

			same_results(&first, &r);
		}
		assert_int_equal(search(german[0], &b.a, "a", "Haus", 10).n, 1);
		put(&b, "a", "late", "{\"t\":\"noch eine Katze\"}"); /* comes as a change */
	}
	for (int k = 0; k < 3; k++)
		words_free(german[k]);
	bench_release(&b);
}

/* ------------------------------------------------------------------- threads */

static struct bench shared;
static atomic_bool stop;

static void *search_much(void *arg)
{
	struct arena a;
	size_t least = 0;

	(void)arg;
	arena_init(&a, 64 << 20);
	while (!atomic_load(&stop)) {
		struct doc_scope scope = {DOC_ITEM, STR("a")};
		struct result r;

		if (words_search(memory_words(shared.m), &a, &ann, &scope, STR("common"), 5, false, &r.hits, &r.n, &r.total,
				 &r.terms) != OK)
			abort();
		if (r.total < least) /* items are only added */
			abort();
		least = r.total;
		arena_clear(&a);
	}
	arena_release(&a);
	return NULL;
}

static void threads(void **state)
{
	pthread_t th[3];
	char key[16];

	(void)state;
	bench_init(&shared);
	atomic_store(&stop, false);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&th[i], NULL, search_much, NULL), 0);
	for (int i = 0; i < 1500; i++) {
		snprintf(key, sizeof key, "k%d", i);
		put(&shared, "a", key, "{\"t\":\"common words and some more of them to fill a segment with\"}");
		if (i % 50 == 0) /* what was answered is found */
			assert_int_equal(search(memory_words(shared.m), &shared.a, "a", "common", 1).total, i + 1);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(th[i], NULL);
	bench_release(&shared);
}

static void metrics(void **state)
{
	struct bench b;
	struct buf out;

	(void)state;
	bench_init(&b);
	put(&b, "a", "1", "{\"t\":\"red\"}");
	(void)search(memory_words(b.m), &b.a, "a", "red", 1);
	(void)search(memory_words(b.m), &b.a, "a", "red", 1);
	buf_init(&out, &b.a, 1 << 16);
	words_metrics(memory_words(b.m), &out);
	buf_byte(&out, '\0');
	assert_non_null(strstr(out.p, "cenote_word_index_hits_total 1\n"));
	assert_non_null(strstr(out.p, "cenote_word_index_misses_total 1\n"));
	assert_non_null(strstr(out.p, "cenote_word_index_scopes 1\n"));
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_values),
		cmocka_unit_test(index_paths),
		cmocka_unit_test(languages),
		cmocka_unit_test(finding),
		cmocka_unit_test(ties),
		cmocka_unit_test(explaining),
		cmocka_unit_test(same_with_and_without_cache),
		cmocka_unit_test(a_store_that_forgets),
		cmocka_unit_test(a_store_that_fails),
		cmocka_unit_test(another_language),
		cmocka_unit_test(made_again_is_kept),
		cmocka_unit_test(beyond_the_limits),
		cmocka_unit_test(made_again_in_steps),
		cmocka_unit_test(made_again_too_late),
		cmocka_unit_test(threads),
		cmocka_unit_test(metrics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
