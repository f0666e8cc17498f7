/* The queue and its workers; see core/extract.h.
 *
 *   entries kept --extract_note--> in the store --extract_ready--> waiting --take--> in work --done--> gone
 *   in the store --extract_find (an earlier process, or another's that has died)--> waiting
 *   in work --store or model cannot be reached--> waiting, and this worker rests; one that fails again and again is left for later,
 *     so that others have their turn, but not those behind it in its lane
 *
 * Invariants
 *  1. The list and all that is in it change under the lock, which is never held across a call of the store or the model.
 *  2. Of the turns of one user, and of the summaries of one thread, one is in work at a time.
 *  3. wake_fd counts what was put into the list; a worker takes one from it, then works until there is nothing that it may take. */
#include "core/extract.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/utf8.h"
#include "core/assistant_impl.h"
#include "core/extract_impl.h"
#include "core/summary.h"
#include "core/thread.h"
#include "rt/wait.h"

#define PREFIX "turn:"
#define ENTRIES_MOST 32	   /* messages of one turn that are looked at, the newest */
#define FIND_MS 60000	   /* how often others' turns are looked for, */
#define FIND_OLD_MS 900000 /* and how old they must be: no turn takes so long */
#define FIND_PAGE 500
#define PAUSE_MOST_MS 60000
#define FAILS_FREE 2 /* times that a job fails before it is left for later: */
#define LATER_MS 1000
#define LATER_DOUBLED 9 /* at most so often */
#define AHEAD_MAX 256	/* jobs that are passed over for one behind them */
#define AGE_MOST_US (INT64_C(7) * 24 * 3600 * 1000000)
#define ROOM ((size_t)128 << 20)

enum kind { DO_TURN, DO_SUMMARY };
struct job {
	struct list node;
	enum kind kind;
	char tenant[64];
	char *user;
	char *lane;			  /* what must not be done at once: the user, or the thread */
	char *name;			  /* of the small value; DO_SUMMARY: the thread */
	char mark[TRACEPARENT_BYTES + 1]; /* of the turn's trace; "" : none */
	uint64_t since_ns;
	uint64_t later_ns; /* not before then */
	unsigned failed;
	bool working;
};
struct extract {
	struct extract_options opt;
	int wake_fd;
	pthread_mutex_t lock;
	struct list jobs; /* lock: in the order of their coming; those in work, too */
	size_t jobs_n;
	bool found_first; /* lock: somebody has looked into the store */
	uint64_t find_at; /* lock */
	_Atomic uint64_t turns, dropped, malformed, repaired, ungrounded, failures, added, merged, superseded, entities, relations,
		summaries, summary_failures;
};

/* --------------------------------------------------------------------- table */

enum err extract_new(const struct extract_options *opt, struct extract **out)
{
	struct extract *x = calloc(1, sizeof *x);

	*out = NULL;
	if (!x)
		return err_set(E_LIMIT, "out of memory");
	x->opt = *opt;
	x->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);
	if (x->wake_fd < 0) {
		free(x);
		return err_set(E_LIMIT, "too many open files");
	}
	pthread_mutex_init(&x->lock, NULL);
	list_init(&x->jobs);
	*out = x;
	return OK;
}

static void job_free(struct job *j)
{
	free(j->user);
	free(j->lane);
	free(j->name);
	free(j);
}

void extract_free(struct extract *x)
{
	if (!x)
		return;
	LIST_EACH (n, &x->jobs)
		job_free(CONTAINER(n, struct job, node));
	pthread_mutex_destroy(&x->lock);
	close(x->wake_fd);
	free(x);
}

bool extract_sums_up(const struct extract *x)
{
	return x && x->opt.summary;
}

enum err extract_sum_up(struct extract *x, struct arena *a, const struct principal *who, struct str thread, struct summary_work *w,
			struct summary *out)
{
	enum err e = summary_make(x->opt.memory, x->opt.summary, a, who, thread, w, out);

	atomic_fetch_add(&x->summaries, w->made);
	return e;
}

static void ring(struct extract *x)
{
	uint64_t one = 1;
	ssize_t wrote = write(x->wake_fd, &one, sizeof one);

	(void)wrote; /* it only fails when it is full, and then it rings */
}

