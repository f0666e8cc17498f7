/* Fuzz target: vectors. The first byte chooses: the rest is a stored blob, which is refused or a vector of length 1 that can be
 * kept, found and packed again; or it is floats, which are refused or come back pointing where they did. */
#include <math.h>

#include "index/vector_scope.h"
#include "must.h"

/* Alone in a scope it is found, with itself as the question. */
static void keep_and_find(struct arena *a, const struct vector *v)
{
	struct vector_scope *s = vector_scope_new(v->dims);
	struct vector_question q;
	struct vector_found f;
	int64_t ids[2] = {7, 8};
	double cosines[2];
	struct vector back;

	MUST(s && vector_scope_put(s, 7, v) == OK);
	MUST(vector_question_like(a, v, &q) == OK);
	MUST(vector_scope_search(s, a, &q, NULL, 3, &f) == OK);
	MUST(f.n == 1 && f.hits[0].id == 7 && f.hits[0].score > 0.98 && f.hits[0].score <= 1);
	MUST(vector_scope_cosines(s, &q, ids, 2, cosines) == OK);
	MUST(cosines[0] == f.hits[0].score && isnan(cosines[1]));
	MUST(vector_scope_get(s, 7, &back) && memcmp(back.high, v->high, v->dims) == 0 && memcmp(back.low, v->low, v->dims) == 0);
	MUST(vector_scope_remove(s, 7) && !vector_scope_remove(s, 7));
	vector_scope_free(s);
}

static void blob(struct arena *a, struct str data)
{
	struct vector v, again;
	struct str packed;
	float *x;

	if (vector_unpack(data, &v) != OK)
		return;
	MUST(data.n == vector_blob_bytes(v.dims));
	MUST(v.high >= (const uint8_t *)data.p && v.low + v.dims == (const uint8_t *)data.p + data.n);
	x = ARENA_ARRAY(a, float, v.dims);
	MUST(x != NULL);
	vector_floats(&v, x);
	for (uint32_t i = 0; i < v.dims; i++)
		MUST(isfinite(x[i]));
	MUST(vector_pack(a, x, v.dims, &packed) == OK && vector_unpack(packed, &again) == OK);
	keep_and_find(a, &v);
}

static void floats(struct arena *a, struct str data)
{
	uint32_t dims = (uint32_t)(data.n / sizeof(float));
	float *x = ARENA_ARRAY(a, float, dims + 1);
	struct vector_question q;
	struct vector v;
	struct str packed;
	enum err e;

	MUST(x != NULL);
	if (dims)
		memcpy(x, data.p, dims * sizeof *x);
	e = vector_pack(a, x, dims, &packed);
	MUST(vector_question_make(a, x, dims, &q) == e);
	if (e != OK) {
		MUST(e == E_INVALID);
		return;
	}
	MUST(vector_unpack(packed, &v) == OK && v.dims == dims);
	keep_and_find(a, &v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = str_of((const char *)data + 1, size ? size - 1 : 0);
	struct arena a;

	if (!size)
		return 0;
	arena_init(&a, (size_t)16 << 20);
	if (data[0] & 1)
		floats(&a, rest);
	else
		blob(&a, rest);
	arena_release(&a);
	return 0;
}
