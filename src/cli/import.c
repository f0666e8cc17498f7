/* `cenote import`: files to readers, records to lanes; progress kept in the store, so that an interrupted import goes on. */
#include "cli/lanes.h"
#include "cli/import_sqlite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "cli/interrupt.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "core/portable.h"

#define TEXT_MAX ((size_t)64 << 20)
#define DEPTH_MAX 32
#define FILES_MAX 1000000
#define SAVE_EVERY_NS 1000000000ull

struct import {
	struct call *c;
	struct lanes *lanes; /* NULL: dry run */
	struct read_options ro;
	enum format format; /* asked for */
	bool skip_bad, dry, fail_conflict;
	_Atomic uint64_t first_bad; /* least bad unit of this file, UINT64_MAX: none */
	atomic_bool conflict;	    /* what stopped was an item that is there already */
	struct progress bar;
	struct origin_file *at; /* the file under way */
	struct source *src;	/* of it, NULL for text */
	uint64_t resume;	/* units up to this one are stored already */
	uint64_t last_unit, count;
	char id[SHA256_HEX + 1]; /* of the file's progress, "" : none is kept */
	uint64_t save_at;
	bool saved;
	uint64_t dry_ok, failed;
	struct sqlite_import sqlite; /* totals of SQLite files */
	struct arena line;	     /* dry run */
};

/* ------------------------------------------------------------- bad lines */

/* From the lanes' threads as well: looks at nothing else that changes. */
static bool report(void *ctx, const struct origin_file *from, uint64_t unit, struct str detail, struct str field)
{
	struct import *im = ctx;
	uint64_t least = atomic_load(&im->first_bad);
	while (unit < least && !atomic_compare_exchange_weak(&im->first_bad, &least, unit))
		;
	if (im->fail_conflict && memmem(detail.p, detail.n, "exists already", 14))
		atomic_store(&im->conflict, true);
	fprintf(stderr, "%scenote: import: %s: %s %" PRIu64 ": %.*s", im->bar.how == PROGRESS_BAR ? "\r\033[K" : "", from->file,
		from->unit, unit, STR_ARG(detail));
	if (field.n)
		fprintf(stderr, " (%.*s)", STR_ARG(field));
	fputc('\n', stderr);
	return im->skip_bad;
}

static enum err on_bad(void *ctx, uint64_t unit, enum err e)
{
	struct import *im = ctx;
	(void)e;
	if (unit <= im->resume)
		return OK; /* told by the run that was interrupted */
	im->failed++;
	struct diag d = *diag_get();
	return report(im, im->at, unit, str_c(d.text), str_c(d.field)) ? OK : err_set(E_CANCELLED, "stopped at the first bad line");
}

/* ---------------------------------------------------------------- resume */

