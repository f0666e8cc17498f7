/* Traces while they are collected, and their copies. See trace.h.
 *
 * Invariants
 *  1. t->bytes counts what was taken from the arena for the trace, and never exceeds TRACE_BYTES_MAX.
 *  2. The first span is the root; a span's parent comes before it.
 *  3. A copy points only into itself. */
#include "core/trace.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json/json.h"
#include "base/utf8.h"
#include "base/uuid7.h"

#define NAME_MAX_BYTES 200
#define SENTENCE_MAX 512
#define SESSION_MAX 4096
#define STATE_MAX 512 /* bytes of a tracestate that are handed on at least, by its specification */
#define CUT "... (cut)"

static const char *const type_names[SPAN_TYPES] = {"AGENT", "CHAIN", "CHAT_MODEL", "TOOL", "RETRIEVER", "EMBEDDING", "MEMORY"};

const char *span_type_name(enum span_type type)
{
	return type_names[type];
}

/* ------------------------------------------------------------------- memory */

/* NULL, and counted, when the trace has no room for it. */
static void *room(struct trace *t, size_t n)
{
	struct diag before = *diag_get();
	void *p;

	if (n > TRACE_BYTES_MAX - t->bytes) {
		t->left_out++;
		return NULL;
	}
	p = arena_zalloc(t->arena, n);
	if (!p) {
		*diag_get() = before;
		t->left_out++;
		return NULL;
	}
	t->bytes += n;
	return p;
}

/* A copy of the text in valid UTF-8, cut to most bytes; .p NULL: no room. */
static struct str text(struct trace *t, struct str s, size_t most)
{
	struct str whole = utf8_cut(s, most);
	bool cut = whole.n < s.n;
	char *p;
	size_t n = 0;

	p = room(t, whole.n + (cut ? sizeof CUT : 1));
	if (!p)
		return str_of(NULL, 0);
	/* Bytes that belong to no character become question marks. */
	for (size_t i = 0; i < whole.n;) {
		struct str rest = str_sub(whole, i, whole.n);
		size_t good = utf8_check(rest);

		memcpy(p + n, rest.p, good);
		n += good;
		i += good;
		if (i < whole.n) {
			p[n++] = '?';
			i++;
		}
	}
	if (cut) {
		memcpy(p + n, CUT, sizeof CUT - 1);
		n += sizeof CUT - 1;
	}
	return str_of(p, n);
}

static bool is_json(struct str s)
{
	const struct json_limits lim = {.depth = 128, .nodes = 100000, .bytes = TRACE_VALUE_MAX, .flags = JSON_DUP_OK};
	struct diag before = *diag_get();
	struct arena scratch;
	struct json doc;
	bool yes;

	arena_init(&scratch, (size_t)16 << 20);
	yes = json_parse(&scratch, s, &lim, &doc) == OK;
	arena_release(&scratch);
	*diag_get() = before;
	return yes;
}

/* What is too long is no JSON any more when it is cut, and what a model wrote may be none: it becomes a JSON string, of its
 * beginning. */
static struct str json_text(struct trace *t, struct str json)
{
	bool whole = json.n <= TRACE_VALUE_MAX / 2;
	struct buf b;
	struct str s;

	if (json.n <= TRACE_VALUE_MAX && is_json(json))
		return text(t, json, TRACE_VALUE_MAX);
	buf_init(&b, NULL, 8 * TRACE_VALUE_MAX);
	json_quote(&b, utf8_cut(json, TRACE_VALUE_MAX / 2));
	if (!whole && b.err == OK && b.n > 1) {
		b.n--;
		buf_lit(&b, CUT "\"");
	}
	s = b.err == OK && b.n <= TRACE_VALUE_MAX ? text(t, buf_slice(&b), TRACE_VALUE_MAX) : text(t, STR("\"" CUT "\""), 64);
	buf_release(&b);
	return s;
}

/* ------------------------------------------------------------------- traces */

