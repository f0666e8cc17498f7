/* Vectors in the background: found by feed and walk, made, kept; encoders and stores that fail. The worker runs in a thread with a
 * loop of its own where it matters, else the tests do its work by waiting. */
#include "core/vectors_testing.h"
#include "rt/fiber.h"
#include "rt/wait.h"

/* ---------------------------------------------------------------------- tests */

static void items_and_messages(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	put(&r.b, "n", "before", "{\"text\":\"was there before the first look\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_string_equal(in_use(&r), "first/8");
	for (int i = 0; i < 30; i++) {
		char key[32], text[64];

		snprintf(key, sizeof key, "k%d", i);
		snprintf(text, sizeof text, "{\"text\":\"item number %d\"}", i);
		put(&r.b, "n", key, text);
		snprintf(text, sizeof text, "message number %d", i);
		say(&r, text);
	}
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 1);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 31);
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 30);
	/* A text that changes gets another one; meanwhile the old one does not count. */
	put(&r.b, "n", "k3", "{\"text\":\"something else\"}");
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 30);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 31);
	assert_string_equal(r.enc.last, "something else");
	assert_int_equal(state_of(&r).pending, 0);
	assert_int_equal(state_of(&r).done, 61);
	assert_int_equal(state_of(&r).documents, 61);
	assert_true(state_of(&r).counted);
	/* What is not indexed has none. */
	struct op_put op = {.ns = STR("n"), .key = STR("hidden"), .value = STR("{\"a\":\"b\"}"), .index = TRI_NO};
	unsigned texts = r.enc.texts;
	OKAY(memory_put(r.b.m, &r.b.a, &ann, &op));
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(r.enc.texts, texts);
	rig_release(&r);
}

static void after_a_restart(void **state)
{
	struct rig r;
	unsigned texts;

	(void)state;
	rig_init(&r);
	for (int i = 0; i < 40; i++) {
		char text[64];

		snprintf(text, sizeof text, "message number %d", i);
		say(&r, text);
	}
	r.enc.fail = E_UPSTREAM;
	r.enc.fail_n = 1000;
	FAILS(vectors_wait(r.v, &ann, 0), E_UPSTREAM);
	rig_stop(&r);
	rig_start(&r, "first", DIMS);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 40);
	assert_int_equal(r.enc.texts, 40);
	/* Another restart makes nothing again. */
	rig_stop(&r);
	rig_start(&r, "first", DIMS);
	texts = r.enc.texts;
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(r.enc.texts, texts);
	rig_release(&r);
}

static void more_than_the_queue_holds(void **state)
{
	enum { N = 700, STEP = 300 };
	struct message *m = calloc(STEP, sizeof *m);
	size_t stored, unchanged;
	struct rig r;

	(void)state;
	rig_init(&r);
	OKAY(vectors_wait(r.v, &ann, 0));
	for (size_t at = 0; at < N; at += STEP) {
		size_t n = N - at < STEP ? N - at : STEP;

		for (size_t i = 0; i < n; i++)
			m[i] = (struct message){.thread = STR("t"),
						.user = STR("ann"),
						.role = STR("user"),
						.content = arena_printf(&r.b.a, "number %zu", at + i)};
		OKAY(session_append(r.b.m, &r.b.a, &ann, m, n, &stored, &unchanged));
		assert_int_equal(stored, n);
	}
	r.v->queue_max = 500;
	r.enc.base.batch = 20;
	bool more;
	struct vtenant *t;
	OKAY(vectors_tenant(r.v, STR("default"), &t));
	OKAY(vectors_round(r.v, t, &more));
	assert_true(more);
	assert_true(t->kind[DOC_MESSAGE].walking);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, N);
	assert_int_equal(r.enc.texts, N);
	free(m);
	rig_release(&r);
}

