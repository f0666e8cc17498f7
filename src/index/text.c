/* The tokenizer and the stemmer's cache. See text.h for what holds. */
#include "index/text.h"

#include <libstemmer.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "index/fold.h"

/* ------------------------------------------------------------------ lists */

void terms_init(struct terms *t)
{
	memset(t, 0, sizeof *t);
}

void terms_release(struct terms *t)
{
	free(t->ids);
	free(t->flags);
	terms_init(t);
}

void terms_clear(struct terms *t)
{
	t->n = 0;
	t->failed = t->has_time = false;
}

static bool terms_grow(struct terms *t)
{
	size_t cap = t->cap ? t->cap * 2 : 256;
	uint32_t *ids = realloc(t->ids, cap * sizeof *ids);
	uint8_t *flags;

	if (ids)
		t->ids = ids;
	flags = ids ? realloc(t->flags, cap) : NULL;
	if (!flags) {
		t->failed = true;
		return false;
	}
	t->flags = flags;
	t->cap = cap;
	return true;
}

static void terms_add(struct terms *t, uint32_t id, unsigned flags)
{
	if (t->n == t->cap && !terms_grow(t))
		return;
	t->ids[t->n] = id;
	t->flags[t->n++] = (uint8_t)flags;
}

/* ------------------------------------------------- what a thread remembers */

#define STEM_SLOTS_MIN (1u << 10)
#define STEM_SLOTS_MAX (1u << 16)
#define FOLD_SLOTS 512u

enum { SLOT_STOP = 1, SLOT_TIME = 2 };
struct stem_slot {
	uint64_t key; /* hash64 of the folded word, mixed with the language; 0: free */
	uint32_t id;
	uint32_t flags;
};
struct fold_slot {
	uint32_t cp; /* 0: free */
	uint8_t n, cls;
	char bytes[10];
};
struct per_thread {
	struct sb_stemmer *stemmers[LANG_MAX];
	struct stem_slot *stems;
	uint32_t slots, misses; /* misses since the table grew last */
	struct fold_slot *folds;
	struct terms scratch;
};

static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static __thread struct per_thread *mine;

static void per_thread_free(void *arg)
{
	struct per_thread *t = arg;

	for (size_t i = 0; i < LANG_MAX; i++)
		if (t->stemmers[i])
			sb_stemmer_delete(t->stemmers[i]);
	free(t->stems);
	free(t->folds);
	terms_release(&t->scratch);
	free(t);
	mine = NULL;
}

/* The main thread's destructors do not run when main returns. */
static __attribute__((destructor)) void main_thread_free(void)
{
	if (mine) {
		(void)pthread_setspecific(thread_key, NULL);
		per_thread_free(mine);
	}
}

static void thread_key_make(void)
{
	if (pthread_key_create(&thread_key, per_thread_free) != 0)
		abort();
}

static struct per_thread *per_thread(void)
{
	struct per_thread *t = mine;

	if (t)
		return t;
	pthread_once(&thread_once, thread_key_make);
	t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->stems = calloc(STEM_SLOTS_MIN, sizeof *t->stems);
	t->folds = calloc(FOLD_SLOTS, sizeof *t->folds);
	t->slots = STEM_SLOTS_MIN;
	if (!t->stems || !t->folds || pthread_setspecific(thread_key, t) != 0) {
		per_thread_free(t);
		return NULL;
	}
	mine = t;
	return t;
}

struct terms *text_scratch(void)
{
	struct per_thread *t = per_thread();

	if (!t)
		return NULL;
	if (t->scratch.cap > (1u << 16)) /* one huge text should not be paid for ever after */
		terms_release(&t->scratch);
	terms_clear(&t->scratch);
	return &t->scratch;
}

/* ------------------------------------------------------------- word lists */

