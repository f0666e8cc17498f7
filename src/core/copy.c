/* Copying: the order of the parts, the place in the target, what could not be stored, keys. See copy.h. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "core/copy_impl.h"

#define SAVE_EVERY_NS 1000000000ull
#define FAILED_MAX 100000
#define FAILED_HEX 16
#define WORK_ROOM ((size_t)1 << 30)

/* ---------------------------------------------------------------- what failed */

struct str copy_name(struct arena *a, enum copy_kind kind, struct str first, struct str second)
{
	struct buf b;
	char hex[FAILED_HEX + 1];

	buf_init(&b, a, (size_t)1 << 20);
	buf_byte(&b, "imtces"[kind]);
	buf_varint(&b, first.n);
	buf_str(&b, first);
	buf_str(&b, second);
	if (b.err != OK)
		return STR("");
	uint64_t h = hash64(buf_slice(&b));
	hex_encode((const uint8_t *)&h, sizeof h, hex);
	return arena_str(a, str_of(hex, FAILED_HEX));
}

bool copy_has_failed(struct copy *c, enum copy_kind kind, struct str first, struct str second)
{
	struct arena a;
	bool yes;

	if (c->failed.count == 0)
		return false;
	arena_init(&a, (size_t)2 << 20);
	yes = map_get(&c->failed, copy_name(&a, kind, first, second)) != NULL;
	arena_release(&a);
	return yes;
}

void copy_tell(struct copy *c, enum copy_what what, enum copy_kind kind, struct str first, struct str second, struct str reason)
{
	const struct copy_problem p = {what, kind, c->who.tenant, first, second, reason};

	if (c->opt->problem)
		c->opt->problem(c->opt->ctx, &p);
}

enum err copy_fail(struct copy *c, enum copy_kind kind, struct str first, struct str second)
{
	static char yes;
	struct arena a;
	enum err e;
	bool told;

	copy_tell(c, COPY_FAILED, kind, first, second, str_c(diag_get()->text));
	arena_init(&a, (size_t)2 << 20);
	struct str name = copy_name(&a, kind, first, second);
	told = map_get(&c->failed, name) != NULL;
	e = name.n ? map_put(&c->failed, name, &yes, NULL) : E_NOMEM;
	arena_release(&a);
	TRY(e);
	c->r->failed += !told;
	c->failed_new = true;
	if (c->failed.count > FAILED_MAX)
		return err_set(E_LIMIT, "more than %d things could not be stored", FAILED_MAX);
	return OK;
}

bool copy_is_local(enum err e)
{
	return e == E_INVALID || (e == E_LIMIT && diag_get()->kind == ERR_SIZE);
}

/* ---------------------------------------------------------------- the place */

static struct str meta_name(struct arena *a, const struct copy *c, const char *tail)
{
	return arena_printf(a, "copy:%.*s%s", STR_ARG(c->opt->source), tail);
}

static void member(struct jw *w, const char *name, int64_t v)
{
	jw_key(w, name);
	jw_i64(w, v);
}

static void text(struct jw *w, const char *name, const char *p, size_t n)
{
	jw_key(w, name);
	jw_str(w, str_of(p, n));
}

static enum err save_failed(struct copy *c, struct arena *a)
{
	struct buf b;
	struct str name;
	size_t it = 0;
	void *v;

	buf_init(&b, a, (size_t)4 << 20);
	while (map_next(&c->failed, &it, &name, &v))
		buf_str(&b, name);
	TRY(b.err);
	TRY(c->to->ops->meta_put(c->to, &c->who, meta_name(a, c, ":failed"), buf_slice(&b)));
	c->failed_new = false;
	return OK;
}

/* First the failed names, then the place behind them: never the other way round. */
static enum err save(struct copy *c)
{
	const struct copy_place *at = &c->at;
	const struct copy_result *r = c->r;
	struct arena a;
	struct buf b;
	struct jw w;
	enum err e = OK;

