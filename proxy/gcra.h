/* A token bucket in one number: the generic cell rate algorithm. The number is the moment at which the bucket will be full
 * again, so an idle bucket costs nothing, and a decision is one compare-and-swap.
 *
 * Flow:    bucket_table.c and rate_limit.c hold buckets; the rules are the snapshot's, so that a change of them keeps the
 *          bucket. What was taken under wider rules is forgiven where it is more than the new bucket holds.
 * Threads: any, on one bucket at once. Of requests whose clocks differ by less than a second there are never more than
 *          allowed.
 * Units:   ticks of 1/64 ns, modulo 2^64: moments are compared by their difference, which is good for 4.5 years. A rate
 *          is rounded up to whole ticks per request: at a million a second by less than 1 in 60,000.
 */
#pragma once

#include <stdatomic.h>

#include "mesh/base/base.h"

#define GCRA_TICKS_PER_MS 64000000ull
#define GCRA_FILL_MAX_MS  (366ll * 24 * 3600 * 1000) /* how long a bucket may take to fill up */

struct gcra_rule {
    uint64_t step; /* ticks from one request to the next */
    uint64_t full; /* of a whole bucket */
};

/* `requests` (at least 1) in `interval_ns`, `burst` (at least 1) at once. A bucket that takes longer to fill than
 * GCRA_FILL_MAX_MS holds what fits in that. */
struct gcra_rule gcra_rule_of(uint32_t requests, int64_t interval_ns, uint32_t burst);

struct gcra_verdict {
    bool allowed;
    uint32_t remaining; /* requests that would still be allowed now */
    int64_t reset_ms;   /* until the bucket is full, rounded up */
    int64_t retry_ms;   /* until the next request is allowed, rounded up; 0: now */
};

void gcra_init(atomic_ullong *bucket, int64_t now_ms); /* full */
bool gcra_is_full(atomic_ullong *bucket, int64_t now_ms);
struct gcra_verdict gcra_take(atomic_ullong *bucket, const struct gcra_rule *r, int64_t now_ms);
void gcra_give_back(atomic_ullong *bucket, const struct gcra_rule *r); /* what gcra_take allowed did not happen */
