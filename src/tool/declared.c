/* The file that declares tools: {"tools": [..]} of HTTP services {"name", "description", "parameters", "method", "url", "headers",
 * "body", "timeout_ms"} and of MCP servers {"mcp", "url", "headers", "tools", "prefix", "timeout_ms"}.
 *
 * Invariants
 *  1. What is wrong in the file stops the start, with the place and what is allowed; no tool is left out silently.
 *  2. Values of secrets come from variables and files that the file names. They lie in the arena, which is wiped at the end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tool/mcp_impl.h"

enum { TIMEOUT_MIN = 10, TIMEOUT_MAX = 600000, DESCRIPTION_MAX = 4096 };

static const struct json_limits limits = {.depth = 64, .nodes = 100000, .bytes = HTTP_TOOLS_FILE_MAX};

/* ------------------------------------------------------------------- sentences */

enum err declared_at(const struct http_tools *t, const char *where, enum err e)
{
	unsigned line = 1, column = 1;
	struct diag d = *diag_get();

	if (!where)
		return err_set(e, "%s: %s", t->opt->path, d.text);
	for (const char *p = t->text.p; p < where; p++) {
		column = *p == '\n' ? 1 : column + 1;
		line += *p == '\n';
	}
	return err_set(e, "%s:%u:%u: %s", t->opt->path, line, column, d.text);
}

enum err declared_string(struct http_tools *t, struct jval v, const char *name, size_t most, struct str *out)
{
	*out = j_is(v, JSON_STRING) ? j_str(&t->arena, v) : STR("");
	if (!out->p)
		return E_NOMEM;
	if (!out->n || out->n > most)
		return BAD(t, v, "%s must be a text of 1 to %zu bytes", name, most);
	return OK;
}

/* A member that must be there. */
static enum err need(struct http_tools *t, struct jval tool, const char *name, struct jval *out)
{
	*out = j_get(tool, str_c(name));
	return j_ok(*out) ? OK : BAD(t, tool, "the tool lacks \"%s\"", name);
}

/* ------------------------------------------------------------------------ tools */

static enum err check_placeholders(struct http_tools *t, struct jval at_value, struct str text, struct jval properties)
{
	size_t at_byte = 0, begin;
	struct str name;

	while (placeholder_next(text, &at_byte, &begin, &name))
		if (!j_ok(j_get(properties, name)))
			return BAD(t, at_value, "{%.*s} is not among the properties of the parameters", STR_ARG(name));
	return OK;
}

static enum err read_method(struct http_tools *t, struct jval v, struct http_tool *tool)
{
	static const struct {
		const char *name;
		bool sends;
	} methods[] = {{"GET", false}, {"POST", true}, {"PUT", true}, {"PATCH", true}, {"DELETE", false}};

	for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
		if (!j_ok(v) || j_str_eq(v, str_c(methods[i].name))) {
			tool->method = methods[i].name;
			tool->sends = methods[i].sends;
			return OK;
		}
	return BAD(t, v, "method must be GET, POST, PUT, PATCH or DELETE");
}

static enum err read_parameters(struct http_tools *t, struct jval v, struct http_tool *tool)
{
	tool->tool.parameters = j_ok(v) ? j_raw(v) : STR("{\"type\":\"object\",\"properties\":{}}");
	if (!j_ok(v))
		return OK;
	enum err e = tool_schema_check(&t->arena, v, "parameters");

	return e == OK ? OK : declared_at(t, j_raw(v).p, e);
}

static enum err read_body(struct http_tools *t, struct jval v, struct jval properties, struct http_tool *tool)
{
	tool->body = str_of(NULL, 0);
	if (!j_ok(v))
		return OK;
	if (!tool->sends)
		return BAD(t, v, "a %s has no body", tool->method);
	tool->body = j_raw(v);
	return check_placeholders(t, v, tool->body, properties);
}

static enum err read_name(struct http_tools *t, struct jval v, struct http_tool *tool)
{
	TRY(declared_string(t, v, "name", TOOL_NAME_MAX, &tool->tool.name));
	if (!tool_name_ok(tool->tool.name))
		return BAD(t, v, "name must be 1 to %d of A-Z a-z 0-9 _ -", TOOL_NAME_MAX);
	for (size_t i = 0; i + 1 < t->n; i++)
		if (str_eq(t->v[i].tool.name, tool->tool.name))
			return BAD(t, v, "there is a tool \"%.*s\" already", STR_ARG(tool->tool.name));
	return OK;
}

static enum err read_timeout(struct http_tools *t, struct jval v, uint32_t *out)
{
	int64_t ms = 0;

	if (j_ok(v) && (!j_i64(v, &ms) || ms < TIMEOUT_MIN || ms > TIMEOUT_MAX))
		return BAD(t, v, "timeout_ms must be a whole number from %d to %d", TIMEOUT_MIN, TIMEOUT_MAX);
	*out = (uint32_t)ms;
	return OK;
}

