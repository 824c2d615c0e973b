#include "mesh/snapshot_print.h"

static const char *const protocols[] = {[APP_SNIFF] = "sniff", [APP_HTTP] = "http", [APP_TCP] = "tcp"};

/* ---- edits and weighted clusters ---- */

static const struct member edit_rows[] = {
    MEMBER("name", struct header_edit, name),
    MEMBER("value", struct header_edit, value.text),
};
static const struct shape edit_shape = SHAPE(edit_rows);

static const struct member edits_rows[] = {
    LIST("remove", struct header_edits, remove, remove_count, AS_TEXT),
    LIST("set", struct header_edits, set, set_count, AS_OBJECT, .of = &edit_shape),
    LIST("add", struct header_edits, add, add_count, AS_OBJECT, .of = &edit_shape),
};
static const struct shape edits_shape = SHAPE(edits_rows);

static const struct member weighted_rows[] = {
    MEMBER("name", struct weighted_cluster, cluster),
    MEMBER("weight", struct weighted_cluster, weight),
    MEMBER("authority", struct weighted_cluster, authority.text, .is_optional = true),
    OBJECT("request", struct weighted_cluster, request, edits_shape, .is_optional = true),
    OBJECT("response", struct weighted_cluster, response, edits_shape, .is_optional = true),
};
static const struct shape weighted_shape = SHAPE(weighted_rows);

/* ---- matches ---- */

static void print_match(struct buf *b, const void *value)
{
    static const char *const kinds[] = {"any", "present", "exact", "prefix", "regex"};
    const struct match_string *m = value;

    buf_printf(b, "{\"%s\":", kinds[m->kind]);
    buf_json(b, m->text);
    buf_addc(b, '}');
}

static bool matches_any(const void *value)
{
    return ((const struct match_string *)value)->kind == MATCH_ANY;
}

static const struct custom match = {print_match, matches_any};

#define MATCH(json, type, m) MEMBER_AS(json, type, m, AS_CUSTOM, .custom = &match, .is_optional = true)

static const struct member header_match_rows[] = {
    MEMBER("name", struct header_match, name),
    MEMBER("without", struct header_match, negate),
    MATCH("value", struct header_match, value),
};
static const struct shape header_match_shape = SHAPE(header_match_rows);

static const struct member query_match_rows[] = {
    MEMBER("name", struct query_match, name),
    MATCH("value", struct query_match, value),
};
static const struct shape query_match_shape = SHAPE(query_match_rows);

static const struct member route_match_rows[] = {
    MATCH("path", struct route_match, path),
    MEMBER("pathNoCase", struct route_match, path_nocase, .is_optional = true),
    MATCH("method", struct route_match, method),
    MATCH("scheme", struct route_match, scheme),
    MATCH("authority", struct route_match, authority),
    LIST("headers", struct route_match, headers, header_count, AS_OBJECT, .of = &header_match_shape),
    LIST("queries", struct route_match, queries, query_count, AS_OBJECT, .of = &query_match_shape),
};
static const struct shape route_match_shape = SHAPE(route_match_rows);

/* ---- what a route does ---- */

static const char *const rewrites[] = {
    [PATH_KEEP] = "keep", [PATH_WHOLE] = "whole", [PATH_PREFIX] = "prefix", [PATH_REGEX] = "regex"};

static const struct member rewrite_rows[] = {
    NAMED("kind", struct route_rewrite, kind, rewrites),
    MEMBER("path", struct route_rewrite, path),
    MEMBER("prefixBytes", struct route_rewrite, prefix_bytes),
    MEMBER("pattern", struct route_rewrite, pattern),
    MEMBER("authority", struct route_rewrite, authority.text),
};
static const struct shape rewrite_shape = SHAPE(rewrite_rows);

static const struct member redirect_rows[] = {
    MEMBER("status", struct route_redirect, status),
    MEMBER("scheme", struct route_redirect, scheme),
    MEMBER("authority", struct route_redirect, authority),
    MEMBER("port", struct route_redirect, port),
    NAMED("kind", struct route_redirect, kind, rewrites),
    MEMBER("path", struct route_redirect, path),
    MEMBER("prefixBytes", struct route_redirect, prefix_bytes),
};
static const struct shape redirect_shape = SHAPE(redirect_rows);

