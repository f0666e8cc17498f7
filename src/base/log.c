/* Log lines: made in a buffer, written with one write(2).
 *
 * Invariants
 *  1. A line never holds a line feed but the last byte: in both formats control characters are escaped.
 *  2. The limit's table is only touched under `lock`; no system call is made while it is held. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json/json.h"
#include "base/log_limit.h"

#define LINE_MAX_BYTES ((size_t)32768)

static atomic_int min_level = LOG_INFO;
static atomic_int line_format = LOG_TEXT;
static atomic_bool under_journal; /* text lines begin with the priority that systemd reads */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_limit limit;
static _Thread_local const struct log_field *context;
static _Thread_local size_t context_n;

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char journal_prefix[] = {'7', '6', '4', '3'};

void log_setup(enum log_level min, enum log_format format)
{
	atomic_store(&min_level, (int)min);
	atomic_store(&line_format, (int)format);
	atomic_store(&under_journal, getenv("JOURNAL_STREAM") != NULL);
}

void log_set_level(enum log_level min)
{
	atomic_store(&min_level, (int)min);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&min_level, memory_order_relaxed);
}

void log_context(const struct log_field *fields, size_t n)
{
	context = fields;
	context_n = fields ? n : 0;
}

size_t log_context_get(const struct log_field **fields)
{
	*fields = context;
	return context_n;
}

static void number(struct buf *b, const struct log_field *f)
{
	if (f->type == LOG_I64) {
		buf_i64(b, f->i);
	} else if (f->d >= -1e15 && f->d <= 1e15) {
		/* By hand, because printf's decimal point depends on the locale. */
		int64_t thousandths = (int64_t)(f->d * 1000 + (f->d < 0 ? -0.5 : 0.5));
		uint64_t size = thousandths < 0 ? -(uint64_t)thousandths : (uint64_t)thousandths;

		if (thousandths < 0)
			buf_byte(b, '-');
		buf_u64(b, size / 1000);
		buf_printf(b, ".%03u", (unsigned)(size % 1000));
	} else {
		buf_lit(b, "null");
	}
}

static void json_fields(struct buf *b, const struct log_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf_byte(b, ',');
		json_quote(b, str_c(fields[i].name));
		buf_byte(b, ':');
		if (fields[i].type == LOG_STR)
			json_quote(b, fields[i].s);
		else
			number(b, &fields[i]);
	}
}

static bool bare(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f || s.p[i] == '"' || s.p[i] == '\\' ||
		    s.p[i] == '=')
			return false;
	return s.n > 0;
}

static void text_fields(struct buf *b, const struct log_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf_byte(b, ' ');
		buf_lit(b, fields[i].name);
		buf_byte(b, '=');
		if (fields[i].type != LOG_STR)
			number(b, &fields[i]);
		else if (bare(fields[i].s))
			buf_str(b, fields[i].s);
		else
			json_quote(b, fields[i].s);
	}
}

static void make_line(struct buf *b, enum log_level level, const char *logger, const char *msg, const struct log_field *fields,
		      size_t n)
{
	bool json = atomic_load(&line_format) == LOG_JSON;
	char ts[CLOCK_TEXT_MAX];

	clock_format(clock_wall_us(), CLOCK_MILLIS_Z, ts);
	if (json) {
		buf_printf(b, "{\"ts\":\"%s\",\"level\":\"%s\",\"msg\":", ts, level_names[level]);
		json_quote(b, str_c(msg));
		buf_lit(b, ",\"logger\":");
		json_quote(b, str_c(logger));
		json_fields(b, context, context_n);
		json_fields(b, fields, n);
		buf_lit(b, "}\n");
		return;
	}
	if (atomic_load(&under_journal))
		buf_printf(b, "<%c>", journal_prefix[level]);
	buf_printf(b, "%s %-5s %s: %s", ts, level_names[level], logger, msg);
	text_fields(b, context, context_n);
	text_fields(b, fields, n);
	buf_byte(b, '\n');
}

static void write_all(struct str s)
{
	while (s.n) {
		ssize_t n = write(STDERR_FILENO, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		/* Nobody is left to be told when standard error is gone. */
		if (n <= 0)
			return;
		s = str_sub(s, (size_t)n, s.n);
	}
}

static void emit(enum log_level level, const char *logger, const char *msg, const struct log_field *fields, size_t n)
{
	int saved = errno;
	struct buf b;

	buf_init(&b, NULL, LINE_MAX_BYTES);
	make_line(&b, level, logger, msg, fields, n);
	if (b.err != OK) {
		/* Too long with its fields: the event matters more than they do. */
		const struct log_field *was = context;

		buf_clear(&b);
		context = NULL;
		make_line(&b, level, logger, msg, NULL, 0);
		context = was;
	}
	if (b.err == OK)
		write_all(buf_slice(&b));
	buf_release(&b);
	errno = saved;
}

void log_event(enum log_level level, const char *logger, const char *msg, const struct log_field *fields, size_t n)
{
	uint64_t now = clock_mono_ns();
	struct log_limit_slot owed;
	bool more, pass;

	if (level < log_get_level())
		return;
	if (level < LOG_WARN) {
		emit(level, logger, msg, fields, n);
		return;
	}
	do {
		pthread_mutex_lock(&lock);
		more = log_limit_report(&limit, now, &owed);
		pass = !more && log_limit_pass(&limit, level, msg, now);
		pthread_mutex_unlock(&lock);
		if (more) {
			const struct log_field counted[] = {LF_C("message", owed.msg), LF_INT("count", owed.left_out)};

			emit(owed.level, "log", "log lines suppressed", counted, 2);
		}
	} while (more);
	if (pass)
		emit(level, logger, msg, fields, n);
}

void log_flush(struct buf *pending)
{
	int saved = errno;

	write_all(buf_slice(pending));
	buf_clear(pending);
	errno = saved;
}

void log_collect(struct buf *pending, enum log_level level, const char *logger, const char *msg, const struct log_field *fields,
		 size_t n)
{
	size_t before = pending->n;

	if (level < log_get_level())
		return;
	make_line(pending, level, logger, msg, fields, n);
	if (pending->err == OK)
		return;
	/* Full, perhaps in the middle of this line: write the whole lines, and this one by itself. */
	pending->n = before;
	log_flush(pending);
	emit(level, logger, msg, fields, n);
}
