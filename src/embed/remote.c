/* The driver for services: batches, tries again what may go better, believes nothing.
 *
 * Invariants
 *  1. dims is embed.dims, or it goes from 0 to what the first good answer had, once; every later answer has the same or is refused.
 *  2. A request is tried at most REMOTE_TRIES times, and never after the deadline of the fiber; before another try comes a pause:
 * what the service asked for, else one that doubles, half of it by chance, so that many clients do not come back at once.
 *  3. The key is in the header of a request and nowhere else: not in sentences, not in logs. Neither are texts. */
#include "embed/remote.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/json/json.h"
#include "base/list.h"
#include "base/utf8.h"
#include "core/trace.h"
#include "embed/remote_impl.h"
#include "http/outbound.h"
#include "rt/wait.h"
#include "rt/work.h"

#define CONNECT_MS 10000u
#define BACKOFF_MS 250u
#define RETRY_AFTER_MS 60000u
#define BATCH_BYTES ((size_t)4 << 20) /* of texts in one request */
#define SCRATCH_MAX ((size_t)512 << 20)
#define VALUE_BYTES 28 /* most text that one value takes */

struct remote {
	struct embedder base;
	struct arena arena;
	struct outbound *out;
	struct str key;
	uint32_t timeout_ms, backoff_ms, retry_after_ms;
	uint32_t wanted;      /* embed.dims, 0: any */
	bool databricks;      /* refuses members that it does not know */
	atomic_bool settled;  /* a good answer has come */
	atomic_bool shortens; /* the model has more dimensions than wanted: it is asked for fewer */
};

/* A part of a call that goes out as one request. */
struct batch {
	struct remote *r;
	struct arena *scratch, *a;
	const struct str *texts;
	size_t n;
	struct str body;
	const struct trace_context *trace;
	struct outbound_reply reply;
	/* out */
	uint32_t dims;
	float *v;
	uint64_t tokens;
};

/* ------------------------------------------------------------------ request */

/* An empty text as a blank: services refuse empty ones, and the port promises a vector. */
static struct str shown(struct str text)
{
	return text.n == 0 ? STR(" ") : utf8_cut(text, EMBED_TEXT_MAX);
}

static enum err write_body(void *arg)
{
	struct batch *b = arg;
	struct remote *r = b->r;
	struct buf out;
	struct jw w;

	/* Escapes take up to six bytes for one. */
	buf_init(&out, b->scratch, SCRATCH_MAX / 4);
	jw_init(&w, &out);
	jw_obj(&w);
	jw_key(&w, "input");
	jw_arr(&w);
	for (size_t i = 0; i < b->n; i++)
		jw_str(&w, shown(b->texts[i]));
	jw_end_arr(&w);
	jw_key(&w, "model");
	jw_str(&w, r->base.model);
	if (!r->databricks) {
		jw_key(&w, "encoding_format");
		jw_cstr(&w, "float");
	}
	if (atomic_load(&r->shortens)) {
		jw_key(&w, "dimensions");
		jw_u64(&w, r->wanted);
	}
	jw_end_obj(&w);
	b->body = buf_slice(&out);
	return out.err;
}

static enum err read_answer(void *arg)
{
	struct batch *b = arg;

	return remote_answer(b->scratch, b->a, b->reply.body, b->n, &b->dims, &b->v, &b->tokens);
}

/* ------------------------------------------------------------------- trying */

/* The error of a status that is not 200. */
static enum err refused(struct batch *b)
{
	struct remote *r = b->r;
	int status = b->reply.status;
	struct str url = outbound_base(r->out), why = outbound_reason(b->scratch, b->reply.body, b->texts, b->n, r->key);
	const char *colon = why.n ? ": " : "";

