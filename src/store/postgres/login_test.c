/* Connecting, with a stand-in for the server that speaks the first words of the protocol and says what the test wants. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/postgres/target.h"

/* ---------------------------------------------------------------- the server */

struct fake {
	int fd, port;
	pthread_t thread;
	/* what it does */
	const char *password;	  /* that it asks for; NULL: none */
	const char *state, *text; /* refuses everybody */
	const char *encoding, *version;
	bool refuse_options, silent, read_only;
	/* what it saw */
	atomic_uint logins;
	char startup[1024]; /* of the last one: name=value, a line each */
	size_t startup_n;
};

static bool all(int fd, void *to, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = read(fd, (char *)to + got, n - got);
		if (r <= 0)
			return false;
		got += (size_t)r;
	}
	return true;
}

static void msg(int fd, char type, const void *body, size_t n)
{
	char head[5] = {type};
	uint32_t len = htonl((uint32_t)n + 4);
	memcpy(head + 1, &len, 4);
	if (send(fd, head, 5, MSG_NOSIGNAL) == 5 && send(fd, body, n, MSG_NOSIGNAL) < 0)
		return; /* the other side has gone, which its test sees */
}

static void status(int fd, const char *name, const char *value)
{
	char b[128];
	int n = snprintf(b, sizeof b, "%s%c%s", name, 0, value);
	msg(fd, 'S', b, (size_t)n + 1);
}

static void refuse(int fd, const char *state, const char *text)
{
	char b[512];
	int n = snprintf(b, sizeof b, "SFATAL%cVFATAL%cC%s%cM%s%cFx.c%cL1%cRf%c", 0, 0, state, 0, text, 0, 0, 0, 0);
	msg(fd, 'E', b, (size_t)n + 1);
}

/* The startup message; encryption is declined first. */
static bool startup(struct fake *f, int fd)
{
	uint32_t head[2];
	while (all(fd, head, 8) && (ntohl(head[1]) == 80877103 || ntohl(head[1]) == 80877104))
		if (send(fd, "N", 1, MSG_NOSIGNAL) != 1)
			return false;
	if (ntohl(head[1]) != 3 << 16)
		return false;
	size_t n = ntohl(head[0]) - 8, at = 0;
	char b[sizeof f->startup];
	if (n > sizeof b || !all(fd, b, n))
		return false;
	for (size_t i = 0; i + 1 < n; i++) {
		if (b[i] != 0)
			continue;
		b[i] = at % 2 ? '\n' : '=';
		at++;
	}
	memcpy(f->startup, b, n);
	f->startup[n ? n - 1 : 0] = 0;
	return true;
}

static void serve(struct fake *f, int fd)
{
	char b[512];
	uint32_t n;
	if (!startup(f, fd))
		return;
	atomic_fetch_add(&f->logins, 1);
	if (f->silent)
		return;
	if (f->state || (f->refuse_options && strstr(f->startup, "options=-c statement_timeout"))) {
		refuse(fd, f->state ? f->state : "08P01", f->state ? f->text : "unsupported startup parameter: options");
		return;
	}
	if (f->password) {
		msg(fd, 'R', "\0\0\0\3", 4);
		if (!all(fd, b, 5) || b[0] != 'p')
			return;
		memcpy(&n, b + 1, 4);
		if ((n = ntohl(n) - 4) > sizeof b || !all(fd, b, n))
			return;
		if (strcmp(b, f->password) != 0) {
			refuse(fd, "28P01", "password authentication failed for user \"u\"");
			return;
		}
	}
	msg(fd, 'R', "\0\0\0\0", 4);
	status(fd, "server_version", f->version ? f->version : "16.1");
	status(fd, "server_encoding", f->encoding ? f->encoding : "UTF8");
	status(fd, "in_hot_standby", "off");
	status(fd, "default_transaction_read_only", f->read_only ? "on" : "off");
	msg(fd, 'Z', "I", 1);
}

static void *fake_main(void *arg)
{
	struct fake *f = arg;
	char b[64];
	for (int fd; (fd = accept(f->fd, NULL, NULL)) >= 0; close(fd)) {
		serve(f, fd);
		if (!f->silent)
			shutdown(fd, SHUT_WR);
		while (read(fd, b, sizeof b) > 0) /* until the client leaves */
			;
	}
	return NULL;
}

static void fake_start(struct fake *f)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(f->fd >= 0 && bind(f->fd, (struct sockaddr *)&a, len) == 0 && listen(f->fd, 16) == 0);
	assert_int_equal(getsockname(f->fd, (struct sockaddr *)&a, &len), 0);
	f->port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&f->thread, NULL, fake_main, f), 0);
}

