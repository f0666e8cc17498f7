/* Sessions: threads of entries, as the Agents SDK's session protocol reads and writes them.
 *
 * A long answer is sent piece by piece; what is in the session by then counts, and when the piece to go on from has been removed
 * meanwhile the connection is cut, as an answer with a hole would be worse. */
#include <stdio.h>

#include "api/native/impl.h"
#include "base/hash.h"
#include "core/session.h"
#include "core/thread.h"

enum { KEY_MAX = 255, PIECE_ENTRIES = 500 };

/* ------------------------------------------------------------------ append */

/* entry_append.once: the key, the session and the body. *given = false without the header. */
static enum err read_once(struct http_req *rq, struct entry_append *e)
{
	struct str key = rq_header(rq, "Idempotency-Key");
	struct arena *a = rq_arena(rq);
	struct sha256 h;
	uint8_t *digest;
	char head[80];

	if (!key.p)
		return OK;
	if (key.n < 1 || key.n > KEY_MAX)
		return err_field(E_INVALID, "Idempotency-Key", -1, "Idempotency-Key must have 1 to %d characters, this one has %zu",
				 KEY_MAX, key.n);
	digest = arena_alloc(a, SHA256_BYTES);
	if (!digest)
		return E_NOMEM;
	snprintf(head, sizeof head, "session %zu %zu ", key.n, e->thread.n);
	sha256_init(&h);
	sha256_add(&h, head, strlen(head));
	sha256_add(&h, key.p, key.n);
	sha256_add(&h, e->thread.p, e->thread.n);
	sha256_add(&h, rq_body(rq).p, rq_body(rq).n);
	sha256_end(&h, digest);
	e->once = str_of((const char *)digest, SHA256_BYTES);
	e->look = true;
	return OK;
}

static enum err read_items(struct http_req *rq, struct jval list, struct entry_append *e)
{
	struct jval v;

	if (!j_is(list, JSON_ARRAY))
		return nv_bad("/items", "must be an array of objects");
	e->v = ARENA_ARRAY(rq_arena(rq), struct session_entry, j_node(list)->count + 1);
	if (!e->v)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); e->n++)
		e->v[e->n] = (struct session_entry){.data = j_raw(v)};
	return OK;
}

void nv_session_append(struct http_req *rq, void *ctx)
{
	static const struct str names[] = {STR_INIT("items"), STR_INIT("replace")};
	struct entry_append add = {.thread = rq_param(rq, "id")};
	struct arena *a = rq_arena(rq);
	bool given, replace;
	struct json doc;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(nv_body(rq, names, 2, &doc));
	CHECK(nv_bool(json_root(&doc), "", "replace", &given, &replace));
	CHECK(read_items(rq, j_get(json_root(&doc), STR("items")), &add));
	CHECK(read_once(rq, &add));
	if (replace)
		CHECK(entries_replace(ctx, rq_principal(rq), &add));
	else
		CHECK(entries_append(ctx, a, rq_principal(rq), &add));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "stored");
	jw_u64(&w, add.n);
	jw_key(&w, "repeated");
	jw_bool(&w, add.repeated);
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}

/* -------------------------------------------------------------------- read */

/* "a,b,c" of a piece; comma: something came before. */
static enum err write_piece(struct buf *b, const struct session_entry *v, size_t n, bool comma)
{
	size_t bytes = 64;

	for (size_t i = 0; i < n; i++)
		bytes += v[i].data.n + 1;
	(void)buf_room(b, bytes);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 || comma)
			buf_byte(b, ',');
		buf_str(b, v[i].data);
	}
	return b->err;
}

/* Sends the rest of an answer whose pieces so far are in `first`. */
static void stream_rest(struct http_req *rq, struct memory *m, struct entry_list q, struct str first, bool comma)
{
	struct arena a;
	bool more = true;

	if (rs_begin(rq, 200, "application/json") != OK || rs_write(rq, first) != OK) {
		rs_abort(rq);
		return;
	}
	arena_init(&a, ANSWER_MAX);
	while (more) {
		struct session_entry *v;
		struct buf b;
		size_t n;

		buf_init(&b, &a, ANSWER_MAX);
		if (entries_page(m, &a, rq_principal(rq), &q, &v, &n, &more) != OK || write_piece(&b, v, n, comma) != OK)
			break;
		if (!more)
			buf_lit(&b, "]}");
		if (b.err != OK || rs_write(rq, buf_slice(&b)) != OK)
			break;
		comma = true;
		if (n > 0)
			q.after = v[n - 1].id;
		arena_clear(&a);
		if (!more) {
			arena_release(&a);
			rs_end(rq);
			return;
		}
	}
	arena_release(&a);
	rs_abort(rq);
}

