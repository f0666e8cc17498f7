/* The worker, and who waits for it.
 *
 *   nothing known of a tenant --start--> all threads are compared (walk) --differs--> waits
 *   waits --texts_wake--> waits                 waits --made--> as it is
 *   a write --texts_wake--> waits               others write --walk, every now and then--> waits
 *
 * Invariants
 *  1. tenants, and what is in them, change under the lock, which is never held across a call of the store.
 *  2. Whoever has set busy works: the worker, or without one a caller of texts_wait.
 *  3. A thread is taken out of `waiting` before it is looked at. So a change after that puts it there again.
 *  4. Whoever writes goes first: after each transaction this work rests for a multiple of what it took (others_turn). */
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/texts_impl.h"
#include "rt/wait.h"

#define POLL_MS 2000
#define GATHER_MS 300
#define PAUSE_MOST_MS 60000
/* While threads are being written to, this work takes one part of the time of so many, and gives one up after each transaction;
 * while nobody writes to them, half of it, for those who write other things; while somebody waits for it, all. */
#define SHARE_BUSY 10
#define SHARE_QUIET 2
#define QUIET_NS UINT64_C(200000000) /* since the last write to a thread */
#define TURN_MOST_NS UINT64_C(1000000000)
#define WALK_PAGE 200
#define WALK_SHARE 50 /* comparing may take so small a part of the time */
/* Threads that wait are remembered up to so many; beyond that all are compared. */
#define WAITING_MAX 65536
#define LOOK_MS 5

struct waiting {
	uint64_t since_ns;
	uint64_t number; /* in the order of their coming; later writes to the same thread do not change it */
};
struct ttenant {
	char name[64];
	struct principal who;
	/* lock */
	struct map waiting; /* thread -> struct waiting */
	uint64_t came;	    /* numbers given out */
	uint64_t working;   /* the number of the one that is being made, 0: none */
	uint64_t walks_wanted, walks_done;
	/* who is busy */
	uint64_t walk_at;
	uint64_t comparing_ns; /* what comparing took, of the walk under way */
};
struct texts {
	struct store *store;
	struct texts_options opt;
	int wake_fd;
	atomic_bool woken;
	atomic_uint waiters;
	_Atomic uint64_t written_ns; /* the last write that texts_wake told of */
	uint64_t turn_ns;	     /* end of the last turn of others; who is busy */
	pthread_mutex_t lock;
	struct map tenants; /* lock */
	bool busy, running; /* lock */
	_Atomic uint64_t added, changed, removed, threads, failures;
};

/* ------------------------------------------------------------------- table */

enum err texts_new(struct store *store, const struct texts_options *opt, struct texts **out)
{
	struct texts *t = calloc(1, sizeof *t);

	*out = NULL;
	if (!t)
		return err_set(E_LIMIT, "out of memory");
	t->store = store;
	t->opt = *opt;
	t->opt.poll_ms = opt->poll_ms ? opt->poll_ms : POLL_MS;
	t->opt.gather_ms = opt->gather_ms ? opt->gather_ms : GATHER_MS;
	t->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (t->wake_fd < 0) {
		free(t);
		return err_set(E_LIMIT, "too many open files");
	}
	pthread_mutex_init(&t->lock, NULL);
	map_init(&t->tenants);
	*out = t;
	return OK;
}

static void tenant_free(struct ttenant *x)
{
	struct str name;
	size_t it = 0;
	void *v;

	while (map_next(&x->waiting, &it, &name, &v))
		free(v);
	map_release(&x->waiting);
	free(x);
}

