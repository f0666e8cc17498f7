/* The memory of who asks, as tools: what is known about the user, and what was said in the user's threads. Texts and names are
 * those of the clients' LongTermMemory, and so is the namespace (user_namespace).
 *
 * Invariants
 *  1. The namespace and the user of a search are the principal's. Without a user there is none, and every call is refused: what is
 *     nobody's would be everybody's. */
#include "base/clock.h"
#include "core/assistant_impl.h"
#include "core/memory.h"
#include "core/recall.h"
#include "core/tool.h"

enum { FOUND_MAX = 5, MESSAGES_DEFAULT = 5 };

struct memory_tool {
	struct tool tool;
	struct memory *m;
};

static enum err own_namespace(struct arena *a, const struct principal *who, struct str *out)
{
	if (!who->user.n)
		return err_set(E_DENIED, "nobody has said who the user is");
	*out = user_namespace(a, who->user);
	return out->p ? OK : E_NOMEM;
}

static enum err text_argument(struct arena *a, struct jval arguments, const char *name, struct str *out)
{
	*out = j_str(a, j_get(arguments, str_c(name)));
	return out->p ? OK : E_NOMEM;
}

/* JSON with a blank behind each comma and colon, as Python writes it. */
static void put_spaced(struct buf *b, struct jval v)
{
	struct jval key, one;
	bool object = j_is(v, JSON_OBJECT), first = true;

	if (!object && !j_is(v, JSON_ARRAY)) {
		buf_str(b, j_raw(v));
		return;
	}
	buf_byte(b, object ? '{' : '[');
	for (struct j_iter it = j_iter(v); j_next(&it, &key, &one); first = false) {
		buf_lit(b, first ? "" : ", ");
		if (object) {
			buf_str(b, j_raw(key));
			buf_lit(b, ": ");
		}
		put_spaced(b, one);
	}
	buf_byte(b, object ? '}' : ']');
}

/* ---------------------------------------------------------------------- traces */

/* Names of an object's members as a JSON array: what was kept, not what it says. */
static void names_of(struct trace_span *s, struct arena *a, const char *key, struct jval object)
{
	struct jval name, v;
	struct buf b;

	if (!s)
		return;
	buf_init(&b, a, (size_t)1 << 20);
	buf_byte(&b, '[');
	for (struct j_iter it = j_iter(object); j_next(&it, &name, &v);) {
		buf_lit(&b, b.n > 1 ? "," : "");
		buf_str(&b, j_raw(name));
	}
	buf_byte(&b, ']');
	if (b.err == OK)
		span_json(s, key, buf_slice(&b));
}

/* A step on the store, within the operation that it is for. */
struct step {
	struct trace_span *operation, *store;
};

static struct step step_begin(struct trace_span *span, const struct principal *who, enum span_type type, const char *operation,
			      const char *store)
{
	struct step s = {.operation = span_below(span, type, str_c(operation))};

	s.store = store ? span_below(s.operation, SPAN_CHAIN, str_c(store)) : s.operation;
	span_str(s.store, "user_id", who->user);
	return s;
}

static enum err step_end(struct step s, enum err e)
{
	if (e == OK)
		span_str(s.store, "status", STR("success"));
	(void)span_end(s.store, e);
	return span_end(s.operation, e);
}

static void found_keys(struct step s, struct arena *a, const struct item *const *v, size_t n)
{
	struct buf b;
	struct jw w;

	if (!s.store)
		return;
	buf_init(&b, a, (size_t)1 << 20);
	jw_init(&w, &b);
	jw_arr(&w);
	for (size_t i = 0; i < n; i++)
		jw_str(&w, v[i]->key);
	jw_end_arr(&w);
	span_int(s.store, "result_count", (int64_t)n);
	if (b.err == OK)
		span_json(s.store, "keys", buf_slice(&b));
	buf_clear(&b);
	jw_init(&w, &b);
	jw_arr(&w);
	for (size_t i = 0; i < n; i++) {
		jw_obj(&w);
		jw_key(&w, "id");
		jw_str(&w, v[i]->key);
		jw_end_obj(&w);
	}
	jw_end_arr(&w);
	if (b.err == OK)
		span_json(s.operation, "retrieval.documents", buf_slice(&b));
}

/* ------------------------------------------------------------- notes on the user */

static bool has(const struct item *const *v, size_t n, const struct item *it)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(v[i]->ns, it->ns) && str_eq(v[i]->key, it->key))
			return true;
	return false;
}

/* The best, and behind them the latest: a search by words may find less than there is room for, while one by meaning always has a
 * nearest. */
