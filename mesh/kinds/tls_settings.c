#include "mesh/kinds/tls_settings.h"

#include <string.h>

#include "mesh/base/text.h"
#include "mesh/kinds/check.h"

/* ---- hashes ---- */

bool tls_parse_spki(struct str s, uint8_t out[HASH_BYTES])
{
    struct buf bytes;
    bool fits;

    buf_init(&bytes, HASH_BYTES);
    fits = text_unbase64(s, &bytes) && !bytes.failed && bytes.n == HASH_BYTES;
    if (fits)
        memcpy(out, bytes.p, HASH_BYTES);
    buf_done(&bytes);
    return fits;
}

bool tls_parse_hash(struct str s, uint8_t out[HASH_BYTES])
{
    char hex[2 * HASH_BYTES];
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ':' && i % 3 == 2)
            continue;
        if (n == sizeof(hex))
            return false;
        hex[n++] = s.p[i];
    }
    return text_unhex((struct str){hex, n}, out, HASH_BYTES);
}

static int check_spki(struct str s, struct err *err)
{
    uint8_t digest[HASH_BYTES];

    if (tls_parse_spki(s, digest))
        return 0;
    return err_set(err, ERR_INVALID, "\"%.*s\" is not the base64 of a SHA-256 (44 characters)", STR_ARG(s));
}