void texts_free(struct texts *t)
{
	struct str name;
	size_t it = 0;
	void *v;

	if (!t)
		return;
	while (map_next(&t->tenants, &it, &name, &v))
		tenant_free(v);
	map_release(&t->tenants);
	close(t->wake_fd);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* Under the lock; NULL: out of memory. */
static struct ttenant *tenant_of(struct texts *t, struct str name)
{
	struct ttenant *x = map_get(&t->tenants, name);

	if (x || tenant_check(name) != OK)
		return x;
	x = calloc(1, sizeof *x);
	if (!x)
		return NULL;
	snprintf(x->name, sizeof x->name, "%.*s", STR_ARG(name));
	x->who = (struct principal){
		.tenant = str_c(x->name), .user = STR(""), .rights = RIGHT_READ | RIGHT_WRITE, .id = STR("texts")};
	map_init(&x->waiting);
	x->walks_wanted = 1;
	if (map_put(&t->tenants, str_c(x->name), x, NULL) != OK) {
		free(x);
		return NULL;
	}
	return x;
}

static bool enabled(const struct texts *t)
{
	return t && !t->opt.off && t->store->ops->texts;
}

/* Under the lock. A thread that cannot be remembered is found by comparing. */
static void note(struct ttenant *x, struct str thread)
{
	struct waiting *w;
	uint64_t number = ++x->came;

	if (map_get(&x->waiting, thread))
		return;
	w = x->waiting.count < WAITING_MAX ? malloc(sizeof *w) : NULL;
	if (w)
		*w = (struct waiting){clock_mono_ns(), number};
	if (!w || map_put(&x->waiting, thread, w, NULL) != OK) {
		free(w);
		x->walks_wanted = x->walks_done + 2; /* one that is under way may be past it */
	}
}

static void ring(struct texts *t)
{
	uint64_t one = 1;
	ssize_t wrote;

	if (atomic_exchange(&t->woken, true))
		return;
	wrote = write(t->wake_fd, &one, sizeof one);
	(void)wrote; /* it only fails when it is set already */
}

void texts_wake(struct texts *t, struct str tenant, struct str thread)
{
	struct diag was;
	struct ttenant *x;

	if (!enabled(t) || thread.n == 0)
		return;
	was = *diag_get();
	atomic_store(&t->written_ns, clock_mono_ns());
	pthread_mutex_lock(&t->lock);
	x = tenant_of(t, tenant);
	if (x)
		note(x, thread);
	pthread_mutex_unlock(&t->lock);
	*diag_get() = was;
	ring(t);
}

/* -------------------------------------------------------------------- work */

/* Others' turn, for a time that what was done since the last one asks for. */
static enum err others_turn(void *ctx)
{
	struct texts *t = ctx;
	uint64_t now = clock_mono_ns(), took = now - t->turn_ns, written = atomic_load(&t->written_ns);
	uint64_t pause = took * ((now > written + QUIET_NS ? SHARE_QUIET : SHARE_BUSY) - 1);
	enum err e = wait_until(now); /* has it been cancelled? */

	if (pause > TURN_MOST_NS)
		pause = TURN_MOST_NS;
	for (uint64_t until = now + pause; e == OK && !atomic_load(&t->waiters) && (now = clock_mono_ns()) < until;)
		e = wait_until(until - now < LOOK_MS * UINT64_C(1000000) ? until : deadline_in_ms(LOOK_MS));
	t->turn_ns = clock_mono_ns();
	return e;
}

/* On the heap: names of other programs' threads have any length. .p NULL: out of memory. */
static struct str name_copy(struct str name)
{
	char *p = malloc(name.n + 1);

	if (p && name.n)
		memcpy(p, name.p, name.n);
	return str_of(p, p ? name.n : 0);
}

/* The thread that has waited longest, taken out, of those that had come by `upto`; .p NULL: none. The caller frees it. */
static struct str take_first(struct texts *t, struct ttenant *x, uint64_t upto)
{
	struct str best = {0}, thread, name = {0};
	uint64_t number = UINT64_MAX;
	size_t it = 0;
	void *v;

	pthread_mutex_lock(&t->lock);
	while (map_next(&x->waiting, &it, &thread, &v)) {
		const struct waiting *w = v;

		if (w->number < number && w->number <= upto) {
			number = w->number;
			best = thread;
		}
	}
	if (best.p)
		name = name_copy(best); /* out of memory: it goes on waiting */
	if (name.p) {
		free(map_del(&x->waiting, name));
		x->working = number;
	}
	pthread_mutex_unlock(&t->lock);
	return name;
}

static void note_again(struct texts *t, struct ttenant *x, struct str thread)
{
	pthread_mutex_lock(&t->lock);
	note(x, thread);
	pthread_mutex_unlock(&t->lock);
}

/* One thread. An error of the store's is one of the whole work; anything else is that thread's own, which is left as it is until it
 * changes. */
static enum err make_one(struct texts *t, struct memory *m, struct ttenant *x, struct str thread)
{
	struct made made;
	bool again;
	const struct turn turn = {others_turn, t};
	enum err e;

	t->turn_ns = clock_mono_ns();
	e = texts_make(m, &x->who, thread, &turn, &made, &again);

	atomic_fetch_add(&t->added, made.added);
	atomic_fetch_add(&t->changed, made.changed);
	atomic_fetch_add(&t->removed, made.removed);
	atomic_fetch_add(&t->threads, 1);
	if (e == OK && again)
		note_again(t, x, thread);
	if (e == OK || e == E_CANCELLED)
		return e;
	atomic_fetch_add(&t->failures, 1);
	LOG(LOG_WARN, "core.texts", "the texts of a thread could not be made", LF_C("tenant", x->name), LF_STR("thread", thread),
	    LF_C("error", err_name(e)), LF_C("reason", diag_get()->text));
	if (e == E_LIMIT || e == E_INVALID || e == E_CORRUPT || e == E_NOMEM)
		return OK;
	note_again(t, x, thread);
	return e;
}

static void rest(struct texts *t, struct ttenant *x)
{
	pthread_mutex_lock(&t->lock);
	x->working = 0;
	pthread_mutex_unlock(&t->lock);
}

/* All that waits of a tenant as this begins: what comes meanwhile is for the next time, or other tenants, and comparing, would
 * never be done. */
static enum err make_waiting(struct texts *t, struct memory *m, struct ttenant *x)
{
	struct str thread;
	uint64_t upto;
	enum err e = OK;

	pthread_mutex_lock(&t->lock);
	upto = x->came;
	pthread_mutex_unlock(&t->lock);
	while (e == OK && (thread = take_first(t, x, upto)).p) {
		e = make_one(t, m, x, thread);
		free((char *)thread.p);
		rest(t, x);
		if (e == OK)
			e = others_turn(t);
	}
	return e;
}

/* --------------------------------------------------------------- comparing */

/* A page of threads and one of what has been seen, both in the order of names. */
struct names {
	struct arena a;
	struct {
		struct str thread;
		char look[24];
	} v[WALK_PAGE];
	size_t n;
	bool short_of_memory;
};

static bool on_thread(void *ctx, const struct thread_info *i)
{
	struct names *p = ctx;

	if (p->n == WALK_PAGE)
		return false;
	p->v[p->n].thread = arena_str(&p->a, i->thread);
	texts_look(i, p->v[p->n].look);
	p->short_of_memory |= !p->v[p->n].thread.p;
	p->n++;
	return !p->short_of_memory;
}

static bool on_seen(void *ctx, struct str thread, struct str seen)
{
	struct names *p = ctx;

	if (p->n == WALK_PAGE)
		return false;
	p->v[p->n].thread = arena_str(&p->a, thread);
	snprintf(p->v[p->n].look, sizeof p->v[p->n].look, "%.*s", (int)(seen.n < 16 ? seen.n : 16), seen.n ? seen.p : "");
	p->short_of_memory |= !p->v[p->n].thread.p;
	p->n++;
	return !p->short_of_memory;
}

/* Merges both pages as far as both reach, and says how far that is. */
static void compare(struct texts *t, struct ttenant *x, const struct names *have, const struct names *seen, struct str *upto)
{
	struct str end_have = have->n == WALK_PAGE ? have->v[have->n - 1].thread : (struct str){0};
	struct str end_seen = seen->n == WALK_PAGE ? seen->v[seen->n - 1].thread : (struct str){0};
	size_t i = 0, k = 0;

	*upto = !end_have.p ? end_seen : !end_seen.p || str_cmp(end_have, end_seen) < 0 ? end_have : end_seen;
	pthread_mutex_lock(&t->lock);
	while (i < have->n || k < seen->n) {
		int c = i == have->n ? 1 : k == seen->n ? -1 : str_cmp(have->v[i].thread, seen->v[k].thread);
		struct str name = c <= 0 ? have->v[i].thread : seen->v[k].thread;

		if (upto->p && str_cmp(name, *upto) > 0)
			break;
		if (c != 0 || strcmp(have->v[i].look, seen->v[k].look) != 0)
			note(x, name);
		i += c <= 0;
		k += c >= 0;
	}
	pthread_mutex_unlock(&t->lock);
}

static enum err walk_page(struct texts *t, struct ttenant *x, struct str after, struct names *have, struct names *seen,
			  struct str *upto)
{
	struct store *s = t->store;
	uint64_t from = clock_mono_ns();

	have->n = seen->n = 0;
	TRY(s->ops->thread_list(s, &x->who, NULL, after, WALK_PAGE, on_thread, have));
	TRY(s->ops->texts->walk(s, &x->who, after, WALK_PAGE, on_seen, seen));
	if (have->short_of_memory || seen->short_of_memory)
		return err_set(E_LIMIT, "out of memory");
	compare(t, x, have, seen, upto);
	x->comparing_ns += clock_mono_ns() - from;
	return OK;
}

/* Compares all threads of a tenant; what differs waits then. */
static enum err walk(struct texts *t, struct memory *m, struct ttenant *x)
{
	struct names *pages = calloc(2, sizeof *pages);
	struct str from = STR(""), after = {0}, upto;
	enum err e = pages ? OK : err_set(E_LIMIT, "out of memory");

	while (e == OK) {
		arena_init(&pages[0].a, 1u << 20);
		arena_init(&pages[1].a, 1u << 20);
		e = walk_page(t, x, from, &pages[0], &pages[1], &upto);
		if (e == OK && upto.p) {
			from = name_copy(upto);
			free((char *)after.p);
			after = from;
			e = from.p ? OK : err_set(E_LIMIT, "out of memory");
		}
		arena_release(&pages[0].a);
		arena_release(&pages[1].a);
		if (e == OK)
			e = make_waiting(t, m, x);
		if (e == OK && !upto.p)
			break;
	}
	free((char *)after.p);
	free(pages);
	return e;
}

/* Off: what is there goes. */
static enum err forget(struct texts *t, struct ttenant *x)
{
	struct names *page = calloc(1, sizeof *page);
	enum err e = page ? OK : err_set(E_LIMIT, "out of memory");

	while (e == OK) {
		arena_init(&page->a, 1u << 20);
		page->n = 0;
		e = t->store->ops->texts->walk(t->store, &x->who, STR(""), WALK_PAGE, on_seen, page);
		for (size_t i = 0; i < page->n && e == OK; i++)
			e = t->store->ops->texts->drop(t->store, &x->who, page->v[i].thread, false);
		arena_release(&page->a);
		if (e == OK)
			e = wait_until(clock_mono_ns());
		if (page->n == 0)
			break;
	}
	free(page);
	return e;
}

static enum err walk_if_due(struct texts *t, struct memory *m, struct ttenant *x)
{
	uint64_t wanted, from = clock_mono_ns(), pause;
	bool due;
	enum err e;

	pthread_mutex_lock(&t->lock);
	wanted = x->walks_wanted;
	due = wanted > x->walks_done || (!t->opt.off && from >= x->walk_at);
	pthread_mutex_unlock(&t->lock);
	if (!due)
		return OK;
	x->comparing_ns = 0;
	e = t->opt.off ? forget(t, x) : walk(t, m, x);
	if (e != OK)
		return e;
	pause = x->comparing_ns * WALK_SHARE;
	if (pause < t->opt.poll_ms * UINT64_C(1000000))
		pause = t->opt.poll_ms * UINT64_C(1000000);
	x->walk_at = clock_mono_ns() + pause;
	pthread_mutex_lock(&t->lock);
	if (x->walks_done < wanted)
		x->walks_done = wanted;
	pthread_mutex_unlock(&t->lock);
	return OK;
}

/* ------------------------------------------------------------------ forever */

static bool on_tenant(void *ctx, struct str name)
{
	struct texts *t = ctx;

	pthread_mutex_lock(&t->lock);
	(void)tenant_of(t, name);
	pthread_mutex_unlock(&t->lock);
	return true;
}

/* The tenants there are by now, into an array that the caller frees. A tenant stays until texts_free. */
static enum err all_tenants(struct texts *t, struct ttenant ***out, size_t *n)
{
	struct str name;
	size_t it = 0;
	void *v;

	*n = 0;
	pthread_mutex_lock(&t->lock);
	*out = calloc(t->tenants.count + 1, sizeof **out);
	while (*out && map_next(&t->tenants, &it, &name, &v))
		(*out)[(*n)++] = v;
	pthread_mutex_unlock(&t->lock);
	return *out ? OK : err_set(E_LIMIT, "out of memory");
}

/* A tenant whose store fails keeps no other waiting. */
static enum err round_of_all(struct texts *t, struct memory *m)
{
	struct ttenant **all;
	size_t n;
	enum err e = OK;

	TRY(all_tenants(t, &all, &n));
	for (size_t i = 0; i < n && e != E_CANCELLED; i++) {
		enum err one = make_waiting(t, m, all[i]);

		if (one == OK)
			one = walk_if_due(t, m, all[i]);
		if (one != OK)
			e = one;
	}
	free(all);
	return e;
}

/* Until somebody writes, or poll_ms have passed; then what comes with it is gathered. */
static enum err nap(struct texts *t, bool failed, unsigned failures)
{
	uint64_t n, gather = t->opt.gather_ms * UINT64_C(1000000);
	uint64_t pause = failed ? UINT64_C(100000000) << (failures < 10 ? failures : 10) : 0;
	ssize_t got;
	enum err e;

	if (pause > PAUSE_MOST_MS * UINT64_C(1000000))
		pause = PAUSE_MOST_MS * UINT64_C(1000000);
	e = failed ? wait_until(clock_mono_ns() + pause) : wait_fd(t->wake_fd, WAIT_READ, deadline_in_ms(t->opt.poll_ms), NULL);
	if (e == E_CANCELLED)
		return e;
	for (uint64_t until = clock_mono_ns() + gather; e == OK && !atomic_load(&t->waiters) && clock_mono_ns() < until;)
		e = wait_until(deadline_in_ms(LOOK_MS));
	got = read(t->wake_fd, &n, sizeof n);
	(void)got;
	atomic_store(&t->woken, false);
	return e == E_CANCELLED ? e : OK;
}

static enum err work_on(struct texts *t, struct memory *m)
{
	unsigned failures = 0;
	uint64_t look_at = 0;

	for (;;) {
		enum err e = OK;

		if (clock_mono_ns() >= look_at) {
			e = t->store->ops->tenants(t->store, on_tenant, t);
			look_at = deadline_in_ms(t->opt.poll_ms);
		}
		if (e == OK)
			e = round_of_all(t, m);
		if (e == E_CANCELLED)
			return e;
		failures = e == OK ? 0 : failures + 1;
		TRY(nap(t, e != OK, failures));
	}
}

static bool take_over(struct texts *t, bool worker)
{
	bool mine;

	pthread_mutex_lock(&t->lock);
	if (worker)
		t->running = true;
	mine = !t->busy && (worker || !t->running);
	t->busy |= mine;
	pthread_mutex_unlock(&t->lock);
	return mine;
}

static void let_go(struct texts *t, bool worker, bool mine)
{
	pthread_mutex_lock(&t->lock);
	if (worker)
		t->running = false;
	if (mine)
		t->busy = false;
	pthread_mutex_unlock(&t->lock);
}

enum err texts_forever(struct texts *t, struct memory *m)
{
	bool mine = false;
	enum err e = OK;

	if (!t || !t->store->ops->texts)
		return OK;
	while (!(mine = take_over(t, true)) && e != E_CANCELLED)
		e = wait_until(deadline_in_ms(1));
	if (mine)
		e = work_on(t, m);
	let_go(t, true, mine);
	return e;
}

/* ------------------------------------------------------------------ waiting */

/* Under the lock: is there anything left of what had come by `number`? */
static bool pending(struct ttenant *x, uint64_t number, uint64_t walks)
{
	struct str thread;
	size_t it = 0;
	void *v;

	if (x->working && x->working <= number)
		return true;
	if (x->walks_done < walks)
		return true;
	while (map_next(&x->waiting, &it, &thread, &v))
		if (((const struct waiting *)v)->number <= number)
			return true;
	return false;
}

static enum err wait_for(struct texts *t, struct memory *m, struct ttenant *x, uint64_t number, uint64_t walks, uint64_t until)
{
	enum err e = OK;

	while (e == OK) {
		bool left;

		pthread_mutex_lock(&t->lock);
		left = pending(x, number, walks);
		pthread_mutex_unlock(&t->lock);
		if (!left)
			return OK;
		if (clock_mono_ns() >= until)
			return err_set(E_TIMEOUT, "the texts of threads are not all indexed yet");
		if (take_over(t, false)) {
			e = make_waiting(t, m, x);
			if (e == OK)
				e = walk_if_due(t, m, x);
			let_go(t, false, true);
		} else {
			ring(t);
			e = wait_until(deadline_in_ms(LOOK_MS));
		}
	}
	return e;
}

enum err texts_wait(struct texts *t, struct memory *m, const struct principal *who, uint32_t ms, bool everything)
{
	uint64_t number, walks = 0, until = ms ? deadline_in_ms(ms) : UINT64_MAX;
	struct ttenant *x;
	enum err e;

	TRY(principal_check(who, RIGHT_READ));
	if (!enabled(t))
		return OK;
	pthread_mutex_lock(&t->lock);
	x = tenant_of(t, who->tenant);
	number = x ? x->came : 0;
	if (x && everything) /* one that is under way has begun before the call */
		walks = x->walks_wanted = x->walks_done + 2;
	pthread_mutex_unlock(&t->lock);
	if (!x)
		return err_set(E_LIMIT, "out of memory");
	atomic_fetch_add(&t->waiters, 1);
	e = wait_for(t, m, x, number, walks, until);
	atomic_fetch_sub(&t->waiters, 1);
	return e;
}

/* -------------------------------------------------------------------- state */

/* Under the lock. */
static void add_state(const struct ttenant *x, struct texts_state *out, uint64_t *oldest)
{
	struct str thread;
	size_t it = 0;
	void *v;

	out->waiting += (int64_t)x->waiting.count + (x->working != 0);
	out->compared = out->compared && x->walks_done > 0;
	while (map_next(&x->waiting, &it, &thread, &v)) {
		const struct waiting *w = v;

		*oldest = w->since_ns < *oldest ? w->since_ns : *oldest;
	}
}

static int64_t age_ms(uint64_t since)
{
	uint64_t now = clock_mono_ns();

	return since < now ? (int64_t)((now - since) / 1000000) : 0;
}

void texts_state(struct texts *t, const struct principal *who, struct texts_state *out)
{
	uint64_t oldest = UINT64_MAX;
	struct ttenant *x;

	*out = (struct texts_state){.on = enabled(t), .compared = true};
	if (!out->on)
		return;
	pthread_mutex_lock(&t->lock);
	x = map_get(&t->tenants, who->tenant);
	if (x)
		add_state(x, out, &oldest);
	else
		out->compared = false;
	pthread_mutex_unlock(&t->lock);
	out->lag_ms = age_ms(oldest);
}

static void one(struct buf *out, const char *name, const char *help, const char *type, uint64_t v)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name, (unsigned long long)v);
}

