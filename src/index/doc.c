/* Index documents: making them from text, and reading them. The encoding is in doc.h. */
#include "index/doc.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "index/text.h"

#define FLAG_MESSAGE 1u
#define FLAG_PATHS 2u

#define PASSAGE_WORDS 95
#define PASSAGE_CHARS 200 /* of scripts without spaces */
#define PASSAGES_MAX (1u << 16)

/* ----------------------------------------------------------------- writing */

static char *put_varint(char *p, uint64_t v)
{
	while (v >= 128) {
		*p++ = (char)(v | 128);
		v >>= 7;
	}
	*p++ = (char)v;
	return p;
}

#define VARINT_MAX 10
#define TERM_BYTES_MAX (5 + 2)

/* Sorts ids (there is room for as many again behind them) and writes them with their frequencies. */
static void put_terms(struct buf *b, uint32_t *ids, size_t n)
{
	char *p = buf_room(b, VARINT_MAX + n * TERM_BYTES_MAX), *start = p;
	size_t distinct = 0;
	uint32_t before = 0;

	if (!p)
		return;
	sort_u32(ids, ids + n, n);
	for (size_t i = 0; i < n; i++)
		distinct += i == 0 || ids[i] != ids[i - 1];
	p = put_varint(p, distinct);
	for (size_t i = 0, j; i < n; i = j) {
		for (j = i + 1; j < n && ids[j] == ids[i]; j++)
			;
		p = put_varint(p, (uint64_t)(ids[i] - before) << 1 | (j - i > 1));
		if (j - i > 1)
			p = put_varint(p, j - i < DOC_TF_MAX ? j - i : DOC_TF_MAX);
		before = ids[i];
	}
	buf_added(b, (size_t)(p - start));
}

static void put_u32(struct buf *b, uint32_t v)
{
	char bytes[4] = {(char)v, (char)(v >> 8), (char)(v >> 16), (char)(v >> 24)};

	buf_put(b, bytes, 4);
}

/* Pairs of adjacent words in text order, collected before the terms are sorted. */
static size_t collect_pairs(const struct terms *t, uint32_t *out)
{
	size_t n = 0;

	for (size_t i = 1; i < t->n; i++)
		if (!((t->flags[i - 1] | t->flags[i]) & TERM_BIGRAM))
			out[n++] = doc_pair_id(t->ids[i - 1], t->ids[i]);
	return n;
}

static enum err put_passage(struct buf *b, struct terms *t, bool pairs)
{
	uint32_t *work = malloc((t->n + 1) * 4 * sizeof *work), *pair_ids = work + t->n * 2;
	size_t pairs_n;

	if (!work || t->failed) {
		free(work);
		return err_set(E_LIMIT, "out of memory while analysing a text");
	}
	pairs_n = pairs ? collect_pairs(t, pair_ids) : 0;
	if (t->n)
		memcpy(work, t->ids, t->n * sizeof *work);
	buf_varint(b, t->n);
	put_terms(b, work, t->n);
	if (pairs)
		put_terms(b, pair_ids, pairs_n);
	free(work);
	return OK;
}

static enum err doc_done(struct buf *b, struct str *out)
{
	if (b->err != OK)
		return err_set(E_LIMIT, "a text is too large to be indexed");
	*out = buf_slice(b);
	return OK;
}

/* More than any document can take: 11 bytes a term, and a term takes at least 2 bytes of text; bigrams take 7 to 3 bytes. */
static size_t ceiling_for(size_t text_bytes)
{
	return text_bytes * 16 + 4096;
}

