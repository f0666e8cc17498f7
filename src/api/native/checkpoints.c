/* POST /cenote/v1/checkpoints (docs/checkpoints.md): runs the operations of a request in order and answers with one result each.
 *
 * Invariants
 *  1. What a neighbouring run of puts and writes does is one ckpt_write; all of them have its error when it fails.
 *  2. The parts of an answer stand in the order in which its head mentions their lengths.
 *  3. Bytes of values are never copied here: parts point into what core gave. */
#include <stdio.h>

#include "api/native/frames.h"
#include "api/native/impl.h"

#define PAGE_TUPLES ((size_t)1000)
#define PAGE_BYTES ((size_t)16 << 20)
enum { PARTS_FIRST = 2 }; /* the length of the head, the head */

struct run {
	struct memory *m;
	struct arena *a;
	const struct principal *who;
	struct ck_op *ops;
	size_t n;
	struct str *parts;
	size_t parts_n, parts_cap;
	enum err parts_err;
	struct buf head;
	struct jw w;
};

/* ------------------------------------------------------------------ errors */

/* An element of values or writes is an array: what core calls by its name has a place there. */
static void name_to_place(char *field, const char *list, const char *const names[4])
{
	char *last = strrchr(field, '/');

	if (!strstr(field, list) || !last)
		return;
	for (int i = 0; i < 4; i++)
		if (strcmp(last + 1, names[i]) == 0) {
			last[1] = (char)('0' + i);
			last[2] = 0;
			return;
		}
}

/* Keeps the running fiber's diagnostic as op's, its field seen from the head's root. below: the field in the operation. */
static void failed(struct run *r, struct ck_op *op, enum err e, const char *below)
{
	static const char *const values[] = {"channel", "version", "type", "bytes"};
	static const char *const writes[] = {"idx", "channel", "type", "bytes"};
	char field[160];

	op->done = true;
	op->err = e;
	op->diag = ARENA_NEW(r->a, struct diag);
	if (!op->diag)
		return;
	*op->diag = *diag_get();
	snprintf(field, sizeof field, "/ops/%zu%.100s", (size_t)(op - r->ops), below);
	name_to_place(field, "/values/", values);
	name_to_place(field, "/writes/", writes);
	memcpy(op->diag->field, field, sizeof field);
}

/* ------------------------------------------------------------------ values */

static void add_part(struct run *r, struct str bytes)
{
	if (r->parts_err != OK)
		return;
	if (r->parts_n == r->parts_cap) {
		size_t cap = r->parts_cap * 2;
		struct str *grown = arena_grow(r->a, r->parts, r->parts_cap * sizeof *grown, cap * sizeof *grown);

		if (!grown) {
			r->parts_err = E_NOMEM;
			return;
		}
		r->parts = grown;
		r->parts_cap = cap;
	}
	r->parts[r->parts_n++] = bytes;
}

static void write_bytes(struct run *r, struct str type, struct str bytes)
{
	jw_str(&r->w, type);
	jw_u64(&r->w, bytes.n);
	add_part(r, bytes);
}

static void write_values(struct run *r, const struct ckpt *c)
{
	struct jw *w = &r->w;

	jw_key(w, "values");
	jw_arr(w);
	for (size_t i = 0; i < c->values_n; i++) {
		jw_arr(w);
		jw_str(w, c->values[i].channel);
		jw_str(w, c->values[i].version);
		write_bytes(r, c->values[i].type, c->values[i].bytes);
		jw_end_arr(w);
	}
	jw_end_arr(w);
}

static void write_writes(struct run *r, const struct ckpt *c)
{
	struct jw *w = &r->w;

	jw_key(w, "writes");
	jw_arr(w);
	for (size_t i = 0; i < c->writes_n; i++) {
		const struct ckpt_pending *p = &c->writes[i];

		jw_arr(w);
		jw_str(w, p->task_id);
		jw_str(w, p->task_path);
		jw_i64(w, p->idx);
		jw_str(w, p->channel);
		write_bytes(r, p->type, p->bytes);
		jw_end_arr(w);
	}
	jw_end_arr(w);
}

static void write_json(struct jw *w, const char *key, struct str json)
{
	jw_key(w, key);
	jw_raw(w, json.n ? json : STR("{}"));
}

static void write_tuple(struct run *r, const struct ckpt_full *f)
{
	const struct ckpt *c = &f->c;
	struct jw *w = &r->w;

	jw_obj(w);
	jw_key(w, "thread");
	jw_str(w, c->thread);
	jw_key(w, "ns");
	jw_str(w, c->ns);
	jw_key(w, "id");
	jw_str(w, c->id);
	jw_key(w, "parent");
	if (c->parent.n)
		jw_str(w, c->parent);
	else
		jw_null(w);
	write_json(w, "checkpoint", c->checkpoint);
	write_json(w, "metadata", c->metadata);
	write_values(r, c);
	write_writes(r, c);
	if (f->sends_n > 0) {
		jw_key(w, "sends");
		jw_arr(w);
		for (size_t i = 0; i < f->sends_n; i++) {
			jw_arr(w);
			write_bytes(r, f->sends[i].type, f->sends[i].bytes);
			jw_end_arr(w);
		}
		jw_end_arr(w);
	}
	jw_end_obj(w);
}

