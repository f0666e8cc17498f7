/* The blocking client of the command line: libcurl's easy interface with kept connections. */
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/client.h"
#include "base/buf.h"

struct http_client {
	CURL *curl;
	struct arena arena; /* base, socket path, header lines: live as long as the client */
	struct str base;    /* "http://host:port/prefix" */
	bool is_unix;
	const char *key, *user;
	uint32_t timeout_ms;
	bool breaking_off; /* what is closed now is reset: so a server that is at work notices at once */
};

struct call {
	struct buf body;
	struct arena *arena;
	struct http_reply *out;
	size_t max_reply;
	bool too_large;
	CURL *curl;
	enum err (*fn)(void *ctx, struct str piece); /* NULL: the body is collected */
	bool (*stop)(void *ctx);
	void *ctx;
	const char *const *heads;
	size_t heads_n;
	enum err fn_err;
	struct http_client *client;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

void http_curl_init(void)
{
	pthread_once(&once, init_curl);
}

static enum err parse_server(struct http_client *c, struct str server, const char **socket_path)
{
	*socket_path = NULL;
	if (str_starts(server, STR("unix:"))) {
		*socket_path = arena_cstr(&c->arena, str_sub(server, 5, server.n));
		c->base = STR("http://localhost");
		if (server.n == 5)
			return err_set(E_INVALID, "server \"unix:\" lacks the path of a socket");
		return *socket_path ? OK : E_NOMEM;
	}
	if (!str_starts(server, STR("http://")) && !str_starts(server, STR("https://")))
		return err_set(E_INVALID, "server must be http://HOST:PORT, https://HOST or unix:PATH, got \"%.*s\"",
			       STR_ARG(server));
	while (server.n && server.p[server.n - 1] == '/')
		server.n--;
	c->base = arena_str(&c->arena, server);
	return c->base.p ? OK : E_NOMEM;
}

static int on_close(void *arg, curl_socket_t fd)
{
	const struct http_client *c = arg;
	const struct linger reset = {1, 0};

	if (c->breaking_off)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	return close(fd);
}

static void set_common(struct http_client *c, const char *socket_path)
{
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
	curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)(c->timeout_ms < 10000 ? c->timeout_ms : 10000));
	curl_easy_setopt(c->curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c->curl, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(c->curl, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(c->curl, CURLOPT_CLOSESOCKETDATA, c);
	if (socket_path)
		curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, socket_path);
	/* A proxy of the environment must not see what is said to this machine. */
	curl_easy_setopt(c->curl, CURLOPT_NOPROXY, socket_path ? "*" : "localhost,127.0.0.1,::1");
}

enum err http_client_new(struct str server, struct str key, struct str user, uint32_t timeout_ms, struct http_client **out)
{
	struct http_client *c = calloc(1, sizeof *c);
	const char *socket_path;
	enum err e = OK;

	if (!c)
		return err_set(E_LIMIT, "out of memory for the HTTP client");
	http_curl_init();
	arena_init(&c->arena, (size_t)1 << 20);
	c->timeout_ms = timeout_ms;
	CHECK(parse_server(c, server, &socket_path));
	if (str_chr(key, '\n', 0) >= 0 || str_chr(key, '\r', 0) >= 0 || str_chr(user, '\n', 0) >= 0 ||
	    str_chr(user, '\r', 0) >= 0) {
		e = err_set(E_INVALID, "key and user must be one line");
		goto out;
	}
	c->key = key.n ? arena_printf(&c->arena, "Authorization: Bearer %.*s", STR_ARG(key)).p : NULL;
	c->user = user.n ? arena_printf(&c->arena, "X-Cenote-User: %.*s", STR_ARG(user)).p : NULL;
	c->curl = curl_easy_init();
	if (!c->curl || (key.n && !c->key) || (user.n && !c->user)) {
		e = err_set(E_LIMIT, "out of memory for the HTTP client");
		goto out;
	}
	set_common(c, socket_path);
	*out = c;
	return OK;
out:
	http_client_free(c);
	return e;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	if (c->curl)
		curl_easy_cleanup(c->curl);
	arena_release(&c->arena);
	free(c);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct call *k = arg;
	long status = 0;

	if (k->fn && curl_easy_getinfo(k->curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status >= 200 && status < 300) {
		k->fn_err = k->fn(k->ctx, str_of(p, size * n));
		return k->fn_err == OK ? size * n : 0;
	}
	if (size * n > k->max_reply - k->body.n) {
		k->too_large = true;
		return 0;
	}
	buf_put(&k->body, p, size * n);
	return k->body.err == OK ? size * n : 0;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct call *k = arg;
	struct str line = str_of(p, size * n), name, value;

	/* A new status line: an interim answer came before. */
	if (str_starts(line, STR("HTTP/"))) {
		k->out->content_type = k->out->request_id = k->out->etag = STR("");
		return line.n;
	}
	if (!str_cut(line, ':', &name, &value))
		return line.n;
	value = str_trim(value);
	if (str_ieq(name, STR("Content-Type")))
		k->out->content_type = arena_str(k->arena, value);
	else if (str_ieq(name, STR("X-Request-Id")))
		k->out->request_id = arena_str(k->arena, value);
	else if (str_ieq(name, STR("ETag")))
		k->out->etag = arena_str(k->arena, value);
	return line.n;
}

static enum err result(const struct http_client *c, const struct call *k, CURLcode code, const char *why)
{
	const char *text = why[0] ? why : curl_easy_strerror(code);

