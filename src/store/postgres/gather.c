/* Writes of many callers in one statement: what waits while a statement is under way goes into the next one, so the more there
 * is to do, the less each write costs.
 *
 * Simple writes (unconditional, few, of one kind) are queued. Each of the gather threads takes what is queued for a tenant, makes
 * a batch of it, runs it and answers. There is no timer: a lone write goes at once.
 *
 * Invariants
 *  1. A request is in at most one place: a loop's pending list, the queue, a batch. Whoever takes it out of there under the lock is
 * the one that sets its event, and does not touch it afterwards.
 *  2. A batch reads the memory of its requests (names, values) only while it is being built; only a batch that is not (`open`) may
 * lose requests. Results go into copies, and from there, under the lock, to the requests that are still there.
 *  3. A name is in a batch once. A request is in one batch wholly: its writes are one transaction.
 *  4. A request whose deadline passes in the queue was not written; one that has been sent is answered without knowing, after
 * GRACE_NS in which the server may say how it ended.
 *  5. A batch that fails by the fault of one of several requests, or because a stranger has a row locked, is given back to its
 * callers, each of which tries alone. */
#include "store/postgres/write.h"

#include <time.h>

#include "base/hash.h"

#define THREADS 2 /* batches under way: while one is being committed, the next one is made */
#define BATCH_ROWS 256
#define BATCH_BYTES ((size_t)1 << 20)
#define CALL_BYTES ((size_t)256 << 10)
#define LOOK_AT 2048 /* requests of the queue that are looked at for a batch */
#define NAMES 1024   /* a power of two, well above BATCH_ROWS */
#define QUEUE_MAX 20000
#define GRACE_NS UINT64_C(200000000)
#define WARDEN_NS 100000000 /* how often deadlines are looked at */

struct batch;
struct req {
	struct list node; /* in the queue */
	struct pg_tenant *t;
	struct pg_row *rows;
	size_t n, bytes;
	uint64_t deadline;
	struct event ev;
	enum err err;
	struct diag diag;
	bool alone;
	struct req *next; /* in the pending list, or to be answered */
};
struct batch {
	struct pg_gather *g;
	bool open; /* requests may be taken out */
	struct pg_tenant *t;
	unsigned reqs_n;
	size_t n, bytes;
	struct req *reqs[BATCH_ROWS]; /* NULL: taken out */
	struct pg_row rows[BATCH_ROWS], *sorted[BATCH_ROWS];
	struct item_write writes[BATCH_ROWS];
	unsigned req_of[BATCH_ROWS], row_of[BATCH_ROWS];
	uint16_t names[NAMES]; /* row + 1 */
};
struct pg_gather {
	pthread_mutex_t mu;
	pthread_cond_t cv, warden_cv;
	struct list queue;
	unsigned idle;
	bool stop, warden_sleeps;
	atomic_uint waiting;
	unsigned max, threads_n;
	pthread_t threads[THREADS], warden;
	bool warden_up;
	struct batch batches[THREADS];
};

/* ---------------------------------------------------------------- making a batch */

/* Its place in the table of names: where it is, or where it would go. */
static unsigned slot_of(const struct batch *b, const struct pg_row *r)
{
	unsigned i = (unsigned)(hash64_seeded(r->w->key) + 31 * hash64_seeded(r->w->ns)) & (NAMES - 1);
	while (b->names[i] && pg_row_cmp(&b->rows[b->names[i] - 1], r) != 0)
		i = (i + 1) & (NAMES - 1);
	return i;
}

static bool fits_in(const struct batch *b, const struct req *q)
{
	if (q->t != b->t || !pg_row_alike(&q->rows[0], &b->rows[0]))
		return false;
	if (b->n + q->n > BATCH_ROWS || b->bytes + q->bytes > BATCH_BYTES)
		return false;
	for (size_t i = 0; i < q->n; i++)
		if (b->names[slot_of(b, &q->rows[i])])
			return false;
	return true;
}

static void add(struct batch *b, struct req *q)
{
	for (size_t i = 0; i < q->n; i++) {
		size_t k = b->n++;
		b->rows[k] = q->rows[i];
		b->writes[k] = *q->rows[i].w;
		b->rows[k].w = &b->writes[k];
		b->req_of[k] = b->reqs_n;
		b->row_of[k] = (unsigned)i;
		b->names[slot_of(b, &b->rows[k])] = (uint16_t)(k + 1);
	}
	b->bytes += q->bytes;
	b->reqs[b->reqs_n++] = q;
}

