/* The lanes of an import.
 *
 * Invariants
 *  1. A lane has two batches: one is filled by the reader, the other is with the lane's thread (`sending`) or empty.
 *  2. Batches of a lane are sent in the order in which they were filled, one at a time.
 *  3. `first` of a batch is the unit of its first record; units never fall, so everything before the least `first` of all batches
 *     that are not empty has been answered. */
#include "cli/lanes.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "rt/wait.h"

#define BATCH_LINES 4000
#define BATCH_BYTES ((size_t)3 << 20)
#define BUSY_TRIES 40
#define BUSY_MS 250
#define BODY_MAX ((size_t)80 << 20)
#define REPLY_ARENA ((size_t)96 << 20)

struct batch {
	struct buf body;
	uint64_t units[BATCH_LINES];
	const struct origin_file *from[BATCH_LINES];
	size_t n;
};

struct lane {
	struct lanes *all;
	pthread_t thread;
	bool started;
	struct http_client *http;
	struct batch batches[2];
	unsigned filling; /* the reader's */
	bool sending;	  /* the other batch is with the thread; under the mutex */
};

struct lanes {
	struct lanes_options o;
	pthread_mutex_t mutex;
	pthread_cond_t cond; /* something below has changed */
	struct lane lane[LANES];
	struct lanes_totals totals;
	bool quit;
	enum err err;
	struct diag diag;
};

static void fail_locked(struct lanes *l, enum err e)
{
	if (l->err == OK) {
		l->err = e;
		l->diag = *diag_get();
	}
}

static uint64_t number(struct jval v)
{
	int64_t i = 0;
	return j_i64(v, &i) && i > 0 ? (uint64_t)i : 0;
}

/* Under the mutex. Lines of the answer count from 1 within the batch. */
static void report_bad(struct lanes *l, struct arena *a, const struct batch *b, struct jval errors)
{
	struct jval v;
	struct j_iter it = j_iter(errors);
	while (j_next(&it, NULL, &v)) {
		uint64_t line = number(j_get(v, STR("line")));
		struct jval detail = j_get(v, STR("detail")), field = j_get(v, STR("field"));
		struct str d = j_is(detail, JSON_STRING) ? j_str(a, detail) : STR("refused"),
			   f = j_is(field, JSON_STRING) ? j_str(a, field) : STR("");
		if (line < 1 || line > b->n)
			line = 1; /* not our server's way */
		if (!l->o.bad(l->o.ctx, b->from[line - 1], b->units[line - 1], d, f))
			fail_locked(l, err_set(E_CANCELLED, "stopped at the first bad line"));
	}
}

static enum err send_batch(struct lane *w, struct arena *a, struct batch *b)
{
	struct http_reply r;
	struct json doc;
	enum err e = client_call(w->http, a, "POST", w->all->o.path, "application/x-ndjson", buf_slice(&b->body), &r);
	/* A server that has much to do says so; the batch can be sent again whatever became of it. */
	for (int i = 0; e == E_BUSY && i < BUSY_TRIES; i++) {
		arena_clear(a);
		TRY(wait_until(deadline_in_ms(BUSY_MS)));
		e = client_call(w->http, a, "POST", w->all->o.path, "application/x-ndjson", buf_slice(&b->body), &r);
	}
	TRY(e);
	TRY(reply_json(a, &r, &doc));
	struct jval v = json_root(&doc);
	pthread_mutex_lock(&w->all->mutex);
	w->all->totals.stored += number(j_get(v, STR("stored")));
	w->all->totals.unchanged += number(j_get(v, STR("unchanged")));
	w->all->totals.failed += number(j_get(v, STR("failed")));
	if (j_is(j_get(v, STR("errors")), JSON_ARRAY))
		report_bad(w->all, a, b, j_get(v, STR("errors")));
	pthread_mutex_unlock(&w->all->mutex);
	return OK;
}

static void clear_batch(struct batch *b)
{
	buf_clear(&b->body);
	b->n = 0;
}

static void *lane_main(void *arg)
{
	struct lane *w = arg;
	struct lanes *l = w->all;
	struct arena a;
	arena_init(&a, REPLY_ARENA);
	pthread_mutex_lock(&l->mutex);
	for (;;) {
		while (!w->sending && !l->quit)
			pthread_cond_wait(&l->cond, &l->mutex);
		if (!w->sending)
			break;
		struct batch *b = &w->batches[w->filling ^ 1u];
		pthread_mutex_unlock(&l->mutex);
		enum err e = send_batch(w, &a, b);
		arena_clear(&a);
		pthread_mutex_lock(&l->mutex);
		if (e != OK)
			fail_locked(l, e);
		else
			clear_batch(b);
		w->sending = false;
		pthread_cond_broadcast(&l->cond);
	}
	pthread_mutex_unlock(&l->mutex);
	arena_release(&a);
	return NULL;
}

