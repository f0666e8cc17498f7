/* What is learned from a turn: rules, a model's answers, merging and superseding, the queue over the fake store. */
#include "core/extract_impl.h"
#include "core/facts.h"
#include "core/summary.h"
#include "core/testing.h"
#include "core/thread.h"

/* ------------------------------------------------------------------------ rules */

static const struct {
	const char *said, *learned; /* "key=value" joined by "; " */
} statements[] = {
	{"My name is Ann Lee.", "name=Ann Lee"},
	{"Hi! I'm from Lyon and I live in Rome now.", "origin=Lyon; home=Rome"},
	{"I am living in S\xc3\xa3o Paulo with my wife.", "home=S\xc3\xa3o Paulo"},
	{"I live in St. Gallen.", "home=St. Gallen"},
	{"By the way, i\xe2\x80\x99ve moved to Milan last month", "home=Milan"},
	{"I work at Acme as a welder; I work as a night porter.", "employer=Acme; occupation=night porter"},
	{"I'm allergic to peanuts and sesame.", "allergy:peanuts and sesame=yes"},
	{"I am no longer allergic to Cats", "allergy:cats=no"},
	{"I like tea. I don't like coffee! I no longer like Tea", "taste:tea=likes; taste:coffee=dislikes; taste:tea=dislikes"},
	{"I prefer tea to coffee. I prefer coffee over tea.", "prefers:coffee/tea=tea; prefers:coffee/tea=coffee"},
	{"My favourite colour is dark green, my favorite dish is ramen", "favourite colour=dark green"},
	{"I'm a vegetarian. I'm vegan.", "diet=vegetarian; diet=vegan"},
	{"My wife's name is Ada and my dog is called Rex.", "wife=Ada; dog:rex=Rex"},
	{"I have a daughter named Zo\xc3\xab.", "daughter:zoe=Zo\xc3\xab"},
	{"My birthday is on 3 May.", "birthday=3 May"},
	{"Please remember that my locker code word is marzipan.", "locker code word=marzipan"},
	{"Remember that the bins go out on Tuesdays.", "note:the bins go out on tuesdays=the bins go out on Tuesdays"},
	{"My time zone is Europe/Rome", "time zone=Europe/Rome"},
	/* None of these is a statement of the user's about themselves. */
	{"Do I live in Rome?", ""},
	{"If I live in Rome, who is my mayor?", ""},
	{"I live in Rome if you will.", ""},
	{"She said I live in Rome.", ""},
	{"\"I live in Rome\" is what he wrote.", ""},
	{"> I live in Rome\n> My name is Bob", ""},
	{"```\nMy name is Bob.\n```", ""},
	{"I live in fear and in a small town", ""},
	{"I like it. I love you. I like that idea. I hate this.", ""},
	{"I work at night. Call me later.", ""},
	{"I'm tired. I am a bit lost. I'm not sure I live in Rome.", ""},
	{"I would like to know what I like.", ""},
	{"I used to live in Rome and I do not live in Oslo.", ""},
	{"My birthday is soon. My name is not important.", ""},
	{"I prefer it. My wife is called away.", ""},
	{"", ""},
	{"\xff\xfe I live in \x80", ""},
};

static void test_rules(void **state)
{
	struct arena a;
	(void)state;

	arena_init(&a, 4 << 20);
	for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
		struct learned l = {NULL};
		struct buf b;

		buf_init(&b, &a, 1 << 16);
		OKAY(rules_find(&a, str_c(statements[i].said), &l));
		for (size_t k = 0; k < l.facts_n; k++)
			buf_printf(&b, "%s%.*s=%.*s", k ? "; " : "", STR_ARG(l.facts[k].key), STR_ARG(l.facts[k].value));
		if (!str_eq(buf_slice(&b), str_c(statements[i].learned)))
			fail_msg("\"%s\" gave \"%.*s\" and not \"%s\"", statements[i].said, (int)b.n, b.n ? b.p : "",
				 statements[i].learned);
		assert_int_equal(rules_apply(str_c(statements[i].said)), statements[i].learned[0] != 0);
	}
	arena_release(&a);
}

