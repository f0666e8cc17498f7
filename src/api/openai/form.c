/* An item as it is shown. Items are stored as they came; here they get the form in which Responses gives them out: type, id,
 * status, content in parts. What a Responses `input` accepts stays what it was, byte for byte.
 *
 * Ids
 *  1. A made id is PREFIX "_cn" and 16 hex digits of the entry's number, which is unique in the tenant and never given twice: so it
 * is unique and stable, and what has it is found without a search.
 *  2. An item's own id is shown when it can serve as one: 1..64 bytes without control characters, not "__fake_id__" (what the
 * Agents SDK writes on every output of other models), and not in the form of a made id (which was made for another entry).
 *  3. item_reference keeps its id, which names another item; it is addressed by its made id.
 *
 * Items of other programs may hold escapes of lone surrogates, which the reader of JSON refuses: it reads a copy in which they are
 * U+FFFD, of the same length, and what is written comes from the original. */
#include "api/openai/impl.h"

#include <stdio.h>

enum { HEX = 16 };
static const struct json_limits form_limits = {.depth = 1000, .nodes = 1000000, .bytes = (size_t)1 << 30, .flags = JSON_DUP_OK};
#define FAKE_ID STR("__fake_id__")
#define MARK "_cn"

/* ---------------------------------------------------------------- reading */

struct form {
	struct str data; /* what is stored */
	struct json doc; /* read from data, or from a copy of the same length */
	struct jval root;
	struct str type; /* "" : none */
	bool message;
};

/* The value as it is stored. */
static struct str original(const struct form *f, struct jval v)
{
	struct str raw = j_raw(v);

	return str_of(f->data.p + (raw.p - f->doc.text.p), raw.n);
}

