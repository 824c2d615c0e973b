#include "mesh/kinds/gateway.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

/* Of a port of an edge proxy. */
static const struct field_value gateway_protocols[] = {
    {"HTTP", 0, FIELD_BUILT, NULL, 0},
    {"HTTPS", 1, FIELD_NOT_YET, NULL, 0},
    {"HTTP2", 2, FIELD_NOT_YET, NULL, 0},
    {"GRPC", 3, FIELD_NOT_YET, NULL, 0},
    {"GRPC-WEB", 4, FIELD_NOT_YET, NULL, 0},
    {"TLS", 5, FIELD_NOT_YET, NULL, 0},
    {"TCP", 6, FIELD_NOT_YET, NULL, 0},
    {"MONGO", 7, FIELD_NOT_YET, NULL, 0},
    {"REDIS", 8, FIELD_NOT_YET, NULL, 0},
    {"MYSQL", 9, FIELD_NOT_YET, NULL, 0},
    {.name = NULL},
};

static const struct field_value tls_modes[] = {
    {"PASSTHROUGH", SERVER_TLS_PASSTHROUGH, FIELD_BUILT, NULL, 0},
    {"SIMPLE", SERVER_TLS_SIMPLE, FIELD_BUILT, NULL, 0},
    {"MUTUAL", SERVER_TLS_MUTUAL, FIELD_BUILT, NULL, 0},
    {"AUTO_PASSTHROUGH", SERVER_TLS_AUTO_PASSTHROUGH, FIELD_BUILT, NULL, 0},
    {"ISTIO_MUTUAL", SERVER_TLS_ISTIO_MUTUAL, FIELD_BUILT, NULL, 0},
    {"OPTIONAL_MUTUAL", SERVER_TLS_OPTIONAL_MUTUAL, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

static const struct field_value tls_versions[] = {
    {"TLS_AUTO", TLS_VERSION_AUTO, FIELD_BUILT, NULL, 0},
    {"TLSV1_0", TLS_VERSION_1_0, FIELD_BUILT, NULL, 0},
    {"TLSV1_1", TLS_VERSION_1_1, FIELD_BUILT, NULL, 0},
    {"TLSV1_2", TLS_VERSION_1_2, FIELD_BUILT, NULL, 0},
    {"TLSV1_3", TLS_VERSION_1_3, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

static const struct field certificate_fields[] = {
    {"serverCertificate", FIELD_STRING, SCHEMA_AT(tls_certificate, server_certificate),
     .flags = FIELD_REQUIRED, .meaning = "File of the certificate chain."},
    {"privateKey", FIELD_STRING, SCHEMA_AT(tls_certificate, private_key), .flags = FIELD_REQUIRED,
     .meaning = "File of its key."},
    {"caCertificates", FIELD_ANY,
     SCHEMA_UNSUPPORTED("it was never honoured; use tls.caCertificates"),
     .meaning = "Authorities of client certificates."},
};
static SCHEMA(certificate_schema, "TLSCertificate", tls_certificate, certificate_fields);

static const struct field tls_fields[] = {
    {"httpsRedirect", FIELD_BOOL, SCHEMA_AT(server_tls, https_redirect),
     .meaning = "Answer plain-text requests with a redirect to https."},
    {"mode", FIELD_ENUM, SCHEMA_AT(server_tls, mode), .values = tls_modes,
     .meaning = "How TLS ends here, if it does."},
    {"serverCertificate", FIELD_STRING, SCHEMA_AT(server_tls, server_certificate),
     .meaning = "File of the certificate chain."},
    {"privateKey", FIELD_STRING, SCHEMA_AT(server_tls, private_key), .meaning = "File of its key."},
    {"caCertificates", FIELD_STRING, SCHEMA_AT(server_tls, ca_certificates),
     .meaning = "File of the authorities of client certificates."},
    {"caCrl", FIELD_STRING, SCHEMA_AT(server_tls, ca_crl),
     .meaning = "File of revoked client certificates."},
    {"credentialName", FIELD_STRING, SCHEMA_AT(server_tls, credential_name),
     .meaning = "Named credential."},
    {"credentialNames", FIELD_STRINGS, SCHEMA_LIST(server_tls, credential_names),
     .meaning = "Up to two named credentials, RSA and ECDSA."},
    {"caCertCredentialName", FIELD_STRING, SCHEMA_AT(server_tls, ca_cert_credential_name),
     .meaning = "Named credential with the authorities of client certificates."},
    {"tlsCertificates", FIELD_MESSAGES, SCHEMA_LIST(server_tls, certificates),
     .message = &certificate_schema, .meaning = "Up to two certificates, RSA and ECDSA."},
    {"subjectAltNames", FIELD_STRINGS, SCHEMA_LIST(server_tls, subject_alt_names),
     .meaning = "Names of clients that are accepted."},
    {"verifyCertificateSpki", FIELD_STRINGS, SCHEMA_LIST(server_tls, verify_spki),
     .meaning = "Hashes of client keys that are accepted, base64."},
    {"verifyCertificateHash", FIELD_STRINGS, SCHEMA_LIST(server_tls, verify_hash),
     .meaning = "Hashes of client certificates that are accepted, hex."},
    {"minProtocolVersion", FIELD_ENUM, SCHEMA_AT(server_tls, min_version), .values = tls_versions,
     .meaning = "Lowest version of TLS."},
    {"maxProtocolVersion", FIELD_ENUM, SCHEMA_AT(server_tls, max_version), .values = tls_versions,
     .meaning = "Highest version of TLS."},
    {"cipherSuites", FIELD_STRINGS, SCHEMA_LIST(server_tls, cipher_suites),
     .meaning = "Ciphers of TLS 1.2."},
    {"insecureSkipVerify", FIELD_ANY,
     SCHEMA_UNSUPPORTED("it exists for conformance tests of the Kubernetes Gateway API; leave "
                        "caCertificates out instead"),
     .meaning = "Take client certificates that do not verify."},
};
static SCHEMA(tls_schema, "ServerTLSSettings", server_tls, tls_fields);

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
    if (str_starts(s, STR("unix:")))
        return err_set(err, ERR_UNSUPPORTED, "listening on a unix socket (\"%.*s\")", STR_ARG(s));
    return common_check_ip(s, err);
}

static int check_gateway_host(struct str s, struct err *err)
{
    struct str ns, host = s;
    struct addr ip;

    if (str_cut(&host, '/', &ns) && !str_eq(ns, STR("*")) && !str_eq(ns, STR(".")) &&
        common_check_label(ns, err))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\": the part before '/' is \"*\", \".\" or the name of a namespace",
                       STR_ARG(s));
    if (str_eq(host, STR("*")) || addr_parse_ip(host, &ip))
        return 0;
    if (common_check_wildcard_host(host, err))
        return -1;
    if (host.p[0] == '*' && !str_starts(host, STR("*.")))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\": a wildcard covers the whole first label, as in \"*.example.com\"",
                       STR_ARG(s));
    if (!str_has(host, '.'))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\" is a short name; a Gateway needs the full host name", STR_ARG(s));
    return 0;
}

static const struct field server_fields[] = {
    {"port", FIELD_EMBED, SCHEMA_AT(gateway_server, port), .message = &port_schema,
     .flags = FIELD_REQUIRED, .meaning = "Where it listens."},
    {"bind", FIELD_STRING, SCHEMA_AT(gateway_server, bind), .check = check_bind,
     .meaning = "Address to listen on; all when not given."},
    {"hosts", FIELD_STRINGS, SCHEMA_LIST(gateway_server, hosts), .flags = FIELD_REQUIRED,
     .check = check_gateway_host,
     .meaning = "Hosts served here, perhaps behind \"namespace/\"; VirtualServices attach where "
                "their hosts meet these."},
    {"tls", FIELD_MESSAGE, SCHEMA_AT(gateway_server, tls), .message = &tls_schema, SCHEMA_NOT_YET,
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
    {"selector", FIELD_LABELS, SCHEMA_AT(gateway, selector),
     .meaning = "Labels of the gateways that load this; none is every gateway."},
};
SCHEMA(gateway_schema, "Gateway", gateway, gateway_fields);
