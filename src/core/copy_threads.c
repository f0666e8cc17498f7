/* The threads of a tenant, in the order of their names: the record, the checkpoints with their values and pending writes, the
 * entries of the session. Messages have their own stage (copy_messages.c).
 *
 * The place is the last thread that was dealt with wholly; a thread is repeated from its start. That costs reading only: a
 * checkpoint that the target has in the same form is not written again, and of a session the target's entries must be the beginning
 * of the source's, so that only the rest is appended. */
#include <stdlib.h>

#include "base/hash.h"
#include "core/checkpoint_impl.h"
#include "core/copy_impl.h"

enum { CKPT_PAGE = 100 };
#define SUM_ROOM ((size_t)1 << 30)

/* ---------------------------------------------------------------- sums */

static void part(struct buf *b, struct str s)
{
	buf_varint(b, s.n);
	buf_str(b, s);
}

static enum err json_part(struct arena *a, struct buf *b, struct str text)
{
	struct json doc;
	size_t before = b->n;

	if (text.n == 0)
		text = STR("{}");
	TRY(json_parse(a, text, &ckpt_json_limits, &doc));
	TRY(json_canonical(a, json_root(&doc), b));
	buf_varint(b, b->n - before);
	return b->err;
}

/* Of values the bytes' own sum, so that no second copy of a large one is made. */
static enum err checkpoint_sum(struct arena *a, const struct ckpt *c, uint64_t *sum)
{
	struct buf b;

	buf_init(&b, a, SUM_ROOM);
	part(&b, c->ns);
	part(&b, c->id);
	part(&b, c->parent);
	TRY(json_part(a, &b, c->checkpoint));
	TRY(json_part(a, &b, c->metadata));
	for (size_t i = 0; i < c->values_n; i++) {
		part(&b, c->values[i].channel);
		part(&b, c->values[i].version);
		part(&b, c->values[i].type);
		buf_varint(&b, hash64(c->values[i].bytes));
	}
	for (size_t i = 0; i < c->writes_n; i++) {
		part(&b, c->writes[i].task_path);
		part(&b, c->writes[i].task_id);
		part(&b, c->writes[i].channel);
		part(&b, c->writes[i].type);
		buf_i64(&b, c->writes[i].idx);
		buf_varint(&b, hash64(c->writes[i].bytes));
	}
	*sum = hash64(buf_slice(&b));
	return b.err;
}

static enum err record_sum(struct arena *a, const struct thread_info *t, uint64_t *sum)
{
	struct buf b;

	buf_init(&b, a, SUM_ROOM);
	part(&b, t->thread);
	part(&b, t->user);
	TRY(json_part(a, &b, t->metadata));
	TRY(json_part(a, &b, t->config));
	buf_printf(&b, "%.3f %d", t->ttl_minutes, t->ttl_strategy);
	*sum = hash64(buf_slice(&b));
	return b.err;
}

static enum err entry_sum(struct arena *a, struct str data, uint64_t *sum)
{
	struct buf b;

	buf_init(&b, a, SUM_ROOM);
	TRY(json_part(a, &b, data));
	*sum = hash64(buf_slice(&b));
	return b.err;
}

/* ---------------------------------------------------------------- one thread */

struct thread {
	struct copy *c;
	struct principal who; /* as the thread's user, so that the target's is the same one's */
	struct thread_info info;
	bool comparing, changed;
	/* The page of checkpoints in c->page. */
	struct ckpt *v;
	size_t n, cap, bytes;
	/* Entries. */
	uint64_t *sums; /* of the target's, in order */
	size_t sums_n, sums_cap, at;
	struct session_entry *e;
	size_t e_n, e_bytes;
	int64_t after;
	enum err err;
};

static enum err copy_record(struct thread *t)
{
	const struct thread_info *i = &t->info;
	struct copy *c = t->c;
	struct thread_info have;
	struct thread_record r = {.thread = i->thread,
				  .user = i->user,
				  .metadata = i->metadata,
				  .config = i->config,
				  .ttl_minutes = i->ttl_minutes,
				  .ttl_strategy = (enum thread_ttl)i->ttl_strategy};
	uint64_t mine, theirs;
	bool found = false;
	enum err e;

	if (i->version == 0)
		return OK;
	c->r->threads++;
	if (c->opt->dry_run)
		return OK;
	TRY(c->to->ops->threads->get(c->to, &c->work, &t->who, i->thread, &have, &found));
	if (found && have.version > 0) {
		TRY(record_sum(&c->work, i, &mine));
		TRY(record_sum(&c->work, &have, &theirs));
		if (mine == theirs || have.updated_us > i->updated_us)
			return OK;
	}
	e = c->to->ops->threads->put(c->to, &t->who, &r, IF_ANY);
	return copy_is_local(e) || e == E_CONFLICT ? copy_fail(c, COPY_THREAD, i->thread, STR("")) : e;
}

