/* What the files of the driver for chat models share. */
#ifndef CENOTE_LLM_IMPL_H
#define CENOTE_LLM_IMPL_H

#include "base/buf.h"
#include "core/llm.h"

/* ---- body.c ---- */
struct chat_body {
	struct str model;
	bool stream, usage, completion_tokens;
	bool databricks; /* its endpoints refuse what they do not know: `strict` of tools, ids of calls above 64 bytes, ... */
	const struct llm_param *defaults;
	size_t defaults_n;
};
/* The request's body into out, which has an arena (its error stands in out->err). */
enum err chat_body_write(const struct chat_body *how, const struct llm_request *rq, struct buf *out) MUST_CHECK;

/* ---- answer.c ---- */
/* An answer that is being put together. Everything lies in a. */
struct chat_answer {
	struct arena *a;
	struct buf text;
	struct {
		struct str id, name;
		struct buf arguments;
		int64_t index;
	} * calls;
	size_t calls_n, bytes; /* bytes: of arguments and names */
	bool finished;	       /* a finish_reason has come */
	bool done;	       /* the stream's [DONE] has come */
	enum llm_finish finish;
	int64_t tokens_in, tokens_out;
	struct str model;
};
enum err chat_answer_init(struct chat_answer *w, struct arena *a) MUST_CHECK;
/* A whole answer. scratch holds the parsed text. E_UPSTREAM: no JSON (cut off), or an error in the place of an answer; E_CORRUPT:
 * it is none; E_LIMIT. */
enum err chat_answer_whole(struct chat_answer *w, struct arena *scratch, struct str body) MUST_CHECK;
/* What stands behind "data:" of a streamed answer. *piece: what it adds to the text, in w's arena until the next call. Errors as
 * above. */
enum err chat_answer_chunk(struct chat_answer *w, struct arena *scratch, struct str data, struct str *piece) MUST_CHECK;
enum err chat_answer_end(struct chat_answer *w, struct llm_answer *out) MUST_CHECK;

/* ---- sse.c ---- */
#define SSE_LINE_MAX ((size_t)8 << 20)
/* Lines of an event stream, however its bytes are cut. */
struct sse {
	struct buf line;
	bool skip; /* the rest of the line is a comment or another field */
};
typedef enum err (*sse_fn)(void *ctx, struct str data);
void sse_init(struct sse *s);
void sse_release(struct sse *s);
/* fn gets what stands behind each "data:". E_LIMIT: a line above SSE_LINE_MAX; else what fn returned. last: the stream has ended;
 * a line without its end counts. */
enum err sse_feed(struct sse *s, struct str piece, bool last, sse_fn fn, void *ctx) MUST_CHECK;

#endif
