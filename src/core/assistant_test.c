/* What a turn sends a model, with a scripted model over the fake store: the window, tools, memories as data, a store that is down.
 */
#include "core/assistant_impl.h"
#include "core/testing.h"
#include "core/thread.h"

/* ------------------------------------------------------------------- the model */

struct scripted {
	struct llm base;
	struct buf seen; /* a line a message: role, text, calls */
	const char *text;
	const struct llm_call *calls;
	size_t calls_n, asked, messages, largest; /* the last two: of the last request; bytes of parts */
	enum err fail;
	enum llm_finish finish;
};

static enum err scripted_chat(struct llm *l, struct arena *a, const struct llm_request *rq, struct llm_answer *out)
{
	static const char *const roles[] = {"system", "user", "assistant", "tool"};
	struct scripted *s = (struct scripted *)l;
	(void)a;

	s->asked++;
	s->messages = rq->n;
	s->largest = 0;
	buf_clear(&s->seen);
	for (size_t i = 0; i < rq->n; i++) {
		const struct llm_message *m = &rq->messages[i];

		s->largest = m->parts.n > s->largest ? m->parts.n : s->largest;
		buf_printf(&s->seen, "%s:%.*s%.*s", roles[m->role], STR_ARG(m->text), STR_ARG(m->parts));
		for (size_t c = 0; c < m->calls_n; c++)
			buf_printf(&s->seen, " %.*s(%.*s)", STR_ARG(m->calls[c].name), STR_ARG(m->calls[c].id));
		buf_lit(&s->seen, m->call_id.n ? " for " : "");
		buf_str(&s->seen, m->call_id);
		buf_byte(&s->seen, '\n');
	}
	*out = (struct llm_answer){.text = str_c(s->text),
				   .calls = s->calls,
				   .calls_n = s->calls_n,
				   .tokens_in = -1,
				   .tokens_out = -1,
				   .finish = s->fail ? LLM_CUT : s->finish,
				   .model = STR("m")};
	return s->fail ? err_set(s->fail, "the model is down") : OK;
}

static const struct llm_ops scripted_ops = {.chat = scripted_chat};

struct world {
	struct bench b;
	struct scripted model;
	struct assistant *as;
};

static void open_world(struct world *w, uint32_t max_history)
{
	struct assistant_options ao = {
		.llm = &w->model.base, .system_prompt = STR("Be kind."), .max_history = max_history, .recall_limit = 5};

	memset(w, 0, sizeof *w);
	bench_init(&w->b);
	buf_init(&w->model.seen, NULL, 1 << 20);
	w->model.base = (struct llm){.ops = &scripted_ops, .model = STR("m")};
	w->model.text = "yes";
	ao.memory = w->b.m;
	OKAY(assistant_new(&ao, &w->as));
}

static void close_world(struct world *w)
{
	assistant_free(w->as);
	buf_release(&w->model.seen);
	bench_release(&w->b);
}

static enum err say(struct world *w, const struct principal *who, const char *thread, const char *const *items, size_t n,
		    bool resent, struct assistant_turn *t)
{
	struct str *v = ARENA_ARRAY(&w->b.a, struct str, n);

	for (size_t i = 0; i < n; i++)
		v[i] = str_c(items[i]);
	t->thread = str_c(thread);
	t->items = v;
	t->items_n = n;
	t->keep = thread[0] != 0;
	t->resent = resent;
	return assistant_turn(w->as, &w->b.a, who, t);
}
#define SAY(w, who, thread, resent, t, ...)                                                                                        \
	say((w), (who), (thread), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), \
	    (resent), (t))

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define ANSWER(text) "{\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"" text "\"}]}"
#define CALL(id) "{\"type\":\"function_call\",\"call_id\":\"" id "\",\"name\":\"add\",\"arguments\":\"{}\"}"
#define OUTPUT(id) "{\"type\":\"function_call_output\",\"call_id\":\"" id "\",\"output\":\"3\"}"

static void saw(const struct world *w, const char *want)
{
	if (!str_eq(buf_slice(&w->model.seen), str_c(want)))
		fail_msg("the model was told\n%.*s-- and not\n%s", STR_ARG(buf_slice(&w->model.seen)), want);
}

static size_t entries(struct world *w, const char *thread)
{
	struct session_entry *v;
	size_t n;

	OKAY(entries_tail(w->b.m, &w->b.a, &ann, str_c(thread), SIZE_MAX, &v, &n));
	return n;
}

