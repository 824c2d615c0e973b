/* Where does this try go? One choice for requests, tunnels and mirrors.
 *
 * Ownership: the block is a reference for the caller; the endpoint lives in the snapshot that holds the cluster.
 * Threads:   the worker's.
 */
#pragma once

#include "proxy/balance.h"
#include "proxy/worker.h"

struct picked {
    const struct endpoint *endpoint; /* NULL: an address without one */
    struct addr addr;
    struct endpoint_block *block;
};

/* `original`: where the client was going, NULL: nowhere else (conn_destination); `tried`: avoid these (NULL: none); `hash`: of
 * the caller's key (NULL: it has none). False: the cluster has no endpoint. */
bool pick_endpoint(struct worker *w, const struct cluster *c, const struct addr *original,
                   const struct balance_tried *tried, const uint64_t *hash, struct picked *out);
