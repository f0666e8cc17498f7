/* put, get, search, ls, rm, stats: each one or a few requests, and their answers printed. */
#include "cli/peer.h"
#include "cli/out.h"

#include <inttypes.h>
#include <unistd.h>

#include "cli/facts.h"
#include "cli/source.h"
#include "core/memory.h"
#include "core/session.h"

#define RM_BATCH 2000

static struct str item_path(struct call *c, const char *ns, const char *key)
{
	struct arena *a = &c->arena;
	struct str n = url_encode(a, str_c(ns)), k = url_encode(a, str_c(key));
	return arena_printf(a, "/cenote/v1/items?namespace=%.*s&key=%.*s", STR_ARG(n), STR_ARG(k));
}

/* ------------------------------------------------------------------- put */

static enum err read_stdin(struct call *c, struct str *out)
{
	struct source s;
	source_fd(&s, 0);
	struct str w;
	enum err e = source_peek(&s, VALUE_MAX_BYTES + 2, &w);
	if (e == OK && w.n > VALUE_MAX_BYTES)
		e = err_set(E_LIMIT, "the value is larger than %u bytes", VALUE_MAX_BYTES);
	if (e == OK) {
		*out = arena_str(&c->arena, w);
		e = out->p ? OK : E_NOMEM;
	}
	source_release(&s);
	return e;
}

/* What begins with `{` is JSON; everything else is a text. */
static enum err value_of(struct call *c, struct str *value)
{
	struct str v = str_c(c->argc > 2 ? c->args[2] : "-");
	struct json doc;
	if (str_eq(v, STR("-"))) {
		if (c->argc < 3 && isatty(0))
			return err_set(E_INVALID, "VALUE is missing: a JSON object, a text, or - for stdin");
		TRY(read_stdin(c, &v));
	}
	struct str t = str_trim(v);
	if (t.n && t.p[0] == '{') {
		TRY(json_parse(&c->arena, t, &json_default_limits, &doc));
		*value = t;
		return OK;
	}
	struct buf b;
	buf_init(&b, &c->arena, (size_t)VALUE_MAX_BYTES * 7);
	buf_lit(&b, "{\"text\":");
	json_quote(&b, t);
	buf_byte(&b, '}');
	*value = buf_slice(&b);
	return b.err;
}

/* The condition travels in a batch of one; atomic, so that what is superseded stays when it does not hold. */
static enum err put_absent(struct call *c, struct str value, double ttl_minutes)
{
	struct arena *a = &c->arena;
	struct buf b;
	struct jw w;
	struct http_reply r;
	TRY(ns_check(str_c(c->args[0]), "NAMESPACE", false));
	buf_init(&b, a, (size_t)VALUE_MAX_BYTES * 8);
	jw_init(&w, &b);
	buf_lit(&b, "{\"operations\":[{\"op\":\"put\",\"if_absent\":true,\"namespace\":");
	ns_to_json(&w, str_c(c->args[0]));
	buf_lit(&b, ",\"key\":");
	json_quote(&b, str_c(c->args[1]));
	if (ttl_minutes >= 0)
		buf_printf(&b, ",\"ttl_minutes\":%.6g", ttl_minutes);
	fact_members(c, &b);
	buf_printf(&b, ",\"value\":%.*s}]}", STR_ARG(value));
	TRY(b.err);
	enum err e = peer_call(c, "POST", STR("/cenote/v1/batch?atomic=true"), NULL, buf_slice(&b), &r);
	if (e == E_CONFLICT)
		return err_set(E_CONFLICT, "%s %s exists already", c->args[0], c->args[1]);
	TRY(e);
	if (!c->quiet)
		fprintf(stderr, "cenote: stored %s %s\n", c->args[0], c->args[1]);
	return OK;
}