/* Cut anywhere, nothing breaks; and there is an end to what one message gives. */
static void test_rules_bounded(void **state)
{
	static const char one[] = "Please remember that my wife's name is Ada and I prefer tea to coffee because I live in Rome. ";
	struct learned l = {NULL};
	struct arena a;
	struct buf b;
	(void)state;

	arena_init(&a, 64 << 20);
	for (size_t n = 0; n < sizeof one; n++)
		for (size_t from = 0; from <= n; from += 3)
			OKAY(rules_find(&a, str_of(one + from, n - from), &(struct learned){NULL}));
	buf_init(&b, &a, 1 << 20);
	for (int i = 0; i < 5000; i++)
		buf_printf(&b, "I like thing%d.\n", i);
	OKAY(rules_find(&a, buf_slice(&b), &l));
	assert_int_equal(l.facts_n, RULES_FACTS_MAX);
	arena_release(&a);
}

/* ------------------------------------------------------------------------ model */

#define FACT(kind, key, quote)                                                                                                     \
	"{\"kind\":\"" kind "\",\"key\":\"" key "\",\"value\":\"v\",\"text\":\"The user v.\",\"quote\":\"" quote                   \
	"\",\"replaces\":null}"
#define ANSWER(facts, entities, relations) "{\"facts\":[" facts "],\"entities\":[" entities "],\"relations\":[" relations "]}"
#define ADA "{\"name\":\"Ada\",\"type\":\"cat\",\"notes\":[]}"
#define HAS_ADA(replaces) "{\"from\":\"user\",\"relation\":\"has\",\"to\":\"Ada\",\"replaces\":" replaces "}"

static void test_answers(void **state)
{
	static const char said[] = "My cat ADA drinks  green tea.";
	static const struct {
		const char *answer, *wrong; /* NULL: right */
		size_t facts, entities, links;
		uint64_t ungrounded;
	} cases[] = {
		{ANSWER("", "", ""), NULL, 0, 0, 0, 0},
		{"```json\n" ANSWER(FACT("fact", "cat", "my cat Ada"), "", "") "\n```", NULL, 1, 0, 0, 0},
		{ANSWER(FACT("fact", "cat", "my cat Ada") "," FACT("preference", "k", "reen te"), "", ""), NULL, 1, 0, 0, 1},
		{ANSWER("", ADA ",{\"name\":\"Bob\",\"type\":\"cat\",\"notes\":[\"x\"]}",
			"{\"from\":\"the "
			"user\",\"relation\":\"has\",\"to\":\"ada\"},{\"from\":\"Bob\",\"relation\":\"has\",\"to\":\"Ada\"}"),
		 NULL, 0, 1, 1, 1},
		{"", "1", 0, 0, 0, 0},
		{"I cannot do that.", "1", 0, 0, 0, 0},
		{"[]", "object", 0, 0, 0, 0},
		{"{\"facts\":[],\"entities\":[]}", "relations must be an array", 0, 0, 0, 0},
		{ANSWER(FACT("wish", "k", "my"), "", ""), "facts.kind", 0, 0, 0, 0},
		{ANSWER("3", "", ""), "facts.kind", 0, 0, 0, 0},
		{ANSWER(FACT("fact", "", "my"), "", ""), "facts.key", 0, 0, 0, 0},
		{ANSWER("", "{\"name\":\"Ada\",\"type\":\"a:b\",\"notes\":[]}", ""), "entities.type", 0, 0, 0, 0},
		{ANSWER("", "{\"name\":\"Ada\",\"type\":\"cat\",\"notes\":[3]}", ""), "entities.notes", 0, 0, 0, 0},
		{ANSWER("", "{\"name\":\"Ada\",\"type\":\"cat\"}", ""), "entities.notes", 0, 0, 0, 0},
		{ANSWER("", ADA, "{\"from\":\"user\",\"to\":\"Ada\"}"), "relations.relation", 0, 0, 0, 0},
		{ANSWER("", ADA, HAS_ADA("3")), "relations.replaces", 0, 0, 0, 0},
		{ANSWER("", ADA, HAS_ADA("\"yes\"")), "relations.replaces", 0, 0, 0, 0},
	};
	struct arena a;
	(void)state;

	arena_init(&a, 16 << 20);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct learned l;
		uint64_t ungrounded;
		enum err e = extract_read(&a, str_c(cases[i].answer), str_c(said), &l, &ungrounded);

		if (cases[i].wrong) {
			assert_string_equal(err_name(e), err_name(E_INVALID));
			if (cases[i].wrong[0] != '1' && !strstr(diag_get()->text, cases[i].wrong))
				fail_msg("%s: %s", cases[i].answer, diag_get()->text);
			continue;
		}
		OKAY(e);
		assert_int_equal(l.facts_n, cases[i].facts);
		assert_int_equal(l.entities_n, cases[i].entities);
		assert_int_equal(l.links_n, cases[i].links);
		assert_int_equal(ungrounded, cases[i].ungrounded);
	}
	arena_release(&a);
}

