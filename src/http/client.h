/* A small blocking HTTP/1.1 client for the command line: unix sockets and plain TCP to a Cenote daemon (libcurl easy underneath;
 * see http/outbound.h for requests that must not block). Not thread-safe: one handle, one thread. Connections are kept. */
#ifndef CENOTE_HTTP_CLIENT_H
#define CENOTE_HTTP_CLIENT_H

#include "base/arena.h"

struct http_client;
struct http_reply {
	int status;
	struct str content_type, body, request_id, etag;
};
/* server: "http://host:port[/prefix]", "https://...", "unix:/path". key "" : none. timeout_ms per request. */
enum err http_client_new(struct str server, struct str key, struct str user, uint32_t timeout_ms,
			 struct http_client **out) MUST_CHECK;
void http_client_free(struct http_client *c);
/* path with query, already encoded. content_type NULL: application/json when there is a body. Any status is OK; E_UPSTREAM: not
 * reachable or broken; E_TIMEOUT. Answers above max_reply bytes are E_LIMIT. */
enum err http_client_call(struct http_client *c, struct arena *a, const char *method, struct str path, const char *content_type,
			  struct str body, size_t max_reply, struct http_reply *out) MUST_CHECK;
/* GET whose body goes to fn piece by piece when the status is 2xx (else into out->body, at most max_reply bytes); so an answer may
 * be of any size. An error of fn ends the call and is returned. The timeout bounds a standstill, not the whole. An answer that is
 * cut off is E_UPSTREAM. */
enum err http_client_stream(struct http_client *c, struct arena *a, struct str path, enum err (*fn)(void *ctx, struct str piece),
			    void *ctx, size_t max_reply, struct http_reply *out) MUST_CHECK;
/* POST of JSON whose answer comes piece by piece, as http_client_stream has it. heads: further header lines ("Name: value"). stop
 * is asked at least once a second, and at once when a signal came to this thread; true ends the call with E_CANCELLED
 * and resets the connection, which a server notices at once. */
struct http_client_post {
	struct str path, body;
	const char *const *heads;
	size_t heads_n;
	enum err (*fn)(void *ctx, struct str piece);
	bool (*stop)(void *ctx);
	void *ctx; /* of both */
	size_t max_reply;
};
enum err http_client_post(struct http_client *c, struct arena *a, const struct http_client_post *p,
			  struct http_reply *out) MUST_CHECK;
/* Prepares curl once for the process; thread-safe. For http/outbound.c. */
void http_curl_init(void);
/* Percent-encodes everything but unreserved characters. */
struct str url_encode(struct arena *a, struct str s);
/* Decodes %XX (and '+' as blank when plus is true); .p NULL on a malformed escape or U+0000. */
struct str url_decode(struct arena *a, struct str s, bool plus);

#endif
