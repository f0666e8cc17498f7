/* The table of operations on checkpoints. */
#include "store/sqlite/ckpt.h"

const struct checkpoint_ops sq_checkpoint_ops = {
	.write = sq_ckpt_write,
	.get = sq_ckpt_get,
	.list = sq_ckpt_list,
	.by_run = sq_ckpt_by_run,
};
