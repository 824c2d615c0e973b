#include "mesh/kinds/sidecar.h"

#include "mesh/base/map.h"
#include "mesh/kinds/check.h"

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

/* Istio sends to the host itself only: loopback, or the address of the workload. */
static int check_default_endpoint(struct str s, struct err *err)
{
    static const struct str hosts[] = {STR_INIT("127.0.0.1:"), STR_INIT("[::1]:"),
                                       STR_INIT("0.0.0.0:"), STR_INIT("[::]:"), STR_INIT(":")};
    uint64_t port;

    for (size_t i = 0; i < COUNT(hosts); i++) {
        if (!str_starts(s, hosts[i]))
            continue;
        if (str_uint(str_sub(s, hosts[i].n, s.n), 1, 65535, &port))
            return 0;
        return err_set(err, ERR_INVALID, "\"%.*s\": the port is a number from 1 to 65535",
                       STR_ARG(s));
    }
    if (common_is_socket_path(s))
        return err_set(err, ERR_UNSUPPORTED, "an application on a unix socket (\"%.*s\")", STR_ARG(s));
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" must be 127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, [::]:PORT or "
                   "unix:///PATH",
                   STR_ARG(s));
}

static int check_egress_host(struct str s, struct err *err)
{
    struct str ns, host = s, name;

    if (!str_cut(&host, '/', &ns))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\" must be \"namespace/host\", such as \"./*\" or \"shop/*\"",
                       STR_ARG(s));
    name = ns.n > 1 && ns.p[0] == '~' ? str_sub(ns, 1, ns.n) : ns;
    if (!str_eq(ns, STR("*")) && !str_eq(ns, STR(".")) && !str_eq(ns, STR("~")) &&
        common_check_dns_label(name, err))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\": the part before '/' is \"*\", \".\", \"~\" or the name of a "
                       "namespace",
                       STR_ARG(s));
    return common_check_full_host(host, err);
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field_value capture_values[] = {
    SCHEMA_VALUE("DEFAULT", SIDECAR_CAPTURE_DEFAULT),
    SCHEMA_VALUE("IPTABLES", SIDECAR_CAPTURE_IPTABLES),
    SCHEMA_VALUE("NONE", SIDECAR_CAPTURE_NONE),
    {.name = NULL},
};

/* Traffic for unknown destinations does not come here at all. */
#define NEEDS_ALL                                                                                  \
    "only traffic of the mesh is redirected, all other passes the agent by, so that it cannot be " \
    "refused; ALLOW_ANY is what happens"

static const struct field_value outbound_values[] = {
    {"REGISTRY_ONLY", OUTBOUND_REGISTRY_ONLY, FIELD_NOT_YET, NEEDS_ALL, 0},
    SCHEMA_VALUE("ALLOW_ANY", OUTBOUND_ALLOW_ANY),
    {.name = NULL},
};

static const struct field_value protocol_values[] = {
    SCHEMA_VALUE("HTTP", 0),   SCHEMA_VALUE("HTTPS", 1), SCHEMA_VALUE("HTTP2", 2),
    SCHEMA_VALUE("GRPC", 3),   SCHEMA_VALUE("GRPC-WEB", 4), SCHEMA_VALUE("TCP", 5),
    SCHEMA_VALUE("TLS", 6),    SCHEMA_VALUE("MONGO", 7), SCHEMA_VALUE("REDIS", 8),
    SCHEMA_VALUE("MYSQL", 9),  {"HTTP_PROXY", 10, FIELD_NOT_YET, NULL, 0},
    {"UDP", 11, FIELD_UNSUPPORTED, "the mesh carries TCP only; leave the listener out, UDP passes by unchanged", 0},
    {.name = NULL},
};

static const struct field port_fields[] = {
    {"number", FIELD_UINT32, SCHEMA_AT(sidecar_port, number), SCHEMA_BOUNDS(0, 65535),
     .flags = FIELD_BOUNDED, .meaning = "Port to listen on, from 1; 0 for a unix socket."},
    {"protocol", FIELD_WORD, SCHEMA_AT(sidecar_port, protocol), .values = protocol_values,
     .meaning = "What it speaks; found out from the first bytes when not given."},
    {"name", FIELD_STRING, SCHEMA_AT(sidecar_port, name), .check = common_check_dns_label,
     .meaning = "Name of the port."},
    {"targetPort", FIELD_ANY,
     SCHEMA_UNSUPPORTED("a Sidecar's port has no target; use defaultEndpoint"),
     .meaning = "Left over from ServiceEntry."},
};
static SCHEMA(port_schema, "SidecarPort", sidecar_port, port_fields);

