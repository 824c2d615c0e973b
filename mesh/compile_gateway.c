/* Gateways: the ports that a gateway service of this host opens, and the VirtualServices bound to
 * them. */
#include "mesh/compile_parts.h"

#include <stdlib.h>

#include "mesh/decode.h"
#include "mesh/kinds/gateway.h"
#include "mesh/kinds/virtual_service.h"

/* One server block of one Gateway on a gate. */
struct gate_server {
    const struct object *gateway;
    const struct gateway_server *server;
    struct str ref; /* "ns/name" of the Gateway */
};

/* What clients of a port begin with. */
enum gate_kind { GATE_HTTP, GATE_TLS, GATE_TCP };

/* A port that this host opens as a gateway: all servers of all Gateways on it. */
struct gate {
    struct addr at;
    enum gate_kind kind;
    struct gate_server *servers;
    size_t count, cap;
    struct str *refs; /* of the Gateways, as many as servers */
};

/* A host of a gate and the VirtualServices that serve it, oldest first. */
struct gate_host {
    struct str domain;
    bool to_https; /* all of it */
    const struct rules **rules;
    size_t count, cap;
};

static bool is_https(const struct gate_server *g)
{
    return str_eq(g->server->port.protocol, STR("HTTPS"));
}

static enum gate_kind kind_of(const struct gate_server *g)
{
    if (is_https(g) || str_eq(g->server->port.protocol, STR("TLS")))
        return GATE_TLS;
    return compile_protocol_of(g->server->port.protocol) == APP_HTTP ? GATE_HTTP : GATE_TCP;
}

static bool gate_address(const struct gateway_server *s, struct addr *out)
{
    *out = (struct addr){.family = 4}; /* 0.0.0.0: a host without IPv6 could not bind both */
    if (s->bind.n && !addr_parse_ip(s->bind, out))
        return false;
    out->port = (uint16_t)s->port.number;
    return true;
}

static void gate_conflict(struct build *b, const struct gate_server *g, const char *why)
{
    struct finding *f =
        findings_add(b->f, FIND_CONFLICT, SEVERITY_WARNING, "the server on port %u is left out: %s",
                     g->server->port.number, why);

    f->object = compile_object_name(b, g->gateway);
    f->pointer = STR("/spec/servers");
}

static void gate_add(struct build *b, struct gate *gates, size_t *count,
                     const struct gate_server *g)
{
    enum gate_kind kind = kind_of(g);
    struct gate *gate = NULL;
    struct addr at;

    if (!gate_address(g->server, &at)) {
        gate_conflict(b, g, "its bind is not an IP address");
        return;
    }
    for (size_t i = 0; i < *count; i++) {
        if (addr_eq(&gates[i].at, &at))
            gate = &gates[i];
    }
    if (gate && gate->kind != kind) {
        gate_conflict(b, g, "an older Gateway uses this port with another protocol");
        return;
    }
    if (!gate) {
        gate = &gates[(*count)++];
        *gate = (struct gate){.at = at, .kind = kind};
    }
    gate->servers =
        compile_room(&b->tmp, gate->servers, gate->count, &gate->cap, sizeof(struct gate_server));
    gate->servers[gate->count++] = *g;
}

/* What "[ns/]dns" of a server and a host of a VirtualService in `ns` have in common: the more
 * specific one, or empty. */
static struct str common_host(const struct gate_server *g, struct str server_host, struct str ns,
                              struct str host)
{
    struct str want_ns, dns = server_host;

    if (str_cut(&dns, '/', &want_ns)) {
        if (str_eq(want_ns, STR(".")))
            want_ns = g->gateway->meta.ns;
        if (!str_eq(want_ns, STR("*")) && !str_eq(want_ns, ns))
            return STR_NONE;
    }
    if (match_host_covers(dns, host))
        return host;
    return match_host_covers(host, dns) ? dns : STR_NONE;
}

static bool bound_to(struct build *b, const struct rules *r, const struct gate_server *g)
{
    struct place p = {.gateways = &g->ref, .gateway_count = 1};

    return compile_names_place(b, r->spec->gateways, r->spec->gateways_count, r->object->meta.ns,
                               &p);
}

/* The hosts of a gate while they are collected. */
struct gate_hosts {
    struct gate_host **list;
    size_t count, cap;
    struct map by_domain; /* -> struct gate_host * */
};

static struct gate_host *gate_host_for(struct build *b, struct gate_hosts *h, struct str domain)
{
    struct gate_host *host = map_get(&h->by_domain, domain);

