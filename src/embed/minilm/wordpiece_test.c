/* The tokenizer against the reference: ids of texts of people and of corner cases (tests/data/wordpiece/texts.jsonl), and hashes of
 * the ids of the code points, the pairs of ASCII characters and some thousand random texts (hashes.txt; make.py there says how
 * they are made). The vocabulary is the model's own. */
#include "base/test_util.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/json/json.h"
#include "base/utf8.h"
#include "core/embed.h"
#include "embed/minilm/wordpiece.h"

#define WIDE 16384 /* a window in which every text of the tests fits */
#define LONG_TEXT (1u << 16)

static struct arena files, scratch;
static struct wordpiece *w;
static uint32_t ids[WIDE];

/* A file of tests/data/wordpiece. CENOTE_SOURCE_ROOT: where the tree is, else the working directory. */
static struct str read_data(const char *name)
{
	const char *root = getenv("CENOTE_SOURCE_ROOT");
	char path[1024], chunk[8192];
	struct buf b;
	FILE *in;

	snprintf(path, sizeof path, "%s/tests/data/wordpiece/%s", root ? root : ".", name);
	in = fopen(path, "rb");
	if (!in)
		fail_msg("cannot open %s; set CENOTE_SOURCE_ROOT", path);
	buf_init(&b, &files, 4u << 20);
	for (size_t n; (n = fread(chunk, 1, sizeof chunk, in)) > 0;)
		buf_put(&b, chunk, n);
	fclose(in);
	assert_int_equal(b.err, OK);
	return buf_slice(&b);
}

static int setup(void **state)
{
	arena_init(&files, 16u << 20);
	arena_init(&scratch, 16u << 20);
	return wordpiece_open(read_data("vocab.txt"), &w) == OK ? 0 : -1;
}

static int teardown(void **state)
{
	wordpiece_free(w);
	arena_release(&scratch);
	arena_release(&files);
	return 0;
}

static uint32_t json_id(struct jval v)
{
	int64_t id = -1;

	assert_true(j_i64(v, &id) && id >= 0 && id < wordpiece_entries(w));
	return (uint32_t)id;
}

/* A line of texts.jsonl: the text, and its n ids into want (of WIDE). */
static struct str fixture_line(struct str line, uint32_t *want, size_t *n)
{
	struct jval key, value;
	struct json d;
	struct str text;
	struct j_iter it;

	arena_clear(&scratch);
	if (json_parse(&scratch, line, &json_default_limits, &d) != OK)
		fail_msg("texts.jsonl: %s", diag_get()->text);
	it = j_iter(json_root(&d));
	assert_true(j_next(&it, &key, &value));
	text = j_str(&scratch, value);
	assert_non_null(text.p);
	for (*n = 0; j_next(&it, &key, &value); ++*n) {
		assert_true(*n < WIDE);
		want[*n] = json_id(value);
	}
	return text;
}

static void check_ids(struct str text, const uint32_t *got, size_t n, const uint32_t *want, size_t want_n)
{
	for (size_t i = 0; i < n && i < want_n; i++)
		if (got[i] != want[i])
			fail_msg("%.*s: id %zu is %u, the reference has %u", STR_ARG(text), i, got[i], want[i]);
	if (n != want_n)
		fail_msg("%.*s: %zu ids, the reference has %zu", STR_ARG(text), n, want_n);
}

/* Narrower windows: the first ids, and [SEP] at the end. */
static void check_windows(struct str text, const uint32_t *want, size_t n)
{
	static const size_t windows[] = {2, 3, 8, 16, 128, WORDPIECE_WINDOW};
	uint32_t cut[WORDPIECE_WINDOW + 1];

	for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
		size_t have = n < windows[i] ? n : windows[i];

		cut[windows[i]] = 4711;
		assert_int_equal(wordpiece_encode(w, text, cut, windows[i]), have);
		assert_memory_equal(cut, want, (have - 1) * sizeof *cut);
		assert_int_equal(cut[have - 1], want[n - 1]);
		assert_int_equal(cut[windows[i]], 4711);
	}
}

