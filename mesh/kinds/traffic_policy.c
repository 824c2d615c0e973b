#include "mesh/kinds/common.h"

#include "mesh/base/limits.h"
#include "mesh/schema.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field_value simple_values[] = {
    {"UNSPECIFIED", LOAD_BALANCER_UNSPECIFIED, FIELD_BUILT, NULL, 0},
    {"LEAST_CONN", LOAD_BALANCER_LEAST_CONN, FIELD_DEPRECATED,
     "it is read as LEAST_REQUEST, the name to use", LOAD_BALANCER_LEAST_REQUEST},
    {"RANDOM", LOAD_BALANCER_RANDOM, FIELD_BUILT, NULL, 0},
    {"PASSTHROUGH", LOAD_BALANCER_PASSTHROUGH, FIELD_BUILT, NULL, 0},
    {"ROUND_ROBIN", LOAD_BALANCER_ROUND_ROBIN, FIELD_BUILT, NULL, 0},
    {"LEAST_REQUEST", LOAD_BALANCER_LEAST_REQUEST, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

static const struct field_value h2_upgrade_values[] = {
    {"DEFAULT", H2_UPGRADE_DEFAULT, FIELD_BUILT, NULL, 0},
    {"DO_NOT_UPGRADE", H2_UPGRADE_NEVER, FIELD_BUILT, NULL, 0},
    {"UPGRADE", H2_UPGRADE_ALWAYS, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

static const struct field_value client_tls_values[] = {
    {"DISABLE", CLIENT_TLS_DISABLE, FIELD_BUILT, NULL, 0},
    {"SIMPLE", CLIENT_TLS_SIMPLE, FIELD_BUILT, NULL, 0},
    {"MUTUAL", CLIENT_TLS_MUTUAL, FIELD_BUILT, NULL, 0},
    {"ISTIO_MUTUAL", CLIENT_TLS_ISTIO_MUTUAL, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

static const struct field_value proxy_protocol_values[] = {
    {"V1", PROXY_PROTOCOL_V1, FIELD_BUILT, NULL, 0},
    {"V2", PROXY_PROTOCOL_V2, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

/* ---- load balancing ---- */

/* What stands in a Set-Cookie field between its semicolons. */
static int check_cookie_text(struct str s, struct err *err)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c < 0x20 || c >= 0x7f || c == ';')
            return err_set(err, ERR_INVALID, "\"%.*s\" cannot stand in a cookie: printable ASCII without ';' can",
                           STR_ARG(s));
    }
    return 0;
}

static int check_cookie_name(struct str s, struct err *err)
{
    return common_check_plain_name(s, "!#$%&'*+-.^_`|~", err);
}

static const struct field cookie_attribute_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(cookie_attribute, name), .flags = FIELD_REQUIRED, .check = check_cookie_name,
     .meaning = "Attribute."},
    {"value", FIELD_STRING, SCHEMA_AT(cookie_attribute, value), .check = check_cookie_text, .meaning = "Its value."},
};
static SCHEMA(cookie_attribute_schema, "Attribute", cookie_attribute, cookie_attribute_fields);

static const struct field hash_cookie_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(hash_cookie, name), .flags = FIELD_REQUIRED, .check = check_cookie_name,
     .meaning = "Name of the cookie."},
    {"path", FIELD_STRING, SCHEMA_AT(hash_cookie, path), .check = check_cookie_text,
     .meaning = "Path of a cookie that the proxy makes."},
    {"ttl", FIELD_DURATION, SCHEMA_AT(hash_cookie, ttl_ns), .flags = FIELD_ZERO,
     .meaning =
         "Life of a cookie that the proxy makes; 0s is a session cookie, absent makes none."},
    {"attributes", FIELD_MESSAGES, SCHEMA_LIST(hash_cookie, attributes),
     .message = &cookie_attribute_schema,
     .meaning = "Further attributes of a cookie that the proxy makes."},
};
static SCHEMA(hash_cookie_schema, "HTTPCookie", hash_cookie, hash_cookie_fields);

static const struct field ring_hash_fields[] = {
    {"minimumRingSize", FIELD_UINT64, SCHEMA_AT(ring_hash, minimum_ring_size), SCHEMA_BOUNDS(0, LIMIT_RING_POINTS), .def = 1024,
     .flags = FIELD_BOUNDED, .meaning = "Least number of virtual nodes."},
};
static SCHEMA(ring_hash_schema, "RingHash", ring_hash, ring_hash_fields);

