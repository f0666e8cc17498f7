/* The table of settings, their values, the sources and their order, and the reference page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/config.h"

struct fix {
	struct config c;
	struct problems p;
	char dir[64];
};

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof *f);
	assert_non_null(f);
	assert_int_equal(config_init(&f->c), OK);
	f->p.a = &f->c.arena;
	const char *tmp = getenv("TMPDIR");
	snprintf(f->dir, sizeof f->dir, "%.30s/cenote-config-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;
	char path[128];
	snprintf(path, sizeof path, "%s/file", f->dir);
	unlink(path);
	rmdir(f->dir);
	config_release(&f->c);
	free(f);
	return 0;
}

static const char *put_file(struct fix *f, const char *text, mode_t mode, char path[128])
{
	snprintf(path, 128, "%s/file", f->dir);
	FILE *o = fopen(path, "w");
	assert_non_null(o);
	fputs(text, o);
	assert_int_equal(fchmod(fileno(o), mode), 0);
	assert_int_equal(fclose(o), 0);
	return path;
}

static void names_do_not_collide(void **state)
{
	struct fix *f = *state;
	size_t n;
	const struct opt *rows = config_rows(&n);
	struct str flags[CONFIG_ROWS_MAX], envs[CONFIG_ROWS_MAX];
	for (size_t i = 0; i < n; i++) {
		flags[i] = opt_flag(&f->c.arena, &rows[i]);
		envs[i] = opt_env(&f->c.arena, &rows[i]);
		for (size_t k = 0; k < i; k++) {
			assert_false(str_eq(flags[i], flags[k]));
			assert_false(str_eq(envs[i], envs[k]));
			assert_string_not_equal(rows[i].key, rows[k].key);
		}
		assert_true(rows[i].help[0] != 0);
	}
	assert_true(str_eq(opt_flag(&f->c.arena, config_row(STR("http.max_body"))), STR("http-max-body")));
	assert_true(str_eq(opt_env(&f->c.arena, config_row(STR("http.max_body"))), STR("CENOTE_HTTP_MAX_BODY")));
}

static void defaults_format_as_written(void **state)
{
	struct fix *f = *state;
	size_t n;
	const struct opt *rows = config_rows(&n);
	for (size_t i = 0; i < n; i++) {
		struct buf b;
		if (f->c.data.n == 0 && (strcmp(rows[i].key, "data") == 0 || strcmp(rows[i].key, "store") == 0 ||
					 strcmp(rows[i].key, "embed.model_dir") == 0))
			continue;
		buf_init(&b, &f->c.arena, 4096);
		opt_format(&rows[i], opt_field(&f->c, &rows[i]), &b);
		struct str dflt = str_c(rows[i].dflt);
		/* 60s is written as 1m, which is the same. */
		int64_t ms;
		if (rows[i].type == OPT_DURATION) {
			assert_int_equal(parse_duration(buf_slice(&b), &ms), OK);
			assert_int_equal(ms, *(int64_t *)opt_field(&f->c, &rows[i]));
		} else {
			assert_true(str_eq(buf_slice(&b), dflt));
		}
	}
}

static void values(void **state)
{
	struct fix *f = *state;
	int64_t v;
	assert_int_equal(parse_size(STR("64KiB"), &v), OK);
	assert_int_equal(v, 65536);
	assert_int_equal(parse_size(STR("123"), &v), OK);
	assert_int_equal(v, 123);
	assert_int_equal(parse_size(STR("1TiB"), &v), OK);
	assert_int_equal(parse_duration(STR("250ms"), &v), OK);
	assert_int_equal(v, 250);
	assert_int_equal(parse_duration(STR("7d"), &v), OK);
	assert_int_equal(v, 7 * 86400000);
	assert_int_equal(parse_duration(STR("0"), &v), OK);
	static const char *const bad_sizes[] = {"", "KiB", "8MB", "-1", "1.5MiB", "99999999999TiB", " 1", "1 KiB"};
	for (size_t i = 0; i < sizeof bad_sizes / sizeof bad_sizes[0]; i++)
		assert_int_equal(parse_size(str_c(bad_sizes[i]), &v), E_INVALID);
	static const char *const bad_times[] = {"", "30", "5min", "-1s", "1.5s", "9999999999999999d"};
	for (size_t i = 0; i < sizeof bad_times / sizeof bad_times[0]; i++)
		assert_int_equal(parse_duration(str_c(bad_times[i]), &v), E_INVALID);
	static const struct {
		const char *key, *text;
		bool ok;
	} t[] = {
		{"http.max_connections", "0", false},
		{"http.max_connections", "1", true},
		{"http.max_connections", "x", false},
		{"http.max_body", "1GiB", true},
		{"http.max_body", "2GiB", false},
		{"auth", "keys", true},
		{"auth", "Keys", false},
		{"auth", "", false},
		{"auth", "off|keys", false},
		{"metrics.enabled", "YES", true},
		{"metrics.enabled", "2", false},
		{"listen", "127.0.0.1:0", true},
		{"listen", "127.0.0.1", false},
		{"listen", ":80", false},
		{"listen", "::1:80", false},
		{"listen", "[::1]:80", true},
		{"listen", "h:65536", false},
		{"listen", "unix:/a", true},
		{"listen", "unix:", false},
		{"listen", "a:1, b:2", true},
		{"listen", "", false},
		{"store", "sqlite:/x", true},
		{"store", "sqlite:", false},
		{"store", "mysql://x", false},
		{"store", "postgresql://", true},
		{"store", "postgres://u:p@h:5432/d?sslmode=verify-full", true},
		{"pg.pool.min", "0", false},
		{"pg.pool.max", "0", true},
		{"pg.prepare", "maybe", false},
		{"pg.migrate", "off", true},
		{"pg.connect_timeout", "0s", false},
		{"pg.recycle", "0s", true},
		{"server", "http://x:1", true},
		{"server", "x:1", false},
		{"data", "a\nb", false},
		{"http.request_timeout", "30s", true},
		{"http.request_timeout", "1ms", false},
		{"log.level", "loud", false},
		{"index.languages", "english,a=german", true},
		{"recall.near", "101", false},
		{"recall.weights.full", "v=3.5, ask=-1", true},
		{"cors.origins", "", true},
	};
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		const struct opt *o = config_row(str_c(t[i].key));
		struct str s = str_c(t[i].text);
		union {
			struct str s;
			struct str_list l;
			int64_t i;
			bool b;
		} field;
		enum err e = opt_parse(o, &f->c.arena, &s, 1, &field);
		if ((e == OK) != t[i].ok)
			fail_msg("%s: %s", t[i].key, t[i].text);
	}
}

