/* security.istio.io AuthorizationPolicy: who may do what to which workloads. Fields:
 * mesh/kinds/authorization_policy.c. */
#pragma once

#include "mesh/kinds/common.h"

struct authz_source {
    const struct node *node;
    struct str *principals, *not_principals, *request_principals, *not_request_principals,
        *namespaces, *not_namespaces, *service_accounts, *not_service_accounts, *ip_blocks,
        *not_ip_blocks, *remote_ip_blocks, *not_remote_ip_blocks, *trust_domains,
        *not_trust_domains;
    size_t principals_count, not_principals_count, request_principals_count,
        not_request_principals_count, namespaces_count, not_namespaces_count,
        service_accounts_count, not_service_accounts_count, ip_blocks_count, not_ip_blocks_count,
        remote_ip_blocks_count, not_remote_ip_blocks_count, trust_domains_count,
        not_trust_domains_count;
};

struct authz_from {
    const struct node *node;
    struct authz_source source;
};

struct authz_operation {
    const struct node *node;
    struct str *hosts, *not_hosts, *ports, *not_ports, *methods, *not_methods, *paths, *not_paths;
    size_t hosts_count, not_hosts_count, ports_count, not_ports_count, methods_count,
        not_methods_count, paths_count, not_paths_count;
};

struct authz_to {
    const struct node *node;
    struct authz_operation operation;
};

struct authz_condition {
    const struct node *node;
    struct str key;
    struct str *values, *not_values;
    size_t values_count, not_values_count;
};

/* Empty matches everything. */
struct authz_rule {
    const struct node *node;
    struct authz_from *from;
    size_t from_count;
    struct authz_to *to;
    size_t to_count;
    struct authz_condition *when;
    size_t when_count;
};

enum authz_action { AUTHZ_ALLOW, AUTHZ_DENY, AUTHZ_AUDIT, AUTHZ_CUSTOM };

struct authz_provider {
    const struct node *node;
    struct str name;
};

struct authorization_policy {
    const struct node *node;
    struct policy_target target;
    struct authz_rule *rules; /* none: never matches, so that ALLOW denies everything */
    size_t rules_count;
    enum authz_action action;
    struct authz_provider *provider; /* of CUSTOM */
};

extern const struct schema authorization_policy_schema;
void authorization_policy_validate(const struct check *c, const void *spec);
