/* See checkpoint_split.h.
 *
 * Invariants
 *  1. Nothing is decoded but the members of the checkpoint itself: a value of a channel is passed over by its heads (msgpack) or by
 *     its span (json), and what is stored is the span.
 *  2. The version of a value is the text that its number or string has in the JSON that is stored beside it.
 *  3. Recursion is at most PLAIN_DEPTH deep; nothing is allocated by a count that the bytes do not bear out. */
#include "core/checkpoint_split.h"

#include <math.h>
#include <stdio.h>

#include "base/json/json.h"
#include "base/utf8.h"
#include "core/checkpoint.h"
#include "core/msgpack_json.h"

enum { PLAIN_DEPTH = 48, MEMBERS_MAX = 1000 };

static const struct json_limits text_limits = {.depth = 200, .nodes = 8000000, .bytes = CKPT_VALUE_MAX, .flags = JSON_DUP_OK};

/* ------------------------------------------------------- msgpack that is JSON */

/* As jsonb keeps it and with the sign of a float that whole ones have in Python. */
static bool float_fits(double f)
{
	return isfinite(f) && fabs(f) < 1e16 && !(f == 0 && signbit(f));
}

static void write_float(struct jw *w, double f)
{
	char text[40];

	if (f != trunc(f) || fabs(f) >= 1e16) {
		jw_double(w, f);
		return;
	}
	jw_raw(w, str_of(text, (size_t)snprintf(text, sizeof text, "%lld.0", (long long)f)));
}

static bool text_fits(struct str s)
{
	return utf8_valid(s) && (s.n == 0 || !memchr(s.p, 0, s.n));
}

static enum err plain(struct jw *w, struct mp *m, unsigned depth);

static enum err plain_container(struct jw *w, struct mp *m, const struct mp_head *h, unsigned depth)
{
	struct mp_head key;
	bool map = h->kind == MP_MAP;

	if (depth >= PLAIN_DEPTH)
		return err_set(E_LIMIT, "nested deeper than %d", PLAIN_DEPTH);
	if (map)
		jw_obj(w);
	else
		jw_arr(w);
	for (uint64_t i = 0; i < h->n; i++) {
		if (map) {
			TRY(mp_head(m, &key));
			if (key.kind != MP_STR || !utf8_valid(key.in))
				return err_set(E_INVALID, "a key that is no text");
			jw_key_str(w, key.in);
		}
		TRY(plain(w, m, depth + 1));
		TRY(w->b->err);
	}
	if (map)
		jw_end_obj(w);
	else
		jw_end_arr(w);
	return OK;
}

/* One value that is JSON, or E_INVALID. */
static enum err plain(struct jw *w, struct mp *m, unsigned depth)
{
	struct mp_head h;

	TRY(mp_head(m, &h));
	switch (h.kind) {
	case MP_NIL:
		jw_null(w);
		return OK;
	case MP_BOOL:
		jw_bool(w, h.yes);
		return OK;
	case MP_UINT:
		jw_u64(w, h.n);
		return OK;
	case MP_INT:
		jw_i64(w, h.i);
		return OK;
	case MP_FLOAT:
		if (!isfinite(h.f))
			return err_set(E_INVALID, "a number that JSON does not have");
		write_float(w, h.f);
		return OK;
	case MP_STR:
		if (!utf8_valid(h.in))
			return err_set(E_INVALID, "a text that is not UTF-8");
		jw_str(w, h.in);
		return OK;
	case MP_ARRAY:
	case MP_MAP:
		return plain_container(w, m, &h, depth);
	default:
		return err_set(E_INVALID, "a value that JSON does not have");
	}
}

/* ------------------------------------------------------------ parts of both */

struct split {
	struct arena *a;
	struct buf json;
	struct jw w;
	struct json versions; /* nodes NULL: there are none */
	struct ckpt_value *values;
	size_t n, cap;
};

/* Text of the channel's version; .p NULL: it has none. */
static struct str version_of(const struct split *s, struct str channel)
{
	struct jval v = s->versions.nodes ? j_get(json_root(&s->versions), channel) : (struct jval){0};

	if (j_is(v, JSON_STRING))
		return j_str(s->a, v);
	return j_is(v, JSON_NUMBER) ? j_raw(v) : (struct str){0};
}

