/* The in-memory store's documents: scans, changes, walks, and their vectors.
 *
 * Invariant: a vector counts as long as its document is there and has terms; what is left of others is removed by the next put of
 * vectors. Ids are never given out again, so nothing can get another document's vector. */
#include <stdlib.h>

#include "core/fake_impl.h"

/* The document as it is now: of an item or message. */
struct doc {
	bool there;
	struct str terms, place, lang_ns;
	int64_t version;
};

static struct doc find(const struct fake_tenant *t, enum doc_kind kind, int64_t id)
{
	for (size_t i = 0; kind == DOC_ITEM && i < t->items.n; i++) {
		const struct fake_row *r = t->items.p[i];

		if (r->it.id == id)
			return (struct doc){true, r->terms, r->it.ns, r->it.ns, r->it.version};
	}
	for (size_t i = 0; kind == DOC_MESSAGE && i < t->messages.n; i++) {
		const struct message *m = t->messages.p[i];

		if (m->id == id)
			return (struct doc){true, m->terms, m->user, m->thread, 0};
	}
	return (struct doc){0};
}

static ptrdiff_t find_vector(const struct fake_tenant *t, struct str model, enum doc_kind kind, int64_t id)
{
	for (size_t i = 0; i < t->vectors.n; i++) {
		const struct fake_vector *x = t->vectors.p[i];

		if (x->v.id == id && x->kind == kind && str_eq(x->model, model))
			return (ptrdiff_t)i;
	}
	return -1;
}

/* The vector by the model comes along. */
static void add_vector(const struct fake_tenant *t, enum doc_kind kind, struct str model, struct doc_change *d)
{
	ptrdiff_t i = model.n && d->terms.n ? find_vector(t, model, kind, d->id) : -1;

	if (i < 0)
		return;
	d->vector = ((const struct fake_vector *)t->vectors.p[i])->v.data;
	d->mark = ((const struct fake_vector *)t->vectors.p[i])->v.mark;
}

static bool in_scope(const struct doc_scope *scope, enum doc_kind kind, struct str place)
{
	if (kind != scope->kind)
		return false;
	if (kind == DOC_ITEM)
		return fake_below(place, scope->prefix);
	return scope->every_user || str_eq(place, scope->prefix);
}

/* The newest state of the document that a change speaks of; false when it does not belong to the scope. */
static bool doc_state(const struct fake_tenant *t, const struct fake_change *c, const struct doc_scope *scope,
		      struct doc_change *out)
{
	struct doc now;

	if (!in_scope(scope, c->kind, c->place))
		return false;
	now = find(t, c->kind, c->id);
	*out = (struct doc_change){
		.id = c->id, .removed = !now.there, .lang_ns = c->lang_ns, .terms = now.terms, .version = now.version};
	add_vector(t, c->kind, scope->model, out);
	return true;
}

static enum err check_scope(const struct principal *who, const struct doc_scope *scope)
{
	if (scope->kind == DOC_MESSAGE && scope->every_user && who->user_bound)
		return err_set(E_DENIED, "this key may only read messages of its own user");
	return OK;
}

enum err fake_doc_changes(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor, doc_fn fn,
			  void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e = check_scope(who, scope);
	struct fake_tenant *t = e == OK ? fake_enter(f, who, &e) : NULL;

	if (!t)
		return e;
	for (size_t i = (size_t)*cursor; i < t->log.n; i++) {
		struct doc_change d;

		if (doc_state(t, t->log.p[i], scope, &d) && !fn(ctx, &d))
			return fake_leave(f, OK);
	}
	*cursor = t->log.n;
	return fake_leave(f, OK);
}

enum err fake_doc_scan(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor, doc_fn fn,
		       void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e = check_scope(who, scope);
	struct fake_tenant *t = e == OK ? fake_enter(f, who, &e) : NULL;
	bool go = true;

	if (!t)
		return e;
	for (size_t i = 0; go && scope->kind == DOC_ITEM && i < t->items.n; i++) {
		const struct fake_row *r = t->items.p[i];
		struct doc_change d = {.id = r->it.id, .terms = r->terms, .lang_ns = r->it.ns, .version = r->it.version};

		add_vector(t, DOC_ITEM, scope->model, &d);
		if (in_scope(scope, DOC_ITEM, r->it.ns))
			go = fn(ctx, &d);
	}
	for (size_t i = 0; go && scope->kind == DOC_MESSAGE && i < t->messages.n; i++) {
		const struct message *m = t->messages.p[i];
		struct doc_change d = {.id = m->id, .terms = m->terms, .lang_ns = m->thread};

		add_vector(t, DOC_MESSAGE, scope->model, &d);
		if (in_scope(scope, DOC_MESSAGE, m->user))
			go = fn(ctx, &d);
	}
	*cursor = t->log.n;
	return fake_leave(f, OK);
}

