/* The way of a command to a server: the one it was told, or the daemon of its store, or - when none runs - one that it starts for
 * itself in this process, on a private unix socket. Whatever it is, the command speaks HTTP to it. */
#ifndef CENOTE_CLI_PEER_H
#define CENOTE_CLI_PEER_H

#include "cli/cmd.h"
#include "base/json/json.h"
#include "http/client.h"

struct peer;
/* Loads the configuration and connects, once per call; the connection ends with peer_close. */
enum err peer_open(struct call *c) MUST_CHECK;
/* Connects only to a server that runs; *found: there is one. peer_open then goes on with it, or starts its own. */
enum err peer_find(struct call *c, bool *found) MUST_CHECK;
void peer_close(struct call *c);
/* Where it is connected to, for http_client_new; and the store's URL or the server's for messages. */
struct str peer_server(const struct call *c);
/* A further client (for another thread). */
enum err peer_client(struct call *c, struct http_client **out) MUST_CHECK;
/* One that asks as this user ("" : the credential's) and waits so long at least. */
enum err peer_client_as(struct call *c, struct str user, uint32_t at_least_ms, struct http_client **out) MUST_CHECK;
/* Whether the store is opened by this process. */
bool peer_own(const struct call *c);

#define REPLY_LIMIT (64u << 20)
/* One request. A status of 400 and above becomes an error whose sentence is the server's, with the request id. Results in c->arena.
 */
enum err peer_call(struct call *c, const char *method, struct str path, const char *type, struct str body,
		   struct http_reply *out) MUST_CHECK;
/* The same with a given client and arena. */
enum err client_call(struct http_client *h, struct arena *a, const char *method, struct str path, const char *type, struct str body,
		     struct http_reply *out) MUST_CHECK;
/* Turns an answer of 400 and above into an error. */
enum err reply_check(struct arena *a, const struct http_reply *r) MUST_CHECK;
/* Parses an answer's body. */
enum err reply_json(struct arena *a, const struct http_reply *r, struct json *out) MUST_CHECK;

#endif
