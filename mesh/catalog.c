/* Documents and registrations become services and workloads. */
#include "mesh/catalog_parts.h"

#include <stdlib.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/decode.h"
#include "mesh/identity.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/mesh_config.h"
#include "mesh/kinds/service.h"
#include "mesh/kinds/service_entry.h"
#include "mesh/kinds/workload_entry.h"
#include "mesh/snapshot.h"

struct build {
    const struct catalog_input *in;
    struct catalog *c;
    size_t service_cap, workload_cap;
    struct service **services; /* grows; copied to the arena at the end */
    struct workload **workloads;
    struct str default_export_to; /* of services */
    struct map places; /* "IP:PORT" of registered workloads -> the struct registered * */
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

static struct str place(struct build *b, const struct registered *r, uint16_t port)
{
    char text[ADDR_TEXT_MAX];
    struct addr at = r->address;

    at.port = port;
    return arena_str(&b->c->arena, str_from(addr_format(&at, text)));
}

static void find_places(struct build *b)
{
    for (size_t i = 0; i < b->in->registered_count; i++) {
        const struct registered *r = &b->in->registered[i];

        if (!r->service.is_gateway)
            map_put(&b->places, place(b, r, r->service.port), (void *)(uintptr_t)r);
    }
}

/* Does its PeerAuthentication take no mutual TLS there? */
static bool is_plain(struct build *b, const struct workload *w, uint16_t port)
{
    return catalog_mtls_mode(b->in->objects, b->in->object_count, b->in->root_namespace, w->ns, &w->labels, port) ==
           MTLS_DISABLE;
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
        uint16_t target = model_target(svc, s->ports[i].number, s->ports[i].target_port);
        bool is_anothers = target != svc->port && map_get(&b->places, place(b, r, target));

        w->ports[w->port_count++] = (struct service_port){.name = s->ports[i].name,
                                                          .target_port = target,
                                                          .protocol = s->ports[i].protocol,
                                                          .is_plain = is_plain(b, w, target),
                                                          .is_anothers = is_anothers};
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
                                       p->protocol, false, false});
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
        w->ports[w->port_count++] = (struct service_port){.name = s->ports[i].name,
                                                          .target_port = target,
                                                          .protocol = s->ports[i].protocol,
                                                          .is_plain = is_plain(b, w, target)};
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
                                           e->ports[i].protocol, false, false});
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
        catalog_add_object(c, in->objects[i]);
    qsort(c->objects, c->object_count, sizeof(struct object *), older_first);
    map_init(&b.first_entries);
    map_init(&b.places);
    mesh = catalog_mesh_config(c);
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
    find_places(&b);
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
    map_done(&b.places);
    catalog_index(c);
}
