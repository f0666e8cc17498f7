#include "embed/minilm/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

#define FILE_MAX ((off_t)8 << 30)
#define HUGE ((size_t)2 << 20)

/* ---- memory ---- */

static size_t padded(size_t n)
{
	return (n + KERNEL_ALIGN - 1) / KERNEL_ALIGN * KERNEL_ALIGN;
}

/* Reserves n bytes; with a block that is still missing it only counts. */
static void *take(struct weights *w, size_t n)
{
	char *p = w->block ? w->block + w->used : NULL;

	w->used += padded(n);
	return p;
}

static void plan_packed(struct weights *w, struct product *p, uint32_t n, uint32_t k)
{
	size_t scales = n * kernel_groups(k) * sizeof(float);

	p->packed = (struct packed){.n = n, .k = k, .bias = take(w, n * sizeof(float))};
	if (w->form == WEIGHTS_F32)
		return;
	p->packed.w = take(w, (size_t)n * k);
	p->packed.scale = take(w, scales);
	p->packed.lift = take(w, scales);
}

static void plan_norm(struct weights *w, struct norm_weights *n)
{
	n->gain = take(w, w->shape.hidden * sizeof(float));
	n->shift = take(w, w->shape.hidden * sizeof(float));
}

/* Where everything goes. Twice: for the size, then with the block. */
static void plan(struct weights *w)
{
	const struct bert_shape *s = &w->shape;

	w->used = 0;
	w->positions = take(w, (size_t)w->window * s->hidden * sizeof(float));
	plan_norm(w, &w->first);
	for (uint32_t i = 0; i < s->layers; i++) {
		struct layer *l = &w->layers[i];

		plan_norm(w, &l->after_mix);
		plan_norm(w, &l->after_down);
		plan_packed(w, &l->qkv, 3 * s->hidden, s->hidden);
		plan_packed(w, &l->mix, s->hidden, s->hidden);
		plan_packed(w, &l->up, s->inner, s->hidden);
		plan_packed(w, &l->down, s->hidden, s->inner);
	}
	if (w->form == WEIGHTS_INT8) {
		w->words = take(w, (size_t)s->vocabulary * s->hidden);
		w->word_scale = take(w, s->vocabulary * sizeof(float));
	}
}

static enum err reserve(struct weights *w)
{
	void *p;

	plan(w);
	w->block_n = w->used;
	if (posix_memalign(&p, HUGE, w->block_n) != 0)
		return err_set(E_LIMIT, "no memory for the model (%zu bytes)", w->block_n);
	/* Large pages where the system has them: 11 MB of weights pass by for each question. What is behind the last whole one are
	 * words. */
	(void)madvise(p, w->block_n, MADV_HUGEPAGE);
	w->block = p;
	plan(w);
	return OK;
}

/* ---- tensors ---- */

struct source {
	struct weights *w;
	const struct kernels *k;
	struct safetensors tensors;
	struct arena arena;
	char name[160];
	int layer;    /* -1: none */
	bool loading; /* false: names, shapes and small tensors are checked, nothing is kept */
};

static struct str name_of(struct source *s, const char *tensor)
{
	if (s->layer < 0)
		snprintf(s->name, sizeof s->name, "%s", tensor);
	else
		snprintf(s->name, sizeof s->name, "encoder.layer.%d.%s", s->layer, tensor);
	return str_c(s->name);
}

static enum err find(struct source *s, const char *tensor, uint64_t rows, uint64_t cols, const float **out)
{
	return safetensors_f32(&s->tensors, name_of(s, tensor), rows, cols, out);
}

static enum err not_finite(const struct source *s)
{
	return err_set(E_CORRUPT, "tensor %s holds a number that is not finite: the file is damaged", s->name);
}

static bool finite_all(const float *v, size_t n)
{
	float nothing[8] = {0}, sum = 0;

	for (size_t i = 0; i < n; i++)
		nothing[i % 8] += v[i] - v[i]; /* 0, or NaN */
	for (size_t i = 0; i < 8; i++)
		sum += nothing[i];
	return sum == 0;
}

