/* The in-memory store's checkpoints: rows in a list, values counted by the checkpoints whose channel_versions name them. */
#include "core/fake_impl.h"

#include <stdlib.h>

#include "base/json/json.h"
#include "core/principal.h"

static const struct json_limits limits = {.depth = 100, .nodes = 2000000, .bytes = 64u << 20};

static struct jval parsed(struct arena *a, struct str text)
{
	struct json *doc = ARENA_NEW(a, struct json);

	return json_parse(a, text, &limits, doc) == OK ? json_root(doc) : (struct jval){0};
}

static struct str version_text(struct arena *a, struct jval v)
{
	return j_is(v, JSON_STRING) ? j_str(a, v) : j_raw(v);
}

static struct str key_of(struct arena *a, struct str ns, struct str channel, struct str version)
{
	struct buf b;

	buf_init(&b, a, 1 << 20);
	buf_str(&b, ns);
	buf_byte(&b, 0);
	buf_str(&b, channel);
	buf_byte(&b, 0);
	buf_str(&b, version);
	return buf_slice(&b);
}

/* The value of a channel at this checkpoint, NULL when there is none. */
static const struct ckpt_value *value_at(const struct fake_thread *th, struct arena *a, const struct ckpt *c,
					 struct jval checkpoint, struct str channel)
{
	struct jval v = j_get(j_get(checkpoint, STR("channel_versions")), channel);
	const struct ckpt_value *x = j_ok(v) ? map_get(&th->values, key_of(a, c->ns, channel, version_text(a, v))) : NULL;

	return x && !str_eq(x->type, STR("empty")) ? x : NULL;
}

/* ---------------------------------------------------------------- places */

static int order(struct str id, struct str ns, const struct ckpt *c)
{
	int d = str_cmp(id, c->id);

	return d ? d : str_cmp(c->ns, ns);
}

static struct ckpt *row_find(const struct fake_thread *th, struct str ns, struct str id, size_t *at)
{
	size_t lo = 0, hi = th->checkpoints.n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = order(id, ns, th->checkpoints.p[mid]);

