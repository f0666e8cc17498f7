/* From a trace to the spans of OTLP: which attributes say what to whom.
 *
 * MLflow reads mlflow.*, session.id and user.id; other tools read gen_ai.* (OpenTelemetry) or openinference.* with input.value and
 * output.value. Each gets its own, so that one set serves every collector. */
#include "obs/otlp.h"

#include "base/json/json.h"

#define ATTRS_EXTRA 24

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

static void root_attrs(struct attrs *x, const struct trace *t)
{
	/* In the caller's trace a session of ours would become that of the whole. */
	if (!t->joined || !t->own_thread)
		add(x, "session.id", otlp_cut(t->thread, OTLP_ID_MAX));
	add(x, "user.id", otlp_cut(t->user, OTLP_ID_MAX));
	/* Tags are the caller's where the trace is. */
	if (!t->joined) {
		add(x, "mlflow.traceTag.mlflow.traceName", t->spans->name);
		add(x, "mlflow.traceTag.cenote.version", STR(CENOTE_VERSION));
	}
	if (t->left_out)
		x->v[x->n++] = (struct otlp_attr){.key = STR("cenote.left_out"), .type = ATTR_INT, .i = t->left_out};
}

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
	size_t n = ATTRS_EXTRA;

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
		root_attrs(&x, t);
	content(&x, s);
	for (const struct trace_attr *at = s->attrs; at; at = at->next)
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
