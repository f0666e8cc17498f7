/* Texts of entries that other programs wrote: which of them are JSON objects, and how an entry looks in the table conversations. */
#include "store/postgres/sessions.h"

#include <ctype.h>

#include "base/json/json.h"

#define DEPTH_MAX 512

/* ---------------------------------------------------------------- is it JSON? */

struct scan {
	const char *p, *end;
};

static void blanks(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static bool take(struct scan *s, char c)
{
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static size_t digits(struct scan *s)
{
	const char *from = s->p;
	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return (size_t)(s->p - from);
}

static bool number(struct scan *s)
{
	(void)take(s, '-');
	if (!take(s, '0') && digits(s) == 0)
		return false;
	if (take(s, '.') && digits(s) == 0)
		return false;
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			(void)take(s, '-');
		return digits(s) > 0;
	}
	return true;
}

static bool word(struct scan *s, struct str w)
{
	if ((size_t)(s->end - s->p) < w.n || memcmp(s->p, w.p, w.n) != 0)
		return false;
	s->p += w.n;
	return true;
}

static bool string(struct scan *s)
{
	if (!take(s, '"'))
		return false;
	while (s->p < s->end) {
		unsigned char c = (unsigned char)*s->p++;
		if (c == '"')
			return true;
		if (c < 0x20)
			return false;
		if (c != '\\')
			continue;
		if (s->p == s->end)
			return false;
		c = (unsigned char)*s->p++;
		if (c != 'u' && !memchr("\"\\/bfnrt", c, 8))
			return false;
		if (c != 'u')
			continue;
		for (int i = 0; i < 4; i++, s->p++)
			if (s->p == s->end || !isxdigit((unsigned char)*s->p))
				return false;
	}
	return false;
}

static bool scalar(struct scan *s)
{
	switch (*s->p) {
	case '"':
		return string(s);
	case 't':
		return word(s, STR("true"));
	case 'f':
		return word(s, STR("false"));
	case 'n':
		return word(s, STR("null"));
	default:
		return number(s);
	}
}

/* What is open, innermost last: '{' or '['. */
struct open {
	unsigned char v[DEPTH_MAX];
	size_t n;
};

/* Begins a value; *inside: it is a container that is not empty, whose first value (after its key) comes next. */
static bool begin(struct scan *s, struct open *o, bool *inside)
{
	*inside = false;
	blanks(s);
	if (s->p == s->end)
		return false;
	char c = *s->p;
	if (c != '{' && c != '[')
		return scalar(s);
	s->p++;
	blanks(s);
	if (take(s, c == '{' ? '}' : ']'))
		return true;
	if (o->n == DEPTH_MAX)
		return false;
	o->v[o->n++] = (unsigned char)c;
	*inside = true;
	return true;
}

static bool key(struct scan *s)
{
	blanks(s);
	if (!string(s))
		return false;
	blanks(s);
	return take(s, ':');
}

bool pg_entry_readable(struct str text)
{
	struct scan s = {text.p, text.p + text.n};
	struct open o = {.n = 0};
	bool inside;
	blanks(&s);
	if (s.p == s.end || *s.p != '{')
		return false;
	for (;;) {
		if (o.n && o.v[o.n - 1] == '{' && !key(&s))
			return false;
		if (!begin(&s, &o, &inside))
			return false;
		if (inside)
			continue;
		for (blanks(&s); o.n && take(&s, o.v[o.n - 1] == '{' ? '}' : ']'); blanks(&s))
			o.n--;
		if (o.n == 0)
			return s.p == s.end;
		if (!take(&s, ','))
			return false;
	}
}

/* ---------------------------------------------------------------- conversations */

static bool plain_role(struct str s)
{
	return str_eq(s, STR("user")) || str_eq(s, STR("assistant"));
}

/* The texts of a message's parts, one a line. */
static void part_texts(struct arena *a, struct jval content, struct buf *b)
{
	struct j_iter it = j_iter(content);
	struct jval part, text;
	while (j_next(&it, NULL, &part)) {
		if (!j_is(part, JSON_OBJECT) || !j_is(text = j_get(part, STR("text")), JSON_STRING))
			continue;
		if (b->n)
			buf_byte(b, '\n');
		buf_str(b, j_str(a, text));
	}
}

/* PostgreSQL's text takes everything but U+0000. */
static struct str without_nul(struct arena *a, struct str s)
{
	struct buf b;
	if (!pg_has_nul(s))
		return s;
	buf_init(&b, a, s.n * 3 + 1);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i])
			buf_byte(&b, s.p[i]);
		else
			buf_lit(&b, "\xef\xbf\xbd");
	}
	return buf_slice(&b);
}

enum err pg_seed_row(struct arena *a, struct str s, struct pg_seed_row *out)
{
	struct json_limits lim = json_default_limits;
	struct json doc;
	struct buf b;
	lim.flags |= JSON_DUP_OK;
	TRY(json_parse(a, s, &lim, &doc));
	struct jval item = json_root(&doc), content = j_get(item, STR("content"));
	struct str role = j_is(j_get(item, STR("role")), JSON_STRING) ? j_str(a, j_get(item, STR("role"))) : STR("");
	bool text = j_is(content, JSON_STRING);
	*out = (struct pg_seed_row){.role = plain_role(role) ? role : STR("assistant"), .item = s};
	buf_init(&b, a, s.n * 3 + 16);
	if (text)
		out->content = j_str(a, content);
	else if (j_is(content, JSON_ARRAY))
		part_texts(a, content, &b);
	if (!text && b.n)
		out->content = buf_slice(&b);
	if (!text && !b.n)
		out->content = s;
	TRY(b.err);
	if (text && plain_role(role) && j_node(item)->count == 2 && !pg_has_nul(out->content))
		out->item = STR("");
	out->content = without_nul(a, out->content);
	return out->role.p && out->content.p ? OK : E_NOMEM;
}
