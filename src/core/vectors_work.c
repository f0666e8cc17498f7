/* The worker: round after round over the tenants until nothing is left, then asleep until somebody writes.
 *
 * A round of a tenant: what has changed goes into the queues; one call of the encoder for the first in each queue; then one step of
 * the walk through what was there before. So a text that has just been written does not wait for the million before it. */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/vectors_impl.h"
#include "rt/wait.h"

/* Texts of a call of the encoder: what it likes best, several times where that does not keep others waiting. */
#define CALLS_AT_ONCE 4
#define BATCH_DEFAULT 32
/* Writes that come one by one are taken together for so long, unless somebody waits for them: each time that vectors are stored is
 * a transaction more, which whoever writes just then waits for. At one of them a second these are too few to be seen in the 99th
 * percentile of writes. */
#define GATHER_MS 1000
#define PAUSE_FIRST_MS 100
#define PAUSE_MOST_MS 60000
#define WORK_ROOM ((size_t)64 << 20)

/* ------------------------------------------------------------- one tenant */

static size_t batch_of(const struct vectors *v)
{
	size_t n = v->embedder->batch ? v->embedder->batch : BATCH_DEFAULT;

	n *= CALLS_AT_ONCE;
	return n < EMBED_BATCH_MAX ? n : EMBED_BATCH_MAX;
}

static bool walked(const struct vtenant *t)
{
	return !t->kind[DOC_ITEM].walking && !t->kind[DOC_MESSAGE].walking;
}

/* Has it been looked what there is? */
static bool followed(const struct vtenant *t)
{
	return t->kind[DOC_ITEM].following && t->kind[DOC_MESSAGE].following;
}

static bool idle(const struct vtenant *t)
{
	return walked(t) && t->kind[DOC_ITEM].queue.n == 0 && t->kind[DOC_MESSAGE].queue.n == 0;
}

/* For whoever asks. */
static void show(struct vectors *v, struct vtenant *t)
{
	int64_t waiting = 0, replacing = 0, oldest = 0, left = t->walk_all;

	for (int k = 0; k < KINDS; k++) {
		const struct queue *q = &t->kind[k].queue;

		waiting += (int64_t)q->n;
		replacing += (int64_t)q->replacing;
		left -= t->kind[k].walked;
		if (q->n && (oldest == 0 || q->v[q->at].since_us < oldest))
			oldest = q->v[q->at].since_us;
	}
	if ((!walked(t) || (!followed(t) && left > 0)) && t->walk_since_us && (oldest == 0 || t->walk_since_us < oldest))
		oldest = t->walk_since_us;
	pthread_mutex_lock(&v->lock);
	t->waiting = waiting;
	t->replacing = replacing;
	t->all = t->walk_all;
	t->to_walk = (walked(t) && followed(t)) || left < 0 ? 0 : left;
	t->oldest_us = oldest;
	t->refused_n = (int64_t)(t->kind[DOC_ITEM].refused.n + t->kind[DOC_MESSAGE].refused.n);
	t->counted = walked(t) && followed(t);
	if (!t->again_wanted)
		t->again_shown = t->again;
	pthread_mutex_unlock(&v->lock);
}

/* How many documents the walk will see at most: an estimate, for the progress. */
static enum err count(struct vectors *v, struct vtenant *t)
{
	struct store_stats st;

	TRY(v->store->ops->stats(v->store, &t->who, &st));
	t->walk_all = st.items + st.messages + st.texts;
	t->walk_since_us = clock_wall_us();
	return OK;
}

struct made_so_far {
	const char *model;
	int64_t n;
};

static void on_model(void *ctx, struct str model, int64_t n)
{
	struct made_so_far *m = ctx;

	if (str_eq(model, str_c(m->model)))
		m->n = n;
}

/* Before the encoder has answered for the first time: about how much there is to do, for whoever asks why nothing is done. */
static enum err foresee(struct vectors *v, struct vtenant *t)
{
	struct made_so_far m = {.model = t->next[0] ? t->next : t->model};

	int64_t since = t->walk_since_us;

	TRY(count(v, t));
	TRY(v->store->ops->vector_models(v->store, &t->who, on_model, &m));
	t->kind[DOC_ITEM].walked = m.n; /* the walk begins with 0 */
	t->walk_since_us = since ? since : t->walk_since_us;
	show(v, t);
	return OK;
}

