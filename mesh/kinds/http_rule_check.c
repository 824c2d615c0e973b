/* Rules of a VirtualService for HTTP: what goes together, and what the values must be that no single field can tell. */
#include "mesh/header_format.h"
#include "mesh/kinds/check.h"
#include "mesh/kinds/virtual_service.h"

#define BODY_BYTES_MAX  (1u << 20)
#define BODY_BYTES_MUCH (100u << 10)

void check_weights(const struct check *c, const struct node *rule,
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
    size_t given = (size_t)(r->route_count > 0) + (r->redirect != NULL) + (r->direct_response != NULL);

    if (given == 0 && check_absent(r->node, "route") && check_absent(r->node, "redirect") &&
        check_absent(r->node, "directResponse") && check_absent(r->node, "delegate"))
        FAIL(c, r->node, FIND_REQUIRED, "route is required: where do these requests go?");
    else if (given > 1)
        FAIL(c, r->node, FIND_ONEOF, "only one of route, redirect and directResponse may be given");
    else if (r->delegate && given > 0 && !r->direct_response)
        FAIL(c, r->node, FIND_ONEOF, "delegate excludes route and redirect: the delegate has them");
    else if (r->delegate && r->direct_response)
        WARN(c, r->direct_response->node, "beside delegate this has no effect: the delegate's rules stand here");
    if (r->delegate)
        return;
    if ((r->redirect || r->direct_response) && (r->fault || r->rewrite))
        FAIL(c, r->node, FIND_ONEOF, "redirect and directResponse exclude fault and rewrite");
    if (r->redirect && !r->redirect->uri.n && !r->redirect->authority.n && !r->redirect->scheme.n &&
        !r->redirect->has_port && !r->redirect->has_derive_port && !r->redirect->prefix_rewrite.n)
        FAIL(c, r->redirect->node, FIND_REQUIRED,
             "redirect needs uri, authority, scheme, port, derivePort or prefixRewrite");
}

static void check_parts(const struct check *c, const struct http_rule *r)
{
    if (r->rewrite && !r->rewrite->uri.n && !r->rewrite->authority.n && !r->rewrite->uri_regex)
        FAIL(c, r->rewrite->node, FIND_REQUIRED, "rewrite needs uri, uriRegexRewrite or authority");
    if (r->fault && !r->fault->delay && !r->fault->abort)
        FAIL(c, r->fault->node, FIND_REQUIRED, "fault needs delay or abort");
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

/* ---- texts that go into messages ---- */

static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] <= 0x20 || s.p[i] == 0x7f)
            return false;
    }
    return true;
}

static void check_text(const struct check *c, const struct node *message, const char *name,
                       struct str text)
{
    if (!is_printable(text))
        FAIL(c, check_member(message, name), FIND_VALUE,
             "%s may not hold blanks or control characters: write them as %%20 and so on", name);
}

static void check_rewrite(const struct check *c, const struct http_rewrite *r)
{
    struct regex *regex;
    struct err err;

    check_text(c, r->node, "uri", str_trim(r->uri)); /* " " is the well-known way to write nothing */
    check_text(c, r->node, "authority", r->authority);
    if (!r->uri_regex)
        return;
    check_text(c, r->uri_regex->node, "rewrite", r->uri_regex->rewrite);
    regex = regex_new_search(r->uri_regex->match, &err);
    if (regex && regex_check_substitution(regex, r->uri_regex->rewrite, &err))
        FAIL(c, check_member(r->uri_regex->node, "rewrite"), FIND_VALUE, "%s", err.text);
    regex_free(regex); /* one that does not compile was told by decode */
}

static void check_redirect(const struct check *c, const struct http_redirect *r)
{
    check_text(c, r->node, "uri", r->uri);
    check_text(c, r->node, "authority", r->authority);
    check_text(c, r->node, "prefixRewrite", r->prefix_rewrite);
    if (r->scheme.n && !str_eq(r->scheme, STR("http")) && !str_eq(r->scheme, STR("https")))
        FAIL(c, check_member(r->node, "scheme"), FIND_VALUE, "scheme is http or https, in small letters");
    if (r->code != 301 && r->code != 302 && r->code != 303 && r->code != 307 && r->code != 308)
        WARN(c, check_member(r->node, "redirectCode"),
             "clients do not follow a redirect of status %u: use 301, 302, 303, 307 or 308", r->code);
}

static void check_answer(const struct check *c, const struct http_direct_response *r)
{
    size_t n = r->body ? MAX(r->body->string.n, r->body->bytes.n) : 0;

    if (n > BODY_BYTES_MAX)
        FAIL(c, r->body->node, FIND_VALUE, "a body has at most 1 MiB, this one has %zu bytes", n);
    else if (n > BODY_BYTES_MUCH)
        WARN(c, r->body->node, "a body of %zu bytes is kept by every agent that sees the rule", n);
}

/* In parts of a million. */
static void check_share(const struct check *c, const struct percent *p)
{
    if (p && p->value > 0 && p->value < 0.0001)
        FAIL(c, p->node, FIND_VALUE, "a share of requests is 0, or at least 0.0001");
}