static bool listed(const struct extract *x, enum kind kind, struct str tenant, struct str name, bool working_too)
{
	LIST_EACH (n, &x->jobs) {
		const struct job *j = CONTAINER(n, const struct job, node);

		if (j->kind == kind && (working_too || !j->working) && str_eq(str_c(j->tenant), tenant) &&
		    str_eq(str_c(j->name), name))
			return true;
	}
	return false;
}

/* What a job is made of. */
struct order {
	enum kind kind;
	struct str tenant, user, name, mark;
};

static struct job *job_new(const struct order *o)
{
	struct str lane = o->kind == DO_TURN ? o->user : o->name;
	struct job *j = calloc(1, sizeof *j);

	if (!j)
		return NULL;
	j->kind = o->kind;
	snprintf(j->tenant, sizeof j->tenant, "%.*s", STR_ARG(o->tenant));
	snprintf(j->mark, sizeof j->mark, "%.*s", STR_ARG(o->mark));
	j->user = strndup(o->user.n ? o->user.p : "", o->user.n);
	j->lane = strndup(lane.n ? lane.p : "", lane.n);
	j->name = strndup(o->name.p, o->name.n);
	j->since_ns = clock_mono_ns();
	if (j->user && j->lane && j->name)
		return j;
	job_free(j);
	return NULL;
}

/* Puts it into the list, unless it is there. A turn that is in work is not done again; a summary that is may be out of date by now.
 */
static void put(struct extract *x, const struct order *o)
{
	struct job *j = job_new(o);
	bool turn = o->kind == DO_TURN;

	if (!j) {
		atomic_fetch_add(&x->dropped, turn); /* until the store is looked into */
		return;
	}
	pthread_mutex_lock(&x->lock);
	if (x->jobs_n >= EXTRACT_WAITING_MAX || listed(x, o->kind, o->tenant, o->name, turn)) {
		atomic_fetch_add(&x->dropped, x->jobs_n >= EXTRACT_WAITING_MAX && turn);
		pthread_mutex_unlock(&x->lock);
		job_free(j);
		return;
	}
	list_add_tail(&x->jobs, &j->node);
	x->jobs_n++;
	pthread_mutex_unlock(&x->lock);
	ring(x);
}

static bool has_ahead(const struct job *const *ahead, size_t n, const struct job *j)
{
	for (size_t i = 0; i < n; i++)
		if (ahead[i]->kind == j->kind && strcmp(ahead[i]->tenant, j->tenant) == 0 && strcmp(ahead[i]->lane, j->lane) == 0)
			return true;
	return false;
}

/* The first that may be done; NULL: none. In its lane nothing overtakes one that is in work or left for later. */
static struct job *take(struct extract *x)
{
	const struct job *ahead[AHEAD_MAX];
	struct job *found = NULL;
	uint64_t now = clock_mono_ns();
	size_t k = 0;

	pthread_mutex_lock(&x->lock);
	LIST_EACH (n, &x->jobs) {
		struct job *j = CONTAINER(n, struct job, node);

		if (has_ahead(ahead, k, j))
			continue;
		if (!j->working && j->later_ns <= now) {
			found = j;
			break;
		}
		if (k == AHEAD_MAX)
			break;
		ahead[k++] = j;
	}
	if (found)
		found->working = true;
	pthread_mutex_unlock(&x->lock);
	return found;
}

static void give_back(struct extract *x, struct job *j, bool again)
{
	pthread_mutex_lock(&x->lock);
	j->working = false;
	if (again && j->failed++ >= FAILS_FREE) {
		unsigned doubled = j->failed - FAILS_FREE - 1;

		j->later_ns = deadline_in_ms(LATER_MS << (doubled < LATER_DOUBLED ? doubled : LATER_DOUBLED));
	}
	if (!again) {
		list_del(&j->node);
		x->jobs_n--;
	}
	pthread_mutex_unlock(&x->lock);
	if (!again)
		job_free(j);
}

/* ------------------------------------------------------------- during the turn */

static struct principal worker_of(struct str tenant)
{
	return (struct principal){.tenant = tenant, .user = STR(""), .rights = RIGHT_READ | RIGHT_WRITE, .id = STR("extract")};
}

/* What the entry's user typed; "" : it is another one's. */
static enum err typed(struct arena *a, struct str data, struct str *out)
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

	arena_init(&a, ROOM);
	is = typed(&a, data, &text) == OK && text.n > 0 && (x->opt.mode == EXTRACT_MODEL || rules_apply(text));
	arena_release(&a);
	return is;
}

