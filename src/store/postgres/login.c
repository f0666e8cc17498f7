/* Logging in: each host in turn until the deadline, with the credential of the moment, and what went wrong as a sentence.
 *
 * libpq's own blocking connect cannot keep a deadline that is not in whole seconds, and its asynchronous one cannot leave a host
 * that does not answer; so hosts are tried one by one here, by the asynchronous calls and poll. Only resolving a name blocks. */
#include "store/postgres/target.h"

#include <errno.h>
#include <poll.h>

#include "base/secret.h"
#include "base/uuid7.h"

#define LOOK_MS 200    /* how soon a login ends that nobody wants any more */
#define TOO_OLD 130000 /* pg_current_xact_id, pg_snapshot, identity columns */

/* What is asked for. */
struct ask {
	struct pg_target *t;
	const atomic_bool *stop; /* NULL: nobody wants it to end before its time */
	const char *password;	 /* of the credential; NULL: there is none of ours */
};

/* How one try ended. */
struct attempt {
	PGconn *c;	  /* logged in */
	char sqlstate[6]; /* of the server's refusal, "" : it did not come so far */
	char reason[256]; /* one line */
	bool no_password; /* the server wants one, there is none */
	bool timed_out;
	const struct pg_target_host *host;
};

/* --------------------------------------------------------------- one host */

/* "connection to server at ..., port N failed: FATAL:  28P01: text" -> 28P01, text. Of several addresses, the last. */
static void read_reason(struct attempt *y, const char *msg)
{
	const char *from = msg, *state = NULL;
	for (const char *p = strstr(msg, "failed: "); p; p = strstr(p, "failed: "))
		from = p += 8;
	/* The severity may be in any language; behind it are two blanks, five characters and a colon. */
	for (const char *p = strstr(from, ":  "); p && !state; p = strstr(p + 1, ":  ")) {
		size_t n = strspn(p + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
		if (n == 5 && p[8] == ':' && p[9] == ' ')
			state = p + 3;
	}
	if (state) {
		snprintf(y->sqlstate, sizeof y->sqlstate, "%.5s", state);
		from = state + 7;
	}
	snprintf(y->reason, sizeof y->reason, "%.*s", (int)strcspn(from, "\n"), from);
}

static bool is_stopped(const struct ask *a)
{
	return a->stop && atomic_load(a->stop);
}

/* Drives the connection until it is logged in or has failed; false with timed_out: neither by then. */
static bool drive(const struct ask *a, struct attempt *y, uint64_t deadline)
{
	PostgresPollingStatusType want = PGRES_POLLING_WRITING;
	while (PQstatus(y->c) != CONNECTION_BAD && want != PGRES_POLLING_FAILED && want != PGRES_POLLING_OK) {
		uint64_t now = clock_mono_ns();
		if (now >= deadline || is_stopped(a)) {
			y->timed_out = true;
			return false;
		}
		uint64_t left = (deadline - now) / 1000000 + 1;
		struct pollfd p = {PQsocket(y->c), want == PGRES_POLLING_READING ? POLLIN : POLLOUT, 0};
		if (poll(&p, 1, left > LOOK_MS ? LOOK_MS : (int)left) > 0)
			want = PQconnectPoll(y->c);
	}
	return want == PGRES_POLLING_OK && PQstatus(y->c) == CONNECTION_OK;
}

static void on_notice(void *arg, const PGresult *r)
{
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE), *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	(void)arg;
	LOG(LOG_DEBUG, "store.postgres", "notice", LF_C("sqlstate", state ? state : ""), LF_C("text", text ? text : ""));
}

static bool one(const struct ask *a, const struct pg_target_host *h, const char *attrs, bool plain, uint64_t deadline,
		struct attempt *y)
{
	const struct pg_target *t = a->t;
	const char *key[TARGET_PARAMS_MAX + 6], *value[TARGET_PARAMS_MAX + 6];
	unsigned n = 0;
	for (unsigned i = 0; i < t->n; i++) {
		bool secret = a->password && strcmp(t->key[i], "password") == 0;
		key[n] = t->key[i];
		value[n++] = secret ? a->password : t->value[i];
	}
	const char *own[][2] = {{"host", h->host},
				{"hostaddr", h->addr},
				{"port", h->port},
				{"target_session_attrs", attrs},
				{"options", plain ? t->options : t->backstop}};
	for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
		key[n] = own[i][0];
		value[n++] = own[i][1] ? own[i][1] : "";
	}
	key[n] = value[n] = NULL;
	*y = (struct attempt){.host = h};
	y->c = PQconnectStartParams(key, value, 0);
	if (!y->c) {
		snprintf(y->reason, sizeof y->reason, "out of memory");
		return false;
	}
	PQsetErrorVerbosity(y->c, PQERRORS_VERBOSE); /* has the SQLSTATE, which nothing else tells of a refused login */
	PQsetNoticeReceiver(y->c, on_notice, NULL);
	if (drive(a, y, deadline)) {
		PQsetErrorVerbosity(y->c, PQERRORS_DEFAULT);
		return true;
	}
	if (y->timed_out)
		snprintf(y->reason, sizeof y->reason, "no answer in time");
	else
		read_reason(y, PQerrorMessage(y->c));
	y->no_password = PQconnectionNeedsPassword(y->c);
	PQfinish(y->c);
	y->c = NULL;
	return false;
}