enum err lanes_new(struct call *c, const struct lanes_options *o, struct lanes **out)
{
	struct lanes *l = calloc(1, sizeof *l);
	enum err e = OK;
	if (l == NULL)
		return err_set(E_LIMIT, "out of memory");
	l->o = *o;
	pthread_mutex_init(&l->mutex, NULL);
	pthread_cond_init(&l->cond, NULL);
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *w = &l->lane[i];
		w->all = l;
		buf_init(&w->batches[0].body, NULL, BODY_MAX);
		buf_init(&w->batches[1].body, NULL, BODY_MAX);
		CHECK(peer_client(c, &w->http));
		if (pthread_create(&w->thread, NULL, lane_main, w) != 0) {
			e = err_set(E_LIMIT, "cannot start a thread");
			goto out;
		}
		w->started = true;
	}
	*out = l;
	return OK;
out:
	lanes_free(l);
	return e;
}

/* Hands the filled batch to the lane's thread, when that is free. */
static enum err submit(struct lanes *l, struct lane *w)
{
	pthread_mutex_lock(&l->mutex);
	while (w->sending && l->err == OK)
		pthread_cond_wait(&l->cond, &l->mutex);
	enum err e = l->err;
	if (e != OK) {
		*diag_get() = l->diag;
	} else {
		w->filling ^= 1u;
		w->sending = true;
		pthread_cond_broadcast(&l->cond);
	}
	pthread_mutex_unlock(&l->mutex);
	return e;
}

enum err lanes_push(struct lanes *l, const struct record *r, const struct origin_file *from)
{
	struct lane *w = &l->lane[r->order % LANES];
	struct batch *b = &w->batches[w->filling];
	if (b->n == BATCH_LINES || (b->n && b->body.n + r->json.n > BATCH_BYTES)) {
		TRY(submit(l, w));
		b = &w->batches[w->filling];
	}
	buf_str(&b->body, r->json);
	buf_byte(&b->body, '\n');
	b->from[b->n] = from;
	b->units[b->n++] = r->unit;
	return b->body.err == OK ? OK : err_set(E_LIMIT, "a line is too large to be sent");
}

enum err lanes_flush(struct lanes *l)
{
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *w = &l->lane[i];
		if (w->batches[w->filling].n)
			TRY(submit(l, w));
	}
	pthread_mutex_lock(&l->mutex);
	for (unsigned i = 0; i < LANES; i++)
		while (l->lane[i].sending)
			pthread_cond_wait(&l->cond, &l->mutex);
	enum err e = l->err;
	if (e != OK)
		*diag_get() = l->diag;
	pthread_mutex_unlock(&l->mutex);
	return e;
}

uint64_t lanes_safe(struct lanes *l, uint64_t now)
{
	uint64_t first = now;
	pthread_mutex_lock(&l->mutex);
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *w = &l->lane[i];
		struct batch *f = &w->batches[w->filling], *s = &w->batches[w->filling ^ 1u];
		if (f->n && f->units[0] < first)
			first = f->units[0];
		/* A batch whose request failed stays filled and counts as well. */
		if (s->n && s->units[0] < first)
			first = s->units[0];
	}
	pthread_mutex_unlock(&l->mutex);
	return first > 0 ? first - 1 : 0;
}

struct lanes_totals lanes_totals(struct lanes *l)
{
	pthread_mutex_lock(&l->mutex);
	struct lanes_totals t = l->totals;
	pthread_mutex_unlock(&l->mutex);
	return t;
}

void lanes_free(struct lanes *l)
{
	pthread_mutex_lock(&l->mutex);
	l->quit = true;
	pthread_cond_broadcast(&l->cond);
	pthread_mutex_unlock(&l->mutex);
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *w = &l->lane[i];
		if (w->started)
			pthread_join(w->thread, NULL);
		if (w->http)
			http_client_free(w->http);
		buf_release(&w->batches[0].body);
		buf_release(&w->batches[1].body);
	}
	pthread_cond_destroy(&l->cond);
	pthread_mutex_destroy(&l->mutex);
	free(l);
}
