/* What is learned of a user: facts and preferences, each under a key that says what it is about, so that what is said later takes
 * the place of what was said before.
 *
 * A fact is an item in NAMESPACE.facts, where NAMESPACE is the user's (core/principal.h). Its value is
 * {"text","kind","key","value", "source":{"thread","item","time"}}, its key is the fact's, its validity begins at the time of the
 * turn (core/fact_store.h). So what was true before is in the key's history, and whoever reads items reads facts.
 *
 *  1. The same said again changes nothing, nor does what is older than what is known.
 *  2. A key has one value; another one supersedes it. What a fact replaces besides goes into the history with it.
 *
 * Thread-safe; results live in the arena. */
#ifndef CENOTE_CORE_LEARN_H
#define CENOTE_CORE_LEARN_H

#include "core/entity.h"

#define LEARN_KEY_MAX 120 /* bytes */
#define LEARN_TEXT_MAX 1000
#define LEARN_FACTS_MAX 2000 /* of one user; more are not kept */

/* A turn's place: where something comes from. */
struct learn_source {
	struct str thread, item; /* item: the id of the entry */
	int64_t time_us;
};
struct learned_fact {
	bool preference;
	struct str key, value, text;
	struct str replaces; /* key of a known fact that is no longer true; "" : none */
};
struct learned_link {
	struct entity_ref from;
	struct entity_relation r; /* its time and source are those of the turn */
};
/* Of one turn. */
struct learned {
	struct learned_fact *facts;
	size_t facts_n;
	struct entity *entities; /* as are theirs */
	size_t entities_n;
	struct learned_link *links;
	size_t links_n;
};
struct learn_counts {
	uint64_t added, merged, superseded, entities, relations;
};

struct known_fact {
	struct str key, value, text;
	int64_t version, valid_from_us;
	struct str same; /* the text, normal */
};
/* The facts of a user, in order of their keys, at most LEARN_FACTS_MAX. */
enum err learn_known(struct memory *m, struct arena *a, const struct principal *who, struct str user, struct known_fact **v,
		     size_t *n) MUST_CHECK;
/* The namespace of a user's facts; .p NULL: out of memory. user must not be "". */
struct str learn_namespace(struct arena *a, struct str user);
/* Keeps it for the user, who must not be "" ; known: by learn_known. counts are added to. E_LIMIT: too many facts. */
enum err learn_keep(struct memory *m, struct arena *a, const struct principal *who, struct str user, const struct learned *what,
		    const struct learn_source *from, const struct known_fact *known, size_t known_n,
		    struct learn_counts *counts) MUST_CHECK;

#endif
