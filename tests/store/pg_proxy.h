/* A TCP relay on 127.0.0.1 in front of a server, for tests: it can fall silent (packets dropped, nothing closed), or be gone (what
 * is connected is cut, what comes is refused), and be there again on the same port. */
#ifndef PG_PROXY_H
#define PG_PROXY_H

struct pg_proxy;
enum pg_proxy_mode { PROXY_OPEN, PROXY_SILENT, PROXY_DEAF, PROXY_CUT /* then open */, PROXY_GONE };
struct pg_proxy *pg_proxy_new(const char *host, int port);
int pg_proxy_port(const struct pg_proxy *p);
/* Returns when it is so. */
void pg_proxy_set(struct pg_proxy *p, enum pg_proxy_mode mode);
void pg_proxy_free(struct pg_proxy *p);

#endif
