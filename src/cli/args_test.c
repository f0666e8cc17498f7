/* The command line: parsing, suggestions, help, completion and man pages of every command; the page of the documentation is fresh.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/cmd.h"

static int setup(void **state)
{
	struct call *c = calloc(1, sizeof *c);
	assert_non_null(c);
	arena_init(&c->arena, 64 << 20);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct call *c = *state;
	arena_release(&c->arena);
	free(c);
	return 0;
}

/* Words of one line, without quotes. */
static enum err parse(struct call *c, const char *line, bool *help)
{
	static char words[20][64];
	static char *argv[21];
	int n = 0;
	struct str rest = str_c(line), w;
	for (bool more = true; more && n < 20;) {
		more = str_cut(rest, ' ', &w, &rest);
		snprintf(words[n], 64, "%.*s", STR_ARG(w));
		argv[n] = words[n];
		n++;
	}
	struct arena a = c->arena;
	*c = (struct call){.arena = a};
	return cmd_parse(c, n, argv, help);
}

static void good(void **state)
{
	struct call *c = *state;
	bool help;
	int64_t n;
	assert_int_equal(parse(c, "put a.b k v --ttl 5m", &help), OK);
	assert_string_equal(c->cmd->name, "put");
	assert_int_equal(c->argc, 3);
	assert_string_equal(call_flag(c, "ttl"), "5m");
	assert_int_equal(parse(c, "search --limit=7 some -- --words -n", &help), OK);
	assert_int_equal(c->argc, 3);
	assert_int_equal(call_int(c, "limit", 1, 10, 3, &n), OK);
	assert_int_equal(n, 7);
	assert_int_equal(call_int(c, "limit", 1, 5, 3, &n), E_INVALID);
	assert_int_equal(parse(c, "rm -ry ns", &help), OK);
	assert_true(call_has(c, "recursive") && call_has(c, "yes"));
	assert_int_equal(parse(c, "search -l5 x -ojson", &help), OK);
	assert_string_equal(call_flag(c, "limit"), "5");
	assert_int_equal(c->output, OUT_JSON);
	assert_int_equal(parse(c, "key create --name x", &help), OK);
	assert_string_equal(c->cmd->name, "key create");
	assert_int_equal(parse(c, "serve --listen a:1 --listen b:2 --metrics-enabled --http-max-body=1MiB", &help), OK);
	assert_int_equal(c->settings_n, 4);
	assert_string_equal(c->settings[2].row->key, "metrics.enabled");
	assert_true(str_eq(c->settings[2].value, STR("true")));
	assert_int_equal(parse(c, "import -", &help), OK);
	assert_string_equal(c->args[0], "-");
	assert_int_equal(parse(c, "get --help", &help), OK);
	assert_true(help);
	assert_int_equal(parse(c, "ls --store sqlite:/x", &help), OK);
}

static void bad(void **state)
{
	static const struct {
		const char *line, *part;
	} t[] = {
		{"serach x", "did you mean search?"},
		{"frobnicate", "`cenote help` lists them"},
		{"key creat", "did you mean key create?"},
		{"key", "say which"},
		{"key --json", "say which"},
		{"search --limt 3 x", "did you mean --limit?"},
		{"serve --lisen x", "did you mean --listen?"},
		{"get a", "arguments are missing"},
		{"get a b c", "too many"},
		{"get a b --user", "needs a value"},
		{"get a b --json=1", "takes no value"},
		{"get a b -o yaml", "--output must be"},
		{"get a b -Z", "no flag -Z"},
		{"get a b --color pink", "--color must be"},
		{"get a b --listen x:1", "no flag --listen"},
		{"serve --api-key x", "no flag"},
		{"search -l", "needs a value"},
	};
	struct call *c = *state;
	bool help;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		if (parse(c, t[i].line, &help) != E_INVALID || strstr(diag_get()->text, t[i].part) == NULL)
			fail_msg("%s: %s", t[i].line, diag_get()->text);
	}
}

/* No letter or name twice in what a command takes; settings and flags do not collide. */
static void table_is_sound(void **state)
{
	struct call *c = *state;
	size_t n, common_n, rows_n;
	const struct cmd *t = cmd_table(&n);
	const struct flag *common = cmd_common(&common_n);
	const struct opt *rows = config_rows(&rows_n);
	for (size_t i = 0; i < n; i++) {
		assert_true(t[i].run && t[i].help[0]);
		for (size_t k = 0; k < t[i].flags_n; k++) {
			const struct flag *f = &t[i].flags[k];
			for (size_t j = 0; j < common_n; j++) {
				assert_string_not_equal(f->name, common[j].name);
				assert_true(f->letter == 0 || f->letter != common[j].letter);
			}
			for (size_t j = 0; j < k; j++) {
				assert_string_not_equal(f->name, t[i].flags[j].name);
				assert_true(f->letter == 0 || f->letter != t[i].flags[j].letter);
			}
			for (size_t j = 0; j < rows_n; j++)
				if (cmd_takes(&t[i], &rows[j]))
					assert_false(str_eq(opt_flag(&c->arena, &rows[j]), str_c(f->name)));
		}
	}
	for (size_t k = 0; k < common_n; k++)
		for (size_t j = 0; j < rows_n; j++)
			if (rows[j].type != OPT_SECRET)
				assert_false(str_eq(opt_flag(&c->arena, &rows[j]), str_c(common[k].name)));
}

