/* Which connections there are: shares of the lanes, opening, ages, back-off; and the connector thread, which does what blocks.
 *
 * Invariants
 *  1. x->total is at most pool_max: a place is taken before a login is asked for, and given back when the connection is closed.
 *  2. x->requests counts what the connector has been asked for and has not answered; the loop does not end before it is 0.
 *  3. After a failure one attempt at a time, and not before the back-off has passed; a job that waits shortens it to DEMAND_NS. */
#include "store/postgres/exec.h"

#include <signal.h>

#define IDLE_NS (60000 * PG_MS)
#define DEMAND_NS (100 * PG_MS)
#define MUTE_NS (900 * PG_MS)

static const uint64_t backoff[] = {0, 100 * PG_MS, 300 * PG_MS, 1000 * PG_MS};

void pg_pool_log(struct pg_exec *x, unsigned kind, enum log_level level, const char *msg, const char *why)
{
	uint64_t now = clock_mono_ns();
	if (x->logged[kind] && now - x->logged[kind] < 1000 * PG_MS)
		return;
	x->logged[kind] = now;
	LOG(level, "store.postgres", msg, LF_C("reason", why));
}

/* ---------------------------------------------------------------- connector thread */

static struct request *next_request(struct pg_exec *x, bool *close)
{
	struct request *r = NULL;
	pthread_mutex_lock(&x->cmu);
	while (list_empty(&x->closes) && list_empty(&x->opens) && !x->cquit)
		pthread_cond_wait(&x->ccv, &x->cmu);
	/* Closing first: it gives back a place. */
	*close = !list_empty(&x->closes);
	struct list *from = *close ? &x->closes : &x->opens;
	if (!list_empty(from)) {
		r = CONTAINER(from->next, struct request, node);
		list_del(&r->node);
	}
	pthread_mutex_unlock(&x->cmu);
	return r;
}

static void *connector_main(void *arg)
{
	struct pg_exec *x = arg;
	bool close;
	for (struct request *r; (r = next_request(x, &close));) {
		if (close) {
			PQfinish(r->c);
			r->c = NULL;
		} else {
			r->err = pg_target_connect(x->s->target, deadline_in_ms(x->s->connect_ms), &x->copen_no, &r->c,
						   &r->until_ns);
			if (r->err != OK) {
				r->diag = *diag_get();
				r->c = NULL;
			}
		}
		loop_post(x->loop, &r->done);
	}
	return NULL;
}

static void ask(struct pg_exec *x, struct request *r, struct list *which)
{
	x->requests++;
	pthread_mutex_lock(&x->cmu);
	list_add_tail(which, &r->node);
	pthread_mutex_unlock(&x->cmu);
	pthread_cond_signal(&x->ccv);
}

/* ---------------------------------------------------------------- closing */

static void on_closed(void *arg)
{
	struct pconn *c = CONTAINER(arg, struct pconn, closing);
	c->x->requests--;
	c->x->total--;
	free(c);
}

void pg_pool_drop(struct pconn *c)
{
	struct pg_exec *x = c->x;
	list_del(&c->node);
	c->g->open--;
	pg_conn_unwatch(c);
	c->closing = (struct request){.x = x, .c = c->pg, .done = {.fn = on_closed, .arg = &c->closing}};
	list_init(&c->closing.node);
	ask(x, &c->closing, &x->closes);
}

/* ---------------------------------------------------------------- opening */

/* There is no server to talk to, since then. */
static void failed(struct pg_exec *x, enum err e, const struct diag *d, uint64_t since)
{
	unsigned n = sizeof backoff / sizeof *backoff;
	x->fails++;
	x->failed_ns = clock_mono_ns();
	x->retry_ns = x->failed_ns + backoff[x->fails <= n ? x->fails - 1 : n - 1];
	x->mute = x->failed_ns - since >= MUTE_NS;
	x->fail = e;
	x->fail_diag = *d;
	if (!x->copen_no)
		pg_pool_log(x, 1, LOG_WARN, "no connection to the database", d->text);
	pg_io_unreachable(x);
}

