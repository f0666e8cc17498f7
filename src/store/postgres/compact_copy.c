/* Copies of threads in the compact layout, in the server: every row again below new numbers; runs name chunks within their stream
 * and need no change. For a part of a thread, what its checkpoints refer to is found here first; the transaction checks that
 * nothing has changed since (rev). */
#include "store/postgres/compact.h"

#include "rt/work.h"
#include "store/postgres/sessions.h"

/* $1 from, $2 to. */
static const struct pg_stmt st_look = {
	ST_COMPACT_COPY_LOOK, LANE_WRITE, "compact_copy_look",
	"SELECT f.usr::text, EXISTS (SELECT FROM @cenote_checkpoint_ns n WHERE n.thread = f.id), coalesce(t.usr::text, CASE "
	"WHEN " PG_FOREIGN(
		"$2::text") " THEN '' END), EXISTS (SELECT FROM @cenote_checkpoint_ns n WHERE n.thread = t.id) FROM (SELECT 1) one "
			    "LEFT JOIN"
			    " @cenote_thread f ON f.thread = $1::text LEFT JOIN @cenote_thread t ON t.thread = $2::text"};
/* $1 from, $2 ns, $3 ids. */
static const struct pg_stmt st_source = {ST_COMPACT_COPY_SOURCE, LANE_WRITE, "compact_copy_source",
					 "SELECT n.id, n.rev, n.ns, c.body FROM @cenote_thread t JOIN @cenote_checkpoint_ns n ON "
					 "n.thread = t.id JOIN @cenote_checkpoint c"
					 " ON c.scope = n.id WHERE t.thread = $1::text AND (n.ns, c.cid) IN (SELECT x.ns, x.cid "
					 "FROM unnest($2::text[], $3::text[]) AS x(ns,"
					 " cid)) ORDER BY n.id"};

/* In the order of names, so that two copies do not wait for each other. $1 from, $2 to, $3 op: the journal's row is in the first
 * statement, because the next refuses a target that has checkpoints, and so those of a copy whose answer was lost. */
static const struct pg_stmt st_lock = {
	ST_COMPACT_COPY_LOCK, LANE_WRITE, "compact_copy_lock",
	"WITH j AS (" COMPACT_JOURNAL(
		3,
		0) ") SELECT 1 FROM @cenote_thread t WHERE t.thread IN ($1::text, $2::text) ORDER BY t.thread FOR NO KEY UPDATE"};
/* $3 the user that both must be of, $4 now, $5 ids, $6 revs of namespaces of the source that must be the same (NULL: any). */
static const struct pg_stmt st_target = {
	ST_COMPACT_COPY_TARGET, LANE_WRITE, "compact_copy_target",
	"WITH f AS MATERIALIZED (SELECT t.id, t.usr FROM @cenote_thread t WHERE t.thread = $1::text), y AS MATERIALIZED (INSERT "
	"INTO"
	" @cenote_thread AS t(thread, usr, created_at, updated_at, messages) SELECT $2::text, f.usr, $4::timestamptz, "
	"$4::timestamptz, 0"
	" FROM f ON CONFLICT (thread) DO UPDATE SET updated_at = greatest(t.updated_at, excluded.updated_at) RETURNING t.id, t.usr)"
	" SELECT 1 / ((SELECT f.usr = $3::text AND y.usr = $3::text FROM f, y) AND NOT EXISTS (SELECT FROM y JOIN "
	"@cenote_checkpoint_ns n ON"
	" n.thread = y.id) AND ($5::bigint[] IS NULL OR cardinality($5::bigint[]) = (SELECT count(*) FROM unnest($5::bigint[],"
	" $6::bigint[]) AS x(id, rev) JOIN @cenote_checkpoint_ns n ON n.id = x.id AND n.rev = x.rev)))::int"};

#define FROM_TO                                                                                                                    \
	"m AS MATERIALIZED (SELECT o.id AS o, d.id AS d, o.ns FROM @cenote_thread f JOIN @cenote_checkpoint_ns o ON o.thread = "   \
	"f.id"                                                                                                                     \
	" JOIN @cenote_thread t ON t.thread = $2::text JOIN @cenote_checkpoint_ns d ON d.thread = t.id AND d.ns = o.ns WHERE"      \
	" f.thread = $1::text)"
