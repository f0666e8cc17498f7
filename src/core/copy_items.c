/* The items of a tenant: source and target are walked side by side, in the order of names; what the target does not have, or has
 * older, is written in pages. */
#include <stdlib.h>

#include "base/clock.h"
#include "core/copy_impl.h"

/* Which items of the source words can find, and how. Known only from a scan of all documents: the port's items do not say it. */
struct indexed {
	int64_t *ids; /* sorted */
	size_t n, cap;
	struct map paths; /* id, as bytes -> its document, which says which paths were indexed */
	struct arena docs;
	int64_t at_us; /* when the scan began */
	enum err err;
};

struct items {
	struct copy *c;
	struct copy_walk from, to;
	struct indexed ix;
	struct item_write *w;
	size_t n;
	struct copy_row *last; /* of the page */
};

/* ---------------------------------------------------------------- documents */

static struct str id_bytes(const int64_t *id)
{
	return str_of((const char *)id, sizeof *id);
}

static bool on_doc(void *ctx, const struct doc_change *d)
{
	struct indexed *x = ctx;
	struct doc_reader r;
	struct doc_head h;

	if (d->removed || d->terms.n == 0)
		return true;
	if (x->n == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 1024;
		int64_t *ids = realloc(x->ids, cap * sizeof *ids);

		if (!ids) {
			x->err = err_set(E_LIMIT, "out of memory for the list of indexed items");
			return false;
		}
		x->ids = ids;
		x->cap = cap;
	}
	x->ids[x->n++] = d->id;
	if (doc_open(d->terms, &r, &h) == DOC_GOOD && r.has_paths) {
		struct str *kept = ARENA_NEW(&x->docs, struct str);

		if (kept)
			*kept = arena_str(&x->docs, d->terms);
		x->err = kept && kept->p ? map_put(&x->paths, id_bytes(&d->id), kept, NULL) : E_NOMEM;
	}
	return x->err == OK;
}

static int by_id(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static enum err indexed_load(struct copy *c, struct indexed *x)
{
	const struct doc_scope all = {.kind = DOC_ITEM};
	uint64_t cursor;

	x->at_us = clock_wall_us();
	TRY(c->from->ops->doc_scan(c->from, &c->who, &all, &cursor, on_doc, x));
	TRY(x->err);
	if (x->n)
		qsort(x->ids, x->n, sizeof *x->ids, by_id);
	return OK;
}

/* How the item was indexed. One that was written since the scan, or that the driver does not know yet, as a put without a word
 * about it would be. */
static enum err index_of(struct items *x, const struct item *it, struct op_put *op)
{
	struct str *doc = map_get(&x->ix.paths, id_bytes(&it->id));
	struct doc_reader r;
	struct doc_head h;
	struct str *paths = NULL;

	if (it->id == 0 || it->updated_us >= x->ix.at_us)
		return OK;
	if (x->ix.n == 0 || !bsearch(&it->id, x->ix.ids, x->ix.n, sizeof it->id, by_id)) {
		op->index = TRI_NO;
		return OK;
	}
	if (!doc || doc_open(*doc, &r, &h) != DOC_GOOD)
		return OK;
	TRY(doc_paths(&r, &x->c->work, &paths, &op->index_paths_n));
	op->index_paths = paths;
	return OK;
}

/* ---------------------------------------------------------------- writing */

/* The store's answers. */
static void settle(struct copy *c, const struct item_write *w, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool done = w[i].err == OK && w[i].changed;

		c->r->copied += done;
		c->r->newer += !done; /* somebody else has written it in the meantime */
	}
}

/* Writes at once; where the store refuses, halves until the culprits stand alone. Depth: log2 of a page. */
static enum err write_range(struct copy *c, struct item_write *w, size_t n)
{
	enum err e;

	if (n == 0)
		return OK;
	e = c->to->ops->item_write(c->to, &c->who, w, n, false);
	if (e == OK) {
		settle(c, w, n);
		return OK;
	}
	if (!copy_is_local(e))
		return err_wrap(e, "writing to the target");
	if (n == 1)
		return copy_fail(c, COPY_ITEM, w->ns, w->key);
	TRY(write_range(c, w, n / 2));
	return write_range(c, w + n / 2, n - n / 2);
}

