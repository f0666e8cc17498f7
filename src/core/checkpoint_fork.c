/* New checkpoints without a graph: forks, and updates of ordinary channels.
 *
 * A fork has its source's channel_versions, so its values are there already. What has to be replayed must stay the same, too: a
 * delta channel without a value of its own is rebuilt from the writes of the ancestors, the parent's included (3.9), and the format
 * before 4 takes sends from the parent (3.4). There the source's own pending writes, which belong to its next step, would come in
 * if it became the parent; so such a fork becomes a sibling of its source: it gets the source's parent. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/uuid7.h"
#include "core/checkpoint_impl.h"

enum { CHANNELS_MAX = 1000 };

struct base {
	struct store *s;
	struct arena *a;
	const struct principal *who;
	struct str thread, ns;
	struct ckpt c; /* the source; id "" : the thread has no checkpoint yet */
	struct str head;
	struct json checkpoint_doc, metadata_doc;
	struct jval checkpoint, metadata, versions; /* versions: absent or an object */
	int64_t step;				    /* of the new one */
	bool js;				    /* written by JavaScript */
	bool sibling;
};

struct names {
	struct str *v;
	size_t n;
};

/* ---------------------------------------------------------------- the source */

static enum err no_checkpoint(struct str thread, struct str id)
{
	if (id.n)
		return err_field(E_NOT_FOUND, "/checkpoint_id", -1, "thread \"%.*s\" has no checkpoint \"%.*s\"", STR_ARG(thread),
				 STR_ARG(id));
	return err_set(E_NOT_FOUND, "thread \"%.*s\" has no checkpoint", STR_ARG(thread));
}

static enum err parse_base(struct base *b)
{
	TRY(json_parse(b->a, b->c.checkpoint, &ckpt_json_limits, &b->checkpoint_doc));
	TRY(json_parse(b->a, b->c.metadata, &ckpt_json_limits, &b->metadata_doc));
	b->checkpoint = json_root(&b->checkpoint_doc);
	b->metadata = json_root(&b->metadata_doc);
	b->versions = j_get(b->checkpoint, STR("channel_versions"));
	if (!j_is(b->versions, JSON_OBJECT))
		b->versions = (struct jval){0};
	b->step = 0;
	if (j_i64(j_get(b->metadata, STR("step")), &b->step) && b->step < INT64_MAX)
		b->step++;
	b->js = !j_ok(j_get(b->checkpoint, STR("channel_values"))) || ckpt_js_delta(b->metadata);
	return OK;
}

static enum err load(struct base *b, const struct ckpt_ref *ref)
{
	struct ckpt_query q = {.thread = b->thread, .ns = ref->ns};
	const struct checkpoint_ops *ops = b->s->ops->checkpoints;
	struct ckpt head;
	bool found;

	TRY(principal_check(b->who, RIGHT_READ | RIGHT_WRITE));
	TRY(ckpt_text_check(b->thread, "", "thread", 1, THREAD_MAX_BYTES));
	TRY(ckpt_text_check(ref->ns, "", "checkpoint_ns", 0, CKPT_NS_MAX));
	TRY(ckpt_text_check(ref->id, "", "checkpoint_id", 0, CKPT_ID_MAX));
	b->ns = ref->ns;
	TRY(ops->get(b->s, b->a, b->who, &q, &head, &found));
	if (!found)
		return no_checkpoint(b->thread, ref->id);
	b->head = head.id;
	b->c = head;
	if (ref->id.n && !str_eq(ref->id, head.id)) {
		q.id = ref->id;
		TRY(ops->get(b->s, b->a, b->who, &q, &b->c, &found));
		if (!found)
			return no_checkpoint(b->thread, ref->id);
	}
	return parse_base(b);
}

static bool reserved(struct str channel)
{
	return str_starts(channel, STR("__")) || str_starts(channel, STR("branch:"));
}

/* Channels with a version here that may be delta channels, by what metadata says. */
static enum err delta_names(struct base *b, struct names *out)
{
	struct jval counters = j_get(b->metadata, STR("counters_since_delta_snapshot")), key, v;
	bool any = ckpt_js_delta(b->metadata);

	*out = (struct names){.n = 0};
	if (!j_ok(b->versions))
		return OK;
	out->v = ARENA_ARRAY(b->a, struct str, j_node(b->versions)->count);
	if (!out->v)
		return E_NOMEM;
	for (struct j_iter it = j_iter(b->versions); j_next(&it, &key, &v);) {
		struct str name = j_str(b->a, key);

		if (!name.p && j_raw(key).n > 2)
			return E_NOMEM;
		if (any ? !reserved(name) : j_is(counters, JSON_OBJECT) && j_ok(j_get(counters, name)))
			out->v[out->n++] = name;
	}
	return OK;
}

