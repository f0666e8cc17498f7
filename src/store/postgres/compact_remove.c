/* Removing checkpoints of the compact layout: their rows and writes, versions that no remaining checkpoint of the namespace refers
 * to, chunks that no remaining version names. Which these are is found here, before the transaction, by reading all checkpoints of
 * the namespace and the runs of its versions; the transaction checks that nothing has been put since (rev). Parents that went
 * become none. A namespace that has neither checkpoints nor early writes goes, and with the last one the thread's row, unless
 * something else lies under the name. */
#include "store/postgres/compact.h"

#include "rt/work.h"
#include "store/postgres/sessions.h"

/* $1 thread, $2 owners, $3 namespaces. rev is read before the rest: what changes meanwhile makes the transaction fail. */
static const struct pg_stmt st_scopes = {
	ST_COMPACT_SCOPES_OF, LANE_WRITE, "compact_scopes_of",
	"SELECT n.id, n.rev, n.ns FROM @cenote_thread t JOIN @cenote_checkpoint_ns n ON n.thread = t.id"
	" WHERE t.thread = $1::text AND n.ns = ANY($3::text[]) AND " COMPACT_SEEN(2) " ORDER BY n.id"};
static const struct pg_stmt st_all = {
	ST_COMPACT_ALL, LANE_WRITE, "compact_all",
	"SELECT c.scope, c.cid, c.parent, c.body FROM @cenote_checkpoint c WHERE c.scope = ANY($1::bigint[])"};
static const struct pg_stmt st_runs = {
	ST_COMPACT_RUNS, LANE_WRITE, "compact_runs",
	"SELECT s.id, s.scope, s.channel, v.version, v.runs FROM @cenote_stream s JOIN @cenote_version v ON"
	" v.stream = s.id WHERE s.scope = ANY($1::bigint[]) AND v.runs IS NOT NULL ORDER BY s.id"};

static const struct pg_stmt st_lock = {
	ST_COMPACT_LOCK_ONE, LANE_WRITE, "compact_lock_one",
	"SELECT 1 FROM @cenote_thread t WHERE t.thread = $1::text AND " COMPACT_SEEN(2) " FOR NO KEY UPDATE"};
/* $1, $2 removed: scope, id. $3, $4 those whose parent goes. $5..$7 versions: scope, channel, version. $8, $9 chunks from, to.
 * $10, $11 streams and their heads. $12 op. */
static const struct pg_stmt st_remove = {
	ST_COMPACT_REMOVE, LANE_WRITE, "compact_remove",
	"WITH d AS (DELETE FROM @cenote_checkpoint c USING unnest($1::bigint[], $2::text[]) AS x(scope, cid) WHERE c.scope = "
	"x.scope AND"
	" c.cid = x.cid RETURNING c.scope),"
	" p AS (DELETE FROM @cenote_pending p USING unnest($1::bigint[], $2::text[]) AS x(scope, cid) WHERE p.scope = x.scope AND "
	"p.cid ="
	" x.cid RETURNING p.data),"
	" o AS (UPDATE @cenote_checkpoint c SET parent = NULL FROM unnest($3::bigint[], $4::text[]) AS x(scope, cid) WHERE c.scope "
	"="
	" x.scope AND c.cid = x.cid),"
	" v AS (DELETE FROM @cenote_version v USING unnest($5::bigint[], $6::text[], $7::bytea[]) AS x(scope, channel, version),"
	" @cenote_stream s WHERE s.scope = x.scope AND s.channel = x.channel AND v.stream = s.id AND v.version = x.version "
	"RETURNING v.type,"
	" octet_length(v.data) AS n),"
	" k AS (DELETE FROM @cenote_chunk k USING unnest($8::bigint[], $9::bigint[]) AS x(lo, hi) WHERE k.id BETWEEN x.lo AND x.hi"
	" RETURNING octet_length(k.data) AS n),"
	" h AS (UPDATE @cenote_stream s SET head = x.head FROM unnest($10::bigint[], $11::bytea[]) AS x(id, head) WHERE s.id = "
	"x.id),"
	" j AS (" COMPACT_JOURNAL(12, 0) ")"
					 " SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM v WHERE type <> " COMPACT_EMPTY
					 "), (SELECT coalesce(sum(n), 0)::bigint FROM"
					 " v) + (SELECT coalesce(sum(n), 0)::bigint FROM k), ARRAY(SELECT p.data FROM p)"};
