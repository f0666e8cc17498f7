/* Health: alive (the loop answers), ready (the store answers and we are not draining), started (ready once).
 *
 * Invariant: the store is asked at most once a second however often a probe comes: whoever moves asked_at_ns forward asks; the
 * others take the last answer. */
#include "api/ops/impl.h"
#include "base/clock.h"
#include "base/json/json.h"

static const uint64_t ask_every_ns = 1000000000u;

static void ask(struct api_ops *o)
{
	struct store *s = memory_store(o->memory);
	uint64_t from = clock_mono_ns();
	enum err e = s->ops->ping(s);

	atomic_store_explicit(&o->ping, (int)e, memory_order_relaxed);
	atomic_store_explicit(&o->ping_us, (int64_t)((clock_mono_ns() - from) / 1000u), memory_order_relaxed);
}

enum err ops_store_state(struct api_ops *o, double *ms)
{
	uint64_t now = clock_mono_ns();
	uint_fast64_t asked = atomic_load_explicit(&o->asked_at_ns, memory_order_acquire);

	if (!o->memory)
		return E_INTERNAL;
	/* The first look has no earlier answer to take: every early comer asks for itself. */
	if (asked == 0) {
		ask(o);
		atomic_store_explicit(&o->asked_at_ns, now ? now : 1, memory_order_release);
	} else if (now - asked >= ask_every_ns && atomic_compare_exchange_strong(&o->asked_at_ns, &asked, now)) {
		ask(o);
	}
	*ms = (double)atomic_load_explicit(&o->ping_us, memory_order_relaxed) / 1000.0;
	return (enum err)atomic_load_explicit(&o->ping, memory_order_relaxed);
}

struct check {
	const char *name;
	bool ok;
	const char *detail;
	double ms; /* below 0: not measured */
};

static bool contains(struct str s, struct str part)
{
	for (size_t i = 0; i + part.n <= s.n; i++)
		if (memcmp(s.p + i, part.p, part.n) == 0)
			return true;
	return false;
}

static enum err write_checks(struct buf *b, const char *status, const struct check *checks, size_t n)
{
	struct jw w;

	jw_init(&w, b);
	jw_obj(&w);
	jw_key(&w, "status");
	jw_cstr(&w, status);
	jw_key(&w, "checks");
	jw_arr(&w);
	for (size_t i = 0; i < n; i++) {
		jw_obj(&w);
		jw_key(&w, "name");
		jw_cstr(&w, checks[i].name);
		jw_key(&w, "status");
		jw_cstr(&w, checks[i].ok ? "ok" : "fail");
		if (!checks[i].ok) {
			jw_key(&w, "detail");
			jw_cstr(&w, checks[i].detail);
		}
		if (checks[i].ms >= 0) {
			jw_key(&w, "ms");
			jw_double(&w, checks[i].ms);
		}
		jw_end_obj(&w);
	}
	jw_end_arr(&w);
	jw_key(&w, "version");
	jw_cstr(&w, CENOTE_VERSION);
	jw_end_obj(&w);
	return b->err;
}

/* "ok" or the word for not, or the checks as JSON when asked. */
static void answer(struct http_req *rq, const char *word, const struct check *checks, size_t n)
{
	int status = 200;
	struct buf b;
	bool verbose;
	enum err e;

	for (size_t i = 0; i < n; i++)
		if (!checks[i].ok)
			status = 503;
	e = rq_query_bool(rq, "verbose", false, &verbose);
	if (e == OK && !verbose && !contains(rq_header(rq, "Accept"), STR("application/json"))) {
		rs_send(rq, status, "text/plain; charset=utf-8", str_c(status == 200 ? "ok" : word));
		return;
	}
	buf_init(&b, rq_arena(rq), 16 << 10);
	if (e == OK)
		e = write_checks(&b, status == 200 ? "ok" : word, checks, n);
	if (e == OK)
		rs_json(rq, status, buf_slice(&b));
	else
		rs_error(rq, e);
}

void ops_livez(struct http_req *rq, void *ctx)
{
	struct check c = {"loop", true, "", -1};

	answer(rq, "dead", &c, 1);
}

static void look(struct api_ops *o, struct check c[2])
{
	double ms = -1;
	enum err e = ops_store_state(o, &ms);
	bool serving = atomic_load(&o->ready);

	c[0] = (struct check){"serving", serving, "starting or draining", -1};
	c[1] = (struct check){"store", e == OK, err_name(e), ms};
	if (serving && e == OK)
		atomic_store(&o->started, true);
}

void ops_readyz(struct http_req *rq, void *ctx)
{
	struct check c[2];

	look(ctx, c);
	answer(rq, "unready", c, 2);
}

void ops_startupz(struct http_req *rq, void *ctx)
{
	struct api_ops *o = ctx;
	struct check c[2], started = {"started", true, "not ready yet", -1};

	if (!atomic_load(&o->started))
		look(o, c);
	started.ok = atomic_load(&o->started);
	answer(rq, "starting", &started, 1);
}

void ops_health(struct http_req *rq, void *ctx)
{
	rs_json(rq, 200, STR("{\"status\":\"healthy\"}"));
}
