/* Where passwords come from: a file that is read at each login, a command whose output is kept for its life.
 *
 * Invariants of the cache
 *  1. busy: one thread, and one only, is inside from->get; everybody else waits for it and takes what it brought, or its error.
 *  2. password, until, renew_at belong together and change only under mu.
 *  3. A password that was refused is never given again without asking the source. */
#include "store/postgres/pg.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/secret.h"

#define OUTPUT_MAX SECRET_MAX
#define STDERR_MAX 1000
#define TICK_MS 5

static uint64_t end_of_life(uint32_t life_ms)
{
	return life_ms ? deadline_in_ms(life_ms) : NEVER;
}

/* ---------------------------------------------------------------- a file */

struct file {
	struct pg_credential base; /* first */
	uint32_t life_ms;
	char path[];
};

static enum err file_get(struct pg_credential *c, const char *refused, uint64_t deadline, char **password, uint64_t *until_ns)
{
	struct file *f = (struct file *)c;
	(void)refused;
	(void)deadline;
	*until_ns = end_of_life(f->life_ms);
	enum err e = secret_file_read(f->path, password);
	if (e != OK)
		return err_wrap(e == E_IO ? E_BUSY : e, "pg.password_file");
	if (**password)
		return OK;
	secret_free(*password);
	*password = NULL;
	return err_set(E_BUSY, "pg.password_file: %s is empty", f->path);
}

static void plain_free(struct pg_credential *c)
{
	free(c);
}

static enum err file_new(struct str path, uint32_t life_ms, struct pg_credential **out)
{
	struct file *f = malloc(sizeof *f + path.n + 1);
	if (!f)
		return err_set(E_LIMIT, "out of memory");
	*f = (struct file){{file_get, plain_free}, life_ms};
	memcpy(f->path, path.p, path.n);
	f->path[path.n] = 0;
	*out = &f->base;
	return OK;
}

/* ------------------------------------------------------------- a command */

struct command {
	struct pg_credential base; /* first */
	uint32_t life_ms;
	char text[];
};

struct child {
	pid_t pid;
	int out, err; /* what it writes; -1: ended */
	char *text;   /* OUTPUT_MAX + 1 */
	size_t text_n;
	char said[STDERR_MAX];
	size_t said_n;
};

/* In a process group of its own, so that what it has started ends with it; with no signal blocked or ignored. */
static int spawn(const char *command, int out, int err, pid_t *pid)
{
	extern char **environ;
	char *argv[] = {"/bin/sh", "-c", (char *)command, NULL};
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&at);
	int rc = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&fa, out, 1);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&fa, err, 2);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&at, 0);
	posix_spawnattr_setsigmask(&at, &none);
	posix_spawnattr_setsigdefault(&at, &all);
	if (rc == 0)
		rc = posix_spawn(pid, argv[0], &fa, &at, argv, environ);
	posix_spawnattr_destroy(&at);
	posix_spawn_file_actions_destroy(&fa);
	return rc;
}

static enum err start(struct command *m, struct child *ch)
{
	int out[2], err[2];
	if (pipe2(out, O_CLOEXEC) != 0)
		return err_set(E_BUSY, "pg.password_command: %s", strerror(errno));
	if (pipe2(err, O_CLOEXEC) != 0) {
		enum err e = err_set(E_BUSY, "pg.password_command: %s", strerror(errno));
		close(out[0]);
		close(out[1]);
		return e;
	}
	int rc = spawn(m->text, out[1], err[1], &ch->pid);
	close(out[1]);
	close(err[1]);
	ch->out = out[0];
	ch->err = err[0];
	fcntl(ch->out, F_SETFL, O_NONBLOCK);
	fcntl(ch->err, F_SETFL, O_NONBLOCK);
	if (rc == 0)
		return OK;
	ch->pid = -1;
	return err_set(E_BUSY, "pg.password_command cannot be started: %s", strerror(rc));
}

/* All that is there now; ends the descriptor at its end. What does not fit is read and dropped, the size tells. */
static void take(int *fd, char *to, size_t max, size_t *n)
{
	char drop[512];
	while (*fd >= 0) {
		bool full = *n >= max;
		ssize_t got = full ? read(*fd, drop, sizeof drop) : read(*fd, to + *n, max - *n);
		if (got > 0) {
			*n += full ? 0 : (size_t)got;
			continue;
		}
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return;
		close(*fd);
		*fd = -1;
	}
	explicit_bzero(drop, sizeof drop);
}

