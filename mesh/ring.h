/* Where the hash of a key leads: a ring of points, or the slots of a Maglev table. Both give each endpoint its share by
 * weight, and when one of N endpoints goes, little more than its own keys move. The same endpoints make the same
 * table in any order, so every worker and every agent finds the same one for a key.
 *
 * Flow:      snapshot.c builds one with each new set of endpoints, off the workers; proxy/balance_hash.c looks up.
 * Ownership: lives in the arena that it was built in; immutable.
 * Threads:   may be read by any.
 * Limits:    LIMIT_RING_POINTS; a Maglev table has the size that was asked for.
 * Source:    Envoy's RING_HASH (points are XXH64 of "ADDRESS_N"; how many each gets differs) and MAGLEV (Eisenbud et
 *            al., NSDI 2016, section 3.4).
 */
#pragma once

#include "mesh/base/arena.h"

enum ring_kind { RING_NONE, RING_POINTS, RING_MAGLEV };

/* One that gets a share. */
struct ring_owner {
    struct str key; /* who it is, everywhere the same: its address */
    double weight;  /* > 0 */
    uint32_t index; /* what is found */
};

struct ring {
    uint64_t *points; /* RING_POINTS: ascending; else NULL */
    uint32_t *owners; /* index of the owner of each point or slot */
    size_t count;     /* 0: nobody is there */
};

/* `size`: the least number of points, or the number of slots, a prime. `owners` is put into order. */
void ring_build(struct ring *r, enum ring_kind kind, uint64_t size, struct ring_owner *owners, size_t count,
                struct arena *a);
/* The place of that hash in `owners`; the next ones, cyclic, stand in for it. Not for an empty ring. */
size_t ring_at(const struct ring *r, uint64_t hash);