    if (host)
        return host;
    host = ARENA_NEW(&b->tmp, struct gate_host);
    host->domain = domain;
    h->list = compile_room(&b->tmp, h->list, h->count, &h->cap, sizeof(struct gate_host *));
    h->list[h->count++] = host;
    map_put(&h->by_domain, domain, host);
    return host;
}

static void add_gate_host(struct build *b, struct gate_hosts *h, struct str domain,
                          const struct rules *r)
{
    struct gate_host *host = gate_host_for(b, h, compile_lower(&b->tmp, domain));

    if (host->count && host->rules[host->count - 1] == r)
        return;
    host->rules =
        compile_room(&b->tmp, host->rules, host->count, &host->cap, sizeof(struct rules *));
    host->rules[host->count++] = r;
}

static void match_gate_hosts(struct build *b, const struct gate_server *g, const struct rules *r,
                             struct gate_hosts *h)
{
    for (size_t i = 0; i < g->server->hosts_count; i++) {
        for (size_t k = 0; k < r->spec->hosts_count; k++) {
            struct str domain =
                common_host(g, g->server->hosts[i], r->object->meta.ns, r->hosts[k]);

            if (domain.n)
                add_gate_host(b, h, domain, r);
        }
    }
}

static int compare_rules_by_age(const void *x, const void *y)
{
    const struct rules *const *a = x, *const *b = y;

    return object_older_first((*a)->object, (*b)->object);
}

/* VirtualServices that a gateway in `ns` may see, oldest first. */
static const struct rules **rules_by_age(struct build *b, struct str ns, size_t *count)
{
    const struct rules **list = ARENA_ARRAY(&b->tmp, b->rules_count + 1, const struct rules *);
    size_t n = 0;

    for (size_t i = 0; i < b->rules_count; i++) {
        const struct rules *r = &b->rules[i];

        if (compile_visibility(b, r->object, ns) >= 0)
            list[n++] = r;
    }
    qsort(list, n, sizeof(struct rules *), compare_rules_by_age);
    *count = n;
    return list;
}

/* Routes of all VirtualServices of a host one after the other, those that take everything last. */
static void gate_vhost(struct build *b, struct table *t, const struct gate_host *host,
                       const struct place *p)
{
    struct filling v =
        compile_vhost_begin(b, arena_printf(&b->tmp, "%.*s:%u", STR_ARG(host->domain), p->port));
    struct filling sorted = v;

    v.vhost->domains = ARENA_ARRAY(&v.vhost->part.arena, 1, struct str);
    v.vhost->domains[0] = arena_str(&v.vhost->part.arena, host->domain);
    v.vhost->domain_count = 1;
    if (host->to_https) {
        struct route *r = compile_new_route(&v);

        r->name = STR("default");
        r->action = ROUTE_REDIRECT;
        r->redirect = (struct route_redirect){.status = 301, .scheme = STR("https")};
        compile_vhost_end(&v, t);
        return;
    }
    for (size_t i = 0; i < host->count; i++)
        compile_add_routes(&v, host->rules[i], p);
    for (size_t i = 0; i < v.count; i++) {
        if (!compile_is_catch_all(&v.routes[i]))
            *compile_new_route(&sorted) = v.routes[i];
    }
    for (size_t i = 0; i < v.count; i++) {
        if (compile_is_catch_all(&v.routes[i]))
            *compile_new_route(&sorted) = v.routes[i];
    }
    compile_vhost_end(&sorted, t);
}

/* httpsRedirect: also of hosts that no VirtualService serves. */
static void redirect_hosts(struct build *b, const struct gate_server *g, struct gate_hosts *h)
{
    if (!g->server->tls || !g->server->tls->https_redirect)
        return;
    for (size_t i = 0; i < g->server->hosts_count; i++) {
        struct str dns = g->server->hosts[i], ns;

        (void)str_cut(&dns, '/', &ns); /* most have none */
        gate_host_for(b, h, compile_lower(&b->tmp, dns))->to_https = true;
    }
    for (size_t i = 0; i < h->count; i++) {
        for (size_t k = 0; k < g->server->hosts_count; k++) {
            struct str dns = g->server->hosts[k], ns;

            (void)str_cut(&dns, '/', &ns); /* most have none */
            if (match_host_covers(dns, h->list[i]->domain))
                h->list[i]->to_https = true;
        }
    }
}

