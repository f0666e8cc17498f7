/* Writing checkpoints: changes of one call, or of many (ckpt_gather.c), in one transaction.
 *
 *   patience how long a row that somebody has locked is waited for: half a second, then those behind us get their turn
 *   claim    threads get a record with their user, where a user asks            } only for those that name a user
 *   guard    and are that user's still, when the rest has been written          }
 *   put      values, then checkpoints
 *   writes   pending writes that leave what is there
 *   replace  pending writes that replace what is there
 *
 * Invariants
 *  1. Rows are written in the order of their keys: two Cenotes do not deadlock. (One that does is tried again.)
 *  2. A row that changes several times within the transaction changes once, to what the last of them says; its parent is the one of
 *     the first. That is what the changes one after the other would leave. Writes that leave what is there and those that replace
 *     it may change places: what replaces wins either way.
 *  3. Whoever stores values holds the thread's lock (PG_CP_LOCK_KEY) shared, from before it looks which are there, so that a
 * removal does not take away what it found.
 *  4. A change of a thread that belongs to somebody else fails the transaction (22012). The record is locked until its end: it does
 *     not go away, or to another user, in between.
 *  5. All of it may be done twice: nothing more changes. */
#include "store/postgres/ckpt.h"
#include "store/postgres/sessions.h"
#include "store/postgres/write.h"

#define STEPS 7
#define TRIES 3
#define JOURNAL(op, step)                                                                                                          \
	"INSERT INTO @cenote_journal(op, step, kind, ids, names) VALUES ($" #op "::bigint, " #step ", 'c', '{}', '{}')"

/* A thread with rows of another program's and no record is nobody's. */
#define FOREIGN PG_FOREIGN("x.thread") " OR EXISTS (SELECT FROM @checkpoint_writes w WHERE w.thread_id = x.thread)"
static const struct pg_stmt st_claim = {
	ST_CKPT_CLAIM, LANE_WRITE, "checkpoint_claim",
	"INSERT INTO @cenote_thread(thread, usr, created_at, updated_at, messages) SELECT x.thread, CASE WHEN " FOREIGN
	" THEN '' ELSE x.usr END, $3::timestamptz, $3::timestamptz, 0 FROM unnest($1::text[], $2::text[]) AS x(thread, usr)"
	" WHERE NOT EXISTS (SELECT FROM @cenote_thread t WHERE t.thread = x.thread)"
	" ORDER BY x.thread COLLATE \"C\" ON CONFLICT (thread) DO NOTHING"};

static const struct pg_stmt st_guard = {
	ST_CKPT_GUARD, LANE_WRITE, "checkpoint_guard",
	"SELECT 1 / (count(*) = $4::bigint)::int FROM (SELECT FROM unnest($1::text[], $2::text[], $3::int[]) AS x(thread, usr,"
	" bound) JOIN @cenote_thread t ON t.thread = x.thread WHERE t.usr = x.usr OR (x.bound = 0 AND t.usr = '')"
	" ORDER BY t.thread FOR SHARE OF t) q"};

/* Whose the threads are; one that nobody has written does not come. */
static const struct pg_stmt st_owners = {
	ST_CKPT_OWNERS, LANE_WRITE, "checkpoint_owners",
	"SELECT x.thread, coalesce(t.usr, '') FROM unnest($1::text[]) x(thread) LEFT JOIN @cenote_thread t ON t.thread = x.thread"
	" WHERE t.id IS NOT NULL OR " FOREIGN};