static void yaml_reads(void **state)
{
	struct fix *f = *state;
	config_yaml(&f->c,
		    STR("listen: [127.0.0.1:1, 'unix:/a']\nhttp:\n  max_body: 1MiB\nlog.level: debug\nttl:\n    default: 7d\n"
			"cors:\n  origins:\n    - https://a.example\n    - https://b.example\nindex:\n"),
		    STR("t.yaml"), &f->p);
	assert_int_equal(f->p.n, 0);
	assert_int_equal(f->c.listen.n, 2);
	assert_true(str_eq(f->c.listen.v[1], STR("unix:/a")));
	assert_int_equal(f->c.http_max_body, 1 << 20);
	assert_int_equal(f->c.log_level, 0);
	assert_int_equal(f->c.ttl_default, 7 * 86400000);
	assert_int_equal(f->c.cors_origins.n, 2);
}

static void yaml_refuses(void **state)
{
	static const struct {
		const char *text;
		unsigned line, column;
		const char *part, *hint;
	} t[] = {
		{"http:\n  max_bdy: 1MiB\n", 2, 3, "no such setting", "http.max_body"},
		{"http.max_body: 9GiB\n", 1, 16, "must be 1KiB..1GiB", ""},
		{"auth: keys\nauth: off\n", 2, 1, "set twice", ""},
		{"http:\n  loops: 1\nhttp:\n  max_body: 1MiB\n", 3, 1, "twice", ""},
		{"auth: &a keys\n", 1, 7, "anchors", ""},
		{"auth: *a\n", 1, 7, "aliases", ""},
		{"auth: !!str keys\n", 1, 7, "tags", ""},
		{"<<: {auth: keys}\n", 1, 1, "merge", ""},
		{"auth: off\n---\nauth: off\n", 2, 1, "second document", ""},
		{"- a\n- b\n", 1, 1, "must hold settings", ""},
		{"auth: [off]\n", 1, 7, "one value", ""},
		{"auth: {a: b}\n", 1, 7, "not a group", ""},
		{"http: 5\n", 1, 1, "group of settings", ""},
		{"auth:\n", 1, 6, "no value", ""},
		{"http:\n\tloops: 1\n", 2, 1, "not YAML", ""},
		{"listen: [[a:1]]\n", 1, 10, "plain values", ""},
		{"api_key: cn_x\n", 1, 1, "secret", ""},
		{"api_key_file: /nonexistent/x\n", 1, 1, "cannot read", ""},
		{"\xff\xfe: x\n", 0, 0, "", ""},
	};
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct fix *f = *state;
		f->p.n = 0;
		config_yaml(&f->c, str_c(t[i].text), STR("t.yaml"), &f->p);
		if (f->p.n == 0)
			fail_msg("accepted: %s", t[i].text);
		const struct problem *q = &f->p.v[0];
		if (t[i].line && (q->line != t[i].line || q->column != t[i].column))
			fail_msg("%s at %u:%u: %.*s", t[i].text, q->line, q->column, STR_ARG(q->message));
		if (strstr(q->message.p, t[i].part) == NULL || !str_eq(q->hint, str_c(t[i].hint)))
			fail_msg("%s: %.*s (%.*s)", t[i].text, STR_ARG(q->message), STR_ARG(q->hint));
	}
}

