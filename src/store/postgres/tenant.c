/* Tenants: one schema each, found by name, looked at once before the first use, made by the first write.
 *
 * States:  UNKNOWN --looked--> ABSENT --looked again, after a second at the earliest--> ABSENT or READY
 *          UNKNOWN --looked--> READY             ABSENT --first write, made--> READY
 *
 * Invariants
 *  1. Only a READY tenant is given out; READY is final, and what is READY lives as long as the store.
 *  2. One fiber (or thread) at a time looks at or makes a tenant; the others wait for it on the list of waiters and share its
 *     answer. tmu is never held meanwhile.
 *  3. Reading a tenant without a schema finds nothing and makes nothing.
 *  4. A schema is a tenant's only if its cenote_meta says so: "app_x" may be the home schema of another Cenote.
 *  5. At most ABSENT_MAX tenants that are not READY are remembered, besides those somebody is asking for right now: names that
 *     nobody has made must not fill the memory. */
#include "store/postgres/catalog.h"
#include "store/postgres/compact.h"

#include <stdint.h>

#define LOOK_AGAIN_NS UINT64_C(1000000000)
#define ABSENT_MAX 1024
#define START_MS 120000
#define NO_SLOT UINT32_MAX

struct waiter {
	struct list node;
	struct event ev;
	bool create;
	enum err err;
	struct diag diag;
};

/* The tables that a tenant must have, with all rights on them; none of it needs rights on the schema itself. */
static const struct pg_stmt st_look = {
	ST_TENANT_LOOK, LANE_POINT, "tenant_look",
	"SELECT count(*) FILTER (WHERE c.relname = 'cenote_meta') > 0, coalesce(bool_and(has_schema_privilege(n.oid, 'USAGE')"
	" AND has_table_privilege(c.oid, 'SELECT') AND (c.relname = 'store_migrations' OR (has_table_privilege(c.oid, 'INSERT')"
	" AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')))), false) AND count(*) = 13"
	" FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')"
	" AND c.relname IN ('store', 'store_migrations', 'cenote_meta', 'cenote_value', 'cenote_item', 'cenote_journal',"
	" 'cenote_thread', 'cenote_message', 'cenote_model', 'cenote_vector', 'cenote_text', 'cenote_text_seen', 'cenote_fact') "
	"WHERE n.nspname = $1::text"};
static const struct pg_stmt st_meta = {ST_TENANT_META, LANE_POINT, "tenant_meta",
				       "SELECT name, value FROM @cenote_meta WHERE name IN ('schema', 'tenant')"};

/* ------------------------------------------------------------------ texts */

const char *pg_render(struct pg_tenant *t, const struct pg_stmt *st)
{
	char *have = atomic_load_explicit(&t->sql[st->id], memory_order_acquire), *none = NULL;
	struct buf b, plain;
	if (have)
		return have;
	buf_init(&b, NULL, 1 << 20);
	buf_init(&plain, NULL, 1 << 20);
	pg_expand_optional(&plain, t->has, st->sql);
	buf_byte(&plain, 0);
	if (plain.err == OK)
		pg_expand(&b, plain.p, t->quoted, pg_home(t->s)->quoted);
	buf_byte(&b, 0);
	bool failed = b.err != OK || plain.err != OK;
	buf_release(&plain);
	if (failed) {
		buf_release(&b);
		return NULL;
	}
	if (atomic_compare_exchange_strong(&t->sql[st->id], &none, b.p))
		return b.p;
	buf_release(&b); /* another thread was quicker */
	return none;
}

/* ---------------------------------------------------------------- the map */

static void tenant_free(struct pg_tenant *t)
{
	if (t->feed)
		pg_feed_free(t);
	for (unsigned i = 0; i < ST_MAX; i++)
		free(atomic_load(&t->sql[i]));
	pthread_mutex_destroy(&t->hnsw.mu);
	free(t);
}