static void fake_stop(struct fake *f)
{
	shutdown(f->fd, SHUT_RDWR);
	pthread_join(f->thread, NULL);
	close(f->fd);
}

/* A port where nobody listens. */
static int closed_port(void)
{
	struct fake f = {0};
	fake_start(&f);
	fake_stop(&f);
	return f.port;
}

/* ----------------------------------------------------------------- the tests */

static char dir[64], path[96];

static int setup(void **state)
{
	static const char *const vars[] = {"PGHOST",
					   "PGHOSTADDR",
					   "PGPORT",
					   "PGDATABASE",
					   "PGUSER",
					   "PGPASSWORD",
					   "PGSERVICE",
					   "PGSSLMODE",
					   "PGOPTIONS",
					   "PGAPPNAME",
					   "PGTARGETSESSIONATTRS",
					   "PGCONNECT_TIMEOUT",
					   "LAKEBASE_HOST"};
	const char *tmp = getenv("TMPDIR");
	(void)state;
	for (size_t i = 0; i < sizeof vars / sizeof *vars; i++)
		unsetenv(vars[i]);
	setenv("PGPASSFILE", "/nonexistent", 1);
	snprintf(dir, sizeof dir, "%.30s/cenote-login-XXXXXX", tmp ? tmp : "/tmp");
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

static struct pg_target *target(const struct store_options *opt, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static struct pg_target *target(const struct store_options *opt, const char *fmt, ...)
{
	static const struct store_options none;
	char url[512];
	struct pg_target *t;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(url, sizeof url, fmt, ap);
	va_end(ap);
	if (pg_target_new(str_c(url), opt ? opt : &none, &t) != OK)
		fail_msg("%s: %s", url, diag_get()->text);
	return t;
}

/* Logs in once and leaves; returns the error. */
static enum err login(struct pg_target *t, uint32_t ms)
{
	PGconn *c;
	uint64_t until;
	enum err e = pg_target_connect(t, deadline_in_ms(ms), NULL, &c, &until);
	if (e == OK) {
		assert_int_equal(PQstatus(c), CONNECTION_OK);
		assert_false(PQisnonblocking(c));
		PQfinish(c);
	} else {
		assert_null(c);
	}
	return e;
}

static void ok(struct pg_target *t)
{
	if (login(t, 20000) != OK)
		fail_msg("%s", diag_get()->text);
}

static void says(const char *part)
{
	if (!strstr(diag_get()->text, part))
		fail_msg("%s (expected: %s)", diag_get()->text, part);
}

static void sees(const struct fake *f, const char *part)
{
	if (!strstr(f->startup, part))
		fail_msg("%s (expected: %s)", f->startup, part);
}

static void what_nobody_said(void **state)
{
	struct fake f = {0};
	struct store_options opt = {.pg.application_name = STR("mine"), .pg.statement_ms = 4000};
	(void)state;
	fake_start(&f);
	struct pg_target *t = target(NULL, "postgresql://u@127.0.0.1:%d/d", f.port);
	ok(t);
	sees(&f, "user=u\n");
	sees(&f, "database=d\n");
	sees(&f, "application_name=cenote\n");
	sees(&f, "client_encoding=UTF8\n");
	sees(&f, "options=-c statement_timeout=31000 -c default_transaction_isolation=read\\ committed\n");
	pg_target_free(t);
	t = target(&opt, "postgresql://u@127.0.0.1:%d/d", f.port);
	ok(t);
	sees(&f, "application_name=mine\n");
	sees(&f, "options=-c statement_timeout=5000 -c default_transaction_isolation=read\\ committed\n");
	pg_target_free(t);
	t = target(&opt, "postgres://u@127.0.0.1:%d/d?application_name=url&options=-c%%20work_mem%%3D5MB", f.port);
	ok(t);
	sees(&f, "application_name=url\n");
	sees(&f, "options=-c statement_timeout=5000 -c work_mem=5MB -c default_transaction_isolation=read\\ committed\n");
	pg_target_free(t);
	setenv("PGAPPNAME", "env", 1);
	t = target(&opt, "postgres://u@127.0.0.1:%d/d", f.port);
	ok(t);
	sees(&f, "application_name=env\n");
	pg_target_free(t);
	unsetenv("PGAPPNAME");
	fake_stop(&f);
}

static void a_service_says_the_rest(void **state)
{
	struct fake f = {.password = "secret"};
	(void)state;
	fake_start(&f);
	FILE *o = fopen(path, "w");
	assert_non_null(o);
	fprintf(o, "[mine]\nhost=127.0.0.1\nport=%d\ndbname=d\nuser=u\npassword=secret\napplication_name=svc\n", f.port);
	assert_int_equal(fclose(o), 0);
	setenv("PGSERVICEFILE", path, 1);
	struct pg_target *t = target(NULL, "postgresql:///?service=mine&user=v");
	ok(t);
	sees(&f, "user=v\n");
	sees(&f, "database=d\n");
	sees(&f, "application_name=svc\n");
	assert_null(memmem(t->text.p, t->text.n, "secret", 6));
	pg_target_free(t);
	setenv("PGSERVICE", "mine", 1);
	t = target(NULL, "postgresql://");
	ok(t);
	sees(&f, "user=u\n");
	pg_target_free(t);
	unsetenv("PGSERVICE");
	unsetenv("PGSERVICEFILE");
	fake_stop(&f);
}

static void addresses(void **state)
{
	static const char *const bad[][2] = {{"postgresql://u:secret@h/d?sslmod=x", "sslmod"},
					     {"postgresql://u:secret@h/d?sslmode=always", "sslmode"},
					     {"postgresql://u:sec%zzret@h/d", "percent-encoded"},
					     {"postgresql://u:secret@ret@h/d", "%40"},
					     {"postgresql://u:secret/x@h/d", "%2F"},
					     {"postgresql://h:99999/d", "port"},
					     {"postgresql://h,i/d?hostaddr=127.0.0.1", "match"},
					     {"postgresql://[::1/d?password=secret", "IPv6"},
					     {"postgresql://h/d?password=secret=", "="},
					     {"postgresql://h/d?target_session_attrs=best", "prefer-standby"},
					     {"postgresql:///?service=nothing-by-this-name", "service"},
					     {"host=h password='secret", "quoted"},
					     {"host=h password secret", "="}};
	struct store_options opt = {.durable = true};
	struct pg_target *t;
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(pg_target_new(str_c(bad[i][0]), &opt, &t), E_INVALID);
		assert_null(t);
		says(bad[i][1]);
		if (strstr(diag_get()->text, "secret") || strstr(diag_get()->text, "ret@"))
			fail_msg("%s", diag_get()->text);
	}
	opt.pg.password = STR("x");
	assert_int_equal(pg_target_new(STR("postgresql://u:y@h/d"), &opt, &t), E_INVALID);
	t = target(NULL, "host=h,i port=1 dbname='a b' user=u password=secret");
	assert_true(str_eq(pg_target_text(t), STR("host=h,i port=1,1 dbname=a b user=u")));
	assert_string_equal(t->attrs, "read-write");
	pg_target_free(t);
	t = target(NULL, "postgresql://h,i/d?target_session_attrs=any");
	assert_string_equal(t->attrs, "any");
	pg_target_free(t);
}

static void refusals(void **state)
{
	static const struct {
		const char *state, *text;
		enum err err;
		const char *part;
	} t[] = {{"3D000", "database \"d\" does not exist", E_BUSY, "has no database \"d\""},
		 {"28000", "no pg_hba.conf entry for host", E_DENIED, "refused the login of user \"u\": no pg_hba.conf"},
		 {"28P01", "password authentication failed", E_DENIED, "password authentication failed"},
		 {"42501", "permission denied for database \"d\"", E_DENIED, "GRANT CONNECT ON DATABASE \"d\" TO \"u\""},
		 {"53300", "sorry, too many clients already", E_BUSY, "pg.pool.max"},
		 {"57P03", "the database system is starting up", E_BUSY, "not ready: the database system is starting up"},
		 {"XX000", "odd: really", E_BUSY, "could not connect to PostgreSQL at 127.0.0.1:"}};
	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		struct fake f = {.state = t[i].state, .text = t[i].text};
		fake_start(&f);
		struct pg_target *g = target(NULL, "postgresql://u@127.0.0.1:%d/d", f.port);
		assert_int_equal(login(g, 20000), t[i].err);
		says(t[i].part);
		assert_int_equal(diag_get()->retry_after_s, t[i].err == E_BUSY);
		assert_int_equal(atomic_load(&f.logins), 1);
		pg_target_free(g);
		fake_stop(&f);
	}
}