static void precedence(void **state)
{
	struct fix *f = *state;
	char path[128];
	put_file(f, "http:\n  loops: 2\n  max_body: 2MiB\n  max_header: 2KiB\nstore: sqlite:/tmp/file\n", 0600, path);
	char *env[] = {"CENOTE_HTTP_LOOPS=3", "CENOTE_HTTP_MAX_BODY=3MiB", "HOME=/home/x", "PORT=81", NULL};
	struct config_flag flags[] = {{config_row(STR("http.loops")), STR("4")}, {config_row(STR("http.loops")), STR("5")}};
	struct config_args args = {.path = path, .flags = flags, .flags_n = 2, .env = env};
	assert_int_equal(config_load(&f->c, &args, &f->p), OK);
	assert_int_equal(f->c.http_loops, 5);
	assert_int_equal(f->c.http_max_body, 3 << 20);
	assert_int_equal(f->c.http_max_header, 2048);
	assert_int_equal(f->c.http_idle_timeout, 60000);
	assert_true(str_eq(f->c.data, STR("/home/x/.local/share/cenote")));
	assert_true(str_eq(f->c.store, STR("sqlite:/tmp/file")));
	assert_true(str_eq(f->c.listen.v[0], STR("127.0.0.1:81")));
	struct buf b;
	buf_init(&b, &f->c.arena, 64 << 10);
	config_print(&f->c, false, true, &b);
	buf_byte(&b, '\0');
	assert_non_null(strstr(b.p, "  loops: 5  # flag --http-loops\n"));
	assert_non_null(strstr(b.p, "  max_body: 3MiB  # env CENOTE_HTTP_MAX_BODY\n"));
	assert_non_null(strstr(b.p, "file:4\n"));
	assert_null(strstr(b.p, "idle_timeout"));
}

static void printed_reads_back(void **state)
{
	struct fix *f = *state;
	struct str lang = STR("english,a.b=german");
	config_set(&f->c, config_row(STR("index.languages")), &lang, 1, (struct opt_origin){FROM_FLAG, 0, 0, {0}}, &f->p);
	f->c.data = STR("/a b/\"c\"");
	f->c.store = STR("sqlite:/x");
	struct buf b;
	buf_init(&b, &f->c.arena, 64 << 10);
	config_print(&f->c, true, true, &b);
	struct config c2;
	struct problems p2 = {.a = &f->c.arena};
	assert_int_equal(config_init(&c2), OK);
	config_yaml(&c2, buf_slice(&b), STR("printed"), &p2);
	if (p2.n)
		fail_msg("%u: %.*s: %.*s\n%.*s", p2.v[0].line, STR_ARG(p2.v[0].key), STR_ARG(p2.v[0].message),
			 STR_ARG(buf_slice(&b)));
	size_t n;
	const struct opt *rows = config_rows(&n);
	for (size_t i = 0; i < n; i++)
		if (rows[i].type != OPT_SECRET && !opt_equal(&rows[i], opt_field(&f->c, &rows[i]), opt_field(&c2, &rows[i])))
			fail_msg("%s", rows[i].key);
	config_release(&c2);
}

static void all_problems_are_told(void **state)
{
	struct fix *f = *state;
	char path[128];
	put_file(f, "auth: maybe\nnope: 1\nlog:\n  level: loud\n", 0600, path);
	char *env[] = {"CENOTE_HTTP_LOOPS=x", "HOME=/h", "CENOTE_LISTEN=0.0.0.0:80", NULL};
	struct config_args args = {.path = path, .env = env};
	assert_int_equal(config_load(&f->c, &args, &f->p), E_INVALID);
	assert_int_equal(f->p.n, 5);
	assert_true(str_eq(f->p.v[3].key, STR("CENOTE_HTTP_LOOPS")));
	assert_non_null(strstr(f->p.v[4].message.p, "other machines"));
}

static void weights_name_their_features(void **state)
{
	static const struct {
		const char *key, *text, *part;
	} t[] = {
		{"recall.weights.full", "v=3,vnex=1", "\"vnex\" is not a feature"},
		{"recall.weights.words", "v=3", "there are: lex, pair"},
		{"recall.weights.items", "pair=1", "there are: lex, v"},
		{"recall.weights.items", "lex=-1", "from 0 to 1000"},
		{"recall.weights.full", "lex=many", "got \"many\""},
		{"recall.weights.full", "lex", "feature=number"},
	};
	struct fix *f = *state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		const struct opt *o = config_row(str_c(t[i].key));
		struct str text = str_c(t[i].text), none = STR("");
		f->p.n = 0;
		config_set(&f->c, o, &text, 1, (struct opt_origin){FROM_FLAG, 0, 0, {0}}, &f->p);
		config_check(&f->c, &f->p);
		assert_int_equal(f->p.n, 1);
		assert_true(str_eq(f->p.v[0].key, str_c(t[i].key)));
		assert_non_null(strstr(f->p.v[0].message.p, t[i].part));
		config_set(&f->c, o, &none, 1, (struct opt_origin){FROM_FLAG, 0, 0, {0}}, &f->p);
	}
}

static void missing_file(void **state)
{
	struct fix *f = *state;
	char *env[] = {"HOME=/h", "CENOTE_CONFIG=/nonexistent/cenote.yaml", NULL};
	struct config_args args = {.env = env};
	assert_int_equal(config_load(&f->c, &args, &f->p), E_INVALID);
	assert_non_null(strstr(diag_get()->text, "No such file"));
}

static void secrets(void **state)
{
	struct fix *f = *state;
	char path[128], var[200];
	put_file(f, "cn_secret\n", 0644, path);
	snprintf(var, sizeof var, "CENOTE_API_KEY_FILE=%s", path);
	char *env[] = {"HOME=/h", "CENOTE_CONFIG=/dev/null", var, NULL};
	struct config_args args = {.env = env};
	assert_int_equal(config_load(&f->c, &args, &f->p), E_INVALID);
	assert_non_null(strstr(f->p.v[0].message.p, "0600"));
	assert_int_equal(chmod(path, 0600), 0);
	f->p.n = 0;
	assert_int_equal(config_load(&f->c, &args, &f->p), OK);
	assert_true(str_eq(f->c.api_key, STR("cn_secret")));
	struct buf b;
	buf_init(&b, &f->c.arena, 64 << 10);
	config_print(&f->c, true, false, &b);
	buf_byte(&b, '\0');
	assert_null(strstr(b.p, "cn_secret"));
	assert_non_null(strstr(b.p, "(set)"));
}

