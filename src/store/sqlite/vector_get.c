/* Vectors of some documents. */
#include "store/sqlite/sq.h"

#include "rt/fiber.h"
#include "rt/work.h"

struct get {
	struct sq *s;
	struct tenant *t;
	uint64_t deadline;
	struct arena *a;
	enum doc_kind kind;
	struct str model;
	const int64_t *ids;
	size_t n;
	struct doc_vector *out;
};

static enum err get_one(struct conn *c, const struct get *x, int64_t base, size_t i)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_VECTOR_GET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, base + x->ids[i]);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	x->out[i].mark = (uint64_t)col_i64(st, 0);
	x->out[i].data = arena_str(x->a, col_str(st, 1));
	sqlite3_reset(st);
	return x->out[i].data.p ? OK : E_NOMEM;
}

static enum err get_task(void *arg)
{
	struct get *x = arg;
	struct reader *r;
	struct conn *c;
	int64_t base;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	enum err e = vector_base(c, x->model, x->kind, &base);
	for (size_t i = 0; i < x->n && e == OK && base >= 0; i++)
		e = get_one(c, x, base, i);
	return reader_end(x->s, r, c, e);
}

enum err sq_vector_get(struct store *s, struct arena *a, const struct principal *who, enum doc_kind kind, struct str model,
		       const int64_t *ids, size_t n, struct doc_vector *out)
{
	struct get x = {sq_of(s), NULL, fiber_deadline(), a, kind, model, ids, n, out};
	for (size_t i = 0; i < n; i++)
		out[i] = (struct doc_vector){.id = ids[i], .data = STR("")};
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t || n == 0)
		return OK;
	return n <= 64 ? get_task(&x) : work_run(get_task, &x);
}
