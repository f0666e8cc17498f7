/* Fuzz target: JSON. Whatever the bytes, reading them ends in a tape that keeps the invariants of base/json/json.h or in an error
 * with a place; what was accepted, written again by the writer, reads back equal. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json/json.h"
#include "base/utf8.h"

#define MUST(cond)                                                                                                                 \
	do {                                                                                                                       \
		if (!(cond)) {                                                                                                     \
			fprintf(stderr, "json: line %d: %s\n", __LINE__, #cond);                                                   \
			abort();                                                                                                   \
		}                                                                                                                  \
	} while (0)

static bool inside(struct str part, struct str whole)
{
	return part.p >= whole.p && part.p + part.n <= whole.p + whole.n;
}

/* Checks the subtree at i and returns the index behind it. */
static uint32_t check_subtree(struct arena *a, const struct json *d, uint32_t i, struct str around)
{
	const struct json_node *node = &d->nodes[i];
	const char *before = node->raw.p;
	uint32_t at = i + 1;

	MUST(i < d->n && node->raw.n > 0 && inside(node->raw, around));
	if (node->type == JSON_STRING) {
		struct str text = j_str(a, (struct jval){d, i});

		MUST(node->raw.n >= 2 && node->raw.p[0] == '"' && node->raw.p[node->raw.n - 1] == '"');
		MUST(text.p && utf8_valid(text) && j_str_eq((struct jval){d, i}, text));
		MUST(node->escaped == (memchr(node->raw.p, '\\', node->raw.n) != NULL));
	}
	if (node->type != JSON_ARRAY && node->type != JSON_OBJECT) {
		MUST(node->next == at && node->count == 0);
		return at;
	}
	for (uint32_t k = 0; k < node->count; k++) {
		if (node->type == JSON_OBJECT) {
			MUST(at < d->n && d->nodes[at].type == JSON_STRING && d->nodes[at].raw.p > before);
			at = check_subtree(a, d, at, node->raw);
		}
		MUST(at < d->n && d->nodes[at].raw.p > before);
		before = d->nodes[at].raw.p + d->nodes[at].raw.n - 1;
		at = check_subtree(a, d, at, node->raw);
	}
	MUST(node->next == at);
	return at;
}

static void write_again(struct arena *a, struct jw *w, struct jval v)
{
	struct j_iter it = j_iter(v);
	struct jval key, item;
	int64_t whole;

	switch (j_type(v)) {
	case JSON_NULL:
		jw_null(w);
		return;
	case JSON_FALSE:
	case JSON_TRUE:
		jw_bool(w, j_type(v) == JSON_TRUE);
		return;
	case JSON_NUMBER:
		/* Integers through the writer; what a double would round, as it is. */
		if (j_i64(v, &whole))
			jw_i64(w, whole);
		else
			jw_raw(w, j_raw(v));
		return;
	case JSON_STRING:
		jw_str(w, j_str(a, v));
		return;
	case JSON_ARRAY:
		jw_arr(w);
		while (j_next(&it, NULL, &item))
			write_again(a, w, item);
		jw_end_arr(w);
		return;
	case JSON_OBJECT:
		jw_obj(w);
		while (j_next(&it, &key, &item)) {
			jw_key_str(w, j_str(a, key));
			write_again(a, w, item);
		}
		jw_end_obj(w);
		return;
	}
}

static void check_numbers(struct arena *a, const struct json *d)
{
	for (uint32_t i = 0; i < d->n; i++) {
		struct jval v = {d, i};
		struct json again;
		struct buf b;
		struct jw w;
		double x, y;

		if (d->nodes[i].type != JSON_NUMBER || !j_double(v, &x))
			continue;
		MUST(j_num_cmp(v, v) == 0);
		buf_init(&b, a, 64);
		jw_init(&w, &b);
		jw_double(&w, x);
		MUST(b.err == OK && json_parse(a, buf_slice(&b), NULL, &again) == OK);
		MUST(j_double(json_root(&again), &y) && memcmp(&x, &y, sizeof x) == 0);
		/* A literal is on the same side of the next one as their doubles are, if these differ. */
		for (uint32_t k = i + 1; k < d->n && k < i + 8; k++) {
			struct jval other = {d, k};

			if (d->nodes[k].type == JSON_NUMBER && j_double(other, &y) && x != y)
				MUST((j_num_cmp(v, other) < 0) == (x < y) && (j_num_cmp(other, v) < 0) == (y < x));
		}
	}
}

static void check_round_trip(struct arena *a, const struct json *d, const struct json_limits *lim)
{
	struct json again;
	struct buf b;
	struct jw w;

	buf_init(&b, a, (size_t)4 << 20);
	jw_init(&w, &b);
	write_again(a, &w, json_root(d));
	MUST(b.err == OK && w.depth == 0);
	MUST(json_parse(a, buf_slice(&b), lim, &again) == OK);
	MUST(again.n == d->n);
	MUST(j_equal(json_root(d), json_root(&again)) && j_equal(json_root(&again), json_root(d)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = str_of((const char *)data, size);
	struct json_limits lim = json_default_limits;
	struct arena a;
	struct json d;
	bool strict;

	arena_init(&a, (size_t)256 << 20);
	strict = json_parse(&a, text, &lim, &d) == OK;
	for (int dups = 0; dups < 2; dups++) {
		enum err e;

		lim.flags = dups ? JSON_DUP_OK : 0;
		diag_clear();
		e = json_parse(&a, text, &lim, &d);
		/* Being more tolerant never refuses more. */
		MUST(e == OK || !strict);
		if (e != OK) {
			MUST(e == E_INVALID || e == E_LIMIT);
			MUST(diag_get()->code == e && diag_get()->text[0] && diag_get()->position <= (int64_t)size);
			continue;
		}
		MUST(check_subtree(&a, &d, 0, text) == d.n);
		MUST(str_eq(j_raw(json_root(&d)), str_trim(text)));
		check_round_trip(&a, &d, &lim);
		check_numbers(&a, &d);
	}
	arena_release(&a);
	return 0;
}
