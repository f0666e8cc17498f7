/* Writing checkpoints in the compact layout. One call is one transaction:
 *
 *   lock     the threads' rows, made where they are missing: the owner, the time of the last change
 *   scopes   namespaces, made where they are missing; those that are put to are at the rev that was expected, and get the next
 *   streams  channels that are new
 *   put      versions, chunks, checkpoints
 *   writes   rows of tasks
 *
 * What is there already is known from the cache (compact_cache.c), or looked at before. When it is not so, the transaction fails
 * (22012), is looked at, and tried again. Calls that only bring pending writes need to know nothing: rows that are there make them
 * fail, too, and are then read and merged.
 *
 * Invariants
 *  1. A transaction that had been committed before (repeated) changes nothing: cenote_journal refuses its op.
 *  2. The cache learns numbers before they are stored; when the transaction fails it forgets the namespace. */
#include "store/postgres/compact_prepare.h"

#include "base/hash.h"
#include "rt/work.h"
#include "store/postgres/sessions.h"

/* $1 threads, $2 owners, $3 user, $4 now. What other programs have under a name without record is nobody's. */
static const struct pg_stmt st_lock = {
	ST_COMPACT_LOCK, LANE_WRITE, "compact_lock",
	"WITH l AS (INSERT INTO @cenote_thread AS t(thread, usr, created_at, updated_at, messages) SELECT x.thread, CASE "
	"WHEN " PG_FOREIGN("x.thread") " THEN '' ELSE $3::text END, $4::timestamptz, $4::timestamptz, 0 FROM unnest((SELECT "
				       "$1::text[])) AS x(thread)"
				       " ORDER BY x.thread COLLATE \"C\" ON CONFLICT (thread) DO UPDATE SET updated_at = "
				       "greatest(t.updated_at,"
				       " excluded.updated_at) RETURNING t.usr)"
				       " SELECT 1 / (count(*) FILTER (WHERE " COMPACT_SEEN(
					       2) ") = cardinality($1::text[]))::int FROM l t"};

#define SCOPES_FROM(more, columns)                                                                                                 \
	"unnest((SELECT $1::text[]), (SELECT $2::text[])" more ") WITH ORDINALITY AS u(thread, ns" columns                         \
	", ord) JOIN @cenote_thread t ON t.thread = u.thread"
/* $3 ids (0: not there), $4 revs (-1: only has to be there), $5 who asks (for leases). */
static const struct pg_stmt st_scopes = {
	ST_COMPACT_SCOPES, LANE_WRITE, "compact_scopes",
	"WITH x AS MATERIALIZED (SELECT t.id AS thread, u.ns, u.id, u.rev FROM " SCOPES_FROM(
		", (SELECT $3::bigint[]), (SELECT $4::bigint[])",
		", id, rev") "),"
			     " m AS (INSERT INTO @cenote_checkpoint_ns(thread, ns, rev) SELECT x.thread, x.ns, 1 FROM x WHERE "
			     "x.rev < 0 AND NOT EXISTS (SELECT"
			     " FROM @cenote_checkpoint_ns o WHERE o.thread = x.thread AND o.ns = x.ns) ON CONFLICT (thread, ns) DO "
			     "NOTHING),"
			     " n AS (INSERT INTO @cenote_checkpoint_ns(thread, ns, rev) SELECT x.thread, x.ns, 1 FROM x WHERE "
			     "x.rev >= 0 AND x.id = 0"
			     " ON CONFLICT (thread, ns) DO NOTHING RETURNING 1),"
			     " o AS (UPDATE @cenote_checkpoint_ns n SET rev = n.rev + 1, lease_by = NULL, lease_to = NULL FROM x "
			     "WHERE x.rev >= 0 AND x.id > 0"
			     " AND n.id = x.id AND n.rev = x.rev AND " COMPACT_LEASE_FREE(
				     "n", "$5::bigint") " RETURNING 1)"
							" SELECT 1 / ((SELECT count(*) FROM n) + (SELECT count(*) FROM o) = "
							"(SELECT count(*) FROM x WHERE x.rev >= 0))::int"};