/* A vector of n numbers: checked, or copied into the block. */
static enum err vector(struct source *s, const char *tensor, size_t n, float *to)
{
	const float *from;

	TRY(find(s, tensor, 0, n, &from));
	if (s->loading) {
		memcpy(to, from, n * sizeof *to);
	} else {
		if (!finite_all(from, n))
			return not_finite(s);
		s->w->print = s->w->print * 0x9e3779b97f4a7c15u + hash64(str_of((const char *)from, n * sizeof *from));
	}
	return OK;
}

static enum err norm_of(struct source *s, const char *prefix, const struct norm_weights *n)
{
	char name[96];

	snprintf(name, sizeof name, "%s.weight", prefix);
	TRY(vector(s, name, s->w->shape.hidden, n->gain));
	snprintf(name, sizeof name, "%s.bias", prefix);
	return vector(s, name, s->w->shape.hidden, n->shift);
}

/* One output's k weights, as row `at` of the packed product. False: a number is not finite. */
static bool pack_row(const struct kernels *k, const struct packed *p, const float *from, size_t at)
{
	size_t groups = kernel_groups(p->k), panel = at / KERNEL_PANEL, c = at % KERNEL_PANEL;
	size_t of = panel * groups * KERNEL_PANEL + c;
	int8_t *to = p->w + panel * KERNEL_PANEL * p->k + c * 4, row[KERNEL_GROUP];

	for (size_t g = 0; g < groups; g++, of += KERNEL_PANEL) {
		size_t left = p->k - g * KERNEL_GROUP, n = left < KERNEL_GROUP ? left : KERNEL_GROUP;
		int32_t sum;
		float t = k->narrow(from + g * KERNEL_GROUP, n, row, &sum);

		if (!(t >= 0))
			return false;
		p->scale[of] = t;
		p->lift[of] = t * (float)sum;
		for (size_t i = 0; i < n; i += 4, to += 4 * KERNEL_PANEL)
			memcpy(to, row + i, 4);
	}
	return true;
}

/* Weights and bias of one product, from output `at` on. */
static enum err product(struct source *s, const char *prefix, struct product *p, uint32_t at, uint32_t n, uint32_t k)
{
	const float *matrix;
	char name[96];

	snprintf(name, sizeof name, "%s.bias", prefix);
	TRY(vector(s, name, n, p->packed.bias + at));
	snprintf(name, sizeof name, "%s.weight", prefix);
	TRY(find(s, name, n, k, &matrix));
	if (!s->loading)
		return OK;
	if (s->w->form == WEIGHTS_F32) {
		p->dense[p->parts++] = (struct dense){n, k, matrix, p->packed.bias + at};
		return finite_all(matrix, (size_t)n * k) ? OK : not_finite(s);
	}
	for (uint32_t i = 0; i < n; i++)
		if (!pack_row(s->k, &p->packed, matrix + (size_t)i * k, at + i))
			return not_finite(s);
	return OK;
}

static enum err layer(struct source *s, struct layer *l)
{
	uint32_t hidden = s->w->shape.hidden, inner = s->w->shape.inner;

	TRY(product(s, "attention.self.query", &l->qkv, 0, hidden, hidden));
	TRY(product(s, "attention.self.key", &l->qkv, hidden, hidden, hidden));
	TRY(product(s, "attention.self.value", &l->qkv, 2 * hidden, hidden, hidden));
	TRY(product(s, "attention.output.dense", &l->mix, 0, hidden, hidden));
	TRY(norm_of(s, "attention.output.LayerNorm", &l->after_mix));
	TRY(product(s, "intermediate.dense", &l->up, 0, inner, hidden));
	TRY(product(s, "output.dense", &l->down, 0, hidden, inner));
	return norm_of(s, "output.LayerNorm", &l->after_down);
}

/* Position and the first type are the same for every text: one sum, made once. */
static enum err positions(struct source *s)
{
	size_t hidden = s->w->shape.hidden, n = s->w->window * hidden;
	const float *at, *type;

