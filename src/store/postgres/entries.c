/* Entries of sessions, in the Agents SDK's tables or in `conversations`, which other programs read and write at the same time.
 *
 * Invariants
 *  1. The order is (created_at, id), of conversations that of ids. Ids say nothing else: compaction by another program removes rows
 *     and makes new ones with older times, so nothing here is remembered between calls.
 *  2. Whoever changes a session holds, in this order, its row of cenote_thread and its row of agent_sessions, each taken by a
 *     statement of its own; the statement that follows has a snapshot of its own and sees what was committed before.
 *  3. The lock on the session's row is FOR UPDATE, and nothing changes that row before: anything else waits in a circle with one of
 *     the SDK's generations (contracts: openai 2.4). When a clear of theirs took the row away in between, nothing is stored (or the
 *     foreign key refuses, 23503) and the call begins anew.
 *  4. Appends of several sessions may be in one transaction (pg_job.share), in the order of their names.
 *  5. Rows that are no JSON objects are passed on as unreadable, and never removed by pop. */
#include "store/postgres/entry_sql.h"

#include "rt/work.h"
#include "store/postgres/write.h"

#define PAGE_ROWS 1000
#define TRIES 100
#define DIRECT_BYTES (64u << 10) /* what is looked at on the loop's thread */

/* The statements for one kind of tables. */
struct kind {
	const struct pg_stmt *up, *down, *tail, *one, *del, *instead, *append;
	bool seed;
};
static const struct kind agent_kind = {&st_up, &st_down, &st_tail, &st_one, &st_delete, &st_instead, &st_append, false};
static const struct kind seed_kind = {&st_seed_up,     &st_seed_down,	 &st_seed_tail,	  &st_seed_one,
				      &st_seed_delete, &st_seed_instead, &st_seed_append, true};

static enum err not_found(void)
{
	return err_set(E_NOT_FOUND, "there is no such session");
}

static enum err foreign(void)
{
	return err_set(E_CONFLICT, "the session belongs to another user; nothing was changed");
}

/* Where the session lies, or is to lie. */
static enum err route(struct pg_tenant *t, struct str thread, const struct kind **out)
{
	struct pg_params p;
	PGresult *r;
	TRY(pg_sessions_need(t));
	*out = t->has & PG_HAS_AGENT ? &agent_kind : &seed_kind;
	if (!(t->has & PG_HAS_AGENT) || !(t->has & PG_HAS_SEED))
		return OK;
	pg_params_init(&p);
	pg_text(&p, thread);
	TRY(pg_query(t, &st_route, &p, &r));
	if (pg_get_bool(r, 0, 0))
		*out = &seed_kind;
	PQclear(r);
	return OK;
}

/* A transaction of a few statements, made step by step. */
#define STEPS_MAX 10
struct txn {
	struct pg_params p[STEPS_MAX];
	struct pg_step steps[STEPS_MAX];
	struct pg_job j;
};

static void txn_init(struct txn *x, struct pg_tenant *t)
{
	x->j = (struct pg_job){.t = t, .steps = x->steps, .lane = LANE_WRITE, .write = true};
}

/* The next statement, with the thread as $1. */
static struct pg_params *add(struct txn *x, const struct pg_stmt *st, struct str thread)
{
	struct pg_params *p = &x->p[x->j.n];
	x->steps[x->j.n++] = (struct pg_step){.st = st, .p = p};
	pg_params_init(p);
	pg_text(p, thread);
	return p;
}

static void txn_end(struct txn *x)
{
	pg_job_clear(&x->j);
	for (unsigned i = 0; i < x->j.n; i++)
		pg_params_release(&x->p[i]);
}

/* ---------------------------------------------------------------- append, clear */

struct call {
	const struct principal *who;
	struct pg_tenant *t;
	const struct kind *kind;
	struct str thread;
	struct entry_append *a; /* NULL: a clear without one */
	bool clear;
	bool alone;	    /* in a transaction of its own: somebody holds its locks */
	struct arena arena; /* of conversations' rows */
	struct pg_seed_row *seed;
	int64_t op;
};

static void add_claim(struct txn *x, const struct call *c)
{
	struct pg_params *p = add(x, &st_claim, c->thread);
	pg_owners(p, c->who);
	pg_text(p, c->who->user);
	pg_bool(p, c->a->must_exist);
	pg_time(p, clock_unique_us());
}

