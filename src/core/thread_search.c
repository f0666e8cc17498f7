/* Searching threads: all names of the tenant are looked at page by page, since whether a thread matches is known only from its
 * record and its state. Kept in memory is what sorting needs, and of the first 32 MiB of them all that is shown; those of the
 * answer's page that were not kept are read anew.
 *
 * Invariants
 *  1. Nothing of a thread that the principal does not see is kept, counted or compared.
 *  2. A state is decoded only of threads that pass everything else.
 *  3. Threads with equal keys are in the order of their names, ascending, in both directions; so pages do not overlap. */
#include <stdlib.h>

#include "base/clock.h"
#include "core/parse.h"
#include "core/state.h"
#include "core/thread.h"

enum { PAGE = 1000, PATTERN_NODES_MAX = 1000 };
#define FOUND_MAX_BYTES ((size_t)256 << 20)
#define INFO_MAX_BYTES ((size_t)32 << 20)
#define STATE_MAX_BYTES ((size_t)512 << 20)

struct candidate {
	int64_t key;
	struct str thread;
	const struct thread_info *info; /* NULL: INFO_MAX_BYTES were used up; it is read again if it is shown */
};

struct search {
	struct memory *m;
	const struct principal *who;
	const struct thread_search *q;
	struct arena found;   /* candidates' names; lives as long as the search */
	struct arena one;     /* what is read of one thread */
	struct arena scratch; /* what is parsed of it */
	struct candidate *v;  /* heap */
	size_t n, cap;
	struct str last; /* the page's last name, in found */
	size_t seen;	 /* in this page */
	enum err err;
};

/* ----------------------------------------------------------------- matching */

static const char *const status_names[] = {"idle", "busy", "interrupted", "error"};
static const uint8_t status_ranks[] = {2, 0, 3, 1}; /* by name */

const char *thread_status_name(enum thread_status s)
{
	return status_names[s];
}

static bool no_pattern(struct jval v)
{
	return j_null(v) || (j_is(v, JSON_OBJECT) && j_node(v)->count == 0);
}

static enum err pattern_check(struct jval v, const char *field)
{
	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_OBJECT))
		return err_field(E_INVALID, field, -1, "%s must be an object", field + 1);
	if (j_node(v)->next - v.i > PATTERN_NODES_MAX)
		return err_field(E_INVALID, field, -1, "%s has more than %d names and values in all", field + 1, PATTERN_NODES_MAX);
	return OK;
}

static enum err text_contains(struct search *s, struct str text, struct jval pattern, bool *yes)
{
	const struct json_limits lim = {.depth = 80, .nodes = 4000000, .bytes = STATE_MAX_BYTES, .flags = JSON_DUP_OK};
	struct json doc;

	arena_clear(&s->scratch);
	TRY(json_parse(&s->scratch, text, &lim, &doc));
	*yes = j_contains(json_root(&doc), pattern);
	return OK;
}

static int64_t key_of(enum thread_sort sort, const struct thread_info *t)
{
	switch (sort) {
	case SORT_CREATED:
		return t->created_us;
	case SORT_UPDATED:
		return t->updated_us;
	case SORT_STATE:
		return t->state_us;
	case SORT_STATUS:
		return status_ranks[thread_status(t)];
	default:
		return 0;
	}
}

static enum err record_matches(struct search *s, const struct thread_info *t, bool *yes)
{
	const struct thread_search *q = s->q;

	*yes = principal_sees(s->who, t->user) && (!q->by_status || thread_status(t) == q->status) &&
	       (!q->checkpoints_only || t->checkpoints > 0 || t->version > 0);
	if (!*yes || no_pattern(q->metadata))
		return OK;
	return text_contains(s, t->metadata.n > 0 ? t->metadata : STR("{}"), q->metadata, yes);
}

