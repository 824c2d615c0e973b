/* From documents and registrations to what one host does: catalog, view, the way to the agent and back, snapshot. The host
 * is called as in compile_world.h (world_local), its asking helpers work on `m.w`.
 */
#pragma once

#include "compile_world.h"
#include "mesh/catalog.h"

#define REGISTERED_MAX 16

struct mesh {
    struct world w; /* the host */
    struct object_list objects;
    struct registered rows[REGISTERED_MAX];
    size_t row_count;
    struct catalog all; /* the server's */
    struct map subscriptions;
    struct resources seen;
    char text[4096];
};

static inline void mesh_init(struct mesh *m)
{
    memset(m, 0, sizeof(*m));
    world_init(&m->w);
    map_init(&m->subscriptions);
    CHECK(addr_parse_ip(STR("10.0.0.9"), &m->w.self.address));
}

static inline void mesh_done(struct mesh *m)
{
    resources_done(&m->seen);
    map_done(&m->subscriptions);
    catalog_done(&m->all);
    world_done(&m->w);
}

static inline void mesh_apply(struct mesh *m, const char *yaml)
{
    struct buf b;

    buf_init(&b, 1 << 16);
    if (documents_parse(str_from(yaml), STR("test.yaml"), SYNTAX_YAML, &m->w.arena, &m->objects, &m->w.f)) {
        for (const struct finding *f = m->w.f.first; f; f = f->next)
            finding_print(f, &b);
        fail_msg("%.*s", STR_ARG(buf_str(&b)));
    }
    buf_done(&b);
}

/* A Sidecar with its spec as flow YAML. */
static inline void mesh_sidecar(struct mesh *m, const char *ns, const char *name, const char *spec)
{
    mesh_apply(m, arena_printf(&m->w.arena,
                               "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
                               "metadata: {name: %s, namespace: %s}\nspec: %s\n",
                               name, ns, spec)
                      .p);
}

/* A service of another host, on its own port, subscribed to by this one. */
static inline void mesh_service(struct mesh *m, const char *ns, const char *name, const char *ip, uint16_t port,
                                const char *protocol)
{
    struct registered *r = &m->rows[m->row_count++];
    struct str fqdn = model_fqdn(&m->w.arena, str_from(name), str_from(ns), STR("cluster.local"));

    r->service = (struct local_service){.ns = str_from(ns),
                                        .name = str_from(name),
                                        .account = str_from(name),
                                        .port = port,
                                        .service_port = port,
                                        .protocol = str_from(protocol)};
    r->host_id = STR("01OTHER");
    r->host = STR("vm2");
    CHECK(addr_parse_ip(str_from(ip), &r->address));
    map_put(&m->subscriptions, model_service_key(&m->w.arena, str_from(ns), fqdn), m);
}

/* Each name has an address of its own, made from its bytes. */
static inline void mesh_vip(void *arg, struct str ns, struct str fqdn, struct addr *vip4, struct addr *vip6)
{
    unsigned sum = 0;

    (void)arg; /* the address depends on the name alone */
    for (size_t i = 0; i < fqdn.n; i++)
        sum = sum * 31 + (unsigned char)fqdn.p[i];
    for (size_t i = 0; i < ns.n; i++)
        sum = sum * 31 + (unsigned char)ns.p[i];
    *vip6 = (struct addr){0};
    *vip4 = (struct addr){
        .family = 4, .ip = {240, 240, (uint8_t)(sum >> 8), (uint8_t)sum}
    };
}

/* What the server pushes and the agent makes of it. */
static inline void mesh_run(struct mesh *m)
{
    const struct catalog_input in = {.objects = m->objects.items,
                                     .object_count = m->objects.count,
                                     .registered = m->rows,
                                     .registered_count = m->row_count,
                                     .revision = 3,
                                     .epoch = STR("e"),
                                     .trust_domain = STR("cluster.local"),
                                     .domain = STR("cluster.local"),
                                     .root_namespace = STR("istio-system"),
                                     .vip = mesh_vip};
    const struct viewer viewer = {.ns = m->w.self.ns,
                                  .services = m->w.self.services,
                                  .service_count = m->w.self.service_count,
                                  .subscriptions = &m->subscriptions};

    catalog_init(&m->all);
    catalog_build(&in, &m->all);
    resources_init(&m->seen);
    catalog_view(&m->all, &viewer, &m->seen);
    catalog_done(&m->w.c);
    catalog_init(&m->w.c);
    CHECK_INT(catalog_read(&m->seen, &m->w.c, &m->w.f), 0);
    world_compile(&m->w);
}

