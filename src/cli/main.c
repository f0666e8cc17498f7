/* main: finds the command, runs it, gives everything back. */
#include <signal.h>

#include "base/heap.h"
#include "cli/cmd.h"
#include "cli/peer.h"
#include "cli/interrupt.h"

static int run(struct call *c, int argc, char **argv)
{
	bool help;
	enum err e = cmd_parse(c, argc, argv, &help);
	if (e != OK)
		return call_fail(c, e);
	if (help) {
		help_command(stdout, c->cmd);
		return 0;
	}
	return c->cmd->run(c);
}

int main(int argc, char **argv)
{
	struct call c = {0};
	heap_setup();
	signal(SIGPIPE, SIG_IGN); /* a broken pipe is an error of the write that meets it */
	interrupt_install();
	if (argc < 2) {
		help_overview(stderr);
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help_overview(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0)
		return run_version(&c);
	arena_init(&c.arena, (size_t)2 << 30);
	int code = run(&c, argc - 1, argv + 1);
	peer_close(&c);
	if (c.cfg_ready)
		config_release(&c.cfg);
	arena_release(&c.arena);
	return code;
}
