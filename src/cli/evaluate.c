/* `cenote smoke`: one question before a deployment; `cenote evaluate`: a set of them, scored. Both ask the assistant as every other
 * client does (POST /v1/responses), outside of threads: nothing is kept. */
#include "base/utf8.h"
#include "cli/chat.h"
#include "cli/out.h"
#include "cli/peer.h"
#include "index/fold.h"

enum { FAILED = 1, MARGIN_MS = 10000 };
#define TEXT_MAX ((size_t)16 << 20)

/* -------------------------------------------------------------------- asking */

/* The texts of the answer's messages. */
static enum err answer_text(struct arena *a, struct jval response, struct str *out)
{
	struct jval item, part;
	struct buf b;

	buf_init(&b, a, TEXT_MAX);
	for (struct j_iter it = j_iter(j_get(response, STR("output"))); j_next(&it, NULL, &item);) {
		struct jval content = j_get(item, STR("content"));

		if (!j_str_eq(j_get(item, STR("type")), STR("message")) || !j_is(content, JSON_ARRAY))
			continue;
		for (struct j_iter p = j_iter(content); j_next(&p, NULL, &part);) {
			struct jval text = j_get(part, STR("text"));

			if (!j_is(text, JSON_STRING))
				continue;
			buf_lit(&b, b.n ? "\n" : "");
			buf_str(&b, j_str(a, text));
		}
	}
	*out = b.n ? buf_slice(&b) : STR("");
	return b.err;
}

/* Asks; E_UPSTREAM when the answer is empty or not complete. */
static enum err ask(struct http_client *http, struct arena *a, struct str question, struct str *answer)
{
	struct http_reply r;
	struct json doc;
	struct buf b;

	buf_init(&b, a, TEXT_MAX);
	buf_lit(&b, "{\"store\":false,\"input\":");
	json_quote(&b, question);
	buf_byte(&b, '}');
	TRY(b.err);
	TRY(client_call(http, a, "POST", STR("/v1/responses"), NULL, buf_slice(&b), &r));
	TRY(reply_json(a, &r, &doc));
	if (!j_is(j_get(json_root(&doc), STR("output")), JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's answer has no output (is it a Cenote server?)");
	TRY(answer_text(a, json_root(&doc), answer));
	if (!j_str_eq(j_get(json_root(&doc), STR("status")), STR("completed")))
		return err_set(E_UPSTREAM, "the answer is not complete");
	return str_trim(*answer).n ? OK : err_set(E_UPSTREAM, "the answer is empty");
}

static enum err connect_to(struct call *c, struct http_client **http)
{
	TRY(peer_open(c));
	return peer_client_as(c, STR(""), (uint32_t)c->cfg.llm_timeout + MARGIN_MS, http);
}

/* --------------------------------------------------------------------- smoke */

static enum err smoke(struct call *c, struct http_client **http, struct str *answer)
{
	struct str question;
	struct buf b;

	TRY(call_config(c));
	question = c->argc ? str_c(c->args[0]) : str_trim(c->cfg.smoke_question);
	if (!question.n)
		return err_set(E_INVALID, "there is no question: give one, or set governance.verification.smoke_test_question");
	TRY(connect_to(c, http));
	TRY(ask(*http, &c->arena, question, answer));
	buf_init(&b, &c->arena, 8 * TEXT_MAX);
	if (c->output == OUT_JSON || c->output == OUT_NDJSON) {
		buf_lit(&b, "{\"question\":");
		json_quote(&b, question);
		buf_lit(&b, ",\"answer\":");
		json_quote(&b, *answer);
		buf_byte(&b, '}');
	} else {
		chat_clean(&b, *answer);
	}
	buf_byte(&b, '\n');
	TRY(b.err);
	if (fwrite(b.p, 1, b.n, stdout) != b.n || fflush(stdout) != 0)
		return err_set(E_IO, "cannot write to stdout");
	return OK;
}

int run_smoke(struct call *c)
{
	struct http_client *http = NULL;
	struct str answer;
	enum err e = smoke(c, &http, &answer);
	int code = e == OK ? 0 : call_fail(c, e);

	if (!http)
		return e == E_INVALID ? code : FAILED; /* how it was called */
	http_client_free(http);
	return e == OK ? 0 : FAILED;
}

/* ------------------------------------------------------------------- scoring */

static enum err folded(struct arena *a, struct str s, struct str *out)
{
	struct buf b;

	buf_init(&b, a, 4 * TEXT_MAX);
	for (size_t i = 0; i < s.n;) {
		struct folded f;
		int32_t cp = utf8_next(s, &i);
		char one[4];

		if (cp < 0)
			continue;
		fold_char((uint32_t)cp, &f);
		for (unsigned k = 0; k < f.n; k++)
			buf_put(&b, one, utf8_put(one, f.cp[k]));
	}
	*out = b.n ? buf_slice(&b) : STR("");
	return b.err;
}

/* Whether a text is in the answer, whatever the case and accents. */
static enum err has(struct arena *a, struct str answer, struct jval want, bool *met)
{
	struct str text = j_is(want, JSON_STRING) ? j_str(a, want) : j_raw(want), x, y;

	TRY(folded(a, answer, &x));
	TRY(folded(a, text, &y));
	*met = *met && (y.n == 0 || memmem(x.p, x.n, y.p, y.n) != NULL);
	return OK;
}

/* Every text that is expected: one, or a list of them. */
static enum err meets(struct arena *a, struct str answer, struct jval want, bool *met)
{
	struct jval one;

	if (j_null(want))
		return OK;
	if (!j_is(want, JSON_ARRAY))
		return has(a, answer, want, met);
	for (struct j_iter it = j_iter(want); j_next(&it, NULL, &one);)
		TRY(has(a, answer, one, met));
	return OK;
}

static enum err judge(struct arena *a, struct jval example, struct str answer, bool *met)
{
	static const char *const names[] = {"expected", "expected_response", "expected_facts"};
	struct jval below = j_get(example, STR("expectations"));

	*met = true;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		TRY(meets(a, answer, j_get(example, str_c(names[i])), met));
		TRY(meets(a, answer, j_get(below, str_c(names[i])), met));
	}
	return OK;
}

/* ------------------------------------------------------------------- the set */

static const struct column cols[] = {
	{"MET", "met", 0}, {"QUESTION", "question", 60}, {"ANSWER", "answer", 80}, {"ERROR", "error", 0}};

struct set {
	struct call *c;
	struct http_client *http;
	struct out out;
	size_t n, met;
};

/* A text, or a mapping with question, also below inputs. */
static enum err question_of(struct arena *a, struct jval example, size_t i, struct str *out)
{
	struct jval q = j_is(example, JSON_STRING) ? example : j_get(example, STR("question"));

