/* Conversations that are sent whole each time, as stock clients do: what of them the thread has already.
 *
 * A caller may send all, or its last messages; may have seen the calls of our tools, or not; may have more, less or nothing of an
 * answer that broke off. Its beginning is laid against the thread's end, from behind; the longest that fits is not new. */
#include "core/assistant_impl.h"

struct seen {
	struct str *v;
	bool *cut;
	size_t n;
	bool more;
};

static bool is_answer(struct str key)
{
	static const char mark[] = {'0' + LLM_ASSISTANT, ' '};

	return key.n >= sizeof mark && memcmp(key.p, mark, sizeof mark) == 0;
}

/* Whether the first p of what was sent are the thread's end. */
static bool fits(const struct seen *s, const struct str *sent, size_t p)
{
	size_t i = p, j = s->n;

	while (i > 0 && j > 0) {
		if (s->cut[j - 1]) {
			i -= is_answer(sent[i - 1]);
			j--;
		} else if (str_eq(sent[i - 1], s->v[j - 1])) {
			i--;
			j--;
		} else {
			return false;
		}
	}
	return i == 0 || s->more;
}

static size_t longest(const struct seen *s, const struct str *sent, size_t n)
{
	size_t p = s->n ? n : 0;

	while (p > 0 && !fits(s, sent, p))
		p--;
	return p;
}

enum err resent_count(struct arena *a, const struct session_entry *past, size_t past_n, bool more, const struct str *items,
		      size_t n, size_t *out)
{
	struct str *sent = ARENA_ARRAY(a, struct str, n + 1);
	struct seen s = {.v = ARENA_ARRAY(a, struct str, past_n + 1), .cut = ARENA_ARRAY(a, bool, past_n + 1), .more = more};
	size_t whole;

	if (!sent || !s.v || !s.cut)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		TRY(prompt_key(a, items[i], &sent[i]));
	TRY(prompt_keys_seen(a, past, past_n, false, s.v, s.cut, &s.n));
	whole = longest(&s, sent, n);
	TRY(prompt_keys_seen(a, past, past_n, true, s.v, s.cut, &s.n));
	*out = longest(&s, sent, n);
	if (*out < whole)
		*out = whole;
	return OK;
}
