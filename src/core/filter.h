/* Filters over an item's value, as LangGraph's store has them (contracts: langgraph 4.4), plus paths into nested objects.
 *
 *   {"field": plain}               JSON equality (9 = 9.0, "9" is not 9); null matches only a JSON null, not a missing field
 *   {"field": {"$gt": 5, ...}}     $eq $ne $gt $gte $lt $lte, all must hold; {} is no condition
 *   {"a": {"b": 5}} / {"a": {"b": {"$gt": 5}}}   a nested object without operators descends into the object a
 * A field is a top-level member. Numbers compare as numbers, strings by code point, mixed types do not match; $ne does not match a
 * missing field. Mixing operators and plain members in one object, or an unknown operator, is E_INVALID with the field's pointer.
 */
#ifndef CENOTE_CORE_FILTER_H
#define CENOTE_CORE_FILTER_H

#include "base/json/json.h"

struct filter; /* in the arena; read-only afterwards, may be used by several threads */

#define FILTER_MAX_CONDITIONS 64
/* v: absent or null or {} gives *out = NULL, which matches everything. where: JSON pointer of v, for diagnostics. */
enum err filter_compile(struct arena *a, struct jval v, const char *where, struct filter **out) MUST_CHECK;
/* value: the item's JSON object. scratch is used and left as it was filled (clear it yourself). */
enum err filter_match(const struct filter *f, struct arena *scratch, struct str value, bool *match) MUST_CHECK;
/* A JSON object that every value which matches contains, as jsonb's @> has it ({"a": {"b": 5}} is in {"a": {"b": 5, "c": 6}}):
 * made of the conditions of equality. Empty (OK) when there are none. Left out is what PostgreSQL could not hold: U+0000, numbers
 * of extreme size, operands of more than 64 KiB. */
enum err filter_contains(const struct filter *f, struct arena *a, struct str *out) MUST_CHECK;

#endif