	if (j_null(q))
		q = j_get(j_get(example, STR("inputs")), STR("question"));
	if (!j_is(q, JSON_STRING))
		return err_set(E_INVALID, "agent.benchmark_seeds.seed_examples[%zu] is neither a question nor has one", i);
	*out = j_str(a, q);
	return out->p ? OK : E_NOMEM;
}

static enum err row(struct set *s, struct arena *a, struct str question, struct str answer, bool met, const char *error)
{
	struct json doc;
	struct buf b;
	struct jw w;

	buf_init(&b, a, 4 * TEXT_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "met");
	jw_bool(&w, met);
	jw_key(&w, "question");
	jw_str(&w, question);
	jw_key(&w, "answer");
	jw_str(&w, answer);
	jw_key(&w, "error");
	if (error)
		jw_cstr(&w, error);
	else
		jw_null(&w);
	jw_end_obj(&w);
	TRY(b.err);
	TRY(json_parse(a, buf_slice(&b), &json_default_limits, &doc));
	return out_row(&s->out, json_root(&doc));
}

/* One question; its failure is its own, a server that cannot be reached is everybody's. */
static enum err score(struct set *s, struct arena *a, struct jval example)
{
	struct str question, answer = STR("");
	bool met = false;
	enum err e;

	TRY(question_of(a, example, s->n, &question));
	e = ask(s->http, a, question, &answer);
	if (e == E_NOT_FOUND || e == E_DENIED || e == E_CANCELLED)
		return e;
	const char *error = e == OK ? NULL : arena_cstr(a, str_c(diag_get()->text));
	if (e == OK)
		TRY(judge(a, example, answer, &met));
	s->n++;
	s->met += met;
	return row(s, a, question, answer, met, error);
}

static enum err evaluate(struct set *s, int64_t *least)
{
	struct call *c = s->c;
	struct jval example;
	struct json doc;

	TRY(call_config(c));
	TRY(call_int(c, "least", 0, 100, 100, least));
	if (!c->cfg.agent_examples.n)
		return err_set(E_INVALID, "there are no questions: set agent.benchmark_seeds.seed_examples");
	TRY(json_parse(&c->arena, c->cfg.agent_examples, &json_default_limits, &doc));
	TRY(connect_to(c, &s->http));
	out_begin(&s->out, c, cols, sizeof cols / sizeof cols[0], "question", false);
	for (struct j_iter it = j_iter(json_root(&doc)); j_next(&it, NULL, &example);)
		TRY(score(s, &c->arena, example));
	TRY(out_end(&s->out));
	if (!s->n)
		return err_set(E_INVALID, "agent.benchmark_seeds.seed_examples is empty");
	if (!c->quiet)
		fprintf(stderr, "cenote: %zu of %zu met (%zu %%)\n", s->met, s->n, 100 * s->met / s->n);
	return OK;
}

int run_evaluate(struct call *c)
{
	struct set s = {.c = c};
	int64_t least = 100;
	enum err e = evaluate(&s, &least);
	int code = e == OK ? 0 : call_fail(c, e);

	if (!s.http)
		return e == E_INVALID ? code : FAILED;
	http_client_free(s.http);
	return e == OK && 100 * s.met >= (size_t)least * s.n ? 0 : FAILED;
}
