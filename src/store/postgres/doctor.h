/* Private to doctor.c and doctor_sql.c: checks that are one query each. */
#ifndef CENOTE_STORE_PG_DOCTOR_H
#define CENOTE_STORE_PG_DOCTOR_H

#include <stddef.h>

/* Every row of the answer is a finding: level (ok, warn, fail), place, text, fix, figures (JSON or NULL). $1 is an object:
 * "home" (pg.schema), "schemas" (an array of the tenants' schemas), "pool_max", "statement_ms". */
struct pg_check {
	const char *name, *sql;
};
extern const struct pg_check pg_checks[];
extern const size_t pg_checks_n;

#endif
