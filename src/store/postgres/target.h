/* Private to target.c and login.c: what to connect to, as libpq has understood it. Read-only after pg_target_new, but for the
 * atomics and what the credential keeps. */
#ifndef CENOTE_STORE_PG_TARGET_H
#define CENOTE_STORE_PG_TARGET_H

#include "store/postgres/pg.h"

#define TARGET_HOSTS_MAX 32
#define TARGET_PARAMS_MAX 80

struct pg_target_host {
	const char *host, *addr, *port; /* NULL: libpq's default */
};
struct pg_target {
	struct arena arena;
	/* For libpq: everything that is the same for every login; the password too when it is a fixed one. */
	const char *key[TARGET_PARAMS_MAX], *value[TARGET_PARAMS_MAX];
	unsigned n;
	struct pg_target_host host[TARGET_HOSTS_MAX]; /* tried one by one, so that each has its time */
	unsigned hosts;
	const char *attrs;		/* target_session_attrs */
	const char *options, *backstop; /* the user's own startup options, and the same with our statement_timeout and isolation */
	const char *user, *db;		/* for sentences */
	struct str text;		/* pg_target_text */
	bool lakebase;
	uint32_t connect_ms, recycle_ms;
	struct pg_credential *cred; /* NULL: none of ours */
	atomic_bool plain;	    /* a pooler does not take our startup options */
	atomic_uint first;	    /* the host that was good last, when only one can be */
};

#endif