static enum err with_values(struct base *b, const struct names *names, struct ckpt *out)
{
	const struct ckpt_query q = {
		.thread = b->thread, .ns = b->ns, .id = b->c.id, .want = CK_VALUES, .channels = names->v, .channels_n = names->n};
	bool found;

	TRY(b->s->ops->checkpoints->get(b->s, b->a, b->who, &q, out, &found));
	return found ? OK : no_checkpoint(b->thread, b->c.id);
}

/* Whether the source's own writes would come in if it became the parent. */
static enum err settle_parent(struct base *b, const struct names *deltas)
{
	struct ckpt c;

	b->sibling = ckpt_is_old(b->c.checkpoint);
	if (b->sibling || deltas->n == 0)
		return OK;
	TRY(with_values(b, deltas, &c));
	for (size_t i = 0; i < deltas->n; i++)
		b->sibling |= !ckpt_has_value(&c, b->checkpoint, deltas->v[i]);
	return OK;
}

/* ---------------------------------------------------------------- the new one */

struct change {
	struct str name;
	struct jval value;
	bool inlined; /* stands in the JSON; else among the values */
};
struct changes {
	struct change *v;
	size_t n;
	struct str version; /* as JSON */
};

static const struct change *changed(const struct changes *ch, struct jval key)
{
	for (size_t i = 0; ch && i < ch->n; i++)
		if (j_str_eq(key, ch->v[i].name))
			return &ch->v[i];
	return NULL;
}

/* The members of an object without those that change. */
static void write_unchanged(const struct base *b, struct jw *w, struct jval old, const struct changes *ch)
{
	struct jval key, v;

	if (!j_is(old, JSON_OBJECT))
		return;
	for (struct j_iter it = j_iter(old); j_next(&it, &key, &v);)
		if (!changed(ch, key)) {
			jw_key_str(w, j_str(b->a, key));
			jw_raw(w, j_raw(v));
		}
}

static void write_changes(const struct base *b, struct jw *w, const struct changes *ch)
{
	if (!b->js) {
		jw_key(w, "channel_values");
		jw_obj(w);
		write_unchanged(b, w, j_get(b->checkpoint, STR("channel_values")), ch);
		for (size_t i = 0; i < ch->n; i++)
			if (ch->v[i].inlined) {
				jw_key_str(w, ch->v[i].name);
				jw_raw(w, j_raw(ch->v[i].value));
			}
		jw_end_obj(w);
	}
	jw_key(w, "channel_versions");
	jw_obj(w);
	write_unchanged(b, w, b->versions, ch);
	for (size_t i = 0; i < ch->n; i++) {
		jw_key_str(w, ch->v[i].name);
		jw_raw(w, ch->version);
	}
	jw_end_obj(w);
	/* As LangGraph's own update_state has it: null makes the graph look at every channel for what comes next. The names alone
	 * would hide nodes that waited before the update. */
	jw_key(w, "updated_channels");
	jw_null(w);
}

static bool one_of(struct jval key, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (j_str_eq(key, str_c(names[i])))
			return true;
	return false;
}

/* The checkpoint as JSON: what is not said anew stays as it is, members that are not known here too. */
static enum err new_checkpoint(const struct base *b, const char *id, const struct changes *ch, struct str *out)
{
	static const char *const anew[] = {"id", "ts", "v", "channel_versions", "updated_channels", "channel_values"};
	size_t anew_n = !ch ? 3 : b->js ? 5 : 6;
	char ts[CLOCK_TEXT_MAX];
	struct jval key, v = j_get(b->checkpoint, STR("v"));
	struct buf buf;
	struct jw w;

	buf_init(&buf, b->a, CKPT_JSON_MAX);
	jw_init(&w, &buf);
	jw_obj(&w);
	jw_key(&w, "v");
	jw_raw(&w, j_is(v, JSON_NUMBER) ? j_raw(v) : STR("4"));
	jw_key(&w, "id");
	jw_cstr(&w, id);
	jw_key(&w, "ts");
	jw_str(&w, str_of(ts, clock_format(clock_wall_us(), CLOCK_MICROS_OFFSET, ts)));
	for (struct j_iter it = j_iter(b->checkpoint); j_next(&it, &key, &v);)
		if (!one_of(key, anew, anew_n)) {
			jw_key_str(&w, j_str(b->a, key));
			jw_raw(&w, j_raw(v));
		}
	if (ch)
		write_changes(b, &w, ch);
	jw_end_obj(&w);
	*out = buf_slice(&buf);
	return buf.err;
}