/* Under tmu. */
static enum err add(struct pg *s, struct str name, struct pg_tenant **out)
{
	char schema[64];
	*out = NULL;
	TRY(pg_schema_name(schema, str_c(s->schema), name));
	struct pg_tenant *t = calloc(1, sizeof *t);
	if (!t)
		return err_set(E_LIMIT, "out of memory in the store");
	t->s = s;
	t->slot = NO_SLOT;
	list_init(&t->waiters);
	pthread_mutex_init(&t->hnsw.mu, NULL);
	snprintf(t->name, sizeof t->name, "%.*s", STR_ARG(name));
	snprintf(t->schema, sizeof t->schema, "%s", schema);
	pg_quote(t->quoted, sizeof t->quoted, t->schema);
	enum err e = map_put(&s->tenants, str_c(t->name), t, NULL);
	if (e != OK) {
		tenant_free(t);
		return e;
	}
	s->not_ready++;
	*out = t;
	return OK;
}

/* The tenant; one that is not READY is held until release. */
static enum err hold(struct pg *s, struct str name, struct pg_tenant **out, bool *ready)
{
	enum err e = OK;
	pthread_mutex_lock(&s->tmu);
	*out = map_get(&s->tenants, name);
	if (!*out)
		e = add(s, name, out);
	*ready = e == OK && atomic_load_explicit(&(*out)->state, memory_order_acquire) == PT_READY;
	if (e == OK && !*ready)
		(*out)->users++;
	pthread_mutex_unlock(&s->tmu);
	return e;
}

static void release(struct pg_tenant *t)
{
	struct pg *s = t->s;
	pthread_mutex_lock(&s->tmu);
	bool gone = --t->users == 0 && atomic_load(&t->state) != PT_READY && s->not_ready > ABSENT_MAX;
	if (gone) {
		map_del(&s->tenants, str_c(t->name));
		s->not_ready--;
	}
	pthread_mutex_unlock(&s->tmu);
	if (gone)
		tenant_free(t);
}

/* -------------------------------------------------------- looking, making */

struct make {
	struct pg_tenant *t;
	bool make, adopt;
};

static enum err make_task(PGconn *c, void *arg)
{
	const struct make *m = arg;
	const struct pg_ensure ask = {.schema = str_c(m->t->schema),
				      .tenant = str_c(m->t->name),
				      .make = m->make,
				      .adopt = m->adopt,
				      .compact = m->t->s->opt.layout == CKPT_LAYOUT_COMPACT};
	return pg_schema_ensure(c, &ask);
}

/* Looks closely, at every table and right, and makes what is missing where that may be done. */
static enum err ensure(struct pg_tenant *t, bool adopt)
{
	struct make m = {t, !t->s->opt.pg.no_ddl, adopt};
	return pg_admin(t->s, make_task, &m);
}

/* What cenote_meta says: *mine, and *current when the tables are of the layout that we know. */
static enum err look_meta(struct pg_tenant *t, bool *mine, bool *current)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	TRY(pg_query(t, &st_meta, &p, &r));
	*mine = *current = false;
	for (int i = 0; i < PQntuples(r); i++) {
		struct str value = pg_get_str(r, i, 1);
		int64_t v;
		if (str_eq(pg_get_str(r, i, 0), STR("tenant")))
			*mine = str_eq(value, str_c(t->name));
		else
			*current = str_int(value, 0, INT64_MAX, &v) && v == PG_CENOTE_VERSION;
	}
	PQclear(r);
	return OK;
}

/* Two short statements at most, on the pool's connections; only what is not as it should be is looked at by an admin thread. */
static enum err look(struct pg_tenant *t, bool create, bool *there)
{
	struct pg_params p;
	PGresult *r;
	bool mine, current;
	*there = false;
	pg_params_init(&p);
	pg_text(&p, str_c(t->schema));
	TRY(pg_query(pg_home(t->s), &st_look, &p, &r));
	bool exists = pg_get_bool(r, 0, 0), whole = pg_get_bool(r, 0, 1);
	PQclear(r);
	if (!exists)
		return OK;
	*there = true;
	if (!whole)
		return ensure(t, false);
	TRY(look_meta(t, &mine, &current));
	if (mine && current)
		return OK;
	*there = mine || create;
	return *there ? ensure(t, false) : OK;
}

/* READY, when *there. */
static enum err look_or_make(struct pg_tenant *t, bool create, bool *there)
{
	TRY(look(t, create, there));
	if (!*there && create) {
		TRY(ensure(t, false));
		*there = true;
		LOG(LOG_INFO, "store", "tenant made", LF_C("tenant", t->name), LF_C("schema", t->schema));
	}
	if (*there) {
		TRY(pg_has_look(t));
		TRY(pg_foreign_look(t));
		TRY(compact_settle(t));
	}
	return *there ? pg_feed_new(t) : OK;
}

