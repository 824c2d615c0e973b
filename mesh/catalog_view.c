/* What one agent may see of the whole mesh. */
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/catalog_parts.h"
#include "mesh/decode.h"
#include "mesh/encode.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/gateway.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/mesh_config.h"
#include "mesh/kinds/peer_authentication.h"
#include "mesh/kinds/rate_limit.h"
#include "mesh/kinds/virtual_service.h"
#include "mesh/scope.h"

struct viewing {
    const struct catalog *all;
    const struct mesh_config *mesh; /* or NULL */
    const struct viewer *v;
    struct resources *out;
    struct scope scope; /* of the calls of this host */
    struct map wanted; /* service keys whose rules and endpoints go along */
    struct arena arena;
    struct buf text;
};

static bool is_own_namespace(const struct viewing *x, struct str ns)
{
    bool is_own = str_eq(ns, x->v->ns);

    for (size_t k = 0; !is_own && k < x->v->service_count; k++)
        is_own = str_eq(ns, x->v->services[k].ns);
    return is_own;
}

/* Is the document exported to one of the viewer's namespaces? */
static bool exported(const struct viewing *x, const struct object *o)
{
    struct exports e = mesh_exports(x->mesh, o);

    for (size_t i = 0; i < e.count; i++) {
        struct str want = str_eq(e.to[i], STR(".")) ? o->meta.ns : e.to[i];

        if (str_eq(want, STR("*")) || is_own_namespace(x, want))
            return true;
    }
    return e.count == 0;
}

static bool service_visible(const struct viewing *x, const struct service *s)
{
    if (service_is_exported(s, x->v->ns))
        return true;
    for (size_t k = 0; k < x->v->service_count; k++) {
        if (service_is_exported(s, x->v->services[k].ns))
            return true;
    }
    return false;
}

static void put_object(struct viewing *x, const struct object *o)
{
    struct str key = arena_printf(&x->arena, "object/%s/%.*s/%.*s", o->meta.kind->name,
                                  STR_ARG(o->meta.ns), STR_ARG(o->meta.name));

    if (map_get(&x->out->by_key, key))
        return;
    buf_clear(&x->text);
    json_write(encode_object(o, &x->arena), 0, &x->text);
    if (!x->text.failed) /* apply holds documents to LIMIT_OBJECT_BYTES, far below */
        resources_put(x->out, key, buf_str(&x->text));
}

static void put_service(struct viewing *x, const struct service *s)
{
    buf_clear(&x->text);
    catalog_write_service(s, &x->text);
    resources_put(x->out, arena_printf(&x->arena, "service/%.*s", STR_ARG(s->key)),
                  buf_str(&x->text));
}

/* Add the services of that host name to the wanted ones: where rules send to is reached whether or
 * not callers see it. */
static void want_host(struct viewing *x, struct str host, struct str ns)
{
    struct str fqdn = model_fqdn(&x->arena, host, ns, x->all->domain);
    const struct service *s = map_get(&x->all->services_by_fqdn, fqdn);

    for (; s; s = s->same_name) {
        if (!service_visible(x, s) || map_get(&x->wanted, s->key))
            continue;
        map_put(&x->wanted, s->key, x->out);
        put_service(x, s);
    }
}

static void want_routes(struct viewing *x, const struct object *o)
{
    const struct virtual_service *vs = o->spec;

    for (size_t i = 0; i < vs->http_count; i++) {
        for (size_t k = 0; k < vs->http[i].route_count; k++)
            want_host(x, vs->http[i].route[k].destination.host, o->meta.ns);
        if (vs->http[i].mirror)
            want_host(x, vs->http[i].mirror->host, o->meta.ns);
        for (size_t k = 0; k < vs->http[i].mirrors_count; k++)
            want_host(x, vs->http[i].mirrors[k].destination.host, o->meta.ns);
    }
    for (size_t i = 0; i < vs->tcp_count; i++) {
        for (size_t k = 0; k < vs->tcp[i].route_count; k++)
            want_host(x, vs->tcp[i].route[k].destination.host, o->meta.ns);
    }
    for (size_t i = 0; i < vs->tls_count; i++) {
        for (size_t k = 0; k < vs->tls[i].route_count; k++)
            want_host(x, vs->tls[i].route[k].destination.host, o->meta.ns);
    }
}

/* Delegates come along with the rule that names them. */
static void want_delegate(struct viewing *x, const struct object *root,
                          const struct http_delegate *d)
{
    const struct object *o =
        catalog_object(x->all, KIND_VIRTUAL_SERVICE, d->ns.n ? d->ns : root->meta.ns, d->name);

    if (!o)
        return;
    put_object(x, o);
    want_routes(x, o);
}

