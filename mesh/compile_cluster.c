/* DestinationRules become clusters: what their blocks come to for each port and subset (compile_policy.c finds them), and
 * the workloads behind a service as endpoints. */
#include "mesh/compile_parts.h"

#include "mesh/base/limits.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/mesh_config.h"

#define PASSTHROUGH_IDLE_MS 300000
#define NAMES_BYTES         65536

struct str compile_cluster_name(struct arena *a, uint16_t port, struct str subset, struct str fqdn)
{
    return arena_printf(a, "outbound|%u|%.*s|%.*s", port, (int)subset.n, subset.n ? subset.p : "",
                        STR_ARG(fqdn));
}

/* ---- clusters ---- */

#define SHARE_PER_CENT 10000

/* outlierDetection's defaults. */
#define OUTLIER_RUN         5
#define OUTLIER_INTERVAL_MS 10000
#define OUTLIER_BASE_MS     30000
#define OUTLIER_MAX_PERCENT 10

static uint32_t limit_of(int32_t n)
{
    return n > 0 ? (uint32_t)n : 0;
}

static void apply_probes(struct cluster *c, const struct tcp_keepalive *k)
{
    if (!k)
        return;
    c->probes.is_on = true;
    c->probes.count = k->probes;
    c->probes.after_s = compile_ms_or(k->time_ns, 0) / 1000;
    c->probes.every_s = compile_ms_or(k->interval_ns, 0) / 1000;
}

/* Where no DestinationRule says otherwise. */
static int64_t connect_timeout_ms(const struct build *b)
{
    return b->mesh ? compile_ms_or(b->mesh->connect_timeout_ns, LIMIT_CONNECT_MS) : LIMIT_CONNECT_MS;
}

static void apply_tcp_pool(struct cluster *c, const struct tcp_pool *p)
{
    c->connect_timeout_ms = compile_ms_or(p->connect_timeout_ns, c->connect_timeout_ms);
    c->tcp_idle_ms = compile_ms_or(p->idle_timeout_ns, HOUR_MS);
    c->age_ms_max = compile_ms_or(p->max_connection_duration_ns, 0);
    c->limits.connections = limit_of(p->max_connections);
    apply_probes(c, p->tcp_keepalive);
}

static void apply_http_pool(struct cluster *c, const struct http_pool *p)
{
    c->http_idle_ms = compile_ms_or(p->idle_timeout_ns, HOUR_MS);
    c->requests_per_connection = limit_of(p->max_requests_per_connection);
    c->streams_per_connection = limit_of(p->max_concurrent_streams);
    if (p->use_client_protocol)
        c->http = CLUSTER_HTTP_SAME;
    if (p->http2_keepalive) {
        c->http2_probe_every_ms = compile_ms_or(p->http2_keepalive->interval_ns, 0);
        c->http2_probe_within_ms = compile_ms_or(p->http2_keepalive->timeout_ns, 0);
    }
    c->limits.pending = limit_of(p->max_pending_requests);
    c->limits.requests = limit_of(p->max_requests);
    c->limits.retries = limit_of(p->max_retries);
}

static void apply_pool(struct cluster *c, const struct connection_pool *p)
{
    if (p && p->tcp)
        apply_tcp_pool(c, p->tcp);
    if (p && p->http)
        apply_http_pool(c, p->http);
}

/* It takes the place of maxRetries. */
static void apply_budget(struct cluster *c, const struct retry_budget *b)
{
    if (!b)
        return;
    c->limits.has_retry_budget = true;
    c->limits.retry_share = (uint32_t)(b->percent * SHARE_PER_CENT);
    c->limits.retries = b->min_retry_concurrency;
}

/* Without a name that is expected, the server must have that of the request; but one who asks for
 * another name by `sni` has the chain checked only (fields.md 4.11). */
