/* Counters of a server and their sum over the process as Prometheus text.
 *
 * Invariants
 *  1. A row is written by its server's loop thread only; any thread may read it: all accesses are relaxed atomics.
 *  2. Labels are closed sets: methods of the router, route templates, "none" for what matched no route. */
#include <pthread.h>
#include <stdlib.h>

#include "http/internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list servers = {&servers, &servers};

static const uint64_t bounds_us[METRIC_BUCKETS] = {500,	   1000,   2500,   5000,    10000,   25000,   50000,
						   100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};
static const char *const bounds_text[METRIC_BUCKETS] = {"0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05",
							"0.1",	  "0.25",  "0.5",    "1",     "2.5",  "5",     "10"};
static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"};
#define METHODS (sizeof methods / sizeof methods[0])

enum err metrics_init(struct metrics *m, const struct http_router *r)
{
	unsigned n = 2 * router_count(r) + (unsigned)METHODS;

	*m = (struct metrics){.router = r, .rows_n = n};
	m->rows = calloc(n, sizeof *m->rows);
	if (!m->rows)
		return err_set(E_LIMIT, "out of memory for the server's counters");
	pthread_mutex_lock(&lock);
	list_add_tail(&servers, &m->node);
	pthread_mutex_unlock(&lock);
	return OK;
}

void metrics_release(struct metrics *m)
{
	if (!m->rows)
		return;
	pthread_mutex_lock(&lock);
	list_del(&m->node);
	pthread_mutex_unlock(&lock);
	free(m->rows);
	m->rows = NULL;
}

static void bump(atomic_uint_fast64_t *v, uint64_t d)
{
	atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + d, memory_order_relaxed);
}

