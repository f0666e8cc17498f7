/* Fuzz target: methods, paths and queries against a table of routes of every shape. Whatever is asked, the answer is one of the
 * four; what matched decodes into the path; encoding and decoding are inverse. */
#include "http/client.h"
#include "http/internal.h"
#include "must.h"

static void handler(struct http_req *rq, void *ctx)
{
	(void)rq;
	(void)ctx;
}

static const struct http_route routes[] = {
	{"GET", "/items", handler, 0, 0, "a"},		 {"PUT", "/items", handler, 0, 0, "b"},
	{"GET", "/items/{id}", handler, 0, 0, "c"},	 {"DELETE", "/items/{id}", handler, 0, 0, "d"},
	{"GET", "/t/{id:uuid}/x", handler, 0, 0, "e"},	 {"GET", "/t/{n:int}", handler, 0, 0, "f"},
	{"GET", "/files/{path...}", handler, 0, 0, "g"}, {"POST", "/items/{id}/parts/{part}", handler, 0, 0, "h"},
};

static struct http_router *table(void)
{
	static struct http_router *r;

	if (!r) {
		MUST(http_router_new(&r) == OK);
		MUST(http_router_add(r, "/", routes, sizeof routes / sizeof routes[0], NULL, NULL) == OK);
	}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str method, path, back, in = str_of((const char *)data, size);
	struct match m = {0};
	struct arena a;
	char allow[96];

	arena_init(&a, (size_t)16 << 20);
	str_cut(in, ' ', &method, &path);
	switch (router_match(table(), &a, method, path, &m)) {
	case MATCH_OK:
		MUST(m.ep != NULL && m.ep->params_n <= PARAMS_MAX);
		for (unsigned i = 0; i < m.ep->params_n; i++)
			MUST(m.values[i].p != NULL && m.values[i].n <= path.n);
		break;
	case MATCH_METHOD:
		MUST(m.allow[0] != '\0' && strlen(m.allow) < sizeof m.allow);
		break;
	case MATCH_NONE:
	case MATCH_MALFORMED:
		break;
	}
	router_allow(table(), &a, path, allow);
	MUST(memchr(allow, '\0', sizeof allow) != NULL);
	(void)router_errors(table(), path);
	back = url_encode(&a, in);
	MUST(back.p != NULL);
	back = url_decode(&a, back, true);
	MUST(memchr(data, '\0', size) ? back.p == NULL : str_eq(back, in));
	back = url_decode(&a, in, size % 2);
	MUST(back.p == NULL || back.n <= in.n);
	arena_release(&a);
	return 0;
}