static enum err write_note(struct extract *x, struct arena *a, const struct principal *who, const struct extract_turn_of *turn,
			   const int64_t *ids, size_t n, struct str *name)
{
	struct store *s = memory_store(x->opt.memory);
	const struct principal worker = worker_of(who->tenant);
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
		put(x, &o);
	o.kind = DO_SUMMARY;
	o.name = turn->thread;
	if (cut && x->opt.summary && turn->thread.n)
		put(x, &o);
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

static enum err read_note(struct arena *a, struct str value, struct jval *root, struct str *thread, struct str *user, int64_t *at)
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
	if (!f->short_of_memory && (read_note(&f->note, value, &root, &thread, &o.user, &at) != OK || at <= f->before_us)) {
		o.mark = mark_of(&f->note, root);
		put(f->x, &o);
	}
	arena_clear(&f->note);
	return !f->short_of_memory;
}

static enum err find_of(struct extract *x, struct str tenant, int64_t before_us)
{
	struct store *s = memory_store(x->opt.memory);
	const struct principal who = worker_of(tenant);
	struct finding f = {.x = x, .tenant = tenant, .last = STR(""), .before_us = before_us};
	enum err e = OK;

	arena_init(&f.a, ROOM);
	arena_init(&f.note, ROOM);
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

/* ---------------------------------------------------------------------- turns */

struct doing {
	struct extract *x;
	struct arena a;
	struct principal who;
	struct str thread, user;
	int64_t last; /* the last entry of the turn's input that is still there; 0: none is */
	struct str *said;
	struct learn_source *from;
	size_t n;
	struct trace_span *root; /* of the work's trace */
	bool begun;		 /* there was something to do */
};

/* The id under which the conversations API has an entry: its own, else one that is made of its number (api/openai/form.c). */
static enum err item_name(struct arena *a, const struct session_entry *e, struct str *out)
{
	struct json doc;
	struct jval id;

	TRY(json_parse(a, e->data, &(struct json_limits){64, 100000, 16u << 20, JSON_DUP_OK}, &doc));
	id = j_get(json_root(&doc), STR("id"));
	*out = j_is(id, JSON_STRING) ? utf8_cut(j_str(a, id), 256) : arena_printf(a, "msg_cn%016llx", (unsigned long long)e->id);
	return out->p ? OK : E_NOMEM;
}

static enum err read_entries(struct doing *d, struct jval ids)
{
	size_t most = j_node(ids)->count;
	struct jval v;

	d->said = ARENA_ARRAY(&d->a, struct str, most + 1);
	d->from = ARENA_ARRAY(&d->a, struct learn_source, most + 1);
	if (!d->said || !d->from)
		return E_NOMEM;
	for (struct j_iter it = j_iter(ids); j_next(&it, NULL, &v);) {
		struct session_entry e;
		int64_t id;
		enum err err;

		if (!j_i64(v, &id))
			continue;
		err = entries_get(d->x->opt.memory, &d->a, &d->who, d->thread, id, &e);
		if (err == E_NOT_FOUND)
			continue; /* it was removed meanwhile: then nothing is learned from it */
		TRY(err);
		TRY(typed(&d->a, e.data, &d->said[d->n]));
		d->from[d->n] = (struct learn_source){.thread = d->thread, .time_us = e.created_us};
		TRY(item_name(&d->a, &e, &d->from[d->n].item));
		d->last = e.id;
		d->n += d->said[d->n].n > 0;
	}
	return OK;
}

/* What the assistant said next; "" : nothing, or it is not known. */
static enum err read_answer(struct doing *d, struct str *out)
{
	const struct entry_list q = {.thread = d->thread, .after = d->last, .limit = 16};
	struct session_entry *v;
	struct prompt one;
	size_t n;
	bool more;
	enum err e = entries_page(d->x->opt.memory, &d->a, &d->who, &q, &v, &n, &more);

