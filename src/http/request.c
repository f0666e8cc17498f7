/* The request as handlers see it: path, parameters, query, headers, body. Query parameters are parsed at the first question (or
 * before the handler, when there is a query); headers are looked up in libmicrohttpd's list. */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "http/client.h"
#include "http/internal.h"

#define QUERY_MAX 1000 /* parameters */

struct arena *rq_arena(struct http_req *rq)
{
	return &rq->arena;
}

struct str rq_method(struct http_req *rq)
{
	return rq->method;
}

struct str rq_path(struct http_req *rq)
{
	return rq->path;
}

const struct http_route *rq_route(struct http_req *rq)
{
	return rq->ep ? rq->ep->route : NULL;
}

struct str rq_id(struct http_req *rq)
{
	return rq->id;
}

const struct principal *rq_principal(struct http_req *rq)
{
	return rq->has_principal ? &rq->principal : NULL;
}

struct str rq_body(struct http_req *rq)
{
	return str_of(rq->body ? rq->body : "", rq->body_n);
}

struct str rq_param(struct http_req *rq, const char *name)
{
	struct str want = str_c(name);

	for (unsigned i = 0; rq->ep && i < rq->ep->params_n; i++)
		if (str_eq(rq->ep->params[i], want))
			return rq->match.values[i];
	return (struct str){NULL, 0};
}

/* ------------------------------------------------------------------- query */

static bool parse_one(struct http_req *rq, struct str item, struct query_param *out)
{
	struct str name, value;

	str_cut(item, '=', &name, &value);
	out->name = url_decode(&rq->arena, name, true);
	out->value = url_decode(&rq->arena, value, true);
	if (!out->name.p || !out->value.p || !utf8_valid(out->name) || !utf8_valid(out->value)) {
		(void)err_kind(E_INVALID, ERR_SYNTAX,
			       "query parameter %zu is malformed: escapes are %%XX, not %%00, and the text must be UTF-8",
			       rq->params_n + 1);
		return false;
	}
	return true;
}

bool request_parse_query(struct http_req *rq)
{
	struct str rest = rq->query, item;
	size_t n = 1;
	bool more = rest.n > 0;

	if (rq->params_parsed)
		return true;
	for (size_t i = 0; i < rest.n; i++)
		n += rest.p[i] == '&';
	if (n > QUERY_MAX) {
		(void)err_kind(E_INVALID, ERR_SYNTAX, "the query has more than %d parameters", QUERY_MAX);
		return false;
	}
	rq->params = ARENA_ARRAY(&rq->arena, struct query_param, n);
	if (!rq->params)
		return false;
	while (more) {
		more = str_cut(rest, '&', &item, &rest);
		if (item.n == 0)
			continue;
		if (!parse_one(rq, item, &rq->params[rq->params_n]))
			return false;
		rq->params_n++;
	}
	rq->params_parsed = true;
	return true;
}

struct str rq_query(struct http_req *rq, const char *name)
{
	struct str want = str_c(name);

	if (rq->query.n == 0 || !request_parse_query(rq))
		return (struct str){NULL, 0};
	for (size_t i = 0; i < rq->params_n; i++)
		if (str_eq(rq->params[i].name, want))
			return rq->params[i].value;
	return (struct str){NULL, 0};
}

enum err rq_query_all(struct http_req *rq, const char *name, struct str **out, size_t *n)
{
	struct str want = str_c(name);

	*out = NULL;
	*n = 0;
	if (rq->query.n == 0)
		return OK;
	if (!request_parse_query(rq))
		return diag_get()->code;
	*out = ARENA_ARRAY(&rq->arena, struct str, rq->params_n + 1);
	if (!*out)
		return E_NOMEM;
	for (size_t i = 0; i < rq->params_n; i++)
		if (str_eq(rq->params[i].name, want))
			(*out)[(*n)++] = rq->params[i].value;
	return OK;
}

enum err rq_query_int(struct http_req *rq, const char *name, int64_t min, int64_t max, int64_t dflt, int64_t *out)
{
	struct str v = rq_query(rq, name);

	*out = dflt;
	if (!v.p)
		return OK;
	if (!str_int(v, min, max, out))
		return err_field(E_INVALID, name, -1, "%s must be a whole number from %lld to %lld, got \"%.*s\"", name,
				 (long long)min, (long long)max, STR_ARG(utf8_cut(v, 40)));
	return OK;
}

enum err rq_query_bool(struct http_req *rq, const char *name, bool dflt, bool *out)
{
	struct str v = rq_query(rq, name);

	*out = dflt;
	if (!v.p)
		return OK;
	if (str_ieq(v, STR("true")) || str_eq(v, STR("1")))
		*out = true;
	else if (str_ieq(v, STR("false")) || str_eq(v, STR("0")))
		*out = false;
	else
		return err_field(E_INVALID, name, -1, "%s must be true or false, got \"%.*s\"", name, STR_ARG(utf8_cut(v, 40)));
	return OK;
}

/* ----------------------------------------------------------------- headers */

