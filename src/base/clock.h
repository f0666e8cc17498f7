/* Time. Wall time is microseconds since 1970-01-01 UTC (int64_t, _us); deadlines are monotonic nanoseconds (uint64_t, _ns).
 * Text is RFC 3339. All functions are thread-safe. */
#ifndef CENOTE_BASE_CLOCK_H
#define CENOTE_BASE_CLOCK_H

#include "base/err.h"

#define NEVER UINT64_MAX

int64_t clock_wall_us(void);
/* Wall time that never repeats and never goes back within the process: for stamps that order what was written. */
int64_t clock_unique_us(void);
uint64_t clock_mono_ns(void);
/* Monotonic time ms from now; 0 gives "at once", UINT32_MAX gives NEVER. */
uint64_t deadline_in_ms(uint32_t ms);

enum clock_style {
	CLOCK_MICROS_OFFSET, /* 2026-08-20T07:02:48.123456+00:00 (LangGraph) */
	CLOCK_MILLIS_Z,	     /* 2026-08-20T07:02:48.123Z (native API, logs) */
	CLOCK_MICROS_Z,	     /* 2026-08-20T07:02:48.123456Z (export: loses nothing) */
};
#define CLOCK_TEXT_MAX 40
/* Writes at most CLOCK_TEXT_MAX bytes with a NUL; returns the length without it. */
size_t clock_format(int64_t us, enum clock_style style, char *out);
/* Strict RFC 3339 (years 0001..9999, fraction of 1..9 digits truncated to us, zone Z or +-hh:mm; a lower-case t or z and a blank
 * for T are accepted as the RFC allows). A leap second :60 reads as :59.999999. E_INVALID otherwise. */
enum err clock_parse(struct str s, int64_t *us) MUST_CHECK;
/* Days since 1970-01-01 of a civil date and back (proleptic Gregorian). */
int64_t clock_days(int year, unsigned month, unsigned day);
void clock_civil(int64_t days, int *year, unsigned *month, unsigned *day);

#endif
