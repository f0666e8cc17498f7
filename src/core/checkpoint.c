/* Checkpoints: checks in front of the port, and what of a checkpoint has to be understood to answer a saver. See checkpoint.h. */
#include "core/checkpoint_impl.h"
#include "core/texts.h"

#include <stdio.h>

#include "base/utf8.h"
#include "core/parse.h"

enum { FILTER_NODES_MAX = 1000 };

const struct json_limits ckpt_json_limits = {.depth = 66, .nodes = 2000000, .bytes = CKPT_JSON_MAX};

/* ---------------------------------------------------------------- checks */

static bool text_fits(struct str s, size_t min, size_t max)
{
	return s.n >= min && s.n <= max && !(s.n && memchr(s.p, 0, s.n)) && utf8_valid(s);
}

enum err ckpt_text_check(struct str s, const char *prefix, const char *member, size_t min, size_t max)
{
	char field[96];

	if (text_fits(s, min, max)) /* before the name of what is wrong is made */
		return OK;
	snprintf(field, sizeof field, "%.48s/%.40s", prefix, member);
	if (s.n < min)
		return err_field(E_INVALID, field, -1, "%s is missing or empty", member);
	if (s.n > max)
		return err_field(E_INVALID, field, -1, "%s has %zu bytes, at most %zu are allowed", member, s.n, max);
	if (s.n && memchr(s.p, 0, s.n))
		return err_field(E_INVALID, field, -1, "%s cannot contain U+0000", member);
	return err_field(E_INVALID, field, -1, "%s is not valid UTF-8", member);
}

static enum err name_check(struct str thread, struct str ns, struct str id, const char *prefix, size_t id_min)
{
	TRY(ckpt_text_check(thread, prefix, "thread", 1, THREAD_MAX_BYTES));
	TRY(ckpt_text_check(ns, prefix, "ns", 0, CKPT_NS_MAX));
	return ckpt_text_check(id, prefix, "id", id_min, CKPT_ID_MAX);
}

static enum err size_check(size_t n, size_t max, const char *prefix, const char *member)
{
	char field[96];

	if (n <= max)
		return OK;
	snprintf(field, sizeof field, "%.48s/%.40s", prefix, member);
	err_field(E_LIMIT, field, -1, "%s has %zu bytes, at most %zu are allowed", member, n, max);
	diag_get()->kind = ERR_SIZE;
	return E_LIMIT;
}

static enum err object_check(struct arena *a, struct str s, const char *prefix, const char *member, struct jval *out)
{
	struct json *doc;
	char field[96];
	enum err e;

	TRY(size_check(s.n, CKPT_JSON_MAX, prefix, member));
	doc = ARENA_NEW(a, struct json);
	if (!doc)
		return E_NOMEM;
	e = s.n ? json_parse(a, s, &ckpt_json_limits, doc) : OK;
	*out = json_root(doc);
	if (e == OK && s.n && j_is(*out, JSON_OBJECT))
		return OK;
	snprintf(field, sizeof field, "%.48s/%.40s", prefix, member);
	if (s.n == 0)
		return err_field(E_INVALID, field, -1, "%s is missing", member);
	if (e != OK) {
		snprintf(diag_get()->field, sizeof diag_get()->field, "%s", field);
		return parse_refusal(err_wrap(e, "%s", member));
	}
	return err_field(E_INVALID, field, -1, "%s must be an object", member);
}

static enum err versions_check(struct jval checkpoint, const char *prefix)
{
	struct jval versions = j_get(checkpoint, STR("channel_versions")), values = j_get(checkpoint, STR("channel_values")), key,
		    v;
	char field[96];

	if (!j_null(values) && !j_is(values, JSON_OBJECT)) {
		snprintf(field, sizeof field, "%.48s/checkpoint/channel_values", prefix);
		return err_field(E_INVALID, field, -1, "channel_values must be an object");
	}
	bool object = j_is(versions, JSON_OBJECT), scalars = true;