	if (k->too_large)
		return err_kind(E_LIMIT, ERR_SIZE, "the answer is larger than %zu bytes", k->max_reply);
	if (k->body.err != OK)
		return err_kind(E_LIMIT, ERR_SIZE, "the answer is larger than this command may hold");
	if (code == CURLE_OPERATION_TIMEDOUT)
		return err_set(E_TIMEOUT, "the server at %.*s did not answer within %u ms", STR_ARG(c->base),
			       (unsigned)c->timeout_ms);
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return err_set(E_CANCELLED, "stopped");
	if (code == CURLE_OUT_OF_MEMORY)
		return err_set(E_LIMIT, "out of memory for the HTTP client");
	return err_set(E_UPSTREAM, "the server is not reachable: %s", text);
}

static bool add(struct curl_slist **list, const char *line)
{
	struct curl_slist *l = line ? curl_slist_append(*list, line) : *list;

	if (l)
		*list = l;
	return l != NULL || !line;
}

static int on_progress(void *arg, curl_off_t down, curl_off_t down_now, curl_off_t up, curl_off_t up_now)
{
	struct call *k = arg;

	(void)down, (void)down_now, (void)up, (void)up_now;
	if (!k->stop || !k->stop(k->ctx))
		return 0;
	k->client->breaking_off = true;
	return 1;
}

static bool add_all(struct curl_slist **list, const struct call *k)
{
	for (size_t i = 0; i < k->heads_n; i++)
		if (!add(list, k->heads[i]))
			return false;
	return true;
}

static enum err perform(struct http_client *c, struct arena *a, const char *method, struct str path, const char *content_type,
			struct str body, struct call *k, struct http_reply *out)
{
	struct str url = arena_printf(a, "%.*s%.*s", STR_ARG(c->base), STR_ARG(path));
	struct str type = arena_printf(a, "Content-Type: %s", content_type ? content_type : "application/json");
	bool sends = body.n > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
	struct curl_slist *heads = NULL;
	char why[CURL_ERROR_SIZE] = "";
	long status = 0;
	CURLcode code;
	enum err e = OK;

	*out = (struct http_reply){0};
	if (!url.p || !type.p)
		return E_NOMEM;
	buf_init(&k->body, a, k->max_reply + 1);
	if (!add(&heads, c->key) || !add(&heads, c->user) || !add(&heads, body.n ? type.p : "Content-Type:") ||
	    !add(&heads, "Expect:") || !add_all(&heads, k)) {
		e = err_set(E_LIMIT, "out of memory for the HTTP client");
		goto out;
	}
	curl_easy_setopt(c->curl, CURLOPT_URL, url.p);
	curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, why);
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, heads);
	curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, k);
	curl_easy_setopt(c->curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c->curl, CURLOPT_HEADERDATA, k);
	curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, k->stop ? 0L : 1L);
	curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, k);
	curl_easy_setopt(c->curl, CURLOPT_NOBODY, strcmp(method, "HEAD") == 0 ? 1L : 0L);
	if (sends) {
		curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
		curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
		curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body.n ? body.p : "");
	} else if (strcmp(method, "HEAD") != 0) {
		curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
	}
	curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, strcmp(method, "HEAD") == 0 ? NULL : method);
	k->client = c;
	code = curl_easy_perform(c->curl);
	c->breaking_off = false;
	if (code != CURLE_OK) {
		/* What fn refused is its own error and diagnostic. */
		e = k->fn_err != OK ? k->fn_err : result(c, k, code, why);
		goto out;
	}
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	out->status = (int)status;
	out->body = k->body.p ? buf_slice(&k->body) : STR("");
out:
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, NULL);
	curl_slist_free_all(heads);
	return e;
}

enum err http_client_call(struct http_client *c, struct arena *a, const char *method, struct str path, const char *content_type,
			  struct str body, size_t max_reply, struct http_reply *out)
{
	struct call k = {.arena = a, .out = out, .max_reply = max_reply};

	return perform(c, a, method, path, content_type, body, &k, out);
}

/* Slower than a byte a second for as long as the timeout is a standstill; the whole may take any time. */
static enum err piecewise(struct http_client *c, struct arena *a, const char *method, struct str path, struct str body,
			  struct call *k, struct http_reply *out)
{
	enum err e;

	k->curl = c->curl;
	curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, 0L);
	curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, (long)(c->timeout_ms + 999) / 1000);
	e = perform(c, a, method, path, NULL, body, k, out);
	curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
	curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 0L);
	curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, 0L);
	return e;
}

enum err http_client_stream(struct http_client *c, struct arena *a, struct str path, enum err (*fn)(void *ctx, struct str piece),
			    void *ctx, size_t max_reply, struct http_reply *out)
{
	struct call k = {.arena = a, .out = out, .max_reply = max_reply, .fn = fn, .ctx = ctx};

	return piecewise(c, a, "GET", path, STR(""), &k, out);
}

enum err http_client_post(struct http_client *c, struct arena *a, const struct http_client_post *p, struct http_reply *out)
{
	struct call k = {.arena = a,
			 .out = out,
			 .max_reply = p->max_reply,
			 .fn = p->fn,
			 .stop = p->stop,
			 .ctx = p->ctx,
			 .heads = p->heads,
			 .heads_n = p->heads_n};

	return piecewise(c, a, "POST", p->path, p->body, &k, out);
}