static void refused_texts(void **state)
{
	struct rig r;
	unsigned calls;

	(void)state;
	rig_init(&r);
	say(&r, "one");
	say(&r, "this is forbidden");
	say(&r, "this is nonsense");
	say(&r, "four");
	say(&r, "five");
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 3);
	assert_int_equal(state_of(&r).refused, 2);
	assert_int_equal(state_of(&r).pending, 0);
	/* They are not asked again, until they change. */
	calls = r.enc.calls;
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(r.enc.calls, calls);
	put(&r.b, "n", "k", "{\"text\":\"also forbidden\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(state_of(&r).refused, 3);
	put(&r.b, "n", "k", "{\"text\":\"allowed\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 1);
	rig_release(&r);
}

/* Values that cannot be read, which another client of the database wrote: the others get their vectors all the same. */
static void beyond_the_limits(void **state)
{
	struct str doc;
	struct rig r;

	(void)state;
	rig_init(&r);
	fake_store_keeps(r.b.store);
	OKAY(words_item_doc(memory_words(r.b.m), &r.b.a, STR("n"), parsed(&r.b.a, "{\"t\":\"common\"}").doc, NULL, 0, &doc));
	for (int i = 0; i < 40; i++) {
		char key[16];

		snprintf(key, sizeof key, "k%d", i);
		if (i == 7)
			put_raw(&r.b, "n", "no document", too_deep(&r.b.a), STR("\0"));
		if (i == 9)
			put_raw(&r.b, "n", "with a document", too_deep(&r.b.a), doc);
		if (i == 11)
			put_raw(&r.b, "n", "short", STR("{\"t\":\"short\"}"), STR("\0"));
		put(&r.b, "n", key, "{\"t\":\"good\"}");
	}
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 41);
	assert_int_equal(fake_store_kept(r.b.store), 2);
	assert_int_equal(state_of(&r).refused, 1);
	assert_int_equal(state_of(&r).pending, 0);
	/* Large ones are read one by one. */
	r.v->read_room = (size_t)64 << 10;
	for (int i = 0; i < 40; i++) {
		char key[16];

		snprintf(key, sizeof key, "k%d", i);
		put(&r.b, "n", key, arena_cstr(&r.b.a, arena_printf(&r.b.a, "{\"t\":\"large %0*d\"}", 10000, i)));
	}
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 41);
	assert_int_equal(state_of(&r).refused, 1);
	/* It changes. */
	put(&r.b, "n", "with a document", "{\"t\":\"readable\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 42);
	assert_int_equal(state_of(&r).refused, 0);
	rig_release(&r);
}

static struct rig *meddled;
static const struct store_ops *plain_ops;

/* Another text just before the first read, the former one after it. */
static enum err another_text_meanwhile(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
				       struct item *out)
{
	s->ops = plain_ops;
	put(&meddled->b, "n", "k", "{\"text\":\"another\"}");
	OKAY(plain_ops->item_by_id(s, a, who, ids, n, out));
	put(&meddled->b, "n", "k", "{\"text\":\"the former\"}");
	return OK;
}

/* A vector is never kept for another text than it was made of. */
static void there_and_back(void **state)
{
	struct store_ops meddling;
	struct rig r;

	(void)state;
	rig_init(&r);
	put(&r.b, "n", "k", "{\"text\":\"the former\"}");
	plain_ops = r.b.store->ops;
	meddling = *plain_ops;
	meddling.item_by_id = another_text_meanwhile;
	meddled = &r;
	r.b.store->ops = &meddling;
	OKAY(vectors_wait(r.v, &ann, 0));
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 1);
	assert_string_equal(r.enc.last, "the former");
	rig_release(&r);
}

static void long_and_empty_texts(void **state)
{
	struct rig r;
	char *big;

	(void)state;
	rig_init(&r);
	big = malloc((1u << 20) + 1);
	for (size_t i = 0; i < 1u << 20; i++)
		big[i] = i % 8 == 7 ? ' ' : (char)('a' + i % 7);
	big[1u << 20] = 0;
	r.enc.longest = 5000;
	say(&r, big);
	say(&r, "...");
	put(&r.b, "n", "empty", "{}");
	put(&r.b, "n", "bare", "{\"text\":\"\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(state_of(&r).refused, 0);
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 2);
	free(big);
	rig_release(&r);
}

