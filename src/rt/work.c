/* The CPU pool: a bounded queue of jobs and a fixed number of threads.
 *
 *   QUEUED --take--> RUNNING --loop_post--> DONE (set on the loop's thread)
 *   QUEUED --withdraw--> (gone: the fiber was cancelled or its deadline passed)
 *   posted to its own loop, a background loop --run_here--> DONE
 *
 * Invariants
 *  1. A job lives on the stack of the fiber that waits for it. The fiber leaves work_run only when it has withdrawn the job itself,
 * under the lock, or after the job's task has run on its loop; a thread touches the job last when it posts that task.
 * A job without a fiber (work_start) lives on the heap; the thread that ran it frees it.
 *  2. queued <= QUEUE_MAX, and equals the length of the list.
 *  3. The threads exist from the first work_run in a fiber until work_stop. They block all signals. */
#include "rt/work.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "rt/internal.h"

#define QUEUE_MAX 1024u
#define THREADS_MAX 256u

struct job {
	struct list node;
	bool queued; /* under the lock */
	bool done;   /* loop's thread only */
	enum err (*fn)(void *arg);
	void *arg;
	enum err result;
	struct fiber *fiber;
	struct loop *loop;
	struct loop_task task;
	uint64_t deadline;
	const struct log_field *log;
	size_t log_n;
	struct diag diag; /* written only when result is not OK */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list queue; /* .next NULL: not made yet */
	unsigned queued, wanted, started;
	bool stopping;
	pthread_t *thread;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void on_done(void *arg)
{
	struct job *j = arg;

	j->done = true;
	fiber_wake(j->fiber, OK);
}

static void run(struct job *j)
{
	diag_clear();
	log_context(j->log, j->log_n);
	rt_thread.deadline = j->deadline;
	j->result = j->fn(j->arg);
	rt_thread.deadline = NEVER;
	log_context(NULL, 0);
	if (j->result != OK)
		j->diag = *diag_get();
}

/* On the thread of a background loop, which has a stack that is as large as a pool thread's. */
static void run_here(void *arg)
{
	struct job *j = arg;

	run(j);
	on_done(j);
}

static void *thread_main(void *arg)
{
	rt_thread.worker = (int)(intptr_t)arg;
	pthread_mutex_lock(&pool.lock);
	for (;;) {
		if (!list_empty(&pool.queue)) {
			struct job *j = CONTAINER(pool.queue.next, struct job, node);
			list_del(&j->node);
			j->queued = false;
			pool.queued--;
			pthread_mutex_unlock(&pool.lock);
			run(j);
			if (j->fiber)
				loop_post(j->loop, &j->task);
			else
				free(j);
			pthread_mutex_lock(&pool.lock);
		} else if (pool.stopping) {
			break;
		} else {
			pthread_cond_wait(&pool.more, &pool.lock);
		}
	}
	pthread_mutex_unlock(&pool.lock);
	return NULL;
}

static unsigned threads_default(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	if (n < 2)
		return 2;
	return n > (long)THREADS_MAX ? THREADS_MAX : (unsigned)n;
}

/* Under the lock. With fewer threads than wanted it goes on, with none it does not. */
static enum err pool_start(void)
{
	sigset_t all, before;

	if (pool.started)
		return OK;
	if (!pool.queue.next)
		list_init(&pool.queue);
	if (!pool.wanted)
		pool.wanted = threads_default();
	pool.thread = calloc(pool.wanted, sizeof *pool.thread);
	if (!pool.thread)
		return err_set(E_LIMIT, "no memory for the worker threads");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (pool.started < pool.wanted &&
	       pthread_create(&pool.thread[pool.started], NULL, thread_main, (void *)(intptr_t)pool.started) == 0)
		pool.started++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pool.wanted = pool.started;
	if (pool.started)
		return OK;
	free(pool.thread);
	pool.thread = NULL;
	return err_set(E_LIMIT, "cannot start a worker thread");
}

static enum err enqueue(struct job *j)
{
	enum err e;

