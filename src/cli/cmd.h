/* The command table: each command is one row, and from the row come its parsing, its --help, its completion and its man page. */
#ifndef CENOTE_CLI_CMD_H
#define CENOTE_CLI_CMD_H

#include <stdio.h>

#include "daemon/config.h"
#include "daemon/serve.h"

struct flag {
	const char *name; /* "limit" -> --limit */
	char letter;	  /* 'n' -> -n, 0: none */
	const char *arg;  /* "N": takes a value; NULL: a switch */
	const char *help;
};

enum cmd_attr {
	CMD_STORE = 1u,	 /* talks to a server: takes the settings of commands and of an embedded store */
	CMD_SERVER = 2u, /* takes the server's settings */
	CMD_CONFIG = 4u, /* reads the configuration */
	CMD_HIDDEN = 8u,
	CMD_OPENS = 32u,   /* opens stores itself: takes the settings sqlite.*, pg.* and index.languages */
	CMD_MODELS = 64u,  /* works on the folder of models: takes the settings data and embed.model_dir */
	CMD_SERVES = 128u, /* a store that it opens itself is served meanwhile: on the store's socket, with its background work */
	CMD_RAW = 16u,	   /* arguments are not looked at (__complete) */
};

struct call;
struct cmd {
	const char *name; /* "key create" */
	const char *args; /* "NAMESPACE KEY [VALUE]" */
	const char *help; /* one line */
	const struct flag *flags;
	size_t flags_n;
	unsigned attr;
	int min_args, max_args; /* max -1: any */
	int (*run)(struct call *c);
	const char *more; /* paragraphs for --help and the man page, may be NULL */
};

const struct cmd *cmd_table(size_t *n);
/* Flags that every command takes. */
const struct flag *cmd_common(size_t *n);

/* Whether the setting is also a flag of the command. */
bool cmd_takes(const struct cmd *cmd, const struct opt *o);

#define CALL_FLAGS_MAX 96
enum output { OUT_AUTO, OUT_TEXT, OUT_TABLE, OUT_JSON, OUT_NDJSON, OUT_CSV, OUT_ID };

/* One invocation. */
struct call {
	struct arena arena;
	const struct cmd *cmd;
	const char *const *args;
	int argc;
	struct {
		const struct flag *flag;
		const char *value;
	} flags[CALL_FLAGS_MAX];
	size_t flags_n;
	struct config_flag settings[CALL_FLAGS_MAX];
	size_t settings_n;
	struct config cfg;
	bool cfg_ready;
	struct config_args cfg_args;
	struct problems problems;
	enum output output;
	bool quiet, verbose, no_input, color_out, color_err;
	struct peer *peer;
};

/* Takes argv (without the program's name) apart. E_INVALID with a sentence for the user. *help: --help was among it. */
enum err cmd_parse(struct call *c, int argc, char **argv, bool *help) MUST_CHECK;
/* Value of a flag given; NULL when not. A switch gives "". The last one counts. */
const char *call_flag(const struct call *c, const char *name);
static inline bool call_has(const struct call *c, const char *name)
{
	return call_flag(c, name) != NULL;
}
/* Flag as a number in [min, max]; absent: dflt. */
enum err call_int(const struct call *c, const char *name, int64_t min, int64_t max, int64_t dflt, int64_t *out) MUST_CHECK;
/* Loads the configuration (once). Problems have been written when it fails. */
enum err call_config(struct call *c) MUST_CHECK;
/* `cenote: CMD: sentence` on stderr (JSON with --json) and the exit code. */
int call_fail(struct call *c, enum err e);
/* Asks on a terminal; elsewhere needs --yes. OK, or E_INVALID / E_CANCELLED. what: "delete 12 items below notes". */
enum err call_confirm(struct call *c, const char *what) MUST_CHECK;
/* Colour rules of contracts/operations 1 for one stream. */
bool color_wanted(const char *when, int fd);

/* help.c */
void help_overview(FILE *out);
void help_group(FILE *out, const char *group);
void help_command(FILE *out, const struct cmd *cmd);
int run_help(struct call *c);
int run_completion(struct call *c);
int run_complete(struct call *c);
void cli_markdown(struct buf *out);
enum err man_page(const char *page, struct buf *out) MUST_CHECK;
/* Candidates for the word at index (words[0] is the program), one per line. */
void complete_words(const char *const *words, int n, int index, struct buf *out);

/* The commands. */
int run_serve(struct call *c);
int run_smoke(struct call *c);
int run_evaluate(struct call *c);
int run_init(struct call *c);
int run_put(struct call *c);
int run_get(struct call *c);
int run_history(struct call *c);
int run_entities_list(struct call *c);
int run_entities_show(struct call *c);
int run_entities_link(struct call *c);
int run_entities_rm(struct call *c);
int run_search(struct call *c);
int run_ls(struct call *c);
int run_rm(struct call *c);
int run_import(struct call *c);
int run_export(struct call *c);
int run_copy(struct call *c);
int run_stats(struct call *c);
int run_traces(struct call *c);
int run_reindex(struct call *c);
int run_migrate(struct call *c);
int run_grants(struct call *c);
int run_doctor(struct call *c);
int run_demo_tools(struct call *c);
int run_model_add(struct call *c);
int run_model_ls(struct call *c);
int run_model_rm(struct call *c);
int run_key_create(struct call *c);
int run_key_list(struct call *c);
int run_key_revoke(struct call *c);
int run_config_print(struct call *c);
int run_config_check(struct call *c);
int run_version(struct call *c);

#endif
