/* Registration: a host says all that it offers. */
#include "store/registry_parts.h"

#include <stdlib.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/identity.h"

#define BATCH_OPS   100u
#define PORTS_MAX   64u /* of one workload */
#define ADDRESS_MAX 16u

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
        if (registry_has_port(ports, i, ports[i].service_port))
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
        if (rc == 0 && map_put(&twice, registry_pair(&g->arena, w->ns, w->service), w))
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
    const struct service *old = registry_find_service(g->r, ns, name);
    const struct offers *o = registry_find_offers(g->r, ns, name);
    struct registry_service s = {.ns = ns, .name = name, .created_ms = now_ms};
    size_t room = mine ? mine->port_count : 0;

    for (size_t i = 0; i < o->count; i++)
        room += o->list[i]->port_count;
    s.ports = ARENA_ARRAY(&g->arena, room, struct registry_port);
    if (mine)
        s.port_count = registry_join_ports(s.ports, 0, mine);
    for (size_t i = 0; i < o->count; i++) {
        if (str_eq(o->list[i]->host, g->host->seen.id))
            continue; /* what it offered so far */
        if (mine && agree(g->r, mine, o->list[i], err))
            return -1;
        s.port_count = registry_join_ports(s.ports, s.port_count, o->list[i]);
    }
    qsort(s.ports, s.port_count, sizeof(*s.ports), registry_by_port);
    if (old && (s.port_count == 0 ||
                registry_same_ports(s.ports, s.port_count, old->known, old->known_count)))
        return 0;
    s.account = old ? old->seen.account : mine ? mine->account : name;
    s.owner = old ? old->seen.owner : STR_NONE;
    if (!old && mine &&
        !registry_granted(false, g->host->seen.grants, g->host->seen.grant_count, ns, name,
                          mine->account))
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
        struct str path = registry_service_path(&t->arena, g->services[i].ns, g->services[i].name);

        store_txn_if_seq(t, path, g->seen_seq[i]);
        store_txn_put(t, path, registry_encode_service(&t->arena, &g->services[i]));
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
        rc = registry_write_txn(g->r, t, NULL, err);
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
        rc = registry_write_txn(g->r, t, audit, err);
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
    row = registry_encode_workloads(&g->arena, g->list, g->count);
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
    struct registration g = {.r = r, .host = registry_find_host(r, host), .count = count};
    bool wrote = false;
    int rc;

    if (!g.host)
        return registry_no_host(host, err);
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
    const struct service *s = registry_find_service(r, ns, name);
    const struct offers *o = registry_find_offers(r, ns, name);
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
    path = registry_service_path(&t.arena, ns, name);
    store_txn_if_seq(&t, path, s->mod_seq);
    store_txn_delete(&t, path);
    rc = registry_write_txn(r, &t, audit, err);
    store_txn_done(&t);
    return rc;
}
