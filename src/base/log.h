/* Logging: one event, one line on stderr, JSON or text. The message is a constant sentence; what varies goes into fields. Never log
 * memory text, queries, message contents, tokens or passwords. Thread-safe: a line is one write(2).
 *
 * A given warning or error is written at most 20 times a second; a line "log lines suppressed" with the count follows. Debug and
 * info lines are never held back; those that come in masses (one a request) are collected and written together. */
#ifndef CENOTE_BASE_LOG_H
#define CENOTE_BASE_LOG_H

#include "base/buf.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

void log_setup(enum log_level min, enum log_format format);
void log_set_level(enum log_level min);
enum log_level log_get_level(void);

struct log_field {
	const char *name;
	enum { LOG_STR, LOG_I64, LOG_MS } type; /* LOG_MS: a double printed with three decimals */
	struct str s;
	int64_t i;
	double d;
};
#define LF_STR(name, v) ((struct log_field){(name), LOG_STR, (v), 0, 0})
#define LF_C(name, v) ((struct log_field){(name), LOG_STR, str_c(v), 0, 0})
#define LF_INT(name, v) ((struct log_field){(name), LOG_I64, {0}, (v), 0})
#define LF_MS(name, v) ((struct log_field){(name), LOG_MS, {0}, 0, (v)})

/* Fields of the request under way, put into every line until cleared; NULL clears. Kept by pointer, per thread; rt switches it with
 * the fiber. */
void log_context(const struct log_field *fields, size_t n);
/* What log_context set last on this thread; returns the count. For rt, which keeps it over a switch. */
size_t log_context_get(const struct log_field **fields);
void log_event(enum log_level level, const char *logger, const char *msg, const struct log_field *fields, size_t n);
/* Like log_event without the limit, but into *pending, a heap buffer with the ceiling LOG_PENDING_MAX that one thread owns, and
 * that it writes with log_flush when its tick ends. Flushes by itself when the buffer is full. */
#define LOG_PENDING_MAX ((size_t)256 << 10)
void log_collect(struct buf *pending, enum log_level level, const char *logger, const char *msg, const struct log_field *fields,
		 size_t n);
void log_flush(struct buf *pending);
#define LOG(level, logger, msg, ...)                                                                                               \
	do {                                                                                                                       \
		if ((level) >= log_get_level()) {                                                                                  \
			const struct log_field log_f_[] = {__VA_ARGS__};                                                           \
			log_event((level), (logger), (msg), log_f_, sizeof log_f_ / sizeof log_f_[0]);                             \
		}                                                                                                                  \
	} while (0)

#endif
