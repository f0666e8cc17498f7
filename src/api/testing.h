/* For the tests of api/ only: all protocols on a real server over the in-memory store, on a thread of its own, and a plain client.
 *
 * Who asks is said by the header X-Test: ann (default: everything of tenant default), reader (may only read), bound (belongs to
 * bob@example.com), other (another tenant), nobody. */
#ifndef CENOTE_API_TESTING_H
#define CENOTE_API_TESTING_H

#include <ctype.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/langgraph/langgraph.h"
#include "api/mlflow/mlflow.h"
#include "api/native/native.h"
#include "api/openai/openai.h"
#include "api/ops/ops.h"
#include "base/json/json.h"
#include "base/log.h"
#include "core/fake_store.h"
#include "http/server.h"

#define DIE_IF(cond)                                                                                                               \
	do {                                                                                                                       \
		if (cond) {                                                                                                        \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, diag_get()->text);                           \
			abort();                                                                                                   \
		}                                                                                                                  \
	} while (0)

struct api_bench {
	struct store *store;
	struct memory *memory;
	struct api_ops ops;
	struct openai_models models; /* none, unless a test puts an encoder there */
	struct mlflow_agent agent;   /* without a model */
	struct http_router *router;
	struct http_server *server;
	struct loop *loop;
	struct arena arena;
	pthread_t thread;
	pthread_barrier_t up;
	struct loop_task stop;
	int port;
};

struct reply {
	int status;
	char *head, *body;
	size_t body_n;
	char *all;
};

static inline enum err test_auth(void *ctx, struct arena *a, struct http_req *rq, int64_t uid, struct principal *out)
{
	struct str who = rq_header(rq, "X-Test");

	*out = (struct principal){.tenant = STR("default"), .rights = RIGHT_ALL, .user = STR(""), .id = STR("test")};
	if (str_eq(who, STR("nobody")))
		return err_kind(E_DENIED, ERR_UNAUTHENTICATED, "no key was sent");
	if (str_eq(who, STR("other")))
		out->tenant = STR("other");
	if (str_eq(who, STR("reader")))
		out->rights = RIGHT_READ;
	if (str_eq(who, STR("bound"))) {
		out->user = STR("bob@example.com");
		out->user_bound = true;
		out->rights = RIGHT_READ | RIGHT_WRITE;
	}
	return OK;
}

static inline void *bench_main(void *arg)
{
	struct api_bench *b = arg;
	struct http_options opt = {.max_body = 8 << 20,
				   .max_large_body = 64 << 20,
				   .max_header = 32 << 10,
				   .max_connections = 100,
				   .header_timeout_ms = 20000,
				   .idle_timeout_ms = 20000,
				   .request_timeout_ms = 20000,
				   .auth = test_auth};
	struct str bound;
	int64_t port = 0;
	int fd;

	DIE_IF(loop_new(&b->loop) != OK);
	DIE_IF(http_listen(&b->arena, STR("127.0.0.1:0"), &fd, &bound) != OK);
	DIE_IF(!str_int(str_sub(bound, 10, bound.n), 1, 65535, &port));
	b->port = (int)port;
	DIE_IF(http_server_new(b->loop, b->router, &opt, &fd, 1, &b->server) != OK);
	pthread_barrier_wait(&b->up);
	loop_run(b->loop);
	loop_free(b->loop);
	return NULL;
}

static inline int api_start(void **state)
{
	struct api_bench *b = calloc(1, sizeof *b);
	struct memory_options mo = {.refresh_on_read = true, .index_cache_bytes = (size_t)8 << 20, .languages = STR("english")};

	log_setup(LOG_ERROR, LOG_TEXT);
	arena_init(&b->arena, (size_t)256 << 20);
	b->store = fake_store_new();
	DIE_IF(memory_new(b->store, &mo, &b->memory) != OK);
	b->ops.memory = b->memory;
	atomic_store(&b->ops.ready, true);
	DIE_IF(http_router_new(&b->router) != OK);
	DIE_IF(api_langgraph_add(b->router, b->memory) != OK);
	DIE_IF(api_native_add(b->router, b->memory) != OK);
	DIE_IF(api_native_traces_add(b->router, NULL) != OK);
	DIE_IF(api_openai_add(b->router, b->memory) != OK);
	b->models.why = "the test has none";
	DIE_IF(api_openai_models_add(b->router, &b->models) != OK);
	DIE_IF(assistant_new(&(struct assistant_options){.memory = b->memory, .why = "the test has none", .max_history = 20},
			     &b->agent.service.assistant) != OK);
	b->agent.service.memory = b->memory;
	b->agent.name = STR("test");
	DIE_IF(api_openai_assistant_add(b->router, &b->agent.service) != OK);
	DIE_IF(api_mlflow_add(b->router, &b->agent) != OK);
	DIE_IF(api_ops_add(b->router, &b->ops) != OK);
	pthread_barrier_init(&b->up, NULL, 2);
	DIE_IF(pthread_create(&b->thread, NULL, bench_main, b) != 0);
	pthread_barrier_wait(&b->up);
	*state = b;
	return 0;
}

static inline void bench_drained(void *arg)
{
	struct api_bench *b = arg;

	http_server_free(b->server);
	loop_stop(b->loop);
}

