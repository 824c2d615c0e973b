/* networking.istio.io VirtualService: routing rules of hosts. Fields: mesh/kinds/virtual_service.c.
 */
#pragma once

#include "mesh/kinds/common.h"

/* One entry of a map<string,StringMatch>. `{}` and regex "*" are MATCH_PRESENT. */
struct named_match {
    struct str key; /* as written; header names compare without case */
    struct match_string value;
};

/* One block: all of it must hold. A match_string of kind MATCH_ANY was not given. */
struct http_rule_match {
    const struct node *node;
    struct str name; /* suffix of the route name */
    struct match_string uri, scheme, method, authority;
    struct named_match *headers;
    size_t headers_count;
    uint32_t port; /* addressed by the client; 0: any */
    struct labels source_labels;
    struct str *gateways; /* none: those of the VirtualService */
    size_t gateways_count;
    struct named_match *query_params;
    size_t query_params_count;
    bool ignore_uri_case;
    struct named_match *without_headers;
    size_t without_headers_count;
    struct str source_namespace; /* empty: any */
};

enum redirect_derive_port { REDIRECT_PORT_FROM_PROTOCOL_DEFAULT, REDIRECT_PORT_FROM_REQUEST };

struct http_redirect {
    const struct node *node;
    struct str uri, authority, scheme, prefix_rewrite;
    bool has_port, has_derive_port;
    uint32_t port;
    enum redirect_derive_port derive_port;
    uint32_t code;
};

struct http_body {
    const struct node *node;
    bool has_string, has_bytes;
    struct str string, bytes; /* bytes: decoded from base64 */
};

struct http_direct_response {
    const struct node *node;
    uint32_t status;
    struct http_body *body;
};

struct http_delegate {
    const struct node *node;
    struct str name, ns;
};

struct regex_rewrite {
    const struct node *node;
    struct str match, rewrite;
};

struct http_rewrite {
    const struct node *node;
    struct str uri, authority;
    struct regex_rewrite *uri_regex;
};

struct http_retry {
    const struct node *node;
    int32_t attempts;           /* extra tries; 0: off */
    int64_t per_try_timeout_ns; /* DURATION_UNSET: the route's, or none */
    struct str retry_on;        /* comma list; empty: the default list */
    bool has_retry_remote_localities, retry_remote_localities;
    bool has_retry_ignore_previous_hosts, retry_ignore_previous_hosts; /* default: true unless hashed */
    int64_t backoff_ns;                                        /* DURATION_UNSET: 25 ms */
};

struct fault_delay {
    const struct node *node;
    int32_t percent; /* deprecated */
    int64_t fixed_delay_ns;
    struct percent *percentage;
};

struct fault_abort {
    const struct node *node;
    bool has_http_status;
    int32_t http_status;
    struct str grpc_status;
    struct percent *percentage;
};

struct http_fault {
    const struct node *node;
    struct fault_delay *delay;
    struct fault_abort *abort;
};

struct http_mirror {
    const struct node *node;
    struct destination destination;
    struct percent *percentage;
};

enum cors_unmatched { CORS_UNMATCHED_UNSPECIFIED, CORS_UNMATCHED_FORWARD, CORS_UNMATCHED_IGNORE };

struct cors_policy {
    const struct node *node;
    struct str *allow_origin; /* deprecated */
    size_t allow_origin_count;
    struct match_string *allow_origins;
    size_t allow_origins_count;
    struct str *allow_methods;
    size_t allow_methods_count;
    struct str *allow_headers;
    size_t allow_headers_count;
    struct str *expose_headers;
    size_t expose_headers_count;
    int64_t max_age_ns;
    bool has_allow_credentials, allow_credentials;
    enum cors_unmatched unmatched_preflights;
};

/* Blocks of `match` are alternatives; none: always. */
struct http_rule {
    const struct node *node;
    struct str name;
    struct http_rule_match *match;
    size_t match_count;
    struct rule_destination *route; /* none: redirect or direct_response is there */
    size_t route_count;
    int64_t timeout_ns;         /* DURATION_UNSET: none */
    struct http_retry *retries; /* NULL: the mesh's default, which is 2 attempts, not none */
    struct http_redirect *redirect;
    struct http_direct_response *direct_response;
    struct http_delegate *delegate; /* whose rules take the place of this one */
    struct http_rewrite *rewrite;
    struct http_fault *fault;
    struct destination *mirror;
    struct http_mirror *mirrors;
    size_t mirrors_count;
    bool has_mirror_percent;
    uint32_t mirror_percent; /* deprecated */
    struct percent *mirror_percentage;
    struct cors_policy *cors_policy;
    struct headers *headers;
};

/* A block of a TCP rule; of a TLS rule with sni_hosts. */
struct l4_match {
    const struct node *node;
    struct str *sni_hosts; /* TLS only */
    size_t sni_hosts_count;
    struct str *destination_subnets; /* IP or CIDR of the original destination; none: any */
    size_t destination_subnets_count;
    uint32_t port; /* 0: any */
    struct labels source_labels;
    struct str *gateways;
    size_t gateways_count;
    struct str source_namespace;
};

/* An element of `tcp` and of `tls`. */
struct l4_rule {
    const struct node *node;
    struct l4_match *match;
    size_t match_count;
    struct rule_destination *route;
    size_t route_count;
};

struct virtual_service {
    const struct node *node;
    struct str *hosts; /* as written; short names belong to the VirtualService's namespace */
    size_t hosts_count;
    struct str *gateways; /* none: ["mesh"], all callers that are not gateways */
    size_t gateways_count;
    struct http_rule *http; /* first match wins */
    size_t http_count;
    struct l4_rule *tls;
    size_t tls_count;
    struct l4_rule *tcp;
    size_t tcp_count;
    struct str *export_to; /* none: ["*"] */
    size_t export_to_count;
};

extern const struct schema virtual_service_schema, http_retry_schema;
void virtual_service_validate(const struct check *c, const void *spec);

/* Is it for callers that are no gateways? */
bool virtual_service_is_for_mesh(const struct virtual_service *vs);
