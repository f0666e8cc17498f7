/* HTTP/1.1 server on an rt loop (libmicrohttpd with external epoll underneath; microhttpd.h is included nowhere else).
 *
 * One server per loop; all servers share one route table. A request is a fiber on the loop that owns the connection. If the handler
 * returns without having parked, the answer goes out in the same tick; else the connection is suspended and resumed.
 *
 * Order of checks (contracts/operations 3): limits on line and headers, Host, request id, CORS preflight, authentication, route and
 * method, body size, content type, body, handler. 404, 405, 411, 413, 414, 415, 431, 408, 503 are answered here, as RFC 9457
 * problems (or, below a route prefix that registered its own error writer, in that protocol's form).
 *
 * Invariants
 *  1. A handler runs only with a principal, unless its route says R_PUBLIC.
 *  2. No more than max_connections connections; the next one is told 503 with Retry-After and closed.
 *  3. After http_server_drain no new request is begun; those under way finish and say Connection: close.
 *  4. The request's arena (ceiling: max_body + 16 MiB, or 2 * max_large_body + 16 MiB) lives until the answer is written or the
 * client has gone. */
#ifndef CENOTE_HTTP_SERVER_H
#define CENOTE_HTTP_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "core/principal.h"
#include "rt/loop.h"

struct http_req;

enum http_flag {
	R_PUBLIC = 1u, /* no authentication, not counted in limits */
	R_BODY = 2u,   /* takes a JSON body; without the flag a body is read and ignored up to 64 KiB */
	R_BODY_OPTIONAL = 4u,
	R_ANY_TYPE = 8u,     /* parse JSON whatever Content-Type says (LangGraph) */
	R_STREAM_OUT = 16u,  /* the handler may call http_write many times (chunked) */
	R_QUIET = 32u,	     /* logged at debug */
	R_RAW_BODY = 64u,    /* body may be of any content type, binary */
	R_LONG = 256u,	     /* waits for others: long_timeout_ms for the answer, or its next piece */
	R_LARGE_BODY = 128u, /* the body may have max_large_body bytes, the request's arena twice that */
};

struct http_route {
	const char *method; /* "GET": HEAD is derived */
	const char *path;   /* "/store/items/{id}"; {name} is one segment, {name:uuid}, {name:int}, {name...} the rest */
	void (*handler)(struct http_req *rq, void *ctx);
	unsigned rights;       /* RIGHT_READ ... needed */
	unsigned flags;	       /* enum http_flag */
	const char *operation; /* operationId of docs/openapi.yaml */
};

/* Writes the error of diag_get() in a protocol's own form into b and returns the content type. */
typedef const char *(*http_error_fn)(struct http_req *rq, int status, struct buf *b);

struct http_router;
enum err http_router_new(struct http_router **out) MUST_CHECK;
void http_router_free(struct http_router *r);
/* Routes are static data of the caller, their paths whole (prefix is not put in front); ctx goes to their handlers. E_CONFLICT on
 * two routes that match the same. errors (may be NULL: RFC 9457) also serves 401, 403, 404, 405, 413... for paths below prefix; n
 * may be 0. */
enum err http_router_add(struct http_router *r, const char *prefix, const struct http_route *routes, size_t n, void *ctx,
			 http_error_fn errors) MUST_CHECK;
/* For tests and the OpenAPI check: walks all routes. */
void http_router_walk(const struct http_router *r, void (*fn)(void *ctx, const struct http_route *route), void *ctx);

/* Who asks. Fills *out (slices in a) or returns E_DENIED. Called in the request's fiber, may park. peer_uid: of a unix socket, -1
 * else. */
typedef enum err (*http_auth_fn)(void *ctx, struct arena *a, struct http_req *rq, int64_t peer_uid, struct principal *out);

struct http_options {
	size_t max_body, max_header; /* bytes */
	size_t max_large_body;	     /* of routes with R_LARGE_BODY; 0: max_body */
	unsigned max_connections;    /* per server (= per loop) */
	uint32_t header_timeout_ms;  /* from the first byte of a request to the end of its header, and again for its body */
	uint32_t idle_timeout_ms;    /* kept-alive connection without a request */
	uint32_t request_timeout_ms; /* fiber deadline of the handler: 504; begins anew with every piece of a streamed answer */
	uint32_t long_timeout_ms;    /* the same for routes with R_LONG; 0: request_timeout_ms */
	http_auth_fn auth;
	void *auth_ctx;
	const struct str *allowed_hosts; /* empty: any Host, or with local_hosts: */
	size_t allowed_hosts_n;
	/* Names without a dot, below localhost or internal, and addresses. For servers that trust whoever reaches them: a page
	 * whose name was made to mean this machine has that name in Host. */
	bool local_hosts;
	const struct str *cors_origins;
	size_t cors_origins_n;
};