/* `name` is that of the route table. */
static void gate_http(struct build *b, struct listener *l, struct str name, const struct gate *gate,
                      const struct place *p)
{
    struct gate_hosts hosts = {0};
    size_t count;
    const struct rules **rules = rules_by_age(b, p->ns, &count);
    struct table *t = compile_table_for(b, name);

    map_init(&hosts.by_domain);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < gate->count; k++) {
            if (bound_to(b, rules[i], &gate->servers[k]))
                match_gate_hosts(b, &gate->servers[k], rules[i], &hosts);
        }
    }
    for (size_t k = 0; k < gate->count; k++)
        redirect_hosts(b, &gate->servers[k], &hosts);
    for (size_t i = 0; i < hosts.count; i++)
        gate_vhost(b, t, hosts.list[i], p);
    map_done(&hosts.by_domain);
    l->http = part_ref(t->made);
}

/* Bytes: TLS that is passed on goes by `tls` rules, all other by `tcp` rules. */
static void gate_tcp(struct build *b, struct listener *l, const struct gate *gate,
                     const struct place *p, bool passes_tls)
{
    struct tcp_filling t = {.b = b, .listener = l};
    size_t count;
    const struct rules **rules = rules_by_age(b, p->ns, &count);

    for (size_t i = 0; i < count && !t.is_closed; i++) {
        bool bound = false;

        for (size_t k = 0; k < gate->count; k++)
            bound = bound || bound_to(b, rules[i], &gate->servers[k]);
        if (bound && passes_tls)
            (void)compile_add_tls_routes(&t, rules[i], p); /* other rules may have some */
        else if (bound)
            compile_add_tcp_routes(&t, rules[i], p);
    }
    compile_tcp_end(&t);
    if (t.pending.n) {
        l->is_pending = true;
        l->service = t.pending;
    }
}

/* The place of one or more servers of a gate. */
static struct place place_of(struct build *b, const struct local_service *s, struct gate *gate)
{
    gate->refs = ARENA_ARRAY(&b->tmp, gate->count + 1, struct str);
    for (size_t i = 0; i < gate->count; i++)
        gate->refs[i] = gate->servers[i].ref;
    return (struct place){.port = gate->at.port,
                          .ns = s->ns,
                          .labels = &s->labels,
                          .gateways = gate->refs,
                          .gateway_count = gate->count};
}

static struct listener *gate_listener(struct build *b, const struct local_service *s, struct str name,
                                      enum app_protocol protocol, const struct gate *gate)
{
    struct listener *l = compile_new_listener(name, LISTENER_GATEWAY, protocol, &gate->at);
    struct who who;

    l->is_bound = true;
    l->takes_proxy_header = s->takes_proxy_header;
    l->service = arena_str(&l->part.arena, s->key);
    l->identity = arena_str(&l->part.arena, s->identity);
    compile_who_is(&b->tmp, &s->labels, s->name, s->ns, &who);
    compile_listener_who(l, &who);
    compile_limits(b, s, l);
    return l;
}

static struct str table_name(struct build *b, const struct gate *gate)
{
    char text[ADDR_TEXT_MAX];

    return addr_is_any(&gate->at) ? arena_printf(&b->tmp, "http.%u", gate->at.port)
                                  : arena_printf(&b->tmp, "http.%u.%s", gate->at.port,
                                                 addr_format_ip(&gate->at, text));
}

/* Its hosts without namespaces; "*" among them is any name, also none. */
static void chain_names(struct listener *l, const struct gateway_server *s)
{
    struct arena *a = &l->part.arena;

    l->server_names = ARENA_ARRAY(a, s->hosts_count + 1, struct str);
    for (size_t i = 0; i < s->hosts_count; i++) {
        struct str dns = s->hosts[i], ns;

        (void)str_cut(&dns, '/', &ns); /* most have none */
        if (str_eq(dns, STR("*"))) {
            l->server_name_count = 0;
            return;
        }
        l->server_names[l->server_name_count++] = compile_lower(a, dns);
    }
}

static bool passes_tls(const struct gate_server *g)
{
    return g->server->tls->mode == SERVER_TLS_PASSTHROUGH;
}