/* Metadata stays but for what told of the step that made the source; it is of no run. */
static enum err new_metadata(const struct base *b, const char *source, struct str as_node, struct str *out)
{
	static const char *const anew[] = {"source", "step", "writes", "run_id", "as_node"};
	struct jval key, v;
	struct buf buf;
	struct jw w;

	buf_init(&buf, b->a, CKPT_JSON_MAX);
	jw_init(&w, &buf);
	jw_obj(&w);
	jw_key(&w, "source");
	jw_cstr(&w, source);
	jw_key(&w, "step");
	jw_i64(&w, b->step);
	if (as_node.n) {
		jw_key(&w, "as_node");
		jw_str(&w, as_node);
	}
	for (struct j_iter it = j_iter(b->metadata); j_next(&it, &key, &v);)
		if (!one_of(key, anew, sizeof anew / sizeof *anew)) {
			jw_key_str(&w, j_str(b->a, key));
			jw_raw(&w, j_raw(v));
		}
	if (!j_ok(j_get(b->metadata, STR("parents")))) {
		jw_key(&w, "parents");
		jw_raw(&w, STR("{}"));
	}
	jw_end_obj(&w);
	*out = buf_slice(&buf);
	return buf.err;
}

static enum err put(struct base *b, const char *source, struct str as_node, const struct changes *ch,
		    const struct ckpt_value *values, size_t values_n, char new_id[37])
{
	struct ckpt_change c = {.op = CK_PUT,
				.thread = b->thread,
				.ns = b->ns,
				.parent = b->sibling ? b->c.parent : b->c.id,
				.values = values,
				.values_n = values_n};

	TRY(ckpt_new_id_after(b->step, b->head, new_id));
	c.id = str_of(new_id, UUID_TEXT);
	TRY(new_checkpoint(b, new_id, ch, &c.checkpoint));
	TRY(new_metadata(b, source, as_node, &c.metadata));
	return b->s->ops->checkpoints->write(b->s, b->who, &c, 1);
}

enum err ckpt_fork(struct memory *m, struct arena *a, const struct principal *who, struct str thread, const struct ckpt_ref *ref,
		   char new_id[37])
{
	struct base b = {.s = memory_store(m), .a = a, .who = who, .thread = thread};
	struct names deltas;

	TRY(load(&b, ref));
	TRY(delta_names(&b, &deltas));
	TRY(settle_parent(&b, &deltas));
	return put(&b, "fork", STR(""), NULL, NULL, 0, new_id);
}

/* ---------------------------------------------------------------- update */

static enum err refuse(struct str channel, const char *why)
{
	char field[160];

	snprintf(field, sizeof field, "/values/%.*s", (int)str_sub(channel, 0, 140).n, channel.p);
	return err_field(E_INVALID, field, -1, "channel \"%.*s\" %s; use update_state of the graph itself",
			 (int)str_sub(channel, 0, 100).n, channel.p, why);
}

/* JSON of JavaScript: an object of LangChain, or the snapshot of a delta channel. */
static bool is_lc(struct jval v, int64_t which, const char *type)
{
	int64_t lc;

	return j_i64(j_get(v, STR("lc")), &lc) && lc == which && j_str_eq(j_get(v, STR("type")), str_c(type));
}

static enum err refuse_json(struct base *b, const struct ckpt_value *v)
{
	const struct json_limits limits = {.depth = 200, .nodes = 20000000, .bytes = CKPT_VALUE_MAX, .flags = JSON_DUP_OK};
	struct json doc;
	struct jval x;

	if (json_parse(b->a, v->bytes, &limits, &doc) != OK)
		return refuse(v->channel, "has a value that cannot be read here");
	if (is_lc(json_root(&doc), 2, "delta_snapshot"))
		return refuse(v->channel, "is a delta channel, which needs its reducer");
	if (!j_is(json_root(&doc), JSON_ARRAY))
		return OK;
	for (struct j_iter it = j_iter(json_root(&doc)); j_next(&it, NULL, &x);)
		if (is_lc(x, 1, "constructor"))
			return refuse(v->channel, "holds messages or models, which need its reducer");
	return OK;
}

