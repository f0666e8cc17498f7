/* The in-memory store of the unit tests: see fake_store.h.
 *
 * Invariants
 *  1. Rows are immutable; a write puts a new row into the table of pointers. So a snapshot of the tables is a copy of the pointers,
 *     and an atomic write that fails puts the old pointers back.
 *  2. Every write appends to the tenant's change log; a document cursor is a length of that log.
 *  3. Everything lies in one arena until close; callbacks run under the mutex and must not call the store. */
#include "core/fake_impl.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"
#include "core/fake_store.h"

struct meta {
	struct str name, value;
};

struct fake *fake_of(const struct store *s)
{
	return CONTAINER(s, struct fake, base);
}

void fake_add(struct fake_table *t, const void *p)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 16;
		t->p = realloc(t->p, t->cap * sizeof *t->p);
		if (!t->p)
			abort();
	}
	t->p[t->n++] = p;
}

void fake_del(struct fake_table *t, size_t i)
{
	memmove(&t->p[i], &t->p[i + 1], (t->n - i - 1) * sizeof *t->p);
	t->n--;
}

struct fake_tenant *fake_enter(struct fake *f, const struct principal *who, enum err *e)
{
	struct fake_tenant *t = NULL;

	*e = principal_check(who, 0);
	if (*e != OK)
		return NULL;
	pthread_mutex_lock(&f->lock);
	if (f->fail_n > 0 && f->fail_after-- == 0) {
		f->fail_after = 0;
		f->fail_n--;
		pthread_mutex_unlock(&f->lock);
		*e = err_set(f->fail, "the store was told to fail");
		return NULL;
	}
	if (f->fail_tenant.n && str_eq(f->fail_tenant, who->tenant)) {
		pthread_mutex_unlock(&f->lock);
		*e = err_set(f->tenant_fail, "the store was told to fail for this tenant");
		return NULL;
	}
	for (size_t i = 0; i < f->n && !t; i++)
		if (str_eq(f->tenants[i].name, who->tenant))
			t = &f->tenants[i];
	if (!t && f->n < FAKE_TENANTS) {
		t = &f->tenants[f->n++];
		t->name = arena_str(&f->arena, who->tenant);
	}
	if (!t) {
		pthread_mutex_unlock(&f->lock);
		*e = err_set(E_LIMIT, "at most %d tenants", FAKE_TENANTS);
	}
	return t;
}

enum err fake_leave(struct fake *f, enum err e)
{
	pthread_mutex_unlock(&f->lock);
	return e;
}

int64_t fake_tick(struct fake *f)
{
	int64_t now = clock_wall_us();

	f->last_us = now > f->last_us ? now : f->last_us + 1;
	return f->last_us;
}

bool fake_below(struct str ns, struct str prefix)
{
	return prefix.n == 0 || (str_starts(ns, prefix) && (ns.n == prefix.n || ns.p[prefix.n] == '.'));
}

static bool expired(const struct item *it, int64_t before_us)
{
	return before_us > 0 && it->expires_us > 0 && it->expires_us < before_us;
}

static ptrdiff_t find_item(const struct fake_tenant *t, struct str ns, struct str key)
{
	for (size_t i = 0; i < t->items.n; i++) {
		const struct fake_row *r = t->items.p[i];

		if (str_eq(r->it.ns, ns) && str_eq(r->it.key, key))
			return (ptrdiff_t)i;
	}
	return -1;
}

void fake_log(struct fake *f, struct fake_tenant *t, enum doc_kind kind, int64_t id, struct str place, struct str lang_ns)
{
	struct fake_change *c = ARENA_NEW(&f->arena, struct fake_change);

	*c = (struct fake_change){kind, id, place, lang_ns};
	fake_add(&t->log, c);
}

static enum err copy_item(struct arena *a, const struct item *in, struct item *out)
{
	*out = *in;
	out->ns = arena_str(a, in->ns);
	out->key = arena_str(a, in->key);
	out->value = arena_str(a, in->value);
	return out->ns.p && out->key.p && out->value.p ? OK : E_NOMEM;
}

