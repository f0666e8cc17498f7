/* Facts by rules: what a user states of themselves in plain English. Few patterns, each of which means what it says; a statement
 * that is a question, has a condition, is quoted or stands in a block of code is none.
 *
 * Invariants
 *  1. A pattern stands at the beginning of a clause, so "she said I live in Rome" is not the user's.
 *  2. A fact's key follows from the pattern, and from what is liked, avoided or named: what is said later finds the same key. */
#include <string.h>

#include "base/utf8.h"
#include "core/extract_impl.h"
#include "core/normal.h"

enum flag {
	PROPER = 1,   /* begins with a capital, or a letter that is not ASCII */
	DIGIT = 2,    /* has a digit */
	KEEP_AND = 4, /* may be several things */
	PREFERENCE = 8,
	DIET = 16,
	NO_POINTER = 32, /* not "it", "that", "you": what was meant is not in the words */
	ONE = 64,	 /* there is one such relation at a time */
};
/* "@" stands for what was said. */
struct rule {
	const char *begin, *key, *value, *text;
	unsigned flags, words;
	const char *relation, *type;
};

#define LIVES(begin)                                                                                                               \
	{                                                                                                                          \
		begin, "home", "@", "The user lives in @.", PROPER | ONE, 5, "lives in", "place"                                   \
	}
#define FROM(begin)                                                                                                                \
	{                                                                                                                          \
		begin, "origin", "@", "The user is from @.", PROPER | ONE, 5, "is from", "place"                                   \
	}
#define WORKS(begin)                                                                                                               \
	{                                                                                                                          \
		begin, "employer", "@", "The user works at @.", PROPER | ONE, 6, "works at", "organisation"                        \
	}
#define JOB(begin)                                                                                                                 \
	{                                                                                                                          \
		begin, "occupation", "@", "The user works as @.", NO_POINTER, 6, NULL, NULL                                        \
	}
#define ALLERGIC(begin)                                                                                                            \
	{                                                                                                                          \
		begin, "allergy:@", "yes", "The user is allergic to @.", KEEP_AND | NO_POINTER, 5, NULL, NULL                      \
	}
#define NOT_ALLERGIC(begin)                                                                                                        \
	{                                                                                                                          \
		begin, "allergy:@", "no", "The user is not allergic to @.", KEEP_AND | NO_POINTER, 5, NULL, NULL                   \
	}
#define LIKES(begin)                                                                                                               \
	{                                                                                                                          \
		begin, "taste:@", "likes", "The user likes @.", PREFERENCE | KEEP_AND | NO_POINTER, 6, NULL, NULL                  \
	}
#define DISLIKES(begin)                                                                                                            \
	{                                                                                                                          \
		begin, "taste:@", "dislikes", "The user does not like @.", PREFERENCE | KEEP_AND | NO_POINTER, 6, NULL, NULL       \
	}
#define EATS(begin)                                                                                                                \
	{                                                                                                                          \
		begin, "diet", "@", "The user is @.", DIET | PREFERENCE, 2, NULL, NULL                                             \
	}
