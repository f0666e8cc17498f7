/* `cenote serve`. The main thread does nothing but wait for signals, for the watchdog's time and for the end of the loops, and acts
 * on them one after the other; requests run on the loops' threads.
 *
 * States: starting -> serving -> delaying (drain_delay: /readyz is 503, requests are served) -> draining (requests finish) ->
 * closed. */
#include "daemon/serve.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/node.h"
#include "daemon/systemd.h"
#include "http/server.h"
#include "store/open.h"

#define SOCKET_PATH_MAX 107 /* sun_path without its NUL */

struct serve {
	struct config *cfg;
	const struct config_args *args;
	struct node *node;
	struct arena arena;
	int sig_fd;
	enum { SERVING, DELAYING, DRAINING } state;
	int64_t drain_delay, shutdown_timeout; /* ms; reloadable */
	uint64_t delay_until, beat_at;
	uint32_t watchdog_ms;
	struct str addrs[64]; /* where it listens */
	size_t addrs_n;
};

int exit_code(enum err e)
{
	static const unsigned char codes[E_COUNT] = {
		[OK] = 0,      [E_INVALID] = 2, [E_NOT_FOUND] = 3, [E_CONFLICT] = 6, [E_DENIED] = 4,
		[E_LIMIT] = 8, [E_BUSY] = 5,	[E_TIMEOUT] = 5,   [E_UPSTREAM] = 5, [E_CANCELLED] = 130,
		[E_IO] = 1,    [E_CORRUPT] = 1, [E_INTERNAL] = 1,
	};
	return (unsigned)e < E_COUNT ? codes[e] : 1;
}

void serve_logging(const struct config *c)
{
	enum log_format f = c->log_format == LOGFMT_TEXT   ? LOG_TEXT
			    : c->log_format == LOGFMT_JSON ? LOG_JSON
			    : isatty(2)			   ? LOG_TEXT
							   : LOG_JSON;
	log_setup((enum log_level)c->log_level, f);
}

void problems_print(const struct problems *p)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct problem *q = &p->v[i];
		fprintf(stderr, "cenote: ");
		if (q->file.n && q->line)
			fprintf(stderr, "%.*s:%u:%u: ", STR_ARG(q->file), q->line, q->column);
		else if (q->file.n)
			fprintf(stderr, "%.*s: ", STR_ARG(q->file));
		if (q->key.n)
			fprintf(stderr, "%.*s: ", STR_ARG(q->key));
		fprintf(stderr, "%.*s", STR_ARG(q->message));
		if (q->hint.n)
			fprintf(stderr, "; did you mean %.*s?", STR_ARG(q->hint));
		fputc('\n', stderr);
	}
}

static int fail(enum err e, const char *what)
{
	fprintf(stderr, "cenote: serve: %s: %s\n", what, diag_get()->text);
	return exit_code(e);
}

/* Idle connections are cheap; descriptors should not be what ends first. */
static void raise_nofile(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &r) != 0)
			LOG(LOG_WARN, "serve", "the limit of open files could not be raised", LF_C("err", strerror(errno)));
	}
}

/* Signals arrive by a descriptor; a second SIGTERM or SIGINT is taken in the same place, so nothing runs in handler context. */
static enum err take_signals(struct serve *s)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->sig_fd >= 0 ? OK : err_set(E_IO, "signalfd: %s", strerror(errno));
}

/* ------------------------------------------------------------- listening */

static enum err remember(struct serve *s, struct str bound)
{
	if (s->addrs_n == sizeof s->addrs / sizeof s->addrs[0])
		return err_set(E_LIMIT, "too many listeners");
	s->addrs[s->addrs_n++] = bound;
	return OK;
}

static enum err open_listeners(struct serve *s)
{
	const struct config *c = s->cfg;
	struct str bound;
	int inherited = systemd_listen_fds();
	for (int i = 0; i < inherited; i++) {
		TRY(node_adopt(s->node, 3 + i, &bound));
		TRY(remember(s, bound));
	}
	for (size_t i = 0; inherited == 0 && i < c->listen.n; i++) {
		enum err e = node_listen(s->node, c->listen.v[i], &bound);
		if (e != OK)
			return err_wrap(e, "cannot listen on %.*s", STR_ARG(c->listen.v[i]));
		TRY(remember(s, bound));
	}
	struct str path = store_socket_path(&s->arena, c->store);
	if (path.n > SOCKET_PATH_MAX && s->addrs_n) {
		fprintf(stderr, "cenote: the path of the store is too long for a unix socket in it; commands need --server\n");
		return OK;
	}
	if (path.n == 0)
		return OK;
	struct str addr = arena_printf(&s->arena, "unix:%.*s", STR_ARG(path));
	if (addr.p == NULL)
		return E_NOMEM;
	enum err e = node_listen(s->node, addr, &bound);
	return e == OK ? remember(s, bound) : err_wrap(e, "cannot listen on %.*s", STR_ARG(addr));
}

static void announce(const struct serve *s)
{
	if (s->cfg->auth == AUTH_OFF)
		fprintf(stderr,
			"cenote: no API keys are required, so only this machine can connect; --auth keys opens it to others\n");
	const struct embed_state *es = node_embed(s->node);
	if (es->encoder)
		fprintf(stderr, "cenote: texts are encoded by %.*s (%s)\n", STR_ARG(es->encoder->model), es->kind);
	else
		fprintf(stderr, "cenote: search goes by words alone: %s\n", es->why);
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < s->addrs_n; i++)
			if (str_starts(s->addrs[i], STR("unix:")) == (pass == 1))
				fprintf(stderr, "cenote: listening on %s%.*s\n", pass ? "" : "http://", STR_ARG(s->addrs[i]));
	systemd_notify("READY=1\nSTATUS=serving");
}

