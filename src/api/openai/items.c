/* The items of a conversation.
 *
 * Invariants
 *  1. Ids in a conversation are unique: when several entries say the same id, the oldest has it, the others a made one (form.c). So
 * a page has to look at what comes before it only when items of it say an id at all; those of the Agents SDK do not.
 *  2. An append is all or nothing, and what it keeps in entry_append.once names the call: key or none, conversation, body. */
#include "api/openai/impl.h"

#include <stdio.h>

#include "base/map.h"
#include "core/parse.h"

enum { LIMIT_DEFAULT = 20, LIMIT_MAX = 100 };
#define SCRATCH_MAX ((size_t)256 << 20)

/* ------------------------------------------------------------------- names */

struct before {
	struct arena scratch;
	struct arena ids;
	struct map *own; /* id -> 1 + index in own[] */
	struct shown *s;
	size_t left; /* own ids that nobody older has had so far */
	enum err err;
};

static bool on_before(void *ctx, const struct session_entry *e)
{
	struct before *x = ctx;
	struct str id;
	uintptr_t at;

	if (e->unreadable)
		return true;
	x->err = oa_own_id(&x->ids, &x->scratch, e->data, &id);
	if (x->err != OK)
		return false;
	at = id.p ? (uintptr_t)map_get(x->own, id) : 0;
	if (at > 0 && x->s->own[at - 1].p) {
		x->s->own[at - 1] = (struct str){NULL, 0};
		x->left--;
	}
	arena_clear(&x->ids);
	return x->left > 0;
}

/* Takes ids away from entries whose id an older one has. */
static enum err yield_to_older(struct http_req *rq, struct memory *m, struct str thread, struct shown *s, struct map *own,
			       size_t left)
{
	struct entry_list q = {.thread = thread, .newest_first = true, .limit = SIZE_MAX};
	struct before x = {.own = own, .s = s, .left = left};
	enum err e;

	q.after = s->v[s->newest_first ? s->n - 1 : 0].id;
	arena_init(&x.scratch, SCRATCH_MAX);
	arena_init(&x.ids, 1 << 20);
	e = entries_walk(m, rq_principal(rq), &q, on_before, &x);
	arena_release(&x.ids);
	arena_release(&x.scratch);
	/* The page's oldest has gone meanwhile: made ids are right in any case. */
	if (e == E_NOT_FOUND) {
		memset(s->own, 0, s->n * sizeof *s->own);
		return OK;
	}
	TRY(e);
	return x.err;
}

enum err oa_shown_name(struct http_req *rq, struct memory *m, struct str thread, struct shown *s)
{
	struct arena *a = rq_arena(rq), scratch;
	struct map own;
	size_t left = 0;
	enum err e = OK;

	s->own = ARENA_ARRAY(a, struct str, s->n + 1);
	if (!s->own)
		return E_NOMEM;
	map_init(&own);
	arena_init(&scratch, SCRATCH_MAX);
	for (size_t i = 0; i < s->n; i++) {
		size_t at = s->newest_first ? s->n - 1 - i : i;

		CHECK(oa_own_id(a, &scratch, s->v[at].data, &s->own[at]));
		if (s->own[at].p && map_get(&own, s->own[at]))
			s->own[at] = (struct str){NULL, 0};
		if (!s->own[at].p)
			continue;
		CHECK(map_put(&own, s->own[at], (void *)(at + 1), NULL));
		left++;
	}
	if (left > 0)
		e = yield_to_older(rq, m, thread, s, &own, left);
out:
	arena_release(&scratch);
	map_release(&own);
	return e;
}

/* ------------------------------------------------------------ finding by id */

struct seek {
	struct arena scratch, ids;
	struct str want;
	int64_t found;
	enum err err;
};

static bool on_seek(void *ctx, const struct session_entry *e)
{
	struct seek *x = ctx;
	struct str id;

	if (e->unreadable)
		return true;
	x->err = oa_own_id(&x->ids, &x->scratch, e->data, &id);
	if (x->err == OK && id.p && str_eq(id, x->want))
		x->found = e->id;
	arena_clear(&x->ids);
	return x->err == OK && x->found == 0;
}