static const struct member answer_rows[] = {
    MEMBER("status", struct route_answer, status),
    MEMBER("body", struct route_answer, body),
};
static const struct shape answer_shape = SHAPE(answer_rows);

static const struct member fault_rows[] = {
    MEMBER("delayShare", struct route_fault, delay_share),
    MEMBER("delayMs", struct route_fault, delay_ms),
    MEMBER("abortShare", struct route_fault, abort_share),
    MEMBER("abortStatus", struct route_fault, abort_status),
    MEMBER("grpcStatus", struct route_fault, grpc_status),
};
static const struct shape fault_shape = SHAPE(fault_rows);

static const struct member cors_rows[] = {
    LIST("origins", struct route_cors, origins, origin_count, AS_CUSTOM, .custom = &match),
    MEMBER("methods", struct route_cors, methods),
    MEMBER("headers", struct route_cors, headers),
    MEMBER("expose", struct route_cors, expose),
    MEMBER("maxAge", struct route_cors, max_age),
    MEMBER("credentials", struct route_cors, credentials),
    MEMBER("answerUnmatched", struct route_cors, answer_unmatched),
};
static const struct shape cors_shape = SHAPE(cors_rows);

static const struct member mirror_rows[] = {
    MEMBER("cluster", struct route_mirror, cluster),
    MEMBER("share", struct route_mirror, share),
};
static const struct shape mirror_shape = SHAPE(mirror_rows);

static const char *const retry_bits[] = {
    "connect-failure", "refused-stream", "reset", "5xx", "gateway-error", "retriable-status-codes", "reset-before-request",
    "retriable-4xx", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable", "envoy-ratelimited",
    "retriable-headers", NULL}; /* RETRY_* from the lowest */
static const char *const avoids[] = {
    [AVOID_NEVER] = "never", [AVOID_UNLESS_HASHED] = "unlessHashed", [AVOID_ALWAYS] = "always"};

static const struct member retry_rows[] = {
    MEMBER("attempts", struct retry_policy, attempts),
    MEMBER_AS("on", struct retry_policy, on, AS_BITS, .names = retry_bits),
    LIST("codes", struct retry_policy, codes, code_count, AS_NUMBER),
    MEMBER("perTryTimeoutMs", struct retry_policy, per_try_timeout_ms),
    MEMBER("backoffBaseMs", struct retry_policy, backoff_base_ms),
    MEMBER("goesRemote", struct retry_policy, goes_remote),
    NAMED("avoidPrevious", struct retry_policy, avoid_previous, avoids),
};
static const struct shape retry_shape = SHAPE(retry_rows);

/* ---- routes ---- */

static const char *const actions[] = {
    [ROUTE_FORWARD] = "forward", [ROUTE_PENDING] = "pending", [ROUTE_REDIRECT] = "redirect", [ROUTE_ANSWER] = "answer"};

static const struct member route_rows[] = {
    MEMBER("name", struct route, name),
    MEMBER("rule", struct route, rule, .is_optional = true),
    OBJECT("match", struct route, match, route_match_shape),
    NAMED("action", struct route, action, actions),
    LIST("clusters", struct route, clusters, cluster_count, AS_OBJECT, .of = &weighted_shape),
    MEMBER("weightTotal", struct route, weight_total),
    OBJECT("redirect", struct route, redirect, redirect_shape, .is_optional = true),
    OBJECT("answer", struct route, answer, answer_shape, .is_optional = true),
    OBJECT("rewrite", struct route, rewrite, rewrite_shape, .is_optional = true),
    OBJECT("request", struct route, request, edits_shape, .is_optional = true),
    OBJECT("response", struct route, response, edits_shape, .is_optional = true),
    OBJECT("fault", struct route, fault, fault_shape, .place = PLACE_POINTER),
    OBJECT("cors", struct route, cors, cors_shape, .place = PLACE_POINTER),
    LIST("mirrors", struct route, mirrors, mirror_count, AS_OBJECT, .of = &mirror_shape, .is_optional = true),
    MEMBER("timeoutMs", struct route, timeout_ms),
    OBJECT("retry", struct route, retry, retry_shape),
};
static const struct shape route_shape = SHAPE(route_rows);

