/* The vocabulary as a table of hashes, and the scanner that makes words and cuts them into pieces.
 *
 *  1. Entry i is the i-th line; word[i] .. word[i + 1] - 1 are its bytes in text. A "##" entry is kept without the "##" and found
 *     only inside a word; all others are found only where a word begins.
 *  2. slots has a power of two of at least twice the entries; a slot with id NONE is free; each entry is found within PROBES_MAX.
 *  3. A word under way has at most CHARS_MAX characters, so it fits; of a longer one only that it is too long is remembered. */
#include "embed/minilm/wordpiece.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "core/embed.h"
#include "embed/minilm/wordpiece_text.h"

#define NONE UINT32_MAX
#define PROBES_MAX 256 /* an honest vocabulary needs a few dozen */
#define CHARS_MAX 100  /* of a word, as the reference has it (max_input_chars_per_word) */
#define SPECIAL_N 5

enum special { PAD, UNK, CLS, SEP, MASK };
static const struct str special_text[SPECIAL_N] = {STR_INIT("[PAD]"), STR_INIT("[UNK]"), STR_INIT("[CLS]"), STR_INIT("[SEP]"),
						   STR_INIT("[MASK]")};

struct slot {
	uint32_t tag; /* upper half of the hash */
	uint32_t id;
};

struct wordpiece {
	char *text;	/* entries one after the other */
	uint32_t *word; /* entries + 1 offsets into text */
	struct slot *slots;
	uint32_t mask; /* slots - 1 */
	uint32_t entries;
	uint32_t longest[2]; /* bytes of the longest entry; [1]: of the "##" entries */
	uint32_t special[SPECIAL_N];
};

/* Hashes of all prefixes of a word come out of one pass. */
static inline uint64_t hash_start(bool inner)
{
	return inner ? UINT64_C(0x27d4eb2f165667c5) : UINT64_C(0x165667b19e3779f9);
}

static inline uint64_t hash_byte(uint64_t h, char c)
{
	h = (h ^ (unsigned char)c) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 32;
}

/* Whether an entry is a "##" one does not show in its bytes but is part of its hash, and of this. */
static inline bool is_inner(const struct wordpiece *w, uint32_t id)
{
	return w->word[id] >> 31;
}

static inline struct str entry_text(const struct wordpiece *w, uint32_t id)
{
	uint32_t from = w->word[id] & INT32_MAX;

	return str_of(w->text + from, (w->word[id + 1] & INT32_MAX) - from);
}

/* The slot of an entry, or the free one where it would be; NULL when neither is near. */
static inline struct slot *find(const struct wordpiece *w, uint64_t h, struct str s, bool inner)
{
	uint32_t tag = (uint32_t)(h >> 32);

	for (uint32_t i = 0; i < PROBES_MAX; i++) {
		struct slot *slot = &w->slots[((uint32_t)h + i) & w->mask];

		if (slot->id == NONE)
			return slot;
		if (slot->tag == tag && is_inner(w, slot->id) == inner && str_eq(entry_text(w, slot->id), s))
			return slot;
	}
	return NULL;
}

void wordpiece_free(struct wordpiece *w)
{
	if (!w)
		return;
	free(w->text);
	free(w->word);
	free(w->slots);
	free(w);
}

uint32_t wordpiece_entries(const struct wordpiece *w)
{
	return w->entries;
}

/* Lines, a last one without line feed included. */
static size_t count_lines(struct str vocab)
{
	size_t n = 0;

	for (ptrdiff_t at = 0; (size_t)at < vocab.n && (at = str_chr(vocab, '\n', (size_t)at)) >= 0; at++)
		n++;
	return n + (vocab.n > 0 && vocab.p[vocab.n - 1] != '\n');
}

static enum err check_entry(struct str line, uint32_t id)
{
	if (line.n == 0)
		return err_set(E_CORRUPT, "vocab.txt line %u: empty; every line holds one word piece", id + 1);
	if (line.n > WORDPIECE_ENTRY_MAX)
		return err_set(E_CORRUPT, "vocab.txt line %u: %zu bytes; a word piece has at most %d", id + 1, line.n,
			       WORDPIECE_ENTRY_MAX);
	for (size_t i = 0; i < line.n; i++)
		if ((unsigned char)line.p[i] <= ' ' || line.p[i] == 0x7f)
			return err_set(E_CORRUPT, "vocab.txt line %u: a blank or control character in a word piece", id + 1);
	if (!utf8_valid(line))
		return err_set(E_CORRUPT, "vocab.txt line %u: not valid UTF-8", id + 1);
	return OK;
}

