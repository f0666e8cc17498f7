/* SQLSTATEs: what they are to a caller, and what can be done about them. */
#include "store/postgres/exec.h"

/* What the caller is told. A code of two characters stands for its class; the first that fits counts. */
static const struct kind {
	const char *code;
	enum err err;
	enum err_kind kind;
	bool later; /* worth another try: Retry-After */
	const char *text;
} kinds[] = {
	{"22P05", E_INVALID, ERR_PLAIN, false, "PostgreSQL cannot store a NUL character (\\u0000) in jsonb or text; remove it"},
	{"22021", E_INVALID, ERR_PLAIN, false, "PostgreSQL cannot store these bytes as text"},
	{"22003", E_INVALID, ERR_PLAIN, false, "a number is outside of what PostgreSQL can store"},
	{"22", E_INVALID, ERR_PLAIN, false, "PostgreSQL does not accept a value"},
	{"54", E_INVALID, ERR_PLAIN, false, "a name or value is too large for PostgreSQL"},
	{"42501", E_DENIED, ERR_PLAIN, false, "the database role lacks a right (`cenote doctor` names the GRANT)"},
	{"28", E_DENIED, ERR_PLAIN, false, "the database refused the login"},
	{"53100", E_LIMIT, ERR_QUOTA, false, "the database server's disk is full"},
	{"53200", E_LIMIT, ERR_QUOTA, false, "the database server is out of memory"},
	{"53", E_BUSY, ERR_PLAIN, true, "the database server is at a limit"},
	{"25006", E_BUSY, ERR_PLAIN, true, "the database is read-only now"},
	{"57014", E_TIMEOUT, ERR_PLAIN, false, "the database cancelled the statement"},
	{"57P", E_BUSY, ERR_PLAIN, true, "the database is not available"},
	{"55P03", E_BUSY, ERR_LOCKED, true, "a row or table is locked"},
	{"40", E_BUSY, ERR_PLAIN, true, "the transaction collided with others"},
	{"08", E_BUSY, ERR_PLAIN, true, "the connection to the database was lost"},
	{"26000", E_INTERNAL, ERR_PLAIN, false, "a pooler does not keep prepared statements; set pg.prepare to off"},
	{"42P05", E_INTERNAL, ERR_PLAIN, false, "a pooler mixes prepared statements up; set pg.prepare to off"},
	{"42P01", E_CORRUPT, ERR_PLAIN, false, "a table that was there is gone"},
	{"42703", E_CORRUPT, ERR_PLAIN, false, "a column that was there is gone"},
	{"3F000", E_CORRUPT, ERR_PLAIN, false, "a schema that was there is gone"},
	{"23505", E_CONFLICT, ERR_PLAIN, false, "somebody else has made the same row"},
	{"XX", E_INTERNAL, ERR_PLAIN, false, "the database server failed"},
};

/* The first line, without the blank or line end after it. */
static struct str first_line(const char *s)
{
	struct str line = {s ? s : "", s ? strcspn(s, "\r\n") : 0};
	while (line.n && line.p[line.n - 1] == ' ')
		line.n--;
	return line.n > 300 ? (struct str){line.p, 300} : line;
}

enum err pg_error_state(const char *sqlstate, const char *sentence)
{
	struct str said = first_line(sentence);
	if (!sqlstate || !*sqlstate) {
		enum err e = err_set(E_BUSY, "the connection to the database was lost%s%.*s", said.n ? ": " : "", STR_ARG(said));
		diag_get()->retry_after_s = 1;
		return e;
	}
	for (const struct kind *k = kinds; k < kinds + sizeof kinds / sizeof *kinds; k++) {
		if (strncmp(sqlstate, k->code, strlen(k->code)) != 0)
			continue;
		enum err e = err_kind(k->err, k->kind, "%s: %.*s (SQLSTATE %.5s)", k->text, STR_ARG(said), sqlstate);
		diag_get()->retry_after_s = k->later;
		return e;
	}
	return err_set(E_INTERNAL, "the database refused a statement: %.*s (SQLSTATE %.5s)", STR_ARG(said), sqlstate);
}

enum err pg_error(const PGresult *r, const PGconn *c)
{
	const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
	const char *said = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	if (!said)
		said = r ? PQresultErrorMessage(r) : c ? PQerrorMessage(c) : "";
	return pg_error_state(state, said);
}

enum pg_again pg_again(const char *sqlstate, const char *sentence, bool named)
{
	if (strcmp(sqlstate, "40001") == 0 || strcmp(sqlstate, "40P01") == 0)
		return AGAIN_CONFLICT;
	if (strcmp(sqlstate, "57014") == 0)
		return AGAIN_CANCELLED;
	if (named && (strcmp(sqlstate, "26000") == 0 || strcmp(sqlstate, "42P05") == 0 || strcmp(sqlstate, "08P01") == 0))
		return AGAIN_UNNAMED;
	/* A table was altered under a prepared statement: "cached plan must not change result type". */
	if (named && strcmp(sqlstate, "0A000") == 0 && sentence && strstr(sentence, "cached plan"))
		return AGAIN_PLAN;
	if (strncmp(sqlstate, "08", 2) == 0 || strncmp(sqlstate, "57P", 3) == 0)
		return AGAIN_LOST;
	return AGAIN_NO;
}
