/* The index that plans are made on: slim rows of a whole thread (struct plan in checkpoint_impl.h). */
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "core/checkpoint_impl.h"

enum { PAGE = 250, FRESH_PAGE = 64 };
#define ROOM ((size_t)3 << 30)

void plan_init(struct plan *p, struct store *s, const struct principal *who, struct str thread, unsigned want)
{
	*p = (struct plan){.s = s, .who = who, .thread = thread, .want = want};
	arena_init(&p->a, ROOM);
	arena_init(&p->scratch, (size_t)512 << 20);
	arena_init(&p->one, (size_t)1 << 30);
	map_init(&p->ns_by_name);
}

void plan_release(struct plan *p)
{
	free(p->rows);
	free(p->ns);
	free(p->slots);
	free(p->walked);
	map_release(&p->ns_by_name);
	arena_release(&p->a);
	arena_release(&p->scratch);
	arena_release(&p->one);
}

/* ---------------------------------------------------------------- finding */

static uint64_t row_hash(uint32_t ns, struct str id)
{
	return hash64(id) ^ ns * 0x9e3779b97f4a7c15ull;
}

static void slot_put(struct plan *p, uint32_t row)
{
	size_t i = row_hash(p->rows[row].ns, p->rows[row].id) & (p->slots_n - 1);

	while (p->slots[i])
		i = (i + 1) & (p->slots_n - 1);
	p->slots[i] = row + 1;
}

uint32_t plan_find(const struct plan *p, uint32_t ns, struct str id)
{
	if (p->slots_n == 0 || id.n == 0)
		return PLAN_NONE;
	for (size_t i = row_hash(ns, id) & (p->slots_n - 1); p->slots[i]; i = (i + 1) & (p->slots_n - 1)) {
		const struct plan_row *r = &p->rows[p->slots[i] - 1];

		if (r->ns == ns && str_eq(r->id, id))
			return p->slots[i] - 1;
	}
	return PLAN_NONE;
}

static enum err slots_fit(struct plan *p)
{
	size_t n = 64;

	while (n < 2 * p->n + 2)
		n *= 2;
	if (n <= p->slots_n)
		return OK;
	free(p->slots);
	p->slots = calloc(n, sizeof *p->slots);
	p->slots_n = p->slots ? n : 0;
	if (!p->slots)
		return err_set(E_LIMIT, "out of memory");
	for (size_t i = 0; i < p->n; i++)
		slot_put(p, (uint32_t)i);
	return OK;
}

uint32_t plan_ns_find(const struct plan *p, struct str name)
{
	uintptr_t number = (uintptr_t)map_get(&p->ns_by_name, name);

	return number ? (uint32_t)(number - 1) : PLAN_NONE;
}

static bool walked_put(uint64_t *set, size_t cap, uint64_t key)
{
	size_t i = (key * 0x9e3779b97f4a7c15ull) >> 20 & (cap - 1);

	while (set[i] && set[i] != key)
		i = (i + 1) & (cap - 1);
	if (set[i] == key)
		return false;
	set[i] = key;
	return true;
}

bool plan_walk_once(struct plan *p, uint32_t row, uint32_t channel)
{
	if (2 * p->walked_n + 2 > p->walked_cap) {
		size_t cap = p->walked_cap ? p->walked_cap * 2 : 256;
		uint64_t *set = calloc(cap, sizeof *set);

		if (!set) {
			p->err = err_set(E_LIMIT, "out of memory");
			return true;
		}
		for (size_t i = 0; i < p->walked_cap; i++)
			if (p->walked[i])
				walked_put(set, cap, p->walked[i]);
		free(p->walked);
		p->walked = set;
		p->walked_cap = cap;
	}
	if (!walked_put(p->walked, p->walked_cap, ((uint64_t)row << 32 | channel) + 1))
		return false;
	p->walked_n++;
	return true;
}

/* ---------------------------------------------------------------- taking in */

/* A copy that lives as long as the plan; .p NULL and p->err when memory is short. */
static struct str own(struct plan *p, struct str s)
{
	struct str mine = arena_str(&p->a, s);

	if (!mine.p)
		p->err = E_NOMEM;
	return mine;
}

static struct plan_ns *take_ns(struct plan *p, struct str name, uint32_t *number)
{
	struct plan_ns *ns;

