/* Filters: a JSON object compiled to a flat list of conditions, each a path of member names, an operator and an operand; all must
 * hold. See filter.h for the language.
 *
 * Invariants
 *  1. A condition on a path that does not lead to a member never holds ($ne included).
 *  2. A compiled filter is read-only; its operands point into the document it was compiled from. */
#include "core/filter.h"

#include <stdio.h>

enum cond_op { C_EQ, C_NE, C_GT, C_GTE, C_LT, C_LTE };

static const struct {
	struct str name;
	enum cond_op op;
} operators[] = {
	{STR_INIT("$eq"), C_EQ},   {STR_INIT("$ne"), C_NE}, {STR_INIT("$gt"), C_GT},
	{STR_INIT("$gte"), C_GTE}, {STR_INIT("$lt"), C_LT}, {STR_INIT("$lte"), C_LTE},
};
enum { N_OPERATORS = sizeof operators / sizeof operators[0] };

struct cond {
	struct str *path;
	size_t depth;
	enum cond_op op;
	struct jval operand;
};

struct filter {
	struct json doc; /* a copy of the head: operands refer to it */
	size_t n;
	struct cond conds[FILTER_MAX_CONDITIONS];
};

/* Where the compiler stands: member names from the top, innermost last. */
struct place {
	const struct place *up;
	struct str key;
	size_t depth;
};

struct compiler {
	struct arena *a;
	struct filter *f;
	const char *where;
};

static size_t pointer_put(char *out, size_t at, size_t room, struct str key)
{
	if (at < room)
		out[at++] = '/';
	for (size_t i = 0; i < key.n && at + 2 < room; i++) {
		char c = key.p[i];

		if (c == '~' || c == '/') {
			out[at++] = '~';
			c = c == '~' ? '0' : '1';
		}
		out[at++] = c;
	}
	return at;
}

static size_t place_pointer(char *out, size_t at, size_t room, const struct place *pl)
{
	if (!pl)
		return at;
	return pointer_put(out, place_pointer(out, at, room, pl->up), room, pl->key);
}

/* E_INVALID at a place of the filter; op (may be empty) is the member below it. */
static enum err refuse(const struct compiler *c, const struct place *pl, struct str op, const char *why)
{
	char field[160];
	size_t at = (size_t)snprintf(field, sizeof field, "%.80s", c->where ? c->where : "");

	at = place_pointer(field, at, sizeof field - 1, pl);
	if (op.n > 0)
		at = pointer_put(field, at, sizeof field - 1, op);
	field[at] = 0;
	return err_field(E_INVALID, field, -1, "%s", why);
}

static enum err add(struct compiler *c, const struct place *pl, enum cond_op op, struct jval operand)
{
	struct cond *k;

	if (c->f->n == FILTER_MAX_CONDITIONS)
		return refuse(c, pl, (struct str){0}, "a filter has at most 64 conditions");
	k = &c->f->conds[c->f->n];
	k->path = ARENA_ARRAY(c->a, struct str, pl->depth);
	if (!k->path)
		return E_NOMEM;
	k->depth = pl->depth;
	k->op = op;
	k->operand = (struct jval){&c->f->doc, operand.i};
	for (const struct place *p = pl; p; p = p->up)
		k->path[p->depth - 1] = p->key;
	c->f->n++;
	return OK;
}

static enum err compile_operator(struct compiler *c, const struct place *pl, struct str name, struct jval operand)
{
	char why[160];

	for (size_t i = 0; i < N_OPERATORS; i++)
		if (str_eq(name, operators[i].name))
			return add(c, pl, operators[i].op, operand);
	snprintf(why, sizeof why, "Unsupported operator \"%.*s\": there are $eq, $ne, $gt, $gte, $lt, $lte",
		 (int)(name.n < 40 ? name.n : 40), name.p);
	return refuse(c, pl, name, why);
}

static enum err compile_member(struct compiler *c, const struct place *pl, struct jval v);

/* A nested object: all of its members are operators, or none is. */
static enum err compile_nested(struct compiler *c, const struct place *pl, struct jval obj)
{
	struct jval key, v;
	size_t ops = 0, plain = 0;

	for (struct j_iter it = j_iter(obj); j_next(&it, &key, &v);) {
		struct str name = j_str(c->a, key);
		struct place below = {pl, name, pl->depth + 1};
		bool is_op;

		if (!name.p)
			return E_NOMEM;
		is_op = name.n > 0 && name.p[0] == '$';
		ops += is_op;
		plain += !is_op;
		if (ops > 0 && plain > 0)
			return refuse(c, pl, (struct str){0},
				      "an object of a filter has operators ($eq, $gt, ...) or plain members, not both");
		if (is_op)
			TRY(compile_operator(c, pl, name, v));
		else
			TRY(compile_member(c, &below, v));
	}
	return OK;
}

static enum err compile_member(struct compiler *c, const struct place *pl, struct jval v)
{
	return j_is(v, JSON_OBJECT) ? compile_nested(c, pl, v) : add(c, pl, C_EQ, v);
}

enum err filter_compile(struct arena *a, struct jval v, const char *where, struct filter **out)
{
	struct compiler c = {a, NULL, where};
	struct jval key, m;

	*out = NULL;
	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_OBJECT))
		return refuse(&c, NULL, (struct str){0}, "a filter must be an object of fields and conditions");
	c.f = ARENA_NEW(a, struct filter);
	if (!c.f)
		return E_NOMEM;
	c.f->doc = *v.doc;
	for (struct j_iter it = j_iter(v); j_next(&it, &key, &m);) {
		struct place top = {NULL, j_str(a, key), 1};

		if (!top.key.p)
			return E_NOMEM;
		TRY(compile_member(&c, &top, m));
	}
	if (c.f->n > 0)
		*out = c.f;
	return OK;
}

