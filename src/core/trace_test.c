/* Traces while they are collected: their limits, what is not theirs to hold, and copies. */
#include "core/testing.h"
#include "core/trace.h"

static struct trace *taken;

static void take(struct tracer *tr, const struct trace *t)
{
	(void)tr;
	assert_null(taken);
	taken = trace_copy(t);
}

static const struct tracer_ops ops = {.take = take};
static struct tracer wordy = {.ops = &ops, .contents = true};

static struct trace *begin(struct arena *a, const char *parent)
{
	taken = NULL;
	arena_init(a, (size_t)16 << 20);
	return trace_begin(&wordy, a, &ann, str_c(parent), STR("k=v"));
}

static void end(struct arena *a, struct trace *t)
{
	trace_end(t);
	assert_non_null(taken);
	arena_release(a);
}

static void none_is_wanted(void **state)
{
	struct trace_span *s;
	(void)state;

	assert_null(trace_begin(NULL, NULL, &ann, STR(""), STR("")));
	s = span_begin(NULL, NULL, SPAN_TOOL, STR("x"));
	assert_null(s);
	span_str(s, "a", STR("b"));
	span_json(s, "a", STR("1"));
	span_int(s, "a", 1);
	span_input(s, STR("1"));
	assert_false(span_wants(s));
	assert_int_equal(span_end(s, E_BUSY), E_BUSY);
	trace_session(NULL, STR(""), STR(""), false);
	trace_end(NULL);
	trace_unref(NULL);
}

static void too_many_and_too_much(void **state)
{
	char *big = malloc(TRACE_VALUE_MAX * 2);
	const struct trace_span *last = NULL;
	struct trace_span *s;
	struct json doc;
	struct arena a;
	struct trace *t = begin(&a, "");
	(void)state;

	memset(big, 'x', TRACE_VALUE_MAX * 2);
	assert_non_null(span_begin(t, NULL, SPAN_AGENT, STR("turn")));
	for (int i = 0; i < TRACE_SPANS_MAX + 10; i++)
		(void)span_end(span_begin(t, NULL, SPAN_TOOL, STR("x")), OK);
	assert_int_equal(t->spans_n, TRACE_SPANS_MAX);
	assert_int_equal(t->left_out, 11);
	end(&a, t);
	assert_int_equal(taken->spans_n, TRACE_SPANS_MAX);
	trace_unref(taken);

	t = begin(&a, "");
	s = span_begin(t, NULL, SPAN_AGENT, STR("turn"));
	span_str(s, "cut", str_of(big, TRACE_VALUE_MAX * 2));
	big[0] = '[';
	span_json(s, "cut too", str_of(big, TRACE_VALUE_MAX * 2));
	for (int i = 0; i < 40; i++) {
		s = span_begin(t, NULL, SPAN_TOOL, STR("x"));
		span_str(s, "a", str_of(big, TRACE_VALUE_MAX));
	}
	assert_true(t->bytes <= TRACE_BYTES_MAX && t->left_out > 0);
	end(&a, t);
	assert_true(trace_bytes(taken) < TRACE_BYTES_MAX + TRACE_SPANS_MAX * sizeof(struct trace_span));
	last = taken->spans;
	assert_true(str_ends(last->attrs->s, STR("... (cut)")) && last->attrs->s.n < TRACE_VALUE_MAX + 20);
	arena_init(&a, (size_t)16 << 20);
	OKAY(json_parse(&a, last->attrs->next->s, NULL, &doc));
	assert_true(j_is(json_root(&doc), JSON_STRING));
	arena_release(&a);
	trace_unref(taken);
	free(big);
}