static enum err copy_info(struct arena *a, const struct thread_info *t, struct thread_info *out)
{
	struct str *const texts[] = {&out->thread, &out->user, &out->metadata, &out->config};

	*out = *t;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		*texts[i] = arena_str(a, *texts[i]);
		if (!texts[i]->p)
			return E_NOMEM;
	}
	return OK;
}

static enum err keep(struct search *s, const struct thread_info *t)
{
	struct thread_info *info = NULL;
	struct str name;

	if (s->q->limit > 0 && s->found.used + t->metadata.n + t->config.n < INFO_MAX_BYTES) {
		info = ARENA_NEW(&s->found, struct thread_info);
		if (!info)
			return E_NOMEM;
		TRY(copy_info(&s->found, t, info));
		name = info->thread;
	} else {
		name = arena_str(&s->found, t->thread);
	}
	if (!name.p)
		return E_NOMEM;
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 256;
		struct candidate *v = realloc(s->v, cap * sizeof *v);

		if (!v)
			return E_NOMEM;
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = (struct candidate){key_of(s->q->sort, t), name, info};
	return OK;
}

/* ------------------------------------------------------------------ walking */

static enum err look_at(struct search *s, const struct thread_info *t)
{
	bool yes;

	TRY(record_matches(s, t, &yes));
	return yes ? keep(s, t) : OK;
}

static bool on_thread(void *ctx, const struct thread_info *t)
{
	struct search *s = ctx;

	s->seen++;
	s->err = look_at(s, t);
	if (s->err == OK && s->seen == PAGE) {
		s->last = arena_str(&s->found, t->thread);
		if (!s->last.p)
			s->err = E_NOMEM;
	}
	return s->err == OK;
}

static enum err walk_all(struct search *s)
{
	struct store *store = memory_store(s->m);
	const struct str *user = s->who->user_bound ? &s->who->user : NULL;

	s->last = STR("");
	do {
		s->seen = 0;
		TRY(store->ops->thread_list(store, s->who, user, s->last, PAGE, on_thread, s));
		if (s->err == E_NOMEM)
			return err_set(E_LIMIT, "too many threads match to be sorted; narrow the search");
		if (s->err != OK)
			return err_set(s->err, "a thread's metadata cannot be read");
	} while (s->seen == PAGE);
	return OK;
}

static int by_text(const void *x, const void *y)
{
	return str_cmp(*(const struct str *)x, *(const struct str *)y);
}

static enum err walk_ids(struct search *s)
{
	struct str *ids = ARENA_ARRAY(&s->found, struct str, s->q->ids_n);

	if (!ids)
		return E_NOMEM;
	memcpy(ids, s->q->ids, s->q->ids_n * sizeof *ids);
	qsort(ids, s->q->ids_n, sizeof *ids, by_text);
	for (size_t i = 0; i < s->q->ids_n; i++) {
		struct thread_info t;
		bool found;

		if (i > 0 && str_eq(ids[i], ids[i - 1]))
			continue;
		arena_clear(&s->one);
		TRY(thread_get(s->m, &s->one, s->who, ids[i], &t, &found));
		if (found)
			TRY(look_at(s, &t));
	}
	return OK;
}

/* ------------------------------------------------------------------- states */

struct state_job {
	struct search *s;
	const struct ckpt *c;
	const struct str *channels;
	size_t n;
	bool yes;
};

static enum err state_compare(void *arg)
{
	struct state_job *j = arg;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, NULL, STATE_MAX_BYTES);
	jw_init(&w, &b);
	ckpt_values_json(&w, &j->s->one, j->c, j->channels, j->n);
	e = b.err;
	if (e == OK)
		e = text_contains(j->s, buf_slice(&b), j->s->q->values, &j->yes);
	buf_release(&b);
	return e;
}

