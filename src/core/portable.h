/* The native format of items and messages, one JSON object a line (contracts: native), and import and export of many lines.
 *
 *   Item     {"namespace":["a","b"],"key":"k","value":{...},"created_at":T?,"updated_at":T?,"ttl_minutes":N?,"expires_at":T?}
 *   A fact   also "fact":true, "valid_from":T?, "valid_to":T?
 *   State    what was known of a key before: {"namespace","key","value","recorded_from":T,"recorded_to":T,"superseded_by":"key",
 *            "fact":true?,"valid_from":T?,"valid_to":T?,"ended_at":T?,"expires_at":T?}; by recorded_to it is told from an item
 *   Message  core/session.h
 * expires_at is written only when it is not updated_at + ttl_minutes (the item was refreshed by a read); so nothing is lost.
 * An exported line holds no line break: where a value was stored with breaks between its tokens, blanks stand for them; apart from
 * that values are the bytes that were stored. */
#ifndef CENOTE_CORE_PORTABLE_H
#define CENOTE_CORE_PORTABLE_H

#include "core/fact_store.h"
#include "core/session.h"

#define IMPORT_MAX_LINES 5000

/* One item from its JSON object, as a put (value: raw span). strict: unknown members are refused, else ignored. */
enum err item_from_json(struct arena *a, struct jval v, const char *field, bool strict, struct op_put *out) MUST_CHECK;
/* One state of a history. terms: not made. */
enum err state_from_json(struct arena *a, struct jval v, const char *field, bool strict, struct fact_state *out) MUST_CHECK;
/* Its members, into an object that the caller has begun and ends. */
void item_members(struct jw *w, const struct item *it, int time_style);

enum import_conflict { IMPORT_REPLACE, IMPORT_SKIP, IMPORT_FAIL };
enum err import_conflict_parse(struct str s, enum import_conflict *out) MUST_CHECK;

struct import_error {
	size_t line; /* 1.. within the text */
	struct str detail, field;
	enum err code;
	enum err_kind kind;
};
struct import_result {
	size_t stored, unchanged, failed;
	struct import_error *errors; /* failed of them, by line */
};
/* Stores the lines of a text (blank lines and an export's header line are passed over). A line that is there already, with the same
 * value and times as far as it names them, is unchanged; one under the same name that differs is replaced, skipped (counts as
 * unchanged) or fails, as on_conflict says. OK: every line is durable or among the errors. Else: some lines may be stored, none is
 * damaged; the same call can be repeated. */
enum err portable_import(struct memory *m, struct arena *a, const struct principal *who, struct str text,
			 enum import_conflict on_conflict, bool lenient, struct import_result *out) MUST_CHECK;

/* Where an export stands. Zero it, set the first three, call portable_export until done. */
struct export_state {
	bool items, messages;
	struct str prefix; /* items below it; "" : all */
	bool done;
	int64_t lines;
	/* private */
	bool items_done, states_done, in_thread;
	char ns[NS_MAX_BYTES], key[KEY_MAX_BYTES], thread[THREAD_MAX_BYTES];
	size_t ns_n, key_n, thread_n;
	int64_t pos, state_us;
	char after_ns[NS_MAX_BYTES], after_key[KEY_MAX_BYTES]; /* where a walk began, while ns and key move on */
};
/* Appends the next lines (some 256 KiB, or one larger line) to out: items by namespace and key, then states of the history
 * in the same order, each key's oldest first, then messages by thread and position. */
enum err portable_export(struct memory *m, const struct principal *who, struct export_state *st, struct buf *out) MUST_CHECK;

#endif
