/* Taking, keeping and lining up traces. See traces.h.
 *
 * Invariants
 *  1. Every pointer in kept and line is a reference of its own to a copy that nobody changes.
 *  2. kept.bytes and line.bytes are the sums of the sizes of what lies there.
 *  3. The lock is held for moving pointers only: never for copying, encoding or freeing. */
#include "obs/traces.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "obs/impl.h"

#define LINE_BYTES_MAX ((size_t)32 << 20) /* that wait to be sent */
#define CONNECT_MS 5000u

/* ------------------------------------------------------------------- keeping */

/* Makes room for one more of n bytes; what leaves goes to out (at most two: one a trace, more when they are small). */
static size_t make_room(struct kept *k, size_t n, struct trace **out, size_t most)
{
	size_t left = 0;

	while (k->n && left < most && (k->n == k->most || k->bytes + n > k->most_bytes)) {
		struct trace *t = k->v[k->first];

		k->first = (k->first + 1) % k->most;
		k->n--;
		k->bytes -= trace_bytes(t);
		out[left++] = t;
	}
	return left;
}

#define LEAVE_MAX 64

static void keep(struct traces *tr, struct trace *t)
{
	struct kept *k = &tr->kept;
	struct trace *gone[LEAVE_MAX];
	size_t n = 0;
	bool fits;

	if (!k->most || !t->tenant.n || trace_bytes(t) > k->most_bytes)
		return;
	do {
		pthread_mutex_lock(&tr->lock);
		n = make_room(k, trace_bytes(t), gone, LEAVE_MAX);
		fits = k->n < k->most && k->bytes + trace_bytes(t) <= k->most_bytes;
		if (fits) {
			k->v[(k->first + k->n++) % k->most] = trace_ref(t);
			k->bytes += trace_bytes(t);
		}
		pthread_mutex_unlock(&tr->lock);
		for (size_t i = 0; i < n; i++)
			trace_unref(gone[i]);
	} while (!fits);
}

static size_t list(struct tracer *base, const struct principal *who, struct trace **out, size_t most)
{
	struct traces *tr = (struct traces *)base;
	size_t n = 0;

	pthread_mutex_lock(&tr->lock);
	for (uint32_t i = tr->kept.n; i-- > 0 && n < most;) {
		struct trace *t = tr->kept.v[(tr->kept.first + i) % tr->kept.most];

		if (trace_seen_by(t, who))
			out[n++] = trace_ref(t);
	}
	pthread_mutex_unlock(&tr->lock);
	return n;
}

static struct trace *get(struct tracer *base, const struct principal *who, const uint8_t id[TRACE_ID_BYTES])
{
	struct traces *tr = (struct traces *)base;
	struct trace *found = NULL;

	pthread_mutex_lock(&tr->lock);
	for (uint32_t i = tr->kept.n; i-- > 0 && !found;) {
		struct trace *t = tr->kept.v[(tr->kept.first + i) % tr->kept.most];

		if (memcmp(t->id, id, TRACE_ID_BYTES) == 0 && trace_seen_by(t, who))
			found = trace_ref(t);
	}
	pthread_mutex_unlock(&tr->lock);
	return found;
}

/* ---------------------------------------------------------------- lining up */

void traces_count_drop(struct traces *tr, enum drop why, uint64_t n)
{
	atomic_fetch_add_explicit(&tr->dropped[why], n, memory_order_relaxed);
}

static void line_up(struct traces *tr, struct trace *t)
{
	struct line *l = &tr->line;
	uint64_t one = 1;
	bool fits, wake;

	pthread_mutex_lock(&tr->lock);
	fits = l->n < l->most && l->bytes + trace_bytes(t) <= LINE_BYTES_MAX && !tr->draining;
	if (fits) {
		l->v[(l->first + l->n++) % l->most] = trace_ref(t);
		l->bytes += trace_bytes(t);
		atomic_fetch_add_explicit(&tr->waiting, 1, memory_order_relaxed);
	}
	wake = fits && tr->idle;
	tr->idle = tr->idle && !wake;
	pthread_mutex_unlock(&tr->lock);
	if (!fits)
		traces_count_drop(tr, DROP_QUEUE, 1);
	if (wake && write(tr->wake_fd, &one, sizeof one) < 0)
		return; /* an eventfd at 0 always takes it */
}

