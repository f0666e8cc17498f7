/* The writer: one thread, the only place where a store's files are written and checkpointed.
 *
 * It takes everything that is queued, groups it by tenant, runs each group as one transaction, and answers when COMMIT has synced
 * the log: this is where a put is made durable (transaction(), ST_END). While it commits, the next group gathers: no timer is
 * needed.
 *
 * Invariants
 *  1. Order at a commit: COMMIT, the tenant's seq, the change feed, the answers. (feed.c says why.)
 *  2. An op is answered OK only after its COMMIT returned SQLITE_OK; a transaction that failed is rolled back and all its ops get
 * the error, or - when the cause is one op's own, or a damaged page, which not all of them need - run again each alone.
 *  3. After an error of the disk the tenant is sick: frames of the failed transaction may lie in the log behind its valid end, and
 * a recovery would take them for committed. Before anything else is written the connection is replaced (its pages are not trusted;
 *     the new one is attached before the old one goes, so that the log's index in memory, which does not know those frames,
 * survives) and a transaction is committed over them (heal()).
 *  4. Only this thread checkpoints, with PASSIVE between groups and TRUNCATE when idle or closing. */
#include "store/sqlite/sq.h"

#include <assert.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define OPEN_MAX_FILES 16u
#define GROUP_WRITES 4096u
#define GROUP_BYTES (8u << 20)

/* ---------------------------------------------------------------- what a transaction notes */

static void ns_forget(struct tenant *t)
{
	size_t it = 0;
	struct str path;
	void *v;
	while (map_next(&t->ns_cache, &it, &path, &v))
		feed_name_drop(v);
	map_release(&t->ns_cache);
	map_init(&t->ns_cache);
}

enum err writer_ns(struct writer *w, struct conn *c, struct str path, bool create, struct feed_name **out)
{
	struct tenant *t = c->t;
	enum err e;
	bool row;
	*out = map_get(&t->ns_cache, path);
	if (*out)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_NS_ID, &e);
	if (!st)
		return e;
	bind_str(st, 1, path);
	TRY(conn_step(c, st, &row));
	int64_t id = row ? col_i64(st, 0) : 0;
	sqlite3_reset(st);
	if (!row) {
		if (!create)
			return OK;
		st = conn_stmt(c, ST_NS_ADD, &e);
		if (!st)
			return e;
		id = t->next_ns++;
		sqlite3_bind_int64(st, 1, id);
		bind_str(st, 2, path);
		TRY(conn_run(c, ST_NS_ADD));
	}
	if (t->ns_cache.count >= 65536)
		ns_forget(t);
	*out = feed_name_new(id, path, path);
	if (!*out || (e = map_put(&t->ns_cache, path, *out, NULL)) != OK) {
		feed_name_drop(*out);
		*out = NULL;
		c->failed = true;
		return err_set(E_LIMIT, "out of memory in the store");
	}
	return OK;
}

enum err writer_changed(struct writer *w, int64_t id, bool message, bool removed, struct feed_name *name)
{
	if (w->pend_n == w->pend_cap) {
		size_t cap = w->pend_cap ? w->pend_cap * 2 : 256;
		struct feed_entry *p = realloc(w->pend, cap * sizeof *p);
		if (!p)
			return err_set(E_LIMIT, "out of memory in the store");
		w->pend = p;
		w->pend_cap = cap;
	}
	if (w->record)
		feed_name_ref(name);
	w->pend[w->pend_n++] =
		(struct feed_entry){(uint64_t)id << 2 | (removed ? 2u : 0u) | (message ? 1u : 0u), w->record ? name : NULL};
	return OK;
}

void writer_undo(struct writer *w, struct tenant *t, size_t mark)
{
	while (w->pend_n > mark)
		feed_name_drop(w->pend[--w->pend_n].name);
	ns_forget(t);
	t->models_n = -1;
	t->facts = -1;
	chunk_cache_drop(t->s, t, 0);
}

/* ---------------------------------------------------------------- answers */

static void finish(struct wop *op, enum err e, const struct diag *d)
{
	op->err = e;
	if (e != OK)
		op->diag = *d;
	event_set(&op->ev);
}

static void finish_all(struct wop *list, enum err e, const struct diag *d)
{
	for (struct wop *next; list; list = next) {
		next = list->next;
		finish(list, e, d);
	}
}

static bool disk_error(enum err e)
{
	return e == E_IO || e == E_CORRUPT || e == E_BUSY || (e == E_LIMIT && diag_get()->kind == ERR_QUOTA);
}

