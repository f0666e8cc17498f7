/* One job: a turn is looked through for what its user has stated, by rules or by a model, and that is kept; or a thread gets its
 * summary. Each may be done again from the start, after a kill or by two processes at once: what is kept twice is one. */
#include "base/clock.h"
#include "base/utf8.h"
#include "core/assistant_impl.h"
#include "core/extract_impl.h"
#include "core/summary.h"
#include "core/thread.h"

#define AGE_MOST_US (INT64_C(7) * 24 * 3600 * 1000000)

/* ---------------------------------------------------------------------- turns */

/* The id under which the conversations API has an entry: its own, else one that is made of its number (api/openai/form.c). */
static enum err item_name(struct arena *a, const struct session_entry *e, struct str *out)
{
	struct json doc;
	struct jval id;

	TRY(json_parse(a, e->data, &(struct json_limits){64, 100000, 16u << 20, JSON_DUP_OK}, &doc));
	id = j_get(json_root(&doc), STR("id"));
	*out = j_is(id, JSON_STRING) ? utf8_cut(j_str(a, id), 256) : arena_printf(a, "msg_cn%016llx", (unsigned long long)e->id);
	return out->p ? OK : E_NOMEM;
}

static enum err read_entries(struct doing *d, struct jval ids)
{
	size_t most = j_node(ids)->count;
	struct jval v;

	d->said = ARENA_ARRAY(&d->a, struct str, most + 1);
	d->from = ARENA_ARRAY(&d->a, struct learn_source, most + 1);
	if (!d->said || !d->from)
		return E_NOMEM;
	for (struct j_iter it = j_iter(ids); j_next(&it, NULL, &v);) {
		struct session_entry e;
		int64_t id;
		enum err err;

		if (!j_i64(v, &id))
			continue;
		err = entries_get(d->x->opt.memory, &d->a, &d->who, d->thread, id, &e);
		if (err == E_NOT_FOUND)
			continue; /* it was removed meanwhile: then nothing is learned from it */
		TRY(err);
		TRY(extract_typed(&d->a, e.data, &d->said[d->n]));
		d->from[d->n] = (struct learn_source){.thread = d->thread, .time_us = e.created_us};
		TRY(item_name(&d->a, &e, &d->from[d->n].item));
		d->last = e.id;
		d->n += d->said[d->n].n > 0;
	}
	return OK;
}

/* What the assistant said next; "" : nothing, or it is not known. */
static enum err read_answer(struct doing *d, struct str *out)
{
	const struct entry_list q = {.thread = d->thread, .after = d->last, .limit = 16};
	struct session_entry *v;
	struct prompt one;
	size_t n;
	bool more;
	enum err e = entries_page(d->x->opt.memory, &d->a, &d->who, &q, &v, &n, &more);

	*out = STR("");
	if (e == E_NOT_FOUND)
		return OK;
	TRY(e);
	for (size_t i = 0; i < n; i++) {
		TRY(prompt_items(&d->a, &v[i].data, 1, 1, 1, &one));
		if (one.n == 2 && one.v[1].role == LLM_USER)
			return OK;
		if (one.n == 2 && one.v[1].role == LLM_ASSISTANT && one.v[1].text.n) {
			*out = one.v[1].text;
			return OK;
		}
	}
	return OK;
}

static void count(struct extract *x, const struct learn_counts *c)
{
	atomic_fetch_add(&x->added, c->added);
	atomic_fetch_add(&x->merged, c->merged);
	atomic_fetch_add(&x->superseded, c->superseded);
	atomic_fetch_add(&x->entities, c->entities);
	atomic_fetch_add(&x->relations, c->relations);
}

static enum err keep(struct doing *d, const struct learned *what, const struct learn_source *from, const struct known_fact *known,
		     size_t known_n)
{
	struct trace_span *s = span_below(d->root, SPAN_MEMORY, STR("save"));
	struct learn_counts c = {0};
	enum err e = learn_keep(d->x->opt.memory, &d->a, &d->who, d->user, what, from, known, known_n, &c);

	count(d->x, &c);
	work_counted(s, &c);
	return span_end(s, e);
}

