/* The tools that a server offers its model, by the settings tools.*. */
#ifndef CENOTE_DAEMON_TOOLBOX_H
#define CENOTE_DAEMON_TOOLBOX_H

#include "core/tool.h"
#include "daemon/config.h"
#include "tool/http.h"
#include "tool/uc.h"

struct memory;
struct tools {
	struct arena arena;
	struct http_tools *http; /* NULL: none are declared */
	struct mcp_servers *mcp; /* of those; NULL: none */
	struct uc_functions *uc; /* NULL: none are named */
	struct toolbox box;	 /* what is there from the start */
};
/* The memory must outlive them. On error there is nothing to close. */
enum err tools_open(const struct config *c, struct memory *m, struct tools *out) MUST_CHECK;
void tools_close(struct tools *t); /* also of one that is all zeros */

#endif
