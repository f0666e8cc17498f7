/* MLflow's routes on a real server over the in-memory store: which thread and user a body means, what is refused and how. What its
 * callers make of streams is tests/wire's business. */
#include "api/mlflow/impl.h"
#include "api/testing.h"

/* ------------------------------------------------------------- threads and users */

static void threads(void **state)
{
	static const struct {
		const char *body, *outputs; /* NULL: a new thread */
	} rows[] = {
		{"{}", NULL},
		{"{\"custom_inputs\":null,\"context\":null}", NULL},
		{"{\"custom_inputs\":{},\"context\":{}}", NULL},
		{"{\"custom_inputs\":{\"thread_id\":null},\"context\":{\"conversation_id\":null}}", NULL},
		{"{\"custom_inputs\":{\"thread_id\":\"\",\"session_id\":\"\"},\"context\":{\"conversation_id\":\"\"}}", NULL},
		{"{\"custom_inputs\":{\"thread_id\":\"t\"}}", "{\"thread_id\":\"t\"}"},
		{"{\"custom_inputs\":{\"thread_id\":\"t\",\"session_id\":\"s\"},\"context\":{\"conversation_id\":\"c\"}}",
		 "{\"thread_id\":\"t\"}"},
		{"{\"custom_inputs\":{\"thread_id\":\"\",\"session_id\":\"s\"},\"context\":{\"conversation_id\":\"c\"}}",
		 "{\"thread_id\":\"s\",\"session_id\":\"s\"}"},
		{"{\"custom_inputs\":{\"thread_id\":null,\"session_id\":null},\"context\":{\"conversation_id\":\"c\"}}",
		 "{\"thread_id\":\"c\"}"},
		{"{\"custom_inputs\":{\"thread_id\":\"\"},\"context\":{\"conversation_id\":\"c\"}}", "{\"thread_id\":\"c\"}"},
		{"{\"context\":{\"conversation_id\":\"a\\\"b\"}}", "{\"thread_id\":\"a\\\"b\"}"},
	};
	struct mlflow_thread t;
	struct arena a;
	struct json doc;

	(void)state;
	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		assert_int_equal(json_parse(&a, str_c(rows[i].body), &json_default_limits, &doc), OK);
		assert_int_equal(mlflow_thread(&a, json_root(&doc), &t), OK);
		assert_int_equal(t.named, rows[i].outputs != NULL);
		if (!rows[i].outputs)
			assert_int_equal(t.id.n, 36);
		else if (!str_eq(mlflow_outputs(&a, &t), str_c(rows[i].outputs)))
			fail_msg("%s: %.*s", rows[i].body, STR_ARG(mlflow_outputs(&a, &t)));
	}
	arena_release(&a);
}

static void users(void **state)
{
	static const struct {
		const char *body, *user; /* NULL: none */
	} rows[] = {
		{"{}", NULL},
		{"{\"context\":{\"user_id\":null},\"custom_inputs\":{\"user_id\":\"\"}}", ""},
		{"{\"context\":{\"user_id\":\"\"},\"custom_inputs\":{\"user_id\":\"b\"}}", "b"},
		{"{\"context\":{\"user_id\":null},\"custom_inputs\":{\"user_id\":\"b\"}}", "b"},
		{"{\"context\":{\"user_id\":\"a\"},\"custom_inputs\":{\"user_id\":\"b\"}}", "a"},
	};
	struct arena a;
	struct json doc;

	(void)state;
	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *field;
		struct jval user;

		assert_int_equal(json_parse(&a, str_c(rows[i].body), &json_default_limits, &doc), OK);
		assert_int_equal(mlflow_user(json_root(&doc), &user, &field), OK);
		if (!rows[i].user)
			assert_true(j_null(user));
		else if (!j_str_eq(user, str_c(rows[i].user)))
			fail_msg("%s", rows[i].body);
	}
	arena_release(&a);
}

/* -------------------------------------------------------------------- routes */

#define HI "\"input\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void routes(void **state)
{
	static const struct step steps[] = {
		{"nobody", "GET", "/ping", NULL, NULL, 200, "=\n"},
		{"nobody", "GET", "/health", NULL, NULL, 200, "={\"status\":\"healthy\"}"},
		{"reader", "GET", "/agent/info", NULL, NULL, 200,
		 "={\"name\":\"test\",\"use_case\":\"agent\",\"mlflow_version\":\"3.18.0\",\"agent_api\":\"responses\"}"},
		{"nobody", "GET", "/agent/info", NULL, NULL, 401, "{\"detail\":\""},
		{"nobody", "POST", "/invocations", NULL, "{" HI "}", 401, "={\"detail\":\"no key was sent\"}"},
		{"reader", "POST", "/invocations", NULL, "{" HI "}", 403, "{\"detail\":\""},
		{"ann", "GET", "/invocations", NULL, NULL, 405, "{\"detail\":\""},
		{"ann", "POST", "/invocations", NULL, "{", 400, "{\"detail\":\""},
		{"ann", "POST", "/invocations", NULL, "[]", 400, "={\"detail\":\"the body must be a JSON object\"}"},
		{"ann", "POST", "/invocations", NULL, "{}", 400, "either input (the Responses form) or messages (the chat form)\""},
		{"ann", "POST", "/invocations", NULL, "{\"messages\":[]," HI "}", 400, "it has both\""},
		{"ann", "POST", "/invocations", NULL, "{" HI "}", 404,
		 "{\"detail\":\"this server has no chat model: the test has none"},
		{"ann", "POST", "/serving-endpoints/any/invocations", NULL, "{" HI "}", 404, "{\"detail\":\"this server has no"},
	};

	RUN(*state, steps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(threads), cmocka_unit_test(users), cmocka_unit_test(routes)};

	return cmocka_run_group_tests(tests, api_start, api_stop);
}
