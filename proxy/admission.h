/* Who may come in: how many connections there is room for, and how many of them one address may hold at the edge.
 *
 * Flow:      listener.c asks for room before it accepts; conn.c enters a gateway's client by its address and leaves with it.
 * Threads:   any worker's.
 * Source:    one client must not take the room of all others; of IPv6 a client has a /64.
 */
#pragma once

#include <pthread.h>

#include "mesh/base/addr.h"
#include "mesh/base/map.h"

struct admission {
    unsigned per_worker, per_source; /* connections */
    pthread_mutex_t lock;
    struct map sources; /* address -> how many, as a number */
};

/* `per_source` 0: half of what there is room for. Room is what LIMIT_CONNECTIONS and the descriptors that the process may open
 * allow: a connection may need two, and some are kept for everything else. The process may open more from here on, as many as
 * its hard limit says. */
void admission_init(struct admission *a, unsigned workers, unsigned per_source);
void admission_done(struct admission *a);

/* False: this address has as many as it may. */
bool admission_enter(struct admission *a, const struct addr *source) MUST_USE;
void admission_leave(struct admission *a, const struct addr *source); /* once for each that entered */
