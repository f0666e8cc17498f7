/* The measure of an encoder: relaxed atomics, summed up when somebody asks. */
#include "embed/meter.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"

#define BUCKETS 14

static const uint64_t bounds_us[BUCKETS] = {500,    1000,   2500,   5000,    10000,   25000,   50000,
					    100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};
static const char *const bounds_text[BUCKETS] = {"0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05",
						 "0.1",	   "0.25",  "0.5",    "1",     "2.5",  "5",	"10"};

struct meter {
	struct embedder base;
	struct embedder *inner;
	const char *kind;
	atomic_uint_fast64_t bucket[BUCKETS + 1], sum_us, texts, errors[E_COUNT];
};

static void add(atomic_uint_fast64_t *v, uint64_t d)
{
	atomic_fetch_add_explicit(v, d, memory_order_relaxed);
}

static unsigned long long get(const atomic_uint_fast64_t *v)
{
	return (unsigned long long)atomic_load_explicit(v, memory_order_relaxed);
}

static enum err encode(struct embedder *e, struct arena *a, const struct str *texts, size_t n, const struct trace_span *span,
		       struct embed_vectors *out)
{
	struct meter *m = CONTAINER(e, struct meter, base);
	uint64_t begun = clock_mono_ns(), us;
	enum err err = embed_encode_traced(m->inner, a, texts, n, span, out);
	unsigned b = 0;
	uint32_t dims;

	us = (clock_mono_ns() - begun) / 1000;
	while (b < BUCKETS && us > bounds_us[b])
		b++;
	add(&m->bucket[b], 1);
	add(&m->sum_us, us);
	if (err == OK)
		add(&m->texts, n);
	else
		add(&m->errors[err], 1);
	dims = __atomic_load_n(&m->inner->dims, __ATOMIC_ACQUIRE);
	if (dims) /* another call may have learned them since this one looked */
		__atomic_store_n(&e->dims, dims, __ATOMIC_RELEASE);
	return err;
}

static void close_meter(struct embedder *e)
{
	struct meter *m = CONTAINER(e, struct meter, base);

	embed_close(m->inner);
	free(m);
}

static const struct embed_ops ops = {.encode = encode, .close = close_meter};

enum err embed_meter_open(struct embedder *inner, const char *kind, struct embedder **out)
{
	struct meter *m = calloc(1, sizeof *m);

	if (!m) {
		embed_close(inner);
		return err_set(E_LIMIT, "out of memory for the encoder");
	}
	m->base = *inner;
	m->base.ops = &ops;
	m->inner = inner;
	m->kind = kind;
	*out = &m->base;
	return OK;
}

void embed_meter_write(struct embedder *e, struct buf *out)
{
	struct meter *m = CONTAINER(e, struct meter, base);
	unsigned long long sum = 0;

	buf_lit(out, "# HELP cenote_embed_duration_seconds Time of a call of the encoder, its tries together.\n"
		     "# TYPE cenote_embed_duration_seconds histogram\n");
	for (int b = 0; b <= BUCKETS; b++) {
		sum += get(&m->bucket[b]);
		buf_printf(out, "cenote_embed_duration_seconds_bucket{embedder=\"%s\",le=\"%s\"} %llu\n", m->kind,
			   b < BUCKETS ? bounds_text[b] : "+Inf", sum);
	}
	buf_printf(out, "cenote_embed_duration_seconds_sum{embedder=\"%s\"} %.6f\n", m->kind, (double)get(&m->sum_us) / 1e6);
	buf_printf(out, "cenote_embed_duration_seconds_count{embedder=\"%s\"} %llu\n", m->kind, sum);
	buf_printf(out,
		   "# HELP cenote_embed_texts_total Texts that were encoded.\n# TYPE cenote_embed_texts_total counter\n"
		   "cenote_embed_texts_total{embedder=\"%s\"} %llu\n",
		   m->kind, get(&m->texts));
	buf_lit(out,
		"# HELP cenote_embed_errors_total Calls of the encoder that failed.\n# TYPE cenote_embed_errors_total counter\n");
	for (int i = 1; i < E_COUNT; i++)
		if (get(&m->errors[i]))
			buf_printf(out, "cenote_embed_errors_total{embedder=\"%s\",error=\"%s\"} %llu\n", m->kind,
				   err_name((enum err)i), get(&m->errors[i]));
}