struct http_server;
/* Listens on fds (already bound, listening, non-blocking); takes ownership of them. Call on the loop's thread (before or in
 * loop_run). */
enum err http_server_new(struct loop *l, const struct http_router *r, const struct http_options *opt, const int *fds, size_t fds_n,
			 struct http_server **out) MUST_CHECK;
/* Stops accepting, lets requests finish; done(arg) is called on the loop when no connection is left or the deadline has passed
 * (then the rest is cancelled and closed). */
void http_server_drain(struct http_server *s, uint64_t deadline_ns, void (*done)(void *arg), void *arg);
/* After drain's done (or before anything was served): a request whose fiber is parked keeps its server. */
void http_server_free(struct http_server *s);

/* "127.0.0.1:0", "[::1]:8000", "unix:/path" -> listening socket (SO_REUSEPORT for TCP; a stale socket file is replaced, a live one
 * is E_BUSY; mode 0600). *bound gets the address with the real port. */
enum err http_listen(struct arena *a, struct str addr, int *fd, struct str *bound) MUST_CHECK;
/* True for loopback addresses and unix sockets. */
bool http_is_loopback(struct str addr);

/* ------------------------------------------------------------- the request */

struct arena *rq_arena(struct http_req *rq);
struct str rq_method(struct http_req *rq);
struct str rq_path(struct http_req *rq);		/* raw path as received, without query */
const struct http_route *rq_route(struct http_req *rq); /* NULL before routing */
struct str rq_id(struct http_req *rq);			/* X-Request-Id or a new UUIDv7 */
struct str rq_trace(struct http_req *rq);		/* hex digits of the caller's trace, or of rs_trace's; "" : none */
const struct principal *rq_principal(struct http_req *rq);
/* Path parameter, percent-decoded; .p NULL when there is none of that name. */
struct str rq_param(struct http_req *rq, const char *name);
/* First query parameter of that name, decoded; .p NULL when absent. A malformed escape is answered with 400 before the handler. */
struct str rq_query(struct http_req *rq, const char *name);
/* All query parameters of that name. */
enum err rq_query_all(struct http_req *rq, const char *name, struct str **out, size_t *n) MUST_CHECK;
/* Query parameter as a number in [min, max]; absent: dflt. E_INVALID with field = name. */
enum err rq_query_int(struct http_req *rq, const char *name, int64_t min, int64_t max, int64_t dflt, int64_t *out) MUST_CHECK;
enum err rq_query_bool(struct http_req *rq, const char *name, bool dflt, bool *out) MUST_CHECK;
/* Request header, name in any case; .p NULL when absent. */
struct str rq_header(struct http_req *rq, const char *name);
struct str rq_body(struct http_req *rq);

/* -------------------------------------------------------------- the answer */

/* Sets an answer header; values with CR or LF are refused (assert). */
void rs_header(struct http_req *rq, const char *name, struct str value);
/* The request belongs to this trace (32 hex digits): its answer says so in X-Cenote-Trace, an error in trace_id, as do its lines in
 * the log. Before the answer, in the request's fiber. */
void rs_trace(struct http_req *rq, struct str id);
/* Ends the request: status, content type, body (copied unless it lies in rq_arena). Exactly once. */
void rs_send(struct http_req *rq, int status, const char *content_type, struct str body);
void rs_json(struct http_req *rq, int status, struct str body);
/* rs_send of parts, one after the other; large ones are not copied: they must lie in rq_arena. */
void rs_parts(struct http_req *rq, int status, const char *content_type, const struct str *parts, size_t n);
void rs_empty(struct http_req *rq, int status); /* 204, 304 */
/* Answers with the error e and the running fiber's diagnostic: status from contracts/operations 3, body by the route's error
 * writer, Retry-After, WWW-Authenticate. E_CANCELLED sends nothing. */
void rs_error(struct http_req *rq, enum err e);
/* The same with a status of its own. */
void rs_fail(struct http_req *rq, int status);
/* For who writes an error into an answer that has begun, before the diagnostic is read: what broke inside (the status of e would be
 * 500) goes to the log, and the diagnostic says no more than that. rs_error and rs_fail do it themselves. */
void rs_hide(struct http_req *rq, enum err e);
/* Status code of an error as rs_error would choose it. */
int http_status(enum err e, enum err_kind kind);
/* Large answers piece by piece (R_STREAM_OUT): status and type once, then pieces (parks while the client is slow), then end. After
 * begin an error can only cut the connection (rs_abort). */
enum err rs_begin(struct http_req *rq, int status, const char *content_type) MUST_CHECK;
enum err rs_write(struct http_req *rq, struct str piece) MUST_CHECK;
void rs_end(struct http_req *rq);
void rs_abort(struct http_req *rq);

/* Figures over all servers of the process in Prometheus text: cenote_http_*. */
void http_metrics(struct buf *out);

#endif
