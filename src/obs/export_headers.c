/* The headers that go with every request: those that settings name, and what MLflow and Databricks want. */
#include "http/client.h"
#include "obs/impl.h"

#define HEADER_BYTES_MAX ((size_t)8192)

static bool name_ok(struct str s)
{
	static const char more[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && (!c || !strchr(more, c)))
			return false;
	}
	return s.n > 0;
}

static bool value_ok(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return true;
}

static enum err add(struct traces *tr, struct str name, struct str value)
{
	if (tr->headers_n == HEADERS_MAX)
		return err_set(E_INVALID, "traces.headers has more than %d headers", HEADERS_MAX - 4);
	tr->headers[tr->headers_n++] = (struct outbound_header){name, value};
	return OK;
}

/* "k=v,k=v", values percent-encoded; blanks around are none of either. */
static enum err read_headers(struct arena *a, struct str text, enum err (*fn)(struct traces *, struct str, struct str),
			     struct traces *tr)
{
	struct str rest = text, item, name, value;
	bool more = str_trim(text).n > 0;

	if (text.n > HEADER_BYTES_MAX)
		return err_set(E_INVALID, "traces.headers has more than %zu bytes", HEADER_BYTES_MAX);
	for (unsigned i = 1; more; i++) {
		more = str_cut(rest, ',', &item, &rest);
		item = str_trim(item);
		if (item.n == 0)
			continue;
		if (!str_cut(item, '=', &name, &value) || !name_ok(str_trim(name)))
			return err_set(E_INVALID, "traces.headers must be NAME=VALUE,NAME=VALUE...; part %u is not", i);
		value = url_decode(a, str_trim(value), false);
		if (!value.p || !value_ok(value))
			return err_set(E_INVALID,
				       "traces.headers: the value of %.*s must be percent-encoded, without control characters",
				       STR_ARG(str_trim(name)));
		name = arena_str(a, str_trim(name));
		value = arena_str(a, value);
		if (!name.p || !value.p)
			return E_NOMEM;
		TRY(fn(tr, name, value));
	}
	return OK;
}

static enum err nothing(struct traces *tr, struct str name, struct str value)
{
	(void)tr, (void)name, (void)value;
	return OK;
}

enum err traces_headers_check(struct str headers)
{
	struct arena a;
	enum err e;

	arena_init(&a, (size_t)256 << 10);
	e = read_headers(&a, headers, nothing, NULL);
	arena_release(&a);
	return e;
}

static enum err fixed(struct traces *tr, const char *name, const char *setting, struct str value)
{
	struct str copy;

	if (value.n == 0)
		return OK;
	if (!value_ok(value) || value.n > 500)
		return err_set(E_INVALID, "%s must have at most 500 characters, no control characters among them", setting);
	copy = arena_str(&tr->arena, value);
	return copy.p ? add(tr, str_c(name), copy) : E_NOMEM;
}

enum err traces_headers(struct traces *tr, const struct traces_options *opt)
{
	for (size_t i = 0; i < opt->experiment.n; i++)
		if (opt->experiment.p[i] < '0' || opt->experiment.p[i] > '9')
			return err_set(E_INVALID, "traces.experiment must be the number of an experiment, as MLflow shows it");
	tr->databricks = opt->table.n > 0;
	TRY(fixed(tr, "X-Databricks-UC-Table-Name", "traces.table", opt->table));
	/* There the table says it. */
	if (!tr->databricks)
		TRY(fixed(tr, "x-mlflow-experiment-id", "traces.experiment", opt->experiment));
	TRY(fixed(tr, "x-mlflow-run-id", "traces.run", opt->run));
	return read_headers(&tr->arena, opt->headers, add, tr);
}
