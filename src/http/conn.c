/* The life of a connection and of its requests, as libmicrohttpd tells it: accepted, request line, header, body, answer, next.
 *
 *   CONN_WAITING --on_uri--> CONN_HEADER --first on_access--> CONN_BODY --last on_access--> CONN_HANDLER --response_queue-->
 *   CONN_SENDING --on_completed--> CONN_WAITING ... --on_notify(CLOSED)--> gone
 *
 * Invariants
 *  1. c->rq is the request libmicrohttpd is working on; it stays ours until on_completed, which every request seen by on_uri gets.
 *  2. While a fiber of the request is parked and no streamed answer has begun, the connection is suspended: libmicrohttpd does not
 *     touch it, so on_completed cannot come.
 *  3. libmicrohttpd is called from the loop, never from inside a fiber (but for header look-ups). */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/internal.h"

/* Any value but the default 0: such connections libmicrohttpd visits at the start of MHD_run, before it reads from them. A resumed
 * connection is then answered without a read, whose end-of-file would close a half-closed connection unanswered. In seconds; never
 * reached. */
#define VISIT_FIRST 1000000u

void conn_state(struct http_conn *c, enum conn_state st)
{
	c->state = st;
	c->since = clock_mono_ns();
	c->partial = false;
}

void conn_cut(struct http_conn *c)
{
	if (c->state == CONN_CUT)
		return;
	conn_state(c, CONN_CUT);
	shutdown(c->fd, SHUT_RDWR);
}

/* -------------------------------------------------------------- the fiber */

static void request_main(void *arg)
{
	struct http_req *rq = arg;

	/* How long the sender of a body takes has a limit of its own (timeouts.c); the handler's time begins when all is there. */
	request_time(rq, rq->phase == RQ_EARLY ? rq->began : rq->conn->since);
	if (rq->phase == RQ_EARLY)
		admit_early(rq);
	else
		admit_and_handle(rq);
	log_context(NULL, 0);
	if (rq->stream)
		rs_abort(rq); /* does nothing after rs_end */
	rq->in_fiber = false;
	rq->fiber = NULL;
	if (!rq->conn)
		server_give_request(rq->server, rq);
	else if (rq->suspended)
		request_ready(rq);
}

static void park(struct http_req *rq)
{
	rq->suspended = true;
	MHD_suspend_connection(rq->conn->mhd);
	MHD_set_connection_option(rq->conn->mhd, MHD_CONNECTION_OPTION_TIMEOUT, VISIT_FIRST);
}

void request_ready(struct http_req *rq)
{
	if (list_empty(&rq->ready))
		list_add_tail(&rq->server->ready, &rq->ready);
}

/* Something to say before, or instead of, the fiber's answer. */
static enum MHD_Result after_fiber(struct http_req *rq)
{
	if (rq->answered && (!rq->in_fiber || rq->stream)) {
		if (rq->phase == RQ_EARLY) {
			/* The body stays unread: libmicrohttpd closes after the answer. */
			rq->close = true;
			rq->conn->linger = true;
		}
		rq->phase = RQ_DONE;
		return response_queue(rq);
	}
	if (rq->in_fiber) {
		park(rq);
		return MHD_YES;
	}
	rq->phase = RQ_READING; /* admitted: now the body */
	conn_state(rq->conn, CONN_BODY);
	return MHD_YES;
}

static enum MHD_Result start_fiber(struct http_req *rq, enum req_phase phase)
{
	bool ended = false;
	enum err e;

	rq->phase = phase;
	rq->in_fiber = true;
	conn_state(rq->conn, CONN_HANDLER);
	e = fiber_spawn(request_main, rq, &rq->fiber, &ended);
	if (e != OK) {
		rq->in_fiber = false;
		rq->fiber = NULL;
		(void)err_set(E_BUSY, "the server has too many requests in work");
		rs_fail(rq, 503);
	}
	return after_fiber(rq);
}

/* ---------------------------------------------------------------- callbacks */

static bool framing_ok(struct http_req *rq, const char *version)
{
	const char *what = NULL;

	/* These are looked for here, as what libmicrohttpd 0.9.75 answers when it finds them has its head twice. */
	if (rq->known_n[H_HOST] != 1 && (rq->known_n[H_HOST] > 1 || strcmp(version, "HTTP/1.0") != 0))
		what = rq->known_n[H_HOST] ? "more than one Host header" : "no Host header";
	else if (rq->bad_name)
		what = "a header whose name is not one: letters, digits and !#$%&'*+-.^_`|~, and the colon right behind";
	else if (rq->known_n[H_CONTENT_LENGTH] > 1)
		what = "more than one Content-Length header";
	else if (rq->known_n[H_TRANSFER_ENCODING] && rq->known_n[H_CONTENT_LENGTH])
		what = "both Content-Length and Transfer-Encoding";
	else if (rq->known_n[H_TRANSFER_ENCODING] > 1 ||
		 (rq->known_n[H_TRANSFER_ENCODING] && !str_ieq(rq->known[H_TRANSFER_ENCODING], STR("chunked"))))
		what = "a Transfer-Encoding other than chunked";
	else if (rq->known_n[H_TRANSFER_ENCODING] && strcmp(version, "HTTP/1.0") == 0)
		what = "Transfer-Encoding in HTTP/1.0";
	if (!what)
		return true;
	(void)err_kind(E_INVALID, ERR_SYNTAX, "the request is malformed: it has %s", what);
	rs_fail(rq, 400);
	return false;
}