/* What is missing when a session is not found: without a cursor it can only be the conversation. */
static enum err missing(enum err e, struct str thread)
{
	return e == E_NOT_FOUND ? err_set(e, "there is no conversation \"%.*s\"", STR_ARG(thread)) : e;
}

static enum err no_item(struct str id)
{
	return err_set(E_NOT_FOUND, "there is no item \"%.*s\" in this conversation", STR_ARG(str_sub(id, 0, OA_ID_MAX)));
}

/* The number of the entry with this id. */
static enum err find(struct http_req *rq, struct memory *m, struct str thread, struct str id, int64_t *number)
{
	struct entry_list q = {.thread = thread, .limit = SIZE_MAX};
	struct seek x = {.want = id};
	enum err e;

	if (oa_id_number(id, number))
		return OK;
	if (id.n < 1 || id.n > OA_ID_MAX)
		return no_item(id);
	arena_init(&x.scratch, SCRATCH_MAX);
	arena_init(&x.ids, 1 << 20);
	e = missing(entries_walk(m, rq_principal(rq), &q, on_seek, &x), thread);
	arena_release(&x.ids);
	arena_release(&x.scratch);
	TRY(e);
	TRY(x.err);
	*number = x.found;
	return x.found > 0 ? OK : no_item(id);
}

/* ----------------------------------------------------------------- writing */

struct write_job {
	struct arena *a;
	const struct shown *s;
	struct buf *b;
	struct str first, last;
};

static enum err write_all(void *arg)
{
	struct write_job *j = arg;
	struct arena scratch;
	enum err e = OK;

	arena_init(&scratch, SCRATCH_MAX);
	buf_lit(j->b, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < j->s->n && e == OK; i++) {
		if (i > 0)
			buf_byte(j->b, ',');
		e = oa_item_write(j->b, j->a, &scratch, j->s->v[i].data, j->s->v[i].id, j->s->own[i], &j->last);
		if (i == 0)
			j->first = j->last;
	}
	arena_release(&scratch);
	return e;
}

enum err oa_shown_write(struct http_req *rq, const struct shown *s, bool more, struct buf *b)
{
	struct write_job j = {.a = rq_arena(rq), .s = s, .b = b, .first = STR(""), .last = STR("")};
	size_t bytes = 256;

	for (size_t i = 0; i < s->n; i++)
		bytes += s->v[i].data.n + 192;
	(void)buf_room(b, bytes);
	TRY(run_sized(bytes, write_all, &j));
	oa_list_end(b, j.first, j.last, more);
	return b->err;
}

/* ------------------------------------------------------------------ create */

void oa_items_create(struct http_req *rq, void *ctx)
{
	struct entry_append add = {.thread = rq_param(rq, "id"), .must_exist = true};
	struct thread_info info;
	struct shown s = {0};
	struct json doc;
	struct str key;
	struct buf b;
	enum err e;

	buf_init(&b, rq_arena(rq), OA_ANSWER_MAX);
	CHECK(oa_body(rq, &doc));
	CHECK(oa_key(rq, &key));
	CHECK(items_read(rq, j_get(json_root(&doc), STR("items")), "items", &add));
	CHECK(oa_digest(rq, "items", key, add.thread, &add.once));
	add.look = key.p || oa_resent(rq);
	if (add.n == 0)
		CHECK(oa_conversation(rq, ctx, add.thread, &info));
	CHECK(missing(entries_append(ctx, rq_arena(rq), rq_principal(rq), &add), add.thread));
	s.v = add.v;
	s.n = add.n;
	CHECK(oa_shown_name(rq, ctx, add.thread, &s));
	e = oa_shown_write(rq, &s, false, &b);
out:
	oa_answer_write(rq, e, &b);
}

