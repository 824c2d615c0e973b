/* Which ports of this host are taken in for a service: the registered one with those that Services and ServiceEntries have
 * besides, or those that the Sidecar of the workload lists in their place. What such a list leaves out still comes through
 * the agent, under the same mutual TLS, but as opaque bytes; Istio's proxies hand it on likewise (fields.md 4.3,
 * InboundPassthroughCluster). */
#include "mesh/compile_parts.h"

#include "mesh/catalog.h"
#include "mesh/decode.h"
#include "mesh/kinds/gateway.h"

#define SSH_PORT 22 /* never redirected: the way in when all else fails */

/* What comes of a workload's Sidecar, for messages. */
struct taking {
    struct build *b;
    const struct local_service *service;
    const struct object *from;
    const struct sidecar *spec;
};

static void left_out(const struct taking *t, const struct sidecar_ingress *in, const char *why)
{
    struct finding *f =
        findings_add(t->b->f, FIND_CONFLICT, SEVERITY_WARNING, "service %.*s/%.*s: ingress port %u is left out: %s",
                     STR_ARG(t->service->ns), STR_ARG(t->service->name), in->port->number, why);

    f->object = compile_object_name(t->b, t->from);
    f->pointer = STR("/spec/ingress");
}

static struct addr with_port(struct addr a, uint16_t port)
{
    a.port = port;
    return a;
}

/* defaultEndpoint: loopback as it is written; every other address means this host's. */
static struct addr application(const struct taking *t, const struct sidecar_ingress *in, uint16_t number)
{
    const struct addr *host = &t->b->self->address;
    struct str text = in->default_endpoint;
    struct addr at;
    uint64_t port = number;

    if (text.n == 0)
        return number == t->service->port ? t->service->app : with_port(*host, number);
    if (addr_parse(text, &at))
        return addr_is_any(&at) ? with_port(*host, at.port) : at;
    /* ":PORT" is what the kind's check leaves over */
    return with_port(*host, str_uint(str_sub(text, 1, text.n), 1, 65535, &port) ? (uint16_t)port : number);
}

/* captureMode NONE opens `bind`, or the host's own address. */
static struct addr own_socket(const struct taking *t, const struct sidecar_ingress *in, uint16_t number)
{
    struct addr at;

    if (in->capture != SIDECAR_CAPTURE_NONE)
        return number == t->service->port ? t->service->listen : (struct addr){0};
    if (in->bind.n && addr_parse_ip(in->bind, &at))
        return with_port(at, number);
    return with_port(t->b->self->address, number);
}

static bool has_own_port(const struct self *self, uint16_t port)
{
    for (size_t i = 0; i < self->own_port_count; i++) {
        if (self->own_ports[i] == port)
            return true;
    }
    return false;
}

/* A Sidecar for several workloads of one host lists the ports of all. */
static bool is_anothers(const struct taking *t, uint16_t port)
{
    for (size_t i = 0; i < t->b->self->service_count; i++) {
        const struct local_service *s = &t->b->self->services[i];

        if (s != t->service && !s->is_gateway && s->port == port)
            return true;
    }
    return false;
}

static bool sends_to_itself(const struct inbound *in)
{
    return in->listen.family && in->listen.port == in->app.port &&
           (addr_is_any(&in->listen) || addr_eq(&in->listen, &in->app));
}

/* PASSTHROUGH is the application's business: opaque bytes, as HTTPS and TLS are anyhow. */
static void end_tls(const struct sidecar_ingress *in, struct inbound *out)
{
    if (!in->tls || in->tls->mode == SERVER_TLS_PASSTHROUGH)
        return;
    out->tls = in->tls;
    out->protocol = str_eq(in->port->protocol, STR("HTTPS")) ? STR("HTTP") : STR("TCP");
}

/* NULL, or why it is not to be. */
static const char *what_is_wrong(const struct taking *t, const struct sidecar_ingress *in, const struct inbound *one)
{
    if (has_own_port(t->b->self, one->port) || has_own_port(t->b->self, one->app.port))
        return "it, or its defaultEndpoint, belongs to the agent of this host itself";
    if (t->b->self->is_uncaptured && in->capture != SIDECAR_CAPTURE_NONE && one->port != t->service->port)
        return "nothing is redirected on this host; captureMode NONE opens it";
    if (sends_to_itself(one))
        return "the application would be its own address; say where it is by defaultEndpoint";
    return NULL;
}

