/* What to connect to: the user's connection parameters as libpq reads them (URL or words, service file, PG* variables, its own
 * defaults, in this order), and our defaults where nobody has said anything.
 *
 * libpq tells what it has made of all that only of a connection object. One is made that cannot go far: a parameter that it checks
 * before anything is sent has a value that does not exist. */
#include "store/postgres/target.h"

#include "base/secret.h"

#define BAD "?" /* no value of target_session_attrs or channel_binding */

/* ---------------------------------------------------------------- sentences */

/* libpq's reasons quote what was given; a quotation is kept only if it is also in what may be shown. */
static void safe_reason(const char *msg, const char *shown, char *out, size_t max)
{
	struct buf b;
	buf_init(&b, NULL, 4096);
	struct str rest = str_trim(str_c(msg)), head;
	for (bool quoted = false; rest.n; quoted = !quoted) {
		bool more = str_cut(rest, '"', &head, &rest);
		char word[256];
		snprintf(word, sizeof word, "%.*s", STR_ARG(head));
		if (quoted && (head.n >= sizeof word || !strstr(shown, word)))
			buf_lit(&b, "...");
		else
			buf_str(&b, head);
		if (more)
			buf_byte(&b, '"');
	}
	snprintf(out, max, "%.*s", STR_ARG(str_sub(buf_slice(&b), 0, 300)));
	for (char *p = out; *p; p++)
		if (*p == '\n' || *p == '\t')
			*p = ' ';
	buf_release(&b);
}

static enum err invalid(struct pg_target *t, struct str conninfo, const char *msg)
{
	struct buf b;
	char reason[400];
	buf_init(&b, &t->arena, 16 << 10);
	store_url_redact(conninfo, &b);
	buf_byte(&b, 0);
	safe_reason(msg, b.err == OK ? b.p : "", reason, sizeof reason);
	return err_field(E_INVALID, "store", -1, "the store's address is not valid: %s", reason);
}

/* ------------------------------------------------------------- what libpq says */

struct params {
	const char *key[TARGET_PARAMS_MAX + 2], *value[TARGET_PARAMS_MAX + 2];
	unsigned n;
};

static void set(struct params *p, const char *key, const char *value)
{
	unsigned i = 0;
	while (i < p->n && strcmp(p->key[i], key) != 0)
		i++;
	if (i == p->n && p->n < TARGET_PARAMS_MAX)
		p->n++;
	if (i < p->n) {
		p->key[i] = key;
		p->value[i] = value;
	}
}

static const char *get(const struct params *p, const char *key)
{
	for (unsigned i = 0; i < p->n; i++)
		if (strcmp(p->key[i], key) == 0)
			return p->value[i];
	return NULL;
}

/* A connection object with all parameters filled in, that has stopped at its parameter `stop`. */
static PGconn *probe(const struct params *p, const char *stop)
{
	struct params q = *p;
	set(&q, stop, BAD);
	q.key[q.n] = q.value[q.n] = NULL;
	return PQconnectStartParams(q.key, q.value, 0);
}

/* The parameters that libpq would use, with those that have no value left out. */
static enum err resolve(struct pg_target *t, struct str conninfo, const struct params *said, struct params *out)
{
	PGconn *c = probe(said, "target_session_attrs");
	enum err e = OK;
	/* By now everything but that has been looked at. */
	if (!c || !strstr(PQerrorMessage(c), "target_session_attrs"))
		e = c ? invalid(t, conninfo, PQerrorMessage(c)) : err_set(E_LIMIT, "out of memory");
	PQfinish(c);
	TRY(e);
	c = probe(said, "channel_binding");
	PQconninfoOption *all = PQconninfo(c);
	if (!all)
		e = err_set(E_LIMIT, "out of memory");
	for (const PQconninfoOption *o = all; o && o->keyword; o++) {
		const char *v = o->val;
		if (strcmp(o->keyword, "channel_binding") == 0)
			v = NULL;
		else if (!v && strcmp(o->keyword, "host") == 0 && !get(out, "hostaddr"))
			v = PQhost(c);
		else if (!v && strcmp(o->keyword, "dbname") == 0)
			v = PQdb(c);
		if (v && *v)
			set(out, o->keyword, arena_cstr(&t->arena, str_c(v)));
		if (v && strcmp(o->keyword, "password") == 0)
			explicit_bzero(o->val, strlen(o->val));
	}
	PQconninfoFree(all);
	PQfinish(c);
	return e;
}

/* ------------------------------------------------------------------- hosts */

static const char *nth(struct pg_target *t, const char *list, unsigned i)
{
	struct str rest = str_c(list), word = {0};
	bool more = true;
	for (unsigned k = 0; k <= i; k++) {
		if (!more)
			return NULL;
		more = str_cut(rest, ',', &word, &rest);
	}
	return word.n ? arena_cstr(&t->arena, word) : NULL;
}

