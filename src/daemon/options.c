/* The table of settings, and what follows from a row alone: the names of its flag and its variable, and looking rows up. */
#include "daemon/config.h"

#include <stdio.h>

#define ROW(key, type, attr, field, dflt, range, help)                                                                             \
	{                                                                                                                          \
		key, type, attr, offsetof(struct config, field), dflt, range, help                                                 \
	}

static const struct opt rows[] = {
	ROW("listen", OPT_ADDR, 0, listen, "127.0.0.1:8000", NULL,
	    "where to accept requests: ADDR:PORT (port 0: any free one), [ADDR6]:PORT or unix:PATH; repeat for several. The unix "
	    "socket "
	    "in the store's directory is always there besides"),
	ROW("store", OPT_URL, OPT_EMBED, store, "sqlite:DATA", NULL,
	    "the store: sqlite:PATH (a directory, made when missing), or postgresql://USER@HOST:PORT/DATABASE?PARAMETERS with "
	    "everything that libpq takes"),
	ROW("data", OPT_STR, OPT_EMBED, data, "$XDG_DATA_HOME/cenote", NULL,
	    "the data directory; the store lies in it unless `store` says otherwise"),
	ROW("auth", OPT_ENUM, 0, auth, "off", "off|keys",
	    "who may ask: off (everybody on this machine; only for loopback listeners) or keys (an API key with every request)"),
	ROW("http.max_body", OPT_SIZE, 0, http_max_body, "8MiB", "1KiB..1GiB", "largest request body"),
	ROW("http.max_header", OPT_SIZE, 0, http_max_header, "32KiB", "1KiB..1MiB", "largest request line and header together"),
	ROW("http.max_connections", OPT_INT, 0, http_max_connections, "10000", "1..1000000",
	    "open connections over all loops; the next one is answered 503"),
	ROW("http.loops", OPT_INT, OPT_EMBED, http_loops, "0", "0..256", "event loops, one thread each; 0: one per core"),
	ROW("http.header_timeout", OPT_DURATION, 0, http_header_timeout, "10s", "100ms..10m",
	    "time for a request's header, and again for its body"),
	ROW("http.idle_timeout", OPT_DURATION, 0, http_idle_timeout, "60s", "1s..1h",
	    "how long a kept-alive connection may be idle"),
	ROW("http.request_timeout", OPT_DURATION, 0, http_request_timeout, "60s", "100ms..1h",
	    "time for an answer, or for each piece of a streamed one; then 504"),
	ROW("http.drain_delay", OPT_DURATION, OPT_RELOAD, http_drain_delay, "0s", "0s..5m",
	    "on SIGTERM: how long to go on accepting while /readyz says 503 already"),
	ROW("http.shutdown_timeout", OPT_DURATION, OPT_RELOAD, http_shutdown_timeout, "25s", "0s..10m",
	    "on SIGTERM: how long requests under way may take to finish"),
	ROW("http.allowed_hosts", OPT_LIST, 0, http_allowed_hosts, "", NULL,
	    "Host names that requests may have; empty: any; with auth off localhost, names without a dot, names below internal, "
	    "and addresses"),
	ROW("cors.origins", OPT_LIST, 0, cors_origins, "", NULL,
	    "web origins that browsers may call from (https://app.example), or *; empty: none"),
	ROW("sqlite.durability", OPT_ENUM, OPT_EMBED, sqlite_durability, "full", "full|normal",
	    "full: an answered write survives power loss; normal: it survives a crash of the program"),
	ROW("sqlite.cache", OPT_SIZE, OPT_EMBED, sqlite_cache, "8MiB", "64KiB..16GiB", "page cache of one database connection"),
	ROW("sqlite.wal_limit", OPT_SIZE, OPT_EMBED, sqlite_wal_limit, "8MiB", "1MiB..16GiB",
	    "size of the write-ahead log that starts a checkpoint"),
	ROW("pg.host", OPT_STR, OPT_EMBED, pg_host, "", NULL,
	    "the store in parts, instead of `store`: host of PostgreSQL, HOST or HOST:PORT (also: conn_host)"),
	ROW("pg.database", OPT_STR, OPT_EMBED, pg_database, "", NULL,
	    "its database; empty: databricks_postgres (also: conn_db_name)"),
	ROW("pg.user", OPT_STR, OPT_EMBED, pg_user, "", NULL, "the user at pg.host; empty: PGUSER, else who runs the server"),
	ROW("pg.sslmode", OPT_ENUM, OPT_EMBED, pg_sslmode, "auto", "auto|disable|allow|prefer|require|verify-ca|verify-full",
	    "TLS to pg.host, in libpq's words: require refuses a server without it; auto: PGSSLMODE, else require, but prefer on "
	    "this "
	    "machine (also: conn_ssl_mode)"),
	ROW("pg.schema", OPT_STR, OPT_EMBED, pg_schema, "public", NULL,
	    "schema of the tables on PostgreSQL; a tenant NAME has SCHEMA_NAME"),
	ROW("pg.pool.enabled", OPT_BOOL, OPT_EMBED, pg_pool_enabled, "true", NULL,
	    "keep connections to PostgreSQL open; false: a connection per use"),
	ROW("pg.pool.min", OPT_INT, OPT_EMBED, pg_pool_min, "2", "1..1000", "connections to PostgreSQL that are kept open"),
	ROW("pg.pool.max", OPT_INT, OPT_EMBED, pg_pool_max, "0", "0..1000", "connections to PostgreSQL at most; 0: two per core"),
	ROW("pg.statement_timeout", OPT_DURATION, OPT_EMBED, pg_statement_timeout, "30s", "100ms..1h",
	    "time for one statement on PostgreSQL"),
	ROW("pg.connect_timeout", OPT_DURATION, OPT_EMBED, pg_connect_timeout, "5s", "100ms..5m",
	    "time for one login to PostgreSQL"),
	ROW("pg.application_name", OPT_STR, OPT_EMBED, pg_application_name, "cenote", NULL,
	    "name shown in pg_stat_activity, unless the URL or PGAPPNAME gives one"),
	ROW("pg.prepare", OPT_ENUM, OPT_EMBED, pg_prepare, "auto", "auto|on|off",
	    "prepared statements; auto: until a pooler turns out to lose them"),
	ROW("pg.password", OPT_SECRET, OPT_EMBED, pg_password, "", NULL, "password for PostgreSQL"),
	ROW("pg.password_file", OPT_STR, OPT_EMBED, pg_password_file, "", NULL,
	    "file with the password for PostgreSQL, read at each login; mode 0600 or a systemd credential"),
	ROW("pg.password_command", OPT_STR, OPT_EMBED, pg_password_command, "", NULL,
	    "command (for /bin/sh) that prints the password for PostgreSQL, for passwords that expire"),
	ROW("pg.password_life", OPT_DURATION, OPT_EMBED, pg_password_life, "0s", "0s..30d",
	    "how long a password of the command or the file is good for logins; connections end with it; 0: until it is refused"),
	ROW("pg.recycle", OPT_DURATION, OPT_EMBED, pg_recycle, "45m", "0s..30d",
	    "age at which a connection to PostgreSQL is replaced; 0: never"),
	ROW("pg.log_statements", OPT_BOOL, OPT_EMBED, pg_log_statements, "false", NULL,
	    "log each statement on PostgreSQL, its text and how long it took, without what it was given (at log.level info)"),
	ROW("pg.migrate", OPT_BOOL, OPT_EMBED, pg_migrate, "true", NULL,
	    "make missing tables on PostgreSQL; false: only look whether they are there"),
	ROW("pg.vectors", OPT_ENUM, OPT_EMBED, pg_vectors, "auto", "auto|on|off",
	    "vectors that LangGraph's PostgresStore keeps (store_vectors): auto: taken over, and written for what Cenote writes, "
	    "as "
	    "soon as some of them show that they are of the model in use; on: written, too, while there are none; off: left alone"),
	ROW("pg.vector_fields", OPT_LIST, OPT_EMBED, pg_vector_fields, "$", NULL,
	    "what is embedded in store_vectors of items that name no paths: index.fields of the PostgresStore beside; $: the whole "
	    "value"),
	ROW("pg.hnsw", OPT_INT, OPT_EMBED, pg_hnsw, "50000", "0..1000000000",
	    "namespaces of so many items whose vectors do not fit index.cache are searched by an index in the database "
	    "(pgvector's HNSW), which is made for the first such question; 0: never"),
	ROW("checkpoints.layout", OPT_ENUM, OPT_EMBED, checkpoints_layout, "auto", "auto|langgraph|compact",
	    "how checkpoints are stored: langgraph (LangGraph's own tables, which its savers read and write too; PostgreSQL only) "
	    "or "
	    "compact (what versions of a channel have in common is stored once); auto: langgraph on PostgreSQL, compact on SQLite"),
	ROW("checkpoints.max_body", OPT_SIZE, 0, checkpoints_max_body, "128MiB", "1MiB..1GiB",
	    "largest request body with checkpoints, whatever http.max_body says"),
	ROW("privacy.retention", OPT_STR, OPT_EMBED, privacy_retention, "", NULL,
	    "what is kept of threads: rules separated by semicolons, the first that fits a thread counts: TENANT: WORDS or "
	    "TENANT/THREAD-PREFIX: WORDS, where TENANT may be * and WORDS are last=N (the newest N checkpoints stay), days=D (so "
	    "do "
	    "those younger than D days), every=N (so do those of every Nth step), idle=D (threads are deleted D days after their "
	    "last "
	    "change); empty: everything is kept"),
	ROW("retention.interval", OPT_DURATION, 0, retention_interval, "10m", "1s..7d",
	    "how often threads are looked at for what privacy.retention and their own time to live say"),
	ROW("index.cache", OPT_SIZE, OPT_EMBED, index_cache, "128MiB", "0..1TiB",
	    "memory for word indexes of scopes; 0: search scans each time"),
	ROW("index.languages", OPT_LIST, OPT_EMBED, index_languages, "english", NULL,
	    "language of the texts, and of namespaces below a prefix: english, notes.de=german; none: no stemming"),
	ROW("recall.threads", OPT_BOOL, 0, recall_threads, "true", NULL,
	    "recall also finds what sessions (entries) and states of graphs (checkpoints) say; false: it does not, and what was "
	    "indexed of them is removed"),
	ROW("recall.near", OPT_INT, OPT_EMBED, recall_near, "97", "0..100",
	    "recall gives only the best of results that say the same: those with equal texts, or with vectors whose cosine is at "
	    "least so many percent; 0: gives all"),
	ROW("recall.weights.full", OPT_LIST, OPT_EMBED, recall_weights_full, "", NULL,
	    "weights in the ranking of messages that have vectors, as FEATURE=NUMBER, where they are to be others than the usual "
	    "ones: lex=2, pair=1, prev2=0.7, sess=0.5, date=3.8, when=0.8, v=3.4, vnext=1.2, cover=3.3, answer=2.8, ask=-3, "
	    "spk=1.2, "
	    "user=2"),
	ROW("recall.weights.words", OPT_LIST, OPT_EMBED, recall_weights_words, "", NULL,
	    "the same for messages without vectors: lex=3.7, pair=1.5, prev2=0.9, sess=0.8, date=3.9, when=0.9, cover=3.6, "
	    "answer=3.1, ask=-2.3, spk=1.2, user=2.6"),
	ROW("recall.weights.items", OPT_LIST, OPT_EMBED, recall_weights_items, "", NULL,
	    "the same for items that have vectors: lex=1, v=1.5"),
	ROW("embed.kind", OPT_ENUM, OPT_EMBED, embed_kind, "auto", "auto|minilm|remote|off",
	    "what turns texts into vectors, for search by meaning: minilm (built in, needs the model's files), remote (the service "
	    "at "
	    "embed.base_url) or off (search by words alone); auto: remote when embed.base_url is set, else minilm when its files "
	    "are "
	    "there, else words alone"),
	ROW("embed.base_url", OPT_STR, OPT_EMBED, embed_base_url, "", NULL,
	    "service that speaks OpenAI's API of embeddings: https://HOST/v1, or https://HOST/serving-endpoints on Databricks"),
	ROW("embed.model", OPT_STR, OPT_EMBED, embed_model, "", NULL, "the service's model"),
	ROW("embed.api_key", OPT_SECRET, OPT_EMBED, embed_api_key, "", NULL, "key for the service of embeddings"),
	ROW("embed.ca_file", OPT_STR, OPT_EMBED, embed_ca_file, "", NULL,
	    "file with the certificates (PEM) that the service of embeddings is trusted by, instead of the system's"),
	ROW("embed.dims", OPT_INT, OPT_EMBED, embed_dims, "0", "0..8192",
	    "dimensions of the service's vectors; a model that has more is asked to shorten them; 0: as many as it gives"),
	ROW("embed.batch", OPT_INT, OPT_EMBED, embed_batch, "0", "0..2048",
	    "texts in one request to the service; 0: 96, or 20 on Databricks"),
	ROW("embed.concurrency", OPT_INT, OPT_EMBED, embed_concurrency, "4", "1..256", "requests to the service at a time"),
	ROW("embed.timeout", OPT_DURATION, OPT_EMBED, embed_timeout, "30s", "100ms..10m",
	    "time for one request to the service; it is sent up to three times"),
	ROW("embed.question_timeout", OPT_DURATION, OPT_EMBED, embed_question_timeout, "3s", "10ms..60s",
	    "how long a search waits for the vector of its question before it goes by words"),
	ROW("embed.model_dir", OPT_STR, OPT_EMBED, embed_model_dir, "DATA/models", NULL,
	    "folder where `cenote model` puts models and where they are looked for"),
	ROW("embed.cache_bytes", OPT_SIZE, OPT_EMBED, embed_cache_bytes, "4MiB", "0..1TiB",
	    "memory for vectors of texts that were asked for before; 0: none"),
	ROW("llm.base_url", OPT_STR, OPT_EMBED, llm_base_url, "", NULL,
	    "model server that speaks OpenAI's API of chat completions: https://HOST/v1, or https://HOST/serving-endpoints on "
	    "Databricks; empty: DATABRICKS_HOST, else nothing answers"),
	ROW("llm.model", OPT_STR, OPT_EMBED, llm_model, "databricks-claude-sonnet-4-5", NULL,
	    "the chat model; on Databricks databricks-claude-sonnet-4-5, databricks-gpt-5, databricks-gemini-2-5-pro, "
	    "databricks-llama-4-maverick or any other endpoint"),
	ROW("llm.extract_model", OPT_STR, OPT_EMBED, llm_extract_model, "", NULL,
	    "the model that extracts facts, on the same server; empty: llm.model"),
	ROW("llm.summary_model", OPT_STR, OPT_EMBED, llm_summary_model, "", NULL,
	    "the model that summarises long threads, on the same server; empty: llm.model"),
	ROW("llm.temperature", OPT_STR, OPT_EMBED, llm_temperature, "", NULL,
	    "temperature of the chat model, 0 to 2, where a request does not say one; empty: the server's own"),
	ROW("llm.max_tokens", OPT_INT, OPT_EMBED, llm_max_tokens, "0", "0..10000000",
	    "longest answer of the chat model in tokens, where a request does not say; 0: the server's own"),
	ROW("llm.headers", OPT_LIST, OPT_EMBED, llm_headers, "", NULL,
	    "headers that the model server gets with each request, as NAME=VALUE; a secret is named instead of written: "
	    "NAME=$VARIABLE of the environment, or NAME=@PATH of a file (mode 0600 or a systemd credential)"),
	ROW("llm.api_key", OPT_SECRET, OPT_EMBED, llm_api_key, "", NULL,
	    "key for the model server; empty: DATABRICKS_TOKEN where DATABRICKS_HOST gives the server"),
	ROW("llm.system_prompt", OPT_STR, OPT_EMBED | OPT_LINES, llm_system_prompt, "You are a helpful assistant.", NULL,
	    "what the model is told first, unless a request says something else"),
	ROW("llm.concurrency", OPT_INT, OPT_EMBED, llm_concurrency, "4096", "1..4096", "requests to the model server at a time"),
	ROW("llm.timeout", OPT_DURATION, OPT_EMBED, llm_timeout, "5m", "100ms..1h",
	    "time for an answer of the model; until something of it has been handed on it is asked up to three times"),
	ROW("llm.idle_timeout", OPT_DURATION, OPT_EMBED, llm_idle_timeout, "60s", "100ms..1h",
	    "longest silence of the model server: before the first word, and between two"),
	ROW("llm.streaming", OPT_BOOL, OPT_EMBED, llm_streaming, "true", NULL,
	    "ask the model for its answer word by word where the answer is streamed; false: it is asked for whole, and handed on "
	    "in "
	    "one piece (also: model.streaming)"),
	ROW("llm.token_limit", OPT_ENUM, OPT_EMBED, llm_token_limit, "max_tokens", "max_tokens|max_completion_tokens",
	    "the name under which the model server takes the limit of an answer's length"),
	ROW("llm.stream_usage", OPT_BOOL, OPT_EMBED, llm_stream_usage, "true", NULL,
	    "ask for the tokens of streamed answers (stream_options); false for servers that refuse to be asked"),
	ROW("mlflow.chat_reply", OPT_ENUM, 0, mlflow_chat_reply, "choices", "choices|messages",
	    "how POST /invocations answers a body with messages: choices (as chat completions) or messages (as MLflow's chat "
	    "agents)"),
	ROW("memory.max_history", OPT_INT, OPT_EMBED, memory_max_history, "20", "1..10000",
	    "messages of a thread that the model gets, the new one included: more is more context, more latency and more tokens; "
	    "less is fast and cheap, and forgets"),
	ROW("memory.step_timeout", OPT_DURATION, OPT_EMBED, memory_step_timeout, "10s", "100ms..1h",
	    "time for each step of a turn that asks the store: finding the thread, loading it, its summary, recall, keeping; after "
	    "a later one the turn goes on without memory, and says so"),
	ROW("memory.history_tokens", OPT_INT, OPT_EMBED, memory_history_tokens, "32000", "0..10000000",
	    "tokens that these messages may take, about; the oldest beyond are left out, never what came with the turn; 0: any"),
	ROW("memory.recall", OPT_INT, OPT_EMBED, memory_recall, "5", "0..100",
	    "memories of the user that a turn's question brings up and the model gets besides; 0: none"),
	ROW("memory.recall_tokens", OPT_INT, OPT_EMBED, memory_recall_tokens, "2000", "0..1000000",
	    "tokens that these memories may take, about; 0: any"),
	ROW("memory.extract", OPT_ENUM, OPT_EMBED, memory_extract, "rules", "off|rules|model",
	    "facts, preferences and entities that a user states in a turn are kept as theirs, behind the turn: rules: by a few "
	    "patterns of plain English (\"I live in ..\"); model: by llm.extract_model, with one more request for each turn"),
	ROW("memory.summary", OPT_ENUM, OPT_EMBED, memory_summary, "off", "off|on",
	    "what falls out of memory.max_history and memory.history_tokens is summed up by llm.summary_model, and the model gets "
	    "that instead"),
	ROW("tools.memory", OPT_BOOL, OPT_EMBED, tools_memory, "true", NULL,
	    "let the model remember, look up and forget things about the user whom it talks to (get_user_memory, save_user_memory, "
	    "delete_user_memory, search_conversations)"),
	ROW("tools.samples", OPT_BOOL, OPT_EMBED, tools_samples, "false", NULL,
	    "offer the model get_cyber_threat_info and get_user_info, over the rows that `cenote demo tools` makes"),
	ROW("tools.file", OPT_STR, OPT_EMBED, tools_file, "", NULL,
	    "file (JSON) that declares further tools, calls of HTTP services and tools of MCP servers; read at the start"),
	ROW("tools.allow_hosts", OPT_LIST, OPT_EMBED, tools_allow_hosts, "", NULL,
	    "hosts that the tools of tools.file may reach: NAME, *.DOMAIN or ADDRESS, each with :PORT or not, and NETWORK/BITS for "
	    "private addresses that names may lead to; empty: none"),
	ROW("tools.ca_file", OPT_STR, OPT_EMBED, tools_ca_file, "", NULL,
	    "file with the certificates (PEM) that these hosts and tools.uc_host are trusted by, instead of the system's"),
	ROW("tools.uc_functions", OPT_LIST, OPT_EMBED, tools_uc_functions, "", NULL,
	    "functions of Unity Catalog that the model may have called, as CATALOG.SCHEMA.FUNCTION (also: uc_tool_names); needs "
	    "tools.uc_warehouse_id, tools.uc_host and tools.uc_token"),
	ROW("tools.uc_warehouse_id", OPT_STR, OPT_EMBED, tools_uc_warehouse_id, "", NULL,
	    "the SQL warehouse that carries these calls out; empty: DATABRICKS_WAREHOUSE_ID"),
	ROW("tools.uc_host", OPT_STR, OPT_EMBED, tools_uc_host, "", NULL,
	    "the Databricks workspace that has them, https://HOST; empty: DATABRICKS_HOST"),
	ROW("tools.uc_token", OPT_SECRET, OPT_EMBED, tools_uc_token, "", NULL,
	    "token for that workspace; empty: DATABRICKS_TOKEN where DATABRICKS_HOST gives the workspace"),
	ROW("tools.uc_timeout", OPT_DURATION, OPT_EMBED, tools_uc_timeout, "0s", "0s..10m",
	    "time for one call of such a function, for a warehouse that has to start first; 0: tools.timeout"),
	ROW("tools.max_steps", OPT_INT, OPT_EMBED, tools_max_steps, "8", "0..100",
	    "answers with calls of the server's tools in one turn; then the model is asked once more without tools; 0: none are "
	    "offered"),
	ROW("tools.timeout", OPT_DURATION, OPT_EMBED, tools_timeout, "30s", "10ms..10m", "time for one call of a tool"),
	ROW("tools.max_result", OPT_SIZE, OPT_EMBED, tools_max_result, "32KiB", "256B..1MiB",
	    "of what a tool answers the model gets so much; the rest is cut"),
	ROW("agent.memory", OPT_LIST, OPT_EMBED | OPT_WORDS, agent_memory, "short_term, long_term", NULL,
	    "layers of memory that the assistant has: short_term (threads go on) and long_term (what is known of the user comes "
	    "along)"),
	ROW("agent.benchmark_seeds.seed_examples", OPT_STR, OPT_EMBED | OPT_JSON, agent_examples, "", NULL,
	    "questions for `cenote evaluate`, a list: each a text, or a mapping with question and expected"),
	ROW("governance.verification.smoke_test_question", OPT_STR, OPT_EMBED | OPT_LINES, smoke_question, "", NULL,
	    "what `cenote smoke` asks before a deployment"),
	ROW("ttl.default", OPT_DURATION, OPT_EMBED, ttl_default, "0s", "0s..36500d",
	    "life of an item whose put does not say; 0: for ever"),
	ROW("ttl.refresh_on_read", OPT_BOOL, OPT_EMBED, ttl_refresh_on_read, "true", NULL,
	    "whether reading an item begins its life anew"),
	ROW("ttl.sweep_interval", OPT_DURATION, 0, ttl_sweep_interval, "60s", "1s..1d", "how often expired items are removed"),
	ROW("ttl.omit_expired", OPT_BOOL, OPT_EMBED, ttl_omit_expired, "true", NULL,
	    "hide items that have expired but are not removed yet"),
	ROW("log.level", OPT_ENUM, OPT_RELOAD | OPT_EMBED, log_level, "info", "debug|info|warn|error",
	    "least level that is logged"),
	ROW("log.format", OPT_ENUM, OPT_RELOAD | OPT_EMBED, log_format, "auto", "auto|text|json",
	    "log lines; auto: text on a terminal, JSON otherwise"),
	ROW("traces.keep", OPT_INT, OPT_EMBED, traces_keep, "200", "0..100000",
	    "traces of the last turns that are kept in memory, for `cenote traces`; 0: none"),
	ROW("traces.keep_bytes", OPT_SIZE, OPT_EMBED, traces_keep_bytes, "8MiB", "64KiB..16GiB", "memory that these may take"),
	ROW("traces.content", OPT_BOOL, OPT_EMBED, traces_content, "false", NULL,
	    "traces also have what was said: questions, answers, memories, arguments and results of tools; false: only ids, "
	    "counts, "
	    "names of keys and times"),
	ROW("traces.endpoint", OPT_STR, OPT_EMBED, traces_endpoint, "", NULL,
	    "where traces are sent, the whole URL: https://HOST/v1/traces of an MLflow server or any collector of OTLP over HTTP, "
	    "https://HOST/api/2.0/otel/v1/traces on Databricks; empty: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, "
	    "OTEL_EXPORTER_OTLP_ENDPOINT, MLFLOW_TRACKING_URI, else nowhere"),
	ROW("traces.experiment", OPT_STR, OPT_EMBED, traces_experiment, "", NULL,
	    "number of the MLflow experiment that traces belong to; empty: MLFLOW_EXPERIMENT_ID"),
	ROW("traces.run", OPT_STR, OPT_EMBED, traces_run, "", NULL,
	    "MLflow run that traces are linked to, so that runs can be compared; empty: MLFLOW_RUN_ID"),
	ROW("traces.table", OPT_STR, OPT_EMBED, traces_table, "", NULL,
	    "on Databricks: the table for spans, CATALOG.SCHEMA.PREFIX_otel_spans"),
	ROW("traces.token", OPT_SECRET, OPT_EMBED, traces_token, "", NULL,
	    "bearer token for the collector; empty: MLFLOW_TRACKING_TOKEN, or DATABRICKS_TOKEN, where those name the server"),
	ROW("traces.headers", OPT_SECRET, OPT_EMBED, traces_headers, "", NULL,
	    "more headers for the collector: NAME=VALUE,NAME=VALUE, values percent-encoded; empty: OTEL_EXPORTER_OTLP_HEADERS"),
	ROW("traces.ca_file", OPT_STR, OPT_EMBED, traces_ca_file, "", NULL,
	    "file with the certificates (PEM) that the collector is trusted by, instead of the system's"),
	ROW("traces.timeout", OPT_DURATION, OPT_EMBED, traces_timeout, "10s", "100ms..5m", "time for one request to the collector"),
	ROW("traces.queue", OPT_INT, OPT_EMBED, traces_queue, "2048", "1..100000",
	    "traces that wait to be sent, while the collector is slow or away; further ones are dropped"),
	ROW("traces.shutdown_timeout", OPT_DURATION, OPT_EMBED, traces_shutdown_timeout, "5s", "0s..5m",
	    "at the end of the server: how long sending what waits may take"),
	ROW("metrics.enabled", OPT_BOOL, 0, metrics_enabled, "true", NULL, "serve GET /metrics"),
	ROW("server", OPT_URL, OPT_CLIENT, server, "", NULL,
	    "the server that commands talk to: http://HOST:PORT or unix:PATH; empty: the store's own"),
	ROW("api_key", OPT_SECRET, OPT_CLIENT, api_key, "", NULL, "the API key that commands send"),
	ROW("timeout", OPT_DURATION, OPT_CLIENT, timeout, "30s", "100ms..1h", "time for one request of a command"),
};
_Static_assert(sizeof rows / sizeof rows[0] <= CONFIG_ROWS_MAX, "origin[] is too short");