static const struct member vhost_rows[] = {
    MEMBER("name", struct vhost, name),
    LIST("domains", struct vhost, domains, domain_count, AS_TEXT),
    MEMBER("service", struct vhost, service),
    LIST("routes", struct vhost, routes, route_count, AS_OBJECT, .of = &route_shape),
};
const struct shape snapshot_vhost_shape = SHAPE(vhost_rows);

static const struct member table_rows[] = {
    MEMBER("name", struct route_table, name),
    POINTERS("virtualHosts", struct route_table, vhosts, vhost_count, snapshot_vhost_shape),
};
static const struct shape table_shape = SHAPE(table_rows);

/* ---- TLS ---- */

/* What a Credential holds is not printed: `creds` has its hash. */
static const struct member material_rows[] = {
    MEMBER("creds", struct tls_material, creds),
    MEMBER("caFile", struct tls_material, texts[TLS_TEXT_CA].file),
    MEMBER("crlFile", struct tls_material, texts[TLS_TEXT_CRL].file),
    MEMBER("certFile", struct tls_material, texts[TLS_TEXT_CERT].file),
    MEMBER("keyFile", struct tls_material, texts[TLS_TEXT_KEY].file),
    MEMBER("certFile2", struct tls_material, texts[TLS_TEXT_CERT_2].file),
    MEMBER("keyFile2", struct tls_material, texts[TLS_TEXT_KEY_2].file),
    MEMBER("systemAuthorities", struct tls_material, system_authorities),
};
static const struct shape material_shape = SHAPE(material_rows);

static const char *const clients[] = {[TLS_CLIENT_NONE] = "none",
                                      [TLS_CLIENT_OPTIONAL] = "optional",
                                      [TLS_CLIENT_REQUIRED] = "required",
                                      [TLS_CLIENT_MESH] = "mesh"};

static const struct member end_rows[] = {
    OBJECT(NULL, struct tls_end, material, material_shape),
    NAMED("client", struct tls_end, client, clients),
    MEMBER("clientNames", struct tls_end, client_names),
    MEMBER("clientPins", struct tls_end, client_pins),
    MEMBER("minVersion", struct tls_end, min_version),
    MEMBER("maxVersion", struct tls_end, max_version),
    MEMBER("ciphers", struct tls_end, ciphers),
    MEMBER("key", struct tls_end, key),
};
static const struct shape end_shape = SHAPE(end_rows);

static const struct member origination_rows[] = {
    OBJECT(NULL, struct origination, material, material_shape),
    MEMBER("sni", struct origination, sni),
    MEMBER("names", struct origination, names),
    MEMBER("skipVerify", struct origination, skip_verify),
};
static const struct shape origination_shape = SHAPE(origination_rows);

/* ---- clusters ---- */

static const struct member endpoint_rows[] = {
    MEMBER("address", struct endpoint, addr),
    MEMBER("mesh", struct endpoint, is_mesh),
    MEMBER("local", struct endpoint, is_local),
    MEMBER("weight", struct endpoint, weight),
    MEMBER("priority", struct endpoint, priority),
    MEMBER("share", struct endpoint, share),
    MEMBER("locality", struct endpoint, locality),
    MEMBER("identity", struct endpoint, identity),
    MEMBER("workload", struct endpoint, workload),
    MEMBER("workloadNamespace", struct endpoint, workload_ns),
    MEMBER("app", struct endpoint, app),
    MEMBER("version", struct endpoint, version),
    MEMBER("canonicalService", struct endpoint, canonical_service),
    MEMBER("canonicalRevision", struct endpoint, canonical_revision),
    MEMBER("host", struct endpoint, host),
};
static const struct shape endpoint_shape = SHAPE(endpoint_rows);

static const char *const rings[] = {[RING_NONE] = "none", [RING_POINTS] = "points", [RING_MAGLEV] = "maglev"};

