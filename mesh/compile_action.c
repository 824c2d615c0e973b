/* What a rule does with a request that it takes: destinations, rewrites, header edits, redirects, fixed answers,
 * faults, CORS and mirrors of VirtualServices, as the parts of a struct route. */
#include "mesh/compile_parts.h"

#include "mesh/kinds/virtual_service.h"

#define SHARE_ALL 1000000u

/* ---- destinations ---- */

struct str compile_destination(struct build *b, struct arena *a, const struct destination *d,
                               struct str ns, uint16_t used_port, struct str *pending)
{
    struct str fqdn = model_fqdn(&b->tmp, d->host, ns, b->c->domain);
    const struct service *s = map_get(&b->by_fqdn, fqdn);
    uint16_t port = (uint16_t)d->port.number;

    if (port == 0)
        port = s && s->port_count == 1 ? s->ports[0].number : used_port;
    if (s && !compile_is_subscribed(b, s) && pending->n == 0)
        *pending = arena_str(a, s->key);
    return compile_cluster_name(a, port, d->subset, s ? compile_lower(&b->tmp, s->fqdn) : fqdn);
}

/* ---- header edits ---- */

static bool is_authority(struct str name)
{
    return str_eq_nocase(name, STR(":authority")) || str_eq_nocase(name, STR("host"));
}

/* A name that no message can carry was warned about; its edit has no effect. */
static bool is_name(struct str name)
{
    struct err ignored;

    return common_check_token(name, &ignored) == 0;
}

/* Host is no header to edit: what sets it rewrites the authority. */
static void add_edits(struct arena *a, const struct labels *from, struct header_edit *list,
                      size_t *count, struct header_format *authority)
{
    for (size_t i = 0; i < from->count; i++) {
        if (is_authority(from->items[i].key)) {
            if (authority && authority->text.n == 0)
                *authority = header_format_compile(a, from->items[i].value);
            continue;
        }
        if (!is_name(from->items[i].key))
            continue;
        list[(*count)++] = (struct header_edit){compile_lower(a, from->items[i].key),
                                                header_format_compile(a, from->items[i].value)};
    }
}

/* Of several blocks, in order: their edits one after the other, kind by kind. */
static void fill_edits(struct arena *a, const struct header_operations *const *from, size_t count,
                       struct header_edits *out, struct header_format *authority)
{
    size_t removes = 0, sets = 0, adds = 0;

    for (size_t i = 0; i < count; i++) {
        removes += from[i] ? from[i]->remove_count : 0;
        sets += from[i] ? from[i]->set.count : 0;
        adds += from[i] ? from[i]->add.count : 0;
    }
    if (removes + sets + adds == 0)
        return;
    out->remove = ARENA_ARRAY(a, removes + 1, struct str);
    out->set = ARENA_ARRAY(a, sets + 1, struct header_edit);
    out->add = ARENA_ARRAY(a, adds + 1, struct header_edit);
    for (size_t i = 0; i < count; i++) {
        if (!from[i])
            continue;
        for (size_t k = 0; k < from[i]->remove_count; k++) {
            if (is_name(from[i]->remove[k]))
                out->remove[out->remove_count++] = compile_lower(a, from[i]->remove[k]);
        }
        add_edits(a, &from[i]->set, out->set, &out->set_count, authority);
        add_edits(a, &from[i]->add, out->add, &out->add_count, authority);
    }
}

static void fill_headers(struct arena *a, const struct headers *const *from, size_t count,
                         struct header_edits *request, struct header_edits *response,
                         struct header_format *authority)
{
    const struct header_operations *requests[2] = {NULL}, *responses[2] = {NULL};

    for (size_t i = 0; i < count; i++) {
        requests[i] = from[i] ? &from[i]->request : NULL;
        responses[i] = from[i] ? &from[i]->response : NULL;
    }
    fill_edits(a, requests, count, request, authority);
    fill_edits(a, responses, count, response, NULL);
}

/* A single destination's edits follow the rule's, so they win; those of several are made before the rule's, which win
 * (Istio puts the former into the route and the latter into its weighted clusters). The rule's authority always wins. */
static void fill_rule_headers(struct arena *a, const struct http_rule *rule, struct route *r)
{
    const struct headers *single = rule->route_count == 1 ? rule->route[0].headers : NULL;
    const struct headers *both[] = {rule->headers, single};

    fill_headers(a, both, COUNT(both), &r->request, &r->response, &r->rewrite.authority);
}

static void add_target(struct build *b, struct arena *a, const struct rule_destination *d,
                       bool is_single, struct str ns, uint16_t port, struct targets *out)
{
    struct weighted_cluster *w = &out->clusters[out->count++];

    w->cluster = compile_destination(b, a, &d->destination, ns, port, &out->pending);
    w->weight = (uint32_t)d->weight;
    out->total += w->weight;
    if (d->headers && !is_single)
        fill_headers(a, (const struct headers *const[]){d->headers}, 1, &w->request, &w->response,
                     &w->authority);
}

