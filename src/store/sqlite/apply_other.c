/* What writes of messages, threads, values and keys do, inside the writer's transaction. */
#include "store/sqlite/sq.h"

struct thread {
	struct str name, user; /* as the caller wrote them */
	bool row;
	int64_t id, messages;
	bool same_user;
	int64_t updated_us; /* 0: nothing appended yet */
};

static enum err thread_find(struct conn *c, struct str name, struct str user, struct thread *t)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_FIND, &e);
	if (!st)
		return e;
	*t = (struct thread){.name = name, .user = user};
	bind_str(st, 1, name);
	TRY(conn_step(c, st, &t->row));
	if (!t->row)
		return OK;
	t->id = col_i64(st, 0);
	t->same_user = str_eq(col_str(st, 1), user);
	t->messages = col_i64(st, 2);
	sqlite3_reset(st);
	return OK;
}

static enum err thread_add(struct conn *c, struct str name, struct str user, struct thread *t)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_ADD, &e);
	if (!st)
		return e;
	*t = (struct thread){.name = name, .user = user, .row = true, .id = c->t->next_thread++, .same_user = true};
	sqlite3_bind_int64(st, 1, t->id);
	bind_str(st, 2, name);
	bind_str(st, 3, user);
	sqlite3_bind_int64(st, 4, clock_unique_us());
	return conn_run(c, ST_THREAD_ADD);
}

/* Writes the counter and time of a thread that got messages. */
static enum err thread_save(struct conn *c, struct thread *t)
{
	enum err e;
	if (t->updated_us == 0)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_SET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, t->id);
	sqlite3_bind_int64(st, 2, t->messages);
	sqlite3_bind_int64(st, 3, t->updated_us);
	t->updated_us = 0;
	return conn_run(c, ST_THREAD_SET);
}

static enum err message_find(struct conn *c, const struct thread *t, struct message *m, bool *row)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_MESSAGE_FIND, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, t->id);
	bind_str(st, 2, m->mid);
	TRY(conn_step(c, st, row));
	if (*row) {
		m->id = col_i64(st, 0);
		m->pos = col_i64(st, 1);
		sqlite3_reset(st);
	}
	return OK;
}

static enum err message_add(struct writer *w, struct conn *c, struct thread *t, struct message *m)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_MESSAGE_ADD, &e);
	if (!st)
		return e;
	m->id = c->t->next_message++;
	m->pos = t->messages++;
	t->updated_us = clock_unique_us();
	sqlite3_bind_int64(st, 1, m->id);
	sqlite3_bind_int64(st, 2, t->id);
	sqlite3_bind_int64(st, 3, m->pos);
	sqlite3_bind_int64(st, 4, m->time_us);
	bind_str(st, 5, m->mid);
	bind_str(st, 6, m->role);
	bind_str(st, 7, m->name);
	bind_bytes(st, 8, m->terms);
	bind_str(st, 9, m->content);
	bind_str(st, 10, m->metadata);
	TRY(conn_run(c, ST_MESSAGE_ADD));
	m->stored = true;
	if (!w->record)
		return writer_changed(w, m->id, true, m->terms.n == 0, NULL);
	struct feed_name *name = feed_name_new(0, m->user, m->thread);
	e = name ? writer_changed(w, m->id, true, m->terms.n == 0, name) : err_set(E_LIMIT, "out of memory in the store");
	feed_name_drop(name);
	return e;
}

/* One message; *refused: it names a thread of another user. Changes of t are saved when the thread changes. */
static enum err append(struct writer *w, struct conn *c, struct thread *t, struct message *m, bool *refused)
{
	bool there = false;
	*refused = false;
	m->stored = false;
	if (!t->row || !str_eq(t->name, m->thread)) {
		if (t->row)
			TRY(thread_save(c, t));
		TRY(thread_find(c, m->thread, m->user, t));
	} else {
		t->same_user = str_eq(t->user, m->user);
	}
	if (t->row && !t->same_user) {
		*refused = true;
		return OK;
	}
	if (!t->row)
		TRY(thread_add(c, m->thread, m->user, t));
	else
		TRY(message_find(c, t, m, &there));
	return there ? OK : message_add(w, c, t, m);
}

