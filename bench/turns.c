/* Both ends of the assistant's benchmarks (bench/assistant.py): a model server that thinks for no time, and clients.
 *
 *   turns model TOKENS GAP_MS
 *       Serves POST .../chat/completions on a free port of the loopback, which it prints. An answer has TOKENS words; streamed,
 * GAP_MS lie between them, and the first is "t=" and the time at which it was sent (CLOCK_MONOTONIC, ns). turns load PORT
 * CONNECTIONS SECONDS PATH BODY [HEADER] A closed loop of clients: POST PATH again and again, with keep-alive. In BODY and HEADER,
 * @C is the number of the connection and @N that of the request. SECONDS 0: one request per connection. Prints one line of JSON:
 * requests, errors, seconds, and milliseconds of a request and of the first word, from when the model sent it to when it was read
 * here. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 8192
#define BUFFER ((size_t)256 << 10)
#define SAMPLES_MAX ((size_t)4 << 20)
#define WHILE_IDLE_MS 100

struct conn {
	int fd;
	char *in; /* BUFFER bytes */
	size_t in_n;
	unsigned left;	/* model: words still to send */
	uint64_t due;	/* model: when the next one goes; 0: none */
	uint64_t began; /* client */
	bool stamped, busy;
};

static struct conn conns[CONNECTIONS_MAX];
static int poller;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "turns: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void watch(int fd, void *of)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = of};

	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) != 0)
		die("epoll");
}

static struct conn *conn_new(int fd)
{
	int one = 1;

	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (conns[i].in)
			continue;
		conns[i] = (struct conn){.fd = fd, .in = malloc(BUFFER)};
		if (!conns[i].in)
			die("memory");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		watch(fd, &conns[i]);
		return &conns[i];
	}
	errno = EMFILE;
	die("connections");
}

static void conn_end(struct conn *c)
{
	close(c->fd);
	free(c->in);
	c->in = NULL;
	c->due = 0;
}

static bool put(struct conn *c, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);

		if (k < 0 && errno != EINTR)
			return false;
		if (k > 0) {
			p += k;
			n -= (size_t)k;
		}
	}
	return true;
}

/* ---------------------------------------------------------------------- model */

static unsigned tokens, gap_ms;

static bool chunk(struct conn *c, const char *format, ...)
{
	char body[512], all[640];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(body, sizeof body, format, ap);
	va_end(ap);
	n = snprintf(all, sizeof all, "%x\r\n%s\r\n", (unsigned)n, body);
	return put(c, all, (size_t)n);
}

#define DELTA                                                                                                                      \
	"data: "                                                                                                                   \
	"{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{%s},"         \
	"\"finish_reason\":%s}]}\n\n"

static bool word(struct conn *c)
{
	char text[64];
	bool ok;

	if (c->left == tokens)
		snprintf(text, sizeof text, "\"content\":\"t=%llu \"", (unsigned long long)now_ns());
	else
		snprintf(text, sizeof text, "\"content\":\"word \"");
	ok = chunk(c, DELTA, text, "null");
	c->left--;
	c->due = c->left ? now_ns() + gap_ms * UINT64_C(1000000) : 0;
	if (c->left || !ok)
		return ok;
	return chunk(c, DELTA, "", "\"stop\"") && chunk(c, "data: [DONE]\n\n") && put(c, "0\r\n\r\n", 5);
}

static bool words(struct conn *c)
{
	do {
		if (!word(c))
			return false;
	} while (c->left && !gap_ms);
	return true;
}

static bool answer(struct conn *c, const char *body)
{
	char text[4096], all[8192], head[256];
	int n = 0, k;

	if (strstr(body, "\"stream\":true")) {
		static const char begin[] =
			"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

		c->left = tokens;
		return put(c, begin, sizeof begin - 1) && words(c);
	}
	text[0] = 0;
	for (unsigned i = 0; i < tokens && n < 4000; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "word ");
	n = snprintf(all, sizeof all,
		     "{\"id\":\"x\",\"object\":\"chat.completion\",\"model\":\"bench\",\"usage\":{\"prompt_tokens\":1,"
		     "\"completion_tokens\":%u,\"total_tokens\":%u},\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
		     "\"content\":\"%s\"},\"finish_reason\":\"stop\"}]}",
		     tokens, tokens + 1, text);
	k = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", n);
	return put(c, head, (size_t)k) && put(c, all, (size_t)n);
}

