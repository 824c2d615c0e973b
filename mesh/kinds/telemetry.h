/* telemetry.istio.io Telemetry: traces, metrics and access logs of workloads. Fields:
 * mesh/kinds/telemetry.c. */
#pragma once

#include "mesh/kinds/common.h"

enum telemetry_mode { TELEMETRY_BOTH, TELEMETRY_CLIENT, TELEMETRY_SERVER };

struct provider_ref {
    const struct node *node;
    struct str name;
};

struct telemetry_match {
    const struct node *node;
    enum telemetry_mode mode;
};

struct tag_source {
    const struct node *node;
    struct str name, value, otherwise; /* of a header or variable; of a literal or formatter */
};

struct custom_tag {
    const struct node *node;
    struct tag_source *literal, *environment, *header, *formatter; /* one of them */
};

struct named_tag {
    struct str key;
    struct custom_tag value;
};

struct tracing {
    const struct node *node;
    struct telemetry_match match;
    struct provider_ref *providers;
    size_t providers_count;
    bool has_sampling, has_disabled, disabled, has_istio_tags, istio_tags;
    double sampling; /* percent */
    struct named_tag *tags;
    size_t tags_count;
};

enum metric_name {
    METRIC_ALL,
    METRIC_REQUEST_COUNT,
    METRIC_REQUEST_DURATION,
    METRIC_REQUEST_SIZE,
    METRIC_RESPONSE_SIZE,
    METRIC_TCP_OPENED_CONNECTIONS,
    METRIC_TCP_CLOSED_CONNECTIONS,
    METRIC_TCP_SENT_BYTES,
    METRIC_TCP_RECEIVED_BYTES,
    METRIC_GRPC_REQUEST_MESSAGES,
    METRIC_GRPC_RESPONSE_MESSAGES,
};

struct metric_match {
    const struct node *node;
    bool has_metric;
    enum metric_name metric;
    struct str custom_metric;
    enum telemetry_mode mode;
};

enum tag_operation { TAG_UPSERT, TAG_REMOVE };

struct tag_override {
    const struct node *node;
    enum tag_operation operation;
    struct str value;
};

struct named_override {
    struct str key;
    struct tag_override value;
};

struct metrics_override {
    const struct node *node;
    struct metric_match match;
    bool has_disabled, disabled;
    struct named_override *tags;
    size_t tags_count;
};

struct metrics {
    const struct node *node;
    struct provider_ref *providers;
    size_t providers_count;
    struct metrics_override *overrides;
    size_t overrides_count;
    int64_t reporting_interval_ns;
};

struct log_filter {
    const struct node *node;
    struct str expression;
};

struct access_logging {
    const struct node *node;
    struct telemetry_match match;
    struct provider_ref *providers;
    size_t providers_count;
    bool has_disabled, disabled;
    struct log_filter *filter;
};

struct telemetry {
    const struct node *node;
    struct policy_target target;
    struct tracing *tracing;
    size_t tracing_count;
    struct metrics *metrics;
    size_t metrics_count;
    struct access_logging *access_logging;
    size_t access_logging_count;
};

extern const struct schema telemetry_schema;
void telemetry_validate(const struct check *c, const void *spec);
