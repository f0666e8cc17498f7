/* Configuration: one declarative table (options.c) gives every setting its key, type, range, default and help; from it come flags
 * (--a-b), environment (CENOTE_A_B), the YAML file's keys (a.b), `config print`, and the reference pages.
 *
 * Precedence: flag > environment > file > default. Not thread-safe; loaded once, then read by everybody; a reload makes a second
 * one.
 *
 * Invariants
 *  1. A row's field holds a value that its type and range allow at all times after config_init.
 *  2. Secrets are never printed and never part of a problem's text. */
#ifndef CENOTE_DAEMON_CONFIG_H
#define CENOTE_DAEMON_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"

struct str_list {
	struct str *v;
	size_t n;
};

/* The C type of a row's field: struct str for STR URL SECRET, int64_t for INT ENUM (index) SIZE (bytes) DURATION (ms), bool for
 * BOOL, struct str_list for LIST and ADDR. */
enum opt_type { OPT_STR, OPT_INT, OPT_BOOL, OPT_SIZE, OPT_DURATION, OPT_ENUM, OPT_LIST, OPT_ADDR, OPT_URL, OPT_SECRET };

enum opt_attr {
	OPT_RELOAD = 1u, /* SIGHUP applies it */
	OPT_CLIENT = 2u, /* of the commands that talk to a server; `serve` does not read it */
	OPT_EMBED = 4u,	 /* of the server, and of commands that open a store themselves */
	OPT_LINES = 8u,	 /* a text that may have several lines */
	OPT_JSON = 16u,	 /* a text that is JSON; in the file any lists, mappings and values */
	OPT_WORDS = 32u, /* a list that in the file may be a mapping, too: the keys whose values are not false */
};

struct opt {
	const char *key;
	enum opt_type type;
	unsigned attr;
	size_t offset;			 /* in struct config */
	const char *dflt, *range, *help; /* range: "1..65535", "text|json", "16KiB..64MiB"; NULL: any */
};

enum { AUTH_OFF, AUTH_KEYS };
enum { DURABILITY_FULL, DURABILITY_NORMAL };
enum { LOGFMT_AUTO, LOGFMT_TEXT, LOGFMT_JSON };
enum { PREPARE_AUTO, PREPARE_ON, PREPARE_OFF };
enum { SSL_AUTO, SSL_DISABLE, SSL_ALLOW, SSL_PREFER, SSL_REQUIRE, SSL_VERIFY_CA, SSL_VERIFY_FULL };
enum { CHAT_CHOICES, CHAT_MESSAGES };
enum { TOKENS_MAX, TOKENS_COMPLETION };
enum { EXTRACTING_OFF, EXTRACTING_RULES, EXTRACTING_MODEL };
enum { SUMMARY_OFF, SUMMARY_ON };
enum { PG_VECTORS_AUTO, PG_VECTORS_ON, PG_VECTORS_OFF };
enum { LAYOUT_AUTO, LAYOUT_LANGGRAPH, LAYOUT_COMPACT };

enum origin { FROM_DEFAULT, FROM_FILE, FROM_ENV, FROM_FLAG };
#define CONFIG_ROWS_MAX 128
struct opt_origin {
	enum origin kind;
	unsigned line, column; /* FROM_FILE */
	struct str env;	       /* FROM_ENV: the variable's name */
};

struct config {
	struct arena arena;
	struct str file;	  /* the file that was read, "" : none */
	struct str_list warnings; /* sentences about what was read and cannot be honoured */
	struct opt_origin origin[CONFIG_ROWS_MAX];

