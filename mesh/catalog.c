/* Documents and registrations become services and workloads; then what one agent may see of them.
 */
#include "mesh/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/decode.h"
#include "mesh/encode.h"
#include "mesh/identity.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/gateway.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/mesh_config.h"
#include "mesh/kinds/peer_authentication.h"
#include "mesh/kinds/rate_limit.h"
#include "mesh/kinds/service.h"
#include "mesh/kinds/service_entry.h"
#include "mesh/kinds/virtual_service.h"
#include "mesh/kinds/workload_entry.h"
#include "mesh/match.h"
#include "mesh/scope.h"
#include "mesh/snapshot.h"

struct build {
    const struct catalog_input *in;
    struct catalog *c;
    size_t service_cap, workload_cap;
    struct service **services; /* grows; copied to the arena at the end */
    struct workload **workloads;
    struct str default_export_to; /* of services */
    struct map first_entries; /* service key -> the oldest ServiceEntry of it, a struct object * */
};

/* ---- services ---- */

static void add_port(struct arena *a, struct service *s, struct service_port port)
{
    struct service_port *ports;

    for (size_t i = 0; i < s->port_count; i++) {
        if (s->ports[i].number == port.number)
            return; /* first definition of a number stays */
    }
    port.name = arena_str(a, port.name);
    for (size_t i = 0; i < s->port_count; i++) { /* endpoints find their port by this name */
        if (str_eq(s->ports[i].name, port.name))
            port.name = arena_printf(a, "%.*s-%u", STR_ARG(port.name), port.number);
    }
    ports = ARENA_ARRAY(a, s->port_count + 1, struct service_port);
    for (size_t i = 0; i < s->port_count; i++)
        ports[i] = s->ports[i];
    port.protocol = arena_str(a, port.protocol);
    ports[s->port_count] = port;
    s->ports = ports;
    s->port_count++;
}

/* The service of that host name in that namespace, made if there is none yet. */
static struct service *service_for(struct build *b, struct str ns, struct str name, struct str fqdn)
{
    struct arena *a = &b->c->arena;
    struct str key = model_service_key(a, ns, fqdn);
    struct service *s = map_get(&b->c->by_service, key);

    if (s)
        return s;
    s = ARENA_NEW(a, struct service);
    s->key = key;
    s->ns = arena_str(a, ns);
    s->name = arena_str(a, name);
    s->fqdn = arena_str(a, fqdn);
    s->export_to = b->default_export_to;
    if (b->c->service_count == b->service_cap) {
        b->service_cap = b->service_cap ? b->service_cap * 2 : 64;
        b->services = mem_realloc(b->services, b->service_cap * sizeof(struct service *));
    }
    b->services[b->c->service_count++] = s;
    map_put(&b->c->by_service, key, s);
    return s;
}

static struct workload *add_workload(struct build *b, struct str service)
{
    struct workload *w = ARENA_NEW(&b->c->arena, struct workload);

    w->service = service;
    w->weight = 1;
    if (b->c->workload_count == b->workload_cap) {
        b->workload_cap = b->workload_cap ? b->workload_cap * 2 : 64;
        b->workloads = mem_realloc(b->workloads, b->workload_cap * sizeof(struct workload *));
    }
    b->workloads[b->c->workload_count++] = w;
    return w;
}

static void copy_labels(struct arena *a, const struct labels *from, struct labels *to)
{
    to->items = ARENA_ARRAY(a, from->count + 1, struct label);
    to->count = from->count;
    for (size_t i = 0; i < from->count; i++)
        to->items[i] =
            (struct label){arena_str(a, from->items[i].key), arena_str(a, from->items[i].value)};
}

static struct str upper(struct arena *a, struct str s)
{
    struct buf b;
    struct str out;

    buf_init(&b, 256);
    for (size_t i = 0; i < s.n; i++)
        buf_addc(&b, (char)(s.p[i] >= 'a' && s.p[i] <= 'z' ? s.p[i] - 32 : s.p[i]));
    out = arena_str(a, buf_str(&b));
    buf_done(&b);
    return out;
}

static struct str service_identity(struct build *b, struct str ns, struct str account)
{
    struct buf text;
    struct str out;

