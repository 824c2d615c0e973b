#include "mesh/scope.h"

#include <ctype.h>

#include "mesh/decode.h"
#include "mesh/kinds/kinds.h"
#include "mesh/match.h"

#define HOST_BYTES_MAX 256

/* ---- which Sidecar ---- */

enum rank { RANK_NONE, RANK_ROOT, RANK_NAMESPACE, RANK_SELECTOR };

static enum rank rank_of(const struct object *o, struct str root_namespace, struct str ns, const struct labels *labels)
{
    const struct label_selector *selector = ((const struct sidecar *)o->spec)->workload_selector;

    if (str_eq(o->meta.ns, ns)) {
        if (!selector)
            return RANK_NAMESPACE;
        return labels_match(labels, &selector->labels) ? RANK_SELECTOR : RANK_NONE;
    }
    return str_eq(o->meta.ns, root_namespace) && !selector ? RANK_ROOT : RANK_NONE;
}

const struct object *scope_sidecar(struct object *const *objects, size_t count, struct str root_namespace, struct str ns,
                                   const struct labels *labels)
{
    const struct object *best = NULL;
    enum rank best_rank = RANK_NONE;

    for (size_t i = 0; i < count; i++) {
        enum rank rank = RANK_NONE;

        if (objects[i]->meta.kind->id == KIND_SIDECAR)
            rank = rank_of(objects[i], root_namespace, ns, labels);
        if (rank == RANK_NONE || rank < best_rank || (rank == best_rank && object_older_first(objects[i], best) > 0))
            continue;
        best = objects[i];
        best_rank = rank;
    }
    return best;
}

/* ---- egress, prepared ---- */

static struct str lower(char room[HOST_BYTES_MAX], struct str s)
{
    for (size_t i = 0; i < s.n && i < HOST_BYTES_MAX; i++)
        room[i] = (char)tolower((unsigned char)s.p[i]);
    return s.n <= HOST_BYTES_MAX ? (struct str){room, s.n} : STR_NONE;
}

static void add_exact(struct scope_entry *e, struct scope_host *h)
{
    char room[HOST_BYTES_MAX];
    struct str host = lower(room, h->host);

    h->next = map_get(&e->exact, host);
    map_put(&e->exact, host, h);
}

/* "ns/host", as of a caller in `own`; a lone "~" is no namespace at all. */
static void add_host(struct scope_entry *e, struct str text, struct str own, bool wild)
{
    struct scope_host h = {.host = text};

    if (!str_cut(&h.host, '/', &h.ns) || str_eq(h.ns, STR("~")) || str_has(h.host, '*') != wild)
        return;
    if (str_starts(h.ns, STR("~"))) {
        h.ns = str_sub(h.ns, 1, h.ns.n);
        e->away[e->away_count++] = h;
        return;
    }
    if (str_eq(h.ns, STR(".")))
        h.ns = own;
    else if (str_eq(h.ns, STR("*")))
        h.ns = STR_NONE;
    e->hosts[e->host_count++] = h;
}

static void fill_entry(struct scope *s, struct scope_entry *e, const struct sidecar_egress *egress, struct str own)
{
    e->egress = egress;
    e->hosts = ARENA_ARRAY(&s->arena, egress->hosts_count + 1, struct scope_host);
    e->away = ARENA_ARRAY(&s->arena, egress->hosts_count + 1, struct scope_host);
    map_init(&e->exact);
    for (size_t i = 0; i < egress->hosts_count; i++)
        add_host(e, egress->hosts[i], own, true);
    e->wild_count = e->host_count;
    for (size_t i = 0; i < egress->hosts_count; i++)
        add_host(e, egress->hosts[i], own, false);
    for (size_t i = e->wild_count; i < e->host_count; i++)
        add_exact(e, &e->hosts[i]);
}

void scope_init(struct scope *s, struct object *const *objects, size_t count, struct str root_namespace,
                const struct caller *who)
{
    const struct sidecar *spec;

    *s = (struct scope){0};
    arena_init(&s->arena);
    if (!who->is_gateway)
        s->object = scope_sidecar(objects, count, root_namespace, who->ns, who->labels);
    if (!s->object)
        return;
    spec = s->object->spec;
    s->entries = ARENA_ARRAY(&s->arena, spec->egress_count + 1, struct scope_entry);
    s->entry_count = spec->egress_count;
    for (size_t i = 0; i < s->entry_count; i++)
        fill_entry(s, &s->entries[i], &spec->egress[i], who->ns);
}