/* With our startup options, unless a pooler has refused them. */
static bool one_or_plain(const struct ask *a, const struct pg_target_host *h, const char *attrs, uint64_t deadline,
			 struct attempt *y)
{
	struct pg_target *t = a->t;
	bool plain = atomic_load(&t->plain);
	if (one(a, h, attrs, plain, deadline, y))
		return true;
	if (plain || strcmp(y->sqlstate, "08P01") != 0)
		return false;
	char why[sizeof y->reason];
	memcpy(why, y->reason, sizeof why);
	if (one(a, h, attrs, true, deadline, y) || strcmp(y->sqlstate, "08P01") != 0) {
		if (!atomic_exchange(&t->plain, true))
			LOG(LOG_WARN, "store.postgres",
			    "a pooler does not take our options at login (statement_timeout, default_transaction_isolation); the "
			    "server will not end statements by itself",
			    LF_C("reason", why));
	}
	return y->c != NULL;
}

/* --------------------------------------------------------------- all hosts */

/* Another host may still take us: this one was not there, is not ready, or is not what is looked for. */
static bool go_on(const struct ask *a, const struct attempt *y)
{
	return !is_stopped(a) && !y->no_password &&
	       (y->sqlstate[0] == 0 || strncmp(y->sqlstate, "57P", 3) == 0 || strcmp(y->sqlstate, "53300") == 0);
}

static bool each(const struct ask *a, const char *attrs, uint64_t deadline, struct attempt *y)
{
	struct pg_target *t = a->t;
	bool sole = strcmp(attrs, "read-write") == 0 || strcmp(attrs, "primary") == 0;
	unsigned first = sole ? atomic_load(&t->first) : 0;
	for (unsigned i = 0; i < t->hosts; i++) {
		unsigned at = (first + i) % t->hosts;
		uint64_t now = clock_mono_ns(), till = now + (uint64_t)t->connect_ms * 1000000;
		if (deadline != NEVER && deadline > now && now + (deadline - now) / (t->hosts - i) < till)
			till = now + (deadline - now) / (t->hosts - i);
		if (till > deadline)
			till = deadline;
		if (one_or_plain(a, &t->host[at], attrs, till, y)) {
			atomic_store(&t->first, at);
			return true;
		}
		if (!go_on(a, y))
			return false;
	}
	return false;
}

static bool anywhere(const struct ask *a, uint64_t deadline, struct attempt *y)
{
	const struct pg_target *t = a->t;
	if (strcmp(t->attrs, "prefer-standby") != 0)
		return each(a, t->attrs, deadline, y);
	uint64_t now = clock_mono_ns(), half = deadline == NEVER || deadline < now ? deadline : now + (deadline - now) / 2;
	return each(a, "standby", half, y) || (go_on(a, y) && each(a, "any", deadline, y));
}

/* --------------------------------------------------------------- sentences */

static void put_where(const struct attempt *y, char *out, size_t max)
{
	const char *h = y->host->host ? y->host->host : y->host->addr ? y->host->addr : "";
	const char *p = y->host->port ? y->host->port : "5432";
	snprintf(out, max, *h == '/' ? "%s" : strchr(h, ':') ? "[%s]:%s" : "%s:%s", h, p);
}

static bool refused(const struct attempt *y)
{
	return strcmp(y->sqlstate, "28P01") == 0 || strcmp(y->sqlstate, "28000") == 0;
}

static enum err busy(enum err e)
{
	diag_get()->retry_after_s = 1;
	return e;
}

static enum err not_there(const struct pg_target *t, const struct attempt *y, const char *where)
{
	if (t->lakebase)
		return busy(err_set(
			E_BUSY,
			"Could not connect to Lakebase at %s: %s. Check LAKEBASE_HOST, LAKEBASE_DATABASE, LAKEBASE_USER and "
			"LAKEBASE_PASSWORD, that the instance is running, and that the network lets this machine reach it "
			"(VPC peering)",
			where, y->reason));
	return busy(
		err_set(E_BUSY,
			"could not connect to PostgreSQL at %s: %s. Check that the server runs, that host, port, database and user "
			"are right, and that the network lets this machine reach it",
			where, y->reason));
}

