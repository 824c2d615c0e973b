#include "mesh/validate.h"

#include <string.h>

#include "mesh/base/map.h"
#include "mesh/decode.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/gateway.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/peer_authentication.h"
#include "mesh/kinds/service.h"
#include "mesh/kinds/service_entry.h"
#include "mesh/kinds/virtual_service.h"
#include "mesh/kinds/workload_entry.h"

#define HOSTS_MAX 256u

/* One object under examination. */
struct check {
    const struct object_meta *m;
    struct findings *f;
};

#define FAIL(c, at, code, ...)                                                                     \
    object_report((c)->f, (c)->m, (at), (code), SEVERITY_ERROR, __VA_ARGS__)
#define WARN(c, at, ...)                                                                           \
    object_report((c)->f, (c)->m, (at), FIND_WARNING, SEVERITY_WARNING, __VA_ARGS__)

/* The node of a member, else of the message: where to point. */
static const struct node *member(const struct node *message, const char *name)
{
    const struct node *n = message ? node_get(message, str_from(name)) : NULL;

    return n ? n : message;
}

static const struct node *element(const struct node *message, const char *name, size_t i)
{
    const struct node *list = message ? node_get(message, str_from(name)) : NULL;
    const struct node *n = list && list->kind == NODE_LIST ? node_at(list, i) : NULL;

    return n ? n : message;
}

/* Not given, or empty; something of a wrong type was reported by decode and is not "absent". */
static bool is_absent(const struct node *message, const char *name)
{
    const struct node *n = message ? node_get(message, str_from(name)) : NULL;

    return !n || n->kind == NODE_NULL || (n->kind == NODE_LIST && n->count == 0);
}

/* ---- shared ---- */

static void check_export_to(const struct check *c, const struct node *spec, const struct str *to,
                            size_t count)
{
    bool is_entry = c->m->kind->id == KIND_SERVICE_ENTRY;

    for (size_t i = 0; i < count; i++) {
        const struct node *at = element(spec, "exportTo", i);
        struct str own = str_eq(to[i], STR(".")) ? c->m->ns : to[i];

        if (str_eq(to[i], STR("~")) && !is_entry)
            FAIL(c, at, FIND_VALUE, "exportTo \"~\" (nobody) is for a ServiceEntry only");
        else if (count > 1 && (str_eq(to[i], STR("~")) || str_eq(to[i], STR("*"))))
            FAIL(c, at, FIND_VALUE, "exportTo \"%.*s\" must stand alone", STR_ARG(to[i]));
        for (size_t j = 0; j < i; j++) {
            if (str_eq(own, str_eq(to[j], STR(".")) ? c->m->ns : to[j])) {
                FAIL(c, at, FIND_VALUE, "exportTo names \"%.*s\" twice", STR_ARG(own));
                break;
            }
        }
    }
}

/* ---- Gateway ---- */

static bool is_unix(struct str address)
{
    return str_starts(address, STR("unix:"));
}

static void check_gateway_port(const struct check *c, const struct gateway_server *s)
{
    if (s->port.node && s->port.number == 0 && !is_unix(s->bind) &&
        is_absent(s->port.node, "number"))
        FAIL(c, s->port.node, FIND_REQUIRED,
             "number is required: the port to listen on, from 1 to 65535");
    else if (s->port.node && s->port.number == 0 && !is_unix(s->bind))
        FAIL(c, member(s->port.node, "number"), FIND_VALUE,
             "number must be from 1 to 65535, not 0");
    if (s->port.number != 0 && is_unix(s->bind))
        FAIL(c, member(s->port.node, "number"), FIND_VALUE,
             "a server on a unix socket has no port number");
}

