/* A call is worked on in lanes, one per pool thread: a lane takes texts one after the other until its batch is full, runs it as one
 * job of the pool, and takes the next. Jobs are short, so that a question gets its turn between those of a long call.
 *
 *  1. Texts are taken by counting up `next`; each is encoded by one lane, into its own place.
 *  2. Lane 0 is the caller's fiber, the others are fibers of their own. The caller leaves when all have ended; the first error
 * stops all lanes at their next job, and is the caller's.
 *  3. Weights are loaded once, by the first job, under `lock`; a failure is kept and told to all later calls.
 *  4. Batches are kept for the next job: as many as ran at once at most, until a call of many texts ends. */
#include "embed/minilm/minilm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "embed/minilm/encoder.h"
#include "embed/minilm/wordpiece.h"
#include "rt/fiber.h"
#include "rt/wait.h"
#include "rt/work.h"

#define ORIGINAL_PRINT UINT64_C(0x679a560cce56a7ac) /* weights.print of all-MiniLM-L6-v2 */
#define SMALL_FILE_MAX ((size_t)16 << 20)	    /* bytes of vocab.txt or config.json */
#define LANES_MAX 64u
#define EMBED_BATCH 64u /* texts that fill the lanes, and leave again soon */
#define BATCHES_KEPT 64u
#define MANY 16u

struct minilm {
	struct embedder base;
	char name[64];
	struct wordpiece *pieces;
	struct weights weights;
	struct encoder encoder;
	atomic_bool ready;
	pthread_mutex_t lock;
	enum err failed; /* under lock, like the rest */
	char why[512];
	struct encoder_batch *kept[BATCHES_KEPT];
	size_t kept_n;
};

/* ---- one call ---- */

struct call {
	struct minilm *m;
	const struct str *texts;
	size_t n, share; /* share: texts of a job at most */
	float *v;
	atomic_size_t next;
	atomic_uint_fast64_t tokens;
	/* the loop thread's */
	size_t running; /* lanes besides the caller's */
	bool stop;
	struct event ended;
	uint64_t deadline;
	enum err failed;
	struct diag diag;
};

static enum err make_ready(struct minilm *m)
{
	enum err e;

	if (atomic_load_explicit(&m->ready, memory_order_acquire))
		return OK;
	pthread_mutex_lock(&m->lock);
	if (m->failed == OK && !atomic_load_explicit(&m->ready, memory_order_relaxed)) {
		m->failed = weights_load(&m->weights, m->encoder.k);
		if (m->failed == OK)
			atomic_store_explicit(&m->ready, true, memory_order_release);
		else
			snprintf(m->why, sizeof m->why, "%s", diag_get()->text);
	}
	e = m->failed;
	pthread_mutex_unlock(&m->lock);
	return e == OK ? OK : err_set(e, "%s", m->why);
}

static enum err take_batch(struct minilm *m, struct encoder_batch **out)
{
	*out = NULL;
	pthread_mutex_lock(&m->lock);
	if (m->kept_n > 0)
		*out = m->kept[--m->kept_n];
	pthread_mutex_unlock(&m->lock);
	return *out ? OK : encoder_batch_new(&m->encoder, out);
}

static void give_batch(struct minilm *m, struct encoder_batch *b)
{
	pthread_mutex_lock(&m->lock);
	if (m->kept_n < BATCHES_KEPT) {
		m->kept[m->kept_n++] = b;
		b = NULL;
	}
	pthread_mutex_unlock(&m->lock);
	encoder_batch_free(b);
}

/* After a call of many texts: what they needed is more than what a question touches, and is made again in no time beside theirs. */
static void drop_batches(struct minilm *m)
{
	pthread_mutex_lock(&m->lock);
	while (m->kept_n > 0)
		encoder_batch_free(m->kept[--m->kept_n]);
	pthread_mutex_unlock(&m->lock);
}

/* One job: fills a batch and runs it. */
static enum err job(void *arg)
{
	struct call *c = arg;
	struct encoder_batch *b;
	size_t dims = c->m->base.dims;
	enum err e;

	TRY(make_ready(c->m));
	TRY(take_batch(c->m, &b));
	while (b->rows < ENCODER_ROWS && b->texts < c->share) {
		size_t i = atomic_fetch_add(&c->next, 1), n;

		if (i >= c->n)
			break;
		n = wordpiece_encode(c->m->pieces, c->texts[i], encoder_next(b), c->m->weights.window);
		encoder_add(b, n, c->v + i * dims);
	}
	atomic_fetch_add(&c->tokens, b->rows);
	e = encoder_run(&c->m->encoder, b);
	give_batch(c->m, b);
	return e;
}

static void run_lane(struct call *c)
{
	while (!c->stop && atomic_load(&c->next) < c->n) {
		enum err e = work_run(job, c);

		if (e == OK || c->stop)
			continue;
		c->stop = true;
		c->failed = e;
		c->diag = *diag_get();
	}
}

static void lane(void *arg)
{
	struct call *c = arg;

	fiber_set_deadline(c->deadline);
	run_lane(c);
	if (--c->running == 0)
		event_set(&c->ended);
}

static void run_lanes(struct call *c, size_t lanes)
{
	c->deadline = fiber_deadline();
	/* The caller counts as one until it waits, so that nobody sets the event before that. */
	c->running = 1;
	event_init(&c->ended);
	for (size_t i = 1; i < lanes; i++) {
		c->running++;
		if (fiber_spawn(lane, c, NULL, NULL) != OK) { /* no stack to be had: those that run do all of it */
			c->running--;
			break;
		}
	}
	run_lane(c);
	if (--c->running > 0)
		event_wait(&c->ended);
}