static void fill_material(struct build *b, struct cluster *c, const struct client_tls *t)
{
    struct arena *a = &c->part.arena;
    struct tls_material *m = &c->origination->material;

    if (!t->credential_name.n)
        compile_client_files(a, t, m);
    else if (!compile_client_credential(b, a, b->ns, t, m))
        findings_add(b->f, FIND_REFERENCE, SEVERITY_WARNING,
                     "%.*s cannot be called: credentialName %.*s is no Credential of namespace %.*s with what the mode "
                     "needs, or not given to this host, which is neither a gateway nor selected by the rule",
                     STR_ARG(c->name), STR_ARG(t->credential_name), STR_ARG(b->ns));
}

static void originate(struct build *b, struct cluster *c, const struct client_tls *t)
{
    struct arena *a = &c->part.arena;
    struct origination *o = ARENA_NEW(a, struct origination);

    c->tls = CLUSTER_TLS_WEB;
    c->origination = o;
    o->skip_verify = t->insecure_skip_verify;
    o->sni = arena_str(a, t->sni);
    o->names = compile_words(a, t->subject_alt_names, t->subject_alt_names_count);
    if (o->names.n == 0)
        o->names = c->sans.n ? c->sans : t->sni.n ? STR("*") : STR_NONE;
    fill_material(b, c, t);
}

static void apply_tls(struct build *b, struct cluster *c, const struct client_tls *t)
{
    if (!t)
        return;
    switch (t->mode) {
    case CLIENT_TLS_DISABLE:
        c->tls = CLUSTER_TLS_OFF;
        break;
    case CLIENT_TLS_SIMPLE:
    case CLIENT_TLS_MUTUAL:
        originate(b, c, t);
        break;
    case CLIENT_TLS_ISTIO_MUTUAL:
        c->tls = CLUSTER_TLS_MUTUAL;
        if (t->sni.n)
            c->sni = arena_str(&c->part.arena, t->sni);
        if (t->subject_alt_names_count)
            c->sans = compile_words(&c->part.arena, t->subject_alt_names, t->subject_alt_names_count);
        break;
    }
}

static void apply_outlier(struct cluster *c, const struct outlier_detection *o)
{
    struct outlier_policy *p = &c->outlier;

    if (!o)
        return;
    p->is_on = true;
    p->splits_local = o->split_external_local_origin_errors;
    p->errors = o->has_consecutive_5xx_errors ? o->consecutive_5xx_errors : OUTLIER_RUN;
    p->gateway_errors = o->has_consecutive_gateway_errors ? o->consecutive_gateway_errors : 0;
    p->local_failures = o->consecutive_local_origin_failures > 0 ? o->consecutive_local_origin_failures
                                                                 : OUTLIER_RUN; /* 0 is Istio's "not given" */
    p->interval_ms = compile_ms_or(o->interval_ns, OUTLIER_INTERVAL_MS);
    p->base_ms = compile_ms_or(o->base_ejection_time_ns, OUTLIER_BASE_MS);
    p->max_percent = o->max_ejection_percent > 0 ? (uint32_t)o->max_ejection_percent : OUTLIER_MAX_PERCENT;
    p->min_health_percent = o->min_health_percent > 0 ? (uint32_t)o->min_health_percent : 0;
    p->statuses = ARENA_ARRAY(&c->part.arena, o->http_error_codes_count + 1, uint32_t);
    for (size_t i = 0; i < o->http_error_codes_count; i++)
        p->statuses[p->status_count++] = o->http_error_codes[i];
}

static void apply_blocks(struct build *b, struct cluster *c, const struct blocks *p)
{
    compile_balance(c, p->balance);
    apply_pool(c, p->pool);
    apply_budget(c, p->budget);
    apply_tls(b, c, p->tls);
    apply_outlier(c, p->outlier);
    if (p->proxy)
        c->proxy_header = p->proxy->version == PROXY_PROTOCOL_V2 ? CLUSTER_HEADER_BINARY : CLUSTER_HEADER_TEXT;
    if (p->tunnel) {
        c->forward_to = arena_printf(&c->part.arena, "%.*s:%u", STR_ARG(p->tunnel->target_host), p->tunnel->target_port);
        c->forwards_by_post = str_eq(p->tunnel->protocol, STR("POST"));
    }
}

