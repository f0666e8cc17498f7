/* The ranker: scores of rows, then features of candidates, then the sum. Arrays over all rows and messages come from the heap (the
 * arena of a request has a ceiling that a large scope would break); what is returned lies in the arena. */
#include <math.h>
#include <stdlib.h>

#include "index/rank_impl.h"

#define DAY_US 86400000000

bool rank_evidence(const struct ranked *m)
{
	static const enum rank_feature speaks[] = {RF_LEX,   RF_PAIR,	RF_PREV2, RF_SESS, RF_DATE,
						   RF_COVER, RF_ANSWER, RF_SPK,	  RF_VNEXT};

	if (m->cosine > 0) /* not when it is NaN */
		return true;
	for (size_t i = 0; i < sizeof speaks / sizeof speaks[0]; i++)
		if (m->f[speaks[i]] > 0)
			return true;
	return false;
}

enum err rank_no_memory(void)
{
	return err_set(E_LIMIT, "out of memory while ranking messages");
}

static void ranker_release(struct ranker *k)
{
	free(k->bm);
	free(k->bm_pair);
	free(k->mask);
	free(k->lex);
	free(k->admitted);
	free(k->cosine);
	free(k->sess);
	free(k->thread_wanted);
	free(k->picked);
}

static int64_t day_of(int64_t us)
{
	return us / DAY_US - (us % DAY_US < 0);
}

/* ---------------------------------------------------------------- question */

static bool in_terms(const struct ranker *k, uint32_t id)
{
	for (size_t i = 0; i < k->q_n; i++)
		if (k->q[i].id == id)
			return true;
	return false;
}

/* Does another live speaker have this part of a name? */
static bool shared_name(const struct ranker *k, uint32_t speaker, uint32_t term)
{
	for (uint32_t i = 0; i < k->s->speakers_n; i++)
		for (unsigned t = 0; i != speaker && k->o->speaker_live[i + 1] && t < k->s->speakers[i].terms_n; t++)
			if (k->s->speakers[i].terms[t] == term)
				return true;
	return false;
}

/* A speaker is named by a part of the name that no other speaker has, or by the whole name. */
static bool is_named(const struct ranker *k, uint32_t speaker)
{
	const struct speaker *sp = &k->s->speakers[speaker];
	unsigned hits = 0;

	for (unsigned t = 0; t < sp->terms_n; t++) {
		if (!in_terms(k, sp->terms[t]))
			continue;
		hits++;
		if (!shared_name(k, speaker, sp->terms[t]))
			return true;
	}
	return hits > 0 && hits == sp->terms_n;
}

static void weigh_names(struct ranker *k)
{
	unsigned named = 0;

	for (uint32_t i = 0; i < k->s->speakers_n; i++) {
		if (!k->o->speaker_live[i + 1])
			continue;
		for (unsigned t = 0; t < k->s->speakers[i].terms_n; t++)
			for (size_t j = 0; j < k->q_n; j++)
				if (k->q[j].id == k->s->speakers[i].terms[t])
					k->q[j].weight = 0.5;
		if (is_named(k, i)) {
			named++;
			k->speaker = (uint16_t)(i + 1);
		}
	}
	if (named != 1)
		k->speaker = 0;
}

enum err rank_question_text(const struct scope *s, struct arena *a, struct str query, struct str *out)
{
	size_t cap = (size_t)s->speakers_n * DOC_NAME_TERMS, n = 0;
	uint32_t *ids = ARENA_ARRAY(a, uint32_t, cap + 1);

	if (!ids)
		return E_NOMEM;
	if (!scope_order_current(s))
		return err_set(E_INTERNAL, "the order of a scope's messages is not current");
	for (uint32_t i = 0; i < s->speakers_n; i++)
		for (unsigned t = 0; s->order->speaker_live[i + 1] && t < s->speakers[i].terms_n; t++)
			ids[n++] = s->speakers[i].terms[t];
	return question_without(a, scope_langs(s), query, ids, n, out);
}

static int year_of(int64_t us)
{
	unsigned month, day;
	int year;

	clock_civil(day_of(us), &year, &month, &day);
	return year;
}

static enum err read_question(struct ranker *k)
{
	uint32_t langs = scope_langs(k->s);
	int first = 1, last = 0;
	struct str rest;

