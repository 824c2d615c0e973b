/* What is known about clusters and endpoints at run time: it outlives snapshots and is keyed by
 * name.
 *
 * Flow:      attempt.c and tunnel.c ask for a worker's view of a cluster, balance.c picks in it;
 * proxy_clusters prints. Ownership: endpoint blocks are refcounted (atomic) and shared by the
 * workers; a table, one per proxy, finds them by cluster name and address. A view belongs to its
 * worker and holds a reference to the endpoint set it shows. Threads:   the table has a mutex,
 * taken only when a set changes or is printed; counters are relaxed atomics.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "mesh/base/addr.h"
#include "mesh/base/buf.h"
#include "mesh/base/map.h"
#include "proxy/balance_levels.h"
#include "proxy/breaker.h"
#include "proxy/outlier.h"
#include "proxy/link.h"

struct cluster;
struct endpoint_set;
struct snapshot;

struct endpoint_block {
    _Alignas(64) atomic_uint refs;
    atomic_uint active;  /* requests and tunnels under way */
    atomic_ullong total; /* begun */
    atomic_ullong connect_failures;
    atomic_ullong errors; /* 5xx answers, resets, timeouts */
    atomic_llong since_ms; /* when a view first showed it; 0: none has */
    /* outlier.c's */
    atomic_llong out_until_ms;                      /* on the loops' clock; 0: it never was */
    atomic_llong out_since_ms;                      /* until its return was told; 0: it is not out */
    atomic_uint run_errors, run_gateway, run_local; /* failures in a row */
    unsigned times_out;                             /* under the detector's lock */
};

struct cluster_table {
    pthread_mutex_t lock;
    struct map blocks;   /* "cluster\naddress" -> struct endpoint_block * */
    struct map breakers; /* cluster -> struct breaker * */
    struct map detectors; /* cluster -> struct detector * */
};

struct cluster_view {
    struct breaker *breaker;        /* referenced */
    struct endpoint_set *set;       /* referenced; NULL until first used, or if it has none */
    struct endpoint_block **blocks; /* one per endpoint of `set` */
    struct detector *detector;      /* referenced */
    bool *left_out;                 /* for each endpoint; in a panic it is used all the same */
    unsigned min_health_percent;    /* below that part of usable ones a priority panics */
    unsigned generation;            /* of the detector, when that was found out */
    int64_t refresh_ms;             /* when the next one comes back */
    bool left_out_is_known, shows_outliers;
    struct endpoint_block *here;    /* of CLUSTER_LOCAL's address; NULL until first used */
    struct addr here_addr;
    int64_t now_ms;                 /* when it was asked for */
    struct balance_levels levels;   /* of `set`; see balance_levels_now */
    uint64_t cursor;  /* round robin, randomly seeded */
    /* upstream_queue.c's, for this worker's connections */
    unsigned users;      /* connections and waiters that point here: it must not go before them */
    unsigned waiting;    /* requests in `queue` */
    bool served_own;     /* the last free connection went to one of these, not to another worker */
    struct link queue;   /* struct upstream_wait: no connection could be had */
    struct link idle;    /* struct upstream: of all pools, the longest idle first */
    struct link hungry;  /* in worker->hungry while `queue` is not empty */
};

void cluster_table_init(struct cluster_table *t);
void cluster_table_done(struct cluster_table *t);
/* Drop blocks and breakers that only the table holds. */
void cluster_table_trim(struct cluster_table *t);
/* A reference to the block of that address, made if new. */
struct endpoint_block *cluster_block(struct cluster_table *t, struct str cluster,
                                     const struct addr *a);
struct endpoint_block *endpoint_block_ref(struct endpoint_block *b);
void endpoint_block_unref(struct endpoint_block *b); /* NULL is fine */
void endpoint_block_begin(struct endpoint_block *b); /* one more request or tunnel */
void endpoint_block_end(struct endpoint_block *b);

/* References to what counts for that cluster, made if new. */
struct breaker *cluster_breaker(struct cluster_table *t, struct str cluster);
struct detector *cluster_detector(struct cluster_table *t, struct str cluster);

/* A worker's view of `c`, in its map `views`, showing the endpoints of this very `c`. */
struct cluster_view *cluster_view_get(struct map *views, struct cluster_table *t,
                                      const struct cluster *c, uint64_t seed, int64_t now_ms);
/* The block of `c`, a CLUSTER_LOCAL. Not a new reference: the view holds it. */
struct endpoint_block *cluster_view_here(struct cluster_view *v, struct cluster_table *t,
                                         const struct cluster *c);
/* After a swap: drop views of clusters that are gone and that nobody uses. */
void cluster_views_trim(struct map *views, const struct snapshot *s);
/* Whose endpoints are back? Asked now and then, since there may be no choices that ask. */
void cluster_views_look(struct map *views, const struct snapshot *s, int64_t now_ms);
void cluster_views_done(struct map *views);

/* {"clusters":[{"name":...,"endpoints":[...]}]} */
/* Series of clusters that leave failing endpoints out. */
void cluster_metrics(struct cluster_table *t, const struct snapshot *s, int64_t now_ms, struct buf *out);
void cluster_print(struct cluster_table *t, const struct snapshot *s, int64_t now_ms, struct buf *json);
