/* How long the tests of this folder allow. */
#ifndef CENOTE_TESTS_STORE_BOUNDS_H
#define CENOTE_TESTS_STORE_BOUNDS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* By how much a machine with other things to do may be late: not at all in the run that holds the product to its promises
 * (CENOTE_FAULTS_FULL=1, `make faults-full`), which wants the machine for itself. */
static inline unsigned slowness(void)
{
	const char *full = getenv("CENOTE_FAULTS_FULL");
	if (full && strcmp(full, "1") == 0)
		return 1;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	return 8;
#else
	return getenv("CENOTE_VALGRIND") ? 8 : 5;
#endif
}

/* What the product promises to do within so many ms, or a test that waits for what must come: ms, or room enough to tell it from
 * what would never come. Where something else would end a wait - a time-out, a sleep -, that has to lie beyond. */
#define AT_MOST(ms) ((ms) * (uint64_t)slowness())

#endif
