/* Tools that a file declares, HTTP services and MCP servers: drivers of core/tool.h. docs/tools.md has the file's form. */
#ifndef CENOTE_TOOL_HTTP_H
#define CENOTE_TOOL_HTTP_H

#include "core/tool.h"
#include "tool/allow.h"
#include "tool/mcp.h"

#define HTTP_TOOLS_FILE_MAX ((size_t)1 << 20)
#define HTTP_TOOLS_HEADERS_MAX 32

struct http_tools_options {
	const char *path;	       /* of the file */
	const struct str *allow_hosts; /* tools.allow_hosts */
	size_t allow_hosts_n;
	size_t max_result;  /* bytes of an answer that are read */
	struct str ca_file; /* as in struct outbound_options */
};
/* Reads the file, checks all of it, and takes the secrets that it refers to. E_INVALID, E_IO: "PATH:LINE:COLUMN: what is wrong, and
 * what is allowed", never with a secret. */
struct http_tools;
enum err http_tools_open(const struct http_tools_options *opt, struct http_tools **out) MUST_CHECK;
void http_tools_close(struct http_tools *t); /* no call may be under way; NULL is fine */
struct toolbox http_tools_box(const struct http_tools *t);
/* NULL: the file has none. Closed with t. */
struct mcp_servers *http_tools_servers(const struct http_tools *t);

#endif