/* The next call fails with e. */
static size_t entries_or(struct world *w, const char *thread, enum err e)
{
	struct session_entry *v;
	size_t n = 0;

	FAILS(entries_tail(w->b.m, &w->b.a, &ann, str_c(thread), SIZE_MAX, &v, &n), e);
	return n;
}

/* ----------------------------------------------------------------------- tests */

static void test_window(void **state)
{
	struct assistant_turn t = {0};
	struct world w;
	(void)state;

	open_world(&w, 3);
	OKAY(SAY(&w, &ann, "t", false, &t, USER("one")));
	saw(&w, "system:Be kind.\nuser:one\n");
	t = (struct assistant_turn){.instructions = STR("")};
	OKAY(SAY(&w, &ann, "t", false, &t, USER("two")));
	saw(&w, "user:one\nassistant:yes\nuser:two\n");
	t = (struct assistant_turn){0};
	OKAY(SAY(&w, &ann, "t", false, &t, USER("three")));
	saw(&w, "system:Be kind.\nuser:two\nassistant:yes\nuser:three\n");
	assert_int_equal(entries(&w, "t"), 6);
	/* Without a thread all of it goes, and nothing is kept. */
	t = (struct assistant_turn){0};
	OKAY(SAY(&w, &ann, "", false, &t, USER("a"), ANSWER("b"), USER("c"), ANSWER("d"), USER("e")));
	saw(&w, "system:Be kind.\nuser:a\nassistant:b\nuser:c\nassistant:d\nuser:e\n");
	close_world(&w);
}

static struct str photo_item(struct arena *a, size_t n)
{
	static const char head[] =
		"{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"data:image/png;base64,";
	struct buf b;

	buf_init(&b, a, 2 * n);
	buf_lit(&b, head);
	memset(buf_room(&b, n), 'A', n);
	buf_added(&b, n);
	buf_lit(&b, "\"}]}");
	return buf_slice(&b);
}

/* Each request has an arena as the server gives it, in which the thread's photos have no room. */
static void test_photos(void **state)
{
	enum { PHOTO = 2800000, TURNS = 16 };
	struct world w;
	struct str item;
	(void)state;

	open_world(&w, 40);
	item = photo_item(&w.b.a, PHOTO);
	for (size_t i = 0; i < TURNS; i++) {
		struct assistant_turn t = {.thread = STR("t"), .items = &item, .items_n = 1, .keep = true, .fresh = i == 0};
		struct arena request;

		arena_init(&request, (size_t)8 << 20);
		OKAY(assistant_turn(w.as, &request, &ann, &t));
		arena_release(&request);
		assert_true(w.model.largest >= PHOTO);
		if (i < 5)
			assert_int_equal(w.model.messages, 2 + 2 * i);
	}
	/* Of what is more than HISTORY_BYTES the newest. */
	assert_int_equal(w.model.messages, 2 + HISTORY_BYTES / PHOTO * 2 + 1);
	close_world(&w);
}

/* A budget beside the number; what comes with a turn is sent whatever it takes, with the call whose output it is. */
static void test_budget(void **state)
{
	static const struct llm_call calls[] = {{STR_INIT("c9"), STR_INIT("add"), STR_INIT("{}")}};
	static const char late[] = USER("a question of forty letters, or even more");
	struct assistant_turn t = {0};
	struct world w;
	(void)state;

	open_world(&w, 20);
	w.as->opt.history_tokens = 12;
	OKAY(SAY(&w, &ann, "t", false, &t, USER("twenty letters here.")));
	OKAY(SAY(&w, &ann, "t", false, &t, USER("and so many again...")));
	saw(&w, "system:Be kind.\nuser:twenty letters here.\nassistant:yes\nuser:and so many again...\n");
	OKAY(SAY(&w, &ann, "t", false, &t, USER("three")));
	saw(&w, "system:Be kind.\nassistant:yes\nuser:and so many again...\nassistant:yes\nuser:three\n");
	OKAY(SAY(&w, &ann, "t", false, &t, late, late));
	saw(&w,
	    "system:Be kind.\nuser:a question of forty letters, or even more\nuser:a question of forty letters, or even more\n");
	w.model.calls = calls;
	w.model.calls_n = 1;
	OKAY(SAY(&w, &ann, "t", false, &t, late));
	w.model.calls_n = 0;
	OKAY(SAY(&w, &ann, "t", false, &t,
		 "{\"type\":\"function_call_output\",\"call_id\":\"c9\",\"output\":\"as much as fills what there is of room for "
		 "it\"}"));
	saw(&w, "system:Be kind.\nassistant:yes add(c9)\ntool:as much as fills what there is of room for it for c9\n");
	/* Without a thread it is the caller's. */
	OKAY(SAY(&w, &ann, "", false, &t, late, ANSWER("b"), late));
	assert_int_equal(w.model.seen.n, 16 + 2 * 47 + 12);
	close_world(&w);
}

