/* Private to the item reads of store/postgres (read_item.c, scan.c, walk.c, rows.c): handing rows to a caller's function. */
#ifndef CENOTE_STORE_PG_READ_H
#define CENOTE_STORE_PG_READ_H

#include "store/postgres/pg.h"

/* The row of store that c names: looked up once per row of c, by a subquery that cannot become another kind of join, so that a plan
 * made for other numbers of rows does no harm. */
#define PG_STORE_OF_C "(SELECT t.*, t.xmin FROM @store t WHERE t.prefix = c.prefix AND t.key = c.key LIMIT 1) s"

/* The first n rows of a select (of alias c) by order(alias). The planner must not know n: else it would rather read and sort a
 * whole namespace than follow the index, as soon as it believes that the namespace has no more than n rows. The outer limit bounds
 * what it expects. */
#define PG_FIRST(n, select, order)                                                                                                 \
	"SELECT o.* FROM (" select " ORDER BY " order("c") " LIMIT (SELECT " #n ")) o ORDER BY " order("o") " LIMIT " #n

static inline bool pg_omitted(const struct item *it, int64_t omit_us)
{
	return omit_us > 0 && it->expires_us > 0 && it->expires_us < omit_us;
}

struct pg_giver {
	struct pg_tenant *t;
	int64_t omit_us;
	item_fn fn;
	void *ctx;
	unsigned page; /* rows of the next page: grows while rows are small */
	bool stopped;  /* fn wants no more */
};
#define PG_PAGE_MAX 512

/* Hands the first n rows of r (PG_ITEM_COLUMNS first; without a prefix: no row) to fn: on the CPU pool when they are many. */
enum err pg_give(struct pg_giver *g, const PGresult *r, int n) MUST_CHECK;
/* Reads the items that are named in r (prefix and key are its columns 0 and 1), in that order and in pages, and hands them to fn;
 * those that are gone are left out. */
enum err pg_give_named(struct pg_giver *g, const PGresult *r) MUST_CHECK;

/* The statements; tests look at their plans. */
extern const struct pg_stmt pg_get_one, pg_get_by_id, pg_list_namespaces, pg_rows_named;
extern const struct pg_stmt pg_scan_own_few, pg_scan_own_more, pg_scan_few, pg_scan_more, pg_scan_list, pg_scan_list_all;
extern const struct pg_stmt pg_walk_page, pg_walk_list;

#endif
