/* The PostgreSQL driver (Lakebase included): the tables that LangGraph's PostgresStore uses, and Cenote's own beside them. */
#ifndef CENOTE_STORE_POSTGRES_H
#define CENOTE_STORE_POSTGRES_H

#include "store/open.h"

/* conninfo: what libpq takes, a URL (postgresql://...) or "key=value ..."; it may be incomplete, then libpq's environment and
 * service files complete it. Connects, looks at the tables, makes what is missing where the role may. E_INVALID: conninfo or
 * options; E_BUSY: no connection (with the hints of product row S0-26); E_DENIED: login or rights (the sentence has the GRANTs);
 * E_CONFLICT: tables of another product or version (what was found, what to do). */
enum err postgres_store_open(struct str conninfo, const struct store_options *opt, struct store **out) MUST_CHECK;

/* commands.c, doctor.c: see store/open.h. */
enum err postgres_store_migrate(struct str conninfo, const struct store_options *opt, struct str tenant, bool dry_run, step_fn fn,
				void *ctx) MUST_CHECK;
enum err postgres_store_grants(struct str conninfo, const struct store_options *opt, struct str role, bool run, step_fn fn,
			       void *ctx) MUST_CHECK;
enum err postgres_store_doctor(struct str conninfo, const struct store_options *opt, finding_fn fn, void *ctx) MUST_CHECK;

#endif