/* A load of its own with only these variables and flags; kept in one for the assertions. */
static struct config one;
static struct problems one_p;

static enum err load(char **env, const struct config_flag *flags, size_t n)
{
	struct config_args args = {.path = "/dev/null", .flags = flags, .flags_n = n, .env = env};
	assert_int_equal(config_init(&one), OK);
	one_p = (struct problems){.a = &one.arena};
	return config_load(&one, &args, &one_p);
}

static void stored(const char *store, const char *origin)
{
	struct buf b;
	buf_init(&b, &one.arena, 4096);
	config_origin(&one, config_row(STR("store")), &b);
	if (!str_eq(one.store, str_c(store)) || !str_eq(buf_slice(&b), str_c(origin)))
		fail_msg("%.*s (%.*s), expected %s (%s)", STR_ARG(one.store), STR_ARG(buf_slice(&b)), store, origin);
}

static void a_store_from_elsewhere(void **state)
{
	static const struct {
		const char *env[8];
		const char *store, *origin;
	} t[] = {
		{{"HOME=/h"}, "sqlite:/h/.local/share/cenote", "default"},
		{{"HOME=/h", "DATABASE_URL=postgres://u@h/d", "LAKEBASE_HOST=x", "PGHOST=y"},
		 "postgres://u@h/d",
		 "env DATABASE_URL"},
		{{"HOME=/h", "DATABASE_URL=mysql://u@h/d", "PGHOST=y"}, "postgresql://", "env PGHOST"},
		{{"HOME=/h", "PGSERVICE=s"}, "postgresql://", "env PGSERVICE"},
		{{"HOME=/h", "PGDATABASE=d", "PGUSER=u"}, "sqlite:/h/.local/share/cenote", "default"},
		{{"HOME=/h", "PGHOST=y", "CENOTE_STORE=sqlite:/x"}, "sqlite:/x", "env CENOTE_STORE"},
		{{"LAKEBASE_HOST=x.example", "LAKEBASE_USER=a@b c", "PGHOST=y"},
		 "postgresql://a%40b%20c@x.example/agents?sslmode=require",
		 "env LAKEBASE_HOST"},
		{{"LAKEBASE_HOST=x.example:5433", "LAKEBASE_DATABASE=d/e", "PGSSLMODE=verify-full"},
		 "postgresql://x.example:5433/d%2Fe",
		 "env LAKEBASE_HOST"},
		{{"LAKEBASE_HOST=localhost:5433", "LAKEBASE_USER=u"}, "postgresql://u@localhost:5433/agents", "env LAKEBASE_HOST"},
		{{"LAKEBASE_HOST=::1"}, "postgresql://[::1]/agents", "env LAKEBASE_HOST"},
		{{"LAKEBASE_HOST=/run/pg"}, "postgresql://%2Frun%2Fpg/agents", "env LAKEBASE_HOST"},
		{{"HOME=/h", "LAKEBASE_HOST="}, "sqlite:/h/.local/share/cenote", "default"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		if (load((char **)t[i].env, NULL, 0) != OK)
			fail_msg("%s", diag_get()->text);
		stored(t[i].store, t[i].origin);
		config_release(&one);
	}
	char *env[] = {"DATABASE_URL=postgres://u@h/d", NULL};
	struct config_flag flag = {config_row(STR("store")), STR("sqlite:/f")};
	assert_int_equal(load(env, &flag, 1), OK);
	stored("sqlite:/f", "flag --store");
	config_release(&one);
}

/* Where traces go, by other products' variables: endpoint, experiment, token, headers; no credential goes to an address that it did
 * not come with. */
static void traces_from_elsewhere(void **state)
{
	static const struct {
		const char *env[8];
		const char *endpoint, *experiment, *token, *headers;
	} t[] = {
		{{"HOME=/h", "MLFLOW_TRACKING_TOKEN=tok", "OTEL_EXPORTER_OTLP_HEADERS=a=b"}, "", "", "", ""},
		{{"HOME=/h", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318/", "OTEL_EXPORTER_OTLP_HEADERS=a=b%20c",
		  "MLFLOW_TRACKING_TOKEN=tok"},
		 "http://c:4318/v1/traces",
		 "",
		 "",
		 "a=b%20c"},
		{{"HOME=/h", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://d/x",
		  "MLFLOW_TRACKING_URI=http://m", "MLFLOW_EXPERIMENT_ID=7"},
		 "http://d/x",
		 "7",
		 "",
		 ""},
		{{"HOME=/h", "MLFLOW_TRACKING_URI=https://m/", "MLFLOW_TRACKING_TOKEN=tok"}, "https://m/v1/traces", "0", "tok", ""},
		{{"HOME=/h", "MLFLOW_TRACKING_URI=https://m", "MLFLOW_TRACKING_USERNAME=u", "MLFLOW_TRACKING_PASSWORD=p",
		  "MLFLOW_EXPERIMENT_ID=3"},
		 "https://m/v1/traces",
		 "3",
		 "",
		 "Authorization=Basic%20dTpw"},
		{{"HOME=/h", "MLFLOW_TRACKING_URI=databricks", "DATABRICKS_HOST=w.example", "DATABRICKS_TOKEN=dapi",
		  "CENOTE_TRACES_TABLE=c.s.x_otel_spans"},
		 "https://w.example/api/2.0/otel/v1/traces",
		 "",
		 "dapi",
		 ""},
		{{"HOME=/h", "MLFLOW_TRACKING_URI=databricks", "DATABRICKS_HOST=w.example", "DATABRICKS_TOKEN=dapi"},
		 "",
		 "",
		 "",
		 ""},
		{{"HOME=/h", "MLFLOW_TRACKING_URI=sqlite:///x.db", "MLFLOW_TRACKING_TOKEN=tok"}, "", "", "", ""},
		{{"HOME=/h", "MLFLOW_TRACKING_URI=https://m", "MLFLOW_TRACKING_TOKEN=tok",
		  "CENOTE_TRACES_ENDPOINT=http://mine/v1/traces"},
		 "http://mine/v1/traces",
		 "",
		 "",
		 ""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		if (load((char **)t[i].env, NULL, 0) != OK)
			fail_msg("%zu: %s", i, diag_get()->text);
		if (!str_eq(one.traces_endpoint, str_c(t[i].endpoint)) || !str_eq(one.traces_experiment, str_c(t[i].experiment)) ||
		    !str_eq(one.traces_token, str_c(t[i].token)) || !str_eq(one.traces_headers, str_c(t[i].headers)))
			fail_msg("%zu: %.*s, %.*s, %.*s, %.*s", i, STR_ARG(one.traces_endpoint), STR_ARG(one.traces_experiment),
				 STR_ARG(one.traces_token), STR_ARG(one.traces_headers));
		config_release(&one);
	}
}

static void wrong_traces(void **state)
{
	static const struct {
		const char *env[4], *part;
	} t[] = {{{"HOME=/h", "CENOTE_TRACES_ENDPOINT=m:5000"}, "must begin with http"},
		 {{"HOME=/h", "CENOTE_TRACES_ENDPOINT=http://m", "CENOTE_TRACES_EXPERIMENT=mine"}, "must be the number"},
		 {{"HOME=/h", "CENOTE_TRACES_HEADERS=Authorization: Bearer s3cret"}, "part 1 is not"},
		 {{"HOME=/h", "CENOTE_TRACES_HEADERS=x=s3cret%0d%0ay"}, "the value of x must be percent-encoded"},
		 {{"HOME=/h", "CENOTE_TRACES_ENDPOINT=https://w/api/2.0/otel/v1/traces"}, "needs traces.table"}};
	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		assert_int_equal(load((char **)t[i].env, NULL, 0), E_INVALID);
		if (!strstr(diag_get()->text, t[i].part) || strstr(diag_get()->text, "s3cret"))
			fail_msg("%zu: %s", i, diag_get()->text);
		config_release(&one);
	}
}

static void lakebase_password_and_pool(void **state)
{
	char *env[] = {"LAKEBASE_HOST=h",
		       "LAKEBASE_USER=u",
		       "LAKEBASE_PASSWORD=secret",
		       "DB_POOL_MIN_SIZE=3",
		       "DB_POOL_MAX_SIZE=9",
		       "USE_NULLPOOL=1",
		       NULL};
	struct config_flag flag[] = {{config_row(STR("pg.password_command")), STR("echo x")},
				     {config_row(STR("pg.pool.max")), STR("7")}};
	struct buf b;
	(void)state;
	assert_int_equal(load(env, NULL, 0), OK);
	assert_true(str_eq(one.pg_password, STR("secret")));
	assert_int_equal(one.pg_pool_min, 3);
	assert_int_equal(one.pg_pool_max, 9);
	assert_false(one.pg_pool_enabled);
	buf_init(&b, &one.arena, 64 << 10);
	config_print(&one, false, true, &b);
	buf_byte(&b, 0);
	assert_null(strstr(b.p, "secret"));
	assert_non_null(strstr(b.p, "password: (set)  # env LAKEBASE_PASSWORD\n"));
	assert_non_null(strstr(b.p, "  pool.min: 3  # env DB_POOL_MIN_SIZE\n"));
	assert_non_null(strstr(b.p, "  pool.enabled: false  # env USE_NULLPOOL\n"));
	config_release(&one);
	/* What is said to us counts more. */
	assert_int_equal(load(env, flag, 2), OK);
	assert_int_equal(one.pg_password.n, 0);
	assert_int_equal(one.pg_pool_max, 7);
	config_release(&one);
	char *odd[] = {"HOME=/h", "USE_NULLPOOL=perhaps", "DB_POOL_MIN_SIZE=many", NULL};
	assert_int_equal(load(odd, NULL, 0), E_INVALID);
	assert_int_equal(one_p.n, 2);
	assert_true(str_eq(one_p.v[0].key, STR("DB_POOL_MIN_SIZE")));
	assert_true(str_eq(one_p.v[1].key, STR("USE_NULLPOOL")));
	config_release(&one);
}

static void postgres_rules(void **state)
{
	static const struct {
		const char *env[5], *key, *part;
	} t[] = {
		{{"CENOTE_PG_POOL_MIN=5", "CENOTE_PG_POOL_MAX=4"}, "pg.pool.min", "above"},
		{{"CENOTE_PG_SCHEMA=pg_x"}, "pg.schema", "own"},
		{{"CENOTE_PG_SCHEMA=information_schema"}, "pg.schema", "own"},
		{{"CENOTE_PG_SCHEMA=123456789012345678901234567890123456789012345678901"}, "pg.schema", "50 bytes"},
		{{"CENOTE_PG_PASSWORD=secret", "CENOTE_PG_PASSWORD_COMMAND=x"}, "pg.password", "only one"},
		{{"CENOTE_PG_PASSWORD_FILE=/x", "CENOTE_PG_PASSWORD_COMMAND=x"}, "pg.password", "only one"},
		{{"CENOTE_PG_PASSWORD_LIFE=15m"}, "pg.password_life", "needs"},
		{{"CENOTE_STORE=postgresql://u:secret@h/d", "CENOTE_PG_PASSWORD=x"}, "store", "besides"},
		{{"CENOTE_STORE=mysql://u:secret@h/d"}, "CENOTE_STORE", "\"mysql://u:***@h/d\""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		const char *env[6] = {"HOME=/h"};
		memcpy(env + 1, t[i].env, sizeof t[i].env);
		assert_int_equal(load((char **)env, NULL, 0), E_INVALID);
		const struct problem *q = &one_p.v[0];
		if (one_p.n != 1 || !str_eq(q->key, str_c(t[i].key)) || !strstr(q->message.p, t[i].part) ||
		    strstr(q->message.p, "secret"))
			fail_msg("%zu: %zu problems, %.*s: %.*s", i, one_p.n, STR_ARG(q->key), STR_ARG(q->message));
		config_release(&one);
	}
	char *good[] = {"CENOTE_STORE=postgresql://u:secret@h/d", "CENOTE_PG_SCHEMA=Odd \"one", NULL};
	struct buf b;
	assert_int_equal(load(good, NULL, 0), OK);
	buf_init(&b, &one.arena, 64 << 10);
	config_print(&one, false, true, &b);
	buf_byte(&b, 0);
	assert_null(strstr(b.p, "secret"));
	assert_non_null(strstr(b.p, "store: \"postgresql://u:***@h/d\"  # env CENOTE_STORE\n"));
	config_release(&one);
	/* The file is read by the setting of that name, at each login. */
	char *file[] = {"HOME=/h", "CENOTE_PG_PASSWORD_FILE=/nonexistent", NULL};
	assert_int_equal(load(file, NULL, 0), OK);
	assert_true(str_eq(one.pg_password_file, STR("/nonexistent")));
	config_release(&one);
}

static void threads_and_checkpoints(void **state)
{
	char *env[] = {"HOME=/h",
		       "CENOTE_PRIVACY_RETENTION=default/a:b: last=10; *: idle=365",
		       "CENOTE_RETENTION_INTERVAL=30s",
		       "CENOTE_CHECKPOINTS_MAX_BODY=1GiB",
		       "CENOTE_CHECKPOINTS_LAYOUT=compact",
		       NULL};
	char *odd[] = {"HOME=/h", "CENOTE_PRIVACY_RETENTION=default: last=1; *: frist=10", NULL};
	char *langgraph[] = {"HOME=/h", "CENOTE_CHECKPOINTS_LAYOUT=langgraph", NULL};
	char *there[] = {"CENOTE_STORE=postgresql://u@h/d", "CENOTE_CHECKPOINTS_LAYOUT=langgraph", NULL};
	(void)state;
	assert_int_equal(load(env, NULL, 0), OK);
	assert_int_equal(one.checkpoints_layout, LAYOUT_COMPACT);
	assert_int_equal(one.checkpoints_max_body, 1 << 30);
	assert_int_equal(one.retention_interval, 30000);
	assert_true(str_eq(one.privacy_retention, STR("default/a:b: last=10; *: idle=365")));
	config_release(&one);
	assert_int_equal(load(odd, NULL, 0), E_INVALID);
	assert_true(one_p.n == 1 && str_eq(one_p.v[0].key, STR("privacy.retention")));
	assert_non_null(strstr(one_p.v[0].message.p, "at character 21: "));
	config_release(&one);
	assert_int_equal(load(langgraph, NULL, 0), E_INVALID);
	assert_true(one_p.n == 1 && str_eq(one_p.v[0].key, STR("checkpoints.layout")));
	config_release(&one);
	assert_int_equal(load(there, NULL, 0), OK);
	config_release(&one);
}

static void encoder(void **state)
{
	static const struct {
		const char *env[4], *key, *part;
	} t[] = {
		{{"CENOTE_EMBED_KIND=remote"}, "embed.kind", "needs embed.base_url"},
		{{"CENOTE_EMBED_BASE_URL=ftp://h", "CENOTE_EMBED_MODEL=m"}, "embed.base_url", "http://"},
		{{"CENOTE_EMBED_BASE_URL=http://u:secret@h/v1", "CENOTE_EMBED_MODEL=m"}, "embed.base_url", "user or password"},
		{{"CENOTE_EMBED_BASE_URL=https://h/v1?key=secret", "CENOTE_EMBED_MODEL=m"}, "embed.base_url", "query"},
		{{"CENOTE_EMBED_BASE_URL=https://h/v1"}, "embed.base_url", "needs embed.model"},
	};
	char *good[] = {"XDG_DATA_HOME=/x", "CENOTE_EMBED_BASE_URL=https://h/v1", "CENOTE_EMBED_MODEL=org/m",
			"CENOTE_EMBED_API_KEY=secret", NULL};
	char *off[] = {"HOME=/h", "CENOTE_DATA=/d", "CENOTE_EMBED_KIND=off", "CENOTE_EMBED_BASE_URL=https://h/v1", NULL};
	struct buf b;

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		const char *env[6] = {"HOME=/h"};

		memcpy(env + 1, t[i].env, sizeof t[i].env);
		assert_int_equal(load((char **)env, NULL, 0), E_INVALID);
		const struct problem *q = &one_p.v[0];
		if (one_p.n != 1 || !str_eq(q->key, str_c(t[i].key)) || !strstr(q->message.p, t[i].part) ||
		    strstr(q->message.p, "secret"))
			fail_msg("%zu: %zu problems, %.*s: %.*s", i, one_p.n, STR_ARG(q->key), STR_ARG(q->message));
		config_release(&one);
	}
	assert_int_equal(load(good, NULL, 0), OK);
	assert_true(str_eq(one.embed_model_dir, STR("/x/cenote/models")));
	assert_true(str_eq(one.embed_api_key, STR("secret")));
	buf_init(&b, &one.arena, 64 << 10);
	config_print(&one, true, true, &b);
	buf_byte(&b, 0);
	assert_null(strstr(b.p, "secret"));
	config_release(&one);
	assert_int_equal(load(off, NULL, 0), OK);
	assert_true(str_eq(one.embed_model_dir, STR("/d/models")));
	config_release(&one);
}

/* ---------------------------------------------------------- files of agents */

static void agents_files(void **state)
{
	struct fix *f = *state;
	struct config *c = &f->c;

	config_yaml(
		c,
		STR("model:\n  endpoint: databricks-gpt-5\n  streaming: false  # Enable for token-by-token\n  system_prompt: |\n"
		    "    You are a helpful assistant...\nmemory:\n  max_history: 7  # Number of messages\nagent:\n  name: loyalty\n"
		    "  memory:\n    short_term: true\n    long_term: no\n  benchmark_seeds:\n    seed_examples:\n"
		    "      - How much, \"exactly\"?\n      - question: And 7?\n        expected: 7\n        deep: [a, {b: null}]\n"
		    "governance:\n  verification:\n    smoke_test_question: Are you there?\n    owner: [a, b]\ninstance_name: "
		    "mine\n"),
		STR("t.yaml"), &f->p);
	if (f->p.n)
		fail_msg("%.*s: %.*s", STR_ARG(f->p.v[0].key), STR_ARG(f->p.v[0].message));
	assert_true(str_eq(c->llm_model, STR("databricks-gpt-5")) && !c->llm_streaming);
	assert_true(str_eq(c->llm_system_prompt, STR("You are a helpful assistant...\n")));
	assert_int_equal(c->memory_max_history, 7);
	assert_true(config_layer(c, "short_term") && !config_layer(c, "long_term"));
	assert_true(str_eq(c->agent_examples, STR("[\"How much, \\\"exactly\\\"?\",{\"question\":\"And 7?\",\"expected\":7,"
						  "\"deep\":[\"a\",{\"b\":null}]}]")));
	assert_true(str_eq(c->smoke_question, STR("Are you there?")));
	assert_int_equal(c->warnings.n, 3);
	assert_true(str_eq(c->warnings.v[0], STR("t.yaml:9: agent.name: is not used by Cenote")));
	assert_true(str_starts(c->warnings.v[1], STR("t.yaml:22: governance.verification.owner: ")));
	assert_true(str_starts(c->warnings.v[2], STR("t.yaml:23: instance_name: is not used: conn_host")));
}

static void agents_files_refused(void **state)
{
	static const struct {
		const char *text;
		unsigned line, column;
		const char *part;
	} t[] = {
		{"model:\n  endpint: x\n", 2, 3, "no such setting"},
		{"model:\n  streaming: maybe\n", 2, 14, "true or false"},
		{"model: x\n", 1, 1, "group of settings"},
		{"llm:\n  model: a\nmodel:\n  endpoint: b\n", 4, 3, "is set twice: it is llm.model"},
		{"llm_prompt_template: a\nmodel.system_prompt: b\n", 2, 1, "is set twice"},
		{"conn_ssl_mode: maybe\n", 1, 16, "must be one of"},
		{"agent:\n  memory: {? [a] : b}\n", 2, 14, "words"},
		{"agent.benchmark_seeds.seed_examples: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n", 1, 54, "nested too deeply"},
	};

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct fix *f = *state;

		f->p.n = 0;
		config_yaml(&f->c, str_c(t[i].text), STR("t.yaml"), &f->p);
		if (f->p.n == 0)
			fail_msg("accepted: %s", t[i].text);
		const struct problem *q = &f->p.v[0];
		if (q->line != t[i].line || q->column != t[i].column || !strstr(q->message.p, t[i].part))
			fail_msg("%s at %u:%u: %.*s", t[i].text, q->line, q->column, STR_ARG(q->message));
	}
}