static enum err put(struct call *c)
{
	struct arena *a = &c->arena;
	const char *ttl = call_flag(c, "ttl");
	struct str value, path;
	struct http_reply r;
	struct json doc;
	int64_t ms = 0;
	TRY(value_of(c, &value));
	if (ttl && parse_duration(str_c(ttl), &ms) != OK)
		return err_set(E_INVALID, "--ttl %s", diag_get()->text);
	TRY(fact_flags_check(c));
	TRY(peer_open(c));
	if (call_has(c, "if-absent"))
		return put_absent(c, value, ttl ? (double)ms / 60000.0 : -1);
	path = fact_query(c, item_path(c, c->args[0], c->args[1]));
	if (ttl)
		path = arena_printf(a, "%.*s&ttl_minutes=%.6g", STR_ARG(path), (double)ms / 60000.0);
	TRY(peer_call(c, "PUT", path, NULL, value, &r));
	TRY(reply_json(a, &r, &doc));
	if (c->output == OUT_AUTO) {
		if (!c->quiet)
			fprintf(stderr, "cenote: %s %s %s\n", r.status == 201 ? "stored" : "replaced", c->args[0], c->args[1]);
		return OK;
	}
	static const struct column cols[] = {
		{"namespace", "namespace", 0}, {"key", "key", 0}, {"version", "version", 0}, {"created", "created", 0}};
	struct out o;
	out_begin(&o, c, cols, 4, "key", true);
	TRY(out_row(&o, json_root(&doc)));
	return out_end(&o);
}

int run_put(struct call *c)
{
	enum err e = put(c);
	return e == OK ? 0 : call_fail(c, e);
}

/* ------------------------------------------------------------------- get */

static const struct column item_cols[] = {
	{"NAMESPACE", "namespace", 40}, {"KEY", "key", 40}, {"VALUE", "value", 80}, {"UPDATED", "updated_at", 0}};

static enum err get(struct call *c)
{
	struct http_reply r;
	struct json doc;
	struct str as_of, path = item_path(c, c->args[0], c->args[1]);
	TRY(fact_as_of(c, &as_of));
	if (as_of.p) {
		as_of = url_encode(&c->arena, as_of);
		path = arena_printf(&c->arena, "%.*s&as_of=%.*s", STR_ARG(path), STR_ARG(as_of));
	}
	TRY(peer_open(c));
	TRY(peer_call(c, "GET", path, NULL, str_of(NULL, 0), &r));
	TRY(reply_json(&c->arena, &r, &doc));
	struct jval v = j_get(json_root(&doc), STR("value"));
	if (c->output == OUT_AUTO && j_ok(v)) {
		printf("%.*s\n", STR_ARG(j_raw(v)));
		return fflush(stdout) == 0 ? OK : err_set(E_IO, "cannot write to stdout");
	}
	struct out o;
	out_begin(&o, c, item_cols, 4, "key", true);
	TRY(out_row(&o, json_root(&doc)));
	return out_end(&o);
}

int run_get(struct call *c)
{
	enum err e = get(c);
	return e == OK ? 0 : call_fail(c, e);
}

/* ---------------------------------------------------------------- search */

static enum err kinds_of(const struct call *c, const char **out)
{
	const char *k = call_flag(c, "kind");
	if (k == NULL || strcmp(k, "all") == 0)
		*out = call_has(c, "namespace") ? "[\"item\",\"fact\"]" : NULL;
	else if (strcmp(k, "items") == 0)
		*out = "[\"item\",\"fact\"]";
	else if (strcmp(k, "facts") == 0)
		*out = "[\"fact\"]";
	else if (strcmp(k, "messages") == 0)
		*out = "[\"message\"]";
	else
		return err_set(E_INVALID, "--kind is items, facts, messages or all");
	return OK;
}

static enum err question(struct call *c, struct str *out)
{
	struct buf b;
	buf_init(&b, &c->arena, 1 << 20);
	for (int i = 0; i < c->argc; i++) {
		buf_lit(&b, i ? " " : "");
		buf_lit(&b, c->args[i]);
	}
	*out = buf_slice(&b);
	if (c->argc == 0 || (c->argc == 1 && strcmp(c->args[0], "-") == 0)) {
		if (isatty(0))
			return err_set(E_INVALID, "TEXT is missing: what to search for");
		TRY(read_stdin(c, out));
	}
	return b.err;
}

