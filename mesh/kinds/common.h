/* What several kinds share: the envelope of a document, and Istio's shared message types, each
 * declared once.
 *
 * Conventions of every struct under mesh/kinds, so that one table-driven decoder can fill them:
 *   - a message begins with `node`, where it was written (NULL if it was not read from text):
 * validation points there;
 *   - a list is `struct x *items; size_t items_count;`, NULL and 0 when empty; map<string,string>
 * is a struct labels;
 *   - defaults are filled in by decode. Where "unset" means something else than every value: a
 * pointer is NULL, a duration is DURATION_UNSET, a wrapper type has `has_x`; an enum has a value
 * for it;
 *   - a member whose row says "not yet" in the table is still declared, but an accepted document
 * never has it. Ownership: plain data in the arena that decode was given. Units:     *_ns
 * nanoseconds.
 */
#pragma once

#include "mesh/base/arena.h"
#include "mesh/base/node.h"
#include "mesh/match.h"
#include "mesh/model.h"
#include "mesh/schema.h"

#define DURATION_UNSET (-1)

struct kind;  /* mesh/kinds/kinds.h */
struct check; /* mesh/kinds/check.h */

struct object_meta {
    const struct kind *kind;
    struct str ns, name;
    struct labels labels, annotations;
    int64_t created_ms; /* creationTimestamp; 0 if it has none yet */
    uint64_t
        revision;    /* the config revision that wrote it; 0 if unknown. Not part of the document */
    struct str file; /* where it was written; empty if unknown */
    unsigned line, column, document;
};

/* A decoded document. `spec` is the struct of its kind (struct virtual_service, ...); NULL for a
 * kind without one. */
struct object {
    struct object_meta meta;
    void *spec;
    const struct node *node; /* the whole document, NULL if not read from text */
};

struct object_list {
    struct object **items;
    size_t count, cap;
};

/* ---- shared messages ---- */

struct port_selector {
    const struct node *node;
    uint32_t number; /* 0: not given */
};

struct percent {
    const struct node *node;
    double value;
};

struct destination {
    const struct node *node;
    struct str host;
    struct str subset;         /* empty: none */
    struct port_selector port; /* number 0: the service's only port, else the one addressed */
};

/* A destination with its share. `headers` is of HTTP only. */
struct rule_destination {
    const struct node *node;
    struct destination destination;
    int32_t weight;
    struct headers *headers;
};

struct header_operations {
    const struct node *node;
    struct labels set, add;
    struct str *remove;
    size_t remove_count;
};

struct headers {
    const struct node *node;
    struct header_operations request, response;
};

/* matchLabels of policies, labels of networking. */
struct label_selector {
    const struct node *node;
    struct labels labels;
};

/* What a policy is attached to in place of a selector. */
struct target_ref {
    const struct node *node;
    struct str group, kind, name, ns;
};

/* Whom a policy is for: workloads by their labels, or those of the services that it is attached to. */
struct policy_target {
    struct label_selector selector; /* no labels: the namespace, or the mesh in the root one */
    struct target_ref *target_ref;  /* of these three one alone is given */
    struct target_ref *target_refs;
    size_t target_refs_count;
};

/* The services that it is attached to, one by one; NULL: that was all, or it goes by the selector. */
const struct target_ref *policy_target_at(const struct policy_target *t, size_t i);

#define POLICY_SELECTOR_ROW(s)                                                                     \
    {"selector", FIELD_EMBED, SCHEMA_AT(s, target.selector), .message = &match_labels_schema,      \
     .oneof = "target",                                                                            \
     .meaning = "Workloads it is for; none is the namespace, or the mesh in the root namespace."}
#define POLICY_TARGETS_ROW(s)                                                                      \
    {"targetRefs", FIELD_MESSAGES, SCHEMA_LIST(s, target.target_refs),                             \
     .message = &target_ref_schema, .most = 16, .oneof = "target",                                 \
     .meaning = "Services that it is for, in place of a selector."}
#define POLICY_TARGET_ROWS(s)                                                                      \
    POLICY_SELECTOR_ROW(s),                                                                        \
    {"targetRef", FIELD_MESSAGE, SCHEMA_AT(s, target.target_ref), .message = &target_ref_schema,   \
     .oneof = "target", .meaning = "One target; older form of targetRefs."},                       \
    POLICY_TARGETS_ROW(s)

