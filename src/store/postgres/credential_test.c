/* Sources of passwords: the file's mode, the command's output and failures, the cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "store/postgres/pg.h"

static char dir[64], path[96];

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	(void)state;
	snprintf(dir, sizeof dir, "%.30s/cenote-cred-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/file", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static void write_file(const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fchmod(fileno(f), mode), 0);
	assert_int_equal(fclose(f), 0);
}

static unsigned lines(void)
{
	unsigned n = 0;
	FILE *f = fopen(path, "r");
	if (!f)
		return 0;
	for (int c; (c = fgetc(f)) != EOF;)
		n += c == '\n';
	fclose(f);
	return n;
}

static void gives(struct pg_credential *c, const char *refused, const char *want)
{
	char *password;
	uint64_t until;
	if (c->get(c, refused, deadline_in_ms(20000), &password, &until) != OK)
		fail_msg("%s", diag_get()->text);
	assert_string_equal(password, want);
	secret_free(password);
}

static void fails(struct pg_credential *c, enum err want, const char *part)
{
	char *password = (char *)"";
	uint64_t until;
	assert_int_equal(c->get(c, NULL, deadline_in_ms(20000), &password, &until), want);
	assert_null(password);
	if (!strstr(diag_get()->text, part))
		fail_msg("%s", diag_get()->text);
	assert_null(strstr(diag_get()->text, "secret"));
}

static void a_file_is_read_each_time(void **state)
{
	struct pg_options opt = {.password_file = str_c(path), .password_life_ms = 60000};
	struct pg_credential *c;
	char *password;
	uint64_t until, before = clock_mono_ns();
	(void)state;
	assert_int_equal(pg_credential_new(&opt, &c), OK);
	fails(c, E_BUSY, "No such file");
	write_file("one\n", 0600);
	gives(c, NULL, "one");
	write_file(" two \r\n", 0400);
	gives(c, NULL, " two ");
	write_file("secret", 0640);
	fails(c, E_DENIED, "chmod 0600");
	setenv("CREDENTIALS_DIRECTORY", dir, 1);
	gives(c, NULL, "secret");
	unsetenv("CREDENTIALS_DIRECTORY");
	write_file("\n", 0600);
	fails(c, E_BUSY, "empty");
	write_file("x", 0600);
	assert_int_equal(c->get(c, NULL, NEVER, &password, &until), OK);
	assert_true(until >= before + UINT64_C(60000000000) && until <= deadline_in_ms(60000));
	secret_free(password);
	c->free(c);
}

static struct pg_credential *command(const char *text, uint32_t life_ms)
{
	struct pg_credential *c;
	assert_int_equal(pg_credential_command(str_c(text), life_ms, &c), OK);
	return c;
}

static void a_command_prints_it(void **state)
{
	static const char *const good[][2] = {{"printf 'a b\\n'", "a b"},
					      {"printf 'a\\r\\n'", "a"},
					      {"printf a; echo warning: secret >&2", "a"},
					      /* what it leaves running does not matter */
					      {"sleep 300 >/dev/null 2>&1 & echo $! >\"$F\"; echo a", "a"},
					      {"sleep 300 & echo $! >\"$F\"; echo a", "a"}};
	static const char *const bad[][2] = {{"echo secret; exit 3", "exit status 3"},
					     {"echo secret; kill -9 $$", "signal 9"},
					     {"exec nothing-by-this-name 2>/dev/null", "exit status 127"},
					     {"true", "no password"},
					     {"echo secret; echo secret", "one line"},
					     {"printf 'secret\\000x'", "one line"},
					     {"head -c 70000 /dev/zero | tr '\\0' s", "one line"}};
	(void)state;
	setenv("F", path, 1);
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct pg_credential *c = command(good[i][0], 0);
		gives(c, NULL, good[i][1]);
		c->free(c);
		FILE *f = fopen(path, "r");
		char text[32] = "";
		if (f && fgets(text, sizeof text, f))
			kill((pid_t)strtol(text, NULL, 10), SIGKILL);
		if (f)
			fclose(f);
		unlink(path);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct pg_credential *c = command(bad[i][0], 0);
		fails(c, E_BUSY, bad[i][1]);
		c->free(c);
	}
}

