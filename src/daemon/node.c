/* The server while it runs: its listeners, its loops, what goes on in the background, and how it ends.
 *
 * Invariants
 *  1. Every loop has its own server with its own descriptors: TCP listeners share a port by SO_REUSEPORT, unix and inherited
 *     sockets are duplicates of one.
 *  2. A loop's thread touches only its own struct worker after node_start, but for `left`, `asked` and `answered`, which are
 *     atomic. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/node_impl.h"

/* ------------------------------------------------------------- listening */

static enum err add_fd(struct worker *w, int fd)
{
	if (w->fds_n == LISTENERS_MAX)
		return err_set(E_LIMIT, "more than %d listeners", LISTENERS_MAX);
	w->fds[w->fds_n++] = fd;
	return OK;
}

/* Gives a duplicate of fd to every loop but the first, which gets fd itself. */
static enum err share_fd(struct node *n, int fd)
{
	for (unsigned i = 0; i < n->loops; i++) {
		int mine = i == 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (mine < 0)
			return err_set(E_IO, "a listening socket cannot be duplicated: %s", strerror(errno));
		enum err e = add_fd(&n->workers[i], mine);
		if (e != OK) {
			close(mine);
			return e;
		}
	}
	return OK;
}

static void remember_socket(struct node *n, struct str path)
{
	if (n->sockets_n < LISTENERS_MAX && path.p && stat(path.p, &n->sockets_st[n->sockets_n]) == 0)
		n->sockets[n->sockets_n++] = path;
}

enum err node_listen(struct node *n, struct str addr, struct str *bound)
{
	int fd;
	TRY(http_listen(&n->arena, addr, &fd, bound));
	if (str_starts(addr, STR("unix:"))) {
		remember_socket(n, arena_str(&n->arena, str_sub(addr, 5, addr.n)));
		return share_fd(n, fd);
	}
	TRY(add_fd(&n->workers[0], fd));
	for (unsigned i = 1; i < n->loops; i++) {
		struct str again;
		TRY(http_listen(&n->arena, *bound, &fd, &again));
		TRY(add_fd(&n->workers[i], fd));
	}
	return OK;
}

