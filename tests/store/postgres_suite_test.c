/* The conformance suite on PostgreSQL: the server in CENOTE_TEST_PG (a URL; tools/pg gives one), in schemas of its own that are
 * dropped at the end. With the argument compact: in the compact layout of checkpoints. Without the variable the program is skipped
 * (exit 77). */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/open.h"
#include "suite.h"

static const char *url;
static char schema[64];
static enum ckpt_layout layout;

static void die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

/* Drops every schema that begins with ours. */
static void drop_all(void)
{
	char text[512];
	PGconn *c = PQconnectdb(url);
	if (PQstatus(c) != CONNECTION_OK)
		die(PQerrorMessage(c));
	snprintf(text, sizeof text,
		 "SELECT format('DROP SCHEMA %%I CASCADE', nspname) FROM pg_namespace WHERE nspname = '%s' OR nspname LIKE "
		 "'%s\\_%%'",
		 schema, schema);
	PGresult *r = PQexec(c, text);
	PQclear(PQexec(c, "SET client_min_messages = error"));
	for (int i = 0; i < PQntuples(r); i++)
		PQclear(PQexec(c, PQgetvalue(r, i, 0)));
	PQclear(r);
	PQfinish(c);
}

static struct store *must_open(void)
{
	struct store_options opt = {.durable = true, .pg.schema = str_c(schema), .layout = layout};
	struct store *s;
	if (store_open(str_c(url), &opt, &s) != OK)
		die(diag_get()->text);
	return s;
}

static struct store *open_empty(void)
{
	drop_all();
	return must_open();
}

static struct store *reopen(struct store *s)
{
	s->ops->close(s);
	return must_open();
}

static void close_it(struct store *s)
{
	s->ops->close(s);
	drop_all();
}

int main(int argc, char **argv)
{
	static const struct suite_driver postgres = {
		.name = "postgres", .open_empty = open_empty, .reopen = reopen, .close = close_it};
	layout = argc > 1 && strcmp(argv[1], "compact") == 0 ? CKPT_LAYOUT_COMPACT : CKPT_LAYOUT_AUTO;
	url = getenv("CENOTE_TEST_PG");
	if (!url || !*url) {
		fprintf(stderr, "CENOTE_TEST_PG is not set: skipped\n");
		return 77;
	}
	snprintf(schema, sizeof schema, "suite%ld", (long)getpid());
	return suite_run(&postgres);
}
