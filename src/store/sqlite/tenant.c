/* Tenants: one file each, found by name, opened (checked, migrated) once before the first use.
 *
 * States:  ABSENT --first write--> OPENING --ok--> READY
 *          UNKNOWN --first use---> OPENING --ok--> READY
 *                                          --damaged--> BAD --next use (5 s later, if looking took long)--> OPENING
 *                                          --other error--> what it was before
 *
 * Invariants
 *  1. Nobody reads or writes a tenant that is not READY; READY is final.
 *  2. One fiber (or thread) at a time opens; the others wait for it on the list of waiters. A thread waits only for an opening that
 *     runs: one that is still queued for the pool it takes over, because threads that wait for it may be all that the pool has.
 *  3. Reading a tenant without a file finds nothing and makes no file. */
#include "store/sqlite/sq.h"

#include <dirent.h>
#include <errno.h>

#include "rt/fiber.h"
#include "rt/work.h"

#define CHEAP_LOOK_NS UINT64_C(100000000)
#define LOOK_AGAIN_NS UINT64_C(5000000000)

struct waiter {
	struct list node;
	struct event ev;
};

enum err tenant_new(struct sq *s, struct str name, bool keys, struct tenant **out)
{
	struct tenant *t = calloc(1, sizeof *t);
	*out = NULL;
	if (!t || asprintf(&t->path, keys ? "%s/keys.sqlite" : "%s/tenants/%.*s.sqlite", s->dir, STR_ARG(name)) < 0) {
		free(t);
		return err_set(E_LIMIT, "out of memory in the store");
	}
	t->s = s;
	t->keys = keys;
	snprintf(t->name, sizeof t->name, "%.*s", STR_ARG(name));
	t->base = strrchr(t->path, '/') + 1;
	pthread_mutex_init(&t->mu, NULL);
	list_init(&t->waiters);
	list_init(&t->open_node);
	feed_init(&t->feed);
	map_init(&t->ns_cache);
	atomic_init(&t->state, T_ABSENT);
	atomic_init(&t->next_expires, -1);
	*out = t;
	return OK;
}

void tenant_free(struct tenant *t)
{
	if (!t)
		return;
	feed_release(&t->feed);
	map_release(&t->ns_cache);
	pthread_mutex_destroy(&t->mu);
	free(t->path);
	free(t);
}

enum err tenants_load(struct sq *s)
{
	char *path;
	enum err e = OK;
	if (asprintf(&path, "%s/tenants", s->dir) < 0)
		return err_set(E_LIMIT, "out of memory in the store");
	DIR *d = opendir(path);
	if (!d)
		e = err_set(E_IO, "the folder %s cannot be read: %s", path, strerror(errno));
	for (struct dirent *x; e == OK && (x = readdir(d));) {
		struct str name = str_c(x->d_name);
		struct tenant *t;
		if (!str_ends(name, STR(".sqlite")))
			continue;
		name = str_sub(name, 0, name.n - 7);
		if (tenant_check(name) != OK)
			continue;
		e = tenant_new(s, name, false, &t);
		if (e != OK)
			break;
		atomic_store(&t->state, T_UNKNOWN);
		e = map_put(&s->tenants, str_c(t->name), t, NULL);
		if (e != OK)
			tenant_free(t);
	}
	if (d)
		closedir(d);
	free(path);
	diag_clear();
	return e;
}

struct tenant **tenants_all(struct sq *s, size_t *n)
{
	struct tenant **all = NULL;
	size_t it = 0;
	struct str name;
	void *v;
	*n = 0;
	pthread_mutex_lock(&s->tmu);
	if (s->tenants.count)
		all = malloc(s->tenants.count * sizeof(struct tenant *));
	while (all && map_next(&s->tenants, &it, &name, &v))
		all[(*n)++] = v;
	pthread_mutex_unlock(&s->tmu);
	return all;
}

static enum err find(struct sq *s, struct str name, bool create, struct tenant **out)
{
	enum err e = OK;
	pthread_mutex_lock(&s->tmu);
	*out = map_get(&s->tenants, name);
	if (!*out && create) {
		e = tenant_new(s, name, false, out);
		if (e == OK && (e = map_put(&s->tenants, name, *out, NULL)) != OK) {
			tenant_free(*out);
			*out = NULL;
		}
	}
	pthread_mutex_unlock(&s->tmu);
	return e;
}

/* The check reads the whole file when the last stop was not clean; then the writer opens and migrates. */
static enum err open_file(struct tenant *t)
{
	struct conn *c;
	if (!t->check_done && !t->creating) {
		TRY(conn_open(t, t->path, CONN_READ, &c));
		enum err e = schema_check(c);
		conn_close(c);
		if (e != OK)
			return e;
		t->check_done = true;
	}
	struct wop op = {.t = t, .deadline = NEVER};
	return queue_submit(t->s, &op);
}

