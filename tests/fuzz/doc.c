/* Fuzz target: index documents. The first byte chooses: damaged documents are read to their end, put into a scope and searched, and
 * never lead outside; or the rest is a text, whose documents are valid, read back, and found by the text itself. */
#include <stdlib.h>

#include "index/question.h"
#include "index/text.h"
#include "must.h"

static void read_all(struct str doc)
{
	uint32_t len, id, tf, last;
	struct doc_reader r;
	struct doc_head h;
	struct str *paths;
	struct arena a;
	size_t n;

	if (doc_open(doc, &r, &h) == DOC_GOOD) {
		MUST(h.role <= ROLE_PERSON && h.name_terms_n <= DOC_NAME_TERMS);
		while (doc_passage(&r, &len)) {
			for (last = 0; doc_term(&r, &id, &tf); last = id)
				MUST(tf >= 1 && tf <= DOC_TF_MAX && (id > last || last == 0));
			for (last = 0; doc_pair(&r, &id, &tf); last = id)
				MUST(tf >= 1 && tf <= DOC_TF_MAX && (id > last || last == 0));
		}
	}
	arena_init(&a, (size_t)64 << 20);
	if (doc_open(doc, &r, &h) == DOC_GOOD && doc_paths(&r, &a, &paths, &n) == OK)
		for (size_t i = 0; i < n; i++)
			MUST(paths[i].p >= doc.p && paths[i].p + paths[i].n <= doc.p + doc.n);
	arena_release(&a);
}

static void search_it(struct str doc, bool messages)
{
	struct scope *s = scope_new(messages);
	struct query_term *q;
	struct arena a;
	struct bm25 c;
	double *score;
	size_t n;

	MUST(s != NULL);
	arena_init(&a, (size_t)64 << 20);
	MUST(scope_add(s, 1, doc, STR("t")) == OK);
	MUST(scope_add(s, 2, doc, STR("t")) == OK);
	MUST(scope_commit(s) == OK);
	MUST(scope_remove(s, 1) == OK && scope_commit(s) == OK && s->docs == 1);
	score = calloc(scope_row_slots(s) + 1, sizeof *score);
	MUST(score && question_terms(&a, scope_langs(s), STR("a dog 12"), &q, &n) == OK);
	scope_query_prepare(s, q, n, &c);
	scope_score(s, q, n, &c, score, NULL);
	free(score);
	scope_free(s);
	arena_release(&a);
}

static void text_and_back(const struct lang *l, struct str text)
{
	struct doc_message_in in = {text, str_sub(text, 0, 20), STR("person"), (int64_t)text.n * 86400000000};
	struct query_term *q;
	struct doc_reader r;
	struct doc_head h;
	struct str doc;
	struct arena a;
	uint32_t len, id, tf;
	size_t n, found = 0;

	arena_init(&a, (size_t)256 << 20);
	MUST(doc_of_texts(&a, l, &text, 1, &doc) == OK && doc_valid(doc));
	MUST(question_terms(&a, 1u << l->id, text, &q, &n) == OK);
	MUST(doc_open(doc, &r, &h) == DOC_GOOD && doc_passage(&r, &len));
	while (doc_term(&r, &id, &tf))
		for (size_t i = 0; i < n; i++)
			found += q[i].id == id;
	MUST(found == n);
	MUST(doc_of_message(&a, l, &in, &doc) == OK && doc_valid(doc));
	arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = str_of((const char *)data + 1, size ? size - 1 : 0);
	size_t langs;
	const struct lang *all = lang_table(&langs);

	if (size == 0)
		return 0;
	if (data[0] >= 128) {
		text_and_back(&all[data[0] % langs], rest);
		return 0;
	}
	read_all(rest);
	search_it(rest, data[0] & 1);
	return 0;
}
