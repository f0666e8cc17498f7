/* Messages in order of (thread, id): ids of a thread's messages grow with their position. */
#include "index/order.h"

#include <stdlib.h>

void scope_order_free(struct scope_order *o)
{
	if (!o)
		return;
	free(o->m);
	free(o->thread_length);
	free(o->thread_messages);
	free(o->speaker_live);
	free(o);
}

size_t scope_order_bytes(const struct scope_order *o)
{
	return o ? sizeof *o + o->n * sizeof *o->m + (size_t)o->threads * 12 : 0;
}

static void count_message(struct scope_order *o, const struct segment *seg, uint32_t doc)
{
	const struct doc_facts *f = &seg->facts[doc];
	uint32_t end = seg->first ? seg->first[doc + 1] : doc + 1;

	for (uint32_t r = segment_first(seg, doc); r < end; r++)
		o->thread_length[f->thread] += seg->len[r];
	o->live_threads += o->thread_messages[f->thread]++ == 0;
	o->speaker_live[f->speaker] = 1;
	if (f->facts & FACT_TIME) {
		o->first_us = f->time_us < o->first_us ? f->time_us : o->first_us;
		o->last_us = f->time_us > o->last_us ? f->time_us : o->last_us;
	}
}

static void each_message(const struct scope *s, struct scope_order *o,
			 void (*fn)(struct scope_order *, const struct segment *, uint32_t, uint32_t, void *), void *ctx)
{
	uint32_t base = 0;

	for (unsigned i = 0; i < s->segs_n; base += s->segs[i++]->rows)
		for (uint32_t d = 0; d < s->segs[i]->docs; d++)
			if (!segment_row_dead(s->segs[i], segment_first(s->segs[i], d)))
				fn(o, s->segs[i], d, base, ctx);
}

static void count_fn(struct scope_order *o, const struct segment *seg, uint32_t doc, uint32_t base, void *ctx)
{
	(void)base;
	(void)ctx;
	count_message(o, seg, doc);
}

static void place_fn(struct scope_order *o, const struct segment *seg, uint32_t doc, uint32_t base, void *ctx)
{
	uint32_t *next = ctx, thread = seg->facts[doc].thread, first = segment_first(seg, doc);

	o->m[next[thread]++] = (struct order_message){
		.id = seg->ids[doc],
		.facts = &seg->facts[doc],
		.row = base + first,
		.rows = (seg->first ? seg->first[doc + 1] : doc + 1) - first,
	};
}

/* By threads through counting; within a thread ids come nearly in order already. */
static enum err place(const struct scope *s, struct scope_order *o)
{
	uint32_t *next = malloc(((size_t)o->threads + 1) * sizeof *next), at = 0;

	if (!next)
		return err_set(E_LIMIT, "out of memory for the word index");
	for (uint32_t t = 0; t < o->threads; t++) {
		next[t] = at;
		at += o->thread_messages[t];
	}
	each_message(s, o, place_fn, next);
	free(next);
	for (uint32_t i = 1; i < o->n; i++) {
		struct order_message m = o->m[i];
		uint32_t j = i;

		for (; j > 0 && o->m[j - 1].facts->thread == m.facts->thread && o->m[j - 1].id > m.id; j--)
			o->m[j] = o->m[j - 1];
		o->m[j] = m;
	}
	return OK;
}

enum err scope_order_make(struct scope *s)
{
	struct scope_order *o;
	enum err e;

	if (scope_order_current(s))
		return OK;
	o = calloc(1, sizeof *o);
	if (!o)
		return err_set(E_LIMIT, "out of memory for the word index");
	o->version = s->version;
	o->n = (uint32_t)s->docs;
	o->threads = s->threads_n;
	o->first_us = INT64_MAX;
	o->last_us = INT64_MIN;
	o->m = malloc((o->n + 1) * sizeof *o->m);
	o->thread_length = calloc((size_t)o->threads + 1, sizeof *o->thread_length);
	o->thread_messages = calloc((size_t)o->threads + 1, sizeof *o->thread_messages);
	o->speaker_live = calloc((size_t)s->speakers_n + 1, 1);
	if (o->m && o->thread_length && o->thread_messages && o->speaker_live) {
		each_message(s, o, count_fn, NULL);
		e = place(s, o);
	} else {
		e = err_set(E_LIMIT, "out of memory for the word index");
	}
	if (e != OK) {
		scope_order_free(o);
		return e;
	}
	scope_order_free(s->order);
	s->order = o;
	return OK;
}
