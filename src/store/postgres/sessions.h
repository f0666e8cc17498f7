/* Private to threads.c and entries*.c: what lies under a thread's name in tables of others, and who may see it. */
#ifndef CENOTE_STORE_PG_SESSIONS_H
#define CENOTE_STORE_PG_SESSIONS_H

#include "store/postgres/ckpt.h" /* pg_owners */

/* Does the text hold U+0000, so that nothing of that name can be there? */
static inline bool pg_has_nul(struct str s)
{
	return s.n > 0 && memchr(s.p, 0, s.n);
}

/* Condition: something of others lies under the name (text of the default collation). */
#define PG_FOREIGN(name)                                                                                                           \
	"(EXISTS (SELECT FROM @?agent_sessions fs WHERE fs.session_id = " name ") OR EXISTS (SELECT FROM @?agent_messages fm"      \
	" WHERE fm.session_id = " name ") OR EXISTS (SELECT FROM @?conversations fc WHERE fc.session_id = " name ") OR EXISTS"     \
	" (SELECT FROM @?checkpoints fk WHERE fk.thread_id = " name ") OR EXISTS (SELECT FROM @?cenote_checkpoint_ns fz JOIN"      \
	" @cenote_thread ft ON ft.id = fz.thread WHERE ft.thread = " name "))"
/* The owner of thread $1; NULL: nothing lies under the name. */
#define PG_OWNER                                                                                                                   \
	"coalesce((SELECT ow.usr::text FROM @cenote_thread ow WHERE ow.thread = $1::text), CASE WHEN " PG_FOREIGN(                 \
		"$1::text") " THEN '' END)"
/* Condition: thread $1 is one that the owners $n may reach (also when there is nothing of that name). */
#define PG_SEEN(n)                                                                                                                 \
	"($" #n "::text[] IS NULL OR coalesce((SELECT ow.usr::text FROM @cenote_thread ow WHERE ow.thread = $1::text), '') ="      \
	" ANY($" #n "::text[]))"
/* A row of cenote_journal without documents, for rule 3 of pg.h. Its ids say what the transaction did, should its answer be lost.
 */
#define PG_NOTE(op, ids) "INSERT INTO @cenote_journal(op, step, kind, ids, names) SELECT $" #op "::bigint, 0, 'x', " ids ", '{}'"

/* Ids of rows of conversations are told apart from those of agent_messages by this. */
#define PG_SEED_IDS "281474976710656" /* 2^48 */

/* The small values of entries that the CTE `of` gives, whose numbers are id: what DELETEs them. */
#define PG_VALUES_GONE(of, id) "DELETE FROM @cenote_value n USING " of " WHERE n.name = '" META_OF_ENTRY "' || (" id ")::text"

/* Is it a JSON object? As RFC 8259 has it, but escapes of lone surrogates are taken. The text is UTF-8. */
bool pg_entry_readable(struct str s);
/* entries_seed.c: the columns of `conversations` for an entry. Plain texts of user and assistant have no item; of others item is
 * the entry itself. Slices of the arena or of s. */
struct pg_seed_row {
	struct str role, content, item;
};
enum err pg_seed_row(struct arena *a, struct str s, struct pg_seed_row *out) MUST_CHECK;

/* entries.c */
enum err pg_entry_append(struct store *, const struct principal *, struct entry_append *) MUST_CHECK;
enum err pg_entries(struct store *, const struct principal *, const struct entry_list *, entry_fn, void *) MUST_CHECK;
enum err pg_entry(struct store *, struct arena *, const struct principal *, struct str, int64_t, struct session_entry *,
		  bool *) MUST_CHECK;
enum err pg_entry_pop(struct store *, struct arena *, const struct principal *, struct str, struct session_entry *,
		      bool *) MUST_CHECK;
enum err pg_entry_delete(struct store *, const struct principal *, struct str, int64_t) MUST_CHECK;
enum err pg_entry_clear(struct store *, const struct principal *, struct str, struct entry_append *) MUST_CHECK;

#endif
