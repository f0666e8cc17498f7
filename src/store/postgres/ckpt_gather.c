/* Checkpoint changes of many callers in one transaction: what waits while one is under way goes into the next, so the more there is
 * to do, the less each change costs. As gather.c does it for items, and simpler: changes have no results, and two batches may touch
 * the same rows, because each writes its rows in order.
 *
 * Invariants
 *  1. A request is in at most one place: a loop's pending list, the queue, a batch. Whoever takes it out of there under the lock is
 *     the one that sets its event, and does not touch it afterwards.
 *  2. A batch reads the memory of its requests only until it is `open`; only then may it lose requests.
 *  3. A request is in one batch wholly: its changes are one transaction.
 *  4. A request whose deadline passes in the queue was not written; one that has been sent is answered without knowing, after
 *     GRACE_NS in which the server may say how it ended.
 *  5. A batch of several that fails by the fault of one is given back to its callers, each of which tries alone. */
#include <time.h>

#include "store/postgres/ckpt.h"

#define THREADS 2
#define CROWD 128 /* so many waiting calls are worth another batch of the same tenant */
#define STUCK_NS UINT64_C(100000000)
#define BATCH_CALLS 256
#define BATCH_BYTES ((size_t)1 << 20)
#define CALL_CHANGES 64
#define CALL_BYTES ((size_t)256 << 10)
#define LOOK_AT 1024 /* requests of the queue that are looked at for a batch */
#define QUEUE_MAX 20000
#define GRACE_NS UINT64_C(200000000)
#define WARDEN_NS 100000000 /* how often deadlines are looked at */

struct req {
	struct list node; /* in the queue */
	struct pg_tenant *t;
	const struct pg_ckpt_call *call;
	size_t bytes;
	uint64_t deadline;
	struct event ev;
	enum err err;
	struct diag diag;
	bool alone;
	struct req *next; /* in the pending list, or to be answered */
};
struct batch {
	struct pg_ckpt_gather *g;
	bool open; /* requests may be taken out */
	uint64_t begun, deadline;
	struct pg_tenant *t;
	unsigned n;
	size_t bytes;
	struct req *reqs[BATCH_CALLS]; /* NULL: taken out */
	const struct pg_ckpt_call *calls[BATCH_CALLS];
};
struct pg_ckpt_gather {
	pthread_mutex_t mu;
	pthread_cond_t cv, warden_cv;
	struct list queue;
	unsigned queued, idle, max;
	bool stop, warden_sleeps;
	atomic_uint waiting;
	atomic_ullong batches, calls;
	unsigned threads_n;
	pthread_t threads[THREADS], warden;
	bool warden_up;
	struct batch batch[THREADS];
};

/* ---------------------------------------------------------------- making a batch */

static bool under_way(const struct pg_ckpt_gather *g, const struct pg_tenant *t)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (g->batch[i].n > 0 && g->batch[i].t == t)
			return true;
	return false;
}

/* Under the lock: the request that the next batch begins with; NULL: none should begin now. */
static struct req *ready(const struct pg_ckpt_gather *g)
{
	unsigned busy = 0, looked = 0;
	uint64_t oldest = NEVER;
	if (list_empty(&g->queue))
		return NULL;
	for (unsigned i = 0; i < THREADS; i++) {
		const struct batch *b = &g->batch[i];
		busy += b->n > 0;
		if (b->n > 0 && b->begun < oldest)
			oldest = b->begun;
	}
	bool any = busy == 0 || g->queued >= CROWD * busy || clock_mono_ns() - oldest > STUCK_NS;
	LIST_EACH (at, &g->queue) {
		struct req *q = CONTAINER(at, struct req, node);
		if (any || !under_way(g, q->t))
			return q;
		if (++looked == LOOK_AT)
			break;
	}
	return NULL;
}

static void add(struct pg_ckpt_gather *g, struct batch *b, struct req *q)
{
	list_del(&q->node);
	g->queued--;
	b->calls[b->n] = q->call;
	b->reqs[b->n++] = q;
	b->bytes += q->bytes;
	if (q->deadline > b->deadline)
		b->deadline = q->deadline;
}

/* Under the lock: the request, and what goes with it. */
static void take(struct pg_ckpt_gather *g, struct batch *b, struct req *first)
{
	unsigned looked = 0;
	b->t = first->t;
	b->n = 0;
	b->bytes = 0;
	b->deadline = 0;
	b->open = false;
	b->begun = clock_mono_ns();
	add(g, b, first);
	LIST_EACH (at, &g->queue) {
		struct req *q = CONTAINER(at, struct req, node);
		if (++looked > LOOK_AT || b->n == BATCH_CALLS)
			return;
		if (q->t == b->t && b->bytes + q->bytes <= BATCH_BYTES)
			add(g, b, q);
	}
}

static void set_open(void *arg)
{
	struct batch *b = arg;
	pthread_mutex_lock(&b->g->mu);
	b->open = true;
	pthread_mutex_unlock(&b->g->mu);
}

/* Errors that are about the data or the threads of one request, about a row that somebody has locked, or about the time it took:
 * the others need not have them. */
static bool of_one(const char *sqlstate)
{
	return strcmp(sqlstate, "55P03") == 0 || memcmp(sqlstate, "22", 2) == 0 || memcmp(sqlstate, "23", 2) == 0 ||
	       memcmp(sqlstate, "54", 2) == 0 || strcmp(sqlstate, "57014") == 0;
}

