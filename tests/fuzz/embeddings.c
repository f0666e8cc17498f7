/* What a service of embeddings answers: never a crash, and what is taken is finite, of length 1, and as much as was asked for. The
 * first byte says how many texts there were, the second how many dimensions are wanted (0: any). */
#include <math.h>

#include "embed/remote_impl.h"
#include "http/outbound.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct str texts[] = {{"one text of many", 16}, {"", 0}};
	struct arena scratch, a;
	struct str body, reason;
	uint64_t tokens = 0;
	uint32_t dims, wanted;
	float *v = NULL;
	size_t n;

	if (size < 2)
		return 0;
	n = 1 + data[0] % 8;
	dims = wanted = data[1] % 8;
	body = (struct str){(const char *)data + 2, size - 2};
	arena_init(&scratch, (size_t)64 << 20);
	arena_init(&a, (size_t)8 << 20);
	if (remote_answer(&scratch, &a, body, n, &dims, &v, &tokens) == OK) {
		MUST(dims >= 1 && dims <= EMBED_DIMS_MAX && (wanted == 0 || dims == wanted));
		for (size_t i = 0; i < n; i++) {
			double sum = 0;

			for (uint32_t k = 0; k < dims; k++)
				sum += (double)v[i * dims + k] * (double)v[i * dims + k];
			MUST(fabs(sum - 1) < 1e-4);
		}
	} else {
		MUST(diag_get()->text[0]);
	}
	reason = outbound_reason(&scratch, body, texts, 2, (struct str){"key-1", 5});
	MUST(reason.n <= 200);
	MUST(reason.n == 0 || (!memmem(reason.p, reason.n, "key-1", 5) && !memmem(reason.p, reason.n, "one text of many", 16)));
	for (size_t i = 0; i < reason.n; i++)
		MUST((unsigned char)reason.p[i] >= ' ');
	arena_release(&scratch);
	arena_release(&a);
	return 0;
}
