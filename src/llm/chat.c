/* The driver for chat models: one request, tried again while nothing of its answer has been handed on; streamed when the caller
 * takes pieces, whole otherwise.
 *
 * Invariants
 *  1. A request is tried at most CHAT_TRIES times, never after the deadline of the fiber, and never once a piece was handed on.
 *  2. The key and the values of headers are in the header of a request and nowhere else. Neither are messages: not in sentences,
 * not in logs. */
#include "llm/chat.h"

#include <stdlib.h>

#include "base/json/json.h"
#include "base/list.h"
#include "core/trace.h"
#include "http/outbound.h"
#include "llm/impl.h"
#include "rt/fiber.h"
#include "rt/wait.h"
#include "rt/work.h"

#define CONNECT_MS 10000u
#define BACKOFF_MS 500u
#define RETRY_AFTER_MS 60000u
#define SCRATCH_MAX ((size_t)256 << 20)
#define BODY_MAX ((size_t)128 << 20)
#define DRAIN_MS 200
#define REST_MS 1000 /* for what follows the end of an answer: usage, [DONE] */
#define REASON_BODY ((size_t)64 << 10)
#define LARGE ((size_t)128 << 10) /* bytes of messages whose JSON is written on the CPU pool */
#define HINTS_MAX 64		  /* of the last messages, which a refusal must not repeat */

struct chat {
	struct llm base;
	struct arena arena;
	struct outbound *out;
	struct str key;
	struct chat_options opt;
	bool databricks;
};

struct call {
	struct chat *c;
	struct arena *a, scratch, chunk;
	const struct llm_request *rq;
	struct str body;
	struct trace_context trace;
	struct outbound_reply reply;
	struct chat_answer answer;
	bool handed_on;
	enum err from_caller; /* what on_text returned, when that ended the call */
};

static bool streams(const struct call *k)
{
	return k->rq->on_text && !k->c->opt.whole;
}

static enum err write_body(void *arg)
{
	struct call *k = arg;
	const struct chat_body how = {.model = k->c->base.model,
				      .stream = streams(k),
				      .usage = k->c->opt.usage,
				      .completion_tokens = k->c->opt.completion_tokens,
				      .databricks = k->c->databricks,
				      .defaults = k->c->opt.defaults,
				      .defaults_n = k->rq->no_defaults ? 0 : k->c->opt.defaults_n};
	struct buf out;

	buf_init(&out, &k->scratch, BODY_MAX);
	TRY(chat_body_write(&how, k->rq, &out));
	k->body = buf_slice(&out);
	return OK;
}

static enum err make_body(struct call *k)
{
	size_t bytes = k->rq->tools.n;

	for (size_t i = 0; i < k->rq->n; i++)
		bytes += k->rq->messages[i].text.n + k->rq->messages[i].parts.n;
	return bytes > LARGE ? work_run(write_body, k) : write_body(k);
}

/* ------------------------------------------------------------------ refusals */

/* How services say that the messages are longer than the model's window. */
static bool says_too_long(struct str body)
{
	static const char *const words[] = {"context_length_exceeded", "maximum context length",
					    "context window",	       "context length",
					    "prompt is too long",      "exceeds the maximum number of tokens"};

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (memmem(body.p, body.n, words[i], strlen(words[i])))
			return true;
	return false;
}

static enum err refused(struct call *k)
{
	struct chat *c = k->c;
	int status = k->reply.status;
	struct str url = outbound_base(c->out), body = k->reply.body, why, hints[HINTS_MAX + CHAT_HEADERS_MAX];
	size_t n = 0;

