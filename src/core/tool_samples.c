/* The tools of the sample agent for cyber security, over the rows that `cenote demo tools` makes.
 *
 * Invariants
 *  1. Rows are items of the tenant in two namespaces that are named here: whoever may ask the assistant sees them, and nothing else
 *     of the tenant through these tools. */
#include <stdlib.h>

#include "core/memory.h"
#include "core/tool.h"

enum { ROWS_DEFAULT = 1 };

struct sample_tool {
	struct tool tool;
	struct memory *m;
};

/* The rows belong to no user, so a user's principal does not reach them. */
static struct principal of_tenant(const struct principal *who)
{
	return (struct principal){.tenant = who->tenant, .rights = who->rights & RIGHT_READ, .id = who->id};
}

/* ------------------------------------------------------------------- threats */

struct row {
	struct str json, type, when;
};

static int newest(const void *x, const void *y)
{
	const struct row *a = x, *b = y;
	int c = str_cmp(b->when, a->when);

	return c ? c : str_cmp(a->json, b->json);
}

static enum err read_rows(struct arena *a, const struct op_search *op, struct str type, struct row *rows, size_t *n)
{
	*n = 0;
	for (size_t i = 0; i < op->n; i++) {
		struct row *r = &rows[*n];
		struct json doc;

		TRY(json_parse(a, op->hits[i].item.value, &json_default_limits, &doc));
		if (!j_is(j_get(json_root(&doc), STR("threat_type")), JSON_STRING) ||
		    !j_is(j_get(json_root(&doc), STR("detected_at")), JSON_STRING))
			continue;
		r->json = op->hits[i].item.value;
		r->type = j_str(a, j_get(json_root(&doc), STR("threat_type")));
		r->when = j_str(a, j_get(json_root(&doc), STR("detected_at")));
		if (!type.n || str_ieq(r->type, type))
			(*n)++;
	}
	return OK;
}

static enum err get_threats(const struct tool *t, struct arena *a, const struct principal *who, struct jval arguments,
			    struct trace_span *span, struct str *answer)
{
	struct memory *m = ((const struct sample_tool *)t)->m;
	struct principal tenant = of_tenant(who);
	struct op_search op = {.prefix = STR(SAMPLE_THREATS), .limit = 1000, .query = {NULL, 0}, .refresh = TRI_NO};
	struct jval type = j_get(arguments, STR("threat_type"));
	int64_t limit = ROWS_DEFAULT;
	struct row *rows;
	struct buf b;
	size_t n;

	(void)span;
	TRY(memory_search(m, a, &tenant, &op));
	if (!op.n)
		return err_set(E_NOT_FOUND, "there are no sample rows; the command `cenote demo tools` makes them");
	rows = ARENA_ARRAY(a, struct row, op.n);
	if (!rows)
		return E_NOMEM;
	TRY(read_rows(a, &op, j_is(type, JSON_STRING) ? j_str(a, type) : STR(""), rows, &n));
	qsort(rows, n, sizeof *rows, newest);
	(void)j_i64(j_get(arguments, STR("limit")), &limit);
	buf_init(&b, a, (size_t)16 << 20);
	buf_byte(&b, '[');
	for (size_t i = 0; i < n && i < (size_t)limit; i++) {
		buf_lit(&b, i ? "," : "");
		buf_str(&b, rows[i].json);
	}
	buf_byte(&b, ']');
	*answer = buf_slice(&b);
	return b.err;
}

/* --------------------------------------------------------------------- users */

static enum err get_user(const struct tool *t, struct arena *a, const struct principal *who, struct jval arguments,
			 struct trace_span *span, struct str *answer)
{
	struct memory *m = ((const struct sample_tool *)t)->m;
	struct principal tenant = of_tenant(who);
	struct op_get op = {.ns = STR(SAMPLE_USERS), .key = j_str(a, j_get(arguments, STR("source_ip"))), .refresh = TRI_NO};

	(void)span;
	if (!op.key.p)
		return E_NOMEM;
	TRY(memory_get(m, a, &tenant, &op));
	*answer = op.found ? arena_printf(a, "[%.*s]", STR_ARG(op.item.value)) : STR("[]");
	return answer->p ? OK : E_NOMEM;
}

/* ------------------------------------------------------------------- the tools */

static const struct tool_ops threat_ops = {get_threats}, user_ops = {get_user};

static const struct tool made[] = {
	{.ops = &threat_ops,
	 .name = STR_INIT("get_cyber_threat_info"),
	 .description =
		 STR_INIT("Retrieve cybersecurity threat information: type, severity, time, source and destination IP of the "
			  "latest threats, the latest first. Each row has the source_ip that get_user_info takes."),
	 .parameters =
		 STR_INIT("{\"type\":\"object\",\"properties\":{\"threat_type\":{\"type\":\"string\",\"description\":\"Only "
			  "threats of this type: Malware, Phishing, Ransomware, DDoS, Brute Force, Data Exfiltration\"},"
			  "\"limit\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":20,\"description\":\"How many rows at most "
			  "(1)\"}}}")},
	{.ops = &user_ops,
	 .name = STR_INIT("get_user_info"),
	 .description = STR_INIT("Get user details from threat source IPs: name, e-mail and department of who was using an IP "
				 "address. No rows when nobody is known."),
	 .parameters = STR_INIT("{\"type\":\"object\",\"properties\":{\"source_ip\":{\"type\":\"string\",\"minLength\":1,"
				"\"description\":\"IP address that a threat came from\"}},\"required\":[\"source_ip\"]}")},
};
enum { MADE = sizeof made / sizeof made[0] };

enum err sample_tools(struct memory *m, struct arena *a, struct toolbox *out)
{
	struct sample_tool *v = ARENA_ARRAY(a, struct sample_tool, MADE);
	const struct tool **box = ARENA_ARRAY(a, const struct tool *, MADE);

	if (!v || !box)
		return E_NOMEM;
	for (size_t i = 0; i < MADE; i++) {
		v[i] = (struct sample_tool){made[i], m};
		box[i] = &v[i].tool;
	}
	*out = (struct toolbox){box, MADE};
	return OK;
}