/* ------------------------------------------------------------------ walking */

static enum err check_background(const struct principal *who)
{
	return who->user_bound ? err_set(E_DENIED, "this key is bound to a user and may not work on everybody's vectors") : OK;
}

/* The smallest id of a document after `after`; 0: none. */
static int64_t next_id(const struct fake_tenant *t, enum doc_kind kind, int64_t after)
{
	int64_t best = 0;

	for (size_t i = 0; i < (kind == DOC_ITEM ? t->items.n : t->messages.n); i++) {
		const struct fake_row *r = kind == DOC_ITEM ? t->items.p[i] : NULL;
		const struct message *m = kind == DOC_ITEM ? NULL : t->messages.p[i];
		int64_t id = r ? r->it.id : m->id;

		if (id > after && (best == 0 || id < best) && (r ? r->terms.n : m->terms.n))
			best = id;
	}
	return best;
}

enum err fake_doc_walk(struct store *s, const struct principal *who, enum doc_kind kind, struct str model, int64_t after,
		       size_t limit, doc_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e = check_background(who);
	struct fake_tenant *t = e == OK ? fake_enter(f, who, &e) : NULL;

	if (!t)
		return e;
	for (size_t n = 0; n < limit; n++) {
		int64_t id = next_id(t, kind, after);
		struct doc now = find(t, kind, id);
		struct doc_change d = {.id = id, .terms = now.terms, .lang_ns = now.lang_ns, .version = now.version};

		if (id == 0)
			break;
		add_vector(t, kind, model, &d);
		if (!fn(ctx, &d))
			break;
		after = id;
	}
	return fake_leave(f, OK);
}

/* Documents that one call of doc_lacking looks at. */
#define LACK_STEP 16

enum err fake_doc_lacking(struct store *s, const struct principal *who, enum doc_kind kind, struct str model, struct doc_lack *at,
			  size_t limit, doc_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e = vector_call_check(who, RIGHT_READ, model, true);
	struct fake_tenant *t = e == OK ? fake_enter(f, who, &e) : NULL;
	size_t given = 0;

	at->looked = 0;
	at->end = true;
	if (!t)
		return e;
	while (given < limit && at->looked < LACK_STEP) {
		int64_t id = next_id(t, kind, at->after);
		struct doc now = find(t, kind, id);
		struct doc_change d = {.id = id, .terms = now.terms, .version = now.version};
		ptrdiff_t i = find_vector(t, model, kind, id);

		if (id == 0)
			return fake_leave(f, OK);
		at->after = id;
		at->looked++;
		d.has_vector = i >= 0;
		d.mark = i >= 0 ? ((const struct fake_vector *)t->vectors.p[i])->v.mark : 0;
		if (i >= 0 && d.mark == doc_mark(d.terms))
			continue;
		given++;
		if (!fn(ctx, &d))
			break;
	}
	at->end = next_id(t, kind, at->after) == 0;
	return fake_leave(f, OK);
}

/* ------------------------------------------------------------------ keeping */

static bool keep_item(struct fake *f, struct fake_tenant *t, const struct doc_kept *v)
{
	for (size_t i = 0; i < t->items.n; i++) {
		const struct fake_row *old = t->items.p[i];
		struct fake_row *r;

		if (old->it.id != v->id || old->it.version != v->version)
			continue;
		r = ARENA_NEW(&f->arena, struct fake_row);
		*r = *old;
		r->terms = arena_str(&f->arena, v->terms);
		t->items.p[i] = r;
		return true;
	}
	return false;
}

