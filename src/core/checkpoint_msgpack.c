/* The little msgpack that core writes itself: values of update_state, which Python's savers have to load; and looking into a value
 * for models. Pure functions. */
#include "core/checkpoint_impl.h"
#include "core/msgpack_json.h"

static void put_be(struct buf *b, unsigned char head, uint64_t v, unsigned bytes)
{
	buf_byte(b, (char)head);
	while (bytes-- > 0)
		buf_byte(b, (char)(v >> (8 * bytes)));
}

static void put_unsigned(struct buf *b, uint64_t v)
{
	if (v < 128)
		buf_byte(b, (char)v);
	else if (v <= UINT8_MAX)
		put_be(b, 0xcc, v, 1);
	else if (v <= UINT16_MAX)
		put_be(b, 0xcd, v, 2);
	else if (v <= UINT32_MAX)
		put_be(b, 0xce, v, 4);
	else
		put_be(b, 0xcf, v, 8);
}

static void put_negative(struct buf *b, int64_t v)
{
	if (v >= -32)
		buf_byte(b, (char)v);
	else if (v >= INT8_MIN)
		put_be(b, 0xd0, (uint64_t)v, 1);
	else if (v >= INT16_MIN)
		put_be(b, 0xd1, (uint64_t)v, 2);
	else if (v >= INT32_MIN)
		put_be(b, 0xd2, (uint64_t)v, 4);
	else
		put_be(b, 0xd3, (uint64_t)v, 8);
}

static bool is_integer(struct str raw)
{
	return str_chr(raw, '.', 0) < 0 && str_chr(raw, 'e', 0) < 0 && str_chr(raw, 'E', 0) < 0;
}

static enum err put_number(struct buf *b, struct jval v)
{
	struct str raw = j_raw(v);
	uint64_t bits, u = 0;
	int64_t i;
	double d;

	if (!is_integer(raw)) {
		if (!j_double(v, &d))
			return err_set(E_INVALID, "a number is out of range");
		memcpy(&bits, &d, sizeof bits);
		put_be(b, 0xcb, bits, 8);
		return OK;
	}
	if (j_i64(v, &i)) {
		if (i < 0)
			put_negative(b, i);
		else
			put_unsigned(b, (uint64_t)i);
		return OK;
	}
	for (size_t k = 0; k < raw.n; k++)
		if (raw.p[k] < '0' || raw.p[k] > '9' || __builtin_mul_overflow(u, 10u, &u) ||
		    __builtin_add_overflow(u, (uint64_t)(raw.p[k] - '0'), &u))
			return err_set(E_INVALID, "an integer has more than 64 bits");
	put_unsigned(b, u);
	return OK;
}

/* Heads of strings (fix 0xa0), arrays (0x90), maps (0x80): in place, then in 8 (strings only), 16 and 32 bits from `wide` on. */
static void put_head(struct buf *b, size_t n, unsigned char fix, size_t fix_max, unsigned char wide8, unsigned char wide16)
{
	if (n <= fix_max)
		buf_byte(b, (char)(fix | n));
	else if (wide8 && n <= UINT8_MAX)
		put_be(b, wide8, n, 1);
	else if (n <= UINT16_MAX)
		put_be(b, wide16, n, 2);
	else
		put_be(b, (unsigned char)(wide16 + 1), n, 4);
}

static enum err put_string(struct arena *a, struct buf *b, struct jval v)
{
	struct str s = j_str(a, v);

	if (!s.p && s.n == 0 && j_raw(v).n > 2)
		return E_NOMEM;
	put_head(b, s.n, 0xa0, 31, 0xd9, 0xda);
	buf_str(b, s);
	return OK;
}

/* Recursion is as deep as the reader lets JSON be. */
enum err msgpack_of_json(struct arena *a, struct jval v, struct buf *out)
{
	struct jval key, x;
	struct j_iter it;

	switch (j_type(v)) {
	case JSON_NULL:
		buf_byte(out, (char)0xc0);
		return out->err;
	case JSON_FALSE:
	case JSON_TRUE:
		buf_byte(out, (char)(j_is(v, JSON_TRUE) ? 0xc3 : 0xc2));
		return out->err;
	case JSON_NUMBER:
		TRY(put_number(out, v));
		return out->err;
	case JSON_STRING:
		TRY(put_string(a, out, v));
		return out->err;
	case JSON_ARRAY:
		put_head(out, j_node(v)->count, 0x90, 15, 0, 0xdc);
		for (it = j_iter(v); j_next(&it, NULL, &x);)
			TRY(msgpack_of_json(a, x, out));
		return out->err;
	case JSON_OBJECT:
		put_head(out, j_node(v)->count, 0x80, 15, 0, 0xde);
		for (it = j_iter(v); j_next(&it, &key, &x);) {
			TRY(put_string(a, out, key));
			TRY(msgpack_of_json(a, x, out));
		}
		return out->err;
	}
	return err_set(E_INTERNAL, "a JSON value of an unknown type");
}

/* ---------------------------------------------------------------- looking */

/* Passes the values that are inside of h; ext, strings and bytes were passed with their heads. */
static bool pass(struct mp *m, struct mp_head h)
{
	uint64_t open = 1;

	for (;;) {
		uint64_t more = h.kind == MP_ARRAY ? h.n : h.kind == MP_MAP ? 2 * h.n : 0;

		/* Every value takes a byte at least, so this cannot overflow. */
		open += more - 1;
		if (open == 0)
			return true;
		if (open > (uint64_t)(m->end - m->at) || mp_head(m, &h) != OK)
			return false;
	}
}

bool msgpack_has_models(struct str bytes)
{
	const uint8_t *p = (const uint8_t *)bytes.p;
	struct mp m = {p, p, p + bytes.n};
	struct mp_head list, h;

	if (bytes.n == 0 || mp_head(&m, &list) != OK || list.kind != MP_ARRAY)
		return false;
	for (uint64_t i = 0; i < list.n; i++) {
		if (mp_head(&m, &h) != OK)
			return false;
		if (h.kind == MP_EXT && h.code == 5)
			return true;
		if (!pass(&m, h))
			return false;
	}
	return false;
}
