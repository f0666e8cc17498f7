/* What may be removed of a thread, and removing it: prune and delete_for_runs (contracts: langgraph 3.7, 3.8).
 *
 * Invariants
 *  1. A checkpoint goes only when it is neither kept nor support; support is what kept ones are rebuilt from: ancestors up to the
 *     last stored value of each delta channel, and a parent with sends of the old format.
 *  2. Within a thread the oldest goes first, in steps of one transaction each, subgraph calls before the root checkpoints that
 *     started them. So whatever is left after a crash is planned for again in the same way.
 *  3. Before every step it is looked whether new checkpoints came that need something of what is to go. */
#include <stdlib.h>

#include "base/clock.h"
#include "core/checkpoint_impl.h"
#include "rt/wait.h"

enum { RUNS_MAX = 1000, THREADS_MAX = 10000 };

/* ---------------------------------------------------------------- needs */

bool ckpt_has_value(const struct ckpt *c, struct jval v, struct str channel)
{
	for (size_t i = 0; i < c->values_n; i++)
		if (str_eq(c->values[i].channel, channel))
			return true;
	return !j_null(j_get(j_get(v, STR("channel_values")), channel));
}

/* Reads a row with the values of these channels (n 0: all) into p->one; *found = false: it is gone. */
static enum err read_row(struct plan *p, uint32_t row, const struct str *channels, size_t n, struct ckpt *c, struct json *doc,
			 bool *found)
{
	const struct plan_row *r = &p->rows[row];
	const struct ckpt_query q = {.thread = p->thread,
				     .ns = p->ns[r->ns].name,
				     .id = r->id,
				     .want = CK_VALUES,
				     .channels = channels,
				     .channels_n = n};

	arena_clear(&p->one);
	TRY(p->s->ops->checkpoints->get(p->s, &p->one, p->who, &q, c, found));
	return *found ? json_parse(&p->one, c->checkpoint, &ckpt_json_limits, doc) : OK;
}

/* Which of the channels that have `true` in the JSON are delta channels: those with a value behind it. */
static enum err confirm(struct plan *p, struct plan_ns *ns)
{
	for (size_t i = 0; i < ns->channels_n && !ns->confirmed; i++) {
		struct plan_channel *c = &ns->channels[i];

		for (size_t k = 0; k < c->at_n && !c->delta; k++) {
			struct ckpt at;
			struct json doc;
			bool found;

			TRY(read_row(p, c->at[k], &c->name, 1, &at, &doc, &found));
			c->delta = found && at.values_n > 0;
		}
	}
	ns->confirmed = true;
	return OK;
}

/* Follows the parents until a value of the channel is stored. */
static enum err walk(struct plan *p, uint32_t row, uint32_t channel)
{
	uint32_t ns = p->rows[row].ns;

	for (;;) {
		struct str name = p->ns[ns].channels[channel].name;
		struct ckpt c;
		struct json doc;
		bool found;

		row = plan_find(p, ns, p->rows[row].parent);
		if (row == PLAN_NONE || p->rows[row].gone || !plan_walk_once(p, row, channel))
			return OK;
		TRY(p->err);
		p->rows[row].support = true;
		TRY(read_row(p, row, &name, 1, &c, &doc, &found));
		if (!found || ckpt_has_value(&c, json_root(&doc), name))
			return OK;
	}
}

/* Consumed channels have versions without a value and are never delta channels. */
static bool reserved(struct str channel)
{
	return str_starts(channel, STR("__")) || str_starts(channel, STR("branch:"));
}

/* Numbers of the delta channels that row has a version of, but no value. */
static enum err unresolved(struct plan *p, uint32_t row, uint32_t **out, size_t *n)
{
	struct plan_ns *ns = &p->ns[p->rows[row].ns];
	struct str *names = NULL;
	struct jval key, v, versions;
	struct ckpt c;
	struct json doc;
	bool found;
	size_t deltas = 0;

