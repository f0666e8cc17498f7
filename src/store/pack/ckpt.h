/* The parts of a checkpoint in fewer bytes, as the compact layouts of both drivers keep them: ids, types, versions, bodies, pending
 * writes. What does not have the usual form cannot be packed; whoever stores it says in a way of its own which it was, so that two
 * forms are never taken for each other. All of it is part of the stored format. Pure functions, thread-safe. */
#ifndef CENOTE_STORE_PACK_CKPT_H
#define CENOTE_STORE_PACK_CKPT_H

#include "core/checkpoint.h"
#include "store/pack/pack.h"

extern const struct json_limits pack_json;
#define PACK_ROOM (UINT64_C(1) << 30) /* no value that was written is longer */

/* ---- text.c */

/* A UUID in lower case; false: it is something else. */
bool pack_uuid(struct str s, uint8_t out[16]);
/* 36 characters; NULL .p: no memory. */
struct str pack_uuid_text(struct arena *a, const uint8_t p[16]);
/* The number of a usual type (0: "empty"), at most 9; -1: it has none. */
int pack_type(struct str type);
struct str pack_type_text(int k); /* "?" where there is no such number */
/* Digits, points and runs of zeros; room: s.n / 2 + 1 bytes. False: it is something else. */
bool pack_version(struct str s, uint8_t *room, size_t *n);
struct str pack_version_text(struct arena *a, struct str packed); /* NULL .p: no memory */
enum err pack_body(struct arena *a, struct str checkpoint, struct str metadata, struct str *out) MUST_CHECK;
enum err pack_unbody(struct arena *a, struct str body, struct str *checkpoint, struct str *metadata) MUST_CHECK;
/* channel_versions, by channel; slices of the arena or of checkpoint. E_CORRUPT: it is no JSON. */
struct pack_channel {
	struct str channel, version;
};
enum err pack_channels(struct arena *a, struct str checkpoint, struct pack_channel **out, size_t *n) MUST_CHECK;

/* ---- pending.c */

enum { MARK_INTERRUPT = 1, MARK_ERROR = 2 }; /* there are pending writes of __interrupt__, __error__ */
enum err pack_pending(struct arena *a, const struct ckpt_pending *w, size_t n, struct str *out) MUST_CHECK;
/* Appends to (*out)[0..*n). */
enum err pack_unpending(struct arena *a, struct str data, struct str task, struct ckpt_pending **out, size_t *n) MUST_CHECK;
/* What a task has after another call, by idx. */
enum err pack_pending_merge(struct arena *a, const struct ckpt_pending *old, size_t old_n, const struct ckpt_pending *w, size_t n,
			    bool replace, struct ckpt_pending **out, size_t *out_n) MUST_CHECK;
int pack_pending_marks(const struct ckpt_pending *w, size_t n);
/* In the order of core/thread_store.h. */
void pack_pending_sort(struct ckpt_pending *w, size_t n);

#endif
