#include "proxy/outlier.h"

#include <inttypes.h>

#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/snapshot.h"
#include "proxy/cluster.h"

#define EJECTION_MS_MAX 300000 /* Envoy's max_ejection_time */

struct detector *detector_new(struct str name)
{
    struct detector *d = MEM_NEW(struct detector);

    atomic_init(&d->refs, 1);
    d->name = str_copy(name);
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

struct detector *detector_ref(struct detector *d)
{
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

void detector_unref(struct detector *d)
{
    if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&d->lock);
    str_free(d->name);
    mem_free(d);
}

/* ---- ejection ---- */

bool outlier_is_out(const struct endpoint_block *block, int64_t now_ms)
{
    return atomic_load_explicit(&block->out_until_ms, memory_order_acquire) > now_ms;
}

static size_t count_out(const struct cluster_view *v, int64_t now_ms)
{
    size_t n = 0;

    for (size_t i = 0; i < v->set->count; i++)
        n += outlier_is_out(v->blocks[i], now_ms);
    return n;
}

static const struct endpoint *endpoint_of(const struct cluster_view *v, const struct endpoint_block *block)
{
    for (size_t i = 0; i < v->set->count; i++) {
        if (v->blocks[i] == block)
            return &v->set->endpoints[i];
    }
    return NULL;
}

/* Times that it was out, less one for each interval since in which it was not. */
static unsigned times_out(const struct endpoint_block *block, const struct outlier_policy *p, int64_t now_ms)
{
    int64_t back_ms = atomic_load(&block->out_until_ms), since = now_ms - back_ms;
    int64_t forgiven = p->interval_ms > 0 && back_ms > 0 ? since / p->interval_ms : 0;

    return forgiven < block->times_out ? block->times_out - (unsigned)forgiven : 0;
}

/* Nobody waits for the log: it is written when the lock is free again. */
static void tell(const struct cluster_view *v, const struct endpoint *ep, const char *why, int64_t for_ms)
{
    char addr[ADDR_TEXT_MAX];

    if (for_ms > 0)
        log_warn("endpoint left out cluster=%.*s endpoint=%s reason=%s for_ms=%" PRId64, STR_ARG(v->detector->name),
                 addr_format(&ep->addr, addr), why, for_ms);
}

static void tell_return(const struct cluster_view *v, const struct endpoint *ep, int64_t out_ms)
{
    char addr[ADDR_TEXT_MAX];

    if (out_ms >= 0)
        log_info("endpoint is back cluster=%.*s endpoint=%s out_ms=%" PRId64, STR_ARG(v->detector->name),
                 addr_format(&ep->addr, addr), out_ms);
}

/* Under the lock, so that it is told once. How long it was out; -1: it is, or its return was told. */
static int64_t come_back(struct endpoint_block *block, int64_t now_ms)
{
    int64_t since = atomic_load_explicit(&block->out_since_ms, memory_order_relaxed);

    if (since == 0 || outlier_is_out(block, now_ms))
        return -1;
    atomic_store_explicit(&block->out_since_ms, 0, memory_order_relaxed);
    return (int64_t)atomic_load(&block->out_until_ms) - since;
}

static void end_runs(struct endpoint_block *block)
{
    atomic_store_explicit(&block->run_errors, 0, memory_order_relaxed);
    atomic_store_explicit(&block->run_gateway, 0, memory_order_relaxed);
    atomic_store_explicit(&block->run_local, 0, memory_order_relaxed);
}

/* Under the lock. All rows end, so that the endpoint begins anew when it is back. For how long; 0: it stays. */
static int64_t eject(struct cluster_view *v, const struct outlier_policy *p, struct endpoint_block *block, int64_t now_ms)
{
    int64_t for_ms, most_ms = MAX(p->base_ms, (int64_t)EJECTION_MS_MAX);
    unsigned times;

    if ((count_out(v, now_ms) + 1) * 100 > (size_t)p->max_percent * v->set->count) {
        atomic_fetch_add_explicit(&v->detector->overflows, 1, memory_order_relaxed);
        return 0;
    }
    times = times_out(block, p, now_ms);
    if (p->base_ms * times < p->base_ms + most_ms) /* as Envoy counts: further would take too long to be forgiven */
        times++;
    block->times_out = times;
    for_ms = MIN(p->base_ms * times, most_ms);
    end_runs(block);
    atomic_store_explicit(&block->out_since_ms, now_ms, memory_order_relaxed);
    atomic_store_explicit(&block->out_until_ms, now_ms + for_ms, memory_order_release);
    atomic_fetch_add_explicit(&v->detector->ejections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&v->detector->generation, 1, memory_order_release);
    return for_ms;
}

static void leave_one_out(struct cluster_view *v, const struct outlier_policy *p, struct endpoint_block *block,
                          const char *why, int64_t now_ms)
{
    const struct endpoint *ep = endpoint_of(v, block);
    int64_t for_ms = 0, out_ms = -1;

    if (!ep)
        return;
    pthread_mutex_lock(&v->detector->lock);
    if (!outlier_is_out(block, now_ms)) {
        out_ms = come_back(block, now_ms); /* of the last time, if nobody has looked since */
        for_ms = eject(v, p, block, now_ms);
    }
    pthread_mutex_unlock(&v->detector->lock);
    tell_return(v, ep, out_ms);
    tell(v, ep, why, for_ms);
}

/* ---- runs of failures ---- */

/* One more in a row, or the end of the row. */
static void count_run(struct cluster_view *v, const struct outlier_policy *p, struct endpoint_block *block,
                      atomic_uint *run, bool failed, uint32_t limit, const char *why, int64_t now_ms)
{
    if (!failed) {
        if (atomic_load_explicit(run, memory_order_relaxed) > 0)
            atomic_store_explicit(run, 0, memory_order_relaxed);
        return;
    }
    if (limit == 0 || atomic_fetch_add_explicit(run, 1, memory_order_relaxed) + 1 < limit)
        return;
    atomic_store_explicit(run, 0, memory_order_relaxed);
    leave_one_out(v, p, block, why, now_ms);
}

static bool is_error(const struct outlier_policy *p, unsigned status)
{
    for (size_t i = 0; i < p->status_count; i++) {
        if (p->statuses[i] == status)
            return true;
    }
    return p->status_count == 0 && status >= 500 && status <= 599;
}

static bool is_gateway_error(unsigned status)
{
    return status >= 502 && status <= 504;
}

void outlier_report(struct cluster_view *v, const struct cluster *c, struct endpoint_block *block,
                    enum outlier_result result, unsigned status, int64_t now_ms)
{
    const struct outlier_policy *p = &c->outlier;
    bool local = result == OUTLIER_LOCAL, failed = local || is_error(p, status);