static const struct field maglev_fields[] = {
    {"tableSize", FIELD_UINT64, SCHEMA_AT(maglev, table_size), SCHEMA_BOUNDS(1, LIMIT_MAGLEV_SLOTS),
     .def = 65537, .flags = FIELD_REQUIRED | FIELD_BOUNDED,
     .meaning = "Size of the table, a prime."},
};
static SCHEMA(maglev_schema, "MagLev", maglev, maglev_fields);

static const struct field consistent_hash_fields[] = {
    {"httpHeaderName", FIELD_STRING, SCHEMA_AT(consistent_hash, header_name), .oneof = "hash_key", .check = common_check_header_name,
     .meaning = "Hash this request header."},
    {"httpCookie", FIELD_MESSAGE, SCHEMA_AT(consistent_hash, cookie),
     .message = &hash_cookie_schema, .oneof = "hash_key", .meaning = "Hash this cookie."},
    {"useSourceIp", FIELD_BOOL, SCHEMA_AT(consistent_hash, use_source_ip), .oneof = "hash_key",
     .meaning = "Hash the client's address."},
    {"httpQueryParameterName", FIELD_STRING, SCHEMA_AT(consistent_hash, query_parameter_name),
     .oneof = "hash_key", .meaning = "Hash the first value of this query parameter."},
    {"ringHash", FIELD_MESSAGE, SCHEMA_AT(consistent_hash, ring_hash), .message = &ring_hash_schema,
     .oneof = "hash_algorithm", .meaning = "Use a ring of virtual nodes."},
    {"maglev", FIELD_MESSAGE, SCHEMA_AT(consistent_hash, maglev), .message = &maglev_schema,
     .oneof = "hash_algorithm", .meaning = "Use a Maglev table."},
    {"minimumRingSize", FIELD_UINT64, SCHEMA_AT(consistent_hash, minimum_ring_size),
     SCHEMA_BOUNDS(0, LIMIT_RING_POINTS), .flags = FIELD_BOUNDED, .status = FIELD_DEPRECATED, .reason = "use ringHash.minimumRingSize",
     .meaning = "Deprecated place of ringHash.minimumRingSize."},
};
static SCHEMA(consistent_hash_schema, "ConsistentHashLB", consistent_hash, consistent_hash_fields);

