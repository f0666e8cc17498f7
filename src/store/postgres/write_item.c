/* pg_item_write: a call of one or many writes.
 *
 * A call is one transaction. Its writes are put into rounds, so that a name is in a round once, and within a round into statements
 * of one kind, rows in byte order; statements have at most STEP_ROWS rows and about STEP_BYTES bytes. In front of what reads before
 * it writes, and wherever statements of several kinds meet, all names are locked in byte order.
 *
 * Invariants
 *  1. Every statement has its journal row (op, step) with a new op for every attempt that is not a retry of the executor: a call
 * that was committed and whose answer was lost is told by the journal, and is not done again.
 *  2. An atomic call's conditions are in its statements: one that does not hold makes the transaction fail (22012). Which one it
 * was is found by looking afterwards and doing the call in memory; when that finds none - somebody was in between - the call is
 * tried again.
 *  3. A row that another client has locked is waited for in short turns, each a transaction of its own, until the deadline. */
#include "store/postgres/write.h"

#define STEP_ROWS 1000
#define STEP_BYTES ((size_t)4 << 20)
#define ATTEMPTS 3

struct call {
	struct pg_tenant *t;
	struct pg_row *rows;	/* in the order of the call */
	struct pg_row **sorted; /* by round, kind, name */
	size_t n;
	bool atomic;
	int64_t op;
	uint32_t rounds;
	struct pg_step *steps;
	struct pg_params *params;
	struct span {
		struct pg_row **rows;
		size_t n;
		bool look; /* a look at them, not a write */
	} * spans;	   /* of each step */
	unsigned steps_n, steps_max;
	bool foreign; /* pg_foreign_gone is among them, */
	bool lost;    /* and failed, and the call with it */
};

/* ---------------------------------------------------------------- in memory */

static void reset(struct item_write *w, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		w[i].err = OK;
		w[i].existed = w[i].changed = w[i].forgot = false;
		w[i].version = 0;
	}
}

/* Does to what is known of a name what the write does to the item; fills in the results. */
static void imagine(const struct pg_row *r, struct pg_seen *s)
{
	struct item_write *w = r->w;
	w->existed = s->found;
	w->version = s->version;
	if (!pg_holds(w, s->found, s->version))
		return;
	if (w->op == W_PUT && !(s->found && w->keep_newer && s->updated >= r->updated)) {
		w->changed = true;
		w->version = s->version + 1;
		*s = (struct pg_seen){true, w->version, r->updated, w->ttl_minutes, false, false, 0};
	} else if ((w->op == W_DELETE || w->op == W_RETIRE) && s->found) {
		w->changed = true;
		w->version = 0;
		*s = (struct pg_seen){0};
	} else if (w->op == W_TOUCH) {
		w->changed = s->found && s->ttl_minutes > 0;
	}
}

/* The whole call in memory, seen[i] belongs to rows[i]. Atomic: the error of the first condition that does not hold, with its
 * diagnostic. */
static enum err imagine_all(struct pg_row *rows, size_t n, struct pg_seen *seen, bool atomic)
{
	for (size_t i = 0; i < n; i++) {
		imagine(&rows[i], &seen[rows[i].first]);
		if (rows[i].w->err == OK || !atomic)
			continue;
		for (size_t k = 0; k < n; k++)
			rows[k].w->changed = false;
		return rows[i].w->err;
	}
	return OK;
}

/* ---------------------------------------------------------------- planning */

static int by_name(const void *a, const void *b)
{
	const struct pg_row *x = *(struct pg_row *const *)a, *y = *(struct pg_row *const *)b;
	int c = pg_row_cmp(x, y);
	return c ? c : (x->at > y->at) - (x->at < y->at);
}

