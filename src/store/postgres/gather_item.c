/* Simple writes of items (unconditional, few, of one kind) gathered into one statement (gather.c).
 *
 * Invariants
 *  1. A name is in one batch at a time, and once: batches do not wait for each other's rows.
 *  2. The batch works on copies of its writes; results go to those whose requests are still there. */
#include "base/hash.h"
#include "store/postgres/gather.h"
#include "store/postgres/write.h"

#define BATCH_ROWS GATHER_CALLS
#define CALL_BYTES ((size_t)256 << 10)
#define NAMES 1024 /* a power of two, well above BATCH_ROWS */

struct item_req {
	struct gather_req q; /* first */
	struct pg_row *rows;
	size_t n;
};
struct item_batch {
	size_t n;
	struct pg_row rows[BATCH_ROWS], *sorted[BATCH_ROWS];
	struct item_write writes[BATCH_ROWS];
	unsigned req_of[BATCH_ROWS], row_of[BATCH_ROWS];
	uint64_t hash[BATCH_ROWS]; /* of the names; two names of one hash only have to wait for each other */
	uint16_t names[NAMES];	   /* row + 1 */
};

static const struct item_req *req_of(const struct gather_req *q)
{
	return (const struct item_req *)(const void *)q;
}

/* ---------------------------------------------------------------- making a batch */

static uint64_t hash_of(const struct pg_row *r)
{
	return hash64_seeded(r->w->key) + 31 * hash64_seeded(r->w->ns);
}

/* Its place in the table of names: where it is, or where it would go. */
static unsigned slot_of(const struct item_batch *x, uint64_t hash)
{
	unsigned i = (unsigned)hash & (NAMES - 1);
	while (x->names[i] && x->hash[x->names[i] - 1] != hash)
		i = (i + 1) & (NAMES - 1);
	return i;
}

/* A batch of the tenant has one of its names: the one that is being made, or one under way, which has to end first. */
static bool name_taken(const struct gather *g, const struct gather_req *r)
{
	const struct item_req *q = req_of(r);
	for (size_t k = 0; k < q->n; k++) {
		uint64_t hash = hash_of(&q->rows[k]);
		for (unsigned i = 0; i < g->ops->threads; i++) {
			const struct gather_batch *b = &g->batch[i];
			const struct item_batch *x = b->own;
			if (b->n > 0 && b->t == r->t && x->names[slot_of(x, hash)])
				return true;
		}
	}
	return false;
}

static bool joins(const struct gather_batch *b, const struct gather_req *r)
{
	const struct item_batch *x = b->own;
	const struct item_req *q = req_of(r);
	return pg_row_alike(&q->rows[0], &x->rows[0]) && x->n + q->n <= BATCH_ROWS;
}

static void begin(struct gather_batch *b)
{
	struct item_batch *x = b->own;
	x->n = 0;
	memset(x->names, 0, sizeof x->names);
}

static void add(struct gather_batch *b, const struct gather_req *r)
{
	struct item_batch *x = b->own;
	const struct item_req *q = req_of(r);
	for (size_t i = 0; i < q->n; i++) {
		size_t k = x->n++;
		x->rows[k] = q->rows[i];
		x->writes[k] = *q->rows[i].w;
		x->rows[k].w = &x->writes[k];
		x->req_of[k] = b->n;
		x->row_of[k] = (unsigned)i;
		x->hash[k] = hash_of(&x->rows[k]);
		x->names[slot_of(x, x->hash[k])] = (uint16_t)(k + 1);
	}
}

static int by_name(const void *a, const void *b)
{
	return pg_row_cmp(*(struct pg_row *const *)a, *(struct pg_row *const *)b);
}

/* ---------------------------------------------------------------- running it */

/* The batch had been committed and the answer was lost: looks at what is stored. */
static enum err recall(struct gather_batch *b, int64_t op)
{
	struct item_batch *x = b->own;
	struct pg_params p;
	struct pg_seen seen[BATCH_ROWS] = {0};
	PGresult *res;
	size_t n = 0;
	gather_open(b, false);
	for (size_t i = 0; i < x->n; i++)
		if (b->reqs[x->req_of[x->sorted[i] - x->rows]])
			x->sorted[n++] = x->sorted[i];
	pg_params_init(&p);
	pg_look_params(&p, op, x->sorted, n);
	gather_open(b, true);
	TRY(pg_query(b->t, &pg_write_look, &p, &res));
	pg_look_result(res, seen, n);
	PQclear(res);
	for (size_t i = 0; i < n; i++)
		pg_recall(x->sorted[i], &seen[i], false);
	return OK;
}

/* Stands for an SQLSTATE after which each is to be tried alone. */
static const char pg_try_alone[6] = "alone";

