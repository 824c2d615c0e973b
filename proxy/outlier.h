/* Endpoints that fail are left out for a while.
 *
 * Flow:      attempt.c and tunnel.c report how each try ended; the run of failures of an endpoint is counted in its block,
 *            by all workers together. Whoever makes a run full decides at once, under the detector's lock. Views look at
 *            the detector's generation, and at the clock, before they choose (outlier_refresh).
 * Return:    nobody has to come by: an endpoint is out until a moment, and the next choice after it sees that. Workers
 *            look every few seconds as well, so that the log tells of a return where there are no choices.
 * Ownership: one detector per cluster, refcounted; it outlives snapshots, as blocks do.
 * Threads:   any worker's; all that is shared is atomic, or under the detector's lock.
 * Source:    DestinationRule outlierDetection; Envoy's outlier detection. An endpoint is out for baseEjectionTime times the
 *            number of times it was out, at most 300 s or baseEjectionTime; every `interval` in which it is not out takes
 *            one of these back. maxEjectionPercent is kept to with the candidate counted in.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "mesh/base/base.h"
#include "mesh/base/buf.h"
#include "mesh/base/str.h"

struct cluster;
struct cluster_view;
struct endpoint_block;
struct outlier_policy;

struct detector {
    atomic_uint refs;
    struct str name; /* owned; of the cluster */
    pthread_mutex_t lock;
    atomic_uint generation; /* rises with every ejection */
    atomic_ullong ejections, overflows; /* done; not done, since too many are out */
};

struct detector *detector_new(struct str name);
struct detector *detector_ref(struct detector *d);
void detector_unref(struct detector *d); /* NULL is fine */

enum outlier_result {
    OUTLIER_CONNECTED, /* the way there works: what came of it is told besides */
    OUTLIER_LOCAL,     /* no answer: connecting failed, took too long, or the connection broke */
    OUTLIER_ANSWER,    /* `status` */
};

/* How a try at an endpoint ended. `block` is one of the view's. */
void outlier_report(struct cluster_view *v, const struct cluster *c, struct endpoint_block *block,
                    enum outlier_result result, unsigned status, int64_t now_ms);
/* Bring up to date whom the view leaves out; cheap when nothing has changed. */
void outlier_refresh(struct cluster_view *v, const struct cluster *c, int64_t now_ms);
/* A view that shows other endpoints than before: all are usable, until the next refresh. */
void outlier_show_all(struct cluster_view *v);
bool outlier_is_out(const struct endpoint_block *block, int64_t now_ms);
