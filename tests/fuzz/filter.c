/* Fuzz target: filters. The first line is a filter, the rest an item's value. Whatever they are, compiling ends in a filter or in
 * an error with a field; matching gives the same answer twice, and what the value itself says about its plain members always
 * matches. */
#include "core/filter.h"
#include "must.h"

/* {"name": <plain value>} has to match the value that it was taken from. */
static void check_own_members(struct arena *a, const struct json *value)
{
	struct j_iter it = j_iter(json_root(value));
	struct jval key, v;
	unsigned n = 0;

	while (n++ < 16 && j_next(&it, &key, &v)) {
		struct str text;
		struct json one;
		struct filter *f;
		bool match;

		if (j_is(v, JSON_OBJECT))
			continue;
		text = arena_printf(a, "{%.*s:%.*s}", STR_ARG(j_raw(key)), STR_ARG(j_raw(v)));
		MUST(text.p && json_parse(a, text, NULL, &one) == OK);
		if (filter_compile(a, json_root(&one), "/filter", &f) != OK)
			continue;
		MUST(f != NULL);
		MUST(filter_match(f, a, j_raw(json_root(value)), &match) == OK && match);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str head, tail;
	struct json fdoc, vdoc;
	struct filter *f = NULL;
	struct arena a;
	bool first = false, second = true;

	str_cut(str_of((const char *)data, size), '\n', &head, &tail);
	arena_init(&a, (size_t)64 << 20);
	if (json_parse(&a, head, NULL, &fdoc) == OK) {
		enum err e = filter_compile(&a, json_root(&fdoc), "/filter", &f);

		MUST(e == OK || e == E_INVALID || e == E_LIMIT);
		MUST(e == OK || diag_get()->text[0]);
		if (e != OK)
			f = NULL;
	}
	if (json_parse(&a, tail, NULL, &vdoc) == OK && j_is(json_root(&vdoc), JSON_OBJECT)) {
		if (f) {
			MUST(filter_match(f, &a, j_raw(json_root(&vdoc)), &first) == OK);
			MUST(filter_match(f, &a, j_raw(json_root(&vdoc)), &second) == OK);
			MUST(first == second);
		}
		check_own_members(&a, &vdoc);
	}
	arena_release(&a);
	return 0;
}
