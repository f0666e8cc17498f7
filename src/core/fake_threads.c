/* The in-memory store's threads: their register, records and messages. */
#include "core/fake_impl.h"

#include <stdlib.h>

#include "core/principal.h"

/* ---------------------------------------------------------------- the register */

static struct fake_thread *find(const struct fake_tenant *t, struct str thread, size_t *at)
{
	size_t lo = 0, hi = t->threads.n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		struct fake_thread *th = (struct fake_thread *)t->threads.p[mid];
		int c = str_cmp(th->info.thread, thread);

		if (c == 0) {
			*at = mid;
			return th;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*at = lo;
	return NULL;
}

struct fake_thread *fake_thread_find(const struct fake_tenant *t, const struct principal *who, struct str thread)
{
	size_t at;
	struct fake_thread *th = find(t, thread, &at);

	return th && principal_sees(who, th->info.user) ? th : NULL;
}

struct fake_thread *fake_thread_touch(struct fake *f, struct fake_tenant *t, const struct principal *who, struct str user,
				      struct str thread, enum err *e)
{
	size_t at;
	struct fake_thread *th = find(t, thread, &at);

	if (th && !principal_sees(who, th->info.user)) {
		*e = err_set(E_CONFLICT, "thread \"%.*s\" belongs to another user", STR_ARG(thread));
		return NULL;
	}
	if (!th) {
		th = calloc(1, sizeof *th);
		if (!th)
			abort();
		th->info = (struct thread_info){.thread = arena_str(&f->arena, thread),
						.user = arena_str(&f->arena, user),
						.created_us = fake_tick(f),
						.metadata = STR(""),
						.config = STR("")};
		map_init(&th->values);
		map_init(&th->refs);
		map_init(&th->writes);
		fake_add(&t->threads, th);
		memmove(&t->threads.p[at + 1], &t->threads.p[at], (t->threads.n - 1 - at) * sizeof *t->threads.p);
		t->threads.p[at] = th;
	}
	th->info.updated_us = fake_tick(f);
	return th;
}

static void free_thread(struct fake_thread *th)
{
	fake_checkpoints_drop(th);
	map_release(&th->values);
	map_release(&th->refs);
	map_release(&th->writes);
	free(th->checkpoints.p);
	free(th->entries.p);
	free(th);
}

void fake_threads_free(struct fake_tenant *t)
{
	for (size_t i = 0; i < t->threads.n; i++)
		free_thread((struct fake_thread *)t->threads.p[i]);
	free(t->threads.p);
}

void fake_thread_settle(struct fake_tenant *t, struct fake_thread *th)
{
	size_t at;

	if (th->put || th->info.messages || th->checkpoints.n || th->writes.count || th->entries.n)
		return;
	if (find(t, th->info.thread, &at) == th) {
		fake_del(&t->threads, at);
		free_thread(th);
	}
}

static void show(const struct fake_thread *th, struct thread_info *out)
{
	*out = th->info;
	out->checkpoints = (int64_t)th->checkpoints.n;
	out->entries = (int64_t)th->entries.n;
	fake_checkpoints_show(th, out);
}

static enum err no_thread(struct str thread)
{
	return err_set(E_NOT_FOUND, "there is no thread \"%.*s\"", STR_ARG(thread));
}

enum err fake_thread_list(struct store *s, const struct principal *who, const struct str *user, struct str after, size_t limit,
			  thread_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	size_t given = 0, at;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	for (at = find(t, after, &at) ? at + 1 : at; at < t->threads.n && given < limit; at++) {
		const struct fake_thread *th = t->threads.p[at];
		struct thread_info info;

		if (!principal_sees(who, th->info.user) || (user && user->p && !str_eq(*user, th->info.user)))
			continue;
		given++;
		show(th, &info);
		if (!fn(ctx, &info))
			break;
	}
	return fake_leave(f, OK);
}

static enum err thread_get(struct store *s, struct arena *a, const struct principal *who, struct str thread,
			   struct thread_info *out, bool *found)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	const struct fake_thread *th;

	*found = false;
	if (!t)
		return e;
	th = fake_thread_find(t, who, thread);
	if (th) {
		*found = true;
		show(th, out);
		out->thread = arena_str(a, out->thread);
		out->user = arena_str(a, out->user);
		out->metadata = arena_str(a, out->metadata);
		out->config = arena_str(a, out->config);
	}
	return fake_leave(f, OK);
}

static enum err thread_put(struct store *s, const struct principal *who, struct thread_record *r, enum write_if cond)
{
	struct fake *f = fake_of(s);
	enum err e;
	size_t at;
	struct fake_tenant *t = fake_enter(f, who, &e);
	struct fake_thread *th;

	if (!t)
		return e;
	th = find(t, r->thread, &at);
	if (cond == IF_ABSENT && th)
		return fake_leave(f, err_set(E_CONFLICT, "thread \"%.*s\" exists", STR_ARG(r->thread)));
	if (cond == IF_VERSION && (th ? th->info.version : 0) != r->version)
		return fake_leave(f, err_set(E_CONFLICT, "thread \"%.*s\" is not at version %lld", STR_ARG(r->thread),
					     (long long)r->version));
	th = fake_thread_touch(f, t, who, r->user.n ? r->user : who->user, r->thread, &e);
	if (!th)
		return fake_leave(f, e);
	th->put = true;
	th->info.metadata = arena_str(&f->arena, r->metadata);
	th->info.config = arena_str(&f->arena, r->config);
	th->info.ttl_minutes = r->ttl_minutes;
	th->info.ttl_strategy = r->ttl_strategy;
	r->version = ++th->info.version;
	return fake_leave(f, OK);
}

