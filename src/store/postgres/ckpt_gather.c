/* Checkpoint changes of many callers gathered into one transaction (gather.c). Simpler than items: changes have no results, and two
 * batches may touch the same rows, because each writes its rows in order. */
#include "store/postgres/ckpt.h"
#include "store/postgres/gather.h"

#define CALL_CHANGES 64
#define CALL_BYTES ((size_t)256 << 10)

struct ckpt_req {
	struct gather_req q; /* first */
	const struct pg_ckpt_call *call;
};
struct ckpt_batch {
	const struct pg_ckpt_call *calls[GATHER_CALLS];
};

static void begin(struct gather_batch *b)
{
	(void)b;
}

static void add(struct gather_batch *b, const struct gather_req *q)
{
	struct ckpt_batch *x = b->own;
	x->calls[b->n] = ((const struct ckpt_req *)(const void *)q)->call;
}

static void built(void *arg)
{
	gather_open(arg, true);
}

static enum err run(struct gather_batch *b, char sqlstate[6])
{
	struct ckpt_batch *x = b->own;
	return pg_ckpt_apply(b->t, x->calls, b->n, b->deadline, sqlstate, built, b);
}

/* Whose the thread is, and that a row is locked, also of a single one: who tries alone is told the first, and waits for locks. */
static bool alone(const char *sqlstate, unsigned n)
{
	return strcmp(sqlstate, "22012") == 0 || strcmp(sqlstate, "55P03") == 0 || (n > 1 && gather_one_of_many(sqlstate));
}

const struct gather_ops pg_ckpt_gather_ops = {
	.threads = 2, .own_bytes = sizeof(struct ckpt_batch), .begin = begin, .add = add, .run = run, .alone = alone};

/* ---------------------------------------------------------------- calls */

static size_t size_of(const struct ckpt_change *c)
{
	size_t n = c->thread.n + c->ns.n + c->id.n + c->parent.n + c->checkpoint.n + c->metadata.n + 64;
	for (size_t i = 0; c->op == CK_PUT && i < c->values_n; i++)
		n += c->values[i].bytes.n + c->values[i].channel.n + c->values[i].version.n + c->thread.n + c->ns.n + 64;
	for (size_t i = 0; c->op == CK_WRITES && i < c->writes_n; i++)
		n += c->writes[i].bytes.n + c->writes[i].task_path.n + c->thread.n + c->ns.n + c->id.n + 128;
	return n;
}

bool pg_ckpt_gather_fits(const struct ckpt_change *c, size_t n)
{
	size_t bytes = 0;
	if (n > CALL_CHANGES)
		return false;
	for (size_t i = 0; i < n && bytes <= CALL_BYTES; i++)
		bytes += size_of(&c[i]);
	return bytes <= CALL_BYTES;
}

enum err pg_ckpt_gather(struct pg_tenant *t, const struct pg_ckpt_call *call, bool *tried_alone)
{
	struct ckpt_req q = {.q = {.t = t}, .call = call};
	for (size_t i = 0; i < call->n; i++)
		q.q.bytes += size_of(&call->c[i]);
	return gather_call(t->s->gathers[GATHER_CHECKPOINTS], &q.q, tried_alone);
}

void pg_ckpt_metrics(struct pg *s, struct buf *out)
{
	struct gather *g = s->gathers[GATHER_CHECKPOINTS];
	buf_printf(out,
		   "# HELP cenote_pg_checkpoint_writes_total Calls that wrote checkpoints together with others.\n"
		   "# TYPE cenote_pg_checkpoint_writes_total counter\ncenote_pg_checkpoint_writes_total %llu\n"
		   "# HELP cenote_pg_checkpoint_batches_total Transactions that these were.\n"
		   "# TYPE cenote_pg_checkpoint_batches_total counter\ncenote_pg_checkpoint_batches_total %llu\n",
		   atomic_load(&g->calls_run), atomic_load(&g->batches_run));
}