    buf_init(&text, 4096);
    identity_service(&text, b->in->trust_domain, ns, account);
    out = arena_str(&b->c->arena, buf_str(&text));
    buf_done(&text);
    return out;
}

/* A registered workload as an endpoint of `service`, with the ports under the names the service
 * gives them. */
static void add_registered(struct build *b, const struct service *s, const struct registered *r)
{
    struct arena *a = &b->c->arena;
    struct workload *w = add_workload(b, s->key);
    const struct local_service *svc = &r->service;

    w->name = arena_str(a, svc->name);
    w->ns = arena_str(a, svc->ns);
    w->account = arena_str(a, svc->account);
    w->host_id = arena_str(a, r->host_id);
    w->host = arena_str(a, r->host);
    w->address = r->address;
    w->identity = service_identity(b, svc->ns, svc->account);
    w->is_mesh = true;
    w->weight = r->weight ? r->weight : 1;
    w->locality = arena_str(a, r->locality);
    copy_labels(a, &svc->labels, &w->labels);
    w->ports = ARENA_ARRAY(a, s->port_count + 1, struct service_port);
    for (size_t i = 0; i < s->port_count; i++) {
        uint16_t target =
            s->ports[i].number == svc->service_port ? svc->port : s->ports[i].target_port;
        int mode = catalog_mtls_mode(b->in->objects, b->in->object_count, b->in->root_namespace,
                                     w->ns, &w->labels, target);

        w->ports[w->port_count++] = (struct service_port){.name = s->ports[i].name,
                                                          .target_port = target,
                                                          .protocol = s->ports[i].protocol,
                                                          .is_plain = mode == MTLS_DISABLE};
    }
}

static struct service *service_of(struct build *b, const struct local_service *svc)
{
    struct str fqdn = model_fqdn(&b->c->arena, svc->name, svc->ns, b->in->domain);

    return service_for(b, svc->ns, svc->name, fqdn);
}

static void registered_port(struct build *b, const struct local_service *svc)
{
    struct arena *a = &b->c->arena;

    if (!svc->is_gateway)
        add_port(a, service_of(b, svc),
                 (struct service_port){.number = svc->service_port,
                                       .target_port = svc->port,
                                       .name = svc->protocol.n ? svc->protocol : STR("default"),
                                       .protocol = upper(a, svc->protocol)});
}

static void registered_ports(struct build *b)
{
    for (size_t i = 0; i < b->in->registered_count; i++)
        registered_port(b, &b->in->registered[i].service);
    for (size_t i = 0; i < b->in->known_count; i++)
        registered_port(b, &b->in->known[i]);
}

static void registered_endpoints(struct build *b)
{
    for (size_t i = 0; i < b->in->registered_count; i++) {
        const struct local_service *svc = &b->in->registered[i].service;

        if (!svc->is_gateway)
            add_registered(b, service_of(b, svc), &b->in->registered[i]);
    }
}

/* Registered workloads of the namespace with these labels, but for those that serve `s` by their
 * name anyway. */
static void add_matching(struct build *b, const struct service *s, const struct labels *want)
{
    for (size_t i = 0; i < b->in->registered_count; i++) {
        const struct registered *r = &b->in->registered[i];

        if (!r->service.is_gateway && str_eq(r->service.ns, s->ns) &&
            labels_match(&r->service.labels, want) && service_of(b, &r->service) != s)
            add_registered(b, s, r);
    }
}

static struct service *service_of_document(struct build *b, const struct object *o)
{
    struct str fqdn = model_fqdn(&b->c->arena, o->meta.name, o->meta.ns, b->in->domain);

    return service_for(b, o->meta.ns, o->meta.name, fqdn);
}

/* "a, b" of the annotation, as "a b". */
static struct str exports_of(struct arena *a, const struct object *o)
{
    struct str rest = labels_get(&o->meta.annotations, STR(EXPORT_TO_ANNOTATION)), item, out;
    struct buf b;