/* Requests come whole, one after the other. */
static bool requests(struct conn *c)
{
	for (;;) {
		char *end, *length;
		size_t head, need;

		c->in[c->in_n] = 0;
		end = strstr(c->in, "\r\n\r\n");
		length = strcasestr(c->in, "\r\nContent-Length:");
		if (!end || !length)
			return true;
		head = (size_t)(end - c->in) + 4;
		need = strtoul(length + 17, NULL, 10);
		if (head + need >= BUFFER)
			return false;
		if (c->in_n < head + need)
			return true;
		char after = c->in[head + need];
		c->in[head + need] = 0;
		if (!answer(c, c->in + head))
			return false;
		c->in[head + need] = after;
		c->in_n -= head + need;
		memmove(c->in, c->in + head + need, c->in_n);
	}
}

static bool readable(struct conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_n, BUFFER - 1 - c->in_n, MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	c->in_n += (size_t)n;
	return true;
}

static int due_ms(void)
{
	uint64_t first = UINT64_MAX, now;

	for (size_t i = 0; gap_ms && i < CONNECTIONS_MAX; i++)
		if (conns[i].in && conns[i].due && conns[i].due < first)
			first = conns[i].due;
	now = now_ns();
	return first == UINT64_MAX ? -1 : first <= now ? 0 : (int)((first - now) / 1000000u) + 1;
}

static void send_due(void)
{
	uint64_t now = now_ns();

	for (size_t i = 0; gap_ms && i < CONNECTIONS_MAX; i++)
		if (conns[i].in && conns[i].due && conns[i].due <= now && !word(&conns[i]))
			conn_end(&conns[i]);
}

static void model(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0)
		die("listen");
	getsockname(fd, (struct sockaddr *)&a, &n);
	printf("%u\n", ntohs(a.sin_port));
	fflush(stdout);
	watch(fd, NULL);
	for (;;) {
		struct epoll_event e[256];
		int k = epoll_wait(poller, e, 256, due_ms());

		for (int i = 0; i < k; i++) {
			struct conn *c = e[i].data.ptr;

			if (!c) {
				int made = accept(fd, NULL, NULL);
				if (made >= 0)
					(void)conn_new(made);
			} else if (c->in && (!readable(c) || !requests(c))) {
				conn_end(c);
			}
		}
		send_due();
	}
}

/* --------------------------------------------------------------------- clients */

static struct load {
	const char *path, *body, *header;
	unsigned port;
	uint64_t end, made, errors;
	double *took, *first;
	size_t took_n, first_n, busy;
} load;

static void fill_in(char *out, size_t room, const char *pattern, unsigned conn, uint64_t n)
{
	size_t k = 0;

	for (const char *p = pattern; *p && k + 32 < room; p++) {
		if (p[0] == '@' && p[1] == 'C')
			k += (size_t)snprintf(out + k, room - k, "%u", conn), p++;
		else if (p[0] == '@' && p[1] == 'N')
			k += (size_t)snprintf(out + k, room - k, "%llu", (unsigned long long)n), p++;
		else
			out[k++] = *p;
	}
	out[k] = 0;
}

static void ask(struct conn *c)
{
	static char body[65536], header[512], all[70000];
	unsigned number = (unsigned)(c - conns);

	fill_in(body, sizeof body, load.body, number, load.made);
	fill_in(header, sizeof header, load.header, number, load.made++);
	int n = snprintf(
		all, sizeof all,
		"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s%sContent-Length: %zu\r\n\r\n%s",
		load.path, header, *header ? "\r\n" : "", strlen(body), body);
	c->in_n = 0;
	c->stamped = false;
	c->busy = true;
	c->began = now_ns();
	load.busy++;
	if (!put(c, all, (size_t)n))
		die("send");
}

