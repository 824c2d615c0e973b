/* Which endpoint? A table of pickers over a worker's view of a cluster.
 *
 * Rules:   an endpoint already tried for this request is avoided, with at most 5 new choices; if
 * every endpoint was tried, one of them is taken again (fields.md 4.4). Threads: the worker's own;
 * load is read from the shared blocks.
 */
#pragma once

#include "proxy/cluster.h"

#define BALANCE_NONE      SIZE_MAX
#define BALANCE_TRIED_MAX 8u

struct balance_tried {
    struct addr addrs[BALANCE_TRIED_MAX];
    size_t count;     /* of all tries; the last BALANCE_TRIED_MAX are kept */
    bool may_repeat;  /* they need not be avoided */
    bool goes_remote; /* after two tries the priorities of those tried are left */
};

void balance_tried_add(struct balance_tried *t, const struct addr *a);

/* An index into view->set->endpoints, BALANCE_NONE if there is none. `kind` is enum balance_kind;
 * `rng` is stepped; `hash` is of BALANCE_HASH, NULL: there is no key, the choice is random. */
size_t balance_pick(struct cluster_view *v, unsigned kind, uint64_t *rng, const uint64_t *hash,
                    const struct balance_tried *tried);

/* Is this endpoint no worse than any other for the next try? `tried` may be NULL. */
bool balance_may_take(const struct cluster_view *v, size_t i, const struct balance_tried *tried);

uint64_t balance_random(uint64_t *rng); /* splitmix64 */
