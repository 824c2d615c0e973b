#include "mesh/kinds/workload_entry.h"

#include "mesh/kinds/check.h"

static int check_address(struct str s, struct err *err)
{
    struct addr ip;
    struct str path = str_sub(s, 7, s.n);

    if (addr_parse_ip(s, &ip))
        return 0;
    if (str_starts(s, STR("unix://"))) {
        if (path.n < 2 || (path.p[0] != '/' && path.p[0] != '@') || path.p[path.n - 1] == '/')
            return err_set(err, ERR_INVALID,
                           "\"%.*s\": a unix socket is \"unix:///path\" or \"unix://@name\"",
                           STR_ARG(s));
        return err_set(err, ERR_UNSUPPORTED, "a unix socket as address (\"%.*s\")", STR_ARG(s));
    }
    if (common_check_host(s, err))
        return err_set(err, ERR_INVALID, "\"%.*s\" is neither an IP address nor a host name",
                       STR_ARG(s));
    return err_set(err, ERR_UNSUPPORTED, "a host name as address (\"%.*s\")", STR_ARG(s));
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field workload_entry_fields[] = {
    {"address", FIELD_STRING, SCHEMA_AT(workload_entry, address), .check = check_address,
     .partly = "a host name; a unix socket",
     .meaning = "Where it listens, an IP."},
    {"ports", FIELD_NUMBERS, SCHEMA_LIST(workload_entry, ports), SCHEMA_BOUNDS(1, 65535),
     .flags = FIELD_BOUNDED, .check = common_check_label,
     .meaning = "Name of a service port to the real port."},
    {"labels", FIELD_LABELS, SCHEMA_AT(workload_entry, labels),
     .meaning = "Labels for selectors and subsets."},
    {"network", FIELD_STRING, SCHEMA_AT(workload_entry, network), SCHEMA_NOT_YET,
     .meaning = "Network it is in."},
    {"locality", FIELD_STRING, SCHEMA_AT(workload_entry, locality),
     .meaning = "region/zone/subzone."},
    {"weight", FIELD_UINT32, SCHEMA_AT(workload_entry, weight), SCHEMA_BOUNDS(0, INT32_MAX),
     .def = 1, .flags = FIELD_BOUNDED | FIELD_ZERO_IS_DEFAULT,
     .meaning = "Share within the service."},
    {"serviceAccount", FIELD_STRING, SCHEMA_AT(workload_entry, service_account),
     .check = common_check_name, .meaning = "Account whose identity clients expect."},
};
SCHEMA(workload_entry_schema, "WorkloadEntry", workload_entry, workload_entry_fields);

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
    if (check_is_unix(w->address) && w->ports_count)
        FAIL(c, check_member(w->node, "ports"), FIND_VALUE, "an entry on a unix socket has no ports");
}
