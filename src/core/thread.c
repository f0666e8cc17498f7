/* Threads: their names, their records, what is merged into them. What lies under a name is core/session.h's, core/checkpoint.h's
 * and entries.c's business; searching is thread_search.c.
 *
 * Invariant: a record is changed only under its version (or created under IF_ABSENT), so two writers never lose each other's
 * members. */
#include "core/thread.h"

#include <math.h>

#include "base/utf8.h"
#include "base/uuid7.h"
#include "core/parse.h"

enum { UPDATE_TRIES = 16 };
static const double ttl_max_minutes = 100.0 * 366 * 24 * 60;

enum err thread_check(struct str thread, const char *field)
{
	if (thread.n == 0)
		return err_field(E_INVALID, field, -1, "the thread's name is missing or empty");
	if (thread.n > THREAD_MAX_BYTES)
		return err_field(E_INVALID, field, -1, "the thread's name has %zu bytes, at most %d are allowed", thread.n,
				 THREAD_MAX_BYTES);
	if (memchr(thread.p, 0, thread.n))
		return err_field(E_INVALID, field, -1, "the thread's name cannot contain U+0000");
	if (!utf8_valid(thread))
		return err_field(E_INVALID, field, -1, "the thread's name must be UTF-8");
	return OK;
}

enum err thread_resolve(struct arena *a, struct str custom_thread_id, struct str conversation_id, struct str *out, bool *made)
{
	char text[UUID_TEXT + 1];

	*made = false;
	*out = custom_thread_id.n > 0 ? custom_thread_id : conversation_id;
	if (out->n > 0)
		return thread_check(*out, custom_thread_id.n > 0 ? "/custom_inputs/thread_id" : "/conversation");
	uuid7_new(text);
	*out = arena_str(a, str_of(text, UUID_TEXT));
	*made = true;
	return out->p ? OK : E_NOMEM;
}

/* ---------------------------------------------------------------- records */

static enum err not_there(struct str thread)
{
	return err_set(E_NOT_FOUND, "there is no thread \"%.*s\"", STR_ARG(thread));
}

enum err thread_get(struct memory *m, struct arena *a, const struct principal *who, struct str thread, struct thread_info *out,
		    bool *found)
{
	struct store *s = memory_store(m);

	*found = false;
	TRY(principal_check(who, RIGHT_READ));
	TRY(thread_check(thread, "thread"));
	TRY(s->ops->threads->get(s, a, who, thread, out, found));
	/* The drivers keep rule 9; a thread of another's would be the worst of answers, so it is looked at once more. */
	*found = *found && principal_sees(who, out->user);
	return OK;
}

static enum err object_check(struct str json, const char *field)
{
	struct arena scratch;
	struct json doc;
	enum err e = OK;

	if (json.n == 0)
		return OK;
	if (json.n > THREAD_METADATA_MAX)
		return err_field(E_INVALID, field, -1, "%s has %zu bytes, at most %u are allowed", field + 1, json.n,
				 THREAD_METADATA_MAX);
	arena_init(&scratch, (size_t)16 << 20);
	CHECK(json_parse(&scratch, json, NULL, &doc));
	if (!j_is(json_root(&doc), JSON_OBJECT))
		e = err_field(E_INVALID, field, -1, "%s must be an object", field + 1);
out:
	arena_release(&scratch);
	return e;
}

static enum err record_check(const struct principal *who, struct thread_record *r)
{
	TRY(thread_check(r->thread, "/thread_id"));
	TRY(object_check(r->metadata, "/metadata"));
	TRY(object_check(r->config, "/config"));
	if (!(r->ttl_minutes >= 0 && r->ttl_minutes <= ttl_max_minutes))
		return err_field(E_INVALID, "/ttl", -1, "ttl must be a number of minutes above 0 and at most %.0f",
				 ttl_max_minutes);
	if (r->user.n == 0)
		r->user = who->user;
	if (who->user_bound && !str_eq(r->user, who->user))
		return err_field(E_DENIED, "/user", -1, "this key belongs to one user and cannot make threads of another");
	return OK;
}

enum err thread_put(struct memory *m, const struct principal *who, struct thread_record *r, enum write_if cond)
{
	struct store *s = memory_store(m);

