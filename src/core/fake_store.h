/* A store in memory, for unit tests of core and of the protocols: the whole port of core/store.h with the plainest means (linear
 * search, one mutex, nothing is freed before close). Not reachable from the program; linked only by tests that call it.
 *
 * Beyond the port it can be told to fail, so that error paths can be tested without breaking a disk. */
#ifndef CENOTE_CORE_FAKE_STORE_H
#define CENOTE_CORE_FAKE_STORE_H

#include "core/store.h"

struct store *fake_store_new(void);
/* The next n calls that reach the store fail with e (sweep excepted). */
void fake_store_fail(struct store *s, enum err e, unsigned n);
/* After so many more calls one fails with e. */
void fake_store_fail_after(struct store *s, enum err e, unsigned calls);
/* From now on every call for this tenant fails with e; OK: none does. */
void fake_store_fail_tenant(struct store *s, struct str tenant, enum err e);
/* The next sweep fails with e; other calls do not. */
void fake_store_fail_sweep(struct store *s, enum err e);
/* From now on it keeps documents that are made again (doc_keep). */
void fake_store_keeps(struct store *s);
/* Documents kept so far. */
unsigned fake_store_kept(const struct store *s);
/* Calls of item_write and message_append so far, and writes in them. */
unsigned fake_store_write_calls(const struct store *s);
unsigned fake_store_writes(const struct store *s);

#endif