struct word_set {
	uint64_t *hashes; /* sorted */
	size_t n;
};
struct lang_sets {
	struct word_set stop, times;
};
static _Atomic(struct lang_sets *) sets_of[LANG_MAX];

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static bool set_build(struct word_set *set, const char *words)
{
	struct str rest = str_c(words), word;
	struct arena a;
	size_t cap = 1;
	bool more = rest.n > 0;

	for (size_t i = 0; i < rest.n; i++)
		cap += rest.p[i] == ' ';
	set->hashes = malloc(cap * sizeof *set->hashes);
	if (!set->hashes)
		return false;
	arena_init(&a, 1u << 20);
	while (more) {
		more = str_cut(rest, ' ', &word, &rest);
		if (word.n > 0 && set->n < cap)
			set->hashes[set->n++] = hash64(text_fold(&a, word));
	}
	arena_release(&a);
	qsort(set->hashes, set->n, sizeof *set->hashes, cmp_u64);
	return true;
}

static bool set_has(const struct word_set *set, uint64_t h)
{
	size_t lo = 0, hi = set->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (set->hashes[mid] < h)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < set->n && set->hashes[lo] == h;
}

static void sets_free(struct lang_sets *s)
{
	free(s->stop.hashes);
	free(s->times.hashes);
	free(s);
}

/* The lists of a language as hashes, made at first use and kept; NULL when memory is short. */
static const struct lang_sets *lang_sets(const struct lang *l)
{
	struct lang_sets *have = atomic_load_explicit(&sets_of[l->id], memory_order_acquire), *made;

	if (have)
		return have;
	made = calloc(1, sizeof *made);
	if (!made)
		return NULL;
	if (!set_build(&made->stop, l->stop) || !set_build(&made->times, l->times)) {
		sets_free(made);
		return NULL;
	}
	if (atomic_compare_exchange_strong(&sets_of[l->id], &have, made))
		return made;
	sets_free(made); /* another thread was faster */
	return have;
}

static __attribute__((destructor)) void sets_release(void)
{
	for (size_t i = 0; i < LANG_MAX; i++) {
		struct lang_sets *s = atomic_exchange(&sets_of[i], NULL);

		if (s)
			sets_free(s);
	}
}

/* --------------------------------------------------------------- stemming */

static struct str stem(struct per_thread *t, const struct lang *l, struct str word)
{
	const sb_symbol *s;

	if (!l->stems || word.n > TOKEN_MAX)
		return word;
	if (!t->stemmers[l->id])
		t->stemmers[l->id] = sb_stemmer_new(l->name, "UTF_8");
	if (!t->stemmers[l->id])
		return word;
	s = sb_stemmer_stem(t->stemmers[l->id], (const sb_symbol *)word.p, (int)word.n);
	if (!s || sb_stemmer_length(t->stemmers[l->id]) <= 0)
		return word;
	return str_of((const char *)s, (size_t)sb_stemmer_length(t->stemmers[l->id]));
}

static bool is_year(struct str w)
{
	return w.n == 4 && (memcmp(w.p, "19", 2) == 0 || memcmp(w.p, "20", 2) == 0) && w.p[2] >= '0' && w.p[2] <= '9' &&
	       w.p[3] >= '0' && w.p[3] <= '9';
}

/* A table that misses often and is not yet as large as it may be grows fourfold; words move over as they come again. */
static void stems_grow(struct per_thread *t)
{
	struct stem_slot *more;

	t->misses = 0;
	if (t->slots >= STEM_SLOTS_MAX)
		return;
	more = calloc((size_t)t->slots * 4, sizeof *more);
	if (!more)
		return;
	t->slots *= 4;
	for (uint32_t i = 0; i < t->slots / 4; i++)
		if (t->stems[i].key)
			more[t->stems[i].key & (t->slots - 1)] = t->stems[i];
	free(t->stems);
	t->stems = more;
}

static struct stem_slot look_up(struct per_thread *t, const struct lang *l, struct str word)
{
	uint64_t h = hash64(word);
	uint64_t key = (h + l->id * 0x9e3779b97f4a7c15u) | 1u << 31;
	struct stem_slot *slot = &t->stems[key & (t->slots - 1)];
	const struct lang_sets *sets;
	uint32_t flags = 0;