/* A relation takes the place of others when the model says so; one that leaves it out does not. */
static void test_replaces(void **state)
{
	static const char said[] = "My cat ADA";
	struct learned l;
	struct arena a;
	uint64_t ungrounded;
	(void)state;

	arena_init(&a, 16 << 20);
	OKAY(extract_read(
		&a,
		STR(ANSWER("", ADA,
			   HAS_ADA("true") "," HAS_ADA("false") ",{\"from\":\"user\",\"relation\":\"has\",\"to\":\"Ada\"}")),
		str_c(said), &l, &ungrounded));
	assert_int_equal(l.links_n, 3);
	assert_true(l.links[0].r.replaces && !l.links[1].r.replaces && !l.links[2].r.replaces);
	arena_release(&a);
}

/* -------------------------------------------------------------------------- facts */

static struct learn_counts learn(struct bench *b, const char *user, const char *key, const char *value, const char *replaces,
				 int64_t at)
{
	struct learned_fact f = {.key = str_c(key),
				 .value = str_c(value),
				 .text = arena_printf(&b->a, "The user's %s is %s.", key, value),
				 .replaces = str_c(replaces)};
	const struct learned what = {.facts = &f, .facts_n = 1};
	const struct learn_source from = {STR("t"), STR("msg_1"), at};
	struct learn_counts c = {0};
	struct known_fact *known;
	size_t n;

	OKAY(learn_known(b->m, &b->a, &ann, str_c(user), &known, &n));
	OKAY(learn_keep(b->m, &b->a, &ann, str_c(user), &what, &from, known, n, &c));
	return c;
}

static void test_facts(void **state)
{
	struct fact_history h = {.ns = STR("user_memories.ann.facts"), .key = STR("home"), .limit = 10};
	struct bench b;
	(void)state;

	bench_init(&b);
	assert_int_equal(learn(&b, "ann", "home", "Rome", "", 100).added, 1);
	assert_int_equal(learn(&b, "ann", "home", "ROME ", "", 200).merged, 1);
	assert_int_equal(learn(&b, "ann", "home", "Milan", "", 300).superseded, 1);
	/* What is older than what is known is not taken for news, be it under the key or in place of it. */
	assert_int_equal(learn(&b, "ann", "home", "Oslo", "", 250).merged, 1);
	assert_int_equal(learn(&b, "ann", "city", "Turin", "home", 250).superseded, 0);
	assert_non_null(strstr(value_as(&b, &ann, "user_memories.ann.facts", "home"), "Milan"));
	OKAY(facts_history(b.m, &b.a, &ann, &h));
	assert_int_equal(h.n, 1);
	assert_int_equal(h.v[0].valid_from_us, 100);
	assert_int_equal(h.v[0].ended_us, 300);
	/* The same sentence under another key is the same; another key may be replaced. */
	assert_int_equal(learn(&b, "ann", "home", "Bonn", "city", 400).superseded, 2);
	assert_string_equal(value_as(&b, &ann, "user_memories.ann.facts", "city"), "");
	assert_non_null(strstr(value_as(&b, &ann, "user_memories.ann.facts", "home"),
			       "\"source\":{\"thread\":\"t\",\"item\":\"msg_1\",\"time\":\"1970-01-01T00:00:00.000Z\"}"));
	/* Others' are others'. */
	assert_int_equal(learn(&b, "bob", "home", "Rome", "", 500).superseded, 0);
	assert_non_null(strstr(value_as(&b, &ann, "user_memories.ann.facts", "home"), "Bonn"));
	bench_release(&b);
}

/* ----------------------------------------------------------------------- entities */