static void note_failure(struct sq *s, const struct tenant *t, enum err e)
{
	LOG(LOG_ERROR, "store", "a transaction failed and was rolled back", LF_C("file", t->base), LF_C("why", diag_get()->text));
	s->n_failed++;
	pthread_mutex_lock(&s->fail_mu);
	s->fail = e;
	s->fail_diag = *diag_get();
	s->fail_ns = clock_mono_ns();
	pthread_mutex_unlock(&s->fail_mu);
}

static void note_success(struct sq *s)
{
	pthread_mutex_lock(&s->fail_mu);
	s->fail_ns = 0;
	pthread_mutex_unlock(&s->fail_mu);
}

/* ---------------------------------------------------------------- connections of the writer */

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct tenant *t = arg;
	(void)db;
	(void)name;
	if (pages < t->wal_pages) /* the log has begun anew */
		t->ckpt_at_pages = t->s->wal_limit_pages;
	t->wal_pages = pages;
	return SQLITE_OK;
}

static void at_least(int64_t *v, int64_t min)
{
	if (*v < min)
		*v = min;
}

/* When the next item or state of a fact's history expires. */
static enum err load_expires(struct conn *c)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_EXPIRES_MIN, &e);
	if (!st)
		return e;
	TRY(conn_step(c, st, &row));
	c->t->next_expires = row ? col_i64(st, 0) : 0;
	if (row)
		sqlite3_reset(st);
	return OK;
}

/* Ids are given out in ascending order and never twice within the process, even when the newest row was deleted: the change feed
 * names rows by id. */
static enum err load_ids(struct conn *c)
{
	struct tenant *t = c->t;
	int64_t v;
	if (t->keys)
		return OK;
	TRY(conn_int(c, "SELECT ifnull(max(id), 0) + 1 FROM cenote_namespace", &v));
	at_least(&t->next_ns, v);
	TRY(conn_int(c, "SELECT ifnull(max(id), 0) + 1 FROM cenote_item", &v));
	at_least(&t->next_item, v);
	TRY(conn_int(c, "SELECT ifnull(max(id), 0) + 1 FROM cenote_thread", &v));
	at_least(&t->next_thread, v);
	TRY(conn_int(c, "SELECT ifnull(max(id), 0) + 1 FROM cenote_message", &v));
	at_least(&t->next_message, v);
	TRY(conn_int(c, "SELECT ifnull(max(id), 0) + 1 FROM cenote_text", &v));
	at_least(&t->next_text, v);
	at_least(&t->next_text, TEXT_ID_FIRST);
	TRY(conn_int(c, "SELECT ifnull(max(id), 0) + 1 FROM cenote_scope", &v));
	at_least(&t->next_scope, v);
	TRY(conn_int(c, "SELECT ifnull(max(id), 0) + 1 FROM cenote_checkpoint", &v));
	at_least(&t->next_checkpoint, v);
	TRY(conn_int(c, "SELECT ifnull(max(id), 0) + 1 FROM cenote_stream", &v));
	at_least(&t->next_stream, v);
	/* Entries are named by their ids outside, so an id is not given out again even after a restart: ids go on from the clock.
	 */
	TRY(conn_int(c, "SELECT ifnull(max(id), 0) + 1 FROM cenote_entry", &v));
	at_least(&t->next_entry, v);
	at_least(&t->next_entry, clock_unique_us());
	return t->next_expires < 0 ? load_expires(c) : OK;
}

static enum err attach(struct tenant *t, struct conn **out)
{
	enum err e;
	TRY(conn_open(t, t->path, CONN_WRITE, out));
	t->models_n = -1;
	t->facts = -1;
	sqlite3_wal_hook((*out)->db, on_wal, t);
	CHECK(schema_use_wal(*out));
	CHECK(schema_migrate(*out));
	CHECK(load_ids(*out));
	return OK;
out:
	conn_close(*out);
	*out = NULL;
	return e;
}

static enum err set_meta(struct conn *c, struct str name, struct str value)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_META_SET, &e);
	if (!st)
		return e;
	bind_str(st, 1, name);
	bind_str(st, 2, value);
	return conn_run(c, ST_META_SET);
}

static enum err set_clean(struct conn *c, bool clean)
{
	return set_meta(c, STR("clean"), clean ? STR("1") : STR("0"));
}

static void roll_back(struct conn *c)
{
	if (!sqlite3_get_autocommit(c->db) && conn_run(c, ST_ROLLBACK) != OK)
		c->t->sick = true;
}

/* A transaction of the writer's own: sets the clean flag, and with `heals` also a value that is never the same twice, because
 * SQLite does not write a page that does not change. */