	for (size_t i = k->rq->n; i > 0 && n < HINTS_MAX; i--)
		hints[n++] = k->rq->messages[i - 1].text;
	for (size_t i = 0; i < c->opt.headers_n; i++)
		hints[n++] = c->opt.headers[i].value;
	why = outbound_reason(&k->scratch, body, hints, n, c->key);
	const char *colon = why.n ? ": " : "";
	if (status == 401)
		return err_set(E_UPSTREAM, "%.*s %s (401); %s gives it", STR_ARG(url),
			       c->key.n || c->opt.headers_n ? "refused the key" : "wants a key",
			       c->databricks ? "DATABRICKS_TOKEN (or llm.api_key)" : "llm.api_key");
	if (status == 403)
		return err_set(
			E_UPSTREAM,
			"%.*s does not allow the model \"%.*s\" to be asked (403)%s%.*s; on Databricks the app or the user needs "
			"\"Can query\" on the serving endpoint",
			STR_ARG(url), STR_ARG(c->base.model), colon, STR_ARG(why));
	if (status == 404)
		return err_set(E_UPSTREAM, "%.*s knows no model \"%.*s\", or has no /chat/completions (404)%s%.*s", STR_ARG(url),
			       STR_ARG(c->base.model), colon, STR_ARG(why));
	if (status == 429)
		return err_kind(E_BUSY, ERR_RATE, "%.*s has too many requests (429)%s%.*s", STR_ARG(url), colon, STR_ARG(why));
	if ((status == 400 || status == 413 || status == 422) && says_too_long(body))
		return err_kind(E_INVALID, ERR_SIZE,
				"the messages are longer than the context window of \"%.*s\"; lower memory.max_history, or set "
				"memory.summary to on",
				STR_ARG(c->base.model));
	if (status == 400 || status == 413 || status == 422)
		return err_set(E_INVALID, "%.*s refused the messages (%d)%s%.*s", STR_ARG(url), status, colon, STR_ARG(why));
	return err_set(status == 503 ? E_BUSY : E_UPSTREAM, "%.*s answered %d%s%.*s", STR_ARG(url), status, colon, STR_ARG(why));
}

/* -------------------------------------------------------------------- asking */

static struct outbound_request request_of(const struct call *k)
{
	return (struct outbound_request){
		.method = "POST",
		.path = STR("/chat/completions"),
		.bearer = k->c->key,
		.body = k->body,
		.headers = k->c->opt.headers,
		.headers_n = k->c->opt.headers_n,
		.trace = &k->trace,
		.deadline_ns = deadline_in_ms(k->c->opt.timeout_ms),
		.idle_ms = k->c->opt.idle_ms,
		.max_body = 8 * LLM_ANSWER_MAX,
	};
}

static enum err ask_whole(struct call *k, bool *again)
{
	const struct outbound_request rq = request_of(k);
	enum err e = outbound_call(k->c->out, &k->scratch, &rq, &k->reply);

	*again = e == E_UPSTREAM || e == E_TIMEOUT;
	if (e == E_LIMIT && diag_get()->kind == ERR_SIZE)
		e = err_set(E_CORRUPT, "the answer has more than %zu bytes", rq.max_body);
	TRY(e);
	if (k->reply.status != 200) {
		*again = outbound_passing(k->reply.status);
		return refused(k);
	}
	e = chat_answer_whole(&k->answer, &k->scratch, k->reply.body);
	*again = e == E_UPSTREAM;
	TRY(e);
	return k->rq->on_text && k->answer.text.n ? (k->from_caller = k->rq->on_text(k->rq->ctx, buf_slice(&k->answer.text))) : OK;
}

static enum err on_data(void *ctx, struct str data)
{
	struct call *k = ctx;
	struct str piece;
	enum err e = chat_answer_chunk(&k->answer, &k->chunk, data, &piece);

	if (e == OK && piece.n) {
		k->handed_on = true;
		e = k->from_caller = k->rq->on_text(k->rq->ctx, piece);
	}
	arena_release(&k->chunk); /* what waits for the next piece holds nothing for it */
	return e;
}

/* The rest of an answer that is no stream: a refusal. */
static enum err read_refusal(struct call *k, struct outbound_stream *s)
{
	struct buf b;
	struct str piece;
	enum err e;

