/* For unit tests of what calls services: running a function in a fiber, and a scripted service on 127.0.0.1, one thread a
 * connection.
 *
 * The n-th request (over all connections) gets script[n], or the last entry when there are fewer. An entry is a whole answer as
 * bytes, or
 *   "!close"  the connection is closed without an answer       "!reset"  the same with a RST
 *   "!hang"   no answer until the test ends                    "~BYTES"  the answer in pieces of one byte
 *   "=BODY"   200 with that JSON and its length                "|BYTES"  the bytes, then the connection is closed
 * While `held`, requests are read but not answered. */
#ifndef CENOTE_HTTP_TEST_PEER_H
#define CENOTE_HTTP_TEST_PEER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rt/fiber.h"
#include "rt/wait.h"

/* In fibers and threads, because cmocka's own leave by longjmp, which must not cross stacks. */
#define EXPECT(cond)                                                                                                               \
	do {                                                                                                                       \
		if (!(cond)) {                                                                                                     \
			fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #cond, diag_get()->text);                  \
			abort();                                                                                                   \
		}                                                                                                                  \
	} while (0)

struct in_loop {
	void (*fn)(void *arg);
	void *arg;
};

static inline void in_loop_start(void *arg)
{
	struct in_loop *in = arg;

	EXPECT(fiber_spawn(in->fn, in->arg, NULL, NULL) == OK);
}

/* fn(arg) in a fiber of a fresh loop; returns when that fiber and all it spawned have ended. */
static inline void run_in_loop(void (*fn)(void *arg), void *arg)
{
	struct in_loop in = {fn, arg};
	struct loop_task t = {.fn = in_loop_start, .arg = &in};
	struct loop *l;

	EXPECT(loop_new(&l) == OK);
	loop_post(l, &t);
	loop_stop(l);
	loop_run(l);
	loop_free(l);
}

#define PEER_CONNS 64
#define PEER_SEEN 64

struct peer {
	const char *const *script;
	size_t script_n;
	/* Instead of the script: an answer in malloc'd memory, as a "=BODY" would have it. */
	char *(*answer)(void *arg, const char *head, const char *body);
	void *arg;
	int fd, port;
	char url[64];
	pthread_t thread, threads[PEER_CONNS];
	int conns[PEER_CONNS];
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool over, held;
	/* what came */
	unsigned conns_n, requests, now, most;
	char *heads[PEER_SEEN], *bodies[PEER_SEEN];
};

struct peer_conn {
	struct peer *p;
	int fd;
	unsigned index;
};

/* The next request of the connection: its head and body in one piece of memory; NULL: none any more. */
static inline char *peer_read(int fd, char **body)
{
	size_t cap = 1 << 16, n = 0, want = 0;
	char *all = malloc(cap), *end = NULL, *len;

	for (;;) {
		ssize_t got;

		if (!end && (end = memmem(all, n, "\r\n\r\n", 4))) {
			*end = 0;
			len = strcasestr(all, "\r\nContent-Length:");
			want = (size_t)(end - all) + 4 + (len ? strtoul(len + 17, NULL, 10) : 0);
			if (want + 1 > cap) {
				size_t at = (size_t)(end - all);

				cap = want + 1;
				all = realloc(all, cap);
				end = all + at;
			}
		}
		if (end && n >= want)
			break;
		got = recv(fd, all + n, cap - n - 1, 0);
		if (got <= 0) {
			free(all);
			return NULL;
		}
		n += (size_t)got;
	}
	all[n] = 0;
	*body = end + 4;
	return all;
}

static inline void peer_send(int fd, const char *p, size_t n, size_t step)
{
	while (n) {
		ssize_t w = send(fd, p, n < step ? n : step, MSG_NOSIGNAL);

		if (w <= 0)
			return;
		p += w;
		n -= (size_t)w;
	}
}

static inline void peer_json(int fd, const char *body)
{
	char head[128];
	int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
			 strlen(body));

	peer_send(fd, head, (size_t)n, SIZE_MAX);
	peer_send(fd, body, strlen(body), SIZE_MAX);
}

/* False: the connection ends. */
static inline bool peer_answer(struct peer *p, int fd, const char *what)
{
	struct linger reset = {.l_onoff = 1};

	if (strcmp(what, "!close") == 0)
		return false;
	if (strcmp(what, "!reset") == 0) {
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		return false;
	}
	if (strcmp(what, "!hang") == 0) {
		pthread_mutex_lock(&p->lock);
		while (!p->over)
			pthread_cond_wait(&p->cond, &p->lock);
		pthread_mutex_unlock(&p->lock);
		return false;
	}
	if (what[0] == '=')
		peer_json(fd, what + 1);
	else if (what[0] == '~' || what[0] == '|')
		peer_send(fd, what + 1, strlen(what + 1), what[0] == '~' ? 1 : SIZE_MAX);
	else
		peer_send(fd, what, strlen(what), SIZE_MAX);
	return what[0] != '|';
}

