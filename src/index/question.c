/* Questions: terms of every language of a scope, dates, openings. */
#include "index/question.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "index/text.h"

static int cmp_term(const void *a, const void *b)
{
	const struct query_term *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

struct term_list {
	struct query_term *q;
	size_t n;
};

static enum err list_init(struct arena *a, struct term_list *l)
{
	l->n = 0;
	l->q = ARENA_ARRAY(a, struct query_term, QUESTION_TERMS_MAX);
	return l->q ? OK : E_NOMEM;
}

static void list_add(struct term_list *l, uint32_t id, uint32_t lang_bit, struct str text)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->q[i].id == id) {
			l->q[i].langs |= lang_bit;
			return;
		}
	if (l->n < QUESTION_TERMS_MAX)
		l->q[l->n++] = (struct query_term){.id = id, .weight = 1.0, .langs = lang_bit, .text = text};
}

static void list_done(struct term_list *l, struct query_term **out, size_t *n)
{
	qsort(l->q, l->n, sizeof *l->q, cmp_term);
	*out = l->q;
	*n = l->n;
}

enum err question_terms(struct arena *a, uint32_t langs, struct str text, struct query_term **out, size_t *n)
{
	struct term_list l;

	TRY(list_init(a, &l));
	for (unsigned i = 0; i < LANG_MAX; i++) {
		struct text_word *w;
		size_t words;

		if (!(langs >> i & 1) || !lang_by_id((uint8_t)i))
			continue;
		TRY(text_words(a, lang_by_id((uint8_t)i), text, &w, &words));
		for (size_t k = 0; k < words; k++)
			list_add(&l, w[k].id, 1u << i, w[k].stem);
	}
	list_done(&l, out, n);
	return OK;
}

enum err question_pairs(struct arena *a, uint32_t langs, struct str text, struct query_term **out, size_t *n)
{
	struct term_list l;

	TRY(list_init(a, &l));
	for (unsigned i = 0; i < LANG_MAX; i++) {
		struct text_word *w;
		size_t words;

		if (!(langs >> i & 1) || !lang_by_id((uint8_t)i))
			continue;
		TRY(text_words(a, lang_by_id((uint8_t)i), text, &w, &words));
		for (size_t k = 1; k < words && l.n < QUESTION_TERMS_MAX; k++) {
			struct str t;

			if ((w[k - 1].flags | w[k].flags) & TERM_BIGRAM)
				continue;
			t = arena_printf(a, "%.*s %.*s", STR_ARG(w[k - 1].stem), STR_ARG(w[k].stem));
			if (!t.p)
				return E_NOMEM;
			list_add(&l, doc_pair_id(w[k - 1].id, w[k].id), 1u << i, t);
		}
	}
	list_done(&l, out, n);
	return OK;
}

/* ------------------------------------------------------------------- dates */

struct word {
	size_t from, to;
	struct str folded;
};
#define WORDS_MAX 1024

static bool word_char(struct str s, size_t *i)
{
	unsigned char c = (unsigned char)s.p[*i];

	if (c < 128) {
		++*i;
		return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
	}
	(void)utf8_next(s, i);
	return true;
}

static enum err split_words(struct arena *a, struct str s, struct word **out, size_t *n)
{
	size_t i = 0;

	*n = 0;
	*out = ARENA_ARRAY(a, struct word, WORDS_MAX);
	if (!*out)
		return E_NOMEM;
	while (i < s.n && *n < WORDS_MAX) {
		size_t from = i, end = i;

		while (i < s.n && word_char(s, &i))
			end = i;
		if (end == from)
			continue;
		(*out)[*n] = (struct word){from, end, text_fold(a, str_sub(s, from, end))};
		if (!(*out)[(*n)++].folded.p)
			return E_NOMEM;
	}
	return OK;
}

/* 1..12, or 0. "may" is a verb unless it is written as a name. */
static unsigned month_of(struct arena *a, const struct lang *l, struct str text, const struct word *w)
{
	for (unsigned m = 0; m < 12 && l->months[0]; m++) {
		struct str name = text_fold(a, str_c(l->months[m]));

		if (str_eq(name, w->folded))
			return str_eq(name, STR("may")) && text.p[w->from] != 'M' ? 0 : m + 1;
	}
	return 0;
}