#define SCOPES                                                                                                                     \
	"sc AS MATERIALIZED (SELECT u.ord, n.id FROM " SCOPES_FROM("", "") " JOIN @cenote_checkpoint_ns n ON n.thread = t.id AND"  \
									   " n.ns = u.ns)"
/* $3 scope, $4 channel */
static const struct pg_stmt st_streams = {ST_COMPACT_STREAMS, LANE_WRITE, "compact_streams",
					  "WITH " SCOPES " INSERT INTO @cenote_stream(scope, channel) SELECT sc.id, x.channel FROM "
					  "unnest((SELECT $3::int[]), (SELECT $4::text[])) AS"
					  " x(o, channel) JOIN sc ON sc.ord = x.o ON CONFLICT (scope, channel) DO NOTHING"};

/* Versions: $3 scope, $4 channel, $5 version, $6 type, $7 runs, $8 data. Chunks: $9 version, $10 number, $11 data. Checkpoints: $12
 * scope, $13 id, $14 parent, $15 run, $16 body. $17 op, $18 how many versions with runs there are, all of which must be new. */
static const struct pg_stmt st_put = {
	ST_COMPACT_PUT, LANE_WRITE, "compact_put",
	"WITH " SCOPES
	", v AS MATERIALIZED (SELECT x.ord, s.id AS stream, x.version, x.type, x.runs, x.data FROM unnest((SELECT $3::int[]),"
	" (SELECT $4::text[]), (SELECT $5::bytea[]), (SELECT $6::text[]), (SELECT $7::text[]), (SELECT $8::bytea[])) WITH "
	"ORDINALITY AS x(o, channel, version, type, runs, "
	"data, ord)"
	" JOIN sc ON sc.ord = x.o CROSS JOIN LATERAL (SELECT s.id FROM @cenote_stream s WHERE s.scope = sc.id AND s.channel = "
	"x.channel"
	" LIMIT 1) s WHERE NOT EXISTS (SELECT FROM @cenote_version o WHERE o.stream = s.id AND o.version = x.version)),"
	" w AS (INSERT INTO @cenote_version(stream, version, type, runs, data) SELECT stream, version, type, runs::int[], data "
	"FROM v),"
	" c AS (INSERT INTO @cenote_chunk(id, data) SELECT (v.stream << 28) + x.n, x.data FROM unnest((SELECT $9::int[]), (SELECT "
	"$10::bigint[]),"
	" (SELECT $11::bytea[])) AS x(o, n, data) JOIN v ON v.ord = x.o),"
	" h AS (UPDATE @cenote_stream s SET head = q.version FROM (SELECT DISTINCT ON (stream) stream, version FROM v WHERE runs "
	"IS NOT"
	" NULL ORDER BY stream, ord DESC) q WHERE s.id = q.stream),"
	" k AS (INSERT INTO @cenote_checkpoint(scope, cid, parent, run, body) SELECT sc.id, x.id, x.parent, x.run, x.body FROM"
	" unnest((SELECT $12::int[]), (SELECT $13::text[]), (SELECT $14::text[]), (SELECT $15::bytea[]), (SELECT $16::bytea[])) AS "
	"x(o, id, parent, run, body) JOIN sc ON "
	"sc.ord = x.o"
	" ON CONFLICT (scope, cid) DO UPDATE SET run = excluded.run, body = excluded.body),"
	" j AS (" COMPACT_JOURNAL(17, 0) ") SELECT 1 / ((SELECT count(*) FROM v WHERE runs IS NOT NULL) = $18::bigint)::int"};

/* Tasks: $3 scope, $4 id, $5 task, $6 what is there (NULL: nothing), $7 data, $8 marks; $9 op. */
static const struct pg_stmt st_writes = {
	ST_COMPACT_WRITES, LANE_WRITE, "compact_writes",
	"WITH " SCOPES ", x AS MATERIALIZED (SELECT sc.id AS scope, x.* FROM unnest((SELECT $3::int[]), (SELECT $4::text[]), "
	"(SELECT $5::bytea[]), (SELECT $6::bytea[]),"
	" (SELECT $7::bytea[]), (SELECT $8::int[])) AS x(o, cid, task, old, data, marks) JOIN sc ON sc.ord = x.o),"
	" i AS (INSERT INTO @cenote_pending(scope, cid, task, marks, data) SELECT scope, cid, task, marks, data FROM x WHERE old "
	"IS NULL"
	" ON CONFLICT (scope, cid, task) DO NOTHING RETURNING 1),"
	" u AS (UPDATE @cenote_pending p SET data = x.data, marks = x.marks FROM x WHERE x.old IS NOT NULL AND p.scope = x.scope "
	"AND"
	" p.cid = x.cid AND p.task = x.task AND p.data = x.old RETURNING 1), j AS (" COMPACT_JOURNAL(
		9, 1) ")"
		      " SELECT 1 / ((SELECT count(*) FROM i) + (SELECT count(*) FROM u) = (SELECT count(*) FROM x))::int"};

