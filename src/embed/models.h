/* The models that Cenote can run itself, as `cenote model` installs them: which files, with which checksums, and where they lie. */
#ifndef CENOTE_EMBED_MODELS_H
#define CENOTE_EMBED_MODELS_H

#include "base/arena.h"

struct embed_file {
	const char *name;
	uint64_t size;
	const char *sha256; /* hex */
};
struct embed_model {
	const char *name;	       /* "minilm": of the command and of the folder */
	const char *title, *licence;   /* for people */
	const char *package, *version; /* Python package whose wheel holds the files, in one folder */
	const struct embed_file *files;
	size_t files_n;
};
const struct embed_model *embed_models(size_t *n);
const struct embed_model *embed_model_find(struct str name); /* NULL: none of that name */

/* The folder in which the model's files lie: DIR/NAME, or DIR itself when the files lie there. .p NULL: the model is not there
 * (diagnostic says so), or out of memory. dir "" : there is none. */
struct str embed_model_path(struct arena *a, struct str dir, const struct embed_model *m);

#endif
