/* Requests to an MCP server: sessions, the exchange of one message, and calls of its tools.
 *
 * Invariants
 *  1. A session is begun when the first request needs one, and kept; one that the server does not know any more (404) is begun anew
 *     once, and the request is sent again, which the server has not looked at.
 *  2. Where headers say who asks, each call has a session of its own, which is ended behind it: no server can mistake one user's
 * for another's.
 *  3. No answer that repeats a secret gets any further.
 *  4. A call that is given up is said to be, since the end of a connection says nothing to a server. */
#include "base/utf8.h"
#include "rt/wait.h"
#include "tool/mcp_impl.h"

#define LAST_WORD_MS 1000 /* for ending a session */
#define GIVEN_UP_MS 250	  /* for saying that nobody waits any more */
#define NO_TRIES 2

static const char newest[] = "2025-11-25";

/* What one message is answered with. */
struct exchange {
	struct mcp_server *s;
	struct arena *a;
	const struct trace_context *trace;
	int64_t id;
	struct json *doc;
	struct jval *result;
	bool answered;
	int status;
	struct outbound_reply reply;
};

/* ----------------------------------------------------------------------- answers */

/* At most `most` bytes; *more: there would be others. */
static enum err read_some(struct outbound_stream *st, struct arena *a, size_t most, struct str *out, bool *more)
{
	struct str piece;
	struct buf b;

	buf_init(&b, a, most);
	*more = false;
	do {
		TRY(outbound_read(st, &piece));
		*more = piece.n > most - b.n;
		buf_str(&b, str_sub(piece, 0, most - b.n));
	} while (piece.n && !*more);
	*out = b.n ? buf_slice(&b) : STR("");
	return b.err;
}

static enum err read_whole(struct outbound_stream *st, struct arena *a, struct str *out)
{
	bool more;

	TRY(read_some(st, a, MCP_ANSWER_MAX, out, &more));
	return more ? err_set(E_LIMIT, "the answer has more than %zu bytes", MCP_ANSWER_MAX) : OK;
}

static enum err read_message(struct exchange *x, struct str text)
{
	if (service_has_secret(&x->s->to, text))
		return err_set(E_UPSTREAM, "the answer repeats the server's secret and is left out");
	return mcp_answer(x->a, text, x->id, x->doc, x->result, &x->answered);
}

/* Of a stream only the answer counts: notifications, and what the server would ask us, are passed over. */
static enum err on_event(void *ctx, struct str data)
{
	struct exchange *x = ctx;
	struct str text;

	if (x->answered)
		return OK;
	text = arena_str(x->a, data);
	return text.p ? read_message(x, text) : E_NOMEM;
}

static enum err read_stream(struct exchange *x, struct outbound_stream *st)
{
	struct mcp_events ev;
	struct str piece;
	size_t bytes = 0;
	enum err e = OK;

	mcp_events_init(&ev);
	do {
		CHECK(outbound_read(st, &piece));
		bytes += piece.n;
		if (bytes > MCP_ANSWER_MAX) {
			e = err_set(E_LIMIT, "the answer has more than %zu bytes", MCP_ANSWER_MAX);
			goto out;
		}
		CHECK(mcp_events_feed(&ev, piece, on_event, x));
	} while (piece.n && !x->answered);
out:
	mcp_events_release(&ev);
	return e;
}

static bool is_kind(const struct exchange *x, const char *kind)
{
	struct str its = outbound_header(&x->reply, "content-type");

	return str_ieq(str_sub(its, 0, strlen(kind)), str_c(kind));
}

static enum err read_reply(struct exchange *x, struct outbound_stream *st)
{
	bool well = x->status >= 200 && x->status < 300, more;
	struct str body;

	if (!well) {
		TRY(read_some(st, x->a, SERVICE_REASON_MAX, &body, &more));
		return service_refused(&x->s->to, x->a, x->status, body);
	}
	if (!x->result) /* a notification; the connection is of use when it is read to its end */
		return is_kind(x, "text/event-stream") ? OK : read_whole(st, x->a, &body);
	if (is_kind(x, "text/event-stream")) {
		TRY(read_stream(x, st));
	} else if (is_kind(x, "application/json")) {
		TRY(read_whole(st, x->a, &body));
		TRY(read_message(x, body));
	} else {
		return err_set(E_UPSTREAM, "the server answers neither with JSON nor with a stream of events");
	}
	return x->answered ? OK : err_set(E_UPSTREAM, "the server's answer ended without a result");
}

/* ----------------------------------------------------------------------- messages */