/* ---------------------------------------------------------------- looking */

/* $3 scope, $4 channel: of these the chunks of the head. A row for each channel of each namespace. */
static const struct pg_stmt st_look = {
	ST_COMPACT_LOOK, LANE_WRITE, "compact_look",
	"SELECT u.ord, coalesce(t.usr::text, CASE WHEN " PG_FOREIGN(
		"u.thread") " THEN '' END), n.id, n.rev, s.channel, coalesce((SELECT"
			    " max(k.id) FROM @cenote_chunk k WHERE k.id BETWEEN (s.id << 28) AND (s.id << 28) + 268435455) - (s.id "
			    "<< 28), 0) + 1, h.runs,"
			    " h.chunks, q.o IS NOT NULL FROM unnest((SELECT $1::text[]), (SELECT $2::text[])) WITH ORDINALITY AS "
			    "u(thread, ns, ord) "
			    "LEFT JOIN @cenote_thread t ON"
			    " t.thread = u.thread LEFT JOIN @cenote_checkpoint_ns n ON n.thread = t.id AND n.ns = u.ns LEFT JOIN "
			    "@cenote_stream s ON s.scope ="
			    " n.id LEFT JOIN unnest((SELECT $3::int[]), (SELECT $4::text[])) AS q(o, channel) ON q.o = u.ord AND "
			    "q.channel = "
			    "s.channel LEFT JOIN LATERAL (SELECT"
			    " v.runs, " COMPACT_CHUNKS(
				    "s.id",
				    "v.runs") " AS chunks FROM @cenote_version v WHERE v.stream = s.id AND v.version = s.head AND"
					      " v.runs IS NOT NULL AND q.o IS NOT NULL) h ON true"};
enum { L_ORD, L_USER, L_ID, L_REV, L_CHANNEL, L_NEXT, L_RUNS, L_CHUNKS, L_ASKED };

/* Which versions are there: $3 scope, $4 channel, $5 version. */
static const struct pg_stmt st_there = {
	ST_COMPACT_THERE, LANE_WRITE, "compact_there",
	"WITH " SCOPES " SELECT x.ord FROM unnest((SELECT $3::int[]), (SELECT $4::text[]), (SELECT $5::bytea[])) WITH ORDINALITY "
	"AS x(o, channel, version, ord)"
	" JOIN sc ON sc.ord = x.o JOIN @cenote_stream s ON s.scope = sc.id AND s.channel = x.channel JOIN @cenote_version v ON "
	"v.stream ="
	" s.id AND v.version = x.version"};
/* Which rows of tasks: $3 scope, $4 id, $5 task. */
static const struct pg_stmt st_old = {
	ST_COMPACT_OLD, LANE_WRITE, "compact_old",
	"WITH " SCOPES " SELECT x.ord, p.data FROM unnest((SELECT $3::int[]), (SELECT $4::text[]), (SELECT $5::bytea[])) WITH "
	"ORDINALITY AS x(o, cid, task, ord)"
	" JOIN sc ON sc.ord = x.o JOIN @cenote_pending p ON p.scope = sc.id AND p.cid = x.cid AND p.task = x.task"};

static void scope_names(struct pg_params *p, const struct cw *x)
{
	pg_params_init(p);
	for (unsigned ns = 0; ns < 2; ns++) {
		pg_array(p, PG_TEXTS, x->scopes_n);
		for (size_t i = 0; i < x->scopes_n; i++)
			pg_el_str(p, ns ? x->scopes[i].ns : x->scopes[i].thread);
		pg_array_end(p);
	}
}

