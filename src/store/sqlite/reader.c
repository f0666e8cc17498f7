/* Readers: leased sets of read-only connections, one connection per tenant, kept with an open snapshot.
 *
 * A lease is short (a get) or as long as a scan. There are as many readers as have been needed at the same time; the last one given
 * back is the first to be leased, so that its page cache is warm.
 *
 * Invariants
 *  1. A reader is in the free list or leased by one thread. Whoever holds rmu may use the connections of free readers.
 *  2. A snapshot is good while the tenant's commit sequence is what it was before the snapshot was taken; otherwise it is renewed
 *     before the next read. So a read that begins after a write was answered sees it, and repeated reads cost no file locks.
 *  3. Nobody parks a fiber while holding a lease on a loop thread.
 *  4. A free reader's snapshot can be ended by the writer at any time (readers_let_go), so it never holds up a checkpoint for long.
 */
#include "store/sqlite/sq.h"

static enum err lease(struct sq *s, struct reader **out)
{
	enum err e = OK;
	pthread_mutex_lock(&s->rmu);
	struct reader *r = s->readers;
	if (r) {
		s->readers = r->next;
	} else if (s->readers_n >= MAX_READERS) {
		e = err_set(E_BUSY, "%u reads are under way in the store; try again", MAX_READERS);
	} else if (!(r = calloc(1, sizeof *r))) {
		e = err_set(E_LIMIT, "out of memory in the store");
	} else {
		s->readers_n++;
	}
	pthread_mutex_unlock(&s->rmu);
	*out = r;
	return e;
}

static void give_back(struct sq *s, struct reader *r)
{
	pthread_mutex_lock(&s->rmu);
	r->next = s->readers;
	s->readers = r;
	pthread_mutex_unlock(&s->rmu);
}

/* The reader's connection to t; opened now, in place of the one unused for longest, when there is none. */
static enum err connection(struct sq *s, struct reader *r, struct tenant *t, struct conn **out)
{
	unsigned oldest = 0;
	for (unsigned i = 0; i < READER_CONNS; i++) {
		struct conn *c = r->conns[i];
		if (c && c->t == t) {
			*out = c;
			return OK;
		}
		if (r->conns[oldest] && (!c || c->used < r->conns[oldest]->used))
			oldest = i;
	}
	conn_close(r->conns[oldest]);
	r->conns[oldest] = NULL;
	TRY(conn_open(t, t->path, CONN_READ, out));
	r->conns[oldest] = *out;
	return OK;
}

static enum err end_snapshot(struct conn *c)
{
	if (!c->in_txn)
		return OK;
	c->in_txn = false;
	return conn_run(c, ST_END);
}

enum err reader_renew(struct conn *c)
{
	TRY(end_snapshot(c));
	/* Read before the snapshot is taken (by the first statement after BEGIN): it may be newer than seq says, never older. */
	c->seq = atomic_load_explicit(&c->t->seq, memory_order_acquire);
	TRY(conn_run(c, ST_BEGIN_READ));
	c->in_txn = true;
	return OK;
}

static void drop(struct reader *r, struct conn *c)
{
	for (unsigned i = 0; i < READER_CONNS; i++)
		if (r->conns[i] == c)
			r->conns[i] = NULL;
	conn_close(c);
}

enum err reader_begin(struct sq *s, struct tenant *t, uint64_t deadline, struct reader **r, struct conn **c)
{
	enum err e;
	*c = NULL;
	TRY(lease(s, r));
	CHECK(connection(s, *r, t, c));
	(*c)->deadline = deadline;
	(*c)->used = atomic_fetch_add_explicit(&s->read_clock, 1, memory_order_relaxed);
	if (!(*c)->in_txn || (*c)->seq != atomic_load_explicit(&t->seq, memory_order_acquire))
		CHECK(reader_renew(*c));
	return OK;
out:
	if (*c)
		drop(*r, *c);
	give_back(s, *r);
	return e;
}

enum err reader_end(struct sq *s, struct reader *r, struct conn *c, enum err e)
{
	c->deadline = NEVER;
	if (e == E_IO || e == E_CORRUPT || e == E_INTERNAL || e == E_BUSY)
		drop(r, c);
	give_back(s, r);
	return e;
}

enum err reader_end_scan(struct sq *s, struct reader *r, struct conn *c, enum err e)
{
	(void)conn_shrink(c);
	return reader_end(s, r, c, e);
}

void readers_let_go(struct sq *s, const struct tenant *t)
{
	struct diag d = *diag_get();
	pthread_mutex_lock(&s->rmu);
	for (struct reader *r = s->readers; r; r = r->next) {
		for (unsigned i = 0; i < READER_CONNS; i++) {
			struct conn *c = r->conns[i];
			if (c && c->t == t && c->in_txn && end_snapshot(c) != OK)
				drop(r, c);
		}
	}
	pthread_mutex_unlock(&s->rmu);
	*diag_get() = d;
}

void readers_free(struct sq *s)
{
	pthread_mutex_lock(&s->rmu);
	for (struct reader *r = s->readers, *next; r; r = next) {
		next = r->next;
		for (unsigned i = 0; i < READER_CONNS; i++)
			conn_close(r->conns[i]);
		free(r);
		s->readers_n--;
	}
	s->readers = NULL;
	pthread_mutex_unlock(&s->rmu);
}
