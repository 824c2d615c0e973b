#include "mesh/kinds/check.h"

#include "mesh/base/limits.h"

static void check_outlier(const struct check *c, const struct outlier_detection *o)
{
    if (o->has_consecutive_local_origin_failures && o->consecutive_local_origin_failures > 0 &&
        !o->split_external_local_origin_errors)
        FAIL(c, o->node, FIND_VALUE,
             "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors: true");
}

static void check_client_tls(const struct check *c, const struct client_tls *t)
{
    bool files = t->client_certificate.n || t->private_key.n;

    if (t->mode != CLIENT_TLS_SIMPLE && t->mode != CLIENT_TLS_MUTUAL)
        return; /* the others have no certificates of their own */
    if (t->mode == CLIENT_TLS_MUTUAL && !t->credential_name.n &&
        (!t->client_certificate.n || !t->private_key.n))
        FAIL(c, t->node, FIND_REQUIRED,
             "mode MUTUAL needs clientCertificate and privateKey, or credentialName");
    if (t->credential_name.n && (files || t->ca_certificates.n || t->ca_crl.n))
        FAIL(c, t->node, FIND_ONEOF,
             "credentialName excludes clientCertificate, privateKey, caCertificates and caCrl");
    if (t->insecure_skip_verify && (t->ca_certificates.n || t->subject_alt_names_count ||
                                    (t->credential_name.n && t->mode == CLIENT_TLS_SIMPLE)))
        FAIL(c, t->node, FIND_ONEOF,
             "insecureSkipVerify excludes caCertificates and subjectAltNames");
}

static bool is_prime(uint64_t n)
{
    for (uint64_t i = 2; i * i <= n; i++) {
        if (n % i == 0)
            return false;
    }
    return n > 1;
}

static void check_hash(const struct check *c, const struct consistent_hash *h)
{
    if (h->maglev && h->maglev->table_size <= LIMIT_MAGLEV_SLOTS && !is_prime(h->maglev->table_size))
        FAIL(c, h->maglev->node, FIND_VALUE, "maglev.tableSize must be a prime");
    if (h->minimum_ring_size && (h->ring_hash || h->maglev))
        FAIL(c, check_member(h->node, "minimumRingSize"), FIND_ONEOF,
             "minimumRingSize excludes ringHash and maglev");
    for (size_t i = 0; h->cookie && i < h->cookie->attributes_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (str_eq(h->cookie->attributes[i].name, h->cookie->attributes[j].name))
                FAIL(c, h->cookie->attributes[i].node, FIND_VALUE,
                     "the attribute \"%.*s\" is given twice",
                     STR_ARG(h->cookie->attributes[i].name));
        }
    }
}

/* One part of "region/zone/subzone": nothing, and "*" at the end, stand for all that is inside. */
struct place {
    struct str part[3];
    size_t depth;
};

static bool parse_place(const struct check *c, const struct node *at, struct str s, struct place *out)
{
    struct str rest = s;
    bool has_blank = false;

    *out = (struct place){.depth = 0};
    while (out->depth < 2 && str_cut(&rest, '/', &out->part[out->depth])) {
        has_blank = has_blank || out->part[out->depth].n == 0;
        out->depth++;
    }
    out->part[out->depth++] = rest;
    if (has_blank || rest.n == 0) {
        FAIL(c, at, FIND_VALUE, "\"%.*s\" is no locality: write region, region/zone or region/zone/subzone", STR_ARG(s));
        return false;
    }
    if (str_has(str_sub(s, 0, s.n - 1), '*')) {
        FAIL(c, at, FIND_VALUE, "\"%.*s\": one '*' is allowed, at the end", STR_ARG(s));
        return false;
    }
    return true;
}

/* Whether `later` is within `earlier`, or holds it as a whole region or zone; as Istio counts, "*" behind what it holds
 * is what remains. */
static bool place_overlaps(const struct place *later, const struct place *earlier)
{
    size_t common = MIN(later->depth, earlier->depth);

    for (size_t i = 0; i < common; i++) {
        if (str_eq(earlier->part[i], STR("*")))
            return true;
        if (!str_eq(later->part[i], earlier->part[i]))
            return false;
    }
    return true;
}

/* Localities of one list, in order. */
struct place_list {
    struct place *places; /* room for all of them */
    size_t count;
};

static struct place_list new_places(const struct check *c, size_t count)
{
    return (struct place_list){.places = ARENA_ARRAY(c->f->arena, count, struct place)};
}

static void add_place(const struct check *c, struct place_list *l, const struct node *at, struct str s)
{
    struct place *p = &l->places[l->count];

    if (!parse_place(c, at, s, p))
        return;
    for (size_t i = 0; i < l->count; i++) {
        if (place_overlaps(p, &l->places[i])) {
            FAIL(c, at, FIND_VALUE, "\"%.*s\" overlaps with an earlier locality of the list", STR_ARG(s));
            return;
        }
    }
    l->count++;
}

