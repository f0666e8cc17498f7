/* A checkpoint as LangGraph's SQLite savers keep it - one serialized value with all its channels - taken apart into what the port
 * stores (contracts: langgraph 2.3, 2.5): JSON, and the values of channels as the bytes they are. Pure functions. */
#ifndef CENOTE_CORE_CHECKPOINT_SPLIT_H
#define CENOTE_CORE_CHECKPOINT_SPLIT_H

#include "core/thread_store.h"

#define SPLIT_CHANNELS_MAX 10000

struct ckpt_split {
	struct str checkpoint; /* JSON, a slice of the arena */
	/* Of channels that have a version; bytes point into the blob. */
	struct ckpt_value *values;
	size_t values_n;
};
/* type: "msgpack" (Python) or "json" (JavaScript, old Python); the blob must outlive out. Scalars of msgpack that jsonb keeps as
 * they are stay in the JSON; all else becomes a value. E_INVALID says what cannot be taken apart: another type, malformed bytes, a
 * value that is no JSON outside of channels, or in a channel without a version. */
enum err ckpt_split(struct arena *a, struct str type, struct str blob, struct ckpt_split *out) MUST_CHECK;

/* JSON as Python and JavaScript write it, in a form that every store takes: U+0000 in strings is left out, a lone surrogate becomes
 * U+FFFD; NaN and infinities become null. Anything else stays byte for byte, valid or not. */
enum err json_clean(struct arena *a, struct str text, struct str *out) MUST_CHECK;
/* A checkpoint's metadata, cleaned so; empty: {}. E_INVALID when it is no object. */
enum err ckpt_split_metadata(struct arena *a, struct str text, struct str *out) MUST_CHECK;

#endif
