#include "embed/minilm/safetensors.h"

#include <inttypes.h>

#include "base/json/json.h"

static const struct json_limits limits = {.depth = 4, .nodes = 200000, .bytes = SAFETENSORS_HEADER_MAX};

static const struct {
	struct str name;
	uint8_t bytes;
} dtypes[] = {
	{STR_INIT("F32"), 4}, {STR_INIT("F16"), 2},  {STR_INIT("BF16"), 2},    {STR_INIT("F64"), 8},
	{STR_INIT("I64"), 8}, {STR_INIT("I32"), 4},  {STR_INIT("I16"), 2},     {STR_INIT("I8"), 1},
	{STR_INIT("U8"), 1},  {STR_INIT("BOOL"), 1}, {STR_INIT("U16"), 2},     {STR_INIT("U32"), 4},
	{STR_INIT("U64"), 8}, {STR_INIT("C64"), 8},  {STR_INIT("F8_E4M3"), 1}, {STR_INIT("F8_E5M2"), 1},
};

/* Names in diagnostics: not longer than is readable. */
#define NAME_ARG(s) STR_ARG(str_sub((s), 0, 120))

static uint8_t dtype_bytes(struct str name)
{
	for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
		if (str_eq(dtypes[i].name, name))
			return dtypes[i].bytes;
	return 0;
}

static bool natural(struct jval v, uint64_t *out)
{
	int64_t n;

	if (!j_i64(v, &n) || n < 0)
		return false;
	*out = (uint64_t)n;
	return true;
}

static enum err read_shape(struct jval shape, struct tensor *t)
{
	struct j_iter it;
	struct jval v;

	if (!j_is(shape, JSON_ARRAY) || j_node(shape)->count > SAFETENSORS_RANK_MAX)
		return err_set(E_CORRUPT, "tensor %.*s: shape must be a list of at most %u lengths", NAME_ARG(t->name),
			       SAFETENSORS_RANK_MAX);
	it = j_iter(shape);
	while (j_next(&it, NULL, &v))
		if (!natural(v, &t->shape[t->rank++]))
			return err_set(E_CORRUPT, "tensor %.*s: a length in its shape is no number from 0", NAME_ARG(t->name));
	return OK;
}

/* The bytes that dtype and shape ask for; false when there are too many to count. */
static bool wanted_bytes(const struct tensor *t, uint64_t *out)
{
	uint64_t n = dtype_bytes(t->dtype);

	for (uint32_t i = 0; i < t->rank; i++)
		if (__builtin_mul_overflow(n, t->shape[i], &n))
			return false;
	*out = n;
	return true;
}

static enum err read_data(struct jval offsets, struct str data, struct tensor *t)
{
	uint64_t at[2] = {0}, want;
	struct jval v;
	struct j_iter it;
	int n = 0;

	if (!j_is(offsets, JSON_ARRAY) || j_node(offsets)->count != 2)
		return err_set(E_CORRUPT, "tensor %.*s: data_offsets must be [begin, end]", NAME_ARG(t->name));
	it = j_iter(offsets);
	while (j_next(&it, NULL, &v))
		if (!natural(v, &at[n++]))
			return err_set(E_CORRUPT, "tensor %.*s: an offset is no number from 0", NAME_ARG(t->name));
	if (at[0] > at[1])
		return err_set(E_CORRUPT, "tensor %.*s ends before it begins", NAME_ARG(t->name));
	if (at[1] > data.n)
		return err_set(E_CORRUPT,
			       "tensor %.*s ends at byte %" PRIu64
			       " of the data, but only %zu are there: the file is cut off or damaged",
			       NAME_ARG(t->name), at[1], data.n);
	if (!wanted_bytes(t, &want) || want != at[1] - at[0])
		return err_set(E_CORRUPT, "tensor %.*s has %" PRIu64 " bytes, which does not fit its shape and type",
			       NAME_ARG(t->name), at[1] - at[0]);
	t->data = str_sub(data, at[0], at[1]);
	return OK;
}

static enum err read_tensor(struct arena *a, struct jval key, struct jval v, struct str data, struct tensor *t)
{
	struct jval dtype = j_get(v, STR("dtype"));

