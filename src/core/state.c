/* What people see of a checkpoint: values decoded, LangGraph's ThreadState. Nothing is executed; see msgpack_json.h.
 *
 * Invariant: whatever the stored bytes are, the JSON is valid, and a value of more than SHOWN_MAX bytes of JSON is said by its type
 * and size. */
#include "core/state.h"

#include "base/clock.h"
#include "core/checkpoint_impl.h"
#include "core/msgpack_json.h"

#define SHOWN_MAX ((size_t)16 << 20)

/* ---------------------------------------------------------------- one value */

static const char *json_refusal(struct arena *a, struct str bytes)
{
	const struct json_limits lim = {.depth = MSGPACK_SHOW_DEPTH, .nodes = 1000000, .bytes = SHOWN_MAX, .flags = JSON_DUP_OK};
	struct json doc;

	return json_parse(a, bytes, &lim, &doc) == OK ? NULL : diag_get()->text;
}

/* Stored JSON goes out as it is, once it is known to be JSON. */
static void show_json(struct jw *w, struct str type, struct str bytes)
{
	struct arena a;
	const char *why;

	arena_init(&a, (size_t)256 << 20);
	why = json_refusal(&a, bytes);
	if (why)
		opaque_json(w, type, bytes.n, why);
	else
		jw_raw(w, str_trim(bytes));
	arena_release(&a);
}

static void show_msgpack(struct jw *w, struct str type, struct str bytes)
{
	struct buf b;
	struct jw inner;
	enum err e;

	buf_init(&b, NULL, SHOWN_MAX);
	jw_init(&inner, &b);
	e = msgpack_json(&inner, bytes);
	if (e == OK)
		jw_raw(w, buf_slice(&b));
	else
		opaque_json(w, type, bytes.n, b.err != OK ? "too large to be shown" : diag_get()->text);
	buf_release(&b);
}

void ckpt_value_json(struct jw *w, struct str type, struct str bytes)
{
	if (str_eq(type, STR("msgpack")))
		show_msgpack(w, type, bytes);
	else if (str_eq(type, STR("json")))
		show_json(w, type, bytes);
	else if (str_eq(type, STR("null")))
		jw_null(w);
	else if (str_eq(type, STR("bytes")) || str_eq(type, STR("bytearray")))
		bytes_json(w, type, bytes);
	else
		opaque_json(w, type, bytes.n, NULL);
	diag_clear(); /* a value that cannot be shown is no error of the caller's */
}

/* ----------------------------------------------------------------- channels */

static bool is_shown(struct str channel, const struct str *select, size_t n)
{
	if (str_starts(channel, STR("__")) || str_starts(channel, STR("branch:")))
		return false;
	for (size_t i = 0; select && i < n; i++)
		if (str_eq(channel, select[i]))
			return true;
	return !select;
}

static const struct ckpt_value *value_of(const struct ckpt *c, struct str channel)
{
	for (size_t i = 0; i < c->values_n; i++)
		if (str_eq(c->values[i].channel, channel))
			return &c->values[i];
	return NULL;
}

static void show_values(struct jw *w, struct arena *a, const struct ckpt *c, struct jval inl, const struct str *select, size_t n)
{
	struct jval key, v;

	jw_obj(w);
	for (struct j_iter it = j_iter(inl); j_next(&it, &key, &v);) {
		struct str channel = j_str(a, key);

		if (!channel.p || !is_shown(channel, select, n) || value_of(c, channel))
			continue;
		jw_key_str(w, channel);
		jw_raw(w, j_raw(v));
	}
	for (size_t i = 0; i < c->values_n; i++) {
		if (!is_shown(c->values[i].channel, select, n))
			continue;
		jw_key_str(w, c->values[i].channel);
		ckpt_value_json(w, c->values[i].type, c->values[i].bytes);
	}
	jw_end_obj(w);
}

/* The parsed checkpoint; what cannot be read (another program's) has no members. */
static struct jval opened(struct arena *a, const struct ckpt *c, struct json *doc)
{
	struct json_limits lim = ckpt_json_limits;

	lim.flags = JSON_DUP_OK;
	if (json_parse(a, c->checkpoint, &lim, doc) == OK)
		return json_root(doc);
	diag_clear();
	return (struct jval){0};
}

static struct jval inline_values(struct jval checkpoint)
{
	struct jval v = j_get(checkpoint, STR("channel_values"));

	return j_is(v, JSON_OBJECT) ? v : (struct jval){0};
}