static const struct field distribute_fields[] = {
    {"from", FIELD_STRING, SCHEMA_AT(locality_distribute, from), .flags = FIELD_REQUIRED,
     .meaning = "Locality of the client, region/zone/subzone; the last part may be *."},
    {"to", FIELD_NUMBERS, SCHEMA_LIST(locality_distribute, to), SCHEMA_BOUNDS(1, 100),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Shares per locality, 100 in all."},
};
static SCHEMA(distribute_schema, "Distribute", locality_distribute, distribute_fields);

static const struct field failover_fields[] = {
    {"from", FIELD_STRING, SCHEMA_AT(locality_failover, from),
     .meaning = "Region whose endpoints are gone."},
    {"to", FIELD_STRING, SCHEMA_AT(locality_failover, to), .meaning = "Region that takes over."},
};
static SCHEMA(failover_schema, "Failover", locality_failover, failover_fields);

static const struct field locality_fields[] = {
    {"distribute", FIELD_MESSAGES, SCHEMA_LIST(locality_lb, distribute),
     .message = &distribute_schema, .oneof = "locality",
     .meaning = "Fixed shares between localities."},
    {"failover", FIELD_MESSAGES, SCHEMA_LIST(locality_lb, failover), .message = &failover_schema,
     .oneof = "locality", .meaning = "Which region takes over for which."},
    {"failoverPriority", FIELD_STRINGS, SCHEMA_LIST(locality_lb, failover_priority),
     .meaning = "Labels that rank endpoints."},
    {"enabled", FIELD_BOOL, SCHEMA_HAS(locality_lb, enabled), .def = 1, .meaning = "Switch."},
};
SCHEMA(locality_lb_schema, "LocalityLoadBalancerSetting", locality_lb, locality_fields);

static const struct field warmup_fields[] = {
    {"duration", FIELD_DURATION, SCHEMA_AT(warmup, duration_ns), .flags = FIELD_REQUIRED,
     .meaning = "How long a new endpoint takes to its full share."},
    {"minimumPercent", FIELD_DOUBLE, SCHEMA_HAS(warmup, minimum_percent), SCHEMA_BOUNDS(0, 100),
     .def = 10, .flags = FIELD_BOUNDED, .meaning = "Share it begins with."},
    {"aggression", FIELD_DOUBLE, SCHEMA_HAS(warmup, aggression), SCHEMA_BOUNDS(1, INT32_MAX),
     .def = 1, .flags = FIELD_BOUNDED, .meaning = "Shape of the curve; 1 is a straight line."},
};
static SCHEMA(warmup_schema, "WarmupConfiguration", warmup, warmup_fields);

static const struct field load_balancer_fields[] = {
    {"simple", FIELD_ENUM, SCHEMA_AT(load_balancer, simple), .values = simple_values,
     .oneof = "lb_policy", .meaning = "How an endpoint is chosen; LEAST_REQUEST when not given."},
    {"consistentHash", FIELD_MESSAGE, SCHEMA_AT(load_balancer, consistent_hash),
     .message = &consistent_hash_schema, .oneof = "lb_policy",
     .meaning = "Keep a key with its endpoint."},
    {"localityLbSetting", FIELD_MESSAGE, SCHEMA_AT(load_balancer, locality),
     .message = &locality_lb_schema, .oneof = "locality", .meaning = "Prefer near endpoints."},
    {"warmup", FIELD_MESSAGE, SCHEMA_AT(load_balancer, warmup), .message = &warmup_schema,
     .meaning = "Raise the share of a new endpoint slowly."},
    {"zoneAwareLbSetting", FIELD_ANY,
     SCHEMA_UNSUPPORTED("a host does not know how the callers are spread over zones; use `localityLbSetting`, which "
                        "prefers near endpoints"),
     .meaning = "Balance between zones by their sizes."},
    {"warmupDurationSecs", FIELD_DURATION, SCHEMA_AT(load_balancer, warmup_duration_ns),
     .status = FIELD_DEPRECATED, .reason = "use warmup.duration",
     .meaning = "Old form of warmup.duration."},
};
static SCHEMA(load_balancer_schema, "LoadBalancerSettings", load_balancer, load_balancer_fields);

/* ---- connection pool ---- */

static const struct field keepalive_fields[] = {
    {"probes", FIELD_UINT32, SCHEMA_AT(tcp_keepalive, probes),
     .meaning = "Unanswered probes before the close."},
    {"time", FIELD_DURATION, SCHEMA_AT(tcp_keepalive, time_ns),
     .meaning = "Silence before the first probe."},
    {"interval", FIELD_DURATION, SCHEMA_AT(tcp_keepalive, interval_ns),
     .meaning = "Time between probes."},
};
SCHEMA(tcp_keepalive_schema, "TcpKeepalive", tcp_keepalive, keepalive_fields);

static const struct field tcp_pool_fields[] = {
    {"maxConnections", FIELD_INT32, SCHEMA_AT(tcp_pool, max_connections),
     SCHEMA_BOUNDS(0, INT32_MAX), .flags = FIELD_BOUNDED,
     .meaning = "Connections of one client proxy to the service."},
    {"connectTimeout", FIELD_DURATION, SCHEMA_AT(tcp_pool, connect_timeout_ns),
     .meaning = "TCP and TLS connect; 10s when not given."},
    {"tcpKeepalive", FIELD_MESSAGE, SCHEMA_AT(tcp_pool, tcp_keepalive),
     .message = &tcp_keepalive_schema, .meaning = "Keep-alive probes of the kernel."},
    {"maxConnectionDuration", FIELD_DURATION, SCHEMA_AT(tcp_pool, max_connection_duration_ns),
     .meaning = "Age at which a connection is closed."},
    {"idleTimeout", FIELD_DURATION, SCHEMA_AT(tcp_pool, idle_timeout_ns), .flags = FIELD_ZERO,
     .meaning = "Silence after which a connection is closed; 1h when not given, 0s never."},
};
static SCHEMA(tcp_pool_schema, "TCPSettings", tcp_pool, tcp_pool_fields);

static const struct field http2_keepalive_fields[] = {
    {"interval", FIELD_DURATION, SCHEMA_AT(http2_keepalive, interval_ns), .flags = FIELD_REQUIRED,
     .meaning = "Time between pings."},
    {"timeout", FIELD_DURATION, SCHEMA_AT(http2_keepalive, timeout_ns), .flags = FIELD_REQUIRED,
     .meaning = "How long an answer may take."},
};
static SCHEMA(http2_keepalive_schema, "ConnectionKeepalive", http2_keepalive,
              http2_keepalive_fields);

#define POOL_LIMIT(text, m, sentence)                                                              \
    {                                                                                              \
        text, FIELD_INT32, SCHEMA_AT(http_pool, m), SCHEMA_BOUNDS(0, INT32_MAX),                   \
            .flags = FIELD_BOUNDED, .meaning = sentence                                            \
    }

static const struct field http_pool_fields[] = {
    POOL_LIMIT("http1MaxPendingRequests", max_pending_requests,
               "Requests that may wait for a connection."),
    POOL_LIMIT("http2MaxRequests", max_requests, "Requests under way to the service."),
    POOL_LIMIT("maxRequestsPerConnection", max_requests_per_connection,
               "Requests before a connection is closed."),
    POOL_LIMIT("maxRetries", max_retries, "Retries under way to the service."),
    {"idleTimeout", FIELD_DURATION, SCHEMA_AT(http_pool, idle_timeout_ns),
     .meaning = "How long a connection without requests is kept; 1h when not given."},
    {"h2UpgradePolicy", FIELD_ENUM, SCHEMA_AT(http_pool, h2_upgrade), .values = h2_upgrade_values,
     .meaning = "Whether HTTP/1.1 requests travel as HTTP/2."},
    {"useClientProtocol", FIELD_BOOL, SCHEMA_AT(http_pool, use_client_protocol),
     .meaning = "Use the client's version of HTTP."},
    {"maxConcurrentStreams", FIELD_INT32, SCHEMA_AT(http_pool, max_concurrent_streams),
     SCHEMA_BOUNDS(0, INT32_MAX), .flags = FIELD_BOUNDED,
     .meaning = "Streams of one HTTP/2 connection."},
    {"http2KeepAlive", FIELD_MESSAGE, SCHEMA_AT(http_pool, http2_keepalive),
     .message = &http2_keepalive_schema, .meaning = "Pings of HTTP/2."},
};
static SCHEMA(http_pool_schema, "HTTPSettings", http_pool, http_pool_fields);

static const struct field connection_pool_fields[] = {
    {"tcp", FIELD_MESSAGE, SCHEMA_AT(connection_pool, tcp), .message = &tcp_pool_schema,
     .meaning = "Connections of any kind."},
    {"http", FIELD_MESSAGE, SCHEMA_AT(connection_pool, http), .message = &http_pool_schema,
     .meaning = "Connections that carry HTTP."},
};
SCHEMA(connection_pool_schema, "ConnectionPoolSettings", connection_pool,
              connection_pool_fields);

/* ---- outlier detection, TLS, the rest ---- */

static const struct field outlier_fields[] = {
    {"consecutiveErrors", FIELD_INT32, SCHEMA_AT(outlier_detection, consecutive_errors),
     .status = FIELD_DEPRECATED, .reason = "use consecutiveGatewayErrors or consecutive5xxErrors",
     .meaning = "Errors in a row."},
    {"splitExternalLocalOriginErrors", FIELD_BOOL,
     SCHEMA_AT(outlier_detection, split_external_local_origin_errors),
     .meaning = "Count failed connects apart."},
    {"consecutiveLocalOriginFailures", FIELD_UINT32,
     SCHEMA_HAS(outlier_detection, consecutive_local_origin_failures), .def = 5,
     .meaning = "Failed connects in a row."},
    {"consecutiveGatewayErrors", FIELD_UINT32,
     SCHEMA_HAS(outlier_detection, consecutive_gateway_errors),
     .meaning = "Answers 502, 503, 504 in a row; 0 is off."},
    {"consecutive5xxErrors", FIELD_UINT32, SCHEMA_HAS(outlier_detection, consecutive_5xx_errors),
     .def = 5, .meaning = "Answers 5xx in a row; 0 is off."},
    {"interval", FIELD_DURATION, SCHEMA_AT(outlier_detection, interval_ns), .def = 10000000000,
     .meaning = "Time between sweeps."},
    {"baseEjectionTime", FIELD_DURATION, SCHEMA_AT(outlier_detection, base_ejection_time_ns),
     .def = 30000000000, .meaning = "Ejection, multiplied by how often it happened."},
    {"maxEjectionPercent", FIELD_INT32, SCHEMA_AT(outlier_detection, max_ejection_percent),
     SCHEMA_BOUNDS(0, 100), .def = 10, .flags = FIELD_BOUNDED,
     .meaning = "Share of endpoints that may be out at once."},
    {"minHealthPercent", FIELD_INT32, SCHEMA_AT(outlier_detection, min_health_percent),
     SCHEMA_BOUNDS(0, 100), .flags = FIELD_BOUNDED,
     .meaning = "Below this share of healthy endpoints in a priority, ejections are ignored there, unless other priorities "
                "can take over."},
    {"outlierDetectionHttpErrorCodes", FIELD_UINT32S,
     SCHEMA_LIST(outlier_detection, http_error_codes), SCHEMA_BOUNDS(100, 599),
     .flags = FIELD_BOUNDED, .meaning = "Statuses that count."},
};
static SCHEMA(outlier_schema, "OutlierDetection", outlier_detection, outlier_fields);

/* Accepted names travel as one text, in which "*" alone stands for no check at all. */
static int check_san(struct str s, struct err *err)
{
    bool has_blank = str_has(s, ' ') || str_has(s, '\t') || str_has(s, '\n');

    if (s.n == 0 || has_blank || str_eq(s, STR("*")))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\" is no name of a server: a DNS name, an IP address or a URI; "
                       "insecureSkipVerify takes any server",
                       STR_ARG(s));
    return 0;
}