/* -------------------------------------------------------------- operations */

/* Each writes its result, or writes nothing and returns the error. */

static enum err run_get(struct run *r, struct ck_op *op)
{
	struct ckpt_full f;
	bool found;

	TRY(ckpt_get(r->m, r->a, r->who, &op->query, &f, &found));
	jw_key(&r->w, "ok");
	if (found)
		write_tuple(r, &f);
	else
		jw_null(&r->w);
	return OK;
}

static enum err run_list(struct run *r, struct ck_op *op)
{
	struct ckpt_list q = op->list.q;
	struct str cursor = {0};
	struct ckpt_full *v;
	size_t n;
	bool more;

	if (q.limit > PAGE_TUPLES)
		q.limit = PAGE_TUPLES;
	TRY(ckpt_list(r->m, r->a, r->who, &q, PAGE_BYTES, &v, &n, &more));
	if (n > 0 && (more || n == q.limit))
		TRY(frames_cursor(r->a, &v[n - 1], &cursor));
	jw_key(&r->w, "ok");
	jw_obj(&r->w);
	jw_key(&r->w, "tuples");
	jw_arr(&r->w);
	for (size_t i = 0; i < n; i++)
		write_tuple(r, &v[i]);
	jw_end_arr(&r->w);
	jw_key(&r->w, "cursor");
	if (cursor.p)
		jw_str(&r->w, cursor);
	else
		jw_null(&r->w);
	jw_end_obj(&r->w);
	return OK;
}

static void write_history(struct run *r, const struct ckpt_history *h)
{
	struct jw *w = &r->w;

	jw_key_str(w, h->channel);
	jw_obj(w);
	if (h->seeded) {
		jw_key(w, "seed");
		jw_arr(w);
		if (h->seed.type.n > 0) {
			jw_str(w, STR("value"));
			write_bytes(r, h->seed.type, h->seed.bytes);
		} else {
			jw_str(w, STR("json"));
			jw_raw(w, h->seed.bytes);
		}
		jw_end_arr(w);
	}
	jw_key(w, "writes");
	jw_arr(w);
	for (size_t i = 0; i < h->writes_n; i++) {
		jw_arr(w);
		jw_str(w, h->writes[i].task_id);
		write_bytes(r, h->writes[i].type, h->writes[i].bytes);
		jw_end_arr(w);
	}
	jw_end_arr(w);
	jw_end_obj(w);
}

static enum err run_history(struct run *r, struct ck_op *op)
{
	size_t n = op->query.channels_n;
	struct ckpt_history *h = arena_zalloc(r->a, (n + 1) * sizeof *h);

	if (!h)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		h[i].channel = op->query.channels[i];
	TRY(ckpt_history(r->m, r->a, r->who, &op->query, h, n));
	jw_key(&r->w, "ok");
	jw_obj(&r->w);
	jw_key(&r->w, "channels");
	jw_obj(&r->w);
	for (size_t i = 0; i < n; i++)
		write_history(r, &h[i]);
	jw_end_obj(&r->w);
	jw_end_obj(&r->w);
	return OK;
}

static void write_nothing(struct run *r)
{
	jw_key(&r->w, "ok");
	jw_obj(&r->w);
	jw_end_obj(&r->w);
}

static void write_count(struct run *r, const char *name, int64_t n)
{
	jw_key(&r->w, name);
	jw_i64(&r->w, n);
}

static enum err run_delete_runs(struct run *r, struct ck_op *op)
{
	struct ckpt_removed removed = {0};

	TRY(ckpt_delete_runs(r->m, r->a, r->who, op->many.v, op->many.n, &removed));
	jw_key(&r->w, "ok");
	jw_obj(&r->w);
	write_count(r, "checkpoints", removed.checkpoints);
	jw_end_obj(&r->w);
	return OK;
}

static enum err run_prune(struct run *r, struct ck_op *op)
{
	const struct ckpt_policy p = {.drop_all = op->many.drop_all, .keep_last = 1};
	struct ckpt_pruned pruned = {0};

	TRY(ckpt_prune(r->m, r->a, r->who, op->many.v, op->many.n, &p, false, &pruned));
	jw_key(&r->w, "ok");
	jw_obj(&r->w);
	write_count(r, "threads", pruned.threads);
	write_count(r, "checkpoints", pruned.removed.checkpoints);
	jw_end_obj(&r->w);
	return OK;
}