		if (c == 0) {
			*at = mid;
			return (struct ckpt *)th->checkpoints.p[mid];
		}
		if (c > 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*at = lo;
	return NULL;
}

static const struct ckpt *row_of(const struct fake_thread *th, struct str ns, struct str id)
{
	size_t at;

	if (id.n)
		return row_find(th, ns, id, &at);
	for (size_t i = th->checkpoints.n; i-- > 0;)
		if (str_eq(((const struct ckpt *)th->checkpoints.p[i])->ns, ns))
			return th->checkpoints.p[i];
	return NULL;
}

static struct fake_table *writes_of(const struct fake_thread *th, struct str id)
{
	return map_get(&th->writes, id);
}

/* ---------------------------------------------------------------- write */

/* by +1 or -1; values that nobody refers to any more go. */
static void refer(struct fake_thread *th, const struct ckpt *c, int by, struct ckpt_removed *gone)
{
	struct arena a;
	struct jval key, v, versions;

	arena_init(&a, (size_t)256 << 20);
	versions = j_get(parsed(&a, c->checkpoint), STR("channel_versions"));
	if (j_is(versions, JSON_OBJECT))
		for (struct j_iter it = j_iter(versions); j_next(&it, &key, &v);) {
			struct str k = key_of(&a, c->ns, j_str(&a, key), version_text(&a, v));
			intptr_t n = (intptr_t)map_get(&th->refs, k) + by;
			struct ckpt_value *x;

			if (n > 0) {
				if (map_put(&th->refs, k, (void *)n, NULL) != OK)
					abort();
				continue;
			}
			(void)map_del(&th->refs, k);
			x = map_del(&th->values, k);
			if (x && gone) {
				gone->values++;
				gone->bytes += (int64_t)x->bytes.n;
			}
		}
	arena_release(&a);
}

static void add_value(struct fake *f, struct fake_thread *th, struct str ns, const struct ckpt_value *v)
{
	struct arena a;
	struct ckpt_value *x;
	struct str k;

	arena_init(&a, 1 << 20);
	k = key_of(&a, ns, v->channel, v->version);
	if (!map_get(&th->values, k)) {
		x = ARENA_NEW(&f->arena, struct ckpt_value);
		x->channel = arena_str(&f->arena, v->channel);
		x->version = arena_str(&f->arena, v->version);
		x->type = arena_str(&f->arena, v->type);
		x->bytes = arena_str(&f->arena, v->bytes);
		if (map_put(&th->values, k, x, NULL) != OK)
			abort();
	}
	arena_release(&a);
}

static void put(struct fake *f, struct fake_thread *th, const struct ckpt_change *c)
{
	size_t at;
	struct ckpt *row = row_find(th, c->ns, c->id, &at), old;

	if (!row) {
		row = ARENA_NEW(&f->arena, struct ckpt);
		row->thread = th->info.thread;
		row->ns = arena_str(&f->arena, c->ns);
		row->id = arena_str(&f->arena, c->id);
		row->parent = arena_str(&f->arena, c->parent);
		fake_add(&th->checkpoints, row);
		memmove(&th->checkpoints.p[at + 1], &th->checkpoints.p[at],
			(th->checkpoints.n - 1 - at) * sizeof *th->checkpoints.p);
		th->checkpoints.p[at] = row;
		old = (struct ckpt){.id = STR("")};
	} else {
		old = *row;
	}
	row->checkpoint = arena_str(&f->arena, c->checkpoint);
	row->metadata = arena_str(&f->arena, c->metadata);
	refer(th, row, 1, NULL);
	if (old.id.n)
		refer(th, &old, -1, NULL);
	for (size_t i = 0; i < c->values_n; i++)
		add_value(f, th, c->ns, &c->values[i]);
	if (c->ns.n == 0)
		th->info.state_us = fake_tick(f);
}

static int by_task(const void *x, const void *y)
{
	const struct ckpt_pending *a = &(*(const struct fake_write *const *)x)->w, *b = &(*(const struct fake_write *const *)y)->w;
	int c = str_cmp(a->task_path, b->task_path);

	c = c ? c : str_cmp(a->task_id, b->task_id);
	return c ? c : (a->idx > b->idx) - (a->idx < b->idx);
}

static void add_writes(struct fake *f, struct fake_thread *th, const struct ckpt_change *c)
{
	struct fake_table *t = writes_of(th, c->id);

	if (!t) {
		t = calloc(1, sizeof *t);
		if (!t || map_put(&th->writes, c->id, t, NULL) != OK)
			abort();
	}
	for (size_t i = 0; i < c->writes_n; i++) {
		const struct ckpt_pending *w = &c->writes[i];
		struct fake_write *mine = NULL;

		for (size_t k = 0; k < t->n && !mine; k++) {
			struct fake_write *x = (struct fake_write *)t->p[k];

			if (str_eq(x->ns, c->ns) && str_eq(x->w.task_id, w->task_id) && x->w.idx == w->idx)
				mine = x;
		}
		if (mine && !c->replace)
			continue;
		if (!mine) {
			mine = ARENA_NEW(&f->arena, struct fake_write);
			mine->ns = arena_str(&f->arena, c->ns);
			mine->w.task_id = arena_str(&f->arena, w->task_id);
			mine->w.task_path = arena_str(&f->arena, w->task_path);
			mine->w.idx = w->idx;
			fake_add(t, mine);
		}
		mine->w.channel = arena_str(&f->arena, w->channel);
		mine->w.type = arena_str(&f->arena, w->type);
		mine->w.bytes = arena_str(&f->arena, w->bytes);
	}
	if (t->n)
		qsort(t->p, t->n, sizeof *t->p, by_task);
}

static enum err fake_write(struct store *s, const struct principal *who, const struct ckpt_change *c, size_t n)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);

	if (!t)
		return e;
	for (size_t i = 0; i < n; i++)
		if (!fake_thread_touch(f, t, who, who->user, c[i].thread, &e))
			return fake_leave(f, e);
	for (size_t i = 0; i < n; i++) {
		struct fake_thread *th = fake_thread_touch(f, t, who, who->user, c[i].thread, &e);

		if (c[i].op == CK_PUT)
			put(f, th, &c[i]);
		else
			add_writes(f, th, &c[i]);
	}
	return fake_leave(f, OK);
}