static enum err recall_body(struct call *c, struct str *out)
{
	const char *kinds = NULL, *ns = call_flag(c, "namespace");
	int64_t limit;
	struct str text, as_of;
	struct buf b;
	struct jw w;
	TRY(kinds_of(c, &kinds));
	TRY(fact_as_of(c, &as_of));
	TRY(call_int(c, "limit", 1, 1000, 10, &limit));
	TRY(question(c, &text));
	buf_init(&b, &c->arena, 8 << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "query");
	jw_str(&w, str_trim(text));
	jw_key(&w, "limit");
	jw_i64(&w, limit);
	if (ns) {
		TRY(ns_check(str_c(ns), "--namespace", false));
		jw_key(&w, "namespaces");
		jw_arr(&w);
		ns_to_json(&w, str_c(ns));
		jw_end_arr(&w);
	}
	if (kinds) {
		jw_key(&w, "kinds");
		jw_raw(&w, str_c(kinds));
	}
	if (as_of.p) {
		jw_key(&w, "as_of");
		jw_str(&w, as_of);
	}
	jw_key(&w, "explain");
	jw_bool(&w, call_has(c, "explain"));
	jw_end_obj(&w);
	*out = buf_slice(&b);
	return b.err;
}

static enum err search(struct call *c)
{
	static const struct column cols[] = {
		{"SCORE", "score", 6}, {"KIND", "kind", 0}, {"ID", "id", 44}, {"TEXT", "text", 90}, {"EXPLAIN", "explain", 200}};
	struct str body;
	struct http_reply r;
	struct json doc;
	struct jval hit;
	struct out o;
	TRY(recall_body(c, &body));
	TRY(peer_open(c));
	TRY(peer_call(c, "POST", STR("/cenote/v1/recall"), NULL, body, &r));
	TRY(reply_json(&c->arena, &r, &doc));
	struct jval results = j_get(json_root(&doc), STR("results"));
	if (!j_is(results, JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's answer has no results (is it a Cenote server?)");
	out_begin(&o, c, cols, call_has(c, "explain") ? 5 : 4, "id", false);
	struct j_iter it = j_iter(results);
	while (j_next(&it, NULL, &hit))
		TRY(out_row(&o, hit));
	if (o.rows == 0 && !c->quiet && isatty(2))
		fprintf(stderr, "cenote: nothing found\n");
	TRY(out_end(&o));
	/* Why there are fewer than asked for, or that they were found by words alone: beside the results, for whoever reads them.
	 */
	if (j_is(j_get(json_root(&doc), STR("note")), JSON_STRING) && !c->quiet) {
		struct str note = j_str(&c->arena, j_get(json_root(&doc), STR("note")));

		fprintf(stderr, "cenote: %.*s\n", STR_ARG(note));
	}
	return OK;
}

int run_search(struct call *c)
{
	enum err e = search(c);
	return e == OK ? 0 : call_fail(c, e);
}

/* -------------------------------------------------------------------- ls */

/* Lists of the API come in pages; skip and limit are the command's. */
static enum err list_pages(struct call *c, const char *route, struct out *o, int64_t skip, int64_t limit)
{
	struct arena *a = &c->arena;
	struct str cursor = {0};
	while (limit > 0) {
		struct http_reply r;
		struct json doc;
		struct jval v;
		struct str path = arena_printf(a, "%s?limit=%d%s%.*s", route, 500, cursor.n ? "&cursor=" : "", STR_ARG(cursor));
		TRY(peer_call(c, "GET", path, NULL, str_of(NULL, 0), &r));
		TRY(reply_json(a, &r, &doc));
		struct jval data = j_get(json_root(&doc), STR("data")), next = j_get(json_root(&doc), STR("next_cursor"));
		if (!j_is(data, JSON_ARRAY))
			return err_set(E_UPSTREAM, "the server's answer has no data (is it a Cenote server?)");
		struct j_iter it = j_iter(data);
		while (limit > 0 && j_next(&it, NULL, &v)) {
			if (skip-- > 0)
				continue;
			TRY(out_row(o, v));
			limit--;
		}
		if (!j_is(next, JSON_STRING))
			break;
		cursor = url_encode(a, j_str(a, next));
	}
	return OK;
}

static enum err list_items(struct call *c, struct out *o, int64_t skip, int64_t limit)
{
	struct arena *a = &c->arena;
	while (limit > 0) {
		int64_t want = limit < 500 ? limit : 500;
		struct buf b;
		struct jw w;
		struct http_reply r;
		struct json doc;
		struct jval item, result;
		uint32_t got = 0;
		buf_init(&b, a, 64 << 10);
		jw_init(&w, &b);
		buf_lit(&b, "{\"operations\":[{\"op\":\"search\",\"refresh_ttl\":false,\"namespace\":");
		ns_to_json(&w, str_c(c->args[0]));
		buf_printf(&b, ",\"limit\":%" PRId64 ",\"offset\":%" PRId64 "}]}", want, skip);
		TRY(b.err);
		TRY(peer_call(c, "POST", STR("/cenote/v1/batch"), NULL, buf_slice(&b), &r));
		TRY(reply_json(a, &r, &doc));
		struct j_iter results = j_iter(j_get(json_root(&doc), STR("results")));
		if (!j_next(&results, NULL, &result) || !j_is(j_get(result, STR("items")), JSON_ARRAY))
			return err_set(E_UPSTREAM, "the server's answer has no items");
		struct j_iter it = j_iter(j_get(result, STR("items")));
		for (; j_next(&it, NULL, &item); got++)
			TRY(out_row(o, item));
		if (got < want)
			break;
		skip += got;
		limit -= got;
	}
	return OK;
}

static enum err ls(struct call *c)
{
	static const struct column ns_cols[] = {{"NAMESPACE", "namespace", 0}};
	static const struct column thread_cols[] = {
		{"THREAD", "thread", 0}, {"USER", "user", 40}, {"MESSAGES", "messages", 0}, {"UPDATED", "updated_at", 0}};
	int64_t limit, skip;
	struct out o;
	bool threads = call_has(c, "threads");
	TRY(call_int(c, "limit", 1, 100000, 100, &limit));
	TRY(call_int(c, "offset", 0, 1000000, 0, &skip));
	if (threads && c->argc)
		return err_set(E_INVALID, "--threads takes no NAMESPACE");
	if (c->argc)
		TRY(ns_check(str_c(c->args[0]), "NAMESPACE", false));
	TRY(peer_open(c));
	if (threads) {
		out_begin(&o, c, thread_cols, 4, "thread", false);
		TRY(list_pages(c, "/cenote/v1/threads", &o, skip, limit));
	} else if (c->argc == 0) {
		out_begin(&o, c, ns_cols, 1, "namespace", false);
		TRY(list_pages(c, "/cenote/v1/namespaces", &o, skip, limit));
	} else {
		out_begin(&o, c, item_cols, 4, "key", false);
		TRY(list_items(c, &o, skip, limit));
	}
	return out_end(&o);
}

int run_ls(struct call *c)
{
	enum err e = ls(c);
	return e == OK ? 0 : call_fail(c, e);
}

/* -------------------------------------------------------------------- rm */

struct collect {
	struct call *c;
	struct buf tail; /* a line that has not come wholly yet */
	struct arena line;
	struct buf ops; /* delete operations, joined by commas */
	struct str *batches;
	size_t batches_n, in_batch;
	uint64_t count, states;
};

static enum err end_batch(struct collect *k)
{
	struct arena *a = &k->c->arena;
	if (k->in_batch == 0)
		return OK;
	struct str *v = arena_grow(a, k->batches, k->batches_n * sizeof *v, (k->batches_n + 1) * sizeof *v);
	if (v == NULL || k->ops.err != OK)
		return E_NOMEM;
	k->batches = v;
	v[k->batches_n] = arena_printf(a, "{\"operations\":[%.*s]}", STR_ARG(buf_slice(&k->ops)));
	if (v[k->batches_n].p == NULL)
		return E_NOMEM;
	k->batches_n++;
	k->in_batch = 0;
	buf_clear(&k->ops);
	return OK;
}

static enum err collect_line(struct collect *k, struct str text)
{
	struct json doc;
	arena_clear(&k->line);
	TRY(json_parse(&k->line, text, &(struct json_limits){80, 2000000, SOURCE_PIECE_MAX, JSON_DUP_OK}, &doc));
	struct jval ns = j_get(json_root(&doc), STR("namespace")), key = j_get(json_root(&doc), STR("key"));
	if (!j_ok(ns) || !j_ok(key))
		return OK;
	buf_printf(&k->ops, "%s{\"op\":\"delete\",\"namespace\":%.*s,\"key\":%.*s}", k->in_batch ? "," : "", STR_ARG(j_raw(ns)),
		   STR_ARG(j_raw(key)));
	if (j_ok(j_get(json_root(&doc), STR("recorded_to"))))
		k->states++; /* of a history, which goes with its key, whether the item is there or superseded */
	else
		k->count++;
	return ++k->in_batch == RM_BATCH ? end_batch(k) : OK;
}

static enum err collect_piece(void *ctx, struct str piece)
{
	struct collect *k = ctx;
	struct str line;
	while (piece.n) {
		bool whole = str_cut(piece, '\n', &line, &piece);
		buf_str(&k->tail, line);
		if (k->tail.err != OK)
			return err_set(E_LIMIT, "a line of the server's answer is too long");
		if (!whole)
			break;
		TRY(collect_line(k, buf_slice(&k->tail)));
		buf_clear(&k->tail);
	}
	return OK;
}

/* All items in and below a namespace, as batches of delete operations. */
static enum err collect_all(struct collect *k)
{
	struct call *c = k->c;
	struct http_client *h;
	struct http_reply r;
	struct str ns = url_encode(&c->arena, str_c(c->args[0]));
	struct str path = arena_printf(&c->arena, "/cenote/v1/export?kind=items&namespace=%.*s", STR_ARG(ns));
	TRY(path.p ? OK : E_NOMEM);
	TRY(peer_client(c, &h));
	enum err e = http_client_stream(h, &c->arena, path, collect_piece, k, REPLY_LIMIT, &r);
	if (e == OK)
		e = reply_check(&c->arena, &r);
	if (e == OK)
		e = end_batch(k);
	http_client_free(h);
	return e;
}

/* what: "delete ..." */
static enum err tell(struct call *c, bool dry, const char *what)
{
	if (!c->quiet && dry)
		fprintf(stderr, "cenote: would %s\n", what);
	else if (!c->quiet)
		fprintf(stderr, "cenote: deleted%s\n", what + strlen("delete"));
	return OK;
}

static enum err rm_namespace(struct call *c)
{
	struct collect k = {.c = c};
	struct http_reply r;
	buf_init(&k.tail, NULL, SOURCE_PIECE_MAX);
	buf_init(&k.ops, NULL, 64 << 20);
	arena_init(&k.line, (size_t)256 << 20);
	enum err e = collect_all(&k);
	struct str what = arena_printf(&c->arena, "delete %" PRIu64 " items in and below %s", k.count, c->args[0]);
	if (k.states)
		what = arena_printf(&c->arena, "delete %" PRIu64 " items and %" PRIu64 " states of their history in and below %s",
				    k.count, k.states, c->args[0]);
	if (e == OK && what.p == NULL)
		e = E_NOMEM;
	if (e == OK && k.count + k.states == 0)
		e = err_set(E_NOT_FOUND, "there is no item in or below %s", c->args[0]);
	bool dry = call_has(c, "dry-run");
	if (e == OK && !dry)
		e = call_confirm(c, what.p);
	for (size_t i = 0; e == OK && !dry && i < k.batches_n; i++)
		e = peer_call(c, "POST", STR("/cenote/v1/batch"), NULL, k.batches[i], &r);
	if (e == OK)
		e = tell(c, dry, what.p);
	buf_release(&k.tail);
	buf_release(&k.ops);
	arena_release(&k.line);
	return e;
}

static enum err rm_one(struct call *c, const char *method_path, const char *probe, const char *what)
{
	struct http_reply r;
	/* Look first: what is not there is said before anything is asked. */
	TRY(peer_call(c, "GET", str_c(probe), NULL, str_of(NULL, 0), &r));
	if (call_has(c, "dry-run"))
		return tell(c, true, what);
	TRY(call_confirm(c, what));
	TRY(peer_call(c, "DELETE", str_c(method_path), NULL, str_of(NULL, 0), &r));
	return tell(c, false, what);
}

static enum err rm(struct call *c)
{
	struct arena *a = &c->arena;
	const char *thread = call_flag(c, "thread");
	if (thread ? c->argc != 0 : c->argc == 0)
		return err_set(E_INVALID, "say NAMESPACE KEY, or -r NAMESPACE, or --thread THREAD");
	if (c->argc == 1 && !call_has(c, "recursive"))
		return err_set(E_INVALID, "to remove everything in and below %s say -r", c->args[0]);
	if (c->argc)
		TRY(ns_check(str_c(c->args[0]), "NAMESPACE", false));
	TRY(peer_open(c));
	if (thread) {
		struct str t = url_encode(a, str_c(thread)), del = arena_printf(a, "/cenote/v1/threads/%.*s", STR_ARG(t));
		struct str probe = arena_printf(a, "%.*s/messages?limit=1", STR_ARG(del));
		struct str what = arena_printf(a, "delete the thread %s with its messages", thread);
		return del.p && probe.p && what.p ? rm_one(c, del.p, probe.p, what.p) : E_NOMEM;
	}
	if (c->argc == 1)
		return rm_namespace(c);
	struct str path = item_path(c, c->args[0], c->args[1]);
	struct str probe = arena_printf(a, "%.*s&refresh_ttl=false", STR_ARG(path));
	struct str what = arena_printf(a, "delete the item %s %s", c->args[0], c->args[1]);
	return path.p && probe.p && what.p ? rm_one(c, path.p, probe.p, what.p) : E_NOMEM;
}

int run_rm(struct call *c)
{
	enum err e = rm(c);
	if (e == E_CANCELLED) {
		fprintf(stderr, "cenote: %s\n", diag_get()->text);
		return 1;
	}
	return e == OK ? 0 : call_fail(c, e);
}

/* ----------------------------------------------------------------- stats */

static enum err stats(struct call *c)
{
	static const struct column cols[] = {{"tenant", "tenant", 0},
					     {"store", "store", 0},
					     {"items", "items", 0},
					     {"namespaces", "namespaces", 0},
					     {"threads", "threads", 0},
					     {"messages", "messages", 0},
					     {"checkpoints", "checkpoints", 0},
					     {"entries", "entries", 0},
					     {"expiring", "expiring", 0},
					     {"bytes", "bytes", 0},
					     {"background", "background", 0}};
	struct http_reply r;
	struct json doc;
	struct out o;
	TRY(peer_open(c));
	TRY(peer_call(c, "GET", STR("/cenote/v1/stats"), NULL, str_of(NULL, 0), &r));
	TRY(reply_json(&c->arena, &r, &doc));
	out_begin(&o, c, cols, sizeof cols / sizeof *cols, "tenant", true);
	TRY(out_row(&o, json_root(&doc)));
	return out_end(&o);
}

int run_stats(struct call *c)
{
	enum err e = stats(c);
	return e == OK ? 0 : call_fail(c, e);
}