/* All entries behind q.after, oldest first; an unknown session is an empty one. */
static enum err send_from(struct http_req *rq, struct memory *m, struct entry_list q)
{
	struct session_entry *v;
	bool more = false;
	struct buf b;
	size_t n = 0;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	buf_lit(&b, "{\"data\":[");
	e = entries_page(m, rq_arena(rq), rq_principal(rq), &q, &v, &n, &more);
	if (e != OK && !(e == E_NOT_FOUND && q.after == 0))
		return e;
	TRY(write_piece(&b, v, n, false));
	if (more) {
		q.after = v[n - 1].id;
		stream_rest(rq, m, q, buf_slice(&b), true);
		return OK;
	}
	buf_lit(&b, "]}");
	if (b.err == OK)
		rs_json(rq, 200, buf_slice(&b));
	return b.err;
}

/* A tail that is answered at once; E_LIMIT: it is too large for that. */
static enum err send_tail(struct http_req *rq, struct memory *m, struct str thread, size_t limit)
{
	struct session_entry *v;
	struct arena a;
	struct buf b;
	size_t n;
	enum err e;

	arena_init(&a, 2 * ENTRIES_PAGE_BYTES);
	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	buf_lit(&b, "{\"data\":[");
	CHECK(entries_tail(m, &a, rq_principal(rq), thread, limit, &v, &n));
	CHECK(write_piece(&b, v, n, false));
	buf_lit(&b, "]}");
	e = b.err;
	if (e == OK)
		rs_json(rq, 200, buf_slice(&b));
out:
	arena_release(&a);
	return e;
}

void nv_session_items(struct http_req *rq, void *ctx)
{
	struct entry_list q = {.thread = rq_param(rq, "id"), .limit = PIECE_ENTRIES};
	struct str limit = rq_query(rq, "limit");
	const int64_t all = INT64_MAX;
	bool found = true;
	int64_t want;
	enum err e;

	CHECK(rq_query_int(rq, "limit", 0, all, all, &want));
	e = E_LIMIT;
	if (want <= PIECE_ENTRIES)
		e = send_tail(rq, ctx, q.thread, (size_t)want);
	if (e != E_LIMIT)
		goto out;
	/* Too many, or too large to be held at once. */
	CHECK(entries_tail_from(ctx, rq_principal(rq), q.thread, want == all ? SIZE_MAX : (size_t)want, &q.after, &found));
	if (found)
		e = send_from(rq, ctx, q);
	else
		rs_json(rq, 200, STR("{\"data\":[]}"));
out:
	if (e == OK)
		return;
	if (e == E_INVALID && limit.p && !str_int(limit, 0, all, &want))
		diag_get()->kind = ERR_SYNTAX; /* 400: what the SDK's stores do not agree on */
	rs_error(rq, e);
}

/* ------------------------------------------------------------- pop, clear */

void nv_session_pop(struct http_req *rq, void *ctx)
{
	struct session_entry got = {0};
	struct buf b;
	bool found;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(entries_pop(ctx, rq_arena(rq), rq_principal(rq), rq_param(rq, "id"), &got, &found));
	(void)buf_room(&b, got.data.n + 32);
	buf_lit(&b, "{\"item\":");
	buf_str(&b, found ? got.data : STR("null"));
	buf_lit(&b, "}");
out:
	nv_answer(rq, e, &b);
}

void nv_session_clear(struct http_req *rq, void *ctx)
{
	enum err e = entries_clear(ctx, rq_principal(rq), rq_param(rq, "id"));

	if (e == OK)
		rs_empty(rq, 204);
	else
		rs_error(rq, e);
}

/* -------------------------------------------------------------------- list */

/* Up to want threads with entries behind `after`; *more: there may be others. */
static enum err gather_sessions(struct http_req *rq, struct memory *m, const struct str *user, struct str after, size_t want,
				struct thread_info *out, size_t *n)
{
	enum { STEP = 1000 };
	struct thread_info *t;
	size_t got = STEP;

	for (*n = 0; *n < want && got == STEP;) {
		TRY(session_threads(m, rq_arena(rq), rq_principal(rq), user, after, STEP, &t, &got));
		for (size_t i = 0; i < got && *n < want; i++)
			if (t[i].entries > 0)
				out[(*n)++] = t[i];
		if (got > 0)
			after = t[got - 1].thread;
	}
	return OK;
}

void nv_sessions(struct http_req *rq, void *ctx)
{
	static const char *const filters[] = {"user", NULL};
	struct page p = {.filters = filters};
	struct str user = rq_query(rq, "user");
	struct thread_info *t;
	size_t n, shown;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), ANSWER_MAX);
	CHECK(page_begin(rq, ctx, &p));
	t = ARENA_ARRAY(rq_arena(rq), struct thread_info, (size_t)p.limit + 1);
	e = t ? OK : E_NOMEM;
	if (e != OK)
		goto out;
	CHECK(gather_sessions(rq, ctx, &user, p.after, (size_t)p.limit + 1, t, &n));
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