static void fake_close(struct store *s)
{
	struct fake *f = fake_of(s);

	for (size_t i = 0; i < f->n; i++) {
		free(f->tenants[i].items.p);
		free(f->tenants[i].messages.p);
		fake_threads_free(&f->tenants[i]);
		free(f->tenants[i].log.p);
		free(f->tenants[i].meta.p);
		free(f->tenants[i].vectors.p);
		free(f->tenants[i].facts.p);
	}
	arena_release(&f->arena);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static enum err fake_ping(struct store *s)
{
	struct fake *f = fake_of(s);
	enum err e = OK;

	pthread_mutex_lock(&f->lock);
	if (f->fail_n > 0) {
		f->fail_n--;
		e = err_set(f->fail, "the store was told to fail");
	}
	return fake_leave(f, e);
}

static enum err fake_item_get(struct store *s, struct arena *a, const struct principal *who, struct str ns, struct str key,
			      int64_t omit_expired_us, struct item *out, bool *found)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	ptrdiff_t i = find_item(t, ns, key);
	const struct fake_row *r = i >= 0 ? t->items.p[i] : NULL;

	*found = r && !expired(&r->it, omit_expired_us);
	return fake_leave(f, *found ? copy_item(a, &r->it, out) : OK);
}

static enum err condition(const struct item_write *w, const struct item *old)
{
	if (w->cond == IF_ABSENT && old)
		return err_kind(E_CONFLICT, ERR_PRECONDITION, "the item exists already");
	if (w->cond == IF_VERSION && (!old || old->version != w->if_version))
		return err_kind(E_CONFLICT, ERR_PRECONDITION, "the item is not at version %lld", (long long)w->if_version);
	return OK;
}

static void put_row(struct fake *f, struct fake_tenant *t, struct item_write *w, ptrdiff_t at)
{
	const struct fake_row *old = at >= 0 ? t->items.p[at] : NULL;
	struct fake_row *r = ARENA_NEW(&f->arena, struct fake_row);
	int64_t now = fake_tick(f);

	r->it.id = old ? old->it.id : ++t->last_id;
	r->it.ns = arena_str(&f->arena, w->ns);
	r->it.key = arena_str(&f->arena, w->key);
	r->it.value = arena_str(&f->arena, w->value);
	r->terms = arena_str(&f->arena, w->terms);
	r->it.created_us = w->created_us ? w->created_us : old ? old->it.created_us : w->updated_us ? w->updated_us : now;
	r->it.updated_us = w->updated_us ? w->updated_us : now;
	r->it.ttl_minutes = w->ttl_minutes;
	if (w->ttl_minutes > 0)
		r->it.expires_us = w->expires_us ? w->expires_us : r->it.updated_us + (int64_t)(w->ttl_minutes * 60e6);
	r->it.version = old ? old->it.version + 1 : 1;
	r->it.fact = w->fact != NULL;
	r->it.valid_from_us = w->fact ? w->fact->valid_from_us : FACT_NONE;
	r->it.valid_to_us = w->fact ? w->fact->valid_to_us : FACT_NONE;
	if (old && old->it.fact)
		fake_fact_retire(f, t, old, w->fact, old->it.key, r->it.updated_us);
	w->version = r->it.version;
	w->changed = true;
	if (old)
		t->items.p[at] = r;
	else
		fake_add(&t->items, r);
	fake_log(f, t, DOC_ITEM, r->it.id, r->it.ns, r->it.ns);
}

static enum err write_one(struct fake *f, struct fake_tenant *t, struct item_write *w)
{
	ptrdiff_t at = find_item(t, w->ns, w->key);
	const struct fake_row *old = at >= 0 ? t->items.p[at] : NULL;

	w->existed = old != NULL;
	w->changed = false;
	w->version = old ? old->it.version : 0;
	w->err = condition(w, old ? &old->it : NULL);
	if (w->err != OK)
		return w->err;
	switch (w->op) {
	case W_PUT:
		if (!(old && w->keep_newer && old->it.updated_us >= w->updated_us))
			put_row(f, t, w, at);
		break;
	case W_RETIRE:
		if (old)
			fake_fact_retire(f, t, old, w->fact, w->fact->by, w->updated_us ? w->updated_us : fake_tick(f));
		goto gone;
	case W_DELETE:
		w->forgot = fake_fact_forget(t, w->ns, w->key);
	gone:
		if (!old)
			break;
		fake_log(f, t, DOC_ITEM, old->it.id, old->it.ns, old->it.ns);
		fake_del(&t->items, (size_t)at);
		w->changed = true;
		break;
	case W_TOUCH:
		if (old && old->it.ttl_minutes > 0) {
			struct fake_row *r = ARENA_NEW(&f->arena, struct fake_row);

			*r = *old;
			r->it.expires_us = clock_wall_us() + (int64_t)(r->it.ttl_minutes * 60e6);
			t->items.p[at] = r;
			w->changed = true;
		}
		break;
	}
	return OK;
}