static const struct field ingress_fields[] = {
    {"port", FIELD_MESSAGE, SCHEMA_AT(sidecar_ingress, port), .message = &port_schema,
     .flags = FIELD_REQUIRED, .meaning = "Where it listens."},
    {"bind", FIELD_STRING, SCHEMA_AT(sidecar_ingress, bind), .check = common_check_ip,
     .partly = "without captureMode NONE",
     .meaning = "Address to listen on with captureMode NONE; the host's when not given."},
    {"captureMode", FIELD_ENUM, SCHEMA_AT(sidecar_ingress, capture), .values = capture_values,
     .meaning = "Whether traffic is redirected to it, or clients address it themselves (NONE)."},
    {"defaultEndpoint", FIELD_STRING, SCHEMA_AT(sidecar_ingress, default_endpoint),
     .check = check_default_endpoint, .partly = "a unix socket",
     .meaning = "Where the application is: 127.0.0.1:PORT, [::1]:PORT, or the host's address as 0.0.0.0:PORT; when not "
                "given, where it is registered, for another port at the host's address."},
    {"tls", FIELD_MESSAGE, SCHEMA_AT(sidecar_ingress, tls), .message = &server_tls_schema,
     .meaning = "TLS that ends here and is not the mesh's own, whatever PeerAuthentication says of the port."},
    {"connectionPool", FIELD_MESSAGE, SCHEMA_AT(sidecar_ingress, connection_pool),
     .message = &connection_pool_schema,
     .meaning = "Limits of connections to the application, in place of inboundConnectionPool."},
};
static SCHEMA(ingress_schema, "IstioIngressListener", sidecar_ingress, ingress_fields);

static const struct field egress_fields[] = {
    {"port", FIELD_MESSAGE, SCHEMA_AT(sidecar_egress, port), .message = &port_schema,
     .meaning = "Port that the hosts are for; every other port when not given, in the last entry only."},
    {"bind", FIELD_STRING, SCHEMA_AT(sidecar_egress, bind), .check = check_bind,
     .partly = "a unix socket; without captureMode NONE",
     .meaning = "Address to listen on with captureMode NONE; 127.0.0.1 when not given."},
    {"captureMode", FIELD_ENUM, SCHEMA_AT(sidecar_egress, capture), .values = capture_values,
     .partly = "NONE without port",
     .meaning = "Whether traffic is redirected to it, or clients address it themselves (NONE)."},
    {"hosts", FIELD_STRINGS, SCHEMA_LIST(sidecar_egress, hosts), .flags = FIELD_REQUIRED,
     .check = check_egress_host,
     .meaning = "Services that are seen, \"namespace/host\"; \"~namespace/host\" takes away."},
};
static SCHEMA(egress_schema, "IstioEgressListener", sidecar_egress, egress_fields);

static const struct field outbound_fields[] = {
    {"mode", FIELD_ENUM, SCHEMA_AT(outbound_policy, mode), .values = outbound_values,
     .meaning = "Whether connections to unknown destinations pass (ALLOW_ANY) or are refused."},
    {"egressProxy", FIELD_MESSAGE, SCHEMA_AT(outbound_policy, egress_proxy),
     .message = &destination_schema, SCHEMA_NOT_YET, .reason = NEEDS_ALL,
     .meaning = "Service that unknown traffic is sent to; with ALLOW_ANY only."},
};
static SCHEMA(outbound_schema, "OutboundTrafficPolicy", outbound_policy, outbound_fields);

static const struct field sidecar_fields[] = {
    {"workloadSelector", FIELD_MESSAGE, SCHEMA_AT(sidecar, workload_selector),
     .message = &labels_selector_schema,
     .meaning = "Workloads it is for; all of the namespace when not given."},
    {"ingress", FIELD_MESSAGES, SCHEMA_LIST(sidecar, ingress), .message = &ingress_schema, .most = 1024,
     .meaning = "Ports that are taken in, in place of those of the registered services."},
    {"egress", FIELD_MESSAGES, SCHEMA_LIST(sidecar, egress), .message = &egress_schema,
     .meaning = "Services that are seen; all when not given."},
    {"inboundConnectionPool", FIELD_MESSAGE, SCHEMA_AT(sidecar, inbound_connection_pool),
     .message = &connection_pool_schema,
     .meaning = "Limits of connections to the workload, in place of those of DestinationRules."},
    {"outboundTrafficPolicy", FIELD_MESSAGE, SCHEMA_AT(sidecar, outbound_policy),
     .message = &outbound_schema, .meaning = "What happens to traffic for unknown destinations."},
};
SCHEMA(sidecar_schema, "Sidecar", sidecar, sidecar_fields);