void texts_metrics(struct texts *t, struct buf *out)
{
	struct texts_state s = {.compared = true};
	uint64_t oldest = UINT64_MAX;
	struct str name;
	size_t it = 0;
	void *v;

	if (!enabled(t))
		return;
	pthread_mutex_lock(&t->lock);
	while (map_next(&t->tenants, &it, &name, &v))
		add_state(v, &s, &oldest);
	pthread_mutex_unlock(&t->lock);
	one(out, "cenote_texts_waiting", "Threads whose entries or checkpoints are not indexed yet, as far as known.", "gauge",
	    (uint64_t)s.waiting);
	buf_printf(out,
		   "# HELP cenote_texts_lag_seconds How long the first of them has been waiting.\n"
		   "# TYPE cenote_texts_lag_seconds gauge\ncenote_texts_lag_seconds %.3f\n",
		   (double)age_ms(oldest) / 1e3);
	one(out, "cenote_texts_threads_total", "Threads looked at.", "counter", atomic_load(&t->threads));
	one(out, "cenote_texts_added_total", "Texts of entries and checkpoints indexed.", "counter", atomic_load(&t->added));
	one(out, "cenote_texts_changed_total", "Texts indexed anew because they changed.", "counter", atomic_load(&t->changed));
	one(out, "cenote_texts_removed_total", "Texts removed.", "counter", atomic_load(&t->removed));
	one(out, "cenote_texts_failures_total", "Threads whose texts could not be made.", "counter", atomic_load(&t->failures));
}
