/* The binary forms of parameters and results (PostgreSQL's send and receive functions): integers and floats big-endian, text as it
 * is, timestamptz as microseconds since 2000-01-01, jsonb as a version byte and text, arrays as pg_type's array_recv reads them. */
#include "store/postgres/pg.h"

#include <endian.h>

/* 2000-01-01 in microseconds since 1970. */
#define PG_EPOCH_US INT64_C(946684800000000)
/* A checkpoint may hold values of 256 MiB. */
#define PARAMS_CEILING ((size_t)320 << 20)

/* ---------------------------------------------------------------- writing */

void pg_params_init(struct pg_params *p)
{
	memset(p, 0, sizeof *p);
	buf_init(&p->buf, NULL, PARAMS_CEILING);
}

void pg_params_release(struct pg_params *p)
{
	buf_release(&p->buf);
	p->n = 0;
}

/* Begins a parameter; its length is set when it ends. */
static void begin(struct pg_params *p, uint32_t type)
{
	if (p->buf.ceiling == 0)
		buf_init(&p->buf, NULL, PARAMS_CEILING);
	if (p->n == PG_PARAMS_MAX) {
		p->buf.err = err_set(E_INTERNAL, "too many parameters for one statement");
		return;
	}
	p->v[p->n].type = type;
	p->v[p->n].at = p->buf.n;
	p->n++;
}

static void end(struct pg_params *p)
{
	if (p->buf.err == OK)
		p->v[p->n - 1].len = (int)(p->buf.n - p->v[p->n - 1].at);
}

static void put32(struct buf *b, uint32_t v)
{
	v = htobe32(v);
	buf_put(b, &v, 4);
}

static void put64(struct buf *b, uint64_t v)
{
	v = htobe64(v);
	buf_put(b, &v, 8);
}

static void put_f64(struct buf *b, double v)
{
	uint64_t bits;
	memcpy(&bits, &v, 8);
	put64(b, bits);
}

void pg_null(struct pg_params *p, enum pg_oid type)
{
	begin(p, type);
	if (p->buf.err == OK)
		p->v[p->n - 1].len = -1;
}

static void bytes(struct pg_params *p, enum pg_oid type, struct str s)
{
	begin(p, type);
	buf_str(&p->buf, s);
	end(p);
}

void pg_text(struct pg_params *p, struct str s)
{
	bytes(p, PG_TEXT, s);
}

void pg_bytes(struct pg_params *p, struct str s)
{
	bytes(p, PG_BYTEA, s);
}

void pg_json(struct pg_params *p, struct str s)
{
	begin(p, PG_JSONB);
	buf_byte(&p->buf, 1);
	buf_str(&p->buf, s);
	end(p);
}

void pg_i64(struct pg_params *p, int64_t v)
{
	begin(p, PG_INT8);
	put64(&p->buf, (uint64_t)v);
	end(p);
}

void pg_i32(struct pg_params *p, int32_t v)
{
	begin(p, PG_INT4);
	put32(&p->buf, (uint32_t)v);
	end(p);
}

void pg_f64(struct pg_params *p, double v)
{
	begin(p, PG_FLOAT8);
	put_f64(&p->buf, v);
	end(p);
}

void pg_bool(struct pg_params *p, bool v)
{
	begin(p, PG_BOOL);
	buf_byte(&p->buf, v);
	end(p);
}

void pg_time(struct pg_params *p, int64_t us)
{
	if (us == 0) {
		pg_null(p, PG_TIMESTAMPTZ);
		return;
	}
	begin(p, PG_TIMESTAMPTZ);
	put64(&p->buf, (uint64_t)(us - PG_EPOCH_US));
	end(p);
}

/* Marked by the high bit, which no OID of ours has; exec.c sends it in text format. */
void pg_as_text(struct pg_params *p, enum pg_oid type, struct str s)
{
	begin(p, (uint32_t)type | PG_TEXT_FORMAT);
	buf_str(&p->buf, s);
	buf_byte(&p->buf, 0); /* text parameters end with NUL */
	end(p);
}

static uint32_t element_of(enum pg_oid type)
{
	switch (type) {
	case PG_BYTEAS:
		return PG_BYTEA;
	case PG_INT4S:
		return PG_INT4;
	case PG_INT8S:
		return PG_INT8;
	case PG_FLOAT8S:
		return PG_FLOAT8;
	case PG_TIMESTAMPTZS:
		return PG_TIMESTAMPTZ;
	case PG_JSONBS:
		return PG_JSONB;
	default:
		return PG_TEXT;
	}
}

void pg_array(struct pg_params *p, enum pg_oid type, size_t n)
{
	begin(p, type);
	put32(&p->buf, n > 0); /* dimensions */
	put32(&p->buf, 1);     /* there may be NULLs */
	put32(&p->buf, element_of(type));
	if (n > 0) {
		put32(&p->buf, (uint32_t)n);
		put32(&p->buf, 1); /* lower bound */
	}
}

void pg_el_null(struct pg_params *p)
{
	put32(&p->buf, UINT32_MAX);
}

void pg_el_str(struct pg_params *p, struct str s)
{
	put32(&p->buf, (uint32_t)s.n);
	buf_str(&p->buf, s);
}

void pg_el_json(struct pg_params *p, struct str s)
{
	put32(&p->buf, (uint32_t)s.n + 1);
	buf_byte(&p->buf, 1);
	buf_str(&p->buf, s);
}

