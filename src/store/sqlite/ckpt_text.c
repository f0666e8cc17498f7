/* Texts of checkpoints in columns: what has the usual form goes packed (store/pack/ckpt.h), the rest as it is. The storage class of
 * the column (blob, integer, text) says which it was. */
#include "store/sqlite/ckpt.h"

void bind_uuid(sqlite3_stmt *st, int i, struct str s, uint8_t room[16])
{
	if (pack_uuid(s, room))
		sqlite3_bind_blob(st, i, room, 16, SQLITE_STATIC);
	else
		bind_str(st, i, s);
}

struct str col_uuid(struct arena *a, sqlite3_stmt *st, int i)
{
	struct str s = col_str(st, i);
	return sqlite3_column_type(st, i) == SQLITE_BLOB && s.n == 16 ? pack_uuid_text(a, (const uint8_t *)s.p) : s;
}

void bind_type(sqlite3_stmt *st, int i, struct str type)
{
	int k = pack_type(type);
	if (k >= 0)
		sqlite3_bind_int(st, i, k);
	else
		bind_str(st, i, type);
}

struct str col_type(sqlite3_stmt *st, int i)
{
	if (sqlite3_column_type(st, i) != SQLITE_INTEGER)
		return col_str(st, i);
	return pack_type_text(sqlite3_column_int(st, i));
}

void bind_version(sqlite3_stmt *st, int i, struct str s, uint8_t *room)
{
	size_t n;
	if (pack_version(s, room, &n))
		sqlite3_bind_blob(st, i, room, (int)n, SQLITE_STATIC);
	else
		bind_str(st, i, s);
}

struct str col_version(struct arena *a, sqlite3_stmt *st, int i)
{
	struct str s = col_str(st, i);
	return sqlite3_column_type(st, i) == SQLITE_BLOB ? pack_version_text(a, s) : s;
}