/* Under the lock: the first of the queue, and what goes with it. */
static void take(struct pg_gather *g, struct batch *b)
{
	unsigned looked = 0;
	struct req *first = CONTAINER(g->queue.next, struct req, node);
	b->t = first->t;
	b->reqs_n = 0;
	b->n = b->bytes = 0;
	b->open = false;
	memset(b->names, 0, sizeof b->names);
	list_del(&first->node);
	add(b, first);
	LIST_EACH (at, &g->queue) {
		struct req *q = CONTAINER(at, struct req, node);
		if (++looked > LOOK_AT || b->n == BATCH_ROWS)
			return;
		if (!fits_in(b, q))
			continue;
		list_del(&q->node);
		add(b, q);
	}
}

static int by_name(const void *a, const void *b)
{
	return pg_row_cmp(*(struct pg_row *const *)a, *(struct pg_row *const *)b);
}

static uint64_t last_deadline(const struct batch *b)
{
	uint64_t last = 0;
	for (unsigned i = 0; i < b->reqs_n; i++)
		if (b->reqs[i]->deadline > last)
			last = b->reqs[i]->deadline;
	return last;
}

static void set_open(struct batch *b, bool open)
{
	pthread_mutex_lock(&b->g->mu);
	b->open = open;
	pthread_mutex_unlock(&b->g->mu);
}

/* ---------------------------------------------------------------- running it */

/* The batch had been committed and the answer was lost: looks at what is stored. */
static enum err recall(struct batch *b, int64_t op)
{
	struct pg_params p;
	struct pg_seen seen[BATCH_ROWS] = {0};
	PGresult *res;
	size_t n = 0;
	set_open(b, false);
	for (size_t i = 0; i < b->n; i++)
		if (b->reqs[b->req_of[b->sorted[i] - b->rows]])
			b->sorted[n++] = b->sorted[i];
	pg_params_init(&p);
	pg_look_params(&p, op, b->sorted, n);
	set_open(b, true);
	TRY(pg_query(b->t, &pg_write_look, &p, &res));
	pg_look_result(res, seen, n);
	PQclear(res);
	for (size_t i = 0; i < n; i++)
		pg_recall(b->sorted[i], &seen[i], false);
	return OK;
}

/* Errors that are about the data of one row, or about the time it took: the other requests need not have them. */
static bool of_one(const char *sqlstate)
{
	return memcmp(sqlstate, "22", 2) == 0 || memcmp(sqlstate, "23", 2) == 0 || memcmp(sqlstate, "54", 2) == 0 ||
	       strcmp(sqlstate, "57014") == 0;
}

static enum err run(struct batch *b, bool *alone)
{
	struct pg_params p[3];
	struct pg_step steps[3] = {0};
	unsigned k = 0;
	int64_t op = pg_new_op();
	for (size_t i = 0; i < b->n; i++) {
		b->sorted[i] = &b->rows[i];
		b->rows[i].step_rows = (unsigned)b->n;
	}
	qsort(b->sorted, b->n, sizeof *b->sorted, by_name);
	pg_params_init(&p[k]);
	steps[k] = (struct pg_step){.st = &pg_write_patience, .p = &p[k]};
	k++;
	if (b->rows[0].st != ST_PUT) {
		pg_params_init(&p[k]);
		pg_names_params(&p[k], b->sorted, b->n);
		steps[k] = (struct pg_step){.st = &pg_write_lock, .p = &p[k]};
		k++;
	}
	pg_params_init(&p[k]);
	pg_write_params(&p[k], op, 0, false, b->sorted, b->n);
	steps[k] = (struct pg_step){.st = pg_write_stmt(b->rows[0].st), .p = &p[k]};
	k++;
	fiber_set_deadline(last_deadline(b));
	set_open(b, true);
	struct pg_job j = {.t = b->t, .steps = steps, .n = k, .lane = LANE_WRITE, .write = true};
	enum err e = pg_run(&j);
	if (e == OK && j.repeated)
		e = recall(b, op);
	else if (e == OK)
		pg_write_result(steps[k - 1].res, b->sorted, b->n);
	else
		*alone = strcmp(j.sqlstate, "55P03") == 0 || (b->reqs_n > 1 && of_one(j.sqlstate));
	pg_job_clear(&j);
	for (unsigned i = 0; i < k; i++)
		pg_params_release(&p[i]);
	return e;
}

static void answer(struct pg_gather *g, struct req *q)
{
	for (struct req *next; q; q = next) {
		next = q->next;
		atomic_fetch_sub(&g->waiting, 1);
		event_set(&q->ev);
	}
}

