/* The port's writing calls: check, weigh, hand to the writer, wait. */
#include "store/sqlite/sq.h"

#include "rt/fiber.h"

static enum err submit(struct sq *s, const struct principal *who, struct wop *op)
{
	TRY(tenant_get(s, who, RIGHT_WRITE, true, &op->t));
	op->deadline = fiber_deadline();
	return queue_submit(s, op);
}

enum err sq_item_write(struct store *s, const struct principal *who, struct item_write *w, size_t n, bool atomic)
{
	struct items_arg arg = {w, n, atomic};
	struct wop op = {.apply = apply_items, .arg = &arg, .writes = n};
	TRY(principal_check(who, RIGHT_WRITE));
	if (n == 0)
		return OK;
	for (size_t i = 0; i < n; i++) {
		op.bytes += w[i].value.n + w[i].terms.n + w[i].key.n + 64;
		w[i].err = OK;
		w[i].existed = w[i].changed = w[i].forgot = false;
		w[i].version = 0;
	}
	return submit(sq_of(s), who, &op);
}

enum err sq_message_append(struct store *s, const struct principal *who, struct message *m, size_t n)
{
	struct messages_arg arg = {m, n};
	struct wop op = {.apply = apply_messages, .arg = &arg, .writes = n};
	TRY(principal_check(who, RIGHT_WRITE));
	for (size_t i = 0; i < n; i++) {
		if (who->user_bound && !str_eq(m[i].user, who->user))
			return err_set(E_DENIED, "this key may only write messages of its own user");
		op.bytes += m[i].content.n + m[i].terms.n + m[i].metadata.n + 128;
		m[i].stored = false;
	}
	return n ? submit(sq_of(s), who, &op) : OK;
}

enum err sq_meta_put(struct store *s, const struct principal *who, struct str name, struct str value)
{
	struct value_arg arg = {name, value};
	struct wop op = {.apply = apply_value, .arg = &arg, .writes = 1, .bytes = value.n};
	return submit(sq_of(s), who, &op);
}

enum err sq_key_put(struct store *s, const struct key_record *k)
{
	struct sq *q = sq_of(s);
	struct key_record copy = *k;
	struct wop op = {.t = q->keys, .apply = apply_key, .arg = &copy, .writes = 1, .deadline = fiber_deadline()};
	bool absent;
	if (k->id.n == 0)
		return err_set(E_INVALID, "a key needs an id");
	TRY(tenant_ready(q->keys, true, &absent));
	return queue_submit(q, &op);
}

/* One tenant's share of a sweep. A tenant that cannot be opened does not keep the others from being swept. */
static enum err sweep_one(struct sq *s, struct tenant *t, struct sweep_arg *arg)
{
	struct wop op = {.t = t, .apply = apply_sweep, .arg = arg, .writes = arg->max, .deadline = fiber_deadline()};
	bool absent;
	enum err e = tenant_ready(t, false, &absent);
	if (e == E_CORRUPT || absent)
		return OK;
	TRY(e);
	arg->next_us = atomic_load(&t->next_expires);
	if (arg->next_us == 0 || (arg->next_us > 0 && arg->next_us >= arg->now_us))
		return OK;
	return queue_submit(s, &op);
}

enum err sq_sweep(struct store *s, int64_t now_us, unsigned max, unsigned *removed, int64_t *next_us)
{
	struct sq *q = sq_of(s);
	size_t n;
	enum err e = OK;
	*removed = 0;
	*next_us = 0;
	struct tenant **all = tenants_all(q, &n);
	for (size_t i = 0; i < n; i++) {
		struct sweep_arg arg = {.now_us = now_us, .max = max - *removed};
		enum err one = sweep_one(q, all[i], &arg);
		if (one != OK) {
			e = one; /* with the last failure's sentence; the other tenants go on */
			continue;
		}
		*removed += arg.removed;
		if (arg.next_us > 0 && (*next_us == 0 || arg.next_us < *next_us))
			*next_us = arg.next_us;
	}
	free(all);
	return e;
}