	if (j_null(versions))
		return OK;
	for (struct j_iter it = j_iter(versions); object && scalars && j_next(&it, &key, &v);)
		scalars = j_is(v, JSON_STRING) || j_is(v, JSON_NUMBER);
	if (object && scalars)
		return OK;
	snprintf(field, sizeof field, "%.48s/checkpoint/channel_versions", prefix);
	return err_field(E_INVALID, field, -1,
			 object ? "a version must be a string or a number" : "channel_versions must be an object");
}

static enum err value_check(struct str type, struct str bytes, const char *prefix, const char *list, size_t i)
{
	char where[80];

	snprintf(where, sizeof where, "%.32s/%s/%zu", prefix, list, i);
	TRY(ckpt_text_check(type, where, "type", 1, CKPT_TYPE_MAX));
	TRY(size_check(bytes.n, CKPT_VALUE_MAX, where, "bytes"));
	if (str_eq(type, STR("empty")) && bytes.n)
		return err_field(E_INVALID, where, -1, "a value of type empty has no bytes");
	return OK;
}

/* A value that has nothing wrong; of others the long way says what. */
static bool value_fits(const struct ckpt_value *v)
{
	return text_fits(v->channel, 1, CHANNEL_MAX) && text_fits(v->version, 1, CKPT_NAME_MAX) &&
	       text_fits(v->type, 1, CKPT_TYPE_MAX) && v->bytes.n <= CKPT_VALUE_MAX &&
	       !(v->bytes.n && str_eq(v->type, STR("empty")));
}

static enum err put_check(struct arena *a, const struct ckpt_change *c, const char *prefix)
{
	struct jval checkpoint, metadata;

	TRY(ckpt_text_check(c->parent, prefix, "parent", 0, CKPT_ID_MAX));
	TRY(object_check(a, c->checkpoint, prefix, "checkpoint", &checkpoint));
	TRY(versions_check(checkpoint, prefix));
	TRY(object_check(a, c->metadata, prefix, "metadata", &metadata));
	for (size_t i = 0; i < c->values_n; i++) {
		const struct ckpt_value *v = &c->values[i];
		char where[80];

		if (value_fits(v))
			continue;
		snprintf(where, sizeof where, "%.32s/values/%zu", prefix, i);
		TRY(ckpt_text_check(v->channel, where, "channel", 1, CHANNEL_MAX));
		TRY(ckpt_text_check(v->version, where, "version", 1, CKPT_NAME_MAX));
		TRY(value_check(v->type, v->bytes, prefix, "values", i));
	}
	return OK;
}

static enum err writes_check(const struct ckpt_change *c, const char *prefix)
{
	for (size_t i = 0; i < c->writes_n; i++) {
		const struct ckpt_pending *w = &c->writes[i];
		char where[80];

		snprintf(where, sizeof where, "%.32s/writes/%zu", prefix, i);
		TRY(ckpt_text_check(w->task_id, i ? where : prefix, "task_id", 1, CKPT_NAME_MAX));
		TRY(ckpt_text_check(w->task_path, i ? where : prefix, "task_path", 0, CKPT_PATH_MAX));
		TRY(ckpt_text_check(w->channel, where, "channel", 1, CHANNEL_MAX));
		TRY(value_check(w->type, w->bytes, prefix, "writes", i));
		if (!str_eq(w->task_id, c->writes[0].task_id) || !str_eq(w->task_path, c->writes[0].task_path))
			return err_field(E_INVALID, where, -1, "all writes of an operation must be of one task");
	}
	return OK;
}

struct write_job {
	struct ckpt_change *c;
	size_t n;
	struct arena scratch;
};

static enum err changes_check(void *arg)
{
	struct write_job *j = arg;

