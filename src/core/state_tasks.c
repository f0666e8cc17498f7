/* Which tasks wait at a checkpoint, and the state of the subgraphs that they run: as far as pending writes tell it, since there is
 * no graph to ask. A task's path names its node ("~__pregel_pull, node") or the place of its Send among those of __pregel_tasks
 * ("~__pregel_push, 0000000001, ..."); a subgraph's namespace is "node:task" behind that of the caller. */
#include "core/state.h"

#include "core/parse.h"

struct walk {
	struct memory *m;
	struct arena *a;
	const struct principal *who;
	size_t left; /* of STATE_TASKS_MAX */
};

/* The node of the Send at this place. */
static enum err sent_to(struct arena *a, const struct ckpt *c, int64_t place, struct str *out)
{
	const struct json_limits lim = {.depth = 80, .nodes = 1000000, .bytes = (size_t)32 << 20, .flags = JSON_DUP_OK};
	struct jval v, node;
	struct json doc;
	struct buf b;
	struct jw w;

	for (size_t i = 0; i < c->values_n; i++) {
		if (!str_eq(c->values[i].channel, STR("__pregel_tasks")))
			continue;
		buf_init(&b, a, (size_t)32 << 20);
		jw_init(&w, &b);
		ckpt_value_json(&w, c->values[i].type, c->values[i].bytes);
		TRY(b.err);
		TRY(json_parse(a, buf_slice(&b), &lim, &doc));
		for (struct j_iter it = j_iter(json_root(&doc)); j_is(json_root(&doc), JSON_ARRAY) && j_next(&it, NULL, &v);)
			if (place-- == 0 && (node = j_get(v, STR("node")), j_is(node, JSON_STRING)))
				*out = j_str(a, node);
	}
	return OK;
}

static enum err name_of(struct arena *a, const struct ckpt *c, struct str path, struct str *out)
{
	struct str kind, second, rest;
	int64_t place;

	*out = STR("");
	if (!str_cut(path, ',', &kind, &rest))
		return OK;
	str_cut(rest, ',', &second, &rest);
	second = str_trim(second);
	if (str_eq(kind, STR("~__pregel_pull")))
		*out = second;
	else if (str_eq(kind, STR("~__pregel_push")) && str_int(second, 0, INT32_MAX, &place))
		return sent_to(a, c, place, out);
	return OK;
}

static struct ckpt_task *task_at(struct ckpt_task *tasks, size_t n, struct str id)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(tasks[i].id, id))
			return &tasks[i];
	return NULL;
}

static enum err list_tasks(struct walk *x, const struct ckpt *c, struct ckpt_task **out, size_t *n)
{
	*n = 0;
	*out = ARENA_ARRAY(x->a, struct ckpt_task, x->left + 1);
	if (!*out)
		return E_NOMEM;
	for (size_t i = 0; i < c->writes_n; i++) {
		const struct ckpt_pending *p = &c->writes[i];
		bool failed = str_eq(p->channel, STR("__error__"));
		struct ckpt_task *t;

		if (!failed && !str_eq(p->channel, STR("__interrupt__")))
			continue;
		t = task_at(*out, *n, p->task_id);
		if (!t && x->left > 0) {
			t = &(*out)[(*n)++];
			x->left--;
			*t = (struct ckpt_task){.id = p->task_id, .path = p->task_path};
			TRY(name_of(x->a, c, p->task_path, &t->name));
		}
		if (t && failed)
			t->error = p;
	}
	return OK;
}

static enum err walk_tasks(struct walk *x, const struct ckpt *c, unsigned depth, struct ckpt_task **out, size_t *n)
{
	TRY(list_tasks(x, c, out, n));
	for (size_t i = 0; i < *n && depth < STATE_DEPTH_MAX; i++) {
		struct ckpt_task *t = &(*out)[i];
		struct ckpt_query q = {.thread = c->thread, .want = CK_VALUES | CK_WRITES_TOO};
		struct ckpt_full *full = ARENA_NEW(x->a, struct ckpt_full);
		bool found;

		q.ns = arena_printf(x->a, "%.*s%s%.*s:%.*s", STR_ARG(c->ns), c->ns.n > 0 ? "|" : "", STR_ARG(t->name),
				    STR_ARG(t->id));
		if (!full || !q.ns.p)
			return E_NOMEM;
		if (t->name.n == 0 || q.ns.n > CKPT_NS_MAX)
			continue;
		TRY(ckpt_get(x->m, x->a, x->who, &q, full, &found));
		if (!found)
			continue;
		t->sub = &full->c;
		TRY(walk_tasks(x, t->sub, depth + 1, &t->tasks, &t->tasks_n));
	}
	return OK;
}

enum err ckpt_tasks(struct memory *m, struct arena *a, const struct principal *who, const struct ckpt *c, struct ckpt_task **out,
		    size_t *n)
{
	struct walk x = {m, a, who, STATE_TASKS_MAX};

	return walk_tasks(&x, c, 0, out, n);
}
