/* mesh.istio.io MeshConfig: settings of the whole mesh, with Istio's names, as a document with the
 * usual envelope (Istio keeps them in a ConfigMap). One document, `default` in the root namespace.
 * Fields: mesh/kinds/mesh_config.c and, of providers, mesh_provider.c. */
#pragma once

#include "mesh/kinds/sidecar.h"
#include "mesh/kinds/virtual_service.h"

/* ---- extension providers ---- */

struct request_body_check {
    const struct node *node;
    uint32_t bytes_max;
    bool allow_partial, as_bytes;
};

/* envoyExtAuthzHttp and envoyExtAuthzGrpc. */
struct ext_authz {
    const struct node *node;
    struct str service, path_prefix, status_on_error;
    uint32_t port;
    int64_t timeout_ns;
    bool fail_open, clear_route_cache;
    struct str *request_headers, *upstream_headers, *deny_headers, *allow_headers;
    size_t request_headers_count, upstream_headers_count, deny_headers_count, allow_headers_count;
    struct labels additional_headers;
    struct request_body_check *body;
};

struct otel_http {
    const struct node *node;
    struct str path;
    int64_t timeout_ns;
};

/* zipkin, opentelemetry and envoyOtelAls. */
struct collector {
    const struct node *node;
    struct str service, path, log_name;
    uint32_t port, tag_length_max;
    struct otel_http *http;
};

struct log_format {
    const struct node *node;
    struct str text;
    const struct node *labels; /* JSON, as written */
};

struct file_log {
    const struct node *node;
    struct str path;
    struct log_format *format;
};

struct prometheus_provider {
    const struct node *node;
};

struct extension_provider {
    const struct node *node;
    struct str name;
    struct ext_authz *authz_http, *authz_grpc; /* exactly one of these */
    struct collector *zipkin, *otel, *otel_log;
    struct file_log *file_log;
    struct prometheus_provider *prometheus;
};

extern const struct schema extension_provider_schema;
void extension_provider_check(const struct check *c, const struct extension_provider *p);

/* ---- the mesh ---- */

struct default_providers {
    const struct node *node;
    struct str *tracing, *metrics, *access_logging;
    size_t tracing_count, metrics_count, access_logging_count;
};

enum inbound_mode { INBOUND_PASSTHROUGH, INBOUND_LOCALHOST };
enum log_encoding { LOG_ENCODING_TEXT, LOG_ENCODING_JSON };
enum path_normalization {
    PATH_NORMALIZATION_DEFAULT,
    PATH_NORMALIZATION_NONE,
    PATH_NORMALIZATION_BASE,
    PATH_NORMALIZATION_MERGE_SLASHES,
    PATH_NORMALIZATION_DECODE_AND_MERGE_SLASHES,
};

struct mesh_inbound_policy {
    const struct node *node;
    enum inbound_mode mode;
};

struct mesh_outbound_policy {
    const struct node *node;
    int mode; /* enum outbound_mode */
};

struct mesh_path_normalization {
    const struct node *node;
    enum path_normalization mode;
};

struct mesh_tls {
    const struct node *node;
    enum tls_version min_version;
    struct str *cipher_suites, *ecdh_curves;
    size_t cipher_suites_count, ecdh_curves_count;
};

struct mesh_sampling {
    const struct node *node;
    double percent;
    uint32_t tag_length_max;
};

/* defaultConfig: settings of every proxy. */
struct proxy_defaults {
    const struct node *node;
    bool has_concurrency;
    int32_t concurrency;
    int64_t drain_ns, termination_drain_ns;
    uint32_t admin_port, status_port;
    struct labels metadata;
    struct mesh_sampling *tracing;
};

struct mesh_config {
    const struct node *node;
    struct str *trust_domain_aliases, *service_export_to, *virtual_service_export_to,
        *destination_rule_export_to;
    size_t trust_domain_aliases_count, service_export_to_count, virtual_service_export_to_count,
        destination_rule_export_to_count;
    struct mesh_outbound_policy *outbound_policy;
    struct mesh_inbound_policy *inbound_policy;
    int64_t connect_timeout_ns, protocol_detection_timeout_ns, dns_refresh_ns;
    bool auto_mtls, enable_tracing, prometheus_merge;
    struct tcp_keepalive *tcp_keepalive;
    struct locality_lb *locality;
    struct http_retry *retry_policy;
    struct str access_log_file, access_log_format;
    enum log_encoding access_log_encoding;
    enum h2_upgrade h2_upgrade; /* never DEFAULT */
    struct extension_provider *providers;
    size_t providers_count;
    struct default_providers *default_providers;
    struct mesh_path_normalization *path_normalization;
    struct mesh_tls *mesh_mtls, *tls_defaults;
    struct proxy_defaults *proxy;
};

#define MESH_CONFIG_NAME "default" /* there is one, in the root namespace */

/* Namespaces that a document is exported to; none: all. */
struct exports {
    const struct str *to;
    size_t count;
};

/* exportTo of a VirtualService, DestinationRule or ServiceEntry, the mesh's default where it has none; of other
 * objects that default of services. `m` may be NULL. */
struct exports mesh_exports(const struct mesh_config *m, const struct object *o);

extern const struct schema mesh_config_schema;
void mesh_config_validate(const struct check *c, const void *spec);
