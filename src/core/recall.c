/* Recall: the request's checks, and the messages. The ranker works on what the index documents (and vectors) say; texts are read
 * for the hits that are returned. */
#include "core/recall_impl.h"

static enum err rank_under_lock(void *ctx, const struct scope *s, const struct vector_scope *v)
{
	struct recaller *r = ctx;

	r->rank_rq.vectors = v;
	if (r->meaning.model.n || r->meaning.waiting)
		r->messages_pending = !v ? s->docs : s->docs > v->rows ? s->docs - v->rows : 0;
	TRY(rank_messages(s, r->a, &r->rank_rq, &r->ranked));
	r->messages_cut = r->ranked.n == r->rank_rq.keep;
	return OK;
}

struct nameless {
	struct recaller *r;
	struct str text;
};

static enum err take_names_out(void *ctx, const struct scope *s, const struct vector_scope *v)
{
	struct nameless *n = ctx;

	(void)v;
	return rank_question_text(s, n->r->a, n->r->rq->query, &n->text);
}

static enum err recall_user(const struct principal *who, const struct recall_request *rq, struct str *out)
{
	*out = rq->user ? *rq->user : who->user;
	if (who->user_bound && !str_eq(*out, who->user))
		return err_field(E_DENIED, "/user", -1, "the credential belongs to one user and reaches no other's memory");
	return OK;
}

/* The question's vector: speakers are found by name, and a name in it would draw it towards all that mention it. */
static enum err ask_messages(struct recaller *r, const struct doc_scope *scope)
{
	struct nameless n = {r, r->rq->query};
	bool skipped;

	if (r->meaning.model.n == 0 || r->rq->mode == RANK_BY_WORDS)
		return OK;
	TRY(words_with_scope(memory_words(r->m), r->a, r->who, scope, take_names_out, &n, &skipped));
	return meaning_of(&r->meaning, r->a, n.text, &r->rank_rq.question);
}

static enum err find_messages(struct recaller *r)
{
	const struct recall_request *rq = r->rq;
	struct words *w = memory_words(r->m);
	struct doc_scope scope = {.kind = DOC_MESSAGE, .model = r->meaning.model};
	bool skipped;

	TRY(recall_user(r->who, rq, &scope.prefix));
	r->rank_rq = (struct rank_request){
		.query = rq->query,
		.threads = rq->threads_n ? rq->threads : NULL,
		.threads_n = rq->threads_n,
		.from_us = rq->from_us,
		.to_us = rq->to_us,
		.want = r->keep / 2 > rq->limit + 64 ? r->keep / 2 : rq->limit,
		.keep = r->keep,
		.langs = w->langs,
		.mode = rq->mode,
		.weights = r->m->opt.weights,
		.near = r->m->opt.near,
	};
	TRY(ask_messages(r, &scope));
	return words_with_scope(w, r->a, r->who, &scope, rank_under_lock, r, &skipped);
}

enum err recall(struct memory *m, struct arena *a, const struct principal *who, const struct recall_request *rq,
		struct recall_hit **out, size_t *n)
{
	struct recaller r = {.m = m, .a = a, .who = who, .rq = rq};
	bool both = !rq->want_messages && !rq->want_items && !rq->want_facts;
	struct str user;

	*out = NULL;
	*n = 0;
	TRY(principal_check(who, RIGHT_READ));
	TRY(recall_user(who, rq, &user));
	if (rq->limit < 1 || rq->limit > RECALL_LIMIT_MAX)
		return err_field(E_INVALID, "/limit", -1, "limit must be 1..%d, got %u", RECALL_LIMIT_MAX, rq->limit);
	if (rq->from_us && rq->to_us && rq->from_us > rq->to_us)
		return err_field(E_INVALID, "/time", -1, "time.from is later than time.to");
	TRY(meaning_begin(&r.meaning, m, a, who, rq->mode));
	r.meaning.span = rq->span;
	if (both || rq->want_items || rq->want_facts)
		TRY(recall_items(&r));
	/* More messages than wanted, to take the place of equal texts and of what a budget has no room for. */
	r.keep = (size_t)rq->limit * (rq->budget_tokens ? 4 : 2) + 64;
	for (bool more = true; more; r.keep *= 4) {
		if (both || rq->want_messages)
			TRY(find_messages(&r));
		TRY(recall_answer(&r, out, n, &more));
	}
	return OK;
}
