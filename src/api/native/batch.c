/* Many item operations in one call: {"operations":[{"op":"put"|"get"|"delete"|"search"|"list_namespaces",...}]}, answered in their
 * order with one {"status":...} each. A request that is not understood is refused as a whole; what one operation's content is
 * refused for is that operation's problem, or with ?atomic=true the whole batch's. */
#include <stdio.h>

#include "api/native/impl.h"
#include "base/clock.h"
#include "core/portable.h"

enum { OPERATIONS_MAX = 10000, OFFSET_MAX = 1000000, LIST_LIMIT_MAX = 10000 };

static const struct str op_members[] = {
	STR_INIT("op"),		 STR_INIT("namespace"), STR_INIT("key"),	STR_INIT("value"),    STR_INIT("index"),
	STR_INIT("ttl_minutes"), STR_INIT("if_absent"), STR_INIT("if_version"), STR_INIT("filter"),   STR_INIT("refresh_ttl"),
	STR_INIT("limit"),	 STR_INIT("offset"),	STR_INIT("query"),	STR_INIT("explain"),  STR_INIT("prefix"),
	STR_INIT("suffix"),	 STR_INIT("max_depth"), STR_INIT("valid_from"), STR_INIT("valid_to"), STR_INIT("supersedes")};

static enum err read_tri(struct jval v, const char *at, const char *name, enum tri *out)
{
	bool given, b;

	TRY(nv_bool(v, at, name, &given, &b));
	*out = !given ? TRI_UNSET : b ? TRI_YES : TRI_NO;
	return OK;
}

static enum err read_key(struct arena *a, struct jval v, const char *at, struct str *out)
{
	TRY(nv_str(a, v, at, "key", out));
	if (!out->p)
		*out = STR(""); /* refused by core, for this operation alone */
	return OK;
}

static enum err read_condition(struct jval v, const char *at, struct op_put *op)
{
	struct jval version = j_get(v, STR("if_version"));
	char field[160];
	bool given, absent;

	TRY(nv_bool(v, at, "if_absent", &given, &absent));
	op->cond = absent ? IF_ABSENT : IF_ANY;
	if (j_null(version))
		return OK;
	snprintf(field, sizeof field, "%.100s/if_version", at);
	if (absent)
		return nv_bad(field, "and if_absent exclude each other");
	if (!j_i64(version, &op->if_version) || op->if_version < 1)
		return nv_bad(field, "must be a version, 1 or above");
	op->cond = IF_VERSION;
	return OK;
}

static enum err read_paths(struct arena *a, struct jval v, const char *field, struct op_put *op)
{
	struct str *paths = ARENA_ARRAY(a, struct str, j_node(v)->count + 1);
	struct jval p;
	size_t n = 0;

	if (!paths)
		return E_NOMEM;
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &p); n++) {
		if (!j_is(p, JSON_STRING))
			return nv_bad(field, "must be true, false or an array of paths");
		paths[n] = j_str(a, p);
		if (!paths[n].p)
			return E_NOMEM;
	}
	op->index = n == 0 ? TRI_NO : TRI_UNSET;
	op->index_paths = paths;
	op->index_paths_n = n;
	return OK;
}

static enum err read_put(struct arena *a, struct jval v, const char *at, struct op_put *op)
{
	struct jval value = j_get(v, STR("value")), ttl = j_get(v, STR("ttl_minutes")), index = j_get(v, STR("index"));
	char field[160];
	bool b;

	TRY(nv_ns(a, v, at, "namespace", &op->ns));
	TRY(read_key(a, v, at, &op->key));
	TRY(read_condition(v, at, op));
	TRY(nv_fact(a, v, at, op));
	op->value = j_ok(value) ? j_raw(value) : STR("null");
	op->ttl_minutes = TTL_DEFAULT;
	snprintf(field, sizeof field, "%.100s/ttl_minutes", at);
	if (!j_null(ttl) && (!j_double(ttl, &op->ttl_minutes) || op->ttl_minutes < 0))
		return nv_bad(field, "must be a number of minutes, 0 for none");
	snprintf(field, sizeof field, "%.100s/index", at);
	if (j_is(index, JSON_ARRAY))
		return read_paths(a, index, field, op);
	if (!j_null(index) && !j_bool(index, &b))
		return nv_bad(field, "must be true, false or an array of paths");
	op->index = j_null(index) || b ? TRI_UNSET : TRI_NO;
	return OK;
}

