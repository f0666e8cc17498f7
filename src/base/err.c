/* The diagnostic: one sentence about the last failure, per fiber or thread. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

static _Thread_local struct diag own = {.position = -1};
static _Thread_local struct diag *current;

struct diag *diag_get(void)
{
	return current ? current : &own;
}

void diag_use(struct diag *d)
{
	current = d;
}

static void reset(struct diag *d)
{
	d->code = OK;
	d->kind = ERR_PLAIN;
	d->retry_after_s = 0;
	d->position = -1;
	d->field[0] = 0;
	d->text[0] = 0;
}

void diag_clear(void)
{
	reset(diag_get());
}

/* Copies into an array of the diagnostic; what does not fit is cut between two characters. */
static void keep(char *to, size_t room, struct str s)
{
	struct str fits = utf8_cut(s, room - 1);

	if (fits.n)
		memmove(to, fits.p, fits.n);
	to[fits.n] = 0;
}

/* The arguments may point into the diagnostic itself, so the sentence is made aside. */
static void sentence(struct diag *d, const char *fmt, va_list ap)
{
	char text[sizeof d->text + 8];

	if (vsnprintf(text, sizeof text, fmt, ap) < 0)
		text[0] = 0;
	keep(d->text, sizeof d->text, str_c(text));
}

static void fill(enum err code, enum err_kind kind, const char *fmt, va_list ap)
{
	struct diag *d = diag_get();

	sentence(d, fmt, ap);
	d->code = code;
	d->kind = kind;
	d->retry_after_s = 0;
	d->position = -1;
	d->field[0] = 0;
}

enum err err_set(enum err code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(code, ERR_PLAIN, fmt, ap);
	va_end(ap);
	return code;
}

enum err err_kind(enum err code, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(code, kind, fmt, ap);
	va_end(ap);
	return code;
}

enum err err_field(enum err code, const char *field, int64_t position, const char *fmt, ...)
{
	struct diag *d = diag_get();
	char name[sizeof d->field];
	va_list ap;

	keep(name, sizeof name, str_c(field));
	va_start(ap, fmt);
	fill(code, ERR_PLAIN, fmt, ap);
	va_end(ap);
	keep(d->field, sizeof d->field, str_c(name));
	d->position = position;
	return code;
}

enum err err_wrap(enum err code, const char *fmt, ...)
{
	struct diag *d = diag_get();
	char text[2 * sizeof d->text + 8];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof d->text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return code;
	if ((size_t)n >= sizeof d->text)
		n = (int)utf8_cut(str_c(text), sizeof d->text - 4).n;
	if (d->text[0])
		snprintf(text + n, sizeof text - (size_t)n, ": %s", d->text);
	keep(d->text, sizeof d->text, str_c(text));
	d->code = code;
	return code;
}

const char *err_name(enum err code)
{
	static const char *const names[E_COUNT] = {
		[OK] = "ok",
		[E_INVALID] = "invalid",
		[E_NOT_FOUND] = "not_found",
		[E_CONFLICT] = "conflict",
		[E_DENIED] = "denied",
		[E_LIMIT] = "limit",
		[E_BUSY] = "busy",
		[E_TIMEOUT] = "timeout",
		[E_CANCELLED] = "cancelled",
		[E_UPSTREAM] = "upstream",
		[E_IO] = "io",
		[E_CORRUPT] = "corrupt",
		[E_INTERNAL] = "internal",
	};

	return (unsigned)code < E_COUNT ? names[code] : "unknown";
}
