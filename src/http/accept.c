/* Sockets beside libmicrohttpd's work: accepting (with the limit of connections), noticing clients that have gone while their
 * handler is parked, and closing gently after an answer that came before the request had been read.
 *
 * Invariants
 *  1. A connection over the limit costs no slot: it is told 503 and lingers at most LINGER_NS, with at most LINGERS_MAX others.
 *  2. Every connection is in the epoll set gone_fd with no events asked for, so only a closed or reset socket is reported, once. A
 *     client that has only shut down its sending side is still there. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/internal.h"

#define ACCEPTS_PER_TICK 64
#define LINGERS_MAX 128
#define LINGER_BYTES ((size_t)4 << 20)
#define LINGER_NS UINT64_C(1000000000)

/* -------------------------------------------------------------------- linger */

struct lingerer {
	struct list node;
	struct http_server *server;
	struct loop_poll *poll;
	struct loop_timer *timer;
	int fd;
	size_t left;
};

static void linger_free(struct lingerer *g)
{
	list_del(&g->node);
	g->server->lingers_n--;
	if (g->poll)
		loop_poll_free(g->poll);
	if (g->timer)
		loop_timer_free(g->timer);
	close(g->fd);
	free(g);
}

static void linger_timeout(void *arg)
{
	linger_free(arg);
}

/* Closing with unread bytes makes the kernel send a reset, which can overtake the answer: so read on for a moment. */
static void linger_read(void *arg, unsigned events)
{
	struct lingerer *g = arg;
	char skip[16384];

	(void)events;
	for (int i = 0; i < 8; i++) {
		ssize_t n = recv(g->fd, skip, sizeof skip, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
			return;
		if (n <= 0 || (size_t)n >= g->left) {
			linger_free(g);
			return;
		}
		g->left -= (size_t)n;
	}
}

void linger_add(struct http_server *s, int fd)
{
	struct lingerer *g = s->lingers_n < LINGERS_MAX && !s->cut ? calloc(1, sizeof *g) : NULL;

	shutdown(fd, SHUT_WR);
	if (!g) {
		close(fd);
		return;
	}
	*g = (struct lingerer){.server = s, .fd = fd, .left = LINGER_BYTES};
	list_add_tail(&s->lingers, &g->node);
	s->lingers_n++;
	if (loop_poll_new(s->loop, fd, "http.linger", linger_read, g, &g->poll) != OK || loop_poll_set(g->poll, LOOP_READ) != OK ||
	    loop_timer_new(s->loop, "http.linger", linger_timeout, g, &g->timer) != OK) {
		linger_free(g);
		return;
	}
	loop_timer_set(g->timer, clock_mono_ns() + LINGER_NS);
}

void linger_free_all(struct http_server *s)
{
	while (!list_empty(&s->lingers))
		linger_free(CONTAINER(s->lingers.next, struct lingerer, node));
}

/* ---------------------------------------------------------------------- gone */

static void on_gone(void *arg, unsigned events)
{
	struct http_server *s = arg;
	struct epoll_event ev[64];
	int n;

	(void)events;
	do {
		n = epoll_wait(s->gone_fd, ev, 64, 0);
		for (int i = 0; i < n; i++) {
			struct http_conn *c = ev[i].data.ptr;

			if (c->rq && c->rq->in_fiber && c->rq->suspended)
				fiber_cancel(c->rq->fiber);
		}
	} while (n == 64);
}

enum err gone_start(struct http_server *s)
{
	s->gone_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->gone_fd < 0)
		return err_set(E_IO, "epoll_create1: %s", strerror(errno));
	TRY(loop_poll_new(s->loop, s->gone_fd, "http.gone", on_gone, s, &s->gone_poll));
	return loop_poll_set(s->gone_poll, LOOP_READ);
}

void gone_stop(struct http_server *s)
{
	if (s->gone_poll)
		loop_poll_free(s->gone_poll);
	if (s->gone_fd >= 0)
		close(s->gone_fd);
}

/* -------------------------------------------------------------------- accept */