/* Of the values, or those of them that have chunks: the place of their namespace, or a text. */
#define OF(p, type, list, n, keep, put)                                                                                            \
	do {                                                                                                                       \
		size_t count_ = 0;                                                                                                 \
		for (size_t i = 0; i < (n); i++)                                                                                   \
			count_ += (keep);                                                                                          \
		pg_array(p, type, count_);                                                                                         \
		for (size_t i = 0; i < (n); i++)                                                                                   \
			if (keep)                                                                                                  \
				put;                                                                                               \
		pg_array_end(p);                                                                                                   \
	} while (0)

static void str_or_null(struct pg_params *p, struct str s)
{
	if (s.p)
		pg_el_str(p, s);
	else
		pg_el_null(p);
}

/* The chunks of a stream's head, whose data are read, into the cache. */
static enum err learn_head(struct arena *a, struct compact_stream *st, const PGresult *r, int row)
{
	struct pg_array runs, chunks;
	int64_t from, to;
	uint8_t sum[32];
	compact_stream_unload(st);
	st->loaded = true;
	if (pg_is_null(r, row, L_RUNS))
		return OK;
	pg_get_array(r, row, L_RUNS, &runs);
	pg_get_array(r, row, L_CHUNKS, &chunks);
	while (pg_next_i64(&runs, &from) && pg_next_i64(&runs, &to))
		for (int64_t k = from; k <= to; k++) {
			struct str data, raw;
			if (!pg_next_str(&chunks, &data))
				return err_set(E_CORRUPT, "chunks of a channel's value are missing");
			TRY(pack_expand(a, data, PACK_ROOM, &raw));
			sha256_of(raw, sum);
			TRY(compact_learn(st, sum, k));
			arena_clear(a);
		}
	return OK;
}

struct looked {
	struct cw *x;
	const PGresult *r;
};

static enum err take_look(void *arg)
{
	const struct looked *l = arg;
	const PGresult *r = l->r;
	struct compact_stream *st;
	struct arena a;
	enum err e = OK;
	arena_init(&a, PACK_ROOM);
	for (int i = 0; i < PQntuples(r) && e == OK; i++) {
		struct compact_scope *s = l->x->scopes[pg_get_i64(r, i, L_ORD) - 1].s;
		if (!pg_is_null(r, i, L_USER) && !principal_sees(l->x->who, pg_get_str(r, i, L_USER)))
			e = err_set(E_CONFLICT, "the thread belongs to another user; nothing was stored");
		if (e != OK || !s)
			continue;
		if (!s->known || s->id != pg_get_i64(r, i, L_ID) || s->rev != pg_get_i64(r, i, L_REV))
			compact_scope_forget(s);
		s->known = true;
		s->id = pg_get_i64(r, i, L_ID);
		s->rev = pg_get_i64(r, i, L_REV);
		if (pg_is_null(r, i, L_CHANNEL))
			continue;
		e = compact_stream_get(s, pg_get_str(r, i, L_CHANNEL), true, &st);
		if (e == OK)
			st->there = true;
		if (e == OK && !st->loaded)
			st->next = pg_get_i64(r, i, L_NEXT);
		if (e == OK && !st->loaded && pg_get_bool(r, i, L_ASKED))
			e = learn_head(&a, st, r, i);
	}
	arena_release(&a);
	return e;
}

static size_t weight_of(const PGresult *r, int col)
{
	size_t sum = 0;
	for (int i = 0; i < PQntuples(r); i++)
		sum += (size_t)PQgetlength(r, i, col);
	return sum;
}

static enum err look(struct cw *x)
{
	struct looked l = {.x = x};
	struct pg_params p;
	PGresult *r;
	scope_names(&p, x);
	OF(&p, PG_INT4S, x->values, x->values_n, x->values[i].chunked, pg_el_i32(&p, (int32_t)x->values[i].scope + 1));
	OF(&p, PG_TEXTS, x->values, x->values_n, x->values[i].chunked, pg_el_str(&p, x->values[i].channel));
	TRY(pg_query(x->t, &st_look, &p, &r));
	l.r = r;
	enum err e = weight_of(r, L_CHUNKS) > COMPACT_POOL_BYTES ? work_run(take_look, &l) : take_look(&l);
	PQclear(r);
	return e;
}

