/* Arrays of numpy as nested lists. Only plain dtypes are shown: booleans, integers, floats of 2 to 8 bytes, texts.
 *
 * Invariant: the shape's product times the element's size is exactly what there is of bytes, and there are at most twice as many
 * brackets as elements; everything else ("a billion empty rows") is left to who called. */
#include "core/msgpack_json.h"

#include <math.h>

#include "base/utf8.h"

enum { DIMS_MAX = 32 };

struct array {
	char kind;
	bool big; /* byte order */
	size_t item, elements, dims;
	size_t shape[DIMS_MAX], stride[DIMS_MAX]; /* stride: in elements */
	struct str bytes;
};

static bool read_dtype(struct str s, struct array *n)
{
	int64_t size;

	if (s.n < 3 || !memchr("<>|=", s.p[0], 4) || !str_int(str_sub(s, 2, s.n), 1, 1 << 16, &size))
		return false;
	n->big = s.p[0] == '>';
	n->kind = s.p[1];
	n->item = (size_t)size * (n->kind == 'U' ? 4 : 1);
	switch (n->kind) {
	case 'b':
		return size == 1;
	case 'i':
	case 'u':
		return size == 1 || size == 2 || size == 4 || size == 8;
	case 'f':
		return size == 2 || size == 4 || size == 8;
	default:
		return n->kind == 'U';
	}
}

static bool read_shape(struct mp *m, struct array *n)
{
	size_t brackets = 1, lists = 1;
	struct mp_head h;

	if (mp_head(m, &h) != OK || h.kind != MP_ARRAY || h.n > DIMS_MAX)
		return false;
	n->dims = (size_t)h.n;
	n->elements = 1;
	for (size_t i = 0; i < n->dims; i++) {
		if (mp_head(m, &h) != OK || h.kind != MP_UINT || h.n == 0 || h.n > UINT32_MAX || n->elements > SIZE_MAX / h.n)
			return false;
		n->shape[i] = (size_t)h.n;
		n->elements *= n->shape[i];
	}
	for (size_t i = 0; i + 1 < n->dims; i++) {
		lists *= n->shape[i];
		brackets += lists;
	}
	return brackets <= 2 * n->elements;
}

static void strides(struct array *n, bool fortran)
{
	size_t step = 1;

	for (size_t i = 0; i < n->dims; i++) {
		size_t d = fortran ? i : n->dims - 1 - i;

		n->stride[d] = step;
		step *= n->shape[d];
	}
}

static uint64_t raw_of(const struct array *n, const uint8_t *p, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | p[n->big ? i : bytes - 1 - i];
	return v;
}

static double half(uint64_t v)
{
	int exponent = (int)(v >> 10 & 31);
	double x = exponent == 31 ? (v & 1023 ? (double)NAN : (double)INFINITY)
				  : ldexp((double)(v & 1023) + (exponent ? 1024 : 0), (exponent ? exponent : 1) - 25);

	return v & 0x8000 ? -x : x;
}

static double real(const struct array *n, uint64_t v)
{
	uint32_t single = (uint32_t)v;
	double d;
	float f;

	if (n->item == 2)
		return half(v);
	if (n->item == 4) {
		memcpy(&f, &single, sizeof f);
		return (double)f;
	}
	memcpy(&d, &v, sizeof d);
	return d;
}

/* UTF-32, filled up with zeros. */
static void text(struct jw *w, const struct array *n, const uint8_t *p)
{
	struct buf b;
	size_t used = n->item;
	char bytes[4];

	while (used > 0 && raw_of(n, p + used - 4, 4) == 0)
		used -= 4;
	buf_init(&b, NULL, n->item + 4);
	for (size_t i = 0; i < used; i += 4) {
		unsigned k = utf8_put(bytes, (uint32_t)raw_of(n, p + i, 4));

		buf_put(&b, k ? bytes : "?", k ? k : 1);
	}
	jw_str(w, buf_slice(&b));
	buf_release(&b);
}

static void element(struct jw *w, const struct array *n, size_t at)
{
	const uint8_t *p = (const uint8_t *)n->bytes.p + at * n->item;
	unsigned unused = (unsigned)(64 - 8 * n->item);
	uint64_t v;

	if (n->kind == 'U') {
		text(w, n, p);
		return;
	}
	v = raw_of(n, p, n->item);
	if (n->kind == 'b')
		jw_bool(w, v != 0);
	else if (n->kind == 'u')
		jw_u64(w, v);
	else if (n->kind == 'i')
		jw_i64(w, (int64_t)(v << unused) >> unused);
	else
		jw_double(w, real(n, v));
}

static void nested(struct jw *w, const struct array *n, size_t dim, size_t at)
{
	if (dim == n->dims) {
		element(w, n, at);
		return;
	}
	jw_arr(w);
	for (size_t i = 0; i < n->shape[dim] && w->b->err == OK; i++)
		nested(w, n, dim + 1, at + i * n->stride[dim]);
	jw_end_arr(w);
}

bool mp_numpy(struct jw *w, struct mp m)
{
	struct array n = {0};
	struct mp_head list, dtype, order, bytes;

	if (mp_head(&m, &list) != OK || list.kind != MP_ARRAY || list.n != 4 || mp_head(&m, &dtype) != OK || dtype.kind != MP_STR ||
	    !read_dtype(dtype.in, &n) || !read_shape(&m, &n))
		return false;
	if (mp_head(&m, &order) != OK || order.kind != MP_STR || mp_head(&m, &bytes) != OK || bytes.kind != MP_BIN || m.at != m.end)
		return false;
	if (n.elements > bytes.in.n / n.item || n.elements * n.item != bytes.in.n || w->depth + n.dims >= MSGPACK_SHOW_DEPTH)
		return false;
	n.bytes = bytes.in;
	strides(&n, str_eq(order.in, STR("F")));
	nested(w, &n, 0, 0);
	return true;
}