static size_t put_headers(const struct mcp_server *s, const struct mcp_session *ses, const struct principal *who,
			  struct outbound_header *h)
{
	size_t n = service_set(&s->to, who, h);

	h[n++] = (struct outbound_header){STR("Accept"), STR("application/json, text/event-stream")};
	if (ses->version[0])
		h[n++] = (struct outbound_header){STR("MCP-Protocol-Version"), str_c(ses->version)};
	if (ses->id[0])
		h[n++] = (struct outbound_header){STR("Mcp-Session-Id"), str_c(ses->id)};
	return n;
}

static enum err send_one(struct exchange *x, const struct mcp_session *ses, const struct principal *who, const char *http,
			 struct str body)
{
	struct outbound_header headers[HTTP_TOOLS_HEADERS_MAX + 3];
	struct outbound_request rq = {
		.method = http, .headers = headers, .path = x->s->to.path, .body = body, .trace = x->trace, .deadline_ns = NEVER};
	struct outbound_stream *st;
	struct diag d;
	enum err e;

	rq.headers_n = put_headers(x->s, ses, who, headers);
	rq.max_body = 2 * MCP_ANSWER_MAX;
	TRY(outbound_open(x->s->to.out, x->a, &rq, &x->reply, &st));
	x->status = x->reply.status;
	e = read_reply(x, st);
	d = *diag_get();
	outbound_close(st);
	*diag_get() = d;
	return e;
}

/* A request; its result lies in doc. */
static enum err ask(struct exchange *x, const struct mcp_session *ses, const struct principal *who, const char *method,
		    struct str params)
{
	struct str body;

	x->id = atomic_fetch_add(&x->s->last_id, 1) + 1;
	x->answered = false;
	body = arena_printf(x->a, "{\"jsonrpc\":\"2.0\",\"id\":%lld,\"method\":\"%s\",\"params\":%.*s}", (long long)x->id, method,
			    STR_ARG(params));
	return body.p ? send_one(x, ses, who, "POST", body) : E_NOMEM;
}

/* Something that is said behind a request, whatever has become of that; what the server makes of it is no matter. */
struct last_word {
	struct exchange x;
	const struct mcp_session *ses;
	const struct principal *who;
	const char *http;
	struct str body;
};

static enum err say_now(void *arg)
{
	struct last_word *w = arg;

	return send_one(&w->x, w->ses, w->who, w->http, w->body);
}

static void say(struct last_word *w, uint32_t ms)
{
	struct diag d = *diag_get();

	(void)!wait_shielded(deadline_in_ms(ms), say_now, w);
	*diag_get() = d;
}

static enum err ask_call(struct exchange *x, const struct mcp_session *ses, const struct principal *who, const char *method,
			 struct str params)
{
	enum err e = ask(x, ses, who, method, params);
	struct last_word w = {.x = {.s = x->s, .a = x->a, .trace = x->trace}, .ses = ses, .who = who, .http = "POST"};

	if (e != E_TIMEOUT && e != E_CANCELLED)
		return e;
	w.body = arena_printf(x->a, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":%lld}}",
			      (long long)x->id);
	if (w.body.p)
		say(&w, GIVEN_UP_MS);
	return e;
}

/* ----------------------------------------------------------------------- sessions */

static enum err keep_text(struct str s, char *out, size_t room, const char *what)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return err_set(E_UPSTREAM, "the server's %s has characters that it must not have", what);
	if (s.n >= room)
		return err_set(E_UPSTREAM, "the server's %s has more than %zu bytes", what, room - 1);
	memcpy(out, s.p ? s.p : "", s.n);
	out[s.n] = 0;
	return OK;
}

static enum err begin(const struct exchange *of, const struct principal *who, struct mcp_session *ses)
{
	static const char *const known[] = {newest, "2025-06-18", "2025-03-26", "2024-11-05"};
	struct json doc;
	struct jval result, version;
	struct arena *a = of->a;
	struct exchange note = {.s = of->s, .a = a, .trace = of->trace}, x = note;
	struct str params = arena_printf(a,
					 "{\"protocolVersion\":\"%s\",\"capabilities\":{},\"clientInfo\":{\"name\":\"cenote\","
					 "\"version\":\"" CENOTE_VERSION "\"}}",
					 newest);

