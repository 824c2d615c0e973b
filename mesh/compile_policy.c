/* Which DestinationRules count for a service: for those who call it, and on its own host. */
#include "mesh/compile_parts.h"

#include <string.h>

#include "mesh/catalog.h"
#include "mesh/decode.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/mesh_config.h"

/* ---- DestinationRules ---- */

/* Where rules are looked for: those of one namespace, for callers of another (or the same). */
struct shelf {
    struct str ns, caller;
    bool is_callers_own; /* the first look: what the caller's namespace says to itself */
    bool is_inbound;     /* for the service's own host, for which no rule of some callers is */
};

/* A namespace obeys first its own rules, as far as they are exported to it; but the root namespace only those that are private
 * to it, as the others come last, for itself as for everybody. */
static bool rule_usable(const struct build *b, const struct policy_rule *r, const struct shelf *at)
{
    int group = compile_visibility(b, r->object, at->caller);

    if (!str_eq(r->object->meta.ns, at->ns) || (at->is_inbound && r->spec->workload_selector))
        return false;
    if (at->is_callers_own && str_eq(at->caller, b->c->root_namespace))
        return group == 0;
    return group >= 0;
}

static bool any_usable(const struct build *b, struct str host, const struct shelf *at)
{
    const struct policy_rule *r = map_get(&b->policies_by_host, host);

    while (r && !rule_usable(b, r, at))
        r = r->next;
    return r != NULL;
}

/* The most specific host among the rules of one namespace, or empty. */
static struct str best_policy_host(struct build *b, struct str fqdn, const struct shelf *at)
{
    char *text;

    if (any_usable(b, fqdn, at))
        return fqdn;
    if (!b->has_wild_policies || fqdn.n == 0)
        return STR_NONE;
    text = arena_alloc(&b->tmp, fqdn.n);
    memcpy(text, fqdn.p, fqdn.n);
    for (size_t i = 0; i + 1 < fqdn.n; i++) { /* "*.b.c" of "a.b.c", "*b.c", "*.c", ... */
        struct str wild = {text + i, fqdn.n - i};

        text[i] = '*';
        if (any_usable(b, wild, at))
            return wild;
    }
    return any_usable(b, STR("*"), at) ? STR("*") : STR_NONE;
}

/* Is what the one exports to within what the other exports to? */
static bool exports_within(const struct build *b, const struct policy_rule *inner, const struct policy_rule *outer)
{
    struct exports x = mesh_exports(b->mesh, inner->object), y = mesh_exports(b->mesh, outer->object);

    if (y.count == 0 || compile_has_export(y.to, y.count, STR("*")))
        return true;
    if (x.count == 0)
        return false;
    for (size_t i = 0; i < x.count; i++) {
        if (!compile_has_export(y.to, y.count, x.to[i]))
            return false;
    }
    return true;
}

static void add_subsets(struct policy *out, const struct destination_rule *dr)
{
    for (size_t i = 0; i < dr->subsets_count; i++) {
        bool known = false;

        for (size_t k = 0; k < out->subset_count; k++)
            known = known || str_eq(out->subsets[k]->name, dr->subsets[i].name);
        if (!known)
            out->subsets[out->subset_count++] = &dr->subsets[i];
    }
}

/* All rules of that namespace and host, merged (fields.md 4.6). */
static void merge_policies(struct build *b, struct str host, const struct shelf *at,
                           struct policy *out)
{
    const struct policy_rule *first = NULL;
    size_t room_for = 0;

    for (const struct policy_rule *r = map_get(&b->policies_by_host, host); r; r = r->next)
        room_for += r->spec->subsets_count;
    out->subsets = ARENA_ARRAY(&b->tmp, room_for + 1, const struct subset *);
    for (const struct policy_rule *r = map_get(&b->policies_by_host, host); r; r = r->next) {
        if (!rule_usable(b, r, at) || (first && !exports_within(b, first, r)))
            continue;
        if (!first)
            first = r;
        if (!out->top)
            out->top = r->spec->traffic_policy;
        add_subsets(out, r->spec);
    }
}

/* Namespace of the caller, then of the service, then the root: the first that has a match wins
 * whole. */