static int64_t peer_uid(int fd)
{
	struct ucred cred;
	socklen_t n = sizeof cred;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) == 0 ? (int64_t)cred.uid : -1;
}

static void refuse(struct http_server *s, int fd)
{
	metric_add(&s->metrics.shed, 1);
	response_raw_fd(fd, 503, "the server has as many connections as it may have", 1);
	linger_add(s, fd);
}

static void take(struct listener *l, int fd, struct sockaddr_storage *addr, socklen_t addr_n)
{
	struct http_server *s = l->server;
	struct epoll_event ev = {.events = EPOLLET};
	struct http_conn *c = s->conns_n < s->opt.max_connections ? calloc(1, sizeof *c) : NULL;

	if (!c) {
		refuse(s, fd);
		return;
	}
	*c = (struct http_conn){.server = s, .fd = fd, .is_unix = l->is_unix, .peer_uid = l->is_unix ? peer_uid(fd) : -1};
	list_init(&c->node);
	/* libmicrohttpd copies an address of at least this length, also for unnamed unix sockets. */
	if (addr_n < sizeof(sa_family_t))
		addr_n = sizeof(sa_family_t);
	s->accepting = c;
	/* From the callback for its start on the connection belongs to libmicrohttpd, which closes fd also when this fails. */
	if (MHD_add_connection(s->mhd, fd, (struct sockaddr *)addr, addr_n) != MHD_YES) {
		if (s->accepting) {
			s->accepting = NULL;
			free(c);
		}
		return;
	}
	ev.data.ptr = c;
	if (epoll_ctl(s->gone_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
		LOG(LOG_WARN, "http", "a connection cannot be watched for its end", LF_INT("errno", errno));
}

void accept_pause(struct http_server *s, bool pause)
{
	s->accept_paused = pause;
	for (size_t i = 0; i < s->listeners_n; i++)
		if (s->listeners[i].poll && loop_poll_set(s->listeners[i].poll, pause ? 0 : LOOP_READ) != OK)
			LOG(LOG_ERROR, "http", "a listening socket cannot be watched");
}

static void on_connect(void *arg, unsigned events)
{
	struct listener *l = arg;
	struct http_server *s = l->server;
	bool was_empty = s->conns_n == 0;

	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TICK; i++) {
		struct sockaddr_storage addr;
		socklen_t n = sizeof addr;
		int fd = accept4(l->fd, (struct sockaddr *)&addr, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			take(l, fd, &addr, n);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			LOG(LOG_WARN, "http", "no descriptors or memory for more connections; accepting pauses",
			    LF_INT("connections", s->conns_n));
			accept_pause(s, true);
			loop_timer_set(s->timer, clock_mono_ns() + UINT64_C(100000000));
		}
		break;
	}
	if (was_empty && !s->accept_paused)
		timeouts_arm(s);
	server_run(s);
}

enum err accept_start(struct http_server *s, const int *fds, size_t n)
{
	s->listeners = calloc(n ? n : 1, sizeof *s->listeners);
	if (!s->listeners)
		return err_set(E_LIMIT, "out of memory for the HTTP server");
	s->listeners_n = n;
	for (size_t i = 0; i < n; i++) {
		int domain = AF_INET;
		socklen_t len = sizeof domain;

		getsockopt(fds[i], SOL_SOCKET, SO_DOMAIN, &domain, &len);
		s->listeners[i] = (struct listener){.fd = fds[i], .is_unix = domain == AF_UNIX, .server = s};
	}
	for (size_t i = 0; i < n; i++) {
		TRY(loop_poll_new(s->loop, fds[i], "http.accept", on_connect, &s->listeners[i], &s->listeners[i].poll));
		TRY(loop_poll_set(s->listeners[i].poll, LOOP_READ));
	}
	return OK;
}

void accept_stop(struct http_server *s)
{
	for (size_t i = 0; i < s->listeners_n; i++) {
		if (s->listeners[i].poll)
			loop_poll_free(s->listeners[i].poll);
		if (s->listeners[i].fd >= 0)
			close(s->listeners[i].fd);
		s->listeners[i].poll = NULL;
		s->listeners[i].fd = -1;
	}
}