static const struct pg_stmt st_put = {
	ST_CKPT_PUT, LANE_WRITE, "checkpoint_put",
	"WITH j AS (" JOURNAL(
		13, 0) "), b AS (INSERT INTO @checkpoint_blobs(thread_id, checkpoint_ns, channel, version, type, blob)"
		       " SELECT x.thread, x.ns, x.channel, x.version, x.type, CASE WHEN x.type <> 'empty' THEN x.blob END FROM "
		       "unnest($7::text[],"
		       " $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[]) WITH ORDINALITY AS x(thread, ns, channel, "
		       "version, type,"
		       " blob, ord) WHERE pg_advisory_xact_lock_shared(" PG_CP_LOCK_KEY(
			       "x.thread") ") IS NOT NULL"
					   " ORDER BY x.thread, x.ns, x.channel, x.version, x.ord ON CONFLICT (thread_id, "
					   "checkpoint_ns, channel, version) DO NOTHING)"
					   " INSERT INTO @checkpoints(thread_id, checkpoint_ns, checkpoint_id, "
					   "parent_checkpoint_id, checkpoint, metadata)"
					   " SELECT DISTINCT ON (x.thread, x.ns, x.id) x.thread, x.ns, x.id, first_value(x.parent) "
					   "OVER (PARTITION BY x.thread, x.ns,"
					   " x.id ORDER BY x.ord), x.checkpoint, x.metadata FROM unnest($1::text[], $2::text[], "
					   "$3::text[], $4::text[], $5::jsonb[],"
					   " $6::jsonb[]) WITH ORDINALITY AS x(thread, ns, id, parent, checkpoint, metadata, ord)"
					   " ORDER BY x.thread, x.ns, x.id, x.ord DESC ON CONFLICT (thread_id, checkpoint_ns, "
					   "checkpoint_id)"
					   " DO UPDATE SET checkpoint = excluded.checkpoint, metadata = excluded.metadata"};

#define WRITES_FROM                                                                                                                \
	" FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[], $8::bytea[],"             \
	" $9::text[]) WITH ORDINALITY AS x(thread, ns, id, task, idx, channel, type, blob, path, ord)"                             \
	" ORDER BY x.thread, x.ns, x.id, x.task, x.idx, x.ord"
#define WRITES_KEY "thread_id, checkpoint_ns, checkpoint_id, task_id, idx"
#define WRITES(step, column, value)                                                                                                \
	"WITH j AS (" JOURNAL(10, step) ") INSERT INTO @checkpoint_writes(" WRITES_KEY ", channel, type, blob" column ") SELECT"   \
					" DISTINCT ON (x.thread, x.ns, x.id, x.task, x.idx) x.thread, x.ns, x.id, x.task, x.idx,"  \
					" x.channel, x.type, x.blob" value WRITES_FROM
#define KEEP " ON CONFLICT (" WRITES_KEY ") DO NOTHING"
#define REPLACE                                                                                                                    \
	" DESC ON CONFLICT (" WRITES_KEY ") DO UPDATE SET channel = excluded.channel, type = excluded.type, blob = excluded.blob"
static const struct pg_stmt st_writes[2] = {
	{ST_CKPT_WRITES_NO_PATH, LANE_WRITE, "checkpoint_writes", WRITES(1, "", "") KEEP},
	{ST_CKPT_WRITES, LANE_WRITE, "checkpoint_writes", WRITES(1, ", task_path", ", x.path") KEEP}};
static const struct pg_stmt st_replace[2] = {
	{ST_CKPT_REPLACE_NO_PATH, LANE_WRITE, "checkpoint_replace", WRITES(2, "", "") REPLACE},
	{ST_CKPT_REPLACE, LANE_WRITE, "checkpoint_replace", WRITES(2, ", task_path", ", x.path") REPLACE}};

/* ---------------------------------------------------------------- parameters */

/* The changes of all calls, one after the other. */
struct change_at {
	const struct pg_ckpt_call *const *calls;
	size_t n, call, i;
};

static const struct ckpt_change *next_change(struct change_at *at)
{
	while (at->call < at->n && at->i == at->calls[at->call]->n) {
		at->call++;
		at->i = 0;
	}
	return at->call < at->n ? &at->calls[at->call]->c[at->i++] : NULL;
}

struct totals {
	size_t puts, values, writes[2]; /* by replace */
};

static struct totals count(const struct pg_ckpt_call *const *calls, size_t n)
{
	struct change_at at = {calls, n, 0, 0};
	struct totals sum = {0};
	for (const struct ckpt_change *c = next_change(&at); c; c = next_change(&at)) {
		sum.puts += c->op == CK_PUT;
		sum.values += c->op == CK_PUT ? c->values_n : 0;
		sum.writes[c->replace] += c->op == CK_WRITES ? c->writes_n : 0;
	}
	return sum;
}

