/* Wiring: what the server is made of, in the order in which it is built up and torn down.
 *
 * Invariants
 *  1. store, encoder < vectors < memory < auth, routes < loops: each lives longer than what comes after it; node_close goes
 *     backwards. The thread that makes vectors ends before anything is freed.
 *  2. Every loop has its own server with its own descriptors: TCP listeners share a port by SO_REUSEPORT, unix and inherited
 * sockets are duplicates of one.
 *  3. A loop's thread touches only its own struct worker after node_start, but for `left`, `asked` and `answered`, which are
 * atomic. */
#include "daemon/node.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/langgraph/langgraph.h"
#include "api/native/native.h"
#include "api/openai/openai.h"
#include "api/ops/ops.h"
#include "base/log.h"
#include "core/checkpoint.h"
#include "core/texts.h"
#include "core/vectors.h"
#include "daemon/admin.h"
#include "daemon/agents.h"
#include "daemon/assist.h"
#include "daemon/auth.h"
#include "daemon/background.h"
#include "index/rank.h"
#include "obs/traces.h"
#include "rt/fiber.h"
#include "rt/work.h"
#include "store/open.h"

#define LISTENERS_MAX 32
#define LOOPS_MAX 256

struct worker {
	struct node *node;
	pthread_t thread;
	bool started;
	struct loop *loop;
	struct http_server *server;
	int fds[LISTENERS_MAX];
	size_t fds_n;
	struct fiber *sweeper, *retainer;
	struct loop_task drain_task, ping_task, sweep_task;
	atomic_uint asked, answered;
};

struct node {
	struct arena arena;
	struct rank_weights weights; /* of recall */
	struct config *cfg;
	struct store *store;
	struct embed_state embed;
	struct openai_models models;
	struct vectors *vectors;
	struct texts *texts;
	struct background *maker;		      /* of vectors; NULL: none */
	struct background *reader;		      /* of threads, for texts; NULL: none */
	struct background *learners[EXTRACT_WORKERS]; /* NULL: none */
	struct watched {
		struct mcp_servers *servers;
		size_t i;
		struct background *thread; /* NULL: none */
	} watched[MCP_SERVERS_MAX];	   /* asks them which tools they have */
	struct background *functions;	   /* asks the workspace what they are; NULL: there are none */
	struct memory *memory;
	struct traces *traces;	   /* NULL: nobody wants any */
	struct trace *setup;	   /* the trace of opening the store, for the log of a server; NULL: none */
	struct background *tracer; /* sends them; NULL: nowhere */
	struct assist assist;
	struct agents agents;	     /* what asks it */
	struct retention *retention; /* NULL: no rules */
	struct auth *auth;
	struct http_router *router;
	struct admin admin;
	struct api_ops ops;
	struct worker *workers;
	unsigned loops;
	struct str sockets[LISTENERS_MAX]; /* socket files to remove */
	struct stat sockets_st[LISTENERS_MAX];
	size_t sockets_n;
	bool sweep;
	uint64_t drain_at;
	atomic_bool draining;
	atomic_uint left; /* loops that have not ended */
	int end_fd;
	/* Start-up: guarded by mutex. */
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	unsigned up;
	enum err up_err;
	struct diag up_diag;
};

/* --------------------------------------------------------------- opening */

static unsigned cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > LOOPS_MAX ? LOOPS_MAX : (unsigned)n;
}

/* What the store is and who said so; never its password. */
static void tell_store(struct node *n)
{
	const struct config *c = n->cfg;
	const struct opt *o = config_row(STR("store"));
	struct buf url, from;
	size_t rows;
	buf_init(&url, &n->arena, 64 << 10);
	buf_init(&from, &n->arena, 8 << 10);
	store_url_redact(c->store, &url);
	config_origin(c, o, &from);
	LOG(LOG_INFO, "store", "opening", LF_STR("store", buf_slice(&url)), LF_STR("origin", buf_slice(&from)));
	if (c->origin[o - config_rows(&rows)].kind == FROM_FLAG && store_url_has_secret(c->store))
		LOG(LOG_WARN, "store",
		    "the password in --store can be seen by other users of this machine; use CENOTE_PG_PASSWORD, "
		    "--pg-password-file or "
		    "--pg-password-command");
}

