/* A small mesh for tests of the catalog: registrations by one line each, documents as YAML, what comes
 * of them as short text.
 *
 * world_init(YAML); registered, ...; build; service, endpoints, ports; or seen for what an agent gets;
 * world_done.
 */
#pragma once

#include "mesh/catalog.h"
#include "mesh/snapshot.h"
#include "test/unit/doc_world.h"

#define ROWS_MAX 16

/* A mesh of registrations (one line each) and documents. */
struct world {
    struct docs docs;
    struct catalog_input in;
    struct registered rows[ROWS_MAX];
    struct catalog c;
    struct map subscriptions;
    struct local_service own[4];
    struct viewer viewer;
    struct resources seen;
    struct arena arena;
    unsigned vips;
};

static inline void vip(void *arg, struct str ns, struct str fqdn, struct addr *vip4, struct addr *vip6)
{
    struct world *w = arg;

    (void)ns;   /* each call is another name */
    (void)fqdn; /* likewise */
    *vip6 = (struct addr){0};
    *vip4 = (struct addr){
        .family = 4, .ip = {240, 240, 0, (uint8_t)++w->vips}
    };
}

static inline void world_init(struct world *w, const char *yaml)
{
    memset(w, 0, sizeof(*w));
    docs_parse(&w->docs, str_from(yaml), SYNTAX_YAML);
    if (w->docs.result)
        docs_print(&w->docs);
    CHECK_INT(w->docs.result, 0);
    arena_init(&w->arena);
    map_init(&w->subscriptions);
    resources_init(&w->seen);
    catalog_init(&w->c);
    w->in = (struct catalog_input){.objects = w->docs.objects.items,
                                   .object_count = w->docs.objects.count,
                                   .registered = w->rows,
                                   .revision = 3,
                                   .epoch = STR("e"),
                                   .trust_domain = STR("td.example"),
                                   .domain = STR("cluster.local"),
                                   .root_namespace = STR("istio-system"),
                                   .vip = vip,
                                   .vip_arg = w};
    w->viewer = (struct viewer){
        .ns = STR("default"), .services = w->own, .subscriptions = &w->subscriptions};
}

static inline void world_done(struct world *w)
{
    resources_done(&w->seen);
    map_done(&w->subscriptions);
    catalog_done(&w->c);
    arena_done(&w->arena);
    docs_done(&w->docs);
}

static inline struct labels labels_of(struct world *w, const char *text)
{
    struct labels l = {ARENA_ARRAY(&w->arena, 8, struct label), 0};
    struct str rest = str_from(text), item;

    while (str_next(&rest, ',', &item)) {
        struct str value = item, key;

        CHECK(str_cut(&value, '=', &key));
        l.items[l.count++] = (struct label){key, value};
    }
    return l;
}

/* A workload of NS/NAME at an address: its port, the port that clients address, and its labels. */
static inline void registered(struct world *w, const char *ns, const char *name, const char *ip,
                       uint16_t service_port, uint16_t port, const char *labels)
{
    struct registered *r = &w->rows[w->in.registered_count++];

    r->service = (struct local_service){.ns = str_from(ns),
                                        .name = str_from(name),
                                        .account = str_from(name),
                                        .port = port,
                                        .service_port = service_port,
                                        .protocol = STR("http"),
                                        .labels = labels_of(w, labels)};
    r->host_id = STR("01HOST");
    r->host = STR("vm1");
    CHECK(addr_parse_ip(str_from(ip), &r->address));
}

static inline void build(struct world *w)
{
    catalog_build(&w->in, &w->c);
}

static inline const struct service *service(const struct world *w, const char *key)
{
    const struct service *s = map_get(&w->c.by_service, str_from(key));

    if (!s)
        print_error("there is no service %s\n", key);
    CHECK(s);
    return s;
}

/* "10.0.0.1:9080,9443 10.0.0.2:9080": the endpoints of a service and the port of each of its ports.
 */
static inline const char *endpoints(struct world *w, const char *key)
{
    static char out[1024];
    size_t n = 0;

    out[0] = 0;
    for (size_t i = 0; i < w->c.workload_count; i++) {
        const struct workload *one = w->c.workloads[i];
        char ip[ADDR_TEXT_MAX];

        if (!str_eq(one->service, str_from(key)))
            continue;
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s", n ? " " : "",
                              addr_format_ip(&one->address, ip));
        for (size_t k = 0; k < one->port_count; k++)
            n += (size_t)snprintf(out + n, sizeof(out) - n, "%c%u%s", k ? ',' : ':',
                                  one->ports[k].target_port, one->ports[k].is_plain ? "!" : "");
    }
    return out;
}

/* "80>9080 http HTTP, ..." */
static inline const char *ports(const struct service *s)
{
    static char out[1024];
    size_t n = 0;

    out[0] = 0;
    for (size_t i = 0; i < s->port_count; i++)
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%u>%u %.*s %.*s", i ? ", " : "",
                              s->ports[i].number, s->ports[i].target_port,
                              STR_ARG(s->ports[i].name), STR_ARG(s->ports[i].protocol));
    return out;
}

#define REVIEWS "shop/reviews.shop.svc.cluster.local"
#define RATINGS "shop/ratings.shop.svc.cluster.local"
#define NOTHING "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"

#define ENTRY(name, spec)                                                                          \
    "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " name          \
    ", namespace: shop}\nspec:\n" spec

/* The keys of the view, sorted and joined by blanks, without the mesh and the services. */
static inline const char *seen(struct world *w)
{
    static char out[2048];
    const struct map_entry *e;
    const char *keys[64];
    size_t count = 0, n = 0;

    build(w);
    catalog_view(&w->c, &w->viewer, &w->seen);
    CHECK(map_get(&w->seen.by_key, STR("mesh")));
    for (size_t i = 0; (e = map_each(&w->seen.by_key, &i));) {
        size_t at = count;

        if (!str_starts(e->key, STR("object/")) && !str_starts(e->key, STR("endpoints/")))
            continue;
        for (; at > 0 && strcmp(keys[at - 1], e->key.p) > 0; at--)
            keys[at] = keys[at - 1];
        keys[at] = e->key.p;
        count++;
    }
    out[0] = 0;
    for (size_t i = 0; i < count; i++)
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s", i ? " " : "", keys[i]);
    return out;
}

static inline void subscribe(struct world *w, const char *key)
{
    map_put(&w->subscriptions, str_from(key), w);
}

static inline bool sees_service(const struct world *w, const char *key)
{
    return map_get(
        &w->seen.by_key,
        str_from(arena_printf(&((struct world *)(uintptr_t)w)->arena, "service/%s", key).p));
}

#define RULE(kind, name, ns, spec)                                                                 \
    "---\napiVersion: networking.istio.io/v1\nkind: " kind "\nmetadata: {name: " name              \
    ", namespace: " ns "}\nspec: " spec "\n"
#define ROUTE(host, to) "{hosts: [" host "], http: [{route: [{destination: {host: " to "}}]}]}"

static inline void two_services(struct world *w)
{
    registered(w, "shop", "reviews", "10.0.0.1", 80, 9080, "app=reviews");
    registered(w, "shop", "ratings", "10.0.0.2", 80, 9080, "app=ratings");
    registered(w, "shop", "details", "10.0.0.3", 80, 9080, "app=details");
}