static enum err look_versions(struct cw *x)
{
	struct pg_params p;
	PGresult *r;
	if (x->values_n == 0)
		return OK;
	scope_names(&p, x);
	OF(&p, PG_INT4S, x->values, x->values_n, true, pg_el_i32(&p, (int32_t)x->values[i].scope + 1));
	OF(&p, PG_TEXTS, x->values, x->values_n, true, pg_el_str(&p, x->values[i].channel));
	OF(&p, PG_BYTEAS, x->values, x->values_n, true, pg_el_str(&p, x->values[i].version));
	TRY(pg_query(x->t, &st_there, &p, &r));
	for (size_t i = 0; i < x->values_n; i++)
		x->values[i].there = false;
	for (int i = 0; i < PQntuples(r); i++)
		x->values[pg_get_i64(r, i, 0) - 1].there = true;
	PQclear(r);
	return OK;
}

static enum err look_tasks(struct cw *x)
{
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	if (x->tasks_n == 0)
		return OK;
	scope_names(&p, x);
	OF(&p, PG_INT4S, x->tasks, x->tasks_n, true, pg_el_i32(&p, (int32_t)x->tasks[i].scope + 1));
	OF(&p, PG_TEXTS, x->tasks, x->tasks_n, true, pg_el_str(&p, x->tasks[i].id));
	OF(&p, PG_BYTEAS, x->tasks, x->tasks_n, true, pg_el_str(&p, x->tasks[i].task));
	TRY(pg_query(x->t, &st_old, &p, &r));
	for (size_t i = 0; i < x->tasks_n; i++)
		x->tasks[i].old = (struct str){0};
	for (int i = 0; i < PQntuples(r) && e == OK; i++) {
		struct cw_task *k = &x->tasks[pg_get_i64(r, i, 0) - 1];
		k->old = arena_str(x->again, pg_get_str(r, i, 1));
		e = k->old.p ? OK : E_NOMEM;
	}
	PQclear(r);
	return e;
}

static bool must_look(const struct cw *x)
{
	struct compact_stream *st;
	for (size_t i = 0; i < x->scopes_n; i++)
		if (x->scopes[i].s && !x->scopes[i].s->known)
			return true;
	for (size_t i = 0; i < x->values_n; i++)
		if (x->values[i].chunked &&
		    compact_stream_get(x->scopes[x->values[i].scope].s, x->values[i].channel, false, &st) == OK && st &&
		    !st->loaded)
			return true;
	return false;
}

/* ---------------------------------------------------------------- the transaction */

#define STEPS 5
struct script {
	struct pg_params p[STEPS];
	struct pg_step steps[STEPS];
	unsigned n;
};

static struct pg_params *step(struct script *s, const struct pg_stmt *st)
{
	struct pg_params *p = &s->p[s->n];
	s->steps[s->n++] = (struct pg_step){.st = st, .p = p};
	return p;
}