/* Each message for itself: what the second one says supersedes the first. */
static enum err by_rules(struct doing *d)
{
	for (size_t i = 0; i < d->n; i++) {
		struct learned what = {NULL};
		struct known_fact *known;
		size_t n;

		TRY(rules_find(&d->a, d->said[i], &what));
		if (what.facts_n == 0)
			continue;
		TRY(learn_known(d->x->opt.memory, &d->a, &d->who, d->user, &known, &n));
		TRY(keep(d, &what, &d->from[i], known, n));
	}
	return OK;
}

static enum err by_model(struct doing *d)
{
	const struct entity_ref me = {STR(ENTITY_USER), STR("person")};
	struct extract_turn turn = {.time_us = d->from[d->n - 1].time_us};
	struct entity self;
	struct extract_reply reply;
	struct known_fact *known;
	struct learned what;
	struct buf b;
	size_t n;
	bool found;

	buf_init(&b, &d->a, EXTRACT_ROOM);
	for (size_t i = 0; i < d->n; i++) {
		buf_lit(&b, i ? "\n" : "");
		buf_str(&b, d->said[i]);
	}
	TRY(b.err);
	turn.user = buf_slice(&b);
	TRY(read_answer(d, &turn.assistant));
	TRY(learn_known(d->x->opt.memory, &d->a, &d->who, d->user, &known, &n));
	TRY(entity_get(d->x->opt.memory, &d->a, &d->who, d->user, &me, &self, &found));
	turn.related = self.relations;
	turn.related_n = self.relations_n;
	TRY(extract_ask(d->x->opt.llm, &d->a, d->root, &turn, known, n, &what, &reply));
	atomic_fetch_add(&d->x->repaired, reply.repaired && !reply.malformed);
	atomic_fetch_add(&d->x->malformed, reply.malformed);
	atomic_fetch_add(&d->x->ungrounded, reply.ungrounded);
	return keep(d, &what, &d->from[d->n - 1], known, n);
}

enum err extract_do_turn(struct extract *x, const struct job *j, struct doing *d)
{
	struct store *s = memory_store(x->opt.memory);
	struct trace_span *span;
	struct str value;
	struct jval root;
	int64_t at;
	bool found;

	TRY(s->ops->meta_get(s, &d->a, &d->who, str_c(j->name), &value, &found));
	if (!found)
		return OK; /* another process has done it */
	d->begun = true;
	TRY(extract_read_note(&d->a, value, &root, &d->thread, &d->user, &at));
	if (clock_wall_us() - at > AGE_MOST_US)
		return err_set(E_LIMIT, "it is older than a week");
	span = span_below(d->root, SPAN_MEMORY, STR("get"));
	TRY(span_end(span, read_entries(d, j_get(root, STR("entries")))));
	span_int(span, "cenote.messages", (int64_t)d->n);
	if (d->n > 0)
		TRY(x->opt.mode == EXTRACT_MODEL ? by_model(d) : by_rules(d));
	TRY(s->ops->meta_put(s, &d->who, str_c(j->name), STR("")));
	atomic_fetch_add(&x->turns, 1);
	return OK;
}

/* Entries that a prompt has, of the thread as it is now. */
static enum err window_of(struct extract *x, const struct job *j, struct doing *d, size_t *window)
{
	struct session_entry *v;
	bool full;
	size_t n;

	*window = x->opt.window;
	if (!x->opt.tokens)
		return OK;
	TRY(entries_recent(x->opt.memory, &d->a, &d->who, str_c(j->name), 0, x->opt.window, HISTORY_BYTES, &v, &n, &full));
	return prompt_window(&d->a, v, n, x->opt.tokens, window);
}

/* Half a window ahead: so the model is asked once every half window, and what falls out until then is in the summary already. It is
 * due when the next message would push one out that is not. */
enum err extract_do_summary(struct extract *x, const struct job *j, struct doing *d)
{
	struct summary_work w = {.span = d->root};
	size_t window;
	struct summary made;
	enum err e;

	d->user = str_c(j->user);
	d->thread = str_c(j->name);
	TRY(window_of(x, j, d, &window));
	w.keep = window / 2 ? window / 2 : 1;
	w.least = window > w.keep ? window - w.keep : 1;
	e = extract_sum_up(x, &d->a, &d->who, d->thread, &w, &made);
	d->begun = w.made || e != OK;
	span_int(d->root, "cenote.requests", w.made);
	return e;
}
