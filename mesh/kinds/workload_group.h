/* networking.istio.io WorkloadGroup: a template for the entries of workloads that register, and how
 * an agent checks their health. Fields: mesh/kinds/workload_group.c. */
#pragma once

#include "mesh/kinds/workload_entry.h"

struct group_metadata {
    const struct node *node;
    struct labels labels, annotations;
};

struct probe_header {
    const struct node *node;
    struct str name, value;
};

struct probe_http {
    const struct node *node;
    struct str path, host, scheme; /* path: empty is "/" */
    uint32_t port;
    struct probe_header *headers;
    size_t headers_count;
};

struct probe_tcp {
    const struct node *node;
    struct str host;
    uint32_t port;
};

struct probe_exec {
    const struct node *node;
    struct str *command;
    size_t command_count;
};

struct probe_grpc {
    const struct node *node;
    uint32_t port;
    struct str service;
};

struct readiness_probe {
    const struct node *node;
    int32_t initial_delay_s, timeout_s, period_s, success_threshold, failure_threshold;
    struct probe_http *http; /* exactly one of these four */
    struct probe_tcp *tcp;
    struct probe_exec *exec;
    struct probe_grpc *grpc;
};

struct workload_group {
    const struct node *node;
    struct group_metadata metadata;
    struct workload_entry template;
    struct readiness_probe *probe;
};

extern const struct schema workload_group_schema;
void workload_group_validate(const struct check *c, const void *spec);
