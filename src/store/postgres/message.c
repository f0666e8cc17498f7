/* Messages.
 *
 * Invariants
 *  1. Whoever adds messages to a thread holds the lock of its row, taken in a step before: the step that adds has a snapshot of its
 *     own, so it sees every message and the true count of what was appended before. Threads are locked in byte order.
 *  2. pos is dense: 0 .. cenote_thread.messages - 1; ids grow with pos within a thread.
 *  3. A thread keeps the user of its first message; a message of another user fails the whole transaction (division by zero in
 *     ST_APPEND_LOCK).
 *  4. A principal sees the threads that principal_sees() says; others do not exist for it. What other programs have under the
 *     name is nobody's, and so is the thread that a message is added to then. */
#include "store/postgres/sessions.h"

#define PAGE_ROWS 1000
/* Of the texts of a page, so that a result does not fill the memory. */
#define PAGE_BYTES "8388608"

static const struct pg_stmt st_append_lock = {
	ST_APPEND_LOCK, LANE_WRITE, "append_lock",
	"WITH x AS (SELECT u.thread, u.usr FROM unnest($1::text[], $2::text[]) AS u(thread, usr)), t AS (INSERT INTO"
	" @cenote_thread AS t(thread, usr, created_at, updated_at, messages) SELECT x.thread, CASE WHEN " PG_FOREIGN(
		"x.thread") " THEN '' ELSE x.usr END, $3::timestamptz, $3::timestamptz, "
			    "0"
			    " FROM x ORDER BY thread COLLATE \"C\" ON CONFLICT (thread) DO UPDATE SET usr = t.usr RETURNING "
			    "t.thread, t.usr)"
			    " SELECT 1 / (t.usr = x.usr)::int FROM t JOIN x ON x.thread = t.thread"};

/* One row per message of the call: its place, id, pos, and whether it was stored now. */
static const struct pg_stmt st_append = {
	ST_APPEND, LANE_WRITE, "append",
	"WITH x AS (SELECT t.id AS thread_id, t.thread, t.usr, t.messages, u.mid, u.at, u.role, u.name, u.content, u.metadata,"
	" u.terms, u.ord FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],"
	" $8::bytea[]) WITH ORDINALITY AS u(thread, mid, at, role, name, content, metadata, terms, ord)"
	" JOIN @cenote_thread t ON t.thread = u.thread),"
	" e AS (SELECT x.ord, m.id, m.pos FROM x JOIN @cenote_message m ON m.thread_id = x.thread_id AND m.mid = x.mid),"
	" n AS (SELECT DISTINCT ON (x.thread_id, x.mid) x.* FROM x WHERE x.ord NOT IN (SELECT e.ord FROM e)"
	" ORDER BY x.thread_id, x.mid, x.ord),"
	" m AS (INSERT INTO @cenote_message AS m(thread_id, pos, at, mid, role, name, content, metadata, terms) SELECT thread_id,"
	" messages + row_number() OVER (PARTITION BY thread_id ORDER BY ord) - 1, at, mid, role, name, content, metadata, terms"
	" FROM n ORDER BY ord RETURNING m.id, m.thread_id, m.pos, m.mid),"
	" c AS (UPDATE @cenote_thread t SET messages = t.messages + g.k, updated_at = $9::timestamptz FROM (SELECT thread_id,"
	" count(*) AS k FROM m GROUP BY thread_id) g WHERE t.id = g.thread_id),"
	" d AS (SELECT m.id, m.pos, n.ord, n.usr, n.thread FROM m JOIN n ON n.thread_id = m.thread_id AND n.mid = m.mid),"
	" j AS (INSERT INTO @cenote_journal(op, step, kind, ids, names, threads) SELECT $10::bigint, 0, 'm',"
	" coalesce(array_agg(d.id ORDER BY d.id), '{}'), coalesce(array_agg(d.usr::text ORDER BY d.id), '{}'),"
	" coalesce(array_agg(d.thread::text ORDER BY d.id), '{}') FROM d)"
	" SELECT x.ord, coalesce(m.id, e.id), coalesce(m.pos, e.pos), d.ord IS NOT NULL FROM x"
	" LEFT JOIN m ON m.thread_id = x.thread_id AND m.mid = x.mid LEFT JOIN e ON e.ord = x.ord LEFT JOIN d ON d.ord = x.ord"};

