/* Reading frames. Strict: what is not in docs/checkpoints.md is refused, as an adapter is a program and what it has wrong is a bug.
 *
 * Invariants of what frames_read gives
 *  1. Every text points into the body or the arena; bytes of values point into the body, one after the other, none shared, and
 *     together they are all that lies behind the head.
 *  2. Lists have as many elements as the head says; no member is looked at twice under two names. */
#include "api/native/frames.h"

#include <stdio.h>

#include "base/hash.h"
#include "core/parse.h"

enum {
	HEAD_NODES = 1000000,
	HEAD_DEPTH = 68,
	ROWS_MAX = 100000,
	NAMES_MAX = 10000,
	CHANNELS_MAX = 1000,
	AT_MAX = 48,
	CURSOR_MAX = 8192
};

/* One request being read. */
struct rd {
	struct arena *a;
	struct str rest; /* bytes that no value has taken */
	char at[AT_MAX]; /* "/ops/3" */
};

static enum err bad(const struct rd *r, const char *name, const char *why)
{
	char field[160];

	snprintf(field, sizeof field, "%s/%.100s", r->at, name);
	return err_field(E_INVALID, field, -1, "%s %s", name, why);
}

/* The element k of the element i of a list. */
static enum err bad_in(const struct rd *r, const char *list, size_t i, int k, const char *why)
{
	char field[160];
	int n = snprintf(field, sizeof field, "%s/%s/%zu", r->at, list, i);

	if (k >= 0)
		snprintf(field + n, sizeof field - (size_t)n, "/%d", k);
	return err_field(E_INVALID, field, -1, "%s %s", field, why);
}

/* ---------------------------------------------------------------- members */

/* .p NULL: absent. */
static enum err text(struct rd *r, struct jval op, const char *name, struct str *out)
{
	struct jval v = j_get(op, str_c(name));

	*out = (struct str){0};
	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_STRING))
		return bad(r, name, "must be a string");
	*out = j_str(r->a, v);
	return out->p ? OK : E_NOMEM;
}

static enum err need(struct rd *r, struct jval op, const char *name, struct str *out)
{
	TRY(text(r, op, name, out));
	return out->p ? OK : bad(r, name, "is missing");
}

static enum err text_or_empty(struct rd *r, struct jval op, const char *name, struct str *out)
{
	TRY(text(r, op, name, out));
	if (!out->p)
		*out = STR("");
	return OK;
}

static enum err flag(struct rd *r, struct jval op, const char *name, unsigned bit, unsigned *want)
{
	struct jval v = j_get(op, str_c(name));
	bool on = true;

	if (!j_null(v) && !j_bool(v, &on))
		return bad(r, name, "must be true or false");
	if (on)
		*want |= bit;
	return OK;
}

static enum err object(struct rd *r, struct jval op, const char *name, bool needed, struct str *out)
{
	struct jval v = j_get(op, str_c(name));

	*out = STR("");
	if (j_null(v))
		return needed ? bad(r, name, "is missing") : OK;
	if (!j_is(v, JSON_OBJECT))
		return bad(r, name, "must be an object");
	*out = j_raw(v);
	return OK;
}

static enum err array(struct rd *r, struct jval op, const char *name, size_t max, struct jval *out, size_t *n)
{
	char why[64];

	*out = j_get(op, str_c(name));
	*n = 0;
	if (j_null(*out))
		return bad(r, name, "is missing");
	if (!j_is(*out, JSON_ARRAY))
		return bad(r, name, "must be an array");
	*n = j_node(*out)->count;
	if (*n <= max)
		return OK;
	snprintf(why, sizeof why, "has %zu elements, at most %zu are allowed", *n, max);
	return bad(r, name, why);
}

static enum err texts(struct rd *r, struct jval op, const char *name, bool needed, size_t max, struct str **out, size_t *n)
{
	struct jval list, v;
	size_t i = 0;