void ckpt_values_json(struct jw *w, struct arena *a, const struct ckpt *c, const struct str *select, size_t select_n)
{
	struct arena own;
	struct json doc;

	arena_init(&own, (size_t)256 << 20);
	show_values(w, a, c, inline_values(opened(&own, c, &doc)), select, select_n);
	arena_release(&own);
}

size_t ckpt_show_size(const struct ckpt *c)
{
	size_t n = c->checkpoint.n + c->metadata.n;

	for (size_t i = 0; i < c->values_n; i++)
		n += c->values[i].bytes.n;
	for (size_t i = 0; i < c->writes_n; i++)
		n += c->writes[i].bytes.n;
	return n;
}

/* --------------------------------------------------------------- interrupts */

/* Elements into an array that is open: a value of __interrupt__ is a list of them. */
static void show_interrupts(struct jw *w, const struct ckpt_pending *p)
{
	struct buf b;
	struct jw inner;
	struct str text;

	buf_init(&b, NULL, SHOWN_MAX + 256);
	jw_init(&inner, &b);
	ckpt_value_json(&inner, p->type, p->bytes);
	text = buf_slice(&b);
	if (str_starts(text, STR("[")))
		text = str_trim(str_sub(text, 1, text.n - 1));
	if (text.n > 0)
		jw_raw(w, text);
	buf_release(&b);
}

static bool is_interrupt(const struct ckpt_pending *p)
{
	return str_eq(p->channel, STR("__interrupt__"));
}

void ckpt_interrupts_json(struct jw *w, const struct ckpt *c, const struct str *task)
{
	jw_arr(w);
	for (size_t i = 0; i < c->writes_n; i++)
		if (is_interrupt(&c->writes[i]) && (!task || str_eq(*task, c->writes[i].task_id)))
			show_interrupts(w, &c->writes[i]);
	jw_end_arr(w);
}

void ckpt_interrupts_by_task_json(struct jw *w, const struct ckpt *c)
{
	jw_obj(w);
	for (size_t i = 0; i < c->writes_n; i++) {
		const struct ckpt_pending *p = &c->writes[i];
		bool told = !is_interrupt(p);

		for (size_t j = 0; j < i && !told; j++)
			told = is_interrupt(&c->writes[j]) && str_eq(c->writes[j].task_id, p->task_id);
		if (told)
			continue;
		jw_key_str(w, p->task_id);
		ckpt_interrupts_json(w, c, &p->task_id);
	}
	jw_end_obj(w);
}

/* -------------------------------------------------------------- ThreadState */

static bool wants(const struct str *want, size_t n, struct str member)
{
	for (size_t i = 0; want && i < n; i++)
		if (str_eq(want[i], member) || (str_starts(want[i], member) && want[i].p[member.n] == '.'))
			return true;
	return !want;
}

enum err ckpt_state_channels(struct arena *a, const struct str *want, size_t n, struct str **out, size_t *out_n)
{
	const struct str values = STR("values");

	*out = NULL;
	*out_n = 0;
	if (!want)
		return OK;
	*out = ARENA_ARRAY(a, struct str, n + 1);
	if (!*out)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		if (str_eq(want[i], values)) {
			*out = NULL;
			return OK;
		}
		if (str_starts(want[i], STR("values.")))
			(*out)[(*out_n)++] = str_sub(want[i], values.n + 1, want[i].n);
	}
	return OK;
}

static void show_config(struct jw *w, const struct ckpt *c, struct str id)
{
	if (id.n == 0) {
		jw_null(w);
		return;
	}
	jw_obj(w);
	jw_key(w, "thread_id");
	jw_str(w, c->thread);
	jw_key(w, "checkpoint_ns");
	jw_str(w, c->ns);
	jw_key(w, "checkpoint_id");
	jw_str(w, id);
	jw_end_obj(w);
}

static void show_created(struct jw *w, struct arena *a, const struct ckpt *c, struct jval checkpoint)
{
	struct jval ts = j_get(checkpoint, STR("ts"));
	char text[CLOCK_TEXT_MAX];
	int64_t us;

	if (j_is(ts, JSON_STRING) && j_str(a, ts).n > 0) {
		jw_raw(w, j_raw(ts));
		return;
	}
	us = ckpt_id_time(c->id);
	if (us > 0)
		jw_str(w, str_of(text, clock_format(us, CLOCK_MICROS_OFFSET, text)));
	else
		jw_null(w);
}