/* The answer's end has come. */
static bool whole(const struct conn *c)
{
	const char *end = strstr(c->in, "\r\n\r\n"), *length;

	if (!end)
		return false;
	length = strcasestr(c->in, "\r\nContent-Length:");
	if (length && length < end)
		return c->in_n >= (size_t)(end - c->in) + 4 + strtoul(length + 17, NULL, 10);
	return c->in_n >= 5 && memcmp(c->in + c->in_n - 5, "0\r\n\r\n", 5) == 0;
}

static void look(struct conn *c)
{
	const char *stamp;

	c->in[c->in_n] = 0;
	stamp = c->stamped ? NULL : strstr(c->in, "t=");
	/* Its digits may come with the next piece. */
	if (stamp && strchr(stamp, ' ')) {
		uint64_t sent = strtoull(stamp + 2, NULL, 10);

		c->stamped = true;
		if (sent && load.first_n < SAMPLES_MAX)
			load.first[load.first_n++] = (double)(now_ns() - sent) / 1e6;
	}
	if (!whole(c))
		return;
	load.errors += strncmp(c->in, "HTTP/1.1 200", 12) != 0 || (strstr(c->in, "text/event-stream") && !strstr(c->in, "[DONE]"));
	if (load.took_n < SAMPLES_MAX)
		load.took[load.took_n++] = (double)(now_ns() - c->began) / 1e6;
	c->busy = false;
	load.busy--;
	if (now_ns() < load.end)
		ask(c);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print_times(const char *name, double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_size);
	printf(", \"%s\": {\"n\": %zu, \"p50\": %.3f, \"p99\": %.3f}", name, n, n ? v[n / 2] : 0, n ? v[n * 99 / 100] : 0);
}

static void clients(unsigned n, double seconds)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)load.port)};
	uint64_t began = now_ns();

	load.took = malloc(SAMPLES_MAX * sizeof *load.took);
	load.first = malloc(SAMPLES_MAX * sizeof *load.first);
	if (!load.took || !load.first)
		die("memory");
	for (unsigned i = 0; i < n; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
			die("connect");
		(void)conn_new(fd);
	}
	load.end = seconds > 0 ? now_ns() + (uint64_t)(seconds * 1e9) : 0;
	began = now_ns();
	for (unsigned i = 0; i < n; i++)
		ask(&conns[i]);
	while (load.busy) {
		struct epoll_event e[256];
		int k = epoll_wait(poller, e, 256, WHILE_IDLE_MS);

		for (int i = 0; i < k; i++) {
			struct conn *c = e[i].data.ptr;

			if (!readable(c))
				die("the server closed a connection");
			if (c->in_n >= BUFFER - 1)
				die("an answer is too long");
			look(c);
		}
	}
	printf("{\"requests\": %zu, \"errors\": %llu, \"seconds\": %.3f", load.took_n, (unsigned long long)load.errors,
	       (double)(now_ns() - began) / 1e9);
	print_times("took", load.took, load.took_n);
	print_times("first", load.first, load.first_n);
	printf("}\n");
}

int main(int argc, char **argv)
{
	struct rlimit files = {CONNECTIONS_MAX + 64, CONNECTIONS_MAX + 64};

	(void)setrlimit(RLIMIT_NOFILE, &files);
	poller = epoll_create1(0);
	if (argc == 4 && strcmp(argv[1], "model") == 0) {
		tokens = (unsigned)strtoul(argv[2], NULL, 10);
		gap_ms = (unsigned)strtoul(argv[3], NULL, 10);
		model();
	} else if (argc >= 7 && strcmp(argv[1], "load") == 0) {
		load.port = (unsigned)strtoul(argv[2], NULL, 10);
		load.path = argv[5];
		load.body = argv[6];
		load.header = argc > 7 ? argv[7] : "";
		clients((unsigned)strtoul(argv[3], NULL, 10), strtod(argv[4], NULL));
		return 0;
	}
	fprintf(stderr, "usage: turns model TOKENS GAP_MS | turns load PORT CONNECTIONS SECONDS PATH BODY [HEADER]\n");
	return 2;
}
