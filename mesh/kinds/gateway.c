#include "mesh/kinds/gateway.h"

#include "mesh/kinds/check.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

/* Of a port of an edge proxy. */
static const struct field_value gateway_protocols[] = {
    {"HTTP", 0, FIELD_BUILT, NULL, 0},
    {"HTTPS", 1, FIELD_BUILT, NULL, 0},
    {"HTTP2", 2, FIELD_BUILT, NULL, 0},
    {"GRPC", 3, FIELD_BUILT, NULL, 0},
    {"GRPC-WEB", 4, FIELD_BUILT, NULL, 0},
    {"TLS", 5, FIELD_BUILT, NULL, 0},
    {"TCP", 6, FIELD_BUILT, NULL, 0},
    {"MONGO", 7, FIELD_BUILT, NULL, 0},
    {"REDIS", 8, FIELD_BUILT, NULL, 0},
    {"MYSQL", 9, FIELD_BUILT, NULL, 0},
    {"HTTP_PROXY", 10, FIELD_NOT_YET, NULL, 0},
    {"UDP", 11, FIELD_UNSUPPORTED, "the mesh carries TCP only; leave the server out", 0},
    {.name = NULL},
};

static const struct field port_fields[] = {
    {"number", FIELD_UINT32, SCHEMA_AT(gateway_port, number), SCHEMA_BOUNDS(0, 65535),
     .flags = FIELD_BOUNDED, .meaning = "Port to listen on."},
    {"protocol", FIELD_WORD, SCHEMA_AT(gateway_port, protocol), .values = gateway_protocols,
     .flags = FIELD_REQUIRED, .meaning = "What clients speak."},
    {"name", FIELD_STRING, SCHEMA_AT(gateway_port, name), .flags = FIELD_REQUIRED,
     .meaning = "Name of the port, unique within the Gateway."},
    {"targetPort", FIELD_ANY, SCHEMA_UNSUPPORTED("a Gateway has no target; set `number`"),
     .meaning = "Left over from ServiceEntry."},
};
static SCHEMA(port_schema, "Port", gateway_port, port_fields);

static int check_bind(struct str s, struct err *err)
{
    struct addr ip;

    if (addr_parse_ip(s, &ip))
        return 0;
    if (common_is_socket_path(s))
        return err_set(err, ERR_UNSUPPORTED, "listening on a unix socket (\"%.*s\")", STR_ARG(s));
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" is neither an IP address nor a socket such as \"unix:///path\"",
                   STR_ARG(s));
}

static int check_gateway_host(struct str s, struct err *err)
{
    struct str ns, host = s;
    struct addr ip;

    if (str_cut(&host, '/', &ns) && !str_eq(ns, STR("*")) && !str_eq(ns, STR(".")) &&
        common_check_dns_label(ns, err))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\": the part before '/' is \"*\", \".\" or the name of a namespace",
                       STR_ARG(s));
    if (!addr_parse_ip(host, &ip))
        return common_check_full_host(host, err);
    return str_has(host, '.') ? 0
                              : err_set(err, ERR_INVALID, "\"%.*s\": Istio takes no IPv6 address as host of a Gateway; use \"*\"",
                                        STR_ARG(s));
}

static const struct field server_fields[] = {
    {"port", FIELD_EMBED, SCHEMA_AT(gateway_server, port), .message = &port_schema,
     .flags = FIELD_REQUIRED, .meaning = "Where it listens."},
    {"bind", FIELD_STRING, SCHEMA_AT(gateway_server, bind), .check = check_bind,
     .partly = "a unix socket",
     .meaning = "Address to listen on; all when not given."},
    {"hosts", FIELD_STRINGS, SCHEMA_LIST(gateway_server, hosts), .flags = FIELD_REQUIRED,
     .check = check_gateway_host,
     .meaning = "Hosts served here, perhaps behind \"namespace/\"; VirtualServices attach where "
                "their hosts meet these."},
    {"tls", FIELD_MESSAGE, SCHEMA_AT(gateway_server, tls), .message = &server_tls_schema,
     .meaning = "TLS of the port."},
    {"defaultEndpoint", FIELD_ANY,
     SCHEMA_UNSUPPORTED("Istio never implemented it; route with a VirtualService"),
     .meaning = "Dead field."},
    {"name", FIELD_STRING, SCHEMA_AT(gateway_server, name),
     .meaning = "Name of the server in statistics."},
};
static SCHEMA(server_schema, "Server", gateway_server, server_fields);