	*out = NULL;
	*n = 0;
	if (!needed && j_null(j_get(op, str_c(name))))
		return OK;
	TRY(array(r, op, name, max, &list, n));
	*out = ARENA_ARRAY(r->a, struct str, *n + 1);
	if (!*out)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); i++) {
		if (!j_is(v, JSON_STRING))
			return bad_in(r, name, i, -1, "must be a string");
		(*out)[i] = j_str(r->a, v);
		if (!(*out)[i].p)
			return E_NOMEM;
	}
	return OK;
}

/* Channels are asked for by name: twice the same has no answer of its own. */
static enum err channels(struct rd *r, struct jval op, bool needed, struct ckpt_query *q)
{
	struct str *names;

	TRY(texts(r, op, "channels", needed, CHANNELS_MAX, &names, &q->channels_n));
	for (size_t i = 0; i < q->channels_n; i++)
		for (size_t j = 0; j < i; j++)
			if (str_eq(names[i], names[j]))
				return bad_in(r, "channels", i, -1, "names a channel a second time");
	q->channels = names;
	return OK;
}

/* ----------------------------------------------------------------- values */

/* Takes the bytes of an element whose last member is their length. */
static enum err take(struct rd *r, struct jval v, const char *list, size_t i, int k, struct str *out)
{
	char why[120];
	int64_t n;

	if (!j_i64(v, &n) || n < 0)
		return bad_in(r, list, i, k, "must be a length in bytes, 0 or above");
	if ((uint64_t)n > r->rest.n) {
		snprintf(why, sizeof why, "says %lld bytes, but only %zu are left behind the head", (long long)n, r->rest.n);
		return bad_in(r, list, i, k, why);
	}
	*out = str_sub(r->rest, 0, (size_t)n);
	r->rest = str_sub(r->rest, (size_t)n, r->rest.n);
	return OK;
}

/* The members of one element: n of them, strings where out says so. */
static enum err row(struct rd *r, struct jval v, const char *list, size_t i, const char *form, struct str *const *out,
		    struct jval *members, size_t n)
{
	struct jval m;
	size_t k = 0;

	if (!j_is(v, JSON_ARRAY) || j_node(v)->count != n)
		return bad_in(r, list, i, -1, form);
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &m); k++) {
		members[k] = m;
		if (!out[k])
			continue;
		if (!j_is(m, JSON_STRING))
			return bad_in(r, list, i, (int)k, "must be a string");
		*out[k] = j_str(r->a, m);
		if (!out[k]->p)
			return E_NOMEM;
	}
	return OK;
}

static enum err read_values(struct rd *r, struct jval op, struct ckpt_change *c)
{
	struct ckpt_value *values;
	struct jval list, v, m[4];
	size_t i = 0;

	if (j_null(j_get(op, STR("values"))))
		return OK;
	TRY(array(r, op, "values", ROWS_MAX, &list, &c->values_n));
	values = arena_zalloc(r->a, (c->values_n + 1) * sizeof *values);
	if (!values)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); i++) {
		struct str *const out[] = {&values[i].channel, &values[i].version, &values[i].type, NULL};

		TRY(row(r, v, "values", i, "must be [channel, version, type, length]", out, m, 4));
		TRY(take(r, m[3], "values", i, 3, &values[i].bytes));
		if (values[i].bytes.n > 0 && str_eq(values[i].type, STR("empty")))
			return bad_in(r, "values", i, 3, "must be 0, as type \"empty\" has no bytes");
	}
	c->values = values;
	return OK;
}

static enum err read_put(struct rd *r, struct jval op, struct ckpt_change *c)
{
	c->op = CK_PUT;
	TRY(need(r, op, "thread", &c->thread));
	TRY(text_or_empty(r, op, "ns", &c->ns));
	TRY(need(r, op, "id", &c->id));
	TRY(text_or_empty(r, op, "parent", &c->parent));
	TRY(object(r, op, "checkpoint", true, &c->checkpoint));
	TRY(object(r, op, "metadata", false, &c->metadata));
	if (c->metadata.n == 0)
		c->metadata = STR("{}");
	return read_values(r, op, c);
}

