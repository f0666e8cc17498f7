/* Vectors of some documents. */
#include "store/postgres/pg.h"

#define PAGE 1000

/* $1 ids, $2 model */
#define GET(kind)                                                                                                                  \
	"SELECT i.at, v.mark, v.data FROM unnest($1::bigint[]) WITH ORDINALITY i(id, at)" PG_VECTOR_OF(                            \
		kind, "i.id", 2) " WHERE v.data IS NOT NULL"
static const struct pg_stmt st_get[2] = {
	{ST_VECTOR_GET_ITEMS, LANE_SEARCH, "vector_get_items", GET("i")},
	{ST_VECTOR_GET_MESSAGES, LANE_SEARCH, "vector_get_messages", GET("m")},
};

static enum err get_page(struct pg_tenant *t, struct arena *a, enum doc_kind kind, struct str model, size_t n,
			 struct doc_vector *out)
{
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	pg_params_init(&p);
	pg_array(&p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(&p, out[i].id);
	pg_array_end(&p);
	pg_text(&p, model);
	TRY(pg_query(t, &st_get[kind == DOC_MESSAGE], &p, &r));
	for (int row = 0; row < PQntuples(r) && e == OK; row++) {
		struct doc_vector *v = &out[pg_get_i64(r, row, 0) - 1];
		v->mark = (uint64_t)pg_get_i64(r, row, 1);
		v->data = arena_str(a, pg_get_str(r, row, 2));
		e = v->data.p ? OK : E_NOMEM;
	}
	PQclear(r);
	return e;
}

enum err pg_vector_get(struct store *s, struct arena *a, const struct principal *who, enum doc_kind kind, struct str model,
		       const int64_t *ids, size_t n, struct doc_vector *out)
{
	struct pg_tenant *t;
	for (size_t i = 0; i < n; i++)
		out[i] = (struct doc_vector){.id = ids[i], .data = STR("")};
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	for (size_t at = 0; t && at < n; at += PAGE)
		TRY(get_page(t, a, kind, model, n - at < PAGE ? n - at : PAGE, out + at));
	return OK;
}