/* What nobody needs any more of namespaces $1. */
static const struct pg_stmt st_clean = {
	ST_COMPACT_CLEAN, LANE_WRITE, "compact_clean",
	"WITH e AS MATERIALIZED (SELECT n.id FROM @cenote_checkpoint_ns n WHERE n.id = ANY($1::bigint[]) AND NOT EXISTS (SELECT "
	"FROM"
	" @cenote_checkpoint c WHERE c.scope = n.id) AND NOT EXISTS (SELECT FROM @cenote_pending p WHERE p.scope = n.id)),"
	" s AS MATERIALIZED (SELECT s.id FROM @cenote_stream s JOIN e ON e.id = s.scope),"
	" k AS (DELETE FROM @cenote_chunk k USING s WHERE k.id BETWEEN (s.id << 28) AND (s.id << 28) + 268435455),"
	" v AS (DELETE FROM @cenote_version v USING s WHERE v.stream = s.id),"
	" d AS (DELETE FROM @cenote_stream s WHERE s.scope = ANY($1::bigint[]) AND (s.scope IN (SELECT id FROM e) OR NOT EXISTS "
	"(SELECT"
	" FROM @cenote_version v WHERE v.stream = s.id))) DELETE FROM @cenote_checkpoint_ns n USING e WHERE n.id = e.id"};
static const struct pg_stmt st_bare = {
	ST_COMPACT_BARE, LANE_WRITE, "compact_bare",
	"DELETE FROM @cenote_thread t WHERE t.thread = $1::text AND t.version = 0 AND t.messages = 0 AND NOT " PG_FOREIGN(
		"$1::text")};

/* The whole thread, for threads.c: $1 thread, $2 owners. */
static const struct pg_stmt st_gone = {
	ST_COMPACT_GONE, LANE_WRITE, "compact_gone",
	"WITH n AS MATERIALIZED (SELECT n.id FROM @cenote_thread t JOIN @cenote_checkpoint_ns n ON n.thread = t.id WHERE t.thread ="
	" $1::text AND " COMPACT_SEEN(
		2) "), s AS MATERIALIZED (SELECT s.id FROM @cenote_stream s JOIN n ON n.id = s.scope),"
		   " k AS (DELETE FROM @cenote_chunk k USING s WHERE k.id BETWEEN (s.id << 28) AND (s.id << 28) + 268435455),"
		   " v AS (DELETE FROM @cenote_version v USING s WHERE v.stream = s.id),"
		   " d AS (DELETE FROM @cenote_stream x USING s WHERE x.id = s.id),"
		   " p AS (DELETE FROM @cenote_pending p USING n WHERE p.scope = n.id),"
		   " c AS (DELETE FROM @cenote_checkpoint c USING n WHERE c.scope = n.id),"
		   " g AS (DELETE FROM @cenote_checkpoint_ns x USING n WHERE x.id = n.id RETURNING 1) SELECT count(*) FROM g"};
const struct pg_stmt *const compact_thread_gone = &st_gone;

/* ---------------------------------------------------------------- what goes */

struct name {
	int64_t scope;
	struct str text, version; /* an id; or a channel and its version */
};
struct range {
	int64_t from, to;
};
struct head {
	int64_t stream;
	struct str version;
};
struct removing {
	struct pg_tenant *t;
	const struct principal *who;
	struct str thread;
	const struct ckpt_ref *refs;
	size_t refs_n;
	struct arena *a;
	struct str *ns; /* of the namespaces concerned */
	int64_t *ids, *revs;
	size_t n;
	/* found */
	const PGresult *all, *runs;
	struct map removed, kept; /* scope and id; scope, channel and version -> not NULL */
	struct name *gone, *orphans, *versions;
	size_t gone_n, orphans_n, versions_n, cap;
	struct range *chunks;
	size_t chunks_n, chunks_cap;
	struct head *heads;
	size_t heads_n;
};

