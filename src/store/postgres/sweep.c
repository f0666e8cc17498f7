/* pg_sweep: deletes what has expired, over all tenants.
 *
 * Two Cenotes may sweep at once: rows that another has locked are left to it. Nothing is written when nothing has expired.
 * Tenants that another process has made are found within a minute. */
#include "store/postgres/pg.h"

#define AGAIN_US 1000000			   /* when to look again at what was locked */
#define PURGE_EVERY_NS (UINT64_C(60) * 1000000000) /* how often pg_purge is called, and tenants are looked for */

/* $1 op, $2 now, $3 at most. A row that somebody changes at this moment is looked at again when it is locked: it is only deleted
 * when it has expired still. */
static const struct pg_stmt st_sweep = {
	ST_SWEEP, LANE_WRITE, "sweep",
	"WITH o AS MATERIALIZED (SELECT s.prefix, s.key FROM @store s WHERE s.expires_at < $2::timestamptz ORDER BY s.expires_at"
	" LIMIT $3::bigint FOR UPDATE SKIP LOCKED),"
	" d AS (DELETE FROM @store t USING o WHERE t.prefix = o.prefix AND t.key = o.key RETURNING t.prefix, t.key),"
	" c AS (DELETE FROM @cenote_item i USING d WHERE i.prefix = d.prefix AND i.key = d.key RETURNING i.id, i.prefix),"
	" f AS (DELETE FROM @cenote_fact f USING d WHERE f.prefix = d.prefix AND f.key = d.key),"
	" g AS (DELETE FROM @cenote_fact WHERE ctid = ANY (ARRAY(SELECT ctid FROM @cenote_fact WHERE expires_at < $2::timestamptz"
	" ORDER BY expires_at LIMIT $3::bigint))),"
	" j AS (INSERT INTO @cenote_journal(op, step, kind, ids, names) SELECT $1::bigint, 0, 'i', coalesce(array_agg(-id), '{}'),"
	" coalesce(array_agg(prefix), '{}') FROM c HAVING (SELECT count(*) FROM d) > 0) SELECT count(*) FROM d"};
static const struct pg_stmt st_next = {ST_NEXT_EXPIRY, LANE_SEARCH, "next_expiry",
				       "SELECT least((SELECT min(expires_at) FROM @store WHERE expires_at IS NOT NULL), (SELECT "
				       "min(expires_at) FROM @cenote_fact WHERE expires_at IS NOT NULL))"};

static enum err next_expiry(struct pg_tenant *t, int64_t *out)
{
	struct pg_params none;
	PGresult *res;
	pg_params_init(&none);
	TRY(pg_query(t, &st_next, &none, &res));
	*out = pg_get_time(res, 0, 0);
	if (*out < 1 && !pg_is_null(res, 0, 0))
		*out = 1; /* 0 is "never", and other clients may write any time */
	PQclear(res);
	return OK;
}

static enum err sweep_some(struct pg_tenant *t, int64_t now_us, unsigned max, unsigned *removed)
{
	struct pg_params p;
	PGresult *res;
	bool repeated;
	int64_t op = pg_new_op();
	pg_params_init(&p);
	pg_i64(&p, op);
	pg_time(&p, now_us);
	pg_i64(&p, max);
	TRY(pg_write_gone(t, &st_sweep, &p, op, &res, &repeated));
	if (!repeated) /* else their number is lost, and the next sweep goes on */
		*removed = (unsigned)pg_get_i64(res, 0, 0);
	PQclear(res);
	return OK;
}

/* Every minute; at once again while there is more, so that the journal does not grow faster than it is emptied. */
static enum err purge(struct pg_tenant *t, int64_t now_us, int64_t *next_us)
{
	uint64_t now = clock_mono_ns();
	bool more;
	if (!atomic_load(&t->purge_more) && now - atomic_load(&t->purged_ns) < PURGE_EVERY_NS)
		return OK;
	atomic_store(&t->purged_ns, now);
	TRY(pg_purge(t, &more));
	atomic_store(&t->purge_more, more);
	if (more && (*next_us == 0 || *next_us > now_us))
		*next_us = now_us;
	return OK;
}

static enum err sweep_tenant(struct pg_tenant *t, int64_t now_us, unsigned max, unsigned *removed, int64_t *next_us)
{
	*removed = 0;
	TRY(next_expiry(t, next_us));
	if (*next_us != 0 && *next_us < now_us && max > 0) {
		TRY(sweep_some(t, now_us, max, removed));
		TRY(next_expiry(t, next_us));
		if (*removed < max && *next_us != 0 && *next_us < now_us) /* the rest is locked */
			*next_us = now_us + AGAIN_US;
	}
	return purge(t, now_us, next_us);
}

static bool known(void *ctx, struct str name)
{
	(void)ctx;
	(void)name;
	return true;
}

/* Listing makes tenants ready that nobody has used here yet. */
static enum err find_tenants(struct pg *s)
{
	if (clock_mono_ns() - atomic_load(&pg_home(s)->purged_ns) < PURGE_EVERY_NS)
		return OK;
	return pg_tenants(&s->base, known, NULL);
}

/* Copy of the list; the tenants live as long as the store. */
static enum err ready_tenants(struct pg *s, struct pg_tenant ***out, size_t *n)
{
	size_t it = 0;
	struct str name;
	void *v;
	*n = 0;
	pthread_mutex_lock(&s->tmu);
	*out = malloc((s->tenants.count + 1) * sizeof **out);
	while (*out && map_next(&s->tenants, &it, &name, &v)) {
		struct pg_tenant *t = v;
		if (atomic_load(&t->state) == PT_READY)
			(*out)[(*n)++] = t;
	}
	pthread_mutex_unlock(&s->tmu);
	return *out ? OK : err_set(E_LIMIT, "out of memory");
}

enum err pg_sweep(struct store *st, int64_t now_us, unsigned max, unsigned *removed, int64_t *next_us)
{
	struct pg_tenant **all;
	size_t n;
	enum err e = OK;
	*removed = 0;
	*next_us = 0;
	bool minute = clock_mono_ns() - atomic_load(&pg_home(pg_of(st))->purged_ns) >= PURGE_EVERY_NS;
	TRY(find_tenants(pg_of(st)));
	TRY(ready_tenants(pg_of(st), &all, &n));
	if (minute)
		e = pg_tables_look(pg_of(st), all, n);
	for (size_t i = 0; i < n; i++) {
		unsigned some = 0;
		int64_t next = 0;
		enum err one = sweep_tenant(all[i], now_us, max - *removed, &some, &next);
		*removed += some;
		if (one != OK) {
			e = one; /* with the last failure's sentence; the other tenants go on */
			continue;
		}
		if (next > 0 && (*next_us == 0 || next < *next_us))
			*next_us = next;
	}
	free(all);
	return e;
}