static const struct member endpoints_rows[] = {
    LIST("endpoints", struct endpoint_set, endpoints, count, AS_OBJECT, .of = &endpoint_shape),
    LIST("shares", struct endpoint_set, shares, share_count, AS_NUMBER),
    MEMBER("warmupMs", struct endpoint_set, warmup.for_ms),
    MEMBER("warmupLeast", struct endpoint_set, warmup.least),
    MEMBER("warmupAggression", struct endpoint_set, warmup.aggression),
    NAMED("ring", struct endpoint_set, ring_kind, rings),
    MEMBER("ringSize", struct endpoint_set, ring_size),
};
const struct shape snapshot_endpoints_shape = SHAPE(endpoints_rows);

static const char *const hash_sources[] = {[HASH_BY_NOTHING] = "nothing",
                                           [HASH_BY_HEADER] = "header",
                                           [HASH_BY_COOKIE] = "cookie",
                                           [HASH_BY_SOURCE] = "source",
                                           [HASH_BY_QUERY] = "query"};

static const struct member hash_rows[] = {
    NAMED("by", struct hash_rule, by, hash_sources),
    MEMBER("name", struct hash_rule, name),
    MEMBER("makesCookie", struct hash_rule, makes_cookie),
    MEMBER("cookieTail", struct hash_rule, cookie_tail),
};
static const struct shape hash_shape = SHAPE(hash_rows);

static const struct member outlier_rows[] = {
    MEMBER("on", struct outlier_policy, is_on),
    MEMBER("splitsLocal", struct outlier_policy, splits_local),
    MEMBER("errors", struct outlier_policy, errors),
    MEMBER("gatewayErrors", struct outlier_policy, gateway_errors),
    MEMBER("localFailures", struct outlier_policy, local_failures),
    LIST("statuses", struct outlier_policy, statuses, status_count, AS_NUMBER),
    MEMBER("intervalMs", struct outlier_policy, interval_ms),
    MEMBER("baseMs", struct outlier_policy, base_ms),
    MEMBER("maxPercent", struct outlier_policy, max_percent),
    MEMBER("minHealthPercent", struct outlier_policy, min_health_percent),
};
static const struct shape outlier_shape = SHAPE(outlier_rows);

static const char *const cluster_kinds[] = {
    [CLUSTER_ENDPOINTS] = "endpoints", [CLUSTER_ORIGINAL_DST] = "originalDst", [CLUSTER_LOCAL] = "local"};
static const char *const cluster_tls[] = {[CLUSTER_TLS_AUTO] = "auto",
                                          [CLUSTER_TLS_OFF] = "off",
                                          [CLUSTER_TLS_MUTUAL] = "mutual",
                                          [CLUSTER_TLS_WEB] = "web"};
static const char *const cluster_headers[] = {
    [CLUSTER_HEADER_NONE] = "none", [CLUSTER_HEADER_TEXT] = "text", [CLUSTER_HEADER_BINARY] = "binary"};
static const char *const balances[] = {[BALANCE_LEAST_REQUEST] = "leastRequest",
                                       [BALANCE_ROUND_ROBIN] = "roundRobin",
                                       [BALANCE_RANDOM] = "random",
                                       [BALANCE_PASSTHROUGH] = "passthrough",
                                       [BALANCE_HASH] = "hash"};
static const char *const cluster_https[] = {
    [CLUSTER_HTTP1] = "1", [CLUSTER_HTTP2] = "2", [CLUSTER_HTTP_SAME] = "asClient"};

