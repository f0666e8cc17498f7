/* Which hosts tools may reach: the list of tools.allow_hosts. Read-only once parsed, so thread-safe. */
#ifndef CENOTE_TOOL_ALLOW_H
#define CENOTE_TOOL_ALLOW_H

#include <sys/socket.h>

#include "base/arena.h"

#define ALLOW_MAX 256 /* entries */

struct allow_entry {
	struct str text; /* as it was written */
	struct str host; /* in lower case; "" : a network. Of "*.example.com" ".example.com" */
	uint16_t port;	 /* 0: the scheme's */
	bool address;	 /* host is an address; then, and for a network: */
	uint8_t net[16]; /* as IPv6, IPv4 mapped */
	unsigned bits;	 /* of net that count, 0..128 */
};
struct allow {
	struct allow_entry *v;
	size_t n;
};
/* Entries: NAME, *.DOMAIN (what lies below it), ADDRESS, each with :PORT or not, or NETWORK/BITS (addresses that names may lead
 * to). Results in a. E_INVALID says which entry is wrong. */
enum err allow_parse(struct arena *a, const struct str *entries, size_t n, struct allow *out) MUST_CHECK;
/* May host (a name, or an address without brackets) be asked at this port? */
bool allow_host(const struct allow *l, struct str host, uint16_t port, bool secure);
/* May a connection be made to this address? Public ones may; private, local and special ones only when an entry names them: the
 * address, a network with it, or localhost. */
bool allow_address(const struct allow *l, const struct sockaddr *to);
/* The entries, for sentences: "a, b"; "none" when there are none. */
struct str allow_text(const struct allow *l, struct arena *a);

#endif