static void an_encoder_that_fails(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.enc.fail = E_TIMEOUT;
	r.enc.fail_n = 2;
	say(&r, "one");
	FAILS(vectors_wait(r.v, &ann, 0), E_TIMEOUT);
	assert_true(state_of(&r).trouble.n > 0);
	assert_int_equal(state_of(&r).pending, 1);
	FAILS(vectors_wait(r.v, &ann, 0), E_TIMEOUT);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(state_of(&r).trouble.n, 0);
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 1);
	/* Nothing but nonsense comes: that is the encoder's fault, not the texts'. */
	say(&r, "nonsense");
	FAILS(vectors_wait(r.v, &ann, 0), E_CORRUPT);
	assert_int_equal(state_of(&r).refused, 0);
	/* A store that fails. */
	put(&r.b, "n", "k", "{\"text\":\"hello\"}");
	fake_store_fail(r.b.store, E_BUSY, 1);
	FAILS(vectors_wait(r.v, &ann, 0), E_BUSY);
	rig_release(&r);
}

static void questions(void **state)
{
	struct rig r;
	float *v;
	uint32_t dims;

	(void)state;
	rig_init(&r);
	OKAY(vectors_question(r.v, &r.b.a, &ann, str_c(in_use(&r)), STR("before the first look"), NULL, &v, &dims));
	assert_null(v);
	OKAY(vectors_wait(r.v, &ann, 0));
	OKAY(vectors_question(r.v, &r.b.a, &ann, str_c(in_use(&r)), STR("what"), NULL, &v, &dims));
	assert_non_null(v);
	assert_int_equal(dims, DIMS);
	/* After a failure questions are not asked for a while. */
	r.enc.fail = E_UPSTREAM;
	r.enc.fail_n = 1;
	FAILS(vectors_question(r.v, &r.b.a, &ann, str_c(in_use(&r)), STR("who"), NULL, &v, &dims), E_UPSTREAM);
	unsigned calls = r.enc.calls;
	FAILS(vectors_question(r.v, &r.b.a, &ann, str_c(in_use(&r)), STR("who"), NULL, &v, &dims), E_UPSTREAM);
	assert_int_equal(r.enc.calls, calls);
	FAILS(vectors_question(r.v, &r.b.a, NULL, str_c(in_use(&r)), STR("who"), NULL, &v, &dims), E_DENIED);
	/* Without vectors. */
	OKAY(vectors_question(NULL, &r.b.a, &ann, str_c(in_use(&r)), STR("who"), NULL, &v, &dims));
	assert_null(v);
	OKAY(vectors_wait(NULL, &ann, 0));
	rig_release(&r);
}

static void tenants_and_users(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	say_as(&r, &ann, "a", "ann", "mine");
	say_as(&r, &ann, "b", "bob", "his");
	say_as(&r, &other, "a", "ann", "another tenant's");
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 2);
	assert_int_equal(count_as(&r, &other, DOC_MESSAGE, "first/8").good, 0);
	OKAY(vectors_wait(r.v, &other, 0));
	assert_int_equal(count_as(&r, &other, DOC_MESSAGE, "first/8").good, 1);
	rig_release(&r);
}

