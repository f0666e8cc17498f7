/* A SQLite VFS named "fault" that passes everything on to the default one, except that the Nth operation of a kind fails. */
#ifndef CENOTE_TESTS_STORE_FAULT_VFS_H
#define CENOTE_TESTS_STORE_FAULT_VFS_H

#include <stdbool.h>

enum fault_kind {
	FAULT_WRITE, /* nothing is written, error */
	FAULT_SHORT, /* half of it is written, error */
	FAULT_FULL,  /* half of it is written, disk full */
	FAULT_SYNC,  /* everything was written, the sync fails */
	FAULT_READ,
	FAULT_KINDS
};
extern const char *const fault_names[FAULT_KINDS];

void fault_register(void);
/* The nth operation (from 1) of this kind fails, and when sticky all after it, until fault_disarm. */
void fault_arm(enum fault_kind kind, int nth, bool sticky);
/* Whether it came to a fault. */
bool fault_disarm(void);
/* A disk that does not answer: the next sync, and all that follow, last until fault_release; fault_hangs waits until one does. */
void fault_hang(void);
void fault_hangs(void);
void fault_release(void);

#endif
