/* Rows that others wrote: found by comparing each row's xmin with the mark in cenote_item, and taken in ("adopted"): a row of
 * cenote_item is made or renewed for each that differs, without a document (core makes it), and removed where the row of store has
 * gone. A scope is compared only when the epoch has moved since it was last found equal.
 *
 * Invariants
 *  1. A scope's epoch is one that was read before a comparison that found no difference was sent.
 *  2. Taking in never waits for a lock: rows that somebody else has locked are left for the next comparison (SKIP LOCKED). It holds
 *     the locks of the rows of store whose cenote_item it changes, and re-checks the marks under them, so that a put of ours that
 * was faster is not undone.
 *  3. What was taken in is in the ring before the caller, or who waits for it, goes on. */
#include "store/postgres/pg_feed.h"

#define DIFFERENCES_MAX 20000 /* in one comparison; then again */
#define ADOPT_CHUNK 5000
#define ROUNDS_MAX 4 /* comparisons that found few differences, for one caller */
/* A scope so large that a comparison takes longer than LONG_NS rests afterwards for REST_NS, as does one that could not be made
 * equal; every other one is compared whenever the epoch has moved. */
#define LONG_NS UINT64_C(250000000)
#define REST_NS UINT64_C(1000000000)
#define COMPLAIN_NS (UINT64_C(60) * 1000000000)

static const struct pg_stmt st_verify = {
	ST_VERIFY, LANE_SCAN, "verify",
	"SELECT s.prefix, s.key, c.id, c.mark FROM (SELECT prefix, key, xmin AS mark FROM @store "
	"WHERE " PG_BELOW("prefix", 1, 2, 3) ") s FULL JOIN (SELECT id, prefix, key, mark FROM @cenote_item "
					     "WHERE " PG_BELOW("prefix", 1, 2,
							       3) ") c ON c.prefix = s.prefix AND c.key = s.key WHERE "
								  "c.mark IS DISTINCT FROM s.mark LIMIT 20000"};
enum { V_PREFIX, V_KEY, V_ID, V_MARK };

static const struct pg_stmt st_adopt = {
	ST_ADOPT, LANE_WRITE, "adopt",
	"WITH want AS (SELECT s.prefix, s.key, s.xmin AS mark, coalesce(s.updated_at, s.created_at, 'epoch') AS updated_at,"
	" coalesce(s.ttl_minutes, 0) AS ttl FROM unnest($2::text[], $3::text[]) v(prefix, key) JOIN @store s ON s.prefix = v.prefix"
	" AND s.key = v.key ORDER BY s.prefix USING ~<~, s.key USING ~<~ FOR NO KEY UPDATE OF s SKIP LOCKED),"
	" made AS (INSERT INTO @cenote_item AS c (mark, version, updated_at, ttl_minutes, prefix, key)"
	" SELECT mark, mark::text::bigint << 20, updated_at, ttl, prefix, key FROM want"
	" ON CONFLICT (prefix text_pattern_ops, key text_pattern_ops) DO UPDATE SET mark = excluded.mark, version ="
	" excluded.version, updated_at = excluded.updated_at, ttl_minutes = excluded.ttl_minutes, terms = NULL"
	" WHERE c.mark IS DISTINCT FROM excluded.mark RETURNING c.id, c.prefix),"
	" lone AS (SELECT c.id FROM unnest($4::bigint[], $5::bigint[]) o(id, mark) JOIN @cenote_item c ON c.id = o.id AND"
	" c.mark = o.mark::text::xid WHERE NOT EXISTS (SELECT FROM @store s WHERE s.prefix = c.prefix AND s.key = c.key)"
	" ORDER BY c.id FOR UPDATE OF c SKIP LOCKED),"
	" gone AS (DELETE FROM @cenote_item c USING lone WHERE c.id = lone.id RETURNING c.id, c.prefix, c.key),"
	" past AS (DELETE FROM @cenote_fact f USING gone WHERE f.prefix = gone.prefix AND f.key = gone.key),"
	" changed AS (SELECT id, prefix FROM made UNION ALL SELECT -id, prefix FROM gone)"
	" INSERT INTO @cenote_journal(op, step, kind, ids, names) SELECT $1, 0, 'i', coalesce(array_agg(id), '{}'),"
	" coalesce(array_agg(prefix), '{}') FROM changed RETURNING cardinality(ids)"};

/* ---------------------------------------------------------------- scopes */

static void scope_free(struct pg_feed *f, struct pg_scope_state *sc)
{
	list_del(&sc->lru);
	(void)map_del(&f->scopes, str_c(sc->name));
	free(sc->name);
	free(sc);
}

void pg_scopes_free(struct pg_feed *f)
{
	LIST_EACH (node, &f->lru)
		scope_free(f, CONTAINER(node, struct pg_scope_state, lru));
	map_release(&f->scopes);
}

