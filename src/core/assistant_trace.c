/* What the spans of a turn say. Contents - questions, answers, memories - only where the tracer wants them; ids, counts, names of
 * keys and times always. */
#include "base/clock.h"
#include "base/utf8.h"
#include "core/assistant_impl.h"

#define CONTENT_MAX ((size_t)4 << 20) /* of the JSON that is made for a span, which keeps TRACE_VALUE_MAX of it */
#define DOCUMENTS_MAX 50
#define DOCUMENT_BYTES ((size_t)2048)

/* Once more than a span keeps is there, the rest need not be made. */
static bool enough(const struct buf *b)
{
	return b->n > TRACE_VALUE_MAX;
}

static void give(struct trace_span *s, struct buf *b, void (*where)(struct trace_span *s, struct str json))
{
	where(s, b->err == OK ? buf_slice(b) : STR("\"... (too long)\""));
	buf_release(b);
}

/* ------------------------------------------------------------------- the turn */

static void put_items(struct buf *b, const char *name, const struct str *items, size_t n)
{
	buf_printf(b, "{\"%s\":[", name);
	for (size_t i = 0; i < n && !enough(b); i++) {
		buf_lit(b, i ? "," : "");
		buf_str(b, items[i]);
	}
	buf_lit(b, "]}");
}

void assistant_trace(struct assistant *as, struct arena *a, const struct principal *who, struct str traceparent,
		     struct str tracestate, struct assistant_turn *t)
{
	t->trace = trace_begin(as->opt.tracer, a, who, traceparent, tracestate);
	t->resolve = span_below(span_begin(t->trace, NULL, SPAN_AGENT, STR("turn")), SPAN_CHAIN, STR("resolve"));
}

struct trace_span *trace_turn(struct turn *x)
{
	const struct assistant_turn *t = x->t;
	struct trace_span *s = trace_root(t->trace);
	struct buf b;

	if (!s)
		return NULL;
	trace_session(t->trace, x->who.user, t->thread, t->own_thread);
	span_str(t->resolve, "cenote.principal", x->who.id);
	span_str(t->resolve, "cenote.user", x->who.user);
	span_str(t->resolve, "cenote.thread", t->thread);
	span_bool(t->resolve, "cenote.thread_made", t->own_thread || t->fresh);
	(void)span_end(t->resolve, OK);
	span_bool(s, "cenote.stream", t->on_text != NULL);
	if (span_wants(s)) {
		buf_init(&b, NULL, CONTENT_MAX);
		put_items(&b, "input", t->items, t->items_n);
		give(s, &b, span_input);
	}
	return s;
}

enum err trace_turned(struct trace_span *s, struct arena *a, enum err e, const struct assistant_turn *t)
{
	struct buf b;

	(void)a;
	if (!s)
		return e;
	span_int(s, "cenote.memories", (int64_t)t->memories_n);
	if (t->stateless.n)
		span_str(s, "cenote.stateless", t->stateless);
	if (span_wants(s) && t->output_n) {
		buf_init(&b, NULL, CONTENT_MAX);
		put_items(&b, "output", t->output, t->output_n);
		give(s, &b, span_output);
	}
	(void)span_end(s, e);
	trace_end(t->trace);
	return e;
}

void trace_counted(struct trace_span *s, const char *key, size_t n)
{
	span_int(s, key, (int64_t)n);
}

/* --------------------------------------------------------------------- prompt */

enum err trace_prompted(struct turn *x, enum err e)
{
	struct trace_span *s = x->step;

	x->step = NULL;
	span_int(s, "cenote.messages", (int64_t)x->prompt.n);
	span_int(s, "cenote.memories", (int64_t)x->t->memories_n);
	span_bool(s, "cenote.cut", x->prompt.cut);
	span_bool(s, "cenote.summary", x->prompt.summary.n > 0);
	return span_end(s, e);
}

/* --------------------------------------------------------------------- recall */

struct trace_span *trace_recall(struct trace_span *parent, struct str question, uint32_t limit)
{
	struct trace_span *s = span_below(parent, SPAN_RETRIEVER, STR("recall"));
	struct buf b;

	span_int(s, "limit", limit);
	if (!span_wants(s))
		return s;
	buf_init(&b, NULL, CONTENT_MAX);
	buf_lit(&b, "{\"query\":");
	json_quote(&b, question);
	buf_byte(&b, '}');
	give(s, &b, span_input);
	return s;
}

static void member(struct jw *w, const char *name, struct str v)
{
	if (!v.n)
		return;
	jw_key(w, name);
	jw_str(w, v);
}