static enum err add_entry(struct wordpiece *w, struct str line)
{
	uint32_t id = w->entries, from = w->word[id];
	bool inner = line.n > 2 && str_starts(line, STR("##"));
	struct str s = str_sub(line, inner ? 2 : 0, line.n);
	uint64_t h = hash_start(inner);
	struct slot *slot;

	TRY(check_entry(line, id));
	for (size_t i = 0; i < s.n; i++)
		h = hash_byte(h, s.p[i]);
	slot = find(w, h, s, inner);
	if (!slot)
		return err_set(E_CORRUPT, "vocab.txt line %u: too many word pieces with the same hash; these are no words", id + 1);
	if (slot->id != NONE)
		return err_set(E_CORRUPT, "vocab.txt line %u: the word piece stands already in line %u", id + 1, slot->id + 1);
	memcpy(w->text + from, s.p, s.n);
	w->word[id] = from | (uint32_t)inner << 31;
	w->word[id + 1] = from + (uint32_t)s.n;
	w->entries++;
	*slot = (struct slot){(uint32_t)(h >> 32), id};
	if (s.n > w->longest[inner])
		w->longest[inner] = (uint32_t)s.n;
	for (unsigned i = 0; i < SPECIAL_N; i++)
		if (str_eq(line, special_text[i]))
			w->special[i] = id;
	return OK;
}

static enum err read_entries(struct wordpiece *w, struct str vocab, size_t lines)
{
	struct str line, rest = vocab;

	for (size_t i = 0; i < lines; i++) {
		str_cut(rest, '\n', &line, &rest);
		TRY(add_entry(w, line));
	}
	for (unsigned i = 0; i < SPECIAL_N; i++)
		if (w->special[i] == NONE && i != MASK)
			return err_set(E_CORRUPT, "vocab.txt (%zu lines) has no line %s", lines, special_text[i].p);
	return OK;
}

enum err wordpiece_open(struct str vocab, struct wordpiece **out)
{
	size_t lines = count_lines(vocab), slots = 16;
	struct wordpiece *w;
	enum err e;

	*out = NULL;
	if (lines > WORDPIECE_ENTRIES_MAX)
		return err_set(E_LIMIT, "vocab.txt has %zu lines, at most %d are allowed", lines, WORDPIECE_ENTRIES_MAX);
	/* Checked here, so that no more is allocated than entries of the allowed length can need. */
	if (vocab.n > lines * (WORDPIECE_ENTRY_MAX + 1))
		return err_set(E_CORRUPT, "vocab.txt: %zu bytes in %zu lines; a word piece has at most %d bytes", vocab.n, lines,
			       WORDPIECE_ENTRY_MAX);
	while (slots < 2 * lines)
		slots *= 2;
	w = calloc(1, sizeof *w);
	if (!w)
		return err_set(E_LIMIT, "no memory for the tokenizer");
	w->text = malloc(vocab.n + 1);
	w->word = calloc(lines + 1, sizeof *w->word);
	w->slots = malloc(slots * sizeof *w->slots);
	w->mask = (uint32_t)slots - 1;
	if (!w->text || !w->word || !w->slots) {
		wordpiece_free(w);
		return err_set(E_LIMIT, "no memory for a vocabulary of %zu word pieces", lines);
	}
	memset(w->slots, 0xff, slots * sizeof *w->slots);
	memset(w->special, 0xff, sizeof w->special);
	e = read_entries(w, vocab, lines);
	if (e != OK) {
		wordpiece_free(w);
		return e;
	}
	*out = w;
	return OK;
}

/* The word under way, in lower case. */
struct word {
	unsigned n, chars; /* bytes; characters, CHARS_MAX + 1: too many */
	char p[CHARS_MAX * 4];
};

struct scan {
	const struct wordpiece *w;
	uint32_t *ids; /* the first room pieces */
	size_t room;   /* after which nothing more is looked at */
	size_t n;      /* pieces seen */
	struct word word;
};

static inline void put(struct scan *s, uint32_t id)
{
	if (s->n < s->room)
		s->ids[s->n] = id;
	s->n++;
}

