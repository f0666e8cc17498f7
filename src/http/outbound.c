/* Requests to services. Each runs on a lane: a curl multi handle with its kept connections, whose sockets are gathered in an epoll
 * descriptor. The fiber (or thread) that asks drives its own lane: it waits for that one descriptor with wait_fd and lets curl do
 * what is due. So there is one code path inside and outside of loops, a request reads from top to bottom, and a lane belongs to no
 * loop: whoever asks next takes over its connection.
 *
 * Invariants
 *  1. A lane is in o->idle, or it is held by exactly one stream; only its holder touches curl's handles.
 *  2. At most `concurrency` lanes exist. Whoever finds none waits in o->line; a lane that is given back goes to the first in line.
 * Of those in o->idle the first `warm` have curl's handles, at most `kept`: what a burst has made goes with it.
 *  3. Every wait ends at the request's deadline, at its silence limit, at the fiber's deadline or with its cancellation.
 *  4. Until the first byte of an answer over TLS, curl's steps run on the CPU pool: reading the certificates of authorities and the
 *     handshake take longer than a loop may stand still.
 *  5. At most HOLD_MAX bytes of an answer lie in a stream: then the transfer pauses until they are read. */
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "http/outbound.h"
#include "base/buf.h"
#include "base/list.h"
#include "http/client.h"
#include "rt/fiber.h"
#include "rt/wait.h"
#include "rt/work.h"

#define CONCURRENCY_MAX 4096
#define HOLD_MAX ((size_t)256 << 10)
#define EVENTS 8
#define MS UINT64_C(1000000)

struct lane {
	struct list node; /* in outbound.idle */
	CURLM *multi;	  /* NULL: nothing made yet */
	int epoll;
	uint64_t timer_at; /* when curl wants to be called, NEVER: not */
};

struct outbound {
	struct arena arena;
	struct str base, host; /* host: for sentences, "HOST[:PORT]" */
	bool secure;
	uint32_t connect_ms;
	const char *ca_file; /* NULL: the system's certificates */
	bool (*address_ok)(const void *ctx, const struct sockaddr *to);
	const void *address_ctx;
	pthread_mutex_t lock; /* guards what follows */
	struct list idle;     /* last used first, so that few connections do the work */
	struct list line;
	unsigned waiting;
	unsigned warm, kept; /* kept does not change */
	unsigned lanes_n;
	struct lane lanes[];
};

/* Somebody in line; on its own stack. */
struct turn {
	struct list node;
	int fd; /* eventfd */
	struct lane *lane;
};

struct outbound_stream {
	struct outbound *o;
	struct lane *lane;
	struct arena *arena;
	struct outbound_reply *reply;
	CURL *easy;
	struct curl_slist *heads;
	struct buf in;	  /* what came and was not read */
	size_t head_used; /* bytes of the headers that are kept */
	size_t total, max_body;
	uint64_t deadline, idle_ns, last; /* last: something came or went */
	bool head_done, started, paused, done, too_large, no_memory;
	bool refused; /* an address that the host leads to may not be connected to */
	bool handed;  /* what lies in `in` has been read */
	CURLcode code;
	char why[CURL_ERROR_SIZE];
};

/* ------------------------------------------------------------- the service */

static struct str host_of(struct str base)
{
	struct str rest = str_sub(base, str_starts(base, STR("https://")) ? 8 : 7, base.n), host;

	str_cut(rest, '/', &host, &rest);
	return host;
}

enum err outbound_base_check(struct str base)
{
	if (!str_starts(base, STR("https://")) && !str_starts(base, STR("http://")))
		return err_set(E_INVALID, "must begin with http:// or https://");
	for (size_t i = 0; i < base.n; i++)
		if ((unsigned char)base.p[i] <= ' ' || base.p[i] == 0x7f)
			return err_set(E_INVALID, "must not have blanks or control characters");
	if (host_of(base).n == 0)
		return err_set(E_INVALID, "lacks a host");
	if (str_chr(host_of(base), '@', 0) >= 0)
		return err_set(E_INVALID, "must not have a user or password");
	if (str_chr(base, '?', 0) >= 0 || str_chr(base, '#', 0) >= 0)
		return err_set(E_INVALID, "must not have a query or a fragment");
	return OK;
}

