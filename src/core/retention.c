/* Retention: the rules as text, which of them a thread falls under, and the passes in the background.
 *
 * Invariants
 *  1. A pass removes in the steps of checkpoint_plan.c, each a transaction that leaves the thread whole; so a crash in the middle
 *     costs nothing but the rest of the pass, and live writers wait for one step at most.
 *  2. A thread that did not change since a pass looked at it is looked at again only when one of its checkpoints stops being
 *     young (`seen`); the table is a matter of speed alone and is dropped when it grows beyond SEEN_MAX.
 *  3. A thread is deleted only when its last change, read again just before, is still as old as the rule wants. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "core/checkpoint_impl.h"
#include "core/retention_impl.h"
#include "rt/wait.h"

enum { PAGE = 200, PAUSE_MS = 5, STEP_PAUSE_MS = 20, SEEN_MAX = 200000, RETRY_MS = 5000, GONE = -1 };

/* Counted over all tenants, since the start. */
static _Atomic uint64_t passes, failures, threads_deleted, threads_pruned, checkpoints_removed, bytes_removed;
static _Atomic int64_t last_pass_us;

/* ---------------------------------------------------------------- a pass */

/* A thread as the last look left it: a checkpoint that is put back in the place of a removed one, at the same time, is a change.
 * Where a look deleted the thread, checkpoints is GONE. */
struct seen {
	int64_t updated_us, checkpoints, next_us;
};

struct pass {
	struct store *s;
	const struct principal *who;
	const struct retention *r;
	bool dry_run, rest; /* rest: pauses between the steps */
	retention_fn fn;
	void *ctx;
	int64_t now_us;
	struct map *seen; /* NULL: every thread is looked at */
};

struct page {
	struct arena a;
	struct thread_info *v;
	size_t n;
	enum err err;
};

static bool on_thread(void *ctx, const struct thread_info *t)
{
	struct page *p = ctx;
	struct thread_info *to = &p->v[p->n++];

	*to = *t;
	to->thread = arena_str(&p->a, t->thread);
	to->user = arena_str(&p->a, t->user);
	to->metadata = to->config = STR("");
	if (!to->thread.p || !to->user.p)
		p->err = E_NOMEM;
	return p->err == OK;
}

static void tell(const struct pass *p, struct str thread, const char *rule, bool whole, const struct ckpt_removed *removed)
{
	const struct retention_step s = {p->who->tenant, thread, rule, whole, *removed};

	if (p->fn)
		p->fn(p->ctx, &s);
	if (p->dry_run)
		return;
	atomic_fetch_add_explicit(whole ? &threads_deleted : &threads_pruned, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&checkpoints_removed, (uint64_t)removed->checkpoints, memory_order_relaxed);
	atomic_fetch_add_explicit(&bytes_removed, (uint64_t)removed->bytes, memory_order_relaxed);
}

static enum err storage_of(const struct pass *p, struct str thread, struct ckpt_removed *out)
{
	struct ckpt_storage st = {0};
	struct arena a;
	enum err e;

	arena_init(&a, (size_t)64 << 20);
	e = p->s->ops->checkpoints->storage(p->s, &a, p->who, thread, &st);
	arena_release(&a);
	*out = (struct ckpt_removed){st.checkpoints, st.values, st.writes, st.checkpoint_bytes + st.value_bytes + st.write_bytes};
	return e == E_NOT_FOUND ? OK : e;
}

/* The thread with everything under its name, if nobody has written to it since the page was read. */
static enum err delete_thread(const struct pass *p, const struct thread_info *t, const char *rule, struct seen *seen)
{
	struct ckpt_removed gone = {0};
	struct thread_info now;
	struct arena a;
	bool found;
	enum err e;

	if (t->checkpoints > 0)
		TRY(storage_of(p, t->thread, &gone));
	arena_init(&a, (size_t)64 << 20);
	e = p->s->ops->threads->get(p->s, &a, p->who, t->thread, &now, &found);
	arena_release(&a);
	TRY(e);
	seen->checkpoints = GONE;
	if (!found || now.updated_us != t->updated_us)
		return OK;
	if (!p->dry_run) {
		e = p->s->ops->threads->remove(p->s, p->who, t->thread, THREAD_ALL);
		if (e == E_NOT_FOUND)
			return OK;
		TRY(e);
	}
	tell(p, t->thread, rule, true, &gone);
	return OK;
}

static enum err prune_thread(const struct pass *p, const struct thread_info *t, const struct ckpt_policy *policy, const char *rule,
			     struct seen *seen)
{
	const struct ckpt_prune_how how = {policy, p->dry_run, p->now_us, p->rest ? STEP_PAUSE_MS : 0};
	struct ckpt_plan_result res;

	TRY(ckpt_prune_thread(p->s, p->who, t->thread, &how, &res));
	seen->next_us = res.next_us;
	seen->checkpoints = t->checkpoints - res.removed.checkpoints;
	if (res.removed.checkpoints > 0)
		tell(p, t->thread, rule, false, &res.removed);
	return OK;
}

