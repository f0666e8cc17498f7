/* The protobuf wire format, as much of it as traces need. A message goes into a length-delimited field: its size is known only when
 * it is written, so room for five bytes of length is left in front of it, and what is not needed of that is taken out again. */
#include "obs/otlp.h"

#include "base/utf8.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* ------------------------------------------------------------------ writing */

static void tag(struct buf *b, unsigned field, unsigned wire)
{
	buf_varint(b, (uint64_t)field << 3 | wire);
}

static void put_bytes(struct buf *b, unsigned field, struct str s)
{
	tag(b, field, BYTES);
	buf_varint(b, s.n);
	buf_str(b, s);
}

static void put_number(struct buf *b, unsigned field, uint64_t v)
{
	tag(b, field, VARINT);
	buf_varint(b, v);
}

static void put_fixed(struct buf *b, unsigned field, uint64_t v)
{
	char le[8];

	for (int i = 0; i < 8; i++)
		le[i] = (char)(v >> (8 * i));
	tag(b, field, FIXED64);
	buf_put(b, le, sizeof le);
}

#define LENGTH_ROOM 5

/* Begins a message; returns where its content starts. */
static size_t open_message(struct buf *b, unsigned field)
{
	tag(b, field, BYTES);
	buf_put(b, "\0\0\0\0\0", LENGTH_ROOM);
	return b->n;
}

static void close_message(struct buf *b, size_t at)
{
	uint64_t n = b->n - at, v = n;
	char length[LENGTH_ROOM];
	size_t used = 0;

	if (b->err != OK)
		return;
	do {
		length[used++] = (char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		v >>= 7;
	} while (v && used < LENGTH_ROOM);
	memcpy(b->p + at - LENGTH_ROOM, length, used);
	memmove(b->p + at - LENGTH_ROOM + used, b->p + at, n);
	b->n -= LENGTH_ROOM - used;
}

static void put_value(struct buf *b, const struct otlp_attr *x)
{
	uint64_t bits;

	switch (x->type) {
	case ATTR_INT:
		put_number(b, 3, (uint64_t)x->i);
		return;
	case ATTR_BOOL:
		put_number(b, 2, x->i != 0);
		return;
	case ATTR_DOUBLE:
		memcpy(&bits, &x->d, sizeof bits);
		put_fixed(b, 4, bits);
		return;
	default:
		put_bytes(b, 1, x->s);
	}
}

static void put_attrs(struct buf *b, unsigned field, const struct otlp_attr *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t at = open_message(b, field), value;

		put_bytes(b, 1, v[i].key);
		value = open_message(b, 2);
		put_value(b, &v[i]);
		close_message(b, value);
		close_message(b, at);
	}
}

static void put_span(struct buf *b, const struct otlp_span *s)
{
	size_t at = open_message(b, 2), status;

	put_bytes(b, 1, str_of((const char *)s->trace, TRACE_ID_BYTES));
	put_bytes(b, 2, str_of((const char *)s->id, SPAN_ID_BYTES));
	if (s->state.n)
		put_bytes(b, 3, s->state);
	if (s->parent)
		put_bytes(b, 4, str_of((const char *)s->parent, SPAN_ID_BYTES));
	put_bytes(b, 5, s->name);
	if (s->kind)
		put_number(b, 6, (uint64_t)s->kind);
	put_fixed(b, 7, s->start_ns);
	put_fixed(b, 8, s->end_ns);
	put_attrs(b, 9, s->attrs, s->attrs_n);
	if (s->link) {
		size_t link = open_message(b, 13);

		put_bytes(b, 1, str_of((const char *)s->link->trace, TRACE_ID_BYTES));
		put_bytes(b, 2, str_of((const char *)s->link->span, SPAN_ID_BYTES));
		close_message(b, link);
	}
	if (s->status) {
		status = open_message(b, 15);
		if (s->message.n)
			put_bytes(b, 2, s->message);
		put_number(b, 3, (uint64_t)s->status);
		close_message(b, status);
	}
	close_message(b, at);
}

void otlp_write(struct buf *out, const struct otlp_attr *resource, size_t resource_n, struct str scope, struct str scope_version,
		const struct otlp_span *spans, size_t n)
{
	size_t all = open_message(out, 1), at;

	if (resource_n) {
		at = open_message(out, 1);
		put_attrs(out, 1, resource, resource_n);
		close_message(out, at);
	}
	at = open_message(out, 2);
	size_t who = open_message(out, 1);
	put_bytes(out, 1, scope);
	if (scope_version.n)
		put_bytes(out, 2, scope_version);
	close_message(out, who);
	for (size_t i = 0; i < n; i++)
		put_span(out, &spans[i]);
	close_message(out, at);
	close_message(out, all);
}

/* ------------------------------------------------------------------ reading */

struct field {
	unsigned number, wire;
	uint64_t v;   /* VARINT */
	struct str s; /* BYTES */
};

/* The next field of a message; false at its end, and when it is none. */
static bool next_field(const uint8_t **p, const uint8_t *end, struct field *f)
{
	uint64_t key, n;

	*f = (struct field){0};
	if (*p == end || !varint_get(p, end, &key) || key >> 3 == 0 || key >> 3 > 0x1fffffff)
		return false;
	f->number = (unsigned)(key >> 3);
	f->wire = (unsigned)(key & 7);
	if (f->wire == VARINT)
		return varint_get(p, end, &f->v);
	if (f->wire == FIXED64 || f->wire == FIXED32)
		n = f->wire == FIXED64 ? 8 : 4;
	else if (f->wire != BYTES || !varint_get(p, end, &n))
		return false;
	if (n > (uint64_t)(end - *p))
		return false;
	f->s = str_of((const char *)*p, (size_t)n);
	*p += n;
	return true;
}

uint64_t otlp_rejected(struct str body, struct str *why)
{
	const uint8_t *p = (const uint8_t *)body.p, *end = p ? p + body.n : p, *q;
	uint64_t rejected = 0;
	struct field f, g;

	*why = STR("");
	while (p && next_field(&p, end, &f)) {
		if (f.number != 1 || f.wire != BYTES)
			continue;
		q = (const uint8_t *)f.s.p;
		while (next_field(&q, (const uint8_t *)f.s.p + f.s.n, &g)) {
			if (g.number == 1 && g.wire == VARINT)
				rejected = g.v;
			else if (g.number == 2 && g.wire == BYTES && utf8_valid(g.s))
				*why = g.s;
		}
	}
	return rejected;
}

/* -------------------------------------------------------------------- texts */

struct str otlp_cut(struct str s, size_t n)
{
	size_t i = 0;

	if (s.n <= n)
		return s;
	for (; i < s.n; i++)
		if (((unsigned char)s.p[i] & 0xc0) != 0x80 && n-- == 0)
			break;
	return str_sub(s, 0, i);
}
