/* Conversations: threads that have a record or entries. What only has checkpoints or messages is none. */
#include "api/openai/impl.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "base/uuid7.h"

enum { PAIRS_MAX = 16, NAME_MAX_CHARS = 64, VALUE_MAX_CHARS = 512, ID_BYTES = 24, UPDATE_TRIES = 16 };

/* ----------------------------------------------------------------- reading */

static enum err none(struct str thread)
{
	return err_set(E_NOT_FOUND, "there is no conversation \"%.*s\"", STR_ARG(thread));
}

enum err oa_conversation(struct http_req *rq, struct memory *m, struct str thread, struct thread_info *out)
{
	bool found;

	TRY(thread_check(thread, "conversation_id"));
	TRY(thread_get(m, rq_arena(rq), rq_principal(rq), thread, out, &found));
	return found && (out->version > 0 || out->entries > 0) ? OK : none(thread);
}

void oa_conversation_write(struct buf *b, const struct thread_info *t)
{
	struct jw w;

	jw_init(&w, b);
	jw_obj(&w);
	jw_key(&w, "id");
	jw_str(&w, t->thread);
	jw_key(&w, "object");
	jw_cstr(&w, "conversation");
	jw_key(&w, "created_at");
	jw_i64(&w, t->created_us / 1000000);
	jw_key(&w, "metadata");
	jw_raw(&w, t->metadata.n > 0 ? t->metadata : STR("{}"));
	jw_end_obj(&w);
}

static size_t chars(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* Metadata as it is kept; null and absent are {}. */
enum err oa_metadata(struct arena *a, struct jval v, struct str *out)
{
	struct jval key, value;

	*out = STR("{}");
	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_OBJECT))
		return err_field(E_INVALID, "/metadata", -1, "metadata must be an object");
	if (j_node(v)->count > PAIRS_MAX)
		return err_field(E_INVALID, "/metadata", -1, "metadata may have %d pairs, this one has %u", PAIRS_MAX,
				 j_node(v)->count);
	for (struct j_iter it = j_iter(v); j_next(&it, &key, &value);) {
		struct str k = j_str(a, key), text = j_str(a, value);

		if (!k.p)
			return E_NOMEM;
		if (chars(k) > NAME_MAX_CHARS)
			return err_field(E_INVALID, "/metadata", -1, "a key of metadata may have %d characters, one has %zu",
					 NAME_MAX_CHARS, chars(k));
		if (!j_is(value, JSON_STRING))
			return err_field(E_INVALID, "/metadata", -1, "metadata.%.*s must be a string", STR_ARG(k));
		if (!text.p)
			return E_NOMEM;
		if (chars(text) > VALUE_MAX_CHARS)
			return err_field(E_INVALID, "/metadata", -1, "metadata.%.*s may have %d characters, it has %zu", STR_ARG(k),
					 VALUE_MAX_CHARS, chars(text));
	}
	*out = j_raw(v);
	return OK;
}

static void answer(struct http_req *rq, struct memory *m, struct str thread, struct buf *b, enum err e)
{
	struct thread_info info;

	if (e == OK)
		e = oa_conversation(rq, m, thread, &info);
	if (e == OK)
		oa_conversation_write(b, &info);
	oa_answer_write(rq, e, b);
}

/* ------------------------------------------------------------------ create */

/* A new name; with a key the one that the key and the body stand for, so that the call can be repeated. */
static enum err new_name(struct http_req *rq, struct str key, struct str *out)
{
	struct arena *a = rq_arena(rq);
	char hex[2 * ID_BYTES + 1];
	uint8_t bytes[ID_BYTES];

	random_bytes(bytes, sizeof bytes);
	if (key.p) {
		struct str digest;

		TRY(oa_digest(rq, "conversation", key, STR(""), &digest));
		memcpy(bytes, digest.p, sizeof bytes);
	}
	hex_encode(bytes, sizeof bytes, hex);
	*out = arena_printf(a, "conv_%s", hex);
	return out->p ? OK : E_NOMEM;
}

/* The record, then the items. When the record is there already, an earlier call with this key has got at least so far. */
static enum err create(struct http_req *rq, struct memory *m, struct str key, struct str metadata, struct entry_append *items)
{
	struct thread_record r = {.thread = items->thread, .metadata = metadata};
	struct thread_info info;
	enum err e = thread_put(m, rq_principal(rq), &r, IF_ABSENT);