/* What has to be done with a thread, by its own time to live and by the rules. */
static enum err look_at(const struct pass *p, const struct thread_info *t, struct seen *seen)
{
	const struct retention_rule *r = retention_rule_of(p->r, p->who->tenant, t->thread);
	int64_t idle = p->now_us - t->updated_us;
	static const struct ckpt_policy latest = {.keep_last = 1};

	*seen = (struct seen){.updated_us = t->updated_us, .checkpoints = t->checkpoints};
	if (t->ttl_minutes > 0) {
		double ttl_us = t->ttl_minutes * 60e6;

		if ((double)idle >= ttl_us && t->ttl_strategy == TTL_DELETE)
			return delete_thread(p, t, "ttl", seen);
		if ((double)idle >= ttl_us)
			return t->checkpoints > 1 ? prune_thread(p, t, &latest, "ttl", seen) : OK;
		seen->next_us = ttl_us < 1e17 ? t->updated_us + (int64_t)ttl_us : 0;
	} else if (r && r->idle_us > 0) {
		if (t->updated_us > 0 && idle >= r->idle_us)
			return delete_thread(p, t, r->text, seen);
		seen->next_us = t->updated_us + r->idle_us;
	}
	/* No namespace has more than there are in all. */
	if (r && r->prunes && t->checkpoints > r->policy.keep_last) {
		struct seen pruned = {0};

		TRY(prune_thread(p, t, &r->policy, r->text, &pruned));
		seen->checkpoints = pruned.checkpoints;
		if (pruned.next_us && (!seen->next_us || pruned.next_us < seen->next_us))
			seen->next_us = pruned.next_us;
	}
	return OK;
}

static enum err seen_key(struct arena *a, const struct pass *p, struct str thread, struct str *out)
{
	*out = arena_printf(a, "%.*s/%.*s", STR_ARG(p->who->tenant), STR_ARG(thread));
	return out->p ? OK : E_NOMEM;
}

static enum err remember(struct map *m, struct str key, const struct seen *s)
{
	struct seen *mine = map_get(m, key);
	enum err e;

	if (mine) {
		*mine = *s;
		return OK;
	}
	mine = malloc(sizeof *mine);
	if (!mine)
		return err_set(E_LIMIT, "out of memory");
	*mine = *s;
	e = map_put(m, key, mine, NULL);
	if (e != OK)
		free(mine);
	return e;
}

static void forget_all(struct map *m)
{
	struct str key;
	size_t it = 0;
	void *v;

	while (map_next(m, &it, &key, &v))
		free(v);
	map_release(m);
	map_init(m);
}

static enum err one_thread(const struct pass *p, struct arena *a, const struct thread_info *t)
{
	const struct seen *before;
	struct seen now;
	struct str key;

	if (!p->seen || p->dry_run)
		return look_at(p, t, &now);
	TRY(seen_key(a, p, t->thread, &key));
	before = map_get(p->seen, key);
	if (before && before->updated_us == t->updated_us && before->checkpoints == t->checkpoints &&
	    (before->next_us == 0 || before->next_us > p->now_us))
		return OK;
	TRY(look_at(p, t, &now));
	return remember(p->seen, key, &now);
}

static bool passing(enum err e)
{
	return e != OK && e != E_CANCELLED && e != E_TIMEOUT && e != E_IO && e != E_BUSY && e != E_DENIED;
}

/* One thread that cannot be dealt with does not keep the others from it. */
static enum err one_page(const struct pass *p, struct page *g)
{
	for (size_t i = 0; i < g->n; i++) {
		enum err e = one_thread(p, &g->a, &g->v[i]);

		if (passing(e) && p->rest) {
			atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
			LOG(LOG_WARN, "core.retention", "a thread could not be looked after", LF_STR("thread", g->v[i].thread),
			    LF_C("error", err_name(e)), LF_C("detail", diag_get()->text));
			e = OK;
		}
		TRY(e);
	}
	return OK;
}

static enum err pages(const struct pass *p)
{
	struct page g = {.n = 0};
	char after[THREAD_MAX_BYTES * 4];
	size_t after_n = 0;
	enum err e = OK;

	arena_init(&g.a, (size_t)64 << 20);
	do {
		arena_clear(&g.a);
		g.n = 0;
		g.v = ARENA_ARRAY(&g.a, struct thread_info, PAGE);
		CHECK(g.v ? OK : E_NOMEM);
		CHECK(p->s->ops->thread_list(p->s, p->who, NULL, str_of(after, after_n), PAGE, on_thread, &g));
		CHECK(g.err);
		CHECK(one_page(p, &g));
		if (g.n > 0) {
			struct str last = g.v[g.n - 1].thread;

			after_n = last.n < sizeof after ? last.n : sizeof after;
			memcpy(after, last.p, after_n);
		}
		if (p->rest)
			CHECK(wait_until(deadline_in_ms(PAUSE_MS)));
	} while (g.n == PAGE);
out:
	arena_release(&g.a);
	return e;
}

