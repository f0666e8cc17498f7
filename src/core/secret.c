/* Store secrets in the store's small values, as hex.
 *
 * Invariant: within a process only one caller at a time makes a secret, so that two that begin together agree on one. The guard is
 * a flag and a short wait, not a mutex: the holder may be parked in the store. */
#include "core/secret.h"

#include <stdatomic.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/uuid7.h"
#include "rt/wait.h"

static atomic_flag making = ATOMIC_FLAG_INIT;

static enum err load(struct memory *m, struct arena *a, const struct principal *who, struct str name, uint8_t out[SECRET_BYTES],
		     bool *found)
{
	struct store *s = memory_store(m);
	struct str hex = {0};

	TRY(s->ops->meta_get(s, a, who, name, &hex, found));
	if (*found && (hex.n != 2 * SECRET_BYTES || !hex_decode(hex, out, SECRET_BYTES)))
		return err_set(E_CORRUPT, "the stored secret \"%.*s\" is damaged", STR_ARG(name));
	return OK;
}

static enum err make(struct memory *m, const struct principal *who, struct str name, uint8_t out[SECRET_BYTES])
{
	struct store *s = memory_store(m);
	char hex[2 * SECRET_BYTES + 1];

	random_bytes(out, SECRET_BYTES);
	hex_encode(out, SECRET_BYTES, hex);
	return s->ops->meta_put(s, who, name, str_of(hex, 2 * SECRET_BYTES));
}

enum err memory_secret(struct memory *m, struct arena *a, const struct principal *who, struct str name, uint8_t out[SECRET_BYTES])
{
	bool found;
	enum err e;

	TRY(load(m, a, who, name, out, &found));
	if (found)
		return OK;
	while (atomic_flag_test_and_set_explicit(&making, memory_order_acquire))
		TRY(wait_until(deadline_in_ms(1)));
	e = load(m, a, who, name, out, &found);
	if (e == OK && !found)
		e = make(m, who, name, out);
	atomic_flag_clear_explicit(&making, memory_order_release);
	return e;
}