/* The same rows for a call whose end was not heard: what is there was stored. */
static const struct pg_stmt st_append_look = {
	ST_APPEND_LOOK, LANE_WRITE, "append_look",
	"SELECT u.ord, m.id, m.pos, m.id = any((SELECT j.ids FROM @cenote_journal j WHERE j.op = $3::bigint AND j.step = "
	"0)::bigint[])"
	" AND row_number() OVER (PARTITION BY m.id ORDER BY u.ord) = 1"
	" FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u(thread, mid, ord) JOIN @cenote_thread t ON t.thread = u.thread"
	" JOIN @cenote_message m ON m.thread_id = t.id AND m.mid = u.mid"};

#define MESSAGE_COLUMNS "m.id, m.pos, m.at, m.mid, m.role, m.name, m.content, m.metadata, m.terms"

/* A page: rows until some bytes are full, and how many messages the thread has. $4: the owners who may, NULL: all. */
static const struct pg_stmt st_messages = {
	ST_MESSAGES, LANE_SEARCH, "messages",
	"SELECT m.id, m.pos, m.at, m.mid, m.role, m.name, m.content, m.metadata, m.terms, t.usr, t.messages FROM @cenote_thread t"
	" LEFT JOIN LATERAL (SELECT q.*, sum(octet_length(q.content) + octet_length(q.metadata)) OVER (ORDER BY q.pos ROWS BETWEEN"
	" UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM (SELECT * FROM @cenote_message m WHERE m.thread_id = t.id AND"
	" m.pos >= $2::bigint ORDER BY m.pos LIMIT $3::bigint) q) m ON m.before IS NULL OR m.before < " PAGE_BYTES
	" WHERE t.thread = $1::text AND ($4::text[] IS NULL OR t.usr::text = ANY($4::text[])) ORDER BY m.pos"};

static const struct pg_stmt st_message_by_id = {
	ST_MESSAGE_BY_ID, LANE_SEARCH, "message_by_id",
	"SELECT " MESSAGE_COLUMNS ", t.usr, t.thread, u.ord FROM unnest($1::bigint[]) WITH ORDINALITY AS u(id, ord)"
	" JOIN @cenote_message m ON m.id = u.id JOIN @cenote_thread t ON t.id = m.thread_id"
	" WHERE $2::text[] IS NULL OR t.usr::text = ANY($2::text[])"
	/* and texts (texts.c) */
	" UNION ALL SELECT m.id, m.pos, m.at, m.mid, m.role, m.name, m.content, '', m.terms,"
	" m.usr, m.thread, u.ord FROM unnest($1::bigint[]) WITH ORDINALITY AS u(id, ord)"
	" JOIN @cenote_text m ON m.id = u.id WHERE $2::text[] IS NULL OR m.usr::text ="
	" ANY($2::text[])"};

static enum err not_found(void)
{
	return err_set(E_NOT_FOUND, "there is no such thread");
}

/* ---------------------------------------------------------------- append */

static enum err check(const struct principal *who, const struct message *m, size_t i)
{
	const struct {
		const char *name;
		struct str s;
	} texts[] = {{"thread", m->thread}, {"id", m->mid},	     {"user", m->user},	       {"role", m->role},
		     {"name", m->name},	    {"content", m->content}, {"metadata", m->metadata}};
	char field[64];
	if (who->user_bound && !str_eq(m->user, who->user))
		return err_set(E_DENIED, "this key may only write messages of its own user");
	for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
		if (!pg_has_nul(texts[k].s))
			continue;
		snprintf(field, sizeof field, "/messages/%zu/%s", i, texts[k].name);
		return err_field(E_INVALID, field, -1, "%s holds the character U+0000, which PostgreSQL cannot store",
				 texts[k].name);
	}
	return OK;
}