struct named_number {
    struct str key;
    uint32_t value;
};

/* ---- traffic policy ---- */

enum load_balancer_simple {
    LOAD_BALANCER_UNSPECIFIED, /* LEAST_REQUEST */
    LOAD_BALANCER_LEAST_CONN,  /* alias of LEAST_REQUEST: decode never leaves it */
    LOAD_BALANCER_RANDOM,
    LOAD_BALANCER_PASSTHROUGH,
    LOAD_BALANCER_ROUND_ROBIN,
    LOAD_BALANCER_LEAST_REQUEST,
};

struct cookie_attribute {
    const struct node *node;
    struct str name, value;
};

struct hash_cookie {
    const struct node *node;
    struct str name, path;
    int64_t ttl_ns; /* DURATION_UNSET: never made by the proxy */
    struct cookie_attribute *attributes;
    size_t attributes_count;
};

struct ring_hash {
    const struct node *node;
    uint64_t minimum_ring_size;
};

struct maglev {
    const struct node *node;
    uint64_t table_size;
};

struct consistent_hash {
    const struct node *node;
    struct str header_name; /* one of these four is set */
    struct hash_cookie *cookie;
    bool use_source_ip;
    struct str query_parameter_name;
    struct ring_hash *ring_hash; /* at most one of these two */
    struct maglev *maglev;
    uint64_t minimum_ring_size; /* deprecated, 0 if not given */
};

struct locality_distribute {
    const struct node *node;
    struct str from;
    struct named_number *to;
    size_t to_count;
};

struct locality_failover {
    const struct node *node;
    struct str from, to;
};

struct locality_lb {
    const struct node *node;
    struct locality_distribute *distribute;
    size_t distribute_count;
    struct locality_failover *failover;
    size_t failover_count;
    struct str *failover_priority;
    size_t failover_priority_count;
    bool has_enabled, enabled;
};

struct warmup {
    const struct node *node;
    int64_t duration_ns;
    bool has_minimum_percent, has_aggression;
    double minimum_percent, aggression;
};

struct load_balancer {
    const struct node *node;
    enum load_balancer_simple simple;
    struct consistent_hash *consistent_hash; /* NULL: by `simple` */
    struct locality_lb *locality;            /* NULL: the mesh's */
    struct warmup *warmup;                   /* NULL: by the next one */
    int64_t warmup_duration_ns;              /* deprecated; DURATION_UNSET: at once */
};

struct tcp_keepalive {
    const struct node *node;
    uint32_t probes;
    int64_t time_ns, interval_ns;
};

struct tcp_pool {
    const struct node *node;
    int32_t max_connections;    /* 0 is unlimited */
    int64_t connect_timeout_ns; /* DURATION_UNSET: the mesh's (10 s) */
    struct tcp_keepalive *tcp_keepalive;
    int64_t max_connection_duration_ns;
    int64_t idle_timeout_ns; /* DURATION_UNSET: 1 h; 0 is never */
};

enum h2_upgrade { H2_UPGRADE_DEFAULT, H2_UPGRADE_NEVER, H2_UPGRADE_ALWAYS };

struct http2_keepalive {
    const struct node *node;
    int64_t interval_ns, timeout_ns;
};

struct http_pool {
    const struct node *node;
    int32_t max_pending_requests, max_requests, max_requests_per_connection, max_retries;
    int64_t idle_timeout_ns; /* DURATION_UNSET: 1 h */
    enum h2_upgrade h2_upgrade;
    bool use_client_protocol;
    int32_t max_concurrent_streams;
    struct http2_keepalive *http2_keepalive;
};

struct connection_pool {
    const struct node *node;
    struct tcp_pool *tcp;   /* NULL if not given */
    struct http_pool *http; /* NULL if not given */
};

struct outlier_detection {
    const struct node *node;
    int32_t consecutive_errors; /* deprecated */
    bool split_external_local_origin_errors;
    bool has_consecutive_local_origin_failures, has_consecutive_gateway_errors,
        has_consecutive_5xx_errors;
    uint32_t consecutive_local_origin_failures, consecutive_gateway_errors, consecutive_5xx_errors;
    int64_t interval_ns, base_ejection_time_ns;
    int32_t max_ejection_percent, min_health_percent;
    uint32_t *http_error_codes;
    size_t http_error_codes_count;
};