/* ---------------------------------------------------------------- read */

static bool wanted(const struct str *channels, size_t n, struct str name)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(channels[i], name))
			return true;
	return n == 0;
}

static int by_channel(const void *x, const void *y)
{
	const struct ckpt_value *a = x, *b = y;

	return str_cmp(a->channel, b->channel);
}

static void fill_values(const struct fake_thread *th, struct arena *a, const struct str *channels, size_t n, struct ckpt *out)
{
	struct jval key, v, doc = parsed(a, out->checkpoint), versions = j_get(doc, STR("channel_versions"));

	if (!j_is(versions, JSON_OBJECT))
		return;
	out->values = ARENA_ARRAY(a, struct ckpt_value, j_node(versions)->count);
	for (struct j_iter it = j_iter(versions); j_next(&it, &key, &v);) {
		struct str name = j_str(a, key);
		const struct ckpt_value *x = wanted(channels, n, name) ? value_at(th, a, out, doc, name) : NULL;

		if (x)
			out->values[out->values_n++] = *x;
	}
	if (out->values_n > 1)
		qsort(out->values, out->values_n, sizeof *out->values, by_channel);
}

static void fill_writes(const struct fake_thread *th, struct arena *a, struct ckpt *out)
{
	const struct fake_table *t = writes_of(th, out->id);

	if (!t)
		return;
	out->writes = ARENA_ARRAY(a, struct ckpt_pending, t->n);
	for (size_t i = 0; i < t->n; i++) {
		const struct fake_write *w = t->p[i];

		if (str_eq(w->ns, out->ns))
			out->writes[out->writes_n++] = w->w;
	}
}

static void fill(const struct fake_thread *th, struct arena *a, const struct ckpt *row, unsigned want, const struct str *channels,
		 size_t n, struct ckpt *out)
{
	*out = *row;
	if (want & CK_SIZES)
		out->bytes = row->checkpoint.n + row->metadata.n;
	if (want & CK_VALUES)
		fill_values(th, a, channels, n, out);
	if (want & CK_WRITES_TOO)
		fill_writes(th, a, out);
}

static enum err fake_get(struct store *s, struct arena *a, const struct principal *who, const struct ckpt_query *q,
			 struct ckpt *out, bool *found)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	const struct fake_thread *th;
	const struct ckpt *row;

	*found = false;
	if (!t)
		return e;
	th = fake_thread_find(t, who, q->thread);
	row = th ? row_of(th, q->ns, q->id) : NULL;
	*found = row != NULL;
	/* What it refers to lies in the store's arena, which outlives every test. */
	if (row)
		fill(th, a, row, q->want, q->channels, q->channels_n, out);
	return fake_leave(f, OK);
}

static int newest_first(const void *x, const void *y)
{
	const struct ckpt *a = *(const struct ckpt *const *)x, *b = *(const struct ckpt *const *)y;
	int c = str_cmp(b->id, a->id);

	c = c ? c : str_cmp(a->thread, b->thread);
	return c ? c : str_cmp(a->ns, b->ns);
}

static bool listed(struct arena *a, const struct ckpt_list *q, struct jval filter, const struct ckpt *c)
{
	const struct ckpt after = {.id = q->after.id, .thread = q->after.thread, .ns = q->after.ns}, *p = &after;

	if ((q->ns && !str_eq(*q->ns, c->ns)) || (q->id.n && !str_eq(q->id, c->id)) ||
	    (q->before.n && str_cmp(c->id, q->before) >= 0))
		return false;
	if (q->after.id.n && newest_first(&p, &c) >= 0)
		return false;
	return !j_ok(filter) || j_contains(parsed(a, c->metadata), filter);
}

static void collect(struct arena *a, const struct ckpt_list *q, struct jval filter, const struct fake_thread *th,
		    struct fake_table *out)
{
	for (size_t i = th->checkpoints.n; i-- > 0;) {
		if (q->thread && out->n >= q->limit)
			return;
		if (listed(a, q, filter, th->checkpoints.p[i]))
			fake_add(out, th->checkpoints.p[i]);
	}
}

