/* The port of traces: what one turn did, step by step, with times. A trace is collected in the memory of the request that it is
 * about, and handed to a tracer when the turn has ended; the tracer copies it, keeps the last ones and sends them on.
 *
 *  1. Where a trace is not wanted its pointer is NULL, and so are the pointers of its spans: every function here takes NULL and
 * does nothing then. Nothing fails because of a trace: what does not fit is left out and counted.
 *  2. A trace has at most TRACE_SPANS_MAX spans and TRACE_BYTES_MAX bytes. It belongs to one request and is for one fiber at a
 * time.
 *  3. What people, models and tools said is in it only when the tracer wants contents: span_input and span_output drop it
 * otherwise. Keys and tokens are never in it; nobody may put them there.
 *  4. Every text in it is valid UTF-8.
 *  5. A trace that was handed over is never changed again. */
#ifndef CENOTE_CORE_TRACE_H
#define CENOTE_CORE_TRACE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/traceparent.h"
#include "core/principal.h"

#define TRACE_SPANS_MAX 256
#define TRACE_BYTES_MAX ((size_t)1 << 20)
#define TRACE_VALUE_MAX ((size_t)64 << 10) /* bytes of one text; longer ones are cut, and say so */

enum span_type { SPAN_AGENT, SPAN_CHAIN, SPAN_CHAT_MODEL, SPAN_TOOL, SPAN_RETRIEVER, SPAN_EMBEDDING, SPAN_MEMORY, SPAN_TYPES };
enum span_status { SPAN_UNSET, SPAN_OK, SPAN_ERROR };
enum attr_type { ATTR_STR, ATTR_JSON, ATTR_INT, ATTR_DOUBLE, ATTR_BOOL };

struct trace_attr {
	struct trace_attr *next;
	struct str key;
	enum attr_type type;
	struct str s; /* ATTR_STR, ATTR_JSON: a JSON value */
	int64_t i;    /* ATTR_INT, ATTR_BOOL */
	double d;     /* ATTR_DOUBLE */
};
struct trace_span {
	struct trace_span *next; /* in the order in which they began */
	struct trace *trace;
	const struct trace_span *parent; /* NULL: the root */
	struct str name;
	enum span_type type;
	uint8_t id[SPAN_ID_BYTES];
	uint64_t start_ns, end_ns; /* since the trace began, by the monotonic clock; end 0: not ended */
	enum span_status status;
	struct str sentence;	  /* of an error */
	struct str input, output; /* JSON values; "" : none */
	struct trace_attr *attrs, *last_attr;
};
struct trace {
	uint8_t id[TRACE_ID_BYTES];
	char hex[2 * TRACE_ID_BYTES + 1];
	uint8_t caller[SPAN_ID_BYTES]; /* of a joined trace: the caller's span, the root's parent */
	bool joined;		       /* the caller named the trace */
	bool sampled;		       /* it is to be sent on; false when the caller said so */
	bool contents;
	struct str state; /* the caller's tracestate; "" : none */
	bool follows;	  /* it is of work behind a turn: `turn` is the root of that turn's trace */
	struct traceparent turn;
	struct str tenant, user;
	struct str thread;	  /* what the turns of a conversation have in common; "" : nothing */
	bool own_thread;	  /* the caller did not name it */
	int64_t began_ns;	  /* Unix time */
	struct trace_span *spans; /* the first is the root */
	struct trace_span *last;
	uint32_t spans_n;
	uint32_t left_out; /* spans and values that found no room */
	/* private */
	struct tracer *tracer;
	struct arena *arena; /* NULL: a copy */
	size_t bytes;
	uint64_t mono_ns, seed;
	bool closed;
	atomic_uint refs; /* of a copy */
};

/* ---- tracers ---- */
struct tracer {
	const struct tracer_ops *ops;
	bool contents; /* what was said is wanted, too */
	bool sends;    /* what it takes reaches a collector */
};
struct tracer_ops {
	/* t has ended. The tracer copies what it wants to keep. Must not wait; from any thread. */
	void (*take)(struct tracer *tr, const struct trace *t);
	/* The last traces that `who` may see, newest first, at most most; each with a reference of its own. Returns how many. */
	size_t (*list)(struct tracer *tr, const struct principal *who, struct trace **out, size_t most);
	/* One of them by its id, or NULL. */
	struct trace *(*get)(struct tracer *tr, const struct principal *who, const uint8_t id[TRACE_ID_BYTES]);
};

/* Begins a trace with its arena as memory (which must live until trace_end). traceparent and tracestate as the caller sent them, or
 * "": one that is wrong counts as none. NULL when tr is NULL or memory is short. */
struct trace *trace_begin(struct tracer *tr, struct arena *a, const struct principal *who, struct str traceparent,
			  struct str tracestate);
/* Whose it is, and which conversation it is a turn of; own_thread: the caller did not name that. */
void trace_session(struct trace *t, struct str user, struct str thread, bool own_thread);
/* What work behind the turn needs to know of its trace: the root's traceparent, in a; "" : there is none. */
struct str trace_mark(struct arena *a, const struct trace *t);
/* The trace is of work behind the turn that mark is of: one of its own, which names that turn's, and goes to collectors only if
 * that one does. A mark that is "" or wrong changes nothing. */
void trace_follow(struct trace *t, struct str mark);
/* Ends it with all of its spans and hands it to the tracer, once; later calls do nothing. */
void trace_end(struct trace *t);
/* A copy in one piece of memory with one reference; NULL: out of memory. */
struct trace *trace_copy(const struct trace *t);
struct trace *trace_ref(struct trace *t);
void trace_unref(struct trace *t);
/* Bytes of a copy. */
size_t trace_bytes(const struct trace *t);
/* Whether this principal may see it: one of its tenant, and its user's. */
bool trace_seen_by(const struct trace *t, const struct principal *who);

/* ---- spans ---- */
static inline struct trace_span *trace_root(const struct trace *t)
{
	return t ? t->spans : NULL;
}
/* parent NULL: the root (when there is none yet), else below the root. name is copied. */
struct trace_span *span_begin(struct trace *t, struct trace_span *parent, enum span_type type, struct str name);
/* Below another one; NULL when that is NULL. */
static inline struct trace_span *span_below(struct trace_span *parent, enum span_type type, struct str name)
{
	return parent ? span_begin(parent->trace, parent, type, name) : NULL;
}
/* Ends it: OK, or the error with the sentence of the diagnostic (of tools and what lies below them only where contents are wanted,
 * else the error's name). Returns e, so that `return span_end(s, f())` works. */
enum err span_end(struct trace_span *s, enum err e);
/* Attributes; a second value of a key takes the place of the first. key: static. */
void span_str(struct trace_span *s, const char *key, struct str v);
void span_json(struct trace_span *s, const char *key, struct str json);
void span_int(struct trace_span *s, const char *key, int64_t v);
void span_double(struct trace_span *s, const char *key, double v);
void span_bool(struct trace_span *s, const char *key, bool v);
/* Whether contents are wanted; ask before making JSON of them. */
bool span_wants(const struct trace_span *s);
/* What went in and what came out, as JSON values; dropped unless contents are wanted. */
void span_input(struct trace_span *s, struct str json);
void span_output(struct trace_span *s, struct str json);
/* What a request to another service carries that the span is about. Where spans reach a collector, the span is the parent of what
 * that service does; else the caller's own context goes on as it came, since nobody would find ours; without one there is none. s
 * may be NULL; out is good as long as the trace is. */
void span_context(const struct trace_span *s, struct trace_context *out);
/* "AGENT", as MLflow has it. */
const char *span_type_name(enum span_type type);

#endif
