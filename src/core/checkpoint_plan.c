#include "core/checkpoint_impl.h"

enum err ckpt_prune(struct memory *m, struct arena *a, const struct principal *who, const struct str *threads, size_t n,
		    const struct ckpt_policy *p, bool dry_run, struct ckpt_pruned *out)
{
	*out = (struct ckpt_pruned){0};
	for (size_t i = 0; i < n && p->drop_all && !dry_run; i++)
		TRY(ckpt_delete_thread(m, who, threads[i]));
	return OK;
}

enum err ckpt_delete_runs(struct memory *m, struct arena *a, const struct principal *who, const struct str *ids, size_t n,
			  struct ckpt_removed *out)
{
	*out = (struct ckpt_removed){0};
	return OK;
}

enum err ckpt_copy(struct memory *m, struct arena *a, const struct principal *who, struct str from, struct str to,
		   const struct ckpt_ref *upto)
{
	struct store *s = memory_store(m);

	return s->ops->checkpoints->copy(s, who, from, to, NULL, 0);
}
