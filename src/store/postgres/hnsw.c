/* Asking the index of vectors (core/hnsw_store.h): pgvector's HNSW over cenote_vector, as halfvec made of the stored bytes, one
 * index per model. hnsw_build.c makes it.
 *
 * Invariants
 *  1. What is known of the index is changed under hnsw.mu, which is held across no statement and no wait. One task at a time looks
 * or builds: whoever sets BUSY starts it, and it ends with pg_hnsw_looked.
 *  2. A statement that finds no such index (dropped, another model's number) is answered as if there were none, and it is looked
 *     for again. It never falls back to comparing all vectors: the plan is held to indexes.
 *  3. A vector counts only as that of the item's present text: its stamp is the row's, or its mark that of the row's terms. */
#include "store/postgres/hnsw.h"

#include "core/hnsw_store.h"

/* $1 model, $2 dims, $3 the question, $4 its opposite, $5-$7 the scope, $8 nearest, $9 farthest, $10 ids, $11 the model's name */
static const struct pg_stmt st_find = {
	ST_HNSW, LANE_SEARCH, "hnsw",
	"SELECT h.why, h.id, h.data, h.mark, h.fresh, h.terms FROM @" PG_HNSW_FIND
	"($1::int, $2::int, $3::text, $4::text, $5::text, $6::text, $7::text, $8::int, $9::int, $10::bigint[]) h WHERE EXISTS"
	" (SELECT FROM @cenote_model m WHERE m.id = $1::int AND m.name = $11::text)"};
enum { H_WHY, H_ID, H_DATA, H_MARK, H_FRESH, H_TERMS };

static uint64_t least(struct store *s)
{
	uint64_t n = pg_of(s)->opt.pg.hnsw_least;

	return n ? n : UINT64_MAX;
}

/* ------------------------------------------------------------ what is known */

void pg_hnsw_looked(struct pg_tenant *t, int64_t number, uint32_t again_ms)
{
	struct pg_hnsw *h = &t->hnsw;

	pthread_mutex_lock(&h->mu);
	if (number)
		h->failures = 0;
	else if (!again_ms)
		again_ms = h->failures > 8 ? PG_HNSW_AGAIN_MOST_MS : PG_HNSW_AGAIN_MS << h->failures++;
	h->stage = number ? PG_HNSW_READY : PG_HNSW_UNKNOWN;
	h->number = number;
	h->look_ns = deadline_in_ms(again_ms);
	pthread_mutex_unlock(&h->mu);
}

/* The model's number; 0: there is no index, and one is being looked for or made. */
static int64_t known(struct pg_tenant *t, const struct hnsw_question *q)
{
	struct pg_hnsw *h = &t->hnsw;
	int64_t number = 0;
	bool start = false;

	pthread_mutex_lock(&h->mu);
	if (h->stage != PG_HNSW_BUSY && !str_eq(q->model, str_c(h->model))) {
		snprintf(h->model, sizeof h->model, "%.*s", STR_ARG(q->model));
		h->dims = q->v->dims;
		h->stage = PG_HNSW_UNKNOWN;
		h->failures = 0;
		h->look_ns = 0;
	}
	if (h->stage == PG_HNSW_READY && str_eq(q->model, str_c(h->model))) {
		number = h->number;
	} else if (h->stage == PG_HNSW_UNKNOWN && clock_mono_ns() >= h->look_ns) {
		h->stage = PG_HNSW_BUSY;
		start = true;
	}
	pthread_mutex_unlock(&h->mu);
	if (start && pg_hnsw_build(t) != OK) {
		LOG(LOG_WARN, "store", "no index of vectors can be looked for", LF_C("schema", t->schema),
		    LF_C("reason", diag_get()->text));
		diag_clear();
		pg_hnsw_looked(t, 0, 0);
	}
	return number;
}

/* Of many questions that find it so, the first. */
static void lost(struct pg_tenant *t, const char *why)
{
	struct pg_hnsw *h = &t->hnsw;
	bool was;

	pthread_mutex_lock(&h->mu);
	was = h->stage == PG_HNSW_READY;
	if (was) {
		h->stage = PG_HNSW_UNKNOWN;
		h->look_ns = deadline_in_ms(PG_HNSW_AGAIN_MS);
		h->lost = true;
	}
	pthread_mutex_unlock(&h->mu);
	if (was)
		LOG(LOG_WARN, "store", "the index of vectors is not as it was; it is looked for again", LF_C("schema", t->schema),
		    LF_C("reason", why));
}

