/* Vectors of what the store holds: made in the background of texts that have none by the model in use, one worker per process.
 *
 *  1. A write never waits for an encoder, and never fails because of one.
 *  2. What is to be done lies in the store alone (documents whose vector is missing or has another mark): it survives a restart,
 * and two processes on one store do at worst the same work twice.
 *  3. The model in use changes in one step, for all searches at once, when every document that was there at the start of the change
 *     has its vector by the new one; until then the old model's vectors serve.
 *  4. An encoder that fails is asked again after a pause that grows to a minute; a text that it refuses (E_INVALID) is left without
 *     a vector until it changes, and counted.
 *
 * Thread-safe, but for new and free. */
#ifndef CENOTE_CORE_VECTORS_H
#define CENOTE_CORE_VECTORS_H

#include "core/embed.h"
#include "core/store.h"

struct vectors;
struct vectors_options {
	uint32_t poll_ms; /* how often a store that other processes write to is looked at; 0: 2000 */
};
/* embedder NULL: no vectors (everything works by words). The embedder must outlive it. */
enum err vectors_new(struct store *store, struct embedder *embedder, const struct vectors_options *opt,
		     struct vectors **out) MUST_CHECK;
void vectors_free(struct vectors *v); /* stops the worker; what it has not finished is done after the next start */

/* After a write of documents of this tenant: wakes the worker. Cheap, never waits. */
void vectors_wake(struct vectors *v, struct str tenant);
/* The model whose vectors searches use now, "" : none. Into the arena. */
enum err vectors_model(struct vectors *v, struct arena *a, const struct principal *who, struct str *model) MUST_CHECK;
/* The question's vector by that model, into the arena (dims floats); *v NULL: there is no model in use. */
enum err vectors_question(struct vectors *v, struct arena *a, const struct principal *who, struct str text, float **out,
			  uint32_t *dims) MUST_CHECK;
/* Returns when every document of the tenant that was there at the call has its vector (or was refused); E_TIMEOUT by the fiber's
 * deadline, E_UPSTREAM when the encoder fails meanwhile. */
enum err vectors_wait(struct vectors *v, const struct principal *who) MUST_CHECK;

struct vectors_state {
	struct str model, next;		  /* next: being made, "" : none */
	int64_t documents, done, refused; /* of the model being made, else of the one in use, as far as counted; pending = documents
					     - done - refused */
	bool counted;			  /* the walk through all of the tenant's documents has been completed since the start */
	int64_t lag_ms;			  /* age of the oldest text that waits, as far as known to this process */
	struct str trouble;		  /* why the encoder is not answering, "" : it is */
};
enum err vectors_state(struct vectors *v, struct arena *a, const struct principal *who, struct vectors_state *out) MUST_CHECK;
/* Starts to make all vectors of the tenant again (the same model: those that are there are replaced). */
enum err vectors_reindex(struct vectors *v, const struct principal *who) MUST_CHECK;
void vectors_metrics(struct vectors *v, struct buf *out);

#endif
