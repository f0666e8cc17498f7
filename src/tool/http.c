/* Calling a tool that is an HTTP service.
 *
 * Invariants
 *  1. A request goes to the service that was checked when the tools were opened, and to no other: redirects are not followed, and
 *     a connection is made only to an address that the list allows (allow.h).
 *  2. Secrets stand in headers of the request and nowhere else. An answer that repeats one is not given to the model. */
#include "base/utf8.h"
#include "rt/wait.h"
#include "tool/impl.h"

static enum err read_body(struct outbound_stream *s, struct arena *a, size_t most, struct str *out)
{
	struct str piece;
	struct buf b;

	buf_init(&b, a, 2 * most + 16);
	do {
		TRY(outbound_read(s, &piece));
		buf_str(&b, str_sub(piece, 0, most + 4 - b.n)); /* more than the model gets: it is to be said that there is */
	} while (piece.n && b.n < most + 4);
	*out = b.n ? buf_slice(&b) : STR("");
	return b.err;
}

static enum err read_answer(const struct http_tool *t, struct arena *a, const struct outbound_reply *r, struct outbound_stream *s,
			    struct str *answer)
{
	bool well = r->status >= 200 && r->status < 300;
	struct str body;

	TRY(read_body(s, a, well ? t->max_result : SERVICE_REASON_MAX, &body));
	if (!well)
		return service_refused(&t->to, a, r->status, body);
	if (service_has_secret(&t->to, body))
		return err_set(E_UPSTREAM, "the answer repeats the tool's secret and is left out");
	if (memchr(body.p ? body.p : "", 0, body.n) || utf8_check(body) + 4 < body.n)
		return err_set(E_UPSTREAM, "the answer is no text");
	*answer = body;
	return OK;
}

static enum err call(const struct tool *tool, struct arena *a, const struct principal *who, struct jval arguments,
		     struct trace_span *span, struct str *answer)
{
	const struct http_tool *t = (const struct http_tool *)tool;
	struct outbound_header headers[HTTP_TOOLS_HEADERS_MAX];
	struct outbound_request rq = {.method = t->method, .headers = headers, .deadline_ns = NEVER};
	struct outbound_stream *s = NULL;
	struct outbound_reply reply;
	struct trace_context trace;
	struct diag d;
	enum err e;

	span_context(span, &trace);
	rq.trace = &trace;
	rq.max_body = (size_t)1 << 40; /* no more is read than wanted */
	rq.headers_n = service_set(&t->to, who, headers);
	TRY(http_request_make(t, a, arguments, &rq.path, &rq.body));
	TRY(outbound_open(t->to.out, a, &rq, &reply, &s));
	e = read_answer(t, a, &reply, s, answer);
	d = *diag_get();
	outbound_close(s);
	*diag_get() = d;
	return e;
}

const struct tool_ops http_tool_ops = {call};
