#include "mesh/validate.h"

#include <string.h>

#include "mesh/base/map.h"
#include "mesh/kinds/check.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/rate_limit.h"
#include "mesh/kinds/service_entry.h"
#include "mesh/kinds/sidecar.h"
#include "mesh/kinds/virtual_service.h"

void validate_object(const struct object *o, struct findings *f)
{
    struct check c = {&o->meta, f};

    if (o->meta.kind->validate)
        o->meta.kind->validate(&c, o->spec);
}

/* ---- the whole set ---- */

/* An object in the list of one of its hosts. */
struct entry {
    struct entry *next;
    const struct object *object;
};

struct world {
    const struct object_list *all;
    const struct validate_scope *scope;
    struct str domain;
    struct map by_name;    /* "Kind ns/name" -> struct object */
    struct map documented; /* FQDN of a Service or host of a ServiceEntry -> struct object;
                              wildcards are looked for */
    struct map entries;    /* namespace and host -> struct entry, of ServiceEntries */
    struct map mesh_hosts; /* FQDN -> struct entry, of VirtualServices for callers in the mesh */
    struct map policies;   /* FQDN -> struct entry, of DestinationRules; those of wildcards are at "*" */
    struct arena scratch;
};

static void add_to(struct world *w, struct map *lists, struct str key, const struct object *o)
{
    struct entry *e = ARENA_NEW(&w->scratch, struct entry);

    *e = (struct entry){map_get(lists, key), o};
    map_put(lists, key, e);
}

static void add_entry(struct world *w, struct object *o)
{
    const struct service_entry *se = o->spec;

    for (size_t i = 0; i < se->hosts_count; i++) {
        add_to(w, &w->entries, model_service_key(&w->scratch, o->meta.ns, se->hosts[i]), o);
        map_put(&w->documented, model_fqdn(&w->scratch, se->hosts[i], o->meta.ns, w->domain), o);
    }
}

static void add_virtual_service(struct world *w, const struct object *o)
{
    const struct virtual_service *vs = o->spec;

    for (size_t i = 0; virtual_service_is_for_mesh(vs) && i < vs->hosts_count; i++)
        add_to(w, &w->mesh_hosts, model_fqdn(&w->scratch, vs->hosts[i], o->meta.ns, w->domain), o);
}

static void add_policy(struct world *w, const struct object *o)
{
    const struct destination_rule *r = o->spec;
    struct str fqdn = model_fqdn(&w->scratch, r->host, o->meta.ns, w->domain);

    add_to(w, &w->policies, str_has(fqdn, '*') ? STR("*") : fqdn, o);
}

static void world_init(struct world *w, const struct object_list *all,
                       const struct validate_scope *scope)
{
    w->all = all;
    w->scope = scope;
    w->domain = scope && scope->domain ? str_from(scope->domain) : STR("cluster.local");
    map_init(&w->by_name);
    map_init(&w->documented);
    map_init(&w->entries);
    map_init(&w->mesh_hosts);
    map_init(&w->policies);
    arena_init(&w->scratch);
    for (size_t i = 0; i < all->count; i++) {
        struct object *o = all->items[i];

        map_put(&w->by_name, object_label(&w->scratch, &o->meta), o);
        if (o->meta.kind->id == KIND_SERVICE)
            map_put(&w->documented, model_fqdn(&w->scratch, o->meta.name, o->meta.ns, w->domain),
                    o);
        if (o->meta.kind->id == KIND_SERVICE_ENTRY)
            add_entry(w, o);
        if (o->meta.kind->id == KIND_VIRTUAL_SERVICE)
            add_virtual_service(w, o);
        if (o->meta.kind->id == KIND_DESTINATION_RULE)
            add_policy(w, o);
    }
}

static void world_done(struct world *w)
{
    map_done(&w->by_name);
    map_done(&w->documented);
    map_done(&w->entries);
    map_done(&w->mesh_hosts);
    map_done(&w->policies);
    arena_done(&w->scratch);
}

