/* See thread_diff.h. */
#include "cli/thread_diff.h"

#include <stdlib.h>

/* Whether old is what new begins with; *kept: how many elements that are. */
static bool appended(struct jval old, struct jval new, uint32_t *kept)
{
	struct j_iter a, b;
	struct jval x, y;

	if (!j_is(old, JSON_ARRAY) || !j_is(new, JSON_ARRAY) || j_node(new)->count <= j_node(old)->count)
		return false;
	*kept = j_node(old)->count;
	a = j_iter(old);
	b = j_iter(new);
	while (j_next(&a, NULL, &x))
		if (!j_next(&b, NULL, &y) || !j_equal(x, y))
			return false;
	return true;
}

static int by_name(const void *a, const void *b)
{
	return str_cmp(((const struct diff_channel *)a)->channel, ((const struct diff_channel *)b)->channel);
}

enum err thread_diff(struct arena *a, struct jval from, struct jval to, struct diff_channel **out, size_t *n)
{
	size_t room = (j_is(from, JSON_OBJECT) ? j_node(from)->count : 0) + (j_is(to, JSON_OBJECT) ? j_node(to)->count : 0);
	struct diff_channel *d = ARENA_ARRAY(a, struct diff_channel, room + 1);
	struct jval key, v;

	*out = d;
	*n = 0;
	if (!d)
		return E_NOMEM;
	for (struct j_iter it = j_iter(from); j_is(from, JSON_OBJECT) && j_next(&it, &key, &v);) {
		struct diff_channel c = {.kind = DIFF_REMOVED, .channel = j_str(a, key), .from = v};

		if (!c.channel.p)
			return E_NOMEM;
		c.to = j_get(to, c.channel);
		if (j_ok(c.to) && j_equal(v, c.to))
			continue;
		if (j_ok(c.to))
			c.kind = appended(v, c.to, &c.kept) ? DIFF_APPENDED : DIFF_CHANGED;
		d[(*n)++] = c;
	}
	for (struct j_iter it = j_iter(to); j_is(to, JSON_OBJECT) && j_next(&it, &key, &v);) {
		struct diff_channel c = {.kind = DIFF_ADDED, .channel = j_str(a, key), .to = v};

		if (!c.channel.p)
			return E_NOMEM;
		if (!j_ok(j_get(from, c.channel)))
			d[(*n)++] = c;
	}
	qsort(d, *n, sizeof *d, by_name);
	return OK;
}

static void write_new(struct jw *w, const struct diff_channel *d)
{
	uint32_t i = 0;
	struct jval v;

	jw_arr(w);
	for (struct j_iter it = j_iter(d->to); j_next(&it, NULL, &v); i++)
		if (i >= d->kept)
			jw_raw(w, j_raw(v));
	jw_end_arr(w);
}

void diff_json(struct jw *w, const struct diff_channel *d, size_t n)
{
	static const char *const names[] = {"added", "removed", "changed", "appended"};

	jw_obj(w);
	for (int kind = DIFF_ADDED; kind <= DIFF_APPENDED; kind++) {
		jw_key(w, names[kind]);
		jw_obj(w);
		for (size_t i = 0; i < n; i++) {
			if ((int)d[i].kind != kind)
				continue;
			jw_key_str(w, d[i].channel);
			if (kind == DIFF_APPENDED) {
				write_new(w, &d[i]);
			} else if (kind == DIFF_CHANGED) {
				jw_obj(w);
				jw_key(w, "from");
				jw_raw(w, j_raw(d[i].from));
				jw_key(w, "to");
				jw_raw(w, j_raw(d[i].to));
				jw_end_obj(w);
			} else {
				jw_raw(w, j_raw(kind == DIFF_ADDED ? d[i].to : d[i].from));
			}
		}
		jw_end_obj(w);
	}
	jw_end_obj(w);
}
