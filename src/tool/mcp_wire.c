/* Messages of MCP as a client reads them: events of a stream, answers to requests, results of calls. What comes is another
 * server's: bounded, and never taken for what it should be. */
#include "base/utf8.h"
#include "tool/mcp_impl.h"

enum { ERROR_MAX = 440, NAME_SHOWN = 200 };

static const struct json_limits limits = {.depth = 64, .nodes = 200000, .bytes = MCP_ANSWER_MAX, .flags = JSON_DUP_OK};

/* ------------------------------------------------------------------------ events */

void mcp_events_init(struct mcp_events *ev)
{
	buf_init(&ev->line, NULL, MCP_ANSWER_MAX);
	buf_init(&ev->data, NULL, MCP_ANSWER_MAX);
}

void mcp_events_release(struct mcp_events *ev)
{
	buf_release(&ev->line);
	buf_release(&ev->data);
}

static enum err line_end(struct mcp_events *ev, mcp_event_fn fn, void *ctx)
{
	struct str line = buf_slice(&ev->line);
	enum err e = OK;

	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	if (!line.n) {
		struct str data = str_trim(buf_slice(&ev->data));

		e = data.n ? fn(ctx, data) : OK; /* some begin with an empty one */
		buf_clear(&ev->data);
	} else if (str_starts(line, STR("data:"))) {
		buf_str(&ev->data, str_sub(line, 5, line.n)); /* a blank behind the colon is no matter in JSON */
		buf_byte(&ev->data, '\n');
	}
	buf_clear(&ev->line);
	return e;
}

enum err mcp_events_feed(struct mcp_events *ev, struct str piece, mcp_event_fn fn, void *ctx)
{
	while (piece.n) {
		const char *nl = memchr(piece.p, '\n', piece.n);
		size_t n = nl ? (size_t)(nl - piece.p) : piece.n;

		buf_put(&ev->line, piece.p, n);
		if (nl && ev->line.err == OK)
			TRY(line_end(ev, fn, ctx));
		if (ev->line.err != OK || ev->data.err != OK)
			return err_set(E_LIMIT, "the answer has more than %zu bytes", MCP_ANSWER_MAX);
		piece = str_sub(piece, nl ? n + 1 : n, piece.n);
	}
	return OK;
}

/* ----------------------------------------------------------------------- answers */

struct str mcp_sentence(struct arena *a, struct str s, size_t most)
{
	struct str head = utf8_cut(s, most), cut = head.n < s.n ? STR("...") : STR("");
	struct str out = arena_printf(a, "%.*s%.*s", STR_ARG(head), STR_ARG(cut));

	for (size_t i = 0; i < out.n; i++)
		if ((unsigned char)out.p[i] < ' ' || out.p[i] == 0x7f)
			((char *)(uintptr_t)out.p)[i] = ' ';
	return out;
}

/* {"code", "message"} in the place of a result. */
static enum err refusal(struct arena *a, struct jval error)
{
	struct jval message = j_get(error, STR("message"));
	int64_t code = 0;
	struct str s = STR("");

	if (j_is(message, JSON_STRING))
		s = mcp_sentence(a, j_str(a, message), ERROR_MAX);
	(void)(j_ok(j_get(error, STR("code"))) && j_i64(j_get(error, STR("code")), &code));
	return err_set(E_UPSTREAM, "the server refuses this (%lld)%s%.*s", (long long)code, s.n ? ": " : "", STR_ARG(s));
}

enum err mcp_answer(struct arena *a, struct str text, int64_t id, struct json *doc, struct jval *result, bool *is)
{
	struct jval root, its, error;
	int64_t n;

