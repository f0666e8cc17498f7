/* What is shown of a store's address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/open.h"

static void passwords_are_hidden(void **state)
{
	static const char *const t[][2] = {
		{"postgresql://u:secret@h/db", "postgresql://u:***@h/db"},
		{"postgres://u:secret@h:5432,i:5433/db?sslmode=require", "postgres://u:***@h:5432,i:5433/db?sslmode=require"},
		{"postgresql://u:s%40cret@[::1]:5432/db", "postgresql://u:***@[::1]:5432/db"},
		{"postgresql://u@h/db?password=secret&sslmode=require", "postgresql://u@h/db?password=***&sslmode=require"},
		{"postgresql://h/db?sslpassword=secret", "postgresql://h/db?sslpassword=***"},
		{"postgresql://h/db?pass%77ord=secret", "postgresql://h/db?pass%77ord=***"},
		{"postgresql://u:secret@h/db?user=x&password=secret", "postgresql://u:***@h/db?user=x&password=***"},
		/* not valid, and not to be shown all the same */
		{"postgresql://u:sec@ret@h/db", "postgresql://u:***@h/db"},
		{"postgresql://u:sec/ret@h/db", "postgresql://u:***@h/db"},
		{"postgresql://u:sec?ret@h/db", "postgresql://u:***@h/db"},
		{"postgresql://u:12?34@h/db?a=b", "postgresql://u:***@h/db?a=b"},
		{"postgresql://u:secret", "postgresql://u:***"},
		{"postgre://u:secret@h/db", "postgre://u:***@h/db"},
		{"host=h password=secret user=u", "host=h password=***"},
		{"host=h Password = 'sec ret'", "host=h Password =***"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		struct buf b;
		buf_init(&b, NULL, 4096);
		store_url_redact(str_c(t[i][0]), &b);
		if (!str_eq(buf_slice(&b), str_c(t[i][1])))
			fail_msg("%s: %.*s, expected %s", t[i][0], STR_ARG(buf_slice(&b)), t[i][1]);
		assert_true(store_url_has_secret(str_c(t[i][0])));
		buf_release(&b);
	}
}

static void the_rest_is_shown(void **state)
{
	static const char *const t[] = {
		"postgresql://",
		"postgresql:///db",
		"postgresql://h",
		"postgresql://u@h:5432/db",
		"postgresql://a%40b.c@h/db?user=x@y&sslmode=require",
		"postgresql://h:1,i:2,[::1]:3/db?application_name=a@b",
		"postgresql://h/db?passfile=/x&sslkey=/k",
		"sqlite:/var/lib/cenote",
		"http://h:8000",
		"unix:/run/x",
		"host=h user=u",
		"",
		"?password",
		"://",
	};
	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		struct buf b;
		buf_init(&b, NULL, 4096);
		store_url_redact(str_c(t[i]), &b);
		if (!str_eq(buf_slice(&b), str_c(t[i])))
			fail_msg("%s: %.*s", t[i], STR_ARG(buf_slice(&b)));
		assert_false(store_url_has_secret(str_c(t[i])));
		buf_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(passwords_are_hidden), cmocka_unit_test(the_rest_is_shown)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
