/* Fuzz target: safetensors files. What is taken lies inside the file, has the bytes that its shape asks for, and can be read to its
 * end; what is refused has a sentence. */
#include "embed/minilm/safetensors.h"
#include "must.h"

static void check(const struct tensor *t, struct str file)
{
	uint64_t sum = 0;

	MUST(t->rank <= SAFETENSORS_RANK_MAX);
	MUST(t->data.n == 0 || (t->data.p >= file.p && t->data.n <= (size_t)(file.p + file.n - t->data.p)));
	for (size_t i = 0; i < t->data.n; i++)
		sum += (unsigned char)t->data.p[i];
	MUST(sum <= 255 * (uint64_t)t->data.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str file = str_of((const char *)data, size);
	struct safetensors s;
	const float *v;
	struct arena a;
	enum err e;

	arena_init(&a, SAFETENSORS_ARENA);
	e = safetensors_parse(&a, file, &s);
	MUST(e == OK || diag_get()->text[0]);
	for (size_t i = 0; e == OK && i < s.n; i++) {
		const struct tensor *t = &s.v[i];
		bool flat = t->rank == 1;

		check(t, file);
		MUST(safetensors_find(&s, t->name) == t);
		if ((flat || t->rank == 2) &&
		    safetensors_f32(&s, t->name, flat ? 0 : t->shape[0], t->shape[flat ? 0 : 1], &v) == OK)
			MUST((const char *)v == t->data.p && (uintptr_t)v % sizeof *v == 0);
	}
	arena_release(&a);
	return 0;
}
