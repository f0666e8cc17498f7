/* The daemon: runs a node until a signal says otherwise. */
#ifndef CENOTE_DAEMON_SERVE_H
#define CENOTE_DAEMON_SERVE_H

#include "daemon/config.h"

/* Serves until it is stopped; returns the exit code. args: as config_load had them, for SIGHUP. Errors have been written to stderr.
 */
int serve_run(struct config *c, const struct config_args *args);
/* The exit code of an error (contracts/operations 1). */
int exit_code(enum err e);
/* Sets up logging as c says (auto: text on a terminal). */
void serve_logging(const struct config *c);
/* One line per problem on stderr: `FILE:LINE:COL: KEY: message`. */
void problems_print(const struct problems *p);

#endif
