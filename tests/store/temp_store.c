/* Temporary stores on SQLite. */
#include "temp_store.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/sqlite/sqlite.h"

char temp_dir[512];
static char path_buf[1024];

const char *temp_path(const char *name)
{
	snprintf(path_buf, sizeof path_buf, "%s/%s", temp_dir, name);
	return path_buf;
}

void temp_new(void)
{
	const char *base = getenv("TMPDIR");
	snprintf(temp_dir, sizeof temp_dir, "%s/cenote-store-XXXXXX", base && *base ? base : "/tmp");
	if (!mkdtemp(temp_dir))
		abort();
}

static void remove_in(const char *dir, unsigned depth)
{
	DIR *d = opendir(dir);
	for (struct dirent *x; d && (x = readdir(d));) {
		char path[1024];
		if (strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0)
			continue;
		if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, x->d_name) >= sizeof path)
			continue;
		if (unlink(path) != 0 && depth < 3)
			remove_in(path, depth + 1);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

void temp_remove(void)
{
	remove_in(temp_dir, 0);
}

static void copy_file(const char *from, const char *to)
{
	char block[65536];
	size_t n;
	FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
	if (!in || !out)
		abort();
	while ((n = fread(block, 1, sizeof block, in)) > 0)
		if (fwrite(block, 1, n, out) != n)
			abort();
	fclose(in);
	if (fclose(out) != 0)
		abort();
}

void temp_copy(char *from)
{
	char path[1100], to[1100];
	memcpy(from, temp_dir, sizeof temp_dir);
	temp_new();
	if (mkdir(temp_path("tenants"), 0700) != 0)
		abort();
	snprintf(path, sizeof path, "%s/tenants", from);
	DIR *d = opendir(path);
	for (struct dirent *x; d && (x = readdir(d));) {
		if (x->d_name[0] == '.' || str_ends(str_c(x->d_name), STR("-shm")))
			continue;
		snprintf(path, sizeof path, "%s/tenants/%s", from, x->d_name);
		snprintf(to, sizeof to, "%s/tenants/%s", temp_dir, x->d_name);
		copy_file(path, to);
	}
	if (d)
		closedir(d);
}

enum err temp_open(const char *vfs, struct store **out)
{
	struct store_options opt = {.durable = true};
	return sqlite_store_open(str_c(temp_dir), &opt, vfs, out);
}

unsigned temp_slowness(void)
{
#if defined(__SANITIZE_THREAD__)
	return 6;
#elif defined(__SANITIZE_ADDRESS__)
	return 3;
#else
	return getenv("CENOTE_VALGRIND") ? 6 : 1;
#endif
}
