#include "mesh/kinds/telemetry.h"

#include "mesh/cel.h"
#include "mesh/kinds/check.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field_value mode_values[] = {
    SCHEMA_VALUE("CLIENT_AND_SERVER", TELEMETRY_BOTH),
    SCHEMA_VALUE("CLIENT", TELEMETRY_CLIENT),
    SCHEMA_VALUE("SERVER", TELEMETRY_SERVER),
    {.name = NULL},
};

static const struct field provider_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(provider_ref, name), .flags = FIELD_REQUIRED,
     .meaning = "Extension provider of MeshConfig."},
};
static SCHEMA(provider_schema, "ProviderRef", provider_ref, provider_fields);

static const struct field match_fields[] = {
    {"mode", FIELD_ENUM, SCHEMA_AT(telemetry_match, mode), .values = mode_values,
     .meaning = "Requests that the workload makes (CLIENT), that it gets (SERVER), or both."},
};
static SCHEMA(tracing_match_schema, "TracingSelector", telemetry_match, match_fields);
static SCHEMA(log_match_schema, "LogSelector", telemetry_match, match_fields);

/* ---- tracing ---- */

static const struct field literal_fields[] = {
    {"value", FIELD_STRING, SCHEMA_AT(tag_source, value), .flags = FIELD_REQUIRED,
     .meaning = "The value."},
};
static SCHEMA(literal_schema, "Literal", tag_source, literal_fields);

static const struct field environment_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(tag_source, name), .flags = FIELD_REQUIRED,
     .meaning = "Environment variable of the agent."},
    {"defaultValue", FIELD_STRING, SCHEMA_AT(tag_source, otherwise),
     .meaning = "Value where the variable is not set."},
};
static SCHEMA(environment_schema, "Environment", tag_source, environment_fields);

static const struct field header_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(tag_source, name), .flags = FIELD_REQUIRED,
     .meaning = "Header of the request."},
    {"defaultValue", FIELD_STRING, SCHEMA_AT(tag_source, otherwise),
     .meaning = "Value where the header is absent."},
};
static SCHEMA(header_schema, "RequestHeader", tag_source, header_fields);

static const struct field formatter_fields[] = {
    {"value", FIELD_STRING, SCHEMA_AT(tag_source, value), .flags = FIELD_REQUIRED,
     .meaning = "Operators of the access log, such as %REQUESTED_SERVER_NAME%."},
};
static SCHEMA(formatter_schema, "Formatter", tag_source, formatter_fields);

static const struct field tag_fields[] = {
    {"literal", FIELD_MESSAGE, SCHEMA_AT(custom_tag, literal), .message = &literal_schema,
     .oneof = "type", .meaning = "A fixed value."},
    {"environment", FIELD_MESSAGE, SCHEMA_AT(custom_tag, environment),
     .message = &environment_schema, .oneof = "type", .meaning = "The agent's environment."},
    {"header", FIELD_MESSAGE, SCHEMA_AT(custom_tag, header), .message = &header_schema,
     .oneof = "type", .meaning = "A header of the request."},
    {"formatter", FIELD_MESSAGE, SCHEMA_AT(custom_tag, formatter), .message = &formatter_schema,
     .oneof = "type", .meaning = "A piece of an access log."},
};
static SCHEMA(tag_schema, "CustomTag", custom_tag, tag_fields);

static const struct field tracing_fields[] = {
    {"match", FIELD_EMBED, SCHEMA_AT(tracing, match), .message = &tracing_match_schema,
     .meaning = "Which side it is for."},
    {"providers", FIELD_MESSAGES, SCHEMA_LIST(tracing, providers), .message = &provider_schema,
     .meaning = "Where spans go; the first is used, the mesh's default when not given."},
    {"randomSamplingPercentage", FIELD_DOUBLE, SCHEMA_HAS(tracing, sampling), SCHEMA_BOUNDS(0, 100),
     .def = 1, .flags = FIELD_BOUNDED,
     .meaning = "Share of requests that are traced where nobody before decided."},
    {"disableSpanReporting", FIELD_BOOL, SCHEMA_HAS(tracing, disabled),
     .meaning = "Report no spans, but hand on what callers sent."},
    {"customTags", FIELD_NAMED_MESSAGES, SCHEMA_LIST(tracing, tags), .message = &tag_schema,
     .check = common_check_word, .meaning = "Further tags of each span."},
    {"useRequestIdForTraceSampling", FIELD_ANY,
     SCHEMA_UNSUPPORTED("it is about how Envoy makes request ids; leave it out"),
     .meaning = "Sample by x-request-id."},
    {"enableIstioTags", FIELD_BOOL, SCHEMA_HAS(tracing, istio_tags), .def = 1,
     .meaning = "Whether spans get Istio's tags."},
    {"disableContextPropagation", FIELD_ANY,
     SCHEMA_UNSUPPORTED("remove the headers with VirtualService http.headers.request.remove"),
     .meaning = "Strip trace headers."},
};
static SCHEMA(tracing_schema, "Tracing", tracing, tracing_fields);

