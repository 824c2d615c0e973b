#include "proxy/orders.h"

#include "mesh/retry_word.h"
#include "proxy/exchange.h"

#define ATTEMPTS_MAX   1000u
#define TIMEOUT_MAX_MS (24 * 3600 * 1000u)

enum { FROM_HOST = BIT(LISTENER_OUTBOUND), FROM_PEER = BIT(LISTENER_INBOUND), FROM_EDGE = BIT(LISTENER_GATEWAY) };

static const struct str retry_on = STR_INIT("x-envoy-retry-on"), retry_grpc_on = STR_INIT("x-envoy-retry-grpc-on"),
                        max_retries = STR_INIT("x-envoy-max-retries"),
                        status_codes = STR_INIT("x-envoy-retriable-status-codes"),
                        header_names = STR_INIT("x-envoy-retriable-header-names"),
                        timeout_ms = STR_INIT("x-envoy-upstream-rq-timeout-ms"),
                        per_try_timeout_ms = STR_INIT("x-envoy-upstream-rq-per-try-timeout-ms");

#define PREFIX "x-envoy-"

static bool is_dropped(struct str name, unsigned from)
{
    static const struct {
        struct str name;
        unsigned at;
    } rows[] = {
        {STR_INIT("retry-on"),                         FROM_PEER | FROM_EDGE            },
        {STR_INIT("retry-grpc-on"),                    FROM_PEER | FROM_EDGE            },
        {STR_INIT("max-retries"),                      FROM_PEER | FROM_EDGE            },
        {STR_INIT("retriable-status-codes"),           FROM_PEER | FROM_EDGE            },
        {STR_INIT("retriable-header-names"),           FROM_PEER | FROM_EDGE            },
        {STR_INIT("upstream-rq-timeout-ms"),           FROM_PEER | FROM_EDGE            },
        {STR_INIT("upstream-rq-per-try-timeout-ms"),   FROM_PEER | FROM_EDGE            },
        {STR_INIT("upstream-rq-timeout-alt-response"), FROM_HOST | FROM_PEER | FROM_EDGE},
        {STR_INIT("upstream-alt-stat-name"),           FROM_HOST | FROM_PEER | FROM_EDGE},
        {STR_INIT("hedge-on-per-try-timeout"),         FROM_HOST | FROM_PEER | FROM_EDGE},
        {STR_INIT("force-trace"),                      FROM_HOST | FROM_PEER | FROM_EDGE},
        {STR_INIT("ip-tags"),                          FROM_HOST | FROM_PEER | FROM_EDGE},
        {STR_INIT("internal"),                         FROM_EDGE                        },
        {STR_INIT("external-address"),                 FROM_EDGE                        },
        {STR_INIT("original-path"),                    FROM_EDGE                        },
        {STR_INIT("original-host"),                    FROM_EDGE                        },
        {STR_INIT("decorator-operation"),              FROM_EDGE                        },
        {STR_INIT("downstream-service-cluster"),       FROM_EDGE                        },
        {STR_INIT("downstream-service-node"),          FROM_EDGE                        },
    };
    struct str rest = str_sub(name, sizeof(PREFIX) - 1, name.n);

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (str_eq(rest, rows[i].name))
            return rows[i].at & from;
    }
    return false;
}

void orders_drop(const struct exchange *x, struct http_head *h)
{
    size_t kept = 0;

    for (size_t i = 0; i < h->count; i++) {
        struct http_field f = h->fields[i];

        if (!str_starts(f.name, STR(PREFIX)) || !is_dropped(f.name, BIT(x->conn->kind)))
            h->fields[kept++] = f;
    }
    h->count = kept;
}

/* Most requests order nothing. */
static bool orders_anything(const struct http_head *h)
{
    for (size_t i = 0; i < h->count; i++) {
        if (str_starts(h->fields[i].name, STR(PREFIX)))
            return true;
    }
    return false;
}

/* A policy of the request's own. */
static struct retry_policy *own_policy(struct exchange *x)
{
    struct retry_policy *p = ARENA_NEW(&x->arena, struct retry_policy);

    *p = *x->retry;
    x->retry = p;
    return p;
}

/* The value of a field, which is taken out. */
static bool take(struct http_head *h, struct str name, struct str *value)
{
    if (!http_get(h, name, value))
        return false;
    http_remove(h, name);
    return true;
}

static bool take_number(struct http_head *h, struct str name, uint64_t max, uint64_t *n)
{
    struct str text;

    return take(h, name, &text) && str_uint(text, 0, max, n);
}

void orders_take_timeouts(struct exchange *x)
{
    uint64_t ms;

    if (!orders_anything(&x->request))
        return;
    if (take_number(&x->request, timeout_ms, TIMEOUT_MAX_MS, &ms))
        x->timeout_ms = (int64_t)ms;
    if (take_number(&x->request, per_try_timeout_ms, TIMEOUT_MAX_MS, &ms))
        own_policy(x)->per_try_timeout_ms = (int64_t)ms;
}

static unsigned words_of(struct str list)
{
    unsigned on = 0;
    struct str word;

    while (str_next(&list, ',', &word))
        on |= retry_word(str_trim(word)); /* what is none says nothing */
    return on;
}

static void add_codes(struct exchange *x, struct retry_policy *p, struct str list)
{
    uint16_t *codes = ARENA_ARRAY(&x->arena, p->code_count + list.n / 2 + 1, uint16_t);
    struct str word;
    uint64_t code;

    for (size_t i = 0; i < p->code_count; i++)
        codes[i] = p->codes[i];
    p->codes = codes;
    while (str_next(&list, ',', &word)) {
        if (str_uint(str_trim(word), 100, 599, &code))
            codes[p->code_count++] = (uint16_t)code;
    }
}

/* Conditions are added to those of the rule; where that does not try again, there is one retry. */
static void add_conditions(struct retry_policy *p, unsigned on)
{
    p->on = (p->attempts > 0 ? p->on : 0) | on;
    if (p->attempts == 0 && on)
        p->attempts = 1;
}

void orders_take_retries(struct exchange *x)
{
    struct http_head *h = &x->request;
    struct retry_policy *p;
    struct str text;
    uint64_t n;
    unsigned on = 0;

    if (!orders_anything(h))
        return;
    p = own_policy(x);
    if (take(h, retry_on, &text))
        on |= words_of(text);
    if (take(h, retry_grpc_on, &text))
        on |= words_of(text);
    add_conditions(p, on);
    if (take_number(h, max_retries, ATTEMPTS_MAX, &n) && p->on)
        p->attempts = (uint32_t)n;
    if (take(h, status_codes, &text))
        add_codes(x, p, text);
    (void)take(h, header_names, &x->retry_names); /* nobody names any: none is looked for */
}
