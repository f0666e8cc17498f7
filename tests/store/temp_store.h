/* Temporary stores on SQLite for the tests of this folder. */
#ifndef CENOTE_TESTS_STORE_TEMP_STORE_H
#define CENOTE_TESTS_STORE_TEMP_STORE_H

#include "store/open.h"

extern char temp_dir[512]; /* of the store in use */
/* Makes a new empty directory and remembers it in temp_dir. */
void temp_new(void);
/* Removes temp_dir and all in it. */
void temp_remove(void);
/* Opens the store in temp_dir; vfs NULL: the default. */
enum err temp_open(const char *vfs, struct store **out) MUST_CHECK;
/* Copies the directory as it is on the disk now, as a crash would leave it, and makes the copy temp_dir; from[512] gets the former
 * one. */
void temp_copy(char *from);
/* Path of a file below temp_dir; valid until the next call. */
const char *temp_path(const char *name);
/* How many times slower than plainly a program of this build runs, roughly: what loops may divide by, since the plain run goes
 * through all of it. */
unsigned temp_slowness(void);

#endif
