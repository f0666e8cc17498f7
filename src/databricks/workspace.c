/* Requests to a workspace.
 *
 * Invariants
 *  1. The token goes to the host that it was opened with and to no other: redirects are not followed. It is in no sentence, and no
 *     answer that repeats it gets any further.
 *  2. A request that may have had an effect is sent once, unless the workspace says that it has not looked at it (429, 503). */
#include "databricks/workspace.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "http/outbound.h"
#include "rt/fiber.h"
#include "rt/wait.h"

enum {
	CONNECT_MS = 10000,
	REQUEST_MS = 60000,
	SENT_MS = 10000,
	BACKOFF_MS = 250,
	PAUSE_MOST_MS = 300000,
	TRIES = 100,
	CODE_MAX = 64
};

static const struct json_limits limits = {.depth = 64, .nodes = 400000, .bytes = WORKSPACE_ANSWER_MAX, .flags = JSON_DUP_OK};

struct workspace {
	struct outbound *out;
	char *token;
	size_t token_n;
};

/* ---------------------------------------------------------------------- opening */

static bool is_here(struct str place)
{
	static const char *const here[] = {"localhost", "127.0.0.1", "[::1]"};

	for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
		struct str rest = str_sub(place, strlen(here[i]), place.n);

		if (str_starts(place, str_c(here[i])) && (!rest.n || rest.p[0] == ':'))
			return true;
	}
	return false;
}

enum err workspace_host(struct arena *a, struct str given, struct str *out)
{
	struct str s = str_trim(given), place, rest;
	bool plain = str_starts(s, STR("http://"));

	place = str_sub(s, plain ? 7 : str_starts(s, STR("https://")) ? 8 : 0, s.n);
	if (place.n == s.n && memmem(s.p ? s.p : "", s.n, "://", 3))
		return err_set(E_INVALID, "must be https://HOST");
	(void)str_cut(place, '/', &place, &rest);
	if (plain && !is_here(place))
		return err_set(E_INVALID, "must be https://HOST: a token is not sent in the clear to another machine");
	*out = arena_printf(a, "%s%.*s", plain ? "http://" : "https://", STR_ARG(place));
	return out->p ? outbound_base_check(*out) : E_NOMEM;
}

enum err workspace_open(const struct workspace_options *opt, struct workspace **out)
{
	struct outbound_options oo = {
		.base = opt->host, .concurrency = opt->concurrency, .connect_ms = CONNECT_MS, .ca_file = opt->ca_file};
	struct workspace *w = calloc(1, sizeof *w);
	enum err e;

	if (!w || !(w->token = malloc(opt->token.n + 1))) {
		free(w);
		return err_set(E_LIMIT, "out of memory for a workspace");
	}
	memcpy(w->token, opt->token.p ? opt->token.p : "", opt->token.n);
	w->token_n = opt->token.n;
	e = outbound_new(&oo, &w->out);
	if (e != OK) {
		struct diag d = *diag_get();

		workspace_close(w);
		*diag_get() = d;
		return e;
	}
	*out = w;
	return OK;
}

void workspace_close(struct workspace *w)
{
	if (!w)
		return;
	outbound_free(w->out);
	explicit_bzero(w->token, w->token_n);
	free(w->token);
	free(w);
}

bool workspace_has_token(const struct workspace *w, struct str text)
{
	return w->token_n && text.n && memmem(text.p, text.n, w->token, w->token_n);
}

struct str workspace_words(const struct workspace *w, struct arena *a, struct str text)
{
	struct str head = utf8_cut(str_trim(text), WORKSPACE_REASON_MAX), out;

	if (workspace_has_token(w, text))
		return STR("");
	out = arena_printf(a, "%.*s%s", STR_ARG(head), head.n < str_trim(text).n ? "..." : "");
	for (size_t i = 0; i < out.n; i++)
		if ((unsigned char)out.p[i] < ' ' || out.p[i] == 0x7f)
			((char *)(uintptr_t)out.p)[i] = ' ';
	return out;
}

/* --------------------------------------------------------------------- refusals */

/* What a refusal says of itself, in whichever of the forms that there are. */
struct refusal {
	struct str code, words;
};

static struct str text_of(struct arena *a, struct jval v)
{
	return j_is(v, JSON_STRING) ? j_str(a, v) : STR("");
}

static bool is_code(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '_'))
			return false;
	return s.n > 0 && s.n <= CODE_MAX;
}

static void read_refusal(const struct workspace *w, struct arena *a, struct str body, struct refusal *out)
{
	struct str head, tail;
	struct json doc;
	struct jval root;

	*out = (struct refusal){STR(""), STR("")};
	if (json_parse(a, body, &limits, &doc) == OK) {
		root = json_root(&doc);
		out->code = text_of(a, j_get(root, STR("error_code")));
		out->words = text_of(a, j_get(root, STR("message")));
		if (!out->words.n)
			out->words = text_of(a, j_get(root, STR("error")));
		if (!out->words.n)
			out->words = text_of(a, j_get(root, STR("detail")));
	} else if (str_cut(body, ':', &head, &tail) && is_code(head)) {
		*out = (struct refusal){head, tail};
	} /* HTML and the like are for eyes */
	if (!is_code(out->code))
		out->code = STR("");
	out->words = workspace_words(w, a, out->words);
}