void scope_done(struct scope *s)
{
    for (size_t i = 0; i < s->entry_count; i++)
        map_done(&s->entries[i].exact);
    arena_done(&s->arena);
}

/* ---- what is seen ---- */

static bool in_namespace(const struct scope_host *h, struct str ns)
{
    return h->ns.n == 0 || str_eq(h->ns, ns);
}

static bool is_away(const struct scope_entry *e, struct str ns, struct str host)
{
    for (size_t i = 0; i < e->away_count; i++) {
        if (in_namespace(&e->away[i], ns) && match_host_covers(e->away[i].host, host))
            return true;
    }
    return false;
}

static bool has_exact(const struct scope_entry *e, struct str ns, struct str host)
{
    char room[HOST_BYTES_MAX];
    const struct scope_host *h = map_get(&e->exact, lower(room, host));

    while (h && !in_namespace(h, ns))
        h = h->next;
    return h != NULL;
}

static bool entry_sees(const struct scope_entry *e, struct str ns, struct str host)
{
    if (is_away(e, ns, host))
        return false;
    for (size_t i = 0; i < e->wild_count; i++) {
        if (in_namespace(&e->hosts[i], ns) && match_host_covers(e->hosts[i].host, host))
            return true;
    }
    return has_exact(e, ns, host);
}

/* Hosts of rules may be wider than what is seen: it is enough that both have a name in common. */
static bool entry_takes(const struct scope_entry *e, struct str ns, struct str host)
{
    if (entry_sees(e, ns, host))
        return true;
    if (!str_has(host, '*') || is_away(e, ns, host))
        return false;
    for (size_t i = 0; i < e->host_count; i++) {
        if (in_namespace(&e->hosts[i], ns) && match_host_covers(host, e->hosts[i].host))
            return true;
    }
    return false;
}

bool scope_is_explicit(const struct scope_entry *e)
{
    return e->egress->port && e->egress->capture == SIDECAR_CAPTURE_NONE;
}

static bool has_port(const struct service *service, uint32_t number)
{
    for (size_t i = 0; i < service->port_count; i++) {
        if (service->ports[i].number == number)
            return true;
    }
    return false;
}

bool scope_entry_sees(const struct scope_entry *e, const struct service *service)
{
    if (e->egress->port && !has_port(service, e->egress->port->number))
        return false;
    return entry_sees(e, service->ns, service->fqdn);
}

/* The entry that lets this port be seen. */
static const struct scope_entry *entry_for(const struct scope *s, const struct service *service, uint16_t port)
{
    const struct scope_entry *rest = NULL;
    bool is_taken = false;

    for (size_t i = 0; i < s->entry_count; i++) {
        const struct scope_entry *e = &s->entries[i];

        if (scope_is_explicit(e))
            continue;
        if (!e->egress->port) {
            rest = e;
        } else if (e->egress->port->number == port) {
            is_taken = true;
            if (entry_sees(e, service->ns, service->fqdn))
                return e;
        }
    }
    return !is_taken && rest && entry_sees(rest, service->ns, service->fqdn) ? rest : NULL;
}

bool scope_sees_port(const struct scope *s, const struct service *service, uint16_t port)
{
    return s->entry_count == 0 || entry_for(s, service, port);
}

bool scope_sees(const struct scope *s, const struct service *service)
{
    if (s->entry_count == 0)
        return true;
    for (size_t i = 0; i < service->port_count; i++) {
        if (entry_for(s, service, service->ports[i].number))
            return true;
    }
    for (size_t i = 0; i < s->entry_count; i++) {
        if (scope_is_explicit(&s->entries[i]) && scope_entry_sees(&s->entries[i], service))
            return true;
    }
    return false;
}

const struct sidecar_port *scope_port(const struct scope *s, const struct service *service, uint16_t port)
{
    const struct scope_entry *e = entry_for(s, service, port);

    return e ? e->egress->port : NULL;
}

bool scope_takes_rule(const struct scope *s, struct str ns, struct str host)
{
    for (size_t i = 0; i < s->entry_count; i++) {
        if (entry_takes(&s->entries[i], ns, host))
            return true;
    }
    return s->entry_count == 0;
}
