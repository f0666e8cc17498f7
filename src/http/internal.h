/* What the files of http/ share. Outside this folder only server.h and client.h are seen.
 *
 * Who owns what: a server owns its connections (struct http_conn, one per accepted socket, from NOTIFY_STARTED to NOTIFY_CLOSED of
 * libmicrohttpd) and a pool of requests (struct http_req). A request belongs to libmicrohttpd (until its completed callback) and to
 * its fiber (until that returns); whoever lets go last gives it back to the pool. */
#ifndef CENOTE_HTTP_INTERNAL_H
#define CENOTE_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/log.h"
#include "base/traceparent.h"
#include "base/uuid7.h"
#include "http/server.h"
#include "rt/fiber.h"
#include "rt/wait.h"

#define BODY_INLINE                                                                                                                \
	((size_t)65536) /* up to here a body is read before anything is checked; without R_BODY nothing above is read              \
			 */
#define URL_MAX ((size_t)8192)
#define PARAMS_MAX 8
#define ARENA_EXTRA ((size_t)16 << 20) /* room in a request's arena beside the body */

/* ------------------------------------------------------------------ router */

struct route_param {
	const char *name; /* static: points into the route's path, name_n bytes */
	size_t name_n;
	struct str value; /* decoded */
};

struct endpoint {
	struct endpoint *next; /* other methods of the same path */
	const struct http_route *route;
	struct str method;
	void *ctx;
	http_error_fn errors;
	unsigned index; /* dense, for metrics */
	unsigned params_n;
	struct str params[PARAMS_MAX]; /* names */
};

enum match_result { MATCH_OK, MATCH_NONE, MATCH_METHOD, MATCH_MALFORMED };

struct match {
	const struct endpoint *ep;     /* MATCH_OK */
	struct str values[PARAMS_MAX]; /* decoded, in the arena or in the path */
	char allow[96];		       /* MATCH_METHOD, and for OPTIONS: "GET, HEAD, OPTIONS" */
};

/* path is raw (percent-encoded, without query). HEAD finds GET. */
enum match_result router_match(const struct http_router *r, struct arena *a, struct str method, struct str path, struct match *m);
/* The methods that path has, as a value for Allow; "" when it has none. */
void router_allow(const struct http_router *r, struct arena *a, struct str path, char out[96]);
/* Error writer of the longest prefix that path lies below; NULL: RFC 9457. */
http_error_fn router_errors(const struct http_router *r, struct str path);
unsigned router_count(const struct http_router *r);
const struct endpoint *router_endpoint(const struct http_router *r, unsigned index);

/* ----------------------------------------------------------------- metrics */

#define METRIC_BUCKETS 14 /* without +Inf */
#define METRIC_CODES 24	  /* distinct status codes kept per row */

/* Written by the loop's thread only, read by any: relaxed atomics. */
struct metric_row {
	atomic_uint_fast64_t bucket[METRIC_BUCKETS + 1];
	atomic_uint_fast64_t sum_us;
	atomic_uint_fast64_t code_count[METRIC_CODES];
	atomic_ushort code[METRIC_CODES];
};

struct metrics {
	struct list node; /* in the process-wide list */
	const struct http_router *router;
	unsigned rows_n;
	struct metric_row *rows; /* 2 per endpoint (itself, HEAD), then one per method for unmatched */
	atomic_int_fast64_t in_flight, connections, shed;
};

enum err metrics_init(struct metrics *m, const struct http_router *r) MUST_CHECK;
void metrics_release(struct metrics *m);
void metrics_count(struct metrics *m, const struct endpoint *ep, struct str method, int status, uint64_t duration_ns);
static inline void metric_add(atomic_int_fast64_t *v, int64_t d)
{
	atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + d, memory_order_relaxed);
}

/* ------------------------------------------------------------- connections */

enum conn_state {
	CONN_WAITING, /* no request, or not even its first line */
	CONN_HEADER,  /* request line seen, header not complete */
	CONN_BODY,    /* header complete, body being read */
	CONN_HANDLER, /* the fiber works */
	CONN_SENDING, /* answer handed to libmicrohttpd */
	CONN_CUT,     /* shut down by us; libmicrohttpd will find out */
};

