/* Items of a store, page by page in the order of their names, with their checksums. */
#include <stdlib.h>

#include "base/hash.h"
#include "core/copy_impl.h"

/* Room for one value and its nodes. */
#define SCRATCH ((size_t)256 << 20)
/* A page's names and values, and one item more of the largest size. */
#define ROOM ((size_t)96 << 20)

/* ---------------------------------------------------------------- sums */

void copy_item_times(struct item *it)
{
	if (it->updated_us == 0)
		it->updated_us = it->created_us ? it->created_us : 1;
	if (it->created_us == 0)
		it->created_us = it->updated_us;
	if (!(it->ttl_minutes > 0))
		it->ttl_minutes = 0;
	if (it->expires_us == INT64_MAX)
		it->expires_us = 0;
	if (it->expires_us == 0 && it->ttl_minutes > 0)
		it->expires_us = it->updated_us + (int64_t)(it->ttl_minutes * 60e6);
}

/* The length in front keeps ("a", "bc") and ("ab", "c") apart. */
static void part(struct buf *b, struct str s)
{
	buf_varint(b, s.n);
	buf_str(b, s);
}

enum err copy_item_sum(struct arena *scratch, const struct item *it, uint64_t *sum)
{
	struct json_limits lim = json_default_limits;
	struct item t = *it;
	struct json doc;
	struct buf b;

	lim.bytes = SCRATCH;
	lim.nodes = 4000000;
	lim.depth = 1000;
	copy_item_times(&t);
	buf_init(&b, scratch, SCRATCH);
	part(&b, t.ns);
	part(&b, t.key);
	buf_printf(&b, "%lld,%lld,%lld,%.17g ", (long long)t.created_us, (long long)t.updated_us, (long long)t.expires_us,
		   t.ttl_minutes);
	if (t.fact)
		buf_printf(&b, "%lld,%lld ", (long long)t.valid_from_us, (long long)t.valid_to_us);
	TRY(json_parse(scratch, t.value, &lim, &doc));
	TRY(json_canonical(scratch, json_root(&doc), &b));
	*sum = hash64(buf_slice(&b));
	return OK;
}

enum err copy_message_sum(struct arena *scratch, const struct message *m, uint64_t *sum)
{
	const struct str all[] = {m->thread, m->mid, m->user, m->role, m->name, m->content, m->metadata};
	struct buf b;

	buf_init(&b, scratch, SCRATCH);
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		part(&b, all[i]);
	buf_i64(&b, m->time_us);
	*sum = hash64(buf_slice(&b));
	return b.err;
}

/* ---------------------------------------------------------------- walking */

enum err copy_walk_begin(struct copy_walk *w, struct store *s, const struct principal *who, bool values, bool sums,
			 struct str after_ns, struct str after_key)
{
	*w = (struct copy_walk){.s = s, .who = who, .values = values, .sums = sums, .cap = values ? COPY_PAGE : 4 * COPY_PAGE};
	arena_init(&w->a, ROOM);
	arena_init(&w->scratch, 2 * SCRATCH);
	w->end = s == NULL;
	if (after_ns.n)
		memcpy(w->ns, after_ns.p, after_ns.n);
	if (after_key.n)
		memcpy(w->key, after_key.p, after_key.n);
	w->ns_n = after_ns.n;
	w->key_n = after_key.n;
	w->v = calloc(w->cap, sizeof *w->v);
	return w->v ? OK : err_set(E_LIMIT, "out of memory");
}

void copy_walk_end(struct copy_walk *w)
{
	arena_release(&w->a);
	arena_release(&w->scratch);
	free(w->v);
}

static enum err keep(struct copy_walk *w, const struct item *it)
{
	struct copy_row *r = &w->v[w->n];

	if (it->ns.n > sizeof w->ns || it->key.n > sizeof w->key)
		return err_set(E_LIMIT, "an item has a name of more than %zu bytes; namespace %.*s", sizeof w->ns,
			       STR_ARG(str_sub(it->ns, 0, 100)));
	*r = (struct copy_row){.it = *it};
	if (w->sums) {
		arena_clear(&w->scratch);
		TRY(copy_item_sum(&w->scratch, it, &r->sum));
	}
	r->it.ns = arena_str(&w->a, it->ns);
	r->it.key = arena_str(&w->a, it->key);
	r->it.value = w->values ? arena_str(&w->a, it->value) : STR("");
	if (!r->it.ns.p || !r->it.key.p || !r->it.value.p)
		return E_NOMEM;
	copy_item_times(&r->it);
	w->bytes += it->value.n;
	w->n++;
	return OK;
}

static bool on_item(void *ctx, const struct item *it)
{
	struct copy_walk *w = ctx;

	w->err = keep(w, it);
	if (w->err != OK)
		w->diag = *diag_get();
	w->end = w->err == OK && w->n < w->cap && w->bytes < COPY_PAGE_BYTES; /* unless another one comes */
	return w->end;
}

static enum err next_page(struct copy_walk *w)
{
	w->n = w->at = w->bytes = 0;
	arena_clear(&w->a);
	w->end = true;
	TRY(w->s->ops->item_walk(w->s, w->who, STR(""), str_of(w->ns, w->ns_n), str_of(w->key, w->key_n), on_item, w));
	if (w->err != OK) {
		*diag_get() = w->diag;
		return w->err;
	}
	if (w->n == 0)
		return OK;
	const struct item *last = &w->v[w->n - 1].it;
	memcpy(w->ns, last->ns.p, last->ns.n);
	w->ns_n = last->ns.n;
	memcpy(w->key, last->key.p, last->key.n);
	w->key_n = last->key.n;
	return OK;
}

static enum err peek(struct copy_walk *w, struct copy_row **out)
{
	if (w->at == w->n && !w->end)
		TRY(next_page(w));
	*out = w->at < w->n ? &w->v[w->at] : NULL;
	return OK;
}

enum err copy_walk_next(struct copy_walk *w, struct copy_row **out)
{
	TRY(peek(w, out));
	w->at += *out != NULL;
	return OK;
}

enum err copy_walk_find(struct copy_walk *w, struct str ns, struct str key, int64_t *passed, struct copy_row **out)
{
	for (;;) {
		TRY(peek(w, out));
		if (!*out)
			return OK;
		int c = str_cmp((*out)->it.ns, ns);
		c = c ? c : str_cmp((*out)->it.key, key);
		if (c > 0) {
			*out = NULL;
			return OK;
		}
		w->at++;
		if (c == 0)
			return OK;
		++*passed;
	}
}
