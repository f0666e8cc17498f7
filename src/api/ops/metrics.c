/* GET /metrics: the figures of every module in Prometheus text, each with its HELP and TYPE. */
#include "api/ops/impl.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef CENOTE_REVISION
#define CENOTE_REVISION "unknown"
#endif

static const size_t metrics_max = (size_t)4 << 20;

static void gauge(struct buf *out, const char *name, const char *type, const char *help, double v)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, v);
}

static double resident_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	char line[128];
	const char *p = NULL;
	double pages;

	if (f && fgets(line, sizeof line, f))
		p = strchr(line, ' ');
	pages = p ? (double)strtoull(p + 1, NULL, 10) : 0;
	if (f)
		fclose(f);
	return pages;
}

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	if (!d)
		return 0;
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n - 1; /* the directory itself */
}

/* The digits at p as a number. */
static double number_at(const char *p)
{
	return p ? (double)strtoull(p, NULL, 10) : 0;
}

/* Seconds since the epoch at which the process began. */
static double start_time(void)
{
	FILE *f = fopen("/proc/self/stat", "re"), *up = fopen("/proc/stat", "re");
	double ticks = 0, boot = 0;
	char line[1024];
	size_t n = f ? fread(line, 1, sizeof line - 1, f) : 0;
	const char *p;

	line[n] = 0;
	/* Field 22; the name in parentheses may hold blanks, so counting begins behind it. */
	p = strrchr(line, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	ticks = number_at(p);
	while (up && boot == 0 && fgets(line, sizeof line, up))
		if (str_starts(str_c(line), STR("btime ")))
			boot = number_at(line + 6);
	if (f)
		fclose(f);
	if (up)
		fclose(up);
	return boot + ticks / (double)sysconf(_SC_CLK_TCK);
}

void ops_process_metrics(struct buf *out)
{
	struct rusage ru;
	struct rlimit rl;
	double cpu = 0;

	if (getrusage(RUSAGE_SELF, &ru) == 0)
		cpu = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) + (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
	gauge(out, "process_cpu_seconds_total", "counter", "User and system CPU time.", cpu);
	gauge(out, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_pages() * (double)sysconf(_SC_PAGESIZE));
	gauge(out, "process_open_fds", "gauge", "Open file descriptors.", open_files());
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0)
		gauge(out, "process_max_fds", "gauge", "Most file descriptors that may be open.", (double)rl.rlim_cur);
	gauge(out, "process_start_time_seconds", "gauge", "When the process began, since the epoch.", start_time());
}

void ops_metrics(struct http_req *rq, void *ctx)
{
	struct api_ops *o = ctx;
	struct buf b;
	double ms = 0;

	if (o->no_metrics) {
		rs_error(rq, err_set(E_NOT_FOUND, "metrics are switched off"));
		return;
	}
	buf_init(&b, rq_arena(rq), metrics_max);
	buf_printf(&b,
		   "# HELP cenote_build_info Always 1; the labels say what was built.\n# TYPE cenote_build_info gauge\n"
		   "cenote_build_info{version=\"%s\",revision=\"%s\",compiler=\"%s\"} 1\n",
		   CENOTE_VERSION, CENOTE_REVISION, __VERSION__);
	ops_process_metrics(&b);
	gauge(&b, "cenote_store_up", "gauge", "1 when the store answers.", ops_store_state(o, &ms) == OK);
	http_metrics(&b);
	if (o->memory)
		memory_metrics(o->memory, &b);
	if (o->metrics)
		o->metrics(o->metrics_arg, &b);
	if (b.err != OK)
		rs_error(rq, b.err);
	else
		rs_send(rq, 200, "text/plain; version=0.0.4; charset=utf-8", buf_slice(&b));
}
