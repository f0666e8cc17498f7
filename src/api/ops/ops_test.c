/* Health, metrics, and the description against the route table. */
#include "api/testing.h"
#include "base/map.h"

static void health(void **state)
{
	static const struct step steps[] = {
		{"nobody", "GET", "/livez", NULL, NULL, 200, "=ok"},
		{"nobody", "GET", "/healthz", NULL, NULL, 200, "=ok"},
		{"nobody", "GET", "/readyz", NULL, NULL, 200, "=ok"},
		{"nobody", "GET", "/startupz", NULL, NULL, 200, "=ok"},
		{"nobody", "GET", "/health", NULL, NULL, 200, "={\"status\":\"healthy\"}"},
		{"nobody", "GET", "/livez?verbose=1", NULL, NULL, 200,
		 "{\"status\":\"ok\",\"checks\":[{\"name\":\"loop\",\"status\":\"ok\"}]"},
		{"nobody", "GET", "/readyz", "Accept: application/json\r\n", NULL, 200,
		 "{\"name\":\"store\",\"status\":\"ok\",\"ms\":"},
		{"nobody", "GET", "/livez?verbose=perhaps", NULL, NULL, 422, "urn:cenote:problem:invalid"},
	};

	RUN(*state, steps);
}

static void not_ready(void **state)
{
	struct api_bench *b = *state;
	struct reply r;

	atomic_store(&b->ops.ready, false);
	r = call(b, "nobody", "GET", "/readyz?verbose=1", NULL, NULL);
	assert_int_equal(r.status, 503);
	assert_non_null(strstr(r.body, "{\"status\":\"unready\""));
	reply_free(&r);
	r = call(b, "nobody", "GET", "/startupz", NULL, NULL); /* was ready once */
	assert_int_equal(r.status, 200);
	reply_free(&r);
	atomic_store(&b->ops.ready, true);
	atomic_store(&b->ops.asked_at_ns, 1); /* long ago */
	fake_store_fail(b->store, E_IO, 1);
	for (int i = 0; i < 2; i++) { /* the second takes the first one's answer: asked at most once a second */
		r = call(b, "nobody", "GET", "/readyz?verbose=1", NULL, NULL);
		assert_int_equal(r.status, 503);
		assert_non_null(strstr(r.body, "{\"name\":\"store\",\"status\":\"fail\",\"detail\":\"io\""));
		reply_free(&r);
	}
	atomic_store(&b->ops.asked_at_ns, 1);
	r = call(b, "nobody", "GET", "/readyz", NULL, NULL);
	assert_int_equal(r.status, 200);
	reply_free(&r);
}

/* Every sample belongs to a family whose TYPE came before, once. */
static void metrics(void **state)
{
	struct api_bench *b = *state;
	struct reply r;
	struct map types;
	struct str line, rest;
	size_t samples = 0;

	r = call(b, "nobody", "GET", "/metrics", NULL, NULL);
	assert_int_equal(r.status, 401);
	reply_free(&r);
	r = call(b, "ann", "GET", "/metrics", NULL, NULL);
	assert_int_equal(r.status, 200);
	assert_string_equal(header_of(&r, "content-type"), "text/plain; version=0.0.4; charset=utf-8");
	assert_non_null(strstr(r.body, "cenote_build_info{version="));
	assert_non_null(strstr(r.body, "\ncenote_store_up 1\n"));
	assert_non_null(strstr(r.body, "\ncenote_expired_total{kind=\"memory\"} 0\n"));
	map_init(&types);
	for (rest = str_of(r.body, r.body_n); rest.n > 0; samples++) {
		struct str name, tail;

		str_cut(rest, '\n', &line, &rest);
		if (str_starts(line, STR("# TYPE "))) {
			str_cut(str_sub(line, 7, line.n), ' ', &name, &tail);
			assert_null(map_get(&types, name));
			assert_int_equal(map_put(&types, name, b, NULL), OK);
		} else if (line.n > 0 && line.p[0] != '#') {
			size_t n = 0;

			while (n < line.n && (isalnum((unsigned char)line.p[n]) || line.p[n] == '_' || line.p[n] == ':'))
				n++;
			name = str_sub(line, 0, n);
			for (int i = 0; i < 3 && !map_get(&types, name); i++) {
				static const struct str ends[] = {STR_INIT("_bucket"), STR_INIT("_sum"), STR_INIT("_count")};

				if (str_ends(name, ends[i]))
					name = str_sub(name, 0, name.n - ends[i].n);
			}
			if (!map_get(&types, name))
				fail_msg("no TYPE before %.*s", STR_ARG(line));
		}
	}
	assert_true(samples > 20);
	map_release(&types);
	reply_free(&r);
	b->ops.no_metrics = true;
	r = call(b, "ann", "GET", "/metrics", NULL, NULL);
	assert_int_equal(r.status, 404);
	reply_free(&r);
	b->ops.no_metrics = false;
}

