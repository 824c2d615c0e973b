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

/* As Istio counts: of two names, one or both with a '*', the end of one is that of the other. */
static bool host_lies_in(struct str inner, struct str outer)
{
    bool is_open = str_starts(inner, STR("*"));

    if (!str_starts(outer, STR("*")))
        return str_eq(inner, outer);
    return (!is_open || inner.n >= outer.n) && str_ends(inner, str_sub(outer, 1, outer.n));
}

static bool hosts_overlap(struct str a, struct str b)
{
    return host_lies_in(a, b) || host_lies_in(b, a);
}

/* Names for SNI routing come in at a gateway, and are told apart by tls rules. */
static bool may_have_sni_names(const struct virtual_service *vs)
{
    return vs->gateways_count && !names_mesh(vs->gateways, vs->gateways_count) && vs->tls_count;
}

static void check_hosts(const struct check *c, const struct virtual_service *vs)
{
    bool in_mesh = names_mesh(vs->gateways, vs->gateways_count), sni_names = may_have_sni_names(vs);

    for (size_t i = 0; i < vs->hosts_count; i++) {
        const struct node *at = check_element(vs->node, "hosts", i);

        if (in_mesh && str_eq(vs->hosts[i], STR("*")))
            FAIL(c, at, FIND_VALUE,
                 "host \"*\" is for gateways only: name them in `gateways`, without \"mesh\"");
        if (common_is_sni_name(vs->hosts[i]) && !sni_names)
            FAIL(c, at, FIND_VALUE, "\"%.*s\" is for tls rules of gateways only", STR_ARG(vs->hosts[i]));
        for (size_t j = 0; j < i; j++) {
            if (hosts_overlap(vs->hosts[i], vs->hosts[j])) {
                FAIL(c, at, FIND_VALUE, "host \"%.*s\" overlaps with \"%.*s\"",
                     STR_ARG(vs->hosts[i]), STR_ARG(vs->hosts[j]));
                break;
            }
        }
    }
}

/* Tokens are known where requests come in from outside. */
static void check_claims(const struct check *c, const struct http_rule_match *m, const char *field,
                         const struct named_match *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (common_is_claim(list[i].key))
            FAIL(c, check_member(m->node, field), FIND_VALUE,
                 "claims of a token can be matched on gateways only: name them in `gateways`, "
                 "without \"mesh\"");
    }
}

static void check_all_claims(const struct check *c, const struct virtual_service *vs, const struct http_rule *r)
{
    for (size_t i = 0; names_mesh(vs->gateways, vs->gateways_count) && i < r->match_count; i++) {
        const struct http_rule_match *m = &r->match[i];

        check_claims(c, m, "headers", m->headers, m->headers_count);
        check_claims(c, m, "withoutHeaders", m->without_headers, m->without_headers_count);
    }
}

static void check_http(const struct check *c, const struct virtual_service *vs)
{
    for (size_t i = 0; i < vs->http_count; i++) {
        const struct http_rule *r = &vs->http[i];

        check_http_rule(c, r);
        check_all_claims(c, vs, r);
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
            found = found || host_lies_in(m->sni_hosts[i], vs->hosts[j]);
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

bool virtual_service_is_for_mesh(const struct virtual_service *vs)
{
    for (size_t i = 0; i < vs->gateways_count; i++) {
        if (str_eq(vs->gateways[i], STR("mesh")))
            return true;
    }
    return vs->gateways_count == 0;
}
