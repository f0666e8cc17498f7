/* Fuzz target: checkpoints of SQLite savers taken apart, as msgpack (first byte even) or json. Whatever the bytes are: an error has
 * a sentence; else what stays is a JSON object, the values lie within the input, one after the other, each under a version that the
 * JSON has for its channel, and a msgpack value is whole. */
#include "base/json/json.h"
#include "core/checkpoint_split.h"
#include "core/msgpack_json.h"
#include "must.h"

static const struct json_limits lim = {.depth = 400, .nodes = 8000000, .bytes = (size_t)64 << 20, .flags = JSON_DUP_OK};

static void check_value(struct arena *a, struct jval versions, const struct ckpt_value *v)
{
	struct jval version = j_get(versions, v->channel);

	MUST(j_ok(version) && v->version.n > 0);
	MUST(str_eq(j_is(version, JSON_STRING) ? j_str(a, version) : j_raw(version), v->version));
	if (str_eq(v->type, STR("msgpack"))) {
		const uint8_t *p = (const uint8_t *)v->bytes.p;
		struct mp m = {p, p, p + v->bytes.n};

		MUST(mp_skip(&m) == OK && m.at == m.end);
	} else {
		MUST(str_eq(v->type, STR("bytes")) || str_eq(v->type, STR("json")));
	}
}

static void check_split(struct arena *a, struct str type, struct str blob)
{
	struct ckpt_split s;
	struct json doc;
	const char *at = blob.p;
	enum err e = ckpt_split(a, type, blob, &s);

	MUST(e == OK || e == E_INVALID || e == E_LIMIT);
	if (e != OK) {
		MUST(diag_get()->text[0]);
		return;
	}
	MUST(json_parse(a, s.checkpoint, &lim, &doc) == OK && j_is(json_root(&doc), JSON_OBJECT));
	for (size_t i = 0; i < s.values_n; i++) {
		MUST(s.values[i].bytes.p >= at);
		at = s.values[i].bytes.p + s.values[i].bytes.n;
		MUST(at <= blob.p + blob.n);
		check_value(a, j_get(json_root(&doc), STR("channel_versions")), &s.values[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str blob = str_of((const char *)data + 1, size ? size - 1 : 0), cleaned;
	struct arena a;
	struct json doc;

	if (size == 0)
		return 0;
	arena_init(&a, (size_t)1 << 30);
	check_split(&a, data[0] & 1 ? STR("json") : STR("msgpack"), blob);
	if (ckpt_split_metadata(&a, blob, &cleaned) == OK)
		MUST(json_parse(&a, cleaned, &lim, &doc) == OK && cleaned.n <= 2 * blob.n + 16);
	arena_release(&a);
	return 0;
}
