/* What unit tests share: cmocka with what it needs, OKAY for what must succeed, and a small reproducible source of numbers. */
#ifndef CENOTE_BASE_TEST_UTIL_H
#define CENOTE_BASE_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/str.h"

#define OKAY(expr)                                                                                                                 \
	do {                                                                                                                       \
		enum err okay_e_ = (expr);                                                                                         \
		if (okay_e_ != OK)                                                                                                 \
			fail_msg("%s: %s: %s", #expr, err_name(okay_e_), diag_get()->text);                                        \
	} while (0)

#define assert_str(got, want)                                                                                                      \
	do {                                                                                                                       \
		struct str got_ = (got), want_ = str_c(want);                                                                      \
		assert_int_equal(got_.n, want_.n);                                                                                 \
		if (want_.n)                                                                                                       \
			assert_memory_equal(got_.p, want_.p, want_.n);                                                             \
	} while (0)

/* xorshift64*; the same numbers in every run. */
static inline uint64_t test_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

#endif
