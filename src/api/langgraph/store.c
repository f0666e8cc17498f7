/* LangGraph's store over HTTP: each handler translates a request to one call of core/memory and its result back.
 *
 * null counts as absent, with one exception: "ttl": null in a put means "never expires", as in LangGraph's own store. Unknown
 * members are ignored. What cannot be parsed and the empty namespace of a put are 400, a wrong field is 422. */
#include "api/langgraph/impl.h"

#include "base/clock.h"

enum { SEARCH_LIMIT = 10, LIST_LIMIT = 100, LIST_LIMIT_MAX = 10000 };

static enum err read_tri(struct jval v, const char *field, enum tri *out)
{
	bool b;

	*out = TRI_UNSET;
	if (j_null(v))
		return OK;
	if (!j_bool(v, &b))
		return lg_bad(field, "must be true or false");
	*out = b ? TRI_YES : TRI_NO;
	return OK;
}

/* A namespace member; absent and null give "". */
static enum err read_ns(struct arena *a, struct jval v, const char *field, struct str *out)
{
	*out = STR("");
	return j_null(v) ? OK : ns_from_json(a, v, field, out);
}

static void write_item(struct jw *w, const struct item *it)
{
	char time[CLOCK_TEXT_MAX];
	size_t n;

	jw_key(w, "namespace");
	ns_to_json(w, it->ns);
	jw_key(w, "key");
	jw_str(w, it->key);
	jw_key(w, "value");
	jw_raw(w, it->value);
	jw_key(w, "created_at");
	n = clock_format(it->created_us, CLOCK_MICROS_OFFSET, time);
	jw_str(w, str_of(time, n));
	jw_key(w, "updated_at");
	n = clock_format(it->updated_us, CLOCK_MICROS_OFFSET, time);
	jw_str(w, str_of(time, n));
}

/* --------------------------------------------------------------------- put */

static enum err read_index(struct arena *a, struct jval v, struct op_put *op)
{
	struct jval path;
	struct str *paths;
	size_t n = 0;
	bool b;

	if (j_null(v))
		return OK;
	if (j_bool(v, &b) && !b) {
		op->index = TRI_NO;
		return OK;
	}
	if (!j_is(v, JSON_ARRAY))
		return lg_bad("/index", "must be false or an array of paths");
	paths = ARENA_ARRAY(a, struct str, j_node(v)->count + 1);
	if (!paths)
		return E_NOMEM;
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &path); n++) {
		if (!j_is(path, JSON_STRING))
			return lg_bad("/index", "must be false or an array of paths");
		paths[n] = j_str(a, path);
		if (!paths[n].p)
			return E_NOMEM;
	}
	if (n == 0)
		op->index = TRI_NO; /* no path: nothing to index */
	op->index_paths = paths;
	op->index_paths_n = n;
	return OK;
}

static enum err read_ttl(struct jval v, double *out)
{
	*out = TTL_DEFAULT;
	if (!j_ok(v))
		return OK;
	if (j_null(v)) {
		*out = 0;
		return OK;
	}
	if (!j_double(v, out) || *out <= 0)
		return lg_bad("/ttl", "must be a number of minutes above 0, or null for none");
	return OK;
}

static enum err read_put(struct arena *a, struct jval body, struct op_put *op)
{
	struct jval value = j_get(body, STR("value"));
	struct str root, rest;

	TRY(ns_from_json(a, j_get(body, STR("namespace")), "/namespace", &op->ns));
	if (op->ns.n == 0)
		return err_kind(E_INVALID, ERR_SYNTAX, "Namespace cannot be empty");
	str_cut(op->ns, '.', &root, &rest);
	if (str_eq(root, STR("langgraph")))
		return err_field(E_INVALID, "/namespace/0", -1, "the first label of a namespace cannot be \"langgraph\"");
	TRY(lg_string(a, j_get(body, STR("key")), "/key", &op->key));
	if (!j_is(value, JSON_OBJECT))
		return lg_bad("/value", "must be an object");
	op->value = j_raw(value);
	TRY(read_ttl(j_get(body, STR("ttl")), &op->ttl_minutes));
	return read_index(a, j_get(body, STR("index")), op);
}

void lg_item_put(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct op_put op = {0};
	struct json doc;
	enum err e;

	CHECK(lg_object(rq, &doc));
	CHECK(read_put(a, json_root(&doc), &op));
	CHECK(memory_put(ctx, a, rq_principal(rq), &op));
	rs_empty(rq, 204);
	return;
out:
	rs_error(rq, e);
}

/* -------------------------------------------------------------- get, delete */

/* One parameter has dots between its labels; several are the labels themselves. */
static enum err query_ns(struct http_req *rq, struct str *out)
{
	struct buf b;
	struct str *labels;
	size_t n;