enum err doc_of_texts_at(struct arena *a, const struct lang *l, const struct str *texts, size_t n, const struct str *paths,
			 size_t paths_n, struct str *out)
{
	struct terms *t = text_scratch();
	size_t bytes = 0;
	struct buf b;

	if (!t)
		return err_set(E_LIMIT, "out of memory while analysing a text");
	for (size_t i = 0; i < n; i++) {
		bytes += texts[i].n;
		text_analyse(l, texts[i], t);
	}
	for (size_t i = 0; i < paths_n; i++)
		bytes += paths[i].n + VARINT_MAX;
	buf_init(&b, a, ceiling_for(bytes));
	buf_byte(&b, DOC_VERSION);
	buf_byte(&b, (char)l->id);
	buf_byte(&b, paths_n ? FLAG_PATHS : 0);
	buf_varint(&b, 1);
	TRY(put_passage(&b, t, false));
	if (paths_n) {
		buf_varint(&b, paths_n);
		for (size_t i = 0; i < paths_n; i++) {
			buf_varint(&b, paths[i].n);
			buf_str(&b, paths[i]);
		}
	}
	return doc_done(&b, out);
}

enum err doc_of_texts(struct arena *a, const struct lang *l, const struct str *texts, size_t n, struct str *out)
{
	return doc_of_texts_at(a, l, texts, n, NULL, 0, out);
}

/* ---------------------------------------------------------------- messages */

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static size_t question_mark(struct str s, size_t i)
{
	if (s.p[i] == '?')
		return 1;
	if (i + 3 <= s.n && memcmp(s.p + i, "\xef\xbc\x9f", 3) == 0) /* full width */
		return 3;
	if (i + 2 <= s.n && (memcmp(s.p + i, "\xd8\x9f", 2) == 0 || memcmp(s.p + i, "\xcd\xbe", 2) == 0)) /* Arabic, Greek */
		return 2;
	return 0;
}

static bool sentence_ends(struct str s, size_t i)
{
	char c = s.p[i];

	if (c == '\n')
		return true;
	if (c == '.' || c == '!')
		return i + 1 == s.n || is_blank(s.p[i + 1]) || strchr("\"')]*_", s.p[i + 1]);
	return i + 3 <= s.n && (memcmp(s.p + i, "\xe3\x80\x82", 3) == 0 || memcmp(s.p + i, "\xef\xbc\x81", 3) == 0);
}

/* Share of the characters in sentences that end in a question mark, 0..255, in one scan. */
static uint8_t ask_share(struct str s)
{
	size_t all = 0, asked = 0, sentence = 0, q;

	for (size_t i = 0; i < s.n; i++) {
		if (((unsigned char)s.p[i] & 0xc0) == 0x80)
			continue;
		all++;
		sentence++;
		q = question_mark(s, i);
		if (q) {
			asked += sentence;
			sentence = 0;
		} else if (sentence_ends(s, i)) {
			sentence = 0;
		}
	}
	return all ? (uint8_t)((asked * 255 + all / 2) / all) : 0;
}

/* Blanks, quotes and brackets after the mark do not count. */
static bool ends_asking(struct str s)
{
	while (s.n && (is_blank(s.p[s.n - 1]) || strchr("\"')]}*_", s.p[s.n - 1])))
		s.n--;
	for (size_t back = 1; back <= 3 && back <= s.n; back++)
		if (question_mark(s, s.n - back) == back)
			return true;
	return false;
}

static enum doc_role role_of(struct str role)
{
	static const struct str names[] = {STR_INIT(""),       STR_INIT("user"), STR_INIT("assistant"),
					   STR_INIT("system"), STR_INIT("tool"), STR_INIT("person")};

	for (size_t i = 1; i < sizeof names / sizeof names[0]; i++)
		if (str_eq(role, names[i]))
			return (enum doc_role)i;
	return ROLE_OTHER;
}

/* How a text is cut: `units` of which each passage takes an equal share. A unit is a word between blanks or, in text that is mostly
 * written without spaces, a character of such a script. */
struct cut {
	bool by_chars;
	size_t units, pieces;
};