static enum err add_value(struct split *s, struct str channel, struct str version, struct str type, struct str bytes)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 16;

		s->values = arena_grow(s->a, s->values, s->cap * sizeof *s->values, cap * sizeof *s->values);
		if (!s->values)
			return E_NOMEM;
		s->cap = cap;
	}
	s->values[s->n++] = (struct ckpt_value){channel, version, type, bytes};
	return OK;
}

static enum err too_many(void)
{
	return err_set(E_LIMIT, "more than %d channels", SPLIT_CHANNELS_MAX);
}

static enum err finish(struct split *s, struct ckpt_split *out)
{
	TRY(s->json.err);
	*out = (struct ckpt_split){buf_slice(&s->json), s->values, s->n};
	return OK;
}

/* ----------------------------------------------------------------- msgpack */

struct member {
	struct str key;
	struct mp at; /* its value alone */
};

static struct str span_of(struct mp m)
{
	return str_of((const char *)m.at, (size_t)(m.end - m.at));
}

/* The next value's span, passed over. */
static enum err next_span(struct mp *m, struct mp *out)
{
	*out = *m;
	TRY(mp_skip(m));
	out->end = m->at;
	return OK;
}

static enum err members(struct split *s, struct str blob, struct member **out, size_t *n)
{
	const uint8_t *p = (const uint8_t *)blob.p;
	struct mp m = {p, p, p + blob.n};
	struct mp_head h, key;

	TRY(mp_head(&m, &h));
	if (h.kind != MP_MAP)
		return err_set(E_INVALID, "it is no map");
	if (h.n > MEMBERS_MAX)
		return err_set(E_LIMIT, "it has more than %d members", MEMBERS_MAX);
	*n = (size_t)h.n;
	*out = ARENA_ARRAY(s->a, struct member, *n + 1);
	if (!*out)
		return E_NOMEM;
	for (size_t i = 0; i < *n; i++) {
		TRY(mp_head(&m, &key));
		if (key.kind != MP_STR || !utf8_valid(key.in))
			return err_set(E_INVALID, "it has a key that is no text");
		(*out)[i].key = key.in;
		for (size_t k = 0; k < i; k++)
			if (str_eq((*out)[k].key, key.in))
				return err_set(E_INVALID, "it has a key twice");
		TRY(next_span(&m, &(*out)[i].at));
	}
	return m.at == m.end ? OK : err_set(E_INVALID, "something follows at byte %zu", (size_t)(m.at - m.base));
}

static enum err read_versions(struct split *s, struct mp at)
{
	struct buf text;
	struct jw w;

	buf_init(&text, s->a, CKPT_JSON_MAX);
	jw_init(&w, &text);
	TRY(plain(&w, &at, 0));
	TRY(text.err);
	TRY(json_parse(s->a, buf_slice(&text), &text_limits, &s->versions));
	if (!j_is(json_root(&s->versions), JSON_OBJECT))
		s->versions.nodes = NULL;
	return OK;
}

/* A scalar that comes back from any store's JSON as it was. */
static bool stays_inline(const struct mp_head *h)
{
	switch (h->kind) {
	case MP_NIL:
	case MP_BOOL:
	case MP_INT:
		return true;
	case MP_UINT:
		return h->n <= INT64_MAX;
	case MP_FLOAT:
		return float_fits(h->f);
	case MP_STR:
		return text_fits(h->in);
	default:
		return false;
	}
}

static enum err channel(struct split *s, struct str name, struct mp at)
{
	struct mp rest = at;
	struct mp_head h;
	struct str version;
	enum err e;

	TRY(mp_head(&rest, &h));
	if (!stays_inline(&h)) {
		version = version_of(s, name);
		if (version.n > 0) {
			if (h.kind == MP_EXT && h.code == 7) {
				jw_key_str(&s->w, name);
				jw_bool(&s->w, true);
			}
			return h.kind == MP_BIN ? add_value(s, name, version, STR("bytes"), h.in)
						: add_value(s, name, version, STR("msgpack"), span_of(at));
		}
	}
	jw_key_str(&s->w, name);
	e = plain(&s->w, &at, 0);
	return e == OK ? OK : err_wrap(e, "channel %.*s has no version, and its value is no JSON", STR_ARG(name));
}

static enum err channels(struct split *s, struct mp m)
{
	struct mp_head h, key;
	struct mp at;

