/* For the tests of http/ only: a real server on a thread of its own, and a client that speaks raw bytes. */
#ifndef CENOTE_HTTP_TESTING_H
#define CENOTE_HTTP_TESTING_H

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "http/server.h"

#define DIE_IF(cond)                                                                                                               \
	do {                                                                                                                       \
		if (cond) {                                                                                                        \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, diag_get()->text);                           \
			abort();                                                                                                   \
		}                                                                                                                  \
	} while (0)

struct fixture {
	struct http_options opt;
	const struct http_route *routes;
	size_t routes_n;
	bool on_unix;
	uint32_t drain_ms;
	/* from here on its own */
	pthread_t thread;
	pthread_barrier_t up;
	struct loop *loop;
	struct http_router *router;
	struct http_server *server;
	struct arena arena;
	char dir[64], path[108];
	int port;
	struct loop_task stop_task;
};

static inline void fixture_done(void *arg)
{
	struct fixture *f = arg;

	http_server_free(f->server);
	f->server = NULL;
	loop_stop(f->loop);
}

static inline void fixture_drain(void *arg)
{
	struct fixture *f = arg;

	http_server_drain(f->server, deadline_in_ms(f->drain_ms), fixture_done, f);
}

static inline void *fixture_main(void *arg)
{
	struct fixture *f = arg;
	struct str bound, addr;
	int64_t port = 0;
	int fd;

	arena_init(&f->arena, 1 << 20);
	DIE_IF(loop_new(&f->loop) != OK);
	DIE_IF(http_router_new(&f->router) != OK);
	DIE_IF(http_router_add(f->router, "", f->routes, f->routes_n, f, NULL) != OK);
	addr = f->on_unix ? arena_printf(&f->arena, "unix:%s", f->path) : STR("127.0.0.1:0");
	DIE_IF(http_listen(&f->arena, addr, &fd, &bound) != OK);
	if (!f->on_unix)
		DIE_IF(!str_int(str_sub(bound, 10, bound.n), 1, 65535, &port));
	f->port = (int)port;
	DIE_IF(http_server_new(f->loop, f->router, &f->opt, &fd, 1, &f->server) != OK);
	pthread_barrier_wait(&f->up);
	loop_run(f->loop);
	loop_free(f->loop);
	http_router_free(f->router);
	arena_release(&f->arena);
	return NULL;
}

static inline void fixture_start(struct fixture *f)
{
	const char *tmp = getenv("TMPDIR");

	if (f->on_unix) {
		snprintf(f->dir, sizeof f->dir, "%s/cenote-http-XXXXXX", tmp && strlen(tmp) < 30 ? tmp : "/tmp");
		DIE_IF(!mkdtemp(f->dir));
		snprintf(f->path, sizeof f->path, "%s/s", f->dir);
	}
	if (!f->drain_ms)
		f->drain_ms = 10000;
	pthread_barrier_init(&f->up, NULL, 2);
	DIE_IF(pthread_create(&f->thread, NULL, fixture_main, f) != 0);
	pthread_barrier_wait(&f->up);
}

static inline void fixture_begin_drain(struct fixture *f)
{
	f->stop_task = (struct loop_task){.fn = fixture_drain, .arg = f};
	loop_post(f->loop, &f->stop_task);
}

static inline void fixture_join(struct fixture *f)
{
	pthread_join(f->thread, NULL);
	pthread_barrier_destroy(&f->up);
	if (f->on_unix) {
		unlink(f->path);
		rmdir(f->dir);
	}
}

static inline void fixture_stop(struct fixture *f)
{
	fixture_begin_drain(f);
	fixture_join(f);
}

/* -------------------------------------------------------------------- client */

struct client {
	int fd;
	char buf[1 << 18];
	size_t n; /* bytes received and not yet consumed */
};

struct answer {
	int status;
	char head[4096];
	char body[1 << 17];
	size_t body_n;
};

