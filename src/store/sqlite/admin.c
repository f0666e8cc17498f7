/* Keys, small values, tenants, statistics, readiness, metrics. */
#include "store/sqlite/sq.h"

#include <sys/stat.h>

#include "rt/fiber.h"
#include "rt/work.h"

/* ---------------------------------------------------------------- keys */

static enum err key_columns(struct conn *c, sqlite3_stmt *st, struct key_record *k)
{
	struct str hash = col_str(st, 1);
	*k = (struct key_record){.id = col_str(st, 0),
				 .name = col_str(st, 2),
				 .tenant = col_str(st, 3),
				 .user = col_str(st, 4),
				 .rights = (unsigned)col_i64(st, 5),
				 .created_us = col_i64(st, 6),
				 .expires_us = col_i64(st, 7),
				 .revoked_us = col_i64(st, 8),
				 .used_us = col_i64(st, 9)};
	if (hash.n != sizeof k->hash)
		return err_set(E_CORRUPT, "%s has a key with a hash of %zu bytes", c->t->base, hash.n);
	memcpy(k->hash, hash.p, sizeof k->hash);
	return OK;
}

static enum err key_get(struct conn *c, struct arena *a, struct str id, struct key_record *out, bool *found)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_KEY_GET, &e);
	if (!st)
		return e;
	bind_str(st, 1, id);
	TRY(conn_step(c, st, found));
	if (!*found)
		return OK;
	CHECK(key_columns(c, st, out));
	struct str *const all[] = {&out->id, &out->name, &out->tenant, &out->user};
	for (unsigned i = 0; i < sizeof all / sizeof *all && e == OK; i++) {
		*all[i] = arena_str(a, *all[i]);
		e = all[i]->p ? OK : E_NOMEM;
	}
out:
	sqlite3_reset(st);
	return e;
}

enum err sq_key_get(struct store *s, struct arena *a, struct str id, struct key_record *out, bool *found)
{
	struct sq *q = sq_of(s);
	struct reader *r;
	struct conn *c;
	bool absent;
	*found = false;
	TRY(tenant_ready(q->keys, false, &absent));
	if (absent)
		return OK;
	TRY(reader_begin(q, q->keys, fiber_deadline(), &r, &c));
	return reader_end(q, r, c, key_get(c, a, id, out, found));
}

static enum err key_list(struct conn *c, key_fn fn, void *ctx)
{
	enum err e;
	bool row;
	struct key_record k;
	sqlite3_stmt *st = conn_stmt(c, ST_KEY_LIST, &e);
	if (!st)
		return e;
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		e = key_columns(c, st, &k);
		if (e != OK || !fn(ctx, &k))
			break;
	}
	sqlite3_reset(st);
	return e;
}

enum err sq_key_list(struct store *s, key_fn fn, void *ctx)
{
	struct sq *q = sq_of(s);
	struct reader *r;
	struct conn *c;
	bool absent;
	TRY(tenant_ready(q->keys, false, &absent));
	if (absent)
		return OK;
	TRY(reader_begin(q, q->keys, fiber_deadline(), &r, &c));
	return reader_end(q, r, c, key_list(c, fn, ctx));
}

/* ---------------------------------------------------------------- small values */

static enum err value_get(struct conn *c, struct arena *a, struct str name, struct str *out, bool *found)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_VALUE_GET, &e);
	if (!st)
		return e;
	bind_str(st, 1, name);
	TRY(conn_step(c, st, found));
	if (!*found)
		return OK;
	*out = arena_str(a, col_str(st, 0));
	sqlite3_reset(st);
	return out->p ? OK : E_NOMEM;
}

enum err sq_meta_get(struct store *s, struct arena *a, const struct principal *who, struct str name, struct str *out, bool *found)
{
	struct sq *q = sq_of(s);
	struct tenant *t;
	struct reader *r;
	struct conn *c;
	*found = false;
	*out = STR("");
	TRY(tenant_get(q, who, RIGHT_READ, false, &t));
	if (!t)
		return OK;
	TRY(reader_begin(q, t, fiber_deadline(), &r, &c));
	return reader_end(q, r, c, value_get(c, a, name, out, found));
}

/* The names below a prefix end before the one whose last byte is the next. */
static enum err value_walk(struct conn *c, struct str after, struct str end, size_t limit, value_fn fn, void *ctx)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_VALUE_WALK, &e);
	if (!st)
		return e;
	bind_str(st, 1, after);
	bind_str(st, 2, end);
	sqlite3_bind_int64(st, 3, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		if (!fn(ctx, col_str(st, 0), col_str(st, 1)))
			break;
	}
	sqlite3_reset(st);
	return OK;
}

enum err sq_meta_walk(struct store *s, const struct principal *who, struct str prefix, struct str after, size_t limit, value_fn fn,
		      void *ctx)
{
	struct sq *q = sq_of(s);
	struct tenant *t;
	struct reader *r;
	struct conn *c;
	char end[64];
	TRY(tenant_get(q, who, RIGHT_READ, false, &t));
	if (prefix.n == 0 || prefix.n > sizeof end)
		return err_set(E_INTERNAL, "small values are walked by a prefix of 1..%zu bytes", sizeof end);
	if (!t)
		return OK;
	memcpy(end, prefix.p, prefix.n);
	end[prefix.n - 1]++;
	TRY(reader_begin(q, t, fiber_deadline(), &r, &c));
	return reader_end(q, r, c, value_walk(c, after.n ? after : prefix, str_of(end, prefix.n), limit, fn, ctx));
}