static void equals_the_reference(void **state)
{
	static uint32_t want[WIDE];
	struct str rest = read_data("texts.jsonl"), line;
	size_t texts = 0, cut = 0, n;

	while (rest.n > 0) {
		struct str text;

		str_cut(rest, '\n', &line, &rest);
		text = fixture_line(line, want, &n);
		check_ids(text, ids, wordpiece_encode(w, text, ids, WIDE), want, n);
		check_windows(text, want, n);
		texts++;
		cut += n > 128; /* by all but the widest of these windows */
	}
	assert_in_range(texts, 500, 10000);
	assert_in_range(cut, 5, texts);
}

/* ---- hashes.txt: the rules are those of make.py ---- */

static uint64_t hash_ids(uint64_t h, struct str text)
{
	size_t n = wordpiece_encode(w, text, ids, WIDE);

	h = (h ^ n) * UINT64_C(0x100000001b3);
	for (size_t i = 0; i < n; i++)
		h = (h ^ ids[i]) * UINT64_C(0x100000001b3);
	return h;
}
#define HASH_START UINT64_C(0xcbf29ce484222325)

static uint64_t hash_block(uint32_t block)
{
	uint64_t h = HASH_START;

	for (uint32_t cp = block; cp < block + 256; cp++) {
		char c[5] = "", text[32];
		int n;

		if (utf8_put(c, cp) == 0)
			continue; /* a surrogate */
		n = snprintf(text, sizeof text, "%s a%sb %s", c, c, c);
		if (cp == 0)
			h = hash_ids(h, STR("\0 a\0b \0"));
		else
			h = hash_ids(h, str_of(text, (size_t)n));
	}
	return h;
}

static uint64_t hash_pairs(char first)
{
	uint64_t h = HASH_START;

	for (int c = 0; c < 128; c++)
		h = hash_ids(h, str_of((char[2]){first, (char)c}, 2));
	return h;
}

static void random_item(uint64_t *seed, struct buf *b)
{
	static const char *const hot[] = {"a",	    "b",      "A",	"Z",	  "0",	    "9",      " ",	".",	  ",",
					  "#",	    "[",      "]",	"'",	  "\t",	    "\n",     "\u0301", "\u0308", "\u200d",
					  "\ufe0f", "\u5b57", "\uac00", "\u0130", "\u0131", "\u00df", "\u017f", "\u212a", "\u00c5",
					  "\u01c6", "\u00bd", "\ufb01", "[CLS]",  "[SEP]",  "[MASK]", "[UNK]",	"[PAD]",  "##",
					  "ing",    "the",    "un",	"Hello",  "world"};
	uint64_t kind = test_random(seed) % 100;
	uint32_t cp;
	char c[4];

	if (kind < 60) {
		buf_lit(b, hot[test_random(seed) % (sizeof hot / sizeof hot[0])]);
		return;
	}
	cp = (uint32_t)(test_random(seed) % (kind < 90 ? 0x3000 : 0x20000));
	if (cp >= 0xd800 && cp < 0xe000)
		cp = 'a';
	buf_put(b, c, utf8_put(c, cp));
}

static uint64_t hash_random(uint64_t *seed)
{
	uint64_t h = HASH_START;

	for (unsigned k = 0; k < 32; k++) {
		struct buf b;

		arena_clear(&scratch);
		buf_init(&b, &scratch, 4096);
		for (uint64_t n = 1 + test_random(seed) % 40; n > 0; n--)
			random_item(seed, &b);
		assert_int_equal(b.err, OK);
		h = hash_ids(h, buf_slice(&b));
	}
	return h;
}

static void every_character_and_random_texts(void **state)
{
	struct str rest = read_data("hashes.txt"), line, family, name, hash;
	unsigned blocks = 0, pairs = 0, random = 0;
	uint64_t seed = 1, got;

	while (rest.n > 0) {
		str_cut(rest, '\n', &line, &rest);
		assert_true(str_cut(line, ' ', &family, &hash) && str_cut(hash, ' ', &name, &hash) && hash.n == 16);
		if (str_eq(family, STR("block"))) {
			got = hash_block((uint32_t)strtoul(name.p, NULL, 16));
			blocks++;
		} else if (str_eq(family, STR("pairs"))) {
			got = hash_pairs((char)strtoul(name.p, NULL, 10));
			pairs++;
		} else {
			assert_true(str_eq(family, STR("random")));
			got = hash_random(&seed);
			random++;
		}
		if (got != strtoull(hash.p, NULL, 16))
			fail_msg("other ids than the reference in group %.*s (make.py says what it is)", STR_ARG(line));
	}
	assert_int_equal(blocks, 558);
	assert_int_equal(pairs, 128);
	assert_int_equal(random, 128);
}

