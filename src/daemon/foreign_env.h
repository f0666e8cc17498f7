/* What the files about other products' variables share. */
#ifndef CENOTE_DAEMON_FOREIGN_ENV_H
#define CENOTE_DAEMON_FOREIGN_ENV_H

#include "daemon/config.h"

struct env {
	struct config *c;
	char **v;
	struct problems *p;
};
/* .p NULL: not set. */
struct str env_var(const struct env *e, const char *name);
/* Nobody has said anything about the setting yet. */
bool env_is_open(const struct env *e, const char *key);
/* Sets it, unless value.p is NULL; name: the variable that says so. */
void env_take(const struct env *e, const char *key, struct str value, const char *name);

/* OTEL_EXPORTER_OTLP_*, MLFLOW_*: where traces go (foreign_traces.c). */
void env_traces(const struct env *e);

#endif
