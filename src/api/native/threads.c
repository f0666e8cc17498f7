/* Threads: what lies under a name, a graph's checkpoints as a history, one state, forks, pruning, removal. Values are decoded for
 * display only (core/state.c). */
#include "core/thread.h"

#include <stdio.h>

#include "api/native/impl.h"
#include "base/clock.h"
#include "core/checkpoint.h"

enum { PRUNE_THREADS = 1000, KEEP_MAX = 1000000, DAYS_MAX = 36500 };
#define HISTORY_BYTES ((size_t)64 << 20)
static const int64_t day_us = INT64_C(86400000000);

/* -------------------------------------------------------------------- list */

static void time_member(struct jw *w, const char *name, int64_t us)
{
	char text[CLOCK_TEXT_MAX];

	jw_key(w, name);
	if (us != 0)
		jw_str(w, str_of(text, clock_format(us, CLOCK_MILLIS_Z, text)));
	else
		jw_null(w);
}

static void text_member(struct jw *w, const char *name, struct str s)
{
	jw_key(w, name);
	if (s.n > 0)
		jw_str(w, s);
	else
		jw_null(w);
}

static void int_member(struct jw *w, const char *name, int64_t n)
{
	jw_key(w, name);
	jw_i64(w, n);
}

static const char *status_name(const struct thread_info *t)
{
	switch (thread_status(t)) {
	case THREAD_BUSY:
		return "busy";
	case THREAD_INTERRUPTED:
		return "interrupted";
	case THREAD_FAILED:
		return "error";
	case THREAD_IDLE:
		break;
	}
	return "idle";
}

static void thread_members(struct jw *w, const struct thread_info *t)
{
	jw_key(w, "thread");
	jw_str(w, t->thread);
	text_member(w, "user", t->user);
	int_member(w, "messages", t->messages);
	int_member(w, "checkpoints", t->checkpoints);
	int_member(w, "entries", t->entries);
	jw_key(w, "status");
	jw_cstr(w, status_name(t));
	time_member(w, "created_at", t->created_us);
	time_member(w, "updated_at", t->updated_us);
	time_member(w, "state_at", t->state_us);
	jw_key(w, "ttl");
	if (t->ttl_minutes > 0) {
		jw_obj(w);
		jw_key(w, "minutes");
		jw_double(w, t->ttl_minutes);
		jw_key(w, "strategy");
		jw_cstr(w, t->ttl_strategy == TTL_KEEP_LATEST ? "keep_latest" : "delete");
		jw_end_obj(w);
	} else {
		jw_null(w);
	}
}

void nv_write_thread(struct jw *w, const struct thread_info *t)
{
	jw_obj(w);
	thread_members(w, t);
	jw_end_obj(w);
}

/* Threads whose names begin with prefix, behind `after`, at most want. */
static enum err threads_below(struct http_req *rq, struct memory *m, struct str prefix, struct str after, size_t want,
			      struct thread_info *out, size_t *n)
{
	const struct principal *who = rq_principal(rq);
	struct str user = rq_query(rq, "user");
	struct thread_info *t;
	bool found = false;
	size_t got;

	*n = 0;
	if (prefix.n > 0 && after.n == 0) {
		/* The listing goes on strictly behind a name; the one that is the prefix itself comes first. */
		TRY(thread_check(prefix, "prefix"));
		TRY(thread_get(m, rq_arena(rq), who, prefix, &out[0], &found));
		*n = found && (!user.p || str_eq(user, out[0].user));
		after = prefix;
	}
	TRY(session_threads(m, rq_arena(rq), who, &user, after, want - *n, &t, &got));
	for (size_t i = 0; i < got && str_starts(t[i].thread, prefix); i++)
		out[(*n)++] = t[i];
	return OK;
}

void nv_threads(struct http_req *rq, void *ctx)
{
	static const char *const filters[] = {"user", "prefix", NULL};
	struct page p = {.filters = filters};
	struct thread_info *t = NULL;
	size_t n, shown;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(page_begin(rq, ctx, &p));
	t = ARENA_ARRAY(rq_arena(rq), struct thread_info, (size_t)p.limit + 1);
	CHECK(t ? OK : E_NOMEM);
	CHECK(threads_below(rq, ctx, rq_query(rq, "prefix"), p.after, (size_t)p.limit + 1, t, &n));
	shown = n > (size_t)p.limit ? (size_t)p.limit : n;
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "data");
	jw_arr(&w);
	for (size_t i = 0; i < shown; i++)
		nv_write_thread(&w, &t[i]);
	e = page_end(rq, ctx, &p, &w, n > shown, shown > 0 ? t[shown - 1].thread : STR(""));