static struct str key_of(struct arena *a, int64_t scope, struct str x, struct str y)
{
	char *p = arena_alloc(a, 16 + x.n + y.n);
	uint64_t n = x.n;
	if (!p)
		return (struct str){0};
	memcpy(p, &scope, 8);
	memcpy(p + 8, &n, 8);
	if (x.n)
		memcpy(p + 16, x.p, x.n);
	if (y.n)
		memcpy(p + 16 + x.n, y.p, y.n);
	return str_of(p, 16 + x.n + y.n);
}

static bool has(const struct map *m, struct arena *a, int64_t scope, struct str x, struct str y)
{
	struct str key = key_of(a, scope, x, y);
	return key.p && map_get(m, key);
}

static enum err put(struct map *m, struct arena *a, int64_t scope, struct str x, struct str y)
{
	struct str key = key_of(a, scope, x, y);
	return key.p ? map_put(m, key, m, NULL) : E_NOMEM;
}

static enum err refs_in(struct removing *x)
{
	for (size_t i = 0; i < x->refs_n; i++)
		for (size_t k = 0; k < x->n; k++)
			if (str_eq(x->refs[i].ns, x->ns[k]))
				TRY(put(&x->removed, x->a, x->ids[k], x->refs[i].id, STR("")));
	return OK;
}

/* Every checkpoint of the namespaces: those that stay keep what they refer to. */
static enum err mark(struct removing *x)
{
	struct arena a;
	struct str checkpoint, metadata;
	struct compact_chan *c;
	size_t n;
	enum err e = OK;
	arena_init(&a, PACK_ROOM);
	for (int i = 0; i < PQntuples(x->all) && e == OK; i++) {
		struct str id = pg_get_str(x->all, i, 1), parent = pg_get_str(x->all, i, 2);
		int64_t scope = pg_get_i64(x->all, i, 0);
		if (has(&x->removed, &a, scope, id, STR(""))) {
			x->gone[x->gone_n++] = (struct name){.scope = scope, .text = id};
			arena_clear(&a);
			continue;
		}
		if (parent.n && has(&x->removed, &a, scope, parent, STR("")))
			x->orphans[x->orphans_n++] = (struct name){.scope = scope, .text = id};
		e = pack_unbody(&a, pg_get_str(x->all, i, 3), &checkpoint, &metadata);
		if (e == OK)
			e = compact_channels(&a, checkpoint, &c, &n);
		for (size_t k = 0; k < n && e == OK; k++)
			e = put(&x->kept, &a, scope, c[k].channel, c[k].version);
		arena_clear(&a);
	}
	arena_release(&a);
	return e;
}

/* Versions of removed checkpoints that nobody keeps, each once (it is then kept as far as the others are concerned). */
static enum err sweep_versions(struct removing *x)
{
	struct str checkpoint, metadata;
	struct compact_chan *c;
	size_t n;
	for (int i = 0; i < PQntuples(x->all); i++) {
		int64_t scope = pg_get_i64(x->all, i, 0);
		if (!has(&x->removed, x->a, scope, pg_get_str(x->all, i, 1), STR("")))
			continue;
		TRY(pack_unbody(x->a, pg_get_str(x->all, i, 3), &checkpoint, &metadata));
		TRY(compact_channels(x->a, checkpoint, &c, &n));
		for (size_t k = 0; k < n; k++) {
			if (pg_ckpt_unknown(c[k].channel) || has(&x->kept, x->a, scope, c[k].channel, c[k].version))
				continue;
			TRY(put(&x->kept, x->a, scope, c[k].channel, c[k].version));
			if (x->versions_n == x->cap) {
				size_t cap = x->cap ? x->cap * 2 : 64;
				x->versions =
					arena_grow(x->a, x->versions, x->cap * sizeof *x->versions, cap * sizeof *x->versions);
				if (!x->versions)
					return E_NOMEM;
				x->cap = cap;
			}
			x->versions[x->versions_n++] = (struct name){scope, c[k].channel, c[k].version};
		}
	}
	return OK;
}

/* ---------------------------------------------------------------- chunks */

