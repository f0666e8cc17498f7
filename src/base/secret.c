/* Reading secrets from files, and getting rid of them. */
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A secret must be private; what systemd hands over in its credentials directory is, whatever the mode. */
static bool is_private(const char *path, const struct stat *st)
{
	struct str dir = str_c(getenv("CREDENTIALS_DIRECTORY")), p = str_c(path);
	if (dir.n && str_starts(p, dir) && p.n > dir.n && (p.p[dir.n] == '/' || dir.p[dir.n - 1] == '/'))
		return true;
	return (st->st_mode & 077) == 0;
}

struct str secret_trim(struct str s)
{
	if (s.n && s.p[s.n - 1] == '\n')
		s.n--;
	if (s.n && s.p[s.n - 1] == '\r')
		s.n--;
	return s;
}

void secret_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

/* Everything up to max bytes; one more tells that there is more. */
static enum err read_all(int fd, const char *path, char *to, size_t max, size_t *n)
{
	*n = 0;
	while (*n < max) {
		ssize_t got = read(fd, to + *n, max - *n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(E_IO, "cannot read %s: %s", path, strerror(errno));
		if (got == 0)
			return OK;
		*n += (size_t)got;
	}
	return err_set(E_LIMIT, "%s is larger than %d bytes", path, SECRET_MAX);
}

enum err secret_file_read(const char *path, char **out)
{
	struct stat st;
	struct str text;
	size_t n = 0;
	enum err e = OK;
	char *buf = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	*out = NULL;
	if (fd < 0)
		return err_set(E_IO, "cannot read %s: %s", path, strerror(errno));
	if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode))
		CHECK(err_set(E_IO, "cannot read %s: not a file", path));
	if (!is_private(path, &st))
		CHECK(err_set(E_DENIED, "%s can be read by others; chmod 0600 it", path));
	buf = malloc(SECRET_MAX + 1);
	if (!buf)
		CHECK(err_set(E_LIMIT, "out of memory"));
	CHECK(read_all(fd, path, buf, SECRET_MAX + 1, &n));
	text = secret_trim(str_of(buf, n));
	if (memchr(text.p, 0, text.n))
		CHECK(err_set(E_INVALID, "%s holds a NUL byte", path));
	*out = strndup(text.p, text.n);
	if (!*out)
		e = err_set(E_LIMIT, "out of memory");
out:
	close(fd);
	if (buf)
		explicit_bzero(buf, SECRET_MAX + 1);
	free(buf);
	return e;
}
