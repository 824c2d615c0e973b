/* Listeners of this host's own traffic: outbound, one for each address and port of every service
 * that is visible; inbound, one for each port that is taken in (compile_ingress.c says which). */
#include "mesh/compile_parts.h"

#include "mesh/catalog.h"

static void unref_listener(struct part *p)
{
    part_unref(CONTAINER(p, struct listener, part)->http);
}

struct listener *compile_new_listener(struct str name, enum listener_kind kind,
                                      enum app_protocol protocol, const struct addr *at)
{
    struct listener *l = part_new(sizeof(struct listener));

    l->part.unref_children = unref_listener;
    l->name = arena_str(&l->part.arena, name);
    l->kind = kind;
    l->protocol = protocol;
    l->at = *at;
    l->tcp_idle_ms = HOUR_MS;
    return l;
}

void compile_version(struct listener *l, struct str word)
{
    l->is_http2 |= compile_is_http2(word);
    l->is_grpc_web |= compile_is_grpc_web(word);
}

void compile_listener_who(struct listener *l, const struct who *who)
{
    struct arena *a = &l->part.arena;

    l->workload = arena_str(a, who->workload);
    l->workload_ns = arena_str(a, who->ns);
    l->app = arena_str(a, who->app);
    l->version = arena_str(a, who->version);
    l->canonical_service = arena_str(a, who->canonical_service);
    l->canonical_revision = arena_str(a, who->canonical_revision);
}

/* ---- outbound ---- */

/* `number` is what clients address: the port, or 80 as its alias. */
static void outbound_listener(struct build *b, const struct service *s,
                              const struct service_port *port, struct addr at, uint16_t number,
                              struct table *t)
{
    char text[ADDR_TEXT_MAX];
    struct listener *l;
    struct str name;

    at.port = number;
    name = arena_printf(&b->tmp, "%s_%u", addr_format_ip(&at, text), number);
    if (map_put(&b->listeners, name, b)) /* two services at one address: the first has it */
        return;
    l = compile_new_listener(name, LISTENER_OUTBOUND, compile_protocol_of(port->protocol), &at);
    compile_version(l, port->protocol);
    l->service = arena_str(&l->part.arena, s->key);
    l->identity = arena_str(&l->part.arena, b->identity);
    compile_listener_who(l, &b->who);
    if (t)
        l->http = part_ref(t->made);
    if (!compile_is_subscribed(b, s))
        l->is_pending = true;
    else if (l->protocol != APP_HTTP)
        compile_service_tcp(b, l, s, port);
    snapshot_add_listener(b->out, l);
}

/* The port as callers see it: an entry of their Sidecar may say what is spoken there. */
static struct service_port seen_port(const struct build *b, const struct service *s, const struct service_port *port)
{
    const struct sidecar_port *p = scope_port(&b->scope, s, port->number);
    struct service_port seen = *port;

    if (p && p->protocol.n)
        seen.protocol = p->protocol;
    return seen;
}

static void outbound_port(struct build *b, const struct service *s, const struct service_port *of,
                          uint16_t number)
{
    struct service_port seen = seen_port(b, s, of);
    const struct service_port *port = &seen;
    struct table *t = NULL;
    struct addr *addresses, any = {.family = 4};
    size_t n = compile_service_addresses(b, s, &addresses);

    if (!scope_sees_port(&b->scope, s, of->number))
        return;
    if (compile_protocol_of(port->protocol) != APP_TCP) {
        t = compile_table_for(b, arena_printf(&b->tmp, "%u", number));
        compile_service_vhost(b, s, port, t, number);
    }
    for (size_t i = 0; i < n; i++)
        outbound_listener(b, s, port, addresses[i], number, t);
    if (n == 0) /* wildcard hosts, resolution NONE: any address with that port, where capture brings
                   it here */
        outbound_listener(b, s, port, any, number, t);
}

static const struct service_port *port_numbered(const struct service *s, uint16_t number)
{
    for (size_t i = 0; i < s->port_count; i++) {
        if (s->ports[i].number == number)
            return &s->ports[i];
    }
    return NULL;
}

/* "http://web/" works although web listens on 8080: the first HTTP port answers on 80 too, if
 * nothing else does. */
