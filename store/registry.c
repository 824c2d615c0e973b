/* How the registry lies in the store:
 *
 *     /reg/host/ID             a host
 *     /reg/hostname/NAME       {"id"}: makes names unique
 *     /reg/pin/PIN             {"id"}: one host per key
 *     /reg/service/NS/NAME     who owns a name
 *     /reg/workloads/ID        all that a host offers, so that a registration is one put
 *     /reg/vip/NS/FQDN         both virtual addresses of a name
 *     /reg/vip4/A /reg/vip6/A  {"ns", "name"}: one name per address
 *
 * Memory is built from the same rows by one watch, the oldest on /reg/, so whoever watches /reg/
 * later sees memory already changed.
 */
#include "store/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/hash.h"
#include "mesh/base/limits.h"
#include "mesh/base/map.h"
#include "mesh/base/mem.h"
#include "mesh/identity.h"
#include "mesh/vip.h"
#include "store/ledger.h"
#include "store/row.h"
#include "store/store.h"

#define ROW_BYTES   (1u << 20)
#define BATCH_OPS   100u
#define PORTS_MAX   64u /* of one workload */
#define ADDRESS_MAX 16u
#define LABELS_MAX  64u
#define REJOIN_MS   600000 /* a lost answer is given again */
#define NAME_BYTES  253u

/* Rows in memory: each with its own arena, so that it can go alone. */
struct host {
    struct registry_host seen;
    struct arena arena;
    int64_t mod_seq;
};

struct service {
    struct registry_service seen;
    struct arena arena, ports; /* `ports` is emptied each time they are joined again */
    int64_t mod_seq;
    struct str row;              /* as stored */
    struct registry_port *known; /* ports of the row: what is left when no workload is */
    size_t known_count;
};

struct host_set { /* all workloads of one host */
    struct registry_workload *list;
    size_t count;
    struct arena arena;
    int64_t mod_seq;
    struct str row;
};

struct offers { /* who offers a service */
    const struct registry_workload **list;
    size_t count, cap;
    bool dirty; /* ports have to be joined again */
};

struct vip {
    struct addr v4, v6;
};

struct registry {
    struct store *store;
    char *domain;
    struct map hosts, names, pins; /* id -> struct host; name, pin -> the same */
    struct map services;           /* ns/name -> struct service */
    struct map offers;             /* ns/name -> struct offers */
    struct map sets;               /* host id -> struct host_set */
    struct map workloads;          /* host/ns/service -> into the sets */
    struct map vips;               /* ns/fqdn -> struct vip */
    struct map used;               /* address -> struct vip */
    struct store_watch *watch;
};

/* ----------------------------------------------------------------- encoding */

static const char *const state_names[] = {
    [REGISTRY_PENDING] = "pending", [REGISTRY_ACTIVE] = "active", [REGISTRY_EJECTED] = "ejected"};

const char *registry_state_name(enum registry_state state)
{
    return state_names[state];
}

struct str registry_host_path(struct arena *a, struct str id)
{
    return arena_printf(a, "/reg/host/%.*s", STR_ARG(id));
}

struct str registry_name_path(struct arena *a, struct str name)
{
    return arena_printf(a, "/reg/hostname/%.*s", STR_ARG(name));
}

struct str registry_pin_path(struct arena *a, struct str pin)
{
    return arena_printf(a, "/reg/pin/%.*s", STR_ARG(pin));
}

