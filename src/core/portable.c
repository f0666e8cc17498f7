/* Items to and from JSON, and export. See portable.h. */
#include "core/portable.h"

#include <stdio.h>

#include "base/clock.h"
#include "core/fact_store.h"
#include "core/memory_impl.h"

enum { CHUNK_BYTES = 256 << 10, CHUNK_LINES = 1000, LINE_EXTRA = 16 << 10 };

static const struct str item_names[] = {
	STR_INIT("namespace"),	 STR_INIT("key"),	 STR_INIT("value"), STR_INIT("created_at"), STR_INIT("updated_at"),
	STR_INIT("ttl_minutes"), STR_INIT("expires_at"), STR_INIT("fact"),  STR_INIT("valid_from"), STR_INIT("valid_to")};

static const struct str state_names[] = {STR_INIT("namespace"),	    STR_INIT("key"),	     STR_INIT("value"),
					 STR_INIT("recorded_from"), STR_INIT("recorded_to"), STR_INIT("superseded_by"),
					 STR_INIT("fact"),	    STR_INIT("valid_from"),  STR_INIT("valid_to"),
					 STR_INIT("ended_at"),	    STR_INIT("expires_at")};

static enum err bad(const char *field, const char *member, const char *why)
{
	char where[160];

	snprintf(where, sizeof where, "%.120s/%s", field, member);
	return err_field(E_INVALID, where, -1, "%s %s", member, why);
}

static enum err time_member(struct arena *a, struct jval obj, const char *field, const char *member, int64_t *out)
{
	struct jval v = j_get(obj, str_c(member));
	struct str s;

	*out = 0;
	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_STRING))
		return bad(field, member, "must be a string in RFC 3339");
	s = j_str(a, v);
	if (!s.p)
		return E_NOMEM;
	if (clock_parse(s, out) != OK)
		return bad(field, member, "must be RFC 3339, such as 2026-08-20T07:02:48Z");
	return OK;
}

/* A fact says so, or when it is true. */
static enum err fact_members(struct arena *a, struct jval v, const char *field, struct op_put *out)
{
	struct jval fact = j_get(v, STR("fact"));

	if (!j_null(fact) && !j_bool(fact, &out->fact))
		return bad(field, "fact", "must be true or false");
	TRY(time_member(a, v, field, "valid_from", &out->valid_from_us));
	TRY(time_member(a, v, field, "valid_to", &out->valid_to_us));
	out->fact = out->fact || !j_null(j_get(v, STR("valid_from"))) || !j_null(j_get(v, STR("valid_to")));
	if (j_null(j_get(v, STR("valid_from"))))
		out->valid_from_us = FACT_NONE;
	if (j_null(j_get(v, STR("valid_to"))))
		out->valid_to_us = FACT_NONE;
	return OK;
}

/* namespace, key and value, which items and states have. */
static enum err named_value(struct arena *a, struct jval v, const char *field, struct op_put *out)
{
	char where[160];
	struct jval m;

	snprintf(where, sizeof where, "%.120s/namespace", field);
	TRY(ns_from_json(a, j_get(v, STR("namespace")), where, &out->ns));
	TRY(ns_check(out->ns, where, false));
	m = j_get(v, STR("key"));
	if (!j_is(m, JSON_STRING))
		return bad(field, "key", "must be a string");
	out->key = j_str(a, m);
	if (!out->key.p)
		return E_NOMEM;
	snprintf(where, sizeof where, "%.120s/key", field);
	TRY(key_check(out->key, where));
	m = j_get(v, STR("value"));
	if (!j_is(m, JSON_OBJECT))
		return bad(field, "value", "must be an object");
	out->value = j_raw(m);
	return OK;
}

enum err item_from_json(struct arena *a, struct jval v, const char *field, bool strict, struct op_put *out)
{
	struct jval m;

	*out = (struct op_put){.ttl_minutes = TTL_DEFAULT};
	if (!j_is(v, JSON_OBJECT))
		return err_field(E_INVALID, field, -1, "an item must be an object with namespace, key and value");
	if (strict)
		TRY(j_only(v, item_names, sizeof item_names / sizeof item_names[0]));
	TRY(named_value(a, v, field, out));
	TRY(time_member(a, v, field, "created_at", &out->created_us));
	TRY(time_member(a, v, field, "updated_at", &out->updated_us));
	TRY(time_member(a, v, field, "expires_at", &out->expires_us));
	TRY(fact_members(a, v, field, out));
	m = j_get(v, STR("ttl_minutes"));
	if (!j_null(m) && (!j_double(m, &out->ttl_minutes) || out->ttl_minutes < 0))
		return bad(field, "ttl_minutes", "must be a number of minutes, 0 for none");
	return OK;
}

