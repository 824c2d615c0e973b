#include "mesh/kinds/service_entry.h"

#include "mesh/kinds/check.h"

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

static const struct field port_fields[] = {
    {"number", FIELD_UINT32, SCHEMA_AT(service_entry_port, number), SCHEMA_BOUNDS(1, 65535),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Port that clients address."},
    {"protocol", FIELD_WORD, SCHEMA_AT(service_entry_port, protocol), .values = common_protocols,
     .meaning = "What it speaks; found out from the first bytes when not given."},
    {"name", FIELD_STRING, SCHEMA_AT(service_entry_port, name), .flags = FIELD_REQUIRED,
     .check = common_check_dns_label, .meaning = "Name of the port, unique."},
    {"targetPort", FIELD_UINT32, SCHEMA_AT(service_entry_port, target_port),
     SCHEMA_BOUNDS(1, 65535), .default_offset = offsetof(struct service_entry_port, number),
     .flags = FIELD_BOUNDED,
     .meaning = "Port of the endpoints; `number` when not given."},
};
static SCHEMA(port_schema, "ServicePort", service_entry_port, port_fields);

static const struct field service_entry_fields[] = {
    {"hosts", FIELD_STRINGS, SCHEMA_LIST(service_entry, hosts), .flags = FIELD_REQUIRED, .most = 256,
     .check = check_entry_host, .meaning = "Names of the service."},
    {"addresses", FIELD_STRINGS, SCHEMA_LIST(service_entry, addresses), .check = check_entry_address, .most = 256,
     .partly = "a block of addresses",
     .meaning = "Addresses that stand for it; one is allocated when none is given."},
    {"ports", FIELD_MESSAGES, SCHEMA_LIST(service_entry, ports), .message = &port_schema, .most = 256,
     .meaning = "Its ports."},
    {"location", FIELD_ENUM, SCHEMA_AT(service_entry, location), .values = location_values,
     .meaning = "Whether its endpoints are workloads of the mesh."},
    {"resolution", FIELD_ENUM, SCHEMA_AT(service_entry, resolution), .values = resolution_values,
     .meaning = "How endpoints are found."},
    {"endpoints", FIELD_MESSAGES, SCHEMA_LIST(service_entry, endpoints),
     .message = &workload_entry_schema, .oneof = "endpoints", .most = 4096, .meaning = "Where it runs."},
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

/* clang-format on */

/* ---- checks ---- */

static const struct service_entry_port *entry_port(const struct service_entry *se, struct str name)
{
    for (size_t i = 0; i < se->ports_count; i++) {
        if (str_eq(se->ports[i].name, name))
            return &se->ports[i];
    }
    return NULL;
}

static void check_endpoint(const struct check *c, const struct service_entry *se,
                           const struct workload_entry *w)
{
    struct addr ip;

    workload_entry_validate(c, w);
    for (size_t i = 0; i < w->ports_count; i++) {
        if (!entry_port(se, w->ports[i].key))
            FAIL(c, check_member(check_member(w->node, "ports"), arena_str(c->f->arena, w->ports[i].key).p),
                 FIND_VALUE, "port \"%.*s\" is not the name of one of the service's ports",
                 STR_ARG(w->ports[i].key));
    }
    if (se->resolution == RESOLUTION_STATIC && w->address.n && !check_is_unix(w->address) &&
        !addr_parse_ip(w->address, &ip))
        FAIL(c, check_member(w->node, "address"), FIND_VALUE,
             "\"%.*s\" is not an IP address, which resolution STATIC needs", STR_ARG(w->address));
    if (check_is_unix(w->address) && se->ports_count != 1)
        FAIL(c, check_member(w->node, "address"), FIND_VALUE,
             "an endpoint on a unix socket needs a service with exactly one port");
}

static void check_entry_ports(const struct check *c, const struct service_entry *se)
{
    for (size_t i = 0; i < se->ports_count; i++) {
        const struct service_entry_port *p = &se->ports[i];

        for (size_t j = 0; j < i; j++) {
            if (p->number && p->number == se->ports[j].number)
                FAIL(c, check_member(p->node, "number"), FIND_VALUE, "port %u is declared twice",
                     p->number);
            if (p->name.n && str_eq(p->name, se->ports[j].name))
                FAIL(c, check_member(p->node, "name"), FIND_VALUE,
                     "the port name \"%.*s\" is declared twice", STR_ARG(p->name));
        }
    }
}

static bool has_wildcard(struct str host)
{
    return str_starts(host, STR("*"));
}

static bool speaks_http(struct str protocol)
{
    return (str_starts(protocol, STR("HTTP")) && !str_eq(protocol, STR("HTTPS"))) || str_starts(protocol, STR("GRPC"));
}

/* DNS and DNS_ROUND_ROBIN ask for names: a full one for each host, or for each endpoint. */
static void check_dns_names(const struct check *c, const struct service_entry *se)
{
    for (size_t i = 0; se->endpoints_count == 0 && i < se->hosts_count; i++) {
        if (has_wildcard(se->hosts[i]))
            FAIL(c, check_element(se->node, "hosts", i), FIND_VALUE,
                 "a wildcard cannot be resolved: give endpoints, or a full host name");
    }
    for (size_t i = 0; i < se->endpoints_count; i++) {
        const struct workload_entry *w = &se->endpoints[i];

        if (check_is_unix(w->address) || (!w->address.n && w->network.n))
            FAIL(c, check_member(w->node, check_is_unix(w->address) ? "address" : "network"), FIND_VALUE,
                 "an endpoint that is resolved needs an IP address or a host name; resolution STATIC takes others");
    }
    if (se->resolution == RESOLUTION_DNS_ROUND_ROBIN && se->endpoints_count > 1)
        FAIL(c, check_member(se->node, "endpoints"), FIND_VALUE,
             "resolution DNS_ROUND_ROBIN takes one endpoint at most");
    if (se->workload_selector)
        WARN(c, check_member(se->node, "workloadSelector"),
             "workloadSelector has no effect where hosts are resolved: use STATIC");
}

static void check_dynamic_dns(const struct check *c, const struct service_entry *se)
{
    for (size_t i = 0; i < se->hosts_count; i++) {
        if (!has_wildcard(se->hosts[i]))
            FAIL(c, check_element(se->node, "hosts", i), FIND_VALUE, "resolution DYNAMIC_DNS is for wildcard hosts");
    }
    if (se->endpoints_count || se->addresses_count)
        FAIL(c, se->node, FIND_VALUE,
             "resolution DYNAMIC_DNS takes neither endpoints nor addresses");
    for (size_t i = 0; i < se->ports_count; i++) {
        if (!speaks_http(se->ports[i].protocol) && !str_eq(se->ports[i].protocol, STR("TLS")))
            FAIL(c, se->ports[i].node, FIND_VALUE,
                 "resolution DYNAMIC_DNS needs protocol HTTP, HTTP2, GRPC or TLS");
    }
}

static void check_resolved(const struct check *c, const struct service_entry *se)
{
    if (se->resolution == RESOLUTION_NONE || se->resolution == RESOLUTION_STATIC)
        return;
    for (size_t i = 0; i < se->addresses_count; i++) {
        if (str_has(se->addresses[i], '/'))
            FAIL(c, check_element(se->node, "addresses", i), FIND_VALUE,
                 "a block of addresses needs resolution NONE or STATIC");
    }
    if (se->resolution == RESOLUTION_DYNAMIC_DNS)
        check_dynamic_dns(c, se);
    else
        check_dns_names(c, se);
}

static void check_unresolved(const struct check *c, const struct service_entry *se)
{
    if (se->resolution != RESOLUTION_NONE)
        return;
    if (check_given(se->node, "endpoints"))
        FAIL(c, check_member(se->node, "endpoints"), FIND_VALUE,
             "resolution NONE dials the address that the client meant, so endpoints would have no "
             "effect: use STATIC");
    if (se->workload_selector)
        WARN(c, check_member(se->node, "workloadSelector"),
             "workloadSelector has no effect with resolution NONE: use STATIC");
}

/* Whether a connection says which host it means. */
static bool tells_host(struct str protocol)
{
    return speaks_http(protocol) || str_eq(protocol, STR("TLS")) || str_eq(protocol, STR("HTTPS"));
}

static void check_shared_ports(const struct check *c, const struct service_entry *se)
{
    if (se->hosts_count < 2 || se->resolution == RESOLUTION_NONE)
        return;
    for (size_t i = 0; i < se->ports_count; i++) {
        struct str protocol = se->ports[i].protocol;

        if (!tells_host(protocol))
            FAIL(c, se->ports[i].node, FIND_VALUE,
                 "several hosts cannot share a port of %s%.*s, which does not say the host: write one ServiceEntry each, or a "
                 "protocol that says it",
                 protocol.n ? "protocol " : "no protocol", STR_ARG(protocol));
    }
}

static void warn_of_hosts(const struct check *c, const struct service_entry *se)
{
    for (size_t i = 0; i < se->hosts_count; i++) {
        struct str host = se->hosts[i];

        if (has_wildcard(host) && host.n > 1 && !str_starts(host, STR("*.")))
            WARN(c, check_element(se->node, "hosts", i),
                 "\"%.*s\" is a wildcard within a label, which Gateways and Sidecars do not take: write \"*.\" and the domain",
                 STR_ARG(host));
    }
}

/* What is accepted, and does not do what it seems to. */
static void warn_of_addresses(const struct check *c, const struct service_entry *se)
{
    bool is_shared = se->hosts_count > 1 && se->addresses_count && se->resolution != RESOLUTION_NONE;

    if (se->resolution == RESOLUTION_NONE && se->addresses_count == 0)
        WARN(c, se->node,
             "with resolution NONE only connections to its addresses are taken, and it names none: they pass by as if it "
             "were not there");
    for (size_t i = 0; is_shared && i < se->ports_count; i++) {
        const struct service_entry_port *p = &se->ports[i];

        if (!speaks_http(p->protocol))
            WARN(c, p->node,
                 "port %u does not tell the hosts apart, which share their addresses: all its connections count as of the "
                 "first host",
                 p->number);
    }
}

void service_entry_validate(const struct check *c, const void *spec)
{
    const struct service_entry *se = spec;

    check_entry_ports(c, se);
    for (size_t i = 0; i < se->endpoints_count; i++)
        check_endpoint(c, se, &se->endpoints[i]);
    check_unresolved(c, se);
    check_resolved(c, se);
    if (se->workload_selector && se->workload_selector->labels.count == 0)
        WARN(c, check_member(se->node, "workloadSelector"),
             "an empty workloadSelector takes every workload of the namespace");
    check_shared_ports(c, se);
    warn_of_hosts(c, se);
    warn_of_addresses(c, se);
    check_export_to(c, se->node, se->export_to, se->export_to_count);
}

/* ---- several entries of one host ---- */

static bool same_labels(const struct labels *x, const struct labels *y)
{
    return labels_match(x, y) && labels_match(y, x);
}

static bool same_selector(const struct label_selector *x, const struct label_selector *y)
{
    return x && y ? same_labels(&x->labels, &y->labels) : x == y;
}

static bool is_public(const struct service_entry *e)
{
    return e->export_to_count == 0 || str_eq(e->export_to[0], STR("*")); /* which stands alone */
}

static bool exports_within(const struct service_entry *x, const struct service_entry *y)
{
    if (is_public(x) || is_public(y))
        return is_public(y);
    for (size_t i = 0; i < x->export_to_count; i++) {
        bool found = false;

        for (size_t k = 0; k < y->export_to_count; k++)
            found = found || str_eq(x->export_to[i], y->export_to[k]);
        if (!found)
            return false;
    }
    return true;
}

bool service_entries_agree(const struct object *x, const struct object *y)
{
    const struct service_entry *a = x->spec, *b = y->spec;

    return a->resolution == b->resolution && same_labels(&x->meta.labels, &y->meta.labels) &&
           same_selector(a->workload_selector, b->workload_selector) && exports_within(a, b) &&
           exports_within(b, a);
}

bool service_entry_adds(const struct service_entry *e)
{
    return e->resolution == RESOLUTION_STATIC && e->location == LOCATION_MESH_INTERNAL;
}