static int by_name(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static enum err lock_step(struct script *s, const struct cw *x)
{
	struct pg_params *p = step(s, &st_lock);
	struct str *v = ARENA_ARRAY(x->again, struct str, x->scopes_n);
	size_t n = 0;
	pg_params_init(p);
	if (!v)
		return E_NOMEM;
	for (size_t i = 0; i < x->scopes_n; i++)
		v[i] = x->scopes[i].thread;
	qsort(v, x->scopes_n, sizeof *v, by_name);
	for (size_t i = 0; i < x->scopes_n; i++)
		if (i == 0 || !str_eq(v[i], v[n - 1]))
			v[n++] = v[i];
	OF(p, PG_TEXTS, v, n, true, pg_el_str(p, v[i]));
	pg_owners(p, x->who);
	pg_text(p, x->who->user);
	pg_time(p, clock_unique_us());
	return OK;
}

static void scopes_step(struct script *s, const struct cw *x, int64_t me)
{
	struct pg_params *p = step(s, &st_scopes);
	scope_names(p, x);
	OF(p, PG_INT8S, x->scopes, x->scopes_n, true, pg_el_i64(p, x->scopes[i].s ? x->scopes[i].s->id : 0));
	OF(p, PG_INT8S, x->scopes, x->scopes_n, true, pg_el_i64(p, x->scopes[i].s ? x->scopes[i].s->rev : -1));
	pg_i64(p, me);
}

/* Channels whose rows are not there, each once; they are from now on. */
static enum err streams_step(struct script *s, const struct cw *x)
{
	bool *new = ARENA_ARRAY(x->again, bool, x->values_n + 1), some = false;
	struct compact_stream *st;
	if (!new)
		return E_NOMEM;
	for (size_t i = 0; i < x->values_n; i++) {
		const struct cw_value *v = &x->values[i];
		TRY(compact_stream_get(x->scopes[v->scope].s, v->channel, true, &st));
		new[i] = !st->there;
		some = some || new[i];
		st->there = true;
	}
	if (!some)
		return OK;
	struct pg_params *p = step(s, &st_streams);
	scope_names(p, x);
	OF(p, PG_INT4S, x->values, x->values_n, new[i], pg_el_i32(p, (int32_t)x->values[i].scope + 1));
	OF(p, PG_TEXTS, x->values, x->values_n, new[i], pg_el_str(p, x->values[i].channel));
	return OK;
}

static void put_step(struct script *s, const struct cw *x, int64_t op)
{
	struct pg_params *p = step(s, &st_put);
	const struct cw_value *v = x->values;
	const struct cw_checkpoint *k = x->checkpoints;
	scope_names(p, x);
	OF(p, PG_INT4S, v, x->values_n, true, pg_el_i32(p, (int32_t)v[i].scope + 1));
	OF(p, PG_TEXTS, v, x->values_n, true, pg_el_str(p, v[i].channel));
	OF(p, PG_BYTEAS, v, x->values_n, true, pg_el_str(p, v[i].version));
	OF(p, PG_TEXTS, v, x->values_n, true, pg_el_str(p, v[i].type));
	OF(p, PG_TEXTS, v, x->values_n, true, str_or_null(p, v[i].chunked && !v[i].there ? v[i].runs : (struct str){0}));
	OF(p, PG_BYTEAS, v, x->values_n, true, pg_el_str(p, v[i].data));
	OF(p, PG_INT4S, x->chunks, x->chunks_n, true, pg_el_i32(p, (int32_t)x->chunks[i].value + 1));
	OF(p, PG_INT8S, x->chunks, x->chunks_n, true, pg_el_i64(p, x->chunks[i].n));
	OF(p, PG_BYTEAS, x->chunks, x->chunks_n, true, pg_el_str(p, x->chunks[i].data));
	OF(p, PG_INT4S, k, x->checkpoints_n, true, pg_el_i32(p, (int32_t)k[i].scope + 1));
	OF(p, PG_TEXTS, k, x->checkpoints_n, true, pg_el_str(p, k[i].id));
	OF(p, PG_TEXTS, k, x->checkpoints_n, true, str_or_null(p, k[i].parent.n ? k[i].parent : (struct str){0}));
	OF(p, PG_BYTEAS, k, x->checkpoints_n, true, str_or_null(p, k[i].run));
	OF(p, PG_BYTEAS, k, x->checkpoints_n, true, pg_el_str(p, k[i].body));
	pg_i64(p, op);
	pg_i64(p, (int64_t)x->chunked);
}

static void writes_step(struct script *s, const struct cw *x, int64_t op)
{
	struct pg_params *p = step(s, &st_writes);
	const struct cw_task *k = x->tasks;
	scope_names(p, x);
	OF(p, PG_INT4S, k, x->tasks_n, true, pg_el_i32(p, (int32_t)k[i].scope + 1));
	OF(p, PG_TEXTS, k, x->tasks_n, true, pg_el_str(p, k[i].id));
	OF(p, PG_BYTEAS, k, x->tasks_n, true, pg_el_str(p, k[i].task));
	OF(p, PG_BYTEAS, k, x->tasks_n, true, str_or_null(p, k[i].old));
	OF(p, PG_BYTEAS, k, x->tasks_n, true, pg_el_str(p, k[i].data));
	OF(p, PG_INT4S, k, x->tasks_n, true, pg_el_i32(p, k[i].marks));
	pg_i64(p, op);
}

static enum err script_make(struct script *s, const struct cw *x, int64_t me)
{
	int64_t op = pg_new_op();
	TRY(lock_step(s, x));
	scopes_step(s, x, me);
	TRY(streams_step(s, x));
	if (x->checkpoints_n)
		put_step(s, x, op);
	if (x->tasks_n)
		writes_step(s, x, op);
	return OK;
}

static enum err number_task(void *arg)
{
	return cw_number(arg);
}

/* *again: it was not as we thought. */
static enum err attempt(struct cw *x, int64_t me, bool pool, bool *again)
{
	struct script s = {.n = 0};
	struct pg_job j = {.t = x->t, .lane = LANE_WRITE, .write = true};
	*again = false;
	TRY(pool ? work_run(number_task, x) : cw_number(x));
	enum err e = script_make(&s, x, me);
	if (e == OK) {
		j.steps = s.steps;
		j.n = s.n;
		e = pg_run(&j);
		*again = e != OK && strcmp(j.sqlstate, "22012") == 0;
		pg_job_clear(&j);
	}
	for (unsigned i = 0; i < s.n; i++)
		pg_params_release(&s.p[i]);
	return e;
}

static void settle(struct cw *x, bool stored)
{
	struct compact_stream *st;
	for (size_t i = 0; i < x->scopes_n; i++) {
		struct compact_scope *s = x->scopes[i].s;
		if (!s)
			continue;
		if (!stored || s->id == 0) { /* the number of a new one is not known here */
			compact_scope_forget(s);
			continue;
		}
		s->rev++;
	}
	for (size_t i = 0; stored && i < x->values_n; i++) {
		const struct cw_value *v = &x->values[i];
		struct compact_scope *s = x->scopes[v->scope].s;
		if (!v->chunked || v->there || compact_stream_get(s, v->channel, false, &st) != OK || !st)
			continue;
		if (st->count > 4096 + 4 * v->n) /* mostly of versions long gone: begin anew */
			compact_stream_unload(st);
		else
			st->loaded = true;
	}
}

const struct pg_stmt *const compact_revs = &st_scopes;

void compact_revs_params(struct pg_params *p, struct str thread, const struct str *ns, const int64_t *ids, const int64_t *revs,
			 size_t n, int64_t me)
{
	pg_params_init(p);
	OF(p, PG_TEXTS, ns, n, true, pg_el_str(p, thread));
	OF(p, PG_TEXTS, ns, n, true, pg_el_str(p, ns[i]));
	OF(p, PG_INT8S, ids, n, true, pg_el_i64(p, ids[i]));
	OF(p, PG_INT8S, revs, n, true, pg_el_i64(p, revs[i]));
	pg_i64(p, me);
}

/* ---------------------------------------------------------------- the call */

static enum err prepare_task(void *arg)
{
	return cw_prepare(arg);
}

static enum err write_all(struct cw *x, bool pool)
{
	int64_t me = pg_new_op(), ids[8];
	for (unsigned i = 0; i < COMPACT_TRIES; i++) {
		bool again = false;
		size_t n = 0;
		enum err e = OK;
		if (i > 0 || must_look(x))
			e = look(x);
		for (size_t k = 0; k < x->scopes_n && n < 8; k++)
			if (x->scopes[k].s && x->scopes[k].s->id)
				ids[n++] = x->scopes[k].s->id;
		if (e == OK && i > 1) {
			e = compact_again(x->t, i, me, ids, n);
			if (e == OK)
				e = look(x);
		}
		if (e == OK && i > 0)
			e = look_versions(x);
		if (e == OK && i > 0)
			e = look_tasks(x);
		if (e == OK)
			e = attempt(x, me, pool, &again);
		settle(x, e == OK);
		arena_clear(x->again);
		if (e == OK || !again)
			return e;
	}
	return err_set(E_BUSY, "others write to the thread all the time; try again");
}

static enum err check(const struct ckpt_change *c)
{
	const struct str names[] = {c->thread, c->ns, c->id, c->parent};
	TRY(pg_ckpt_names(names, sizeof names / sizeof *names));
	for (size_t i = 0; c->op == CK_PUT && i < c->values_n; i++)
		TRY(pg_ckpt_names(&c->values[i].channel, 1));
	return OK;
}

static size_t weight(const struct ckpt_change *c)
{
	size_t sum = c->checkpoint.n + c->metadata.n + 256;
	for (size_t i = 0; c->op == CK_PUT && i < c->values_n; i++)
		sum += c->values[i].bytes.n + 64;
	for (size_t i = 0; c->op == CK_WRITES && i < c->writes_n; i++)
		sum += c->writes[i].bytes.n + 64;
	return sum;
}

static enum err in_turn(struct cw *x, bool pool)
{
	struct compact_turns turns = {{0}};
	enum err e = OK;
	for (size_t i = 0; i < x->checkpoints_n; i++)
		compact_turn_add(&turns, x->t, x->scopes[x->checkpoints[i].scope].thread);
	compact_turns_begin(x->t->s, &turns);
	for (size_t i = 0; i < x->checkpoints_n && e == OK; i++) {
		struct cw_scope *s = &x->scopes[x->checkpoints[i].scope];
		if (!s->s)
			e = compact_scope_take(x->t, s->thread, s->ns, &s->s);
	}
	if (e == OK)
		e = write_all(x, pool);
	for (size_t i = 0; i < x->scopes_n; i++)
		if (x->scopes[i].s)
			compact_scope_give(x->t->s, x->scopes[i].s);
	compact_turns_end(x->t->s, &turns);
	return e;
}

enum err compact_write(struct store *s, const struct principal *who, const struct ckpt_change *c, size_t n)
{
	struct arena a, again;
	struct cw x = {.who = who, .c = c, .n = n, .a = &a, .again = &again};
	size_t bytes = 0;
	TRY(principal_check(who, RIGHT_WRITE));
	for (size_t i = 0; i < n; i++) {
		TRY(check(&c[i]));
		bytes += weight(&c[i]);
	}
	TRY(pg_ckpt_names(&who->user, 1));
	if (n == 0)
		return OK;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, true, &x.t));
	bool pool = bytes > COMPACT_POOL_BYTES;
	arena_init(&a, 4 * bytes + (64u << 20));
	arena_init(&again, 4 * bytes + (64u << 20));
	enum err e = pool ? work_run(prepare_task, &x) : cw_prepare(&x);
	if (e == OK && x.scopes_n)
		e = in_turn(&x, pool);
	arena_release(&again);
	arena_release(&a);
	return e;
}