	*n = 0;
	arena_clear(&p->scratch);
	names = ARENA_ARRAY(&p->scratch, struct str, ns->channels_n);
	if (!names)
		return E_NOMEM;
	for (size_t i = 0; i < ns->channels_n; i++)
		if (ns->channels[i].delta)
			names[deltas++] = ns->channels[i].name;
	if (deltas == 0 && !p->js)
		return OK;
	TRY(read_row(p, row, p->js ? NULL : names, p->js ? 0 : deltas, &c, &doc, &found));
	versions = found ? j_get(json_root(&doc), STR("channel_versions")) : (struct jval){0};
	if (!j_is(versions, JSON_OBJECT))
		return OK;
	*out = ARENA_ARRAY(&p->scratch, uint32_t, j_node(versions)->count);
	if (!*out)
		return E_NOMEM;
	for (struct j_iter it = j_iter(versions); j_next(&it, &key, &v);) {
		struct str name = j_str(&p->one, key);
		bool delta = p->js && !reserved(name);

		for (size_t i = 0; i < deltas && !delta; i++)
			delta = str_eq(names[i], name);
		if (!delta || ckpt_has_value(&c, json_root(&doc), name))
			continue;
		(*out)[*n] = plan_channel(p, ns, name);
		if ((*out)[(*n)++] == PLAN_NONE)
			return p->err;
	}
	return OK;
}

static enum err needs_of(struct plan *p, uint32_t row, uint32_t parent)
{
	const struct plan_row *r = &p->rows[row];
	uint32_t *channels = NULL;
	size_t n;

	TRY(confirm(p, &p->ns[r->ns]));
	TRY(unresolved(p, row, &channels, &n));
	for (size_t i = 0; i < n; i++)
		TRY(walk(p, row, channels[i]));
	if (r->old && !p->rows[parent].support) {
		struct ckpt_sends sends = {.id = p->rows[parent].id};

		arena_clear(&p->one);
		TRY(p->s->ops->checkpoints->sends(p->s, &p->one, p->who, p->thread, &sends, 1));
		p->rows[parent].support |= sends.n > 0;
	}
	return OK;
}

/* Of a kept row whose parent is kept nothing has to be done: what it lacks its parent lacks, too, or has. */
enum err plan_needs(struct plan *p, size_t from)
{
	for (size_t i = from; i < p->n; i++) {
		uint32_t parent;

		if (!p->rows[i].kept)
			continue;
		parent = plan_find(p, p->rows[i].ns, p->rows[i].parent);
		if (parent != PLAN_NONE && !p->rows[parent].kept && !p->rows[parent].gone)
			TRY(needs_of(p, (uint32_t)i, parent));
	}
	return OK;
}

/* ---------------------------------------------------------------- removing */

static bool goes(const struct plan *p, const struct plan_row *r)
{
	return !r->gone && !r->kept && (!r->support || p->ns[r->ns].whole);
}

struct step {
	struct ckpt_ref *refs;
	uint32_t *rows;
	size_t n, most;
};

static enum err remove_step(struct plan *p, struct step *step, struct ckpt_removed *out)
{
	struct ckpt_removed gone = {0};
	size_t added, n = 0;

	TRY(plan_refresh(p, &added));
	if (added < p->n)
		TRY(plan_needs(p, added));
	for (size_t i = 0; i < step->n; i++) {
		const struct plan_row *r = &p->rows[step->rows[i]];

		if (goes(p, r))
			step->refs[n++] = (struct ckpt_ref){p->ns[r->ns].name, r->id};
	}
	if (n > 0)
		TRY(p->s->ops->checkpoints->remove(p->s, p->who, p->thread, step->refs, n, &gone));
	for (size_t i = 0; i < step->n; i++)
		p->rows[step->rows[i]].gone |= goes(p, &p->rows[step->rows[i]]);
	out->checkpoints += gone.checkpoints;
	out->values += gone.values;
	out->writes += gone.writes;
	out->bytes += gone.bytes;
	step->n = 0;
	return OK;
}

/* Everything that goes, from the oldest on: first (whole) the namespaces that go as a whole, then the rest. */
static enum err remove_rows(struct plan *p, size_t rows, uint32_t pause_ms, struct ckpt_removed *out)
{
	size_t most = p->s->ops->checkpoints->remove_step ? p->s->ops->checkpoints->remove_step : CKPT_REMOVE_STEP;
	struct step step = {ARENA_ARRAY(&p->a, struct ckpt_ref, most), ARENA_ARRAY(&p->a, uint32_t, most), 0, most};

