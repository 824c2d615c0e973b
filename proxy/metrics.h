/* Istio's standard metrics: counters and histograms by label set.
 *
 * Flow:      exchange.c and tunnel.c report the end of a request or tunnel; metrics_print sums the
 * workers' tables by label set and writes Prometheus text (observability.md section 1). Ownership:
 * a table belongs to its worker; series live as long as the table. Label texts are copied. Threads:
 * one writer (the worker; relaxed stores). metrics_print may run on another thread at the same
 * time: series are appended with release stores and never move. Limits:    METRICS_SERIES_MAX per
 * worker; what comes later is counted under labels that all say "other". Units:     durations in
 * milliseconds, sizes in bytes.
 */
#pragma once

#include <stdatomic.h>

#include "mesh/base/buf.h"
#include "mesh/base/map.h"
#include "mesh/base/str.h"

#define METRICS_SERIES_MAX 4000u
#define METRICS_BUCKETS    20u /* the last is +Inf */
#define METRICS_CACHE      1024u

struct metric_peer {
    struct str workload, workload_ns, principal, app, version, canonical_service,
        canonical_revision;
};

enum series_kind {
    SERIES_HTTP,
    SERIES_MESSAGES, /* of gRPC: the labels without those of the answer */
    SERIES_TCP,
};

struct metric_labels {
    enum series_kind kind;
    bool is_source; /* reporter */
    struct metric_peer source,
        destination; /* empty texts become "unknown", the revision "latest" */
    struct str service, service_name, service_ns;
    struct str protocol;    /* "http", "grpc", "tcp" */
    struct str grpc_status; /* may be empty */
    unsigned code, flags;
    bool is_mutual; /* destination reporter: mutual_tls */
};

/* Names a label set by the parts it comes from. Only good while these parts live: metrics_forget at
 * a swap. */
struct metric_key {
    const void *listener, *cluster, *endpoint;
    uint64_t peer; /* hash of the peer's identity and of what else differs */
    unsigned code, flags;
    int grpc_status;
    enum series_kind kind;
};

struct histogram {
    atomic_ullong buckets[METRICS_BUCKETS];
    atomic_ullong sum;
};

struct series {
    struct series *_Atomic next;
    struct str labels; /* `reporter="source",...` */
    enum series_kind kind;
    union {
        struct {
            atomic_ullong requests;
            struct histogram duration_ms, request_bytes, response_bytes;
        } http;
        struct {
            atomic_ullong requests, responses;
        } messages;
        struct {
            atomic_ullong opened, closed, sent, received;
        } tcp;
    };
};

struct metrics {
    struct series *_Atomic first;
    struct series *last;
    struct map by_labels; /* the writer's own */
    size_t count;
    struct {
        struct metric_key key;
        struct series *series;
    } cache[METRICS_CACHE];
};

void metrics_init(struct metrics *m);
void metrics_done(struct metrics *m);
void metrics_forget(struct metrics *m); /* parts may have gone */

/* `key` may be NULL: not cached. */
struct series *metrics_series(struct metrics *m, const struct metric_key *key,
                              const struct metric_labels *labels);
void metrics_request(struct series *s, uint64_t duration_ms, uint64_t request_bytes,
                     uint64_t response_bytes);
void metrics_messages(struct series *s, uint64_t requests, uint64_t responses);
void metrics_tcp(struct series *s, unsigned opened, unsigned closed, uint64_t sent,
                 uint64_t received);

/* The sum of `count` workers' tables as Prometheus text. */
void metrics_print(struct metrics *const *tables, size_t count, struct buf *out);
/* One gauge or counter with its HELP and TYPE. `labels` may be empty. */
void metrics_print_one(struct buf *out, const char *name, const char *type, const char *help,
                       const char *labels, uint64_t value);
/* name, namespace and account of a SPIFFE URI as a peer's labels (all we know about a downstream
 * peer). */
struct metric_peer metrics_peer_of(struct str uri);