static void want_destinations(struct viewing *x, const struct object *o)
{
    const struct virtual_service *vs = o->spec;

    want_routes(x, o);
    for (size_t i = 0; i < vs->http_count; i++) {
        if (vs->http[i].delegate)
            want_delegate(x, o, vs->http[i].delegate);
    }
}

static void put_endpoints(struct viewing *x, const struct service *s)
{
    size_t n = s->workload_count;

    do { /* more than one message can carry: fewer endpoints still serve, a cut text does not */
        buf_clear(&x->text);
        catalog_write_endpoints(s->workloads, n, &x->text);
        n -= n / 8;
    } while (x->text.failed);
    resources_put(x->out, arena_printf(&x->arena, "endpoints/%.*s", STR_ARG(s->key)),
                  buf_str(&x->text));
}

/* Credentials go to those who show them, and to nobody else. They are looked for where these are. */
static void put_one_credential(struct viewing *x, struct str ns, struct str name)
{
    const struct object *o = catalog_object(x->all, KIND_CREDENTIAL, ns, name);

    if (o)
        put_object(x, o);
}

/* By a credentialName, which may be empty; its authorities may be in another one. */
static void put_credential(struct viewing *x, struct str ns, struct str name)
{
    if (!name.n)
        return;
    put_one_credential(x, ns, name);
    put_one_credential(x, ns, arena_printf(&x->arena, "%.*s-cacert", STR_ARG(name)));
}

static void put_policy_credentials(struct viewing *x, const struct traffic_policy *p, struct str ns)
{
    if (p && p->tls)
        put_credential(x, ns, p->tls->credential_name);
    for (size_t i = 0; p && i < p->port_level_count; i++) {
        if (p->port_level[i].tls)
            put_credential(x, ns, p->port_level[i].tls->credential_name);
    }
}

/* Is the rule for the calls of this workload? A selector reaches those of the rule's own namespace. */
static bool selects(const struct object *o, const struct destination_rule *r, const struct local_service *s)
{
    return str_eq(o->meta.ns, s->ns) && labels_match(&s->labels, &r->workload_selector->labels);
}

/* What a rule shows to servers is given to those whom the rule means: gateways, or whom it selects. */
static void put_rule_credentials(struct viewing *x, const struct object *o)
{
    const struct destination_rule *r = o->spec;

    for (size_t i = 0; i < x->v->service_count; i++) {
        const struct local_service *s = &x->v->services[i];

        if (r->workload_selector ? !selects(o, r, s) : !s->is_gateway)
            continue;
        put_policy_credentials(x, r->traffic_policy, s->ns);
        for (size_t k = 0; k < r->subsets_count; k++)
            put_policy_credentials(x, r->subsets[k].traffic_policy, s->ns);
    }
}

static void put_destination_rules(struct viewing *x, struct str fqdn)
{
    struct concerned c = catalog_rules_of(x->all, model_fqdn(&x->arena, fqdn, STR_NONE, x->all->domain));
    const struct object *o;

    while ((o = catalog_next_rule(&c))) {
        if (o->meta.kind->id != KIND_DESTINATION_RULE || !exported(x, o))
            continue;
        put_object(x, o);
        put_rule_credentials(x, o);
    }
}

/* Does the Sidecar of the callers take this VirtualService? */
static bool in_scope(struct viewing *x, const struct object *o)
{
    const struct virtual_service *vs = o->spec;

    for (size_t i = 0; i < vs->hosts_count; i++) {
        struct str host = model_fqdn(&x->arena, vs->hosts[i], o->meta.ns, x->all->domain);

        if (scope_takes_rule(&x->scope, o->meta.ns, host))
            return true;
    }
    return false;
}

/* Everything about one wanted service; may want more services. */
static void put_service_rules(struct viewing *x, const struct service *s)
{
    struct concerned c = catalog_rules_of(x->all, model_fqdn(&x->arena, s->fqdn, s->ns, x->all->domain));
    const struct object *o;

    put_endpoints(x, s);
    put_destination_rules(x, s->fqdn);
    while ((o = catalog_next_rule(&c))) {
        if (o->meta.kind->id != KIND_VIRTUAL_SERVICE || !exported(x, o) || !in_scope(x, o))
            continue;
        put_object(x, o);
        want_destinations(x, o);
    }
}

/* May callers name the host without naming a service? Then nothing would subscribe to its rules. */
static bool is_nobodys(struct viewing *x, struct str host)
{
    const struct service *s = map_get(&x->all->services_by_fqdn, host);

    for (; s; s = s->same_name) {
        if (service_visible(x, s) && scope_sees(&x->scope, s))
            return false;
    }
    return true;
}