static enum err write_clean(struct tenant *t, bool clean, bool heals)
{
	char text[32];
	enum err e;
	CHECK(conn_run(t->w, ST_BEGIN_WRITE));
	CHECK(set_clean(t->w, clean));
	if (heals) {
		int n = snprintf(text, sizeof text, "%lld", (long long)clock_unique_us());
		CHECK(set_meta(t->w, STR("healed"), str_of(text, (size_t)n)));
	}
	CHECK(conn_run(t->w, ST_END));
	t->dirty = !clean;
	return OK;
out:
	roll_back(t->w);
	return e;
}

static enum err heal(struct tenant *t)
{
	struct conn *fresh;
	TRY(attach(t, &fresh));
	if (t->w)
		conn_close(t->w);
	t->w = fresh;
	TRY(write_clean(t, false, true));
	t->sick = false;
	t->s->n_heals++;
	return OK;
}

static void checkpoint(struct tenant *t, int mode)
{
	struct sq *s = t->s;
	int log = 0, done = 0;
	assert(t->w->writer && pthread_equal(pthread_self(), s->w_thread)); /* invariant 4 */
	if (!t->w->writer || !pthread_equal(pthread_self(), s->w_thread))
		return;
	uint64_t from = clock_mono_ns();
	readers_let_go(s, t);
	int rc = sqlite3_wal_checkpoint_v2(t->w->db, NULL, mode, &log, &done);
	readers_let_go(s, t); /* those that read the log's end meanwhile would keep it from beginning anew */
	if (rc != SQLITE_OK && rc != SQLITE_BUSY) {
		(void)conn_error(t->w, rc);
		LOG(LOG_ERROR, "store", "a checkpoint failed; the log keeps the data", LF_C("file", t->base),
		    LF_C("why", diag_get()->text));
	}
	/* Whatever it could do: not again before the log has grown some more. */
	t->ckpt_at_pages = (uint64_t)(log > 0 ? log : 0) + s->wal_limit_pages / 4;
	if (rc == SQLITE_OK && mode == SQLITE_CHECKPOINT_TRUNCATE)
		t->wal_pages = 0;
	s->n_checkpoints++;
	s->ckpt_us += (clock_mono_ns() - from) / 1000;
}

static enum err come_to_rest(struct tenant *t)
{
	int64_t spare = 0;
	if (t->sick)
		TRY(heal(t));
	TRY(conn_int(t->w, "PRAGMA freelist_count", &spare));
	if (spare > 256)
		TRY(conn_exec(t->w, "PRAGMA incremental_vacuum(4096)"));
	if (t->dirty)
		TRY(write_clean(t, true, false));
	if (t->wal_pages > 0)
		checkpoint(t, SQLITE_CHECKPOINT_TRUNCATE);
	return OK;
}

/* Brings the file to rest: free pages given back, flag set, log empty. */
static enum err settle(struct tenant *t)
{
	enum err e = come_to_rest(t);
	if (e != OK)
		t->sick = true;
	return e;
}