static enum err find_notes(struct memory *m, struct arena *a, const struct principal *who, struct op_search *best,
			   const struct item **out, size_t *n)
{
	struct op_search latest = {.prefix = best->prefix, .limit = FOUND_MAX};

	*n = 0;
	TRY(memory_search(m, a, who, best));
	for (size_t i = 0; i < best->n; i++)
		out[(*n)++] = &best->hits[i].item;
	if (*n == FOUND_MAX)
		return OK;
	TRY(memory_search(m, a, who, &latest));
	for (size_t i = 0; i < latest.n && *n < FOUND_MAX; i++)
		if (!has(out, *n, &latest.hits[i].item))
			out[(*n)++] = &latest.hits[i].item;
	return OK;
}

static enum err get_memory(const struct tool *t, struct arena *a, const struct principal *who, struct jval arguments,
			   struct trace_span *span, struct str *answer)
{
	struct memory *m = ((const struct memory_tool *)t)->m;
	struct op_search op = {.limit = FOUND_MAX};
	const struct item *found[FOUND_MAX];
	struct buf b;
	size_t n;

	TRY(own_namespace(a, who, &op.prefix));
	TRY(text_argument(a, arguments, "query", &op.query));
	struct step s = step_begin(span, who, SPAN_RETRIEVER, "search_memories", "store_search");

	/* What was asked for is content; the rest says how. */
	if (span_wants(s.store))
		span_str(s.store, "query", op.query);
	span_int(s.store, "limit", FOUND_MAX);
	enum err e = find_notes(m, a, who, &op, found, &n);

	if (e == OK)
		found_keys(s, a, found, n);
	TRY(step_end(s, e));
	*answer = STR("No memories found for this user.");
	if (!n)
		return OK;
	buf_init(&b, a, (size_t)64 << 20);
	for (size_t i = 0; i < n; i++) {
		struct json doc;

		TRY(json_parse(a, found[i]->value, &json_default_limits, &doc));
		buf_printf(&b, "%s- [%.*s]: ", i ? "\n" : "", STR_ARG(found[i]->key));
		put_spaced(&b, json_root(&doc));
	}
	*answer = buf_slice(&b);
	return b.err;
}

static enum err save_memory(const struct tool *t, struct arena *a, const struct principal *who, struct jval arguments,
			    struct trace_span *span, struct str *answer)
{
	struct memory *m = ((const struct memory_tool *)t)->m;
	struct op_put op = {.ttl_minutes = TTL_DEFAULT};
	struct json doc;
	enum err e;

	TRY(own_namespace(a, who, &op.ns));
	TRY(text_argument(a, arguments, "memory_key", &op.key));
	TRY(text_argument(a, arguments, "memory_data_json", &op.value));
	e = json_parse(a, op.value, &json_default_limits, &doc);
	if (e != OK) {
		*answer = arena_printf(a, "Error: Invalid JSON - %s", diag_get()->text);
		return answer->p ? OK : E_NOMEM;
	}
	*answer = STR("Error: Memory data must be a JSON object (dictionary)");
	if (!j_is(json_root(&doc), JSON_OBJECT))
		return OK;
	op.value = j_raw(json_root(&doc));
	struct step s = step_begin(span, who, SPAN_MEMORY, "save_memory", "store_put");

	span_str(s.store, "memory_key", op.key);
	names_of(s.store, a, "data_keys", json_root(&doc));
	TRY(step_end(s, memory_put(m, a, who, &op)));
	*answer = arena_printf(a, "Successfully saved memory with key '%.*s'", STR_ARG(op.key));
	return answer->p ? OK : E_NOMEM;
}

static enum err delete_memory(const struct tool *t, struct arena *a, const struct principal *who, struct jval arguments,
			      struct trace_span *span, struct str *answer)
{
	struct memory *m = ((const struct memory_tool *)t)->m;
	struct op_put op = {.ttl_minutes = TTL_DEFAULT};

	TRY(own_namespace(a, who, &op.ns));
	TRY(text_argument(a, arguments, "memory_key", &op.key));
	struct step s = step_begin(span, who, SPAN_MEMORY, "delete_memory", NULL);

	span_str(s.store, "memory_key", op.key);
	TRY(step_end(s, memory_put(m, a, who, &op)));
	*answer = arena_printf(a, "Successfully deleted memory with key '%.*s'", STR_ARG(op.key));
	return answer->p ? OK : E_NOMEM;
}

/* ------------------------------------------------------------- earlier messages */

static void put_message(struct buf *b, const struct message *m)
{
	char when[CLOCK_TEXT_MAX] = "";
	struct jw w;

	if (m->time_us > 0)
		(void)clock_format(m->time_us, CLOCK_MILLIS_Z, when);
	jw_init(&w, b);
	jw_obj(&w);
	jw_key(&w, "when");
	jw_cstr(&w, when);
	jw_key(&w, "thread");
	jw_str(&w, m->thread);
	jw_key(&w, "role");
	jw_str(&w, m->role);
	jw_key(&w, "text");
	jw_str(&w, m->content);
	jw_end_obj(&w);
}