	if (!step.refs || !step.rows)
		return E_NOMEM;
	for (int whole = 1; whole >= 0; whole--) {
		for (size_t i = rows; i-- > 0;) {
			if (!goes(p, &p->rows[i]) || p->ns[p->rows[i].ns].whole != (whole == 1))
				continue;
			step.rows[step.n++] = (uint32_t)i;
			if (step.n < step.most)
				continue;
			TRY(remove_step(p, &step, out));
			if (pause_ms)
				TRY(wait_until(deadline_in_ms(pause_ms)));
		}
		if (step.n)
			TRY(remove_step(p, &step, out));
	}
	return OK;
}

/* ---------------------------------------------------------------- prune */

/* Marks what the policy keeps in one namespace order: rows stand newest first. */
static enum err apply_policy(struct plan *p, const struct ckpt_prune_how *how, int64_t *next_us)
{
	const struct ckpt_policy *policy = how->policy;
	int64_t keep_last = policy->keep_last > 1 ? policy->keep_last : 1;
	int64_t *newer = ARENA_ARRAY(&p->a, int64_t, p->ns_n);

	if (!newer)
		return E_NOMEM;
	memset(newer, 0, p->ns_n * sizeof *newer);
	for (size_t i = 0; i < p->n; i++) {
		struct plan_row *r = &p->rows[i];
		int64_t old_us = r->time_us + policy->keep_days_us;

		r->kept = newer[r->ns]++ < keep_last;
		r->kept |= policy->keep_every > 0 && r->step != INT64_MIN && r->step % policy->keep_every == 0;
		if (r->kept || policy->keep_days_us == 0)
			continue;
		/* Without a time it cannot be said to be old. */
		r->kept = r->time_us == 0 || old_us > how->now_us;
		if (r->kept && r->time_us && (*next_us == 0 || old_us < *next_us))
			*next_us = old_us;
	}
	return OK;
}

/* A namespace with ':' is a call of a subgraph and goes with the root checkpoint that its head says it began from. */
static void drop_calls(struct plan *p)
{
	uint32_t root_ns = plan_ns_find(p, STR(""));

	for (size_t i = 0; root_ns != PLAN_NONE && i < p->ns_n; i++) {
		struct plan_ns *ns = &p->ns[i];
		uint32_t root;

		if (ns->name.n == 0 || str_chr(ns->name, ':', 0) < 0)
			continue;
		root = plan_find(p, root_ns, p->rows[ns->head].root);
		ns->whole = root != PLAN_NONE && !p->rows[root].kept && !p->rows[root].support;
	}
	for (size_t i = 0; i < p->n; i++)
		if (p->ns[p->rows[i].ns].whole)
			p->rows[i].kept = p->rows[i].support = false;
}

enum err ckpt_prune_thread(struct store *s, const struct principal *who, struct str thread, const struct ckpt_prune_how *how,
			   struct ckpt_plan_result *out)
{
	struct plan p;
	enum err e;

	*out = (struct ckpt_plan_result){0};
	plan_init(&p, s, who, thread, how->dry_run ? CK_SIZES : 0);
	CHECK(plan_scan(&p));
	out->rows = p.n;
	CHECK(apply_policy(&p, how, &out->next_us));
	CHECK(plan_needs(&p, 0));
	drop_calls(&p);
	if (!how->dry_run) {
		e = remove_rows(&p, p.n, how->pause_ms, &out->removed);
		goto out;
	}
	for (size_t i = 0; i < p.n; i++)
		if (goes(&p, &p.rows[i])) {
			out->removed.checkpoints++;
			out->removed.bytes += p.rows[i].bytes;
		}
out:
	plan_release(&p);
	return e;
}

static enum err drop_thread(struct store *s, const struct principal *who, struct str thread, bool dry_run,
			    struct ckpt_plan_result *out)
{
	struct ckpt_storage st = {0};
	struct arena a;
	enum err e;