void pg_el_i64(struct pg_params *p, int64_t v)
{
	put32(&p->buf, 8);
	put64(&p->buf, (uint64_t)v);
}

void pg_el_i32(struct pg_params *p, int32_t v)
{
	put32(&p->buf, 4);
	put32(&p->buf, (uint32_t)v);
}

void pg_el_f64(struct pg_params *p, double v)
{
	put32(&p->buf, 8);
	put_f64(&p->buf, v);
}

void pg_el_time(struct pg_params *p, int64_t us)
{
	if (us == 0)
		pg_el_null(p);
	else
		pg_el_i64(p, us - PG_EPOCH_US);
}

void pg_el_instant(struct pg_params *p, int64_t us)
{
	if (us == FACT_NONE)
		pg_el_null(p);
	else
		pg_el_i64(p, us - PG_EPOCH_US);
}

int64_t pg_get_instant(const PGresult *r, int row, int col)
{
	return pg_is_null(r, row, col) ? FACT_NONE : pg_get_time(r, row, col);
}

void pg_array_end(struct pg_params *p)
{
	end(p);
}

void pg_scope(struct pg_params *p, struct str prefix)
{
	pg_text(p, prefix);
	begin(p, PG_TEXT);
	buf_str(&p->buf, prefix);
	buf_lit(&p->buf, prefix.n ? "." : "");
	end(p);
	begin(p, PG_TEXT);
	buf_str(&p->buf, prefix);
	buf_lit(&p->buf, prefix.n ? "/" : "");
	for (int i = 0; prefix.n == 0 && i < 65; i++) /* behind every label, which has at most 64 characters of this size */
		buf_lit(&p->buf, "\xf4\x8f\xbf\xbf"); /* U+10FFFF */
	end(p);
}

/* ---------------------------------------------------------------- reading */

bool pg_is_null(const PGresult *r, int row, int col)
{
	return PQgetisnull(r, row, col);
}

static struct str raw(const PGresult *r, int row, int col)
{
	return str_of(PQgetvalue(r, row, col), (size_t)PQgetlength(r, row, col));
}

struct str pg_get_str(const PGresult *r, int row, int col)
{
	return raw(r, row, col);
}

struct str pg_get_json(const PGresult *r, int row, int col)
{
	struct str s = raw(r, row, col);
	return s.n ? str_sub(s, 1, s.n) : s;
}

static int64_t integer(struct str s)
{
	uint64_t v64;
	uint32_t v32;
	uint16_t v16;
	switch (s.n) {
	case 8:
		memcpy(&v64, s.p, 8);
		return (int64_t)be64toh(v64);
	case 4:
		memcpy(&v32, s.p, 4);
		return (int32_t)be32toh(v32);
	case 2:
		memcpy(&v16, s.p, 2);
		return (int16_t)be16toh(v16);
	default:
		return 0;
	}
}

int64_t pg_get_i64(const PGresult *r, int row, int col)
{
	int64_t v = integer(raw(r, row, col));
	Oid type = PQftype(r, col);
	return type == PG_XID || type == 26 /* oid */ ? (int64_t)(uint32_t)v : v;
}

double pg_get_f64(const PGresult *r, int row, int col)
{
	uint64_t bits = (uint64_t)integer(raw(r, row, col));
	double v;
	memcpy(&v, &bits, 8);
	return v;
}

bool pg_get_bool(const PGresult *r, int row, int col)
{
	struct str s = raw(r, row, col);
	return s.n == 1 && s.p[0] != 0;
}

int64_t pg_get_time(const PGresult *r, int row, int col)
{
	struct str s = raw(r, row, col);
	if (s.n != 8)
		return 0;
	int64_t v = integer(s);
	if (v == INT64_MAX || v == INT64_MIN) /* infinity */
		return v == INT64_MAX ? INT64_MAX : 1;
	return v > INT64_MAX - PG_EPOCH_US ? INT64_MAX : v + PG_EPOCH_US;
}

void pg_get_array(const PGresult *r, int row, int col, struct pg_array *out)
{
	struct str s = raw(r, row, col);
	*out = (struct pg_array){s.p, s.p + s.n, 0};
	if (s.n < 20)
		return;
	out->n = integer(str_of(s.p + 12, 4));
	out->p += 20;
}

static bool element(struct pg_array *a, struct str *s)
{
	if (a->n <= 0 || a->end - a->p < 4)
		return false;
	int64_t len = integer(str_of(a->p, 4));
	a->p += 4;
	if (len < 0)
		len = 0;
	if (len > a->end - a->p)
		return false;
	*s = str_of(a->p, (size_t)len);
	a->p += len;
	a->n--;
	return true;
}

bool pg_next_i64(struct pg_array *a, int64_t *v)
{
	struct str s;
	if (!element(a, &s))
		return false;
	*v = integer(s);
	return true;
}

bool pg_next_str(struct pg_array *a, struct str *s)
{
	return element(a, s);
}

bool pg_next_record(struct pg_array *a, struct str *columns, unsigned n)
{
	struct str rec;
	if (!element(a, &rec))
		return false;
	const char *p = rec.p + 4, *end = rec.p + rec.n;
	for (unsigned i = 0; i < n; i++) {
		int64_t len = p + 8 <= end ? integer(str_of(p + 4, 4)) : -1;
		p += 8;
		columns[i] = str_of(len > 0 ? p : "", len > 0 ? (size_t)len : 0);
		p += len > 0 ? len : 0;
	}
	return true;
}

int64_t pg_bytes_i64(struct str s)
{
	return integer(s);
}
