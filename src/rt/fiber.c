/* Fibers: stacks, the context switch, spawn, park, wake, cancel.
 *
 *   FREE --fiber_spawn--> RUNNING --fiber_park--> PARKED --fiber_wake--> READY --fiber_run_ready--> RUNNING
 *                         RUNNING --fn returns--> ENDED --resume--> FREE (pool)
 *
 * Invariants
 *  1. A fiber gives control back to who resumed it (the loop, or the fiber that spawned it), never to a third.
 *  2. A stack is pooled or unmapped by who gets control back from an ended fiber, hence never while something runs on it.
 *  3. A fiber is in loop->ready exactly when READY, in loop->pool exactly when FREE, and its due is queued only while PARKED.
 *  4. The context on a stack is made once: after fn has returned, the trampoline waits for the next fn on the same stack. So a
 * spawn is two switches, and no makecontext.
 *  5. Diagnostic and log context are those of what runs; resume() keeps those of the resumer and of the fiber apart. */
#include "rt/internal.h"

#include <sys/mman.h>
#include <unistd.h>

#ifdef RT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef RT_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#ifdef RT_VALGRIND
#include <valgrind/valgrind.h>
#endif

#define STACK_BYTES (256u << 10)
#define STACK_MARGIN 1024u /* below the frame that gives memory back: the frames of doing so */
/* Wider than a page, so that a function with large locals cannot step over it. */
#define GUARD_BYTES (64u << 10)
#define POOL_MAX 256u	  /* stacks kept for use again, per loop */
#define FIBERS_MAX 12000u /* per loop; each takes two of the 65,530 mappings that Linux allows a process by default */

/* The first thing on a stack that control has come (back) to: tells AddressSanitizer, and learns the bounds of the stack left. */
static void ctx_arrived(struct loop *l, struct ctx *self)
{
#ifdef RT_ASAN
	const void *bottom;
	size_t size;
	__sanitizer_finish_switch_fiber(self->fake, &bottom, &size);
	l->from->bottom = bottom;
	l->from->size = size;
#endif
	(void)l, (void)self;
}

static void ctx_switch(struct loop *l, struct ctx *from, struct ctx *to)
{
	l->from = from;
#ifdef RT_ASAN
	__sanitizer_start_switch_fiber(&from->fake, to->bottom, to->size);
#endif
#ifdef RT_TSAN
	__tsan_switch_to_fiber(to->tsan, 0);
#endif
	RT_ASSERT(swapcontext(&from->uc, &to->uc) == 0, "swapcontext failed");
	ctx_arrived(l, from);
}

static void trampoline(void)
{
	struct fiber *f = rt_thread.fiber;

	ctx_arrived(f->loop, &f->ctx);
	for (;;) {
		f->fn(f->arg);
		f->state = FIBER_ENDED;
		ctx_switch(f->loop, &f->ctx, f->back);
	}
}

/* On its own, because getcontext may return twice in the compiler's eyes: nothing of the caller's is live across it. */
static __attribute__((noinline)) bool ctx_capture(ucontext_t *uc)
{
	return getcontext(uc) == 0;
}

/* A new stack with its fiber on top and a context that begins in the trampoline. */
static struct fiber *stack_new(struct loop *l)
{
	size_t total = GUARD_BYTES + STACK_BYTES;
	char *map = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	if (mprotect(map, GUARD_BYTES, PROT_NONE) != 0) {
		munmap(map, total);
		return NULL;
	}
	struct fiber *f = (struct fiber *)(void *)(map + total - ((sizeof *f + 63) & ~(size_t)63));
	f->map = map; /* the rest is zero */
	f->loop = l;
	char *low = map + GUARD_BYTES;
	size_t size = (size_t)((char *)f - low);
	if (!ctx_capture(&f->ctx.uc)) {
		munmap(map, total);
		return NULL;
	}
	f->ctx.uc.uc_stack.ss_sp = low;
	f->ctx.uc.uc_stack.ss_size = size;
	f->ctx.uc.uc_link = NULL;
	makecontext(&f->ctx.uc, trampoline, 0);
#ifdef RT_ASAN
	f->ctx.bottom = low;
	f->ctx.size = size;
#endif
#ifdef RT_TSAN
	f->ctx.tsan = __tsan_create_fiber(0);
#endif
#ifdef RT_VALGRIND
	f->stack_id = VALGRIND_STACK_REGISTER(low, low + size);
#endif
	return f;
}

static void stack_free(struct fiber *f)
{
	size_t total = GUARD_BYTES + STACK_BYTES;
#ifdef RT_VALGRIND
	VALGRIND_STACK_DEREGISTER(f->stack_id);
#endif
#ifdef RT_TSAN
	__tsan_destroy_fiber(f->ctx.tsan);
#endif
	void *map = f->map;
#ifdef RT_ASAN
	__asan_unpoison_memory_region((char *)map + GUARD_BYTES, STACK_BYTES);
#endif
	munmap(map, total);
}

void fiber_thread_enter(struct loop *l)
{
#ifdef RT_TSAN
	l->main.tsan = __tsan_get_current_fiber();
#endif
	(void)l;
}

void fiber_pool_free(struct loop *l)
{
	while (!list_empty(&l->pool)) {
		struct fiber *f = CONTAINER(l->pool.next, struct fiber, node);
		list_del(&f->node);
		stack_free(f);
	}
	l->pooled = 0;
}

static void on_due(struct due *d)
{
	fiber_wake(CONTAINER(d, struct fiber, due), E_TIMEOUT);
}

static struct fiber *take(struct loop *l)
{
	struct fiber *f;

	if (!list_empty(&l->pool)) {
		f = CONTAINER(l->pool.next, struct fiber, node);
		list_del(&f->node);
		l->pooled--;
		return f;
	}
	f = stack_new(l);
	if (f) {
		list_init(&f->node);
		f->due.fn = on_due;
	}
	return f;
}