static void pg_once(struct pg_params *p, const struct entry_append *a)
{
	if (a && a->once.n)
		pg_bytes(p, a->once);
	else
		pg_null(p, PG_BYTEA);
	pg_bool(p, a && a->look);
}

static void add_data(struct pg_params *p, const struct call *c)
{
	size_t n = c->a ? c->a->n : 0;
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, c->kind->seed ? c->seed[i].item : c->a->v[i].data);
	pg_array_end(p);
}

static void add_append(struct txn *x, const struct call *c)
{
	struct pg_params *p = add(x, c->kind->append, c->thread);
	add_data(p, c);
	pg_once(p, c->a);
	pg_bool(p, c->a->wants_empty);
	pg_i64(p, c->op);
	if (!c->kind->seed) {
		pg_i64(p, c->a->behind);
		pg_bool(p, c->a->same_call && !c->a->once.n);
		return;
	}
	for (unsigned col = 0; col < 2; col++) {
		pg_array(p, PG_TEXTS, c->a->n);
		for (size_t i = 0; i < c->a->n; i++)
			pg_el_str(p, col ? c->seed[i].content : c->seed[i].role);
		pg_array_end(p);
	}
	pg_i64(p, c->a->behind);
	pg_bool(p, c->a->same_call && !c->a->once.n);
}

static void add_clear(struct txn *x, const struct call *c, const struct pg_stmt *st)
{
	struct pg_params *p = add(x, st, c->thread);
	pg_owners(p, c->who);
	pg_once(p, c->a);
	/* Only their number counts. */
	pg_array(p, PG_TEXTS, c->a ? c->a->n : 0);
	for (size_t i = 0; c->a && i < c->a->n; i++)
		pg_el_str(p, STR(""));
	pg_array_end(p);
}

/* What was made of entries that are gone goes, with its vectors. */
static void add_texts_gone(struct txn *x, struct str thread, int64_t op)
{
	pg_i64(add(x, &pg_texts_of_entries_gone, thread), op);
	x->steps[x->j.n] = (struct pg_step){.st = &pg_vectors_gone, .p = &x->p[x->j.n]};
	pg_params_init(&x->p[x->j.n]);
	pg_i64(&x->p[x->j.n++], op);
}

/* The statements of the call; *at: which one appends. */
static void compose(struct txn *x, const struct call *c, unsigned *at)
{
	bool agent = (c->t->has & PG_HAS_AGENT) && (c->clear || !c->kind->seed);
	txn_init(x, c->t);
	if (c->a && !c->clear && !c->alone)
		x->j.share = c->thread;
	x->steps[x->j.n] = (struct pg_step){.st = &pg_write_patience, .p = &x->p[x->j.n]};
	pg_params_init(&x->p[x->j.n++]);
	if (c->a) {
		add_claim(x, c);
	} else {
		struct pg_params *p = add(x, &st_touch, c->thread);
		pg_owners(p, c->who);
		pg_time(p, clock_unique_us());
	}
	if (agent && c->a && !c->kind->seed)
		(void)add(x, &st_make, c->thread);
	if (agent)
		(void)add(x, &st_lock, c->thread);
	if (c->clear && agent)
		add_clear(x, c, &st_clear);
	if (c->clear && (c->t->has & PG_HAS_SEED))
		add_clear(x, c, &st_seed_clear);
	if (c->clear)
		add_texts_gone(x, c->thread, c->op);
	if (c->a && c->a->instead)
		pg_i64(add(x, c->kind->instead, c->thread), c->a->instead);
	*at = x->j.n;
	if (c->a) {
		add_append(x, c);
		if (agent && !c->kind->seed)
			(void)add(x, &st_used, c->thread);
		return;
	}
	if (agent)
		pg_owners(add(x, &st_end, c->thread), c->who);
	(void)add(x, &st_relock, c->thread);
	struct pg_params *p = add(x, &st_cleared, c->thread);
	pg_owners(p, c->who);
	pg_i64(p, c->op);
}

static size_t take_ids(const PGresult *r, int col, struct entry_append *a)
{
	struct pg_array ids;
	size_t n = 0;
	int64_t id;
	pg_get_array(r, 0, col, &ids);
	while (n < a->n && pg_next_i64(&ids, &id))
		a->v[n++].id = id;
	return n;
}