/* ---- metrics ---- */

static const struct field_value metric_values[] = {
    SCHEMA_VALUE("ALL_METRICS", METRIC_ALL),
    SCHEMA_VALUE("REQUEST_COUNT", METRIC_REQUEST_COUNT),
    SCHEMA_VALUE("REQUEST_DURATION", METRIC_REQUEST_DURATION),
    SCHEMA_VALUE("REQUEST_SIZE", METRIC_REQUEST_SIZE),
    SCHEMA_VALUE("RESPONSE_SIZE", METRIC_RESPONSE_SIZE),
    SCHEMA_VALUE("TCP_OPENED_CONNECTIONS", METRIC_TCP_OPENED_CONNECTIONS),
    SCHEMA_VALUE("TCP_CLOSED_CONNECTIONS", METRIC_TCP_CLOSED_CONNECTIONS),
    SCHEMA_VALUE("TCP_SENT_BYTES", METRIC_TCP_SENT_BYTES),
    SCHEMA_VALUE("TCP_RECEIVED_BYTES", METRIC_TCP_RECEIVED_BYTES),
    SCHEMA_VALUE("GRPC_REQUEST_MESSAGES", METRIC_GRPC_REQUEST_MESSAGES),
    SCHEMA_VALUE("GRPC_RESPONSE_MESSAGES", METRIC_GRPC_RESPONSE_MESSAGES),
    {.name = NULL},
};

static const struct field_value operation_values[] = {
    SCHEMA_VALUE("UPSERT", TAG_UPSERT),
    SCHEMA_VALUE("REMOVE", TAG_REMOVE),
    {.name = NULL},
};

static const struct field metric_match_fields[] = {
    {"metric", FIELD_ENUM, SCHEMA_HAS(metric_match, metric), .values = metric_values,
     .oneof = "metric_match", .meaning = "Metric of Istio; all of them when not given."},
    {"customMetric", FIELD_STRING, SCHEMA_AT(metric_match, custom_metric),
     .oneof = "metric_match", .meaning = "Name of any other metric."},
    {"mode", FIELD_ENUM, SCHEMA_AT(metric_match, mode), .values = mode_values,
     .meaning = "Which side it is for."},
};
static SCHEMA(metric_match_schema, "MetricSelector", metric_match, metric_match_fields);

static const struct field tag_override_fields[] = {
    {"operation", FIELD_ENUM, SCHEMA_AT(tag_override, operation), .values = operation_values,
     .meaning = "Set the label (UPSERT) or take it away (REMOVE)."},
    {"value", FIELD_STRING, SCHEMA_AT(tag_override, value),
     .meaning = "Expression (CEL) that gives the label's value."},
};
static SCHEMA(tag_override_schema, "TagOverride", tag_override, tag_override_fields);

static const struct field override_fields[] = {
    {"match", FIELD_EMBED, SCHEMA_AT(metrics_override, match), .message = &metric_match_schema,
     .meaning = "Metrics that it is about."},
    {"disabled", FIELD_BOOL, SCHEMA_HAS(metrics_override, disabled),
     .meaning = "Whether they are dropped; false brings them back."},
    {"tagOverrides", FIELD_NAMED_MESSAGES, SCHEMA_LIST(metrics_override, tags),
     .message = &tag_override_schema,
     .meaning = "Labels to set or to take away, by name."},
};
static SCHEMA(override_schema, "MetricsOverrides", metrics_override, override_fields);

static const struct field metrics_fields[] = {
    {"providers", FIELD_MESSAGES, SCHEMA_LIST(metrics, providers), .message = &provider_schema,
     .meaning = "Who collects them; the mesh's default, prometheus, when not given."},
    {"overrides", FIELD_MESSAGES, SCHEMA_LIST(metrics, overrides), .message = &override_schema,
     .meaning = "Changes to the usual metrics, in order; the later one holds."},
    {"reportingInterval", FIELD_DURATION, SCHEMA_AT(metrics, reporting_interval_ns),
     .flags = FIELD_FINE, .def = 5000000000, .meaning = "How often long connections are counted."},
};
static SCHEMA(metrics_schema, "Metrics", metrics, metrics_fields);

/* ---- access log ---- */