static enum err fake_item_write(struct store *s, const struct principal *who, struct item_write *w, size_t n, bool atomic)
{
	struct fake *f = fake_of(s);
	enum err e, first = OK;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	size_t had = t->items.n, logged = t->log.n, known = t->facts.n;
	const void **snapshot = malloc((had + 1) * sizeof *snapshot);

	const void **facts = malloc((known + 1) * sizeof *facts);

	if (!snapshot || !facts)
		abort();
	if (known)
		memcpy(facts, t->facts.p, known * sizeof *facts);
	if (had)
		memcpy(snapshot, t->items.p, had * sizeof *snapshot);
	f->write_calls++;
	for (size_t i = 0; i < n; i++) {
		f->writes++;
		e = write_one(f, t, &w[i]);
		if (e != OK && atomic) {
			first = e;
			t->items.n = had;
			if (had)
				memcpy(t->items.p, snapshot, had * sizeof *snapshot);
			t->log.n = logged;
			t->facts.n = known;
			if (known)
				memcpy(t->facts.p, facts, known * sizeof *facts);
			break;
		}
	}
	free(snapshot);
	free(facts);
	return fake_leave(f, first);
}

static int newest_first(const void *x, const void *y)
{
	const struct fake_row *a = *(const void *const *)x, *b = *(const void *const *)y;
	int c;

	if (a->it.updated_us != b->it.updated_us)
		return a->it.updated_us > b->it.updated_us ? -1 : 1;
	c = str_cmp(a->it.ns, b->it.ns);
	return c ? c : str_cmp(a->it.key, b->it.key);
}

static int by_name(const void *x, const void *y)
{
	const struct fake_row *a = *(const void *const *)x, *b = *(const void *const *)y;
	int c = str_cmp(a->it.ns, b->it.ns);

	return c ? c : str_cmp(a->it.key, b->it.key);
}

/* The rows below a prefix in the given order; free it. */
static struct fake_table sorted(const struct fake_tenant *t, struct str prefix, int (*cmp)(const void *, const void *))
{
	struct fake_table out = {0};

	for (size_t i = 0; i < t->items.n; i++)
		if (fake_below(((const struct fake_row *)t->items.p[i])->it.ns, prefix))
			fake_add(&out, t->items.p[i]);
	if (out.n)
		qsort(out.p, out.n, sizeof *out.p, cmp);
	return out;
}

static enum err fake_item_scan(struct store *s, const struct principal *who, struct str prefix, int64_t omit_expired_us,
			       const struct scan_hint *hint, item_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	struct fake_table rows = sorted(t, prefix, newest_first);

	for (size_t i = 0; i < rows.n; i++) {
		const struct fake_row *r = rows.p[i];

		if (!expired(&r->it, omit_expired_us) && !fn(ctx, &r->it))
			break;
	}
	free(rows.p);
	return fake_leave(f, OK);
}

static enum err fake_item_walk(struct store *s, const struct principal *who, struct str prefix, struct str after_ns,
			       struct str after_key, item_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	struct fake_table rows = sorted(t, prefix, by_name);

	for (size_t i = 0; i < rows.n; i++) {
		const struct fake_row *r = rows.p[i];
		int c = str_cmp(r->it.ns, after_ns);

		if (c < 0 || (c == 0 && str_cmp(r->it.key, after_key) <= 0))
			continue;
		if (!fn(ctx, &r->it))
			break;
	}
	free(rows.p);
	return fake_leave(f, OK);
}

static enum err fake_item_by_id(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
				struct item *out)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	for (size_t i = 0; i < n && e == OK; i++) {
		out[i] = (struct item){0};
		for (size_t j = 0; j < t->items.n && e == OK; j++) {
			const struct fake_row *r = t->items.p[j];

			if (r->it.id == ids[i])
				e = copy_item(a, &r->it, &out[i]);
		}
	}
	return fake_leave(f, e);
}

static enum err fake_namespaces(struct store *s, const struct principal *who, struct str prefix, name_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	struct str last = {0};

	if (!t)
		return e;
	struct fake_table rows = sorted(t, prefix, by_name);

	for (size_t i = 0; i < rows.n; i++) {
		const struct fake_row *r = rows.p[i];

		if (last.p && str_eq(last, r->it.ns))
			continue;
		last = r->it.ns;
		if (!fn(ctx, last))
			break;
	}
	free(rows.p);
	return fake_leave(f, OK);
}

static enum err fake_sweep(struct store *s, int64_t now_us, unsigned max, unsigned *removed, int64_t *next_us)
{
	struct fake *f = fake_of(s);

