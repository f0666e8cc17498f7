/* The administration routes. Each handler is: read the request, call auth or the store, write JSON. */
#include "daemon/admin.h"

#include "base/clock.h"
#include "base/json/json.h"
#include "base/log.h"

#define REPLY_MAX (8u << 20)
#define PROGRESS_MAX 4096
#define KEYS_MAX 10000

static void reply(struct http_req *rq, int status, struct buf *b)
{
	if (b->err != OK)
		rs_error(rq, err_set(E_LIMIT, "the answer is larger than %u bytes", REPLY_MAX));
	else
		rs_json(rq, status, buf_slice(b));
}

static void put_time(struct jw *w, const char *key, int64_t us)
{
	char text[CLOCK_TEXT_MAX];
	jw_key(w, key);
	if (us == 0)
		jw_null(w);
	else
		jw_str(w, str_of(text, clock_format(us, CLOCK_MILLIS_Z, text)));
}

static void put_key(struct jw *w, const struct key_record *k, struct str secret)
{
	char text[64];
	struct buf rights;
	buf_init(&rights, NULL, sizeof text);
	rights_format(k->rights, &rights);
	jw_obj(w);
	jw_key(w, "id");
	jw_str(w, k->id);
	if (secret.n) {
		jw_key(w, "key");
		jw_str(w, secret);
	}
	jw_key(w, "name");
	jw_str(w, k->name);
	jw_key(w, "tenant");
	jw_str(w, k->tenant);
	jw_key(w, "user");
	if (k->user.n)
		jw_str(w, k->user);
	else
		jw_null(w);
	jw_key(w, "rights");
	jw_str(w, buf_slice(&rights));
	put_time(w, "created_at", k->created_us);
	put_time(w, "expires_at", k->expires_us);
	put_time(w, "revoked_at", k->revoked_us);
	put_time(w, "used_at", k->used_us);
	jw_end_obj(w);
	buf_release(&rights);
}

struct list_ctx {
	const struct principal *who;
	struct jw w;
	unsigned n;
};

static bool list_one(void *ctx, const struct key_record *k)
{
	struct list_ctx *l = ctx;
	if (!auth_administers(l->who, k->tenant))
		return true;
	put_key(&l->w, k, str_of(NULL, 0));
	return ++l->n < KEYS_MAX;
}

static void keys_list(struct http_req *rq, void *ctx)
{
	struct admin *ad = ctx;
	struct buf b;
	struct list_ctx l = {.who = rq_principal(rq)};
	buf_init(&b, rq_arena(rq), REPLY_MAX);
	jw_init(&l.w, &b);
	jw_obj(&l.w);
	jw_key(&l.w, "data");
	jw_arr(&l.w);
	enum err e = ad->store->ops->key_list(ad->store, list_one, &l);
	jw_end_arr(&l.w);
	jw_key(&l.w, "next_cursor");
	jw_null(&l.w);
	jw_key(&l.w, "has_more");
	jw_bool(&l.w, l.n == KEYS_MAX);
	jw_end_obj(&l.w);
	if (e != OK)
		rs_error(rq, e);
	else
		reply(rq, 200, &b);
}

/* An optional text member: absent or null leaves *out alone. */
static enum err text_member(struct arena *a, struct jval obj, const char *name, size_t max, struct str *out)
{
	struct jval v = j_get(obj, str_c(name));
	char field[40];
	if (j_null(v))
		return OK;
	struct str f = arena_printf(a, "/%s", name);
	memcpy(field, f.p ? f.p : "", f.n < 39 ? f.n + 1 : 1);
	if (!j_is(v, JSON_STRING))
		return err_field(E_INVALID, field, -1, "%s must be a string", name);
	struct str s = j_str(a, v);
	if (s.p == NULL)
		return E_NOMEM;
	if (s.n > max)
		return err_field(E_INVALID, field, -1, "%s may have at most %zu bytes", name, max);
	if (memchr(s.p, 0, s.n))
		return err_field(E_INVALID, field, -1, "%s must not contain U+0000", name);
	*out = s;
	return OK;
}

