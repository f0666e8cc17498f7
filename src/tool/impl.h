/* What the files of the tools share that a file declares. */
#ifndef CENOTE_TOOL_IMPL_H
#define CENOTE_TOOL_IMPL_H

#include "http/outbound.h"
#include "tool/http.h"

/* Where a header's value comes from. */
enum header_from { HEADER_TEXT, HEADER_SECRET, HEADER_USER, HEADER_TENANT };
struct http_header {
	struct str name;
	struct str value;
	struct str secret; /* the part of it that is one; both are wiped at the end */
	enum header_from from;
};
/* A service as an entry of the file names it: where it is, and what it is sent with every request. */
struct http_service {
	struct outbound *out;
	struct str path; /* with its query */
	struct http_header headers[HTTP_TOOLS_HEADERS_MAX];
	size_t headers_n;
	bool of_principal; /* a header says who asks */
	bool of_user;	   /* and it is the user's name */
};
struct http_tool {
	struct tool tool;
	struct http_service to; /* {NAME} in its path stands for an argument */
	const char *method;
	struct str body; /* JSON template; .p NULL: none */
	bool sends;	 /* a method with a body: what the URL does not take goes there, else into the query */
	size_t max_result;
};
extern const struct tool_ops http_tool_ops;

/* ---- declared.c ---- */
struct http_tools {
	struct arena arena;
	const struct http_tools_options *opt; /* while it is opened */
	struct str text;
	struct allow allow;
	struct http_tool *v;
	const struct tool **box;
	size_t n;
	struct mcp_server *mcp;
	size_t mcp_n;
	struct mcp_servers *servers; /* over these; NULL: there are none */
};
/* Puts "PATH:LINE:COLUMN: " before the diagnostic; where: within the text, or NULL. */
enum err declared_at(const struct http_tools *t, const char *where, enum err e);
#define BAD(t, v, ...) declared_at((t), j_raw(v).p, err_set(E_INVALID, __VA_ARGS__))
/* A text of 1 to `most` bytes; E_INVALID names it. */
enum err declared_string(struct http_tools *t, struct jval v, const char *name, size_t most, struct str *out) MUST_CHECK;

/* ---- service.c ---- */
/* Of an entry of the file; E_INVALID says where, and what is allowed. v of headers may be absent. */
enum err service_url(struct http_tools *t, struct jval v, struct http_service *s) MUST_CHECK;
enum err service_headers(struct http_tools *t, struct jval v, struct http_service *s) MUST_CHECK;
void service_close(struct http_service *s); /* wipes the secrets */
/* The headers of a request of who; NULL: of nobody, then those that say who asks are left out. Returns how many; out has room for
 * HTTP_TOOLS_HEADERS_MAX. */
size_t service_set(const struct http_service *s, const struct principal *who, struct outbound_header *out);
/* Be it in the escapes of JSON. */
bool service_has_secret(const struct http_service *s, struct str text);
/* E_DENIED, E_UPSTREAM: the sentence about an answer with another status than 200 to 299, with the service's own when it has one.
 */
enum err service_refused(const struct http_service *s, struct arena *a, int status, struct str body);
#define SERVICE_REASON_MAX ((size_t)16 << 10) /* bytes of such an answer that are of interest */

/* ---- request.c ---- */
/* Finds the next {NAME} in text from *at; moves *at behind it. false: none. */
bool placeholder_next(struct str text, size_t *at, size_t *begin, struct str *name);
/* The path and the body of a call. E_INVALID: an argument cannot stand in a path. */
enum err http_request_make(const struct http_tool *t, struct arena *a, struct jval arguments, struct str *path,
			   struct str *body) MUST_CHECK;

#endif