	*removed = 0;
	*next_us = 0;
	pthread_mutex_lock(&f->lock);
	if (f->sweep_fail != OK) {
		enum err e = err_set(f->sweep_fail, "the store was told to fail");

		f->sweep_fail = OK;
		return fake_leave(f, e);
	}
	for (size_t k = 0; k < f->n; k++) {
		struct fake_tenant *t = &f->tenants[k];

		for (size_t i = 0; i < t->items.n;) {
			const struct fake_row *r = t->items.p[i];

			if (r->it.expires_us > 0 && r->it.expires_us < now_us && *removed < max) {
				fake_log(f, t, DOC_ITEM, r->it.id, r->it.ns, r->it.ns);
				fake_del(&t->items, i);
				++*removed;
				continue;
			}
			if (r->it.expires_us > 0 && (*next_us == 0 || r->it.expires_us < *next_us))
				*next_us = r->it.expires_us;
			i++;
		}
	}
	return fake_leave(f, OK);
}

/* ------------------------------------------------- statistics, keys, meta */

static enum err fake_stats(struct store *s, const struct principal *who, struct store_stats *out)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct str last = {0};
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	*out = (struct store_stats){
		.items = (int64_t)t->items.n, .threads = (int64_t)t->threads.n, .messages = (int64_t)t->messages.n};
	struct fake_table rows = sorted(t, (struct str){0}, by_name);

	for (size_t i = 0; i < rows.n; i++) {
		const struct fake_row *r = rows.p[i];

		out->expiring += r->it.expires_us > 0;
		out->bytes_data += (int64_t)(r->it.value.n + r->terms.n);
		if (!last.p || !str_eq(last, r->it.ns))
			out->namespaces++;
		last = r->it.ns;
	}
	free(rows.p);
	for (size_t i = 0; i < t->threads.n; i++) {
		const struct fake_thread *th = t->threads.p[i];

		out->checkpoints += (int64_t)th->checkpoints.n;
		out->entries += (int64_t)th->entries.n;
	}
	return fake_leave(f, OK);
}

static enum err fake_tenants(struct store *s, name_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	struct str names[FAKE_TENANTS];
	size_t n;

	pthread_mutex_lock(&f->lock);
	n = f->n;
	for (size_t i = 0; i < n; i++)
		names[i] = f->tenants[i].name;
	pthread_mutex_unlock(&f->lock);
	for (size_t i = 0; i < n; i++)
		if (!fn(ctx, names[i]))
			break;
	return OK;
}

static enum err fake_key_put(struct store *s, const struct key_record *k)
{
	struct fake *f = fake_of(s);
	size_t i = 0;

	pthread_mutex_lock(&f->lock);
	while (i < f->keys_n && !str_eq(f->keys[i].id, k->id))
		i++;
	if (i == FAKE_KEYS)
		return fake_leave(f, err_set(E_LIMIT, "at most %d keys", FAKE_KEYS));
	if (i == f->keys_n)
		f->keys_n++;
	f->keys[i] = *k;
	f->keys[i].id = arena_str(&f->arena, k->id);
	f->keys[i].name = arena_str(&f->arena, k->name);
	f->keys[i].tenant = arena_str(&f->arena, k->tenant);
	f->keys[i].user = arena_str(&f->arena, k->user);
	return fake_leave(f, OK);
}

static enum err fake_key_get(struct store *s, struct arena *a, struct str id, struct key_record *out, bool *found)
{
	struct fake *f = fake_of(s);

	*found = false;
	pthread_mutex_lock(&f->lock);
	for (size_t i = 0; i < f->keys_n && !*found; i++)
		if (str_eq(f->keys[i].id, id)) {
			*found = true;
			*out = f->keys[i];
		}
	return fake_leave(f, OK);
}

static enum err fake_key_list(struct store *s, key_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);

	for (size_t i = 0; i < f->keys_n; i++)
		if (!fn(ctx, &f->keys[i]))
			break;
	return OK;
}

static enum err fake_meta_get(struct store *s, struct arena *a, const struct principal *who, struct str name, struct str *out,
			      bool *found)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	*found = false;
	for (size_t i = 0; i < t->meta.n; i++) {
		const struct meta *m = t->meta.p[i];

		if (str_eq(m->name, name)) {
			*found = true;
			*out = arena_str(a, m->value);
		}
	}
	return fake_leave(f, OK);
}

void fake_value_drop_named(struct fake_tenant *t, struct str name)
{
	for (size_t i = 0; i < t->meta.n; i++)
		if (str_eq(((const struct meta *)t->meta.p[i])->name, name))
			fake_del(&t->meta, i--);
}

