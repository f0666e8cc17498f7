/* reindex: makes all vectors again, shows how far they are, waits for them. */
#include "cli/cmd.h"
#include "cli/out.h"
#include "cli/peer.h"
#include "cli/progress.h"

/* One answer of the server lets so much time pass at most. */
#define STEP_MS 500

static enum err ask(struct call *c, const char *method, const char *path, struct json *doc)
{
	struct http_reply r;
	TRY(peer_call(c, method, str_c(path), NULL, str_of(NULL, 0), &r));
	return reply_json(&c->arena, &r, doc);
}

static int64_t number(const struct json *doc, const char *name)
{
	int64_t n = 0;
	return j_i64(j_get(json_root(doc), str_c(name)), &n) ? n : 0;
}

static bool is_true(const struct json *doc, const char *name)
{
	return j_is(j_get(json_root(doc), str_c(name)), JSON_TRUE);
}

static bool finished(const struct json *doc)
{
	return number(doc, "pending") == 0 && is_true(doc, "counted") && !is_true(doc, "reindexing") &&
	       j_null(j_get(json_root(doc), STR("next")));
}

/* The server's sentence about an encoder that does not answer. */
static enum err trouble(struct call *c, const struct json *doc)
{
	struct jval v = j_get(json_root(doc), STR("trouble"));
	if (j_null(v))
		return OK;
	struct str s = j_str(&c->arena, v);
	return err_set(E_UPSTREAM, "vectors cannot be made at the moment, it is tried again: %.*s", STR_ARG(s));
}

static enum err wait_until_done(struct call *c, struct json *doc)
{
	struct progress p;
	enum err e = OK;
	char path[64];
	TRY(progress_begin(&p, c, "reindex", call_flag(c, "progress")));
	snprintf(path, sizeof path, "/cenote/v1/vectors?wait=indexed&wait_ms=%d", STEP_MS);
	while (e == OK && !finished(doc)) {
		e = ask(c, "GET", path, doc);
		if (e == OK)
			e = trouble(c, doc);
		if (e == OK) {
			int64_t done = number(doc, "documents") - number(doc, "pending");
			progress_tick(&p, done > 0 ? (uint64_t)done : 0, 0);
		}
	}
	progress_clear(&p);
	return e;
}

static enum err reindex(struct call *c)
{
	static const struct column cols[] = {{"model", "model", 0},	    {"next", "next", 0},
					     {"documents", "documents", 0}, {"done", "done", 0},
					     {"refused", "refused", 0},	    {"pending", "pending", 0},
					     {"counted", "counted", 0},	    {"reindexing", "reindexing", 0},
					     {"lag_ms", "lag_ms", 0},	    {"trouble", "trouble", 0}};
	bool status = call_has(c, "status");
	struct json doc;
	struct out o;
	TRY(peer_open(c));
	TRY(ask(c, status ? "GET" : "POST", status ? "/cenote/v1/vectors" : "/cenote/v1/vectors/reindex", &doc));
	if (call_has(c, "wait"))
		TRY(wait_until_done(c, &doc));
	out_begin(&o, c, cols, sizeof cols / sizeof *cols, "model", true);
	TRY(out_row(&o, json_root(&doc)));
	return out_end(&o);
}

int run_reindex(struct call *c)
{
	enum err e = reindex(c);
	return e == OK ? 0 : call_fail(c, e);
}
