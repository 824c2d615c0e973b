/* A small mesh for tests of compile: services and workloads by one line each, rules as YAML, the
 * outcome as short text.
 *
 * world_init; world_service, world_workload, world_local, world_apply, ...; world_compile (again
 * after changes); ask; world_done. In texts "outbound|" and ".svc.cluster.local" are left out of
 * cluster names: "80|v1|b.default".
 */
#pragma once

#include "test/test.h"

#include "mesh/base/mem.h"
#include "mesh/compile.h"
#include "mesh/decode.h"
#include "mesh/sync.h"

/* A lookup that finds nothing ends the test by a crash, which is a failure too; checks in front of
 * each would hide the stories. */
#pragma GCC diagnostic ignored "-Wnull-dereference"

#define WORLD_MAX 64

struct world {
    struct catalog c;
    struct self self;
    struct arena arena;
    struct findings f;
    struct snapshot *s; /* of the last world_compile */
    struct buf text;
    struct local_service locals[WORLD_MAX];
};

static inline void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    catalog_init(&w->c);
    arena_init(&w->arena);
    findings_init(&w->f, &w->arena);
    buf_init(&w->text, 1 << 20);
    w->c.revision = 7;
    w->c.epoch = STR("e1");
    w->c.trust_domain = STR("cluster.local");
    w->c.domain = STR("cluster.local");
    w->c.root_namespace = STR("istio-system");
    w->c.services = ARENA_ARRAY(&w->arena, WORLD_MAX, struct service *);
    w->c.workloads = ARENA_ARRAY(&w->arena, WORLD_MAX, struct workload *);
    w->c.objects = ARENA_ARRAY(&w->arena, WORLD_MAX, struct object *);
    w->self = (struct self){.host_id = STR("01HOST"),
                            .host = STR("vm1"),
                            .ns = STR("default"),
                            .identity = STR("spiffe://cluster.local/ns/default/sa/host-01HOST"),
                            .services = w->locals};
}

static inline void world_done(struct world *w)
{
    snapshot_unref(w->s);
    buf_done(&w->text);
    catalog_done(&w->c);
    arena_done(&w->arena);
}

/* "name:PROTOCOL:number[:target],..." ("-" is no protocol). */
static inline size_t world_ports(struct world *w, const char *text, struct service_port **out)
{
    struct str list = str_from(text), item;
    struct service_port *ports = ARENA_ARRAY(&w->arena, 8, struct service_port);
    size_t n = 0;

    while (str_next(&list, ',', &item)) {
        struct str protocol = STR_NONE, number = STR_NONE, target = STR_NONE;
        uint64_t value = 0;

        CHECK(str_cut(&item, ':', &ports[n].name) && str_cut(&item, ':', &protocol));
        if (!str_cut(&item, ':', &number))
            number = item;
        else
            target = item;
        CHECK(str_uint(number, 1, 65535, &value));
        ports[n].number = (uint16_t)value;
        if (target.n)
            CHECK(str_uint(target, 1, 65535, &value));
        ports[n].target_port = (uint16_t)value;
        ports[n++].protocol = str_eq(protocol, STR("-")) ? STR("") : protocol;
    }
    *out = ports;
    return n;
}

/* A subscribed service; fqdn NULL: NAME.NS.svc.cluster.local. */
static inline struct service *world_service(struct world *w, const char *ns, const char *name,
                                            const char *vip, const char *ports)
{
    struct service *s = ARENA_NEW(&w->arena, struct service);

    s->ns = str_from(ns);
    s->name = str_from(name);
    s->fqdn = model_fqdn(&w->arena, s->name, s->ns, w->c.domain);
    s->key = model_service_key(&w->arena, s->ns, s->fqdn);
    if (vip[0])
        CHECK(addr_parse_ip(str_from(vip), &s->vip4));
    s->port_count = world_ports(w, ports, &s->ports);
    w->c.services[w->c.service_count++] = s;
    map_put(&w->c.by_service, s->key, s);
    map_put(&w->c.subscribed, s->key, s);
    return s;
}

