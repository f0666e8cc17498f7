/* Batches in LangGraph's order: all gets, then searches, then listings, then the writes in one transaction.
 *
 * Invariants
 *  1. Reads never see the batch's own writes: they are done before the transaction begins.
 *  2. The writes of a batch are one item_write: durable together; atomic: all or none.
 *  3. Of several unconditional writes to one (namespace, key) only the last is made; the others report its result. */
#include "core/memory_impl.h"

#include <stdio.h>

#include "base/map.h"
#include "core/parse.h"
#include "core/vectors.h"

enum { BATCH_MAX = 10000 };

static void op_fail(struct arena *a, struct op *op, enum err e)
{
	op->err = e;
	op->diag = ARENA_NEW(a, struct diag);
	if (op->diag)
		*op->diag = *diag_get();
}

static enum err read_one(struct memory *m, struct arena *a, const struct principal *who, struct op *op)
{
	switch (op->kind) {
	case OP_GET:
		return memory_get(m, a, who, &op->get);
	case OP_SEARCH:
		return memory_search(m, a, who, &op->search);
	case OP_LIST_NAMESPACES:
		return memory_list(m, a, who, &op->list);
	case OP_PUT:
	case OP_DELETE:
		break;
	}
	return OK;
}

/* Errors that concern one op; any other (store, deadline, client gone) ends the batch. */
static bool is_local(enum err e)
{
	return e == E_INVALID || e == E_DENIED || e == E_CONFLICT || e == E_NOT_FOUND || e == E_LIMIT;
}

static enum err at_op(enum err e, size_t i)
{
	struct diag *d = diag_get();
	char field[160];

	snprintf(field, sizeof field, "/operations/%zu%s%.100s", i, d->field[0] && d->field[0] != '/' ? "/" : "", d->field);
	memcpy(d->field, field, sizeof field);
	return err_wrap(e, "operation %zu", i);
}

static enum err reads(struct memory *m, struct arena *a, const struct principal *who, struct op *ops, size_t n, enum op_kind kind,
		      bool atomic)
{
	for (size_t i = 0; i < n; i++) {
		enum err e;

		if (ops[i].kind != kind)
			continue;
		e = read_one(m, a, who, &ops[i]);
		if (e == OK)
			continue;
		if (atomic || !is_local(e))
			return at_op(e, i);
		op_fail(a, &ops[i], e);
	}
	return OK;
}

/* The writes of a batch, and which op each belongs to. */
struct writes {
	struct item_write *w;
	size_t *op_of;
	size_t n;
	size_t *same; /* per op: 1 + the op whose write stands for it, 0: its own */
};

static enum err writes_init(struct arena *a, size_t n, size_t retired, struct writes *ws)
{
	ws->w = ARENA_ARRAY(a, struct item_write, n + retired + 1);
	ws->op_of = ARENA_ARRAY(a, size_t, n + retired + 1);
	ws->same = arena_zalloc(a, (n + 1) * sizeof *ws->same);
	ws->n = 0;
	return ws->w && ws->op_of && ws->same ? OK : E_NOMEM;
}

static struct str name_of(struct arena *a, const struct op *op)
{
	/* Neither a namespace nor a key contains U+0000. */
	return arena_printf(a, "%.*s%c%.*s", STR_ARG(op->put.ns), 0, STR_ARG(op->put.key));
}

/* Marks the writes that a later one to the same place makes void (from the end backwards). */
static enum err find_same(struct arena *a, struct op *ops, size_t n, struct writes *ws)
{
	struct map last;
	enum err e = OK;

	map_init(&last);
	for (size_t i = n; i-- > 0;) {
		struct str name;
		struct op *later;

		if ((ops[i].kind != OP_PUT && ops[i].kind != OP_DELETE) || ops[i].err != OK)
			continue;
		name = name_of(a, &ops[i]);
		if (!name.p) {
			e = E_NOMEM;
			break;
		}
		later = map_get(&last, name);
		if (later && later->put.cond == IF_ANY && ops[i].put.cond == IF_ANY && !ops[i].put.fact) {
			ws->same[i] = (size_t)(later - ops) + 1;
			continue;
		}
		CHECK(map_put(&last, name, &ops[i], NULL));
	}
out:
	map_release(&last);
	return e;
}

struct prepare_job {
	struct memory *m;
	struct arena *a;
	const struct principal *who;
	struct op *ops;
	size_t n;
	bool atomic;
	struct writes *ws;
};

struct retired {
	struct item_write *w;
	size_t n;
};

/* What one operation of a batch that is not atomic has a condition for may not be written; what it supersedes would be gone. */
static enum err retire(const struct prepare_job *j, const struct op_put *op, struct item_write *put, struct retired *out)
{
	if (op->supersedes_n > 0 && op->cond != IF_ANY && !j->atomic)
		return err_field(E_INVALID, "supersedes", -1,
				 "supersedes together with a condition needs a batch that is atomic, or a put of its own");
	return memory_retire(j->a, op, put, &out->w, &out->n);
}

