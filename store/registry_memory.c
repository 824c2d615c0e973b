/* The registry in memory, as the rows have it: open, follow, close. */
#include "store/registry_parts.h"

#include <stdlib.h>

#include "mesh/base/mem.h"

static void host_free(struct registry *r, struct host *h)
{
    if (!h)
        return;
    if (map_get(&r->names, h->seen.name) == h)
        map_del(&r->names, h->seen.name);
    if (map_get(&r->pins, h->seen.pin) == h)
        map_del(&r->pins, h->seen.pin);
    arena_done(&h->arena);
    mem_free(h);
}

static void apply_host(struct registry *r, struct str id, const struct store_event *e)
{
    struct host *h = MEM_NEW(struct host);
    struct err ignored; /* a row that cannot be read is a host that is not there */

    arena_init(&h->arena);
    h->mod_seq = e->seq;
    if (e->deleted ||
        registry_decode_host(arena_str(&h->arena, e->value), &h->arena, &h->seen, &ignored)) {
        arena_done(&h->arena);
        mem_free(h);
        host_free(r, map_del(&r->hosts, id));
        return;
    }
    host_free(r, map_put(&r->hosts, id, h));
    map_put(&r->names, h->seen.name, h);
    map_put(&r->pins, h->seen.pin, h);
}

static void service_free(struct service *s)
{
    if (!s)
        return;
    arena_done(&s->arena);
    arena_done(&s->ports);
    mem_free(s);
}

static struct offers *offers_of(struct registry *r, struct str key)
{
    struct offers *o = map_get(&r->offers, key);

    if (!o) {
        o = MEM_NEW(struct offers);
        map_put(&r->offers, key, o);
    }
    return o;
}

static void fill_vip(struct registry *r, struct service *s)
{
    struct arena a;
    const struct vip *v;

    arena_init(&a);
    v = map_get(&r->vips, registry_pair(&a, s->seen.ns, s->seen.fqdn));
    if (v) {
        s->seen.vip4 = v->v4;
        s->seen.vip6 = v->v6;
    }
    arena_done(&a);
}

static void apply_service(struct registry *r, struct str key, const struct store_event *e)
{
    struct service *s = MEM_NEW(struct service);
    struct err ignored; /* as for hosts */
    struct node *m;

    arena_init(&s->arena);
    s->mod_seq = e->seq;
    s->row = arena_str(&s->arena, e->value);
    if (e->deleted || row_parse(s->row, "a service", &s->arena, &m, &ignored)) {
        service_free(s);
        service_free(map_del(&r->services, key));
        return;
    }
    s->seen.ns = node_text(m, "ns");
    s->seen.name = node_text(m, "name");
    s->seen.account = node_text(m, "account");
    s->seen.owner = node_text(m, "owner");
    s->seen.created_ms = row_number(m, "created_ms");
    s->seen.fqdn = arena_printf(&s->arena, "%.*s.%.*s.svc.%s", STR_ARG(s->seen.name),
                                STR_ARG(s->seen.ns), r->domain);
    registry_decode_ports(m, &s->arena, &s->known, &s->known_count);
    s->seen.ports = s->known;
    s->seen.port_count = s->known_count;
    fill_vip(r, s);
    service_free(map_put(&r->services, key, s));
    offers_of(r, key)->dirty = true;
}

static void add_offer(struct offers *o, const struct registry_workload *w)
{
    if (o->count == o->cap) {
        o->cap = o->cap ? o->cap * 2 : 4;
        o->list = mem_realloc(o->list, o->cap * sizeof(struct registry_workload *));
    }
    o->list[o->count++] = w;
    o->dirty = true;
}

static void remove_offer(struct offers *o, const struct registry_workload *w)
{
    for (size_t i = 0; i < o->count; i++) {
        if (o->list[i] == w) {
            o->list[i] = o->list[--o->count];
            break;
        }
    }
    o->dirty = true;
}

static void drop_set(struct registry *r, struct host_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->count; i++) {
        const struct registry_workload *w = &set->list[i];
        struct str key = registry_pair(&set->arena, w->ns, w->service);

        remove_offer(offers_of(r, key), w);
        map_del(&r->workloads, registry_pair(&set->arena, w->host, key));
    }
    arena_done(&set->arena);
    mem_free(set);
}

