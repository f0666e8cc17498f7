/* Who asks: the server's authentication callback, and API keys.
 *
 * A key is `cn_` + 8 hex digits (its id) + `_` + 43 base64url characters (32 random bytes). Only the SHA-256 of the part behind the
 * second
 * `_` is kept; it is compared in constant time. */
#ifndef CENOTE_DAEMON_AUTH_H
#define CENOTE_DAEMON_AUTH_H

#include "core/store.h"
#include "http/server.h"

#define APIKEY_TEXT (3 + 8 + 1 + 43)
#define APIKEY_ID 8

/* A fresh key: text (with a NUL), id and hash. */
void apikey_make(char text[APIKEY_TEXT + 1], char id[APIKEY_ID + 1], uint8_t hash[32]);
/* Takes a key apart; false when it does not have the form. */
bool apikey_parse(struct str text, struct str *id, uint8_t hash[32]);
/* "read,write" to rights and back. E_INVALID names what is allowed. */
enum err rights_parse(struct str s, unsigned *out) MUST_CHECK;
void rights_format(unsigned rights, struct buf *out);

struct auth;
struct auth_options {
	bool keys; /* API keys are required on TCP; else everybody there is tenant `default` with read and write */
};
enum err auth_new(struct store *store, const struct auth_options *opt, struct auth **out) MUST_CHECK;
void auth_free(struct auth *au);
/* An http_auth_fn; ctx is the struct auth. */
enum err auth_request(void *ctx, struct arena *a, struct http_req *rq, int64_t peer_uid, struct principal *out) MUST_CHECK;

/* Whether who may administer this tenant's keys: whoever comes over the unix socket all of them, an API key only its own tenant's.
 */
bool auth_administers(const struct principal *who, struct str tenant);
/* Changes to keys go through here, so that they exclude each other and the cache forgets at once.
 * E_DENIED for another tenant than who administers; E_INVALID for a user's key with the right admin; E_CONFLICT when a valid key of
 * the tenant is bound to another user whose namespace label is the same (a.b and a-b): each would reach the other's memory. */
enum err auth_key_create(struct auth *au, struct arena *a, const struct principal *who, struct key_record *k,
			 struct str *text) MUST_CHECK;
/* *k becomes the revoked record. E_NOT_FOUND, also for another tenant's key. Revoking twice changes nothing. */
enum err auth_key_revoke(struct auth *au, struct arena *a, const struct principal *who, struct str id,
			 struct key_record *k) MUST_CHECK;
/* cenote_auth_failures_total in Prometheus text. */
void auth_metrics(struct auth *au, struct buf *out);

#endif