static enum err read_writes(struct rd *r, struct jval op, struct ckpt_change *c)
{
	struct str task_id, task_path;
	struct ckpt_pending *w;
	struct jval list, v, m[4];
	int64_t idx;
	size_t i = 0;

	c->op = CK_WRITES;
	c->replace = true;
	TRY(need(r, op, "thread", &c->thread));
	TRY(text_or_empty(r, op, "ns", &c->ns));
	TRY(need(r, op, "id", &c->id));
	TRY(need(r, op, "task_id", &task_id));
	TRY(text_or_empty(r, op, "task_path", &task_path));
	TRY(array(r, op, "writes", ROWS_MAX, &list, &c->writes_n));
	w = arena_zalloc(r->a, (c->writes_n + 1) * sizeof *w);
	if (!w)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); i++) {
		struct str *const out[] = {NULL, &w[i].channel, &w[i].type, NULL};

		TRY(row(r, v, "writes", i, "must be [idx, channel, type, length]", out, m, 4));
		if (!j_i64(m[0], &idx) || idx < INT32_MIN || idx > INT32_MAX)
			return bad_in(r, "writes", i, 0, "must be an integer of 32 bits");
		TRY(take(r, m[3], "writes", i, 3, &w[i].bytes));
		w[i].idx = (int32_t)idx;
		w[i].task_id = task_id;
		w[i].task_path = task_path;
		c->replace = c->replace && idx < 0;
	}
	c->writes = w;
	return OK;
}

/* ------------------------------------------------------------------- reads */

static enum err read_get(struct rd *r, struct jval op, struct ckpt_query *q)
{
	TRY(need(r, op, "thread", &q->thread));
	TRY(text_or_empty(r, op, "ns", &q->ns));
	TRY(text_or_empty(r, op, "id", &q->id));
	TRY(channels(r, op, false, q));
	TRY(flag(r, op, "values", CK_VALUES, &q->want));
	return flag(r, op, "writes", CK_WRITES_TOO, &q->want);
}

static enum err read_history(struct rd *r, struct jval op, struct ckpt_query *q)
{
	TRY(need(r, op, "thread", &q->thread));
	TRY(text_or_empty(r, op, "ns", &q->ns));
	TRY(text_or_empty(r, op, "id", &q->id));
	return channels(r, op, true, q);
}

/* Three texts, each behind its length, behind a version. */
static bool read_cursor(struct arena *a, struct str s, struct ckpt_list *q)
{
	struct str *const out[] = {&q->after.id, &q->after.thread, &q->after.ns};
	size_t n = s.n;
	uint8_t *bytes = s.n <= CURSOR_MAX ? arena_alloc(a, n + 1) : NULL;
	const uint8_t *p = bytes, *end;
	uint64_t len;

	if (!bytes || !base64url_decode(s, bytes, &n) || n < 1 || bytes[0] != 1)
		return false;
	end = bytes + n;
	p++;
	for (size_t i = 0; i < 3; i++) {
		if (!varint_get(&p, end, &len) || len > (size_t)(end - p))
			return false;
		*out[i] = str_of((const char *)p, (size_t)len);
		p += len;
	}
	return p == end && q->after.id.n > 0;
}

enum err frames_cursor(struct arena *a, const struct ckpt_full *last, struct str *out)
{
	const struct str parts[] = {last->c.id, last->c.thread, last->c.ns};
	struct buf b;
	char *s;

	buf_init(&b, a, CURSOR_MAX);
	buf_byte(&b, 1);
	for (size_t i = 0; i < 3; i++) {
		buf_varint(&b, parts[i].n);
		buf_str(&b, parts[i]);
	}
	s = arena_alloc(a, (b.n + 2) / 3 * 4 + 1);
	if (b.err != OK || !s)
		return E_NOMEM;
	*out = str_of(s, base64url_encode((const uint8_t *)b.p, b.n, s));
	return OK;
}

