/* Rules of retention as they are parsed; private to core and its tests. */
#ifndef CENOTE_CORE_RETENTION_IMPL_H
#define CENOTE_CORE_RETENTION_IMPL_H

#include "core/checkpoint.h"

#define RETENTION_RULES_MAX 256
#define RETENTION_TEXT_MAX 65536

struct retention_rule {
	struct str tenant, prefix; /* tenant "*" : every one; prefix "" : every thread */
	struct ckpt_policy policy;
	bool prunes;	 /* the policy says something */
	int64_t idle_us; /* 0: never deleted */
	char text[80];	 /* the words, in one form: "last=10 days=30" */
};
struct retention {
	char *text; /* the rules' names point into it */
	struct retention_rule *v;
	size_t n;
};

/* The first rule that fits; NULL: none. r may be NULL. */
const struct retention_rule *retention_rule_of(const struct retention *r, struct str tenant, struct str thread);
/* retention_pass with the time given. */
enum err retention_pass_at(struct store *s, const struct principal *who, const struct retention *r, bool dry_run, int64_t now_us,
			   retention_fn fn, void *ctx) MUST_CHECK;

#endif