static const struct field client_tls_fields[] = {
    {"mode", FIELD_ENUM, SCHEMA_AT(client_tls, mode), .values = client_tls_values,
     .meaning = "DISABLE speaks plain text, SIMPLE and MUTUAL are TLS with a server outside of the mesh, ISTIO_MUTUAL uses the mesh's certificates."},
    {"clientCertificate", FIELD_STRING, SCHEMA_AT(client_tls, client_certificate),
     .meaning = "File of the certificate to show."},
    {"privateKey", FIELD_STRING, SCHEMA_AT(client_tls, private_key),
     .meaning = "File of its key."},
    {"caCertificates", FIELD_STRING, SCHEMA_AT(client_tls, ca_certificates),
     .meaning = "File of the authorities to trust; the system's when not given."},
    {"credentialName", FIELD_STRING, SCHEMA_AT(client_tls, credential_name),
     .meaning = "Name of a Credential of the caller's namespace, in place of files; given to gateways, and to the workloads that the rule's workloadSelector selects."},
    {"subjectAltNames", FIELD_STRINGS, SCHEMA_LIST(client_tls, subject_alt_names), .check = check_san,
     .meaning = "Names of the server that are accepted; without them and sni, that of the request."},
    {"sni", FIELD_STRING, SCHEMA_AT(client_tls, sni),
     .meaning = "Server name to ask for; the host of the request when not given."},
    {"insecureSkipVerify", FIELD_BOOL, SCHEMA_HAS(client_tls, insecure_skip_verify),
     .meaning = "Do not check the server's certificate."},
    {"caCrl", FIELD_STRING, SCHEMA_AT(client_tls, ca_crl),
     .meaning = "File of revoked certificates; a list of each authority of the server's chain."},
};
static SCHEMA(client_tls_schema, "ClientTLSSettings", client_tls, client_tls_fields);

