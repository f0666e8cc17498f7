/* One thread, one poll(2) over all relayed connections; commands come through a pipe and are answered through another.
 *
 * Silent: accepts, but reads and writes nothing. Gone: the listening socket is closed too; the port is kept by a socket that is
 * bound to it without listening. */
#include "pg_proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS 64

struct pg_proxy {
	pthread_t thread;
	struct sockaddr_in to;
	int listener, port, command[2], done[2];
	int pair[PAIRS][2];
	unsigned n;
	enum pg_proxy_mode mode;
};

static void must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

static int bound(int port, int listening)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	must(fd >= 0, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	must(bind(fd, (struct sockaddr *)&a, sizeof a) == 0, "bind");
	must(!listening || listen(fd, 64) == 0, "listen");
	return fd;
}

static void drop(struct pg_proxy *p, unsigned i)
{
	/* A reset, as when the machine has gone. */
	struct linger now = {1, 0};
	for (unsigned k = 0; k < 2; k++) {
		setsockopt(p->pair[i][k], SOL_SOCKET, SO_LINGER, &now, sizeof now);
		close(p->pair[i][k]);
	}
	p->n--;
	p->pair[i][0] = p->pair[p->n][0];
	p->pair[i][1] = p->pair[p->n][1];
}

static void take(struct pg_proxy *p)
{
	int in = accept(p->listener, NULL, NULL);
	if (in < 0)
		return;
	int out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->n == PAIRS || out < 0 || connect(out, (struct sockaddr *)&p->to, sizeof p->to) != 0) {
		close(in);
		if (out >= 0)
			close(out);
		return;
	}
	p->pair[p->n][0] = in;
	p->pair[p->n++][1] = out;
}

/* False: one side has closed. */
static int relay(int from, int to)
{
	char buf[65536];
	ssize_t n = recv(from, buf, sizeof buf, 0);
	if (n <= 0)
		return 0;
	for (ssize_t at = 0; at < n;) {
		ssize_t w = send(to, buf + at, (size_t)(n - at), MSG_NOSIGNAL);
		if (w <= 0)
			return 0;
		at += w;
	}
	return 1;
}

static void become(struct pg_proxy *p, enum pg_proxy_mode mode)
{
	while (p->n && (mode == PROXY_GONE || mode == PROXY_CUT))
		drop(p, 0);
	if (mode == PROXY_GONE && p->mode != PROXY_GONE) {
		close(p->listener);
		p->listener = bound(p->port, 0);
	} else if (mode != PROXY_GONE && p->mode == PROXY_GONE) {
		close(p->listener);
		p->listener = bound(p->port, 1);
	}
	p->mode = mode == PROXY_CUT ? PROXY_OPEN : mode;
}

static void *proxy_main(void *arg)
{
	struct pg_proxy *p = arg;
	for (;;) {
		struct pollfd f[2 + 2 * PAIRS];
		unsigned n = p->mode == PROXY_OPEN || p->mode == PROXY_DEAF ? p->n : 0;
		f[0] = (struct pollfd){p->command[0], POLLIN, 0};
		f[1] = (struct pollfd){p->mode == PROXY_OPEN ? p->listener : -1, POLLIN, 0};
		for (unsigned i = 0; i < 2 * n; i++)
			f[2 + i] = (struct pollfd){p->mode == PROXY_DEAF && i % 2 ? -1 : p->pair[i / 2][i % 2], POLLIN, 0};
		if (poll(f, 2 + 2 * n, -1) < 0 && errno != EINTR)
			abort();
		for (unsigned i = n; i-- > 0;)
			for (unsigned k = 0; k < 2; k++)
				if (f[2 + 2 * i + k].revents && !relay(p->pair[i][k], p->pair[i][!k])) {
					drop(p, i);
					break;
				}
		if (f[1].revents)
			take(p);
		if (f[0].revents) {
			char c;
			must(read(p->command[0], &c, 1) == 1, "read");
			if (c == 'q')
				return NULL;
			become(p, (enum pg_proxy_mode)c);
			must(write(p->done[1], &c, 1) == 1, "write");
		}
	}
}

struct pg_proxy *pg_proxy_new(const char *host, int port)
{
	struct pg_proxy *p = calloc(1, sizeof *p);
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	must(p != NULL, "calloc");
	p->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	must(inet_pton(AF_INET, host, &p->to.sin_addr) == 1, "an IPv4 address is needed");
	must(pipe(p->command) == 0 && pipe(p->done) == 0, "pipe");
	p->listener = bound(0, 1);
	must(getsockname(p->listener, (struct sockaddr *)&a, &len) == 0, "getsockname");
	p->port = ntohs(a.sin_port);
	must(pthread_create(&p->thread, NULL, proxy_main, p) == 0, "pthread_create");
	return p;
}

int pg_proxy_port(const struct pg_proxy *p)
{
	return p->port;
}

void pg_proxy_set(struct pg_proxy *p, enum pg_proxy_mode mode)
{
	char c = (char)mode;
	must(write(p->command[1], &c, 1) == 1, "write");
	must(read(p->done[0], &c, 1) == 1, "read");
}

void pg_proxy_free(struct pg_proxy *p)
{
	must(write(p->command[1], "q", 1) == 1, "write");
	pthread_join(p->thread, NULL);
	while (p->n)
		drop(p, 0);
	close(p->listener);
	for (unsigned i = 0; i < 2; i++) {
		close(p->command[i]);
		close(p->done[i]);
	}
	free(p);
}