/* ---- asking ---- */

static inline int mesh_compare(const void *x, const void *y)
{
    const char *const *a = x, *const *b = y;

    return strcmp(*a, *b);
}

static inline const char *mesh_join(struct mesh *m, const char **list, size_t count)
{
    size_t n = 0;

    qsort(list, count, sizeof(char *), mesh_compare);
    m->text[0] = 0;
    for (size_t i = 0; i < count; i++)
        n += (size_t)snprintf(m->text + n, sizeof(m->text) - n, "%s%s", i ? " " : "", list[i]);
    return m->text;
}

/* Keys of what was pushed that begin with this, sorted, without it and ".svc.cluster.local". */
static inline const char *mesh_pushed(struct mesh *m, const char *prefix)
{
    const struct map_entry *e;
    const char *list[64];
    size_t count = 0;

    for (size_t i = 0; (e = map_each(&m->seen.by_key, &i));) {
        struct str rest = str_sub(e->key, strlen(prefix), e->key.n);

        if (!str_starts(e->key, str_from(prefix)))
            continue;
        if (str_ends(rest, STR(".svc.cluster.local")))
            rest.n -= STR(".svc.cluster.local").n;
        list[count++] = arena_str(&m->w.arena, rest).p;
    }
    return mesh_join(m, list, count);
}

struct mesh_names {
    struct mesh *m;
    const char *list[256];
    size_t count;
};

static inline void mesh_add_name(void *arg, struct str name, const struct addr *vip4, const struct addr *vip6,
                                 struct str key)
{
    struct mesh_names *n = arg;

    (void)vip4; /* names alone are asked for */
    (void)vip6;
    (void)key;
    if (str_ends(name, STR(".mesh")) && !str_has(str_sub(name, 0, name.n - 5), '.'))
        n->list[n->count++] = arena_str(&n->m->w.arena, str_sub(name, 0, name.n - 5)).p;
}

/* Services that DNS answers for, by their short names, sorted. */
static inline const char *mesh_names(struct mesh *m)
{
    struct mesh_names n = {.m = m};

    compile_names(&m->w.c, &m->w.self, mesh_add_name, &n);
    return mesh_join(m, n.list, n.count);
}

/* The virtual address of "ns/name" with a port; "none" if the server has no such service. */
static inline const char *mesh_at(struct mesh *m, const char *ns, const char *name, unsigned port)
{
    struct str fqdn = model_fqdn(&m->w.arena, str_from(name), str_from(ns), STR("cluster.local"));
    const struct service *s = map_get(&m->all.by_service, model_service_key(&m->w.arena, str_from(ns), fqdn));
    char text[ADDR_TEXT_MAX];

    return s ? arena_printf(&m->w.arena, "%s:%u", addr_format_ip(&s->vip4, text), port).p : "none";
}

/* Routes of a service's own name at its own address. */
static inline const char *mesh_routes(struct mesh *m, const char *ns, const char *name, unsigned port)
{
    const char *host = arena_printf(&m->w.arena, "%s.%s", name, ns).p;

    return world_routes(&m->w, mesh_at(m, ns, name, port), host);
}

static inline const struct listener *mesh_inbound(const struct mesh *m, uint16_t port)
{
    return snapshot_inbound(m->w.s, port);
}

/* "10.0.0.9:8080": where the application behind an inbound port is. */
static inline const char *mesh_app(struct mesh *m, unsigned port)
{
    const struct cluster *c = snapshot_cluster(m->w.s, arena_printf(&m->w.arena, "inbound|%u||", port));

    return c ? addr_format(&c->local, m->text) : "none";
}

static inline const struct listener *mesh_bound(const struct mesh *m, const char *at)
{
    struct addr a;

    CHECK(addr_parse(str_from(at), &a));
    return snapshot_bound(m->w.s, &a);
}

/* The detail of the last warning, or "". */
static inline const char *mesh_warning(struct mesh *m)
{
    const char *found = "";

    for (const struct finding *f = m->w.f.first; f; f = f->next) {
        if (f->severity == SEVERITY_WARNING)
            found = arena_str(&m->w.arena, f->detail).p;
    }
    return found;
}

/* Is there a warning with these words? */
static inline bool mesh_warns(const struct mesh *m, const char *words)
{
    for (const struct finding *f = m->w.f.first; f; f = f->next) {
        if (f->severity == SEVERITY_WARNING && str_find(f->detail, str_from(words), &(size_t){0}))
            return true;
    }
    return false;
}