static void texts_are_mended(void **state)
{
	struct trace_span *s;
	struct arena a;
	struct trace *t = begin(&a, "");
	(void)state;

	s = span_begin(t, NULL, SPAN_AGENT, STR("tu\xffrn"));
	span_str(s, "a", STR("x\xc3"));
	span_str(s, "a", STR("\xe2\x82"));
	span_str(s, "b", STR("\xc3\xa4"));
	span_input(s, STR("{\"a\":"));
	span_output(s, STR("{\"a\": 1}"));
	(void)span_end(s, err_set(E_BUSY, "later \xc3"));
	assert_null(span_begin(NULL, s, SPAN_TOOL, STR("x")));
	end(&a, t);
	/* The arena is gone: the copy stands alone. */
	assert_true(str_eq(taken->spans->name, STR("tu?rn")));
	assert_true(str_eq(taken->spans->attrs->s, STR("??")));
	assert_true(str_eq(taken->spans->attrs->next->s, STR("\xc3\xa4")));
	assert_true(str_eq(taken->spans->input, STR("\"{\\\"a\\\":\"")));
	assert_true(str_eq(taken->spans->output, STR("{\"a\": 1}")));
	assert_true(str_eq(taken->spans->sentence, STR("later ?")));
	assert_int_equal(taken->spans->status, SPAN_ERROR);
	trace_unref(trace_ref(taken));
	trace_unref(taken);
}

static void the_tree(void **state)
{
	struct trace_span *root, *one, *two;
	const struct trace_span *c;
	struct arena a;
	struct trace *t = begin(&a, "");
	(void)state;

	root = span_begin(t, NULL, SPAN_AGENT, STR("turn"));
	one = span_begin(t, NULL, SPAN_TOOL, STR("one"));
	two = span_begin(t, one, SPAN_MEMORY, STR("two"));
	assert_ptr_equal(one->parent, root);
	assert_ptr_equal(two->parent, one);
	(void)span_end(two, OK);
	(void)span_end(one, OK);
	end(&a, t); /* the root was not ended: the turn was given up */
	c = taken->spans;
	assert_null(c->parent);
	assert_int_equal(c->status, SPAN_UNSET);
	assert_true(c->end_ns >= c->next->end_ns);
	assert_ptr_equal(c->next->next->parent, c->next);
	assert_ptr_equal(c->next->parent, c);
	assert_memory_not_equal(c->id, c->next->id, SPAN_ID_BYTES);
	trace_unref(taken);
}

static void callers_traces(void **state)
{
	static const struct {
		const char *parent;
		bool joined, sampled;
	} t[] = {{"", false, true},
		 {"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", true, true},
		 {"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-03", true, true},
		 {"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00", true, false},
		 {"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-02", true, false},
		 {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false, true},
		 {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false, true},
		 {"00-0AF7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", false, true},
		 {"01-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", false, true},
		 {"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01-x", false, true},
		 {"00-0af7651916cd43dd8448eb211c80319c_00f067aa0ba902b7-01", false, true},
		 {"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-0g", false, true}};
	(void)state;

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct arena a;
		struct trace *x = begin(&a, t[i].parent);

		if (x->joined != t[i].joined || x->sampled != t[i].sampled ||
		    (strncmp(x->hex, "0af7651916cd43dd8448eb211c80319c", 32) == 0) != t[i].joined ||
		    x->state.n != (t[i].joined ? 3 : 0))
			fail_msg("%s: %d %d %s", t[i].parent, x->joined, x->sampled, x->hex);
		arena_release(&a);
	}
}

/* Up to the last byte. */
static void the_last_bytes(void **state)
{
	char *big = malloc(TRACE_VALUE_MAX);
	struct trace_span *s;
	struct arena a;
	struct trace *t = begin(&a, "");
	size_t left;
	(void)state;

	memset(big, 'x', TRACE_VALUE_MAX);
	s = span_begin(t, NULL, SPAN_AGENT, STR("turn"));
	span_str(s, "f", STR(""));
	while ((left = TRACE_BYTES_MAX - t->bytes - sizeof(struct trace_attr)) > 2)
		span_str(s, "f", str_of(big, left - 3 < 60000 ? left - 3 : 30000));
	span_int(s, "a.name.that.is.longer.than.what.is.left", 1);
	assert_int_equal(t->bytes, TRACE_BYTES_MAX - 2);
	span_str(s, "more", str_of(big, TRACE_VALUE_MAX));
	assert_true(t->bytes <= TRACE_BYTES_MAX);
	end(&a, t);
	trace_unref(taken);
	free(big);
}