static void link_up(struct bench *b, const char *from, const char *relation, const char *to)
{
	struct entity_ref ref = {str_c(from), STR("person")};
	const struct entity_relation r = {.relation = str_c(relation), .to = {str_c(to), STR("person")}, .source = STR("")};
	bool added;

	OKAY(entity_link(b->m, &b->a, &ann, STR("ann"), &ref, &r, &added));
}

static void test_entities(void **state)
{
	struct str notes[] = {STR("tall"), STR("Tall."), STR("kind")};
	struct entity e = {.ref = {STR("  ADA  Byron"), STR("Person")}, .notes = notes, .notes_n = 3, .source = STR("")};
	struct entity_graph g = {.start = {STR("ada byron"), STR("")}, .hops = 2, .limit = 10};
	struct bench b;
	bool created;
	(void)state;

	bench_init(&b);
	OKAY(entity_put(b.m, &b.a, &ann, STR("ann"), &e, &created));
	assert_true(created);
	e.ref.name = STR("Ada Byron");
	OKAY(entity_put(b.m, &b.a, &ann, STR("ann"), &e, &created));
	assert_false(created);
	link_up(&b, "Ada Byron", "knows", "B");
	link_up(&b, "B", "knows", "C");
	link_up(&b, "C", "knows", "D");
	link_up(&b, "E", "knows", "B");
	OKAY(entity_graph(b.m, &b.a, &ann, STR("ann"), &g));
	assert_int_equal(g.v[0].notes_n, 2);
	assert_int_equal(g.n, 4); /* Ada, B, then C and E; D is three hops away */
	assert_true(g.hop[1] == 1 && g.hop[2] == 2 && g.hop[3] == 2 && !g.cut);
	assert_int_equal(g.edges_n, 3);
	g.limit = 2;
	OKAY(entity_graph(b.m, &b.a, &ann, STR("ann"), &g));
	assert_true(g.n == 2 && g.cut);
	OKAY(entity_remove(b.m, &b.a, &ann, STR("ann"), &(struct entity_ref){STR("B"), STR("")}));
	g.limit = 10;
	OKAY(entity_graph(b.m, &b.a, &ann, STR("ann"), &g));
	assert_int_equal(g.n, 1);
	FAILS(entity_graph(b.m, &b.a, &ann, STR("bob"), &g), E_NOT_FOUND);
	FAILS(entity_graph(b.m, &b.a, &bound, STR("ann"), &g), E_DENIED);
	bench_release(&b);
}

#define ENTITIES STR("user_memories.ann.entities")

/* As a turn of that time: what the user is said to be related to now, "relation=name@since" in the order of what was said. */
static const char *relate(struct bench *b, const char *relation, const char *to, bool replaces, int64_t at)
{
	struct learned_link link = {.from = {STR(ENTITY_USER), STR("person")},
				    .r = {.relation = str_c(relation), .to = {str_c(to), STR("place")}, .replaces = replaces}};
	const struct learned what = {.links = &link, .links_n = 1};
	const struct learn_source from = {STR("t"), arena_printf(&b->a, "msg_%lld", (long long)at), at};
	struct op_get get = {.ns = ENTITIES, .key = STR("person:user"), .refresh = TRI_NO};
	struct learn_counts c = {0};
	struct entity e;
	struct buf out;

	OKAY(learn_keep(b->m, &b->a, &ann, STR("ann"), &what, &from, NULL, 0, &c));
	OKAY(memory_get(b->m, &b->a, &ann, &get));
	OKAY(entity_parse(&b->a, &get.item, &e));
	buf_init(&out, &b->a, 1 << 16);
	for (size_t i = 0; i < e.relations_n; i++) {
		const struct entity_relation *r = &e.relations[i];

		buf_printf(&out, "%s%.*s=%.*s@%lld", i ? "; " : "", STR_ARG(r->relation), STR_ARG(r->to.name),
			   (long long)r->since_us);
		/* Each says which turn it came from. */
		if (r->since_us)
			assert_non_null(memmem(r->source.p, r->source.n, "\"msg_", 5));
	}
	buf_byte(&out, 0);
	return out.p;
}