static struct str gateway_label(struct world *w, struct str ref, struct str ns)
{
    struct str full = model_gateway_ref(&w->scratch, ref, ns);

    return arena_printf(&w->scratch, "%s %.*s", kind_get(KIND_GATEWAY)->name, STR_ARG(full));
}

static bool same_name(const struct object *a, const struct object *b)
{
    return str_eq(a->meta.name, b->meta.name) && str_eq(a->meta.ns, b->meta.ns);
}

static void check_gateways(struct world *w, const struct check *c, const struct node *message,
                           const struct str *gateways, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct finding *x;

        if (str_eq(gateways[i], STR("mesh")) || map_get(&w->by_name, gateway_label(w, gateways[i], c->m->ns)))
            continue;
        x = FAIL(c, check_element(message, "gateways", i), FIND_REFERENCE, "there is no %.*s",
                 STR_ARG(gateway_label(w, gateways[i], c->m->ns)));
        x->hint =
            STR("apply the Gateway first or together with this, or name it as \"namespace/name\"");
    }
}

static bool has_subset(const struct destination_rule *r, struct str subset)
{
    for (size_t i = 0; i < r->subsets_count; i++) {
        if (str_eq(r->subsets[i].name, subset))
            return true;
    }
    return false;
}

static bool declares_subset(const struct world *w, struct str fqdn, struct str subset)
{
    const struct entry *e;

    for (e = map_get(&w->policies, fqdn); e; e = e->next) {
        if (has_subset(e->object->spec, subset))
            return true;
    }
    for (e = map_get(&w->policies, STR("*")); e; e = e->next) {
        const struct destination_rule *r = e->object->spec;

        if (match_host(r->host, fqdn) && has_subset(r, subset))
            return true;
    }
    return false;
}

static bool knows_host(const struct world *w, struct str fqdn, struct str ns)
{
    struct map_entry *e;

    if (map_get(&w->documented, fqdn))
        return true;
    for (size_t i = 0; (e = map_each(&w->documented, &i));) {
        if (e->value && str_starts(e->key, STR("*")) && match_host(e->key, fqdn))
            return true;
    }
    return w->scope && w->scope->knows_host && w->scope->knows_host(w->scope->arg, fqdn, ns);
}

/* A name that nobody has: why, perhaps (fields.md 4.7). */
static struct str name_hint(struct world *w, struct findings *f, struct str host, struct str ns)
{
    if (!str_has(host, '.'))
        return arena_printf(f->arena,
                            "a short name is a service of the namespace %.*s; one of another is named "
                            "%.*s.NAMESPACE.svc.%.*s",
                            STR_ARG(ns), STR_ARG(host), STR_ARG(w->domain));
    if (!str_ends(host, w->domain) && knows_host(w, arena_printf(&w->scratch, "%.*s.svc.%.*s", STR_ARG(host),
                                                                 STR_ARG(w->domain)), ns))
        return arena_printf(f->arena, "only a short name is completed: write %.*s.svc.%.*s", STR_ARG(host),
                            STR_ARG(w->domain));
    return STR_NONE;
}

static void check_policy_host(struct world *w, const struct check *c, const struct destination_rule *r)
{
    struct str fqdn = model_fqdn(&w->scratch, r->host, c->m->ns, w->domain);

    if (w->scope && !str_has(fqdn, '*') && !knows_host(w, fqdn, c->m->ns))
        WARN(c, check_member(r->node, "host"), "no service is known as %.*s: the rule has no effect until there is one",
             STR_ARG(fqdn))
            ->hint = name_hint(w, c->f, r->host, c->m->ns);
}

static void check_destination(struct world *w, const struct check *c, const struct destination *d)
{
    struct str fqdn = model_fqdn(&w->scratch, d->host, c->m->ns, w->domain);

    if (d->subset.n && !declares_subset(w, fqdn, d->subset)) {
        struct finding *x = FAIL(c, check_member(d->node, "subset"), FIND_REFERENCE,
                                 "no DestinationRule for %.*s declares the subset \"%.*s\"",
                                 STR_ARG(fqdn), STR_ARG(d->subset));

        x->hint = STR("apply the DestinationRule first or together with this");
    }
    if (w->scope && !knows_host(w, fqdn, c->m->ns))
        WARN(c, check_member(d->node, "host"),
             "no service is known as %.*s: requests for it are refused until there is one",
             STR_ARG(fqdn))
            ->hint = name_hint(w, c->f, d->host, c->m->ns);
}