/* The end of OPENING: called with t->mu held, which it releases. */
static void opening_ends(struct tenant *t, enum tenant_state to)
{
	struct list woken;
	atomic_store(&t->state, to);
	list_init(&woken);
	LIST_EACH (x, &t->waiters) {
		list_del(x);
		list_add_tail(&woken, x);
	}
	pthread_mutex_unlock(&t->mu);
	LIST_EACH (y, &woken) {
		list_del(y);
		event_set(&CONTAINER(y, struct waiter, node)->ev);
	}
}

/* Takes the opening that waits for somebody to do it, if there still is one. */
static bool opening_take(struct tenant *t)
{
	pthread_mutex_lock(&t->mu);
	bool mine = t->open_queued;
	t->open_queued = false;
	pthread_mutex_unlock(&t->mu);
	return mine;
}

/* By whoever has taken it. */
static enum err open_taken(struct tenant *t)
{
	uint64_t from = clock_mono_ns();
	enum err e = open_file(t);
	uint64_t took = clock_mono_ns() - from;
	pthread_mutex_lock(&t->mu);
	t->bad = OK;
	if (e == E_CORRUPT) {
		t->bad = e;
		t->bad_diag = *diag_get();
		/* A disk that fails to read can look like a damaged file: so look again at the next use, unless looking is
		 * expensive. */
		t->bad_until_ns = took < CHEAP_LOOK_NS ? 0 : from + took + LOOK_AGAIN_NS;
		LOG(LOG_ERROR, "store", "a tenant's file is damaged and not served", LF_C("file", t->base),
		    LF_C("why", t->bad_diag.text));
	}
	opening_ends(t, e == OK ? T_READY : e == E_CORRUPT ? T_BAD : t->open_was);
	return e;
}

static enum err open_task(void *arg)
{
	struct tenant *t = arg;
	return opening_take(t) ? open_taken(t) : OK;
}

/* Called with t->mu held, which it releases. OK also when a waiting thread has taken the opening: look at the state again. */
static enum err open_now(struct tenant *t, enum tenant_state was)
{
	atomic_store(&t->state, T_OPENING);
	t->creating = was == T_ABSENT;
	t->open_was = was;
	t->open_queued = true;
	pthread_mutex_unlock(&t->mu);
	enum err e = work_run(open_task, t);
	if (e == OK)
		return OK;
	/* Did it fail, or was it not run at all? (If somebody else has queued another meanwhile, they look again, too.) */
	pthread_mutex_lock(&t->mu);
	if (t->open_queued) {
		t->open_queued = false;
		opening_ends(t, t->open_was);
	} else {
		pthread_mutex_unlock(&t->mu);
	}
	return e;
}

/* While it is OPENING; called with t->mu held, which it releases. */
static enum err wait_opened(struct tenant *t)
{
	struct waiter w;
	if (t->open_queued && !fiber_current()) {
		t->open_queued = false;
		pthread_mutex_unlock(&t->mu);
		return open_taken(t);
	}
	event_init(&w.ev);
	list_add_tail(&t->waiters, &w.node);
	pthread_mutex_unlock(&t->mu);
	event_wait(&w.ev);
	return OK;
}

enum err tenant_ready(struct tenant *t, bool create, bool *absent)
{
	*absent = false;
	for (;;) {
		if (atomic_load_explicit(&t->state, memory_order_acquire) == T_READY)
			return OK;
		pthread_mutex_lock(&t->mu);
		enum tenant_state was = (enum tenant_state)atomic_load(&t->state);
		if (was == T_OPENING) {
			TRY(wait_opened(t));
		} else if (was == T_BAD && clock_mono_ns() < t->bad_until_ns) {
			*diag_get() = t->bad_diag;
			enum err e = t->bad;
			pthread_mutex_unlock(&t->mu);
			return e;
		} else if (was == T_ABSENT && !create) {
			pthread_mutex_unlock(&t->mu);
			*absent = true;
			return OK;
		} else if (was != T_READY) {
			TRY(open_now(t, was));
		} else {
			pthread_mutex_unlock(&t->mu);
		}
	}
}

enum err tenant_get(struct sq *s, const struct principal *who, unsigned right, bool create, struct tenant **out)
{
	struct tenant *t;
	bool absent;
	*out = NULL;
	TRY(principal_check(who, right));
	TRY(tenant_check(who->tenant));
	TRY(find(s, who->tenant, create, &t));
	if (!t)
		return OK;
	TRY(tenant_ready(t, create, &absent));
	*out = absent ? NULL : t;
	return OK;
}
