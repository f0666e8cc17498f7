/* Hashes: XXH3 for tables and term ids, SHA-256 for keys, content and checksums. Thread-safe. */
#ifndef CENOTE_BASE_HASH_H
#define CENOTE_BASE_HASH_H

#include "base/err.h"

uint64_t hash64(struct str s);
/* The low half of hash64: term ids. Must never change, it is stored. */
uint32_t hash32(struct str s);
/* With a seed drawn once per process: for tables whose keys come from outside. Never stored. */
uint64_t hash64_seeded(struct str s);

struct sha256 {
	void *ctx; /* EVP_MD_CTX */
};
#define SHA256_BYTES 32
#define SHA256_HEX 64
void sha256_init(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *p, size_t n);
/* Ends and releases. */
void sha256_end(struct sha256 *h, uint8_t out[SHA256_BYTES]);
void sha256_of(struct str s, uint8_t out[SHA256_BYTES]);
/* HMAC-SHA256. */
void hmac256(struct str key, struct str s, uint8_t out[SHA256_BYTES]);
/* Lower-case hex; out has 2n + 1 bytes. */
void hex_encode(const uint8_t *p, size_t n, char *out);
/* Exactly 2n hex digits; false otherwise. */
bool hex_decode(struct str hex, uint8_t *out, size_t n);
/* base64url without padding; out has 4*ceil(n/3)+1 bytes; returns the length. */
size_t base64url_encode(const uint8_t *p, size_t n, char *out);
/* Strict; false on any foreign character or leftover bits; *n in: room, out: bytes. */
bool base64url_decode(struct str s, uint8_t *out, size_t *n);
/* Constant-time equality (CRYPTO_memcmp). */
bool secret_eq(const void *a, const void *b, size_t n);

#endif