/* Makes room when there are too many; those that somebody works on or waits for stay. */
static void scopes_trim(struct pg_feed *f)
{
	LIST_EACH (node, &f->lru) {
		struct pg_scope_state *sc = CONTAINER(node, struct pg_scope_state, lru);

		if (f->scopes.count < PG_SCOPES_MAX)
			return;
		if (!sc->busy_until && list_empty(&sc->waiting))
			scope_free(f, sc);
	}
}

/* Under mu; NULL: out of memory. */
static struct pg_scope_state *scope_get(struct pg_feed *f, struct str prefix)
{
	struct pg_scope_state *sc = map_get(&f->scopes, prefix);

	if (sc) {
		list_del(&sc->lru);
		list_add_tail(&f->lru, &sc->lru);
		return sc;
	}
	scopes_trim(f);
	sc = calloc(1, sizeof *sc);
	if (!sc)
		return NULL;
	list_init(&sc->waiting);
	list_add_tail(&f->lru, &sc->lru);
	sc->name = prefix.n ? strndup(prefix.p, prefix.n) : strdup("");
	if (sc->name && map_put(&f->scopes, prefix, sc, NULL) == OK)
		return sc;
	list_del(&sc->lru);
	free(sc->name);
	free(sc);
	return NULL;
}

/* Under mu: was the scope, or one that it lies in, found equal at this epoch? */
static bool is_equal(struct pg_feed *f, struct str prefix, uint64_t epoch)
{
	for (;;) {
		struct pg_scope_state *sc = map_get(&f->scopes, prefix);
		size_t n = prefix.n;

		if (sc && sc->epoch >= epoch) {
			list_del(&sc->lru);
			list_add_tail(&f->lru, &sc->lru);
			return true;
		}
		if (n == 0)
			return false;
		while (n > 0 && prefix.p[n - 1] != '.')
			n--;
		prefix.n = n ? n - 1 : 0;
	}
}

/* -------------------------------------------------------------- comparing */

struct verify {
	struct pg_tenant *t;
	struct str prefix;
	uint64_t epoch; /* as of the last comparison */
	bool equal, refused;
	int64_t adopted;
};

static enum err compare(struct verify *v, PGresult **r)
{
	struct pg_feed *f = v->t->feed;
	struct pg_params p;

	pthread_mutex_lock(&f->mu);
	v->epoch = f->epoch;
	pthread_mutex_unlock(&f->mu);
	pg_params_init(&p);
	pg_scope(&p, v->prefix);
	return pg_query(v->t, &st_verify, &p, r);
}

static void complain(struct pg_tenant *t, const char *why)
{
	struct pg_feed *f = t->feed;
	uint64_t now = clock_mono_ns();
	bool due;

	pthread_mutex_lock(&f->mu);
	due = f->complained_ns == 0 || now - f->complained_ns >= COMPLAIN_NS;
	if (due)
		f->complained_ns = now;
	pthread_mutex_unlock(&f->mu);
	if (due)
		LOG(LOG_WARN, "store", "items that other clients wrote cannot be indexed", LF_C("tenant", t->name),
		    LF_C("reason", why));
}

/* Rows [from, to) of r with (names) or without a row of store. */
static size_t count(const PGresult *r, int from, int to, bool names)
{
	size_t n = 0;

	for (int i = from; i < to; i++)
		n += pg_is_null(r, i, V_PREFIX) != names;
	return n;
}

static void adopt_params(struct pg_params *p, int64_t op, const PGresult *r, int from, int to)
{
	size_t names = count(r, from, to, true), lone = count(r, from, to, false);

	pg_params_init(p);
	pg_i64(p, op);
	for (int col = V_PREFIX; col <= V_KEY; col++) {
		pg_array(p, PG_TEXTS, names);
		for (int i = from; i < to; i++)
			if (!pg_is_null(r, i, V_PREFIX))
				pg_el_str(p, pg_get_str(r, i, col));
		pg_array_end(p);
	}
	for (int col = V_ID; col <= V_MARK; col++) {
		pg_array(p, PG_INT8S, lone);
		for (int i = from; i < to; i++)
			if (pg_is_null(r, i, V_PREFIX))
				pg_el_i64(p, pg_get_i64(r, i, col));
		pg_array_end(p);
	}
}

/* The server will not have it, now or ever, but can still be read: read only, no right, no room, a limit. */
static bool is_refusal(const char *sqlstate)
{
	static const char *const classes[] = {"25", "42501", "53", "54", "55"};

	for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
		if (strncmp(sqlstate, classes[i], strlen(classes[i])) == 0)
			return true;
	return false;
}