static void answer(struct pg_ckpt_gather *g, struct req *q)
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
	for (unsigned i = 0; i < b->n; i++) {
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
	b->n = 0;
	b->open = false; /* this thread looks at the queue next */
	pthread_mutex_unlock(&b->g->mu);
	answer(b->g, done);
}

static void *gatherer(void *arg)
{
	struct batch *b = arg;
	struct pg_ckpt_gather *g = b->g;
	char sqlstate[6];
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
		atomic_fetch_add(&g->batches, 1);
		atomic_fetch_add(&g->calls, b->n);
		enum err e = pg_ckpt_apply(b->t, b->calls, b->n, b->deadline, sqlstate, set_open, b);
		/* These two also of a single one: who tries alone is told whose the thread is, and waits for locks. */
		finish(b, e,
		       e != OK && ((b->n > 1 && of_one(sqlstate)) || strcmp(sqlstate, "22012") == 0 ||
				   strcmp(sqlstate, "55P03") == 0));
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
static void withdraw(struct pg_ckpt_gather *g)
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
		struct batch *b = &g->batch[i];
		for (unsigned k = 0; b->open && k < b->n; k++) {
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
	struct pg_ckpt_gather *g = arg;
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
	struct pg_ckpt_gather *g;
	struct req *head, **end;
	struct loop_hook hook;
} pending;

static void push(struct pg_ckpt_gather *g, struct req *q)
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
	struct pg_ckpt_gather *g = pending.g;
	loop_hook_del(&pending.hook);
	pending.g = NULL;
	push(g, pending.head);
}

static void push_at_tick_end(struct pg_ckpt_gather *g, struct req *q)
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

static size_t size_of(const struct ckpt_change *c)
{
	size_t n = c->thread.n + c->ns.n + c->id.n + c->parent.n + c->checkpoint.n + c->metadata.n + 64;
	for (size_t i = 0; c->op == CK_PUT && i < c->values_n; i++)
		n += c->values[i].bytes.n + c->values[i].channel.n + c->values[i].version.n + c->thread.n + c->ns.n + 64;
	for (size_t i = 0; c->op == CK_WRITES && i < c->writes_n; i++)
		n += c->writes[i].bytes.n + c->writes[i].task_path.n + c->thread.n + c->ns.n + c->id.n + 128;
	return n;
}

bool pg_ckpt_gather_fits(const struct ckpt_change *c, size_t n)
{
	size_t bytes = 0;
	if (n > CALL_CHANGES)
		return false;
	for (size_t i = 0; i < n && bytes <= CALL_BYTES; i++)
		bytes += size_of(&c[i]);
	return bytes <= CALL_BYTES;
}

enum err pg_ckpt_gather(struct pg_tenant *t, const struct pg_ckpt_call *call, bool *alone)
{
	struct pg_ckpt_gather *g = t->s->ckpt_gather;
	struct req q = {.t = t, .call = call, .deadline = fiber_deadline()};
	*alone = false;
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
	for (size_t i = 0; i < call->n; i++)
		q.bytes += size_of(&call->c[i]);
	event_init(&q.ev);
	if (fiber_current())
		push_at_tick_end(g, &q);
	else
		push(g, &q);
	event_wait(&q.ev);
	*alone = q.alone;
	if (q.err != OK)
		*diag_get() = q.diag;
	return q.err;
}

/* ---------------------------------------------------------------- life */

unsigned pg_ckpt_gather_waiting(struct pg *s, unsigned *batches)
{
	struct pg_ckpt_gather *g = s->ckpt_gather;
	*batches = 0;
	pthread_mutex_lock(&g->mu);
	for (unsigned i = 0; i < THREADS; i++)
		*batches += g->batch[i].n > 0;
	pthread_mutex_unlock(&g->mu);
	return atomic_load(&g->waiting);
}

void pg_ckpt_metrics(struct pg *s, struct buf *out)
{
	struct pg_ckpt_gather *g = s->ckpt_gather;
	buf_printf(out,
		   "# HELP cenote_pg_checkpoint_writes_total Calls that wrote checkpoints together with others.\n"
		   "# TYPE cenote_pg_checkpoint_writes_total counter\ncenote_pg_checkpoint_writes_total %llu\n"
		   "# HELP cenote_pg_checkpoint_batches_total Transactions that these were.\n"
		   "# TYPE cenote_pg_checkpoint_batches_total counter\ncenote_pg_checkpoint_batches_total %llu\n",
		   atomic_load(&g->calls), atomic_load(&g->batches));
}

enum err pg_ckpt_gather_start(struct pg *s)
{
	struct pg_ckpt_gather *g = calloc(1, sizeof *g);
	pthread_condattr_t attr;
	if (!g)
		return err_set(E_LIMIT, "out of memory");
	s->ckpt_gather = g;
	g->max = s->opt.queue_max ? s->opt.queue_max : QUEUE_MAX;
	list_init(&g->queue);
	pthread_mutex_init(&g->mu, NULL);
	pthread_cond_init(&g->cv, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->warden_cv, &attr);
	pthread_condattr_destroy(&attr);
	for (unsigned i = 0; i < THREADS; i++) {
		g->batch[i].g = g;
		if (pthread_create(&g->threads[i], NULL, gatherer, &g->batch[i]) != 0)
			return err_set(E_LIMIT, "no thread can be made");
		g->threads_n++;
	}
	if (pthread_create(&g->warden, NULL, warden, g) != 0)
		return err_set(E_LIMIT, "no thread can be made");
	g->warden_up = true;
	return OK;
}

void pg_ckpt_gather_stop(struct pg *s)
{
	struct pg_ckpt_gather *g = s->ckpt_gather;
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
	s->ckpt_gather = NULL;
}