static enum err instant_member(struct arena *a, struct jval v, const char *field, const char *member, int64_t *out)
{
	TRY(time_member(a, v, field, member, out));
	if (j_null(j_get(v, str_c(member))))
		*out = FACT_NONE;
	return OK;
}

enum err state_from_json(struct arena *a, struct jval v, const char *field, bool strict, struct fact_state *out)
{
	struct jval by = j_get(v, STR("superseded_by"));
	struct op_put it = {0};
	char where[160];

	if (strict)
		TRY(j_only(v, state_names, sizeof state_names / sizeof state_names[0]));
	TRY(named_value(a, v, field, &it));
	TRY(fact_members(a, v, field, &it));
	*out = (struct fact_state){.ns = it.ns,
				   .key = it.key,
				   .value = it.value,
				   .fact = it.fact,
				   .valid_from_us = it.valid_from_us,
				   .valid_to_us = it.valid_to_us,
				   .terms = STR("")};
	TRY(instant_member(a, v, field, "recorded_from", &out->recorded_from_us));
	TRY(instant_member(a, v, field, "recorded_to", &out->recorded_to_us));
	if (out->recorded_from_us == FACT_NONE || out->recorded_to_us < out->recorded_from_us)
		return bad(field, "recorded_to", "must be a time, and recorded_from one that is not later");
	TRY(instant_member(a, v, field, "ended_at", &out->ended_us));
	TRY(time_member(a, v, field, "expires_at", &out->expires_us));
	if (!j_is(by, JSON_STRING))
		return bad(field, "superseded_by", "must be a key");
	out->by = j_str(a, by);
	if (!out->by.p)
		return E_NOMEM;
	snprintf(where, sizeof where, "%.120s/superseded_by", field);
	return key_check(out->by, where);
}

static void time_out(struct jw *w, const char *name, int64_t us, int style)
{
	char text[CLOCK_TEXT_MAX];
	size_t n = clock_format(us, (enum clock_style)style, text);

	jw_key(w, name);
	jw_str(w, str_of(text, n));
}

void item_members(struct jw *w, const struct item *it, int style)
{
	jw_key(w, "namespace");
	ns_to_json(w, it->ns);
	jw_key(w, "key");
	jw_str(w, it->key);
	jw_key(w, "value");
	jw_raw(w, it->value);
	time_out(w, "created_at", it->created_us, style);
	time_out(w, "updated_at", it->updated_us, style);
	if (it->ttl_minutes <= 0)
		return;
	jw_key(w, "ttl_minutes");
	jw_double(w, it->ttl_minutes);
	if (it->expires_us != it->updated_us + (int64_t)(it->ttl_minutes * 60e6))
		time_out(w, "expires_at", it->expires_us, style);
}

/* ----------------------------------------------------------------- export */

struct export_walk {
	struct export_state *st;
	struct buf *out;
	size_t began;
	unsigned lines;
	int64_t omit_us;
	bool stopped; /* by us, because the chunk is full */
};

/* Between tokens JSON may hold line breaks, inside strings never: so every break may become a blank. */
static void end_line(struct export_walk *x, size_t from)
{
	for (size_t i = from; i < x->out->n; i++)
		if (x->out->p[i] == '\n' || x->out->p[i] == '\r')
			x->out->p[i] = ' ';
	buf_byte(x->out, '\n');
	x->lines++;
	x->st->lines++;
}

static bool room_left(const struct export_walk *x)
{
	return x->out->err == OK && x->out->n - x->began < CHUNK_BYTES && x->lines < CHUNK_LINES;
}

static void instant_out(struct jw *w, const char *name, int64_t us)
{
	if (us != FACT_NONE)
		time_out(w, name, us, CLOCK_MICROS_Z);
}

static bool export_item(void *ctx, const struct item *it)
{
	struct export_walk *x = ctx;
	struct export_state *st = x->st;
	size_t from = x->out->n;
	struct jw w;

	memcpy(st->ns, it->ns.p, it->ns.n);
	st->ns_n = it->ns.n;
	memcpy(st->key, it->key.p, it->key.n);
	st->key_n = it->key.n;
	if (x->omit_us > 0 && it->expires_us > 0 && it->expires_us < x->omit_us)
		return true;
	jw_init(&w, x->out);
	jw_obj(&w);
	item_members(&w, it, CLOCK_MICROS_Z);
	if (it->fact) {
		jw_key(&w, "fact");
		jw_bool(&w, true);
		instant_out(&w, "valid_from", it->valid_from_us);
		instant_out(&w, "valid_to", it->valid_to_us);
	}
	jw_end_obj(&w);
	end_line(x, from);
	x->stopped = !room_left(x);
	return !x->stopped;
}

