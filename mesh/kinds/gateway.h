/* networking.istio.io Gateway: the ports that edge proxies open. Fields: mesh/kinds/gateway.c. */
#pragma once

#include "mesh/kinds/common.h"

enum server_tls_mode {
    SERVER_TLS_PASSTHROUGH,
    SERVER_TLS_SIMPLE,
    SERVER_TLS_MUTUAL,
    SERVER_TLS_AUTO_PASSTHROUGH,
    SERVER_TLS_ISTIO_MUTUAL,
    SERVER_TLS_OPTIONAL_MUTUAL,
};

enum tls_version {
    TLS_VERSION_AUTO,
    TLS_VERSION_1_0,
    TLS_VERSION_1_1,
    TLS_VERSION_1_2,
    TLS_VERSION_1_3
};

struct tls_certificate {
    const struct node *node;
    struct str server_certificate, private_key;
};

struct server_tls {
    const struct node *node;
    bool https_redirect;
    enum server_tls_mode mode;
    struct str server_certificate, private_key, ca_certificates, ca_crl, credential_name,
        ca_cert_credential_name;
    struct str *credential_names;
    size_t credential_names_count;
    struct tls_certificate *certificates;
    size_t certificates_count;
    struct str *subject_alt_names;
    size_t subject_alt_names_count;
    struct str *verify_spki;
    size_t verify_spki_count;
    struct str *verify_hash;
    size_t verify_hash_count;
    enum tls_version min_version, max_version;
    struct str *cipher_suites;
    size_t cipher_suites_count;
};

struct gateway_port {
    const struct node *node;
    uint32_t number;     /* 1..65535 */
    struct str protocol; /* upper case: "HTTP"; others are not yet */
    struct str name;     /* unique within the Gateway */
};

struct gateway_server {
    const struct node *node;
    struct gateway_port port;
    struct str bind;   /* an IP; empty: all of IPv4 and IPv6 */
    struct str *hosts; /* "[ns/]dnsName", at least one */
    size_t hosts_count;
    struct server_tls *tls; /* not yet */
    struct str name;
};

struct gateway {
    const struct node *node;
    struct gateway_server *servers; /* at least one */
    size_t servers_count;
    struct labels selector; /* empty: every gateway */
};

extern const struct schema gateway_schema;