size_t traces_next(struct traces *tr, struct trace **out, size_t most, size_t bytes)
{
	struct line *l = &tr->line;
	size_t n = 0, sum = 0;

	pthread_mutex_lock(&tr->lock);
	while (l->n && n < most) {
		struct trace *t = l->v[l->first];

		if (n && sum + trace_bytes(t) > bytes)
			break;
		sum += trace_bytes(t);
		l->bytes -= trace_bytes(t);
		l->first = (l->first + 1) % l->most;
		l->n--;
		out[n++] = t;
	}
	tr->idle = n == 0;
	pthread_mutex_unlock(&tr->lock);
	return n;
}

static void take(struct tracer *base, const struct trace *t)
{
	struct traces *tr = (struct traces *)base;
	bool send = tr->out && t->sampled;
	struct trace *copy = tr->kept.most || send ? trace_copy(t) : NULL;

	atomic_fetch_add_explicit(&tr->taken, 1, memory_order_relaxed);
	if (!copy) {
		if (send)
			traces_count_drop(tr, DROP_MEMORY, 1);
		return;
	}
	keep(tr, copy);
	if (send)
		line_up(tr, copy);
	trace_unref(copy);
}

/* ------------------------------------------------------------ opening, closing */

static const struct tracer_ops ops = {.take = take, .list = list, .get = get};

static enum err open_sending(struct traces *tr, const struct traces_options *opt)
{
	struct outbound_options oo = {.base = opt->endpoint, .concurrency = 1, .connect_ms = CONNECT_MS, .ca_file = opt->ca_file};

	if (outbound_base_check(opt->endpoint) != OK)
		return err_wrap(E_INVALID, "traces.endpoint");
	TRY(traces_headers(tr, opt));
	TRY(outbound_new(&oo, &tr->out));
	tr->url = outbound_base(tr->out);
	tr->timeout_ms = opt->timeout_ms;
	tr->backoff_ms = opt->backoff_ms ? opt->backoff_ms : 500;
	tr->token = arena_str(&tr->arena, opt->token);
	tr->line.most = opt->queue ? opt->queue : 1;
	tr->line.v = calloc(tr->line.most, sizeof *tr->line.v);
	tr->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	tr->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	tr->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!tr->line.v || !tr->token.p || tr->wake_fd < 0 || tr->stop_fd < 0 || tr->done_fd < 0)
		return err_set(E_LIMIT, "out of memory or descriptors for traces");
	return OK;
}

enum err traces_open(const struct traces_options *opt, struct traces **out)
{
	struct traces *tr;
	enum err e = OK;

	*out = NULL;
	if (!opt->keep && !opt->endpoint.n)
		return OK;
	tr = calloc(1, sizeof *tr);
	if (!tr)
		return err_set(E_LIMIT, "out of memory for traces");
	tr->base = (struct tracer){.ops = &ops, .contents = opt->contents};
	tr->wake_fd = tr->stop_fd = tr->done_fd = -1;
	arena_init(&tr->arena, (size_t)1 << 20);
	pthread_mutex_init(&tr->lock, NULL);
	tr->kept.most = opt->keep;
	tr->kept.most_bytes = opt->keep_bytes;
	if (opt->keep) {
		tr->kept.v = calloc(opt->keep, sizeof *tr->kept.v);
		CHECK(tr->kept.v ? OK : err_set(E_LIMIT, "out of memory for %u traces", opt->keep));
	}
	if (opt->endpoint.n)
		CHECK(open_sending(tr, opt));
	tr->base.sends = tr->out != NULL;
	*out = tr;
	return OK;
out:
	traces_close(tr);
	return e;
}

