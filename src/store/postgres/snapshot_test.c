/* Snapshots: their text, and counting what ended between two, against a server in miniature. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "store/postgres/snapshot.h"

static struct pg_snapshot snap(const char *text)
{
	struct pg_snapshot s;

	if (pg_snapshot_parse(str_c(text), &s) != OK)
		fail_msg("%s: %s", text, diag_get()->text);
	return s;
}

static void texts(void **state)
{
	static const char *const bad[] = {"",	    "1",       "1:",	"a:1:",	 "2:1:",    "1:2:x",  "1:5:2,",
					  "1:5:,2", "1:5:3,2", "1:5:5", "3:5:2", "1:5:2,2", "-1:5:2", "1:5:2:3"};
	struct pg_snapshot s = snap("10:20:10,14,15");

	(void)state;
	assert_true(s.xmin == 10 && s.xmax == 20 && s.n == 3 && s.xip[0] == 10 && s.xip[2] == 15);
	pg_snapshot_release(&s);
	s = snap("4294967300:4294967300:");
	assert_true(s.xmin == 4294967300u && s.n == 0);
	pg_snapshot_release(&s);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(pg_snapshot_parse(str_c(bad[i]), &s), E_CORRUPT);
		pg_snapshot_release(&s);
	}
}

static void seeing(void **state)
{
	struct pg_snapshot s = snap("10:20:10,14,15");

	(void)state;
	assert_true(pg_snapshot_sees(&s, 9) && pg_snapshot_sees(&s, 11) && pg_snapshot_sees(&s, 19));
	assert_false(pg_snapshot_sees(&s, 10) || pg_snapshot_sees(&s, 15) || pg_snapshot_sees(&s, 20) || pg_snapshot_sees(&s, 99));
	pg_snapshot_release(&s);
}

static void counting(void **state)
{
	static const struct {
		const char *a, *b;
		uint64_t ended;
	} rows[] = {
		{"10:10:", "10:10:", 0},	   {"10:10:", "11:11:", 1},
		{"10:12:10", "10:12:10", 0},	   {"10:12:10", "12:12:", 1}, /* 10 has ended */
		{"10:12:10", "10:15:10,13", 2},				      /* 12, 14 */
		{"10:12:10,11", "11:20:11,15", 8},			      /* 10, 12-14, 16-19 */
		{"10:12:10", "15:15:", 4},				      /* 10, 12, 13, 14 */
		{"10:20:10,15", "30:30:", 12},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct pg_snapshot a = snap(rows[i].a), b = snap(rows[i].b);

		assert_int_equal(pg_snapshot_ended(&a, &b), rows[i].ended);
		assert_true(pg_snapshot_not_before(&b, &a));
		assert_true(pg_snapshot_not_before(&a, &b) == (rows[i].ended == 0));
		pg_snapshot_release(&a);
		pg_snapshot_release(&b);
	}
}

/* Transactions begin and end at random; snapshots are taken as the server takes them: xmax is one above the highest that has ended,
 * xip are those below it that run, xmin is the lowest of them, or xmax. */
#define XIDS 400u
struct server {
	uint64_t next, highest;
	bool ended[XIDS];
};

static uint32_t dice(uint32_t *seed, uint32_t sides)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 8) % sides;
}

static struct pg_snapshot take(const struct server *s, char *text, size_t cap)
{
	uint64_t xmax = s->highest + 1, xmin = xmax;
	int at;

	for (uint64_t x = xmax; x-- > 3;)
		if (!s->ended[x])
			xmin = x;
	at = snprintf(text, cap, "%llu:%llu:", (unsigned long long)xmin, (unsigned long long)xmax);
	for (uint64_t x = xmin; x < xmax; x++)
		if (!s->ended[x])
			at += snprintf(text + at, cap - (size_t)at, "%s%llu", text[at - 1] == ':' ? "" : ",",
				       (unsigned long long)x);
	return snap(text);
}

static void live(struct server *s, uint32_t *seed)
{
	for (uint32_t i = dice(seed, 12); i > 0 && s->next < XIDS; i--)
		s->next++;
	for (uint32_t i = dice(seed, 12); i > 0; i--) {
		uint64_t x = 3 + dice(seed, (uint32_t)(s->next - 3) + 1);

		if (x >= s->next)
			continue;
		s->ended[x] = true;
		if (x > s->highest)
			s->highest = x;
	}
}

static void against_a_server(void **state)
{
	char text[XIDS * 8];
	uint32_t seed = 7;

	(void)state;
	for (int round = 0; round < 200; round++) {
		struct server s = {.next = 3, .highest = 2}, before;
		struct pg_snapshot a = take(&s, text, sizeof text), b;

		for (int step = 0; step < 30; step++) {
			uint64_t want = 0;

			before = s;
			live(&s, &seed);
			b = take(&s, text, sizeof text);
			for (uint64_t x = 3; x < XIDS; x++) {
				want += s.ended[x] && !before.ended[x];
				assert_true(pg_snapshot_sees(&b, x) == s.ended[x]);
			}
			assert_int_equal(pg_snapshot_ended(&a, &b), want);
			assert_true(pg_snapshot_not_before(&b, &a));
			assert_true(pg_snapshot_not_before(&a, &b) == (want == 0));
			pg_snapshot_release(&a);
			a = b;
		}
		pg_snapshot_release(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(texts), cmocka_unit_test(seeing), cmocka_unit_test(counting),
					   cmocka_unit_test(against_a_server)};

	return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
