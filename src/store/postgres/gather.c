/* Writes of many callers together: what waits while a batch is under way goes into the next one, so the more there is to do, the
 * less each write costs.
 *
 * Calls are queued. Each of the gather threads takes what is queued for a tenant, makes a batch of it, runs it and answers. There
 * is no timer: a lone call goes at once. As long as a tenant's batch is under way its next one gathers, unless many wait or the
 * batch is stuck: two half batches side by side cost the server about twice as much as one.
 *
 * Invariants
 *  1. A request is in at most one place: a loop's pending list, the queue, a batch. Whoever takes it out of there under the lock is
 *     the one that sets its event, and does not touch it afterwards.
 *  2. A batch reads the memory of its requests only while it is being built; only a batch that is not (`open`) may lose requests.
 *     Results go, under the lock, to the requests that are still there.
 *  3. A request is in one batch wholly: what it writes is one transaction.
 *  4. A request whose deadline passes in the queue was not written; one that has been sent is answered without knowing, after
 *     GRACE_NS in which the server may say how it ended.
 *  5. A batch that fails by the fault of one of several requests, or because a stranger has a row locked, is given back to its
 *     callers, each of which tries alone. */
#include "store/postgres/gather.h"

#include <time.h>

#define CROWD 128 /* so many waiting calls are worth another batch of the same tenant */
#define STUCK_NS UINT64_C(100000000)
#define LOOK_AT 1024 /* requests of the queue that are looked at for a batch */
#define QUEUE_MAX 20000
#define GRACE_NS UINT64_C(200000000)
#define WARDEN_NS 100000000 /* how often deadlines are looked at */

/* ---------------------------------------------------------------- making a batch */

static bool under_way(const struct gather *g, const struct pg_tenant *t)
{
	for (unsigned i = 0; i < g->ops->threads; i++)
		if (g->batch[i].n > 0 && g->batch[i].t == t)
			return true;
	return false;
}

static bool blocked(const struct gather *g, const struct gather_req *q)
{
	return g->ops->blocked && g->ops->blocked(g, q);
}

/* Under the lock: the request that the next batch begins with; NULL: none should begin now. */
static struct gather_req *ready(const struct gather *g)
{
	unsigned busy = 0, looked = 0;
	uint64_t oldest = NEVER;
	if (list_empty(&g->queue))
		return NULL;
	for (unsigned i = 0; i < g->ops->threads; i++) {
		const struct gather_batch *b = &g->batch[i];
		busy += b->n > 0;
		if (b->n > 0 && b->begun < oldest)
			oldest = b->begun;
	}
	bool any = busy == 0 || g->queued >= CROWD * busy || clock_mono_ns() - oldest > STUCK_NS;
	LIST_EACH (at, &g->queue) {
		struct gather_req *q = CONTAINER(at, struct gather_req, node);
		if ((any || !under_way(g, q->t)) && !blocked(g, q))
			return q;
		if (++looked == LOOK_AT)
			break;
	}
	return NULL;
}

static void add(struct gather_batch *b, struct gather_req *q)
{
	list_del(&q->node);
	b->g->queued--;
	b->g->ops->add(b, q);
	b->reqs[b->n++] = q;
	b->bytes += q->bytes;
	if (q->deadline > b->deadline)
		b->deadline = q->deadline;
}

/* Under the lock: the request, and what goes with it. */
static void take(struct gather *g, struct gather_batch *b, struct gather_req *first)
{
	unsigned looked = 0;
	b->t = first->t;
	b->n = 0;
	b->bytes = 0;
	b->deadline = 0;
	b->open = false;
	b->begun = clock_mono_ns();
	g->ops->begin(b);
	add(b, first);
	LIST_EACH (at, &g->queue) {
		struct gather_req *q = CONTAINER(at, struct gather_req, node);
		if (++looked > LOOK_AT || b->n == GATHER_CALLS)
			return;
		if (q->t == b->t && b->bytes + q->bytes <= GATHER_BYTES && (!g->ops->joins || g->ops->joins(b, q)) &&
		    !blocked(g, q))
			add(b, q);
	}
}

void gather_open(struct gather_batch *b, bool open)
{
	pthread_mutex_lock(&b->g->mu);
	b->open = open;
	pthread_mutex_unlock(&b->g->mu);
}

/* ---------------------------------------------------------------- running it */

static void answer(struct gather *g, struct gather_req *q)
{
	for (struct gather_req *next; q; q = next) {
		next = q->next;
		atomic_fetch_sub(&g->waiting, 1);
		event_set(&q->ev);
	}
}

