/* Secrets in files: a file is taken only when nobody but its owner can read it, or when systemd hands it over as a credential.
 * Thread-safe. */
#ifndef CENOTE_BASE_SECRET_H
#define CENOTE_BASE_SECRET_H

#include "base/err.h"

#define SECRET_MAX 65536 /* bytes of a secret's file */

/* The file's text without one line end at its end, as a heap string with a NUL; end it with secret_free. E_IO: cannot be read;
 * E_LIMIT: longer than SECRET_MAX; E_DENIED: others may read it. The sentence names the path. */
enum err secret_file_read(const char *path, char **out) MUST_CHECK;
/* Without one line end ("\n" or "\r\n") at the end. */
struct str secret_trim(struct str s);
/* Wipes and frees; NULL is fine. */
void secret_free(char *s);

#endif
