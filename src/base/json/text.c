/* The contents of JSON strings, and tables of keys. */
#include "base/json/text.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "base/utf8_seq.h"

int32_t json_hex4(const char *p)
{
	int32_t v = 0;

	for (unsigned i = 0; i < 4; i++) {
		char c = p[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			v = v << 4 | (c - 'A' + 10);
		else
			return -1;
	}
	return v;
}

/* The code point of the escape at *p (a backslash), moving *p behind it. The reader has seen to it that it is well formed. */
static uint32_t unescape_one(const char **p)
{
	const char *at = *p + 1;
	uint32_t cp;

	*p += 2;
	switch (*at) {
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'u':
		break;
	default:
		return (unsigned char)*at;
	}
	cp = (uint32_t)json_hex4(at + 1);
	*p += 4;
	if (cp < 0xd800 || cp > 0xdbff)
		return cp;
	/* A high surrogate is followed by \u and a low one. */
	cp = 0x10000 + ((cp - 0xd800) << 10) + ((uint32_t)json_hex4(at + 7) - 0xdc00);
	*p += 6;
	return cp;
}

size_t json_unescape(const struct json_node *s, char *out)
{
	struct str in = json_inner(s);
	const char *p = in.p, *end = in.p + in.n;
	char *to = out;

	while (p < end) {
		const char *escape = memchr(p, '\\', (size_t)(end - p));
		size_t plain = (size_t)((escape ? escape : end) - p);
		char cp[4];
		unsigned n;

		memcpy(to, p, plain);
		to += plain;
		p += plain;
		if (!escape)
			break;
		n = utf8_put(cp, unescape_one(&p));
		memcpy(to, cp, n);
		to += n;
	}
	return (size_t)(to - out);
}

static uint32_t next_cp(const char **p, const char *end)
{
	uint32_t cp = 0;

	if (**p == '\\')
		return unescape_one(p);
	*p += utf8_sequence((const unsigned char *)*p, (size_t)(end - *p), &cp);
	return cp;
}

int json_text_cmp(const struct json_node *a, const struct json_node *b)
{
	struct str x = json_inner(a), y = json_inner(b);
	const char *p = x.p, *p_end = x.p + x.n, *q = y.p, *q_end = y.p + y.n;

	if (!a->escaped && !b->escaped)
		return str_cmp(x, y);
	while (p < p_end && q < q_end) {
		uint32_t c = next_cp(&p, p_end), d = next_cp(&q, q_end);

		if (c != d)
			return c < d ? -1 : 1;
	}
	return (p < p_end) - (q < q_end);
}

bool json_text_is(const struct json_node *a, struct str plain)
{
	struct str in = json_inner(a);
	const char *p = in.p, *end = in.p + in.n;

	if (!a->escaped)
		return str_eq(in, plain);
	if (plain.n > in.n)
		return false;
	while (p < end) {
		char cp[4];
		unsigned n;

		if (*p != '\\') {
			if (!plain.n || *plain.p != *p)
				return false;
			p++;
			plain = str_sub(plain, 1, plain.n);
			continue;
		}
		n = utf8_put(cp, unescape_one(&p));
		if (!str_starts(plain, str_of(cp, n)))
			return false;
		plain = str_sub(plain, n, plain.n);
	}
	return plain.n == 0;
}

static uint64_t hash_of(const struct json_node *key)
{
	char small[512], *copy = small;
	uint64_t hash;

	if (!key->escaped)
		return hash64_seeded(json_inner(key));
	if (key->raw.n > sizeof small)
		copy = malloc(key->raw.n);
	/* Without memory all such keys fall into one chain: slow but right. */
	if (!copy)
		return 0;
	hash = hash64_seeded(str_of(copy, json_unescape(key, copy)));
	if (copy != small)
		free(copy);
	return hash;
}

size_t json_keys_cap(uint32_t members)
{
	size_t cap = 32;

	while (cap < (size_t)members * 2)
		cap *= 2;
	return cap;
}

void json_keys_init(struct json_keys *k, uint32_t *memory, uint32_t members)
{
	k->slots = memory;
	k->cap = json_keys_cap(members);
	memset(memory, 0xff, k->cap * sizeof *memory); /* JSON_NO_KEY */
}

static uint32_t *slot_of(const struct json_keys *k, const struct json_node *nodes, const struct json_node *key)
{
	size_t i = hash_of(key) & (k->cap - 1);

	while (k->slots[i] != JSON_NO_KEY && !json_text_eq(&nodes[k->slots[i]], key))
		i = (i + 1) & (k->cap - 1);
	return &k->slots[i];
}

uint32_t json_keys_put(struct json_keys *k, const struct json_node *nodes, uint32_t key)
{
	uint32_t *slot = slot_of(k, nodes, &nodes[key]), before = *slot;

	*slot = key;
	return before;
}

uint32_t json_keys_find(const struct json_keys *k, const struct json_node *nodes, const struct json_node *key)
{
	return *slot_of(k, nodes, key);
}