/* Weight 0 gets nothing; a single destination, or several that all say 0, gets everything. */
void compile_targets(struct build *b, struct arena *a, const struct rule_destination *list,
                     size_t count, struct str ns, uint16_t used_port, struct targets *out)
{
    bool any = false;

    *out = (struct targets){.clusters = ARENA_ARRAY(a, count + 1, struct weighted_cluster)};
    for (size_t i = 0; i < count; i++)
        any = any || list[i].weight > 0;
    for (size_t i = 0; i < count; i++) {
        if (list[i].weight > 0 || !any)
            add_target(b, a, &list[i], count == 1, ns, used_port, out);
    }
    if (any && count > 1)
        return;
    out->total = (uint32_t)out->count;
    for (size_t i = 0; i < out->count; i++)
        out->clusters[i].weight = 1;
}

/* ---- rewrite, redirect, fixed answer ---- */

/* What a new path replaces: the prefix that matched, else all of it. A rule without a match of the path takes prefix
 * "/", as Istio's routes do. */
static enum path_rewrite rewrite_kind(const struct route_match *m, size_t *prefix_bytes)
{
    if (m->path.kind == MATCH_PREFIX || m->path.kind == MATCH_ANY) {
        *prefix_bytes = m->path.kind == MATCH_ANY ? 1 : m->path.text.n;
        return PATH_PREFIX;
    }
    return PATH_WHOLE;
}

static void fill_rewrite(struct filling *v, const struct object *o, const struct http_rewrite *from,
                         struct route *r)
{
    struct arena *a = &v->vhost->part.arena;
    struct err err;

    if (from->authority.n)
        r->rewrite.authority = header_format_literal(a, from->authority);
    if (from->uri.n) {
        r->rewrite.kind = rewrite_kind(&r->match, &r->rewrite.prefix_bytes);
        r->rewrite.path = arena_str(a, str_trim(from->uri));
    }
    if (!from->uri_regex)
        return;
    r->rewrite.kind = PATH_REGEX;
    r->rewrite.path = arena_str(a, from->uri_regex->rewrite);
    r->rewrite.pattern = arena_str(a, from->uri_regex->match);
    r->rewrite.regex = regex_new_search(from->uri_regex->match, &err);
    if (!r->rewrite.regex)
        findings_add(v->b->f, FIND_VALUE, SEVERITY_ERROR, "%s", err.text)->object =
            compile_object_name(v->b, o);
}

static void fill_redirect(struct arena *a, const struct http_redirect *from, uint16_t used_port,
                          struct route *r)
{
    struct route_redirect *to = &r->redirect;

    r->action = ROUTE_REDIRECT;
    to->status = from->code;
    to->scheme = compile_lower(a, from->scheme);
    to->authority = arena_str(a, from->authority);
    if (from->has_port)
        to->port = (uint16_t)from->port;
    else if (from->has_derive_port && from->derive_port == REDIRECT_PORT_FROM_REQUEST)
        to->port = used_port;
    if (from->uri.n) {
        to->kind = PATH_WHOLE;
        to->path = arena_str(a, from->uri);
    } else if (from->prefix_rewrite.n) {
        to->kind = rewrite_kind(&r->match, &to->prefix_bytes);
        to->path = arena_str(a, from->prefix_rewrite);
    }
}

static void fill_answer(struct arena *a, const struct http_direct_response *from, struct route *r)
{
    r->action = ROUTE_ANSWER;
    r->answer.status = from->status;
    if (from->body)
        r->answer.body =
            arena_str(a, from->body->has_bytes ? from->body->bytes : from->body->string);
}

/* ---- fault, CORS, mirrors ---- */

static uint32_t share_of(double percent)
{
    double share = percent * (SHARE_ALL / 100) + 0.5;

    return share >= SHARE_ALL ? SHARE_ALL : share <= 0 ? 0 : (uint32_t)share;
}

static int grpc_code(struct str name)
{
    static const struct str names[] = {
        STR_INIT("OK"),
        STR_INIT("CANCELLED"),
        STR_INIT("UNKNOWN"),
        STR_INIT("INVALID_ARGUMENT"),
        STR_INIT("DEADLINE_EXCEEDED"),
        STR_INIT("NOT_FOUND"),
        STR_INIT("ALREADY_EXISTS"),
        STR_INIT("PERMISSION_DENIED"),
        STR_INIT("RESOURCE_EXHAUSTED"),
        STR_INIT("FAILED_PRECONDITION"),
        STR_INIT("ABORTED"),
        STR_INIT("OUT_OF_RANGE"),
        STR_INIT("UNIMPLEMENTED"),
        STR_INIT("INTERNAL"),
        STR_INIT("UNAVAILABLE"),
        STR_INIT("DATA_LOSS"),
        STR_INIT("UNAUTHENTICATED"),
    };

    for (size_t i = 0; i < COUNT(names); i++) {
        if (str_eq(names[i], name))
            return (int)i;
    }
    return -1;
}

