/* The data plane's face: start workers, obey a snapshot, report.
 *
 * Flow:      cmd/agent applies snapshots and credentials; workers accept, route, relay; metrics and
 * access lines come back. Ownership: proxy_apply and proxy_set_creds take their own references.
 * Threads:   every function here is called on the control thread (the loop given at proxy_new),
 * unless said otherwise. `need` and `log` callbacks: need is called on the control thread; log on
 * the log writer's thread. Invariants: listening sockets are never closed in the life of the proxy,
 * except bound ones that left the snapshot; a swap drops no connection.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/base/buf.h"
#include "mesh/base/err.h"
#include "mesh/base/loop.h"

struct creds;
struct proxy;
struct snapshot;

struct proxy_options {
    struct loop *control;
    unsigned workers;                 /* 1..LIMIT_WORKERS */
    unsigned crypto_threads;          /* helpers for full handshakes */
    struct addr outbound4, outbound6; /* capture sockets (15001), family 0: none */
    struct addr inbound4, inbound6;   /* 15006, wildcard address */
    uint32_t mark;                    /* SO_MARK of own sockets, 0: none */
    unsigned connections_per_source;  /* at gateways, from one address; 0: half of what there is room for */
    bool mesh_tls13; /* mutual TLS is 1.3 alone; else 1.2, which resumes cheaply, and 1.3 from clients that speak no 1.2 */
    int access_log_fd; /* -1: no access log; the caller's, open until proxy_free. dup3 over it rotates */
    bool trust_local_addr; /* tests of the capture sockets: a connection that was not redirected wanted
                              the socket's own address; else it is refused as a loop */
    /* The proxy met a service whose rules have not been subscribed to ("ns/fqdn"). */
    void (*need)(void *arg, struct str service_key);
    void *need_arg;
};

struct proxy *proxy_new(const struct proxy_options *o,
                        struct err *err) MUST_USE; /* binds and starts threads */
void proxy_free(struct proxy *p);                  /* stops: closes everything at once */

/* The new root replaces the old one on every worker. Running exchanges keep what they started with.
 */
int proxy_apply(struct proxy *p, struct snapshot *s,
                struct err *err) MUST_USE; /* err: an address cannot be bound */
/* SVID for an identity; replaces an older one. Connections made from now on use it. */
void proxy_set_creds(struct proxy *p, struct str identity, struct creds *c);
/* Nothing in force needs it any more. What is under way keeps what it began with. */
void proxy_drop_creds(struct proxy *p, struct str identity);

/* Stop reusing connections and accept nothing new; `proxy_is_drained` when nothing is left. */
void proxy_drain(struct proxy *p);
bool proxy_is_drained(const struct proxy *p);

/* Prometheus text (observability.md section 1). */
void proxy_metrics(struct proxy *p, struct buf *out);
/* One of the weft_* numbers of proxy_metrics by name, summed over the workers: the leak ledger of
 * tests. 0 if unknown. */
uint64_t proxy_live(struct proxy *p, const char *name);
/* Clusters and their endpoints with counters, as Envoy's /clusters?format=json in our words. */
void proxy_clusters(struct proxy *p, struct buf *json);
/* Have all workers, and the helpers of handshakes, turned since the last call? For the watchdog. */
bool proxy_is_alive(struct proxy *p);
