/* One thread of the data plane: a loop, its connections, its pools, its share of the numbers.
 *
 * Flow:      proxy.c makes workers and posts to them (snapshots, credentials, descriptors, drain,
 * stop); listener.c accepts, conn.c takes over. worker_apply swaps the snapshot and wakes whoever
 * is parked for it. Ownership: the proxy owns its workers; a worker owns everything that its links
 * and maps hold. Threads:   all of it belongs to the worker's thread, except what is atomic (load,
 * live, metrics, the access ring).
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "mesh/base/loop.h"
#include "mesh/base/map.h"
#include "mesh/snapshot.h"
#include "proxy/access.h"
#include "proxy/admission.h"
#include "proxy/cluster.h"
#include "proxy/link.h"
#include "proxy/metrics.h"
#include "proxy/proxy.h"
#include "proxy/rate_limit.h"

struct creds;
struct tls_context;
struct tls_tickets;

/* A worker's reference to a root: its users count plainly. */
struct snap {
    struct snapshot *root;
    unsigned refs;
};

struct snap *snap_ref(struct snap *s);
void snap_unref(struct snap *s); /* NULL is fine */

/* What arrives at a listening socket: redirected connections, or (bound) those that were meant for it. */
enum socket_kind { SOCKET_OUTBOUND, SOCKET_INBOUND, SOCKET_BOUND };

/* Somebody waits for the next snapshot: `note` is noted to `task` at the swap. */
struct park {
    struct link link;
    struct task *task;
    unsigned note;
};

#define WORKER_PROTOCOLS 3 /* enum upstream_protocol: each has its ALPN */

/* Own certificate of one identity, and the contexts made from it when first needed. */
struct worker_identity {
    struct str uri; /* owned */
    struct creds *creds;
    struct tls_tickets *tickets;
    struct tls_context *server, *client[WORKER_PROTOCOLS], *web[WORKER_PROTOCOLS];
    struct map gates; /* tls_end.key -> struct tls_context * */
};

/* How many live now (the leak ledger) and what happened. Written by the worker alone. */
struct live {
    atomic_ullong conns, exchanges, attempts, tunnels, upstreams; /* alive */
    atomic_ullong accepted, handshakes_full, handshakes_resumed, handshakes_failed, retries,
        strict_refused, refused, connects, reused;
};

struct worker {
    struct proxy *proxy;
    unsigned index;
    pthread_t thread;
    bool started;
    struct loop *loop;
    uint64_t rng;
    struct snap *snap; /* current; NULL before the first */
    struct link listeners, conns, tunnels, upstreams, parked, mirrors;
    size_t mirror_count;
    struct map identities; /* URI -> struct worker_identity * */
    struct map pools;      /* see upstream.c */
    struct map views;      /* cluster name -> struct cluster_view * */
    struct map limiters;   /* limit.bucket -> struct limiter * */
    struct link hungry;    /* views whose requests wait for a connection */
    struct map asked;      /* service keys that were asked for since the last swap */
    struct metrics metrics;
    struct live live;
    atomic_uint load; /* connections, counted when they are given to this worker */
    bool draining, stopping;
    struct task task; /* drain, stop, the 5 s report */
    struct timer report;
    uint64_t turns_seen; /* the control thread's: for the watchdog */
};

static inline void live_add(atomic_ullong *n, uint64_t by)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

static inline void live_sub(atomic_ullong *n, uint64_t by)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) - by,
                          memory_order_relaxed);
}

int worker_init(struct worker *w, struct proxy *p, unsigned index, struct err *err) MUST_USE;
int worker_start(struct worker *w, struct err *err) MUST_USE;
void worker_join(struct worker *w); /* after worker_stop was posted */
void worker_done(struct worker *w); /* the thread is gone */

/* From here on: on the worker's own thread. */
void worker_apply(struct worker *w, struct snapshot *s); /* takes over the reference */
void worker_set_creds(struct worker *w, struct str uri, struct creds *c,
                      struct tls_tickets *t); /* both taken over */
void worker_drop_creds(struct worker *w, struct str uri);
void worker_drain(struct worker *w);
void worker_stop(struct worker *w); /* close everything, then leave the loop */

uint64_t worker_random(struct worker *w);
struct cluster_view *worker_view(struct worker *w, const struct cluster *c);
/* Another turn of upstream_serve, soon. */
void worker_serve(struct worker *w);
/* NULL: no certificate for this identity. */
struct worker_identity *worker_identity(struct worker *w, struct str uri);
/* `chain`: with the settings of this server of a gateway; NULL: as agents do among themselves. */
struct tls_context *worker_server_context(struct worker *w, struct worker_identity *id,
                                          const struct listener *chain);
struct tls_context *worker_client_context(struct worker *w, struct worker_identity *id,
                                          unsigned protocol);
/* As the client of a server outside of the mesh. */
struct tls_context *worker_web_context(struct worker *w, struct worker_identity *id, unsigned protocol,
                                       bool skip_verify);

/* Ask the control plane for the rules of a service, and be noted when a snapshot arrives. */
void worker_park(struct worker *w, struct park *p, struct task *task, unsigned note,
                 struct str service);
void worker_unpark(struct park *p); /* harmless when not parked */

/* ---- proxy.c, for the workers ---- */

struct proxy {
    struct proxy_options options;
    struct admission admission;
    struct worker *workers;
    size_t worker_count;
    struct cluster_table clusters;
    struct limiter_table limiters;
    struct access_log access;
    struct snapshot *snapshot; /* the control thread's */
    struct map identities;     /* URI -> struct shown *, of proxy.c */
    struct link bound;         /* addresses of bound listeners whose sockets are open */
    struct need_box *needs;    /* NULL: nobody is asked */
    int64_t started_wall_s;
};

struct need_box;
void proxy_need(struct proxy *p, struct str service); /* any worker's thread */
/* The less loaded of two workers, one of which may be `self`. */
struct worker *proxy_choose(struct proxy *p, struct worker *self);
