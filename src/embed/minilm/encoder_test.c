/* The encoder on a small model against vectors made in double precision, in every form of its arithmetic; and the model's files
 * when something is wrong with them. */
#include <math.h>

#include "embed/minilm/encoder.h"
#include "embed/minilm/testing.h"
#include "embed/minilm/tiny_vectors.h"

#define TEXTS (sizeof tiny_ids / sizeof tiny_ids[0])

static char folder[64], path[128];

static int setup(void **state)
{
	tiny_make(folder);
	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	return 0;
}

static int teardown(void **state)
{
	tiny_remove(folder);
	return 0;
}

static struct bert_shape shape_of_tiny(void)
{
	struct bert_shape shape;
	struct arena a;

	arena_init(&a, 1 << 20);
	assert_int_equal(bert_config(&a, STR(TINY_CONFIG), &shape), OK);
	arena_release(&a);
	return shape;
}

static void open_tiny(struct weights *w, enum weights_form form, const struct kernels *k)
{
	struct bert_shape shape = shape_of_tiny();

	assert_int_equal(weights_open(w, path, &shape, form), OK);
	assert_int_equal(weights_load(w, k), OK);
}

static void add(struct encoder_batch *b, const uint32_t *text, float *to)
{
	memcpy(encoder_next(b), text + 1, text[0] * sizeof *text);
	encoder_add(b, text[0], to);
}

/* All texts in one batch, then each alone: the same, and the reference. */
static void check(enum weights_form form, double least)
{
	const struct kernels *all[KERNEL_FORMS];
	size_t n = kernels_list(all);

	for (size_t f = 0; f < n; f++) {
		float together[TEXTS][TINY_HIDDEN], alone[TINY_HIDDEN];
		struct encoder_batch *b;
		struct encoder e;
		struct weights w;

		open_tiny(&w, form, all[f]);
		e = (struct encoder){&w, all[f]};
		assert_int_equal(encoder_batch_new(&e, &b), OK);
		for (size_t t = 0; t < TEXTS; t++)
			add(b, tiny_ids[t], together[t]);
		assert_int_equal(encoder_run(&e, b), OK);
		for (size_t t = 0; t < TEXTS; t++) {
			double length = 0, cos = cosine(together[t], tiny_vectors[t], TINY_HIDDEN);

			add(b, tiny_ids[t], alone);
			assert_int_equal(encoder_run(&e, b), OK);
			for (size_t d = 0; d < TINY_HIDDEN; d++) {
				assert_float_equal(alone[d], together[t][d], 1e-5);
				length += (double)alone[d] * alone[d];
			}
			assert_true(fabs(length - 1) < 1e-5);
			if (!(cos >= least))
				fail_msg("%s, text %zu: cosine %.7f", all[f]->name, t, cos);
		}
		encoder_batch_free(b);
		weights_close(&w);
	}
}

static void test_f32(void **state)
{
	check(WEIGHTS_F32, 1 - 1e-6);
}

static void test_int8(void **state)
{
	check(WEIGHTS_INT8, 0.999);
}

static void test_full_batch(void **state)
{
	const struct kernels *k = kernels_choose();
	static float v[ENCODER_TEXTS_MAX][TINY_HIDDEN];
	struct encoder_batch *b;
	struct encoder e;
	struct weights w;
	size_t n = 0;

	open_tiny(&w, WEIGHTS_INT8, k);
	e = (struct encoder){&w, k};
	assert_int_equal(w.window, 40);
	assert_int_equal(encoder_batch_new(&e, &b), OK);
	for (; b->rows < ENCODER_ROWS; n++) /* as many texts as fit */
		add(b, tiny_ids[0], v[n]);
	assert_true(n <= ENCODER_TEXTS_MAX);
	assert_int_equal(encoder_run(&e, b), OK);
	assert_int_equal(b->rows, 0);
	for (size_t t = 1; t < n; t++)
		for (size_t d = 0; d < TINY_HIDDEN; d++)
			assert_float_equal(v[t][d], v[0][d], 1e-5);
	*encoder_next(b) = 64; /* no such word */
	encoder_add(b, 1, v[0]);
	assert_int_equal(encoder_run(&e, b), E_INTERNAL);
	assert_int_equal(b->texts, 0);
	encoder_batch_free(b);
	weights_close(&w);
}

static void expect_open(enum err want, const char *says)
{
	struct bert_shape shape = shape_of_tiny();
	struct weights w;

	assert_int_equal(weights_open(&w, path, &shape, WEIGHTS_INT8), want);
	weights_close(&w);
	if (says && !strstr(diag_get()->text, says))
		fail_msg("\"%s\" does not say \"%s\"", diag_get()->text, says);
}

static void test_cut_off(void **state)
{
	struct stat st;

	tiny_weights(folder, NULL, NULL);
	assert_int_equal(stat(path, &st), 0);
	for (off_t n = st.st_size - 1; n > 0; n /= 2) {
		assert_int_equal(truncate(path, n), 0);
		expect_open(E_CORRUPT, NULL);
	}
	assert_int_equal(truncate(path, 0), 0);
	expect_open(E_CORRUPT, "empty");
	assert_int_equal(unlink(path), 0);
	expect_open(E_IO, "model.safetensors");
	tiny_weights(folder, NULL, NULL);
}

