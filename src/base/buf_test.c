/* Buffers, on the heap and in an arena. */
#include "base/test_util.h"

#include <stdio.h>

#include "base/buf.h"

static void appends(struct arena *a)
{
	struct buf b;
	char *room;

	buf_init(&b, a, 1u << 16);
	assert_int_equal(buf_slice(&b).n, 0);
	buf_lit(&b, "a");
	buf_byte(&b, 'b');
	buf_str(&b, STR("cd"));
	buf_str(&b, str_of(NULL, 0));
	buf_put(&b, "ef", 2);
	buf_printf(&b, "%d|%s", 7, "x");
	buf_u64(&b, 0);
	buf_u64(&b, UINT64_MAX);
	buf_byte(&b, ' ');
	buf_i64(&b, INT64_MIN);
	buf_i64(&b, -1);
	buf_i64(&b, INT64_MAX);
	room = buf_room(&b, 3);
	assert_non_null(room);
	memcpy(room, "end", 3);
	buf_added(&b, 3);
	assert_str(buf_slice(&b), "abcdef7|x018446744073709551615 -9223372036854775808-19223372036854775807end");
	assert_int_equal(b.err, OK);
	buf_clear(&b);
	assert_int_equal(buf_slice(&b).n, 0);
	buf_printf(&b, "%01000d", 5);
	assert_int_equal(b.n, 1000);
	assert_int_equal(b.p[999], '5');
	for (int i = 0; i < 5000; i++)
		buf_byte(&b, (char)i);
	assert_int_equal(b.n, 6000);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(b.p[1000 + i], (char)i);
	buf_release(&b);
}

static void on_the_heap(void **state)
{
	appends(NULL);
}

static void in_an_arena(void **state)
{
	struct arena a;

	arena_init(&a, 1u << 20);
	appends(&a);
	arena_release(&a);
}

static void keeps_its_ceiling(void **state)
{
	struct buf b;

	buf_init(&b, NULL, 1000);
	for (int i = 0; i < 1000; i++)
		buf_byte(&b, 'x');
	assert_int_equal(b.err, OK);
	assert_true(b.cap <= 1000);
	diag_clear();
	buf_byte(&b, 'y');
	assert_int_equal(b.err, E_LIMIT);
	assert_int_equal(diag_get()->code, E_LIMIT);
	assert_int_equal(b.n, 1000);
	/* Sticky. */
	buf_lit(&b, "");
	buf_printf(&b, "x");
	assert_null(buf_room(&b, 0));
	assert_int_equal(b.n, 1000);
	buf_clear(&b);
	assert_int_equal(b.err, OK);
	buf_printf(&b, "%01000d", 1);
	assert_int_equal(b.err, OK);
	buf_clear(&b);
	buf_printf(&b, "%01001d", 1);
	assert_int_equal(b.err, E_LIMIT);
	assert_int_equal(b.n, 0);
	buf_clear(&b);
	assert_null(buf_room(&b, SIZE_MAX));
	buf_release(&b);
	buf_init(&b, NULL, 0);
	buf_put(&b, "", 0);
	assert_int_equal(b.err, OK);
	buf_byte(&b, 'x');
	assert_int_equal(b.err, E_LIMIT);
	buf_release(&b);
}

static void says_when_the_arena_is_full(void **state)
{
	struct arena a;
	struct buf b;

	arena_init(&a, 2000);
	buf_init(&b, &a, 1u << 20);
	while (b.err == OK && b.n < 4000)
		buf_lit(&b, "0123456789");
	assert_int_equal(b.err, E_LIMIT);
	/* The last growth asks for just what is needed, so little is lost. */
	assert_true(b.n > 1900);
	arena_release(&a);
}

static void varints(void **state)
{
	static const uint64_t values[] = {0, 1, 127, 128, 300, 16383, 16384, UINT32_MAX, UINT64_C(1) << 62, INT64_MAX, UINT64_MAX};
	static const uint8_t cut[] = {0x80, 0x80}, eleven[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
			     over[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
	const uint8_t *p, *end;
	struct buf b;
	uint64_t v;

	buf_init(&b, NULL, 4096);
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
		buf_varint(&b, values[i]);
	p = (const uint8_t *)b.p;
	end = p + b.n;
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		assert_true(varint_get(&p, end, &v));
		assert_true(v == values[i]);
	}
	assert_ptr_equal(p, end);
	assert_false(varint_get(&p, end, &v));
	p = cut;
	assert_false(varint_get(&p, cut + sizeof cut, &v));
	assert_ptr_equal(p, cut);
	p = eleven;
	assert_false(varint_get(&p, eleven + sizeof eleven, &v));
	p = over;
	assert_false(varint_get(&p, over + sizeof over, &v));
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_the_heap),	     cmocka_unit_test(in_an_arena),
		cmocka_unit_test(keeps_its_ceiling), cmocka_unit_test(says_when_the_arena_is_full),
		cmocka_unit_test(varints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