static enum err read_tool(struct http_tools *t, struct jval v, struct http_tool *tool)
{
	static const struct str members[] = {STR_INIT("name"),	 STR_INIT("description"), STR_INIT("parameters"),
					     STR_INIT("method"), STR_INIT("url"),	  STR_INIT("headers"),
					     STR_INIT("body"),	 STR_INIT("timeout_ms")};
	struct jval name, description, url, parameters = j_get(v, STR("parameters")), timeout = j_get(v, STR("timeout_ms"));
	struct jval properties = j_get(parameters, STR("properties"));

	if (j_only(v, members, sizeof members / sizeof members[0]) != OK)
		return declared_at(t, j_raw(v).p, E_INVALID);
	TRY(need(t, v, "name", &name));
	TRY(need(t, v, "description", &description));
	TRY(need(t, v, "url", &url));
	TRY(read_name(t, name, tool));
	TRY(declared_string(t, description, "description", DESCRIPTION_MAX, &tool->tool.description));
	TRY(read_parameters(t, parameters, tool));
	TRY(read_method(t, j_get(v, STR("method")), tool));
	TRY(read_body(t, j_get(v, STR("body")), properties, tool));
	TRY(service_headers(t, j_get(v, STR("headers")), &tool->to));
	TRY(read_timeout(t, timeout, &tool->tool.timeout_ms));
	tool->tool.of_user = tool->to.of_user;
	TRY(service_url(t, url, &tool->to));
	return check_placeholders(t, url, tool->to.path, properties);
}

/* ------------------------------------------------------------------ MCP servers */

static enum err read_wanted(struct http_tools *t, struct jval v, struct mcp_server *s)
{
	struct jval one;

	if (!j_ok(v))
		return OK;
	if (!j_is(v, JSON_ARRAY) || j_node(v)->count < 1 || j_node(v)->count > MCP_TOOLS_MAX)
		return BAD(t, v, "tools must be a list of 1 to %d names", MCP_TOOLS_MAX);
	s->wanted = ARENA_ARRAY(&t->arena, struct str, j_node(v)->count);
	if (!s->wanted)
		return E_NOMEM;
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &one);)
		TRY(declared_string(t, one, "the name of a tool", MCP_NAME_MAX, &s->wanted[s->wanted_n++]));
	return OK;
}

/* What the protocol sets by itself. */
static enum err check_headers(struct http_tools *t, struct jval at_value, const struct mcp_server *s)
{
	static const char *const ours[] = {"accept", "mcp-session-id", "mcp-protocol-version"};

	for (size_t i = 0; i < s->to.headers_n; i++)
		for (size_t k = 0; k < sizeof ours / sizeof ours[0]; k++)
			if (str_ieq(s->to.headers[i].name, str_c(ours[k])))
				return BAD(t, at_value, "there can be no header %s: the protocol sets it", ours[k]);
	return OK;
}

/* before: the servers that have been read already. */
static enum err read_server_name(struct http_tools *t, struct jval v, const struct mcp_server *before, size_t n,
				 struct mcp_server *s)
{
	TRY(declared_string(t, v, "mcp", TOOL_NAME_MAX, &s->name));
	if (!tool_name_ok(s->name))
		return BAD(t, v, "mcp, the server's name, must be 1 to %d of A-Z a-z 0-9 _ -", TOOL_NAME_MAX);
	for (size_t i = 0; i < n; i++)
		if (str_eq(before[i].name, s->name))
			return BAD(t, v, "there is an MCP server \"%.*s\" already", STR_ARG(s->name));
	return OK;
}

static enum err read_server(struct http_tools *t, struct jval v, struct mcp_server *s)
{
	static const struct str members[] = {STR_INIT("mcp"),	STR_INIT("url"),    STR_INIT("headers"),
					     STR_INIT("tools"), STR_INIT("prefix"), STR_INIT("timeout_ms")};
	struct jval url, headers = j_get(v, STR("headers")), prefix = j_get(v, STR("prefix"));

	if (j_only(v, members, sizeof members / sizeof members[0]) != OK)
		return declared_at(t, j_raw(v).p, E_INVALID);
	TRY(need(t, v, "url", &url));
	TRY(service_headers(t, headers, &s->to));
	TRY(check_headers(t, headers, s));
	TRY(read_wanted(t, j_get(v, STR("tools")), s));
	if (j_ok(prefix))
		TRY(declared_string(t, prefix, "prefix", MCP_PREFIX_MAX, &s->prefix));
	if (s->prefix.n && !tool_name_ok(s->prefix))
		return BAD(t, prefix, "prefix must be 1 to %d of A-Z a-z 0-9 _ -", MCP_PREFIX_MAX);
	TRY(read_timeout(t, j_get(v, STR("timeout_ms")), &s->timeout_ms));
	return service_url(t, url, &s->to);
}