static enum err read_list(struct rd *r, struct jval op, struct ck_op *out)
{
	struct ckpt_list *q = &out->list.q;
	struct jval limit = j_get(op, STR("limit"));
	struct str cursor;
	int64_t n = INT64_MAX;

	TRY(text(r, op, "thread", &out->list.thread));
	TRY(text(r, op, "ns", &out->list.ns));
	q->thread = out->list.thread.p ? &out->list.thread : NULL;
	q->ns = out->list.ns.p ? &out->list.ns : NULL;
	TRY(text_or_empty(r, op, "id", &q->id));
	TRY(text_or_empty(r, op, "before", &q->before));
	TRY(object(r, op, "filter", false, &q->filter));
	out->list.limited = !j_null(limit);
	if (out->list.limited && (!j_i64(limit, &n) || n < 0))
		return bad(r, "limit", "must be an integer, 0 or above");
	q->limit = (uint64_t)n < SIZE_MAX ? (size_t)n : SIZE_MAX;
	TRY(text(r, op, "cursor", &cursor));
	if (cursor.p && !read_cursor(r->a, cursor, q))
		return bad(r, "cursor", "is not one that an answer gave");
	TRY(flag(r, op, "values", CK_VALUES, &q->want));
	return flag(r, op, "writes", CK_WRITES_TOO, &q->want);
}

static enum err read_prune(struct rd *r, struct jval op, struct ck_op *out)
{
	struct str strategy;

	TRY(texts(r, op, "threads", true, NAMES_MAX, &out->many.v, &out->many.n));
	TRY(text(r, op, "strategy", &strategy));
	out->many.drop_all = strategy.p && str_eq(strategy, STR("delete"));
	if (strategy.p && !out->many.drop_all && !str_eq(strategy, STR("keep_latest")))
		return bad(r, "strategy", "must be \"keep_latest\" or \"delete\"");
	return OK;
}

static enum err read_copy(struct rd *r, struct jval op, struct ck_op *out)
{
	TRY(need(r, op, "from", &out->names.from));
	return need(r, op, "to", &out->names.to);
}

/* -------------------------------------------------------------- operations */