	struct str_list listen;
	struct str store, data;
	int64_t auth;
	int64_t http_max_body, http_max_header, http_max_connections, http_loops;
	int64_t http_header_timeout, http_idle_timeout, http_request_timeout, http_drain_delay, http_shutdown_timeout;
	struct str_list http_allowed_hosts, cors_origins;
	int64_t sqlite_durability, sqlite_cache, sqlite_wal_limit;
	struct str pg_schema, pg_application_name, pg_password, pg_password_command, pg_password_file;
	int64_t pg_pool_min, pg_pool_max, pg_statement_timeout, pg_connect_timeout, pg_prepare, pg_password_life, pg_recycle;
	bool pg_pool_enabled, pg_migrate, pg_log_statements;
	int64_t pg_vectors, pg_hnsw;
	struct str_list pg_vector_fields;
	int64_t checkpoints_layout, checkpoints_max_body, retention_interval;
	struct str privacy_retention;
	int64_t index_cache;
	struct str_list index_languages;
	int64_t recall_near;
	bool recall_threads;
	struct str_list recall_weights_full, recall_weights_words, recall_weights_items;
	int64_t embed_kind, embed_dims, embed_batch, embed_concurrency, embed_timeout, embed_question_timeout, embed_cache_bytes;
	struct str embed_base_url, embed_model, embed_api_key, embed_ca_file, embed_model_dir;
	struct str llm_base_url, llm_model, llm_extract_model, llm_summary_model, llm_api_key, llm_system_prompt, llm_temperature;
	struct str_list llm_headers;
	int64_t llm_max_tokens, mlflow_chat_reply;
	bool llm_streaming;
	struct str pg_host, pg_database, pg_user;
	int64_t pg_sslmode;
	struct str_list agent_memory;
	struct str agent_examples, smoke_question;
	int64_t llm_concurrency, llm_timeout, llm_idle_timeout, llm_token_limit;
	bool llm_stream_usage;
	int64_t memory_max_history, memory_history_tokens, memory_step_timeout;
	int64_t memory_recall, memory_recall_tokens, memory_extract, memory_summary;
	bool tools_memory, tools_samples;
	struct str tools_file, tools_ca_file, tools_uc_host, tools_uc_token, tools_uc_warehouse_id;
	struct str_list tools_uc_functions;
	struct str_list tools_allow_hosts;
	int64_t tools_max_steps, tools_timeout, tools_uc_timeout, tools_max_result;
	int64_t ttl_default, ttl_sweep_interval;
	bool ttl_refresh_on_read, ttl_omit_expired;
	int64_t log_level, log_format;
	int64_t traces_keep, traces_keep_bytes, traces_timeout, traces_queue, traces_shutdown_timeout;
	bool traces_content;
	struct str traces_endpoint, traces_experiment, traces_run, traces_table, traces_token, traces_headers, traces_ca_file;
	bool metrics_enabled;
	struct str server, api_key;
	int64_t timeout;
};

/* The table; *n rows. */
const struct opt *config_rows(size_t *n);
const struct opt *config_row(struct str key); /* NULL when there is none */
/* The row with the closest key, or NULL when none is close. */
const struct opt *config_closest(struct str key);
/* "--a-b" without the dashes, and "CENOTE_A_B". */
struct str opt_flag(struct arena *a, const struct opt *o);
struct str opt_env(struct arena *a, const struct opt *o);

/* Whether secret row x can be given as x_file: not where that is a setting of its own, which reads the file itself. */
bool opt_secret_file(const struct opt *o);

/* ---- values (values.c) ---- */
/* Parses the texts (more than one only for LIST and ADDR, each comma-separated) into the field. E_INVALID: the sentence says what
 * is allowed, without the key. Strings are copied into a. */
enum err opt_parse(const struct opt *o, struct arena *a, const struct str *texts, size_t n, void *field) MUST_CHECK;
/* Canonical text of the field ("8MiB", "30s"); lists with ", "; secrets as "(set)", URLs without their passwords. */
void opt_format(const struct opt *o, const void *field, struct buf *out);
bool opt_equal(const struct opt *o, const void *x, const void *y);
static inline void *opt_field(struct config *c, const struct opt *o)
{
	return (char *)c + o->offset;
}
static inline const void *opt_field_c(const struct config *c, const struct opt *o)
{
	return (const char *)c + o->offset;
}
enum err parse_size(struct str s, int64_t *out) MUST_CHECK;
enum err parse_duration(struct str s, int64_t *ms) MUST_CHECK;

