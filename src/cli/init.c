/* init: the folder of a new assistant, from templates (init/) in which its name is filled in.
 *
 * 1. The name needs no quotes anywhere: neither YAML, nor a shell, nor Python, nor a name of a Databricks App reads it as anything
 * else.
 * 2. The folder gets all files or none: they are written whole into a folder within it, then moved to their places.
 * 3. What was in the folder stays. Only with --force are files replaced, and only those that have the name of a template. */
#include "cli/init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/cmd.h"
#include "cli/interrupt.h"

#define NAME_MIN 2
#define NAME_MAX_BYTES 30 /* of a Databricks App */
#define FILE_MAX ((size_t)1 << 20)

struct folder {
	struct arena *arena;
	const char *path;
	char *stage;	/* the folder within; NULL while there is none */
	bool made;	/* the folder was not there before */
	bool fresh;	/* nothing was in it */
	size_t written; /* files in the stage, the first so many of init_files */
	size_t moved;	/* of them, those that are in their places */
};

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static enum err check_name(struct str name)
{
	bool ok = name.n >= NAME_MIN && name.n <= NAME_MAX_BYTES && is_lower(name.p[0]) && name.p[name.n - 1] != '-';

	for (size_t i = 0; i < name.n; i++)
		ok = ok && (is_lower(name.p[i]) || (name.p[i] >= '0' && name.p[i] <= '9') || name.p[i] == '-');
	if (ok)
		return OK;
	return err_set(E_INVALID,
		       "NAME must be %d to %d lower-case letters, digits and hyphens, with a letter first and no hyphen last",
		       NAME_MIN, NAME_MAX_BYTES);
}

static void fill_in(struct buf *out, struct str text, struct str name)
{
	static const struct str place = STR_INIT("{{ name }}");
	const char *at;

	while ((at = memmem(text.p, text.n, place.p, place.n)) != NULL) {
		size_t before = (size_t)(at - text.p);

		buf_put(out, text.p, before);
		buf_str(out, name);
		text = str_sub(text, before + place.n, text.n);
	}
	buf_str(out, text);
}

static enum err failed(const char *what, const char *path)
{
	return err_set(E_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

/* dir/name, NUL-terminated; NULL without memory. */
static char *joined(struct arena *a, const char *dir, const char *name)
{
	struct str s = arena_printf(a, "%s/%s", dir, name);

	return s.p ? arena_cstr(a, s) : NULL;
}

static enum err is_empty(const char *path, bool *empty)
{
	DIR *d = opendir(path);
	const struct dirent *entry;

	*empty = true;
	if (d == NULL)
		return failed("read the folder", path);
	while (*empty && (entry = readdir(d)) != NULL)
		*empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(d);
	return OK;
}

/* A folder or a device under the name of a template is nothing to replace. */
static enum err check_places(struct folder *f)
{
	for (size_t i = 0; i < init_files_n; i++) {
		const char *path = joined(f->arena, f->path, init_files[i].name);
		struct stat st;

		if (path == NULL)
			return E_NOMEM;
		if (lstat(path, &st) != 0 && errno != ENOENT)
			return failed("look at", path);
		if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
			return err_set(E_CONFLICT, "%s is no file, it is not replaced", path);
	}
	return OK;
}

static enum err folder_open(struct folder *f, bool force)
{
	struct stat st;

	f->made = mkdir(f->path, 0777) == 0;
	if (f->made)
		f->fresh = true;
	else if (errno != EEXIST)
		return failed("make the folder", f->path);
	else if (stat(f->path, &st) != 0 || !S_ISDIR(st.st_mode))
		return err_set(E_CONFLICT, "%s is there and is no folder", f->path);
	else
		TRY(is_empty(f->path, &f->fresh));
	if (!f->fresh && !force)
		return err_set(E_CONFLICT, "%s is not empty; --force writes into it, over files of the same names", f->path);
	TRY(check_places(f));
	char *stage = joined(f->arena, f->path, ".init-XXXXXX");

	if (stage == NULL)
		return E_NOMEM;
	if (mkdtemp(stage) == NULL)
		return failed("write into", f->path);
	f->stage = stage;
	return OK;
}

static enum err write_all(int fd, struct str text)
{
	while (text.n) {
		ssize_t n = write(fd, text.p, text.n);

		if (n < 0 && errno != EINTR)
			return E_IO;
		if (n > 0)
			text = str_sub(text, (size_t)n, text.n);
	}
	return OK;
}

static enum err stage_file(struct folder *f, const struct init_file *file, struct str name)
{
	const char *path = joined(f->arena, f->stage, file->name);
	struct buf text;

	buf_init(&text, f->arena, FILE_MAX);
	fill_in(&text, file->text, name);
	TRY(text.err);
	if (path == NULL)
		return E_NOMEM;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, str_starts(file->text, STR("#!")) ? 0777 : 0666);

	if (fd < 0)
		return failed("write", path);
	f->written++;
	enum err e = write_all(fd, buf_slice(&text));

	/* close overwrites errno only when it fails itself */
	if (e != OK)
		e = failed("write", path);
	if (close(fd) != 0 && e == OK)
		e = failed("write", path);
	return e;
}

static enum err move_all(struct folder *f)
{
	for (; f->moved < f->written; f->moved++) {
		const char *name = init_files[f->moved].name, *from = joined(f->arena, f->stage, name),
			   *to = joined(f->arena, f->path, name);

		if (from == NULL || to == NULL)
			return E_NOMEM;
		if (rename(from, to) != 0)
			return failed("write", to);
	}
	return OK;
}

static void remove_files(struct folder *f, const char *from, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++) {
		const char *path = joined(f->arena, from, init_files[i].name);

		if (path)
			unlink(path);
	}
}

/* Takes the stage away, and after a failure what was made. */
static void folder_close(struct folder *f, enum err e)
{
	if (f->stage) {
		remove_files(f, f->stage, f->moved, f->written);
		rmdir(f->stage);
	}
	if (e != OK && f->fresh)
		remove_files(f, f->path, 0, f->moved);
	if (e != OK && f->made)
		rmdir(f->path);
}

static enum err write_files(struct folder *f, struct str name)
{
	for (size_t i = 0; i < init_files_n; i++)
		TRY(stage_file(f, &init_files[i], name));
	if (interrupt_pending())
		return err_set(E_CANCELLED, "interrupted; nothing is written");
	return move_all(f);
}

static enum err init(struct call *c)
{
	const char *name = c->args[0];
	struct folder f = {.arena = &c->arena, .path = c->argc > 1 ? c->args[1] : name};

	TRY(check_name(str_c(name)));
	if (f.path[0] == '\0')
		return err_set(E_INVALID, "DIR must not be empty");
	interrupt_cooperate();
	enum err e = folder_open(&f, call_has(c, "force"));

	if (e == OK)
		e = write_files(&f, str_c(name));
	folder_close(&f, e);
	TRY(e);
	if (!c->quiet)
		fprintf(stderr, "cenote: %s is in %s; its README.md says how to go on, %s/run starts it\n", name, f.path, f.path);
	return OK;
}

int run_init(struct call *c)
{
	enum err e = init(c);

	return e == OK ? 0 : call_fail(c, e);
}