static enum err key_from_json(struct arena *a, const struct principal *who, struct jval v, struct key_record *k)
{
	static const struct str names[] = {STR_INIT("name"), STR_INIT("tenant"), STR_INIT("user"), STR_INIT("rights"),
					   STR_INIT("expires_at")};
	struct str rights = STR("read,write"), expires = {0};
	if (!j_is(v, JSON_OBJECT))
		return err_kind(E_INVALID, ERR_SYNTAX, "the body must be a JSON object");
	TRY(j_only(v, names, 5));
	*k = (struct key_record){.tenant = who->tenant};
	TRY(text_member(a, v, "name", 200, &k->name));
	TRY(text_member(a, v, "tenant", 63, &k->tenant));
	TRY(text_member(a, v, "user", 256, &k->user));
	TRY(text_member(a, v, "rights", 40, &rights));
	TRY(text_member(a, v, "expires_at", 40, &expires));
	TRY(rights_parse(rights, &k->rights));
	if (expires.n && clock_parse(expires, &k->expires_us) != OK)
		return err_field(E_INVALID, "/expires_at", -1, "expires_at must be a time such as 2027-01-31T12:00:00Z");
	if (expires.n && k->expires_us <= clock_wall_us())
		return err_field(E_INVALID, "/expires_at", -1, "expires_at lies in the past");
	return OK;
}

static void keys_create(struct http_req *rq, void *ctx)
{
	struct admin *ad = ctx;
	struct arena *a = rq_arena(rq);
	struct json doc;
	struct key_record k;
	struct str text;
	enum err e = json_parse(a, rq_body(rq), &json_default_limits, &doc);
	if (e == OK)
		e = key_from_json(a, rq_principal(rq), json_root(&doc), &k);
	if (e == OK)
		e = auth_key_create(ad->auth, a, rq_principal(rq), &k, &text);
	if (e != OK) {
		rs_error(rq, e);
		return;
	}
	LOG(LOG_INFO, "auth", "an API key was created", LF_STR("key", k.id), LF_STR("tenant", k.tenant));
	struct buf b;
	struct jw w;
	buf_init(&b, a, REPLY_MAX);
	jw_init(&w, &b);
	put_key(&w, &k, text);
	rs_header(rq, "Cache-Control", STR("no-store"));
	reply(rq, 201, &b);
}

static void keys_revoke(struct http_req *rq, void *ctx)
{
	struct admin *ad = ctx;
	struct key_record k;
	enum err e = auth_key_revoke(ad->auth, rq_arena(rq), rq_principal(rq), rq_param(rq, "id"), &k);
	if (e != OK) {
		rs_error(rq, e);
		return;
	}
	LOG(LOG_INFO, "auth", "an API key was revoked", LF_STR("key", k.id));
	struct buf b;
	struct jw w;
	buf_init(&b, rq_arena(rq), REPLY_MAX);
	jw_init(&w, &b);
	put_key(&w, &k, str_of(NULL, 0));
	reply(rq, 200, &b);
}

/* -------------------------------------------------- log level, configuration */

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static void level_reply(struct http_req *rq)
{
	struct buf b;
	struct jw w;
	buf_init(&b, rq_arena(rq), REPLY_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "level");
	jw_cstr(&w, level_names[log_get_level()]);
	jw_end_obj(&w);
	reply(rq, 200, &b);
}

static void level_get(struct http_req *rq, void *ctx)
{
	(void)ctx;
	level_reply(rq);
}

static void level_put(struct http_req *rq, void *ctx)
{
	(void)ctx;
	struct json doc;
	struct arena *a = rq_arena(rq);
	struct str level = {0};
	enum err e = json_parse(a, rq_body(rq), &json_default_limits, &doc);
	if (e == OK)
		e = text_member(a, json_root(&doc), "level", 16, &level);
	for (int i = 0; e == OK && i < 4; i++) {
		if (str_eq(level, str_c(level_names[i]))) {
			log_set_level((enum log_level)i);
			level_reply(rq);
			return;
		}
	}
	rs_error(rq, e != OK ? e : err_field(E_INVALID, "/level", -1, "level must be one of debug, info, warn, error"));
}

