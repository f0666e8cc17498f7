/* Tables, tenants, rights and the commands about them, on a real server (CENOTE_TEST_PG, a superuser's URL; without it the program
 * is skipped). Every test has schemas and roles of its own, which are removed before and after it. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "base/json/json.h"
#include "base/log.h"
#include "bounds.h"
#include "store/postgres/catalog.h"
#include "store/postgres/postgres.h"

static const char *url;
static PGconn *admin;
static char home[64], role[64], role_url[512];
static struct arena scratch;

#define assert_ok(expr)                                                                                                            \
	do {                                                                                                                       \
		enum err got_ = (expr);                                                                                            \
		if (got_ != OK)                                                                                                    \
			fail_msg("%s: %s (%s)", #expr, err_name(got_), diag_get()->text);                                          \
	} while (0)

static const struct principal DEFAULT = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL},
			      ALICE = {.tenant = STR_INIT("alice"), .rights = RIGHT_ALL},
			      BOB = {.tenant = STR_INIT("bob"), .rights = RIGHT_ALL};

/* ------------------------------------------------------------------ tools */

static struct item_write put_of(const char *ns, const char *key, const char *value)
{
	return (struct item_write){.op = W_PUT, .ns = str_c(ns), .key = str_c(key), .value = str_c(value), .terms = STR("")};
}

