/* Texts of an item's value as LangGraph's stores embed them, byte for byte: what lies at an index path (contracts/langgraph 4.7).
 * Pure functions: thread-safe. */
#ifndef CENOTE_CORE_FIELD_TEXT_H
#define CENOTE_CORE_FIELD_TEXT_H

#include "base/json/json.h"

#define FIELD_TEXTS_MAX 1024 /* of one path; what is beyond is left out */

/* The texts at the path, in their order, into the arena. dollar: "$" is the whole value, as in a store's configuration; else a
 * member of that name, as in the list of a put. A path without names ("") is the whole value.
 *
 * An object or array is JSON with sorted names, ", " and ": "; a number is Python's, true is True, null is nothing. */
enum err field_texts(struct arena *a, const struct json *value, struct str path, bool dollar, struct str **out,
		     size_t *n) MUST_CHECK;
/* The name under which the store keeps the text number i of n: the path, or "path.i". */
enum err field_name(struct arena *a, struct str path, size_t i, size_t n, struct str *out) MUST_CHECK;
/* The text that a name stands for; *found = false: the value has none (any more). */
enum err field_text_of(struct arena *a, const struct json *value, struct str name, struct str *out, bool *found) MUST_CHECK;

#endif