static void find_policy(struct build *b, const struct service *s, struct str caller, bool is_inbound, struct policy *out)
{
    const struct shelf shelves[] = {
        {caller, caller, true, is_inbound},
        {s->ns, caller, false, is_inbound},
        {b->c->root_namespace, caller, false, is_inbound},
    };
    struct str fqdn = compile_lower(&b->tmp, s->fqdn);

    *out = (struct policy){0};
    for (size_t i = 0; i < COUNT(shelves); i++) {
        struct str host = best_policy_host(b, fqdn, &shelves[i]);

        if (host.n) {
            merge_policies(b, host, &shelves[i], out);
            return;
        }
    }
}

void compile_find_policy(struct build *b, const struct service *s, struct str caller, struct policy *out)
{
    find_policy(b, s, caller, false, out);
}

/* ---- blocks ---- */

static const struct port_traffic_policy *port_entry(const struct traffic_policy *p, uint16_t port)
{
    for (size_t i = 0; i < p->port_level_count; i++) {
        if (p->port_level[i].port.number == port)
            return &p->port_level[i];
    }
    return NULL;
}

/* A policy's blocks go over those of the one before; an entry for the port counts alone, and what
 * it omits is the default. A retry budget and what wraps connections are not among what it replaces. */
void compile_lay_over(const struct traffic_policy *p, uint16_t port, struct blocks *out)
{
    const struct port_traffic_policy *l;

    if (!p)
        return;
    if (p->retry_budget)
        out->budget = p->retry_budget;
    if (p->tunnel || p->proxy_protocol) { /* one excludes the other */
        out->tunnel = p->tunnel;
        out->proxy = p->proxy_protocol;
    }
    l = port_entry(p, port);
    if (l) {
        out->balance = l->load_balancer;
        out->pool = l->connection_pool;
        out->tls = l->tls;
        out->outlier = l->outlier_detection;
        return;
    }
    if (p->load_balancer)
        out->balance = p->load_balancer;
    if (p->connection_pool)
        out->pool = p->connection_pool;
    if (p->tls)
        out->tls = p->tls;
    if (p->outlier_detection)
        out->outlier = p->outlier_detection;
}

/* ---- on the service's own host ---- */

static const struct connection_pool *pool_of(struct build *b, struct str ns, struct str fqdn, uint16_t port)
{
    const struct service *s = map_get(&b->c->by_service, model_service_key(&b->tmp, ns, fqdn));
    struct blocks blocks = {0};
    struct policy policy;

    if (!s)
        return NULL;
    find_policy(b, s, ns, true, &policy);
    compile_lay_over(policy.top, port, &blocks);
    return blocks.pool;
}

/* What the mesh runs itself first, then the oldest. */
static int compare_offers(const struct object *x, const struct object *y)
{
    bool x_is_service = x->meta.kind->id == KIND_SERVICE, y_is_service = y->meta.kind->id == KIND_SERVICE;

    return x_is_service != y_is_service ? (x_is_service ? -1 : 1) : object_older_first(x, y);
}

const struct object *compile_next_offer(struct build *b, const struct local_service *s, const struct object *after,
                                        struct offer *out)
{
    const struct object *best = NULL;
    struct offer offer;

    for (size_t i = 0; i < b->c->object_count; i++) {
        const struct object *o = b->c->objects[i];

        if (!catalog_offers(b->c, o, s, &b->tmp, &offer) || (after && compare_offers(o, after) <= 0) ||
            (best && compare_offers(o, best) > 0))
            continue;
        best = o;
        *out = offer;
    }
    return best;
}

static const struct connection_pool *pool_of_offer(struct build *b, const struct local_service *s, const struct offer *offer,
                                                   uint16_t port)
{
    const struct connection_pool *pool = NULL;

    for (size_t i = 0; port && !pool && i < offer->host_count; i++)
        pool = pool_of(b, s->ns, offer->hosts[i], port);
    return pool;
}

/* Of the registered port: its own name's first, then those of services that select it. */
const struct connection_pool *compile_own_pool(struct build *b, const struct inbound *in)
{
    const struct local_service *s = in->service;
    const struct connection_pool *pool;
    const struct object *o = NULL;
    struct offer offer;

    if (in->offer)
        return pool_of_offer(b, s, in->offer, in->offered_port);
    pool = pool_of(b, s->ns, s->fqdn, s->service_port);
    while (!pool && (o = compile_next_offer(b, s, o, &offer)))
        pool = pool_of_offer(b, s, &offer, offer.port);
    return pool;
}
