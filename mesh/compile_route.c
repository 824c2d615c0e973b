/* VirtualServices become routes: what a rule matches, where it sends, when it tries again. Rules
 * that configuration alone decides against (port, source, gateway) leave no route behind. */
#include "mesh/compile_parts.h"

#include <string.h>

#include "mesh/kinds/mesh_config.h"
#include "mesh/kinds/virtual_service.h"
#include "mesh/retry_word.h"

#define RETRY_ATTEMPTS   2 /* fields.md 4.4 */
#define RETRY_BACKOFF_MS 25
#define RETRY_DEFAULT_ON                                                                           \
    (RETRY_CONNECT_FAILURE | RETRY_REFUSED_STREAM | RETRY_GRPC_UNAVAILABLE |                       \
     RETRY_GRPC_CANCELLED | RETRY_STATUS_CODES)

/* ---- where rules hold ---- */

static const struct str mesh_gateway[] = {STR_INIT("mesh")};

struct place compile_mesh_place(const struct build *b, uint16_t port)
{
    return (struct place){port, mesh_gateway, 1, b->ns, b->labels};
}

bool compile_names_place(struct build *b, const struct str *refs, size_t count, struct str own_ns,
                         const struct place *p)
{
    for (size_t i = 0; i < count; i++) {
        if (compile_has_export(p->gateways, p->gateway_count, model_gateway_ref(&b->tmp, refs[i], own_ns)))
            return true;
    }
    return false;
}

static bool is_from(const struct place *p, const struct labels *source, struct str source_ns)
{
    return (source_ns.n == 0 || str_eq(source_ns, p->ns)) && labels_match(p->labels, source);
}

/* As Istio decides about HTTP: where a match names gateways, who calls does not count. */
static bool http_holds_here(struct build *b, const struct place *p, const struct object *o, const struct http_rule_match *m)
{
    if (m->port && m->port != p->port)
        return false;
    if (m->gateways_count > 0)
        return compile_names_place(b, m->gateways, m->gateways_count, o->meta.ns, p);
    return is_from(p, &m->source_labels, m->source_namespace);
}

/* About anything else all conditions hold together. */
static bool holds_here(struct build *b, const struct place *p, const struct object *o, const struct l4_match *m)
{
    if (m->port && m->port != p->port)
        return false;
    if (m->gateways_count > 0 && !compile_names_place(b, m->gateways, m->gateways_count, o->meta.ns, p))
        return false;
    return is_from(p, &m->source_labels, m->source_namespace);
}

/* ---- HTTP ---- */

static void fill_string(struct filling *v, const struct object *o, const struct match_string *from, bool nocase,
                        struct match_string *to)
{
    struct err err;

    to->kind = from->kind;
    to->text = arena_str(&v->vhost->part.arena, from->text);
    if (from->kind != MATCH_REGEX)
        return;
    to->regex = nocase ? regex_new_nocase(from->text, &err) : regex_new(from->text, &err);
    if (!to->regex)
        findings_add(v->b->f, FIND_VALUE, SEVERITY_ERROR, "%s", err.text)->object =
            compile_object_name(v->b, o);
}

void compile_match(struct filling *v, const struct object *o, const struct match_string *from, struct match_string *to)
{
    fill_string(v, o, from, false, to);
}

/* Names of hosts have no case: heads hold them in lower case. */
static void fill_host_match(struct filling *v, const struct object *o, const struct match_string *from,
                            struct match_string *to)
{
    fill_string(v, o, from, true, to);
    if (from->kind != MATCH_REGEX)
        to->text = compile_lower(&v->vhost->part.arena, from->text);
}

/* withoutHeaders takes an absent header for an empty one, if it names a value (Istio sets
 * treat_missing_header_as_empty): where that covers the empty value, an absent header must not pass, so the header has
 * to be there as well. */
static bool covers_empty(const struct match_string *m)
{
    return m->kind != MATCH_PRESENT && m->kind != MATCH_ANY && match_string(m, STR(""), false) == MATCH_YES;
}

