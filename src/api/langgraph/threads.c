/* Threads: made, read, changed, removed, copied, pruned. A thread that is made here has a UUID for a name, as LangGraph's server
 * wants it; threads of any other name that savers or sessions made can be read and changed all the same.
 *
 * Invariant: a request that fails leaves no thread behind which it has made. */
#include "api/langgraph/impl.h"
#include "base/uuid7.h"
#include "core/checkpoint.h"

enum { PRUNE_MAX = 1000 };

enum err lg_thread(struct http_req *rq, struct memory *m, struct thread_info *out)
{
	struct str name = rq_param(rq, "thread_id");
	bool found;

	TRY(thread_get(m, rq_arena(rq), rq_principal(rq), name, out, &found));
	return found ? OK : err_set(E_NOT_FOUND, "there is no thread \"%.*s\"", STR_ARG(name));
}

/* Ends with the thread as it is now. */
static void answer_thread(struct http_req *rq, struct memory *m, enum err e, const struct thread_info *t, const struct lg_show *how)
{
	struct buf b;
	struct jw w;

	buf_init(&b, rq_arena(rq), LG_ANSWER_MAX);
	jw_init(&w, &b);
	if (e == OK)
		e = lg_thread_write(rq, m, &w, t, how);
	lg_answer(rq, e, &b);
}

/* ------------------------------------------------------------------- create */

static enum err read_ttl(struct jval v, double *minutes, enum thread_ttl *strategy)
{
	static const char *const strategies[] = {"delete", "keep_latest", NULL};
	struct jval number = v;
	int which;

	*minutes = -1;
	*strategy = TTL_DELETE;
	if (j_null(v))
		return OK;
	if (j_is(v, JSON_OBJECT)) {
		number = j_get(v, STR("ttl"));
		TRY(lg_choice(j_get(v, STR("strategy")), "/ttl/strategy", strategies, 0, &which));
		*strategy = which == 0 ? TTL_DELETE : TTL_KEEP_LATEST;
	}
	if (!j_double(number, minutes) || *minutes <= 0)
		return err_field(E_INVALID, "/ttl", -1,
				 "ttl must be an object such as {\"ttl\": 60, \"strategy\": \"delete\"}, in minutes above 0");
	return OK;
}

static enum err read_create(struct arena *a, struct jval body, struct thread_record *r, int *if_exists)
{
	static const char *const names[] = {"raise", "do_nothing", NULL};
	struct jval metadata = j_get(body, STR("metadata"));
	char made[UUID_TEXT + 1];
	double ttl;

	TRY(lg_text(a, j_get(body, STR("thread_id")), "/thread_id", &r->thread));
	if (r->thread.n > 0 && !uuid_valid(r->thread))
		return err_field(E_INVALID, "/thread_id", -1,
				 "thread_id must be a UUID; threads with other names are made by savers");
	if (r->thread.n == 0) {
		uuid7_new(made);
		r->thread = arena_str(a, str_of(made, UUID_TEXT));
		if (!r->thread.p)
			return E_NOMEM;
	}
	if (!j_null(metadata) && !j_is(metadata, JSON_OBJECT))
		return lg_bad("/metadata", "must be an object");
	r->metadata = j_null(metadata) ? STR("") : j_raw(metadata);
	TRY(read_ttl(j_get(body, STR("ttl")), &ttl, &r->ttl_strategy));
	r->ttl_minutes = ttl < 0 ? 0 : ttl;
	return lg_choice(j_get(body, STR("if_exists")), "/if_exists", names, 0, if_exists);
}

/* E_CONFLICT: somebody else's as well, of whom nothing more is said. */
static enum err made_already(struct http_req *rq, struct memory *m, struct str name, bool do_nothing, struct thread_info *out)
{
	bool found = false;

	if (do_nothing)
		TRY(thread_get(m, rq_arena(rq), rq_principal(rq), name, out, &found));
	return found ? OK : err_set(E_CONFLICT, "a thread \"%.*s\" exists already", STR_ARG(name));
}

/* Undoes what this request has made, and says what went wrong before. */
static enum err undone(struct http_req *rq, struct memory *m, struct str name, enum err e)
{
	struct diag why = *diag_get();

	if (thread_remove(m, rq_principal(rq), name) != OK)
		return err_wrap(e, "the thread could not be removed again");
	*diag_get() = why;
	return e;
}

static enum err create(struct http_req *rq, struct memory *m, struct thread_info *out)
{
	struct arena *a = rq_arena(rq);
	struct thread_record r = {0};
	struct json doc;
	int if_exists;
	bool found;
	enum err e;

