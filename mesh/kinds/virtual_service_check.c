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

#define BODY_WARN 100000u
#define BODY_MAX  (1024u * 1024u)

static void check_body(const struct check *c, const struct http_body *b)
{
    size_t n = b->has_string ? b->string.n : b->bytes.n;

    if (n > BODY_MAX)
        FAIL(c, b->node, FIND_VALUE, "a body has at most 1 MiB");
    else if (n > BODY_WARN)
        WARN(c, b->node, "every gateway and agent keeps this body in memory: %zu bytes", n);
}

static bool is_authority(struct str name)
{
    return str_eq_nocase(name, STR("host")) || str_eq_nocase(name, STR(":authority"));
}

/* '%' begins a variable, %VAR% or %VAR(args)%; itself it is written %%. */
static bool is_header_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < ' ' && s.p[i] != '\t')
            return false;
        if (s.p[i] != '%')
            continue;
        if (++i < s.n && s.p[i] == '%')
            continue;
        for (bool inside = false; i < s.n && (inside || s.p[i] != '%'); i++) {
            inside = s.p[i] == '(' || (inside && s.p[i] != ')');
            if (!inside && s.p[i] != ')' && s.p[i] != '_' && !(s.p[i] >= 'A' && s.p[i] <= 'Z') &&
                !(s.p[i] >= '0' && s.p[i] <= '9') && s.p[i] != ':' && s.p[i] != '-')
                return false;
        }
        if (i == s.n)
            return false;
    }
    return true;
}

static void check_edits(const struct check *c, const struct header_operations *o,
                        const struct labels *edits, const char *name, bool is_request)
{
    const struct node *map = o->node ? node_get(o->node, str_from(name)) : NULL;
    struct err err;

    for (size_t i = 0; i < edits->count; i++) {
        const struct label *e = &edits->items[i];
        const struct node *at = map ? node_get(map, e->key) : o->node;

        if (!(is_request && is_authority(e->key)) && common_check_token(e->key, &err))
            FAIL(c, at, FIND_VALUE, "%s", err.text);
        if (!is_header_value(e->value))
            FAIL(c, at, FIND_VALUE,
                 "\"%.*s\": '%%' begins a variable such as %%PROTOCOL%%; write %%%% for itself",
                 STR_ARG(e->value));
    }
}

static void check_operations(const struct check *c, const struct header_operations *o,
                             bool is_request)
{
    struct err err;

    check_edits(c, o, &o->set, "set", is_request);
    check_edits(c, o, &o->add, "add", is_request);
    for (size_t i = 0; i < o->remove_count; i++) {
        if (is_authority(o->remove[i]) || common_check_token(o->remove[i], &err))
            FAIL(c, check_element(o->node, "remove", i), FIND_VALUE,
                 "\"%.*s\" is not a header that can be removed", STR_ARG(o->remove[i]));
    }
}

static bool sets_authority(const struct headers *h)
{
    bool found = false;

    for (size_t i = 0; h && i < h->request.set.count; i++)
        found = found || is_authority(h->request.set.items[i].key);
    for (size_t i = 0; h && i < h->request.add.count; i++)
        found = found || is_authority(h->request.add.items[i].key);
    return found;
}

static void check_headers(const struct check *c, const struct http_rule *r)
{
    if (r->headers) {
        check_operations(c, &r->headers->request, true);
        check_operations(c, &r->headers->response, false);
    }
    for (size_t i = 0; i < r->route_count; i++) {
        if (!r->route[i].headers)
            continue;
        check_operations(c, &r->route[i].headers->request, true);
        check_operations(c, &r->route[i].headers->response, false);
    }
    if (r->rewrite && r->rewrite->authority.n && sets_authority(r->headers))
        FAIL(c, r->headers->node, FIND_ONEOF,
             "rewrite.authority and headers.request both set the host");
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
        check_headers(c, r);
        check_claims(c, vs, r);
        if (r->direct_response && r->direct_response->body)
            check_body(c, r->direct_response->body);
        if (r->has_mirror_percent)
            WARN(c, check_member(r->node, "mirrorPercent"),
                 "mirrorPercent is deprecated: use mirrorPercentage");
        if (r->delegate && vs->hosts_count == 0)
            FAIL(c, r->delegate->node, FIND_VALUE, "a delegate cannot have a delegate itself");
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