/* Hosts that no service has are known by their rules alone, from the beginning. */
static void put_rules_of_nobody(struct viewing *x)
{
    for (size_t i = 0; i < x->all->object_count; i++) {
        const struct object *o = x->all->objects[i];
        const struct virtual_service *vs = o->spec;
        bool wanted = false;

        if (o->meta.kind->id != KIND_VIRTUAL_SERVICE || !virtual_service_is_for_mesh(vs) || !exported(x, o) || !in_scope(x, o))
            continue;
        for (size_t k = 0; k < vs->hosts_count && !wanted; k++)
            wanted = is_nobodys(x, model_fqdn(&x->arena, vs->hosts[k], o->meta.ns, x->all->domain));
        if (!wanted)
            continue;
        put_object(x, o);
        want_destinations(x, o);
    }
}

static bool names_gateway(struct viewing *x, const struct object *o, const struct str *list, size_t count,
                          struct str gateway)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(model_gateway_ref(&x->arena, list[i], o->meta.ns), gateway))
            return true;
    }
    return false;
}

static bool l4_names_gateway(struct viewing *x, const struct object *o, const struct l4_rule *rules, size_t count,
                             struct str gateway)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < rules[i].match_count; k++) {
            const struct l4_match *m = &rules[i].match[k];

            if (names_gateway(x, o, m->gateways, m->gateways_count, gateway))
                return true;
        }
    }
    return false;
}

static bool bound_to(struct viewing *x, const struct object *o, struct str gateway)
{
    const struct virtual_service *vs = o->spec;

    if (names_gateway(x, o, vs->gateways, vs->gateways_count, gateway))
        return true;
    for (size_t i = 0; i < vs->http_count; i++) {
        for (size_t k = 0; k < vs->http[i].match_count; k++) {
            const struct http_rule_match *m = &vs->http[i].match[k];

            if (names_gateway(x, o, m->gateways, m->gateways_count, gateway))
                return true;
        }
    }
    return l4_names_gateway(x, o, vs->tcp, vs->tcp_count, gateway) ||
           l4_names_gateway(x, o, vs->tls, vs->tls_count, gateway);
}

static void put_server_credentials(struct viewing *x, const struct server_tls *t, struct str ns)
{
    put_credential(x, ns, t->credential_name);
    put_credential(x, ns, t->ca_cert_credential_name);
    for (size_t i = 0; i < t->credential_names_count; i++)
        put_credential(x, ns, t->credential_names[i]);
}

static void put_credentials(struct viewing *x, const struct gateway *g, struct str ns)
{
    for (size_t i = 0; i < g->servers_count; i++) {
        if (g->servers[i].tls)
            put_server_credentials(x, g->servers[i].tls, ns);
    }
}

static void put_gateways(struct viewing *x, const struct local_service *svc)
{
    for (size_t i = 0; i < x->all->object_count; i++) {
        const struct object *gw = x->all->objects[i];
        struct str name;

        if (gw->meta.kind->id != KIND_GATEWAY ||
            !labels_match(&svc->labels, &((struct gateway *)gw->spec)->selector))
            continue;
        name = arena_printf(&x->arena, "%.*s/%.*s", STR_ARG(gw->meta.ns), STR_ARG(gw->meta.name));
        put_object(x, gw);
        put_credentials(x, gw->spec, svc->ns);
        for (size_t k = 0; k < x->all->object_count; k++) {
            const struct object *o = x->all->objects[k];

            if (o->meta.kind->id != KIND_VIRTUAL_SERVICE || !bound_to(x, o, name) || !exported(x, o))
                continue;
            put_object(x, o);
            want_destinations(x, o);
        }
    }
}

/* What is for everybody. */
static void put_mesh_config(struct viewing *x)
{
    const struct object *o =
        catalog_object(x->all, KIND_MESH_CONFIG, x->all->root_namespace, STR(MESH_CONFIG_NAME));

    if (o)
        put_object(x, o);
}

static bool authenticates(const struct viewing *x, const struct object *o)
{
    const struct peer_authentication *p = o->spec;
    bool wanted = str_eq(o->meta.ns, x->all->root_namespace) && p->selector.labels.count == 0;

    for (size_t k = 0; !wanted && k < x->v->service_count; k++) {
        const struct local_service *s = &x->v->services[k];

        wanted = str_eq(o->meta.ns, s->ns) && labels_match(&s->labels, &p->selector.labels);
    }
    return wanted;
}

static bool limits(const struct viewing *x, const struct object *o)
{
    const struct rate_limit *r = o->spec;
    bool wanted = false;

    for (size_t k = 0; !wanted && k < x->v->service_count; k++)
        wanted = catalog_is_for(x->all, o->meta.ns, &r->target, &x->v->services[k]);
    return wanted;
}