/* What the channel holds now must not say that it needs a reducer. */
static enum err refuse_value(struct base *b, const struct ckpt_value *v)
{
	bool inline_true = j_is(j_get(j_get(b->checkpoint, STR("channel_values")), v->channel), JSON_TRUE);

	if (inline_true)
		return refuse(v->channel, "is a delta channel, which needs its reducer");
	if (str_eq(v->type, STR("json")))
		return refuse_json(b, v);
	if (str_eq(v->type, STR("msgpack")))
		return msgpack_has_models(v->bytes) ? refuse(v->channel, "holds messages or models, which need its reducer") : OK;
	if (str_eq(v->type, STR("null")) || str_eq(v->type, STR("bytes")) || str_eq(v->type, STR("bytearray")))
		return OK;
	return refuse(v->channel, "has a value that cannot be read here (encrypted, or of another serializer)");
}

static enum err check_names(struct base *b, struct jval values, struct changes *ch)
{
	struct jval key, v;

	if (j_node(values)->count > CHANNELS_MAX)
		return err_field(E_LIMIT, "/values", -1, "an update takes at most %d channels, this one has %u", CHANNELS_MAX,
				 (unsigned)j_node(values)->count);
	ch->v = ARENA_ARRAY(b->a, struct change, j_node(values)->count);
	if (!ch->v)
		return E_NOMEM;
	for (struct j_iter it = j_iter(values); j_next(&it, &key, &v);) {
		struct str name = j_str(b->a, key);

		if (!name.p && j_raw(key).n > 2)
			return E_NOMEM;
		TRY(ckpt_text_check(name, "/values", "channel", 1, CHANNEL_MAX));
		if (reserved(name))
			return refuse(name, "is one of LangGraph's own");
		ch->v[ch->n++] = (struct change){.name = name, .value = v};
	}
	return OK;
}

static int by_name(const void *x, const void *y)
{
	const struct change *a = x, *b = y;

	return str_cmp(a->name, b->name);
}

static enum err check_changes(struct base *b, struct changes *ch, const struct names *deltas)
{
	struct names names = {.n = ch->n};
	struct ckpt c = {.id = b->c.id};
	bool json = false, msgpack = false;

	names.v = ARENA_ARRAY(b->a, struct str, ch->n);
	if (!names.v)
		return E_NOMEM;
	for (size_t i = 0; i < ch->n; i++) {
		names.v[i] = ch->v[i].name;
		for (size_t k = 0; k < deltas->n && !ckpt_js_delta(b->metadata); k++)
			if (str_eq(deltas->v[k], names.v[i]))
				return refuse(names.v[i], "is a delta channel, which needs its reducer");
	}
	if (b->c.id.n == 0 || ch->n == 0)
		return OK;
	TRY(with_values(b, &names, &c));
	for (size_t i = 0; i < c.values_n; i++) {
		TRY(refuse_value(b, &c.values[i]));
		json |= str_eq(c.values[i].type, STR("json"));
		msgpack |= str_eq(c.values[i].type, STR("msgpack"));
	}
	for (size_t i = 0; i < ch->n && ckpt_js_delta(b->metadata); i++)
		if (j_ok(j_get(b->versions, names.v[i])) && !ckpt_has_value(&c, b->checkpoint, names.v[i]))
			return refuse(names.v[i], "may be a delta channel, which needs its reducer");
	b->js |= json && !msgpack;
	return OK;
}

/* What jsonb, and so every store, gives back as it was: no U+0000, no number that would change its kind. */
static bool fits_inline(struct jval v)
{
	struct str raw = j_raw(v);
	double d;

	if (j_is(v, JSON_ARRAY) || j_is(v, JSON_OBJECT))
		return false;
	if (j_is(v, JSON_STRING)) {
		for (size_t i = 0; i + 6 <= raw.n; i++) {
			if (raw.p[i] != '\\')
				continue;
			if (str_eq(str_sub(raw, i, i + 6), STR("\\u0000")))
				return false;
			i++; /* what follows a backslash begins no escape */
		}
		return true;
	}
	if (!j_is(v, JSON_NUMBER) || (str_chr(raw, '.', 0) < 0 && str_chr(raw, 'e', 0) < 0 && str_chr(raw, 'E', 0) < 0))
		return true;
	return j_double(v, &d) && d < 1e16 && d > -1e16 && !(d == 0 && raw.p[0] == '-');
}