static const struct member cluster_rows[] = {
    MEMBER("name", struct cluster, name),
    NAMED("kind", struct cluster, kind, cluster_kinds),
    NAMED("tls", struct cluster, tls, cluster_tls),
    NAMED("balance", struct cluster, balance, balances),
    OBJECT("hash", struct cluster, hash, hash_shape, .is_optional = true),
    NAMED("protocol", struct cluster, protocol, protocols),
    MEMBER("connectTimeoutMs", struct cluster, connect_timeout_ms),
    MEMBER("tcpIdleMs", struct cluster, tcp_idle_ms),
    MEMBER("httpIdleMs", struct cluster, http_idle_ms),
    MEMBER("maxAgeMs", struct cluster, age_ms_max),
    NAMED("http", struct cluster, http, cluster_https),
    MEMBER("requestsPerConnection", struct cluster, requests_per_connection),
    MEMBER("streamsPerConnection", struct cluster, streams_per_connection),
    MEMBER("probeEveryMs", struct cluster, http2_probe_every_ms),
    MEMBER("probeWithinMs", struct cluster, http2_probe_within_ms),
    MEMBER("maxConnections", struct cluster, limits.connections),
    MEMBER("maxPending", struct cluster, limits.pending),
    MEMBER("maxRequests", struct cluster, limits.requests),
    MEMBER("maxRetries", struct cluster, limits.retries),
    MEMBER("retryBudget", struct cluster, limits.has_retry_budget),
    MEMBER("retryShare", struct cluster, limits.retry_share),
    OBJECT("outlierDetection", struct cluster, outlier, outlier_shape, .is_optional = true),
    MEMBER("keepalive", struct cluster, probes.is_on),
    MEMBER("keepaliveProbes", struct cluster, probes.count),
    MEMBER("keepaliveAfterS", struct cluster, probes.after_s),
    MEMBER("keepaliveEveryS", struct cluster, probes.every_s),
    MEMBER("sni", struct cluster, sni),
    MEMBER("sans", struct cluster, sans),
    NAMED("proxyHeader", struct cluster, proxy_header, cluster_headers),
    MEMBER("forwardTo", struct cluster, forward_to),
    MEMBER("forwardsByPost", struct cluster, forwards_by_post),
    OBJECT("origination", struct cluster, origination, origination_shape, .place = PLACE_POINTER),
    MEMBER("local", struct cluster, local, .is_optional = true),
    MEMBER("service", struct cluster, service_fqdn),
    MEMBER("serviceName", struct cluster, service_name),
    MEMBER("serviceNamespace", struct cluster, service_ns),
    OBJECT(NULL, struct cluster, endpoints, snapshot_endpoints_shape, .place = PLACE_POINTER),
};
const struct shape snapshot_cluster_shape = SHAPE(cluster_rows);

/* ---- listeners ---- */

static const struct member tcp_rows[] = {
    MEMBER("name", struct tcp_route, name),
    LIST("subnets", struct tcp_route, subnets, subnet_count, AS_SUBNET),
    LIST("serverNames", struct tcp_route, server_names, server_name_count, AS_TEXT),
    LIST("clusters", struct tcp_route, clusters, cluster_count, AS_OBJECT, .of = &weighted_shape),
    MEMBER("weightTotal", struct tcp_route, weight_total),
};
static const struct shape tcp_shape = SHAPE(tcp_rows);

static const char *const limit_keys[] = {[LIMIT_KEY_NONE] = "none",
                                         [LIMIT_KEY_ADDRESS] = "sourceIp",
                                         [LIMIT_KEY_PRINCIPAL] = "principal",
                                         [LIMIT_KEY_HEADER] = "header"};

static const struct member limit_rows[] = {
    MEMBER("bucket", struct limit, bucket),
    MEMBER("object", struct limit, object),
    MEMBER("name", struct limit, name),
    MEMBER("rule", struct limit, rule),
    NAMED("key", struct limit, key, limit_keys),
    MEMBER("header", struct limit, header),
    MEMBER("requests", struct limit, requests),
    MEMBER("burst", struct limit, burst),
    MEMBER("intervalNs", struct limit, interval_ns),
    MEMBER("maxKeys", struct limit, keys_max),
    MEMBER("status", struct limit, status),
    MEMBER("headers", struct limit, has_headers),
};
static const struct shape limit_shape = SHAPE(limit_rows);

static const char *const listener_kinds[] = {
    [LISTENER_OUTBOUND] = "outbound", [LISTENER_INBOUND] = "inbound", [LISTENER_GATEWAY] = "gateway"};
static const char *const mtls_modes[] = {
    [MTLS_PERMISSIVE] = "permissive", [MTLS_STRICT] = "strict", [MTLS_DISABLE] = "disable"};

static const struct member table_name_rows[] = {MEMBER("routeTable", struct route_table, name)};
static const struct shape table_name_shape = SHAPE(table_name_rows);

