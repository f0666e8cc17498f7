/* Catching up with what was committed: the journal's rows that became visible since the last look go into the tenant's ring, and
 * transactions that ended without a row there say that somebody else may have written.
 *
 * Invariants
 *  1. The last snapshot only moves forward, and only together with the publication of every journal row between; so each
 * transaction of ours is published at least once, and each transaction of others moves the epoch, by the first sync after its
 * commit.
 *  2. A sync that a caller waits for began after the caller asked.
 *  3. Nobody waits for another's statement beyond its own deadline: who has less time than the one under way asks for itself. */
#include "store/postgres/pg_feed.h"

/* More rows than this, or than have FEED_MAX documents, are not read: the ring would not hold them, all is read anew. */
#define ROWS_MAX 8192
_Static_assert(FEED_MAX == 65536, "the statement has the number, too");

/* What a snapshot does not see is from xmax on, or in xip; a transaction of others that stays open for hours holds xmin back, and
 * costs nothing here. Both bounds are given so that a plan made without knowing them takes the index. On a standby xip is empty
 * whatever runs: after a snapshot of one ($2), every row from xmin on is reported, some more than once. */
#define JOURNAL_ROWS "SELECT xid, kind, ids, names, threads FROM @cenote_journal WHERE kind <> 'x' AND "
/* Every transaction of every tenant has a row in the home schema's journal (pg_home_note): what is missing there is not ours. */
#define OURS                                                                                                                       \
	"(SELECT count(DISTINCT o.xid) FROM (SELECT xid FROM @~cenote_journal WHERE xid >= pg_snapshot_xmax($1) AND xid <"         \
	" pg_snapshot_xmax(pg_current_snapshot()) UNION ALL SELECT xid FROM @~cenote_journal WHERE xid ="                          \
	" ANY(ARRAY(SELECT pg_snapshot_xip($1)))) o)"
static const struct pg_stmt st_sync = {
	ST_SYNC, LANE_SEARCH, "sync",
	"SELECT pg_current_snapshot()::text, pg_is_in_recovery(), (SELECT value::xid8 FROM @cenote_meta WHERE name = 'purged'),"
	" pg_postmaster_start_time(), " OURS
	", j.xid, j.kind, j.ids, j.names, j.threads, j.n FROM (SELECT) one LEFT JOIN (SELECT * FROM"
	" (SELECT r.*, sum(cardinality(r.ids)) OVER (ROWS UNBOUNDED PRECEDING) AS n FROM (" JOURNAL_ROWS
	"xid >= pg_snapshot_xmax($1) AND xid < pg_snapshot_xmax(pg_current_snapshot()) UNION ALL " JOURNAL_ROWS
	"xid = ANY(ARRAY(SELECT pg_snapshot_xip($1))) UNION ALL " JOURNAL_ROWS
	"$2 AND xid >= pg_snapshot_xmin($1) AND xid < pg_snapshot_xmax($1) LIMIT 8193) r) x WHERE x.n - cardinality(x.ids) <= "
	"65536) j"
	" ON true"};
enum { S_SNAPSHOT, S_RECOVERY, S_PURGED, S_SERVER, S_OURS, S_XID, S_KIND, S_IDS, S_NAMES, S_THREADS, S_SUM };

static const struct pg_stmt st_purge = {
	ST_PURGE, LANE_WRITE, "purge",
	"WITH old AS (SELECT op, step, at FROM @cenote_journal ORDER BY xid LIMIT 5000), gone AS (DELETE FROM @cenote_journal j"
	" USING old WHERE j.op = old.op AND j.step = old.step AND old.at < now() - interval '10 minutes' RETURNING j.xid),"
	" note AS (INSERT INTO @cenote_meta AS m (name, value) SELECT 'purged', (SELECT xid FROM gone ORDER BY xid DESC LIMIT "
	"1)::text"
	" WHERE EXISTS (SELECT FROM gone) ON CONFLICT (name) DO UPDATE SET value ="
	" greatest(m.value::xid8, excluded.value::xid8)::text),"
	" mine AS (INSERT INTO @cenote_journal(op, step, kind, ids, names) SELECT $1, 0, 'i', '{}', '{}'"
	" WHERE EXISTS (SELECT FROM gone))"
	" SELECT count(*) FROM gone"};
