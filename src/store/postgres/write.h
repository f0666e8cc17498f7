/* Private to the writing of items: write_item.c, put_sql.c, gather_item.c. */
#ifndef CENOTE_STORE_PG_WRITE_H
#define CENOTE_STORE_PG_WRITE_H

#include "store/postgres/pg.h"

/* One write of a call on its way into a statement. */
struct pg_row {
	struct item_write *w;
	int64_t created, updated, expires; /* PUT: what will be stored; TOUCH: updated is its time */
	enum pg_st st;			   /* the statement that does it */
	bool given;			   /* PUT: created was given, and replaces what is stored */
	uint32_t at;			   /* place in the call */
	uint32_t round;			   /* how many writes of the call to this name come before it */
	uint32_t first;			   /* place in the call of the first write to this name */
	int step;			   /* journal step that has it, and how many rows that step has */
	unsigned step_rows;
};
/* What is stored under a name, and what the journal says of an attempt that was made before. */
struct pg_seen {
	bool found;
	int64_t version, updated;
	double ttl_minutes;
	bool known;	/* the journal has the step */
	bool done;	/* with this item among its changes */
	int64_t done_n; /* changes of the step */
};

/* put_sql.c: statements, their parameters, their results. Rows are in byte order of the name, no name twice. */
extern const struct pg_stmt pg_write_lock; /* locks the rows that exist, in order */
/* A row that somebody has locked is waited for half a second, in this transaction; then it fails (55P03), so that those behind it
 * on the connection get their turn. */
extern const struct pg_stmt pg_write_patience;
void pg_row_init(struct pg_row *r, struct item_write *w, uint32_t at);
int pg_row_cmp(const struct pg_row *a, const struct pg_row *b); /* by name */
/* Rows that may be in one statement. */
bool pg_row_alike(const struct pg_row *a, const struct pg_row *b);
const struct pg_stmt *pg_write_stmt(enum pg_st st);
/* Items are deleted, or will not be indexed: pg_vectors_gone comes after. */
bool pg_rows_end_documents(struct pg_row *const *rows, size_t n);
/* After the statement that put them: rows of facts become such. */
#define PG_FACT_MAX "256"
extern const struct pg_stmt pg_fact_set;
void pg_fact_params(struct pg_params *p, struct pg_row *const *rows, size_t n);
/* guard: a condition that does not hold makes the statement fail with 22012. */
void pg_write_params(struct pg_params *p, int64_t op, int step, bool guard, struct pg_row *const *rows, size_t n);
void pg_names_params(struct pg_params *p, struct pg_row *const *rows, size_t n);
/* Reads what the statement answered into the writes. */
void pg_write_result(const PGresult *res, struct pg_row *const *rows, size_t n);
/* Whether the condition holds; when not, the write's err and the diagnostic say so. */
bool pg_holds(struct item_write *w, bool found, int64_t version);

/* ST_WRITE_LOOK: state of the rows' names; op 0: of no attempt. */
extern const struct pg_stmt pg_write_look;
void pg_look_params(struct pg_params *p, int64_t op, struct pg_row *const *rows, size_t n);
void pg_look_result(const PGresult *res, struct pg_seen *out, size_t n);

/* write_item.c: the call on its own, in a transaction of its own. */
enum err pg_write_alone(struct pg_tenant *t, struct item_write *w, size_t n, bool atomic) MUST_CHECK;
/* Results of a write that has landed, by what was found afterwards. */
void pg_recall(const struct pg_row *r, const struct pg_seen *seen, bool atomic);
/* An error of the server about the data: says which item it is about, when there is one only. */
enum err pg_name_item(enum err e, const struct item_write *w, size_t n);

/* gather_item.c: an unconditional write joins those of others. *alone: it was not written, because of another's write or of a lock;
 * it should be tried alone. */
#define PG_GATHER_ROWS 64
bool pg_gather_fits(const struct item_write *w, size_t n);
enum err pg_gather_write(struct pg_tenant *t, struct item_write *w, size_t n, bool *alone) MUST_CHECK;

#endif
