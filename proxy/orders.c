#include "proxy/orders.h"

#include "mesh/retry_word.h"
#include "proxy/exchange.h"

#define ATTEMPTS_MAX   1000u
#define TIMEOUT_MAX_MS (24 * 3600 * 1000u)

enum {
    FROM_HOST = BIT(LISTENER_OUTBOUND),
    FROM_PEER = BIT(LISTENER_INBOUND),
    FROM_EDGE = BIT(LISTENER_GATEWAY)
};

#define FROM_OUTSIDE  (FROM_PEER | FROM_EDGE)
#define FROM_ANYWHERE (FROM_HOST | FROM_OUTSIDE)

/* What is obeyed: the first rows. */
enum order {
    RETRY_ON,
    RETRY_GRPC_ON,
    MAX_RETRIES,
    STATUS_CODES,
    HEADER_NAMES,
    TIMEOUT_MS,
    TRY_TIMEOUT_MS,
    ORDERS
};

#define TIMEOUTS (BIT(TIMEOUT_MS) | BIT(TRY_TIMEOUT_MS))
#define RETRIES  (BIT(ORDERS) - 1 - TIMEOUTS)
#define PREFIX   "x-envoy-"

/* clang-format off */
static const struct {
    struct str name;       /* behind the prefix */
    unsigned dropped_from; /* who may not say it */
} rows[] = {
    [RETRY_ON] = {STR_INIT("retry-on"), FROM_OUTSIDE},
    [RETRY_GRPC_ON] = {STR_INIT("retry-grpc-on"), FROM_OUTSIDE},
    [MAX_RETRIES] = {STR_INIT("max-retries"), FROM_OUTSIDE},
    [STATUS_CODES] = {STR_INIT("retriable-status-codes"), FROM_OUTSIDE},
    [HEADER_NAMES] = {STR_INIT("retriable-header-names"), FROM_OUTSIDE},
    [TIMEOUT_MS] = {STR_INIT("upstream-rq-timeout-ms"), FROM_OUTSIDE},
    [TRY_TIMEOUT_MS] = {STR_INIT("upstream-rq-per-try-timeout-ms"), FROM_OUTSIDE},
    {STR_INIT("upstream-rq-timeout-alt-response"), FROM_ANYWHERE},
    {STR_INIT("upstream-alt-stat-name"), FROM_ANYWHERE},
    {STR_INIT("hedge-on-per-try-timeout"), FROM_ANYWHERE},
    {STR_INIT("force-trace"), FROM_ANYWHERE},
    {STR_INIT("ip-tags"), FROM_ANYWHERE},
    {STR_INIT("internal"), FROM_EDGE},
    {STR_INIT("external-address"), FROM_EDGE},
    {STR_INIT("original-path"), FROM_EDGE},
    {STR_INIT("original-host"), FROM_EDGE},
    {STR_INIT("decorator-operation"), FROM_EDGE},
    {STR_INIT("downstream-service-cluster"), FROM_EDGE},
    {STR_INIT("downstream-service-node"), FROM_EDGE},
};
/* clang-format on */

/* COUNT(rows): it is none of them. */
static size_t row_of(struct str name)
{
    struct str rest;
    size_t i = 0;

    if (!str_starts(name, STR(PREFIX)))
        return COUNT(rows);
    rest = str_sub(name, sizeof(PREFIX) - 1, name.n);
    while (i < COUNT(rows) && !str_eq(rest, rows[i].name))
        i++;
    return i;
}

void orders_drop(const struct exchange *x, struct http_head *h)
{
    unsigned from = BIT(x->conn->kind);
    size_t kept = 0;

    for (size_t i = 0; i < h->count; i++) {
        struct http_field f = h->fields[i];
        size_t row = row_of(f.name);

        if (row == COUNT(rows) || !(rows[row].dropped_from & from))
            h->fields[kept++] = f;
    }
    h->count = kept;
}

/* Takes those of `wanted` out, with the value that comes first; empty: there is none. Which there
 * were. */
static unsigned take_orders(struct http_head *h, unsigned wanted, struct str values[ORDERS])
{
    unsigned found = 0;
    size_t kept = 0;

    for (size_t i = 0; i < ORDERS; i++)
        values[i] = STR_NONE;
    for (size_t i = 0; i < h->count; i++) {
        struct http_field f = h->fields[i];
        size_t row = row_of(f.name);

        if (row >= ORDERS || !(wanted & BIT(row))) {
            h->fields[kept++] = f;
            continue;
        }
        if (!(found & BIT(row)))
            values[row] = f.value;
        found |= BIT(row);
    }
    h->count = kept;
    return found;
}

/* A policy of the request's own. */
static struct retry_policy *own_policy(struct exchange *x)
{
    struct retry_policy *p = ARENA_NEW(&x->arena, struct retry_policy);

    *p = *x->retry;
    x->retry = p;
    return p;
}

void orders_take_timeouts(struct exchange *x)
{
    struct str values[ORDERS];
    uint64_t ms;

    if (!take_orders(&x->request, TIMEOUTS, values))
        return;
    if (str_uint(values[TIMEOUT_MS], 0, TIMEOUT_MAX_MS, &ms))
        x->timeout_ms = (int64_t)ms;
    if (str_uint(values[TRY_TIMEOUT_MS], 0, TIMEOUT_MAX_MS, &ms))
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
    struct str values[ORDERS];
    struct retry_policy *p;
    uint64_t n;

    if (!take_orders(&x->request, RETRIES, values))
        return;
    p = own_policy(x);
    add_conditions(p, words_of(values[RETRY_ON]) | words_of(values[RETRY_GRPC_ON]));
    if (str_uint(values[MAX_RETRIES], 0, ATTEMPTS_MAX, &n) && p->on)
        p->attempts = (uint32_t)n;
    add_codes(x, p, values[STATUS_CODES]);
    x->retry_names = values[HEADER_NAMES];
}
