/* SQL statements on a warehouse of a workspace (contracts: databricks 7). */
#ifndef CENOTE_DATABRICKS_SQL_H
#define CENOTE_DATABRICKS_SQL_H

#include "databricks/workspace.h"

#define SQL_COLUMNS_MAX 1000

/* A name as a statement has it: in backticks, those in it doubled. In a. */
struct str sql_name(struct arena *a, struct str name);

struct sql_parameter {
	struct str name; /* stands as :name in the text */
	struct str type; /* "STRING", "DECIMAL(10,2)", ..: no lists, maps and structs */
	struct str value;
};
struct sql_statement {
	struct str warehouse;
	struct str text; /* without a value in it */
	const struct sql_parameter *v;
	size_t n;
	const struct trace_context *trace; /* as in struct outbound_request */
	size_t rows_max, bytes_max;	   /* that the workspace is to give at most; bytes as it counts them */
};
struct sql_column {
	struct str name;
	struct str type; /* "INT", "STRING", "ARRAY", .. */
};
struct sql_table {
	struct sql_column *columns;
	size_t columns_n;
	int64_t total;	/* rows that the workspace has for it; -1: it does not say */
	bool truncated; /* there would be more but for rows_max and bytes_max */
};
/* A row: a list with a text or null for each column. *enough: no more rows are wanted. */
typedef enum err (*sql_row_fn)(void *ctx, const struct sql_table *t, struct jval row, bool *enough);
/* Carries a statement out and hands on its rows. Within the fiber's deadline; given up before its end it is cancelled. E_DENIED:
 * not allowed; E_UPSTREAM: it failed, with what the workspace says of it; and those of workspace_call. Needs up to
 * WORKSPACE_SCRATCH of a. */
enum err sql_run(struct workspace *w, struct arena *a, const struct sql_statement *s, sql_row_fn fn, void *ctx,
		 struct sql_table *t) MUST_CHECK;

#endif