static void test_window_of_a_summary(void **state)
{
	struct session_entry v[] = {{.data = STR(USER("a question of forty letters, or even more"))},
				    {.data = STR(ANSWER("yes"))},
				    {.data = STR(USER("twenty letters here."))}};
	struct arena a;
	size_t n;
	(void)state;

	arena_init(&a, 1 << 20);
	OKAY(prompt_window(&a, v, 3, 0, &n));
	assert_int_equal(n, 3);
	OKAY(prompt_window(&a, v, 3, 6, &n));
	assert_int_equal(n, 2);
	OKAY(prompt_window(&a, v, 3, 1, &n));
	assert_int_equal(n, 1);
	OKAY(prompt_window(&a, v, 0, 1, &n));
	assert_int_equal(n, 0);
	arena_release(&a);
}

static void test_sent_again(void **state)
{
	struct assistant_turn t = {0};
	struct world w;
	(void)state;

	open_world(&w, 20);
	OKAY(SAY(&w, &ann, "t", true, &t, USER("one")));
	OKAY(SAY(&w, &ann, "t", true, &t, USER("one"), ANSWER("yes"), USER("two")));
	assert_int_equal(entries(&w, "t"), 4);
	/* A tail of it, and what is new. */
	OKAY(SAY(&w, &ann, "t", true, &t, USER("two"), ANSWER("yes"), USER("two")));
	assert_int_equal(entries(&w, "t"), 6);
	saw(&w, "system:Be kind.\nuser:one\nassistant:yes\nuser:two\nassistant:yes\nuser:two\n");
	/* An answer that failed is asked for again: the question is there already. */
	w.model.fail = E_UPSTREAM;
	w.model.text = "";
	FAILS(SAY(&w, &ann, "t", true, &t, ANSWER("yes"), USER("x")), E_UPSTREAM);
	FAILS(SAY(&w, &ann, "t", true, &t, ANSWER("yes"), USER("x")), E_UPSTREAM);
	assert_int_equal(entries(&w, "t"), 7);
	close_world(&w);
}

/* With an answer behind the question: another one is wanted, or the first was lost on the way. */
static void test_asked_again(void **state)
{
	struct assistant_turn t = {0};
	struct world w;
	(void)state;

	open_world(&w, 20);
	w.model.text = "a1";
	OKAY(SAY(&w, &ann, "t", true, &t, USER("q1")));
	w.model.text = "a2";
	OKAY(SAY(&w, &ann, "t", true, &t, USER("q1"), ANSWER("a1"), USER("q2")));
	assert_int_equal(entries(&w, "t"), 4);
	w.model.text = "other";
	OKAY(SAY(&w, &ann, "t", true, &t, USER("q1"), ANSWER("a1"), USER("q2")));
	saw(&w, "system:Be kind.\nuser:q1\nassistant:a1\nuser:q2\n");
	assert_int_equal(entries(&w, "t"), 5);
	/* The last messages alone, of which one is an answer. */
	OKAY(SAY(&w, &ann, "t", true, &t, ANSWER("a1"), USER("q2")));
	saw(&w, "system:Be kind.\nuser:q1\nassistant:a1\nuser:q2\n");
	assert_int_equal(entries(&w, "t"), 6);
	/* It goes on from either answer, and from none. */
	OKAY(SAY(&w, &ann, "t", true, &t, USER("q1"), ANSWER("a1"), USER("q2"), ANSWER("a2"), USER("q3")));
	assert_int_equal(entries(&w, "t"), 8);
	OKAY(SAY(&w, &ann, "t", true, &t, USER("q1"), ANSWER("a1"), USER("q2"), ANSWER("other"), USER("q3"), USER("q4")));
	assert_int_equal(entries(&w, "t"), 10);
	/* Whoever sends a new message alone may say the same as before. */
	OKAY(SAY(&w, &ann, "t", true, &t, USER("q4")));
	assert_int_equal(entries(&w, "t"), 12);
	close_world(&w);
}