	if (status == 401 || status == 403)
		return err_set(E_UPSTREAM, "%.*s refused the key (%d); embed.api_key gives it", STR_ARG(url), status);
	if (status == 404)
		return err_kind(E_UPSTREAM, ERR_ABSENT, "%.*s knows no model \"%.*s\", or has no /embeddings (404)%s%.*s",
				STR_ARG(url), STR_ARG(r->base.model), colon, STR_ARG(why));
	if (status == 429)
		return err_set(E_BUSY, "%.*s has too many requests (429)%s%.*s", STR_ARG(url), colon, STR_ARG(why));
	if (status == 400 || status == 413 || status == 422)
		return err_set(E_INVALID, "%.*s refused the texts (%d)%s%.*s", STR_ARG(url), status, colon, STR_ARG(why));
	return err_set(status == 503 ? E_BUSY : E_UPSTREAM, "%.*s answered %d%s%.*s", STR_ARG(url), status, colon, STR_ARG(why));
}

static enum err try_once(struct batch *b, bool *again)
{
	struct remote *r = b->r;
	uint32_t most = b->dims ? b->dims : EMBED_DIMS_MAX;
	const struct outbound_request rq = {
		.method = "POST",
		.path = STR("/embeddings"),
		.bearer = r->key,
		.body = b->body,
		.trace = b->trace,
		.deadline_ns = deadline_in_ms(r->timeout_ms),
		.max_body = ((size_t)1 << 20) + b->n * ((size_t)most * VALUE_BYTES + 256),
	};
	enum err e = outbound_call(r->out, b->scratch, &rq, &b->reply);

	*again = e == E_UPSTREAM || e == E_TIMEOUT;
	if (e == E_LIMIT && diag_get()->kind == ERR_SIZE)
		e = err_wrap(E_CORRUPT, "%.*s", STR_ARG(outbound_base(r->out))); /* not the caller's limit */
	TRY(e);
	if (b->reply.status != 200) {
		*again = outbound_passing(b->reply.status);
		return refused(b);
	}
	e = work_run(read_answer, b);
	*again = e == E_UPSTREAM;
	return e == OK ? e : err_wrap(e, "%.*s", STR_ARG(outbound_base(r->out)));
}

static enum err send_batch(struct batch *b)
{
	struct remote *r = b->r;
	struct arena *scratch = b->scratch;

	for (unsigned tries = 0;; tries++) {
		bool again, longer;
		enum err e;

		arena_clear(scratch);
		b->reply = (struct outbound_reply){0};
		b->dims = __atomic_load_n(&r->base.dims, __ATOMIC_ACQUIRE);
		longer = r->wanted && !atomic_load(&r->settled) && !atomic_load(&r->shortens);
		if (longer)
			b->dims = 0;
		TRY(work_run(write_body, b));
		e = try_once(b, &again);
		if (e == OK && longer && b->dims != r->wanted) {
			/* Some models shorten their vectors when they are asked; others refuse the very question. */
			if (b->dims < r->wanted)
				return err_set(E_CORRUPT, "%.*s: model \"%.*s\" has %u dimensions, embed.dims says %u",
					       STR_ARG(outbound_base(r->out)), STR_ARG(r->base.model), (unsigned)b->dims,
					       (unsigned)r->wanted);
			atomic_store(&r->shortens, true);
			continue;
		}
		if (e == OK || !again)
			return e;
		if (tries + 1 == REMOTE_TRIES) {
			diag_get()->retry_after_s =
				b->reply.status ? (unsigned)((outbound_retry_after(&b->reply) + 999) / 1000) : 0;
			return e;
		}
		TRY(outbound_pause(&b->reply, e, tries, r->backoff_ms, r->retry_after_ms));
	}
}

/* ------------------------------------------------------------------- driver */

/* The first answer says how many dimensions there are. */
static enum err settle(struct remote *r, uint32_t dims)
{
	uint32_t none = 0;

	atomic_store(&r->settled, true);
	if (__atomic_compare_exchange_n(&r->base.dims, &none, dims, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) || none == dims)
		return OK;
	return err_set(E_CORRUPT, "%.*s: the answer has vectors of %u dimensions where %u are wanted",
		       STR_ARG(outbound_base(r->out)), (unsigned)dims, (unsigned)none);
}

/* So many of the texts from here on make one request. */
static size_t cut(const struct remote *r, const struct str *texts, size_t n)
{
	size_t bytes = 0, k = 0;

	for (; k < n && k < r->base.batch; k++) {
		bytes += shown(texts[k]).n;
		if (k && bytes > BATCH_BYTES)
			break;
	}
	return k;
}