static void next_unit(struct str s, bool by_chars, size_t *i)
{
	if (!by_chars) {
		while (*i < s.n && is_blank(s.p[*i]))
			++*i;
		while (*i < s.n && !is_blank(s.p[*i]))
			++*i;
		return;
	}
	while (*i < s.n) {
		int32_t cp = (unsigned char)s.p[*i] < 128 ? (++*i, 0) : utf8_next(s, i);

		if (cp > 0 && text_no_spaces((uint32_t)cp))
			return;
	}
}

static struct cut plan_cut(struct str s)
{
	size_t words = 0, chars = 0;
	struct cut c = {false, 0, 1};

	s = str_trim(s); /* blanks at the end are no word of their own */
	for (size_t i = 0; i < s.n; next_unit(s, false, &i))
		words++;
	for (size_t i = 0; i < s.n;) {
		int32_t cp = (unsigned char)s.p[i] < 128 ? (i++, 0) : utf8_next(s, &i);

		chars += cp > 0 && text_no_spaces((uint32_t)cp);
	}
	c.by_chars = chars * PASSAGE_WORDS > words * PASSAGE_CHARS;
	c.units = c.by_chars ? chars : words;
	c.pieces = c.by_chars ? (chars + PASSAGE_CHARS - 1) / PASSAGE_CHARS : (words + PASSAGE_WORDS - 1) / PASSAGE_WORDS;
	if (c.pieces < 1)
		c.pieces = 1;
	if (c.pieces > PASSAGES_MAX)
		c.pieces = PASSAGES_MAX;
	return c;
}

/* "12 may 2024" in the words of the language; "" without a time or month names. */
static struct str date_words(const struct lang *l, int64_t time_us, char room[64])
{
	int64_t days = time_us / 86400000000 - (time_us % 86400000000 < 0);
	unsigned month, day;
	int year, n;

	if (time_us == 0 || !l->months[0])
		return STR("");
	clock_civil(days, &year, &month, &day);
	n = snprintf(room, 64, "%u %s %d", day, l->months[month - 1], year);
	return str_of(room, n > 0 && n < 64 ? (size_t)n : 0);
}

static enum err put_message_facts(struct buf *b, struct arena *a, const struct lang *l, const struct doc_message_in *in,
				  bool time_word)
{
	unsigned facts = (in->time_us ? FACT_TIME : 0) | (in->name.n ? FACT_SPEAKER : 0) |
			 (ends_asking(in->content) ? FACT_QUESTION : 0) | (time_word ? FACT_TIME_WORD : 0);
	struct terms *t;
	size_t names;

	buf_byte(b, (char)role_of(in->role));
	buf_byte(b, (char)facts);
	buf_byte(b, (char)ask_share(in->content));
	if (in->time_us)
		buf_varint(b, ((uint64_t)in->time_us << 1) ^ (uint64_t)(in->time_us >> 63));
	if (in->name.n) {
		struct str folded = text_fold(a, in->name);

		t = text_scratch();
		if (!folded.p || !t)
			return err_set(E_LIMIT, "out of memory while analysing a name");
		text_analyse(l, in->name, t);
		names = t->n < DOC_NAME_TERMS ? t->n : DOC_NAME_TERMS;
		put_u32(b, hash32(folded));
		buf_byte(b, (char)names);
		for (size_t i = 0; i < names; i++)
			put_u32(b, t->ids[i]);
	}
	return OK;
}

static enum err put_message_passage(struct buf *b, const struct lang *l, const struct doc_message_in *in, struct str date,
				    struct str piece)
{
	struct terms *t = text_scratch();

	if (!t)
		return err_set(E_LIMIT, "out of memory while analysing a text");
	text_analyse(l, in->name, t);
	text_analyse(l, piece, t);
	text_analyse(l, date, t);
	return put_passage(b, t, true);
}

static bool says_time(const struct lang *l, struct str content)
{
	struct terms *t = text_scratch();

	if (!t)
		return false;
	text_analyse(l, content, t);
	return t->has_time;
}

