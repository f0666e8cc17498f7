/* A secret of the store, per tenant, that outlives the process: made at first use, 32 random bytes. */
#ifndef CENOTE_CORE_SECRET_H
#define CENOTE_CORE_SECRET_H

#include "core/memory.h"

#define SECRET_BYTES 32
enum err memory_secret(struct memory *m, struct arena *a, const struct principal *who, struct str name,
		       uint8_t out[SECRET_BYTES]) MUST_CHECK;

#endif
