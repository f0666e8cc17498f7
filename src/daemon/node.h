/* A running server: store, memory, routes, authentication, and the loops with their listeners. `serve` runs one until a signal; a
 * command that finds no server runs one for itself on a private unix socket, so that there is one way to do a thing.
 *
 * Calls are for one thread (the one that owns the node); the loops have threads of their own. */
#ifndef CENOTE_DAEMON_NODE_H
#define CENOTE_DAEMON_NODE_H

#include "daemon/config.h"
#include "core/memory.h"
#include "embed/open.h"
#include "store/open.h"

struct node;

/* How the configuration wants stores opened. The strings are the configuration's. */
struct store_options node_store_options(const struct config *c, uint32_t busy_ms);
/* The settings embed.*. The strings are the configuration's. */
struct embed_settings node_embed_settings(const struct config *c);
/* index.languages as memory_options has it. */
struct str node_languages(const struct config *c, struct buf *out);

/* Opens the store (takes its lock) and prepares everything but the network. c must outlive the node. busy_ms: how long to wait for
 * a store that another process holds. */
enum err node_open(struct config *c, uint32_t busy_ms, struct node **out) MUST_CHECK;
/* What turns texts into vectors, or why nothing does. */
const struct embed_state *node_embed(const struct node *n);
/* Opens a listener for all loops. *bound (in the node's memory) has the real port. */
enum err node_listen(struct node *n, struct str addr, struct str *bound) MUST_CHECK;
/* Takes over a listening socket from outside (socket activation). E_DENIED when it is not a loopback one and keys are not required.
 */
enum err node_adopt(struct node *n, int fd, struct str *bound) MUST_CHECK;
/* Starts the loops; when it returns OK, requests are answered. sweep: also remove expired items in the background. */
enum err node_start(struct node *n, bool sweep) MUST_CHECK;
/* /readyz answers 503 from now on. */
void node_unready(struct node *n);
/* No new requests; those under way may take ms, then they are cancelled. Returns at once. */
void node_drain(struct node *n, uint32_t ms);
/* Whether all loops have ended. */
bool node_ended(struct node *n);
/* True when every loop has answered the last question; asks again. For the watchdog. */
bool node_alive(struct node *n);
/* Waits for the loops (after node_drain), closes the store, removes socket files, frees. */
void node_close(struct node *n);
/* Descriptor that becomes readable when the last loop has ended. */
int node_end_fd(const struct node *n);

#endif