/* The workload's own idea of a port; NULL: it has none. */
static const struct service_port *port_at(const struct workload *w, const struct service_port *port)
{
    for (size_t i = 0; i < w->port_count; i++) {
        if (str_eq(w->ports[i].name, port->name))
            return &w->ports[i];
    }
    return NULL;
}

static void fill_endpoint(const struct build *b, struct arena *a, const struct workload *w,
                          const struct service_port *port, struct endpoint *e)
{
    const struct service_port *at = port_at(w, port);
    struct who who;

    e->addr = w->address;
    e->addr.port = at && at->target_port ? at->target_port : port->target_port;
    e->is_mesh = w->is_mesh && !(at && at->is_plain);
    e->is_local = w->host_id.n && str_eq(w->host_id, b->self->host_id);
    e->weight = MAX(w->weight, 1u);
    e->locality = arena_str(a, w->locality);
    e->identity = arena_str(a, w->identity);
    e->host = arena_str(a, w->host.n ? w->host : STR("unknown"));
    compile_who_is(a, &w->labels, w->name, w->ns, &who);
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
                                           const struct labels *subset, const struct labels **labels)
{
    struct endpoint_set *set = part_new(sizeof(struct endpoint_set));
    struct arena *a = &set->part.arena;

    set->cluster = arena_str(a, cluster);
    set->endpoints = ARENA_ARRAY(a, count + 1, struct endpoint);
    for (size_t i = 0; i < count; i++) {
        const struct service_port *at = port_at(workloads[i], port);

        if ((at && at->is_anothers) || (subset && !labels_match(&workloads[i]->labels, subset)))
            continue;
        labels[set->count] = &workloads[i]->labels;
        fill_endpoint(b, a, workloads[i], port, &set->endpoints[set->count++]);
    }
    return set;
}

static void unref_cluster(struct part *p)
{
    part_unref(CONTAINER(p, struct cluster, part)->endpoints);
}

/* A port whose protocol nobody declared follows its client, unless a rule for it says otherwise. An application is asked as its port
 * was declared, whatever came here. */
static bool is_upgraded(const struct build *b, const struct cluster *c, const struct connection_pool *p)
{
    enum h2_upgrade policy = p && p->http ? p->http->h2_upgrade : H2_UPGRADE_DEFAULT;

    if (policy == H2_UPGRADE_DEFAULT && b->mesh && c->protocol == APP_HTTP && !(p && p->http && p->http->use_client_protocol))
        policy = b->mesh->h2_upgrade;
    return policy == H2_UPGRADE_ALWAYS;
}

static struct cluster *new_cluster(struct build *b, struct str name, enum cluster_kind kind)
{
    struct cluster *c = part_new(sizeof(struct cluster));

