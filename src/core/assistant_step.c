/* The deadline of the steps that ask the store: memory.step_timeout. A step that is later counts as a store that does not answer,
 * and the turn goes on without memory (turn_go_on). */
#include "core/assistant_impl.h"
#include "rt/wait.h"

uint64_t assistant_step(const struct assistant *as)
{
	return wait_within(as->opt.step_ms ? deadline_in_ms(as->opt.step_ms) : NEVER);
}

enum err assistant_stepped(const struct assistant *as, uint64_t before, enum err e)
{
	bool late = e == E_TIMEOUT && wait_expired();

	wait_restore(before);
	/* The request's own deadline is another matter; then the next wait says so. */
	if (!late || wait_expired())
		return e;
	return err_set(E_TIMEOUT, "the store did not answer within %u ms (memory.step_timeout)", as->opt.step_ms);
}