static enum err read_search(struct arena *a, struct jval v, const char *at, struct op_search *op)
{
	char field[160];
	bool given;

	snprintf(field, sizeof field, "%.100s/filter", at);
	TRY(nv_ns(a, v, at, "namespace", &op->prefix));
	if (op->prefix.n == 0)
		TRY(nv_ns(a, v, at, "prefix", &op->prefix));
	TRY(filter_compile(a, j_get(v, STR("filter")), field, &op->filter));
	TRY(nv_uint(v, at, "limit", 1, PAGE_MAX, 10, &op->limit));
	TRY(nv_uint(v, at, "offset", 0, OFFSET_MAX, 0, &op->offset));
	TRY(nv_bool(v, at, "explain", &given, &op->explain));
	TRY(read_tri(v, at, "refresh_ttl", &op->refresh));
	TRY(nv_str(a, v, at, "query", &op->query));
	if (op->query.n == 0)
		op->query.p = NULL;
	return OK;
}

static enum err read_list(struct arena *a, struct jval v, const char *at, struct op_list *op)
{
	TRY(nv_ns(a, v, at, "prefix", &op->prefix));
	TRY(nv_ns(a, v, at, "suffix", &op->suffix));
	TRY(nv_uint(v, at, "max_depth", 1, OFFSET_MAX, 0, &op->max_depth));
	TRY(nv_uint(v, at, "limit", 1, LIST_LIMIT_MAX, 100, &op->limit));
	return nv_uint(v, at, "offset", 0, OFFSET_MAX, 0, &op->offset);
}

static enum err read_op(struct arena *a, struct jval v, const char *at, struct op *op)
{
	static const struct {
		struct str name;
		enum op_kind kind;
	} kinds[] = {{STR_INIT("put"), OP_PUT},
		     {STR_INIT("get"), OP_GET},
		     {STR_INIT("delete"), OP_DELETE},
		     {STR_INIT("search"), OP_SEARCH},
		     {STR_INIT("list_namespaces"), OP_LIST_NAMESPACES}};
	struct jval name = j_get(v, STR("op"));
	char field[160];
	size_t k = 0;

	if (!j_is(v, JSON_OBJECT))
		return nv_bad(at, "must be an object");
	while (k < 5 && !(j_is(name, JSON_STRING) && j_str_eq(name, kinds[k].name)))
		k++;
	snprintf(field, sizeof field, "%.100s/op", at);
	if (k == 5)
		return nv_bad(field, "must be one of put, get, delete, search, list_namespaces");
	op->kind = kinds[k].kind;
	switch (op->kind) {
	case OP_PUT:
		return read_put(a, v, at, &op->put);
	case OP_DELETE:
		TRY(nv_ns(a, v, at, "namespace", &op->put.ns));
		TRY(read_key(a, v, at, &op->put.key));
		return read_condition(v, at, &op->put);
	case OP_GET:
		TRY(nv_ns(a, v, at, "namespace", &op->get.ns));
		TRY(read_key(a, v, at, &op->get.key));
		return read_tri(v, at, "refresh_ttl", &op->get.refresh);
	case OP_SEARCH:
		return read_search(a, v, at, &op->search);
	case OP_LIST_NAMESPACES:
		break;
	}
	return read_list(a, v, at, &op->list);
}

static enum err read_ops(struct http_req *rq, struct jval list, struct op **out, size_t *n)
{
	struct arena *a = rq_arena(rq);
	struct jval v;
	size_t i = 0;
	bool strict;

	TRY(rq_query_bool(rq, "strict", false, &strict));
	if (!j_is(list, JSON_ARRAY))
		return nv_bad("/operations", "must be an array");
	*n = j_node(list)->count;
	if (*n > OPERATIONS_MAX)
		return nv_bad("/operations", "has at most 10000 elements");
	*out = arena_zalloc(a, (*n + 1) * sizeof **out);
	if (!*out)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); i++) {
		char at[40];

		snprintf(at, sizeof at, "/operations/%zu", i);
		if (strict && j_is(v, JSON_OBJECT))
			TRY(j_only(v, op_members, sizeof op_members / sizeof op_members[0]));
		TRY(read_op(a, v, at, &(*out)[i]));
	}
	return OK;
}

/* ------------------------------------------------------------------ results */

static const char *slug(int status)
{
	switch (status) {
	case 400:
		return "bad-request";
	case 403:
		return "forbidden";
	case 404:
		return "not-found";
	case 409:
		return "conflict";
	case 412:
		return "version-conflict";
	case 413:
		return "too-large";
	case 422:
		return "invalid";
	case 429:
		return "rate-limited";
	case 502:
		return "upstream";
	case 503:
		return "busy";
	case 504:
		return "timeout";
	case 507:
		return "quota";
	}
	return "internal";
}

