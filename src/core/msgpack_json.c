/* See msgpack_json.h.
 *
 * Invariants
 *  1. Every element of a container takes at least a byte of input, so a head that claims more elements than bytes are left is
 * refused before anything is done about it, and nothing is ever allocated by a count.
 *  2. Every byte of input is shown once: output is at most a small multiple of the input. A key that is a container or an extension
 *     is shown as its text, cut at KEY_SHOWN bytes; so texts in texts do not multiply.
 *  3. Recursion is at most MSGPACK_SHOW_DEPTH deep. */
#include "core/msgpack_json.h"

#include <stdio.h>

#include "base/utf8.h"

enum { KEY_SHOWN = 256 };

/* -------------------------------------------------------------------- heads */

static enum err cut_off(const struct mp *m)
{
	return err_set(E_INVALID, "cut off at byte %zu", (size_t)(m->end - m->base));
}

static bool take(struct mp *m, size_t n, uint64_t *out)
{
	*out = 0;
	if ((size_t)(m->end - m->at) < n)
		return false;
	for (size_t i = 0; i < n; i++)
		*out = *out << 8 | *m->at++;
	return true;
}

static enum err span(struct mp *m, enum mp_kind kind, uint64_t n, struct mp_head *out)
{
	out->kind = kind;
	if ((uint64_t)(m->end - m->at) < n)
		return cut_off(m);
	out->in = str_of((const char *)m->at, (size_t)n);
	m->at += n;
	return OK;
}

static enum err container(struct mp *m, enum mp_kind kind, uint64_t n, struct mp_head *out)
{
	uint64_t left = (uint64_t)(m->end - m->at);

	out->kind = kind;
	out->n = n;
	if ((kind == MP_MAP ? 2 * n : n) > left)
		return err_set(E_INVALID, "a container of %llu elements at byte %zu, where %llu bytes are left",
			       (unsigned long long)n, (size_t)(m->at - m->base), (unsigned long long)left);
	return OK;
}

static enum err ext(struct mp *m, uint64_t n, struct mp_head *out)
{
	uint64_t code;

	if (!take(m, 1, &code))
		return cut_off(m);
	out->code = (int8_t)(uint8_t)code;
	return span(m, MP_EXT, n, out);
}

static void number(uint8_t tag, uint64_t raw, struct mp_head *out)
{
	static const uint8_t shift[] = {56, 48, 32, 0};
	uint32_t single = (uint32_t)raw;
	float f;

	if (tag == 0xca) {
		memcpy(&f, &single, sizeof f);
		*out = (struct mp_head){.kind = MP_FLOAT, .f = f};
	} else if (tag == 0xcb) {
		out->kind = MP_FLOAT;
		memcpy(&out->f, &raw, sizeof out->f);
	} else if (tag <= 0xcf) {
		*out = (struct mp_head){.kind = MP_UINT, .n = raw};
	} else {
		int64_t i = (int64_t)(raw << shift[tag - 0xd0]) >> shift[tag - 0xd0];

		*out = i < 0 ? (struct mp_head){.kind = MP_INT, .i = i} : (struct mp_head){.kind = MP_UINT, .n = (uint64_t)i};
	}
}

/* Tags from 0xc4 on: a length or a number follows. */
static enum err long_head(struct mp *m, uint8_t tag, struct mp_head *out)
{
	static const uint8_t bytes[] = {1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
	uint64_t n;

	if (!take(m, bytes[tag - 0xc4], &n))
		return cut_off(m);
	if (tag <= 0xc6)
		return span(m, MP_BIN, n, out);
	if (tag <= 0xc9)
		return ext(m, n, out);
	if (tag <= 0xd3) {
		number(tag, n, out);
		return OK;
	}
	if (tag <= 0xd8)
		return ext(m, UINT64_C(1) << (tag - 0xd4), out);
	if (tag <= 0xdb)
		return span(m, MP_STR, n, out);
	return container(m, tag <= 0xdd ? MP_ARRAY : MP_MAP, n, out);
}

enum err mp_head(struct mp *m, struct mp_head *out)
{
	uint8_t tag;