/* Reads until the command itself has ended; something that it left running may hold the pipes for longer. */
static enum err collect(struct child *ch, uint64_t deadline, int *status)
{
	for (;;) {
		pid_t ended = waitpid(ch->pid, status, WNOHANG);
		take(&ch->out, ch->text, OUTPUT_MAX + 1, &ch->text_n);
		take(&ch->err, ch->said, STDERR_MAX, &ch->said_n);
		if (ended == ch->pid || (ended < 0 && errno != EINTR)) {
			ch->pid = -1;
			return ended > 0 ? OK : err_set(E_INTERNAL, "pg.password_command: its status is lost");
		}
		if (clock_mono_ns() >= deadline)
			return err_kind(E_BUSY, ERR_PLAIN, "pg.password_command did not end in time (pg.connect_timeout)");
		struct pollfd fds[2] = {{ch->out, POLLIN, 0}, {ch->err, POLLIN, 0}};
		poll(fds, 2, TICK_MS); /* without descriptors it is a pause until the child can be looked at again */
	}
}

static void tell(const struct child *ch, bool good)
{
	struct str said = str_trim(str_of(ch->said, ch->said_n)), secret = str_trim(str_of(ch->text, ch->text_n));
	if (said.n == 0 || (secret.n && memmem(said.p, said.n, secret.p, secret.n)))
		return;
	LOG(good ? LOG_INFO : LOG_WARN, "store.postgres", "pg.password_command wrote to its standard error", LF_STR("text", said));
}

