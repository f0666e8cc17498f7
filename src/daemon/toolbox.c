/* Opening the tools. */
#include "daemon/toolbox.h"

#define TOOLS_BYTES ((size_t)16 << 20)

static enum err add(struct tools *t, const struct toolbox *more)
{
	const struct tool **v = ARENA_ARRAY(&t->arena, const struct tool *, t->box.n + more->n + 1);
	size_t n = 0;

	if (!v)
		return E_NOMEM;
	for (size_t i = 0; i < t->box.n; i++)
		v[n++] = t->box.v[i];
	for (size_t i = 0; i < more->n; i++) {
		if (toolbox_find(&t->box, more->v[i]->name))
			return err_set(E_INVALID, "there are two tools \"%.*s\"", STR_ARG(more->v[i]->name));
		v[n++] = more->v[i];
	}
	if (n > TOOLS_MAX)
		return err_set(E_INVALID, "there are more than %d tools", TOOLS_MAX);
	t->box = (struct toolbox){v, n};
	return OK;
}

static enum err open_http(const struct config *c, struct tools *out)
{
	const struct http_tools_options opt = {
		.path = arena_cstr(&out->arena, c->tools_file),
		.allow_hosts = c->tools_allow_hosts.v,
		.allow_hosts_n = c->tools_allow_hosts.n,
		.max_result = (size_t)c->tools_max_result,
		.ca_file = c->tools_ca_file,
	};

	return opt.path ? http_tools_open(&opt, &out->http) : E_NOMEM;
}

static enum err open_uc(const struct config *c, struct tools *out)
{
	const struct uc_options opt = {
		.host = c->tools_uc_host,
		.token = c->tools_uc_token,
		.warehouse = c->tools_uc_warehouse_id,
		.names = c->tools_uc_functions.v,
		.names_n = c->tools_uc_functions.n,
		.max_result = (size_t)c->tools_max_result,
		.timeout_ms = (uint32_t)c->tools_uc_timeout,
		.ca_file = c->tools_ca_file,
	};
	enum err e = uc_open(&opt, &out->uc);

	return e == OK ? OK : err_wrap(e, "tools.uc_functions");
}

/* Functions that are named have their place, though they are described only later. */
static enum err reserve_names(struct tools *t)
{
	struct toolbox had = t->box, names = t->uc ? uc_names(t->uc) : (struct toolbox){NULL, 0};
	enum err e = add(t, &names);

	if (e != OK)
		return err_wrap(e, "tools.uc_functions");
	if (t->mcp)
		mcp_taken(t->mcp, t->box);
	t->box = had;
	return OK;
}

enum err tools_open(const struct config *c, struct memory *m, struct tools *out)
{
	struct toolbox some;
	enum err e = OK;

	*out = (struct tools){.box = {NULL, 0}};
	arena_init(&out->arena, TOOLS_BYTES);
	if ((c->tools_memory && config_layer(c, "long_term"))) {
		CHECK(memory_tools(m, &out->arena, &some));
		CHECK(add(out, &some));
	}
	if (c->tools_samples) {
		CHECK(sample_tools(m, &out->arena, &some));
		CHECK(add(out, &some));
	}
	if (c->tools_file.n) {
		CHECK(open_http(c, out));
		some = http_tools_box(out->http);
		e = add(out, &some);
		CHECK(e == OK ? OK : err_wrap(e, "tools.file"));
		out->mcp = http_tools_servers(out->http);
	}
	if (c->tools_uc_functions.n)
		CHECK(open_uc(c, out));
	CHECK(reserve_names(out));
out:
	if (e != OK)
		tools_close(out);
	return e;
}

void tools_close(struct tools *t)
{
	http_tools_close(t->http);
	uc_close(t->uc);
	arena_release(&t->arena);
	*t = (struct tools){.box = {NULL, 0}};
}