static void a_store_in_parts(void **state)
{
	static const struct {
		const char *env[5], *store, *problem; /* of the two, the one that is there */
	} t[] = {
		{{"CENOTE_CONN_HOST=h.example", "CENOTE_CONN_DB_NAME=db x", "CENOTE_CONN_SSL_MODE=require"},
		 "postgresql://h.example/db%20x?sslmode=require",
		 NULL},
		{{"CENOTE_PG_HOST=h:5433", "CENOTE_PG_USER=me@x"},
		 "postgresql://me%40x@h:5433/databricks_postgres?sslmode=require",
		 NULL},
		{{"CENOTE_CONN_HOST=localhost"}, "postgresql://localhost/databricks_postgres", NULL},
		{{"CENOTE_CONN_HOST=h", "PGSSLMODE=verify-full"}, "postgresql://h/databricks_postgres", NULL},
		{{"CENOTE_CONN_HOST=h", "CENOTE_PG_HOST=other"}, "postgresql://other/databricks_postgres?sslmode=require", NULL},
		{{"CENOTE_CONN_HOST=h", "CENOTE_STORE=sqlite:/x"}, NULL, "pg.host"},
		{{"CENOTE_CONN_DB_NAME=d"}, NULL, "pg.database"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		const char *env[7] = {"HOME=/h"};

		memcpy(env + 1, t[i].env, sizeof t[i].env);
		assert_int_equal(load((char **)env, NULL, 0), t[i].store ? OK : E_INVALID);
		if (t[i].store && !str_eq(one.store, str_c(t[i].store)))
			fail_msg("%zu: %.*s", i, STR_ARG(one.store));
		if (t[i].problem)
			assert_true(one_p.n == 1 && str_eq(one_p.v[0].key, str_c(t[i].problem)));
		config_release(&one);
	}
}

/* The model server's settings. */
static void models(void **state)
{
	static const struct {
		const char *env, *key, *part;
	} t[] = {
		{"CENOTE_LLM_TEMPERATURE=2.5", "llm.temperature", "0 to 2"},
		{"CENOTE_LLM_TEMPERATURE=warm", "llm.temperature", "0 to 2"},
		{"CENOTE_LLM_HEADERS=X-Org", "llm.headers", "NAME=VALUE"},
		{"CENOTE_LLM_HEADERS=X Org=a", "llm.headers", "no name of a header"},
		{"CENOTE_LLM_HEADERS=authorization=a", "llm.headers", "llm.api_key"},
		{"CENOTE_LLM_HEADERS=Content-Length=1", "llm.headers", "is made for each request"},
		{"CENOTE_AGENT_MEMORY=short_term, medium", "agent.memory", "got \"medium\""},
		{"CENOTE_AGENT_BENCHMARK_SEEDS_SEED_EXAMPLES={}", "agent.benchmark_seeds.seed_examples", "list"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		char *env[] = {"HOME=/h", (char *)t[i].env, NULL};

		assert_int_equal(load(env, NULL, 0), E_INVALID);
		const struct problem *q = &one_p.v[0];
		if (one_p.n != 1 || !str_eq(q->key, str_c(t[i].key)) || !strstr(q->message.p, t[i].part))
			fail_msg("%zu: %zu problems, %.*s: %.*s", i, one_p.n, STR_ARG(q->key), STR_ARG(q->message));
		config_release(&one);
	}
}

/* docs/configuration.md is what the table gives. CENOTE_SOURCE_ROOT: where the tree is, else found from the working directory. */
static void reference_is_fresh(void **state)
{
	struct fix *f = *state;
	static const char *const roots[] = {".", "..", "../..", "../../.."};
	const char *env = getenv("MESON_SOURCE_ROOT"), *root = env ? env : getenv("CENOTE_SOURCE_ROOT");
	char path[512];
	FILE *in = NULL;
	for (size_t i = 0; i < 4 && in == NULL; i++) {
		snprintf(path, sizeof path, "%s/docs/configuration.md", root ? root : roots[i]);
		in = fopen(path, "r");
	}
	if (in == NULL) {
		const char *file = __FILE__;
		snprintf(path, sizeof path, "%.*sdocs/configuration.md", (int)(strlen(file) - strlen("src/daemon/config_test.c")),
			 file);
		in = fopen(path, "r");
	}
	if (in == NULL)
		skip();
	struct buf want, have;
	buf_init(&want, &f->c.arena, 256 << 10);
	buf_init(&have, &f->c.arena, 256 << 10);
	config_markdown(&want);
	char chunk[4096];
	for (size_t n; (n = fread(chunk, 1, sizeof chunk, in)) > 0;)
		buf_put(&have, chunk, n);
	fclose(in);
	if (!str_eq(buf_slice(&want), buf_slice(&have)))
		fail_msg("docs/configuration.md is stale: cenote help --markdown configuration > docs/configuration.md");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(names_do_not_collide),
					   T(defaults_format_as_written),
					   T(values),
					   T(yaml_reads),
					   T(yaml_refuses),
					   T(precedence),
					   T(printed_reads_back),
					   T(all_problems_are_told),
					   T(weights_name_their_features),
					   T(missing_file),
					   T(secrets),
					   T(a_store_from_elsewhere),
					   T(lakebase_password_and_pool),
					   T(traces_from_elsewhere),
					   T(wrong_traces),
					   T(postgres_rules),
					   T(threads_and_checkpoints),
					   T(encoder),
					   T(agents_files),
					   T(agents_files_refused),
					   T(a_store_in_parts),
					   T(models),
					   T(reference_is_fresh)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
