#include "mesh/kinds/virtual_service.h"

/* ---- checks ---- */

/* Statuses that have a name; Istio takes no other one. */
static bool is_known_status(struct str word)
{
    static const struct {
        uint64_t from, to;
    } ranges[] = {{100, 103}, {200, 208}, {226, 226}, {300, 305}, {307, 308}, {400, 418}, {421, 426},
                  {428, 429}, {431, 431}, {451, 451}, {500, 508}, {510, 511}};
    uint64_t status;

    for (size_t i = 0; i < COUNT(ranges); i++) {
        if (str_uint(word, ranges[i].from, ranges[i].to, &status))
            return true;
    }
    return false;
}

static int check_retry_word(struct str word, struct err *err)
{
    static const struct str built[] = {
        STR_INIT("5xx"),
        STR_INIT("gateway-error"),
        STR_INIT("reset"),
        STR_INIT("cancelled"),
        STR_INIT("reset-before-request"),
        STR_INIT("connect-failure"),
        STR_INIT("internal"),
        STR_INIT("envoy-ratelimited"),
        STR_INIT("retriable-4xx"),
        STR_INIT("unavailable"),
        STR_INIT("refused-stream"),
        STR_INIT("retriable-status-codes"),
        STR_INIT("retriable-headers"),
        STR_INIT("deadline-exceeded"),
        STR_INIT("resource-exhausted"),
    };

    for (size_t i = 0; i < COUNT(built); i++) {
        if (str_eq(word, built[i]))
            return 0;
    }
    if (str_eq(word, STR("http3-post-connect-failure")))
        return err_set(err, ERR_UNSUPPORTED, "the retry condition \"%.*s\"", STR_ARG(word));
    if (is_known_status(word))
        return 0;
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" is neither a retry condition (such as 5xx, gateway-error, reset, "
                   "connect-failure) nor a status that HTTP has (such as 503); commas alone stand between them, no blanks",
                   STR_ARG(word));
}

static int check_retry_on(struct str s, struct err *err)
{
    bool ends_open = s.n > 0 && s.p[s.n - 1] == ',';
    struct str word;

    while (str_next(&s, ',', &word)) {
        if (check_retry_word(word, err))
            return -1;
    }
    return ends_open ? check_retry_word(STR_NONE, err) : 0;
}

/* A host of the VirtualService: a name, a wildcard, an IP, or a name for SNI routing. */
static int check_rule_host(struct str s, struct err *err)
{
    struct addr ip;

    return addr_parse_ip(s, &ip) || common_is_sni_name(s) ? 0 : common_check_wildcard_host(s, err);
}

static int check_method(struct str s, struct err *err)
{
    static const struct str methods[] = {
        STR_INIT("GET"),   STR_INIT("HEAD"),   STR_INIT("POST"),    STR_INIT("PUT"),
        STR_INIT("PATCH"), STR_INIT("DELETE"), STR_INIT("CONNECT"), STR_INIT("OPTIONS"),
        STR_INIT("TRACE"), STR_INIT("*")};

    for (size_t i = 0; i < COUNT(methods); i++) {
        if (str_eq(s, methods[i]))
            return 0;
    }
    return err_set(err, ERR_INVALID, "\"%.*s\" is not a method of HTTP (GET, POST, ...) nor \"*\"",
                   STR_ARG(s));
}

static int check_cors_header(struct str s, struct err *err)
{
    return common_check_token(s, err); /* "*" is one, too */
}

static int check_grpc_status(struct str s, struct err *err)
{
    static const struct str codes[] = {
        STR_INIT("OK"),          STR_INIT("CANCELLED"),          STR_INIT("UNKNOWN"),
        STR_INIT("INTERNAL"),    STR_INIT("INVALID_ARGUMENT"),   STR_INIT("DEADLINE_EXCEEDED"),
        STR_INIT("NOT_FOUND"),   STR_INIT("ALREADY_EXISTS"),     STR_INIT("PERMISSION_DENIED"),
        STR_INIT("ABORTED"),     STR_INIT("RESOURCE_EXHAUSTED"), STR_INIT("FAILED_PRECONDITION"),
        STR_INIT("DATA_LOSS"),   STR_INIT("OUT_OF_RANGE"),       STR_INIT("UNIMPLEMENTED"),
        STR_INIT("UNAVAILABLE"), STR_INIT("UNAUTHENTICATED"),
    };

    for (size_t i = 0; i < COUNT(codes); i++) {
        if (str_eq(s, codes[i]))
            return 0;
    }
    return err_set(err, ERR_INVALID, "\"%.*s\" is not a gRPC status such as UNAVAILABLE",
                   STR_ARG(s));
}