    if (!p->is_on || !v->set || outlier_is_out(block, now_ms)) /* what was under way says nothing new */
        return;
    if (p->splits_local && result != OUTLIER_ANSWER) {
        count_run(v, p, block, &block->run_local, local, p->local_failures, "local-origin", now_ms);
        return;
    }
    if (result == OUTLIER_CONNECTED) /* without the split an answer alone is a success */
        return;
    count_run(v, p, block, &block->run_gateway, local || (failed && is_gateway_error(status)), p->gateway_errors,
              "gateway-errors", now_ms);
    count_run(v, p, block, &block->run_errors, failed, p->errors, "5xx", now_ms);
}

/* ---- views ---- */

static void use_all(struct cluster_view *v)
{
    for (size_t i = 0; i < v->set->count; i++)
        v->left_out[i] = false;
}

void outlier_show_all(struct cluster_view *v)
{
    use_all(v);
    balance_levels_done(&v->levels);
    v->left_out_is_known = false;
}

/* Under the lock: without a policy the time of everyone ends now. */
static void end_time(struct endpoint_block *block, int64_t now_ms)
{
    if (outlier_is_out(block, now_ms))
        atomic_store_explicit(&block->out_until_ms, now_ms, memory_order_release);
}

/* Those whose time is over. */
static void take_back(struct cluster_view *v, const struct cluster *c, int64_t now_ms)
{
    for (size_t i = 0; i < v->set->count; i++) {
        int64_t out_ms;

        if (atomic_load_explicit(&v->blocks[i]->out_since_ms, memory_order_relaxed) == 0)
            continue;
        pthread_mutex_lock(&v->detector->lock);
        if (!c->outlier.is_on)
            end_time(v->blocks[i], now_ms);
        out_ms = come_back(v->blocks[i], now_ms);
        pthread_mutex_unlock(&v->detector->lock);
        tell_return(v, &v->set->endpoints[i], out_ms);
    }
}

static void leave_out(struct cluster_view *v, int64_t now_ms)
{
    for (size_t i = 0; i < v->set->count; i++) {
        int64_t until = atomic_load_explicit(&v->blocks[i]->out_until_ms, memory_order_acquire);

        v->left_out[i] = until > now_ms;
        if (v->left_out[i])
            v->refresh_ms = MIN(v->refresh_ms, until);
    }
}

void outlier_refresh(struct cluster_view *v, const struct cluster *c, int64_t now_ms)
{
    unsigned generation = atomic_load_explicit(&v->detector->generation, memory_order_acquire);

    if (!v->set)
        return;
    if (v->left_out_is_known && generation == v->generation && now_ms < v->refresh_ms &&
        v->shows_outliers == c->outlier.is_on && v->min_health_percent == c->outlier.min_health_percent)
        return;
    v->left_out_is_known = true;
    v->generation = generation;
    v->shows_outliers = c->outlier.is_on;
    v->min_health_percent = c->outlier.min_health_percent;
    v->refresh_ms = INT64_MAX;
    take_back(v, c, now_ms);
    if (c->outlier.is_on)
        leave_out(v, now_ms);
    else
        use_all(v);
    balance_levels_done(&v->levels);
}
