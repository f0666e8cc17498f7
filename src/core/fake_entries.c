/* The in-memory store's session entries. */
#include "core/fake_impl.h"

#include <stdio.h>

#include "base/clock.h"
#include "core/principal.h"

#define ONCE_US (600ll * 1000000)

static enum err no_session(struct str thread)
{
	return err_set(E_NOT_FOUND, "there is no session \"%.*s\"", STR_ARG(thread));
}

static bool is_session(const struct fake_thread *th)
{
	return th && (th->put || th->entries.n);
}

static bool repeats(const struct fake_thread *th, struct entry_append *e)
{
	if (!e->look || e->once.n != sizeof th->once || (e->n && th->once_n != e->n) ||
	    memcmp(th->once, e->once.p, e->once.n) != 0 || clock_wall_us() - th->once_us > ONCE_US)
		return false;
	for (size_t i = 0; i < e->n; i++)
		e->v[i].id = th->once_ids[i];
	e->repeated = true;
	return true;
}

static void add(struct fake *f, struct fake_tenant *t, struct fake_thread *th, struct entry_append *e)
{
	int64_t *ids = ARENA_ARRAY(&f->arena, int64_t, e->n);

	for (size_t i = 0; i < e->n; i++) {
		struct session_entry *x = ARENA_NEW(&f->arena, struct session_entry);

		ids[i] = e->v[i].id = ++t->last_id;
		e->v[i].created_us = fake_tick(f);
		*x = e->v[i];
		x->data = arena_str(&f->arena, x->data);
		fake_add(&th->entries, x);
	}
	if (e->same_call && !e->once.n)
		return;
	th->once_n = e->n;
	th->once_ids = ids;
	th->once_us = clock_wall_us();
	memset(th->once, 0, sizeof th->once);
	if (e->once.n == sizeof th->once)
		memcpy(th->once, e->once.p, sizeof th->once);
}

static ptrdiff_t at_id(const struct fake_thread *th, int64_t id)
{
	for (size_t i = 0; th && i < th->entries.n; i++)
		if (((const struct session_entry *)th->entries.p[i])->id == id)
			return (ptrdiff_t)i;
	return -1;
}

static int64_t newest(const struct fake_thread *th)
{
	return th && th->entries.n ? ((const struct session_entry *)th->entries.p[th->entries.n - 1])->id : 0;
}

void fake_entry_drop(struct fake_tenant *t, struct fake_thread *th, size_t i)
{
	char name[48];

	snprintf(name, sizeof name, META_OF_ENTRY "%lld", (long long)((const struct session_entry *)th->entries.p[i])->id);
	fake_value_drop_named(t, str_c(name));
	fake_del(&th->entries, i);
}

void fake_entries_drop(struct fake_tenant *t, struct fake_thread *th)
{
	while (th->entries.n)
		fake_entry_drop(t, th, th->entries.n - 1);
}

static enum err append(struct fake *f, struct fake_tenant *t, const struct principal *who, struct entry_append *e)
{
	struct fake_thread *th = fake_thread_find(t, who, e->thread);
	enum err err = OK;

	e->repeated = false;
	if (th && repeats(th, e))
		return OK;
	if (e->must_exist && !is_session(th))
		return no_session(e->thread);
	if (!e->n)
		return OK;
	if (e->wants_empty && th && th->entries.n)
		return err_set(E_CONFLICT, "session \"%.*s\" has entries", STR_ARG(e->thread));
	if (e->behind && newest(th) != e->behind)
		return err_set(E_CONFLICT, "session \"%.*s\" has gone on", STR_ARG(e->thread));
	th = fake_thread_touch(f, t, who, who->user, e->thread, &err);
	if (!th)
		return err;
	if (e->instead && at_id(th, e->instead) >= 0)
		fake_entry_drop(t, th, (size_t)at_id(th, e->instead));
	add(f, t, th, e);
	return OK;
}

enum err fake_append(struct store *s, const struct principal *who, struct entry_append *e)
{
	struct fake *f = fake_of(s);
	enum err err;
	struct fake_tenant *t = fake_enter(f, who, &err);

	return t ? fake_leave(f, append(f, t, who, e)) : err;
}

enum err fake_entries(struct store *s, const struct principal *who, const struct entry_list *q, entry_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	size_t given = 0, from = 0;
	struct fake_tenant *t = fake_enter(f, who, &e);
	const struct fake_thread *th;

	if (!t)
		return e;
	th = fake_thread_find(t, who, q->thread);
	if (!is_session(th))
		return fake_leave(f, no_session(q->thread));
	for (size_t i = 0; q->after && i < th->entries.n; i++) {
		size_t at = q->newest_first ? th->entries.n - 1 - i : i;

		if (((const struct session_entry *)th->entries.p[at])->id == q->after)
			from = i + 1;
	}
	if (q->after && from == 0)
		return fake_leave(f, err_set(E_NOT_FOUND, "there is no such entry"));
	for (size_t i = from; i < th->entries.n && given < q->limit; i++, given++)
		if (!fn(ctx, th->entries.p[q->newest_first ? th->entries.n - 1 - i : i]))
			break;
	return fake_leave(f, OK);
}

enum err fake_entry(struct store *s, struct arena *a, const struct principal *who, struct str thread, int64_t id,
		    struct session_entry *out, bool *found)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	const struct fake_thread *th;
	ptrdiff_t at;

	*found = false;
	if (!t)
		return e;
	th = fake_thread_find(t, who, thread);
	at = at_id(th, id);
	if (at >= 0) {
		*found = true;
		*out = *(const struct session_entry *)th->entries.p[at];
		out->data = arena_str(a, out->data);
	}
	return fake_leave(f, OK);
}

enum err fake_pop(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct session_entry *out,
		  bool *found)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	struct fake_thread *th;

	*found = false;
	if (!t)
		return e;
	th = fake_thread_find(t, who, thread);
	for (size_t i = th ? th->entries.n : 0; i-- > 0 && !*found;) {
		const struct session_entry *x = th->entries.p[i];

		if (x->unreadable)
			continue;
		*found = true;
		*out = *x;
		out->data = arena_str(a, out->data);
		fake_entry_drop(t, th, i);
		th->info.updated_us = fake_tick(f);
	}
	return fake_leave(f, OK);
}

enum err fake_entry_delete(struct store *s, const struct principal *who, struct str thread, int64_t id)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	struct fake_thread *th;
	ptrdiff_t at;

	if (!t)
		return e;
	th = fake_thread_find(t, who, thread);
	at = at_id(th, id);
	if (at < 0)
		return fake_leave(f, err_set(E_NOT_FOUND, "there is no such entry"));
	fake_entry_drop(t, th, (size_t)at);
	th->info.updated_us = fake_tick(f);
	return fake_leave(f, OK);
}

enum err fake_clear(struct store *s, const struct principal *who, struct str thread, struct entry_append *with)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	struct fake_thread *th;

	if (!t)
		return e;
	th = fake_thread_find(t, who, thread);
	if (th) {
		fake_entries_drop(t, th);
		fake_value_drop(t, thread);
	}
	if (with)
		return fake_leave(f, append(f, t, who, with));
	if (th)
		fake_thread_settle(t, th);
	return fake_leave(f, OK);
}
