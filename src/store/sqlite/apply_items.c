/* What writes of items do, inside the writer's transaction. */
#include "store/sqlite/sq.h"

struct found {
	bool row;
	int64_t id, version, created_us, updated_us;
	double ttl_minutes;
};

static enum err find(struct conn *c, const struct feed_name *ns, struct str key, struct found *f)
{
	enum err e;
	*f = (struct found){0};
	sqlite3_stmt *st = conn_stmt(c, ST_ITEM_FIND, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, ns->id);
	bind_str(st, 2, key);
	TRY(conn_step(c, st, &f->row));
	if (!f->row)
		return OK;
	f->id = col_i64(st, 0);
	f->version = col_i64(st, 1);
	f->created_us = col_i64(st, 2);
	f->updated_us = col_i64(st, 3);
	f->ttl_minutes = sqlite3_column_double(st, 4);
	sqlite3_reset(st);
	return OK;
}

/* Time of expiry; 0 without a ttl, and never so far away that it overflows. */
static int64_t expiry(int64_t from_us, double ttl_minutes)
{
	if (!(ttl_minutes > 0))
		return 0;
	double us = ttl_minutes * 60e6, most = 4e18 - (double)from_us;
	int64_t at = from_us + (int64_t)(us < most ? us : most);
	return at > 0 ? at : 1;
}

static void expires_at(struct writer *w, int64_t us)
{
	if (us > 0 && (w->min_expires == 0 || us < w->min_expires))
		w->min_expires = us;
}

static enum err put(struct writer *w, struct conn *c, struct feed_name *ns, const struct found *f, struct item_write *x)
{
	enum err e;
	int64_t now = clock_unique_us(), updated = x->updated_us ? x->updated_us : now;
	if (f->row && x->keep_newer && f->updated_us >= updated)
		return OK;
	int64_t created = x->created_us ? x->created_us : f->row ? f->created_us : updated < now ? updated : now;
	int64_t expires = x->expires_us ? x->expires_us : expiry(updated, x->ttl_minutes);
	enum stmt which = f->row ? ST_ITEM_SET : ST_ITEM_ADD;
	if (f->row)
		TRY(fact_retire(c, f->id, updated, x->fact, false));
	sqlite3_stmt *st = conn_stmt(c, which, &e);
	if (!st)
		return e;
	int64_t id = f->row ? f->id : c->t->next_item++;
	x->version = f->version + 1;
	sqlite3_bind_int64(st, 1, id);
	if (f->row)
		sqlite3_bind_int64(st, 2, x->version);
	sqlite3_bind_int64(st, 3, created);
	sqlite3_bind_int64(st, 4, updated);
	sqlite3_bind_double(st, 5, x->ttl_minutes > 0 ? x->ttl_minutes : 0);
	sqlite3_bind_int64(st, 6, expires);
	bind_bytes(st, 7, x->terms);
	bind_str(st, 8, x->value);
	if (!f->row) {
		sqlite3_bind_int64(st, 9, ns->id);
		bind_str(st, 10, x->key);
	}
	if (x->fact)
		sqlite3_bind_int64(st, 11, 1);
	else
		sqlite3_bind_null(st, 11);
	fact_bind_time(st, 12, x->fact ? x->fact->valid_from_us : FACT_NONE);
	fact_bind_time(st, 13, x->fact ? x->fact->valid_to_us : FACT_NONE);
	TRY(conn_run(c, which));
	if (x->fact)
		TRY(fact_added(c, ns->id, x->key));
	if (f->row && x->terms.n == 0)
		TRY(vectors_removed(c, DOC_ITEM, id));
	x->changed = true;
	expires_at(w, expires);
	return writer_changed(w, id, false, x->terms.n == 0, ns);
}

static enum err del(struct writer *w, struct conn *c, struct feed_name *ns, const struct found *f, struct item_write *x)
{
	enum err e;
	if (!f->row)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_ITEM_DEL, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, f->id);
	TRY(conn_run(c, ST_ITEM_DEL));
	TRY(vectors_removed(c, DOC_ITEM, f->id));
	x->changed = true;
	x->version = 0;
	return writer_changed(w, f->id, false, true, ns);
}

/* Deletes a key: the item, and what was known before. */
static enum err forget(struct writer *w, struct conn *c, struct feed_name *ns, const struct found *f, struct item_write *x)
{
	TRY(fact_forget(c, ns->id, x->key, &x->forgot));
	return del(w, c, ns, f, x);
}

static enum err retire(struct writer *w, struct conn *c, struct feed_name *ns, const struct found *f, struct item_write *x)
{
	if (!f->row)
		return OK;
	TRY(fact_retire(c, f->id, x->updated_us ? x->updated_us : clock_unique_us(), x->fact, true));
	TRY(fact_added(c, ns->id, x->key));
	return del(w, c, ns, f, x);
}