out:
	nv_answer(rq, e, &b);
}

/* ---------------------------------------------------------------- one thread */

static enum err find_thread(struct http_req *rq, struct memory *m, struct thread_info *t)
{
	bool found;

	TRY(thread_get(m, rq_arena(rq), rq_principal(rq), rq_param(rq, "id"), t, &found));
	return found ? OK : err_set(E_NOT_FOUND, "there is no such thread");
}

void nv_thread_info(struct http_req *rq, void *ctx)
{
	struct thread_info t;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(find_thread(rq, ctx, &t));
	jw_init(&w, &b);
	jw_obj(&w);
	thread_members(&w, &t);
	jw_key(&w, "metadata");
	jw_raw(&w, t.metadata.n ? t.metadata : STR("{}"));
	jw_key(&w, "config");
	jw_raw(&w, t.config.n ? t.config : STR("{}"));
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}

void nv_thread_delete(struct http_req *rq, void *ctx)
{
	enum err e = session_delete(ctx, rq_principal(rq), rq_param(rq, "id"));

	if (e == OK)
		rs_empty(rq, 204);
	else
		rs_error(rq, e);
}

/* ------------------------------------------------------------------ history */

static void json_member(struct jw *w, const char *name, struct jval obj, const char *member)
{
	struct jval v = j_get(obj, str_c(member));

	jw_key(w, name);
	if (j_ok(v))
		jw_raw(w, j_raw(v));
	else
		jw_null(w);
}

static enum err write_step(struct jw *w, struct arena *a, const struct ckpt *c)
{
	static const struct json_limits lim = {1000, 4000000, CKPT_JSON_MAX, JSON_DUP_OK};
	struct json meta, ckpt;
	int64_t us = ckpt_id_time(c->id);

	TRY(json_parse(a, c->metadata.n ? c->metadata : STR("{}"), &lim, &meta));
	TRY(json_parse(a, c->checkpoint, &lim, &ckpt));
	jw_obj(w);
	jw_key(w, "id");
	jw_str(w, c->id);
	text_member(w, "parent", c->parent);
	jw_key(w, "ns");
	jw_str(w, c->ns);
	json_member(w, "step", json_root(&meta), "step");
	json_member(w, "source", json_root(&meta), "source");
	if (us != 0)
		time_member(w, "created_at", us);
	else
		json_member(w, "created_at", json_root(&ckpt), "ts");
	int_member(w, "bytes", (int64_t)c->bytes);
	jw_end_obj(w);
	return OK;
}

/* A cursor holds ns, a line feed and the id of the last checkpoint; ids have no line feed. */
static void history_from(struct page *p, struct ckpt_list *q, struct str thread)
{
	for (size_t i = p->after.n; i-- > 0;) {
		if (p->after.p[i] != '\n')
			continue;
		q->after.ns = str_sub(p->after, 0, i);
		q->after.id = str_sub(p->after, i + 1, p->after.n);
		q->after.thread = thread;
		return;
	}
}

void nv_thread_history(struct http_req *rq, void *ctx)
{
	static const char *const filters[] = {"ns", NULL};
	struct str thread = rq_param(rq, "id"), ns = rq_query(rq, "ns"), last = STR("");
	struct ckpt_list q = {.thread = &thread, .ns = ns.p ? &ns : NULL, .want = CK_SIZES};
	struct arena *a = rq_arena(rq);
	struct page p = {.filters = filters};
	struct thread_info t;
	struct ckpt_full *v;
	size_t n, shown;
	struct buf b;
	struct jw w;
	bool more;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(page_begin(rq, ctx, &p));
	CHECK(find_thread(rq, ctx, &t));
	history_from(&p, &q, thread);
	q.limit = (size_t)p.limit + 1;
	CHECK(ckpt_list(ctx, a, rq_principal(rq), &q, HISTORY_BYTES, &v, &n, &more));
	shown = n > (size_t)p.limit ? (size_t)p.limit : n;
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "data");
	jw_arr(&w);
	for (size_t i = 0; i < shown; i++)
		CHECK(write_step(&w, a, &v[i].c));
	if (shown > 0)
		last = arena_printf(a, "%.*s\n%.*s", STR_ARG(v[shown - 1].c.ns), STR_ARG(v[shown - 1].c.id));
	e = page_end(rq, ctx, &p, &w, more || n > shown, last);
out:
	nv_answer(rq, e, &b);
}

/* -------------------------------------------------------------------- state */

