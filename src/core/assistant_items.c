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

struct str item_joined(struct arena *a, struct str one, const char *between, struct str two)
{
	size_t n = strlen(between);
	char *p = arena_alloc(a, one.n + n + two.n + 1);

	if (!p)
		return str_of(NULL, 0);
	memcpy(p, one.n ? one.p : "", one.n);
	memcpy(p + one.n, between, n);
	memcpy(p + one.n + n, two.n ? two.p : "", two.n);
	return str_of(p, one.n + n + two.n);
}

static enum err made_id(struct arena *a, const char *prefix, struct assistant_item *it)
{
	it->id = item_id(a, prefix);
	return it->id.p ? OK : E_NOMEM;
}

static void member(struct jw *w, const char *name, struct str value)
{
	jw_key(w, name);
	jw_str(w, value);
}

/* As the response says of itself (api/response.c). */
static const char *status_of(const struct llm_answer *answer)
{
	bool whole = answer->finish != LLM_CUT && answer->finish != LLM_LENGTH && answer->finish != LLM_FILTER;

	return whole ? "completed" : "incomplete";
}

enum err item_message(struct arena *a, const struct llm_answer *answer, struct str id, struct assistant_item *it)
{
	struct buf b;
	struct jw w;

	it->kind = ITEM_MESSAGE;
	it->id = id;
	it->text = answer->text;
	buf_init(&b, a, 8 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	member(&w, "type", STR("message"));
	member(&w, "id", id);
	member(&w, "role", STR("assistant"));
	member(&w, "status", str_c(status_of(answer)));
	jw_key(&w, "content");
	jw_arr(&w);
	jw_obj(&w);
	member(&w, "type", STR("output_text"));
	member(&w, "text", answer->text);
	jw_key(&w, "annotations");
	jw_raw(&w, STR("[]"));
	jw_key(&w, "logprobs");
	jw_raw(&w, STR("[]"));
	jw_end_obj(&w);
	jw_end_arr(&w);
	jw_end_obj(&w);
	it->json = buf_slice(&b);
	return b.err;
}

enum err item_call(struct arena *a, struct assistant_item *it)
{
	struct buf b;
	struct jw w;

	it->kind = ITEM_CALL;
	TRY(made_id(a, "fc", it));
	buf_init(&b, a, 8 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	member(&w, "type", STR("function_call"));
	member(&w, "id", it->id);
	member(&w, "call_id", it->call->id);
	member(&w, "name", it->call->name);
	member(&w, "arguments", it->call->arguments);
	member(&w, "status", STR("completed"));
	if (it->ours)
		member(&w, "created_by", STR(MADE_BY));
	jw_end_obj(&w);
	it->json = buf_slice(&b);
	return b.err;
}

enum err item_output(struct arena *a, struct assistant_item *it)
{
	struct buf b;
	struct jw w;

	it->kind = ITEM_OUTPUT;
	TRY(made_id(a, "fco", it));
	buf_init(&b, a, 8 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	member(&w, "type", STR("function_call_output"));
	member(&w, "id", it->id);
	member(&w, "call_id", it->call->id);
	member(&w, "name", it->call->name);
	member(&w, "output", it->text);
	member(&w, "status", STR("completed"));
	member(&w, "created_by", STR(MADE_BY));
	jw_end_obj(&w);
	it->json = buf_slice(&b);
	return b.err;
}

/* They are written above: a text of the model's cannot have the quotation marks. */
bool assistant_made(struct str item)
{
	return str_ends(item, STR(",\"created_by\":\"" MADE_BY "\"}"));
}
