/* doctor: what is wrong with a store, and what to do about it. */
#include "cli/cmd.h"
#include "cli/out.h"
#include "cli/peer.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "core/store.h"
#include "daemon/node.h"
#include "store/open.h"

static const struct column finding_cols[] = {
	{"STATUS", "status", 0}, {"CHECK", "check", 0}, {"PLACE", "place", 0}, {"FINDING", "text", 0}, {"FIX", "fix", 0}};

struct findings {
	struct call *c;
	struct out o;
	size_t of[3]; /* by level */
	enum err err;
};

static enum err say(struct findings *s, const struct store_finding *f)
{
	static const char *const levels[] = {"ok", "warn", "fail"};
	struct arena *a = &s->c->arena;
	struct buf b;
	struct jw w;
	struct json doc;
	buf_init(&b, a, 1 << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "status");
	jw_cstr(&w, levels[f->level]);
	jw_key(&w, "check");
	jw_cstr(&w, f->check);
	jw_key(&w, "place");
	jw_str(&w, f->place);
	jw_key(&w, "text");
	jw_str(&w, f->text);
	jw_key(&w, "fix");
	jw_str(&w, f->fix);
	jw_key(&w, "data");
	if (f->data.n)
		jw_raw(&w, f->data);
	else
		jw_null(&w);
	jw_end_obj(&w);
	TRY(b.err);
	TRY(json_parse(a, buf_slice(&b), &json_default_limits, &doc));
	return out_row(&s->o, json_root(&doc));
}

static void finding(void *ctx, const struct store_finding *f)
{
	struct findings *s = ctx;
	s->of[f->level]++;
	if (s->err == OK)
		s->err = say(s, f);
}

/* Which source of settings won; the store's address without its password. */
static void sources(struct findings *s, const char *url)
{
	struct call *c = s->c;
	struct arena *a = &c->arena;
	size_t n;
	const struct opt *rows = config_rows(&n);
	struct buf text, b;
	struct jw w;
	buf_init(&text, a, 64 << 10);
	buf_init(&b, a, 64 << 10);
	jw_init(&w, &b);
	jw_obj(&w);
	for (size_t i = 0; i < n; i++) {
		struct buf value, from;
		bool store = strcmp(rows[i].key, "store") == 0, pg = strncmp(rows[i].key, "pg.", 3) == 0;
		if (!store && (!pg || c->cfg.origin[i].kind == FROM_DEFAULT))
			continue;
		buf_init(&value, a, 64 << 10);
		buf_init(&from, a, 64 << 10);
		if (store)
			store_url_redact(c->cfg.store, &value);
		else
			opt_format(&rows[i], opt_field(&c->cfg, &rows[i]), &value);
		if (store && url)
			buf_lit(&from, "the command's argument");
		else
			config_origin(&c->cfg, &rows[i], &from);
		buf_printf(&text, "%s%s is %.*s (%.*s)", text.n ? ", " : "", rows[i].key, STR_ARG(buf_slice(&value)),
			   STR_ARG(buf_slice(&from)));
		jw_key(&w, rows[i].key);
		jw_str(&w, buf_slice(&from));
	}
	jw_end_obj(&w);
	const struct store_finding f = {.level = FIND_OK, .check = "sources", .text = buf_slice(&text), .data = buf_slice(&b)};
	finding(s, &f);
}

/* What turns texts into vectors. A service is not asked: that costs, and it may be down for a moment. */
static void encoder(struct findings *s)
{
	struct call *c = s->c;
	struct embed_settings es = node_embed_settings(&c->cfg);
	struct embed_state st;
	struct store_finding f = {.level = FIND_OK, .check = "encoder"};
	enum err e = embed_open(&es, &st);

	if (e != OK) {
		f.level = FIND_FAIL;
		f.text = str_c(diag_get()->text);
		finding(s, &f);
		return;
	}
	if (st.encoder)
		f.text = arena_printf(&c->arena, "texts are encoded by %.*s (%s)", STR_ARG(st.encoder->model), st.kind);
	else
		f.text = arena_printf(&c->arena, "search goes by words alone: %s", st.why);
	if (st.broken)
		f.level = FIND_FAIL;
	finding(s, &f);
	embed_state_close(&st);
}

static int64_t figure(const struct json *doc, const char *name)
{
	int64_t n = 0;
	return j_i64(j_get(json_root(doc), str_c(name)), &n) ? n : 0;
}

static struct str word(struct call *c, const struct json *doc, const char *name)
{
	struct jval v = j_get(json_root(doc), str_c(name));
	return j_is(v, JSON_STRING) ? j_str(&c->arena, v) : STR("");
}

/* How far the vectors are, as the server that makes them says; without one that runs there is nothing to be said. */
static void vectors(struct findings *s)
{
	struct call *c = s->c;
	struct store_finding f = {.level = FIND_OK, .check = "vectors"};
	struct http_reply r;
	struct json doc;
	bool found;
	if (peer_find(c, &found) != OK || !found ||
	    peer_call(c, "GET", STR("/cenote/v1/vectors"), NULL, str_of(NULL, 0), &r) != OK ||
	    reply_json(&c->arena, &r, &doc) != OK)
		return;
	struct str model = word(c, &doc, "model"), next = word(c, &doc, "next"), trouble = word(c, &doc, "trouble");
	int64_t refused = figure(&doc, "refused");
	if (model.n == 0 && next.n == 0 && trouble.n == 0)
		return;
	f.text = arena_printf(&c->arena,
			      "%lld of %lld texts have their vectors by %.*s, %lld wait, %lld were refused by the model%s%.*s",
			      (long long)figure(&doc, "done"), (long long)figure(&doc, "documents"), STR_ARG(next.n ? next : model),
			      (long long)figure(&doc, "pending"), (long long)refused, trouble.n ? "; " : "", STR_ARG(trouble));
	f.data = r.body;
	if (trouble.n) {
		f.level = FIND_WARN;
		f.fix = STR("see to the service of embeddings; it is tried again by itself, and search goes by words meanwhile");
	} else if (refused > 0) {
		f.level = FIND_WARN;
		f.fix = STR("the log says why; `cenote reindex` asks for these texts again");
	}
	finding(s, &f);
}

static enum err doctor(struct call *c, struct findings *s)
{
	const char *url = c->argc ? c->args[0] : NULL;
	log_setup(c->verbose ? LOG_DEBUG : LOG_ERROR, isatty(2) ? LOG_TEXT : LOG_JSON);
	TRY(call_config(c));
	if (url)
		c->cfg.store = str_c(url);
	struct store_options opt = node_store_options(&c->cfg, 0);
	out_begin(&s->o, c, finding_cols, 5, "check", false);
	sources(s, url);
	encoder(s);
	enum err e = store_doctor(c->cfg.store, &opt, finding, s);
	if (e != OK) {
		struct store_finding f = {.level = FIND_FAIL, .check = "connection", .text = str_c(diag_get()->text)};
		struct diag d = *diag_get();
		finding(s, &f);
		TRY(out_end(&s->o));
		*diag_get() = d;
		return e;
	}
	if (!url)
		vectors(s);
	TRY(s->err);
	TRY(out_end(&s->o));
	if (!c->quiet)
		fprintf(stderr, "cenote: %zu ok, %zu to look at, %zu failed\n", s->of[FIND_OK], s->of[FIND_WARN], s->of[FIND_FAIL]);
	return OK;
}

int run_doctor(struct call *c)
{
	struct findings s = {.c = c};
	enum err e = doctor(c, &s);
	if (e != OK)
		return call_fail(c, e);
	return s.of[FIND_FAIL] ? 1 : 0;
}