/* Adds the row to the page's writes. there: what the target has under the name, or NULL. */
static enum err arm(struct items *x, const struct copy_row *r, const struct copy_row *there)
{
	struct copy *c = x->c;
	const struct item *it = &r->it;
	bool same_time = there && there->it.updated_us == it->updated_us;
	struct op_put op = {.ns = it->ns,
			    .key = it->key,
			    .value = it->value,
			    .ttl_minutes = it->ttl_minutes,
			    .created_us = it->created_us,
			    .updated_us = it->updated_us,
			    .expires_us = it->expires_us,
			    .fact = it->fact,
			    .valid_from_us = it->valid_from_us,
			    .valid_to_us = it->valid_to_us,
			    .keep_newer = !same_time,
			    .cond = same_time ? IF_VERSION : IF_ANY,
			    .if_version = same_time ? there->it.version : 0};
	enum err e;

	if (c->opt->dry_run) {
		c->r->copied++;
		return OK;
	}
	TRY(index_of(x, it, &op));
	e = memory_prepare(c->memory, &c->work, &c->who, &op, &x->w[x->n]);
	if (e == OK)
		x->n++;
	else if (copy_is_local(e))
		e = copy_fail(c, COPY_ITEM, it->ns, it->key);
	return e;
}

static enum err decide(struct items *x, struct copy_row *r)
{
	struct copy *c = x->c;
	struct copy_row *there;
	int64_t passed = 0;

	c->r->items++;
	TRY(copy_walk_find(&x->to, r->it.ns, r->it.key, &passed, &there));
	if (there) {
		arena_clear(&c->page);
		TRY(copy_item_sum(&c->page, &r->it, &r->sum));
		if (r->sum == there->sum) {
			c->r->unchanged++;
			return OK;
		}
		if (there->it.updated_us > r->it.updated_us) {
			c->r->newer++;
			return OK;
		}
	}
	return arm(x, r, there);
}

/* The page is written, and the place moves behind it. */
static enum err flush(struct items *x)
{
	struct copy *c = x->c;

	TRY(write_range(c, x->w, x->n));
	x->n = 0;
	arena_clear(&c->work);
	if (x->last) {
		const struct item *it = &x->last->it;

		if (it->ns.n <= NS_MAX_BYTES && it->key.n <= KEY_MAX_BYTES) { /* else the place stays where it was: harmless */
			memcpy(c->at.ns, it->ns.p, it->ns.n);
			memcpy(c->at.key, it->key.p, it->key.n);
			c->at.ns_n = it->ns.n;
			c->at.key_n = it->key.n;
		}
		x->last = NULL;
	}
	return copy_pause(c, false);
}

static enum err run(struct items *x)
{
	struct copy_row *r;

	for (;;) {
		if (x->from.at == x->from.n)
			TRY(flush(x)); /* before the rows of this page go */
		TRY(copy_walk_next(&x->from, &r));
		if (!r)
			return OK;
		x->last = r;
		x->c->done++;
		TRY(decide(x, r));
	}
}

enum err copy_items(struct copy *c)
{
	struct items x = {.c = c};
	struct str ns = str_of(c->at.ns, c->at.ns_n), key = str_of(c->at.key, c->at.key_n);
	enum err e;

	map_init(&x.ix.paths);
	arena_init(&x.ix.docs, (size_t)1 << 30);
	x.w = calloc(COPY_PAGE, sizeof *x.w);
	e = x.w ? OK : err_set(E_LIMIT, "out of memory");
	enum err b1 = copy_walk_begin(&x.from, c->from, &c->who, true, false, ns, key);
	enum err b2 = copy_walk_begin(&x.to, c->to, &c->who, false, true, ns, key);
	if (e == OK)
		e = b1 != OK ? b1 : b2;
	if (e == OK && !c->opt->dry_run)
		e = indexed_load(c, &x.ix);
	if (e == OK)
		e = run(&x);
	copy_walk_end(&x.from);
	copy_walk_end(&x.to);
	free(x.w);
	free(x.ix.ids);
	map_release(&x.ix.paths);
	arena_release(&x.ix.docs);
	return e;
}