	arena_init(&a, (size_t)16 << 20);
	buf_init(&b, &a, (size_t)1 << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	member(&w, "begun", at->begun_us);
	member(&w, "stage", at->stage);
	text(&w, "ns", at->ns, at->ns_n);
	text(&w, "key", at->key, at->key_n);
	text(&w, "thread", at->thread, at->thread_n);
	member(&w, "pos", at->pos);
	member(&w, "items", r->items);
	member(&w, "copied", r->copied);
	member(&w, "unchanged", r->unchanged);
	member(&w, "newer", r->newer);
	member(&w, "failed", r->failed);
	member(&w, "states", r->states);
	member(&w, "states_copied", r->states_copied);
	member(&w, "messages", r->messages);
	member(&w, "messages_copied", r->messages_copied);
	member(&w, "threads", r->threads);
	member(&w, "checkpoints", r->checkpoints);
	member(&w, "checkpoints_copied", r->checkpoints_copied);
	member(&w, "entries", r->entries);
	member(&w, "entries_copied", r->entries_copied);
	member(&w, "done", (int64_t)c->done);
	jw_end_obj(&w);
	CHECK(b.err);
	if (c->failed_new)
		CHECK(save_failed(c, &a));
	e = c->to->ops->meta_put(c->to, &c->who, meta_name(&a, c, ""), buf_slice(&b));
out:
	arena_release(&a);
	return e == OK ? OK : err_wrap(e, "noting in the target how far the copy is");
}

static int64_t number(struct jval obj, const char *name)
{
	int64_t v;

	return j_i64(j_get(obj, str_c(name)), &v) ? v : 0;
}

static void taken(struct arena *a, struct jval obj, const char *name, char *out, size_t room, size_t *n)
{
	struct jval v = j_get(obj, str_c(name));
	struct str s = j_is(v, JSON_STRING) ? j_str(a, v) : STR("");

	*n = s.n <= room ? s.n : 0;
	if (*n)
		memcpy(out, s.p, *n);
}

static void load_place(struct copy *c, struct arena *a, struct jval v)
{
	struct copy_place *at = &c->at;
	struct copy_result *r = c->r;

	at->begun_us = number(v, "begun");
	at->stage = (enum copy_stage)number(v, "stage");
	taken(a, v, "ns", at->ns, sizeof at->ns, &at->ns_n);
	taken(a, v, "key", at->key, sizeof at->key, &at->key_n);
	taken(a, v, "thread", at->thread, sizeof at->thread, &at->thread_n);
	at->pos = number(v, "pos");
	r->items = number(v, "items");
	r->copied = number(v, "copied");
	r->unchanged = number(v, "unchanged");
	r->newer = number(v, "newer");
	r->failed = number(v, "failed");
	r->states = number(v, "states");
	r->states_copied = number(v, "states_copied");
	r->messages = number(v, "messages");
	r->messages_copied = number(v, "messages_copied");
	r->threads = number(v, "threads");
	r->checkpoints = number(v, "checkpoints");
	r->checkpoints_copied = number(v, "checkpoints_copied");
	r->entries = number(v, "entries");
	r->entries_copied = number(v, "entries_copied");
	c->done = (uint64_t)number(v, "done");
	r->resumed = true;
}

static enum err load_failed(struct copy *c, struct arena *a)
{
	static char yes;
	struct str all;
	bool found;

	TRY(c->to->ops->meta_get(c->to, a, &c->who, meta_name(a, c, ":failed"), &all, &found));
	for (size_t i = 0; found && i + FAILED_HEX <= all.n; i += FAILED_HEX)
		TRY(map_put(&c->failed, str_sub(all, i, i + FAILED_HEX), &yes, NULL));
	return OK;
}

static enum err load(struct copy *c)
{
	struct arena a;
	struct json doc;
	struct str s;
	bool found = false;
	enum err e = OK;

	c->at.begun_us = clock_wall_us();
	if (!c->to || c->opt->dry_run)
		return OK;
	arena_init(&a, (size_t)32 << 20);
	CHECK(c->to->ops->meta_get(c->to, &a, &c->who, meta_name(&a, c, ""), &s, &found));
	if (!found)
		goto out;
	if (json_parse(&a, s, &json_default_limits, &doc) != OK || !j_is(json_root(&doc), JSON_OBJECT)) {
		e = err_set(E_CORRUPT, "the target's note of how far the copy is cannot be read");
		goto out;
	}
	load_place(c, &a, json_root(&doc));
	e = load_failed(c, &a);
out:
	arena_release(&a);
	return e;
}

static enum err forget(struct copy *c)
{
	struct arena a;
	enum err e = OK;

	arena_init(&a, 1 << 16);
	CHECK(c->to->ops->meta_put(c->to, &c->who, meta_name(&a, c, ""), STR("")));
	if (c->failed.count)
		e = c->to->ops->meta_put(c->to, &c->who, meta_name(&a, c, ":failed"), STR(""));
out:
	arena_release(&a);
	return e;
}

enum err copy_pause(struct copy *c, bool force)
{
	bool stop = c->opt->stopped && c->opt->stopped(c->opt->ctx);

