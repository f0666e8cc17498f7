/* Server-sent events as model servers write them: a JSON value behind each "data:", everything else is passed over
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html; contracts: openai 9). */
#include "llm/impl.h"

void sse_init(struct sse *s)
{
	*s = (struct sse){.skip = false};
	buf_init(&s->line, NULL, SSE_LINE_MAX);
}

void sse_release(struct sse *s)
{
	buf_release(&s->line);
}

static enum err line_end(struct sse *s, sse_fn fn, void *ctx)
{
	struct str line = buf_slice(&s->line);
	enum err e = OK;

	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	if (str_starts(line, STR("data:"))) {
		line = str_sub(line, 5, line.n);
		if (line.n && line.p[0] == ' ')
			line = str_sub(line, 1, line.n);
		e = line.n ? fn(ctx, line) : OK;
	}
	buf_clear(&s->line);
	s->skip = false;
	return e;
}

/* Whether the line so far can still become one with data; nothing else has to be kept. */
static bool of_use(const struct sse *s)
{
	static const char name[] = "data:";
	size_t n = s->line.n < 5 ? s->line.n : 5;

	return memcmp(s->line.p, name, n) == 0;
}

enum err sse_feed(struct sse *s, struct str piece, bool last, sse_fn fn, void *ctx)
{
	while (piece.n) {
		const char *nl = memchr(piece.p, '\n', piece.n);
		size_t n = nl ? (size_t)(nl - piece.p) : piece.n;

		if (!s->skip && n) {
			buf_put(&s->line, piece.p, n);
			if (s->line.err != OK)
				return err_set(E_LIMIT, "a line of the answer has more than %zu bytes", SSE_LINE_MAX);
			if (!of_use(s)) {
				buf_clear(&s->line);
				s->skip = true;
			}
		}
		piece = str_sub(piece, nl ? n + 1 : n, piece.n);
		if (nl)
			TRY(line_end(s, fn, ctx));
	}
	return last ? line_end(s, fn, ctx) : OK;
}