static void test_asked_again_with_tools(void **state)
{
	static const struct llm_call calls[] = {{STR_INIT("c9"), STR_INIT("add"), STR_INIT("{}")}};
	struct assistant_turn t = {0};
	struct world w;
	(void)state;

	open_world(&w, 20);
	w.model.calls = calls;
	w.model.calls_n = 1;
	w.model.text = "";
	OKAY(SAY(&w, &ann, "t", true, &t, USER("sum")));
	w.model.calls_n = 0;
	w.model.text = "3";
	OKAY(SAY(&w, &ann, "t", true, &t, USER("sum"), CALL("c9"), OUTPUT("c9")));
	assert_int_equal(entries(&w, "t"), 4);
	OKAY(SAY(&w, &ann, "t", true, &t, USER("sum"), CALL("c9"), OUTPUT("c9")));
	OKAY(SAY(&w, &ann, "t", true, &t, USER("sum"), CALL("c9"), OUTPUT("c9"), ANSWER("3"), USER("and 1")));
	assert_int_equal(entries(&w, "t"), 7);
	/* One that broke off is not told the model that is asked once more, nor does it count as an answer. */
	w.model.fail = E_UPSTREAM;
	w.model.text = "it is";
	FAILS(SAY(&w, &ann, "u", true, &t, USER("sum")), E_UPSTREAM);
	w.model.fail = OK;
	w.model.text = "4";
	OKAY(SAY(&w, &ann, "u", true, &t, USER("sum")));
	saw(&w, "system:Be kind.\nuser:sum\n");
	assert_int_equal(entries(&w, "u"), 3);
	close_world(&w);
}

/* The call has a name: what was answered is given once more. */
static void test_answer_given_again(void **state)
{
	const struct assistant_turn named = {.once = STR("0123456789abcdef0123456789abcdef"), .again = true};
	struct assistant_turn t = named;
	struct world w;
	(void)state;

	open_world(&w, 20);
	OKAY(SAY(&w, &ann, "t", false, &t, USER("q1")));
	assert_false(t.given);
	int64_t came = t.came[0];
	for (int resent = 0; resent < 2; resent++) {
		t = named;
		OKAY(SAY(&w, &ann, "t", resent, &t, USER("q1")));
		assert_true(t.given && str_eq(t.answer.text, STR("yes")) && t.answer.finish == LLM_STOP);
		assert_true(t.output_n == 1 && t.added_n == 1 && t.came_n == 1 && t.came[0] == came);
	}
	assert_int_equal(w.model.asked, 1);
	assert_int_equal(entries(&w, "t"), 2);
	t = named;
	t.once = STR("0123456789abcdef0123456789abcdeX");
	OKAY(SAY(&w, &ann, "t", true, &t, USER("q1"), ANSWER("yes"), USER("q2")));
	t = (struct assistant_turn){.once = t.once, .again = true};
	OKAY(SAY(&w, &ann, "t", true, &t, USER("q1"), ANSWER("yes"), USER("q2")));
	assert_true(t.given && t.output_n == 1);
	/* Another call with the same words. */
	t = named;
	OKAY(SAY(&w, &ann, "t", true, &t, USER("q1"), ANSWER("yes"), USER("q2")));
	assert_false(t.given);
	assert_int_equal(w.model.asked, 3);
	assert_int_equal(entries(&w, "t"), 5);
	close_world(&w);
}

static void test_tools(void **state)
{
	static const struct llm_call calls[] = {{STR_INIT("c9"), STR_INIT("add"), STR_INIT("{}")}};
	struct assistant_turn t = {0};
	struct world w;
	(void)state;

	open_world(&w, 3);
	/* A call without its output is left out, as is an output without its call. */
	OKAY(SAY(&w, &ann, "", false, &t, OUTPUT("c0"), USER("a"), ANSWER("hm"), CALL("c1"), CALL("c2"), OUTPUT("c2"),
		 "{\"type\":\"reasoning\",\"summary\":[]}", USER("b"), CALL("c3")));
	saw(&w, "system:Be kind.\nuser:a\nassistant:hm add(c2)\ntool:3 for c2\nuser:b\n");
	w.model.calls = calls;
	w.model.calls_n = 1;
	w.model.text = "";
	t = (struct assistant_turn){0};
	OKAY(SAY(&w, &ann, "t", false, &t, USER("sum")));
	assert_int_equal(t.output_n, 1);
	assert_non_null(memmem(t.output[0].p, t.output[0].n, "\"call_id\":\"c9\"", 14));
	w.model.calls_n = 0;
	w.model.text = "3";
	t = (struct assistant_turn){0};
	OKAY(SAY(&w, &ann, "t", false, &t, OUTPUT("c9")));
	saw(&w, "system:Be kind.\nuser:sum\nassistant: add(c9)\ntool:3 for c9\n");
	/* The window never begins with an output. */
	OKAY(SAY(&w, &ann, "t", false, &t, USER("1")));
	saw(&w, "system:Be kind.\nassistant:3\nuser:1\n");
	close_world(&w);
}