/* Who waits for what he wrote does not wait for all that was there before; who waits for all does. */
static void new_texts_before_old_ones(void **state)
{
	struct vectors_state st;
	struct vtenant *t;
	struct rig r;
	bool more;

	(void)state;
	rig_init(&r);
	fill(&r, 300);
	r.enc.base.batch = 1;
	OKAY(vectors_tenant(r.v, STR("default"), &t));
	OKAY(vectors_round(r.v, t, &more)); /* from here on the feed is followed */
	assert_true(more && t->kind[DOC_MESSAGE].walking);
	say(&r, "quite new");
	OKAY(vectors_wait_new(r.v, &ann, 0));
	assert_true(r.enc.texts < 100);
	OKAY(vectors_state(r.v, &r.b.a, &ann, &st));
	assert_true(!st.counted && st.pending > 200);
	/* More than the queue takes: what is left to the walk is waited for. */
	r.v->queue_max = 2;
	fill(&r, 310); /* 300 of them are there already */
	OKAY(vectors_wait_new(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 311);
	OKAY(vectors_wait(r.v, &ann, 0));
	OKAY(vectors_state(r.v, &r.b.a, &ann, &st));
	assert_true(st.counted && st.pending == 0 && st.done == 311);
	rig_release(&r);
	/* A process that has not begun yet does not know which are new. */
	rig_init(&r);
	fill(&r, 50);
	OKAY(vectors_wait_new(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 50);
	rig_release(&r);
}

/* ---------------------------------------------------- the scope of a search */

struct seen {
	uint64_t version;
	size_t docs, rows;
};

static enum err look(void *ctx, const struct scope *s, const struct vector_scope *v)
{
	struct seen *x = ctx;

	*x = (struct seen){s->version, s->docs, v ? v->rows : 0};
	return OK;
}

static struct seen scope_of(struct rig *r, const char *model)
{
	struct doc_scope scope = {.kind = DOC_MESSAGE, .prefix = STR("ann"), .model = str_c(model)};
	struct seen x = {0};
	bool skipped;

	OKAY(words_with_scope(memory_words(r->b.m), &r->b.a, &ann, &scope, look, &x, &skipped));
	assert_false(skipped);
	return x;
}

static void scopes_follow(void **state)
{
	struct seen a, b;
	struct rig r;

	(void)state;
	rig_init(&r);
	fill(&r, 10);
	a = scope_of(&r, "first/8");
	assert_int_equal(a.docs, 10);
	assert_int_equal(a.rows, 0);
	OKAY(vectors_wait(r.v, &ann, 0));
	/* The vectors come in; the words are not indexed again for that. */
	b = scope_of(&r, "first/8");
	assert_int_equal(b.rows, 10);
	assert_int_equal(b.version, a.version);
	/* One more: found by words at once. */
	say(&r, "another one");
	b = scope_of(&r, "first/8");
	assert_int_equal(b.docs, 11);
	assert_int_equal(b.rows, 10);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(scope_of(&r, "first/8").rows, 11);
	OKAY(session_delete(r.b.m, &ann, STR("t1")));
	b = scope_of(&r, "first/8");
	assert_int_equal(b.docs, 0);
	assert_int_equal(b.rows, 0);
	/* Loaded anew it is the same; without a model it has none. */
	fill(&r, 5);
	OKAY(vectors_wait(r.v, &ann, 0));
	rig_stop(&r);
	rig_start(&r, "first", DIMS);
	assert_int_equal(scope_of(&r, "first/8").rows, 5);
	assert_int_equal(scope_of(&r, "").rows, 0);
	rig_release(&r);
}

/* ----------------------------------------------------------------- the worker */

struct runner {
	struct rig *r;
	struct loop *loop;
	struct fiber *fiber;
	pthread_t thread;
	struct loop_task start, stop;
	enum err ended;
};

static void run_fiber(void *arg)
{
	struct runner *x = arg;

	x->ended = vectors_forever(x->r->v);
	x->fiber = NULL;
}

static void run_start(void *arg)
{
	struct runner *x = arg;
	bool ended;

	if (fiber_spawn(run_fiber, x, &x->fiber, &ended) != OK || ended)
		abort();
}

static void run_stop(void *arg)
{
	struct runner *x = arg;

	if (x->fiber)
		fiber_cancel(x->fiber);
	loop_stop(x->loop);
}

static void *run_thread(void *arg)
{
	loop_run(((struct runner *)arg)->loop);
	return NULL;
}

static void runner_start(struct runner *x, struct rig *r)
{
	*x = (struct runner){.r = r};
	OKAY(loop_new(&x->loop));
	loop_set_background(x->loop);
	x->start = (struct loop_task){.fn = run_start, .arg = x};
	loop_post(x->loop, &x->start);
	assert_int_equal(pthread_create(&x->thread, NULL, run_thread, x), 0);
	for (bool there = false; !there;) {
		pthread_mutex_lock(&r->v->lock);
		there = r->v->running;
		pthread_mutex_unlock(&r->v->lock);
		sched_yield();
	}
}

static void runner_stop(struct runner *x)
{
	x->stop = (struct loop_task){.fn = run_stop, .arg = x};
	loop_post(x->loop, &x->stop);
	pthread_join(x->thread, NULL);
	loop_free(x->loop);
	assert_string_equal(err_name(x->ended), err_name(E_CANCELLED));
}

static void worker(void **state)
{
	struct runner x;
	struct rig r;

	(void)state;
	rig_init(&r);
	fill(&r, 30);
	runner_start(&x, &r);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 30);
	for (int i = 0; i < 20; i++) {
		char key[16];

		snprintf(key, sizeof key, "k%d", i);
		put(&r.b, "n", key, "{\"text\":\"written while it runs\"}");
		OKAY(vectors_wait(r.v, &ann, 0));
		assert_int_equal(count(&r, DOC_ITEM, "first/8").good, i + 1);
	}
	/* A write never waits: the encoder stands still, and the put is there. */
	pthread_mutex_lock(&r.enc.lock);
	r.enc.gate = true;
	pthread_mutex_unlock(&r.enc.lock);
	put(&r.b, "n", "late", "{\"text\":\"the encoder hangs\"}");
	pthread_mutex_lock(&r.enc.lock);
	while (!r.enc.at_gate)
		pthread_cond_wait(&r.enc.cond, &r.enc.lock);
	pthread_mutex_unlock(&r.enc.lock);
	assert_string_equal(value_as(&r.b, &ann, "n", "late"), "{\"text\":\"the encoder hangs\"}");
	/* Who waits for it does so until his deadline. */
	FAILS(vectors_wait(r.v, &ann, 30), E_TIMEOUT);
	pthread_mutex_lock(&r.enc.lock);
	r.enc.gate = r.enc.at_gate = false;
	pthread_cond_broadcast(&r.enc.cond);
	pthread_mutex_unlock(&r.enc.lock);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 21);
	/* In a pause after a failure, one who waits makes it try at once, and is told when it fails. */
	pthread_mutex_lock(&r.enc.lock);
	r.enc.fail = E_UPSTREAM;
	r.enc.fail_n = 2;
	pthread_mutex_unlock(&r.enc.lock);
	put(&r.b, "n", "more", "{\"text\":\"more\"}");
	int failures = 0;
	while (vectors_wait(r.v, &ann, 0) != OK)
		failures++;
	assert_true(failures >= 1 && failures <= 2);
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 22);
	runner_stop(&x);
	rig_release(&r);
}

