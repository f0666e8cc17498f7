/* Making small integers of floats and reading them back; blobs; questions. The format is in vector.h. */
#include "index/vector.h"

#include <math.h>
#include <stdlib.h>

static enum err dims_check(uint32_t dims)
{
	if (dims < 1 || dims > VECTOR_DIMS_MAX)
		return err_set(E_INVALID, "a vector has %u dimensions, allowed are 1 to %d", dims, VECTOR_DIMS_MAX);
	return OK;
}

/* Length and largest magnitude of v. */
static enum err measure(const float *v, uint32_t dims, double *length, double *largest)
{
	double sum = 0, max = 0;

	TRY(dims_check(dims));
	for (uint32_t i = 0; i < dims; i++) {
		double x = fabs((double)v[i]);

		if (!isfinite(v[i]))
			return err_set(E_INVALID, "component %u of a vector is not a finite number", i);
		sum += x * x;
		max = x > max ? x : max;
	}
	if (max == 0)
		return err_set(E_INVALID, "a vector of zeros has no direction");
	*length = sqrt(sum);
	*largest = max;
	return OK;
}

/* Halves are rounded away from 0, whatever the rounding mode; |x| is small. */
static int32_t nearest(double x)
{
	return (int32_t)(x < 0 ? x - 0.5 : x + 0.5);
}

static int32_t level(const struct vector *v, uint32_t i)
{
	return ((int32_t)v->high[i] - VECTOR_ZERO) * 256 + (int32_t)v->low[i] - VECTOR_ZERO;
}

enum err vector_pack(struct arena *a, const float *v, uint32_t dims, struct str *blob)
{
	double length, largest, factor;
	uint32_t bits;
	float scale;
	uint8_t *p;

	TRY(measure(v, dims, &length, &largest));
	p = arena_alloc(a, vector_blob_bytes(dims));
	if (!p)
		return E_NOMEM;
	scale = (float)(largest / length / VECTOR_LEVELS);
	factor = VECTOR_LEVELS / largest;
	memcpy(&bits, &scale, sizeof bits);
	p[0] = VECTOR_VERSION;
	p[1] = 0;
	p[2] = (uint8_t)dims;
	p[3] = (uint8_t)(dims >> 8);
	for (int i = 0; i < 4; i++)
		p[4 + i] = (uint8_t)(bits >> 8 * i);
	for (uint32_t i = 0; i < dims; i++) {
		/* A bias that is a multiple of 256 keeps the numbers that are divided positive. */
		uint32_t biased = (uint32_t)(nearest(v[i] * factor) + VECTOR_ZERO * 256 + VECTOR_ZERO);

		p[VECTOR_HEAD + i] = (uint8_t)(biased >> 8);
		p[VECTOR_HEAD + dims + i] = (uint8_t)biased;
	}
	*blob = str_of((const char *)p, vector_blob_bytes(dims));
	return OK;
}

/* What vector_pack makes has VECTOR_LEVELS as its largest magnitude, and the length that quantisation left of 1. */
static enum err content_check(const struct vector *v)
{
	int32_t largest = 0;
	uint64_t sum = 0;
	double length;

	/* 32 bits where they are enough: so the compiler does many at a time. A square is below 2^31. */
	for (uint32_t i = 0; i < v->dims; i++) {
		int32_t l = level(v, i), size = l < 0 ? -l : l;

		sum += (uint32_t)size * (uint32_t)size;
		largest = size > largest ? size : largest;
	}
	if (largest != VECTOR_LEVELS)
		return err_set(E_CORRUPT, "the largest component of a stored vector is %d instead of %d", largest, VECTOR_LEVELS);
	length = sqrt((double)sum) * (double)v->scale;
	if (!(length > 0.99 && length < 1.01))
		return err_set(E_CORRUPT, "a stored vector does not have length 1");
	return OK;
}

enum err vector_unpack(struct str blob, struct vector *out)
{
	const uint8_t *p = (const uint8_t *)blob.p;
	struct vector v;
	uint32_t bits;