	for (size_t i = 0; i < j->n; i++) {
		const struct ckpt_change *c = &j->c[i];
		char prefix[24] = "";

		if (j->n > 1)
			snprintf(prefix, sizeof prefix, "/%zu", i);
		TRY(name_check(c->thread, c->ns, c->id, prefix, 1));
		TRY(c->op == CK_PUT ? put_check(&j->scratch, c, prefix) : writes_check(c, prefix));
		arena_clear(&j->scratch);
	}
	return OK;
}

enum err ckpt_write(struct memory *m, struct arena *a, const struct principal *who, struct ckpt_change *c, size_t n)
{
	struct store *s = memory_store(m);
	struct write_job job = {.c = c, .n = n};
	size_t bytes = 0, effective = 0;
	enum err e;

	TRY(principal_check(who, RIGHT_WRITE));
	if (n > CKPT_CHANGES_MAX)
		return err_field(E_LIMIT, "", -1, "a call takes at most %d checkpoints and writes, this one has %zu",
				 CKPT_CHANGES_MAX, n);
	for (size_t i = 0; i < n; i++) {
		bytes += c[i].checkpoint.n + c[i].metadata.n;
		effective += c[i].op == CK_PUT || c[i].writes_n > 0;
	}
	/* The parsed form of the largest JSON that is allowed. */
	arena_init(&job.scratch, (size_t)512 << 20);
	e = run_sized(bytes, changes_check, &job);
	arena_release(&job.scratch);
	TRY(e);
	if (!effective)
		return OK;
	TRY(s->ops->checkpoints->write(s, who, c, n));
	for (size_t i = 0; i < n; i++) /* pending writes are not in the state yet */
		if (c[i].op == CK_PUT && c[i].ns.n == 0)
			texts_wake(memory_texts(m), who->tenant, c[i].thread);
	return OK;
}

/* ------------------------------------------------------------------ read */

static enum err query_check(const struct ckpt_query *q, size_t channels_n)
{
	TRY(name_check(q->thread, q->ns, q->id, "", 0));
	for (size_t i = 0; i < channels_n; i++) {
		char where[40];

		snprintf(where, sizeof where, "/channels/%zu", i);
		TRY(ckpt_text_check(q->channels[i], where, "channel", 1, CHANNEL_MAX));
	}
	return OK;
}

bool ckpt_is_old(struct str checkpoint)
{
	struct arena a;
	struct json doc;
	double v;
	bool old = false;
	size_t i = 0;

	/* jsonb puts the shortest key first, LangGraph writes it first: `{"v": 4` is all there is to see nearly always. */
	while (i < checkpoint.n && strchr("{ \t\r\n", checkpoint.p[i]) && checkpoint.p[i])
		i++;
	if (str_starts(str_sub(checkpoint, i, checkpoint.n), STR("\"v\""))) {
		i += 3;
		while (i < checkpoint.n && strchr(": \t\r\n", checkpoint.p[i]) && checkpoint.p[i])
			i++;
		struct str rest = str_sub(checkpoint, i, i + 2);

		if (rest.n == 2 && rest.p[0] >= '0' && rest.p[0] <= '9' && strchr(", }\r\n\t", rest.p[1]))
			return rest.p[0] < '4';
	}
	arena_init(&a, (size_t)512 << 20);
	if (json_parse(&a, checkpoint, &ckpt_json_limits, &doc) == OK)
		old = j_double(j_get(json_root(&doc), STR("v")), &v) && v < 4;
	arena_release(&a);
	return old;
}

/* The sends of n checkpoints of the old format, where the store has not given them: one call of the store for each thread that
 * follows another. */
static enum err add_sends(struct store *s, struct arena *a, const struct principal *who, struct ckpt_full *f, size_t n)
{
	struct ckpt_sends *of = ARENA_ARRAY(a, struct ckpt_sends, n);
	struct ckpt_full **to = ARENA_ARRAY(a, struct ckpt_full *, n);
	size_t k = 0;

	if (!of || !to)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct ckpt *c = &f[i].c;

