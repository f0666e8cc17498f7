/* Statements: submitted, looked at until they have ended, read piece by piece.
 *
 * Invariants
 *  1. A statement is submitted without waiting for its end, so that its id is known at once: whatever becomes of whoever asked, it
 *     can be cancelled, and is, unless it has ended.
 *  2. It is submitted once. Looking at it and reading its rows may be repeated.
 *  3. That the workspace answers 200 says nothing: the state does. */
#include "databricks/sql.h"

#include "base/buf.h"
#include "rt/wait.h"

enum { LOOK_MS = 50, LOOK_MOST_MS = 2000, CANCEL_MS = 2000, ID_MAX = 128, CHUNKS_MAX = 10000 };

struct running {
	struct workspace *w;
	struct arena *a;
	const struct trace_context *trace;
	struct str id;
	struct json doc; /* the last answer about it */
};

static struct str text_of(struct arena *a, struct jval v)
{
	return j_is(v, JSON_STRING) ? j_str(a, v) : STR("");
}

struct str sql_name(struct arena *a, struct str name)
{
	struct buf b;

	buf_init(&b, a, 2 * name.n + 64);
	buf_byte(&b, '`');
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] == '`')
			buf_byte(&b, '`');
		buf_byte(&b, name.p[i]);
	}
	buf_byte(&b, '`');
	return b.err == OK ? buf_slice(&b) : str_of(NULL, 0);
}

/* ----------------------------------------------------------------------- submit */

static enum err write_body(const struct sql_statement *s, struct buf *b)
{
	struct jw w;

	jw_init(&w, b);
	jw_obj(&w);
	jw_key(&w, "warehouse_id");
	jw_str(&w, s->warehouse);
	jw_key(&w, "statement");
	jw_str(&w, s->text);
	jw_key(&w, "parameters");
	jw_arr(&w);
	for (size_t i = 0; i < s->n; i++) {
		jw_obj(&w);
		jw_key(&w, "name");
		jw_str(&w, s->v[i].name);
		jw_key(&w, "value");
		jw_str(&w, s->v[i].value);
		jw_key(&w, "type");
		jw_str(&w, s->v[i].type);
		jw_end_obj(&w);
	}
	jw_end_arr(&w);
	jw_key(&w, "wait_timeout");
	jw_cstr(&w, "0s");
	jw_key(&w, "on_wait_timeout");
	jw_cstr(&w, "CONTINUE");
	jw_key(&w, "disposition");
	jw_cstr(&w, "INLINE");
	jw_key(&w, "format");
	jw_cstr(&w, "JSON_ARRAY");
	jw_key(&w, "row_limit");
	jw_u64(&w, s->rows_max);
	jw_key(&w, "byte_limit");
	jw_u64(&w, s->bytes_max);
	jw_end_obj(&w);
	return b->err;
}

/* It stands in paths. */
static bool id_ok(struct str id)
{
	for (size_t i = 0; i < id.n; i++) {
		char c = id.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_'))
			return false;
	}
	return id.n > 0 && id.n <= ID_MAX;
}

static enum err submit(struct running *r, const struct sql_statement *s)
{
	struct workspace_request rq = {
		.method = "POST", .path = STR("/api/2.0/sql/statements"), .trace = r->trace, .to_its_end = true};
	struct buf b;

	buf_init(&b, r->a, (size_t)16 << 20);
	TRY(write_body(s, &b));
	rq.body = buf_slice(&b);
	TRY(workspace_call(r->w, r->a, &rq, &r->doc));
	r->id = text_of(r->a, j_get(json_root(&r->doc), STR("statement_id")));
	return id_ok(r->id) ? OK : err_set(E_UPSTREAM, "the workspace's answer has no id of the statement");
}

/* ---------------------------------------------------------------- its state */

static enum err cancel_now(void *arg)
{
	struct running *r = arg;
	struct workspace_request rq = {.method = "POST", .body = STR("{}"), .trace = r->trace};
	struct json doc;

	rq.path = arena_printf(r->a, "/api/2.0/sql/statements/%.*s/cancel", STR_ARG(r->id));
	return rq.path.p ? workspace_call(r->w, r->a, &rq, &doc) : E_NOMEM;
}

/* Whoever asked has gone, or waits no longer; what the workspace makes of this is no matter. */
static void cancel(struct running *r)
{
	struct diag d = *diag_get();

	(void)!wait_shielded(deadline_in_ms(CANCEL_MS), cancel_now, r);
	*diag_get() = d;
}

static enum err failed(struct running *r, struct jval status)
{
	struct jval error = j_get(status, STR("error"));
	struct str code = workspace_words(r->w, r->a, str_sub(text_of(r->a, j_get(error, STR("error_code"))), 0, 64));
	struct str said = text_of(r->a, j_get(error, STR("message"))), words = workspace_words(r->w, r->a, said);
	struct str sql_state = text_of(r->a, j_get(status, STR("sql_state")));
	bool denied =
		str_eq(code, STR("PERMISSION_DENIED")) || str_eq(code, STR("UNAUTHENTICATED")) || str_eq(sql_state, STR("42501"));

	return err_set(denied ? E_DENIED : E_UPSTREAM, "%s%s%.*s%s%s%.*s",
		       denied ? "the workspace does not allow this" : "the statement failed", code.n ? " (" : "", STR_ARG(code),
		       code.n ? ")" : "", words.n ? ": " : "", STR_ARG(words));
}