static inline bool peer_one(struct peer *p, int fd, char *head, char *body)
{
	char *made = NULL;
	bool go;

	pthread_mutex_lock(&p->lock);
	unsigned at = p->requests++;
	if (at < PEER_SEEN) {
		p->heads[at] = strdup(head);
		p->bodies[at] = strdup(body);
	}
	p->now++;
	p->most = p->now > p->most ? p->now : p->most;
	pthread_cond_broadcast(&p->cond);
	while (p->held && !p->over)
		pthread_cond_wait(&p->cond, &p->lock);
	/* Before the answer goes out: whoever has it may look at once. */
	p->now--;
	pthread_mutex_unlock(&p->lock);
	if (p->answer && (made = p->answer(p->arg, head, body))) {
		peer_json(fd, made);
		go = true;
	} else {
		go = peer_answer(p, fd, p->script[at < p->script_n ? at : p->script_n - 1]);
	}
	free(made);
	free(head);
	return go;
}

static inline void *peer_conn_main(void *arg)
{
	struct peer_conn *c = arg;
	char *head, *body;

	while ((head = peer_read(c->fd, &body)) && peer_one(c->p, c->fd, head, body))
		;
	pthread_mutex_lock(&c->p->lock);
	c->p->conns[c->index] = -1;
	close(c->fd);
	pthread_mutex_unlock(&c->p->lock);
	free(c);
	return NULL;
}

static inline void *peer_main(void *arg)
{
	struct peer *p = arg;

	for (;;) {
		int one = 1, fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC);
		struct peer_conn *c;

		pthread_mutex_lock(&p->lock);
		if (fd < 0 || p->over || p->conns_n == PEER_CONNS) {
			pthread_mutex_unlock(&p->lock);
			if (fd >= 0)
				close(fd);
			return NULL;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		c = malloc(sizeof *c);
		*c = (struct peer_conn){p, fd, p->conns_n};
		p->conns[p->conns_n] = fd;
		pthread_create(&p->threads[p->conns_n++], NULL, peer_conn_main, c);
		pthread_cond_broadcast(&p->cond);
		pthread_mutex_unlock(&p->lock);
	}
}

static inline void peer_start(struct peer *p)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof in;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->cond, NULL);
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || bind(p->fd, (struct sockaddr *)&in, sizeof in) != 0 || listen(p->fd, 64) != 0 ||
	    getsockname(p->fd, (struct sockaddr *)&in, &len) != 0)
		abort();
	p->port = ntohs(in.sin_port);
	snprintf(p->url, sizeof p->url, "http://127.0.0.1:%d/v1", p->port);
	if (pthread_create(&p->thread, NULL, peer_main, p) != 0)
		abort();
}

/* Waits until so many requests are being held. */
static inline void peer_await(struct peer *p, unsigned now)
{
	pthread_mutex_lock(&p->lock);
	while (p->now < now)
		pthread_cond_wait(&p->cond, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

/* How many requests have come. */
static inline unsigned peer_requests(struct peer *p)
{
	pthread_mutex_lock(&p->lock);
	unsigned n = p->requests;
	pthread_mutex_unlock(&p->lock);
	return n;
}

/* Waits until so many have come, of clients that may have gone since. */
static inline void peer_await_requests(struct peer *p, unsigned n)
{
	pthread_mutex_lock(&p->lock);
	while (p->requests < n)
		pthread_cond_wait(&p->cond, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

static inline void peer_hold(struct peer *p, bool held)
{
	pthread_mutex_lock(&p->lock);
	p->held = held;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

static inline void peer_stop(struct peer *p)
{
	pthread_mutex_lock(&p->lock);
	p->over = true;
	pthread_cond_broadcast(&p->cond);
	for (unsigned i = 0; i < p->conns_n; i++)
		if (p->conns[i] >= 0)
			shutdown(p->conns[i], SHUT_RDWR);
	pthread_mutex_unlock(&p->lock);
	shutdown(p->fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	for (unsigned i = 0; i < p->conns_n; i++)
		pthread_join(p->threads[i], NULL);
	close(p->fd);
	for (size_t i = 0; i < PEER_SEEN; i++) {
		free(p->heads[i]);
		free(p->bodies[i]);
	}
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
}

#endif