static const struct rule rules[] = {
	{"my name is ", "name", "@", "The user's name is @.", NO_POINTER, 4, NULL, NULL},
	{"my name's ", "name", "@", "The user's name is @.", NO_POINTER, 4, NULL, NULL},
	{"call me ", "called", "@", "The user wants to be called @.", PROPER | PREFERENCE, 3, NULL, NULL},
	LIVES("i live in "),
	LIVES("i now live in "),
	LIVES("i'm living in "),
	LIVES("i moved to "),
	LIVES("i've moved to "),
	LIVES("i just moved to "),
	LIVES("i've just moved to "),
	FROM("i'm from "),
	FROM("i come from "),
	WORKS("i work at "),
	WORKS("i work for "),
	WORKS("i now work at "),
	WORKS("i now work for "),
	WORKS("i'm working at "),
	WORKS("i'm working for "),
	JOB("i work as an "),
	JOB("i work as a "),
	JOB("i'm working as an "),
	JOB("i'm working as a "),
	{"my birthday is on ", "birthday", "@", "The user's birthday is @.", DIGIT, 4, NULL, NULL},
	{"my birthday is ", "birthday", "@", "The user's birthday is @.", DIGIT, 4, NULL, NULL},
	{"i was born on ", "birthday", "@", "The user was born on @.", DIGIT, 4, NULL, NULL},
	ALLERGIC("i'm allergic to "),
	NOT_ALLERGIC("i'm not allergic to "),
	NOT_ALLERGIC("i'm no longer allergic to "),
	LIKES("i like "),
	LIKES("i love "),
	LIKES("i enjoy "),
	LIKES("i really like "),
	LIKES("i really love "),
	DISLIKES("i don't like "),
	DISLIKES("i really don't like "),
	DISLIKES("i no longer like "),
	DISLIKES("i dislike "),
	DISLIKES("i hate "),
	DISLIKES("i can't stand "),
	EATS("i'm a "),
	EATS("i'm "),
	{"i speak ", "language:@", "yes", "The user speaks @.", PROPER | KEEP_AND, 5, NULL, NULL},
	{"my native language is ", "first language", "@", "The user's first language is @.", PROPER, 2, NULL, NULL},
	{"my first language is ", "first language", "@", "The user's first language is @.", PROPER, 2, NULL, NULL},
	{"my mother tongue is ", "first language", "@", "The user's first language is @.", PROPER, 2, NULL, NULL},
	{"my pronouns are ", "pronouns", "@", "The user's pronouns are @.", 0, 2, NULL, NULL},
	{"my time zone is ", "time zone", "@", "The user's time zone is @.", 0, 3, NULL, NULL},
	{"my timezone is ", "time zone", "@", "The user's time zone is @.", 0, 3, NULL, NULL},
};

/* Whom one has one of, and whom several. */
static const struct {
	const char *name, *type;
	bool one;
} relatives[] = {{"wife", "person", true},	 {"husband", "person", true},	   {"partner", "person", true},
		 {"girlfriend", "person", true}, {"boyfriend", "person", true},	   {"mother", "person", true},
		 {"mum", "person", true},	 {"mom", "person", true},	   {"father", "person", true},
		 {"dad", "person", true},	 {"boss", "person", true},	   {"manager", "person", true},
		 {"doctor", "person", true},	 {"son", "person", false},	   {"daughter", "person", false},
		 {"brother", "person", false},	 {"sister", "person", false},	   {"friend", "person", false},
		 {"colleague", "person", false}, {"cat", "animal", false},	   {"dog", "animal", false},
		 {"horse", "animal", false},	 {"company", "organisation", true}};

static const char *const lead_ins[] = {"hi",
				       "hello",
				       "hey",
				       "well",
				       "so",
				       "and",
				       "but",
				       "also",
				       "ok",
				       "okay",
				       "yes",
				       "no",
				       "actually",
				       "by the way",
				       "btw",
				       "now",
				       "please",
				       "fyi",
				       "just so you know",
				       "note that",
				       "also note that",
				       "you should know that",
				       "as you know"};
static const char *const asked[] = {"remember that ", "remember: ", "don't forget that ", "remember, ", "remember "};
static const char *const diets[] = {"vegetarian",	 "vegan",    "pescatarian", "lactose intolerant",
				    "gluten intolerant", "diabetic", "coeliac",	    "celiac"};
static const char *const pointers[] = {"it",	"that", "this", "these", "those", "you",     "your", "him",   "her",  "them",
				       "how",	"what", "when", "where", "to be", "the way", "not",  "one",   "ones", "both",
				       "being", "all",	"each", "some",	 "any",	  "which",   "who",  "going", "here"};