	pthread_mutex_lock(&pool.lock);
	CHECK(pool.stopping ? err_set(E_BUSY, "the worker threads are stopping") : pool_start());
	if (pool.queued >= QUEUE_MAX) {
		e = err_kind(E_BUSY, ERR_PLAIN, "too much work at once: %u jobs are queued, try again", pool.queued);
		goto out;
	}
	list_add_tail(&pool.queue, &j->node);
	j->queued = true;
	pool.queued++;
	pthread_cond_signal(&pool.more);
out:
	pthread_mutex_unlock(&pool.lock);
	return e;
}

static bool withdraw(struct job *j)
{
	pthread_mutex_lock(&pool.lock);
	bool was_queued = j->queued;
	if (was_queued) {
		list_del(&j->node);
		j->queued = false;
		pool.queued--;
	}
	pthread_mutex_unlock(&pool.lock);
	return was_queued;
}

enum err work_run(enum err (*fn)(void *arg), void *arg)
{
	struct fiber *f = rt_thread.fiber;

	if (!f)
		return fn(arg);
	if (f->cancelled)
		return fiber_wait_failed(E_CANCELLED);
	if (f->deadline != NEVER && f->deadline <= clock_mono_ns())
		return fiber_wait_failed(E_TIMEOUT);
	struct job j;
	j.done = false;
	j.fn = fn;
	j.arg = arg;
	j.fiber = f;
	j.loop = f->loop;
	j.task = (struct loop_task){.fn = on_done, .arg = &j};
	j.deadline = f->deadline;
	j.log_n = log_context_get(&j.log);
	j.queued = false;
	if (f->loop->background) {
		j.task.fn = run_here;
		loop_post(j.loop, &j.task);
	} else {
		TRY(enqueue(&j));
	}
	enum err e = fiber_park(f->deadline, !f->loop->background);
	if (!j.done && withdraw(&j))
		return fiber_wait_failed(e);
	while (!j.done) {
		e = fiber_park(NEVER, false);
		RT_ASSERT(e == OK, "a job's waiter woken by something else");
	}
	if (j.result != OK)
		*diag_get() = j.diag;
	return j.result;
}

enum err work_start(enum err (*fn)(void *arg), void *arg)
{
	struct job *j;
	enum err e;

	if (!rt_thread.fiber) {
		(void)fn(arg);
		return OK;
	}
	j = calloc(1, sizeof *j);
	if (!j)
		return err_set(E_LIMIT, "no memory for a job");
	j->fn = fn;
	j->arg = arg;
	j->deadline = NEVER;
	e = enqueue(j);
	if (e != OK)
		free(j);
	return e;
}

int work_thread_index(void)
{
	return rt_thread.worker;
}

unsigned work_threads(void)
{
	pthread_mutex_lock(&pool.lock);
	if (!pool.wanted)
		pool.wanted = threads_default();
	unsigned n = pool.wanted;
	pthread_mutex_unlock(&pool.lock);
	return n;
}

void work_set_threads(unsigned n)
{
	pthread_mutex_lock(&pool.lock);
	RT_ASSERT(!pool.started, "work_set_threads after the threads were started");
	pool.wanted = n > THREADS_MAX ? THREADS_MAX : n;
	pthread_mutex_unlock(&pool.lock);
}

void work_stop(void)
{
	pthread_mutex_lock(&pool.lock);
	unsigned n = pool.started;
	pool.stopping = true;
	pthread_cond_broadcast(&pool.more);
	pthread_mutex_unlock(&pool.lock);
	for (unsigned i = 0; i < n; i++)
		pthread_join(pool.thread[i], NULL);
	pthread_mutex_lock(&pool.lock);
	free(pool.thread);
	pool.thread = NULL;
	pool.started = 0;
	pool.stopping = false;
	pthread_mutex_unlock(&pool.lock);
}