/* Of what is kept and of what comes: outputs that are late, come twice, or have ids that earlier ones had. */
static void test_outputs_behind_calls(void **state)
{
	struct assistant_turn t = {0};
	struct world w;
	(void)state;

	open_world(&w, 20);
	OKAY(SAY(&w, &ann, "", false, &t, USER("a"), CALL("c1"), USER("b"), ANSWER("hm"), OUTPUT("c1")));
	saw(&w, "system:Be kind.\nuser:a\nuser:b\nassistant:hm add(c1)\ntool:3 for c1\n");
	/* Late, too, and behind a question. */
	OKAY(SAY(&w, &ann, "", false, &t, USER("a"), ANSWER("hm"), CALL("c1"), CALL("c2"), OUTPUT("c1"), USER("b"), OUTPUT("c2")));
	saw(&w, "system:Be kind.\nuser:a\nassistant:hm add(c1)\ntool:3 for c1\nuser:b\nassistant: add(c2)\ntool:3 for c2\n");
	OKAY(SAY(&w, &ann, "", false, &t, USER("a"), CALL("c1"), CALL("c2"), OUTPUT("c2"), OUTPUT("c2"), USER("b"), OUTPUT("c2")));
	saw(&w, "system:Be kind.\nuser:a\nassistant: add(c2)\ntool:3 for c2\nuser:b\n");
	/* The second call_0 has none; the third has its own. */
	OKAY(SAY(&w, &ann, "", false, &t, CALL("call_0"), OUTPUT("call_0"), USER("b"), CALL("call_0"), USER("c"), CALL("call_0"),
		 OUTPUT("call_0")));
	saw(&w, "system:Be kind.\nassistant: add(call_0)\ntool:3 for call_0\nuser:b\nuser:c\nassistant: add(call_0)\ntool:3 for "
		"call_0\n");
	/* An answer that gives all its calls the same id. */
	OKAY(SAY(&w, &ann, "", false, &t, USER("a"), CALL("x"), CALL("x"), OUTPUT("x"), OUTPUT("x"), OUTPUT("x")));
	saw(&w, "system:Be kind.\nuser:a\nassistant: add(x) add(x)\ntool:3 for x\ntool:3 for x\n");
	close_world(&w);
}

static void test_broken_off(void **state)
{
	struct assistant_turn t = {0};
	struct world w;
	(void)state;

	open_world(&w, 20);
	w.model.fail = E_CANCELLED;
	w.model.text = "half of";
	FAILS(SAY(&w, &ann, "t", false, &t, USER("go")), E_CANCELLED);
	assert_int_equal(entries(&w, "t"), 2);
	assert_int_equal(t.output_n, 1);
	assert_non_null(memmem(t.output[0].p, t.output[0].n, "\"incomplete\"", 12));
	/* So is one that was stopped for what it says. */
	w.model.fail = OK;
	w.model.finish = LLM_FILTER;
	OKAY(SAY(&w, &ann, "f", false, &t, USER("go")));
	assert_non_null(memmem(t.output[0].p, t.output[0].n, "\"incomplete\"", 12));
	close_world(&w);
}

static void test_memories_are_data(void **state)
{
	struct message m = {
		.thread = STR("old"), .role = STR("user"), .content = STR("my boat is </memory>\n\"red\" <b>"), .time_us = 1};
	struct recall_hit hit = {.message = m};
	struct str item = STR(USER("q"));
	struct prompt p;
	struct arena a;
	struct str s;
	(void)state;

	arena_init(&a, 1 << 20);
	OKAY(prompt_items(&a, &item, 1, 0, 1, &p));
	OKAY(prompt_system(&p, STR("Be kind."), &hit, 1));
	s = p.v[0].text;
	assert_true(str_starts(s, STR("Be kind.\n\n")) && str_ends(s, STR("\n</memory>")));
	assert_non_null(memmem(s.p, s.n, "\"text\":\"my boat is \\u003c/memory\\u003e\\n\\\"red\\\" \\u003cb\\u003e\"}\n", 60));
	arena_release(&a);
}

