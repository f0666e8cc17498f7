/* `cenote threads` fork, prune, rm, export, import: changing threads, and taking them elsewhere. */
#include "cli/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "cli/source.h"
#include "cli/thread_text.h"

#define IMPORT_MAX ((size_t)1 << 30)

static void str_member(struct buf *b, const char *name, struct str s)
{
	buf_printf(b, "%s\"%s\":", b->n > 1 ? "," : "", name);
	json_quote(b, s);
}

/* --------------------------------------------------------------------- fork */

static enum err fork_thread(struct call *c)
{
	static const struct column cols[] = {{"thread", "thread", 0}, {"ns", "ns", 0}, {"checkpoint_id", "checkpoint_id", 0}};
	const char *ns = call_flag(c, "ns"), *to = call_flag(c, "to");
	struct jval made;
	struct str id;
	struct buf b;
	struct out o;

	TRY(peer_open(c));
	TRY(resolve_id(c, c->args[0], ns ? ns : "", c->argc > 1 ? c->args[1] : NULL, &id));
	buf_init(&b, &c->arena, 64 << 10);
	buf_byte(&b, '{');
	if (id.n > 0)
		str_member(&b, "checkpoint_id", id);
	if (ns)
		str_member(&b, "ns", str_c(ns));
	if (to)
		str_member(&b, "to", str_c(to));
	buf_byte(&b, '}');
	TRY(b.err);
	TRY(send_json(c, "POST", thread_path(c, c->args[0], "/fork"), buf_slice(&b), &made));
	out_begin(&o, c, cols, 3, "checkpoint_id", true);
	TRY(out_row(&o, made));
	return out_end(&o);
}

int run_threads_fork(struct call *c)
{
	return ended(c, fork_thread(c));
}

/* -------------------------------------------------------------------- prune */

struct pruned {
	int64_t threads, checkpoints, bytes;
};

/* --keep-last and its like, as members. */
static enum err policy_members(struct call *c, struct buf *b)
{
	static const struct {
		const char *flag, *member;
		int64_t min, max;
	} t[] = {{"keep-last", "keep_last", 1, 1000000},
		 {"keep-days", "keep_days", 0, 36500},
		 {"keep-every", "keep_every", 1, 1000000}};
	const char *strategy = call_flag(c, "strategy");
	int64_t n;

	for (size_t i = 0; i < 3; i++) {
		TRY(call_int(c, t[i].flag, t[i].min, t[i].max, -1, &n));
		if (n >= 0)
			buf_printf(b, ",\"%s\":%" PRId64, t[i].member, n);
	}
	if (strategy)
		str_member(b, "strategy", str_c(strategy));
	else if (!call_has(c, "keep-last") && !call_has(c, "keep-days") && !call_has(c, "keep-every"))
		return err_set(E_INVALID, "say what stays: --keep-last N, --keep-days N, --keep-every N or --strategy WHAT");
	return OK;
}

static enum err prune_body(struct call *c, bool dry_run, struct str after, struct str *out)
{
	const char *prefix = call_has(c, "all") ? "" : call_flag(c, "prefix");
	struct buf b;

	if ((c->argc > 0) + call_has(c, "all") + call_has(c, "prefix") != 1)
		return err_set(E_INVALID, "say which: THREAD..., --prefix PREFIX or --all");
	buf_init(&b, &c->arena, 4 << 20);
	buf_printf(&b, "{\"dry_run\":%s", dry_run ? "true" : "false");
	TRY(policy_members(c, &b));
	if (prefix)
		str_member(&b, "prefix", str_c(prefix));
	else
		buf_lit(&b, ",\"threads\":[");
	for (int i = 0; !prefix && i < c->argc; i++) {
		buf_lit(&b, i ? "," : "");
		json_quote(&b, str_c(c->args[i]));
	}
	if (!prefix)
		buf_byte(&b, ']');
	if (after.n > 0)
		str_member(&b, "after", after);
	buf_byte(&b, '}');
	*out = buf_slice(&b);
	return b.err;
}

/* Over all pages; rows to o, when it is not NULL. */
static enum err prune_pages(struct call *c, bool dry_run, struct out *o, struct pruned *sum)
{
	struct str after = STR(""), body;
	struct jval r, v, rows, next;

	*sum = (struct pruned){0};
	do {
		TRY(prune_body(c, dry_run, after, &body));
		TRY(send_json(c, "POST", STR("/cenote/v1/threads/prune"), body, &r));
		rows = j_get(r, STR("threads"));
		if (!j_is(rows, JSON_ARRAY))
			return err_set(E_UPSTREAM, "the server's answer has no threads (is it a Cenote server?)");
		for (struct j_iter it = j_iter(rows); j_next(&it, NULL, &v);) {
			int64_t checkpoints = 0, bytes = 0;

			(void)j_i64(j_get(v, STR("checkpoints")), &checkpoints);
			(void)j_i64(j_get(v, STR("bytes")), &bytes);
			sum->threads++;
			sum->checkpoints += checkpoints;
			sum->bytes += bytes;
			if (o)
				TRY(out_row(o, v));
		}
		next = j_get(r, STR("next"));
		after = j_is(next, JSON_STRING) ? j_str(&c->arena, next) : STR("");
	} while (after.n > 0);
	return OK;
}

