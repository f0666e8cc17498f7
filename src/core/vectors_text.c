/* What an encoder reads of a document: a message's content; the names, strings and numbers of an item's value, or of the paths that
 * were to be indexed, in their order. */
#include "base/utf8.h"
#include "core/vectors_impl.h"
#include "core/words_impl.h"

static struct str shorten(struct str s)
{
	return s.n > VECTOR_TEXT_MAX ? utf8_cut(s, VECTOR_TEXT_MAX) : s;
}

struct str vectors_message_text(struct str content)
{
	return shorten(content);
}

/* Names that only say that here is the text. */
static bool says_nothing(struct str name)
{
	static const struct str names[] = {STR_INIT("text"), STR_INIT("content"), STR_INIT("memory"), STR_INIT("value"),
					   STR_INIT("data")};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (str_eq(name, names[i]))
			return true;
	return false;
}

enum err vectors_item_text(struct arena *a, struct str value, struct str doc, struct str *out)
{
	struct doc_reader r;
	struct doc_head h;
	struct str *paths = NULL, *texts;
	size_t paths_n = 0, n;
	struct json json;
	struct buf b;

	if (doc.n && doc_open(doc, &r, &h) == DOC_GOOD)
		TRY(doc_paths(&r, a, &paths, &paths_n));
	TRY(json_parse(a, value, &json_default_limits, &json));
	TRY(words_item_texts(a, &json, paths_n ? paths : NULL, paths_n, &texts, &n));
	buf_init(&b, a, VECTOR_TEXT_MAX * 4);
	for (size_t i = 0; i < n && b.n < VECTOR_TEXT_MAX; i++) {
		if (says_nothing(texts[i]))
			continue;
		if (b.n)
			buf_byte(&b, ' ');
		buf_str(&b, shorten(texts[i]));
	}
	*out = b.n ? shorten(buf_slice(&b)) : STR("");
	return b.err == OK ? OK : err_set(E_LIMIT, "out of memory for the text of an item");
}
