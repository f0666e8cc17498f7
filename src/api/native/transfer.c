/* Import and export of JSON Lines over HTTP. */
#include "api/native/impl.h"
#include "core/portable.h"

/* A chunk and the largest line that may follow it. */
static const size_t chunk_max = (size_t)16 << 20;

static void write_errors(struct jw *w, const struct import_result *r)
{
	jw_key(w, "errors");
	jw_arr(w);
	for (size_t i = 0; i < r->failed; i++) {
		jw_obj(w);
		jw_key(w, "line");
		jw_u64(w, r->errors[i].line);
		jw_key(w, "detail");
		jw_str(w, r->errors[i].detail);
		if (r->errors[i].field.n > 0) {
			jw_key(w, "field");
			jw_str(w, r->errors[i].field);
		}
		jw_key(w, "status");
		jw_i64(w, http_status(r->errors[i].code, r->errors[i].kind));
		jw_end_obj(w);
	}
	jw_end_arr(w);
}

void nv_import(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	enum import_conflict conflict = IMPORT_REPLACE;
	struct str how = rq_query(rq, "on_conflict");
	struct import_result r;
	struct buf b;
	struct jw w;
	bool lenient;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	if (how.p)
		CHECK(import_conflict_parse(how, &conflict));
	CHECK(rq_query_bool(rq, "lenient", false, &lenient));
	CHECK(portable_import(ctx, a, rq_principal(rq), rq_body(rq), conflict, lenient, &r));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "stored");
	jw_u64(&w, r.stored);
	jw_key(&w, "unchanged");
	jw_u64(&w, r.unchanged);
	jw_key(&w, "failed");
	jw_u64(&w, r.failed);
	write_errors(&w, &r);
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}

static enum err read_export(struct http_req *rq, struct export_state *st)
{
	struct str kind = rq_query(rq, "kind");

	TRY(nv_query_ns(rq, "namespace", true, &st->prefix));
	st->items = !kind.p || str_eq(kind, STR("all")) || str_eq(kind, STR("items"));
	st->messages = !kind.p || str_eq(kind, STR("all")) || str_eq(kind, STR("messages"));
	if (!st->items && !st->messages)
		return nv_bad("kind", "must be items, messages or all");
	if (st->prefix.n == 0)
		return OK;
	if (kind.p && !st->items)
		return nv_bad("namespace", "selects items, and kind asks for messages only");
	st->messages = false;
	return OK;
}

void nv_export(struct http_req *rq, void *ctx)
{
	struct export_state *st = arena_zalloc(rq_arena(rq), sizeof *st);
	struct buf chunk;
	bool begun = false;
	enum err e;

	buf_init(&chunk, NULL, chunk_max);
	if (!st) {
		e = E_NOMEM;
		goto out;
	}
	CHECK(read_export(rq, st));
	do {
		buf_clear(&chunk);
		CHECK(portable_export(ctx, rq_principal(rq), st, &chunk));
		/* The first chunk is made before the status: what is refused can still be said. */
		if (!begun)
			CHECK(rs_begin(rq, 200, "application/x-ndjson"));
		begun = true;
		if (chunk.n > 0)
			CHECK(rs_write(rq, buf_slice(&chunk)));
	} while (!st->done);
	rs_end(rq);
out:
	buf_release(&chunk);
	if (e == OK)
		return;
	if (begun)
		rs_abort(rq);
	else
		rs_error(rq, e);
}