static enum err begin_again(struct vectors *v, struct vtenant *t)
{
	bool wanted;

	pthread_mutex_lock(&v->lock);
	wanted = t->again_wanted;
	t->again_wanted = false;
	pthread_mutex_unlock(&v->lock);
	if (!wanted)
		return OK;
	t->again = true;
	for (int k = 0; k < KINDS; k++) {
		t->kind[k].again_from = 0;
		t->kind[k].following = false; /* so the walk begins anew */
		marks_release(&t->kind[k].refused);
		marks_release(&t->kind[k].odd);
	}
	LOG(LOG_INFO, "core.vectors", "all vectors are made again", LF_C("tenant", t->name));
	return vectors_tell(v, t);
}

/* The first of a queue. */
static enum err queue_step(struct vectors *v, struct vtenant *t, enum doc_kind kind)
{
	struct queue *q = &t->kind[kind].queue;
	size_t n = q->n < batch_of(v) ? q->n : batch_of(v);

	if (n == 0)
		return OK;
	TRY(vectors_make(v, t, kind, q->v + q->at, n));
	queue_drop(q, n);
	return OK;
}

static enum err walk_step(struct vectors *v, struct vtenant *t, enum doc_kind kind, const char *key)
{
	struct kind_state *k = &t->kind[kind];
	struct todo *todo;
	struct arena a;
	int64_t last;
	size_t n;
	bool end;
	enum err e;

	arena_init(&a, WORK_ROOM);
	CHECK(vectors_walk(v, t, kind, str_c(key), &a, batch_of(v), &todo, &n, &last, &end));
	if (n > 0)
		CHECK(vectors_make(v, t, kind, todo, n));
	for (size_t i = n; i-- > 0;)
		if (todo[i].again) { /* from there once more */
			last = todo[i].id - 1;
			end = false;
		}
	k->after = last;
	k->walked += k->stepped;
	if (end)
		k->walking = false;
	if (t->again && last > k->again_from)
		k->again_from = last;
	if (t->again && end)
		k->again_from = INT64_MAX;
	if (t->again && n > 0)
		e = vectors_tell(v, t);
out:
	arena_release(&a);
	return e;
}

/* ------------------------------------------------------------------ rounds */

static enum err follow(struct vectors *v, struct vtenant *t, const char *key)
{
	bool was = walked(t);

	vectors_see(v, t);
	t->gap = false;
	for (int k = 0; k < KINDS; k++)
		TRY(vectors_follow(v, t, (enum doc_kind)k, str_c(key)));
	if (was && !walked(t))
		TRY(count(v, t));
	vectors_arm(v, t);
	return OK;
}

static enum err round_of(struct vectors *v, struct vtenant *t, bool *more)
{
	char key[MODEL_ROOM];
	uint64_t made = atomic_load(&v->made), refused = atomic_load(&v->refused);
	bool make, giving;

	TRY(vectors_learn(v, t, false));
	if (!followed(t))
		TRY(foresee(v, t));
	v->no_encoder = true;
	TRY(vectors_learn_dims(v, key));
	v->no_encoder = false;
	TRY(vectors_settle_models(v, t, key, &make));
	if (!make) {
		vectors_see(v, t);
		vectors_arm(v, t);
		vectors_settle(v, t, true);
		return OK;
	}
	TRY(begin_again(v, t));
	TRY(follow(v, t, key));
	show(v, t);
	for (int k = 0; k < KINDS; k++)
		TRY(queue_step(v, t, (enum doc_kind)k));
	for (int k = 0; k < KINDS; k++)
		if (t->kind[k].walking)
			TRY(walk_step(v, t, (enum doc_kind)k, key));
	if (idle(t))
		TRY(vectors_finish(v, t, key));
	/* A service that refuses all of them is asked the slower the longer it does. */
	if (atomic_load(&v->refused) > refused + 1 && atomic_load(&v->made) == made)
		trouble_note(v, &v->work, E_INVALID, PAUSE_FIRST_MS, PAUSE_MOST_MS);
	else if (atomic_load(&v->made) != made || idle(t))
		trouble_over(v, &v->work);
	TRY(vectors_foreign_give(v, t, &giving));
	show(v, t);
	vectors_settle(v, t, walked(t) && !giving);
	*more = !idle(t) || giving;
	if (!*more && t->drop_at && clock_mono_ns() >= t->drop_at)
		TRY(vectors_drop_step(v, t, more));
	return OK;
}

