/* Where traces go: the last ones are kept in memory for `cenote traces`, and, when a collector is configured, all that are sampled
 * are sent to it (obs/export.c). The driver of core/trace.h.
 *
 *  1. Taking a trace never waits: it is copied once; kept and waiting traces are that copy.
 *  2. What is kept is at most `keep` traces of together `keep_bytes`; what waits to be sent is bounded as well. What does not fit
 * is dropped and counted.
 *  3. Headers and tokens for the collector reach no log and no sentence. */
#ifndef CENOTE_OBS_TRACES_H
#define CENOTE_OBS_TRACES_H

#include "base/buf.h"
#include "core/trace.h"

struct traces_header {
	struct str name, value;
};
struct traces_options {
	bool contents;
	uint32_t keep; /* traces; 0: none */
	size_t keep_bytes;
	/* Sending. */
	struct str endpoint;   /* whole URL; "" : nothing is sent */
	struct str experiment; /* of MLflow, its number; "" : no such header */
	struct str run;	       /* of MLflow; "" : none */
	struct str table;      /* of Databricks, catalog.schema.prefix_otel_spans; "" : none */
	struct str token;      /* bearer; "" : none */
	struct str headers;    /* k=v,k=v, percent-encoded; "" : none */
	struct str ca_file;
	uint32_t timeout_ms; /* of one request */
	uint32_t queue;	     /* traces that wait to be sent */
	uint32_t backoff_ms; /* after the first failure, doubled with each; 0: 500 */
};

struct traces;
/* Copies what it needs. *out NULL and OK: the options want neither. E_INVALID: endpoint or headers are wrong, with the sentence. */
enum err traces_open(const struct traces_options *opt, struct traces **out) MUST_CHECK;
/* Nobody may hand over traces any more, and traces_send must have returned. */
void traces_close(struct traces *tr);
/* For trace_begin; NULL when tr is NULL. */
struct tracer *traces_tracer(struct traces *tr);
/* Whether there is a collector to send to. */
bool traces_sends(const struct traces *tr);
/* Sends what comes, until its waits are cancelled or traces_drain has been called and all is sent. For one fiber of its own. */
void traces_send(struct traces *tr);
/* At the end: what waits is sent at once, and what fails then is dropped. Waits at most ms until traces_send has ended; then it
 * should be cancelled, and what was left counts as dropped. True: all is sent. Any thread, once. */
bool traces_drain(struct traces *tr, uint32_t ms);
/* cenote_traces_*; tr may be NULL. */
void traces_metrics(const struct traces *tr, struct buf *out);
/* Checks headers as traces_options has them; E_INVALID with the sentence, which shows no value. */
enum err traces_headers_check(struct str headers) MUST_CHECK;

#endif
