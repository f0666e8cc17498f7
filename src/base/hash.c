/* Hashes and encodings. The only file of base/ that includes xxhash and OpenSSL. */
#include "base/hash.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/uuid7.h"

uint64_t hash64(struct str s)
{
	return XXH3_64bits(s.p ? s.p : "", s.n);
}

uint32_t hash32(struct str s)
{
	return (uint32_t)hash64(s);
}

static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed_setup(void)
{
	random_bytes(&seed, sizeof seed);
}

uint64_t hash64_seeded(struct str s)
{
	pthread_once(&seed_once, seed_setup);
	return XXH3_64bits_withSeed(s.p ? s.p : "", s.n, seed);
}

static EVP_MD *md;
static pthread_once_t md_once = PTHREAD_ONCE_INIT;

/* Without SHA-256 nothing that is promised can be kept, and it is missing only when the library is broken. */
static void must(bool ok)
{
	if (ok)
		return;
	(void)fputs("cenote: SHA-256 is not available from the cryptographic library\n", stderr);
	abort();
}

static void md_setup(void)
{
	/* Fetched once: looking it up by name costs more than hashing a short text. */
	md = EVP_MD_fetch(NULL, "SHA256", NULL);
	must(md != NULL);
}

void sha256_init(struct sha256 *h)
{
	pthread_once(&md_once, md_setup);
	h->ctx = EVP_MD_CTX_new();
	must(h->ctx && EVP_DigestInit_ex(h->ctx, md, NULL) == 1);
}

void sha256_add(struct sha256 *h, const void *p, size_t n)
{
	if (n)
		must(EVP_DigestUpdate(h->ctx, p, n) == 1);
}

void sha256_end(struct sha256 *h, uint8_t out[SHA256_BYTES])
{
	unsigned n = 0;

	must(EVP_DigestFinal_ex(h->ctx, out, &n) == 1 && n == SHA256_BYTES);
	EVP_MD_CTX_free(h->ctx);
	h->ctx = NULL;
}

void sha256_of(struct str s, uint8_t out[SHA256_BYTES])
{
	struct sha256 h;

	sha256_init(&h);
	sha256_add(&h, s.p, s.n);
	sha256_end(&h, out);
}

void hmac256(struct str key, struct str s, uint8_t out[SHA256_BYTES])
{
	unsigned n = 0;

	must(key.n <= INT32_MAX);
	must(HMAC(EVP_sha256(), key.p ? key.p : "", (int)key.n, (const uint8_t *)(s.p ? s.p : ""), s.n, out, &n) &&
	     n == SHA256_BYTES);
}

void hex_encode(const uint8_t *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = 0;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_decode(struct str hex, uint8_t *out, size_t n)
{
	if (hex.n % 2 || hex.n / 2 != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int high = hex_value(hex.p[2 * i]), low = hex_value(hex.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

size_t base64url_encode(const uint8_t *p, size_t n, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char *to = out;
	size_t i = 0;

	for (; n - i >= 3; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];

		*to++ = digits[v >> 18];
		*to++ = digits[v >> 12 & 63];
		*to++ = digits[v >> 6 & 63];
		*to++ = digits[v & 63];
	}
	if (n - i == 1) {
		*to++ = digits[p[i] >> 2];
		*to++ = digits[(p[i] & 3) << 4];
	} else if (n - i == 2) {
		*to++ = digits[p[i] >> 2];
		*to++ = digits[(p[i] & 3) << 4 | p[i + 1] >> 4];
		*to++ = digits[(p[i + 1] & 15) << 2];
	}
	*to = 0;
	return (size_t)(to - out);
}

static int base64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	return c == '_' ? 63 : -1;
}

bool base64url_decode(struct str s, uint8_t *out, size_t *n)
{
	size_t bytes = s.n / 4 * 3 + (s.n % 4 ? s.n % 4 - 1 : 0), at = 0;
	uint32_t acc = 0;
	unsigned bits = 0;

	if (s.n % 4 == 1 || bytes > *n)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		int v = base64url_value(s.p[i]);

		if (v < 0)
			return false;
		acc = acc << 6 | (uint32_t)v;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[at++] = (uint8_t)(acc >> bits);
			acc &= (1u << bits) - 1;
		}
	}
	*n = at;
	return acc == 0;
}

bool secret_eq(const void *a, const void *b, size_t n)
{
	return n == 0 || CRYPTO_memcmp(a, b, n) == 0;
}
