/* Store URLs to drivers: `sqlite:PATH` (a directory, made when missing) today; a driver is one folder and one line in open.c. */
#ifndef CENOTE_STORE_OPEN_H
#define CENOTE_STORE_OPEN_H

#include "core/store.h"

struct store_options {
	bool durable;		/* synchronous=FULL; false = NORMAL (sqlite.durability: normal) */
	size_t cache_bytes;	/* page cache per connection; 0 = driver's default */
	size_t wal_limit_bytes; /* checkpoint when the WAL has grown to this; 0 = default */
	unsigned queue_max;	/* writes waiting at most, then E_BUSY; 0 = default */
	uint32_t busy_ms;	/* how long to wait for the store lock; 0 = fail at once */
};
/* E_INVALID: unknown scheme or bad path; E_BUSY: another process owns it (the sentence has its pid); E_CORRUPT; E_IO. */
enum err store_open(struct str url, const struct store_options *opt, struct store **out) MUST_CHECK;
/* The path of the unix socket that a daemon on this store listens on, "" if the scheme has none. */
struct str store_socket_path(struct arena *a, struct str url);

#endif
