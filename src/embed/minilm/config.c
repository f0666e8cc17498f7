#include "embed/minilm/config.h"

#include "base/json/json.h"
#include "embed/minilm/kernels.h"

/* Sizes that can be run. Lengths of layers are multiples of KERNEL_PANEL, which all known models of this kind have. */
#define LAYERS_MAX 48
#define HIDDEN_MAX 2048
#define INNER_MAX 8192
#define VOCABULARY_MAX 1000000
#define POSITIONS_MAX 8192
#define TYPES_MAX 16

static enum err number(struct jval root, const char *name, int64_t min, int64_t max, uint32_t multiple, uint32_t *out)
{
	struct jval v = j_get(root, str_c(name));
	int64_t n;

	if (!j_ok(v))
		return err_set(E_CORRUPT, "config.json: %s is missing", name);
	if (!j_i64(v, &n) || n < min || n > max || n % multiple != 0)
		return err_set(E_INVALID, "config.json: %s must be a multiple of %u from %lld to %lld", name, multiple,
			       (long long)min, (long long)max);
	*out = (uint32_t)n;
	return OK;
}

/* A choice that has only one value here; absent where the oldest files have no such member. */
static enum err word(struct arena *a, struct jval root, const char *name, const char *value, bool needed)
{
	struct jval v = j_get(root, str_c(name));
	struct str got;

	if (!j_ok(v) && !needed)
		return OK;
	if (!j_is(v, JSON_STRING))
		return err_set(E_CORRUPT, "config.json: %s is missing or no string", name);
	got = j_str(a, v);
	if (!got.p)
		return E_NOMEM;
	if (!str_eq(got, str_c(value)))
		return err_set(E_INVALID, "config.json: %s is \"%.*s\"; only models with \"%s\" can be run", name,
			       STR_ARG(str_sub(got, 0, 60)), value);
	return OK;
}

static enum err parse(struct arena *a, struct str text, const char *file, struct json *doc)
{
	if (json_parse(a, text, &json_default_limits, doc) != OK || !j_is(json_root(doc), JSON_OBJECT))
		return err_set(E_CORRUPT, "%s is no JSON object", file);
	return OK;
}

enum err bert_config(struct arena *a, struct str text, struct bert_shape *out)
{
	struct json doc;
	struct jval root;
	uint32_t head;
	double eps;

	TRY(parse(a, text, "config.json", &doc));
	root = json_root(&doc);
	TRY(word(a, root, "model_type", "bert", true));
	TRY(word(a, root, "hidden_act", "gelu", true));
	TRY(word(a, root, "position_embedding_type", "absolute", false));
	TRY(number(root, "num_hidden_layers", 1, LAYERS_MAX, 1, &out->layers));
	TRY(number(root, "hidden_size", KERNEL_PANEL, HIDDEN_MAX, KERNEL_PANEL, &out->hidden));
	TRY(number(root, "intermediate_size", KERNEL_PANEL, INNER_MAX, KERNEL_PANEL, &out->inner));
	TRY(number(root, "num_attention_heads", 1, HIDDEN_MAX, 1, &out->heads));
	TRY(number(root, "vocab_size", 4, VOCABULARY_MAX, 1, &out->vocabulary));
	TRY(number(root, "max_position_embeddings", 2, POSITIONS_MAX, 1, &out->positions));
	TRY(number(root, "type_vocab_size", 1, TYPES_MAX, 1, &out->types));
	head = out->hidden / out->heads;
	if (head * out->heads != out->hidden || head % 16 != 0 || head > KERNEL_HEAD_MAX)
		return err_set(E_INVALID, "config.json: hidden_size / num_attention_heads must be a multiple of 16 up to %u",
			       KERNEL_HEAD_MAX);
	if (!j_double(j_get(root, STR("layer_norm_eps")), &eps) || !(eps >= 0 && eps <= 1e-2))
		return err_set(E_INVALID, "config.json: layer_norm_eps must be a number from 0 to 0.01");
	out->eps = (float)eps;
	return OK;
}

enum err bert_pooling(struct arena *a, struct str text)
{
	struct jval key, v;
	struct json doc;
	struct j_iter it;
	bool mean = false;

	TRY(parse(a, text, "1_Pooling/config.json", &doc));
	it = j_iter(json_root(&doc));
	while (j_next(&it, &key, &v)) {
		bool on = j_is(v, JSON_TRUE);

		if (j_str_eq(key, STR("pooling_mode_mean_tokens")))
			mean = on;
		else if (on && str_starts(j_raw(key), STR("\"pooling_mode_")))
			return err_set(E_INVALID, "1_Pooling/config.json: %.*s is set; only the mean of the tokens can be taken",
				       STR_ARG(str_sub(j_raw(key), 0, 60)));
	}
	if (!mean)
		return err_set(E_INVALID, "1_Pooling/config.json: pooling_mode_mean_tokens is not set; only that can be run");
	return OK;
}
