/* Frames: a JSON head with the bytes of values behind it, and the checkpoint operations that such a head asks for
 * (docs/checkpoints.md). Reading copies no bytes of values: what is read points into the body and the arena. */
#ifndef CENOTE_API_NATIVE_FRAMES_H
#define CENOTE_API_NATIVE_FRAMES_H

#include "core/checkpoint.h"

#define FRAMES_TYPE "application/vnd.cenote.frames"
#define FRAMES_OPS_MAX 1000

enum ck_kind { CKO_PUT, CKO_WRITES, CKO_GET, CKO_LIST, CKO_HISTORY, CKO_DELETE_THREAD, CKO_DELETE_RUNS, CKO_COPY, CKO_PRUNE };

struct ck_op {
	enum ck_kind kind;
	union {
		struct ckpt_change change;
		struct ckpt_query query; /* get, history */
		struct {
			struct ckpt_list q;
			struct str thread, ns; /* what q points to */
			bool limited;	       /* q.limit is the caller's */
		} list;
		struct {
			struct str from, to;
		} names; /* delete_thread has from alone */
		struct {
			struct str *v;
			size_t n;
			bool drop_all; /* prune */
		} many;		       /* delete_runs, prune */
	};
	/* out, set by whoever runs it */
	bool done;
	enum err err;
	struct diag *diag; /* of err, in the arena */
	struct str result; /* JSON */
};

/* Splits a body into its head, parsed, and the rest. E_INVALID/ERR_SYNTAX when the frame is malformed. */
enum err frames_split(struct arena *a, struct str body, struct json *head, struct str *rest) MUST_CHECK;
/* The operations of a body, 1 to FRAMES_OPS_MAX. Every refusal names its field from the head's root: "/ops/3/values/1/3". */
enum err frames_read(struct arena *a, struct str body, struct ck_op **ops, size_t *n) MUST_CHECK;

/* Where a listing goes on, as text for clients. */
enum err frames_cursor(struct arena *a, const struct ckpt_full *last, struct str *out) MUST_CHECK;

#endif
