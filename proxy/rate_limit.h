/* The buckets of limits of requests (mesh/snapshot.h, struct limit): they outlive snapshots, so that a push does not refill
 * them, and go with the last snapshot that has their limit.
 *
 * Flow:      filter/rate_limit.c asks for each request; proxy.c prints.
 * Ownership: a limiter is refcounted (atomic); a table, one per proxy, finds it by limit.bucket. A worker's view holds a
 *            reference and spares it the table's mutex.
 * Threads:   limiters: any; the table has a mutex; a view is its worker's.
 * Limits:    keys_max buckets of each limit that has a key.
 */
#pragma once

#include <pthread.h>

#include "mesh/base/buf.h"
#include "mesh/base/map.h"
#include "mesh/snapshot.h"
#include "proxy/gcra.h"

struct limiter;

struct limiter_table {
    pthread_mutex_t lock;
    struct map limiters; /* limit.bucket -> struct limiter * */
};

void limiter_table_init(struct limiter_table *t);
void limiter_table_done(struct limiter_table *t);
void limiter_table_trim(struct limiter_table *t); /* drop those that only the table holds */
/* The numbers of all limits of `s` as Prometheus text; `s` may be NULL. */
void limiter_table_print(struct limiter_table *t, const struct snapshot *s, struct buf *out);

/* The limiter of `l`, made with full buckets if new. A worker's map `view` holds it. */
struct limiter *limiter_get(struct map *view, struct limiter_table *t, const struct limit *l, int64_t now_ms);
void limiters_trim(struct map *view, const struct snapshot *s); /* after a swap */
void limiters_done(struct map *view);

/* `key` tells clients apart, unless the limit has none. */
struct gcra_verdict limiter_take(struct limiter *m, const struct limit *l, struct str key, int64_t now_ms);
void limiter_give_back(struct limiter *m, const struct limit *l, struct str key);
/* One more request that this limit refused, or that it and all others allowed. */
void limiter_count(struct limiter *m, bool allowed);
