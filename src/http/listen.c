/* Listening sockets: "127.0.0.1:0", "[::1]:8000", "unix:/path". */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "http/server.h"

#define BACKLOG 4096

/* Splits "HOST:PORT" and "[HOST]:PORT". */
static bool split(struct str addr, struct str *host, int64_t *port)
{
	size_t colon = addr.n;

	while (colon > 0 && addr.p[colon - 1] != ':')
		colon--;
	if (colon == 0 || !str_int(str_sub(addr, colon, addr.n), 0, 65535, port))
		return false;
	*host = str_sub(addr, 0, colon - 1);
	if (host->n >= 2 && host->p[0] == '[' && host->p[host->n - 1] == ']')
		*host = str_sub(*host, 1, host->n - 1);
	else if (str_chr(*host, ':', 0) >= 0)
		return false;
	return true;
}

/* Addresses only, and the two names that need no resolver. */
static bool to_sockaddr(struct str addr, struct sockaddr_storage *ss, socklen_t *n)
{
	char host[INET6_ADDRSTRLEN + 1];
	struct str h;
	int64_t port;

	memset(ss, 0, sizeof *ss);
	if (!split(addr, &h, &port) || h.n >= sizeof host)
		return false;
	if (str_ieq(h, STR("localhost")))
		h = STR("127.0.0.1");
	if (h.n == 0 || str_eq(h, STR("*")))
		h = STR("0.0.0.0");
	memcpy(host, h.p, h.n);
	host[h.n] = '\0';
	struct sockaddr_in *v4 = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ss;

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		*n = sizeof *v4;
		return true;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		*n = sizeof *v6;
		return true;
	}
	return false;
}

bool http_is_loopback(struct str addr)
{
	struct sockaddr_storage ss;
	socklen_t n;

	if (str_starts(addr, STR("unix:")))
		return true;
	if (!to_sockaddr(addr, &ss, &n))
		return false;
	if (ss.ss_family == AF_INET)
		return (ntohl(((struct sockaddr_in *)&ss)->sin_addr.s_addr) >> 24) == 127;
	return IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&ss)->sin6_addr);
}

/* With SO_REUSEPORT the kernel would let a second daemon of this user share the port in silence. Sockets of this process share it,
 * one per loop; so the first one here makes sure that nobody else has it. */
static pthread_mutex_t ours_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sockaddr_storage ours[64];
static unsigned ours_n;

static bool is_ours(const struct sockaddr_storage *ss)
{
	bool known = false;

	pthread_mutex_lock(&ours_lock);
	for (unsigned i = 0; i < ours_n; i++)
		known = known || memcmp(&ours[i], ss, sizeof *ss) == 0;
	pthread_mutex_unlock(&ours_lock);
	return known;
}

static void remember(const struct sockaddr_storage *ss)
{
	if (is_ours(ss))
		return;
	pthread_mutex_lock(&ours_lock);
	ours[ours_n++ % (sizeof ours / sizeof ours[0])] = *ss;
	if (ours_n > sizeof ours / sizeof ours[0])
		ours_n = sizeof ours / sizeof ours[0];
	pthread_mutex_unlock(&ours_lock);
}

static bool taken_by_others(const struct sockaddr_storage *ss, socklen_t n)
{
	bool taken;
	int fd, one = 1;

	if (is_ours(ss))
		return false;
	fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (ss->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	taken = bind(fd, (const struct sockaddr *)ss, n) != 0 && errno == EADDRINUSE;
	close(fd);
	return taken;
}

static enum err listen_failed(struct str addr, int fd, const char *what)
{
	int code = errno;

	if (fd >= 0)
		close(fd);
	return err_set(code == EADDRINUSE ? E_BUSY : E_IO, "cannot %s %.*s: %s", what, STR_ARG(addr), strerror(code));
}

static enum err listen_unix(struct arena *a, struct str addr, int *out, struct str *bound)
{
	struct str path = str_sub(addr, 5, addr.n);
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, probe;

	if (path.n == 0 || path.n >= sizeof un.sun_path)
		return err_set(E_INVALID, "socket path %.*s must have 1..%zu bytes", STR_ARG(path), sizeof un.sun_path - 1);
	memcpy(un.sun_path, path.p, path.n);
	if (lstat(un.sun_path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return err_set(E_CONFLICT, "%.*s exists and is not a socket", STR_ARG(path));
		/* Somebody listens: theirs. Nobody does: left over by a process that was killed. */
		probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (probe < 0)
			return listen_failed(addr, -1, "make a socket for");
		if (connect(probe, (struct sockaddr *)&un, sizeof un) == 0 || errno == EAGAIN) {
			close(probe);
			return err_set(E_BUSY, "another process listens on %.*s", STR_ARG(path));
		}
		close(probe);
		if (unlink(un.sun_path) != 0)
			return listen_failed(addr, -1, "replace");
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return listen_failed(addr, -1, "make a socket for");
	/* The mode of the descriptor becomes that of the file, without a moment in which others could connect. */
	if (fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&un, sizeof un) != 0)
		return listen_failed(addr, fd, "bind");
	if (chmod(un.sun_path, 0600) != 0 || listen(fd, BACKLOG) != 0)
		return listen_failed(addr, fd, "listen on");
	*bound = arena_str(a, addr);
	if (!bound->p) {
		close(fd);
		return E_NOMEM;
	}
	*out = fd;
	return OK;
}

enum err http_listen(struct arena *a, struct str addr, int *out, struct str *bound)
{
	struct sockaddr_storage ss;
	socklen_t n;
	char host[INET6_ADDRSTRLEN] = "";
	int fd, one = 1;

	if (str_starts(addr, STR("unix:")))
		return listen_unix(a, addr, out, bound);
	if (!to_sockaddr(addr, &ss, &n))
		return err_set(E_INVALID, "cannot listen on \"%.*s\": must be ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH",
			       STR_ARG(addr));
	if (((struct sockaddr_in *)&ss)->sin_port != 0 && taken_by_others(&ss, n))
		return err_set(E_BUSY, "another process listens on %.*s", STR_ARG(addr));
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return listen_failed(addr, -1, "make a socket for");
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0)
		return listen_failed(addr, fd, "prepare");
	if (ss.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) != 0)
		return listen_failed(addr, fd, "prepare");
	if (bind(fd, (struct sockaddr *)&ss, n) != 0)
		return listen_failed(addr, fd, "bind");
	if (listen(fd, BACKLOG) != 0 || getsockname(fd, (struct sockaddr *)&ss, &n) != 0)
		return listen_failed(addr, fd, "listen on");
	remember(&ss);
	if (ss.ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)&ss;

		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
		*bound = arena_printf(a, "%s:%u", host, ntohs(v4->sin_port));
	} else {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&ss;

		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
		*bound = arena_printf(a, "[%s]:%u", host, ntohs(v6->sin6_port));
	}
	if (!bound->p) {
		close(fd);
		return E_NOMEM;
	}
	*out = fd;
	return OK;
}