/* *n: rows that were taken in. What the server refuses is no error here (v->refused). */
static enum err adopt_chunk(struct verify *v, const PGresult *r, int from, int to, int64_t *n)
{
	struct pg_params p, gone;
	struct pg_step steps[2] = {{&st_adopt, &p, NULL}, {&pg_vectors_gone, &gone, NULL}};
	struct pg_job j = {.t = v->t, .steps = steps, .n = 2, .lane = LANE_WRITE, .write = true};
	int64_t op = pg_new_op();
	enum err e;

	adopt_params(&p, op, r, from, to);
	pg_params_init(&gone);
	pg_i64(&gone, op);
	e = pg_run(&j);
	pg_params_release(&p);
	pg_params_release(&gone);
	*n = 0;
	if (e == OK)
		*n = j.repeated ? 1 : pg_get_i64(steps[0].res, 0, 0);
	else if (is_refusal(j.sqlstate)) {
		v->refused = true;
		complain(v->t, diag_get()->text);
		e = OK;
	}
	pg_job_clear(&j);
	return e;
}

static enum err adopt(struct verify *v, const PGresult *r, int64_t *n)
{
	int rows = PQntuples(r);

	*n = 0;
	for (int at = 0; at < rows && !v->refused; at += ADOPT_CHUNK) {
		int64_t some;

		TRY(adopt_chunk(v, r, at, rows - at < ADOPT_CHUNK ? rows : at + ADOPT_CHUNK, &some));
		*n += some;
	}
	v->adopted += *n;
	return OK;
}

bool pg_feed_on_standby(struct pg_feed *f)
{
	pthread_mutex_lock(&f->mu);
	bool yes = f->recovery;
	pthread_mutex_unlock(&f->mu);
	return yes;
}

/* Compares and takes in until nothing differs, or nothing more can be done. */
static enum err run(struct verify *v)
{
	struct pg_feed *f = v->t->feed;
	int64_t n = 1;

	for (int round = 0; round < ROUNDS_MAX && n > 0 && !v->refused;) {
		PGresult *r;
		enum err e = OK;

		TRY(compare(v, &r));
		v->equal = PQntuples(r) == 0;
		round += PQntuples(r) < DIFFERENCES_MAX;
		if (v->equal) {
			n = 0;
		} else if (pg_feed_on_standby(f)) {
			v->refused = true;
			complain(v->t, "the server is a standby, which cannot be written to");
		} else {
			e = adopt(v, r, &n);
		}
		PQclear(r);
		TRY(e);
	}
	return OK;
}

static void note(struct verify *v, struct pg_scope_state *sc, enum err e, uint64_t begun)
{
	uint64_t now = clock_mono_ns();
	bool is_long = v->adopted == 0 && now - begun > LONG_NS;
	uint64_t rest = v->refused || is_long ? REST_NS : 0;

	if (e == OK && v->equal && sc->epoch < v->epoch)
		sc->epoch = v->epoch;
	if (sc->rest_until < now + rest)
		sc->rest_until = now + rest;
}

static void tally(struct verify *v, enum err e, uint64_t begun)
{
	struct pg_feed *f = v->t->feed;

	atomic_fetch_add(e != OK || !v->equal ? &f->incomplete : v->adopted ? &f->adopting : &f->equal, 1);
	atomic_fetch_add(&f->adopted, (unsigned long long)v->adopted);
	atomic_fetch_add(&f->verify_ns, clock_mono_ns() - begun);
	if (v->refused || (e == OK && v->equal))
		atomic_store(&f->unadopted, v->refused);
}

/* ------------------------------------------------------------- taking turns */

enum turn { T_EQUAL, T_RESTS, T_MINE, T_WAIT, T_NOMEM };

static enum turn turn(struct pg_feed *f, struct str prefix, uint64_t epoch, struct pg_waiter *w)
{
	struct pg_scope_state *sc;
	enum turn what = T_MINE;

	pthread_mutex_lock(&f->mu);
	sc = is_equal(f, prefix, epoch) ? NULL : scope_get(f, prefix);
	if (!sc) {
		what = is_equal(f, prefix, epoch) ? T_EQUAL : T_NOMEM;
	} else if (sc->busy_until && w->deadline >= sc->busy_until) {
		event_init(&w->ev);
		list_add_tail(&sc->waiting, &w->node);
		what = T_WAIT;
	} else if (clock_mono_ns() < sc->rest_until) {
		what = T_RESTS;
	} else if (!sc->busy_until) {
		sc->busy_until = w->deadline;
		w->lead = true;
	}
	pthread_mutex_unlock(&f->mu);
	return what;
}

/* leads: others may wait for it. */
static enum err mine(struct pg_tenant *t, struct str prefix, bool leads, bool *exact)
{
	struct verify v = {.t = t, .prefix = prefix};
	struct pg_feed *f = t->feed;
	uint64_t begun = clock_mono_ns();
	struct pg_scope_state *sc;
	struct list waiting;
	enum err e = run(&v);