static bool keep_message(struct fake *f, struct fake_tenant *t, const struct doc_kept *v)
{
	for (size_t i = 0; i < t->messages.n; i++) {
		const struct message *old = t->messages.p[i];
		struct message *m;

		if (old->id != v->id)
			continue;
		m = ARENA_NEW(&f->arena, struct message);
		*m = *old;
		m->terms = arena_str(&f->arena, v->terms);
		t->messages.p[i] = m;
		return true;
	}
	return false;
}

enum err fake_doc_keep(struct store *s, const struct principal *who, enum doc_kind kind, const struct doc_kept *v, size_t n)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	for (size_t i = 0; i < n; i++)
		f->kept += kind == DOC_ITEM ? keep_item(f, t, &v[i]) : keep_message(f, t, &v[i]);
	return fake_leave(f, OK);
}

/* ------------------------------------------------------------------ vectors */

static bool counts(const struct fake_tenant *t, const struct fake_vector *x)
{
	return find(t, x->kind, x->v.id).terms.n > 0;
}

static void clean(struct fake_tenant *t)
{
	for (size_t i = 0; i < t->vectors.n;)
		if (counts(t, t->vectors.p[i]))
			i++;
		else
			fake_del(&t->vectors, i);
}

enum err fake_vector_put(struct store *s, const struct principal *who, enum doc_kind kind, struct str model,
			 const struct doc_vector *v, size_t n)
{
	struct fake *f = fake_of(s);
	enum err e = check_background(who);
	struct fake_tenant *t;

	if (e == OK && model.n == 0)
		e = err_set(E_INVALID, "vectors need the name of the model that made them");
	t = e == OK ? fake_enter(f, who, &e) : NULL;
	if (!t)
		return e;
	clean(t);
	for (size_t i = 0; i < n; i++) {
		struct doc now = find(t, kind, v[i].id);
		ptrdiff_t at = find_vector(t, model, kind, v[i].id);
		struct fake_vector *x;

		if (now.terms.n == 0)
			continue;
		x = ARENA_NEW(&f->arena, struct fake_vector);
		*x = (struct fake_vector){arena_str(&f->arena, model), kind, v[i]};
		x->v.data = arena_str(&f->arena, v[i].data);
		if (at >= 0)
			t->vectors.p[at] = x;
		else
			fake_add(&t->vectors, x);
		fake_log(f, t, kind, v[i].id, now.place, now.lang_ns);
	}
	return fake_leave(f, OK);
}

enum err fake_vector_get(struct store *s, struct arena *a, const struct principal *who, enum doc_kind kind, struct str model,
			 const int64_t *ids, size_t n, struct doc_vector *out)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	for (size_t i = 0; i < n; i++) {
		ptrdiff_t at = find_vector(t, model, kind, ids[i]);

		out[i] = (struct doc_vector){.id = ids[i], .data = STR("")};
		if (at < 0 || !counts(t, t->vectors.p[at]))
			continue;
		out[i] = ((const struct fake_vector *)t->vectors.p[at])->v;
		out[i].data = arena_str(a, out[i].data);
	}
	return fake_leave(f, OK);
}

enum err fake_vector_models(struct store *s, const struct principal *who, void (*fn)(void *ctx, struct str model, int64_t n),
			    void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	clean(t);
	for (size_t i = 0; i < t->vectors.n; i++) {
		struct str model = ((const struct fake_vector *)t->vectors.p[i])->model;
		int64_t n = 0;
		bool first = true;

		for (size_t k = 0; k < t->vectors.n; k++) {
			bool same = str_eq(((const struct fake_vector *)t->vectors.p[k])->model, model);

			first = first && !(same && k < i);
			n += same;
		}
		if (first)
			fn(ctx, model, n);
	}
	return fake_leave(f, OK);
}

enum err fake_vector_drop(struct store *s, const struct principal *who, struct str model, size_t max, bool *left)
{
	struct fake *f = fake_of(s);
	enum err e = check_background(who);
	struct fake_tenant *t = e == OK ? fake_enter(f, who, &e) : NULL;

	*left = false;
	if (!t)
		return e;
	for (size_t i = 0; i < t->vectors.n && !*left;) {
		if (!str_eq(((const struct fake_vector *)t->vectors.p[i])->model, model)) {
			i++;
			continue;
		}
		*left = max == 0;
		if (max > 0) {
			fake_del(&t->vectors, i);
			max--;
		}
	}
	return fake_leave(f, OK);
}
