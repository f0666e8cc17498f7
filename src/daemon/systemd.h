/* systemd's side of a service, without its library: readiness datagrams, the watchdog, inherited sockets. */
#ifndef CENOTE_DAEMON_SYSTEMD_H
#define CENOTE_DAEMON_SYSTEMD_H

#include "base/err.h"

/* Sends "READY=1", "STOPPING=1\nSTATUS=..." to $NOTIFY_SOCKET; nothing happens without one. */
void systemd_notify(const char *state);
/* Half of WATCHDOG_USEC in ms, 0: no watchdog asked of this process. */
uint32_t systemd_watchdog_ms(void);
/* Inherited listening sockets: descriptors 3 .. 3+n-1. Unsets the variables. 0 when there are none for this process. */
int systemd_listen_fds(void);

#endif
