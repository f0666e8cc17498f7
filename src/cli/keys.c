/* key create|list|revoke: the administration routes. */
#include "cli/peer.h"
#include "cli/out.h"

#include "base/clock.h"

static const struct column key_cols[] = {
	{"ID", "id", 0},	 {"NAME", "name", 30},	       {"TENANT", "tenant", 30},     {"USER", "user", 30},
	{"RIGHTS", "rights", 0}, {"EXPIRES", "expires_at", 0}, {"REVOKED", "revoked_at", 0}, {"USED", "used_at", 0}};

static void member(struct jw *w, const char *name, const char *value)
{
	if (value == NULL)
		return;
	jw_key(w, name);
	jw_cstr(w, value);
}

static enum err create(struct call *c)
{
	struct arena *a = &c->arena;
	const char *expires = call_flag(c, "expires");
	char time[CLOCK_TEXT_MAX];
	int64_t ms;
	struct buf b;
	struct jw w;
	struct http_reply r;
	struct json doc;
	/* Who means the key's user would get a key that reaches everybody. */
	if (call_flag(c, "user") && !call_flag(c, "for-user"))
		return err_set(E_INVALID, "--user says as whom the command asks; --for-user binds the key to a user");
	if (expires && (parse_duration(str_c(expires), &ms) != OK || ms <= 0))
		return err_set(E_INVALID, "--expires must be a duration such as 12h or 90d");
	if (expires && ms > INT64_C(36500) * 86400000)
		return err_set(E_INVALID, "--expires may be at most 36500d");
	buf_init(&b, a, 64 << 10);
	jw_init(&w, &b);
	jw_obj(&w);
	member(&w, "name", call_flag(c, "name"));
	member(&w, "tenant", call_flag(c, "tenant"));
	member(&w, "user", call_flag(c, "for-user"));
	member(&w, "rights", call_flag(c, "rights"));
	if (expires) {
		clock_format(clock_wall_us() + ms * 1000, CLOCK_MILLIS_Z, time);
		member(&w, "expires_at", time);
	}
	jw_end_obj(&w);
	TRY(b.err);
	TRY(peer_open(c));
	TRY(peer_call(c, "POST", STR("/cenote/v1/admin/keys"), NULL, buf_slice(&b), &r));
	TRY(reply_json(a, &r, &doc));
	struct jval key = j_get(json_root(&doc), STR("key"));
	if (!j_is(key, JSON_STRING))
		return err_set(E_UPSTREAM, "the server's answer has no key");
	if (c->output == OUT_AUTO || c->output == OUT_TEXT || c->output == OUT_TABLE) {
		printf("%.*s\n", STR_ARG(j_str(a, key)));
		if (!c->quiet)
			fprintf(stderr, "cenote: this is the only time the key is shown\n");
		return fflush(stdout) == 0 ? OK : err_set(E_IO, "cannot write to stdout");
	}
	struct out o;
	out_begin(&o, c, key_cols, 8, "id", true);
	TRY(out_row(&o, json_root(&doc)));
	return out_end(&o);
}

int run_key_create(struct call *c)
{
	enum err e = create(c);
	return e == OK ? 0 : call_fail(c, e);
}

static enum err list(struct call *c)
{
	struct http_reply r;
	struct json doc;
	struct jval v;
	struct out o;
	TRY(peer_open(c));
	TRY(peer_call(c, "GET", STR("/cenote/v1/admin/keys"), NULL, str_of(NULL, 0), &r));
	TRY(reply_json(&c->arena, &r, &doc));
	out_begin(&o, c, key_cols, 8, "id", false);
	struct jval data = j_get(json_root(&doc), STR("data"));
	if (!j_is(data, JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's answer has no data");
	struct j_iter it = j_iter(data);
	while (j_next(&it, NULL, &v))
		TRY(out_row(&o, v));
	return out_end(&o);
}

int run_key_list(struct call *c)
{
	enum err e = list(c);
	return e == OK ? 0 : call_fail(c, e);
}

/* The key's own line of the list; E_NOT_FOUND. */
static enum err find_key(struct call *c, struct str id)
{
	struct http_reply r;
	struct json doc;
	struct jval v;
	TRY(peer_call(c, "GET", STR("/cenote/v1/admin/keys"), NULL, str_of(NULL, 0), &r));
	TRY(reply_json(&c->arena, &r, &doc));
	struct jval data = j_get(json_root(&doc), STR("data"));
	if (!j_is(data, JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's answer has no data");
	struct j_iter it = j_iter(data);
	while (j_next(&it, NULL, &v)) {
		struct jval k = j_get(v, STR("id"));
		if (j_is(k, JSON_STRING) && str_eq(j_str(&c->arena, k), id))
			return OK;
	}
	return err_set(E_NOT_FOUND, "there is no API key with the id %.*s", STR_ARG(id));
}

static enum err revoke(struct call *c)
{
	struct arena *a = &c->arena;
	struct http_reply r;
	struct json doc;
	struct str id = str_c(c->args[0]);
	/* The whole key is taken as well: its id stands in it. */
	if (id.n == 55 && str_starts(id, STR("cn_")))
		id = str_sub(id, 3, 11);
	struct str what = arena_printf(a, "revoke the API key %.*s", STR_ARG(id));
	struct str path = arena_printf(a, "/cenote/v1/admin/keys/%.*s", STR_ARG(url_encode(a, id)));
	if (what.p == NULL || path.p == NULL)
		return E_NOMEM;
	TRY(peer_open(c));
	TRY(find_key(c, id));
	if (call_has(c, "dry-run")) {
		fprintf(stderr, "cenote: would %s\n", what.p);
		return OK;
	}
	TRY(call_confirm(c, what.p));
	TRY(peer_call(c, "DELETE", path, NULL, str_of(NULL, 0), &r));
	TRY(reply_json(a, &r, &doc));
	if (c->output == OUT_AUTO) {
		if (!c->quiet)
			fprintf(stderr, "cenote: revoked %.*s\n", STR_ARG(id));
		return OK;
	}
	struct out o;
	out_begin(&o, c, key_cols, 8, "id", true);
	TRY(out_row(&o, json_root(&doc)));
	return out_end(&o);
}

int run_key_revoke(struct call *c)
{
	enum err e = revoke(c);
	if (e == E_CANCELLED) {
		fprintf(stderr, "cenote: %s\n", diag_get()->text);
		return 1;
	}
	return e == OK ? 0 : call_fail(c, e);
}