static const struct field gateway_fields[] = {
    {"servers", FIELD_MESSAGES, SCHEMA_LIST(gateway, servers), .message = &server_schema,
     .flags = FIELD_REQUIRED, .meaning = "One entry per port and set of hosts."},
    {"selector", FIELD_LABELS, SCHEMA_AT(gateway, selector), .flags = FIELD_SELECTOR,
     .meaning = "Labels of the gateways that load this; none is every gateway."},
};
SCHEMA(gateway_schema, "Gateway", gateway, gateway_fields);

/* clang-format on */

/* ---- checks ---- */

static void check_gateway_port(const struct check *c, const struct gateway_server *s)
{
    if (s->port.node && s->port.number == 0 && !check_is_unix(s->bind) &&
        check_absent(s->port.node, "number"))
        FAIL(c, s->port.node, FIND_REQUIRED,
             "number is required: the port to listen on, from 1 to 65535");
    else if (s->port.node && s->port.number == 0 && !check_is_unix(s->bind))
        FAIL(c, check_member(s->port.node, "number"), FIND_VALUE,
             "number must be from 1 to 65535, not 0");
    if (s->port.number != 0 && check_is_unix(s->bind))
        FAIL(c, check_member(s->port.node, "number"), FIND_VALUE,
             "a server on a unix socket has no port number");
}

/* Not passed through, or with what ends TLS. */
static bool ends_anything(const struct server_tls *t)
{
    return (t->mode != SERVER_TLS_PASSTHROUGH && t->mode != SERVER_TLS_AUTO_PASSTHROUGH) || t->ca_certificates.n ||
           t->private_key.n || t->server_certificate.n;
}

static void check_gateway_tls(const struct check *c, const struct gateway_server *s)
{
    bool ends_tls = str_eq(s->port.protocol, STR("HTTPS")) || str_eq(s->port.protocol, STR("TLS"));
    bool is_http = str_eq(s->port.protocol, STR("HTTP")) ||
                   str_eq(s->port.protocol, STR("HTTP2")) || str_eq(s->port.protocol, STR("HTTP_PROXY")) ||
                   str_starts(s->port.protocol, STR("GRPC"));

    if (ends_tls && !s->tls)
        FAIL(c, s->port.node, FIND_REQUIRED, "a server for %.*s needs tls",
             STR_ARG(s->port.protocol));
    if (!s->tls || !s->port.protocol.n)
        return;
    if (!ends_tls && is_http && ends_anything(s->tls))
        FAIL(c, s->tls->node, FIND_VALUE,
             "a port of plain HTTP has no TLS, but may have tls.httpsRedirect alone: write protocol HTTPS");
    else if (!ends_tls && is_http && !s->tls->https_redirect)
        WARN(c, s->tls->node, "on a port of plain HTTP only tls.httpsRedirect has an effect");
    else if (!ends_tls && !is_http)
        FAIL(c, s->tls->node, FIND_VALUE, "a port of protocol %.*s has no TLS: write protocol TLS",
             STR_ARG(s->port.protocol));
    if (!is_http && s->tls->https_redirect)
        WARN(c, check_member(s->tls->node, "httpsRedirect"),
             "httpsRedirect is for servers of plain HTTP");
    check_server_tls(c, s->tls);
}

void gateway_validate(const struct check *c, const void *spec)
{
    const struct gateway *g = spec;
    for (size_t i = 0; i < g->servers_count; i++) {
        const struct gateway_server *s = &g->servers[i];

        check_gateway_port(c, s);
        for (size_t j = 0; j < i; j++) {
            if (s->port.name.n && str_eq(s->port.name, g->servers[j].port.name)) {
                FAIL(c, check_member(s->port.node, "name"), FIND_VALUE,
                     "another server of this Gateway has a port named \"%.*s\"",
                     STR_ARG(s->port.name));
                break;
            }
        }
        for (size_t j = 0; j < i; j++) {
            if (s->name.n && str_eq(s->name, g->servers[j].name)) {
                WARN(c, check_member(s->node, "name"), "another server of this Gateway is named \"%.*s\"",
                     STR_ARG(s->name));
                break;
            }
        }
        check_gateway_tls(c, s);
    }
}