static struct str say_pruned(struct call *c, const struct pruned *p)
{
	struct buf b;

	buf_init(&b, &c->arena, 256);
	buf_printf(&b, "remove %" PRId64 " checkpoint%s of %" PRId64 " thread%s, about ", p->checkpoints,
		   p->checkpoints == 1 ? "" : "s", p->threads, p->threads == 1 ? "" : "s");
	text_bytes(&b, p->bytes);
	return buf_slice(&b);
}

static enum err prune(struct call *c)
{
	static const struct column cols[] = {{"THREAD", "thread", 60},
					     {"CHECKPOINTS", "checkpoints", 0},
					     {"VALUES", "values", 0},
					     {"WRITES", "writes", 0},
					     {"BYTES", "bytes", 0}};
	bool dry = call_has(c, "dry-run");
	struct pruned sum;
	struct out o;

	TRY(peer_open(c));
	if (!dry) {
		TRY(prune_pages(c, true, NULL, &sum));
		if (sum.checkpoints > 0)
			TRY(call_confirm(c, arena_cstr(&c->arena, say_pruned(c, &sum))));
	}
	out_begin(&o, c, cols, 5, "thread", false);
	TRY(prune_pages(c, dry, &o, &sum));
	TRY(out_end(&o));
	if (!c->quiet)
		fprintf(stderr, "cenote: %s%.*s\n", dry ? "would " : "done: ", STR_ARG(say_pruned(c, &sum)));
	return OK;
}

int run_threads_prune(struct call *c)
{
	return ended(c, prune(c));
}

/* ----------------------------------------------------------------------- rm */

struct names {
	struct call *c;
	struct str *v;
	size_t n, cap;
};

static enum err add_name(void *ctx, struct jval row)
{
	struct names *k = ctx;

	if (k->n == k->cap) {
		size_t cap = k->cap ? k->cap * 2 : 64;
		struct str *grown = arena_grow(&k->c->arena, k->v, k->cap * sizeof *grown, cap * sizeof *grown);

		if (!grown)
			return E_NOMEM;
		k->v = grown;
		k->cap = cap;
	}
	k->v[k->n] = j_str(&k->c->arena, j_get(row, STR("thread")));
	return k->v[k->n++].p ? OK : E_NOMEM;
}

/* What is not there is said before anything is asked. */
static enum err names_to_remove(struct call *c, struct names *k)
{
	const char *prefix = call_flag(c, "prefix");
	struct jval info;

	*k = (struct names){.c = c};
	if ((c->argc > 0) == (prefix != NULL))
		return err_set(E_INVALID, "say which: THREAD..., or --prefix PREFIX");
	if (prefix && !*prefix)
		return err_set(E_INVALID, "--prefix must not be empty: that would be everything");
	TRY(peer_open(c));
	if (prefix) {
		struct str p = url_encode(&c->arena, str_c(prefix));

		return each_row(c, arena_printf(&c->arena, "/cenote/v1/threads?prefix=%.*s&", STR_ARG(p)), INT64_MAX, add_name, k);
	}
	for (int i = 0; i < c->argc; i++) {
		TRY(get_json(c, thread_path(c, c->args[i], ""), &info));
		TRY(add_name(k, info));
	}
	return OK;
}

static enum err rm(struct call *c)
{
	struct names k;
	struct str what;
	struct jval none;

	TRY(names_to_remove(c, &k));
	what = k.n == 1 ? arena_printf(&c->arena, "delete the thread %.*s with everything in it", STR_ARG(k.v[0]))
			: arena_printf(&c->arena, "delete %zu threads with everything in them", k.n);
	if (!what.p)
		return E_NOMEM;
	if (call_has(c, "dry-run")) {
		for (size_t i = 0; i < k.n; i++)
			printf("%.*s\n", STR_ARG(k.v[i]));
		if (!c->quiet)
			fprintf(stderr, "cenote: would %s\n", what.p);
		return fflush(stdout) == 0 ? OK : err_set(E_IO, "cannot write to stdout: %s", strerror(errno));
	}
	if (k.n > 0)
		TRY(call_confirm(c, what.p));
	for (size_t i = 0; i < k.n; i++)
		TRY(send_json(c, "DELETE", thread_path(c, arena_cstr(&c->arena, k.v[i]), ""), str_of(NULL, 0), &none));
	if (!c->quiet)
		fprintf(stderr, "cenote: deleted %zu thread%s\n", k.n, k.n == 1 ? "" : "s");
	return OK;
}