static const char *const endings[] = {" because ",  " since ", " so ",	  " which ", " who ", " where ", " with ", " though ",
				      " although ", " when ",  " while ", " as ",    " (",    " - ",	 ", ",	   ": "};
static const char *const afterthoughts[] = {" now",	 " currently", " these days", " at the moment", " today",     " too",
					    " as well",	 " actually",  " again",      " please",	" a lot",     " very much",
					    " so much",	 " recently",  " last week",  " last month",	" last year", " this year",
					    " the most", " best",      " most"};
/* What makes a statement one of something else. */
static const char *const doubts[] = {" if ", " would ", " unless ", " could ", " might ", " maybe ", " perhaps "};
#define COUNT(list) (sizeof(list) / sizeof *(list))

/* A clause: as it was written, with plain apostrophes, and the same in lower case. */
struct clause {
	struct str s, low;
	bool asked; /* to be remembered */
};
struct finder {
	struct arena *a;
	struct learned *out;
	size_t facts_room, links_room, found;
};

/* --------------------------------------------------------------------- texts */

static struct clause from(struct clause c, size_t at)
{
	c.s = str_sub(c.s, at, c.s.n);
	c.low = str_sub(c.low, at, c.low.n);
	return c;
}

static struct clause until(struct clause c, size_t at)
{
	c.s = str_sub(c.s, 0, at);
	c.low = str_sub(c.low, 0, at);
	return c;
}

static struct clause trimmed(struct clause c)
{
	while (c.s.n && strchr(" \t\r,*_-", c.s.p[0]))
		c = from(c, 1);
	while (c.s.n && strchr(" \t\r,*_", c.s.p[c.s.n - 1]))
		c = until(c, c.s.n - 1);
	return c;
}

static ptrdiff_t find(struct str s, const char *what)
{
	const char *p = s.n ? memmem(s.p, s.n, what, strlen(what)) : NULL;

	return p ? p - s.p : -1;
}

static bool word_end(struct str s, size_t at)
{
	return at >= s.n || strchr(" ,:!.", s.p[at]);
}

static size_t words_of(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] != ' ' && (i == 0 || s.p[i - 1] == ' ');
	return n;
}

/* "@" in a template becomes what. */
static struct str fill(struct arena *a, const char *form, struct str what)
{
	const char *at = strchr(form, '@');

	return at ? arena_printf(a, "%.*s%.*s%s", (int)(at - form), form, STR_ARG(what), at + 1) : str_c(form);
}

/* ------------------------------------------------------------------- keeping */

static enum err grow(struct finder *f)
{
	struct learned *o = f->out;

	if (o->facts_n == f->facts_room) {
		size_t room = f->facts_room ? 2 * f->facts_room : 4;

		o->facts = arena_grow(f->a, o->facts, f->facts_room * sizeof *o->facts, room * sizeof *o->facts);
		f->facts_room = o->facts ? room : 0;
	}
	if (o->links_n == f->links_room) {
		size_t room = f->links_room ? 2 * f->links_room : 4;

		o->links = arena_grow(f->a, o->links, f->links_room * sizeof *o->links, room * sizeof *o->links);
		f->links_room = o->links ? room : 0;
	}
	return o->facts && o->links ? OK : E_NOMEM;
}

static enum err add_fact(struct finder *f, struct str key, struct str value, struct str text, bool preference)
{
	if (!f->out)
		return OK;
	TRY(grow(f));
	if (!key.p || !value.p || !text.p)
		return E_NOMEM;
	f->out->facts[f->out->facts_n++] = (struct learned_fact){
		.preference = preference, .key = utf8_cut(key, LEARN_KEY_MAX), .value = value, .text = text, .replaces = STR("")};
	return OK;
}

