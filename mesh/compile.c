/* Istio's meaning of rules, applied once and for all: what is left for the proxy is tables and
 * names. In order of this file: precedence of documents (fields.md 4.6), routes, outbound,
 * clusters, inbound, gateways, the whole, mesh names.
 *
 * Services: one host name is one service for this agent; where several namespaces define it, that
 * of the caller wins, then the first by key. All others of that name do not exist here, neither as
 * listener nor as name. The caller, whose namespace and labels select rules, is the one local
 * service if there is exactly one (a gateway service only if nothing else stands there); otherwise
 * it is the host itself, in self->ns and without labels. */
#include "mesh/compile.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/catalog.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/gateway.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/virtual_service.h"

#define HOUR_MS             3600000
#define PASSTHROUGH_IDLE_MS 300000
#define RETRY_ATTEMPTS      2 /* fields.md 4.4 */
#define RETRY_BACKOFF_MS    25
#define RETRY_DEFAULT_ON                                                                           \
    (RETRY_CONNECT_FAILURE | RETRY_REFUSED_STREAM | RETRY_GRPC_UNAVAILABLE |                       \
     RETRY_GRPC_CANCELLED | RETRY_STATUS_CODES)

/* Who somebody is in metrics and logs. */
struct who {
    struct str workload, ns, app, version, canonical_service, canonical_revision;
};

/* A VirtualService with its hosts completed. */
struct rules {
    const struct object *object;
    const struct virtual_service *spec;
    struct str *hosts;
    int group; /* of visibility: 0 own namespace only, 1 exported to it by name, 2 public */
};

struct policy_rule {
    const struct object *object;
    const struct destination_rule *spec;
    struct str host; /* completed */
};

/* A route table that is being filled. */
struct table {
    struct route_table *made;
    struct map taken; /* domain -> non-NULL */
    struct vhost **vhosts;
    size_t count, cap;
};

struct build {
    const struct catalog *c;
    const struct self *self;
    struct findings *f;
    struct snapshot *out;
    struct arena tmp; /* everything that is not part of the result */
    /* the caller */
    struct str ns, identity;
    const struct labels *labels;
    struct who who;
    /* the services that exist here, one per host name, own namespace first */
    struct service **services;
    size_t service_count;
    struct map by_fqdn;    /* -> struct service * */
    struct map mesh_names; /* "reviews" -> the service that is reviews.mesh */
    /* rules, best first */
    struct rules *rules;
    size_t rules_count;
    struct map exact_rules; /* host -> struct rules *: of mesh callers, the best of each host */
    struct map wild_rules;  /* the same for wildcards */
    struct policy_rule *policies;
    size_t policy_count;
    struct object **gateways; /* oldest first */
    size_t gateway_count;
    struct map tables;    /* name -> struct table * */
    struct map listeners; /* names in use -> non-NULL */
};

static const struct labels no_labels;

/* ---- small helpers ---- */

static struct str lower(struct arena *a, struct str s)
{
    char *p = (char *)arena_alloc(a, s.n + 1);

    for (size_t i = 0; i < s.n; i++)
        p[i] = (char)tolower((unsigned char)s.p[i]);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}

static struct str join2(struct arena *a, struct str ns, struct str name)
{
    return arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

/* Room for one more in an array in `a`, which doubles. */
static void *room(struct arena *a, void *array, size_t count, size_t *cap, size_t size)
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

static int64_t to_ms_or(int64_t ns, int64_t unset_ms)
{
    return ns == DURATION_UNSET ? unset_ms : to_ms(ns);
}

static struct str object_name(struct build *b, const struct object *o)
{
    return arena_printf(b->f->arena, "%s %.*s/%.*s", o->meta.kind->name, STR_ARG(o->meta.ns),
                        STR_ARG(o->meta.name));
}

static bool is_subscribed(const struct build *b, const struct service *s)
{
    return map_get(&b->c->subscribed, s->key) != NULL;
}

/* HTTP/2 and gRPC are taken as opaque bytes until the data plane speaks HTTP/2: they then work end
 * to end, balanced per connection and without routes, which is better than being cut by an HTTP/1
 * parser. */
static enum app_protocol protocol_of(struct str word)
{
    if (word.n == 0)
        return APP_SNIFF;
    return str_eq_nocase(word, STR("HTTP")) ? APP_HTTP : APP_TCP;
}

/* Labels that name a workload: observability.md, Labels. */
static void who_is(struct arena *a, const struct labels *l, struct str workload, struct str ns,
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

static void listener_who(struct listener *l, const struct who *who)
{
    struct arena *a = &l->part.arena;

    l->workload = arena_str(a, who->workload);
    l->workload_ns = arena_str(a, who->ns);
    l->app = arena_str(a, who->app);
    l->version = arena_str(a, who->version);
    l->canonical_service = arena_str(a, who->canonical_service);
    l->canonical_revision = arena_str(a, who->canonical_revision);
}

/* ---- the services and rules that count ---- */

static void find_caller(struct build *b)
{
    const struct self *self = b->self;
    const struct local_service *one = NULL, *gateway = NULL;
    size_t services = 0, gateways = 0;

    for (size_t i = 0; i < self->service_count; i++) {
        const struct local_service *s = &self->services[i];

        if (s->is_gateway) {
            gateway = s;
            gateways++;
        } else {
            one = s;
            services++;
        }
    }
    b->identity = self->identity;
    if (services == 1)
        b->identity = one->identity;
    else if (services == 0 && gateways == 1)
        one = gateway; /* for rules only: the host's own calls are not the gateway's */
    else
        one = NULL;
    b->ns = one ? one->ns : self->ns;
    b->labels = one ? &one->labels : &no_labels;
    who_is(&b->tmp, b->labels, one ? one->name : self->host, b->ns, &b->who);
}

static int compare_keys(const void *x, const void *y)
{
    const struct service *const *a = x, *const *b = y;

    return str_cmp((*a)->key, (*b)->key);
}

static void add_service(struct build *b, struct service *s)
{
    struct str fqdn = lower(&b->tmp, s->fqdn);

    if (map_get(&b->by_fqdn, fqdn))
        return;
    map_put(&b->by_fqdn, fqdn, s);
    b->services[b->service_count++] = s;
    if (!map_get(&b->mesh_names, s->name))
        map_put(&b->mesh_names, s->name, s);
}

static void find_services(struct build *b)
{
    size_t n = b->c->service_count;
    struct service **sorted = ARENA_ARRAY(&b->tmp, n + 1, struct service *);

    b->services = ARENA_ARRAY(&b->tmp, n + 1, struct service *);
    for (size_t i = 0; i < n; i++)
        sorted[i] = b->c->services[i];
    qsort(sorted, n, sizeof(struct service *), compare_keys);
    for (size_t i = 0; i < n; i++) {
        if (str_eq(sorted[i]->ns, b->ns))
            add_service(b, sorted[i]);
    }
    for (size_t i = 0; i < n; i++)
        add_service(b, sorted[i]);
}

static int older_first(const struct object *a, const struct object *b)
{
    int d;

    if (a->meta.created_ms != b->meta.created_ms)
        return a->meta.created_ms < b->meta.created_ms ? -1 : 1;
    d = str_cmp(a->meta.name, b->meta.name);
    return d ? d : str_cmp(a->meta.ns, b->meta.ns);
}

static bool has_export(const struct str *list, size_t count, struct str want)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(list[i], want))
            return true;
    }
    return false;
}

/* Group of visibility for namespace `ns`, -1 if the rule is not exported there. */
static int visibility(const struct str *to, size_t count, struct str own, struct str ns)
{
    if (count == 0 || has_export(to, count, STR("*")))
        return 2;
    if (str_eq(own, ns) && (has_export(to, count, STR(".")) || has_export(to, count, ns)))
        return count == 1 ? 0 : 1;
    return has_export(to, count, ns) ? 1 : -1;
}

