/* Ids that sort by time.
 *
 * Invariants
 *  1. `last` (48 bit ms and 12 bit counter in one number) only grows, so no id repeats a prefix within the process; when the clock
 *     steps back or more than 4096 ids fall into a millisecond, it runs ahead of the clock until the clock catches up.
 *  2. Random bytes that were used are never used again, also not by a forked child. */
#include "base/uuid7.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/hash.h"

void random_bytes(void *out, size_t n)
{
	char *p = out;

	while (n) {
		ssize_t got = getrandom(p, n < 256 ? n : 256, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			(void)fputs("cenote: the kernel gives no random bytes\n", stderr);
			abort();
		}
		p += got;
		n -= (size_t)got;
	}
}

/* A store of random bytes per thread: one system call for 32 ids. */
static _Thread_local struct {
	unsigned left, generation;
	uint64_t words[32];
} pool;
static atomic_uint generation = 1; /* grows in a forked child, whose pools are copies */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void forked(void)
{
	atomic_fetch_add(&generation, 1);
}

static void fork_setup(void)
{
	pthread_atfork(NULL, NULL, forked);
}

static uint64_t random_word(void)
{
	unsigned now;

	pthread_once(&fork_once, fork_setup);
	now = atomic_load_explicit(&generation, memory_order_relaxed);
	if (!pool.left || pool.generation != now) {
		random_bytes(pool.words, sizeof pool.words);
		pool.left = sizeof pool.words / sizeof pool.words[0];
		pool.generation = now;
	}
	return pool.words[--pool.left];
}

static _Atomic uint64_t last;

static uint64_t next_prefix(void)
{
	int64_t us = clock_wall_us();
	uint64_t now = us > 0 ? (uint64_t)us / 1000 << 12 : 0, before = atomic_load(&last), mine;

	do {
		mine = now > before ? now : before + 1;
	} while (!atomic_compare_exchange_weak(&last, &before, mine));
	return mine;
}

void uuid7_new(char out[UUID_TEXT + 1])
{
	uint64_t prefix = next_prefix(), tail = random_word(), high;
	uint8_t bytes[16];
	char hex[33];

	high = prefix >> 12 << 16 | 0x7000 | (prefix & 0xfff);
	tail = (tail & 0x3fffffffffffffffu) | 0x8000000000000000u;
	for (unsigned i = 0; i < 8; i++) {
		bytes[i] = (uint8_t)(high >> (56 - 8 * i));
		bytes[8 + i] = (uint8_t)(tail >> (56 - 8 * i));
	}
	hex_encode(bytes, sizeof bytes, hex);
	memcpy(out, hex, 8);
	memcpy(out + 9, hex + 8, 4);
	memcpy(out + 14, hex + 12, 4);
	memcpy(out + 19, hex + 16, 4);
	memcpy(out + 24, hex + 20, 12);
	out[8] = out[13] = out[18] = out[23] = '-';
	out[UUID_TEXT] = 0;
}

bool uuid_valid(struct str s)
{
	if (s.n != UUID_TEXT)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (c != '-')
				return false;
		} else if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))) {
			return false;
		}
	}
	return true;
}
