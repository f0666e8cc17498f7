/* What is to be done behind a turn is written down with it, and found again: by this process when the turn has ended, by others
 * when it has not told them. A note is a small value of its tenant, "turn:..", until its turn has been looked through. */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/assistant_impl.h"
#include "core/extract_impl.h"
#include "core/thread.h"

#define PREFIX "turn:"
#define ENTRIES_MOST 32 /* messages of one turn that are looked at, the newest */
#define FIND_PAGE 500

/* ------------------------------------------------------------- during the turn */

struct principal extract_worker(struct str tenant)
{
	return (struct principal){.tenant = tenant, .user = STR(""), .rights = RIGHT_READ | RIGHT_WRITE, .id = STR("extract")};
}

/* What the entry's user typed; "" : it is another one's. */
enum err extract_typed(struct arena *a, struct str data, struct str *out)
{
	struct prompt one;

	*out = STR("");
	TRY(prompt_items(a, &data, 1, 1, 1, &one));
	if (one.n == 2 && one.v[1].role == LLM_USER)
		*out = one.v[1].text;
	return OK;
}

static bool of_use(const struct extract *x, struct str data)
{
	struct arena a;
	struct str text;
	bool is;

	arena_init(&a, EXTRACT_ROOM);
	is = extract_typed(&a, data, &text) == OK && text.n > 0 && (x->opt.mode == EXTRACT_MODEL || rules_apply(text));
	arena_release(&a);
	return is;
}

static enum err write_note(struct extract *x, struct arena *a, const struct principal *who, const struct extract_turn_of *turn,
			   const int64_t *ids, size_t n, struct str *name)
{
	struct store *s = memory_store(x->opt.memory);
	const struct principal worker = extract_worker(who->tenant);
	struct str mark = trace_mark(a, turn->trace);
	struct buf b;
	struct jw w;

	buf_init(&b, a, 16384);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "thread");
	jw_str(&w, turn->thread);
	jw_key(&w, "user");
	jw_str(&w, who->user);
	if (mark.n) {
		jw_key(&w, "trace");
		jw_str(&w, mark);
	}
	jw_key(&w, "at");
	jw_i64(&w, clock_wall_us());
	jw_key(&w, "entries");
	jw_arr(&w);
	for (size_t i = 0; i < n; i++)
		jw_i64(&w, ids[i]);
	jw_end_arr(&w);
	jw_end_obj(&w);
	TRY(b.err);
	*name = arena_printf(a, PREFIX "%020lld", (long long)ids[0]);
	if (!name->p)
		return E_NOMEM;
	return s->ops->meta_put(s, &worker, *name, buf_slice(&b));
}

enum err extract_note(struct extract *x, struct arena *a, const struct principal *who, const struct extract_turn_of *turn,
		      const struct session_entry *v, size_t n, struct str *out)
{
	struct trace_span *s;
	int64_t ids[ENTRIES_MOST];
	size_t k = 0;
	enum err e = OK;

	*out = STR("");
	if (!x || x->opt.mode == EXTRACT_OFF || !who->user.n || !turn->thread.n)
		return OK;
	for (size_t i = n > ENTRIES_MOST ? n - ENTRIES_MOST : 0; i < n; i++)
		if (of_use(x, v[i].data))
			ids[k++] = v[i].id;
	if (k > 0) {
		s = span_begin(turn->trace, NULL, SPAN_MEMORY, STR("note"));
		span_int(s, "cenote.messages", (int64_t)k);
		e = span_end(s, write_note(x, a, who, turn, ids, k, out));
	}
	if (e != OK) {
		*out = STR("");
		atomic_fetch_add(&x->dropped, 1);
		LOG(LOG_WARN, "core.extract", "a turn could not be noted for extraction", LF_C("reason", diag_get()->text));
	}
	return e;
}

void extract_ready(struct extract *x, struct arena *a, const struct principal *who, const struct extract_turn_of *turn,
		   struct str name, bool cut)
{
	struct order o = {.tenant = who->tenant, .user = who->user, .name = name};

	if (!x)
		return;
	o.mark = trace_mark(a, turn->trace);
	o.kind = DO_TURN;
	if (name.n)
		extract_put(x, &o);
	o.kind = DO_SUMMARY;
	o.name = turn->thread;
	if (cut && x->opt.summary && turn->thread.n)
		extract_put(x, &o);
}

