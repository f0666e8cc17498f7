/* Checkpoints of LangGraph's SQLite savers into Cenote's, by its own route for savers (docs/checkpoints.md).
 *
 * Invariants
 *  1. A checkpoint goes with its values and its writes in one request, unless there are more than OPS_MAX tasks.
 *  2. Rows are sent in batches; when a batch is refused its rows are sent one by one, so that only those at fault are told. */
#include "cli/import_sqlite.h"

#include <stdlib.h>

#include "base/json/json.h"
#include "base/utf8.h"
#include "core/checkpoint_split.h"

enum { ROWS_MAX = 256, OPS_MAX = 900 };
#define BATCH_BYTES ((size_t)16 << 20)
#define MEMORY_MAX ((size_t)4 << 30)
#define FRAMES_TYPE "application/vnd.cenote.frames"

/* What is left to do with a row. */
enum todo { TODO_ALL, TODO_WRITES, TODO_NOTHING };

struct row {
	struct foreign_checkpoint c;
	struct ckpt_split s;
	struct str metadata;
	size_t tasks; /* operations for its writes */
	enum todo todo;
};

struct batch {
	struct sqlite_import *im;
	struct arena a, ask; /* of the rows; of a request and its answer */
	struct row rows[ROWS_MAX];
	size_t n, ops, bytes;
};

static enum err bad_row(struct batch *b, const struct row *r)
{
	return sqlite_bad(b->im, 1, "thread %.*s, checkpoint %.*s%s%.*s", STR_ARG(r->c.thread), STR_ARG(r->c.id),
			  r->c.ns.n ? " of " : "", STR_ARG(r->c.ns));
}

/* -------------------------------------------------------------------- frames */

struct frame {
	struct buf head, parts;
	struct jw w;
	size_t ops;
};

static void frame_begin(struct batch *b, struct frame *f)
{
	arena_clear(&b->ask);
	f->ops = 0;
	buf_init(&f->head, &b->ask, (size_t)1 << 30);
	buf_init(&f->parts, &b->ask, (size_t)1 << 30);
	jw_init(&f->w, &f->head);
	jw_obj(&f->w);
	jw_key(&f->w, "ops");
	jw_arr(&f->w);
}

static void member(struct jw *w, const char *name, struct str s)
{
	jw_key(w, name);
	jw_str(w, s);
}

static void op_begin(struct frame *f, const char *op, const struct row *r)
{
	f->ops++;
	jw_obj(&f->w);
	member(&f->w, "op", str_c(op));
	member(&f->w, "thread", r->c.thread);
	member(&f->w, "ns", r->c.ns);
	member(&f->w, "id", r->c.id);
}

static void part(struct frame *f, struct str bytes)
{
	jw_u64(&f->w, bytes.n);
	jw_end_arr(&f->w);
	buf_str(&f->parts, bytes);
}

static void add_get(struct frame *f, const struct row *r)
{
	op_begin(f, "get", r);
	jw_key(&f->w, "values");
	jw_bool(&f->w, false);
	jw_end_obj(&f->w);
}

static void add_put(struct frame *f, const struct row *r)
{
	op_begin(f, "put", r);
	if (r->c.parent.n)
		member(&f->w, "parent", r->c.parent);
	jw_key(&f->w, "checkpoint");
	jw_raw(&f->w, r->s.checkpoint);
	jw_key(&f->w, "metadata");
	jw_raw(&f->w, r->metadata);
	jw_key(&f->w, "values");
	jw_arr(&f->w);
	for (size_t i = 0; i < r->s.values_n; i++) {
		const struct ckpt_value *v = &r->s.values[i];

		jw_arr(&f->w);
		jw_str(&f->w, v->channel);
		jw_str(&f->w, v->version);
		jw_str(&f->w, v->type);
		part(f, v->bytes);
	}
	jw_end_arr(&f->w);
	jw_end_obj(&f->w);
}