static void add_headers(struct filling *v, const struct object *o, const struct named_match *list,
                        size_t count, bool negate, struct route_match *m)
{
    struct arena *a = &v->vhost->part.arena;

    for (size_t i = 0; i < count; i++) {
        struct header_match *h = &m->headers[m->header_count++];

        h->name = compile_lower(a, list[i].key);
        h->negate = negate;
        if (str_eq(h->name, STR(":authority")) || str_eq(h->name, STR("host")))
            fill_host_match(v, o, &list[i].value, &h->value);
        else
            compile_match(v, o, &list[i].value, &h->value);
        if (negate && covers_empty(&h->value))
            m->headers[m->header_count++] =
                (struct header_match){.name = h->name, .value = {.kind = MATCH_PRESENT}};
    }
}

static void fill_match(struct filling *v, const struct object *o,
                       const struct http_rule_match *from, struct route_match *to)
{
    struct arena *a = &v->vhost->part.arena;

    compile_match(v, o, &from->uri, &to->path);
    to->path_nocase = from->ignore_uri_case;
    compile_match(v, o, &from->method, &to->method);
    compile_match(v, o, &from->scheme, &to->scheme);
    fill_host_match(v, o, &from->authority, &to->authority);
    to->headers = ARENA_ARRAY(a, from->headers_count + 2 * from->without_headers_count + 1,
                              struct header_match);
    add_headers(v, o, from->headers, from->headers_count, false, to);
    add_headers(v, o, from->without_headers, from->without_headers_count, true, to);
    to->queries = ARENA_ARRAY(a, from->query_params_count + 1, struct query_match);
    for (size_t i = 0; i < from->query_params_count; i++) {
        to->queries[i].name = arena_str(a, from->query_params[i].key);
        compile_match(v, o, &from->query_params[i].value, &to->queries[i].value);
        to->query_count++;
    }
}

/* A list given replaces the default one; a status in it implies retriable-status-codes. */
static void fill_retry_on(struct arena *a, struct str list, struct retry_policy *out)
{
    uint16_t *codes = ARENA_ARRAY(a, list.n / 2 + 1, uint16_t);
    struct str word;
    uint64_t code;

    out->on = 0;
    out->codes = codes;
    while (str_next(&list, ',', &word)) {
        word = str_trim(word);
        if (str_uint(word, 100, 599, &code)) {
            codes[out->code_count++] = (uint16_t)code;
            out->on |= RETRY_STATUS_CODES;
        } else {
            out->on |= retry_word(word); /* the schema refused words that are not there */
        }
    }
}

/* Without one of its own a rule has the mesh's, without that Istio's. */
static void fill_retry(const struct build *b, struct arena *a, const struct http_retry *from, struct retry_policy *out)
{
    *out = (struct retry_policy){.attempts = RETRY_ATTEMPTS,
                                 .on = RETRY_DEFAULT_ON,
                                 .backoff_base_ms = RETRY_BACKOFF_MS,
                                 .avoid_previous = AVOID_UNLESS_HASHED};
    if (!from && b->mesh)
        from = b->mesh->retry_policy;
    if (!from)
        return;
    out->attempts = from->attempts > 0 ? (uint32_t)from->attempts : 0;
    out->per_try_timeout_ms = compile_ms_or(from->per_try_timeout_ns, 0);
    out->backoff_base_ms = compile_ms_or(from->backoff_ns, RETRY_BACKOFF_MS);
    out->goes_remote = from->retry_remote_localities;
    if (from->has_retry_ignore_previous_hosts)
        out->avoid_previous = from->retry_ignore_previous_hosts ? AVOID_ALWAYS : AVOID_NEVER;
    if (from->retry_on.n)
        fill_retry_on(a, from->retry_on, out);
}

void compile_inbound_retry(struct retry_policy *out)
{
    *out = (struct retry_policy){.attempts = RETRY_ATTEMPTS,
                                 .on = RETRY_RESET_BEFORE_REQUEST,
                                 .backoff_base_ms = RETRY_BACKOFF_MS};
}

struct route *compile_new_route(struct filling *v)
{
    v->routes = compile_room(&v->b->tmp, v->routes, v->count, &v->cap, sizeof(struct route));
    return &v->routes[v->count++];
}

