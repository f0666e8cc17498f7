/* States of threads: the head, one checkpoint, the history; and updates, as far as they need no graph.
 *
 * Invariant: what is read of checkpoints lies in an arena of its own, which is given back before the next page of a history is
 * read; what an answer holds is bounded by the request's arena. */
#include "api/langgraph/impl.h"
#include "core/parse.h"
#include "core/state.h"

enum { SELECT_MAX = 1000, HISTORY_GET = 10, SUPERSTEPS_MAX = 1000, UPDATES_MAX = 100 };
#define HISTORY_PAGE_BYTES ((size_t)64 << 20)

/* What of which checkpoints a request wants to see. */
struct view {
	struct str *select; /* NULL: all members */
	size_t select_n;
	bool subgraphs;
	struct str ns, id;
};

static bool sees(const struct view *v, const char *member)
{
	for (size_t i = 0; v->select && i < v->select_n; i++)
		if (str_eq(v->select[i], str_c(member)))
			return true;
	return !v->select;
}

/* What has to be read for it. */
static enum err view_wants(struct arena *a, const struct view *v, struct ckpt_query *q)
{
	struct str *channels;

	q->want = sees(v, "interrupts") || v->subgraphs ? CK_WRITES_TOO : 0;
	TRY(ckpt_state_channels(a, v->select, v->select_n, &channels, &q->channels_n));
	if (v->subgraphs || !channels)
		q->channels_n = 0; /* the sends among them name tasks */
	else
		q->channels = channels;
	if (!channels || q->channels_n > 0 || v->subgraphs)
		q->want |= CK_VALUES;
	return OK;
}

/* A checkpoint's name: {"checkpoint_ns","checkpoint_id",..}. */
static enum err read_ref(struct arena *a, struct jval v, const char *field, struct str *ns, struct str *id)
{
	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_OBJECT))
		return lg_bad(field, "must be an object with checkpoint_id and checkpoint_ns");
	TRY(lg_text(a, j_get(v, STR("checkpoint_ns")), "/checkpoint_ns", ns));
	return lg_text(a, j_get(v, STR("checkpoint_id")), "/checkpoint_id", id);
}

static enum err too_large(void)
{
	return err_kind(
		E_LIMIT, ERR_SIZE,
		"the state is too large for one answer; ask for fewer states, or select channels of it (select=values.name)");
}

/* Ends with what lies on the heap in b, which is released. */
static void answer_heap(struct http_req *rq, enum err e, struct buf *b)
{
	struct str body = STR("");

	if (e == OK && b->err == OK)
		body = arena_str(rq_arena(rq), buf_slice(b));
	if (e == OK && (b->err != OK || !body.p))
		e = too_large();
	buf_release(b);
	if (e == OK)
		rs_json(rq, 200, body);
	else
		rs_error(rq, e);
}

/* -------------------------------------------------------------------- state */

struct show_job {
	struct jw *w;
	struct arena *own;
	const struct ckpt *c;
	const struct view *v;
	struct ckpt_task *tasks;
	size_t n;
};

static enum err show(void *arg)
{
	const struct show_job *j = arg;

	ckpt_state_deep_json(j->w, j->own, j->c, j->v->select, j->v->select_n, j->tasks, j->n);
	return OK;
}

static size_t size_of_tasks(const struct ckpt_task *tasks, size_t n)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		if (tasks[i].sub)
			bytes += ckpt_show_size(tasks[i].sub) + size_of_tasks(tasks[i].tasks, tasks[i].tasks_n);
	return bytes;
}

static enum err write_found(struct http_req *rq, struct memory *m, struct arena *own, struct jw *w, const struct ckpt *c,
			    const struct view *v)
{
	struct show_job job = {.w = w, .own = own, .c = c, .v = v};

	if (v->subgraphs)
		TRY(ckpt_tasks(m, own, rq_principal(rq), c, &job.tasks, &job.n));
	TRY(run_sized(ckpt_show_size(c) + size_of_tasks(job.tasks, job.n), show, &job));
	return w->b->err == OK ? OK : too_large();
}