static enum err parse_base(struct outbound *o, struct str base)
{
	TRY(outbound_base_check(base));
	while (base.p[base.n - 1] == '/')
		base.n--;
	o->secure = str_starts(base, STR("https://"));
	o->base = arena_str(&o->arena, base);
	o->host = arena_str(&o->arena, host_of(base));
	return o->base.p && o->host.p ? OK : E_NOMEM;
}

/* A file without certificates would let every request fail; that is said at the start. */
static enum err take_ca(struct outbound *o, struct str path)
{
	static const char begin[] = "-----BEGIN ";
	char line[256];
	bool found = false;
	FILE *f;

	if (path.n == 0)
		return OK;
	o->ca_file = arena_cstr(&o->arena, path);
	if (!o->ca_file)
		return E_NOMEM;
	f = fopen(o->ca_file, "re");
	if (!f)
		return err_set(E_INVALID, "the certificates in \"%s\" cannot be read: %s", o->ca_file, strerror(errno));
	while (!found && fgets(line, sizeof line, f))
		found = strncmp(line, begin, sizeof begin - 1) == 0 && strstr(line, "CERTIFICATE-----");
	fclose(f);
	return found ? OK : err_set(E_INVALID, "\"%s\" has no certificate (PEM)", o->ca_file);
}

enum err outbound_new(const struct outbound_options *opt, struct outbound **out)
{
	unsigned n = opt->concurrency < 1 ? 1 : opt->concurrency > CONCURRENCY_MAX ? CONCURRENCY_MAX : opt->concurrency;
	struct outbound *o = calloc(1, sizeof *o + n * sizeof o->lanes[0]);
	enum err e;

	if (!o)
		return err_set(E_LIMIT, "out of memory for a client of a service");
	http_curl_init();
	arena_init(&o->arena, (size_t)64 << 10);
	pthread_mutex_init(&o->lock, NULL);
	list_init(&o->idle);
	list_init(&o->line);
	o->connect_ms = opt->connect_ms;
	o->address_ok = opt->address_ok;
	o->address_ctx = opt->address_ctx;
	o->kept = opt->kept ? opt->kept : OUTBOUND_KEPT;
	o->lanes_n = n;
	for (unsigned i = n; i-- > 0;) {
		o->lanes[i].epoll = -1;
		list_add_head(&o->idle, &o->lanes[i].node);
	}
	e = parse_base(o, opt->base);
	if (e == OK)
		e = take_ca(o, opt->ca_file);
	if (e != OK) {
		outbound_free(o);
		return e;
	}
	*out = o;
	return OK;
}

static void lane_clear(struct lane *l)
{
	if (l->multi)
		curl_multi_cleanup(l->multi);
	if (l->epoll >= 0)
		close(l->epoll);
	l->multi = NULL;
	l->epoll = -1;
}

void outbound_free(struct outbound *o)
{
	if (!o)
		return;
	for (unsigned i = 0; i < o->lanes_n; i++)
		lane_clear(&o->lanes[i]);
	pthread_mutex_destroy(&o->lock);
	arena_release(&o->arena);
	free(o);
}

struct str outbound_base(const struct outbound *o)
{
	return o->base;
}

/* ------------------------------------------------------------------- lanes */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct lane *l = arg;
	struct epoll_event ev = {.data.fd = fd};

	(void)easy, (void)known;
	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, &ev);
		return 0;
	}
	ev.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(l->epoll, EPOLL_CTL_MOD, fd, &ev) != 0 && errno == ENOENT)
		return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev);
	return 0;
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
	struct lane *l = arg;

	(void)multi;
	l->timer_at = ms < 0 ? NEVER : clock_mono_ns() + (uint64_t)ms * MS;
	return 0;
}

static enum err lane_make(struct lane *l)
{
	if (l->multi)
		return OK;
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return err_set(E_LIMIT, "no descriptor for a request to a service: %s", strerror(errno));
	l->multi = curl_multi_init();
	if (!l->multi) {
		lane_clear(l);
		return err_set(E_LIMIT, "out of memory for a request to a service");
	}
	l->timer_at = NEVER;
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, 2L);
	return OK;
}

