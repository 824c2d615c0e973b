#include "mesh/kinds/mesh_config.h"

#include "mesh/kinds/check.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/service_entry.h"

#define CLUSTER_ONLY(text, what)                                                                                    \
    {(text), FIELD_ANY, SCHEMA_UNSUPPORTED("it is about a Kubernetes cluster"), .meaning = what}
#define ENVOY_ONLY(text, what)                                                                                      \
    {(text), FIELD_ANY, SCHEMA_UNSUPPORTED("it is about Envoy, which weft does not use"), .meaning = what}
#define LATER(text, what)        {(text), FIELD_ANY, SCHEMA_NOT_YET, .meaning = what}

#define AT_INIT "it is a setting of the server, said at `weft server init`"

static int check_trust_domain(struct str s, struct err *err)
{
    struct str rest = s, label;
    struct err ignored;
    bool ok = s.n > 0 && !str_starts(s, STR("."));

    while (ok && str_next(&rest, '.', &label))
        ok = common_check_dns_label(label, &ignored) == 0;
    return ok ? 0
              : err_set(err, ERR_INVALID, "\"%.*s\" is not a trust domain: labels of letters, digits and '-', joined by dots",
                        STR_ARG(s));
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field_value outbound_values[] = {
    SCHEMA_VALUE("REGISTRY_ONLY", OUTBOUND_REGISTRY_ONLY),
    SCHEMA_VALUE("ALLOW_ANY", OUTBOUND_ALLOW_ANY),
    SCHEMA_VALUE("ALLOW_ANY_DYNAMIC_DNS", 3),
    {.name = NULL},
};

static const struct field outbound_fields[] = {
    {"mode", FIELD_ENUM, SCHEMA_AT(mesh_outbound_policy, mode), .values = outbound_values,
     .meaning = "Whether connections to unknown destinations pass (ALLOW_ANY) or are refused."},
};
static SCHEMA(outbound_schema, "OutboundTrafficPolicy", mesh_outbound_policy, outbound_fields);

static const struct field_value inbound_values[] = {
    SCHEMA_VALUE("PASSTHROUGH", INBOUND_PASSTHROUGH),
    SCHEMA_VALUE("LOCALHOST", INBOUND_LOCALHOST),
    {.name = NULL},
};

static const struct field inbound_fields[] = {
    {"mode", FIELD_ENUM, SCHEMA_AT(mesh_inbound_policy, mode), .values = inbound_values,
     .meaning = "Whether the application is reached at the address that was asked or at 127.0.0.1."},
};
static SCHEMA(inbound_schema, "InboundTrafficPolicy", mesh_inbound_policy, inbound_fields);

static const struct field_value encoding_values[] = {
    SCHEMA_VALUE("TEXT", LOG_ENCODING_TEXT),
    SCHEMA_VALUE("JSON", LOG_ENCODING_JSON),
    {.name = NULL},
};

static const struct field_value normalization_values[] = {
    SCHEMA_VALUE("DEFAULT", PATH_NORMALIZATION_DEFAULT),
    SCHEMA_VALUE("NONE", PATH_NORMALIZATION_NONE),
    SCHEMA_VALUE("BASE", PATH_NORMALIZATION_BASE),
    SCHEMA_VALUE("MERGE_SLASHES", PATH_NORMALIZATION_MERGE_SLASHES),
    SCHEMA_VALUE("DECODE_AND_MERGE_SLASHES", PATH_NORMALIZATION_DECODE_AND_MERGE_SLASHES),
    {.name = NULL},
};

static const struct field normalization_fields[] = {
    {"normalization", FIELD_ENUM, SCHEMA_AT(mesh_path_normalization, mode),
     .values = normalization_values,
     .meaning = "How paths are cleaned before anything looks at them; DEFAULT is BASE."},
};
static SCHEMA(normalization_schema, "ProxyPathNormalization", mesh_path_normalization,
              normalization_fields);

static const struct field tls_fields[] = {
    {"minProtocolVersion", FIELD_ENUM, SCHEMA_AT(mesh_tls, min_version), .values = tls_versions,
     .meaning = "Lowest version of TLS; TLSV1_2 when not given."},
    {"cipherSuites", FIELD_STRINGS, SCHEMA_LIST(mesh_tls, cipher_suites),
     .check = common_check_word, .meaning = "Ciphers of TLS 1.2."},
    {"ecdhCurves", FIELD_STRINGS, SCHEMA_LIST(mesh_tls, ecdh_curves),
     .meaning = "Curves of the key exchange; of tlsDefaults only."},
};
static SCHEMA(tls_schema, "TLSConfig", mesh_tls, tls_fields);

static const struct field default_providers_fields[] = {
    {"tracing", FIELD_STRINGS, SCHEMA_LIST(default_providers, tracing), .check = common_check_word,
     .meaning = "Providers of traces where no Telemetry names any."},
    {"metrics", FIELD_STRINGS, SCHEMA_LIST(default_providers, metrics), .check = common_check_word,
     .meaning = "Providers of metrics where no Telemetry names any."},
    {"accessLogging", FIELD_STRINGS, SCHEMA_LIST(default_providers, access_logging),
     .check = common_check_word,
     .meaning = "Providers of access logs where no Telemetry names any."},
};
static SCHEMA(default_providers_schema, "DefaultProviders", default_providers,
              default_providers_fields);

static const struct field sampling_fields[] = {
    {"sampling", FIELD_DOUBLE, SCHEMA_AT(mesh_sampling, percent), SCHEMA_BOUNDS(0, 100), .def = 1,
     .flags = FIELD_BOUNDED, .meaning = "Share of requests that are traced, in percent."},
    {"maxPathTagLength", FIELD_UINT32, SCHEMA_AT(mesh_sampling, tag_length_max), .def = 256,
     .meaning = "Bytes of the path that a span keeps."},
};
static SCHEMA(sampling_schema, "Tracing", mesh_sampling, sampling_fields);

static const struct field proxy_fields[] = {
    {"concurrency", FIELD_INT32, SCHEMA_HAS(proxy_defaults, concurrency),
     SCHEMA_BOUNDS(0, INT32_MAX), .flags = FIELD_BOUNDED,
     .meaning = "Worker threads; 0 is one for each core."},
    {"drainDuration", FIELD_DURATION, SCHEMA_AT(proxy_defaults, drain_ns), .def = 45000000000,
     .flags = FIELD_WHOLE_SECONDS,
     .meaning = "How long connections of a listener that goes may end by themselves."},
    {"terminationDrainDuration", FIELD_DURATION, SCHEMA_AT(proxy_defaults, termination_drain_ns),
     .def = 5000000000, .meaning = "How long connections may end when the agent stops."},
    {"proxyAdminPort", FIELD_UINT32, SCHEMA_AT(proxy_defaults, admin_port), SCHEMA_BOUNDS(1, 65535),
     .def = 15000, .flags = FIELD_BOUNDED, .meaning = "Port of the agent's own pages."},
    {"statusPort", FIELD_UINT32, SCHEMA_AT(proxy_defaults, status_port), SCHEMA_BOUNDS(1, 65535),
     .def = 15020, .flags = FIELD_BOUNDED, .meaning = "Port of merged metrics and health."},
    {"proxyMetadata", FIELD_LABELS, SCHEMA_AT(proxy_defaults, metadata), .flags = FIELD_FREE_KEYS,
     .meaning = "Variables that tags and log formats can refer to."},
    {"tracing", FIELD_MESSAGE, SCHEMA_AT(proxy_defaults, tracing), .message = &sampling_schema,
     .meaning = "How much is traced."},
    {"discoveryAddress", FIELD_ANY,
     SCHEMA_UNSUPPORTED("an agent learns its servers when it joins"),
     .meaning = "Address of the control plane."},
    {"image", FIELD_ANY,
     SCHEMA_UNSUPPORTED("the proxy is the program weft itself, not a container's image"),
     .meaning = "Image of the proxy's container."},
    {"holdApplicationUntilProxyStarts", FIELD_ANY,
     SCHEMA_UNSUPPORTED("order units instead: After=weft-agent.service"),
     .meaning = "Start the application's container later."},
    LATER("gatewayTopology", "How many proxies stand before a gateway, and what it tells of clients."),
    LATER("proxyHeaders", "Which headers the proxy adds by itself."),
    LATER("extraStatTags", "Further labels of metrics."),
    LATER("readinessProbe", "How the application's health is checked."),
    LATER("meshId", "Name of the mesh, in traces and metrics."),
    ENVOY_ONLY("statNameLength", "Length of the names of Envoy's statistics."),
    ENVOY_ONLY("configPath", "Folder of Envoy's configuration."),
    ENVOY_ONLY("binaryPath", "The program Envoy."),
    ENVOY_ONLY("customConfigFile", "Envoy's own configuration."),
    ENVOY_ONLY("proxyBootstrapTemplatePath", "Template of Envoy's configuration."),
    ENVOY_ONLY("runtimeValues", "Envoy's runtime."),
    ENVOY_ONLY("proxyStatsMatcher", "Which of Envoy's statistics there are."),
    ENVOY_ONLY("statsdUdpAddress", "Collector of Envoy's statistics."),
    ENVOY_ONLY("envoyMetricsService", "Collector of Envoy's statistics."),
    ENVOY_ONLY("envoyMetricsServiceAddress", "Collector of Envoy's statistics, older form."),
    ENVOY_ONLY("envoyAccessLogService", "Collector of Envoy's access logs."),
    ENVOY_ONLY("privateKeyProvider", "Hardware that Envoy signs with."),
    ENVOY_ONLY("fileFlushInterval", "When Envoy writes its logs."),
    ENVOY_ONLY("fileFlushMinSizeKb", "When Envoy writes its logs."),
    ENVOY_ONLY("serviceCluster", "Envoy's name for its service."),
    ENVOY_ONLY("tracingServiceName", "How traces name the service of a pod."),
    ENVOY_ONLY("controlPlaneAuthPolicy", "Whether Envoy speaks TLS with the control plane; agents always do."),
    ENVOY_ONLY("zipkinAddress", "Collector of traces; use extensionProviders."),
    {"interceptionMode", FIELD_ANY, SCHEMA_UNSUPPORTED("capture is a setting of the agent"),
     .meaning = "How traffic is captured."},
    {"caCertificatesPem", FIELD_ANY, SCHEMA_UNSUPPORTED("an agent learns the authorities when it joins"),
     .meaning = "Authorities of the control plane."},
};
static SCHEMA(proxy_schema, "ProxyConfig", proxy_defaults, proxy_fields);

#define EXPORT_ROW(text, m, what)                                                                  \
    {                                                                                              \
        (text), FIELD_STRINGS, SCHEMA_LIST(mesh_config, m), .check = common_check_export_to,       \
            .meaning = "Namespaces that see " what " without exportTo; all when not given."                        \
    }

static const struct field_value upgrade_values[] = {
    SCHEMA_VALUE("DO_NOT_UPGRADE", H2_UPGRADE_NEVER),
    SCHEMA_VALUE("UPGRADE", H2_UPGRADE_ALWAYS),
    {.name = NULL},
};

static const struct field mesh_config_fields[] = {
    {"trustDomain", FIELD_ANY, SCHEMA_UNSUPPORTED(AT_INIT),
     .meaning = "First part of every identity."},
    {"rootNamespace", FIELD_ANY, SCHEMA_UNSUPPORTED(AT_INIT),
     .meaning = "Namespace whose policies are for the whole mesh."},
    {"trustDomainAliases", FIELD_STRINGS, SCHEMA_LIST(mesh_config, trust_domain_aliases),
     .check = check_trust_domain, SCHEMA_NOT_YET, .meaning = "Other trust domains that count as this one."},
    EXPORT_ROW("defaultServiceExportTo", service_export_to, "a service or ServiceEntry"),
    EXPORT_ROW("defaultVirtualServiceExportTo", virtual_service_export_to, "a VirtualService"),
    EXPORT_ROW("defaultDestinationRuleExportTo", destination_rule_export_to, "a DestinationRule"),
    {"outboundTrafficPolicy", FIELD_MESSAGE, SCHEMA_AT(mesh_config, outbound_policy),
     .message = &outbound_schema,
     SCHEMA_NOT_YET, .meaning = "What happens to traffic for unknown destinations; ALLOW_ANY when not given."},
    {"inboundTrafficPolicy", FIELD_MESSAGE, SCHEMA_AT(mesh_config, inbound_policy),
     .message = &inbound_schema, SCHEMA_NOT_YET, .meaning = "How the application is reached."},
    {"connectTimeout", FIELD_DURATION, SCHEMA_AT(mesh_config, connect_timeout_ns),
     SCHEMA_BOUNDS(1000000, 3600000000000), .flags = FIELD_BOUNDED, .def = 10000000000,
     .meaning = "How long connecting may take, TLS included."},
    {"tcpKeepalive", FIELD_MESSAGE, SCHEMA_AT(mesh_config, tcp_keepalive),
     .message = &tcp_keepalive_schema, .meaning = "Keep-alive probes of every connection."},
    {"protocolDetectionTimeout", FIELD_DURATION,
     SCHEMA_AT(mesh_config, protocol_detection_timeout_ns), .flags = FIELD_ZERO, .def = 5000000000,
     .meaning = "How long an agent waits for the first bytes where a port's protocol is not declared, then it is TCP; 0s is without end."},
    {"dnsRefreshRate", FIELD_DURATION, SCHEMA_AT(mesh_config, dns_refresh_ns), .def = 60000000000,
     SCHEMA_NOT_YET, .meaning = "When a name is asked for again after a failure."},
    {"enableAutoMtls", FIELD_BOOL, SCHEMA_AT(mesh_config, auto_mtls), .def = 1,
     .meaning = "Use mutual TLS wherever the endpoint speaks it."},
    {"localityLbSetting", FIELD_MESSAGE, SCHEMA_AT(mesh_config, locality),
     .message = &locality_lb_schema, .meaning = "Prefer near endpoints."},
    {"defaultHttpRetryPolicy", FIELD_MESSAGE, SCHEMA_AT(mesh_config, retry_policy),
     .message = &http_retry_schema, .meaning = "Retries of routes that name none."},
    {"accessLogFile", FIELD_STRING, SCHEMA_AT(mesh_config, access_log_file),
     SCHEMA_NOT_YET, .meaning = "File of the access log, such as /dev/stdout; none when not given."},
    {"accessLogFormat", FIELD_STRING, SCHEMA_AT(mesh_config, access_log_format),
     SCHEMA_NOT_YET, .meaning = "What a line looks like; Istio's own when not given."},
    {"accessLogEncoding", FIELD_ENUM, SCHEMA_AT(mesh_config, access_log_encoding),
     .values = encoding_values, SCHEMA_NOT_YET, .meaning = "Lines of text or of JSON."},
    {"enableTracing", FIELD_BOOL, SCHEMA_AT(mesh_config, enable_tracing), .def = 1,
     SCHEMA_NOT_YET, .meaning = "Whether requests are traced."},
    {"enablePrometheusMerge", FIELD_BOOL, SCHEMA_AT(mesh_config, prometheus_merge), .def = 1,
     SCHEMA_NOT_YET, .meaning = "Show the application's own metrics among the agent's."},
    {"extensionProviders", FIELD_MESSAGES, SCHEMA_LIST(mesh_config, providers),
     .message = &extension_provider_schema, .most = 1000,
     SCHEMA_NOT_YET, .meaning = "Services that decide, collect or log, by name."},
    {"defaultProviders", FIELD_MESSAGE, SCHEMA_AT(mesh_config, default_providers),
     .message = &default_providers_schema,
     SCHEMA_NOT_YET, .meaning = "Which of them are used where no Telemetry names any."},
    {"pathNormalization", FIELD_MESSAGE, SCHEMA_AT(mesh_config, path_normalization),
     .message = &normalization_schema, .meaning = "How paths are cleaned."},
    {"h2UpgradePolicy", FIELD_ENUM, SCHEMA_AT(mesh_config, h2_upgrade), .values = upgrade_values,
     .def = H2_UPGRADE_NEVER, .meaning = "Whether HTTP/1.1 requests travel as HTTP/2 to ports declared HTTP, where no DestinationRule says."},
    LATER("caCertificates", "Further authorities of other meshes."),
    LATER("verifyCertificateAtClient", "Whether callers trust the system's authorities where none are given; they do."),
    CLUSTER_ONLY("discoverySelectors", "Namespaces of the cluster that count."),
    CLUSTER_ONLY("configSources", "Where the control plane reads documents."),
    CLUSTER_ONLY("serviceSettings", "Services that stay within their cluster."),
    CLUSTER_ONLY("serviceScopeConfigs", "Services that are seen by other clusters."),
    CLUSTER_ONLY("certificates", "Certificates of the cluster's own services."),
    CLUSTER_ONLY("ca", "Authority beside the control plane."),
    CLUSTER_ONLY("ingressClass", "Which Ingress documents count."),
    CLUSTER_ONLY("ingressService", "Service of the gateway for Ingress documents."),
    CLUSTER_ONLY("ingressSelector", "Gateway for Ingress documents."),
    CLUSTER_ONLY("ingressControllerMode", "Whether Ingress documents count."),
    ENVOY_ONLY("proxyListenPort", "Port that captured connections come to."),
    ENVOY_ONLY("proxyInboundListenPort", "Port that captured connections come to."),
    ENVOY_ONLY("proxyHttpPort", "Port of a forward proxy."),
    ENVOY_ONLY("enableEnvoyAccessLogService", "Whether Envoy's collector of logs is used."),
    ENVOY_ONLY("disableEnvoyListenerLog", "Whether Envoy's listeners log."),
    ENVOY_ONLY("inboundClusterStatName", "Names of Envoy's statistics."),
    ENVOY_ONLY("outboundClusterStatName", "Names of Envoy's statistics."),
    {"meshMTLS", FIELD_MESSAGE, SCHEMA_AT(mesh_config, mesh_mtls), .message = &tls_schema,
     SCHEMA_NOT_YET, .meaning = "TLS between agents."},
    {"tlsDefaults", FIELD_MESSAGE, SCHEMA_AT(mesh_config, tls_defaults), .message = &tls_schema,
     SCHEMA_NOT_YET, .meaning = "TLS with everybody else."},
    {"defaultConfig", FIELD_MESSAGE, SCHEMA_AT(mesh_config, proxy), .message = &proxy_schema,
     SCHEMA_NOT_YET, .meaning = "Settings of every proxy."},
};
SCHEMA(mesh_config_schema, "MeshConfig", mesh_config, mesh_config_fields);

/* clang-format on */

/* Of meshMTLS the curves are not a setting; of tlsDefaults an unknown one is left out. */
static void check_curves(const struct check *c, const struct mesh_config *m)
{
    static const struct str known[] = {STR_INIT(""),      STR_INIT("P-224"),  STR_INIT("P-256"),
                                       STR_INIT("P-384"), STR_INIT("P-521"),  STR_INIT("X25519"),
                                       STR_INIT("X25519MLKEM768"), STR_INIT("X25519Kyber768Draft00")};
    const struct mesh_tls *t = m->tls_defaults;

    if (m->mesh_mtls && m->mesh_mtls->ecdh_curves_count)
        FAIL(c, check_member(m->mesh_mtls->node, "ecdhCurves"), FIND_VALUE, "meshMTLS has no ecdhCurves; tlsDefaults has");
    for (size_t i = 0; t && i < t->ecdh_curves_count; i++) {
        struct str curve = t->ecdh_curves[i];
        bool found = false, twice = false;

        for (size_t j = 0; j < COUNT(known); j++)
            found = found || str_eq(known[j], curve);
        for (size_t j = 0; j < i; j++)
            twice = twice || str_eq(t->ecdh_curves[j], curve);
        if (!found || twice)
            WARN(c, check_element(t->node, "ecdhCurves", i), "\"%.*s\" is %s", STR_ARG(curve),
                 twice ? "given twice" : "not the name of a curve such as P-256 or X25519, and is left out");
    }
}

void mesh_config_validate(const struct check *c, const void *spec)
{
    const struct mesh_config *m = spec;

    if (m->locality)
        check_locality(c, m->locality);
    check_curves(c, m);
    if (!str_eq(c->m->name, STR(MESH_CONFIG_NAME)))
        FAIL(c, NULL, FIND_ENVELOPE, "the MeshConfig is named " MESH_CONFIG_NAME ", not \"%.*s\"",
             STR_ARG(c->m->name));
    for (size_t i = 0; i < m->providers_count; i++) {
        extension_provider_check(c, &m->providers[i]);
        for (size_t j = 0; j < i; j++) {
            if (m->providers[i].name.n && str_eq(m->providers[i].name, m->providers[j].name)) {
                FAIL(c, check_member(m->providers[i].node, "name"), FIND_DUPLICATE,
                     "the provider \"%.*s\" is given twice", STR_ARG(m->providers[i].name));
                break;
            }
        }
    }
}

/* ---- what it says for documents that say nothing ---- */

static struct exports own_exports(const struct object *o)
{
    const struct virtual_service *vs = o->spec;
    const struct destination_rule *dr = o->spec;
    const struct service_entry *se = o->spec;

    switch (o->meta.kind->id) {
    case KIND_VIRTUAL_SERVICE:
        return (struct exports){vs->export_to, vs->export_to_count};
    case KIND_DESTINATION_RULE:
        return (struct exports){dr->export_to, dr->export_to_count};
    case KIND_SERVICE_ENTRY:
        return (struct exports){se->export_to, se->export_to_count};
    default:
        return (struct exports){NULL, 0};
    }
}

struct exports mesh_exports(const struct mesh_config *m, const struct object *o)
{
    struct exports own = own_exports(o);

    if (own.count || !m)
        return own;
    switch (o->meta.kind->id) {
    case KIND_VIRTUAL_SERVICE:
        return (struct exports){m->virtual_service_export_to, m->virtual_service_export_to_count};
    case KIND_DESTINATION_RULE:
        return (struct exports){m->destination_rule_export_to, m->destination_rule_export_to_count};
    default:
        return (struct exports){m->service_export_to, m->service_export_to_count};
    }
}