static void identify(struct trace *t, struct str traceparent)
{
	struct traceparent tp;
	uint8_t seed[TRACE_ID_BYTES + sizeof t->seed];

	random_bytes(seed, sizeof seed);
	memcpy(t->id, seed, sizeof t->id);
	memcpy(&t->seed, seed + sizeof t->id, sizeof t->seed);
	t->id[0] |= 1; /* never all zeros */
	t->sampled = true;
	if (traceparent_parse(traceparent, &tp)) {
		memcpy(t->id, tp.trace, sizeof t->id);
		memcpy(t->caller, tp.span, sizeof t->caller);
		t->joined = true;
		t->sampled = tp.sampled;
	}
	hex_encode(t->id, sizeof t->id, t->hex);
}

/* It goes into the headers of other requests. */
static bool printable(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] > '~')
			return false;
	return true;
}

struct trace *trace_begin(struct tracer *tr, struct arena *a, const struct principal *who, struct str traceparent,
			  struct str tracestate)
{
	struct trace *t = tr ? ARENA_NEW(a, struct trace) : NULL;

	if (!t)
		return NULL;
	t->tracer = tr;
	t->arena = a;
	t->bytes = sizeof *t;
	t->contents = tr->contents;
	t->mono_ns = clock_mono_ns();
	t->began_ns = clock_wall_us() * 1000;
	t->tenant = text(t, who->tenant, NAME_MAX_BYTES);
	t->user = text(t, who->user, SESSION_MAX);
	t->state = t->thread = STR("");
	identify(t, traceparent);
	/* A list that is cut is no list any more. */
	if (t->joined && tracestate.n <= STATE_MAX && printable(tracestate))
		t->state = text(t, tracestate, STATE_MAX);
	return t->tenant.p && t->user.p && t->state.p ? t : NULL;
}

void trace_session(struct trace *t, struct str user, struct str thread, bool own_thread)
{
	struct str u, s;

	if (!t || t->closed)
		return;
	u = text(t, user, SESSION_MAX);
	s = text(t, thread, SESSION_MAX);
	t->user = u.p ? u : STR("");
	t->thread = s.p ? s : STR("");
	t->own_thread = own_thread;
}

struct str trace_mark(struct arena *a, const struct trace *t)
{
	char text[TRACEPARENT_BYTES + 1];
	struct traceparent tp = {.sampled = t && t->sampled};

	if (!t || !t->spans)
		return STR("");
	memcpy(tp.trace, t->id, sizeof tp.trace);
	memcpy(tp.span, t->spans->id, sizeof tp.span);
	traceparent_write(&tp, text);
	struct str s = arena_str(a, str_of(text, TRACEPARENT_BYTES));

	return s.p ? s : STR("");
}

void trace_follow(struct trace *t, struct str mark)
{
	struct traceparent tp;

	if (!t || t->closed || !traceparent_parse(mark, &tp))
		return;
	t->follows = true;
	t->turn = tp;
	t->sampled = tp.sampled;
}

void trace_end(struct trace *t)
{
	if (!t || t->closed)
		return;
	t->closed = true;
	if (!t->spans)
		return;
	for (struct trace_span *s = t->spans; s; s = s->next)
		if (!s->end_ns)
			s->end_ns = clock_mono_ns() - t->mono_ns;
	t->tracer->ops->take(t->tracer, t);
}

bool trace_seen_by(const struct trace *t, const struct principal *who)
{
	return str_eq(t->tenant, who->tenant) && principal_sees(who, t->user);
}

/* -------------------------------------------------------------------- spans */

/* Ids of one trace: distinct, and not to be guessed from each other's. */
static void span_id(struct trace *t, uint8_t out[SPAN_ID_BYTES])
{
	uint64_t z = t->seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	z = z ? z : 1;
	memcpy(out, &z, sizeof z);
}

struct trace_span *span_begin(struct trace *t, struct trace_span *parent, enum span_type type, struct str name)
{
	struct trace_span *s;

