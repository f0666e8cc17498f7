/* Rows to items: pages of results for a caller's function, and items by a list of names.
 *
 * Invariants
 *  1. A page of rows is bounded by what the page before it weighed: rows of 4 MiB come some at a time, small ones by the hundreds.
 *  2. fn runs on the loop's thread for small pages only (it may parse every value). */
#include "store/postgres/read.h"

#include "rt/work.h"

#define PAGE_BYTES (1u << 20)
/* What the loop's thread is trusted with: well below a millisecond of parsing. */
#define DIRECT_BYTES (64u << 10)
#define DIRECT_ROWS 256

const struct pg_stmt pg_rows_named = {
	ST_ROWS,
	LANE_SEARCH,
	"item_rows",
	"SELECT " PG_ITEM_COLUMNS " FROM unnest($1::text[], $2::text[]) WITH ORDINALITY u(prefix, key, n)"
	" CROSS JOIN LATERAL (SELECT t.*, t.xmin FROM @store t WHERE t.prefix = u.prefix AND t.key = u.key LIMIT 1) s"
	" LEFT JOIN LATERAL (SELECT i.id, i.mark, i.version, i.ttl_minutes, i.fact, i.valid_from, i.valid_to FROM @cenote_item i"
	" WHERE i.prefix = s.prefix AND i.key = s.key LIMIT 1) c ON true ORDER BY u.n",
};

struct give {
	struct pg_giver *g;
	const PGresult *r;
	int n;
};

static enum err give_task(void *arg)
{
	struct give *x = arg;
	struct pg_giver *g = x->g;
	for (int i = 0; i < x->n && !g->stopped; i++) {
		struct item it;
		if (pg_is_null(x->r, i, 0))
			continue;
		pg_item_read(x->r, i, &it);
		if (!pg_omitted(&it, g->omit_us))
			g->stopped = !g->fn(g->ctx, &it);
	}
	return OK;
}

static size_t weight(const PGresult *r, int n)
{
	size_t bytes = 0;
	for (int i = 0; i < n; i++)
		bytes += (size_t)PQgetlength(r, i, 2);
	return bytes;
}

/* Chooses the size of the next page. */
static void grow(struct pg_giver *g, size_t rows, size_t bytes)
{
	size_t fit = rows ? PAGE_BYTES / (bytes / rows + 1) : PG_PAGE_MAX;
	size_t page = 2 * (size_t)g->page;
	if (page > fit)
		page = fit;
	g->page = page > PG_PAGE_MAX ? PG_PAGE_MAX : page < 4 ? 4 : (unsigned)page;
}

enum err pg_give(struct pg_giver *g, const PGresult *r, int n)
{
	struct give x = {g, r, n};
	size_t bytes = weight(r, n);
	grow(g, (size_t)n, bytes);
	return n > DIRECT_ROWS || bytes > DIRECT_BYTES ? work_run(give_task, &x) : give_task(&x);
}

static enum err give_some(struct pg_giver *g, const PGresult *names, int from, int to)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	for (int col = 0; col < 2; col++) {
		pg_array(&p, PG_TEXTS, (size_t)(to - from));
		for (int i = from; i < to; i++)
			pg_el_str(&p, pg_get_str(names, i, col));
		pg_array_end(&p);
	}
	TRY(pg_query(g->t, &pg_rows_named, &p, &r));
	enum err e = pg_give(g, r, PQntuples(r));
	PQclear(r);
	return e;
}

enum err pg_give_named(struct pg_giver *g, const PGresult *names)
{
	int n = PQntuples(names);
	for (int at = 0, to; at < n && !g->stopped; at = to) {
		to = n - at < (int)g->page ? n : at + (int)g->page;
		TRY(give_some(g, names, at, to));
	}
	return OK;
}
