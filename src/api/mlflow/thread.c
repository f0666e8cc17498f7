/* Which thread and which user a request means, and what its reply says of them. Callers differ in where they put both, so this one
 * order holds for every form and for streams. */
#include "api/mlflow/impl.h"

#include "base/uuid7.h"

/* A member that is a text; null, absent and empty: *out is empty. */
static enum err text_member(struct arena *a, struct jval obj, const char *group, const char *name, struct str *out)
{
	struct jval v = j_get(obj, str_c(name));

	*out = STR("");
	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_STRING))
		return err_field(E_INVALID, name, -1, "%s.%s must be a string", group, name);
	*out = j_str(a, v);
	return out->p ? OK : E_NOMEM;
}

static enum err groups(struct jval body, struct jval *inputs, struct jval *context)
{
	*inputs = j_get(body, STR("custom_inputs"));
	*context = j_get(body, STR("context"));
	if (!j_null(*inputs) && !j_is(*inputs, JSON_OBJECT))
		return err_field(E_INVALID, "custom_inputs", -1, "custom_inputs must be an object");
	if (!j_null(*context) && !j_is(*context, JSON_OBJECT))
		return err_field(E_INVALID, "context", -1, "context must be an object");
	return OK;
}

enum err mlflow_thread(struct arena *a, struct jval body, struct mlflow_thread *out)
{
	struct jval inputs, context;
	char made[UUID_TEXT + 1];

	*out = (struct mlflow_thread){.named = true};
	TRY(groups(body, &inputs, &context));
	TRY(text_member(a, inputs, "custom_inputs", "thread_id", &out->id));
	if (out->id.n)
		return OK;
	TRY(text_member(a, inputs, "custom_inputs", "session_id", &out->id));
	out->session = out->id.n > 0;
	if (out->session)
		return OK;
	TRY(text_member(a, context, "context", "conversation_id", &out->id));
	if (out->id.n)
		return OK;
	uuid7_new(made);
	out->named = false;
	out->id = arena_str(a, str_c(made));
	return out->id.p ? OK : E_NOMEM;
}

static bool absent(struct jval v)
{
	return j_null(v) || j_str_eq(v, STR(""));
}

enum err mlflow_user(struct jval body, struct jval *user, const char **field)
{
	struct jval inputs, context;

	TRY(groups(body, &inputs, &context));
	*user = j_get(context, STR("user_id"));
	*field = "context.user_id";
	if (!absent(*user))
		return OK;
	*user = j_get(inputs, STR("user_id"));
	*field = "custom_inputs.user_id";
	return OK;
}

struct str mlflow_outputs(struct arena *a, const struct mlflow_thread *t)
{
	struct buf b;
	struct jw w;

	buf_init(&b, a, (size_t)64 << 10);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "thread_id");
	jw_str(&w, t->id);
	if (t->session) {
		jw_key(&w, "session_id");
		jw_str(&w, t->id);
	}
	jw_end_obj(&w);
	return b.err == OK ? buf_slice(&b) : str_of(NULL, 0);
}