static enum err add_link(struct finder *f, const char *relation, struct str name, const char *type, bool one)
{
	if (!f->out || name.n > ENTITY_NAME_MAX)
		return OK;
	TRY(grow(f));
	f->out->links[f->out->links_n++] =
		(struct learned_link){.from = {STR(ENTITY_USER), STR("person")},
				      .r = {.relation = str_c(relation), .to = {name, str_c(type)}, .replaces = one}};
	return OK;
}

/* ------------------------------------------------------------------ matching */

static bool pointed(struct str low)
{
	for (size_t i = 0; i < COUNT(pointers); i++)
		if (str_starts(low, str_c(pointers[i])) && word_end(low, strlen(pointers[i])))
			return true;
	return false;
}

static bool is_diet(struct str low)
{
	for (size_t i = 0; i < COUNT(diets); i++)
		if (str_eq(low, str_c(diets[i])))
			return true;
	return false;
}

static bool has_digit(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] >= '0' && s.p[i] <= '9')
			return true;
	return false;
}

/* What was said, without what was said besides; .s.n 0: nothing that could be told. */
static struct clause said(struct clause c, unsigned flags, size_t words)
{
	bool again = true;

	for (size_t i = 0; i < COUNT(endings); i++)
		if (find(c.low, endings[i]) >= 0)
			c = until(c, (size_t)find(c.low, endings[i]));
	if (!(flags & KEEP_AND) && find(c.low, " and ") >= 0)
		c = until(c, (size_t)find(c.low, " and "));
	if (find(c.low, " but ") >= 0)
		c = until(c, (size_t)find(c.low, " but "));
	while (again) {
		again = false;
		for (size_t i = 0; i < COUNT(afterthoughts) && !again; i++) {
			again = str_ends(c.low, str_c(afterthoughts[i]));
			if (again)
				c = until(c, c.s.n - strlen(afterthoughts[i]));
		}
	}
	c = trimmed(c);
	if (c.s.n == 0 || words_of(c.s) > words || c.s.n > 120 || memchr(c.s.p, '"', c.s.n) || memchr(c.s.p, 0, c.s.n))
		return until(c, 0);
	if (((flags & PROPER) && !((c.s.p[0] >= 'A' && c.s.p[0] <= 'Z') || (c.s.p[0] & 0x80))) ||
	    ((flags & DIGIT) && !has_digit(c.s)) || ((flags & DIET) && !is_diet(c.low)) || ((flags & NO_POINTER) && pointed(c.low)))
		return until(c, 0);
	return c;
}

static enum err by_rule(struct finder *f, const struct rule *r, struct clause c)
{
	struct clause v = said(from(c, strlen(r->begin)), r->flags, r->words);
	struct str normal;

	if (v.s.n == 0)
		return OK;
	f->found++;
	if (!f->out)
		return OK;
	normal = normal_text(f->a, v.s);
	if (!normal.p)
		return E_NOMEM;
	TRY(add_fact(f, fill(f->a, r->key, normal), fill(f->a, r->value, v.s), fill(f->a, r->text, v.s), r->flags & PREFERENCE));
	return r->relation ? add_link(f, r->relation, v.s, r->type, r->flags & ONE) : OK;
}

/* "I prefer tea to coffee", "over coffee": a pair has one key, whichever is preferred. */
static enum err preferred(struct finder *f, struct clause c)
{
	struct clause v = from(c, strlen("i prefer "));
	ptrdiff_t at = find(v.low, " to "), over = find(v.low, " over ");
	size_t skip = over >= 0 ? 6 : 4;
	struct clause first, second;
	struct str x, y;