static void check_destinations(struct world *w, const struct check *c,
                               const struct rule_destination *route, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_destination(w, c, &route[i].destination);
}

static void check_l4_references(struct world *w, const struct check *c, const struct l4_rule *rules,
                                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check_destinations(w, c, rules[i].route, rules[i].route_count);
        for (size_t j = 0; j < rules[i].match_count; j++)
            check_gateways(w, c, rules[i].match[j].node, rules[i].match[j].gateways,
                           rules[i].match[j].gateways_count);
    }
}

static void check_references(struct world *w, const struct check *c,
                             const struct virtual_service *vs)
{
    check_gateways(w, c, vs->node, vs->gateways, vs->gateways_count);
    for (size_t i = 0; i < vs->http_count; i++) {
        const struct http_rule *r = &vs->http[i];

        check_destinations(w, c, r->route, r->route_count);
        if (r->mirror)
            check_destination(w, c, r->mirror);
        for (size_t j = 0; j < r->mirrors_count; j++)
            check_destination(w, c, &r->mirrors[j].destination);
        for (size_t j = 0; j < r->match_count; j++)
            check_gateways(w, c, r->match[j].node, r->match[j].gateways,
                           r->match[j].gateways_count);
    }
    check_l4_references(w, c, vs->tcp, vs->tcp_count);
    check_l4_references(w, c, vs->tls, vs->tls_count);
}

/* ---- VirtualServices of one host ---- */

static bool is_seen_from(const struct virtual_service *vs, struct str own, struct str ns)
{
    for (size_t i = 0; i < vs->export_to_count; i++) {
        if (str_eq(vs->export_to[i], STR("*")) || str_eq(str_eq(vs->export_to[i], STR(".")) ? own : vs->export_to[i], ns))
            return true;
    }
    return vs->export_to_count == 0;
}

/* Is there a namespace that sees both? */
static bool are_seen_together(const struct object *x, const struct object *y)
{
    const struct virtual_service *a = x->spec, *b = y->spec;

    if (a->export_to_count == 0 || str_eq(a->export_to[0], STR("*")))
        return true;
    for (size_t i = 0; i < a->export_to_count; i++) {
        if (is_seen_from(b, y->meta.ns, str_eq(a->export_to[i], STR(".")) ? x->meta.ns : a->export_to[i]))
            return true;
    }
    return false;
}

/* A short name is meant to be a service of this namespace. */
static void check_short_hosts(struct world *w, const struct check *c, const struct virtual_service *vs)
{
    for (size_t i = 0; w->scope && virtual_service_is_for_mesh(vs) && i < vs->hosts_count; i++) {
        struct str host = vs->hosts[i], fqdn = model_fqdn(&w->scratch, host, c->m->ns, w->domain);

        if (str_has(host, '.') || str_has(host, '*') || knows_host(w, fqdn, c->m->ns))
            continue;
        WARN(c, check_element(vs->node, "hosts", i),
             "no service is known as %.*s: the rules have no effect until there is one", STR_ARG(fqdn))
            ->hint = name_hint(w, c->f, host, c->m->ns);
    }
}

static void check_twin_hosts(struct world *w, const struct check *c, const struct object *o)
{
    const struct virtual_service *vs = o->spec;

    for (size_t i = 0; virtual_service_is_for_mesh(vs) && i < vs->hosts_count; i++) {
        struct str fqdn = model_fqdn(&w->scratch, vs->hosts[i], o->meta.ns, w->domain);
        const struct entry *e = map_get(&w->mesh_hosts, fqdn);

        while (e && (same_name(e->object, o) || !are_seen_together(o, e->object)))
            e = e->next;
        if (!e)
            continue;
        WARN(c, check_element(vs->node, "hosts", i),
             "%.*s has rules for %.*s too; callers in the mesh obey one of the two",
             STR_ARG(object_label(&w->scratch, &e->object->meta)), STR_ARG(fqdn))
            ->hint = STR("the nearer exportTo counts, then the older one; put all rules of a host into one "
                         "VirtualService, or use delegates");
    }
}

