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

static void check_weights(const struct check *c, const struct node *rule,
                          const struct rule_destination *route, size_t count)
{
    int64_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += route[i].weight;
    if (count > 1 && total == 0)
        FAIL(c, check_member(rule, "route"), FIND_VALUE,
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

    if (given == 0 && check_absent(r->node, "route"))
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
            FAIL(c, check_element(m->node, "sniHosts", i), FIND_VALUE,
                 "\"%.*s\" is not inside any of the hosts of this VirtualService",
                 STR_ARG(m->sni_hosts[i]));
    }
}

void virtual_service_validate(const struct check *c, const void *spec)
{
    const struct virtual_service *vs = spec;
    bool no_hosts = vs->hosts_count == 0 && check_absent(vs->node, "hosts");

    if (no_hosts && vs->gateways_count == 0 && vs->tls_count == 0 && vs->tcp_count == 0)
        FAIL(c, check_member(vs->node, "hosts"), FIND_NOT_YET,
             "a VirtualService without hosts (a delegate) is not supported yet");
    else if (no_hosts)
        FAIL(c, check_member(vs->node, "hosts"), FIND_REQUIRED,
             "hosts is required: the names that the rules are for");
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
