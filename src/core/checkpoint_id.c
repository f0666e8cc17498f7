/* Ids of checkpoints: UUID version 6 with the step as clock sequence, as LangGraph makes them.
 *
 * Invariants
 *  1. `last` only grows, so an id's 60 bits of time never repeat within the process, also when the clock steps back.
 *  2. An id that has to exceed a head from a faster clock gets that head's time + 1 and leaves `last` alone: one thread with a
 * wrong clock does not carry every other one into the future. Two such ids differ by their random part. */
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/uuid7.h"
#include "core/checkpoint_impl.h"

/* 100 ns from 1582-10-15 to 1970-01-01. */
#define GREGORIAN 0x01b21dd213814000ull

static _Atomic uint64_t last;

static uint64_t next_time(void)
{
	int64_t us = clock_wall_us();
	uint64_t now = GREGORIAN + (us > 0 ? (uint64_t)us * 10 : 0), before = atomic_load(&last), mine;

	do {
		mine = now > before ? now : before + 1;
	} while (!atomic_compare_exchange_weak(&last, &before, mine));
	return mine;
}

static void write_id(uint64_t time, int64_t step, char out[37])
{
	uint64_t node = 0;

	random_bytes(&node, 6);
	snprintf(out, 37, "%08x-%04x-6%03x-%04x-%012llx", (unsigned)(time >> 28 & 0xffffffffu), (unsigned)(time >> 12 & 0xffff),
		 (unsigned)(time & 0xfff), 0x8000u | (unsigned)((uint64_t)step & 0x3fff), (unsigned long long)node);
}

void ckpt_new_id(int64_t step, char out[37])
{
	write_id(next_time(), step, out);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The 60 bits of time; false when id is no UUIDv6. */
static bool time_of(struct str id, uint64_t *time)
{
	*time = 0;
	if (!uuid_valid(id) || id.p[14] != '6')
		return false;
	for (size_t i = 0; i < 18; i++)
		if (i != 8 && i != 13 && i != 14)
			*time = *time << 4 | (unsigned)hex_digit(id.p[i]);
	return true;
}

int64_t ckpt_id_time(struct str id)
{
	uint64_t time;

	if (!time_of(id, &time) || time < GREGORIAN)
		return 0;
	return (int64_t)((time - GREGORIAN) / 10);
}

enum err ckpt_new_id_after(int64_t step, struct str after, char out[37])
{
	uint64_t time;

	ckpt_new_id(step, out);
	if (str_cmp(str_of(out, UUID_TEXT), after) > 0)
		return OK;
	if (time_of(after, &time) && time + 1 < 1ull << 60)
		write_id(time + 1, step, out);
	if (str_cmp(str_of(out, UUID_TEXT), after) > 0)
		return OK;
	return err_set(
		E_CONFLICT,
		"the latest checkpoint is named \"%.*s\", which sorts behind every id that can be made; nothing can follow it",
		STR_ARG(after));
}