static void show_task(struct jw *w, struct arena *a, const struct ckpt *c, const struct ckpt_task *t)
{
	struct str head, rest;

	jw_obj(w);
	jw_key(w, "id");
	jw_str(w, t->id);
	jw_key(w, "name");
	jw_str(w, t->name);
	jw_key(w, "path");
	jw_arr(w);
	for (rest = str_starts(t->path, STR("~")) ? str_sub(t->path, 1, t->path.n) : t->path; rest.n > 0;) {
		str_cut(rest, ',', &head, &rest);
		jw_str(w, str_trim(head));
	}
	jw_end_arr(w);
	jw_key(w, "error");
	if (t->error)
		ckpt_value_json(w, t->error->type, t->error->bytes);
	else
		jw_null(w);
	jw_key(w, "interrupts");
	ckpt_interrupts_json(w, c, &t->id);
	jw_key(w, "checkpoint");
	if (t->sub)
		show_config(w, t->sub, t->sub->id);
	else
		jw_null(w);
	jw_key(w, "state");
	if (t->sub)
		ckpt_state_deep_json(w, a, t->sub, NULL, 0, t->tasks, t->tasks_n);
	else
		jw_null(w);
	jw_key(w, "result");
	jw_null(w);
	jw_end_obj(w);
}

static void show_tasks(struct jw *w, struct arena *a, const struct ckpt *c, const struct ckpt_task *tasks, size_t n)
{
	jw_arr(w);
	for (size_t i = 0; i < n; i++)
		show_task(w, a, c, &tasks[i]);
	jw_end_arr(w);
}

static void show_next(struct jw *w, const struct ckpt_task *tasks, size_t n)
{
	jw_arr(w);
	for (size_t i = 0; i < n; i++)
		if (tasks[i].name.n > 0)
			jw_str(w, tasks[i].name);
	jw_end_arr(w);
}

static bool member(struct jw *w, const struct str *want, size_t n, const char *name)
{
	if (!wants(want, n, str_c(name)))
		return false;
	jw_key(w, name);
	return true;
}

void ckpt_state_deep_json(struct jw *w, struct arena *a, const struct ckpt *c, const struct str *want, size_t want_n,
			  const struct ckpt_task *tasks, size_t tasks_n)
{
	struct str *channels = NULL;
	size_t channels_n = 0;
	struct jval checkpoint;
	struct arena own;
	struct json doc;

	arena_init(&own, (size_t)256 << 20);
	checkpoint = opened(&own, c, &doc);
	if (ckpt_state_channels(&own, want, want_n, &channels, &channels_n) != OK)
		w->b->err = E_NOMEM;
	jw_obj(w);
	if (member(w, want, want_n, "values"))
		show_values(w, &own, c, inline_values(checkpoint), channels, channels_n);
	if (member(w, want, want_n, "next"))
		show_next(w, tasks, tasks_n);
	if (member(w, want, want_n, "tasks"))
		show_tasks(w, a, c, tasks, tasks_n);
	if (member(w, want, want_n, "metadata"))
		jw_raw(w, c->metadata.n > 0 ? c->metadata : STR("{}"));
	if (member(w, want, want_n, "created_at"))
		show_created(w, &own, c, checkpoint);
	if (member(w, want, want_n, "checkpoint"))
		show_config(w, c, c->id);
	if (member(w, want, want_n, "parent_checkpoint"))
		show_config(w, c, c->parent);
	if (member(w, want, want_n, "interrupts"))
		ckpt_interrupts_json(w, c, NULL);
	jw_end_obj(w);
	arena_release(&own);
}

void ckpt_state_json(struct jw *w, struct arena *a, const struct ckpt *c, const struct str *want, size_t want_n)
{
	ckpt_state_deep_json(w, a, c, want, want_n, NULL, 0);
}

void ckpt_state_none_json(struct jw *w, struct str thread)
{
	static const char *const nulls[] = {"metadata", "created_at", "checkpoint", "parent_checkpoint"};

	jw_obj(w);
	jw_key(w, "values");
	jw_obj(w);
	jw_end_obj(w);
	jw_key(w, "next");
	jw_arr(w);
	jw_end_arr(w);
	jw_key(w, "tasks");
	jw_arr(w);
	jw_end_arr(w);
	for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++) {
		jw_key(w, nulls[i]);
		jw_null(w);
	}
	jw_key(w, "interrupts");
	jw_arr(w);
	jw_end_arr(w);
	jw_end_obj(w);
}