static void finish(struct batch *b, enum err e, bool alone)
{
	struct req *done = NULL;
	pthread_mutex_lock(&b->g->mu);
	for (size_t i = 0; i < b->n && e == OK; i++) {
		struct req *q = b->reqs[b->req_of[i]];
		if (!q)
			continue;
		struct item_write *w = q->rows[b->row_of[i]].w;
		w->err = b->writes[i].err;
		w->existed = b->writes[i].existed;
		w->changed = b->writes[i].changed;
		w->version = b->writes[i].version;
	}
	for (unsigned i = 0; i < b->reqs_n; i++) {
		struct req *q = b->reqs[i];
		if (!q)
			continue;
		q->alone = alone;
		q->err = alone ? OK : e;
		if (q->err != OK)
			q->diag = *diag_get();
		q->next = done;
		done = q;
	}
	b->reqs_n = 0;
	b->open = false;
	pthread_mutex_unlock(&b->g->mu);
	answer(b->g, done);
}

static void *gatherer(void *arg)
{
	struct batch *b = arg;
	struct pg_gather *g = b->g;
	pthread_mutex_lock(&g->mu);
	for (;;) {
		while (list_empty(&g->queue) && !g->stop) {
			g->idle++;
			pthread_cond_wait(&g->cv, &g->mu);
			g->idle--;
		}
		if (list_empty(&g->queue))
			break;
		take(g, b);
		pthread_mutex_unlock(&g->mu);
		bool alone = false;
		enum err e = run(b, &alone);
		finish(b, e, alone);
		pthread_mutex_lock(&g->mu);
	}
	pthread_mutex_unlock(&g->mu);
	return NULL;
}

/* ---------------------------------------------------------------- deadlines */

static struct req *too_late(struct req *q, const char *sentence, struct req *next)
{
	q->err = err_set(E_TIMEOUT, "%s", sentence);
	q->diag = *diag_get();
	q->next = next;
	return q;
}

static void withdraw(struct pg_gather *g)
{
	uint64_t now = clock_mono_ns();
	struct req *late = NULL;
	pthread_mutex_lock(&g->mu);
	LIST_EACH (at, &g->queue) {
		struct req *q = CONTAINER(at, struct req, node);
		if (q->deadline > now)
			continue;
		list_del(&q->node);
		late = too_late(q, "the deadline passed while the write waited for the database; nothing was written", late);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		struct batch *b = &g->batches[i];
		for (unsigned k = 0; b->open && k < b->reqs_n; k++) {
			struct req *q = b->reqs[k];
			if (!q || q->deadline == NEVER || q->deadline + GRACE_NS > now)
				continue;
			b->reqs[k] = NULL;
			late = too_late(
				q, "the deadline passed while the database was writing; whether it was written is not known", late);
		}
	}
	pthread_mutex_unlock(&g->mu);
	answer(g, late);
}

/* Sleeps while no write waits. */
static void *warden(void *arg)
{
	struct pg_gather *g = arg;
	pthread_mutex_lock(&g->mu);
	while (!g->stop) {
		if (atomic_load(&g->waiting) == 0) {
			g->warden_sleeps = true;
			pthread_cond_wait(&g->warden_cv, &g->mu);
			g->warden_sleeps = false;
			continue;
		}
		struct timespec ts;
		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_nsec += WARDEN_NS;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		pthread_cond_timedwait(&g->warden_cv, &g->mu, &ts);
		pthread_mutex_unlock(&g->mu);
		withdraw(g);
		pthread_mutex_lock(&g->mu);
	}
	pthread_mutex_unlock(&g->mu);
	return NULL;
}

/* ---------------------------------------------------------------- queueing */

/* What the fibers of this thread's loop have queued in this tick. */
static _Thread_local struct {
	struct pg_gather *g;
	struct req *head, **end;
	struct loop_hook hook;
} pending;

static void push(struct pg_gather *g, struct req *q)
{
	pthread_mutex_lock(&g->mu);
	for (struct req *next; q; q = next) {
		next = q->next;
		list_add_tail(&g->queue, &q->node);
	}
	bool wake = g->idle > 0, watch = g->warden_sleeps;
	g->warden_sleeps = false;
	pthread_mutex_unlock(&g->mu);
	if (wake)
		pthread_cond_signal(&g->cv);
	if (watch)
		pthread_cond_signal(&g->warden_cv);
}

static void on_tick_end(void *arg)
{
	(void)arg;
	struct pg_gather *g = pending.g;
	loop_hook_del(&pending.hook);
	pending.g = NULL;
	push(g, pending.head);
}