	*is = false;
	if (json_parse(a, text, &limits, doc) != OK)
		return err_wrap(E_UPSTREAM, "the server answers with something that cannot be read as JSON");
	root = json_root(doc);
	its = j_get(root, STR("id"));
	error = j_get(root, STR("error"));
	if (!j_is(root, JSON_OBJECT) || j_ok(j_get(root, STR("method"))))
		return OK;
	/* A server that could not make out which request it was has no id to say. */
	if (j_ok(error) && (!j_ok(its) || j_is(its, JSON_NULL)))
		return refusal(a, error);
	if (!j_is(its, JSON_NUMBER) || !j_i64(its, &n) || n != id)
		return OK;
	if (j_ok(error))
		return refusal(a, error);
	*result = j_get(root, STR("result"));
	if (!j_is(*result, JSON_OBJECT))
		return err_set(E_UPSTREAM, "the server's answer has no result");
	*is = true;
	return OK;
}

/* ----------------------------------------------------------------------- results */

static struct str member(struct arena *a, struct jval v, const char *name)
{
	struct jval m = j_get(v, str_c(name));

	return j_is(m, JSON_STRING) ? j_str(a, m) : STR("");
}

/* Names what is not shown: its type, and what it says of itself. */
static void put_named(struct arena *a, struct buf *b, struct str type, struct jval v)
{
	struct str mime = member(a, v, "mimeType"), uri = member(a, v, "uri"), name = member(a, v, "name");
	size_t bytes = member(a, v, "data").n + member(a, v, "blob").n;

	buf_printf(b, "[%.*s", STR_ARG(mcp_sentence(a, type, 32)));
	if (name.n)
		buf_printf(b, " %.*s", STR_ARG(mcp_sentence(a, name, NAME_SHOWN)));
	if (uri.n)
		buf_printf(b, " %.*s", STR_ARG(mcp_sentence(a, uri, NAME_SHOWN)));
	if (mime.n)
		buf_printf(b, ", %.*s", STR_ARG(mcp_sentence(a, mime, 64)));
	if (bytes)
		buf_printf(b, ", %zu bytes", bytes / 4 * 3);
	buf_lit(b, ", not shown]");
}

static enum err put_content(struct arena *a, struct buf *b, struct jval one)
{
	struct str type = member(a, one, "type");
	struct jval resource = j_get(one, STR("resource")), text = j_get(one, STR("text"));

	if (str_eq(type, STR("resource")) && j_is(j_get(resource, STR("text")), JSON_STRING))
		text = j_get(resource, STR("text"));
	else if (!str_eq(type, STR("text")))
		text = (struct jval){NULL, 0};
	if (b->n)
		buf_byte(b, '\n');
	if (j_is(text, JSON_STRING)) {
		struct str s = j_str(a, text);

		if (!s.p)
			return E_NOMEM;
		buf_str(b, s);
	} else {
		put_named(a, b, type.n ? type : STR("content"), j_is(resource, JSON_OBJECT) ? resource : one);
	}
	return b->err;
}

enum err mcp_result_text(struct arena *a, struct jval result, struct str *text)
{
	struct jval content = j_get(result, STR("content")), structured = j_get(result, STR("structuredContent")), one;
	bool failed = false;
	struct buf b;

	if (j_ok(content) && !j_is(content, JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's result has content that is no list");
	buf_init(&b, a, 2 * MCP_ANSWER_MAX);
	for (struct j_iter it = j_iter(content); j_next(&it, NULL, &one);)
		TRY(put_content(a, &b, one));
	if (!b.n && j_is(structured, JSON_OBJECT))
		buf_str(&b, j_raw(structured));
	if (!b.n)
		buf_lit(&b, "(the tool's answer is empty)");
	TRY(b.err);
	*text = buf_slice(&b);
	if (memchr(text->p, 0, text->n))
		return err_set(E_UPSTREAM, "the answer is no text");
	if (j_ok(j_get(result, STR("isError"))))
		(void)j_bool(j_get(result, STR("isError")), &failed);
	return failed ? err_set(E_UPSTREAM, "%.*s", STR_ARG(mcp_sentence(a, *text, ERROR_MAX))) : OK;
}
