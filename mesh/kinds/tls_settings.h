/* How TLS ends at a server of a Gateway or at an ingress listener of a Sidecar. Fields:
 * mesh/kinds/tls_settings.c. */
#pragma once

#include "mesh/base/hash.h"
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

#define TLS_PINS_MAX 512u /* of verifyCertificateSpki and verifyCertificateHash together */

/* A value of verifyCertificateSpki, base64, and of verifyCertificateHash, hex in either case with or without ':'. */
bool tls_parse_spki(struct str s, uint8_t out[HASH_BYTES]) MUST_USE;
bool tls_parse_hash(struct str s, uint8_t out[HASH_BYTES]) MUST_USE;

extern const struct schema server_tls_schema;
extern const struct field_value tls_versions[];
