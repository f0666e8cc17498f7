#include "embed/minilm/encoder.h"

#include <math.h>
#include <stdlib.h>

/* Rows of the feed-forward part that are worked on together: what lies between its products stays in the second-level cache. */
#define BLOCK 48u

/* The room of a batch, cut up. Rows are of `hidden` numbers unless said. */
struct work {
	float *x;     /* what goes from layer to layer */
	float *qkv;   /* rows of 3 hidden; after attention its room is that of the next two */
	float *add;   /* what a part of a layer adds to x */
	float *inner; /* BLOCK rows of inner */
	float *mixed; /* by attention */
	float *attention;
	struct quant *groups;
	void *q;
};

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* With room NULL it only counts. Returns the number of floats. */
static size_t cut(const struct bert_shape *s, float *room, struct work *w)
{
	size_t rows = ENCODER_ROWS_MAX, row = rows * s->hidden;
	size_t quants = larger(rows * kernel_groups(s->hidden), BLOCK * kernel_groups(s->inner));
	size_t q = larger(row, (size_t)BLOCK * s->inner) * KERNEL_QUANT_BYTES;
	size_t sizes[6] = {row,
			   larger(3 * row, row + (size_t)BLOCK * s->inner),
			   row,
			   KERNEL_ATTENTION_ROOM,
			   quants * sizeof(struct quant) / sizeof(float),
			   q / sizeof(float)};
	float *at[6] = {0};
	size_t n = 0;

	for (int i = 0; i < 6; i++) {
		at[i] = room ? room + n : NULL;
		n += (sizes[i] + 15) / 16 * 16;
	}
	*w = (struct work){at[0], at[1], at[1], room ? at[1] + row : NULL, at[2], at[3], (struct quant *)(void *)at[4], at[5]};
	return n;
}

enum err encoder_batch_new(const struct encoder *e, struct encoder_batch **out)
{
	struct encoder_batch *b = calloc(1, sizeof *b);
	struct work w;
	void *room = NULL;

	if (b && posix_memalign(&room, KERNEL_ALIGN, cut(&e->weights->shape, NULL, &w) * sizeof(float)) == 0) {
		b->room = room;
		*out = b;
		return OK;
	}
	free(b);
	return err_set(E_LIMIT, "no memory for encoding texts");
}

void encoder_batch_free(struct encoder_batch *b)
{
	if (b)
		free(b->room);
	free(b);
}

static void product(const struct encoder *e, const struct product *p, const float *x, size_t rows, const struct work *w, float *out)
{
	if (e->weights->form == WEIGHTS_INT8) {
		e->k->quantise(x, rows, p->packed.k, w->q, w->groups);
		e->k->gemm8(&p->packed, w->q, w->groups, rows, out);
		return;
	}
	for (uint32_t i = 0, at = 0; i < p->parts; at += p->dense[i++].n)
		e->k->gemm32(&p->dense[i], x, rows, out + at, p->packed.n);
}

static enum err look_up(const struct encoder *e, const struct encoder_batch *b, const struct work *w)
{
	const struct weights *ws = e->weights;
	size_t hidden = ws->shape.hidden;
	float *x = w->x;

	for (uint32_t t = 0, i = 0; t < b->texts; t++)
		for (uint32_t at = 0; at < b->length[t]; at++, i++, x += hidden) {
			const float *position = ws->positions + at * hidden;

			if (b->ids[i] >= ws->shape.vocabulary || at >= ws->window)
				return err_set(E_INTERNAL, "token %u at %u is beyond the model", b->ids[i], at);
			if (ws->form == WEIGHTS_INT8)
				e->k->widen(ws->words + b->ids[i] * hidden, ws->word_scale[b->ids[i]], position, hidden, x);
			else
				for (size_t d = 0; d < hidden; d++)
					x[d] = ws->words32[b->ids[i] * hidden + d] + position[d];
		}
	e->k->norm(w->x, NULL, b->rows, hidden, ws->first.gain, ws->first.shift, ws->shape.eps);
	return OK;
}

static void attend(const struct encoder *e, const struct encoder_batch *b, const struct work *w)
{
	size_t hidden = e->weights->shape.hidden, row = 0;

	for (uint32_t t = 0; t < b->texts; row += b->length[t++])
		e->k->attention(&(struct attention){.qkv = w->qkv + row * 3 * hidden,
						    .out = w->mixed + row * hidden,
						    .tokens = b->length[t],
						    .hidden = hidden,
						    .heads = e->weights->shape.heads,
						    .room = w->attention});
}

static void run_layer(const struct encoder *e, const struct layer *l, const struct encoder_batch *b, const struct work *w)
{
	const struct bert_shape *s = &e->weights->shape;

	product(e, &l->qkv, w->x, b->rows, w, w->qkv);
	attend(e, b, w);
	product(e, &l->mix, w->mixed, b->rows, w, w->add);
	e->k->norm(w->x, w->add, b->rows, s->hidden, l->after_mix.gain, l->after_mix.shift, s->eps);
	for (size_t r = 0; r < b->rows; r += BLOCK) {
		size_t n = b->rows - r < BLOCK ? b->rows - r : BLOCK;
		float *x = w->x + r * s->hidden;

		product(e, &l->up, x, n, w, w->inner);
		e->k->gelu(w->inner, n * s->inner);
		product(e, &l->down, w->inner, n, w, w->add);
		e->k->norm(x, w->add, n, s->hidden, l->after_down.gain, l->after_down.shift, s->eps);
	}
}

/* The mean of the rows, made one long. */
static enum err pool(const float *x, size_t rows, size_t hidden, float *out)
{
	double square = 0;
	float inv;

	for (size_t d = 0; d < hidden; d++)
		out[d] = 0;
	for (size_t r = 0; r < rows; r++, x += hidden)
		for (size_t d = 0; d < hidden; d++)
			out[d] += x[d];
	for (size_t d = 0; d < hidden; d++)
		square += (double)out[d] * out[d];
	inv = (float)(1.0 / sqrt(square));
	if (!(inv > 0 && isfinite(inv)))
		return err_set(E_CORRUPT,
			       "the model's weights lead to a vector without length: they are damaged, or of another model");
	for (size_t d = 0; d < hidden; d++)
		out[d] *= inv;
	return OK;
}

enum err encoder_run(const struct encoder *e, struct encoder_batch *b)
{
	const struct weights *ws = e->weights;
	struct work w;
	size_t row = 0;
	enum err err;

	(void)cut(&ws->shape, b->room, &w);
	err = look_up(e, b, &w);
	for (uint32_t i = 0; err == OK && i < ws->shape.layers; i++)
		run_layer(e, &ws->layers[i], b, &w);
	for (uint32_t t = 0; err == OK && t < b->texts; row += b->length[t++])
		err = pool(w.x + row * ws->shape.hidden, b->length[t], ws->shape.hidden, b->to[t]);
	b->rows = b->texts = 0;
	return err;
}