	if (over >= 0)
		at = over;
	first = at > 0 ? until(v, (size_t)at) : v;
	first = said(first, KEEP_AND | NO_POINTER, 6);
	second = at > 0 ? said(from(v, (size_t)at + skip), KEEP_AND | NO_POINTER, 6) : until(v, 0);
	if (first.s.n == 0 || str_starts(first.low, STR("to ")) || (at > 0 && second.s.n == 0))
		return OK;
	f->found++;
	if (!f->out)
		return OK;
	x = normal_text(f->a, first.s);
	y = normal_text(f->a, second.s);
	if (!x.p || !y.p)
		return E_NOMEM;
	if (!y.n)
		return add_fact(f, fill(f->a, "prefers:@", x), first.s, fill(f->a, "The user prefers @.", first.s), true);
	return add_fact(f,
			str_cmp(x, y) < 0 ? arena_printf(f->a, "prefers:%.*s/%.*s", STR_ARG(x), STR_ARG(y))
					  : arena_printf(f->a, "prefers:%.*s/%.*s", STR_ARG(y), STR_ARG(x)),
			first.s, arena_printf(f->a, "The user prefers %.*s to %.*s.", STR_ARG(first.s), STR_ARG(second.s)), true);
}

/* "My favourite K is V". */
static enum err favourite(struct finder *f, struct clause c, size_t skip)
{
	struct clause v = from(c, skip), k;
	ptrdiff_t at = find(v.low, " is ");
	struct str name;

	if (at <= 0)
		return OK;
	k = until(v, (size_t)at);
	v = said(from(v, (size_t)at + 4), KEEP_AND | NO_POINTER, 6);
	if (v.s.n == 0 || words_of(k.s) > 3)
		return OK;
	f->found++;
	if (!f->out)
		return OK;
	name = normal_text(f->a, k.s);
	if (!name.p)
		return E_NOMEM;
	return add_fact(f, fill(f->a, "favourite @", name), v.s,
			arena_printf(f->a, "The user's favourite %.*s is %.*s.", STR_ARG(k.s), STR_ARG(v.s)), true);
}

/* "My wife is called Ada", "my wife's name is Ada", "I have a cat called Ada". */
static enum err relative(struct finder *f, struct clause c)
{
	static const char *const forms[] = {" is called ", " is named ", "'s name is ", " called ", " named "};
	bool mine = str_starts(c.low, STR("my "));
	size_t skip = mine ? 3 : str_starts(c.low, STR("i have an ")) ? 10 : str_starts(c.low, STR("i have a ")) ? 9 : 0;
	struct clause v = from(c, skip);

	for (size_t i = 0; skip && i < COUNT(relatives); i++) {
		struct str who = str_c(relatives[i].name);

		if (!str_starts(v.low, who))
			continue;
		for (size_t k = mine ? 0 : 3; k < (mine ? 3 : COUNT(forms)); k++) {
			struct clause name;

			if (!str_starts(from(v, who.n).low, str_c(forms[k])))
				continue;
			name = said(from(v, who.n + strlen(forms[k])), PROPER, 3);
			if (name.s.n == 0)
				return OK;
			f->found++;
			if (!f->out)
				return OK;
			struct str normal = normal_text(f->a, name.s);

			TRY(add_fact(f, relatives[i].one ? who : arena_printf(f->a, "%s:%.*s", relatives[i].name, STR_ARG(normal)),
				     name.s,
				     arena_printf(f->a, "The user's %s is called %.*s.", relatives[i].name, STR_ARG(name.s)),
				     false));
			return add_link(f, relatives[i].name, name.s, relatives[i].type, relatives[i].one);
		}
	}
	return OK;
}

/* Whatever the user asked to have remembered: "my K is V" under K, else as it was said. */
static enum err remembered(struct finder *f, struct clause c)
{
	ptrdiff_t is = find(c.low, " is ");
	struct str normal;

	if (c.s.n < 4 || c.s.n > 400 || words_of(c.s) < 2)
		return OK;
	f->found++;
	if (!f->out)
		return OK;
	normal = normal_text(f->a, c.s);
	if (!normal.p)
		return E_NOMEM;
	if (str_starts(c.low, STR("my ")) && is > 3 && words_of(str_sub(c.low, 3, (size_t)is)) <= 3) {
		struct str key = normal_text(f->a, str_sub(c.s, 3, (size_t)is)), value = str_sub(c.s, (size_t)is + 4, c.s.n);

		return add_fact(
			f, key, value,
			arena_printf(f->a, "The user's %.*s is %.*s.", STR_ARG(str_sub(c.s, 3, (size_t)is)), STR_ARG(value)),
			false);
	}
	return add_fact(f, fill(f->a, "note:@", normal), c.s, fill(f->a, "The user asked to remember: @", c.s), false);
}