static bool one_of(struct str code, const char *list)
{
	struct str rest = str_c(list), one;

	while (code.n && rest.n) {
		(void)str_cut(rest, ' ', &one, &rest);
		if (str_eq(one, code))
			return true;
	}
	return false;
}

/* The code is what counts, and the status where there is none that says something. */
static enum err refused(const struct workspace *w, struct arena *a, int status, struct str body)
{
	struct refusal r;
	char tail[WORKSPACE_REASON_MAX + 2 * CODE_MAX];

	read_refusal(w, a, body, &r);
	snprintf(tail, sizeof tail, " (%d%s%.*s)%s%.*s", status, r.code.n ? " " : "", STR_ARG(r.code), r.words.n ? ": " : "",
		 STR_ARG(r.words));
	if (one_of(r.code, "PERMISSION_DENIED"))
		status = 403;
	else if (one_of(r.code, "UNAUTHENTICATED"))
		status = 401;
	else if (one_of(r.code, "NOT_FOUND RESOURCE_DOES_NOT_EXIST"))
		status = 404;
	else if (one_of(r.code, "RESOURCE_EXHAUSTED REQUEST_LIMIT_EXCEEDED TEMPORARILY_UNAVAILABLE"))
		status = 429;
	if (status == 401)
		return err_kind(E_DENIED, ERR_UNAUTHENTICATED, "the workspace refuses the token%s", tail);
	if (status == 403)
		return err_set(E_DENIED, "the workspace does not allow this%s", tail);
	if (status == 404)
		return err_set(E_NOT_FOUND, "the workspace does not know this%s", tail);
	if (status == 429 || status == 503)
		return err_set(E_BUSY, "the workspace has too many requests, or is not ready%s", tail);
	if (status < 400)
		return err_set(E_UPSTREAM, "the workspace answers with a redirect, which is not followed%s", tail);
	return err_set(E_UPSTREAM, "the workspace refuses this%s", tail);
}

/* --------------------------------------------------------------------- requests */

struct exchange {
	struct workspace *w;
	struct arena *a;
	const struct workspace_request *rq;
	struct outbound_reply reply;
};

static enum err send_now(void *arg)
{
	struct exchange *x = arg;
	const struct outbound_header accept = {STR("Accept"), STR("application/json")};
	const struct outbound_request rq = {
		.method = x->rq->method,
		.path = x->rq->path,
		.bearer = str_of(x->w->token, x->w->token_n),
		.body = x->rq->body,
		.headers = &accept,
		.headers_n = 1,
		.trace = x->rq->trace,
		.deadline_ns = deadline_in_ms(REQUEST_MS),
		.max_body = WORKSPACE_ANSWER_MAX,
	};

	x->reply = (struct outbound_reply){.status = 0};
	return outbound_call(x->w->out, x->a, &rq, &x->reply);
}

static enum err send_one(struct exchange *x)
{
	uint64_t at = deadline_in_ms(SENT_MS);

	if (!x->rq->to_its_end || fiber_cancelled())
		return send_now(x);
	return wait_shielded(at < fiber_deadline() ? at : fiber_deadline(), send_now, x);
}

static enum err read_answer(struct exchange *x, struct json *doc)
{
	if (workspace_has_token(x->w, x->reply.body))
		return err_set(E_UPSTREAM, "the workspace's answer repeats the token and is left out");
	if (json_parse(x->a, x->reply.body, &limits, doc) != OK || !j_is(json_root(doc), JSON_OBJECT))
		return err_set(E_UPSTREAM, "the workspace's answer is no JSON object");
	return OK;
}

enum err workspace_call(struct workspace *w, struct arena *a, const struct workspace_request *rq, struct json *doc)
{
	struct exchange x = {.w = w, .a = a, .rq = rq};

	for (unsigned tries = 0;; tries++) {
		enum err e = send_one(&x);
		bool again = e == E_UPSTREAM && rq->again;

		if (e == OK && x.reply.status >= 200 && x.reply.status < 300)
			return read_answer(&x, doc);
		if (e == OK) {
			e = refused(w, a, x.reply.status, x.reply.body);
			again = x.reply.status == 429 || x.reply.status == 503 || (rq->again && outbound_passing(x.reply.status));
		}
		if (!again || tries + 1 == TRIES)
			return e;
		TRY(outbound_pause(&x.reply, e, tries < 5 ? tries : 5, BACKOFF_MS, PAUSE_MOST_MS));
	}
}
