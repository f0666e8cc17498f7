/* Vectors of what the store holds: made in the background of texts that have none by the model in use, one worker per process
 * (vectors_forever).
 *
 *  1. A write never waits for an encoder, and never fails because of one.
 *  2. What is to be done lies in the store alone (documents whose vector is missing or has another mark): it survives a restart,
 * and two processes on one store do at worst the same work twice.
 *  3. The model in use changes in one step, for all searches at once, when every document that was there at the start of the change
 *     has its vector by the new one; until then the old model's vectors serve.
 *  4. An encoder that fails is asked again after a pause that grows to a minute; a text that it refuses (E_INVALID) is left without
 *     a vector until it changes, and counted.
 *  5. A change of model is begun by the start of a process that has another one: while processes of two models run, the one that
 *     was started last decides. The old model serves as long as its encoder can be had (options.open); otherwise the new one is in
 *     use at once, for the texts that have its vectors already.
 *
 * Thread-safe, but for new and free. Every function but new takes v NULL: then there is no model, and nothing to wait for. */
#ifndef CENOTE_CORE_VECTORS_H
#define CENOTE_CORE_VECTORS_H

#include "core/embed.h"
#include "core/store.h"

struct vectors;
/* What is done with another program's vectors (core/foreign_vectors.h). AUTO: they are read and written once their model is
 * verified; ON: written, too, while there are none to verify it by; OFF: left alone. */
enum vectors_foreign { FOREIGN_AUTO, FOREIGN_ON, FOREIGN_OFF };
struct vectors_options {
	enum vectors_foreign foreign;
	/* Paths whose texts that program embeds when an item names none (LangGraph's "fields"); they outlive it. */
	const struct str *foreign_fields;
	size_t foreign_fields_n;
	struct str languages; /* as words_new takes them */
	uint32_t poll_ms;     /* how often a store that other processes write to is looked at; 0: 2000 */
	uint32_t question_ms; /* how long a question waits for its vector before search goes by words; 0: 3000 */
	/* For questions, of the same model: such as one with a cache, which texts that are seen once need not pass. NULL: embedder
	 */
	struct embedder *asker;
	/* Opens the encoder of a model that was in use before; the name is that of an embedder, dims those of its vectors.
	 * E_NOT_FOUND: it cannot be had any more. Called by the worker. NULL: never */
	enum err (*open)(void *ctx, struct str model, uint32_t dims, struct embedder **out);
	void *ctx;
};
/* embedder NULL: no vectors (everything works by words). The embedder must outlive it. */
enum err vectors_new(struct store *store, struct embedder *embedder, const struct vectors_options *opt,
		     struct vectors **out) MUST_CHECK;
void vectors_free(struct vectors *v); /* the worker must have ended; what it has not finished is done after the next start */
/* The worker: runs in a fiber of a loop that it may keep busy, until that is cancelled (E_CANCELLED). Without one, whoever calls
 * vectors_wait does its work. */
enum err vectors_forever(struct vectors *v) MUST_CHECK;

/* After a write of documents of this tenant: wakes the worker. Cheap, never waits. */
void vectors_wake(struct vectors *v, struct str tenant);
/* Are there to be vectors, whether or not the encoder has answered yet? */
bool vectors_wanted(const struct vectors *v);
/* The model whose vectors searches use now, "" : none. Into the arena. */
enum err vectors_model(struct vectors *v, struct arena *a, const struct principal *who, struct str *model) MUST_CHECK;
/* The question's vector by a model that vectors_model gave, into the arena (dims floats); *out NULL: its encoder cannot be had
 * (model
 * "" : there is none). E_UPSTREAM, E_TIMEOUT, ...: the encoder does not answer (in time), then search goes by words; at once when
 * it did not answer a moment ago. span: as in embed_ops. */
enum err vectors_question(struct vectors *v, struct arena *a, const struct principal *who, struct str model, struct str text,
			  const struct trace_span *span, float **out, uint32_t *dims) MUST_CHECK;
/* Returns when every document of the tenant that was there at the call has its vector (or was refused); E_TIMEOUT after ms (0:
 * never) or by the fiber's deadline; when the encoder fails meanwhile, what it failed with (E_UPSTREAM, E_TIMEOUT, ...). */
enum err vectors_wait(struct vectors *v, const struct principal *who, uint32_t ms) MUST_CHECK;
/* The same for what has been written lately, the caller's own writes among it: does not wait for texts that were there, without a
 * vector, when the process began to look (a million that were imported). */
enum err vectors_wait_new(struct vectors *v, const struct principal *who, uint32_t ms) MUST_CHECK;

struct vectors_state {
	struct str model, next; /* next: being made, "" : none */
	int64_t documents, done,
		refused; /* of the model being made, else of the one in use; pending = documents - done - refused */
	int64_t pending;
	bool counted;	    /* the walk through all of the tenant's documents has been completed; else pending is an
			       estimate, at most what has not been walked through yet */
	bool again;	    /* all vectors are being made again */
	int64_t lag_ms;	    /* age of the oldest text that waits, as far as known to this process */
	struct str trouble; /* why the encoder is not answering, "" : it is */
};
enum err vectors_state(struct vectors *v, struct arena *a, const struct principal *who, struct vectors_state *out) MUST_CHECK;
/* Texts of the tenant that wait for their vectors, as far as this process knows. Never waits. */
int64_t vectors_waiting(struct vectors *v, const struct principal *who);
/* Starts to make all vectors of the tenant again (the same model: those that are there are replaced). Goes on after a restart. */
enum err vectors_reindex(struct vectors *v, const struct principal *who) MUST_CHECK;
void vectors_metrics(struct vectors *v, struct buf *out);

#endif