/* The settings pg.*. */
static struct pg_options pg_options(const struct config *c)
{
	_Static_assert((int)PREPARE_ON == (int)PG_PREPARE_ON && (int)PREPARE_OFF == (int)PG_PREPARE_OFF, "same order");
	return (struct pg_options){
		.schema = c->pg_schema,
		.pool_min = (unsigned)c->pg_pool_min,
		.pool_max = (unsigned)c->pg_pool_max,
		.no_pool = !c->pg_pool_enabled,
		.statement_ms = (uint32_t)c->pg_statement_timeout,
		.connect_ms = (uint32_t)c->pg_connect_timeout,
		.application_name = c->pg_application_name,
		.prepare = (enum pg_prepare)c->pg_prepare,
		.password = c->pg_password,
		.password_command = c->pg_password_command,
		.password_file = c->pg_password_file,
		.password_life_ms = (uint32_t)c->pg_password_life,
		.recycle_ms = (uint32_t)c->pg_recycle,
		.no_ddl = !c->pg_migrate,
		.log_statements = c->pg_log_statements,
		.no_vectors = c->pg_vectors == PG_VECTORS_OFF,
		.hnsw_least = c->pg_hnsw ? (uint64_t)c->pg_hnsw : UINT64_MAX,
	};
}

struct store_options node_store_options(const struct config *c, uint32_t busy_ms)
{
	_Static_assert((int)LAYOUT_LANGGRAPH == (int)CKPT_LAYOUT_LANGGRAPH && (int)LAYOUT_COMPACT == (int)CKPT_LAYOUT_COMPACT,
		       "same order");
	return (struct store_options){
		.durable = c->sqlite_durability == DURABILITY_FULL,
		.cache_bytes = (size_t)c->sqlite_cache,
		.wal_limit_bytes = (size_t)c->sqlite_wal_limit,
		.busy_ms = busy_ms,
		.layout = (enum ckpt_layout)c->checkpoints_layout,
		.pg = pg_options(c),
	};
}

struct embed_settings node_embed_settings(const struct config *c)
{
	return (struct embed_settings){
		.kind = (enum embed_kind)c->embed_kind,
		.remote = {.base_url = c->embed_base_url,
			   .model = c->embed_model,
			   .api_key = c->embed_api_key,
			   .ca_file = c->embed_ca_file,
			   .dims = (uint32_t)c->embed_dims,
			   .batch = (uint32_t)c->embed_batch,
			   .concurrency = (unsigned)c->embed_concurrency,
			   .timeout_ms = (uint32_t)c->embed_timeout},
		.model_dir = c->embed_model_dir,
		.cache_bytes = (size_t)c->embed_cache_bytes,
	};
}

const struct embed_state *node_embed(const struct node *n)
{
	return &n->embed;
}

struct str node_languages(const struct config *c, struct buf *out)
{
	for (size_t i = 0; i < c->index_languages.n; i++) {
		buf_lit(out, i ? "," : "");
		buf_str(out, c->index_languages.v[i]);
	}
	return out->n ? buf_slice(out) : STR("english");
}

/* The weights of recall: the usual ones, and over them what the configuration says. */
static enum err set_weights(const struct config *c, struct rank_weights *w)
{
	const struct str_list *lists[RANK_FORMS] = {[RANK_FULL] = &c->recall_weights_full,
						    [RANK_WORDS] = &c->recall_weights_words,
						    [RANK_ITEMS] = &c->recall_weights_items};
	*w = *rank_weights_default();
	for (int f = 0; f < RANK_FORMS; f++)
		for (size_t i = 0; i < lists[f]->n; i++)
			TRY(rank_weight_set(w, (enum rank_form)f, lists[f]->v[i]));
	return OK;
}

static enum err open_traces(struct node *n)
{
	const struct config *c = n->cfg;
	const struct traces_options to = {
		.contents = c->traces_content,
		.keep = (uint32_t)c->traces_keep,
		.keep_bytes = (size_t)c->traces_keep_bytes,
		.endpoint = c->traces_endpoint,
		.experiment = c->traces_experiment,
		.run = c->traces_run,
		.table = c->traces_table,
		.token = c->traces_token,
		.headers = c->traces_headers,
		.ca_file = c->traces_ca_file,
		.timeout_ms = (uint32_t)c->traces_timeout,
		.queue = (uint32_t)c->traces_queue,
	};

	TRY(traces_open(&to, &n->traces));
	if (traces_sends(n->traces))
		LOG(LOG_INFO, "traces", "traces are sent", LF_STR("url", c->traces_endpoint),
		    LF_C("content", c->traces_content ? "yes" : "no"));
	return OK;
}