	*out = (struct ckpt_plan_result){0};
	arena_init(&a, (size_t)64 << 20);
	e = s->ops->checkpoints->storage(s, &a, who, thread, &st);
	arena_release(&a);
	if (e == E_NOT_FOUND)
		return OK;
	TRY(e);
	out->rows = (size_t)st.checkpoints;
	out->removed = (struct ckpt_removed){st.checkpoints, st.values, st.writes,
					     dry_run ? st.checkpoint_bytes + st.value_bytes + st.write_bytes
						     : st.value_bytes + st.write_bytes};
	e = dry_run ? OK : s->ops->threads->remove(s, who, thread, THREAD_CHECKPOINTS);
	return e == E_NOT_FOUND ? OK : e;
}

enum err ckpt_prune(struct memory *m, struct arena *a, const struct principal *who, const struct str *threads, size_t n,
		    const struct ckpt_policy *policy, bool dry_run, struct ckpt_pruned *out)
{
	const struct ckpt_prune_how how = {policy, dry_run, clock_wall_us(), 0};
	struct store *s = memory_store(m);

	(void)a;
	*out = (struct ckpt_pruned){0};
	TRY(principal_check(who, dry_run ? RIGHT_READ : RIGHT_WRITE));
	if (n > THREADS_MAX)
		return err_field(E_LIMIT, "/threads", -1, "a call takes at most %d threads, this one has %zu", THREADS_MAX, n);
	for (size_t i = 0; i < n; i++)
		TRY(ckpt_text_check(threads[i], "", "threads", 1, THREAD_MAX_BYTES));
	for (size_t i = 0; i < n; i++) {
		struct ckpt_plan_result r;

		TRY(policy->drop_all ? drop_thread(s, who, threads[i], dry_run, &r)
				     : ckpt_prune_thread(s, who, threads[i], &how, &r));
		out->threads += r.rows > 0;
		out->removed.checkpoints += r.removed.checkpoints;
		out->removed.values += r.removed.values;
		out->removed.writes += r.removed.writes;
		out->removed.bytes += r.removed.bytes;
	}
	return OK;
}

/* ---------------------------------------------------------------- runs */

struct run_rows {
	struct arena a;
	struct ckpt *v;
	size_t n, cap;
	enum err err;
};

static bool on_run_row(void *ctx, const struct ckpt *c)
{
	struct run_rows *r = ctx;
	struct ckpt *to;

	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 64;

		r->v = arena_grow(&r->a, r->v, r->cap * sizeof *r->v, cap * sizeof *r->v);
		r->cap = cap;
	}
	if (!r->v) {
		r->err = E_NOMEM;
		return false;
	}
	to = &r->v[r->n++];
	*to = (struct ckpt){.thread = arena_str(&r->a, c->thread), .ns = arena_str(&r->a, c->ns), .id = arena_str(&r->a, c->id)};
	if (!to->thread.p || !to->ns.p || !to->id.p)
		r->err = E_NOMEM;
	return r->err == OK;
}

static int by_thread(const void *x, const void *y)
{
	const struct ckpt *a = x, *b = y;

	return str_cmp(a->thread, b->thread);
}

/* Of one thread: these go, unless another one is rebuilt from them. */
static enum err remove_runs(struct store *s, const struct principal *who, const struct ckpt *v, size_t n, struct ckpt_removed *out)
{
	struct plan p;
	enum err e;

	plan_init(&p, s, who, v->thread, 0);
	CHECK(plan_scan(&p));
	for (size_t i = 0; i < p.n; i++)
		p.rows[i].kept = true;
	for (size_t i = 0; i < n; i++) {
		uint32_t ns = plan_ns_find(&p, v[i].ns);
		uint32_t row = ns == PLAN_NONE ? PLAN_NONE : plan_find(&p, ns, v[i].id);

		if (row != PLAN_NONE)
			p.rows[row].kept = false;
	}
	CHECK(plan_needs(&p, 0));
	e = remove_rows(&p, p.n, 0, out);
out:
	plan_release(&p);
	return e;
}

enum err ckpt_delete_runs(struct memory *m, struct arena *a, const struct principal *who, const struct str *ids, size_t n,
			  struct ckpt_removed *out)
{
	struct store *s = memory_store(m);
	struct run_rows r = {.n = 0};
	enum err e;

