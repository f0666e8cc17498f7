/* A function of Unity Catalog as a tool: its name, its schema, and the statement of a call.
 *
 * Invariants
 *  1. An argument never stands in the text of a statement: it is the value of a parameter.
 *  2. Names stand there in backticks; the function's is the one of the settings, whatever the catalog answers. */
#include "base/utf8.h"
#include "tool/uc_impl.h"

enum { STATEMENT_MAX = 1 << 20, DEFAULT_MAX = 200 };

/* ------------------------------------------------------------------------ names */

static enum err part_check(struct str name, struct str part)
{
	if (!part.n || part.n > UC_PART_MAX)
		return err_set(E_INVALID, "\"%.*s\" must be CATALOG.SCHEMA.FUNCTION, each part of 1 to %d bytes",
			       STR_ARG(str_sub(name, 0, 200)), UC_PART_MAX);
	for (size_t i = 0; i < part.n; i++)
		if ((unsigned char)part.p[i] <= ' ' || part.p[i] == '/' || part.p[i] == 0x7f)
			return err_set(E_INVALID, "\"%.*s\" must have no blanks, slashes and control characters",
				       STR_ARG(str_sub(name, 0, 200)));
	return utf8_valid(part) ? OK : err_set(E_INVALID, "has a name that is not UTF-8");
}

static enum err name_check(struct str name)
{
	struct str parts[3], rest = name;

	for (size_t i = 0; i < 3; i++) {
		bool more = str_cut(rest, '.', &parts[i], &rest);

		if (more != (i < 2))
			return err_set(E_INVALID, "\"%.*s\" must be CATALOG.SCHEMA.FUNCTION", STR_ARG(str_sub(name, 0, 200)));
		TRY(part_check(name, parts[i]));
	}
	if (!str_eq(parts[2], STR("*")))
		return OK;
	return err_set(E_INVALID,
		       "\"%.*s\" stands for a whole schema: name its functions one by one, or offer its MCP server with tools.file "
		       "(https://HOST/api/2.0/mcp/functions/CATALOG/SCHEMA)",
		       STR_ARG(str_sub(name, 0, 100)));
}

struct str uc_tool_name(struct arena *a, struct str full)
{
	struct buf b;

	buf_init(&b, a, 4 * UC_PART_MAX);
	for (size_t i = 0; i < full.n; i++) {
		char c = full.p[i];

		if (c == '.')
			buf_lit(&b, "__");
		else
			buf_byte(&b, tool_name_ok(str_of(&c, 1)) ? c : '_');
	}
	return b.err == OK ? str_sub(buf_slice(&b), b.n > TOOL_NAME_MAX ? b.n - TOOL_NAME_MAX : 0, b.n) : str_of(NULL, 0);
}

enum err uc_names_check(const struct str *names, size_t n)
{
	struct str tools[UC_FUNCTIONS_MAX];
	struct arena a;
	enum err e = OK;

	if (n > UC_FUNCTIONS_MAX)
		return err_set(E_INVALID, "has more than %d functions", UC_FUNCTIONS_MAX);
	arena_init(&a, (size_t)1 << 20);
	for (size_t i = 0; i < n && e == OK; i++) {
		e = name_check(names[i]);
		tools[i] = e == OK ? uc_tool_name(&a, names[i]) : STR("");
		for (size_t k = 0; k < i && e == OK; k++)
			if (str_eq(tools[i], tools[k]))
				e = err_set(E_INVALID, "has two functions that the model would know as %.*s: %.*s and %.*s",
					    STR_ARG(tools[i]), STR_ARG(str_sub(names[k], 0, 150)),
					    STR_ARG(str_sub(names[i], 0, 150)));
	}
	arena_release(&a);
	return e;
}

enum err uc_host_check(struct str host)
{
	struct arena a;
	struct str made;
	enum err e;

	arena_init(&a, 65536);
	e = workspace_host(&a, host, &made);
	arena_release(&a);
	return e;
}

enum err uc_warehouse_check(struct str warehouse)
{
	return warehouse.n <= TOOL_NAME_MAX && tool_name_ok(warehouse)
		       ? OK
		       : err_set(E_INVALID, "must be the id of a SQL warehouse, 1 to %d of A-Z a-z 0-9 _ -", TOOL_NAME_MAX);
}