static void validate_gateway(const struct check *c, const struct gateway *g)
{
    for (size_t i = 0; i < g->servers_count; i++) {
        const struct gateway_server *s = &g->servers[i];

        check_gateway_port(c, s);
        for (size_t j = 0; j < i; j++) {
            if (s->port.name.n && str_eq(s->port.name, g->servers[j].port.name)) {
                FAIL(c, member(s->port.node, "name"), FIND_VALUE,
                     "another server of this Gateway has a port named \"%.*s\"",
                     STR_ARG(s->port.name));
                break;
            }
        }
        for (size_t j = 0; j < i; j++) {
            if (s->name.n && str_eq(s->name, g->servers[j].name)) {
                WARN(c, member(s->node, "name"), "another server of this Gateway is named \"%.*s\"",
                     STR_ARG(s->name));
                break;
            }
        }
        if ((str_eq(s->port.protocol, STR("HTTPS")) || str_eq(s->port.protocol, STR("TLS"))) &&
            !s->tls)
            FAIL(c, s->port.node, FIND_REQUIRED, "a server for %.*s needs tls",
                 STR_ARG(s->port.protocol));
    }
}

/* ---- VirtualService ---- */

static bool is_mesh(struct str gateway)
{
    return str_eq(gateway, STR("mesh"));
}

static bool names_mesh(const struct str *gateways, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_mesh(gateways[i]))
            return true;
    }
    return count == 0;
}

static void check_hosts(const struct check *c, const struct virtual_service *vs)
{
    bool in_mesh = names_mesh(vs->gateways, vs->gateways_count);

    for (size_t i = 0; i < vs->hosts_count; i++) {
        const struct node *at = element(vs->node, "hosts", i);
        struct addr ip;

        if (in_mesh && (str_eq(vs->hosts[i], STR("*")) || addr_parse_ip(vs->hosts[i], &ip)))
            FAIL(c, at, FIND_VALUE,
                 "host \"%.*s\" is for gateways only: name them in `gateways`, without \"mesh\"",
                 STR_ARG(vs->hosts[i]));
        for (size_t j = 0; j < i; j++) {
            if (match_host_covers(vs->hosts[i], vs->hosts[j]) ||
                match_host_covers(vs->hosts[j], vs->hosts[i])) {
                FAIL(c, at, FIND_VALUE, "host \"%.*s\" overlaps with \"%.*s\"",
                     STR_ARG(vs->hosts[i]), STR_ARG(vs->hosts[j]));
                break;
            }
        }
    }
}

static void check_weights(const struct check *c, const struct node *rule,
                          const struct rule_destination *route, size_t count)
{
    int64_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += route[i].weight;
    if (count > 1 && total == 0)
        FAIL(c, member(rule, "route"), FIND_VALUE,
             "the weights of several destinations are all 0: nothing would be sent");
}

static void check_retries(const struct check *c, const struct http_retry *r)
{
    if (r->attempts == 0 && (r->per_try_timeout_ns != DURATION_UNSET || r->retry_on.n ||
                             r->has_retry_remote_localities))
        FAIL(c, r->node, FIND_VALUE,
             "attempts is 0, which turns retries off: leave the rest out, or give a number of "
             "attempts");
}

static void check_actions(const struct check *c, const struct http_rule *r)
{
    size_t given = (size_t)(r->route_count > 0) + (r->redirect != NULL) +
                   (r->direct_response != NULL) + (r->delegate != NULL);

    if (given == 0 && is_absent(r->node, "route"))
        FAIL(c, r->node, FIND_REQUIRED, "route is required: where do these requests go?");
    else if (given > 1)
        FAIL(c, r->node, FIND_ONEOF,
             "only one of route, redirect, directResponse and delegate may be given");
    if ((r->redirect || r->direct_response) && (r->fault || r->rewrite))
        FAIL(c, r->node, FIND_ONEOF, "redirect and directResponse exclude fault and rewrite");
    if (r->redirect && !r->redirect->uri.n && !r->redirect->authority.n && !r->redirect->scheme.n &&
        !r->redirect->has_port && !r->redirect->prefix_rewrite.n)
        FAIL(c, r->redirect->node, FIND_REQUIRED,
             "redirect needs uri, authority, scheme, port or prefixRewrite");
    if (r->rewrite && !r->rewrite->uri.n && !r->rewrite->authority.n && !r->rewrite->uri_regex)
        FAIL(c, r->rewrite->node, FIND_REQUIRED, "rewrite needs uri, uriRegexRewrite or authority");
    if (r->fault && !r->fault->delay && !r->fault->abort)
        FAIL(c, r->fault->node, FIND_REQUIRED, "fault needs delay or abort");
}

