/* Writing vectors: numbers of nine digits, which suffice for every float32, or base64. */
#include "core/embed_json.h"

#include "base/base64.h"
#include "rt/work.h"

/* Values that are written where the caller is: numbers cost some 0.2 us each, base64 some 2 ns. */
#define NUMBERS_HERE 2048
#define PACKED_HERE 262144

struct job {
	const struct embed_vectors *v;
	size_t from, to;
	bool packed;
	struct buf *out;
};

static enum err write_all(void *arg)
{
	struct job *j = arg;
	const struct embed_vectors *v = j->v;

	for (size_t i = j->from; i < j->to && j->out->err == OK; i++) {
		const float *at = v->v + i * v->dims;

		buf_printf(j->out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i > j->from ? "," : "", i);
		if (j->packed) {
			buf_byte(j->out, '"');
			base64_put(j->out, at, v->dims * sizeof *at);
			buf_byte(j->out, '"');
		} else {
			buf_byte(j->out, '[');
			for (uint32_t k = 0; k < v->dims; k++) {
				if (k)
					buf_byte(j->out, ',');
				buf_printf(j->out, "%.9g", (double)at[k]);
			}
			buf_byte(j->out, ']');
		}
		buf_byte(j->out, '}');
	}
	return j->out->err;
}

enum err embed_json(const struct embed_vectors *v, size_t from, size_t to, bool packed, struct buf *out)
{
	struct job j = {.v = v, .from = from, .to = to, .packed = packed, .out = out};
	size_t values = (to - from) * v->dims;

	return values > (packed ? PACKED_HERE : NUMBERS_HERE) ? work_run(write_all, &j) : write_all(&j);
}