static const struct member listener_rows[] = {
    MEMBER("name", struct listener, name),
    NAMED("kind", struct listener, kind, listener_kinds),
    MEMBER("bound", struct listener, is_bound),
    NAMED("protocol", struct listener, protocol, protocols),
    MEMBER("at", struct listener, at),
    OBJECT(NULL, struct listener, http, table_name_shape, .place = PLACE_POINTER),
    LIST("tcp", struct listener, tcp, tcp_count, AS_OBJECT, .of = &tcp_shape),
    MEMBER("readsSni", struct listener, reads_sni),
    MEMBER("chain", struct listener, is_chain),
    MEMBER("isHttp2", struct listener, is_http2),
    MEMBER("isGrpcWeb", struct listener, is_grpc_web),
    MEMBER("takesProxyHeader", struct listener, takes_proxy_header),
    LIST("serverNames", struct listener, server_names, server_name_count, AS_TEXT),
    OBJECT("tls", struct listener, tls, end_shape, .place = PLACE_POINTER),
    MEMBER("service", struct listener, service),
    MEMBER("pending", struct listener, is_pending),
    MEMBER("identity", struct listener, identity),
    NAMED("mtls", struct listener, mtls, mtls_modes),
    MEMBER("cluster", struct listener, cluster),
    MEMBER("tcpIdleMs", struct listener, tcp_idle_ms),
    LIST("rateLimits", struct listener, limits, limit_count, AS_OBJECT, .of = &limit_shape, .is_optional = true),
    MEMBER("workload", struct listener, workload),
    MEMBER("workloadNamespace", struct listener, workload_ns),
    MEMBER("app", struct listener, app),
    MEMBER("version", struct listener, version),
    MEMBER("canonicalService", struct listener, canonical_service),
    MEMBER("canonicalRevision", struct listener, canonical_revision),
    MEMBER("serviceFqdn", struct listener, service_fqdn),
    MEMBER("serviceName", struct listener, service_name),
    MEMBER("serviceNamespace", struct listener, service_ns),
};
const struct shape snapshot_listener_shape = SHAPE(listener_rows);

/* ---- the whole ---- */

static const char *const path_modes[] = {
    [PATH_BASE] = "base", [PATH_AS_IS] = "asIs", [PATH_MERGE] = "merge", [PATH_DECODE] = "decode"};

/* A route table is printed once, however many listeners use it. */
struct dump {
    const struct snapshot *snapshot;
    struct route_table **tables;
    size_t table_count;
};

static const struct member snapshot_rows[] = {
    MEMBER("revision", struct snapshot, revision),
    MEMBER("epoch", struct snapshot, epoch),
    MEMBER("trustDomain", struct snapshot, trust_domain),
    MEMBER("node", struct snapshot, node),
    MEMBER("defaultIdentity", struct snapshot, default_identity),
    NAMED("paths", struct snapshot, path_mode, path_modes),
    MEMBER("protocolDetectionMs", struct snapshot, detection_ms),
    POINTERS("listeners", struct snapshot, listeners, listener_count, snapshot_listener_shape),
    POINTERS("clusters", struct snapshot, clusters, cluster_count, snapshot_cluster_shape),
};
static const struct shape snapshot_shape = SHAPE(snapshot_rows);

static const struct member dump_rows[] = {
    OBJECT(NULL, struct dump, snapshot, snapshot_shape, .place = PLACE_POINTER),
    POINTERS("routeTables", struct dump, tables, table_count, table_shape),
};
static const struct shape dump_shape = SHAPE(dump_rows);

void snapshot_dump(const struct snapshot *s, struct buf *out)
{
    struct dump d = {.snapshot = s};
    struct arena a;
    struct map seen;

    arena_init(&a);
    map_init(&seen);
    d.tables = arena_array(&a, s->listener_count, sizeof(*d.tables));
    for (size_t i = 0; i < s->listener_count; i++) {
        struct route_table *t = s->listeners[i]->http;

        if (t && !map_put(&seen, (struct str){(const char *)&t, sizeof(t)}, t))
            d.tables[d.table_count++] = t;
    }
    members_print(out, &dump_shape, &d);
    map_done(&seen);
    arena_done(&a);
}