	*out = STR("");
	if (e == E_NOT_FOUND)
		return OK;
	TRY(e);
	for (size_t i = 0; i < n; i++) {
		TRY(prompt_items(&d->a, &v[i].data, 1, 1, 1, &one));
		if (one.n == 2 && one.v[1].role == LLM_USER)
			return OK;
		if (one.n == 2 && one.v[1].role == LLM_ASSISTANT && one.v[1].text.n) {
			*out = one.v[1].text;
			return OK;
		}
	}
	return OK;
}

static void count(struct extract *x, const struct learn_counts *c)
{
	atomic_fetch_add(&x->added, c->added);
	atomic_fetch_add(&x->merged, c->merged);
	atomic_fetch_add(&x->superseded, c->superseded);
	atomic_fetch_add(&x->entities, c->entities);
	atomic_fetch_add(&x->relations, c->relations);
}

static enum err keep(struct doing *d, const struct learned *what, const struct learn_source *from, const struct known_fact *known,
		     size_t known_n)
{
	struct trace_span *s = span_below(d->root, SPAN_MEMORY, STR("save"));
	struct learn_counts c = {0};
	enum err e = learn_keep(d->x->opt.memory, &d->a, &d->who, d->user, what, from, known, known_n, &c);

	count(d->x, &c);
	work_counted(s, &c);
	return span_end(s, e);
}

/* Each message for itself: what the second one says supersedes the first. */
static enum err by_rules(struct doing *d)
{
	for (size_t i = 0; i < d->n; i++) {
		struct learned what = {NULL};
		struct known_fact *known;
		size_t n;

		TRY(rules_find(&d->a, d->said[i], &what));
		if (what.facts_n == 0)
			continue;
		TRY(learn_known(d->x->opt.memory, &d->a, &d->who, d->user, &known, &n));
		TRY(keep(d, &what, &d->from[i], known, n));
	}
	return OK;
}

static enum err by_model(struct doing *d)
{
	const struct entity_ref me = {STR(ENTITY_USER), STR("person")};
	struct extract_turn turn = {.time_us = d->from[d->n - 1].time_us};
	struct entity self;
	struct extract_reply reply;
	struct known_fact *known;
	struct learned what;
	struct buf b;
	size_t n;
	bool found;

	buf_init(&b, &d->a, ROOM);
	for (size_t i = 0; i < d->n; i++) {
		buf_lit(&b, i ? "\n" : "");
		buf_str(&b, d->said[i]);
	}
	TRY(b.err);
	turn.user = buf_slice(&b);
	TRY(read_answer(d, &turn.assistant));
	TRY(learn_known(d->x->opt.memory, &d->a, &d->who, d->user, &known, &n));
	TRY(entity_get(d->x->opt.memory, &d->a, &d->who, d->user, &me, &self, &found));
	turn.related = self.relations;
	turn.related_n = self.relations_n;
	TRY(extract_ask(d->x->opt.llm, &d->a, d->root, &turn, known, n, &what, &reply));
	atomic_fetch_add(&d->x->repaired, reply.repaired && !reply.malformed);
	atomic_fetch_add(&d->x->malformed, reply.malformed);
	atomic_fetch_add(&d->x->ungrounded, reply.ungrounded);
	return keep(d, &what, &d->from[d->n - 1], known, n);
}

static enum err do_turn(struct extract *x, const struct job *j, struct doing *d)
{
	struct store *s = memory_store(x->opt.memory);
	struct trace_span *span;
	struct str value;
	struct jval root;
	int64_t at;
	bool found;

	TRY(s->ops->meta_get(s, &d->a, &d->who, str_c(j->name), &value, &found));
	if (!found)
		return OK; /* another process has done it */
	d->begun = true;
	TRY(read_note(&d->a, value, &root, &d->thread, &d->user, &at));
	if (clock_wall_us() - at > AGE_MOST_US)
		return err_set(E_LIMIT, "it is older than a week");
	span = span_below(d->root, SPAN_MEMORY, STR("get"));
	TRY(span_end(span, read_entries(d, j_get(root, STR("entries")))));
	span_int(span, "cenote.messages", (int64_t)d->n);
	if (d->n > 0)
		TRY(x->opt.mode == EXTRACT_MODEL ? by_model(d) : by_rules(d));
	TRY(s->ops->meta_put(s, &d->who, str_c(j->name), STR("")));
	atomic_fetch_add(&x->turns, 1);
	return OK;
}

/* Entries that a prompt has, of the thread as it is now. */
static enum err window_of(struct extract *x, const struct job *j, struct doing *d, size_t *window)
{
	struct session_entry *v;
	bool full;
	size_t n;