static struct str service_path(struct arena *a, struct str ns, struct str name)
{
    return arena_printf(a, "/reg/service/%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

struct str registry_workloads_path(struct arena *a, struct str host)
{
    return arena_printf(a, "/reg/workloads/%.*s", STR_ARG(host));
}

static struct str pair(struct arena *a, struct str ns, struct str name)
{
    return arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

void registry_encode_labels(struct buf *b, const struct registry_label *labels, size_t count)
{
    if (count == 0)
        return;
    row_open(b, "labels", '{');
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_addc(b, ',');
        buf_json(b, labels[i].name);
        buf_addc(b, ':');
        buf_json(b, labels[i].value);
    }
    buf_addc(b, '}');
}

void registry_encode_grants(struct buf *b, const struct registry_grant *grants, size_t count)
{
    row_open(b, "grants", '[');
    for (size_t i = 0; i < count; i++) {
        row_open(b, NULL, '{');
        row_str(b, "ns", grants[i].ns);
        row_str(b, "service", grants[i].service);
        row_opt(b, "account", grants[i].account);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

static void encode_ports(struct buf *b, const struct registry_port *ports, size_t count)
{
    row_open(b, "ports", '[');
    for (size_t i = 0; i < count; i++) {
        row_open(b, NULL, '{');
        row_opt(b, "name", ports[i].name);
        row_opt(b, "protocol", ports[i].protocol);
        if (ports[i].port)
            row_int(b, "port", ports[i].port);
        row_int(b, "service_port", ports[i].service_port);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

struct str registry_encode_host(struct arena *a, const struct registry_host *h)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_str(&b, "id", h->id);
    row_str(&b, "name", h->name);
    row_str(&b, "pin", h->pin);
    row_opt(&b, "address", h->address);
    row_str(&b, "state", str_from(state_names[h->state]));
    row_true(&b, "unrestricted", h->unrestricted);
    registry_encode_grants(&b, h->grants, h->grant_count);
    registry_encode_labels(&b, h->labels, h->label_count);
    row_int(&b, "joins", h->joins);
    row_int(&b, "created_ms", h->created_ms);
    row_int(&b, "last_join_ms", h->last_join_ms);
    row_opt(&b, "token", h->token);
    buf_addc(&b, '}');
    return row_done(&b, a);
}

static struct str encode_workloads(struct arena *a, const struct registry_workload *list,
                                   size_t count)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_adds(&b, "{\"workloads\":[");
    for (size_t i = 0; i < count; i++) {
        const struct registry_workload *w = &list[i];

        row_open(&b, NULL, '{');
        row_str(&b, "ns", w->ns);
        row_str(&b, "service", w->service);
        row_str(&b, "account", w->account);
        row_open(&b, "addresses", '[');
        for (size_t j = 0; j < w->address_count; j++) {
            if (j)
                buf_addc(&b, ',');
            buf_json(&b, w->addresses[j]);
        }
        buf_addc(&b, ']');
        encode_ports(&b, w->ports, w->port_count);
        registry_encode_labels(&b, w->labels, w->label_count);
        row_opt(&b, "version", w->version);
        row_opt(&b, "locality", w->locality);
        row_opt(&b, "network", w->network);
        if (w->weight)
            row_int(&b, "weight", w->weight);
        buf_addc(&b, '}');
    }
    buf_adds(&b, "]}");
    if (b.failed) {
        buf_done(&b);
        return STR_NONE;
    }
    return row_done(&b, a);
}

static struct str encode_service(struct arena *a, const struct registry_service *s)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_str(&b, "ns", s->ns);
    row_str(&b, "name", s->name);
    row_str(&b, "account", s->account);
    row_opt(&b, "owner", s->owner);
    encode_ports(&b, s->ports, s->port_count);
    row_int(&b, "created_ms", s->created_ms);
    buf_addc(&b, '}');
    return row_done(&b, a);
}

/* ----------------------------------------------------------------- decoding */

void registry_decode_labels(const struct node *map, struct arena *a, struct registry_label **out,
                            size_t *count)
{
    const struct node *labels = node_get(map, STR("labels"));
    size_t n = 0;

    *out = ARENA_ARRAY(a, labels ? labels->count : 0, struct registry_label);
    for (const struct node *l = labels ? labels->first : NULL; l; l = l->next)
        (*out)[n++] = (struct registry_label){arena_str(a, l->key), arena_str(a, l->text)};
    *count = n;
}

void registry_decode_grants(const struct node *map, struct arena *a, struct registry_grant **out,
                            size_t *count)
{
    const struct node *grants = node_get(map, STR("grants"));
    size_t n = 0;

    *out = ARENA_ARRAY(a, grants ? grants->count : 0, struct registry_grant);
    for (const struct node *g = grants ? grants->first : NULL; g; g = g->next)
        (*out)[n++] = (struct registry_grant){arena_str(a, node_text(g, "ns")),
                                              arena_str(a, node_text(g, "service")),
                                              arena_str(a, node_text(g, "account"))};
    *count = n;
}

static void decode_ports(const struct node *map, struct arena *a, struct registry_port **out,
                         size_t *count)
{
    const struct node *ports = node_get(map, STR("ports"));
    size_t n = 0;

    *out = ARENA_ARRAY(a, ports ? ports->count : 0, struct registry_port);
    for (const struct node *p = ports ? ports->first : NULL; p; p = p->next)
        (*out)[n++] = (struct registry_port){
            arena_str(a, node_text(p, "name")), arena_str(a, node_text(p, "protocol")),
            (uint16_t)row_number(p, "port"), (uint16_t)row_number(p, "service_port")};
    *count = n;
}

int registry_decode_host(struct str json, struct arena *a, struct registry_host *out,
                         struct err *err)
{
    struct registry_host h = {0};
    struct str state;
    struct node *m;

    if (row_parse(json, "a host", a, &m, err))
        return -1;
    state = node_text(m, "state");
    h.id = arena_str(a, node_text(m, "id"));
    h.name = arena_str(a, node_text(m, "name"));
    h.pin = arena_str(a, node_text(m, "pin"));
    h.address = arena_str(a, node_text(m, "address"));
    h.token = arena_str(a, node_text(m, "token"));
    h.state = str_eq(state, STR("active"))    ? REGISTRY_ACTIVE
              : str_eq(state, STR("pending")) ? REGISTRY_PENDING
                                              : REGISTRY_EJECTED;
    h.unrestricted = node_is_true(m, "unrestricted");
    registry_decode_grants(m, a, &h.grants, &h.grant_count);
    registry_decode_labels(m, a, &h.labels, &h.label_count);
    h.joins = row_number(m, "joins");
    h.created_ms = row_number(m, "created_ms");
    h.last_join_ms = row_number(m, "last_join_ms");
    *out = h;
    return 0;
}

static void decode_workload(const struct node *m, struct str host, struct arena *a,
                            struct registry_workload *out)
{
    const struct node *addresses = node_get(m, STR("addresses"));

    *out = (struct registry_workload){
        .host = arena_str(a, host),
        .ns = arena_str(a, node_text(m, "ns")),
        .service = arena_str(a, node_text(m, "service")),
        .account = arena_str(a, node_text(m, "account")),
        .version = arena_str(a, node_text(m, "version")),
        .locality = arena_str(a, node_text(m, "locality")),
        .network = arena_str(a, node_text(m, "network")),
        .weight = (uint32_t)row_number(m, "weight"),
    };
    out->addresses = ARENA_ARRAY(a, addresses ? addresses->count : 0, struct str);
    for (const struct node *n = addresses ? addresses->first : NULL; n; n = n->next)
        out->addresses[out->address_count++] = arena_str(a, n->text);
    decode_ports(m, a, &out->ports, &out->port_count);
    registry_decode_labels(m, a, &out->labels, &out->label_count);
}

/* ------------------------------------------------------------------- memory */

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
    v = map_get(&r->vips, pair(&a, s->seen.ns, s->seen.fqdn));
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
    decode_ports(m, &s->arena, &s->known, &s->known_count);
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
        struct str key = pair(&set->arena, w->ns, w->service);

        remove_offer(offers_of(r, key), w);
        map_del(&r->workloads, pair(&set->arena, w->host, key));
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

        decode_workload(n, host, &set->arena, w);
        key = pair(&set->arena, w->ns, w->service);
        add_offer(offers_of(r, key), w);
        map_put(&r->workloads, pair(&set->arena, host, key), w);
    }
    map_put(&r->sets, host, set);
}

static void apply_vip(struct registry *r, struct str key, const struct store_event *e)
{
    struct vip *v = map_del(&r->vips, key);
    char text[ADDR_TEXT_MAX];
    struct map_entry *entry;
    struct err ignored; /* as for hosts */
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
        for (size_t i = 0; (entry = map_each(&r->services, &i));) {
            struct service *s = entry->value;

            if (str_eq(pair(&a, s->seen.ns, s->seen.fqdn), key))
                fill_vip(r, s);
        }
    }
    arena_done(&a);
}