/* Pure computation; may run on the pool. */
static enum err prepare(void *arg)
{
	const struct prepare_job *j = arg;
	struct arena *a = j->a;
	struct op *ops = j->ops;
	struct writes *ws = j->ws;
	size_t n = j->n;
	struct item_write *prepared = ARENA_ARRAY(a, struct item_write, n + 1);
	struct retired *gone = arena_zalloc(a, (n + 1) * sizeof *gone);

	if (!prepared || !gone)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		enum err e;

		if (ops[i].kind != OP_PUT && ops[i].kind != OP_DELETE)
			continue;
		if (ops[i].kind == OP_DELETE)
			ops[i].put.value = (struct str){0};
		else if (!ops[i].put.value.p)
			ops[i].put.value = STR("");
		e = memory_prepare(j->m, a, j->who, &ops[i].put, &prepared[i]);
		if (e == OK)
			e = retire(j, &ops[i].put, &prepared[i], &gone[i]);
		if (e == OK)
			continue;
		if (j->atomic || !is_local(e))
			return at_op(e, i);
		op_fail(a, &ops[i], e);
	}
	TRY(find_same(a, ops, n, ws));
	for (size_t i = 0; i < n; i++) {
		if ((ops[i].kind != OP_PUT && ops[i].kind != OP_DELETE) || ops[i].err != OK || ws->same[i])
			continue;
		for (size_t k = 0; k < gone[i].n; k++) {
			ws->w[ws->n] = gone[i].w[k];
			ws->op_of[ws->n++] = i;
		}
		ws->w[ws->n] = prepared[i];
		ws->op_of[ws->n++] = i;
	}
	return OK;
}

/* Writes, and hands the results back to the ops. */
static enum err commit(struct memory *m, struct arena *a, const struct principal *who, struct op *ops, size_t n, bool atomic,
		       struct writes *ws)
{
	enum err e = OK;

	if (ws->n > 0)
		e = m->store->ops->item_write(m->store, who, ws->w, ws->n, atomic);
	if (e != OK) {
		for (size_t i = 0; e == E_CONFLICT && i < ws->n; i++)
			if (ws->w[i].err != OK)
				return at_op(e, ws->op_of[i]);
		return e;
	}
	if (ws->n > 0)
		vectors_wake(m->opt.vectors, who->tenant);
	for (size_t i = 0; i < ws->n; i++) {
		struct op *op = &ops[ws->op_of[i]];

		if (ws->w[i].op == W_RETIRE) {
			op->put.superseded += ws->w[i].changed;
			continue;
		}
		memory_finish(m, &op->put, &ws->w[i]);
		if (ws->w[i].err == OK)
			continue;
		err_kind(ws->w[i].err, ERR_PRECONDITION, "%s",
			 op->put.cond == IF_ABSENT ? "the item exists already" : "the item is not at the version that was named");
		op_fail(a, op, ws->w[i].err);
	}
	for (size_t i = 0; i < n; i++) {
		struct op *stands;

		if (!ws->same[i])
			continue;
		stands = &ops[ws->same[i] - 1];
		ops[i].put.existed = stands->put.existed;
		ops[i].put.changed = stands->put.changed;
		ops[i].put.version = stands->put.version;
	}
	return OK;
}

enum err memory_batch(struct memory *m, struct arena *a, const struct principal *who, struct op *ops, size_t n, bool atomic)
{
	struct writes ws;
	struct prepare_job job = {m, a, who, ops, n, atomic, &ws};
	size_t bytes = 0, retired = 0;

	TRY(principal_check(who, 0));
	if (n > BATCH_MAX)
		return err_field(E_LIMIT, "/operations", -1, "a batch has at most %d operations, this one has %zu", BATCH_MAX, n);
	for (size_t i = 0; i < n; i++) {
		ops[i].err = OK;
		ops[i].diag = NULL;
		if (ops[i].kind == OP_PUT && ops[i].put.supersedes_n <= SUPERSEDES_MAX)
			retired += ops[i].put.supersedes_n;
		bytes += ops[i].kind == OP_PUT ? ops[i].put.value.n + 256 : 0;
	}
	TRY(reads(m, a, who, ops, n, OP_GET, atomic));
	TRY(reads(m, a, who, ops, n, OP_SEARCH, atomic));
	TRY(reads(m, a, who, ops, n, OP_LIST_NAMESPACES, atomic));
	TRY(writes_init(a, n, retired, &ws));
	TRY(run_sized(bytes, prepare, &job));
	return commit(m, a, who, ops, n, atomic, &ws);
}
