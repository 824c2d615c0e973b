/* Istio's meaning of rules, applied once and for all: what is left for the proxy is tables and
 * names. In order of this file: the caller, services and precedence of documents (fields.md 4.6),
 * names, the whole. The parts are made in compile_route.c, compile_vhost.c, compile_cluster.c,
 * compile_listener.c, compile_limit.c, compile_bound.c and compile_gateway.c.
 *
 * Services: one host name is one service for this agent; where several namespaces define it, that
 * of the caller wins, then the oldest that it may see. All others of that name do not exist here, neither as
 * listener nor as name. The caller, whose namespace and labels select rules, is that of
 * model_caller; its Sidecar bounds what it sees (scope.h), and what only rules send to is a cluster
 * without listener or name. */
#include "mesh/compile.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/compile_parts.h"
#include "mesh/decode.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/mesh_config.h"
#include "mesh/kinds/virtual_service.h"

/* ---- small helpers ---- */

struct str compile_lower(struct arena *a, struct str s)
{
    char *p = (char *)arena_alloc(a, s.n + 1);

    for (size_t i = 0; i < s.n; i++)
        p[i] = (char)tolower((unsigned char)s.p[i]);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}

struct str compile_join(struct arena *a, struct str ns, struct str name)
{
    return arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

/* Room for one more in an array in `a`, which doubles. */
void *compile_room(struct arena *a, void *array, size_t count, size_t *cap, size_t size)
{
    void *more;

    if (count < *cap)
        return array;
    *cap = *cap ? *cap * 2 : 8;
    more = arena_array(a, *cap, size);
    if (count)
        memcpy(more, array, count * size);
    return more;
}

static int64_t to_ms(int64_t ns)
{
    return ns <= 0 ? 0 : (ns - 1) / 1000000 + 1;
}

int64_t compile_ms_or(int64_t ns, int64_t unset_ms)
{
    return ns == DURATION_UNSET ? unset_ms : to_ms(ns);
}

struct str compile_object_name(struct build *b, const struct object *o)
{
    return arena_printf(b->f->arena, "%s %.*s/%.*s", o->meta.kind->name, STR_ARG(o->meta.ns),
                        STR_ARG(o->meta.name));
}

bool compile_is_subscribed(const struct build *b, const struct service *s)
{
    return map_get(&b->c->subscribed, s->key) != NULL;
}

bool compile_is_grpc_web(struct str word)
{
    return str_eq_nocase(word, STR("GRPC-WEB"));
}

bool compile_is_http2(struct str word)
{
    return str_eq_nocase(word, STR("HTTP2")) || str_eq_nocase(word, STR("GRPC")) || compile_is_grpc_web(word);
}

enum app_protocol compile_protocol_of(struct str word)
{
    if (word.n == 0)
        return APP_SNIFF;
    return str_eq_nocase(word, STR("HTTP")) || compile_is_http2(word) ? APP_HTTP : APP_TCP;
}

enum cluster_http compile_http_of(struct str word)
{
    if (word.n == 0)
        return CLUSTER_HTTP_SAME;
    return compile_is_http2(word) ? CLUSTER_HTTP2 : CLUSTER_HTTP1;
}

/* Labels that name a workload: observability.md, Labels. */
void compile_who_is(struct arena *a, const struct labels *l, struct str workload, struct str ns,
                    struct who *out)
{
    static const char *const names[] = {"service.istio.io/canonical-name", "app.kubernetes.io/name",
                                        "app"};
    static const char *const revisions[] = {"service.istio.io/canonical-revision",
                                            "app.kubernetes.io/version", "version"};
    struct str app = labels_get(l, STR("app")), version = labels_get(l, STR("version"));
    struct str service = STR_NONE, revision = STR_NONE;