enum client_tls_mode {
    CLIENT_TLS_DISABLE,
    CLIENT_TLS_SIMPLE,
    CLIENT_TLS_MUTUAL,
    CLIENT_TLS_ISTIO_MUTUAL
};

struct client_tls {
    const struct node *node;
    enum client_tls_mode mode;
    struct str client_certificate, private_key, ca_certificates, credential_name, sni, ca_crl;
    struct str *subject_alt_names;
    size_t subject_alt_names_count;
    bool has_insecure_skip_verify, insecure_skip_verify;
};

struct port_traffic_policy {
    const struct node *node;
    struct port_selector port;
    struct load_balancer *load_balancer;
    struct connection_pool *connection_pool;
    struct outlier_detection *outlier_detection; /* not yet */
    struct client_tls *tls;
};

struct tunnel_settings {
    const struct node *node;
    struct str protocol, target_host;
    uint32_t target_port;
};

enum proxy_protocol_version { PROXY_PROTOCOL_V1, PROXY_PROTOCOL_V2 };

struct proxy_protocol {
    const struct node *node;
    enum proxy_protocol_version version;
};

struct retry_budget {
    const struct node *node;
    bool has_percent;
    double percent;
    uint32_t min_retry_concurrency;
    int64_t budget_interval_ns;
};

/* Each block is NULL if not given. portLevelSettings replace all four blocks for their port: a
 * block that an entry omits falls to the defaults, not to the blocks here. */
struct traffic_policy {
    const struct node *node;
    struct load_balancer *load_balancer;
    struct connection_pool *connection_pool;
    struct outlier_detection *outlier_detection; /* not yet */
    struct client_tls *tls;
    struct port_traffic_policy *port_level;
    size_t port_level_count;
    struct tunnel_settings *tunnel;
    struct proxy_protocol *proxy_protocol;
    struct retry_budget *retry_budget;     /* in place of maxRetries */
};

/* ---- their tables and checks (mesh/kinds/traffic_policy.c, names.c, destination.c, selector.c) ---- */

extern const struct schema connection_pool_schema, tcp_keepalive_schema, locality_lb_schema, port_selector_schema, percent_schema, destination_schema,
    http_destination_schema, tcp_destination_schema, headers_schema, match_labels_schema,
    labels_selector_schema, target_ref_schema, string_match_schema, traffic_policy_schema;

/* Application protocols of ports, as Istio names them, with what is built. */
extern const struct field_value common_protocols[];

/* field_check functions: 0, or -1 with what is wrong and what would be right (code ERR_UNSUPPORTED:
 * not built yet). */
int common_check_host(struct str s, struct err *err); /* a DNS name, short ones too; no wildcard */
int common_check_wildcard_host(struct str s,
                               struct err *err);       /* first label may be "*", "*-x" or "*x" */
int common_check_label(struct str s, struct err *err); /* a DNS-1123 label, in lower case as Kubernetes has it */
int common_check_dns_label(struct str s, struct err *err); /* the same in either case, as Istio has it for ports and the like */
int common_check_name(struct str s, struct err *err);  /* a DNS-1123 subdomain */
int common_check_ip(struct str s, struct err *err);
bool common_is_socket_path(struct str s); /* "unix:///path", "unix://@name" */
int common_check_cidr(struct str s, struct err *err); /* an IP or CIDR */
int common_check_export_to(struct str s, struct err *err);
int common_check_gateway_name(struct str s, struct err *err); /* "name", "ns/name", "mesh" */
int common_check_header_name(struct str s, struct err *err); /* of a match */
int common_check_token(struct str s, struct err *err); /* the name of a header, and nothing else */
int common_check_word(struct str s, struct err *err);  /* anything but an empty string */
/* Letters, digits and the characters of `also`; not a field_check by itself. */
int common_check_plain_name(struct str s, const char *also, struct err *err);
/* "*", "*.example.com" or a name with a dot: no short name, no partial wildcard. */
int common_check_full_host(struct str s, struct err *err);
bool common_is_sni_name(struct str s); /* "outbound_.80_._.reviews.shop", which no other check takes */
bool common_is_claim(struct str s);    /* of a header's name: "@request.auth.claims.sub", or with "[sub]" */
int common_check_label_key(struct str s, struct err *err);
int common_check_label_value(struct str s, struct err *err);
/* Both by Istio's rules: a domain in either case, a value of any length. */
int common_check_istio_label(struct str key, struct str value, struct err *err);
