/* What a chat model answers, whole and as a stream that is cut into pieces anywhere: never a crash, and what is taken is bounded.
 * The first byte says how long the pieces are (0: a whole answer). A stream says the same however it is cut. */
#include "llm/impl.h"
#include "must.h"

struct stream {
	struct arena a, scratch;
	struct chat_answer w;
	struct llm_answer out;
};

static enum err on_data(void *ctx, struct str data)
{
	struct stream *s = ctx;
	struct str piece;

	arena_clear(&s->scratch);
	TRY(chat_answer_chunk(&s->w, &s->scratch, data, &piece));
	MUST(piece.n <= s->w.text.n);
	return OK;
}

static enum err read_stream(struct stream *s, struct str body, size_t step)
{
	struct sse lines;
	enum err e = OK;

	sse_init(&lines);
	for (size_t at = 0; at < body.n && e == OK; at += step)
		e = sse_feed(&lines, str_sub(body, at, at + step < body.n ? at + step : body.n), at + step >= body.n, on_data, s);
	sse_release(&lines);
	return e;
}

static enum err answer(struct stream *s, struct str body, size_t step)
{
	enum err e;

	arena_init(&s->a, (size_t)64 << 20);
	arena_init(&s->scratch, (size_t)64 << 20);
	if (chat_answer_init(&s->w, &s->a) != OK)
		return E_NOMEM;
	e = step ? read_stream(s, body, step) : chat_answer_whole(&s->w, &s->scratch, body);
	if (e == OK)
		e = chat_answer_end(&s->w, &s->out);
	MUST(e == OK || diag_get()->text[0]);
	if (e != OK)
		return e;
	MUST(s->out.text.n <= LLM_ANSWER_MAX && s->out.calls_n <= LLM_CALLS_MAX);
	for (size_t i = 0; i < s->out.calls_n; i++)
		MUST(s->out.calls[i].name.n && s->out.calls[i].name.n <= LLM_TOOL_NAME_MAX && s->out.calls[i].id.n);
	return OK;
}

static void release(struct stream *s)
{
	arena_release(&s->scratch);
	arena_release(&s->a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream x, y;
	struct str body;
	enum err e, f;

	if (size < 1)
		return 0;
	body = (struct str){(const char *)data + 1, size - 1};
	e = answer(&x, body, data[0]);
	if (data[0]) {
		f = answer(&y, body, body.n + 1);
		MUST(e == f);
		MUST(e != OK || (str_eq(x.out.text, y.out.text) && x.out.calls_n == y.out.calls_n && x.out.finish == y.out.finish));
		release(&y);
	}
	release(&x);
	return 0;
}
