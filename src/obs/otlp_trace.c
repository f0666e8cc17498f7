/* From a trace to the spans of OTLP: which attributes say what to whom.
 *
 * MLflow reads mlflow.*, session.id and user.id; other tools read gen_ai.* (OpenTelemetry) or OpenInference's: openinference.*,
 * input.value and output.value, llm.*, tool.*, embedding.*, retrieval.*. Each gets its own, so that one set serves every collector:
 * steps name what they know in the words of one, and here the others get it in theirs. */
#include "obs/otlp.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/json/json.h"

#define ATTRS_EXTRA 32
#define DOCUMENTS "retrieval.documents" /* of a step: [{"id":..,"score":..}] */
#define DOCUMENTS_MAX 50
#define DOCUMENT_ATTRS 3

enum { INTERNAL = 1, SERVER = 2, CLIENT = 3 };

struct attrs {
	struct otlp_attr *v;
	size_t n;
};

static const struct {
	const char *operation, *openinference;
	int kind;
} types[SPAN_TYPES] = {
	[SPAN_AGENT] = {"invoke_agent", "AGENT", SERVER}, [SPAN_CHAIN] = {NULL, "CHAIN", INTERNAL},
	[SPAN_CHAT_MODEL] = {"chat", "LLM", CLIENT},	  [SPAN_TOOL] = {"execute_tool", "TOOL", INTERNAL},
	[SPAN_RETRIEVER] = {NULL, "RETRIEVER", INTERNAL}, [SPAN_EMBEDDING] = {"embeddings", "EMBEDDING", CLIENT},
	[SPAN_MEMORY] = {NULL, "CHAIN", INTERNAL},
};

static void add(struct attrs *x, const char *key, struct str v)
{
	if (v.n)
		x->v[x->n++] = (struct otlp_attr){.key = str_c(key), .type = ATTR_STR, .s = v};
}

/* Above MLflow's limits the whole request would be refused. */
static struct str within(const struct trace_attr *at)
{
	if (str_starts(at->key, STR("mlflow.traceTag.")))
		return otlp_cut(at->s, OTLP_TAG_MAX);
	return at->s;
}

static void add_int(struct attrs *x, const char *key, int64_t v)
{
	x->v[x->n++] = (struct otlp_attr){.key = str_c(key), .type = ATTR_INT, .i = v};
}

static const struct trace_attr *find(const struct trace_span *s, const char *key)
{
	for (const struct trace_attr *at = s->attrs; at; at = at->next)
		if (str_eq(at->key, str_c(key)))
			return at;
	return NULL;
}

static void again(struct attrs *x, const char *key, const struct trace_attr *at)
{
	if (at)
		add(x, key, at->s);
}

/* In the caller's trace a session of ours would become that of the whole; work behind a turn is no turn of the session. */
static bool has_session(const struct trace *t)
{
	return !t->follows && (!t->joined || !t->own_thread);
}

/* The turn that the work is behind, as MLflow names and finds it. */
static void followed(struct attrs *x, struct arena *a, const struct trace *t)
{
	char hex[TRACE_ID_HEX + 1];
	struct str id;

	if (!t->follows)
		return;
	hex_encode(t->turn.trace, sizeof t->turn.trace, hex);
	id = arena_printf(a, "tr-%s", hex);
	add(x, "cenote.turn", id.p ? id : STR(""));
	add(x, "mlflow.traceTag.cenote.turn", id.p ? id : STR(""));
}

static void root_attrs(struct attrs *x, struct arena *a, const struct trace *t)
{
	if (has_session(t))
		add(x, "session.id", otlp_cut(t->thread, OTLP_ID_MAX));
	add(x, "user.id", otlp_cut(t->user, OTLP_ID_MAX));
	followed(x, a, t);
	/* Tags are the caller's where the trace is. */
	if (!t->joined) {
		add(x, "mlflow.traceTag.mlflow.traceName", t->spans->name);
		add(x, "mlflow.traceTag.cenote.version", STR(CENOTE_VERSION));
	}
	if (t->left_out)
		add_int(x, "cenote.left_out", t->left_out);
}