static enum err judge(const struct child *ch, int status, struct str *password)
{
	if (WIFSIGNALED(status))
		return err_set(E_BUSY, "pg.password_command was ended by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return err_set(E_BUSY, "pg.password_command failed with exit status %d", WEXITSTATUS(status));
	*password = secret_trim(str_of(ch->text, ch->text_n));
	if (password->n == 0)
		return err_set(E_BUSY, "pg.password_command wrote no password to its standard output");
	if (ch->text_n > OUTPUT_MAX || memchr(password->p, 0, password->n) || memchr(password->p, '\n', password->n))
		return err_set(E_BUSY,
			       "pg.password_command must write the password and nothing else, in one line of at most %d bytes",
			       OUTPUT_MAX);
	return OK;
}

static enum err command_get(struct pg_credential *c, const char *refused, uint64_t deadline, char **password, uint64_t *until_ns)
{
	struct command *m = (struct command *)c;
	struct child ch = {.pid = -1, .out = -1, .err = -1, .text = malloc(OUTPUT_MAX + 1)};
	struct str got = {0};
	int status = 0;
	enum err e;
	(void)refused;
	*password = NULL;
	*until_ns = end_of_life(m->life_ms); /* from before it ran: rather too short than too long */
	if (!ch.text)
		return err_set(E_LIMIT, "out of memory");
	CHECK(start(m, &ch));
	CHECK(collect(&ch, deadline, &status));
	CHECK(judge(&ch, status, &got));
	*password = strndup(got.p, got.n);
	e = *password ? OK : err_set(E_LIMIT, "out of memory");
out:
	if (ch.pid > 0) {
		kill(-ch.pid, SIGKILL);
		waitpid(ch.pid, &status, 0);
	}
	tell(&ch, e == OK);
	if (ch.out >= 0)
		close(ch.out);
	if (ch.err >= 0)
		close(ch.err);
	explicit_bzero(ch.text, OUTPUT_MAX + 1);
	free(ch.text);
	return e;
}

enum err pg_credential_command(struct str command, uint32_t life_ms, struct pg_credential **out)
{
	struct command *m = malloc(sizeof *m + command.n + 1);
	if (!m)
		return err_set(E_LIMIT, "out of memory");
	*m = (struct command){{command_get, plain_free}, life_ms};
	memcpy(m->text, command.p, command.n);
	m->text[command.n] = 0;
	*out = &m->base;
	return OK;
}

/* --------------------------------------------------------------- the cache */

struct cached {
	struct pg_credential base; /* first */
	struct pg_credential *from;
	pthread_mutex_t mu;
	pthread_cond_t cond;
	bool busy;
	uint64_t runs; /* of from->get that have ended */
	enum err err;  /* of the last one */
	struct diag diag;
	char *password;
	uint64_t until, renew_at;
};

static enum err give(const struct cached *c, char **password, uint64_t *until_ns)
{
	*password = strdup(c->password);
	*until_ns = c->until;
	return *password ? OK : err_set(E_LIMIT, "out of memory");
}

/* Asks the source; mu is held before and after. */
static enum err renew(struct cached *c, const char *refused, uint64_t deadline)
{
	char *password = NULL;
	uint64_t until = NEVER;
	c->busy = true;
	pthread_mutex_unlock(&c->mu);
	enum err e = c->from->get(c->from, refused, deadline, &password, &until);
	uint64_t now = clock_mono_ns();
	pthread_mutex_lock(&c->mu);
	c->busy = false;
	c->runs++;
	c->err = e;
	if (e == OK) {
		secret_free(c->password);
		c->password = password;
		c->until = until;
		c->renew_at = until == NEVER || until < now ? until : until - (until - now) / 10;
	} else {
		c->diag = *diag_get();
	}
	pthread_cond_broadcast(&c->cond);
	return e;
}

/* Waits for the run that is under way and takes its result. */
static enum err join(struct cached *c, uint64_t deadline)
{
	uint64_t run = c->runs;
	struct timespec at = {(time_t)(deadline / 1000000000), (long)(deadline % 1000000000)};
	while (c->runs == run)
		if (pthread_cond_timedwait(&c->cond, &c->mu, &at) == ETIMEDOUT && c->runs == run)
			return err_set(E_TIMEOUT, "the password did not come in time");
	if (c->err != OK)
		*diag_get() = c->diag;
	return c->err;
}

static enum err cached_get(struct pg_credential *base, const char *refused, uint64_t deadline, char **password, uint64_t *until_ns)
{
	struct cached *c = (struct cached *)base;
	enum err e = OK;
	*password = NULL;
	pthread_mutex_lock(&c->mu);
	if (c->password && refused && strcmp(c->password, refused) == 0) {
		secret_free(c->password);
		c->password = NULL;
	}
	if (!c->password || clock_mono_ns() >= c->renew_at)
		e = c->busy ? join(c, deadline) : renew(c, refused, deadline);
	/* It could not be renewed, but the old one is still good. */
	if (e != OK && c->password && clock_mono_ns() < c->until)
		e = OK;
	if (e == OK)
		e = give(c, password, until_ns);
	pthread_mutex_unlock(&c->mu);
	return e;
}

static void cached_free(struct pg_credential *base)
{
	struct cached *c = (struct cached *)base;
	c->from->free(c->from);
	secret_free(c->password);
	pthread_cond_destroy(&c->cond);
	pthread_mutex_destroy(&c->mu);
	free(c);
}

enum err pg_credential_cached(struct pg_credential *from, struct pg_credential **out)
{
	pthread_condattr_t at;
	struct cached *c = calloc(1, sizeof *c);
	if (!c) {
		from->free(from);
		return err_set(E_LIMIT, "out of memory");
	}
	c->base = (struct pg_credential){cached_get, cached_free};
	c->from = from;
	pthread_mutex_init(&c->mu, NULL);
	pthread_condattr_init(&at);
	pthread_condattr_setclock(&at, CLOCK_MONOTONIC);
	pthread_cond_init(&c->cond, &at);
	pthread_condattr_destroy(&at);
	*out = &c->base;
	return OK;
}

enum err pg_credential_new(const struct pg_options *opt, struct pg_credential **out)
{
	struct pg_credential *c;
	*out = NULL;
	if ((opt->password.n > 0) + (opt->password_command.n > 0) + (opt->password_file.n > 0) > 1)
		return err_field(E_INVALID, "pg.password", -1,
				 "only one of pg.password, pg.password_command and pg.password_file can be set");
	if (opt->password_file.n)
		return file_new(opt->password_file, opt->password_life_ms, out);
	if (opt->password_command.n == 0)
		return OK;
	TRY(pg_credential_command(opt->password_command, opt->password_life_ms, &c));
	return pg_credential_cached(c, out);
}