struct http_conn {
	struct list node; /* server's check list, ordered by check_at */
	struct http_server *server;
	struct MHD_Connection *mhd;
	int fd;
	bool is_unix;
	bool linger;   /* more of the request may be on its way: drain a little after closing, so that the answer is not reset */
	bool answered; /* an answer was written past libmicrohttpd */
	bool used;     /* a request line has come */
	bool next_expected; /* kept alive, or new: the next thing read is a request line */
	bool partial;	    /* waiting, but bytes of a next request were seen; since is when */
	enum conn_state state;
	int64_t peer_uid;
	uint64_t since; /* when the state began, or when the last progress was seen */
	uint64_t check_at;
	int outq; /* unsent bytes at the last look */
	struct http_req *rq;
};

/* ---------------------------------------------------------------- requests */

enum req_phase {
	RQ_NEW,	    /* request line seen */
	RQ_EARLY,   /* the checks before the body run in a fiber */
	RQ_READING, /* header accepted, body being read */
	RQ_HANDLER, /* the fiber runs checks and handler */
	RQ_DONE,    /* answer recorded, not yet queued */
	RQ_QUEUED,  /* answer given to libmicrohttpd */
};

/* Headers looked at for every request, found in one pass. */
enum known_header {
	H_HOST,
	H_ORIGIN,
	H_REQUEST_ID,
	H_CONTENT_TYPE,
	H_CONTENT_LENGTH,
	H_TRANSFER_ENCODING,
	H_CONNECTION,
	H_AC_METHOD,
	H_AC_PRIVATE,
	H_TRACEPARENT,
	H_COUNT
};

struct rs_head {
	struct rs_head *next;
	const char *name, *value;
};

/* Streams that are read in time, of which there may be thousands, never need more than the first. */
#define STREAM_ROOM_FIRST 2048u
#define STREAM_ROOM 65536u
struct stream {
	char *ring;
	size_t size; /* of the ring, STREAM_ROOM_FIRST to STREAM_ROOM */
	size_t head, n;
	bool ended, aborted;
	bool hungry;	   /* libmicrohttpd's side is suspended for want of data */
	bool writer_waits; /* the fiber waits in room */
	struct event room;
};

struct http_req {
	struct http_conn *conn; /* NULL once libmicrohttpd has let go */
	struct http_server *server;
	struct list ready; /* in server->ready while a resume is due */
	struct http_req *free_next;
	struct arena arena;

	enum req_phase phase;
	bool admitted;	/* the early checks have passed */
	bool in_fiber;	/* its fiber has not returned */
	bool suspended; /* as seen by libmicrohttpd */
	bool answered;	/* rs_send or rs_begin was called */
	bool silent;	/* E_CANCELLED: nothing is sent, the connection is cut */
	bool close;	/* Connection: close */
	bool has_body;
	bool is_head;
	bool too_large; /* body limit met while reading */
	bool cors;	/* an allowed Origin: say so */
	struct fiber *fiber;

	struct str method, path, query;
	struct str id;
	char id_text[UUID_TEXT + 1];
	struct str known[H_COUNT];
	unsigned known_n[H_COUNT];
	bool bad_name;		/* there is a header whose name is none */
	int64_t content_length; /* -1: none */
	size_t body_limit;

	struct match match;
	const struct endpoint *ep;
	bool routed;
	enum match_result matched;
	struct principal principal;
	bool has_principal;

	/* body */
	char *body;
	size_t body_n, body_cap;
	bool body_heap;

	/* query parameters, parsed at the first question */
	struct query_param {
		struct str name, value;
	} * params;
	size_t params_n;
	bool params_parsed;

	/* answer */
	int status;
	const char *type;
	struct str out;
	const struct str *parts; /* instead of out */
	size_t parts_n;
	struct rs_head *heads;
	struct stream *stream;
	uint64_t sent;

	uint64_t began;			    /* monotonic */
	char trace[2 * TRACE_ID_BYTES + 1]; /* hex digits; "" : none */
	struct log_field log_fields[4];
};

struct listener {
	int fd;
	bool is_unix;
	struct loop_poll *poll;
	struct http_server *server;
};