/* The threads of a call, each once, with its user. */
struct threads {
	struct map seen;
	const struct message **v;
	size_t n;
};

static enum err threads_of(const struct message *m, size_t n, struct threads *out)
{
	map_init(&out->seen);
	out->n = 0;
	out->v = calloc(n, sizeof *out->v);
	if (!out->v)
		return err_set(E_LIMIT, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const struct message *first = map_get(&out->seen, m[i].thread);
		if (first && !str_eq(first->user, m[i].user))
			return err_set(E_CONFLICT, "the thread belongs to another user; nothing was stored");
		if (first)
			continue;
		TRY(map_put(&out->seen, m[i].thread, (void *)(uintptr_t)&m[i], NULL));
		out->v[out->n++] = &m[i];
	}
	return OK;
}

static void texts(struct pg_params *p, const struct message *m, size_t n, size_t offset)
{
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++) {
		struct str s;
		memcpy(&s, (const char *)&m[i] + offset, sizeof s);
		pg_el_str(p, s);
	}
	pg_array_end(p);
}
#define TEXTS(p, m, n, member) texts(p, m, n, offsetof(struct message, member))

static void lock_params(struct pg_params *p, const struct threads *t, int64_t now)
{
	pg_params_init(p);
	pg_array(p, PG_TEXTS, t->n);
	for (size_t i = 0; i < t->n; i++)
		pg_el_str(p, t->v[i]->thread);
	pg_array_end(p);
	pg_array(p, PG_TEXTS, t->n);
	for (size_t i = 0; i < t->n; i++)
		pg_el_str(p, t->v[i]->user);
	pg_array_end(p);
	pg_time(p, now);
}

static void append_params(struct pg_params *p, const struct message *m, size_t n, int64_t now, int64_t op)
{
	pg_params_init(p);
	TEXTS(p, m, n, thread);
	TEXTS(p, m, n, mid);
	pg_array(p, PG_TIMESTAMPTZS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_time(p, m[i].time_us);
	pg_array_end(p);
	TEXTS(p, m, n, role);
	TEXTS(p, m, n, name);
	TEXTS(p, m, n, content);
	TEXTS(p, m, n, metadata);
	pg_array(p, PG_BYTEAS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, m[i].terms);
	pg_array_end(p);
	pg_time(p, now);
	pg_i64(p, op);
}

static void take_results(const PGresult *r, struct message *m, size_t n)
{
	for (int i = 0; i < PQntuples(r); i++) {
		int64_t at = pg_get_i64(r, i, 0) - 1;
		if (at < 0 || at >= (int64_t)n)
			continue;
		m[at].id = pg_get_i64(r, i, 1);
		m[at].pos = pg_get_i64(r, i, 2);
		m[at].stored = pg_get_bool(r, i, 3);
	}
}

static enum err look(struct pg_tenant *t, struct message *m, size_t n, int64_t op)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	TEXTS(&p, m, n, thread);
	TEXTS(&p, m, n, mid);
	pg_i64(&p, op);
	TRY(pg_query(t, &st_append_look, &p, &r));
	take_results(r, m, n);
	PQclear(r);
	return OK;
}

static enum err append(struct pg_tenant *t, const struct threads *threads, struct message *m, size_t n)
{
	struct pg_params lock, all;
	struct pg_step steps[] = {{&st_append_lock, &lock, NULL}, {&st_append, &all, NULL}};
	struct pg_job j = {.t = t, .steps = steps, .n = 2, .lane = LANE_WRITE, .write = true};
	int64_t now = clock_unique_us(), op = pg_new_op();
	lock_params(&lock, threads, now);
	append_params(&all, m, n, now, op);
	enum err e = pg_run(&j);
	if (e == OK && !j.repeated)
		take_results(steps[1].res, m, n);
	pg_job_clear(&j);
	pg_params_release(&lock);
	pg_params_release(&all);
	if (e != OK && strcmp(j.sqlstate, "22012") == 0)
		return err_set(E_CONFLICT, "the thread belongs to another user; nothing was stored");
	return e == OK && j.repeated ? look(t, m, n, op) : e;
}