const struct opt *config_rows(size_t *n)
{
	*n = sizeof rows / sizeof rows[0];
	return rows;
}

const struct opt *config_row(struct str key)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (str_eq(str_c(rows[i].key), key))
			return &rows[i];
	return NULL;
}

bool opt_secret_file(const struct opt *o)
{
	char key[64];
	snprintf(key, sizeof key, "%s_file", o->key);
	return o->type == OPT_SECRET && config_row(str_c(key)) == NULL;
}

const struct opt *config_closest(struct str key)
{
	const struct opt *best = NULL;
	unsigned least = 4;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct str k = str_c(rows[i].key);
		unsigned d = str_distance(k, key);
		/* The last part alone, too: "max_body" is close to "http.max_body". */
		ptrdiff_t dot = str_chr(k, '.', 0);
		if (dot >= 0) {
			unsigned e = str_distance(str_sub(k, (size_t)dot + 1, k.n), key);
			if (e < d && key.n > 3)
				d = e;
		}
		if (d < least && d < key.n) {
			least = d;
			best = &rows[i];
		}
	}
	return best;
}

struct str opt_flag(struct arena *a, const struct opt *o)
{
	char *p = arena_cstr(a, str_c(o->key));
	if (p == NULL)
		return str_of(NULL, 0);
	for (char *c = p; *c; c++)
		if (*c == '.' || *c == '_')
			*c = '-';
	return str_c(p);
}

struct str opt_env(struct arena *a, const struct opt *o)
{
	struct str s = arena_printf(a, "CENOTE_%s", o->key);
	if (s.p == NULL)
		return s;
	char *p = arena_cstr(a, s);
	if (p == NULL)
		return str_of(NULL, 0);
	for (char *c = p; *c; c++) {
		if (*c == '.')
			*c = '_';
		else if (*c >= 'a' && *c <= 'z')
			*c = (char)(*c - 'a' + 'A');
	}
	return str_c(p);
}
