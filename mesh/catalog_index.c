/* What is looked for in a catalog, found without going through all of it: documents by name, rules by host, services by
 * name, workloads by service. */
#include "mesh/catalog_parts.h"

#include <stdio.h>

#include "mesh/decode.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/mesh_config.h"
#include "mesh/kinds/virtual_service.h"
#include "mesh/match.h"

#define KEY_MAX 512u /* longer names than fit there are none's */

/* ---- documents ---- */

/* Empty: no document may be called that. */
static struct str object_key(char *text, unsigned kind, struct str ns, struct str name)
{
    int n = snprintf(text, KEY_MAX, "%u %.*s/%.*s", kind, STR_ARG(ns), STR_ARG(name));

    return n < (int)KEY_MAX ? (struct str){text, (size_t)n} : STR_NONE;
}

void catalog_add_object(struct catalog *c, struct object *o)
{
    char text[KEY_MAX];
    struct str key = object_key(text, o->meta.kind->id, o->meta.ns, o->meta.name);

    c->objects[c->object_count++] = o;
    if (key.n && !map_get(&c->objects_by_name, key))
        map_put(&c->objects_by_name, key, o);
}

const struct object *catalog_object(const struct catalog *c, unsigned kind, struct str ns, struct str name)
{
    char text[KEY_MAX];
    struct str key = object_key(text, kind, ns, name);

    return key.n ? map_get(&c->objects_by_name, key) : NULL;
}

const struct mesh_config *catalog_mesh_config(const struct catalog *c)
{
    const struct object *o = catalog_object(c, KIND_MESH_CONFIG, c->root_namespace, STR(MESH_CONFIG_NAME));

    return o ? o->spec : NULL;
}

/* ---- workloads, rules, services ---- */

/* A view asks for the workloads and rules of each service that it wants: it must not go through all
 * of them for each. */
static void index_workloads(struct catalog *c)
{
    struct workload **room = ARENA_ARRAY(&c->arena, c->workload_count + 1, struct workload *);

    for (size_t i = 0; i < c->workload_count; i++) {
        struct service *s = map_get(&c->by_service, c->workloads[i]->service);

        if (s)
            s->workload_count++;
    }
    for (size_t i = 0; i < c->service_count; i++) {
        c->services[i]->workloads = room;
        room += c->services[i]->workload_count;
        c->services[i]->workload_count = 0;
    }
    for (size_t i = 0; i < c->workload_count; i++) {
        struct service *s = map_get(&c->by_service, c->workloads[i]->service);

        if (s)
            s->workloads[s->workload_count++] = c->workloads[i];
    }
}

static void add_rule(struct catalog *c, struct str host, size_t number)
{
    struct arena *a = &c->arena;
    struct host_rules *list = c->wild_rules;
    struct host_rule *r = ARENA_NEW(a, struct host_rule);

    *r = (struct host_rule){.object = c->objects[number], .number = number, .host = host};
    if (!str_has(host, '*')) {
        list = map_get(&c->rules_by_host, host);
        if (!list) {
            list = ARENA_NEW(a, struct host_rules);
            map_put(&c->rules_by_host, host, list);
        }
    }
    if (list->last)
        list->last->next = r;
    else
        list->first = r;
    list->last = r;
}

static void index_rules(struct catalog *c)
{
    c->wild_rules = ARENA_NEW(&c->arena, struct host_rules);
    for (size_t i = 0; i < c->object_count; i++) {
        const struct object *o = c->objects[i];
        const struct virtual_service *vs = o->spec;
        const struct destination_rule *dr = o->spec;

        if (o->meta.kind->id == KIND_DESTINATION_RULE)
            add_rule(c, model_fqdn(&c->arena, dr->host, o->meta.ns, c->domain), i);
        for (size_t k = 0; o->meta.kind->id == KIND_VIRTUAL_SERVICE && k < vs->hosts_count; k++)
            add_rule(c, model_fqdn(&c->arena, vs->hosts[k], o->meta.ns, c->domain), i);
    }
}

/* Services of one name stand in one list, in their order. */
static void index_names(struct catalog *c)
{
    for (size_t i = c->service_count; i > 0; i--) {
        struct service *s = c->services[i - 1];
        struct str name = model_fqdn(&c->arena, s->fqdn, s->ns, c->domain);

        s->same_name = map_get(&c->services_by_fqdn, name);
        map_put(&c->services_by_fqdn, name, s);
    }
}

void catalog_index(struct catalog *c)
{
    index_workloads(c);
    index_rules(c);
    index_names(c);
}

struct concerned catalog_rules_of(const struct catalog *all, struct str fqdn)
{
    const struct host_rules *exact = map_get(&all->rules_by_host, fqdn);

    return (struct concerned){exact ? exact->first : NULL, all->wild_rules->first, fqdn, 0};
}

const struct object *catalog_next_rule(struct concerned *c)
{
    const struct host_rule *r;

    while (c->exact && c->exact->number < c->next)
        c->exact = c->exact->next;
    while (c->wild && (c->wild->number < c->next || !match_host(c->wild->host, c->fqdn)))
        c->wild = c->wild->next;
    r = c->exact && (!c->wild || c->exact->number <= c->wild->number) ? c->exact : c->wild;
    if (!r)
        return NULL;
    c->next = r->number + 1;
    return r->object;
}