static enum err add_range(struct removing *x, int64_t stream, int64_t from, int64_t to)
{
	if (x->chunks_n == x->chunks_cap) {
		size_t cap = x->chunks_cap ? x->chunks_cap * 2 : 64;
		x->chunks = arena_grow(x->a, x->chunks, x->chunks_cap * sizeof *x->chunks, cap * sizeof *x->chunks);
		if (!x->chunks)
			return E_NOMEM;
		x->chunks_cap = cap;
	}
	x->chunks[x->chunks_n++] = (struct range){(stream << COMPACT_CHUNK_BITS) + from, (stream << COMPACT_CHUNK_BITS) + to};
	return OK;
}

enum { USED = 1, FREED = 2 };

/* The greatest number in the runs; those of the version marked. */
static int64_t each_run(const PGresult *r, int row, uint8_t *marks, uint8_t mark, int64_t most)
{
	struct pg_array runs;
	int64_t from, to, top = 0;
	pg_get_array(r, row, 4, &runs);
	while (pg_next_i64(&runs, &from) && pg_next_i64(&runs, &to)) {
		top = to > top ? to : top;
		for (int64_t k = from; marks && k >= 1 && k <= to && k <= most; k++)
			marks[k] |= mark;
	}
	return top;
}

static bool freed_row(struct removing *x, const struct map *freed, int i)
{
	return has(freed, x->a, pg_get_i64(x->runs, i, 1), pg_get_str(x->runs, i, 2), pg_get_str(x->runs, i, 3));
}

/* Rows [from, to) are the versions of one stream. */
static enum err sweep_stream(struct removing *x, const struct map *freed, int from, int to)
{
	int64_t most = 0, best = 0, stream = pg_get_i64(x->runs, from, 0);
	bool some = false;
	struct head head = {.stream = stream};
	for (int i = from; i < to; i++) {
		int64_t top = each_run(x->runs, i, NULL, 0, 0);
		most = top > most ? top : most;
		bool freed_one = freed_row(x, freed, i);
		some = some || freed_one;
		if (!freed_one && top >= best) {
			best = top;
			head.version = pg_get_str(x->runs, i, 3);
		}
	}
	if (!some)
		return OK;
	uint8_t *marks = calloc((size_t)most + 2, 1);
	enum err e = marks ? OK : err_set(E_LIMIT, "out of memory in the store");
	for (int i = from; i < to && e == OK; i++)
		(void)each_run(x->runs, i, marks, freed_row(x, freed, i) ? FREED : USED, most);
	for (int64_t k = 1, first = 0; k <= most + 1 && e == OK; k++) {
		bool out = k <= most && marks[k] == FREED;
		if (out && !first)
			first = k;
		if (!out && first) {
			e = add_range(x, stream, first, k - 1);
			first = 0;
		}
	}
	free(marks);
	x->heads[x->heads_n++] = head;
	return e;
}

static enum err sweep_chunks(void *arg)
{
	struct removing *x = arg;
	struct map freed;
	enum err e = OK;
	int n = PQntuples(x->runs);
	map_init(&freed);
	for (size_t i = 0; i < x->versions_n && e == OK; i++)
		e = put(&freed, x->a, x->versions[i].scope, x->versions[i].text, x->versions[i].version);
	x->heads = ARENA_ARRAY(x->a, struct head, (size_t)n + 1);
	if (!x->heads)
		e = E_NOMEM;
	for (int i = 0, k; i < n && e == OK; i = k) {
		for (k = i + 1; k < n && pg_get_i64(x->runs, k, 0) == pg_get_i64(x->runs, i, 0);)
			k++;
		e = sweep_stream(x, &freed, i, k);
	}
	map_release(&freed);
	return e;
}

/* ---------------------------------------------------------------- looking */

static enum err query_scopes(struct removing *x, const struct pg_stmt *st, PGresult **r)
{
	struct pg_params p;
	pg_params_init(&p);
	pg_array(&p, PG_INT8S, x->n);
	for (size_t i = 0; i < x->n; i++)
		pg_el_i64(&p, x->ids[i]);
	pg_array_end(&p);
	return pg_query(x->t, st, &p, r);
}

