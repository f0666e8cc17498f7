/* Principals: the checks that every call into core begins with. Pure computation; see principal.h for the rules. */
#include "core/principal.h"

static bool tenant_name_ok(struct str name)
{
	if (name.n < 1 || name.n > 63)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (!alnum && (i == 0 || (c != '_' && c != '-')))
			return false;
	}
	return true;
}

enum err tenant_check(struct str name)
{
	if (tenant_name_ok(name))
		return OK;
	return err_field(E_INVALID, "tenant", -1,
			 "a tenant's name is 1 to 63 characters of a-z, 0-9, _ and -, and begins with a letter or digit");
}

bool user_reserved(struct str user)
{
	static const char *const labels[] = {"user_memories", "facts", "entities", "shared", "samples"};

	for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++)
		if (str_eq(user, str_c(labels[i])))
			return true;
	return false;
}

enum err principal_check(const struct principal *p, unsigned need)
{
	if (!p)
		return err_kind(E_DENIED, ERR_UNAUTHENTICATED, "no principal: the request is not authenticated");
	if (!tenant_name_ok(p->tenant))
		return err_kind(E_DENIED, ERR_UNAUTHENTICATED, "the principal has no tenant");
	if (p->user_bound && p->user.n == 0)
		return err_set(E_DENIED, "the principal is bound to a user without a name");
	if (p->user_bound && user_reserved(p->user))
		return err_set(
			E_DENIED,
			"this key belongs to the user \"%.*s\", which is a label of Cenote's own namespaces; revoke it and make "
			"one for another id",
			STR_ARG(p->user));
	if ((p->rights & need) != need) {
		unsigned lacks = need & ~p->rights;

		return err_set(E_DENIED, "this needs the right to %s, which the key does not have",
			       lacks & RIGHT_ADMIN   ? "administer"
			       : lacks & RIGHT_WRITE ? "write"
						     : "read");
	}
	return OK;
}

/* Whether a label is the user's id as S2-5 writes it: `.` -> `-`, `@` -> `-at-`. */
static bool label_is_user(struct str label, struct str user)
{
	size_t at = 0;

	for (size_t i = 0; i < user.n; i++) {
		struct str piece = user.p[i] == '.' ? STR("-") : user.p[i] == '@' ? STR("-at-") : str_of(user.p + i, 1);

		if (!str_starts(str_sub(label, at, label.n), piece))
			return false;
		at += piece.n;
	}
	return at == label.n;
}

enum err principal_namespace(const struct principal *p, struct str ns)
{
	struct str label, rest = ns;

	if (!p)
		return principal_check(p, 0);
	if (!p->user_bound)
		return OK;
	while (p->user.n > 0 && rest.n > 0) {
		str_cut(rest, '.', &label, &rest);
		if (str_eq(label, p->user) || label_is_user(label, p->user))
			return OK;
	}
	return err_set(E_DENIED, "this key belongs to one user and reaches only namespaces that have the user's id as a label");
}

struct str user_label(struct arena *a, struct str user)
{
	size_t n = 0;
	char *p = arena_alloc(a, user.n * 4 + 1);

	if (!p)
		return (struct str){0};
	for (size_t i = 0; i < user.n; i++) {
		if (user.p[i] == '@') {
			memcpy(p + n, "-at-", 4);
			n += 4;
		} else {
			p[n++] = user.p[i] == '.' ? '-' : user.p[i];
		}
	}
	return str_of(p, n);
}

/* Whether the label leads back to the id: "-at-" to "@", then "-" to ".". */
static bool reversible(struct str user, struct str label)
{
	size_t at = 0;

	for (size_t i = 0; i < user.n; i++)
		if (user.p[i] == '-' || user.p[i] == '~')
			return false;
	for (size_t i = 0; i < label.n; at++) {
		bool sign = label.n - i >= 4 && memcmp(label.p + i, "-at-", 4) == 0;
		char c = sign ? '@' : label.p[i] == '-' ? '.' : label.p[i];

		if (at >= user.n || user.p[at] != c)
			return false;
		i += sign ? 4 : 1;
	}
	return at == user.n;
}

struct str user_namespace(struct arena *a, struct str user)
{
	struct str label = user_label(a, user);
	char *p = arena_alloc(a, user.n * 3 + 1);
	size_t n = 0;

	if (!label.p || !p)
		return (struct str){0};
	if (reversible(user, label))
		return arena_printf(a, "user_memories.%.*s", STR_ARG(label));
	for (size_t i = 0; i < user.n; i++) {
		const char *code = user.p[i] == '-' ? "~2D" : user.p[i] == '.' ? "~2E" : user.p[i] == '~' ? "~7E" : NULL;

		if (code)
			memcpy(p + n, code, 3);
		else
			p[n] = user.p[i];
		n += code ? 3 : 1;
	}
	return arena_printf(a, "user_memories.%.*s.%.*s", STR_ARG(str_of(p, n)), STR_ARG(label));
}

bool principal_sees(const struct principal *p, struct str owner)
{
	if (p->user_bound)
		return str_eq(owner, p->user);
	return p->user.n == 0 || owner.n == 0 || str_eq(owner, p->user);
}
