/* Where a path of an item's index leads within its value, as LangGraph's stores walk it (contracts: langgraph 4.7). Pure functions:
 * thread-safe. */
#ifndef CENOTE_CORE_FIELD_PATH_H
#define CENOTE_CORE_FIELD_PATH_H

#include "base/json/json.h"

/* The next part of a path: a name, "[...]" or "{...}"; false at the end. Dots separate; empty parts are skipped. */
bool field_path_next(struct str *path, struct str *part);

struct field_walk {
	enum err (*leaf)(void *ctx, struct jval v); /* for each value that the path leads to, in their order */
	void *ctx;
	bool enough; /* set by leaf: no more of a list's or object's members are looked at */
};
/* "a.b" a member's member, "a[0]", "a[-1]", "a[*]" of a list, "*" all members, "{a,b.c}" those members, whatever follows. A path
 * without parts leads to v itself, one that fits nothing nowhere. Errors are leaf's. */
enum err field_path_walk(struct field_walk *w, struct jval v, struct str path) MUST_CHECK;

#endif