	if (blob.n < VECTOR_HEAD)
		return err_set(E_CORRUPT, "a stored vector is cut off after %zu bytes", blob.n);
	if (p[0] != VECTOR_VERSION || p[1] != 0)
		return err_set(E_CORRUPT, "a stored vector has version %u.%u, known is %d.0", p[0], p[1], VECTOR_VERSION);
	v.dims = (uint32_t)p[2] | (uint32_t)p[3] << 8;
	if (v.dims < 1 || v.dims > VECTOR_DIMS_MAX)
		return err_set(E_CORRUPT, "a stored vector has %u dimensions, allowed are 1 to %d", v.dims, VECTOR_DIMS_MAX);
	if (blob.n != vector_blob_bytes(v.dims))
		return err_set(E_CORRUPT, "a stored vector of %u dimensions has %zu bytes instead of %zu", v.dims, blob.n,
			       vector_blob_bytes(v.dims));
	bits = (uint32_t)p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 24;
	memcpy(&v.scale, &bits, sizeof bits);
	v.high = p + VECTOR_HEAD;
	v.low = v.high + v.dims;
	TRY(content_check(&v));
	*out = v;
	return OK;
}

bool vector_load(struct str blob, uint32_t dims, uint8_t *planes, struct vector *out)
{
	size_t size = vector_size(dims);

	if (blob.n == 0)
		return false;
	if (vector_unpack(blob, out) != OK || out->dims != dims) {
		diag_clear();
		return false;
	}
	memcpy(planes, out->high, dims);
	memcpy(planes + size, out->low, dims);
	out->high = planes;
	out->low = planes + size;
	return true;
}

uint8_t *vector_planes(uint32_t dims)
{
	uint8_t *planes = malloc(2 * vector_size(dims));

	if (planes)
		memset(planes, VECTOR_ZERO, 2 * vector_size(dims));
	return planes;
}

void vector_floats(const struct vector *v, float *out)
{
	for (uint32_t i = 0; i < v->dims; i++)
		out[i] = (float)((double)v->scale * level(v, i));
}

/* ---------------------------------------------------------------- questions */

static enum err question_alloc(struct arena *a, uint32_t dims, struct vector_question *q)
{
	size_t size = vector_size(dims);

	*q = (struct vector_question){.dims = dims, .kernel = vector_kernel()};
	q->coarse = arena_zalloc(a, size * sizeof *q->coarse);
	q->fine = arena_zalloc(a, size * sizeof *q->fine);
	return q->coarse && q->fine ? OK : E_NOMEM;
}

enum err vector_question_make(struct arena *a, const float *v, uint32_t dims, struct vector_question *out)
{
	double length, largest;

	TRY(measure(v, dims, &length, &largest));
	TRY(question_alloc(a, dims, out));
	for (uint32_t i = 0; i < dims; i++) {
		double x = v[i] / largest;

		out->coarse[i] = (int8_t)nearest(x * 127);
		out->fine[i] = (int16_t)nearest(x * VECTOR_FINE);
		out->coarse_sum += out->coarse[i];
	}
	out->coarse_scale = largest / length / 127;
	out->fine_scale = largest / length / VECTOR_FINE;
	return OK;
}

enum err vector_question_like(struct arena *a, const struct vector *v, struct vector_question *out)
{
	float *x = ARENA_ARRAY(a, float, v->dims ? v->dims : 1);

	if (!x)
		return E_NOMEM;
	vector_floats(v, x);
	return vector_question_make(a, x, v->dims, out);
}

double vector_cosine(const struct vector_question *q, const uint8_t *high, const uint8_t *low, float scale)
{
	size_t size = vector_size(q->dims);
	int64_t dot = q->kernel->fine(high, size, q->fine) * 256 + q->kernel->fine(low, size, q->fine);
	double c = (double)dot * ((double)scale * q->fine_scale);

	return c > 1 ? 1 : c < -1 ? -1 : c;
}
