/* Connecting, and telling what went wrong on the other side. */
#include "cli/peer.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/json/json.h"
#include "base/log.h"
#include "cli/interrupt.h"
#include "core/store.h"
#include "daemon/node.h"
#include "store/open.h"

#define LOCK_WAIT_MS 2000
#define DRAIN_MS 10000

struct peer {
	struct http_client *http;
	struct node *node;
	struct str server;
	char dir[128]; /* of the private socket */
	char socket[160];
};

/* Whether somebody accepts on the socket. */
static bool socket_lives(struct str path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	if (path.n == 0 || path.n >= sizeof un.sun_path)
		return false;
	memcpy(un.sun_path, path.p, path.n);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof un) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

static enum err use_daemon(struct call *c, struct peer *k, bool *found)
{
	struct str path = store_socket_path(&c->arena, c->cfg.store);
	*found = socket_lives(path);
	if (!*found)
		return OK;
	k->server = arena_printf(&c->arena, "unix:%.*s", STR_ARG(path));
	return k->server.p ? OK : E_NOMEM;
}

/* A private directory, so that nobody else can reach the socket whatever its mode. */
static enum err private_socket(struct peer *k)
{
	const char *tmp = getenv("XDG_RUNTIME_DIR");
	if (tmp == NULL || access(tmp, W_OK) != 0 || strlen(tmp) > 64)
		tmp = getenv("TMPDIR");
	if (tmp == NULL || access(tmp, W_OK) != 0 || strlen(tmp) > 64)
		tmp = "/tmp";
	snprintf(k->dir, sizeof k->dir, "%s/cenote-XXXXXX", tmp);
	if (mkdtemp(k->dir) == NULL) {
		k->dir[0] = '\0';
		return err_set(E_IO, "cannot make a directory in %s: %s", tmp, strerror(errno));
	}
	snprintf(k->socket, sizeof k->socket, "%s/socket", k->dir);
	interrupt_cleanup(k->socket, k->dir);
	return OK;
}

/* While it runs, other commands on the same store come to this process. */
static enum err listen_for_others(struct call *c, struct peer *k)
{
	struct str path = store_socket_path(&c->arena, c->cfg.store), bound;

	if (path.n == 0 || path.n >= sizeof((struct sockaddr_un *)0)->sun_path)
		return OK;
	umask(077);
	path = arena_printf(&c->arena, "unix:%.*s", STR_ARG(path));
	return path.p ? node_listen(k->node, path, &bound) : E_NOMEM;
}

static enum err start_own(struct call *c, struct peer *k)
{
	struct str bound;
	signal(SIGPIPE, SIG_IGN);
	log_setup(c->verbose ? LOG_DEBUG : LOG_WARN, isatty(2) ? LOG_TEXT : LOG_JSON);
	TRY(node_open(&c->cfg, LOCK_WAIT_MS, &k->node));
	TRY(private_socket(k));
	k->server = arena_printf(&c->arena, "unix:%s", k->socket);
	if (k->server.p == NULL)
		return E_NOMEM;
	TRY(node_listen(k->node, k->server, &bound));
	if (c->cmd->attr & CMD_SERVES)
		TRY(listen_for_others(c, k));
	return node_start(k->node, (c->cmd->attr & CMD_SERVES) != 0);
}

enum err peer_client(struct call *c, struct http_client **out)
{
	const char *key = call_flag(c, "key"), *user = strncmp(c->cmd->name, "import", 6) == 0 ? NULL : call_flag(c, "user");
	return http_client_new(c->peer->server, key ? str_c(key) : c->cfg.api_key, str_c(user), (uint32_t)c->cfg.timeout, out);
}

enum err peer_client_as(struct call *c, struct str user, uint32_t at_least_ms, struct http_client **out)
{
	const char *key = call_flag(c, "key");
	uint32_t ms = (uint32_t)c->cfg.timeout;

	return http_client_new(c->peer->server, key ? str_c(key) : c->cfg.api_key, user, ms > at_least_ms ? ms : at_least_ms, out);
}

bool peer_own(const struct call *c)
{
	return c->peer && c->peer->node;
}

struct str peer_server(const struct call *c)
{
	return c->peer->server;
}

static struct str shown_store(struct call *c)
{
	struct buf b;
	buf_init(&b, &c->arena, 64 << 10);
	store_url_redact(c->cfg.store, &b);
	return buf_slice(&b);
}