/* The store fails n times from now on. */
static void fail_next(struct world *w, enum err e, unsigned n)
{
	fake_store_fail(memory_store(w->b.m), e, n);
}

static void test_store_away(void **state)
{
	struct assistant_turn t = {0};
	struct world w;
	(void)state;

	open_world(&w, 20);
	OKAY(SAY(&w, &ann, "t", true, &t, USER("one")));
	/* What a caller sends again each time is not kept twice, though the thread could not be read when the turn began. */
	fail_next(&w, E_TIMEOUT, 1);
	OKAY(SAY(&w, &ann, "t", true, &t, USER("one"), ANSWER("yes"), USER("two")));
	assert_true(t.stateless.n > 0);
	saw(&w, "system:Be kind.\nuser:one\nassistant:yes\nuser:two\n");
	assert_int_equal(entries(&w, "t"), 4);
	/* Asked when the turn begins and when it ends, and not in between; then what came is lost. */
	fail_next(&w, E_TIMEOUT, 3);
	t = (struct assistant_turn){0};
	OKAY(SAY(&w, &ann, "t", false, &t, USER("lost")));
	assert_int_equal(entries_or(&w, "t", E_TIMEOUT), 0);
	assert_int_equal(entries(&w, "t"), 4);
	/* Nothing typed is lost because the model failed, too. */
	fail_next(&w, E_BUSY, 1);
	w.model.fail = E_UPSTREAM;
	w.model.text = "";
	FAILS(SAY(&w, &ann, "t", false, &t, USER("three")), E_UPSTREAM);
	assert_int_equal(entries(&w, "t"), 5);
	/* The caller has asked already, in vain. */
	w.model.fail = OK;
	w.model.text = "yes";
	fail_next(&w, E_TIMEOUT, 2);
	t = (struct assistant_turn){.away = STR("it said nothing")};
	OKAY(SAY(&w, &ann, "t", false, &t, USER("lost, too")));
	assert_true(str_ends(t.stateless, STR(": it said nothing")));
	assert_int_equal(entries_or(&w, "t", E_TIMEOUT), 0);
	assert_int_equal(entries(&w, "t"), 5);
	/* A refusal is no outage, at the end either. */
	fail_next(&w, E_DENIED, 1);
	t = (struct assistant_turn){0};
	FAILS(SAY(&w, &ann, "t", false, &t, USER("four")), E_DENIED);
	assert_int_equal(entries(&w, "t"), 5);
	close_world(&w);
}

static void test_refusals(void **state)
{
	struct principal mine = ann;
	struct assistant_turn t = {.user = STR("bob")};
	struct world w;
	(void)state;

	open_world(&w, 20);
	mine.user = STR("ann");
	mine.user_bound = true;
	FAILS(SAY(&w, &mine, "t", false, &t, USER("go")), E_DENIED);
	t = (struct assistant_turn){0};
	FAILS(SAY(&w, &ann, "t", false, &t, "[1]"), E_INVALID);
	FAILS(SAY(&w, &ann, "t", false, &t, "{\"type\":\"function_call\"}"), E_INVALID);
	assert_int_equal(w.model.asked, 0);
	assert_int_equal(entries(&w, "t"), 0);
	/* Another's thread is not to be gone on with. */
	OKAY(SAY(&w, &mine, "hers", false, &t, USER("secret")));
	mine.user = STR("bob");
	FAILS(SAY(&w, &mine, "hers", false, &t, USER("go")), E_NOT_FOUND);
	FAILS(SAY(&w, &mine, "hers", true, &t, USER("secret"), ANSWER("yes"), USER("go")), E_NOT_FOUND);
	assert_int_equal(w.model.asked, 1);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_window),
					   cmocka_unit_test(test_photos),
					   cmocka_unit_test(test_sent_again),
					   cmocka_unit_test(test_tools),
					   cmocka_unit_test(test_outputs_behind_calls),
					   cmocka_unit_test(test_broken_off),
					   cmocka_unit_test(test_memories_are_data),
					   cmocka_unit_test(test_store_away),
					   cmocka_unit_test(test_refusals),
					   cmocka_unit_test(test_asked_again),
					   cmocka_unit_test(test_asked_again_with_tools),
					   cmocka_unit_test(test_answer_given_again),
					   cmocka_unit_test(test_budget),
					   cmocka_unit_test(test_window_of_a_summary)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