	if (slot->key == key)
		return *slot;
	sets = lang_sets(l);
	if (sets && set_has(&sets->stop, h))
		flags |= SLOT_STOP;
	if (is_year(word) || (sets && set_has(&sets->times, h)))
		flags |= SLOT_TIME;
	if (slot->key && ++t->misses > t->slots / 2) {
		stems_grow(t);
		slot = &t->stems[key & (t->slots - 1)];
	}
	*slot = (struct stem_slot){key, flags & SLOT_STOP ? 0 : hash32(stem(t, l, word)), flags};
	return *slot;
}

/* -------------------------------------------------------------- tokenizer */

#define WORD_ROOM 256u

struct tokenizer {
	struct per_thread *t;
	const struct lang *l;
	struct terms *out;
	/* Questions only: */
	struct arena *arena;
	struct text_word *words;
	size_t words_n, words_cap;
	bool no_memory;
	/* The word under way. */
	size_t n;
	uint64_t begun; /* hash of what did not fit into word; 0: all is there */
	char word[WORD_ROOM];
	/* The run of a script without spaces under way: its last character. */
	unsigned run;
	char last[4];
	unsigned last_n;
};

static void keep_word(struct tokenizer *k, uint32_t id, unsigned flags, struct str text)
{
	struct text_word *more;
	struct str copy;

	if (k->words_n == k->words_cap) {
		size_t cap = k->words_cap ? k->words_cap * 2 : 16;

		more = arena_grow(k->arena, k->words, k->words_cap * sizeof *more, cap * sizeof *more);
		if (!more) {
			k->no_memory = true;
			return;
		}
		k->words = more;
		k->words_cap = cap;
	}
	copy = arena_str(k->arena, text);
	if (!copy.p)
		k->no_memory = true;
	else
		k->words[k->words_n++] = (struct text_word){id, (uint8_t)flags, copy};
}

static void word_end(struct tokenizer *k, const char *p, size_t n)
{
	struct stem_slot s;
	struct str w = {p, n};

	if (n == 0)
		return;
	s = look_up(k->t, k->l, w);
	if (k->out) {
		k->out->has_time |= (s.flags & SLOT_TIME) != 0;
		if (!(s.flags & SLOT_STOP))
			terms_add(k->out, s.id, 0);
	} else if (!(s.flags & SLOT_STOP)) {
		keep_word(k, s.id, 0, stem(k->t, k->l, w));
	}
}

static void bigram(struct tokenizer *k, const char *p, size_t n)
{
	if (k->out)
		terms_add(k->out, hash32(str_of(p, n)), TERM_BIGRAM);
	else
		keep_word(k, hash32(str_of(p, n)), TERM_BIGRAM, str_of(p, n));
}

/* Ends whatever is under way. */
static void token_end(struct tokenizer *k)
{
	if (k->begun) {
		uint64_t parts[2] = {k->begun, hash64(str_of(k->word, k->n))};
		uint32_t id = hash32(str_of((const char *)parts, sizeof parts));

		if (k->out)
			terms_add(k->out, id, 0);
		else
			keep_word(k, id, 0, utf8_cut(str_of(k->word, k->n), TOKEN_MAX));
		k->n = 0;
		k->begun = 0;
	} else if (k->n) {
		size_t n = k->n;

		k->n = 0;
		word_end(k, k->word, n);
	}
	if (k->run == 1)
		bigram(k, k->last, k->last_n);
	k->run = 0;
}

static void word_add(struct tokenizer *k, const char *p, size_t n)
{
	if (k->run)
		token_end(k);
	if (k->n + n > WORD_ROOM) {
		uint64_t parts[2] = {k->begun, hash64(str_of(k->word, k->n))};

		k->begun = hash64(str_of((const char *)parts, sizeof parts)) | 1;
		k->n = 0;
	}
	memcpy(k->word + k->n, p, n);
	k->n += n;
}