    for (size_t i = 0; service.n == 0 && i < COUNT(names); i++)
        service = labels_get(l, str_from(names[i]));
    for (size_t i = 0; revision.n == 0 && i < COUNT(revisions); i++)
        revision = labels_get(l, str_from(revisions[i]));
    if (workload.n == 0)
        workload = STR("unknown");
    out->workload = arena_str(a, workload);
    out->ns = arena_str(a, ns.n ? ns : STR("unknown"));
    out->app = arena_str(a, app.n ? app : STR("unknown"));
    out->version = arena_str(a, version.n ? version : STR("unknown"));
    out->canonical_service = arena_str(a, service.n ? service : workload);
    out->canonical_revision = arena_str(a, revision.n ? revision : STR("latest"));
}

/* ---- the services and rules that count ---- */

static void find_caller(struct build *b)
{
    const struct self *self = b->self;
    struct caller c = model_caller(self->services, self->service_count, self->ns);

    /* A gateway's name is for rules only: the host's own calls are not the gateway's. */
    b->identity = c.service && !c.service->is_gateway ? c.service->identity : self->identity;
    b->ns = c.ns;
    b->labels = c.labels;
    compile_who_is(&b->tmp, b->labels, c.service ? c.service->name : self->host, b->ns, &b->who);
    scope_init(&b->scope, b->c->objects, b->c->object_count, b->c->root_namespace, &c);
}

bool compile_has_export(const struct str *list, size_t count, struct str want)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(list[i], want))
            return true;
    }
    return false;
}

/* Group of visibility for namespace `ns`, -1 if the rule is not exported there. */
int compile_visibility(const struct build *b, const struct object *o, struct str ns)
{
    struct exports e = mesh_exports(b->mesh, o);
    bool names_it = compile_has_export(e.to, e.count, ns);

    if (e.count == 0 || compile_has_export(e.to, e.count, STR("*")))
        return 2;
    if (str_eq(o->meta.ns, ns) && (compile_has_export(e.to, e.count, STR(".")) || names_it))
        return e.count == 1 ? 0 : 1;
    return names_it ? 1 : -1;
}

/* The oldest first; what the mesh runs itself is older than every ServiceEntry. */
static int compare_services(const void *x, const void *y)
{
    const struct service *const *a = x, *const *b = y;

    if ((*a)->since_s != (*b)->since_s)
        return (*a)->since_s < (*b)->since_s ? -1 : 1;
    return str_cmp((*a)->key, (*b)->key);
}

/* Is it exported to the caller, or to a gateway of this host? The server sends what any service of
 * the host may see, which can be more. */
static bool is_visible(const struct build *b, const struct service *s)
{
    if (service_is_exported(s, b->ns))
        return true;
    for (size_t i = 0; i < b->self->service_count; i++) {
        const struct local_service *own = &b->self->services[i];

        if (own->is_gateway && service_is_exported(s, own->ns))
            return true;
    }
    return false;
}

static void add_service(struct build *b, struct service *s)
{
    struct str fqdn = compile_lower(&b->tmp, s->fqdn);

    if (map_get(&b->by_fqdn, fqdn))
        return;
    map_put(&b->by_fqdn, fqdn, s);
    b->services[b->service_count++] = s;
    if (!map_get(&b->mesh_names, s->name))
        map_put(&b->mesh_names, s->name, s);
}

static void add_services(struct build *b, struct service *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(list[i]->ns, b->ns))
            add_service(b, list[i]);
    }
    for (size_t i = 0; i < count; i++)
        add_service(b, list[i]);
}

static void find_services(struct build *b)
{
    size_t n = b->c->service_count, seen = 0, others = 0;
    struct service **sorted = ARENA_ARRAY(&b->tmp, n + 1, struct service *);
    struct service **rest = ARENA_ARRAY(&b->tmp, n + 1, struct service *);

    b->services = ARENA_ARRAY(&b->tmp, n + 1, struct service *);
    for (size_t i = 0; i < n; i++) {
        if (!is_visible(b, b->c->services[i]))
            continue;
        if (scope_sees(&b->scope, b->c->services[i]))
            sorted[seen++] = b->c->services[i];
        else
            rest[others++] = b->c->services[i];
    }
    qsort(sorted, seen, sizeof(struct service *), compare_services);
    qsort(rest, others, sizeof(struct service *), compare_services);
    add_services(b, sorted, seen);
    b->seen_count = b->service_count;
    add_services(b, rest, others);
}