static void take_ingress(const struct taking *t, const struct sidecar_ingress *in)
{
    uint16_t number = (uint16_t)in->port->number;
    struct inbound one = {.service = t->service,
                          .port = number,
                          .protocol = in->port->protocol,
                          .listen = own_socket(t, in, number),
                          .app = application(t, in, number),
                          .pool = in->connection_pool ? in->connection_pool : t->spec->inbound_connection_pool};
    const char *why;

    if (is_anothers(t, number))
        return;
    end_tls(in, &one);
    why = what_is_wrong(t, in, &one);
    why = why ? why : compile_take_in(t->b, &one);
    if (why)
        left_out(t, in, why);
}

static bool lists_port(const struct sidecar *spec, uint16_t port)
{
    for (size_t i = 0; i < spec->ingress_count; i++) {
        if (spec->ingress[i].port->number == port)
            return true;
    }
    return false;
}

/* ---- what documents offer besides ---- */

static bool has_gateway_port(const struct build *b, uint16_t port)
{
    bool is_gateway = false;

    for (size_t i = 0; i < b->self->service_count; i++)
        is_gateway = is_gateway || b->self->services[i].is_gateway;
    for (size_t i = 0; is_gateway && i < b->gateway_count; i++) {
        const struct gateway *g = b->gateways[i]->spec;

        for (size_t k = 0; k < g->servers_count; k++) {
            if (g->servers[k].port.number == port)
                return true;
        }
    }
    return false;
}

/* Of a port that the Sidecar, if it lists any, leaves out. */
static struct str protocol_beside(const struct taking *t, struct str protocol)
{
    return t->spec && t->spec->ingress_count ? STR("TCP") : protocol;
}

/* Clients come there with the mesh's TLS, which the application does not speak. */
static void take_offered(struct taking *t, const struct offer *offer, const struct service_port *p)
{
    const struct local_service *s = t->service;
    uint16_t target = model_target(s, p->number, p->target_port);
    struct inbound one = {.service = s,
                          .port = target,
                          .protocol = protocol_beside(t, p->protocol),
                          .app = with_port(s->app, target),
                          .pool = t->spec ? t->spec->inbound_connection_pool : NULL,
                          .offer = offer,
                          .offered_port = p->number,
                          .offered = map_get(&t->b->c->by_service, model_service_key(&t->b->tmp, s->ns, offer->hosts[0]))};

    if (target == s->port || target == SSH_PORT || (t->spec && lists_port(t->spec, target)) || is_anothers(t, target))
        return;
    if (has_own_port(t->b->self, target) || has_gateway_port(t->b, target))
        return;
    (void)compile_take_in(t->b, &one); /* what an older document has already stays as that says */
}

static void take_offers(struct taking *t)
{
    const struct object *o = NULL;
    struct service_port p;
    struct offer offer;

    while ((o = compile_next_offer(t->b, t->service, o, &offer))) {
        for (size_t i = 0; catalog_offered_port(o, i, &p); i++)
            take_offered(t, &offer, &p);
    }
}

void compile_inbound(struct build *b, const struct local_service *s)
{
    struct taking t = {.b = b, .service = s};
    const char *why;
    struct inbound registered = {.service = s, .port = s->port, .listen = s->listen, .app = s->app};

    t.from = scope_sidecar(b->c->objects, b->c->object_count, b->c->root_namespace, s->ns, &s->labels);
    t.spec = t.from ? t.from->spec : NULL;
    for (size_t i = 0; t.spec && i < t.spec->ingress_count; i++)
        take_ingress(&t, &t.spec->ingress[i]);
    if (!b->self->is_uncaptured)
        take_offers(&t);
    if (t.spec && lists_port(t.spec, s->port))
        return;
    registered.protocol = protocol_beside(&t, s->protocol);
    registered.pool = t.spec ? t.spec->inbound_connection_pool : NULL;
    why = compile_take_in(b, &registered);
    if (why)
        findings_add(b->f, FIND_CONFLICT, SEVERITY_WARNING, "service %.*s/%.*s gets no traffic from other hosts: %s (%u)",
                     STR_ARG(s->ns), STR_ARG(s->name), why, s->port);
}