static enum err encode(struct embedder *base, struct arena *a, const struct str *texts, size_t n, const struct trace_span *span,
		       struct embed_vectors *out)
{
	struct call c = {.m = (struct minilm *)base, .texts = texts, .n = n};
	size_t lanes = fiber_current() ? work_threads() : 1;

	(void)span;
	if (n > EMBED_BATCH_MAX)
		return err_set(E_LIMIT, "%zu texts at once, at most %u are allowed", n, EMBED_BATCH_MAX);
	c.v = arena_array(a, n * base->dims, sizeof *c.v);
	if (!c.v)
		return E_NOMEM;
	lanes = lanes > LANES_MAX ? LANES_MAX : lanes > n ? n : lanes;
	c.share = lanes ? (n + lanes - 1) / lanes : 0;
	if (lanes > 1)
		run_lanes(&c, lanes);
	else
		run_lane(&c);
	if (n >= MANY)
		drop_batches((struct minilm *)base);
	if (c.failed != OK) {
		*diag_get() = c.diag;
		return c.failed;
	}
	*out = (struct embed_vectors){.v = c.v, .dims = base->dims, .n = n, .tokens = atomic_load(&c.tokens)};
	return OK;
}

/* ---- opening ---- */

static void close_(struct embedder *base)
{
	struct minilm *m = (struct minilm *)base;

	drop_batches(m);
	weights_close(&m->weights);
	wordpiece_free(m->pieces);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static const struct embed_ops ops = {encode, close_};

static enum err path_of(struct str folder, const char *file, char *out, size_t room)
{
	int n = snprintf(out, room, "%.*s/%s", STR_ARG(folder), file);

	return n > 0 && (size_t)n < room ? OK : err_set(E_INVALID, "the name of the model's folder is too long");
}

static enum err read_fd(int fd, const char *file, struct arena *a, struct str *out)
{
	struct stat st;
	size_t n = 0;
	char *p;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (size_t)st.st_size > SMALL_FILE_MAX)
		return err_set(E_CORRUPT, "%s is no file, or larger than %zu bytes", file, SMALL_FILE_MAX);
	p = arena_alloc(a, (size_t)st.st_size);
	if (!p)
		return E_NOMEM;
	while (n < (size_t)st.st_size) {
		ssize_t got = read(fd, p + n, (size_t)st.st_size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(E_IO, "%s: %s", file, strerror(errno));
		if (got == 0)
			break;
		n += (size_t)got;
	}
	*out = str_of(p, n);
	return OK;
}

/* must false: a file that is not there is empty. */
static enum err read_small(struct str folder, const char *file, bool must, struct arena *a, struct str *out)
{
	char path[4096];
	enum err e;
	int fd;

	*out = (struct str){0};
	TRY(path_of(folder, file, path, sizeof path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return must ? err_set(E_NOT_FOUND, "%s is missing", file) : OK;
	if (fd < 0)
		return err_set(E_IO, "%s: %s", file, strerror(errno));
	e = read_fd(fd, file, a, out);
	close(fd);
	return e;
}

static enum err open_pieces(struct minilm *m, struct str vocabulary)
{
	enum err e = wordpiece_open(vocabulary, &m->pieces);

	if (e != OK)
		return err_wrap(e, "vocab.txt");
	if (wordpiece_entries(m->pieces) != m->weights.shape.vocabulary)
		return err_set(E_CORRUPT, "vocab.txt has %u entries, the model %u: they do not belong together",
			       wordpiece_entries(m->pieces), m->weights.shape.vocabulary);
	return OK;
}

static void set_name(struct minilm *m)
{
	if (m->weights.print == ORIGINAL_PRINT)
		snprintf(m->name, sizeof m->name, "%s", MINILM_MODEL);
	else
		snprintf(m->name, sizeof m->name, "bert-%u-%016llx", m->weights.shape.hidden, (unsigned long long)m->weights.print);
	m->base.model = str_c(m->name);
}

static enum err open_all(struct minilm *m, struct str folder, enum weights_form form, struct arena *a)
{
	struct str config, pooling, vocabulary;
	struct bert_shape shape;
	char path[4096];

	TRY(read_small(folder, "config.json", true, a, &config));
	TRY(read_small(folder, "1_Pooling/config.json", false, a, &pooling));
	TRY(read_small(folder, "vocab.txt", true, a, &vocabulary));
	TRY(bert_config(a, config, &shape));
	if (pooling.n > 0)
		TRY(bert_pooling(a, pooling));
	TRY(path_of(folder, "model.safetensors", path, sizeof path));
	TRY(weights_open(&m->weights, path, &shape, form));
	TRY(open_pieces(m, vocabulary));
	m->encoder = (struct encoder){&m->weights, kernels_choose()};
	m->base = (struct embedder){.ops = &ops, .dims = shape.hidden, .batch = EMBED_BATCH};
	set_name(m);
	return OK;
}

static enum err open_form(struct str folder, enum weights_form form, struct embedder **out)
{
	struct minilm *m = calloc(1, sizeof *m);
	struct arena a;
	enum err e;

	if (!m)
		return err_set(E_LIMIT, "no memory for the model");
	pthread_mutex_init(&m->lock, NULL);
	arena_init(&a, (size_t)48 << 20);
	e = open_all(m, folder, form, &a);
	arena_release(&a);
	if (e != OK) {
		close_(&m->base);
		return e;
	}
	*out = &m->base;
	return OK;
}

enum err minilm_open(struct str folder, struct embedder **out)
{
	return open_form(folder, WEIGHTS_INT8, out);
}

enum err minilm_open_f32(struct str folder, struct embedder **out)
{
	return open_form(folder, WEIGHTS_F32, out);
}