    buf_init(&b, LIMIT_API_BODY_BYTES);
    while (str_next(&rest, ',', &item))
        buf_printf(&b, "%s%.*s", b.n ? " " : "", STR_ARG(str_trim(item)));
    out = arena_str(a, buf_str(&b));
    buf_done(&b);
    return out;
}

static void service_ports(struct build *b, const struct object *o)
{
    const struct service_document *d = o->spec;
    struct arena *a = &b->c->arena;
    struct service *s = service_of_document(b, o);
    struct addr ip;

    if (labels_get(&o->meta.annotations, STR(EXPORT_TO_ANNOTATION)).n)
        s->export_to = exports_of(a, o);
    for (size_t i = 0; i < d->ports_count; i++) {
        const struct service_document_port *p = &d->ports[i];

        add_port(a, s,
                 (struct service_port){(uint16_t)p->port, (uint16_t)p->target_port, p->name,
                                       p->protocol, false});
    }
    if (addr_parse_ip(d->cluster_ip, &ip)) {
        s->addresses = ARENA_ARRAY(a, 1, struct addr);
        s->addresses[0] = ip;
        s->address_count = 1;
    }
}

static void service_endpoints(struct build *b, const struct object *o)
{
    const struct service_document *d = o->spec;

    if (d->selector.count)
        add_matching(b, service_of_document(b, o), &d->selector);
}

static struct str join(struct arena *a, const struct str *items, size_t count)
{
    struct buf b;
    struct str out;

    buf_init(&b, LIMIT_API_BODY_BYTES);
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_addc(&b, ' ');
        buf_add(&b, items[i]);
    }
    out = arena_str(a, buf_str(&b));
    buf_done(&b);
    return out;
}

static void add_entry(struct build *b, const struct service *s, const struct service_entry *e,
                      struct str ns, struct str name, const struct workload_entry *we,
                      const struct labels *labels)
{
    struct arena *a = &b->c->arena;
    struct workload *w;
    struct addr ip;

    if (!addr_parse_ip(we->address, &ip))
        return;
    w = add_workload(b, s->key);
    w->name = arena_str(a, name);
    w->ns = arena_str(a, ns);
    w->account = arena_str(a, we->service_account);
    w->address = ip;
    w->locality = arena_str(a, we->locality);
    w->weight = we->weight ? we->weight : 1;
    copy_labels(a, labels, &w->labels);
    if (e->location == LOCATION_MESH_INTERNAL && we->service_account.n)
        w->identity = service_identity(b, ns, we->service_account);
    /* Istio's mark of an endpoint where a proxy stands (fields.md 4.8). */
    w->is_mesh = e->location == LOCATION_MESH_INTERNAL &&
                 str_eq(labels_get(labels, STR("security.istio.io/tlsMode")), STR("istio"));
    w->ports = ARENA_ARRAY(a, s->port_count + 1, struct service_port);
    for (size_t i = 0; i < s->port_count; i++) {
        uint16_t target = s->ports[i].target_port;

        for (size_t k = 0; k < we->ports_count; k++) {
            if (str_eq(we->ports[k].key, s->ports[i].name))
                target = (uint16_t)we->ports[k].value;
        }
        w->ports[w->port_count++] = (struct service_port){
            .name = s->ports[i].name, .target_port = target, .protocol = s->ports[i].protocol};
    }
}

/* Endpoints by selector: WorkloadEntries and registered workloads of the namespace. */
static void add_selected(struct build *b, const struct service *s, const struct service_entry *e,
                         struct str ns)
{
    const struct labels *want = &e->workload_selector->labels;

    for (size_t i = 0; i < b->in->object_count; i++) {
        const struct object *o = b->in->objects[i];
        const struct workload_entry *we = o->spec;

        if (o->meta.kind->id == KIND_WORKLOAD_ENTRY && str_eq(o->meta.ns, ns) &&
            labels_match(&we->labels, want))
            add_entry(b, s, e, ns, o->meta.name, we, &we->labels);
    }
    add_matching(b, s, want);
}

