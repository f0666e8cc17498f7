/* What an MCP server answers: a stream of events that is cut into pieces anywhere, messages in it, results, lists of tools. Never a
 * crash, and what is taken is bounded. The first byte says how long the pieces are (0: one message). */
#include "base/log.h"
#include "base/utf8.h"
#include "must.h"
#include "tool/mcp_impl.h"

struct seen {
	struct arena a;
	size_t events, bytes;
};

static void list(struct str page)
{
	struct mcp_server s = {.name = STR("s"), .prefix = STR("p")};
	struct mcp_list *l;

	if (mcp_list_make(&s, &page, 1, &l) != OK)
		return;
	MUST(l->n <= MCP_TOOLS_MAX);
	for (size_t i = 0; i < l->n; i++) {
		const struct tool *t = &l->v[i].tool;
		struct json doc;
		struct arena a;

		MUST(tool_name_ok(t->name) && t->description.n <= MCP_DESCRIPTION_MAX && utf8_valid(t->description));
		MUST(t->parameters.n <= MCP_SCHEMA_MAX);
		arena_init(&a, (size_t)16 << 20);
		/* Whatever is offered can be compared with arguments. */
		MUST(json_parse(&a, t->parameters, &(struct json_limits){64, 200000, MCP_SCHEMA_MAX, JSON_DUP_OK}, &doc) == OK);
		(void)!tool_schema_fits(&a, json_root(&doc), json_root(&doc));
		arena_release(&a);
	}
	mcp_list_free(l);
}

static enum err message(void *ctx, struct str data)
{
	struct seen *s = ctx;
	struct jval result, tools;
	struct json doc;
	struct str text;
	bool is;

	s->events++;
	s->bytes += data.n;
	arena_clear(&s->a);
	if (mcp_answer(&s->a, data, 1, &doc, &result, &is) != OK || !is)
		return OK;
	tools = j_get(result, STR("tools"));
	if (j_is(tools, JSON_ARRAY))
		list(j_raw(tools));
	if (mcp_result_text(&s->a, result, &text) == OK)
		MUST(text.n && utf8_valid(text) && !memchr(text.p, 0, text.n));
	else
		MUST(diag_get()->text[0]);
	return OK;
}

static void stream(struct seen *s, struct str in, size_t step)
{
	struct mcp_events ev;

	arena_init(&s->a, (size_t)48 << 20);
	mcp_events_init(&ev);
	for (size_t at = 0; at < in.n; at += step)
		MUST(mcp_events_feed(&ev, str_sub(in, at, at + step), message, s) == OK);
	mcp_events_release(&ev);
	arena_release(&s->a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole = {.events = 0}, cut = {.events = 0};
	struct str in;

	log_set_level(LOG_ERROR);
	if (size < 1)
		return 0;
	in = str_of((const char *)data + 1, size - 1);
	if (!data[0]) {
		arena_init(&whole.a, (size_t)48 << 20);
		(void)!message(&whole, in);
		arena_release(&whole.a);
		return 0;
	}
	stream(&whole, in, in.n + 1);
	stream(&cut, in, data[0]);
	MUST(whole.events == cut.events && whole.bytes == cut.bytes && cut.bytes <= in.n);
	return 0;
}