static int check_hash(struct str s, struct err *err)
{
    uint8_t digest[HASH_BYTES];

    if (tls_parse_hash(s, digest))
        return 0;
    return err_set(err, ERR_INVALID, "\"%.*s\" is not a SHA-256 in hex (64 digits, ':' between pairs or not)", STR_ARG(s));
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field_value tls_modes[] = {
    {"PASSTHROUGH", SERVER_TLS_PASSTHROUGH, FIELD_BUILT, NULL, 0},
    {"SIMPLE", SERVER_TLS_SIMPLE, FIELD_BUILT, NULL, 0},
    {"MUTUAL", SERVER_TLS_MUTUAL, FIELD_BUILT, NULL, 0},
    {"AUTO_PASSTHROUGH", SERVER_TLS_AUTO_PASSTHROUGH, FIELD_NOT_YET, NULL, 0},
    {"ISTIO_MUTUAL", SERVER_TLS_ISTIO_MUTUAL, FIELD_BUILT, NULL, 0},
    {"OPTIONAL_MUTUAL", SERVER_TLS_OPTIONAL_MUTUAL, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

const struct field_value tls_versions[] = {
    {"TLS_AUTO", TLS_VERSION_AUTO, FIELD_BUILT, NULL, 0},
    {"TLSV1_0", TLS_VERSION_1_0, FIELD_BUILT, NULL, 0},
    {"TLSV1_1", TLS_VERSION_1_1, FIELD_BUILT, NULL, 0},
    {"TLSV1_2", TLS_VERSION_1_2, FIELD_BUILT, NULL, 0},
    {"TLSV1_3", TLS_VERSION_1_3, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

static const struct field certificate_fields[] = {
    {"serverCertificate", FIELD_STRING, SCHEMA_AT(tls_certificate, server_certificate),
     .meaning = "File of the certificate chain."},
    {"privateKey", FIELD_STRING, SCHEMA_AT(tls_certificate, private_key),
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
     .meaning = "File of revoked client certificates; a list of each authority of their chains."},
    {"credentialName", FIELD_STRING, SCHEMA_AT(server_tls, credential_name),
     .meaning = "Named credential."},
    {"credentialNames", FIELD_STRINGS, SCHEMA_LIST(server_tls, credential_names), .most = 2, .flags = FIELD_NOT_EMPTY,
     .meaning = "Up to two Credentials, RSA and ECDSA, in place of credentialName: each client gets what it understands."},
    {"caCertCredentialName", FIELD_STRING, SCHEMA_AT(server_tls, ca_cert_credential_name),
     .meaning = "Credential with the authorities of client certificates, in place of those of credentialName."},
    {"tlsCertificates", FIELD_MESSAGES, SCHEMA_LIST(server_tls, certificates),
     .message = &certificate_schema, .flags = FIELD_NOT_EMPTY, .meaning = "Up to two certificates, RSA and ECDSA: each client gets what it understands."},
    {"subjectAltNames", FIELD_STRINGS, SCHEMA_LIST(server_tls, subject_alt_names),
     .meaning = "Names of clients that are accepted."},
    {"verifyCertificateSpki", FIELD_STRINGS, SCHEMA_LIST(server_tls, verify_spki), .check = check_spki,
     .meaning = "SHA-256 of the public keys of clients that are accepted, base64; or verifyCertificateHash has the certificate."},
    {"verifyCertificateHash", FIELD_STRINGS, SCHEMA_LIST(server_tls, verify_hash), .check = check_hash,
     .meaning = "SHA-256 of the certificates of clients that are accepted, hex; or verifyCertificateSpki has the key."},
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
SCHEMA(server_tls_schema, "ServerTLSSettings", server_tls, tls_fields);

/* clang-format on */

/* ---- checks ---- */

static void check_sources(const struct check *c, const struct server_tls *t)
{
    int given = (t->credential_name.n > 0) + (t->credential_names_count > 0) +
                     (t->server_certificate.n && t->private_key.n) + (t->certificates_count > 0);

    if (given > 1)
        FAIL(c, t->node, FIND_ONEOF,
             "only one of credentialName, credentialNames, serverCertificate with privateKey, and "
             "tlsCertificates may be given");
}

/* Of a mode that ends TLS with certificates of its own. */
static void check_material(const struct check *c, const struct server_tls *t, const char *mode,
                           bool needs_ca)
{
    bool named = t->credential_name.n || t->credential_names_count;

    for (size_t i = 0; !named && i < t->certificates_count; i++) {
        if (!t->certificates[i].server_certificate.n || !t->certificates[i].private_key.n)
            FAIL(c, t->certificates[i].node, FIND_REQUIRED, "a certificate needs serverCertificate and privateKey");
    }
    if (!named && t->certificates_count == 0 && !t->server_certificate.n)
        FAIL(c, t->node, FIND_REQUIRED, "mode %s needs serverCertificate, or credentialName", mode);
    if (!named && t->certificates_count == 0 && !t->private_key.n)
        FAIL(c, t->node, FIND_REQUIRED, "mode %s needs privateKey, or credentialName", mode);
    if (needs_ca && !named && !t->ca_certificates.n)
        FAIL(c, t->node, FIND_REQUIRED,
             "mode %s needs caCertificates, the authorities of client certificates; caCertCredentialName stands beside "
             "credentialName only", mode);
    if (!needs_ca && !named && t->ca_crl.n)
        FAIL(c, check_member(t->node, "caCrl"), FIND_VALUE,
             "caCrl is about client certificates, which mode %s does not ask for", mode);
    if (t->certificates_count > 2)
        WARN(c, check_member(t->node, "tlsCertificates"),
             "only the first two of tlsCertificates are used: one RSA, one ECDSA");
}

static bool has_material(const struct server_tls *t)
{
    return t->server_certificate.n || t->private_key.n || t->ca_certificates.n ||
           t->credential_name.n || t->credential_names_count || t->certificates_count;
}

/* What only narrows down whom the certificates of a mode let in. */
static bool has_idle_material(const struct server_tls *t)
{
    return t->ca_crl.n || t->ca_cert_credential_name.n;
}

static bool is_known_cipher(struct str s)
{
    static const struct str known[] = {
        STR_INIT("ECDHE-ECDSA-AES128-GCM-SHA256"), STR_INIT("ECDHE-RSA-AES128-GCM-SHA256"),
        STR_INIT("ECDHE-ECDSA-AES256-GCM-SHA384"), STR_INIT("ECDHE-RSA-AES256-GCM-SHA384"),
        STR_INIT("ECDHE-ECDSA-CHACHA20-POLY1305"), STR_INIT("ECDHE-RSA-CHACHA20-POLY1305"),
        STR_INIT("ECDHE-ECDSA-AES128-SHA"),        STR_INIT("ECDHE-RSA-AES128-SHA"),
        STR_INIT("ECDHE-ECDSA-AES256-SHA"),        STR_INIT("ECDHE-RSA-AES256-SHA"),
        STR_INIT("AES128-GCM-SHA256"),             STR_INIT("AES256-GCM-SHA384"),
        STR_INIT("AES128-SHA"),                    STR_INIT("AES256-SHA"),
        STR_INIT("DES-CBC3-SHA"),                  STR_INIT("ALL"),
    };

    for (size_t i = 0; i < COUNT(known); i++) {
        if (str_eq(s, known[i]))
            return true;
    }
    return s.n > 0 && str_has(STR("!-+@["), s.p[0]); /* an operator of OpenSSL's list language */
}

static void check_ciphers(const struct check *c, const struct server_tls *t)
{
    for (size_t i = 0; i < t->cipher_suites_count; i++) {
        const struct node *at = check_element(t->node, "cipherSuites", i);

        if (!is_known_cipher(t->cipher_suites[i]))
            WARN(c, at, "\"%.*s\" is not a cipher that is known; it is left out",
                 STR_ARG(t->cipher_suites[i]));
        for (size_t j = 0; j < i; j++) {
            if (str_eq(t->cipher_suites[i], t->cipher_suites[j])) {
                WARN(c, at, "the cipher \"%.*s\" is given twice", STR_ARG(t->cipher_suites[i]));
                break;
            }
        }
    }
    if ((t->min_version == TLS_VERSION_1_0 || t->min_version == TLS_VERSION_1_1) &&
        t->cipher_suites_count == 0)
        WARN(c, check_member(t->node, "minProtocolVersion"),
             "TLS below 1.2 also needs cipherSuites that it has");
}

/* Rules about clients, which are no rules where nobody is asked. */
static void check_clients(const struct check *c, const struct server_tls *t)
{
    const struct {
        const char *field;
        size_t count;
    } rows[] = {{"subjectAltNames", t->subject_alt_names_count},
                {"verifyCertificateSpki", t->verify_spki_count},
                {"verifyCertificateHash", t->verify_hash_count}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (rows[i].count > 0 && t->mode == SERVER_TLS_SIMPLE)
            WARN(c, check_member(t->node, rows[i].field),
                 "mode SIMPLE asks for no client certificate, so %s refuses nobody: write mode MUTUAL", rows[i].field);
    }
    if (t->verify_spki_count + t->verify_hash_count > TLS_PINS_MAX)
        FAIL(c, t->node, FIND_VALUE, "verifyCertificateSpki and verifyCertificateHash have at most %u values together",
             TLS_PINS_MAX);
}

void check_server_tls(const struct check *c, const struct server_tls *t)
{
    switch (t->mode) {
    case SERVER_TLS_SIMPLE:
        check_material(c, t, "SIMPLE", false);
        break;
    case SERVER_TLS_MUTUAL:
        check_material(c, t, "MUTUAL", true);
        break;
    case SERVER_TLS_OPTIONAL_MUTUAL:
        check_material(c, t, "OPTIONAL_MUTUAL", true);
        break;
    case SERVER_TLS_ISTIO_MUTUAL:
        if (has_material(t))
            FAIL(c, t->node, FIND_ONEOF,
                 "mode ISTIO_MUTUAL uses the mesh's certificates: it excludes credentials and files");
        else if (has_idle_material(t))
            WARN(c, t->node, "mode ISTIO_MUTUAL uses the mesh's authorities: caCrl and caCertCredentialName have no effect");
        break;
    case SERVER_TLS_PASSTHROUGH:
    case SERVER_TLS_AUTO_PASSTHROUGH:
        if (t->ca_crl.n && t->credential_name.n)
            FAIL(c, check_member(t->node, "caCrl"), FIND_ONEOF,
                 "caCrl is not for use with credentialName: the Credential has the list");
        else if (has_material(t) || has_idle_material(t))
            WARN(c, t->node, "this mode does not end TLS, so its certificates are not used");
        break;
    }
    if (t->mode != SERVER_TLS_ISTIO_MUTUAL)
        check_sources(c, t);
    check_ciphers(c, t);
    check_clients(c, t);
}