static int compare_rules(const void *x, const void *y)
{
    const struct rules *a = x, *b = y;

    return a->group != b->group ? a->group - b->group : object_older_first(a->object, b->object);
}

static int compare_objects(const void *x, const void *y)
{
    const struct object *const *a = x, *const *b = y;

    return object_older_first(*a, *b);
}

/* Inside one host: rules with a selector first, then the oldest. */
static int compare_policies(const void *x, const void *y)
{
    const struct policy_rule *a = x, *b = y;

    if ((a->spec->workload_selector != NULL) != (b->spec->workload_selector != NULL))
        return a->spec->workload_selector ? -1 : 1;
    return object_older_first(a->object, b->object);
}

static void index_rules(struct build *b)
{
    qsort(b->rules, b->rules_count, sizeof(struct rules), compare_rules);
    for (size_t i = 0; i < b->rules_count; i++) {
        struct rules *r = &b->rules[i];

        for (size_t k = 0; k < r->spec->hosts_count; k++) {
            struct map *m = str_has(r->hosts[k], '*') ? &b->wild_rules : &b->exact_rules;

            if (r->is_for_mesh && !map_get(m, r->hosts[k]))
                map_put(m, r->hosts[k], r);
        }
    }
}

/* Callers of this host follow it, if it is exported to them and their Sidecar takes it. */
static bool is_for_mesh(const struct build *b, const struct rules *r)
{
    bool taken = false;

    for (size_t i = 0; i < r->spec->hosts_count; i++)
        taken = taken || scope_takes_rule(&b->scope, r->object->meta.ns, r->hosts[i]);
    return taken && r->group >= 0 && virtual_service_is_for_mesh(r->spec);
}

static void add_virtual_service(struct build *b, const struct object *o)
{
    struct rules *r = &b->rules[b->rules_count++];

    r->object = o;
    r->spec = o->spec;
    r->group = compile_visibility(b, o, b->ns);
    r->hosts = ARENA_ARRAY(&b->tmp, r->spec->hosts_count + 1, struct str);
    for (size_t k = 0; k < r->spec->hosts_count; k++)
        r->hosts[k] = model_fqdn(&b->tmp, r->spec->hosts[k], o->meta.ns, b->c->domain);
    r->is_for_mesh = is_for_mesh(b, r);
    compile_expand(b, r);
}

/* Client workloads that a rule is for: those of its own namespace that the selector matches. */
static bool selects_caller(const struct build *b, const struct object *o,
                           const struct destination_rule *dr)
{
    return !dr->workload_selector ||
           (str_eq(o->meta.ns, b->ns) && labels_match(b->labels, &dr->workload_selector->labels));
}

static void find_rules(struct build *b)
{
    size_t n = b->c->object_count;

    b->rules = ARENA_ARRAY(&b->tmp, n + 1, struct rules);
    b->policies = ARENA_ARRAY(&b->tmp, n + 1, struct policy_rule);
    b->gateways = ARENA_ARRAY(&b->tmp, n + 1, struct object *);
    b->limits = ARENA_ARRAY(&b->tmp, n + 1, struct object *);
    for (size_t i = 0; i < n; i++) {
        struct object *o = b->c->objects[i];

        if (o->meta.kind->id == KIND_VIRTUAL_SERVICE) {
            add_virtual_service(b, o);
        } else if (o->meta.kind->id == KIND_GATEWAY) {
            b->gateways[b->gateway_count++] = o;
        } else if (o->meta.kind->id == KIND_RATE_LIMIT) {
            b->limits[b->limit_count++] = o;
        } else if (o->meta.kind->id == KIND_DESTINATION_RULE && selects_caller(b, o, o->spec)) {
            struct policy_rule *p = &b->policies[b->policy_count++];

            p->object = o;
            p->spec = o->spec;
            p->host = model_fqdn(&b->tmp, p->spec->host, o->meta.ns, b->c->domain);
        }
    }
    index_rules(b);
    qsort(b->policies, b->policy_count, sizeof(struct policy_rule), compare_policies);
    for (size_t i = b->policy_count; i > 0; i--) {
        struct policy_rule *p = &b->policies[i - 1];

        b->has_wild_policies = b->has_wild_policies || str_has(p->host, '*');
        p->next = map_get(&b->policies_by_host, p->host);
        map_put(&b->policies_by_host, p->host, p);
    }
    qsort(b->gateways, b->gateway_count, sizeof(struct object *), compare_objects);
    qsort(b->limits, b->limit_count, sizeof(struct object *), compare_objects);
}

