/* Fuzz target: msgpack shown as JSON. Whatever the bytes are: what is shown is JSON, not deeper than allowed, at most a small
 * multiple of the input, and the same twice; libmsgpack, if it is there, takes for whole what is taken for whole here, and the
 * other way round. */
#ifdef HAVE_MSGPACK
#include <msgpack.h>
#endif

#include "core/checkpoint.h"
#include "core/msgpack_json.h"
#include "must.h"

#ifdef HAVE_MSGPACK
/* How deep the containers of one level are nested and whether a container claims more than there is: libmsgpack would allocate as
 * much, and knows 32 levels at most. */
static bool fit_for_libmsgpack(struct mp m)
{
	uint64_t left[32] = {1};
	unsigned depth = 0;
	struct mp_head h;

	for (;;) {
		while (left[depth] == 0) {
			if (depth-- == 0)
				return true;
		}
		left[depth]--;
		if (mp_head(&m, &h) != OK)
			return m.at != NULL && diag_get()->text[0] == 'c'; /* cut off */
		if (h.kind != MP_ARRAY && h.kind != MP_MAP)
			continue;
		if (++depth >= 30)
			return false;
		left[depth] = h.kind == MP_MAP ? 2 * h.n : h.n;
	}
}

static bool whole_for_libmsgpack(const uint8_t *data, size_t size)
{
	msgpack_unpacked one;
	size_t at = 0;
	bool whole;

	msgpack_unpacked_init(&one);
	whole = msgpack_unpack_next(&one, (const char *)data, size, &at) == MSGPACK_UNPACK_SUCCESS && at == size;
	msgpack_unpacked_destroy(&one);
	return whole;
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct json_limits lim = {.depth = 64, .nodes = 4000000, .bytes = (size_t)64 << 20, .flags = JSON_DUP_OK};
	struct str bytes = str_of((const char *)data, size);
	struct buf first, second;
	struct arena a;
	struct json doc;
	struct jw w;
	enum err e;

	arena_init(&a, (size_t)512 << 20);
	buf_init(&first, NULL, (size_t)64 << 20);
	buf_init(&second, NULL, (size_t)64 << 20);
	jw_init(&w, &first);
	e = msgpack_json(&w, bytes);
	MUST(e == OK || e == E_INVALID || e == E_LIMIT);
	MUST(e == OK || diag_get()->text[0]);
	MUST(first.err == OK && first.n <= 256 + 64 * size);
	if (e == OK)
		MUST(json_parse(&a, buf_slice(&first), &lim, &doc) == OK);
#ifdef HAVE_MSGPACK
	if (e != E_LIMIT && fit_for_libmsgpack((struct mp){data, data, data + size}))
		MUST(whole_for_libmsgpack(data, size) == (e == OK));
#endif
	jw_init(&w, &second);
	ckpt_value_json(&w, STR("msgpack"), bytes);
	MUST(second.err == OK && json_parse(&a, buf_slice(&second), &lim, &doc) == OK);
	MUST(e != OK || str_eq(buf_slice(&first), buf_slice(&second)));
	buf_release(&second);
	buf_release(&first);
	arena_release(&a);
	return 0;
}