/* --------------------------------------------------------------------- reading */

static struct str text_of(struct arena *a, struct jval v)
{
	return j_is(v, JSON_STRING) ? j_str(a, v) : STR("");
}

/* It stands in statements as :NAME, and models do not take every name of an argument. */
static bool parameter_name_ok(struct str name)
{
	return tool_name_ok(name) && str_chr(name, '-', 0) < 0 && !(name.p[0] >= '0' && name.p[0] <= '9');
}

static enum err read_parameter(struct arena *a, struct jval v, struct jw *w, struct uc_parameter *p)
{
	struct jval text = j_get(v, STR("type_text")), without = j_get(v, STR("parameter_default"));
	struct str comment = utf8_cut(text_of(a, j_get(v, STR("comment"))), UC_DESCRIPTION_MAX), init;
	enum err e;

	p->name = arena_str(a, text_of(a, j_get(v, STR("name"))));
	if (!parameter_name_ok(p->name))
		return err_set(E_INVALID,
			       "its parameter \"%.*s\" has a name that is none of 1 to %d of A-Z a-z 0-9 _, or begins with a digit",
			       STR_ARG(str_sub(p->name, 0, 100)), TOOL_NAME_MAX);
	p->optional = !j_null(without);
	init = utf8_cut(text_of(a, without), DEFAULT_MAX);
	jw_key_str(w, p->name);
	jw_obj(w);
	e = uc_type_read(a, text_of(a, j_is(text, JSON_STRING) ? text : j_get(v, STR("type_name"))), w, &p->type);
	if (e != OK)
		return err_wrap(e, "its parameter %.*s", STR_ARG(p->name));
	if (comment.n || init.n) {
		jw_key(w, "description");
		jw_str(w, init.n ? arena_printf(a, "%.*s%s(default: %.*s)", STR_ARG(comment), comment.n ? " " : "", STR_ARG(init))
				 : comment);
	}
	jw_end_obj(w);
	return OK;
}

static int64_t position_of(struct jval v)
{
	int64_t n = 0;

	return j_is(j_get(v, STR("position")), JSON_NUMBER) && j_i64(j_get(v, STR("position")), &n) ? n : 0;
}

/* In the order of their positions. */
static enum err order(struct arena *a, struct jval list, struct jval **out, size_t *n)
{
	struct jval one;

	*n = 0;
	if (!j_is(list, JSON_ARRAY)) {
		return j_null(list) ? OK : err_set(E_INVALID, "its parameters are no list");
	}
	if (j_node(list)->count > UC_PARAMETERS_MAX)
		return err_set(E_INVALID, "it has more than %d parameters", UC_PARAMETERS_MAX);
	*out = ARENA_ARRAY(a, struct jval, j_node(list)->count + 1);
	if (!*out)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &one); ++*n) {
		size_t at = *n;

		for (; at > 0 && position_of((*out)[at - 1]) > position_of(one); at--)
			(*out)[at] = (*out)[at - 1];
		(*out)[at] = one;
	}
	return OK;
}

static void write_required(const struct uc_function *f, struct jw *w)
{
	bool any = false;

	for (size_t i = 0; i < f->n; i++)
		any = any || !f->v[i].optional;
	if (!any)
		return;
	jw_key(w, "required");
	jw_arr(w);
	for (size_t i = 0; i < f->n; i++)
		if (!f->v[i].optional)
			jw_str(w, f->v[i].name);
	jw_end_arr(w);
}

static enum err read_parameters(struct arena *a, struct jval list, struct uc_function *f)
{
	struct jval *in = NULL;
	struct buf b;
	struct jw w;
	size_t n;