static struct str member(const void *p, size_t offset)
{
	struct str s;
	memcpy(&s, (const char *)p + offset, sizeof s);
	return s;
}

/* An array of a text of every put. */
static void of_puts(struct pg_params *p, struct change_at at, size_t n, enum pg_oid type, size_t offset, bool null)
{
	pg_array(p, type, n);
	for (const struct ckpt_change *c = next_change(&at); c; c = next_change(&at)) {
		struct str s = member(c, offset);
		if (c->op != CK_PUT)
			continue;
		if (null && s.n == 0)
			pg_el_null(p);
		else if (type == PG_JSONBS)
			pg_el_json(p, s);
		else
			pg_el_str(p, s);
	}
	pg_array_end(p);
}

/* An array of a text of every value, or of the put that has it. */
static void of_values(struct pg_params *p, struct change_at at, size_t n, enum pg_oid type, bool of_put, size_t offset)
{
	pg_array(p, type, n);
	for (const struct ckpt_change *c = next_change(&at); c; c = next_change(&at))
		for (size_t i = 0; c->op == CK_PUT && i < c->values_n; i++)
			pg_el_str(p, of_put ? member(c, offset) : member(&c->values[i], offset));
	pg_array_end(p);
}

static void of_writes(struct pg_params *p, struct change_at at, size_t n, bool replace, enum pg_oid type, bool of_change,
		      size_t offset)
{
	pg_array(p, type, n);
	for (const struct ckpt_change *c = next_change(&at); c; c = next_change(&at))
		for (size_t i = 0; c->op == CK_WRITES && c->replace == replace && i < c->writes_n; i++)
			if (type == PG_INT4S)
				pg_el_i32(p, c->writes[i].idx);
			else
				pg_el_str(p, of_change ? member(c, offset) : member(&c->writes[i], offset));
	pg_array_end(p);
}

#define CHANGE(m) offsetof(struct ckpt_change, m)
#define VALUE(m) offsetof(struct ckpt_value, m)
#define PENDING(m) offsetof(struct ckpt_pending, m)

static void put_params(struct pg_params *p, struct change_at at, const struct totals *sum, int64_t op)
{
	pg_params_init(p);
	of_puts(p, at, sum->puts, PG_TEXTS, CHANGE(thread), false);
	of_puts(p, at, sum->puts, PG_TEXTS, CHANGE(ns), false);
	of_puts(p, at, sum->puts, PG_TEXTS, CHANGE(id), false);
	of_puts(p, at, sum->puts, PG_TEXTS, CHANGE(parent), true);
	of_puts(p, at, sum->puts, PG_JSONBS, CHANGE(checkpoint), false);
	of_puts(p, at, sum->puts, PG_JSONBS, CHANGE(metadata), false);
	of_values(p, at, sum->values, PG_TEXTS, true, CHANGE(thread));
	of_values(p, at, sum->values, PG_TEXTS, true, CHANGE(ns));
	of_values(p, at, sum->values, PG_TEXTS, false, VALUE(channel));
	of_values(p, at, sum->values, PG_TEXTS, false, VALUE(version));
	of_values(p, at, sum->values, PG_TEXTS, false, VALUE(type));
	of_values(p, at, sum->values, PG_BYTEAS, false, VALUE(bytes));
	pg_i64(p, op);
}

static void writes_params(struct pg_params *p, struct change_at at, size_t n, bool replace, int64_t op)
{
	pg_params_init(p);
	of_writes(p, at, n, replace, PG_TEXTS, true, CHANGE(thread));
	of_writes(p, at, n, replace, PG_TEXTS, true, CHANGE(ns));
	of_writes(p, at, n, replace, PG_TEXTS, true, CHANGE(id));
	of_writes(p, at, n, replace, PG_TEXTS, false, PENDING(task_id));
	of_writes(p, at, n, replace, PG_INT4S, false, 0);
	of_writes(p, at, n, replace, PG_TEXTS, false, PENDING(channel));
	of_writes(p, at, n, replace, PG_TEXTS, false, PENDING(type));
	of_writes(p, at, n, replace, PG_BYTEAS, false, PENDING(bytes));
	of_writes(p, at, n, replace, PG_TEXTS, false, PENDING(task_path));
	pg_i64(p, op);
}