		if (c->parent.n > 0 && ckpt_is_old(c->checkpoint)) {
			if (c->sends_known) {
				f[i].sends = c->sends;
				f[i].sends_n = c->sends_n;
			} else {
				to[k] = &f[i];
				of[k++] = (struct ckpt_sends){c->parent, NULL, 0};
			}
		}
		if (k == 0 || (i + 1 < n && str_eq(f[i + 1].c.thread, to[0]->c.thread)))
			continue;
		TRY(s->ops->checkpoints->sends(s, a, who, to[0]->c.thread, of, k));
		while (k-- > 0) {
			to[k]->sends = of[k].v;
			to[k]->sends_n = of[k].n;
		}
		k = 0;
	}
	return OK;
}

enum err ckpt_get(struct memory *m, struct arena *a, const struct principal *who, const struct ckpt_query *q, struct ckpt_full *out,
		  bool *found)
{
	struct store *s = memory_store(m);

	*found = false;
	*out = (struct ckpt_full){0};
	TRY(principal_check(who, RIGHT_READ));
	TRY(query_check(q, q->channels_n));
	TRY(s->ops->checkpoints->get(s, a, who, q, &out->c, found));
	return *found && q->want & CK_VALUES ? add_sends(s, a, who, out, 1) : OK;
}

static size_t pending_weight(const struct ckpt_pending *w, size_t n)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += sizeof *w + w[i].task_id.n + w[i].task_path.n + w[i].channel.n + w[i].type.n + w[i].bytes.n + 64;
	return bytes;
}

size_t ckpt_weight(const struct ckpt *c)
{
	size_t n = sizeof(struct ckpt_full) + c->thread.n + c->ns.n + c->id.n + c->parent.n + c->checkpoint.n + c->metadata.n + 64;

	for (size_t i = 0; i < c->values_n; i++)
		n += sizeof *c->values + c->values[i].channel.n + c->values[i].version.n + c->values[i].type.n +
		     c->values[i].bytes.n + 64;
	return n + pending_weight(c->writes, c->writes_n) + pending_weight(c->sends, c->sends_n);
}

static enum err dup_all(struct arena *a, struct str *const *all, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		*all[i] = arena_str(a, *all[i]);
		if (!all[i]->p)
			return E_NOMEM;
	}
	return OK;
}

static enum err dup_pending(struct arena *a, const struct ckpt_pending *in, size_t n, struct ckpt_pending **out)
{
	*out = ARENA_ARRAY(a, struct ckpt_pending, n);
	if (!*out)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		struct ckpt_pending *w = &(*out)[i];
		struct str *const all[] = {&w->task_id, &w->task_path, &w->channel, &w->type, &w->bytes};

		*w = in[i];
		TRY(dup_all(a, all, sizeof all / sizeof *all));
	}
	return OK;
}

static enum err dup_values(struct arena *a, const struct ckpt *in, struct ckpt *out)
{
	out->values = ARENA_ARRAY(a, struct ckpt_value, in->values_n);
	if (!out->values)
		return E_NOMEM;
	for (size_t i = 0; i < in->values_n; i++) {
		struct ckpt_value *v = &out->values[i];
		struct str *const all[] = {&v->channel, &v->version, &v->type, &v->bytes};

		*v = in->values[i];
		TRY(dup_all(a, all, sizeof all / sizeof *all));
	}
	TRY(dup_pending(a, in->writes, in->writes_n, &out->writes));
	return in->sends_n ? dup_pending(a, in->sends, in->sends_n, &out->sends) : OK;
}

enum err ckpt_dup(struct arena *a, const struct ckpt *in, struct ckpt *out)
{
	struct str *const all[] = {&out->thread, &out->ns, &out->id, &out->parent, &out->checkpoint, &out->metadata};

	*out = *in;
	TRY(dup_all(a, all, sizeof all / sizeof *all));
	return dup_values(a, in, out);
}