	TRY(find(s, "embeddings.token_type_embeddings.weight", s->w->shape.types, hidden, &type));
	if (s->loading && !finite_all(type, hidden))
		return not_finite(s);
	TRY(find(s, "embeddings.position_embeddings.weight", s->w->shape.positions, hidden, &at));
	if (!s->loading)
		return OK;
	if (!finite_all(at, n))
		return not_finite(s);
	for (size_t i = 0; i < n; i++)
		s->w->positions[i] = at[i] + type[i % hidden];
	return OK;
}

static enum err words(struct source *s)
{
	size_t hidden = s->w->shape.hidden, n = s->w->shape.vocabulary;
	const float *from;
	int32_t sum;

	TRY(find(s, "embeddings.word_embeddings.weight", n, hidden, &from));
	if (!s->loading)
		return OK;
	if (s->w->form == WEIGHTS_F32) {
		s->w->words32 = from;
		return finite_all(from, n * hidden) ? OK : not_finite(s);
	}
	for (size_t i = 0; i < n; i++) {
		float t = s->k->narrow(from + i * hidden, hidden, s->w->words + i * hidden, &sum);

		if (!(t >= 0))
			return not_finite(s);
		s->w->word_scale[i] = t;
	}
	return OK;
}

/* What has been read is not needed in memory any more. */
static void drop(const struct source *s)
{
	if (s->loading && s->w->form == WEIGHTS_INT8)
		(void)madvise((char *)(uintptr_t)s->w->map.p, s->w->map.n, MADV_DONTNEED);
}

static enum err walk(struct source *s)
{
	s->layer = -1;
	TRY(words(s));
	drop(s);
	TRY(positions(s));
	TRY(norm_of(s, "embeddings.LayerNorm", &s->w->first));
	for (s->layer = 0; s->layer < (int)s->w->shape.layers; s->layer++) {
		TRY(layer(s, &s->w->layers[s->layer]));
		drop(s);
	}
	return OK;
}

/* ---- the file ---- */

static enum err map_file(const char *path, struct str *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), bad;
	struct stat st;
	void *p;

	if (fd < 0)
		return err_set(E_IO, "model.safetensors: %s", strerror(errno));
	bad = fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX;
	if (bad || st.st_size == 0) {
		close(fd);
		return err_set(E_CORRUPT, "model.safetensors is empty, no file, or larger than 8 GiB");
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return err_set(E_IO, "model.safetensors: %s", strerror(errno));
	*out = str_of(p, (size_t)st.st_size);
	return OK;
}

static void unmap(struct weights *w)
{
	if (w->map.p)
		munmap((char *)(uintptr_t)w->map.p, w->map.n);
	w->map = (struct str){0};
}

static enum err read_all(struct weights *w, const struct kernels *k)
{
	struct source s = {.w = w, .k = k, .loading = k != NULL};
	enum err e;

	arena_init(&s.arena, SAFETENSORS_ARENA);
	e = safetensors_parse(&s.arena, w->map, &s.tensors);
	if (e == OK)
		e = walk(&s);
	arena_release(&s.arena);
	return e == OK ? OK : err_wrap(e, "model.safetensors");
}

enum err weights_open(struct weights *w, const char *path, const struct bert_shape *shape, enum weights_form form)
{
	*w = (struct weights){.shape = *shape, .form = form};
	w->window = shape->positions < KERNEL_TEXT_MAX ? shape->positions : KERNEL_TEXT_MAX;
	w->layers = calloc(shape->layers, sizeof *w->layers);
	if (!w->layers)
		return err_set(E_LIMIT, "no memory for the model");
	TRY(map_file(path, &w->map));
	return read_all(w, NULL);
}

enum err weights_load(struct weights *w, const struct kernels *k)
{
	enum err e;

	TRY(reserve(w));
	e = read_all(w, k);
	if (e != OK) {
		free(w->block);
		w->block = NULL;
		for (uint32_t i = 0; i < w->shape.layers; i++)
			w->layers[i] = (struct layer){0};
	} else if (w->form == WEIGHTS_INT8) {
		unmap(w);
	}
	return e;
}

void weights_close(struct weights *w)
{
	unmap(w);
	free(w->layers);
	free(w->block);
	*w = (struct weights){0};
}