	TRY(mp_head(&m, &h));
	if (h.kind == MP_NIL) {
		jw_null(&s->w);
		return OK;
	}
	if (h.kind != MP_MAP)
		return err_set(E_INVALID, "channel_values is no map");
	if (h.n > SPLIT_CHANNELS_MAX)
		return too_many();
	jw_obj(&s->w);
	for (uint64_t i = 0; i < h.n; i++) {
		TRY(mp_head(&m, &key));
		if (key.kind != MP_STR || !utf8_valid(key.in))
			return err_set(E_INVALID, "a channel's name is no text");
		TRY(next_span(&m, &at));
		TRY(channel(s, key.in, at));
	}
	jw_end_obj(&s->w);
	return OK;
}

static enum err split_msgpack(struct split *s, struct str blob)
{
	struct member *v = NULL;
	size_t n = 0;

	TRY(members(s, blob, &v, &n));
	for (size_t i = 0; i < n; i++)
		if (str_eq(v[i].key, STR("channel_versions")))
			TRY(read_versions(s, v[i].at));
	jw_obj(&s->w);
	for (size_t i = 0; i < n; i++) {
		enum err e;

		jw_key_str(&s->w, v[i].key);
		e = str_eq(v[i].key, STR("channel_values")) ? channels(s, v[i].at) : plain(&s->w, &v[i].at, 0);
		if (e != OK)
			return err_wrap(e, "%.*s", STR_ARG(v[i].key));
	}
	jw_end_obj(&s->w);
	return OK;
}

/* -------------------------------------------------------------------- json */

/* The escape of a UTF-16 unit at p: its value, or -1. */
static int32_t unit_at(struct str t, size_t i)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	int32_t v = 0;

	if (i + 6 > t.n || t.p[i] != '\\' || t.p[i + 1] != 'u')
		return -1;
	for (size_t k = i + 2; k < i + 6; k++) {
		const char *at = memchr(digits, t.p[k], sizeof digits - 1);

		if (!at)
			return -1;
		v = v << 4 | (int32_t)(at - digits < 16 ? at - digits : at - digits - 6);
	}
	return v;
}

/* One escape in a string at i; returns how many bytes of the text it is. exact: the output is as long as the input. */
static size_t clean_escape(struct buf *b, struct str t, size_t i, bool exact)
{
	int32_t u = unit_at(t, i), next;

	if (u < 0) {
		size_t n = i + 1 < t.n ? 2 : 1;

		buf_str(b, str_sub(t, i, i + n));
		return n;
	}
	if (u == 0 && !exact)
		return 6;
	if (u >= 0xd800 && u < 0xdc00) {
		next = unit_at(t, i + 6);
		if (next >= 0xdc00 && next < 0xe000) {
			buf_str(b, str_sub(t, i, i + 12));
			return 12;
		}
	}
	buf_str(b, u >= 0xd800 && u < 0xe000 ? STR("\\ufffd") : str_sub(t, i, i + 6));
	return 6;
}

/* Whether the byte at i can stand beside a number. */
static bool apart(struct str t, size_t i)
{
	return i >= t.n || memchr(" \t\r\n,:[]{}", t.p[i], 10);
}

/* NaN and its like; exact: a number of the same length stands for it. */
static size_t clean_word(struct buf *b, struct str t, size_t i, bool exact)
{
	static const struct {
		struct str word, number;
	} words[] = {{STR_INIT("NaN"), STR_INIT("0.0")},
		     {STR_INIT("Infinity"), STR_INIT("0.000000")},
		     {STR_INIT("-Infinity"), STR_INIT("-0.000000")}};

	for (size_t k = 0; k < 3; k++) {
		if (!str_starts(str_sub(t, i, t.n), words[k].word) || !apart(t, i - 1) || !apart(t, i + words[k].word.n))
			continue;
		buf_str(b, exact ? words[k].number : STR("null"));
		return words[k].word.n;
	}
	buf_byte(b, t.p[i]);
	return 1;
}

static enum err clean(struct arena *a, struct str t, bool exact, struct str *out)
{
	bool in_string = false;
	struct buf b;

	buf_init(&b, a, t.n * 2 + 16);
	for (size_t i = 0; i < t.n && b.err == OK;) {
		char ch = t.p[i];

		if (ch == '"')
			in_string = !in_string;
		if (in_string && ch == '\\') {
			i += clean_escape(&b, t, i, exact);
		} else if (!in_string && (ch == 'N' || ch == 'I' || ch == '-')) {
			i += clean_word(&b, t, i, exact);
		} else {
			buf_byte(&b, ch);
			i++;
		}
	}
	*out = buf_slice(&b);
	return b.err;
}

