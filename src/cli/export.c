/* `cenote export`: the server's lines between a header and a checksum. The header tells counts and the time of the newest change,
 * which are known at the end; so the lines wait in an unnamed file. */
#include "cli/peer.h"
#include "cli/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "cli/source.h"

#define OUT_CHUNK ((size_t)1 << 20)

struct export
{
	struct call *c;
	FILE *lines;
	struct buf tail;
	struct arena line;
	uint64_t items, messages, bytes;
	int64_t newest_us;
	struct progress bar;
};

static void newer(struct export *x, struct jval v)
{
	int64_t us;
	if (j_is(v, JSON_STRING) && clock_parse(j_str(&x->line, v), &us) == OK && us > x->newest_us)
		x->newest_us = us;
}

static enum err one_line(struct export *x, struct str text)
{
	struct json doc;
	arena_clear(&x->line);
	enum err e = json_parse(&x->line, text, &(struct json_limits){80, 2000000, SOURCE_PIECE_MAX, JSON_DUP_OK}, &doc);
	if (e != OK)
		return err_wrap(E_UPSTREAM, "the server sent a line that is not JSON");
	struct jval v = json_root(&doc);
	bool is_message = j_ok(j_get(v, STR("thread")));
	newer(x, j_get(v, is_message ? STR("time") : STR("updated_at")));
	x->items += !is_message;
	x->messages += is_message;
	x->bytes += text.n + 1;
	if (fwrite(text.p, 1, text.n, x->lines) != text.n || fputc('\n', x->lines) == EOF)
		return err_set(E_IO, "cannot write a temporary file: %s", strerror(errno));
	progress_tick(&x->bar, x->items + x->messages, 0);
	return OK;
}

static enum err on_piece(void *ctx, struct str piece)
{
	struct export *x = ctx;
	struct str line;
	while (piece.n) {
		bool whole = str_cut(piece, '\n', &line, &piece);
		/* Most lines lie wholly in the piece: no copy. */
		if (whole && x->tail.n == 0) {
			TRY(one_line(x, line));
			continue;
		}
		buf_str(&x->tail, line);
		if (x->tail.err != OK)
			return err_set(E_LIMIT, "a line of the server's answer is too long");
		if (!whole)
			break;
		TRY(one_line(x, buf_slice(&x->tail)));
		buf_clear(&x->tail);
	}
	return OK;
}

static enum err fetch(struct export *x)
{
	struct call *c = x->c;
	struct arena *a = &c->arena;
	const char *ns = call_flag(c, "namespace"), *kind = call_flag(c, "kind");
	struct http_client *h;
	struct http_reply r;
	struct str path = arena_printf(a, "/cenote/v1/export?kind=%.*s%s%.*s", STR_ARG(url_encode(a, str_c(kind ? kind : "all"))),
				       ns ? "&namespace=" : "", STR_ARG(ns ? url_encode(a, str_c(ns)) : str_of(NULL, 0)));
	TRY(path.p ? OK : E_NOMEM);
	TRY(peer_client(c, &h));
	enum err e = http_client_stream(h, a, path, on_piece, x, REPLY_LIMIT, &r);
	http_client_free(h);
	if (e == OK)
		e = reply_check(a, &r);
	if (e == OK && x->tail.n)
		e = err_set(E_UPSTREAM, "the server's answer ends within a line");
	return e;
}

static enum err put(FILE *out, struct sha256 *h, const char *p, size_t n)
{
	if (h)
		sha256_add(h, p, n);
	return fwrite(p, 1, n, out) == n ? OK : err_set(E_IO, "cannot write: %s", strerror(errno));
}

static enum err put_header(struct export *x, FILE *out, struct sha256 *h)
{
	char time[CLOCK_TEXT_MAX + 2] = "null", line[256];
	if (x->newest_us) {
		time[0] = '"';
		size_t n = clock_format(x->newest_us, CLOCK_MICROS_Z, time + 1);
		time[n + 1] = '"';
		time[n + 2] = '\0';
	}
	int n = snprintf(line, sizeof line, "{\"cenote_export\":1,\"items\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"time\":%s}\n",
			 x->items, x->messages, time);
	return put(out, h, line, (size_t)n);
}

static enum err put_lines(struct export *x, FILE *out, struct sha256 *h)
{
	char *chunk = arena_alloc(&x->c->arena, OUT_CHUNK);
	if (chunk == NULL)
		return E_NOMEM;
	if (fflush(x->lines) != 0 || fseeko(x->lines, 0, SEEK_SET) != 0)
		return err_set(E_IO, "cannot write a temporary file: %s", strerror(errno));
	for (size_t n; (n = fread(chunk, 1, OUT_CHUNK, x->lines)) > 0;)
		TRY(put(out, h, chunk, n));
	return ferror(x->lines) ? err_set(E_IO, "cannot read a temporary file: %s", strerror(errno)) : OK;
}

static enum err put_export(struct export *x, FILE *out)
{
	struct sha256 h;
	uint8_t sum[SHA256_BYTES];
	char hex[SHA256_HEX + 1], line[96];
	sha256_init(&h);
	enum err e = put_header(x, out, &h);
	if (e == OK)
		e = put_lines(x, out, &h);
	sha256_end(&h, sum);
	TRY(e);
	hex_encode(sum, sizeof sum, hex);
	int n = snprintf(line, sizeof line, "{\"sha256\":\"%s\"}\n", hex);
	TRY(put(out, NULL, line, (size_t)n));
	return fflush(out) == 0 ? OK : err_set(E_IO, "cannot write: %s", strerror(errno));
}

/* FILE.tmp, then renamed: an export that was cut off never has the name of a whole one. */
static enum err put_file(struct export *x, const char *name)
{
	struct str tmp = arena_printf(&x->c->arena, "%s.tmp", name);
	if (tmp.p == NULL)
		return E_NOMEM;
	int fd = open(tmp.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (out == NULL) {
		enum err e = err_set(E_IO, "%s: %s", tmp.p, strerror(errno));
		if (fd >= 0)
			close(fd);
		return e;
	}
	enum err e = put_export(x, out);
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

static FILE *unnamed_file(void)
{
	const char *dir = getenv("TMPDIR");
	char path[512];
	snprintf(path, sizeof path, "%.480s/cenote-export-XXXXXX", dir && *dir ? dir : "/tmp");
	int fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return NULL;
	unlink(path);
	FILE *f = fdopen(fd, "w+");
	if (f == NULL)
		close(fd);
	return f;
}

int run_export(struct call *c)
{
	struct export x = {.c = c};
	const char *to = call_flag(c, "to");
	buf_init(&x.tail, NULL, SOURCE_PIECE_MAX);
	arena_init(&x.line, (size_t)256 << 20);
	enum err e = OK;
	CHECK(progress_begin(&x.bar, c, "export", NULL));
	x.lines = unnamed_file();
	if (x.lines == NULL) {
		e = err_set(E_IO, "cannot make a temporary file: %s (TMPDIR says where)", strerror(errno));
		goto out;
	}
	CHECK(peer_open(c));
	CHECK(fetch(&x));
	progress_clear(&x.bar);
	CHECK(to ? put_file(&x, to) : put_export(&x, stdout));
	if (!c->quiet)
		fprintf(stderr, "cenote: exported %" PRIu64 " items and %" PRIu64 " messages\n", x.items, x.messages);
out:
	progress_clear(&x.bar);
	if (x.lines)
		fclose(x.lines);
	buf_release(&x.tail);
	arena_release(&x.line);
	return e == OK ? 0 : call_fail(c, e);
}
