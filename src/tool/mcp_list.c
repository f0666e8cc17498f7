/* What a server says that it offers, as tools: names, descriptions and schemas of others, which are checked and bounded here. What
 * cannot be offered is left out, and the log says what and why. */
#include <stdlib.h>

#include "base/log.h"
#include "base/utf8.h"
#include "tool/mcp_impl.h"

static const struct json_limits limits = {.depth = 64, .nodes = 200000, .bytes = MCP_ANSWER_MAX, .flags = JSON_DUP_OK};

static void left_out(const struct mcp_server *s, struct str name, const char *why)
{
	LOG(LOG_WARN, "tool.mcp", "a tool of an MCP server is not offered", LF_STR("server", s->name),
	    LF_STR("tool", utf8_cut(name, TOOL_NAME_MAX)), LF_C("why", why));
}

static bool wanted(const struct mcp_server *s, struct str name)
{
	for (size_t i = 0; i < s->wanted_n; i++)
		if (str_eq(s->wanted[i], name))
			return true;
	return !s->wanted;
}

static bool there(const struct mcp_list *l, struct str name)
{
	for (size_t i = 0; i < l->n; i++)
		if (str_eq(l->v[i].name, name))
			return true;
	return false;
}

/* NULL, or why it cannot be offered. What it keeps lies in the list's arena. */
static const char *take(struct mcp_server *s, struct mcp_list *l, struct arena *scratch, struct jval one, struct str name)
{
	struct jval schema = j_get(one, STR("inputSchema")), text = j_get(one, STR("description"));
	struct mcp_tool *t = &l->v[l->n];
	struct str description = j_is(text, JSON_STRING) ? j_str(scratch, text) : STR("");

	if (there(l, name))
		return "the server has two of this name";
	if (l->n == MCP_TOOLS_MAX)
		return "the server has more than 64";
	*t = (struct mcp_tool){.server = s, .name = arena_str(&l->arena, name)};
	t->tool = (struct tool){.ops = &mcp_tool_ops, .of_user = s->to.of_user, .timeout_ms = s->timeout_ms};
	t->tool.name = arena_printf(&l->arena, "%.*s%.*s", STR_ARG(s->prefix), STR_ARG(name));
	if (!tool_name_ok(t->tool.name))
		return "with the prefix its name must be 1 to 64 of A-Z a-z 0-9 _ -";
	if (!j_ok(schema) || j_raw(schema).n > MCP_SCHEMA_MAX)
		return "it has no inputSchema, or one above 32 KiB";
	if (tool_schema_check_foreign(scratch, schema, "inputSchema") != OK)
		return diag_get()->text;
	t->tool.parameters = arena_str(&l->arena, j_raw(schema));
	t->tool.description = arena_str(&l->arena, utf8_cut(description, MCP_DESCRIPTION_MAX));
	if (!t->name.p || !t->tool.parameters.p || !t->tool.description.p)
		return "out of memory";
	l->n++;
	return NULL;
}

static enum err read_page(struct mcp_server *s, struct mcp_list *l, struct arena *scratch, struct str page)
{
	struct jval one, v;
	struct json doc;

	if (json_parse(scratch, page, &limits, &doc) != OK || !j_is(json_root(&doc), JSON_ARRAY))
		return err_set(E_CORRUPT, "the server's list of tools is none");
	for (struct j_iter it = j_iter(json_root(&doc)); j_next(&it, NULL, &one);) {
		struct str name;
		const char *why;

		v = j_get(one, STR("name"));
		name = j_is(v, JSON_STRING) ? j_str(scratch, v) : STR("");
		if (!name.p)
			return E_NOMEM;
		if (!name.n || name.n > MCP_NAME_MAX) {
			left_out(s, name, "it has no name of 1 to 256 bytes");
			continue;
		}
		if (!wanted(s, name))
			continue;
		why = take(s, l, scratch, one, name);
		if (why)
			left_out(s, name, why);
	}
	return OK;
}

enum err mcp_list_make(struct mcp_server *s, const struct str *pages, size_t n, struct mcp_list **out)
{
	struct mcp_list *l = calloc(1, sizeof *l);
	struct arena scratch;
	enum err e = OK;

	if (!l)
		return err_set(E_LIMIT, "out of memory for the tools of a server");
	arena_init(&l->arena, (size_t)8 << 20);
	arena_init(&scratch, MCP_SCRATCH);
	l->v = ARENA_ARRAY(&l->arena, struct mcp_tool, MCP_TOOLS_MAX + 1);
	if (!l->v)
		e = E_NOMEM;
	for (size_t i = 0; i < n && e == OK; i++)
		e = read_page(s, l, &scratch, pages[i]);
	for (size_t i = 0; i < s->wanted_n && e == OK; i++)
		if (!there(l, s->wanted[i]))
			LOG(LOG_WARN, "tool.mcp", "an MCP server does not offer a tool that tools.file names",
			    LF_STR("server", s->name), LF_STR("tool", s->wanted[i]));
	arena_release(&scratch);
	if (e != OK) {
		mcp_list_free(l);
		return e;
	}
	*out = l;
	return OK;
}

void mcp_list_free(struct mcp_list *l)
{
	if (!l)
		return;
	arena_release(&l->arena);
	free(l);
}
