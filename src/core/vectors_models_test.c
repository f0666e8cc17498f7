/* The model of the vectors changes: in one step, by several processes, with and without the encoder of before, and when what is
 * said of it cannot be written. */
#include "core/vectors_testing.h"

static void change_of_model(void **state)
{
	struct rig r;
	float *v;
	uint32_t dims;
	int rounds = 0;

	(void)state;
	rig_init(&r);
	fill(&r, 100);
	OKAY(vectors_wait(r.v, &ann, 0));
	rig_stop(&r);
	scripted_init(&r.old, "first", DIMS);
	r.old_there = true;
	rig_start(&r, "second", 16);
	while (round_once(&r)) {
		/* Until the last step the old one serves, whole. */
		if (strcmp(in_use(&r), "first/8") == 0) {
			assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 100);
			assert_string_equal(state_of(&r).next.p, "second/16");
			OKAY(vectors_question(r.v, &r.b.a, &ann, str_c(in_use(&r)), STR("what"), NULL, &v, &dims));
			assert_int_equal(dims, DIMS);
			rounds++;
		}
	}
	assert_true(rounds > 3);
	assert_string_equal(in_use(&r), "second/16");
	assert_int_equal(count(&r, DOC_MESSAGE, "second/16").good, 100);
	OKAY(vectors_question(r.v, &r.b.a, &ann, str_c(in_use(&r)), STR("what"), NULL, &v, &dims));
	assert_int_equal(dims, 16);
	/* Then the old one's vectors go, when others have heard of it. */
	struct vtenant *t;
	OKAY(vectors_tenant(r.v, STR("default"), &t));
	assert_true(t->drop_at > 0);
	t->drop_at = 1;
	while (round_once(&r) || t->drop_at)
		;
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 0);
	assert_int_equal(r.old.closed, 1);
	assert_int_equal(count(&r, DOC_MESSAGE, "second/16").good, 100);
	rig_release(&r);
}

static void change_without_the_old_encoder(void **state)
{
	struct rig r;
	float *v;
	uint32_t dims;

	(void)state;
	rig_init(&r);
	fill(&r, 50);
	OKAY(vectors_wait(r.v, &ann, 0));
	rig_stop(&r);
	rig_start(&r, "first", 16); /* the same name, other dimensions: another model */
	assert_true(round_once(&r));
	assert_string_equal(in_use(&r), "first/16");
	OKAY(vectors_question(r.v, &r.b.a, &ann, str_c(in_use(&r)), STR("what"), NULL, &v, &dims));
	assert_int_equal(dims, 16);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(count(&r, DOC_MESSAGE, "first/16").good, 50);
	rig_release(&r);
}

static void change_interrupted(void **state)
{
	struct rig r;
	size_t made;

	(void)state;
	rig_init(&r);
	fill(&r, 100);
	OKAY(vectors_wait(r.v, &ann, 0));
	rig_stop(&r);
	scripted_init(&r.old, "first", DIMS);
	r.old_there = true;
	rig_start(&r, "second", 16);
	assert_true(round_once(&r));
	assert_true(round_once(&r));
	made = count(&r, DOC_MESSAGE, "second/16").good;
	assert_true(made > 0 && made < 100);
	rig_stop(&r); /* killed, as far as the store can tell */
	rig_start(&r, "second", 16);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_string_equal(in_use(&r), "second/16");
	assert_int_equal(r.enc.texts, 100 - made);
	/* Taken back half way: the first model is in use as ever, and what was begun of the second goes. */
	rig_stop(&r);
	rig_start(&r, "third", 4);
	r.old = r.enc;
	scripted_init(&r.old, "second", 16);
	assert_true(round_once(&r));
	assert_string_equal(in_use(&r), "second/16");
	rig_stop(&r);
	rig_start(&r, "second", 16);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_string_equal(in_use(&r), "second/16");
	assert_string_equal(state_of(&r).next.p, "");
	struct vtenant *t;
	OKAY(vectors_tenant(r.v, STR("default"), &t));
	t->drop_at = 1;
	while (round_once(&r) || t->drop_at)
		;
	assert_int_equal(count(&r, DOC_MESSAGE, "third/4").good, 0);
	assert_int_equal(r.enc.texts, 0);
	rig_release(&r);
}