	*number = plan_ns_find(p, name);
	if (*number != PLAN_NONE)
		return &p->ns[*number];
	if (p->ns_n == p->ns_cap) {
		size_t cap = p->ns_cap ? p->ns_cap * 2 : 8;

		ns = realloc(p->ns, cap * sizeof *ns);
		if (!ns) {
			p->err = err_set(E_LIMIT, "out of memory");
			return NULL;
		}
		p->ns = ns;
		p->ns_cap = cap;
	}
	*number = (uint32_t)p->ns_n;
	p->err = map_put(&p->ns_by_name, name, (void *)(p->ns_n + 1), NULL);
	if (p->err != OK)
		return NULL;
	ns = &p->ns[p->ns_n++];
	*ns = (struct plan_ns){.name = own(p, name), .head = PLAN_NONE};
	return ns;
}

uint32_t plan_channel(struct plan *p, struct plan_ns *ns, struct str name)
{
	for (size_t i = 0; i < ns->channels_n; i++)
		if (str_eq(ns->channels[i].name, name))
			return (uint32_t)i;
	if (ns->channels_n == ns->channels_cap) {
		size_t cap = ns->channels_cap ? ns->channels_cap * 2 : 4;

		ns->channels = arena_grow(&p->a, ns->channels, ns->channels_cap * sizeof *ns->channels, cap * sizeof *ns->channels);
		ns->channels_cap = cap;
	}
	if (!ns->channels) {
		p->err = E_NOMEM;
		ns->channels_n = ns->channels_cap = 0;
		return PLAN_NONE;
	}
	ns->channels[ns->channels_n] = (struct plan_channel){.name = own(p, name)};
	return p->err == OK ? (uint32_t)ns->channels_n++ : PLAN_NONE;
}

/* `true` in the JSON: an ordinary boolean, or the sign of a snapshot. */
static void take_true(struct plan *p, struct plan_ns *ns, uint32_t row, struct str name, struct jval versions)
{
	uint32_t number = plan_channel(p, ns, name);
	struct plan_channel *c = number == PLAN_NONE ? NULL : &ns->channels[number];
	struct jval version = j_get(versions, name);
	struct str raw = j_ok(version) ? j_raw(version) : STR("");

	if (!c || c->delta || c->at_n == sizeof c->at / sizeof *c->at || (c->at_n && str_eq(c->version, raw)))
		return;
	c->version = own(p, raw);
	c->at[c->at_n++] = row;
}

bool ckpt_js_delta(struct jval metadata)
{
	return j_ok(j_get(metadata, STR("delta_writes_versioned")));
}

static void take_metadata(struct plan *p, struct plan_ns *ns, struct plan_row *r, struct jval metadata)
{
	struct jval key, v, root = j_get(j_get(metadata, STR("parents")), STR(""));
	const struct plan_row *before = p->n ? &p->rows[p->n - 1] : NULL;

	if (!j_i64(j_get(metadata, STR("step")), &r->step))
		r->step = INT64_MIN;
	if (ns->name.n && j_is(root, JSON_STRING)) {
		struct str s = j_str(&p->scratch, root);

		r->root = before && before->root.p && str_eq(before->root, s) ? before->root : own(p, s);
	}
	p->js |= ckpt_js_delta(metadata);
	struct jval counters = j_get(metadata, STR("counters_since_delta_snapshot"));
	if (!j_is(counters, JSON_OBJECT))
		return;
	for (struct j_iter it = j_iter(counters); j_next(&it, &key, &v);) {
		uint32_t number = plan_channel(p, ns, j_str(&p->scratch, key));

		if (number != PLAN_NONE)
			ns->channels[number].delta = true;
	}
}

static void take_checkpoint(struct plan *p, struct plan_ns *ns, struct plan_row *r, struct jval checkpoint)
{
	struct jval key, v, values = j_get(checkpoint, STR("channel_values")),
			    versions = j_get(checkpoint, STR("channel_versions"));
	double number;

	r->old = j_double(j_get(checkpoint, STR("v")), &number) && number < 4;
	r->time_us = ckpt_id_time(r->id);
	v = j_get(checkpoint, STR("ts"));
	if (r->time_us == 0 && j_is(v, JSON_STRING) && clock_parse(j_str(&p->scratch, v), &r->time_us) != OK)
		r->time_us = 0;
	if (!j_is(values, JSON_OBJECT))
		return;
	for (struct j_iter it = j_iter(values); j_next(&it, &key, &v);)
		if (j_is(v, JSON_TRUE))
			take_true(p, ns, (uint32_t)p->n, j_str(&p->scratch, key), versions);
}

