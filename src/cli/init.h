/* The templates of `cenote init`: the files of src/cli/init, built into the program (init/embed.awk). */
#ifndef CENOTE_CLI_INIT_H
#define CENOTE_CLI_INIT_H

#include "base/str.h"

struct init_file {
	const char *name; /* in the project's folder; no folders in it */
	struct str text;  /* with {{ name }} where the assistant's name goes; a text that begins with #! becomes a program */
};

extern const struct init_file init_files[];
extern const size_t init_files_n;

#endif
