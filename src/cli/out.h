/* What commands print on stdout: objects of the HTTP API as table, JSON, JSON Lines, CSV, text or ids. */
#ifndef CENOTE_CLI_OUT_H
#define CENOTE_CLI_OUT_H

#include "base/json/json.h"
#include "cli/cmd.h"

struct column {
	const char *title;
	const char *member; /* of the object */
	int width;	    /* at most so many characters in a table, 0: no limit */
};

struct out {
	struct call *c;
	const struct column *cols;
	size_t cols_n;
	const char *id; /* member for -o id */
	enum output fmt;
	size_t rows, cap;
	struct str *cells; /* table: rows * cols_n, collected until the end */
	bool single;
};

/* single: the command prints one object, not a list (JSON: no array around it; default in a pipe: json). */
void out_begin(struct out *o, struct call *c, const struct column *cols, size_t n, const char *id, bool single);
enum err out_row(struct out *o, struct jval obj) MUST_CHECK;
/* Ends the list; E_IO when stdout could not take it. */
enum err out_end(struct out *o) MUST_CHECK;
/* A JSON value as one line of text: strings bare, arrays of strings with dots, null empty. Control characters become blanks. */
struct str out_cell(struct arena *a, struct jval v);

#endif
