/* The diagnostic. */
#include "base/test_util.h"

#include <pthread.h>

#include "base/err.h"
#include "base/utf8.h"

static void says_what_failed(void **state)
{
	assert_int_equal(err_set(E_NOT_FOUND, "no item \"%s\"", "k"), E_NOT_FOUND);
	assert_int_equal(diag_get()->code, E_NOT_FOUND);
	assert_int_equal(diag_get()->kind, ERR_PLAIN);
	assert_int_equal(diag_get()->position, -1);
	assert_string_equal(diag_get()->text, "no item \"k\"");
	assert_int_equal(err_kind(E_LIMIT, ERR_SIZE, "too large"), E_LIMIT);
	assert_int_equal(diag_get()->kind, ERR_SIZE);
	assert_int_equal(err_field(E_INVALID, "/limit", 31, "must be %d..%d", 1, 1000), E_INVALID);
	assert_string_equal(diag_get()->field, "/limit");
	assert_int_equal(diag_get()->position, 31);
	assert_int_equal(diag_get()->kind, ERR_PLAIN);
	diag_get()->retry_after_s = 4;
	assert_int_equal(err_wrap(E_INVALID, "item %d", 7), E_INVALID);
	assert_string_equal(diag_get()->text, "item 7: must be 1..1000");
	assert_string_equal(diag_get()->field, "/limit");
	assert_int_equal(diag_get()->retry_after_s, 4);
	assert_int_equal(err_set(E_IO, "x"), E_IO);
	assert_string_equal(diag_get()->field, "");
	assert_int_equal(diag_get()->retry_after_s, 0);
	diag_clear();
	assert_int_equal(diag_get()->code, OK);
	assert_string_equal(diag_get()->text, "");
	assert_int_equal(err_wrap(E_BUSY, "alone"), E_BUSY);
	assert_string_equal(diag_get()->text, "alone");
}

static void may_speak_of_itself(void **state)
{
	(void)err_field(E_INVALID, "/a", 3, "first");
	(void)err_field(E_INVALID, diag_get()->field, diag_get()->position, "again: %s", diag_get()->text);
	assert_string_equal(diag_get()->text, "again: first");
	assert_string_equal(diag_get()->field, "/a");
	assert_int_equal(diag_get()->position, 3);
}

static void cuts_long_ones(void **state)
{
	char text[2000];

	/* Two-byte characters, shifted by one so that one of them straddles the end. */
	for (size_t i = 0; i + 1 < sizeof text; i += 2)
		memcpy(text + i, "\xc3\xa9", 2);
	text[sizeof text - 1] = 0;
	text[sizeof text - 2] = 0;
	(void)err_set(E_INVALID, "%s", text);
	assert_int_equal(strlen(diag_get()->text), 510);
	assert_true(utf8_valid(str_c(diag_get()->text)));
	(void)err_wrap(E_INVALID, "x");
	assert_int_equal(strlen(diag_get()->text), 511);
	assert_true(utf8_valid(str_c(diag_get()->text)));
	(void)err_wrap(E_INVALID, "%s", text);
	assert_true(utf8_valid(str_c(diag_get()->text)));
	(void)err_field(E_INVALID, text, 0, "x");
	assert_int_equal(strlen(diag_get()->field), 158);
}

static void *other_thread(void *unused)
{
	return diag_get()->text[0] ? NULL : diag_get();
}

static void belongs_to_a_fiber_or_thread(void **state)
{
	struct diag fiber = {.position = -1}, *mine = diag_get();
	void *other = NULL;
	pthread_t thread;

	(void)err_set(E_IO, "thread's");
	diag_use(&fiber);
	assert_ptr_equal(diag_get(), &fiber);
	(void)err_set(E_BUSY, "fiber's");
	diag_use(NULL);
	assert_ptr_equal(diag_get(), mine);
	assert_string_equal(mine->text, "thread's");
	assert_string_equal(fiber.text, "fiber's");
	assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
	pthread_join(thread, &other);
	assert_non_null(other);
	assert_ptr_not_equal(other, mine);
}

static void has_names(void **state)
{
	for (int e = 0; e < E_COUNT; e++)
		assert_non_null(err_name((enum err)e));
	assert_string_equal(err_name(E_INVALID), "invalid");
	assert_string_equal(err_name(E_NOT_FOUND), "not_found");
	assert_string_equal(err_name((enum err)99), "unknown");
	assert_string_equal(err_name((enum err) - 1), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_failed), cmocka_unit_test(may_speak_of_itself),
		cmocka_unit_test(cuts_long_ones),   cmocka_unit_test(belongs_to_a_fiber_or_thread),
		cmocka_unit_test(has_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