static int compare_rules(const void *x, const void *y)
{
    const struct rules *a = x, *b = y;

    return a->group != b->group ? a->group - b->group : older_first(a->object, b->object);
}

static int compare_rules_by_age(const void *x, const void *y)
{
    const struct rules *const *a = x, *const *b = y;

    return older_first((*a)->object, (*b)->object);
}

static int compare_objects(const void *x, const void *y)
{
    const struct object *const *a = x, *const *b = y;

    return older_first(*a, *b);
}

/* Inside one host: rules with a selector first, then the oldest. */
static int compare_policies(const void *x, const void *y)
{
    const struct policy_rule *a = x, *b = y;

    if ((a->spec->workload_selector != NULL) != (b->spec->workload_selector != NULL))
        return a->spec->workload_selector ? -1 : 1;
    return older_first(a->object, b->object);
}

static bool is_mesh_rule(const struct virtual_service *vs)
{
    return vs->gateways_count == 0 || has_export(vs->gateways, vs->gateways_count, STR("mesh"));
}

static void index_rules(struct build *b)
{
    qsort(b->rules, b->rules_count, sizeof(struct rules), compare_rules);
    for (size_t i = 0; i < b->rules_count; i++) {
        struct rules *r = &b->rules[i];

        for (size_t k = 0; k < r->spec->hosts_count; k++) {
            struct map *m = str_has(r->hosts[k], '*') ? &b->wild_rules : &b->exact_rules;

            if (r->group >= 0 && is_mesh_rule(r->spec) && !map_get(m, r->hosts[k]))
                map_put(m, r->hosts[k], r);
        }
    }
}

static void add_virtual_service(struct build *b, const struct object *o)
{
    struct rules *r = &b->rules[b->rules_count++];

    r->object = o;
    r->spec = o->spec;
    r->group = visibility(r->spec->export_to, r->spec->export_to_count, o->meta.ns, b->ns);
    r->hosts = ARENA_ARRAY(&b->tmp, r->spec->hosts_count + 1, struct str);
    for (size_t k = 0; k < r->spec->hosts_count; k++)
        r->hosts[k] = model_fqdn(&b->tmp, r->spec->hosts[k], o->meta.ns, b->c->domain);
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
    for (size_t i = 0; i < n; i++) {
        struct object *o = b->c->objects[i];

        if (o->meta.kind->id == KIND_VIRTUAL_SERVICE) {
            add_virtual_service(b, o);
        } else if (o->meta.kind->id == KIND_GATEWAY) {
            b->gateways[b->gateway_count++] = o;
        } else if (o->meta.kind->id == KIND_DESTINATION_RULE && selects_caller(b, o, o->spec)) {
            struct policy_rule *p = &b->policies[b->policy_count++];

            p->object = o;
            p->spec = o->spec;
            p->host = model_fqdn(&b->tmp, p->spec->host, o->meta.ns, b->c->domain);
        }
    }
    index_rules(b);
    qsort(b->policies, b->policy_count, sizeof(struct policy_rule), compare_policies);
    qsort(b->gateways, b->gateway_count, sizeof(struct object *), compare_objects);
}

/* The one VirtualService of a host for mesh callers: the most specific host, then the order of
 * index_rules. */
static const struct rules *rules_for(const struct build *b, struct str fqdn)
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

/* ---- routes ---- */

/* Where rules are applied: by whom, through which gateways, on which port. */
struct place {
    uint16_t port;
    const struct str *gateways; /* "mesh", or "ns/name" of every Gateway of the listener */
    size_t gateway_count;
    struct str ns; /* of the caller */
    const struct labels *labels;
};

static const struct str mesh_gateway[] = {STR_INIT("mesh")};

static struct place mesh_place(const struct build *b, uint16_t port)
{
    return (struct place){port, mesh_gateway, 1, b->ns, b->labels};
}

/* "name", "./name", "ns/name" and "name.ns.svc..." are Gateways; "mesh" is itself. */
static struct str gateway_ref(struct build *b, struct str ref, struct str own_ns)
{
    struct str ns, rest = ref;

    if (str_eq(ref, STR("mesh")))
        return ref;
    if (str_cut(&rest, '/', &ns))
        return str_eq(ns, STR(".")) ? join2(&b->tmp, own_ns, rest) : ref;
    if (str_cut(&rest, '.', &ns)) {
        struct str name = ns;

        if (str_cut(&rest, '.', &ns) && str_starts(rest, STR("svc")))
            return join2(&b->tmp, ns, name);
    }
    return join2(&b->tmp, own_ns, ref);
}

static bool names_place(struct build *b, const struct str *refs, size_t count, struct str own_ns,
                        const struct place *p)
{
    for (size_t i = 0; i < count; i++) {
        if (has_export(p->gateways, p->gateway_count, gateway_ref(b, refs[i], own_ns)))
            return true;
    }
    return false;
}

/* The conditions that configuration alone decides. */
static bool holds_here(struct build *b, const struct place *p, const struct object *o,
                       uint32_t port, const struct labels *source, struct str source_ns,
                       const struct str *gateways, size_t count)
{
    if (port && port != p->port)
        return false;
    if (source_ns.n && !str_eq(source_ns, p->ns))
        return false;
    if (count && !names_place(b, gateways, count, o->meta.ns, p))
        return false;
    return labels_match(p->labels, source);
}

/* A virtual host that is being filled. */
struct filling {
    struct build *b;
    struct vhost *vhost;
    struct route *routes; /* in b->tmp */
    size_t count, cap;
};

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

static void unref_vhost(struct part *p)
{
    struct vhost *v = CONTAINER(p, struct vhost, part);

    for (size_t i = 0; i < v->route_count; i++)
        free_match(&v->routes[i].match);
}

static void unref_table(struct part *p)
{
    struct route_table *t = CONTAINER(p, struct route_table, part);

    for (size_t i = 0; i < t->vhost_count; i++)
        part_unref(t->vhosts[i]);
    map_done(&t->by_host);
}

static void unref_listener(struct part *p)
{
    part_unref(CONTAINER(p, struct listener, part)->http);
}

static void unref_cluster(struct part *p)
{
    part_unref(CONTAINER(p, struct cluster, part)->endpoints);
}

static void copy_match(struct filling *v, const struct object *o, const struct match_string *from,
                       struct match_string *to)
{
    struct err err;

    to->kind = from->kind;
    to->text = arena_str(&v->vhost->part.arena, from->text);
    if (from->kind != MATCH_REGEX)
        return;
    to->regex = regex_new(from->text, &err);
    if (!to->regex)
        findings_add(v->b->f, FIND_VALUE, SEVERITY_ERROR, "%s", err.text)->object =
            object_name(v->b, o);
}

/* A withoutHeaders regex takes an absent header for an empty one (Istio sets
 * treat_missing_header_as_empty): where the expression covers the empty value, an absent header
 * must not pass, so the header has to be there as well. */
static bool covers_empty(const struct match_string *m)
{
    return m->kind == MATCH_REGEX && m->regex && regex_match(m->regex, STR("")) == MATCH_YES;
}

static void add_headers(struct filling *v, const struct object *o, const struct named_match *list,
                        size_t count, bool negate, struct route_match *m)
{
    struct arena *a = &v->vhost->part.arena;

    for (size_t i = 0; i < count; i++) {
        struct header_match *h = &m->headers[m->header_count++];

        h->name = lower(a, list[i].key);
        h->negate = negate;
        copy_match(v, o, &list[i].value, &h->value);
        if (negate && covers_empty(&h->value))
            m->headers[m->header_count++] =
                (struct header_match){.name = h->name, .value = {.kind = MATCH_PRESENT}};
    }
}