/* ---------------------------------------------------------------- checkpoints */

static bool on_checkpoint(void *ctx, const struct ckpt *in)
{
	struct thread *t = ctx;
	struct arena *a = &t->c->page;

	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 16;

		t->v = arena_grow(a, t->v, t->cap * sizeof *t->v, cap * sizeof *t->v);
		t->cap = cap;
	}
	t->err = t->v ? ckpt_dup(a, in, &t->v[t->n]) : E_NOMEM;
	t->n += t->err == OK;
	t->bytes += ckpt_weight(in);
	return t->err == OK && t->bytes < COPY_PAGE_BYTES;
}

/* A put, then its writes, a change for each task. */
static enum err write_one(struct thread *t, const struct ckpt *k)
{
	struct copy *c = t->c;
	struct ckpt_change *ch = ARENA_ARRAY(&c->work, struct ckpt_change, 1 + k->writes_n);
	size_t n = 1;
	enum err e;

	if (!ch)
		return E_NOMEM;
	ch[0] = (struct ckpt_change){.op = CK_PUT,
				     .thread = k->thread,
				     .ns = k->ns,
				     .id = k->id,
				     .parent = k->parent,
				     .checkpoint = k->checkpoint,
				     .metadata = k->metadata,
				     .values = k->values,
				     .values_n = k->values_n};
	for (size_t i = 0, end; i < k->writes_n; i = end) {
		for (end = i + 1; end < k->writes_n && str_eq(k->writes[end].task_id, k->writes[i].task_id) &&
				  str_eq(k->writes[end].task_path, k->writes[i].task_path);)
			end++;
		ch[n++] = (struct ckpt_change){.op = CK_WRITES,
					       .thread = k->thread,
					       .ns = k->ns,
					       .id = k->id,
					       .writes = &k->writes[i],
					       .writes_n = end - i,
					       .replace = true};
	}
	e = c->to->ops->checkpoints->write(c->to, &t->who, ch, n);
	if (copy_is_local(e) || e == E_CONFLICT)
		return copy_fail(c, COPY_CHECKPOINT, k->thread, k->id);
	TRY(e);
	c->r->checkpoints_copied++;
	return OK;
}

/* What the target has under this name; *there = false: nothing. */
static enum err target_sum(struct thread *t, const struct ckpt *k, bool *there, uint64_t *sum)
{
	struct copy *c = t->c;
	const struct ckpt_query q = {.thread = k->thread, .ns = k->ns, .id = k->id, .want = CK_VALUES | CK_WRITES_TOO};
	struct ckpt have;

	TRY(c->to->ops->checkpoints->get(c->to, &c->work, &t->who, &q, &have, there));
	return *there ? checkpoint_sum(&c->work, &have, sum) : OK;
}

static enum err compare_one(struct thread *t, const struct ckpt *k, bool there, uint64_t mine, uint64_t theirs)
{
	struct copy *c = t->c;

	if (there && mine == theirs) {
		copy_both(c, mine, theirs);
	} else if (copy_has_failed(c, COPY_CHECKPOINT, k->thread, k->id)) {
		return OK;
	} else if (t->changed) {
		c->r->changed++;
	} else if (there) {
		copy_both(c, mine, theirs);
		copy_differs(c, COPY_CHECKPOINT, k->thread, k->id, "is another one in the target");
	} else {
		c->r->from_count++;
		c->r->from_sum += mine;
		copy_differs(c, COPY_CHECKPOINT, k->thread, k->id, "is not in the target");
	}
	return OK;
}

static enum err one_checkpoint(struct thread *t, const struct ckpt *k)
{
	struct copy *c = t->c;
	uint64_t mine = 0, theirs = 0;
	bool there = false;

	arena_clear(&c->work);
	if (!t->comparing) {
		c->r->checkpoints++;
		c->done++;
		if (c->opt->dry_run) {
			c->r->checkpoints_copied++;
			return OK;
		}
	}
	TRY(target_sum(t, k, &there, &theirs));
	TRY(checkpoint_sum(&c->work, k, &mine));
	if (t->comparing)
		return compare_one(t, k, there, mine, theirs);
	return there && mine == theirs ? OK : write_one(t, k);
}

static enum err checkpoints(struct thread *t)
{
	struct copy *c = t->c;
	struct ckpt_list q = {.thread = &t->info.thread, .limit = CKPT_PAGE, .want = CK_VALUES | CK_WRITES_TOO};
	char id[CKPT_ID_MAX], ns[CKPT_NS_MAX];
	size_t n;