#define PURGE_CHUNK 5000
/* Half of the ten minutes: whoever has looked since cannot have missed a row that was removed for its age. */
#define AWAKE_NS (UINT64_C(300) * 1000000000)
#define PURGE_NS (UINT64_C(2) * 1000000000) /* of one call */

/* ------------------------------------------------------------------ life */

enum err pg_feed_new(struct pg_tenant *t)
{
	struct pg_feed *f = calloc(1, sizeof *f);

	if (!f)
		return err_set(E_LIMIT, "out of memory in the store");
	pthread_mutex_init(&f->mu, NULL);
	feed_init(&f->ring);
	list_init(&f->next);
	list_init(&f->lru);
	map_init(&f->scopes);
	t->feed = f;
	return OK;
}

void pg_feed_free(struct pg_tenant *t)
{
	struct pg_feed *f = t->feed;

	if (!f)
		return;
	pg_scopes_free(f);
	feed_release(&f->ring);
	pg_snapshot_release(&f->snap);
	free(f->text);
	pthread_mutex_destroy(&f->mu);
	free(f);
	t->feed = NULL;
}

/* --------------------------------------------------------------- waiting */

uint64_t pg_wait_deadline(const struct pg *s)
{
	uint64_t mine = fiber_deadline(), statement = deadline_in_ms(s->statement_ms);

	return mine < statement ? mine : statement;
}

bool pg_only_mine(enum err e)
{
	return e == E_TIMEOUT || e == E_CANCELLED;
}

void pg_wake(struct list *waiting, enum err e)
{
	LIST_EACH (node, waiting) {
		struct pg_waiter *w = CONTAINER(node, struct pg_waiter, node);

		w->err = e;
		if (e != OK)
			w->diag = *diag_get();
		event_set(&w->ev);
	}
	list_init(waiting);
}

void pg_list_move(struct list *from, struct list *to)
{
	list_init(to);
	LIST_EACH (node, from) {
		list_del(node);
		list_add_tail(to, node);
	}
}

/* -------------------------------------------------------------- publishing */

struct entries {
	struct feed_entry *v;
	size_t n, cap;
	struct feed_name *last;
	bool lost; /* too many, or no memory: they are not all here */
};

static bool entry_room(struct entries *es)
{
	struct feed_entry *v;

	if (es->n < es->cap)
		return true;
	if (es->n >= FEED_MAX)
		return false;
	v = realloc(es->v, (es->cap ? es->cap * 2 : 64) * sizeof *v);
	if (!v)
		return false;
	es->v = v;
	es->cap = es->cap ? es->cap * 2 : 64;
	return true;
}

static void entry_add(struct entries *es, int64_t id, bool message, struct str scope, struct str where)
{
	uint64_t magnitude = id < 0 ? (uint64_t)-id : (uint64_t)id;

	if (es->lost)
		return;
	if (!es->last || !str_eq(es->last->scope, scope) || !str_eq(es->last->lang_ns, where)) {
		feed_name_drop(es->last);
		es->last = feed_name_new(0, scope, where);
	}
	if (!es->last || !entry_room(es)) {
		es->lost = true;
		return;
	}
	feed_name_ref(es->last);
	es->v[es->n++] = (struct feed_entry){magnitude << 2 | (uint64_t)(id < 0) << 1 | message, es->last};
}

static void entries_of(const PGresult *r, int row, struct entries *es)
{
	bool message = str_eq(pg_get_str(r, row, S_KIND), STR("m"));
	struct pg_array ids, names, threads;
	struct str scope, where;
	int64_t id;

	pg_get_array(r, row, S_IDS, &ids);
	pg_get_array(r, row, S_NAMES, &names);
	pg_get_array(r, row, S_THREADS, &threads);
	while (pg_next_i64(&ids, &id) && pg_next_str(&names, &scope)) {
		if (!message || !pg_next_str(&threads, &where))
			where = scope;
		entry_add(es, id, message, scope, where);
	}
}

/* Readers of the ring are told to scan again. */
static void forget(struct pg_feed *f)
{
	feed_publish(&f->ring, NULL, 1, false);
}

