/* The sender: takes what is lined up, a batch at a time, and posts it to the collector.
 *
 * States: idle (nothing lined up: waits for wake_fd) -> gathering (a little, so that turns share a request) -> sending -> sent, or
 * pausing (the collector is not there, or has too much: the same batch again, later each time) or refused (trace by trace, so that
 * one bad trace takes no other with it; what is refused alone is dropped). While it pauses the line grows to its limit, then new
 * traces are dropped; no request ever waits.
 *
 * Invariant: a batch is a reference to each of its traces; every one is let go exactly once, as sent or as dropped. Sending one
 * twice is harmless: a collector knows a span by its ids. */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "obs/impl.h"
#include "obs/otlp.h"
#include "rt/fiber.h"
#include "rt/wait.h"

#define BATCH_MAX 256
#define BATCH_BYTES ((size_t)1 << 20)
#define BODY_MAX ((size_t)64 << 20)
#define SCRATCH_MAX ((size_t)128 << 20)
#define ANSWER_MAX ((size_t)256 << 10)
#define GATHER_MS 200u
#define PAUSE_MAX_MS 60000u /* however long a collector asks for */
#define MS UINT64_C(1000000)

enum fate { SENT, AGAIN, ONE_BY_ONE, REFUSED, STOPPED };

struct batch {
	struct traces *tr;
	struct trace *v[BATCH_MAX];
	size_t n;
	struct arena a; /* of one request */
	struct outbound_reply reply;
	unsigned tries; /* that failed in a row */
	bool told;	/* the log knows that the collector is not there */
};

static bool draining(struct traces *tr)
{
	bool yes;

	pthread_mutex_lock(&tr->lock);
	yes = tr->draining;
	pthread_mutex_unlock(&tr->lock);
	return yes;
}

/* A request takes at most traces.timeout, and at the server's end no longer than there is for sending at all. */
static uint64_t request_deadline(struct traces *tr)
{
	uint64_t at = deadline_in_ms(tr->timeout_ms);

	pthread_mutex_lock(&tr->lock);
	if (tr->draining && tr->drain_end < at)
		at = tr->drain_end;
	pthread_mutex_unlock(&tr->lock);
	return at;
}

static void let_go(struct traces *tr, struct trace *const *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		trace_unref(v[i]);
	atomic_fetch_sub_explicit(&tr->waiting, n, memory_order_relaxed);
}

/* ----------------------------------------------------------------- sentences */

static struct str reason(struct batch *b)
{
	struct str no[1] = {STR("")}, why = outbound_reason(&b->a, b->reply.body, no, 0, b->tr->token);

	/* A header's value may be a secret, whatever its name. */
	for (size_t i = 0; i < b->tr->headers_n; i++)
		if (b->tr->headers[i].value.n && memmem(why.p, why.n, b->tr->headers[i].value.p, b->tr->headers[i].value.n))
			return STR("");
	return why;
}

/* What a refusal means, and what to do about it. */
static struct str sentence(struct batch *b, struct str why)
{
	const char *what = NULL;
	const char *sep = why.n ? ": " : "";

	switch (b->reply.status) {
	case 400:
		what = "the collector cannot read the traces";
		break;
	case 401:
		what = "the collector wants other credentials; traces.token or traces.headers gives them";
		break;
	case 403:
		what = b->tr->databricks ? "the token needs MODIFY and SELECT on the table of traces.table"
					 : "MLflow answers only to hosts that it knows: put this one into "
					   "MLFLOW_SERVER_ALLOWED_HOSTS of that server; "
					   "or the credentials lack the right to write";
		break;
	case 404:
		what = "there is no such experiment (traces.experiment), or the server takes no OTLP (MLflow since 3.6 does)";
		break;
	case 422:
		what = "the header x-mlflow-experiment-id is missing (traces.experiment), or a span cannot be taken";
		break;
	case 501:
		what = "that MLflow server keeps its data in files; it takes traces only with an SQL store";
		break;
	default:
		what = "the collector refuses the traces";
	}
	return arena_printf(&b->a, "%.*s answered %d: %s%s%.*s", STR_ARG(b->tr->url), b->reply.status, what, sep, STR_ARG(why));
}

static void tell_refused(struct batch *b, size_t n)
{
	struct str text = sentence(b, reason(b));

	LOG(LOG_WARN, "traces", "traces were refused and dropped", LF_STR("err", text.p ? text : STR("out of memory")),
	    LF_INT("count", (int64_t)n));
}

/* ------------------------------------------------------------------- sending */

static enum fate fate_of(const struct batch *b, enum err e, size_t n)
{
	int status = b->reply.status;

	if (e == E_CANCELLED)
		return STOPPED;
	/* Memory or descriptors that are short come back. */
	if (e == E_LIMIT && diag_get()->kind == ERR_SIZE && status == 0)
		return n > 1 ? ONE_BY_ONE : REFUSED;
	if (e != OK && (status < 200 || status > 299))
		return AGAIN;
	if (status >= 200 && status <= 299)
		return SENT;
	if (status == 400 || status == 413 || status == 422)
		return n > 1 ? ONE_BY_ONE : REFUSED;
	if (status == 408 || status == 429 || (status >= 500 && status != 501))
		return AGAIN;
	return REFUSED;
}

static enum fate post(struct batch *b, struct trace *const *v, size_t n)
{
	struct traces *tr = b->tr;
	struct outbound_request rq = {.method = "POST",
				      .path = STR(""),
				      .bearer = tr->token,
				      .content_type = "application/x-protobuf",
				      .headers = tr->headers,
				      .headers_n = tr->headers_n,
				      .deadline_ns = request_deadline(tr),
				      .max_body = ANSWER_MAX};
	struct buf body;
	enum fate f;
	enum err e;