/* Where the writes of the task that begins at `from` end. */
static size_t task_end(const struct foreign_checkpoint *c, size_t from)
{
	size_t to = from + 1;

	while (to < c->writes_n && str_eq(c->writes[to].task_id, c->writes[from].task_id) &&
	       str_eq(c->writes[to].task_path, c->writes[from].task_path))
		to++;
	return to;
}

static void add_writes(struct frame *f, const struct row *r, size_t from, size_t to)
{
	const struct ckpt_pending *w = r->c.writes;

	op_begin(f, "writes", r);
	member(&f->w, "task_id", w[from].task_id);
	member(&f->w, "task_path", w[from].task_path);
	jw_key(&f->w, "writes");
	jw_arr(&f->w);
	for (size_t i = from; i < to; i++) {
		jw_arr(&f->w);
		jw_i64(&f->w, w[i].idx);
		jw_str(&f->w, w[i].channel);
		jw_str(&f->w, w[i].type);
		part(f, w[i].bytes);
	}
	jw_end_arr(&f->w);
	jw_end_obj(&f->w);
}

struct answer {
	struct json doc;
	struct jval results;
	struct str bytes;
	bool refused;
};

/* Sends the frame. Each operation has a result then, unless it was refused as a whole. */
static enum err frame_send(struct batch *b, struct frame *f, struct answer *out)
{
	const struct json_limits lim = {96, 100000000, (size_t)1 << 30, JSON_DUP_OK};
	struct http_reply r;
	const uint8_t *p;
	struct buf body;
	size_t n;

	jw_end_arr(&f->w);
	jw_end_obj(&f->w);
	buf_init(&body, &b->ask, (size_t)2 << 30);
	(void)buf_room(&body, f->head.n + f->parts.n + 4);
	for (int i = 0; i < 4; i++)
		buf_byte(&body, (char)(f->head.n >> (8 * i)));
	buf_str(&body, buf_slice(&f->head));
	buf_str(&body, buf_slice(&f->parts));
	TRY(f->head.err != OK ? f->head.err : f->parts.err != OK ? f->parts.err : body.err);
	TRY(sqlite_call(b->im, &b->ask, "POST", STR("/cenote/v1/checkpoints"), FRAMES_TYPE, buf_slice(&body), &r, &out->refused));
	if (out->refused)
		return OK;
	p = (const uint8_t *)r.body.p;
	n = r.body.n < 4 ? SIZE_MAX : p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
	if (n > r.body.n - 4)
		return err_set(E_UPSTREAM, "the server's answer is cut off (is it a Cenote server?)");
	TRY(json_parse(&b->ask, str_sub(r.body, 4, 4 + n), &lim, &out->doc));
	out->results = j_get(json_root(&out->doc), STR("results"));
	out->bytes = str_sub(r.body, 4 + n, r.body.n);
	if (!j_is(out->results, JSON_ARRAY) || j_node(out->results)->count != f->ops)
		return err_set(E_UPSTREAM, "the server's answer does not fit what was asked (is it a Cenote server?)");
	return OK;
}

/* What became of one operation: OK, or refused with the diagnostic set; every other failure is an error. */
static enum err result_of(struct batch *b, struct jval result, bool *refused)
{
	struct jval problem = j_get(result, STR("error")), detail = j_get(problem, STR("detail"));
	int64_t status = 500;

	*refused = false;
	if (!j_ok(problem))
		return OK;
	(void)j_i64(j_get(problem, STR("status")), &status);
	*refused = sqlite_refused((int)status);
	(void)err_set(status == 409   ? E_CONFLICT
		      : *refused      ? E_INVALID
		      : status == 503 ? E_BUSY
		      : status == 403 ? E_DENIED
				      : E_UPSTREAM,
		      "%.*s", STR_ARG(j_is(detail, JSON_STRING) ? j_str(&b->ask, detail) : STR("the server says no more")));
	return *refused ? OK : diag_get()->code;
}

/* ------------------------------------------------------------------- looking */