	x.doc = &doc;
	x.result = &result;
	*ses = (struct mcp_session){.begun = 0};
	if (!params.p)
		return E_NOMEM;
	TRY(ask(&x, ses, who, "initialize", params));
	version = j_get(result, STR("protocolVersion"));
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (j_str_eq(version, str_c(known[i])))
			TRY(keep_text(str_c(known[i]), ses->version, sizeof ses->version, "version"));
	if (!ses->version[0])
		return err_set(E_UPSTREAM, "the server speaks no revision of MCP that is known here (2025-11-25 and before)");
	TRY(keep_text(outbound_header(&x.reply, "mcp-session-id"), ses->id, sizeof ses->id, "session id"));
	/* What a server says to this is no matter: if it wants it otherwise the next request shows it. */
	enum err e = send_one(&note, ses, who, "POST", STR("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"));

	return e == E_CANCELLED || e == E_TIMEOUT ? e : OK;
}

static void session_copy(struct mcp_server *s, struct mcp_session *out)
{
	pthread_mutex_lock(&s->lock);
	*out = s->session;
	pthread_mutex_unlock(&s->lock);
}

/* The server's session is ses from now on; with was: unless it is another one than that already. */
static void session_put(struct mcp_server *s, struct mcp_session *ses, uint64_t was)
{
	pthread_mutex_lock(&s->lock);
	if (s->session.begun == was) {
		ses->begun = was + 1;
		s->session = *ses;
	}
	pthread_mutex_unlock(&s->lock);
}

static enum err ask_shared(struct exchange *x, const char *method, struct str params)
{
	for (unsigned tries = 0;; tries++) {
		struct mcp_session ses, none = {.begun = 0};
		enum err e;

		session_copy(x->s, &ses);
		if (!ses.version[0]) {
			uint64_t was = ses.begun;

			TRY(begin(x, NULL, &ses));
			session_put(x->s, &ses, was);
		}
		x->status = 0;
		e = ask_call(x, &ses, NULL, method, params);
		if (x->status != 404 || !ses.id[0] || tries + 1 == NO_TRIES)
			return e;
		session_put(x->s, &none, ses.begun);
	}
}

static enum err ask_alone(struct exchange *x, const struct principal *who, const char *method, struct str params)
{
	struct mcp_session ses;
	struct last_word end = {
		.x = {.s = x->s, .a = x->a, .trace = x->trace}, .ses = &ses, .who = who, .http = "DELETE", .body = STR("")};
	enum err e;

	TRY(begin(x, who, &ses));
	e = ask_call(x, &ses, who, method, params);
	if (ses.id[0])
		say(&end, LAST_WORD_MS);
	return e;
}

enum err mcp_request(struct mcp_server *s, struct arena *a, const struct principal *who, const struct trace_span *span,
		     const char *method, struct str params, struct json *doc, struct jval *result)
{
	struct trace_context trace;
	struct exchange x = {.s = s, .a = a, .trace = &trace, .doc = doc, .result = result};

	span_context(span, &trace);
	return who && s->to.of_principal ? ask_alone(&x, who, method, params) : ask_shared(&x, method, params);
}

/* ------------------------------------------------------------------------- calls */

static enum err call_in(const struct mcp_tool *t, struct arena *a, const struct principal *who, struct jval arguments,
			const struct trace_span *span, struct str *answer)
{
	struct json doc;
	struct jval result;
	struct buf b;

	buf_init(&b, a, (size_t)4 << 20);
	buf_lit(&b, "{\"name\":");
	json_quote(&b, t->name);
	buf_lit(&b, ",\"arguments\":");
	buf_str(&b, j_raw(arguments));
	buf_byte(&b, '}');
	TRY(b.err);
	TRY(mcp_request(t->server, a, who, span, "tools/call", buf_slice(&b), &doc, &result));
	enum err e = mcp_result_text(a, result, answer);

	/* Escapes in JSON may have hidden it before. */
	if (e == OK ? service_has_secret(&t->server->to, *answer) : service_has_secret(&t->server->to, str_c(diag_get()->text)))
		return err_set(E_UPSTREAM, "the answer repeats the server's secret and is left out");
	return e;
}

static enum err call(const struct tool *tool, struct arena *a, const struct principal *who, struct jval arguments,
		     struct trace_span *span, struct str *answer)
{
	const struct mcp_tool *t = (const struct mcp_tool *)tool;
	struct arena scratch;
	struct str text;
	struct diag d;
	enum err e;

	arena_init(&scratch, MCP_SCRATCH);
	e = call_in(t, &scratch, who, arguments, span, &text);
	if (e == OK) {
		*answer = arena_str(
			a, utf8_cut(text, t->server->max_result + 4)); /* more than the model gets: that there is more shows */
		e = answer->p ? OK : E_NOMEM;
	}
	d = *diag_get();
	arena_release(&scratch);
	*diag_get() = d;
	return e;
}

const struct tool_ops mcp_tool_ops = {call};
