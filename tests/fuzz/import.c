/* Fuzz target: import formats. The first byte chooses JSON Lines, a chat export, or Markdown; the rest is the file. Whatever it is,
 * reading ends, units never fall, and every record is one line of valid JSON with an object in it. */
#include "base/json/json.h"
#include "cli/readers.h"
#include "must.h"

struct seen {
	struct arena *a;
	uint64_t unit;
	unsigned records, bad;
};

static enum err on_record(void *ctx, const struct record *r)
{
	struct seen *s = ctx;
	struct json doc;

	MUST(r->unit >= s->unit);
	MUST(r->json.n > 0 && memchr(r->json.p, '\n', r->json.n) == NULL);
	MUST(json_parse(s->a, r->json, NULL, &doc) != OK || j_is(json_root(&doc), JSON_OBJECT));
	s->unit = r->unit;
	s->records++;
	arena_clear(s->a);
	return s->records < 10000 ? OK : E_LIMIT;
}

static enum err on_bad(void *ctx, uint64_t unit, enum err e)
{
	struct seen *s = ctx;

	(void)unit;
	MUST(e != OK && diag_get()->text[0]);
	s->bad++;
	return s->bad < 10000 ? OK : e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct read_options o = {.user = STR("u"), .namespace_ = STR("documents")};
	struct seen seen = {0};
	struct sink k = {on_record, on_bad, &seen};
	struct source s;
	struct arena a;
	enum format guess;
	enum err e = OK;

	if (size == 0)
		return 0;
	arena_init(&a, (size_t)64 << 20);
	seen.a = &a;
	o.lenient = data[0] & 4;
	source_mem(&s, str_of((const char *)data + 1, size - 1));
	if (format_guess(&s, STR("file.jsonl"), &guess) != OK)
		diag_clear();
	switch (data[0] % 4) {
	case 0:
	case 1:
		e = read_jsonl(&s, &o, &k);
		break;
	case 2:
		e = read_chatgpt(&s, &o, &k);
		break;
	case 3:
		e = read_text(str_of((const char *)data + 1, size - 1), STR("a/b.md"), &o, &k);
		break;
	}
	MUST(e == OK || diag_get()->text[0] || seen.records >= 10000);
	source_release(&s);
	arena_release(&a);
	return 0;
}
