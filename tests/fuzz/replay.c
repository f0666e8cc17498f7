/* Runs a fuzz target over its corpus, so that every input that was ever interesting is a unit test on any compiler.
 * Usage: replay FOLDER... - every file below each folder is one input. A folder without any file is a failure: nothing was tested.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define INPUT_MAX (1u << 20)

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *buf, *exact;
	size_t n;

	if (!f) {
		perror(path);
		return 1;
	}
	buf = malloc(INPUT_MAX);
	n = buf ? fread(buf, 1, INPUT_MAX, f) : 0;
	fclose(f);
	/* A block of just the right size lets the sanitizer see a read past the end. */
	exact = malloc(n ? n : 1);
	if (!buf || !exact) {
		free(buf);
		free(exact);
		return 1;
	}
	memcpy(exact, buf, n);
	free(buf);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 0;
}

static int replay_folder(const char *folder, unsigned *count)
{
	DIR *d = opendir(folder);
	struct dirent *ent;
	int bad = 0;

	if (!d) {
		perror(folder);
		return 1;
	}
	while ((ent = readdir(d))) {
		char path[4096];
		struct stat st;

		snprintf(path, sizeof path, "%s/%s", folder, ent->d_name);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
			bad |= replay_file(path);
			++*count;
		}
	}
	closedir(d);
	return bad;
}

int main(int argc, char **argv)
{
	unsigned count = 0;
	int bad = argc < 2;

	for (int i = 1; i < argc; i++)
		bad |= replay_folder(argv[i], &count);
	printf("%u inputs\n", count);
	return bad || count == 0;
}