/* What the first ServiceEntry of a host says of the service as a whole. */
static void describe(struct build *b, struct service *s, const struct object *o)
{
    const struct service_entry *e = o->spec;
    struct arena *a = &b->c->arena;
    int64_t since_s = o->meta.created_ms / 1000;

    s->is_external = e->location == LOCATION_MESH_EXTERNAL;
    s->is_original_dst = e->resolution == RESOLUTION_NONE;
    s->sans = join(a, e->subject_alt_names, e->subject_alt_names_count);
    if (e->export_to_count)
        s->export_to = join(a, e->export_to, e->export_to_count);
    s->since_s = since_s > 0 ? since_s : 1;
    s->addresses = ARENA_ARRAY(a, e->addresses_count + 1, struct addr);
    for (size_t i = 0; i < e->addresses_count; i++) {
        struct cidr one;

        if (cidr_parse(e->addresses[i], &one) && one.bits == (one.base.family == 4 ? 32 : 128))
            s->addresses[s->address_count++] = one.base;
    }
}

/* The service of a host of this entry, described by it if it is the first; NULL if the entry has no
 * part in it, because an older one of its namespace says otherwise. */
static struct service *service_of_entry(struct build *b, struct object *o, struct str host)
{
    struct service *s = map_get(&b->c->by_service, model_service_key(&b->c->arena, o->meta.ns, host));
    const struct object *first = s ? map_get(&b->first_entries, s->key) : NULL;

    if (!s) {
        s = service_for(b, o->meta.ns, host, host);
        describe(b, s, o);
        map_put(&b->first_entries, s->key, o);
        return s;
    }
    if (first)
        return service_entries_agree(first, o) ? s : NULL;
    return service_entry_adds(o->spec) ? s : NULL; /* registered, or a Service */
}

static void entry_ports(struct build *b, struct object *o)
{
    const struct service_entry *e = o->spec;

    for (size_t h = 0; h < e->hosts_count; h++) {
        struct service *s = service_of_entry(b, o, e->hosts[h]);

        for (size_t i = 0; s && i < e->ports_count; i++)
            add_port(&b->c->arena, s,
                     (struct service_port){(uint16_t)e->ports[i].number,
                                           (uint16_t)e->ports[i].target_port, e->ports[i].name,
                                           e->ports[i].protocol, false});
    }
}

static void entry_endpoints(struct build *b, struct object *o)
{
    const struct service_entry *e = o->spec;
    struct arena *a = &b->c->arena;

    for (size_t h = 0; h < e->hosts_count; h++) {
        const struct service *s = service_of_entry(b, o, e->hosts[h]);

        if (!s)
            continue;
        for (size_t i = 0; i < e->endpoints_count; i++) {
            struct str name = arena_printf(a, "%.*s-%zu", STR_ARG(o->meta.name), i);

            add_entry(b, s, e, o->meta.ns, name, &e->endpoints[i], &e->endpoints[i].labels);
        }
        if (e->workload_selector)
            add_selected(b, s, e, o->meta.ns);
    }
}

static void give_addresses(struct build *b)
{
    for (size_t i = 0; i < b->c->service_count; i++) {
        struct service *s = b->services[i];

        /* Wildcards and services with addresses of their own need none; resolution NONE dials what
         * was addressed. */
        if (s->address_count == 0 && !s->is_original_dst && !str_starts(s->fqdn, STR("*")))
            b->in->vip(b->in->vip_arg, s->ns, s->fqdn, &s->vip4, &s->vip6);
    }
}

static int older_first(const void *x, const void *y)
{
    const struct object *const *a = x, *const *b = y;

    return object_older_first(*a, *b);
}

/* A view asks for the workloads and rules of each service that it wants: it must not go through all
 * of them for each. */
static void index_workloads(struct catalog *c)
{
    struct workload **room = ARENA_ARRAY(&c->arena, c->workload_count + 1, struct workload *);

    for (size_t i = 0; i < c->workload_count; i++) {
        struct service *s = map_get(&c->by_service, c->workloads[i]->service);

        if (s)
            s->workload_count++;
    }
    for (size_t i = 0; i < c->service_count; i++) {
        c->services[i]->workloads = room;
        room += c->services[i]->workload_count;
        c->services[i]->workload_count = 0;
    }
    for (size_t i = 0; i < c->workload_count; i++) {
        struct service *s = map_get(&c->by_service, c->workloads[i]->service);

        if (s)
            s->workloads[s->workload_count++] = c->workloads[i];
    }
}

