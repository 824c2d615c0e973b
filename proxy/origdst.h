/* Where a captured connection wanted to go before the redirect rewrote its destination.
 *
 * Flow:    listener.c accepts, asks here once, and routes by the answer.
 * Errors:  there are none to report: a connection always has some destination, its own address.
 * Threads: any.
 */
#pragma once

#include "mesh/base/addr.h"

/* Fill *out with the original destination of the accepted TCP socket `fd`, IPv4-mapped addresses
 * folded to IPv4. True if the connection was redirected; false if it was made to this socket's own
 * address (then *out is that address: on a capture port this is somebody calling the agent
 * directly, and is refused), or if the socket is no longer connected (*out has family 0). */
bool origdst_get(int fd, struct addr *out);