struct list {
	struct arena *a;
	struct ckpt_full *v;
	size_t n, cap, limit, bytes, bytes_max;
	bool more;
	enum err err;
};

static bool on_listed(void *ctx, const struct ckpt *c)
{
	struct list *l = ctx;
	size_t weight = ckpt_weight(c);

	if (l->n > 0 && (l->bytes + weight > l->bytes_max || l->n == l->limit)) {
		l->more = l->n < l->limit;
		return false;
	}
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;

		l->v = arena_grow(l->a, l->v, l->cap * sizeof *l->v, cap * sizeof *l->v);
		l->cap = cap;
	}
	if (l->v)
		l->v[l->n] = (struct ckpt_full){0};
	l->err = l->v ? ckpt_dup(l->a, c, &l->v[l->n].c) : E_NOMEM;
	l->bytes += weight;
	l->n++;
	return l->err == OK && l->n < l->limit;
}

/* Containment costs the product of the filter's size and the metadata's, for every checkpoint that is looked at. */
static enum err filter_check(struct str filter)
{
	struct arena a;
	struct jval v;
	enum err e;

	if (filter.n == 0)
		return OK;
	arena_init(&a, (size_t)512 << 20);
	e = object_check(&a, filter, "", "filter", &v);
	if (e == OK && j_node(v)->next - v.i > FILTER_NODES_MAX)
		e = err_field(E_INVALID, "/filter", -1, "filter has more than %d names and values in all", FILTER_NODES_MAX);
	arena_release(&a);
	return e;
}

enum err ckpt_list(struct memory *m, struct arena *a, const struct principal *who, const struct ckpt_list *q, size_t bytes_max,
		   struct ckpt_full **out, size_t *n, bool *more)
{
	struct store *s = memory_store(m);
	struct list l = {.a = a, .limit = q->limit, .bytes_max = bytes_max};

	*out = NULL;
	*n = 0;
	*more = false;
	TRY(principal_check(who, RIGHT_READ));
	if (q->thread)
		TRY(ckpt_text_check(*q->thread, "", "thread", 1, THREAD_MAX_BYTES));
	if (q->ns)
		TRY(ckpt_text_check(*q->ns, "", "ns", 0, CKPT_NS_MAX));
	TRY(ckpt_text_check(q->id, "", "id", 0, CKPT_ID_MAX));
	TRY(ckpt_text_check(q->before, "", "before", 0, CKPT_ID_MAX));
	TRY(filter_check(q->filter));
	if (q->limit == 0)
		return OK;
	TRY(s->ops->checkpoints->list(s, who, q, on_listed, &l));
	TRY(l.err);
	if (q->want & CK_VALUES && l.n > 0)
		TRY(add_sends(s, a, who, l.v, l.n));
	*out = l.v;
	*n = l.n;
	*more = l.more;
	return OK;
}

enum err ckpt_history(struct memory *m, struct arena *a, const struct principal *who, const struct ckpt_query *q,
		      struct ckpt_history *out, size_t n)
{
	struct store *s = memory_store(m);

	TRY(principal_check(who, RIGHT_READ));
	TRY(query_check(q, 0));
	for (size_t i = 0; i < n; i++) {
		char where[40];

		snprintf(where, sizeof where, "/channels/%zu", i);
		TRY(ckpt_text_check(out[i].channel, where, "channel", 1, CHANNEL_MAX));
	}
	return n ? s->ops->checkpoints->history(s, a, who, q, out, n) : OK;
}

/* ---------------------------------------------------------------- whole threads */

enum err ckpt_delete_thread(struct memory *m, const struct principal *who, struct str thread)
{
	struct store *s = memory_store(m);
	enum err e;

	TRY(principal_check(who, RIGHT_WRITE));
	TRY(ckpt_text_check(thread, "", "thread", 1, THREAD_MAX_BYTES));
	e = s->ops->threads->remove(s, who, thread, THREAD_CHECKPOINTS);
	return e == E_NOT_FOUND ? OK : e;
}
