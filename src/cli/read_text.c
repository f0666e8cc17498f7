/* Markdown and text files: one item per section. A section begins at a heading (`# ...` to `###### ...`, outside fenced code); what
 * stands before the first is a section without heading. Sections above SECTION_MAX are cut at line ends. */
#include "cli/readers.h"

#include "base/hash.h"
#include "base/json/json.h"
#include "base/utf8.h"
#include "core/memory.h"

#define SECTION_MAX ((size_t)256 << 10)
#define SLUG_MAX 120

struct sections {
	const struct read_options *o;
	const struct sink *k;
	struct str path;
	bool markdown;
	struct arena a;	 /* of the whole file: keys and slugs */
	struct map used; /* key -> how often */
	uint64_t line;	 /* where the section begins */
};

bool text_name(struct str name)
{
	static const struct str ends[] = {STR_INIT(".md"), STR_INIT(".markdown"), STR_INIT(".txt"), STR_INIT(".text")};
	for (size_t i = 0; i < 4; i++)
		if (name.n > ends[i].n && str_ieq(str_sub(name, name.n - ends[i].n, name.n), ends[i]))
			return true;
	return false;
}

bool sqlite_head(struct str bytes)
{
	return str_starts(bytes, str_of("SQLite format 3", 16));
}

enum err format_guess(struct source *s, struct str name, enum format *out)
{
	struct str w;
	TRY(source_peek(s, 16, &w));
	if (sqlite_head(w)) {
		*out = FORMAT_SQLITE;
		return OK;
	}
	if (text_name(name)) {
		*out = FORMAT_TEXT;
		return OK;
	}
	TRY(source_peek(s, 4096, &w));
	w = str_trim(w);
	*out = w.n == 0 || w.p[0] == '{' ? FORMAT_JSONL : w.p[0] == '[' ? FORMAT_CHATGPT : FORMAT_GUESS;
	return *out != FORMAT_GUESS
		       ? OK
		       : err_set(E_INVALID,
				 "the format cannot be seen from the file (JSON Lines begin with `{`, a chat export with `[`); say "
				 "--format jsonl, chatgpt, text or sqlite");
}

/* Words in lower case, joined by '-'; letters beyond ASCII stay. */
static struct str slug(struct arena *a, struct str heading)
{
	struct buf b;
	buf_init(&b, a, SLUG_MAX * 4);
	for (size_t i = 0; i < heading.n && b.n < SLUG_MAX; i++) {
		char ch = heading.p[i];
		if (ch >= 'A' && ch <= 'Z')
			ch = (char)(ch - 'A' + 'a');
		if ((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || (unsigned char)ch >= 0x80)
			buf_byte(&b, ch);
		else if (b.n && b.p[b.n - 1] != '-')
			buf_byte(&b, '-');
	}
	struct str s = utf8_cut(buf_slice(&b), SLUG_MAX);
	while (s.n && s.p[s.n - 1] == '-')
		s.n--;
	return s;
}

/* path, path#slug, path#slug-2, ... */
static enum err section_key(struct sections *t, struct str heading, struct str *key)
{
	struct str sl = slug(&t->a, heading);
	struct str base = sl.n ? arena_printf(&t->a, "%.*s#%.*s", STR_ARG(t->path), STR_ARG(sl)) : arena_str(&t->a, t->path);
	if (base.p == NULL)
		return E_NOMEM;
	uintptr_t before = (uintptr_t)map_get(&t->used, base);
	TRY(map_put(&t->used, base, (void *)(before + 1), NULL));
	if (before == 0)
		*key = base;
	else
		*key = arena_printf(&t->a, sl.n ? "%.*s-%llu" : "%.*s#%llu", STR_ARG(base), (unsigned long long)before + 1);
	if (key->p == NULL)
		return E_NOMEM;
	return key->n <= KEY_MAX_BYTES
		       ? OK
		       : err_set(E_INVALID, "the path is too long for a key: %zu bytes of %d", key->n, KEY_MAX_BYTES);
}

static enum err give(struct sections *t, struct str heading, struct str text)
{
	struct str key;
	struct buf b;
	struct jw w;
	enum err e = section_key(t, heading, &key);
	if (e != OK)
		return t->k->bad(t->k->ctx, t->line, e);
	buf_init(&b, &t->a, SECTION_MAX * 8);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "namespace");
	ns_to_json(&w, t->o->namespace_);
	jw_key(&w, "key");
	jw_str(&w, key);
	jw_key(&w, "value");
	jw_obj(&w);
	jw_key(&w, "path");
	jw_str(&w, t->path);
	jw_key(&w, "heading");
	jw_str(&w, heading);
	jw_key(&w, "text");
	jw_str(&w, text);
	jw_end_obj(&w);
	jw_end_obj(&w);
	if (b.err != OK)
		return E_NOMEM;
	struct record rec = {buf_slice(&b), t->line, hash64(key), false};
	return t->k->record(t->k->ctx, &rec);
}