static enum err run(struct gather_batch *b, char sqlstate[6])
{
	struct item_batch *x = b->own;
	struct pg_params p[5];
	struct pg_step steps[5] = {0};
	unsigned k = 0, write;
	int64_t op = pg_new_op();
	for (size_t i = 0; i < x->n; i++) {
		x->sorted[i] = &x->rows[i];
		x->rows[i].step_rows = (unsigned)x->n;
	}
	qsort(x->sorted, x->n, sizeof *x->sorted, by_name);
	pg_params_init(&p[k]);
	steps[k] = (struct pg_step){.st = &pg_write_patience, .p = &p[k]};
	k++;
	if (x->rows[0].st != ST_PUT) {
		pg_params_init(&p[k]);
		pg_names_params(&p[k], x->sorted, x->n);
		steps[k] = (struct pg_step){.st = &pg_write_lock, .p = &p[k]};
		k++;
	}
	pg_params_init(&p[k]);
	pg_write_params(&p[k], op, 0, false, x->sorted, x->n);
	steps[k] = (struct pg_step){.st = pg_write_stmt(x->rows[0].st), .p = &p[k]};
	write = k++;
	if (pg_rows_end_documents(x->sorted, x->n)) {
		pg_params_init(&p[k]);
		pg_i64(&p[k], op);
		steps[k] = (struct pg_step){.st = &pg_vectors_gone, .p = &p[k]};
		k++;
	}
	bool foreign = x->rows[0].w->op == W_PUT && atomic_load(&b->t->foreign);
	if (foreign) {
		pg_params_init(&p[k]);
		pg_i64(&p[k], op);
		pg_array(&p[k], PG_INT4S, 1);
		pg_el_i32(&p[k], 0);
		pg_array_end(&p[k]);
		steps[k] = (struct pg_step){.st = &pg_foreign_gone, .p = &p[k]};
		k++;
	}
	fiber_set_deadline(b->deadline);
	gather_open(b, true);
	struct pg_job j = {.t = b->t, .steps = steps, .n = k, .lane = LANE_WRITE, .write = true};
	enum err e = pg_run(&j);
	if (e == OK && j.repeated)
		e = recall(b, op);
	else if (e == OK)
		pg_write_result(steps[write].res, x->sorted, x->n);
	else
		memcpy(sqlstate, foreign && pg_foreign_lost(b->t, j.sqlstate) ? pg_try_alone : j.sqlstate, sizeof j.sqlstate);
	pg_job_clear(&j);
	for (unsigned i = 0; i < k; i++)
		pg_params_release(&p[i]);
	return e;
}

static void deliver(struct gather_batch *b)
{
	const struct item_batch *x = b->own;
	for (size_t i = 0; i < x->n; i++) {
		const struct gather_req *q = b->reqs[x->req_of[i]];
		if (!q)
			continue;
		struct item_write *w = req_of(q)->rows[x->row_of[i]].w;
		w->err = x->writes[i].err;
		w->existed = x->writes[i].existed;
		w->changed = x->writes[i].changed;
		w->forgot = x->writes[i].forgot;
		w->version = x->writes[i].version;
	}
}

/* Of a single one, too: a row that somebody has locked, which whoever tries alone waits for. */
static bool alone(const char *sqlstate, unsigned n)
{
	return strcmp(sqlstate, "55P03") == 0 || strcmp(sqlstate, pg_try_alone) == 0 || (n > 1 && gather_one_of_many(sqlstate));
}

const struct gather_ops pg_item_gather = {.threads = 3,
					  .own_bytes = sizeof(struct item_batch),
					  .begin = begin,
					  .add = add,
					  .joins = joins,
					  .blocked = name_taken,
					  .run = run,
					  .deliver = deliver,
					  .alone = alone};

/* ---------------------------------------------------------------- calls */

bool pg_gather_fits(const struct item_write *w, size_t n)
{
	size_t bytes = 0;
	if (n > PG_GATHER_ROWS)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (w[i].cond != IF_ANY || w[i].fact || w[i].op != w[0].op || (w[i].op == W_PUT && w[i].keep_newer) ||
		    (w[i].created_us != 0) != (w[0].created_us != 0))
			return false;
		bytes += w[i].value.n + w[i].terms.n;
		for (size_t k = 0; k < i; k++)
			if (str_eq(w[k].key, w[i].key) && str_eq(w[k].ns, w[i].ns))
				return false;
	}
	return bytes <= CALL_BYTES;
}

enum err pg_gather_write(struct pg_tenant *t, struct item_write *w, size_t n, bool *tried_alone)
{
	struct pg_row rows[PG_GATHER_ROWS];
	struct item_req q = {.q = {.t = t}, .rows = rows, .n = n};
	for (size_t i = 0; i < n; i++) {
		pg_row_init(&rows[i], &w[i], (uint32_t)i);
		q.q.bytes += w[i].value.n + w[i].terms.n + w[i].key.n + w[i].ns.n + 64;
	}
	enum err e = gather_call(t->s->gathers[GATHER_ITEMS], &q.q, tried_alone);
	return e == OK ? OK : q.q.err == e ? pg_name_item(e, w, n) : e;
}