enum err doc_of_message(struct arena *a, const struct lang *l, const struct doc_message_in *in, struct str *out)
{
	struct cut c = plan_cut(in->content);
	char room[64];
	struct str date = date_words(l, in->time_us, room);
	size_t at = 0, unit = 0;
	struct buf b;

	buf_init(&b, a, ceiling_for(in->content.n) * 2 + c.pieces * (in->name.n + sizeof room) * 16);
	buf_byte(&b, DOC_VERSION);
	buf_byte(&b, (char)l->id);
	buf_byte(&b, FLAG_MESSAGE);
	TRY(put_message_facts(&b, a, l, in, says_time(l, in->content)));
	buf_varint(&b, c.pieces);
	for (size_t k = 0; k < c.pieces; k++) {
		size_t from = at, until = c.units * (k + 1) / c.pieces;

		for (; unit < until; unit++)
			next_unit(in->content, c.by_chars, &at);
		if (k + 1 == c.pieces)
			at = in->content.n;
		TRY(put_message_passage(&b, l, in, date, str_sub(in->content, from, at)));
	}
	return doc_done(&b, out);
}

/* ----------------------------------------------------------------- reading */

static bool bad(struct doc_reader *r)
{
	r->bad = true;
	r->passages = r->terms = r->pairs = 0;
	return false;
}

static bool get_u32(struct doc_reader *r, uint32_t *out)
{
	if (r->end - r->p < 4)
		return bad(r);
	*out = (uint32_t)r->p[0] | (uint32_t)r->p[1] << 8 | (uint32_t)r->p[2] << 16 | (uint32_t)r->p[3] << 24;
	r->p += 4;
	return true;
}

/* A number of things of which each takes at least one byte. */
static bool get_count(struct doc_reader *r, uint32_t *out)
{
	uint64_t v;

	if (!varint_get(&r->p, r->end, &v) || v > (uint64_t)(r->end - r->p))
		return bad(r);
	*out = (uint32_t)v;
	return true;
}

static bool open_message(struct doc_reader *r, struct doc_head *h)
{
	uint64_t v;

	if (r->end - r->p < 3)
		return bad(r);
	h->role = *r->p++;
	h->facts = *r->p++;
	h->ask = *r->p++;
	if (h->role > ROLE_PERSON || h->facts > 15)
		return bad(r);
	if (h->facts & FACT_TIME) {
		if (!varint_get(&r->p, r->end, &v))
			return bad(r);
		h->time_us = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
	}
	if (h->facts & FACT_SPEAKER) {
		if (!get_u32(r, &h->speaker) || r->p == r->end || *r->p > DOC_NAME_TERMS)
			return bad(r);
		h->name_terms_n = *r->p++;
		for (unsigned i = 0; i < h->name_terms_n; i++)
			if (!get_u32(r, &h->name_terms[i]))
				return false;
	}
	return true;
}

enum doc_state doc_open(struct str doc, struct doc_reader *r, struct doc_head *h)
{
	uint8_t flags;

	memset(r, 0, sizeof *r);
	memset(h, 0, sizeof *h);
	if (doc.n < 3)
		return DOC_BAD;
	r->p = (const uint8_t *)doc.p;
	r->end = r->p + doc.n;
	h->version = *r->p++;
	h->lang = lang_by_id(*r->p++);
	flags = *r->p++;
	h->is_message = flags & FLAG_MESSAGE;
	r->has_pairs = h->is_message;
	r->has_paths = flags & FLAG_PATHS;
	if (h->version != DOC_VERSION)
		return DOC_OUTDATED;
	if (flags > 3 || (h->is_message && !open_message(r, h)))
		return DOC_BAD;
	if (!get_count(r, &r->passages) || r->passages > PASSAGES_MAX)
		return DOC_BAD;
	h->passages = r->passages;
	return DOC_GOOD;
}