/* clang-format on */

/* ---- checks ---- */

static void check_ingress_tls(const struct check *c, const struct sidecar_ingress *in)
{
    const struct server_tls *t = in->tls;

    if (in->port && !str_eq(in->port->protocol, STR("HTTPS")) &&
        !str_eq(in->port->protocol, STR("TLS")))
        FAIL(c, t->node, FIND_VALUE, "tls needs a port of protocol HTTPS or TLS");
    if (t->mode == SERVER_TLS_ISTIO_MUTUAL || t->mode == SERVER_TLS_AUTO_PASSTHROUGH)
        FAIL(c, check_member(t->node, "mode"), FIND_VALUE,
             "this mode is not for a Sidecar: mutual TLS of the mesh is set by PeerAuthentication");
    if (t->https_redirect)
        FAIL(c, check_member(t->node, "httpsRedirect"), FIND_VALUE,
             "httpsRedirect is for a Gateway");
    if (t->subject_alt_names_count)
        FAIL(c, check_member(t->node, "subjectAltNames"), FIND_VALUE,
             "subjectAltNames is for a Gateway");
    if (t->credential_name.n || t->credential_names_count || t->certificates_count || t->ca_cert_credential_name.n)
        FAIL(c, t->node, FIND_VALUE,
             "a Sidecar takes serverCertificate and privateKey, files of the host; credentials and "
             "tlsCertificates are for a Gateway");
    check_server_tls(c, t);
}

static void check_bound(const struct check *c, const struct node *listener, enum sidecar_capture capture)
{
    struct finding *x;

    if (capture == SIDECAR_CAPTURE_NONE)
        return;
    x = FAIL(c, check_member(listener, "bind"), FIND_NOT_YET,
             "bind without captureMode NONE is not supported yet");
    x->hint = STR("where traffic is redirected, it is by port; leave bind out, or write captureMode: NONE");
}

static void check_ingress(const struct check *c, const struct sidecar *s)
{
    for (size_t i = 0; i < s->ingress_count; i++) {
        const struct sidecar_ingress *in = &s->ingress[i];

        if (in->port && in->port->number == 22)
            FAIL(c, check_member(in->port->node, "number"), FIND_VALUE,
                 "port 22 is never taken; SSH must stay reachable");
        if (in->bind.n)
            check_bound(c, in->node, in->capture);
        if (in->port && in->port->number == 0)
            FAIL(c, check_member(in->port->node, "number"), FIND_VALUE,
                 "number must be from 1 to 65535");
        for (size_t j = 0; in->port && j < i; j++) {
            if (s->ingress[j].port && in->port->number &&
                in->port->number == s->ingress[j].port->number) {
                FAIL(c, check_member(in->port->node, "number"), FIND_VALUE,
                     "another ingress listener has port %u", in->port->number);
                break;
            }
        }
        if (in->tls)
            check_ingress_tls(c, in);
        if (in->connection_pool)
            check_pool(c, in->connection_pool);
    }
}

static bool is_loopback(struct str bind)
{
    struct addr ip;

    return addr_parse_ip(bind, &ip) && addr_is_loopback(&ip);
}