static void servers_that_do_not_suit(void **state)
{
	struct fake f = {.version = "12.9"}, g = {.encoding = "SQL_ASCII"};
	(void)state;
	fake_start(&f);
	fake_start(&g);
	struct pg_target *t = target(NULL, "postgresql://u@127.0.0.1:%d/d", f.port);
	assert_int_equal(login(t, 20000), E_INVALID);
	says("12.9 is too old");
	pg_target_free(t);
	t = target(NULL, "postgresql://u@127.0.0.1:%d/d", g.port);
	assert_int_equal(login(t, 20000), E_INVALID);
	says("SQL_ASCII");
	pg_target_free(t);
	fake_stop(&f);
	fake_stop(&g);
}

static void passwords(void **state)
{
	struct fake f = {.password = "new"};
	struct store_options cmd = {.pg.password_command = STR("if [ -e \"$F\" ]; then echo new; else echo secret; >\"$F\"; fi")};
	struct store_options wrong = {.pg.password_command = STR("echo secret")};
	struct store_options fixed = {.pg.password = STR("new")};
	(void)state;
	setenv("F", path, 1);
	fake_start(&f);
	struct pg_target *t = target(NULL, "postgresql://u@127.0.0.1:%d/d", f.port);
	assert_int_equal(login(t, 20000), E_DENIED);
	says("asks for a password of user \"u\"");
	pg_target_free(t);
	setenv("PGPASSWORD", "secret", 1);
	t = target(&fixed, "postgresql://u@127.0.0.1:%d/d", f.port);
	ok(t);
	pg_target_free(t);
	atomic_store(&f.logins, 0);
	t = target(&cmd, "postgresql://u@127.0.0.1:%d/d", f.port);
	ok(t); /* the first is refused, the second is right */
	assert_int_equal(atomic_load(&f.logins), 2);
	ok(t);
	assert_int_equal(atomic_load(&f.logins), 3);
	pg_target_free(t);
	t = target(&wrong, "postgresql://u@127.0.0.1:%d/d", f.port);
	assert_int_equal(login(t, 20000), E_DENIED);
	says("password authentication failed");
	assert_null(strstr(diag_get()->text, "secret"));
	assert_int_equal(atomic_load(&f.logins), 5);
	pg_target_free(t);
	unsetenv("PGPASSWORD");
	fake_stop(&f);
}

