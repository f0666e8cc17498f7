/* Parsing what comes from outside: large texts on the CPU pool, and every refusal of the reader as "not parseable". */
#ifndef CENOTE_CORE_PARSE_H
#define CENOTE_CORE_PARSE_H

#include "base/json/json.h"

/* From this size on work is worth a trip to the pool: about the millisecond that a loop may be held up. */
#define POOL_FROM_BYTES ((size_t)64 << 10)

/* json_parse with room for a protocol's envelope around values of depth 64. Wrong syntax, too deep, too many nodes:
 * E_INVALID/ERR_SYNTAX; too many bytes: E_LIMIT/ERR_SIZE. */
enum err parse_body(struct arena *a, struct str text, struct json *out) MUST_CHECK;
/* The code that a failed json_parse is to have: a text that is too deep or has too many nodes counts as not parseable. */
enum err parse_refusal(enum err e) MUST_CHECK;
/* Runs fn here when the work is small, else on the pool. */
enum err run_sized(size_t bytes, enum err (*fn)(void *arg), void *arg) MUST_CHECK;

#endif