static enum err fake_list(struct store *s, const struct principal *who, const struct ckpt_list *q, ckpt_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	struct fake_table rows = {0};
	struct arena a;

	if (!t)
		return e;
	arena_init(&a, (size_t)1 << 30);
	struct jval filter = q->filter.n ? parsed(&a, q->filter) : (struct jval){0};
	for (size_t i = 0; i < t->threads.n; i++) {
		const struct fake_thread *th = t->threads.p[i];

		if (principal_sees(who, th->info.user) && (!q->thread || str_eq(*q->thread, th->info.thread)))
			collect(&a, q, filter, th, &rows);
	}
	if (rows.n)
		qsort(rows.p, rows.n, sizeof *rows.p, newest_first);
	for (size_t i = 0; i < rows.n && i < q->limit; i++) {
		const struct ckpt *row = rows.p[i];
		struct ckpt c;

		fill(fake_thread_find(t, who, row->thread), &a, row, q->want, NULL, 0, &c);
		if (!fn(ctx, &c))
			break;
	}
	free(rows.p);
	arena_release(&a);
	return fake_leave(f, OK);
}

static enum err fake_sends(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct ckpt_sends *out,
			   size_t n)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	const struct fake_thread *th;

	if (!t)
		return e;
	th = fake_thread_find(t, who, thread);
	for (size_t k = 0; k < n; k++) {
		const struct fake_table *w = th ? writes_of(th, out[k].id) : NULL;

		out[k].n = 0;
		out[k].v = w ? ARENA_ARRAY(a, struct ckpt_pending, w->n) : NULL;
		for (size_t i = 0; w && i < w->n; i++) {
			const struct fake_write *x = w->p[i];

			if (str_eq(x->w.channel, STR("__pregel_tasks")))
				out[k].v[out[k].n++] = x->w;
		}
	}
	return fake_leave(f, OK);
}

/* ---------------------------------------------------------------- history */

/* Prepends: the walk goes back in time. */
static void take_writes(struct arena *a, const struct fake_thread *th, const struct ckpt *c, struct ckpt_history *h)
{
	struct ckpt with = *c;
	struct ckpt_pending *all;
	size_t n = 0;

	fill_writes(th, a, &with);
	all = ARENA_ARRAY(a, struct ckpt_pending, with.writes_n + h->writes_n);
	for (size_t i = 0; i < with.writes_n; i++)
		if (str_eq(with.writes[i].channel, h->channel))
			all[n++] = with.writes[i];
	if (h->writes_n)
		memcpy(all + n, h->writes, h->writes_n * sizeof *all);
	h->writes = all;
	h->writes_n += n;
}

static void history_of(struct arena *a, const struct fake_thread *th, const struct ckpt *target, struct ckpt_history *h)
{
	const struct ckpt *c = target;

	for (size_t steps = 0; steps <= th->checkpoints.n && !h->seeded; steps++) {
		const struct ckpt_value *x;
		struct jval doc, inl;

		c = c->parent.n ? row_of(th, c->ns, c->parent) : NULL;
		if (!c)
			return;
		take_writes(a, th, c, h);
		doc = parsed(a, c->checkpoint);
		x = value_at(th, a, c, doc, h->channel);
		inl = j_get(j_get(doc, STR("channel_values")), h->channel);
		if (x) {
			h->seeded = true;
			h->seed = *x;
		} else if (!j_null(inl)) {
			h->seeded = true;
			h->seed = (struct ckpt_value){.channel = h->channel, .type = STR(""), .bytes = j_raw(inl)};
		}
	}
}

static enum err fake_history(struct store *s, struct arena *a, const struct principal *who, const struct ckpt_query *q,
			     struct ckpt_history *out, size_t n)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	const struct fake_thread *th;
	const struct ckpt *row;

	if (!t)
		return e;
	th = fake_thread_find(t, who, q->thread);
	row = th ? row_of(th, q->ns, q->id) : NULL;
	for (size_t i = 0; i < n; i++) {
		out[i] = (struct ckpt_history){.channel = out[i].channel};
		if (row)
			history_of(a, th, row, &out[i]);
	}
	return fake_leave(f, OK);
}

/* ---------------------------------------------------------------- remove */

