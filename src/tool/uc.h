/* Functions of Unity Catalog as tools: a source of tools for core/tool.h. What a function is called, does and takes is read from
 * the workspace; a call is a SQL statement on a warehouse. docs/tools.md says what comes of what. */
#ifndef CENOTE_TOOL_UC_H
#define CENOTE_TOOL_UC_H

#include "core/tool.h"

#define UC_FUNCTIONS_MAX 64

struct uc_options {
	struct str host; /* https://HOST, of the workspace */
	struct str token;
	struct str warehouse;
	const struct str *names; /* CATALOG.SCHEMA.FUNCTION */
	size_t names_n;
	uint32_t timeout_ms; /* of a call; 0: the turn's */
	size_t max_result;   /* bytes of an answer that the model gets */
	struct str ca_file;  /* as in struct outbound_options */
};
/* What the settings must be: E_INVALID is a sentence that goes on from the setting's name. */
enum err uc_host_check(struct str host) MUST_CHECK;
enum err uc_names_check(const struct str *names, size_t n) MUST_CHECK;
enum err uc_warehouse_check(struct str warehouse) MUST_CHECK;

struct uc_functions;
/* Asks nothing yet. The options may go afterwards. */
enum err uc_open(const struct uc_options *opt, struct uc_functions **out) MUST_CHECK;
void uc_close(struct uc_functions *u); /* no turn may be under way, nor uc_watch. NULL is fine */
/* The functions by name alone, for whoever must not take the same names. */
struct toolbox uc_names(const struct uc_functions *u);
/* Those that the workspace has described. A turn asks for what is due itself, unless uc_watch does. */
struct tool_source *uc_source(struct uc_functions *u);
/* Asks the workspace, now and again, until waits return E_CANCELLED. For a fiber in the background. */
void uc_watch(struct uc_functions *u);
/* cenote_uc_*. u may be NULL. */
void uc_metrics(struct uc_functions *u, struct buf *out);

#endif
