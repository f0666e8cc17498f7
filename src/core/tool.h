/* The port of tools: functions that a model may have called within a turn (core/assistant.h).
 *
 *  1. Who asks comes from the principal and from nothing else: no argument names a tenant or a user.
 *  2. Arguments are what a model wrote: a tool gets them only when they are a JSON object that fits its parameters.
 *  3. What a tool answers is data for the model. A failure is an answer, too; only E_CANCELLED ends a turn.
 *  4. Calls come from fibers, several at once. Waiting parks the fiber; its deadline and its cancellation end the call. */
#ifndef CENOTE_CORE_TOOL_H
#define CENOTE_CORE_TOOL_H

#include "base/json/json.h"
#include "core/trace.h"

#define TOOLS_MAX 128 /* offered in one turn */
#define TOOL_NAME_MAX 64
#define TOOL_ARGUMENTS_MAX ((size_t)256 << 10) /* bytes */

struct tool;
struct tool_ops {
	/* arguments: an object that fits t->parameters. span: the call's, for steps of the tool's own; NULL when nobody traces. The
	 * answer in a, UTF-8. Errors: a sentence for the model, without secrets. */
	enum err (*call)(const struct tool *t, struct arena *a, const struct principal *who, struct jval arguments,
			 struct trace_span *span, struct str *answer) MUST_CHECK;
};
struct tool {
	const struct tool_ops *ops;
	struct str name;	/* 1..TOOL_NAME_MAX of A-Z a-z 0-9 _ - */
	struct str description; /* for the model: what it does, and when to call it */
	struct str parameters;	/* JSON schema of an object */
	bool of_user;		/* offered only to somebody with a name */
	uint32_t timeout_ms;	/* 0: the turn's */
};
/* Several, with names that differ. The tools must outlive whatever uses it. */
struct toolbox {
	const struct tool *const *v;
	size_t n;
};

/* Tools that come and go while the server runs. Thread-safe. */
struct tool_source {
	/* Those that there are now, for a turn; they stay as they are until it lets go of *held. What cannot be had is left out. */
	struct toolbox (*hold)(struct tool_source *s, void **held);
	void (*let_go)(struct tool_source *s, void *held);
};

bool tool_name_ok(struct str name);
/* The tool of this name, or NULL. */
const struct tool *toolbox_find(const struct toolbox *box, struct str name);
/* A tool in the form of chat completions: {"type":"function","function":{..}}. */
void tool_write(const struct tool *t, struct buf *out);

/* ---- tool_schema.c: the part of JSON schema that parameters of functions are written in ---- */
/* E_INVALID names what is wrong by a path ("parameters.properties.city.type"): a schema of an object, of the words type,
 * properties, required, items, enum, additionalProperties (true or false), minimum, maximum, minLength, maxLength, minItems,
 * maxItems, and those that only describe (title, description, default, examples, format). */
enum err tool_schema_check(struct arena *a, struct jval schema, const char *name) MUST_CHECK;
/* The same for a schema of others, which may have more: words that are not known here are passed over, and true and false are
 * schemas. What tool_schema_fits looks at is as it must be. */
enum err tool_schema_check_foreign(struct arena *a, struct jval schema, const char *name) MUST_CHECK;
/* E_INVALID says which argument is wrong, and what is allowed. */
enum err tool_schema_fits(struct arena *a, struct jval schema, struct jval value) MUST_CHECK;

/* ---- what Cenote itself offers (tool_memory.c, tool_samples.c) ---- */
struct memory;
/* get_user_memory, save_user_memory, delete_user_memory, search_conversations: what is known about who asks. In a, as the others;
 * m must outlive them. */
enum err memory_tools(struct memory *m, struct arena *a, struct toolbox *out) MUST_CHECK;
/* get_cyber_threat_info, get_user_info: over the rows that `cenote demo tools` makes. */
enum err sample_tools(struct memory *m, struct arena *a, struct toolbox *out) MUST_CHECK;
#define SAMPLE_THREATS "samples.cyber_threat_detection" /* namespaces of the tenant, an item a row */
#define SAMPLE_USERS "samples.user_info"

#endif
