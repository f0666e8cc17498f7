/* The JSON reader: one pass over the text, no recursion, one node per value and key.
 *
 * Invariants while reading
 *  1. An open container keeps the index of its parent in `next` (NONE at the root) until it is closed; then the index behind it.
 *  2. n <= cap <= lim->nodes; nodes are the last allocation of the arena, so that the tape grows in place.
 *  3. depth is the number of open containers, at most lim->depth.
 *  4. `p` never passes `end`; every byte is looked at a bounded number of times. */
#include "base/json/json.h"

#include <stdio.h>

#include "base/json/scan.h"
#include "base/json/text.h"
#include "base/utf8_seq.h"

const struct json_limits json_default_limits = {.depth = 64, .nodes = 200000, .bytes = (size_t)8 << 20};

#define NONE UINT32_MAX
#define FIRST_NODES 64u

struct reader {
	const char *p, *end, *begin;
	struct json_node *nodes;
	uint32_t n, cap;
	uint32_t open, depth;
	uint32_t largest; /* members of the largest object that is too large for comparing pairs */
	const struct json_limits *lim;
	struct arena *arena;
};

/* ---- errors ---- */

/* Lines and columns count from 1; a column is a character, not a byte. */
static void place(const struct reader *r, const char *at, unsigned *line, unsigned *column)
{
	*line = *column = 1;
	for (const char *p = r->begin; p < at; p++) {
		if (*p == '\n') {
			++*line;
			*column = 1;
		} else if (((unsigned char)*p & 0xc0) != 0x80) {
			++*column;
		}
	}
}

static enum err fail(const struct reader *r, enum err code, const char *at, const char *what)
{
	unsigned line, column;

	place(r, at, &line, &column);
	(void)err_kind(code, ERR_SYNTAX, "JSON, line %u column %u: %s", line, column, what);
	diag_get()->position = at - r->begin;
	return code;
}

static enum err bad(const struct reader *r, const char *at, const char *what)
{
	return fail(r, E_INVALID, at, what);
}

/* What was expected, and what is there instead. */
static enum err unexpected(const struct reader *r, const char *at, const char *expected)
{
	char what[160];
	unsigned char c;

	if (at >= r->end) {
		snprintf(what, sizeof what, "expected %s, but the text ends", expected);
		return bad(r, r->end, what);
	}
	c = (unsigned char)*at;
	if (c > 0x20 && c < 0x7f)
		snprintf(what, sizeof what, "expected %s, found '%c'", expected, c);
	else
		snprintf(what, sizeof what, "expected %s, found byte 0x%02x", expected, c);
	return bad(r, at, what);
}

static enum err too_many(const struct reader *r, const char *at, const char *things, uint32_t limit)
{
	char what[96];

	snprintf(what, sizeof what, "%s (limit %u)", things, limit);
	return fail(r, E_LIMIT, at, what);
}

/* ---- the tape ---- */

static enum err more_nodes(struct reader *r)
{
	uint32_t cap = r->cap ? r->cap * 2 : FIRST_NODES;
	struct json_node *nodes;

	if (r->cap >= r->lim->nodes)
		return too_many(r, r->p, "too many values", r->lim->nodes);
	/* A short text cannot hold many: every second byte begins one at most. */
	if (!r->cap && (size_t)(r->end - r->begin) / 2 + 1 < cap)
		cap = (uint32_t)((r->end - r->begin) / 2 + 1);
	if (cap > r->lim->nodes)
		cap = r->lim->nodes;
	nodes = arena_grow(r->arena, r->nodes, r->cap * sizeof *nodes, cap * sizeof *nodes);
	if (!nodes)
		return E_NOMEM;
	r->nodes = nodes;
	r->cap = cap;
	return OK;
}

static inline enum err push(struct reader *r, enum json_type type, bool escaped, const char *from, const char *to)
{
	struct json_node *node;

	if (__builtin_expect(r->n == r->cap, 0))
		TRY(more_nodes(r));
	node = &r->nodes[r->n++];
	*node = (struct json_node){(uint8_t)type, escaped, r->n, 0, {from, (size_t)(to - from)}};
	return OK;
}

/* ---- scalars; r->p stands at their first byte and is moved behind them ---- */

