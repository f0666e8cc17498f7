/* The server: libmicrohttpd under the loop, the pool of requests, drain.
 *
 * libmicrohttpd runs with its own epoll set, which the loop watches; MHD_run is called when that set is readable, after connections
 * were accepted, and once per tick when handlers that had parked are done. Listening sockets are ours (accept.c), and so are all
 * timeouts (timeouts.c).
 *
 * Invariants
 *  1. MHD_run is not entered twice: what comes up meanwhile is done in the next tick.
 *  2. Resumes of a tick are collected in `ready` and cost one MHD_run.
 *  3. `working` counts requests that are not back in the pool; drain is complete when it and conns_n are 0. */
#include <stdlib.h>
#include <unistd.h>

#include "http/internal.h"

#define RUNS_PER_TICK 4		    /* MHD_run calls while it has more to do: pipelined requests, large bodies */
#define POOL_KEEP 256		    /* requests kept with their arena's first block */
#define HEADER_SLACK ((size_t)4096) /* room in libmicrohttpd's pool for its header list and the answer's header */
#define DRAIN_IDLE_NS UINT64_C(300000000)

/* MHD_ALLOW_SUSPEND_RESUME without the wake-up descriptor that it includes: everything happens on the loop's thread. */
#define SUSPEND_ONLY ((unsigned)MHD_ALLOW_SUSPEND_RESUME & ~(unsigned)MHD_USE_ITC)

/* ---------------------------------------------------------------- requests */

struct http_req *server_take_request(struct http_server *s)
{
	struct http_req *rq = s->pool;

	if (rq) {
		s->pool = rq->free_next;
		s->pool_n--;
	} else {
		rq = calloc(1, sizeof *rq);
		if (!rq)
			return NULL;
		rq->server = s;
		arena_init(&rq->arena, s->opt.max_body + ARENA_EXTRA);
		list_init(&rq->ready);
	}
	s->working++;
	metric_add(&s->metrics.in_flight, 1);
	return rq;
}

void server_give_request(struct http_server *s, struct http_req *rq)
{
	s->working--;
	metric_add(&s->metrics.in_flight, -1);
	request_reset(rq);
	if (s->pool_n < POOL_KEEP) {
		rq->free_next = s->pool;
		s->pool = rq;
		s->pool_n++;
	} else {
		arena_release(&rq->arena);
		free(rq);
	}
	server_request_gone(s);
}

/* --------------------------------------------------------------- MHD's turn */

static void again(void *arg)
{
	struct http_server *s = arg;

	s->again_posted = false;
	server_run(s);
}

static void run_again(struct http_server *s)
{
	if (s->again_posted)
		return;
	s->again_posted = true;
	s->again = (struct loop_task){.fn = again, .arg = s};
	loop_post(s->loop, &s->again);
}

void server_run(struct http_server *s)
{
	MHD_UNSIGNED_LONG_LONG ms = 0;
	int left = RUNS_PER_TICK;

	if (!s->mhd)
		return;
	if (!s->running) {
		s->running = true;
		do {
			MHD_run(s->mhd);
		} while (MHD_get_timeout(s->mhd, &ms) == MHD_YES && ms == 0 && --left > 0);
		s->running = false;
		if (left > 0)
			return;
	}
	run_again(s);
}

static void on_readable(void *arg, unsigned events)
{
	(void)events;
	server_run(arg);
}

static void resume_ready(struct http_server *s)
{
	if (list_empty(&s->ready))
		return;
	while (!list_empty(&s->ready)) {
		struct http_req *rq = CONTAINER(s->ready.next, struct http_req, ready);

		list_del(&rq->ready);
		if (rq->stream) {
			if (!rq->stream->hungry && rq->phase == RQ_QUEUED)
				continue;
			rq->stream->hungry = false;
			if (rq->phase == RQ_QUEUED)
				rq->suspended = false;
		}
		MHD_resume_connection(rq->conn->mhd);
	}
	server_run(s);
	if (!list_empty(&s->ready))
		run_again(s);
}

static void end_of_tick(void *arg)
{
	struct http_server *s = arg;

	resume_ready(s);
	if (s->log.n)
		log_flush(&s->log);
}

/* -------------------------------------------------------------- start, stop */

static struct MHD_Daemon *start_mhd(struct http_server *s, unsigned suspend_flag)
{
	size_t pool = s->opt.max_header + HEADER_SLACK;

	return MHD_start_daemon((unsigned)MHD_USE_EPOLL | (unsigned)MHD_USE_TURBO | (unsigned)MHD_USE_NO_LISTEN_SOCKET |
					suspend_flag,
				0, NULL, NULL, conn_on_access, s, MHD_OPTION_NOTIFY_COMPLETED, conn_on_completed, s,
				MHD_OPTION_NOTIFY_CONNECTION, conn_on_notify, s, MHD_OPTION_URI_LOG_CALLBACK, conn_on_uri, s,
				MHD_OPTION_CONNECTION_LIMIT, s->opt.max_connections + 64u, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool, MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_END);
}