/* Status of what is too long, 0 when nothing is. */
static int too_long(const struct http_req *rq)
{
	const union MHD_ConnectionInfo *ci = MHD_get_connection_info(rq->conn->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	if (rq->path.n + rq->query.n > URL_MAX)
		return 414;
	return ci && ci->header_size > rq->server->opt.max_header ? 431 : 0;
}

static bool target_ok(struct http_req *rq)
{
	for (size_t i = 0; i < rq->path.n; i++)
		if ((unsigned char)rq->path.p[i] <= 0x20 || rq->path.p[i] == 0x7f) {
			(void)err_kind(E_INVALID, ERR_SYNTAX, "the request target has a blank or control character");
			rs_fail(rq, 400);
			return false;
		}
	return true;
}

static struct str method_of(struct http_req *rq, const char *method)
{
	static const struct str common[] = {STR_INIT("GET"),   STR_INIT("PUT"),	 STR_INIT("POST"),   STR_INIT("DELETE"),
					    STR_INIT("PATCH"), STR_INIT("HEAD"), STR_INIT("OPTIONS")};
	struct str m = str_c(method), copy;

	for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
		if (str_eq(common[i], m))
			return common[i];
	copy = arena_str(&rq->arena, str_sub(m, 0, 64));
	return copy.p ? copy : STR("?");
}

/* Header complete. */
static enum MHD_Result on_header(struct http_req *rq, const char *method, const char *version)
{
	int status;

	rq->method = method_of(rq, method);
	request_headers(rq);
	status = too_long(rq);
	if (status) {
		/* Past libmicrohttpd, whose memory for this connection may have no room left for the head of an answer. */
		response_raw(rq->conn, rq, status,
			     status == 414 ? "the request target is too long" : "the request header is too large");
		return MHD_NO;
	}
	if (!framing_ok(rq, version) || !target_ok(rq)) {
		rq->phase = RQ_EARLY;
		return after_fiber(rq);
	}
	if (rq->has_body && (rq->content_length < 0 || (uint64_t)rq->content_length > BODY_INLINE))
		return start_fiber(rq, RQ_EARLY);
	/* Small bodies are read first: then an error need not cost the connection, and one fiber does it all. */
	rq->body_limit = BODY_INLINE;
	rq->phase = RQ_READING;
	conn_state(rq->conn, CONN_BODY);
	return MHD_YES;
}

static enum MHD_Result on_body(struct http_req *rq, const char *p, size_t *n)
{
	size_t part = *n;

	*n = 0;
	if (part > rq->body_limit - rq->body_n) {
		response_raw(rq->conn, rq, 413, "the body is larger than allowed for this route");
		return MHD_NO;
	}
	if (!body_append(rq, p, part)) {
		response_raw(rq->conn, rq, 503, "no memory for the body");
		return MHD_NO;
	}
	return MHD_YES;
}

enum MHD_Result conn_on_access(void *cls, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
			       const char *upload, size_t *upload_n, void **con_cls)
{
	struct http_req *rq = *con_cls;

	(void)cls, (void)url;
	if (!rq)
		return MHD_NO; /* no memory for a request */
	switch (rq->phase) {
	case RQ_NEW:
		return on_header(rq, method, version);
	case RQ_READING:
		if (*upload_n)
			return on_body(rq, upload, upload_n);
		return start_fiber(rq, RQ_HANDLER);
	case RQ_EARLY:
	case RQ_HANDLER:
		/* Resumed. */
		rq->suspended = false;
		MHD_set_connection_option(mhd, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
		return after_fiber(rq);
	default:
		return MHD_YES;
	}
}

void *conn_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	struct http_server *s = cls;
	const union MHD_ConnectionInfo *ci = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct http_conn *c = ci ? ci->socket_context : NULL;
	struct http_req *rq = c ? server_take_request(s) : NULL;
	struct str target = str_c(uri), authority;

	if (!rq)
		return NULL;
	rq->conn = c;
	c->rq = rq;
	c->used = true;
	conn_state(c, CONN_HEADER);
	rq->began = c->since;
	/* "http://host/path": the form for proxies; every server must take it. */
	if (target.n && target.p[0] != '/' && (str_starts(target, STR("http://")) || str_starts(target, STR("https://")))) {
		authority = str_sub(target, target.p[4] == 's' ? 8 : 7, target.n);
		ptrdiff_t slash = str_chr(authority, '/', 0);

		target = slash >= 0 ? str_sub(authority, (size_t)slash, authority.n) : STR("/");
	}
	/* libmicrohttpd takes the query apart in place; what routes and handlers see is the copy. */
	target = arena_str(&rq->arena, target);
	str_cut(target, '?', &rq->path, &rq->query);
	return rq;
}

static void count_and_log(struct http_req *rq, struct MHD_Connection *mhd, enum MHD_RequestTerminationCode how)
{
	uint64_t took = clock_mono_ns() - rq->began;
	const union MHD_ConnectionInfo *ci;
	enum log_level level = LOG_INFO;

	if (rq->phase != RQ_QUEUED && !rq->answered) {
		/* Never came to us: refused by libmicrohttpd, or given up by the client. */
		ci = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_HTTP_STATUS);
		rq->status = ci && ci->http_status ? (int)ci->http_status : 499;
	} else if (how != MHD_REQUEST_TERMINATED_COMPLETED_OK && !rq->conn->answered) {
		rq->status = 499;
	}
	metrics_count(&rq->server->metrics, rq->ep, rq->method, rq->status, took);
	if (rq->ep && (rq->ep->route->flags & R_QUIET))
		level = LOG_DEBUG;
	if (level < log_get_level())
		return;
	const struct log_field fields[] = {LF_STR("request_id", rq->id),
					   LF_STR("method", rq->method),
					   LF_C("route", rq->ep ? rq->ep->route->path : "none"),
					   LF_INT("status", rq->status),
					   LF_MS("duration_ms", (double)took / 1e6),
					   LF_INT("bytes", (int64_t)rq->sent),
					   LF_STR("tenant", rq->has_principal ? rq->principal.tenant : STR("")),
					   LF_C("trace_id", rq->trace)};

	/* Written together at the end of the tick: one write(2) a request would cost more than the request. */
	log_collect(&rq->server->log, level, "http", "request", fields, sizeof fields / sizeof fields[0] - (rq->trace[0] ? 0 : 1));
}

