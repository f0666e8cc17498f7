/* What a loop watches for its owners: descriptors, moments, signals.
 *
 * Invariants
 *  1. uv frees a handle only in a later tick, hence each lives in memory of its own; the owner's callback is not called after the
 * free.
 *  2. A callback may free its own handle: nothing of the handle is touched after the callback.
 *  3. A loop_timer is an entry of the loop's heap of deadlines, not a uv handle: setting one is a heap operation, freeing it is
 * immediate. */
#include "rt/internal.h"

struct loop_poll {
	uv_poll_t uv;
	struct loop *loop;
	const char *name;
	void (*fn)(void *arg, unsigned events);
	void *arg;
};

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct loop_poll *p = h->data;
	struct loop *l = p->loop;
	const char *name = p->name;
	unsigned ready = LOOP_READ | LOOP_WRITE;

	if (status >= 0)
		ready = (events & UV_READABLE ? LOOP_READ : 0) | (events & UV_WRITABLE ? LOOP_WRITE : 0);
	if (ready == 0)
		return;
	uint64_t since = watch_begin();
	p->fn(p->arg, ready);
	watch_end(l, name, since);
	(void)l, (void)name;
}

static void free_handle(uv_handle_t *h)
{
	free(h->data);
}

enum err loop_poll_new(struct loop *l, int fd, const char *name, void (*fn)(void *arg, unsigned events), void *arg,
		       struct loop_poll **out)
{
	struct loop_poll *p = calloc(1, sizeof *p);

	if (!p)
		return err_set(E_LIMIT, "no memory to watch a descriptor");
	int r = uv_poll_init(&l->uv, &p->uv, fd);
	if (r < 0) {
		free(p);
		return err_set(E_IO, "cannot watch descriptor %d (%s): %s", fd, name, uv_strerror(r));
	}
	p->uv.data = p;
	p->loop = l;
	p->name = name;
	p->fn = fn;
	p->arg = arg;
	*out = p;
	return OK;
}

enum err loop_poll_set(struct loop_poll *p, unsigned events)
{
	int r;

	if (events == 0)
		r = uv_poll_stop(&p->uv);
	else
		r = uv_poll_start(&p->uv, (events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0),
				  on_poll);
	return r < 0 ? err_set(E_IO, "cannot watch a descriptor (%s): %s", p->name, uv_strerror(r)) : OK;
}

void loop_poll_free(struct loop_poll *p)
{
	if (p)
		uv_close((uv_handle_t *)&p->uv, free_handle);
}

struct loop_timer {
	struct due due;
	struct loop *loop;
	const char *name;
	void (*fn)(void *arg);
	void *arg;
};

static void on_due(struct due *d)
{
	struct loop_timer *t = CONTAINER(d, struct loop_timer, due);
	struct loop *l = t->loop;
	const char *name = t->name;

	uint64_t since = watch_begin();
	t->fn(t->arg);
	watch_end(l, name, since);
	(void)l, (void)name;
}

enum err loop_timer_new(struct loop *l, const char *name, void (*fn)(void *arg), void *arg, struct loop_timer **out)
{
	TRY(due_reserve(l));
	struct loop_timer *t = calloc(1, sizeof *t);
	if (!t) {
		due_unreserve(l);
		return err_set(E_LIMIT, "no memory for a timer");
	}
	*t = (struct loop_timer){.due.fn = on_due, .loop = l, .name = name, .fn = fn, .arg = arg};
	*out = t;
	return OK;
}

void loop_timer_set(struct loop_timer *t, uint64_t at_ns)
{
	due_set(t->loop, &t->due, at_ns);
}

void loop_timer_free(struct loop_timer *t)
{
	if (!t)
		return;
	due_cancel(t->loop, &t->due);
	due_unreserve(t->loop);
	free(t);
}

struct loop_sig {
	uv_signal_t uv;
	struct loop_sig *next;
	struct loop *loop;
	void (*fn)(void *arg, int signum);
	void *arg;
};

static void on_signal(uv_signal_t *h, int signum)
{
	struct loop_sig *s = h->data;

	uint64_t since = watch_begin();
	s->fn(s->arg, signum);
	watch_end(s->loop, "signal", since);
}

enum err loop_signal(struct loop *l, int signum, void (*fn)(void *arg, int signum), void *arg)
{
	struct loop_sig *s = calloc(1, sizeof *s);

	if (!s)
		return err_set(E_LIMIT, "no memory to watch a signal");
	uv_signal_init(&l->uv, &s->uv);
	s->uv.data = s;
	s->next = l->signals;
	s->loop = l;
	s->fn = fn;
	s->arg = arg;
	l->signals = s;
	int r = uv_signal_start(&s->uv, on_signal, signum);
	return r < 0 ? err_set(E_INVALID, "cannot watch signal %d: %s", signum, uv_strerror(r)) : OK;
}

void loop_signals_close(struct loop *l)
{
	while (l->signals) {
		struct loop_sig *s = l->signals;
		l->signals = s->next;
		uv_close((uv_handle_t *)&s->uv, free_handle);
	}
}