static void add_route(struct filling *v, const struct object *o, const struct http_rule *rule,
                      const struct http_rule_match *match, const struct place *p)
{
    struct arena *a = &v->vhost->part.arena;
    struct route *r = compile_new_route(v);

    r->name = match && match->name.n
                  ? arena_printf(a, "%.*s.%.*s", STR_ARG(rule->name), STR_ARG(match->name))
                  : arena_str(a, rule->name);
    r->rule = arena_str(a, rule->name);
    if (match)
        fill_match(v, o, match, &r->match);
    compile_action(v, o, rule, p->port, r);
    r->timeout_ms = compile_ms_or(rule->timeout_ns, 0);
    fill_retry(v->b, a, rule->retries, &r->retry);
}

bool compile_is_catch_all(const struct route *r)
{
    const struct route_match *m = &r->match;
    bool any_path = m->path.kind == MATCH_ANY ||
                    (m->path.kind == MATCH_PREFIX && str_eq(m->path.text, STR("/"))) ||
                    (m->path.kind == MATCH_REGEX && str_eq(m->path.text, STR(".*")));

    return any_path && m->header_count == 0 && m->query_count == 0 && m->method.kind == MATCH_ANY &&
           m->scheme.kind == MATCH_ANY && m->authority.kind == MATCH_ANY;
}

/* The routes that one VirtualService contributes here, up to its first catch-all: what follows that
 * is dead. */
void compile_add_routes(struct filling *v, const struct rules *rules, const struct place *p)
{
    for (size_t i = 0; i < rules->http_count; i++) {
        const struct http_rule *rule = rules->http[i].rule;
        const struct object *from = rules->http[i].from;

        if (rule->match_count == 0) {
            add_route(v, from, rule, NULL, p);
            return;
        }
        for (size_t k = 0; k < rule->match_count; k++) {
            const struct http_rule_match *m = &rule->match[k];

            if (!http_holds_here(v->b, p, rules->object, m))
                continue;
            add_route(v, from, rule, m, p);
            if (compile_is_catch_all(&v->routes[v->count - 1]))
                return;
        }
    }
}

void compile_add_default_route(struct filling *v, const struct service *s, uint16_t port)
{
    struct arena *a = &v->vhost->part.arena;
    struct route *r = compile_new_route(v);

    r->name = STR("default");
    r->clusters = ARENA_NEW(a, struct weighted_cluster);
    r->clusters[0].cluster =
        compile_cluster_name(a, port, STR_NONE, compile_lower(&v->b->tmp, s->fqdn));
    r->clusters[0].weight = 1;
    r->cluster_count = 1;
    r->weight_total = 1;
    fill_retry(v->b, a, NULL, &r->retry);
}

void compile_add_pending_route(struct filling *v, const struct service *s)
{
    struct route *r = compile_new_route(v);

    r->name = STR("default");
    r->action = ROUTE_PENDING;
    v->vhost->service = arena_str(&v->vhost->part.arena, s->key);
}

/* ---- TCP ---- */

static void fill_subnets(struct arena *a, const struct l4_match *m, struct tcp_route *r)
{
    r->subnets = ARENA_ARRAY(a, m->destination_subnets_count + 1, struct cidr);
    for (size_t i = 0; i < m->destination_subnets_count; i++) {
        if (cidr_parse(m->destination_subnets[i], &r->subnets[r->subnet_count]))
            r->subnet_count++;
    }
}

static void add_tcp_route(struct tcp_filling *t, const struct rules *rules,
                          const struct l4_rule *rule, const struct l4_match *m,
                          const struct place *p)
{
    struct arena *a = &t->listener->part.arena;
    struct tcp_route *r;
    struct targets to;

    t->routes = compile_room(&t->b->tmp, t->routes, t->count, &t->cap, sizeof(struct tcp_route));
    r = &t->routes[t->count++];
    compile_targets(t->b, a, rule->route, rule->route_count, rules->object->meta.ns, p->port, &to);
    r->name = arena_str(a, rules->object->meta.name);
    r->clusters = to.clusters;
    r->cluster_count = to.count;
    r->weight_total = to.total;
    if (m)
        fill_subnets(a, m, r);
    if (to.pending.n && t->pending.n == 0)
        t->pending = to.pending;
    t->is_closed = r->subnet_count == 0;
}

