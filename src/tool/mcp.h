/* Tools of MCP servers that the file of the tools names (streamable HTTP, revisions up to 2025-11-25): a source of tools for
 * core/tool.h. docs/tools.md has the file's form. */
#ifndef CENOTE_TOOL_MCP_H
#define CENOTE_TOOL_MCP_H

#include "core/tool.h"

#define MCP_SERVERS_MAX 8
#define MCP_TOOLS_MAX 64 /* that one server offers */

struct mcp_servers;
/* Tools that are there anyway: their names are taken, and they count. Before any other call. */
void mcp_taken(struct mcp_servers *m, struct toolbox ours);
size_t mcp_count(const struct mcp_servers *m);
/* What the servers offer at present. A turn asks those that are due itself, unless mcp_watch does; what a server does not answer
 * is left out. */
struct tool_source *mcp_source(struct mcp_servers *m);
/* Asks server i for its tools, now and again, until waits return E_CANCELLED. For a fiber in the background, one a server. */
void mcp_watch(struct mcp_servers *m, size_t i);
/* cenote_tool_server_*: what there is of each server. m may be NULL. */
void mcp_metrics(struct mcp_servers *m, struct buf *out);

#endif