	*window = x->opt.window;
	if (!x->opt.tokens)
		return OK;
	TRY(entries_recent(x->opt.memory, &d->a, &d->who, str_c(j->name), 0, x->opt.window, HISTORY_BYTES, &v, &n, &full));
	return prompt_window(&d->a, v, n, x->opt.tokens, window);
}

/* Half a window ahead: so the model is asked once every half window, and what falls out until then is in the summary already. It is
 * due when the next message would push one out that is not. */
static enum err do_summary(struct extract *x, const struct job *j, struct doing *d)
{
	struct summary_work w = {.span = d->root};
	size_t window;
	struct summary made;
	enum err e;

	d->user = str_c(j->user);
	d->thread = str_c(j->name);
	TRY(window_of(x, j, d, &window));
	w.keep = window / 2 ? window / 2 : 1;
	w.least = window > w.keep ? window - w.keep : 1;
	e = extract_sum_up(x, &d->a, &d->who, d->thread, &w, &made);
	d->begun = w.made || e != OK;
	span_int(d->root, "cenote.requests", w.made);
	return e;
}

/* ------------------------------------------------------------------- workers */

/* Later it may be there. */
static bool temporary(enum err e)
{
	return e == E_UPSTREAM || e == E_TIMEOUT || e == E_BUSY || e == E_IO;
}

static enum err drop(struct extract *x, const struct job *j, struct doing *d, enum err why)
{
	struct store *s = memory_store(x->opt.memory);

	LOG(LOG_WARN, "core.extract", j->kind == DO_TURN ? "a turn was not looked through" : "a thread got no summary",
	    LF_C("tenant", j->tenant), LF_C("error", err_name(why)), LF_C("reason", diag_get()->text));
	atomic_fetch_add(j->kind == DO_TURN ? &x->failures : &x->summary_failures, 1);
	return j->kind == DO_TURN ? s->ops->meta_put(s, &d->who, str_c(j->name), STR("")) : OK;
}

static enum err do_job(struct extract *x, struct job *j)
{
	struct doing d = {.x = x, .who = worker_of(str_c(j->tenant)), .user = str_c(j->user), .thread = STR("")};
	enum err e;

	arena_init(&d.a, ROOM);
	d.root = work_begin(x->opt.tracer, &d.a, &d.who, j->kind == DO_TURN ? "remember" : "summarize", str_c(j->mark));
	e = j->kind == DO_TURN ? do_turn(x, j, &d) : do_summary(x, j, &d);
	if (d.begun && e != E_CANCELLED)
		e = work_end(d.root, e, d.user, d.thread);
	/* A summary is asked for again by the next turn. */
	if (e != OK && e != E_CANCELLED && (j->kind == DO_SUMMARY || !temporary(e)))
		e = drop(x, j, &d, e);
	arena_release(&d.a);
	return e;
}

enum err extract_step(struct extract *x, bool *any)
{
	struct job *j = take(x);
	enum err e;

	*any = j != NULL;
	if (!j)
		return OK;
	e = do_job(x, j);
	if (e != OK && e != E_CANCELLED)
		LOG(LOG_WARN, "core.extract", "a turn is looked through later", LF_C("tenant", j->tenant),
		    LF_C("error", err_name(e)), LF_C("reason", diag_get()->text));
	give_back(x, j, e != OK);
	return e;
}

/* Whoever is first looks for all that was left, later one every now and then for what others left. */
static enum err find_if_due(struct extract *x)
{
	uint64_t now = clock_mono_ns();
	bool due, first;
	enum err e;

	pthread_mutex_lock(&x->lock);
	first = !x->found_first;
	due = x->opt.mode != EXTRACT_OFF && now >= x->find_at;
	if (due) {
		x->found_first = true;
		x->find_at = now + FIND_MS * UINT64_C(1000000);
	}
	pthread_mutex_unlock(&x->lock);
	if (!due)
		return OK;
	e = extract_find(x, first ? 0 : FIND_OLD_MS);
	if (e != OK) {
		pthread_mutex_lock(&x->lock);
		x->found_first = !first;
		x->find_at = 0;
		pthread_mutex_unlock(&x->lock);
	}
	return e;
}

static enum err round_of_work(struct extract *x)
{
	bool any = true;

