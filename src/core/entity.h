/* Entities: people, places and things that a user has spoken of, what is known of them, and how they are related.
 *
 * An entity is an item in NAMESPACE.entities, where NAMESPACE is the user's (core/principal.h), or "shared" for what belongs to the
 * tenant; its key is "TYPE:NAME", both normal (core/normal.h). Its value is {"name","type","notes":[..],"relations":[{"relation",
 * "name","type","since","replaces","source":{..}},..],"source":{..}}. So entities are found by search and recall, exported, copied
 * and removed as other items are, and who may reach them is decided by their namespace.
 *
 *  1. Equal keys are one entity: what is put is merged into what is there, under its version, so two writers lose nothing.
 *  2. A relation is kept with the entity it begins at. Its other end exists when it is put; without it, it leads nowhere and is not
 *     shown.
 *  3. "user" of type "person" is the user.
 *  4. The item is a fact (core/facts.h): what an entity was before a change is in the history of its key. So a relation that has
 *     ended is not in the entity, and is found by asking as of a time.
 *  5. A relation that replaces others ends those of its name that begin at the same entity and are not newer, and keeps out those
 *     that are older: what is said later stands, in whatever order it is put.
 *
 * Thread-safe; results live in the arena. E_INVALID names the field; who needs the right to read or write the namespace. */
#ifndef CENOTE_CORE_ENTITY_H
#define CENOTE_CORE_ENTITY_H

#include "core/recall.h"

#define ENTITY_NAME_MAX 256 /* bytes */
#define ENTITY_TYPE_MAX 64
#define ENTITY_NOTE_MAX 500
#define ENTITY_NOTES_MAX 64	 /* of one entity; the oldest go */
#define ENTITY_RELATIONS_MAX 256 /* that begin at one entity; more are E_LIMIT */
#define ENTITIES_MAX 10000	 /* of one user; more are E_LIMIT in listings and graphs */
#define ENTITY_HOPS_MAX 6
#define ENTITY_USER "user"

struct entity_ref {
	struct str name, type; /* type "" : in questions any, when one alone has the name; in what is put "thing" */
};
struct entity_relation {
	struct str relation; /* "works at" */
	struct entity_ref to;
	bool replaces;	   /* there is one such relation at a time (5) */
	int64_t since_us;  /* when it was said; 0: not known, and in what is put: now */
	struct str source; /* JSON object: the turn that says so; "" : none */
};
struct entity {
	struct entity_ref ref;
	struct str key;
	struct str *notes; /* oldest first */
	size_t notes_n;
	struct entity_relation *relations; /* that begin here */
	size_t relations_n;
	struct str source; /* JSON object, "" : none */
	int64_t since_us;  /* when the last of it was said; 0: not known, and in what is put: now */
	int64_t created_us, updated_us;
};

/* The namespace of a user's entities; user "" : the shared ones. .p NULL: out of memory. */
struct str entity_namespace(struct arena *a, struct str user);
/* The key; E_INVALID: name or type is empty or too long. */
enum err entity_key(struct arena *a, const struct entity_ref *ref, struct str *out) MUST_CHECK;
/* {"name","type",..} as it is stored. */
enum err entity_parse(struct arena *a, const struct item *it, struct entity *out) MUST_CHECK;

/* Not *found: there is none, and *out has nothing but ref. */
enum err entity_get(struct memory *m, struct arena *a, const struct principal *who, struct str user, const struct entity_ref *ref,
		    struct entity *out, bool *found) MUST_CHECK;
/* Merges e into what is there: notes and relations that are new are added (ends that are missing are made); the source replaces an
 * older one. */
enum err entity_put(struct memory *m, struct arena *a, const struct principal *who, struct str user, const struct entity *e,
		    bool *created) MUST_CHECK;
/* A relation. Not *added: it is there already, or what is there is newer (5). */
enum err entity_link(struct memory *m, struct arena *a, const struct principal *who, struct str user, const struct entity_ref *from,
		     const struct entity_relation *r, bool *added) MUST_CHECK;
/* Removes relations of that name ("" : any) from one to the other. */
enum err entity_unlink(struct memory *m, struct arena *a, const struct principal *who, struct str user,
		       const struct entity_ref *from, const struct entity_relation *r, size_t *removed) MUST_CHECK;
/* Of a ref without a type: that of the one entity that has the name (or the key); as it is when none has. E_INVALID: several. */
enum err entity_resolve(struct memory *m, struct arena *a, const struct principal *who, struct str user,
			struct entity_ref *ref) MUST_CHECK;
/* With the relations that lead to it. E_NOT_FOUND; E_INVALID: several have that name. */
enum err entity_remove(struct memory *m, struct arena *a, const struct principal *who, struct str user,
		       const struct entity_ref *ref) MUST_CHECK;

struct entity_list {
	struct str type;  /* "" : all */
	struct str after; /* key; "" : from the start */
	size_t limit;
	int64_t as_of_us; /* as they were known then (core/facts.h); 0: as they are */
	/* out, in order of keys */
	struct entity *v;
	size_t n;
	bool more;
};
enum err entity_list(struct memory *m, struct arena *a, const struct principal *who, struct str user,
		     struct entity_list *l) MUST_CHECK;

struct entity_edge {
	size_t from, to; /* indexes into v */
	const struct entity_relation *r;
};
struct entity_graph {
	struct entity_ref start;
	uint32_t hops;	  /* 0..ENTITY_HOPS_MAX, in either direction of relations */
	uint32_t limit;	  /* entities, 1.. */
	int64_t as_of_us; /* as in struct entity_list */
	/* out: v[0] is the start, then by hops and keys */
	struct entity *v;
	uint32_t *hop;
	size_t n;
	struct entity_edge *edges; /* all between those in v */
	size_t edges_n;
	bool cut; /* limit left some out */
};
/* E_NOT_FOUND: no such entity; E_INVALID: several have that name, or hops or limit are out of range. */
enum err entity_graph(struct memory *m, struct arena *a, const struct principal *who, struct str user,
		      struct entity_graph *g) MUST_CHECK;

/* Of what was recalled, moves the entities in front that the question names, at most three; all else keeps its order. */
void entity_named_first(struct arena *a, struct str question, struct recall_hit *v, size_t n);
/* The value for a prompt: of an entity's relations without when and where they were said. Other items: as it is. */
struct str entity_brief(struct arena *a, const struct item *it);

#endif