static void publish(struct pg_feed *f, const PGresult *r)
{
	struct entries es = {0};
	bool wanted = atomic_load(&f->ring.wanted);

	for (int i = 0; i < PQntuples(r) && !es.lost && wanted; i++)
		entries_of(r, i, &es);
	if (es.lost || !wanted) {
		for (size_t i = 0; i < es.n; i++)
			feed_name_drop(es.v[i].name);
		if (PQntuples(r) > 0 && !pg_is_null(r, 0, S_XID))
			forget(f);
	} else {
		feed_publish(&f->ring, es.v, es.n, true);
	}
	feed_name_drop(es.last);
	free(es.v);
}

/* ---------------------------------------------------------------- a sync */

/* What a sync begins from. */
struct base {
	bool have, recovery;
	char *text;
	struct pg_snapshot snap;
	int64_t server;
	uint64_t taken_ns;
};

static enum err base_take(struct pg_feed *f, struct base *b)
{
	enum err e = OK;

	*b = (struct base){0};
	pthread_mutex_lock(&f->mu);
	if (f->have) {
		b->have = true;
		b->recovery = f->recovery;
		b->server = f->server;
		b->taken_ns = f->taken_ns;
		b->text = strdup(f->text);
	}
	pthread_mutex_unlock(&f->mu);
	if (!b->have)
		return OK;
	if (!b->text)
		return err_set(E_LIMIT, "out of memory in the store");
	e = pg_snapshot_parse(str_c(b->text), &b->snap);
	return e;
}

static void base_release(struct base *b)
{
	pg_snapshot_release(&b->snap);
	free(b->text);
}

/* The server is not the one that gave the base, or went back in time: restarted, another one took over, restored. */
static bool another_server(const struct base *b, const struct pg_snapshot *now, const PGresult *r)
{
	return pg_get_time(r, 0, S_SERVER) != b->server || (b->recovery && !pg_get_bool(r, 0, S_RECOVERY)) ||
	       !pg_snapshot_not_before(now, &b->snap);
}

/* Under mu: takes the snapshot over unless a later one is there. */
static enum err install(struct pg_feed *f, struct pg_snapshot *now, uint64_t asked_ns, const PGresult *r)
{
	struct str text = pg_get_str(r, 0, S_SNAPSHOT);
	char *copy = strndup(text.p, text.n);

	if (!copy)
		return err_set(E_LIMIT, "out of memory in the store");
	free(f->text);
	pg_snapshot_release(&f->snap);
	f->text = copy;
	f->snap = *now;
	*now = (struct pg_snapshot){0};
	f->recovery = pg_get_bool(r, 0, S_RECOVERY);
	f->server = pg_get_time(r, 0, S_SERVER);
	f->taken_ns = asked_ns;
	f->have = true;
	return OK;
}

/* Rows may have been removed that the base does not see: it is old, or they are so new. */
static bool missed(const struct base *b, uint64_t asked_ns, const PGresult *r)
{
	uint64_t purged = (uint64_t)pg_get_i64(r, 0, S_PURGED); /* 0: nothing yet */

	return purged >= b->snap.xmax || (purged >= b->snap.xmin && asked_ns - b->taken_ns > AWAKE_NS);
}

/* What is there is not all. */
static bool too_many(const PGresult *r)
{
	bool many = PQntuples(r) > ROWS_MAX;

	for (int i = 0; i < PQntuples(r) && !many; i++)
		many = pg_get_i64(r, i, S_SUM) > FEED_MAX;
	return many;
}

/* Under mu. The ring and the epoch move before the snapshot does: if memory is short now, all is seen once more by the next sync.
 */
static enum err take_in(struct pg_feed *f, const struct base *b, struct pg_snapshot *now, uint64_t asked_ns, const PGresult *r)
{
	bool other = !b->have || another_server(b, now, r);
	bool lost = other || too_many(r) || missed(b, asked_ns, r);

	if (lost)
		forget(f);
	else
		publish(f, r);
	if (lost || b->recovery || pg_get_bool(r, 0, S_RECOVERY) ||
	    pg_snapshot_ended(&b->snap, now) > (uint64_t)pg_get_i64(r, 0, S_OURS))
		f->epoch++;
	if (!other && !pg_snapshot_not_before(now, &f->snap))
		return OK; /* one that began later has been faster */
	return install(f, now, asked_ns, r);
}