enum err peer_open(struct call *c)
{
	if (c->peer)
		return OK;
	TRY(call_config(c));
	struct peer *k = ARENA_NEW(&c->arena, struct peer);
	if (k == NULL)
		return E_NOMEM;
	c->peer = k;
	bool found = false;
	if (c->cfg.server.n) {
		k->server = c->cfg.server;
	} else {
		TRY(use_daemon(c, k, &found));
		enum err e = found ? OK : start_own(c, k);
		/* A daemon may be just starting: it has the lock, its socket comes soon. */
		if (e == E_BUSY) {
			struct diag d = *diag_get();
			TRY(use_daemon(c, k, &found));
			if (!found) {
				*diag_get() = d;
				return e;
			}
		} else if (e != OK) {
			return err_wrap(e, "%.*s", STR_ARG(shown_store(c)));
		}
	}
	if (c->verbose)
		fprintf(stderr, "cenote: %s %.*s\n", k->node ? "opened" : "connected to",
			STR_ARG(k->node ? shown_store(c) : k->server));
	return peer_client(c, &k->http);
}

enum err peer_find(struct call *c, bool *found)
{
	struct peer *k;
	*found = c->peer != NULL;
	if (*found)
		return OK;
	TRY(call_config(c));
	k = ARENA_NEW(&c->arena, struct peer);
	if (k == NULL)
		return E_NOMEM;
	if (c->cfg.server.n) {
		k->server = c->cfg.server;
		*found = true;
	} else {
		TRY(use_daemon(c, k, found));
	}
	if (!*found)
		return OK;
	c->peer = k;
	return peer_client(c, &k->http);
}

void peer_close(struct call *c)
{
	struct peer *k = c->peer;
	if (k == NULL)
		return;
	if (k->http)
		http_client_free(k->http);
	if (k->node) {
		node_drain(k->node, DRAIN_MS);
		node_close(k->node);
	}
	if (k->dir[0]) {
		unlink(k->socket);
		rmdir(k->dir);
	}
	interrupt_cleanup(NULL, NULL);
	c->peer = NULL;
}

/* --------------------------------------------------------------- answers */

static enum err status_err(int status)
{
	switch (status) {
	case 401:
	case 403:
		return E_DENIED;
	case 404:
		return E_NOT_FOUND;
	case 409:
	case 412:
	case 428:
		return E_CONFLICT;
	case 413:
	case 429:
	case 507:
		return E_LIMIT;
	case 503:
		return E_BUSY;
	case 504:
		return E_TIMEOUT;
	case 502:
		return E_UPSTREAM;
	default:
		return status >= 500 ? E_INTERNAL : E_INVALID;
	}
}

enum err reply_check(struct arena *a, const struct http_reply *r)
{
	if (r->status < 400)
		return OK;
	struct json doc;
	struct str detail = {0}, id = r->request_id;
	enum err e = status_err(r->status);
	if (json_parse(a, r->body, &json_default_limits, &doc) == OK) {
		struct jval d = j_get(json_root(&doc), STR("detail")),
			    m = j_get(j_get(json_root(&doc), STR("error")), STR("message")),
			    i = j_get(json_root(&doc), STR("request_id"));
		if (j_is(d, JSON_STRING))
			detail = j_str(a, d);
		else if (j_is(m, JSON_STRING)) /* OpenAI's form */
			detail = j_str(a, m);
		if (id.n == 0 && j_is(i, JSON_STRING))
			id = j_str(a, i);
	}
	const char *hint = r->status == 401 ? "; pass --key or set CENOTE_API_KEY" : "";
	if (detail.n == 0)
		return err_set(e, "the server answered with status %d%s%s%.*s%s", r->status, hint, id.n ? " [req " : "",
			       STR_ARG(id), id.n ? "]" : "");
	return err_set(e, "%.*s%s%s%.*s%s", STR_ARG(detail), hint, id.n ? " [req " : "", STR_ARG(id), id.n ? "]" : "");
}

enum err client_call(struct http_client *h, struct arena *a, const char *method, struct str path, const char *type, struct str body,
		     struct http_reply *out)
{
	TRY(http_client_call(h, a, method, path, type, body, REPLY_LIMIT, out));
	return reply_check(a, out);
}

enum err peer_call(struct call *c, const char *method, struct str path, const char *type, struct str body, struct http_reply *out)
{
	if (path.p == NULL)
		return E_NOMEM;
	return client_call(c->peer->http, &c->arena, method, path, type, body, out);
}

enum err reply_json(struct arena *a, const struct http_reply *r, struct json *out)
{
	const struct json_limits lim = {64, 4000000, REPLY_LIMIT, JSON_DUP_OK};
	enum err e = json_parse(a, r->body, &lim, out);
	return e == OK ? OK : err_wrap(E_UPSTREAM, "the server's answer is not JSON (is it a Cenote server?)");
}