	if (c->opt->dry_run)
		q.want = 0;
	do {
		arena_clear(&c->page);
		t->v = NULL;
		t->n = t->cap = t->bytes = 0;
		TRY(c->from->ops->checkpoints->list(c->from, &c->who, &q, on_checkpoint, t));
		TRY(t->err);
		for (size_t i = 0; i < t->n; i++)
			TRY(one_checkpoint(t, &t->v[i]));
		n = t->n;
		if (n > 0) {
			const struct ckpt *last = &t->v[n - 1];

			if (last->id.n > sizeof id || last->ns.n > sizeof ns)
				return err_set(E_LIMIT, "a checkpoint's name is longer than can be");
			memcpy(id, last->id.p, last->id.n);
			memcpy(ns, last->ns.p, last->ns.n);
			q.after.id = str_of(id, last->id.n);
			q.after.ns = str_of(ns, last->ns.n);
			q.after.thread = t->info.thread;
		}
		TRY(copy_pause(c, false));
	} while (n > 0);
	return OK;
}

/* ---------------------------------------------------------------- entries */

static bool on_there(void *ctx, const struct session_entry *e)
{
	struct thread *t = ctx;

	if (t->sums_n == t->sums_cap) {
		size_t cap = t->sums_cap ? t->sums_cap * 2 : 256;
		uint64_t *v = realloc(t->sums, cap * sizeof *v);

		if (!v) {
			t->err = err_set(E_LIMIT, "out of memory");
			return false;
		}
		t->sums = v;
		t->sums_cap = cap;
	}
	arena_clear(&t->c->work);
	if (!e->unreadable)
		t->err = entry_sum(&t->c->work, e->data, &t->sums[t->sums_n++]);
	return t->err == OK;
}

static bool on_entry(void *ctx, const struct session_entry *e)
{
	struct thread *t = ctx;

	t->e[t->e_n] = *e;
	t->e[t->e_n].data = arena_str(&t->c->page, e->data);
	if (!t->e[t->e_n].data.p)
		t->err = E_NOMEM;
	t->e_n++;
	t->e_bytes += e->data.n;
	t->after = e->id;
	return t->err == OK && t->e_bytes < COPY_PAGE_BYTES;
}

static enum err compare_entry(struct thread *t, uint64_t mine)
{
	struct copy *c = t->c;

	if (t->at < t->sums_n) {
		copy_both(c, mine, t->sums[t->at]);
		if (mine != t->sums[t->at++])
			copy_differs(c, COPY_ENTRY, t->info.thread, STR(""), "is another one in the target");
	} else if (t->changed) {
		c->r->changed++;
	} else {
		c->r->from_count++;
		c->r->from_sum += mine;
		copy_differs(c, COPY_ENTRY, t->info.thread, STR(""), "is not in the target");
	}
	return OK;
}

static enum err append(struct thread *t, struct session_entry *v, size_t n, bool *stop)
{
	struct copy *c = t->c;
	struct entry_append a = {.thread = t->info.thread, .v = v, .n = n};
	enum err e = OK;

	if (n > 0 && !c->opt->dry_run)
		e = c->to->ops->threads->append(c->to, &t->who, &a);
	if (copy_is_local(e) || e == E_CONFLICT) {
		*stop = true; /* what follows would stand in a wrong place */
		return copy_fail(c, COPY_ENTRY, t->info.thread, STR(""));
	}
	TRY(e);
	c->r->entries_copied += (int64_t)n;
	return OK;
}

/* What is behind the target's; *stop: its session is another one. */
static enum err entries_page(struct thread *t, bool *stop)
{
	struct copy *c = t->c;
	size_t rest = 0;

	for (size_t i = 0; i < t->e_n; i++) {
		uint64_t mine;

		if (t->e[i].unreadable) {
			if (t->comparing)
				continue;
			(void)err_set(E_INVALID, "an entry of another program is no JSON object and is not copied");
			TRY(copy_fail(c, COPY_ENTRY, t->info.thread, arena_printf(&c->page, "%lld", (long long)t->e[i].id)));
			continue;
		}
		c->r->entries += !t->comparing;
		c->done += !t->comparing;
		arena_clear(&c->work);
		TRY(entry_sum(&c->work, t->e[i].data, &mine));
		if (t->comparing) {
			TRY(compare_entry(t, mine));
		} else if (t->at >= t->sums_n) {
			t->e[rest++] = t->e[i];
		} else if (t->sums[t->at++] != mine) {
			(void)err_set(E_CONFLICT, "the target's session has other entries; nothing is added to it");
			*stop = true;
			return copy_fail(c, COPY_ENTRY, t->info.thread, STR(""));
		}
	}
	return append(t, t->e, rest, stop);
}