	*out = (struct mp_head){0};
	if (m->at == m->end)
		return cut_off(m);
	tag = *m->at++;
	if (tag <= 0x7f)
		*out = (struct mp_head){.kind = MP_UINT, .n = tag};
	else if (tag >= 0xe0)
		*out = (struct mp_head){.kind = MP_INT, .i = (int8_t)tag};
	else if (tag <= 0x8f)
		return container(m, MP_MAP, tag & 15, out);
	else if (tag <= 0x9f)
		return container(m, MP_ARRAY, tag & 15, out);
	else if (tag <= 0xbf)
		return span(m, MP_STR, tag & 31, out);
	else if (tag == 0xc0)
		out->kind = MP_NIL;
	else if (tag == 0xc1)
		return err_set(E_INVALID, "the byte 0xc1 at %zu begins nothing", (size_t)(m->at - 1 - m->base));
	else if (tag <= 0xc3)
		*out = (struct mp_head){.kind = MP_BOOL, .yes = tag == 0xc3};
	else
		return long_head(m, tag, out);
	return OK;
}

enum err mp_skip(struct mp *m)
{
	uint64_t left = 1;
	struct mp_head h;

	while (left--) {
		TRY(mp_head(m, &h));
		if (h.kind == MP_ARRAY || h.kind == MP_MAP)
			left += h.kind == MP_MAP ? 2 * h.n : h.n;
	}
	return OK;
}

/* ------------------------------------------------------------------- values */

void opaque_json(struct jw *w, struct str type, size_t n, const char *why)
{
	jw_obj(w);
	jw_key(w, "type");
	jw_str(w, type);
	jw_key(w, "bytes");
	jw_u64(w, n);
	if (why) {
		jw_key(w, "error");
		jw_cstr(w, why);
	}
	jw_end_obj(w);
}

static enum err show(struct jw *w, struct mp *m, unsigned depth);

static enum err too_deep(void)
{
	return err_set(E_LIMIT, "nested deeper than %d", MSGPACK_SHOW_DEPTH);
}

/* Whoever writes more would only be told so at the end. */
static bool full(const struct jw *w)
{
	return w->b->err != OK;
}

/* The text of a key that is no text itself: of a JSON string what it says, of all else its JSON. */
static void key_text(struct jw *w, struct str text)
{
	struct arena a;
	struct json doc;

	arena_init(&a, 64 << 10);
	if (str_starts(text, STR("\"")) && json_parse(&a, text, NULL, &doc) == OK)
		text = j_str(&a, json_root(&doc));
	jw_key_str(w, text);
	arena_release(&a);
}

static enum err show_key(struct jw *w, struct mp *m, unsigned depth)
{
	struct mp ahead = *m;
	struct mp_head h;
	struct buf text;
	struct jw tw;
	enum err e;

	TRY(mp_head(&ahead, &h));
	if (h.kind == MP_STR) {
		*m = ahead;
		jw_key_str(w, h.in);
		return OK;
	}
	ahead = *m;
	buf_init(&text, NULL, KEY_SHOWN);
	jw_init(&tw, &text);
	e = show(&tw, m, depth);
	if (text.err != OK) {
		/* Longer than is shown: its beginning has to do. */
		*m = ahead;
		e = mp_skip(m);
	}
	if (e == OK)
		key_text(w, buf_slice(&text));
	buf_release(&text);
	return e;
}

static enum err show_container(struct jw *w, struct mp *m, const struct mp_head *h, unsigned depth)
{
	bool map = h->kind == MP_MAP;

	if (depth >= MSGPACK_SHOW_DEPTH || w->depth >= MSGPACK_SHOW_DEPTH - 1)
		return too_deep();
	if (map)
		jw_obj(w);
	else
		jw_arr(w);
	for (uint64_t i = 0; i < h->n; i++) {
		if (map)
			TRY(show_key(w, m, depth + 1));
		TRY(show(w, m, depth + 1));
		if (full(w))
			return w->b->err;
	}
	if (map)
		jw_end_obj(w);
	else
		jw_end_arr(w);
	return OK;
}

void bytes_json(struct jw *w, struct str type, struct str s)
{
	bool text = utf8_valid(s);

	for (size_t i = 0; text && i < s.n; i++)
		text = (unsigned char)s.p[i] >= 0x20 ? s.p[i] != 0x7f : s.p[i] == '\n' || s.p[i] == '\r' || s.p[i] == '\t';
	if (text)
		jw_str(w, s);
	else
		opaque_json(w, type, s.n, NULL);
}

/* --------------------------------------------------------------- extensions */

static bool is_hex32(struct str s)
{
	if (s.n != 32)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!memchr("0123456789abcdefABCDEF", s.p[i], 22))
			return false;
	return true;
}

static enum err show_uuid(struct jw *w, struct mp *m, unsigned depth)
{
	struct mp ahead = *m;
	struct mp_head h;
	char text[40];

