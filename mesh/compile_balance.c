/* loadBalancer of a DestinationRule: how endpoints are chosen. Source: fields.md 4.5. */
#include "mesh/compile_parts.h"

#include <inttypes.h>

#include "mesh/base/buf.h"
#include "mesh/kinds/common.h"

#define RING_SIZE      1024u
#define WARMUP_LEAST   0.1
#define TAIL_BYTES     65536
#define NS_PER_SECOND  1000000000

/* ---- hashing ---- */

/* What follows the value of a cookie that we make; the form is Envoy's. Whole seconds; without any it is a cookie of the
 * session. */
static struct str cookie_tail(struct arena *a, const struct hash_cookie *k)
{
    struct str tail;
    struct buf b;

    buf_init(&b, TAIL_BYTES);
    if (k->ttl_ns >= NS_PER_SECOND)
        buf_printf(&b, "; Max-Age=%" PRId64, k->ttl_ns / NS_PER_SECOND);
    if (k->path.n)
        buf_printf(&b, "; Path=%.*s", STR_ARG(k->path));
    for (size_t i = 0; i < k->attributes_count; i++) {
        buf_printf(&b, "; %.*s", STR_ARG(k->attributes[i].name));
        if (k->attributes[i].value.n)
            buf_printf(&b, "=%.*s", STR_ARG(k->attributes[i].value));
    }
    buf_adds(&b, "; HttpOnly");
    tail = arena_str(a, buf_str(&b));
    buf_done(&b);
    return tail;
}

static void hash_by_cookie(struct arena *a, const struct hash_cookie *k, struct hash_rule *out)
{
    out->by = HASH_BY_COOKIE;
    out->name = arena_str(a, k->name);
    out->makes_cookie = k->ttl_ns != DURATION_UNSET;
    if (out->makes_cookie)
        out->cookie_tail = cookie_tail(a, k);
}

static void fill_hash(struct arena *a, const struct consistent_hash *h, struct hash_rule *out)
{
    if (h->header_name.n) {
        out->by = HASH_BY_HEADER;
        out->name = compile_lower(a, h->header_name);
    } else if (h->cookie) {
        hash_by_cookie(a, h->cookie, out);
    } else if (h->use_source_ip) {
        out->by = HASH_BY_SOURCE;
    } else if (h->query_parameter_name.n) {
        out->by = HASH_BY_QUERY;
        out->name = arena_str(a, h->query_parameter_name);
    }
}

static uint64_t ring_size(const struct consistent_hash *h)
{
    uint64_t size = h->ring_hash ? h->ring_hash->minimum_ring_size : h->minimum_ring_size;

    return size ? size : RING_SIZE;
}

void compile_ring(struct endpoint_set *set, const struct load_balancer *lb)
{
    const struct consistent_hash *h = lb ? lb->consistent_hash : NULL;

    if (!h)
        return;
    set->ring_kind = h->maglev ? RING_MAGLEV : RING_POINTS;
    set->ring_size = h->maglev ? h->maglev->table_size : ring_size(h);
}

/* ---- the kind ---- */

static enum balance_kind simple_kind(enum load_balancer_simple simple)
{
    switch (simple) {
    case LOAD_BALANCER_RANDOM:
        return BALANCE_RANDOM;
    case LOAD_BALANCER_ROUND_ROBIN:
        return BALANCE_ROUND_ROBIN;
    case LOAD_BALANCER_PASSTHROUGH:
        return BALANCE_PASSTHROUGH;
    case LOAD_BALANCER_UNSPECIFIED:
    case LOAD_BALANCER_LEAST_CONN:
    case LOAD_BALANCER_LEAST_REQUEST:
        break;
    }
    return BALANCE_LEAST_REQUEST;
}

/* ---- warmup ---- */

static bool can_warm_up(const struct load_balancer *lb)
{
    enum balance_kind kind = simple_kind(lb->simple);

    return !lb->consistent_hash && (kind == BALANCE_LEAST_REQUEST || kind == BALANCE_ROUND_ROBIN);
}

void compile_warmup(struct endpoint_set *set, const struct load_balancer *lb)
{
    const struct warmup *w = lb ? lb->warmup : NULL;

    if (!lb || !can_warm_up(lb))
        return;
    if (w) {
        set->warmup = (struct warmup_rule){compile_ms_or(w->duration_ns, 0), w->minimum_percent / 100, w->aggression};
    } else if (lb->warmup_duration_ns != DURATION_UNSET) {
        set->warmup = (struct warmup_rule){compile_ms_or(lb->warmup_duration_ns, 0), WARMUP_LEAST, 1};
    }
}

/* ---- all of it ---- */

void compile_balance(struct cluster *c, const struct load_balancer *lb)
{
    if (!lb)
        return;
    c->balance = lb->consistent_hash ? BALANCE_HASH : simple_kind(lb->simple);
    if (lb->consistent_hash)
        fill_hash(&c->part.arena, lb->consistent_hash, &c->hash);
    if (c->balance == BALANCE_PASSTHROUGH)
        c->kind = CLUSTER_ORIGINAL_DST;
}