static void push_at_tick_end(struct pg_gather *g, struct req *q)
{
	if (pending.g && pending.g != g) {
		push(g, q);
		return;
	}
	if (!pending.g) {
		pending.g = g;
		pending.end = &pending.head;
		pending.hook.fn = on_tick_end;
		loop_hook_add(loop_current(), &pending.hook);
	}
	*pending.end = q;
	pending.end = &q->next;
}

bool pg_gather_fits(const struct item_write *w, size_t n)
{
	size_t bytes = 0;
	if (n > PG_GATHER_ROWS)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (w[i].cond != IF_ANY || w[i].op != w[0].op || (w[i].op == W_PUT && w[i].keep_newer) ||
		    (w[i].created_us != 0) != (w[0].created_us != 0))
			return false;
		bytes += w[i].value.n + w[i].terms.n;
		for (size_t k = 0; k < i; k++)
			if (str_eq(w[k].key, w[i].key) && str_eq(w[k].ns, w[i].ns))
				return false;
	}
	return bytes <= CALL_BYTES;
}

enum err pg_gather_write(struct pg_tenant *t, struct item_write *w, size_t n, bool *alone)
{
	struct pg_gather *g = t->s->gather;
	struct pg_row rows[PG_GATHER_ROWS];
	struct req q = {.t = t, .rows = rows, .n = n, .deadline = fiber_deadline()};
	if (fiber_cancelled())
		return err_set(E_CANCELLED, "the request was cancelled before its write began");
	if (q.deadline != NEVER && clock_mono_ns() >= q.deadline)
		return err_set(E_TIMEOUT, "the deadline passed before the write began");
	if (atomic_fetch_add(&g->waiting, 1) >= g->max) {
		atomic_fetch_sub(&g->waiting, 1);
		enum err e = err_set(E_BUSY, "%u writes are waiting for the database; try again in a second", g->max);
		diag_get()->retry_after_s = 1;
		return e;
	}
	for (size_t i = 0; i < n; i++) {
		pg_row_init(&rows[i], &w[i], (uint32_t)i);
		q.bytes += w[i].value.n + w[i].terms.n + w[i].key.n + w[i].ns.n + 64;
	}
	event_init(&q.ev);
	if (fiber_current())
		push_at_tick_end(g, &q);
	else
		push(g, &q);
	event_wait(&q.ev);
	*alone = q.alone;
	if (q.err == OK)
		return OK;
	*diag_get() = q.diag;
	return pg_name_item(q.err, w, n);
}

/* ---------------------------------------------------------------- life */

unsigned pg_gather_waiting(struct pg *s, unsigned *batches)
{
	struct pg_gather *g = s->gather;
	*batches = 0;
	pthread_mutex_lock(&g->mu);
	for (unsigned i = 0; i < THREADS; i++)
		*batches += g->batches[i].reqs_n > 0;
	pthread_mutex_unlock(&g->mu);
	return atomic_load(&g->waiting);
}

enum err pg_gather_start(struct pg *s)
{
	struct pg_gather *g = calloc(1, sizeof *g);
	pthread_condattr_t attr;
	if (!g)
		return err_set(E_LIMIT, "out of memory");
	s->gather = g;
	g->max = s->opt.queue_max ? s->opt.queue_max : QUEUE_MAX;
	list_init(&g->queue);
	pthread_mutex_init(&g->mu, NULL);
	pthread_cond_init(&g->cv, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->warden_cv, &attr);
	pthread_condattr_destroy(&attr);
	for (unsigned i = 0; i < THREADS; i++) {
		g->batches[i].g = g;
		if (pthread_create(&g->threads[i], NULL, gatherer, &g->batches[i]) != 0)
			return err_set(E_LIMIT, "no thread can be made");
		g->threads_n++;
	}
	if (pthread_create(&g->warden, NULL, warden, g) != 0)
		return err_set(E_LIMIT, "no thread can be made");
	g->warden_up = true;
	return OK;
}

void pg_gather_stop(struct pg *s)
{
	struct pg_gather *g = s->gather;
	if (!g)
		return;
	pthread_mutex_lock(&g->mu);
	g->stop = true;
	pthread_cond_broadcast(&g->cv);
	pthread_cond_broadcast(&g->warden_cv);
	pthread_mutex_unlock(&g->mu);
	for (unsigned i = 0; i < g->threads_n; i++)
		pthread_join(g->threads[i], NULL);
	if (g->warden_up)
		pthread_join(g->warden, NULL);
	pthread_cond_destroy(&g->cv);
	pthread_cond_destroy(&g->warden_cv);
	pthread_mutex_destroy(&g->mu);
	free(g);
	s->gather = NULL;
}