static enum err write_state(struct http_req *rq, struct memory *m, struct jw *w, const struct view *v)
{
	struct ckpt_query q = {.ns = v->ns, .id = v->id};
	struct thread_info t;
	struct ckpt_full full;
	struct arena own;
	bool found;
	enum err e;

	TRY(lg_thread(rq, m, &t));
	q.thread = t.thread;
	arena_init(&own, LG_READ_MAX);
	CHECK(view_wants(&own, v, &q));
	CHECK(ckpt_get(m, &own, rq_principal(rq), &q, &full, &found));
	if (found)
		e = write_found(rq, m, &own, w, &full.c, v);
	else if (v->id.n > 0 || v->ns.n > 0)
		e = err_set(E_NOT_FOUND, "the thread has no such checkpoint");
	else
		ckpt_state_none_json(w, t.thread);
out:
	arena_release(&own);
	return e;
}

static void answer_state(struct http_req *rq, struct memory *m, enum err e, const struct view *v)
{
	struct buf b;
	struct jw w;

	buf_init(&b, NULL, rq_arena(rq)->ceiling);
	jw_init(&w, &b);
	if (e == OK)
		e = write_state(rq, m, &w, v);
	answer_heap(rq, e, &b);
}

static enum err view_of_query(struct http_req *rq, struct view *v)
{
	TRY(rq_query_bool(rq, "subgraphs", false, &v->subgraphs));
	TRY(rq_query_all(rq, "select", &v->select, &v->select_n));
	if (v->select_n == 0)
		v->select = NULL;
	return OK;
}

void lg_state_get(struct http_req *rq, void *ctx)
{
	struct view v = {0};
	enum err e = view_of_query(rq, &v);

	answer_state(rq, ctx, e, &v);
}

void lg_state_at(struct http_req *rq, void *ctx)
{
	struct view v = {0};
	enum err e = view_of_query(rq, &v);

	v.id = rq_param(rq, "checkpoint_id");
	answer_state(rq, ctx, e, &v);
}

/* An empty list selects everything, as no list does. */
static enum err view_of_body(struct arena *a, struct jval body, struct view *v)
{
	struct jval subgraphs = j_get(body, STR("subgraphs"));

	if (!j_null(subgraphs) && !j_bool(subgraphs, &v->subgraphs))
		return lg_bad("/subgraphs", "must be true or false");
	TRY(lg_strings(a, j_get(body, STR("select")), "/select", SELECT_MAX, &v->select, &v->select_n));
	if (v->select_n == 0)
		v->select = NULL;
	return read_ref(a, j_get(body, STR("checkpoint")), "/checkpoint", &v->ns, &v->id);
}

void lg_state_find(struct http_req *rq, void *ctx)
{
	struct view v = {0};
	struct json doc;
	enum err e;

	CHECK(lg_object(rq, &doc));
	CHECK(view_of_body(rq_arena(rq), json_root(&doc), &v));
	if (j_null(j_get(json_root(&doc), STR("checkpoint"))))
		e = lg_bad("/checkpoint", "is missing");
out:
	answer_state(rq, ctx, e, &v);
}

/* ------------------------------------------------------------------ history */

struct history {
	struct view view;
	struct str before;
	struct str filter; /* JSON object */
	size_t limit;
};

static enum err keep_after(struct arena *a, struct ckpt_list *q, const struct ckpt *last)
{
	q->after.id = arena_str(a, last->id);
	q->after.thread = arena_str(a, last->thread);
	q->after.ns = arena_str(a, last->ns);
	return q->after.id.p && q->after.thread.p && q->after.ns.p ? OK : E_NOMEM;
}

static enum err write_history(struct http_req *rq, struct memory *m, struct jw *w, const struct history *h)
{
	struct ckpt_list q = {.ns = &h->view.ns, .id = h->view.id, .before = h->before, .filter = h->filter, .limit = h->limit};
	struct ckpt_query wants = {0};
	struct thread_info t;
	struct ckpt_full *v;
	struct arena own;
	bool more = true;
	enum err e;
	size_t n;

