#include "core/checkpoint_impl.h"

enum err ckpt_fork(struct memory *m, struct arena *a, const struct principal *who, struct str thread, const struct ckpt_ref *ref,
		   char new_id[37])
{
	return err_set(E_INTERNAL, "not yet");
}

enum err ckpt_update(struct memory *m, struct arena *a, const struct principal *who, struct str thread, const struct ckpt_ref *ref,
		     struct jval values, struct str as_node, char new_id[37])
{
	return err_set(E_INTERNAL, "not yet");
}