static void failed(struct vectors *v, struct vtenant *t, enum err e)
{
	atomic_fetch_add(&v->failures, 1);
	trouble_note(v, v->no_encoder ? &v->work : &t->trouble, e, PAUSE_FIRST_MS, PAUSE_MOST_MS);
	LOG(LOG_WARN, "core.vectors", "vectors could not be made; it is tried again", LF_C("tenant", t->name),
	    LF_C("error", err_name(e)), LF_C("reason", diag_get()->text));
	vectors_fail_waiters(v, t, e);
}

enum err vectors_round(struct vectors *v, struct vtenant *t, bool *more)
{
	enum err e;

	*more = false;
	pthread_mutex_lock(&v->lock);
	t->dirty = false;
	pthread_mutex_unlock(&v->lock);
	v->no_encoder = false;
	e = round_of(v, t, more);
	if (e == OK)
		trouble_over(v, &t->trouble);
	if (e == OK || e == E_CANCELLED)
		return e;
	show(v, t);
	failed(v, t, e);
	return e;
}

/* ------------------------------------------------------------------ forever */

static bool on_tenant(void *ctx, struct str name)
{
	struct vectors *v = ctx;
	struct vtenant *t;

	return vectors_tenant(v, name, &t) == OK;
}

static uint64_t trouble_until(struct vectors *v, const struct trouble *t)
{
	uint64_t until;

	pthread_mutex_lock(&v->lock);
	until = t->until;
	pthread_mutex_unlock(&v->lock);
	return until;
}

/* A tenant whose store fails keeps no other waiting. */
static enum err look_at_tenant(struct vectors *v, struct vtenant *t)
{
	enum err e;

	if (trouble_until(v, &t->trouble) > clock_mono_ns())
		return OK;
	e = vectors_learn(v, t, true);
	v->no_encoder = false;
	if (e != OK && e != E_CANCELLED) {
		failed(v, t, e);
		t->busy = true;
	}
	pthread_mutex_lock(&v->lock);
	t->dirty |= e == OK;
	pthread_mutex_unlock(&v->lock);
	return e == E_CANCELLED ? e : OK;
}

/* Looks at what other processes may have done. */
static enum err look_around(struct vectors *v)
{
	struct vtenant **ts;
	struct arena a;
	size_t n;
	enum err e;

	arena_init(&a, 16 << 20);
	e = v->store->ops->tenants(v->store, on_tenant, v);
	if (e == E_CANCELLED)
		goto out;
	if (e != OK)
		LOG(LOG_WARN, "core.vectors", "the store does not say which tenants there are; it is asked again",
		    LF_C("error", err_name(e)), LF_C("reason", diag_get()->text));
	CHECK(vectors_tenants(v, &a, &ts, &n));
	for (size_t i = 0; i < n; i++)
		CHECK(look_at_tenant(v, ts[i]));
out:
	arena_release(&a);
	return e;
}

static bool has_work(struct vectors *v, const struct vtenant *t)
{
	uint64_t now = clock_mono_ns();
	bool is, waits;

	pthread_mutex_lock(&v->lock);
	waits = !list_empty(&t->waiters);
	is = waits || (t->trouble.until <= now && (t->dirty || t->busy || (t->drop_at && now >= t->drop_at)));
	pthread_mutex_unlock(&v->lock);
	return is;
}

/* One round of every tenant that has something to do. An error is the encoder's; a tenant's own stays with it, *again_at is when it
 * is to be tried again. */
static enum err rounds(struct vectors *v, bool *more, uint64_t *again_at)
{
	struct vtenant **ts;
	struct arena a;
	bool again;
	size_t n;
	enum err e, one;

