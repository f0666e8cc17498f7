/* What a request goes through before its handler, in the order of the contract: draining, Host, Origin and CORS, authentication,
 * route and method, rights, query, body size, content type. Runs in the request's fiber, as authentication may park.
 *
 * Invariant: admitted is set only when a principal is known or the route is public. */
#include <arpa/inet.h>
#include <string.h>

#include "http/internal.h"

static const char cors_headers[] =
	"authorization, content-type, accept, if-match, if-none-match, idempotency-key, x-request-id, traceparent, x-api-key, "
	"x-cenote-user, x-cenote-thread, x-cenote-tools, x-cenote-why, last-event-id, mcp-protocol-version, mcp-session-id, "
	"mcp-method, mcp-name";

static bool ends_with(struct str name, struct str end)
{
	return name.n > end.n && str_ieq(str_sub(name, name.n - end.n, name.n), end);
}

/* A name that nobody on the internet owns, who could make it mean this machine: without a dot, below localhost or internal, or an
 * address. */
static bool is_local(struct str name)
{
	char text[64];
	struct in6_addr address;

	if (name.n && name.p[name.n - 1] == '.')
		name.n--;
	if (ends_with(name, STR(".localhost")) || ends_with(name, STR(".internal")) ||
	    (str_chr(name, '.', 0) < 0 && str_chr(name, '[', 0) < 0))
		return true;
	if (name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']')
		name = str_sub(name, 1, name.n - 1);
	if (name.n >= sizeof text)
		return false;
	memcpy(text, name.p, name.n);
	text[name.n] = 0;
	return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

static bool host_ok(const struct http_req *rq)
{
	const struct http_options *o = &rq->server->opt;
	struct str host = rq->known[H_HOST], name = host;
	bool local = o->local_hosts && !rq->conn->is_unix;

	if (o->allowed_hosts_n == 0 && !local)
		return true;
	/* "[::1]:80" -> "[::1]", "a.b:80" -> "a.b" */
	if (host.n && host.p[0] != '[')
		str_cut(host, ':', &name, &(struct str){NULL, 0});
	else if (str_chr(host, ']', 0) >= 0)
		name = str_sub(host, 0, (size_t)str_chr(host, ']', 0) + 1);
	for (size_t i = 0; i < o->allowed_hosts_n; i++)
		if (str_ieq(o->allowed_hosts[i], host) || str_ieq(o->allowed_hosts[i], name))
			return true;
	return o->allowed_hosts_n == 0 && (is_local(name) || host.n == 0);
}

static bool origin_listed(const struct http_req *rq)
{
	const struct http_options *o = &rq->server->opt;

	for (size_t i = 0; i < o->cors_origins_n; i++)
		if (str_eq(o->cors_origins[i], rq->known[H_ORIGIN]) || str_eq(o->cors_origins[i], STR("*")))
			return true;
	return false;
}

/* A page of this very server: scheme://Host. */
static bool origin_own(const struct http_req *rq)
{
	struct str origin = rq->known[H_ORIGIN];
	ptrdiff_t at = str_chr(origin, ':', 0);

	return at >= 0 && str_starts(str_sub(origin, (size_t)at, origin.n), STR("://")) &&
	       str_ieq(str_sub(origin, (size_t)at + 3, origin.n), rq->known[H_HOST]);
}

static bool is_safe(struct str m)
{
	return str_eq(m, STR("GET")) || str_eq(m, STR("HEAD")) || str_eq(m, STR("OPTIONS"));
}

static bool is_preflight(const struct http_req *rq)
{
	return rq->cors && rq->known_n[H_AC_METHOD] && str_eq(rq->method, STR("OPTIONS"));
}

static void preflight(struct http_req *rq)
{
	char allow[96];

	router_allow(rq->server->router, &rq->arena, rq->path, allow);
	rs_header(rq, "Access-Control-Allow-Methods", str_c(allow[0] ? allow : "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
	rs_header(rq, "Access-Control-Allow-Headers", str_c(cors_headers));
	rs_header(rq, "Access-Control-Max-Age", STR("600"));
	if (str_ieq(rq->known[H_AC_PRIVATE], STR("true")))
		rs_header(rq, "Access-Control-Allow-Private-Network", STR("true"));
	rs_empty(rq, 204);
}

static bool check_origin(struct http_req *rq, bool public_route)
{
	if (!public_route && !host_ok(rq)) {
		(void)err_set(E_DENIED, rq->server->opt.allowed_hosts_n
						? "the Host header names a host that is not in http.allowed_hosts"
						: "the Host header has a name of the internet, and not localhost or an "
						  "address; without keys (auth) http.allowed_hosts lists those that are allowed");
		rs_fail(rq, 403);
		return false;
	}
	if (!rq->known_n[H_ORIGIN])
		return true;
	rq->cors = origin_listed(rq);
	if (is_preflight(rq)) {
		preflight(rq);
		return false;
	}
	/* A server without keys trusts whoever reaches it; a page from elsewhere in the user's browser is not who is meant. */
	if (!rq->cors && !is_safe(rq->method) && !origin_own(rq)) {
		(void)err_set(E_DENIED, "requests from this Origin are not allowed; cors.origins lists those that are");
		rs_fail(rq, 403);
		return false;
	}
	return true;
}

static bool authenticate(struct http_req *rq)
{
	const struct http_options *o = &rq->server->opt;
	enum err e = E_DENIED;

	diag_clear();
	if (o->auth)
		e = o->auth(o->auth_ctx, &rq->arena, rq, rq->conn->peer_uid, &rq->principal);
	if (e == OK) {
		rq->has_principal = true;
		return true;
	}
	if (e == E_DENIED && diag_get()->code != E_DENIED)
		(void)err_kind(E_DENIED, ERR_UNAUTHENTICATED, "no valid credentials were given");
	rs_error(rq, e);
	return false;
}

static void answer_unmatched(struct http_req *rq)
{
	bool options = str_eq(rq->method, STR("OPTIONS"));

	if (options && str_eq(rq->path, STR("*"))) {
		rs_empty(rq, 204);
	} else if (rq->matched == MATCH_MALFORMED) {
		(void)err_kind(E_INVALID, ERR_SYNTAX,
			       "the path is malformed: escapes are %%XX, not %%00, and the text must be UTF-8");
		rs_fail(rq, 400);
	} else if (rq->matched == MATCH_NONE) {
		(void)err_set(E_NOT_FOUND, "no such route");
		rs_fail(rq, 404);
	} else {
		rs_header(rq, "Allow", str_c(rq->match.allow));
		if (options) {
			rs_empty(rq, 204);
			return;
		}
		(void)err_set(E_INVALID, "this route has no method %.*s; it has %s", STR_ARG(str_sub(rq->method, 0, 32)),
			      rq->match.allow);
		rs_fail(rq, 405);
	}
}

static bool is_json(struct str type)
{
	struct str rest;

	str_cut(type, ';', &type, &rest);
	type = str_trim(type);
	return str_ieq(type, STR("application/json")) || (type.n > 5 && str_ieq(str_sub(type, type.n - 5, type.n), STR("+json")));
}

static bool check_body(struct http_req *rq)
{
	unsigned flags = rq->ep->route->flags;
	bool needed = (flags & R_BODY) && !(flags & R_BODY_OPTIONAL);

	rq->body_limit = (flags & (R_BODY | R_RAW_BODY)) ? rq->server->opt.max_body : BODY_INLINE;
	if ((flags & R_LARGE_BODY) && rq->server->opt.max_large_body) {
		rq->body_limit = rq->server->opt.max_large_body;
		rq->arena.ceiling = 2 * rq->body_limit + ARENA_EXTRA;
	}
	if (rq->content_length > 0 && (uint64_t)rq->content_length > rq->body_limit) {
		(void)err_kind(E_LIMIT, ERR_SIZE, "the body has %lld bytes, at most %zu are allowed", (long long)rq->content_length,
			       rq->body_limit);
		rs_fail(rq, 413);
		return false;
	}
	if (needed && rq->content_length < 0 && !rq->known_n[H_TRANSFER_ENCODING] &&
	    (str_eq(rq->method, STR("POST")) || str_eq(rq->method, STR("PUT")) || str_eq(rq->method, STR("PATCH")))) {
		(void)err_kind(E_INVALID, ERR_SYNTAX, "this request needs a body, with Content-Length or chunked");
		rs_fail(rq, 411);
		return false;
	}
	if ((flags & R_BODY) && !(flags & (R_ANY_TYPE | R_RAW_BODY)) && rq->known_n[H_CONTENT_TYPE] && rq->has_body &&
	    !is_json(rq->known[H_CONTENT_TYPE])) {
		(void)err_set(E_INVALID, "the Content-Type of the body must be application/json");
		rs_fail(rq, 415);
		return false;
	}
	return true;
}

static void set_log_context(struct http_req *rq)
{
	rq->log_fields[0] = LF_STR("request_id", rq->id);
	rq->log_fields[1] = LF_STR("method", rq->method);
	rq->log_fields[2] = LF_C("route", rq->ep ? rq->ep->route->path : "none");
	rq->log_fields[3] = LF_C("trace_id", rq->trace);
	log_context(rq->log_fields, rq->trace[0] ? 4 : 3);
}

void rs_trace(struct http_req *rq, struct str id)
{
	if (id.n != TRACE_ID_HEX)
		return;
	memcpy(rq->trace, id.p, id.n);
	rs_header(rq, "X-Cenote-Trace", id);
	set_log_context(rq);
}

void admit_early(struct http_req *rq)
{
	bool public_route;

	rq->matched = router_match(rq->server->router, &rq->arena, rq->method, rq->path, &rq->match);
	rq->ep = rq->matched == MATCH_OK ? rq->match.ep : NULL;
	public_route = rq->ep && (rq->ep->route->flags & R_PUBLIC);
	set_log_context(rq);
	if (rq->server->draining && !public_route) {
		(void)err_set(E_BUSY, "the server is stopping");
		rs_fail(rq, 503);
		return;
	}
	if (!check_origin(rq, public_route))
		return;
	if (!public_route && !authenticate(rq))
		return;
	if (!rq->ep) {
		answer_unmatched(rq);
		return;
	}
	if (!public_route && (rq->principal.rights & rq->ep->route->rights) != rq->ep->route->rights) {
		(void)err_set(E_DENIED, "these credentials lack the right to do this");
		rs_fail(rq, 403);
		return;
	}
	if (rq->query.n && !request_parse_query(rq)) {
		rs_error(rq, diag_get()->code);
		return;
	}
	if (!check_body(rq))
		return;
	rq->admitted = true;
}

void request_time(const struct http_req *rq, uint64_t from_ns)
{
	const struct http_options *o = &rq->server->opt;
	bool lasting = rq->ep && (rq->ep->route->flags & R_LONG) && o->long_timeout_ms;
	uint32_t ms = lasting ? o->long_timeout_ms : o->request_timeout_ms;

	if (ms)
		fiber_set_deadline(from_ns + (uint64_t)ms * 1000000u);
}

void admit_and_handle(struct http_req *rq)
{
	if (!rq->admitted) {
		admit_early(rq);
		if (!rq->admitted)
			return;
	} else {
		set_log_context(rq);
	}
	diag_clear();
	rq->ep->route->handler(rq, rq->ep->ctx);
	if (!rq->answered) {
		(void)err_set(E_INTERNAL, "the handler of %s %s did not answer", rq->ep->route->method, rq->ep->route->path);
		rs_fail(rq, 500);
	}
}