/* ---- ServiceEntries that have no part in their host ---- */

static void warn_of_no_part(const struct check *c, const struct service_entry *e, size_t host, struct str with)
{
    WARN(c, check_element(e->node, "hosts", host),
         "%.*s defines %.*s too, and says otherwise: only the older of the two counts", STR_ARG(with),
         STR_ARG(e->hosts[host]));
}

/* Another entry of the namespace that the host cannot be shared with, or NULL. */
static const struct object *rival_of(struct world *w, const struct object *o, struct str host)
{
    const struct entry *e = map_get(&w->entries, model_service_key(&w->scratch, o->meta.ns, host));

    while (e && (str_eq(e->object->meta.name, o->meta.name) || service_entries_agree(o, e->object)))
        e = e->next;
    return e ? e->object : NULL;
}

/* Does the mesh run a service of that name in the namespace of the entry? */
static bool is_run_here(struct world *w, const struct object *o, struct str host)
{
    const struct validate_scope *scope = w->scope;
    struct str fqdn = model_fqdn(&w->scratch, host, o->meta.ns, w->domain);
    struct str own = arena_printf(&w->scratch, ".%.*s.svc.%.*s", STR_ARG(o->meta.ns), STR_ARG(w->domain));

    return str_ends(fqdn, own) && scope && scope->knows_host && scope->knows_host(scope->arg, fqdn, o->meta.ns);
}

static void check_shared_hosts(struct world *w, const struct check *c, const struct object *o)
{
    const struct service_entry *e = o->spec;

    for (size_t i = 0; i < e->hosts_count; i++) {
        const struct object *rival = rival_of(w, o, e->hosts[i]);

        if (rival)
            warn_of_no_part(c, e, i, object_label(&w->scratch, &rival->meta));
        else if (!service_entry_adds(e) && is_run_here(w, o, e->hosts[i]))
            WARN(c, check_element(e->node, "hosts", i),
                 "the mesh runs %.*s itself, so this entry adds nothing to it: only one with location "
                 "MESH_INTERNAL and resolution STATIC can",
                 STR_ARG(e->hosts[i]));
    }
}

/* Of several for a whole namespace one counts, and the others look as if they did. */
static void check_alone(const struct world *w, const struct check *c, const struct sidecar *s)
{
    for (size_t i = 0; i < w->all->count && !s->workload_selector; i++) {
        const struct object *o = w->all->items[i];
        const struct sidecar *other = o->spec;

        if (o->meta.kind->id != KIND_SIDECAR || !str_eq(o->meta.ns, c->m->ns) || str_eq(o->meta.name, c->m->name) ||
            other->workload_selector)
            continue;
        WARN(c, s->node, "Sidecar %.*s of this namespace has no workloadSelector either: only the older one counts",
             STR_ARG(o->meta.name));
        return;
    }
}

/* ---- routes of RateLimits ---- */

static bool has_gateway(const struct str *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!str_eq(list[i], STR("mesh")))
            return true;
    }
    return false;
}

static bool is_at_gateway(const struct virtual_service *vs, const struct http_rule *r)
{
    for (size_t i = 0; i < r->match_count; i++) {
        if (has_gateway(r->match[i].gateways, r->match[i].gateways_count))
            return true;
    }
    return has_gateway(vs->gateways, vs->gateways_count);
}

/* Rules of a delegate are called "ROOT-OWN", where both have a name. */
static bool is_delegate_rule(const struct virtual_service *vs, const struct http_rule *r, struct str name)
{
    return vs->hosts_count == 0 && r->name.n && str_ends(name, r->name);
}