static bool has_port(const struct registry_port *ports, size_t count, uint16_t service_port)
{
    for (size_t i = 0; i < count; i++) {
        if (ports[i].service_port == service_port)
            return true;
    }
    return false;
}

static size_t join_ports(struct registry_port *out, size_t n, const struct registry_workload *w)
{
    for (size_t i = 0; i < w->port_count; i++) {
        if (has_port(out, n, w->ports[i].service_port))
            continue;
        out[n] = w->ports[i];
        out[n++].port = 0; /* each workload has its own */
    }
    return n;
}

static int by_port(const void *a, const void *b)
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
        n = join_ports(all, n, o->list[i]);
    qsort(all, n, sizeof(*all), by_port);
    s->seen.ports = ARENA_ARRAY(&s->ports, n, struct registry_port);
    s->seen.port_count = n;
    for (size_t i = 0; i < n; i++) {
        s->seen.ports[i] = all[i];
        s->seen.ports[i].name = arena_str(&s->ports, all[i].name);
        s->seen.ports[i].protocol = arena_str(&s->ports, all[i].protocol);
    }
    mem_free(all);
}

static bool same_ports(const struct registry_port *a, size_t an, const struct registry_port *b,
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

/* ---------------------------------------------------------------- look-ups */

static const struct host *find_host(const struct registry *r, struct str id)
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

static struct service *find_service(const struct registry *r, struct str ns, struct str name)
{
    struct arena a;
    struct service *s;

    arena_init(&a);
    s = map_get(&r->services, pair(&a, ns, name));
    arena_done(&a);
    return s;
}

const struct registry_service *registry_service(const struct registry *r, struct str ns,
                                                struct str name)
{
    const struct service *s = find_service(r, ns, name);

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
    w = map_get(&r->workloads, pair(&a, host, pair(&a, ns, service)));
    arena_done(&a);
    return w;
}

const struct registry_workload *registry_workload_each(const struct registry *r, size_t *i)
{
    const struct map_entry *e = map_each(&r->workloads, i);

    return e ? e->value : NULL;
}

static const struct offers *find_offers(const struct registry *r, struct str ns, struct str name)
{
    static const struct offers none;
    const struct offers *o;
    struct arena a;

    arena_init(&a);
    o = map_get(&r->offers, pair(&a, ns, name));
    arena_done(&a);
    return o ? o : &none;
}

/* -------------------------------------------------------------------- hosts */

bool registry_host_name_ok(struct str name)
{
    struct str label;

    if (name.n == 0 || name.n > NAME_BYTES || name.p[name.n - 1] == '.')
        return false;
    while (str_next(&name, '.', &label)) {
        if (!identity_label_ok(label))
            return false;
    }
    return true;
}

static int no_host(struct str id, struct err *err)
{
    return err_set(err, ERR_MISSING, "host %.*s is not known: see the list of hosts", STR_ARG(id));
}

static int write_txn(struct registry *r, struct store_txn *t, const struct ledger_audit *audit,
                     struct err *err)
{
    if (audit && ledger_audit_add(r->store, t, audit, err))
        return -1;
    return row_commit(r->store, t, "the registry was changed meanwhile: try again", err);
}

/* Put a changed host row, on condition that it is still the one we saw. `t` may hold more. */
static int put_host(struct registry *r, const struct host *old, const struct registry_host *h,
                    struct store_txn *t, const struct ledger_audit *audit, struct err *err)
{
    struct str path = registry_host_path(&t->arena, h->id);
    struct str row = registry_encode_host(&t->arena, h);

    store_txn_if_seq(t, path, old->mod_seq);
    store_txn_put(t, path, row);
    return write_txn(r, t, audit, err);
}

int registry_host_approve(struct registry *r, struct str id, bool unrestricted,
                          const struct registry_grant *grants, size_t count,
                          const struct ledger_audit *audit, struct err *err)
{
    const struct host *old = find_host(r, id);
    struct registry_host h;
    struct store_txn t;
    int rc;

    if (!old)
        return no_host(id, err);
    if (old->seen.state == REGISTRY_EJECTED)
        return err_set(err, ERR_DENIED,
                       "host %.*s was ejected: its key stays refused; let it join anew with a new "
                       "key",
                       STR_ARG(old->seen.name));
    h = old->seen;
    h.state = REGISTRY_ACTIVE;
    h.unrestricted = unrestricted;
    h.grant_count = unrestricted ? 0 : count;
    store_txn_init(&t);
    h.grants = ARENA_ARRAY(&t.arena, count, struct registry_grant);
    if (count)
        memcpy(h.grants, grants, count * sizeof(*grants));
    rc = put_host(r, old, &h, &t, audit, err);
    store_txn_done(&t);
    return rc;
}

int registry_host_rename(struct registry *r, struct str id, struct str name,
                         const struct ledger_audit *audit, struct err *err)
{
    const struct host *old = find_host(r, id);
    struct registry_host h;
    struct store_txn t;
    int rc;

    if (!old)
        return no_host(id, err);
    if (str_eq(name, old->seen.name))
        return 0;
    if (!registry_host_name_ok(name))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\" is not a host name: lower-case letters, digits and '-', in parts "
                       "separated by '.'",
                       STR_ARG(name));
    if (map_get(&r->names, name))
        return err_set(err, ERR_CONFLICT, "the name %.*s is taken by another host: choose another",
                       STR_ARG(name));
    h = old->seen;
    h.name = name;
    store_txn_init(&t);
    store_txn_if(&t, STORE_ABSENT, registry_name_path(&t.arena, name));
    store_txn_delete(&t, registry_name_path(&t.arena, old->seen.name));
    store_txn_put(&t, registry_name_path(&t.arena, name),
                  arena_printf(&t.arena, "{\"id\":\"%.*s\"}", STR_ARG(id)));
    rc = put_host(r, old, &h, &t, audit, err);
    store_txn_done(&t);
    return rc;
}