static enum err search_conversations(const struct tool *t, struct arena *a, const struct principal *who, struct jval arguments,
				     struct trace_span *span, struct str *answer)
{
	struct memory *m = ((const struct memory_tool *)t)->m;
	struct recall_request rq = {.user = &who->user, .want_messages = true, .limit = MESSAGES_DEFAULT, .mode = RANK_AUTO};
	struct recall_hit *hits;
	int64_t limit;
	struct buf b;
	size_t n;

	if (!who->user.n)
		return err_set(E_DENIED, "nobody has said who the user is");
	TRY(text_argument(a, arguments, "query", &rq.query));
	if (j_i64(j_get(arguments, STR("limit")), &limit))
		rq.limit = (uint32_t)limit;
	struct step s = step_begin(span, who, SPAN_RETRIEVER, "search_conversations", NULL);

	span_int(s.store, "limit", rq.limit);
	rq.span = s.operation;
	enum err e = recall(m, a, who, &rq, &hits, &n);

	if (e == OK)
		trace_documents(s.operation, hits, n);
	TRY(step_end(s, e));
	*answer = STR("No earlier messages found.");
	if (!n)
		return OK;
	buf_init(&b, a, (size_t)64 << 20);
	for (size_t i = 0; i < n; i++) {
		buf_lit(&b, i ? "\n- " : "- ");
		put_message(&b, &hits[i].message);
	}
	*answer = buf_slice(&b);
	return b.err;
}

/* ------------------------------------------------------------------- the tools */

static const struct tool_ops get_ops = {get_memory}, save_ops = {save_memory}, delete_ops = {delete_memory},
			     search_ops = {search_conversations};

#define QUERY "\"query\":{\"type\":\"string\",\"minLength\":1,\"description\":\"Natural language description of what to find\"}"

static const struct tool made[] = {
	{.ops = &get_ops,
	 .name = STR_INIT("get_user_memory"),
	 .description =
		 STR_INIT("Search user's long-term memory using semantic similarity. Use this tool to recall user preferences, "
			  "past insights, or any previously stored information relevant to the query."),
	 .parameters = STR_INIT("{\"type\":\"object\",\"properties\":{" QUERY "},\"required\":[\"query\"]}"),
	 .of_user = true},
	{.ops = &save_ops,
	 .name = STR_INIT("save_user_memory"),
	 .description =
		 STR_INIT("Save structured information to user's long-term memory. Use this tool to persist user preferences, "
			  "important insights, or any information that should be remembered across conversations."),
	 .parameters = STR_INIT("{\"type\":\"object\",\"properties\":{\"memory_key\":{\"type\":\"string\",\"minLength\":1,"
				"\"description\":\"Unique identifier for this memory (e.g., \\\"preferred_workspace\\\")\"},"
				"\"memory_data_json\":{\"type\":\"string\",\"description\":\"JSON string containing the memory "
				"data\"}},\"required\":[\"memory_key\",\"memory_data_json\"]}"),
	 .of_user = true},
	{.ops = &delete_ops,
	 .name = STR_INIT("delete_user_memory"),
	 .description = STR_INIT("Delete a specific memory from user's long-term storage. Use this tool when the user explicitly "
				 "requests to forget or remove stored information."),
	 .parameters = STR_INIT("{\"type\":\"object\",\"properties\":{\"memory_key\":{\"type\":\"string\",\"minLength\":1,"
				"\"description\":\"Key of the memory to delete\"}},\"required\":[\"memory_key\"]}"),
	 .of_user = true},
	{.ops = &search_ops,
	 .name = STR_INIT("search_conversations"),
	 .description = STR_INIT("Search what was said in this user's earlier conversations. Use this tool when the user refers to "
				 "something that is not in this conversation."),
	 .parameters = STR_INIT("{\"type\":\"object\",\"properties\":{" QUERY ",\"limit\":{\"type\":\"integer\",\"minimum\":1,"
				"\"maximum\":20,\"description\":\"How many messages at most (5)\"}},\"required\":[\"query\"]}"),
	 .of_user = true},
};
enum { MADE = sizeof made / sizeof made[0] };

enum err memory_tools(struct memory *m, struct arena *a, struct toolbox *out)
{
	struct memory_tool *v = ARENA_ARRAY(a, struct memory_tool, MADE);
	const struct tool **box = ARENA_ARRAY(a, const struct tool *, MADE);

	if (!v || !box)
		return E_NOMEM;
	for (size_t i = 0; i < MADE; i++) {
		v[i] = (struct memory_tool){made[i], m};
		box[i] = &v[i].tool;
	}
	*out = (struct toolbox){box, MADE};
	return OK;
}
