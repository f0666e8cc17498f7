/* What the files of core/texts share: the table of tenants and the worker (texts.c), one thread (texts_make.c), what entries and
 * values say (texts_find.c). Private to core. */
#ifndef CENOTE_CORE_TEXTS_IMPL_H
#define CENOTE_CORE_TEXTS_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/json/json.h"
#include "base/map.h"
#include "core/memory.h"
#include "core/texts.h"
#include "core/thread_store.h"

/* A text is cut behind so many bytes, and of a list of messages the last so many count. */
#define TEXT_MAX_BYTES ((size_t)1 << 20)
#define TEXT_LIST_MAX 50000

/* ---- texts_find.c: pure functions; results live in the arena */
struct said {
	struct str mid, role, name, content;
	uint64_t nameless; /* hash of what one without an id says; 0: it has an id */
};
struct said_list {
	struct said *v;
	size_t n, cap;
};
/* What an entry of a session says; content "" : nothing. Any bytes will do. */
enum err said_by_entry(struct arena *a, struct str data, struct said *out) MUST_CHECK;
/* Adds the messages of a channel's value when it is a list of messages, as LangChain's classes, its JSON, or {"role", "content"}.
 * Texts without an id get one that is made of what they say. Any bytes will do. */
enum err said_by_value(struct arena *a, struct str type, struct str bytes, struct said_list *list) MUST_CHECK;
enum err said_by_json(struct arena *a, struct str json, struct said_list *list) MUST_CHECK;

/* ---- texts_make.c */
struct made {
	uint64_t added, changed, removed;
};
/* Called after each transaction, outside the store: others' turn. Its error ends the work. */
struct turn {
	enum err (*fn)(void *ctx);
	void *ctx;
};
/* Brings the texts of one thread up to what it says. who: unbound, of the thread's tenant. *again: it changed meanwhile. */
enum err texts_make(struct memory *m, const struct principal *who, struct str thread, const struct turn *turn, struct made *made,
		    bool *again) MUST_CHECK;
/* What thread_info looks like, for comparing: seen begins with it. out: 24 bytes. */
void texts_look(const struct thread_info *t, char *out);

#endif