static int number_of(const struct word *w, bool suffix)
{
	static const struct str suffixes[] = {STR_INIT("st"), STR_INIT("nd"), STR_INIT("rd"),
					      STR_INIT("th"), STR_INIT("er"), STR_INIT("e")};
	struct str s = w->folded;
	int64_t v;

	for (size_t i = 0; suffix && i < sizeof suffixes / sizeof suffixes[0]; i++)
		if (str_ends(s, suffixes[i])) {
			s.n -= suffixes[i].n;
			break;
		}
	return str_int(s, 0, 9999, &v) ? (int)v : -1;
}

static int day_at(const struct word *w, size_t n, ptrdiff_t i)
{
	int v = i >= 0 && (size_t)i < n ? number_of(&w[i], true) : -1;

	return v >= 1 && v <= 31 ? v : 0;
}

static int year_at(const struct word *w, size_t n, ptrdiff_t i)
{
	int v = i >= 0 && (size_t)i < n && w[i].folded.n == 4 ? number_of(&w[i], false) : -1;

	return v >= 1800 && v <= 2200 ? v : 0;
}

/* "of" and its like between the parts of a date. */
static bool is_link(const struct word *w, size_t n, ptrdiff_t i)
{
	return i >= 0 && (size_t)i < n &&
	       (str_eq(w[i].folded, STR("of")) || str_eq(w[i].folded, STR("de")) || str_eq(w[i].folded, STR("del")));
}

struct dates {
	struct span *spans;
	size_t n;
	int first_year, last_year;
};

static unsigned month_days(int year, unsigned month)
{
	return (unsigned)(clock_days(month == 12 ? year + 1 : year, month == 12 ? 1 : month + 1, 1) - clock_days(year, month, 1));
}

static void add_spans(struct dates *d, int day, unsigned month, int year)
{
	int from = year ? year : d->first_year, to = year ? year : d->last_year;

	for (int y = from; y <= to && d->n < QUESTION_SPANS_MAX; y++) {
		int64_t first = clock_days(y, month, 1);

		if (day > (int)month_days(y, month))
			continue;
		d->spans[d->n++] = day ? (struct span){first + day - 1, first + day - 1}
				       : (struct span){first, first + month_days(y, month) - 1};
	}
}

/* Reads the date around the month at w[i] and blanks it in rest. */
static void read_date(struct dates *d, const struct word *w, size_t n, ptrdiff_t i, unsigned month, char *rest)
{
	ptrdiff_t from = i, to = i;
	int day = 0, year;

	if (day_at(w, n, i - 1))
		from = i - 1;
	else if (is_link(w, n, i - 1) && day_at(w, n, i - 2))
		from = i - 2;
	if (from < i)
		day = day_at(w, n, from);
	else if (day_at(w, n, i + 1))
		day = day_at(w, n, to = i + 1);
	year = year_at(w, n, to + 1);
	if (year)
		to++;
	else if (is_link(w, n, to + 1) && (year = year_at(w, n, to + 2)))
		to += 2;
	add_spans(d, day, month, year);
	memset(rest + w[from].from, ' ', w[to].to - w[from].from);
}

enum err question_dates(struct arena *a, uint32_t langs, struct str text, int first_year, int last_year, struct span **out,
			size_t *n, struct str *rest)
{
	struct dates d = {ARENA_ARRAY(a, struct span, QUESTION_SPANS_MAX), 0, first_year, last_year};
	char *copy = arena_cstr(a, text);
	struct word *w;
	size_t words;

	if (!d.spans || !copy)
		return E_NOMEM;
	TRY(split_words(a, text, &w, &words));
	for (unsigned k = 0; k < LANG_MAX; k++) {
		const struct lang *l = langs >> k & 1 ? lang_by_id((uint8_t)k) : NULL;

		for (size_t i = 0; l && i < words; i++) {
			unsigned month = copy[w[i].from] == ' ' ? 0 : month_of(a, l, text, &w[i]);

			if (month)
				read_date(&d, w, words, (ptrdiff_t)i, month, copy);
		}
	}
	*out = d.spans;
	*n = d.n;
	*rest = str_of(copy, text.n);
	return OK;
}