int registry_host_set(struct registry *r, struct str id, struct str address,
                      const struct registry_label *labels, size_t count,
                      const struct ledger_audit *audit, struct err *err)
{
    const struct host *old = find_host(r, id);
    struct registry_host h;
    struct store_txn t;
    int rc = 0;

    if (!old)
        return no_host(id, err);
    if (count > LABELS_MAX)
        return err_set(err, ERR_LIMIT, "a host has at most %u labels, not %zu", LABELS_MAX, count);
    store_txn_init(&t);
    h = old->seen;
    h.address = address;
    h.labels = ARENA_ARRAY(&t.arena, count, struct registry_label);
    h.label_count = count;
    if (count)
        memcpy(h.labels, labels, count * sizeof(*labels));
    if (!str_eq(registry_encode_host(&t.arena, &h), registry_encode_host(&t.arena, &old->seen)))
        rc = put_host(r, old, &h, &t, audit, err);
    store_txn_done(&t);
    return rc;
}

int registry_host_rejoin(struct registry *r, struct str id, int64_t joins, int64_t now_ms,
                         int64_t *next, struct err *err)
{
    const struct host *old = find_host(r, id);
    struct registry_host h;
    struct store_txn t;
    int rc;

    if (!old)
        return no_host(id, err);
    if (old->seen.state == REGISTRY_EJECTED)
        return err_set(err, ERR_DENIED, "host %.*s was ejected", STR_ARG(old->seen.name));
    if (joins == old->seen.joins - 1 && now_ms - old->seen.last_join_ms <= REJOIN_MS) {
        *next = old->seen.joins;
        return 0;
    }
    if (joins != old->seen.joins)
        return err_set(
            err, ERR_CONFLICT,
            "host %.*s shows join counter %lld where %lld was expected: two machines seem "
            "to run with one key (a cloned disk?); stop one, delete its key and let it "
            "join anew",
            STR_ARG(old->seen.name), (long long)joins, (long long)old->seen.joins);
    h = old->seen;
    h.joins++;
    h.last_join_ms = now_ms;
    store_txn_init(&t);
    rc = put_host(r, old, &h, &t, NULL, err);
    store_txn_done(&t);
    if (rc)
        return -1;
    *next = joins + 1;
    return 0;
}

int registry_host_delete(struct registry *r, struct str id, const struct ledger_audit *audit,
                         struct err *err)
{
    const struct host *old = find_host(r, id);
    struct store_txn t;
    struct str path;
    int rc;

    if (!old)
        return no_host(id, err);
    store_txn_init(&t);
    path = registry_host_path(&t.arena, id);
    store_txn_if_seq(&t, path, old->mod_seq);
    store_txn_delete(&t, path);
    store_txn_delete(&t, registry_name_path(&t.arena, old->seen.name));
    store_txn_delete(&t, registry_pin_path(&t.arena, old->seen.pin));
    store_txn_delete(&t, registry_workloads_path(&t.arena, id));
    rc = write_txn(r, &t, audit, err);
    store_txn_done(&t);
    return rc;
}

/* ------------------------------------------------------------------- grants */

static bool grant_field(struct str granted, struct str asked)
{
    return str_eq(granted, STR("*")) || str_eq(granted, asked);
}

bool registry_granted(bool unrestricted, const struct registry_grant *grants, size_t count,
                      struct str ns, struct str service, struct str account)
{
    for (size_t i = 0; i < count; i++) {
        struct str owner = grants[i].account.n ? grants[i].account : service;

        if (grant_field(grants[i].ns, ns) && grant_field(grants[i].service, service) &&
            grant_field(owner, account))
            return true;
    }
    return unrestricted;
}

