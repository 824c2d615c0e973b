#include "mesh/kinds/workload_group.h"

#include "mesh/kinds/check.h"

static int check_probe_header(struct str s, struct err *err)
{
    return common_check_plain_name(s, "-_", err);
}

static int check_scheme(struct str s, struct err *err)
{
    return str_eq(s, STR("HTTP")) || str_eq(s, STR("HTTPS"))
               ? 0
               : err_set(err, ERR_INVALID, "\"%.*s\" is neither HTTP nor HTTPS", STR_ARG(s));
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field metadata_fields[] = {
    {"labels", FIELD_LABELS, SCHEMA_AT(group_metadata, labels), .flags = FIELD_ISTIO_LABELS, .most = 256,
     .meaning = "Labels that every entry of the group gets."},
    {"annotations", FIELD_LABELS, SCHEMA_AT(group_metadata, annotations), .flags = FIELD_FREE_KEYS, .most = 256,
     .meaning = "Annotations that every entry of the group gets."},
};
static SCHEMA(metadata_schema, "ObjectMeta", group_metadata, metadata_fields);

static const struct field header_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(probe_header, name), .flags = FIELD_REQUIRED,
     .check = check_probe_header, .meaning = "Name of the header."},
    {"value", FIELD_STRING, SCHEMA_AT(probe_header, value), .meaning = "Its value."},
};
static SCHEMA(header_schema, "HTTPHeader", probe_header, header_fields);

static const struct field http_fields[] = {
    {"path", FIELD_STRING, SCHEMA_AT(probe_http, path),
     .meaning = "Path that is asked for; / when not given."},
    {"port", FIELD_UINT32, SCHEMA_AT(probe_http, port), SCHEMA_BOUNDS(1, 65535),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Port that is asked."},
    {"host", FIELD_STRING, SCHEMA_AT(probe_http, host),
     .meaning = "Address that is asked; the workload's own when not given."},
    {"scheme", FIELD_STRING, SCHEMA_AT(probe_http, scheme), .check = check_scheme,
     .meaning = "HTTP, or HTTPS without a look at the certificate; HTTP when not given."},
    {"httpHeaders", FIELD_MESSAGES, SCHEMA_LIST(probe_http, headers), .message = &header_schema,
     .meaning = "Headers to send along; Host among them replaces the usual one."},
};
static SCHEMA(http_schema, "HTTPHealthCheckConfig", probe_http, http_fields);

static const struct field tcp_fields[] = {
    {"host", FIELD_STRING, SCHEMA_AT(probe_tcp, host),
     .meaning = "Address to connect to; localhost when not given."},
    {"port", FIELD_UINT32, SCHEMA_AT(probe_tcp, port), SCHEMA_BOUNDS(1, 65535),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Port to connect to."},
};
static SCHEMA(tcp_schema, "TCPHealthCheckConfig", probe_tcp, tcp_fields);

static const struct field exec_fields[] = {
    {"command", FIELD_STRINGS, SCHEMA_LIST(probe_exec, command), .flags = FIELD_REQUIRED, .check = common_check_word,
     .meaning = "Program and arguments, without a shell; exit code 0 is healthy."},
};
static SCHEMA(exec_schema, "ExecHealthCheckConfig", probe_exec, exec_fields);

static const struct field grpc_fields[] = {
    {"port", FIELD_UINT32, SCHEMA_AT(probe_grpc, port), SCHEMA_BOUNDS(1, 65535),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Port that is asked."},
    {"service", FIELD_STRING, SCHEMA_AT(probe_grpc, service),
     .meaning = "Service whose health is asked for; the whole server's when not given."},
};
static SCHEMA(grpc_schema, "GrpcHealthCheckConfig", probe_grpc, grpc_fields);

#define PROBE_NUMBER(text, m, value, sentence)                                                     \
    {                                                                                              \
        text, FIELD_INT32, SCHEMA_AT(readiness_probe, m), SCHEMA_BOUNDS(0, INT32_MAX),             \
            .def = (value), .flags = FIELD_BOUNDED, .meaning = sentence                            \
    }

static const struct field probe_fields[] = {
    PROBE_NUMBER("initialDelaySeconds", initial_delay_s, 0, "Seconds before the first check."),
    PROBE_NUMBER("timeoutSeconds", timeout_s, 1, "Seconds that an answer may take."),
    PROBE_NUMBER("periodSeconds", period_s, 10, "Seconds between checks."),
    PROBE_NUMBER("successThreshold", success_threshold, 1, "Good checks in a row to be healthy."),
    PROBE_NUMBER("failureThreshold", failure_threshold, 3, "Bad checks in a row to be unhealthy."),
    {"httpGet", FIELD_MESSAGE, SCHEMA_AT(readiness_probe, http), .message = &http_schema,
     .oneof = "health_check_method", .meaning = "Ask over HTTP; 2xx and 3xx are healthy."},
    {"tcpSocket", FIELD_MESSAGE, SCHEMA_AT(readiness_probe, tcp), .message = &tcp_schema,
     .oneof = "health_check_method", .meaning = "Connect; that it works is healthy."},
    {"exec", FIELD_MESSAGE, SCHEMA_AT(readiness_probe, exec), .message = &exec_schema,
     .oneof = "health_check_method", .meaning = "Run a program."},
    {"grpc", FIELD_MESSAGE, SCHEMA_AT(readiness_probe, grpc), .message = &grpc_schema,
     .oneof = "health_check_method", .meaning = "Ask by gRPC's health protocol."},
};
static SCHEMA(probe_schema, "ReadinessProbe", readiness_probe, probe_fields);

static const struct field workload_group_fields[] = {
    {"metadata", FIELD_EMBED, SCHEMA_AT(workload_group, metadata), .message = &metadata_schema,
     .meaning = "What every entry of the group gets in its metadata."},
    {"template", FIELD_EMBED, SCHEMA_AT(workload_group, template),
     .message = &workload_template_schema, .flags = FIELD_REQUIRED,
     .meaning = "Entry of a workload; registration adds address and labels."},
    {"probe", FIELD_MESSAGE, SCHEMA_AT(workload_group, probe), .message = &probe_schema,
     .meaning = "Health check that the agent makes; none: healthy while connected."},
};
SCHEMA(workload_group_schema, "WorkloadGroup", workload_group, workload_group_fields);

/* clang-format on */

void workload_group_validate(const struct check *c, const void *spec)
{
    const struct workload_group *g = spec;
    const struct readiness_probe *p = g->probe;

    workload_entry_check_socket(c, &g->template);
    if (p && p->node && !p->http && !p->tcp && !p->exec && !p->grpc)
        FAIL(c, p->node, FIND_REQUIRED, "probe needs httpGet, tcpSocket, exec or grpc");
}