    c->part.unref_children = unref_cluster;
    c->name = arena_str(&c->part.arena, name);
    c->kind = kind;
    c->connect_timeout_ms = connect_timeout_ms(b);
    if (b->mesh)
        apply_probes(c, b->mesh->tcp_keepalive);
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

static struct endpoint_set *cluster_endpoints(struct build *b, struct str name, const struct member *m,
                                              const struct service_port *port, const struct labels *subset,
                                              const struct blocks *blocks)
{
    const struct labels **labels = ARENA_ARRAY(&b->tmp, m->workload_count + 1, const struct labels *);
    struct endpoint_set *set = make_endpoints(b, name, m->workloads, m->workload_count, port, subset, labels);

    compile_locality(b, set, labels, blocks->balance, blocks->outlier != NULL);
    compile_ring(set, blocks->balance);
    compile_warmup(set, blocks->balance);
    return set;
}

static void service_cluster(struct build *b, const struct member *m,
                            const struct service_port *port, const struct subset *subset)
{
    const struct service *s = m->service;
    struct str fqdn = compile_lower(&b->tmp, s->fqdn),
               subset_name = subset ? subset->name : STR_NONE;
    struct str name = compile_cluster_name(&b->tmp, port->number, subset_name, fqdn);
    struct cluster *c =
        new_cluster(b, name, s->is_original_dst ? CLUSTER_ORIGINAL_DST : CLUSTER_ENDPOINTS);
    struct blocks blocks = {0};

    c->protocol = compile_protocol_of(port->protocol);
    c->http = compile_http_of(port->protocol);
    if (b->mesh && !b->mesh->auto_mtls)
        c->tls = CLUSTER_TLS_OFF; /* but where a rule asks for it */
    compile_lay_over(m->policy.top, port->number, &blocks);
    compile_lay_over(subset ? subset->traffic_policy : NULL, port->number, &blocks);
    c->sni = arena_printf(&c->part.arena, "outbound_.%u_._.%.*s_.%.*s", port->number,
                          (int)subset_name.n, subset_name.n ? subset_name.p : "", STR_ARG(fqdn));
    c->sans = arena_str(&c->part.arena, s->sans);
    apply_blocks(b, c, &blocks);
    if (is_upgraded(b, c, blocks.pool))
        c->http = CLUSTER_HTTP2;
    name_service(c, fqdn, s->name, s->ns);
    if (c->kind == CLUSTER_ENDPOINTS)
        c->endpoints = cluster_endpoints(b, name, m, port, subset ? &subset->labels : NULL, &blocks);
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
        m->workloads = compile_room(&b->tmp, m->workloads, m->workload_count, &m->cap,
                                    sizeof(struct workload *));
        m->workloads[m->workload_count++] = b->c->workloads[i];
    }
    return members;
}

void compile_clusters(struct build *b)
{
    struct map by_key;
    struct member *members;
    struct cluster *passthrough = new_cluster(b, STR("PassthroughCluster"), CLUSTER_ORIGINAL_DST);

    map_init(&by_key);
    members = find_members(b, &by_key);
    for (size_t i = 0; i < b->service_count; i++) {
        struct member *m = &members[i];

        if (!compile_is_subscribed(b, m->service))
            continue;
        compile_find_policy(b, m->service, b->ns, &m->policy);
        for (size_t k = 0; k < m->service->port_count; k++) {
            service_cluster(b, m, &m->service->ports[k], NULL);
            for (size_t n = 0; n < m->policy.subset_count; n++)
                service_cluster(b, m, &m->service->ports[k], m->policy.subsets[n]);
        }
    }
    map_done(&by_key);
    passthrough->protocol = APP_TCP;
    passthrough->http = CLUSTER_HTTP_SAME;
    passthrough->tls = CLUSTER_TLS_OFF;
    passthrough->http_idle_ms = PASSTHROUGH_IDLE_MS;
    name_service(passthrough, STR("unknown"), STR("PassthroughCluster"), STR("unknown"));
    snapshot_add_cluster(b->out, passthrough);
}

void compile_inbound_cluster(struct build *b, const struct inbound *in, struct str name)
{
    const struct local_service *s = in->service;
    struct cluster *c = new_cluster(b, name, CLUSTER_LOCAL);

    c->tls = CLUSTER_TLS_OFF;
    c->protocol = compile_protocol_of(in->protocol);
    c->http = compile_http_of(in->protocol);
    c->local = in->app;
    apply_pool(c, in->pool ? in->pool : compile_own_pool(b, in));
    if (in->offered)
        name_service(c, compile_lower(&b->tmp, in->offered->fqdn), in->offered->name, s->ns);
    else
        name_service(c, s->fqdn, s->name, s->ns);
    snapshot_add_cluster(b->out, c);
}
