/* GET /traces and GET /traces/{id}: the last turns, step by step. Who may see a trace is decided by the tracer, by the principal.
 */
#include "api/native/impl.h"
#include "base/clock.h"
#include "base/hash.h"
#include "core/trace.h"

static void put_time(struct jw *w, const char *name, int64_t us)
{
	char text[CLOCK_TEXT_MAX];

	jw_key(w, name);
	jw_str(w, str_of(text, clock_format(us, CLOCK_MICROS_Z, text)));
}

static void put_ms(struct jw *w, const char *name, uint64_t ns)
{
	uint64_t us = ns / 1000;

	jw_key(w, name);
	jw_double(w, (double)us / 1000.0);
}

static void put_text(struct jw *w, const char *name, struct str s)
{
	jw_key(w, name);
	if (s.n)
		jw_str(w, s);
	else
		jw_null(w);
}

static const char *state_name(enum span_status s)
{
	return s == SPAN_ERROR ? "ERROR" : "OK";
}

/* ------------------------------------------------------------------- summary */

/* Of the model calls together; -1: none of them says. */
static int64_t sum_of(const struct trace *t, const char *key)
{
	int64_t sum = -1;

	for (const struct trace_span *s = t->spans; s; s = s->next)
		for (const struct trace_attr *x = s->attrs; x; x = x->next)
			if (x->type == ATTR_INT && str_eq(x->key, str_c(key)))
				sum = (sum < 0 ? 0 : sum) + x->i;
	return sum;
}

static void put_sum(struct jw *w, const char *name, int64_t n)
{
	jw_key(w, name);
	if (n < 0)
		jw_null(w);
	else
		jw_i64(w, n);
}

/* Of work behind a turn: the id of the turn's trace. */
static void put_turn(struct jw *w, const struct trace *t)
{
	char hex[TRACE_ID_HEX + 1] = "";

	if (t->follows)
		hex_encode(t->turn.trace, sizeof t->turn.trace, hex);
	put_text(w, "turn", str_c(hex));
}

static void summary(struct jw *w, const struct trace *t)
{
	const struct trace_span *root = t->spans;

	jw_key(w, "trace_id");
	jw_cstr(w, t->hex);
	jw_key(w, "name");
	jw_str(w, root->name);
	jw_key(w, "state");
	jw_cstr(w, state_name(root->status));
	put_text(w, "error", root->sentence);
	put_time(w, "started_at", t->began_ns / 1000);
	put_ms(w, "duration_ms", root->end_ns - root->start_ns);
	put_text(w, "thread", t->thread);
	put_text(w, "user", t->user);
	jw_key(w, "steps");
	jw_u64(w, t->spans_n);
	put_sum(w, "input_tokens", sum_of(t, "gen_ai.usage.input_tokens"));
	put_sum(w, "output_tokens", sum_of(t, "gen_ai.usage.output_tokens"));
	put_turn(w, t);
}

/* ---------------------------------------------------------------------- spans */

static void put_attr(struct jw *w, const struct trace_attr *x)
{
	jw_key_str(w, x->key);
	switch (x->type) {
	case ATTR_INT:
		jw_i64(w, x->i);
		return;
	case ATTR_BOOL:
		jw_bool(w, x->i != 0);
		return;
	case ATTR_DOUBLE:
		jw_double(w, x->d);
		return;
	case ATTR_JSON:
		jw_raw(w, x->s);
		return;
	default:
		jw_str(w, x->s);
	}
}

static void put_id(struct jw *w, const char *name, const uint8_t *id)
{
	char hex[2 * SPAN_ID_BYTES + 1];

	jw_key(w, name);
	hex_encode(id, SPAN_ID_BYTES, hex);
	jw_cstr(w, hex);
}

