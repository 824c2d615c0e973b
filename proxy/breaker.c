#include "proxy/breaker.h"

#include <stdlib.h>
#include <string.h>

#include "mesh/base/base.h"
#include "mesh/base/mem.h"
#include "mesh/snapshot.h"

#define SHARE_ALL 1000000u

struct breaker *breaker_new(struct str name)
{
    struct breaker *b = aligned_alloc(64, sizeof(*b));

    if (!b)
        abort();
    memset(b, 0, sizeof(*b));
    b->refs = 1;
    b->name = str_copy(name);
    return b;
}

struct breaker *breaker_ref(struct breaker *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void breaker_unref(struct breaker *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    str_free(b->name);
    free(b);
}

static unsigned under_way(const struct breaker *b)
{
    return atomic_load_explicit(&b->now[BREAKER_REQUESTS], memory_order_relaxed) +
           atomic_load_explicit(&b->now[BREAKER_PENDING], memory_order_relaxed);
}

static uint32_t limit_or_none(uint32_t limit)
{
    return limit > 0 ? limit : UINT32_MAX;
}

static uint32_t limit_of(const struct breaker *b, enum breaker_kind kind,
                         const struct cluster_limits *l)
{
    switch (kind) {
    case BREAKER_CONNECTIONS:
        return limit_or_none(l->connections);
    case BREAKER_PENDING:
        return limit_or_none(l->pending);
    case BREAKER_REQUESTS:
        return limit_or_none(l->requests);
    case BREAKER_RETRIES:
    case BREAKER_KINDS:
        break;
    }
    if (!l->has_retry_budget)
        return limit_or_none(l->retries);
    return MAX((uint32_t)((uint64_t)under_way(b) * l->retry_share / SHARE_ALL), l->retries);
}

bool breaker_counts(const struct cluster_limits *l, enum breaker_kind kind)
{
    switch (kind) {
    case BREAKER_CONNECTIONS:
        return true;
    case BREAKER_PENDING:
        return l->pending > 0 || l->has_retry_budget;
    case BREAKER_REQUESTS:
        return l->requests > 0 || l->has_retry_budget;
    case BREAKER_RETRIES:
    case BREAKER_KINDS:
        break;
    }
    return l->retries > 0 || l->has_retry_budget;
}

bool breaker_take(struct breaker *b, enum breaker_kind kind, const struct cluster_limits *l)
{
    uint32_t limit = limit_of(b, kind, l);
    unsigned now = atomic_load(&b->now[kind]);

    do {
        if (now >= limit) {
            atomic_fetch_add_explicit(&b->overflows[kind], 1, memory_order_relaxed);
            return false;
        }
    } while (!atomic_compare_exchange_weak(&b->now[kind], &now, now + 1));
    return true;
}

void breaker_leave(struct breaker *b, enum breaker_kind kind)
{
    atomic_fetch_sub(&b->now[kind], 1);
}