	if (!t || t->closed)
		return NULL;
	if (t->spans_n == TRACE_SPANS_MAX) {
		t->left_out++;
		return NULL;
	}
	s = room(t, sizeof *s);
	if (!s)
		return NULL;
	s->name = text(t, name, NAME_MAX_BYTES);
	if (!s->name.p)
		return NULL;
	s->trace = t;
	s->parent = parent ? parent : t->spans;
	s->type = type;
	s->input = s->output = s->sentence = STR("");
	span_id(t, s->id);
	s->start_ns = clock_mono_ns() - t->mono_ns;
	if (t->last)
		t->last->next = s;
	else
		t->spans = s;
	t->last = s;
	t->spans_n++;
	return s;
}

/* What a tool says of its failure may repeat what it was asked, or be its answer. */
static bool of_tool(const struct trace_span *s)
{
	while (s && s->type != SPAN_TOOL)
		s = s->parent;
	return s != NULL;
}

enum err span_end(struct trace_span *s, enum err e)
{
	if (!s || s->end_ns || s->trace->closed)
		return e;
	s->end_ns = clock_mono_ns() - s->trace->mono_ns;
	s->end_ns = s->end_ns > s->start_ns ? s->end_ns : s->start_ns + 1;
	s->status = e == OK ? SPAN_OK : SPAN_ERROR;
	if (e != OK) {
		const struct diag *d = diag_get();
		bool tell = d->code == e && d->text[0] && (s->trace->contents || !of_tool(s));
		struct str why = text(s->trace, str_c(tell ? d->text : err_name(e)), SENTENCE_MAX);

		s->sentence = why.p ? why : STR("");
		span_str(s, "error.type", str_c(err_name(e)));
	}
	return e;
}

static struct trace_attr *attr(struct trace_span *s, const char *key, enum attr_type type)
{
	struct trace_attr *x;

	if (!s || s->trace->closed)
		return NULL;
	for (x = s->attrs; x; x = x->next)
		if (str_eq(x->key, str_c(key)))
			break;
	if (!x) {
		x = room(s->trace, sizeof *x);
		if (!x)
			return NULL;
		x->key = str_c(key);
		if (s->last_attr)
			s->last_attr->next = x;
		else
			s->attrs = x;
		s->last_attr = x;
	}
	x->type = type;
	x->s = STR("");
	return x;
}

void span_str(struct trace_span *s, const char *key, struct str v)
{
	struct trace_attr *x = attr(s, key, ATTR_STR);
	struct str t = x ? text(s->trace, v, TRACE_VALUE_MAX) : v;

	if (x && t.p)
		x->s = t;
}

void span_json(struct trace_span *s, const char *key, struct str json)
{
	struct trace_attr *x = attr(s, key, ATTR_JSON);
	struct str t = x ? json_text(s->trace, json) : json;

	if (x)
		x->s = t.p ? t : STR("null");
}

void span_int(struct trace_span *s, const char *key, int64_t v)
{
	struct trace_attr *x = attr(s, key, ATTR_INT);

	if (x)
		x->i = v;
}

void span_double(struct trace_span *s, const char *key, double v)
{
	struct trace_attr *x = attr(s, key, ATTR_DOUBLE);

	if (x)
		x->d = v;
}

void span_bool(struct trace_span *s, const char *key, bool v)
{
	struct trace_attr *x = attr(s, key, ATTR_BOOL);

	if (x)
		x->i = v;
}

bool span_wants(const struct trace_span *s)
{
	return s && s->trace->contents && !s->trace->closed;
}

static void content(struct trace_span *s, struct str json, struct str *out)
{
	struct str t;

	if (!span_wants(s) || !json.n)
		return;
	t = json_text(s->trace, json);
	if (t.p)
		*out = t;
}

void span_input(struct trace_span *s, struct str json)
{
	if (s)
		content(s, json, &s->input);
}

void span_output(struct trace_span *s, struct str json)
{
	if (s)
		content(s, json, &s->output);
}

void span_context(const struct trace_span *s, struct trace_context *out)
{
	const struct trace *t = s ? s->trace : NULL;
	bool ours = t && t->sampled && t->tracer->sends;
	struct traceparent tp = {.sampled = t && t->sampled};

	*out = (struct trace_context){.parent = "", .state = STR("")};
	if (!ours && !(t && t->joined))
		return;
	memcpy(tp.trace, t->id, sizeof tp.trace);
	memcpy(tp.span, ours ? s->id : t->caller, sizeof tp.span);
	traceparent_write(&tp, out->parent);
	out->state = t->state;
}