/* $3 namespaces (NULL: all). */
static const struct pg_stmt st_scopes = {
	ST_COMPACT_COPY_SCOPES, LANE_WRITE, "compact_copy_scopes",
	"INSERT INTO @cenote_checkpoint_ns(thread, ns, rev) SELECT t.id, n.ns, 1 FROM @cenote_thread f JOIN @cenote_checkpoint_ns "
	"n ON"
	" n.thread = f.id JOIN @cenote_thread t ON t.thread = $2::text WHERE f.thread = $1::text AND ($3::text[] IS NULL OR n.ns ="
	" ANY($3::text[]))"};
/* $3 scope, $4 channel (NULL: all). */
static const struct pg_stmt st_streams = {
	ST_COMPACT_COPY_STREAMS, LANE_WRITE, "compact_copy_streams",
	"WITH " FROM_TO
	" INSERT INTO @cenote_stream(scope, channel, head) SELECT m.d, s.channel, s.head FROM m JOIN @cenote_stream s ON"
	" s.scope = m.o WHERE $3::bigint[] IS NULL OR (s.scope, s.channel) IN (SELECT x.scope, x.channel FROM unnest($3::bigint[],"
	" $4::text[]) AS x(scope, channel))"};
/* $3 scope, $4 channel, $5 version; $6 ns, $7 id (NULL: all). */
static const struct pg_stmt st_rows = {
	ST_COMPACT_COPY_ROWS, LANE_WRITE, "compact_copy_rows",
	"WITH " FROM_TO
	", s AS MATERIALIZED (SELECT o.id AS o, d.id AS d, o.scope, o.channel FROM m JOIN @cenote_stream o ON o.scope = m.o"
	" JOIN @cenote_stream d ON d.scope = m.d AND d.channel = o.channel),"
	" v AS MATERIALIZED (SELECT s.o, s.d, v.version, v.type, v.runs, v.data FROM s JOIN @cenote_version v ON v.stream = s.o "
	"WHERE"
	" $3::bigint[] IS NULL OR (s.scope, s.channel, v.version) IN (SELECT x.scope, x.channel, x.version FROM "
	"unnest($3::bigint[],"
	" $4::text[], $5::bytea[]) AS x(scope, channel, version))),"
	" w AS (INSERT INTO @cenote_version(stream, version, type, runs, data) SELECT v.d, v.version, v.type, v.runs, v.data FROM "
	"v),"
	" k AS (INSERT INTO @cenote_chunk(id, data) SELECT k.id - (q.o << 28) + (q.d << 28), k.data FROM (SELECT DISTINCT v.o, v.d,"
	" v.runs[i] AS lo, v.runs[i + 1] AS hi FROM v CROSS JOIN LATERAL generate_series(1, cardinality(v.runs), 2) i WHERE v.runs "
	"IS NOT"
	" NULL) q CROSS JOIN LATERAL (SELECT k.id, k.data FROM @cenote_chunk k WHERE k.id BETWEEN (q.o << 28) + q.lo AND (q.o << "
	"28) +"
	" q.hi OFFSET 0) k ON CONFLICT (id) DO NOTHING),"
	" p AS (INSERT INTO @cenote_pending(scope, cid, task, marks, data) SELECT m.d, p.cid, p.task, p.marks, p.data FROM m JOIN"
	" @cenote_pending p ON p.scope = m.o WHERE $6::text[] IS NULL OR (m.ns, p.cid) IN (SELECT x.ns, x.cid FROM "
	"unnest($6::text[],"
	" $7::text[]) AS x(ns, cid))),"
	" c AS (INSERT INTO @cenote_checkpoint(scope, cid, parent, run, body) SELECT m.d, c.cid, c.parent, c.run, c.body FROM m "
	"JOIN"
	" @cenote_checkpoint c ON c.scope = m.o WHERE $6::text[] IS NULL OR (m.ns, c.cid) IN (SELECT x.ns, x.cid FROM "
	"unnest($6::text[],"
	" $7::text[]) AS x(ns, cid))) SELECT 1"};

struct value {
	int64_t scope;
	struct str channel, version;
};
struct copying {
	struct pg_tenant *t;
	const struct principal *who;
	struct str from, to, user;
	const struct ckpt_ref *refs; /* NULL: all */
	size_t refs_n;
	struct arena *a;
	/* of a part */
	const PGresult *r;
	int64_t *ids, *revs;
	struct str *ns;
	size_t n;
	struct value *values;
	size_t values_n, cap;
};

static enum err not_found(void)
{
	return err_set(E_NOT_FOUND, "the thread has no such checkpoints");
}