static void completes(struct call *c, const char *line, int index, const char *want)
{
	const char *words[10];
	int n = 0;
	struct str rest = str_c(line), w;
	for (bool more = true; more;) {
		more = str_cut(rest, ' ', &w, &rest);
		words[n++] = arena_cstr(&c->arena, w);
	}
	struct buf b;
	buf_init(&b, &c->arena, 1 << 20);
	complete_words(words, n, index, &b);
	buf_byte(&b, '\0');
	if (strcmp(b.p, want) != 0)
		fail_msg("%s: %s", line, b.p);
}

static void completion(void **state)
{
	struct call *c = *state;
	completes(c, "cenote se", 1, "serve\nsearch\nsessions\n");
	completes(c, "cenote threads e", 2, "export\n");
	completes(c, "cenote ke", 1, "key\n");
	completes(c, "cenote key ", 2, "create\nlist\nrevoke\n");
	completes(c, "cenote key cr", 2, "create\n");
	completes(c, "cenote search x --exp", 3, "--explain\n");
	completes(c, "cenote hi", 1, "history\n");
	completes(c, "cenote put a k --valid", 4, "--valid-from\n--valid-to\n");
	completes(c, "cenote serve --listen x --http-max-b", 4, "--http-max-body\n");
	completes(c, "cenote completion z", 2, "zsh\n");
	completes(c, "cenote __c", 1, "");
	completes(c, "cenote help key c", 3, "create\n");
	completes(c, "cenote", 5, "");
}

static void pages(void **state)
{
	struct call *c = *state;
	size_t n;
	const struct cmd *t = cmd_table(&n);
	struct buf b;
	for (size_t i = 0; i < n; i++) {
		char name[64];
		if (t[i].attr & CMD_HIDDEN)
			continue;
		snprintf(name, sizeof name, "cenote-%s", t[i].name);
		for (char *p = name; *p; p++)
			*p = *p == ' ' ? '-' : *p;
		buf_init(&b, &c->arena, 1 << 20);
		assert_int_equal(man_page(name, &b), OK);
		assert_true(str_starts(buf_slice(&b), STR(".TH CENOTE\\-")));
	}
	buf_init(&b, &c->arena, 1 << 20);
	assert_int_equal(man_page("cenote", &b), OK);
	assert_int_equal(man_page("cenote.yaml", &b), OK);
	assert_int_equal(man_page("cenote-__complete", &b), E_INVALID);
	assert_int_equal(man_page("other", &b), E_INVALID);
}

/* docs/cli.md is what the table gives. */
static void reference_is_fresh(void **state)
{
	struct call *c = *state;
	const char *root = getenv("MESON_SOURCE_ROOT"), *file = __FILE__;
	char path[512], chunk[4096];
	struct buf want, have;
	snprintf(path, sizeof path, "%s/docs/cli.md", root ? root : ".");
	FILE *in = fopen(path, "r");
	if (in == NULL) {
		snprintf(path, sizeof path, "%.*sdocs/cli.md", (int)(strlen(file) - strlen("src/cli/args_test.c")), file);
		in = fopen(path, "r");
	}
	if (in == NULL)
		skip();
	buf_init(&want, &c->arena, 1 << 20);
	buf_init(&have, &c->arena, 1 << 20);
	cli_markdown(&want);
	for (size_t n; (n = fread(chunk, 1, sizeof chunk, in)) > 0;)
		buf_put(&have, chunk, n);
	fclose(in);
	if (!str_eq(buf_slice(&want), buf_slice(&have)))
		fail_msg("docs/cli.md is stale: cenote help --markdown cli > docs/cli.md");
}

static void colour(void **state)
{
	(void)state;
	unsetenv("FORCE_COLOR");
	unsetenv("CLICOLOR_FORCE");
	setenv("NO_COLOR", "1", 1);
	assert_true(color_wanted("always", 1));
	assert_false(color_wanted("never", 1));
	assert_false(color_wanted(NULL, 1));
	setenv("NO_COLOR", "", 1);
	setenv("FORCE_COLOR", "1", 1);
	assert_true(color_wanted(NULL, 1));
	unsetenv("FORCE_COLOR");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(good),  T(bad), T(table_is_sound), T(completion), T(pages), T(reference_is_fresh),
					   T(colour)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
