/* The cache of vectors over an encoder that counts, and waits when it is told to. */
#include "base/test_util.h"
#include "embed/cache.h"
#include "embed/meter.h"
#include "http/test_peer.h"

#define DIMS 4

struct counter {
	struct embedder base;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned calls, texts, inside;
	bool held, failing, closed;
};

/* The vector of a text is its first byte. */
static enum err count(struct embedder *e, struct arena *a, const struct str *texts, size_t n, const struct trace_span *span,
		      struct embed_vectors *out)
{
	struct counter *c = CONTAINER(e, struct counter, base);
	(void)span;

	pthread_mutex_lock(&c->lock);
	c->calls++;
	c->texts += (unsigned)n;
	c->inside++;
	pthread_cond_broadcast(&c->cond);
	while (c->held)
		pthread_cond_wait(&c->cond, &c->lock);
	c->inside--;
	bool fails = c->failing;
	pthread_mutex_unlock(&c->lock);
	if (fails)
		return err_set(E_UPSTREAM, "scripted failure");
	*out = (struct embed_vectors){.v = arena_array(a, n * DIMS, sizeof(float)), .dims = DIMS, .n = n, .tokens = n};
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < DIMS; k++)
			out->v[i * DIMS + (size_t)k] = (float)(unsigned char)(texts[i].n ? texts[i].p[0] : 0);
	__atomic_store_n(&e->dims, DIMS, __ATOMIC_RELEASE);
	return OK;
}

static void closed(struct embedder *e)
{
	CONTAINER(e, struct counter, base)->closed = true;
}

static const struct embed_ops ops = {count, closed};

static struct embedder *open_on(struct counter *c, size_t bytes)
{
	struct embedder *e;

	*c = (struct counter){.base = {.ops = &ops, .model = STR("counter"), .batch = 8}};
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->cond, NULL);
	assert_int_equal(embed_cache_open(&c->base, bytes, &e), OK);
	return e;
}

static void ask(struct embedder *e, const char *const *texts, size_t n)
{
	struct embed_vectors v;
	struct str s[64];
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < n; i++)
		s[i] = str_c(texts[i]);
	EXPECT(embed_encode(e, &a, s, n, &v) == OK);
	EXPECT(v.n == n && v.dims == DIMS && __atomic_load_n(&e->dims, __ATOMIC_ACQUIRE) == DIMS);
	for (size_t i = 0; i < n; i++)
		EXPECT(v.v[i * DIMS] == (float)(unsigned char)texts[i][0] && v.v[i * DIMS + DIMS - 1] == v.v[i * DIMS]);
	arena_release(&a);
}
#define ASK(e, ...)                                                                                                                \
	do {                                                                                                                       \
		const char *const t_[] = {__VA_ARGS__};                                                                            \
		ask((e), t_, sizeof t_ / sizeof t_[0]);                                                                            \
	} while (0)

static void test_each_text_once(void **state)
{
	struct embed_cache_stats st;
	struct counter c;
	struct embedder *e = open_on(&c, 1 << 20);

	(void)state;
	assert_true(str_eq(e->model, STR("counter")));
	ASK(e, "a");
	ASK(e, "a");
	assert_int_equal(c.calls, 1);
	ASK(e, "b", "a", "b", "c", "b");
	assert_int_equal(c.calls, 2);
	assert_int_equal(c.texts, 3); /* a, then b and c */
	ASK(e, "c", "a", "b", "");
	assert_int_equal(c.texts, 4);
	ASK(e, "", "b");
	assert_int_equal(c.calls, 3);
	assert_true(embed_cache_stats(e, &st));
	assert_int_equal(st.entries, 4);
	assert_int_equal(st.misses, 4);
	assert_int_equal(st.evictions, 0);
	assert_false(embed_cache_stats(&c.base, &st));
	embed_close(e);
	assert_true(c.closed);
}

static void test_nothing(void **state)
{
	struct embed_vectors v;
	struct counter c;
	struct embedder *e = open_on(&c, 1 << 20);
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	assert_int_equal(embed_encode(e, &a, NULL, 0, &v), OK);
	assert_int_equal(v.n, 0);
	assert_int_equal(embed_encode(e, &a, NULL, EMBED_BATCH_MAX + 1, &v), E_LIMIT);
	assert_int_equal(c.calls, 0);
	arena_release(&a);
	embed_close(e);
	e = open_on(&c, 0); /* no cache: the encoder itself */
	assert_ptr_equal(e, &c.base);
}