static void add_rule(struct catalog *c, struct str host, size_t number)
{
    struct arena *a = &c->arena;
    struct host_rules *list = c->wild_rules;
    struct host_rule *r = ARENA_NEW(a, struct host_rule);

    *r = (struct host_rule){.object = c->objects[number], .number = number, .host = host};
    if (!str_has(host, '*')) {
        list = map_get(&c->rules_by_host, host);
        if (!list) {
            list = ARENA_NEW(a, struct host_rules);
            map_put(&c->rules_by_host, host, list);
        }
    }
    if (list->last)
        list->last->next = r;
    else
        list->first = r;
    list->last = r;
}

static void index_rules(struct catalog *c)
{
    c->wild_rules = ARENA_NEW(&c->arena, struct host_rules);
    for (size_t i = 0; i < c->object_count; i++) {
        const struct object *o = c->objects[i];
        const struct virtual_service *vs = o->spec;
        const struct destination_rule *dr = o->spec;

        if (o->meta.kind->id == KIND_DESTINATION_RULE)
            add_rule(c, model_fqdn(&c->arena, dr->host, o->meta.ns, c->domain), i);
        for (size_t k = 0; o->meta.kind->id == KIND_VIRTUAL_SERVICE && k < vs->hosts_count; k++)
            add_rule(c, model_fqdn(&c->arena, vs->hosts[k], o->meta.ns, c->domain), i);
    }
}

/* Services of one name stand in one list, in their order. */
static void index_names(struct catalog *c)
{
    for (size_t i = c->service_count; i > 0; i--) {
        struct service *s = c->services[i - 1];
        struct str name = model_fqdn(&c->arena, s->fqdn, s->ns, c->domain);

        s->same_name = map_get(&c->services_by_fqdn, name);
        map_put(&c->services_by_fqdn, name, s);
    }
}

void catalog_build(const struct catalog_input *in, struct catalog *c)
{
    struct build b = {.in = in, .c = c};
    struct arena *a = &c->arena;
    const struct mesh_config *mesh;

    c->revision = in->revision;
    c->epoch = arena_str(a, in->epoch);
    c->trust_domain = arena_str(a, in->trust_domain);
    c->domain = arena_str(a, in->domain);
    c->root_namespace = arena_str(a, in->root_namespace);
    c->objects = ARENA_ARRAY(a, in->object_count + 1, struct object *);
    for (size_t i = 0; i < in->object_count; i++)
        c->objects[c->object_count++] = in->objects[i];
    qsort(c->objects, c->object_count, sizeof(struct object *), older_first);
    map_init(&b.first_entries);
    mesh = mesh_config_find(c->objects, c->object_count, c->root_namespace);
    if (mesh)
        b.default_export_to = join(a, mesh->service_export_to, mesh->service_export_to_count);
    registered_ports(&b);
    for (size_t i = 0; i < c->object_count; i++) {
        if (c->objects[i]->meta.kind->id == KIND_SERVICE)
            service_ports(&b, c->objects[i]);
    }
    for (size_t i = 0; i < c->object_count; i++) { /* what the mesh runs itself goes first */
        if (c->objects[i]->meta.kind->id == KIND_SERVICE_ENTRY)
            entry_ports(&b, c->objects[i]);
    }
    registered_endpoints(&b); /* once every service has all its ports */
    for (size_t i = 0; i < c->object_count; i++) {
        if (c->objects[i]->meta.kind->id == KIND_SERVICE)
            service_endpoints(&b, c->objects[i]);
        else if (c->objects[i]->meta.kind->id == KIND_SERVICE_ENTRY)
            entry_endpoints(&b, c->objects[i]);
    }
    give_addresses(&b);
    c->services = ARENA_ARRAY(a, c->service_count + 1, struct service *);
    for (size_t i = 0; i < c->service_count; i++)
        c->services[i] = b.services[i];
    c->workloads = ARENA_ARRAY(a, c->workload_count + 1, struct workload *);
    for (size_t i = 0; i < c->workload_count; i++)
        c->workloads[i] = b.workloads[i];
    mem_free(b.services);
    mem_free(b.workloads);
    map_done(&b.first_entries);
    index_workloads(c);
    index_rules(c);
    index_names(c);
}