static void lane_give(struct outbound *o, struct lane *l)
{
	uint64_t one = 1;
	struct turn *t = NULL;

	pthread_mutex_lock(&o->lock);
	if (list_empty(&o->line) && l->multi && o->warm >= o->kept) {
		pthread_mutex_unlock(&o->lock); /* closing takes its time */
		lane_clear(l);
		pthread_mutex_lock(&o->lock);
	}
	if (list_empty(&o->line)) {
		if (l->multi)
			list_add_head(&o->idle, &l->node);
		else
			list_add_tail(&o->idle, &l->node);
		o->warm += l->multi != NULL;
	} else {
		t = CONTAINER(o->line.next, struct turn, node);
		list_del(&t->node);
		o->waiting--;
		t->lane = l;
		/* Under the lock: the waiter cannot leave, and close its descriptor, before this has been written. */
		ssize_t wrote = write(t->fd, &one, sizeof one);
		(void)wrote; /* an eventfd at 0 always takes it */
	}
	pthread_mutex_unlock(&o->lock);
}

static enum err wait_turn(struct outbound *o, struct turn *t, uint64_t deadline)
{
	enum err e = wait_fd(t->fd, WAIT_READ, deadline, NULL);

	pthread_mutex_lock(&o->lock);
	if (!t->lane) {
		list_del(&t->node);
		o->waiting--;
	}
	pthread_mutex_unlock(&o->lock);
	if (e != OK && t->lane)
		lane_give(o, t->lane); /* its turn came too late */
	if (e == E_TIMEOUT)
		return err_set(E_TIMEOUT, "%.*s was not asked in time: all %u requests that it is allowed were under way",
			       STR_ARG(o->host), o->lanes_n);
	return e;
}

static enum err lane_take(struct outbound *o, uint64_t deadline, struct lane **out)
{
	struct turn t = {.fd = -1};
	bool full = false, wait = false;
	enum err e = OK;

	pthread_mutex_lock(&o->lock);
	if (!list_empty(&o->idle)) {
		t.lane = CONTAINER(o->idle.next, struct lane, node);
		list_del(&t.lane->node);
		o->warm -= t.lane->multi != NULL;
	} else if (o->waiting >= OUTBOUND_LINE_MAX) {
		full = true;
	} else if ((t.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0) {
		list_add_tail(&o->line, &t.node);
		o->waiting++;
		wait = true;
	}
	pthread_mutex_unlock(&o->lock);
	if (full)
		return err_set(E_BUSY, "%d requests wait for %.*s already", OUTBOUND_LINE_MAX, STR_ARG(o->host));
	if (!wait && !t.lane)
		return err_set(E_LIMIT, "no descriptor to wait for %.*s: %s", STR_ARG(o->host), strerror(errno));
	if (wait) {
		e = wait_turn(o, &t, deadline);
		close(t.fd);
	}
	if (e != OK)
		return e;
	e = lane_make(t.lane);
	if (e != OK)
		lane_give(o, t.lane);
	*out = t.lane;
	return e;
}

/* ------------------------------------------------------- what curl tells us */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct outbound_stream *s = arg;