	TRY(order(a, list, &in, &n));
	f->v = ARENA_ARRAY(a, struct uc_parameter, n + 1);
	if (!f->v)
		return E_NOMEM;
	buf_init(&b, a, (size_t)1 << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "type");
	jw_cstr(&w, "object");
	jw_key(&w, "properties");
	jw_obj(&w);
	for (f->n = 0; f->n < n; f->n++) {
		TRY(read_parameter(a, in[f->n], &w, &f->v[f->n]));
		for (size_t k = 0; k < f->n; k++)
			if (str_ieq(f->v[k].name, f->v[f->n].name))
				return err_set(E_INVALID, "it has two parameters %.*s", STR_ARG(f->v[k].name));
	}
	jw_end_obj(&w);
	write_required(f, &w);
	jw_key(&w, "additionalProperties");
	jw_bool(&w, false);
	jw_end_obj(&w);
	TRY(b.err);
	f->tool.parameters = buf_slice(&b);
	return OK;
}

enum err uc_function_read(struct arena *a, struct jval info, struct uc_function *f)
{
	struct str comment = utf8_cut(text_of(a, j_get(info, STR("comment"))), UC_DESCRIPTION_MAX);

	f->tool.name = uc_tool_name(a, f->full);
	f->tool.description = str_trim(comment).n ? arena_str(a, comment) : arena_printf(a, "The function %.*s.", STR_ARG(f->full));
	f->table = j_str_eq(j_get(info, STR("data_type")), STR("TABLE_TYPE"));
	if (!f->tool.name.p || !f->tool.description.p)
		return E_NOMEM;
	return read_parameters(a, j_get(j_get(info, STR("input_params")), STR("parameters")), f);
}

/* --------------------------------------------------------------------- calling */

static enum err put_function(const struct uc_function *f, struct arena *a, struct buf *b)
{
	struct str rest = f->full, part;
	bool more;

	buf_lit(b, f->table ? "SELECT * FROM " : "SELECT ");
	do {
		more = str_cut(rest, '.', &part, &rest);
		part = sql_name(a, part);
		if (!part.p)
			return E_NOMEM;
		buf_str(b, part);
		buf_lit(b, more ? "." : "(");
	} while (more);
	return b->err;
}

static void put_marker(const struct uc_parameter *p, struct buf *b)
{
	const char *call = p->type.form == UC_BINARY ? "unbase64(" : p->type.form == UC_VARIANT ? "parse_json(" : "from_json(";
	bool plain = p->type.form != UC_BINARY && p->type.form != UC_VARIANT && p->type.form != UC_JSON;

	buf_printf(b, "%s:%.*s", plain ? "" : call, STR_ARG(p->name));
	if (p->type.form == UC_JSON)
		buf_printf(b, ", '%.*s'", STR_ARG(p->type.text));
	buf_lit(b, plain ? "" : ")");
}

static enum err value_of(const struct uc_parameter *p, struct arena *a, struct jval v, struct str *out)
{
	int64_t n = 0;

	*out = j_raw(v);
	if (p->type.form == UC_TEXT || p->type.form == UC_BINARY)
		*out = j_str(a, v);
	else if (p->type.form == UC_WHOLE && j_i64(v, &n))
		*out = arena_printf(a, "%lld", (long long)n);
	return out->p ? OK : E_NOMEM;
}

enum err uc_statement(const struct uc_function *f, struct arena *a, struct jval arguments, struct sql_statement *out)
{
	struct sql_parameter *v = ARENA_ARRAY(a, struct sql_parameter, f->n + 1);
	bool named = false;
	struct buf b;

	if (!v)
		return E_NOMEM;
	buf_init(&b, a, STATEMENT_MAX);
	TRY(put_function(f, a, &b));
	for (size_t i = out->n = 0; i < f->n; i++) {
		const struct uc_parameter *p = &f->v[i];
		struct jval arg = j_get(arguments, p->name);

		/* Behind one that is left out the others go by name. */
		named = named || !j_ok(arg);
		if (!j_ok(arg))
			continue;
		buf_lit(&b, out->n ? ", " : "");
		if (named)
			buf_printf(&b, "`%.*s` => ", STR_ARG(p->name));
		put_marker(p, &b);
		v[out->n] = (struct sql_parameter){.name = p->name, .type = p->type.sql};
		TRY(value_of(p, a, arg, &v[out->n++].value));
	}
	buf_byte(&b, ')');
	TRY(b.err);
	out->text = buf_slice(&b);
	out->v = v;
	return OK;
}