	t->name = j_str(a, key);
	if (!t->name.p)
		return E_NOMEM;
	if (!j_is(v, JSON_OBJECT) || !j_is(dtype, JSON_STRING))
		return err_set(E_CORRUPT, "tensor %.*s: dtype, shape and data_offsets are missing", NAME_ARG(t->name));
	t->dtype = j_str(a, dtype);
	if (!t->dtype.p)
		return E_NOMEM;
	if (dtype_bytes(t->dtype) == 0)
		return err_set(E_CORRUPT, "tensor %.*s: unknown dtype %.*s", NAME_ARG(t->name), STR_ARG(str_sub(t->dtype, 0, 20)));
	TRY(read_shape(j_get(v, STR("shape")), t));
	return read_data(j_get(v, STR("data_offsets")), data, t);
}

static enum err read_header(struct arena *a, struct str header, struct str data, struct safetensors *out)
{
	struct json *doc = ARENA_NEW(a, struct json);
	struct jval root, key, v;
	uint64_t total = 0;
	struct j_iter it;

	if (!doc)
		return E_NOMEM;
	if (json_parse(a, header, &limits, doc) != OK)
		return err_set(E_CORRUPT, "the header is no JSON that is allowed here (byte %" PRId64 ")", diag_get()->position);
	root = json_root(doc);
	if (!j_is(root, JSON_OBJECT))
		return err_set(E_CORRUPT, "the header is no JSON object");
	out->v = arena_zalloc(a, j_node(root)->count * sizeof *out->v);
	if (!out->v)
		return E_NOMEM;
	it = j_iter(root);
	while (j_next(&it, &key, &v)) {
		if (j_str_eq(key, STR("__metadata__")))
			continue;
		TRY(read_tensor(a, key, v, data, &out->v[out->n]));
		total += out->v[out->n++].data.n;
	}
	if (total != data.n)
		return err_set(E_CORRUPT, "the tensors have %" PRIu64 " bytes together, but %zu follow the header", total, data.n);
	return OK;
}

enum err safetensors_parse(struct arena *a, struct str file, struct safetensors *out)
{
	uint64_t n = 0;

	*out = (struct safetensors){0};
	if (file.n < 8)
		return err_set(E_CORRUPT, "the file has %zu bytes and no header", file.n);
	for (int i = 7; i >= 0; i--)
		n = n << 8 | (unsigned char)file.p[i];
	if (n > file.n - 8)
		return err_set(E_CORRUPT,
			       "the header claims %" PRIu64
			       " bytes, but only %zu follow: the file is cut off or no safetensors file",
			       n, file.n - 8);
	if (n > SAFETENSORS_HEADER_MAX)
		return err_set(E_LIMIT, "the header has %" PRIu64 " bytes, at most %u are allowed", n, SAFETENSORS_HEADER_MAX);
	return read_header(a, str_sub(file, 8, 8 + n), str_sub(file, 8 + n, file.n), out);
}

const struct tensor *safetensors_find(const struct safetensors *s, struct str name)
{
	for (size_t i = 0; i < s->n; i++)
		if (str_eq(s->v[i].name, name))
			return &s->v[i];
	return NULL;
}

enum err safetensors_f32(const struct safetensors *s, struct str name, uint64_t rows, uint64_t cols, const float **out)
{
	const struct tensor *t = safetensors_find(s, name);

	if (!t)
		return err_set(E_CORRUPT, "tensor %.*s is missing: these are weights of another model", NAME_ARG(name));
	if (!str_eq(t->dtype, STR("F32")))
		return err_set(E_CORRUPT, "tensor %.*s is of type %.*s, only F32 is read", NAME_ARG(name), STR_ARG(t->dtype));
	if (rows ? t->rank != 2 || t->shape[0] != rows || t->shape[1] != cols : t->rank != 1 || t->shape[0] != cols) {
		if (rows)
			return err_set(E_CORRUPT,
				       "tensor %.*s has not the shape [%" PRIu64 ", %" PRIu64 "] that config.json asks for",
				       NAME_ARG(name), rows, cols);
		return err_set(E_CORRUPT, "tensor %.*s has not the shape [%" PRIu64 "] that config.json asks for", NAME_ARG(name),
			       cols);
	}
	if ((uintptr_t)t->data.p % sizeof(float) != 0)
		return err_set(E_CORRUPT, "tensor %.*s does not begin at a multiple of 4 bytes", NAME_ARG(name));
	*out = (const float *)(const void *)t->data.p;
	return OK;
}