static enum err entries(struct thread *t)
{
	struct copy *c = t->c;
	struct entry_list all = {.thread = t->info.thread, .limit = SIZE_MAX};
	bool stop = t->comparing && copy_has_failed(c, COPY_ENTRY, t->info.thread, STR(""));
	enum err e = OK;

	if (t->info.entries == 0)
		return OK;
	if (c->to)
		e = c->to->ops->threads->entries(c->to, &t->who, &all, on_there, t);
	TRY(e == E_NOT_FOUND ? OK : e);
	TRY(t->err);
	t->e = calloc(COPY_PAGE, sizeof *t->e);
	if (!t->e)
		return err_set(E_LIMIT, "out of memory");
	while (!stop) {
		struct entry_list q = {.thread = t->info.thread, .after = t->after, .limit = COPY_PAGE};

		arena_clear(&c->page);
		t->e_n = t->e_bytes = 0;
		e = c->from->ops->threads->entries(c->from, &c->who, &q, on_entry, t);
		if (e == E_NOT_FOUND) /* deleted meanwhile */
			return OK;
		TRY(e);
		TRY(t->err);
		if (t->e_n == 0)
			return OK;
		TRY(entries_page(t, &stop));
		TRY(copy_pause(c, false));
	}
	return OK;
}

/* ---------------------------------------------------------------- all of them */

static enum err compare_record(struct thread *t)
{
	struct copy *c = t->c;
	struct thread_info have;
	uint64_t mine, theirs = 0;
	bool found;

	if (t->info.version == 0)
		return OK;
	TRY(c->to->ops->threads->get(c->to, &c->work, &t->who, t->info.thread, &have, &found));
	TRY(record_sum(&c->work, &t->info, &mine));
	if (found && have.version > 0)
		TRY(record_sum(&c->work, &have, &theirs));
	if (theirs == mine) {
		copy_both(c, mine, theirs);
	} else if (copy_has_failed(c, COPY_THREAD, t->info.thread, STR(""))) {
		return OK;
	} else if (t->changed) {
		c->r->changed++;
	} else if (theirs && have.updated_us > t->info.updated_us) {
		c->r->newer++;
	} else {
		copy_both(c, mine, theirs);
		copy_differs(c, COPY_THREAD, t->info.thread, STR(""),
			     theirs ? "has another record in the target" : "has no record in the target");
	}
	return OK;
}

static enum err one_thread(struct copy *c, struct str name, bool comparing, bool changed)
{
	struct thread t = {.c = c, .who = c->who, .comparing = comparing, .changed = changed};
	struct arena a;
	bool found;
	enum err e;

	arena_init(&a, (size_t)64 << 20);
	arena_clear(&c->page);
	arena_clear(&c->work);
	CHECK(c->from->ops->threads->get(c->from, &a, &c->who, name, &t.info, &found));
	if (!found)
		goto out;
	t.who.user = t.info.user;
	CHECK(comparing ? compare_record(&t) : copy_record(&t));
	if (t.info.checkpoints > 0)
		CHECK(checkpoints(&t));
	e = entries(&t);
out:
	free(t.sums);
	free(t.e);
	arena_release(&a);
	return e;
}

enum err copy_compare_thread(struct copy *c, struct str thread, bool changed)
{
	return one_thread(c, thread, true, changed);
}

static bool next_thread(void *ctx, const struct thread_info *t)
{
	struct copy *c = ctx;

	if (t->thread.n > sizeof c->at.thread)
		return true; /* cannot be: the port's users limit it */
	memcpy(c->at.thread, t->thread.p, t->thread.n);
	c->at.thread_n = t->thread.n;
	return false;
}

/* The place stays at the thread before until this one is dealt with. */
enum err copy_threads(struct copy *c)
{
	for (;;) {
		struct copy_place before = c->at;
		char name[THREAD_MAX_BYTES + 1];
		size_t n;

		TRY(c->from->ops->thread_list(c->from, &c->who, NULL, str_of(before.thread, before.thread_n), 1, next_thread, c));
		n = c->at.thread_n;
		if (n == before.thread_n && memcmp(c->at.thread, before.thread, n) == 0)
			return OK;
		memcpy(name, c->at.thread, n);
		c->at = before;
		TRY(one_thread(c, str_of(name, n), false, false));
		memcpy(c->at.thread, name, n);
		c->at.thread_n = n;
		TRY(copy_pause(c, false));
	}
}
