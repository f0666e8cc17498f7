/* The formats that import understands, each turned into lines of the native format. A reader knows nothing of servers: what it
 * finds goes to a sink. */
#ifndef CENOTE_CLI_READERS_H
#define CENOTE_CLI_READERS_H

#include "base/map.h"
#include "cli/source.h"

struct record {
	struct str json; /* one native line, without its end */
	uint64_t unit;	 /* where it came from: line, or conversation of a chat export; never falls within a file */
	uint64_t order;	 /* records with the same value must be stored in their order */
	bool is_message;
};

struct sink {
	/* An error ends the reading and is returned by the reader. */
	enum err (*record)(void *ctx, const struct record *r);
	/* Something that cannot be used; the diagnostic says why. OK: go on. */
	enum err (*bad)(void *ctx, uint64_t unit, enum err e);
	void *ctx;
};

struct read_options {
	bool lenient;
	struct str user;       /* for messages that name none */
	struct str namespace_; /* of text files, with dots */
};

enum format { FORMAT_GUESS, FORMAT_JSONL, FORMAT_CHATGPT, FORMAT_TEXT, FORMAT_SQLITE };
/* From the name and the first bytes. E_INVALID when it is none of them. */
enum err format_guess(struct source *s, struct str name, enum format *out) MUST_CHECK;
bool text_name(struct str name);
/* What a SQLite file begins with (import_sqlite.h reads it). */
bool sqlite_head(struct str bytes);

/* Items and messages, one a line. An export's checksum is compared at its end (E_CORRUPT). */
enum err read_jsonl(struct source *s, const struct read_options *o, const struct sink *k) MUST_CHECK;
/* The checksum alone; is_export = false: the file is not an export, there is nothing to verify. Consumes the source. */
enum err verify_export(struct source *s, bool *is_export) MUST_CHECK;
/* conversations.json: the messages on the path to each conversation's current node. */
enum err read_chatgpt(struct source *s, const struct read_options *o, const struct sink *k) MUST_CHECK;
/* One Markdown or text file, split by headings; path goes into value and key. */
enum err read_text(struct str text, struct str path, const struct read_options *o, const struct sink *k) MUST_CHECK;

#endif
