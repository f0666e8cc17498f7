/* Namespaces and keys: from JSON and text, checked, and back. A namespace is its labels joined with dots; a label is a non-empty
 * string without dot and U+0000, so the text is unambiguous. */
#include <stdio.h>

#include "base/utf8.h"
#include "core/memory.h"

enum { LABEL_MAX_BYTES = 256 };

/* One label; field gets its number appended when number >= 0. */
static enum err label_check(struct str label, const char *field, int number)
{
	char where[160];
	const char *why = NULL;

	if (label.n == 0)
		why = "a label of a namespace is empty";
	else if (label.n > LABEL_MAX_BYTES)
		why = "a label of a namespace has more than 256 bytes";
	else if (str_chr(label, '.', 0) >= 0)
		why = "a label of a namespace contains a dot";
	else if (memchr(label.p, 0, label.n))
		why = "a label of a namespace contains U+0000";
	else if (!utf8_valid(label))
		why = "a label of a namespace is not UTF-8";
	if (!why)
		return OK;
	if (number >= 0)
		snprintf(where, sizeof where, "%.120s/%d", field, number);
	else
		snprintf(where, sizeof where, "%.150s", field);
	return err_field(E_INVALID, where, -1, "%s", why);
}

static enum err size_check(size_t labels, size_t bytes, const char *field)
{
	if (labels > NS_MAX_LABELS)
		return err_field(E_INVALID, field, -1, "a namespace has at most %d labels, this one has %zu", NS_MAX_LABELS,
				 labels);
	if (bytes > NS_MAX_BYTES)
		return err_field(E_INVALID, field, -1, "a namespace has at most %d bytes, this one has %zu", NS_MAX_BYTES, bytes);
	return OK;
}

enum err ns_from_json(struct arena *a, struct jval v, const char *field, struct str *out)
{
	struct buf b;
	struct jval label;
	int i = 0;

	*out = STR("");
	if (!j_is(v, JSON_ARRAY))
		return err_field(E_INVALID, field, -1, "a namespace must be an array of strings");
	TRY(size_check(j_node(v)->count, 0, field));
	buf_init(&b, a, NS_MAX_LABELS * (LABEL_MAX_BYTES + 1));
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &label); i++) {
		struct str s;

		if (!j_is(label, JSON_STRING)) {
			char where[160];

			snprintf(where, sizeof where, "%.120s/%d", field, i);
			return err_field(E_INVALID, where, -1, "a label of a namespace must be a string");
		}
		s = j_str(a, label);
		if (!s.p)
			return E_NOMEM;
		TRY(label_check(s, field, i));
		if (i > 0)
			buf_byte(&b, '.');
		buf_str(&b, s);
	}
	if (b.err != OK)
		return b.err;
	if (b.n > 0)
		*out = buf_slice(&b);
	return size_check(0, out->n, field);
}

enum err ns_check(struct str ns, const char *field, bool allow_empty)
{
	size_t labels = 0;

	if (ns.n == 0)
		return allow_empty ? OK : err_field(E_INVALID, field, -1, "the namespace is empty; it needs at least one label");
	TRY(size_check(0, ns.n, field));
	for (size_t from = 0; from <= ns.n; labels++) {
		ptrdiff_t dot = str_chr(ns, '.', from);
		size_t to = dot < 0 ? ns.n : (size_t)dot;

		TRY(label_check(str_sub(ns, from, to), field, -1));
		from = to + 1;
	}
	return size_check(labels, 0, field);
}

void ns_to_json(struct jw *w, struct str ns)
{
	struct str label, rest = ns;
	bool more = ns.n > 0;

	jw_arr(w);
	while (more) {
		more = str_cut(rest, '.', &label, &rest);
		jw_str(w, label);
	}
	jw_end_arr(w);
}

enum err key_check(struct str key, const char *field)
{
	if (key.n == 0)
		return err_field(E_INVALID, field, -1, "the key is empty");
	if (key.n > KEY_MAX_BYTES)
		return err_field(E_INVALID, field, -1, "a key has at most %d bytes, this one has %zu", KEY_MAX_BYTES, key.n);
	if (memchr(key.p, 0, key.n))
		return err_field(E_INVALID, field, -1, "a key cannot contain U+0000");
	if (!utf8_valid(key))
		return err_field(E_INVALID, field, -1, "the key is not UTF-8");
	return OK;
}