/* ---------------------------------------------------------------- tenants */

static int by_name(const void *a, const void *b)
{
	const struct tenant *const *x = a, *const *y = b;
	return strcmp((*x)->name, (*y)->name);
}

enum err sq_tenants(struct store *s, name_fn fn, void *ctx)
{
	size_t n;
	struct tenant **all = tenants_all(sq_of(s), &n);
	if (n)
		qsort(all, n, sizeof *all, by_name);
	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&all[i]->mu);
		int state = atomic_load(&all[i]->state);
		bool there = state != T_ABSENT && !(state == T_OPENING && all[i]->creating);
		pthread_mutex_unlock(&all[i]->mu);
		if (there && !fn(ctx, str_c(all[i]->name)))
			break;
	}
	free(all);
	return OK;
}

/* ---------------------------------------------------------------- figures */

struct figures {
	struct sq *s;
	struct tenant *t;
	uint64_t deadline;
	struct store_stats *out;
};

static enum err count(struct conn *c, struct store_stats *out)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_STATS, &e);
	if (!st)
		return e;
	TRY(conn_step(c, st, &row));
	if (!row)
		return err_set(E_INTERNAL, "counting gave no row");
	out->items = col_i64(st, 0);
	out->namespaces = col_i64(st, 1);
	out->threads = col_i64(st, 2);
	out->messages = col_i64(st, 3);
	out->expiring = col_i64(st, 4);
	out->checkpoints = col_i64(st, 5);
	out->entries = col_i64(st, 6);
	out->texts = col_i64(st, 7);
	sqlite3_reset(st);
	return OK;
}

static int64_t file_size(const char *path, const char *tail)
{
	char *name;
	struct stat st;
	int64_t n = 0;
	if (asprintf(&name, "%s%s", path, tail) < 0)
		return 0;
	if (stat(name, &st) == 0)
		n = st.st_size;
	free(name);
	return n;
}

static enum err stats_task(void *arg)
{
	struct figures *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	x->out->bytes_data = file_size(x->t->path, "");
	x->out->bytes_wal = file_size(x->t->path, "-wal");
	return reader_end(x->s, r, c, count(c, x->out));
}

enum err sq_stats(struct store *s, const struct principal *who, struct store_stats *out)
{
	struct figures x = {.s = sq_of(s), .deadline = fiber_deadline(), .out = out};
	*out = (struct store_stats){0};
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	out->queue_depth = atomic_load(&x.s->q_waiting);
	return x.t ? work_run(stats_task, &x) : OK;
}

/* A failure is forgotten after some seconds, so that a server that is sent no writes because it is not ready becomes ready again.
 */
enum err sq_ping(struct store *s)
{
	struct sq *q = sq_of(s);
	enum err e = OK;
	if (atomic_load(&q->q_waiting) >= q->queue_max)
		return err_set(E_BUSY, "%u writes are waiting for the disk", q->queue_max);
	pthread_mutex_lock(&q->fail_mu);
	if (q->fail_ns && clock_mono_ns() - q->fail_ns < 5000000000u) {
		e = q->fail;
		*diag_get() = q->fail_diag;
	}
	pthread_mutex_unlock(&q->fail_mu);
	return e;
}

static void figure(struct buf *out, const char *name, const char *type, const char *help, double v)
{
	buf_printf(out, "# HELP cenote_sqlite_%s %s\n# TYPE cenote_sqlite_%s %s\ncenote_sqlite_%s %.15g\n", name, help, name, type,
		   name, v);
}

void sq_metrics(struct store *s, struct buf *out)
{
	struct sq *q = sq_of(s);
	pthread_mutex_lock(&q->rmu);
	unsigned readers = q->readers_n;
	pthread_mutex_unlock(&q->rmu);
	figure(out, "commits_total", "counter", "Transactions committed; each is one sync of the log.", (double)q->n_commits);
	figure(out, "commit_seconds_total", "counter", "Time that transactions took, syncs included.", (double)q->commit_us / 1e6);
	figure(out, "write_calls_total", "counter", "Write calls that the writer has taken.", (double)q->n_ops);
	figure(out, "failed_transactions_total", "counter", "Transactions that failed on the disk.", (double)q->n_failed);
	figure(out, "withdrawn_writes_total", "counter", "Writes whose deadline passed before the writer took them.",
	       (double)q->n_withdrawn);
	figure(out, "checkpoints_total", "counter", "Checkpoints of the write-ahead logs.", (double)q->n_checkpoints);
	figure(out, "checkpoint_seconds_total", "counter", "Time that checkpoints took.", (double)q->ckpt_us / 1e6);
	figure(out, "queued_writes", "gauge", "Writes that wait for the writer.", atomic_load(&q->q_waiting));
	figure(out, "readers", "gauge", "Read connections' owners that exist.", readers);
}