	buf_init(&b, &k->scratch, 2 * REASON_BODY);
	while ((e = outbound_read(s, &piece)) == OK && piece.n && b.n < REASON_BODY)
		buf_str(&b, str_sub(piece, 0, REASON_BODY));
	k->reply.body = buf_slice(&b);
	return e == E_CANCELLED ? e : refused(k);
}

/* What follows [DONE] is the end of the body: a connection that was read to it serves again. */
static void drain(struct outbound_stream *s)
{
	uint64_t before = wait_within(deadline_in_ms(DRAIN_MS));
	struct diag d = *diag_get();
	struct str piece;

	while (outbound_read(s, &piece) == OK && piece.n)
		;
	*diag_get() = d;
	wait_restore(before);
}

static enum err read_stream(struct call *k, struct outbound_stream *s)
{
	uint64_t rest_at = NEVER, before;
	struct sse lines;
	struct str piece;
	enum err e = OK;

	fiber_stack_release(); /* there may be thousands of answers on their way */
	sse_init(&lines);
	do {
		/* Of the read alone: handing a piece on may give the fiber more time, which is not to be taken back. */
		before = wait_within(rest_at);
		e = outbound_read(s, &piece);
		wait_restore(before);
		/* A connection that breaks off or falls silent behind the answer's end takes nothing of it away. */
		if (k->answer.finished && (e == E_UPSTREAM || e == E_TIMEOUT)) {
			e = OK;
			goto out;
		}
		CHECK(e);
		CHECK(sse_feed(&lines, piece, piece.n == 0, on_data, k));
		if (k->answer.finished && rest_at == NEVER)
			rest_at = deadline_in_ms(REST_MS);
	} while (piece.n && !k->answer.done);
	if (!k->answer.finished)
		e = err_set(E_UPSTREAM, "the model's answer broke off");
	else if (piece.n)
		drain(s);
out:
	sse_release(&lines);
	return e;
}

static enum err ask_stream(struct call *k, bool *again)
{
	struct outbound_request rq = request_of(k);
	struct outbound_stream *s = NULL;
	enum err e;

	rq.small = true;
	e = outbound_open(k->c->out, &k->scratch, &rq, &k->reply, &s);
	*again = e == E_UPSTREAM || e == E_TIMEOUT;
	TRY(e);
	if (k->reply.status != 200) {
		*again = outbound_passing(k->reply.status);
		e = read_refusal(k, s);
	} else {
		e = read_stream(k, s);
		*again = !k->handed_on && k->from_caller == OK && (e == E_UPSTREAM || e == E_TIMEOUT);
	}
	outbound_close(s);
	return e;
}

static enum err ask(struct call *k)
{
	uint32_t backoff = k->c->opt.backoff_ms ? k->c->opt.backoff_ms : BACKOFF_MS;

	for (unsigned tries = 0;; tries++) {
		bool again = false;
		enum err e;

		k->reply = (struct outbound_reply){0};
		TRY(chat_answer_init(&k->answer, k->a));
		e = streams(k) ? ask_stream(k, &again) : ask_whole(k, &again);
		if (e == OK || !again || tries + 1 == CHAT_TRIES)
			return e;
		TRY(outbound_pause(&k->reply, e, tries, backoff, RETRY_AFTER_MS));
	}
}

static enum err chat(struct llm *l, struct arena *a, const struct llm_request *rq, struct llm_answer *out)
{
	struct call k = {.c = CONTAINER(l, struct chat, base), .a = a, .rq = rq};
	struct diag d;
	enum err e, end;

	*out = (struct llm_answer){.text = STR(""), .finish = LLM_CUT, .tokens_in = -1, .tokens_out = -1};
	arena_init(&k.scratch, SCRATCH_MAX);
	arena_init(&k.chunk, 4 * SSE_LINE_MAX);
	span_context(rq->span, &k.trace);
	e = make_body(&k);
	if (e == OK)
		e = ask(&k);
	d = *diag_get();
	end = k.answer.a ? chat_answer_end(&k.answer, out) : OK;
	if (e != OK)
		*diag_get() = d;
	arena_release(&k.chunk);
	arena_release(&k.scratch);
	e = e == OK ? end : e;
	if (e != OK)
		out->finish = LLM_CUT;
	if (e != OK && e != E_CANCELLED && e != E_NOMEM && k.from_caller == OK && e != E_INVALID)
		return err_wrap(e, "the model at %.*s", STR_ARG(outbound_base(k.c->out)));
	return e;
}