static void fill_match(struct filling *v, const struct object *o,
                       const struct http_rule_match *from, struct route_match *to)
{
    struct arena *a = &v->vhost->part.arena;

    copy_match(v, o, &from->uri, &to->path);
    to->path_nocase = from->ignore_uri_case;
    copy_match(v, o, &from->method, &to->method);
    copy_match(v, o, &from->scheme, &to->scheme);
    copy_match(v, o, &from->authority, &to->authority);
    to->headers = ARENA_ARRAY(a, from->headers_count + 2 * from->without_headers_count + 1,
                              struct header_match);
    add_headers(v, o, from->headers, from->headers_count, false, to);
    add_headers(v, o, from->without_headers, from->without_headers_count, true, to);
    to->queries = ARENA_ARRAY(a, from->query_params_count + 1, struct query_match);
    for (size_t i = 0; i < from->query_params_count; i++) {
        to->queries[i].name = arena_str(a, from->query_params[i].key);
        copy_match(v, o, &from->query_params[i].value, &to->queries[i].value);
        to->query_count++;
    }
}

static struct str cluster_name(struct arena *a, uint16_t port, struct str subset, struct str fqdn)
{
    return arena_printf(a, "outbound|%u|%.*s|%.*s", port, (int)subset.n, subset.n ? subset.p : "",
                        STR_ARG(fqdn));
}

/* Where a rule sends to. */
struct targets {
    struct weighted_cluster *clusters;
    size_t count;
    uint32_t total;
    struct str pending; /* a service among them that has to be subscribed to first, or empty */
};

static void add_target(struct build *b, struct arena *a, const struct rule_destination *d,
                       struct str ns, uint16_t used_port, struct targets *out)
{
    struct str fqdn = model_fqdn(&b->tmp, d->destination.host, ns, b->c->domain);
    const struct service *s = map_get(&b->by_fqdn, fqdn);
    uint16_t port = (uint16_t)d->destination.port.number;

    if (port == 0)
        port = s && s->port_count == 1 ? s->ports[0].number : used_port;
    if (s && !is_subscribed(b, s) && out->pending.n == 0)
        out->pending = arena_str(a, s->key);
    out->clusters[out->count].cluster =
        cluster_name(a, port, d->destination.subset, s ? lower(&b->tmp, s->fqdn) : fqdn);
    out->clusters[out->count++].weight = (uint32_t)d->weight;
    out->total += (uint32_t)d->weight;
}

/* Weight 0 gets nothing; a single destination, or several that all say 0, gets everything. */
static void find_targets(struct build *b, struct arena *a, const struct rule_destination *list,
                         size_t count, struct str ns, uint16_t used_port, struct targets *out)
{
    bool any = false;

    *out = (struct targets){.clusters = ARENA_ARRAY(a, count + 1, struct weighted_cluster)};
    for (size_t i = 0; i < count; i++)
        any = any || list[i].weight > 0;
    for (size_t i = 0; i < count; i++) {
        if (list[i].weight > 0 || !any)
            add_target(b, a, &list[i], ns, used_port, out);
    }
    if (any && count > 1)
        return;
    out->total = (uint32_t)out->count;
    for (size_t i = 0; i < out->count; i++)
        out->clusters[i].weight = 1;
}

static unsigned retry_bit(struct str word)
{
    static const struct {
        const char *word;
        unsigned bit;
    } words[] = {
        {"connect-failure",        RETRY_CONNECT_FAILURE     },
        {"refused-stream",         RETRY_REFUSED_STREAM      },
        {"reset",                  RETRY_RESET               },
        {"5xx",                    RETRY_5XX                 },
        {"gateway-error",          RETRY_GATEWAY_ERROR       },
        {"retriable-status-codes", RETRY_STATUS_CODES        },
        {"reset-before-request",   RETRY_RESET_BEFORE_REQUEST},
        {"retriable-4xx",          RETRY_RETRIABLE_4XX       },
        {"cancelled",              RETRY_GRPC_CANCELLED      },
        {"deadline-exceeded",      RETRY_GRPC_DEADLINE       },
        {"internal",               RETRY_GRPC_INTERNAL       },
        {"resource-exhausted",     RETRY_GRPC_RESOURCE       },
        {"unavailable",            RETRY_GRPC_UNAVAILABLE    },
        {"envoy-ratelimited",      RETRY_ENVOY_RATELIMITED   }
    };

    for (size_t i = 0; i < COUNT(words); i++) {
        if (str_eq(word, str_from(words[i].word)))
            return words[i].bit;
    }
    return 0;
}

/* A list given replaces the default one; a status in it implies retriable-status-codes. */
static void fill_retry_on(struct arena *a, struct str list, struct retry_policy *out)
{
    uint16_t *codes = ARENA_ARRAY(a, list.n / 2 + 1, uint16_t);
    struct str word;
    uint64_t code;

    out->on = 0;
    out->codes = codes;
    while (str_next(&list, ',', &word)) {
        word = str_trim(word);
        if (str_uint(word, 100, 599, &code)) {
            codes[out->code_count++] = (uint16_t)code;
            out->on |= RETRY_STATUS_CODES;
        } else {
            out->on |= retry_bit(word); /* the schema refused words that are not there */
        }
    }
}

static void fill_retry(struct arena *a, const struct http_retry *from, struct retry_policy *out)
{
    *out = (struct retry_policy){.attempts = RETRY_ATTEMPTS,
                                 .on = RETRY_DEFAULT_ON,
                                 .backoff_base_ms = RETRY_BACKOFF_MS,
                                 .avoid_previous = true};
    if (!from)
        return;
    out->attempts = from->attempts > 0 ? (uint32_t)from->attempts : 0;
    out->per_try_timeout_ms = to_ms_or(from->per_try_timeout_ns, 0);
    out->backoff_base_ms = to_ms_or(from->backoff_ns, RETRY_BACKOFF_MS);
    out->avoid_previous = from->retry_ignore_previous_hosts;
    if (from->retry_on.n)
        fill_retry_on(a, from->retry_on, out);
}

static struct route *new_route(struct filling *v)
{
    v->routes = room(&v->b->tmp, v->routes, v->count, &v->cap, sizeof(struct route));
    return &v->routes[v->count++];
}

static void add_route(struct filling *v, const struct object *o, const struct http_rule *rule,
                      const struct http_rule_match *match, const struct place *p)
{
    struct arena *a = &v->vhost->part.arena;
    struct route *r = new_route(v);
    struct targets to;

    r->name = match && match->name.n
                  ? arena_printf(a, "%.*s.%.*s", STR_ARG(rule->name), STR_ARG(match->name))
                  : arena_str(a, rule->name);
    if (match)
        fill_match(v, o, match, &r->match);
    find_targets(v->b, a, rule->route, rule->route_count, o->meta.ns, p->port, &to);
    r->clusters = to.clusters;
    r->cluster_count = to.count;
    r->weight_total = to.total;
    if (to.pending.n) {
        r->action = ROUTE_PENDING;
        if (v->vhost->service.n == 0)
            v->vhost->service = to.pending;
    }
    r->timeout_ms = to_ms_or(rule->timeout_ns, 0);
    fill_retry(a, rule->retries, &r->retry);
}

static bool is_catch_all(const struct route *r)
{
    const struct route_match *m = &r->match;
    bool any_path = m->path.kind == MATCH_ANY ||
                    (m->path.kind == MATCH_PREFIX && str_eq(m->path.text, STR("/"))) ||
                    (m->path.kind == MATCH_REGEX && str_eq(m->path.text, STR(".*")));

    return any_path && m->header_count == 0 && m->query_count == 0 && m->method.kind == MATCH_ANY &&
           m->scheme.kind == MATCH_ANY && m->authority.kind == MATCH_ANY;
}

/* The routes that one VirtualService contributes here, up to its first catch-all: what follows that
 * is dead. */
