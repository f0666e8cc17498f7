/* Texts of entries and checkpoints, kept for recall (core/text_store.h). Rows name their thread and its user themselves: threads
 * that only other programs wrote have no row in cenote_thread.
 *
 * Invariants
 *  1. Whoever writes texts of a thread, or removes the thread, holds the advisory lock of its name first. Texts are only written
 *     after a look, behind that lock, at whose the thread is. So none are left of a thread that was removed here.
 *  2. Threads that another program removed leave texts behind until they are compared (walk, drop).
 *  3. Removed texts are told by the journal, and their vectors go in a later step (vectors.c, invariant 1). */
#include "core/text_store.h"

#include "store/postgres/sessions.h"

/* $1: thread. */
const struct pg_stmt pg_texts_lock = {ST_TEXT_LOCK, LANE_WRITE, "text_lock",
				      "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended($1::text, 7310015))) x"};
/* $1: thread; $2: user. 22012: it is another one's, or there is no such thread. */
static const struct pg_stmt st_check = {ST_TEXT_CHECK, LANE_WRITE, "text_check",
					"SELECT 1 / (" PG_OWNER " IS NOT DISTINCT FROM $2::text)::int"};
/* $1: thread; $2: user; $3: op; $4: source; $5: ids that go; $6..$15: ids (0: new), ref, pos, at, mark, mid, role, name, content,
 * terms. Texts of another user are left over from an earlier thread of that name. */
static const struct pg_stmt st_put = {
	ST_TEXT_PUT, LANE_WRITE, "text_put",
	"WITH v AS (SELECT * FROM unnest($6::bigint[], $7::bigint[], $8::bigint[], $9::timestamptz[], $10::bigint[], $11::text[],"
	" $12::text[], $13::text[], $14::text[], $15::bytea[]) WITH ORDINALITY v(id, ref, pos, at, mark, mid, role, name, content,"
	" terms, ord)),"
	" g AS (DELETE FROM @cenote_text x WHERE x.thread = $1::text AND (x.usr <> $2::text OR x.id = ANY($5::bigint[])) RETURNING"
	" x.id, x.usr::text AS usr),"
	" u AS (UPDATE @cenote_text x SET ref = v.ref, at = v.at, mark = v.mark, role = v.role, name = v.name, content = v.content,"
	" terms = v.terms FROM v WHERE v.id > 0 AND x.id = v.id AND x.thread = $1::text AND x.source = $4::int AND x.usr = $2::text"
	" RETURNING x.id),"
	" n AS (INSERT INTO @cenote_text(thread, usr, source, ref, pos, at, mark, mid, role, name, content, terms) SELECT $1::text,"
	" $2::text, $4::int, v.ref, v.pos, v.at, v.mark, v.mid, v.role, v.name, v.content, v.terms FROM v WHERE v.id = 0 ORDER BY"
	" v.ord RETURNING id),"
	" d AS (SELECT -id AS id, usr FROM g UNION ALL SELECT id, $2::text FROM u UNION ALL SELECT id, $2::text FROM n)"
	" INSERT INTO @cenote_journal(op, step, kind, ids, names, threads) SELECT $3::bigint, 0, 'm', coalesce(array_agg(d.id "
	"ORDER BY"
	" d.id), '{}'), coalesce(array_agg(d.usr ORDER BY d.id), '{}'), coalesce(array_agg($1::text), '{}') FROM d"};
/* $1: thread; $2: seen. */
static const struct pg_stmt st_seen_set = {
	ST_TEXT_SEEN_SET, LANE_WRITE, "text_seen_set",
	"INSERT INTO @cenote_text_seen(thread, seen) VALUES ($1::text, $2::text) ON CONFLICT (thread) DO UPDATE SET seen ="
	" excluded.seen"};