static void drop_writes(struct fake_thread *th, struct str ns, struct str id, struct ckpt_removed *gone)
{
	struct fake_table *t = writes_of(th, id);

	for (size_t i = 0; t && i < t->n;) {
		const struct fake_write *w = t->p[i];

		if (!str_eq(w->ns, ns)) {
			i++;
			continue;
		}
		gone->writes++;
		gone->bytes += (int64_t)w->w.bytes.n;
		fake_del(t, i);
	}
	if (t && t->n == 0) {
		(void)map_del(&th->writes, id);
		free(t->p);
		free(t);
	}
}

/* Rows whose id was emptied go; what is left loses parents that went. */
static void compact(struct fake_thread *th, struct ckpt_removed *gone)
{
	struct fake_table *t = &th->checkpoints;
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct ckpt *c = (struct ckpt *)t->p[i];

		if (c->bytes) {
			refer(th, c, -1, gone);
			drop_writes(th, c->ns, c->id, gone);
			gone->checkpoints++;
		} else {
			t->p[n++] = c;
		}
	}
	t->n = n;
	for (size_t i = 0; i < t->n; i++) {
		struct ckpt *c = (struct ckpt *)t->p[i];
		size_t at;

		if (c->parent.n && !row_find(th, c->ns, c->parent, &at))
			c->parent = STR("");
	}
}

static enum err fake_remove(struct store *s, const struct principal *who, struct str thread, const struct ckpt_ref *refs, size_t n,
			    struct ckpt_removed *out)
{
	struct fake *f = fake_of(s);
	enum err e;
	size_t at;
	struct fake_tenant *t = fake_enter(f, who, &e);
	struct fake_thread *th;

	*out = (struct ckpt_removed){0};
	if (!t)
		return e;
	f->write_calls++;
	th = fake_thread_find(t, who, thread);
	for (size_t i = 0; th && i < n; i++) {
		struct ckpt *c = row_find(th, refs[i].ns, refs[i].id, &at);

		if (c)
			c->bytes = 1; /* the mark that compact looks for */
	}
	if (th) {
		compact(th, out);
		fake_thread_settle(t, th);
	}
	return fake_leave(f, OK);
}

void fake_checkpoints_drop(struct fake_thread *th)
{
	struct str key;
	size_t it = 0;
	void *v;

	while (map_next(&th->writes, &it, &key, &v)) {
		free(((struct fake_table *)v)->p);
		free(v);
	}
	map_release(&th->values);
	map_release(&th->refs);
	map_release(&th->writes);
	map_init(&th->values);
	map_init(&th->refs);
	map_init(&th->writes);
	th->checkpoints.n = 0;
	th->info.state_us = 0;
}

void fake_checkpoints_show(const struct fake_thread *th, struct thread_info *out)
{
	const struct ckpt *head = row_of(th, STR(""), STR(""));
	const struct fake_table *t = head ? writes_of(th, head->id) : NULL;

	for (size_t i = 0; t && i < t->n; i++) {
		const struct fake_write *w = t->p[i];

		out->interrupted |= w->ns.n == 0 && str_eq(w->w.channel, STR("__interrupt__"));
		out->error |= w->ns.n == 0 && str_eq(w->w.channel, STR("__error__"));
	}
}

/* ---------------------------------------------------------------- the rest */

static bool in_refs(const struct ckpt_ref *refs, size_t n, const struct ckpt *c)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(refs[i].ns, c->ns) && str_eq(refs[i].id, c->id))
			return true;
	return refs == NULL;
}

static void copy_row(struct fake *f, struct fake_thread *from, struct fake_thread *to, const struct ckpt *row)
{
	struct ckpt full;
	struct ckpt_change c = {
		.ns = row->ns, .id = row->id, .parent = row->parent, .checkpoint = row->checkpoint, .metadata = row->metadata};

	fill(from, &f->arena, row, CK_VALUES | CK_WRITES_TOO, NULL, 0, &full);
	c.values = full.values;
	c.values_n = full.values_n;
	put(f, to, &c);
	c.writes = full.writes;
	c.writes_n = full.writes_n;
	if (c.writes_n)
		add_writes(f, to, &c);
}