/* ---------------------------------------------------------------- turns between processes */

#define LEASE "interval '2 seconds'"
#define PAUSE_MS 10

/* Takes the lease of namespaces where it is free, from the third failure on ($3). Gives how many are somebody else's. */
static const struct pg_stmt st_lease = {
	ST_COMPACT_LEASE, LANE_WRITE, "compact_lease",
	"WITH x AS MATERIALIZED (SELECT n.id FROM @cenote_checkpoint_ns n WHERE n.id = ANY($1::bigint[]) AND " COMPACT_LEASE_FREE(
		"n",
		"$2::bigint") " ORDER BY n.id FOR NO KEY UPDATE), o AS (UPDATE @cenote_checkpoint_ns n SET lease_by = $2::bigint,"
			      " lease_to = clock_timestamp() + " LEASE " FROM x WHERE n.id = x.id AND $3::bool RETURNING 1), j AS"
			      " (" COMPACT_JOURNAL(4, 0) ") SELECT cardinality($1::bigint[]) - (SELECT count(*) FROM x)"};

enum err compact_again(struct pg_tenant *t, unsigned attempt, int64_t me, const int64_t *scopes, size_t n)
{
	uint64_t until = deadline_in_ms(3000);
	for (;;) {
		struct pg_params p;
		PGresult *r;
		bool repeated;
		if (n == 0)
			return OK;
		pg_params_init(&p);
		OF(&p, PG_INT8S, scopes, n, true, pg_el_i64(&p, scopes[i]));
		pg_i64(&p, me);
		pg_bool(&p, attempt > 2);
		pg_i64(&p, pg_new_op());
		TRY(pg_write(t, &st_lease, &p, &r, &repeated));
		bool free = repeated || pg_get_i64(r, 0, 0) <= 0;
		PQclear(r);
		if (free || clock_mono_ns() > until)
			return OK;
		TRY(wait_until(deadline_in_ms(PAUSE_MS)));
	}
}