static void check_egress_listener(const struct check *c, const struct sidecar *s, size_t i)
{
    const struct sidecar_egress *e = &s->egress[i];
    bool is_socket = check_is_unix(e->bind);

    if (!e->port) {
        if (i + 1 != s->egress_count)
            FAIL(c, e->node, FIND_VALUE, "only the last egress entry may leave out port");
        if (e->bind.n || e->capture == SIDECAR_CAPTURE_NONE)
            FAIL(c, check_member(e->node, e->bind.n ? "bind" : "captureMode"), FIND_NOT_YET,
                 "addresses for ports that no entry names are not supported yet")
                ->hint = STR("give an entry with port for each");
        return;
    }
    if (e->bind.n && !is_socket)
        check_bound(c, e->node, e->capture);
    if (e->bind.n && !is_socket && !is_loopback(e->bind))
        WARN(c, check_member(e->node, "bind"),
             "whoever reaches this address calls with the identity of the host: 127.0.0.1 is for its own callers");
    if (e->port->number == 0 && !is_socket)
        FAIL(c, e->port->node, FIND_VALUE,
             "number must be from 1 to 65535, or bind a unix socket");
    if (is_socket && e->port->number != 0)
        FAIL(c, check_member(e->port->node, "number"), FIND_VALUE,
             "a listener on a unix socket has no port number");
    if (is_socket && e->capture == SIDECAR_CAPTURE_IPTABLES)
        FAIL(c, check_member(e->node, "captureMode"), FIND_VALUE,
             "nothing is redirected to a unix socket: captureMode must be DEFAULT or NONE");
    for (size_t j = 0; j < i; j++) {
        const struct sidecar_egress *o = &s->egress[j];

        if (o->port && e->port->number && o->port->number == e->port->number)
            FAIL(c, check_member(e->port->node, "number"), FIND_VALUE,
                 "another egress listener has port %u", e->port->number);
        if (is_socket && str_eq(o->bind, e->bind))
            FAIL(c, check_member(e->node, "bind"), FIND_VALUE,
                 "another egress listener is on this socket");
    }
}

/* Hosts that an earlier one covers do nothing, which is worth a warning. */
static void check_egress_overlap(const struct check *c, const struct sidecar_egress *e)
{
    bool all = false, others = false;

    for (size_t i = 0; i < e->hosts_count; i++) {
        struct str host = e->hosts[i], ns = STR_NONE;
        bool covered = false;

        if (!str_cut(&host, '/', &ns) || str_starts(ns, STR("~")))
            continue;
        ns = str_eq(ns, STR(".")) ? c->m->ns : ns;
        if (str_eq(ns, STR("*")) && str_eq(host, STR("*")))
            all = true;
        else if (!str_eq(ns, STR("*")))
            others = true;
        for (size_t j = 0; j < i && !covered; j++) {
            struct str h = e->hosts[j], n = STR_NONE;

            if (!str_cut(&h, '/', &n))
                continue;
            n = str_eq(n, STR(".")) ? c->m->ns : n;
            covered = str_eq(n, ns) &&
                      (str_eq(h, host) || str_eq(h, STR("*")) || str_eq(host, STR("*")));
        }
        if (covered)
            WARN(c, check_element(e->node, "hosts", i), "\"%.*s\" is covered by another host",
                 STR_ARG(e->hosts[i]));
    }
    if (all && others)
        WARN(c, check_member(e->node, "hosts"),
             "\"*/*\" takes everything, so the other hosts do nothing");
}

static void check_outbound(const struct check *c, const struct outbound_policy *p)
{
    struct err err;

    if (p->mode == OUTBOUND_REGISTRY_ONLY && check_absent(p->node, "mode"))
        FAIL(c, p->node, FIND_NOT_YET, "outboundTrafficPolicy without mode is REGISTRY_ONLY, which is not supported yet")
            ->hint = STR(NEEDS_ALL);
    if (!p->egress_proxy)
        return;
    if (p->mode != OUTBOUND_ALLOW_ANY)
        FAIL(c, p->egress_proxy->node, FIND_VALUE, "egressProxy needs mode ALLOW_ANY");
    if (p->egress_proxy->port.number == 0)
        FAIL(c, p->egress_proxy->node, FIND_REQUIRED, "egressProxy needs port");
    if (p->egress_proxy->host.n && common_check_host(p->egress_proxy->host, &err))
        FAIL(c, check_member(p->egress_proxy->node, "host"), FIND_VALUE, "%s", err.text);
}

void sidecar_validate(const struct check *c, const void *spec)
{
    const struct sidecar *s = spec;

    if (!s->ingress_count && !s->egress_count && !s->inbound_connection_pool &&
        !s->outbound_policy && check_absent(s->node, "ingress") && check_absent(s->node, "egress"))
        FAIL(c, s->node, FIND_REQUIRED,
             "a Sidecar needs ingress, egress, outboundTrafficPolicy or inboundConnectionPool");
    check_selector(c, s->workload_selector);
    check_ingress(c, s);
    for (size_t i = 0; i < s->egress_count; i++) {
        check_egress_listener(c, s, i);
        check_egress_overlap(c, &s->egress[i]);
    }
    if (s->inbound_connection_pool)
        check_pool(c, s->inbound_connection_pool);
    if (s->outbound_policy)
        check_outbound(c, s->outbound_policy);
}
