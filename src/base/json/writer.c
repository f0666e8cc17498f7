/* The JSON writer: appends to a buffer and puts the commas.
 *
 * Invariants
 *  1. Bit depth-1 of `first` is set as long as nothing was written in the innermost open container.
 *  2. after_key is set between a key and its value, when no comma is due. */
#include "base/json/json.h"

#include <assert.h>
#include <math.h>

#include "base/json/number.h"
#include "base/json/scan.h"
#include "base/utf8_seq.h"

#define DEPTH_MAX 64u

void jw_init(struct jw *w, struct buf *b)
{
	*w = (struct jw){.b = b};
}

static void comma(struct jw *w)
{
	uint64_t bit;

	if (w->after_key) {
		w->after_key = false;
		return;
	}
	if (!w->depth)
		return;
	bit = UINT64_C(1) << (w->depth - 1);
	if (w->first & bit)
		w->first &= ~bit;
	else
		buf_byte(w->b, ',');
}

static void open_container(struct jw *w, char c)
{
	comma(w);
	buf_byte(w->b, c);
	if (w->depth >= DEPTH_MAX) {
		if (w->b->err == OK)
			w->b->err = err_set(E_LIMIT, "JSON output is nested deeper than %u", DEPTH_MAX);
		return;
	}
	w->first |= UINT64_C(1) << w->depth;
	w->depth++;
}

static void close_container(struct jw *w, char c)
{
	assert((w->depth || w->b->err != OK) && !w->after_key);
	if (w->depth)
		w->depth--;
	buf_byte(w->b, c);
}

void jw_obj(struct jw *w)
{
	open_container(w, '{');
}

void jw_end_obj(struct jw *w)
{
	close_container(w, '}');
}

void jw_arr(struct jw *w)
{
	open_container(w, '[');
}

void jw_end_arr(struct jw *w)
{
	close_container(w, ']');
}

void jw_key_str(struct jw *w, struct str key)
{
	assert(!w->after_key);
	comma(w);
	json_quote(w->b, key);
	buf_byte(w->b, ':');
	w->after_key = true;
}

void jw_key(struct jw *w, const char *key)
{
	jw_key_str(w, str_c(key));
}

void jw_str(struct jw *w, struct str s)
{
	comma(w);
	json_quote(w->b, s);
}

void jw_cstr(struct jw *w, const char *s)
{
	jw_str(w, str_c(s));
}

void jw_i64(struct jw *w, int64_t v)
{
	comma(w);
	buf_i64(w->b, v);
}

void jw_u64(struct jw *w, uint64_t v)
{
	comma(w);
	buf_u64(w->b, v);
}

void jw_double(struct jw *w, double v)
{
	char text[JSON_DOUBLE_TEXT];

	comma(w);
	if (!isfinite(v)) {
		buf_lit(w->b, "null");
		return;
	}
	buf_put(w->b, text, json_double_text(v, text));
}

void jw_bool(struct jw *w, bool v)
{
	comma(w);
	buf_lit(w->b, v ? "true" : "false");
}

void jw_null(struct jw *w)
{
	comma(w);
	buf_lit(w->b, "null");
}

void jw_raw(struct jw *w, struct str json)
{
	comma(w);
	buf_str(w->b, json);
}

/* One ASCII character that cannot stand for itself. */
static void escape(struct buf *b, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	static const char *const named[] = {['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};

	if (c == '"' || c == '\\') {
		char pair[2] = {'\\', (char)c};

		buf_put(b, pair, 2);
	} else if (c <= '\r' && named[c]) {
		buf_put(b, named[c], 2);
	} else {
		char six[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

		buf_put(b, six, 6);
	}
}

void json_quote(struct buf *b, struct str s)
{
	const char *p = s.p ? s.p : "", *end = p + s.n, *from = p;

	buf_byte(b, '"');
	while (b->err == OK) {
		unsigned len;
		uint32_t cp;

		p = scan_plain(p, end);
		if (p == end)
			break;
		len = (unsigned char)*p >= 0x80 ? utf8_sequence((const unsigned char *)p, (size_t)(end - p), &cp) : 0;
		if (len) {
			p += len;
			continue;
		}
		buf_put(b, from, (size_t)(p - from));
		if ((unsigned char)*p >= 0x80)
			buf_put(b, "\xef\xbf\xbd", 3);
		else
			escape(b, (unsigned char)*p);
		from = ++p;
	}
	buf_put(b, from, (size_t)(p - from));
	buf_byte(b, '"');
}