void conn_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode how)
{
	struct http_req *rq = *con_cls;
	struct http_conn *c;

	(void)cls;
	if (!rq)
		return;
	*con_cls = NULL;
	c = rq->conn;
	count_and_log(rq, mhd, how);
	c->next_expected = how == MHD_REQUEST_TERMINATED_COMPLETED_OK && rq->phase == RQ_QUEUED && !rq->close &&
			   !rq->server->draining && !rq->stream && !str_ieq(rq->known[H_CONNECTION], STR("close"));
	/* Refused by libmicrohttpd, perhaps in the middle of what the client sends. */
	if (how != MHD_REQUEST_TERMINATED_COMPLETED_OK && rq->phase != RQ_QUEUED && c->state != CONN_CUT)
		c->linger = true;
	c->rq = NULL;
	rq->conn = NULL;
	list_del(&rq->ready);
	if (c->state != CONN_CUT)
		conn_state(c, CONN_WAITING);
	if (rq->in_fiber) {
		/* A streamed answer was cut off; the fiber gives the request back when it has noticed. */
		fiber_cancel(rq->fiber);
		stream_closed(rq);
	} else {
		server_give_request(rq->server, rq);
	}
}

/* The other end is open and has not said that it is done. */
static bool client_waits(const struct http_conn *c)
{
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

static void on_closed(struct http_conn *c)
{
	struct http_server *s = c->server;
	int fd;

	if (c->state == CONN_WAITING && c->next_expected && !c->answered && !s->draining && client_waits(c)) {
		/* A request line beyond repair: libmicrohttpd has answered, or (no blank in it, too many) closes without a word. */
		if (timeouts_nothing_sent(c))
			response_raw(c, NULL, 400, "the request line is malformed");
		c->linger = true;
	}
	if (c->linger) {
		/* The copy keeps the socket open, and with it its place in the epoll set. */
		epoll_ctl(s->gone_fd, EPOLL_CTL_DEL, c->fd, NULL);
		fd = dup(c->fd);
		if (fd >= 0)
			linger_add(s, fd);
	}
	list_del(&c->node);
	s->conns_n--;
	metric_add(&s->metrics.connections, -1);
	free(c);
	server_request_gone(s);
}

void conn_on_notify(void *cls, struct MHD_Connection *mhd, void **sock_ctx, enum MHD_ConnectionNotificationCode what)
{
	struct http_server *s = cls;
	struct http_conn *c;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		c = s->accepting;
		s->accepting = NULL;
		*sock_ctx = c;
		if (!c)
			return;
		c->mhd = mhd;
		c->next_expected = true;
		conn_state(c, CONN_WAITING);
		c->check_at = c->since + s->check_every;
		list_add_tail(&s->conns, &c->node);
		s->conns_n++;
		metric_add(&s->metrics.connections, 1);
	} else if (*sock_ctx) {
		on_closed(*sock_ctx);
		*sock_ctx = NULL;
	}
}