	tally(&v, e, begun);
	if (e == OK) /* also for what another process took in after our sync and before our comparison */
		e = pg_sync(t);
	*exact = v.equal;
	list_init(&waiting);
	pthread_mutex_lock(&f->mu);
	sc = map_get(&f->scopes, prefix);
	if (sc)
		note(&v, sc, e, begun);
	if (sc && leads) {
		sc->busy_until = 0;
		pg_list_move(&sc->waiting, &waiting);
	}
	pthread_mutex_unlock(&f->mu);
	pg_wake(&waiting, e);
	return e;
}

enum err pg_verify(struct pg_tenant *t, struct str prefix, bool *exact)
{
	bool was;

	return pg_verify_was(t, prefix, exact, &was);
}

enum err pg_verify_was(struct pg_tenant *t, struct str prefix, bool *exact, bool *was)
{
	struct pg_feed *f = t->feed;
	uint64_t epoch;

	*exact = false;
	*was = true;
	TRY(pg_sync(t));
	pthread_mutex_lock(&f->mu);
	epoch = f->epoch;
	pthread_mutex_unlock(&f->mu);
	for (;; *was = false) {
		struct pg_waiter w = {.deadline = fiber_deadline()};

		switch (turn(f, prefix, epoch, &w)) {
		case T_EQUAL:
			*exact = true;
			return OK;
		case T_RESTS:
			atomic_fetch_add(&f->deferred, 1);
			return OK;
		case T_NOMEM:
			return err_set(E_LIMIT, "out of memory in the store");
		case T_MINE:
			*was = false;
			return mine(t, prefix, w.lead, exact);
		case T_WAIT:
			event_wait(&w.ev);
			if (w.err != OK && !pg_only_mine(w.err)) {
				*diag_get() = w.diag;
				return w.err;
			}
		}
	}
}

/* ----------------------------------------------------------------- figures */

struct figures {
	unsigned long long syncs, equal, adopting, incomplete, deferred, adopted, ns;
	unsigned unadopted;
};

static void add_up(struct pg *s, struct figures *x)
{
	size_t it = 0;
	struct str name;
	void *v;

	pthread_mutex_lock(&s->tmu);
	while (map_next(&s->tenants, &it, &name, &v)) {
		struct pg_feed *f = ((struct pg_tenant *)v)->feed;

		if (!f)
			continue;
		x->syncs += atomic_load(&f->syncs);
		x->equal += atomic_load(&f->equal);
		x->adopting += atomic_load(&f->adopting);
		x->incomplete += atomic_load(&f->incomplete);
		x->deferred += atomic_load(&f->deferred);
		x->adopted += atomic_load(&f->adopted);
		x->ns += atomic_load(&f->verify_ns);
		x->unadopted += atomic_load(&f->unadopted);
	}
	pthread_mutex_unlock(&s->tmu);
}

void pg_feed_metrics(struct pg *s, struct buf *out)
{
	struct figures x = {0};

	add_up(s, &x);
	buf_printf(out,
		   "# HELP cenote_pg_syncs_total Looks at what was committed since the last one.\n"
		   "# TYPE cenote_pg_syncs_total counter\ncenote_pg_syncs_total %llu\n"
		   "# HELP cenote_pg_verifications_total Scopes compared because other clients may have written (deferred: not, as "
		   "it was done a moment ago).\n"
		   "# TYPE cenote_pg_verifications_total counter\n"
		   "cenote_pg_verifications_total{result=\"equal\"} %llu\ncenote_pg_verifications_total{result=\"adopted\"} %llu\n"
		   "cenote_pg_verifications_total{result=\"incomplete\"} %llu\n"
		   "cenote_pg_verifications_total{result=\"deferred\"} %llu\n",
		   x.syncs, x.equal, x.adopting, x.incomplete, x.deferred);
	buf_printf(out,
		   "# HELP cenote_pg_adopted_total Items of other clients that were taken into the index, or out of it.\n"
		   "# TYPE cenote_pg_adopted_total counter\ncenote_pg_adopted_total %llu\n"
		   "# HELP cenote_pg_unadopted Tenants whose items of other clients cannot be indexed now.\n"
		   "# TYPE cenote_pg_unadopted gauge\ncenote_pg_unadopted %u\n"
		   "# HELP cenote_pg_verify_seconds Time that comparisons took.\n"
		   "# TYPE cenote_pg_verify_seconds summary\ncenote_pg_verify_seconds_sum %.6f\ncenote_pg_verify_seconds_count "
		   "%llu\n",
		   x.adopted, x.unadopted, (double)x.ns / 1e9, x.equal + x.adopting + x.incomplete);
}
