/* The built-in encoder for bench/encode.py: reads commands from standard input, answers each with one line or more.
 *
 *   encode FOLDER int8|f32
 *
 *   start          the model's name, milliseconds to open it, to the first vector, and resident kB before and after
 *   texts PATH     the texts for what follows, one a line
 *   vectors        encodes them together: one line of numbers per text
 *   one N          encodes the first alone, N times: median and minimum in microseconds
 *   batch N        encodes all in calls of 64 from a fiber, N times over: texts per second, of the best time */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "embed/minilm/minilm.h"
#include "rt/fiber.h"
#include "rt/loop.h"

#define TEXTS_MAX 4096
#define CALL 64

static struct embedder *embedder;
static char *lines[TEXTS_MAX];
static struct str texts[TEXTS_MAX];
static size_t texts_n;

static double open_ms;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "encode: %s: %s\n", what, diag_get()->text);
	exit(1);
}

static void read_texts(const char *path)
{
	FILE *f = fopen(path, "r");
	size_t room = 0;
	ssize_t n;

	if (!f)
		die(path);
	while (texts_n > 0)
		free(lines[--texts_n]);
	for (lines[0] = NULL; texts_n < TEXTS_MAX && (n = getline(&lines[texts_n], &room, f)) > 0; room = 0) {
		texts[texts_n] = str_of(lines[texts_n], lines[texts_n][n - 1] == '\n' ? (size_t)n - 1 : (size_t)n);
		if (++texts_n < TEXTS_MAX)
			lines[texts_n] = NULL;
	}
	fclose(f);
	printf("%zu texts\n", texts_n);
}

static void encode(size_t from, size_t n, bool print)
{
	struct embed_vectors v;
	struct arena a;

	arena_init(&a, (size_t)256 << 20);
	if (embed_encode(embedder, &a, texts + from, n, &v) != OK)
		die("encoding");
	for (size_t i = 0; print && i < n; i++)
		for (uint32_t d = 0; d < v.dims; d++)
			printf("%.9g%c", (double)v.v[i * v.dims + d], d + 1 < v.dims ? ' ' : '\n');
	arena_release(&a);
}

static long resident_kb(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[128];
	long kb = -1;

	while (f && kb < 0 && fgets(line, sizeof line, f))
		if (str_starts(str_c(line), STR("VmRSS:")))
			kb = strtol(line + 6, NULL, 10);
	if (f)
		fclose(f);
	return kb;
}

static void start(void)
{
	long before = resident_kb();
	uint64_t began = clock_mono_ns();

	texts[0] = STR("first");
	encode(0, 1, false);
	printf("%.*s %.1f %.1f %ld %ld\n", STR_ARG(embedder->model), open_ms, (double)(clock_mono_ns() - began) / 1e6, before,
	       resident_kb());
}

static int order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void one(size_t n)
{
	double *us = calloc(n + 1, sizeof *us);

	if (!us || n == 0)
		die("one");
	for (size_t i = 0; i < n; i++) {
		uint64_t began = clock_mono_ns();

		encode(0, 1, false);
		us[i] = (double)(clock_mono_ns() - began) / 1000;
	}
	qsort(us, n, sizeof *us, order);
	printf("%.1f %.1f\n", us[n / 2], us[0]);
	free(us);
}

struct rounds {
	size_t n;
	struct loop *loop;
};

static void batch(void *arg)
{
	struct rounds *r = arg;
	double best = 0;

	for (size_t i = 0; i < r->n; i++) {
		uint64_t began = clock_mono_ns();
		double rate;

		for (size_t at = 0; at < texts_n; at += CALL)
			encode(at, texts_n - at < CALL ? texts_n - at : CALL, false);
		rate = (double)texts_n * 1e9 / (double)(clock_mono_ns() - began);
		best = rate > best ? rate : best;
	}
	printf("%.1f\n", best);
	loop_stop(r->loop);
}

static void batch_start(void *arg)
{
	if (fiber_spawn(batch, arg, NULL, NULL) != OK)
		die("fiber");
}

static void run_batch(size_t n)
{
	struct rounds r = {.n = n};
	struct loop_task t = {.fn = batch_start, .arg = &r};

	if (loop_new(&r.loop) != OK)
		die("loop");
	loop_post(r.loop, &t);
	loop_run(r.loop);
	loop_free(r.loop);
}

int main(int argc, char **argv)
{
	char line[4200], word[16], rest[4096];
	uint64_t began;
	enum err e;

	if (argc != 3)
		return 2;
	began = clock_mono_ns();
	e = str_eq(str_c(argv[2]), STR("f32")) ? minilm_open_f32(str_c(argv[1]), &embedder)
					       : minilm_open(str_c(argv[1]), &embedder);
	if (e != OK)
		die(argv[1]);
	open_ms = (double)(clock_mono_ns() - began) / 1e6;
	while (fgets(line, sizeof line, stdin)) {
		struct str head, tail;

		(void)str_cut(str_trim(str_c(line)), ' ', &head, &tail);
		snprintf(word, sizeof word, "%.*s", STR_ARG(head));
		snprintf(rest, sizeof rest, "%.*s", STR_ARG(tail));
		if (str_eq(head, STR("texts")))
			read_texts(rest);
		else if (str_eq(head, STR("start")))
			start();
		else if (str_eq(head, STR("vectors")))
			encode(0, texts_n, true);
		else if (str_eq(head, STR("one")))
			one(strtoul(rest, NULL, 10));
		else if (str_eq(head, STR("batch")))
			run_batch(strtoul(rest, NULL, 10));
		else
			die(word);
		fflush(stdout);
	}
	embed_close(embedder);
	return 0;
}
