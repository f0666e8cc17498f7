/* A small world for tests of the PostgreSQL executor: a server (CENOTE_TEST_PG), a schema with an effect table and a journal, the
 * executor on it without the rest of the driver, and crowds of callers in fibers and threads. One per process. */
#ifndef CENOTE_TESTS_STORE_PG_WORLD_H
#define CENOTE_TESTS_STORE_PG_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bounds.h"
#include "pg_proxy.h"
#include "store/postgres/pg.h"

#define MS UINT64_C(1000000)
/* Inside fibers and threads, because cmocka's own leave by longjmp. */
#define EXPECT(cond)                                                                                                               \
	do {                                                                                                                       \
		if (!(cond)) {                                                                                                     \
			fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #cond, diag_get()->text);                  \
			abort();                                                                                                   \
		}                                                                                                                  \
	} while (0)

extern const char *url;
extern char schema[32], app[32];
extern PGconn *side; /* a connection beside the pool */
struct world {
	struct pg s;
	struct pg_tenant t;
};
extern struct world W;
extern struct pg_proxy *proxy; /* of proxy_before and begin_behind; end frees it */

PGresult *sql(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
long number(const char *fmt, const char *arg);
long effects(void);  /* rows that writes have left */
long backends(void); /* connections of the executor */
/* A proxy (also in `proxy`) to the server, and the words to connect through it. */
void proxy_before(enum pg_proxy_mode mode, char *to, size_t size);
/* Starts the executor; behind: through a proxy in that mode. end stops it. */
void begin(struct pg_options o);
void begin_behind(struct pg_options o, enum pg_proxy_mode mode);
void end(void);
/* The figure of a line of the metrics that begins so. */
long figure(const char *line);
uint64_t took_ms(uint64_t since);

/* Statements: twice n; 1 / n; waiting s seconds by a statement that takes one double; writing n after s seconds. */
extern const struct pg_stmt SLEEP, POINT_SLEEP;
enum err twice(int64_t n) MUST_CHECK;
enum err inverse(int64_t n) MUST_CHECK;
enum err pause_for(const struct pg_stmt *st, double s) MUST_CHECK;
extern const struct pg_stmt WRITE;
enum err write_one(int64_t n, double s, bool *repeated) MUST_CHECK;

/* fn(i) in n fibers on each of `loops` loops, and in `threads` threads; returns when all have ended. */
struct crowd {
	void (*fn)(unsigned i);
	unsigned fibers, loops, threads;
};
void crowd_run(struct crowd c);

/* Of a test that has failed. */
int world_teardown(void **state);
#define TEST(f) cmocka_unit_test_teardown(f, world_teardown)
/* main: 77 without a server; runs the tests (argv[1]: a filter), or bench when argv[1] is "bench" and there is one. */
int world_main(int argc, char **argv, int (*run)(void), int (*bench)(int argc, char **argv));

#endif