	if (c->opt->tick && c->at.stage != COPY_COMPARE)
		c->opt->tick(c->opt->ctx, c->who.tenant, c->done, c->total);
	if (c->to && !c->opt->dry_run && (stop || force || clock_mono_ns() >= c->save_at)) {
		TRY(save(c));
		c->save_at = clock_mono_ns() + SAVE_EVERY_NS;
	}
	return stop ? err_set(E_CANCELLED, "interrupted") : OK;
}

/* ---------------------------------------------------------------- keys */

struct keys {
	struct copy *c;
	struct arena a;
	struct key_record *v;
	size_t n, cap;
	enum err err;
};

static bool on_key(void *ctx, const struct key_record *k)
{
	struct keys *x = ctx;
	struct key_record *to;

	if (!str_eq(k->tenant, x->c->who.tenant))
		return true;
	if (x->n == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 16;

		x->v = arena_grow(&x->a, x->v, x->cap * sizeof *x->v, cap * sizeof *x->v);
		x->cap = cap;
	}
	if (!x->v) {
		x->err = E_NOMEM;
		return false;
	}
	to = &x->v[x->n++];
	*to = *k;
	to->id = arena_str(&x->a, k->id);
	to->name = arena_str(&x->a, k->name);
	to->tenant = arena_str(&x->a, k->tenant);
	to->user = arena_str(&x->a, k->user);
	if (!to->id.p || !to->name.p || !to->tenant.p || !to->user.p)
		x->err = E_NOMEM;
	return x->err == OK;
}

/* A key that the target has stays as it is there, but a revocation is taken over: what was revoked opens nothing anywhere. */
static enum err copy_key(struct copy *c, struct arena *a, const struct key_record *k)
{
	struct key_record have = {0}, put = *k;
	bool found = false;

	if (c->to)
		TRY(c->to->ops->key_get(c->to, a, k->id, &have, &found));
	if (found && (k->revoked_us == 0 || have.revoked_us != 0))
		return OK;
	if (found) {
		put = have;
		put.revoked_us = k->revoked_us;
	}
	if (!c->opt->dry_run)
		TRY(c->to->ops->key_put(c->to, &put));
	c->r->keys++;
	return OK;
}

static enum err copy_keys(struct copy *c)
{
	struct keys x = {.c = c};
	enum err e;

	arena_init(&x.a, (size_t)64 << 20);
	CHECK(c->from->ops->key_list(c->from, on_key, &x));
	CHECK(x.err);
	for (size_t i = 0; i < x.n && e == OK; i++)
		e = copy_key(c, &x.a, &x.v[i]);
out:
	arena_release(&x.a);
	return e;
}

/* ---------------------------------------------------------------- all of it */

static enum err stages(struct copy *c)
{
	bool dry = c->opt->dry_run;

	if (c->at.stage == COPY_ITEMS) {
		TRY(copy_pause(c, true));
		TRY(copy_items(c));
		TRY(copy_facts(c));
		c->at.stage = COPY_MESSAGES;
	}
	if (c->at.stage == COPY_MESSAGES) {
		TRY(copy_pause(c, true));
		TRY(copy_messages(c));
		c->at.stage = COPY_THREADS;
		c->at.thread_n = 0;
	}
	if (c->at.stage == COPY_THREADS) {
		TRY(copy_pause(c, true));
		TRY(copy_threads(c));
		c->at.stage = COPY_COMPARE;
	}
	TRY(copy_keys(c));
	if (dry)
		return OK;
	TRY(copy_pause(c, true));
	if (!c->opt->no_verify)
		TRY(copy_compare(c));
	return forget(c);
}

enum err copy_tenant(struct store *from, struct store *to, struct str tenant, const struct copy_options *opt,
		     struct copy_result *out)
{
	const struct memory_options mo = {.languages = opt->languages};
	struct copy c = {
		.from = from, .to = to, .who = {.tenant = tenant, .rights = RIGHT_ALL, .id = STR("copy")}, .opt = opt, .r = out};
	struct store_stats st;
	enum err e;

	*out = (struct copy_result){0};
	arena_init(&c.page, WORK_ROOM);
	arena_init(&c.work, WORK_ROOM);
	map_init(&c.failed);
	CHECK(memory_new(to ? to : from, &mo, &c.memory));
	CHECK(load(&c));
	if (out->resumed && opt->resumes)
		opt->resumes(opt->ctx, tenant, c.done);
	CHECK(from->ops->stats(from, &c.who, &st));
	c.total = (uint64_t)(st.items + st.messages + st.checkpoints + st.entries);
	e = stages(&c);
out:
	memory_free(c.memory);
	map_release(&c.failed);
	arena_release(&c.page);
	arena_release(&c.work);
	return e;
}
