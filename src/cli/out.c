/* Printing rows. Tables are collected, because their widths are known at the end; everything else goes out at once. */
#include "cli/out.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/utf8.h"

#define ROWS_MAX 100000

void out_begin(struct out *o, struct call *c, const struct column *cols, size_t n, const char *id, bool single)
{
	*o = (struct out){.c = c, .cols = cols, .cols_n = n, .id = id, .fmt = c->output, .single = single};
	if (o->fmt == OUT_AUTO)
		o->fmt = isatty(1) ? OUT_TABLE : single ? OUT_JSON : OUT_NDJSON;
	if (o->fmt == OUT_JSON && !single)
		fputc('[', stdout);
	for (size_t i = 0; o->fmt == OUT_CSV && i < n; i++)
		printf("%s%s", i ? "," : "", cols[i].member);
	if (o->fmt == OUT_CSV)
		fputs("\r\n", stdout);
}

static struct str join_labels(struct arena *a, struct jval v)
{
	struct buf b;
	struct jval x;
	struct j_iter it = j_iter(v);
	buf_init(&b, a, 1 << 20);
	while (j_next(&it, NULL, &x)) {
		if (!j_is(x, JSON_STRING))
			return j_raw(v);
		if (b.n)
			buf_byte(&b, '.');
		buf_str(&b, j_str(a, x));
	}
	return buf_slice(&b);
}

struct str out_cell(struct arena *a, struct jval v)
{
	if (j_null(v))
		return STR("");
	struct str s = j_is(v, JSON_STRING) ? j_str(a, v) : j_is(v, JSON_ARRAY) ? join_labels(a, v) : j_raw(v);
	char *p = arena_cstr(a, s);
	if (p == NULL)
		return STR("");
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			p[i] = ' ';
	return str_of(p, s.n);
}

static size_t width_of(struct str s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* The first w characters, with an ellipsis when something was left out. */
static struct str shorten(struct arena *a, struct str s, size_t w)
{
	size_t n = 0, i = 0;
	if (w == 0 || width_of(s) <= w)
		return s;
	for (; i < s.n; i++) {
		if (((unsigned char)s.p[i] & 0xc0) != 0x80 && ++n == w)
			break;
	}
	struct str cut = arena_printf(a, "%.*s\xe2\x80\xa6", (int)i, s.p);
	return cut.p ? cut : STR("");
}

static void csv_cell(struct str s)
{
	bool quote = false;
	for (size_t i = 0; i < s.n && !quote; i++)
		quote = strchr(",\"\r\n", s.p[i]) != NULL;
	if (!quote) {
		fwrite(s.p, 1, s.n, stdout);
		return;
	}
	fputc('"', stdout);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			fputc('"', stdout);
		fputc(s.p[i], stdout);
	}
	fputc('"', stdout);
}

static enum err keep_row(struct out *o, struct jval obj)
{
	struct arena *a = &o->c->arena;
	if (o->rows == ROWS_MAX)
		return err_set(E_LIMIT, "a table has at most %d rows; use -o ndjson", ROWS_MAX);
	if (o->rows == o->cap) {
		size_t cap = o->cap ? o->cap * 2 : 64;
		o->cells = arena_grow(a, o->cells, o->cap * o->cols_n * sizeof *o->cells, cap * o->cols_n * sizeof *o->cells);
		if (o->cells == NULL)
			return E_NOMEM;
		o->cap = cap;
	}
	for (size_t i = 0; i < o->cols_n; i++)
		o->cells[o->rows * o->cols_n + i] =
			shorten(a, out_cell(a, j_get(obj, str_c(o->cols[i].member))), (size_t)o->cols[i].width);
	return OK;
}

static void print_text(struct out *o, struct jval obj)
{
	struct arena *a = &o->c->arena;
	for (size_t i = 0; i < o->cols_n; i++) {
		struct str cell = out_cell(a, j_get(obj, str_c(o->cols[i].member)));
		if (o->single)
			printf("%s: ", o->cols[i].title);
		else if (i)
			fputc('\t', stdout);
		printf("%.*s%s", STR_ARG(cell), o->single ? "\n" : "");
	}
	if (!o->single)
		fputc('\n', stdout);
}

enum err out_row(struct out *o, struct jval obj)
{
	struct arena *a = &o->c->arena;
	struct str raw = j_raw(obj);
	switch (o->fmt) {
	case OUT_TABLE:
		TRY(keep_row(o, obj));
		break;
	case OUT_JSON:
		printf("%s%.*s%s", o->rows ? ",\n " : "", STR_ARG(raw), o->single ? "\n" : "");
		break;
	case OUT_CSV:
		for (size_t i = 0; i < o->cols_n; i++) {
			if (i)
				fputc(',', stdout);
			csv_cell(out_cell(a, j_get(obj, str_c(o->cols[i].member))));
		}
		fputs("\r\n", stdout);
		break;
	case OUT_ID: {
		struct str id = out_cell(a, j_get(obj, str_c(o->id)));
		printf("%.*s\n", STR_ARG(id));
		break;
	}
	case OUT_TEXT:
		print_text(o, obj);
		break;
	default:
		printf("%.*s\n", STR_ARG(raw));
	}
	o->rows++;
	return ferror(stdout) ? err_set(E_IO, "cannot write to stdout: %s", strerror(errno)) : OK;
}

/* One object: members below each other. */
static void print_single(struct out *o)
{
	size_t w = 0;
	for (size_t i = 0; i < o->cols_n; i++)
		w = strlen(o->cols[i].title) > w ? strlen(o->cols[i].title) : w;
	for (size_t i = 0; i < o->cols_n; i++)
		printf("%s%-*s%s  %.*s\n", o->c->color_out ? "\033[1m" : "", (int)w, o->cols[i].title,
		       o->c->color_out ? "\033[0m" : "", STR_ARG(o->cells[i]));
}

static void print_line(const struct out *o, const struct str *cells, const size_t *w)
{
	for (size_t i = 0; i < o->cols_n; i++) {
		printf("%.*s", STR_ARG(cells[i]));
		if (i + 1 < o->cols_n)
			printf("%*s", (int)(w[i] - width_of(cells[i]) + 2), "");
	}
	fputc('\n', stdout);
}

static void print_table(struct out *o)
{
	size_t w[16] = {0};
	struct str titles[16];
	for (size_t i = 0; i < o->cols_n && i < 16; i++) {
		titles[i] = str_c(o->cols[i].title);
		w[i] = titles[i].n;
		for (size_t r = 0; r < o->rows; r++) {
			size_t n = width_of(o->cells[r * o->cols_n + i]);
			w[i] = n > w[i] ? n : w[i];
		}
	}
	fputs(o->c->color_out ? "\033[1m" : "", stdout);
	print_line(o, titles, w);
	fputs(o->c->color_out ? "\033[0m" : "", stdout);
	for (size_t r = 0; r < o->rows; r++)
		print_line(o, o->cells + r * o->cols_n, w);
}

enum err out_end(struct out *o)
{
	if (o->fmt == OUT_JSON && !o->single)
		fputs("]\n", stdout);
	if (o->fmt == OUT_TABLE && o->rows && o->single)
		print_single(o);
	else if (o->fmt == OUT_TABLE && o->rows)
		print_table(o);
	if (fflush(stdout) != 0 || ferror(stdout))
		return err_set(E_IO, "cannot write to stdout: %s", strerror(errno));
	return OK;
}
