/* The table of operations on checkpoints. */
#include "store/sqlite/ckpt.h"

const struct checkpoint_ops sq_checkpoint_ops = {
	.write = sq_ckpt_write,
	.get = sq_ckpt_get,
	.list = sq_ckpt_list,
	.sends = sq_ckpt_sends,
	.history = sq_ckpt_history,
	.remove = sq_ckpt_remove,
	.copy = sq_ckpt_copy,
	.by_run = sq_ckpt_by_run,
	.storage = sq_ckpt_storage,
};