	(void)a;
	*out = (struct ckpt_removed){0};
	TRY(principal_check(who, RIGHT_WRITE));
	if (n > RUNS_MAX)
		return err_field(E_LIMIT, "/runs", -1, "a call takes at most %d runs, this one has %zu", RUNS_MAX, n);
	for (size_t i = 0; i < n; i++)
		TRY(ckpt_text_check(ids[i], "", "runs", 1, CKPT_NAME_MAX));
	if (n == 0)
		return OK;
	arena_init(&r.a, (size_t)1 << 30);
	CHECK(s->ops->checkpoints->by_run(s, who, ids, n, on_run_row, &r));
	CHECK(r.err);
	if (r.n > 1)
		qsort(r.v, r.n, sizeof *r.v, by_thread);
	for (size_t i = 0, end; i < r.n; i = end) {
		for (end = i + 1; end < r.n && str_eq(r.v[end].thread, r.v[i].thread);)
			end++;
		CHECK(remove_runs(s, who, &r.v[i], end - i, out));
	}
out:
	arena_release(&r.a);
	return e;
}

/* ---------------------------------------------------------------- copy */

/* Marks ref and its ancestors in "", and in other namespaces what began from one of them. */
static enum err mark_upto(struct plan *p, const struct ckpt_ref *upto, size_t *n)
{
	uint32_t root_ns = plan_ns_find(p, STR(""));
	uint32_t row = root_ns == PLAN_NONE ? PLAN_NONE : plan_find(p, root_ns, upto->id);

	if (row == PLAN_NONE)
		return err_field(E_NOT_FOUND, "/checkpoint_id", -1, "the thread has no checkpoint \"%.*s\"", STR_ARG(upto->id));
	for (*n = 0; row != PLAN_NONE && !p->rows[row].kept; row = plan_find(p, root_ns, p->rows[row].parent)) {
		p->rows[row].kept = true;
		++*n;
	}
	for (size_t i = 0; i < p->n; i++) {
		struct plan_row *r = &p->rows[i];
		uint32_t root = r->ns == root_ns ? PLAN_NONE : plan_find(p, root_ns, r->root);

		if (root != PLAN_NONE && p->rows[root].kept) {
			r->kept = true;
			++*n;
		}
	}
	return OK;
}

static enum err copy_upto(struct store *s, const struct principal *who, struct str from, struct str to, const struct ckpt_ref *upto)
{
	struct ckpt_ref *refs;
	struct plan p;
	size_t n = 0, at = 0;
	enum err e;

	plan_init(&p, s, who, from, 0);
	CHECK(plan_scan(&p));
	CHECK(mark_upto(&p, upto, &n));
	refs = ARENA_ARRAY(&p.a, struct ckpt_ref, n);
	CHECK(refs ? OK : E_NOMEM);
	for (size_t i = 0; i < p.n; i++)
		if (p.rows[i].kept)
			refs[at++] = (struct ckpt_ref){p.ns[p.rows[i].ns].name, p.rows[i].id};
	e = s->ops->checkpoints->copy(s, who, from, to, refs, at);
out:
	plan_release(&p);
	return e;
}

enum err ckpt_copy(struct memory *m, struct arena *a, const struct principal *who, struct str from, struct str to,
		   const struct ckpt_ref *upto)
{
	struct store *s = memory_store(m);

	(void)a;
	TRY(principal_check(who, RIGHT_WRITE));
	TRY(ckpt_text_check(from, "", "from", 1, THREAD_MAX_BYTES));
	TRY(ckpt_text_check(to, "", "to", 1, THREAD_MAX_BYTES));
	if (str_eq(from, to))
		return err_field(E_CONFLICT, "/to", -1, "a thread cannot be copied onto itself");
	if (!upto)
		return s->ops->checkpoints->copy(s, who, from, to, NULL, 0);
	TRY(ckpt_text_check(upto->id, "", "checkpoint_id", 1, CKPT_ID_MAX));
	if (upto->ns.n)
		return err_field(E_INVALID, "/checkpoint_ns", -1, "a thread is copied up to a checkpoint of the root namespace");
	return copy_upto(s, who, from, to, upto);
}