static bool has_route(const struct world *w, struct str name)
{
    for (size_t i = 0; i < w->all->count; i++) {
        const struct virtual_service *vs = w->all->items[i]->spec;

        for (size_t k = 0; w->all->items[i]->meta.kind->id == KIND_VIRTUAL_SERVICE && k < vs->http_count; k++) {
            const struct http_rule *r = &vs->http[k];

            if (is_delegate_rule(vs, r, name) || (str_eq(r->name, name) && (r->delegate || is_at_gateway(vs, r))))
                return true;
        }
    }
    return false;
}

static void check_routes(const struct world *w, const struct check *c, const struct rate_limit *r)
{
    for (size_t i = 0; i < r->limits_count; i++) {
        const struct rate_limit_rule *l = &r->limits[i];

        if (l->route.n && !has_route(w, l->route))
            WARN(c, check_member(l->node, "route"),
                 "no http rule of this name is bound to a gateway by its VirtualService, so limit \"%.*s\" limits nothing; "
                 "workloads behind a gateway have no routes: leave route out for them",
                 STR_ARG(l->name));
    }
}

/* What a policy is attached to, in its own namespace. */
static void check_attached(struct world *w, const struct check *c, const struct policy_target *target)
{
    const struct target_ref *t;

    for (size_t i = 0; w->scope && (t = policy_target_at(target, i)); i++) {
        struct str label = arena_printf(&w->scratch, "%.*s %.*s/%.*s", STR_ARG(t->kind), STR_ARG(c->m->ns), STR_ARG(t->name));

        if (map_get(&w->by_name, label) ||
            (str_eq(t->kind, STR("Service")) &&
             knows_host(w, model_fqdn(&w->scratch, t->name, c->m->ns, w->domain), c->m->ns)))
            continue;
        WARN(c, check_member(t->node, "name"), "there is no %.*s: nothing is limited by it until there is one", STR_ARG(label))
            ->hint = STR("a gateway is no service: use selector with its labels");
    }
}

/* ---- all ---- */

void validate_set(const struct object_list *all, const struct validate_scope *scope,
                  struct findings *f)
{
    const struct object_list *about = scope && scope->changed ? scope->changed : all;
    struct world w;

    world_init(&w, all, scope);
    for (size_t i = 0; i < about->count; i++) {
        struct check c = {&about->items[i]->meta, f};

        if (c.m->kind->id == KIND_VIRTUAL_SERVICE) {
            check_references(&w, &c, about->items[i]->spec);
            check_short_hosts(&w, &c, about->items[i]->spec);
            check_twin_hosts(&w, &c, about->items[i]);
        } else if (c.m->kind->id == KIND_DESTINATION_RULE) {
            check_policy_host(&w, &c, about->items[i]->spec);
        } else if (c.m->kind->id == KIND_SERVICE_ENTRY) {
            check_shared_hosts(&w, &c, about->items[i]);
        } else if (c.m->kind->id == KIND_SIDECAR) {
            check_alone(&w, &c, about->items[i]->spec);
        } else if (c.m->kind->id == KIND_RATE_LIMIT) {
            check_routes(&w, &c, about->items[i]->spec);
            check_attached(&w, &c, &((const struct rate_limit *)about->items[i]->spec)->target);
        }
    }
    world_done(&w);
}

void validate_duplicates(const struct object_list *applied, struct findings *f)
{
    struct arena scratch;
    struct map seen;

    arena_init(&scratch);
    map_init(&seen);
    for (size_t i = 0; i < applied->count; i++) {
        struct object *o = applied->items[i];
        struct check c = {&o->meta, f};
        struct str label = object_label(&scratch, &o->meta);
        const struct object *first = map_get(&seen, label);

        if (!first) {
            map_put(&seen, label, o);
            continue;
        }
        FAIL(&c, o->node, FIND_DUPLICATE, "%.*s is given twice; first at %.*s:%u", STR_ARG(label),
             STR_ARG(first->meta.file), first->meta.line)
            ->hint = STR("keep one of them");
    }
    map_done(&seen);
    arena_done(&scratch);
}