static enum err match(struct finder *f, struct clause c)
{
	size_t before = f->found;

	for (size_t i = 0; i < COUNT(doubts); i++)
		if (find(c.low, doubts[i]) >= 0 && !c.asked)
			return OK;
	for (size_t i = 0; i < COUNT(rules) && f->found == before; i++)
		if (str_starts(c.low, str_c(rules[i].begin)))
			TRY(by_rule(f, &rules[i], c));
	if (f->found == before && str_starts(c.low, STR("i prefer ")))
		TRY(preferred(f, c));
	if (f->found == before && str_starts(c.low, STR("my favourite ")))
		TRY(favourite(f, c, 13));
	if (f->found == before && str_starts(c.low, STR("my favorite ")))
		TRY(favourite(f, c, 12));
	if (f->found == before)
		TRY(relative(f, c));
	return f->found == before && c.asked ? remembered(f, c) : OK;
}

/* ------------------------------------------------------------------- clauses */

/* Without "hi", "by the way", "remember that" in front. */
static struct clause without_lead(struct clause c)
{
	bool again = true;

	while (again) {
		again = false;
		c = trimmed(c);
		for (size_t i = 0; i < COUNT(lead_ins) && !again; i++) {
			size_t n = strlen(lead_ins[i]);

			again = str_starts(c.low, str_c(lead_ins[i])) && n < c.s.n && word_end(c.low, n);
			if (again)
				c = from(c, n);
		}
		while (c.s.n && strchr("!:,.", c.s.p[0]))
			c = from(c, 1);
		for (size_t i = 0; i < COUNT(asked) && !again; i++) {
			again = str_starts(c.low, str_c(asked[i]));
			if (again) {
				c = from(c, strlen(asked[i]));
				c.asked = true;
			}
		}
	}
	return c;
}

static bool first_person(struct str low)
{
	return str_starts(low, STR("i ")) || str_starts(low, STR("i'm ")) || str_starts(low, STR("i've ")) ||
	       str_starts(low, STR("my "));
}

/* Where a clause of the user's begins behind another one: " and I ..", " but my ..". 0: nowhere. */
static size_t next_clause(struct clause c, size_t *skip)
{
	static const struct str joins[] = {STR_INIT(" and "), STR_INIT(" but ")};

	/* One way through the text, however many clauses it has. */
	for (size_t i = 1; i < c.low.n; i++) {
		struct str rest = str_sub(c.low, i, c.low.n);

		for (size_t k = 0; k < COUNT(joins); k++) {
			if (!str_starts(rest, joins[k]) || !first_person(str_sub(rest, joins[k].n, rest.n)))
				continue;
			*skip = joins[k].n;
			return i;
		}
	}
	return 0;
}

/* "I am" and "I have" as they are spoken. The clause is the arena's own. */
static struct clause contracted(struct clause c)
{
	static const struct {
		const char *is, *as;
	} pairs[] = {{"i am ", "i'm "},
		     {"i have moved ", "i've moved "},
		     {"i have just ", "i've just "},
		     {"i do not ", "i don't "},
		     {"i cannot ", "i can't "}};

	for (size_t i = 0; i < COUNT(pairs); i++) {
		size_t n = strlen(pairs[i].is), k = strlen(pairs[i].as);

		if (!str_starts(c.low, str_c(pairs[i].is)))
			continue;
		c = from(c, n - k);
		memcpy((char *)(uintptr_t)c.low.p, pairs[i].as, k);
		break;
	}
	return c;
}

