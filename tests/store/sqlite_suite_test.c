/* The conformance suite on SQLite. */
#include <stdio.h>
#include <stdlib.h>

#include "suite.h"
#include "temp_store.h"

static struct store *must_open(void)
{
	struct store *s;
	if (temp_open(NULL, &s) == OK)
		return s;
	fprintf(stderr, "the store could not be opened: %s\n", diag_get()->text);
	abort();
}

static struct store *open_empty(void)
{
	temp_new();
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
	temp_remove();
}

int main(void)
{
	static const struct suite_driver sqlite = {
		.name = "sqlite", .open_empty = open_empty, .reopen = reopen, .close = close_it, .same_bytes = true};
	return suite_run(&sqlite);
}