static void on_opened(void *arg)
{
	struct request *r = arg;
	struct pg_exec *x = r->x;
	struct pconn *c;
	enum err e = r->err;
	x->requests--;
	r->g->connecting--;
	if (e == OK && (e = pg_conn_new(x, r->g, r->c, r->until_ns, &c)) != OK) {
		r->diag = *diag_get();
		PQfinish(r->c); /* a fresh one: there is nothing it could wait for */
	}
	if (e != OK) {
		x->total--;
		pg_count(&x->figures.refused, 1);
		failed(x, e, &r->diag, r->asked_ns);
		free(r);
		return;
	}
	if (x->fails)
		pg_pool_log(x, 2, LOG_INFO, "the database is there again", "");
	x->fails = 0;
	pg_count(&x->figures.connected, 1);
	list_add_tail(&r->g->conns, &c->node);
	r->g->open++;
	pg_io_at(x, c->made_ns + IDLE_NS);
	pg_io_at(x, c->until_ns);
	if (x->copen_no)
		pg_pool_drop(c);
	free(r);
}

static bool may_try(struct pg_exec *x, bool demand)
{
	unsigned connecting = 0;
	if (x->copen_no || (x->stop_at && !demand))
		return false;
	if (!x->fails)
		return true;
	for (unsigned i = 0; i < x->groups_n; i++)
		connecting += x->groups[i].connecting;
	uint64_t at = x->retry_ns;
	if (demand && at > x->failed_ns + DEMAND_NS)
		at = x->failed_ns + DEMAND_NS;
	if (connecting)
		return false;
	if (clock_mono_ns() >= at)
		return true;
	pg_io_at(x, at);
	return false;
}

void pg_pool_silent(struct pg_exec *x, uint64_t since_ns)
{
	for (unsigned i = 0; i < x->groups_n; i++)
		LIST_EACH (at, &x->groups[i].conns) {
			struct pconn *c = CONTAINER(at, struct pconn, node);
			if (c->heard_ns < since_ns)
				pg_conn_lost(c, "the server says nothing any more");
		}
	err_set(E_TIMEOUT, "the database does not answer");
	failed(x, E_TIMEOUT, diag_get(), since_ns);
}

static void open_one(struct pg_exec *x, struct group *g)
{
	struct request *r = calloc(1, sizeof *r);
	if (!r) {
		err_set(E_LIMIT, "out of memory");
		pg_count(&x->figures.refused, 1);
		failed(x, E_LIMIT, diag_get(), clock_mono_ns());
		return;
	}
	*r = (struct request){.x = x, .g = g, .asked_ns = clock_mono_ns(), .done = {.fn = on_opened, .arg = r}};
	list_init(&r->node);
	x->total++;
	g->connecting++;
	ask(x, r, &x->opens);
}

static bool is_waiting(const struct pg_exec *x, const struct group *g)
{
	for (unsigned i = 0; i < LANES; i++)
		if ((g->lanes >> i & 1) && pg_lane_waits(x, i))
			return true;
	return false;
}

void pg_pool_tend(struct pg_exec *x)
{
	for (unsigned i = 0; i < x->groups_n; i++) {
		struct group *g = &x->groups[i];
		LIST_EACH (at, &g->conns) {
			struct pconn *c = CONTAINER(at, struct pconn, node);
			if (c->retire && list_empty(&c->units))
				pg_pool_drop(c);
		}
	}
	for (unsigned i = 0; i < x->groups_n; i++) {
		struct group *g = &x->groups[i];
		/* It grows by one at a time, when what there is does not suffice. */
		bool waiting = is_waiting(x, g);
		unsigned want = (waiting || g->grow) && g->open + 1 > g->floor ? g->open + 1 : g->floor;
		g->grow = false;
		while (g->open + g->connecting < want && g->open + g->connecting < g->share && x->total < x->s->pool_max &&
		       may_try(x, waiting))
			open_one(x, g);
	}
}

