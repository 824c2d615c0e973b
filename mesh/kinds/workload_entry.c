#include "mesh/kinds/workload_entry.h"

#include "mesh/kinds/check.h"

/* One byte shorter than other names of ports: so the CRD counts. */
static int check_port_name(struct str s, struct err *err)
{
    return s.n == 63 ? err_set(err, ERR_INVALID, "\"%.*s\" is longer than 62 characters", STR_ARG(s))
                     : common_check_dns_label(s, err);
}

static int check_socket(struct str s, struct err *err)
{
    if (!str_starts(s, STR("unix://")))
        return 0;
    if (!common_is_socket_path(s))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\": a unix socket is \"unix:///path\" or \"unix://@name\"",
                       STR_ARG(s));
    return err_set(err, ERR_UNSUPPORTED, "a unix socket as address (\"%.*s\")", STR_ARG(s));
}

static int check_address(struct str s, struct err *err)
{
    struct addr ip;

    if (addr_parse_ip(s, &ip))
        return 0;
    if (str_starts(s, STR("unix://")))
        return check_socket(s, err);
    if (common_check_host(s, err))
        return err_set(err, ERR_INVALID, "\"%.*s\" is neither an IP address nor a host name",
                       STR_ARG(s));
    return err_set(err, ERR_UNSUPPORTED, "a host name as address (\"%.*s\")", STR_ARG(s));
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

#define WORKLOAD_ROWS(address_check, label_flags)                                                              \
    {"address", FIELD_STRING, SCHEMA_AT(workload_entry, address), SCHEMA_BOUNDS(0, 256),                       \
     .flags = FIELD_BOUNDED, .check = (address_check), .partly = "a host name; a unix socket",                 \
     .meaning = "Where it listens, an IP."},                                                                   \
    {"ports", FIELD_NUMBERS, SCHEMA_LIST(workload_entry, ports), SCHEMA_BOUNDS(1, 65535),                      \
     .flags = FIELD_BOUNDED, .check = check_port_name, .most = 128,                                            \
     .meaning = "Name of a service port to the real port."},                                                   \
    {"labels", FIELD_LABELS, SCHEMA_AT(workload_entry, labels), .flags = (label_flags), .most = 256,           \
     .meaning = "Labels for selectors and subsets."},                                                          \
    {"network", FIELD_STRING, SCHEMA_AT(workload_entry, network), SCHEMA_BOUNDS(0, 2048),                      \
     .flags = FIELD_BOUNDED, SCHEMA_NOT_YET, .meaning = "Network it is in."},                                  \
    {"locality", FIELD_STRING, SCHEMA_AT(workload_entry, locality), SCHEMA_BOUNDS(0, 2048),                    \
     .flags = FIELD_BOUNDED, .meaning = "region/zone/subzone."},                                               \
    {"weight", FIELD_UINT32, SCHEMA_AT(workload_entry, weight), SCHEMA_BOUNDS(0, UINT32_MAX), .def = 1,        \
     .flags = FIELD_BOUNDED | FIELD_ZERO_IS_DEFAULT, .meaning = "Share within the service."},                  \
    {"serviceAccount", FIELD_STRING, SCHEMA_AT(workload_entry, service_account), .check = common_check_name,   \
     .meaning = "Account whose identity clients expect."}

static const struct field workload_entry_fields[] = {WORKLOAD_ROWS(check_address, FIELD_ISTIO_LABELS)};
SCHEMA(workload_entry_schema, "WorkloadEntry", workload_entry, workload_entry_fields);

/* Of a group's template registration replaces the address and adds to the labels, and Istio looks at neither. */
static const struct field workload_template_fields[] = {WORKLOAD_ROWS(check_socket, FIELD_FREE_KEYS)};
SCHEMA(workload_template_schema, "WorkloadEntry", workload_entry, workload_template_fields);

/* clang-format on */

/* ---- checks ---- */

void workload_entry_validate(const struct check *c, const void *spec)
{
    const struct workload_entry *w = spec;

    if (!w->address.n && !w->network.n) {
        struct finding *x = FAIL(c, w->node, FIND_REQUIRED, "address is required");

        x->hint = STR("the IP address where the workload listens");
    }
    if (!w->address.n && w->network.n)
        WARN(c, check_member(w->node, "network"),
             "without an address the workload is reached only through the gateway of its network");
    workload_entry_check_socket(c, w);
}

void workload_entry_check_socket(const struct check *c, const struct workload_entry *w)
{
    if (check_is_unix(w->address) && check_given(w->node, "ports"))
        FAIL(c, check_member(w->node, "ports"), FIND_VALUE, "an entry on a unix socket has no ports");
}
