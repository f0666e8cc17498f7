/* The queue and its workers; see core/extract.h. What is done with a turn: extract_work.c; how it comes into the queue:
 * extract_note.c.
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
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/extract_impl.h"
#include "core/summary.h"
#include "rt/wait.h"

#define FIND_MS 60000	   /* how often others' turns are looked for, */
#define FIND_OLD_MS 900000 /* and how old they must be: no turn takes so long */
#define PAUSE_MOST_MS 60000
#define FAILS_FREE 2 /* times that a job fails before it is left for later: */
#define LATER_MS 1000
#define LATER_DOUBLED 9 /* at most so often */
#define AHEAD_MAX 256	/* jobs that are passed over for one behind them */

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

void extract_put(struct extract *x, const struct order *o)
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
	struct doing d = {.x = x, .who = extract_worker(str_c(j->tenant)), .user = str_c(j->user), .thread = STR("")};
	enum err e;

	arena_init(&d.a, EXTRACT_ROOM);
	d.root = work_begin(x->opt.tracer, &d.a, &d.who, j->kind == DO_TURN ? "remember" : "summarize", str_c(j->mark));
	e = j->kind == DO_TURN ? extract_do_turn(x, j, &d) : extract_do_summary(x, j, &d);
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
