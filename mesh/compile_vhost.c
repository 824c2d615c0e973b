/* Route tables and their virtual hosts: which names and addresses lead to which routes. */
#include "mesh/compile_parts.h"

#include <string.h>

static void free_match(struct route_match *m)
{
    regex_free(m->path.regex);
    regex_free(m->method.regex);
    regex_free(m->scheme.regex);
    regex_free(m->authority.regex);
    for (size_t i = 0; i < m->header_count; i++)
        regex_free(m->headers[i].value.regex);
    for (size_t i = 0; i < m->query_count; i++)
        regex_free(m->queries[i].value.regex);
}

static void free_route(struct route *r)
{
    free_match(&r->match);
    regex_free(r->rewrite.regex);
    for (size_t i = 0; r->cors && i < r->cors->origin_count; i++)
        regex_free(r->cors->origins[i].regex);
}

static void unref_vhost(struct part *p)
{
    struct vhost *v = CONTAINER(p, struct vhost, part);

    for (size_t i = 0; i < v->route_count; i++)
        free_route(&v->routes[i]);
}

static void unref_table(struct part *p)
{
    struct route_table *t = CONTAINER(p, struct route_table, part);

    for (size_t i = 0; i < t->vhost_count; i++)
        part_unref(t->vhosts[i]);
    map_done(&t->by_host);
}

struct filling compile_vhost_begin(struct build *b, struct str name)
{
    struct vhost *v = part_new(sizeof(struct vhost));

    v->part.unref_children = unref_vhost;
    v->name = arena_str(&v->part.arena, name);
    return (struct filling){.b = b, .vhost = v};
}

void compile_vhost_end(struct filling *v, struct table *t)
{
    struct vhost *made = v->vhost;

    made->routes = ARENA_ARRAY(&made->part.arena, v->count + 1, struct route);
    if (v->count)
        memcpy(made->routes, v->routes, v->count * sizeof(struct route));
    made->route_count = v->count;
    t->vhosts = compile_room(&v->b->tmp, t->vhosts, t->count, &t->cap, sizeof(struct vhost *));
    t->vhosts[t->count++] = made;
}

struct table *compile_table_for(struct build *b, struct str name)
{
    struct table *t = map_get(&b->tables, name);

    if (t)
        return t;
    t = ARENA_NEW(&b->tmp, struct table);
    t->made = part_new(sizeof(struct route_table));
    t->made->part.unref_children = unref_table;
    t->made->name = arena_str(&t->made->part.arena, name);
    map_init(&t->made->by_host);
    map_init(&t->taken);
    map_put(&b->tables, name, t);
    return t;
}

void compile_tables_end(struct build *b)
{
    const struct map_entry *e;

    for (size_t i = 0; (e = map_each(&b->tables, &i));) {
        struct table *t = e->value;
        struct route_table *made = t->made;

        made->vhosts = ARENA_ARRAY(&made->part.arena, t->count + 1, struct vhost *);
        for (size_t k = 0; k < t->count; k++)
            made->vhosts[k] = t->vhosts[k];
        made->vhost_count = t->count;
        map_done(&t->taken);
        part_unref(made); /* its listeners hold it now */
    }
}

struct domains {
    struct table *table;
    struct vhost *vhost;
    struct str *list; /* in the vhost's arena, with room */
    size_t count;
};

/* A domain belongs to the first who asks. */
static void add_domain(void *arg, struct str domain)
{
    struct domains *d = arg;

    if (map_put(&d->table->taken, domain, d->table))
        return;
    d->list[d->count++] = arena_str(&d->vhost->part.arena, domain);
}

static void add_service_domains(struct build *b, struct table *t, struct vhost *v,
                                const struct service *s)
{
    struct domains d = {.table = t, .vhost = v};
    struct addr *addresses;
    size_t n = compile_service_addresses(b, s, &addresses);
    char text[ADDR_TEXT_MAX];

    d.list = ARENA_ARRAY(&v->part.arena, n + FORMS_MAX, struct str);
    compile_each_form(b, s, add_domain, &d);
    for (size_t i = 0; i < n; i++) {
        addr_format_ip(&addresses[i], text);
        add_domain(&d, arena_printf(&b->tmp, addresses[i].family == 6 ? "[%s]" : "%s", text));
    }
    v->domains = d.list;
    v->domain_count = d.count;
}

/* What the rules say of a service's port; its endpoints where they say nothing. */
void compile_service_routes(struct filling *v, const struct service *s, const struct service_port *port)
{
    const struct rules *rules = compile_rules_for(v->b, compile_lower(&v->b->tmp, s->fqdn));
    struct place place = compile_mesh_place(v->b, port->number);

    if (!compile_is_subscribed(v->b, s))
        compile_add_pending_route(v, s);
    else if (rules)
        compile_add_routes(v, rules, &place);
    if (v->count == 0)
        compile_add_default_route(v, s, port->number);
}

/* The virtual host of a service's port in the table of `number` (which is the port, or 80 as its
 * alias). */
void compile_service_vhost(struct build *b, const struct service *s,
                           const struct service_port *port, struct table *t, uint16_t number)
{
    struct str fqdn = compile_lower(&b->tmp, s->fqdn);
    struct filling v =
        compile_vhost_begin(b, arena_printf(&b->tmp, "%.*s:%u", STR_ARG(fqdn), number));

    add_service_domains(b, t, v.vhost, s);
    compile_service_routes(&v, s, port);
    compile_vhost_end(&v, t);
}

static bool has_service(const struct build *b, struct str host)
{
    const struct service *exact = str_has(host, '*') ? NULL : map_get(&b->by_fqdn, host);

    if (!str_has(host, '*'))
        return exact && scope_sees(&b->scope, exact);
    for (size_t i = 0; i < b->seen_count; i++) {
        if (match_host(host, b->services[i]->fqdn))
            return true;
    }
    return false;
}

static void add_unregistered(struct build *b, struct table *t, const struct map *rules)
{
    const struct map_entry *e;

    for (size_t i = 0; (e = map_each(rules, &i));) {
        struct place place = compile_mesh_place(b, 80);
        struct domains d;
        struct filling v;

        if (has_service(b, e->key))
            continue;
        v = compile_vhost_begin(b, arena_printf(&b->tmp, "%.*s:80", STR_ARG(e->key)));
        d = (struct domains){t, v.vhost, ARENA_ARRAY(&v.vhost->part.arena, 1, struct str), 0};
        add_domain(&d, e->key);
        v.vhost->domains = d.list;
        v.vhost->domain_count = d.count;
        compile_add_routes(&v, e->value, &place);
        compile_vhost_end(&v, t);
    }
}

/* Hosts of rules that no service has are served on port 80 (fields.md 4.6). */
void compile_unregistered_hosts(struct build *b, struct table *t)
{
    add_unregistered(b, t, &b->exact_rules);
    add_unregistered(b, t, &b->wild_rules);
}