struct http_server {
	struct loop *loop;
	const struct http_router *router;
	struct http_options opt;
	struct MHD_Daemon *mhd;
	struct loop_poll *mhd_poll;
	struct loop_hook hook;
	struct loop_task again; /* MHD has more to do in the next tick */
	bool again_posted;
	bool running; /* inside MHD_run */
	struct listener *listeners;
	size_t listeners_n;
	bool accept_paused; /* out of descriptors */
	int gone_fd;	    /* epoll set that reports sockets closed by their peers */
	struct loop_poll *gone_poll;
	struct list conns; /* all, ordered by check_at */
	unsigned conns_n;
	struct list ready; /* requests whose connection is to be resumed */
	unsigned working;  /* requests between header and end of answer, or with a live fiber */
	struct http_req *pool;
	unsigned pool_n;
	struct http_conn *accepting; /* the connection being handed to libmicrohttpd */
	struct loop_timer *timer;
	uint64_t check_every;
	struct list lingers;
	unsigned lingers_n;
	struct metrics metrics;
	struct buf log; /* request lines of this tick */
	bool draining;
	bool cut; /* the drain's deadline has passed */
	uint64_t drain_idle_at, drain_deadline;
	void (*drain_done)(void *arg);
	void *drain_arg;
	struct loop_task drained;
};

/* request.c */
void request_reset(struct http_req *rq);
void request_headers(struct http_req *rq);
bool request_parse_query(struct http_req *rq); /* false: malformed */
bool body_append(struct http_req *rq, const char *p, size_t n);

/* admit.c: the order of checks; both run in the request's fiber */
void admit_early(struct http_req *rq); /* what can be said before the body; leaves an answer or sets admitted */
/* Sets the deadline of the request's fiber: the time for an answer, from from_ns on, as its route has it. */
void request_time(const struct http_req *rq, uint64_t from_ns);
void admit_and_handle(struct http_req *rq);

/* problem.c */
struct problem_kind {
	int status;
	const char *slug, *title;
};
const struct problem_kind *problem_kind(int status);
void problem_write(struct buf *b, struct http_req *rq, int status, const struct diag *d);

/* response.c */
enum MHD_Result response_queue(struct http_req *rq);
enum MHD_Result response_hand_over(struct http_req *rq, struct MHD_Response *r);
/* An answer written straight to a socket: where libmicrohttpd cannot answer any more (slow senders, chunked bodies over the limit).
 */
void response_raw(struct http_conn *c, struct http_req *rq, int status, const char *detail);
void response_raw_fd(int fd, int status, const char *detail, unsigned retry_after_s);

/* stream.c */
enum MHD_Result stream_queue(struct http_req *rq);
void stream_closed(struct http_req *rq);
void stream_release(struct http_req *rq);

/* conn.c: libmicrohttpd's callbacks */
void *conn_on_uri(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result conn_on_access(void *cls, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
			       const char *upload, size_t *upload_n, void **con_cls);
void conn_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode how);
void conn_on_notify(void *cls, struct MHD_Connection *mhd, void **sock_ctx, enum MHD_ConnectionNotificationCode what);
void conn_state(struct http_conn *c, enum conn_state st);
/* Shuts the socket down; libmicrohttpd closes it when it sees that. */
void conn_cut(struct http_conn *c);
void request_ready(struct http_req *rq); /* resume its connection at the end of this tick */

/* server.c */
void server_run(struct http_server *s);
void server_request_gone(struct http_server *s);
struct http_req *server_take_request(struct http_server *s);
void server_give_request(struct http_server *s, struct http_req *rq);

/* timeouts.c */
void timeouts_arm(struct http_server *s);
void timeouts_fire(void *arg);
/* No byte has been sent on it yet (false for unix sockets, which do not tell). */
bool timeouts_nothing_sent(const struct http_conn *c);
uint64_t timeouts_interval(const struct http_options *o);

/* accept.c */
enum err accept_start(struct http_server *s, const int *fds, size_t n) MUST_CHECK;
void accept_stop(struct http_server *s);
void accept_pause(struct http_server *s, bool pause);
void linger_add(struct http_server *s, int fd); /* takes fd */
void linger_free_all(struct http_server *s);
enum err gone_start(struct http_server *s) MUST_CHECK;
void gone_stop(struct http_server *s);

#endif
