#include "core/checkpoint_impl.h"

#include <stdlib.h>

struct retention {
	int n;
};

enum err retention_parse(struct str text, struct retention **out)
{
	*out = calloc(1, sizeof **out);
	return *out ? OK : E_NOMEM;
}

void retention_free(struct retention *r)
{
	free(r);
}