	*out = STR("");
	TRY(rq_query_all(rq, "namespace", &labels, &n));
	if (n == 1)
		*out = labels[0];
	if (n < 2)
		return ns_check(*out, "namespace", true);
	buf_init(&b, rq_arena(rq), 2 * NS_MAX_BYTES);
	for (size_t i = 0; i < n; i++) {
		if (labels[i].n == 0 || str_chr(labels[i], '.', 0) >= 0)
			return err_field(E_INVALID, "namespace", -1,
					 "a label of a namespace must be a non-empty string without dots");
		if (i > 0)
			buf_byte(&b, '.');
		buf_str(&b, labels[i]);
	}
	if (b.err != OK)
		return err_field(E_INVALID, "namespace", -1, "the namespace is too long");
	*out = buf_slice(&b);
	return ns_check(*out, "namespace", true);
}

void lg_item_get(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct op_get op = {0};
	struct buf b;
	struct jw w;
	bool refresh;
	enum err e;

	buf_init(&b, a, LG_ANSWER_MAX);
	CHECK(query_ns(rq, &op.ns));
	op.key = rq_query(rq, "key");
	if (!op.key.p) {
		e = err_kind(E_INVALID, ERR_SYNTAX, "the query parameter `key` is missing");
		goto out;
	}
	CHECK(rq_query_bool(rq, "refresh_ttl", false, &refresh));
	if (rq_query(rq, "refresh_ttl").p)
		op.refresh = refresh ? TRI_YES : TRI_NO;
	CHECK(memory_get(ctx, a, rq_principal(rq), &op));
	jw_init(&w, &b);
	if (!op.found) {
		jw_null(&w); /* a 404 would raise in the clients */
	} else {
		jw_obj(&w);
		write_item(&w, &op.item);
		jw_end_obj(&w);
	}
out:
	lg_answer(rq, e, &b);
}

void lg_item_delete(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct op_put op = {0};
	struct json doc;
	enum err e;

	CHECK(lg_object(rq, &doc));
	CHECK(read_ns(a, j_get(json_root(&doc), STR("namespace")), "/namespace", &op.ns));
	CHECK(lg_string(a, j_get(json_root(&doc), STR("key")), "/key", &op.key));
	/* Nothing can be stored under the empty namespace. */
	if (op.ns.n > 0)
		CHECK(memory_put(ctx, a, rq_principal(rq), &op));
	rs_empty(rq, 204);
	return;
out:
	rs_error(rq, e);
}

/* ------------------------------------------------------------------- search */

static enum err read_search(struct arena *a, struct jval body, struct op_search *op)
{
	struct jval query = j_get(body, STR("query"));

	TRY(read_ns(a, j_get(body, STR("namespace_prefix")), "/namespace_prefix", &op->prefix));
	TRY(filter_compile(a, j_get(body, STR("filter")), "/filter", &op->filter));
	TRY(lg_uint(j_get(body, STR("limit")), "/limit", 1, LG_LIMIT_MAX, SEARCH_LIMIT, &op->limit));
	TRY(lg_uint(j_get(body, STR("offset")), "/offset", 0, LG_OFFSET_MAX, 0, &op->offset));
	TRY(read_tri(j_get(body, STR("refresh_ttl")), "/refresh_ttl", &op->refresh));
	if (!j_null(query))
		TRY(lg_string(a, query, "/query", &op->query));
	if (op->query.n == 0)
		op->query.p = NULL;
	return OK;
}

void lg_items_search(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct op_search op = {0};
	struct json doc;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, LG_ANSWER_MAX);
	CHECK(lg_object(rq, &doc));
	CHECK(read_search(a, json_root(&doc), &op));
	CHECK(memory_search(ctx, a, rq_principal(rq), &op));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "items");
	jw_arr(&w);
	for (size_t i = 0; i < op.n; i++) {
		jw_obj(&w);
		write_item(&w, &op.hits[i].item);
		jw_key(&w, "score");
		if (op.hits[i].scored)
			jw_double(&w, op.hits[i].score);
		else
			jw_null(&w);
		jw_end_obj(&w);
	}
	jw_end_arr(&w);
	jw_end_obj(&w);
out:
	lg_answer(rq, e, &b);
}

void lg_namespaces(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct op_list op = {0};
	struct jval body;
	struct json doc;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, LG_ANSWER_MAX);
	CHECK(lg_object(rq, &doc));
	body = json_root(&doc);
	CHECK(read_ns(a, j_get(body, STR("prefix")), "/prefix", &op.prefix));
	CHECK(read_ns(a, j_get(body, STR("suffix")), "/suffix", &op.suffix));
	CHECK(lg_uint(j_get(body, STR("max_depth")), "/max_depth", 1, LG_OFFSET_MAX, 0, &op.max_depth));
	CHECK(lg_uint(j_get(body, STR("limit")), "/limit", 1, LIST_LIMIT_MAX, LIST_LIMIT, &op.limit));
	CHECK(lg_uint(j_get(body, STR("offset")), "/offset", 0, LG_OFFSET_MAX, 0, &op.offset));
	CHECK(memory_list(ctx, a, rq_principal(rq), &op));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "namespaces");
	jw_arr(&w);
	for (size_t i = 0; i < op.n; i++)
		ns_to_json(&w, op.names[i]);
	jw_end_arr(&w);
	jw_end_obj(&w);
out:
	lg_answer(rq, e, &b);
}
