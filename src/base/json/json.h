/* JSON reader and writer (RFC 8259, strict; UTF-8, strict).
 *
 * The reader gives a flat tape of nodes in the arena; every node knows its raw span in the text, so that a value can be kept and
 * sent out as the very bytes it came in as. Nothing is copied but what escapes force. The text must outlive the nodes.
 *
 * Invariants of a parsed document
 *  1. node[0] is the root; a container's children follow it in text order; node[i].next is the index after i's whole subtree.
 *  2. The children of an object alternate: key (type JSON_STRING), value, key, value...
 *  3. raw spans lie inside the text, children inside their parents; the root's raw has no blanks around it.
 *  4. Strings are valid UTF-8 after unescaping, except that a lone surrogate escape is refused.
 *  5. Duplicate keys in an object are refused (E_INVALID) unless JSON_DUP_OK is given: then the last one is found first. */
#ifndef CENOTE_BASE_JSON_H
#define CENOTE_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_node {
	uint8_t type;
	bool escaped;	/* a string with a backslash in its raw span */
	uint32_t next;	/* index of the node after this subtree */
	uint32_t count; /* elements of an array, members of an object */
	struct str raw; /* the span in the text; strings with their quotes */
};

struct json_limits {
	uint32_t depth; /* nesting, root container = 1 */
	uint32_t nodes;
	size_t bytes;
	unsigned flags; /* JSON_DUP_OK */
};
#define JSON_DUP_OK 1u
/* Depth 64, 200,000 nodes, 8 MiB. */
extern const struct json_limits json_default_limits;

struct json {
	struct str text;
	struct json_node *nodes;
	uint32_t n;
	bool dups; /* parsed with JSON_DUP_OK */
};

/* Parses the whole text as one value. Errors: E_INVALID/ERR_SYNTAX with diag.position = byte offset and the sentence with line and
 * column; E_LIMIT for depth and nodes (kind ERR_SYNTAX, so a 400) or bytes (kind ERR_SIZE), naming the limit, and for the arena's
 * ceiling. */
enum err json_parse(struct arena *a, struct str text, const struct json_limits *lim, struct json *out) MUST_CHECK;

/* A cursor: document and node index. JSON_NONE (doc NULL) stands for "absent". */
struct jval {
	const struct json *doc;
	uint32_t i;
};
static inline struct jval json_root(const struct json *d)
{
	return (struct jval){d, 0};
}
static inline bool j_ok(struct jval v)
{
	return v.doc != NULL;
}
static inline const struct json_node *j_node(struct jval v)
{
	return &v.doc->nodes[v.i];
}
static inline enum json_type j_type(struct jval v)
{
	return (enum json_type)j_node(v)->type;
}
/* Absent or JSON null. */
bool j_null(struct jval v);
bool j_is(struct jval v, enum json_type t); /* false when absent */
bool j_bool(struct jval v, bool *out);	    /* false when not a boolean */
/* Member by name (unescaped comparison); absent when none or v is no object. */
struct jval j_get(struct jval obj, struct str key);
/* Iteration: i = 0 first; false at the end. Works on arrays (key left alone, may be NULL) and objects (key = the key node). */
struct j_iter {
	struct jval parent;
	uint32_t at, left;
};
struct j_iter j_iter(struct jval container);
bool j_next(struct j_iter *it, struct jval *key, struct jval *value);
/* Unescaped string; a slice into the text when nothing was escaped, else a copy in the arena (.p NULL: arena full). */
struct str j_str(struct arena *a, struct jval v);
bool j_str_eq(struct jval v, struct str s);
static inline struct str j_raw(struct jval v)
{
	return j_node(v)->raw;
}
/* The number as int64 when it is an integer in range (1e3 and 5.0 count); false otherwise. */
bool j_i64(struct jval v, int64_t *out);
/* As the nearest double (strtod semantics, locale-free); false when not a number or out of range. */
bool j_double(struct jval v, double *out);
/* Compares two JSON values as JSON: numbers by value (as j_num_cmp: 9 = 9.0, 2^53 + 1 is not 2^53), strings by
 * code points, arrays in order, objects regardless of order. */
bool j_equal(struct jval a, struct jval b);
/* Whether a contains b as PostgreSQL's jsonb has it (a @> b): objects have b's members, arrays an element for each of b's, scalars
 * are equal (j_equal); at the top an array contains a scalar that is its element. Takes time by the product of their sizes: limit
 * b. */
bool j_contains(struct jval a, struct jval b);
/* Compares two numbers: <0, 0, >0. Exact for literals of any length and form (they are compared as decimals, never as doubles). */
int j_num_cmp(struct jval a, struct jval b);

/* The one text that all equal values have: members by the bytes of their names, numbers as json_number_canonical has them, no
 * blanks, only those characters escaped that must be. Texts are equal exactly when j_equal says so of the values. Needs memory of a
 * for the members' names. */
enum err json_canonical(struct arena *a, struct jval v, struct buf *out) MUST_CHECK;

/* Checks that obj has no members but those named; E_INVALID with field "/name" and the closest allowed name otherwise. OK when obj
 * is absent, E_INVALID when it is no object. */
enum err j_only(struct jval obj, const struct str *names, size_t n) MUST_CHECK;

/* ---- writer: appends to a buf; commas are its business, balance is the caller's (asserted in debug builds) ---- */
struct jw {
	struct buf *b;
	uint64_t first; /* bit per depth: nothing written yet at this depth */
	uint8_t depth;
	bool after_key;
};
void jw_init(struct jw *w, struct buf *b);
void jw_obj(struct jw *w);
void jw_end_obj(struct jw *w);
void jw_arr(struct jw *w);
void jw_end_arr(struct jw *w);
void jw_key(struct jw *w, const char *key);
void jw_key_str(struct jw *w, struct str key);
void jw_str(struct jw *w, struct str s); /* s must be valid UTF-8; invalid bytes come out as U+FFFD */
void jw_cstr(struct jw *w, const char *s);
void jw_i64(struct jw *w, int64_t v);
void jw_u64(struct jw *w, uint64_t v);
void jw_double(struct jw *w, double v); /* shortest form that reads back the same; NaN and infinities as null */
void jw_bool(struct jw *w, bool v);
void jw_null(struct jw *w);
void jw_raw(struct jw *w, struct str json); /* a value that is JSON already, byte for byte */
/* Just the escaped string with its quotes, for use without a writer. */
void json_quote(struct buf *b, struct str s);

#endif