/* -------------------------------------------------------------- what was left */

struct finding {
	struct extract *x;
	struct arena a, note; /* note: of one at a time, however many there are */
	struct str tenant, last;
	int64_t before_us;
	size_t n;
	bool short_of_memory;
};

enum err extract_read_note(struct arena *a, struct str value, struct jval *root, struct str *thread, struct str *user, int64_t *at)
{
	struct json *doc = ARENA_NEW(a, struct json);

	if (!doc)
		return E_NOMEM;
	TRY(json_parse(a, value, NULL, doc));
	*root = json_root(doc);
	if (!j_is(j_get(*root, STR("thread")), JSON_STRING) || !j_is(j_get(*root, STR("user")), JSON_STRING) ||
	    !j_is(j_get(*root, STR("entries")), JSON_ARRAY) || !j_ok(j_get(*root, STR("at"))) ||
	    !j_i64(j_get(*root, STR("at")), at))
		return err_set(E_CORRUPT, "the note of a turn cannot be read");
	*thread = j_str(a, j_get(*root, STR("thread")));
	*user = j_str(a, j_get(*root, STR("user")));
	return thread->p && user->p ? OK : E_NOMEM;
}

/* Of the turn's trace; "" : it had none. */
static struct str mark_of(struct arena *a, struct jval note)
{
	struct jval v = j_get(note, STR("trace"));
	struct str s = j_is(v, JSON_STRING) ? j_str(a, v) : STR("");

	return s.p ? s : STR("");
}

/* One that cannot be read is put into the list, too, where it is dropped. */
static bool on_note(void *ctx, struct str name, struct str value)
{
	struct finding *f = ctx;
	struct order o = {.kind = DO_TURN, .tenant = f->tenant, .user = STR(""), .name = name, .mark = STR("")};
	struct str thread;
	struct jval root = {NULL, 0};
	int64_t at = 0;

	f->n++;
	f->last = arena_str(&f->a, name);
	f->short_of_memory |= !f->last.p;
	if (!f->short_of_memory && (extract_read_note(&f->note, value, &root, &thread, &o.user, &at) != OK || at <= f->before_us)) {
		o.mark = mark_of(&f->note, root);
		extract_put(f->x, &o);
	}
	arena_clear(&f->note);
	return !f->short_of_memory;
}

static enum err find_of(struct extract *x, struct str tenant, int64_t before_us)
{
	struct store *s = memory_store(x->opt.memory);
	const struct principal who = extract_worker(tenant);
	struct finding f = {.x = x, .tenant = tenant, .last = STR(""), .before_us = before_us};
	enum err e = OK;

	arena_init(&f.a, EXTRACT_ROOM);
	arena_init(&f.note, EXTRACT_ROOM);
	do {
		f.n = 0;
		e = s->ops->meta_walk(s, &who, STR(PREFIX), f.last, FIND_PAGE, on_note, &f);
		if (e == OK && f.short_of_memory)
			e = E_NOMEM;
	} while (e == OK && f.n == FIND_PAGE);
	arena_release(&f.a);
	arena_release(&f.note);
	return e;
}

struct tenants {
	struct arena a;
	struct str *v;
	size_t n, cap;
};

static bool on_tenant(void *ctx, struct str name)
{
	struct tenants *t = ctx;

	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 16;

		t->v = arena_grow(&t->a, t->v, t->cap * sizeof *t->v, cap * sizeof *t->v);
		t->cap = t->v ? cap : 0;
	}
	if (!t->v || !(t->v[t->n] = arena_str(&t->a, name)).p)
		return false;
	t->n++;
	return true;
}

enum err extract_find(struct extract *x, uint32_t ms)
{
	struct store *s = memory_store(x->opt.memory);
	int64_t before = clock_wall_us() - (int64_t)ms * 1000;
	struct tenants t = {.n = 0};
	enum err e;

	arena_init(&t.a, (size_t)16 << 20);
	e = s->ops->tenants(s, on_tenant, &t);
	for (size_t i = 0; i < t.n && e == OK; i++)
		e = find_of(x, t.v[i], before);
	arena_release(&t.a);
	return e;
}