static enum err encode(struct embedder *e, struct arena *a, const struct str *texts, size_t n, const struct trace_span *span,
		       struct embed_vectors *out)
{
	struct remote *r = CONTAINER(e, struct remote, base);
	struct trace_context trace;
	struct arena scratch;
	enum err err = OK;

	*out = (struct embed_vectors){.n = n, .dims = __atomic_load_n(&e->dims, __ATOMIC_ACQUIRE)};
	if (n > EMBED_BATCH_MAX)
		return err_set(E_LIMIT, "%zu texts at once, allowed are %d", n, EMBED_BATCH_MAX);
	span_context(span, &trace);
	arena_init(&scratch, SCRATCH_MAX);
	for (size_t done = 0, k; done < n && err == OK; done += k) {
		struct batch b = {.r = r, .scratch = &scratch, .texts = texts + done, .trace = &trace};

		b.n = k = cut(r, b.texts, n - done);
		b.a = k == n ? a : &scratch;
		err = send_batch(&b);
		if (err == OK)
			err = settle(r, b.dims);
		if (err != OK)
			break;
		if (!out->v && k == n)
			out->v = b.v;
		else if (!out->v)
			out->v = arena_array(a, n * b.dims, sizeof(float));
		if (!out->v)
			err = E_NOMEM;
		else if (out->v != b.v)
			memcpy(out->v + done * b.dims, b.v, k * b.dims * sizeof(float));
		out->dims = b.dims;
		out->tokens += b.tokens;
	}
	arena_release(&scratch);
	return err;
}

static void close_remote(struct embedder *e)
{
	struct remote *r = CONTAINER(e, struct remote, base);

	outbound_free(r->out);
	if (r->key.n)
		explicit_bzero((char *)r->key.p, r->key.n);
	arena_release(&r->arena);
	free(r);
}

static const struct embed_ops ops = {.encode = encode, .close = close_remote};

/* Serving endpoints of a Databricks workspace. */
static bool is_databricks(struct str url)
{
	return str_ends(url, STR("/serving-endpoints"));
}

enum err remote_open(const struct remote_options *opt, struct embedder **out)
{
	struct remote *r = calloc(1, sizeof *r);
	struct outbound_options oo = {
		.base = opt->base_url, .concurrency = opt->concurrency, .connect_ms = CONNECT_MS, .ca_file = opt->ca_file};
	enum err e;

	if (!r)
		return err_set(E_LIMIT, "out of memory for the encoder");
	arena_init(&r->arena, (size_t)256 << 10);
	if (opt->model.n < 1 || opt->model.n > 256) {
		e = err_set(E_INVALID, "embed.model must name the service's model, in 1 to 256 bytes");
		goto out;
	}
	e = outbound_new(&oo, &r->out);
	if (e != OK) {
		(void)err_wrap(e, opt->ca_file.n && outbound_base_check(opt->base_url) == OK ? "embed.ca_file" : "embed.base_url");
		goto out;
	}
	r->databricks = is_databricks(outbound_base(r->out));
	r->base = (struct embedder){.ops = &ops, .model = arena_str(&r->arena, opt->model), .dims = opt->dims};
	r->base.batch = opt->batch ? opt->batch : r->databricks ? REMOTE_BATCH_DATABRICKS : REMOTE_BATCH;
	if (r->base.batch > EMBED_BATCH_MAX)
		r->base.batch = EMBED_BATCH_MAX;
	r->key = arena_str(&r->arena, opt->api_key);
	r->wanted = opt->dims;
	r->timeout_ms = opt->timeout_ms;
	r->backoff_ms = opt->backoff_ms ? opt->backoff_ms : BACKOFF_MS;
	r->retry_after_ms = opt->retry_after_ms ? opt->retry_after_ms : RETRY_AFTER_MS;
	if (!r->base.model.p || !r->key.p)
		e = E_NOMEM;
	*out = &r->base;
out:
	if (e != OK)
		close_remote(&r->base);
	return e;
}