/* Orders two values of one kind; false when they cannot be ordered. */
static enum err order(struct arena *scratch, struct jval x, struct jval y, bool *ordered, int *cmp)
{
	*ordered = true;
	if (j_is(x, JSON_NUMBER) && j_is(y, JSON_NUMBER)) {
		*cmp = j_num_cmp(x, y);
	} else if (j_is(x, JSON_STRING) && j_is(y, JSON_STRING)) {
		struct str s = j_str(scratch, x), t = j_str(scratch, y);

		if (!s.p || !t.p)
			return E_NOMEM;
		*cmp = str_cmp(s, t);
	} else {
		*ordered = false;
	}
	return OK;
}

static enum err cond_match(const struct cond *k, struct arena *scratch, struct jval root, bool *match)
{
	struct jval v = root;
	bool ordered;
	int cmp = 0;

	*match = false;
	for (size_t i = 0; i < k->depth && j_ok(v); i++)
		v = j_get(v, k->path[i]);
	if (!j_ok(v))
		return OK;
	if (k->op == C_EQ || k->op == C_NE) {
		*match = j_equal(v, k->operand) == (k->op == C_EQ);
		return OK;
	}
	TRY(order(scratch, v, k->operand, &ordered, &cmp));
	if (ordered)
		*match = k->op == C_GT ? cmp > 0 : k->op == C_GTE ? cmp >= 0 : k->op == C_LT ? cmp < 0 : cmp <= 0;
	return OK;
}

enum err filter_match(const struct filter *f, struct arena *scratch, struct str value, bool *match)
{
	struct json_limits lim = json_default_limits;
	struct json doc;
	enum err e;

	*match = true;
	if (!f)
		return OK;
	lim.flags |= JSON_DUP_OK;
	e = json_parse(scratch, value, &lim, &doc);
	if (e == E_INVALID)
		return err_set(E_CORRUPT, "a stored value is not JSON");
	TRY(e);
	for (size_t i = 0; i < f->n && *match; i++)
		TRY(cond_match(&f->conds[i], scratch, json_root(&doc), match));
	return OK;
}

/* ------------------------------------------------------------- containment */

enum { CONTAINS_BYTES = 64 << 20, CONTAINS_DEPTH = 32, OPERAND_BYTES = 64 << 10, NUMBER_DIGITS = 300, NUMBER_EXPONENT = 1000 };

/* A number that numeric holds exactly: few digits, and no great exponent. */
static bool plain_number(struct str raw)
{
	size_t i = 0, exponent = 0;

	if (raw.n > NUMBER_DIGITS)
		return false;
	while (i < raw.n && raw.p[i] != 'e' && raw.p[i] != 'E')
		i++;
	for (; i < raw.n; i++)
		if (raw.p[i] >= '0' && raw.p[i] <= '9' && exponent <= NUMBER_EXPONENT)
			exponent = exponent * 10 + (size_t)(raw.p[i] - '0');
	return exponent <= NUMBER_EXPONENT;
}

/* True for some strings without U+0000, too ("\\u0000" behind another backslash); never false with it. */
static bool has_nul(struct str raw)
{
	static const char nul[] = "\\u0000";

	return raw.n >= 6 && memmem(raw.p, raw.n, nul, 6) != NULL;
}

/* Whether jsonb can hold the value as it is. */
static bool portable(struct jval v)
{
	for (uint32_t i = v.i, end = j_node(v)->next; i < end; i++) {
		const struct json_node *node = &v.doc->nodes[i];

		if (node->type == JSON_NUMBER ? !plain_number(node->raw) : node->type == JSON_STRING && has_nul(node->raw))
			return false;
	}
	return true;
}

static bool containable(const struct cond *k)
{
	if (k->op != C_EQ || k->depth > CONTAINS_DEPTH || j_raw(k->operand).n > OPERAND_BYTES || !portable(k->operand))
		return false;
	for (size_t i = 0; i < k->depth; i++)
		if (k->path[i].n > 0 && memchr(k->path[i].p, 0, k->path[i].n))
			return false;
	return true;
}

static size_t common(const struct cond *x, const struct cond *y)
{
	size_t n = 0;

	while (x && n < x->depth && n < y->depth && str_eq(x->path[n], y->path[n]))
		n++;
	return n;
}

/* Conditions below one member stand together, so the object is written in one go: the way up from the last path, the way down the
 * next. A path that begins or ends within another (two conditions on one member) is left out: fewer conditions are contained, too.
 */
enum err filter_contains(const struct filter *f, struct arena *a, struct str *out)
{
	const struct cond *last = NULL;
	struct buf b;
	struct jw w;

	*out = (struct str){0};
	buf_init(&b, a, CONTAINS_BYTES);
	jw_init(&w, &b);
	for (size_t i = 0; f && i < f->n; i++) {
		const struct cond *k = &f->conds[i];
		size_t same = common(last, k);

		if (!containable(k) || (last && (same == last->depth || same == k->depth)))
			continue;
		if (!last)
			jw_obj(&w);
		for (size_t d = last ? last->depth - 1 : 0; d > same; d--)
			jw_end_obj(&w);
		for (size_t d = same; d < k->depth; d++) {
			jw_key_str(&w, k->path[d]);
			if (d + 1 < k->depth)
				jw_obj(&w);
		}
		jw_raw(&w, j_raw(k->operand));
		last = k;
	}
	for (size_t d = last ? last->depth : 0; d > 0; d--)
		jw_end_obj(&w);
	if (b.err == OK && last)
		*out = buf_slice(&b);
	return b.err;
}