static bool equal(struct arena *a, struct jval there, struct str mine)
{
	const struct json_limits lim = {96, 8000000, (size_t)256 << 20, JSON_DUP_OK};
	struct json doc;

	return json_parse(a, mine, &lim, &doc) == OK && j_equal(there, json_root(&doc));
}

/* Element i of an array as text, number. */
static struct jval at(struct jval array, size_t i)
{
	struct jval v = {0};

	for (struct j_iter it = j_iter(array); j_next(&it, NULL, &v); i--)
		if (i == 0)
			return v;
	return (struct jval){0};
}

struct there {
	struct str task, channel, type, bytes;
	int64_t idx;
};

/* The writes of a tuple, whose bytes lie at the front of *bytes, which moves on. */
static enum err writes_of(struct batch *b, struct jval tuple, struct str *bytes, struct there **out, size_t *n)
{
	struct jval list = j_get(tuple, STR("writes")), w;
	int64_t len;

	*n = 0;
	*out = ARENA_ARRAY(&b->ask, struct there, (j_is(list, JSON_ARRAY) ? j_node(list)->count : 0) + 1);
	if (!*out)
		return E_NOMEM;
	if (!j_is(list, JSON_ARRAY))
		return OK;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &w); ++*n) {
		struct there *t = &(*out)[*n];

		if (!j_is(w, JSON_ARRAY) || j_node(w)->count != 6 || !j_i64(at(w, 2), &t->idx) || !j_i64(at(w, 5), &len) ||
		    len < 0 || (uint64_t)len > bytes->n)
			return err_set(E_UPSTREAM, "the server's answer has writes of another form");
		t->task = j_str(&b->ask, at(w, 0));
		t->channel = j_str(&b->ask, at(w, 3));
		t->type = j_str(&b->ask, at(w, 4));
		t->bytes = str_sub(*bytes, 0, (size_t)len);
		*bytes = str_sub(*bytes, (size_t)len, bytes->n);
	}
	return OK;
}

static bool all_there(const struct row *r, const struct there *t, size_t n)
{
	for (size_t i = 0; i < r->c.writes_n; i++) {
		const struct ckpt_pending *w = &r->c.writes[i];
		bool found = false;

		for (size_t k = 0; k < n && !found; k++)
			found = t[k].idx == w->idx && str_eq(t[k].task, w->task_id) && str_eq(t[k].channel, w->channel) &&
				str_eq(t[k].type, w->type) && str_eq(t[k].bytes, w->bytes);
		if (!found)
			return false;
	}
	return true;
}

/* A checkpoint of that name is there. */
static enum err decide(struct batch *b, struct row *r, struct jval tuple, const struct there *t, size_t n)
{
	struct sqlite_import *im = b->im;
	bool alike = !r->c.stored || (equal(&b->ask, j_get(tuple, STR("checkpoint")), r->s.checkpoint) &&
				      equal(&b->ask, j_get(tuple, STR("metadata")), r->metadata));

	if (alike && !all_there(r, t, n)) {
		r->todo = TODO_WRITES;
	} else if (alike || im->on_conflict == CONFLICT_SKIP) {
		r->todo = TODO_NOTHING;
		im->unchanged++;
	} else if (im->on_conflict == CONFLICT_FAIL) {
		r->todo = TODO_NOTHING;
		(void)err_set(E_CONFLICT, "exists already with other content");
		return bad_row(b, r);
	}
	return OK;
}

/* Looks which rows of [from, to) are there already; row by row when that is refused for all of them. */
static enum err look(struct batch *b, size_t from, size_t to)
{
	struct there *there;
	struct answer got;
	struct frame f;
	struct jval v;
	size_t i = from, n;