/* ------------------------------------------------------- what others call it */

/* {"temperature":..,"max_tokens":..} of gen_ai.request.*; "" : the request said none. */
static struct str parameters(struct arena *a, const struct trace_span *s)
{
	static const char *const names[] = {"temperature", "top_p", "max_tokens"};
	struct buf b;

	buf_init(&b, a, 4096);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char key[48];

		(void)snprintf(key, sizeof key, "gen_ai.request.%s", names[i]);
		const struct trace_attr *at = find(s, key);

		if (at)
			buf_printf(&b, "%s\"%s\":%.*s", b.n ? "," : "{", names[i], STR_ARG(at->s));
	}
	if (b.n)
		buf_byte(&b, '}');
	return b.n && b.err == OK ? buf_slice(&b) : STR("");
}

static void of_model(struct attrs *x, struct arena *a, const struct trace_span *s)
{
	const struct trace_attr *asked = find(s, "gen_ai.request.model"), *said = find(s, "gen_ai.response.model"),
				*in = find(s, "gen_ai.usage.input_tokens"), *out = find(s, "gen_ai.usage.output_tokens");

	again(x, "llm.model_name", said ? said : asked);
	again(x, "llm.provider", find(s, "gen_ai.provider.name"));
	add(x, "llm.invocation_parameters", parameters(a, s));
	if (!in || !out)
		return;
	add_int(x, "llm.token_count.prompt", in->i);
	add_int(x, "llm.token_count.completion", out->i);
	add_int(x, "llm.token_count.total", in->i + out->i);
}

static struct str document_key(struct arena *a, size_t i, const char *what)
{
	return arena_printf(a, DOCUMENTS ".%zu.document.%s", i, what);
}

static void add_document(struct attrs *x, struct arena *a, size_t i, struct jval doc, struct jval shown)
{
	struct jval id = j_get(doc, STR("id")), text = j_get(shown, STR("page_content"));
	struct str key = document_key(a, i, "id"), s = j_is(id, JSON_STRING) ? j_str(a, id) : j_raw(id);
	double score;

	if (key.p && s.p)
		x->v[x->n++] = (struct otlp_attr){.key = key, .type = ATTR_STR, .s = s};
	key = document_key(a, i, "score");
	if (key.p && j_double(j_get(doc, STR("score")), &score))
		x->v[x->n++] = (struct otlp_attr){.key = key, .type = ATTR_DOUBLE, .d = score};
	key = document_key(a, i, "content");
	s = j_is(text, JSON_STRING) ? j_str(a, text) : STR("");
	if (key.p && s.n)
		x->v[x->n++] = (struct otlp_attr){.key = key, .type = ATTR_STR, .s = s};
}

/* With their contents where the trace has them: then its output shows the same ones in the same order. */
static void of_retriever(struct attrs *x, struct arena *a, const struct trace_span *s)
{
	const struct trace_attr *at = find(s, DOCUMENTS);
	struct json docs, output;
	struct jval doc, shown = {NULL, 0};
	struct j_iter it, other;
	bool have, with;

	have = at && json_parse(a, at->s, NULL, &docs) == OK && j_is(json_root(&docs), JSON_ARRAY);
	if (!have)
		return;
	with = s->output.n && json_parse(a, s->output, NULL, &output) == OK && j_is(json_root(&output), JSON_ARRAY);
	it = j_iter(json_root(&docs));
	if (with)
		other = j_iter(json_root(&output));
	for (size_t i = 0; i < DOCUMENTS_MAX && j_next(&it, NULL, &doc); i++) {
		with = with && j_next(&other, NULL, &shown);
		add_document(x, a, i, doc, with ? shown : (struct jval){NULL, 0});
	}
}

static void in_other_words(struct attrs *x, struct arena *a, const struct trace *t, const struct trace_span *s)
{
	if (s->type == SPAN_CHAT_MODEL) {
		of_model(x, a, s);
	} else if (s->type == SPAN_TOOL) {
		add(x, "tool.name", s->name);
		add(x, "gen_ai.tool.name", s->name);
	} else if (s->type == SPAN_EMBEDDING) {
		again(x, "embedding.model_name", find(s, "gen_ai.request.model"));
	} else if (s->type == SPAN_RETRIEVER) {
		of_retriever(x, a, s);
	}
	if ((s->type == SPAN_AGENT || s->type == SPAN_CHAT_MODEL) && has_session(t))
		add(x, "gen_ai.conversation.id", otlp_cut(t->thread, OTLP_ID_MAX));
}