/* ---------------------------------------------------------------- users */

/* A thread of a call that names a user. */
struct claim {
	struct str thread, user;
	bool bound;
};

static int claim_cmp(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int c = str_cmp(x->thread, y->thread);
	c = c ? c : str_cmp(x->user, y->user);
	return c ? c : (int)x->bound - (int)y->bound;
}

static enum err claims_of(const struct pg_ckpt_call *const *calls, size_t n, struct claim **out, size_t *out_n)
{
	size_t all = 0, k = 0;
	for (size_t i = 0; i < n; i++)
		all += calls[i]->bound || calls[i]->user.n ? calls[i]->n : 0;
	*out = NULL;
	*out_n = 0;
	if (all == 0)
		return OK;
	*out = malloc(all * sizeof **out);
	if (!*out)
		return err_set(E_LIMIT, "out of memory");
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; (calls[i]->bound || calls[i]->user.n) && j < calls[i]->n; j++)
			(*out)[k++] = (struct claim){calls[i]->c[j].thread, calls[i]->user, calls[i]->bound};
	qsort(*out, all, sizeof **out, claim_cmp);
	k = 0;
	for (size_t i = 0; i < all; i++)
		if (i == 0 || claim_cmp(&(*out)[i], &(*out)[k - 1]) != 0)
			(*out)[k++] = (*out)[i];
	*out_n = k;
	return OK;
}

static void claim_texts(struct pg_params *p, const struct claim *v, size_t n, size_t offset)
{
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, member(&v[i], offset));
	pg_array_end(p);
}

static void claim_params(struct pg_params *p, const struct claim *v, size_t n)
{
	pg_params_init(p);
	claim_texts(p, v, n, offsetof(struct claim, thread));
	claim_texts(p, v, n, offsetof(struct claim, user));
	pg_time(p, clock_unique_us());
}