static enum err sentence(struct finder *f, struct clause c)
{
	size_t at, skip = 0;

	c = without_lead(c);
	/* What is quoted is another one's. */
	if (c.s.n == 0 || strchr("\"'>`", c.s.p[0]) || (!first_person(c.low) && !c.asked && !str_starts(c.low, STR("call me "))))
		return OK;
	while (c.s.n && f->found < RULES_FACTS_MAX) {
		bool was_asked = c.asked;

		at = next_clause(c, &skip);
		/* What is to be remembered goes whole, unless it is what the rules know. */
		TRY(match(f, contracted(trimmed(at ? until(c, at) : c))));
		if (!at)
			break;
		c = from(c, at + skip);
		c.asked = was_asked;
	}
	return OK;
}

/* Does the full stop at `at` end a sentence? */
static bool ends_here(struct str s, size_t at)
{
	static const char *const titles[] = {"st", "dr", "mr", "mrs", "ms", "mt", "prof", "no"};
	size_t from_at = at;

	if (s.p[at] != '.')
		return true;
	if (at + 1 < s.n && s.p[at + 1] != ' ' && s.p[at + 1] != '\n' && s.p[at + 1] != '\r')
		return false;
	while (from_at > 0 && s.p[from_at - 1] >= 'a' && s.p[from_at - 1] <= 'z')
		from_at--;
	for (size_t i = 0; i < COUNT(titles); i++)
		if (str_eq(str_sub(s, from_at, at), str_c(titles[i])))
			return false;
	return true;
}

/* The text with plain apostrophes, and its copy in lower case. */
static enum err prepare(struct arena *a, struct str text, struct clause *out)
{
	char *s = arena_alloc(a, text.n + 1), *low = arena_alloc(a, text.n + 1);
	size_t n = 0;

	if (!s || !low)
		return E_NOMEM;
	for (size_t i = 0; i < text.n; i++) {
		bool curly = text.n - i >= 3 && memcmp(text.p + i, "\xe2\x80\x99", 3) == 0;

		s[n] = curly ? '\'' : text.p[i] == '\t' ? ' ' : text.p[i];
		low[n] = s[n] >= 'A' && s[n] <= 'Z' ? (char)(s[n] + 32) : s[n];
		n++;
		i += curly ? 2 : 0;
	}
	*out = (struct clause){.s = str_of(s, n), .low = str_of(low, n)};
	return OK;
}

static enum err all(struct finder *f, struct clause c)
{
	bool code = false;
	size_t begin = 0;

	for (size_t i = 0; i <= c.s.n && f->found < RULES_FACTS_MAX; i++) {
		struct clause one;

		if (i < c.s.n && (!strchr(".!?;\n", c.s.p[i]) || c.s.p[i] == 0 || !ends_here(c.low, i)))
			continue;
		one = trimmed(until(from(c, begin), i - begin));
		begin = i + 1;
		if (str_starts(one.s, STR("```")))
			code = !code;
		else if (!code && !(i < c.s.n && c.s.p[i] == '?'))
			TRY(sentence(f, one));
	}
	return OK;
}

enum err rules_find(struct arena *a, struct str text, struct learned *out)
{
	struct finder f = {.a = a, .out = out, .facts_room = out->facts_n, .links_room = out->links_n};
	struct clause c;

	TRY(prepare(a, utf8_cut(text, RULES_TEXT_MAX), &c));
	return all(&f, c);
}

bool rules_apply(struct str text)
{
	struct finder f = {0};
	struct arena a;
	struct clause c;
	bool yes;

	arena_init(&a, 4 * RULES_TEXT_MAX + (1u << 16));
	yes = prepare(&a, utf8_cut(text, RULES_TEXT_MAX), &c) == OK && all(&f, c) == OK && f.found > 0;
	arena_release(&a);
	return yes;
}