static void no_spaces_add(struct tokenizer *k, const char *p, unsigned n)
{
	char two[8];

	if (k->n || k->begun)
		token_end(k);
	if (k->run) {
		memcpy(two, k->last, k->last_n);
		memcpy(two + k->last_n, p, n);
		bigram(k, two, k->last_n + n);
	}
	memcpy(k->last, p, n);
	k->last_n = n;
	k->run = k->run ? 2 : 1;
}

static void folded_add(struct tokenizer *k, unsigned cls, const char *p, unsigned n)
{
	if (cls == CHAR_SEPARATOR)
		token_end(k);
	else if (cls == CHAR_WORD)
		word_add(k, p, n);
	else if (cls == CHAR_NO_SPACES)
		no_spaces_add(k, p, n);
}

/* Folds one character by the slow way and remembers the result when it is short and of one class. */
static void char_add_slow(struct tokenizer *k, uint32_t cp, struct fold_slot *slot)
{
	struct folded f;
	char bytes[FOLD_MAX * 4];
	size_t n = 0;
	bool same = true;

	fold_char(cp, &f);
	for (unsigned i = 0; i < f.n; i++) {
		char one[4];
		unsigned len = utf8_put(one, f.cp[i]);

		folded_add(k, f.cls[i], one, len);
		memcpy(bytes + n, one, len);
		n += len;
		same &= f.cls[i] == f.cls[0] && (i == 0 || f.cls[i] == CHAR_WORD);
	}
	if (f.n == 0 || (same && n <= sizeof slot->bytes)) {
		slot->cp = cp;
		slot->n = (uint8_t)n;
		slot->cls = f.n ? f.cls[0] : CHAR_DROPPED;
		memcpy(slot->bytes, bytes, n);
	}
}

#define COMBINING_BREVE 0x0306

static void char_add(struct tokenizer *k, uint32_t cp)
{
	struct fold_slot *slot = &k->t->folds[cp & (FOLD_SLOTS - 1)];

	if (cp == COMBINING_BREVE && k->n >= 2 && memcmp(k->word + k->n - 2, "\xd0\xb8", 2) == 0)
		k->word[k->n - 1] = '\xb9'; /* i with breve, written as two characters */
	else if (slot->cp == cp)
		folded_add(k, slot->cls, slot->bytes, slot->n);
	else
		char_add_slow(k, cp, slot);
}

static bool is_kana(uint32_t cp)
{
	return (cp >= 0x3041 && cp <= 0x30ff) || (cp >= 0xff66 && cp <= 0xff9d);
}

/* Voicing marks that follow a kana as characters of their own are joined with it. */
static uint32_t join_voicing(uint32_t cp, struct str s, size_t *i)
{
	struct folded f;
	size_t at = *i;
	int32_t mark = at < s.n ? utf8_next(s, &at) : -1;

	if (mark == 0xff9e || mark == 0xff9f)
		mark = mark == 0xff9e ? 0x3099 : 0x309a;
	if (mark != 0x3099 && mark != 0x309a)
		return cp;
	fold_char(cp, &f);
	*i = at;
	return f.n == 1 ? fold_voiced(f.cp[0], (uint32_t)mark) : cp;
}

