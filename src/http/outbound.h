/* Outbound HTTP/1.1: requests to one service, in a fiber without ever blocking its loop, and outside of loops (libcurl's multi
 * interface underneath; curl/curl.h is included only in http/client.c and http/outbound.c).
 *
 * One struct outbound is one service: its address, how many requests may be under way, its kept connections. Thread-safe; loops
 * share it. Redirects are not followed: the credential is for that service alone. Bodies and headers never reach a diagnostic. The
 * process must ignore SIGPIPE. */
#ifndef CENOTE_HTTP_OUTBOUND_H
#define CENOTE_HTTP_OUTBOUND_H

#include <sys/socket.h>

#include "base/arena.h"
#include "base/traceparent.h"

#define OUTBOUND_HEADERS_MAX 64		/* kept of an answer */
#define OUTBOUND_HEAD_BYTES (32u << 10) /* of the headers that are kept */
#define OUTBOUND_LINE_MAX 1024		/* requests that wait for their turn; the next one is E_BUSY */
#define OUTBOUND_KEPT 128		/* connections that stay for later requests */

struct outbound_options {
	struct str base;      /* "http://HOST[:PORT][/PREFIX]" or "https://..." */
	unsigned concurrency; /* requests under way, 1..4096 */
	unsigned kept;	      /* connections that stay for later requests, beside those under way; 0: OUTBOUND_KEPT */
	uint32_t connect_ms;  /* for resolving, connecting and TLS */
	struct str ca_file;   /* certificates (PEM) that https is trusted by, instead of the system's; "": the system's */
	/* NULL: any. Whether a connection to this address may be made; then no proxy is used, since it would be the one that
	 * connects. From any thread; must not wait. */
	bool (*address_ok)(const void *ctx, const struct sockaddr *to);
	const void *address_ctx;
};
struct outbound;
/* E_INVALID: base is no such URL, or has a user or password, a query or a fragment; ca_file cannot be read, or has no certificate.
 */
enum err outbound_new(const struct outbound_options *opt, struct outbound **out) MUST_CHECK;
void outbound_free(struct outbound *o); /* no request may be under way */
/* E_INVALID with what is wrong with such an address, as "must begin with ...". */
enum err outbound_base_check(struct str base) MUST_CHECK;
/* The base as given, without slashes at its end. */
struct str outbound_base(const struct outbound *o);

struct outbound_header {
	struct str name, value;
};
struct outbound_request {
	const char *method;	  /* "GET", "POST", ... */
	struct str path;	  /* "/embeddings", already encoded, with its query */
	struct str bearer;	  /* "": no Authorization */
	const char *content_type; /* of the body; NULL: application/json */
	struct str body;	  /* must stay until the request has ended */
	const struct outbound_header *headers;
	size_t headers_n;
	const struct trace_context *trace; /* sent along, unless headers have a traceparent of their own; NULL: none */
	uint64_t deadline_ns; /* of the whole, waiting for its turn included; NEVER: none. The fiber's deadline counts besides */
	uint32_t idle_ms;     /* longest silence of the service; 0: no limit */
	size_t max_body;      /* bytes of the answer; more is E_LIMIT */
	bool small;	      /* the answer comes in small pieces: a small buffer does, when there are thousands at a time */
};
struct outbound_reply {
	int status;			 /* 0: none came */
	struct str body;		 /* of outbound_call */
	struct outbound_header *headers; /* names in lower case */
	size_t headers_n;
};

/* One request with its whole answer, of any status. E_UPSTREAM: the service is not reachable, or broke off; E_TIMEOUT; E_CANCELLED;
 * E_BUSY: too many wait already; E_LIMIT: the answer is too large; E_DENIED: address_ok refused. */
enum err outbound_call(struct outbound *o, struct arena *a, const struct outbound_request *rq,
		       struct outbound_reply *out) MUST_CHECK;
/* "" when absent; name in lower case. */
struct str outbound_header(const struct outbound_reply *r, const char *name);
/* Milliseconds of Retry-After-Ms or Retry-After (seconds, or a date), 0: none. */
uint64_t outbound_retry_after(const struct outbound_reply *r);

/* ---- trying again (outbound_retry.c) ---- */
/* Statuses that may be another one the next time: 408, 429, 500, 502, 503, 504. */
bool outbound_passing(int status);
/* Pauses before try number tries + 1 (tries from 0), after the failure `why`: as long as the service asked for, else backoff_ms
 * doubled with each try, half of it by chance, so that many clients do not come back at once. E_BUSY, with the diagnostic of the
 * failure and its retry_after_s, when that is more than most_ms or beyond the fiber's deadline; E_CANCELLED. */
enum err outbound_pause(const struct outbound_reply *r, enum err why, unsigned tries, uint32_t backoff_ms,
			uint32_t most_ms) MUST_CHECK;
/* The service's own words about a refusal, {"error":{"message"}} and its relatives, for a diagnostic: one line of at most 200
 * bytes; "" when there are none, or when they repeat one of the n texts or the key. */
struct str outbound_reason(struct arena *scratch, struct str body, const struct str *texts, size_t n, struct str key);

/* The same piece by piece, for answers that stream. Whoever opened a stream closes it, at any time; a request that is closed before
 * its end is broken off. One fiber or thread at a time. */
struct outbound_stream;
/* Returns when status and headers are there. */
enum err outbound_open(struct outbound *o, struct arena *a, const struct outbound_request *rq, struct outbound_reply *out,
		       struct outbound_stream **stream) MUST_CHECK;
/* The next bytes, valid until the next call; *piece empty: the answer is complete. The service is slowed down to the pace of the
 * reader: at most 256 KiB are held. */
enum err outbound_read(struct outbound_stream *s, struct str *piece) MUST_CHECK;
void outbound_close(struct outbound_stream *s);

#endif
