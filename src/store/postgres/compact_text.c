/* Texts of checkpoints in fewer bytes: ids, types, versions, bodies. What does not have the usual form is kept as it is; the first
 * byte says which it was, so that two forms are never taken for each other. */
#include "store/postgres/compact.h"

const struct json_limits compact_json = {.depth = 256, .nodes = 2000000, .bytes = CKPT_JSON_MAX, .flags = JSON_DUP_OK};

/* ---------------------------------------------------------------- ids */

static int nibble(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool dash_at(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

static bool uuid_pack(struct str s, uint8_t out[16])
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

/* The text behind a mark. */
static struct str plain(struct arena *a, char mark, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);
	if (!p)
		return (struct str){0};
	p[0] = mark;
	if (s.n)
		memcpy(p + 1, s.p, s.n);
	return str_of(p, s.n + 1);
}

struct str compact_uuid(struct arena *a, struct str s)
{
	uint8_t room[16];
	if (!uuid_pack(s, room))
		return plain(a, 0, s);
	return plain(a, 1, str_of((const char *)room, 16));
}

struct str compact_uuid_text(struct arena *a, struct str s)
{
	static const char hex[] = "0123456789abcdef";
	if (s.n != 17 || s.p[0] != 1)
		return arena_str(a, str_sub(s, 1, s.n));
	char *p = arena_alloc(a, 36);
	for (size_t k = 0, at = 0; p && at < 36; at++) {
		if (dash_at(at)) {
			p[at] = '-';
			continue;
		}
		uint8_t b = (uint8_t)s.p[1 + k / 2];
		p[at] = hex[k % 2 ? b & 15 : b >> 4];
		k++;
	}
	return str_of(p, p ? 36 : 0);
}

/* ---------------------------------------------------------------- types */

/* The place is what is stored: add at the end only, up to ten. */
static const struct str types[] = {STR_INIT("empty"),	    STR_INIT("msgpack"), STR_INIT("json"),
				   STR_INIT("null"),	    STR_INIT("bytes"),	 STR_INIT("bytearray"),
				   STR_INIT("msgpack+aes"), STR_INIT("pickle"),	 STR_INIT("json+aes")};
enum { N_TYPES = sizeof types / sizeof *types };

struct str compact_type(struct arena *a, struct str type)
{
	static const char digits[] = "0123456789";
	for (size_t k = 0; k < N_TYPES; k++)
		if (str_eq(types[k], type))
			return str_of(&digits[k], 1);
	return plain(a, '=', type);
}

struct str compact_type_text(struct str packed)
{
	if (packed.n != 1 || packed.p[0] < '0' || packed.p[0] >= '0' + N_TYPES)
		return str_sub(packed, 1, packed.n);
	return types[packed.p[0] - '0'];
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

/* False when the text is of another kind. Never longer than (s.n + 1) / 2 bytes. */
static bool version_pack(struct str s, struct nibbles *x)
{
	for (size_t i = 0; i < s.n;) {
		size_t zeros = 0;
		while (i + zeros < s.n && s.p[i + zeros] == '0' && zeros < 16)
			zeros++;
		if (zeros > 2) {
			nibble_put(x, V_ZEROS);
			nibble_put(x, (int)zeros - 1);
			i += zeros;
			continue;
		}
		char ch = s.p[i++];
		if (ch != '.' && (ch < '0' || ch > '9'))
			return false;
		nibble_put(x, ch == '.' ? V_POINT : ch - '0');
	}
	return s.n > 0;
}

struct str compact_version(struct arena *a, struct str s)
{
	struct nibbles x = {arena_alloc(a, s.n / 2 + 8), 0};
	if (!x.p)
		return (struct str){0};
	if (!version_pack(s, &x))
		return plain(a, 0, s);
	return plain(a, 1, str_of((const char *)x.p, (x.n + 1) / 2));
}

/* ---------------------------------------------------------------- bodies */

enum err compact_body(struct arena *a, struct str checkpoint, struct str metadata, struct str *out)
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

enum err compact_unbody(struct arena *a, struct str body, struct str *checkpoint, struct str *metadata)
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
	const struct compact_chan *a = x, *b = y;
	return str_cmp(a->channel, b->channel);
}

enum err compact_channels(struct arena *a, struct str checkpoint, struct compact_chan **out, size_t *n)
{
	struct json *doc = ARENA_NEW(a, struct json);
	struct jval key, v;
	*n = 0;
	if (!doc)
		return E_NOMEM;
	if (json_parse(a, checkpoint, &compact_json, doc) != OK)
		return err_wrap(E_CORRUPT, "a stored checkpoint");
	struct jval versions = j_get(json_root(doc), STR("channel_versions"));
	*out = NULL;
	if (!j_is(versions, JSON_OBJECT))
		return OK;
	*out = ARENA_ARRAY(a, struct compact_chan, j_node(versions)->count + 1);
	if (!*out)
		return E_NOMEM;
	struct j_iter it = j_iter(versions);
	while (j_next(&it, &key, &v)) {
		struct compact_chan *x = &(*out)[(*n)++];
		x->channel = j_str(a, key);
		x->text = j_is(v, JSON_STRING) ? j_str(a, v) : j_raw(v);
		if (!x->channel.p || !x->text.p)
			return E_NOMEM;
		x->version = compact_version(a, x->text);
		if (!x->version.p)
			return E_NOMEM;
	}
	if (*n > 1)
		qsort(*out, *n, sizeof **out, by_channel);
	return OK;
}