static void two_processes(void **state)
{
	struct rig r, s;

	(void)state;
	rig_init(&r);
	fill(&r, 20);
	OKAY(vectors_wait(r.v, &ann, 0));
	/* Another process of another model starts on the same store. */
	s = (struct rig){.b.store = r.b.store, .old_there = true};
	arena_init(&s.b.a, (size_t)16 << 20);
	scripted_init(&s.old, "first", DIMS);
	rig_start(&s, "second", 16);
	OKAY(vectors_wait(s.v, &ann, 0));
	assert_string_equal(in_use(&s), "second/16");
	/* The first one follows: it neither changes back nor makes vectors that nobody asks for. */
	struct vtenant *t;
	OKAY(vectors_tenant(r.v, STR("default"), &t));
	OKAY(vectors_learn(r.v, t, true));
	fill(&r, 30);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_string_equal(in_use(&r), "second/16");
	assert_int_equal(r.enc.texts, 20);
	OKAY(vectors_wait(s.v, &ann, 0));
	assert_int_equal(count(&s, DOC_MESSAGE, "second/16").good, 30);
	rig_stop(&s);
	arena_release(&s.b.a);
	rig_release(&r);
}

/* A second process on the store of r. */
static void second_start(struct rig *s, struct rig *r, const char *model, uint32_t dims)
{
	*s = (struct rig){.b.store = r->b.store, .old_there = true};
	arena_init(&s->b.a, (size_t)16 << 20);
	scripted_init(&s->old, "first", DIMS);
	rig_start(s, model, dims);
}

static void second_stop(struct rig *s)
{
	rig_stop(s);
	arena_release(&s->b.a);
}

static struct vtenant *tenant(struct rig *r)
{
	struct vtenant *t;

	OKAY(vectors_tenant(r->v, STR("default"), &t));
	return t;
}

/* Both change to the same new model: what one has done is the other's, too. */
static void two_processes_of_one_model(void **state)
{
	struct rig r, s;

	(void)state;
	rig_init(&r);
	fill(&r, 100);
	OKAY(vectors_wait(r.v, &ann, 0));
	rig_stop(&r);
	scripted_init(&r.old, "first", DIMS);
	r.old_there = true;
	rig_start(&r, "second", 16);
	second_start(&s, &r, "second", 16);
	assert_true(round_once(&r));
	assert_true(round_once(&s));
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_string_equal(in_use(&r), "second/16");
	OKAY(vectors_learn(s.v, tenant(&s), true));
	assert_false(tenant(&s)->gave_way);
	assert_string_equal(in_use(&s), "second/16");
	say(&s, "made by the one that was not the first to be done");
	OKAY(vectors_wait(s.v, &ann, 0));
	assert_int_equal(count(&s, DOC_MESSAGE, "second/16").good, 101);
	/* One that had given way to another model works again when its own has come into use. */
	tenant(&s)->gave_way = true;
	OKAY(vectors_learn(s.v, tenant(&s), true));
	assert_false(tenant(&s)->gave_way);
	second_stop(&s);
	rig_release(&r);
}

/* What could not be written down has not happened; what was written down although the store said that it was not, has. */
static void change_that_cannot_be_written(void **state)
{
	struct rig r;
	unsigned after;
	bool more;

	(void)state;
	rig_init(&r);
	fill(&r, 10);
	OKAY(vectors_wait(r.v, &ann, 0));
	for (after = 0; after < 12; after++) {
		rig_stop(&r);
		scripted_init(&r.old, "first", DIMS);
		r.old_there = true;
		rig_start(&r, after % 2 ? "first" : "second", after % 2 ? DIMS : 16);
		if (after % 2)
			scripted_init(&r.old, "second", 16);
		fake_store_fail_after(r.b.store, E_BUSY, after);
		while (vectors_round(r.v, tenant(&r), &more) != OK || more)
			OKAY(vectors_learn(r.v, tenant(&r), true));
		assert_false(tenant(&r)->gave_way);
		assert_string_equal(in_use(&r), after % 2 ? "first/8" : "second/16");
		fake_store_fail(r.b.store, E_BUSY, 0);
	}
	rig_release(&r);
}

/* The old model's encoder is there for all tenants until the last of them has changed. */
static void change_of_two_tenants(void **state)
{
	struct vtenant *t;
	struct rig r;
	uint32_t dims;
	float *v;
	bool more;

	(void)state;
	rig_init(&r);
	fill(&r, 5);
	say_as(&r, &other, "a", "ann", "another tenant's");
	OKAY(vectors_wait(r.v, &ann, 0));
	OKAY(vectors_wait(r.v, &other, 0));
	rig_stop(&r);
	scripted_init(&r.old, "first", DIMS);
	r.old_there = true;
	rig_start(&r, "second", 16);
	OKAY(vectors_tenant(r.v, STR("other"), &t));
	OKAY(vectors_learn(r.v, t, false));
	OKAY(vectors_wait(r.v, &ann, 0));
	tenant(&r)->drop_at = 1;
	while (round_once(&r) || tenant(&r)->drop_at)
		;
	assert_int_equal(count(&r, DOC_MESSAGE, "first/8").good, 0);
	assert_int_equal(r.old.closed, 0);
	OKAY(vectors_question(r.v, &r.b.a, &other, STR("first/8"), STR("what"), NULL, &v, &dims));
	assert_non_null(v);
	OKAY(vectors_wait(r.v, &other, 0));
	t->drop_at = 1;
	do
		OKAY(vectors_round(r.v, t, &more));
	while (more || t->drop_at);
	assert_int_equal(r.old.closed, 1);
	rig_release(&r);
}

