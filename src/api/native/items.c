/* One item: GET, PUT, DELETE with ETag, If-Match and If-None-Match (strong comparison; the tag is the item's version). */
#include "api/native/impl.h"
#include "base/clock.h"
#include "core/portable.h"

/* Takes the next entity tag off a list; false at the end. A weak tag comes out with its W/ and so matches nothing. */
static bool next_tag(struct str *list, struct str *tag)
{
	struct str head;

	while (list->n > 0) {
		str_cut(*list, ',', &head, list);
		*tag = str_trim(head);
		if (tag->n > 0)
			return true;
	}
	return false;
}

/* Whether a list of tags (or *) names this version. */
static bool tags_name(struct arena *a, struct str list, int64_t version)
{
	struct str tag, mine = arena_printf(a, "\"%lld\"", (long long)version);

	while (next_tag(&list, &tag))
		if (str_eq(tag, STR("*")) || str_eq(tag, mine))
			return true;
	return false;
}

static enum err read_name(struct http_req *rq, bool allow_empty, struct str *ns, struct str *key)
{
	TRY(nv_query_ns(rq, "namespace", allow_empty, ns));
	*key = rq_query(rq, "key");
	return key->p ? OK : nv_bad("key", "is missing");
}

static void write_item(struct jw *w, const struct item *it)
{
	jw_obj(w);
	item_members(w, it, CLOCK_MILLIS_Z);
	jw_key(w, "version");
	jw_i64(w, it->version);
	nv_write_fact(w, it);
	jw_end_obj(w);
}

void nv_item_get(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct str none = rq_header(rq, "If-None-Match");
	struct op_get op = {0};
	struct buf b;
	struct jw w;
	bool refresh, past;
	int64_t as_of;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(read_name(rq, true, &op.ns, &op.key));
	CHECK(rq_query_bool(rq, "refresh_ttl", false, &refresh));
	if (rq_query(rq, "refresh_ttl").p)
		op.refresh = refresh ? TRI_YES : TRI_NO;
	CHECK(nv_query_instant(rq, "as_of", &past, &as_of));
	CHECK(past ? facts_get_as_of(ctx, a, rq_principal(rq), &op, as_of) : memory_get(ctx, a, rq_principal(rq), &op));
	if (!op.found) {
		e = err_set(E_NOT_FOUND, "there is no such item");
		goto out;
	}
	if (op.item.version)
		nv_etag(rq, op.item.version);
	if (op.item.version && none.p && tags_name(a, none, op.item.version)) {
		rs_empty(rq, 304);
		return;
	}
	jw_init(&w, &b);
	write_item(&w, &op.item);
out:
	nv_answer(rq, e, &b);
}

/* If-Match: the version that is there now, if the list names it, becomes the write's condition; so nothing can slip in between. */
static enum err read_match(struct http_req *rq, struct memory *m, struct op_put *op)
{
	struct str match = rq_header(rq, "If-Match"), none = rq_header(rq, "If-None-Match");
	struct op_get now = {.ns = op->ns, .key = op->key, .refresh = TRI_NO};

	if (none.p) {
		if (!str_eq(str_trim(none), STR("*")))
			return err_kind(E_INVALID, ERR_SYNTAX, "If-None-Match of a write can only be *");
		op->cond = IF_ABSENT;
	}
	if (!match.p)
		return OK;
	if (none.p)
		return err_kind(E_INVALID, ERR_SYNTAX, "If-Match and If-None-Match exclude each other");
	TRY(memory_get(m, rq_arena(rq), rq_principal(rq), &now));
	if (!now.found || !tags_name(rq_arena(rq), match, now.item.version))
		return err_kind(E_CONFLICT, ERR_PRECONDITION, "the item is not at the version that If-Match names");
	op->cond = IF_VERSION;
	op->if_version = now.item.version;
	return OK;
}

static enum err read_put(struct http_req *rq, struct op_put *op)
{
	struct str ttl = rq_query(rq, "ttl_minutes");
	struct json doc;
	bool index;

	TRY(read_name(rq, false, &op->ns, &op->key));
	op->value = rq_body(rq);
	op->ttl_minutes = TTL_DEFAULT;
	if (ttl.p) {
		const struct json_limits *lim = &json_default_limits;

		if (json_parse(rq_arena(rq), ttl, lim, &doc) != OK || !j_double(json_root(&doc), &op->ttl_minutes) ||
		    op->ttl_minutes < 0)
			return nv_bad("ttl_minutes", "must be a number of minutes, 0 for none");
	}
	TRY(rq_query_bool(rq, "index", true, &index));
	op->index = index ? TRI_UNSET : TRI_NO;
	return nv_query_fact(rq, op);
}

void nv_item_put(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct op_put op = {0};
	struct nv_wait wait;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(nv_wait_read(rq, &wait));
	CHECK(read_put(rq, &op));
	CHECK(read_match(rq, ctx, &op));
	CHECK(memory_put(ctx, a, rq_principal(rq), &op));
	nv_etag(rq, op.version);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "namespace");
	ns_to_json(&w, op.ns);
	jw_key(&w, "key");
	jw_str(&w, op.key);
	jw_key(&w, "version");
	jw_i64(&w, op.version);
	jw_key(&w, "created");
	jw_bool(&w, !op.existed);
	if (op.supersedes_n) {
		jw_key(&w, "superseded");
		jw_u64(&w, op.superseded);
	}
	CHECK(nv_wait(rq, ctx, &wait, &w));
	jw_end_obj(&w);
	CHECK(b.err);
	rs_json(rq, op.existed ? 200 : 201, buf_slice(&b));
	return;
out:
	rs_error(rq, e);
}

void nv_item_delete(struct http_req *rq, void *ctx)
{
	struct op_put op = {0};
	enum err e;

	CHECK(read_name(rq, false, &op.ns, &op.key));
	CHECK(read_match(rq, ctx, &op));
	CHECK(memory_put(ctx, rq_arena(rq), rq_principal(rq), &op));
	if (!op.existed && !op.forgot) {
		e = err_set(E_NOT_FOUND, "there is no such item");
		goto out;
	}
	rs_empty(rq, 204);
	return;
out:
	rs_error(rq, e);
}