static void drop_messages(struct fake *f, struct fake_tenant *t, struct str thread)
{
	for (size_t i = 0; i < t->messages.n;) {
		const struct message *m = t->messages.p[i];

		if (!str_eq(m->thread, thread)) {
			i++;
			continue;
		}
		fake_log(f, t, DOC_MESSAGE, m->id, m->user, m->thread);
		fake_del(&t->messages, i);
	}
}

static enum err thread_remove(struct store *s, const struct principal *who, struct str thread, unsigned parts)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	struct fake_thread *th;
	bool any;

	if (!t)
		return e;
	th = fake_thread_find(t, who, thread);
	any = th &&
	      (((parts & THREAD_MESSAGES) && th->info.messages) || ((parts & THREAD_ENTRIES) && th->entries.n) ||
	       ((parts & THREAD_CHECKPOINTS) && (th->checkpoints.n || th->writes.count)) || ((parts & THREAD_RECORD) && th->put));
	if (!any)
		return fake_leave(f, no_thread(thread));
	if (parts & THREAD_MESSAGES) {
		drop_messages(f, t, thread);
		th->info.messages = 0;
	}
	if (parts & THREAD_CHECKPOINTS)
		fake_checkpoints_drop(th);
	if (parts & THREAD_ENTRIES)
		fake_entries_drop(t, th), fake_value_drop(t, thread);
	if (parts & THREAD_RECORD)
		th->put = false;
	fake_thread_settle(t, th);
	return fake_leave(f, OK);
}

/* -------------------------------------------------------------- messages */

static bool message_exists(const struct fake_tenant *t, const struct message *m)
{
	for (size_t i = 0; i < t->messages.n; i++) {
		const struct message *x = t->messages.p[i];

		if (str_eq(x->thread, m->thread) && str_eq(x->mid, m->mid))
			return true;
	}
	return false;
}

static void message_add(struct fake *f, struct fake_tenant *t, struct fake_thread *th, struct message *m)
{
	struct message *c = ARENA_NEW(&f->arena, struct message);

	m->id = ++t->last_id;
	m->pos = th->info.messages++;
	m->stored = true;
	*c = *m;
	c->thread = arena_str(&f->arena, m->thread);
	c->mid = arena_str(&f->arena, m->mid);
	c->user = arena_str(&f->arena, m->user);
	c->role = arena_str(&f->arena, m->role);
	c->name = arena_str(&f->arena, m->name);
	c->content = arena_str(&f->arena, m->content);
	c->metadata = arena_str(&f->arena, m->metadata);
	c->terms = arena_str(&f->arena, m->terms);
	fake_add(&t->messages, c);
	fake_log(f, t, DOC_MESSAGE, c->id, c->user, c->thread);
}

/* Whose thread it is, or will be after the messages before i. */
static struct str owner_of(const struct fake_tenant *t, const struct message *m, size_t i)
{
	size_t at;
	const struct fake_thread *th = find(t, m[i].thread, &at);

	for (size_t j = 0; !th && j < i; j++)
		if (str_eq(m[j].thread, m[i].thread))
			return m[j].user;
	return th ? th->info.user : m[i].user;
}

enum err fake_message_append(struct store *s, const struct principal *who, struct message *m, size_t n)
{
	struct fake *f = fake_of(s);
	enum err e;
	size_t at;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	f->write_calls++;
	for (size_t i = 0; i < n; i++)
		if (!str_eq(owner_of(t, m, i), m[i].user))
			return fake_leave(f, err_set(E_CONFLICT, "thread \"%.*s\" belongs to another user", STR_ARG(m[i].thread)));
	for (size_t i = 0; i < n; i++) {
		struct fake_thread *th = find(t, m[i].thread, &at);

		m[i].stored = false;
		f->writes++;
		if (message_exists(t, &m[i]))
			continue;
		if (!th)
			th = fake_thread_touch(f, t, who, m[i].user, m[i].thread, &e);
		th->info.updated_us = fake_tick(f);
		message_add(f, t, th, &m[i]);
	}
	return fake_leave(f, OK);
}

enum err fake_message_list(struct store *s, const struct principal *who, struct str thread, int64_t from, size_t limit,
			   message_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	size_t given = 0;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	if (!fake_thread_find(t, who, thread))
		return fake_leave(f, no_thread(thread));
	for (size_t i = 0; i < t->messages.n && given < limit; i++) {
		const struct message *m = t->messages.p[i];

		if (!str_eq(m->thread, thread) || m->pos < from)
			continue;
		given++;
		if (!fn(ctx, m))
			break;
	}
	return fake_leave(f, OK);
}

static enum err copy_message(struct arena *a, const struct message *in, struct message *out)
{
	*out = *in;
	out->thread = arena_str(a, in->thread);
	out->mid = arena_str(a, in->mid);
	out->user = arena_str(a, in->user);
	out->role = arena_str(a, in->role);
	out->name = arena_str(a, in->name);
	out->content = arena_str(a, in->content);
	out->metadata = arena_str(a, in->metadata);
	out->terms = arena_str(a, in->terms);
	return out->terms.p && out->content.p && out->metadata.p ? OK : E_NOMEM;
}

enum err fake_message_by_id(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
			    struct message *out)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	for (size_t i = 0; i < n && e == OK; i++) {
		out[i] = (struct message){0};
		for (size_t j = 0; j < t->messages.n && e == OK; j++)
			if (((const struct message *)t->messages.p[j])->id == ids[i])
				e = copy_message(a, t->messages.p[j], &out[i]);
	}
	return fake_leave(f, e);
}

const struct thread_ops fake_thread_ops = {
	.get = thread_get,
	.put = thread_put,
	.remove = thread_remove,
	.append = fake_append,
	.entries = fake_entries,
	.entry = fake_entry,
	.pop = fake_pop,
	.entry_delete = fake_entry_delete,
	.clear = fake_clear,
};