static unsigned count(const char *list)
{
	unsigned n = list && *list;
	for (; list && *list; list++)
		n += *list == ',';
	return n;
}

static enum err take_hosts(struct pg_target *t, const struct params *p)
{
	const char *host = get(p, "host"), *addr = get(p, "hostaddr"), *port = get(p, "port");
	unsigned n = count(addr) > count(host) ? count(addr) : count(host), ports = count(port);
	int64_t number;
	t->hosts = n ? n : 1;
	if (t->hosts > TARGET_HOSTS_MAX)
		return err_field(E_INVALID, "store", -1, "the store's address has more than %d hosts", TARGET_HOSTS_MAX);
	for (unsigned i = 0; i < t->hosts; i++) {
		struct pg_target_host *h = &t->host[i];
		h->host = nth(t, host, i);
		h->addr = nth(t, addr, i);
		h->port = nth(t, port, ports == 1 ? 0 : i);
		if ((h->port && !str_int(str_c(h->port), 1, 65535, &number)) || (h->host && strchr(h->host, '@')))
			return err_field(
				E_INVALID, "store", -1,
				"the store's address is not valid: its host or port is none. In user and password, write @ as "
				"%%40, / as %%2F, : as %%3A, ? as %%3F, # as %%23, %% as %%25");
	}
	return OK;
}