enum err apply_messages(struct writer *w, struct conn *c, struct wop *op)
{
	struct messages_arg *a = op->arg;
	struct thread t = {0};
	size_t mark = w->pend_n;
	bool save = a->n > 1, refused = false;
	enum err e = OK;
	if (save)
		TRY(conn_run(c, ST_SAVEPOINT));
	for (size_t i = 0; i < a->n && e == OK && !refused; i++)
		e = append(w, c, &t, &a->m[i], &refused);
	if (e == OK && !refused && t.row)
		e = thread_save(c, &t);
	if (e != OK) {
		c->failed = true;
		return e;
	}
	if (!refused)
		return save ? conn_run(c, ST_SAVEPOINT_END) : OK;
	if (save) {
		TRY(conn_run(c, ST_SAVEPOINT_UNDO));
		TRY(conn_run(c, ST_SAVEPOINT_END));
		writer_undo(w, c->t, mark);
	}
	for (size_t i = 0; i < a->n; i++)
		a->m[i].stored = false;
	return err_set(E_CONFLICT, "the thread belongs to another user; nothing was stored");
}

/* Tells the feed that each message of the thread is gone. Beyond what the feed can hold only their number matters. */
static enum err tell_removed(struct writer *w, struct conn *c, int64_t thread_id, struct feed_name *name)
{
	enum err e = OK;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_MESSAGE_IDS, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread_id);
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		e = writer_changed(w, col_i64(st, 0), true, true, name);
		if (e != OK) {
			sqlite3_reset(st);
			return e;
		}
	}
}

enum err apply_messages_removed(struct writer *w, struct conn *c, int64_t thread_id, struct str user, struct str thread, int64_t *n)
{
	struct feed_name *name = feed_name_new(0, user, thread);
	enum err e = name ? tell_removed(w, c, thread_id, name) : err_set(E_LIMIT, "out of memory in the store");
	feed_name_drop(name);
	TRY(e);
	TRY(vectors_removed_thread(c, thread_id));
	sqlite3_stmt *st = conn_stmt(c, ST_MESSAGE_DEL_THREAD, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread_id);
	TRY(conn_run(c, ST_MESSAGE_DEL_THREAD));
	*n = sqlite3_changes64(c->db);
	return OK;
}

enum err apply_value(struct writer *w, struct conn *c, struct wop *op)
{
	struct value_arg *a = op->arg;
	enum stmt which = a->value.n ? ST_VALUE_SET : ST_VALUE_DEL;
	enum err e;
	(void)w;
	sqlite3_stmt *st = conn_stmt(c, which, &e);
	if (!st)
		return e;
	bind_str(st, 1, a->name);
	if (a->value.n)
		bind_bytes(st, 2, a->value);
	return conn_run(c, which);
}

enum err apply_key(struct writer *w, struct conn *c, struct wop *op)
{
	const struct key_record *k = op->arg;
	enum err e;
	(void)w;
	sqlite3_stmt *st = conn_stmt(c, ST_KEY_SET, &e);
	if (!st)
		return e;
	bind_str(st, 1, k->id);
	bind_bytes(st, 2, str_of((const char *)k->hash, sizeof k->hash));
	bind_str(st, 3, k->name);
	bind_str(st, 4, k->tenant);
	bind_str(st, 5, k->user);
	sqlite3_bind_int64(st, 6, k->rights);
	sqlite3_bind_int64(st, 7, k->created_us);
	sqlite3_bind_int64(st, 8, k->expires_us);
	sqlite3_bind_int64(st, 9, k->revoked_us);
	sqlite3_bind_int64(st, 10, k->used_us);
	return conn_run(c, ST_KEY_SET);
}
