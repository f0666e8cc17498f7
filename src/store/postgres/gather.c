/* Writes of many callers in one statement: what waits while a statement is under way goes into the next one, so the more there
 * is to do, the less each write costs.
 *
 * Simple writes (unconditional, few, of one kind) are queued. Each of the gather threads takes what is queued for a tenant, makes
 * a batch of it, runs it and answers. There is no timer: a lone write goes at once. As long as a tenant's batch is under way its
 * next one gathers, unless many wait or the batch is stuck: two half batches side by side cost the server about twice as much as
 * one.
 *
 * Invariants
 *  1. A request is in at most one place: a loop's pending list, the queue, a batch. Whoever takes it out of there under the lock is
 * the one that sets its event, and does not touch it afterwards.
 *  2. A batch reads the memory of its requests (names, values) only while it is being built; only a batch that is not (`open`) may
 * lose requests. Results go into copies, and from there, under the lock, to the requests that are still there.
 *  3. A name is in one batch at a time, and once: batches do not wait for each other's rows. A request is in one batch wholly: its
 * writes are one transaction.
 *  4. A request whose deadline passes in the queue was not written; one that has been sent is answered without knowing, after
 * GRACE_NS in which the server may say how it ended.
 *  5. A batch that fails by the fault of one of several requests, or because a stranger has a row locked, is given back to its
 * callers, each of which tries alone. */
#include "store/postgres/write.h"

#include <time.h>

#include "base/hash.h"

#define THREADS 3
#define CROWD 128 /* so many waiting calls are worth another batch of the same tenant */
#define STUCK_NS UINT64_C(100000000)
#define BATCH_ROWS 256
#define BATCH_BYTES ((size_t)1 << 20)
#define CALL_BYTES ((size_t)256 << 10)
#define LOOK_AT 1024 /* requests of the queue that are looked at for a batch */
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
	uint64_t begun;
	struct pg_tenant *t;
	unsigned reqs_n;
	size_t n, bytes;
	struct req *reqs[BATCH_ROWS]; /* NULL: taken out */
	struct pg_row rows[BATCH_ROWS], *sorted[BATCH_ROWS];
	struct item_write writes[BATCH_ROWS];
	unsigned req_of[BATCH_ROWS], row_of[BATCH_ROWS];
	uint64_t hash[BATCH_ROWS]; /* of the names; two names of one hash only have to wait for each other */
	uint16_t names[NAMES];	   /* row + 1 */
};
struct pg_gather {
	pthread_mutex_t mu;
	pthread_cond_t cv, warden_cv;
	struct list queue;
	unsigned queued, idle;
	bool stop, warden_sleeps;
	atomic_uint waiting;
	unsigned max, threads_n;
	pthread_t threads[THREADS], warden;
	bool warden_up;
	struct batch batches[THREADS];
};

/* ---------------------------------------------------------------- making a batch */

static uint64_t hash_of(const struct pg_row *r)
{
	return hash64_seeded(r->w->key) + 31 * hash64_seeded(r->w->ns);
}

/* Its place in the table of names: where it is, or where it would go. */
static unsigned slot_of(const struct batch *b, uint64_t hash)
{
	unsigned i = (unsigned)hash & (NAMES - 1);
	while (b->names[i] && b->hash[b->names[i] - 1] != hash)
		i = (i + 1) & (NAMES - 1);
	return i;
}

/* A batch of the tenant has one of its names: the one that is being made, or one under way, which has to end first. */
static bool name_taken(const struct pg_gather *g, const struct req *q)
{
	for (size_t k = 0; k < q->n; k++) {
		uint64_t hash = hash_of(&q->rows[k]);
		for (unsigned i = 0; i < THREADS; i++) {
			const struct batch *b = &g->batches[i];
			if (b->reqs_n > 0 && b->t == q->t && b->names[slot_of(b, hash)])
				return true;
		}
	}
	return false;
}

