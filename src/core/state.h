/* What people see of threads of graphs, besides ckpt_value_json() and its like in core/checkpoint.h: interrupts, tasks, subgraphs.
 * Thread-safe; results live in the arena. */
#ifndef CENOTE_CORE_STATE_H
#define CENOTE_CORE_STATE_H

#include "core/checkpoint.h"

/* The bytes of c that have to be decoded to show it, about: what run_sized() (core/parse.h) wants to know. */
size_t ckpt_show_size(const struct ckpt *c);
/* The interrupts that wait at a checkpoint (its pending writes of __interrupt__), as an array; task: only those of this one. */
void ckpt_interrupts_json(struct jw *w, const struct ckpt *c, const struct str *task);
/* {task_id: [interrupt, ...], ...} */
void ckpt_interrupts_by_task_json(struct jw *w, const struct ckpt *c);
/* Which channels "values.x" in want asks for. *out NULL: all. With *out_n = 0 and *out not NULL: none. */
enum err ckpt_state_channels(struct arena *a, const struct str *want, size_t n, struct str **out, size_t *out_n) MUST_CHECK;

/* A task that waits at a checkpoint: it was interrupted or has failed. Without the graph nothing else is known of what comes next.
 */
struct ckpt_task {
	struct str id, path;		  /* path as in pending writes */
	struct str name;		  /* its node; "" : not known */
	const struct ckpt_pending *error; /* NULL: none */
	const struct ckpt *sub;		  /* head of the subgraph that it runs; NULL: none, or not known */
	struct ckpt_task *tasks;	  /* those of sub */
	size_t tasks_n;
};
#define STATE_TASKS_MAX 200 /* in one answer */
#define STATE_DEPTH_MAX 8   /* subgraphs in subgraphs */
/* The tasks of c with their subgraphs' heads. c must have its writes, and its value of __pregel_tasks if sends are to have names.
 */
enum err ckpt_tasks(struct memory *m, struct arena *a, const struct principal *who, const struct ckpt *c, struct ckpt_task **out,
		    size_t *n) MUST_CHECK;
/* ckpt_state_json with tasks, and their names as `next`. */
void ckpt_state_deep_json(struct jw *w, struct arena *a, const struct ckpt *c, const struct str *want, size_t want_n,
			  const struct ckpt_task *tasks, size_t tasks_n);

#endif