static void set_limits(struct http_options *o)
{
	if (o->max_header < 1024)
		o->max_header = 1024;
	if (o->max_connections < 1)
		o->max_connections = 1;
	if (o->header_timeout_ms < 1)
		o->header_timeout_ms = 10000;
	if (o->idle_timeout_ms < 1)
		o->idle_timeout_ms = 60000;
}

static enum err start(struct http_server *s, const int *fds, size_t fds_n)
{
	const union MHD_DaemonInfo *di;

	TRY(metrics_init(&s->metrics, s->router));
	TRY(loop_timer_new(s->loop, "http.timeouts", timeouts_fire, s, &s->timer));
	TRY(gone_start(s));
	s->mhd = start_mhd(s, SUSPEND_ONLY);
	if (!s->mhd)
		s->mhd = start_mhd(s, (unsigned)MHD_ALLOW_SUSPEND_RESUME);
	if (!s->mhd)
		return err_set(E_IO, "the HTTP server cannot be started (libmicrohttpd %s)", MHD_get_version());
	di = MHD_get_daemon_info(s->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	if (!di || di->epoll_fd < 0)
		return err_set(E_INTERNAL, "libmicrohttpd %s has no epoll set", MHD_get_version());
	TRY(loop_poll_new(s->loop, di->epoll_fd, "http", on_readable, s, &s->mhd_poll));
	TRY(loop_poll_set(s->mhd_poll, LOOP_READ));
	s->hook = (struct loop_hook){.fn = end_of_tick, .arg = s};
	list_init(&s->hook.node);
	loop_hook_add(s->loop, &s->hook);
	return accept_start(s, fds, fds_n);
}

enum err http_server_new(struct loop *l, const struct http_router *r, const struct http_options *opt, const int *fds, size_t fds_n,
			 struct http_server **out)
{
	struct http_server *s = calloc(1, sizeof *s);
	enum err e;

	if (!s) {
		for (size_t i = 0; i < fds_n; i++)
			close(fds[i]);
		return err_set(E_LIMIT, "out of memory for the HTTP server");
	}
	s->loop = l;
	s->router = r;
	s->opt = *opt;
	set_limits(&s->opt);
	s->gone_fd = -1;
	buf_init(&s->log, NULL, LOG_PENDING_MAX);
	s->check_every = timeouts_interval(&s->opt);
	list_init(&s->conns);
	list_init(&s->ready);
	list_init(&s->lingers);
	e = start(s, fds, fds_n);
	if (e != OK) {
		if (!s->listeners)
			for (size_t i = 0; i < fds_n; i++)
				close(fds[i]);
		http_server_free(s);
		return e;
	}
	*out = s;
	return OK;
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	accept_stop(s);
	/* Requests whose fibers are parked keep their connections suspended, and libmicrohttpd cannot be stopped then. */
	if (s->mhd && s->working > 0 && loop_fibers(s->loop) > 0) {
		LOG(LOG_ERROR, "http", "server freed with requests in work; its memory is left to the process",
		    LF_INT("requests", s->working));
		return;
	}
	if (s->hook.fn)
		loop_hook_del(&s->hook);
	if (s->mhd_poll)
		loop_poll_free(s->mhd_poll);
	s->draining = s->cut = true;
	s->drain_done = NULL;
	s->running = true;
	if (s->mhd)
		MHD_stop_daemon(s->mhd);
	s->mhd = NULL;
	linger_free_all(s);
	gone_stop(s);
	if (s->timer)
		loop_timer_free(s->timer);
	metrics_release(&s->metrics);
	log_flush(&s->log);
	buf_release(&s->log);
	while (s->pool) {
		struct http_req *rq = s->pool;

		s->pool = rq->free_next;
		arena_release(&rq->arena);
		free(rq);
	}
	free(s->listeners);
	free(s);
}

/* -------------------------------------------------------------------- drain */

static void drained(void *arg)
{
	struct http_server *s = arg;
	void (*done)(void *) = s->drain_done;

	s->drain_done = NULL;
	if (done)
		done(s->drain_arg);
}

void server_request_gone(struct http_server *s)
{
	if (!s->drain_done || s->drained.fn || s->conns_n > 0 || s->working > 0)
		return;
	/* Not from inside libmicrohttpd: done may free the server. */
	s->drained = (struct loop_task){.fn = drained, .arg = s};
	loop_post(s->loop, &s->drained);
}

void http_server_drain(struct http_server *s, uint64_t deadline_ns, void (*done)(void *arg), void *arg)
{
	if (s->draining)
		return;
	s->draining = true;
	s->drain_deadline = deadline_ns;
	s->drain_idle_at = clock_mono_ns() + DRAIN_IDLE_NS;
	s->drain_done = done;
	s->drain_arg = arg;
	accept_stop(s);
	timeouts_arm(s);
	server_request_gone(s);
}
