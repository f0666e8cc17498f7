#include "core/field_path.h"

#define DEPTH_MAX 64

bool field_path_next(struct str *path, struct str *part)
{
	unsigned depth = 1;
	char open, close;
	size_t i;

	while (path->n && path->p[0] == '.')
		*path = str_sub(*path, 1, path->n);
	if (path->n == 0)
		return false;
	open = path->p[0];
	if (open != '[' && open != '{') {
		for (i = 0; i < path->n && path->p[i] != '.' && path->p[i] != '[' && path->p[i] != '{'; i++)
			;
	} else {
		close = open == '[' ? ']' : '}';
		for (i = 1; i < path->n && depth > 0; i++)
			depth += path->p[i] == open ? 1u : path->p[i] == close ? -1u : 0u;
	}
	*part = str_sub(*path, 0, i);
	*path = str_sub(*path, i, path->n);
	return true;
}

static bool bracketed(struct str part, char open, char close)
{
	return part.n >= 2 && part.p[0] == open && part.p[part.n - 1] == close;
}

static enum err follow(struct field_walk *w, struct jval v, struct str path, unsigned depth);

static enum err each(struct field_walk *w, struct jval v, struct str rest, unsigned depth)
{
	struct jval key, child;

	if (!j_is(v, JSON_OBJECT) && !j_is(v, JSON_ARRAY))
		return OK;
	for (struct j_iter it = j_iter(v); !w->enough && j_next(&it, &key, &child);)
		TRY(follow(w, child, rest, depth + 1));
	return OK;
}

static enum err at_index(struct field_walk *w, struct jval v, struct str index, struct str rest, unsigned depth)
{
	struct jval key, child;
	int64_t want, i = 0;

	if (!j_is(v, JSON_ARRAY))
		return OK;
	if (str_eq(index, STR("*")))
		return each(w, v, rest, depth);
	if (!str_int(str_trim(index), INT32_MIN, INT32_MAX, &want))
		return OK;
	want += want < 0 ? (int64_t)j_node(v)->count : 0;
	for (struct j_iter it = j_iter(v); j_next(&it, &key, &child); i++)
		if (i == want)
			return follow(w, child, rest, depth + 1);
	return OK;
}

static struct jval member(struct jval v, struct str name)
{
	return j_is(v, JSON_OBJECT) ? j_get(v, name) : (struct jval){NULL, 0};
}

/* "{a,b.c}": the members that there are, whatever follows it in the path. */
static enum err several(struct field_walk *w, struct jval v, struct str list)
{
	struct str names, part;
	bool more = true;

	while (j_is(v, JSON_OBJECT) && more) {
		struct jval at = v;
		bool any = false;

		more = str_cut(list, ',', &names, &list);
		names = str_trim(names);
		while (j_ok(at) && field_path_next(&names, &part)) {
			at = member(at, part);
			any = true;
		}
		if (any && j_ok(at))
			TRY(w->leaf(w->ctx, at));
	}
	return OK;
}

static enum err follow(struct field_walk *w, struct jval v, struct str path, unsigned depth)
{
	struct str part;

	if (depth > DEPTH_MAX)
		return OK;
	if (!field_path_next(&path, &part))
		return w->leaf(w->ctx, v);
	if (bracketed(part, '[', ']'))
		return at_index(w, v, str_sub(part, 1, part.n - 1), path, depth);
	if (bracketed(part, '{', '}'))
		return several(w, v, str_sub(part, 1, part.n - 1));
	if (str_eq(part, STR("*")))
		return each(w, v, path, depth);
	v = member(v, part);
	return j_ok(v) ? follow(w, v, path, depth + 1) : OK;
}

enum err field_path_walk(struct field_walk *w, struct jval v, struct str path)
{
	return follow(w, v, path, 0);
}