/* ---------------------------------------------------------- the description */

struct walk {
	struct arena a;
	struct json doc;
	struct map seen; /* operationId -> route */
};

static void on_route(void *ctx, const struct http_route *route)
{
	struct walk *w = ctx;
	char method[16] = "", path[128];
	const char *rest = strstr(route->path, "...}");
	struct jval op;

	/* The description has no sign for "the rest of the path". */
	snprintf(path, sizeof path, "%.*s%s", rest ? (int)(rest - route->path) : (int)strlen(route->path), route->path,
		 rest ? rest + 3 : "");

	for (size_t i = 0; route->method[i] && i < sizeof method - 1; i++)
		method[i] = (char)tolower((unsigned char)route->method[i]);
	op = j_get(j_get(j_get(json_root(&w->doc), STR("paths")), str_c(path)), str_c(method));
	if (!j_ok(op))
		fail_msg("%s %s is not described", route->method, route->path);
	if (!j_str_eq(j_get(op, STR("operationId")), str_c(route->operation)))
		fail_msg("%s %s is described under another operationId than %s", route->method, route->path, route->operation);
	if (!j_is(j_get(op, STR("responses")), JSON_OBJECT))
		fail_msg("%s has no responses", route->operation);
	if ((route->flags & R_BODY) && !j_ok(j_get(op, STR("requestBody"))))
		fail_msg("%s takes a body that is not described", route->operation);
	if (((route->flags & R_PUBLIC) != 0) != j_ok(j_get(op, STR("security"))))
		fail_msg("%s: public and \"security\" do not agree", route->operation);
	assert_null(map_get(&w->seen, str_c(route->operation)));
	assert_int_equal(map_put(&w->seen, str_c(route->operation), w, NULL), OK);
}

static void description(void **state)
{
	struct api_bench *b = *state;
	struct jval path, methods, method, op;
	struct walk w;
	struct reply r;

	arena_init(&w.a, 32 << 20);
	map_init(&w.seen);
	assert_int_equal(json_parse(&w.a, api_openapi(), NULL, &w.doc), OK);
	http_router_walk(b->router, on_route, &w);
	for (struct j_iter p = j_iter(j_get(json_root(&w.doc), STR("paths"))); j_next(&p, &path, &methods);)
		for (struct j_iter m = j_iter(methods); j_next(&m, &method, &op);) {
			struct str id = j_str(&w.a, j_get(op, STR("operationId")));

			struct jval tag = {0};
			struct j_iter tags = j_iter(j_get(op, STR("tags")));

			/* The program's own routes are not on this router, nor is the one that two protocols share. */
			if ((j_next(&tags, NULL, &tag) && j_str_eq(tag, STR("admin"))) || str_eq(id, STR("createAgentResponse")))
				continue;
			if (!map_get(&w.seen, id))
				fail_msg("%.*s is described, but there is no such route", STR_ARG(id));
		}
	r = call(b, "nobody", "GET", "/openapi.json", NULL, NULL);
	assert_int_equal(r.status, 200);
	assert_true(str_eq(str_of(r.body, r.body_n), api_openapi()));
	reply_free(&r);
	map_release(&w.seen);
	arena_release(&w.a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(health),
		cmocka_unit_test(not_ready),
		cmocka_unit_test(metrics),
		cmocka_unit_test(description),
	};

	return cmocka_run_group_tests(tests, api_start, api_stop);
}
