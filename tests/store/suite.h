/* The conformance suite of core/store.h: every rule of the port once, for any driver. A driver's test program calls suite_run. */
#ifndef CENOTE_TESTS_STORE_SUITE_H
#define CENOTE_TESTS_STORE_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/thread_store.h"

struct suite_driver {
	const char *name;
	/* An empty store, nothing left of the one before. Aborts the program when it cannot. */
	struct store *(*open_empty)(void);
	/* Closes it and opens it again. */
	struct store *(*reopen)(struct store *s);
	void (*close)(struct store *s);
	bool same_bytes; /* values come back byte by byte (else: the same JSON) */
};

/* Runs everything; returns the number of failed tests. */
int suite_run(const struct suite_driver *d);

/* ------------------------------------------- shared by the suite's files */

extern const struct suite_driver *suite_driver;
extern struct store *S; /* the store of the running test */
int suite_setup(void **state);
int suite_teardown(void **state);
#define SUITE_TEST(f) cmocka_unit_test_setup_teardown(f, suite_setup, suite_teardown)
/* The parts (suite_item.c, suite_feed.c, suite_message.c, suite_tenant.c); each runs one group. */
int suite_items(void);
int suite_feed(void);
int suite_vectors(void);
int suite_messages(void);
int suite_tenants(void);
int suite_checkpoints(void);
int suite_entries(void);
int suite_threads(void);
int suite_facts(void);
int suite_histories(void);
int suite_texts(void);

extern const struct principal ALICE, BOB; /* tenants "alice" and "bob", all rights */
#define assert_ok(expr) assert_err(OK, expr)
#define assert_err(want, expr)                                                                                                     \
	do {                                                                                                                       \
		enum err got_ = (expr);                                                                                            \
		if (got_ != (want))                                                                                                \
			fail_msg("%s: %s (%s), expected %s", #expr, err_name(got_), diag_get()->text, err_name(want));             \
	} while (0)
#define assert_str(want, got) suite_assert_str(want, got, __FILE__, __LINE__)
void suite_assert_str(struct str want, struct str got, const char *file, int line);

/* Values: the same bytes, or the same JSON where the driver keeps no bytes. Threads may call it. */
bool suite_same(struct str want, struct str got);
#define assert_value(want, got) suite_assert_value(want, got, __FILE__, __LINE__)
void suite_assert_value(struct str want, struct str got, const char *file, int line);

struct item_write put_of(const char *ns, const char *key, const char *value);
/* Writes one and expects OK. */
void put(const char *ns, const char *key, const char *value);
void del(const char *ns, const char *key);
/* One write as given, not atomic; its own result is in w->err. */
void write1(struct item_write *w);
/* The value ("" : absent), valid until the next call. */
struct str get(const char *ns, const char *key);
/* The whole item; expects it to be there. Valid until the next call. */
struct item get_item(const char *ns, const char *key);
/* "ns:key ns:key ..." as scan or walk give them; valid until the next call. */
const char *scan(const char *prefix);
const char *walk(const char *prefix, const char *after_ns, const char *after_key);
const char *names(const char *prefix);

#endif