	if (e == E_CONFLICT && key.p) {
		TRY(oa_conversation(rq, m, items->thread, &info));
		items->wants_empty = true;
		if (info.entries > 0)
			return OK;
		e = OK;
	}
	TRY(e);
	if (items->n == 0)
		return OK;
	items->must_exist = true;
	e = entries_append(m, rq_arena(rq), rq_principal(rq), items);
	return e == E_CONFLICT && items->wants_empty ? OK : e;
}

void oa_conversation_create(struct http_req *rq, void *ctx)
{
	struct entry_append items = {0};
	struct str metadata, key;
	struct jval list;
	struct json doc;
	struct buf b;
	enum err e;

	buf_init(&b, rq_arena(rq), OA_ANSWER_MAX);
	CHECK(oa_body(rq, &doc));
	CHECK(oa_key(rq, &key));
	CHECK(oa_metadata(rq_arena(rq), j_get(json_root(&doc), STR("metadata")), &metadata));
	list = j_get(json_root(&doc), STR("items"));
	if (!j_null(list))
		CHECK(items_read(rq, list, "items", &items));
	CHECK(new_name(rq, key, &items.thread));
	CHECK(oa_digest(rq, "items", key, items.thread, &items.once));
	CHECK(create(rq, ctx, key, metadata, &items));
out:
	answer(rq, ctx, items.thread, &b, e);
}

/* --------------------------------------------------------------- the others */

void oa_conversation_get(struct http_req *rq, void *ctx)
{
	struct thread_info info;
	struct buf b;
	enum err e;

	buf_init(&b, rq_arena(rq), OA_ANSWER_MAX);
	e = oa_conversation(rq, ctx, rq_param(rq, "id"), &info);
	if (e == OK)
		oa_conversation_write(&b, &info);
	oa_answer(rq, e, &b);
}

/* The metadata is replaced as a whole; what else the record has stays. */
static enum err update_once(struct http_req *rq, struct memory *m, struct str thread, struct str metadata)
{
	struct thread_info now;
	struct thread_record r = {.thread = thread, .metadata = metadata};

	TRY(oa_conversation(rq, m, thread, &now));
	r.user = now.user;
	r.config = now.config;
	r.ttl_minutes = now.ttl_minutes;
	r.ttl_strategy = (enum thread_ttl)now.ttl_strategy;
	r.version = now.version;
	return thread_put(m, rq_principal(rq), &r, IF_VERSION);
}

void oa_conversation_update(struct http_req *rq, void *ctx)
{
	struct str thread = rq_param(rq, "id"), metadata;
	struct json doc;
	struct jval v;
	struct buf b;
	enum err e;

	buf_init(&b, rq_arena(rq), OA_ANSWER_MAX);
	CHECK(oa_body(rq, &doc));
	v = j_get(json_root(&doc), STR("metadata"));
	e = j_ok(v) ? OK : err_field(E_INVALID, "/metadata", -1, "metadata is missing");
	if (e != OK)
		goto out;
	CHECK(oa_metadata(rq_arena(rq), v, &metadata));
	e = E_CONFLICT;
	for (int i = 0; i < UPDATE_TRIES && e == E_CONFLICT; i++)
		e = update_once(rq, ctx, thread, metadata);
	if (e == E_CONFLICT)
		e = err_set(E_BUSY, "the conversation is being changed by others all the time; try again");
out:
	answer(rq, ctx, thread, &b, e);
}

void oa_conversation_delete(struct http_req *rq, void *ctx)
{
	struct str thread = rq_param(rq, "id");
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), OA_ANSWER_MAX);
	e = entries_remove(ctx, rq_arena(rq), rq_principal(rq), thread);
	/* Sent again as the first answer was lost: it is gone, as it should be. */
	if (e == E_NOT_FOUND && oa_resent(rq))
		e = OK;
	else if (e == E_NOT_FOUND)
		e = none(thread);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "id");
	jw_str(&w, thread);
	jw_key(&w, "object");
	jw_cstr(&w, "conversation.deleted");
	jw_key(&w, "deleted");
	jw_bool(&w, true);
	jw_end_obj(&w);
	oa_answer_write(rq, e, &b);
}
