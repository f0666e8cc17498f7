/* Sessions: checked entries in, readable entries out. What an entry says is nobody's business here: any JSON object is kept as it
 * came.
 *
 * Invariants
 *  1. Nothing reaches the store that is not a JSON object within the limits; one bad entry refuses the whole call.
 *  2. Reads leave out unreadable entries, and count without them. */
#include "core/parse.h"
#include "core/summary.h"
#include "core/texts.h"
#include "core/thread.h"

#include <stdio.h>

/* ------------------------------------------------------------------ write */

struct check_job {
	const struct entry_append *e;
};

static enum err too_large(const char *field, size_t n)
{
	enum err e = err_field(E_LIMIT, field, -1, "an entry may have %u bytes, this one has %zu", ENTRY_MAX_BYTES, n);

	diag_get()->kind = ERR_SIZE;
	return e;
}

/* a is empty before and after. */
static enum err check_one(struct arena *a, struct str data, size_t index)
{
	struct json_limits lim = json_default_limits;
	struct json doc;
	char field[40];
	enum err e;

	snprintf(field, sizeof field, "/items/%zu", index);
	if (data.n > ENTRY_MAX_BYTES)
		return too_large(field, data.n);
	lim.bytes = ENTRY_MAX_BYTES;
	lim.flags = JSON_DUP_OK;
	e = parse_refusal(json_parse(a, data, &lim, &doc));
	if (e == OK && !j_is(json_root(&doc), JSON_OBJECT))
		e = err_set(E_INVALID, "an entry must be a JSON object");
	if (e != OK)
		snprintf(diag_get()->field, sizeof diag_get()->field, "%s", field);
	arena_clear(a);
	return e;
}

/* Pure computation, may run on the pool. */
static enum err check_all(void *arg)
{
	const struct check_job *j = arg;
	struct arena a;
	enum err e = OK;

	arena_init(&a, (size_t)64 << 20);
	for (size_t i = 0; i < j->e->n && e == OK; i++)
		e = check_one(&a, j->e->v[i].data, i);
	arena_release(&a);
	return e;
}

static enum err check(const struct principal *who, const struct entry_append *e)
{
	struct check_job job = {e};
	size_t bytes = 0;

	TRY(principal_check(who, RIGHT_WRITE));
	TRY(thread_check(e->thread, "session"));
	if (e->n > ENTRIES_PER_CALL)
		return err_field(E_LIMIT, "/items", -1, "a call takes at most %d entries, this one has %zu", ENTRIES_PER_CALL,
				 e->n);
	for (size_t i = 0; i < e->n; i++)
		bytes += e->v[i].data.n + 64;
	return run_sized(bytes, check_all, &job);
}

static enum err changed(enum err e, struct memory *m, const struct principal *who, struct str thread)
{
	if (e == OK)
		texts_wake(memory_texts(m), who->tenant, thread);
	return e;
}

enum err entries_append(struct memory *m, struct arena *a, const struct principal *who, struct entry_append *e)
{
	struct store *s = memory_store(m);

	e->repeated = false;
	TRY(check(who, e));
	if (e->n == 0 && !e->look)
		return OK;
	return changed(s->ops->threads->append(s, who, e), m, who, e->thread);
}

enum err entries_replace(struct memory *m, const struct principal *who, struct entry_append *e)
{
	struct store *s = memory_store(m);

	e->repeated = false;
	TRY(check(who, e));
	return changed(s->ops->threads->clear(s, who, e->thread, e->n > 0 ? e : NULL), m, who, e->thread);
}

enum err entries_pop(struct memory *m, struct arena *a, const struct principal *who, struct str thread, struct session_entry *out,
		     bool *found)
{
	struct store *s = memory_store(m);

	*found = false;
	TRY(principal_check(who, RIGHT_WRITE));
	TRY(thread_check(thread, "session"));
	TRY(changed(s->ops->threads->pop(s, a, who, thread, out, found), m, who, thread));
	return *found ? summary_forget(m, who, thread, out->id, false) : OK;
}

enum err entries_clear(struct memory *m, const struct principal *who, struct str thread)
{
	struct store *s = memory_store(m);