static void test_ceiling(void **state)
{
	struct embed_cache_stats st;
	struct counter c;
	struct embedder *e = open_on(&c, 3000);
	char text[16];

	(void)state;
	for (int i = 0; i < 500; i++) {
		snprintf(text, sizeof text, "%c%d", 'a' + i % 26, i);
		ASK(e, text);
		ASK(e, "keep me");
		assert_true(embed_cache_stats(e, &st) && st.bytes <= 3000);
	}
	assert_int_equal(c.texts, 501); /* what is asked again stays */
	assert_true(st.entries > 3 && st.evictions == 501 - st.entries);
	embed_close(e);
	e = open_on(&c, 10); /* not even room for one */
	ASK(e, "a");
	ASK(e, "a", "b");
	assert_int_equal(c.texts, 3);
	assert_true(embed_cache_stats(e, &st) && st.bytes == 0 && st.entries == 0);
	embed_close(e);
}

/* Many texts at once do not drive out the questions. */
static void test_cold_end(void **state)
{
	const char *many[60];
	char text[60][8];
	struct counter c;
	struct embedder *e = open_on(&c, 4000);

	(void)state;
	ASK(e, "q1");
	ASK(e, "q2");
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 60; i++) {
			snprintf(text[i], sizeof text[i], "%c%d.%d", 'a' + i % 26, round, i);
			many[i] = text[i];
		}
		ask(e, many, 60);
	}
	assert_int_equal(c.texts, 2 + 20 * 60);
	ASK(e, "q1");
	ASK(e, "q2");
	assert_int_equal(c.texts, 2 + 20 * 60);
	embed_close(e);
}

static void test_failures_are_not_kept(void **state)
{
	struct embed_vectors v;
	struct counter c;
	struct embedder *e = open_on(&c, 1 << 20);
	struct str two[] = {STR("a"), STR("b")};
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	c.failing = true;
	assert_int_equal(embed_encode(e, &a, two, 1, &v), E_UPSTREAM);
	assert_int_equal(embed_encode(e, &a, two, 2, &v), E_UPSTREAM);
	c.failing = false;
	ASK(e, "a");
	ASK(e, "a", "b");
	assert_int_equal(c.calls, 4);
	arena_release(&a);
	embed_close(e);
}

/* ------------------------------------------------------------- one text, many at once */

struct crowd {
	struct embedder *e;
	enum err err;
};

static void *same_question(void *arg)
{
	struct crowd *w = arg;
	struct str q = STR("question");
	struct embed_vectors v;
	struct arena a;

	arena_init(&a, 1 << 20);
	w->err = embed_encode(w->e, &a, &q, 1, &v);
	EXPECT(w->err != OK || (v.n == 1 && v.dims == DIMS && v.v[0] == (float)'q'));
	arena_release(&a);
	return NULL;
}

static void in_fiber(void *arg)
{
	same_question(arg);
}

static void *in_loop(void *arg)
{
	run_in_loop(in_fiber, arg);
	return NULL;
}

static void crowd(bool leader_fails)
{
	struct embed_cache_stats st;
	struct crowd w[6];
	pthread_t th[6];
	struct counter c;
	struct embedder *e = open_on(&c, 1 << 20);

	c.held = true;
	c.failing = leader_fails;
	for (int i = 0; i < 6; i++) {
		w[i].e = e;
		assert_int_equal(pthread_create(&th[i], NULL, i % 2 ? same_question : in_loop, &w[i]), 0);
		if (i == 0) { /* it leads */
			pthread_mutex_lock(&c.lock);
			while (c.inside == 0)
				pthread_cond_wait(&c.cond, &c.lock);
			pthread_mutex_unlock(&c.lock);
		}
	}
	pthread_mutex_lock(&c.lock);
	c.held = false;
	pthread_cond_broadcast(&c.cond);
	pthread_mutex_unlock(&c.lock);
	for (int i = 0; i < 6; i++) {
		pthread_join(th[i], NULL);
		assert_int_equal(w[i].err, leader_fails ? E_UPSTREAM : OK);
	}
	assert_true(embed_cache_stats(e, &st));
	if (leader_fails) {
		assert_int_equal(c.calls, 6); /* each asks for itself, one after the other or in turn */
	} else {
		assert_int_equal(c.calls, 1);
		assert_int_equal(st.misses, 1);
		assert_int_equal(st.shared + st.hits, 5);
	}
	embed_close(e);
}