/* The one VirtualService of a host for mesh callers: the most specific host, then the order of
 * index_rules. */
const struct rules *compile_rules_for(const struct build *b, struct str fqdn)
{
    const struct rules *best = map_get(&b->exact_rules, fqdn);
    const struct map_entry *e;
    size_t best_n = 0;

    if (best)
        return best;
    for (size_t i = 0; (e = map_each(&b->wild_rules, &i));) {
        if (e->key.n > best_n && match_host(e->key, fqdn)) {
            best = e->value;
            best_n = e->key.n;
        }
    }
    return best;
}

/* ---- names of services ---- */

/* Every name that callers of this agent may use (fields.md 1.3), and weft's own short domain. */
void compile_each_form(struct build *b, const struct service *s, compile_form_fn *fn, void *arg)
{
    struct arena *a = &b->tmp;
    struct str fqdn = compile_lower(a, s->fqdn), name = compile_lower(a, s->name);
    struct str svc = arena_printf(a, "%.*s.%.*s.svc", STR_ARG(name), STR_ARG(s->ns));

    fn(arg, fqdn);
    if (!str_eq(fqdn, arena_printf(a, "%.*s.%.*s", STR_ARG(svc), STR_ARG(b->c->domain))))
        return; /* a ServiceEntry's host has no other names */
    fn(arg, svc);
    fn(arg, str_sub(svc, 0, svc.n - 4));
    fn(arg, arena_printf(a, "%.*s.%.*s.mesh", STR_ARG(name), STR_ARG(s->ns)));
    if (map_get(&b->mesh_names, s->name) == s)
        fn(arg, arena_printf(a, "%.*s.mesh", STR_ARG(name)));
    if (str_eq(s->ns, b->ns))
        fn(arg, name);
}

/* The virtual addresses, then those of documents. */
size_t compile_service_addresses(struct build *b, const struct service *s, struct addr **out)
{
    struct addr *list = ARENA_ARRAY(&b->tmp, s->address_count + 2, struct addr);
    size_t n = 0;

    if (s->vip4.family)
        list[n++] = s->vip4;
    if (s->vip6.family)
        list[n++] = s->vip6;
    for (size_t i = 0; i < s->address_count; i++)
        list[n++] = s->addresses[i];
    *out = list;
    return n;
}

/* ---- the whole ---- */

static void build_init(struct build *b, const struct catalog *c, const struct self *self,
                       struct findings *f)
{
    *b = (struct build){.c = c, .self = self, .f = f};
    arena_init(&b->tmp);
    map_init(&b->by_fqdn);
    map_init(&b->mesh_names);
    map_init(&b->exact_rules);
    map_init(&b->wild_rules);
    map_init(&b->policies_by_host);
    map_init(&b->tables);
    map_init(&b->listeners);
    b->mesh = catalog_mesh_config(c);
    find_caller(b);
    find_services(b);
}

static enum path_mode path_mode_of(const struct mesh_config *m)
{
    static const enum path_mode modes[] = {
        [PATH_NORMALIZATION_DEFAULT] = PATH_BASE,
        [PATH_NORMALIZATION_NONE] = PATH_AS_IS,
        [PATH_NORMALIZATION_BASE] = PATH_BASE,
        [PATH_NORMALIZATION_MERGE_SLASHES] = PATH_MERGE,
        [PATH_NORMALIZATION_DECODE_AND_MERGE_SLASHES] = PATH_DECODE,
    };