static inline struct client *client_open(struct fixture *f)
{
	struct client *c = calloc(1, sizeof *c);
	struct timeval tv = {.tv_sec = 20};
	int r;

	c->fd = socket(f->on_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	if (f->on_unix) {
		struct sockaddr_un un = {.sun_family = AF_UNIX};

		memcpy(un.sun_path, f->path, strlen(f->path));
		r = connect(c->fd, (struct sockaddr *)&un, sizeof un);
	} else {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port)};

		in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		r = connect(c->fd, (struct sockaddr *)&in, sizeof in);
	}
	DIE_IF(r != 0);
	return c;
}

static inline void client_close(struct client *c)
{
	close(c->fd);
	free(c);
}

static inline void client_send_n(struct client *c, const char *p, size_t n)
{
	while (n) {
		ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL);

		if (w <= 0)
			return; /* an early answer may have closed it */
		p += w;
		n -= (size_t)w;
	}
}

static inline void client_send(struct client *c, const char *text)
{
	client_send_n(c, text, strlen(text));
}

/* False at the end of the stream (or after 20 s). */
static inline bool client_fill(struct client *c)
{
	ssize_t r = recv(c->fd, c->buf + c->n, sizeof c->buf - c->n - 1, 0);

	if (r <= 0)
		return false;
	c->n += (size_t)r;
	c->buf[c->n] = '\0';
	return true;
}

static inline void client_drop(struct client *c, size_t n)
{
	memmove(c->buf, c->buf + n, c->n - n);
	c->n -= n;
	c->buf[c->n] = '\0';
}

static inline const char *answer_head(const struct answer *a, const char *name)
{
	return strcasestr(a->head, name);
}

static inline bool client_chunks(struct client *c, struct answer *a)
{
	for (;;) {
		char *eol;
		size_t n;

		while (!(eol = strstr(c->buf, "\r\n")))
			if (!client_fill(c))
				return false;
		n = strtoul(c->buf, NULL, 16);
		client_drop(c, (size_t)(eol + 2 - c->buf));
		while (c->n < n + 2)
			if (!client_fill(c))
				return false;
		DIE_IF(a->body_n + n > sizeof a->body);
		memcpy(a->body + a->body_n, c->buf, n);
		a->body_n += n;
		client_drop(c, n + 2);
		if (n == 0)
			return true;
	}
}

/* The next answer; status 0 at the end of the stream. no_body: to HEAD. */
static inline struct answer *client_read(struct client *c, bool no_body)
{
	static struct answer answers[2];
	static int turn;
	struct answer *a = &answers[turn++ % 2];
	const char *cl;
	char *end;
	size_t n;

	memset(a, 0, sizeof *a);
	c->buf[c->n] = '\0';
	while (!(end = strstr(c->buf, "\r\n\r\n")))
		if (!client_fill(c))
			return a;
	n = (size_t)(end + 4 - c->buf);
	DIE_IF(n >= sizeof a->head);
	memcpy(a->head, c->buf, n);
	client_drop(c, n);
	DIE_IF(strncmp(a->head, "HTTP/1.1 ", 9) != 0);
	a->status = (int)strtol(a->head + 9, NULL, 10);
	if (no_body || a->status == 204 || a->status == 100)
		return a;
	if (answer_head(a, "\r\nTransfer-Encoding: chunked")) {
		if (!client_chunks(c, a))
			a->status = -1;
		return a;
	}
	cl = answer_head(a, "\r\nContent-Length:");
	a->body_n = cl ? strtoul(cl + 17, NULL, 10) : 0;
	DIE_IF(a->body_n > sizeof a->body);
	while (c->n < a->body_n)
		if (!client_fill(c)) {
			a->status = -1;
			return a;
		}
	memcpy(a->body, c->buf, a->body_n);
	client_drop(c, a->body_n);
	return a;
}

/* One request on a connection of its own. */
static inline struct answer *ask(struct fixture *f, const char *text)
{
	struct client *c = client_open(f);
	struct answer *a;

	client_send(c, text);
	a = client_read(c, strncmp(text, "HEAD ", 5) == 0);
	client_close(c);
	return a;
}

static inline bool client_at_end(struct client *c)
{
	return c->n == 0 && !client_fill(c);
}

#endif