double date_closeness(const struct span *spans, size_t n, int64_t day)
{
	double best = 0;

	for (size_t i = 0; i < n; i++) {
		double c = 1.0;

		if (day > spans[i].to)
			c = exp(-(double)(day - spans[i].to) / 7.0);
		else if (day < spans[i].from)
			c = exp(-(double)(spans[i].from - day) / 2.0);
		best = c > best ? c : best;
	}
	return best;
}

static bool in_word(char c)
{
	return (unsigned char)c >= 0x80 || isalnum((unsigned char)c);
}

/* Bytes of the first of the phrases between '|' that stands at s[at] and ends where a word does; 0: none. */
static size_t phrase_at(struct str s, size_t at, const char *phrases)
{
	struct str list = str_c(phrases), one;
	bool more = list.n > 0;

	while (more) {
		size_t end;

		more = str_cut(list, '|', &one, &list);
		end = at + one.n;
		if (one.n && end <= s.n && memcmp(s.p + at, one.p, one.n) == 0 && (end == s.n || !word_char(s, &end)))
			return one.n;
	}
	return 0;
}

bool question_asks_when(struct arena *a, uint32_t langs, struct str text)
{
	struct str folded = str_trim(text_fold(a, text));

	for (unsigned k = 0; k < LANG_MAX; k++) {
		const struct lang *l = langs >> k & 1 ? lang_by_id((uint8_t)k) : NULL;
		struct str when = l && l->when ? text_fold(a, str_c(l->when)) : STR("");
		const char *phrases = when.n ? arena_cstr(a, when) : NULL;

		if (phrases && phrase_at(folded, 0, phrases))
			return true;
	}
	return false;
}

bool question_asks_told(struct arena *a, uint32_t langs, struct str text)
{
	struct str folded = text_fold(a, text);

	for (unsigned k = 0; k < LANG_MAX; k++) {
		const struct lang *l = langs >> k & 1 ? lang_by_id((uint8_t)k) : NULL;

		for (size_t i = 0, words = 0; l && l->told && i < folded.n && words < WORDS_MAX; i++) {
			size_t aside;

			if (!in_word(folded.p[i]) || (i > 0 && in_word(folded.p[i - 1])))
				continue;
			words++;
			aside = phrase_at(folded, i, l->aside);
			if (aside)
				i += aside - 1;
			else if (phrase_at(folded, i, l->told))
				return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------------- names */

static enum err word_is_one_of(struct arena *a, uint32_t langs, struct str word, const uint32_t *ids, size_t n, bool *is)
{
	*is = false;
	for (unsigned i = 0; i < LANG_MAX; i++) {
		struct text_word *w;
		size_t words;

		if (!(langs >> i & 1) || !lang_by_id((uint8_t)i))
			continue;
		TRY(text_words(a, lang_by_id((uint8_t)i), word, &w, &words));
		for (size_t k = 0; k < words; k++)
			for (size_t j = 0; j < n; j++)
				*is |= w[k].id == ids[j];
	}
	return OK;
}

enum err question_without(struct arena *a, uint32_t langs, struct str text, const uint32_t *ids, size_t n, struct str *out)
{
	struct word *w;
	size_t words, at = 0, left = 0;
	struct buf b;

	*out = text;
	if (n == 0)
		return OK;
	TRY(split_words(a, text, &w, &words));
	buf_init(&b, a, text.n + 1);
	for (size_t i = 0; i < words; i++) {
		bool is;

		TRY(word_is_one_of(a, langs, str_sub(text, w[i].from, w[i].to), ids, n, &is));
		if (!is) {
			left++;
			continue;
		}
		buf_str(&b, str_sub(text, at, w[i].from));
		at = w[i].to;
		if (i + 1 < words && text.p[at] == '\'' && w[i + 1].from == at + 1 && str_eq(w[i + 1].folded, STR("s")))
			at = w[++i].to;
	}
	buf_str(&b, str_sub(text, at, text.n));
	if (left > 0)
		*out = buf_slice(&b);
	return b.err;
}