	TRY(lg_thread(rq, m, &t));
	TRY(view_wants(rq_arena(rq), &h->view, &wants));
	q.thread = &t.thread;
	q.want = wants.want;
	arena_init(&own, LG_READ_MAX);
	jw_arr(w);
	while (more && q.limit > 0) {
		arena_clear(&own);
		CHECK(ckpt_list(m, &own, rq_principal(rq), &q, HISTORY_PAGE_BYTES, &v, &n, &more));
		for (size_t i = 0; i < n; i++)
			CHECK(write_found(rq, m, &own, w, &v[i].c, &h->view));
		q.limit -= n < q.limit ? n : q.limit;
		if (n > 0)
			CHECK(keep_after(rq_arena(rq), &q, &v[n - 1].c));
		more = more && n > 0;
	}
	jw_end_arr(w);
	e = OK;
out:
	arena_release(&own);
	return e;
}

static void answer_history(struct http_req *rq, struct memory *m, enum err e, const struct history *h)
{
	struct buf b;
	struct jw w;

	buf_init(&b, NULL, rq_arena(rq)->ceiling);
	jw_init(&w, &b);
	if (e == OK)
		e = write_history(rq, m, &w, h);
	answer_heap(rq, e, &b);
}

/* An id, a checkpoint, or a configuration with one. */
static enum err read_before(struct arena *a, struct jval v, struct str *out)
{
	struct str ns;

	*out = STR("");
	if (j_null(v))
		return OK;
	if (j_is(v, JSON_STRING))
		return lg_string(a, v, "/before", out);
	if (j_is(j_get(v, STR("configurable")), JSON_OBJECT))
		v = j_get(v, STR("configurable"));
	TRY(read_ref(a, v, "/before", &ns, out));
	return out->n > 0 ? OK : lg_bad("/before", "must be a checkpoint's id, or an object with a checkpoint_id");
}

void lg_history_post(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct history h = {0};
	struct jval metadata;
	struct json doc;
	uint32_t limit;
	enum err e;

	CHECK(lg_object_or_none(rq, &doc));
	CHECK(view_of_body(a, json_root(&doc), &h.view));
	CHECK(lg_uint(j_get(json_root(&doc), STR("limit")), "/limit", 1, LG_LIMIT_MAX, 1, &limit));
	CHECK(read_before(a, j_get(json_root(&doc), STR("before")), &h.before));
	metadata = j_get(json_root(&doc), STR("metadata"));
	if (!j_null(metadata) && !j_is(metadata, JSON_OBJECT)) {
		e = lg_bad("/metadata", "must be an object");
		goto out;
	}
	if (!j_null(metadata) && j_node(metadata)->count > 0)
		h.filter = j_raw(metadata);
	h.limit = limit;
out:
	answer_history(rq, ctx, e, &h);
}

void lg_history_get(struct http_req *rq, void *ctx)
{
	struct history h = {0};
	int64_t limit;
	enum err e;

	CHECK(view_of_query(rq, &h.view));
	CHECK(rq_query_int(rq, "limit", 1, LG_LIMIT_MAX, HISTORY_GET, &limit));
	h.before = rq_query(rq, "before");
	h.limit = (size_t)limit;
out:
	answer_history(rq, ctx, e, &h);
}

/* ------------------------------------------------------------------- update */

/* What needs a reducer or a graph cannot be done here: the clients know that as 400. */
static enum err update(struct http_req *rq, struct memory *m, struct str thread, const struct ckpt_ref *ref, struct jval values,
		       struct str as_node, char new_id[37])
{
	enum err e = ckpt_update(m, rq_arena(rq), rq_principal(rq), thread, ref, values, as_node, new_id);

	if (e == E_INVALID)
		diag_get()->kind = ERR_SYNTAX;
	return e;
}

static void write_ref(struct jw *w, const char *name, struct str thread, struct str ns, const char *id)
{
	jw_key(w, name);
	jw_obj(w);
	jw_key(w, "thread_id");
	jw_str(w, thread);
	jw_key(w, "checkpoint_ns");
	jw_str(w, ns);
	jw_key(w, "checkpoint_id");
	jw_cstr(w, id);
	jw_end_obj(w);
}