	TRY(principal_check(who, RIGHT_WRITE));
	TRY(record_check(who, r));
	return s->ops->threads->put(s, who, r, cond);
}

enum err thread_remove(struct memory *m, const struct principal *who, struct str thread)
{
	struct store *s = memory_store(m);
	enum err e;

	TRY(principal_check(who, RIGHT_WRITE));
	TRY(thread_check(thread, "thread"));
	e = s->ops->threads->remove(s, who, thread, THREAD_ALL);
	return e == E_NOT_FOUND ? not_there(thread) : e;
}

enum err thread_storage(struct memory *m, struct arena *a, const struct principal *who, struct str thread, struct ckpt_storage *out)
{
	struct store *s = memory_store(m);
	struct thread_info info;
	bool found;

	*out = (struct ckpt_storage){0};
	TRY(thread_get(m, a, who, thread, &info, &found));
	if (!found)
		return not_there(thread);
	return s->ops->checkpoints->storage(s, a, who, thread, out);
}

/* ----------------------------------------------------------------- update */

static void put_member(struct jw *w, struct arena *a, struct jval key, struct jval value)
{
	jw_key_str(w, j_str(a, key));
	jw_raw(w, j_raw(value));
}

/* old's members with those of `more` in their place or behind them. */
static enum err merged(struct arena *a, struct str old, struct jval more, struct str *out)
{
	struct jval key, value;
	struct json doc;
	struct buf b;
	struct jw w;

	TRY(json_parse(a, old.n > 0 ? old : STR("{}"), NULL, &doc));
	buf_init(&b, a, 2 * THREAD_METADATA_MAX + 16);
	jw_init(&w, &b);
	jw_obj(&w);
	for (struct j_iter it = j_iter(json_root(&doc)); j_next(&it, &key, &value);) {
		struct jval newer = j_get(more, j_str(a, key));

		put_member(&w, a, key, j_ok(newer) ? newer : value);
	}
	for (struct j_iter it = j_iter(more); j_next(&it, &key, &value);)
		if (!j_ok(j_get(json_root(&doc), j_str(a, key))))
			put_member(&w, a, key, value);
	jw_end_obj(&w);
	*out = buf_slice(&b);
	if (b.err != OK)
		return err_field(E_INVALID, "/metadata", -1, "metadata would have more than %u bytes", THREAD_METADATA_MAX);
	return OK;
}

static enum err update_once(struct memory *m, struct arena *a, const struct principal *who, struct str thread, struct jval metadata,
			    double ttl_minutes, enum thread_ttl strategy)
{
	struct thread_record r = {.thread = thread};
	struct thread_info now;
	bool found;

	TRY(thread_get(m, a, who, thread, &now, &found));
	if (!found)
		return not_there(thread);
	r.user = now.user;
	r.metadata = now.metadata;
	r.config = now.config;
	r.version = now.version;
	r.ttl_minutes = ttl_minutes < 0 ? now.ttl_minutes : ttl_minutes;
	r.ttl_strategy = ttl_minutes < 0 ? (enum thread_ttl)now.ttl_strategy : strategy;
	if (!j_null(metadata))
		TRY(merged(a, now.metadata, metadata, &r.metadata));
	return thread_put(m, who, &r, IF_VERSION);
}

enum err thread_update(struct memory *m, struct arena *a, const struct principal *who, struct str thread, struct jval metadata,
		       double ttl_minutes, enum thread_ttl strategy, struct thread_info *out)
{
	enum err e = E_CONFLICT;
	bool found;

	TRY(principal_check(who, RIGHT_WRITE));
	if (!j_null(metadata) && !j_is(metadata, JSON_OBJECT))
		return err_field(E_INVALID, "/metadata", -1, "metadata must be an object");
	for (int i = 0; i < UPDATE_TRIES && e == E_CONFLICT; i++)
		e = update_once(m, a, who, thread, metadata, ttl_minutes, strategy);
	if (e == E_CONFLICT)
		return err_set(E_BUSY, "the thread is being changed by others all the time; try again");
	TRY(e);
	TRY(thread_get(m, a, who, thread, out, &found));
	return found ? OK : not_there(thread);
}

enum thread_status thread_status(const struct thread_info *t)
{
	if (t->error)
		return THREAD_FAILED;
	return t->interrupted ? THREAD_INTERRUPTED : THREAD_IDLE;
}