	if (!langs)
		langs = k->rq->langs;
	if (k->o->first_us <= k->o->last_us) {
		first = year_of(k->o->first_us);
		last = year_of(k->o->last_us);
	}
	TRY(question_dates(k->a, langs, k->rq->query, first, last, &k->out->spans, &k->out->spans_n, &rest));
	TRY(question_terms(k->a, langs, rest, &k->q, &k->q_n));
	TRY(question_pairs(k->a, langs, rest, &k->pairs, &k->pairs_n));
	k->asks_when = question_asks_when(k->a, langs, k->rq->query);
	k->asks_told = question_asks_told(k->a, langs, k->rq->query);
	k->out->terms = k->q;
	k->out->terms_n = k->q_n;
	return OK;
}

/* ---------------------------------------------------------- scores of rows */

static enum err score_rows(struct ranker *k)
{
	size_t slots = scope_row_slots(k->s) + 1;
	struct bm25 c;

	k->bm = calloc(slots, sizeof *k->bm);
	k->bm_pair = calloc(slots, sizeof *k->bm_pair);
	k->mask = calloc(slots, sizeof *k->mask);
	k->lex = calloc((size_t)k->o->n + 1, sizeof *k->lex);
	if (!k->bm || !k->bm_pair || !k->mask || !k->lex)
		return rank_no_memory();
	scope_query_prepare(k->s, k->q, k->q_n, &c);
	scope_query_prepare(k->s, k->pairs, k->pairs_n, &c);
	weigh_names(k);
	scope_score(k->s, k->q, k->q_n, &c, k->bm, k->mask);
	scope_score(k->s, k->pairs, k->pairs_n, &c, k->bm_pair, NULL);
	for (size_t i = 0; i < k->q_n && i < 64; i++)
		if (k->q[i].df > 0)
			k->idf_sum += k->q[i].weight * k->q[i].idf;
	return OK;
}

static double max_over_rows(const double *v, const struct order_message *m)
{
	double best = 0;

	for (uint32_t r = 0; r < m->rows; r++)
		best = v[m->row + r] > best ? v[m->row + r] : best;
	return best;
}

/* lex of every message of the wanted threads, and which messages may be answers. */
static enum err score_messages(struct ranker *k)
{
	k->admitted = calloc((size_t)k->o->n + 1, 1);
	if (!k->admitted)
		return rank_no_memory();
	for (uint32_t i = 0; i < k->o->n; i++) {
		const struct order_message *m = &k->o->m[i];
		bool timed = m->facts->facts & FACT_TIME;

		if (k->thread_wanted && !k->thread_wanted[m->facts->thread])
			continue;
		k->lex[i] = max_over_rows(k->bm, m);
		k->best = k->lex[i] > k->best ? k->lex[i] : k->best;
		if ((k->rq->from_us && (!timed || m->facts->time_us < k->rq->from_us)) ||
		    (k->rq->to_us && (!timed || m->facts->time_us > k->rq->to_us)))
			continue;
		k->admitted[i] = 1;
		k->out->admitted++;
	}
	for (uint32_t i = 0; i < k->o->n; i++)
		k->lex[i] = k->best > 0 ? k->lex[i] / k->best : 0;
	return OK;
}

/* Frequencies of one term by thread. */
static void count_in_threads(const struct ranker *k, uint32_t term, uint32_t *tf)
{
	for (unsigned i = 0; i < k->s->segs_n; i++) {
		const struct segment *seg = k->s->segs[i];
		struct postings it = segment_postings(seg, term);
		uint32_t doc = 0;

		while (postings_next(&it)) {
			if (!seg->first)
				doc = it.row;
			else
				while (seg->first[doc + 1] <= it.row)
					doc++;
			if (!segment_row_dead(seg, it.row))
				tf[seg->facts[doc].thread] += it.tf;
		}
	}
}

/* BM25 of each thread as one document, stretched to [0, 1] over the threads. */
static enum err score_threads(struct ranker *k)
{
	const struct scope_order *o = k->o;
	uint32_t *tf = calloc((size_t)o->threads + 1, sizeof *tf);
	struct bm25 c = bm25_of(o->live_threads, k->s->length);
	double least = INFINITY, most = -INFINITY;