	frame_begin(b, &f);
	for (size_t k = from; k < to; k++)
		add_get(&f, &b->rows[k]);
	TRY(frame_send(b, &f, &got));
	if (got.refused && to - from == 1) {
		b->rows[from].todo = TODO_NOTHING;
		return bad_row(b, &b->rows[from]);
	}
	if (got.refused) {
		for (size_t k = from; k < to; k++)
			TRY(look(b, k, k + 1));
		return OK;
	}
	for (struct j_iter it = j_iter(got.results); j_next(&it, NULL, &v); i++) {
		struct row *r = &b->rows[i];
		struct jval tuple = j_get(v, STR("ok"));
		bool refused;

		TRY(result_of(b, v, &refused));
		if (refused) {
			r->todo = TODO_NOTHING;
			TRY(bad_row(b, r));
		} else if (!j_null(tuple)) {
			TRY(writes_of(b, tuple, &got.bytes, &there, &n));
			TRY(decide(b, r, tuple, there, n));
		}
	}
	return OK;
}

/* ------------------------------------------------------------------- sending */

/* Sends what is in the frame; *refused: at least one operation was. */
static enum err send_frame(struct batch *b, struct frame *f, bool *refused)
{
	struct answer got;
	struct jval v;

	*refused = false;
	if (f->ops == 0)
		return OK;
	TRY(frame_send(b, f, &got));
	*refused = got.refused;
	if (got.refused)
		return OK;
	for (struct j_iter it = j_iter(got.results); !*refused && j_next(&it, NULL, &v);)
		TRY(result_of(b, v, refused));
	return OK;
}

static enum err send_row(struct batch *b, struct row *r)
{
	struct frame f;
	bool refused = false;

	frame_begin(b, &f);
	if (r->todo == TODO_ALL && r->c.stored)
		add_put(&f, r);
	for (size_t i = 0; i < r->c.writes_n && !refused;) {
		size_t end = task_end(&r->c, i);

		if (f.ops == OPS_MAX) {
			TRY(send_frame(b, &f, &refused));
			frame_begin(b, &f);
		}
		add_writes(&f, r, i, end);
		i = end;
	}
	if (!refused)
		TRY(send_frame(b, &f, &refused));
	if (refused)
		return bad_row(b, r);
	b->im->stored++;
	return OK;
}

static enum err send_rows(struct batch *b)
{
	struct frame f;
	bool refused;
	size_t n = 0;

	frame_begin(b, &f);
	for (size_t k = 0; k < b->n && b->ops <= OPS_MAX; k++) {
		const struct row *r = &b->rows[k];

		if (r->todo == TODO_NOTHING)
			continue;
		n++;
		if (r->todo == TODO_ALL && r->c.stored)
			add_put(&f, r);
		for (size_t i = 0; i < r->c.writes_n;) {
			size_t end = task_end(&r->c, i);

			add_writes(&f, r, i, end);
			i = end;
		}
	}
	TRY(send_frame(b, &f, &refused));
	if (!refused && b->ops <= OPS_MAX) {
		b->im->stored += n;
		return OK;
	}
	for (size_t k = 0; k < b->n; k++)
		if (b->rows[k].todo != TODO_NOTHING)
			TRY(send_row(b, &b->rows[k]));
	return OK;
}

static enum err flush(struct batch *b)
{
	enum err e = OK;

	if (b->n > 0 && b->im->http) {
		e = look(b, 0, b->n);
		if (e == OK)
			e = send_rows(b);
	} else {
		b->im->stored += b->n;
	}
	arena_clear(&b->a);
	b->n = b->ops = b->bytes = 0;
	return e;
}

/* ------------------------------------------------------------------- reading */

static struct str own(struct arena *a, struct str s, enum err *e)
{
	struct str mine = arena_str(a, s);

	if (!mine.p)
		*e = E_NOMEM;
	return mine;
}

static enum err copy(struct arena *a, const struct foreign_checkpoint *c, struct row *r)
{
	struct ckpt_pending *w = ARENA_ARRAY(a, struct ckpt_pending, c->writes_n + 1);
	enum err e = w ? OK : E_NOMEM;

