/* Texts of checkpoints in columns: what has the usual form goes packed (store/pack/ckpt.h), the rest as it is. The first byte says
 * which it was. */
#include "store/postgres/compact.h"

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
	if (!pack_uuid(s, room))
		return plain(a, 0, s);
	return plain(a, 1, str_of((const char *)room, 16));
}

struct str compact_uuid_text(struct arena *a, struct str s)
{
	if (s.n != 17 || s.p[0] != 1)
		return arena_str(a, str_sub(s, 1, s.n));
	return pack_uuid_text(a, (const uint8_t *)s.p + 1);
}

struct str compact_type(struct arena *a, struct str type)
{
	static const char digits[] = "0123456789";
	int k = pack_type(type);
	return k < 0 ? plain(a, '=', type) : str_of(&digits[k], 1);
}

struct str compact_type_text(struct str packed)
{
	if (packed.n != 1 || packed.p[0] < '0' || packed.p[0] > '9')
		return str_sub(packed, 1, packed.n);
	return pack_type_text(packed.p[0] - '0');
}

struct str compact_version(struct arena *a, struct str s)
{
	uint8_t *room = arena_alloc(a, s.n / 2 + 8);
	size_t n;
	if (!room)
		return (struct str){0};
	if (!pack_version(s, room, &n))
		return plain(a, 0, s);
	return plain(a, 1, str_of((const char *)room, n));
}

enum err compact_channels(struct arena *a, struct str checkpoint, struct compact_chan **out, size_t *n)
{
	struct pack_channel *v;
	TRY(pack_channels(a, checkpoint, &v, n));
	*out = ARENA_ARRAY(a, struct compact_chan, *n + 1);
	if (!*out)
		return E_NOMEM;
	for (size_t i = 0; i < *n; i++) {
		(*out)[i] = (struct compact_chan){v[i].channel, compact_version(a, v[i].version), v[i].version};
		if (!(*out)[i].version.p)
			return E_NOMEM;
	}
	return OK;
}

enum err compact_pending_read(struct arena *a, const PGresult *r, int row, int col, struct ckpt_pending **out, size_t *n,
			      size_t *bytes)
{
	struct pg_array all;
	struct str c[2];
	*out = NULL;
	*n = 0;
	if (pg_is_null(r, row, col))
		return OK;
	pg_get_array(r, row, col, &all);
	while (pg_next_record(&all, c, 2)) {
		struct str task = compact_uuid_text(a, c[0]);
		if (!task.p)
			return E_NOMEM;
		TRY(pack_unpending(a, c[1], task, out, n));
		if (bytes)
			*bytes += c[0].n + c[1].n;
	}
	pack_pending_sort(*out, *n);
	return OK;
}