static void test_relations_supersede(void **state)
{
	struct bench b;
	(void)state;

	bench_init(&b);
	assert_string_equal(relate(&b, "lives in", "Rome", true, 100), "lives in=Rome@100");
	assert_string_equal(relate(&b, "lives in", "ROME", true, 150), "lives in=Rome@100"); /* the same again */
	assert_string_equal(relate(&b, "likes", "Oslo", false, 200), "lives in=Rome@100; likes=Oslo@200");
	assert_string_equal(relate(&b, "Lives in", "Milan", true, 300), "likes=Oslo@200; Lives in=Milan@300");
	/* Turns that are looked through late: what is older changes nothing that is newer, whatever it says of itself. */
	assert_string_equal(relate(&b, "lives in", "Bonn", true, 250), "likes=Oslo@200; Lives in=Milan@300");
	assert_string_equal(relate(&b, "lives in", "Rome", false, 100), "likes=Oslo@200; Lives in=Milan@300");
	assert_string_equal(relate(&b, "likes", "Turin", false, 100), "likes=Oslo@200; Lives in=Milan@300; likes=Turin@100");
	/* Several at a time, when it is said so; the next one that is alone ends them all. */
	assert_string_equal(relate(&b, "lives in", "Lyon", false, 400),
			    "likes=Oslo@200; Lives in=Milan@300; likes=Turin@100; lives in=Lyon@400");
	assert_string_equal(relate(&b, "lives in", "Bern", true, 350),
			    "likes=Oslo@200; likes=Turin@100; lives in=Lyon@400; lives in=Bern@350");
	assert_string_equal(relate(&b, "lives in", "Lyon", true, 500), "likes=Oslo@200; likes=Turin@100; lives in=Lyon@400");
	assert_string_equal(relate(&b, "lives in", "Bern", true, 350), "likes=Oslo@200; likes=Turin@100; lives in=Lyon@400");
	bench_release(&b);
}

/* Relations of earlier builds say no time: any turn is newer. */
static void test_relations_of_earlier_builds(void **state)
{
	struct bench b;
	(void)state;

	bench_init(&b);
	put(&b, "user_memories.ann.entities", "person:user",
	    "{\"name\":\"user\",\"type\":\"person\",\"notes\":[\"tall\"],\"relations\":[{\"relation\":\"lives "
	    "in\",\"name\":\"Rome\",\"type\":\"place\"},{\"relation\":\"likes\",\"name\":\"Oslo\",\"type\":\"place\"}]}");
	assert_string_equal(relate(&b, "lives in", "Milan", true, 100), "likes=Oslo@0; lives in=Milan@100");
	assert_string_equal(relate(&b, "likes", "Oslo", false, 200), "likes=Oslo@200; lives in=Milan@100");
	assert_non_null(strstr(value_as(&b, &ann, "user_memories.ann.entities", "person:user"), "\"notes\":[\"tall\"]"));
	bench_release(&b);
}

static size_t edges_as_of(struct bench *b, int64_t at, struct entity_graph *g)
{
	*g = (struct entity_graph){.start = {STR(ENTITY_USER), STR("")}, .hops = 1, .limit = 10, .as_of_us = at};
	OKAY(entity_graph(b->m, &b->a, &ann, STR("ann"), g));
	return g->edges_n;
}

/* What ended is in the history, as other facts are: in graphs and lists as of a time, and nowhere else. */
static void test_entities_as_of(void **state)
{
	struct op_get get = {.ns = ENTITIES, .key = STR("person:user"), .refresh = TRI_NO};
	struct fact_history h = {.ns = ENTITIES, .key = get.key, .limit = 10};
	struct entity_list l = {.limit = 2};
	struct entity_graph g;
	struct bench b;
	int64_t then;
	(void)state;

	bench_init(&b);
	relate(&b, "lives in", "Rome", true, 100);
	OKAY(memory_get(b.m, &b.a, &ann, &get));
	then = get.item.updated_us;
	relate(&b, "lives in", "Milan", true, 300);
	assert_int_equal(edges_as_of(&b, 0, &g), 1);
	assert_true(str_eq(g.v[1].ref.name, STR("Milan")) && g.edges[0].r->since_us == 300 && g.n == 2);
	assert_int_equal(edges_as_of(&b, then, &g), 1);
	assert_true(str_eq(g.v[1].ref.name, STR("Rome")) && g.edges[0].r->since_us == 100 && g.n == 2);
	assert_true(
		str_eq(g.edges[0].r->source, STR("{\"thread\":\"t\",\"item\":\"msg_100\",\"time\":\"1970-01-01T00:00:00.000Z\"}")));
	OKAY(facts_history(b.m, &b.a, &ann, &h));
	assert_true(h.n == 1 && h.v[0].valid_from_us == 100 && h.v[0].ended_us == 300);
	l.as_of_us = then;
	OKAY(entity_list(b.m, &b.a, &ann, STR("ann"), &l));
	assert_true(l.n == 2 && !l.more && str_eq(l.v[0].key, STR("person:user")) && str_eq(l.v[1].key, STR("place:rome")));
	l.after = l.v[0].key;
	OKAY(entity_list(b.m, &b.a, &ann, STR("ann"), &l));
	assert_true(l.n == 1 && str_eq(l.v[0].key, STR("place:rome")));
	/* An entity that is removed takes its history along. */
	OKAY(entity_remove(b.m, &b.a, &ann, STR("ann"), &(struct entity_ref){STR("Rome"), STR("")}));
	assert_int_equal(edges_as_of(&b, then, &g), 0);
	bench_release(&b);
}

