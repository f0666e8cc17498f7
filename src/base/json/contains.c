/* Containment of JSON values, as PostgreSQL's jsonb has it with @>. */
#include "base/json/json.h"

static bool contains(struct jval a, struct jval b);

static bool is_scalar(struct jval v)
{
	return !j_is(v, JSON_OBJECT) && !j_is(v, JSON_ARRAY);
}

static bool object_contains(struct jval a, struct jval b)
{
	struct j_iter it = j_iter(b);
	struct jval key, want;

	while (j_next(&it, &key, &want)) {
		struct j_iter in = j_iter(a);
		struct jval name, have;
		bool found = false;

		while (!found && j_next(&in, &name, &have))
			found = j_equal(name, key) && contains(have, want);
		if (!found)
			return false;
	}
	return true;
}

static bool array_contains(struct jval a, struct jval b)
{
	struct j_iter it = j_iter(b);
	struct jval want;

	while (j_next(&it, NULL, &want)) {
		struct j_iter in = j_iter(a);
		struct jval have;
		bool found = false;

		while (!found && j_next(&in, NULL, &have))
			found = contains(have, want);
		if (!found)
			return false;
	}
	return true;
}

static bool contains(struct jval a, struct jval b)
{
	if (is_scalar(a) || is_scalar(b))
		return is_scalar(a) && is_scalar(b) && j_equal(a, b);
	if (j_type(a) != j_type(b))
		return false;
	return j_is(b, JSON_OBJECT) ? object_contains(a, b) : array_contains(a, b);
}

bool j_contains(struct jval a, struct jval b)
{
	if (j_is(a, JSON_ARRAY) && is_scalar(b)) {
		struct j_iter in = j_iter(a);
		struct jval have;

		while (j_next(&in, NULL, &have))
			if (contains(have, b))
				return true;
		return false;
	}
	return contains(a, b);
}
