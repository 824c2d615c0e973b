#include "proxy/gcra.h"

#define TICKS_PER_NS (GCRA_TICKS_PER_MS / 1000000)
#define FULL_MAX     ((uint64_t)GCRA_FILL_MAX_MS * GCRA_TICKS_PER_MS)

/* A bucket that is emptier than empty by more than this was filled under other rules. By less, a worker whose clock is
 * behind looks at it: its turn may have begun before that of the one who took last. */
#define SKEW (1000 * GCRA_TICKS_PER_MS)

_Static_assert(FULL_MAX < (uint64_t)1 << 62, "a difference of moments has a sign");

static uint64_t now_ticks(int64_t now_ms)
{
    return (uint64_t)now_ms * GCRA_TICKS_PER_MS; /* modulo 2^64 */
}

struct gcra_rule gcra_rule_of(uint32_t requests, int64_t interval_ns, uint32_t burst)
{
    uint64_t interval, step, full;

    if (__builtin_mul_overflow((uint64_t)interval_ns, TICKS_PER_NS, &interval))
        interval = UINT64_MAX;
    step = MIN(MAX(interval / requests, 1), FULL_MAX);
    if (__builtin_mul_overflow(step, burst, &full) || full > FULL_MAX)
        full = FULL_MAX - FULL_MAX % step;
    return (struct gcra_rule){step, full};
}

static int64_t ms_up(uint64_t ticks)
{
    return (int64_t)((ticks + GCRA_TICKS_PER_MS - 1) / GCRA_TICKS_PER_MS);
}

/* `used`: ticks until the bucket is full. */
static struct gcra_verdict verdict(const struct gcra_rule *r, bool allowed, uint64_t used)
{
    uint64_t left = used < r->full ? r->full - used : 0;

    return (struct gcra_verdict){
        .allowed = allowed,
        .remaining = (uint32_t)MIN(left / r->step, UINT32_MAX),
        .reset_ms = ms_up(used),
        .retry_ms = left >= r->step ? 0 : ms_up(used + r->step - r->full),
    };
}

void gcra_init(atomic_ullong *bucket, int64_t now_ms)
{
    atomic_init(bucket, now_ticks(now_ms));
}

bool gcra_is_full(atomic_ullong *bucket, int64_t now_ms)
{
    return (int64_t)(atomic_load_explicit(bucket, memory_order_relaxed) - now_ticks(now_ms)) <= 0;
}

struct gcra_verdict gcra_take(atomic_ullong *bucket, const struct gcra_rule *r, int64_t now_ms)
{
    uint64_t now = now_ticks(now_ms);
    unsigned long long was = atomic_load_explicit(bucket, memory_order_relaxed), next;
    uint64_t used;
    bool allowed;

    do {
        int64_t ahead = (int64_t)(was - now);

        used = ahead > 0 ? (uint64_t)ahead : 0;
        allowed = used + r->step <= r->full;
        if (allowed)
            used += r->step;
        else if (used > r->full + SKEW)
            used = r->full;
        else
            break;
        next = now + used;
    } while (!atomic_compare_exchange_weak_explicit(bucket, &was, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return verdict(r, allowed, used);
}

void gcra_give_back(atomic_ullong *bucket, const struct gcra_rule *r)
{
    atomic_fetch_sub_explicit(bucket, r->step, memory_order_relaxed);
}