/* Progress belongs to this content of this file, read with these options, on this tenant's store. */
static enum err progress_id(struct import *im, const struct stat *st, enum format f)
{
	char *real = realpath(im->at->file, NULL);
	struct str head, key;
	uint8_t sum[SHA256_BYTES];
	if (real == NULL)
		return err_set(E_IO, "%s: %s", im->at->file, strerror(errno));
	enum err e = source_peek(im->src, 65536, &head);
	sha256_of(str_sub(head, 0, 65536), sum);
	hex_encode(sum, sizeof sum, im->id);
	key = arena_printf(&im->c->arena, "%s|%lld|%lld.%09ld|%s|%d|%.*s|%d", real, (long long)st->st_size,
			   (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, im->id, (int)f, STR_ARG(im->ro.user),
			   im->ro.lenient);
	free(real);
	if (e != OK || key.p == NULL) {
		im->id[0] = '\0';
		return e != OK ? e : E_NOMEM;
	}
	sha256_of(key, sum);
	hex_encode(sum, sizeof sum, im->id);
	return OK;
}

static enum err progress_call(struct import *im, const char *method, struct str body, struct http_reply *r)
{
	/* Called once a second: what it needs is given back. */
	struct arena a;
	arena_init(&a, 1 << 20);
	struct str path = arena_printf(&a, "/cenote/v1/imports/%s", im->id);
	struct http_reply tmp = {0};
	enum err e = peer_call(im->c, method, path, NULL, body, r ? r : &tmp);
	arena_release(&a);
	return e;
}

static enum err load_progress(struct import *im)
{
	struct http_reply r = {0};
	struct json doc;
	int64_t n;
	enum err e = progress_call(im, "GET", str_of(NULL, 0), &r);
	if (e == E_NOT_FOUND)
		return OK;
	TRY(e);
	TRY(reply_json(&im->c->arena, &r, &doc));
	if (j_i64(j_get(json_root(&doc), STR("done")), &n) && n > 0) {
		im->resume = (uint64_t)n;
		im->saved = true;
		fprintf(stderr, "cenote: import: %s: resuming at %s %" PRId64 "\n", im->at->file, im->at->unit, n + 1);
	}
	return OK;
}

static enum err save_progress(struct import *im)
{
	uint64_t done = lanes_safe(im->lanes, im->last_unit), bad = atomic_load(&im->first_bad);
	/* A line that stopped the import is not done: it will be told again. */
	if (!im->skip_bad && bad <= done)
		done = bad - 1;
	char body[64];
	if (im->id[0] == '\0' || done <= im->resume)
		return OK;
	int n = snprintf(body, sizeof body, "{\"done\":%" PRIu64 "}", done);
	TRY(progress_call(im, "PUT", str_of(body, (size_t)n), NULL));
	im->saved = true;
	return OK;
}

/* --------------------------------------------------------------- records */

static enum err check_only(struct import *im, const struct record *r)
{
	struct json doc;
	struct message m;
	struct op_put put;
	arena_clear(&im->line);
	enum err e = json_parse(&im->line, r->json, &(struct json_limits){80, 2000000, SOURCE_PIECE_MAX, 0}, &doc);
	if (e == OK && r->is_message)
		e = message_from_json(&im->line, json_root(&doc), "", !im->ro.lenient, &m);
	else if (e == OK)
		e = item_from_json(&im->line, json_root(&doc), "", !im->ro.lenient, &put);
	if (e != OK)
		return on_bad(im, r->unit, e);
	im->dry_ok++;
	return OK;
}

static enum err on_record(void *ctx, const struct record *r)
{
	struct import *im = ctx;
	if (r->unit <= im->resume)
		return OK;
	im->count++;
	if (im->dry) {
		TRY(check_only(im, r));
	} else {
		im->last_unit = r->unit;
		TRY(lanes_push(im->lanes, r, im->at));
	}
	if ((im->count & 255) != 0)
		return OK;
	if (interrupt_pending())
		return err_set(E_CANCELLED, "interrupted");
	progress_tick(&im->bar, im->count, im->src ? im->src->consumed : 0);
	if (!im->dry && clock_mono_ns() >= im->save_at) {
		TRY(save_progress(im));
		im->save_at = clock_mono_ns() + SAVE_EVERY_NS;
	}
	return OK;
}

/* ----------------------------------------------------------------- files */

static enum err verify_file(struct import *im, int fd)
{
	struct source s;
	bool is_export;
	source_fd(&s, fd);
	enum err e = verify_export(&s, &is_export);
	source_release(&s);
	if (e == OK && lseek(fd, 0, SEEK_SET) != 0)
		e = err_set(E_IO, "cannot seek: %s", strerror(errno));
	return e;
}

static enum err read_whole(struct source *s, struct str *text)
{
	TRY(source_peek(s, TEXT_MAX, text));
	return text->n < TEXT_MAX ? OK : err_set(E_LIMIT, "is larger than %zu MiB", TEXT_MAX >> 20);
}

/* name: what a text item's path is; "" : its file name. */
static enum err read_source(struct import *im, enum format f, struct str name)
{
	const struct sink k = {on_record, on_bad, im};
	struct str text;
	if (f == FORMAT_CHATGPT)
		return read_chatgpt(im->src, &im->ro, &k);
	if (f == FORMAT_JSONL)
		return read_jsonl(im->src, &im->ro, &k);
	TRY(read_whole(im->src, &text));
	return read_text(text, name, &im->ro, &k);
}

/* After the last record: everything is answered for, or the place to go on from is noted. Text files are many and small: they are
 * answered for at the end of the command. */
static enum err finish(struct import *im, enum format f, enum err e)
{
	if (im->dry || (f == FORMAT_TEXT && e == OK))
		return e;
	struct diag d = *diag_get();
	bool cut = e == E_CANCELLED;
	if (e == OK || cut) {
		enum err sent = lanes_flush(im->lanes);
		if (e == OK && sent != OK) {
			e = sent;
			d = *diag_get();
		}
	}
	if (e == OK && im->saved)
		return progress_call(im, "DELETE", str_of(NULL, 0), NULL);
	if (e != OK && save_progress(im) == OK && im->saved && cut)
		fprintf(stderr, "cenote: import: %s: stopped; the same command goes on from there\n", im->at->file);
	if (e != OK)
		*diag_get() = d;
	return e;
}

/* Only by name: a WAL may lie beside it. The threads and sessions of the file become --user's. */
static enum err import_database(struct import *im, const struct stat *st, struct str head)
{
	struct call *c = im->c;
	const char *key = call_flag(c, "key");
	if (!S_ISREG(st->st_mode))
		return err_set(E_INVALID, "a SQLite file is read by its name, not from a pipe");
	if (!sqlite_head(head))
		return err_set(E_INVALID, "is not a SQLite file");
	im->at->unit = "row";
	im->sqlite.c = c;
	im->sqlite.file = im->at->file;
	im->sqlite.bar = &im->bar;
	im->sqlite.bytes = (uint64_t)st->st_size;
	if (!im->dry && !im->sqlite.http)
		TRY(http_client_new(peer_server(c), key ? str_c(key) : c->cfg.api_key, im->ro.user, (uint32_t)c->cfg.timeout,
				    &im->sqlite.http));
	return import_sqlite(&im->sqlite);
}

static enum err import_fd(struct import *im, int fd, struct str name)
{
	struct stat st;
	struct source src;
	enum format f = im->format;
	enum err e = OK;
	if (fstat(fd, &st) != 0)
		return err_set(E_IO, "%s: %s", im->at->file, strerror(errno));
	bool regular = S_ISREG(st.st_mode);
	source_fd(&src, fd);
	im->src = &src;
	im->resume = im->last_unit = 0;
	im->saved = false;
	atomic_store(&im->first_bad, UINT64_MAX);
	im->id[0] = '\0';
	progress_file(&im->bar, im->at->file, regular ? (uint64_t)st.st_size : 0);
	if (f == FORMAT_GUESS)
		CHECK(format_guess(&src, name, &f));
	if (f == FORMAT_SQLITE) {
		struct str head;
		CHECK(source_peek(&src, 16, &head));
		e = fd == 0 ? err_set(E_INVALID, "a SQLite file is read by its name, not from stdin")
			    : import_database(im, &st, head);
		goto out;
	}
	if (f == FORMAT_CHATGPT)
		im->at->unit = "conversation";
	if (f == FORMAT_JSONL && regular) {
		source_release(&src);
		if (lseek(fd, 0, SEEK_SET) != 0) {
			e = err_set(E_IO, "cannot seek: %s", strerror(errno));
			goto out;
		}
		CHECK(verify_file(im, fd));
		source_fd(&src, fd);
	}
	if (regular && f != FORMAT_TEXT && !im->dry) {
		CHECK(progress_id(im, &st, f));
		CHECK(load_progress(im));
	}
	e = finish(im, f, read_source(im, f, name));
out:
	source_release(&src);
	im->src = NULL;
	return e;
}

static enum err new_file(struct import *im, const char *path)
{
	struct origin_file *o = ARENA_NEW(&im->c->arena, struct origin_file);
	if (o == NULL)
		return E_NOMEM;
	*o = (struct origin_file){arena_cstr(&im->c->arena, str_c(path)), "line"};
	im->at = o;
	return o->file ? OK : E_NOMEM;
}

static enum err import_path(struct import *im, const char *path, struct str name)
{
	TRY(new_file(im, path));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: %s", path, strerror(errno));
	enum err e = import_fd(im, fd, name);
	close(fd);
	return e;
}

struct names {
	struct str *v;
	size_t n, cap;
};

static int by_name(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static enum err list_dir(struct arena *a, const char *dir, struct names *out)
{
	DIR *d = opendir(dir);
	if (d == NULL)
		return err_set(E_IO, "%s: %s", dir, strerror(errno));
	enum err e = OK;
	for (struct dirent *ent; e == OK && (ent = readdir(d)) != NULL;) {
		if (ent->d_name[0] == '.')
			continue; /* hidden files and the folder itself */
		if (out->n == out->cap) {
			size_t cap = out->cap ? out->cap * 2 : 64;
			out->v = arena_grow(a, out->v, out->cap * sizeof *out->v, cap * sizeof *out->v);
			out->cap = cap;
		}
		if (out->v == NULL || out->n == FILES_MAX)
			e = err_set(E_LIMIT, "%s: too many files", dir);
		else
			out->v[out->n++] = arena_str(a, str_c(ent->d_name));
	}
	closedir(d);
	if (out->n)
		qsort(out->v, out->n, sizeof *out->v, by_name);
	return e;
}

/* Text files below a folder, in order of their names; rel is the path below the folder given. */
static enum err import_dir(struct import *im, struct str dir, struct str rel, int depth)
{
	struct arena a;
	struct names names = {0};
	arena_init(&a, (size_t)256 << 20);
	enum err e = depth > DEPTH_MAX ? err_set(E_LIMIT, "%.*s: folders are nested too deep", STR_ARG(dir))
				       : list_dir(&a, dir.p, &names);
	for (size_t i = 0; e == OK && i < names.n; i++) {
		struct stat st;
		struct str path = arena_printf(&a, "%.*s/%.*s", STR_ARG(dir), STR_ARG(names.v[i]));
		struct str below = arena_printf(&a, "%.*s%s%.*s", STR_ARG(rel), rel.n ? "/" : "", STR_ARG(names.v[i]));
		if (path.p == NULL || below.p == NULL)
			e = E_NOMEM;
		else if (stat(path.p, &st) == 0 && S_ISDIR(st.st_mode))
			e = import_dir(im, path, below, depth + 1);
		else if (text_name(names.v[i]))
			e = import_path(im, path.p, below);
	}
	arena_release(&a);
	return e;
}

static struct str base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return str_c(slash ? slash + 1 : path);
}

static enum err import_arg(struct import *im, const char *arg)
{
	struct stat st;
	if (strcmp(arg, "-") == 0) {
		TRY(new_file(im, "-"));
		return import_fd(im, 0, STR("stdin"));
	}
	if (stat(arg, &st) == 0 && S_ISDIR(st.st_mode)) {
		struct str dir = arena_str(&im->c->arena, str_c(arg));
		while (dir.n > 1 && dir.p[dir.n - 1] == '/')
			dir.n--;
		dir = arena_str(&im->c->arena, dir);
		im->format = FORMAT_TEXT;
		return dir.p ? import_dir(im, dir, str_of(NULL, 0), 0) : E_NOMEM;
	}
	return import_path(im, arg, base_name(arg));
}

/* --------------------------------------------------------------- command */

static enum err choose(const struct call *c, const char *flag, const char *const *words, size_t n, size_t dflt, size_t *out)
{
	const char *v = call_flag(c, flag);
	*out = dflt;
	for (size_t i = 0; v && i < n; i++) {
		if (strcmp(v, words[i]) == 0) {
			*out = i;
			return OK;
		}
	}
	if (v == NULL)
		return OK;
	struct buf b;
	buf_init(&b, NULL, 256);
	for (size_t i = 0; i < n; i++)
		buf_printf(&b, "%s%s", i == 0 ? "" : i + 1 < n ? ", " : " or ", words[i]);
	enum err e = err_set(E_INVALID, "--%s is %.*s", flag, STR_ARG(buf_slice(&b)));
	buf_release(&b);
	return e;
}

static enum err prepare(struct import *im, struct str *path)
{
	static const char *const formats[] = {"jsonl", "chatgpt", "text", "sqlite"}, *const errors[] = {"stop", "skip"},
				 *const conflicts[] = {"replace", "skip", "fail"};
	struct call *c = im->c;
	const char *ns = call_flag(c, "namespace"), *user = call_flag(c, "user");
	size_t f, on_error, on_conflict;
	TRY(choose(c, "format", formats, 4, 4, &f));
	TRY(choose(c, "on-error", errors, 2, 2, &on_error));
	TRY(choose(c, "on-conflict", conflicts, 3, 3, &on_conflict));
	im->format = f == 4 ? FORMAT_GUESS : (enum format)(f + 1);
	/* What nobody asked for is another thing in SQLite files: their rows stand for themselves. */
	im->sqlite.stop = on_error == 0;
	im->sqlite.on_conflict = (enum on_conflict)on_conflict;
	on_error %= 2;
	on_conflict %= 3;
	im->skip_bad = on_error == 1;
	im->fail_conflict = on_conflict == 2;
	im->dry = call_has(c, "dry-run");
	im->ro = (struct read_options){call_has(c, "lenient"), str_c(user), ns ? str_c(ns) : STR("documents")};
	TRY(ns_check(im->ro.namespace_, "--namespace", false));
	*path = arena_printf(&c->arena, "/cenote/v1/import?on_conflict=%s&lenient=%s", conflicts[on_conflict],
			     im->ro.lenient ? "true" : "false");
	TRY(path->p ? OK : E_NOMEM);
	return progress_begin(&im->bar, c, "import", call_flag(c, "progress"));
}

static enum err print_totals(struct import *im, struct lanes_totals t)
{
	static const struct column cols[] = {{"stored", "stored", 0}, {"unchanged", "unchanged", 0}, {"failed", "failed", 0}};
	struct call *c = im->c;
	struct json doc;
	struct out o;
	struct str text = arena_printf(&c->arena, "{\"stored\":%" PRIu64 ",\"unchanged\":%" PRIu64 ",\"failed\":%" PRIu64 "%s}",
				       t.stored, t.unchanged, t.failed, im->dry ? ",\"dry_run\":true" : "");
	if (text.p == NULL)
		return E_NOMEM;
	TRY(json_parse(&c->arena, text, &json_default_limits, &doc));
	out_begin(&o, c, cols, 3, "stored", true);
	TRY(out_row(&o, json_root(&doc)));
	return out_end(&o);
}

int run_import(struct call *c)
{
	struct origin_file none = {"", "line"};
	struct import im = {.c = c, .at = &none};
	struct str path;
	struct lanes_totals t = {0};
	arena_init(&im.line, (size_t)128 << 20);
	enum err e = prepare(&im, &path);
	if (e == OK && !im.dry)
		e = peer_open(c);
	if (e == OK && !im.dry) {
		struct lanes_options lo = {path, report, &im};
		e = lanes_new(c, &lo, &im.lanes);
	}
	interrupt_cooperate();
	enum format asked = im.format;
	for (int i = 0; e == OK && i < c->argc; i++) {
		im.format = asked;
		e = import_arg(&im, c->args[i]);
	}
	if (e == OK && im.lanes)
		e = lanes_flush(im.lanes);
	progress_clear(&im.bar);
	if (im.lanes) {
		t = lanes_totals(im.lanes);
		lanes_free(im.lanes);
	}
	t.stored += im.dry_ok;
	t.failed += im.failed + im.sqlite.failed;
	t.stored += im.sqlite.stored;
	t.unchanged += im.sqlite.unchanged;
	if (im.sqlite.http)
		http_client_free(im.sqlite.http);
	arena_release(&im.line);
	if (e == E_CANCELLED && interrupt_pending())
		return interrupt_pending() == 2 ? 130 : 143;
	if (e == E_CANCELLED)
		e = err_set(atomic_load(&im.conflict) || im.sqlite.conflict ? E_CONFLICT : E_INVALID,
			    "%s: stopped at the first bad %s (--on-error skip goes on)", im.at->file, im.at->unit);
	else if (e != OK && im.at->file[0] && strstr(diag_get()->text, im.at->file) == NULL)
		e = err_wrap(e, "%s", im.at->file);
	if (e != OK)
		return call_fail(c, e);
	e = print_totals(&im, t);
	return e != OK ? call_fail(c, e) : t.failed ? 7 : 0;
}
