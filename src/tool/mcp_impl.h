/* What the files of the client for MCP share. */
#ifndef CENOTE_TOOL_MCP_IMPL_H
#define CENOTE_TOOL_MCP_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "tool/impl.h"
#include "tool/mcp.h"

#define MCP_ANSWER_MAX ((size_t)4 << 20) /* bytes of one answer, or of a list with all its pages */
#define MCP_PAGES_MAX 32		 /* of a list */
#define MCP_CURSOR_MAX 4096		 /* bytes */
#define MCP_SCHEMA_MAX ((size_t)32 << 10)
#define MCP_DESCRIPTION_MAX 2048
#define MCP_NAME_MAX 256 /* of a tool as its server has it */
#define MCP_PREFIX_MAX 32
#define MCP_SCRATCH ((size_t)48 << 20) /* ceiling of what an exchange needs */

/* ---- mcp_wire.c: messages. Pure computation ---- */
/* Events of a stream, however its bytes are cut: fn gets the data of each. Lines end with LF or CRLF. */
struct mcp_events {
	struct buf line, data;
};
typedef enum err (*mcp_event_fn)(void *ctx, struct str data);
void mcp_events_init(struct mcp_events *ev);
void mcp_events_release(struct mcp_events *ev);
/* E_LIMIT: an event above MCP_ANSWER_MAX; else what fn returned. */
enum err mcp_events_feed(struct mcp_events *ev, struct str piece, mcp_event_fn fn, void *ctx) MUST_CHECK;
/* Whether the message answers request id; then *result is its result, an object in doc. E_UPSTREAM: an error in its place, or no
 * JSON. The text must outlive doc. */
enum err mcp_answer(struct arena *a, struct str text, int64_t id, struct json *doc, struct jval *result, bool *is) MUST_CHECK;
/* The text of a tools/call's result; what is no text is named. E_UPSTREAM with the server's sentence when it says isError. In a. */
enum err mcp_result_text(struct arena *a, struct jval result, struct str *text) MUST_CHECK;
/* A text of others as a part of a sentence: at most `most` bytes, on one line. */
struct str mcp_sentence(struct arena *a, struct str s, size_t most);

/* ---- mcp_list.c: what a server offers ---- */
struct mcp_server;
struct mcp_tool {
	struct tool tool; /* first: what is called */
	struct mcp_server *server;
	struct str name; /* the server's */
	bool told;	 /* that its name is taken; guarded by mcp_servers.lock */
};
/* Read-only once made. */
struct mcp_list {
	struct arena arena;
	unsigned refs; /* guarded by mcp_servers.lock */
	uint64_t hash; /* of the pages */
	struct mcp_tool *v;
	size_t n;
};
/* Reads the pages ({"tools": [..]} each). What cannot be offered is left out, and the log says why. E_CORRUPT: a page is no such
 * list; E_LIMIT. */
enum err mcp_list_make(struct mcp_server *s, const struct str *pages, size_t n, struct mcp_list **out) MUST_CHECK;
void mcp_list_free(struct mcp_list *l);

/* ---- mcp_call.c: requests ---- */
struct mcp_session {
	char id[260];	  /* "" : the server has none */
	char version[16]; /* that was agreed on; "" : not begun */
	uint64_t begun;	  /* which one, from 1 */
};
struct mcp_server {
	struct mcp_servers *all;
	struct str name, prefix;
	struct str *wanted; /* names of tools; NULL: all */
	size_t wanted_n;
	uint32_t timeout_ms; /* 0: the turn's */
	size_t max_result;   /* bytes of an answer that the model gets */
	struct http_service to;
	_Atomic int64_t last_id;
	pthread_mutex_t lock; /* guards session */
	struct mcp_session session;
	/* Of mcp_servers.c, guarded by mcp_servers.lock. */
	struct mcp_list *list; /* NULL: it offers nothing */
	uint64_t due;	       /* when it is to be asked again */
	unsigned failed;       /* times in a row */
	uint64_t failures;
	bool asking, told;
};
/* One request, as who (NULL: nobody), in the server's session or, where a header says who asks, in one of its own. params: JSON.
 * span: the step that it is; NULL: nobody traces. E_DENIED, E_UPSTREAM, E_LIMIT, and the wait's. */
enum err mcp_request(struct mcp_server *s, struct arena *a, const struct principal *who, const struct trace_span *span,
		     const char *method, struct str params, struct json *doc, struct jval *result) MUST_CHECK;
extern const struct tool_ops mcp_tool_ops;

/* ---- mcp_servers.c ---- */
/* Over n servers, of which all is set here. They must outlive it. */
enum err mcp_open(struct mcp_server *v, size_t n, struct mcp_servers **out) MUST_CHECK;
void mcp_close(struct mcp_servers *m); /* no turn may be under way, nor mcp_watch. NULL is fine */

#endif