static enum err fake_meta_put(struct store *s, const struct principal *who, struct str name, struct str value)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	fake_value_drop_named(t, name);
	if (value.n > 0) {
		struct meta *m = ARENA_NEW(&f->arena, struct meta);

		*m = (struct meta){arena_str(&f->arena, name), arena_str(&f->arena, value)};
		fake_add(&t->meta, m);
	}
	return fake_leave(f, OK);
}

void fake_value_drop(struct fake_tenant *t, struct str thread)
{
	const struct str prefix = STR(META_OF_THREAD);

	for (size_t i = 0; i < t->meta.n; i++) {
		struct str name = ((const struct meta *)t->meta.p[i])->name;

		if (str_starts(name, prefix) && str_eq(str_sub(name, prefix.n, name.n), thread))
			fake_del(&t->meta, i--);
	}
}

static enum err fake_meta_walk(struct store *s, const struct principal *who, struct str prefix, struct str after, size_t limit,
			       value_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	for (size_t given = 0; given < limit; given++) {
		const struct meta *next = NULL;

		for (size_t i = 0; i < t->meta.n; i++) {
			const struct meta *m = t->meta.p[i];

			if (str_starts(m->name, prefix) && str_cmp(m->name, after) > 0 &&
			    (!next || str_cmp(m->name, next->name) < 0))
				next = m;
		}
		if (!next || !fn(ctx, next->name, next->value))
			break;
		after = next->name;
	}
	return fake_leave(f, OK);
}

static const struct store_ops fake_ops = {
	.name = "fake",
	.close = fake_close,
	.ping = fake_ping,
	.item_get = fake_item_get,
	.item_write = fake_item_write,
	.item_scan = fake_item_scan,
	.item_walk = fake_item_walk,
	.item_by_id = fake_item_by_id,
	.namespaces = fake_namespaces,
	.sweep = fake_sweep,
	.doc_scan = fake_doc_scan,
	.doc_changes = fake_doc_changes,
	.vector_put = fake_vector_put,
	.doc_walk = fake_doc_walk,
	.vector_get = fake_vector_get,
	.doc_lacking = fake_doc_lacking,
	.vector_models = fake_vector_models,
	.vector_drop = fake_vector_drop,
	.message_append = fake_message_append,
	.message_list = fake_message_list,
	.message_by_id = fake_message_by_id,
	.thread_list = fake_thread_list,
	.threads = &fake_thread_ops,
	.checkpoints = &fake_checkpoint_ops,
	.facts = &fake_fact_ops,
	.stats = fake_stats,
	.tenants = fake_tenants,
	.key_put = fake_key_put,
	.key_get = fake_key_get,
	.key_list = fake_key_list,
	.meta_get = fake_meta_get,
	.meta_put = fake_meta_put,
	.meta_walk = fake_meta_walk,
};

struct store *fake_store_new(void)
{
	struct fake *f = calloc(1, sizeof *f);

	if (!f)
		abort();
	f->ops = fake_ops;
	f->base.ops = &f->ops;
	pthread_mutex_init(&f->lock, NULL);
	arena_init(&f->arena, (size_t)1 << 30);
	return &f->base;
}

void fake_store_fail(struct store *s, enum err e, unsigned n)
{
	struct fake *f = fake_of(s);

	pthread_mutex_lock(&f->lock);
	f->fail = e;
	f->fail_n = n;
	pthread_mutex_unlock(&f->lock);
}

void fake_store_fail_after(struct store *s, enum err e, unsigned calls)
{
	struct fake *f = fake_of(s);

	pthread_mutex_lock(&f->lock);
	f->fail = e;
	f->fail_n = 1;
	f->fail_after = calls;
	pthread_mutex_unlock(&f->lock);
}

void fake_store_fail_tenant(struct store *s, struct str tenant, enum err e)
{
	struct fake *f = fake_of(s);

	pthread_mutex_lock(&f->lock);
	f->tenant_fail = e;
	f->fail_tenant = e == OK ? STR("") : arena_str(&f->arena, tenant);
	pthread_mutex_unlock(&f->lock);
}

void fake_store_fail_sweep(struct store *s, enum err e)
{
	struct fake *f = fake_of(s);

	pthread_mutex_lock(&f->lock);
	f->sweep_fail = e;
	pthread_mutex_unlock(&f->lock);
}

void fake_store_keeps(struct store *s)
{
	fake_of(s)->ops.doc_keep = fake_doc_keep;
}

unsigned fake_store_kept(const struct store *s)
{
	return fake_of(s)->kept;
}

unsigned fake_store_write_calls(const struct store *s)
{
	return fake_of(s)->write_calls;
}

unsigned fake_store_writes(const struct store *s)
{
	return fake_of(s)->writes;
}
