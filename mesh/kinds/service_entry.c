#include "mesh/kinds/service_entry.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field_value location_values[] = {
    {"MESH_EXTERNAL", LOCATION_MESH_EXTERNAL, FIELD_BUILT, NULL, 0},
    {"MESH_INTERNAL", LOCATION_MESH_INTERNAL, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

static const struct field_value resolution_values[] = {
    {"NONE", RESOLUTION_NONE, FIELD_BUILT, NULL, 0},
    {"STATIC", RESOLUTION_STATIC, FIELD_BUILT, NULL, 0},
    {"DNS", RESOLUTION_DNS, FIELD_NOT_YET, NULL, 0},
    {"DNS_ROUND_ROBIN", RESOLUTION_DNS_ROUND_ROBIN, FIELD_NOT_YET, NULL, 0},
    {"DYNAMIC_DNS", RESOLUTION_DYNAMIC_DNS, FIELD_NOT_YET, NULL, 0},
    {.name = NULL},
};

static int check_entry_host(struct str s, struct err *err)
{
    return str_eq(s, STR("*"))
               ? err_set(err, ERR_INVALID,
                         "\"*\" is not allowed here; name a domain, as in \"*.example.com\"")
               : common_check_wildcard_host(s, err);
}

/* Single addresses: a block would have to be captured as one, which is not built yet. */
static int check_entry_address(struct str s, struct err *err)
{
    struct cidr c;

    if (common_check_cidr(s, err))
        return -1;
    if (!cidr_parse(s, &c) || c.bits != (c.base.family == 4 ? 32 : 128))
        return err_set(err, ERR_UNSUPPORTED, "a block of addresses (\"%.*s\")", STR_ARG(s));
    return 0;
}

static int check_port_name(struct str s, struct err *err)
{
    struct err ignored;

    return common_check_label(s, &ignored) == 0
               ? 0
               : err_set(err, ERR_INVALID,
                         "\"%.*s\" is not the name of a port: 1 to 63 letters, digits or '-'",
                         STR_ARG(s));
}

static const struct field port_fields[] = {
    {"number", FIELD_UINT32, SCHEMA_AT(service_entry_port, number), SCHEMA_BOUNDS(1, 65535),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Port that clients address."},
    {"protocol", FIELD_WORD, SCHEMA_AT(service_entry_port, protocol), .values = common_protocols,
     .meaning = "What it speaks; found out from the first bytes when not given."},
    {"name", FIELD_STRING, SCHEMA_AT(service_entry_port, name), .flags = FIELD_REQUIRED,
     .check = check_port_name, .meaning = "Name of the port, unique."},
    {"targetPort", FIELD_UINT32, SCHEMA_AT(service_entry_port, target_port),
     SCHEMA_BOUNDS(1, 65535), .default_offset = offsetof(struct service_entry_port, number),
     .flags = FIELD_BOUNDED | FIELD_ZERO_IS_DEFAULT,
     .meaning = "Port of the endpoints; `number` when not given."},
};
static SCHEMA(port_schema, "ServicePort", service_entry_port, port_fields);

static const struct field service_entry_fields[] = {
    {"hosts", FIELD_STRINGS, SCHEMA_LIST(service_entry, hosts), .flags = FIELD_REQUIRED,
     .check = check_entry_host, .meaning = "Names of the service."},
    {"addresses", FIELD_STRINGS, SCHEMA_LIST(service_entry, addresses), .check = check_entry_address,
     .meaning = "Addresses that stand for it; one is allocated when none is given."},
    {"ports", FIELD_MESSAGES, SCHEMA_LIST(service_entry, ports), .message = &port_schema,
     .meaning = "Its ports."},
    {"location", FIELD_ENUM, SCHEMA_AT(service_entry, location), .values = location_values,
     .meaning = "Whether its endpoints are workloads of the mesh."},
    {"resolution", FIELD_ENUM, SCHEMA_AT(service_entry, resolution), .values = resolution_values,
     .meaning = "How endpoints are found."},
    {"endpoints", FIELD_MESSAGES, SCHEMA_LIST(service_entry, endpoints),
     .message = &workload_entry_schema, .oneof = "endpoints", .meaning = "Where it runs."},
    {"workloadSelector", FIELD_MESSAGE, SCHEMA_AT(service_entry, workload_selector),
     .message = &labels_selector_schema, .oneof = "endpoints",
     .meaning = "Workloads of the namespace that serve it."},
    {"exportTo", FIELD_STRINGS, SCHEMA_LIST(service_entry, export_to),
     .check = common_check_export_to,
     .meaning = "Namespaces that see it: \".\", \"*\" (the default), \"~\" (none) or names."},
    {"subjectAltNames", FIELD_STRINGS, SCHEMA_LIST(service_entry, subject_alt_names),
     .meaning = "Names that its endpoints' certificates may carry."},
};
SCHEMA(service_entry_schema, "ServiceEntry", service_entry, service_entry_fields);