/* $1: thread; $2: op; $3: only orphans. */
static const struct pg_stmt st_drop = {
	ST_TEXT_DROP, LANE_WRITE, "text_drop",
	"WITH o AS MATERIALIZED (SELECT $3::bool AND " PG_OWNER
	" IS NOT NULL AS kept), s AS (DELETE FROM @cenote_text_seen x USING o WHERE x.thread = $1::text AND NOT o.kept),"
	" g AS (DELETE FROM @cenote_text x USING o WHERE x.thread = $1::text AND NOT o.kept RETURNING x.id, x.usr::text AS usr)"
	" INSERT INTO @cenote_journal(op, step, kind, ids, names, threads) SELECT $2::bigint, 0, 'm', coalesce(array_agg(-g.id "
	"ORDER"
	" BY g.id), '{}'), coalesce(array_agg(g.usr ORDER BY g.id), '{}'), coalesce(array_agg($1::text), '{}') FROM g"};
/* $1: thread; $2: owners; $3: op; $4: sources. */
const struct pg_stmt pg_texts_gone = {
	ST_TEXTS_GONE, LANE_WRITE, "texts_gone",
	"WITH g AS (DELETE FROM @cenote_text x WHERE x.thread = $1::text AND x.source = ANY($4::int[]) AND " PG_SEEN(
		2) " RETURNING x.id, x.usr::text AS usr), s AS (DELETE FROM @cenote_text_seen x WHERE x.thread = $1::text "
		   "AND " PG_SEEN(
			   2) "), k AS (DELETE FROM @cenote_value x WHERE x.name = '" META_OF_THREAD
			      "' || $1::text AND 1 = ANY($4::int[]) AND " PG_SEEN(
				      2) ") INSERT INTO @cenote_journal(op, step, kind, ids, names, threads) SELECT $3::bigint, 2, "
					 "'m', array_agg(-g.id),"
					 " array_agg(g.usr), array_agg($1::text) FROM g HAVING EXISTS (SELECT FROM g)"};
/* $1: thread; $2: op. */
const struct pg_stmt pg_texts_of_entries_gone = {
	ST_TEXTS_ENTRIES_GONE, LANE_WRITE, "texts_entries_gone",
	"WITH g AS (DELETE FROM @cenote_text x WHERE x.thread = $1::text AND x.source = 1 AND NOT EXISTS (SELECT FROM"
	" @?agent_messages e WHERE e.session_id = $1::text AND e.id = x.ref) AND NOT EXISTS (SELECT FROM @?conversations e WHERE"
	" e.session_id = $1::text AND e.id + " PG_SEED_IDS " = x.ref) RETURNING x.id, x.usr::text AS usr),"
	" k AS (DELETE FROM @cenote_value x WHERE x.name = '" META_OF_THREAD "' || $1::text AND NOT EXISTS (SELECT FROM"
	" @?agent_messages e WHERE e.session_id = $1::text) AND NOT EXISTS (SELECT FROM @?conversations e WHERE e.session_id ="
	" $1::text))"
	" INSERT INTO @cenote_journal(op, step, kind, ids, names, threads) SELECT $2::bigint, 2, 'm', array_agg(-g.id),"
	" array_agg(g.usr), array_agg($1::text) FROM g HAVING EXISTS (SELECT FROM g)"};

static const struct pg_stmt st_seen = {ST_TEXT_SEEN, LANE_SEARCH, "text_seen",
				       "SELECT seen FROM @cenote_text_seen WHERE thread = $1::text"};
/* Those of another user are as good as gone. */
static const struct pg_stmt st_known = {ST_TEXT_KNOWN, LANE_SEARCH, "text_known",
					"SELECT x.id, x.ref, x.pos, x.mid, x.mark FROM (SELECT " PG_OWNER
					" AS usr OFFSET 0) o JOIN @cenote_text x ON x.thread ="
					" $1::text AND x.usr = o.usr WHERE x.source = $2::int ORDER BY x.id"};
static const struct pg_stmt st_walk = {ST_TEXTS_SEEN, LANE_SEARCH, "texts_seen",
				       "SELECT thread, seen FROM @cenote_text_seen WHERE thread > $1::text ORDER BY thread LIMIT"
				       " $2::bigint"};