static void add_routes(struct filling *v, const struct rules *rules, const struct place *p)
{
    for (size_t i = 0; i < rules->spec->http_count; i++) {
        const struct http_rule *rule = &rules->spec->http[i];

        if (rule->match_count == 0) {
            add_route(v, rules->object, rule, NULL, p);
            return;
        }
        for (size_t k = 0; k < rule->match_count; k++) {
            const struct http_rule_match *m = &rule->match[k];

            if (!holds_here(v->b, p, rules->object, m->port, &m->source_labels, m->source_namespace,
                            m->gateways, m->gateways_count))
                continue;
            add_route(v, rules->object, rule, m, p);
            if (is_catch_all(&v->routes[v->count - 1]))
                return;
        }
    }
}

static void add_default_route(struct filling *v, const struct service *s, uint16_t port)
{
    struct arena *a = &v->vhost->part.arena;
    struct route *r = new_route(v);

    r->name = STR("default");
    r->clusters = ARENA_NEW(a, struct weighted_cluster);
    r->clusters[0].cluster = cluster_name(a, port, STR_NONE, lower(&v->b->tmp, s->fqdn));
    r->clusters[0].weight = 1;
    r->cluster_count = 1;
    r->weight_total = 1;
    fill_retry(a, NULL, &r->retry);
}

static void add_pending_route(struct filling *v, const struct service *s)
{
    struct route *r = new_route(v);

    r->name = STR("default");
    r->action = ROUTE_PENDING;
    v->vhost->service = arena_str(&v->vhost->part.arena, s->key);
}

static struct filling vhost_begin(struct build *b, struct str name)
{
    struct vhost *v = part_new(sizeof(struct vhost));

    v->part.unref_children = unref_vhost;
    v->name = arena_str(&v->part.arena, name);
    return (struct filling){.b = b, .vhost = v};
}

static void vhost_end(struct filling *v, struct table *t)
{
    struct vhost *made = v->vhost;

    made->routes = ARENA_ARRAY(&made->part.arena, v->count + 1, struct route);
    if (v->count)
        memcpy(made->routes, v->routes, v->count * sizeof(struct route));
    made->route_count = v->count;
    t->vhosts = room(&v->b->tmp, t->vhosts, t->count, &t->cap, sizeof(struct vhost *));
    t->vhosts[t->count++] = made;
}

static struct table *table_for(struct build *b, struct str name)
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

static void tables_end(struct build *b)
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

/* ---- names of services ---- */

typedef void form_fn(void *arg, struct str form);

/* Every name that callers of this agent may use (fields.md 1.3), and weft's own short domain. */
static void each_form(struct build *b, const struct service *s, form_fn *fn, void *arg)
{
    struct arena *a = &b->tmp;
    struct str fqdn = lower(a, s->fqdn), name = lower(a, s->name);
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
static size_t service_addresses(struct build *b, const struct service *s, struct addr **out)
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

struct domains {
    struct table *table;
    struct vhost *vhost;
    struct str *list; /* in the vhost's arena, with room */
    size_t count;
};

#define FORMS_MAX 6 /* of each_form */

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
    size_t n = service_addresses(b, s, &addresses);
    char text[ADDR_TEXT_MAX];

    d.list = ARENA_ARRAY(&v->part.arena, n + FORMS_MAX, struct str);
    each_form(b, s, add_domain, &d);
    for (size_t i = 0; i < n; i++) {
        addr_format_ip(&addresses[i], text);
        add_domain(&d, arena_printf(&b->tmp, addresses[i].family == 6 ? "[%s]" : "%s", text));
    }
    v->domains = d.list;
    v->domain_count = d.count;
}

/* ---- outbound ---- */

/* The virtual host of a service's port in the table of `number` (which is the port, or 80 as its
 * alias). */
static void service_vhost(struct build *b, const struct service *s, const struct service_port *port,
                          struct table *t, uint16_t number)
{
    struct str fqdn = lower(&b->tmp, s->fqdn);
    struct filling v = vhost_begin(b, arena_printf(&b->tmp, "%.*s:%u", STR_ARG(fqdn), number));
    const struct rules *rules = rules_for(b, fqdn);
    struct place place = mesh_place(b, port->number);

    add_service_domains(b, t, v.vhost, s);
    if (!is_subscribed(b, s))
        add_pending_route(&v, s);
    else if (rules)
        add_routes(&v, rules, &place);
    if (v.count == 0)
        add_default_route(&v, s, port->number);
    vhost_end(&v, t);
}

static void fill_subnets(struct arena *a, const struct l4_match *m, struct tcp_route *r)
{
    r->subnets = ARENA_ARRAY(a, m->destination_subnets_count + 1, struct cidr);
    for (size_t i = 0; i < m->destination_subnets_count; i++) {
        if (cidr_parse(m->destination_subnets[i], &r->subnets[r->subnet_count]))
            r->subnet_count++;
    }
}

/* A listener's TCP routes while they grow. */
struct tcp_filling {
    struct build *b;
    struct listener *listener;
    struct tcp_route *routes; /* in b->tmp */
    size_t count, cap;
    bool is_closed; /* the last one takes everything */
    struct str pending;
};

static void add_tcp_route(struct tcp_filling *t, const struct rules *rules,
                          const struct l4_rule *rule, const struct l4_match *m,
                          const struct place *p)
{
    struct arena *a = &t->listener->part.arena;
    struct tcp_route *r;
    struct targets to;

    t->routes = room(&t->b->tmp, t->routes, t->count, &t->cap, sizeof(struct tcp_route));
    r = &t->routes[t->count++];
    find_targets(t->b, a, rule->route, rule->route_count, rules->object->meta.ns, p->port, &to);
    r->name = arena_str(a, rules->object->meta.name);
    r->clusters = to.clusters;
    r->cluster_count = to.count;
    r->weight_total = to.total;
    if (m)
        fill_subnets(a, m, r);
    if (to.pending.n && t->pending.n == 0)
        t->pending = to.pending;
    t->is_closed = r->subnet_count == 0;
}

static void add_tcp_routes(struct tcp_filling *t, const struct rules *rules, const struct place *p)
{
    for (size_t i = 0; i < rules->spec->tcp_count && !t->is_closed; i++) {
        const struct l4_rule *rule = &rules->spec->tcp[i];

        if (rule->match_count == 0)
            add_tcp_route(t, rules, rule, NULL, p);
        for (size_t k = 0; k < rule->match_count && !t->is_closed; k++) {
            const struct l4_match *m = &rule->match[k];

            if (holds_here(t->b, p, rules->object, m->port, &m->source_labels, m->source_namespace,
                           m->gateways, m->gateways_count))
                add_tcp_route(t, rules, rule, m, p);
        }
    }
}

static void add_plain_tcp_route(struct tcp_filling *t, struct str name, struct str cluster)
{
    struct arena *a = &t->listener->part.arena;
    struct tcp_route *r;

    t->routes = room(&t->b->tmp, t->routes, t->count, &t->cap, sizeof(struct tcp_route));
    r = &t->routes[t->count++];
    r->name = arena_str(a, name);
    r->clusters = ARENA_NEW(a, struct weighted_cluster);
    r->clusters[0].cluster = arena_str(a, cluster);
    r->clusters[0].weight = 1;
    r->cluster_count = 1;
    r->weight_total = 1;
    t->is_closed = true;
}

static void tcp_end(struct tcp_filling *t)
{
    struct listener *l = t->listener;

    l->tcp = ARENA_ARRAY(&l->part.arena, t->count + 1, struct tcp_route);
    if (t->count)
        memcpy(l->tcp, t->routes, t->count * sizeof(struct tcp_route));
    l->tcp_count = t->count;
}

static void service_tcp(struct build *b, struct listener *l, const struct service *s, uint16_t port)
{
    struct tcp_filling t = {.b = b, .listener = l};
    struct str fqdn = lower(&b->tmp, s->fqdn);
    const struct rules *rules = rules_for(b, fqdn);
    struct place place = mesh_place(b, port);

    if (rules)
        add_tcp_routes(&t, rules, &place);
    if (!t.is_closed)
        add_plain_tcp_route(&t, STR("default"), cluster_name(&b->tmp, port, STR_NONE, fqdn));
    tcp_end(&t);
    if (t.pending.n) { /* a destination is not complete yet: connections wait for it */
        l->is_pending = true;
        l->service = t.pending;
    }
}