	k->sess = calloc((size_t)o->threads + 1, sizeof *k->sess);
	if (!tf || !k->sess) {
		free(tf);
		return rank_no_memory();
	}
	for (size_t t = 0; t < k->q_n; t++) {
		uint64_t df = 0;

		if (k->q[t].df == 0)
			continue;
		memset(tf, 0, o->threads * sizeof *tf);
		count_in_threads(k, k->q[t].id, tf);
		for (uint32_t i = 0; i < o->threads; i++)
			df += tf[i] > 0;
		for (uint32_t i = 0; i < o->threads; i++)
			if (tf[i])
				k->sess[i] += bm25_part(&c, k->q[t].weight * bm25_idf(o->live_threads, df), tf[i],
							(uint32_t)o->thread_length[i]);
	}
	for (uint32_t i = 0; i < o->threads; i++)
		if (o->thread_messages[i]) {
			least = fmin(least, k->sess[i]);
			most = fmax(most, k->sess[i]);
		}
	for (uint32_t i = 0; i < o->threads; i++)
		k->sess[i] = (k->sess[i] - least) / (most - least + 1e-9);
	free(tf);
	return OK;
}

/* ---------------------------------------------------------------- features */

double rank_date(const struct ranker *k, uint32_t i)
{
	const struct doc_facts *f = k->o->m[i].facts;

	return f->facts & FACT_TIME ? date_closeness(k->out->spans, k->out->spans_n, day_of(f->time_us)) : 0;
}

/* Index of the message `back` before i in its thread, or -1. */
static ptrdiff_t before(const struct ranker *k, uint32_t i, uint32_t back)
{
	if (i < back || k->o->m[i - back].facts->thread != k->o->m[i].facts->thread)
		return -1;
	return (ptrdiff_t)i - (ptrdiff_t)back;
}

/* Terms of up to two passages on one side of the passage at row r of message i. */
static uint64_t beside(const struct ranker *k, uint32_t i, uint32_t r, int step)
{
	const struct scope_order *o = k->o;
	uint32_t thread = o->m[i].facts->thread;
	int64_t at = i, row = r;
	uint64_t mask = 0;

	for (int n = 0; n < 2; n++) {
		row += step;
		if (row < 0 || row >= (int64_t)o->m[at].rows) {
			at += step;
			if (at < 0 || at >= (int64_t)o->n || o->m[at].facts->thread != thread)
				break;
			row = step > 0 ? 0 : (int64_t)o->m[at].rows - 1;
		}
		mask |= k->mask[o->m[at].row + row];
	}
	return mask;
}

static double cover(const struct ranker *k, uint32_t i)
{
	const struct order_message *m = &k->o->m[i];
	double best = 0;

	if (k->idf_sum <= 0 || k->best <= 0)
		return 0;
	for (uint32_t r = 0; r < m->rows; r++) {
		uint64_t mask = k->mask[m->row + r] | beside(k, i, r, -1) | beside(k, i, r, 1);
		double sum = 0;

		for (size_t t = 0; t < k->q_n && t < 64; t++)
			if (mask >> t & 1)
				sum += k->q[t].weight * k->q[t].idf;
		best = sum > best ? sum : best;
	}
	return best / k->idf_sum;
}

static void fill_features(const struct ranker *k, uint32_t i, struct ranked *r)
{
	const struct order_message *m = &k->o->m[i];
	const struct doc_facts *f = m->facts;
	ptrdiff_t one = before(k, i, 1), two = before(k, i, 2);

	r->id = m->id;
	r->time_us = f->time_us;
	r->f[RF_LEX] = k->lex[i];
	r->f[RF_PAIR] = k->best > 0 ? max_over_rows(k->bm_pair, m) / k->best : 0;
	r->f[RF_PREV2] = two >= 0 ? k->lex[two] : 0;
	r->f[RF_SESS] = k->best > 0 ? k->sess[f->thread] : 0;
	r->f[RF_DATE] = k->out->spans_n ? rank_date(k, i) : 0;
	r->f[RF_WHEN] = k->asks_when && (f->facts & FACT_TIME_WORD);
	r->f[RF_USER] = f->role == ROLE_USER && !k->asks_told;
	r->f[RF_SPK] = k->speaker && f->speaker == k->speaker;
	r->f[RF_ASK] = (double)f->ask / 255.0;
	r->f[RF_ANSWER] = one >= 0 && (k->o->m[one].facts->facts & FACT_QUESTION) ? k->lex[one] : 0;
	r->f[RF_COVER] = k->out->roles ? 0 : cover(k, i);
	r->f[RF_V] = k->cosine ? rank_v(k, i) : 0;
	r->f[RF_VNEXT] = k->cosine ? rank_vnext(k, i) : 0;
	r->cosine = k->cosine ? k->cosine[i] : NAN;
	r->sum = 0;
	for (int x = 0; x < RF_COUNT; x++)
		r->sum += r->f[x] * k->out->weights[x];
}