static void test_single_flight(void **state)
{
	(void)state;
	crowd(false);
	crowd(true);
}

/* The first questions of all, when nobody knows yet how long a vector is: whoever comes while the first answer arrives finds it. */
#define FIRST 4
struct first {
	struct embedder *e;
	pthread_barrier_t *gate;
	bool several;
};

static void *first_question(void *arg)
{
	struct first *f = arg;

	pthread_barrier_wait(f->gate);
	if (f->several)
		ASK(f->e, "question", "other");
	else
		ASK(f->e, "question");
	return NULL;
}

static unsigned first_round(bool several)
{
	pthread_barrier_t gate;
	struct first f[FIRST];
	pthread_t th[FIRST];
	struct counter c;
	struct embedder *e = open_on(&c, 1 << 20);

	pthread_barrier_init(&gate, NULL, FIRST);
	for (int i = 0; i < FIRST; i++) {
		f[i] = (struct first){e, &gate, several && i == FIRST - 1};
		assert_int_equal(pthread_create(&th[i], NULL, first_question, &f[i]), 0);
	}
	for (int i = 0; i < FIRST; i++)
		pthread_join(th[i], NULL);
	pthread_barrier_destroy(&gate);
	embed_close(e);
	return c.calls;
}

static void test_first_questions(void **state)
{
	(void)state;
	for (int round = 0; round < 400; round++) {
		unsigned calls;

		assert_int_equal(first_round(false), 1);
		calls = first_round(true); /* a call with several texts takes no part in the flight, and asks for what it lacks */
		assert_true(calls == 1 || calls == 2);
	}
}

/* Who waits can be cancelled, and has its own deadline; the flight goes on. */
struct left {
	struct embedder *e;
	struct counter *c;
	struct fiber *waiter;
	struct crowd lead, wait, late;
};

static void wait_late(void *arg)
{
	struct left *l = arg;

	fiber_set_deadline(deadline_in_ms(10));
	same_question(&l->late);
}

static void leave(void *arg)
{
	struct left *l = arg;
	bool ended;

	EXPECT(fiber_spawn(in_fiber, &l->wait, &l->waiter, &ended) == OK && !ended);
	wait_late(l);
	EXPECT(l->late.err == E_TIMEOUT);
	fiber_cancel(l->waiter);
}

static void test_waiters_leave(void **state)
{
	struct counter c;
	struct embedder *e = open_on(&c, 1 << 20);
	struct left l = {.e = e, .c = &c, .lead.e = e, .wait.e = e, .late.e = e};
	pthread_t th;

	(void)state;
	c.held = true;
	assert_int_equal(pthread_create(&th, NULL, same_question, &l.lead), 0);
	pthread_mutex_lock(&c.lock);
	while (c.inside == 0)
		pthread_cond_wait(&c.cond, &c.lock);
	pthread_mutex_unlock(&c.lock);
	run_in_loop(leave, &l);
	assert_int_equal(l.wait.err, E_CANCELLED);
	pthread_mutex_lock(&c.lock);
	c.held = false;
	pthread_cond_broadcast(&c.cond);
	pthread_mutex_unlock(&c.lock);
	pthread_join(th, NULL);
	assert_int_equal(l.lead.err, OK);
	assert_int_equal(c.calls, 1);
	embed_close(e);
}

/* A call that fails, and began before the dimensions were known, does not take back what another has learned of them. */
static void test_dims_stay(void **state)
{
	const struct str text = STR("a");
	struct embed_vectors v;
	struct counter c;
	struct embedder *e;
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	for (int meter = 0; meter < 2; meter++) {
		e = open_on(&c, 1 << 20);
		if (meter)
			assert_int_equal(embed_meter_open(e, "test", &e), OK);
		c.failing = true;
		e->dims = DIMS;
		assert_int_equal(embed_encode(e, &a, &text, 1, &v), E_UPSTREAM);
		assert_int_equal(e->dims, DIMS);
		embed_close(e);
	}
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_text_once),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_cold_end),
		cmocka_unit_test(test_failures_are_not_kept),
		cmocka_unit_test(test_dims_stay),
		cmocka_unit_test(test_single_flight),
		cmocka_unit_test(test_first_questions),
		cmocka_unit_test(test_waiters_leave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