/* The store of one tenant fails: the others get their vectors, and that one its own when the store is well again. */
static void a_tenant_that_fails(void **state)
{
	enum { N = 4 };
	struct principal who[N];
	char names[N][8];
	struct runner x;
	struct rig r;
	float *v;
	uint32_t dims;

	(void)state;
	rig_init(&r);
	for (int i = 0; i < N; i++) {
		snprintf(names[i], sizeof names[i], "tenant%d", i);
		who[i] = (struct principal){.tenant = str_c(names[i]), .rights = RIGHT_ALL, .id = STR("local")};
		say_as(&r, &who[i], "a", "ann", "before");
	}
	runner_start(&x, &r);
	for (int i = 0; i < N; i++)
		OKAY(vectors_wait(r.v, &who[i], 60000));
	for (int bad = 0; bad < N; bad++) {
		char text[32];

		snprintf(text, sizeof text, "number %d", bad);
		say_as(&r, &who[bad], "a", "ann", text);
		fake_store_fail_tenant(r.b.store, who[bad].tenant, E_CORRUPT);
		FAILS(vectors_wait(r.v, &who[bad], 60000), E_CORRUPT);
		for (int i = 0; i < N; i++) {
			if (i == bad)
				continue;
			say_as(&r, &who[i], "a", "ann", text);
			OKAY(vectors_wait(r.v, &who[i], 60000));
			assert_int_equal(count_as(&r, &who[i], DOC_MESSAGE, "first/8").good, bad + 2);
		}
		OKAY(vectors_question(r.v, &r.b.a, &who[bad], STR("first/8"), STR("what"), NULL, &v, &dims));
		assert_non_null(v);
		fake_store_fail_tenant(r.b.store, STR(""), OK);
		while (count_as(&r, &who[bad], DOC_MESSAGE, "first/8").good < (size_t)bad + 2) /* nobody waits for it */
			OKAY(wait_until(deadline_in_ms(5)));
	}
	runner_stop(&x);
	rig_release(&r);
}