/* ---------------------------------------------------------------------- spans */

static void content(struct attrs *x, const struct trace_span *s)
{
	add(x, "mlflow.spanInputs", s->input);
	add(x, "input.value", s->input);
	if (s->input.n)
		add(x, "input.mime_type", STR("application/json"));
	add(x, "mlflow.spanOutputs", s->output);
	add(x, "output.value", s->output);
	if (s->output.n)
		add(x, "output.mime_type", STR("application/json"));
	if (s->type == SPAN_TOOL) {
		add(x, "gen_ai.tool.call.arguments", s->input);
		add(x, "gen_ai.tool.call.result", s->output);
	}
}

static bool attributes(struct arena *a, const struct trace *t, const struct trace_span *s, struct otlp_span *out)
{
	struct attrs x = {.n = 0};
	size_t n = ATTRS_EXTRA + (s->type == SPAN_RETRIEVER ? DOCUMENTS_MAX * DOCUMENT_ATTRS : 0);

	for (const struct trace_attr *at = s->attrs; at; at = at->next)
		n++;
	x.v = ARENA_ARRAY(a, struct otlp_attr, n);
	if (!x.v)
		return false;
	add(&x, "mlflow.spanType", str_c(span_type_name(s->type)));
	add(&x, "openinference.span.kind", str_c(types[s->type].openinference));
	if (types[s->type].operation)
		add(&x, "gen_ai.operation.name", str_c(types[s->type].operation));
	if (s == t->spans)
		root_attrs(&x, a, t);
	content(&x, s);
	in_other_words(&x, a, t, s);
	for (const struct trace_attr *at = s->attrs; at; at = at->next)
		if (!str_eq(at->key, STR(DOCUMENTS)))
			x.v[x.n++] = (struct otlp_attr){.key = at->key, .type = at->type, .s = within(at), .i = at->i, .d = at->d};
	out->attrs = x.v;
	out->attrs_n = x.n;
	return true;
}

static bool one(struct arena *a, const struct trace *t, const struct trace_span *s, struct otlp_span *out)
{
	*out = (struct otlp_span){
		.trace = t->id,
		.id = s->id,
		.parent = s->parent   ? s->parent->id
			  : t->joined ? t->caller
				      : NULL,
		.state = t->state,
		.name = s->name,
		.message = s->sentence,
		.kind = types[s->type].kind,
		.status = (int)s->status,
		.start_ns = (uint64_t)t->began_ns + s->start_ns,
		.end_ns = (uint64_t)t->began_ns + s->end_ns,
		.link = s == t->spans && t->follows ? &t->turn : NULL,
	};
	return attributes(a, t, s, out);
}

void otlp_request(struct buf *out, struct arena *scratch, struct trace *const *traces, size_t n)
{
	static const struct otlp_attr resource[] = {
		{.key = STR_INIT("service.name"), .type = ATTR_STR, .s = STR_INIT("cenote")},
		{.key = STR_INIT("service.version"), .type = ATTR_STR, .s = STR_INIT(CENOTE_VERSION)},
	};
	struct otlp_span *v;
	size_t all = 0;

	for (size_t i = 0; i < n; i++)
		all += traces[i]->spans_n;
	v = ARENA_ARRAY(scratch, struct otlp_span, all + 1);
	all = 0;
	for (size_t i = 0; v && i < n; i++)
		for (const struct trace_span *s = traces[i]->spans; s; s = s->next)
			if (!one(scratch, traces[i], s, &v[all++]))
				v = NULL;
	if (!v) {
		out->err = E_LIMIT;
		return;
	}
	otlp_write(out, resource, sizeof resource / sizeof resource[0], STR("cenote"), STR(CENOTE_VERSION), v, all);
}
