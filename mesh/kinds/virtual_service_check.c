#include "mesh/kinds/check.h"
#include "mesh/kinds/virtual_service.h"

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
        const struct node *at = check_element(vs->node, "hosts", i);
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

/* Tokens are known where requests come in from outside. */
static void check_claims(const struct check *c, const struct virtual_service *vs,
                         const struct http_rule *r)
{
    for (size_t i = 0; i < r->match_count; i++) {
        const struct http_rule_match *m = &r->match[i];
        bool in_mesh = m->gateways_count ? names_mesh(m->gateways, m->gateways_count)
                                         : names_mesh(vs->gateways, vs->gateways_count);

        for (size_t j = 0; in_mesh && j < m->headers_count; j++) {
            if (str_starts(m->headers[j].key, STR("@request.auth.claims")))
                FAIL(c, check_member(m->node, "headers"), FIND_VALUE,
                     "claims of a token can be matched on gateways only: name them in `gateways`, "
                     "without \"mesh\"");
        }
    }
}

static void check_http(const struct check *c, const struct virtual_service *vs)
{
    for (size_t i = 0; i < vs->http_count; i++) {
        const struct http_rule *r = &vs->http[i];

        check_http_rule(c, r);
        check_claims(c, vs, r);
        if (r->delegate && check_absent(vs->node, "hosts"))
            FAIL(c, r->delegate->node, FIND_VALUE, "a delegate cannot have a delegate itself");
    }
    check_reached(c, vs);
}

static void check_sni(const struct check *c, const struct virtual_service *vs,
                      const struct l4_match *m)
{
    for (size_t i = 0; i < m->sni_hosts_count; i++) {
        struct addr ip;
        bool found = addr_parse_ip(m->sni_hosts[i], &ip);

        if (found)
            WARN(c, check_element(m->node, "sniHosts", i), "clients do not send an IP as server name");

        for (size_t j = 0; j < vs->hosts_count; j++)
            found = found || match_host_covers(vs->hosts[j], m->sni_hosts[i]);
        if (!found)
            FAIL(c, check_element(m->node, "sniHosts", i), FIND_VALUE,
                 "\"%.*s\" is not inside any of the hosts of this VirtualService",
                 STR_ARG(m->sni_hosts[i]));
    }
}

static void warn_gateway_names(const struct check *c, const struct virtual_service *vs)
{
    for (size_t i = 0; i < vs->gateways_count; i++) {
        if (str_has(vs->gateways[i], '.') && !str_has(vs->gateways[i], '/'))
            WARN(c, check_element(vs->node, "gateways", i),
                 "the gateway \"%.*s\" is written like a host: write namespace/name",
                 STR_ARG(vs->gateways[i]));
    }
}

void virtual_service_validate(const struct check *c, const void *spec)
{
    const struct virtual_service *vs = spec;
    bool no_hosts = vs->hosts_count == 0 && check_absent(vs->node, "hosts");

    warn_gateway_names(c, vs);
    if (no_hosts && (vs->gateways_count || vs->tls_count || vs->tcp_count))
        FAIL(c, check_member(vs->node, "hosts"), FIND_REQUIRED,
             "hosts is required: the names that the rules are for; a delegate, which has none, has "
             "http rules alone, and no gateways");
    if (check_absent(vs->node, "http") && check_absent(vs->node, "tcp") && check_absent(vs->node, "tls"))
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