static void guard_params(struct pg_params *p, const struct claim *v, size_t n)
{
	pg_params_init(p);
	claim_texts(p, v, n, offsetof(struct claim, thread));
	claim_texts(p, v, n, offsetof(struct claim, user));
	pg_array(p, PG_INT4S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i32(p, v[i].bound);
	pg_array_end(p);
	pg_i64(p, (int64_t)n);
}

/* ---------------------------------------------------------------- running */

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

static enum err script_make(struct script *s, struct pg_tenant *t, const struct pg_ckpt_call *const *calls, size_t n)
{
	const struct change_at at = {calls, n, 0, 0};
	const struct totals sum = count(calls, n);
	bool path = atomic_load(&t->cp_path);
	int64_t op = pg_new_op();
	struct claim *claims;
	size_t claims_n;
	s->n = 0;
	TRY(claims_of(calls, n, &claims, &claims_n));
	if (sum.puts + sum.writes[0] + sum.writes[1])
		pg_params_init(step(s, &pg_write_patience));
	if (claims_n) {
		claim_params(step(s, &st_claim), claims, claims_n);
		guard_params(step(s, &st_guard), claims, claims_n);
	}
	free(claims);
	if (sum.puts)
		put_params(step(s, &st_put), at, &sum, op);
	if (sum.writes[false])
		writes_params(step(s, &st_writes[path]), at, sum.writes[false], false, op);
	if (sum.writes[true])
		writes_params(step(s, &st_replace[path]), at, sum.writes[true], true, op);
	return OK;
}

enum err pg_ckpt_apply(struct pg_tenant *t, const struct pg_ckpt_call *const *calls, size_t n, uint64_t deadline, char sqlstate[6],
		       void (*built)(void *arg), void *arg)
{
	struct script s;
	struct pg_job j = {.t = t, .lane = LANE_WRITE, .write = true};
	sqlstate[0] = 0;
	enum err e = script_make(&s, t, calls, n);
	if (built)
		built(arg);
	if (e == OK && s.n > 0) {
		uint64_t was = fiber_deadline();
		fiber_set_deadline(deadline);
		j.steps = s.steps;
		j.n = s.n;
		e = pg_run(&j);
		fiber_set_deadline(was);
		memcpy(sqlstate, j.sqlstate, 6);
		pg_job_clear(&j);
	}
	for (unsigned i = 0; i < s.n; i++)
		pg_params_release(&s.p[i]);
	return e;
}

/* ---------------------------------------------------------------- the call */

static enum err check_change(const struct ckpt_change *c)
{
	const struct str names[] = {c->thread, c->ns, c->id, c->parent};
	TRY(pg_ckpt_names(names, sizeof names / sizeof *names));
	for (size_t i = 0; c->op == CK_PUT && i < c->values_n; i++) {
		const struct str texts[] = {c->values[i].channel, c->values[i].version, c->values[i].type};
		TRY(pg_ckpt_names(texts, sizeof texts / sizeof *texts));
	}
	for (size_t i = 0; c->op == CK_WRITES && i < c->writes_n; i++) {
		const struct ckpt_pending *w = &c->writes[i];
		const struct str texts[] = {w->task_id, w->task_path, w->channel, w->type};
		TRY(pg_ckpt_names(texts, sizeof texts / sizeof *texts));
	}
	return OK;
}

/* The guard has failed: does a thread belong to somebody else? If none does, a record went away just then. */
static enum err judge_owners(struct pg_tenant *t, const struct pg_ckpt_call *call)
{
	const struct principal who = {.user = call->user, .user_bound = call->bound};
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	pg_params_init(&p);
	pg_array(&p, PG_TEXTS, call->n);
	for (size_t i = 0; i < call->n; i++)
		pg_el_str(&p, call->c[i].thread);
	pg_array_end(&p);
	TRY(pg_query(t, &st_owners, &p, &r));
	for (int i = 0; i < PQntuples(r) && e == OK; i++)
		if (!principal_sees(&who, pg_get_str(r, i, 1)))
			e = err_set(E_CONFLICT, "the thread belongs to another user; nothing was stored");
	PQclear(r);
	return e;
}

static enum err write_alone(struct pg_tenant *t, const struct pg_ckpt_call *call)
{
	char sqlstate[6];
	uint64_t end = clock_mono_ns() + t->s->statement_ms * UINT64_C(1000000);
	for (unsigned i = 0; i < TRIES;) {
		enum err e = pg_ckpt_apply(t, &call, 1, fiber_deadline(), sqlstate, NULL, NULL);
		if (e != OK && strcmp(sqlstate, "55P03") == 0 && clock_mono_ns() < end && clock_mono_ns() < fiber_deadline())
			continue;
		if (e == OK || strcmp(sqlstate, "22012") != 0)
			return e;
		TRY(judge_owners(t, call));
		i++;
	}
	return err_set(E_BUSY, "the thread is being removed and made again; try again");
}

enum err pg_ckpt_write(struct store *s, const struct principal *who, const struct ckpt_change *c, size_t n)
{
	struct pg_tenant *t;
	bool alone = true;
	TRY(principal_check(who, RIGHT_WRITE));
	for (size_t i = 0; i < n; i++)
		TRY(check_change(&c[i]));
	TRY(pg_ckpt_names(&who->user, 1));
	TRY(pg_ckpt_open(s, who, RIGHT_WRITE, true, &t));
	const struct pg_ckpt_call call = {c, n, who->user, who->user_bound};
	enum err e = OK;
	if (pg_ckpt_gather_fits(c, n))
		e = pg_ckpt_gather(t, &call, &alone);
	if (e == OK && alone)
		e = write_alone(t, &call);
	pg_ckpt_written(t->s, c, n);
	return e;
}