static enum err check(const struct principal *who)
{
	if (who && who->user_bound)
		return err_set(E_DENIED, "this key is bound to a user and may not work on everybody's texts");
	return OK;
}

/* ---------------------------------------------------------------- writing */

#define NUMBERS(p, v, n, type, el, member)                                                                                         \
	do {                                                                                                                       \
		pg_array(p, type, n);                                                                                              \
		for (size_t i_ = 0; i_ < (n); i_++)                                                                                \
			el(p, (v)[i_].member);                                                                                     \
		pg_array_end(p);                                                                                                   \
	} while (0)

/* PostgreSQL's text takes everything but U+0000. */
static void el_text(struct pg_params *p, struct str s)
{
	char *copy, *at;
	if (!pg_has_nul(s)) {
		pg_el_str(p, s);
		return;
	}
	copy = malloc(s.n);
	if (!copy) {
		pg_el_str(p, STR(""));
		return;
	}
	memcpy(copy, s.p, s.n);
	for (at = copy; (at = memchr(at, 0, s.n - (size_t)(at - copy)));)
		*at++ = ' ';
	pg_el_str(p, str_of(copy, s.n));
	free(copy);
}

static void el_mark(struct pg_params *p, uint64_t v)
{
	pg_el_i64(p, (int64_t)v);
}

static void put_params(struct pg_params *p, const struct text_change *c, int64_t op)
{
	pg_params_init(p);
	pg_text(p, c->thread);
	pg_text(p, c->user);
	pg_i64(p, op);
	pg_i32(p, (int32_t)c->source);
	pg_array(p, PG_INT8S, c->gone_n);
	for (size_t i = 0; i < c->gone_n; i++)
		pg_el_i64(p, c->gone[i]);
	pg_array_end(p);
	NUMBERS(p, c->v, c->n, PG_INT8S, pg_el_i64, id);
	NUMBERS(p, c->v, c->n, PG_INT8S, pg_el_i64, ref);
	NUMBERS(p, c->v, c->n, PG_INT8S, pg_el_i64, pos);
	NUMBERS(p, c->v, c->n, PG_TIMESTAMPTZS, pg_el_time, time_us);
	NUMBERS(p, c->v, c->n, PG_INT8S, el_mark, mark);
	NUMBERS(p, c->v, c->n, PG_TEXTS, el_text, mid);
	NUMBERS(p, c->v, c->n, PG_TEXTS, el_text, role);
	NUMBERS(p, c->v, c->n, PG_TEXTS, el_text, name);
	NUMBERS(p, c->v, c->n, PG_TEXTS, el_text, content);
	NUMBERS(p, c->v, c->n, PG_BYTEAS, pg_el_str, terms);
}

/* Steps of a transaction on one thread: the lock first, in the end the vectors of what went. */
#define STEPS_MAX 5
struct txn {
	struct pg_params p[STEPS_MAX];
	struct pg_step steps[STEPS_MAX];
	struct pg_job j;
};

static struct pg_params *add(struct txn *x, const struct pg_stmt *st)
{
	struct pg_params *p = &x->p[x->j.n];
	x->steps[x->j.n++] = (struct pg_step){.st = st, .p = p};
	pg_params_init(p);
	return p;
}

static enum err run(struct txn *x, int64_t op)
{
	pg_i64(add(x, &pg_vectors_gone), op);
	enum err e = pg_run(&x->j);
	if (e != OK && strcmp(x->j.sqlstate, "22012") == 0)
		e = err_set(E_CONFLICT, "the thread is gone, or somebody else's");
	pg_job_clear(&x->j);
	for (unsigned i = 0; i < x->j.n; i++)
		pg_params_release(&x->p[i]);
	return e;
}