/* One of Databricks' own names, or the one that the variable has. */
static bool is_lakebase(const struct pg_target *t)
{
	const char *var = getenv("LAKEBASE_HOST");
	for (unsigned i = 0; i < t->hosts; i++) {
		const char *h = t->host[i].host;
		if (h && var && *var && strncmp(var, h, strlen(h)) == 0)
			return true;
		if (h && (strstr(h, ".database.") || strstr(h, ".lakebase.")) &&
		    (str_ends(str_c(h), STR("databricks.com")) || str_ends(str_c(h), STR("azuredatabricks.net"))))
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------- defaults */

static enum err take_attrs(struct pg_target *t, const struct params *said)
{
	static const char *const known[] = {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"};
	const char *own = get(said, "target_session_attrs"), *env = getenv("PGTARGETSESSIONATTRS");
	t->attrs = own && *own ? own : env && *env ? env : NULL;
	t->attrs = t->attrs ? arena_cstr(&t->arena, str_c(t->attrs)) : NULL;
	for (size_t i = 0; t->attrs && i < sizeof known / sizeof *known; i++)
		if (strcmp(t->attrs, known[i]) == 0)
			return OK;
	return t->attrs ? err_field(E_INVALID, "store", -1,
				    "target_session_attrs must be any, read-write, read-only, primary, "
				    "standby or prefer-standby")
			: OK;
}

/* What libpq has no variable for, and what nobody said. */
static enum err take_rest(struct pg_target *t, const struct store_options *opt, const struct params *said, struct params *p)
{
	static const char *const ours[][2] = {{"keepalives", "1"},
					      {"keepalives_idle", "30"},
					      {"keepalives_interval", "10"},
					      {"keepalives_count", "5"},
					      {"tcp_user_timeout", "10000"}};
	/* Parts of the sum above, made for each login; or used up. */
	static const char *const not [] = {"host",    "hostaddr",	 "port",    "target_session_attrs",
					   "options", "connect_timeout", "service", "servicefile"};
	uint32_t statement_ms = opt->pg.statement_ms ? opt->pg.statement_ms : 30000;
	struct str app = opt->pg.application_name.n ? opt->pg.application_name : STR("cenote");
	const char *v = get(p, "options");
	int64_t s;
	t->options = v ? v : "";
	/* What comes later counts: the user's limit, but no other isolation than the one that our statements are made for. */
	t->backstop = arena_printf(&t->arena, "-c statement_timeout=%u%s%s -c default_transaction_isolation=read\\ committed",
				   statement_ms + 1000, *t->options ? " " : "", t->options)
			      .p;
	if (!t->backstop)
		return E_NOMEM;
	t->connect_ms = opt->pg.connect_ms ? opt->pg.connect_ms : 5000;
	v = get(p, "connect_timeout");
	if (v && str_int(str_c(v), 1, 3600, &s))
		t->connect_ms = (uint32_t)s * 1000;
	t->recycle_ms = opt->pg.recycle_ms;
	TRY(take_attrs(t, said));
	if (!t->attrs)
		t->attrs = get(p, "target_session_attrs");
	if (!t->attrs ||
	    (t->hosts > 1 && !get(said, "target_session_attrs") && strcmp(t->attrs, "any") == 0 && !getenv("PGTARGETSESSIONATTRS")))
		t->attrs = t->hosts > 1 ? "read-write" : "any";
	if (!get(p, "application_name"))
		set(p, "application_name", arena_cstr(&t->arena, app));
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		if (!get(p, ours[i][0]))
			set(p, ours[i][0], ours[i][1]);
	set(p, "client_encoding", "UTF8");
	for (unsigned i = 0; i < p->n; i++) {
		bool leave = false;
		for (size_t k = 0; k < sizeof not / sizeof *not ; k++)
			leave |= strcmp(p->key[i], not [k]) == 0;
		if (leave)
			continue;
		t->key[t->n] = arena_cstr(&t->arena, str_c(p->key[i]));
		t->value[t->n++] = p->value[i];
	}
	return OK;
}

/* ------------------------------------------------------------------ the whole */

static enum err describe(struct pg_target *t, const struct params *p)
{
	struct buf b;
	buf_init(&b, &t->arena, 16 << 10);
	for (int what = 0; what < 3; what++) {
		static const char *const names[] = {"host=", " hostaddr=", " port="};
		bool any = false;
		for (unsigned i = 0; i < t->hosts; i++)
			any |= (what == 0 ? t->host[i].host : what == 1 ? t->host[i].addr : t->host[i].port) != NULL;
		for (unsigned i = 0; any && i < t->hosts; i++) {
			const char *v = what == 0 ? t->host[i].host : what == 1 ? t->host[i].addr : t->host[i].port;
			buf_lit(&b, i ? "," : names[what] + (b.n == 0 && what == 1));
			buf_lit(&b, v ? v : "");
		}
	}
	t->user = get(p, "user");
	t->db = get(p, "dbname");
	t->user = t->user ? t->user : "";
	t->db = t->db ? t->db : t->user;
	buf_printf(&b, " dbname=%s user=%s", t->db, t->user);
	t->text = buf_slice(&b);
	return b.err;
}

/* From the parsed conninfo to the target. */
static enum err build(struct pg_target *t, struct str conninfo, const struct store_options *opt, const PQconninfoOption *parsed)
{
	struct params said = {.n = 0}, all = {.n = 0};
	for (const PQconninfoOption *o = parsed; o->keyword; o++)
		if (o->val)
			set(&said, o->keyword, o->val);
	const char *given = get(&said, "password");
	bool ours = opt->pg.password.n || opt->pg.password_command.n || opt->pg.password_file.n;
	if (given && *given && ours)
		return err_field(
			E_INVALID, "store", -1,
			"the store's address has a password, and pg.password, pg.password_command or pg.password_file is set "
			"besides: leave one");
	TRY(pg_credential_new(&opt->pg, &t->cred));
	if (opt->pg.password.n)
		set(&said, "password", arena_cstr(&t->arena, opt->pg.password));
	TRY(resolve(t, conninfo, &said, &all));
	if (t->cred)
		set(&all, "password", "");
	TRY(take_hosts(t, &all));
	TRY(describe(t, &all));
	t->lakebase = is_lakebase(t);
	return take_rest(t, opt, &said, &all);
}

enum err pg_target_new(struct str conninfo, const struct store_options *opt, struct pg_target **out)
{
	struct pg_target *t = calloc(1, sizeof *t);
	char *msg = NULL;
	enum err e;
	*out = NULL;
	if (!t)
		return err_set(E_LIMIT, "out of memory");
	arena_init(&t->arena, 1 << 20);
	char *text = strndup(conninfo.p ? conninfo.p : "", conninfo.n);
	PQconninfoOption *parsed = text ? PQconninfoParse(text, &msg) : NULL;
	if (parsed)
		e = build(t, conninfo, opt, parsed);
	else
		e = msg ? invalid(t, conninfo, msg) : err_set(E_LIMIT, "out of memory");
	for (PQconninfoOption *o = parsed; o && o->keyword; o++)
		if (o->val && o->dispchar[0] == '*')
			explicit_bzero(o->val, strlen(o->val));
	PQconninfoFree(parsed);
	PQfreemem(msg);
	secret_free(text);
	if (e == OK)
		*out = t;
	else
		pg_target_free(t);
	return e;
}

void pg_target_free(struct pg_target *t)
{
	if (!t)
		return;
	if (t->cred)
		t->cred->free(t->cred);
	for (unsigned i = 0; i < t->n; i++)
		if (strstr(t->key[i], "password") && *t->value[i])
			explicit_bzero((char *)t->value[i], strlen(t->value[i]));
	arena_release(&t->arena);
	free(t);
}

struct str pg_target_text(const struct pg_target *t)
{
	return t->text;
}