static int outside(const struct registry_host *h, struct str ns, struct str service,
                   struct str account, struct err *err)
{
    struct buf b;

    buf_init(&b, 400);
    for (size_t i = 0; i < h->grant_count; i++) {
        const struct registry_grant *g = &h->grants[i];

        buf_printf(&b, "%s%.*s/%.*s", i ? ", " : "", STR_ARG(g->ns), STR_ARG(g->service));
        if (g->account.n)
            buf_printf(&b, " (account %.*s)", STR_ARG(g->account));
    }
    err_set(
        err, ERR_DENIED,
        "host %.*s may not offer %.*s/%.*s as account %.*s: it was granted %.*s; let it join with "
        "a token for %.*s/%.*s, or grant it to the host",
        STR_ARG(h->name), STR_ARG(ns), STR_ARG(service), STR_ARG(account),
        h->grant_count ? (int)b.n : 7, h->grant_count ? b.p : "nothing", STR_ARG(ns),
        STR_ARG(service));
    buf_done(&b);
    return -1;
}

/* Without a grant a host may take only what nobody has: neither the name of another's service nor the account, which
 * is the identity that others trust. */
static int claimed(const struct registry *r, const struct registry_host *h, struct str ns, struct str service,
                   struct str account, struct err *err)
{
    const struct registry_service *s;

    for (size_t i = 0; (s = registry_service_each(r, &i));) {
        bool same_name = str_eq(s->name, service);

        if (!str_eq(s->ns, ns) || str_eq(s->owner, h->id) || (!same_name && !str_eq(s->account, account)))
            continue;
        return err_set(err, ERR_DENIED,
                       "host %.*s may not offer %.*s/%.*s as account %.*s: the %s belongs to others; let it join with "
                       "a token for it (weft token create --service %.*s/%.*s)",
                       STR_ARG(h->name), STR_ARG(ns), STR_ARG(service), STR_ARG(account),
                       same_name ? "name" : "account", STR_ARG(ns), STR_ARG(service));
    }
    return 0;
}

int registry_may(const struct registry *r, struct str host, struct str ns, struct str service,
                 struct str account, struct err *err)
{
    const struct host *h = find_host(r, host);
    struct str wanted = account.n ? account : service;
    const struct service *s;

    if (!h)
        return no_host(host, err);
    if (h->seen.state == REGISTRY_PENDING)
        return err_set(err, ERR_DENIED,
                       "host %.*s waits for approval: approve it, then it may offer services",
                       STR_ARG(h->seen.name));
    if (h->seen.state == REGISTRY_EJECTED)
        return err_set(err, ERR_DENIED, "host %.*s was ejected: it has to join anew with a new key",
                       STR_ARG(h->seen.name));
    if (!registry_granted(h->seen.unrestricted, h->seen.grants, h->seen.grant_count, ns, service,
                          wanted))
        return outside(&h->seen, ns, service, wanted, err);
    if (str_starts(wanted, STR("host-")))
        return err_set(err, ERR_DENIED, "account %.*s is not for services: host-... is what callers of a host are",
                       STR_ARG(wanted));
    s = find_service(r, ns, service);
    if (s && !str_eq(s->seen.account, wanted))
        return err_set(err, ERR_DENIED,
                       "service %.*s/%.*s belongs to account %.*s, not to %.*s: set account = %.*s "
                       "in its definition, or choose another name",
                       STR_ARG(ns), STR_ARG(service), STR_ARG(s->seen.account), STR_ARG(wanted),
                       STR_ARG(s->seen.account));
    if (registry_granted(false, h->seen.grants, h->seen.grant_count, ns, service, wanted))
        return 0;
    return claimed(r, &h->seen, ns, service, wanted, err);
}

/* --------------------------------------------------------- virtual addresses */

static bool is_used(const struct registry *r, const struct addr *a)
{
    char text[ADDR_TEXT_MAX];

    return map_get(&r->used, str_from(addr_format_ip(a, text)));
}

/* One try. *done false: another server took an address meanwhile. */
static int claim_vip(struct registry *r, struct str key, struct str ns, struct str fqdn,
                     const struct vip *v, bool *done, struct err *err)
{
    char v4[ADDR_TEXT_MAX], v6[ADDR_TEXT_MAX];
    struct str paths[3], owner;
    struct store_result result;
    struct store_txn t;
    struct buf b;
    int rc;

    addr_format_ip(&v->v4, v4);
    addr_format_ip(&v->v6, v6);
    store_txn_init(&t);
    paths[0] = arena_printf(&t.arena, "/reg/vip/%.*s", STR_ARG(key));
    paths[1] = arena_printf(&t.arena, "/reg/vip4/%s", v4);
    paths[2] = arena_printf(&t.arena, "/reg/vip6/%s", v6);
    buf_init(&b, 4096);
    buf_addc(&b, '{');
    row_str(&b, "ns", ns);
    row_str(&b, "name", fqdn);
    owner = arena_printf(&t.arena, "%.*s}", STR_ARG(buf_str(&b)));
    row_str(&b, "v4", str_from(v4));
    row_str(&b, "v6", str_from(v6));
    buf_addc(&b, '}');
    for (size_t i = 0; i < COUNT(paths); i++) {
        store_txn_if(&t, STORE_ABSENT, paths[i]);
        store_txn_put(&t, paths[i], i ? owner : buf_str(&b));
    }
    rc = store_commit(r->store, &t, &result, err);
    if (rc == 0)
        *done = result.succeeded;
    buf_done(&b);
    store_txn_done(&t);
    return rc;
}