/* Letters and digits to what they fold to, everything else to 0. */
static const char ascii_fold[128] = {
	['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8',
	['9'] = '9', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h',
	['i'] = 'i', ['j'] = 'j', ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q',
	['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z',
	['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i',
	['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r',
	['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z'};

static void tokenize(struct tokenizer *k, struct str s)
{
	size_t i = 0;

	while (i < s.n) {
		unsigned char c = (unsigned char)s.p[i];
		char f = c < 128 ? ascii_fold[c] : 0;

		if (f) {
			if (k->run || k->n >= WORD_ROOM)
				word_add(k, &f, 1);
			else
				k->word[k->n++] = f;
			i++;
		} else if (c < 128) {
			token_end(k);
			i++;
		} else {
			int32_t cp = utf8_next(s, &i);

			if (cp < 0)
				token_end(k);
			else
				char_add(k, is_kana((uint32_t)cp) ? join_voicing((uint32_t)cp, s, &i) : (uint32_t)cp);
		}
	}
	token_end(k);
}

void text_analyse(const struct lang *l, struct str text, struct terms *out)
{
	struct tokenizer k;

	k.t = per_thread();
	if (!k.t) {
		out->failed = true;
		return;
	}
	k.l = l;
	k.out = out;
	k.n = k.begun = 0;
	k.run = 0;
	tokenize(&k, text);
}

enum err text_words(struct arena *a, const struct lang *l, struct str text, struct text_word **out, size_t *n)
{
	struct tokenizer k = {.t = per_thread(), .l = l, .arena = a};

	if (!k.t)
		return err_set(E_LIMIT, "out of memory while analysing a text");
	tokenize(&k, text);
	if (k.no_memory)
		return E_NOMEM;
	*out = k.words;
	*n = k.words_n;
	return OK;
}

struct str text_fold(struct arena *a, struct str text)
{
	struct folded f;
	struct buf b;
	size_t i = 0;

	buf_init(&b, a, text.n * 8 + 64);
	while (i < text.n) {
		int32_t cp = utf8_next(text, &i);

		if (cp < 0)
			continue;
		if (cp < 128) {
			buf_byte(&b, ascii_fold[cp] ? ascii_fold[cp] : (char)cp);
			continue;
		}
		fold_char((uint32_t)cp, &f);
		for (unsigned j = 0; j < f.n; j++) {
			char one[4];

			buf_put(&b, one, utf8_put(one, f.cp[j]));
		}
	}
	if (b.err != OK)
		return (struct str){NULL, 0};
	return b.p ? buf_slice(&b) : STR("");
}

bool text_no_spaces(uint32_t cp)
{
	return fold_no_spaces(cp);
}

/* ---------------------------------------------------------------- sorting */

void sort_u32(uint32_t *v, uint32_t *tmp, size_t n)
{
	uint32_t count[4][256], *from = v, *to = tmp;

	if (n < 32) {
		for (size_t i = 1; i < n; i++) {
			uint32_t x = v[i];
			size_t j = i;

			for (; j > 0 && v[j - 1] > x; j--)
				v[j] = v[j - 1];
			v[j] = x;
		}
		return;
	}
	memset(count, 0, sizeof count);
	for (size_t i = 0; i < n; i++)
		for (unsigned b = 0; b < 4; b++)
			count[b][v[i] >> (8 * b) & 255]++;
	for (unsigned b = 0; b < 4; b++) {
		uint32_t at = 0, *swap;

		for (unsigned c = 0; c < 256; c++) {
			uint32_t k = count[b][c];

			count[b][c] = at;
			at += k;
		}
		for (size_t i = 0; i < n; i++)
			to[count[b][from[i] >> (8 * b) & 255]++] = from[i];
		swap = from;
		from = to;
		to = swap;
	}
}

void sort_u64(uint64_t *v, uint64_t *tmp, size_t n, unsigned from_bit, unsigned to_bit)
{
	uint64_t *from = v, *to = tmp;

	if (n < 2)
		return;
	if (n < 256) {
		qsort(v, n, sizeof *v, cmp_u64);
		return;
	}
	for (unsigned b = from_bit; b < to_bit; b += 8) {
		size_t count[256] = {0}, at = 0;
		uint64_t *swap;

		for (size_t i = 0; i < n; i++)
			count[from[i] >> b & 255]++;
		if (count[from[0] >> b & 255] == n)
			continue;
		for (unsigned c = 0; c < 256; c++) {
			size_t k = count[c];

			count[c] = at;
			at += k;
		}
		for (size_t i = 0; i < n; i++)
			to[count[from[i] >> b & 255]++] = from[i];
		swap = from;
		from = to;
		to = swap;
	}
	if (from != v)
		memcpy(v, from, n * sizeof *v);
}
