/* What a service answers to POST /embeddings, taken apart with suspicion: every number is checked before it is believed. */
#include "embed/remote_impl.h"

#include <math.h>

#include "base/base64.h"
#include "base/json/json.h"
#include "base/utf8.h"

struct answer {
	struct arena *scratch;
	uint32_t dims;
	size_t n;
	float *v;
	uint8_t *seen; /* per text */
};

/* Divides by the length. */
static enum err normalise(float *v, uint32_t dims, int64_t index)
{
	double sum = 0, scale;

	for (uint32_t i = 0; i < dims; i++) {
		if (!isfinite(v[i]))
			return err_set(E_CORRUPT, "the vector of text %lld has a value that is not a finite number",
				       (long long)index);
		sum += (double)v[i] * (double)v[i];
	}
	if (!(sum > 1e-24))
		return err_set(E_CORRUPT, "the vector of text %lld has the length 0", (long long)index);
	scale = 1.0 / sqrt(sum);
	for (uint32_t i = 0; i < dims; i++)
		v[i] = (float)((double)v[i] * scale);
	return OK;
}

/* How many values an embedding has; 0: it is none. */
static uint64_t count_of(struct answer *w, struct jval e, struct str *packed)
{
	*packed = STR("");
	if (j_is(e, JSON_ARRAY))
		return j_node(e)->count;
	if (!j_is(e, JSON_STRING))
		return 0;
	*packed = j_str(w->scratch, e);
	size_t pad = packed->n && packed->p[packed->n - 1] == '=' ? (packed->n > 1 && packed->p[packed->n - 2] == '=' ? 2 : 1) : 0;
	size_t bytes = packed->n / 4 * 3 - (packed->n >= 4 ? pad : 0);
	return packed->n % 4 == 0 && bytes % sizeof(float) == 0 ? bytes / sizeof(float) : 0;
}

static enum err fill(struct answer *w, struct jval e, struct str packed, float *to, int64_t index)
{
	size_t room = (size_t)w->dims * sizeof(float);
	struct jval x;
	double d;

	if (packed.n) {
		/* Little-endian float32, as this machine has them. */
		_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vectors travel little-endian");
		if (!base64_decode(packed, (uint8_t *)to, &room) || room != (size_t)w->dims * sizeof(float))
			return err_set(E_CORRUPT, "the vector of text %lld is no base64", (long long)index);
		return normalise(to, w->dims, index);
	}
	struct j_iter it = j_iter(e);
	for (uint32_t i = 0; i < w->dims && j_next(&it, NULL, &x); i++) {
		if (!j_double(x, &d))
			return err_set(E_CORRUPT, "the vector of text %lld has a value that is no number", (long long)index);
		to[i] = (float)d;
	}
	return normalise(to, w->dims, index);
}

static enum err one(struct answer *w, struct arena *a, struct jval item, size_t place)
{
	struct jval e = j_get(item, STR("embedding")), at = j_get(item, STR("index"));
	int64_t index = (int64_t)place;
	struct str packed;
	uint64_t count;

	if (!j_null(at) && (!j_i64(at, &index) || index < 0 || (uint64_t)index >= w->n))
		return err_set(E_CORRUPT, "an index of the answer is outside of 0..%zu", w->n - 1);
	if (w->seen[index])
		return err_set(E_CORRUPT, "the answer has index %lld twice", (long long)index);
	w->seen[index] = 1;
	count = count_of(w, e, &packed);
	if (count < 1 || count > EMBED_DIMS_MAX)
		return err_set(E_CORRUPT, "the answer has no vector of 1 to %d dimensions for text %lld", EMBED_DIMS_MAX,
			       (long long)index);
	if (w->dims == 0)
		w->dims = (uint32_t)count;
	if (count != w->dims)
		return err_set(E_CORRUPT, "the answer has a vector of %llu dimensions where %u are wanted",
			       (unsigned long long)count, (unsigned)w->dims);
	if (!w->v)
		w->v = arena_array(a, w->n * w->dims, sizeof(float));
	if (!w->v)
		return E_NOMEM;
	return fill(w, e, packed, w->v + (size_t)index * w->dims, index);
}

enum err remote_answer(struct arena *scratch, struct arena *a, struct str body, size_t n, uint32_t *dims, float **out,
		       uint64_t *tokens)
{
	struct json_limits lim = {.depth = 16, .bytes = body.n + 1, .flags = JSON_DUP_OK};
	struct answer w = {.scratch = scratch, .dims = *dims, .n = n, .seen = arena_zalloc(scratch, n)};
	struct json doc;
	struct jval data, item;
	int64_t used = 0;
	enum err e;

	if (!w.seen)
		return E_NOMEM;
	/* Every value takes two bytes of text at least, so the text's length bounds the nodes. */
	lim.nodes = (uint32_t)(n * (EMBED_DIMS_MAX + 32) + 1024);
	e = json_parse(scratch, body, &lim, &doc);
	if (e == E_INVALID)
		return err_set(E_UPSTREAM, "the answer is no JSON, or it was cut off");
	if (e == E_LIMIT)
		return err_set(E_CORRUPT, "the answer has more values than %zu vectors can have", n);
	TRY(e);
	data = j_get(json_root(&doc), STR("data"));
	if (!j_is(data, JSON_ARRAY))
		return err_set(E_CORRUPT, "the answer has no list \"data\"");
	if (j_node(data)->count != n)
		return err_set(E_CORRUPT, "the answer has %u vectors for %zu texts", (unsigned)j_node(data)->count, n);
	struct j_iter it = j_iter(data);
	for (size_t i = 0; j_next(&it, NULL, &item); i++)
		TRY(one(&w, a, item, i));
	if (j_i64(j_get(j_get(json_root(&doc), STR("usage")), STR("prompt_tokens")), &used) && used > 0)
		*tokens += (uint64_t)used;
	*dims = w.dims;
	*out = w.v;
	return OK;
}
