/* Traces as OTLP: an ExportTraceServiceRequest in protobuf, written by hand, with the attributes that MLflow, OpenInference and the
 * conventions of OpenTelemetry for generative AI know; and what a collector answers. Thread-safe. */
#ifndef CENOTE_OBS_OTLP_H
#define CENOTE_OBS_OTLP_H

#include "base/buf.h"
#include "core/trace.h"

#define OTLP_ID_MAX 250	  /* characters of session.id and user.id: MLflow refuses the whole request above */
#define OTLP_TAG_MAX 4096 /* characters of a tag's value */

/* ---- the wire ---- */
/* One value: an attribute's, or a resource's. */
struct otlp_attr {
	struct str key;
	enum attr_type type; /* ATTR_JSON goes as a string */
	struct str s;
	int64_t i;
	double d;
};
struct otlp_span {
	const uint8_t *trace, *id, *parent; /* parent NULL: none */
	struct str state, name, message;
	int kind;
	int status;		   /* 0 unset, 1 ok, 2 error; unset is not written */
	uint64_t start_ns, end_ns; /* Unix time */
	const struct otlp_attr *attrs;
	size_t attrs_n;
	const struct traceparent *link; /* a span that this one follows from; NULL: none */
};
/* Appends TracesData.resource_spans of these spans. "" as scope_version: none. */
void otlp_write(struct buf *out, const struct otlp_attr *resource, size_t resource_n, struct str scope, struct str scope_version,
		const struct otlp_span *spans, size_t n);

/* ---- traces ---- */
/* The request that sends the traces; out->err is E_LIMIT when they do not fit. scratch is for the attributes. */
void otlp_request(struct buf *out, struct arena *scratch, struct trace *const *traces, size_t n);
/* At most n characters of s, on the border of one. */
struct str otlp_cut(struct str s, size_t n);

/* ---- the answer ---- */
/* Spans that a collector says it did not take (ExportTraceServiceResponse.partial_success), and its reason, a slice of body; 0 when
 * there is no such thing in the body, or it is none. */
uint64_t otlp_rejected(struct str body, struct str *why);

#endif