static inline void bench_drain(void *arg)
{
	struct api_bench *b = arg;

	http_server_drain(b->server, deadline_in_ms(10000), bench_drained, b);
}

static inline int api_stop(void **state)
{
	struct api_bench *b = *state;

	b->stop = (struct loop_task){.fn = bench_drain, .arg = b};
	loop_post(b->loop, &b->stop);
	pthread_join(b->thread, NULL);
	pthread_barrier_destroy(&b->up);
	http_router_free(b->router);
	assistant_free(b->agent.service.assistant);
	memory_free(b->memory);
	b->store->ops->close(b->store);
	arena_release(&b->arena);
	free(b);
	return 0;
}

/* Joins the chunks of a chunked body in place. */
static inline size_t dechunk(char *p, size_t n)
{
	size_t in = 0, out = 0;

	while (in < n) {
		char *end;
		size_t len = strtoul(p + in, &end, 16);

		in = (size_t)(end - p) + 2;
		if (len == 0 || in + len > n)
			break;
		memmove(p + out, p + in, len);
		out += len;
		in += len + 2;
	}
	p[out] = 0;
	return out;
}

/* One request on a connection of its own. head: more header lines, each with CR LF, or NULL. */
static inline struct reply call_n(struct api_bench *b, const char *as, const char *method, const char *path, const char *head,
				  const char *body, size_t body_n)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)b->port)};
	struct timeval tv = {.tv_sec = 20};
	struct reply r = {0};
	size_t cap = 1 << 16, n = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char top[8192];
	ssize_t got;
	int len;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	DIE_IF(connect(fd, (struct sockaddr *)&in, sizeof in) != 0);
	len = snprintf(top, sizeof top, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Test: %s\r\n%s%s", method,
		       path, as, head ? head : "",
		       body && !(head && strstr(head, "Content-Type")) ? "Content-Type: application/json\r\n" : "");
	DIE_IF(len < 0 || len >= (int)sizeof top - 64);
	if (body)
		len += snprintf(top + len, sizeof top - (size_t)len, "Content-Length: %zu\r\n", body_n);
	len += snprintf(top + len, sizeof top - (size_t)len, "\r\n");
	DIE_IF(send(fd, top, (size_t)len, MSG_NOSIGNAL) != len);
	for (size_t sent = 0; body && sent < body_n;) {
		ssize_t w = send(fd, body + sent, body_n - sent, MSG_NOSIGNAL);

		if (w <= 0)
			break;
		sent += (size_t)w;
	}
	r.all = malloc(cap);
	while ((got = recv(fd, r.all + n, cap - n - 1, 0)) > 0) {
		n += (size_t)got;
		if (cap - n < 4096) {
			cap *= 2;
			r.all = realloc(r.all, cap);
		}
	}
	close(fd);
	r.all[n] = 0;
	DIE_IF(n < 12);
	r.status = (int)strtol(r.all + 9, NULL, 10);
	r.head = r.all;
	r.body = strstr(r.all, "\r\n\r\n");
	DIE_IF(!r.body);
	*r.body = 0;
	r.body += 4;
	r.body_n = n - (size_t)(r.body - r.all);
	if (strcasestr(r.head, "transfer-encoding: chunked"))
		r.body_n = dechunk(r.body, r.body_n);
	return r;
}

static inline struct reply call(struct api_bench *b, const char *as, const char *method, const char *path, const char *head,
				const char *body)
{
	return call_n(b, as, method, path, head, body, body ? strlen(body) : 0);
}

static inline void reply_free(struct reply *r)
{
	free(r->all);
	*r = (struct reply){0};
}

/* Value of an answer header, "" when absent; lives until the next call. */
static inline const char *header_of(const struct reply *r, const char *name)
{
	static char out[4096];
	const char *p = r->head;
	size_t n = strlen(name);

	while ((p = strstr(p, "\r\n"))) {
		p += 2;
		if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
			const char *end = strstr(p, "\r\n");
			size_t len = end ? (size_t)(end - p) : strlen(p);

			for (n++; p[n] == ' '; n++)
				;
			snprintf(out, sizeof out, "%.*s", (int)(len - n), p + n);
			return out;
		}
	}
	return "";
}

/* A request and what is wanted: want NULL: nothing more; "=text": the body is text; "text": the body contains it. */
struct step {
	const char *as, *method, *path, *head, *body;
	int status;
	const char *want;
};

static inline void run_steps(struct api_bench *b, const struct step *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct reply r = call(b, s[i].as, s[i].method, s[i].path, s[i].head, s[i].body);
		bool ok = r.status == s[i].status;

		if (ok && s[i].want && s[i].want[0] == '=')
			ok = strcmp(r.body, s[i].want + 1) == 0;
		else if (ok && s[i].want)
			ok = strstr(r.body, s[i].want) != NULL;
		if (!ok)
			fail_msg("step %zu, %s %s %s %s: %d %s, wanted %d %s", i, s[i].as, s[i].method, s[i].path,
				 s[i].body ? s[i].body : "", r.status, r.body, s[i].status, s[i].want ? s[i].want : "");
		assert_true(header_of(&r, "x-request-id")[0] != 0);
		reply_free(&r);
	}
}
#define RUN(b, steps) run_steps((b), (steps), sizeof(steps) / sizeof((steps)[0]))

#endif
