/* Threads as text over HTTP: one exported, one imported (core/thread_file.h). */
#include "api/native/impl.h"
#include "core/thread_file.h"

/* Some lines and the largest that may follow them. */
static const size_t chunk_max = (size_t)1 << 30;

void nv_thread_export(struct http_req *rq, void *ctx)
{
	struct thread_export *x = NULL;
	bool begun = false, done = false;
	struct buf chunk;
	enum err e;

	buf_init(&chunk, NULL, chunk_max);
	CHECK(thread_export_begin(ctx, rq_arena(rq), rq_principal(rq), rq_param(rq, "id"), &x));
	while (!done) {
		buf_clear(&chunk);
		CHECK(thread_export_next(x, &chunk, &done));
		/* The first piece is made before the status: what is refused can still be said. */
		if (!begun)
			CHECK(rs_begin(rq, 200, "application/x-ndjson"));
		begun = true;
		CHECK(rs_write(rq, buf_slice(&chunk)));
	}
	rs_end(rq);
out:
	thread_export_end(x);
	buf_release(&chunk);
	if (e == OK)
		return;
	if (begun)
		rs_abort(rq);
	else
		rs_error(rq, e);
}

void nv_thread_import(struct http_req *rq, void *ctx)
{
	struct thread_imported r;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(thread_import(ctx, rq_arena(rq), rq_principal(rq), rq_body(rq), rq_query(rq, "to"), &r));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "thread");
	jw_str(&w, r.thread);
	jw_key(&w, "messages");
	jw_u64(&w, r.messages);
	jw_key(&w, "entries");
	jw_u64(&w, r.entries);
	jw_key(&w, "checkpoints");
	jw_u64(&w, r.checkpoints);
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}
