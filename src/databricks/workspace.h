/* REST of a Databricks workspace (contracts: databricks 1): one identity, JSON in and out, refusals as sentences, and trying again
 * where that can help. Thread-safe. */
#ifndef CENOTE_DATABRICKS_WORKSPACE_H
#define CENOTE_DATABRICKS_WORKSPACE_H

#include "base/json/json.h"
#include "base/traceparent.h"

#define WORKSPACE_ANSWER_MAX ((size_t)8 << 20) /* bytes of one answer */
#define WORKSPACE_SCRATCH ((size_t)64 << 20)   /* ceiling of what a call needs */
#define WORKSPACE_REASON_MAX 400	       /* bytes of what a workspace says */

/* A workspace's address as people have it - bare, with a slash or a path behind it - as "https://HOST[:PORT]", in a. http:// is
 * for this machine alone, since a token goes there. E_INVALID: a sentence that goes on from the setting's name. */
enum err workspace_host(struct arena *a, struct str given, struct str *out) MUST_CHECK;

struct workspace_options {
	struct str host;  /* as workspace_host gives it */
	struct str token; /* bearer; copied, and wiped at the end */
	unsigned concurrency;
	struct str ca_file; /* as in struct outbound_options */
};
struct workspace;
enum err workspace_open(const struct workspace_options *opt, struct workspace **out) MUST_CHECK;
void workspace_close(struct workspace *w); /* no call may be under way; NULL is fine */

struct workspace_request {
	const char *method;
	struct str path;		   /* encoded, with its query */
	struct str body;		   /* JSON; "": none */
	const struct trace_context *trace; /* as in struct outbound_request */
	bool again;			   /* may be sent again when nobody knows what became of it */
	/* What it begins goes on without whoever asks, and only its answer names what to end: once sent, the answer is waited for
	 * (at most 10 s, and to the deadline) though the request has been cancelled. */
	bool to_its_end;
};
/* One request with its answer, which must be a JSON object. 429 and 503 are tried again after Retry-After, with `again` also other
 * passing failures, all within the fiber's deadline. E_DENIED (ERR_UNAUTHENTICATED: the token itself is refused), E_NOT_FOUND,
 * E_BUSY: it has too many requests, E_UPSTREAM, E_LIMIT, and the wait's. Never with the token. The answer lies in a. */
enum err workspace_call(struct workspace *w, struct arena *a, const struct workspace_request *rq, struct json *doc) MUST_CHECK;

bool workspace_has_token(const struct workspace *w, struct str text);
/* What a workspace says as part of a sentence of ours: on one line, cut after WORKSPACE_REASON_MAX, "" when it repeats the token.
 */
struct str workspace_words(const struct workspace *w, struct arena *a, struct str text);

#endif