	*r = (struct row){.c = *c};
	r->c.thread = own(a, c->thread, &e);
	r->c.ns = own(a, c->ns, &e);
	r->c.id = own(a, c->id, &e);
	r->c.parent = own(a, c->parent, &e);
	r->c.type = own(a, c->type, &e);
	r->c.body = own(a, c->body, &e);
	r->c.metadata = own(a, c->metadata, &e);
	r->c.writes = w;
	for (size_t i = 0; i < c->writes_n && e == OK; i++) {
		w[i] = c->writes[i];
		w[i].task_id = own(a, w[i].task_id, &e);
		w[i].task_path = own(a, w[i].task_path, &e);
		w[i].channel = own(a, w[i].channel, &e);
		w[i].type = own(a, w[i].type, &e);
		w[i].bytes = own(a, w[i].bytes, &e);
	}
	return e;
}

static enum err check_names(const struct row *r)
{
	const struct foreign_checkpoint *c = &r->c;

	if (!utf8_valid(c->thread) || !utf8_valid(c->ns) || !utf8_valid(c->id) || !utf8_valid(c->parent))
		return err_set(E_INVALID, "a name that is not UTF-8");
	for (size_t i = 0; i < c->writes_n; i++) {
		const struct ckpt_pending *w = &c->writes[i];

		if (w->type.n == 0)
			return err_set(E_INVALID, "a write without a type");
		if (!utf8_valid(w->task_id) || !utf8_valid(w->task_path) || !utf8_valid(w->channel) || !utf8_valid(w->type))
			return err_set(E_INVALID, "a write with a name that is not UTF-8");
	}
	return OK;
}

static enum err translate(struct batch *b, struct row *r)
{
	enum err e;

	TRY(check_names(r));
	if (!r->c.stored)
		return OK;
	e = ckpt_split(&b->a, r->c.type, r->c.body, &r->s);
	if (e != OK)
		return err_wrap(e, "the checkpoint cannot be read");
	e = ckpt_split_metadata(&b->a, r->c.metadata, &r->metadata);
	return e == OK ? OK : err_wrap(e, "its metadata cannot be read");
}

static size_t size_of(const struct row *r)
{
	size_t n = r->c.body.n + r->c.metadata.n;

	for (size_t i = 0; i < r->c.writes_n; i++)
		n += r->c.writes[i].bytes.n + 100;
	return n;
}

static enum err on_checkpoint(void *ctx, const struct foreign_checkpoint *c)
{
	struct batch *b = ctx;
	struct row *r = &b->rows[b->n];

	TRY(sqlite_row(b->im));
	TRY(copy(&b->a, c, r));
	if (translate(b, r) != OK) {
		enum err e = bad_row(b, r);

		if (b->n == 0)
			arena_clear(&b->a);
		return e;
	}
	for (size_t i = 0; i < r->c.writes_n; i = task_end(&r->c, i))
		r->tasks++;
	b->n++;
	b->ops += 1 + r->tasks;
	b->bytes += size_of(r);
	return b->n == ROWS_MAX || b->ops > OPS_MAX / 2 || b->bytes > BATCH_BYTES ? flush(b) : OK;
}

enum err import_checkpoints(struct sqlite_import *im, struct foreign *f)
{
	struct batch *b = calloc(1, sizeof *b);
	enum err e, last = OK;
	struct diag d;

	if (!b)
		return err_set(E_LIMIT, "out of memory");
	b->im = im;
	arena_init(&b->a, MEMORY_MAX);
	arena_init(&b->ask, MEMORY_MAX);
	e = foreign_checkpoints(f, on_checkpoint, b);
	d = *diag_get();
	/* What was read before a bad or damaged row is stored all the same. */
	if (e == OK || e == E_CANCELLED || e == E_CORRUPT)
		last = flush(b);
	if (e != OK)
		*diag_get() = d;
	arena_release(&b->ask);
	arena_release(&b->a);
	free(b);
	return e != OK ? e : last;
}
