/* What the files about functions of Unity Catalog share. */
#ifndef CENOTE_TOOL_UC_IMPL_H
#define CENOTE_TOOL_UC_IMPL_H

#include "databricks/sql.h"
#include "tool/uc.h"

#define UC_PARAMETERS_MAX 100
#define UC_DESCRIPTION_MAX 2048
#define UC_TYPE_MAX 4096 /* bytes of a type's text */
#define UC_PART_MAX 255	 /* of a name */

/* ---- uc_type.c: types of SQL. Pure computation ---- */
/* How an argument becomes the value of a parameter of a statement. */
enum uc_form {
	UC_TEXT,    /* as it is */
	UC_WHOLE,   /* in digits alone: 5.0 and 1e3 are whole numbers in JSON */
	UC_NUMBER,  /* as it is written */
	UC_BINARY,  /* base64: unbase64(:p) */
	UC_JSON,    /* lists, maps, structs: from_json(:p, TYPE) */
	UC_VARIANT, /* anything: parse_json(:p) */
};
struct uc_type {
	enum uc_form form;
	struct str sql;	 /* of the statement's parameter */
	struct str text; /* the type itself, without quotes and backslashes */
};
/* Reads a type as the catalog writes it ("decimal(10,2)", "array<struct<a:int>>") and writes what JSON schema has for it into the
 * object that w has begun. E_INVALID: there is nothing for it. */
enum err uc_type_read(struct arena *a, struct str text, struct jw *w, struct uc_type *out) MUST_CHECK;

/* ---- uc_function.c: a function as a tool. Pure computation ---- */
struct uc_parameter {
	struct str name; /* A-Z a-z 0-9 _ */
	struct uc_type type;
	bool optional;
};
struct uc_function {
	struct tool tool; /* first: what is called */
	struct str full;  /* CATALOG.SCHEMA.FUNCTION */
	bool table;	  /* its answer is a table */
	struct uc_parameter *v;
	size_t n;
};
/* The name as the model has it: dots become "__", what names of tools cannot have "_", and of a longer one the last TOOL_NAME_MAX
 * characters count. */
struct str uc_tool_name(struct arena *a, struct str full);
/* Of what the catalog says of f->full. All of f but full and ops lies in a, also when info does not. E_INVALID: why it cannot be
 * offered. */
enum err uc_function_read(struct arena *a, struct jval info, struct uc_function *f) MUST_CHECK;
/* The statement of a call with arguments that fit; its warehouse and limits are left alone. */
enum err uc_statement(const struct uc_function *f, struct arena *a, struct jval arguments, struct sql_statement *out) MUST_CHECK;

/* ---- uc_answer.c: what a call answers. Pure computation ---- */
struct uc_answer {
	const struct uc_function *f;
	struct arena *a;
	size_t most; /* bytes */
	struct buf out;
	size_t rows;
	bool cut; /* rows that were there are not in it */
};
void uc_answer_init(struct uc_answer *x, const struct uc_function *f, struct arena *a, size_t most);
enum err uc_answer_row(void *ctx, const struct sql_table *t, struct jval row, bool *enough) MUST_CHECK; /* a sql_row_fn */
enum err uc_answer_end(struct uc_answer *x, const struct sql_table *t, struct str *text) MUST_CHECK;

#endif
