/* For the tests of embed/minilm only: a small model of the same architecture, made by a generator (as tests/data/encoder/make.py
 * does), in a folder of its own. */
#ifndef CENOTE_EMBED_MINILM_TESTING_H
#define CENOTE_EMBED_MINILM_TESTING_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/test_util.h"

#define TINY_HIDDEN 192
#define TINY_CONFIG                                                                                                                \
	"{\"model_type\":\"bert\",\"hidden_act\":\"gelu\",\"num_hidden_layers\":2,\"hidden_size\":192,\"num_attention_heads\":6,"  \
	"\"intermediate_size\":256,\"vocab_size\":64,\"max_position_embeddings\":40,\"type_vocab_size\":2,\"layer_norm_eps\":1e-"  \
	"12}"

struct tiny {
	struct buf header, data; /* of model.safetensors */
	uint64_t random;
	const char *rename; /* this tensor gets another name */
	const char *poison; /* this one a NaN at its end */
};

static inline void tiny_tensor(struct tiny *t, const char *name, size_t rows, size_t cols, double middle, double half)
{
	size_t n = (rows ? rows : 1) * cols, begin = t->data.n;

	for (size_t i = 0; i < n; i++) {
		double x = (double)(test_random(&t->random) >> 40) / 16777216.0;
		float f = (float)(middle + (x - 0.5) * 2 * half);

		if (t->poison && strcmp(t->poison, name) == 0 && i == n - 1)
			f = __builtin_nanf("");
		buf_put(&t->data, &f, sizeof f);
	}
	buf_printf(&t->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":", t->header.n > 1 ? "," : "",
		   t->rename && strcmp(t->rename, name) == 0 ? "other" : name);
	if (rows)
		buf_printf(&t->header, "[%zu,%zu]", rows, cols);
	else
		buf_printf(&t->header, "[%zu]", cols);
	buf_printf(&t->header, ",\"data_offsets\":[%zu,%zu]}", begin, t->data.n);
}

static inline void tiny_product(struct tiny *t, int layer, const char *part, size_t n, size_t k)
{
	char name[96];

	snprintf(name, sizeof name, "encoder.layer.%d.%s.weight", layer, part);
	tiny_tensor(t, name, n, k, 0, 0.125);
	snprintf(name, sizeof name, "encoder.layer.%d.%s.bias", layer, part);
	tiny_tensor(t, name, 0, n, 0, 0.25);
}

static inline void tiny_norm(struct tiny *t, const char *prefix)
{
	char name[128];

	snprintf(name, sizeof name, "%s.weight", prefix);
	tiny_tensor(t, name, 0, TINY_HIDDEN, 1, 0.25);
	snprintf(name, sizeof name, "%s.bias", prefix);
	tiny_tensor(t, name, 0, TINY_HIDDEN, 0, 0.25);
}

static inline void tiny_layer(struct tiny *t, int i)
{
	char name[96];

	tiny_product(t, i, "attention.self.query", TINY_HIDDEN, TINY_HIDDEN);
	tiny_product(t, i, "attention.self.key", TINY_HIDDEN, TINY_HIDDEN);
	tiny_product(t, i, "attention.self.value", TINY_HIDDEN, TINY_HIDDEN);
	tiny_product(t, i, "attention.output.dense", TINY_HIDDEN, TINY_HIDDEN);
	tiny_product(t, i, "intermediate.dense", 256, TINY_HIDDEN);
	tiny_product(t, i, "output.dense", TINY_HIDDEN, 256);
	snprintf(name, sizeof name, "encoder.layer.%d.attention.output.LayerNorm", i);
	tiny_norm(t, name);
	snprintf(name, sizeof name, "encoder.layer.%d.output.LayerNorm", i);
	tiny_norm(t, name);
}

static inline void tiny_write(const char *folder, const char *file, const void *p, size_t n)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", folder, file);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

/* Writes model.safetensors; rename and poison may be NULL. */
static inline void tiny_weights(const char *folder, const char *rename, const char *poison)
{
	struct tiny t = {.random = 1, .rename = rename, .poison = poison};
	uint8_t length[8] = {0};
	struct buf all;

	buf_init(&t.header, NULL, 1 << 20);
	buf_init(&t.data, NULL, 16 << 20);
	buf_byte(&t.header, '{');
	tiny_tensor(&t, "embeddings.word_embeddings.weight", 64, TINY_HIDDEN, 0, 1);
	tiny_tensor(&t, "embeddings.position_embeddings.weight", 40, TINY_HIDDEN, 0, 0.5);
	tiny_tensor(&t, "embeddings.token_type_embeddings.weight", 2, TINY_HIDDEN, 0, 0.25);
	tiny_norm(&t, "embeddings.LayerNorm");
	for (int i = 0; i < 2; i++)
		tiny_layer(&t, i);
	buf_byte(&t.header, '}');
	while (t.header.n % 8 != 0)
		buf_byte(&t.header, ' ');
	for (int i = 0; i < 8; i++)
		length[i] = (uint8_t)(t.header.n >> (8 * i));
	buf_init(&all, NULL, 32 << 20);
	buf_put(&all, length, 8);
	buf_str(&all, buf_slice(&t.header));
	buf_str(&all, buf_slice(&t.data));
	tiny_write(folder, "model.safetensors", all.p, all.n);
	buf_release(&all);
	buf_release(&t.header);
	buf_release(&t.data);
}

/* A new folder with config.json, vocab.txt (letters, digits and their continuations) and the weights. */
static inline void tiny_make(char folder[64])
{
	const char *tmp = getenv("TMPDIR");
	struct buf vocabulary;

	snprintf(folder, 64, "%s/cenote-model.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	assert_non_null(mkdtemp(folder));
	buf_init(&vocabulary, NULL, 1 << 16);
	buf_lit(&vocabulary, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n");
	for (int i = 0; i < 26; i++)
		buf_printf(&vocabulary, "%c\n##%c\n", 'a' + i, 'a' + i);
	for (int i = 0; i < 8; i++)
		buf_printf(&vocabulary, "%d\n", i);
	tiny_write(folder, "vocab.txt", vocabulary.p, vocabulary.n);
	buf_release(&vocabulary);
	tiny_write(folder, "config.json", TINY_CONFIG, strlen(TINY_CONFIG));
	tiny_weights(folder, NULL, NULL);
}

static inline void tiny_remove(const char *folder)
{
	static const char *const files[] = {"config.json", "vocab.txt", "model.safetensors", "1_Pooling/config.json"};
	char path[512];

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, files[i]);
		(void)unlink(path);
	}
	snprintf(path, sizeof path, "%s/1_Pooling", folder);
	(void)rmdir(path);
	assert_int_equal(rmdir(folder), 0);
}

/* The cosine of a vector with one of the tables, which is 32767 times as long. */
static inline double cosine(const float *v, const int16_t *want, size_t n)
{
	double ab = 0, aa = 0, bb = 0;

	for (size_t i = 0; i < n; i++) {
		ab += (double)v[i] * want[i];
		aa += (double)v[i] * v[i];
		bb += (double)want[i] * want[i];
	}
	return ab / __builtin_sqrt(aa * bb);
}

#endif