static void a_pooler_without_options(void **state)
{
	struct fake f = {.refuse_options = true};
	(void)state;
	fake_start(&f);
	struct pg_target *t = target(NULL, "postgresql://u@127.0.0.1:%d/d", f.port);
	ok(t);
	assert_int_equal(atomic_load(&f.logins), 2);
	assert_null(strstr(f.startup, "options="));
	ok(t);
	assert_int_equal(atomic_load(&f.logins), 3); /* remembered */
	pg_target_free(t);
	fake_stop(&f);
}

static void nobody_there(void **state)
{
	struct fake f = {.silent = true};
	(void)state;
	struct pg_target *t = target(NULL, "postgresql://u:secret@127.0.0.1:%d/d", closed_port());
	assert_int_equal(login(t, 20000), E_BUSY);
	says("Connection refused");
	says("Check that the server runs");
	assert_null(strstr(diag_get()->text, "secret"));
	pg_target_free(t);
	setenv("LAKEBASE_HOST", "127.0.0.1", 1);
	t = target(NULL, "postgresql://u:secret@127.0.0.1:%d/d", closed_port());
	assert_int_equal(login(t, 20000), E_BUSY);
	says("Could not connect to Lakebase");
	says("LAKEBASE_HOST, LAKEBASE_DATABASE, LAKEBASE_USER and LAKEBASE_PASSWORD");
	says("instance is running");
	says("VPC peering");
	assert_null(strstr(diag_get()->text, "secret"));
	pg_target_free(t);
	unsetenv("LAKEBASE_HOST");
	fake_start(&f);
	t = target(NULL, "postgresql://u@127.0.0.1:%d/d", f.port);
	uint64_t begun = clock_mono_ns();
	assert_int_equal(login(t, 300), E_BUSY);
	says("no answer in time");
	assert_in_range((clock_mono_ns() - begun) / 1000000, 299, 20000);
	PGconn *c;
	uint64_t until;
	assert_int_equal(pg_target_connect(t, clock_mono_ns(), NULL, &c, &until), E_TIMEOUT);
	pg_target_free(t);
	fake_stop(&f);
}

struct stopper {
	struct fake *f;
	atomic_bool stop;
};

static void *stop_it(void *arg)
{
	struct stopper *p = arg;
	while (!atomic_load(&p->f->logins))
		usleep(1000);
	atomic_store(&p->stop, true);
	return NULL;
}

