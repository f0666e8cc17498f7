/* What a collector answers, and the caller's traceparent. */
#include <stdlib.h>

#include "base/traceparent.h"
#include "base/utf8.h"
#include "obs/otlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = str_of((const char *)data, size), why;
	struct traceparent tp;

	(void)otlp_rejected(in, &why);
	if (!utf8_valid(why) || (why.n && (why.p < in.p || why.p + why.n > in.p + in.n)))
		abort();
	if (traceparent_parse(in, &tp) && size != 55)
		abort();
	if (otlp_cut(in, 10).n > size)
		abort();
	return 0;
}