static enum err fake_copy(struct store *s, const struct principal *who, struct str from, struct str to, const struct ckpt_ref *refs,
			  size_t n)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	struct fake_thread *a, *b;

	if (!t)
		return e;
	a = fake_thread_find(t, who, from);
	if (!a || a->checkpoints.n == 0)
		return fake_leave(f, err_set(E_NOT_FOUND, "thread \"%.*s\" has no checkpoints", STR_ARG(from)));
	b = fake_thread_touch(f, t, who, a->info.user, to, &e);
	if (!b)
		return fake_leave(f, e);
	if (b->checkpoints.n)
		return fake_leave(f, err_set(E_CONFLICT, "thread \"%.*s\" has checkpoints", STR_ARG(to)));
	for (size_t i = 0; i < a->checkpoints.n; i++)
		if (in_refs(refs, n, a->checkpoints.p[i]))
			copy_row(f, a, b, a->checkpoints.p[i]);
	return fake_leave(f, OK);
}

static enum err fake_by_run(struct store *s, const struct principal *who, const struct str *ids, size_t n, ckpt_fn fn, void *ctx)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	struct arena a;
	bool go = true;

	if (!t)
		return e;
	arena_init(&a, (size_t)1 << 30);
	for (size_t i = 0; i < t->threads.n && go; i++) {
		const struct fake_thread *th = t->threads.p[i];

		for (size_t k = 0; k < th->checkpoints.n && go && principal_sees(who, th->info.user); k++) {
			const struct ckpt *c = th->checkpoints.p[k];
			struct jval run = j_get(parsed(&a, c->metadata), STR("run_id"));

			for (size_t r = 0; r < n && j_is(run, JSON_STRING); r++)
				if (j_str_eq(run, ids[r])) {
					go = fn(ctx, c);
					break;
				}
		}
	}
	arena_release(&a);
	return fake_leave(f, OK);
}

static void channel_size(struct arena *a, struct ckpt_storage *st, const struct ckpt_value *v)
{
	size_t i = 0;

	while (i < st->channels_n && !str_eq(st->channels[i].channel, v->channel))
		i++;
	if (i == st->channels_n) {
		st->channels = arena_grow(a, st->channels, i * sizeof *st->channels, (i + 1) * sizeof *st->channels);
		st->channels[st->channels_n++] = (struct ckpt_channel_size){.channel = v->channel};
	}
	st->channels[i].versions++;
	st->channels[i].bytes += (int64_t)v->bytes.n;
	st->values++;
	st->value_bytes += (int64_t)v->bytes.n;
}

static enum err fake_storage(struct store *s, struct arena *a, const struct principal *who, struct str thread,
			     struct ckpt_storage *out)
{
	struct fake *f = fake_of(s);
	enum err e;
	struct fake_tenant *t = fake_enter(f, who, &e);
	const struct fake_thread *th;
	struct str key;
	size_t it = 0;
	void *v;

	*out = (struct ckpt_storage){0};
	if (!t)
		return e;
	th = fake_thread_find(t, who, thread);
	if (!th)
		return fake_leave(f, OK);
	out->checkpoints = (int64_t)th->checkpoints.n;
	for (size_t i = 0; i < th->checkpoints.n; i++) {
		const struct ckpt *c = th->checkpoints.p[i];

		out->checkpoint_bytes += (int64_t)(c->checkpoint.n + c->metadata.n);
	}
	while (map_next(&th->values, &it, &key, &v))
		channel_size(a, out, v);
	for (it = 0; map_next(&th->writes, &it, &key, &v);)
		for (size_t i = 0; i < ((struct fake_table *)v)->n; i++) {
			out->writes++;
			out->write_bytes += (int64_t)((const struct fake_write *)((struct fake_table *)v)->p[i])->w.bytes.n;
		}
	return fake_leave(f, OK);
}

const struct checkpoint_ops fake_checkpoint_ops = {
	.write = fake_write,
	.get = fake_get,
	.list = fake_list,
	.sends = fake_sends,
	.history = fake_history,
	.remove = fake_remove,
	.copy = fake_copy,
	.by_run = fake_by_run,
	.storage = fake_storage,
};
