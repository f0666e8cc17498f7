/* Handlers do only what is safe in them: set a flag, unlink, rmdir, _exit. */
#include "cli/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdatomic.h>
#include <unistd.h>

static const char *_Atomic cleanup_file, *_Atomic cleanup_dir;
static atomic_int pending, cooperative, conversing;

static void on_signal(int sig)
{
	if (sig == SIGINT && atomic_load(&conversing)) {
		int none = 0;

		/* A SIGTERM that came before is not forgotten. */
		atomic_compare_exchange_strong(&pending, &none, SIGINT);
		return;
	}
	if (sig == SIGTERM && atomic_load(&conversing) && atomic_exchange(&pending, sig) != SIGTERM)
		return;
	if (atomic_load(&cooperative) && atomic_exchange(&pending, sig) == 0)
		return;
	const char *file = atomic_load(&cleanup_file), *dir = atomic_load(&cleanup_dir);
	if (file)
		unlink(file);
	if (dir)
		rmdir(dir);
	_exit(sig == SIGINT ? 130 : 143);
}

void interrupt_cleanup(const char *file, const char *dir)
{
	atomic_store(&cleanup_file, file);
	atomic_store(&cleanup_dir, dir);
}

void interrupt_cooperate(void)
{
	atomic_store(&cooperative, 1);
}

int interrupt_pending(void)
{
	return atomic_load(&pending);
}

int interrupt_take(void)
{
	int sig = SIGINT;

	return atomic_compare_exchange_strong(&pending, &sig, 0) ? SIGINT : sig;
}

static void install(int flags)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};

	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

bool interrupt_wait(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	sigset_t held, before;
	int n = -1, why = EINTR;

	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGCONT);
	/* They come in while ppoll waits and at no other time, so none can come between the question and the wait. */
	pthread_sigmask(SIG_BLOCK, &held, &before);
	if (!interrupt_pending()) {
		n = ppoll(&p, 1, NULL, &before);
		why = errno;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = why;
	return n > 0;
}

void interrupt_install(void)
{
	install(SA_RESTART);
}

/* Only ends what waits: the terminal is not in the state in which it was left. */
static void on_continue(int sig)
{
	(void)sig;
}

void interrupt_converse(void)
{
	struct sigaction sa = {.sa_handler = on_continue};

	atomic_store(&conversing, 1);
	install(0);
	sigemptyset(&sa.sa_mask);
	sigaction(SIGCONT, &sa, NULL);
}
