/* Vectors as clients see them: how far they are, making them again, and waiting for them with a write's ?wait=indexed. */
#include "api/native/impl.h"
#include "base/clock.h"
#include "core/texts.h"
#include "core/vectors.h"

enum { WAIT_MS = 30000, WAIT_MS_MAX = 600000 };

enum err nv_wait_read(struct http_req *rq, struct nv_wait *w)
{
	struct str wait = rq_query(rq, "wait");
	int64_t ms;

	*w = (struct nv_wait){0};
	TRY(rq_query_int(rq, "wait_ms", 1, WAIT_MS_MAX, WAIT_MS, &ms));
	if (!wait.p) {
		if (rq_query(rq, "wait_ms").p)
			return nv_bad("wait_ms", "belongs to wait=indexed");
		return OK;
	}
	if (!str_eq(wait, STR("indexed")))
		return nv_bad("wait", "can only be indexed");
	w->asked = true;
	w->ms = (uint32_t)ms;
	return OK;
}

/* First the texts of threads, then the vectors of everything; within ms together. everything: of threads that others wrote, too. */
static enum err wait_all(struct http_req *rq, struct memory *m, uint32_t ms, bool everything)
{
	uint64_t until = deadline_in_ms(ms), now;

	TRY(texts_wait(memory_texts(m), m, rq_principal(rq), ms, everything));
	now = clock_mono_ns();
	ms = now < until ? (uint32_t)((until - now) / 1000000) + 1 : 1;
	return (everything ? vectors_wait : vectors_wait_new)(memory_vectors(m), rq_principal(rq), ms);
}

enum err nv_wait(struct http_req *rq, struct memory *m, const struct nv_wait *w, struct jw *jw)
{
	enum err e;

	if (!w->asked)
		return OK;
	e = wait_all(rq, m, w->ms, false);
	if (e == E_CANCELLED)
		return e;
	jw_key(jw, "indexed");
	jw_bool(jw, e == OK);
	if (e == OK)
		return OK;
	/* The write itself is done, and is found by words. */
	jw_key(jw, "note");
	jw_cstr(jw, diag_get()->text);
	diag_clear();
	return OK;
}

/* ------------------------------------------------------------------- state */

static void str_or_null(struct jw *w, const char *key, struct str s)
{
	jw_key(w, key);
	if (s.n)
		jw_str(w, s);
	else
		jw_null(w);
}

static void number(struct jw *w, const char *key, int64_t v)
{
	jw_key(w, key);
	jw_i64(w, v);
}

void nv_write_vectors(struct jw *w, const struct vectors_state *s)
{
	jw_obj(w);
	str_or_null(w, "model", s->model);
	str_or_null(w, "next", s->next);
	number(w, "documents", s->documents);
	number(w, "done", s->done);
	number(w, "refused", s->refused);
	number(w, "pending", s->pending);
	jw_key(w, "counted");
	jw_bool(w, s->counted);
	jw_key(w, "reindexing");
	jw_bool(w, s->again);
	number(w, "lag_ms", s->lag_ms);
	str_or_null(w, "trouble", s->trouble);
	jw_end_obj(w);
}

/* The figures are the tenant's. */
static enum err check_unbound(struct http_req *rq)
{
	if (rq_principal(rq)->user_bound)
		return err_set(E_DENIED, "vectors are the whole tenant's, and this key belongs to one user");
	return OK;
}

static void answer_state(struct http_req *rq, struct memory *m)
{
	struct vectors_state s;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(vectors_state(memory_vectors(m), rq_arena(rq), rq_principal(rq), &s));
	jw_init(&w, &b);
	nv_write_vectors(&w, &s);
out:
	nv_answer(rq, e, &b);
}

void nv_vectors(struct http_req *rq, void *ctx)
{
	struct nv_wait wait;
	enum err e;

	CHECK(check_unbound(rq));
	CHECK(nv_wait_read(rq, &wait));
	if (wait.asked) {
		e = wait_all(rq, ctx, wait.ms, true);
		if (e == E_CANCELLED)
			goto out;
	}
	answer_state(rq, ctx);
	return;
out:
	rs_error(rq, e);
}

void nv_reindex(struct http_req *rq, void *ctx)
{
	enum err e;

	CHECK(check_unbound(rq));
	CHECK(vectors_reindex(memory_vectors(ctx), rq_principal(rq)));
	answer_state(rq, ctx);
	return;
out:
	rs_error(rq, e);
}