/* Without contents, what a tool says of its failure is none of the trace's business. */
static void sentences_of_tools(void **state)
{
	(void)state;
	for (int contents = 0; contents < 2; contents++) {
		struct trace_span *turn, *tool, *below;
		struct arena a;
		struct trace *t;

		wordy.contents = contents;
		t = begin(&a, "");
		turn = span_begin(t, NULL, SPAN_AGENT, STR("turn"));
		tool = span_begin(t, turn, SPAN_TOOL, STR("find"));
		below = span_begin(t, tool, SPAN_CHAIN, STR("get"));
		(void)span_end(below, err_set(E_UPSTREAM, "no marmalade"));
		(void)span_end(tool, err_set(E_UPSTREAM, "no marmalade"));
		(void)span_end(turn, err_set(E_UPSTREAM, "the model is down"));
		assert_true(str_eq(tool->sentence, contents ? STR("no marmalade") : STR("upstream")));
		assert_true(str_eq(below->sentence, tool->sentence) && str_eq(turn->sentence, STR("the model is down")));
		end(&a, t);
		trace_unref(taken);
	}
}

static void what_others_get(void **state)
{
	static const char parent[] = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-03";
	static const struct {
		const char *parent;
		bool sends, ours;
		const char *flags; /* NULL: nothing is sent */
	} t[] = {{"", false, false, NULL},
		 {"", true, true, "01"},
		 {parent, false, false, "01"},
		 {parent, true, true, "01"},
		 {"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00", true, false, "00"}};
	struct trace_context c;
	(void)state;

	span_context(NULL, &c);
	assert_true(c.parent[0] == 0 && c.state.n == 0);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct arena a;
		struct trace *x;
		struct traceparent tp;
		struct trace_span *s;

		wordy.sends = t[i].sends;
		x = begin(&a, t[i].parent);
		s = span_begin(x, span_begin(x, NULL, SPAN_AGENT, STR("turn")), SPAN_TOOL, STR("x"));
		span_context(s, &c);
		assert_int_equal(strlen(c.parent), t[i].flags ? TRACEPARENT_BYTES : 0);
		assert_int_equal(c.state.n, t[i].parent[0] ? 3 : 0);
		if (t[i].flags) {
			assert_true(traceparent_parse(str_c(c.parent), &tp));
			assert_memory_equal(tp.trace, x->id, TRACE_ID_BYTES);
			assert_memory_equal(tp.span, t[i].ours ? s->id : x->caller, SPAN_ID_BYTES);
			assert_string_equal(c.parent + 53, t[i].flags);
		}
		end(&a, x);
		trace_unref(taken);
	}
	wordy.sends = false;
}

/* A tracestate goes into headers of other requests. */
static void states_that_cannot_be(void **state)
{
	static const char *const bad[] = {"a=\x01", "a=\xc3\xa4", "a=\x7f"};
	static const struct str parent = STR_INIT("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01");
	(void)state;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct arena a;

		arena_init(&a, (size_t)16 << 20);
		assert_int_equal(trace_begin(&wordy, &a, &ann, parent, str_c(bad[i]))->state.n, 0);
		arena_release(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_is_wanted), cmocka_unit_test(too_many_and_too_much), cmocka_unit_test(texts_are_mended),
		cmocka_unit_test(the_tree),	  cmocka_unit_test(callers_traces),	   cmocka_unit_test(what_others_get),
		cmocka_unit_test(the_last_bytes), cmocka_unit_test(sentences_of_tools),	   cmocka_unit_test(states_that_cannot_be)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
