/* Conversations: threads of messages, kept verbatim. Thread-safe; results live in the caller's arena. */
#ifndef CENOTE_CORE_SESSION_H
#define CENOTE_CORE_SESSION_H

#include "base/json/json.h"
#include "core/memory.h"

#define THREAD_MAX_BYTES 256
#define MESSAGE_MAX_BYTES (1u << 20)
#define MESSAGES_PER_CALL 10000

/* One message of the native format from its JSON object; strict: unknown members are refused, else ignored. field: JSON pointer
 * prefix. */
enum err message_from_json(struct arena *a, struct jval v, const char *field, bool strict, struct message *out) MUST_CHECK;
/* The same members back. */
void message_to_json(struct jw *w, const struct message *m);
/* The id of a message that has none: 32 hex digits of SHA-256 over thread, ordinal, role, name, time and content. ordinal: how many
 * messages with the same thread, role, name, time and content come before it in the same file or call. So the same text sent again
 * is the same message; to say the same thing twice, in two calls, give an id or a time. An importer that cuts a file into calls
 * counts over the whole file and sends the id. */
struct str message_default_id(struct arena *a, const struct message *m, uint64_t ordinal);
/* Gives default ids to those that have none, counting over this array. */
enum err session_fill_ids(struct arena *a, struct message *msgs, size_t n) MUST_CHECK;
/* Checks, fills in default ids, builds index documents, appends in one
 * transaction (terms that are there already are kept). Without `user` a message belongs to the principal's. */
enum err session_append(struct memory *m, struct arena *a, const struct principal *who, struct message *msgs, size_t n,
			size_t *stored, size_t *unchanged) MUST_CHECK;
enum err session_messages(struct memory *m, struct arena *a, const struct principal *who, struct str thread, int64_t from,
			  size_t limit, struct message **out, size_t *n) MUST_CHECK;
enum err session_threads(struct memory *m, struct arena *a, const struct principal *who, const struct str *user, struct str after,
			 size_t limit, struct thread_info **out, size_t *n) MUST_CHECK;
enum err session_delete(struct memory *m, const struct principal *who, struct str thread) MUST_CHECK;

#endif