    return m && m->path_normalization ? modes[m->path_normalization->mode] : PATH_BASE;
}

static void build_done(struct build *b)
{
    map_done(&b->by_fqdn);
    map_done(&b->mesh_names);
    map_done(&b->exact_rules);
    map_done(&b->wild_rules);
    map_done(&b->policies_by_host);
    map_done(&b->tables);
    map_done(&b->listeners);
    scope_done(&b->scope);
    arena_done(&b->tmp);
}

static void fill_root(struct build *b)
{
    struct snapshot *s = b->out;

    s->revision = b->c->revision;
    s->epoch = arena_str(&s->arena, b->c->epoch);
    s->trust_domain = arena_str(&s->arena, b->c->trust_domain);
    s->node = arena_str(&s->arena, b->self->host);
    s->default_identity = arena_str(&s->arena, b->identity);
    s->path_mode = path_mode_of(b->mesh);
    if (b->mesh)
        s->detection_ms = to_ms(b->mesh->protocol_detection_timeout_ns);
}

struct snapshot *compile(const struct catalog *c, const struct self *self,
                         const struct snapshot *previous, struct findings *f)
{
    size_t errors = f->errors;
    struct snapshot *out;
    struct build b;

    build_init(&b, c, self, f);
    find_rules(&b);
    b.out = out = snapshot_new();
    fill_root(&b);
    if (!self->is_uncaptured)
        compile_outbound(&b);
    compile_clusters(&b);
    for (size_t i = 0; i < self->service_count; i++) {
        if (self->services[i].is_gateway)
            compile_gateway(&b, &self->services[i]);
        else
            compile_inbound(&b, &self->services[i]);
    }
    compile_bound(&b);
    compile_egress(&b);
    compile_tables_end(&b);
    build_done(&b);
    if (f->errors > errors)
        return snapshot_unref(out);
    snapshot_seal(out, previous);
    return out;
}

/* ---- names for DNS ---- */

struct naming {
    compile_name_fn *fn;
    void *arg;
    const struct service *service;
    struct addr vip4, vip6;
};

static void tell_name(void *arg, struct str form)
{
    struct naming *n = arg;

    n->fn(n->arg, form, &n->vip4, &n->vip6, n->service->key);
}

void compile_names(const struct catalog *c, const struct self *self, compile_name_fn *fn, void *arg)
{
    struct findings nobody;
    struct arena a;
    struct build b;

    arena_init(&a);
    findings_init(&nobody, &a);
    build_init(&b, c, self, &nobody);
    for (size_t i = 0; i < b.seen_count; i++) {
        struct naming n = {.fn = fn, .arg = arg, .service = b.services[i]};
        struct addr *addresses;
        size_t count = compile_service_addresses(&b, n.service, &addresses);

        /* One address of each family, as a caller needs no more; nothing to say about names without
         * any. */
        for (size_t k = count; k-- > 0;)
            *(addresses[k].family == 6 ? &n.vip6 : &n.vip4) = addresses[k];
        if (count && !str_has(n.service->fqdn, '*'))
            compile_each_form(&b, n.service, tell_name, &n);
    }
    build_done(&b);
    arena_done(&a);
}

/* ---- addresses for capture ---- */

void compile_addresses(const struct catalog *c, const struct self *self, compile_address_fn *fn, void *arg)
{
    struct findings nobody;
    struct arena a;
    struct build b;

    arena_init(&a);
    findings_init(&nobody, &a);
    build_init(&b, c, self, &nobody);
    for (size_t i = 0; i < b.seen_count; i++) {
        const struct service *s = b.services[i];

        for (size_t k = 0; k < s->address_count; k++) {
            for (size_t p = 0; p < s->port_count; p++) {
                struct addr at = s->addresses[k];

                at.port = s->ports[p].number;
                if (scope_sees_port(&b.scope, s, at.port))
                    fn(arg, &at);
            }
        }
    }
    build_done(&b);
    arena_done(&a);
}
