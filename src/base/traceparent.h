/* W3C trace context: the header `traceparent`, 00-<32 hex>-<16 hex>-<2 hex> in lower case. Thread-safe. */
#ifndef CENOTE_BASE_TRACEPARENT_H
#define CENOTE_BASE_TRACEPARENT_H

#include "base/str.h"

#define TRACE_ID_BYTES 16
#define SPAN_ID_BYTES 8
#define TRACE_ID_HEX (2 * TRACE_ID_BYTES)

struct traceparent {
	uint8_t trace[TRACE_ID_BYTES], span[SPAN_ID_BYTES];
	bool sampled; /* bit 0 of the flags */
};
/* False for anything else, ids of zeros included. */
bool traceparent_parse(struct str s, struct traceparent *out);

#define TRACEPARENT_BYTES 55
/* The text of it, with its end. */
void traceparent_write(const struct traceparent *tp, char out[TRACEPARENT_BYTES + 1]);

/* The trace that a request to another service belongs to. */
struct trace_context {
	char parent[TRACEPARENT_BYTES + 1]; /* traceparent; "" : none */
	struct str state;		    /* tracestate; "" : none */
};

#endif
