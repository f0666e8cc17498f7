/* See import_sqlite.h: what both kinds of files share. */
#include "cli/import_sqlite.h"

#include <stdarg.h>

#include "cli/interrupt.h"

#define ANSWER_MAX ((size_t)1 << 30)

enum err sqlite_bad(struct sqlite_import *im, uint64_t n, const char *where, ...)
{
	const struct diag *d = diag_get();
	va_list args;

	im->failed += n;
	im->conflict = d->code == E_CONFLICT;
	if (im->bar->how == PROGRESS_BAR)
		fputs("\r\033[K", stderr);
	fprintf(stderr, "cenote: import: %s: ", im->file);
	va_start(args, where);
	vfprintf(stderr, where, args);
	va_end(args);
	fprintf(stderr, ": %s\n", d->text);
	return im->stop ? err_set(E_CANCELLED, "stopped at the first bad row") : OK;
}

enum err sqlite_row(struct sqlite_import *im)
{
	im->seen++;
	if (interrupt_pending()) {
		progress_clear(im->bar);
		fprintf(stderr, "cenote: import: %s: stopped; the same command goes on from there\n", im->file);
		return err_set(E_CANCELLED, "interrupted");
	}
	progress_tick(im->bar, im->stored + im->unchanged + im->failed,
		      im->rows ? (uint64_t)((double)im->bytes * (double)im->seen / (double)im->rows) : 0);
	return OK;
}

bool sqlite_refused(int status)
{
	return status == 400 || status == 404 || status == 409 || status == 413 || status == 422;
}

enum err sqlite_call(struct sqlite_import *im, struct arena *a, const char *method, struct str path, const char *type,
		     struct str body, struct http_reply *r, bool *refused)
{
	enum err e;

	*refused = false;
	if (!path.p)
		return E_NOMEM;
	TRY(http_client_call(im->http, a, method, path, type, body, ANSWER_MAX, r));
	e = reply_check(a, r);
	if (e == OK || !sqlite_refused(r->status))
		return e;
	*refused = true;
	return OK;
}

enum err import_sqlite(struct sqlite_import *im)
{
	static const enum foreign_kind all[] = {FOREIGN_CHECKPOINTS, FOREIGN_SESSIONS};
	struct foreign *f;
	unsigned kinds;
	enum err e;

	TRY(foreign_open(im->file, &f, &kinds));
	im->rows = im->seen = 0;
	for (size_t i = 0; i < 2; i++) {
		uint64_t n = 0;

		if (kinds & all[i])
			CHECK(foreign_count(f, all[i], &n));
		im->rows += n;
	}
	if (kinds & FOREIGN_CHECKPOINTS)
		CHECK(import_checkpoints(im, f));
	if (kinds & FOREIGN_SESSIONS)
		CHECK(import_sessions(im, f));
	e = foreign_settled(f);
out:
	foreign_close(f);
	return e;
}
