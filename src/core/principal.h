/* Who asks: every call into core and into a store driver carries one; without one it fails closed (E_DENIED). */
#ifndef CENOTE_CORE_PRINCIPAL_H
#define CENOTE_CORE_PRINCIPAL_H

#include "base/arena.h"

enum right { RIGHT_READ = 1u, RIGHT_WRITE = 2u, RIGHT_ADMIN = 4u };
#define RIGHT_ALL (RIGHT_READ | RIGHT_WRITE | RIGHT_ADMIN)

struct principal {
	struct str tenant; /* [a-z0-9][a-z0-9_-]{0,62}; "default" without keys */
	struct str user;   /* "" : none */
	bool user_bound;   /* the credential itself belongs to this user: nothing of other users may be reached */
	unsigned rights;
	struct str id; /* for logs and audit: key id, "local", "socket"; never a secret */
};

/* Whether the id is a label that Cenote itself gives to namespaces of all users, or to its own: user_memories, facts, entities,
 * shared, samples. A key bound to such a user would reach everybody's. */
bool user_reserved(struct str user);
/* E_DENIED when p is NULL, has no tenant, is bound to a user_reserved, or lacks a right of need. */
enum err principal_check(const struct principal *p, unsigned need) MUST_CHECK;
/* E_INVALID unless name is a tenant's name as above. */
enum err tenant_check(struct str name) MUST_CHECK;
/* A user-bound principal may reach a namespace only if one of its labels is the user's id, as it is or as S2-5 writes it (`.` ->
 * `-`,
 * `@` -> `-at-`); E_DENIED otherwise. Always OK for a principal that is not bound. */
enum err principal_namespace(const struct principal *p, struct str ns_or_prefix) MUST_CHECK;
/* May this principal reach what belongs to owner ("" : to nobody)? A bound one: its own only. One that names a user without being
 * bound to it: that user's and nobody's. One without a user: everything of the tenant. */
bool principal_sees(const struct principal *p, struct str owner);
/* The namespace label of a user id (S2-5). */
struct str user_label(struct arena *a, struct str user);
/* The namespace, with dots, of what is known about a user: user_memories.LABEL. Where the id cannot be told from its label (it has
 * "-" or "~", or ".at."), a label with the id itself comes before it, with ~2D, ~2E, ~7E for "-", ".", "~": so no two ids share a
 * namespace, and none lies within another's. The clients' LongTermMemory has the same rule. .p NULL: out of memory. */
struct str user_namespace(struct arena *a, struct str user);

#endif