	TRY(lg_object_or_none(rq, &doc));
	TRY(read_create(a, json_root(&doc), &r, &if_exists));
	e = thread_put(m, rq_principal(rq), &r, IF_ABSENT);
	if (e == E_CONFLICT)
		return made_already(rq, m, r.thread, if_exists == 1, out);
	TRY(e);
	e = lg_supersteps(rq, m, r.thread, j_get(json_root(&doc), STR("supersteps")));
	if (e == OK)
		e = thread_get(m, a, rq_principal(rq), r.thread, out, &found);
	if (e != OK)
		return undone(rq, m, r.thread, e);
	return found ? OK : err_set(E_CONFLICT, "the thread was removed at the same moment");
}

void lg_thread_create(struct http_req *rq, void *ctx)
{
	struct lg_show how = {0};
	struct thread_info t;
	enum err e = create(rq, ctx, &t);

	answer_thread(rq, ctx, e, &t, &how);
}

/* ---------------------------------------------------- get, update, delete */

/* ?include=ttl, several joined with commas or repeated. */
static enum err includes_ttl(struct http_req *rq, bool *yes)
{
	struct str *values, head, rest;
	size_t n;

	*yes = false;
	TRY(rq_query_all(rq, "include", &values, &n));
	for (size_t i = 0; i < n; i++)
		for (rest = values[i]; rest.n > 0;) {
			str_cut(rest, ',', &head, &rest);
			*yes |= str_eq(str_trim(head), STR("ttl"));
		}
	return OK;
}

void lg_thread_get(struct http_req *rq, void *ctx)
{
	struct lg_show how = {0};
	struct thread_info t;
	enum err e;

	CHECK(includes_ttl(rq, &how.ttl));
	e = lg_thread(rq, ctx, &t);
out:
	answer_thread(rq, ctx, e, &t, &how);
}

void lg_thread_update(struct http_req *rq, void *ctx)
{
	struct lg_show how = {0};
	enum thread_ttl strategy;
	struct thread_info t;
	struct json doc;
	double ttl;
	enum err e;

	CHECK(lg_object(rq, &doc));
	CHECK(read_ttl(j_get(json_root(&doc), STR("ttl")), &ttl, &strategy));
	CHECK(thread_update(ctx, rq_arena(rq), rq_principal(rq), rq_param(rq, "thread_id"), j_get(json_root(&doc), STR("metadata")),
			    ttl, strategy, &t));
	if (str_ieq(str_trim(rq_header(rq, "Prefer")), STR("return=minimal"))) {
		rs_header(rq, "Preference-Applied", STR("return=minimal"));
		rs_empty(rq, 204);
		return;
	}
out:
	answer_thread(rq, ctx, e, &t, &how);
}

void lg_thread_delete(struct http_req *rq, void *ctx)
{
	enum err e = thread_remove(ctx, rq_principal(rq), rq_param(rq, "thread_id"));

	if (e == OK)
		rs_empty(rq, 204);
	else
		rs_error(rq, e);
}

/* --------------------------------------------------------------------- copy */

/* The source's metadata; a thread_id in it becomes the new one. */
static enum err copied_metadata(struct arena *a, const struct thread_info *from, struct str to, struct str *out)
{
	struct jval key, v;
	struct json doc;
	struct buf b;
	struct jw w;

	*out = from->metadata;
	if (from->metadata.n == 0)
		return OK;
	TRY(json_parse(a, from->metadata, NULL, &doc));
	buf_init(&b, a, 2 * THREAD_METADATA_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	for (struct j_iter it = j_iter(json_root(&doc)); j_next(&it, &key, &v);) {
		jw_key_str(&w, j_str(a, key));
		if (j_str_eq(key, STR("thread_id")))
			jw_str(&w, to);
		else
			jw_raw(&w, j_raw(v));
	}
	jw_end_obj(&w);
	*out = buf_slice(&b);
	return b.err;
}

static enum err copy(struct http_req *rq, struct memory *m, struct thread_info *out)
{
	struct arena *a = rq_arena(rq);
	struct thread_info from;
	struct thread_record r = {0};
	char name[UUID_TEXT + 1];
	bool found;
	enum err e = lg_thread(rq, m, &from);