static bool is_any_path(const struct match_string *m)
{
    return m->kind == MATCH_ANY ||
           (m->kind == MATCH_PREFIX && (m->text.n == 0 || str_eq(m->text, STR("/")))) ||
           (m->kind == MATCH_REGEX && str_eq(m->text, STR(".*")));
}

static bool is_catch_all_match(const struct http_rule_match *m)
{
    return is_any_path(&m->uri) && m->scheme.kind == MATCH_ANY && m->method.kind == MATCH_ANY &&
           m->authority.kind == MATCH_ANY && m->headers_count == 0 && m->query_params_count == 0 &&
           m->without_headers_count == 0 && m->port == 0 && m->source_labels.count == 0 &&
           m->gateways_count == 0 && m->source_namespace.n == 0;
}

static bool is_catch_all(const struct http_rule *r)
{
    for (size_t i = 0; i < r->match_count; i++) {
        if (is_catch_all_match(&r->match[i]))
            return true;
    }
    return r->match_count == 0;
}

static void check_prefix_rewrite(const struct check *c, const struct http_rule *r)
{
    if (!r->redirect || !r->redirect->prefix_rewrite.n)
        return;
    for (size_t i = 0; i < r->match_count; i++) {
        if (r->match[i].uri.kind != MATCH_PREFIX && r->match[i].uri.kind != MATCH_ANY)
            FAIL(c, r->match[i].node, FIND_VALUE,
                 "redirect.prefixRewrite needs every match to have uri.prefix");
    }
}

static void check_http(const struct check *c, const struct virtual_service *vs)
{
    const struct http_rule *all = NULL;

    for (size_t i = 0; i < vs->http_count; i++) {
        const struct http_rule *r = &vs->http[i];

        check_actions(c, r);
        check_weights(c, r->node, r->route, r->route_count);
        check_prefix_rewrite(c, r);
        if (r->retries)
            check_retries(c, r->retries);
        if (all)
            WARN(c, r->node, "this rule is never reached: an earlier one matches every request");
        else if (is_catch_all(r))
            all = r;
    }
}

static void check_sni(const struct check *c, const struct virtual_service *vs,
                      const struct l4_match *m)
{
    for (size_t i = 0; i < m->sni_hosts_count; i++) {
        struct addr ip;
        bool found = addr_parse_ip(m->sni_hosts[i], &ip);

        for (size_t j = 0; j < vs->hosts_count; j++)
            found = found || match_host_covers(vs->hosts[j], m->sni_hosts[i]);
        if (!found)
            FAIL(c, element(m->node, "sniHosts", i), FIND_VALUE,
                 "\"%.*s\" is not inside any of the hosts of this VirtualService",
                 STR_ARG(m->sni_hosts[i]));
    }
}

static void validate_virtual_service(const struct check *c, const struct virtual_service *vs)
{
    bool no_hosts = vs->hosts_count == 0 && is_absent(vs->node, "hosts");

    if (no_hosts && vs->gateways_count == 0 && vs->tls_count == 0 && vs->tcp_count == 0)
        FAIL(c, member(vs->node, "hosts"), FIND_NOT_YET,
             "a VirtualService without hosts (a delegate) is not supported yet");
    else if (no_hosts)
        FAIL(c, member(vs->node, "hosts"), FIND_REQUIRED,
             "hosts is required: the names that the rules are for");
    if (is_absent(vs->node, "http") && is_absent(vs->node, "tcp") && is_absent(vs->node, "tls"))
        FAIL(c, vs->node, FIND_REQUIRED,
             "http or tcp is required: a VirtualService without rules has no effect");
    check_hosts(c, vs);
    check_http(c, vs);
    for (size_t i = 0; i < vs->tcp_count; i++)
        check_weights(c, vs->tcp[i].node, vs->tcp[i].route, vs->tcp[i].route_count);
    for (size_t i = 0; i < vs->tls_count; i++) {
        check_weights(c, vs->tls[i].node, vs->tls[i].route, vs->tls[i].route_count);
        for (size_t j = 0; j < vs->tls[i].match_count; j++)
            check_sni(c, vs, &vs->tls[i].match[j]);
    }
    check_export_to(c, vs->node, vs->export_to, vs->export_to_count);
}

