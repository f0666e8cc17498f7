/* systemd: one datagram per state, variables for the rest. */
#include "daemon/systemd.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_MAX 16

void systemd_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	if (n < 2 || n > sizeof un.sun_path || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(un.sun_path, path, n);
	if (path[0] == '@')
		un.sun_path[0] = '\0'; /* an abstract address */
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&un,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	(void)sent; /* nobody to tell */
	close(fd);
}

static bool env_number(const char *name, int64_t max, int64_t *out)
{
	const char *v = getenv(name);
	return v && str_int(str_c(v), 1, max, out);
}

uint32_t systemd_watchdog_ms(void)
{
	int64_t usec, pid;
	if (!env_number("WATCHDOG_USEC", INT64_C(3600000000), &usec))
		return 0;
	if (getenv("WATCHDOG_PID") && (!env_number("WATCHDOG_PID", INT32_MAX, &pid) || pid != (int64_t)getpid()))
		return 0;
	return usec < 2000 ? 1 : (uint32_t)(usec / 2000);
}

int systemd_listen_fds(void)
{
	int64_t pid, n = 0;
	if (!env_number("LISTEN_PID", INT32_MAX, &pid) || pid != (int64_t)getpid() || !env_number("LISTEN_FDS", LISTEN_MAX, &n))
		n = 0;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return (int)n;
}
