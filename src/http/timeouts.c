/* All timeouts of connections: one list, one timer. Every connection is looked at every check_every (half of the shortest timeout),
 * so that requests themselves cost no list or timer operation: they only note when their state began.
 *
 * Invariants
 *  1. conns is ordered by check_at: what is looked at moves to the end with now + check_every.
 *  2. A fire looks at no more than LOOKS connections; the rest follows in the next tick. */
#include <linux/sockios.h>
#include <linux/tcp.h> /* not netinet/tcp.h, whose struct tcp_info lacks bytes_received */
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "http/internal.h"

#define LOOKS 512
#define MS UINT64_C(1000000)
#define SLACK (10 * MS)		  /* the kernel's times of arrival are in its own ticks */
#define BODY_RATE ((size_t)65536) /* bytes that buy a slow body one more second */

uint64_t timeouts_interval(const struct http_options *o)
{
	uint64_t least = o->header_timeout_ms < o->idle_timeout_ms ? o->header_timeout_ms : o->idle_timeout_ms;
	uint64_t every = least * MS / 2;

	return every < 10 * MS ? 10 * MS : every > 5000 * MS ? 5000 * MS : every;
}

/* libmicrohttpd does not tell that a part of a request line has come; the kernel tells when bytes came last. What comes within
 * SLACK of the last answer is not told apart from the request before. Unix sockets have no such record: there only the idle timeout
 * counts until the first line is complete. */
static bool bytes_since(const struct http_conn *c, uint64_t now)
{
	struct tcp_info ti;
	socklen_t n = sizeof ti;

	if (c->is_unix || getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &ti, &n) != 0 || ti.tcpi_bytes_received == 0)
		return false;
	return !c->used || (uint64_t)ti.tcpi_last_data_recv * MS + SLACK < now - c->since;
}

bool timeouts_nothing_sent(const struct http_conn *c)
{
	struct tcp_info ti;
	socklen_t n = sizeof ti;

	return !c->is_unix && getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &ti, &n) == 0 && ti.tcpi_bytes_sent == 0;
}

static void say_408(struct http_conn *c, const char *what)
{
	response_raw(c, c->rq, 408, what);
	conn_cut(c);
}

static void look_waiting(struct http_conn *c, uint64_t now)
{
	const struct http_options *o = &c->server->opt;

	if (!c->partial && bytes_since(c, now)) {
		c->partial = true;
		c->since = now;
	}
	if (c->partial && now - c->since >= o->header_timeout_ms * MS)
		say_408(c, "the request line did not come in time");
	else if (!c->partial && now - c->since >= o->idle_timeout_ms * MS)
		conn_cut(c);
}

static void look_sending(struct http_conn *c, uint64_t now)
{
	int outq = 0;

	if (ioctl(c->fd, SIOCOUTQ, &outq) != 0)
		outq = 0;
	if (outq != c->outq || outq == 0) {
		c->outq = outq;
		c->since = now;
	} else if (now - c->since >= c->server->opt.idle_timeout_ms * MS) {
		conn_cut(c);
	}
}

static void look(struct http_conn *c, uint64_t now)
{
	uint64_t limit = c->server->opt.header_timeout_ms * MS;

	switch (c->state) {
	case CONN_WAITING:
		look_waiting(c, now);
		break;
	case CONN_HEADER:
		if (now - c->since >= limit)
			say_408(c, "the request header did not come in time");
		break;
	case CONN_BODY:
		if (c->rq)
			limit += c->rq->body_n / BODY_RATE * 1000 * MS;
		if (now - c->since >= limit)
			say_408(c, "the request body did not come in time");
		break;
	case CONN_SENDING:
		look_sending(c, now);
		break;
	case CONN_HANDLER:
	case CONN_CUT:
		break;
	}
}

/* Idle connections at the drain's beginning, everything at its end. */
static void sweep(struct http_server *s, bool all)
{
	LIST_EACH (n, &s->conns) {
		struct http_conn *c = CONTAINER(n, struct http_conn, node);

		if (!all && c->state != CONN_WAITING)
			continue;
		if (c->rq && c->rq->in_fiber)
			fiber_cancel(c->rq->fiber);
		conn_cut(c);
	}
}

static void drain_steps(struct http_server *s, uint64_t now)
{
	if (s->drain_idle_at && now >= s->drain_idle_at) {
		s->drain_idle_at = 0;
		sweep(s, false);
	}
	if (!s->cut && now >= s->drain_deadline) {
		s->cut = true;
		sweep(s, true);
	}
}

void timeouts_arm(struct http_server *s)
{
	uint64_t at = NEVER;

	if (!list_empty(&s->conns))
		at = CONTAINER(s->conns.next, struct http_conn, node)->check_at;
	if (s->draining && s->drain_idle_at && s->drain_idle_at < at)
		at = s->drain_idle_at;
	if (s->draining && !s->cut && s->drain_deadline < at)
		at = s->drain_deadline;
	loop_timer_set(s->timer, at);
}

void timeouts_fire(void *arg)
{
	struct http_server *s = arg;
	uint64_t now = clock_mono_ns();

	if (s->accept_paused)
		accept_pause(s, false);
	if (s->draining)
		drain_steps(s, now);
	for (int i = 0; i < LOOKS && !list_empty(&s->conns); i++) {
		struct http_conn *c = CONTAINER(s->conns.next, struct http_conn, node);

		if (c->check_at > now)
			break;
		list_del(&c->node);
		c->check_at = now + s->check_every;
		list_add_tail(&s->conns, &c->node);
		look(c, now);
	}
	timeouts_arm(s);
}