int run_threads_rm(struct call *c)
{
	return ended(c, rm(c));
}

int run_sessions_rm(struct call *c)
{
	return ended(c, rm(c));
}

/* ------------------------------------------------------------------- export */

struct sink {
	FILE *out;
	uint64_t lines;
};

static enum err on_piece(void *ctx, struct str piece)
{
	struct sink *s = ctx;

	for (size_t i = 0; i < piece.n; i++)
		s->lines += piece.p[i] == '\n';
	return fwrite(piece.p, 1, piece.n, s->out) == piece.n ? OK : err_set(E_IO, "cannot write: %s", strerror(errno));
}

static enum err fetch_export(struct call *c, struct http_client *h, const char *thread, FILE *out, struct sink *s)
{
	struct http_reply r;

	*s = (struct sink){.out = out};
	TRY(http_client_stream(h, &c->arena, thread_path(c, thread, "/export"), on_piece, s, REPLY_LIMIT, &r));
	TRY(reply_check(&c->arena, &r));
	return fflush(out) == 0 ? OK : err_set(E_IO, "cannot write: %s", strerror(errno));
}

/* FILE.tmp, then renamed: an export that was cut off never has the name of a whole one. */
enum err threads_export_to(struct call *c, struct http_client *h, const char *thread, const char *name, uint64_t *lines)
{
	struct sink s;
	struct str tmp = arena_printf(&c->arena, "%s.tmp", name);
	int fd = tmp.p ? open(tmp.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
	enum err e;

	if (!out) {
		e = err_set(E_IO, "%s: %s", tmp.p ? tmp.p : name, strerror(errno));
		if (fd >= 0)
			close(fd);
		return e;
	}
	e = fetch_export(c, h, thread, out, &s);
	*lines = s.lines;
	if (e == OK && fsync(fd) != 0)
		e = err_set(E_IO, "%s: %s", tmp.p, strerror(errno));
	if (fclose(out) != 0 && e == OK)
		e = err_set(E_IO, "%s: %s", tmp.p, strerror(errno));
	if (e == OK && rename(tmp.p, name) != 0)
		e = err_set(E_IO, "%s: %s", name, strerror(errno));
	if (e != OK)
		unlink(tmp.p);
	return e;
}

static enum err export_thread(struct call *c)
{
	const char *to = call_flag(c, "to");
	struct http_client *h;
	struct sink s;
	enum err e;

	TRY(peer_open(c));
	TRY(peer_client(c, &h));
	e = to ? threads_export_to(c, h, c->args[0], to, &s.lines) : fetch_export(c, h, c->args[0], stdout, &s);
	http_client_free(h);
	TRY(e);
	if (!c->quiet)
		fprintf(stderr, "cenote: exported %s, %" PRIu64 " lines\n", c->args[0], s.lines);
	return OK;
}

int run_threads_export(struct call *c)
{
	return ended(c, export_thread(c));
}

/* ------------------------------------------------------------------- import */

static enum err read_file(struct call *c, const char *name, struct str *out)
{
	bool in = strcmp(name, "-") == 0;
	int fd = in ? 0 : open(name, O_RDONLY | O_CLOEXEC);
	struct str window = {0};
	struct source s;
	enum err e;

	if (fd < 0)
		return err_set(errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: %s", name, strerror(errno));
	source_fd(&s, fd);
	e = source_peek(&s, IMPORT_MAX + 1, &window);
	if (e == OK && window.n > IMPORT_MAX)
		e = err_set(E_LIMIT, "%s is larger than 1 GiB", name);
	if (e == OK) {
		*out = arena_str(&c->arena, window);
		e = out->p ? OK : E_NOMEM;
	}
	source_release(&s);
	if (!in)
		close(fd);
	return e;
}

static enum err import_thread(struct call *c)
{
	static const struct column cols[] = {
		{"thread", "thread", 0}, {"messages", "messages", 0}, {"entries", "entries", 0}, {"checkpoints", "checkpoints", 0}};
	const char *as = call_flag(c, "as");
	struct str text, name = url_encode(&c->arena, str_c(as));
	struct http_reply r;
	struct json doc;
	struct out o;

	TRY(read_file(c, c->args[0], &text));
	TRY(peer_open(c));
	TRY(peer_call(c, "POST", arena_printf(&c->arena, "/cenote/v1/threads/import%s%.*s", as ? "?to=" : "", STR_ARG(name)),
		      "application/x-ndjson", text, &r));
	TRY(reply_json(&c->arena, &r, &doc));
	out_begin(&o, c, cols, 4, "thread", true);
	TRY(out_row(&o, json_root(&doc)));
	return out_end(&o);
}

int run_threads_import(struct call *c)
{
	return ended(c, import_thread(c));
}