	TRY(mp_head(&ahead, &h));
	if (h.kind != MP_STR || !is_hex32(h.in))
		return show(w, m, depth);
	*m = ahead;
	snprintf(text, sizeof text, "%.8s-%.4s-%.4s-%.4s-%.12s", h.in.p, h.in.p + 8, h.in.p + 12, h.in.p + 16, h.in.p + 20);
	jw_cstr(w, text);
	return OK;
}

/* Send(node, arg), from 1.2 on perhaps with a timeout. */
static enum err show_send(struct jw *w, struct mp *m, unsigned depth)
{
	static const char *const names[] = {"node", "arg", "timeout"};
	struct mp_head h;

	TRY(mp_head(m, &h));
	if (h.kind != MP_ARRAY || h.n < 2 || h.n > 3)
		return err_set(E_INVALID, "a Send has two or three arguments");
	if (depth >= MSGPACK_SHOW_DEPTH || w->depth >= MSGPACK_SHOW_DEPTH - 1)
		return too_deep();
	jw_obj(w);
	for (uint64_t i = 0; i < h.n; i++) {
		jw_key(w, names[i]);
		TRY(show(w, m, depth + 1));
	}
	jw_end_obj(w);
	return OK;
}

/* [module, class, what is shown, ...] */
static enum err show_object(struct jw *w, struct mp *m, int code, unsigned depth)
{
	struct mp_head list, module, name;

	TRY(mp_head(m, &list));
	if (list.kind != MP_ARRAY || list.n < 3 || list.n > 4)
		return err_set(E_INVALID, "an object is an array of module, class and content");
	TRY(mp_head(m, &module));
	TRY(mp_head(m, &name));
	if (module.kind != MP_STR || name.kind != MP_STR)
		return err_set(E_INVALID, "an object's module and class are texts");
	if (code == 0 && str_eq(module.in, STR("uuid")) && str_eq(name.in, STR("UUID")))
		TRY(show_uuid(w, m, depth));
	else if (code == 1 && str_eq(module.in, STR("langgraph.types")) && str_eq(name.in, STR("Send")))
		TRY(show_send(w, m, depth));
	else
		TRY(show(w, m, depth));
	return list.n == 4 ? mp_skip(m) : OK;
}

static enum err show_known(struct jw *w, const struct mp_head *h, struct mp m, unsigned depth)
{
	if (h->code == 7)
		TRY(show(w, &m, depth));
	else
		TRY(show_object(w, &m, h->code, depth));
	return m.at == m.end ? OK : err_set(E_INVALID, "something follows at byte %zu", (size_t)(m.at - m.base));
}

/* What is wrong inside stays inside: the rest of the value is shown. */
static enum err show_ext(struct jw *w, const struct mp *m, const struct mp_head *h, unsigned depth)
{
	const uint8_t *p = (const uint8_t *)h->in.p;
	struct mp in = {m->base, p, p + h->in.n};
	struct jw before = *w;
	size_t n = w->b->n;
	char type[16], why[160];
	enum err e;

	snprintf(type, sizeof type, "ext %d", h->code);
	if (h->code == 6) {
		if (!mp_numpy(w, in))
			opaque_json(w, STR("numpy"), h->in.n, NULL);
		return OK;
	}
	if (h->code < 0 || h->code > 7) {
		opaque_json(w, str_c(type), h->in.n, NULL);
		return OK;
	}
	if (depth >= MSGPACK_SHOW_DEPTH)
		return too_deep();
	e = show_known(w, h, in, depth + 1);
	if (e == OK || full(w))
		return e;
	*w = before;
	w->b->n = n;
	snprintf(why, sizeof why, "%.150s", diag_get()->text);
	opaque_json(w, str_c(type), h->in.n, why);
	return OK;
}

static enum err show(struct jw *w, struct mp *m, unsigned depth)
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
		jw_double(w, h.f);
		return OK;
	case MP_STR:
		jw_str(w, h.in);
		return OK;
	case MP_BIN:
		bytes_json(w, STR("bytes"), h.in);
		return OK;
	case MP_EXT:
		return show_ext(w, m, &h, depth);
	default:
		return show_container(w, m, &h, depth);
	}
}

enum err msgpack_json(struct jw *w, struct str bytes)
{
	const uint8_t *p = (const uint8_t *)bytes.p;
	struct mp m = {p, p, p + bytes.n};

	TRY(show(w, &m, 0));
	if (m.at != m.end)
		return err_set(E_INVALID, "something follows at byte %zu", (size_t)(m.at - m.base));
	return w->b->err;
}