static inline void world_labels(struct world *w, const char *text, struct labels *out)
{
    struct str list = str_from(text), item;

    out->items = ARENA_ARRAY(&w->arena, 8, struct label);
    out->count = 0;
    while (str_next(&list, ',', &item)) {
        CHECK(str_cut(&item, '=', &out->items[out->count].key));
        out->items[out->count++].value = item;
    }
}

static inline struct workload *world_workload(struct world *w, const struct service *s,
                                              const char *ip, const char *labels)
{
    struct workload *x = ARENA_NEW(&w->arena, struct workload);

    x->service = s->key;
    x->name = s->name;
    x->ns = s->ns;
    x->host = STR("vm2");
    x->host_id = STR("01OTHER");
    x->is_mesh = true;
    x->weight = 1;
    x->identity = arena_printf(&w->arena, "spiffe://cluster.local/ns/%.*s/sa/%.*s", STR_ARG(s->ns),
                               STR_ARG(s->name));
    CHECK(addr_parse_ip(str_from(ip), &x->address));
    world_labels(w, labels, &x->labels);
    w->c.workloads[w->c.workload_count++] = x;
    return x;
}

static inline struct local_service *world_local(struct world *w, const char *ns, const char *name,
                                                uint16_t port, const char *protocol,
                                                const char *labels)
{
    struct local_service *l = &w->locals[w->self.service_count++];

    l->ns = str_from(ns);
    l->name = str_from(name);
    l->account = l->name;
    l->fqdn = model_fqdn(&w->arena, l->name, l->ns, w->c.domain);
    l->key = model_service_key(&w->arena, l->ns, l->fqdn);
    l->identity = arena_printf(&w->arena, "spiffe://cluster.local/ns/%s/sa/%s", ns, name);
    l->port = port;
    l->service_port = port;
    l->protocol = str_from(protocol);
    CHECK(addr_parse(arena_printf(&w->arena, "127.0.0.1:%u", port ? port : 1), &l->app));
    world_labels(w, labels, &l->labels);
    l->is_gateway = port == 0;
    return l;
}

static inline void world_apply(struct world *w, const char *yaml)
{
    struct object_list list = {0};
    struct buf b;

    buf_init(&b, 1 << 16);
    if (documents_parse(str_from(yaml), STR("test.yaml"), SYNTAX_YAML, &w->arena, &list, &w->f)) {
        for (const struct finding *f = w->f.first; f; f = f->next)
            finding_print(f, &b);
        fail_msg("%.*s", STR_ARG(buf_str(&b)));
    }
    for (size_t i = 0; i < list.count; i++)
        catalog_add_object(&w->c, list.items[i]);
    buf_done(&b);
}

/* The previous snapshot is given for sharing, and dropped. */
static inline void world_compile(struct world *w)
{
    struct snapshot *old = w->s;
    struct buf b;

    w->s = compile(&w->c, &w->self, old, &w->f);
    snapshot_unref(old);
    buf_init(&b, 1 << 16);
    for (const struct finding *f = w->f.first; f && !w->s; f = f->next)
        finding_print(f, &b);
    if (!w->s)
        fail_msg("%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
}

/* ---- asking ---- */

static inline const struct listener *world_listener(struct world *w, const char *address)
{
    struct addr at;

    CHECK(addr_parse(str_from(address), &at));
    return snapshot_outbound(w->s, &at);
}

static inline const struct cluster *world_cluster(struct world *w, const char *name)
{
    struct str cluster = arena_printf(&w->arena, "outbound|%s.svc.cluster.local", name);

    return snapshot_cluster(w->s, cluster);
}

static inline void world_cluster_text(struct world *w, struct str name)
{
    struct str suffix = STR(".svc.cluster.local");

    if (str_starts(name, STR("outbound|")))
        name = str_sub(name, 9, name.n);
    if (str_ends(name, suffix))
        name.n -= suffix.n;
    buf_add(&w->text, name);
}

static inline void world_clusters_text(struct world *w, const struct weighted_cluster *list,
                                       size_t count, uint32_t total)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        buf_adds(&w->text, i ? "," : "");
        world_cluster_text(w, list[i].cluster);
        if (count > 1)
            buf_printf(&w->text, "*%u", list[i].weight);
        sum += list[i].weight;
    }
    CHECK_INT(sum, total);
}