struct writer {
	struct rig *r;
	int from;
};

static void *write_many(void *arg)
{
	struct writer *w = arg;
	struct arena a;

	arena_init(&a, 16 << 20);
	for (int i = 0; i < 200; i++) {
		struct op_put op = {.ns = STR("n"), .ttl_minutes = TTL_DEFAULT};

		op.key = arena_printf(&a, "k%d", w->from + i);
		op.value = arena_printf(&a, "{\"text\":\"number %d\"}", w->from + i);
		if (memory_put(w->r->b.m, &a, &ann, &op) != OK)
			abort();
		if (i % 50 == 49 && vectors_wait(w->r->v, &ann, 0) != OK)
			abort();
	}
	arena_release(&a);
	return NULL;
}

static void many_writers(void **state)
{
	struct writer w[4];
	pthread_t th[4];
	struct runner x;
	struct rig r;

	(void)state;
	rig_init(&r);
	runner_start(&x, &r);
	for (int i = 0; i < 4; i++) {
		w[i] = (struct writer){&r, i * 1000};
		assert_int_equal(pthread_create(&th[i], NULL, write_many, &w[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_ITEM, "first/8").good, 800);
	runner_stop(&x);
	rig_release(&r);
}

static void item_texts(void **state)
{
	struct arena a;
	struct str out;

	(void)state;
	arena_init(&a, 16 << 20);
	OKAY(vectors_item_text(&a, STR("{\"text\":\"I like tea\"}"), STR(""), &out));
	assert_true(str_eq(out, STR("I like tea")));
	OKAY(vectors_item_text(&a, STR("{\"favourite\":{\"drink\":\"tea\",\"cups\":3},\"x\":null,\"y\":true}"), STR(""), &out));
	assert_true(str_eq(out, STR("favourite drink tea cups 3 x y")));
	OKAY(vectors_item_text(&a, STR("{}"), STR(""), &out));
	assert_int_equal(out.n, 0);
	/* Of some paths only. */
	struct str path = STR("a.b"), doc;
	struct bench b;
	bench_init(&b);
	OKAY(words_item_doc(memory_words(b.m), &a, STR("n"), parsed(&a, "{\"a\":{\"b\":\"this\"},\"c\":\"not this\"}").doc, &path,
			    1, &doc));
	OKAY(vectors_item_text(&a, STR("{\"a\":{\"b\":\"this\"},\"c\":\"not this\"}"), doc, &out));
	assert_true(str_eq(out, STR("this")));
	bench_release(&b);
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_and_messages),
		cmocka_unit_test(after_a_restart),
		cmocka_unit_test(more_than_the_queue_holds),
		cmocka_unit_test(refused_texts),
		cmocka_unit_test(beyond_the_limits),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(long_and_empty_texts),
		cmocka_unit_test(an_encoder_that_fails),
		cmocka_unit_test(questions),
		cmocka_unit_test(tenants_and_users),
		cmocka_unit_test(new_texts_before_old_ones),
		cmocka_unit_test(scopes_follow),
		cmocka_unit_test(worker),
		cmocka_unit_test(a_tenant_that_fails),
		cmocka_unit_test(many_writers),
		cmocka_unit_test(item_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