static int by_step(const void *a, const void *b)
{
	const struct pg_row *x = *(struct pg_row *const *)a, *y = *(struct pg_row *const *)b;
	if (x->round != y->round)
		return x->round < y->round ? -1 : 1;
	if (!pg_row_alike(x, y)) {
		if (x->st != y->st)
			return x->st < y->st ? -1 : 1;
		if (x->given != y->given)
			return x->given - y->given;
		return x->w->keep_newer - y->w->keep_newer;
	}
	return pg_row_cmp(x, y);
}

/* Puts the rows into rounds; sorted is by name afterwards. */
static void set_rounds(struct call *c)
{
	for (size_t i = 0; i < c->n; i++)
		c->sorted[i] = &c->rows[i];
	qsort(c->sorted, c->n, sizeof *c->sorted, by_name);
	c->rounds = 1;
	for (size_t i = 1; i < c->n; i++) {
		struct pg_row *r = c->sorted[i], *before = c->sorted[i - 1];
		if (pg_row_cmp(r, before) != 0)
			continue;
		r->first = before->first;
		r->round = before->round + 1;
		if (r->round >= c->rounds)
			c->rounds = r->round + 1;
	}
}

static enum err add_step(struct call *c, const struct pg_stmt *st, struct pg_row **rows, size_t n, struct pg_params **out)
{
	if (c->steps_n == c->steps_max) {
		unsigned max = c->steps_max ? c->steps_max * 2 : 4;
		struct pg_step *steps = realloc(c->steps, max * sizeof *steps);
		struct span *spans = steps ? realloc(c->spans, max * sizeof *spans) : NULL;
		if (steps)
			c->steps = steps;
		if (!spans)
			return err_set(E_LIMIT, "out of memory");
		c->spans = spans;
		struct pg_params *params = realloc(c->params, max * sizeof *params);
		if (!params)
			return err_set(E_LIMIT, "out of memory");
		c->params = params;
		c->steps_max = max;
	}
	unsigned k = c->steps_n++;
	pg_params_init(&c->params[k]);
	c->steps[k] = (struct pg_step){.st = st};
	c->spans[k] = (struct span){rows, n, st == &pg_write_look};
	*out = &c->params[k];
	return OK;
}

/* All names, each once, in order: sorted is by name now. */
static enum err add_lock(struct call *c)
{
	struct pg_params *p;
	struct pg_row **names = malloc(c->n * sizeof *names);
	size_t n = 0;
	if (!names)
		return err_set(E_LIMIT, "out of memory");
	for (size_t i = 0; i < c->n; i++)
		if (c->sorted[i]->round == 0)
			names[n++] = c->sorted[i];
	enum err e = add_step(c, &pg_write_lock, NULL, 0, &p);
	if (e == OK)
		pg_names_params(p, names, n);
	free(names);
	return e;
}

static size_t weight(const struct pg_row *r)
{
	return r->w->value.n + r->w->terms.n + r->w->key.n + r->w->ns.n + 64;
}

/* How many rows from sorted[at] on go into one statement. */
static size_t together(const struct call *c, size_t at)
{
	struct pg_row *const *s = c->sorted;
	size_t n = 1, bytes = weight(s[at]);
	while (at + n < c->n && n < STEP_ROWS && s[at + n]->round == s[at]->round && pg_row_alike(s[at + n], s[at])) {
		bytes += weight(s[at + n]);
		if (bytes > STEP_BYTES)
			break;
		n++;
	}
	return n;
}

/* Rows that a statement may leave alone without saying how they are. */
static bool silent(enum pg_st st)
{
	return st == ST_PUT_NEWER || st == ST_PUT_ABSENT;
}

static bool needs_lock(const struct call *c)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct pg_row *r = &c->rows[i];
		if (r->st == ST_PUT_VERSION || r->st == ST_DELETE || r->st == ST_TOUCH || r->st == ST_RETIRE || r->w->fact ||
		    !pg_row_alike(r, &c->rows[0]))
			return true;
	}
	return false;
}

