/* An answer as items of a session, in the form that Responses have (contracts: openai 5). */
#include "base/hash.h"
#include "base/uuid7.h"
#include "core/assistant_impl.h"

enum { ID_BYTES = 16 };

struct str item_id(struct arena *a, const char *prefix)
{
	uint8_t bytes[ID_BYTES];
	char hex[2 * ID_BYTES + 1];

	random_bytes(bytes, sizeof bytes);
	hex_encode(bytes, sizeof bytes, hex);
	return arena_printf(a, "%s_%s", prefix, hex);
}

static enum err message(struct arena *a, const struct llm_answer *answer, struct str id, struct str *out)
{
	struct buf b;
	struct jw w;

	buf_init(&b, a, 8 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "type");
	jw_cstr(&w, "message");
	jw_key(&w, "id");
	jw_str(&w, id);
	jw_key(&w, "role");
	jw_cstr(&w, "assistant");
	jw_key(&w, "status");
	jw_cstr(&w, answer->finish == LLM_CUT || answer->finish == LLM_LENGTH ? "incomplete" : "completed");
	jw_key(&w, "content");
	jw_arr(&w);
	jw_obj(&w);
	jw_key(&w, "type");
	jw_cstr(&w, "output_text");
	jw_key(&w, "text");
	jw_str(&w, answer->text);
	jw_key(&w, "annotations");
	jw_raw(&w, STR("[]"));
	jw_key(&w, "logprobs");
	jw_raw(&w, STR("[]"));
	jw_end_obj(&w);
	jw_end_arr(&w);
	jw_end_obj(&w);
	*out = buf_slice(&b);
	return b.err;
}

static enum err function_call(struct arena *a, const struct llm_call *c, struct str *out)
{
	struct str id = item_id(a, "fc");
	struct buf b;
	struct jw w;

	if (!id.p)
		return E_NOMEM;
	buf_init(&b, a, 8 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "type");
	jw_cstr(&w, "function_call");
	jw_key(&w, "id");
	jw_str(&w, id);
	jw_key(&w, "call_id");
	jw_str(&w, c->id);
	jw_key(&w, "name");
	jw_str(&w, c->name);
	jw_key(&w, "arguments");
	jw_str(&w, c->arguments);
	jw_key(&w, "status");
	jw_cstr(&w, "completed");
	jw_end_obj(&w);
	*out = buf_slice(&b);
	return b.err;
}

enum err answer_items(struct arena *a, const struct llm_answer *answer, struct str message_id, struct str **out, size_t *n)
{
	struct str *v = ARENA_ARRAY(a, struct str, answer->calls_n + 1);
	bool cut = answer->finish == LLM_CUT;

	*n = 0;
	if (!v)
		return E_NOMEM;
	/* An answer that is empty is one, too, unless it is made of calls; one that broke off before its first word is none. */
	if (answer->text.n || (answer->calls_n == 0 && !cut))
		TRY(message(a, answer, message_id, &v[(*n)++]));
	/* Calls of an answer that broke off may lack their end. */
	for (size_t i = 0; i < answer->calls_n && !cut; i++)
		TRY(function_call(a, &answer->calls[i], &v[(*n)++]));
	*out = v;
	return OK;
}
