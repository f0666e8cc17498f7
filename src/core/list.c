/* Listing namespaces: conditions on whole labels, then cut to a depth, then distinct, in byte order, then the page. */
#include "core/memory_impl.h"

#include <stdlib.h>

#include "base/map.h"

enum { LIST_LIMIT_MAX = 10000, DISTINCT_MAX = 1000000 };

struct listing {
	const struct op_list *op;
	struct map distinct; /* names cut to max_depth */
	enum err err;
	struct diag diag; /* of err: the walk may run on another thread */
};

static size_t label_count(struct str ns)
{
	size_t n = ns.n > 0;

	for (size_t i = 0; i < ns.n; i++)
		n += ns.p[i] == '.';
	return n;
}

static bool pattern_label(struct str pattern, struct str label)
{
	return str_eq(pattern, STR("*")) || str_eq(pattern, label);
}

/* Whether the first labels of ns are the pattern's. */
static bool prefix_match(struct str ns, struct str pattern)
{
	struct str a, b;
	bool more_ns = ns.n > 0, more = pattern.n > 0;

	while (more) {
		if (!more_ns)
			return false;
		more_ns = str_cut(ns, '.', &a, &ns);
		more = str_cut(pattern, '.', &b, &pattern);
		if (!pattern_label(b, a))
			return false;
	}
	return true;
}

static bool suffix_match(struct str ns, struct str pattern)
{
	size_t have = label_count(ns), need = label_count(pattern);
	struct str label;

	if (need > have)
		return false;
	for (; have > need; have--)
		str_cut(ns, '.', &label, &ns);
	return prefix_match(ns, pattern);
}

static struct str cut_depth(struct str ns, uint32_t depth)
{
	for (size_t i = 0; depth > 0 && i < ns.n; i++)
		if (ns.p[i] == '.' && --depth == 0)
			return str_sub(ns, 0, i);
	return ns;
}

static bool on_name(void *ctx, struct str name)
{
	struct listing *l = ctx;

	if (!prefix_match(name, l->op->prefix) || !suffix_match(name, l->op->suffix))
		return true;
	if (l->op->max_depth > 0)
		name = cut_depth(name, l->op->max_depth);
	if (l->op->after.n > 0 && str_cmp(name, l->op->after) <= 0)
		return true;
	if (l->distinct.count >= DISTINCT_MAX)
		l->err = err_set(E_LIMIT, "more than %d namespaces match; ask for a longer prefix", DISTINCT_MAX);
	else
		l->err = map_put(&l->distinct, name, l, NULL);
	if (l->err != OK)
		l->diag = *diag_get();
	/* Uncut names come in the order of the answer: the page is full. */
	if (l->op->max_depth == 0 && l->distinct.count >= (uint64_t)l->op->offset + l->op->limit)
		return false;
	return l->err == OK;
}

static int by_bytes(const void *x, const void *y)
{
	return str_cmp(*(const struct str *)x, *(const struct str *)y);
}

/* The page of the sorted names, copied into the arena. */
static enum err page(struct listing *l, struct arena *a, struct op_list *op)
{
	size_t count = l->distinct.count, it = 0, i = 0;
	struct str *all, name;
	void *value;

	op->n = op->offset >= count ? 0 : count - op->offset;
	if (op->n > op->limit)
		op->n = op->limit;
	op->names = ARENA_ARRAY(a, struct str, op->n + 1);
	all = malloc((count + 1) * sizeof *all);
	if (!op->names || !all) {
		free(all);
		return err_set(E_NOMEM, "out of memory");
	}
	while (map_next(&l->distinct, &it, &name, &value))
		all[i++] = name;
	qsort(all, count, sizeof *all, by_bytes);
	for (i = 0; i < op->n; i++) {
		op->names[i] = arena_str(a, all[op->offset + i]);
		if (!op->names[i].p)
			break;
	}
	free(all);
	return i == op->n ? OK : E_NOMEM;
}

/* The labels of a pattern before its first wildcard: what the store can narrow by. */
static struct str fixed_part(struct str pattern)
{
	struct str label, rest = pattern;
	size_t n = 0;

	while (rest.n > 0) {
		str_cut(rest, '.', &label, &rest);
		if (str_eq(label, STR("*")))
			break;
		n = (size_t)(label.p + label.n - pattern.p);
	}
	return str_sub(pattern, 0, n);
}

enum err memory_list(struct memory *m, struct arena *a, const struct principal *who, struct op_list *op)
{
	struct listing l = {.op = op};
	enum err e;

	op->n = 0;
	op->names = NULL;
	TRY(principal_check(who, RIGHT_READ));
	TRY(ns_check(op->prefix, "prefix", true));
	TRY(ns_check(op->suffix, "suffix", true));
	TRY(principal_namespace(who, op->prefix));
	if (op->limit < 1 || op->limit > LIST_LIMIT_MAX)
		return err_field(E_INVALID, "limit", -1, "limit must be 1..%d, got %u", LIST_LIMIT_MAX, op->limit);
	atomic_fetch_add_explicit(&m->ops[OP_LIST_NAMESPACES], 1, memory_order_relaxed);
	map_init(&l.distinct);
	CHECK(m->store->ops->namespaces(m->store, who, fixed_part(op->prefix), on_name, &l));
	if (l.err != OK) {
		*diag_get() = l.diag;
		e = l.err;
		goto out;
	}
	e = page(&l, a, op);
out:
	map_release(&l.distinct);
	return e;
}