/* The answer of an append. *again: the session was taken away meanwhile, nothing is stored. */
static void take(const PGresult *r, struct entry_append *a, bool *again)
{
	*again = take_ids(r, 0, a) < a->n;
	a->repeated = pg_get_bool(r, 0, 1);
	for (size_t i = 0; i < a->n; i++) {
		a->v[i].created_us = pg_get_time(r, 0, 2);
		a->v[i].unreadable = false;
	}
}

/* A call that was committed and whose answer was lost. */
static enum err recall(const struct call *c, bool *again)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_i64(&p, c->op);
	pg_text(&p, c->thread);
	TRY(pg_query(c->t, &st_look, &p, &r));
	*again = PQntuples(r) == 0 || take_ids(r, 0, c->a) < c->a->n;
	if (*again && PQntuples(r) && c->a->look && take_ids(r, 1, c->a) == c->a->n) {
		*again = false;
		c->a->repeated = true;
	}
	for (size_t i = 0; i < c->a->n; i++)
		c->a->v[i].created_us = clock_wall_us();
	PQclear(r);
	return OK;
}

static enum err refused(const struct call *c, const struct pg_job *j, enum err e)
{
	if (strcmp(j->sqlstate, "22012") == 0)
		return c->a && c->a->must_exist ? not_found() : foreign();
	if (strcmp(j->sqlstate, "2201E") == 0)
		return not_found();
	if (strcmp(j->sqlstate, "2201F") == 0)
		return err_set(E_CONFLICT,
			       c->a && c->a->behind ? "the session has gone on; nothing was changed" : "the session has entries");
	return e;
}

static enum err once(struct call *c, bool *again)
{
	struct txn x;
	unsigned at;
	compose(&x, c, &at);
	enum err e = pg_run(&x.j);
	bool locked = e != OK && strcmp(x.j.sqlstate, "55P03") == 0;
	*again = e != OK && (locked || strcmp(x.j.sqlstate, "23503") == 0);
	c->alone = locked;
	if (e == OK && c->a && x.j.repeated)
		e = recall(c, again);
	else if (e == OK && c->a)
		take(x.steps[at].res, c->a, again);
	else if (e != OK && !*again)
		e = refused(c, &x.j, e);
	txn_end(&x);
	return e;
}

static enum err seed_rows(struct call *c)
{
	c->seed = ARENA_ARRAY(&c->arena, struct pg_seed_row, c->a->n + 1);
	if (!c->seed)
		return E_NOMEM;
	for (size_t i = 0; i < c->a->n; i++)
		TRY(pg_seed_row(&c->arena, c->a->v[i].data, &c->seed[i]));
	return OK;
}

/* A lock of somebody else is waited for in turns, until the deadline or the statement's time (see pg_write_patience). */
static enum err repeat(struct call *c)
{
	enum err e = OK;
	bool again = true;
	uint64_t end = clock_mono_ns() + c->t->s->statement_ms * UINT64_C(1000000);
	for (unsigned i = 0; i < TRIES && again; i += !c->alone) {
		c->op = pg_new_op();
		e = once(c, &again);
		if (e != OK && (!again || (c->alone && (clock_mono_ns() >= end || clock_mono_ns() >= fiber_deadline()))))
			return e;
	}
	return again ? err_set(E_BUSY, "others clear this session again and again; nothing was stored") : OK;
}

static enum err change(struct store *s, struct call *c)
{
	enum err e;
	if (pg_has_nul(c->thread))
		return err_set(E_INVALID, "names of sessions cannot hold the character U+0000");
	TRY(pg_tenant_get(pg_of(s), c->who, RIGHT_WRITE, c->a && !c->a->must_exist, &c->t));
	if (!c->t)
		return c->a ? not_found() : OK;
	TRY(route(c->t, c->thread, &c->kind));
	if (!c->kind->seed || !c->a)
		return repeat(c);
	arena_init(&c->arena, 256u << 20);
	e = seed_rows(c);
	if (e == OK)
		e = repeat(c);
	arena_release(&c->arena);
	return e;
}

enum err pg_entry_append(struct store *s, const struct principal *who, struct entry_append *a)
{
	struct call c = {.who = who, .thread = a->thread, .a = a};
	a->repeated = false;
	TRY(principal_check(who, RIGHT_WRITE));
	return a->n || a->look ? change(s, &c) : OK;
}

enum err pg_entry_clear(struct store *s, const struct principal *who, struct str thread, struct entry_append *with)
{
	struct call c = {.who = who, .thread = thread, .a = with, .clear = true};
	if (with)
		with->repeated = false;
	return change(s, &c);
}