static const struct field filter_fields[] = {
    {"expression", FIELD_STRING, SCHEMA_AT(log_filter, expression), .flags = FIELD_REQUIRED, .check = cel_check,
     .meaning = "Expression (CEL) that is true for what is logged."},
};
static SCHEMA(filter_schema, "Filter", log_filter, filter_fields);

static const struct field logging_fields[] = {
    {"match", FIELD_EMBED, SCHEMA_AT(access_logging, match), .message = &log_match_schema,
     .meaning = "Which side it is for."},
    {"providers", FIELD_MESSAGES, SCHEMA_LIST(access_logging, providers),
     .message = &provider_schema,
     .meaning = "Who writes it; the mesh's default when not given."},
    {"disabled", FIELD_BOOL, SCHEMA_HAS(access_logging, disabled),
     .meaning = "Whether these providers write nothing."},
    {"filter", FIELD_MESSAGE, SCHEMA_AT(access_logging, filter), .message = &filter_schema,
     .meaning = "What is logged; everything when not given."},
};
static SCHEMA(logging_schema, "AccessLogging", access_logging, logging_fields);

static const struct field telemetry_fields[] = {
    POLICY_TARGET_ROWS(telemetry),
    {"tracing", FIELD_MESSAGES, SCHEMA_LIST(telemetry, tracing), .message = &tracing_schema,
     .meaning = "Traces; the first entry is used."},
    {"metrics", FIELD_MESSAGES, SCHEMA_LIST(telemetry, metrics), .message = &metrics_schema,
     .meaning = "Metrics, and what is different in them."},
    {"accessLogging", FIELD_MESSAGES, SCHEMA_LIST(telemetry, access_logging),
     .message = &logging_schema, .meaning = "Access logs."},
};
SCHEMA(telemetry_schema, "Telemetry", telemetry, telemetry_fields);

/* clang-format on */

/* ---- checks ---- */

/* An entry of a map, else the message: where to point. */
static const struct node *member_of(const struct node *message, const char *map, struct str key)
{
    const struct node *n = node_get(check_member(message, map), key);

    return n ? n : message;
}

static void check_tags(const struct check *c, const struct tracing *x)
{
    for (size_t i = 0; i < x->tags_count; i++) {
        const struct custom_tag *g = &x->tags[i].value;

        if (!g->node)
            FAIL(c, member_of(x->node, "customTags", x->tags[i].key), FIND_REQUIRED, "the tag \"%.*s\" is null: leave it out",
                 STR_ARG(x->tags[i].key));
        else if (!g->literal && !g->environment && !g->header && !g->formatter)
            WARN(c, g->node, "a tag without literal, environment, header or formatter adds nothing");
    }
}

static void check_tracing(const struct check *c, const struct telemetry *t)
{
    if (t->tracing_count > 1)
        WARN(c, check_member(t->node, "tracing"), "only the first entry of tracing is used");
    for (size_t i = 0; i < t->tracing_count; i++) {
        const struct tracing *x = &t->tracing[i];

        if (x->providers_count > 1)
            WARN(c, check_member(x->node, "providers"), "only the first provider is used");
        check_tags(c, x);
    }
}

static void check_label(const struct check *c, const struct node *override, const struct named_override *x)
{
    const struct tag_override *g = &x->value;
    const struct node *at = member_of(override, "tagOverrides", x->key);
    struct err err;

    if (x->key.n == 0)
        WARN(c, at, "a label without a name is never set");
    if (g->operation == TAG_UPSERT && !g->value.n)
        FAIL(c, at, FIND_REQUIRED, "operation UPSERT needs value");
    if (g->operation == TAG_REMOVE && check_given(g->node, "value"))
        FAIL(c, check_member(g->node, "value"), FIND_VALUE, "operation REMOVE takes no value");
    else if (g->value.n && cel_check(g->value, &err))
        WARN(c, check_member(g->node, "value"), "%s, so the label stays as it is", err.text);
}

static void check_overrides(const struct check *c, const struct metrics *m)
{
    for (size_t i = 0; i < m->overrides_count; i++) {
        const struct metrics_override *o = &m->overrides[i];
        const struct node *custom = o->match.node ? node_get(o->match.node, STR("customMetric"))
                                                  : NULL;

        if (custom && custom->kind == NODE_STRING && custom->text.n == 0)
            FAIL(c, custom, FIND_VALUE, "customMetric must not be empty; leave it out");
        for (size_t j = 0; j < o->tags_count; j++)
            check_label(c, o->node, &o->tags[j]);
    }
}

void telemetry_validate(const struct check *c, const void *spec)
{
    const struct telemetry *t = spec;

    check_target(c, &t->target);
    check_tracing(c, t);
    for (size_t i = 0; i < t->metrics_count; i++)
        check_overrides(c, &t->metrics[i]);
}