static void close_chat(struct llm *l)
{
	struct chat *c = CONTAINER(l, struct chat, base);

	outbound_free(c->out);
	if (c->key.n)
		explicit_bzero((char *)c->key.p, c->key.n);
	for (size_t i = 0; i < c->opt.headers_n; i++)
		explicit_bzero((char *)c->opt.headers[i].value.p, c->opt.headers[i].value.n);
	arena_release(&c->arena);
	free(c);
}

static const struct llm_ops ops = {.chat = chat, .close = close_chat};

/* Makes what the options point to the chat's own. */
static enum err copy_lists(struct chat *c, const struct chat_options *opt)
{
	struct outbound_header *h = ARENA_ARRAY(&c->arena, struct outbound_header, CHAT_HEADERS_MAX);
	struct llm_param *d = ARENA_ARRAY(&c->arena, struct llm_param, CHAT_DEFAULTS_MAX);

	c->opt.headers = h;
	c->opt.defaults = d;
	c->opt.headers_n = c->opt.defaults_n = 0;
	if (!h || !d)
		return E_NOMEM;
	if (opt->headers_n > CHAT_HEADERS_MAX || opt->defaults_n > CHAT_DEFAULTS_MAX)
		return err_set(E_INVALID, "llm.headers has more than %d headers", CHAT_HEADERS_MAX);
	for (size_t i = 0; i < opt->headers_n; i++) {
		h[i] = (struct outbound_header){arena_str(&c->arena, opt->headers[i].name),
						arena_str(&c->arena, opt->headers[i].value)};
		if (!h[i].name.p || !h[i].value.p)
			return E_NOMEM;
		c->opt.headers_n++;
	}
	for (size_t i = 0; i < opt->defaults_n; i++) {
		d[i] = (struct llm_param){opt->defaults[i].name, arena_str(&c->arena, opt->defaults[i].json)};
		if (!d[i].json.p)
			return E_NOMEM;
		c->opt.defaults_n++;
	}
	return OK;
}

enum err chat_open(const struct chat_options *opt, struct llm **out)
{
	const struct outbound_options oo = {.base = opt->base_url, .concurrency = opt->concurrency, .connect_ms = CONNECT_MS};
	struct chat *c = calloc(1, sizeof *c);
	enum err e;

	if (!c)
		return err_set(E_LIMIT, "out of memory for the model");
	arena_init(&c->arena, (size_t)256 << 10);
	c->opt = *opt;
	c->base = (struct llm){.ops = &ops, .model = arena_str(&c->arena, opt->model)};
	c->key = arena_str(&c->arena, opt->api_key);
	c->opt.base_url = c->opt.model = c->opt.api_key = STR("");
	CHECK(copy_lists(c, opt));
	if (opt->model.n < 1 || opt->model.n > 256) {
		e = err_set(E_INVALID, "llm.model must name the model, in 1 to 256 bytes");
		goto out;
	}
	e = outbound_new(&oo, &c->out);
	if (e != OK)
		(void)err_wrap(e, "llm.base_url");
	else
		c->databricks = str_ends(outbound_base(c->out), STR("/serving-endpoints"));
	/* Whoever speaks OpenAI's API without being known as somebody else counts as that. */
	c->base.provider = c->databricks ? STR("databricks") : STR("openai");
	if (e == OK && (!c->base.model.p || !c->key.p))
		e = E_NOMEM;
out:
	*out = e == OK ? &c->base : NULL;
	if (e != OK)
		close_chat(&c->base);
	return e;
}