/* A prompt gets what a relation says, not where it was said; what others have put there stays as it is. */
static void test_brief(void **state)
{
	static const char value[] =
		"{\"name\":\"user\",\"own\":[1],\"relations\":[{\"relation\":\"lives in\",\"name\":\"Rome\",\"type\":\"place\","
		"\"since\":\"2026-08-20T07:02:48.123456Z\",\"replaces\":true,\"source\":{\"thread\":\"t\"}},7],\"source\":{"
		"\"thread\":\"t\"}}";
	struct item it = {.ns = ENTITIES, .key = STR("person:user"), .value = STR(value)};
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	assert_string_equal(arena_cstr(&a, entity_brief(&a, &it)),
			    "{\"name\":\"user\",\"own\":[1],\"relations\":[{\"relation\":\"lives in\",\"name\":\"Rome\",\"type\":"
			    "\"place\"},7],\"source\":{\"thread\":\"t\"}}");
	it.ns = STR("user_memories.ann.facts");
	assert_string_equal(arena_cstr(&a, entity_brief(&a, &it)), value);
	arena_release(&a);
}

/* -------------------------------------------------------------------------- queue */

struct scripted {
	struct llm base;
	const char *const *answers; /* NULL at the end: the last one goes on */
	enum err fail;
	const char *poison; /* at which it fails, too */
	unsigned asked;
	enum llm_finish finish;
};

static enum err scripted_chat(struct llm *l, struct arena *a, const struct llm_request *rq, struct llm_answer *out)
{
	struct scripted *s = (struct scripted *)l;
	(void)a;

	*out = (struct llm_answer){.text = STR(""), .finish = s->finish};
	s->asked++;
	assert_true(rq->no_defaults);
	if (s->fail || (s->poison && memmem(rq->messages[1].text.p, rq->messages[1].text.n, s->poison, strlen(s->poison))))
		return err_set(s->fail ? s->fail : E_UPSTREAM, "the model is down");
	out->text = str_c(s->answers[0]);
	s->answers += s->answers[1] != NULL;
	return OK;
}
static const struct llm_ops scripted_ops = {.chat = scripted_chat};

static int64_t say(struct bench *b, struct extract *x, const char *user, const char *text, bool ready)
{
	struct principal who = {.tenant = STR("default"), .user = str_c(user), .rights = RIGHT_ALL, .id = STR("t")};
	struct session_entry v = {.data = arena_printf(&b->a, "{\"role\":\"user\",\"content\":\"%s\"}", text)};
	struct entry_append add = {.thread = STR("t"), .v = &v, .n = 1};
	struct str name;

	OKAY(entries_append(b->m, &b->a, &ann, &add));
	OKAY(extract_note(x, &b->a, &who, &(struct extract_turn_of){.thread = STR("t")}, &v, 1, &name));
	if (ready)
		extract_ready(x, &b->a, &who, &(struct extract_turn_of){.thread = STR("t")}, name, false);
	return v.id;
}

static void do_all(struct extract *x)
{
	bool any = true;

	while (any)
		OKAY(extract_step(x, &any));
}