/* ---- policies ---- */

bool catalog_selects(struct str root_namespace, struct str ns, const struct labels *want, const struct local_service *s)
{
    return (str_eq(ns, root_namespace) || str_eq(ns, s->ns)) && labels_match(&s->labels, want);
}

/* ---- PeerAuthentication ---- */

static int mode_of(enum peer_mtls_mode mode, int otherwise)
{
    switch (mode) {
    case PEER_MTLS_DISABLE:
        return MTLS_DISABLE;
    case PEER_MTLS_STRICT:
        return MTLS_STRICT;
    case PEER_MTLS_PERMISSIVE:
        return MTLS_PERMISSIVE;
    case PEER_MTLS_UNSET:
        break;
    }
    return otherwise;
}

/* The oldest policy on one level: 0 mesh, 1 namespace, 2 workload. */
static const struct peer_authentication *policy_at(struct object *const *objects, size_t count,
                                                   struct str ns, const struct labels *labels,
                                                   bool by_labels)
{
    const struct object *best = NULL;

    for (size_t i = 0; i < count; i++) {
        const struct peer_authentication *p = objects[i]->spec;

        if (objects[i]->meta.kind->id != KIND_PEER_AUTHENTICATION ||
            !str_eq(objects[i]->meta.ns, ns))
            continue;
        if ((p->selector.labels.count != 0) != by_labels ||
            (by_labels && !labels_match(labels, &p->selector.labels)))
            continue;
        if (!best || object_older_first(objects[i], best) < 0)
            best = objects[i];
    }
    return best ? best->spec : NULL;
}

int catalog_mtls_mode(struct object *const *objects, size_t count, struct str root_namespace,
                      struct str ns, const struct labels *labels, uint16_t port)
{
    const struct peer_authentication *p = policy_at(objects, count, root_namespace, labels, false);
    int mode = p ? mode_of(p->mtls.mode, MTLS_PERMISSIVE) : MTLS_PERMISSIVE;

    if (str_eq(ns, root_namespace))
        return mode; /* selector policies of the root namespace do not take part */
    p = policy_at(objects, count, ns, labels, false);
    mode = p ? mode_of(p->mtls.mode, mode) : mode;
    p = policy_at(objects, count, ns, labels, true);
    if (!p)
        return mode;
    mode = mode_of(p->mtls.mode, mode);
    for (size_t i = 0; i < p->port_level_count; i++) {
        if (p->port_level[i].port == port)
            return mode_of(p->port_level[i].value.mode, mode);
    }
    return mode;
}

/* ---- one agent's view ---- */

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