/* The head's channels that the pattern names; a thread without a state has none. */
static enum err state_matches(struct search *s, struct str thread, const struct str *channels, size_t n, bool *yes)
{
	struct ckpt_query q = {.thread = thread, .want = CK_VALUES, .channels = channels, .channels_n = n};
	struct state_job job = {.s = s, .channels = channels, .n = n};
	struct ckpt_full full;

	arena_clear(&s->one);
	TRY(ckpt_get(s->m, &s->one, s->who, &q, &full, yes));
	if (!*yes)
		return OK;
	job.c = &full.c;
	TRY(run_sized(ckpt_show_size(&full.c), state_compare, &job));
	*yes = job.yes;
	return OK;
}

static enum err filter_states(struct search *s)
{
	struct str *channels;
	struct jval key, v;
	size_t n = 0, kept = 0;

	if (no_pattern(s->q->values))
		return OK;
	channels = ARENA_ARRAY(&s->found, struct str, j_node(s->q->values)->count);
	if (!channels)
		return E_NOMEM;
	for (struct j_iter it = j_iter(s->q->values); j_next(&it, &key, &v); n++) {
		channels[n] = j_str(&s->found, key);
		if (!channels[n].p)
			return E_NOMEM;
	}
	for (size_t i = 0; i < s->n; i++) {
		bool yes;

		TRY(state_matches(s, s->v[i].thread, channels, n, &yes));
		if (yes)
			s->v[kept++] = s->v[i];
	}
	s->n = kept;
	return OK;
}

/* ------------------------------------------------------------------ sorting */

static int by_key(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;

	return a->key != b->key ? (a->key > b->key) - (a->key < b->key) : str_cmp(a->thread, b->thread);
}

static int by_key_down(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;

	return a->key != b->key ? (a->key < b->key) - (a->key > b->key) : str_cmp(a->thread, b->thread);
}

static int by_name_down(const void *x, const void *y)
{
	return str_cmp(((const struct candidate *)y)->thread, ((const struct candidate *)x)->thread);
}

static enum err sort_all(void *arg)
{
	struct search *s = arg;

	if (s->n > 1)
		qsort(s->v, s->n, sizeof *s->v, s->q->ascending ? by_key : s->q->sort == SORT_ID ? by_name_down : by_key_down);
	return OK;
}

static enum err fill_page(struct search *s, struct arena *a, struct thread_search *q)
{
	size_t from = q->offset < s->n ? q->offset : s->n, to = s->n - from < q->limit ? s->n : from + q->limit;

	q->total = s->n;
	q->n = 0;
	q->v = ARENA_ARRAY(a, struct thread_info, to - from + 1);
	if (!q->v)
		return E_NOMEM;
	for (size_t i = from; i < to; i++) {
		bool found = s->v[i].info != NULL;

		if (found)
			TRY(copy_info(a, s->v[i].info, &q->v[q->n]));
		else
			TRY(thread_get(s->m, a, s->who, s->v[i].thread, &q->v[q->n], &found));
		q->n += found; /* one that was removed meanwhile is left out */
	}
	return OK;
}

enum err thread_search(struct memory *m, struct arena *a, const struct principal *who, struct thread_search *q)
{
	struct search s = {.m = m, .who = who, .q = q};
	enum err e;

	TRY(principal_check(who, RIGHT_READ));
	TRY(pattern_check(q->metadata, "/metadata"));
	TRY(pattern_check(q->values, "/values"));
	arena_init(&s.found, FOUND_MAX_BYTES);
	arena_init(&s.one, STATE_MAX_BYTES);
	arena_init(&s.scratch, STATE_MAX_BYTES);
	CHECK(q->ids_n > 0 ? walk_ids(&s) : walk_all(&s));
	CHECK(filter_states(&s));
	if (q->limit > 0)
		CHECK(run_sized(s.n * sizeof *s.v, sort_all, &s));
	e = fill_page(&s, a, q);
out:
	arena_release(&s.scratch);
	arena_release(&s.one);
	arena_release(&s.found);
	free(s.v);
	return e;
}
