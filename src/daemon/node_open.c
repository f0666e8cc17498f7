/* What the server is made of, in the order in which it is built up and torn down; and what the configuration means for each part.
 *
 * Invariant: store, encoder < vectors < memory < auth, routes < loops: each lives longer than what comes after it; node_close goes
 * backwards. The threads that make vectors, read threads, learn and send traces end before anything is freed. */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "api/langgraph/langgraph.h"
#include "api/native/native.h"
#include "base/log.h"
#include "daemon/node_impl.h"

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