/* A turn that was noted is done though its process ended; one whose words were removed is not. */
static void test_queue(void **state)
{
	struct extract_options opt = {.mode = EXTRACT_RULES, .window = 20};
	struct extract *x;
	struct bench b;
	int64_t gone;
	(void)state;

	bench_init(&b);
	opt.memory = b.m;
	OKAY(extract_new(&opt, &x));
	say(&b, x, "ann", "I live in Rome.", false);
	gone = say(&b, x, "ann", "I work at Acme.", false);
	say(&b, x, "", "I live in Oslo.", true);
	do_all(x);
	assert_string_equal(value_as(&b, &ann, "user_memories.ann.facts", "home"), "");
	extract_free(x);
	OKAY(entries_delete(b.m, &ann, STR("t"), gone));
	OKAY(extract_new(&opt, &x));
	OKAY(extract_find(x, 0));
	do_all(x);
	assert_non_null(strstr(value_as(&b, &ann, "user_memories.ann.facts", "home"), "Rome"));
	assert_string_equal(value_as(&b, &ann, "user_memories.ann.facts", "employer"), "");
	OKAY(extract_find(x, 0));
	bool any;
	OKAY(extract_step(x, &any));
	assert_false(any);
	extract_free(x);
	bench_release(&b);
}

/* However much has been left, all of it is found. */
static void test_much_is_left(void **state)
{
	enum { NOTES = 140, LONG = 1 << 20 };
	struct extract_options opt = {.mode = EXTRACT_RULES, .window = 20};
	struct store *s;
	struct extract *x;
	struct bench b;
	struct buf note, out;
	char name[40];
	(void)state;

	bench_init(&b);
	s = memory_store(b.m);
	opt.memory = b.m;
	buf_init(&note, NULL, 2 * LONG);
	buf_lit(&note, "{\"thread\":\"");
	for (int i = 0; i < LONG; i++)
		buf_byte(&note, 'x');
	buf_printf(&note, "\",\"user\":\"ann\",\"at\":%lld,\"entries\":[]}", (long long)clock_wall_us());
	for (int i = 0; i < NOTES; i++) {
		snprintf(name, sizeof name, "turn:%020d", i);
		OKAY(s->ops->meta_put(s, &ann, str_c(name), buf_slice(&note)));
	}
	buf_release(&note);
	OKAY(extract_new(&opt, &x));
	OKAY(extract_find(x, 0));
	buf_init(&out, NULL, 1 << 20);
	extract_metrics(x, &out);
	buf_byte(&out, 0);
	assert_non_null(strstr(out.p, "\ncenote_extract_waiting 140\n"));
	buf_release(&out);
	extract_free(x);
	bench_release(&b);
}

/* A model that is down is asked again; one that refuses is not. */
static void test_model_failures(void **state)
{
	static const char *const answers[] = {"?", ANSWER(FACT("fact", "home", "in Rome"), "", ""), NULL};
	struct scripted model = {.base = {.ops = &scripted_ops}, .answers = answers, .fail = E_UPSTREAM};
	struct extract_options opt = {.mode = EXTRACT_MODEL, .llm = &model.base, .window = 20};
	struct extract *x;
	struct bench b;
	bool any;
	(void)state;

	bench_init(&b);
	opt.memory = b.m;
	OKAY(extract_new(&opt, &x));
	say(&b, x, "ann", "I am in Rome.", true);
	FAILS(extract_step(x, &any), E_UPSTREAM);
	FAILS(extract_step(x, &any), E_UPSTREAM);
	model.fail = OK;
	do_all(x);
	assert_int_equal(model.asked, 4); /* the last one repaired what "?" was */
	assert_non_null(strstr(value_as(&b, &ann, "user_memories.ann.facts", "home"), "\"text\":\"The user v.\""));
	model.fail = E_INVALID;
	say(&b, x, "ann", "I am in Milan.", true);
	do_all(x);
	OKAY(extract_find(x, 0));
	do_all(x);
	assert_int_equal(model.asked, 5);
	extract_free(x);
	bench_release(&b);
}