/* Server names are alternatives; "*" is any that is given. */
static void fill_names(struct arena *a, const struct l4_match *m, struct tcp_route *r)
{
    r->server_names = ARENA_ARRAY(a, m->sni_hosts_count + 1, struct str);
    for (size_t i = 0; i < m->sni_hosts_count; i++)
        r->server_names[r->server_name_count++] = compile_lower(a, m->sni_hosts[i]);
}

bool compile_add_tls_routes(struct tcp_filling *t, const struct rules *rules, const struct place *p)
{
    bool any = false;

    for (size_t i = 0; i < rules->spec->tls_count; i++) {
        const struct l4_rule *rule = &rules->spec->tls[i];

        for (size_t k = 0; k < rule->match_count; k++) {
            const struct l4_match *m = &rule->match[k];

            if (!holds_here(t->b, p, rules->object, m))
                continue;
            add_tcp_route(t, rules, rule, m, p);
            fill_names(&t->listener->part.arena, m, &t->routes[t->count - 1]);
            t->listener->reads_sni = any = true;
            t->is_closed = false;
        }
    }
    return any;
}

void compile_add_tcp_routes(struct tcp_filling *t, const struct rules *rules, const struct place *p)
{
    for (size_t i = 0; i < rules->spec->tcp_count && !t->is_closed; i++) {
        const struct l4_rule *rule = &rules->spec->tcp[i];

        if (rule->match_count == 0)
            add_tcp_route(t, rules, rule, NULL, p);
        for (size_t k = 0; k < rule->match_count && !t->is_closed; k++) {
            const struct l4_match *m = &rule->match[k];

            if (holds_here(t->b, p, rules->object, m))
                add_tcp_route(t, rules, rule, m, p);
        }
    }
}

void compile_add_plain_tcp_route(struct tcp_filling *t, struct str name, struct str cluster)
{
    struct arena *a = &t->listener->part.arena;
    struct tcp_route *r;

    t->routes = compile_room(&t->b->tmp, t->routes, t->count, &t->cap, sizeof(struct tcp_route));
    r = &t->routes[t->count++];
    r->name = arena_str(a, name);
    r->clusters = ARENA_NEW(a, struct weighted_cluster);
    r->clusters[0].cluster = arena_str(a, cluster);
    r->clusters[0].weight = 1;
    r->cluster_count = 1;
    r->weight_total = 1;
    t->is_closed = true;
}

void compile_tcp_end(struct tcp_filling *t)
{
    struct listener *l = t->listener;

    l->tcp = ARENA_ARRAY(&l->part.arena, t->count + 1, struct tcp_route);
    if (t->count)
        memcpy(l->tcp, t->routes, t->count * sizeof(struct tcp_route));
    l->tcp_count = t->count;
}

static bool is_tls(struct str protocol)
{
    return str_eq_nocase(protocol, STR("TLS")) || str_eq_nocase(protocol, STR("HTTPS"));
}

/* Rules for TLS are for ports of TLS, those for TCP for all others; with the former, a name that none wants is refused. */
void compile_service_tcp(struct build *b, struct listener *l, const struct service *s,
                         const struct service_port *port)
{
    struct tcp_filling t = {.b = b, .listener = l};
    struct str fqdn = compile_lower(&b->tmp, s->fqdn);
    const struct rules *rules = compile_rules_for(b, fqdn);
    struct place place = compile_mesh_place(b, port->number);

    if (rules && is_tls(port->protocol))
        t.is_closed = compile_add_tls_routes(&t, rules, &place);
    else if (rules)
        compile_add_tcp_routes(&t, rules, &place);
    if (!t.is_closed)
        compile_add_plain_tcp_route(&t, STR("default"),
                                    compile_cluster_name(&b->tmp, port->number, STR_NONE, fqdn));
    compile_tcp_end(&t);
    if (t.pending.n) { /* a destination is not complete yet: connections wait for it */
        l->is_pending = true;
        l->service = t.pending;
    }
}