/* Those of a statement's rows that are facts. */
static enum err add_facts(struct call *c, struct pg_row **rows, size_t n)
{
	struct pg_params *p;
	struct pg_row **facts = malloc(n * sizeof *facts);
	size_t k = 0;
	if (!facts)
		return err_set(E_LIMIT, "out of memory");
	for (size_t i = 0; i < n; i++)
		if (rows[i]->w->op == W_PUT && rows[i]->w->fact)
			facts[k++] = rows[i];
	enum err e = k ? add_step(c, &pg_fact_set, NULL, 0, &p) : OK;
	if (e == OK && k)
		pg_fact_params(p, facts, k);
	free(facts);
	return e;
}

/* Another program's vectors of what is put: by the steps that put. */
static enum err add_foreign(struct call *c)
{
	struct pg_params *p;
	size_t steps = 0;
	int last = -1;
	c->foreign = false;
	for (size_t i = 0; i < c->n; i++) {
		steps += c->sorted[i]->w->op == W_PUT && c->sorted[i]->step != last;
		last = c->sorted[i]->step;
	}
	if (steps == 0 || !atomic_load(&c->t->foreign))
		return OK;
	c->foreign = true;
	TRY(add_step(c, &pg_foreign_gone, NULL, 0, &p));
	pg_i64(p, c->op);
	pg_array(p, PG_INT4S, steps);
	last = -1;
	for (size_t i = 0; i < c->n; i++) {
		if (c->sorted[i]->w->op == W_PUT && c->sorted[i]->step != last)
			pg_el_i32(p, c->sorted[i]->step);
		last = c->sorted[i]->step;
	}
	pg_array_end(p);
	return OK;
}

static enum err plan(struct call *c)
{
	struct pg_params *p;
	int step = 0;
	TRY(add_step(c, &pg_write_patience, NULL, 0, &p));
	set_rounds(c);
	if (needs_lock(c))
		TRY(add_lock(c));
	qsort(c->sorted, c->n, sizeof *c->sorted, by_step);
	for (size_t at = 0, k; at < c->n; at += k, step++) {
		struct pg_row **rows = c->sorted + at;
		k = together(c, at);
		for (size_t i = 0; i < k; i++) {
			rows[i]->step = step;
			rows[i]->step_rows = (unsigned)k;
		}
		TRY(add_step(c, pg_write_stmt(rows[0]->st), rows, k, &p));
		pg_write_params(p, c->op, step, c->atomic && c->n > 1, rows, k);
		TRY(add_facts(c, rows, k));
		if (silent(rows[0]->st) && c->rounds > 1) { /* how they are now: a later round changes that */
			TRY(add_step(c, &pg_write_look, rows, k, &p));
			pg_look_params(p, 0, rows, k);
		}
	}
	if (pg_rows_end_documents(c->sorted, c->n)) {
		TRY(add_step(c, &pg_vectors_gone, NULL, 0, &p));
		pg_i64(p, c->op);
	}
	TRY(add_foreign(c));
	for (unsigned i = 0; i < c->steps_n; i++)
		c->steps[i].p = &c->params[i];
	return OK;
}

static void drop_steps(struct call *c)
{
	for (unsigned i = 0; i < c->steps_n; i++) {
		PQclear(c->steps[i].res);
		pg_params_release(&c->params[i]);
	}
	c->steps_n = 0;
}

/* ---------------------------------------------------------------- looking */

static enum err look(struct pg_tenant *t, int64_t op, struct pg_row *const *rows, size_t n, struct pg_seen *out)
{
	struct pg_params p;
	PGresult *res;
	pg_params_init(&p);
	pg_look_params(&p, op, rows, n);
	memset(out, 0, n * sizeof *out);
	TRY(pg_query(t, &pg_write_look, &p, &res));
	pg_look_result(res, out, n);
	PQclear(res);
	return OK;
}