void lg_state_update(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct ckpt_ref ref = {.ns = STR(""), .id = STR("")};
	struct thread_info t;
	struct str as_node;
	char new_id[37];
	struct json doc;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, LG_ANSWER_MAX);
	CHECK(lg_object(rq, &doc));
	CHECK(lg_text(a, j_get(json_root(&doc), STR("checkpoint_id")), "/checkpoint_id", &ref.id));
	CHECK(read_ref(a, j_get(json_root(&doc), STR("checkpoint")), "/checkpoint", &ref.ns, &ref.id));
	CHECK(lg_text(a, j_get(json_root(&doc), STR("as_node")), "/as_node", &as_node));
	CHECK(lg_thread(rq, ctx, &t));
	CHECK(update(rq, ctx, t.thread, &ref, j_get(json_root(&doc), STR("values")), as_node, new_id));
	jw_init(&w, &b);
	jw_obj(&w);
	write_ref(&w, "checkpoint", t.thread, ref.ns, new_id);
	write_ref(&w, "configurable", t.thread, ref.ns, new_id); /* what the JavaScript client's type names */
	jw_end_obj(&w);
out:
	lg_answer(rq, e, &b);
}

/* --------------------------------------------------------------- supersteps */

static enum err no_graph(const char *why)
{
	enum err e = err_kind(E_INVALID, ERR_SYNTAX, "%s", why);

	memcpy(diag_get()->field, "/supersteps", sizeof "/supersteps");
	return e;
}

/* The updates of one step as one: they are at the same time, so no channel may be in two of them. */
static enum err join_updates(struct arena *a, struct jval updates, struct json *doc, struct str *as_node)
{
	struct jval u, key, v;
	struct buf b;
	struct jw w;

	buf_init(&b, a, LG_ANSWER_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	for (struct j_iter it = j_iter(updates); j_next(&it, NULL, &u);) {
		struct jval values = j_get(u, STR("values"));

		if (!j_null(j_get(u, STR("command"))))
			return no_graph("a superstep with a command needs its graph; send values");
		if (!j_is(values, JSON_OBJECT))
			return no_graph("each update of a superstep needs values: an object with a value for each channel");
		TRY(lg_text(a, j_get(u, STR("as_node")), "/as_node", as_node));
		for (struct j_iter in = j_iter(values); j_next(&in, &key, &v);) {
			jw_key_str(&w, j_str(a, key));
			jw_raw(&w, j_raw(v));
		}
	}
	jw_end_obj(&w);
	TRY(b.err);
	if (json_parse(a, buf_slice(&b), NULL, doc) != OK)
		return no_graph("two updates of a superstep write the same channel, which needs its reducer");
	return OK;
}

enum err lg_supersteps(struct http_req *rq, struct memory *m, struct str thread, struct jval steps)
{
	const struct ckpt_ref head = {.ns = STR(""), .id = STR("")};
	struct jval step;

	if (j_null(steps))
		return OK;
	if (!j_is(steps, JSON_ARRAY))
		return lg_bad("/supersteps", "must be an array");
	if (j_node(steps)->count > SUPERSTEPS_MAX)
		return err_field(E_INVALID, "/supersteps", -1, "supersteps has %u elements, at most %d are allowed",
				 j_node(steps)->count, SUPERSTEPS_MAX);
	for (struct j_iter it = j_iter(steps); j_next(&it, NULL, &step);) {
		struct jval updates = j_get(step, STR("updates"));
		struct str as_node = STR("");
		char new_id[37];
		struct json doc;

		if (!j_is(updates, JSON_ARRAY) || j_node(updates)->count == 0 || j_node(updates)->count > UPDATES_MAX)
			return no_graph("each superstep has updates: an array of 1 to 100 objects with values");
		TRY(join_updates(rq_arena(rq), updates, &doc, &as_node));
		TRY(update(rq, m, thread, &head, json_root(&doc), as_node, new_id));
	}
	return OK;
}
