/* Reads of items: one by name, many by id, the list of namespaces.
 *
 * A row of `store` counts with or without a row of cenote_item beside it; without one its id reads as 0 (nothing but item_get, scan
 * and walk gives such items). What other clients may have left NULL reads as 0: a time that is not known, no expiry, no ttl; an
 * unknown update as the creation. */
#include "store/postgres/read.h"

#define BY_ID_MAX 4096 /* ids of one statement */
#define NAMES_PAGE 512 /* namespaces of one statement; LIMIT of its text */

const struct pg_stmt pg_get_one = {
	ST_ITEM_GET,
	LANE_POINT,
	"item_get",
	"SELECT " PG_ITEM_COLUMNS " FROM " PG_ITEM_FROM " WHERE s.prefix = $1 AND s.key = $2",
};
const struct pg_stmt pg_get_by_id = {
	ST_ITEM_BY_ID,
	LANE_SEARCH,
	"item_by_id",
	"SELECT " PG_ITEM_COLUMNS ", u.n FROM unnest($1::bigint[]) WITH ORDINALITY u(id, n)"
	" CROSS JOIN LATERAL (SELECT i.* FROM @cenote_item i WHERE i.id = u.id LIMIT 1) c"
	" CROSS JOIN LATERAL " PG_STORE_OF_C,
};
/* From one namespace to the next by the index on prefix, so that it costs one look-up per namespace, however many items they have.
 * $1..$3 the scope, $4 where to begin (strictly after it, the namespace $1 itself only when $5). */
const struct pg_stmt pg_list_namespaces = {
	ST_NAMESPACES,
	LANE_SEARCH,
	"namespaces",
	"WITH RECURSIVE n(prefix) AS (SELECT $4::text UNION ALL"
	" SELECT (SELECT s.prefix FROM @store s WHERE s.prefix ~>=~ $2 AND s.prefix ~>~ n.prefix AND s.prefix ~<~ $3"
	" ORDER BY s.prefix USING ~<~ LIMIT 1) FROM n WHERE n.prefix IS NOT NULL)"
	" SELECT n.prefix FROM n WHERE CASE WHEN n.prefix = $4 THEN $5 AND $1 ="
	" (SELECT s.prefix FROM @store s WHERE s.prefix ~>=~ $1 ORDER BY s.prefix USING ~<~ LIMIT 1)"
	" ELSE n.prefix IS NOT NULL END LIMIT 512",
};

void pg_item_read(const PGresult *r, int row, struct item *out)
{
	*out = (struct item){
		.ns = pg_get_str(r, row, 0),
		.key = pg_get_str(r, row, 1),
		.value = pg_get_json(r, row, 2),
		.created_us = pg_get_time(r, row, 3),
		.updated_us = pg_get_time(r, row, 4),
		.expires_us = pg_get_time(r, row, 5),
		.ttl_minutes = pg_get_f64(r, row, 6),
		.id = pg_get_i64(r, row, 7),
		.version = pg_get_i64(r, row, 8),
		.fact = pg_get_bool(r, row, 9),
		.valid_from_us = pg_get_instant(r, row, 10),
		.valid_to_us = pg_get_instant(r, row, 11),
	};
	if (pg_is_null(r, row, 4))
		out->updated_us = out->created_us;
}

enum err pg_item_copy(struct arena *a, const struct item *it, struct item *out)
{
	*out = *it;
	out->ns = arena_str(a, it->ns);
	out->key = arena_str(a, it->key);
	out->value = arena_str(a, it->value);
	return out->ns.p && out->key.p && out->value.p ? OK : E_NOMEM;
}

enum err pg_item_get(struct store *s, struct arena *a, const struct principal *who, struct str ns, struct str key, int64_t omit_us,
		     struct item *out, bool *found)
{
	struct pg_tenant *t;
	struct pg_params p;
	struct item it;
	PGresult *r;
	enum err e = OK;
	*found = false;
	*out = (struct item){0};
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t)
		return OK;
	pg_params_init(&p);
	pg_text(&p, ns);
	pg_text(&p, key);
	TRY(pg_query(t, &pg_get_one, &p, &r));
	if (PQntuples(r) > 0) {
		pg_item_read(r, 0, &it);
		*found = !pg_omitted(&it, omit_us);
	}
	if (*found)
		e = pg_item_copy(a, &it, out);
	PQclear(r);
	return e;
}

/* ---------------------------------------------------------------- by id */

static enum err copy_by_id(struct arena *a, const PGresult *r, struct item *out, size_t n)
{
	for (int i = 0; i < PQntuples(r); i++) {
		struct item it;
		int64_t at = pg_get_i64(r, i, PG_ITEM_COLUMNS_N);
		if (at < 1 || (size_t)at > n)
			return err_set(E_INTERNAL, "an item by id came back in place %lld of %zu", (long long)at, n);
		pg_item_read(r, i, &it);
		TRY(pg_item_copy(a, &it, &out[at - 1]));
	}
	return OK;
}

static enum err some_by_id(struct pg_tenant *t, struct arena *a, const int64_t *ids, size_t n, struct item *out)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_array(&p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(&p, ids[i]);
	pg_array_end(&p);
	TRY(pg_query(t, &pg_get_by_id, &p, &r));
	enum err e = copy_by_id(a, r, out, n);
	PQclear(r);
	return e;
}

enum err pg_item_by_id(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
		       struct item *out)
{
	struct pg_tenant *t;
	if (n)
		memset(out, 0, n * sizeof *out);
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	for (size_t at = 0; t && at < n; at += BY_ID_MAX)
		TRY(some_by_id(t, a, ids + at, n - at < BY_ID_MAX ? n - at : BY_ID_MAX, out + at));
	return OK;
}

/* ---------------------------------------------------------------- namespaces */

/* Gives the names of a page to fn; *place becomes the one after which the next page begins, *more whether there is one. */
static enum err give_names(const PGresult *r, name_fn fn, void *ctx, struct buf *place, bool *more)
{
	int n = PQntuples(r);
	bool go = true;
	for (int i = 0; i < n && go; i++)
		go = fn(ctx, pg_get_str(r, i, 0));
	*more = go && n == NAMES_PAGE;
	if (!*more)
		return OK;
	buf_clear(place);
	buf_str(place, pg_get_str(r, n - 1, 0));
	return place->err;
}

static enum err list_names(struct pg_tenant *t, struct str prefix, name_fn fn, void *ctx, struct buf *place)
{
	bool more = true;
	for (bool first = true; more; first = false) {
		struct pg_params p;
		PGresult *r;
		pg_params_init(&p);
		pg_scope(&p, prefix);
		pg_text(&p, first ? prefix : buf_slice(place));
		pg_bool(&p, first);
		TRY(pg_query(t, &pg_list_namespaces, &p, &r));
		enum err e = give_names(r, fn, ctx, place, &more);
		PQclear(r);
		TRY(e);
	}
	return OK;
}

enum err pg_namespaces(struct store *s, const struct principal *who, struct str prefix, name_fn fn, void *ctx)
{
	struct pg_tenant *t;
	struct buf place;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t)
		return OK;
	buf_init(&place, NULL, 1u << 20);
	enum err e = list_names(t, prefix, fn, ctx, &place);
	buf_release(&place);
	return e;
}
