/* Ids, types, versions and bodies of checkpoints in fewer bytes. */
#include <stdlib.h>
#include <string.h>

#include "store/pack/ckpt.h"

const struct json_limits pack_json = {.depth = 256, .nodes = 2000000, .bytes = CKPT_JSON_MAX, .flags = JSON_DUP_OK};

/* ---------------------------------------------------------------- ids */

static int nibble(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool dash_at(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

bool pack_uuid(struct str s, uint8_t out[16])
{
	size_t k = 0;
	if (s.n != 36)
		return false;
	for (size_t i = 0; i < 36; i++) {
		if (dash_at(i)) {
			if (s.p[i] != '-')
				return false;
			continue;
		}
		int v = nibble(s.p[i]);
		if (v < 0)
			return false;
		out[k / 2] = (uint8_t)(k % 2 ? out[k / 2] | v : v << 4);
		k++;
	}
	return true;
}

struct str pack_uuid_text(struct arena *a, const uint8_t p[16])
{
	static const char hex[] = "0123456789abcdef";
	char *out = arena_alloc(a, 36);
	for (size_t k = 0, at = 0; out && at < 36; at++) {
		if (dash_at(at)) {
			out[at] = '-';
			continue;
		}
		out[at] = hex[k % 2 ? p[k / 2] & 15 : p[k / 2] >> 4];
		k++;
	}
	return str_of(out, out ? 36 : 0);
}

/* ---------------------------------------------------------------- types */

/* The place is what is stored: add at the end only, up to ten. */
static const struct str types[] = {STR_INIT("empty"),	    STR_INIT("msgpack"), STR_INIT("json"),
				   STR_INIT("null"),	    STR_INIT("bytes"),	 STR_INIT("bytearray"),
				   STR_INIT("msgpack+aes"), STR_INIT("pickle"),	 STR_INIT("json+aes")};
enum { N_TYPES = sizeof types / sizeof *types };

int pack_type(struct str type)
{
	for (int k = 0; k < N_TYPES; k++)
		if (str_eq(types[k], type))
			return k;
	return -1;
}

struct str pack_type_text(int k)
{
	return k >= 0 && k < N_TYPES ? types[k] : STR("?");
}

/* ---------------------------------------------------------------- versions */

/* Nibbles: 0-9 digits, 10 a point, 11 a run of zeros whose length - 1 is in the next nibble, 15 the end (only to fill a byte). */
enum { V_POINT = 10, V_ZEROS = 11, V_END = 15 };

struct nibbles {
	uint8_t *p;
	size_t n; /* nibbles */
};

static void nibble_put(struct nibbles *x, int v)
{
	x->p[x->n / 2] = (uint8_t)(x->n % 2 ? (x->p[x->n / 2] & 0xf0) | v : v << 4 | V_END);
	x->n++;
}

bool pack_version(struct str s, uint8_t *room, size_t *n)
{
	struct nibbles x = {room, 0};
	for (size_t i = 0; i < s.n;) {
		size_t zeros = 0;
		while (i + zeros < s.n && s.p[i + zeros] == '0' && zeros < 16)
			zeros++;
		if (zeros > 2) {
			nibble_put(&x, V_ZEROS);
			nibble_put(&x, (int)zeros - 1);
			i += zeros;
			continue;
		}
		char ch = s.p[i++];
		if (ch != '.' && (ch < '0' || ch > '9'))
			return false;
		nibble_put(&x, ch == '.' ? V_POINT : ch - '0');
	}
	*n = (x.n + 1) / 2;
	return s.n > 0;
}

struct str pack_version_text(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n * 16 + 1);
	size_t n = 0;
	bool zeros = false;
	for (size_t k = 0; p && k < s.n * 2; k++) {
		int v = k % 2 ? s.p[k / 2] & 15 : (uint8_t)s.p[k / 2] >> 4;
		if (zeros) {
			memset(p + n, '0', (size_t)v + 1);
			n += (size_t)v + 1;
			zeros = false;
		} else if (v == V_ZEROS) {
			zeros = true;
		} else if (v <= V_POINT) {
			p[n++] = v == V_POINT ? '.' : (char)('0' + v);
		}
	}
	return str_of(p, n);
}

/* ---------------------------------------------------------------- bodies */

enum err pack_body(struct arena *a, struct str checkpoint, struct str metadata, struct str *out)
{
	struct buf b;
	buf_init(&b, a, 2 * (size_t)CKPT_JSON_MAX + 64);
	buf_room(&b, checkpoint.n + metadata.n + 10);
	buf_varint(&b, checkpoint.n);
	buf_str(&b, checkpoint);
	buf_str(&b, metadata);
	TRY(b.err);
	return pack_squeeze(a, buf_slice(&b), out);
}

enum err pack_unbody(struct arena *a, struct str body, struct str *checkpoint, struct str *metadata)
{
	struct str raw;
	uint64_t n;
	TRY(pack_expand(a, body, 2 * (size_t)CKPT_JSON_MAX + 64, &raw));
	const uint8_t *p = (const uint8_t *)raw.p, *end = p + raw.n;
	if (!varint_get(&p, end, &n) || n > (size_t)(end - p))
		return err_set(E_CORRUPT, "a stored checkpoint is damaged");
	*checkpoint = str_of((const char *)p, n);
	*metadata = str_of((const char *)p + n, (size_t)(end - p) - n);
	return OK;
}

static int by_channel(const void *x, const void *y)
{
	const struct pack_channel *a = x, *b = y;
	return str_cmp(a->channel, b->channel);
}

enum err pack_channels(struct arena *a, struct str checkpoint, struct pack_channel **out, size_t *n)
{
	struct json *doc = ARENA_NEW(a, struct json);
	struct jval key, v;
	*n = 0;
	if (!doc)
		return E_NOMEM;
	if (json_parse(a, checkpoint, &pack_json, doc) != OK)
		return err_wrap(E_CORRUPT, "a stored checkpoint");
	struct jval versions = j_get(json_root(doc), STR("channel_versions"));
	*out = NULL;
	if (!j_is(versions, JSON_OBJECT))
		return OK;
	*out = ARENA_ARRAY(a, struct pack_channel, j_node(versions)->count + 1);
	if (!*out)
		return E_NOMEM;
	struct j_iter it = j_iter(versions);
	while (j_next(&it, &key, &v)) {
		struct pack_channel *x = &(*out)[(*n)++];
		x->channel = j_str(a, key);
		x->version = j_is(v, JSON_STRING) ? j_str(a, v) : j_raw(v);
		if (!x->channel.p || !x->version.p)
			return E_NOMEM;
	}
	if (*n > 1)
		qsort(*out, *n, sizeof **out, by_channel);
	return OK;
}