enum { MEMBERS_MAX = 12 };
static const struct {
	struct str name;
	struct str members[MEMBERS_MAX];
	size_t n;
} kinds[] = {
#define M(s) STR_INIT(s)
	[CKO_PUT] = {M("put"),
		     {M("op"), M("thread"), M("ns"), M("id"), M("parent"), M("checkpoint"), M("metadata"), M("values")},
		     8},
	[CKO_WRITES] = {M("writes"), {M("op"), M("thread"), M("ns"), M("id"), M("task_id"), M("task_path"), M("writes")}, 7},
	[CKO_GET] = {M("get"), {M("op"), M("thread"), M("ns"), M("id"), M("channels"), M("values"), M("writes")}, 7},
	[CKO_LIST] = {M("list"),
		      {M("op"), M("thread"), M("ns"), M("id"), M("before"), M("filter"), M("limit"), M("cursor"), M("values"),
		       M("writes")},
		      10},
	[CKO_HISTORY] = {M("history"), {M("op"), M("thread"), M("ns"), M("id"), M("channels")}, 5},
	[CKO_DELETE_THREAD] = {M("delete_thread"), {M("op"), M("thread")}, 2},
	[CKO_DELETE_RUNS] = {M("delete_runs"), {M("op"), M("runs")}, 2},
	[CKO_COPY] = {M("copy"), {M("op"), M("from"), M("to")}, 3},
	[CKO_PRUNE] = {M("prune"), {M("op"), M("threads"), M("strategy")}, 3},
#undef M
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static enum err read_kind(struct rd *r, struct jval v, enum ck_kind *out)
{
	struct jval name = j_get(v, STR("op"));
	char field[160];
	size_t k = 0;
	enum err e;

	if (!j_is(v, JSON_OBJECT))
		return err_field(E_INVALID, r->at, -1, "an operation must be an object");
	while (k < KINDS && !(j_is(name, JSON_STRING) && j_str_eq(name, kinds[k].name)))
		k++;
	if (k == KINDS)
		return bad(r, "op", "must be one of put, writes, get, list, history, delete_thread, delete_runs, copy, prune");
	*out = (enum ck_kind)k;
	e = j_only(v, kinds[k].members, kinds[k].n);
	if (e != OK) {
		snprintf(field, sizeof field, "%s%.100s", r->at, diag_get()->field);
		memcpy(diag_get()->field, field, sizeof field);
	}
	return e;
}

static enum err read_op(struct rd *r, struct jval v, struct ck_op *op)
{
	TRY(read_kind(r, v, &op->kind));
	switch (op->kind) {
	case CKO_PUT:
		return read_put(r, v, &op->change);
	case CKO_WRITES:
		return read_writes(r, v, &op->change);
	case CKO_GET:
		return read_get(r, v, &op->query);
	case CKO_LIST:
		return read_list(r, v, op);
	case CKO_HISTORY:
		return read_history(r, v, &op->query);
	case CKO_DELETE_THREAD:
		return need(r, v, "thread", &op->names.from);
	case CKO_DELETE_RUNS:
		return texts(r, v, "runs", true, NAMES_MAX, &op->many.v, &op->many.n);
	case CKO_COPY:
		return read_copy(r, v, op);
	case CKO_PRUNE:
		break;
	}
	return read_prune(r, v, op);
}

/* -------------------------------------------------------------------- form */

struct head_job {
	struct arena *a;
	struct str text;
	struct json *out;
};

static enum err parse_head(void *arg)
{
	const struct json_limits lim = {.depth = HEAD_DEPTH, .nodes = HEAD_NODES, .bytes = UINT32_MAX};
	struct head_job *j = arg;

	return json_parse(j->a, j->text, &lim, j->out);
}

enum err frames_split(struct arena *a, struct str body, struct json *head, struct str *rest)
{
	const uint8_t *p = (const uint8_t *)body.p;
	struct head_job job = {a, {NULL, 0}, head};
	uint32_t n;
	enum err e;

	if (body.n < 4)
		return err_kind(E_INVALID, ERR_SYNTAX,
				"the body has %zu bytes; frames begin with 4 bytes for the length of the head", body.n);
	n = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
	if (n > body.n - 4)
		return err_kind(E_INVALID, ERR_SYNTAX, "the head is to have %u bytes, but only %zu follow", n, body.n - 4);
	job.text = str_sub(body, 4, 4 + (size_t)n);
	*rest = str_sub(body, 4 + (size_t)n, body.n);
	e = parse_refusal(run_sized(n, parse_head, &job));
	return e == OK ? OK : err_wrap(e, "the head");
}

enum err frames_read(struct arena *a, struct str body, struct ck_op **ops, size_t *n)
{
	static const struct str names[] = {STR_INIT("ops")};
	struct rd r = {.a = a};
	struct json *head = ARENA_NEW(a, struct json);
	struct jval list, v;
	size_t i = 0;

	if (!head)
		return E_NOMEM;
	TRY(frames_split(a, body, head, &r.rest));
	if (!j_is(json_root(head), JSON_OBJECT))
		return err_set(E_INVALID, "the head must be a JSON object");
	TRY(j_only(json_root(head), names, 1));
	TRY(array(&r, json_root(head), "ops", FRAMES_OPS_MAX, &list, n));
	if (*n == 0)
		return bad(&r, "ops", "must have at least one operation");
	*ops = arena_zalloc(a, *n * sizeof **ops);
	if (!*ops)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); i++) {
		snprintf(r.at, sizeof r.at, "/ops/%zu", i);
		TRY(read_op(&r, v, &(*ops)[i]));
	}
	if (r.rest.n > 0)
		return err_kind(E_INVALID, ERR_SYNTAX, "%zu bytes follow the values that the head mentions", r.rest.n);
	return OK;
}
