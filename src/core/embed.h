/* The port of encoders: texts into vectors that lie close together when the texts mean something close.
 *
 *  1. An embedder is one model: every vector that it gives has the same number of dimensions, is finite and has length 1.
 *  2. Calls come from fibers and from pool threads, several at once. What takes longer than 1 ms of CPU runs on the CPU pool
 *     (rt/work.h); what waits for a service parks the fiber.
 *  3. A text of any length is taken: what is beyond the model's window does not count. An empty text has a vector too.
 *  4. Texts never reach a log or a diagnostic. */
#ifndef CENOTE_CORE_EMBED_H
#define CENOTE_CORE_EMBED_H

#include "base/arena.h"

#define EMBED_BATCH_MAX 2048	  /* texts of a call */
#define EMBED_TEXT_MAX (1u << 20) /* bytes of a text that are looked at */
#define EMBED_DIMS_MAX 8192

struct embed_vectors {
	float *v; /* n times dims, one text after the other */
	uint32_t dims;
	size_t n;
	uint64_t tokens; /* what the model read, 0: it does not say */
};

struct trace_span;
struct embedder;
struct embed_ops {
	/* texts: n <= EMBED_BATCH_MAX of valid UTF-8. E_INVALID: the service refuses them (final); E_UPSTREAM, E_TIMEOUT, E_BUSY:
	 * try again later (diag.retry_after_s); E_CORRUPT: what came is no such vector. All or nothing. span: the step that this
	 * is, whose context a service gets; NULL: nobody traces. */
	enum err (*encode)(struct embedder *e, struct arena *a, const struct str *texts, size_t n, const struct trace_span *span,
			   struct embed_vectors *out) MUST_CHECK;
	void (*close)(struct embedder *e);
};
struct embedder {
	const struct embed_ops *ops;
	struct str model; /* name under which vectors are kept; another model has another name */
	uint32_t dims;	  /* 0: not known before the first answer of a service */
	uint32_t batch;	  /* texts that are best sent together */
};

static inline enum err embed_encode_traced(struct embedder *e, struct arena *a, const struct str *texts, size_t n,
					   const struct trace_span *span, struct embed_vectors *out)
{
	return e->ops->encode(e, a, texts, n, span, out);
}
static inline enum err embed_encode(struct embedder *e, struct arena *a, const struct str *texts, size_t n,
				    struct embed_vectors *out)
{
	return embed_encode_traced(e, a, texts, n, NULL, out);
}
static inline void embed_close(struct embedder *e)
{
	if (e)
		e->ops->close(e);
}

#endif