static void apply_workloads(struct registry *r, struct str host, const struct store_event *e)
{
    struct host_set *set = MEM_NEW(struct host_set);
    const struct node *list;
    struct err ignored; /* as for hosts */
    struct node *m;

    drop_set(r, map_del(&r->sets, host));
    arena_init(&set->arena);
    set->mod_seq = e->seq;
    set->row = arena_str(&set->arena, e->value);
    if (e->deleted || row_parse(set->row, "workloads", &set->arena, &m, &ignored)) {
        arena_done(&set->arena);
        mem_free(set);
        return;
    }
    list = node_get(m, STR("workloads"));
    set->list = ARENA_ARRAY(&set->arena, list ? list->count : 0, struct registry_workload);
    for (const struct node *n = list ? list->first : NULL; n; n = n->next) {
        struct registry_workload *w = &set->list[set->count++];
        struct str key;

        registry_decode_workload(n, host, &set->arena, w);
        key = registry_pair(&set->arena, w->ns, w->service);
        add_offer(offers_of(r, key), w);
        map_put(&r->workloads, registry_pair(&set->arena, host, key), w);
    }
    map_put(&r->sets, host, set);
}

static void apply_vip(struct registry *r, struct str key, const struct store_event *e)
{
    struct vip *v = map_del(&r->vips, key);
    char text[ADDR_TEXT_MAX];
    struct err ignored; /* as for hosts */
    struct service *s;
    struct arena a;
    struct node *m;

    if (v) {
        map_del(&r->used, str_from(addr_format_ip(&v->v4, text)));
        map_del(&r->used, str_from(addr_format_ip(&v->v6, text)));
        mem_free(v);
    }
    arena_init(&a);
    if (!e->deleted && row_parse(e->value, "a virtual address", &a, &m, &ignored) == 0) {
        v = MEM_NEW(struct vip);
        if (addr_parse_ip(node_text(m, "v4"), &v->v4) &&
            addr_parse_ip(node_text(m, "v6"), &v->v6)) {
            map_put(&r->vips, key, v);
            map_put(&r->used, str_from(addr_format_ip(&v->v4, text)), v);
            map_put(&r->used, str_from(addr_format_ip(&v->v6, text)), v);
        } else {
            mem_free(v);
        }
        s = registry_service_at(r, key);
        if (s)
            fill_vip(r, s);
    }
    arena_done(&a);
}

bool registry_has_port(const struct registry_port *ports, size_t count, uint16_t service_port)
{
    for (size_t i = 0; i < count; i++) {
        if (ports[i].service_port == service_port)
            return true;
    }
    return false;
}

size_t registry_join_ports(struct registry_port *out, size_t n, const struct registry_workload *w)
{
    for (size_t i = 0; i < w->port_count; i++) {
        if (registry_has_port(out, n, w->ports[i].service_port))
            continue;
        out[n] = w->ports[i];
        out[n++].port = 0; /* each workload has its own */
    }
    return n;
}

int registry_by_port(const void *a, const void *b)
{
    const struct registry_port *x = a, *y = b;

    return x->service_port < y->service_port ? -1 : x->service_port > y->service_port;
}

/* The ports of all workloads, the service's last known ones if there are none. */
static void refresh_ports(struct service *s, const struct offers *o)
{
    struct registry_port *all;
    size_t room = 0, n = 0;

    arena_done(&s->ports);
    s->seen.ports = s->known;
    s->seen.port_count = s->known_count;
    if (o->count == 0)
        return;
    for (size_t i = 0; i < o->count; i++)
        room += o->list[i]->port_count;
    all = mem_array(room + 1, sizeof(*all));
    for (size_t i = 0; i < o->count; i++)
        n = registry_join_ports(all, n, o->list[i]);
    qsort(all, n, sizeof(*all), registry_by_port);
    s->seen.ports = ARENA_ARRAY(&s->ports, n, struct registry_port);
    s->seen.port_count = n;
    for (size_t i = 0; i < n; i++) {
        s->seen.ports[i] = all[i];
        s->seen.ports[i].name = arena_str(&s->ports, all[i].name);
        s->seen.ports[i].protocol = arena_str(&s->ports, all[i].protocol);
    }
    mem_free(all);
}