/* -------------------------------------------------------------------- list */

enum err oa_list_question(struct http_req *rq, struct entry_list *q)
{
	struct str order = rq_query(rq, "order");
	int64_t limit;

	TRY(rq_query_int(rq, "limit", 1, INT64_MAX, LIMIT_DEFAULT, &limit));
	q->limit = limit > LIMIT_MAX ? LIMIT_MAX : (size_t)limit;
	if (order.p && !str_eq(order, STR("asc")) && !str_eq(order, STR("desc")))
		return err_field(E_INVALID, "order", -1, "order must be asc or desc");
	q->newest_first = !str_eq(order, STR("asc"));
	return OK;
}

static enum err read_question(struct http_req *rq, struct memory *m, struct entry_list *q)
{
	struct str after = rq_query(rq, "after");
	enum err e;

	TRY(oa_list_question(rq, q));
	if (after.n == 0)
		return OK;
	e = find(rq, m, q->thread, after, &q->after);
	if (e != OK)
		memcpy(diag_get()->field, "after", sizeof "after");
	return e;
}

void oa_items_list(struct http_req *rq, void *ctx)
{
	struct entry_list q = {.thread = rq_param(rq, "id")};
	struct shown s = {0};
	bool more;
	struct buf b;
	enum err e;

	buf_init(&b, rq_arena(rq), OA_ANSWER_MAX);
	CHECK(thread_check(q.thread, "conversation_id"));
	CHECK(read_question(rq, ctx, &q));
	e = entries_page(ctx, rq_arena(rq), rq_principal(rq), &q, &s.v, &s.n, &more);
	if (q.after == 0)
		e = missing(e, q.thread);
	if (e != OK)
		goto out;
	s.newest_first = q.newest_first;
	if (s.n > 0)
		CHECK(oa_shown_name(rq, ctx, q.thread, &s));
	e = oa_shown_write(rq, &s, more, &b);
out:
	oa_answer(rq, e, &b);
}

/* ---------------------------------------------------------------- one item */

void oa_item_get(struct http_req *rq, void *ctx)
{
	struct str thread = rq_param(rq, "id"), id = rq_param(rq, "item"), own = {NULL, 0};
	struct arena *a = rq_arena(rq), scratch;
	struct session_entry it;
	int64_t number;
	struct buf b;
	enum err e;

	arena_init(&scratch, SCRATCH_MAX);
	buf_init(&b, a, OA_ANSWER_MAX);
	CHECK(thread_check(thread, "conversation_id"));
	CHECK(find(rq, ctx, thread, id, &number));
	e = entries_get(ctx, a, rq_principal(rq), thread, number, &it);
	if (e == E_NOT_FOUND)
		e = no_item(id);
	if (e != OK)
		goto out;
	if (!oa_id_number(id, &number))
		own = id;
	(void)buf_room(&b, it.data.n + 192);
	e = oa_item_write(&b, a, &scratch, it.data, it.id, own, &id);
out:
	arena_release(&scratch);
	oa_answer(rq, e, &b);
}

void oa_item_delete(struct http_req *rq, void *ctx)
{
	struct str thread = rq_param(rq, "id"), id = rq_param(rq, "item");
	struct thread_info info;
	int64_t number;
	struct buf b;
	enum err e;

	buf_init(&b, rq_arena(rq), OA_ANSWER_MAX);
	/* Before the last item goes, and with it perhaps the session. */
	CHECK(oa_conversation(rq, ctx, thread, &info));
	e = find(rq, ctx, thread, id, &number);
	if (e == OK)
		e = entries_delete(ctx, rq_principal(rq), thread, number);
	/* Sent again as the first answer was lost: it is gone, as it should be. */
	if (e == E_NOT_FOUND && oa_resent(rq))
		e = OK;
	else if (e == E_NOT_FOUND)
		e = no_item(id);
	if (e == OK)
		oa_conversation_write(&b, &info);
out:
	oa_answer_write(rq, e, &b);
}