/* The version behind the greatest of the checkpoint, in the form that they have: text as LangGraph's savers make it, or a number.
 */
static enum err next_version(struct base *b, struct str *json, struct str *text)
{
	struct jval key, v;
	bool numbers = j_ok(b->versions) && j_node(b->versions)->count > 0;
	int64_t max = 0, one;
	uint64_t random;

	if (j_ok(b->versions))
		for (struct j_iter it = j_iter(b->versions); j_next(&it, &key, &v);) {
			struct str s = j_is(v, JSON_STRING) ? j_str(b->a, v) : j_raw(v), whole, rest;

			numbers &= j_is(v, JSON_NUMBER);
			str_cut(s, '.', &whole, &rest);
			if (str_int(whole, 0, INT64_MAX - 1, &one) && one > max)
				max = one;
		}
	if (numbers) {
		*text = *json = arena_printf(b->a, "%lld", (long long)max + 1);
		return text->p ? OK : E_NOMEM;
	}
	random_bytes(&random, sizeof random);
	*json = arena_printf(b->a, "\"%032lld.%016llu\"", (long long)max + 1, (unsigned long long)(random % 10000000000000000u));
	if (!json->p)
		return E_NOMEM;
	*text = str_sub(*json, 1, json->n - 1);
	return OK;
}

static enum err encode(struct base *b, struct changes *ch, struct str version, struct ckpt_value **out, size_t *n)
{
	*n = 0;
	*out = ARENA_ARRAY(b->a, struct ckpt_value, ch->n);
	if (!*out)
		return E_NOMEM;
	for (size_t i = 0; i < ch->n; i++) {
		struct change *c = &ch->v[i];
		struct ckpt_value *v = &(*out)[*n];
		struct buf buf;

		c->inlined = !b->js && fits_inline(c->value);
		if (c->inlined)
			continue;
		*v = (struct ckpt_value){c->name, version, b->js ? STR("json") : STR("msgpack"), j_raw(c->value)};
		++*n;
		if (b->js)
			continue;
		buf_init(&buf, b->a, CKPT_VALUE_MAX);
		enum err e = msgpack_of_json(b->a, c->value, &buf);
		if (e == E_INVALID) {
			char why[100];

			snprintf(why, sizeof why, "cannot have this value: %.70s", diag_get()->text);
			return refuse(c->name, why);
		}
		TRY(e);
		v->bytes = buf_slice(&buf);
	}
	return OK;
}

/* A thread that is there and has no checkpoint yet begins with an empty one. */
static enum err begin(struct base *b, const struct ckpt_ref *ref)
{
	struct thread_info t;
	bool found = false;

	if (ref->id.n || ref->ns.n)
		return no_checkpoint(b->thread, ref->id);
	TRY(b->s->ops->threads->get(b->s, b->a, b->who, b->thread, &t, &found));
	if (!found)
		return err_set(E_NOT_FOUND, "there is no thread \"%.*s\"", STR_ARG(b->thread));
	b->c = (struct ckpt){.checkpoint = STR("{\"channel_values\":{},\"channel_versions\":{},\"versions_seen\":{}}"),
			     .metadata = STR("{}")};
	return parse_base(b);
}

enum err ckpt_update(struct memory *m, struct arena *a, const struct principal *who, struct str thread, const struct ckpt_ref *ref,
		     struct jval values, struct str as_node, char new_id[37])
{
	struct base b = {.s = memory_store(m), .a = a, .who = who, .thread = thread};
	struct changes ch = {.n = 0};
	struct ckpt_value *stored;
	struct names deltas;
	struct str version;
	size_t stored_n;
	enum err e = load(&b, ref);

	if (e == E_NOT_FOUND)
		e = begin(&b, ref);
	TRY(e);
	TRY(ckpt_text_check(as_node, "", "as_node", 0, CHANNEL_MAX));
	if (!j_is(values, JSON_OBJECT))
		return err_field(E_INVALID, "/values", -1, "values must be an object: a value for each channel that is to change");
	TRY(check_names(&b, values, &ch));
	if (ch.n)
		qsort(ch.v, ch.n, sizeof *ch.v, by_name);
	TRY(delta_names(&b, &deltas));
	TRY(check_changes(&b, &ch, &deltas));
	TRY(settle_parent(&b, &deltas));
	TRY(next_version(&b, &ch.version, &version));
	TRY(encode(&b, &ch, version, &stored, &stored_n));
	return put(&b, "update", as_node, &ch, stored, stored_n, new_id);
}