static void put_span(struct jw *w, const struct trace_span *s)
{
	jw_obj(w);
	put_id(w, "span_id", s->id);
	if (s->parent)
		put_id(w, "parent_id", s->parent->id);
	else
		put_text(w, "parent_id", STR(""));
	jw_key(w, "name");
	jw_str(w, s->name);
	jw_key(w, "type");
	jw_cstr(w, span_type_name(s->type));
	jw_key(w, "state");
	jw_cstr(w, state_name(s->status));
	put_text(w, "error", s->sentence);
	put_ms(w, "start_ms", s->start_ns);
	put_ms(w, "duration_ms", s->end_ns - s->start_ns);
	jw_key(w, "attributes");
	jw_obj(w);
	for (const struct trace_attr *x = s->attrs; x; x = x->next)
		put_attr(w, x);
	jw_end_obj(w);
	if (s->input.n) {
		jw_key(w, "input");
		jw_raw(w, s->input);
	}
	if (s->output.n) {
		jw_key(w, "output");
		jw_raw(w, s->output);
	}
	jw_end_obj(w);
}

/* ------------------------------------------------------------------- handlers */

static void list(struct http_req *rq, void *ctx)
{
	struct tracer *tr = ctx;
	struct arena *a = rq_arena(rq);
	struct trace **v;
	int64_t limit;
	size_t n = 0, shown;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(rq_query_int(rq, "limit", 1, PAGE_MAX, PAGE_DEFAULT, &limit));
	v = ARENA_ARRAY(a, struct trace *, (size_t)limit + 1);
	CHECK(v ? OK : E_NOMEM);
	if (tr)
		n = tr->ops->list(tr, rq_principal(rq), v, (size_t)limit + 1);
	shown = n > (size_t)limit ? (size_t)limit : n;
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "data");
	jw_arr(&w);
	for (size_t i = 0; i < shown; i++) {
		jw_obj(&w);
		summary(&w, v[i]);
		jw_end_obj(&w);
	}
	jw_end_arr(&w);
	jw_key(&w, "has_more");
	jw_bool(&w, n > shown);
	jw_end_obj(&w);
	for (size_t i = 0; i < n; i++)
		trace_unref(v[i]);
out:
	nv_answer(rq, e, &b);
}

/* Hex digits, also as MLflow writes them. */
static enum err read_id(struct http_req *rq, uint8_t id[TRACE_ID_BYTES])
{
	struct str s = rq_param(rq, "id");

	if (str_starts(s, STR("tr-")))
		s = str_sub(s, 3, s.n);
	if (!hex_decode(s, id, TRACE_ID_BYTES))
		return err_field(E_INVALID, "id", -1, "the id of a trace is %d hex digits, with or without tr- before them",
				 TRACE_ID_HEX);
	return OK;
}

static void get(struct http_req *rq, void *ctx)
{
	struct tracer *tr = ctx;
	struct trace *t = NULL;
	uint8_t id[TRACE_ID_BYTES];
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(read_id(rq, id));
	if (tr)
		t = tr->ops->get(tr, rq_principal(rq), id);
	CHECK(t ? OK
		: err_set(E_NOT_FOUND, "there is no such trace here; the last ones are kept (traces.keep), until the server ends"));
	jw_init(&w, &b);
	jw_obj(&w);
	summary(&w, t);
	jw_key(&w, "sampled");
	jw_bool(&w, t->sampled);
	jw_key(&w, "left_out");
	jw_u64(&w, t->left_out);
	jw_key(&w, "spans");
	jw_arr(&w);
	for (const struct trace_span *s = t->spans; s; s = s->next)
		put_span(&w, s);
	jw_end_arr(&w);
	jw_end_obj(&w);
out:
	trace_unref(t);
	nv_answer(rq, e, &b);
}

static const struct http_route routes[] = {
	{"GET", "/cenote/v1/traces", list, RIGHT_READ, 0, "listTraces"},
	{"GET", "/cenote/v1/traces/{id}", get, RIGHT_READ, 0, "getTrace"},
};

enum err api_native_traces_add(struct http_router *r, struct tracer *tr)
{
	return http_router_add(r, "/cenote/v1", routes, sizeof routes / sizeof routes[0], tr, NULL);
}