	n *= size;
	if (n > s->max_body - s->total) {
		s->too_large = true;
		return 0;
	}
	if (s->in.n > 0 && n > HOLD_MAX - s->in.n) {
		s->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	s->total += n;
	buf_put(&s->in, p, n);
	s->no_memory = s->in.err != OK;
	return s->no_memory ? 0 : n;
}

static void keep_header(struct outbound_stream *s, struct str name, struct str value)
{
	struct outbound_reply *r = s->reply;
	char *low;

	if (r->headers_n == OUTBOUND_HEADERS_MAX || name.n + value.n > OUTBOUND_HEAD_BYTES - s->head_used)
		return;
	low = arena_cstr(s->arena, name);
	value = arena_str(s->arena, value);
	if (!low || !value.p) {
		s->no_memory = true;
		return;
	}
	for (char *c = low; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	s->head_used += name.n + value.n;
	r->headers[r->headers_n++] = (struct outbound_header){str_of(low, name.n), value};
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct outbound_stream *s = arg;
	struct str line = str_of(p, size * n), name, value;
	long status = 0;

	s->started = true;
	if (str_starts(line, STR("HTTP/"))) {
		s->reply->headers_n = 0; /* an interim answer came before */
		s->head_used = 0;
	} else if (str_trim(line).n == 0) {
		curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
		s->reply->status = (int)status;
		s->head_done = status >= 200;
	} else if (str_cut(line, ':', &name, &value) && !s->head_done) { /* behind the body: trailers */
		keep_header(s, name, str_trim(value));
	}
	return s->no_memory ? 0 : line.n;
}

/* ------------------------------------------------------------- the transfer */

struct due {
	struct outbound_stream *s;
	struct epoll_event ev[EVENTS];
	int n;
};

/* Lets curl do what is due: for the sockets in ev, or for its clock. */
static enum err advance(void *arg)
{
	struct due *d = arg;
	struct outbound_stream *s = d->s;
	struct lane *l = s->lane;
	CURLMsg *m;
	int running, left;

	for (int i = 0; i < d->n; i++) {
		unsigned got = d->ev[i].events;
		int mask = (got & (EPOLLIN | EPOLLHUP | EPOLLRDHUP) ? CURL_CSELECT_IN : 0) |
			   (got & EPOLLOUT ? CURL_CSELECT_OUT : 0) | (got & EPOLLERR ? CURL_CSELECT_ERR : 0);

		(void)curl_multi_socket_action(l->multi, d->ev[i].data.fd, mask, &running);
	}
	if (l->timer_at != NEVER && clock_mono_ns() >= l->timer_at) {
		l->timer_at = NEVER;
		(void)curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	while ((m = curl_multi_info_read(l->multi, &left))) {
		if (m->msg != CURLMSG_DONE || m->easy_handle != s->easy)
			continue;
		s->done = true;
		s->code = m->data.result;
	}
	return OK;
}

static enum err too_late(const struct outbound_stream *s, uint64_t now)
{
	const struct outbound *o = s->o;

	if (now >= s->deadline || now >= fiber_deadline())
		return err_set(E_TIMEOUT, "%.*s did not answer in time", STR_ARG(o->host));
	return err_set(E_TIMEOUT, "%.*s sent nothing for %llu ms", STR_ARG(o->host), (unsigned long long)(s->idle_ns / MS));
}

/* One wait and one step. */
static enum err step(struct outbound_stream *s)
{
	struct lane *l = s->lane;
	struct due d = {.s = s};
	uint64_t quiet = s->idle_ns ? s->last + s->idle_ns : NEVER, at = quiet < s->deadline ? quiet : s->deadline, now;
	enum err e = wait_fd(l->epoll, WAIT_READ, l->timer_at < at ? l->timer_at : at, NULL);

	now = clock_mono_ns();
	if (e == E_TIMEOUT && (now >= at || now >= fiber_deadline()))
		return too_late(s, now);
	if (e != OK && e != E_TIMEOUT)
		return e;
	d.n = epoll_wait(l->epoll, d.ev, EVENTS, 0);
	if (d.n > 0)
		s->last = now;
	return s->o->secure && !s->started ? work_run(advance, &d) : advance(&d);
}

static enum err failure(const struct outbound_stream *s)
{
	const struct outbound *o = s->o;

	if (s->too_large)
		return err_kind(E_LIMIT, ERR_SIZE, "the answer of %.*s is larger than %zu bytes", STR_ARG(o->host), s->max_body);
	if (s->no_memory || s->code == CURLE_OUT_OF_MEMORY)
		return err_set(E_LIMIT, "out of memory for the answer of %.*s", STR_ARG(o->host));
	if (s->code == CURLE_OPERATION_TIMEDOUT)
		return err_set(E_TIMEOUT, "no connection to %.*s within %u ms", STR_ARG(o->host), (unsigned)o->connect_ms);
	if (s->refused && !s->started)
		return err_set(E_DENIED, "%.*s leads to an address that may not be connected to", STR_ARG(o->host));
	if (s->started)
		return err_set(E_UPSTREAM, "%.*s broke off its answer: %s", STR_ARG(o->host),
			       s->why[0] ? s->why : curl_easy_strerror(s->code));
	return err_set(E_UPSTREAM, "%.*s is not reachable: %s", STR_ARG(o->host), s->why[0] ? s->why : curl_easy_strerror(s->code));
}

/* ----------------------------------------------------------------- requests */

static bool add(struct outbound_stream *s, struct str line)
{
	struct curl_slist *l = line.p ? curl_slist_append(s->heads, line.p) : NULL;

	if (l)
		s->heads = l;
	return l != NULL;
}

static bool one_line(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' && s.p[i] != '\t')
			return false;
	return true;
}

static bool says(const struct outbound_request *rq, const char *name)
{
	for (size_t i = 0; i < rq->headers_n; i++)
		if (str_ieq(rq->headers[i].name, str_c(name)))
			return true;
	return false;
}

static bool add_trace(struct outbound_stream *s, const struct outbound_request *rq)
{
	const struct trace_context *t = rq->trace;

	if (!t || !t->parent[0] || says(rq, "traceparent"))
		return true;
	if (!add(s, arena_printf(s->arena, "traceparent: %s", t->parent)))
		return false;
	return !t->state.n || !one_line(t->state) || add(s, arena_printf(s->arena, "tracestate: %.*s", STR_ARG(t->state)));
}

static enum err set_headers(struct outbound_stream *s, const struct outbound_request *rq)
{
	struct arena *a = s->arena;
	bool ok = add(s, STR("Expect:"));

	ok = ok && add(s, rq->body.n ? arena_printf(a, "Content-Type: %s", rq->content_type ? rq->content_type : "application/json")
				     : STR("Content-Type:"));
	ok = ok && add(s, arena_printf(a, "User-Agent: cenote/%s", CENOTE_VERSION));
	if (rq->bearer.n && !one_line(rq->bearer))
		return err_set(E_INVALID, "the key for %.*s has control characters", STR_ARG(s->o->host));
	if (rq->bearer.n)
		ok = ok && add(s, arena_printf(a, "Authorization: Bearer %.*s", STR_ARG(rq->bearer)));
	for (size_t i = 0; ok && i < rq->headers_n; i++) {
		if (!one_line(rq->headers[i].name) || !one_line(rq->headers[i].value))
			return err_set(E_INVALID, "a header for %.*s has control characters", STR_ARG(s->o->host));
		ok = add(s, arena_printf(a, "%.*s: %.*s", STR_ARG(rq->headers[i].name), STR_ARG(rq->headers[i].value)));
	}
	ok = ok && add_trace(s, rq);
	return ok ? OK : err_set(E_LIMIT, "out of memory for a request to %.*s", STR_ARG(s->o->host));
}

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct outbound_stream *s = ctx;

	if (purpose != CURLSOCKTYPE_IPCXN || !s->o->address_ok(s->o->address_ctx, &to->addr)) {
		s->refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

static void set_options(struct outbound_stream *s, const struct outbound_request *rq, struct str url)
{
	CURL *c = s->easy;
	bool head = strcmp(rq->method, "HEAD") == 0;

	curl_easy_setopt(c, CURLOPT_URL, url.p);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
	if (s->o->ca_file) {
		curl_easy_setopt(c, CURLOPT_CAINFO, s->o->ca_file);
		curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)s->o->connect_ms);
	/* Without it, giving up while a name is looked up would wait for the end of the look-up. */
	curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
	/* A proxy of the environment must not see what is said to this machine. */
	curl_easy_setopt(c, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
	if (s->o->address_ok) {
		curl_easy_setopt(c, CURLOPT_PROXY, "");
		curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
		curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, s);
	}
	curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, s->why);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, s->heads);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, s);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, s);
	if (rq->small)
		curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 4096L);
	if (head)
		curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	if (rq->body.n || strcmp(rq->method, "POST") == 0) {
		curl_easy_setopt(c, CURLOPT_POST, 1L);
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body.n);
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, rq->body.n ? rq->body.p : "");
	}
	if (!head)
		curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, rq->method);
}