static void config_get(struct http_req *rq, void *ctx)
{
	struct admin *ad = ctx;
	struct arena *a = rq_arena(rq);
	struct buf b, text;
	struct jw w;
	size_t n;
	const struct opt *rows = config_rows(&n);
	static const char *const origins[] = {"default", "file", "env", "flag"};
	buf_init(&b, a, REPLY_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	for (size_t i = 0; i < n; i++) {
		if (rows[i].attr & OPT_CLIENT)
			continue;
		buf_init(&text, a, 64 << 10);
		opt_format(&rows[i], opt_field_c(ad->cfg, &rows[i]), &text);
		jw_key(&w, rows[i].key);
		jw_obj(&w);
		jw_key(&w, "value");
		jw_str(&w, buf_slice(&text));
		jw_key(&w, "origin");
		jw_cstr(&w, origins[ad->cfg->origin[i].kind]);
		jw_end_obj(&w);
	}
	jw_end_obj(&w);
	reply(rq, 200, &b);
}

/* -------------------------------------------------------- import progress */

static enum err progress_name(struct http_req *rq, struct str *out)
{
	struct str name = rq_param(rq, "id");
	for (size_t i = 0; i < name.n; i++)
		if (strchr("0123456789abcdef", name.p[i]) == NULL)
			return err_field(E_INVALID, "id", -1, "an import's id is 1 to 64 hex digits");
	if (name.n == 0 || name.n > 64)
		return err_field(E_INVALID, "id", -1, "an import's id is 1 to 64 hex digits");
	*out = arena_printf(rq_arena(rq), "import:%.*s", STR_ARG(name));
	return out->p ? OK : E_NOMEM;
}

static void progress_get(struct http_req *rq, void *ctx)
{
	struct admin *ad = ctx;
	struct str name, value = {0};
	bool found = false;
	enum err e = progress_name(rq, &name);
	if (e == OK)
		e = ad->store->ops->meta_get(ad->store, rq_arena(rq), rq_principal(rq), name, &value, &found);
	if (e == OK && !found)
		e = err_set(E_NOT_FOUND, "no interrupted import of that id");
	if (e != OK)
		rs_error(rq, e);
	else
		rs_json(rq, 200, value);
}

static void progress_put(struct http_req *rq, void *ctx)
{
	struct admin *ad = ctx;
	struct str name;
	struct json doc;
	enum err e = progress_name(rq, &name);
	if (e == OK && rq_body(rq).n > PROGRESS_MAX)
		e = err_kind(E_LIMIT, ERR_SIZE, "progress of an import may have at most %d bytes", PROGRESS_MAX);
	if (e == OK)
		e = json_parse(rq_arena(rq), rq_body(rq), &json_default_limits, &doc);
	if (e == OK)
		e = ad->store->ops->meta_put(ad->store, rq_principal(rq), name, j_raw(json_root(&doc)));
	if (e != OK)
		rs_error(rq, e);
	else
		rs_empty(rq, 204);
}

static void progress_delete(struct http_req *rq, void *ctx)
{
	struct admin *ad = ctx;
	struct str name;
	enum err e = progress_name(rq, &name);
	if (e == OK)
		e = ad->store->ops->meta_put(ad->store, rq_principal(rq), name, str_of(NULL, 0));
	if (e != OK)
		rs_error(rq, e);
	else
		rs_empty(rq, 204);
}

static const struct http_route routes[] = {
	{"GET", "/cenote/v1/admin/keys", keys_list, RIGHT_ADMIN, 0, "listKeys"},
	{"POST", "/cenote/v1/admin/keys", keys_create, RIGHT_ADMIN, R_BODY, "createKey"},
	{"DELETE", "/cenote/v1/admin/keys/{id}", keys_revoke, RIGHT_ADMIN, 0, "revokeKey"},
	{"GET", "/cenote/v1/admin/log-level", level_get, RIGHT_ADMIN, 0, "getLogLevel"},
	{"PUT", "/cenote/v1/admin/log-level", level_put, RIGHT_ADMIN, R_BODY, "setLogLevel"},
	{"GET", "/cenote/v1/admin/config", config_get, RIGHT_ADMIN, 0, "getConfig"},
	{"GET", "/cenote/v1/imports/{id}", progress_get, RIGHT_WRITE, 0, "getImport"},
	{"PUT", "/cenote/v1/imports/{id}", progress_put, RIGHT_WRITE, R_BODY, "putImport"},
	{"DELETE", "/cenote/v1/imports/{id}", progress_delete, RIGHT_WRITE, 0, "deleteImport"},
};

enum err admin_add(struct http_router *r, struct admin *a)
{
	return http_router_add(r, "/cenote/v1", routes, sizeof routes / sizeof routes[0], a, NULL);
}
