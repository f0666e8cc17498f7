/* Waiting for vectors: who waits is told by the worker; without one he does its work. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/vectors_impl.h"
#include "rt/wait.h"

static void waiter_end(struct vwaiter *w, enum err e)
{
	uint64_t one = 1;
	ssize_t wrote;

	w->ended = true;
	w->err = e;
	if (e != OK)
		w->diag = *diag_get();
	list_del(&w->node);
	wrote = write(w->fd, &one, sizeof one);
	(void)wrote; /* an eventfd at 0 always takes it */
}

void vectors_settle(struct vectors *v, struct vtenant *t, bool walked)
{
	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &t->waiters) {
		struct vwaiter *w = CONTAINER(node, struct vwaiter, node);
		bool done = w->armed && (walked || !w->walk);

		for (int k = 0; k < KINDS; k++)
			done = done && t->kind[k].queue.seq >= w->seq[k];
		if (done)
			waiter_end(w, OK);
	}
	pthread_mutex_unlock(&v->lock);
}

void vectors_see(struct vectors *v, struct vtenant *t)
{
	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &t->waiters)
		CONTAINER(node, struct vwaiter, node)->seen = true;
	pthread_mutex_unlock(&v->lock);
}

void vectors_arm(struct vectors *v, struct vtenant *t)
{
	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &t->waiters) {
		struct vwaiter *w = CONTAINER(node, struct vwaiter, node);

		if (!w->seen || w->armed)
			continue;
		for (int k = 0; k < KINDS; k++)
			w->seq[k] = t->kind[k].queue.seq + t->kind[k].queue.n;
		w->walk = w->all || t->gap;
		w->armed = true;
	}
	pthread_mutex_unlock(&v->lock);
}

void vectors_fail_waiters(struct vectors *v, struct vtenant *t, enum err e)
{
	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &t->waiters)
		waiter_end(CONTAINER(node, struct vwaiter, node), e);
	pthread_mutex_unlock(&v->lock);
}

/* Without a worker the caller does its job; of several one at a time. */
static enum err work_for(struct vectors *v, struct vtenant *t, struct vwaiter *w)
{
	bool more, mine, ended;
	enum err e;

	for (;;) {
		pthread_mutex_lock(&v->lock);
		ended = w->ended || v->running;
		mine = !ended && !v->busy;
		v->busy |= mine;
		pthread_mutex_unlock(&v->lock);
		if (ended)
			return OK;
		if (!mine) {
			TRY(wait_until(deadline_in_ms(1)));
			continue;
		}
		e = vectors_round(v, t, &more);
		pthread_mutex_lock(&v->lock);
		v->busy = false;
		pthread_mutex_unlock(&v->lock);
		if (e != OK)
			return w->ended ? OK : e; /* then it has been told */
		if (wait_expired())
			return err_set(E_TIMEOUT, "not all texts have their vectors yet");
	}
}

static enum err wait_for(struct vectors *v, struct vtenant *t, struct vwaiter *w)
{
	bool running;
	enum err e = OK;

	pthread_mutex_lock(&v->lock);
	list_add_tail(&t->waiters, &w->node);
	t->dirty = true;
	running = v->running;
	pthread_mutex_unlock(&v->lock);
	atomic_fetch_add(&v->waiters, 1);
	if (running)
		vectors_wake_worker(v, true);
	else
		e = work_for(v, t, w);
	if (e == OK)
		e = wait_fd(w->fd, WAIT_READ, NEVER, NULL);
	if (e == E_TIMEOUT)
		e = err_set(E_TIMEOUT, "not all texts have their vectors yet");
	pthread_mutex_lock(&v->lock);
	list_del(&w->node);
	if (w->ended) { /* whatever else has happened since */
		e = w->err;
		if (e != OK)
			*diag_get() = w->diag;
	}
	pthread_mutex_unlock(&v->lock);
	atomic_fetch_sub(&v->waiters, 1);
	return e;
}

static enum err wait_some(struct vectors *v, const struct principal *who, uint32_t ms, bool all)
{
	struct vwaiter w = {.fd = -1, .all = all};
	struct vtenant *t;
	uint64_t before;
	enum err e;

	if (!v || !v->embedder)
		return OK;
	TRY(principal_check(who, 0));
	TRY(vectors_tenant(v, who->tenant, &t));
	w.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w.fd < 0)
		return err_set(E_LIMIT, "no descriptor is left to wait with");
	list_init(&w.node);
	before = wait_within(ms ? deadline_in_ms(ms) : NEVER);
	e = wait_for(v, t, &w);
	wait_restore(before);
	close(w.fd);
	return e;
}

enum err vectors_wait(struct vectors *v, const struct principal *who, uint32_t ms)
{
	return wait_some(v, who, ms, true);
}

enum err vectors_wait_new(struct vectors *v, const struct principal *who, uint32_t ms)
{
	return wait_some(v, who, ms, false);
}