static bool export_state_line(void *ctx, const struct fact_state *f)
{
	struct export_walk *x = ctx;
	struct export_state *st = x->st;
	size_t from = x->out->n;
	struct jw w;

	memcpy(st->ns, f->ns.p, f->ns.n);
	st->ns_n = f->ns.n;
	memcpy(st->key, f->key.p, f->key.n);
	st->key_n = f->key.n;
	st->state_us = f->recorded_from_us;
	if (x->omit_us > 0 && f->expires_us > 0 && f->expires_us < x->omit_us)
		return true;
	jw_init(&w, x->out);
	jw_obj(&w);
	jw_key(&w, "namespace");
	ns_to_json(&w, f->ns);
	jw_key(&w, "key");
	jw_str(&w, f->key);
	jw_key(&w, "value");
	jw_raw(&w, f->value);
	instant_out(&w, "recorded_from", f->recorded_from_us);
	instant_out(&w, "recorded_to", f->recorded_to_us);
	jw_key(&w, "superseded_by");
	jw_str(&w, f->by);
	if (f->fact) {
		jw_key(&w, "fact");
		jw_bool(&w, true);
	}
	instant_out(&w, "valid_from", f->valid_from_us);
	instant_out(&w, "valid_to", f->valid_to_us);
	instant_out(&w, "ended_at", f->ended_us);
	instant_out(&w, "expires_at", f->expires_us > 0 ? f->expires_us : FACT_NONE);
	jw_end_obj(&w);
	end_line(x, from);
	x->stopped = !room_left(x);
	return !x->stopped;
}

static bool export_message(void *ctx, const struct message *m)
{
	struct export_walk *x = ctx;
	size_t from = x->out->n;
	struct jw w;

	jw_init(&w, x->out);
	message_to_json(&w, m);
	end_line(x, from);
	x->st->pos = m->pos + 1;
	return room_left(x);
}

static bool next_thread(void *ctx, const struct thread_info *t)
{
	struct export_state *st = ctx;

	memcpy(st->thread, t->thread.p, t->thread.n);
	st->thread_n = t->thread.n;
	st->in_thread = true;
	st->pos = 0;
	return false;
}

static enum err export_messages(struct memory *m, const struct principal *who, struct export_walk *x)
{
	struct store *s = memory_store(m);
	struct export_state *st = x->st;
	const struct str *user = who->user_bound ? &who->user : NULL;

	while (room_left(x)) {
		enum err e;

		if (!st->in_thread) {
			TRY(s->ops->thread_list(s, who, user, str_of(st->thread, st->thread_n), 1, next_thread, st));
			if (!st->in_thread) {
				st->done = true;
				return OK;
			}
		}
		e = s->ops->message_list(s, who, str_of(st->thread, st->thread_n), st->pos, CHUNK_LINES, export_message, x);
		if (e != OK && e != E_NOT_FOUND) /* deleted meanwhile */
			return e;
		/* With room left the walk was not stopped, and it asks for more lines than there was room for: the thread is at its
		 * end. */
		if (room_left(x))
			st->in_thread = false;
	}
	return OK;
}

/* A copy: the store compares with it while the lines that come move ns and key on. */
static void place(struct export_state *st, struct str *ns, struct str *key)
{
	memcpy(st->after_ns, st->ns, st->ns_n);
	memcpy(st->after_key, st->key, st->key_n);
	*ns = str_of(st->after_ns, st->ns_n);
	*key = str_of(st->after_key, st->key_n);
}

enum err portable_export(struct memory *m, const struct principal *who, struct export_state *st, struct buf *out)
{
	struct store *s = memory_store(m);
	struct export_walk x = {st, out, out->n, 0, memory_omit_us(m), false};
	struct str after_ns, after_key;

	TRY(principal_check(who, RIGHT_READ));
	if (st->items && !st->items_done) {
		TRY(ns_check(st->prefix, "namespace", true));
		TRY(principal_namespace(who, st->prefix));
		place(st, &after_ns, &after_key);
		TRY(s->ops->item_walk(s, who, st->prefix, after_ns, after_key, export_item, &x));
		if (x.stopped || out->err != OK)
			return out->err;
		st->items_done = true;
		st->ns_n = st->key_n = 0; /* from the beginning again */
	}
	if (st->items && !st->states_done) {
		place(st, &after_ns, &after_key);
		TRY(s->ops->facts->walk(s, who, st->prefix, after_ns, after_key, st->state_us, export_state_line, &x));
		if (x.stopped || out->err != OK)
			return out->err;
		st->states_done = true;
	}
	if (st->messages)
		TRY(export_messages(m, who, &x));
	else
		st->done = true;
	return out->err;
}