/* ---------------------------------------------------------------- reading */

struct listing {
	struct pg_tenant *t;
	const struct principal *who;
	const struct kind *kind;
	const struct entry_list *q;
	entry_fn fn;
	void *ctx;
	size_t left;
	int64_t id;    /* of the row behind which the next page begins, */
	struct str at; /* and its place; slices last */
	PGresult *last;
	bool more;
};

struct give {
	struct listing *x;
	const PGresult *r;
};

static enum err give_task(void *arg)
{
	const struct give *g = arg;
	struct listing *x = g->x;
	int n = PQntuples(g->r);
	x->more = n > 0 && !pg_is_null(g->r, 0, 0);
	for (int i = 0; x->more && i < n; i++) {
		struct session_entry v = {
			.id = pg_get_i64(g->r, i, 0), .data = pg_get_str(g->r, i, 1), .created_us = pg_get_time(g->r, i, 2)};
		v.unreadable = !pg_entry_readable(v.data);
		x->left--;
		x->id = v.id;
		x->more = x->fn(x->ctx, &v) && x->left > 0;
	}
	return OK;
}

static size_t weight(const PGresult *r)
{
	size_t bytes = 0;
	for (int i = 0; i < PQntuples(r); i++)
		bytes += (size_t)PQgetlength(r, i, 1);
	return bytes;
}

static enum err page(struct listing *x, bool first)
{
	size_t want = x->left < PAGE_ROWS ? x->left : PAGE_ROWS;
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_text(&p, x->q->thread);
	pg_owners(&p, x->who);
	bool tail = first && x->q->newest_first && x->id == 0;
	if (!tail) {
		pg_i64(&p, x->id);
		if (first)
			pg_null(&p, PG_INFERRED);
		else
			pg_as_text(&p, PG_INFERRED, x->at);
	}
	pg_i64(&p, (int64_t)want);
	enum err e = pg_query(x->t, tail ? x->kind->tail : x->q->newest_first ? x->kind->down : x->kind->up, &p, &r);
	PQclear(x->last);
	x->last = NULL;
	TRY(e);
	x->last = r;
	if (PQntuples(r) == 0)
		return first ? not_found() : (x->more = false, OK);
	if (!pg_get_bool(r, 0, 4))
		return err_set(E_NOT_FOUND, "the session has no such entry");
	struct give g = {x, r};
	size_t bytes = weight(r);
	TRY(bytes > DIRECT_BYTES ? work_run(give_task, &g) : give_task(&g));
	/* A page that is neither full of rows nor of bytes was the last: what one statement saw, nothing of a moment later. */
	if ((size_t)PQntuples(r) < want && bytes < ENTRY_PAGE_BYTES)
		x->more = false;
	x->at = pg_get_str(r, PQntuples(r) - 1, 3);
	return OK;
}

static enum err list(struct listing *x)
{
	x->left = x->q->limit;
	x->id = x->q->after;
	enum err e = page(x, true);
	while (e == OK && x->more)
		e = page(x, false);
	PQclear(x->last);
	x->last = NULL;
	return e;
}

enum err pg_entries(struct store *s, const struct principal *who, const struct entry_list *q, entry_fn fn, void *ctx)
{
	struct listing x = {.who = who, .q = q, .fn = fn, .ctx = ctx};
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t || pg_has_nul(q->thread))
		return not_found();
	TRY(route(x.t, q->thread, &x.kind));
	return list(&x);
}

enum err pg_entry(struct store *s, struct arena *a, const struct principal *who, struct str thread, int64_t id,
		  struct session_entry *out, bool *found)
{
	const struct kind *kind;
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	*found = false;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t || pg_has_nul(thread))
		return OK;
	TRY(route(t, thread, &kind));
	pg_params_init(&p);
	pg_text(&p, thread);
	pg_owners(&p, who);
	pg_i64(&p, id);
	TRY(pg_query(t, kind->one, &p, &r));
	*found = PQntuples(r) > 0;
	if (*found) {
		*out = (struct session_entry){
			.id = pg_get_i64(r, 0, 0), .data = arena_str(a, pg_get_str(r, 0, 1)), .created_us = pg_get_time(r, 0, 2)};
		out->unreadable = !pg_entry_readable(out->data);
	}
	PQclear(r);
	return *found && !out->data.p ? E_NOMEM : OK;
}

