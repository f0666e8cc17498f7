/* Values in the one form that does not depend on how they were written: for checksums over stores that keep values and not bytes.
 */
#include <stdlib.h>

#include "base/json/json.h"
#include "base/json/number.h"

struct member {
	struct str key;
	uint32_t at; /* where it stands: of equal names the last counts */
	struct jval value;
};

static int by_key(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	int c = str_cmp(x->key, y->key);

	return c ? c : (x->at > y->at) - (x->at < y->at);
}

static enum err text(struct arena *a, struct jval v, struct buf *out)
{
	struct str s = j_str(a, v);

	if (!s.p)
		return E_NOMEM;
	json_quote(out, s);
	return OK;
}

static enum err object(struct arena *a, struct jval v, struct buf *out)
{
	struct j_iter it = j_iter(v);
	uint32_t n = j_node(v)->count, i = 0;
	struct member *m = ARENA_ARRAY(a, struct member, n + 1);
	struct jval key;
	bool any = false;

	if (!m)
		return E_NOMEM;
	while (i < n && j_next(&it, &key, &m[i].value)) {
		m[i].key = j_str(a, key);
		m[i].at = i;
		if (!m[i++].key.p)
			return E_NOMEM;
	}
	qsort(m, i, sizeof *m, by_key);
	buf_byte(out, '{');
	for (uint32_t k = 0; k < i; k++) {
		if (k + 1 < i && str_eq(m[k].key, m[k + 1].key))
			continue;
		if (any)
			buf_byte(out, ',');
		any = true;
		json_quote(out, m[k].key);
		buf_byte(out, ':');
		TRY(json_canonical(a, m[k].value, out));
	}
	buf_byte(out, '}');
	return OK;
}

/* Depth: what the reader's limits allowed. */
enum err json_canonical(struct arena *a, struct jval v, struct buf *out)
{
	struct j_iter it;
	struct jval child;
	bool any = false;

	switch (j_type(v)) {
	case JSON_NUMBER:
		json_number_canonical(j_raw(v), out);
		return out->err;
	case JSON_STRING:
		TRY(text(a, v, out));
		return out->err;
	case JSON_OBJECT:
		TRY(object(a, v, out));
		return out->err;
	case JSON_ARRAY:
		break;
	default:
		buf_str(out, j_raw(v));
		return out->err;
	}
	it = j_iter(v);
	buf_byte(out, '[');
	while (j_next(&it, NULL, &child)) {
		if (any)
			buf_byte(out, ',');
		any = true;
		TRY(json_canonical(a, child, out));
	}
	buf_byte(out, ']');
	return out->err;
}
