#include "mesh/kinds/common.h"

#include "mesh/schema.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field port_selector_fields[] = {
    {"number", FIELD_UINT32, SCHEMA_AT(port_selector, number), SCHEMA_BOUNDS(1, 65535),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Number of the service's port."},
};
SCHEMA(port_selector_schema, "PortSelector", port_selector, port_selector_fields);

static const struct field percent_fields[] = {
    {"value", FIELD_DOUBLE, SCHEMA_AT(percent, value), SCHEMA_BOUNDS(0, 100),
     .flags = FIELD_BOUNDED, .meaning = "Share in percent, in steps of 0.0001."},
};
SCHEMA(percent_schema, "Percent", percent, percent_fields);

/* A wildcard is the service of a ServiceEntry with this very host. */
static int check_destination_host(struct str s, struct err *err)
{
    return str_eq(s, STR("*")) ? common_check_host(s, err) : common_check_wildcard_host(s, err);
}

static const struct field destination_fields[] = {
    {"host", FIELD_STRING, SCHEMA_AT(destination, host), .flags = FIELD_REQUIRED,
     .check = check_destination_host,
     .meaning = "Service to send to; a short name is completed with the namespace of the rule."},
    {"subset", FIELD_STRING, SCHEMA_AT(destination, subset), .check = common_check_dns_label,
     .meaning = "Subset that a DestinationRule of the host declares."},
    {"port", FIELD_EMBED, SCHEMA_AT(destination, port), .message = &port_selector_schema,
     .meaning = "Port of the service, when it is not the one the client addressed."},
};
SCHEMA(destination_schema, "Destination", destination, destination_fields);

static const struct field operation_fields[] = {
    {"set", FIELD_LABELS, SCHEMA_AT(header_operations, set), .flags = FIELD_FREE_KEYS,
     .partly = "other variables than those of docs/istio.md",
     .meaning = "Headers to overwrite, or to add where absent."},
    {"add", FIELD_LABELS, SCHEMA_AT(header_operations, add), .flags = FIELD_FREE_KEYS,
     .partly = "other variables than those of docs/istio.md",
     .meaning = "Values to append to headers."},
    {"remove", FIELD_STRINGS, SCHEMA_LIST(header_operations, remove),
     .meaning = "Headers to delete."},
};
static SCHEMA(operation_schema, "HeaderOperations", header_operations, operation_fields);

static const struct field headers_fields[] = {
    {"request", FIELD_EMBED, SCHEMA_AT(headers, request), .message = &operation_schema,
     .meaning = "Edits before the request is forwarded."},
    {"response", FIELD_EMBED, SCHEMA_AT(headers, response), .message = &operation_schema,
     .meaning = "Edits before the answer goes back."},
};
SCHEMA(headers_schema, "Headers", headers, headers_fields);

#define DESTINATION_ROWS                                                                           \
    {"destination",                                                                                \
     FIELD_EMBED,                                                                                  \
     SCHEMA_AT(rule_destination, destination),                                                     \
     .message = &destination_schema,                                                               \
     .flags = FIELD_REQUIRED,                                                                      \
     .meaning = "Where to send."},                                                                 \
    {                                                                                              \
        "weight", FIELD_INT32, SCHEMA_AT(rule_destination, weight), SCHEMA_BOUNDS(0, INT32_MAX),   \
            .flags = FIELD_BOUNDED,                                                                \
            .meaning = "Relative share; a single destination gets everything."                     \
    }

static const struct field http_destination_fields[] = {
    DESTINATION_ROWS,
    {"headers", FIELD_MESSAGE, SCHEMA_AT(rule_destination, headers), .message = &headers_schema,
     .meaning = "Header edits for this destination only."},
};
SCHEMA(http_destination_schema, "HTTPRouteDestination", rule_destination, http_destination_fields);

static const struct field tcp_destination_fields[] = {DESTINATION_ROWS};
SCHEMA(tcp_destination_schema, "RouteDestination", rule_destination, tcp_destination_fields);