/* What the store knows and memory does not know yet. */
static int stored_vip(struct registry *r, struct str key, struct arena *a, struct vip *v,
                      bool *found, struct err *err)
{
    struct store_kv kv;
    struct node *m;

    if (store_get(r->store, arena_printf(a, "/reg/vip/%.*s", STR_ARG(key)), a, &kv, err))
        return -1;
    *found = false;
    if (!kv.mod_seq)
        return 0;
    if (row_parse(kv.value, "a virtual address", a, &m, err))
        return -1;
    *found = addr_parse_ip(node_text(m, "v4"), &v->v4) && addr_parse_ip(node_text(m, "v6"), &v->v6);
    return 0;
}

static int allocate_vip(struct registry *r, struct str key, struct str ns, struct str fqdn,
                        struct arena *a, struct vip *v, struct err *err)
{
    bool done = false;

    if (stored_vip(r, key, a, v, &done, err))
        return -1;
    for (uint64_t i = 0; !done && i < VIP_COUNT; i++) {
        vip_candidate(key, i, &v->v4, &v->v6);
        if (is_used(r, &v->v4) || is_used(r, &v->v6))
            continue;
        if (claim_vip(r, key, ns, fqdn, v, &done, err))
            return -1;
    }
    if (!done)
        return err_set(err, ERR_LIMIT,
                       "all %u virtual addresses are taken: delete services and forget their names",
                       VIP_COUNT);
    return 0;
}

int registry_vip(struct registry *r, struct str ns, struct str fqdn, struct addr *vip4,
                 struct addr *vip6, struct err *err)
{
    const struct vip *known;
    struct vip v = {0};
    struct arena a;
    struct str key;
    int rc = 0;

    if (ns.n + fqdn.n + 16 > STORE_KEY_BYTES)
        return err_set(err, ERR_INVALID, "the name %.*s is too long", STR_ARG(fqdn));
    arena_init(&a);
    key = pair(&a, ns, fqdn);
    known = map_get(&r->vips, key);
    if (known)
        v = *known;
    else
        rc = allocate_vip(r, key, ns, fqdn, &a, &v, err);
    arena_done(&a);
    if (rc)
        return -1;
    *vip4 = v.v4;
    *vip6 = v.v6;
    return 0;
}

int registry_vip_forget(struct registry *r, struct str ns, struct str fqdn, struct err *err)
{
    char text[ADDR_TEXT_MAX];
    const struct vip *v;
    struct map_entry *e;
    struct store_txn t;
    struct str key;
    int rc;

    for (size_t i = 0; (e = map_each(&r->services, &i));) {
        const struct service *s = e->value;

        if (str_eq(s->seen.ns, ns) && str_eq(s->seen.fqdn, fqdn))
            return err_set(err, ERR_CONFLICT,
                           "service %.*s still needs its virtual address: "
                           "delete the service first",
                           STR_ARG(fqdn));
    }
    store_txn_init(&t);
    key = pair(&t.arena, ns, fqdn);
    v = map_get(&r->vips, key);
    if (!v) {
        store_txn_done(&t);
        return err_set(err, ERR_MISSING, "%.*s has no virtual address", STR_ARG(fqdn));
    }
    store_txn_delete(&t, arena_printf(&t.arena, "/reg/vip/%.*s", STR_ARG(key)));
    store_txn_delete(&t, arena_printf(&t.arena, "/reg/vip4/%s", addr_format_ip(&v->v4, text)));
    store_txn_delete(&t, arena_printf(&t.arena, "/reg/vip6/%s", addr_format_ip(&v->v6, text)));
    rc = write_txn(r, &t, NULL, err);
    store_txn_done(&t);
    return rc;
}

/* ------------------------------------------------------------- registration */

/* One registration under way. */
struct registration {
    struct registry *r;
    const struct host *host;
    struct arena arena;
    struct registry_workload *list; /* with the defaults filled in */
    size_t count;
    struct registry_service *services; /* rows to be put */
    int64_t *seen_seq;                 /* of each, as it was; 0: new */
    size_t service_count;
};

static int check_ports(struct registry_workload *w, struct arena *a, struct err *err)
{
    struct registry_port *ports = ARENA_ARRAY(a, w->port_count + 1, struct registry_port);

    if (w->port_count > PORTS_MAX) /* none is a gateway: its Gateway documents say which */
        return err_set(err, ERR_INVALID, "service %.*s/%.*s: at most %u ports, not %zu",
                       STR_ARG(w->ns), STR_ARG(w->service), PORTS_MAX, w->port_count);
    for (size_t i = 0; i < w->port_count; i++) {
        ports[i] = w->ports[i];
        if (ports[i].port == 0)
            return err_set(err, ERR_INVALID, "service %.*s/%.*s: port is missing", STR_ARG(w->ns),
                           STR_ARG(w->service));
        if (ports[i].service_port == 0)
            ports[i].service_port = ports[i].port;
        if (has_port(ports, i, ports[i].service_port))
            return err_set(err, ERR_INVALID, "service %.*s/%.*s: service_port %u is given twice",
                           STR_ARG(w->ns), STR_ARG(w->service), ports[i].service_port);
    }
    w->ports = ports;
    return 0;
}