enum err json_clean(struct arena *a, struct str text, struct str *out)
{
	return clean(a, text, false, out);
}

enum err ckpt_split_metadata(struct arena *a, struct str text, struct str *out)
{
	struct json doc;

	if (text.n == 0) {
		*out = STR("{}");
		return OK;
	}
	TRY(json_clean(a, text, out));
	TRY(json_parse(a, *out, &text_limits, &doc));
	return j_is(json_root(&doc), JSON_OBJECT) ? OK : err_set(E_INVALID, "it is no JSON object");
}

/* The checkpoint is read from a copy in which everything that is no strict JSON has been replaced by something as long, so that
 * spans are the same in both; values are taken from the original. */
struct twin {
	struct str original, strict;
};

static struct str original_of(const struct twin *t, struct str raw)
{
	size_t at = (size_t)(raw.p - t->strict.p);

	return str_sub(t->original, at, at + raw.n);
}

/* What stays JSON, as every store takes it. */
static enum err keep_json(struct split *s, const struct twin *t, struct jval v)
{
	struct str text;

	TRY(json_clean(s->a, original_of(t, j_raw(v)), &text));
	jw_raw(&s->w, text);
	return OK;
}

static enum err json_channels(struct split *s, const struct twin *t, struct jval values)
{
	struct jval key, v;

	if (j_null(values)) {
		jw_null(&s->w);
		return OK;
	}
	if (!j_is(values, JSON_OBJECT))
		return err_set(E_INVALID, "channel_values is no object");
	if (j_node(values)->count > SPLIT_CHANNELS_MAX)
		return too_many();
	jw_obj(&s->w);
	for (struct j_iter it = j_iter(values); j_next(&it, &key, &v);) {
		struct str name = j_str(s->a, key), version;

		if (!name.p)
			return E_NOMEM;
		version = version_of(s, name);
		if (version.n > 0) {
			TRY(add_value(s, name, version, STR("json"), original_of(t, j_raw(v))));
			continue;
		}
		jw_key_str(&s->w, name);
		TRY(keep_json(s, t, v));
	}
	jw_end_obj(&s->w);
	return OK;
}

static enum err split_json(struct split *s, struct str blob)
{
	struct twin t = {.original = blob};
	struct jval root, key, v;
	struct json doc;

	TRY(clean(s->a, blob, true, &t.strict));
	TRY(json_parse(s->a, t.strict, &text_limits, &doc));
	root = json_root(&doc);
	if (!j_is(root, JSON_OBJECT))
		return err_set(E_INVALID, "it is no object");
	v = j_get(root, STR("channel_versions"));
	if (j_is(v, JSON_OBJECT)) { /* as they are stored: rule 2 */
		struct str text;

		TRY(json_clean(s->a, original_of(&t, j_raw(v)), &text));
		TRY(json_parse(s->a, text, &text_limits, &s->versions));
	}
	jw_obj(&s->w);
	for (struct j_iter it = j_iter(root); j_next(&it, &key, &v);) {
		struct str name = j_str(s->a, key);

		if (!name.p)
			return E_NOMEM;
		jw_key_str(&s->w, name);
		if (str_eq(name, STR("channel_values")))
			TRY(json_channels(s, &t, v));
		else
			TRY(keep_json(s, &t, v));
	}
	jw_end_obj(&s->w);
	return OK;
}

enum err ckpt_split(struct arena *a, struct str type, struct str blob, struct ckpt_split *out)
{
	struct split s = {.a = a};
	enum err e;

	buf_init(&s.json, a, CKPT_JSON_MAX);
	jw_init(&s.w, &s.json);
	if (str_eq(type, STR("msgpack")))
		e = split_msgpack(&s, blob);
	else if (str_eq(type, STR("json")))
		e = split_json(&s, blob);
	else if (str_chr(type, '+', 0) >= 0)
		e = err_set(E_INVALID, "it is encrypted (%.*s)", STR_ARG(str_sub(type, 0, 60)));
	else
		e = err_set(E_INVALID, "it is of type \"%.*s\"; msgpack and json can be read", STR_ARG(str_sub(type, 0, 60)));
	return e == OK ? finish(&s, out) : e;
}
