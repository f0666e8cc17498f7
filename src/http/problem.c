/* Errors as answers: which status an error has, and its body as an RFC 9457 problem or in a protocol's own form. */
#include <stdio.h>

#include "base/json/json.h"
#include "http/internal.h"

#define PROBLEM_MAX ((size_t)16384)
#define INSTANCE_MAX ((size_t)1024)

static const struct problem_kind kinds[] = {
	{400, "bad-request", "Bad request"},
	{401, "unauthenticated", "Authentication required"},
	{403, "forbidden", "Forbidden"},
	{404, "not-found", "Not found"},
	{405, "method-not-allowed", "Method not allowed"},
	{406, "not-acceptable", "Not acceptable"},
	{408, "request-timeout", "Request timeout"},
	{409, "conflict", "Conflict"},
	{411, "length-required", "Length required"},
	{412, "version-conflict", "Precondition failed"},
	{413, "too-large", "Content too large"},
	{414, "uri-too-long", "URI too long"},
	{415, "unsupported-media-type", "Unsupported media type"},
	{422, "invalid", "Invalid request"},
	{428, "precondition-required", "Precondition required"},
	{429, "rate-limited", "Too many requests"},
	{431, "header-too-large", "Request header fields too large"},
	{500, "internal", "Internal error"},
	{502, "upstream", "A service that is needed failed"},
	{503, "busy", "Busy"},
	{504, "timeout", "Timeout"},
	{507, "quota", "Quota exceeded"},
};

const struct problem_kind *problem_kind(int status)
{
	static const struct problem_kind other = {500, "internal", "Internal error"};

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (kinds[i].status == status)
			return &kinds[i];
	return &other;
}

int http_status(enum err e, enum err_kind kind)
{
	switch (e) {
	case OK:
		return 200;
	case E_INVALID:
		return kind == ERR_SYNTAX ? 400 : 422;
	case E_NOT_FOUND:
		return 404;
	case E_CONFLICT:
		return kind == ERR_PRECONDITION ? 412 : 409;
	case E_DENIED:
		return kind == ERR_UNAUTHENTICATED ? 401 : 403;
	case E_LIMIT:
		return kind == ERR_RATE ? 429 : kind == ERR_QUOTA ? 507 : 413;
	case E_BUSY:
		return kind == ERR_RATE ? 429 : 503;
	case E_TIMEOUT:
		return 504;
	case E_CANCELLED:
		return 499;
	case E_UPSTREAM:
		return 502;
	default:
		return 500;
	}
}

static void write_error_item(struct jw *w, const struct diag *d)
{
	jw_key(w, "errors");
	jw_arr(w);
	jw_obj(w);
	if (d->field[0]) {
		jw_key(w, "field");
		jw_cstr(w, d->field);
	}
	if (d->position >= 0) {
		jw_key(w, "position");
		jw_i64(w, d->position);
	}
	jw_key(w, "detail");
	jw_cstr(w, d->text);
	jw_end_obj(w);
	jw_end_arr(w);
}

void problem_write(struct buf *b, struct http_req *rq, int status, const struct diag *d)
{
	const struct problem_kind *k = problem_kind(status);
	char type[80];
	struct jw w;

	snprintf(type, sizeof type, "urn:cenote:problem:%s", k->slug);
	jw_init(&w, b);
	jw_obj(&w);
	jw_key(&w, "type");
	jw_cstr(&w, type);
	jw_key(&w, "title");
	jw_cstr(&w, k->title);
	jw_key(&w, "status");
	jw_i64(&w, status);
	if (d->text[0]) {
		jw_key(&w, "detail");
		jw_cstr(&w, d->text);
	}
	if (rq && rq->path.n) {
		jw_key(&w, "instance");
		jw_str(&w, str_sub(rq->path, 0, INSTANCE_MAX));
	}
	if (rq && rq->id.n) {
		jw_key(&w, "request_id");
		jw_str(&w, rq->id);
	}
	if (rq && rq->trace[0]) {
		jw_key(&w, "trace_id");
		jw_cstr(&w, rq->trace);
	}
	if (d->field[0] || d->position >= 0)
		write_error_item(&w, d);
	jw_end_obj(&w);
}

static http_error_fn error_writer(struct http_req *rq)
{
	if (rq->ep && rq->ep->errors)
		return rq->ep->errors;
	return rq->ep ? NULL : router_errors(rq->server->router, rq->path);
}

/* What broke inside is for the log; the client gets the request id to ask with. */
static void hide(struct http_req *rq)
{
	const struct diag *d = diag_get();

	LOG(LOG_ERROR, "http", "request failed", LF_STR("request_id", rq->id), LF_C("err", err_name(d->code)),
	    LF_C("detail", d->text));
	(void)err_set(d->code ? d->code : E_INTERNAL, "the server failed to handle this request; its log has the details");
}

void rs_hide(struct http_req *rq, enum err e)
{
	if (e != OK && http_status(e, ERR_PLAIN) == 500)
		hide(rq);
}

void rs_fail(struct http_req *rq, int status)
{
	struct diag d = *diag_get();
	const char *type = "application/problem+json";
	http_error_fn errors = error_writer(rq);
	struct buf b;

	if (status == 500)
		hide(rq);
	buf_init(&b, &rq->arena, PROBLEM_MAX);
	if (errors)
		type = errors(rq, status, &b);
	else
		problem_write(&b, rq, status, diag_get());
	if (status == 401)
		rs_header(rq, "WWW-Authenticate", STR("Bearer realm=\"cenote\""));
	if (status == 503 || status == 429 || d.retry_after_s) {
		struct str s = arena_printf(&rq->arena, "%u", d.retry_after_s ? d.retry_after_s : 1);

		if (s.p)
			rs_header(rq, "Retry-After", s);
	}
	/* An arena that is full must not keep the status from the client. */
	if (b.err != OK || !b.p)
		rs_send(rq, status, "application/problem+json", STR("{}"));
	else
		rs_send(rq, status, type, buf_slice(&b));
}

void rs_error(struct http_req *rq, enum err e)
{
	const struct diag *d = diag_get();

	if (e == E_CANCELLED) {
		rq->answered = true;
		rq->silent = true;
		rq->status = 499;
		return;
	}
	rs_fail(rq, http_status(e, d->code == e ? d->kind : ERR_PLAIN));
}