static bool next_id(struct doc_reader *r, bool first, uint32_t *id, uint32_t *tf)
{
	const uint8_t *p = r->p;
	uint64_t v = 0, f = 1;

	/* The usual case by hand: 4 or 5 bytes, far from the end. */
	if (r->end - p >= 6) {
		unsigned shift = 0;

		do
			v |= (uint64_t)(*p & 127) << shift;
		while (*p++ & 128 && (shift += 7) < 35);
		if (p[-1] & 128)
			return bad(r);
		r->p = p;
	} else if (!varint_get(&r->p, r->end, &v)) {
		return bad(r);
	}
	if ((v & 1) && (!varint_get(&r->p, r->end, &f) || f < 2 || f > DOC_TF_MAX))
		return bad(r);
	v >>= 1;
	if ((!first && v == 0) || v > UINT32_MAX - (uint64_t)r->id)
		return bad(r);
	r->id += (uint32_t)v;
	*id = r->id;
	*tf = (uint32_t)f;
	return true;
}

#define FIRST (1u << 31) /* in r->terms, r->pairs: none of them was read yet */

bool doc_term(struct doc_reader *r, uint32_t *id, uint32_t *tf)
{
	bool first = r->terms & FIRST;

	r->terms &= ~FIRST;
	if (r->terms == 0)
		return false;
	if (first)
		r->id = 0;
	r->terms--;
	return next_id(r, first, id, tf);
}

#define PAIRS_NOT_OPEN (UINT32_MAX >> 1)

bool doc_pair(struct doc_reader *r, uint32_t *id, uint32_t *tf)
{
	bool first;

	while (doc_term(r, id, tf))
		;
	if (r->pairs == PAIRS_NOT_OPEN) {
		if (!get_count(r, &r->pairs))
			return false;
		r->pairs |= FIRST;
	}
	first = r->pairs & FIRST;
	r->pairs &= ~FIRST;
	if (r->pairs == 0)
		return false;
	if (first)
		r->id = 0;
	r->pairs--;
	return next_id(r, first, id, tf);
}

static void skip_passage(struct doc_reader *r)
{
	uint32_t id, tf;

	while (doc_term(r, &id, &tf) || doc_pair(r, &id, &tf))
		;
}

bool doc_passage(struct doc_reader *r, uint32_t *len)
{
	uint64_t v;

	skip_passage(r);
	if (r->bad || r->passages == 0)
		return false;
	r->passages--;
	if (!varint_get(&r->p, r->end, &v) || v > UINT32_MAX || !get_count(r, &r->terms))
		return bad(r);
	r->terms |= FIRST;
	r->pairs = r->has_pairs ? PAIRS_NOT_OPEN : 0;
	*len = (uint32_t)v;
	return true;
}

enum err doc_paths(struct doc_reader *r, struct arena *a, struct str **paths, size_t *n)
{
	uint32_t len, count;

	*paths = NULL;
	*n = 0;
	while (doc_passage(r, &len))
		;
	if (r->bad || (r->has_paths && !get_count(r, &count)))
		return err_set(E_CORRUPT, "an index document is damaged");
	if (!r->has_paths)
		return OK;
	*paths = ARENA_ARRAY(a, struct str, count);
	if (!*paths)
		return E_NOMEM;
	for (uint32_t i = 0; i < count; i++) {
		if (!get_count(r, &len))
			return err_set(E_CORRUPT, "an index document is damaged");
		(*paths)[i] = str_of((const char *)r->p, len);
		r->p += len;
	}
	*n = count;
	return OK;
}

bool doc_valid(struct str doc)
{
	struct doc_reader r;
	struct doc_head h;
	uint32_t len, n;

	if (doc_open(doc, &r, &h) != DOC_GOOD)
		return false;
	while (doc_passage(&r, &len))
		;
	if (r.has_paths && !r.bad && get_count(&r, &n))
		for (; n > 0 && get_count(&r, &len); n--)
			r.p += len;
	return !r.bad && r.p == r.end;
}