static int hex4(const char *p, const char *end)
{
	int v = 0;

	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		char c = p[i];
		int d = c >= '0' && c <= '9'   ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
			: c >= 'A' && c <= 'F' ? c - 'A' + 10
					       : -1;

		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/* Makes U+FFFD of the escapes of lone surrogates. */
static void patch(char *p, char *end)
{
	while ((p = memchr(p, '\\', (size_t)(end - p)))) {
		int unit = hex4(p, end), next = unit >= 0xd800 && unit <= 0xdbff ? hex4(p + 6, end) : -1;

		if (next >= 0xdc00 && next <= 0xdfff) {
			p += 12;
			continue;
		}
		if (unit >= 0xd800 && unit <= 0xdfff)
			memcpy(p + 2, "fffd", 4);
		p += end - p > 1 ? 2 : 1;
	}
}

static bool is_text(struct jval v)
{
	return j_is(v, JSON_STRING);
}

static enum err form_read(struct arena *scratch, struct str data, struct form *f)
{
	struct jval type;
	enum err e;

	*f = (struct form){.data = data};
	e = json_parse(scratch, data, &form_limits, &f->doc);
	if (e == E_INVALID) {
		struct str copy = arena_str(scratch, data);

		if (!copy.p)
			return E_NOMEM;
		patch((char *)(uintptr_t)copy.p, (char *)(uintptr_t)copy.p + copy.n);
		e = json_parse(scratch, copy, &form_limits, &f->doc);
	}
	if (e == OK && !j_is(json_root(&f->doc), JSON_OBJECT))
		e = err_set(E_INVALID, "an item must be an object");
	TRY(e);
	f->root = json_root(&f->doc);
	f->message = item_is_message(f->root);
	type = j_get(f->root, STR("type"));
	f->type = f->message ? STR("message") : is_text(type) ? j_str(scratch, type) : STR("");
	return f->type.p ? OK : E_NOMEM;
}

/* -------------------------------------------------------------------- ids */

static const struct {
	struct str type;
	const char *prefix;
} prefixes[] = {
	{STR_INIT("message"), "msg"},
	{STR_INIT("function_call"), "fc"},
	{STR_INIT("function_call_output"), "fc"},
	{STR_INIT("reasoning"), "rs"},
	{STR_INIT("compaction"), "cmp"},
	{STR_INIT("custom_tool_call"), "ctc"},
	{STR_INIT("custom_tool_call_output"), "ctc"},
	{STR_INIT("file_search_call"), "fs"},
	{STR_INIT("web_search_call"), "ws"},
	{STR_INIT("computer_call"), "cu"},
	{STR_INIT("computer_call_output"), "cu"},
	{STR_INIT("code_interpreter_call"), "ci"},
	{STR_INIT("image_generation_call"), "ig"},
	{STR_INIT("local_shell_call"), "lsh"},
	{STR_INIT("local_shell_call_output"), "lsh"},
	{STR_INIT("shell_call"), "sh"},
	{STR_INIT("shell_call_output"), "sh"},
	{STR_INIT("apply_patch_call"), "apc"},
	{STR_INIT("apply_patch_call_output"), "apc"},
	{STR_INIT("mcp_call"), "mcp"},
	{STR_INIT("mcp_list_tools"), "mcpl"},
	{STR_INIT("mcp_approval_request"), "mcpr"},
	{STR_INIT("mcp_approval_response"), "mcpa"},
};

static struct str made_id(struct arena *a, struct str type, int64_t number)
{
	const char *prefix = "item";

	for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
		if (str_eq(prefixes[i].type, type))
			prefix = prefixes[i].prefix;
	return arena_printf(a, "%s" MARK "%016llx", prefix, (unsigned long long)number);
}

bool oa_id_number(struct str id, int64_t *number)
{
	const size_t mark = sizeof MARK - 1;
	uint64_t n = 0;
	size_t at;

	if (id.n < 1 + mark + HEX)
		return false;
	at = id.n - HEX;
	if (!str_eq(str_sub(id, at - mark, at), STR(MARK)))
		return false;
	for (size_t i = 0; i < at - mark; i++)
		if (id.p[i] < 'a' || id.p[i] > 'z')
			return false;
	for (size_t i = at; i < id.n; i++) {
		char c = id.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
		n = n * 16 + (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	*number = (int64_t)n;
	return n > 0 && n <= INT64_MAX;
}

static bool can_be_id(struct str s)
{
	int64_t unused;

	if (s.n < 1 || s.n > OA_ID_MAX || str_eq(s, FAKE_ID) || oa_id_number(s, &unused))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return false;
	return true;
}

enum err oa_own_id(struct arena *a, struct arena *scratch, struct str data, struct str *out)
{
	struct form f;
	struct jval id;
	enum err e = OK;

	*out = (struct str){NULL, 0};
	/* Most items have none, and need not be parsed for that; an escaped name of this member counts as another. */
	if (!memmem(data.p, data.n, "\"id\"", 4) || form_read(scratch, data, &f) != OK)
		goto out;
	id = j_get(f.root, STR("id"));
	if (is_text(id) && !str_eq(f.type, STR("item_reference"))) {
		struct str s = j_str(scratch, id);

		if (s.p && can_be_id(s)) {
			*out = arena_str(a, s);
			e = out->p ? OK : E_NOMEM;
		}
	}
out:
	arena_clear(scratch);
	return e;
}

/* ---------------------------------------------------------------- writing */

static void member(struct buf *b, const char *name)
{
	if (b->n > 0 && b->p[b->n - 1] != '{')
		buf_byte(b, ',');
	buf_printf(b, "\"%s\":", name);
}

/* The other members as they are, except those that were written already. */
static void rest(struct buf *b, const struct form *f, struct jval obj, const struct str *without, size_t n)
{
	struct jval key, value;

	for (struct j_iter it = j_iter(obj); j_next(&it, &key, &value);) {
		bool skip = false;

		for (size_t i = 0; i < n; i++)
			skip = skip || j_str_eq(key, without[i]);
		if (skip)
			continue;
		if (b->n > 0 && b->p[b->n - 1] != '{')
			buf_byte(b, ',');
		buf_str(b, original(f, key));
		buf_byte(b, ':');
		buf_str(b, original(f, value));
	}
}

static void text_part(struct buf *b, struct str quoted, bool output)
{
	buf_lit(b, output ? "{\"type\":\"output_text\",\"text\":" : "{\"type\":\"input_text\",\"text\":");
	buf_str(b, quoted);
	buf_lit(b, output ? ",\"annotations\":[],\"logprobs\":[]}" : "}");
}

static void part(struct buf *b, const struct form *f, struct jval v, bool output)
{
	bool annotations = j_ok(j_get(v, STR("annotations"))), logprobs = j_ok(j_get(v, STR("logprobs")));

	if (is_text(v)) {
		text_part(b, original(f, v), output);
		return;
	}
	if (!j_str_eq(j_get(v, STR("type")), STR("output_text")) || (annotations && logprobs)) {
		buf_str(b, original(f, v));
		return;
	}
	buf_byte(b, '{');
	rest(b, f, v, NULL, 0);
	if (!annotations)
		buf_lit(b, ",\"annotations\":[]");
	if (!logprobs)
		buf_lit(b, ",\"logprobs\":[]");
	buf_byte(b, '}');
}

static void content(struct buf *b, const struct form *f)
{
	struct jval v = j_get(f->root, STR("content")), one;
	bool output = j_str_eq(j_get(f->root, STR("role")), STR("assistant")), first = true;

	if (!j_null(v) && !is_text(v) && !j_is(v, JSON_ARRAY)) {
		buf_str(b, original(f, v));
		return;
	}
	buf_byte(b, '[');
	if (is_text(v))
		text_part(b, original(f, v), output);
	for (struct j_iter it = j_iter(v); j_is(v, JSON_ARRAY) && j_next(&it, NULL, &one); first = false) {
		if (!first)
			buf_byte(b, ',');
		part(b, f, one, output);
	}
	buf_byte(b, ']');
}

/* Which have a status on output. */
static bool has_status(const struct form *f)
{
	return f->message || str_eq(f->type, STR("function_call")) || str_eq(f->type, STR("function_call_output"));
}

static void write_form(struct buf *b, const struct form *f, struct str id)
{
	struct str without[4] = {STR("id")};
	size_t n = 1;

	buf_byte(b, '{');
	if (f->message) {
		buf_lit(b, "\"type\":\"message\"");
		without[n++] = STR("type");
	}
	member(b, "id");
	json_quote(b, id);
	if (has_status(f) && j_null(j_get(f->root, STR("status")))) {
		buf_lit(b, ",\"status\":\"completed\"");
		without[n++] = STR("status");
	}
	if (f->message)
		without[n++] = STR("content");
	rest(b, f, f->root, without, n);
	if (f->message) {
		buf_lit(b, ",\"content\":");
		content(b, f);
	}
	buf_byte(b, '}');
}

enum err oa_item_write(struct buf *b, struct arena *a, struct arena *scratch, struct str data, int64_t number, struct str own,
		       struct str *id)
{
	struct form f;
	enum err e = form_read(scratch, data, &f);
	bool reference = e == OK && str_eq(f.type, STR("item_reference")) && is_text(j_get(f.root, STR("id")));

	*id = own;
	if (!own.p)
		*id = made_id(a, e == OK ? f.type : STR(""), number);
	/* What another program stored and the reader cannot take (deeper than any limit) goes out as it is; it still has a name. */
	if (e != OK || reference)
		buf_str(b, data);
	else if (id->p)
		write_form(b, &f, *id);
	arena_clear(scratch);
	return id->p ? b->err : E_NOMEM;
}