/* The old model's service is away when the change begins: it is waited for, but not for ever. */
static void old_service_away(void **state)
{
	struct rig r;
	bool more;

	(void)state;
	rig_init(&r);
	fill(&r, 100);
	OKAY(vectors_wait(r.v, &ann, 0));
	rig_stop(&r);
	scripted_init(&r.old, "first", DIMS);
	r.old_there = true;
	r.old.fail = E_UPSTREAM;
	r.old.fail_n = 2;
	rig_start(&r, "second", 16);
	FAILS(vectors_round(r.v, tenant(&r), &more), E_UPSTREAM);
	assert_string_equal(in_use(&r), "first/8");
	FAILS(vectors_round(r.v, tenant(&r), &more), E_UPSTREAM);
	assert_int_equal(r.old.closed, 2);
	assert_true(round_once(&r));
	assert_string_equal(in_use(&r), "first/8");
	assert_string_equal(state_of(&r).next.p, "second/16");
	rig_stop(&r);
	/* After a while it is taken to have gone. */
	r.old.fail_n = 1000;
	rig_start(&r, "third", 4);
	r.v->former_ms = 0;
	assert_true(round_once(&r));
	assert_string_equal(in_use(&r), "third/4");
	rig_release(&r);
}

/* Of what another process is just making nothing is removed. */
static void drops_nothing_in_the_making(void **state)
{
	struct rig r, s;

	(void)state;
	rig_init(&r);
	fill(&r, 100);
	OKAY(vectors_wait(r.v, &ann, 0));
	second_start(&s, &r, "second", 16);
	assert_true(round_once(&s));
	assert_true(round_once(&s));
	size_t made = count(&s, DOC_MESSAGE, "second/16").good;
	assert_true(made > 0);
	tenant(&r)->drop_at = 1;
	while (round_once(&r))
		;
	assert_int_equal(count(&s, DOC_MESSAGE, "second/16").good, made);
	assert_true(tenant(&r)->drop_at > 1);
	second_stop(&s);
	rig_release(&r);
}

static void made_again(void **state)
{
	struct rig r;
	unsigned texts;

	(void)state;
	rig_init(&r);
	fill(&r, 100);
	put(&r.b, "n", "k", "{\"text\":\"an item\"}");
	OKAY(vectors_wait(r.v, &ann, 0));
	FAILS(vectors_reindex(r.v, &reader), E_DENIED);
	OKAY(vectors_reindex(r.v, &ann));
	assert_true(state_of(&r).again);
	/* Asked for and not begun: it is not forgotten. */
	rig_stop(&r);
	rig_start(&r, "first", DIMS);
	assert_true(state_of(&r).again);
	round_once(&r);
	round_once(&r);
	texts = r.enc.texts;
	assert_true(texts > 0 && texts < 101);
	rig_stop(&r); /* in the middle of it */
	rig_start(&r, "first", DIMS);
	assert_true(state_of(&r).again);
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_int_equal(texts + r.enc.texts, 101);
	assert_false(state_of(&r).again);
	assert_int_equal(state_of(&r).pending, 0);
	rig_release(&r);
}

static void dims_not_known_before(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_stop(&r);
	rig_start(&r, "first", 0);
	r.enc.dims = 12;
	r.enc.fail = E_UPSTREAM;
	r.enc.fail_n = 1;
	say(&r, "hello");
	FAILS(vectors_wait(r.v, &ann, 0), E_UPSTREAM);
	assert_string_equal(in_use(&r), "");
	OKAY(vectors_wait(r.v, &ann, 0));
	assert_string_equal(in_use(&r), "first/12");
	assert_int_equal(count(&r, DOC_MESSAGE, "first/12").good, 1);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(change_of_model),
		cmocka_unit_test(change_without_the_old_encoder),
		cmocka_unit_test(change_interrupted),
		cmocka_unit_test(two_processes),
		cmocka_unit_test(two_processes_of_one_model),
		cmocka_unit_test(change_that_cannot_be_written),
		cmocka_unit_test(change_of_two_tenants),
		cmocka_unit_test(old_service_away),
		cmocka_unit_test(drops_nothing_in_the_making),
		cmocka_unit_test(made_again),
		cmocka_unit_test(dims_not_known_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