static enum err look(struct copying *x)
{
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	pg_params_init(&p);
	pg_text(&p, x->from);
	pg_text(&p, x->to);
	TRY(pg_query(x->t, &st_look, &p, &r));
	x->user = arena_str(x->a, pg_get_str(r, 0, 0));
	if (pg_is_null(r, 0, 0) || !principal_sees(x->who, x->user) || !pg_get_bool(r, 0, 1))
		e = not_found();
	else if (!pg_is_null(r, 0, 2) && (!str_eq(pg_get_str(r, 0, 2), x->user) || !principal_sees(x->who, pg_get_str(r, 0, 2))))
		e = err_set(E_CONFLICT, "the target thread belongs to another user; nothing was copied");
	else if (pg_get_bool(r, 0, 3))
		e = err_set(E_CONFLICT, "the target thread has checkpoints already; nothing was copied");
	PQclear(r);
	return e;
}

/* ---------------------------------------------------------------- a part */

static enum err add_value(struct copying *x, struct map *seen, int64_t scope, const struct compact_chan *c)
{
	struct str key = arena_printf(x->a, "%lld/%zu/%.*s/", (long long)scope, c->channel.n, STR_ARG(c->channel));
	char *p = key.p ? arena_alloc(x->a, key.n + c->version.n) : NULL;
	if (!p)
		return E_NOMEM;
	memcpy(p, key.p, key.n);
	memcpy(p + key.n, c->version.p, c->version.n);
	key = str_of(p, key.n + c->version.n);
	if (map_get(seen, key) || pg_ckpt_unknown(c->channel))
		return OK;
	TRY(map_put(seen, key, x, NULL));
	if (x->values_n == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 64;
		x->values = arena_grow(x->a, x->values, x->cap * sizeof *x->values, cap * sizeof *x->values);
		if (!x->values)
			return E_NOMEM;
		x->cap = cap;
	}
	x->values[x->values_n++] = (struct value){scope, c->channel, c->version};
	return OK;
}

static enum err values_of(struct copying *x)
{
	struct str checkpoint, metadata;
	struct compact_chan *c;
	struct map seen;
	size_t k;
	enum err e = OK;
	map_init(&seen);
	for (int i = 0; i < PQntuples(x->r) && e == OK; i++) {
		int64_t scope = pg_get_i64(x->r, i, 0);
		if (x->n == 0 || x->ids[x->n - 1] != scope) {
			x->ids[x->n] = scope;
			x->revs[x->n] = pg_get_i64(x->r, i, 1);
			x->ns[x->n++] = arena_str(x->a, pg_get_str(x->r, i, 2));
		}
		e = pack_unbody(x->a, pg_get_str(x->r, i, 3), &checkpoint, &metadata);
		if (e == OK)
			e = compact_channels(x->a, checkpoint, &c, &k);
		for (size_t at = 0; e == OK && at < k; at++)
			e = add_value(x, &seen, scope, &c[at]);
	}
	map_release(&seen);
	return e;
}

static enum err source_task(void *arg)
{
	struct copying *x = arg;
	size_t n = (size_t)PQntuples(x->r);
	x->n = x->values_n = x->cap = 0;
	x->values = NULL;
	x->ids = ARENA_ARRAY(x->a, int64_t, n + 1);
	x->revs = ARENA_ARRAY(x->a, int64_t, n + 1);
	x->ns = ARENA_ARRAY(x->a, struct str, n + 1);
	return x->ids && x->revs && x->ns ? values_of(x) : E_NOMEM;
}

static void refs_params(struct pg_params *p, const struct copying *x)
{
	for (unsigned id = 0; id < 2; id++) {
		if (!x->refs) {
			pg_null(p, PG_TEXTS);
			continue;
		}
		pg_array(p, PG_TEXTS, x->refs_n);
		for (size_t i = 0; i < x->refs_n; i++)
			pg_el_str(p, id ? x->refs[i].id : x->refs[i].ns);
		pg_array_end(p);
	}
}

static enum err source(struct copying *x)
{
	struct pg_params p;
	PGresult *r;
	if (!x->refs)
		return OK;
	pg_params_init(&p);
	pg_text(&p, x->from);
	refs_params(&p, x);
	TRY(pg_query(x->t, &st_source, &p, &r));
	x->r = r;
	enum err e = work_run(source_task, x);
	PQclear(r);
	return e == OK && x->n == 0 ? not_found() : e;
}

/* ---------------------------------------------------------------- the transaction */

enum { S_LOCK, S_TARGET, S_SCOPES, S_STREAMS, S_ROWS, S_STEPS };