static struct listener *new_listener(struct str name, enum listener_kind kind,
                                     enum app_protocol protocol, const struct addr *at)
{
    struct listener *l = part_new(sizeof(struct listener));

    l->part.unref_children = unref_listener;
    l->name = arena_str(&l->part.arena, name);
    l->kind = kind;
    l->protocol = protocol;
    l->at = *at;
    l->tcp_idle_ms = HOUR_MS;
    return l;
}

/* `number` is what clients address: the port, or 80 as its alias. */
static void outbound_listener(struct build *b, const struct service *s,
                              const struct service_port *port, struct addr at, uint16_t number,
                              struct table *t)
{
    char text[ADDR_TEXT_MAX];
    struct listener *l;
    struct str name;

    at.port = number;
    name = arena_printf(&b->tmp, "%s_%u", addr_format_ip(&at, text), number);
    if (map_put(&b->listeners, name, b)) /* two services at one address: the first has it */
        return;
    l = new_listener(name, LISTENER_OUTBOUND, protocol_of(port->protocol), &at);
    l->service = arena_str(&l->part.arena, s->key);
    l->identity = arena_str(&l->part.arena, b->identity);
    listener_who(l, &b->who);
    if (t)
        l->http = part_ref(t->made);
    if (!is_subscribed(b, s))
        l->is_pending = true;
    else if (l->protocol != APP_HTTP)
        service_tcp(b, l, s, port->number);
    snapshot_add_listener(b->out, l);
}

static void outbound_port(struct build *b, const struct service *s, const struct service_port *port,
                          uint16_t number)
{
    struct table *t = NULL;
    struct addr *addresses, any = {.family = 4};
    size_t n = service_addresses(b, s, &addresses);

    if (protocol_of(port->protocol) != APP_TCP) {
        t = table_for(b, arena_printf(&b->tmp, "%u", number));
        service_vhost(b, s, port, t, number);
    }
    for (size_t i = 0; i < n; i++)
        outbound_listener(b, s, port, addresses[i], number, t);
    if (n == 0) /* wildcard hosts, resolution NONE: any address with that port, where capture brings
                   it here */
        outbound_listener(b, s, port, any, number, t);
}

static const struct service_port *port_numbered(const struct service *s, uint16_t number)
{
    for (size_t i = 0; i < s->port_count; i++) {
        if (s->ports[i].number == number)
            return &s->ports[i];
    }
    return NULL;
}

/* "http://web/" works although web listens on 8080: the first HTTP port answers on 80 too, if
 * nothing else does. */
static void outbound_alias(struct build *b, const struct service *s)
{
    if (port_numbered(s, 80) ||
        (!s->vip4.family && !s->vip6.family && (s->is_external || s->address_count == 0)))
        return;
    for (size_t i = 0; i < s->port_count; i++) {
        if (protocol_of(s->ports[i].protocol) == APP_HTTP) {
            outbound_port(b, s, &s->ports[i], 80);
            return;
        }
    }
}

static bool has_service(const struct build *b, struct str host)
{
    if (!str_has(host, '*'))
        return map_get(&b->by_fqdn, host) != NULL;
    for (size_t i = 0; i < b->service_count; i++) {
        if (match_host(host, b->services[i]->fqdn))
            return true;
    }
    return false;
}

/* Hosts of rules that no service has are served on port 80 (fields.md 4.6). */
static void unregistered_hosts(struct build *b, const struct map *rules)
{
    const struct map_entry *e;

    for (size_t i = 0; (e = map_each(rules, &i));) {
        struct place place = mesh_place(b, 80);
        struct domains d;
        struct filling v;
        struct table *t;

        if (has_service(b, e->key))
            continue;
        t = table_for(b, STR("80"));
        v = vhost_begin(b, arena_printf(&b->tmp, "%.*s:80", STR_ARG(e->key)));
        d = (struct domains){t, v.vhost, ARENA_ARRAY(&v.vhost->part.arena, 1, struct str), 0};
        add_domain(&d, e->key);
        v.vhost->domains = d.list;
        v.vhost->domain_count = d.count;
        add_routes(&v, e->value, &place);
        vhost_end(&v, t);
    }
}

static void build_outbound(struct build *b)
{
    for (size_t i = 0; i < b->service_count; i++) {
        for (size_t k = 0; k < b->services[i]->port_count; k++)
            outbound_port(b, b->services[i], &b->services[i]->ports[k],
                          b->services[i]->ports[k].number);
    }
    for (size_t i = 0; i < b->service_count; i++)
        outbound_alias(b, b->services[i]);
    unregistered_hosts(b, &b->exact_rules);
    unregistered_hosts(b, &b->wild_rules);
}

/* ---- DestinationRules and clusters ---- */

/* What the DestinationRules of one service come to. */
struct policy {
    const struct traffic_policy *top; /* NULL: none */
    const struct subset **subsets;
    size_t subset_count;
};

static bool rule_usable(const struct build *b, const struct policy_rule *r, struct str ns,
                        bool local)
{
    const struct destination_rule *dr = r->spec;
    int group = visibility(dr->export_to, dr->export_to_count, r->object->meta.ns, b->ns);

    if (!str_eq(r->object->meta.ns, ns))
        return false;
    if (!local)
        return group >= 0;
    /* A caller in the root namespace takes only rules private to it from here; the others come
     * last. */
    return str_eq(b->ns, b->c->root_namespace) ? group == 0 : true;
}

/* The most specific host among the rules of one namespace, or empty. */
static struct str best_policy_host(const struct build *b, struct str fqdn, struct str ns,
                                   bool local)
{
    struct str best = STR_NONE;

    for (size_t i = 0; i < b->policy_count; i++) {
        struct str host = b->policies[i].host;
        bool exact = !str_has(host, '*');

        if (!match_host(host, fqdn) || !rule_usable(b, &b->policies[i], ns, local))
            continue;
        if (exact)
            return host;
        if (host.n > best.n)
            best = host;
    }
    return best;
}

