/* The services that the file of the tools names: their URLs and headers, and what is said of their refusals.
 *
 * Invariants
 *  1. A host is one of tools.allow_hosts, and a connection is made only to an address that the list allows (allow.h); redirects are
 *     not followed.
 *  2. Values of secrets come from variables and files that the entry names. They stand in headers of requests and nowhere else. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/secret.h"
#include "tool/impl.h"

enum { CONNECT_MS = 10000, CONCURRENCY = 16 };

/* ---------------------------------------------------------------------- headers */

static bool contains(struct str s, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= s.n; i++)
		if (str_ieq(str_sub(s, i, i + n), str_c(word)))
			return true;
	return false;
}

static bool for_secrets(struct str name)
{
	static const char *const words[] = {"authorization", "cookie", "key", "token", "secret", "password"};

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (contains(name, words[i]))
			return true;
	return false;
}

static bool header_name_ok(struct str name)
{
	static const char *const ours[] = {"host",	 "content-length", "content-type", "transfer-encoding",
					   "connection", "expect",	   "te",	   "upgrade"};

	for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
		if (str_ieq(name, str_c(ours[i])))
			return false;
	return tool_name_ok(name);
}

static enum err read_secret(struct http_tools *t, struct jval v, struct jval env, struct jval file, struct str *out)
{
	struct str name;
	char *secret;

	if (j_ok(env)) {
		TRY(declared_string(t, env, "env", 256, &name));
		const char *of = arena_cstr(&t->arena, name), *value = of ? getenv(of) : NULL;

		if (!value || !value[0])
			return BAD(t, env, "the environment has no variable %.*s, or it is empty", STR_ARG(name));
		*out = arena_str(&t->arena, str_c(value));
		return out->p ? OK : E_NOMEM;
	}
	TRY(declared_string(t, file, "file", 4096, &name));
	const char *path = arena_cstr(&t->arena, name);

	if (!path)
		return E_NOMEM;
	enum err e = secret_file_read(path, &secret);

	if (e != OK)
		return declared_at(t, j_raw(v).p, e);
	*out = arena_str(&t->arena, str_c(secret));
	secret_free(secret);
	return out->p ? OK : E_NOMEM;
}

static void wipe(struct str s)
{
	if (s.n)
		explicit_bzero((char *)(uintptr_t)s.p, s.n);
}

static enum err read_value(struct http_tools *t, struct jval v, struct http_service *s, struct http_header *h)
{
	static const char form[] =
		"must be a text, {\"env\": NAME}, {\"file\": PATH} (both with \"prefix\" or not), or {\"principal\": "
		"\"user\" or \"tenant\"}";
	static const struct str members[] = {STR_INIT("env"), STR_INIT("file"), STR_INIT("prefix"), STR_INIT("principal")};
	struct jval env = j_get(v, STR("env")), file = j_get(v, STR("file")), prefix = j_get(v, STR("prefix")),
		    of = j_get(v, STR("principal"));
	struct str before = STR("");

	if (j_is(v, JSON_STRING)) {
		h->value = j_str(&t->arena, v);
		if (for_secrets(h->name))
			return BAD(t, v,
				   "the header %.*s must not stand here with its value: give {\"env\": NAME} or {\"file\": PATH}",
				   STR_ARG(h->name));
		return h->value.p ? OK : E_NOMEM;
	}
	if (!j_is(v, JSON_OBJECT) || j_ok(env) + j_ok(file) + j_ok(of) != 1 || j_only(v, members, 4) != OK)
		return BAD(t, v, "the header %.*s %s", STR_ARG(h->name), form);
	if (j_ok(of)) {
		if (!j_str_eq(of, STR("user")) && !j_str_eq(of, STR("tenant")))
			return BAD(t, of, "principal must be \"user\" or \"tenant\"");
		h->from = j_str_eq(of, STR("user")) ? HEADER_USER : HEADER_TENANT;
		s->of_user = s->of_user || h->from == HEADER_USER;
		s->of_principal = true;
		return OK;
	}
	if (j_ok(prefix))
		TRY(declared_string(t, prefix, "prefix", 64, &before));
	TRY(read_secret(t, v, env, file, &h->secret));
	h->from = HEADER_SECRET;
	h->value = before.n ? arena_printf(&t->arena, "%.*s%.*s", STR_ARG(before), STR_ARG(h->secret)) : h->secret;
	return h->value.p ? OK : E_NOMEM;
}

enum err service_headers(struct http_tools *t, struct jval v, struct http_service *s)
{
	struct jval key, value;

	if (!j_ok(v))
		return OK;
	if (!j_is(v, JSON_OBJECT) || j_node(v)->count > HTTP_TOOLS_HEADERS_MAX)
		return BAD(t, v, "headers must be an object of at most %d members", HTTP_TOOLS_HEADERS_MAX);
	for (struct j_iter it = j_iter(v); j_next(&it, &key, &value);) {
		struct http_header *h = &s->headers[s->headers_n++];

		TRY(declared_string(t, key, "a header's name", 64, &h->name));
		if (!header_name_ok(h->name))
			return BAD(t, key,
				   "there can be no header %.*s: names are of A-Z a-z 0-9 _ -, and those of the connection and the "
				   "body "
				   "are set by themselves",
				   STR_ARG(h->name));
		TRY(read_value(t, value, s, h));
		for (size_t i = 0; i < h->value.n; i++)
			if ((unsigned char)h->value.p[i] < ' ')
				return BAD(t, value, "the header %.*s has control characters", STR_ARG(h->name));
	}
	return OK;
}

/* -------------------------------------------------------------------------- url */

