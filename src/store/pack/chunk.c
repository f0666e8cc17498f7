/* Where a value is cut into chunks. Both the table and the sizes are part of the stored format only in so far as equal values must
 * be cut equally to be found again: changing them costs room, not data. */
#include <pthread.h>
#include <string.h>

#include "base/hash.h"
#include "store/pack/pack.h"

/* Longer than the longest head of a msgpack array or map, shorter than its first element. */
#define HEAD 16

static uint64_t gear[256];
static pthread_once_t gear_once = PTHREAD_ONCE_INIT;

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014) over the byte values. */
static void gear_make(void)
{
	uint64_t x = 0;
	for (unsigned i = 0; i < 256; i++) {
		uint64_t z = (x += UINT64_C(0x9e3779b97f4a7c15));
		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		gear[i] = z ^ (z >> 31);
	}
}

/* Mean size of a chunk as a power of two. */
static unsigned mean_bits(size_t n)
{
	return n < (256u << 10) ? 9 : n < (4u << 20) ? 11 : 14;
}

/* The length of the chunk that begins at p: at least a quarter of the mean, at most eight times the mean. The highest bits of the
 * sum depend on the last 64 bytes. */
static size_t next_cut(const unsigned char *p, size_t n, unsigned bits)
{
	size_t min = (size_t)1 << (bits - 2), max = (size_t)8 << bits;
	uint64_t mask = ~UINT64_C(0) << (64 - bits), h = 0;
	if (n <= min)
		return n;
	if (n < max)
		max = n;
	for (size_t i = min > 64 ? min - 64 : 0; i < min; i++)
		h = (h << 1) + gear[p[i]];
	for (size_t i = min; i < max; i++) {
		h = (h << 1) + gear[p[i]];
		if ((h & mask) == 0)
			return i + 1;
	}
	return max;
}

static void name_chunk(struct pack_chunk *c, struct str bytes)
{
	uint8_t sum[SHA256_BYTES];
	sha256_of(bytes, sum);
	memcpy(c->name, sum, PACK_NAME);
	c->bytes = bytes;
}

enum err pack_cut(struct arena *a, struct str value, struct pack_chunk **out, size_t *n)
{
	unsigned bits = mean_bits(value.n);
	size_t most = 2 + (value.n >> (bits - 2)), at = 0, k = 0;
	pthread_once(&gear_once, gear_make);
	*n = 0;
	*out = ARENA_ARRAY(a, struct pack_chunk, most);
	if (!*out)
		return E_NOMEM;
	if (value.n > HEAD) {
		name_chunk(&(*out)[k++], str_of(value.p, HEAD));
		at = HEAD;
	}
	do {
		size_t len = next_cut((const unsigned char *)value.p + at, value.n - at, bits);
		name_chunk(&(*out)[k++], str_of(value.p + at, len));
		at += len;
	} while (at < value.n);
	*n = k;
	return OK;
}
