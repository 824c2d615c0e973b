/* Limits of requests (RateLimit), refused in the words of Envoy's local rate limit. A request takes from all limits that
 * fit or from none. It is judged after the answer to a preflight, which takes nothing, and right before what the route
 * does: a refusal so tells a browser what it may read. */
#include "proxy/rate_limit.h"

#include "proxy/exchange.h"
#include "proxy/filter/filter.h"

#define GRPC_UNAVAILABLE 14

#define NETWORK6_BYTES 8 /* of a client's address: a host has all of a /64 to choose from */

static bool fits(const struct exchange *x, const struct limit *l)
{
    return l->rule.n == 0 || str_eq(l->rule, x->route->rule);
}

static struct str key_of(const struct exchange *x, const struct limit *l)
{
    const struct addr *remote = &x->conn->remote;
    struct str value = STR_NONE;

    switch (l->key) {
    case LIMIT_KEY_NONE:
        break;
    case LIMIT_KEY_ADDRESS:
        return (struct str){(const char *)remote->ip, remote->family == 6 ? NETWORK6_BYTES : 4};
    case LIMIT_KEY_PRINCIPAL:
        return x->conn->peer_uri;
    case LIMIT_KEY_HEADER:
        (void)http_field_get(&x->down->in_head, l->header, &value); /* those without it share a bucket */
        break;
    }
    return value;
}

static struct limiter *limiter_of(struct exchange *x, const struct limit *l)
{
    struct worker *w = x->worker;

    return limiter_get(&w->limiters, &w->proxy->limiters, l, loop_now_ms(w->loop));
}

/* Of several limits the one that has least left is told. */
static void remember(struct exchange *x, const struct limit *l, const struct gcra_verdict *v)
{
    struct limit_note *n = &x->filter.limit;

    if (!l->has_headers || (v->allowed && n->limit && n->remaining <= v->remaining))
        return;
    *n = (struct limit_note){l, v->remaining, v->reset_ms};
}

static struct str seconds(struct exchange *x, int64_t ms)
{
    return arena_printf(&x->arena, "%lld", (long long)(ms + 999) / 1000);
}

/* The limits before `l` have allowed it in vain. */
static enum filter_verdict refuse(struct exchange *x, const struct limit *l, const struct gcra_verdict *v,
                                  struct filter_answer *out)
{
    for (const struct limit *at = x->listener->limits; at < l; at++) {
        if (fits(x, at))
            limiter_give_back(limiter_of(x, at), at, key_of(x, at));
    }
    limiter_count(limiter_of(x, l), false);
    x->filter.limit = (struct limit_note){0};
    remember(x, l, v);
    filter_refusal(x, OUTCOME_RATE_LIMITED, l->status, GRPC_UNAVAILABLE, out);
    http_add(&out->head, STR("x-envoy-ratelimited"), STR("true")); /* callers do not try again by default */
    if (l->has_headers)
        http_add(&out->head, STR("retry-after"), seconds(x, MAX(v->retry_ms, 1)));
    return FILTER_ANSWER;
}

static enum filter_verdict on_request(struct exchange *x, struct filter_answer *out)
{
    const struct listener *l = x->listener;

    for (size_t i = 0; i < l->limit_count; i++) {
        const struct limit *limit = &l->limits[i];
        struct gcra_verdict v;

        if (!fits(x, limit))
            continue;
        v = limiter_take(limiter_of(x, limit), limit, key_of(x, limit), loop_now_ms(x->worker->loop));
        if (!v.allowed)
            return refuse(x, limit, &v, out);
        remember(x, limit, &v);
    }
    for (size_t i = 0; i < l->limit_count; i++) {
        if (fits(x, &l->limits[i]))
            limiter_count(limiter_of(x, &l->limits[i]), true);
    }
    return FILTER_CONTINUE;
}

static void on_response(struct exchange *x, struct http_head *h)
{
    const struct limit_note *n = &x->filter.limit;

    if (!n->limit)
        return;
    http_set(h, STR("ratelimit-limit"), arena_printf(&x->arena, "%u", n->limit->burst));
    http_set(h, STR("ratelimit-remaining"), arena_printf(&x->arena, "%u", n->remaining));
    http_set(h, STR("ratelimit-reset"), seconds(x, n->reset_ms));
}

const struct filter rate_limit_filter = {.name = "rate_limit", .request = on_request, .response = on_response};