	if (e == E_NOT_FOUND) /* the clients know a missing source as a conflict */
		return err_set(E_CONFLICT, "there is no thread \"%.*s\" to copy", STR_ARG(rq_param(rq, "thread_id")));
	TRY(e);
	uuid7_new(name);
	r.thread = str_of(name, UUID_TEXT);
	r.user = from.user;
	r.config = from.config;
	r.ttl_minutes = from.ttl_minutes;
	r.ttl_strategy = (enum thread_ttl)from.ttl_strategy;
	TRY(copied_metadata(a, &from, r.thread, &r.metadata));
	TRY(thread_put(m, rq_principal(rq), &r, IF_ABSENT));
	e = from.checkpoints > 0 ? ckpt_copy(m, a, rq_principal(rq), from.thread, r.thread, NULL) : OK;
	if (e == OK)
		e = thread_get(m, a, rq_principal(rq), r.thread, out, &found);
	if (e != OK)
		return undone(rq, m, r.thread, e);
	return found ? OK : err_set(E_CONFLICT, "the copy was removed at the same moment");
}

void lg_thread_copy(struct http_req *rq, void *ctx)
{
	struct lg_show how = {0};
	struct thread_info t;
	enum err e = copy(rq, ctx, &t);

	answer_thread(rq, ctx, e, &t, &how);
}

/* -------------------------------------------------------------------- prune */

static enum err prune(struct http_req *rq, struct memory *m, const struct str *ids, size_t n, bool keep_latest, int64_t *count)
{
	const struct ckpt_policy policy = {.keep_last = 1};
	const struct principal *who = rq_principal(rq);
	struct ckpt_pruned out;

	*count = 0;
	for (size_t i = 0; i < n; i++)
		TRY(thread_check(ids[i], "/thread_ids"));
	if (keep_latest) {
		TRY(ckpt_prune(m, rq_arena(rq), who, ids, n, &policy, false, &out));
		*count = out.threads;
		return OK;
	}
	for (size_t i = 0; i < n; i++) {
		enum err e = thread_remove(m, who, ids[i]);

		if (e != OK && e != E_NOT_FOUND)
			return e;
		*count += e == OK;
	}
	return OK;
}

void lg_threads_prune(struct http_req *rq, void *ctx)
{
	static const char *const strategies[] = {"delete", "keep_latest", NULL};
	struct str *ids;
	struct json doc;
	int64_t count;
	struct buf b;
	struct jw w;
	size_t n;
	int which;
	enum err e;

	buf_init(&b, rq_arena(rq), LG_ANSWER_MAX);
	CHECK(lg_object(rq, &doc));
	CHECK(lg_strings(rq_arena(rq), j_get(json_root(&doc), STR("thread_ids")), "/thread_ids", PRUNE_MAX, &ids, &n));
	if (!ids) {
		e = lg_bad("/thread_ids", "is missing");
		goto out;
	}
	CHECK(lg_choice(j_get(json_root(&doc), STR("strategy")), "/strategy", strategies, 0, &which));
	CHECK(prune(rq, ctx, ids, n, which == 1, &count));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "pruned_count");
	jw_i64(&w, count);
	jw_end_obj(&w);
out:
	lg_answer(rq, e, &b);
}

/* ------------------------------------------------------------------ storage */

static void number(struct jw *w, const char *name, int64_t v)
{
	jw_key(w, name);
	jw_i64(w, v);
}

static void sizes(struct jw *w, const char *name, int64_t count, int64_t bytes)
{
	jw_key(w, name);
	jw_obj(w);
	number(w, "count", count);
	number(w, "bytes", bytes);
}

void lg_thread_storage(struct http_req *rq, void *ctx)
{
	struct ckpt_storage s;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), LG_ANSWER_MAX);
	CHECK(thread_storage(ctx, rq_arena(rq), rq_principal(rq), rq_param(rq, "thread_id"), &s));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "thread_id");
	jw_str(&w, rq_param(rq, "thread_id"));
	number(&w, "total_bytes", s.checkpoint_bytes + s.value_bytes + s.write_bytes);
	sizes(&w, "checkpoints", s.checkpoints, s.checkpoint_bytes);
	jw_end_obj(&w);
	sizes(&w, "channel_values", s.values, s.value_bytes);
	jw_key(&w, "by_channel");
	jw_obj(&w);
	for (size_t i = 0; i < s.channels_n; i++) {
		jw_key_str(&w, s.channels[i].channel);
		jw_obj(&w);
		number(&w, "versions", s.channels[i].versions);
		number(&w, "bytes", s.channels[i].bytes);
		jw_end_obj(&w);
	}
	jw_end_obj(&w);
	jw_end_obj(&w);
	sizes(&w, "pending_writes", s.writes, s.write_bytes);
	jw_end_obj(&w);
	jw_end_obj(&w);
out:
	lg_answer(rq, e, &b);
}