static int check_workload(struct registry_workload *w, struct arena *a, struct err *err)
{
    struct addr ip;

    if (w->account.n == 0)
        w->account = w->service;
    if (!identity_label_ok(w->ns) || !identity_label_ok(w->service) ||
        !identity_label_ok(w->account))
        return err_set(err, ERR_INVALID,
                       "service %.*s/%.*s as account %.*s: each is up to 63 lower-case letters, "
                       "digits and '-', with a letter or digit at both ends",
                       STR_ARG(w->ns), STR_ARG(w->service), STR_ARG(w->account));
    if (w->address_count == 0 || w->address_count > ADDRESS_MAX || w->label_count > LABELS_MAX)
        return err_set(
            err, ERR_INVALID,
            "service %.*s/%.*s: 1 to %u addresses and at most %u labels, not %zu and %zu",
            STR_ARG(w->ns), STR_ARG(w->service), ADDRESS_MAX, LABELS_MAX, w->address_count,
            w->label_count);
    for (size_t i = 0; i < w->address_count; i++) {
        if (!addr_parse_ip(w->addresses[i], &ip) || addr_is_any(&ip))
            return err_set(err, ERR_INVALID,
                           "service %.*s/%.*s: \"%.*s\" is not an IP address others could reach",
                           STR_ARG(w->ns), STR_ARG(w->service), STR_ARG(w->addresses[i]));
    }
    return check_ports(w, a, err);
}

static int check_all(struct registration *g, const struct registry_workload *workloads,
                     struct err *err)
{
    struct map twice;
    int rc = 0;

    g->list = ARENA_ARRAY(&g->arena, g->count, struct registry_workload);
    map_init(&twice);
    for (size_t i = 0; rc == 0 && i < g->count; i++) {
        struct registry_workload *w = &g->list[i];

        *w = workloads[i];
        w->host = g->host->seen.id;
        rc = check_workload(w, &g->arena, err);
        if (rc == 0 && map_put(&twice, pair(&g->arena, w->ns, w->service), w))
            rc = err_set(err, ERR_INVALID,
                         "service %.*s/%.*s is given twice on host %.*s: join the two",
                         STR_ARG(w->ns), STR_ARG(w->service), STR_ARG(g->host->seen.name));
        if (rc == 0)
            rc = registry_may(g->r, g->host->seen.id, w->ns, w->service, w->account, err);
    }
    map_done(&twice);
    return rc;
}

/* Two hosts must agree about the protocol of a port of one service. */
static int agree(const struct registry *r, const struct registry_workload *mine,
                 const struct registry_workload *other, struct err *err)
{
    for (size_t i = 0; i < mine->port_count; i++) {
        const struct registry_port *p = &mine->ports[i];

        for (size_t j = 0; j < other->port_count; j++) {
            const struct registry_host *h = registry_host(r, other->host);

            if (p->service_port != other->ports[j].service_port ||
                str_eq(p->protocol, other->ports[j].protocol))
                continue;
            return err_set(err, ERR_CONFLICT,
                           "port %u of service %.*s/%.*s is \"%.*s\" on host %.*s, not \"%.*s\": "
                           "say the same on every host",
                           p->service_port, STR_ARG(mine->ns), STR_ARG(mine->service),
                           STR_ARG(other->ports[j].protocol), STR_ARG(h ? h->name : other->host),
                           STR_ARG(p->protocol));
        }
    }
    return 0;
}

/* The row that a service has with this host's new workload (NULL: withdrawn); note it if it
 * changes. */
static int note_service(struct registration *g, struct str ns, struct str name,
                        const struct registry_workload *mine, int64_t now_ms, struct err *err)
{
    const struct service *old = find_service(g->r, ns, name);
    const struct offers *o = find_offers(g->r, ns, name);
    struct registry_service s = {.ns = ns, .name = name, .created_ms = now_ms};
    size_t room = mine ? mine->port_count : 0;

    for (size_t i = 0; i < o->count; i++)
        room += o->list[i]->port_count;
    s.ports = ARENA_ARRAY(&g->arena, room, struct registry_port);
    if (mine)
        s.port_count = join_ports(s.ports, 0, mine);
    for (size_t i = 0; i < o->count; i++) {
        if (str_eq(o->list[i]->host, g->host->seen.id))
            continue; /* what it offered so far */
        if (mine && agree(g->r, mine, o->list[i], err))
            return -1;
        s.port_count = join_ports(s.ports, s.port_count, o->list[i]);
    }
    qsort(s.ports, s.port_count, sizeof(*s.ports), by_port);
    if (old &&
        (s.port_count == 0 || same_ports(s.ports, s.port_count, old->known, old->known_count)))
        return 0;
    s.account = old ? old->seen.account : mine ? mine->account : name;
    s.owner = old ? old->seen.owner : STR_NONE;
    if (!old && mine &&
        !registry_granted(false, g->host->seen.grants, g->host->seen.grant_count, ns, name, mine->account))
        s.owner = g->host->seen.id;
    if (old)
        s.created_ms = old->seen.created_ms;
    g->seen_seq[g->service_count] = old ? old->mod_seq : 0;
    g->services[g->service_count++] = s;
    return 0;
}

static bool in_list(const struct registration *g, const struct registry_workload *w)
{
    for (size_t i = 0; i < g->count; i++) {
        if (str_eq(g->list[i].ns, w->ns) && str_eq(g->list[i].service, w->service))
            return true;
    }
    return false;
}

static int note_services(struct registration *g, const struct host_set *old, int64_t now_ms,
                         struct err *err)
{
    size_t room = g->count + (old ? old->count : 0);