/* All rows of the call in its order. */
static enum err look_all(struct call *c, int64_t op, struct pg_seen **out)
{
	struct pg_seen *seen = calloc(c->n, sizeof *seen);
	struct pg_row **rows = malloc(c->n * sizeof *rows);
	enum err e = OK;
	if (!seen || !rows)
		e = err_set(E_LIMIT, "out of memory");
	for (size_t i = 0; e == OK && i < c->n; i++)
		rows[i] = &c->rows[i];
	for (size_t at = 0, k; e == OK && at < c->n; at += k) {
		k = c->n - at < STEP_ROWS ? c->n - at : STEP_ROWS;
		e = look(c->t, op, rows + at, k, seen + at);
	}
	free(rows);
	if (e != OK) {
		free(seen);
		seen = NULL;
	}
	*out = seen;
	return e;
}

void pg_recall(const struct pg_row *r, const struct pg_seen *s, bool atomic)
{
	struct item_write *w = r->w;
	bool all = s->done_n >= r->step_rows, stamped = s->found && s->updated == r->updated;
	bool landed = atomic || all || s->done || (w->op == W_PUT && stamped) || (w->op == W_PUT && r->st == ST_PUT);
	w->existed = s->found;
	w->version = s->version;
	if (w->op == W_TOUCH) {
		w->changed = pg_holds(w, s->found, s->version) && s->found && s->ttl_minutes > 0;
	} else if (w->op == W_PUT && landed) {
		w->changed = true;
		w->existed = s->version > 1;
	} else if ((w->op == W_DELETE || w->op == W_RETIRE) && (all || (s->done_n > 0 && !s->found))) {
		w->changed = w->existed = true;
		w->version = 0;
	} else if (w->cond != IF_ANY && !landed) {
		(void)pg_holds(w, s->found, s->version);
	}
}

/* The call had been committed before: what can be said of it afterwards. */
static enum err recall_all(struct call *c, struct pg_seen *seen)
{
	struct pg_seen *mine = NULL;
	if (!seen) {
		TRY(look_all(c, c->op, &mine));
		seen = mine;
	}
	for (size_t i = 0; i < c->n; i++)
		pg_recall(&c->rows[i], &seen[i], c->atomic);
	free(mine);
	return OK;
}

/* ---------------------------------------------------------------- running */

static void look_in_step(const PGresult *res, struct pg_row *const *rows, size_t n, struct pg_seen *seen)
{
	pg_look_result(res, seen, n);
	for (size_t i = 0; i < n; i++) {
		struct item_write *w = rows[i]->w;
		if (w->changed)
			continue;
		w->existed = seen[i].found;
		w->version = seen[i].version;
		if (w->cond == IF_ABSENT && pg_holds(w, seen[i].found, seen[i].version))
			w->err = err_kind(E_CONFLICT, ERR_PRECONDITION, "the item existed when this was to be written");
	}
}

/* Rows that were left alone, in a call of one round: how they are. *again: a condition that did not hold does now. */
static enum err look_at_silent(struct call *c, bool *again)
{
	struct pg_row **rows = malloc(c->n * sizeof *rows);
	struct pg_seen *seen = malloc(STEP_ROWS * sizeof *seen);
	size_t n = 0;
	enum err e = rows && seen ? OK : err_set(E_LIMIT, "out of memory");
	for (size_t i = 0; e == OK && i < c->n; i++)
		if (silent(c->sorted[i]->st) && !c->sorted[i]->w->changed)
			rows[n++] = c->sorted[i];
	for (size_t at = 0, k; e == OK && at < n; at += k) {
		PGresult *res;
		struct pg_params p;
		k = n - at < STEP_ROWS ? n - at : STEP_ROWS;
		pg_params_init(&p);
		pg_look_params(&p, 0, rows + at, k);
		e = pg_query(c->t, &pg_write_look, &p, &res);
		if (e != OK)
			break;
		look_in_step(res, rows + at, k, seen);
		PQclear(res);
		*again = c->n == 1 && rows[0]->w->cond == IF_ABSENT && !rows[0]->w->existed;
	}
	free(rows);
	free(seen);
	return e;
}

