/* Virtual hosts and their routes as JSON. */
#include "mesh/snapshot_print.h"

static void print_match(struct buf *b, const char *name, const struct match_string *m)
{
    static const char *const kinds[] = {"any", "present", "exact", "prefix", "regex"};

    if (m->kind == MATCH_ANY)
        return;
    key(b, name);
    buf_addc(b, '{');
    put_text(b, kinds[m->kind], m->text);
    buf_addc(b, '}');
}

static void print_route_match(struct buf *b, const struct route_match *m)
{
    key(b, "match");
    buf_addc(b, '{');
    print_match(b, "path", &m->path);
    if (m->path_nocase)
        put_bool(b, "pathNoCase", true);
    print_match(b, "method", &m->method);
    print_match(b, "scheme", &m->scheme);
    print_match(b, "authority", &m->authority);
    key(b, "headers");
    buf_addc(b, '[');
    for (size_t i = 0; i < m->header_count; i++) {
        comma(b);
        buf_addc(b, '{');
        put_text(b, "name", m->headers[i].name);
        put_bool(b, "without", m->headers[i].negate);
        print_match(b, "value", &m->headers[i].value);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
    key(b, "queries");
    buf_addc(b, '[');
    for (size_t i = 0; i < m->query_count; i++) {
        comma(b);
        buf_addc(b, '{');
        put_text(b, "name", m->queries[i].name);
        print_match(b, "value", &m->queries[i].value);
        buf_addc(b, '}');
    }
    buf_adds(b, "]}");
}

static void print_strings(struct buf *b, const char *name, const struct str *list, size_t count)
{
    key(b, name);
    buf_addc(b, '[');
    for (size_t i = 0; i < count; i++) {
        comma(b);
        buf_json(b, list[i]);
    }
    buf_addc(b, ']');
}

static void print_edit_list(struct buf *b, const char *name, const struct header_edit *list,
                            size_t count)
{
    key(b, name);
    buf_addc(b, '[');
    for (size_t i = 0; i < count; i++) {
        comma(b);
        buf_addc(b, '{');
        put_text(b, "name", list[i].name);
        put_text(b, "value", list[i].value);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

static void print_edits(struct buf *b, const char *name, const struct header_edits *e)
{
    if (e->remove_count + e->set_count + e->add_count == 0)
        return;
    key(b, name);
    buf_addc(b, '{');
    print_strings(b, "remove", e->remove, e->remove_count);
    print_edit_list(b, "set", e->set, e->set_count);
    print_edit_list(b, "add", e->add, e->add_count);
    buf_addc(b, '}');
}

static const char *rewrite_name(enum path_rewrite kind)
{
    static const char *const names[] = {"keep", "whole", "prefix", "regex"};

    return names[kind];
}

static void print_rewrite(struct buf *b, const struct route_rewrite *r)
{
    if (r->kind == PATH_KEEP && r->authority.n == 0)
        return;
    key(b, "rewrite");
    buf_addc(b, '{');
    put_cstr(b, "kind", rewrite_name(r->kind));
    put_text(b, "path", r->path);
    put_number(b, "prefixBytes", (int64_t)r->prefix_bytes);
    put_text(b, "pattern", r->pattern);
    put_text(b, "authority", r->authority);
    buf_addc(b, '}');
}

static void print_redirect(struct buf *b, const struct route_redirect *r)
{
    key(b, "redirect");
    buf_addc(b, '{');
    put_number(b, "status", r->status);
    put_text(b, "scheme", r->scheme);
    put_text(b, "authority", r->authority);
    put_number(b, "port", r->port);
    put_cstr(b, "kind", rewrite_name(r->kind));
    put_text(b, "path", r->path);
    put_number(b, "prefixBytes", (int64_t)r->prefix_bytes);
    buf_addc(b, '}');
}

static void print_answer(struct buf *b, const struct route_answer *r)
{
    key(b, "answer");
    buf_addc(b, '{');
    put_number(b, "status", r->status);
    put_text(b, "body", r->body);
    buf_addc(b, '}');
}

static void print_fault(struct buf *b, const struct route_fault *f)
{
    key(b, "fault");
    buf_addc(b, '{');
    put_number(b, "delayShare", f->delay_share);
    put_number(b, "delayMs", f->delay_ms);
    put_number(b, "abortShare", f->abort_share);
    put_number(b, "abortStatus", f->abort_status);
    put_number(b, "grpcStatus", f->grpc_status);
    buf_addc(b, '}');
}

static void print_cors(struct buf *b, const struct route_cors *c)
{
    key(b, "cors");
    buf_addc(b, '{');
    key(b, "origins");
    buf_addc(b, '[');
    for (size_t i = 0; i < c->origin_count; i++) {
        comma(b);
        buf_addc(b, '{');
        print_match(b, "origin", &c->origins[i]);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
    put_text(b, "methods", c->methods);
    put_text(b, "headers", c->headers);
    put_text(b, "expose", c->expose);
    put_text(b, "maxAge", c->max_age);
    put_bool(b, "credentials", c->credentials);
    put_bool(b, "answerUnmatched", c->answer_unmatched);
    buf_addc(b, '}');
}

static void print_mirrors(struct buf *b, const struct route *r)
{
    key(b, "mirrors");
    buf_addc(b, '[');
    for (size_t i = 0; i < r->mirror_count; i++) {
        comma(b);
        buf_addc(b, '{');
        put_text(b, "cluster", r->mirrors[i].cluster);
        put_number(b, "share", r->mirrors[i].share);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

void print_weighted(struct buf *b, const struct weighted_cluster *clusters, size_t count,
                           uint32_t total)
{
    key(b, "clusters");
    buf_addc(b, '[');
    for (size_t i = 0; i < count; i++) {
        comma(b);
        buf_addc(b, '{');
        put_text(b, "name", clusters[i].cluster);
        put_number(b, "weight", clusters[i].weight);
        if (clusters[i].authority.n)
            put_text(b, "authority", clusters[i].authority);
        print_edits(b, "request", &clusters[i].request);
        print_edits(b, "response", &clusters[i].response);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
    put_number(b, "weightTotal", total);
}

static void print_retry(struct buf *b, const struct retry_policy *r)
{
    static const char *const avoids[] = {"never", "unlessHashed", "always"};
    static const char *const names[] = {"connect-failure",
                                        "refused-stream",
                                        "reset",
                                        "5xx",
                                        "gateway-error",
                                        "retriable-status-codes",
                                        "reset-before-request",
                                        "retriable-4xx",
                                        "cancelled",
                                        "deadline-exceeded",
                                        "internal",
                                        "resource-exhausted",
                                        "unavailable",
                                        "envoy-ratelimited",
                                        "retriable-headers"};

    key(b, "retry");
    buf_addc(b, '{');
    put_number(b, "attempts", r->attempts);
    key(b, "on");
    buf_addc(b, '[');
    for (size_t i = 0; i < COUNT(names); i++) {
        if (!(r->on & BIT(i)))
            continue;
        comma(b);
        buf_json(b, str_from(names[i]));
    }
    buf_addc(b, ']');
    key(b, "codes");
    buf_addc(b, '[');
    for (size_t i = 0; i < r->code_count; i++) {
        comma(b);
        buf_printf(b, "%u", r->codes[i]);
    }
    buf_addc(b, ']');
    put_number(b, "perTryTimeoutMs", r->per_try_timeout_ms);
    put_number(b, "backoffBaseMs", r->backoff_base_ms);
    put_bool(b, "goesRemote", r->goes_remote);
    put_cstr(b, "avoidPrevious", avoids[r->avoid_previous]);
    buf_addc(b, '}');
}

static void print_route(struct buf *b, const struct route *r)
{
    static const char *const actions[] = {"forward", "pending", "redirect", "answer"};

    comma(b);
    buf_addc(b, '{');
    put_text(b, "name", r->name);
    if (r->rule.n)
        put_text(b, "rule", r->rule);
    print_route_match(b, &r->match);
    put_cstr(b, "action", actions[r->action]);
    print_weighted(b, r->clusters, r->cluster_count, r->weight_total);
    if (r->action == ROUTE_REDIRECT)
        print_redirect(b, &r->redirect);
    if (r->action == ROUTE_ANSWER)
        print_answer(b, &r->answer);
    print_rewrite(b, &r->rewrite);
    print_edits(b, "request", &r->request);
    print_edits(b, "response", &r->response);
    if (r->fault)
        print_fault(b, r->fault);
    if (r->cors)
        print_cors(b, r->cors);
    if (r->mirror_count)
        print_mirrors(b, r);
    put_number(b, "timeoutMs", r->timeout_ms);
    print_retry(b, &r->retry);
    buf_addc(b, '}');
}

void print_vhost(struct buf *b, const struct vhost *v)
{
    comma(b);
    buf_addc(b, '{');
    put_text(b, "name", v->name);
    key(b, "domains");
    buf_addc(b, '[');
    for (size_t i = 0; i < v->domain_count; i++) {
        comma(b);
        buf_json(b, v->domains[i]);
    }
    buf_addc(b, ']');
    put_text(b, "service", v->service);
    key(b, "routes");
    buf_addc(b, '[');
    for (size_t i = 0; i < v->route_count; i++)
        print_route(b, &v->routes[i]);
    buf_adds(b, "]}");
}