static uint64_t get(const atomic_uint_fast64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static struct metric_row *row_of(struct metrics *m, const struct endpoint *ep, struct str method)
{
	size_t i;

	if (ep)
		return &m->rows[2 * ep->index + (str_eq(method, ep->method) ? 0 : 1)];
	for (i = 0; i < METHODS - 1; i++)
		if (str_eq(method, str_c(methods[i])))
			break;
	return &m->rows[2 * router_count(m->router) + i];
}

void metrics_count(struct metrics *m, const struct endpoint *ep, struct str method, int status, uint64_t duration_ns)
{
	struct metric_row *row = row_of(m, ep, method);
	uint64_t us = duration_ns / 1000;
	unsigned b = 0, c = 0;

	while (b < METRIC_BUCKETS && us > bounds_us[b])
		b++;
	bump(&row->bucket[b], 1);
	bump(&row->sum_us, us);
	/* The last place takes what finds no other; there are fewer codes than places. */
	while (c < METRIC_CODES - 1) {
		unsigned short code = atomic_load_explicit(&row->code[c], memory_order_relaxed);

		if (code == 0)
			atomic_store_explicit(&row->code[c], (unsigned short)status, memory_order_relaxed);
		if (code == 0 || code == status)
			break;
		c++;
	}
	bump(&row->code_count[c], 1);
}

/* --------------------------------------------------------------- exposition */

struct label {
	const char *method, *route;
};

/* Routes are the same in all servers (they share one router), so rows are summed by place; a server with another router is printed
 * with its own. */
static struct label label_of(const struct http_router *r, unsigned i)
{
	unsigned n = router_count(r);

	if (i >= 2 * n)
		return (struct label){methods[i - 2 * n], "none"};
	return (struct label){i % 2 ? "HEAD" : router_endpoint(r, i / 2)->route->method, router_endpoint(r, i / 2)->route->path};
}

static uint64_t sum_bucket(const struct http_router *r, unsigned i, unsigned b)
{
	uint64_t sum = 0;

	LIST_EACH (n, &servers) {
		struct metrics *m = CONTAINER(n, struct metrics, node);

		if (m->router == r)
			sum += get(&m->rows[i].bucket[b]);
	}
	return sum;
}

static uint64_t sum_all(const struct http_router *r, unsigned i)
{
	uint64_t sum = 0;

	for (unsigned b = 0; b <= METRIC_BUCKETS; b++)
		sum += sum_bucket(r, i, b);
	return sum;
}

static void print_codes(struct buf *out, const struct http_router *r, unsigned i)
{
	unsigned short codes[METRIC_CODES * 4];
	uint64_t counts[METRIC_CODES * 4];
	unsigned n = 0;
	struct label l = label_of(r, i);

	LIST_EACH (node, &servers) {
		struct metrics *m = CONTAINER(node, struct metrics, node);

		for (unsigned c = 0; m->router == r && c < METRIC_CODES; c++) {
			uint64_t v = get(&m->rows[i].code_count[c]);
			unsigned short code = atomic_load_explicit(&m->rows[i].code[c], memory_order_relaxed);
			unsigned at = 0;

			if (v == 0)
				continue;
			while (at < n && codes[at] != code)
				at++;
			if (at == METRIC_CODES * 4)
				continue;
			if (at == n) {
				codes[n] = code;
				counts[n++] = 0;
			}
			counts[at] += v;
		}
	}
	for (unsigned k = 0; k < n; k++)
		buf_printf(out, "cenote_http_requests_total{method=\"%s\",route=\"%s\",code=\"%u\"} %llu\n", l.method, l.route,
			   codes[k], (unsigned long long)counts[k]);
}

static void print_histogram(struct buf *out, const struct http_router *r, unsigned i)
{
	struct label l = label_of(r, i);
	uint64_t cumulative = 0, sum_us = 0;

	for (unsigned b = 0; b <= METRIC_BUCKETS; b++) {
		cumulative += sum_bucket(r, i, b);
		buf_printf(out, "cenote_http_request_duration_seconds_bucket{method=\"%s\",route=\"%s\",le=\"%s\"} %llu\n",
			   l.method, l.route, b < METRIC_BUCKETS ? bounds_text[b] : "+Inf", (unsigned long long)cumulative);
	}
	LIST_EACH (node, &servers) {
		struct metrics *m = CONTAINER(node, struct metrics, node);

		if (m->router == r)
			sum_us += get(&m->rows[i].sum_us);
	}
	buf_printf(out, "cenote_http_request_duration_seconds_sum{method=\"%s\",route=\"%s\"} %llu.%06llu\n", l.method, l.route,
		   (unsigned long long)(sum_us / 1000000), (unsigned long long)(sum_us % 1000000));
	buf_printf(out, "cenote_http_request_duration_seconds_count{method=\"%s\",route=\"%s\"} %llu\n", l.method, l.route,
		   (unsigned long long)cumulative);
}

static void each_row(struct buf *out, void (*print)(struct buf *, const struct http_router *, unsigned))
{
	LIST_EACH (node, &servers) {
		struct metrics *m = CONTAINER(node, struct metrics, node);
		bool first = true;

		/* Once per router, at the first server that uses it. */
		for (struct list *p = servers.next; p != node; p = p->next)
			first = first && CONTAINER(p, struct metrics, node)->router != m->router;
		for (unsigned i = 0; first && i < m->rows_n; i++)
			if (sum_all(m->router, i) > 0)
				print(out, m->router, i);
	}
}

void http_metrics(struct buf *out)
{
	int64_t in_flight = 0, connections = 0, shed = 0;

	pthread_mutex_lock(&lock);
	LIST_EACH (node, &servers) {
		struct metrics *m = CONTAINER(node, struct metrics, node);

		in_flight += atomic_load_explicit(&m->in_flight, memory_order_relaxed);
		connections += atomic_load_explicit(&m->connections, memory_order_relaxed);
		shed += atomic_load_explicit(&m->shed, memory_order_relaxed);
	}
	buf_lit(out, "# HELP cenote_http_requests_total Requests answered.\n# TYPE cenote_http_requests_total counter\n");
	each_row(out, print_codes);
	buf_lit(out, "# HELP cenote_http_request_duration_seconds Time from the request line to the end of the answer.\n"
		     "# TYPE cenote_http_request_duration_seconds histogram\n");
	each_row(out, print_histogram);
	buf_lit(out,
		"# HELP cenote_http_requests_in_flight Requests being worked on.\n# TYPE cenote_http_requests_in_flight gauge\n");
	buf_printf(out, "cenote_http_requests_in_flight %lld\n", (long long)in_flight);
	buf_lit(out, "# HELP cenote_http_connections Open client connections.\n# TYPE cenote_http_connections gauge\n");
	buf_printf(out, "cenote_http_connections %lld\n", (long long)connections);
	buf_lit(out, "# HELP cenote_shed_total Connections and requests refused for want of capacity.\n"
		     "# TYPE cenote_shed_total counter\n");
	buf_printf(out, "cenote_shed_total{reason=\"connections\"} %lld\n", (long long)shed);
	pthread_mutex_unlock(&lock);
}
