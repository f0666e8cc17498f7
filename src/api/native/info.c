/* GET /namespaces and GET /stats. */
#include "api/native/impl.h"
#include "core/texts.h"
#include "core/vectors.h"

void nv_namespaces(struct http_req *rq, void *ctx)
{
	static const char *const filters[] = {"prefix", "suffix", "max_depth", NULL};
	struct arena *a = rq_arena(rq);
	struct page p = {.filters = filters};
	struct op_list op = {0};
	int64_t depth;
	size_t shown;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(page_begin(rq, ctx, &p));
	CHECK(nv_query_ns(rq, "prefix", true, &op.prefix));
	CHECK(nv_query_ns(rq, "suffix", true, &op.suffix));
	CHECK(rq_query_int(rq, "max_depth", 1, 1000000, 0, &depth));
	op.max_depth = (uint32_t)depth;
	op.limit = (uint32_t)p.limit + 1;
	op.after = p.after;
	CHECK(memory_list(ctx, a, rq_principal(rq), &op));
	shown = op.n > (size_t)p.limit ? (size_t)p.limit : op.n;
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "data");
	jw_arr(&w);
	for (size_t i = 0; i < shown; i++) {
		jw_obj(&w);
		jw_key(&w, "namespace");
		ns_to_json(&w, op.names[i]);
		jw_end_obj(&w);
	}
	e = page_end(rq, ctx, &p, &w, op.n > shown, shown > 0 ? op.names[shown - 1] : STR(""));
out:
	nv_answer(rq, e, &b);
}

static void member(struct jw *w, const char *name, int64_t v)
{
	jw_key(w, name);
	jw_i64(w, v);
}

/* What of entries and checkpoints is indexed for recall. */
static void write_texts(struct jw *w, const struct texts_state *s, int64_t texts)
{
	jw_obj(w);
	jw_key(w, "on");
	jw_bool(w, s->on);
	member(w, "texts", texts);
	member(w, "waiting", s->waiting);
	jw_key(w, "compared");
	jw_bool(w, s->compared);
	member(w, "lag_ms", s->lag_ms);
	jw_end_obj(w);
}

void nv_stats(struct http_req *rq, void *ctx)
{
	struct store *s = memory_store(ctx);
	const struct principal *who = rq_principal(rq);
	struct store_stats st = {0};
	struct vectors_state vs;
	struct texts_state ts;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	if (who->user_bound) {
		e = err_set(E_DENIED, "the figures are the tenant's, and this key belongs to one user");
		goto out;
	}
	CHECK(s->ops->stats(s, who, &st));
	CHECK(vectors_state(memory_vectors(ctx), rq_arena(rq), who, &vs));
	texts_state(memory_texts(ctx), who, &ts);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "tenant");
	jw_str(&w, who->tenant);
	jw_key(&w, "store");
	jw_cstr(&w, s->ops->name);
	member(&w, "items", st.items);
	member(&w, "namespaces", st.namespaces);
	member(&w, "threads", st.threads);
	member(&w, "messages", st.messages);
	member(&w, "checkpoints", st.checkpoints);
	member(&w, "entries", st.entries);
	member(&w, "expiring", st.expiring);
	jw_key(&w, "bytes");
	jw_obj(&w);
	member(&w, "data", st.bytes_data);
	member(&w, "wal", st.bytes_wal);
	jw_end_obj(&w);
	jw_key(&w, "background");
	jw_obj(&w);
	member(&w, "queue_depth", st.queue_depth);
	member(&w, "pending", vs.pending);
	jw_key(&w, "vectors");
	nv_write_vectors(&w, &vs);
	jw_key(&w, "texts");
	write_texts(&w, &ts, st.texts);
	jw_end_obj(&w);
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}
