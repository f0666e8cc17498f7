/* Errors: a closed set, and beside it one human sentence, the diagnostic, which belongs to the running fiber (or thread).
 *
 * A function that can fail returns enum err. Whoever first sees the failure writes the diagnostic with err_set(); callers pass the
 * code on and may put context in front with err_wrap(). The diagnostic never holds secrets, nor text of users beyond what they sent
 * in the same request. Thread safety: each fiber and each thread has its own diagnostic. */
#ifndef CENOTE_BASE_ERR_H
#define CENOTE_BASE_ERR_H

#include "base/str.h"

enum err {
	OK = 0,
	E_INVALID,   /* the caller's input is wrong; diag says where and what is allowed */
	E_NOT_FOUND, /* what was named does not exist for this principal */
	E_CONFLICT,  /* exists already, or a precondition does not hold */
	E_DENIED,    /* no or wrong credentials, or not enough rights */
	E_LIMIT,     /* a size, rate, depth, count or quota is exceeded */
	E_BUSY,	     /* try again: queue full, draining, locked */
	E_TIMEOUT,   /* the deadline passed */
	E_CANCELLED, /* the client has gone, or the process stops */
	E_UPSTREAM,  /* a service that we call failed */
	E_IO,	     /* disk or socket of ours failed */
	E_CORRUPT,   /* stored data is damaged or of an unknown version */
	E_INTERNAL,  /* a bug: an invariant does not hold */
	E_COUNT
};

/* Which kind of limit or refusal it was; lets the HTTP layer choose the status without reading the sentence. */
enum err_kind {
	ERR_PLAIN = 0,
	ERR_SYNTAX,	     /* INVALID: could not be parsed at all (400); else a field is wrong (422) */
	ERR_SIZE,	     /* LIMIT: a body or value is too large (413) */
	ERR_RATE,	     /* LIMIT, BUSY: too many requests (429), of the caller or of us to a service that is needed */
	ERR_QUOTA,	     /* LIMIT: store or disk is full (507) */
	ERR_UNAUTHENTICATED, /* DENIED: no or bad credentials (401); else rights are missing (403) */
	ERR_PRECONDITION,    /* CONFLICT: If-Match or If-None-Match did not hold (412) */
	ERR_ABSENT,	     /* UPSTREAM: it answers that it has not what was named; asking again does not help */
	ERR_LOCKED,	     /* BUSY: somebody else holds what is to be changed, for too long */
};

struct diag {
	enum err code;
	enum err_kind kind;
	unsigned retry_after_s; /* 0: not stated */
	int64_t position;	/* byte offset in the input, -1: none */
	char field[160];	/* JSON pointer or parameter name, "" : none */
	char text[512];		/* one sentence, without a full stop at the end when it is a fragment */
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* The diagnostic of the running fiber, or of this thread outside any fiber. Never NULL. */
struct diag *diag_get(void);
/* Used by rt when it switches fibers: makes d (NULL: the thread's own) the current diagnostic of this thread. */
void diag_use(struct diag *d);
void diag_clear(void);

/* Replaces the diagnostic (kind PLAIN, no field, no position) and returns code. */
enum err err_set(enum err code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same with kind. */
enum err err_kind(enum err code, enum err_kind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for a field; field is a JSON pointer ("/limit") or a parameter name; position -1: unknown. */
enum err err_field(enum err code, const char *field, int64_t position, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Puts "fmt: " before the sentence that is there and returns code unchanged. */
enum err err_wrap(enum err code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "E_INVALID" -> "invalid"; for logs and metrics. Never NULL. */
const char *err_name(enum err code);

/* For the one-exit-label style: CHECK(expr) leaves to `out` with e set when expr is not OK. */
#define CHECK(expr)                                                                                                                \
	do {                                                                                                                       \
		e = (expr);                                                                                                        \
		if (e != OK)                                                                                                       \
			goto out;                                                                                                  \
	} while (0)
/* Where nothing has to be undone. */
#define TRY(expr)                                                                                                                  \
	do {                                                                                                                       \
		enum err try_e_ = (expr);                                                                                          \
		if (try_e_ != OK)                                                                                                  \
			return try_e_;                                                                                             \
	} while (0)

#endif