static inline void world_match_text(struct world *w, const char *what, const struct match_string *m)
{
    static const char *const kinds[] = {"", "?", "=", "^", "~"};

    if (m->kind != MATCH_ANY)
        buf_printf(&w->text, "%s%s%.*s ", what, kinds[m->kind], STR_ARG(m->text));
    CHECK((m->kind == MATCH_REGEX) == (m->regex != NULL));
}

static inline void world_route_text(struct world *w, const struct route *r)
{
    world_match_text(w, "path", &r->match.path);
    world_match_text(w, "method", &r->match.method);
    world_match_text(w, "authority", &r->match.authority);
    for (size_t i = 0; i < r->match.header_count; i++) {
        const struct header_match *h = &r->match.headers[i];
        struct str name = arena_printf(&w->arena, "%s%.*s", h->negate ? "!" : "", STR_ARG(h->name));

        world_match_text(w, name.p, &h->value);
    }
    for (size_t i = 0; i < r->match.query_count; i++) {
        struct str name = arena_printf(&w->arena, "?%.*s", STR_ARG(r->match.queries[i].name));

        world_match_text(w, name.p, &r->match.queries[i].value);
    }
    if (r->action == ROUTE_PENDING)
        buf_adds(&w->text, "pending");
    else
        world_clusters_text(w, r->clusters, r->cluster_count, r->weight_total);
}

/* "path^/foo 80|v1|b.default; 80||b.default", "none" without a virtual host. */
static inline const char *world_vhost_text(struct world *w, const struct route_table *t,
                                           const char *host)
{
    const struct vhost *v = t ? route_table_find(t, str_from(host)) : NULL;

    buf_clear(&w->text);
    if (!v)
        return "none";
    for (size_t i = 0; i < v->route_count; i++) {
        buf_adds(&w->text, i ? "; " : "");
        world_route_text(w, &v->routes[i]);
    }
    return arena_str(&w->arena, buf_str(&w->text)).p;
}

static inline const struct vhost *world_vhost(struct world *w, const char *address,
                                              const char *host)
{
    const struct listener *l = world_listener(w, address);

    return l && l->http ? route_table_find(l->http, str_from(host)) : NULL;
}

static inline const char *world_routes(struct world *w, const char *address, const char *host)
{
    const struct listener *l = world_listener(w, address);

    return l ? world_vhost_text(w, l->http, host) : "no listener";
}

static inline const char *world_tcp(struct world *w, const struct listener *l)
{
    char text[ADDR_TEXT_MAX];

    buf_clear(&w->text);
    for (size_t i = 0; i < l->tcp_count; i++) {
        buf_adds(&w->text, i ? "; " : "");
        for (size_t k = 0; k < l->tcp[i].subnet_count; k++)
            buf_printf(&w->text, "%s/%u ", addr_format_ip(&l->tcp[i].subnets[k].base, text),
                       l->tcp[i].subnets[k].bits);
        world_clusters_text(w, l->tcp[i].clusters, l->tcp[i].cluster_count, l->tcp[i].weight_total);
    }
    return arena_str(&w->arena, buf_str(&w->text)).p;
}

/* "10.0.0.1:8080 10.0.0.2:8080"; "none" without that cluster. */
static inline const char *world_endpoints(struct world *w, const char *cluster)
{
    const struct cluster *c = world_cluster(w, cluster);
    char text[ADDR_TEXT_MAX];

    if (!c || !c->endpoints)
        return "none";
    buf_clear(&w->text);
    for (size_t i = 0; i < c->endpoints->count; i++)
        buf_printf(&w->text, "%s%s", i ? " " : "",
                   addr_format(&c->endpoints->endpoints[i].addr, text));
    return arena_str(&w->arena, buf_str(&w->text)).p;
}

static inline const struct listener *world_gate(struct world *w, const char *name)
{
    for (size_t i = 0; i < w->s->listener_count; i++) {
        if (str_eq(w->s->listeners[i]->name, str_from(name)))
            return w->s->listeners[i];
    }
    return NULL;
}
