/* Facts: their members in requests and answers, and GET /items/history. */
#include <stdio.h>

#include "api/native/impl.h"
#include "base/clock.h"

static const char rfc3339[] = "must be RFC 3339, such as 2026-08-20T07:02:48Z";

static enum err read_instant(struct str s, const char *field, bool *given, int64_t *out)
{
	*given = s.p != NULL;
	*out = FACT_NONE;
	return !s.p || clock_parse(s, out) == OK ? OK : nv_bad(field, rfc3339);
}

enum err nv_instant(struct arena *a, struct jval obj, const char *at, const char *name, bool *given, int64_t *out)
{
	char field[160];
	struct str s;

	snprintf(field, sizeof field, "%.100s/%s", at, name);
	TRY(nv_str(a, obj, at, name, &s));
	return read_instant(s, field, given, out);
}

enum err nv_query_instant(struct http_req *rq, const char *name, bool *given, int64_t *out)
{
	return read_instant(rq_query(rq, name), name, given, out);
}

void nv_write_instant(struct jw *w, const char *name, int64_t us)
{
	char text[CLOCK_TEXT_MAX];

	jw_key(w, name);
	if (us == FACT_NONE)
		jw_null(w);
	else
		jw_str(w, str_of(text, clock_format(us, us % 1000 ? CLOCK_MICROS_Z : CLOCK_MILLIS_Z, text)));
}

void nv_write_fact(struct jw *w, const struct item *it)
{
	if (!it->fact)
		return;
	jw_key(w, "fact");
	jw_bool(w, true);
	nv_write_instant(w, "valid_from", it->valid_from_us);
	nv_write_instant(w, "valid_to", it->valid_to_us);
}

/* ------------------------------------------------------------------ reading */

/* A key, or an array of keys. */
static enum err read_supersedes(struct arena *a, struct jval v, const char *field, struct op_put *op)
{
	static const char wrong[] = "must be a key or an array of at most 64 keys";
	struct str *keys;
	struct jval k;
	size_t n = 0;

	if (!j_is(v, JSON_STRING) && !j_is(v, JSON_ARRAY))
		return nv_bad(field, wrong);
	if (j_is(v, JSON_ARRAY) && j_node(v)->count > SUPERSEDES_MAX)
		return nv_bad(field, wrong);
	keys = ARENA_ARRAY(a, struct str, j_is(v, JSON_ARRAY) ? j_node(v)->count + 1 : 1);
	if (!keys)
		return E_NOMEM;
	if (j_is(v, JSON_STRING)) {
		keys[n++] = j_str(a, v);
	} else {
		for (struct j_iter it = j_iter(v); j_next(&it, NULL, &k);) {
			if (!j_is(k, JSON_STRING))
				return nv_bad(field, wrong);
			keys[n++] = j_str(a, k);
		}
	}
	for (size_t i = 0; i < n; i++)
		if (!keys[i].p)
			return E_NOMEM;
	op->supersedes = keys;
	op->supersedes_n = n;
	return OK;
}

enum err nv_fact(struct arena *a, struct jval obj, const char *at, struct op_put *op)
{
	struct jval keys = j_get(obj, STR("supersedes"));
	char field[160];
	bool from, to;

	TRY(nv_instant(a, obj, at, "valid_from", &from, &op->valid_from_us));
	TRY(nv_instant(a, obj, at, "valid_to", &to, &op->valid_to_us));
	op->fact = from || to || !j_null(keys);
	if (j_null(keys))
		return OK;
	snprintf(field, sizeof field, "%.100s/supersedes", at);
	return read_supersedes(a, keys, field, op);
}

enum err nv_query_fact(struct http_req *rq, struct op_put *op)
{
	struct str *keys;
	bool from, to;

	TRY(nv_query_instant(rq, "valid_from", &from, &op->valid_from_us));
	TRY(nv_query_instant(rq, "valid_to", &to, &op->valid_to_us));
	TRY(rq_query_all(rq, "supersedes", &keys, &op->supersedes_n));
	op->supersedes = keys;
	if (op->supersedes_n > SUPERSEDES_MAX)
		return nv_bad("supersedes", "is given at most 64 times");
	op->fact = from || to || op->supersedes_n > 0;
	return OK;
}

/* ------------------------------------------------------------------ history */

static void write_state(struct jw *w, const struct fact_state *s)
{
	jw_obj(w);
	jw_key(w, "namespace");
	ns_to_json(w, s->ns);
	jw_key(w, "key");
	jw_str(w, s->key);
	jw_key(w, "value");
	jw_raw(w, s->value);
	jw_key(w, "fact");
	jw_bool(w, s->fact);
	nv_write_instant(w, "valid_from", s->valid_from_us);
	nv_write_instant(w, "valid_to", s->valid_to_us == FACT_NONE ? s->ended_us : s->valid_to_us);
	nv_write_instant(w, "recorded_from", s->recorded_from_us);
	nv_write_instant(w, "recorded_to", s->recorded_to_us);
	jw_key(w, "superseded_by");
	jw_str(w, s->by);
	jw_end_obj(w);
}

/* The cursor is the time from which the last state shown was recorded. */
void nv_item_history(struct http_req *rq, void *ctx)
{
	static const char *const filters[] = {"namespace", "key", NULL};
	struct arena *a = rq_arena(rq);
	struct fact_history h = {0};
	struct page p = {.filters = filters};
	struct str last = STR("");
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(nv_query_ns(rq, "namespace", true, &h.ns));
	h.key = rq_query(rq, "key");
	if (!h.key.p) {
		e = nv_bad("key", "is missing");
		goto out;
	}
	CHECK(page_begin(rq, ctx, &p));
	if (p.after.n && !str_int(p.after, INT64_MIN, INT64_MAX, &h.before_us)) {
		e = nv_bad("cursor", "is not one of this history");
		goto out;
	}
	h.limit = (uint32_t)p.limit;
	CHECK(facts_history(ctx, a, rq_principal(rq), &h));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "data");
	jw_arr(&w);
	for (size_t i = 0; i < h.n; i++)
		write_state(&w, &h.v[i]);
	if (h.n)
		last = arena_printf(a, "%lld", (long long)h.v[h.n - 1].recorded_from_us);
	e = last.p ? page_end(rq, ctx, &p, &w, h.more, last) : E_NOMEM;
out:
	nv_answer(rq, e, &b);
}
