/* MessagePack as LangGraph's Python serializer writes it, shown as JSON. For eyes only: nothing is executed, no class is looked
 * for, and what cannot be shown is said by type and size. Thread-safe. */
#ifndef CENOTE_CORE_MSGPACK_JSON_H
#define CENOTE_CORE_MSGPACK_JSON_H

#include "base/json/json.h"

#define MSGPACK_SHOW_DEPTH 64

/* One value, which the bytes must be wholly, into w (whose depth counts). E_INVALID with the offset of what is wrong; E_LIMIT:
 * nested deeper than 64, or w's buffer is full. What w got until then is rubbish. */
enum err msgpack_json(struct jw *w, struct str bytes) MUST_CHECK;

/* {"type":type,"bytes":n}, with an error beside when why is not NULL. */
void opaque_json(struct jw *w, struct str type, size_t n, const char *why);

/* As text if it can be printed, else as opaque_json has it. */
void bytes_json(struct jw *w, struct str type, struct str s);

/* ---- between msgpack_json.c and its like ---- */

enum mp_kind { MP_NIL, MP_BOOL, MP_UINT, MP_INT, MP_FLOAT, MP_STR, MP_BIN, MP_ARRAY, MP_MAP, MP_EXT };
struct mp_head {
	enum mp_kind kind;
	bool yes;      /* MP_BOOL */
	int8_t code;   /* MP_EXT */
	uint64_t n;    /* MP_UINT: the number; MP_ARRAY, MP_MAP: elements, members */
	int64_t i;     /* MP_INT: below 0 */
	double f;      /* MP_FLOAT */
	struct str in; /* MP_STR, MP_BIN, MP_EXT: what it holds */
};
/* Reads from `at` up to `end`; base is the whole, for offsets. */
struct mp {
	const uint8_t *base, *at, *end;
};
/* One head: a scalar, a text, or the beginning of a container, whose count is at most the bytes that are left. */
enum err mp_head(struct mp *m, struct mp_head *out) MUST_CHECK;
/* One value passed over; its containers need no recursion. */
enum err mp_skip(struct mp *m) MUST_CHECK;
/* msgpack_numpy.c: the payload of ext 6, [dtype, shape, order, bytes], as nested lists; false: not of a kind that is shown so, and
 * w is as it was. */
bool mp_numpy(struct jw *w, struct mp m);

#endif