/* ------------------------------------------------------------------- asking */

/* "[3,-1,...]": the direction is what counts. */
static enum err direction(struct pg_params *p, const struct vector_question *v, int sign)
{
	struct buf b;
	enum err e;

	buf_init(&b, NULL, 1 << 20);
	for (uint32_t i = 0; i < v->dims; i++)
		buf_printf(&b, "%c%d", i ? ',' : '[', sign * v->fine[i]);
	buf_byte(&b, ']');
	e = b.err == OK ? OK : err_set(E_LIMIT, "out of memory in the store");
	pg_text(p, e == OK ? buf_slice(&b) : STR("[]"));
	buf_release(&b);
	return e;
}

static enum err params(struct pg_params *p, const struct hnsw_question *q, int64_t number)
{
	pg_params_init(p);
	pg_i32(p, (int32_t)number);
	pg_i32(p, (int32_t)q->v->dims);
	TRY(direction(p, q->v, 1));
	TRY(direction(p, q->v, -1));
	pg_scope(p, q->prefix);
	pg_i32(p, (int32_t)q->nearest);
	pg_i32(p, (int32_t)q->farthest);
	pg_array(p, PG_INT8S, q->ids_n);
	for (size_t i = 0; i < q->ids_n; i++)
		pg_el_i64(p, q->ids[i]);
	pg_array_end(p);
	pg_text(p, q->model);
	return OK;
}

static bool current(const PGresult *r, int row)
{
	if (pg_get_bool(r, row, H_FRESH))
		return true;
	return !pg_is_null(r, row, H_TERMS) && (uint64_t)pg_get_i64(r, row, H_MARK) == doc_mark(pg_get_str(r, row, H_TERMS));
}

static enum err take(const PGresult *r, struct arena *a, struct hnsw_row **out, size_t *n)
{
	size_t rows = (size_t)PQntuples(r);

	*out = ARENA_ARRAY(a, struct hnsw_row, rows + 1);
	if (!*out)
		return E_NOMEM;
	for (size_t i = 0; i < rows; i++) {
		struct hnsw_row *x = &(*out)[i];

		*x = (struct hnsw_row){
			.why = (enum hnsw_why)pg_get_i64(r, (int)i, H_WHY), .id = pg_get_i64(r, (int)i, H_ID), .data = STR("")};
		if (current(r, (int)i))
			x->data = arena_str(a, pg_get_str(r, (int)i, H_DATA));
		if (!x->data.p)
			return E_NOMEM;
	}
	*n = rows;
	return OK;
}

/* The function, the index or what they are made of has gone. */
static bool is_gone(const char *sqlstate)
{
	return strncmp(sqlstate, "42", 2) == 0 || strcmp(sqlstate, "3F000") == 0 || strcmp(sqlstate, "0A000") == 0;
}

static enum err find(struct store *s, struct arena *a, const struct principal *who, const struct hnsw_question *q, bool *ready,
		     struct hnsw_row **out, size_t *n)
{
	struct pg_params p = {.n = 0};
	struct pg_step step = {&st_find, &p, NULL};
	struct pg_job j = {.steps = &step, .n = 1, .lane = LANE_SEARCH};
	int64_t number;
	enum err e;

	*ready = false;
	*n = 0;
	if (q->nearest + q->farthest + q->ids_n > HNSW_ROWS_MAX)
		return err_set(E_LIMIT, "at most %d vectors are asked for at a time", HNSW_ROWS_MAX);
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &j.t));
	if (!j.t || least(s) == UINT64_MAX || q->v->dims > PG_HNSW_DIMS_MAX || q->model.n > VECTOR_MODEL_NAME_MAX)
		return OK;
	number = known(j.t, q);
	if (number == 0)
		return OK;
	e = params(&p, q, number);
	if (e == OK)
		e = pg_run(&j);
	if (e == OK && PQntuples(step.res) == 0 && q->nearest)
		lost(j.t, "it gives nothing");
	else if (e == OK)
		*ready = (e = take(step.res, a, out, n)) == OK;
	else if (is_gone(j.sqlstate)) {
		lost(j.t, diag_get()->text);
		diag_clear();
		e = OK;
	}
	pg_job_clear(&j);
	pg_params_release(&p);
	return e;
}

const struct hnsw_ops pg_hnsw_ops = {.least = least, .find = find};