/* What a model always fails at holds up nobody else, but what the same user said behind it. */
static void test_one_that_always_fails(void **state)
{
	static const char *const answers[] = {ANSWER("", "", ""), NULL};
	struct scripted model = {.base = {.ops = &scripted_ops}, .answers = answers, .poison = "poison"};
	struct extract_options opt = {.mode = EXTRACT_MODEL, .llm = &model.base, .window = 20};
	struct extract *x;
	struct bench b;
	struct buf out;
	bool any = true;
	(void)state;

	bench_init(&b);
	opt.memory = b.m;
	OKAY(extract_new(&opt, &x));
	say(&b, x, "ann", "I am poison.", true);
	say(&b, x, "ann", "I am in Rome.", true);
	say(&b, x, "bob", "I am in Oslo.", true);
	say(&b, x, "cid", "I am in Bonn.", true);
	for (int i = 0; i < 100 && any; i++)
		(void)!extract_step(x, &any);
	assert_false(any);
	buf_init(&out, NULL, 1 << 20);
	extract_metrics(x, &out);
	buf_byte(&out, 0);
	assert_non_null(strstr(out.p, "\ncenote_extract_turns_total 2\n"));
	assert_non_null(strstr(out.p, "\ncenote_extract_waiting 2\n"));
	buf_release(&out);
	extract_free(x);
	bench_release(&b);
}

/* ------------------------------------------------------------------------ summary */

static void test_summary(void **state)
{
	static const char *const answers[] = {"one", "two", NULL};
	struct scripted model = {.base = {.ops = &scripted_ops}, .answers = answers};
	struct extract_options opt = {.mode = EXTRACT_OFF, .window = 4};
	struct extract *x;
	struct summary s;
	struct bench b;
	int64_t ids[8];
	struct summary_work w = {.keep = 2, .least = 5};
	(void)state;

	bench_init(&b);
	opt.memory = b.m;
	OKAY(extract_new(&opt, &x));
	for (int i = 0; i < 6; i++)
		ids[i] = say(&b, x, "ann", "hello", false);
	OKAY(summary_make(b.m, &model.base, &b.a, &ann, STR("t"), &w, &s));
	assert_true(w.made == 0 && s.upto == 0);
	w.least = 1;
	OKAY(summary_make(b.m, &model.base, &b.a, &ann, STR("t"), &w, &s));
	assert_true(w.made == 1 && s.upto == ids[3] && s.covered == 4 && str_eq(s.text, STR("one")));
	ids[6] = say(&b, x, "ann", "hello", false);
	/* One that breaks off takes nothing's place. */
	for (size_t i = 0; i < 2; i++) {
		static const char *const half[] = {"tw", NULL};

		model.answers = half;
		model.finish = i == 0 ? LLM_LENGTH : LLM_FILTER;
		FAILS(summary_make(b.m, &model.base, &b.a, &ann, STR("t"), &w, &s), E_UPSTREAM);
		OKAY(summary_load(b.m, &b.a, &ann, STR("t"), &s));
		assert_true(s.upto == ids[3] && str_eq(s.text, STR("one")));
	}
	model.answers = answers + 1;
	model.finish = LLM_STOP;
	OKAY(summary_make(b.m, &model.base, &b.a, &ann, STR("t"), &w, &s));
	assert_true(w.made == 1 && s.upto == ids[4] && s.covered == 5 && str_eq(s.text, STR("two")));
	/* What it does not cover may go; with what it covers it goes. */
	OKAY(entries_delete(b.m, &ann, STR("t"), ids[6]));
	OKAY(summary_load(b.m, &b.a, &ann, STR("t"), &s));
	assert_int_equal(s.upto, ids[4]);
	OKAY(entries_delete(b.m, &ann, STR("t"), ids[0]));
	OKAY(summary_load(b.m, &b.a, &ann, STR("t"), &s));
	assert_int_equal(s.upto, 0);
	extract_free(x);
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules),

					   cmocka_unit_test(test_rules_bounded),
					   cmocka_unit_test(test_answers),
					   cmocka_unit_test(test_facts),
					   cmocka_unit_test(test_replaces),
					   cmocka_unit_test(test_entities),
					   cmocka_unit_test(test_relations_supersede),
					   cmocka_unit_test(test_relations_of_earlier_builds),
					   cmocka_unit_test(test_entities_as_of),
					   cmocka_unit_test(test_brief),
					   cmocka_unit_test(test_queue),
					   cmocka_unit_test(test_much_is_left),
					   cmocka_unit_test(test_summary),
					   cmocka_unit_test(test_model_failures),
					   cmocka_unit_test(test_one_that_always_fails)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
