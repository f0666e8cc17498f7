/* Cutting, compressing, lists of chunks. */
#include "store/pack/ckpt.h"
#include "store/pack/pack.h"

#include <stdio.h>
#include <string.h>

#include "base/test_util.h"

/* A message as LangGraph's serde writes one, with text of its own. */
static void message(struct buf *b, unsigned seed)
{
	buf_lit(b, "\xc8\x01\x05\x05\x94\xbdlangchain_core.messages.human\xacHumanMessage\x86\xa7"
		   "content\xd9");
	for (unsigned i = 0; i < 24; i++)
		buf_printf(b, "word%u ", (seed * 2654435761u + i * 40503u) % 9973);
	buf_lit(b, "\xb3model_validate_json");
}

static struct str growing(struct arena *a, unsigned n, char head)
{
	struct buf b;
	buf_init(&b, a, 64u << 20);
	buf_byte(&b, head);
	for (unsigned i = 0; i < n; i++)
		message(&b, i);
	assert_int_equal(b.err, OK);
	return buf_slice(&b);
}

static void test_chunks_are_the_value(void **state)
{
	static const size_t sizes[] = {0, 1, 15, 16, 17, 500, 5000, 300000, 5000000};
	(void)state;
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		struct arena a;
		struct pack_chunk *c;
		size_t n, at = 0;
		arena_init(&a, 64u << 20);
		char *p = arena_alloc(&a, sizes[k] + 1);
		uint64_t x = 1;
		for (size_t i = 0; i < sizes[k]; i++)
			p[i] = (char)((x = x * UINT64_C(6364136223846793005) + 1) >> 56);
		assert_int_equal(pack_cut(&a, str_of(p, sizes[k]), &c, &n), OK);
		assert_true(n >= 1);
		for (size_t i = 0; i < n; i++) {
			assert_ptr_equal(c[i].bytes.p, p + at);
			at += c[i].bytes.n;
		}
		assert_int_equal(at, sizes[k]);
		arena_release(&a);
	}
}

/* What a longer list shares with the shorter one: all but the head and the chunks at the end. */
static void test_growth_shares_chunks(void **state)
{
	struct arena a;
	(void)state;
	arena_init(&a, 256u << 20);
	for (unsigned n = 20; n < 400; n += 37) {
		struct pack_chunk *before, *after;
		size_t nb, na, new_bytes = 0;
		struct str one = growing(&a, n, (char)n), two = growing(&a, n + 1, (char)(n + 1));
		assert_int_equal(pack_cut(&a, one, &before, &nb), OK);
		assert_int_equal(pack_cut(&a, two, &after, &na), OK);
		for (size_t i = 0; i < na; i++) {
			bool known = false;
			for (size_t k = 0; k < nb && !known; k++)
				known = memcmp(before[k].name, after[i].name, PACK_NAME) == 0;
			new_bytes += known ? 0 : after[i].bytes.n;
		}
		/* at most the head, the last chunk anew and the message */
		assert_true(new_bytes < 16 + 4096 + (two.n - one.n));
	}
	arena_release(&a);
}

static void test_squeeze(void **state)
{
	struct arena a;
	(void)state;
	arena_init(&a, 256u << 20);
	for (unsigned n = 0; n < 50; n += 7) {
		struct str raw = growing(&a, n, 'x'), small, back;
		struct buf b;
		assert_int_equal(pack_squeeze(&a, raw, &small), OK);
		assert_true(small.n <= raw.n + 11);
		assert_int_equal(pack_expand(&a, small, raw.n, &back), OK);
		assert_true(str_eq(raw, back));
		buf_init(&b, &a, raw.n * 2 + 1);
		assert_int_equal(pack_expand_to(&b, small, raw.n), OK);
		assert_int_equal(pack_expand_to(&b, small, raw.n), OK);
		assert_int_equal(b.n, 2 * raw.n);
		if (raw.n > 0)
			assert_int_equal(pack_expand(&a, small, raw.n - 1, &back), E_CORRUPT);
	}
	arena_release(&a);
}

static void test_the_dictionary_helps_small_texts(void **state)
{
	struct str json =
		STR("{\"v\": 4, \"id\": \"1f1e5a8a-f301-6f1c-80b2-0c7f9af6c69e\", \"ts\": \"2026-11-21T12:40:08.162879+00:00\","
		    " \"versions_seen\": {\"model\": {\"branch:to:model\": \"00000000000000000000000000000179.0.7307918\"},"
		    " \"__input__\": {}}, \"channel_values\": {}, \"updated_channels\": [\"messages\"]}");
	struct str small;
	struct arena a;
	(void)state;
	arena_init(&a, 1u << 20);
	assert_int_equal(pack_squeeze(&a, json, &small), OK);
	assert_true(small.n * 2 < json.n);
	arena_release(&a);
}