bool registry_same_ports(const struct registry_port *a, size_t an, const struct registry_port *b,
                         size_t bn)
{
    if (an != bn)
        return false;
    for (size_t i = 0; i < an; i++) {
        if (a[i].service_port != b[i].service_port || !str_eq(a[i].name, b[i].name) ||
            !str_eq(a[i].protocol, b[i].protocol))
            return false;
    }
    return true;
}

static void clean_offers(struct registry *r)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&r->offers, &i));) {
        struct offers *o = e->value;
        struct service *s;

        if (!o->dirty)
            continue;
        o->dirty = false;
        s = map_get(&r->services, e->key);
        if (s)
            refresh_ports(s, o);
    }
}

static bool under(struct str key, const char *folder, struct str *rest)
{
    struct str f = str_from(folder);

    if (!str_starts(key, f))
        return false;
    *rest = str_sub(key, f.n, key.n);
    return true;
}

static void apply_event(struct registry *r, const struct store_event *e)
{
    struct str rest;

    if (under(e->key, "/reg/host/", &rest))
        apply_host(r, rest, e);
    else if (under(e->key, "/reg/service/", &rest))
        apply_service(r, rest, e);
    else if (under(e->key, "/reg/workloads/", &rest))
        apply_workloads(r, rest, e);
    else if (under(e->key, "/reg/vip/", &rest))
        apply_vip(r, rest, e);
}

static void on_change(void *arg, const struct store_event *events, size_t count, int64_t seq)
{
    (void)seq; /* every row carries its own */
    for (size_t i = 0; i < count; i++)
        apply_event(arg, &events[i]);
    clean_offers(arg);
}

static int load(struct registry *r, struct err *err)
{
    struct store_range range = {.prefix = STR(REGISTRY_PREFIX)};
    struct store_kv *rows;
    struct arena a;
    size_t n;
    int rc;

    arena_init(&a);
    /* Addresses first: a service takes its own when it appears. */
    range.prefix = STR("/reg/vip/");
    rc = store_list(r->store, &range, &a, &rows, &n, NULL, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        apply_event(r, &(struct store_event){false, rows[i].key, rows[i].value, rows[i].mod_seq,
                                             rows[i].create_seq, rows[i].version});
    range.prefix = STR(REGISTRY_PREFIX);
    if (rc == 0)
        rc = store_list(r->store, &range, &a, &rows, &n, NULL, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct str rest;

        if (!under(rows[i].key, "/reg/vip/", &rest))
            apply_event(r, &(struct store_event){false, rows[i].key, rows[i].value, rows[i].mod_seq,
                                                 rows[i].create_seq, rows[i].version});
    }
    clean_offers(r);
    arena_done(&a);
    return rc;
}

struct registry *registry_open(struct store *store, struct str domain, struct err *err)
{
    struct registry *r = MEM_NEW(struct registry);

    r->store = store;
    r->domain = str_dup(domain);
    map_init(&r->hosts);
    map_init(&r->names);
    map_init(&r->pins);
    map_init(&r->services);
    map_init(&r->offers);
    map_init(&r->sets);
    map_init(&r->workloads);
    map_init(&r->vips);
    map_init(&r->used);
    if (load(r, err) == 0)
        r->watch = store_watch_open(store, STR(REGISTRY_PREFIX), 0, on_change, r, err);
    if (!r->watch) {
        registry_close(r);
        return NULL;
    }
    return r;
}

void registry_close(struct registry *r)
{
    struct map_entry *e;

    if (!r)
        return;
    store_watch_close(r->watch);
    for (size_t i = 0; (e = map_each(&r->sets, &i));)
        drop_set(r, e->value);
    for (size_t i = 0; (e = map_each(&r->hosts, &i));)
        host_free(r, e->value);
    for (size_t i = 0; (e = map_each(&r->services, &i));)
        service_free(e->value);
    for (size_t i = 0; (e = map_each(&r->offers, &i));) {
        mem_free(((struct offers *)e->value)->list);
        mem_free(e->value);
    }
    for (size_t i = 0; (e = map_each(&r->vips, &i));)
        mem_free(e->value);
    map_done(&r->hosts);
    map_done(&r->names);
    map_done(&r->pins);
    map_done(&r->services);
    map_done(&r->offers);
    map_done(&r->sets);
    map_done(&r->workloads);
    map_done(&r->vips);
    map_done(&r->used);
    mem_free(r->domain);
    mem_free(r);
}