/* Is the document exported to one of the viewer's namespaces? */
static bool exported(const struct viewing *x, const struct object *o)
{
    struct exports e = mesh_exports(x->mesh, o);

    for (size_t i = 0; i < e.count; i++) {
        struct str want = str_eq(e.to[i], STR(".")) ? o->meta.ns : e.to[i];

        if (str_eq(want, STR("*")) || str_eq(want, x->v->ns))
            return true;
        for (size_t k = 0; k < x->v->service_count; k++) {
            if (str_eq(want, x->v->services[k].ns))
                return true;
        }
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
    struct str ns = d->ns.n ? d->ns : root->meta.ns;

    for (size_t i = 0; i < x->all->object_count; i++) {
        const struct object *o = x->all->objects[i];

        if (o->meta.kind->id != KIND_VIRTUAL_SERVICE || !str_eq(o->meta.ns, ns) ||
            !str_eq(o->meta.name, d->name))
            continue;
        put_object(x, o);
        want_routes(x, o);
    }
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

/* The rules that concern a host, in the order of the objects; each once. */
struct concerned {
    const struct host_rule *exact, *wild;
    struct str fqdn;
    size_t next; /* numbers below were given */
};

static struct concerned rules_of(const struct catalog *all, struct str fqdn)
{
    const struct host_rules *exact = map_get(&all->rules_by_host, fqdn);

    return (struct concerned){exact ? exact->first : NULL, all->wild_rules->first, fqdn, 0};
}

static const struct object *next_rule(struct concerned *c)
{
    const struct host_rule *r;

    while (c->exact && c->exact->number < c->next)
        c->exact = c->exact->next;
    while (c->wild && (c->wild->number < c->next || !match_host(c->wild->host, c->fqdn)))
        c->wild = c->wild->next;
    r = c->exact && (!c->wild || c->exact->number <= c->wild->number) ? c->exact : c->wild;
    if (!r)
        return NULL;
    c->next = r->number + 1;
    return r->object;
}

/* Credentials go to those who show them, and to nobody else. They are looked for where these are. */
static void put_one_credential(struct viewing *x, struct str ns, struct str name)
{
    for (size_t i = 0; i < x->all->object_count; i++) {
        const struct object *o = x->all->objects[i];

        if (o->meta.kind->id == KIND_CREDENTIAL && str_eq(o->meta.ns, ns) && str_eq(o->meta.name, name))
            put_object(x, o);
    }
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

/* What a rule shows to servers is given to those whom the rule means: gateways, or whom it selects. */
static void put_rule_credentials(struct viewing *x, const struct destination_rule *r)
{
    for (size_t i = 0; i < x->v->service_count; i++) {
        const struct local_service *s = &x->v->services[i];

        if (r->workload_selector ? !labels_match(&s->labels, &r->workload_selector->labels) : !s->is_gateway)
            continue;
        put_policy_credentials(x, r->traffic_policy, s->ns);
        for (size_t k = 0; k < r->subsets_count; k++)
            put_policy_credentials(x, r->subsets[k].traffic_policy, s->ns);
    }
}

static void put_destination_rules(struct viewing *x, struct str fqdn)
{
    struct concerned c = rules_of(x->all, model_fqdn(&x->arena, fqdn, STR_NONE, x->all->domain));
    const struct object *o;

    while ((o = next_rule(&c))) {
        if (o->meta.kind->id != KIND_DESTINATION_RULE || !exported(x, o))
            continue;
        put_object(x, o);
        put_rule_credentials(x, o->spec);
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
    struct concerned c = rules_of(x->all, model_fqdn(&x->arena, s->fqdn, s->ns, x->all->domain));
    const struct object *o;

    put_endpoints(x, s);
    put_destination_rules(x, s->fqdn);
    while ((o = next_rule(&c))) {
        if (o->meta.kind->id != KIND_VIRTUAL_SERVICE || !exported(x, o) || !in_scope(x, o))
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

static void put_credentials(struct viewing *x, const struct gateway *g, struct str ns)
{
    for (size_t i = 0; i < g->servers_count; i++) {
        if (g->servers[i].tls)
            put_credential(x, ns, g->servers[i].tls->credential_name);
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
    for (size_t i = 0; i < x->all->object_count; i++) {
        const struct object *o = x->all->objects[i];

        if (o->meta.kind->id == KIND_MESH_CONFIG && str_eq(o->meta.ns, x->all->root_namespace))
            put_object(x, o);
    }
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
        wanted = catalog_selects(x->all->root_namespace, o->meta.ns, &r->selector.labels, &x->v->services[k]);
    return wanted;
}

/* Policies only when they select a workload of the viewer's own. */
static void put_policies(struct viewing *x)
{
    for (size_t i = 0; i < x->all->object_count; i++) {
        const struct object *o = x->all->objects[i];

        if ((o->meta.kind->id == KIND_PEER_AUTHENTICATION && authenticates(x, o)) ||
            (o->meta.kind->id == KIND_RATE_LIMIT && limits(x, o)))
            put_object(x, o);
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

/* Limits hold at the service, too. */
static void put_own_service(struct viewing *x, const struct local_service *own)
{
    const struct service *s =
        map_get(&x->all->by_service, model_service_key(&x->arena, own->ns, own->fqdn));

    if (s)
        put_service(x, s);
    put_destination_rules(x, own->fqdn);
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

    x.mesh = mesh_config_find(all->objects, all->object_count, all->root_namespace);
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