	*more = false;
	*again_at = NEVER;
	arena_init(&a, 16 << 20);
	CHECK(vectors_tenants(v, &a, &ts, &n));
	for (size_t i = 0; i < n && e != E_CANCELLED; i++) {
		uint64_t until;

		if (has_work(v, ts[i]) && e != OK) { /* nobody is to wait for the same again */
			vectors_fail_waiters(v, ts[i], e);
			ts[i]->busy = true;
		} else if (has_work(v, ts[i])) {
			one = vectors_round(v, ts[i], &again);
			ts[i]->busy = again || one != OK;
			*more |= again && one == OK;
			if (v->no_encoder || one == E_CANCELLED)
				e = one;
		}
		until = trouble_until(v, &ts[i]->trouble);
		if (until && until < *again_at)
			*again_at = until;
	}
out:
	arena_release(&a);
	return e;
}

static bool somebody_waits(struct vectors *v)
{
	return atomic_load(&v->waiters) > 0;
}

/* Only those who wait end this. */
static enum err gather(struct vectors *v)
{
	enum err e = OK;
	ssize_t got;
	uint64_t n;

	atomic_store(&v->woken, true);
	if (!somebody_waits(v))
		e = wait_fd(v->wake_fd, WAIT_READ, deadline_in_ms(GATHER_MS), NULL);
	got = read(v->wake_fd, &n, sizeof n);
	(void)got;
	atomic_store(&v->woken, false);
	return e == E_TIMEOUT ? OK : e;
}

/* Until something is written, or the next look around. In trouble: until it is time to try again, or somebody waits. */
static enum err nap(struct vectors *v, uint64_t look_at)
{
	uint64_t pause, n;
	bool paused;
	ssize_t got;
	enum err e;

	do {
		pause = trouble_until(v, &v->work);
		paused = pause > clock_mono_ns();
		/* Writes do not end a pause: woken stays set, so that they do not even try to. */
		atomic_store(&v->woken, paused);
		e = wait_fd(v->wake_fd, WAIT_READ, paused ? pause : look_at, NULL);
		if (e == E_CANCELLED)
			return e;
		got = read(v->wake_fd, &n, sizeof n);
		(void)got;
	} while (paused && !somebody_waits(v) && pause > clock_mono_ns());
	atomic_store(&v->woken, false);
	if (e == E_TIMEOUT || (e == OK && paused))
		return OK;
	return e == OK ? gather(v) : e;
}

static bool pausing(struct vectors *v)
{
	return trouble_until(v, &v->work) > clock_mono_ns();
}

static enum err work_on(struct vectors *v)
{
	uint64_t look_at = 0, again_at = NEVER;
	bool more = false;
	enum err e;

	for (;;) {
		e = OK;
		if (clock_mono_ns() >= look_at) {
			e = look_around(v);
			look_at = deadline_in_ms(v->opt.poll_ms);
		}
		if (e == OK)
			e = rounds(v, &more, &again_at);
		if (e == E_CANCELLED)
			return e;
		if (e == OK && more && !pausing(v))
			e = wait_until(clock_mono_ns()); /* has it been cancelled? */
		else
			e = nap(v, again_at < look_at ? again_at : look_at);
		if (e != OK && e != E_CANCELLED) /* no memory to wait with, for instance */
			e = wait_until(deadline_in_ms(PAUSE_FIRST_MS));
		if (e == E_CANCELLED)
			return e;
	}
}

/* Nobody works for those who still wait. */
static void send_home(struct vectors *v)
{
	struct diag before = *diag_get();
	struct vtenant **ts;
	struct arena a;
	size_t n;

	arena_init(&a, 16 << 20);
	if (vectors_tenants(v, &a, &ts, &n) == OK)
		for (size_t i = 0; i < n; i++)
			vectors_fail_waiters(v, ts[i], err_set(E_BUSY, "the server is being stopped"));
	arena_release(&a);
	*diag_get() = before;
}

enum err vectors_forever(struct vectors *v)
{
	bool mine = false;
	enum err e = OK;

	if (!v->embedder)
		return OK;
	/* Somebody who could not wait for the worker to start may be doing its job: he ends with this round. */
	while (!mine && e != E_CANCELLED) {
		pthread_mutex_lock(&v->lock);
		v->running = true;
		mine = !v->busy;
		v->busy = true;
		pthread_mutex_unlock(&v->lock);
		if (!mine)
			e = wait_until(deadline_in_ms(1));
	}
	if (mine)
		e = work_on(v);
	pthread_mutex_lock(&v->lock);
	v->running = false;
	if (mine)
		v->busy = false;
	pthread_mutex_unlock(&v->lock);
	send_home(v);
	return e;
}
