/* Measures an encoder: how long calls take, how many texts, how many fail and how. Thread-safe. */
#ifndef CENOTE_EMBED_METER_H
#define CENOTE_EMBED_METER_H

#include "base/buf.h"
#include "core/embed.h"

/* Owns inner: closes it with itself, or when this fails. kind: constant text, the label. */
enum err embed_meter_open(struct embedder *inner, const char *kind, struct embedder **out) MUST_CHECK;
/* cenote_embed_duration_seconds, cenote_embed_texts_total, cenote_embed_errors_total in Prometheus text. e must be what
 * embed_meter_open gave. */
void embed_meter_write(struct embedder *e, struct buf *out);

#endif