static void must(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void must(const char *fmt, ...)
{
	char text[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	PGresult *r = PQexec(admin, text);
	ExecStatusType status = PQresultStatus(r);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		fail_msg("%s: %s", text, PQresultErrorMessage(r));
	PQclear(r);
}

/* First column of all rows, joined by blanks; valid until the next call. */
static const char *ask(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *ask(const char *fmt, ...)
{
	static char out[16384];
	char text[2048];
	size_t n = 0;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	PGresult *r = PQexec(admin, text);
	if (PQresultStatus(r) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", text, PQresultErrorMessage(r));
	out[0] = 0;
	for (int i = 0; i < PQntuples(r) && n < sizeof out; i++)
		n += (size_t)snprintf(out + n, sizeof out - n, "%s%s", i ? " " : "", PQgetvalue(r, i, 0));
	PQclear(r);
	return out;
}

static void clean(void)
{
	PGresult *r;
	char text[400];
	snprintf(text, sizeof text,
		 "SELECT format('DROP SCHEMA %%I CASCADE', nspname) FROM pg_namespace WHERE starts_with(nspname, '%s')", home);
	r = PQexec(admin, text);
	for (int i = 0; i < PQntuples(r); i++)
		must("%s", PQgetvalue(r, i, 0));
	PQclear(r);
	if (ask("SELECT 1 FROM pg_roles WHERE rolname = '%s'", role)[0])
		must("DROP OWNED BY %s; DROP ROLE %s", role, role);
}

static int setup(void **state)
{
	(void)state;
	arena_clear(&scratch);
	clean();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	clean();
	return 0;
}

static struct store_options options(void)
{
	return (struct store_options){.durable = true, .pg.schema = str_c(home), .pg.pool_min = 1, .pg.pool_max = 3};
}

static enum err open_as(const char *who, struct store **out)
{
	struct store_options opt = options();
	return store_open(str_c(who), &opt, out);
}

static void open_close(const char *who)
{
	struct store *s;
	assert_ok(open_as(who, &s));
	s->ops->close(s);
}

/* The store refuses to open, for this reason. */
static void refused(const char *who, enum err want, const char *words)
{
	struct store *s;
	enum err e = open_as(who, &s);
	if (e == OK)
		s->ops->close(s);
	assert_int_equal(e, want);
	if (!strstr(diag_get()->text, words))
		fail_msg("\"%s\" is not in: %s", words, diag_get()->text);
}

static bool has(struct store *s, const struct principal *who, const char *ns, const char *key)
{
	struct item it;
	bool found;
	assert_ok(s->ops->item_get(s, &scratch, who, str_c(ns), str_c(key), 0, &it, &found));
	return found;
}

static void write_item(struct store *s, const struct principal *who)
{
	struct item_write w = put_of("ns", "k", "{\"a\":1}");
	assert_ok(s->ops->item_write(s, who, &w, 1, false));
	assert_int_equal(w.err, OK);
}

static void make_role(void)
{
	must("CREATE ROLE %s LOGIN", role);
}

/* All that is in the schema, with its identity: nothing made anew, changed or removed keeps this. */
static const char *everything(void)
{
	return ask("SELECT c.relname || ':' || c.oid || ':' || c.relfilenode || ':' || c.xmin::text FROM pg_class c JOIN "
		   "pg_namespace n ON"
		   " n.oid = c.relnamespace WHERE nspname = '%s' ORDER BY 1",
		   home);
}

/* LangGraph's store as its migrations up to version leave it, with two rows. */
static void langgraph(int version)
{
	must("CREATE SCHEMA \"%s\"", home);
	must("SET search_path = \"%s\"", home);
	must("CREATE TABLE IF NOT EXISTS store_migrations (v INTEGER PRIMARY KEY)");
	must("CREATE TABLE IF NOT EXISTS store (prefix text NOT NULL, key text NOT NULL, value jsonb NOT NULL, created_at "
	     "TIMESTAMP WITH"
	     " TIME ZONE DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY "
	     "(prefix,"
	     " key))");
	if (version >= 1)
		must("CREATE INDEX CONCURRENTLY IF NOT EXISTS store_prefix_idx ON store USING btree (prefix text_pattern_ops)");
	if (version >= 2)
		must("ALTER TABLE store ADD COLUMN IF NOT EXISTS expires_at TIMESTAMP WITH TIME ZONE, ADD COLUMN IF NOT EXISTS "
		     "ttl_minutes"
		     " INT");
	if (version >= 3)
		must("CREATE INDEX IF NOT EXISTS idx_store_expires_at ON store (expires_at) WHERE expires_at IS NOT NULL");
	for (int v = 0; v <= version; v++)
		must("INSERT INTO store_migrations(v) VALUES (%d)", v);
	must("INSERT INTO store(prefix, key, value) VALUES ('ns', 'k', '{\"a\": 1}'), ('ns.x', 'k2', '{}')");
	must("RESET search_path");
}

static const char *rows(void)
{
	return ask("SELECT xmin::text || ctid::text || prefix || key || value || created_at || updated_at FROM \"%s\".store ORDER "
		   "BY prefix",
		   home);
}

static void assert_complete(void)
{
	assert_string_equal(ask("SELECT v FROM \"%s\".store_migrations ORDER BY v", home), "0 1 2 3");
	assert_string_equal(
		ask("SELECT attname FROM pg_attribute WHERE attrelid = '\"%s\".store'::regclass AND attnum > 0 ORDER BY attnum",
		    home),
		"prefix key value created_at updated_at expires_at ttl_minutes");
	assert_string_equal(ask("SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = indexrelid WHERE indrelid ="
				" '\"%s\".store'::regclass AND indisvalid ORDER BY 1",
				home),
			    "idx_store_expires_at store_pkey store_prefix_idx");
	assert_string_equal(ask("SELECT value FROM \"%s\".cenote_meta WHERE name IN ('schema', 'tenant') ORDER BY name", home),
			    "4 default");
}

/* ---------------------------------------------------------------- making */

static void fresh(void **state)
{
	(void)state;
	open_close(url);
	assert_complete();
	char *before = strdup(everything());
	open_close(url);
	assert_string_equal(before, everything());
	free(before);
}

/* Tables of layout 1, with a thread in them, become those of today. */
static void upgraded(void **state)
{
	(void)state;
	open_close(url);
	must("ALTER TABLE \"%s\".cenote_thread DROP COLUMN metadata, DROP COLUMN config, DROP COLUMN ttl_minutes, DROP COLUMN"
	     " ttl_strategy, DROP COLUMN version, DROP COLUMN once, DROP COLUMN once_at, DROP COLUMN once_ids",
	     home);
	must("DROP TABLE \"%s\".agent_messages, \"%s\".agent_sessions, \"%s\".cenote_vector, \"%s\".cenote_model", home, home, home,
	     home);
	must("INSERT INTO \"%s\".cenote_thread(thread, usr, created_at, updated_at, messages) VALUES ('t', 'ann', now(), now(), 0)",
	     home);
	must("UPDATE \"%s\".cenote_meta SET value = '1' WHERE name = 'schema'", home);
	open_close(url);
	assert_complete();
	assert_string_equal(ask("SELECT thread || usr || version FROM \"%s\".cenote_thread", home), "tann0");
	assert_string_equal(ask("SELECT count(*) FROM pg_class WHERE relnamespace = '\"%s\"'::regnamespace AND relname IN"
				" ('agent_sessions', 'agent_messages', 'idx_agent_messages_session_time')",
				home),
			    "3");
}

/* Tables of layout 2 get those of vectors. */
static void upgraded_to_vectors(void **state)
{
	(void)state;
	open_close(url);
	must("DROP TABLE \"%s\".cenote_vector, \"%s\".cenote_model", home, home);
	must("UPDATE \"%s\".cenote_meta SET value = '2' WHERE name = 'schema'", home);
	open_close(url);
	assert_complete();
	assert_string_equal(
		ask("SELECT attstorage::text || ' ' || array_to_string(reloptions, ',') FROM pg_attribute a JOIN pg_class c ON"
		    " c.oid = attrelid WHERE attrelid = '\"%s\".cenote_vector'::regclass AND attname = 'data'",
		    home),
		"e toast_tuple_target=8160");
}

static void upgraded_to_stamps(void **state)
{
	(void)state;
	open_close(url);
	must("ALTER TABLE \"%s\".cenote_vector DROP COLUMN stamp", home);
	must("UPDATE \"%s\".cenote_meta SET value = '3' WHERE name = 'schema'", home);
	open_close(url);
	assert_complete();
	assert_string_equal(ask("SELECT format_type(atttypid, NULL) || ' ' || attnotnull FROM pg_attribute WHERE attrelid ="
				" '\"%s\".cenote_vector'::regclass AND attname = 'stamp'",
				home),
			    "bigint true");
}

static void adopted(void **state)
{
	(void)state;
	for (int v = 0; v <= 3; v++) {
		struct store *s;
		clean();
		langgraph(v);
		char *before = strdup(rows());
		assert_ok(open_as(url, &s));
		assert_true(has(s, &DEFAULT, "ns", "k"));
		assert_true(has(s, &DEFAULT, "ns.x", "k2"));
		s->ops->close(s);
		assert_complete();
		assert_string_equal(before, rows());
		free(before);
	}
}

/* Only the table was carried over, without store_migrations. */
static void adopted_without_versions(void **state)
{
	(void)state;
	langgraph(3);
	must("DROP TABLE \"%s\".store_migrations", home);
	char *before = strdup(rows());
	open_close(url);
	assert_complete();
	assert_string_equal(before, rows());
	free(before);
}

static void refuses(void **state)
{
	(void)state;
	static const struct {
		const char *sql, *words;
	} cases[] = {
		{"ALTER TABLE store ADD COLUMN namespace_path text", "LangGraph.js"},
		{"CREATE TABLE checkpoints(thread_id text NOT NULL, checkpoint_ns text NOT NULL DEFAULT '', type text, checkpoint "
		 "jsonb"
		 " NOT NULL, metadata jsonb NOT NULL DEFAULT '{}', PRIMARY KEY (thread_id, checkpoint_ns))",
		 "shallow saver"},
		{"CREATE TABLE checkpoints(thread_id uuid, checkpoint_id uuid)", "of a LangGraph server"},
		{"INSERT INTO store_migrations VALUES (4)", "newer LangGraph (store_migrations has 4"},
		{"ALTER TABLE store ALTER COLUMN value TYPE text", "its column value is of the type text, not jsonb"},
		{"ALTER TABLE store DROP COLUMN updated_at", "it has no column updated_at"},
		{"ALTER TABLE store ADD COLUMN owner text NOT NULL DEFAULT ''; ALTER TABLE store ALTER COLUMN owner DROP DEFAULT",
		 "it has a further column, owner, that must be given"},
		{"ALTER TABLE store DROP CONSTRAINT store_pkey", "no unique index on (prefix, key)"},
		{"DROP TABLE store_migrations; ALTER TABLE store ADD COLUMN mine text", "no store_migrations"},
		{"ALTER TABLE store RENAME TO real; CREATE VIEW store AS SELECT * FROM real", "not a table but a view"},
		{"CREATE TABLE cenote_meta(name text PRIMARY KEY, value text NOT NULL); INSERT INTO cenote_meta VALUES ('schema', "
		 "'5'),"
		 " ('tenant', 'default')",
		 "newer release (layout 5"},
		{"CREATE TABLE cenote_meta(name text PRIMARY KEY, value text NOT NULL)", "does not say which layout"},
		{"CREATE TABLE cenote_meta(name text PRIMARY KEY, value text NOT NULL); INSERT INTO cenote_meta VALUES ('schema', "
		 "'1'),"
		 " ('tenant', 'bob')",
		 "belongs to tenant bob"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		clean();
		langgraph(3);
		must("SET search_path = \"%s\"", home);
		must("%s", cases[i].sql);
		must("RESET search_path");
		char *before = strdup(everything());
		refused(url, E_CONFLICT, cases[i].words);
		assert_string_equal(before, everything());
		free(before);
	}
}

static void weird_name(void **state)
{
	(void)state;
	char was[40];
	struct store *s;
	snprintf(was, sizeof was, "%.39s", home);
	snprintf(home, sizeof home, "%s we\"ird 'Schema@x", was);
	assert_ok(open_as(url, &s));
	write_item(s, &DEFAULT);
	write_item(s, &ALICE);
	assert_true(has(s, &DEFAULT, "ns", "k"));
	assert_true(has(s, &ALICE, "ns", "k"));
	assert_false(has(s, &BOB, "ns", "k"));
	s->ops->close(s);
	snprintf(home, sizeof home, "%s", was); /* everything of the test begins so */
	char *found = strdup(ask("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, '%s') ORDER BY 1", home));
	char want[200];
	snprintf(want, sizeof want, "%s we\"ird 'Schema@x %s we\"ird 'Schema@x_alice", home, home);
	assert_string_equal(found, want);
	free(found);
}

static void *start_one(void *arg)
{
	struct store *s;
	enum err e = open_as(arg, &s);
	if (e != OK)
		fprintf(stderr, "%s\n", diag_get()->text);
	else
		s->ops->close(s);
	return (void *)(intptr_t)e;
}

static void eight_at_once(void)
{
	pthread_t t[8];
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&t[i], NULL, start_one, (void *)(uintptr_t)url), 0);
	for (int i = 0; i < 8; i++) {
		void *e;
		pthread_join(t[i], &e);
		assert_int_equal((int)(intptr_t)e, OK);
	}
	assert_complete();
}

static void concurrent_starts(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		clean();
		eight_at_once(); /* nothing there */
		clean();
		langgraph(0); /* an index has to be built beside a transaction */
		eight_at_once();
	}
}

/* ----------------------------------------------------------------- rights */

static void no_ddl_rights(void **state)
{
	(void)state;
	struct store *s;
	open_close(url);
	make_role();
	refused(role_url, E_DENIED, "USAGE on the schema");
	must("GRANT USAGE ON SCHEMA \"%s\" TO %s", home, role);
	must("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA \"%s\" TO %s", home, role);
	refused(role_url, E_DENIED, "GRANT DELETE ON");
	must("GRANT DELETE ON ALL TABLES IN SCHEMA \"%s\" TO %s", home, role);
	assert_ok(open_as(role_url, &s));
	write_item(s, &DEFAULT);
	assert_true(has(s, &DEFAULT, "ns", "k"));
	assert_false(has(s, &ALICE, "ns", "k"));
	struct item_write w = put_of("ns", "k", "{}");
	assert_int_equal(s->ops->item_write(s, &ALICE, &w, 1, false), E_UPSTREAM);
	assert_non_null(strstr(diag_get()->text, "cenote migrate --tenant alice"));
	assert_int_equal(s->ops->item_write(s, &ALICE, &w, 1, false), E_UPSTREAM); /* and again */
	s->ops->close(s);
}

static void only_langgraph_there(void **state)
{
	(void)state;
	langgraph(3);
	make_role();
	must("GRANT USAGE ON SCHEMA \"%s\" TO %s; GRANT ALL ON ALL TABLES IN SCHEMA \"%s\" TO %s", home, role, home, role);
	refused(role_url, E_DENIED, "cenote migrate");
	/* It may make tables, and does not own store, which is complete. */
	must("GRANT CREATE ON SCHEMA \"%s\" TO %s", home, role);
	open_close(role_url);
	assert_complete();
	/* An older one is its owner's affair. */
	clean();
	langgraph(1);
	make_role();
	must("GRANT ALL ON SCHEMA \"%s\" TO %s; GRANT ALL ON ALL TABLES IN SCHEMA \"%s\" TO %s", home, role, home, role);
	char *before = strdup(everything());
	refused(role_url, E_DENIED, "does not own the table store");
	assert_string_equal(before, everything());
	free(before);
}

static void told_not_to_make(void **state)
{
	(void)state;
	struct store_options opt = options();
	struct store *s;
	opt.pg.no_ddl = true;
	assert_int_equal(store_open(str_c(url), &opt, &s), E_CONFLICT);
	assert_non_null(strstr(diag_get()->text, "cenote migrate"));
	assert_string_equal(ask("SELECT count(*) FROM pg_namespace WHERE nspname = '%s'", home), "0");
	open_close(url);
	assert_ok(store_open(str_c(url), &opt, &s));
	write_item(s, &DEFAULT);
	struct item_write w = put_of("ns", "k", "{}");
	assert_int_equal(s->ops->item_write(s, &ALICE, &w, 1, false), E_CONFLICT);
	s->ops->close(s);
}

/* ---------------------------------------------------------------- tenants */

static void tenants_apart(void **state)
{
	(void)state;
	struct store *s;
	const struct principal longest = {.tenant = STR("a23456789012345678901234567890123456789012345678901234567890"),
					  .rights = RIGHT_ALL};
	struct item_write w = put_of("ns", "k", "{}");
	assert_ok(open_as(url, &s));
	assert_false(has(s, &ALICE, "ns", "k"));
	assert_string_equal(ask("SELECT count(*) FROM pg_namespace WHERE nspname = '%s_alice'", home), "0");
	write_item(s, &ALICE);
	assert_string_equal(ask("SELECT value FROM \"%s_alice\".cenote_meta WHERE name = 'tenant'", home), "alice");
	assert_string_equal(ask("SELECT count(*) FROM \"%s_alice\".store", home), "1");
	assert_string_equal(ask("SELECT count(*) FROM \"%s\".store", home), "0");
	assert_true(has(s, &ALICE, "ns", "k"));
	assert_false(has(s, &BOB, "ns", "k"));
	assert_false(has(s, &DEFAULT, "ns", "k"));
	assert_int_equal(s->ops->item_write(s, &longest, &w, 1, false), E_INVALID);
	assert_non_null(strstr(diag_get()->text, "63"));
	/* A schema that another Cenote calls its home. */
	struct store_options opt = options();
	struct store *other;
	char name[80];
	snprintf(name, sizeof name, "%s_bob", home);
	opt.pg.schema = str_c(name);
	assert_ok(store_open(str_c(url), &opt, &other));
	write_item(other, &DEFAULT);
	other->ops->close(other);
	s->ops->close(s);
	assert_ok(open_as(url, &s));
	assert_false(has(s, &BOB, "ns", "k"));
	assert_int_equal(s->ops->item_write(s, &BOB, &w, 1, false), E_CONFLICT);
	s->ops->close(s);
	assert_string_equal(ask("SELECT count(*) FROM \"%s\".store", name), "1");
	/* And one with a store that nobody has given to the tenant. */
	must("CREATE SCHEMA \"%s_carol\"; CREATE TABLE \"%s_carol\".store(LIKE \"%s\".store INCLUDING ALL)", home, home, home);
	const struct principal carol = {.tenant = STR("carol"), .rights = RIGHT_ALL};
	assert_ok(open_as(url, &s));
	assert_false(has(s, &carol, "ns", "k"));
	assert_int_equal(s->ops->item_write(s, &carol, &w, 1, false), E_CONFLICT);
	assert_non_null(strstr(diag_get()->text, "cenote migrate --tenant carol"));
	s->ops->close(s);
}

struct race {
	struct store *s;
	pthread_barrier_t *at;
	unsigned n;
	enum err err;
	char text[512];
};

static void *write_first(void *arg)
{
	struct race *r = arg;
	char key[16];
	snprintf(key, sizeof key, "k%u", r->n);
	struct item_write w = put_of("ns", "k", "{}");
	w.key = str_c(key);
	pthread_barrier_wait(r->at);
	r->err = r->s->ops->item_write(r->s, &ALICE, &w, 1, false);
	snprintf(r->text, sizeof r->text, "%s", diag_get()->text);
	return NULL;
}

/* In one process they make the tenant once; two processes do not collide. */
static void first_writes_at_once(void **state)
{
	(void)state;
	struct store *s[2];
	struct race r[12];
	pthread_t t[12];
	pthread_barrier_t at;
	assert_ok(open_as(url, &s[0]));
	assert_ok(open_as(url, &s[1]));
	pthread_barrier_init(&at, NULL, 12);
	for (unsigned i = 0; i < 12; i++) {
		r[i] = (struct race){.s = s[i % 2], .at = &at, .n = i};
		assert_int_equal(pthread_create(&t[i], NULL, write_first, &r[i]), 0);
	}
	for (unsigned i = 0; i < 12; i++)
		pthread_join(t[i], NULL);
	for (unsigned i = 0; i < 12; i++)
		if (r[i].err != OK)
			fail_msg("%s", r[i].text);
	pthread_barrier_destroy(&at);
	assert_string_equal(ask("SELECT count(*) FROM \"%s_alice\".store", home), "12");
	/* What the other has made is found: at once by a write, a second later at the latest by a read. */
	assert_false(has(s[1], &BOB, "ns", "k"));
	write_item(s[0], &BOB);
	uint64_t until = deadline_in_ms(AT_MOST(3000));
	while (!has(s[1], &BOB, "ns", "k"))
		assert_true(clock_mono_ns() < until);
	s[0]->ops->close(s[0]);
	s[1]->ops->close(s[1]);
}

static void unknown_names_are_bounded(void **state)
{
	(void)state;
	struct store *s;
	char name[64];
	assert_ok(open_as(url, &s));
	write_item(s, &ALICE);
	for (unsigned i = 0; i < 1500; i++) {
		snprintf(name, sizeof name, "nobody-%u", i);
		const struct principal who = {.tenant = str_c(name), .rights = RIGHT_ALL};
		assert_false(has(s, &who, "ns", "k"));
	}
	assert_true(((struct pg *)(void *)s)->tenants.count <= 1024 + 3);
	assert_true(has(s, &ALICE, "ns", "k"));
	s->ops->close(s);
}

/* --------------------------------------------------------------- commands */

struct told {
	struct buf text;
	unsigned n;
};

static void take(void *ctx, const struct store_step *s)
{
	struct told *t = ctx;
	buf_printf(&t->text, "%.*s;\n", STR_ARG(s->text));
	t->n++;
}

static struct told migrate(bool dry)
{
	struct store_options opt = options();
	struct told t = {.n = 0};
	buf_init(&t.text, &scratch, 1 << 20);
	assert_ok(store_migrate(str_c(url), &opt, STR(""), dry, take, &t));
	buf_byte(&t.text, 0);
	return t;
}

static void migrates(void **state)
{
	(void)state;
	struct told dry = migrate(true);
	assert_true(dry.n > 10);
	assert_string_equal(ask("SELECT count(*) FROM pg_namespace WHERE nspname = '%s'", home), "0");
	struct told done = migrate(false);
	assert_string_equal(dry.text.p, done.text.p);
	assert_complete();
	assert_int_equal(migrate(false).n, 0);
	/* Indexes: one is missing, one was left invalid. */
	must("DROP INDEX \"%s\".idx_store_expires_at", home);
	must("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"%s\".store_prefix_idx'::regclass", home);
	open_close(url); /* warns, and serves */
	done = migrate(false);
	assert_int_equal(done.n, 2);
	assert_non_null(strstr(done.text.p, "REINDEX INDEX CONCURRENTLY"));
	assert_complete();
	/* Those of the checkpoint tables: what several setup() at a time leave behind, which take no lock. */
	must("DROP INDEX \"%s\".checkpoints_thread_id_idx", home);
	must("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"%s\".checkpoint_writes_thread_id_idx'::regclass", home);
	open_close(url);
	done = migrate(false);
	assert_int_equal(done.n, 2);
	assert_non_null(strstr(done.text.p, "INDEX CONCURRENTLY checkpoints_thread_id_idx"));
	assert_non_null(strstr(done.text.p, "checkpoint_writes_thread_id_idx"));
	assert_int_equal(migrate(false).n, 0);
}

static void grants(void **state)
{
	(void)state;
	struct store_options opt = options();
	struct told t = {.n = 0};
	struct store *s;
	buf_init(&t.text, &scratch, 1 << 20);
	assert_ok(open_as(url, &s));
	write_item(s, &ALICE);
	s->ops->close(s);
	assert_int_equal(store_grants(str_c(url), &opt, str_c(role), false, take, &t), E_NOT_FOUND);
	make_role();
	assert_ok(store_grants(str_c(url), &opt, str_c(role), false, take, &t));
	refused(role_url, E_DENIED, "GRANT"); /* printing grants nothing */
	buf_clear(&t.text);
	assert_ok(store_grants(str_c(url), &opt, str_c(role), true, take, &t));
	assert_ok(open_as(role_url, &s));
	write_item(s, &DEFAULT);
	assert_true(has(s, &ALICE, "ns", "k")); /* the schemas of tenants, too */
	write_item(s, &ALICE);
	s->ops->close(s);
	/* Tables that come later: the role has rights on what the owner makes. */
	must("CREATE TABLE \"%s\".later(x int)", home);
	assert_string_equal(ask("SELECT has_table_privilege('%s', '\"%s\".later', 'DELETE')", role, home), "t");
}

/* One that may not give the rights is told so, although the server takes the GRANTs. */
static void grants_without_effect(void **state)
{
	(void)state;
	struct store_options opt = options();
	struct told t = {.n = 0};
	char other[80];
	buf_init(&t.text, &scratch, 1 << 20);
	open_close(url);
	make_role();
	must("GRANT USAGE ON SCHEMA \"%s\" TO %s; GRANT SELECT ON ALL TABLES IN SCHEMA \"%s\" TO %s", home, role, home, role);
	snprintf(other, sizeof other, "%s_other", role);
	must("CREATE ROLE %s", other);
	enum err e = store_grants(str_c(role_url), &opt, str_c(other), true, take, &t);
	must("DROP ROLE %s", other);
	assert_int_equal(e, E_DENIED);
}

struct found {
	unsigned of[3];
	struct buf text;
};

static void find(void *ctx, const struct store_finding *f)
{
	struct found *x = ctx;
	struct json doc;
	x->of[f->level]++;
	buf_printf(&x->text, "%d %s %.*s: %.*s [%.*s]\n", (int)f->level, f->check, STR_ARG(f->place), STR_ARG(f->text),
		   STR_ARG(f->fix));
	if (f->data.n)
		assert_ok(json_parse(&scratch, f->data, &json_default_limits, &doc));
}

static struct found doctor(const char *who)
{
	struct store_options opt = options();
	struct found x = {.of = {0}};
	buf_init(&x.text, &scratch, 1 << 20);
	assert_ok(store_doctor(str_c(who), &opt, find, &x));
	buf_byte(&x.text, 0);
	if (strstr(x.text.p, "could not be examined"))
		fail_msg("%s", x.text.p);
	return x;
}

static void says(const struct found *x, const char *words)
{
	if (!strstr(x->text.p, words))
		fail_msg("\"%s\" is not in:\n%s", words, x->text.p);
}

/* A server for quick tests has fsync off, which is a failure to the doctor. */
static int failures_of_the_server(void)
{
	return strcmp(ask("SHOW fsync"), "off") == 0;
}

static void examined(void **state)
{
	(void)state;
	struct found x = doctor(url);
	int given = failures_of_the_server();
	says(&x, "1 schema "); /* not there yet, and will be made */
	assert_int_equal(x.of[FIND_FAIL], given);
	open_close(url);
	char *before = strdup(everything());
	x = doctor(url);
	assert_int_equal(x.of[FIND_FAIL], given);
	says(&x, "LangGraph's store at migration 3 of 3");
	assert_string_equal(before, everything());
	free(before);
	make_role();
	x = doctor(role_url);
	says(&x, "2 rights ");
	says(&x, "[GRANT USAGE ON SCHEMA ");
	must("DROP INDEX \"%s\".store_prefix_idx", home);
	must("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"%s\".idx_store_expires_at'::regclass", home);
	must("CREATE INDEX double ON \"%s\".cenote_item(prefix text_pattern_ops, updated_at)", home);
	x = doctor(url);
	says(&x, "store_prefix_idx is missing");
	says(&x, "[REINDEX INDEX CONCURRENTLY ");
	says(&x, "was never used");
	must("INSERT INTO \"%s\".store_migrations VALUES (9)", home);
	x = doctor(url);
	says(&x, "newer LangGraph");
	assert_int_equal(x.of[FIND_FAIL], given + 1);
	must("ALTER ROLE %s CONNECTION LIMIT 1", role);
	/* The server is still ending the one before. */
	uint64_t until = deadline_in_ms(AT_MOST(5000));
	while (ask("SELECT 1 FROM pg_stat_activity WHERE usename = '%s'", role)[0])
		assert_true(clock_mono_ns() < until);
	x = doctor(role_url);
	says(&x, "2 connections "); /* its own connection is the only one there may be */
	must("ALTER ROLE %s SET default_transaction_read_only = on; ALTER ROLE %s CONNECTION LIMIT -1", role, role);
	x = doctor(role_url);
	says(&x, "1 mode : transactions are read only");
}

static void read_only(void **state)
{
	(void)state;
	make_role();
	must("GRANT CREATE ON DATABASE \"%s\" TO %s", PQdb(admin), role);
	must("ALTER ROLE %s SET default_transaction_read_only = on", role);
	refused(role_url, E_BUSY, "default_transaction_read_only");
	open_close(url);
	struct store_options opt = options();
	struct told t = {.n = 0};
	buf_init(&t.text, &scratch, 1 << 20);
	assert_ok(store_grants(str_c(url), &opt, str_c(role), true, take, &t));
	struct store *s;
	assert_ok(open_as(role_url, &s)); /* reading goes */
	assert_false(has(s, &DEFAULT, "ns", "k"));
	s->ops->close(s);
}

static PGconn *connected(const char *to)
{
	PGconn *c = PQconnectdb(to);

	if (PQstatus(c) != CONNECTION_OK) {
		fprintf(stderr, "%s", PQerrorMessage(c));
		return NULL;
	}
	PQclear(PQexec(c, "SET client_min_messages = error"));
	return c;
}

/* Collations whose order is not that of bytes, or that Cenote cannot know to be: what the server has of them. */
static bool worded_database(const char *name)
{
	static const char *const how[] = {"LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C' LC_CTYPE 'C'",
					  "LC_COLLATE 'en_US.utf8'", "LC_COLLATE 'C.Utf-8'"};
	bool made = false;
	for (size_t i = 0; i < sizeof how / sizeof *how && !made; i++) {
		char text[256];
		snprintf(text, sizeof text, "CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8' %s", name, how[i]);
		PGresult *r = PQexec(admin, text);
		made = PQresultStatus(r) == PGRES_COMMAND_OK;
		PQclear(r);
	}
	return made;
}

static bool in_bytes(const char *where)
{
	struct store_options opt = {.durable = true};
	struct store *s;
	assert_ok(store_open(str_c(where), &opt, &s));
	bool bytes = pg_home(pg_of(s))->has & PG_HAS_BYTES;
	s->ops->close(s);
	return bytes;
}

/* Names are jumped through by their index only where the database's own collation, too, is that of bytes. */
static void collations(void **state)
{
	char name[80], other[1024], *at;
	(void)state;
	if (strcmp(ask("SELECT datcollate FROM pg_database WHERE datname = current_database()"), "C.UTF-8") == 0)
		assert_true(in_bytes(url));
	snprintf(name, sizeof name, "%s_words", home);
	if (!worded_database(name))
		skip();
	snprintf(other, sizeof other, "%s", url);
	at = strstr(other, home);
	assert_non_null(at);
	snprintf(at, sizeof other - (size_t)(at - other), "%s%s", name, strstr(url, home) + strlen(home));
	bool bytes = in_bytes(other);
	must("DROP DATABASE %s WITH (FORCE)", name);
	assert_false(bytes);
}

/* `given` with the name of the test's own database: CREATE INDEX CONCURRENTLY waits for every transaction of a database, and the
 * neighbours' last as long as they like. */
static void own_database(const char *given)
{
	static char mine[1024];
	const char *query = strchr(given, '?'), *name = query ? query : given + strlen(given);

	while (name > given && name[-1] != '/')
		name--;
	snprintf(mine, sizeof mine, "%.*s%s%s", (int)(name - given), given, home, query ? query : "");
	url = mine;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(fresh),
		TEST(upgraded),
		TEST(upgraded_to_vectors),
		TEST(upgraded_to_stamps),
		TEST(adopted),
		TEST(adopted_without_versions),
		TEST(refuses),
		TEST(weird_name),
		TEST(concurrent_starts),
		TEST(no_ddl_rights),
		TEST(only_langgraph_there),
		TEST(told_not_to_make),
		TEST(tenants_apart),
		TEST(first_writes_at_once),
		TEST(unknown_names_are_bounded),
		TEST(migrates),
		TEST(grants),
		TEST(grants_without_effect),
		TEST(examined),
		TEST(read_only),
		TEST(collations),
	};
	const char *given = getenv("CENOTE_TEST_PG");
	if (!given || !*given) {
		fprintf(stderr, "CENOTE_TEST_PG is not set: skipped\n");
		return 77;
	}
	log_setup(LOG_ERROR + 1, LOG_TEXT);
	snprintf(home, sizeof home, "sch%ld", (long)getpid());
	snprintf(role, sizeof role, "schrole%ld", (long)getpid());
	PGconn *other = connected(given);
	if (!other)
		return 1;
	admin = other;
	must("CREATE DATABASE %s TEMPLATE template0", home);
	own_database(given);
	admin = connected(url);
	if (!admin)
		return 1;
	snprintf(role_url, sizeof role_url, "postgresql://%s@%s:%s/%s", role, PQhost(admin), PQport(admin), PQdb(admin));
	arena_init(&scratch, 64u << 20);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	arena_release(&scratch);
	PQfinish(admin);
	admin = other;
	must("DROP DATABASE %s WITH (FORCE)", home);
	PQfinish(admin);
	return failed;
}