enum err retention_pass_at(struct store *s, const struct principal *who, const struct retention *r, bool dry_run, int64_t now_us,
			   retention_fn fn, void *ctx)
{
	const struct pass p = {.s = s, .who = who, .r = r, .dry_run = dry_run, .fn = fn, .ctx = ctx, .now_us = now_us};

	TRY(principal_check(who, dry_run ? RIGHT_READ : RIGHT_WRITE));
	return pages(&p);
}

enum err retention_pass(struct memory *m, const struct principal *who, const struct retention *r, bool dry_run, retention_fn fn,
			void *ctx)
{
	return retention_pass_at(memory_store(m), who, r, dry_run, clock_wall_us(), fn, ctx);
}

/* ---------------------------------------------------------------- for ever */

struct tenants {
	struct arena a;
	struct str *v;
	size_t n, cap;
	enum err err;
};

static bool on_tenant(void *ctx, struct str name)
{
	struct tenants *t = ctx;

	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 16;

		t->v = arena_grow(&t->a, t->v, t->cap * sizeof *t->v, cap * sizeof *t->v);
		t->cap = cap;
	}
	if (!t->v || !(t->v[t->n] = arena_str(&t->a, name)).p)
		t->err = E_NOMEM;
	t->n += t->err == OK;
	return t->err == OK;
}

/* A tenant that cannot be looked after does not keep the others from it. What the pass returns is what may be over soon, such as a
 * disk that does not answer: then it is tried again sooner than the next pass would begin. */
static enum err all_passes(const struct tenants *t, struct store *s, const struct retention *r, struct map *seen)
{
	struct diag d = {.code = OK};
	enum err last = OK;

	for (size_t i = 0; i < t->n; i++) {
		const struct principal who = {.tenant = t->v[i], .rights = RIGHT_ALL, .id = STR("retention")};
		const struct pass p = {.s = s, .who = &who, .r = r, .rest = true, .now_us = clock_wall_us(), .seen = seen};
		enum err e = pages(&p);

		if (e == E_CANCELLED)
			return e;
		if (passing(e)) {
			atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
			LOG(LOG_WARN, "core.retention", "a tenant could not be looked after", LF_STR("tenant", t->v[i]),
			    LF_C("error", err_name(e)), LF_C("detail", diag_get()->text));
		} else if (e != OK) {
			last = e;
			d = *diag_get();
		}
	}
	if (last != OK)
		*diag_get() = d;
	return last;
}

static enum err all_tenants(struct store *s, const struct retention *r, struct map *seen)
{
	struct tenants t = {.n = 0};
	enum err e;

	if (seen->count > SEEN_MAX)
		forget_all(seen);
	arena_init(&t.a, (size_t)16 << 20);
	CHECK(s->ops->tenants(s, on_tenant, &t));
	CHECK(t.err);
	CHECK(all_passes(&t, s, r, seen));
	atomic_fetch_add_explicit(&passes, 1, memory_order_relaxed);
	atomic_store_explicit(&last_pass_us, clock_wall_us(), memory_order_relaxed);
out:
	arena_release(&t.a);
	return e;
}

enum err retention_forever(struct memory *m, const struct retention *r, uint32_t interval_ms)
{
	struct store *s = memory_store(m);
	struct map seen;
	enum err e = OK;

	map_init(&seen);
	while (e == OK) {
		e = all_tenants(s, r, &seen);
		if (e != OK && e != E_CANCELLED) {
			atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
			LOG(LOG_WARN, "core.retention", "a pass failed; it is tried again", LF_C("error", err_name(e)),
			    LF_C("detail", diag_get()->text));
			e = wait_until(deadline_in_ms(interval_ms < RETRY_MS ? interval_ms : RETRY_MS));
		} else if (e == OK) {
			e = wait_until(deadline_in_ms(interval_ms));
		}
	}
	forget_all(&seen);
	map_release(&seen);
	return e;
}

/* ---------------------------------------------------------------- metrics */

static void figure(struct buf *out, const char *name, const char *type, const char *help, uint64_t v)
{
	buf_printf(out, "# HELP cenote_retention_%s %s\n# TYPE cenote_retention_%s %s\ncenote_retention_%s ", name, help, name,
		   type, name);
	buf_u64(out, v);
	buf_byte(out, '\n');
}

void retention_metrics(struct buf *out)
{
	figure(out, "passes_total", "counter", "Passes over all threads.", atomic_load(&passes));
	figure(out, "failures_total", "counter", "Passes, tenants and threads that failed.", atomic_load(&failures));
	figure(out, "threads_deleted_total", "counter", "Threads deleted because idle for too long.",
	       atomic_load(&threads_deleted));
	figure(out, "threads_pruned_total", "counter", "Threads of which checkpoints were removed.", atomic_load(&threads_pruned));
	figure(out, "checkpoints_removed_total", "counter", "Checkpoints removed.", atomic_load(&checkpoints_removed));
	figure(out, "bytes_removed_total", "counter", "Bytes of values and writes removed, about.", atomic_load(&bytes_removed));
	figure(out, "last_pass_timestamp_seconds", "gauge", "When the last pass ended; 0: none yet.",
	       (uint64_t)atomic_load(&last_pass_us) / 1000000);
}