static enum err touch(struct writer *w, struct conn *c, const struct found *f, struct item_write *x)
{
	enum err e;
	if (!f->row || !(f->ttl_minutes > 0))
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_ITEM_TOUCH, &e);
	if (!st)
		return e;
	int64_t expires = expiry(clock_unique_us(), f->ttl_minutes);
	sqlite3_bind_int64(st, 1, f->id);
	sqlite3_bind_int64(st, 2, expires);
	TRY(conn_run(c, ST_ITEM_TOUCH));
	x->changed = true;
	expires_at(w, expires);
	return OK;
}

static bool holds(const struct item_write *x, const struct found *f)
{
	switch (x->cond) {
	case IF_ABSENT:
		return !f->row;
	case IF_VERSION:
		return f->row && f->version == x->if_version;
	default:
		return true;
	}
}

/* One write. A condition that does not hold is x->err, not an error of the call. */
static enum err one(struct writer *w, struct conn *c, struct item_write *x)
{
	struct feed_name *ns;
	struct found f = {0};
	x->err = OK;
	x->existed = x->changed = x->forgot = false;
	x->version = 0;
	TRY(writer_ns(w, c, x->ns, x->op == W_PUT && x->cond != IF_VERSION, &ns));
	if (ns)
		TRY(find(c, ns, x->key, &f));
	x->existed = f.row;
	x->version = f.version;
	if (!holds(x, &f)) {
		x->err = f.row ? err_kind(E_CONFLICT, ERR_PRECONDITION, "the item exists in version %lld", (long long)f.version)
			       : err_kind(E_CONFLICT, ERR_PRECONDITION, "the item does not exist");
		return OK;
	}
	if (!ns)
		return OK;
	switch (x->op) {
	case W_PUT:
		return put(w, c, ns, &f, x);
	case W_DELETE:
		return forget(w, c, ns, &f, x);
	case W_RETIRE:
		return retire(w, c, ns, &f, x);
	default:
		return touch(w, c, &f, x);
	}
}

enum err apply_items(struct writer *w, struct conn *c, struct wop *op)
{
	struct items_arg *a = op->arg;
	size_t mark = w->pend_n;
	bool save = a->atomic && a->n > 1;
	int64_t min_expires = w->min_expires;
	if (save)
		TRY(conn_run(c, ST_SAVEPOINT));
	for (size_t i = 0; i < a->n; i++) {
		enum err e = one(w, c, &a->w[i]);
		if (e != OK) { /* half an op is in the transaction: it cannot be kept */
			c->failed = true;
			return e;
		}
		if (a->w[i].err == OK || !a->atomic)
			continue;
		struct diag d = *diag_get();
		if (save) {
			TRY(conn_run(c, ST_SAVEPOINT_UNDO));
			TRY(conn_run(c, ST_SAVEPOINT_END));
			writer_undo(w, c->t, mark);
			w->min_expires = min_expires;
		}
		for (size_t k = 0; k < a->n; k++)
			a->w[k].changed = false;
		*diag_get() = d;
		return a->w[i].err;
	}
	return save ? conn_run(c, ST_SAVEPOINT_END) : OK;
}

enum err apply_sweep(struct writer *w, struct conn *c, struct wop *op)
{
	struct sweep_arg *a = op->arg;
	enum err e = OK;
	bool row;
	a->removed = 0;
	a->next_us = 0;
	while (a->removed < a->max) {
		struct feed_name *ns = NULL;
		sqlite3_stmt *st = conn_stmt(c, ST_EXPIRED, &e);
		if (!st)
			return e;
		sqlite3_bind_int64(st, 1, a->now_us);
		TRY(conn_step(c, st, &row));
		if (!row)
			break;
		int64_t id = col_i64(st, 0);
		e = writer_ns(w, c, col_str(st, 2), false, &ns);
		sqlite3_reset(st);
		if (e == OK && ns)
			e = fact_forget_of(c, id);
		if (e == OK && ns && (st = conn_stmt(c, ST_ITEM_DEL, &e)) != NULL) {
			sqlite3_bind_int64(st, 1, id);
			e = conn_run(c, ST_ITEM_DEL);
		}
		if (e == OK && ns)
			e = vectors_removed(c, DOC_ITEM, id);
		if (e == OK && ns)
			e = writer_changed(w, id, false, true, ns);
		if (e != OK || !ns) {
			c->failed = true;
			return e != OK ? e : err_set(E_CORRUPT, "%s has an item without a namespace", c->t->base);
		}
		a->removed++;
	}
	TRY(fact_sweep(c, a->now_us, a->max));
	sqlite3_stmt *st = conn_stmt(c, ST_EXPIRES_MIN, &e);
	if (!st)
		return e;
	TRY(conn_step(c, st, &row));
	if (row) {
		a->next_us = col_i64(st, 0);
		sqlite3_reset(st);
	}
	w->swept = true;
	w->next_expires = a->next_us;
	return OK;
}