	TRY(principal_check(who, RIGHT_WRITE));
	TRY(thread_check(thread, "session"));
	return changed(s->ops->threads->clear(s, who, thread, NULL), m, who, thread);
}

enum err entries_remove(struct memory *m, struct arena *a, const struct principal *who, struct str thread)
{
	struct store *s = memory_store(m);
	struct thread_info info;
	unsigned parts = THREAD_ENTRIES;
	bool found;

	TRY(principal_check(who, RIGHT_WRITE));
	TRY(thread_get(m, a, who, thread, &info, &found));
	if (!found || (info.version == 0 && info.entries == 0))
		return err_set(E_NOT_FOUND, "there is no session \"%.*s\"", STR_ARG(thread));
	if (info.messages == 0 && info.checkpoints == 0)
		parts |= THREAD_RECORD;
	else if (info.entries == 0)
		return OK;
	return changed(s->ops->threads->remove(s, who, thread, parts), m, who, thread);
}

enum err entries_delete(struct memory *m, const struct principal *who, struct str thread, int64_t id)
{
	struct store *s = memory_store(m);

	TRY(principal_check(who, RIGHT_WRITE));
	TRY(thread_check(thread, "session"));
	/* First, so that none is left which tells what is not there any more. */
	TRY(summary_forget(m, who, thread, id, true));
	return changed(s->ops->threads->entry_delete(s, who, thread, id), m, who, thread);
}

/* ------------------------------------------------------------------- read */

struct gather {
	struct arena *a;
	struct session_entry *v;
	size_t n, cap;
	size_t want; /* readable ones */
	size_t bytes, max_bytes;
	size_t rows;  /* of this call of the driver */
	int64_t last; /* id of the last row looked at */
	bool ids_only;
	bool full; /* stopped before a row that there is, as bytes would exceed max_bytes */
	enum err err;
};

static bool room(struct gather *g)
{
	size_t cap = g->cap ? g->cap * 2 : 32;

	if (g->n < g->cap)
		return true;
	g->v = arena_grow(g->a, g->v, g->cap * sizeof *g->v, cap * sizeof *g->v);
	g->cap = g->v ? cap : 0;
	return g->v != NULL;
}

static bool on_entry(void *ctx, const struct session_entry *in)
{
	struct gather *g = ctx;
	struct session_entry *out;

	g->rows++;
	if (!in->unreadable && !g->ids_only) {
		if (g->n > 0 && g->bytes + in->data.n > g->max_bytes) {
			g->full = true;
			return false;
		}
		if (!room(g)) {
			g->err = E_NOMEM;
			return false;
		}
		out = &g->v[g->n];
		*out = *in;
		out->data = arena_str(g->a, in->data);
		if (!out->data.p) {
			g->err = E_NOMEM;
			return false;
		}
		g->bytes += in->data.n;
	}
	g->last = in->id;
	g->n += !in->unreadable;
	return g->n < g->want;
}

/* Rows in q's order until g->want readable ones are there, g is full, or there are no more (*end). */
static enum err collect(struct store *s, const struct principal *who, struct entry_list q, struct gather *g, bool *end)
{
	bool first = true;

	*end = false;
	while (g->n < g->want && !g->full) {
		enum err e;

		q.limit = g->want - g->n;
		g->rows = 0;
		e = s->ops->threads->entries(s, who, &q, on_entry, g);
		/* Others may have removed the row that this goes on from. */
		if (e == E_NOT_FOUND && !first)
			return err_set(E_BUSY, "the session was changed while it was read; try again");
		TRY(e);
		if (g->err != OK)
			return err_set(E_LIMIT, "the answer is too large; ask for fewer at once");
		if (g->rows < q.limit && !g->full) {
			*end = true;
			return OK;
		}
		q.after = g->last;
		first = false;
	}
	return OK;
}

static void reverse(struct session_entry *v, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		struct session_entry t = v[i];

		v[i] = v[n - 1 - i];
		v[n - 1 - i] = t;
	}
}