/* What is not said in full was warned about, and happens to nobody. */
static struct route_fault *new_fault(struct arena *a, const struct http_fault *from)
{
    struct route_fault *f = ARENA_NEW(a, struct route_fault);

    f->grpc_status = -1;
    if (from->delay && from->delay->fixed_delay_ns != DURATION_UNSET) {
        f->delay_ms = compile_ms_or(from->delay->fixed_delay_ns, 0);
        f->delay_share =
            share_of(from->delay->percentage ? from->delay->percentage->value : from->delay->percent);
    }
    if (from->abort && (from->abort->has_http_status || from->abort->grpc_status.n)) {
        f->abort_status = from->abort->has_http_status ? (unsigned)from->abort->http_status : 0;
        f->grpc_status = from->abort->grpc_status.n ? grpc_code(from->abort->grpc_status) : -1;
        f->abort_share = share_of(from->abort->percentage ? from->abort->percentage->value : 0);
    }
    return f;
}

static struct str joined(struct arena *a, const struct str *list, size_t count)
{
    struct str out = STR_NONE;

    for (size_t i = 0; i < count; i++)
        out = out.n ? arena_printf(a, "%.*s,%.*s", STR_ARG(out), STR_ARG(list[i]))
                    : arena_str(a, list[i]);
    return out;
}

static struct route_cors *new_cors(struct filling *v, const struct object *o,
                                   const struct cors_policy *from)
{
    struct arena *a = &v->vhost->part.arena;
    struct route_cors *c = ARENA_NEW(a, struct route_cors);

    c->origins =
        ARENA_ARRAY(a, from->allow_origins_count + from->allow_origin_count + 1, struct match_string);
    for (size_t i = 0; i < from->allow_origins_count; i++)
        compile_match(v, o, &from->allow_origins[i], &c->origins[c->origin_count++]);
    for (size_t i = 0; i < from->allow_origin_count && from->allow_origins_count == 0; i++)
        c->origins[c->origin_count++] = (struct match_string){
            .kind = MATCH_EXACT, .text = arena_str(a, from->allow_origin[i])};
    c->methods = joined(a, from->allow_methods, from->allow_methods_count);
    c->headers = joined(a, from->allow_headers, from->allow_headers_count);
    c->expose = joined(a, from->expose_headers, from->expose_headers_count);
    if (from->max_age_ns != DURATION_UNSET)
        c->max_age = arena_printf(a, "%lld", (long long)(from->max_age_ns / 1000000000));
    c->credentials = from->allow_credentials;
    c->answer_unmatched = from->unmatched_preflights == CORS_UNMATCHED_IGNORE;
    return c;
}

static void add_mirror(struct filling *v, const struct destination *d, double percent,
                       struct str ns, uint16_t port, struct str *pending, struct route *r)
{
    uint32_t share = share_of(percent);

    if (share)
        r->mirrors[r->mirror_count++] = (struct route_mirror){
            compile_destination(v->b, &v->vhost->part.arena, d, ns, port, pending), share};
}

static void fill_mirrors(struct filling *v, const struct http_rule *rule, struct str ns,
                         uint16_t port, struct str *pending, struct route *r)
{
    double percent = rule->mirror_percentage    ? rule->mirror_percentage->value
                     : rule->has_mirror_percent ? rule->mirror_percent
                                                : 100;

    r->mirrors = ARENA_ARRAY(&v->vhost->part.arena, rule->mirrors_count + 1, struct route_mirror);
    if (rule->mirror)
        add_mirror(v, rule->mirror, percent, ns, port, pending, r);
    for (size_t i = 0; i < rule->mirrors_count; i++) {
        const struct http_mirror *m = &rule->mirrors[i];

        add_mirror(v, &m->destination, m->percentage ? m->percentage->value : 100, ns, port,
                   pending, r);
    }
}

/* ---- the whole ---- */

void compile_action(struct filling *v, const struct object *o, const struct http_rule *rule,
                    uint16_t port, struct route *r)
{
    struct arena *a = &v->vhost->part.arena;
    struct targets to;

    compile_targets(v->b, a, rule->route, rule->route_count, o->meta.ns, port, &to);
    r->clusters = to.clusters;
    r->cluster_count = to.count;
    r->weight_total = to.total;
    if (rule->rewrite)
        fill_rewrite(v, o, rule->rewrite, r);
    fill_rule_headers(a, rule, r);
    if (rule->redirect)
        fill_redirect(a, rule->redirect, port, r);
    if (rule->direct_response)
        fill_answer(a, rule->direct_response, r);
    if (rule->fault)
        r->fault = new_fault(a, rule->fault);
    if (rule->cors_policy)
        r->cors = new_cors(v, o, rule->cors_policy);
    if (rule->mirror || rule->mirrors_count)
        fill_mirrors(v, rule, o->meta.ns, port, &to.pending, r);
    if (to.pending.n == 0)
        return;
    r->action = ROUTE_PENDING;
    if (v->vhost->service.n == 0)
        v->vhost->service = to.pending;
}