static inline void skip_blanks(struct reader *r)
{
	const char *p = r->p;

	while (p < r->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	r->p = p;
}

/* The backslash is at p; *next becomes what follows the escape. */
static enum err escape(const struct reader *r, const char *p, const char **next)
{
	int32_t unit;

	if (r->end - p < 2)
		return unexpected(r, r->end, "the rest of an escape");
	if (p[1] != 'u') {
		if (!p[1] || !strchr("\"\\/bfnrt", p[1]))
			return unexpected(r, p + 1, "one of \" \\ / b f n r t u after the backslash");
		*next = p + 2;
		return OK;
	}
	unit = r->end - p >= 6 ? json_hex4(p + 2) : -1;
	if (unit < 0)
		return bad(r, p, "\\u must be followed by four hexadecimal digits");
	*next = p + 6;
	if (unit < 0xd800 || unit > 0xdfff)
		return OK;
	if (unit > 0xdbff)
		return bad(r, p, "a low surrogate escape without a high one before it");
	unit = r->end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? json_hex4(p + 8) : -1;
	if (unit < 0xdc00 || unit > 0xdfff)
		return bad(r, p, "a high surrogate escape without a low one behind it");
	*next = p + 12;
	return OK;
}

static enum err beyond_ascii(const struct reader *r, const char *p, const char **next)
{
	do {
		uint32_t cp;
		unsigned n = utf8_sequence((const unsigned char *)p, (size_t)(r->end - p), &cp);

		if (!n)
			return bad(r, p, "not valid UTF-8");
		p += n;
	} while (p < r->end && (unsigned char)*p >= 0x80);
	*next = p;
	return OK;
}

static enum err read_string(struct reader *r)
{
	const char *from = r->p, *p = from + 1;
	bool escaped = false;

	for (;;) {
		p = scan_plain(p, r->end);
		if (p == r->end)
			return bad(r, from, "a string that begins here has no end");
		if (*p == '"')
			break;
		if (*p == '\\') {
			escaped = true;
			TRY(escape(r, p, &p));
		} else if ((unsigned char)*p >= 0x80) {
			TRY(beyond_ascii(r, p, &p));
		} else {
			return bad(r, p, "a control character in a string must be escaped");
		}
	}
	r->p = p + 1;
	return push(r, JSON_STRING, escaped, from, r->p);
}

static inline const char *skip_digits(const char *p, const char *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

static enum err read_number(struct reader *r)
{
	const char *from = r->p, *p = from, *end = r->end, *part;

	if (*p == '-')
		p++;
	part = p;
	p = skip_digits(p, end);
	if (p == part)
		return unexpected(r, p, "a digit");
	if (*part == '0' && p - part > 1)
		return bad(r, part, "a number must not begin with 0");
	if (p < end && *p == '.') {
		part = ++p;
		p = skip_digits(p, end);
		if (p == part)
			return unexpected(r, p, "a digit after the decimal point");
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		part = p;
		p = skip_digits(p, end);
		if (p == part)
			return unexpected(r, p, "a digit in the exponent");
	}
	r->p = p;
	return push(r, JSON_NUMBER, false, from, p);
}

static enum err read_word(struct reader *r, enum json_type type, const char *word, size_t n)
{
	const char *from = r->p;

	if ((size_t)(r->end - from) < n || memcmp(from, word, n) != 0)
		return unexpected(r, from, "a value (null, true, false, a number, a string, [ or {)");
	r->p = from + n;
	return push(r, type, false, from, r->p);
}

/* ---- containers ---- */

static enum err duplicate(const struct reader *r, uint32_t key)
{
	struct str raw = r->nodes[key].raw;
	char what[120];

	snprintf(what, sizeof what, "the key %.*s stands twice in one object", (int)(raw.n < 64 ? raw.n : 64), raw.p);
	return bad(r, raw.p, what);
}

/* Compares every pair; only for objects of a few members. */
static enum err check_pairs(const struct reader *r, uint32_t object)
{
	const struct json_node *nodes = r->nodes;
	uint32_t keys[JSON_PAIRS_MAX], key = object + 1;

	for (uint32_t i = 0; i < nodes[object].count; i++) {
		for (uint32_t j = 0; j < i; j++)
			if (json_text_eq(&nodes[keys[j]], &nodes[key]))
				return duplicate(r, key);
		keys[i] = key;
		key = nodes[key + 1].next;
	}
	return OK;
}

/* After reading: the objects that were too large for comparing pairs, with one table for all of them. */
static enum err check_large(struct reader *r)
{
	struct json_keys table;
	uint32_t *memory;

	if (!r->largest)
		return OK;
	memory = ARENA_ARRAY(r->arena, uint32_t, json_keys_cap(r->largest));
	if (!memory)
		return E_NOMEM;
	for (uint32_t i = 0; i < r->n; i++) {
		uint32_t key = i + 1;

		if (r->nodes[i].type != JSON_OBJECT || r->nodes[i].count <= JSON_PAIRS_MAX)
			continue;
		json_keys_init(&table, memory, r->nodes[i].count);
		for (uint32_t left = r->nodes[i].count; left; left--) {
			if (json_keys_put(&table, r->nodes, key) != JSON_NO_KEY)
				return duplicate(r, key);
			key = r->nodes[key + 1].next;
		}
	}
	return OK;
}

static enum err open_container(struct reader *r, enum json_type type)
{
	if (r->depth >= r->lim->depth)
		return too_many(r, r->p, "nested too deep", r->lim->depth);
	TRY(push(r, type, false, r->p, r->p));
	r->nodes[r->n - 1].next = r->open;
	r->open = r->n - 1;
	r->depth++;
	r->p++;
	return OK;
}

/* r->p stands behind the closing bracket. */
static inline enum err close_container(struct reader *r)
{
	uint32_t i = r->open;
	struct json_node *node = &r->nodes[i];

	r->open = node->next;
	r->depth--;
	node->next = r->n;
	node->raw.n = (size_t)(r->p - node->raw.p);
	if (node->type != JSON_OBJECT || node->count < 2 || (r->lim->flags & JSON_DUP_OK))
		return OK;
	if (node->count <= JSON_PAIRS_MAX)
		return check_pairs(r, i);
	if (node->count > r->largest)
		r->largest = node->count;
	return OK;
}

static enum err read_key(struct reader *r)
{
	skip_blanks(r);
	if (r->p == r->end || *r->p != '"')
		return unexpected(r, r->p, "a key in quotes");
	TRY(read_string(r));
	skip_blanks(r);
	if (r->p == r->end || *r->p != ':')
		return unexpected(r, r->p, "':' after the key");
	r->p++;
	return OK;
}

/* Reads a scalar, an empty container, or the beginning of a container up to its first value; *complete tells. */
static enum err read_value(struct reader *r, bool *complete)
{
	bool object;

	*complete = true;
	skip_blanks(r);
	switch (r->p < r->end ? *r->p : 0) {
	case '"':
		return read_string(r);
	case 'n':
		return read_word(r, JSON_NULL, "null", 4);
	case 't':
		return read_word(r, JSON_TRUE, "true", 4);
	case 'f':
		return read_word(r, JSON_FALSE, "false", 5);
	case '{':
	case '[':
		break;
	default:
		if (r->p < r->end && (*r->p == '-' || (*r->p >= '0' && *r->p <= '9')))
			return read_number(r);
		return unexpected(r, r->p, "a value (null, true, false, a number, a string, [ or {)");
	}
	object = *r->p == '{';
	TRY(open_container(r, object ? JSON_OBJECT : JSON_ARRAY));
	skip_blanks(r);
	if (r->p < r->end && *r->p == (object ? '}' : ']')) {
		r->p++;
		return close_container(r);
	}
	*complete = false;
	return object ? read_key(r) : OK;
}

/* A value inside a container is complete: goes on to the next one (*again) or closes containers. */
static enum err read_after(struct reader *r, bool *again)
{
	struct json_node *node = &r->nodes[r->open];
	bool object = node->type == JSON_OBJECT;

	node->count++;
	skip_blanks(r);
	if (r->p < r->end && *r->p == ',') {
		r->p++;
		*again = true;
		return object ? read_key(r) : OK;
	}
	*again = false;
	if (r->p == r->end || *r->p != (object ? '}' : ']'))
		return unexpected(r, r->p, object ? "',' or '}'" : "',' or ']'");
	r->p++;
	return close_container(r);
}

static enum err read_text(struct reader *r)
{
	for (;;) {
		bool complete, again = false;

		TRY(read_value(r, &complete));
		while (complete && !again) {
			if (r->open == NONE)
				return OK;
			TRY(read_after(r, &again));
		}
	}
}

enum err json_parse(struct arena *a, struct str text, const struct json_limits *lim, struct json *out)
{
	const char *begin = text.p ? text.p : "";
	struct reader r = {.p = begin, .begin = begin, .end = begin + text.n, .open = NONE, .arena = a};

	*out = (struct json){0};
	r.lim = lim ? lim : &json_default_limits;
	if (text.n > r.lim->bytes)
		return err_kind(E_LIMIT, ERR_SIZE, "the JSON text has %zu bytes (limit %zu)", text.n, r.lim->bytes);
	if (str_starts(text, STR("\xef\xbb\xbf")))
		return bad(&r, begin, "the text begins with a byte order mark, which JSON does not allow");
	TRY(read_text(&r));
	skip_blanks(&r);
	if (r.p != r.end)
		return unexpected(&r, r.p, "the end of the text after the value");
	TRY(check_large(&r));
	*out = (struct json){.text = text, .nodes = r.nodes, .n = r.n, .dups = (r.lim->flags & JSON_DUP_OK) != 0};
	return OK;
}
