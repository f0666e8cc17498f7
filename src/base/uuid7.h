/* UUID version 7 (RFC 9562): ids that sort by creation time. Within one process they never repeat or step back, also when the clock
 * does: 48 bit ms, then a 12-bit counter, then 62 random bits. Thread-safe. */
#ifndef CENOTE_BASE_UUID7_H
#define CENOTE_BASE_UUID7_H

#include "base/err.h"

#define UUID_TEXT 36
/* Writes 36 characters and a NUL. */
void uuid7_new(char out[UUID_TEXT + 1]);
/* True for the 8-4-4-4-12 form in hex of either case. */
bool uuid_valid(struct str s);
/* Cryptographic random bytes (getrandom); aborts the process if the kernel cannot give any. */
void random_bytes(void *out, size_t n);

#endif