static enum err look_scopes(struct removing *x)
{
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	pg_params_init(&p);
	pg_text(&p, x->thread);
	pg_owners(&p, x->who);
	pg_array(&p, PG_TEXTS, x->refs_n);
	for (size_t i = 0; i < x->refs_n; i++)
		pg_el_str(&p, x->refs[i].ns);
	pg_array_end(&p);
	TRY(pg_query(x->t, &st_scopes, &p, &r));
	x->n = (size_t)PQntuples(r);
	x->ns = ARENA_ARRAY(x->a, struct str, x->n + 1);
	x->ids = ARENA_ARRAY(x->a, int64_t, x->n + 1);
	x->revs = ARENA_ARRAY(x->a, int64_t, x->n + 1);
	if (!x->ns || !x->ids || !x->revs)
		e = E_NOMEM;
	for (size_t i = 0; i < x->n && e == OK; i++) {
		x->ids[i] = pg_get_i64(r, (int)i, 0);
		x->revs[i] = pg_get_i64(r, (int)i, 1);
		x->ns[i] = arena_str(x->a, pg_get_str(r, (int)i, 2));
		e = x->ns[i].p ? OK : E_NOMEM;
	}
	PQclear(r);
	return e;
}

static enum err sweep_task(void *arg)
{
	struct removing *x = arg;
	size_t n = (size_t)PQntuples(x->all);
	x->gone = ARENA_ARRAY(x->a, struct name, n + 1);
	x->orphans = ARENA_ARRAY(x->a, struct name, n + 1);
	if (!x->gone || !x->orphans)
		return E_NOMEM;
	TRY(refs_in(x));
	TRY(mark(x));
	return sweep_versions(x);
}

/* ---------------------------------------------------------------- the transaction */

static void names(struct pg_params *p, const struct name *v, size_t n, bool versions)
{
	pg_array(p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(p, v[i].scope);
	pg_array_end(p);
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, v[i].text);
	pg_array_end(p);
	if (!versions)
		return;
	pg_array(p, PG_BYTEAS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, v[i].version);
	pg_array_end(p);
}

static void remove_params(struct pg_params *p, const struct removing *x)
{
	pg_params_init(p);
	names(p, x->gone, x->gone_n, false);
	names(p, x->orphans, x->orphans_n, false);
	names(p, x->versions, x->versions_n, true);
	for (unsigned to = 0; to < 2; to++) {
		pg_array(p, PG_INT8S, x->chunks_n);
		for (size_t i = 0; i < x->chunks_n; i++)
			pg_el_i64(p, to ? x->chunks[i].to : x->chunks[i].from);
		pg_array_end(p);
	}
	pg_array(p, PG_INT8S, x->heads_n);
	for (size_t i = 0; i < x->heads_n; i++)
		pg_el_i64(p, x->heads[i].stream);
	pg_array_end(p);
	pg_array(p, PG_BYTEAS, x->heads_n);
	for (size_t i = 0; i < x->heads_n; i++)
		if (x->heads[i].version.p)
			pg_el_str(p, x->heads[i].version);
		else
			pg_el_null(p);
	pg_array_end(p);
	pg_i64(p, pg_new_op());
}

static enum err result(struct arena *a, const PGresult *r, struct ckpt_removed *out)
{
	struct pg_array writes;
	struct str data;
	*out = (struct ckpt_removed){
		.checkpoints = pg_get_i64(r, 0, 0), .values = pg_get_i64(r, 0, 1), .bytes = pg_get_i64(r, 0, 2)};
	pg_get_array(r, 0, 3, &writes);
	while (pg_next_str(&writes, &data)) {
		struct ckpt_pending *v = NULL;
		size_t n = 0;
		TRY(pack_unpending(a, data, STR(""), &v, &n));
		out->writes += (int64_t)n;
		out->bytes += (int64_t)data.n;
	}
	return OK;
}

enum { S_LOCK, S_REVS, S_REMOVE, S_CLEAN, S_BARE, S_STEPS };

