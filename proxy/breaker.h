/* How much is under way to one cluster over all workers, and whether there is room for more: a
 * circuit breaker in Envoy's sense. Limits are the snapshot's, numbers live here and outlive it.
 *
 * Flow:      upstream_queue.c takes connections and pending requests, upstream_open requests,
 *            exchange.c retries. Whoever took gives back, once.
 * Ownership: refcounted (atomic); the table of cluster.h finds it by the cluster's name.
 * Threads:   any. A limit holds exactly, however many workers there are.
 */
#pragma once

#include <stdatomic.h>

#include "mesh/base/str.h"

struct cluster_limits;

enum breaker_kind {
    BREAKER_CONNECTIONS,
    BREAKER_PENDING,
    BREAKER_REQUESTS,
    BREAKER_RETRIES,
    BREAKER_KINDS
};

struct breaker {
    _Alignas(64) atomic_uint refs;
    struct str name; /* owned */
    atomic_uint now[BREAKER_KINDS];
    atomic_uint waiting;                      /* pending requests that found no connection free */
    atomic_ullong overflows[BREAKER_KINDS]; /* how often there was no room */
};

struct breaker *breaker_new(struct str name); /* copied */
struct breaker *breaker_ref(struct breaker *b);
void breaker_unref(struct breaker *b); /* NULL is fine */

/* One more, if the limits allow. */
bool breaker_take(struct breaker *b, enum breaker_kind kind, const struct cluster_limits *l);
void breaker_leave(struct breaker *b, enum breaker_kind kind);

/* Is there any limit for which this kind must be counted? Connections always are. */
bool breaker_counts(const struct cluster_limits *l, enum breaker_kind kind);
