/* The comparison after a copy: every item, message and thread of the source must mean the same in the target (copy_facts.c: and
 * every state of the history).
 *
 * What may differ and is only counted: items of the target that are newer, that only it has, that changed in the source after the
 * copy began, and those that could not be stored (told already). */
#include <stdlib.h>

#include "core/copy_impl.h"

void copy_both(struct copy *c, uint64_t from, uint64_t to)
{
	c->r->from_count++;
	c->r->to_count++;
	c->r->from_sum += from;
	c->r->to_sum += to;
}

void copy_differs(struct copy *c, enum copy_kind kind, struct str first, struct str second, const char *reason)
{
	c->r->differ++;
	copy_tell(c, COPY_DIFFERS, kind, first, second, str_c(reason));
}

/* ---------------------------------------------------------------- items */

/* Written, or its expiry renewed by a read, after the copy began. */
static bool changed_since(const struct copy *c, const struct item *it)
{
	int64_t renewed = it->ttl_minutes > 0 ? it->expires_us - (int64_t)(it->ttl_minutes * 60e6) : 0;

	return it->updated_us >= c->at.begun_us || renewed >= c->at.begun_us;
}

static void compare_item(struct copy *c, const struct copy_row *r, const struct copy_row *there)
{
	if (there && there->sum == r->sum) {
		copy_both(c, r->sum, there->sum);
	} else if (copy_has_failed(c, COPY_ITEM, r->it.ns, r->it.key)) {
		return;
	} else if (changed_since(c, &r->it)) {
		c->r->changed++;
	} else if (!there) {
		c->r->from_count++;
		c->r->from_sum += r->sum;
		copy_differs(c, COPY_ITEM, r->it.ns, r->it.key, "is not in the target");
	} else if (there->it.updated_us > r->it.updated_us) {
		c->r->newer++;
	} else {
		copy_both(c, r->sum, there->sum);
		copy_differs(c, COPY_ITEM, r->it.ns, r->it.key, "is another one in the target");
	}
}

static enum err compare_items(struct copy *c)
{
	struct copy_walk from, to;
	struct copy_row *r, *there;
	enum err e = copy_walk_begin(&from, c->from, &c->who, false, true, STR(""), STR(""));
	enum err b = copy_walk_begin(&to, c->to, &c->who, false, true, STR(""), STR(""));

	e = e == OK ? b : e;
	c->r->newer = 0; /* counted anew: as it is at the end */
	while (e == OK && (e = copy_walk_next(&from, &r)) == OK && r) {
		CHECK(copy_walk_find(&to, r->it.ns, r->it.key, &c->r->extra, &there));
		compare_item(c, r, there);
		if (from.at == from.n)
			CHECK(copy_pause(c, false));
	}
	while (e == OK && (e = copy_walk_next(&to, &there)) == OK && there)
		c->r->extra++;
out:
	copy_walk_end(&from);
	copy_walk_end(&to);
	return e;
}

/* ---------------------------------------------------------------- messages */

struct seen {
	uint64_t sum;
	bool there;
};

struct thread {
	struct copy *c;
	struct map seen; /* id -> struct seen */
	struct str *mids;
	size_t n, cap;
	enum err err;
};

static bool from_message(void *ctx, const struct message *m)
{
	struct thread *t = ctx;
	struct seen *s = ARENA_NEW(&t->c->page, struct seen);
	struct str mid = arena_str(&t->c->page, m->mid);

	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 64;

		t->mids = arena_grow(&t->c->page, t->mids, t->cap * sizeof *t->mids, cap * sizeof *t->mids);
		t->cap = cap;
	}
	if (!s || !mid.p || !t->mids) {
		t->err = E_NOMEM;
		return false;
	}
	arena_clear(&t->c->work);
	t->err = copy_message_sum(&t->c->work, m, &s->sum);
	if (t->err == OK)
		t->err = map_put(&t->seen, mid, s, NULL);
	t->mids[t->n++] = mid;
	return t->err == OK;
}

static bool to_message(void *ctx, const struct message *m)
{
	struct thread *t = ctx;
	struct seen *s = map_get(&t->seen, m->mid);
	uint64_t sum;

	if (!s)
		return true; /* the target's own */
	s->there = true;
	arena_clear(&t->c->work);
	t->err = copy_message_sum(&t->c->work, m, &sum);
	if (t->err != OK)
		return false;
	if (sum != s->sum && copy_has_failed(t->c, COPY_MESSAGE, m->thread, m->mid))
		return true;
	copy_both(t->c, s->sum, sum);
	if (sum != s->sum)
		copy_differs(t->c, COPY_MESSAGE, m->thread, m->mid, "is another one in the target");
	return true;
}

static void missing(struct thread *t, struct str thread, bool changed)
{
	struct copy *c = t->c;

	for (size_t i = 0; i < t->n; i++) {
		const struct seen *s = map_get(&t->seen, t->mids[i]);

		if (s->there || copy_has_failed(c, COPY_MESSAGE, thread, t->mids[i]))
			continue;
		if (changed) {
			c->r->changed++;
			continue;
		}
		c->r->from_count++;
		c->r->from_sum += s->sum;
		copy_differs(c, COPY_MESSAGE, thread, t->mids[i], "is not in the target");
	}
}

static enum err list(struct thread *t, struct store *s, struct str name, message_fn fn)
{
	enum err e = s->ops->message_list(s, &t->c->who, name, 0, SIZE_MAX, fn, t);

	return e == E_NOT_FOUND ? OK : e != OK ? e : t->err;
}

struct next {
	char name[THREAD_MAX_BYTES * 4];
	size_t n;
	bool found;
	int64_t updated_us;
};

static bool next_thread(void *ctx, const struct thread_info *t)
{
	struct next *x = ctx;

	if (t->thread.n > sizeof x->name)
		return true;
	memcpy(x->name, t->thread.p, t->thread.n);
	x->n = t->thread.n;
	x->updated_us = t->updated_us;
	x->found = true;
	return false;
}

static enum err compare_thread(struct copy *c, struct str name, bool changed)
{
	struct thread t = {.c = c};
	enum err e;

	arena_clear(&c->page);
	map_init(&t.seen);
	CHECK(list(&t, c->from, name, from_message));
	CHECK(list(&t, c->to, name, to_message));
	missing(&t, name, changed);
out:
	map_release(&t.seen);
	return e;
}

static enum err compare_messages(struct copy *c)
{
	struct next x = {.n = 0};

	for (;;) {
		x.found = false;
		TRY(c->from->ops->thread_list(c->from, &c->who, NULL, str_of(x.name, x.n), 1, next_thread, &x));
		if (!x.found)
			return OK;
		TRY(compare_thread(c, str_of(x.name, x.n), x.updated_us >= c->at.begun_us));
		TRY(copy_compare_thread(c, str_of(x.name, x.n), x.updated_us >= c->at.begun_us));
		TRY(copy_pause(c, false));
	}
}

enum err copy_compare(struct copy *c)
{
	TRY(compare_items(c));
	TRY(copy_compare_facts(c));
	TRY(compare_messages(c));
	c->r->compared = true;
	c->r->equal = c->r->differ == 0 && c->r->from_count == c->r->to_count && c->r->from_sum == c->r->to_sum;
	return OK;
}