/* Whether it has ended, and how. */
static enum err look(struct running *r, bool *ended)
{
	struct jval status = j_get(json_root(&r->doc), STR("status")), state = j_get(status, STR("state"));

	*ended = !j_str_eq(state, STR("PENDING")) && !j_str_eq(state, STR("RUNNING"));
	if (!*ended || j_str_eq(state, STR("SUCCEEDED")))
		return OK;
	if (j_str_eq(state, STR("FAILED")))
		return failed(r, status);
	if (j_str_eq(state, STR("CANCELED")) || j_str_eq(state, STR("CLOSED")))
		return err_set(E_UPSTREAM, "the statement was cancelled in the workspace");
	return err_set(E_UPSTREAM, "the workspace's answer has no state of the statement that is known here");
}

static enum err await_end(struct running *r, bool *ended)
{
	struct workspace_request rq = {.method = "GET", .trace = r->trace, .again = true};
	uint32_t pause = LOOK_MS;

	rq.path = arena_printf(r->a, "/api/2.0/sql/statements/%.*s", STR_ARG(r->id));
	if (!rq.path.p)
		return E_NOMEM;
	for (;;) {
		TRY(look(r, ended));
		if (*ended)
			return OK;
		TRY(wait_until(deadline_in_ms(pause)));
		pause = pause * 3 / 2 < LOOK_MOST_MS ? pause * 3 / 2 : LOOK_MOST_MS;
		TRY(workspace_call(r->w, r->a, &rq, &r->doc));
	}
}

/* ------------------------------------------------------------------------- rows */

static enum err read_manifest(struct running *r, struct sql_table *t)
{
	struct jval manifest = j_get(json_root(&r->doc), STR("manifest")), one;
	struct jval columns = j_get(j_get(manifest, STR("schema")), STR("columns"));

	*t = (struct sql_table){.total = -1};
	(void)j_bool(j_get(manifest, STR("truncated")), &t->truncated);
	if (j_is(j_get(manifest, STR("total_row_count")), JSON_NUMBER))
		(void)j_i64(j_get(manifest, STR("total_row_count")), &t->total);
	if (!j_is(columns, JSON_ARRAY))
		return OK;
	if (j_node(columns)->count > SQL_COLUMNS_MAX)
		return err_set(E_LIMIT, "the answer has more than %d columns", SQL_COLUMNS_MAX);
	t->columns = ARENA_ARRAY(r->a, struct sql_column, j_node(columns)->count + 1);
	if (!t->columns)
		return E_NOMEM;
	for (struct j_iter it = j_iter(columns); j_next(&it, NULL, &one);) {
		struct sql_column *c = &t->columns[t->columns_n++];

		c->name = text_of(r->a, j_get(one, STR("name")));
		c->type = text_of(r->a, j_get(one, STR("type_name")));
		if (!c->name.p || !c->type.p)
			return E_NOMEM;
	}
	return OK;
}

/* data_array may be absent when there is none. */
static enum err read_rows(struct jval result, const struct sql_table *t, sql_row_fn fn, void *ctx, bool *enough)
{
	struct jval rows = j_get(result, STR("data_array")), row;

	if (j_null(rows))
		return OK;
	if (!j_is(rows, JSON_ARRAY))
		return err_set(E_UPSTREAM, "the rows of the workspace's answer are no list");
	for (struct j_iter it = j_iter(rows); !*enough && j_next(&it, NULL, &row);) {
		if (!j_is(row, JSON_ARRAY) || j_node(row)->count != t->columns_n)
			return err_set(E_UPSTREAM, "a row of the workspace's answer does not have its columns");
		TRY(fn(ctx, t, row, enough));
	}
	return OK;
}

static enum err read_table(struct running *r, sql_row_fn fn, void *ctx, struct sql_table *t)
{
	struct workspace_request rq = {.method = "GET", .trace = r->trace, .again = true};
	struct jval result = j_get(json_root(&r->doc), STR("result")), next;
	bool enough = false;
	int64_t n, last = 0;

	TRY(read_manifest(r, t));
	for (;;) {
		TRY(read_rows(result, t, fn, ctx, &enough));
		next = j_get(result, STR("next_chunk_index"));
		if (enough || !j_is(next, JSON_NUMBER))
			return OK;
		if (!j_i64(next, &n) || n <= last || n > CHUNKS_MAX)
			return err_set(E_UPSTREAM, "the pieces of the workspace's answer have no order");
		last = n;
		rq.path = arena_printf(r->a, "/api/2.0/sql/statements/%.*s/result/chunks/%lld", STR_ARG(r->id), (long long)n);
		if (!rq.path.p)
			return E_NOMEM;
		TRY(workspace_call(r->w, r->a, &rq, &r->doc));
		result = json_root(&r->doc);
	}
}

enum err sql_run(struct workspace *w, struct arena *a, const struct sql_statement *s, sql_row_fn fn, void *ctx, struct sql_table *t)
{
	struct running r = {.w = w, .a = a, .trace = s->trace};
	bool ended = false;
	enum err e;

	TRY(submit(&r, s));
	e = await_end(&r, &ended);
	if (!ended)
		cancel(&r);
	return e == OK ? read_table(&r, fn, ctx, t) : e;
}