static enum err begin(struct outbound_stream *s, const struct outbound_request *rq)
{
	struct str url = arena_printf(s->arena, "%.*s%.*s", STR_ARG(s->o->base), STR_ARG(rq->path));

	if (!url.p)
		return E_NOMEM;
	TRY(set_headers(s, rq));
	s->easy = curl_easy_init();
	if (!s->easy)
		return err_set(E_LIMIT, "out of memory for a request to %.*s", STR_ARG(s->o->host));
	set_options(s, rq, url);
	if (curl_multi_add_handle(s->lane->multi, s->easy) != CURLM_OK)
		return err_set(E_LIMIT, "out of memory for a request to %.*s", STR_ARG(s->o->host));
	s->last = clock_mono_ns();
	while (!s->head_done && !s->done)
		TRY(step(s));
	/* An answer that has broken off by now is still one as far as it goes: whoever reads it finds its end. */
	return s->head_done ? OK : failure(s);
}

enum err outbound_open(struct outbound *o, struct arena *a, const struct outbound_request *rq, struct outbound_reply *out,
		       struct outbound_stream **stream)
{
	struct outbound_stream *s = ARENA_NEW(a, struct outbound_stream);
	enum err e;

	*out = (struct outbound_reply){.headers = ARENA_ARRAY(a, struct outbound_header, OUTBOUND_HEADERS_MAX)};
	if (!s || !out->headers)
		return E_NOMEM;
	*s = (struct outbound_stream){.o = o,
				      .arena = a,
				      .reply = out,
				      .max_body = rq->max_body,
				      .deadline = rq->deadline_ns ? rq->deadline_ns : NEVER,
				      .idle_ns = rq->idle_ms * MS};
	buf_init(&s->in, NULL, HOLD_MAX + CURL_MAX_WRITE_SIZE);
	TRY(lane_take(o, s->deadline, &s->lane));
	e = begin(s, rq);
	if (e != OK) {
		struct diag d = *diag_get();

		outbound_close(s);
		*diag_get() = d;
		return e;
	}
	*stream = s;
	return OK;
}

