/* A hit of recall as JSON. */
#include "api/recall_hit.h"

#include "base/clock.h"
#include "core/facts.h"

static void key_str_or_null(struct jw *w, const char *key, struct str s)
{
	jw_key(w, key);
	if (s.n > 0)
		jw_str(w, s);
	else
		jw_null(w);
}

static void key_time(struct jw *w, int64_t us)
{
	char time[CLOCK_TEXT_MAX];
	size_t n;

	jw_key(w, "time");
	if (us == 0) {
		jw_null(w);
		return;
	}
	n = clock_format(us, CLOCK_MILLIS_Z, time);
	jw_str(w, str_of(time, n));
}

/* When a fact begins or ends to be true; null: open. */
static void key_instant(struct jw *w, const char *key, int64_t us)
{
	char time[CLOCK_TEXT_MAX];

	jw_key(w, key);
	if (us == FACT_NONE)
		jw_null(w);
	else
		jw_str(w, str_of(time, clock_format(us, us % 1000 ? CLOCK_MICROS_Z : CLOCK_MILLIS_Z, time)));
}

static void write_message(struct jw *w, const struct message *m)
{
	jw_key(w, "kind");
	jw_cstr(w, "message");
	jw_key(w, "id");
	jw_str(w, m->mid);
	jw_key(w, "thread");
	jw_str(w, m->thread);
	jw_key(w, "namespace");
	jw_null(w);
	jw_key(w, "key");
	jw_null(w);
	jw_key(w, "role");
	jw_str(w, m->role);
	key_str_or_null(w, "name", m->name);
	jw_key(w, "text");
	jw_str(w, m->content);
	key_time(w, m->time_us);
}

/* An item's text: its member text, content or memory when that is a string, else the whole value. */
static enum err item_text(struct arena *a, struct str value, struct str *out)
{
	static const struct str names[] = {STR_INIT("text"), STR_INIT("content"), STR_INIT("memory")};
	struct json doc;

	*out = value;
	TRY(json_parse(a, value, NULL, &doc));
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct jval v = j_get(json_root(&doc), names[i]);

		if (!j_is(v, JSON_STRING))
			continue;
		*out = j_str(a, v);
		return out->p ? OK : E_NOMEM;
	}
	return OK;
}

static enum err write_item(struct arena *a, struct jw *w, const struct item *it)
{
	struct str text, id = arena_printf(a, "%.*s/%.*s", STR_ARG(it->ns), STR_ARG(it->key));

	if (!id.p)
		return E_NOMEM;
	TRY(item_text(a, it->value, &text));
	jw_key(w, "kind");
	jw_cstr(w, it->fact ? "fact" : "item");
	jw_key(w, "id");
	jw_str(w, id);
	jw_key(w, "thread");
	jw_null(w);
	jw_key(w, "namespace");
	ns_to_json(w, it->ns);
	jw_key(w, "key");
	jw_str(w, it->key);
	jw_key(w, "role");
	jw_null(w);
	jw_key(w, "name");
	jw_null(w);
	jw_key(w, "text");
	jw_str(w, text);
	jw_key(w, "value");
	jw_raw(w, it->value);
	key_time(w, it->updated_us);
	if (it->fact) {
		key_instant(w, "valid_from", it->valid_from_us);
		key_instant(w, "valid_to", it->valid_to_us);
	}
	return OK;
}

enum err recall_hit_write(struct arena *a, struct jw *w, const struct recall_hit *hit, bool explain)
{
	jw_obj(w);
	if (hit->is_item)
		TRY(write_item(a, w, &hit->item));
	else
		write_message(w, &hit->message);
	jw_key(w, "score");
	jw_double(w, hit->score);
	if (explain && hit->explain.n > 0) {
		jw_key(w, "explain");
		jw_raw(w, hit->explain);
	}
	jw_end_obj(w);
	return OK;
}