static int cmp_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	if (x->time_us != y->time_us)
		return x->time_us < y->time_us ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static int cmp_newest(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->time_us != y->time_us)
		return x->time_us > y->time_us ? -1 : 1;
	return (x->id < y->id) - (x->id > y->id);
}

static void order_by_score(struct ranked *all, size_t n)
{
	double lo = 0, hi = -INFINITY;

	for (size_t i = 0; i < n; i++) {
		lo = all[i].sum < lo ? all[i].sum : lo;
		hi = all[i].sum > hi ? all[i].sum : hi;
	}
	for (size_t i = 0; i < n; i++)
		all[i].score = hi > lo ? (all[i].sum - lo) / (hi - lo) : 0;
	qsort(all, n, sizeof *all, cmp_ranked);
}

static void order_by_time(struct ranked *all, size_t n)
{
	qsort(all, n, sizeof *all, cmp_newest);
	for (size_t i = 0; i < n; i++)
		all[i].score = 1.0 - (double)i / (double)n;
}

static enum err rank_picked(struct ranker *k)
{
	struct rank_result *out = k->out;
	struct ranked *all = malloc((k->picked_n + 1) * sizeof *all);
	size_t keep = k->rq->keep > k->rq->want ? k->rq->keep : k->rq->want;
	enum err e;

	if (!all)
		return rank_no_memory();
	for (size_t i = 0; i < k->picked_n; i++)
		fill_features(k, k->picked[i], &all[i]);
	if (out->newest_first)
		order_by_time(all, k->picked_n);
	else
		order_by_score(all, k->picked_n);
	out->candidates = k->picked_n;
	CHECK(rank_unrepeated(k, all, k->picked_n, keep, &out->n));
	out->r = ARENA_ARRAY(k->a, struct ranked, out->n + 1);
	if (!out->r)
		e = E_NOMEM;
	else
		memcpy(out->r, all, out->n * sizeof *all);
out:
	free(all);
	return e;
}

static enum err choose_threads(struct ranker *k)
{
	if (!k->rq->threads)
		return OK;
	k->thread_wanted = calloc((size_t)k->o->threads + 1, 1);
	if (!k->thread_wanted)
		return rank_no_memory();
	for (size_t i = 0; i < k->rq->threads_n; i++) {
		uintptr_t number = (uintptr_t)map_get(&k->s->threads, k->rq->threads[i]);

		if (number)
			k->thread_wanted[number - 1] = 1;
	}
	return OK;
}

/* The weights in use: which form it is, and what does not apply to this kind of scope left out. */
static void choose_weights(struct ranker *k)
{
	const struct rank_weights *w = k->rq->weights ? k->rq->weights : rank_weights_default();
	struct rank_result *out = k->out;

	if (out->mode == RANK_BY_VECTORS) {
		out->weights[RF_V] = 1;
		return;
	}
	for (int f = 0; f < RF_COUNT; f++)
		if (rank_applies((enum rank_feature)f, out->roles))
			out->weights[f] = w->of[k->cosine ? RANK_FULL : RANK_WORDS][f];
}

enum err rank_messages(const struct scope *s, struct arena *a, const struct rank_request *rq, struct rank_result *out)
{
	struct ranker k = {.s = s, .o = s->order, .rq = rq, .out = out, .a = a};
	enum err e;

	memset(out, 0, sizeof *out);
	if (!scope_order_current(s))
		return err_set(E_INTERNAL, "the order of a scope's messages is not current");
	out->messages = s->docs;
	out->passages = s->rows;
	out->roles = s->role_docs[ROLE_USER] + s->role_docs[ROLE_ASSISTANT] > 0;
	CHECK(read_question(&k));
	CHECK(choose_threads(&k));
	CHECK(score_rows(&k));
	CHECK(score_messages(&k));
	CHECK(score_threads(&k));
	CHECK(rank_vectors_begin(&k));
	choose_weights(&k);
	out->newest_first = k.q_n == 0 && out->spans_n == 0 && !k.cosine;
	CHECK(rank_pick(&k));
	CHECK(rank_vectors_measure(&k));
	CHECK(rank_picked(&k));
out:
	ranker_release(&k);
	return e;
}
