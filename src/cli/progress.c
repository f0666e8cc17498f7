/* Showing how far a command is. */
#include "cli/progress.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/clock.h"

#define MS 1000000ull
#define BAR 24

enum err progress_begin(struct progress *p, const struct call *c, const char *what, const char *how)
{
	*p = (struct progress){.what = what, .name = ""};
	if (how && strcmp(how, "json") == 0)
		p->how = PROGRESS_JSON;
	else if (how && strcmp(how, "auto") != 0)
		return err_set(E_INVALID, "--progress must be auto or json");
	else
		p->how = c->quiet ? PROGRESS_NONE : isatty(2) ? PROGRESS_BAR : PROGRESS_LINES;
	p->begun_ns = clock_mono_ns();
	p->next_ns = p->begun_ns + (p->how == PROGRESS_BAR ? 500 * MS : p->how == PROGRESS_JSON ? 1000 * MS : 5000 * MS);
	return OK;
}

void progress_file(struct progress *p, const char *name, uint64_t total_bytes)
{
	p->name = name;
	p->total = total_bytes;
}

static void show_bar(struct progress *p, uint64_t count, double rate, uint64_t bytes, double left)
{
	fprintf(stderr, "\r\033[K%s %s%s", p->what, p->name, p->name[0] ? "  " : " ");
	if (p->total) {
		char bar[BAR + 1];
		size_t full = (size_t)((double)bytes / (double)p->total * BAR);
		for (size_t i = 0; i < BAR; i++)
			bar[i] = i < full ? '#' : '.';
		bar[BAR] = '\0';
		fprintf(stderr, "[%s] %3.0f%%  ", bar, 100.0 * (double)bytes / (double)p->total);
	}
	fprintf(stderr, "%" PRIu64 "  %.0f/s", count, rate);
	if (p->total)
		fprintf(stderr, "  %.0f s left", left);
	p->shown = true;
}

void progress_tick(struct progress *p, uint64_t count, uint64_t bytes)
{
	uint64_t now;
	if (p->how == PROGRESS_NONE || (now = clock_mono_ns()) < p->next_ns)
		return;
	double sec = (double)(now - p->begun_ns) / 1e9, rate = (double)count / sec;
	double left = bytes && p->total > bytes ? (double)(p->total - bytes) * sec / (double)bytes : 0;
	if (p->how == PROGRESS_BAR) {
		show_bar(p, count, rate, bytes, left);
		p->next_ns = now + 200 * MS;
		return;
	}
	if (p->how == PROGRESS_JSON) {
		fprintf(stderr,
			"{\"command\":\"%s\",\"count\":%" PRIu64 ",\"rate\":%.1f,\"bytes\":%" PRIu64 ",\"total_bytes\":%" PRIu64
			",\"seconds_left\":%.1f}\n",
			p->what, count, rate, bytes, p->total, left);
		p->next_ns = now + 1000 * MS;
		return;
	}
	if (p->total)
		fprintf(stderr, "cenote: %s: %s: %" PRIu64 ", %.0f/s, %.0f%%, %.0f s left\n", p->what, p->name, count, rate,
			100.0 * (double)bytes / (double)p->total, left);
	else
		fprintf(stderr, "cenote: %s%s%s: %" PRIu64 ", %.0f/s\n", p->what, p->name[0] ? ": " : "", p->name, count, rate);
	p->next_ns = now + 5000 * MS;
}

void progress_clear(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
