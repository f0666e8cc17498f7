/* Keys under which other programs' files of agents have what is a setting here: config.yaml of a chat on Databricks (model.*), the
 * configuration of a LangGraph agent with Lakebase (llm_*, uc_tool_names, conn_*). They are accepted in the file, and as CENOTE_KEY
 * in the environment; everything else about a setting is in its row (options.c). */
#include "daemon/config.h"

static const struct foreign_key keys[] = {
	{"model.endpoint", "llm.model", NULL},
	{"model.streaming", "llm.streaming", NULL},
	{"model.system_prompt", "llm.system_prompt", NULL},
	{"llm_model_serving_endpoint_name", "llm.model", NULL},
	{"llm_prompt_template", "llm.system_prompt", NULL},
	{"uc_tool_names", "tools.uc_functions", NULL},
	{"conn_host", "pg.host", NULL},
	{"conn_db_name", "pg.database", NULL},
	{"conn_ssl_mode", "pg.sslmode", NULL},
	{"instance_name", NULL,
	 "is not used: conn_host names the server, and pg.password_command makes the passwords of an instance (databricks database "
	 "generate-database-credential)"},
};

/* Files of agents have more below these than what Cenote reads. */
static const char *const others[] = {"agent", "governance"};

const struct foreign_key *config_foreign_all(size_t *n)
{
	*n = sizeof keys / sizeof keys[0];
	return keys;
}

const struct foreign_key *config_foreign(struct str key)
{
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		if (str_eq(str_c(keys[i].key), key))
			return &keys[i];
	return NULL;
}

static bool below(struct str key, struct str group)
{
	return str_starts(key, group) && key.n > group.n && key.p[group.n] == '.';
}

bool config_foreign_group(struct str key)
{
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		if (below(str_c(keys[i].key), key))
			return true;
	return false;
}

bool config_foreign_rest(struct str key)
{
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		if (below(key, str_c(others[i])))
			return true;
	return false;
}