static enum err run_one(struct run *r, struct ck_op *op)
{
	switch (op->kind) {
	case CKO_GET:
		return run_get(r, op);
	case CKO_LIST:
		return run_list(r, op);
	case CKO_HISTORY:
		return run_history(r, op);
	case CKO_DELETE_RUNS:
		return run_delete_runs(r, op);
	case CKO_PRUNE:
		return run_prune(r, op);
	case CKO_DELETE_THREAD:
		TRY(ckpt_delete_thread(r->m, r->who, op->names.from));
		break;
	case CKO_COPY:
		TRY(ckpt_copy(r->m, r->a, r->who, op->names.from, op->names.to, NULL));
		break;
	default:
		break; /* puts and writes are done */
	}
	write_nothing(r);
	return OK;
}

static bool is_change(const struct ck_op *op)
{
	return op->kind == CKO_PUT || op->kind == CKO_WRITES;
}

/* The changes from op i on that are neighbours, in one transaction. */
static enum err run_changes(struct run *r, size_t i)
{
	struct ckpt_change *c;
	size_t n = 0;
	int64_t which;
	enum err e;

	while (i + n < r->n && is_change(&r->ops[i + n]))
		n++;
	c = ARENA_ARRAY(r->a, struct ckpt_change, n);
	if (!c)
		return E_NOMEM;
	for (size_t k = 0; k < n; k++)
		c[k] = r->ops[i + k].change;
	e = ckpt_write(r->m, r->a, r->who, c, n);
	for (size_t k = 0; k < n; k++)
		r->ops[i + k].done = true;
	if (e == OK)
		return OK;
	const char *field = diag_get()->field;
	struct ck_op *at = &r->ops[i];

	/* One change: "/values/0/type"; several: "/2/values/0/type". */
	if (n > 1 && field[0] == '/') {
		const char *rest = strchr(field + 1, '/');
		size_t digits = rest ? (size_t)(rest - field) - 1 : strlen(field + 1);

		if (str_int(str_of(field + 1, digits), 0, (int64_t)n - 1, &which)) {
			at += which;
			field += 1 + digits;
		}
	}
	failed(r, at, e, field);
	for (size_t k = 0; k < n; k++) {
		r->ops[i + k].err = e;
		r->ops[i + k].diag = at->diag;
	}
	return OK;
}

static enum err run_op(struct run *r, size_t i)
{
	struct ck_op *op = &r->ops[i];
	enum err e = OK;

	diag_clear();
	if (is_change(op) && !op->done)
		TRY(run_changes(r, i));
	jw_obj(&r->w);
	if (op->err == OK)
		e = run_one(r, op);
	if (e == E_CANCELLED)
		return e;
	if (e != OK)
		failed(r, op, e, diag_get()->field);
	if (op->err != OK) {
		const struct diag *d = op->diag ? op->diag : diag_get();

		jw_key(&r->w, "error");
		nv_problem(&r->w, http_status(op->err, d->code == op->err ? d->kind : ERR_PLAIN), d->text, d->field);
	}
	jw_end_obj(&r->w);
	return r->parts_err != OK ? r->parts_err : r->head.err;
}

/* ----------------------------------------------------------------- request */

static bool is_frames(struct http_req *rq)
{
	struct str type = rq_header(rq, "Content-Type"), rest;

	str_cut(type, ';', &type, &rest);
	return str_ieq(str_trim(type), STR(FRAMES_TYPE));
}

static enum err run_all(struct http_req *rq, struct run *r)
{
	TRY(frames_read(r->a, rq_body(rq), &r->ops, &r->n));
	r->parts = ARENA_ARRAY(r->a, struct str, r->parts_cap);
	if (!r->parts)
		return E_NOMEM;
	jw_obj(&r->w);
	jw_key(&r->w, "results");
	jw_arr(&r->w);
	for (size_t i = 0; i < r->n; i++)
		TRY(run_op(r, i));
	jw_end_arr(&r->w);
	jw_end_obj(&r->w);
	if (r->n == 1 && r->ops[0].err != OK) {
		if (r->ops[0].diag)
			*diag_get() = *r->ops[0].diag;
		return r->ops[0].err;
	}
	return r->head.err;
}

void nv_checkpoints(struct http_req *rq, void *ctx)
{
	struct run r = {.m = ctx, .a = rq_arena(rq), .who = rq_principal(rq), .parts_n = PARTS_FIRST, .parts_cap = 16};
	unsigned char *len;
	enum err e;

	if (!is_frames(rq)) {
		(void)err_set(E_INVALID, "the Content-Type of the body must be %s", FRAMES_TYPE);
		rs_fail(rq, 415);
		return;
	}
	buf_init(&r.head, r.a, ANSWER_MAX);
	jw_init(&r.w, &r.head);
	CHECK(run_all(rq, &r));
	len = arena_alloc(r.a, 4);
	e = len ? OK : E_NOMEM;
	if (e != OK)
		goto out;
	for (int i = 0; i < 4; i++)
		len[i] = (unsigned char)(r.head.n >> (8 * i));
	r.parts[0] = str_of((const char *)len, 4);
	r.parts[1] = buf_slice(&r.head);
	rs_parts(rq, 200, FRAMES_TYPE, r.parts, r.parts_n);
	return;
out:
	rs_error(rq, e);
}