static void free_ring(struct trace **v, uint32_t most, uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; most && i < n; i++)
		trace_unref(v[(first + i) % most]);
	free(v);
}

void traces_close(struct traces *tr)
{
	if (!tr)
		return;
	free_ring(tr->kept.v, tr->kept.most, tr->kept.first, tr->kept.n);
	free_ring(tr->line.v, tr->line.most, tr->line.first, tr->line.n);
	outbound_free(tr->out);
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? tr->wake_fd : i == 1 ? tr->stop_fd : tr->done_fd;

		if (fd >= 0)
			close(fd);
	}
	if (tr->token.n)
		explicit_bzero((char *)(uintptr_t)tr->token.p, tr->token.n);
	for (size_t i = 0; i < tr->headers_n; i++)
		explicit_bzero((char *)(uintptr_t)tr->headers[i].value.p, tr->headers[i].value.n);
	arena_release(&tr->arena);
	pthread_mutex_destroy(&tr->lock);
	free(tr);
}

struct tracer *traces_tracer(struct traces *tr)
{
	return tr ? &tr->base : NULL;
}

bool traces_sends(const struct traces *tr)
{
	return tr && tr->out;
}

bool traces_drain(struct traces *tr, uint32_t ms)
{
	uint64_t one = 1, left;
	struct pollfd p = {.fd = tr->done_fd, .events = POLLIN};

	pthread_mutex_lock(&tr->lock);
	tr->draining = true;
	tr->drain_end = deadline_in_ms(ms);
	pthread_mutex_unlock(&tr->lock);
	if (write(tr->stop_fd, &one, sizeof one) < 0 || write(tr->wake_fd, &one, sizeof one) < 0)
		return false;
	(void)poll(&p, 1, (int)ms);
	left = atomic_load(&tr->waiting);
	if (left)
		LOG(LOG_WARN, "traces", "traces could not be sent before the end", LF_INT("count", (int64_t)left));
	traces_count_drop(tr, DROP_SHUTDOWN, left);
	return left == 0;
}

/* -------------------------------------------------------------------- metrics */

static void figure(struct buf *out, const char *name, const char *type, const char *help, uint64_t v)
{
	buf_printf(out, "# HELP cenote_traces_%s %s\n# TYPE cenote_traces_%s %s\ncenote_traces_%s %llu\n", name, help, name, type,
		   name, (unsigned long long)v);
}

void traces_metrics(const struct traces *tr, struct buf *out)
{
	static const char *const reasons[DROP_REASONS] = {
		[DROP_QUEUE] = "queue", [DROP_REFUSED] = "refused", [DROP_SHUTDOWN] = "shutdown", [DROP_MEMORY] = "memory"};

	figure(out, "total", "counter", "Traces of turns.", tr ? atomic_load(&tr->taken) : 0);
	figure(out, "exported_total", "counter", "Traces that the collector took.", tr ? atomic_load(&tr->sent) : 0);
	figure(out, "exported_spans_total", "counter", "Spans that the collector took.", tr ? atomic_load(&tr->spans) : 0);
	figure(out, "export_requests_total", "counter", "Requests to the collector.", tr ? atomic_load(&tr->requests) : 0);
	figure(out, "export_failures_total", "counter", "Requests to the collector that failed.",
	       tr ? atomic_load(&tr->failures) : 0);
	figure(out, "queue_length", "gauge", "Traces that wait to be sent.", tr ? atomic_load(&tr->waiting) : 0);
	buf_lit(out, "# HELP cenote_traces_dropped_total Traces that were not sent.\n# TYPE cenote_traces_dropped_total counter\n");
	for (int i = 0; i < DROP_REASONS; i++)
		buf_printf(out, "cenote_traces_dropped_total{reason=\"%s\"} %llu\n", reasons[i],
			   tr ? (unsigned long long)atomic_load(&tr->dropped[i]) : 0ull);
}
