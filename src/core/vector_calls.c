/* What every driver of the store checks of a call for vectors. */
#include <string.h>

#include "core/store.h"

enum err vector_call_check(const struct principal *who, unsigned right, struct str model, bool named)
{
	TRY(principal_check(who, right));
	if (who->user_bound)
		return err_set(E_DENIED, "this key is bound to a user and may not work on everybody's vectors");
	if (named && model.n == 0)
		return err_set(E_INVALID, "vectors need the name of the model that made them");
	if (model.n > VECTOR_MODEL_NAME_MAX || memchr(model.p ? model.p : "", 0, model.n))
		return err_set(E_INVALID, "the name of a model has at most %d bytes, none of them 0", VECTOR_MODEL_NAME_MAX);
	return OK;
}

enum err vector_batch_check(const struct doc_vector *v, size_t n)
{
	if (n > VECTOR_BATCH_MAX)
		return err_set(E_LIMIT, "at most %d vectors are written at once", VECTOR_BATCH_MAX);
	for (size_t i = 0; i < n; i++)
		if (v[i].data.n == 0)
			return err_set(E_INVALID, "an empty vector cannot be kept");
	return OK;
}
