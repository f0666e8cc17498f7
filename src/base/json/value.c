/* Access to parsed documents: members, iteration, strings, numbers, comparison. */
#include "base/json/json.h"

#include <stdlib.h>

#include "base/json/number.h"
#include "base/json/text.h"

#define ABSENT ((struct jval){NULL, 0})

bool j_null(struct jval v)
{
	return !v.doc || j_type(v) == JSON_NULL;
}

bool j_is(struct jval v, enum json_type t)
{
	return v.doc && j_type(v) == t;
}

bool j_bool(struct jval v, bool *out)
{
	if (!j_is(v, JSON_TRUE) && !j_is(v, JSON_FALSE))
		return false;
	*out = j_type(v) == JSON_TRUE;
	return true;
}

struct jval j_get(struct jval obj, struct str key)
{
	struct jval found = ABSENT;
	const struct json_node *nodes;
	uint32_t at;

	if (!j_is(obj, JSON_OBJECT))
		return ABSENT;
	nodes = obj.doc->nodes;
	at = obj.i + 1;
	for (uint32_t left = nodes[obj.i].count; left; left--) {
		if (json_text_is(&nodes[at], key)) {
			found = (struct jval){obj.doc, at + 1};
			if (!obj.doc->dups)
				break;
		}
		at = nodes[at + 1].next;
	}
	return found;
}

struct j_iter j_iter(struct jval container)
{
	if (!j_is(container, JSON_ARRAY) && !j_is(container, JSON_OBJECT))
		return (struct j_iter){ABSENT, 0, 0};
	return (struct j_iter){container, container.i + 1, j_node(container)->count};
}

bool j_next(struct j_iter *it, struct jval *key, struct jval *value)
{
	if (!it->left)
		return false;
	it->left--;
	if (j_type(it->parent) == JSON_OBJECT) {
		if (key)
			*key = (struct jval){it->parent.doc, it->at};
		it->at++;
	}
	if (value)
		*value = (struct jval){it->parent.doc, it->at};
	it->at = it->parent.doc->nodes[it->at].next;
	return true;
}

struct str j_str(struct arena *a, struct jval v)
{
	const struct json_node *node;
	size_t n;
	char *p;

	if (!j_is(v, JSON_STRING))
		return (struct str){NULL, 0};
	node = j_node(v);
	if (!node->escaped)
		return json_inner(node);
	p = arena_alloc(a, node->raw.n);
	if (!p)
		return (struct str){NULL, 0};
	n = json_unescape(node, p);
	p[n] = 0;
	return str_of(p, n);
}

bool j_str_eq(struct jval v, struct str s)
{
	return j_is(v, JSON_STRING) && json_text_is(j_node(v), s);
}

bool j_i64(struct jval v, int64_t *out)
{
	return j_is(v, JSON_NUMBER) && json_number_i64(j_raw(v), out);
}

bool j_double(struct jval v, double *out)
{
	return j_is(v, JSON_NUMBER) && json_number_double(j_raw(v), out);
}

int j_num_cmp(struct jval a, struct jval b)
{
	return json_number_cmp(j_raw(a), j_raw(b));
}

/* ---- equality; recursion is bounded by the depth that the reader allowed ---- */

/* Where the members of an object are: nothing for a small one (looked through), a table for a large one. */
struct members {
	struct jval obj;
	struct json_keys table; /* cap 0: none */
};

static void members_init(struct members *m, struct jval obj)
{
	uint32_t *memory, key = obj.i + 1, count = j_node(obj)->count;

	*m = (struct members){.obj = obj};
	if (count <= JSON_PAIRS_MAX)
		return;
	/* Without memory the object is looked through as well: slow but right. */
	memory = malloc(json_keys_cap(count) * sizeof *memory);
	if (!memory)
		return;
	json_keys_init(&m->table, memory, count);
	for (; count; count--) {
		(void)json_keys_put(&m->table, obj.doc->nodes, key);
		key = obj.doc->nodes[key + 1].next;
	}
}

static void members_release(struct members *m)
{
	if (m->table.cap)
		free(m->table.slots);
}

/* The key node that counts for this name (the last one), or JSON_NO_KEY. */
static uint32_t members_find(const struct members *m, const struct json_node *key)
{
	const struct json_node *nodes = m->obj.doc->nodes;
	uint32_t at = m->obj.i + 1, found = JSON_NO_KEY;

	if (m->table.cap)
		return json_keys_find(&m->table, nodes, key);
	for (uint32_t left = nodes[m->obj.i].count; left; left--) {
		if (json_text_eq(&nodes[at], key))
			found = at;
		at = nodes[at + 1].next;
	}
	return found;
}

/* Every member of a that counts has an equal one in b. */
static bool within(const struct members *a, const struct members *b)
{
	struct j_iter it = j_iter(a->obj);
	struct jval key, value;

	while (j_next(&it, &key, &value)) {
		uint32_t other;

		if (a->obj.doc->dups && members_find(a, j_node(key)) != key.i)
			continue;
		other = members_find(b, j_node(key));
		if (other == JSON_NO_KEY || !j_equal(value, (struct jval){b->obj.doc, other + 1}))
			return false;
	}
	return true;
}