/* ---------------------------------------------------------------- removing one */

/* skip NULL: wherever it stands. *gone: it was there, and is no more. */
static enum err delete_one(struct pg_tenant *t, const struct kind *kind, const struct principal *who, struct str thread, int64_t id,
			   const int64_t *skip, size_t skip_n, bool *gone)
{
	struct txn x;
	txn_init(&x, t);
	struct pg_params *p = add(&x, &st_touch, thread);
	pg_owners(p, who);
	pg_time(p, clock_unique_us());
	if (!kind->seed)
		(void)add(&x, &st_lock, thread);
	unsigned at = x.j.n;
	p = add(&x, kind->del, thread);
	pg_owners(p, who);
	int64_t op = pg_new_op();
	pg_i64(p, id);
	pg_i64(p, op);
	if (skip) {
		pg_array(p, PG_INT8S, skip_n);
		for (size_t i = 0; i < skip_n; i++)
			pg_el_i64(p, skip[i]);
		pg_array_end(p);
	} else {
		pg_null(p, PG_INT8S);
	}
	add_texts_gone(&x, thread, op);
	enum err e = pg_run(&x.j);
	*gone = e == OK && (x.j.repeated || pg_get_i64(x.steps[at].res, 0, 0) > 0);
	txn_end(&x);
	return e;
}

enum err pg_entry_delete(struct store *s, const struct principal *who, struct str thread, int64_t id)
{
	const struct kind *kind;
	struct pg_tenant *t;
	bool gone;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, false, &t));
	if (!t || pg_has_nul(thread))
		return not_found();
	TRY(route(t, thread, &kind));
	TRY(delete_one(t, kind, who, thread, id, NULL, 0, &gone));
	return gone ? OK : err_set(E_NOT_FOUND, "the session has no such entry");
}

/* The newest readable entry, and the ids of those behind it. */
struct newest {
	struct arena *a;
	struct session_entry *out;
	int64_t *skip;
	size_t n, cap;
	bool found;
	enum err err;
};

static bool on_newest(void *ctx, const struct session_entry *v)
{
	struct newest *w = ctx;
	if (!v->unreadable) {
		*w->out = *v;
		w->out->data = arena_str(w->a, v->data);
		w->found = true;
		w->err = w->out->data.p ? OK : E_NOMEM;
		return false;
	}
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 16;
		w->skip = arena_grow(w->a, w->skip, w->cap * sizeof *w->skip, cap * sizeof *w->skip);
		w->cap = w->skip ? cap : 0;
	}
	if (!w->skip) {
		w->err = E_NOMEM;
		return false;
	}
	w->skip[w->n++] = v->id;
	return true;
}

/* Which one it is has to be found out before: only here it can be told whether a row can be read. So another program or another
 * call may be faster; then it is done again. */
static enum err pop_once(struct listing *x, struct arena *a, struct session_entry *out, bool *found, bool *again)
{
	struct newest w = {.a = a, .out = out};
	int64_t none;
	*again = false;
	x->fn = on_newest;
	x->ctx = &w;
	enum err e = list(x);
	*found = false;
	if (e == E_NOT_FOUND)
		return OK;
	TRY(e);
	TRY(w.err);
	if (!w.found)
		return OK;
	TRY(delete_one(x->t, x->kind, x->who, x->q->thread, out->id, w.skip ? w.skip : &none, w.n, found));
	*again = !*found;
	return OK;
}

enum err pg_entry_pop(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct session_entry *out,
		      bool *found)
{
	const struct entry_list few = {.thread = thread, .newest_first = true, .limit = 1},
				all = {.thread = thread, .newest_first = true, .limit = SIZE_MAX};
	struct listing x = {.who = who};
	bool again = true;
	*found = false;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, false, &x.t));
	if (!x.t || pg_has_nul(thread))
		return OK;
	TRY(route(x.t, thread, &x.kind));
	for (unsigned i = 0; again; i++) {
		if (clock_mono_ns() >= fiber_deadline())
			return err_set(E_BUSY, "others take from this session faster; nothing was removed");
		x.q = &few;
		TRY(pop_once(&x, a, out, found, &again));
		if (*found || again)
			continue;
		x.q = &all; /* the newest cannot be read, or there is none */
		TRY(pop_once(&x, a, out, found, &again));
	}
	return OK;
}