/* ------------------------------------------------------------------- copies */

/* Fills one block from its beginning; with p NULL it only counts. */
struct block {
	char *p;
	size_t n;
};

static void *part(struct block *b, const void *from, size_t n)
{
	void *to = b->p ? b->p + b->n : NULL;

	if (to && n)
		memcpy(to, from, n);
	b->n += (n + 15) & ~(size_t)15;
	return to;
}

static void part_str(struct block *b, const struct str *from, struct str *to)
{
	char *p = b->p ? b->p + b->n : NULL;

	if (p && from->n)
		memcpy(p, from->p, from->n);
	b->n += from->n;
	if (p)
		*to = str_of(from->n ? p : "", from->n);
}

static void copy_attrs(struct block *b, const struct trace_span *from, struct trace_span *to)
{
	struct trace_attr **link = to ? &to->attrs : NULL;

	if (to)
		to->attrs = to->last_attr = NULL;
	for (const struct trace_attr *x = from->attrs; x; x = x->next) {
		struct trace_attr *y = part(b, x, sizeof *x);

		if (!y)
			continue;
		y->next = NULL;
		*link = to->last_attr = y;
		link = &y->next;
	}
}

static void copy_texts(struct block *b, const struct trace *from, struct trace *to)
{
	struct trace_span *s = to ? to->spans : NULL;

	part_str(b, &from->state, to ? &to->state : NULL);
	part_str(b, &from->tenant, to ? &to->tenant : NULL);
	part_str(b, &from->user, to ? &to->user : NULL);
	part_str(b, &from->thread, to ? &to->thread : NULL);
	for (const struct trace_span *x = from->spans; x; x = x->next, s = s ? s->next : NULL) {
		struct trace_attr *y = s ? s->attrs : NULL;

		part_str(b, &x->name, s ? &s->name : NULL);
		part_str(b, &x->sentence, s ? &s->sentence : NULL);
		part_str(b, &x->input, s ? &s->input : NULL);
		part_str(b, &x->output, s ? &s->output : NULL);
		for (const struct trace_attr *at = x->attrs; at; at = at->next, y = y ? y->next : NULL)
			part_str(b, &at->s, y ? &y->s : NULL); /* keys are static */
	}
}

/* The copy of a span in a copied trace. */
static const struct trace_span *twin(const struct trace *from, const struct trace *to, const struct trace_span *s)
{
	const struct trace_span *y = to->spans;

	for (const struct trace_span *x = from->spans; x; x = x->next, y = y->next)
		if (x == s)
			return y;
	return NULL;
}

static struct trace *copy_all(struct block *b, const struct trace *from)
{
	struct trace *to = part(b, from, sizeof *from);
	struct trace_span **link = to ? &to->spans : NULL;

	for (const struct trace_span *x = from->spans; x; x = x->next) {
		struct trace_span *y = part(b, x, sizeof *x);

		copy_attrs(b, x, y);
		if (!y)
			continue;
		y->trace = to;
		y->next = NULL;
		*link = to->last = y;
		link = &y->next;
		y->parent = x->parent ? twin(from, to, x->parent) : NULL;
	}
	copy_texts(b, from, to);
	return to;
}

struct trace *trace_copy(const struct trace *t)
{
	struct block b = {0};
	struct trace *copy;

	(void)copy_all(&b, t);
	b.p = malloc(b.n);
	if (!b.p)
		return NULL;
	b.n = 0;
	copy = copy_all(&b, t);
	copy->bytes = b.n;
	copy->arena = NULL;
	copy->tracer = NULL;
	copy->closed = true;
	atomic_init(&copy->refs, 1);
	return copy;
}

struct trace *trace_ref(struct trace *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void trace_unref(struct trace *t)
{
	if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
		free(t);
}

size_t trace_bytes(const struct trace *t)
{
	return t->bytes;
}