/* ---- long texts, wrong bytes ---- */

static struct str repeated(const char *what)
{
	size_t n = strlen(what);
	char *p = test_malloc(LONG_TEXT);

	for (size_t i = 0; i < LONG_TEXT; i++)
		p[i] = what[i % n];
	return str_of(p, LONG_TEXT);
}

static void long_texts(void **state)
{
	static const struct {
		const char *unit;
		size_t pieces; /* of LONG_TEXT bytes of it */
	} cases[] = {
		{"a", 1},
		{" ", 0},
		{".", LONG_TEXT},
		{"\xcc\x81", 0}, /* accents */
		{"a ", LONG_TEXT / 2},
		{"z.", LONG_TEXT},
		{"\xe5\xad\x97.", LONG_TEXT / 2},
		{"[SEP]", LONG_TEXT / 5 + 1}, /* the last one is cut: "[" */
		{"\xff", 0},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		static uint32_t all[LONG_TEXT + 3];
		uint32_t narrow[8];
		struct str text = repeated(cases[i].unit);

		assert_int_equal(wordpiece_encode(w, text, all, LONG_TEXT + 3), cases[i].pieces + 2);
		assert_int_equal(wordpiece_encode(w, text, narrow, 8), cases[i].pieces > 6 ? 8 : cases[i].pieces + 2);
		if (cases[i].pieces > 6)
			assert_memory_equal(narrow, all, 7 * sizeof *narrow);
		test_free((char *)text.p);
	}
}

/* What is beyond EMBED_TEXT_MAX bytes does not count, and a character across that border neither. */
static void beyond_the_limit(void **state)
{
	uint32_t few[8];
	char *p = test_malloc(EMBED_TEXT_MAX + 16);

	memset(p, ' ', EMBED_TEXT_MAX + 16);
	memcpy(p + EMBED_TEXT_MAX - 4, "the \xe5\xad\x97 the", 10);
	assert_int_equal(wordpiece_encode(w, str_of(p, EMBED_TEXT_MAX + 16), few, 8), 3);
	memcpy(p + EMBED_TEXT_MAX - 4, "the\xe5\xad\x97 the ", 10);
	assert_int_equal(wordpiece_encode(w, str_of(p, EMBED_TEXT_MAX + 16), few, 8), 3);
	test_free(p);
}

static void bytes_that_are_no_text(void **state)
{
	static const char *const same[][2] = {
		{"caf\xff\xe9 x", "caf x"}, {"\xc3", ""}, {"a\xed\xa0\x80z", "az"}, {"the\xf5 \x80", "the"}};

	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
		uint32_t a[16], b[16];
		size_t n = wordpiece_encode(w, str_c(same[i][0]), a, 16);

		assert_int_equal(n, wordpiece_encode(w, str_c(same[i][1]), b, 16));
		assert_memory_equal(a, b, n * sizeof *a);
	}
}

/* ---- vocabularies ---- */

#define SPECIALS "[PAD]\n[UNK]\n[CLS]\n[SEP]\n"

static void refuse(struct str vocab, enum err code, const char *sentence)
{
	struct wordpiece *v = (struct wordpiece *)1;

	assert_int_equal(wordpiece_open(vocab, &v), code);
	assert_null(v);
	assert_string_equal(diag_get()->text, sentence);
}