static void detach(struct tenant *t)
{
	enum err e = settle(t);
	if (e != OK)
		LOG(LOG_ERROR, "store", "a file could not be closed cleanly", LF_C("file", t->base), LF_C("why", diag_get()->text));
	if (t->w) {
		if (e == OK && t->wal_pages == 0) /* nothing is in the log: let SQLite remove it, if nobody else has it open */
			sqlite3_db_config(t->w->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
		conn_close(t->w);
	}
	t->w = NULL;
	list_del(&t->open_node);
	t->s->open_n--;
	ns_forget(t);
	chunk_cache_drop(t->s, t, 0);
}

/* The tenant's connection, ready to write. */
static enum err ensure_open(struct tenant *t)
{
	struct sq *s = t->s;
	if (t->w) {
		list_del(&t->open_node);
		list_add_head(&s->open_tenants, &t->open_node);
		return t->sick ? heal(t) : OK;
	}
	while (s->open_n >= OPEN_MAX_FILES) {
		struct tenant *old = CONTAINER(s->open_tenants.prev, struct tenant, open_node);
		detach(old);
		feed_drop(&old->feed);
	}
	if (t->creating && access(t->path, F_OK) != 0)
		TRY(schema_create(t));
	TRY(attach(t, &t->w));
	t->ckpt_at_pages = s->wal_limit_pages;
	list_add_head(&s->open_tenants, &t->open_node);
	s->open_n++;
	/* The flag may have been left cleared by a process that was killed. */
	int64_t clean = 0;
	if (conn_int(t->w, "SELECT value = '1' FROM cenote_meta WHERE name = 'clean'", &clean) == OK)
		t->dirty = !clean;
	return t->sick ? heal(t) : OK;
}

/* ---------------------------------------------------------------- transactions */

static enum err apply_all(struct writer *w, struct conn *c, struct wop *list)
{
	for (struct wop *op = list; op; op = op->next) {
		op->err = op->apply ? op->apply(w, c, op) : OK;
		if (c->failed)
			return op->err != OK ? op->err : err_set(E_INTERNAL, "a failure of SQLite was not passed on");
		if (op->err != OK)
			op->diag = *diag_get();
	}
	return OK;
}

static void published(struct writer *w, struct tenant *t)
{
	atomic_fetch_add_explicit(&t->seq, 1, memory_order_release);
	feed_publish(&t->feed, w->pend, w->pend_n, w->record);
	w->pend_n = 0;
	if (w->swept)
		t->next_expires = w->next_expires;
	if (w->min_expires > 0 && (t->next_expires <= 0 || w->min_expires < t->next_expires))
		t->next_expires = w->min_expires;
}

static enum err transaction(struct writer *w, struct tenant *t, struct wop *list)
{
	struct conn *c = t->w;
	enum err e;
	w->pend_n = 0;
	w->min_expires = 0;
	w->swept = false;
	w->record = atomic_load(&t->feed.wanted);
	c->failed = false;
	CHECK(conn_run(c, ST_BEGIN_WRITE));
	if (!t->dirty)
		CHECK(set_clean(c, false));
	CHECK(apply_all(w, c, list));
	CHECK(conn_run(c, ST_END)); /* returns when the log is synced: what the ops wrote is durable from here on */
	t->dirty = true;
	t->last_write_ns = clock_mono_ns();
	published(w, t);
	return OK;
out:;
	struct diag d = *diag_get(); /* the reason, not what the rollback may say */
	roll_back(c);
	writer_undo(w, t, 0);
	*diag_get() = d;
	return e;
}

static void answer(struct wop *list)
{
	for (struct wop *next; list; list = next) {
		next = list->next;
		event_set(&list->ev);
	}
}

static void run_group(struct writer *w, struct tenant *t, struct wop *list);

static void run_each(struct writer *w, struct tenant *t, struct wop *list)
{
	for (struct wop *next; list; list = next) {
		next = list->next;
		list->next = NULL;
		run_group(w, t, list);
	}
}

/* Whether the ops may do better alone than together, which failed with e; then they can be run. A damaged page counts as an error
 * of the disk (invariant 3), but not all of them need to meet it: so for those the file is healed here. */
static bool ready_for_each(struct tenant *t, enum err e, bool ran)
{
	if (!t->w)
		return false;
	if (!ran || e != E_CORRUPT)
		return !disk_error(e);
	t->sick = true;
	return heal(t) == OK;
}

/* Runs the list as one transaction; when that fails because of one of them, each alone. */
static void run_group(struct writer *w, struct tenant *t, struct wop *list)
{
	struct sq *s = w->s;
	uint64_t from = clock_mono_ns();
	enum err e = ensure_open(t);
	bool alone = !list->next, nothing = alone && !list->apply;
	bool ran = e == OK && !nothing;
	if (ran)
		e = transaction(w, t, list);
	if (e == OK) {
		answer(list);
		if (nothing)
			return;
		note_success(s);
		s->n_commits++;
		s->commit_us += (clock_mono_ns() - from) / 1000;
		if ((uint64_t)t->wal_pages >= t->ckpt_at_pages)
			checkpoint(t, SQLITE_CHECKPOINT_PASSIVE);
		return;
	}
	struct diag d = *diag_get();
	if (!alone && ready_for_each(t, e, ran)) {
		run_each(w, t, list);
		return;
	}
	*diag_get() = d;
	if (e != E_CORRUPT) /* one damaged file does not make the store unready */
		note_failure(s, t, e);
	if (t->w && disk_error(e))
		t->sick = true;
	/* Before the answer, so that what is answered with an error is out of the log for good, if the disk lets us. */
	if (t->sick && heal(t) != OK)
		LOG(LOG_ERROR, "store", "a file cannot be written", LF_C("file", t->base), LF_C("why", diag_get()->text));
	finish_all(list, e, &d);
}

/* The first ops of the tenant's batch, as many as make a transaction of sensible size. */
static struct wop *cut_group(struct tenant *t)
{
	struct wop *list = t->batch, **at = &t->batch;
	size_t writes = 0, bytes = 0;
	while (*at && (at == &t->batch || (writes + (*at)->writes <= GROUP_WRITES && bytes + (*at)->bytes <= GROUP_BYTES))) {
		writes += (*at)->writes;
		bytes += (*at)->bytes;
		at = &(*at)->next;
	}
	struct wop *rest = *at;
	*at = NULL;
	t->batch = rest;
	return list;
}

static void run_all(struct writer *w, struct wop *list)
{
	struct tenant *active = NULL, **end = &active;
	uint64_t now = clock_mono_ns();
	for (struct wop *op = list, *next; op; op = next) {
		next = op->next;
		op->next = NULL;
		w->s->n_ops++;
		if (op->deadline <= now) {
			enum err e = err_set(E_TIMEOUT, "the deadline passed while the write waited; nothing was written");
			finish(op, e, diag_get());
			continue;
		}
		struct tenant *t = op->t;
		if (!t->batch) {
			t->batch_end = &t->batch;
			t->batch_next = NULL;
			*end = t;
			end = &t->batch_next;
		}
		*t->batch_end = op;
		t->batch_end = &op->next;
	}
	while (active) { /* a group of each in turn, so that an import of one tenant does not hold up the others */
		struct tenant *t = active;
		active = t->batch_next;
		if (!active)
			end = &active;
		run_group(w, t, cut_group(t));
		if (t->batch) {
			t->batch_next = NULL;
			*end = t;
			end = &t->batch_next;
		}
	}
}

/* ---------------------------------------------------------------- the thread */

static bool restless(const struct sq *s)
{
	LIST_EACH (n, &s->open_tenants) {
		const struct tenant *t = CONTAINER(n, struct tenant, open_node);
		if (t->dirty || t->sick || t->wal_pages > 0)
			return true;
	}
	return false;
}

/* Nothing was queued for a second. */
static void on_idle(struct sq *s)
{
	images_drop(s, NULL);
	LIST_EACH (n, &s->open_tenants) {
		struct tenant *t = CONTAINER(n, struct tenant, open_node);
		if ((t->dirty || t->sick || t->wal_pages > 0) && settle(t) != OK)
			LOG(LOG_ERROR, "store", "a file cannot be written", LF_C("file", t->base), LF_C("why", diag_get()->text));
	}
	store_rest(s);
}

/* Everything queued; NULL after a second without anything (or at once when the store stops). */
static struct wop *take(struct sq *s, bool *stop)
{
	struct timespec ts;
	int rc = 0;
	pthread_mutex_lock(&s->qmu);
	if (!s->q_head && !s->stop) {
		bool timed = restless(s);
		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_sec++;
		while (!s->q_head && !s->stop && rc == 0) {
			s->w_sleeps = true;
			rc = timed ? pthread_cond_timedwait(&s->qcv, &s->qmu, &ts) : pthread_cond_wait(&s->qcv, &s->qmu);
		}
		s->w_sleeps = false;
	}
	struct wop *list = s->q_head;
	unsigned n = s->q_n;
	s->q_head = NULL;
	s->q_end = &s->q_head;
	s->q_n = 0;
	*stop = s->stop;
	pthread_mutex_unlock(&s->qmu);
	atomic_fetch_sub(&s->q_waiting, n);
	return list;
}

static void *writer_main(void *arg)
{
	struct sq *s = arg;
	bool stop = false;
	for (;;) {
		struct wop *list = take(s, &stop);
		if (list)
			run_all(&s->w, list);
		else if (stop)
			break;
		else
			on_idle(s);
	}
	while (!list_empty(&s->open_tenants))
		detach(CONTAINER(s->open_tenants.next, struct tenant, open_node));
	return NULL;
}

static enum err start(pthread_t *out, void *(*fn)(void *), struct sq *s, const char *name)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the loops */
	int rc = pthread_create(out, NULL, fn, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		return err_set(E_LIMIT, "the store's %s thread could not be started: %s", name, strerror(rc));
	pthread_setname_np(*out, name);
	return OK;
}

enum err writer_start(struct sq *s)
{
	s->w.s = s;
	/* The mutex is held so that the thread's own id is known before it looks at it. */
	pthread_mutex_lock(&s->qmu);
	enum err e = start(&s->w_thread, writer_main, s, "store-writer");
	s->w_started = e == OK;
	if (e == OK)
		e = start(&s->warden, queue_warden, s, "store-warden");
	s->warden_started = s->w_started && e == OK;
	pthread_mutex_unlock(&s->qmu);
	return e;
}

void writer_stop(struct sq *s)
{
	pthread_mutex_lock(&s->qmu);
	s->stop = true;
	pthread_mutex_unlock(&s->qmu);
	pthread_cond_broadcast(&s->qcv);
	pthread_cond_broadcast(&s->warden_cv);
	if (s->w_started)
		pthread_join(s->w_thread, NULL);
	if (s->warden_started)
		pthread_join(s->warden, NULL);
	free(s->w.pend);
}