enum err outbound_read(struct outbound_stream *s, struct str *piece)
{
	if (s->handed)
		buf_clear(&s->in);
	s->handed = false;
	*piece = STR("");
	if (s->paused && s->in.n == 0) {
		s->paused = false;
		curl_easy_pause(s->easy, CURLPAUSE_CONT); /* hands over what it held back */
	}
	while (s->in.n == 0 && !s->done)
		TRY(step(s));
	if (s->in.n == 0 && s->code != CURLE_OK)
		return failure(s);
	if (s->in.n) {
		*piece = buf_slice(&s->in);
		s->handed = true;
	}
	return OK;
}

void outbound_close(struct outbound_stream *s)
{
	if (!s)
		return;
	if (s->easy) {
		curl_multi_remove_handle(s->lane->multi, s->easy);
		curl_easy_cleanup(s->easy);
	}
	curl_slist_free_all(s->heads);
	buf_release(&s->in);
	lane_give(s->o, s->lane);
}

enum err outbound_call(struct outbound *o, struct arena *a, const struct outbound_request *rq, struct outbound_reply *out)
{
	struct outbound_stream *s;
	struct str piece;
	struct buf body;
	enum err e;

	TRY(outbound_open(o, a, rq, out, &s));
	buf_init(&body, a, rq->max_body + 1);
	do {
		CHECK(outbound_read(s, &piece));
		buf_str(&body, piece);
		CHECK(body.err);
	} while (piece.n);
	out->body = body.n ? buf_slice(&body) : STR("");
out:
	if (e != OK) {
		struct diag d = *diag_get();

		outbound_close(s);
		*diag_get() = d;
		return e;
	}
	outbound_close(s);
	return OK;
}

struct str outbound_header(const struct outbound_reply *r, const char *name)
{
	for (size_t i = 0; i < r->headers_n; i++)
		if (str_eq(r->headers[i].name, str_c(name)))
			return r->headers[i].value;
	return STR("");
}

uint64_t outbound_retry_after(const struct outbound_reply *r)
{
	struct str ms = outbound_header(r, "retry-after-ms"), s = outbound_header(r, "retry-after"), whole, part;
	int64_t v;
	time_t at;

	str_cut(ms, '.', &whole, &part);
	if (str_int(whole, 0, INT64_C(86400000), &v))
		return (uint64_t)v;
	str_cut(s, '.', &whole, &part);
	if (str_int(whole, 0, 86400, &v))
		return (uint64_t)v * 1000;
	at = s.n ? curl_getdate(s.p, NULL) : -1;
	v = at < 0 ? 0 : (int64_t)at * 1000 - clock_wall_us() / 1000;
	return v > 0 ? (uint64_t)v : 0;
}