/* ---- matches ---- */

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field http_match_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(http_rule_match, name),
     .meaning = "Suffix of the route's name in logs."},
    {"uri", FIELD_MATCH, SCHEMA_AT(http_rule_match, uri), .flags = FIELD_EMPTY_PREFIX,
     .meaning = "The path, without the query."},
    {"scheme", FIELD_MATCH, SCHEMA_AT(http_rule_match, scheme), .meaning = "http or https."},
    {"method", FIELD_MATCH, SCHEMA_AT(http_rule_match, method),
     .meaning = "The method, case-sensitive."},
    {"authority", FIELD_MATCH, SCHEMA_AT(http_rule_match, authority),
     .meaning = "The Host or :authority value, with its port if it has one."},
    {"headers", FIELD_MATCH_MAP, SCHEMA_LIST(http_rule_match, headers), .flags = FIELD_PRESENT,
     .check = common_check_header_name, .partly = "claims of a token (@request.auth.claims)",
     .meaning = "Headers that must match; {} means present."},
    {"port", FIELD_UINT32, SCHEMA_AT(http_rule_match, port), SCHEMA_BOUNDS(0, 65535),
     .flags = FIELD_BOUNDED, .meaning = "Port that the client addressed."},
    {"sourceLabels", FIELD_LABELS, SCHEMA_AT(http_rule_match, source_labels), .flags = FIELD_ISTIO_LABELS,
     .meaning = "Labels of the clients that get the rule."},
    {"gateways", FIELD_STRINGS, SCHEMA_LIST(http_rule_match, gateways),
     .check = common_check_gateway_name,
     .meaning = "Gateways of this block, in place of the VirtualService's."},
    {"queryParams", FIELD_MATCH_MAP, SCHEMA_LIST(http_rule_match, query_params),
     .flags = FIELD_PRESENT, .meaning = "Query parameters that must match; {} means present."},
    {"ignoreUriCase", FIELD_BOOL, SCHEMA_AT(http_rule_match, ignore_uri_case),
     .meaning = "Compare the path without case (not for regex)."},
    {"withoutHeaders", FIELD_MATCH_MAP, SCHEMA_LIST(http_rule_match, without_headers),
     .flags = FIELD_PRESENT | FIELD_STAR, .check = common_check_header_name,
     .partly = "claims of a token (@request.auth.claims)",
     .meaning = "Headers that must not match; {} means absent."},
    {"sourceNamespace", FIELD_STRING, SCHEMA_AT(http_rule_match, source_namespace),
     .check = common_check_dns_label, .meaning = "Namespace of the clients that get the rule."},
    {"statPrefix", FIELD_ANY,
     SCHEMA_UNSUPPORTED("it names statistics of Envoy; use `name`, which appears in the log"),
     .meaning = "Prefix of Envoy's route statistics."},
};
static SCHEMA(http_match_schema, "HTTPMatchRequest", http_rule_match, http_match_fields);

#define L4_MATCH_ROWS                                                                              \
    {"destinationSubnets", FIELD_STRINGS, SCHEMA_LIST(l4_match, destination_subnets),              \
     .check = common_check_cidr, .meaning = "Addresses or blocks that the client addressed."},     \
        {"port",                                                                                   \
         FIELD_UINT32,                                                                             \
         SCHEMA_AT(l4_match, port),                                                                \
         SCHEMA_BOUNDS(0, 65535),                                                                  \
         .flags = FIELD_BOUNDED,                                                                   \
         .meaning = "Port that the client addressed."},                                            \
        {"sourceLabels", FIELD_LABELS, SCHEMA_AT(l4_match, source_labels),                         \
         .flags = FIELD_ISTIO_LABELS,                                                              \
         .meaning = "Labels of the clients that get the rule."},                                   \
        {"gateways", FIELD_STRINGS, SCHEMA_LIST(l4_match, gateways),                               \
         .check = common_check_gateway_name,                                                       \
         .meaning = "Gateways of this block, in place of the VirtualService's."},                  \
    {                                                                                              \
        "sourceNamespace", FIELD_STRING, SCHEMA_AT(l4_match, source_namespace),                    \
            .meaning = "Namespace of the clients that get the rule."                               \
    }