static void give_back(struct loop *l, struct fiber *f)
{
	f->state = FIBER_FREE;
	l->fibers--;
	due_unreserve(l);
	if (l->pooled >= POOL_MAX) {
		stack_free(f);
		return;
	}
	list_add_head(&l->pool, &f->node); /* last in, first out: its pages are in the cache */
	l->pooled++;
}

/* Runs f until it parks (false) or ends (true: f is gone). */
static bool resume(struct loop *l, struct fiber *f)
{
	struct fiber *prev = rt_thread.fiber;
	struct ctx *from = prev ? &prev->ctx : &l->main;
	const struct log_field *log;
	size_t log_n = log_context_get(&log);

	f->state = FIBER_RUNNING;
	f->back = from;
	rt_thread.fiber = f;
	diag_use(&f->diag);
	log_context(f->log, f->log_n);
	ctx_switch(l, from, &f->ctx);
	f->log_n = log_context_get(&f->log);
	log_context(log, log_n);
	diag_use(prev ? &prev->diag : NULL);
	rt_thread.fiber = prev;
	if (f->state != FIBER_ENDED)
		return false;
	give_back(l, f);
	return true;
}

enum err fiber_spawn(void (*fn)(void *arg), void *arg, struct fiber **out, bool *ended)
{
	struct loop *l = rt_thread.loop;

	RT_ASSERT(l, "fiber_spawn outside a loop");
	if (out)
		*out = NULL;
	if (l->fibers >= FIBERS_MAX)
		return err_set(E_LIMIT, "too many requests at once: %u fibers on this loop", l->fibers);
	TRY(due_reserve(l));
	struct fiber *f = take(l);
	if (!f) {
		due_unreserve(l);
		return err_set(E_LIMIT, "no memory for the stack of a fiber (%u in use)", l->fibers);
	}
	l->fibers++;
	f->fn = fn;
	f->arg = arg;
	f->cancelled = f->cancelled_since = false;
	f->shields = 0;
	f->deadline = NEVER;
	f->log = NULL;
	f->log_n = 0;
	f->diag.code = OK;
	f->diag.kind = ERR_PLAIN;
	f->diag.retry_after_s = 0;
	f->diag.position = -1;
	f->diag.field[0] = f->diag.text[0] = 0;
	bool done = resume(l, f);
	if (out && !done)
		*out = f;
	if (ended)
		*ended = done;
	return OK;
}

struct fiber *fiber_current(void)
{
	return rt_thread.fiber;
}

enum err fiber_wait_failed(enum err e)
{
	if (e == E_CANCELLED)
		return err_set(e, "cancelled: the client has gone, or the server stops");
	return err_set(e, "the deadline passed");
}

enum err fiber_park(uint64_t at_ns, bool cancellable)
{
	struct fiber *f = rt_thread.fiber;
	struct loop *l = f->loop;

	if (cancellable && f->cancelled)
		return E_CANCELLED;
	f->cancellable = cancellable;
	f->state = FIBER_PARKED;
	if (at_ns != NEVER)
		due_set(l, &f->due, at_ns);
	ctx_switch(l, &f->ctx, f->back);
	return f->result;
}

void fiber_wake(struct fiber *f, enum err result)
{
	if (f->state != FIBER_PARKED)
		return;
	due_cancel(f->loop, &f->due);
	f->state = FIBER_READY;
	f->result = result;
	list_add_tail(&f->loop->ready, &f->node);
}

void fiber_run_ready(struct loop *l)
{
	struct list now;

	if (list_empty(&l->ready))
		return;
	list_add_head(&l->ready, &now);
	list_del(&l->ready);
	while (!list_empty(&now)) {
		struct fiber *f = CONTAINER(now.next, struct fiber, node);
		list_del(&f->node);
		uint64_t since = watch_begin();
		resume(l, f);
		watch_end(l, "fiber", since);
	}
}

void fiber_cancel(struct fiber *f)
{
	RT_ASSERT(rt_thread.loop == f->loop, "fiber_cancel from another thread");
	if (f->shields) {
		f->cancelled_since = true;
		return;
	}
	f->cancelled = true;
	if (f->cancellable)
		fiber_wake(f, E_CANCELLED);
}

bool fiber_shield(void)
{
	struct fiber *f = rt_thread.fiber;
	bool before;

	if (!f)
		return false;
	before = f->cancelled;
	f->cancelled = false;
	f->shields++;
	return before;
}

void fiber_unshield(bool cancelled)
{
	struct fiber *f = rt_thread.fiber;

	if (!f)
		return;
	f->cancelled = cancelled;
	if (--f->shields == 0 && f->cancelled_since)
		f->cancelled = true;
}

bool fiber_cancelled(void)
{
	return rt_thread.fiber && rt_thread.fiber->cancelled;
}

void fiber_stack_release(void)
{
	const struct fiber *f = rt_thread.fiber;
	uintptr_t here = (uintptr_t)__builtin_frame_address(0), low, high;

	if (!f)
		return;
	/* What is below this frame and a little more is nobody's. */
	low = (uintptr_t)f->map + GUARD_BYTES;
	high = (here - STACK_MARGIN) & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
	if (high > low && high < (uintptr_t)f)
		(void)madvise((void *)low, high - low, MADV_DONTNEED);
}

void fiber_set_deadline(uint64_t at_ns)
{
	if (rt_thread.fiber)
		rt_thread.fiber->deadline = at_ns;
	else
		rt_thread.deadline = at_ns;
}

uint64_t fiber_deadline(void)
{
	return rt_thread.fiber ? rt_thread.fiber->deadline : rt_thread.deadline;
}