/* A section, cut into pieces that are not too large. */
static enum err section(struct sections *t, struct str heading, struct str text)
{
	text = str_trim(text);
	if (text.n == 0 && heading.n == 0)
		return OK;
	do {
		size_t n = text.n;
		if (n > SECTION_MAX) {
			n = utf8_cut(text, SECTION_MAX).n;
			for (size_t i = n; i > n / 2; i--) {
				if (text.p[i - 1] == '\n') {
					n = i;
					break;
				}
			}
		}
		TRY(give(t, heading, str_trim(str_sub(text, 0, n))));
		text = str_sub(text, n, text.n);
	} while (text.n);
	return OK;
}

/* "## Heading ##" -> "Heading". */
static bool heading_of(struct str line, struct str *heading)
{
	size_t n = 0;
	while (n < line.n && line.p[n] == '#')
		n++;
	if (n == 0 || n > 6 || (n < line.n && line.p[n] != ' ' && line.p[n] != '\t'))
		return false;
	struct str h = str_trim(str_sub(line, n, line.n));
	size_t end = h.n;
	while (end > 0 && h.p[end - 1] == '#')
		end--;
	if (end < h.n && (end == 0 || h.p[end - 1] == ' '))
		h = str_trim(str_sub(h, 0, end));
	*heading = h;
	return h.n > 0;
}

static bool is_fence(struct str line)
{
	struct str t = str_trim(line);
	return str_starts(t, STR("```")) || str_starts(t, STR("~~~"));
}

static enum err split(struct sections *t, struct str text)
{
	struct str rest = text, line, heading = {0}, h;
	size_t begin = 0, at = 0;
	uint64_t number = 1;
	bool fence = false;
	t->line = 1;
	for (bool more = true; more; number++) {
		more = str_cut(rest, '\n', &line, &rest);
		if (t->markdown && is_fence(line)) {
			fence = !fence;
		} else if (t->markdown && !fence && heading_of(line, &h)) {
			TRY(section(t, heading, str_sub(text, begin, at)));
			heading = h;
			begin = at + line.n + more;
			t->line = number;
		}
		at += line.n + more;
	}
	return section(t, heading, str_sub(text, begin, text.n));
}

enum err read_text(struct str text, struct str path, const struct read_options *o, const struct sink *k)
{
	struct sections t = {
		.o = o, .k = k, .path = path, .markdown = !str_ends(path, STR(".txt")) && !str_ends(path, STR(".text"))};
	if (str_starts(text, STR("\xef\xbb\xbf")))
		text = str_sub(text, 3, text.n);
	if (!utf8_valid(text) || (text.n && memchr(text.p, 0, text.n)))
		return k->bad(k->ctx, 1, err_set(E_INVALID, "is not UTF-8 text"));
	arena_init(&t.a, (size_t)1 << 30);
	map_init(&t.used);
	enum err e = split(&t, text);
	map_release(&t.used);
	arena_release(&t.a);
	return e;
}