static void outbound_alias(struct build *b, const struct service *s)
{
    if (port_numbered(s, 80) ||
        (!s->vip4.family && !s->vip6.family && (s->is_external || s->address_count == 0)))
        return;
    for (size_t i = 0; i < s->port_count; i++) {
        if (compile_protocol_of(s->ports[i].protocol) == APP_HTTP &&
            scope_sees_port(&b->scope, s, s->ports[i].number)) {
            outbound_port(b, s, &s->ports[i], 80);
            return;
        }
    }
}

void compile_outbound(struct build *b)
{
    for (size_t i = 0; i < b->seen_count; i++) {
        for (size_t k = 0; k < b->services[i]->port_count; k++)
            outbound_port(b, b->services[i], &b->services[i]->ports[k],
                          b->services[i]->ports[k].number);
    }
    for (size_t i = 0; i < b->seen_count; i++)
        outbound_alias(b, b->services[i]);
    compile_unregistered_hosts(b, compile_table_for(b, STR("80")));
}

/* ---- inbound ---- */

/* No timeout, and nothing is done twice: those are the caller's business. */
static void inbound_table(struct build *b, struct listener *l, struct str name, struct str cluster,
                          uint16_t port)
{
    struct table *t = compile_table_for(b, name);
    struct filling v = compile_vhost_begin(b, arena_printf(&b->tmp, "inbound|http|%u", port));
    struct arena *a = &v.vhost->part.arena;
    struct route *r = compile_new_route(&v);

    v.vhost->domains = ARENA_ARRAY(a, 1, struct str);
    v.vhost->domains[0] = STR("*");
    v.vhost->domain_count = 1;
    r->name = STR("default");
    r->clusters = ARENA_NEW(a, struct weighted_cluster);
    r->clusters[0].cluster = arena_str(a, cluster);
    r->clusters[0].weight = 1;
    r->cluster_count = 1;
    r->weight_total = 1;
    compile_inbound_retry(&r->retry);
    compile_vhost_end(&v, t);
    l->http = part_ref(t->made);
}

static enum mtls_mode inbound_mode(const struct build *b, const struct inbound *in)
{
    const struct local_service *s = in->service;

    if (in->tls)
        return MTLS_DISABLE;
    return (enum mtls_mode)catalog_mtls_mode(b->c->objects, b->c->object_count, b->c->root_namespace,
                                             s->ns, &s->labels, in->port);
}

static void inbound_who(struct build *b, struct listener *l, const struct inbound *in)
{
    const struct local_service *s = in->service;
    const struct service *offered = in->offered;
    struct arena *a = &l->part.arena;
    struct who who;

    l->service = arena_str(a, s->key);
    l->identity = arena_str(a, s->identity);
    l->service_fqdn = offered ? compile_lower(a, offered->fqdn) : arena_str(a, s->fqdn);
    l->service_name = arena_str(a, offered ? offered->name : s->name);
    l->service_ns = arena_str(a, s->ns);
    compile_who_is(&b->tmp, &s->labels, s->name, s->ns, &who);
    compile_listener_who(l, &who);
}

const char *compile_take_in(struct build *b, const struct inbound *in)
{
    struct str name = arena_printf(&b->tmp, "inbound|%u||", in->port);
    struct addr at = in->listen.family ? in->listen : (struct addr){.port = in->port};
    struct listener *l;
    const char *why;

    if (map_get(&b->listeners, name))
        return "another service of this host has the port already";
    l = compile_new_listener(name, LISTENER_INBOUND, compile_protocol_of(in->protocol), &at);
    why = in->tls ? compile_tls_end(b, &l->part.arena, in->tls, in->service->ns, l->protocol == APP_HTTP, &l->tls) : NULL;
    if (why) {
        part_unref(l);
        return why;
    }
    map_put(&b->listeners, name, b);
    l->is_bound = in->listen.family != 0;
    compile_version(l, in->protocol);
    l->cluster = arena_str(&l->part.arena, name);
    l->mtls = inbound_mode(b, in);
    inbound_who(b, l, in);
    compile_limits(b, in->service, l);
    if (l->protocol != APP_TCP)
        inbound_table(b, l, name, name, in->port);
    if (l->protocol != APP_HTTP) {
        struct tcp_filling t = {.b = b, .listener = l};

        compile_add_plain_tcp_route(&t, STR("default"), name);
        compile_tcp_end(&t);
    }
    snapshot_add_listener(b->out, l);
    compile_inbound_cluster(b, in, name);
    return NULL;
}
