/* The registry: look-ups. */
#include "store/registry_parts.h"

const struct host *registry_find_host(const struct registry *r, struct str id)
{
    return map_get(&r->hosts, id);
}

static const struct registry_host *host_seen(const struct host *h)
{
    return h ? &h->seen : NULL;
}

const struct registry_host *registry_host(const struct registry *r, struct str id)
{
    return host_seen(map_get(&r->hosts, id));
}

const struct registry_host *registry_host_named(const struct registry *r, struct str name)
{
    return host_seen(map_get(&r->names, name));
}

const struct registry_host *registry_host_by_pin(const struct registry *r, struct str pin)
{
    return host_seen(map_get(&r->pins, pin));
}

const struct registry_host *registry_host_each(const struct registry *r, size_t *i)
{
    const struct map_entry *e = map_each(&r->hosts, i);

    return e ? host_seen(e->value) : NULL;
}

size_t registry_host_count(const struct registry *r)
{
    return r->hosts.count;
}

struct service *registry_find_service(const struct registry *r, struct str ns, struct str name)
{
    struct arena a;
    struct service *s;

    arena_init(&a);
    s = map_get(&r->services, registry_pair(&a, ns, name));
    arena_done(&a);
    return s;
}

struct service *registry_service_at(const struct registry *r, struct str vip_key)
{
    struct str rest = vip_key, ns, name;
    struct service *s = NULL;
    struct arena a;

    arena_init(&a);
    if (str_cut(&rest, '/', &ns) && str_cut(&rest, '.', &name))
        s = registry_find_service(r, ns, name);
    if (s && !str_eq(registry_pair(&a, s->seen.ns, s->seen.fqdn), vip_key))
        s = NULL;
    arena_done(&a);
    return s;
}

const struct registry_service *registry_service(const struct registry *r, struct str ns,
                                                struct str name)
{
    const struct service *s = registry_find_service(r, ns, name);

    return s ? &s->seen : NULL;
}

const struct registry_service *registry_service_each(const struct registry *r, size_t *i)
{
    const struct map_entry *e = map_each(&r->services, i);

    return e ? &((const struct service *)e->value)->seen : NULL;
}

const struct registry_workload *registry_workload(const struct registry *r, struct str host,
                                                  struct str ns, struct str service)
{
    const struct registry_workload *w;
    struct arena a;

    arena_init(&a);
    w = map_get(&r->workloads, registry_pair(&a, host, registry_pair(&a, ns, service)));
    arena_done(&a);
    return w;
}

const struct registry_workload *registry_workload_each(const struct registry *r, size_t *i)
{
    const struct map_entry *e = map_each(&r->workloads, i);

    return e ? e->value : NULL;
}

const struct offers *registry_find_offers(const struct registry *r, struct str ns, struct str name)
{
    static const struct offers none;
    const struct offers *o;
    struct arena a;

    arena_init(&a);
    o = map_get(&r->offers, registry_pair(&a, ns, name));
    arena_done(&a);
    return o ? o : &none;
}