static enum err find_checkpoint(struct http_req *rq, struct memory *m, const struct ckpt_query *q, struct ckpt_full *f)
{
	bool found;

	TRY(ckpt_get(m, rq_arena(rq), rq_principal(rq), q, f, &found));
	if (found)
		return OK;
	return q->id.n ? err_set(E_NOT_FOUND, "there is no such checkpoint") : err_set(E_NOT_FOUND, "the thread has no checkpoint");
}

void nv_thread_state(struct http_req *rq, void *ctx)
{
	struct ckpt_query q = {.thread = rq_param(rq, "id"),
			       .ns = rq_query(rq, "ns"),
			       .id = rq_query(rq, "checkpoint_id"),
			       .want = CK_VALUES | CK_WRITES_TOO};
	struct ckpt_full f;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(find_checkpoint(rq, ctx, &q, &f));
	jw_init(&w, &b);
	ckpt_state_json(&w, rq_arena(rq), &f.c, NULL, 0);
out:
	nv_answer(rq, e, &b);
}

/* --------------------------------------------------------------------- fork */

/* The checkpoint and what led to it, under another name. */
static enum err fork_to(struct http_req *rq, struct memory *m, struct ckpt_query *q, struct str to)
{
	struct ckpt_full f;
	struct ckpt_ref upto;

	if (q->ns.n > 0)
		return nv_bad("/ns", "cannot be given with to: a thread is copied from its root");
	TRY(find_checkpoint(rq, m, q, &f));
	q->id = f.c.id;
	upto = (struct ckpt_ref){q->ns, q->id};
	return ckpt_copy(m, rq_arena(rq), rq_principal(rq), q->thread, to, &upto);
}

void nv_thread_fork(struct http_req *rq, void *ctx)
{
	static const struct str names[] = {STR_INIT("checkpoint_id"), STR_INIT("ns"), STR_INIT("to")};
	struct arena *a = rq_arena(rq);
	struct ckpt_query q = {.thread = rq_param(rq, "id")};
	char made[37] = "";
	struct json doc;
	struct str to;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(nv_body(rq, names, 3, &doc));
	CHECK(nv_str(a, json_root(&doc), "", "checkpoint_id", &q.id));
	CHECK(nv_str(a, json_root(&doc), "", "ns", &q.ns));
	CHECK(nv_str(a, json_root(&doc), "", "to", &to));
	if (to.p) {
		CHECK(thread_check(to, "/to"));
		CHECK(fork_to(rq, ctx, &q, to));
	} else {
		struct ckpt_ref ref = {q.ns, q.id};

		CHECK(ckpt_fork(ctx, a, rq_principal(rq), q.thread, &ref, made));
	}
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "thread");
	jw_str(&w, to.p ? to : q.thread);
	jw_key(&w, "ns");
	jw_str(&w, q.ns);
	jw_key(&w, "checkpoint_id");
	jw_str(&w, to.p ? q.id : str_c(made));
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}

/* -------------------------------------------------------------------- prune */

struct prune {
	struct str *threads; /* NULL: those below prefix */
	size_t n;
	struct str prefix, after;
	struct ckpt_policy policy;
	bool dry_run;
	struct str next; /* out: where to go on, "" : nowhere */
};

static enum err read_policy(struct arena *a, struct jval body, struct ckpt_policy *p)
{
	uint32_t last, days, every;
	struct str strategy;

	TRY(nv_str(a, body, "", "strategy", &strategy));
	TRY(nv_uint(body, "", "keep_last", 1, KEEP_MAX, 0, &last));
	TRY(nv_uint(body, "", "keep_days", 0, DAYS_MAX, 0, &days));
	TRY(nv_uint(body, "", "keep_every", 1, KEEP_MAX, 0, &every));
	if (strategy.p && !str_eq(strategy, STR("keep_latest")) && !str_eq(strategy, STR("delete")))
		return nv_bad("/strategy", "must be keep_latest or delete");
	p->drop_all = str_eq(strategy, STR("delete"));
	if (p->drop_all && (last || days || every))
		return nv_bad("/strategy", "delete keeps nothing, so it excludes keep_last, keep_days and keep_every");
	if (!strategy.p && !last && !days && !every)
		return nv_bad("/keep_last", "is missing: say keep_last, keep_days, keep_every or strategy");
	p->keep_last = last ? last : 1;
	p->keep_days_us = days * day_us;
	p->keep_every = every;
	return OK;
}

static enum err read_names(struct arena *a, struct jval list, struct prune *p)
{
	struct jval v;
	char at[40];