static void check_fault(const struct check *c, const struct http_fault *f)
{
    if (f->delay && f->delay->fixed_delay_ns == DURATION_UNSET)
        WARN(c, f->delay->node, "without fixedDelay no request is delayed");
    else if (f->delay && !f->delay->percentage && f->delay->percent == 0)
        WARN(c, f->delay->node, "without percentage no request is delayed");
    check_share(c, f->delay ? f->delay->percentage : NULL);
    check_share(c, f->abort ? f->abort->percentage : NULL);
    if (f->abort && !f->abort->percentage)
        WARN(c, f->abort->node, "without percentage no request is aborted");
    if (!f->abort || f->abort->has_http_status || f->abort->grpc_status.n)
        return;
    if (node_get(f->abort->node, STR("grpcStatus")))
        FAIL(c, check_member(f->abort->node, "grpcStatus"), FIND_VALUE,
             "grpcStatus is the name of a status, such as UNAVAILABLE");
    else
        WARN(c, f->abort->node, "without httpStatus or grpcStatus no request is aborted");
}

/* ---- header edits ---- */

static bool is_authority(struct str name)
{
    return str_eq_nocase(name, STR(":authority")) || str_eq_nocase(name, STR("host"));
}

/* What says how a message is framed on its connection is each hop's own. */
static bool is_framing(struct str name)
{
    static const struct str names[] = {
        STR_INIT("content-length"), STR_INIT("transfer-encoding"), STR_INIT("connection"),
        STR_INIT("keep-alive"),     STR_INIT("proxy-connection"),  STR_INIT("te"),
        STR_INIT("trailer"),        STR_INIT("upgrade"),
    };

    for (size_t i = 0; i < COUNT(names); i++) {
        if (str_eq_nocase(name, names[i]))
            return true;
    }
    return false;
}

static void check_edit_name(const struct check *c, const struct node *at, struct str name,
                            bool may_be_authority)
{
    struct err err;

    if (is_authority(name) && may_be_authority)
        return;
    if (str_starts(name, STR(":")) || is_authority(name))
        FAIL(c, at, FIND_VALUE,
             "\"%.*s\" cannot be edited here; request.set and request.add take Host (or "
             ":authority), and no other pseudo header",
             STR_ARG(name));
    else if (is_framing(name))
        FAIL(c, at, FIND_VALUE,
             "\"%.*s\" belongs to each connection: the proxy writes it and forwards none",
             STR_ARG(name));
    else if (name.n == 0)
        FAIL(c, at, FIND_VALUE, "the name of a header is empty");
    else if (common_check_token(name, &err))
        WARN(c, at, "\"%.*s\" is not the name of a header: no message can have it, so this has no effect",
             STR_ARG(name));
}

static void check_edit_values(const struct check *c, const struct node *message, const char *name,
                              const struct labels *list, bool is_request)
{
    const struct node *map = check_member(message, name);

    for (size_t i = 0; i < list->count; i++) {
        const struct node *n = map ? node_get(map, list->items[i].key) : NULL;
        const struct node *at = n ? n : map;
        struct err err;

        check_edit_name(c, at, list->items[i].key, is_request);
        if (header_format_check(list->items[i].value, &err))
            FAIL(c, at, err.code == ERR_UNSUPPORTED ? FIND_NOT_YET : FIND_VALUE,
                 err.code == ERR_UNSUPPORTED ? "%s is not supported yet" : "%s", err.text);
    }
}

static void check_operations(const struct check *c, const struct header_operations *o,
                             bool is_request)
{
    check_edit_values(c, o->node, "set", &o->set, is_request);
    check_edit_values(c, o->node, "add", &o->add, is_request);
    for (size_t i = 0; i < o->remove_count; i++)
        check_edit_name(c, check_element(o->node, "remove", i), o->remove[i], false);
}

static size_t count_authority(const struct labels *list)
{
    size_t n = 0;

    for (size_t i = 0; i < list->count; i++)
        n += is_authority(list->items[i].key);
    return n;
}

static size_t authorities(const struct headers *h)
{
    return h ? count_authority(&h->request.set) + count_authority(&h->request.add) : 0;
}

static void check_headers(const struct check *c, const struct headers *h)
{
    if (!h)
        return;
    check_operations(c, &h->request, true);
    check_operations(c, &h->response, false);
}

static const struct node *request_of(const struct headers *h)
{
    return h->request.node ? h->request.node : h->node;
}

static void check_all_headers(const struct check *c, const struct http_rule *r)
{
    bool answers_itself = r->redirect || r->direct_response;
    const struct header_operations *q = r->headers ? &r->headers->request : NULL;

    check_headers(c, r->headers);
    if (authorities(r->headers) + (r->rewrite && r->rewrite->authority.n) > 1)
        FAIL(c, request_of(r->headers), FIND_ONEOF,
             "the Host may be set in one place only: rewrite.authority, or once in headers.request");
    for (size_t i = 0; i < r->route_count; i++) {
        check_headers(c, r->route[i].headers);
        if (authorities(r->route[i].headers) > 1)
            WARN(c, request_of(r->route[i].headers), "the Host is set twice: the first one counts, set before add");
    }
    if (answers_itself && q && q->set.count + q->add.count + q->remove_count)
        WARN(c, q->node, "a redirect or directResponse forwards no request: these have no effect");
}

void check_http_rule(const struct check *c, const struct http_rule *r)
{
    check_actions(c, r);
    check_parts(c, r);
    check_weights(c, r->node, r->route, r->route_count);
    check_prefix_rewrite(c, r);
    check_all_headers(c, r);
    if (r->retries)
        check_retries(c, r->retries);
    if (r->rewrite)
        check_rewrite(c, r->rewrite);
    if (r->redirect)
        check_redirect(c, r->redirect);
    if (r->direct_response)
        check_answer(c, r->direct_response);
    if (r->fault)
        check_fault(c, r->fault);
    if (r->has_mirror_percent)
        WARN(c, check_member(r->node, "mirrorPercent"),
             "mirrorPercent is deprecated: use mirrorPercentage");
}