	TRY(find_if_due(x));
	while (any)
		TRY(extract_step(x, &any));
	return OK;
}

/* When there may be something to do though nobody rings. */
static uint64_t next_look(struct extract *x)
{
	uint64_t at = deadline_in_ms(FIND_MS), soonest = deadline_in_ms(LATER_MS / 10);

	pthread_mutex_lock(&x->lock);
	LIST_EACH (n, &x->jobs) {
		const struct job *j = CONTAINER(n, const struct job, node);

		if (!j->working && j->later_ns && j->later_ns < at)
			at = j->later_ns;
	}
	pthread_mutex_unlock(&x->lock);
	return at > soonest ? at : soonest;
}

enum err extract_forever(struct extract *x)
{
	unsigned failures = 0;

	for (;;) {
		enum err e = round_of_work(x);
		uint64_t n, pause = UINT64_C(100) << (failures < 10 ? failures : 10);
		ssize_t got;

		if (e == E_CANCELLED)
			return e;
		if (e != OK) {
			failures++;
			e = wait_until(deadline_in_ms((uint32_t)(pause < PAUSE_MOST_MS ? pause : PAUSE_MOST_MS)));
		} else {
			failures = 0;
			e = wait_fd(x->wake_fd, WAIT_READ, next_look(x), NULL);
			got = read(x->wake_fd, &n, sizeof n);
			(void)got; /* another worker may have been quicker */
		}
		if (e == E_CANCELLED)
			return e;
	}
}

/* ------------------------------------------------------------------- metrics */

static void figure(struct buf *out, const char *name, const char *kind, const char *help, uint64_t v)
{
	buf_printf(out, "# HELP cenote_%s %s\n# TYPE cenote_%s %s\ncenote_%s %llu\n", name, help, name, kind, name,
		   (unsigned long long)v);
}

static void waiting(struct extract *x, uint64_t *n, uint64_t *lag_ms)
{
	uint64_t first = 0;

	*n = 0;
	pthread_mutex_lock(&x->lock);
	LIST_EACH (l, &x->jobs) {
		const struct job *j = CONTAINER(l, const struct job, node);

		if (j->kind != DO_TURN)
			continue;
		++*n;
		if (!first || j->since_ns < first)
			first = j->since_ns;
	}
	pthread_mutex_unlock(&x->lock);
	*lag_ms = first ? (clock_mono_ns() - first) / 1000000 : 0;
}

void extract_metrics(struct extract *x, struct buf *out)
{
	uint64_t n, lag;

	if (!x)
		return;
	waiting(x, &n, &lag);
	figure(out, "extract_waiting", "gauge", "Turns whose words are to be looked through.", n);
	figure(out, "extract_lag_milliseconds", "gauge", "How long the first of them has been waiting.", lag);
	figure(out, "extract_turns_total", "counter", "Turns that were looked through.", atomic_load(&x->turns));
	figure(out, "extract_dropped_total", "counter", "Turns that could not be noted, or were too many.",
	       atomic_load(&x->dropped));
	figure(out, "extract_failures_total", "counter", "Turns that were given up.", atomic_load(&x->failures));
	figure(out, "extract_repaired_total", "counter", "Answers of the model that were of use at the second attempt.",
	       atomic_load(&x->repaired));
	figure(out, "extract_malformed_total", "counter", "Answers of the model that were of no use at the second attempt, either.",
	       atomic_load(&x->malformed));
	figure(out, "extract_ungrounded_total", "counter", "Facts and entities of the model's that the user's words did not have.",
	       atomic_load(&x->ungrounded));
	figure(out, "extract_facts_total", "counter", "Facts that were kept.", atomic_load(&x->added));
	figure(out, "extract_merged_total", "counter", "Facts that were known.", atomic_load(&x->merged));
	figure(out, "extract_superseded_total", "counter", "Facts that others took the place of.", atomic_load(&x->superseded));
	figure(out, "extract_entities_total", "counter", "Entities that were made.", atomic_load(&x->entities));
	figure(out, "extract_relations_total", "counter", "Relations that were made.", atomic_load(&x->relations));
	figure(out, "summary_requests_total", "counter", "Summaries that the model made.", atomic_load(&x->summaries));
	figure(out, "summary_failures_total", "counter", "Summaries that could not be made.", atomic_load(&x->summary_failures));
}