/* -------------------------------------------------------------- one opens */

/* tmu is held, and released. */
static void opened(struct pg_tenant *t, bool create, enum err e, bool there)
{
	struct list woken;
	list_init(&woken);
	t->opening = false;
	if (e == OK && there) {
		t->slot = t->s->slots++;
		t->s->not_ready--;
		atomic_store_explicit(&t->state, PT_READY, memory_order_release);
	} else if (e == OK) {
		atomic_store(&t->state, PT_ABSENT);
		t->looked_ns = clock_mono_ns();
	}
	LIST_EACH (x, &t->waiters) {
		struct waiter *w = CONTAINER(x, struct waiter, node);
		/* An answer to another question, or one that only came too late for who asked: the waiter asks itself. */
		w->err = w->create == create && e != E_TIMEOUT && e != E_CANCELLED ? e : OK;
		if (w->err != OK)
			w->diag = *diag_get();
		list_del(x);
		list_add_tail(&woken, x);
	}
	pthread_mutex_unlock(&t->s->tmu);
	LIST_EACH (y, &woken) {
		list_del(y);
		event_set(&CONTAINER(y, struct waiter, node)->ev);
	}
}

/* tmu is held, and released. */
static enum err wait_opened(struct pg_tenant *t, bool create)
{
	struct waiter w = {.create = create};
	event_init(&w.ev);
	list_add_tail(&t->waiters, &w.node);
	pthread_mutex_unlock(&t->s->tmu);
	event_wait(&w.ev);
	if (w.err != OK)
		*diag_get() = w.diag;
	return w.err;
}

static enum err open_it(struct pg_tenant *t, bool create, bool *there)
{
	for (;;) {
		pthread_mutex_lock(&t->s->tmu);
		int state = atomic_load(&t->state);
		*there = state == PT_READY;
		if (*there || (state == PT_ABSENT && !create && clock_mono_ns() - t->looked_ns < LOOK_AGAIN_NS)) {
			pthread_mutex_unlock(&t->s->tmu);
			return OK;
		}
		if (t->opening) {
			TRY(wait_opened(t, create));
			continue;
		}
		t->opening = true;
		pthread_mutex_unlock(&t->s->tmu);
		enum err e = look_or_make(t, create, there);
		pthread_mutex_lock(&t->s->tmu);
		opened(t, create, e, *there);
		return e;
	}
}

enum err pg_tenant_get(struct pg *s, const struct principal *who, unsigned right, bool create, struct pg_tenant **out)
{
	struct pg_tenant *t;
	bool there;
	*out = NULL;
	TRY(principal_check(who, right));
	TRY(tenant_check(who->tenant));
	TRY(hold(s, who->tenant, &t, &there));
	if (!there) {
		enum err e = open_it(t, create, &there);
		/* READY is final: who has made it so may go on without holding it. */
		release(t);
		if (e == E_DENIED) /* to our role, not to who asks */
			e = diag_get()->code = E_UPSTREAM;
		TRY(e);
	}
	*out = there ? t : NULL;
	return OK;
}

/* ------------------------------------------------------------------- life */

struct pg_tenant *pg_home(struct pg *s)
{
	return s->home;
}

enum err pg_tenants_start(struct pg *s)
{
	pthread_mutex_lock(&s->tmu);
	enum err e = add(s, STR("default"), &s->home);
	pthread_mutex_unlock(&s->tmu);
	TRY(e);
	/* Every statement has the server's limit; this one is for a network that swallows everything. */
	uint64_t was = fiber_deadline(), until = deadline_in_ms(START_MS);
	fiber_set_deadline(until < was ? until : was);
	e = ensure(s->home, true);
	fiber_set_deadline(was);
	TRY(e);
	TRY(pg_has_look(s->home));
	TRY(pg_foreign_look(s->home));
	TRY(compact_settle(s->home));
	TRY(pg_feed_new(s->home));
	pthread_mutex_lock(&s->tmu);
	opened(s->home, true, OK, true);
	return OK;
}

void pg_tenants_free(struct pg *s)
{
	size_t it = 0;
	struct str name;
	void *v;
	while (map_next(&s->tenants, &it, &name, &v))
		tenant_free(v);
	map_release(&s->tenants);
}
