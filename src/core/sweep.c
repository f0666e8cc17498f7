/* Expiry in the background: deletes what has expired in small steps, then sleeps until the next expiry that it knows of, at most
 * the interval. A put with an earlier expiry lowers next_expiry_us, which the sleeper looks at every second. */
#include "core/memory_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "rt/wait.h"

enum { SWEEP_STEP = 500, NAP_MS = 1000, REST_MS = 2, PAUSE_MS = 10 };

/* One round: steps until nothing expired is left. */
static enum err sweep_all(struct memory *m)
{
	unsigned removed = 0;
	int64_t next = 0;
	enum err e;

	do {
		/* Announcements from here on are kept: what the store has not yet told us must not be forgotten. */
		atomic_store_explicit(&m->next_expiry_us, 0, memory_order_relaxed);
		e = m->store->ops->sweep(m->store, clock_wall_us(), SWEEP_STEP, &removed, &next);
		if (e != OK)
			return e;
		atomic_fetch_add_explicit(&m->expired, removed, memory_order_relaxed);
		memory_expires(m, next);
		/* Between steps requests get their turn. */
		if (removed == SWEEP_STEP)
			TRY(wait_until(deadline_in_ms(REST_MS)));
	} while (removed == SWEEP_STEP);
	return OK;
}

static enum err nap(struct memory *m, uint32_t interval_ms)
{
	uint64_t end = deadline_in_ms(interval_ms);

	/* Never a busy loop, even if the store keeps naming a time that has passed. */
	TRY(wait_until(deadline_in_ms(PAUSE_MS)));
	for (;;) {
		int64_t next = atomic_load_explicit(&m->next_expiry_us, memory_order_relaxed);
		uint64_t now = clock_mono_ns(), at = now + (uint64_t)NAP_MS * 1000000u;
		int64_t left_us = next - clock_wall_us();

		if (now >= end || (next > 0 && left_us < 0))
			return OK;
		/* One microsecond more: an item expires when its time lies before now. */
		if (next > 0 && left_us < NAP_MS * 1000)
			at = now + (uint64_t)(left_us + 1) * 1000u;
		TRY(wait_until(at < end ? at : end));
	}
}

enum err memory_sweep_forever(struct memory *m, uint32_t interval_ms)
{
	if (interval_ms == 0)
		interval_ms = NAP_MS;
	for (;;) {
		enum err e = sweep_all(m);

		if (e == E_CANCELLED)
			return e;
		if (e != OK) {
			LOG(LOG_WARN, "core.sweep", "sweeping failed; it is tried again", LF_C("error", err_name(e)),
			    LF_C("detail", diag_get()->text));
			TRY(wait_until(deadline_in_ms(NAP_MS)));
			continue;
		}
		TRY(nap(m, interval_ms));
	}
}