uint64_t pg_pool_due(struct pg_exec *x, uint64_t now)
{
	uint64_t next = NEVER;
	unsigned open = 0;
	for (unsigned i = 0; i < x->groups_n; i++)
		open += x->groups[i].open;
	for (unsigned i = 0; i < x->groups_n; i++) {
		struct group *g = &x->groups[i];
		unsigned here = g->open;
		LIST_EACH (at, &g->conns) {
			struct pconn *c = CONTAINER(at, struct pconn, node);
			bool idle = list_empty(&c->units) && here > g->floor && open > x->s->pool_min;
			uint64_t end = c->idle_ns + IDLE_NS;
			if (c->retire)
				continue;
			if (now >= c->until_ns || (idle && now >= end)) {
				c->retire = true;
				here--;
				open--;
				continue;
			}
			if (!idle || end <= now)
				end = now + IDLE_NS;
			next = end < next ? end : next;
			next = c->until_ns < next ? c->until_ns : next;
		}
	}
	return next;
}

/* ---------------------------------------------------------------- shares */

static void group_add(struct pg_exec *x, const char *name, unsigned lanes, unsigned share)
{
	struct group *g = &x->groups[x->groups_n++];
	*g = (struct group){.name = name, .lanes = lanes, .share = share};
	list_init(&g->conns);
	for (unsigned i = 0; i < LANES; i++)
		if (lanes >> i & 1)
			x->of_lane[i] = g;
}

#define SEARCHES (1u << LANE_SEARCH | 1u << LANE_SCAN)

static void share_out(struct pg_exec *x)
{
	unsigned m = x->s->pool_max, left = x->s->opt.pg.no_pool ? 0 : x->s->pool_min;
	unsigned point = m / 4 ? m / 4 : 1, write = m >= 8 ? m / 4 : 1;
	if (m == 1) {
		group_add(x, "all", 1u << LANE_POINT | SEARCHES | 1u << LANE_WRITE, 1);
	} else if (m == 2) {
		group_add(x, "point_write", 1u << LANE_POINT | 1u << LANE_WRITE, 1);
		group_add(x, "search", SEARCHES, 1);
	} else {
		group_add(x, "point", 1u << LANE_POINT, point);
		group_add(x, "write", 1u << LANE_WRITE, write);
		group_add(x, "search", SEARCHES, m - point - write);
	}
	unsigned searching = x->of_lane[LANE_SCAN]->share;
	x->scans_max = searching > 1 ? searching / 2 : 1;
	for (bool gave = true; left && gave;) {
		gave = false;
		for (unsigned i = 0; i < x->groups_n && left; i++)
			if (x->groups[i].floor < x->groups[i].share) {
				x->groups[i].floor++;
				left--;
				gave = true;
			}
	}
}

/* ---------------------------------------------------------------- start and stop */

enum err pg_pool_start(struct pg_exec *x)
{
	share_out(x);
	pthread_mutex_init(&x->cmu, NULL);
	pthread_cond_init(&x->ccv, NULL);
	list_init(&x->opens);
	list_init(&x->closes);
	int rc = pthread_create(&x->connector, NULL, connector_main, x);
	if (rc != 0)
		return err_set(E_LIMIT, "cannot start a thread: %s", strerror(rc));
	x->connector_up = true;
	return OK;
}

void pg_pool_quit(struct pg_exec *x)
{
	x->copen_no = true;
	for (unsigned i = 0; i < x->groups_n; i++)
		LIST_EACH (at, &x->groups[i].conns) {
			struct pconn *c = CONTAINER(at, struct pconn, node);
			/* Nobody waits for it; the backend would not notice that we are gone before it is done. */
			if (!list_empty(&c->units))
				pg_cancel_drop(pg_cancel_start(c->pg));
			LIST_EACH (ut, &c->units) {
				struct unit *u = CONTAINER(ut, struct unit, node);
				list_del(&u->node);
				free(u);
			}
			pg_pool_drop(c);
		}
}

void pg_pool_join(struct pg_exec *x)
{
	if (!x->connector_up)
		return;
	pthread_mutex_lock(&x->cmu);
	x->cquit = true;
	pthread_mutex_unlock(&x->cmu);
	pthread_cond_signal(&x->ccv);
	pthread_join(x->connector, NULL);
	pthread_cond_destroy(&x->ccv);
	pthread_mutex_destroy(&x->cmu);
	x->connector_up = false;
}