/* Host and port of "HOST[:PORT]". */
static bool split_host(struct str s, bool secure, struct str *host, uint16_t *port)
{
	struct str number = STR("");
	int64_t n = secure ? 443 : 80;

	if (s.n && s.p[0] == '[') {
		ptrdiff_t end = str_chr(s, ']', 0);

		if (end < 0 || (s.n > (size_t)end + 1 && s.p[end + 1] != ':'))
			return false;
		number = str_sub(s, (size_t)end + 2, s.n);
		*host = str_sub(s, 1, (size_t)end);
	} else {
		str_cut(s, ':', host, &number);
	}
	if (number.n && !str_int(number, 1, 65535, &n))
		return false;
	*port = (uint16_t)n;
	return host->n > 0 && str_chr(*host, '{', 0) < 0;
}

static bool address_ok(const void *ctx, const struct sockaddr *to)
{
	return allow_address(ctx, to);
}

enum err service_url(struct http_tools *t, struct jval v, struct http_service *s)
{
	struct outbound_options oo = {.concurrency = CONCURRENCY,
				      .connect_ms = CONNECT_MS,
				      .ca_file = t->opt->ca_file,
				      .address_ok = address_ok,
				      .address_ctx = &t->allow};
	struct str url, rest, place, host;
	uint16_t port;
	bool secure;
	enum err e;

	TRY(declared_string(t, v, "url", 4096, &url));
	secure = str_starts(url, STR("https://"));
	rest = str_sub(url, secure ? 8 : 7, url.n);
	place = rest;
	for (size_t i = 0; i < rest.n; i++)
		if (rest.p[i] == '/' || rest.p[i] == '?' || rest.p[i] == '#') {
			place = str_sub(rest, 0, i);
			break;
		}
	if ((!secure && !str_starts(url, STR("http://"))) || !split_host(place, secure, &host, &port))
		return BAD(t, v,
			   "url must begin with https://HOST or http://HOST, with a port or not; the host has no placeholders");
	if (!allow_host(&t->allow, host, port, secure))
		return BAD(t, v, "the host %.*s is not in tools.allow_hosts (%.*s)", STR_ARG(place),
			   STR_ARG(str_sub(allow_text(&t->allow, &t->arena), 0, 200)));
	s->path = str_sub(rest, place.n, rest.n);
	if (str_chr(s->path, '#', 0) >= 0)
		return BAD(t, v, "url must not have a fragment (#)");
	for (size_t i = 0; i < url.n; i++)
		if ((unsigned char)url.p[i] <= ' ' || url.p[i] == 0x7f)
			return BAD(t, v, "url must not have blanks or control characters");
	if (!s->path.n || s->path.p[0] == '?')
		s->path = arena_printf(&t->arena, "/%.*s", STR_ARG(s->path));
	oo.base = str_sub(url, 0, url.n - rest.n + place.n);
	e = s->path.p ? outbound_new(&oo, &s->out) : E_NOMEM;
	return e == OK ? OK : declared_at(t, j_raw(v).p, err_wrap(e, "url"));
}

/* --------------------------------------------------------------------- requests */

size_t service_set(const struct http_service *s, const struct principal *who, struct outbound_header *out)
{
	size_t n = 0;

	for (size_t i = 0; i < s->headers_n; i++) {
		const struct http_header *h = &s->headers[i];

		if (h->from == HEADER_TEXT || h->from == HEADER_SECRET)
			out[n++] = (struct outbound_header){h->name, h->value};
		else if (who)
			out[n++] = (struct outbound_header){h->name, h->from == HEADER_USER ? who->user : who->tenant};
	}
	return n;
}

/* How many bytes of the text stand for c at this place, as it is or as JSON has it; 0: none do. */
static size_t stands_for(struct str text, size_t at, char c)
{
	struct str rest = str_sub(text, at, text.n);
	uint8_t code[2];

	if (rest.n >= 6 && str_starts(rest, STR("\\u")) && hex_decode(str_sub(rest, 2, 6), code, sizeof code) && code[0] == 0 &&
	    code[1] == (uint8_t)c)
		return 6;
	if (rest.n >= 2 && rest.p[0] == '\\' && rest.p[1] == c)
		return 2;
	return rest.n && rest.p[0] == c;
}

static bool repeats(struct str text, struct str secret)
{
	for (size_t from = 0; from < text.n; from++) {
		size_t at = from, n = 0, step = 1;

		while (n < secret.n && (step = stands_for(text, at, secret.p[n])) > 0) {
			at += step;
			n++;
		}
		if (n == secret.n)
			return true;
	}
	return false;
}

bool service_has_secret(const struct http_service *s, struct str text)
{
	for (size_t i = 0; i < s->headers_n; i++)
		if (s->headers[i].secret.n && repeats(text, s->headers[i].secret))
			return true;
	return false;
}

enum err service_refused(const struct http_service *s, struct arena *a, int status, struct str body)
{
	const char *what = status == 401   ? ", which refuses the credential"
			   : status == 403 ? ", which does not allow this"
			   : status == 404 ? ", which does not know it"
			   : status == 429 ? ": too many requests"
			   : status < 400  ? ", a redirect, which is not followed"
					   : "";
	struct str why = status < 400 || service_has_secret(s, body) ? STR("") : outbound_reason(a, body, NULL, 0, STR(""));

	return err_set(status == 403 || status == 401 ? E_DENIED : E_UPSTREAM, "the service answered %d%s%s%.*s", status, what,
		       why.n ? ": " : "", STR_ARG(why));
}

void service_close(struct http_service *s)
{
	outbound_free(s->out);
	for (size_t i = 0; i < s->headers_n; i++) {
		if (s->headers[i].from == HEADER_SECRET)
			wipe(s->headers[i].value);
		wipe(s->headers[i].secret);
	}
}