static enum err take_results(struct call *c, bool *again)
{
	struct pg_seen *seen = malloc(STEP_ROWS * sizeof *seen);
	if (!seen)
		return err_set(E_LIMIT, "the writes are done, but there is no memory for their results");
	for (unsigned i = 0; i < c->steps_n; i++) {
		struct span *s = &c->spans[i];
		if (s->look)
			look_in_step(c->steps[i].res, s->rows, s->n, seen);
		else if (s->n > 0)
			pg_write_result(c->steps[i].res, s->rows, s->n);
	}
	free(seen);
	return c->rounds == 1 ? look_at_silent(c, again) : OK;
}

enum err pg_name_item(enum err e, const struct item_write *w, size_t n)
{
	if (e != E_INVALID || n != 1)
		return e;
	return err_wrap(e, "the item \"%.*s\" of \"%.*s\" cannot be kept by PostgreSQL", STR_ARG(str_sub(w->key, 0, 64)),
			STR_ARG(str_sub(w->ns, 0, 64)));
}

/* An atomic call's condition did not hold: which. *again: none that could be found. */
static enum err pinpoint(struct call *c, bool *again)
{
	struct pg_seen *seen;
	TRY(look_all(c, c->op, &seen));
	enum err e;
	if (seen[0].known) { /* the executor's second attempt: the first one had landed and made the condition false */
		e = recall_all(c, seen);
	} else {
		e = imagine_all(c->rows, c->n, seen, true);
		*again = e == OK;
	}
	free(seen);
	return e;
}

/* One attempt. *locked: (with an error) nothing was done, because somebody has a row locked. */
static enum err attempt(struct call *c, bool *again, bool *locked)
{
	c->op = pg_new_op();
	reset(c->rows[0].w, c->n);
	*again = *locked = c->lost = false;
	TRY(plan(c));
	struct pg_job j = {.t = c->t, .steps = c->steps, .n = c->steps_n, .lane = LANE_WRITE, .write = true};
	enum err e = pg_run(&j);
	if (e != OK && c->atomic && strcmp(j.sqlstate, "22012") == 0)
		return pinpoint(c, again);
	*locked = strcmp(j.sqlstate, "55P03") == 0;
	if (e != OK && c->foreign && pg_foreign_lost(c->t, j.sqlstate)) {
		*again = c->lost = true;
		return OK;
	}
	if (e != OK)
		return pg_name_item(e, c->rows[0].w, c->n);
	return j.repeated ? recall_all(c, NULL) : take_results(c, again);
}

static enum err run(struct call *c)
{
	uint64_t until = deadline_in_ms(c->t->s->statement_ms);
	bool again = true, locked = false;
	enum err e = OK;
	if (fiber_deadline() < until)
		until = fiber_deadline();
	for (int i = 0; i < ATTEMPTS && again && e == OK; i++) {
		do {
			e = attempt(c, &again, &locked);
			drop_steps(c);
		} while (e != OK && locked && !fiber_cancelled() && clock_mono_ns() < until);
	}
	if (e != OK && locked)
		e = err_wrap(e, "another client of the database holds an item that is to be written; nothing was written");
	if (e == OK && again && (c->n > 1 || c->lost)) {
		e = err_set(E_BUSY, "%s; try again",
			    c->lost ? "the rights on store_vectors kept changing while the write was tried, and nothing was written"
				    : "others kept changing the items that this call has conditions on");
		diag_get()->retry_after_s = 1;
	}
	struct item_write *w = c->rows[0].w;
	if (e == OK && c->n == 1 && c->atomic && w->err != OK) {
		(void)pg_holds(w, w->existed, w->version);
		e = w->err;
	}
	return e;
}