/* ---------------------------------------------------------------- reload */

static void apply_reload(struct serve *s, struct config *fresh)
{
	size_t n;
	const struct opt *rows = config_rows(&n);
	for (size_t i = 0; i < n; i++) {
		if ((rows[i].attr & OPT_CLIENT) || opt_equal(&rows[i], opt_field(s->cfg, &rows[i]), opt_field(fresh, &rows[i])))
			continue;
		LOG(LOG_INFO, "serve", rows[i].attr & OPT_RELOAD ? "setting applied" : "setting changed; needs a restart",
		    LF_C("key", rows[i].key));
	}
	s->drain_delay = fresh->http_drain_delay;
	s->shutdown_timeout = fresh->http_shutdown_timeout;
	serve_logging(fresh);
}

static void reload(struct serve *s)
{
	struct config fresh;
	struct problems p = {.a = &fresh.arena};
	systemd_notify("RELOADING=1");
	if (config_init(&fresh) == OK && config_load(&fresh, s->args, &p) == OK)
		apply_reload(s, &fresh);
	else
		LOG(LOG_ERROR, "serve", "the configuration was not reloaded, nothing has changed", LF_C("err", diag_get()->text));
	config_release(&fresh);
	systemd_notify("READY=1\nSTATUS=serving");
}

/* ------------------------------------------------------------ supervising */

static void begin_drain(struct serve *s, int64_t ms)
{
	s->state = DRAINING;
	LOG(LOG_INFO, "serve", "stopping: requests under way may finish", LF_INT("timeout_ms", ms));
	node_drain(s->node, (uint32_t)ms);
}

static void on_stop(struct serve *s, int sig)
{
	if (s->state != SERVING)
		_exit(sig == SIGINT ? 130 : 143); /* acknowledged writes are on disk already */
	systemd_notify("STOPPING=1\nSTATUS=finishing requests");
	node_unready(s->node);
	if (s->drain_delay > 0) {
		s->state = DELAYING;
		s->delay_until = deadline_in_ms((uint32_t)s->drain_delay);
	} else {
		begin_drain(s, s->shutdown_timeout);
	}
}

static void on_signal(struct serve *s, int sig)
{
	switch (sig) {
	case SIGTERM:
	case SIGINT:
		on_stop(s, sig);
		break;
	case SIGQUIT:
		systemd_notify("STOPPING=1");
		if (s->state != DRAINING)
			begin_drain(s, 0);
		break;
	case SIGHUP:
		reload(s);
		break;
	case SIGUSR1:
		log_set_level(log_get_level() == LOG_DEBUG ? LOG_INFO : LOG_DEBUG);
		LOG(LOG_INFO, "serve", "log level changed", LF_C("now", log_get_level() == LOG_DEBUG ? "debug" : "info"));
		break;
	default:
		break;
	}
}

/* Milliseconds until something is due, -1: nothing is. */
static int next_timeout(const struct serve *s)
{
	uint64_t at = NEVER, now = clock_mono_ns();
	if (s->state == DELAYING)
		at = s->delay_until;
	if (s->watchdog_ms && s->beat_at < at)
		at = s->beat_at;
	if (at == NEVER)
		return -1;
	return at <= now ? 0 : (int)((at - now) / 1000000 + 1);
}

static void on_time(struct serve *s)
{
	uint64_t now = clock_mono_ns();
	if (s->state == DELAYING && now >= s->delay_until)
		begin_drain(s, s->shutdown_timeout);
	if (s->watchdog_ms && now >= s->beat_at) {
		if (node_alive(s->node))
			systemd_notify("WATCHDOG=1");
		s->beat_at = deadline_in_ms(s->watchdog_ms);
	}
}

static void supervise(struct serve *s)
{
	while (!node_ended(s->node)) {
		struct pollfd fds[2] = {{s->sig_fd, POLLIN, 0}, {node_end_fd(s->node), POLLIN, 0}};
		int rc = poll(fds, 2, next_timeout(s));
		struct signalfd_siginfo si;
		while (rc > 0 && read(s->sig_fd, &si, sizeof si) == (ssize_t)sizeof si)
			on_signal(s, (int)si.ssi_signo);
		on_time(s);
	}
}

int serve_run(struct config *c, const struct config_args *args)
{
	struct serve s = {.cfg = c,
			  .args = args,
			  .sig_fd = -1,
			  .drain_delay = c->http_drain_delay,
			  .shutdown_timeout = c->http_shutdown_timeout};
	const char *what = "cannot open the store";
	umask(077);
	serve_logging(c);
	for (size_t i = 0; i < c->warnings.n; i++)
		LOG(LOG_WARN, "config", "a setting is not used", LF_STR("what", c->warnings.v[i]));
	raise_nofile();
	arena_init(&s.arena, 1 << 20);
	enum err e = take_signals(&s);
	if (e == OK)
		e = node_open(c, 0, &s.node);
	if (e == OK) {
		what = "cannot start";
		e = open_listeners(&s);
	}
	if (e == OK)
		e = node_start(s.node, true);
	int code = e == OK ? 0 : fail(e, what);
	if (e == OK) {
		announce(&s);
		s.watchdog_ms = systemd_watchdog_ms();
		s.beat_at = deadline_in_ms(s.watchdog_ms);
		supervise(&s);
	} else if (s.node) {
		node_drain(s.node, 0);
	}
	node_close(s.node);
	if (e == OK)
		LOG(LOG_INFO, "serve", "stopped");
	if (s.sig_fd >= 0)
		close(s.sig_fd);
	arena_release(&s.arena);
	return code;
}
