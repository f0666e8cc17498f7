/* Conversations that are sent whole each time, as stock clients do: what of them the thread has already.
 *
 * A caller may send all, or its last messages; may have seen the calls of our tools, or not; may have more, less or nothing of an
 * answer that broke off; may have one of several answers to a question, or none. Its beginning is laid against the thread's end,
 * from behind; the longest that fits is not new.
 *
 * A caller that never got the newest answer, or wants another one, sends what came before it. That fits nowhere at the thread's
 * end, and is then laid against the thread without that answer. An answer or a call must be among what fits there: a caller that
 * sends its newest message alone may say the same words twice, and nothing that was typed is to be lost. */
#include "core/assistant_impl.h"

struct seen {
	struct str *v;
	bool *cut, *made;
	size_t n;
	bool more;
};

static const char answer_mark[] = {'0' + LLM_ASSISTANT, ' '};

static bool is_answer(struct str key)
{
	return key.n >= sizeof answer_mark && memcmp(key.p, answer_mark, sizeof answer_mark) == 0;
}

/* Where callers are not shown our calls, an answer that begins with one is seen as going on the answer before it. */
static bool ends_with_it(struct str seen, struct str sent)
{
	static const struct str between = STR_INIT("\n\n");
	struct str text = str_sub(sent, sizeof answer_mark, sent.n);

	if (!is_answer(seen) || !is_answer(sent) || !text.n || !str_ends(seen, text))
		return false;
	return str_ends(str_sub(seen, 0, seen.n - text.n), between);
}

/* Whether the first p of what was sent are the thread's end. */
static bool fits(const struct seen *s, const struct str *sent, size_t p)
{
	size_t i = p, j = s->n;
	bool lacks = false; /* the thread's newest answer, so far */

	while (i > 0 && j > 0) {
		if (s->cut[j - 1]) {
			i -= is_answer(sent[i - 1]);
			j--;
		} else if (str_eq(sent[i - 1], s->v[j - 1]) || ends_with_it(s->v[j - 1], sent[i - 1])) {
			if (lacks && i == p && !is_answer(sent[i - 1]))
				return false;
			i--;
			j--;
		} else if (s->made[j - 1]) {
			lacks = lacks || i == p;
			j--;
		} else {
			return false;
		}
	}
	return i == 0 || (s->more && !(lacks && i == p));
}

static size_t longest(const struct seen *s, const struct str *sent, size_t n)
{
	size_t p = s->n ? n : 0;

	while (p > 0 && !fits(s, sent, p))
		p--;
	return p;
}

/* Against the thread as it is, and as callers are shown it who do not see our calls. */
static enum err lay(struct arena *a, struct seen *s, const struct session_entry *past, size_t past_n, const struct str *sent,
		    size_t n, size_t *out)
{
	size_t whole;

	TRY(prompt_keys_seen(a, past, past_n, false, s->v, s->cut, s->made, &s->n));
	whole = longest(s, sent, n);
	TRY(prompt_keys_seen(a, past, past_n, true, s->v, s->cut, s->made, &s->n));
	*out = longest(s, sent, n);
	if (*out < whole)
		*out = whole;
	return OK;
}

/* An answer, or a call or its output, whose id no other has. */
static bool has_answer(const struct str *sent, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_answer(sent[i]) || str_starts(sent[i], STR("call ")) || str_starts(sent[i], STR("output ")))
			return true;
	return false;
}

enum err resent_count(struct arena *a, const struct session_entry *past, size_t past_n, bool more, const struct str *items,
		      size_t n, struct resent *out)
{
	struct str *sent = ARENA_ARRAY(a, struct str, n + 1);
	struct seen s = {.v = ARENA_ARRAY(a, struct str, past_n + 1),
			 .cut = ARENA_ARRAY(a, bool, past_n + 1),
			 .made = ARENA_ARRAY(a, bool, past_n + 1),
			 .more = more};
	size_t asked;

	*out = (struct resent){.upto = past_n};
	if (!sent || !s.v || !s.cut || !s.made)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		TRY(prompt_key(a, items[i], &sent[i]));
	TRY(prompt_asked(a, past, past_n, &asked));
	TRY(lay(a, &s, past, past_n, sent, n, &out->had));
	if (!out->had && asked < past_n) {
		TRY(lay(a, &s, past, asked, sent, n, &out->had));
		if (!has_answer(sent, out->had))
			out->had = 0;
		out->again = n && out->had == n;
	}
	if (out->again)
		out->upto = asked;
	else if (n && out->had == n && !is_answer(sent[n - 1]))
		TRY(prompt_unanswered(a, past, past_n, &out->upto));
	return OK;
}