static void check_distribute(const struct check *c, const struct locality_lb *l)
{
    struct place_list from = new_places(c, l->distribute_count);

    for (size_t i = 0; i < l->distribute_count; i++) {
        const struct locality_distribute *d = &l->distribute[i];
        const struct node *shares = check_member(d->node, "to");
        struct place_list to = new_places(c, d->to_count);

        if (d->from.n)
            add_place(c, &from, check_member(d->node, "from"), d->from);
        for (size_t j = 0; j < d->to_count; j++)
            add_place(c, &to, check_member(shares, arena_str(c->f->arena, d->to[j].key).p), d->to[j].key);
    }
}

static void check_failover_labels(const struct check *c, const struct locality_lb *l)
{
    static const struct str places[] = {STR_INIT("topology.kubernetes.io/region"),
                                        STR_INIT("topology.kubernetes.io/zone"),
                                        STR_INIT("topology.istio.io/subzone")};

    for (size_t i = 0; i < l->failover_priority_count; i++) {
        for (size_t j = 0; j < COUNT(places); j++) {
            if (str_eq(l->failover_priority[i], places[j]))
                FAIL(c, check_element(l->node, "failoverPriority", i), FIND_ONEOF,
                     "places are ranked already: they exclude the label \"%.*s\"",
                     STR_ARG(places[j]));
        }
    }
}

void check_locality(const struct check *c, const struct locality_lb *l)
{
    check_distribute(c, l);
    if (l->failover_count)
        check_failover_labels(c, l);
    for (size_t i = 0; i < l->distribute_count; i++) {
        uint64_t total = 0;

        for (size_t j = 0; j < l->distribute[i].to_count; j++)
            total += l->distribute[i].to[j].value;
        if (total != 100)
            FAIL(c, l->distribute[i].node, FIND_VALUE,
                 "the shares of a distribution must make 100, not %llu", (unsigned long long)total);
    }
    for (size_t i = 0; i < l->failover_count; i++) {
        const struct locality_failover *o = &l->failover[i];

        if (str_eq(o->from, o->to))
            FAIL(c, o->node, FIND_VALUE, "failover needs two different regions");
        if (str_has(o->from, '/') || str_has(o->to, '/') || str_has(o->from, '*') ||
            str_has(o->to, '*'))
            FAIL(c, o->node, FIND_VALUE, "failover names regions only, without '/' and '*'");
    }
}

void check_pool(const struct check *c, const struct connection_pool *p)
{
    if (!p->tcp && !p->http)
        FAIL(c, p->node, FIND_VALUE, "connectionPool is empty: give tcp or http, or leave it out");
    if (p->http && p->http->use_client_protocol && p->http->h2_upgrade == H2_UPGRADE_ALWAYS)
        FAIL(c, p->http->node, FIND_ONEOF, "useClientProtocol excludes h2UpgradePolicy UPGRADE");
}

/* What has failed is known by outlier detection only. */
static void warn_failover(const struct check *c, const struct locality_lb *l,
                          const struct outlier_detection *outlier)
{
    if (l && !outlier && (l->failover_count || l->failover_priority_count))
        WARN(c, l->node, "failover has no effect without outlierDetection, which tells what has failed");
}

static void check_warmup(const struct check *c, const struct load_balancer *lb)
{
    bool warms = lb->warmup || lb->warmup_duration_ns != DURATION_UNSET;
    bool fits = !lb->consistent_hash && lb->simple != LOAD_BALANCER_RANDOM && lb->simple != LOAD_BALANCER_PASSTHROUGH;

    if (warms && !fits)
        WARN(c, lb->warmup ? lb->warmup->node : lb->node,
             "warmup has an effect with ROUND_ROBIN and LEAST_REQUEST only");
}

static void check_blocks(const struct check *c, const struct load_balancer *lb,
                         const struct connection_pool *pool,
                         const struct outlier_detection *outlier, const struct client_tls *tls)
{
    if (lb && lb->consistent_hash)
        check_hash(c, lb->consistent_hash);
    if (lb)
        check_warmup(c, lb);
    if (lb && lb->locality)
        check_locality(c, lb->locality);
    warn_failover(c, lb ? lb->locality : NULL, outlier);
    if (pool)
        check_pool(c, pool);
    if (outlier)
        check_outlier(c, outlier);
    if (tls)
        check_client_tls(c, tls);
}

void check_policy(const struct check *c, const struct traffic_policy *p)
{
    if (!p->load_balancer && !p->connection_pool && !p->outlier_detection && !p->tls &&
        !p->port_level_count && !p->tunnel && !p->proxy_protocol && !p->retry_budget)
        FAIL(c, p->node, FIND_VALUE,
             "trafficPolicy is empty: give it a block such as loadBalancer, or leave it out");
    check_blocks(c, p->load_balancer, p->connection_pool, p->outlier_detection, p->tls);
    for (size_t i = 0; i < p->port_level_count; i++) {
        const struct port_traffic_policy *q = &p->port_level[i];

        if (!q->load_balancer && !q->connection_pool && !q->outlier_detection && !q->tls)
            FAIL(c, q->node, FIND_VALUE, "this entry has a port but no block such as loadBalancer");
        check_blocks(c, q->load_balancer, q->connection_pool, q->outlier_detection, q->tls);
    }
}