static void finish(struct gather_batch *b, enum err e, bool alone)
{
	struct gather_req *done = NULL;
	pthread_mutex_lock(&b->g->mu);
	if (e == OK && b->g->ops->deliver)
		b->g->ops->deliver(b);
	for (unsigned i = 0; i < b->n; i++) {
		struct gather_req *q = b->reqs[i];
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
	struct gather_batch *b = arg;
	struct gather *g = b->g;
	char sqlstate[6];
	pthread_mutex_lock(&g->mu);
	for (;;) {
		struct gather_req *first = ready(g);
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
		atomic_fetch_add(&g->batches_run, 1);
		atomic_fetch_add(&g->calls_run, b->n);
		sqlstate[0] = 0;
		enum err e = g->ops->run(b, sqlstate);
		finish(b, e, e != OK && sqlstate[0] && g->ops->alone(sqlstate, b->n));
		pthread_mutex_lock(&g->mu);
	}
	pthread_mutex_unlock(&g->mu);
	return NULL;
}

bool gather_one_of_many(const char *sqlstate)
{
	/* The connection, a read-only server, its limits, its shutting down, a collision that has been retried already. */
	static const char *const of_all[] = {"08", "25", "53", "57P", "40"};
	for (size_t i = 0; i < sizeof of_all / sizeof *of_all; i++)
		if (strncmp(sqlstate, of_all[i], strlen(of_all[i])) == 0)
			return false;
	return sqlstate[0] != 0;
}

/* ---------------------------------------------------------------- deadlines */

static struct gather_req *too_late(struct gather_req *q, const char *sentence, struct gather_req *next)
{
	q->err = err_set(E_TIMEOUT, "%s", sentence);
	q->diag = *diag_get();
	q->next = next;
	return q;
}

/* Also wakes a thread when a batch is stuck. */
static void withdraw(struct gather *g)
{
	uint64_t now = clock_mono_ns();
	struct gather_req *late = NULL;
	pthread_mutex_lock(&g->mu);
	LIST_EACH (at, &g->queue) {
		struct gather_req *q = CONTAINER(at, struct gather_req, node);
		if (q->deadline > now)
			continue;
		list_del(&q->node);
		g->queued--;
		late = too_late(q, "the deadline passed while the write waited for the database; nothing was written", late);
	}
	for (unsigned i = 0; i < g->ops->threads; i++) {
		struct gather_batch *b = &g->batch[i];
		for (unsigned k = 0; b->open && k < b->n; k++) {
			struct gather_req *q = b->reqs[k];
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
	struct gather *g = arg;
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

/* What the fibers of this thread's loop have queued in this tick, by kind. */
static _Thread_local struct pending {
	struct gather *g;
	struct gather_req *head, **end;
	struct loop_hook hook;
} pending[GATHER_KINDS];

static void push(struct gather *g, struct gather_req *q)
{
	pthread_mutex_lock(&g->mu);
	for (struct gather_req *next; q; q = next) {
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
	struct pending *p = arg;
	struct gather *g = p->g;
	loop_hook_del(&p->hook);
	p->g = NULL;
	push(g, p->head);
}

static void push_at_tick_end(struct gather *g, struct gather_req *q)
{
	struct pending *p = &pending[g->kind];
	if (p->g && p->g != g) {
		push(g, q);
		return;
	}
	if (!p->g) {
		p->g = g;
		p->end = &p->head;
		p->hook.fn = on_tick_end;
		p->hook.arg = p;
		loop_hook_add(loop_current(), &p->hook);
	}
	*p->end = q;
	p->end = &q->next;
}

enum err gather_call(struct gather *g, struct gather_req *q, bool *alone)
{
	*alone = false;
	q->deadline = fiber_deadline();
	if (fiber_cancelled())
		return err_set(E_CANCELLED, "the request was cancelled before its write began");
	if (q->deadline != NEVER && clock_mono_ns() >= q->deadline)
		return err_set(E_TIMEOUT, "the deadline passed before the write began");
	if (atomic_fetch_add(&g->waiting, 1) >= g->max) {
		atomic_fetch_sub(&g->waiting, 1);
		enum err e = err_set(E_BUSY, "%u writes are waiting for the database; try again in a second", g->max);
		diag_get()->retry_after_s = 1;
		return e;
	}
	event_init(&q->ev);
	if (fiber_current())
		push_at_tick_end(g, q);
	else
		push(g, q);
	event_wait(&q->ev);
	*alone = q->alone;
	if (q->err != OK)
		*diag_get() = q->diag;
	return q->err;
}

/* ---------------------------------------------------------------- life */

unsigned gather_waiting(struct gather *g, unsigned *batches)
{
	*batches = 0;
	pthread_mutex_lock(&g->mu);
	for (unsigned i = 0; i < g->ops->threads; i++)
		*batches += g->batch[i].n > 0;
	pthread_mutex_unlock(&g->mu);
	return atomic_load(&g->waiting);
}

enum err gather_start(const struct pg *s, unsigned kind, const struct gather_ops *ops, struct gather **out)
{
	struct gather *g = calloc(1, sizeof *g);
	pthread_condattr_t attr;
	if (!g)
		return err_set(E_LIMIT, "out of memory");
	*out = g;
	g->ops = ops;
	g->kind = kind;
	g->max = s->opt.queue_max ? s->opt.queue_max : QUEUE_MAX;
	list_init(&g->queue);
	pthread_mutex_init(&g->mu, NULL);
	pthread_cond_init(&g->cv, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->warden_cv, &attr);
	pthread_condattr_destroy(&attr);
	for (unsigned i = 0; i < ops->threads; i++) {
		g->batch[i].g = g;
		g->batch[i].own = calloc(1, ops->own_bytes);
		if (!g->batch[i].own)
			return err_set(E_LIMIT, "out of memory");
	}
	for (; g->threads_n < ops->threads; g->threads_n++)
		if (pthread_create(&g->threads[g->threads_n], NULL, gatherer, &g->batch[g->threads_n]) != 0)
			return err_set(E_LIMIT, "no thread can be made");
	if (pthread_create(&g->warden, NULL, warden, g) != 0)
		return err_set(E_LIMIT, "no thread can be made");
	g->warden_up = true;
	return OK;
}

void gather_stop(struct gather *g)
{
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
	for (unsigned i = 0; i < g->ops->threads; i++)
		free(g->batch[i].own);
	pthread_cond_destroy(&g->cv);
	pthread_cond_destroy(&g->warden_cv);
	pthread_mutex_destroy(&g->mu);
	free(g);
}