static enum err open_encoder(struct node *n)
{
	struct embed_settings es = node_embed_settings(n->cfg);
	struct embed_state *s = &n->embed;
	TRY(embed_open(&es, s));
	if (s->encoder)
		LOG(LOG_INFO, "embed", "encoder opened", LF_C("kind", s->kind), LF_STR("model", s->encoder->model),
		    LF_INT("dims", s->encoder->dims));
	else
		LOG(s->broken ? LOG_WARN : LOG_INFO, "embed", "no encoder: search goes by words alone", LF_C("why", s->why));
	n->models = (struct openai_models){.encoder = s->encoder, .why = s->why};
	return OK;
}

static enum err open_former(void *ctx, struct str model, uint32_t dims, struct embedder **out)
{
	struct node *n = ctx;
	struct embed_settings es = node_embed_settings(n->cfg);
	return embed_open_model(&es, model, dims, out);
}

static enum err open_vectors(struct node *n)
{
	_Static_assert((int)PG_VECTORS_ON == (int)FOREIGN_ON && (int)PG_VECTORS_OFF == (int)FOREIGN_OFF, "same order");
	struct buf languages;
	buf_init(&languages, &n->arena, 64 << 10);
	struct vectors_options vo = {.languages = node_languages(n->cfg, &languages),
				     .foreign = (enum vectors_foreign)n->cfg->pg_vectors,
				     .foreign_fields = n->cfg->pg_vector_fields.v,
				     .foreign_fields_n = n->cfg->pg_vector_fields.n,
				     .asker = n->embed.encoder,
				     .question_ms = (uint32_t)n->cfg->embed_question_timeout,
				     .open = open_former,
				     .ctx = n};
	return vectors_new(n->store, n->embed.meter, &vo, &n->vectors);
}

/* An SQLite file has no other writers: there only what was forgotten to be told is found later. */
static enum err open_texts(struct node *n)
{
	bool shared = strcmp(n->store->ops->name, "sqlite") != 0;
	struct texts_options to = {.off = !n->cfg->recall_threads, .poll_ms = shared ? 2000 : 15000};
	return texts_new(n->store, &to, &n->texts);
}

static enum err open_store(struct node *n, uint32_t busy_ms)
{
	const struct config *c = n->cfg;
	struct store_options so = node_store_options(c, busy_ms);
	struct buf langs;
	tell_store(n);
	TRY(set_weights(c, &n->weights));
	TRY(store_open(c->store, &so, &n->store));
	TRY(open_vectors(n));
	TRY(open_texts(n));
	buf_init(&langs, &n->arena, 64 << 10);
	struct memory_options mo = {
		.index_cache_bytes = (size_t)c->index_cache,
		.refresh_on_read = c->ttl_refresh_on_read,
		.default_ttl_minutes = (double)c->ttl_default / 60000.0,
		.omit_expired = c->ttl_omit_expired,
		.vectors = n->vectors,
		.texts = n->texts,
		.weights = &n->weights,
		.near = (double)c->recall_near / 100.0,
		.languages = node_languages(c, &langs),
	};
	return memory_new(n->store, &mo, &n->memory);
}

/* The memory is set up: a trace of its own, as those know it who have traced theirs with MLflow. It is nobody's: collectors get it,
 * tenants do not see it. */
static enum err open_store_traced(struct node *n, uint32_t busy_ms)
{
	static const struct principal nobody = {.tenant = STR_INIT(""), .id = STR_INIT("setup")};
	struct trace_span *s;
	struct buf url;
	enum err e;

	n->setup = trace_begin(traces_tracer(n->traces), &n->arena, &nobody, STR(""), STR(""));
	s = span_begin(n->setup, NULL, SPAN_MEMORY, STR("setup_memory_store"));
	span_str(s, "embedding_endpoint", n->embed.encoder ? n->embed.encoder->model : STR("none"));
	e = open_store(n, busy_ms);
	buf_init(&url, &n->arena, 64 << 10);
	store_url_redact(n->cfg->store, &url);
	span_str(s, "instance_name", buf_slice(&url));
	if (e == OK)
		span_str(s, "status", STR("success"));
	return span_end(s, e);
}

static void more_metrics(void *arg, struct buf *out)
{
	struct node *n = arg;
	auth_metrics(n->auth, out);
	retention_metrics(out);
	embed_metrics(&n->embed, out);
	vectors_metrics(n->vectors, out);
	texts_metrics(n->texts, out);
	assistant_metrics(out);
	extract_metrics(n->assist.learner, out);
	mcp_metrics(n->assist.tools.mcp, out);
	uc_metrics(n->assist.tools.uc, out);
	traces_metrics(n->traces, out);
}