enum err pg_write_alone(struct pg_tenant *t, struct item_write *w, size_t n, bool atomic)
{
	struct call c = {.t = t, .n = n, .atomic = atomic};
	enum err e = E_LIMIT;
	c.rows = malloc(n * sizeof *c.rows);
	c.sorted = malloc(n * sizeof *c.sorted);
	if (c.rows && c.sorted) {
		for (size_t i = 0; i < n; i++)
			pg_row_init(&c.rows[i], &w[i], (uint32_t)i);
		e = run(&c);
	} else {
		e = err_set(E_LIMIT, "out of memory");
	}
	free(c.steps);
	free(c.spans);
	free(c.params);
	free(c.sorted);
	free(c.rows);
	if (e != OK && e != E_CONFLICT)
		reset(w, n);
	return e;
}

/* ---------------------------------------------------------------- the port's call */

/* A tenant that does not exist, and that nothing is put into. */
static enum err nothing_there(struct item_write *w, size_t n, bool atomic)
{
	struct pg_seen seen;
	struct pg_row r;
	for (size_t i = 0; i < n; i++) {
		seen = (struct pg_seen){0};
		pg_row_init(&r, &w[i], 0);
		imagine(&r, &seen);
		if (w[i].err != OK && atomic)
			return w[i].err;
	}
	return OK;
}

/* Length of the \uXXXX or other escape at s[i], 0: PostgreSQL has no such character (jsonb keeps text, not code units). */
static unsigned unit(struct str s, size_t i)
{
	unsigned v = 0;
	for (size_t k = i + 2; k < i + 6; k++) {
		char ch = k < s.n ? s.p[k] : '0';
		v = v * 16 + (unsigned)(ch <= '9' ? ch - '0' : (ch | 32) - 'a' + 10);
	}
	return v;
}

static size_t escape(struct str s, size_t i)
{
	if (i + 1 >= s.n || s.p[i + 1] != 'u')
		return 2;
	unsigned v = unit(s, i);
	if (v == 0 || (v >= 0xdc00 && v <= 0xdfff))
		return 0;
	if (v < 0xd800 || v > 0xdbff)
		return 6;
	if (i + 7 >= s.n || s.p[i + 6] != '\\' || s.p[i + 7] != 'u')
		return 0;
	v = unit(s, i + 6);
	return v >= 0xdc00 && v <= 0xdfff ? 12 : 0;
}

static enum err value_check(const struct item_write *w)
{
	struct str s = w->value;
	for (ptrdiff_t i = str_chr(s, '\\', 0); i >= 0;) {
		size_t len = escape(s, (size_t)i);
		if (len == 0)
			return err_field(
				E_INVALID, "/value", i,
				"the value of \"%.*s\" has at byte %td an escape (\\u0000, or half of a pair) that PostgreSQL"
				" cannot keep in JSON; leave it out",
				STR_ARG(str_sub(w->key, 0, 64)), i);
		i = str_chr(s, '\\', (size_t)i + len);
	}
	return OK;
}

enum err pg_item_write(struct store *st, const struct principal *who, struct item_write *w, size_t n, bool atomic)
{
	struct pg_tenant *t;
	bool put = false, alone = false;
	TRY(principal_check(who, RIGHT_WRITE));
	if (n == 0)
		return OK;
	if (n > UINT32_MAX)
		return err_set(E_LIMIT, "too many writes in one call");
	reset(w, n);
	for (size_t i = 0; i < n; i++) {
		put |= w[i].op == W_PUT;
		if (w[i].op == W_PUT)
			TRY(value_check(&w[i]));
	}
	TRY(pg_tenant_get(pg_of(st), who, RIGHT_WRITE, put, &t));
	if (!t)
		return nothing_there(w, n, atomic);
	if (pg_gather_fits(w, n)) {
		TRY(pg_gather_write(t, w, n, &alone));
		if (!alone)
			return OK;
	}
	return pg_write_alone(t, w, n, atomic);
}
