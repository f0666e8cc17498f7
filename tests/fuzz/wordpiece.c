/* Fuzz target: the tokenizer. The first byte chooses: the rest is a vocabulary, which is refused or finds its own entries again; or
 * a text for a small vocabulary, where windows are cut from one sequence of pieces, and where the pieces of an ASCII
 * text, put together, are the text in lower case without its blanks and control characters. */
#include <string.h>

#include "core/embed.h"
#include "embed/minilm/wordpiece.h"
#include "must.h"

#define WIDE 70000 /* ids: more than an input of the fuzzer gives */

static const char *const words[] = {"[PAD]",  "[UNK]",	   "[CLS]",    "[SEP]",	 "[MASK]", "the", "##the",
				    "##ing",  "un",	   "##un",     "hello",	 "##llo",  "abc", "##bcdefghi",
				    "\u0430", "##\u0430b", "##\u1161", "\u1100", "\u5b57"};
#define WORDS (sizeof words / sizeof words[0])

static const char *entry(uint32_t id, char single[4])
{
	uint32_t k = id - (uint32_t)WORDS;

	if (id < WORDS)
		return words[id];
	/* After them every printable ASCII character but capitals, then letters and digits as "##" pieces. */
	memcpy(single, "##\0", 4);
	if (k < 94) {
		single[0] = (char)('!' + k);
		single[1] = 0;
	} else {
		single[2] = (char)(k - 94 < 26 ? 'a' + (int)(k - 94) : '0' + (int)(k - 94 - 26));
		single[3] = 0;
	}
	return single;
}
#define ENTRIES (WORDS + 94 + 36)

static const struct wordpiece *small(void)
{
	static struct wordpiece *w;
	char text[4096], single[4];
	size_t n = 0;

	if (w)
		return w;
	for (uint32_t id = 0; id < ENTRIES; id++) {
		const char *e = entry(id, single);

		memcpy(text + n, e, strlen(e));
		n += strlen(e);
		text[n++] = '\n';
	}
	MUST(wordpiece_open(str_of(text, n), &w) == OK && wordpiece_entries(w) == ENTRIES);
	return w;
}

static void vocabulary(struct str vocab)
{
	struct wordpiece *w;
	uint32_t ids[64];
	struct str line;

	if (wordpiece_open(vocab, &w) != OK) {
		MUST(w == NULL && diag_get()->text[0]);
		return;
	}
	for (uint32_t id = 0; id < wordpiece_entries(w); id++) {
		bool plain = true;

		str_cut(vocab, '\n', &line, &vocab);
		for (size_t i = 0; i < line.n; i++)
			plain &= (line.p[i] >= 'a' && line.p[i] <= 'z') || (line.p[i] >= '0' && line.p[i] <= '9');
		size_t n = wordpiece_encode(w, line, ids, 64);
		MUST(n >= 2 && n <= 64);
		for (size_t i = 0; i < n; i++)
			MUST(ids[i] < wordpiece_entries(w));
		if (plain && line.n <= 100)
			MUST(n == 3 && ids[1] == id);
	}
	wordpiece_free(w);
}

/* The pieces of an ASCII text, put together. A word too long stands there as [UNK], as does "[UNK]" itself: such texts are not
 * looked at. */
static void put_together(struct str text, const uint32_t *ids, size_t n)
{
	size_t at = 0;
	char single[4];

	for (size_t i = 0; i < text.n; i++)
		if ((unsigned char)text.p[i] >= 0x80)
			return;
	for (size_t i = 1; i + 1 < n; i++)
		if (ids[i] == 1)
			return;
	for (size_t i = 1; i + 1 < n; i++) {
		const char *e = entry(ids[i], single);
		bool special = ids[i] < 5;

		for (e += strlen(e) > 2 && strncmp(e, "##", 2) == 0 ? 2 : 0; *e; e++, at++) {
			while (at < text.n && (text.p[at] <= ' ' || text.p[at] == 0x7f))
				at++;
			MUST(at < text.n);
			MUST(*e == (!special && text.p[at] >= 'A' && text.p[at] <= 'Z' ? text.p[at] + 32 : text.p[at]));
		}
	}
	while (at < text.n && (text.p[at] <= ' ' || text.p[at] == 0x7f))
		at++;
	MUST(at == text.n);
}

static void tokenize(struct str text)
{
	static uint32_t all[WIDE], some[WIDE];
	const struct wordpiece *w = small();
	size_t n = wordpiece_encode(w, text, all, WIDE), k;

	MUST(n >= 2 && n < WIDE && all[0] == 2 && all[n - 1] == 3);
	for (size_t i = 0; i < n; i++)
		MUST(all[i] < ENTRIES);
	put_together(text, all, n);
	for (size_t window = 2; window < 300; window += 37) {
		k = wordpiece_encode(w, text, some, window);
		MUST(k == (n < window ? n : window) && some[k - 1] == 3 && memcmp(some, all, (k - 1) * sizeof *all) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = str_of((const char *)data + 1, size ? size - 1 : 0);

	/* In the replay an input may be larger than the fuzzer makes them. */
	if (size == 0 || size > WIDE - 4)
		return 0;
	if (data[0] & 1)
		vocabulary(rest);
	else
		tokenize(rest);
	return 0;
}