#define POLICY_BLOCKS(s)                                                                            \
    {"loadBalancer", FIELD_MESSAGE, SCHEMA_AT(s, load_balancer), .message = &load_balancer_schema,  \
     .meaning = "How endpoints are chosen."},                                                       \
    {"connectionPool", FIELD_MESSAGE, SCHEMA_AT(s, connection_pool),                                \
     .message = &connection_pool_schema, .meaning = "Timeouts and limits of connections."},         \
    {"outlierDetection", FIELD_MESSAGE, SCHEMA_AT(s, outlier_detection),                            \
     .message = &outlier_schema, .meaning = "Stop using endpoints that fail."},     \
    {"tls", FIELD_MESSAGE, SCHEMA_AT(s, tls), .message = &client_tls_schema,                        \
     .meaning = "TLS towards the service; mesh mTLS where the endpoint speaks it when not given."}

/* A number that no service has is no error in Istio either. */
static const struct field policy_port_fields[] = {
    {"number", FIELD_UINT32, SCHEMA_AT(port_selector, number), .meaning = "Number of the service's port."},
};
static SCHEMA(policy_port_schema, "PortSelector", port_selector, policy_port_fields);

static const struct field port_policy_fields[] = {
    {"port", FIELD_EMBED, SCHEMA_AT(port_traffic_policy, port), .message = &policy_port_schema,
     .flags = FIELD_REQUIRED, .meaning = "Port of the service."},
    POLICY_BLOCKS(port_traffic_policy),
};
static SCHEMA(port_policy_schema, "PortTrafficPolicy", port_traffic_policy, port_policy_fields);