/* One server of a port of TLS: connections come to it by server name. */
static void open_chain(struct build *b, const struct local_service *s, const struct gate *gate,
                       const struct gate_server *g)
{
    struct gate one = {.at = gate->at, .kind = GATE_TLS, .servers = (struct gate_server *)(uintptr_t)g, .count = 1};
    struct place p = place_of(b, s, &one);
    bool is_http = is_https(g) && !passes_tls(g);
    struct str name = arena_printf(&b->tmp, "%s.%u.%.*s.%.*s.%.*s", is_https(g) ? "https" : "tls", gate->at.port,
                                   STR_ARG(g->server->port.name), STR_ARG(g->gateway->meta.name),
                                   STR_ARG(g->gateway->meta.ns));
    struct listener *l = gate_listener(b, s, name, is_http ? APP_HTTP : APP_TCP, gate);
    const char *why = passes_tls(g) ? NULL
                                    : compile_tls_end(b, &l->part.arena, g->server->tls, s->ns, is_http, &l->tls);

    l->is_chain = true;
    if (why) {
        gate_conflict(b, g, why);
        part_unref(l);
        return;
    }
    chain_names(l, g->server);
    if (is_http)
        gate_http(b, l, name, &one, &p);
    else
        gate_tcp(b, l, &one, &p, passes_tls(g));
    snapshot_add_listener(b->out, l);
}

/* A host of the server that an older one has, or empty; if it is empty, its hosts are taken. */
static struct str taken_host(struct build *b, struct map *taken, const struct gate_server *g)
{
    struct str *names = ARENA_ARRAY(&b->tmp, g->server->hosts_count + 1, struct str);

    for (size_t i = 0; i < g->server->hosts_count; i++) {
        struct str dns = g->server->hosts[i], ns;

        (void)str_cut(&dns, '/', &ns); /* most have none */
        names[i] = compile_lower(&b->tmp, dns);
        if (map_get(taken, names[i]))
            return names[i];
    }
    for (size_t i = 0; i < g->server->hosts_count; i++)
        map_put(taken, names[i], b);
    return STR_NONE;
}

/* One name, one server: a client could not tell two apart. */
static void open_chains(struct build *b, const struct local_service *s, const struct gate *gate)
{
    struct map taken;

    map_init(&taken);
    for (size_t i = 0; i < gate->count; i++) {
        struct str host = taken_host(b, &taken, &gate->servers[i]);

        if (host.n)
            gate_conflict(b, &gate->servers[i],
                          arena_printf(&b->tmp, "an older server has the host %.*s on this port", STR_ARG(host)).p);
        else
            open_chain(b, s, gate, &gate->servers[i]);
    }
    map_done(&taken);
}

static void open_gate(struct build *b, const struct local_service *s, struct gate *gate)
{
    struct place p = place_of(b, s, gate);
    struct listener *l;
    char text[ADDR_TEXT_MAX];
    struct str name = arena_printf(&b->tmp, "gateway_%s", addr_format(&gate->at, text));

    if (map_put(&b->listeners, name, b)) {
        gate_conflict(b, &gate->servers[0], "another gateway service of this host has opened it");
        return;
    }
    l = gate_listener(b, s, name, gate->kind == GATE_HTTP ? APP_HTTP : APP_TCP, gate);
    switch (gate->kind) {
    case GATE_HTTP:
        for (size_t i = 0; i < gate->count; i++)
            compile_version(l, gate->servers[i].server->port.protocol);
        gate_http(b, l, table_name(b, gate), gate, &p);
        break;
    case GATE_TCP:
        gate_tcp(b, l, gate, &p, false);
        break;
    case GATE_TLS:
        l->reads_sni = true;
        open_chains(b, s, gate);
        break;
    }
    snapshot_add_listener(b->out, l);
}

void compile_gateway(struct build *b, const struct local_service *s)
{
    struct gate *gates;
    size_t count = 0, servers = 0;

    for (size_t i = 0; i < b->gateway_count; i++)
        servers += ((const struct gateway *)b->gateways[i]->spec)->servers_count;
    gates = ARENA_ARRAY(&b->tmp, servers + 1, struct gate);
    for (size_t i = 0; i < b->gateway_count; i++) {
        const struct object *o = b->gateways[i];
        const struct gateway *g = o->spec;

        if (!labels_match(&s->labels, &g->selector))
            continue;
        for (size_t k = 0; k < g->servers_count; k++) {
            struct gate_server one = {o, &g->servers[k],
                                      compile_join(&b->tmp, o->meta.ns, o->meta.name)};

            gate_add(b, gates, &count, &one);
        }
    }
    for (size_t i = 0; i < count; i++)
        open_gate(b, s, &gates[i]);
}