/* With what it is attached to: the agent finds out for itself which of its workloads is meant. */
static void put_limits(struct viewing *x, const struct object *o)
{
    const struct rate_limit *r = o->spec;
    const struct target_ref *t;

    put_object(x, o);
    for (size_t i = 0; (t = policy_target_at(&r->target, i)); i++) {
        const struct object *to = catalog_target(x->all, o->meta.ns, t);

        if (to)
            put_object(x, to);
    }
}

/* Policies only when they select a workload of the viewer's own. */
static void put_policies(struct viewing *x)
{
    for (size_t i = 0; i < x->all->object_count; i++) {
        const struct object *o = x->all->objects[i];

        if (o->meta.kind->id == KIND_PEER_AUTHENTICATION && authenticates(x, o))
            put_object(x, o);
        else if (o->meta.kind->id == KIND_RATE_LIMIT && limits(x, o))
            put_limits(x, o);
    }
}

static void put_mesh(struct viewing *x)
{
    buf_clear(&x->text);
    buf_adds(&x->text, "{\"trustDomain\":");
    buf_json(&x->text, x->all->trust_domain);
    buf_adds(&x->text, ",\"domain\":");
    buf_json(&x->text, x->all->domain);
    buf_adds(&x->text, ",\"rootNamespace\":");
    buf_json(&x->text, x->all->root_namespace);
    buf_addc(&x->text, '}');
    resources_put(x->out, STR("mesh"), buf_str(&x->text));
}

static void put_services(struct viewing *x)
{
    for (size_t i = 0; i < x->all->service_count; i++) {
        const struct service *s = x->all->services[i];

        if (service_visible(x, s) && scope_sees(&x->scope, s))
            put_service(x, s);
    }
}

static void put_offered(struct viewing *x, struct str ns, struct str fqdn)
{
    const struct service *s = map_get(&x->all->by_service, model_service_key(&x->arena, ns, fqdn));

    if (s)
        put_service(x, s);
    put_destination_rules(x, fqdn);
}

/* Limits hold at the service, too: that of its name, and those that select the workload. */
static void put_own_service(struct viewing *x, const struct local_service *own)
{
    struct offer offer;

    put_offered(x, own->ns, own->fqdn);
    for (size_t i = 0; i < x->all->object_count; i++) {
        const struct object *o = x->all->objects[i];

        if (!catalog_offers(x->all, o, own, &x->arena, &offer))
            continue;
        put_object(x, o);
        for (size_t k = 0; k < offer.host_count; k++)
            put_offered(x, own->ns, offer.hosts[k]);
    }
}

/* That of the callers and those of the services: the agent picks among them as we did. */
static void put_sidecars(struct viewing *x)
{
    const struct catalog *all = x->all;

    if (x->scope.object)
        put_object(x, x->scope.object);
    for (size_t i = 0; i < x->v->service_count; i++) {
        const struct local_service *s = &x->v->services[i];
        const struct object *o = s->is_gateway ? NULL
                                               : scope_sidecar(all->objects, all->object_count,
                                                               all->root_namespace, s->ns, &s->labels);

        if (o)
            put_object(x, o);
    }
}

void catalog_view(const struct catalog *all, const struct viewer *v, struct resources *out)
{
    struct viewing x = {.all = all, .v = v, .out = out};
    struct caller caller = model_caller(v->services, v->service_count, v->ns);
    const struct map_entry *e;

    x.mesh = catalog_mesh_config(all);
    scope_init(&x.scope, all->objects, all->object_count, all->root_namespace, &caller);
    arena_init(&x.arena);
    map_init(&x.wanted);
    buf_init(&x.text, LIMIT_RESOURCE_BYTES);
    put_mesh(&x);
    put_services(&x);
    put_mesh_config(&x);
    put_sidecars(&x);
    put_policies(&x);
    for (size_t i = 0; i < v->service_count; i++) {
        if (v->services[i].is_gateway)
            put_gateways(&x, &v->services[i]);
        put_own_service(&x, &v->services[i]);
    }
    put_rules_of_nobody(&x);
    for (size_t i = 0; (e = map_each(v->subscriptions, &i));) {
        const struct service *s = map_get(&all->by_service, e->key);

        if (s && service_visible(&x, s) && scope_sees(&x.scope, s))
            map_put(&x.wanted, s->key, out);
    }
    /* Entries are visited in insertion order, so services wanted on the way are reached too. */
    for (size_t i = 0; (e = map_each(&x.wanted, &i));)
        put_service_rules(&x, map_get(&all->by_service, e->key));
    buf_done(&x.text);
    map_done(&x.wanted);
    arena_done(&x.arena);
    scope_done(&x.scope);
}