enum err pg_message_append(struct store *s, const struct principal *who, struct message *m, size_t n)
{
	struct pg_tenant *t;
	struct threads threads;
	TRY(principal_check(who, RIGHT_WRITE));
	for (size_t i = 0; i < n; i++)
		m[i].stored = false;
	for (size_t i = 0; i < n; i++)
		TRY(check(who, &m[i], i));
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, true, &t));
	if (n == 0)
		return OK;
	enum err e = threads_of(m, n, &threads);
	if (e == OK)
		e = append(t, &threads, m, n);
	free(threads.v);
	map_release(&threads.seen);
	return e;
}

/* ---------------------------------------------------------------- reading */

static void columns(const PGresult *r, int row, struct message *m)
{
	*m = (struct message){
		.id = pg_get_i64(r, row, 0),
		.pos = pg_get_i64(r, row, 1),
		.time_us = pg_get_time(r, row, 2),
		.mid = pg_get_str(r, row, 3),
		.role = pg_get_str(r, row, 4),
		.name = pg_get_str(r, row, 5),
		.content = pg_get_str(r, row, 6),
		.metadata = pg_get_str(r, row, 7),
		.terms = pg_get_str(r, row, 8),
		.user = pg_get_str(r, row, 9),
		.stored = true,
	};
}

struct listing {
	struct pg_tenant *t;
	const struct principal *who;
	struct str thread;
	int64_t from;
	size_t left;
	message_fn fn;
	void *ctx;
	bool more;
};

static enum err list_page(struct listing *x, bool first)
{
	struct pg_params p;
	PGresult *r;
	struct message m;
	pg_params_init(&p);
	pg_text(&p, x->thread);
	pg_i64(&p, x->from);
	pg_i64(&p, x->left < PAGE_ROWS ? (int64_t)x->left : PAGE_ROWS);
	pg_owners(&p, x->who);
	TRY(pg_query(x->t, &st_messages, &p, &r));
	int n = PQntuples(r);
	enum err e = n == 0 && first ? not_found() : OK;
	x->more = false;
	for (int i = 0; i < n && !pg_is_null(r, i, 0); i++) {
		columns(r, i, &m);
		m.thread = x->thread;
		x->from = m.pos + 1;
		x->left--;
		x->more = x->left > 0 && x->from < pg_get_i64(r, i, 10);
		if (!x->fn(x->ctx, &m)) {
			x->more = false;
			break;
		}
	}
	PQclear(r);
	return e;
}

enum err pg_message_list(struct store *s, const struct principal *who, struct str thread, int64_t from, size_t limit, message_fn fn,
			 void *ctx)
{
	struct listing x = {.who = who, .thread = thread, .from = from, .left = limit, .fn = fn, .ctx = ctx};
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t || pg_has_nul(thread))
		return not_found();
	enum err e = list_page(&x, true);
	while (e == OK && x.more)
		e = list_page(&x, false);
	return e;
}

static enum err keep_message(struct arena *a, struct message *m)
{
	struct str *const all[] = {&m->thread, &m->mid, &m->user, &m->role, &m->name, &m->content, &m->metadata, &m->terms};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		*all[i] = arena_str(a, *all[i]);
		if (!all[i]->p)
			return E_NOMEM;
	}
	return OK;
}

enum err pg_message_by_id(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
			  struct message *out)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	if (n)
		memset(out, 0, n * sizeof *out);
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t || n == 0)
		return OK;
	pg_params_init(&p);
	pg_array(&p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(&p, ids[i]);
	pg_array_end(&p);
	pg_owners(&p, who);
	TRY(pg_query(t, &st_message_by_id, &p, &r));
	for (int i = 0; i < PQntuples(r) && e == OK; i++) {
		struct message *m = &out[pg_get_i64(r, i, 11) - 1];
		columns(r, i, m);
		m->thread = pg_get_str(r, i, 10);
		e = keep_message(a, m);
	}
	PQclear(r);
	return e;
}