static enum err sync_once(struct pg_tenant *t)
{
	struct pg_feed *f = t->feed;
	struct pg_snapshot now = {0};
	struct pg_params p;
	struct base b;
	PGresult *r = NULL;
	uint64_t asked_ns = clock_mono_ns();
	enum err e;

	CHECK(base_take(f, &b));
	pg_params_init(&p);
	if (b.have)
		pg_as_text(&p, PG_SNAPSHOT, str_c(b.text));
	else
		pg_null(&p, PG_SNAPSHOT);
	pg_bool(&p, b.recovery);
	CHECK(pg_query(t, &st_sync, &p, &r));
	CHECK(pg_snapshot_parse(pg_get_str(r, 0, S_SNAPSHOT), &now));
	pthread_mutex_lock(&f->mu);
	e = take_in(f, &b, &now, asked_ns, r);
	pthread_mutex_unlock(&f->mu);
	atomic_fetch_add(&f->syncs, 1);
out:
	PQclear(r);
	pg_snapshot_release(&now);
	base_release(&b);
	return e;
}

/* ------------------------------------------------------------ sharing it */

/* Under mu: the turn goes to the one of the next who has the least time, the others go with it. False: nobody waits. */
static bool hand_over(struct pg_feed *f, struct pg_waiter **leader)
{
	*leader = NULL;
	LIST_EACH (node, &f->next) {
		struct pg_waiter *w = CONTAINER(node, struct pg_waiter, node);

		if (!*leader || w->deadline < (*leader)->deadline)
			*leader = w;
	}
	f->flying_until = *leader ? (*leader)->deadline : 0;
	return *leader != NULL;
}

/* Runs the sync whose turn has come, for all that have been waiting for it by now, and passes the turn on. */
static enum err fly(struct pg_tenant *t)
{
	struct pg_feed *f = t->feed;
	struct pg_waiter *leader;
	struct list mine;
	enum err e;

	pthread_mutex_lock(&f->mu);
	pg_list_move(&f->next, &mine);
	pthread_mutex_unlock(&f->mu);
	e = sync_once(t);
	pthread_mutex_lock(&f->mu);
	if (hand_over(f, &leader)) {
		list_del(&leader->node);
		leader->lead = true;
	}
	pthread_mutex_unlock(&f->mu);
	if (leader)
		event_set(&leader->ev);
	pg_wake(&mine, e);
	return e;
}

enum err pg_sync(struct pg_tenant *t)
{
	struct pg_feed *f = t->feed;

	for (;;) {
		struct pg_waiter w = {.deadline = pg_wait_deadline(t->s)};
		bool first, alone;

		pthread_mutex_lock(&f->mu);
		first = f->flying_until == 0;
		alone = !first && w.deadline < f->flying_until;
		if (first)
			f->flying_until = w.deadline;
		if (!first && !alone) {
			event_init(&w.ev);
			list_add_tail(&f->next, &w.node);
		}
		pthread_mutex_unlock(&f->mu);
		if (first)
			return fly(t);
		if (alone)
			return sync_once(t);
		event_wait(&w.ev);
		if (w.lead)
			return fly(t);
		if (w.err != OK && !pg_only_mine(w.err))
			*diag_get() = w.diag;
		if (!pg_only_mine(w.err))
			return w.err;
	}
}

/* ----------------------------------------------------------------- purging */

static enum err purge_chunk(struct pg_tenant *t, int64_t *n)
{
	struct pg_params p;
	PGresult *r;
	bool repeated;

	*n = 0;
	pg_params_init(&p);
	pg_i64(&p, pg_new_op());
	TRY(pg_write(t, &st_purge, &p, &r, &repeated));
	if (!repeated)
		*n = pg_get_i64(r, 0, 0);
	PQclear(r);
	return OK;
}

enum err pg_purge(struct pg_tenant *t, bool *more)
{
	uint64_t until = clock_mono_ns() + PURGE_NS;
	int64_t n;

	*more = false;
	do
		TRY(purge_chunk(t, &n));
	while (n == PURGE_CHUNK && clock_mono_ns() < until);
	*more = n == PURGE_CHUNK;
	return OK;
}
