#include "core/testing.h"

static void rights_are_needed(void **state)
{
	struct principal p = ann;

	OKAY(principal_check(&ann, RIGHT_ALL));
	OKAY(principal_check(&reader, RIGHT_READ));
	FAILS(principal_check(&reader, RIGHT_WRITE), E_DENIED);
	assert_int_equal(diag_get()->kind, ERR_PLAIN);
	FAILS(principal_check(&reader, RIGHT_READ | RIGHT_ADMIN), E_DENIED);
	FAILS(principal_check(NULL, 0), E_DENIED);
	assert_int_equal(diag_get()->kind, ERR_UNAUTHENTICATED);
	p.tenant = STR("");
	FAILS(principal_check(&p, 0), E_DENIED);
	p = bound;
	p.user = STR("");
	FAILS(principal_check(&p, 0), E_DENIED);
	/* Bound to a label that every user's namespaces have: user_memories.ann.facts would be this one's. */
	p.user = STR("facts");
	FAILS(principal_check(&p, RIGHT_READ), E_DENIED);
	p.user_bound = false;
	OKAY(principal_check(&p, RIGHT_READ));
	assert_true(user_reserved(STR("user_memories")) && user_reserved(STR("entities")) && user_reserved(STR("shared")));
	assert_false(user_reserved(STR("fact")) || user_reserved(STR("")));
}

static void tenant_names(void **state)
{
	static const char *const good[] = {"default", "a", "9", "a-b_c",
					   "0123456789012345678901234567890123456789012345678901234567890ab"};
	static const char *const bad[] = {"",
					  "-a",
					  "_a",
					  "A",
					  "a b",
					  "a/b",
					  "..",
					  "a.b",
					  "é",
					  "a\n",
					  "a%2",
					  "../x",
					  "0123456789012345678901234567890123456789012345678901234567890abc"};

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		OKAY(tenant_check(str_c(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		FAILS(tenant_check(str_c(bad[i])), E_INVALID);
	FAILS(tenant_check(str_of("a\0b", 3)), E_INVALID);
}

static void bound_users_reach_their_labels(void **state)
{
	struct principal plain = bound, dotted = bound;
	static const char *const denied[] = {"",
					     "notes",
					     "bob",
					     "bob-at-example",
					     "bob-at-example-comx",
					     "xbob-at-example-com",
					     "bob-at-example-com2.a",
					     "carl.notes"};

	OKAY(principal_namespace(&ann, STR("anything")));
	OKAY(principal_namespace(&ann, STR("")));
	OKAY(principal_namespace(&bound, STR("user_memories.bob-at-example-com")));
	OKAY(principal_namespace(&bound, STR("bob-at-example-com.notes")));
	OKAY(principal_namespace(&bound, STR("bob-at-example-com")));
	for (size_t i = 0; i < sizeof denied / sizeof denied[0]; i++)
		FAILS(principal_namespace(&bound, str_c(denied[i])), E_DENIED);
	plain.user = STR("u1");
	OKAY(principal_namespace(&plain, STR("a.u1.b")));
	FAILS(principal_namespace(&plain, STR("a.u11.b")), E_DENIED);
	dotted.user = STR("a.b");
	FAILS(principal_namespace(&dotted, STR("a.b")), E_DENIED); /* two labels, neither is the user */
	OKAY(principal_namespace(&dotted, STR("x.a-b")));
	FAILS(principal_namespace(NULL, STR("a")), E_DENIED);
}

static void user_labels(void **state)
{
	struct arena a;

	arena_init(&a, 1 << 20);
	assert_true(str_eq(user_label(&a, STR("user@example.com")), STR("user-at-example-com")));
	assert_true(str_eq(user_label(&a, STR("u1")), STR("u1")));
	assert_true(str_eq(user_label(&a, STR("")), STR("")));
	static const char *const rows[][2] = {{"user@example.com", "user-at-example-com"},
					      {"u1", "u1"},
					      {"a-b", "a~2Db.a-b"},
					      {"a.b", "a-b"},
					      {"a.at.b", "a~2Eat~2Eb.a-at-b"},
					      {"a~", "a~7E.a~"},
					      {".at@", "~2Eat@.-at-at-"},
					      {"@at.", "-at-at-"}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct str ns = user_namespace(&a, str_c(rows[i][0]));
		assert_true(str_starts(ns, STR("user_memories.")) && str_eq(str_sub(ns, 14, ns.n), str_c(rows[i][1])));
	}
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rights_are_needed),
		cmocka_unit_test(tenant_names),
		cmocka_unit_test(bound_users_reach_their_labels),
		cmocka_unit_test(user_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
