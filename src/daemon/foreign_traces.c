/* Variables of OpenTelemetry and MLflow that say where traces go, for settings traces.* that flags, CENOTE_* and the file leave
 * open.
 *
 * A credential goes with the address that it came with, and nowhere else: who names another address has to give another one. */
#include "base/base64.h"
#include "daemon/foreign_env.h"
#include "http/client.h"

#define ENDPOINT "traces.endpoint"

/* base without slashes at its end, and path behind it. */
static struct str join(const struct env *e, struct str base, const char *path)
{
	while (base.n && base.p[base.n - 1] == '/')
		base.n--;
	return arena_printf(&e->c->arena, "%.*s%s", STR_ARG(base), path);
}

static void take_if_open(const struct env *e, const char *key, const char *name)
{
	struct str v = str_trim(env_var(e, name));

	if (v.n && env_is_open(e, key))
		env_take(e, key, v, name);
}

/* True when they name a collector. */
static bool otel(const struct env *e)
{
	struct str whole = str_trim(env_var(e, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
		   base = str_trim(env_var(e, "OTEL_EXPORTER_OTLP_ENDPOINT"));

	if (whole.n)
		env_take(e, ENDPOINT, whole, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
	else if (base.n)
		env_take(e, ENDPOINT, join(e, base, "/v1/traces"), "OTEL_EXPORTER_OTLP_ENDPOINT");
	if (!whole.n && !base.n)
		return false;
	take_if_open(e, "traces.headers", "OTEL_EXPORTER_OTLP_TRACES_HEADERS");
	take_if_open(e, "traces.headers", "OTEL_EXPORTER_OTLP_HEADERS");
	return true;
}

/* MLflow's user and password, as its own clients send them. */
static void basic(const struct env *e)
{
	struct str user = env_var(e, "MLFLOW_TRACKING_USERNAME"), password = env_var(e, "MLFLOW_TRACKING_PASSWORD"), both, value;
	struct buf b;

	if (!user.n || !password.n || !env_is_open(e, "traces.headers") || !env_is_open(e, "traces.token"))
		return;
	both = arena_printf(&e->c->arena, "%.*s:%.*s", STR_ARG(user), STR_ARG(password));
	buf_init(&b, &e->c->arena, 16 << 10);
	buf_lit(&b, "Basic ");
	base64_put(&b, both.p, both.n);
	value = b.err == OK ? url_encode(&e->c->arena, buf_slice(&b)) : str_of(NULL, 0);
	if (value.p)
		env_take(e, "traces.headers", arena_printf(&e->c->arena, "Authorization=%.*s", STR_ARG(value)),
			 "MLFLOW_TRACKING_USERNAME");
}

/* The workspace takes traces into a table; without one there is nothing to send to. */
static void databricks(const struct env *e)
{
	struct str host = str_trim(env_var(e, "DATABRICKS_HOST")), url;

	if (!host.n || !e->c->traces_table.n)
		return;
	url = join(e, host, "/api/2.0/otel/v1/traces");
	if (!str_starts(host, STR("https://")) && !str_starts(host, STR("http://")))
		url = arena_printf(&e->c->arena, "https://%.*s", STR_ARG(url));
	env_take(e, ENDPOINT, url, "DATABRICKS_HOST");
	take_if_open(e, "traces.token", "DATABRICKS_TOKEN");
}

static void mlflow(const struct env *e)
{
	struct str uri = str_trim(env_var(e, "MLFLOW_TRACKING_URI"));

	if (str_eq(uri, STR("databricks")) || str_starts(uri, STR("databricks://"))) {
		databricks(e);
		return;
	}
	/* Files and databases, which it may name as well, take no traces from others. */
	if (!str_starts(uri, STR("http://")) && !str_starts(uri, STR("https://")))
		return;
	env_take(e, ENDPOINT, join(e, uri, "/v1/traces"), "MLFLOW_TRACKING_URI");
	take_if_open(e, "traces.token", "MLFLOW_TRACKING_TOKEN");
	basic(e);
	/* What MLflow's own clients write to when nobody says. */
	if (!str_trim(env_var(e, "MLFLOW_EXPERIMENT_ID")).n && env_is_open(e, "traces.experiment"))
		env_take(e, "traces.experiment", STR("0"), "MLFLOW_TRACKING_URI");
}

void env_traces(const struct env *e)
{
	if (env_is_open(e, ENDPOINT) && !otel(e))
		mlflow(e);
	take_if_open(e, "traces.experiment", "MLFLOW_EXPERIMENT_ID");
	take_if_open(e, "traces.run", "MLFLOW_RUN_ID");
}
