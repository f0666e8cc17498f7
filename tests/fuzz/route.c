/* Fuzz target: route table, path parameters, percent-decoding, query parameters. The input is "METHOD TARGET"; without a blank all
 * of it is the target. */
#include <stdlib.h>

#include "base/utf8.h"
#include "http/client.h"
#include "http/internal.h"

static void nothing(struct http_req *rq, void *ctx)
{
	(void)rq, (void)ctx;
}

static const struct http_route routes[] = {
	{"GET", "/", nothing, 0, 0, "root"},
	{"GET", "/store/items", nothing, 0, 0, "items"},
	{"PUT", "/store/items", nothing, 0, 0, "put"},
	{"GET", "/threads/{id}", nothing, 0, 0, "thread"},
	{"POST", "/threads/search", nothing, 0, 0, "search"},
	{"GET", "/threads/{id}/state/{checkpoint}", nothing, 0, 0, "state"},
	{"GET", "/runs/{id:uuid}", nothing, 0, 0, "uuid"},
	{"GET", "/runs/{n:int}", nothing, 0, 0, "int"},
	{"GET", "/runs/{name}", nothing, 0, 0, "name"},
	{"GET", "/a/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", nothing, 0, 0, "eight"},
	{"GET", "/files/{path...}", nothing, 0, 0, "rest"},
};

static struct http_router *router(void)
{
	static struct http_router *r;

	if (!r &&
	    (http_router_new(&r) != OK || http_router_add(r, "/", routes, sizeof routes / sizeof routes[0], NULL, NULL) != OK))
		abort();
	return r;
}

static void check_match(const struct match *m)
{
	if (!m->ep)
		abort();
	for (unsigned i = 0; i < m->ep->params_n; i++) {
		struct str v = m->values[i];

		/* What handlers rely on: text, without NUL. */
		if (!v.p || !utf8_valid(v) || memchr(v.p, '\0', v.n))
			abort();
	}
}

static void check_query(struct http_req *rq)
{
	struct str *all, v;
	size_t n;
	int64_t i;
	bool b;

	if (!request_parse_query(rq))
		return;
	for (size_t k = 0; k < rq->params_n; k++)
		if (!utf8_valid(rq->params[k].name) || !utf8_valid(rq->params[k].value))
			abort();
	v = rq_query(rq, "limit");
	if (rq_query_all(rq, "limit", &all, &n) == OK && (v.p != NULL) != (n > 0))
		abort();
	if (rq_query_int(rq, "limit", 1, 1000, 10, &i) == OK && (i < 1 || i > 1000))
		abort();
	if (rq_query_bool(rq, "limit", false, &b) != OK && !v.p)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str method, target, in = str_of((const char *)data, size), dec;
	struct http_req rq = {0};
	struct match m = {0};

	if (size > URL_MAX)
		return 0;
	if (!str_cut(in, ' ', &method, &target)) {
		target = in;
		method = STR("GET");
	}
	arena_init(&rq.arena, 1 << 20);
	str_cut(target, '?', &rq.path, &rq.query);
	if (router_match(router(), &rq.arena, method, rq.path, &m) == MATCH_OK)
		check_match(&m);
	router_allow(router(), &rq.arena, rq.path, m.allow);
	(void)router_errors(router(), rq.path);
	check_query(&rq);
	/* Encoding and decoding are inverse to each other. */
	dec = url_decode(&rq.arena, url_encode(&rq.arena, rq.path), true);
	if (!memchr(data, '\0', size) && !str_eq(dec, rq.path))
		abort();
	arena_release(&rq.arena);
	return 0;
}