/* A document, as retrievers are shown. */
static void put_document(struct jw *w, const struct recall_hit *h)
{
	int64_t us = h->is_item ? h->item.updated_us : h->message.time_us;
	char when[CLOCK_TEXT_MAX] = "";
	struct str body = h->is_item ? h->item.value : h->message.content;

	if (us > 0)
		(void)clock_format(us, CLOCK_MILLIS_Z, when);
	jw_obj(w);
	jw_key(w, "page_content");
	jw_str(w, utf8_cut(body, DOCUMENT_BYTES));
	jw_key(w, "metadata");
	jw_obj(w);
	member(w, "kind", h->is_item ? STR("item") : STR("message"));
	member(w, "namespace", h->is_item ? h->item.ns : STR(""));
	member(w, "thread", h->is_item ? STR("") : h->message.thread);
	member(w, "role", h->is_item ? STR("") : h->message.role);
	member(w, "when", str_c(when));
	jw_key(w, "score");
	jw_double(w, h->score);
	jw_end_obj(w);
	if (h->is_item)
		member(w, "id", h->item.key);
	jw_end_obj(w);
}

/* Which ones, without what they say. */
void trace_documents(struct trace_span *s, const struct recall_hit *hits, size_t n)
{
	struct buf b;
	struct jw w;

	if (!s)
		return;
	buf_init(&b, NULL, CONTENT_MAX);
	jw_init(&w, &b);
	jw_arr(&w);
	for (size_t i = 0; i < n && i < DOCUMENTS_MAX; i++) {
		jw_obj(&w);
		jw_key(&w, "id");
		if (hits[i].is_item)
			jw_str(&w, hits[i].item.key);
		else
			jw_i64(&w, hits[i].message.id);
		jw_key(&w, "score");
		jw_double(&w, hits[i].score);
		jw_end_obj(&w);
	}
	jw_end_arr(&w);
	if (b.err == OK)
		span_json(s, "retrieval.documents", buf_slice(&b));
	buf_release(&b);
}

enum err trace_recalled(struct trace_span *s, struct arena *a, enum err e, const struct recall_hit *hits, size_t n)
{
	struct buf b;
	struct jw w;

	(void)a;
	if (!s)
		return e;
	if (e == OK) {
		span_int(s, "result_count", (int64_t)n);
		trace_documents(s, hits, n);
	}
	if (e == OK && span_wants(s)) {
		buf_init(&b, NULL, CONTENT_MAX);
		jw_init(&w, &b);
		jw_arr(&w);
		for (size_t i = 0; i < n && i < DOCUMENTS_MAX && b.n < TRACE_VALUE_MAX - 3 * DOCUMENT_BYTES; i++)
			put_document(&w, &hits[i]);
		jw_end_arr(&w);
		give(s, &b, span_output);
	}
	return span_end(s, e);
}

/* ---------------------------------------------------------------------- model */

static void put_calls(struct jw *w, const struct llm_call *calls, size_t n)
{
	jw_key(w, "tool_calls");
	jw_arr(w);
	for (size_t i = 0; i < n; i++) {
		jw_obj(w);
		member(w, "id", calls[i].id);
		member(w, "type", STR("function"));
		jw_key(w, "function");
		jw_obj(w);
		jw_key(w, "name");
		jw_str(w, calls[i].name);
		jw_key(w, "arguments");
		jw_str(w, calls[i].arguments);
		jw_end_obj(w);
		jw_end_obj(w);
	}
	jw_end_arr(w);
}

static void put_message(struct jw *w, const struct llm_message *m)
{
	static const char *const roles[] = {"system", "user", "assistant", "tool"};

	jw_obj(w);
	member(w, "role", str_c(roles[m->role]));
	jw_key(w, "content");
	if (m->parts.n)
		jw_raw(w, m->parts);
	else
		jw_str(w, m->text);
	if (m->calls_n)
		put_calls(w, m->calls, m->calls_n);
	member(w, "tool_call_id", m->call_id);
	jw_end_obj(w);
}

static void model_input(struct trace_span *s, const struct llm_request *rq)
{
	struct buf b;
	struct jw w;

	buf_init(&b, NULL, CONTENT_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "messages");
	jw_arr(&w);
	for (size_t i = 0; i < rq->n && !enough(&b); i++)
		put_message(&w, &rq->messages[i]);
	jw_end_arr(&w);
	if (rq->tools.n && !enough(&b)) {
		jw_key(&w, "tools");
		jw_raw(&w, rq->tools);
	}
	jw_end_obj(&w);
	give(s, &b, span_input);
}