static const struct field tcp_match_fields[] = {
    L4_MATCH_ROWS,
    {"sourceSubnet", FIELD_ANY,
     SCHEMA_UNSUPPORTED("Istio never implemented it; use sourceLabels or sourceNamespace"),
     .meaning = "Dead field."},
};
static SCHEMA(tcp_match_schema, "L4MatchAttributes", l4_match, tcp_match_fields);

static const struct field tls_match_fields[] = {
    {"sniHosts", FIELD_STRINGS, SCHEMA_LIST(l4_match, sni_hosts), .flags = FIELD_REQUIRED,
     .check = check_rule_host, .meaning = "Server names that clients ask for."},
    L4_MATCH_ROWS,
};
static SCHEMA(tls_match_schema, "TLSMatchAttributes", l4_match, tls_match_fields);

/* ---- actions ---- */

static const struct field_value derive_port_values[] = {
    {"FROM_PROTOCOL_DEFAULT", REDIRECT_PORT_FROM_PROTOCOL_DEFAULT, FIELD_BUILT, NULL, 0},
    {"FROM_REQUEST_PORT", REDIRECT_PORT_FROM_REQUEST, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

static const struct field redirect_fields[] = {
    {"uri", FIELD_STRING, SCHEMA_AT(http_redirect, uri), .oneof = "path", .meaning = "New path."},
    {"authority", FIELD_STRING, SCHEMA_AT(http_redirect, authority), .meaning = "New host."},
    {"port", FIELD_UINT32, SCHEMA_HAS(http_redirect, port), SCHEMA_BOUNDS(0, 65535),
     .flags = FIELD_BOUNDED, .oneof = "redirect_port", .meaning = "New port; 0 is as when none is given."},
    {"derivePort", FIELD_ENUM, SCHEMA_HAS(http_redirect, derive_port), .values = derive_port_values,
     .oneof = "redirect_port", .meaning = "Where the port comes from."},
    {"scheme", FIELD_STRING, SCHEMA_AT(http_redirect, scheme), .meaning = "http or https."},
    {"redirectCode", FIELD_UINT32, SCHEMA_AT(http_redirect, code), SCHEMA_BOUNDS(300, 399),
     .def = 301, .flags = FIELD_BOUNDED | FIELD_ZERO_IS_DEFAULT,
     .meaning = "Status of the answer."},
    {"prefixRewrite", FIELD_STRING, SCHEMA_AT(http_redirect, prefix_rewrite), .oneof = "path",
     .meaning = "Replaces the prefix that matched."},
};
static SCHEMA(redirect_schema, "HTTPRedirect", http_redirect, redirect_fields);

static const struct field body_fields[] = {
    {"string", FIELD_STRING, SCHEMA_HAS(http_body, string), .oneof = "specifier",
     .meaning = "Text."},
    {"bytes", FIELD_BYTES, SCHEMA_HAS(http_body, bytes), .oneof = "specifier",
     .meaning = "Bytes, in base64."},
};
static SCHEMA(body_schema, "HTTPBody", http_body, body_fields);

static const struct field direct_fields[] = {
    {"status", FIELD_UINT32, SCHEMA_AT(http_direct_response, status), SCHEMA_BOUNDS(200, 600),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Status of the answer."},
    {"body", FIELD_MESSAGE, SCHEMA_AT(http_direct_response, body), .message = &body_schema,
     .meaning = "Its body."},
};
static SCHEMA(direct_schema, "HTTPDirectResponse", http_direct_response, direct_fields);

static const struct field delegate_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(http_delegate, name), .flags = FIELD_REQUIRED,
     .meaning = "VirtualService without hosts that holds the rules."},
    {"namespace", FIELD_STRING, SCHEMA_AT(http_delegate, ns), .meaning = "Its namespace."},
};
static SCHEMA(delegate_schema, "Delegate", http_delegate, delegate_fields);

static const struct field regex_rewrite_fields[] = {
    {"match", FIELD_STRING, SCHEMA_AT(regex_rewrite, match), .flags = FIELD_REQUIRED,
     .check = match_regex_check, .meaning = "RE2 expression."},
    {"rewrite", FIELD_STRING, SCHEMA_AT(regex_rewrite, rewrite), .flags = FIELD_REQUIRED,
     .meaning = "Replacement, with \\1 to \\9 for groups."},
};
static SCHEMA(regex_rewrite_schema, "RegexRewrite", regex_rewrite, regex_rewrite_fields);

static const struct field rewrite_fields[] = {
    {"uri", FIELD_STRING, SCHEMA_AT(http_rewrite, uri), .oneof = "path",
     .meaning = "New path, or new prefix."},
    {"authority", FIELD_STRING, SCHEMA_AT(http_rewrite, authority), .meaning = "New host."},
    {"uriRegexRewrite", FIELD_MESSAGE, SCHEMA_AT(http_rewrite, uri_regex),
     .message = &regex_rewrite_schema, .oneof = "path", .meaning = "Substitution in the path."},
};
static SCHEMA(rewrite_schema, "HTTPRewrite", http_rewrite, rewrite_fields);

static const struct field retry_fields[] = {
    {"attempts", FIELD_INT32, SCHEMA_AT(http_retry, attempts), SCHEMA_BOUNDS(0, INT32_MAX),
     .flags = FIELD_BOUNDED, .meaning = "Tries after the first one; 0 is off."},
    {"perTryTimeout", FIELD_DURATION, SCHEMA_AT(http_retry, per_try_timeout_ns),
     .meaning = "Timeout of each try."},
    {"retryOn", FIELD_STRING, SCHEMA_AT(http_retry, retry_on), .check = check_retry_on,
     .partly = "http3-post-connect-failure",
     .meaning = "Conditions and statuses that are tried again, joined by commas."},
    {"retryRemoteLocalities", FIELD_BOOL, SCHEMA_HAS(http_retry, retry_remote_localities),
     .meaning = "After two tries, go to endpoints of other priorities."},
    {"retryIgnorePreviousHosts", FIELD_BOOL, SCHEMA_HAS(http_retry, retry_ignore_previous_hosts),
     .def = 1, .meaning = "Avoid endpoints that were tried; when not given, consistentHash keeps to its own."},
    {"backoff", FIELD_DURATION, SCHEMA_AT(http_retry, backoff_ns),
     .meaning = "Base of the growing pause between tries; 25ms when not given."},
};
SCHEMA(http_retry_schema, "HTTPRetry", http_retry, retry_fields);

static const struct field delay_fields[] = {
    {"percent", FIELD_INT32, SCHEMA_AT(fault_delay, percent), SCHEMA_BOUNDS(0, 100),
     .flags = FIELD_BOUNDED, .status = FIELD_DEPRECATED, .reason = "use percentage",
     .meaning = "Share of requests."},
    {"fixedDelay", FIELD_DURATION, SCHEMA_AT(fault_delay, fixed_delay_ns),
     .meaning = "Length of the delay; none when not given."},
    {"exponentialDelay", FIELD_ANY,
     SCHEMA_UNSUPPORTED("Istio never implemented it; use fixedDelay"), .meaning = "Dead field."},
    {"percentage", FIELD_MESSAGE, SCHEMA_AT(fault_delay, percentage), .message = &percent_schema,
     .meaning = "Share of requests; none when not given."},
};
static SCHEMA(delay_schema, "Delay", fault_delay, delay_fields);

static const struct field abort_fields[] = {
    {"httpStatus", FIELD_INT32, SCHEMA_HAS(fault_abort, http_status), SCHEMA_BOUNDS(200, 600),
     .flags = FIELD_BOUNDED, .oneof = "error_type", .meaning = "Status of the answer."},
    {"grpcStatus", FIELD_STRING, SCHEMA_AT(fault_abort, grpc_status), .oneof = "error_type",
     .check = check_grpc_status, .meaning = "gRPC status of the answer."},
    {"http2Error", FIELD_ANY, SCHEMA_UNSUPPORTED("Istio never implemented it; use httpStatus"),
     .meaning = "Dead field."},
    {"percentage", FIELD_MESSAGE, SCHEMA_AT(fault_abort, percentage), .message = &percent_schema,
     .meaning = "Share of requests; none when not given."},
};
static SCHEMA(abort_schema, "Abort", fault_abort, abort_fields);

static const struct field fault_fields[] = {
    {"delay", FIELD_MESSAGE, SCHEMA_AT(http_fault, delay), .message = &delay_schema,
     .meaning = "Wait first."},
    {"abort", FIELD_MESSAGE, SCHEMA_AT(http_fault, abort), .message = &abort_schema,
     .meaning = "Fail at once."},
};
static SCHEMA(fault_schema, "HTTPFaultInjection", http_fault, fault_fields);

static const struct field mirror_fields[] = {
    {"destination", FIELD_EMBED, SCHEMA_AT(http_mirror, destination),
     .message = &destination_schema, .flags = FIELD_REQUIRED, .meaning = "Where the copy goes."},
    {"percentage", FIELD_MESSAGE, SCHEMA_AT(http_mirror, percentage), .message = &percent_schema,
     .meaning = "Share of requests; all when not given."},
};
static SCHEMA(mirror_schema, "HTTPMirrorPolicy", http_mirror, mirror_fields);

static const struct field_value unmatched_values[] = {
    {"UNSPECIFIED", CORS_UNMATCHED_UNSPECIFIED, FIELD_BUILT, NULL, 0},
    {"FORWARD", CORS_UNMATCHED_FORWARD, FIELD_BUILT, NULL, 0},
    {"IGNORE", CORS_UNMATCHED_IGNORE, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

static const struct field cors_fields[] = {
    {"allowOrigin", FIELD_STRINGS, SCHEMA_LIST(cors_policy, allow_origin),
     .status = FIELD_DEPRECATED, .reason = "use allowOrigins", .meaning = "Origins, exactly."},
    {"allowOrigins", FIELD_MATCHES, SCHEMA_LIST(cors_policy, allow_origins), .meaning = "Origins."},
    {"allowMethods", FIELD_STRINGS, SCHEMA_LIST(cors_policy, allow_methods), .check = check_method,
     .meaning = "Methods."},
    {"allowHeaders", FIELD_STRINGS, SCHEMA_LIST(cors_policy, allow_headers),
     .check = check_cors_header, .meaning = "Headers that may be sent."},
    {"exposeHeaders", FIELD_STRINGS, SCHEMA_LIST(cors_policy, expose_headers),
     .check = check_cors_header, .meaning = "Headers that may be read."},
    {"maxAge", FIELD_DURATION, SCHEMA_AT(cors_policy, max_age_ns),
     .flags = FIELD_WHOLE_SECONDS, .meaning = "How long the answer may be kept."},
    {"allowCredentials", FIELD_BOOL, SCHEMA_HAS(cors_policy, allow_credentials),
     .meaning = "Whether cookies may go along."},
    {"unmatchedPreflights", FIELD_ENUM, SCHEMA_AT(cors_policy, unmatched_preflights),
     .values = unmatched_values, .meaning = "What happens to preflights of other origins."},
};
static SCHEMA(cors_schema, "CorsPolicy", cors_policy, cors_fields);

/* ---- rules ---- */

static const struct field http_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(http_rule, name), .meaning = "Name of the route in logs."},
    {"match", FIELD_MESSAGES, SCHEMA_LIST(http_rule, match), .message = &http_match_schema,
     .meaning = "Alternatives; in each, everything must hold. None: always."},
    {"route", FIELD_MESSAGES, SCHEMA_LIST(http_rule, route), .message = &http_destination_schema,
     .meaning = "Where requests go."},
    {"redirect", FIELD_MESSAGE, SCHEMA_AT(http_rule, redirect), .message = &redirect_schema, .meaning = "Answer with a redirect."},
    {"directResponse", FIELD_MESSAGE, SCHEMA_AT(http_rule, direct_response),
     .message = &direct_schema, .meaning = "Answer here."},
    {"delegate", FIELD_MESSAGE, SCHEMA_AT(http_rule, delegate), .message = &delegate_schema,
     .meaning = "Take the rules of another VirtualService, which has no hosts, as far as the match of this one allows."},
    {"rewrite", FIELD_MESSAGE, SCHEMA_AT(http_rule, rewrite), .message = &rewrite_schema, .meaning = "Change path or host on the way."},
    {"timeout", FIELD_DURATION, SCHEMA_AT(http_rule, timeout_ns),
     .meaning = "Whole request with its retries; none when not given."},
    {"retries", FIELD_MESSAGE, SCHEMA_AT(http_rule, retries), .message = &http_retry_schema,
     .meaning = "Retries; the mesh's default (2) when not given."},
    {"fault", FIELD_MESSAGE, SCHEMA_AT(http_rule, fault), .message = &fault_schema, .meaning = "Delays and failures to try things out."},
    {"mirror", FIELD_MESSAGE, SCHEMA_AT(http_rule, mirror), .message = &destination_schema,
     .oneof = "mirror", .meaning = "Send a copy."},
    {"mirrors", FIELD_MESSAGES, SCHEMA_LIST(http_rule, mirrors), .message = &mirror_schema,
     .oneof = "mirror", .meaning = "Send copies."},
    {"mirrorPercent", FIELD_UINT32, SCHEMA_HAS(http_rule, mirror_percent), SCHEMA_BOUNDS(0, 100),
     .flags = FIELD_BOUNDED, .status = FIELD_DEPRECATED, .reason = "use mirrorPercentage",
     .meaning = "Deprecated form of mirrorPercentage."},
    {"mirrorPercentage", FIELD_MESSAGE, SCHEMA_AT(http_rule, mirror_percentage),
     .message = &percent_schema, .meaning = "Share of requests that are copied."},
    {"corsPolicy", FIELD_MESSAGE, SCHEMA_AT(http_rule, cors_policy), .message = &cors_schema,
     .meaning = "Answers to browsers of other origins."},
    {"headers", FIELD_MESSAGE, SCHEMA_AT(http_rule, headers), .message = &headers_schema, .meaning = "Header edits."},
};
static SCHEMA(http_schema, "HTTPRoute", http_rule, http_fields);

static const struct field tls_fields[] = {
    {"match", FIELD_MESSAGES, SCHEMA_LIST(l4_rule, match), .message = &tls_match_schema,
     .flags = FIELD_REQUIRED, .meaning = "Alternatives."},
    {"route", FIELD_MESSAGES, SCHEMA_LIST(l4_rule, route), .message = &tcp_destination_schema,
     .flags = FIELD_REQUIRED, .meaning = "Where connections go."},
};
static SCHEMA(tls_schema, "TLSRoute", l4_rule, tls_fields);

static const struct field tcp_fields[] = {
    {"match", FIELD_MESSAGES, SCHEMA_LIST(l4_rule, match), .message = &tcp_match_schema,
     .meaning = "Alternatives. None: always."},
    {"route", FIELD_MESSAGES, SCHEMA_LIST(l4_rule, route), .message = &tcp_destination_schema,
     .flags = FIELD_REQUIRED, .meaning = "Where connections go."},
};
static SCHEMA(tcp_schema, "TCPRoute", l4_rule, tcp_fields);

static const struct field virtual_service_fields[] = {
    {"hosts", FIELD_STRINGS, SCHEMA_LIST(virtual_service, hosts), .check = check_rule_host,
     .meaning = "Hosts that the rules are for; none at all makes it a delegate."},
    {"gateways", FIELD_STRINGS, SCHEMA_LIST(virtual_service, gateways),
     .check = common_check_gateway_name,
     .meaning = "Gateways that obey; \"mesh\" is every other proxy, and the default."},
    {"http", FIELD_MESSAGES, SCHEMA_LIST(virtual_service, http), .message = &http_schema,
     .meaning = "Rules for HTTP; the first that matches is used."},
    {"tls", FIELD_MESSAGES, SCHEMA_LIST(virtual_service, tls), .message = &tls_schema,
     .meaning = "Rules for TLS that is not ended here."},
    {"tcp", FIELD_MESSAGES, SCHEMA_LIST(virtual_service, tcp), .message = &tcp_schema,
     .meaning = "Rules for other connections; the first that matches is used."},
    {"exportTo", FIELD_STRINGS, SCHEMA_LIST(virtual_service, export_to),
     .check = common_check_export_to,
     .meaning = "Namespaces that see it: \".\", \"*\" (the default) or names."},
};
SCHEMA(virtual_service_schema, "VirtualService", virtual_service, virtual_service_fields);
