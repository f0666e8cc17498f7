/* The vector index for vectors_compare.py (ctypes): a scope is filled and searched on the calling thread. */
#include <stdlib.h>

#include "base/clock.h"
#include "index/vector_scope.h"

struct bench {
	struct vector_scope *scope;
	struct arena arena;
};

struct bench *bench_new(uint32_t dims);
void bench_free(struct bench *b);
int bench_add(struct bench *b, const float *v, uint32_t n);
size_t bench_bytes(const struct bench *b);
const char *bench_kernel(void);
int bench_search(struct bench *b, const float *question, const char *kernel, uint32_t want, int64_t *ids, double *scores);

struct bench *bench_new(uint32_t dims)
{
	struct bench *b = calloc(1, sizeof *b);

	if (b) {
		b->scope = vector_scope_new(dims);
		arena_init(&b->arena, (size_t)64 << 20);
	}
	return b;
}

void bench_free(struct bench *b)
{
	vector_scope_free(b->scope);
	arena_release(&b->arena);
	free(b);
}

/* Ids count up from 0. 0 or an error. */
int bench_add(struct bench *b, const float *v, uint32_t n)
{
	struct vector one;
	struct str blob;
	enum err e = OK;

	for (uint32_t i = 0; i < n && e == OK; i++) {
		CHECK(vector_pack(&b->arena, v + (size_t)i * b->scope->dims, b->scope->dims, &blob));
		CHECK(vector_unpack(blob, &one));
		CHECK(vector_scope_put(b->scope, b->scope->rows, &one));
		arena_clear(&b->arena);
	}
out:
	return (int)e;
}

size_t bench_bytes(const struct bench *b)
{
	return vector_scope_bytes(b->scope);
}

const char *bench_kernel(void)
{
	return vector_kernel()->name;
}

/* kernel: NULL, or the name of one. Returns the number of hits, -1 on failure. */
int bench_search(struct bench *b, const float *question, const char *kernel, uint32_t want, int64_t *ids, double *scores)
{
	const struct vector_kernel *all[VECTOR_KERNELS_MAX];
	struct vector_question q;
	struct vector_found f;
	int n = -1;

	if (vector_question_make(&b->arena, question, b->scope->dims, &q) != OK)
		return -1;
	for (size_t i = 0, k = vector_kernels(all); kernel && i < k; i++)
		if (strcmp(all[i]->name, kernel) == 0)
			q.kernel = all[i];
	if (vector_scope_search(b->scope, &b->arena, &q, NULL, want, &f) == OK) {
		n = (int)f.n;
		for (size_t i = 0; i < f.n; i++) {
			ids[i] = f.hits[i].id;
			scores[i] = f.hits[i].score;
		}
	}
	arena_clear(&b->arena);
	return n;
}
