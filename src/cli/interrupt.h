/* SIGINT and SIGTERM of commands. A command that can stop at a good point asks interrupt_pending(); all others end at once, with
 * their private socket removed. */
#ifndef CENOTE_CLI_INTERRUPT_H
#define CENOTE_CLI_INTERRUPT_H

#include <stdbool.h>

/* Files to remove when the process is ended by a signal; NULL: none. The strings must stay. */
void interrupt_cleanup(const char *file, const char *dir);
/* From now on the first signal only sets the flag; the second ends the process. */
void interrupt_cooperate(void);
/* The signal that came, 0: none. */
int interrupt_pending(void);
/* From now on SIGINT never ends the process and SIGTERM does so only the second time; both, and SIGCONT, end a read or a wait of
 * this thread (EINTR). For what is talked with. */
void interrupt_converse(void);
/* The signal that came, 0: none; SIGINT is forgotten by that, SIGTERM stays. */
int interrupt_take(void);
/* Waits until fd can be read; false: a signal came, be it from before (errno is EINTR). None is missed in between. */
bool interrupt_wait(int fd);
void interrupt_install(void);

#endif
