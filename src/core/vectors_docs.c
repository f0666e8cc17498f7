/* Index documents of items that another client of the database wrote, made before their vectors: a vector belongs to its text by
 * the mark of the document, and one that nobody has made yet would get another mark by the first search. */
#include "core/vectors_impl.h"
#include "core/words.h"

#define READ_STEP 32
#define ROOM ((size_t)512 << 20)

/* A document that is still to be made is given as one zero byte. */
static const struct str not_made = {"", 1};

static enum err make_one(struct vectors *v, struct arena *a, const struct item *it, struct todo *todo, struct doc_kept *kept)
{
	struct str terms;

	TRY(words_stored_doc(v->words, a, it->ns, it->value, NULL, 0, &terms));
	*kept = (struct doc_kept){it->id, it->version, terms};
	todo->mark = doc_mark(terms);
	todo->version = it->version;
	todo->lang = words_language(v->words, it->ns);
	todo->stamp = 0; /* its row is another one now */
	todo->none = terms.n == 0;
	return OK;
}

static enum err read_some(struct vectors *v, struct vtenant *t, struct arena *a, struct todo **todo, size_t n,
			  struct doc_kept *kept, size_t *kept_n)
{
	struct item items[READ_STEP];
	int64_t ids[READ_STEP] = {0};

	*kept_n = 0;
	for (size_t i = 0; i < n; i++)
		ids[i] = todo[i]->id;
	TRY(v->store->ops->item_by_id(v->store, a, &t->who, ids, n, items));
	for (size_t i = 0; i < n; i++)
		if (items[i].id)
			TRY(make_one(v, a, &items[i], todo[i], &kept[(*kept_n)++]));
	return OK;
}

/* Depth: log2 of READ_STEP. */
static enum err make_some(struct vectors *v, struct vtenant *t, struct arena *a, struct todo **todo, size_t n)
{
	struct doc_kept kept[READ_STEP];
	size_t kept_n;
	enum err e;

	arena_clear(a);
	e = read_some(v, t, a, todo, n, kept, &kept_n);
	if (e == OK)
		return kept_n ? v->store->ops->doc_keep(v->store, &t->who, DOC_ITEM, kept, kept_n) : OK;
	if (!vectors_unreadable(e))
		return e;
	if (n == 1)
		return vectors_leave_out(v, t, DOC_ITEM, todo[0]);
	TRY(make_some(v, t, a, todo, n / 2));
	return make_some(v, t, a, todo + n / 2, n - n / 2);
}

enum err vectors_make_docs(struct vectors *v, struct vtenant *t, struct todo *todo, size_t n)
{
	uint64_t mark = doc_mark(not_made);
	struct todo *some[READ_STEP];
	struct arena a;
	enum err e = OK;
	size_t k = 0;

	if (!v->store->ops->doc_keep)
		return OK;
	arena_init(&a, ROOM);
	for (size_t i = 0; i < n && e == OK; i++) {
		if (todo[i].mark == mark)
			some[k++] = &todo[i];
		if (k == READ_STEP || (k > 0 && i + 1 == n)) {
			e = make_some(v, t, &a, some, k);
			k = 0;
		}
	}
	arena_release(&a);
	return e;
}