/* Every name in a is one in b. */
static bool names_within(const struct members *a, const struct members *b)
{
	struct j_iter it = j_iter(a->obj);
	struct jval key;

	while (j_next(&it, &key, NULL))
		if (members_find(b, j_node(key)) == JSON_NO_KEY)
			return false;
	return true;
}

static bool objects_equal(struct jval a, struct jval b)
{
	bool dups = a.doc->dups || b.doc->dups, equal;
	struct members x, y;

	if (!dups && j_node(a)->count != j_node(b)->count)
		return false;
	members_init(&y, b);
	/* The first one is looked up in only for duplicates. */
	if (dups)
		members_init(&x, a);
	else
		x = (struct members){.obj = a};
	equal = within(&x, &y) && (!dups || names_within(&y, &x));
	members_release(&x);
	members_release(&y);
	return equal;
}

static bool arrays_equal(struct jval a, struct jval b)
{
	struct j_iter i = j_iter(a), j = j_iter(b);
	struct jval x, y;

	if (i.left != j.left)
		return false;
	while (j_next(&i, NULL, &x) && j_next(&j, NULL, &y))
		if (!j_equal(x, y))
			return false;
	return true;
}

bool j_equal(struct jval a, struct jval b)
{
	if (!a.doc || !b.doc)
		return a.doc == b.doc;
	if (j_type(a) != j_type(b))
		return false;
	if (j_type(a) != JSON_NUMBER && str_eq(j_raw(a), j_raw(b)))
		return true;
	switch (j_type(a)) {
	case JSON_NUMBER:
		return j_num_cmp(a, b) == 0;
	case JSON_STRING:
		return json_text_eq(j_node(a), j_node(b));
	case JSON_ARRAY:
		return arrays_equal(a, b);
	case JSON_OBJECT:
		return objects_equal(a, b);
	default:
		return true;
	}
}

/* ---- members that are not allowed ---- */

/* "/name", with ~ and / written as JSON pointers do. */
static void pointer(struct str name, char *out, size_t room)
{
	size_t n = 0;

	out[n++] = '/';
	for (size_t i = 0; i < name.n && n + 3 < room; i++) {
		char c = name.p[i];

		out[n++] = c == '/' ? '~' : c;
		if (c == '~' || c == '/')
			out[n++] = c == '~' ? '0' : '1';
	}
	out[n] = 0;
}

/* Appends " a, b, c" to a sentence, as far as it fits. */
static void list_names(char *text, size_t room, const struct str *names, size_t n)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < n; i++) {
		if (names[i].n + 3 > room - len)
			return;
		if (i)
			text[len++] = ',';
		text[len++] = ' ';
		memcpy(text + len, names[i].p, names[i].n);
		len += names[i].n;
		text[len] = 0;
	}
}

static enum err not_allowed(struct jval key, const struct str *names, size_t n)
{
	char copy[64], field[sizeof copy * 2 + 4];
	const struct json_node *node = j_node(key);
	struct str name = json_inner(node), best = {0}, shown;
	int64_t at = node->raw.p - key.doc->text.p;
	unsigned least = 3;

	if (node->raw.n <= sizeof copy)
		name = str_of(copy, json_unescape(node, copy));
	pointer(str_sub(name, 0, sizeof copy), field, sizeof field);
	for (size_t i = 0; i < n; i++) {
		unsigned d = str_distance(name, names[i]);

		/* A hint must keep more of the name than it changes. */
		if (d < least && d * 2 < names[i].n) {
			least = d;
			best = names[i];
		}
	}
	shown = str_sub(name, 0, 64);
	if (best.n)
		return err_field(E_INVALID, field, at, "unknown member \"%.*s\"; did you mean \"%.*s\"?", STR_ARG(shown),
				 STR_ARG(best));
	if (!n)
		return err_field(E_INVALID, field, at, "unknown member \"%.*s\"; none is allowed here", STR_ARG(shown));
	(void)err_field(E_INVALID, field, at, "unknown member \"%.*s\"; allowed are", STR_ARG(shown));
	list_names(diag_get()->text, sizeof diag_get()->text, names, n);
	return E_INVALID;
}

enum err j_only(struct jval obj, const struct str *names, size_t n)
{
	struct j_iter it = j_iter(obj);
	struct jval key;

	/* What is absent has no members; what is no object has none that could be named. */
	if (j_ok(obj) && !j_is(obj, JSON_OBJECT))
		return err_set(E_INVALID, "a JSON object is expected");
	while (j_next(&it, &key, NULL)) {
		bool known = false;

		for (size_t i = 0; i < n && !known; i++)
			known = j_str_eq(key, names[i]);
		if (!known)
			return not_allowed(key, names, n);
	}
	return OK;
}
