/* System routes, and the protocol's form of an error. */
#include "api/langgraph/impl.h"

#include <stdio.h>

/* What /info says of the LangGraph whose API this is. */
#define LANGGRAPH_PY_VERSION "1.2.22"

void lg_ok(struct http_req *rq, void *ctx)
{
	struct store *s = memory_store(ctx);
	bool check;
	enum err e = rq_query_bool(rq, "check_db", false, &check);

	if (e == OK && check && s->ops->ping(s) != OK) {
		/* Clients know 500 as "the database is down". */
		rs_json(rq, 500, STR("{\"detail\":\"the store does not answer\"}"));
		return;
	}
	if (e != OK)
		rs_error(rq, e);
	else
		rs_json(rq, 200, STR("{\"ok\":true}"));
}

void lg_info(struct http_req *rq, void *ctx)
{
	rs_json(rq, 200,
		STR("{\"version\":\"" CENOTE_VERSION "\",\"langgraph_py_version\":\"" LANGGRAPH_PY_VERSION
		    "\",\"flags\":{\"assistants\":false,\"crons\":false},\"metadata\":{}}"));
}

void lg_empty_list(struct http_req *rq, void *ctx)
{
	rs_json(rq, 200, STR("[]"));
}

void lg_zero(struct http_req *rq, void *ctx)
{
	rs_json(rq, 200, STR("0"));
}

static bool contains(struct str s, struct str part)
{
	for (size_t i = 0; i + part.n <= s.n; i++)
		if (memcmp(s.p + i, part.p, part.n) == 0)
			return true;
	return false;
}

#define NO_GRAPHS                                                                                                                  \
	"Cenote runs no graphs: there are no assistants, runs, crons or streams; run the graph in your program with Cenote as "    \
	"its "                                                                                                                     \
	"checkpointer, and read and change threads here"

void lg_no_graphs(struct http_req *rq, void *ctx)
{
	rs_error(rq, err_set(E_NOT_FOUND, NO_GRAPHS));
}

void lg_no_state_metadata(struct http_req *rq, void *ctx)
{
	rs_error(rq,
		 err_set(E_NOT_FOUND, "A checkpoint's metadata stays as it was written; PATCH the thread to change its metadata"));
}

/* Why a route of LangGraph's server is not here. */
static const char *not_offered(struct str path)
{
	static const struct str graph_parts[] = {STR_INIT("/runs"), STR_INIT("/stream"), STR_INIT("/commands")};
	bool graph = str_starts(path, STR("/assistants")) || str_starts(path, STR("/runs"));

	for (size_t i = 0; i < sizeof graph_parts / sizeof graph_parts[0]; i++)
		graph = graph || contains(path, graph_parts[i]);
	return graph ? NO_GRAPHS : "There is no such route";
}

const char *lg_error(struct http_req *rq, int status, struct buf *b)
{
	const char *text = diag_get()->text;
	struct jw w;

	if (status == 404 && !rq_route(rq))
		text = not_offered(rq_path(rq));
	else if (status == 500)
		text = "Internal error; the server's log has more under this request's id";
	else if (!text[0])
		text = "The request was refused";
	jw_init(&w, b);
	jw_obj(&w);
	jw_key(&w, "detail");
	jw_cstr(&w, text);
	jw_end_obj(&w);
	return "application/json";
}