static const struct str known_names[H_COUNT] = {
	[H_HOST] = STR_INIT("Host"),
	[H_ORIGIN] = STR_INIT("Origin"),
	[H_REQUEST_ID] = STR_INIT("X-Request-Id"),
	[H_CONTENT_TYPE] = STR_INIT("Content-Type"),
	[H_CONTENT_LENGTH] = STR_INIT("Content-Length"),
	[H_TRANSFER_ENCODING] = STR_INIT("Transfer-Encoding"),
	[H_CONNECTION] = STR_INIT("Connection"),
	[H_AC_METHOD] = STR_INIT("Access-Control-Request-Method"),
	[H_AC_PRIVATE] = STR_INIT("Access-Control-Request-Private-Network"),
	[H_TRACEPARENT] = STR_INIT("traceparent"),
};

/* RFC 9110, 5.6.2. libmicrohttpd 0.9.75 takes "Content-Length : 5" for a header of its own, which a proxy may take for a length. */
static bool is_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      (c && strchr("!#$%&'*+-.^_`|~", c))))
			return false;
	}
	return s.n > 0;
}

static enum MHD_Result see_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_n, const char *value,
				  size_t value_n)
{
	struct http_req *rq = cls;
	struct str name = str_of(key, key_n);

	(void)kind;
	rq->bad_name |= !is_token(name);
	for (int i = 0; i < H_COUNT; i++)
		if (known_names[i].n == key_n && str_ieq(known_names[i], name)) {
			/* The first one counts; how many there were decides on malformed framing. */
			if (rq->known_n[i]++ == 0)
				rq->known[i] = str_of(value ? value : "", value ? value_n : 0);
			break;
		}
	return MHD_YES;
}

static bool id_ok(struct str s)
{
	if (s.n < 1 || s.n > 128)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
		      c == '-'))
			return false;
	}
	return true;
}

/* Whoever calls with a trace finds the log lines of the call by it. */
static void join_trace(struct http_req *rq)
{
	struct traceparent tp;

	if (rq->known_n[H_TRACEPARENT] == 1 && traceparent_parse(rq->known[H_TRACEPARENT], &tp))
		hex_encode(tp.trace, TRACE_ID_BYTES, rq->trace);
}

struct str rq_trace(struct http_req *rq)
{
	return str_c(rq->trace);
}

void request_headers(struct http_req *rq)
{
	struct str id;

	MHD_get_connection_values_n(rq->conn->mhd, MHD_HEADER_KIND, see_header, rq);
	id = rq->known[H_REQUEST_ID];
	if (id_ok(id))
		id = arena_str(&rq->arena, id);
	else
		id.p = NULL;
	if (!id.p) {
		uuid7_new(rq->id_text);
		id = str_of(rq->id_text, UUID_TEXT);
	}
	rq->id = id;
	join_trace(rq);
	rq->content_length = -1;
	if (rq->known_n[H_CONTENT_LENGTH] && !str_int(str_trim(rq->known[H_CONTENT_LENGTH]), 0, INT64_MAX, &rq->content_length))
		rq->content_length = INT64_MAX; /* malformed ones are refused by libmicrohttpd; what is left is too large */
	rq->has_body = rq->content_length > 0 || rq->known_n[H_TRANSFER_ENCODING];
	rq->is_head = str_eq(rq->method, STR("HEAD"));
}

struct str rq_header(struct http_req *rq, const char *name)
{
	const char *v = NULL;
	size_t n = 0;

	/* A streaming handler may outlive its connection. */
	if (!rq->conn || MHD_lookup_connection_value_n(rq->conn->mhd, MHD_HEADER_KIND, name, strlen(name), &v, &n) != MHD_YES)
		return (struct str){NULL, 0};
	if (!v)
		return STR("");
	if (rq->ep && (rq->ep->route->flags & R_STREAM_OUT))
		return arena_str(&rq->arena, str_of(v, n));
	return str_of(v, n);
}

/* -------------------------------------------------------------------- body */

/* Small bodies of known length are put into the arena at once; others grow on the heap, so that a promised length costs nothing. */
bool body_append(struct http_req *rq, const char *p, size_t n)
{
	if (n > rq->body_cap - rq->body_n) {
		size_t cap = rq->body_cap ? rq->body_cap * 2 : BODY_INLINE;
		char *grown;

		if (!rq->body && rq->content_length >= 0 && (size_t)rq->content_length <= BODY_INLINE) {
			rq->body = arena_alloc(&rq->arena, (size_t)rq->content_length + 1);
			rq->body_cap = rq->body ? (size_t)rq->content_length : 0;
			if (!rq->body || n > rq->body_cap)
				return false;
		} else {
			while (cap < rq->body_n + n)
				cap *= 2;
			grown = realloc(rq->body_heap ? rq->body : NULL, cap + 1);
			if (!grown)
				return false;
			rq->body = grown;
			rq->body_heap = true;
			rq->body_cap = cap;
		}
	}
	memcpy(rq->body + rq->body_n, p, n);
	rq->body_n += n;
	rq->body[rq->body_n] = '\0';
	return true;
}

void request_reset(struct http_req *rq)
{
	struct arena arena = rq->arena;
	struct http_server *s = rq->server;

	if (rq->body_heap)
		free(rq->body);
	stream_release(rq);
	arena_clear(&arena);
	/* Of the answers to 400 headers only the counts are looked at without being set: everything is cleared. */
	memset(rq, 0, sizeof *rq);
	rq->arena = arena;
	rq->arena.ceiling = s->opt.max_body + ARENA_EXTRA;
	rq->server = s;
	list_init(&rq->ready);
}
