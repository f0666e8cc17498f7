/* An assertion that stays in every build: what a fuzz target checks besides "does not crash". */
#ifndef CENOTE_TESTS_FUZZ_MUST_H
#define CENOTE_TESTS_FUZZ_MUST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(cond)                                                                                                                 \
	do {                                                                                                                       \
		if (!(cond)) {                                                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                                 \
			abort();                                                                                                   \
		}                                                                                                                  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
