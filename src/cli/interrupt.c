/* Handlers do only what is safe in them: set a flag, unlink, rmdir, _exit. */
#include "cli/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <stdatomic.h>
#include <unistd.h>

static const char *_Atomic cleanup_file, *_Atomic cleanup_dir;
static atomic_int pending, cooperative;

static void on_signal(int sig)
{
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

void interrupt_install(void)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}