/* ---- DestinationRule ---- */

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
    if (h->maglev && h->maglev->table_size <= 5000011 && !is_prime(h->maglev->table_size))
        FAIL(c, h->maglev->node, FIND_VALUE, "maglev.tableSize must be a prime");
    if (h->minimum_ring_size && (h->ring_hash || h->maglev))
        FAIL(c, member(h->node, "minimumRingSize"), FIND_ONEOF,
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

static void check_locality(const struct check *c, const struct locality_lb *l)
{
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

static void check_pool(const struct check *c, const struct connection_pool *p)
{
    if (!p->tcp && !p->http)
        FAIL(c, p->node, FIND_VALUE, "connectionPool is empty: give tcp or http, or leave it out");
    if (p->http && p->http->use_client_protocol && p->http->h2_upgrade == H2_UPGRADE_ALWAYS)
        FAIL(c, p->http->node, FIND_ONEOF, "useClientProtocol excludes h2UpgradePolicy UPGRADE");
}

static void check_blocks(const struct check *c, const struct load_balancer *lb,
                         const struct connection_pool *pool,
                         const struct outlier_detection *outlier, const struct client_tls *tls)
{
    if (lb && lb->consistent_hash)
        check_hash(c, lb->consistent_hash);
    if (lb && lb->locality)
        check_locality(c, lb->locality);
    if (pool)
        check_pool(c, pool);
    if (outlier)
        check_outlier(c, outlier);
    if (tls)
        check_client_tls(c, tls);
}

static void check_policy(const struct check *c, const struct traffic_policy *p)
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

static void validate_destination_rule(const struct check *c, const struct destination_rule *r)
{
    if (r->traffic_policy)
        check_policy(c, r->traffic_policy);
    for (size_t i = 0; i < r->subsets_count; i++) {
        const struct subset *s = &r->subsets[i];

        if (s->traffic_policy)
            check_policy(c, s->traffic_policy);
        for (size_t j = 0; j < i; j++) {
            if (s->name.n && str_eq(s->name, r->subsets[j].name)) {
                FAIL(c, member(s->node, "name"), FIND_VALUE,
                     "the subset \"%.*s\" is declared twice", STR_ARG(s->name));
                break;
            }
        }
    }
    check_export_to(c, r->node, r->export_to, r->export_to_count);
    if (r->workload_selector && r->export_to_count &&
        (r->export_to_count > 1 ||
         (!str_eq(r->export_to[0], STR(".")) && !str_eq(r->export_to[0], c->m->ns))))
        FAIL(c, member(r->node, "exportTo"), FIND_VALUE,
             "a DestinationRule with workloadSelector is for its own namespace only: write "
             "exportTo: [\".\"] or leave it out");
}

/* ---- WorkloadEntry, ServiceEntry ---- */

static void check_entry(const struct check *c, const struct workload_entry *w)
{
    if (!w->address.n && !w->network.n) {
        struct finding *x = FAIL(c, w->node, FIND_REQUIRED, "address is required");

        x->hint = STR("the IP address where the workload listens");
    }
    if (is_unix(w->address) && w->ports_count)
        FAIL(c, member(w->node, "ports"), FIND_VALUE, "an entry on a unix socket has no ports");
}

static const struct service_entry_port *entry_port(const struct service_entry *se, struct str name)
{
    for (size_t i = 0; i < se->ports_count; i++) {
        if (str_eq(se->ports[i].name, name))
            return &se->ports[i];
    }
    return NULL;
}

static void check_endpoint(const struct check *c, const struct service_entry *se,
                           const struct workload_entry *w)
{
    struct addr ip;

    check_entry(c, w);
    for (size_t i = 0; i < w->ports_count; i++) {
        if (!entry_port(se, w->ports[i].key))
            FAIL(c, member(member(w->node, "ports"), arena_str(c->f->arena, w->ports[i].key).p),
                 FIND_VALUE, "port \"%.*s\" is not the name of one of the service's ports",
                 STR_ARG(w->ports[i].key));
    }
    if (se->resolution == RESOLUTION_STATIC && w->address.n && !is_unix(w->address) &&
        !addr_parse_ip(w->address, &ip))
        FAIL(c, member(w->node, "address"), FIND_VALUE,
             "\"%.*s\" is not an IP address, which resolution STATIC needs", STR_ARG(w->address));
    if (is_unix(w->address) && se->ports_count != 1)
        FAIL(c, member(w->node, "address"), FIND_VALUE,
             "an endpoint on a unix socket needs a service with exactly one port");
}

static void check_entry_ports(const struct check *c, const struct service_entry *se)
{
    for (size_t i = 0; i < se->ports_count; i++) {
        const struct service_entry_port *p = &se->ports[i];

        for (size_t j = 0; j < i; j++) {
            if (p->number && p->number == se->ports[j].number)
                FAIL(c, member(p->node, "number"), FIND_VALUE, "port %u is declared twice",
                     p->number);
            if (p->name.n && str_eq(p->name, se->ports[j].name))
                FAIL(c, member(p->node, "name"), FIND_VALUE,
                     "the port name \"%.*s\" is declared twice", STR_ARG(p->name));
        }
    }
}

static bool has_wildcard(struct str host)
{
    return str_starts(host, STR("*"));
}

static bool speaks_http_or_sni(struct str protocol)
{
    return str_starts(protocol, STR("HTTP")) || str_starts(protocol, STR("GRPC")) ||
           str_eq(protocol, STR("TLS"));
}

static void check_dns_entry(const struct check *c, const struct service_entry *se)
{
    for (size_t i = 0; i < se->hosts_count; i++) {
        const struct node *at = element(se->node, "hosts", i);

        if (se->resolution == RESOLUTION_DYNAMIC_DNS && !has_wildcard(se->hosts[i]))
            FAIL(c, at, FIND_VALUE, "resolution DYNAMIC_DNS is for wildcard hosts");
        else if (se->resolution != RESOLUTION_DYNAMIC_DNS && has_wildcard(se->hosts[i]) &&
                 se->endpoints_count == 0 && !se->workload_selector)
            FAIL(c, at, FIND_VALUE,
                 "a wildcard cannot be resolved: give endpoints, or a full host name");
    }
    for (size_t i = 0; i < se->addresses_count; i++) {
        if (str_has(se->addresses[i], '/'))
            FAIL(c, element(se->node, "addresses", i), FIND_VALUE,
                 "a block of addresses needs resolution NONE or STATIC");
    }
    if (se->resolution == RESOLUTION_DNS_ROUND_ROBIN && se->endpoints_count > 1)
        FAIL(c, member(se->node, "endpoints"), FIND_VALUE,
             "resolution DNS_ROUND_ROBIN takes one endpoint at most");
    if (se->resolution != RESOLUTION_DYNAMIC_DNS)
        return;
    if (se->endpoints_count || se->addresses_count)
        FAIL(c, se->node, FIND_VALUE,
             "resolution DYNAMIC_DNS takes neither endpoints nor addresses");
    for (size_t i = 0; i < se->ports_count; i++) {
        if (!speaks_http_or_sni(se->ports[i].protocol) ||
            str_eq(se->ports[i].protocol, STR("HTTPS")))
            FAIL(c, se->ports[i].node, FIND_VALUE,
                 "resolution DYNAMIC_DNS needs protocol HTTP, HTTP2, GRPC or TLS");
    }
}

static bool is_opaque(struct str protocol)
{
    return str_eq(protocol, STR("TCP")) || str_eq(protocol, STR("MONGO")) ||
           str_eq(protocol, STR("REDIS")) || str_eq(protocol, STR("MYSQL"));
}

static void validate_service_entry(const struct check *c, const struct service_entry *se)
{
    if (se->hosts_count > HOSTS_MAX)
        FAIL(c, member(se->node, "hosts"), FIND_VALUE, "a ServiceEntry has at most %u hosts",
             HOSTS_MAX);
    check_entry_ports(c, se);
    for (size_t i = 0; i < se->endpoints_count; i++)
        check_endpoint(c, se, &se->endpoints[i]);
    if (se->resolution == RESOLUTION_NONE && se->endpoints_count)
        FAIL(c, member(se->node, "endpoints"), FIND_VALUE,
             "resolution NONE dials the address that the client meant, so endpoints would have no "
             "effect: use STATIC");
    if (se->resolution == RESOLUTION_NONE && se->workload_selector)
        WARN(c, member(se->node, "workloadSelector"),
             "workloadSelector has no effect with resolution NONE: use STATIC");
    if (se->workload_selector && se->workload_selector->labels.count == 0)
        WARN(c, member(se->node, "workloadSelector"),
             "an empty workloadSelector takes every workload of the namespace");
    if (se->resolution != RESOLUTION_NONE && se->resolution != RESOLUTION_STATIC)
        check_dns_entry(c, se);
    for (size_t i = 0;
         se->hosts_count > 1 && se->resolution != RESOLUTION_NONE && i < se->ports_count; i++) {
        if (is_opaque(se->ports[i].protocol))
            FAIL(c, se->ports[i].node, FIND_VALUE,
                 "several hosts cannot share a port of protocol %.*s, which does not say the host: "
                 "write one ServiceEntry each",
                 STR_ARG(se->ports[i].protocol));
    }
    check_export_to(c, se->node, se->export_to, se->export_to_count);
}

/* ---- PeerAuthentication, Service ---- */

static void validate_peer_authentication(const struct check *c, const struct peer_authentication *p)
{
    if (p->port_level_count && p->selector.labels.count == 0)
        FAIL(c, member(p->node, "portLevelMtls"), FIND_VALUE,
             "portLevelMtls needs a selector: a rule for a namespace or the mesh has no ports");
}

static void check_service_protocol(const struct check *c, const struct service_document_port *p)
{
    const struct field_value *v = schema_value(common_protocols, p->protocol, false);
    const struct node *at = member(p->node, p->app_protocol.n ? "appProtocol" : "name");

    if (p->app_protocol.n && !p->protocol.n)
        WARN(c, at, "appProtocol \"%.*s\" is not known: the first bytes will tell",
             STR_ARG(p->app_protocol));
    if (v && v->status == FIELD_NOT_YET)
        FAIL(c, at, FIND_NOT_YET, "protocol %s of a port is not supported yet", v->name);
    if (v && v->status == FIELD_UNSUPPORTED)
        FAIL(c, at, FIND_UNSUPPORTED, "protocol %s of a port is not supported: %s", v->name,
             v->reason);
}

static void validate_service(const struct check *c, const struct service_document *s)
{
    for (size_t i = 0; i < s->ports_count; i++) {
        const struct service_document_port *p = &s->ports[i];

        check_service_protocol(c, p);
        if (s->ports_count > 1 && p->name.n == 0)
            FAIL(c, p->node, FIND_REQUIRED, "name is required when a Service has several ports");
        for (size_t j = 0; j < i; j++) {
            if (p->port && p->port == s->ports[j].port)
                FAIL(c, member(p->node, "port"), FIND_VALUE, "port %u is declared twice", p->port);
            if (p->name.n && str_eq(p->name, s->ports[j].name))
                FAIL(c, member(p->node, "name"), FIND_VALUE,
                     "the port name \"%.*s\" is declared twice", STR_ARG(p->name));
        }
    }
    if (s->type == SERVICE_HEADLESS && s->cluster_ip.n)
        FAIL(c, member(s->node, "clusterIP"), FIND_ONEOF, "a headless Service has no clusterIP");
}

void validate_object(const struct object *o, struct findings *f)
{
    struct check c = {&o->meta, f};

    switch (o->meta.kind->id) {
    case KIND_GATEWAY:
        validate_gateway(&c, o->spec);
        break;
    case KIND_VIRTUAL_SERVICE:
        validate_virtual_service(&c, o->spec);
        break;
    case KIND_DESTINATION_RULE:
        validate_destination_rule(&c, o->spec);
        break;
    case KIND_SERVICE_ENTRY:
        validate_service_entry(&c, o->spec);
        break;
    case KIND_WORKLOAD_ENTRY:
        check_entry(&c, o->spec);
        break;
    case KIND_PEER_AUTHENTICATION:
        validate_peer_authentication(&c, o->spec);
        break;
    case KIND_SERVICE:
        validate_service(&c, o->spec);
        break;
    case KIND_NAMESPACE:
    case KIND_SERVICE_ACCOUNT:
    case KIND_COUNT:
        break;
    }
}

/* ---- the whole set ---- */

struct world {
    const struct object_list *all;
    const struct validate_scope *scope;
    struct str domain;
    struct map by_name;    /* "Kind ns/name" -> struct object */
    struct map documented; /* FQDN of a Service or host of a ServiceEntry -> struct object;
                              wildcards are looked for */
    struct arena scratch;
};

static void world_init(struct world *w, const struct object_list *all,
                       const struct validate_scope *scope)
{
    w->all = all;
    w->scope = scope;
    w->domain = scope && scope->domain ? str_from(scope->domain) : STR("cluster.local");
    map_init(&w->by_name);
    map_init(&w->documented);
    arena_init(&w->scratch);
    for (size_t i = 0; i < all->count; i++) {
        struct object *o = all->items[i];

        map_put(&w->by_name, object_label(&w->scratch, &o->meta), o);
        if (o->meta.kind->id == KIND_SERVICE)
            map_put(&w->documented, model_fqdn(&w->scratch, o->meta.name, o->meta.ns, w->domain),
                    o);
        if (o->meta.kind->id == KIND_SERVICE_ENTRY) {
            const struct service_entry *se = o->spec;

            for (size_t j = 0; j < se->hosts_count; j++)
                map_put(&w->documented,
                        model_fqdn(&w->scratch, se->hosts[j], o->meta.ns, w->domain), o);
        }
    }
}

static void world_done(struct world *w)
{
    map_done(&w->by_name);
    map_done(&w->documented);
    arena_done(&w->scratch);
}

/* "name", "./name", "ns/name", and the legacy "name.ns.svc.DOMAIN". */
static struct str gateway_label(struct world *w, struct str ref, struct str ns)
{
    struct str first, name = ref;

    if (str_cut(&name, '/', &first)) {
        if (!str_eq(first, STR(".")))
            ns = first;
    } else if (str_cut(&name, '.', &first)) {
        struct str rest = name, label;

        ns = str_next(&rest, '.', &label) ? label : ns;
        name = first;
    }
    return arena_printf(&w->scratch, "%s %.*s/%.*s", kind_get(KIND_GATEWAY)->name, STR_ARG(ns),
                        STR_ARG(name));
}

static void check_gateways(struct world *w, const struct check *c, const struct node *message,
                           const struct str *gateways, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct finding *x;

        if (is_mesh(gateways[i]) || map_get(&w->by_name, gateway_label(w, gateways[i], c->m->ns)))
            continue;
        x = FAIL(c, element(message, "gateways", i), FIND_REFERENCE, "there is no %.*s",
                 STR_ARG(gateway_label(w, gateways[i], c->m->ns)));
        x->hint =
            STR("apply the Gateway first or together with this, or name it as \"namespace/name\"");
    }
}

static bool declares_subset(struct world *w, struct str fqdn, struct str subset)
{
    for (size_t i = 0; i < w->all->count; i++) {
        const struct object *o = w->all->items[i];
        const struct destination_rule *r = o->spec;

        if (o->meta.kind->id != KIND_DESTINATION_RULE ||
            !match_host(model_fqdn(&w->scratch, r->host, o->meta.ns, w->domain), fqdn))
            continue;
        for (size_t j = 0; j < r->subsets_count; j++) {
            if (str_eq(r->subsets[j].name, subset))
                return true;
        }
    }
    return false;
}

static bool knows_host(const struct world *w, struct str fqdn, struct str ns)
{
    struct map_entry *e;

    if (map_get(&w->documented, fqdn))
        return true;
    for (size_t i = 0; (e = map_each(&w->documented, &i));) {
        if (e->value && has_wildcard(e->key) && match_host(e->key, fqdn))
            return true;
    }
    return w->scope && w->scope->knows_host && w->scope->knows_host(w->scope->arg, fqdn, ns);
}

static void check_destination(struct world *w, const struct check *c, const struct destination *d)
{
    struct str fqdn = model_fqdn(&w->scratch, d->host, c->m->ns, w->domain);

    if (d->subset.n && !declares_subset(w, fqdn, d->subset)) {
        struct finding *x = FAIL(c, member(d->node, "subset"), FIND_REFERENCE,
                                 "no DestinationRule for %.*s declares the subset \"%.*s\"",
                                 STR_ARG(fqdn), STR_ARG(d->subset));

        x->hint = STR("apply the DestinationRule first or together with this");
    }
    if (w->scope && !knows_host(w, fqdn, c->m->ns))
        WARN(c, member(d->node, "host"),
             "no service is known as %.*s: requests for it are refused until there is one",
             STR_ARG(fqdn));
}

static void check_destinations(struct world *w, const struct check *c,
                               const struct rule_destination *route, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_destination(w, c, &route[i].destination);
}

static void check_l4_references(struct world *w, const struct check *c, const struct l4_rule *rules,
                                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check_destinations(w, c, rules[i].route, rules[i].route_count);
        for (size_t j = 0; j < rules[i].match_count; j++)
            check_gateways(w, c, rules[i].match[j].node, rules[i].match[j].gateways,
                           rules[i].match[j].gateways_count);
    }
}

