/* A whole thread as text: JSON Lines that a thread is exported to and imported from, on whatever store.
 *
 *   {"cenote_thread":1,"thread":"t"}
 *   {"record":{"user":"u" or null,"metadata":{},"config":{},"ttl_minutes":N,"ttl_strategy":"delete" or "keep_latest"}}
 *   {"message":{...}}      core/session.h
 *   {"entry":{...}}        of a session; {"entry_text":"..."} where it is not JSON by RFC 8259 (NaN)
 *   {"checkpoint":{"ns","id","parent","checkpoint":{},"metadata":{},"values":[[channel,version,type,BYTES]..],
 *                  "writes":[[task_id,task_path,idx,channel,type,BYTES]..]}}
 *   {"sha256":"..."}       of all lines above
 *
 * Checkpoints come oldest first, each with the values that no earlier one had. BYTES is base64url without padding. */
#ifndef CENOTE_CORE_THREAD_FILE_H
#define CENOTE_CORE_THREAD_FILE_H

#include "core/memory.h"

struct thread_export;
/* E_NOT_FOUND. a: what is remembered between calls (names of checkpoints and of versions). */
enum err thread_export_begin(struct memory *m, struct arena *a, const struct principal *who, struct str thread,
			     struct thread_export **out) MUST_CHECK;
/* Appends some lines to out, at least one until *done. */
enum err thread_export_next(struct thread_export *x, struct buf *out, bool *done) MUST_CHECK;
/* NULL is harmless. */
void thread_export_end(struct thread_export *x);

struct thread_imported {
	struct str thread;
	size_t messages, entries, checkpoints;
};
/* The text as thread `to`, "" : the name that stands in it. E_CONFLICT when anything lies under the name. What was written of a
 * text that fails half-way is removed again. E_INVALID names the line. */
enum err thread_import(struct memory *m, struct arena *a, const struct principal *who, struct str text, struct str to,
		       struct thread_imported *out) MUST_CHECK;

#endif