/* Is what `a` exports to within what `b` exports to? */
static bool exports_within(const struct policy_rule *a, const struct policy_rule *b)
{
    const struct destination_rule *x = a->spec, *y = b->spec;

    if (y->export_to_count == 0 || has_export(y->export_to, y->export_to_count, STR("*")))
        return true;
    if (x->export_to_count == 0)
        return false;
    for (size_t i = 0; i < x->export_to_count; i++) {
        if (!has_export(y->export_to, y->export_to_count, x->export_to[i]))
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
static void merge_policies(struct build *b, struct str host, struct str ns, bool local,
                           struct policy *out)
{
    const struct policy_rule *first = NULL;
    size_t room_for = 0;

    for (size_t i = 0; i < b->policy_count; i++)
        room_for += b->policies[i].spec->subsets_count;
    out->subsets = ARENA_ARRAY(&b->tmp, room_for + 1, const struct subset *);
    for (size_t i = 0; i < b->policy_count; i++) {
        const struct policy_rule *r = &b->policies[i];

        if (!str_eq(r->host, host) || !rule_usable(b, r, ns, local) ||
            (first && !exports_within(first, r)))
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
static void find_policy(struct build *b, const struct service *s, struct policy *out)
{
    const struct str places[] = {b->ns, s->ns, b->c->root_namespace};
    struct str fqdn = lower(&b->tmp, s->fqdn);

    *out = (struct policy){0};
    for (size_t i = 0; i < COUNT(places); i++) {
        struct str host = best_policy_host(b, fqdn, places[i], i == 0);

        if (host.n) {
            merge_policies(b, host, places[i], i == 0, out);
            return;
        }
    }
}

/* The blocks that hold for one port of one subset. */
struct blocks {
    const struct load_balancer *balance;
    const struct connection_pool *pool;
    const struct client_tls *tls;
};

/* True if the policy has an entry for the port: then its blocks count alone, those it omits are the
 * defaults. */
static bool port_blocks(const struct traffic_policy *p, uint16_t port, struct blocks *out)
{
    for (size_t i = 0; i < p->port_level_count; i++) {
        const struct port_traffic_policy *l = &p->port_level[i];

        if (l->port.number == port) {
            *out = (struct blocks){l->load_balancer, l->connection_pool, l->tls};
            return true;
        }
    }
    return false;
}

static void find_blocks(const struct traffic_policy *top, const struct traffic_policy *subset,
                        uint16_t port, struct blocks *out)
{
    *out = (struct blocks){0};
    if (top && !port_blocks(top, port, out))
        *out = (struct blocks){top->load_balancer, top->connection_pool, top->tls};
    if (!subset || port_blocks(subset, port, out))
        return;
    if (subset->load_balancer)
        out->balance = subset->load_balancer;
    if (subset->connection_pool)
        out->pool = subset->connection_pool;
    if (subset->tls)
        out->tls = subset->tls;
}

static void apply_balance(struct cluster *c, const struct load_balancer *lb)
{
    if (!lb)
        return;
    switch (lb->simple) {
    case LOAD_BALANCER_RANDOM:
        c->balance = BALANCE_RANDOM;
        break;
    case LOAD_BALANCER_ROUND_ROBIN:
        c->balance = BALANCE_ROUND_ROBIN;
        break;
    case LOAD_BALANCER_PASSTHROUGH:
        c->balance = BALANCE_PASSTHROUGH;
        c->kind = CLUSTER_ORIGINAL_DST;
        break;
    case LOAD_BALANCER_UNSPECIFIED:
    case LOAD_BALANCER_LEAST_CONN:
    case LOAD_BALANCER_LEAST_REQUEST:
        c->balance = BALANCE_LEAST_REQUEST;
        break;
    }
}

static void apply_blocks(struct cluster *c, const struct blocks *p)
{
    const struct tcp_pool *tcp = p->pool ? p->pool->tcp : NULL;
    const struct http_pool *http = p->pool ? p->pool->http : NULL;

    apply_balance(c, p->balance);
    c->connect_timeout_ms =
        tcp ? to_ms_or(tcp->connect_timeout_ns, LIMIT_CONNECT_MS) : LIMIT_CONNECT_MS;
    c->tcp_idle_ms = tcp ? to_ms_or(tcp->idle_timeout_ns, HOUR_MS) : HOUR_MS;
    c->http_idle_ms = http ? to_ms_or(http->idle_timeout_ns, HOUR_MS) : HOUR_MS;
    if (p->tls && p->tls->mode == CLIENT_TLS_DISABLE)
        c->tls = CLUSTER_TLS_OFF;
    else if (p->tls && p->tls->mode == CLIENT_TLS_ISTIO_MUTUAL)
        c->tls = CLUSTER_TLS_MUTUAL;
    else
        c->tls = CLUSTER_TLS_AUTO; /* SIMPLE and MUTUAL are refused by the schema */
}

static void fill_endpoint(const struct build *b, struct arena *a, const struct workload *w,
                          const struct service_port *port, struct endpoint *e)
{
    struct who who;
    bool is_plain = false;

    e->addr = w->address;
    e->addr.port = port->target_port;
    for (size_t i = 0; i < w->port_count; i++) {
        if (!str_eq(w->ports[i].name, port->name))
            continue;
        if (w->ports[i].target_port)
            e->addr.port = w->ports[i].target_port;
        is_plain = w->ports[i].is_plain;
    }
    e->is_mesh = w->is_mesh && !is_plain;
    e->is_local = w->host_id.n && str_eq(w->host_id, b->self->host_id);
    e->weight = MAX(w->weight, 1u);
    e->identity = arena_str(a, w->identity);
    e->host = arena_str(a, w->host.n ? w->host : STR("unknown"));
    who_is(a, &w->labels, w->name, w->ns, &who);
    e->workload = who.workload;
    e->workload_ns = who.ns;
    e->app = who.app;
    e->version = who.version;
    e->canonical_service = who.canonical_service;
    e->canonical_revision = who.canonical_revision;
}

static struct endpoint_set *make_endpoints(const struct build *b, struct str cluster,
                                           struct workload *const *workloads, size_t count,
                                           const struct service_port *port,
                                           const struct labels *subset)
{
    struct endpoint_set *set = part_new(sizeof(struct endpoint_set));
    struct arena *a = &set->part.arena;

    set->cluster = arena_str(a, cluster);
    set->endpoints = ARENA_ARRAY(a, count + 1, struct endpoint);
    for (size_t i = 0; i < count; i++) {
        if (!subset || labels_match(&workloads[i]->labels, subset))
            fill_endpoint(b, a, workloads[i], port, &set->endpoints[set->count++]);
    }
    return set;
}

static struct cluster *new_cluster(struct str name, enum cluster_kind kind)
{
    struct cluster *c = part_new(sizeof(struct cluster));

    c->part.unref_children = unref_cluster;
    c->name = arena_str(&c->part.arena, name);
    c->kind = kind;
    c->connect_timeout_ms = LIMIT_CONNECT_MS;
    c->tcp_idle_ms = HOUR_MS;
    c->http_idle_ms = HOUR_MS;
    return c;
}

static void name_service(struct cluster *c, struct str fqdn, struct str name, struct str ns)
{
    c->service_fqdn = arena_str(&c->part.arena, fqdn);
    c->service_name = arena_str(&c->part.arena, name);
    c->service_ns = arena_str(&c->part.arena, ns);
}

/* A service with its workloads, while its clusters are made. */
struct member {
    const struct service *service;
    struct workload **workloads;
    size_t workload_count, cap;
    struct policy policy;
};

static void service_cluster(struct build *b, const struct member *m,
                            const struct service_port *port, const struct subset *subset)
{
    const struct service *s = m->service;
    struct str fqdn = lower(&b->tmp, s->fqdn), subset_name = subset ? subset->name : STR_NONE;
    struct str name = cluster_name(&b->tmp, port->number, subset_name, fqdn);
    struct cluster *c =
        new_cluster(name, s->is_original_dst ? CLUSTER_ORIGINAL_DST : CLUSTER_ENDPOINTS);
    struct blocks blocks;

    c->protocol = protocol_of(port->protocol);
    find_blocks(m->policy.top, subset ? subset->traffic_policy : NULL, port->number, &blocks);
    apply_blocks(c, &blocks);
    c->sni = arena_printf(&c->part.arena, "outbound_.%u_._.%.*s_.%.*s", port->number,
                          (int)subset_name.n, subset_name.n ? subset_name.p : "", STR_ARG(fqdn));
    c->sans = arena_str(&c->part.arena, s->sans);
    name_service(c, fqdn, s->name, s->ns);
    if (c->kind == CLUSTER_ENDPOINTS)
        c->endpoints = make_endpoints(b, name, m->workloads, m->workload_count, port,
                                      subset ? &subset->labels : NULL);
    snapshot_add_cluster(b->out, c);
}

static struct member *find_members(struct build *b, struct map *by_key)
{
    struct member *members = ARENA_ARRAY(&b->tmp, b->service_count + 1, struct member);

    for (size_t i = 0; i < b->service_count; i++) {
        members[i].service = b->services[i];
        map_put(by_key, b->services[i]->key, &members[i]);
    }
    for (size_t i = 0; i < b->c->workload_count; i++) {
        struct member *m = map_get(by_key, b->c->workloads[i]->service);

        if (!m)
            continue;
        m->workloads =
            room(&b->tmp, m->workloads, m->workload_count, &m->cap, sizeof(struct workload *));
        m->workloads[m->workload_count++] = b->c->workloads[i];
    }
    return members;
}

static void build_clusters(struct build *b)
{
    struct map by_key;
    struct member *members;
    struct cluster *passthrough = new_cluster(STR("PassthroughCluster"), CLUSTER_ORIGINAL_DST);

    map_init(&by_key);
    members = find_members(b, &by_key);
    for (size_t i = 0; i < b->service_count; i++) {
        struct member *m = &members[i];

        if (!is_subscribed(b, m->service))
            continue;
        find_policy(b, m->service, &m->policy);
        for (size_t k = 0; k < m->service->port_count; k++) {
            service_cluster(b, m, &m->service->ports[k], NULL);
            for (size_t n = 0; n < m->policy.subset_count; n++)
                service_cluster(b, m, &m->service->ports[k], m->policy.subsets[n]);
        }
    }
    map_done(&by_key);
    passthrough->protocol = APP_TCP;
    passthrough->tls = CLUSTER_TLS_OFF;
    passthrough->http_idle_ms = PASSTHROUGH_IDLE_MS;
    name_service(passthrough, STR("unknown"), STR("PassthroughCluster"), STR("unknown"));
    snapshot_add_cluster(b->out, passthrough);
}

/* ---- inbound ---- */

static void inbound_cluster(struct build *b, const struct local_service *s, struct str name)
{
    struct cluster *c = new_cluster(name, CLUSTER_LOCAL);

    c->tls = CLUSTER_TLS_OFF;
    c->protocol = protocol_of(s->protocol);
    c->local = s->app;
    name_service(c, s->fqdn, s->name, s->ns);
    snapshot_add_cluster(b->out, c);
}

/* No retries and no timeout: those are the caller's business. */
static void inbound_table(struct build *b, struct listener *l, struct str name, struct str cluster,
                          uint16_t port)
{
    struct table *t = table_for(b, name);
    struct filling v = vhost_begin(b, arena_printf(&b->tmp, "inbound|http|%u", port));
    struct arena *a = &v.vhost->part.arena;
    struct route *r = new_route(&v);

    v.vhost->domains = ARENA_ARRAY(a, 1, struct str);
    v.vhost->domains[0] = STR("*");
    v.vhost->domain_count = 1;
    r->name = STR("default");
    r->clusters = ARENA_NEW(a, struct weighted_cluster);
    r->clusters[0] = (struct weighted_cluster){arena_str(a, cluster), 1};
    r->cluster_count = 1;
    r->weight_total = 1;
    vhost_end(&v, t);
    l->http = part_ref(t->made);
}

static void inbound_service(struct build *b, const struct local_service *s)
{
    struct str name = arena_printf(&b->tmp, "inbound|%u||", s->port);
    struct addr at = {.port = s->port};
    struct listener *l;
    struct who who;

    if (map_put(&b->listeners, name, b)) {
        findings_add(b->f, FIND_CONFLICT, SEVERITY_WARNING,
                     "service %.*s/%.*s: another service of this host has port %u already; it gets "
                     "no traffic from "
                     "other hosts",
                     STR_ARG(s->ns), STR_ARG(s->name), s->port);
        return;
    }
    l = new_listener(name, LISTENER_INBOUND, protocol_of(s->protocol), &at);
    l->service = arena_str(&l->part.arena, s->key);
    l->identity = arena_str(&l->part.arena, s->identity);
    l->cluster = arena_str(&l->part.arena, name);
    l->service_fqdn = arena_str(&l->part.arena, s->fqdn);
    l->service_name = arena_str(&l->part.arena, s->name);
    l->service_ns = arena_str(&l->part.arena, s->ns);
    l->mtls = (enum mtls_mode)catalog_mtls_mode(b->c->objects, b->c->object_count,
                                                b->c->root_namespace, s->ns, &s->labels, s->port);
    who_is(&b->tmp, &s->labels, s->name, s->ns, &who);
    listener_who(l, &who);
    if (l->protocol != APP_TCP)
        inbound_table(b, l, name, name, s->port);
    if (l->protocol != APP_HTTP) {
        struct tcp_filling t = {.b = b, .listener = l};

        add_plain_tcp_route(&t, STR("default"), name);
        tcp_end(&t);
    }
    snapshot_add_listener(b->out, l);
    inbound_cluster(b, s, name);
}

/* ---- gateways ---- */

/* One server block of one Gateway on a gate. */
struct gate_server {
    const struct object *gateway;
    const struct gateway_server *server;
    struct str ref; /* "ns/name" of the Gateway */
};

/* A port that this host opens as a gateway: all servers of all Gateways on it. */
struct gate {
    struct addr at;
    enum app_protocol protocol;
    struct gate_server *servers;
    size_t count, cap;
    struct str *refs; /* of the Gateways, as many as servers */
};

/* A host of a gate and the VirtualServices that serve it, oldest first. */
struct gate_host {
    struct str domain;
    const struct rules **rules;
    size_t count, cap;
};

static bool gate_address(const struct gateway_server *s, struct addr *out)
{
    *out = (struct addr){.family = 4}; /* 0.0.0.0: a host without IPv6 could not bind both */
    if (s->bind.n && !addr_parse_ip(s->bind, out))
        return false;
    out->port = (uint16_t)s->port.number;
    return true;
}

static void gate_conflict(struct build *b, const struct gate_server *g, const char *why)
{
    struct finding *f =
        findings_add(b->f, FIND_CONFLICT, SEVERITY_WARNING, "the server on port %u is left out: %s",
                     g->server->port.number, why);

    f->object = object_name(b, g->gateway);
    f->pointer = STR("/spec/servers");
}

static void gate_add(struct build *b, struct gate *gates, size_t *count,
                     const struct gate_server *g)
{
    enum app_protocol protocol = protocol_of(g->server->port.protocol);
    struct gate *gate = NULL;
    struct addr at;

    if (!gate_address(g->server, &at)) {
        gate_conflict(b, g, "its bind is not an IP address");
        return;
    }
    for (size_t i = 0; i < *count; i++) {
        if (addr_eq(&gates[i].at, &at))
            gate = &gates[i];
    }
    if (gate && gate->protocol != protocol) {
        gate_conflict(b, g, "an older Gateway uses this port with another protocol");
        return;
    }
    if (!gate) {
        gate = &gates[(*count)++];
        *gate = (struct gate){.at = at, .protocol = protocol};
    }
    gate->servers =
        room(&b->tmp, gate->servers, gate->count, &gate->cap, sizeof(struct gate_server));
    gate->servers[gate->count++] = *g;
}

/* What "[ns/]dns" of a server and a host of a VirtualService in `ns` have in common: the more
 * specific one, or empty. */
static struct str common_host(const struct gate_server *g, struct str server_host, struct str ns,
                              struct str host)
{
    struct str want_ns, dns = server_host;

    if (str_cut(&dns, '/', &want_ns)) {
        if (str_eq(want_ns, STR(".")))
            want_ns = g->gateway->meta.ns;
        if (!str_eq(want_ns, STR("*")) && !str_eq(want_ns, ns))
            return STR_NONE;
    }
    if (match_host_covers(dns, host))
        return host;
    return match_host_covers(host, dns) ? dns : STR_NONE;
}

static bool bound_to(struct build *b, const struct rules *r, const struct gate_server *g)
{
    struct place p = {.gateways = &g->ref, .gateway_count = 1};

    return names_place(b, r->spec->gateways, r->spec->gateways_count, r->object->meta.ns, &p);
}

/* The hosts of a gate while they are collected. */
struct gate_hosts {
    struct gate_host **list;
    size_t count, cap;
    struct map by_domain; /* -> struct gate_host * */
};

static struct gate_host *gate_host_for(struct build *b, struct gate_hosts *h, struct str domain)
{
    struct gate_host *host = map_get(&h->by_domain, domain);

    if (host)
        return host;
    host = ARENA_NEW(&b->tmp, struct gate_host);
    host->domain = domain;
    h->list = room(&b->tmp, h->list, h->count, &h->cap, sizeof(struct gate_host *));
    h->list[h->count++] = host;
    map_put(&h->by_domain, domain, host);
    return host;
}

static void add_gate_host(struct build *b, struct gate_hosts *h, struct str domain,
                          const struct rules *r)
{
    struct gate_host *host = gate_host_for(b, h, lower(&b->tmp, domain));

    if (host->count && host->rules[host->count - 1] == r)
        return;
    host->rules = room(&b->tmp, host->rules, host->count, &host->cap, sizeof(struct rules *));
    host->rules[host->count++] = r;
}

static void match_gate_hosts(struct build *b, const struct gate_server *g, const struct rules *r,
                             struct gate_hosts *h)
{
    for (size_t i = 0; i < g->server->hosts_count; i++) {
        for (size_t k = 0; k < r->spec->hosts_count; k++) {
            struct str domain =
                common_host(g, g->server->hosts[i], r->object->meta.ns, r->hosts[k]);

            if (domain.n)
                add_gate_host(b, h, domain, r);
        }
    }
}

/* VirtualServices that a gateway in `ns` may see, oldest first. */
static const struct rules **rules_by_age(struct build *b, struct str ns, size_t *count)
{
    const struct rules **list = ARENA_ARRAY(&b->tmp, b->rules_count + 1, const struct rules *);
    size_t n = 0;

    for (size_t i = 0; i < b->rules_count; i++) {
        const struct rules *r = &b->rules[i];

        if (visibility(r->spec->export_to, r->spec->export_to_count, r->object->meta.ns, ns) >= 0)
            list[n++] = r;
    }
    qsort(list, n, sizeof(struct rules *), compare_rules_by_age);
    *count = n;
    return list;
}

/* Routes of all VirtualServices of a host one after the other, those that take everything last. */
static void gate_vhost(struct build *b, struct table *t, const struct gate_host *host,
                       const struct place *p)
{
    struct filling v =
        vhost_begin(b, arena_printf(&b->tmp, "%.*s:%u", STR_ARG(host->domain), p->port));
    struct filling sorted = v;

    v.vhost->domains = ARENA_ARRAY(&v.vhost->part.arena, 1, struct str);
    v.vhost->domains[0] = arena_str(&v.vhost->part.arena, host->domain);
    v.vhost->domain_count = 1;
    for (size_t i = 0; i < host->count; i++)
        add_routes(&v, host->rules[i], p);
    for (size_t i = 0; i < v.count; i++) {
        if (!is_catch_all(&v.routes[i]))
            *new_route(&sorted) = v.routes[i];
    }
    for (size_t i = 0; i < v.count; i++) {
        if (is_catch_all(&v.routes[i]))
            *new_route(&sorted) = v.routes[i];
    }
    vhost_end(&sorted, t);
}

static void gate_http(struct build *b, struct listener *l, const struct gate *gate,
                      const struct place *p)
{
    struct gate_hosts hosts = {0};
    size_t count;
    const struct rules **rules = rules_by_age(b, p->ns, &count);
    char text[ADDR_TEXT_MAX];
    struct table *t;

    t = table_for(b, addr_is_any(&gate->at) ? arena_printf(&b->tmp, "http.%u", gate->at.port)
                                            : arena_printf(&b->tmp, "http.%u.%s", gate->at.port,
                                                           addr_format_ip(&gate->at, text)));
    map_init(&hosts.by_domain);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < gate->count; k++) {
            if (bound_to(b, rules[i], &gate->servers[k]))
                match_gate_hosts(b, &gate->servers[k], rules[i], &hosts);
        }
    }
    for (size_t i = 0; i < hosts.count; i++)
        gate_vhost(b, t, hosts.list[i], p);
    map_done(&hosts.by_domain);
    l->http = part_ref(t->made);
}

static void gate_tcp(struct build *b, struct listener *l, const struct gate *gate,
                     const struct place *p)
{
    struct tcp_filling t = {.b = b, .listener = l};
    size_t count;
    const struct rules **rules = rules_by_age(b, p->ns, &count);

    for (size_t i = 0; i < count && !t.is_closed; i++) {
        bool bound = false;

        for (size_t k = 0; k < gate->count; k++)
            bound = bound || bound_to(b, rules[i], &gate->servers[k]);
        if (bound)
            add_tcp_routes(&t, rules[i], p);
    }
    tcp_end(&t);
    if (t.pending.n) {
        l->is_pending = true;
        l->service = t.pending;
    }
}

static void open_gate(struct build *b, const struct local_service *s, struct gate *gate)
{
    struct place p = {.port = gate->at.port, .ns = s->ns, .labels = &s->labels};
    struct listener *l;
    struct who who;
    char text[ADDR_TEXT_MAX];
    struct str name = arena_printf(&b->tmp, "gateway_%s", addr_format(&gate->at, text));

    if (map_put(&b->listeners, name, b)) {
        gate_conflict(b, &gate->servers[0], "another gateway service of this host has opened it");
        return;
    }
    gate->refs = ARENA_ARRAY(&b->tmp, gate->count + 1, struct str);
    for (size_t i = 0; i < gate->count; i++)
        gate->refs[i] = gate->servers[i].ref;
    p.gateways = gate->refs;
    p.gateway_count = gate->count;
    l = new_listener(name, LISTENER_GATEWAY, gate->protocol, &gate->at);
    l->service = arena_str(&l->part.arena, s->key);
    l->identity = arena_str(&l->part.arena, s->identity);
    who_is(&b->tmp, &s->labels, s->name, s->ns, &who);
    listener_who(l, &who);
    if (gate->protocol != APP_TCP)
        gate_http(b, l, gate, &p);
    else
        gate_tcp(b, l, gate, &p);
    snapshot_add_listener(b->out, l);
}

static void build_gateway(struct build *b, const struct local_service *s)
{
    struct gate *gates;
    size_t count = 0, servers = 0;

    for (size_t i = 0; i < b->gateway_count; i++)
        servers += ((const struct gateway *)b->gateways[i]->spec)->servers_count;
    gates = ARENA_ARRAY(&b->tmp, servers + 1, struct gate);
    for (size_t i = 0; i < b->gateway_count; i++) {
        const struct object *o = b->gateways[i];
        const struct gateway *g = o->spec;

        if (!labels_match(&s->labels, &g->selector))
            continue;
        for (size_t k = 0; k < g->servers_count; k++) {
            struct gate_server one = {o, &g->servers[k], join2(&b->tmp, o->meta.ns, o->meta.name)};

            gate_add(b, gates, &count, &one);
        }
    }
    for (size_t i = 0; i < count; i++)
        open_gate(b, s, &gates[i]);
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
    map_init(&b->tables);
    map_init(&b->listeners);
    find_caller(b);
    find_services(b);
}

static void build_done(struct build *b)
{
    map_done(&b->by_fqdn);
    map_done(&b->mesh_names);
    map_done(&b->exact_rules);
    map_done(&b->wild_rules);
    map_done(&b->tables);
    map_done(&b->listeners);
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
    build_outbound(&b);
    build_clusters(&b);
    for (size_t i = 0; i < self->service_count; i++) {
        if (self->services[i].is_gateway)
            build_gateway(&b, &self->services[i]);
        else
            inbound_service(&b, &self->services[i]);
    }
    tables_end(&b);
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
    for (size_t i = 0; i < b.service_count; i++) {
        struct naming n = {.fn = fn, .arg = arg, .service = b.services[i]};
        struct addr *addresses;
        size_t count = service_addresses(&b, n.service, &addresses);

        /* One address of each family, as a caller needs no more; nothing to say about names without
         * any. */
        for (size_t k = count; k-- > 0;)
            *(addresses[k].family == 6 ? &n.vip6 : &n.vip4) = addresses[k];
        if (count && !str_has(n.service->fqdn, '*'))
            each_form(&b, n.service, tell_name, &n);
    }
    build_done(&b);
    arena_done(&a);
}