void nv_problem(struct jw *w, int status, const char *detail, const char *field)
{
	char type[64];

	snprintf(type, sizeof type, "urn:cenote:problem:%s", slug(status));
	jw_obj(w);
	jw_key(w, "type");
	jw_cstr(w, type);
	jw_key(w, "status");
	jw_i64(w, status);
	jw_key(w, "detail");
	jw_cstr(w, detail);
	if (field && field[0]) {
		jw_key(w, "errors");
		jw_arr(w);
		jw_obj(w);
		jw_key(w, "field");
		jw_cstr(w, field);
		jw_key(w, "detail");
		jw_cstr(w, detail);
		jw_end_obj(w);
		jw_end_arr(w);
	}
	jw_end_obj(w);
}

static void write_status(struct jw *w, int status)
{
	jw_key(w, "status");
	jw_i64(w, status);
}

static void write_problem(struct jw *w, int status, const char *detail, const char *field)
{
	write_status(w, status);
	jw_key(w, "problem");
	nv_problem(w, status, detail, field);
}

static void write_found(struct jw *w, const struct item *it, const struct hit *h)
{
	jw_obj(w);
	item_members(w, it, CLOCK_MILLIS_Z);
	jw_key(w, "version");
	jw_i64(w, it->version);
	nv_write_fact(w, it);
	if (h) {
		jw_key(w, "score");
		if (h->scored)
			jw_double(w, h->score);
		else
			jw_null(w);
		if (h->explain.n > 0) {
			jw_key(w, "explain");
			jw_raw(w, h->explain);
		}
	}
	jw_end_obj(w);
}

static void write_reads(struct jw *w, const struct op *op)
{
	write_status(w, 200);
	if (op->kind == OP_GET) {
		jw_key(w, "item");
		write_found(w, &op->get.item, NULL);
	} else if (op->kind == OP_SEARCH) {
		jw_key(w, "items");
		jw_arr(w);
		for (size_t i = 0; i < op->search.n; i++)
			write_found(w, &op->search.hits[i].item, &op->search.hits[i]);
		jw_end_arr(w);
	} else {
		jw_key(w, "namespaces");
		jw_arr(w);
		for (size_t i = 0; i < op->list.n; i++)
			ns_to_json(w, op->list.names[i]);
		jw_end_arr(w);
	}
}

static void write_result(struct jw *w, const struct op *op)
{
	jw_obj(w);
	if (op->err != OK) {
		write_problem(w, http_status(op->err, op->diag ? op->diag->kind : ERR_PLAIN), op->diag ? op->diag->text : "",
			      op->diag ? op->diag->field : "");
	} else if ((op->kind == OP_GET && !op->get.found) || (op->kind == OP_DELETE && !op->put.existed && !op->put.forgot)) {
		write_problem(w, 404, "there is no such item", NULL);
	} else if (op->kind == OP_DELETE) {
		write_status(w, 204);
	} else if (op->kind == OP_PUT) {
		write_status(w, op->put.existed ? 200 : 201);
		jw_key(w, "version");
		jw_i64(w, op->put.version);
		if (op->put.supersedes_n) {
			jw_key(w, "superseded");
			jw_u64(w, op->put.superseded);
		}
	} else {
		write_reads(w, op);
	}
	jw_end_obj(w);
}

void nv_batch(struct http_req *rq, void *ctx)
{
	static const struct str names[] = {STR_INIT("operations")};
	struct arena *a = rq_arena(rq);
	struct op *ops = NULL;
	size_t n = 0;
	struct json doc;
	struct buf b;
	struct jw w;
	struct nv_wait wait;
	bool atomic;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(nv_wait_read(rq, &wait));
	CHECK(rq_query_bool(rq, "atomic", false, &atomic));
	CHECK(nv_body(rq, names, 1, &doc));
	CHECK(read_ops(rq, j_get(json_root(&doc), STR("operations")), &ops, &n));
	CHECK(memory_batch(ctx, a, rq_principal(rq), ops, n, atomic));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "results");
	jw_arr(&w);
	for (size_t i = 0; i < n; i++)
		write_result(&w, &ops[i]);
	jw_end_arr(&w);
	CHECK(nv_wait(rq, ctx, &wait, &w));
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}
