/* What the files of obs/ share. */
#ifndef CENOTE_OBS_IMPL_H
#define CENOTE_OBS_IMPL_H

#include <pthread.h>

#include "http/outbound.h"
#include "obs/traces.h"

#define HEADERS_MAX 32

enum drop { DROP_QUEUE, DROP_REFUSED, DROP_SHUTDOWN, DROP_MEMORY, DROP_REASONS };

/* The last traces, in a ring. */
struct kept {
	struct trace **v; /* room for `most` */
	uint32_t most, first, n;
	size_t bytes, most_bytes;
};
/* What waits to be sent, in a ring. */
struct line {
	struct trace **v;
	uint32_t most, first, n;
	size_t bytes;
};

struct traces {
	struct tracer base;
	struct arena arena;
	pthread_mutex_t lock; /* guards kept, line, idle, draining */
	struct kept kept;
	struct line line;
	bool idle;		       /* the sender waits for wake_fd */
	bool draining;		       /* no more pauses: what cannot be sent now is dropped */
	uint64_t drain_end;	       /* then: when sending has to be over */
	int wake_fd, stop_fd, done_fd; /* eventfds: something came; drain; traces_send has ended */
	struct outbound *out;	       /* NULL: nothing is sent */
	struct str url, token;
	struct outbound_header headers[HEADERS_MAX];
	size_t headers_n;
	uint32_t timeout_ms, backoff_ms;
	bool databricks;
	_Atomic uint64_t taken, sent, spans, requests, failures, dropped[DROP_REASONS];
	_Atomic uint64_t waiting; /* line.n, and what is being sent */
};

/* ---- traces.c ---- */
void traces_count_drop(struct traces *tr, enum drop why, uint64_t n);
/* At most `most` traces of about `bytes`, oldest first, with their references. */
size_t traces_next(struct traces *tr, struct trace **out, size_t most, size_t bytes);

/* ---- export_headers.c ---- */
enum err traces_headers(struct traces *tr, const struct traces_options *opt) MUST_CHECK;

#endif