static bool fits_in(const struct batch *b, const struct req *q)
{
	return q->t == b->t && pg_row_alike(&q->rows[0], &b->rows[0]) && b->n + q->n <= BATCH_ROWS &&
	       b->bytes + q->bytes <= BATCH_BYTES && !name_taken(b->g, q);
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
		b->hash[k] = hash_of(&b->rows[k]);
		b->names[slot_of(b, b->hash[k])] = (uint16_t)(k + 1);
	}
	b->bytes += q->bytes;
	b->reqs[b->reqs_n++] = q;
}

static bool under_way(const struct pg_gather *g, const struct pg_tenant *t)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (g->batches[i].reqs_n > 0 && g->batches[i].t == t)
			return true;
	return false;
}

/* Under the lock: the request that the next batch begins with; NULL: none should begin now. */
static struct req *ready(const struct pg_gather *g)
{
	unsigned busy = 0, looked = 0;
	uint64_t oldest = NEVER;
	if (list_empty(&g->queue))
		return NULL;
	for (unsigned i = 0; i < THREADS; i++) {
		const struct batch *b = &g->batches[i];
		busy += b->reqs_n > 0;
		if (b->reqs_n > 0 && b->begun < oldest)
			oldest = b->begun;
	}
	bool any = busy == 0 || g->queued >= CROWD * busy || clock_mono_ns() - oldest > STUCK_NS;
	LIST_EACH (at, &g->queue) {
		struct req *q = CONTAINER(at, struct req, node);
		if ((any || !under_way(g, q->t)) && !name_taken(g, q))
			return q;
		if (++looked == LOOK_AT)
			break;
	}
	return NULL;
}

/* Under the lock: the request, and what goes with it. */
static void take(struct pg_gather *g, struct batch *b, struct req *first)
{
	unsigned looked = 0;
	b->t = first->t;
	b->reqs_n = 0;
	b->n = b->bytes = 0;
	b->open = false;
	b->begun = clock_mono_ns();
	memset(b->names, 0, sizeof b->names);
	list_del(&first->node);
	g->queued--;
	add(b, first);
	LIST_EACH (at, &g->queue) {
		struct req *q = CONTAINER(at, struct req, node);
		if (++looked > LOOK_AT || b->n == BATCH_ROWS)
			return;
		if (!fits_in(b, q))
			continue;
		list_del(&q->node);
		g->queued--;
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
	struct pg_params p[4];
	struct pg_step steps[4] = {0};
	unsigned k = 0, write;
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
	write = k++;
	if (pg_rows_end_documents(b->sorted, b->n)) {
		pg_params_init(&p[k]);
		pg_i64(&p[k], op);
		steps[k] = (struct pg_step){.st = &pg_vectors_gone, .p = &p[k]};
		k++;
	}
	fiber_set_deadline(last_deadline(b));
	set_open(b, true);
	struct pg_job j = {.t = b->t, .steps = steps, .n = k, .lane = LANE_WRITE, .write = true};
	enum err e = pg_run(&j);
	if (e == OK && j.repeated)
		e = recall(b, op);
	else if (e == OK)
		pg_write_result(steps[write].res, b->sorted, b->n);
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
	b->open = false; /* this thread looks at the queue next */
	pthread_mutex_unlock(&b->g->mu);
	answer(b->g, done);
}

static void *gatherer(void *arg)
{
	struct batch *b = arg;
	struct pg_gather *g = b->g;
	pthread_mutex_lock(&g->mu);
	for (;;) {
		struct req *first = ready(g);
		if (!first && g->stop && list_empty(&g->queue))
			break;
		if (!first) {
			g->idle++;
			pthread_cond_wait(&g->cv, &g->mu);
			g->idle--;
			continue;
		}
		take(g, b, first);
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

/* Also wakes a thread when a batch is stuck. */
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
		g->queued--;
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
	bool wake = g->idle > 0 && ready(g);
	pthread_mutex_unlock(&g->mu);
	if (wake)
		pthread_cond_signal(&g->cv);
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
		g->queued++;
	}
	bool wake = g->idle > 0 && ready(g), watch = g->warden_sleeps;
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