static void vocabularies_that_are_none(void **state)
{
	char entry[256];

	refuse(STR(""), E_CORRUPT, "vocab.txt (0 lines) has no line [PAD]");
	refuse(STR("[UNK]\n[CLS]\n[SEP]"), E_CORRUPT, "vocab.txt (3 lines) has no line [PAD]");
	refuse(STR("[PAD]\n[CLS]\n[SEP]\n"), E_CORRUPT, "vocab.txt (3 lines) has no line [UNK]");
	refuse(STR("[PAD]\n[UNK]\n[SEP]\n"), E_CORRUPT, "vocab.txt (3 lines) has no line [CLS]");
	refuse(STR("[PAD]\n[UNK]\n[CLS]\n"), E_CORRUPT, "vocab.txt (3 lines) has no line [SEP]");
	refuse(STR(SPECIALS "a\n##a\nb\na\n"), E_CORRUPT, "vocab.txt line 8: the word piece stands already in line 5");
	refuse(STR(SPECIALS "a\n##a\n##a\n"), E_CORRUPT, "vocab.txt line 7: the word piece stands already in line 6");
	refuse(STR(SPECIALS "\na\n"), E_CORRUPT, "vocab.txt line 5: empty; every line holds one word piece");
	refuse(STR(SPECIALS "a\n\n"), E_CORRUPT, "vocab.txt line 6: empty; every line holds one word piece");
	refuse(STR("[PAD]\r\n[UNK]\r\n"), E_CORRUPT, "vocab.txt line 1: a blank or control character in a word piece");
	refuse(STR(SPECIALS "a b\n"), E_CORRUPT, "vocab.txt line 5: a blank or control character in a word piece");
	refuse(STR(SPECIALS "a\0b\n"), E_CORRUPT, "vocab.txt line 5: a blank or control character in a word piece");
	refuse(STR(SPECIALS "caf\xe9\n"), E_CORRUPT, "vocab.txt line 5: not valid UTF-8");
	snprintf(entry, sizeof entry, SPECIALS "%0129d\n", 0);
	refuse(str_c(entry), E_CORRUPT, "vocab.txt line 5: 129 bytes; a word piece has at most 128");
	snprintf(entry, sizeof entry, "%0200d", 0);
	refuse(str_c(entry), E_CORRUPT, "vocab.txt: 200 bytes in 1 lines; a word piece has at most 128 bytes");
}

static void vocabulary_of_every_size(void **state)
{
	struct wordpiece *v;
	struct buf b;

	arena_clear(&scratch);
	buf_init(&b, &scratch, 4u << 20);
	buf_lit(&b, SPECIALS);
	for (unsigned i = 4; i < WORDPIECE_ENTRIES_MAX; i++)
		buf_printf(&b, "%s%x\n", i & 1 ? "##" : "", i);
	assert_int_equal(wordpiece_open(buf_slice(&b), &v), OK);
	assert_int_equal(wordpiece_entries(v), WORDPIECE_ENTRIES_MAX);
	for (unsigned i = 4; i < WORDPIECE_ENTRIES_MAX; i++) {
		char text[16];

		snprintf(text, sizeof text, i & 1 ? "4%x" : "%x", i);
		wordpiece_encode(v, str_c(text), ids, WIDE);
		if (!(i & 1))
			assert_int_equal(ids[1], i);
	}
	wordpiece_free(v);
	buf_lit(&b, "x\n");
	refuse(buf_slice(&b), E_LIMIT, "vocab.txt has 65537 lines, at most 65536 are allowed");
}

static void small_vocabulary(void **state)
{
	static const uint32_t want[] = {2, 4, 5, 6, 1, 7, 3};
	struct wordpiece *v;

	wordpiece_free(NULL);
	/* No [MASK], no line feed at the end, "##" as a word. */
	assert_int_equal(wordpiece_open(STR(SPECIALS "a\n##b\n##bc\n[\n##"), &v), OK);
	assert_int_equal(wordpiece_entries(v), 9);
	assert_int_equal(wordpiece_encode(v, STR("ABBC bc [MASK]"), ids, 7), 7);
	assert_memory_equal(ids, want, sizeof want);
	/* The longest piece first, even where a shorter one would have worked out. */
	assert_int_equal(wordpiece_encode(v, STR("abcb abcc"), ids, WIDE), 6);
	assert_int_equal(ids[4], 1);
	wordpiece_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_the_reference),
		cmocka_unit_test(every_character_and_random_texts),
		cmocka_unit_test(long_texts),
		cmocka_unit_test(beyond_the_limit),
		cmocka_unit_test(bytes_that_are_no_text),
		cmocka_unit_test(vocabularies_that_are_none),
		cmocka_unit_test(vocabulary_of_every_size),
		cmocka_unit_test(small_vocabulary),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