static int check_tunnel_protocol(struct str s, struct err *err)
{
    if (str_eq(s, STR("CONNECT")) || str_eq(s, STR("POST")))
        return 0;
    return err_set(err, ERR_INVALID, "\"%.*s\" is neither CONNECT nor POST, in capitals", STR_ARG(s));
}

static int check_tunnel_host(struct str s, struct err *err)
{
    struct addr ip;

    return addr_parse_ip(s, &ip) ? 0 : common_check_host(s, err);
}

static const struct field tunnel_fields[] = {
    {"protocol", FIELD_STRING, SCHEMA_AT(tunnel_settings, protocol), .check = check_tunnel_protocol,
     .meaning = "How the proxy is asked; CONNECT when not given."},
    {"targetHost", FIELD_STRING, SCHEMA_AT(tunnel_settings, target_host), .flags = FIELD_REQUIRED,
     .check = check_tunnel_host, .meaning = "Host to ask the forward proxy for."},
    {"targetPort", FIELD_UINT32, SCHEMA_AT(tunnel_settings, target_port), SCHEMA_BOUNDS(1, 65535),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Its port."},
};
static SCHEMA(tunnel_schema, "TunnelSettings", tunnel_settings, tunnel_fields);

static const struct field proxy_protocol_fields[] = {
    {"version", FIELD_ENUM, SCHEMA_AT(proxy_protocol, version), .values = proxy_protocol_values,
     .meaning = "V1 is text, V2 binary."},
};
static SCHEMA(proxy_protocol_schema, "ProxyProtocol", proxy_protocol, proxy_protocol_fields);

static const struct field retry_budget_fields[] = {
    {"percent", FIELD_DOUBLE, SCHEMA_HAS(retry_budget, percent), SCHEMA_BOUNDS(0, 100), .def = 20,
     .flags = FIELD_BOUNDED, .meaning = "Retries as a share of requests under way."},
    {"minRetryConcurrency", FIELD_UINT32, SCHEMA_AT(retry_budget, min_retry_concurrency), .def = 3,
     .meaning = "Retries that are always allowed."},
    {"budgetInterval", FIELD_DURATION, SCHEMA_AT(retry_budget, budget_interval_ns),
     .flags = FIELD_ZERO, SCHEMA_UNSUPPORTED("retries are counted against the requests under way, without a window"), .meaning = "Window in which requests are counted."},
};
static SCHEMA(retry_budget_schema, "RetryBudget", retry_budget, retry_budget_fields);

static const struct field traffic_policy_fields[] = {
    POLICY_BLOCKS(traffic_policy),
    {"portLevelSettings", FIELD_MESSAGES, SCHEMA_LIST(traffic_policy, port_level),
     .message = &port_policy_schema, .most = 4096,
     .meaning = "Policy of single ports, which replaces all blocks for that port."},
    {"tunnel", FIELD_MESSAGE, SCHEMA_AT(traffic_policy, tunnel), .message = &tunnel_schema,
     .oneof = "wrapping", .meaning = "Take TCP and TLS through a forward proxy, which the endpoints are."},
    {"proxyProtocol", FIELD_MESSAGE, SCHEMA_AT(traffic_policy, proxy_protocol),
     .message = &proxy_protocol_schema, .oneof = "wrapping",
     .meaning = "Send the PROXY protocol first."},
    {"retryBudget", FIELD_MESSAGE, SCHEMA_AT(traffic_policy, retry_budget),
     .message = &retry_budget_schema, .meaning = "Bound retries by the requests under way."},
};
SCHEMA(traffic_policy_schema, "TrafficPolicy", traffic_policy, traffic_policy_fields);