static void a_slow_command_is_ended(void **state)
{
	struct pg_credential *c = command("echo $$ >\"$F\"; sleep 300; echo secret", 0);
	char *password, text[32];
	uint64_t until, begun = clock_mono_ns();
	(void)state;
	setenv("F", path, 1);
	assert_int_equal(c->get(c, NULL, deadline_in_ms(3000), &password, &until), E_BUSY);
	assert_non_null(strstr(diag_get()->text, "in time"));
	assert_true(clock_mono_ns() - begun < UINT64_C(60000000000));
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof text, f));
	fclose(f);
	assert_int_equal(kill((pid_t)strtol(text, NULL, 10), 0), -1); /* gone, and waited for */
	c->free(c);
}

static void *many(void *arg)
{
	struct pg_credential *c = arg;
	char *password;
	uint64_t until;
	enum err e = c->get(c, NULL, deadline_in_ms(20000), &password, &until);
	if (e == OK)
		secret_free(password);
	return (void *)(uintptr_t)e;
}

static void one_run_for_all(void **state)
{
	struct pg_options opt = {.password_command = STR("echo run >>\"$F\"; echo p$(wc -l <\"$F\")")};
	struct pg_credential *c;
	pthread_t th[8];
	void *e;
	(void)state;
	setenv("F", path, 1);
	assert_int_equal(pg_credential_new(&opt, &c), OK);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&th[i], NULL, many, c), 0);
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(pthread_join(th[i], &e), 0);
		assert_int_equal((uintptr_t)e, OK);
	}
	assert_int_equal(lines(), 1);
	gives(c, NULL, "p1");
	gives(c, "p0", "p1"); /* another one was refused */
	assert_int_equal(lines(), 1);
	gives(c, "p1", "p2");
	gives(c, "p1", "p2");
	assert_int_equal(lines(), 2);
	c->free(c);
}

/* A source whose answers the test gives. */
struct given {
	struct pg_credential base;
	enum err err;
	unsigned asked;
	uint64_t until;
};

static enum err given_get(struct pg_credential *c, const char *refused, uint64_t deadline, char **password, uint64_t *until)
{
	struct given *g = (struct given *)c;
	char text[16];
	(void)refused;
	(void)deadline;
	g->asked++;
	if (g->err != OK)
		return err_set(g->err, "not now");
	snprintf(text, sizeof text, "p%u", g->asked);
	*password = strdup(text);
	*until = g->until;
	return OK;
}

static void given_free(struct pg_credential *c)
{
	(void)c;
}

static void kept_for_its_life(void **state)
{
	struct given g = {{given_get, given_free}, E_BUSY, 0, 0};
	struct pg_credential *c;
	(void)state;
	assert_int_equal(pg_credential_cached(&g.base, &c), OK);
	fails(c, E_BUSY, "not now");
	g.err = OK;
	g.until = deadline_in_ms(1);
	gives(c, NULL, "p2");
	while (clock_mono_ns() < g.until)
		;
	g.until = deadline_in_ms(3600000);
	gives(c, NULL, "p3");
	gives(c, NULL, "p3");
	g.err = E_BUSY;
	char *password;
	uint64_t until;
	assert_int_equal(c->get(c, "p3", NEVER, &password, &until), E_BUSY); /* not the refused one again */
	fails(c, E_BUSY, "not now");
	assert_int_equal(g.asked, 5);
	c->free(c);
}

static void one_source(void **state)
{
	struct pg_options opt = {.password = STR("a"), .password_command = STR("b")};
	struct pg_credential *c;
	(void)state;
	assert_int_equal(pg_credential_new(&opt, &c), E_INVALID);
	opt.password_command = STR("");
	assert_int_equal(pg_credential_new(&opt, &c), OK);
	assert_null(c);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(a_file_is_read_each_time), T(a_command_prints_it), T(a_slow_command_is_ended),
					   T(one_run_for_all),		T(kept_for_its_life),	T(one_source)};
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