/* The longest entry that p begins with; its bytes, 0 when there is none. */
static size_t longest_entry(const struct wordpiece *w, const char *p, size_t n, bool inner, uint32_t *id)
{
	uint64_t h[WORDPIECE_ENTRY_MAX + 1];

	if (n > w->longest[inner])
		n = w->longest[inner];
	h[0] = hash_start(inner);
	for (size_t i = 0; i < n; i++)
		h[i + 1] = hash_byte(h[i], p[i]);
	for (; n > 0; n--) {
		const struct slot *slot = find(w, h[n], str_of(p, n), inner);

		if (slot && slot->id != NONE) {
			*id = slot->id;
			return n;
		}
	}
	return 0;
}

static void word_end(struct scan *s)
{
	struct word *word = &s->word;
	uint32_t ids[CHARS_MAX];
	size_t pieces = 0, at = 0;

	if (word->chars == 0)
		return;
	while (word->chars <= CHARS_MAX && at < word->n) {
		size_t n = longest_entry(s->w, word->p + at, word->n - at, at > 0, &ids[pieces]);

		if (n == 0)
			break;
		at += n;
		pieces++;
	}
	if (at == word->n && word->chars <= CHARS_MAX)
		for (size_t i = 0; i < pieces; i++)
			put(s, ids[i]);
	else
		put(s, s->w->special[UNK]);
	word->n = word->chars = 0;
}

static inline void word_add(struct word *word, uint32_t cp)
{
	if (word->chars >= CHARS_MAX) {
		word->chars = CHARS_MAX + 1;
		return;
	}
	word->chars++;
	if (cp < 0x80)
		word->p[word->n++] = (char)cp;
	else
		word->n += utf8_put(word->p + word->n, cp);
}

static void add_char(struct scan *s, enum wordpiece_class cls, uint32_t cp)
{
	if (cls == WORDPIECE_LETTER) {
		word_add(&s->word, cp);
		return;
	}
	word_end(s);
	if (cls == WORDPIECE_PUNCT) {
		word_add(&s->word, cp);
		word_end(s);
	}
}

static size_t add_other(struct scan *s, struct str text, size_t i)
{
	int32_t cp = utf8_next(text, &i);
	struct wordpiece_chars c;

	if (cp < 0)
		return i;
	wordpiece_char((uint32_t)cp, &c);
	if (c.chinese)
		word_end(s);
	for (unsigned k = 0; k < c.n; k++)
		add_char(s, (enum wordpiece_class)c.cls[k], c.cp[k]);
	if (c.chinese)
		word_end(s);
	return i;
}

/* A special piece written out at i: its bytes, else 0. */
static size_t add_special(struct scan *s, struct str text, size_t i)
{
	for (unsigned k = 0; k < SPECIAL_N; k++)
		if (s->w->special[k] != NONE && str_starts(str_sub(text, i, text.n), special_text[k])) {
			word_end(s);
			put(s, s->w->special[k]);
			return special_text[k].n;
		}
	return 0;
}

static void scan_text(struct scan *s, struct str text)
{
	size_t i = 0, n;

	text = utf8_cut(text, EMBED_TEXT_MAX);
	while (i < text.n && s->n < s->room) {
		unsigned char c = (unsigned char)text.p[i];

		if (c >= 0x80) {
			i = add_other(s, text, i);
			continue;
		}
		if (c == '[' && (n = add_special(s, text, i)) > 0) {
			i += n;
			continue;
		}
		i++;
		if (wordpiece_ascii[c] == WORDPIECE_LETTER)
			word_add(&s->word, c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
		else if (wordpiece_ascii[c] != WORDPIECE_DROPPED)
			add_char(s, (enum wordpiece_class)wordpiece_ascii[c], c);
	}
	if (s->n < s->room)
		word_end(s);
}

/* Not the whole struct is cleared: that would cost more than a short text does. */
static void scan_init(struct scan *s, const struct wordpiece *w, uint32_t *ids, size_t room)
{
	s->w = w;
	s->ids = ids;
	s->room = room;
	s->n = 0;
	s->word.n = s->word.chars = 0;
}

size_t wordpiece_encode(const struct wordpiece *w, struct str text, uint32_t *ids, size_t window)
{
	size_t room = window - 2, n;
	struct scan s;

	scan_init(&s, w, ids + 1, room);
	scan_text(&s, text);
	n = s.n < room ? s.n : room;
	ids[0] = w->special[CLS];
	ids[n + 1] = w->special[SEP];
	return n + 2;
}