/* Parameters that say how the model was asked, and nothing of what. */
static void put_params(struct trace_span *s, const struct llm_request *rq)
{
	static const struct {
		const char *name, *key;
	} known[] = {{"temperature", "gen_ai.request.temperature"},
		     {"top_p", "gen_ai.request.top_p"},
		     {"max_tokens", "gen_ai.request.max_tokens"}};

	for (size_t i = 0; s && i < rq->params_n; i++)
		for (size_t k = 0; k < sizeof known / sizeof known[0]; k++)
			if (strcmp(rq->params[i].name, known[k].name) == 0)
				span_json(s, known[k].key, rq->params[i].json);
}

static struct trace_span *begin_model(struct trace_span *parent, struct arena *a, const struct llm *llm,
				      const struct llm_request *rq)
{
	struct trace_span *s;

	if (!parent)
		return NULL;
	s = span_below(parent, SPAN_CHAT_MODEL, arena_printf(a, "chat %.*s", STR_ARG(llm->model)));
	if (llm->provider.n)
		span_str(s, "gen_ai.provider.name", llm->provider);
	span_str(s, "gen_ai.request.model", llm->model);
	span_str(s, "mlflow.llm.model", llm->model);
	span_int(s, "cenote.messages", (int64_t)rq->n);
	put_params(s, rq);
	if (span_wants(s))
		model_input(s, rq);
	return s;
}

static const char *finish_name(enum llm_finish f)
{
	static const char *const names[] = {[LLM_STOP] = "stop",
					    [LLM_LENGTH] = "length",
					    [LLM_CALLS] = "tool_calls",
					    [LLM_FILTER] = "content_filter",
					    [LLM_CUT] = "cut"};

	return names[f];
}

static void model_output(struct trace_span *s, const struct llm_answer *x)
{
	struct buf b;
	struct jw w;

	buf_init(&b, NULL, 4 * CONTENT_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "choices");
	jw_arr(&w);
	jw_obj(&w);
	jw_key(&w, "index");
	jw_i64(&w, 0);
	jw_key(&w, "message");
	put_message(&w, &(struct llm_message){.role = LLM_ASSISTANT, .text = x->text, .calls = x->calls, .calls_n = x->calls_n});
	jw_key(&w, "finish_reason");
	jw_cstr(&w, finish_name(x->finish));
	jw_end_obj(&w);
	jw_end_arr(&w);
	jw_end_obj(&w);
	give(s, &b, span_output);
}

static enum err end_model(struct trace_span *s, struct arena *a, enum err e, const struct llm_answer *x)
{
	struct str usage;

	if (!s)
		return e;
	if (x->model.n)
		span_str(s, "gen_ai.response.model", x->model);
	span_str(s, "cenote.finish", str_c(finish_name(x->finish)));
	span_int(s, "cenote.tool_calls", (int64_t)x->calls_n);
	if (x->tokens_in >= 0 && x->tokens_out >= 0) {
		int64_t both = x->tokens_in + x->tokens_out;

		usage = arena_printf(a, "{\"input_tokens\":%lld,\"output_tokens\":%lld,\"total_tokens\":%lld}",
				     (long long)x->tokens_in, (long long)x->tokens_out, (long long)both);
		span_json(s, "mlflow.chat.tokenUsage", usage);
		span_int(s, "gen_ai.usage.input_tokens", x->tokens_in);
		span_int(s, "gen_ai.usage.output_tokens", x->tokens_out);
	}
	if (span_wants(s) && (x->text.n || x->calls_n))
		model_output(s, x);
	return span_end(s, e);
}

enum err trace_chat(struct trace_span *parent, struct arena *a, struct llm *llm, struct llm_request *rq, struct llm_answer *out)
{
	struct trace_span *s = begin_model(parent, a, llm, rq);

	*out = (struct llm_answer){.text = STR(""), .finish = LLM_CUT, .tokens_in = -1, .tokens_out = -1};
	rq->span = s;
	return end_model(s, a, llm_chat(llm, a, rq, out), out);
}

/* ---------------------------------------------------------------------- tools */

struct trace_span *trace_tool(struct trace *t, const struct llm_call *c)
{
	struct trace_span *s = span_begin(t, NULL, SPAN_TOOL, str_sub(c->name, 0, TOOL_NAME_MAX));
	struct buf b;

	span_str(s, "gen_ai.tool.call.id", c->id);
	if (!span_wants(s))
		return s;
	/* What a model wrote need not be JSON. */
	buf_init(&b, NULL, CONTENT_MAX);
	json_quote(&b, utf8_cut(c->arguments, TRACE_VALUE_MAX));
	give(s, &b, span_input);
	return s;
}

enum err trace_tooled(struct trace_span *s, enum err e, struct str answer)
{
	struct buf b;

	if (e == OK && span_wants(s)) {
		buf_init(&b, NULL, CONTENT_MAX);
		json_quote(&b, utf8_cut(answer, TRACE_VALUE_MAX));
		give(s, &b, span_output);
	}
	return span_end(s, e);
}