/* ---- problems ---- */
struct problem {
	struct str file; /* "" : not of a file */
	unsigned line, column;
	struct str key, message, hint; /* hint may be "" */
};
#define PROBLEMS_MAX 100
struct problems {
	struct arena *a;
	struct problem v[PROBLEMS_MAX];
	size_t n; /* at most PROBLEMS_MAX are kept */
};
/* Adds one; key and hint may be empty. */
void problem_add(struct problems *p, struct str file, unsigned line, unsigned column, struct str key, struct str hint,
		 const char *fmt, ...) __attribute__((format(printf, 7, 8)));

/* Adds a sentence to c->warnings: of the file when line is not 0. */
void config_warn(struct config *c, struct str file, unsigned line, struct str key, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* ---- keys of other products (foreign_keys.c) ---- */
/* A key that agents' own files have for a setting; row NULL: none, `note` says why. */
struct foreign_key {
	const char *key, *row, *note;
};
const struct foreign_key *config_foreign(struct str key); /* NULL: it is none */
const struct foreign_key *config_foreign_all(size_t *n);
/* Whether keys begin with it and a dot. */
bool config_foreign_group(struct str key);
/* Whether the key lies in a file of an agent's own, which has much that is no concern of Cenote's. */
bool config_foreign_rest(struct str key);

/* ---- loading (config.c) ---- */
struct config_flag {
	const struct opt *row;
	struct str value;
};
struct config_args {
	const char *path; /* --config, NULL: the first of the usual places that exists */
	const struct config_flag *flags;
	size_t flags_n;
	char **env; /* "NAME=value", NULL-terminated; NULL: none */
};
/* All defaults. */
enum err config_init(struct config *c) MUST_CHECK;
void config_release(struct config *c); /* wipes secrets */
/* Reads file, environment and flags into an initialised config. E_INVALID when there are problems (diagnostic: the first); all are
 * in p. */
enum err config_load(struct config *c, const struct config_args *args, struct problems *p) MUST_CHECK;
/* Only the text of a YAML file, over what is there (yaml.c). name is for messages. */
void config_yaml(struct config *c, struct str text, struct str name, struct problems *p);
/* Whether agent.memory has the layer, short_term or long_term. */
bool config_layer(const struct config *c, const char *layer);
/* What other products' variables say, for settings that are at their default (foreign_env.c). */
void config_foreign_env(struct config *c, char **env, struct problems *p);
/* An entry of llm.headers: NAME=VALUE. E_INVALID says what is wrong with it. */
enum err llm_header_check(struct str text) MUST_CHECK;
/* Rules over several settings (listeners beyond loopback need keys, ...). */
void config_check(const struct config *c, struct problems *p);
/* Sets one row from texts, reporting to p. */
void config_set(struct config *c, const struct opt *o, const struct str *texts, size_t n, struct opt_origin from,
		struct problems *p);
/* Sets secret row o from the file at path (mode 0600, or a systemd credential; one line end at its end is left away). */
void config_secret_file(struct config *c, const struct opt *o, struct str path, struct opt_origin from, struct problems *p);

/* ---- showing ---- */
/* Where a value comes from: "flag --store", "env CENOTE_STORE", "file /x.yaml:3", "default". */
void config_origin(const struct config *c, const struct opt *o, struct buf *out);
/* The effective configuration as YAML; all: also what is at its default; origin: a comment per line. */
void config_print(const struct config *c, bool all, bool origin, struct buf *out);
/* docs/configuration.md (reference.c). */
void config_markdown(struct buf *out);
/* The OPTIONS of cenote.yaml(5) in roff. */
void config_roff(struct buf *out);
/* One row's names, default and range in words: "8MiB, 1KiB..1GiB". */
void opt_allowed(const struct opt *o, struct buf *out);

#endif