static bool is_server(struct jval v)
{
	return j_ok(j_get(v, STR("mcp")));
}

/* Those of the list that are servers. */
static enum err read_servers(struct http_tools *t, struct jval list)
{
	struct jval v;
	size_t n = 0;

	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v);) {
		n += is_server(v);
		if (n > MCP_SERVERS_MAX)
			return BAD(t, v, "there are more than %d MCP servers", MCP_SERVERS_MAX);
	}
	if (!n)
		return OK;
	t->mcp = ARENA_ARRAY(&t->arena, struct mcp_server, n);
	if (!t->mcp)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v);) {
		struct mcp_server *s = &t->mcp[t->mcp_n];

		if (!is_server(v))
			continue;
		*s = (struct mcp_server){.max_result = t->opt->max_result};
		TRY(read_server_name(t, j_get(v, STR("mcp")), t->mcp, t->mcp_n++, s));
		TRY(read_server(t, v, s));
	}
	return mcp_open(t->mcp, n, &t->servers);
}

/* ------------------------------------------------------------------------- file */

static enum err read_file(struct http_tools *t)
{
	FILE *f = fopen(t->opt->path, "re");
	struct buf b;
	size_t n;

	if (!f)
		return err_set(E_IO, "%s cannot be read: %s", t->opt->path, strerror(errno));
	buf_init(&b, &t->arena, 2 * HTTP_TOOLS_FILE_MAX);
	do {
		char *p = buf_room(&b, 65536);

		n = p ? fread(p, 1, 65536, f) : 0;
		buf_added(&b, n);
	} while (n > 0 && b.n <= HTTP_TOOLS_FILE_MAX);
	n = (size_t)ferror(f);
	fclose(f);
	if (n)
		return err_set(E_IO, "%s cannot be read: %s", t->opt->path, strerror(errno));
	if (b.n > HTTP_TOOLS_FILE_MAX)
		return err_set(E_INVALID, "%s has more than %zu bytes", t->opt->path, HTTP_TOOLS_FILE_MAX);
	t->text = b.n ? buf_slice(&b) : STR("");
	return b.err;
}

static enum err read_all(struct http_tools *t)
{
	static const struct str members[] = {STR_INIT("tools")};
	struct json *doc = ARENA_NEW(&t->arena, struct json);
	struct jval list, v;
	enum err e;

	TRY(read_file(t));
	e = doc ? json_parse(&t->arena, t->text, &limits, doc) : E_NOMEM;
	if (e != OK)
		return declared_at(t, NULL, e);
	list = j_get(json_root(doc), STR("tools"));
	if (j_only(json_root(doc), members, 1) != OK || !j_is(list, JSON_ARRAY) || j_node(list)->count > TOOLS_MAX)
		return BAD(t, json_root(doc), "the file must be {\"tools\": [..]} with at most %d tools", TOOLS_MAX);
	t->v = ARENA_ARRAY(&t->arena, struct http_tool, j_node(list)->count + 1);
	t->box = ARENA_ARRAY(&t->arena, const struct tool *, j_node(list)->count + 1);
	if (!t->v || !t->box)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v);) {
		struct http_tool *tool = &t->v[t->n];

		if (!j_is(v, JSON_OBJECT))
			return BAD(t, v, "a tool must be an object");
		if (is_server(v))
			continue;
		*tool = (struct http_tool){.tool = {.ops = &http_tool_ops}, .max_result = t->opt->max_result};
		t->box[t->n++] = &tool->tool;
		TRY(read_tool(t, v, tool));
	}
	return read_servers(t, list);
}

enum err http_tools_open(const struct http_tools_options *opt, struct http_tools **out)
{
	struct http_tools *t = calloc(1, sizeof *t);
	enum err e;

	if (!t)
		return err_set(E_LIMIT, "out of memory for the tools");
	arena_init(&t->arena, (size_t)64 << 20);
	t->opt = opt;
	e = allow_parse(&t->arena, opt->allow_hosts, opt->allow_hosts_n, &t->allow);
	if (e != OK)
		(void)err_wrap(e, "tools.allow_hosts");
	else
		e = read_all(t);
	t->opt = NULL;
	if (e != OK) {
		struct diag d = *diag_get();

		http_tools_close(t);
		*diag_get() = d;
		return e;
	}
	*out = t;
	return OK;
}

void http_tools_close(struct http_tools *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		service_close(&t->v[i].to);
	mcp_close(t->servers);
	for (size_t i = 0; i < t->mcp_n; i++)
		service_close(&t->mcp[i].to);
	arena_release(&t->arena);
	free(t);
}

struct toolbox http_tools_box(const struct http_tools *t)
{
	return (struct toolbox){t->box, t->n};
}

struct mcp_servers *http_tools_servers(const struct http_tools *t)
{
	return t->servers;
}