    g->services = ARENA_ARRAY(&g->arena, room, struct registry_service);
    g->seen_seq = ARENA_ARRAY(&g->arena, room, int64_t);
    for (size_t i = 0; i < g->count; i++) {
        if (note_service(g, g->list[i].ns, g->list[i].service, &g->list[i], now_ms, err))
            return -1;
    }
    for (size_t i = 0; old && i < old->count; i++) {
        if (!in_list(g, &old->list[i]) &&
            note_service(g, old->list[i].ns, old->list[i].service, NULL, now_ms, err))
            return -1;
    }
    return 0;
}

static int give_addresses(struct registration *g, struct err *err)
{
    struct addr v4, v6;

    for (size_t i = 0; i < g->service_count; i++) {
        const struct registry_service *s = &g->services[i];
        struct str fqdn = arena_printf(&g->arena, "%.*s.%.*s.svc.%s", STR_ARG(s->name),
                                       STR_ARG(s->ns), g->r->domain);

        if (registry_vip(g->r, s->ns, fqdn, &v4, &v6, err))
            return -1;
    }
    return 0;
}

static void put_services(struct registration *g, size_t from, size_t to, struct store_txn *t)
{
    for (size_t i = from; i < to; i++) {
        struct str path = service_path(&t->arena, g->services[i].ns, g->services[i].name);

        store_txn_if_seq(t, path, g->seen_seq[i]);
        store_txn_put(t, path, encode_service(&t->arena, &g->services[i]));
    }
}

/* Everything in one transaction; only when more names are new than one can hold, the names that are
 * too many are claimed before. */
static int write_registration(struct registration *g, struct str row, const struct host_set *old,
                              const struct ledger_audit *audit, struct err *err)
{
    struct str host = g->host->seen.id;
    struct store_txn *t = MEM_NEW(struct store_txn);
    size_t at = 0;
    int rc = 0;

    store_txn_init(t);
    while (rc == 0 && g->service_count - at > BATCH_OPS) {
        put_services(g, at, at + BATCH_OPS, t);
        rc = write_txn(g->r, t, NULL, err);
        store_txn_clear(t);
        at += BATCH_OPS;
    }
    if (rc == 0) {
        put_services(g, at, g->service_count, t);
        store_txn_if_seq(t, registry_host_path(&t->arena, host), g->host->mod_seq);
        store_txn_if_seq(t, registry_workloads_path(&t->arena, host), old ? old->mod_seq : 0);
        if (g->count)
            store_txn_put(t, registry_workloads_path(&t->arena, host), row);
        else
            store_txn_delete(t, registry_workloads_path(&t->arena, host));
        rc = write_txn(g->r, t, audit, err);
    }
    store_txn_done(t);
    mem_free(t);
    return rc;
}

static int register_all(struct registration *g, const struct registry_workload *workloads,
                        int64_t now_ms, const struct ledger_audit *audit, bool *changed,
                        struct err *err)
{
    const struct host_set *old = map_get(&g->r->sets, g->host->seen.id);
    struct str row;

    if (check_all(g, workloads, err))
        return -1;
    row = encode_workloads(&g->arena, g->list, g->count);
    if (row.n == 0)
        return err_set(err, ERR_LIMIT,
                       "host %.*s registers more than %u bytes: leave some labels "
                       "out",
                       STR_ARG(g->host->seen.name), ROW_BYTES);
    *changed = old ? !str_eq(old->row, row) : g->count > 0;
    if (!*changed)
        return 0;
    if (note_services(g, old, now_ms, err) || give_addresses(g, err))
        return -1;
    return write_registration(g, row, old, audit, err);
}

int registry_register(struct registry *r, struct str host,
                      const struct registry_workload *workloads, size_t count, int64_t now_ms,
                      const struct ledger_audit *audit, bool *changed, struct err *err)
{
    struct registration g = {.r = r, .host = find_host(r, host), .count = count};
    bool wrote = false;
    int rc;

    if (!g.host)
        return no_host(host, err);
    if (count > LIMIT_SERVICES_PER_HOST)
        return err_set(err, ERR_LIMIT, "host %.*s registers %zu services: at most %u",
                       STR_ARG(g.host->seen.name), count, LIMIT_SERVICES_PER_HOST);
    arena_init(&g.arena);
    rc = register_all(&g, workloads, now_ms, audit, &wrote, err);
    arena_done(&g.arena);
    if (rc == 0 && changed)
        *changed = wrote;
    return rc;
}

int registry_service_delete(struct registry *r, struct str ns, struct str name,
                            const struct ledger_audit *audit, struct err *err)
{
    const struct service *s = find_service(r, ns, name);
    const struct offers *o = find_offers(r, ns, name);
    struct store_txn t;
    struct str path;
    int rc;

    if (!s)
        return err_set(err, ERR_MISSING, "service %.*s/%.*s is not known", STR_ARG(ns),
                       STR_ARG(name));
    if (o->count) {
        const struct registry_host *h = registry_host(r, o->list[0]->host);

        return err_set(err, ERR_CONFLICT,
                       "service %.*s/%.*s is still offered by host %.*s: remove it there first",
                       STR_ARG(ns), STR_ARG(name), STR_ARG(h ? h->name : o->list[0]->host));
    }
    store_txn_init(&t);
    path = service_path(&t.arena, ns, name);
    store_txn_if_seq(&t, path, s->mod_seq);
    store_txn_delete(&t, path);
    rc = write_txn(r, &t, audit, err);
    store_txn_done(&t);
    return rc;
}