static void test_other_model(void **state)
{
	struct bert_shape shape = shape_of_tiny();
	struct weights w;

	tiny_weights(folder, "encoder.layer.1.output.dense.weight", NULL);
	expect_open(E_CORRUPT, "encoder.layer.1.output.dense.weight is missing");
	tiny_weights(folder, NULL, NULL);
	shape.inner = 320;
	assert_int_equal(weights_open(&w, path, &shape, WEIGHTS_INT8), E_CORRUPT);
	assert_non_null(strstr(diag_get()->text, "encoder.layer.0.intermediate.dense.bias has not the shape [320]"));
	weights_close(&w);
	shape = shape_of_tiny();
	shape.layers = 3;
	assert_int_equal(weights_open(&w, path, &shape, WEIGHTS_INT8), E_CORRUPT);
	assert_non_null(strstr(diag_get()->text, "encoder.layer.2."));
	weights_close(&w);
}

/* Small tensors are looked at when the file is opened, the others when it is loaded; in both forms. */
static void test_not_finite(void **state)
{
	static const struct {
		const char *tensor;
		bool large;
	} cases[] = {
		{"embeddings.LayerNorm.weight", false},
		{"encoder.layer.1.output.LayerNorm.bias", false},
		{"encoder.layer.0.attention.self.value.bias", false},
		{"embeddings.word_embeddings.weight", true},
		{"embeddings.position_embeddings.weight", true},
		{"encoder.layer.0.attention.self.key.weight", true},
		{"encoder.layer.1.output.dense.weight", true},
	};
	struct bert_shape shape = shape_of_tiny();

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		for (int form = WEIGHTS_INT8; form <= WEIGHTS_F32; form++) {
			struct weights w;
			enum err e;

			tiny_weights(folder, NULL, cases[i].tensor);
			e = weights_open(&w, path, &shape, (enum weights_form)form);
			if (cases[i].large) {
				assert_int_equal(e, OK);
				e = weights_load(&w, kernels_choose());
			}
			assert_int_equal(e, E_CORRUPT);
			assert_non_null(strstr(diag_get()->text, cases[i].tensor));
			weights_close(&w);
		}
	tiny_weights(folder, NULL, NULL);
}

static void test_fingerprint(void **state)
{
	struct bert_shape shape = shape_of_tiny();
	struct weights w;
	uint64_t first;

	assert_int_equal(weights_open(&w, path, &shape, WEIGHTS_INT8), OK);
	first = w.print;
	weights_close(&w);
	assert_int_equal(weights_open(&w, path, &shape, WEIGHTS_F32), OK);
	assert_true(w.print == first);
	weights_close(&w);
}

static void test_config(void **state)
{
	static const struct {
		const char *from, *to, *says;
	} cases[] = {
		{"\"bert\"", "\"roberta\"", "model_type is \"roberta\""},
		{"\"gelu\"", "\"relu\"", "hidden_act is \"relu\""},
		{"\"gelu\"", "7", "hidden_act"},
		{"\"hidden_size\":192", "\"hidden_size\":200", "hidden_size must be a multiple of 64"},
		{"\"hidden_size\":192", "\"hidden_size\":\"192\"", "hidden_size"},
		{"\"num_attention_heads\":6", "\"num_attention_heads\":5", "num_attention_heads"},
		{"\"num_hidden_layers\":2", "\"num_hidden_layers\":4000", "num_hidden_layers"},
		{"\"vocab_size\":64,", "", "vocab_size is missing"},
		{"1e-12", "-1", "layer_norm_eps"},
		{"\"bert\"", "\"bert\",\"position_embedding_type\":\"relative_key\"", "position_embedding_type"},
		{"{", "[", "no JSON object"},
	};
	struct bert_shape shape;
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const char *at = strstr(TINY_CONFIG, cases[i].from);
		struct str text =
			arena_printf(&a, "%.*s%s%s", (int)(at - TINY_CONFIG), TINY_CONFIG, cases[i].to, at + strlen(cases[i].from));

		assert_int_not_equal(bert_config(&a, text, &shape), OK);
		if (!strstr(diag_get()->text, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", diag_get()->text, cases[i].says);
	}
	assert_int_equal(bert_pooling(&a, STR("{\"pooling_mode_mean_tokens\":true,\"pooling_mode_cls_token\":false}")), OK);
	assert_int_equal(bert_pooling(&a, STR("{\"pooling_mode_mean_tokens\":true,\"pooling_mode_cls_token\":true}")), E_INVALID);
	assert_int_equal(bert_pooling(&a, STR("{}")), E_INVALID);
	assert_int_equal(bert_pooling(&a, STR("mean")), E_CORRUPT);
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_f32),	    cmocka_unit_test(test_int8),	cmocka_unit_test(test_full_batch),
		cmocka_unit_test(test_cut_off),	    cmocka_unit_test(test_other_model), cmocka_unit_test(test_not_finite),
		cmocka_unit_test(test_fingerprint), cmocka_unit_test(test_config),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
