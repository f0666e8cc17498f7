/* Fuzz target: rules of retention. Whatever the text is, it becomes rules that say something, or an error that names a place in it;
 * and what the rules say, written as a rule again, says the same. */
#include "core/retention_impl.h"
#include "must.h"

static void check_rule(struct arena *a, const struct retention_rule *r)
{
	struct retention *again;
	struct str text = arena_printf(a, "%.*s/%.*s: %s", STR_ARG(r->tenant), STR_ARG(r->prefix), r->text);

	MUST(r->text[0] && (r->prunes || r->idle_us > 0));
	MUST(r->policy.keep_last >= 1 && r->policy.keep_days_us >= 0 && r->policy.keep_every >= 0 && !r->policy.drop_all);
	MUST(text.p && retention_parse(text, &again) == OK && again->n == 1);
	MUST(str_eq(again->v[0].tenant, r->tenant) && str_eq(again->v[0].prefix, r->prefix));
	MUST(again->v[0].policy.keep_last == r->policy.keep_last && again->v[0].policy.keep_days_us == r->policy.keep_days_us &&
	     again->v[0].policy.keep_every == r->policy.keep_every && again->v[0].idle_us == r->idle_us);
	retention_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct retention *r = NULL;
	struct arena a;
	enum err e = retention_parse(str_of((const char *)data, size), &r);

	MUST(e == OK || e == E_INVALID || e == E_LIMIT);
	if (e == E_INVALID)
		MUST(r == NULL && diag_get()->position >= 0 && (size_t)diag_get()->position <= size);
	arena_init(&a, 1 << 22);
	for (size_t i = 0; e == OK && i < r->n; i++) {
		check_rule(&a, &r->v[i]);
		MUST(retention_rule_of(r, r->v[i].tenant, r->v[i].prefix) != NULL);
	}
	arena_release(&a);
	retention_free(r);
	return 0;
}