static void test_damaged_forms(void **state)
{
	struct str raw, small, out;
	struct arena a;
	(void)state;
	arena_init(&a, 64u << 20);
	raw = growing(&a, 30, 'x');
	assert_int_equal(pack_squeeze(&a, raw, &small), OK);
	char *p = arena_alloc(&a, small.n);
	for (size_t cut = 0; cut < small.n; cut += 13)
		assert_int_equal(pack_expand(&a, str_of(small.p, cut), 1u << 20, &out), E_CORRUPT);
	for (size_t i = 0; i < small.n; i++) {
		struct arena inner;
		arena_init(&inner, 8u << 20);
		memcpy(p, small.p, small.n);
		p[i] = (char)~p[i];
		enum err e = pack_expand(&inner, str_of(p, small.n), 1u << 20, &out);
		assert_true(e == OK || e == E_CORRUPT);
		arena_release(&inner);
	}
	arena_release(&a);
}

static void test_lists(void **state)
{
	static const int64_t ids[] = {7, 8, 9, 10, 3, 4, 5, 1, INT32_MAX, INT32_MAX, 2, 900000000000};
	enum { N = sizeof ids / sizeof *ids };
	struct str list;
	struct arena a;
	int64_t *back;
	size_t n;
	(void)state;
	arena_init(&a, 1u << 20);
	for (size_t k = 0; k <= N; k++) {
		assert_int_equal(pack_list(&a, ids, k, &list), OK);
		assert_int_equal(pack_unlist(&a, list, &back, &n), OK);
		assert_int_equal(n, k);
		assert_memory_equal(back, ids, k * sizeof *ids);
	}
	int64_t run[1000];
	for (int i = 0; i < 1000; i++)
		run[i] = 100 + i;
	assert_int_equal(pack_list(&a, run, 1000, &list), OK);
	assert_true(list.n <= 6);
	/* cut off, numbers below 1, absurd lengths */
	assert_int_equal(pack_unlist(&a, str_of(list.p, list.n - 1), &back, &n), E_CORRUPT);
	assert_int_equal(pack_unlist(&a, STR("\x01\x01"), &back, &n), E_CORRUPT);
	assert_int_equal(pack_unlist(&a, STR("\x02\xff\xff\xff\xff\xff\x0f"), &back, &n), E_CORRUPT);
	assert_int_equal(pack_unlist(&a, STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), &back, &n), E_CORRUPT);
	arena_release(&a);
}

/* ---------------------------------------------------------------- pending writes */

static struct ckpt_pending write_of(int32_t idx, const char *value)
{
	return (struct ckpt_pending){.task_id = STR("task"),
				     .task_path = STR("path"),
				     .channel = STR("channel"),
				     .type = STR("json"),
				     .idx = idx,
				     .bytes = str_c(value)};
}

static void assert_writes(const struct ckpt_pending *v, size_t n, const int32_t *idx, const char *const *value, size_t want)
{
	assert_int_equal(n, want);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(v[i].idx, idx[i]);
		assert_true(str_eq(v[i].bytes, str_c(value[i])));
	}
}

static void test_pending_merge(void **state)
{
	const struct ckpt_pending old[] = {write_of(-1, "a"), write_of(2, "b"), write_of(5, "c")};
	struct ckpt_pending w[] = {write_of(7, "d"), write_of(2, "e"), write_of(0, "f"), write_of(7, "g"), write_of(2, "h")};
	static const int32_t idx[] = {-1, 0, 2, 5, 7};
	struct ckpt_pending *out;
	struct arena a;
	size_t n;
	(void)state;
	arena_init(&a, 1u << 20);
	w[1].task_path = STR("another");
	assert_int_equal(pack_pending_merge(&a, old, 3, w, 5, false, &out, &n), OK);
	assert_writes(out, n, idx, (const char *const[]){"a", "f", "b", "c", "d"}, 5);
	assert_int_equal(pack_pending_merge(&a, old, 3, w, 5, true, &out, &n), OK);
	assert_writes(out, n, idx, (const char *const[]){"a", "f", "h", "c", "g"}, 5);
	assert_true(str_eq(out[2].task_path, STR("path"))); /* where it is stays as it was */
	assert_int_equal(pack_pending_merge(&a, NULL, 0, w, 0, true, &out, &n), OK);
	assert_int_equal(n, 0);
	arena_release(&a);
}

/* As many as a call may bring, in the worst order, twice. */
static void test_pending_merge_of_many(void **state)
{
	enum { N = 100000 };
	struct ckpt_pending *w, *once, *twice;
	struct arena a;
	size_t n, again;
	(void)state;
	arena_init(&a, 256u << 20);
	w = ARENA_ARRAY(&a, struct ckpt_pending, N);
	assert_non_null(w);
	for (int32_t i = 0; i < N; i++)
		w[i] = write_of(N - i, "x");
	assert_int_equal(pack_pending_merge(&a, NULL, 0, w, N, false, &once, &n), OK);
	assert_int_equal(n, N);
	assert_int_equal(pack_pending_merge(&a, once, n, w, N, true, &twice, &again), OK);
	assert_int_equal(again, N);
	for (int32_t i = 0; i < N; i++)
		assert_int_equal(twice[i].idx, i + 1);
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks_are_the_value),
		cmocka_unit_test(test_growth_shares_chunks),
		cmocka_unit_test(test_squeeze),
		cmocka_unit_test(test_the_dictionary_helps_small_texts),
		cmocka_unit_test(test_damaged_forms),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_pending_merge),
		cmocka_unit_test(test_pending_merge_of_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