	arena_clear(&b->a);
	b->reply = (struct outbound_reply){0};
	buf_init(&body, NULL, BODY_MAX);
	otlp_request(&body, &b->a, v, n);
	e = body.err != OK ? err_kind(E_LIMIT, ERR_SIZE, "the traces are larger than a request may be") : OK;
	if (e == OK) {
		rq.body = buf_slice(&body);
		e = outbound_call(tr->out, &b->a, &rq, &b->reply);
		atomic_fetch_add_explicit(&tr->requests, 1, memory_order_relaxed);
	}
	f = fate_of(b, e, n);
	if (f != SENT && f != STOPPED)
		atomic_fetch_add_explicit(&tr->failures, 1, memory_order_relaxed);
	buf_release(&body);
	return f;
}

static void count_sent(struct batch *b, struct trace *const *v, size_t n)
{
	struct str why;
	uint64_t rejected = otlp_rejected(b->reply.body, &why), spans = 0;

	for (size_t i = 0; i < n; i++)
		spans += v[i]->spans_n;
	rejected = rejected < spans ? rejected : spans;
	atomic_fetch_add_explicit(&b->tr->sent, n, memory_order_relaxed);
	atomic_fetch_add_explicit(&b->tr->spans, spans - rejected, memory_order_relaxed);
	if (rejected)
		LOG(LOG_WARN, "traces", "the collector did not take some spans", LF_INT("count", (int64_t)rejected));
}

/* Longer with each failure, and as long as the collector asks for; ends early when there is nothing to wait for any more. */
static enum err pause_a_while(struct batch *b)
{
	uint64_t ms = b->reply.status ? outbound_retry_after(&b->reply) : 0;

	if (!ms)
		ms = (uint64_t)b->tr->backoff_ms << (b->tries < 8 ? b->tries : 8);
	ms = ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS;
	b->tries++;
	enum err e = wait_fd(b->tr->stop_fd, WAIT_READ, clock_mono_ns() + ms * MS, NULL);
	return e == E_CANCELLED ? e : OK;
}

static void tell_absent(struct batch *b)
{
	if (b->told)
		return;
	b->told = true;
	if (b->reply.status)
		LOG(LOG_WARN, "traces", "the collector does not take traces now; they wait", LF_STR("url", b->tr->url),
		    LF_INT("status", b->reply.status));
	else
		LOG(LOG_WARN, "traces", "the collector cannot be reached; traces wait", LF_STR("url", b->tr->url),
		    LF_C("err", diag_get()->text));
}

/* Sends these, whatever it takes; they are let go unless it was STOPPED. */
static enum fate deliver(struct batch *b, struct trace *const *v, size_t n)
{
	enum fate f;

	while ((f = post(b, v, n)) == AGAIN) {
		tell_absent(b);
		if (draining(b->tr)) {
			LOG(LOG_WARN, "traces", "traces could not be sent before the end", LF_INT("count", (int64_t)n));
			traces_count_drop(b->tr, DROP_SHUTDOWN, n);
			let_go(b->tr, v, n);
			return REFUSED;
		}
		if (pause_a_while(b) != OK)
			return STOPPED;
	}
	if (f == STOPPED || f == ONE_BY_ONE)
		return f;
	if (b->told && f == SENT)
		LOG(LOG_INFO, "traces", "the collector takes traces again", LF_STR("url", b->tr->url));
	b->told = false;
	b->tries = 0;
	if (f == SENT) {
		count_sent(b, v, n);
	} else {
		tell_refused(b, n);
		traces_count_drop(b->tr, DROP_REFUSED, n);
	}
	let_go(b->tr, v, n);
	return f;
}

/* Frees what is left when it is stopped in the middle; traces_drain has counted it. */
static bool send_batch(struct batch *b)
{
	enum fate f = deliver(b, b->v, b->n);
	size_t i = 0;

	if (f == ONE_BY_ONE)
		for (f = SENT; i < b->n && f != STOPPED; i++)
			f = deliver(b, &b->v[i], 1);
	if (f != STOPPED)
		return true;
	for (i = i ? i - 1 : 0; i < b->n; i++)
		trace_unref(b->v[i]);
	return false;
}

/* ---------------------------------------------------------------------- loop */

/* OK when there may be something to send. */
static enum err wait_for_more(struct traces *tr)
{
	uint64_t n;

	TRY(wait_fd(tr->wake_fd, WAIT_READ, NEVER, NULL));
	if (read(tr->wake_fd, &n, sizeof n) < 0)
		return OK; /* somebody else's wake-up: look again */
	if (!draining(tr)) {
		enum err e = wait_fd(tr->stop_fd, WAIT_READ, deadline_in_ms(GATHER_MS), NULL);

		return e == E_CANCELLED ? e : OK;
	}
	return OK;
}

void traces_send(struct traces *tr)
{
	struct batch *b = calloc(1, sizeof *b);
	uint64_t one = 1;

	if (!b) {
		LOG(LOG_ERROR, "traces", "out of memory: traces are not sent");
		return;
	}
	b->tr = tr;
	arena_init(&b->a, SCRATCH_MAX);
	for (;;) {
		b->n = traces_next(tr, b->v, BATCH_MAX, BATCH_BYTES);
		if (b->n == 0 && (draining(tr) || wait_for_more(tr) != OK))
			break;
		if (b->n && !send_batch(b))
			break;
	}
	arena_release(&b->a);
	free(b);
	if (write(tr->done_fd, &one, sizeof one) < 0)
		LOG(LOG_WARN, "traces", "the end of sending cannot be told");
}