/* Nobody wants the login any more: it ends long before its time, and no other host is tried. */
static void stopped(void **state)
{
	struct fake f = {.silent = true}, other = {0};
	struct stopper p = {.f = &f};
	pthread_t thread;
	PGconn *c;
	uint64_t until, begun = clock_mono_ns();
	(void)state;
	fake_start(&f);
	fake_start(&other);
	struct pg_target *t =
		target(NULL, "postgresql://u@127.0.0.1:%d,127.0.0.1:%d/d?target_session_attrs=any", f.port, other.port);
	assert_int_equal(pthread_create(&thread, NULL, stop_it, &p), 0);
	assert_int_equal(pg_target_connect(t, deadline_in_ms(600000), &p.stop, &c, &until), E_CANCELLED);
	says("the store is being closed");
	assert_null(c);
	assert_in_range((clock_mono_ns() - begun) / 1000000, 0, 60000);
	assert_int_equal(atomic_load(&other.logins), 0);
	pthread_join(thread, NULL);
	pg_target_free(t);
	fake_stop(&f);
	fake_stop(&other);
}

static void several_hosts(void **state)
{
	struct fake silent = {.silent = true}, standby = {.read_only = true}, good = {0}, bad = {.state = "28000", .text = "no"};
	struct store_options opt = {.pg.connect_ms = 2000};
	(void)state;
	fake_start(&silent);
	fake_start(&standby);
	fake_start(&good);
	fake_start(&bad);
	struct pg_target *t = target(&opt, "postgresql://u@127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/d", closed_port(),
				     silent.port, standby.port, good.port);
	ok(t);
	assert_int_equal(atomic_load(&silent.logins) + atomic_load(&standby.logins) + atomic_load(&good.logins), 3);
	ok(t); /* at once */
	assert_int_equal(atomic_load(&silent.logins) + atomic_load(&standby.logins) + atomic_load(&good.logins), 4);
	pg_target_free(t);
	/* A refused login ends it. */
	t = target(NULL, "postgresql://u@127.0.0.1:%d,127.0.0.1:%d/d", bad.port, good.port);
	assert_int_equal(login(t, 20000), E_DENIED);
	assert_int_equal(atomic_load(&good.logins), 2);
	pg_target_free(t);
	t = target(NULL, "postgresql://u@127.0.0.1:%d,127.0.0.1:%d/d?target_session_attrs=read-only", good.port, standby.port);
	ok(t);
	assert_int_equal(atomic_load(&standby.logins), 2);
	pg_target_free(t);
	fake_stop(&silent);
	fake_stop(&standby);
	fake_stop(&good);
	fake_stop(&bad);
}

/* The name is not resolved, and stays the one that TLS would look for. */
static void a_name_that_does_not_resolve(void **state)
{
	struct fake f = {0};
	PGconn *c;
	uint64_t until;
	(void)state;
	fake_start(&f);
	struct pg_target *t = target(NULL, "postgresql://u@db.invalid:%d/d?hostaddr=127.0.0.1", f.port);
	assert_int_equal(pg_target_connect(t, deadline_in_ms(20000), NULL, &c, &until), OK);
	assert_string_equal(PQhost(c), "db.invalid");
	assert_string_equal(PQhostaddr(c), "127.0.0.1");
	PQfinish(c);
	pg_target_free(t);
	fake_stop(&f);
}

static void connections_age(void **state)
{
	struct fake f = {0};
	struct store_options opt = {.pg.password_command = STR("echo x"), .pg.password_life_ms = 50000};
	PGconn *c;
	uint64_t until, least = NEVER, most = 0;
	(void)state;
	fake_start(&f);
	struct pg_target *t = target(NULL, "postgresql://u@127.0.0.1:%d/d", f.port);
	assert_int_equal(pg_target_connect(t, deadline_in_ms(20000), NULL, &c, &until), OK);
	assert_true(until == NEVER);
	PQfinish(c);
	pg_target_free(t);
	opt.pg.recycle_ms = 100000;
	t = target(&opt, "postgresql://u@127.0.0.1:%d/d", f.port);
	for (int i = 0; i < 20; i++) {
		uint64_t now = clock_mono_ns();
		assert_int_equal(pg_target_connect(t, deadline_in_ms(20000), NULL, &c, &until), OK);
		PQfinish(c);
		/* The password ends before the age does; it may be some seconds old by now. */
		assert_in_range((until - now) / 1000000000, 20, 50);
		least = until - now < least ? until - now : least;
		most = until - now > most ? until - now : most;
	}
	assert_true(most - least > UINT64_C(1000000000)); /* not all at once */
	pg_target_free(t);
	fake_stop(&f);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(what_nobody_said),
					   T(a_service_says_the_rest),
					   T(addresses),
					   T(refusals),
					   T(passwords),
					   T(servers_that_do_not_suit),
					   T(stopped),
					   T(several_hosts),
					   T(a_pooler_without_options),
					   T(nobody_there),
					   T(a_name_that_does_not_resolve),
					   T(connections_age)};
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