static enum err add_routes(struct node *n)
{
	struct auth_options ao = {.keys = n->cfg->auth == AUTH_KEYS};
	TRY(auth_new(n->store, &ao, &n->auth));
	TRY(http_router_new(&n->router));
	n->admin = (struct admin){.store = n->store, .auth = n->auth, .cfg = n->cfg};
	TRY(api_langgraph_add(n->router, n->memory));
	TRY(api_native_add(n->router, n->memory));
	TRY(api_native_traces_add(n->router, traces_tracer(n->traces)));
	TRY(api_openai_add(n->router, n->memory));
	TRY(api_openai_models_add(n->router, &n->models));
	TRY(agents_add(n->router, n->cfg, &n->assist.service, &n->agents));
	n->ops.memory = n->memory;
	n->ops.no_metrics = !n->cfg->metrics_enabled;
	n->ops.metrics = more_metrics;
	n->ops.metrics_arg = n;
	TRY(api_ops_add(n->router, &n->ops));
	return admin_add(n->router, &n->admin);
}

enum err node_open(struct config *c, uint32_t busy_ms, struct node **out)
{
	struct node *n = calloc(1, sizeof *n);
	if (n == NULL)
		return err_set(E_LIMIT, "out of memory");
	enum err e = OK;
	arena_init(&n->arena, 1 << 20);
	pthread_mutex_init(&n->mutex, NULL);
	pthread_cond_init(&n->cond, NULL);
	n->cfg = c;
	n->loops = c->http_loops ? (unsigned)c->http_loops : cores();
	n->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	n->workers = calloc(n->loops, sizeof *n->workers);
	if (n->workers == NULL || n->end_fd < 0) {
		e = err_set(E_LIMIT, "out of memory or descriptors");
		goto out;
	}
	for (unsigned i = 0; i < n->loops; i++)
		n->workers[i].node = n;
	CHECK(retention_parse(c->privacy_retention, &n->retention));
	CHECK(open_traces(n));
	CHECK(open_encoder(n));
	CHECK(open_store_traced(n, busy_ms));
	CHECK(assist_open(c, n->memory, traces_tracer(n->traces), &n->assist));
	n->models.chat = n->assist.llm ? n->assist.llm->model : str_of(NULL, 0);
	CHECK(add_routes(n));
out:
	if (e != OK) {
		struct diag d = *diag_get();
		node_close(n);
		*diag_get() = d;
		return e;
	}
	*out = n;
	return OK;
}

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

/* --------------------------------------------------------------- closing */

/* Removes the socket file, unless another process has put its own there meanwhile. */
static void remove_sockets(struct node *n)
{
	for (size_t i = 0; i < n->sockets_n; i++) {
		struct stat st;
		if (stat(n->sockets[i].p, &st) == 0 && st.st_ino == n->sockets_st[i].st_ino && st.st_dev == n->sockets_st[i].st_dev)
			unlink(n->sockets[i].p);
	}
}

void node_close(struct node *n)
{
	if (n == NULL)
		return;
	/* Before the store's lock is given back: the next owner makes its own socket there. */
	remove_sockets(n);
	for (unsigned i = 0; n->workers && i < n->loops; i++)
		if (n->workers[i].started)
			pthread_join(n->workers[i].thread, NULL);
	for (unsigned i = 0; n->workers && i < n->loops; i++) {
		struct worker *w = &n->workers[i];
		for (size_t k = 0; k < w->fds_n; k++)
			close(w->fds[k]);
		if (w->loop)
			loop_free(w->loop);
	}
	/* Nobody makes traces any more. */
	if (n->tracer)
		(void)traces_drain(n->traces, (uint32_t)n->cfg->traces_shutdown_timeout);
	background_stop(n->tracer);
	for (size_t i = 0; i < EXTRACT_WORKERS; i++)
		background_stop(n->learners[i]);
	for (size_t i = 0; i < MCP_SERVERS_MAX; i++)
		background_stop(n->watched[i].thread);
	background_stop(n->functions);
	background_stop(n->reader);
	background_stop(n->maker);
	if (n->router)
		http_router_free(n->router);
	auth_free(n->auth);
	retention_free(n->retention);
	assist_close(&n->assist);
	traces_close(n->traces);
	if (n->memory)
		memory_free(n->memory);
	vectors_free(n->vectors);
	texts_free(n->texts);
	embed_state_close(&n->embed);
	if (n->store)
		n->store->ops->close(n->store);
	if (n->end_fd >= 0)
		close(n->end_fd);
	free(n->workers);
	pthread_cond_destroy(&n->cond);
	pthread_mutex_destroy(&n->mutex);
	arena_release(&n->arena);
	free(n);
}
