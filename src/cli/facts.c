/* Facts on the command line: their flags, and history. */
#include "cli/facts.h"

#include <inttypes.h>

#include "base/clock.h"
#include "cli/out.h"
#include "cli/peer.h"
#include "core/memory.h"

/* States of one request: as values may be large, so many fit into an answer. */
#define HISTORY_PAGE 32

static const struct {
	const char *flag, *member;
} times[] = {{"valid-from", "valid_from"}, {"valid-to", "valid_to"}};

static enum err check_time(const struct call *c, const char *flag)
{
	const char *v = call_flag(c, flag);
	int64_t us;
	if (v && clock_parse(str_c(v), &us) != OK)
		return err_set(E_INVALID, "--%s must be RFC 3339, such as 2026-08-20T07:02:48Z, got \"%s\"", flag, v);
	return OK;
}

/* The i-th value of --supersedes from *at on; NULL: no more. */
static const char *next_key(const struct call *c, size_t *at)
{
	while (*at < c->flags_n) {
		size_t i = (*at)++;
		if (strcmp(c->flags[i].flag->name, "supersedes") == 0)
			return c->flags[i].value;
	}
	return NULL;
}

enum err fact_flags_check(const struct call *c)
{
	size_t at = 0, n = 0;
	for (size_t i = 0; i < 2; i++)
		TRY(check_time(c, times[i].flag));
	for (const char *k; (k = next_key(c, &at)) != NULL; n++)
		if (key_check(str_c(k), "--supersedes") != OK)
			return err_set(E_INVALID, "--supersedes: %s", diag_get()->text);
	return n <= SUPERSEDES_MAX ? OK : err_set(E_INVALID, "--supersedes is given at most %d times", SUPERSEDES_MAX);
}

struct str fact_query(struct call *c, struct str path)
{
	struct arena *a = &c->arena;
	size_t at = 0;
	for (size_t i = 0; i < 2; i++) {
		const char *v = call_flag(c, times[i].flag);
		struct str t = v ? url_encode(a, str_c(v)) : STR("");
		if (v)
			path = arena_printf(a, "%.*s&%s=%.*s", STR_ARG(path), times[i].member, STR_ARG(t));
	}
	for (const char *k; (k = next_key(c, &at)) != NULL;) {
		struct str t = url_encode(a, str_c(k));
		path = arena_printf(a, "%.*s&supersedes=%.*s", STR_ARG(path), STR_ARG(t));
	}
	return path;
}

void fact_members(const struct call *c, struct buf *b)
{
	size_t at = 0, n = 0;
	for (size_t i = 0; i < 2; i++) {
		const char *v = call_flag(c, times[i].flag);
		if (!v)
			continue;
		buf_printf(b, ",\"%s\":", times[i].member);
		json_quote(b, str_c(v));
	}
	for (const char *k; (k = next_key(c, &at)) != NULL; n++) {
		buf_lit(b, n ? "," : ",\"supersedes\":[");
		json_quote(b, str_c(k));
	}
	if (n)
		buf_byte(b, ']');
}

enum err fact_as_of(const struct call *c, struct str *out)
{
	const char *v = call_flag(c, "as-of");
	*out = v ? str_c(v) : (struct str){0};
	return check_time(c, "as-of");
}

/* --------------------------------------------------------------- history */

static enum err history(struct call *c)
{
	static const struct column cols[] = {{"RECORDED", "recorded_from", 0}, {"UNTIL", "recorded_to", 0},
					     {"VALID FROM", "valid_from", 0},  {"VALID TO", "valid_to", 0},
					     {"BY", "superseded_by", 40},      {"VALUE", "value", 80}};
	struct arena *a = &c->arena;
	struct str ns = url_encode(a, str_c(c->args[0])), key = url_encode(a, str_c(c->args[1])), cursor = {0};
	struct out o;
	int64_t limit;
	TRY(call_int(c, "limit", 1, 100000, 100, &limit));
	TRY(ns_check(str_c(c->args[0]), "NAMESPACE", false));
	TRY(key_check(str_c(c->args[1]), "KEY"));
	TRY(peer_open(c));
	out_begin(&o, c, cols, sizeof cols / sizeof *cols, "recorded_from", false);
	while (limit > 0) {
		struct http_reply r;
		struct json doc;
		struct jval v;
		int64_t want = limit < HISTORY_PAGE ? limit : HISTORY_PAGE;
		struct str path = arena_printf(a, "/cenote/v1/items/history?namespace=%.*s&key=%.*s&limit=%" PRId64 "%s%.*s",
					       STR_ARG(ns), STR_ARG(key), want, cursor.n ? "&cursor=" : "", STR_ARG(cursor));
		TRY(path.p ? OK : E_NOMEM);
		TRY(peer_call(c, "GET", path, NULL, str_of(NULL, 0), &r));
		TRY(reply_json(a, &r, &doc));
		struct jval data = j_get(json_root(&doc), STR("data")), next = j_get(json_root(&doc), STR("next_cursor"));
		if (!j_is(data, JSON_ARRAY))
			return err_set(E_UPSTREAM, "the server's answer has no data (is it a Cenote server?)");
		for (struct j_iter it = j_iter(data); j_next(&it, NULL, &v); limit--)
			TRY(out_row(&o, v));
		if (!j_is(next, JSON_STRING))
			break;
		cursor = url_encode(a, j_str(a, next));
	}
	return out_end(&o);
}

int run_history(struct call *c)
{
	enum err e = history(c);
	return e == OK ? 0 : call_fail(c, e);
}