enum err entries_tail(struct memory *m, struct arena *a, const struct principal *who, struct str thread, size_t limit,
		      struct session_entry **out, size_t *n)
{
	struct entry_list q = {.thread = thread, .newest_first = true};
	struct gather g = {.a = a, .want = limit, .max_bytes = SIZE_MAX};
	bool end;
	enum err e;

	*n = 0;
	*out = NULL;
	TRY(principal_check(who, RIGHT_READ));
	TRY(thread_check(thread, "session"));
	if (limit == 0)
		return OK;
	e = collect(memory_store(m), who, q, &g, &end);
	if (e == E_NOT_FOUND)
		return OK;
	TRY(e);
	reverse(g.v, g.n);
	*out = g.v;
	*n = g.n;
	return OK;
}

enum err entries_recent(struct memory *m, struct arena *a, const struct principal *who, struct str thread, int64_t upto,
			size_t limit, size_t max_bytes, struct session_entry **out, size_t *n, bool *full)
{
	struct entry_list q = {.thread = thread, .newest_first = true, .after = upto};
	struct gather g = {.a = a, .want = limit, .max_bytes = max_bytes};
	struct session_entry last;
	bool end;
	enum err e;

	*n = 0;
	*out = NULL;
	*full = false;
	TRY(principal_check(who, RIGHT_READ));
	TRY(thread_check(thread, "session"));
	if (upto) {
		TRY(entries_get(m, a, who, thread, upto, &last));
		if (!room(&g))
			return E_NOMEM;
		g.v[g.n++] = last;
		g.bytes = last.data.n;
	}
	e = collect(memory_store(m), who, q, &g, &end);
	if (e == E_NOT_FOUND && !upto)
		return OK;
	TRY(e);
	reverse(g.v, g.n);
	*out = g.v;
	*n = g.n;
	*full = g.full;
	return OK;
}

enum err entries_tail_from(struct memory *m, const struct principal *who, struct str thread, size_t limit, int64_t *after,
			   bool *found)
{
	struct entry_list q = {.thread = thread, .newest_first = true};
	struct gather g = {.want = limit, .max_bytes = SIZE_MAX, .ids_only = true};
	bool end = true;
	enum err e = OK;

	*after = 0;
	*found = false;
	TRY(principal_check(who, RIGHT_READ));
	TRY(thread_check(thread, "session"));
	if (limit == 0)
		return OK;
	if (limit < SIZE_MAX) {
		g.want = limit + 1; /* the one before those that are wanted */
		e = collect(memory_store(m), who, q, &g, &end);
	}
	if (e == E_NOT_FOUND)
		return OK;
	TRY(e);
	*found = true;
	*after = end ? 0 : g.last;
	return OK;
}

enum err entries_page(struct memory *m, struct arena *a, const struct principal *who, const struct entry_list *q,
		      struct session_entry **out, size_t *n, bool *more)
{
	struct gather g = {.a = a, .want = q->limit + 1, .max_bytes = ENTRIES_PAGE_BYTES};
	bool end;

	*n = 0;
	*out = NULL;
	*more = false;
	TRY(principal_check(who, RIGHT_READ));
	TRY(thread_check(q->thread, "session"));
	TRY(collect(memory_store(m), who, *q, &g, &end));
	*more = g.full || g.n > q->limit;
	*n = g.n > q->limit ? q->limit : g.n;
	*out = g.v;
	return OK;
}

enum err entries_get(struct memory *m, struct arena *a, const struct principal *who, struct str thread, int64_t id,
		     struct session_entry *out)
{
	struct store *s = memory_store(m);
	bool found;

	TRY(principal_check(who, RIGHT_READ));
	TRY(thread_check(thread, "session"));
	TRY(s->ops->threads->entry(s, a, who, thread, id, out, &found));
	if (!found || out->unreadable)
		return err_set(E_NOT_FOUND, "the session has no such entry");
	return OK;
}

enum err entries_walk(struct memory *m, const struct principal *who, const struct entry_list *q, entry_fn fn, void *ctx)
{
	struct store *s = memory_store(m);

	TRY(principal_check(who, RIGHT_READ));
	TRY(thread_check(q->thread, "session"));
	return s->ops->threads->entries(s, who, q, fn, ctx);
}