static void numbers(struct pg_params *p, const int64_t *v, size_t n, bool all)
{
	if (all) {
		pg_null(p, PG_INT8S);
		return;
	}
	pg_array(p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(p, v[i]);
	pg_array_end(p);
}

static void values_params(struct pg_params *p, const struct copying *x, bool versions)
{
	if (!x->refs) {
		pg_null(p, PG_INT8S);
		pg_null(p, PG_TEXTS);
		if (versions)
			pg_null(p, PG_BYTEAS);
		return;
	}
	pg_array(p, PG_INT8S, x->values_n);
	for (size_t i = 0; i < x->values_n; i++)
		pg_el_i64(p, x->values[i].scope);
	pg_array_end(p);
	pg_array(p, PG_TEXTS, x->values_n);
	for (size_t i = 0; i < x->values_n; i++)
		pg_el_str(p, x->values[i].channel);
	pg_array_end(p);
	if (!versions)
		return;
	pg_array(p, PG_BYTEAS, x->values_n);
	for (size_t i = 0; i < x->values_n; i++)
		pg_el_str(p, x->values[i].version);
	pg_array_end(p);
}

static void params(struct pg_params *p, const struct copying *x)
{
	for (unsigned i = 0; i < S_STEPS; i++) {
		pg_params_init(&p[i]);
		pg_text(&p[i], x->from);
		pg_text(&p[i], x->to);
	}
	pg_i64(&p[S_LOCK], pg_new_op());
	pg_text(&p[S_TARGET], x->user);
	pg_time(&p[S_TARGET], clock_unique_us());
	numbers(&p[S_TARGET], x->ids, x->n, !x->refs);
	numbers(&p[S_TARGET], x->revs, x->n, !x->refs);
	if (x->refs) {
		pg_array(&p[S_SCOPES], PG_TEXTS, x->n);
		for (size_t i = 0; i < x->n; i++)
			pg_el_str(&p[S_SCOPES], x->ns[i]);
		pg_array_end(&p[S_SCOPES]);
	} else {
		pg_null(&p[S_SCOPES], PG_TEXTS);
	}
	values_params(&p[S_STREAMS], x, false);
	values_params(&p[S_ROWS], x, true);
	refs_params(&p[S_ROWS], x);
}

static enum err copy(struct copying *x, bool *again)
{
	struct pg_params p[S_STEPS];
	struct pg_step steps[S_STEPS] = {{&st_lock, &p[S_LOCK], NULL},
					 {&st_target, &p[S_TARGET], NULL},
					 {&st_scopes, &p[S_SCOPES], NULL},
					 {&st_streams, &p[S_STREAMS], NULL},
					 {&st_rows, &p[S_ROWS], NULL}};
	struct pg_job j = {.t = x->t, .steps = steps, .n = S_STEPS, .lane = LANE_WRITE, .write = true};
	params(p, x);
	enum err e = pg_run(&j);
	*again = e != OK && strcmp(j.sqlstate, "22012") == 0;
	pg_job_clear(&j);
	for (unsigned i = 0; i < S_STEPS; i++)
		pg_params_release(&p[i]);
	return e;
}

static enum err tries(const struct copying *ask)
{
	int64_t me = pg_new_op();
	for (unsigned i = 0; i < COMPACT_TRIES; i++) {
		struct copying x = *ask;
		struct arena a;
		bool again = false;
		arena_init(&a, PACK_ROOM);
		x.a = &a;
		enum err e = look(&x);
		if (e == OK)
			e = source(&x);
		if (e == OK && i > 0 && x.n) {
			e = compact_again(x.t, i, me, x.ids, x.n);
			if (e == OK)
				e = source(&x);
		}
		if (e == OK)
			e = copy(&x, &again);
		arena_release(&a);
		if (!again)
			return e;
	}
	return err_set(E_BUSY, "others write to the thread all the time; try again");
}

enum err compact_copy(struct store *s, const struct principal *who, struct str from, struct str to, const struct ckpt_ref *refs,
		      size_t n)
{
	struct copying x = {.who = who, .from = from, .to = to, .refs = refs, .refs_n = n};
	struct compact_turns turns = {{0}};
	TRY(compact_open(s, who, RIGHT_WRITE, false, &x.t));
	if (!x.t || pg_ckpt_unknown(from))
		return not_found();
	TRY(pg_ckpt_names(&to, 1));
	for (size_t i = 0; refs && i < n; i++) {
		TRY(pg_ckpt_names(&refs[i].ns, 1));
		TRY(pg_ckpt_names(&refs[i].id, 1));
	}
	compact_turn_add(&turns, x.t, from);
	compact_turn_add(&turns, x.t, to);
	compact_turns_begin(x.t->s, &turns);
	enum err e = tries(&x);
	compact_turns_end(x.t->s, &turns);
	return e;
}