/* An attempt that had been committed and is reported as repeated is what was wanted. */
static enum err pg_text_put(struct store *s, const struct principal *who, const struct text_change *c)
{
	struct txn x;
	struct pg_params *p;
	int64_t op = pg_new_op();
	TRY(principal_check(who, RIGHT_WRITE));
	TRY(check(who));
	if (c->n > TEXTS_PER_CALL || c->gone_n > TEXTS_PER_CALL || c->seen.n > TEXT_SEEN_MAX)
		return err_set(E_LIMIT, "at most %d texts are written at once", TEXTS_PER_CALL);
	x.j = (struct pg_job){.steps = x.steps, .lane = LANE_WRITE, .write = true};
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, false, &x.j.t));
	if (!x.j.t || pg_has_nul(c->thread) || pg_has_nul(c->user))
		return err_set(E_CONFLICT, "the thread is gone");
	pg_text(add(&x, &pg_texts_lock), c->thread);
	p = add(&x, &st_check);
	pg_text(p, c->thread);
	pg_text(p, c->user);
	p = add(&x, &st_put);
	put_params(p, c, op);
	if (c->seen.p) {
		p = add(&x, &st_seen_set);
		pg_text(p, c->thread);
		pg_text(p, c->seen);
	}
	return run(&x, op);
}

static enum err pg_text_drop(struct store *s, const struct principal *who, struct str thread, bool only_orphans)
{
	struct txn x;
	struct pg_params *p;
	int64_t op = pg_new_op();
	TRY(principal_check(who, RIGHT_WRITE));
	TRY(check(who));
	x.j = (struct pg_job){.steps = x.steps, .lane = LANE_WRITE, .write = true};
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, false, &x.j.t));
	if (!x.j.t || pg_has_nul(thread))
		return OK;
	pg_text(add(&x, &pg_texts_lock), thread);
	p = add(&x, &st_drop);
	pg_text(p, thread);
	pg_i64(p, op);
	pg_bool(p, only_orphans);
	return run(&x, op);
}

/* ---------------------------------------------------------------- reading */

static enum err pg_text_seen(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct str *out)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	*out = STR("");
	TRY(check(who));
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t || pg_has_nul(thread))
		return OK;
	pg_params_init(&p);
	pg_text(&p, thread);
	TRY(pg_query(t, &st_seen, &p, &r));
	if (PQntuples(r) > 0)
		*out = arena_str(a, pg_get_str(r, 0, 0));
	PQclear(r);
	return out->p ? OK : E_NOMEM;
}

static enum err pg_text_known(struct store *s, struct arena *a, const struct principal *who, struct str thread,
			      enum text_source source, struct text_known **out, size_t *n)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	*out = NULL;
	*n = 0;
	TRY(check(who));
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t || pg_has_nul(thread))
		return OK;
	pg_params_init(&p);
	pg_text(&p, thread);
	pg_i32(&p, (int32_t)source);
	TRY(pg_query(t, &st_known, &p, &r));
	size_t rows = (size_t)PQntuples(r);
	*out = ARENA_ARRAY(a, struct text_known, rows + 1);
	for (size_t i = 0; i < rows && *out && e == OK; i++) {
		int row = (int)i;
		(*out)[i] = (struct text_known){.id = pg_get_i64(r, row, 0),
						.ref = pg_get_i64(r, row, 1),
						.pos = pg_get_i64(r, row, 2),
						.mid = arena_str(a, pg_get_str(r, row, 3)),
						.mark = (uint64_t)pg_get_i64(r, row, 4)};
		e = (*out)[i].mid.p ? OK : E_NOMEM;
	}
	PQclear(r);
	*n = rows;
	return *out ? e : E_NOMEM;
}

static enum err pg_text_walk(struct store *s, const struct principal *who, struct str after, size_t limit, text_seen_fn fn,
			     void *ctx)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	TRY(check(who));
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t)
		return OK;
	pg_params_init(&p);
	pg_text(&p, after);
	pg_i64(&p, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
	TRY(pg_query(t, &st_walk, &p, &r));
	for (int i = 0; i < PQntuples(r); i++)
		if (!fn(ctx, pg_get_str(r, i, 0), pg_get_str(r, i, 1)))
			break;
	PQclear(r);
	return OK;
}

const struct text_ops pg_text_ops = {
	.seen = pg_text_seen, .known = pg_text_known, .put = pg_text_put, .drop = pg_text_drop, .walk = pg_text_walk};
