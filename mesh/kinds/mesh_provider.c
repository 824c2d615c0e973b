#include "mesh/base/addr.h"
#include "mesh/kinds/check.h"
#include "mesh/kinds/mesh_config.h"
#include "mesh/url.h"

/* The statuses that Envoy can answer with; 0 is none of its own. */
static const uint16_t statuses[] = {
    0, 100, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307,
    308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417,
    421, 422, 423, 424, 426, 428, 429, 431, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
};

static int check_status_text(struct str s, struct err *err)
{
    uint64_t status;

    for (size_t i = 0; str_uint(s, 0, 599, &status) && i < COUNT(statuses); i++) {
        if (statuses[i] == status)
            return 0;
    }
    return err_set(err, ERR_INVALID, "\"%.*s\" is not a status that there is, such as 403 or 503", STR_ARG(s));
}

static int check_path_prefix(struct str s, struct err *err)
{
    struct err why;
    struct url u;

    if (!str_starts(s, STR("/")))
        return err_set(err, ERR_INVALID, "\"%.*s\" must begin with '/'", STR_ARG(s));
    return url_parse(s, &u, &why) ? err_set(err, ERR_INVALID, "\"%.*s\" is not a path: it has %s", STR_ARG(s), why.text) : 0;
}

/* HOST or an address; or NAMESPACE/HOST, as in the egress of a Sidecar: a full name, perhaps with "*.". */
static int check_service(struct str s, struct err *err)
{
    struct str ns, host = s;
    struct addr ip;

    if (!str_cut(&host, '/', &ns))
        return addr_parse_ip(s, &ip) ? 0 : common_check_host(s, err);
    if (!str_eq(ns, STR("*")) && !str_eq(ns, STR(".")) && !str_eq(ns, STR("~")) && common_check_dns_label(ns, err))
        return err_set(err, ERR_INVALID, "\"%.*s\": the part before '/' is not a namespace", STR_ARG(s));
    return addr_parse_ip(host, &ip) ? err_set(err, ERR_INVALID, "\"%.*s\": an address has no namespace", STR_ARG(s))
                                    : common_check_full_host(host, err);
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


#define SERVICE_ROWS(s)                                                                            \
    {"service", FIELD_STRING, SCHEMA_AT(s, service), .flags = FIELD_REQUIRED,                      \
     .check = check_service,                                                                       \
     .meaning = "Service of the mesh that is asked, HOST or NAMESPACE/HOST."},                     \
    {"port", FIELD_UINT32, SCHEMA_AT(s, port), SCHEMA_BOUNDS(1, 65535),                            \
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Its port."}

static const struct field body_fields[] = {
    {"maxRequestBytes", FIELD_UINT32, SCHEMA_AT(request_body_check, bytes_max),
     SCHEMA_BOUNDS(1, 16 << 20), .flags = FIELD_REQUIRED | FIELD_BOUNDED,
     .meaning = "Bytes of the body that are sent along."},
    {"allowPartialMessage", FIELD_BOOL, SCHEMA_AT(request_body_check, allow_partial),
     .meaning = "Send the beginning of a longer body, instead of answering 413."},
    {"packAsBytes", FIELD_BOOL, SCHEMA_AT(request_body_check, as_bytes),
     .meaning = "Send bytes rather than UTF-8; for gRPC."},
};
static SCHEMA(body_schema, "EnvoyExternalAuthorizationRequestBody", request_body_check, body_fields);

#define AUTHZ_ROWS                                                                                 \
    SERVICE_ROWS(ext_authz),                                                                       \
    {"timeout", FIELD_DURATION, SCHEMA_AT(ext_authz, timeout_ns), .def = 600000000000,             \
     .meaning = "How long an answer may take."},                                                   \
    {"failOpen", FIELD_BOOL, SCHEMA_AT(ext_authz, fail_open),                                      \
     .meaning = "Let requests pass while there is no answer."},                                    \
    {"clearRouteCache", FIELD_BOOL, SCHEMA_AT(ext_authz, clear_route_cache),                       \
     .meaning = "Choose the route again after the answer's headers."},                             \
    {"statusOnError", FIELD_STRING, SCHEMA_AT(ext_authz, status_on_error),                         \
     .check = check_status_text, .meaning = "Status while there is no answer; 403 when not given."}, \
    {"includeRequestBodyInCheck", FIELD_MESSAGE, SCHEMA_AT(ext_authz, body),                       \
     .message = &body_schema, .meaning = "Send the body along; not sent when not given."}

static const struct field authz_http_fields[] = {
    AUTHZ_ROWS,
    {"pathPrefix", FIELD_STRING, SCHEMA_AT(ext_authz, path_prefix), .check = check_path_prefix,
     .meaning = "What is put before the path of the request that is asked about."},
    {"includeRequestHeadersInCheck", FIELD_STRINGS, SCHEMA_LIST(ext_authz, request_headers),
     .check = common_check_word, .meaning = "Headers that are sent along; * at either end."},
    {"includeAdditionalHeadersInCheck", FIELD_LABELS, SCHEMA_AT(ext_authz, additional_headers),
     .flags = FIELD_FREE_KEYS, .meaning = "Headers that are added to the question."},
    {"headersToUpstreamOnAllow", FIELD_STRINGS, SCHEMA_LIST(ext_authz, upstream_headers),
     .check = common_check_word, .meaning = "Headers of the answer that go on with the request."},
    {"headersToDownstreamOnDeny", FIELD_STRINGS, SCHEMA_LIST(ext_authz, deny_headers),
     .check = common_check_word, .meaning = "Headers of the answer that go back with a refusal."},
    {"headersToDownstreamOnAllow", FIELD_STRINGS, SCHEMA_LIST(ext_authz, allow_headers),
     .check = common_check_word, .meaning = "Headers of the answer that go back with the response."},
};
static SCHEMA(authz_http_schema, "EnvoyExternalAuthorizationHttpProvider", ext_authz,
              authz_http_fields);

static const struct field authz_grpc_fields[] = {AUTHZ_ROWS};
static SCHEMA(authz_grpc_schema, "EnvoyExternalAuthorizationGrpcProvider", ext_authz,
              authz_grpc_fields);

static const struct field otel_http_fields[] = {
    {"path", FIELD_STRING, SCHEMA_AT(otel_http, path), .flags = FIELD_REQUIRED,
     .meaning = "Path that spans are posted to."},
    {"timeout", FIELD_DURATION, SCHEMA_AT(otel_http, timeout_ns),
     .meaning = "How long an answer may take."},
};
static SCHEMA(otel_http_schema, "HttpService", otel_http, otel_http_fields);

#define TAG_LENGTH_ROW                                                                             \
    {"maxTagLength", FIELD_UINT32, SCHEMA_AT(collector, tag_length_max), .def = 256,               \
     .meaning = "Bytes of the path that a span keeps."}

static const struct field zipkin_fields[] = {
    SERVICE_ROWS(collector),
    TAG_LENGTH_ROW,
    {"path", FIELD_STRING, SCHEMA_AT(collector, path),
     .meaning = "Path that spans are posted to; /api/v2/spans when not given."},
};
static SCHEMA(zipkin_schema, "ZipkinTracingProvider", collector, zipkin_fields);

static const struct field otel_fields[] = {
    SERVICE_ROWS(collector),
    TAG_LENGTH_ROW,
    {"http", FIELD_MESSAGE, SCHEMA_AT(collector, http), .message = &otel_http_schema, .oneof = "way",
     .meaning = "Post over HTTP in place of gRPC."},
    {"grpc", FIELD_ANY, .oneof = "way", SCHEMA_NOT_YET, .meaning = "Settings of the calls over gRPC."},
    {"resourceDetectors", FIELD_ANY, SCHEMA_NOT_YET, .meaning = "What is found out about the host, for every span."},
    {"dynatraceSampler", FIELD_ANY,
     SCHEMA_UNSUPPORTED("it is a service of somebody else's; use randomSamplingPercentage of Telemetry"),
     .meaning = "Sampling by Dynatrace."},
};
static SCHEMA(otel_schema, "OpenTelemetryTracingProvider", collector, otel_fields);

static const struct field otel_log_fields[] = {
    SERVICE_ROWS(collector),
    {"logName", FIELD_STRING, SCHEMA_AT(collector, log_name), .meaning = "Name of the log."},
};
static SCHEMA(otel_log_schema, "EnvoyOpenTelemetryLogProvider", collector, otel_log_fields);

static const struct field format_fields[] = {
    {"text", FIELD_STRING, SCHEMA_AT(log_format, text), .oneof = "format",
     .meaning = "A line with operators such as %RESPONSE_CODE%."},
    {"labels", FIELD_OBJECT, SCHEMA_AT(log_format, labels), .oneof = "format",
     .meaning = "Members of a JSON object with such operators."},
};
static SCHEMA(format_schema, "LogFormat", log_format, format_fields);

static const struct field file_log_fields[] = {
    {"path", FIELD_STRING, SCHEMA_AT(file_log, path),
     .meaning = "File; standard output when not given."},
    {"logFormat", FIELD_MESSAGE, SCHEMA_AT(file_log, format), .message = &format_schema,
     .meaning = "What a line looks like; Istio's own when not given."},
};
static SCHEMA(file_log_schema, "EnvoyFileAccessLogProvider", file_log, file_log_fields);

static const struct schema prometheus_schema = {.name = "PrometheusMetricsProvider",
                                                .size = sizeof(struct prometheus_provider)};

#define ELSEWHERE(text)                                                                            \
    {(text), FIELD_ANY, .oneof = "provider",                                                       \
     SCHEMA_UNSUPPORTED("this protocol is not spoken; use opentelemetry, zipkin or prometheus"),   \
     .meaning = "A collector of somebody else's protocol."}

static const struct field provider_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(extension_provider, name), .flags = FIELD_REQUIRED,
     .meaning = "Name that policies and Telemetry use, unique."},
    {"envoyExtAuthzHttp", FIELD_MESSAGE, SCHEMA_AT(extension_provider, authz_http),
     .message = &authz_http_schema, .oneof = "provider",
     .meaning = "Ask a service over HTTP whether a request may pass."},
    {"envoyExtAuthzGrpc", FIELD_MESSAGE, SCHEMA_AT(extension_provider, authz_grpc),
     .message = &authz_grpc_schema, .oneof = "provider",
     .meaning = "Ask a service over gRPC whether a request may pass."},
    {"zipkin", FIELD_MESSAGE, SCHEMA_AT(extension_provider, zipkin), .message = &zipkin_schema,
     .oneof = "provider", .meaning = "Send spans in Zipkin's form."},
    {"opentelemetry", FIELD_MESSAGE, SCHEMA_AT(extension_provider, otel), .message = &otel_schema,
     .oneof = "provider", .meaning = "Send spans by OTLP."},
    {"envoyOtelAls", FIELD_MESSAGE, SCHEMA_AT(extension_provider, otel_log),
     .message = &otel_log_schema, .oneof = "provider", .meaning = "Send access logs by OTLP."},
    {"envoyFileAccessLog", FIELD_MESSAGE, SCHEMA_AT(extension_provider, file_log),
     .message = &file_log_schema, .oneof = "provider", .meaning = "Write access logs to a file."},
    {"prometheus", FIELD_MESSAGE, SCHEMA_AT(extension_provider, prometheus),
     .message = &prometheus_schema, .oneof = "provider",
     .meaning = "Show metrics to Prometheus."},
    ELSEWHERE("stackdriver"),
    ELSEWHERE("lightstep"),
    ELSEWHERE("datadog"),
    ELSEWHERE("skywalking"),
    ELSEWHERE("opencensus"),
    ELSEWHERE("envoyHttpAls"),
    ELSEWHERE("envoyTcpAls"),
};
SCHEMA(extension_provider_schema, "ExtensionProvider", extension_provider, provider_fields);

/* clang-format on */

void extension_provider_check(const struct check *c, const struct extension_provider *p)
{
    if (p->node && p->node->count < 2)
        FAIL(c, p->node, FIND_REQUIRED,
             "a provider needs to say what it is: zipkin, opentelemetry, envoyExtAuthzHttp, ...");
}
