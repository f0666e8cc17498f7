/* The operational routes, and the API's description. */
#include "api/ops/impl.h"

static const struct http_route routes[] = {
	{"GET", "/livez", ops_livez, 0, R_PUBLIC | R_QUIET, "livez"},
	{"GET", "/healthz", ops_livez, 0, R_PUBLIC | R_QUIET, "healthz"},
	{"GET", "/readyz", ops_readyz, 0, R_PUBLIC | R_QUIET, "readyz"},
	{"GET", "/startupz", ops_startupz, 0, R_PUBLIC | R_QUIET, "startupz"},
	{"GET", "/health", ops_health, 0, R_PUBLIC | R_QUIET, "health"},
	{"GET", "/metrics", ops_metrics, RIGHT_READ, R_QUIET, "metrics"},
	{"GET", "/openapi.json", ops_openapi, 0, R_PUBLIC | R_QUIET, "openapi"},
};

/* Made of docs/openapi.json by embed.awk at build time. */
extern const char openapi_text[];
extern const unsigned long openapi_size;

struct str api_openapi(void)
{
	return str_of(openapi_text, openapi_size);
}

void ops_openapi(struct http_req *rq, void *ctx)
{
	rs_json(rq, 200, api_openapi());
}

enum err api_ops_add(struct http_router *r, struct api_ops *o)
{
	return http_router_add(r, "/", routes, sizeof routes / sizeof routes[0], o, NULL);
}
