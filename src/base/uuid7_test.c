/* Ids: form, order, uniqueness over threads and after a fork. */
#include "base/test_util.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/uuid7.h"

static void has_the_form(void **state)
{
	uint8_t bytes[6];
	char id[UUID_TEXT + 1], hex[13];
	int64_t ms = 0, now = clock_wall_us() / 1000;

	uuid7_new(id);
	assert_int_equal(strlen(id), UUID_TEXT);
	assert_true(uuid_valid(str_c(id)));
	assert_int_equal(id[14], '7');
	assert_non_null(strchr("89ab", id[19]));
	memcpy(hex, id, 8);
	memcpy(hex + 8, id + 9, 4);
	assert_true(hex_decode(str_of(hex, 12), bytes, 6));
	for (int i = 0; i < 6; i++)
		ms = ms << 8 | bytes[i];
	assert_in_range(ms, now, now + 60000);
}

static void sorts_by_time(void **state)
{
	char before[UUID_TEXT + 1], id[UUID_TEXT + 1];

	uuid7_new(before);
	for (int i = 0; i < 100000; i++) {
		uuid7_new(id);
		/* The time and the counter alone grow, so the order does not hang on chance. */
		assert_true(memcmp(before, id, 18) < 0);
		memcpy(before, id, sizeof id);
	}
}

#define PER_THREAD 20000
static char ids[4][PER_THREAD][UUID_TEXT + 1];

static void *make_ids(void *arg)
{
	char(*mine)[UUID_TEXT + 1] = arg;

	for (int i = 0; i < PER_THREAD; i++)
		uuid7_new(mine[i]);
	return NULL;
}

static int by_text(const void *a, const void *b)
{
	return memcmp(a, b, UUID_TEXT);
}

static void never_repeats(void **state)
{
	char(*all)[UUID_TEXT + 1] = ids[0];
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_ids, ids[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int t = 0; t < 4; t++)
		for (int i = 1; i < PER_THREAD; i++)
			assert_true(by_text(ids[t][i - 1], ids[t][i]) < 0);
	qsort(all, (size_t)4 * PER_THREAD, sizeof ids[0][0], by_text);
	for (int i = 1; i < 4 * PER_THREAD; i++)
		assert_true(memcmp(all[i - 1], all[i], 18) != 0);
}

/* The random halves of parent and child must differ. */
static void forks(void **state)
{
	char mine[UUID_TEXT + 1], other[UUID_TEXT + 1] = "";
	int fds[2], status;
	pid_t pid;

	uuid7_new(mine);
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		uuid7_new(other);
		_exit(write(fds[1], other, UUID_TEXT) == UUID_TEXT ? 0 : 1);
	}
	uuid7_new(mine);
	assert_int_equal(read(fds[0], other, UUID_TEXT), UUID_TEXT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(uuid_valid(str_c(other)));
	assert_memory_not_equal(mine + 19, other + 19, UUID_TEXT - 19);
	close(fds[0]);
	close(fds[1]);
}

static void knows_wrong_ones(void **state)
{
	assert_true(uuid_valid(STR("0199ABCD-0000-7000-8000-00000000000f")));
	assert_true(uuid_valid(STR("00000000-0000-0000-0000-000000000000")));
	assert_false(uuid_valid(STR("")));
	assert_false(uuid_valid(STR("0199abcd-0000-7000-8000-00000000000")));
	assert_false(uuid_valid(STR("0199abcd-0000-7000-8000-00000000000g")));
	assert_false(uuid_valid(STR("0199abcd00000-7000-8000-00000000000f")));
	assert_false(uuid_valid(STR("0199abcd-0000-7000-8000-00000000000f ")));
	assert_false(uuid_valid(STR("0199abcd-0000-7000-800-000000000000f")));
}

static void random_is_random(void **state)
{
	uint8_t a[1000] = {0}, b[1000] = {0};
	unsigned zeros = 0;

	random_bytes(a, sizeof a);
	random_bytes(b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
	for (size_t i = 0; i < sizeof a; i++)
		zeros += a[i] == 0;
	assert_true(zeros < 50);
	random_bytes(a, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(has_the_form), cmocka_unit_test(sorts_by_time),    cmocka_unit_test(never_repeats),
		cmocka_unit_test(forks),	cmocka_unit_test(knows_wrong_ones), cmocka_unit_test(random_is_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