static enum err commit(struct removing *x, int64_t me, struct ckpt_removed *out, bool *again)
{
	struct pg_params p[S_STEPS];
	struct pg_step steps[S_STEPS] = {{&st_lock, &p[S_LOCK], NULL},
					 {compact_revs, &p[S_REVS], NULL},
					 {&st_remove, &p[S_REMOVE], NULL},
					 {&st_clean, &p[S_CLEAN], NULL},
					 {&st_bare, &p[S_BARE], NULL}};
	struct pg_job j = {.t = x->t, .steps = steps, .n = S_STEPS, .lane = LANE_WRITE, .write = true};
	pg_params_init(&p[S_LOCK]);
	pg_text(&p[S_LOCK], x->thread);
	pg_owners(&p[S_LOCK], x->who);
	compact_revs_params(&p[S_REVS], x->thread, x->ns, x->ids, x->revs, x->n, me);
	remove_params(&p[S_REMOVE], x);
	pg_params_init(&p[S_CLEAN]);
	pg_array(&p[S_CLEAN], PG_INT8S, x->n);
	for (size_t i = 0; i < x->n; i++)
		pg_el_i64(&p[S_CLEAN], x->ids[i]);
	pg_array_end(&p[S_CLEAN]);
	pg_params_init(&p[S_BARE]);
	pg_text(&p[S_BARE], x->thread);
	enum err e = pg_run(&j);
	*again = e != OK && strcmp(j.sqlstate, "22012") == 0;
	if (e == OK && !j.repeated) /* else it had been done, and what it removed cannot be known any more */
		e = result(x->a, steps[S_REMOVE].res, out);
	pg_job_clear(&j);
	for (unsigned i = 0; i < S_STEPS; i++)
		pg_params_release(&p[i]);
	return e;
}

static enum err attempt(struct removing *x, int64_t me, struct ckpt_removed *out, bool *again)
{
	PGresult *all = NULL, *runs = NULL;
	enum err e = query_scopes(x, &st_all, &all);
	x->all = all;
	map_init(&x->removed);
	map_init(&x->kept);
	if (e == OK)
		e = work_run(sweep_task, x);
	if (e == OK && x->versions_n)
		e = query_scopes(x, &st_runs, &runs);
	x->runs = runs;
	if (e == OK && x->versions_n)
		e = work_run(sweep_chunks, x);
	if (e == OK && x->gone_n)
		e = commit(x, me, out, again);
	map_release(&x->removed);
	map_release(&x->kept);
	PQclear(all);
	PQclear(runs);
	return e;
}

static enum err forget(struct removing *x)
{
	for (size_t i = 0; i < x->n; i++) {
		struct compact_scope *s;
		TRY(compact_scope_take(x->t, x->thread, x->ns[i], &s));
		compact_scope_forget(s);
		compact_scope_give(x->t->s, s);
	}
	return OK;
}

static enum err tries(const struct removing *ask, struct ckpt_removed *out)
{
	int64_t me = pg_new_op();
	for (unsigned i = 0; i < COMPACT_TRIES; i++) {
		struct removing x = *ask;
		struct arena a;
		bool again = false;
		arena_init(&a, PACK_ROOM);
		x.a = &a;
		enum err e = look_scopes(&x);
		if (e == OK && x.n && i > 0) {
			e = compact_again(x.t, i, me, x.ids, x.n);
			if (e == OK)
				e = look_scopes(&x);
		}
		if (e == OK && x.n)
			e = attempt(&x, me, out, &again);
		if (e == OK)
			e = forget(&x);
		arena_release(&a);
		if (!again)
			return e;
	}
	return err_set(E_BUSY, "others write to the thread all the time; try again");
}

enum err compact_remove(struct store *s, const struct principal *who, struct str thread, const struct ckpt_ref *refs, size_t n,
			struct ckpt_removed *out)
{
	struct removing x = {.who = who, .thread = thread, .refs = refs, .refs_n = n};
	struct compact_turns turns = {{0}};
	*out = (struct ckpt_removed){0};
	TRY(compact_open(s, who, RIGHT_WRITE, false, &x.t));
	if (!x.t || n == 0 || pg_ckpt_unknown(thread))
		return OK;
	for (size_t i = 0; i < n; i++) {
		TRY(pg_ckpt_names(&refs[i].ns, 1));
		TRY(pg_ckpt_names(&refs[i].id, 1));
	}
	compact_turn_add(&turns, x.t, thread);
	compact_turns_begin(x.t->s, &turns);
	enum err e = tries(&x, out);
	compact_turns_end(x.t->s, &turns);
	return e;
}
