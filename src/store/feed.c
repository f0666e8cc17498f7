/* The change feed: a bounded ring per tenant of what changed, written after a commit, read before every search.
 *
 * Invariants
 *  1. Changes are numbered without gaps; [tail, head) are in the ring. A cursor is the number of the next change its owner has not
 * seen.
 *  2. A commit is visible to new snapshots (the tenant's seq has moved) before its changes are in the feed, and they are in the
 * feed before the commit's waiters are told. So a scan whose cursor was taken before its snapshot misses nothing, and whoever was
 * told of a write finds its change.
 *  3. Until somebody asked for a cursor (wanted) only the number of changes counts, and tail = head. */
#include "store/feed.h"

#include <stdlib.h>

struct feed_name *feed_name_new(int64_t id, struct str scope, struct str lang_ns)
{
	struct feed_name *n = malloc(sizeof *n + scope.n + lang_ns.n + 1);
	if (!n)
		return NULL;
	atomic_init(&n->refs, 1);
	n->id = id;
	if (scope.n)
		memcpy(n->bytes, scope.p, scope.n);
	if (lang_ns.n)
		memcpy(n->bytes + scope.n, lang_ns.p, lang_ns.n);
	n->scope = str_of(n->bytes, scope.n);
	n->lang_ns = str_of(n->bytes + scope.n, lang_ns.n);
	return n;
}

void feed_name_ref(struct feed_name *n)
{
	atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
}

void feed_name_drop(struct feed_name *n)
{
	if (n && atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) == 1)
		free(n);
}

void feed_init(struct feed *f)
{
	memset(f, 0, sizeof *f);
	pthread_mutex_init(&f->mu, NULL);
}

static void forget(struct feed *f)
{
	for (uint64_t i = f->tail; f->ring && i < f->head; i++)
		feed_name_drop(f->ring[i & (f->cap - 1)].name);
	f->tail = f->head;
}

void feed_release(struct feed *f)
{
	forget(f);
	free(f->ring);
	pthread_mutex_destroy(&f->mu);
}

void feed_drop(struct feed *f)
{
	pthread_mutex_lock(&f->mu);
	forget(f);
	free(f->ring);
	f->ring = NULL;
	f->cap = 0;
	atomic_store(&f->wanted, false);
	pthread_mutex_unlock(&f->mu);
}

uint64_t feed_start(struct feed *f)
{
	pthread_mutex_lock(&f->mu);
	atomic_store(&f->wanted, true);
	uint64_t at = f->head;
	pthread_mutex_unlock(&f->mu);
	return at;
}

/* Room for n more entries: grows up to FEED_MAX, then lets the oldest go. False: they cannot be kept. */
static bool make_room(struct feed *f, size_t n)
{
	size_t used = (size_t)(f->head - f->tail), cap = f->cap ? f->cap : 256;
	if (n > FEED_MAX)
		return false;
	while (cap < used + n && cap < FEED_MAX)
		cap *= 2;
	if (cap != f->cap) {
		struct feed_entry *ring = malloc(cap * sizeof *ring);
		if (!ring)
			return false;
		for (uint64_t i = f->tail; i < f->head; i++)
			ring[i & (cap - 1)] = f->ring[i & (f->cap - 1)];
		free(f->ring);
		f->ring = ring;
		f->cap = cap;
	}
	for (; f->head - f->tail + n > f->cap; f->tail++)
		feed_name_drop(f->ring[f->tail & (f->cap - 1)].name);
	return true;
}

void feed_publish(struct feed *f, const struct feed_entry *e, size_t n, bool recorded)
{
	if (n == 0)
		return;
	pthread_mutex_lock(&f->mu);
	if (recorded && make_room(f, n)) {
		for (size_t i = 0; i < n; i++)
			f->ring[(f->head + i) & (f->cap - 1)] = e[i];
		f->head += n;
	} else {
		forget(f);
		f->head += n;
		f->tail = f->head;
		for (size_t i = 0; recorded && i < n; i++)
			feed_name_drop(e[i].name);
	}
	pthread_mutex_unlock(&f->mu);
}

bool ns_below(struct str ns, struct str prefix)
{
	return prefix.n == 0 || (str_starts(ns, prefix) && (ns.n == prefix.n || ns.p[prefix.n] == '.'));
}

static int by_id(const void *a, const void *b)
{
	const struct feed_hit *x = a, *y = b;
	return (x->id > y->id) - (x->id < y->id);
}

/* Sorts by id and keeps one of each. */
static size_t unique(struct feed_hit *h, size_t n)
{
	size_t kept = 0;
	if (n)
		qsort(h, n, sizeof *h, by_id);
	for (size_t i = 0; i < n; i++) {
		if (kept && h[kept - 1].id == h[i].id)
			feed_name_drop(h[i].name);
		else
			h[kept++] = h[i];
	}
	return kept;
}

static bool in_scope(const struct feed_name *name, const struct doc_scope *scope)
{
	if (scope->kind == DOC_MESSAGE)
		return scope->every_user || str_eq(name->scope, scope->prefix);
	return ns_below(name->scope, scope->prefix);
}

enum err feed_since(struct feed *f, const struct doc_scope *scope, uint64_t *cursor, struct feed_hit **out, size_t *n)
{
	struct feed_hit *hits = NULL;
	size_t cap = 0, count = 0;
	bool messages = scope->kind == DOC_MESSAGE;
	enum err e = OK;
	*out = NULL;
	*n = 0;
	pthread_mutex_lock(&f->mu);
	if (*cursor < f->tail || *cursor > f->head) {
		e = err_set(E_CONFLICT, "more changes have happened than are remembered; scan again");
		goto out;
	}
	for (uint64_t i = *cursor; i < f->head; i++) {
		const struct feed_entry *x = &f->ring[i & (f->cap - 1)];
		if ((x->what & 1) != messages || !in_scope(x->name, scope))
			continue;
		if (count == cap) {
			struct feed_hit *more = realloc(hits, (cap = cap ? cap * 2 : 16) * sizeof *hits);
			if (!more) {
				e = err_set(E_LIMIT, "out of memory in the store");
				goto out;
			}
			hits = more;
		}
		feed_name_ref(x->name);
		hits[count++] = (struct feed_hit){(int64_t)(x->what >> 2), x->name};
	}
	*cursor = f->head;
out:
	pthread_mutex_unlock(&f->mu);
	if (e != OK) {
		for (size_t i = 0; i < count; i++)
			feed_name_drop(hits[i].name);
		free(hits);
		return e;
	}
	*n = unique(hits, count);
	*out = hits;
	return OK;
}