static enum err denied(const struct pg_target *t, const struct attempt *y, const char *where)
{
	if (y->no_password)
		return err_set(E_DENIED,
			       "PostgreSQL at %s asks for a password of user \"%s\", and none is set; set pg.password "
			       "(CENOTE_PG_PASSWORD), pg.password_file or pg.password_command",
			       where, t->user);
	if (t->lakebase)
		return err_set(
			E_DENIED,
			"Lakebase at %s refused the login of user \"%s\": %s. Either this role does not exist (a Lakebase resource "
			"or native login is missing), or user and password (token) belong to different principals",
			where, t->user, y->reason);
	return err_set(E_DENIED, "PostgreSQL at %s refused the login of user \"%s\": %s", where, t->user, y->reason);
}

static enum err sentence(const struct pg_target *t, const struct attempt *y)
{
	char where[300];
	put_where(y, where, sizeof where);
	if (y->no_password || refused(y))
		return denied(t, y, where);
	if (strcmp(y->sqlstate, "3D000") == 0)
		return busy(err_set(
			E_BUSY,
			"PostgreSQL at %s has no database \"%s\"; make it (createdb) or name another in the store's address", where,
			t->db));
	if (strcmp(y->sqlstate, "42501") == 0)
		return err_set(E_DENIED,
			       "user \"%s\" may not connect to database \"%s\" at %s; GRANT CONNECT ON DATABASE \"%s\" TO \"%s\"",
			       t->user, t->db, where, t->db, t->user);
	if (strcmp(y->sqlstate, "53300") == 0)
		return busy(err_set(E_BUSY,
				    "PostgreSQL at %s has no connection left: %s; lower pg.pool.max, or raise the server's "
				    "max_connections",
				    where, y->reason));
	if (strncmp(y->sqlstate, "57P", 3) == 0)
		return busy(err_set(E_BUSY, "PostgreSQL at %s is not ready: %s", where, y->reason));
	return not_there(t, y, where);
}

/* ------------------------------------------------------------------- login */

/* What cannot work is told at once. */
static enum err suits(const struct pg_target *t, PGconn *c)
{
	int v = PQserverVersion(c);
	const char *encoding = PQparameterStatus(c, "server_encoding"), *name = PQparameterStatus(c, "server_version");
	if (v > 0 && v < TOO_OLD)
		return err_set(E_INVALID, "PostgreSQL %s is too old: Cenote needs 13 or newer", name ? name : "");
	if (encoding && strcmp(encoding, "UTF8") != 0)
		return err_set(E_INVALID,
			       "database \"%s\" has the encoding %s, in which not every text can be kept; make one with "
			       "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
			       t->db, encoding);
	return OK;
}

/* The age at which a connection is given up, and the credential's end, minus up to a fifth: they do not all turn over at once. */
static uint64_t end_of(const struct pg_target *t, uint64_t credential)
{
	uint64_t now = clock_mono_ns(), end = t->recycle_ms ? deadline_in_ms(t->recycle_ms) : NEVER, random;
	if (credential < end)
		end = credential;
	if (end == NEVER || end <= now)
		return end;
	random_bytes(&random, sizeof random);
	return end - random % ((end - now) / 5 + 1);
}

/* One more try with another password when one was refused. */
static enum err with_credential(struct ask *a, uint64_t deadline, struct attempt *y, uint64_t *end)
{
	struct pg_credential *from = a->t->cred;
	char *password = NULL;
	*end = NEVER;
	if (!from)
		return anywhere(a, deadline, y) ? OK : sentence(a->t, y);
	TRY(from->get(from, NULL, deadline, &password, end));
	a->password = password;
	bool in = anywhere(a, deadline, y);
	if (!in && refused(y)) {
		char *old = password;
		password = NULL;
		enum err e = from->get(from, old ? old : "", deadline, &password, end);
		secret_free(old);
		if (e != OK)
			return err_wrap(e, "the server refused the password, and a new one is not to be had");
		a->password = password;
		in = anywhere(a, deadline, y);
	}
	secret_free(password);
	a->password = NULL;
	return in ? OK : sentence(a->t, y);
}

static enum err login(struct ask *a, uint64_t deadline, PGconn **out, uint64_t *until_ns)
{
	struct attempt y = {.host = &a->t->host[0]};
	uint64_t end;
	*out = NULL;
	*until_ns = NEVER;
	if (clock_mono_ns() >= deadline)
		return err_set(E_TIMEOUT, "there was no time left to connect to PostgreSQL");
	enum err e = with_credential(a, deadline, &y, &end);
	if (e != OK)
		return is_stopped(a) ? err_set(E_CANCELLED, "the store is being closed") : e;
	e = suits(a->t, y.c);
	if (e != OK) {
		PQfinish(y.c);
		return e;
	}
	*out = y.c;
	*until_ns = end_of(a->t, end);
	return OK;
}

enum err pg_target_connect(struct pg_target *t, uint64_t deadline, const atomic_bool *stop, PGconn **out, uint64_t *until_ns)
{
	struct ask a = {.t = t, .stop = stop};
	return login(&a, deadline, out, until_ns);
}
