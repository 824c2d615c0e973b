#include "mesh/kinds/credential.h"

#include "mesh/kinds/check.h"

static int check_pem(struct str s, const char *what, const char *mark, struct err *err)
{
    size_t at;

    if (str_find(s, STR("-----BEGIN "), &at) && str_find(s, str_from(mark), &at) &&
        str_find(s, STR("-----END "), &at))
        return 0;
    return err_set(err, ERR_INVALID, "%s must be PEM, beginning with -----BEGIN ...%s", what, mark);
}

static int check_certificate(struct str s, struct err *err)
{
    return check_pem(s, "a certificate", "CERTIFICATE-----", err);
}

static int check_key(struct str s, struct err *err)
{
    return check_pem(s, "a private key", "PRIVATE KEY-----", err);
}

static int check_crl(struct str s, struct err *err)
{
    return check_pem(s, "a list of revoked certificates", "X509 CRL-----", err);
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field credential_fields[] = {
    {"certificate", FIELD_STRING, SCHEMA_AT(credential, certificate), .check = check_certificate,
     .meaning = "Certificate in PEM, the intermediate ones behind it."},
    {"privateKey", FIELD_STRING, SCHEMA_AT(credential, private_key), .flags = FIELD_SECRET,
     .check = check_key, .meaning = "Its key in PEM; shown to nobody once applied."},
    {"caCertificates", FIELD_STRING, SCHEMA_AT(credential, ca_certificates),
     .check = check_certificate, .meaning = "Authorities of the other side's certificates, in PEM."},
    {"crl", FIELD_STRING, SCHEMA_AT(credential, crl), .check = check_crl,
     .meaning = "Certificates of the other side that are revoked, in PEM."},
};
SCHEMA(credential_schema, "Credential", credential, credential_fields);

/* clang-format on */

void credential_validate(const struct check *c, const void *spec)
{
    const struct credential *k = spec;

    if (!k->certificate.n && !k->ca_certificates.n && check_absent(k->node, "certificate") &&
        check_absent(k->node, "caCertificates"))
        FAIL(c, k->node, FIND_REQUIRED,
             "a Credential needs certificate and privateKey, or caCertificates");
    if ((k->certificate.n > 0) != (k->private_key.n > 0))
        FAIL(c, k->node, FIND_REQUIRED, "certificate and privateKey go together");
}
