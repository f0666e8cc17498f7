/* From the lanes to the connections: which jobs go together, and by which connection.
 *
 * Invariants
 *  1. At the end of a tick, a lane has jobs waiting only when no connection of its group has room. There is no room behind
 *     a unit that gets no answer, nor behind any while the group may grow: what it waits for may be a stranger's lock. */
#include "store/postgres/exec.h"

#define STUCK (100 * PG_MS) /* a unit without a word: no other is sent behind it */

/* ---------------------------------------------------------------- units */

/* May it be in a transaction with other writes? */
static bool shares(const struct pg_job *j)
{
	return j->share.n && !(j->flags & JOB_ALONE) && j->tries <= 1;
}

/* Must it have a unit of its own? */
static bool solo(const struct pg_job *j)
{
	if (shares(j))
		return false;
	return pg_writes(j) || j->n != 1 || (j->flags & JOB_ALONE) || j->tries > 1;
}

/* Before which node of the unit's jobs this one goes. */
static struct list *unit_place(struct unit *u, const struct pg_job *j)
{
	LIST_EACH (at, &u->jobs)
		if (u->write && str_cmp(j->share, CONTAINER(at, struct pg_job, node)->share) < 0)
			return at;
	return &u->jobs;
}

static struct unit *unit_take(struct lane *l, enum pg_lane lane, unsigned max)
{
	unsigned jobs = 0, steps = 0;
	bool write = false;
	LIST_EACH (at, &l->jobs) {
		struct pg_job *j = CONTAINER(at, struct pg_job, node);
		if (jobs == max || (jobs && (solo(j) || shares(j) != write || (write && jobs == PG_UNIT_SHARED))))
			break;
		jobs++;
		steps += j->n;
		write = pg_writes(j);
		if (solo(j))
			break;
	}
	struct unit *u = calloc(1, sizeof *u + (2 * (size_t)steps + jobs) * sizeof *u->w);
	if (!u)
		return NULL;
	list_init(&u->node);
	list_init(&u->jobs);
	u->lane = lane;
	u->write = write;
	u->count = jobs;
	for (unsigned i = 0; i < jobs; i++) {
		struct pg_job *j = CONTAINER(l->jobs.next, struct pg_job, node);
		pg_unqueue(l, j);
		list_add_tail(unit_place(u, j), &j->node);
	}
	return u;
}

/* ---------------------------------------------------------------- connections */

bool pg_may_borrow(const struct pg_exec *x)
{
	bool open = false;
	for (unsigned i = 0; i < x->groups_n; i++)
		open = open || x->groups[i].open;
	return open && x->fails && !x->mute;
}

/* The backend works on one unit, or waits for a lock, and has said nothing for long. */
static bool is_stuck(const struct pconn *c)
{
	const struct unit *u = CONTAINER(c->units.next, struct unit, node);
	return clock_mono_ns() - (c->heard_ns > u->sent_ns ? c->heard_ns : u->sent_ns) > STUCK;
}

static bool may_grow(const struct pg_exec *x, const struct group *g)
{
	return !x->fails && !x->stop_at && g->open < g->share && (g->connecting || x->total < x->s->pool_max);
}

static bool has_room(const struct pconn *c)
{
	if (c->retire || c->scanning)
		return false;
	if (c->units_n == 0)
		return true;
	return !c->x->s->opt.pg.no_pool && c->units_n < PG_DEPTH && !may_grow(c->x, c->g) && !is_stuck(c);
}

/* The connection with the least to do; *unused: how many have nothing to do. */
static struct pconn *pick(struct group *g, unsigned *unused)
{
	struct pconn *best = NULL;
	LIST_EACH (at, &g->conns) {
		struct pconn *c = CONTAINER(at, struct pconn, node);
		*unused += !c->retire && c->units_n == 0;
		if (has_room(c) && (!best || c->jobs_n < best->jobs_n || (c->jobs_n == best->jobs_n && c->units_n < best->units_n)))
			best = c;
	}
	return best;
}

static struct pconn *borrow(struct pg_exec *x, unsigned *unused)
{
	struct pconn *best = NULL;
	for (unsigned i = 0; i < x->groups_n && !best; i++)
		best = pick(&x->groups[i], unused);
	return best;
}

bool pg_lane_waits(const struct pg_exec *x, unsigned lane)
{
	return x->lanes[lane].n && (lane != LANE_SCAN || x->scans < x->scans_max);
}

static struct lane *next_lane(struct pg_exec *x, struct group *g, enum pg_lane *which)
{
	for (unsigned i = 1; i <= LANES; i++) {
		unsigned k = (g->turn + i) % LANES;
		if ((g->lanes >> k & 1) && pg_lane_waits(x, k)) {
			g->turn = k;
			*which = (enum pg_lane)k;
			return &x->lanes[k];
		}
	}
	return NULL;
}

void pg_dispatch(struct pg_exec *x, struct group *g)
{
	enum pg_lane lane;
	for (struct lane *l; (l = next_lane(x, g, &lane));) {
		unsigned unused = 0, max = PG_UNIT_READS;
		struct pconn *c = pick(g, &unused);
		if (!c && g->open == 0 && pg_may_borrow(x))
			c = borrow(x, &unused);
		if (!c)
			return;
		if (c->units_n)
			g->grow = true;
		if (lane == LANE_SEARCH) {
			/* They take long: side by side as far as there are connections. */
			max = unused ? (l->n + unused - 1) / unused : PG_UNIT_SEARCHES;
			max = max < PG_UNIT_SEARCHES ? max : PG_UNIT_SEARCHES;
		}
		struct unit *u = unit_take(l, lane, lane == LANE_SCAN ? 1 : max);
		if (!u) {
			struct pg_job *j = CONTAINER(l->jobs.next, struct pg_job, node);
			pg_unqueue(l, j);
			pg_io_refuse(j, E_LIMIT, "out of memory");
			continue;
		}
		pg_count(&x->figures.units[lane], 1);
		pg_count(&x->figures.jobs[lane], u->count);
		if (lane == LANE_SCAN) {
			x->scans++;
			c->scanning = true;
		}
		pg_conn_send(c, u);
	}
}
