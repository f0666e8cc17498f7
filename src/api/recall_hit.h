/* What recall found, one hit as JSON: the form of POST /cenote/v1/recall, which every surface that shows memories has. */
#ifndef CENOTE_API_RECALL_HIT_H
#define CENOTE_API_RECALL_HIT_H

#include "base/json/json.h"
#include "core/recall.h"

/* An object: kind, id, thread or namespace and key, role, name, text, value, time, score, and "explain" when it is wanted and
 * there. What is read of an item's value comes from a. E_LIMIT. */
enum err recall_hit_write(struct arena *a, struct jw *w, const struct recall_hit *hit, bool explain) MUST_CHECK;

#endif