	if (j_null(list))
		return OK;
	if (!j_is(list, JSON_ARRAY))
		return nv_bad("/threads", "must be an array of names");
	if (j_node(list)->count > PRUNE_THREADS)
		return nv_bad("/threads", "has at most 1000 elements");
	p->threads = ARENA_ARRAY(a, struct str, j_node(list)->count + 1);
	if (!p->threads)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); p->n++) {
		snprintf(at, sizeof at, "/threads/%zu", p->n);
		if (!j_is(v, JSON_STRING))
			return nv_bad(at, "must be a string");
		p->threads[p->n] = j_str(a, v);
		if (!p->threads[p->n].p)
			return E_NOMEM;
		TRY(thread_check(p->threads[p->n], at));
	}
	return OK;
}

static enum err read_prune(struct http_req *rq, struct prune *p)
{
	static const struct str names[] = {STR_INIT("threads"),	  STR_INIT("prefix"),	 STR_INIT("after"),
					   STR_INIT("keep_last"), STR_INIT("keep_days"), STR_INIT("keep_every"),
					   STR_INIT("strategy"),  STR_INIT("dry_run")};
	struct arena *a = rq_arena(rq);
	struct json doc;
	struct jval body;
	bool given;

	TRY(nv_body(rq, names, sizeof names / sizeof names[0], &doc));
	body = json_root(&doc);
	TRY(read_policy(a, body, &p->policy));
	TRY(read_names(a, j_get(body, STR("threads")), p));
	TRY(nv_str(a, body, "", "prefix", &p->prefix));
	TRY(nv_str(a, body, "", "after", &p->after));
	TRY(nv_bool(body, "", "dry_run", &given, &p->dry_run));
	if (!p->threads == !p->prefix.p)
		return nv_bad("/threads", "or prefix is needed, and only one of them (prefix \"\" is every thread)");
	if (p->after.p && !p->prefix.p)
		return nv_bad("/after", "belongs to prefix");
	return OK;
}

/* A page of the threads below the prefix. */
static enum err names_below(struct http_req *rq, struct memory *m, struct prune *p)
{
	struct thread_info *t = ARENA_ARRAY(rq_arena(rq), struct thread_info, PRUNE_THREADS);

	p->threads = ARENA_ARRAY(rq_arena(rq), struct str, PRUNE_THREADS);
	if (!t || !p->threads)
		return E_NOMEM;
	TRY(threads_below(rq, m, p->prefix, p->after, PRUNE_THREADS, t, &p->n));
	for (size_t i = 0; i < p->n; i++)
		p->threads[i] = t[i].thread;
	if (p->n == PRUNE_THREADS)
		p->next = p->threads[p->n - 1];
	return OK;
}

static void removed_members(struct jw *w, const struct ckpt_removed *r)
{
	int_member(w, "checkpoints", r->checkpoints);
	int_member(w, "values", r->values);
	int_member(w, "writes", r->writes);
	int_member(w, "bytes", r->bytes);
}

static enum err prune_each(struct http_req *rq, struct memory *m, const struct prune *p, struct jw *w, struct ckpt_pruned *sum)
{
	for (size_t i = 0; i < p->n; i++) {
		struct ckpt_pruned one = {0};

		TRY(ckpt_prune(m, rq_arena(rq), rq_principal(rq), &p->threads[i], 1, &p->policy, p->dry_run, &one));
		sum->threads += one.threads;
		sum->removed.checkpoints += one.removed.checkpoints;
		sum->removed.values += one.removed.values;
		sum->removed.writes += one.removed.writes;
		sum->removed.bytes += one.removed.bytes;
		if (one.removed.checkpoints == 0)
			continue;
		jw_obj(w);
		jw_key(w, "thread");
		jw_str(w, p->threads[i]);
		removed_members(w, &one.removed);
		jw_end_obj(w);
	}
	return OK;
}

void nv_threads_prune(struct http_req *rq, void *ctx)
{
	struct ckpt_pruned sum = {0};
	struct prune p = {0};
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(read_prune(rq, &p));
	if (!p.threads)
		CHECK(names_below(rq, ctx, &p));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "dry_run");
	jw_bool(&w, p.dry_run);
	jw_key(&w, "threads");
	jw_arr(&w);
	CHECK(prune_each(rq, ctx, &p, &w, &sum));
	jw_end_arr(&w);
	jw_key(&w, "total");
	jw_obj(&w);
	int_member(&w, "threads", sum.threads);
	removed_members(&w, &sum.removed);
	jw_end_obj(&w);
	text_member(&w, "next", p.next);
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}