static enum err take_row(struct plan *p, const struct ckpt *c)
{
	struct json checkpoint, metadata;
	struct plan_row r = {.bytes = (int64_t)c->bytes};
	struct plan_ns *ns = take_ns(p, c->ns, &r.ns);

	if (!ns)
		return p->err;
	arena_clear(&p->scratch);
	r.id = own(p, c->id);
	r.parent = c->parent.n ? own(p, c->parent) : STR("");
	TRY(p->err);
	TRY(json_parse(&p->scratch, c->metadata, &ckpt_json_limits, &metadata));
	TRY(json_parse(&p->scratch, c->checkpoint, &ckpt_json_limits, &checkpoint));
	take_metadata(p, ns, &r, json_root(&metadata));
	take_checkpoint(p, ns, &r, json_root(&checkpoint));
	TRY(p->err);
	if (ns->head == PLAN_NONE || str_cmp(r.id, p->rows[ns->head].id) > 0)
		ns->head = (uint32_t)p->n;
	ns->rows++;
	p->rows[p->n++] = r;
	return OK;
}

static bool row_fits(struct plan *p)
{
	struct plan_row *rows;
	size_t cap = p->cap ? p->cap * 2 : 64;

	if (p->n < p->cap)
		return true;
	if (p->n >= CKPT_PLAN_MAX) {
		p->err = err_set(E_LIMIT, "thread \"%.*s\" has more than %d checkpoints, more than can be planned for",
				 STR_ARG(p->thread), CKPT_PLAN_MAX);
		return false;
	}
	rows = realloc(p->rows, cap * sizeof *rows);
	if (!rows) {
		p->err = err_set(E_LIMIT, "out of memory");
		return false;
	}
	p->rows = rows;
	p->cap = cap;
	return true;
}

static bool on_row(void *ctx, const struct ckpt *c)
{
	struct plan *p = ctx;

	if (!row_fits(p))
		return false;
	p->err = take_row(p, c);
	if (p->err != OK)
		p->err = err_wrap(p->err, "checkpoint \"%.*s\" of thread \"%.*s\"", STR_ARG(c->id), STR_ARG(p->thread));
	return p->err == OK;
}

enum err plan_scan(struct plan *p)
{
	struct ckpt_list q = {.thread = &p->thread, .limit = PAGE, .want = p->want};
	size_t before;

	do {
		before = p->n;
		TRY(p->s->ops->checkpoints->list(p->s, p->who, &q, on_row, p));
		TRY(p->err);
		if (p->n > before) {
			const struct plan_row *last = &p->rows[p->n - 1];

			q.after.id = last->id;
			q.after.thread = p->thread;
			q.after.ns = p->ns[last->ns].name;
		}
	} while (p->n - before == PAGE);
	return slots_fit(p);
}

static bool on_fresh(void *ctx, const struct ckpt *c)
{
	struct plan *p = ctx;
	uint32_t ns = plan_ns_find(p, c->ns);

	if (ns != PLAN_NONE && plan_find(p, ns, c->id) != PLAN_NONE) {
		p->known = true;
		return false;
	}
	if (!on_row(p, c))
		return false;
	p->rows[p->n - 1].kept = true;
	/* A call that goes on after all. */
	p->ns[p->rows[p->n - 1].ns].whole = false;
	return true;
}

enum err plan_refresh(struct plan *p, size_t *added)
{
	struct ckpt_list q = {.thread = &p->thread, .limit = FRESH_PAGE, .want = p->want};
	size_t before;

	*added = p->n;
	p->known = false;
	do {
		before = p->n;
		TRY(p->s->ops->checkpoints->list(p->s, p->who, &q, on_fresh, p));
		TRY(p->err);
		if (p->n > before) {
			const struct plan_row *last = &p->rows[p->n - 1];

			q.after.id = last->id;
			q.after.thread = p->thread;
			q.after.ns = p->ns[last->ns].name;
		}
	} while (!p->known && p->n - before == FRESH_PAGE);
	if (p->n == *added)
		return OK;
	TRY(slots_fit(p));
	for (size_t i = *added; i < p->n; i++)
		if (plan_find(p, p->rows[i].ns, p->rows[i].id) == PLAN_NONE)
			slot_put(p, (uint32_t)i);
	return OK;
}