static void check_references(struct world *w, const struct check *c,
                             const struct virtual_service *vs)
{
    check_gateways(w, c, vs->node, vs->gateways, vs->gateways_count);
    for (size_t i = 0; i < vs->http_count; i++) {
        const struct http_rule *r = &vs->http[i];

        check_destinations(w, c, r->route, r->route_count);
        for (size_t j = 0; j < r->match_count; j++)
            check_gateways(w, c, r->match[j].node, r->match[j].gateways,
                           r->match[j].gateways_count);
    }
    check_l4_references(w, c, vs->tcp, vs->tcp_count);
    check_l4_references(w, c, vs->tls, vs->tls_count);
}

void validate_set(const struct object_list *all, const struct validate_scope *scope,
                  struct findings *f)
{
    const struct object_list *about = scope && scope->changed ? scope->changed : all;
    struct world w;

    world_init(&w, all, scope);
    for (size_t i = 0; i < about->count; i++) {
        struct check c = {&about->items[i]->meta, f};

        if (c.m->kind->id == KIND_VIRTUAL_SERVICE)
            check_references(&w, &c, about->items[i]->spec);
    }
    world_done(&w);
}

void validate_duplicates(const struct object_list *applied, struct findings *f)
{
    struct arena scratch;
    struct map seen;

    arena_init(&scratch);
    map_init(&seen);
    for (size_t i = 0; i < applied->count; i++) {
        struct object *o = applied->items[i];
        struct check c = {&o->meta, f};
        struct str label = object_label(&scratch, &o->meta);
        const struct object *first = map_get(&seen, label);

        if (!first) {
            map_put(&seen, label, o);
            continue;
        }
        FAIL(&c, o->node, FIND_DUPLICATE, "%.*s is given twice; first at %.*s:%u", STR_ARG(label),
             STR_ARG(first->meta.file), first->meta.line)
            ->hint = STR("keep one of them");
    }
    map_done(&seen);
    arena_done(&scratch);
}
