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

/* "a/b/c"; "*" at the end, or nothing, stands for all that is inside. */
static bool locality_overlaps(struct str a, struct str b)
{
    struct str x, y;

    for (;;) {
        bool more_a = str_next(&a, '/', &x), more_b = str_next(&b, '/', &y);

        if (!more_a || !more_b || str_eq(x, STR("*")) || str_eq(y, STR("*")))
            return true;
        if (!str_eq(x, y))
            return false;
    }
}

static void check_distribute(const struct check *c, const struct locality_lb *l)
{
    for (size_t i = 0; i < l->distribute_count; i++) {
        struct str from = l->distribute[i].from;
        const struct node *at = check_member(l->distribute[i].node, "from");

        if (from.n && str_has(str_sub(from, 0, from.n - 1), '*'))
            FAIL(c, at, FIND_VALUE, "\"%.*s\": one '*' is allowed, at the end", STR_ARG(from));
        for (size_t j = 0; j < i; j++) {
            if (locality_overlaps(from, l->distribute[j].from)) {
                FAIL(c, at, FIND_VALUE, "\"%.*s\" overlaps with \"%.*s\"", STR_ARG(from),
                     STR_ARG(l->distribute[j].from));
                break;
            }
        }
    }
}

static void check_failover_labels(const struct check *c, const struct locality_lb *l)
{
    static const struct str places[] = {STR_INIT("topology.kubernetes.io/region"),
                                        STR_INIT("topology.kubernetes.io/zone"),
                                        STR_INIT("topology.istio.io/subzone")};

    for (size_t i = 0; i < l->failover_priority_count; i++) {
        for (size_t j = 0; j < COUNT(places); j++) {
            if (str_starts(l->failover_priority[i], places[j]))
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
    if (lb->warmup && lb->warmup->aggression <= 0)
        FAIL(c, lb->warmup->node, FIND_VALUE, "warmup.aggression must be more than 0: 1 is a straight line");
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
