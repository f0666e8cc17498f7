/* A thread for work that nobody waits for, such as making vectors: with a loop of its own (rt/loop.h, a background loop) in which
 * one fiber runs, and with a lower priority than the threads that answer requests, so that it takes what they leave. */
#ifndef CENOTE_DAEMON_BACKGROUND_H
#define CENOTE_DAEMON_BACKGROUND_H

#include "base/err.h"

struct background;
/* Runs fn(arg) in the fiber; it should end when its waits return E_CANCELLED. name: constant, for logs. */
enum err background_start(const char *name, void (*fn)(void *arg), void *arg, struct background **out) MUST_CHECK;
/* Cancels the fiber and waits until it has ended. b may be NULL. Not from a fiber. */
void background_stop(struct background *b);

#endif