/* "127.0.0.1:8000", "[::1]:8000" or "unix:/path" of a listening socket. */
static enum err describe(struct arena *a, int fd, struct str *out)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	char host[NI_MAXHOST], port[NI_MAXSERV];
	int listening = 0;
	socklen_t l = sizeof listening;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &l) != 0 || !listening)
		return err_set(E_INVALID, "descriptor %d of LISTEN_FDS is not a listening socket", fd);
	if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
		return err_set(E_IO, "descriptor %d: %s", fd, strerror(errno));
	if (ss.ss_family == AF_UNIX) {
		const struct sockaddr_un *un = (const void *)&ss;
		*out = arena_printf(a, "unix:%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path)), un->sun_path);
		return out->p ? OK : E_NOMEM;
	}
	if (getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return err_set(E_INVALID, "descriptor %d of LISTEN_FDS is no internet or unix socket", fd);
	*out = arena_printf(a, ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	return out->p ? OK : E_NOMEM;
}

enum err node_adopt(struct node *n, int fd, struct str *bound)
{
	TRY(describe(&n->arena, fd, bound));
	if (n->cfg->auth == AUTH_OFF && !http_is_loopback(*bound))
		return err_set(E_DENIED, "the inherited socket %.*s can be reached from other machines, which needs `auth: keys`",
			       STR_ARG(*bound));
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return err_set(E_IO, "descriptor %d: %s", fd, strerror(errno));
	return share_fd(n, fd);
}

/* ----------------------------------------------------------------- loops */

static void report_up(struct node *n, enum err e)
{
	pthread_mutex_lock(&n->mutex);
	n->up++;
	if (e != OK && n->up_err == OK) {
		n->up_err = e;
		n->up_diag = *diag_get();
	}
	pthread_cond_signal(&n->cond);
	pthread_mutex_unlock(&n->mutex);
}

static void sweep_fiber(void *arg)
{
	struct worker *w = arg;
	enum err e = memory_sweep_forever(w->node->memory, (uint32_t)w->node->cfg->ttl_sweep_interval);
	w->sweeper = NULL;
	if (e != OK && e != E_CANCELLED)
		LOG(LOG_ERROR, "sweep", "removing expired items has stopped", LF_C("err", diag_get()->text));
}

static void retention_fiber(void *arg)
{
	struct worker *w = arg;
	enum err e = retention_forever(w->node->memory, w->node->retention, (uint32_t)w->node->cfg->retention_interval);
	w->retainer = NULL;
	if (e != OK && e != E_CANCELLED)
		LOG(LOG_ERROR, "retention", "looking after old threads has stopped", LF_C("err", diag_get()->text));
}

static void start_background(void *arg)
{
	struct worker *w = arg;
	bool ended;
	struct fiber *f = NULL;
	if (fiber_spawn(sweep_fiber, w, &f, &ended) != OK)
		LOG(LOG_ERROR, "sweep", "removing expired items cannot be started", LF_C("err", diag_get()->text));
	else if (!ended)
		w->sweeper = f;
	if (fiber_spawn(retention_fiber, w, &f, &ended) != OK)
		LOG(LOG_ERROR, "retention", "looking after old threads cannot be started", LF_C("err", diag_get()->text));
	else if (!ended)
		w->retainer = f;
}

/* For what waits for a model: as long as the model may take, and a little for the store. */
static uint32_t long_timeout(const struct config *c)
{
	int64_t ms = c->llm_timeout + 5000;
	return (uint32_t)(ms > c->http_request_timeout ? ms : c->http_request_timeout);
}

static void worker_run(struct worker *w)
{
	struct node *n = w->node;
	const struct config *c = n->cfg;
	unsigned per_loop = (unsigned)((c->http_max_connections + n->loops - 1) / n->loops);
	struct http_options ho = {
		.max_body = (size_t)c->http_max_body,
		.max_large_body = (size_t)c->checkpoints_max_body,
		.max_header = (size_t)c->http_max_header,
		.max_connections = per_loop,
		.header_timeout_ms = (uint32_t)c->http_header_timeout,
		.idle_timeout_ms = (uint32_t)c->http_idle_timeout,
		.request_timeout_ms = (uint32_t)c->http_request_timeout,
		.long_timeout_ms = long_timeout(c),
		.auth = auth_request,
		.auth_ctx = n->auth,
		.allowed_hosts = c->http_allowed_hosts.v,
		.allowed_hosts_n = c->http_allowed_hosts.n,
		.local_hosts = c->auth == AUTH_OFF,
		.cors_origins = c->cors_origins.v,
		.cors_origins_n = c->cors_origins.n,
	};
	enum err e = http_server_new(w->loop, n->router, &ho, w->fds, w->fds_n, &w->server);
	if (e == OK)
		w->fds_n = 0; /* the server's now */
	bool first = w == &n->workers[0];
	if (e == OK && first && n->sweep) {
		w->sweep_task = (struct loop_task){.fn = start_background, .arg = w};
		loop_post(w->loop, &w->sweep_task);
	}
	report_up(n, e);
	if (e != OK)
		return;
	loop_run(w->loop);
	http_server_free(w->server);
	w->server = NULL;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct node *n = w->node;
	enum err e = loop_new(&w->loop);
	if (e == OK) {
		loop_set_index(w->loop, (unsigned)(w - n->workers));
		worker_run(w);
		/* The loop itself stays until node_close: posts from outside may still come. */
	} else {
		report_up(n, e);
	}
	if (atomic_fetch_sub(&n->left, 1) == 1) {
		uint64_t one = 1;
		ssize_t wrote = write(n->end_fd, &one, sizeof one);
		(void)wrote; /* an eventfd at 0 always takes it */
	}
	return NULL;
}

static void make_vectors(void *arg)
{
	struct node *n = arg;
	enum err e = vectors_forever(n->vectors);
	if (e != OK && e != E_CANCELLED)
		LOG(LOG_ERROR, "vectors", "making vectors has stopped", LF_C("err", diag_get()->text));
}

static void make_texts(void *arg)
{
	struct node *n = arg;
	enum err e = texts_forever(n->texts, n->memory);
	if (e != OK && e != E_CANCELLED)
		LOG(LOG_ERROR, "texts", "indexing threads has stopped", LF_C("err", diag_get()->text));
}

static void send_traces(void *arg)
{
	struct node *n = arg;
	traces_send(n->traces);
}

static void learn(void *arg)
{
	struct node *n = arg;
	enum err e = extract_forever(n->assist.learner);
	if (e != OK && e != E_CANCELLED)
		LOG(LOG_ERROR, "extract", "learning from turns has stopped", LF_C("err", diag_get()->text));
}

/* Rules take no time; a model does. */
static enum err start_learners(struct node *n)
{
	const struct config *c = n->cfg;
	size_t most = c->memory_extract == EXTRACTING_MODEL || c->memory_summary == SUMMARY_ON ? EXTRACT_WORKERS : 1;
	for (size_t i = 0; n->assist.learner && i < most; i++)
		TRY(background_start("extract", learn, n, &n->learners[i]));
	return OK;
}

static void watch(void *arg)
{
	const struct watched *w = arg;
	mcp_watch(w->servers, w->i);
}

static void watch_functions(void *arg)
{
	struct node *n = arg;
	uc_watch(n->assist.tools.uc);
}

/* Each has a thread of its own, so that one that does not answer holds up no other. */
static enum err start_watches(struct node *n)
{
	struct mcp_servers *m = n->assist.tools.mcp;
	for (size_t i = 0; m && i < mcp_count(m); i++) {
		n->watched[i] = (struct watched){.servers = m, .i = i};
		TRY(background_start("tools", watch, &n->watched[i], &n->watched[i].thread));
	}
	return n->assist.tools.uc ? background_start("tools", watch_functions, n, &n->functions) : OK;
}

enum err node_start(struct node *n, bool sweep)
{
	sigset_t all, old;
	n->sweep = sweep;
	atomic_store(&n->left, n->loops);
	/* Signals are the main thread's: the loops inherit a mask with all of them blocked. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	enum err e = OK;
	unsigned started = 0;
	for (; started < n->loops && e == OK; started++) {
		int rc = pthread_create(&n->workers[started].thread, NULL, worker_main, &n->workers[started]);
		if (rc != 0)
			e = err_set(E_LIMIT, "cannot start a thread: %s", strerror(rc));
		else
			n->workers[started].started = true;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (e != OK)
		return e;
	pthread_mutex_lock(&n->mutex);
	while (n->up < n->loops)
		pthread_cond_wait(&n->cond, &n->mutex);
	e = n->up_err;
	if (e != OK)
		*diag_get() = n->up_diag;
	pthread_mutex_unlock(&n->mutex);
	if (e == OK && sweep && n->embed.encoder)
		e = background_start("vectors", make_vectors, n, &n->maker);
	if (e == OK && sweep)
		e = background_start("texts", make_texts, n, &n->reader);
	if (e == OK && sweep)
		e = start_learners(n);
	if (e == OK && sweep)
		e = start_watches(n);
	if (e == OK && traces_sends(n->traces))
		e = background_start("traces", send_traces, n, &n->tracer);
	if (e == OK && sweep)
		trace_end(n->setup);
	atomic_store(&n->ops.ready, e == OK);
	return e;
}

void node_unready(struct node *n)
{
	atomic_store(&n->ops.ready, false);
}

static void drained(void *arg)
{
	struct worker *w = arg;
	if (w->sweeper)
		fiber_cancel(w->sweeper);
	if (w->retainer)
		fiber_cancel(w->retainer);
	loop_stop(w->loop);
}

static void drain_here(void *arg)
{
	struct worker *w = arg;
	http_server_drain(w->server, w->node->drain_at, drained, w);
}

void node_drain(struct node *n, uint32_t ms)
{
	node_unready(n);
	if (atomic_exchange(&n->draining, true))
		return;
	n->drain_at = ms ? deadline_in_ms(ms) : clock_mono_ns();
	for (unsigned i = 0; i < n->loops; i++) {
		struct worker *w = &n->workers[i];
		w->drain_task = (struct loop_task){.fn = drain_here, .arg = w};
		if (w->loop && w->server)
			loop_post(w->loop, &w->drain_task);
	}
}

bool node_ended(struct node *n)
{
	return atomic_load(&n->left) == 0;
}

int node_end_fd(const struct node *n)
{
	return n->end_fd;
}

static void pong(void *arg)
{
	struct worker *w = arg;
	atomic_store(&w->answered, atomic_load(&w->asked));
}

bool node_alive(struct node *n)
{
	bool all = true;
	for (unsigned i = 0; i < n->loops; i++) {
		struct worker *w = &n->workers[i];
		if (atomic_load(&w->answered) != atomic_load(&w->asked)) {
			all = false; /* the task is still under way: it must not be posted twice */
			continue;
		}
		atomic_fetch_add(&w->asked, 1);
		w->ping_task = (struct loop_task){.fn = pong, .arg = w};
		loop_post(w->loop, &w->ping_task);
	}
	return all;
}
