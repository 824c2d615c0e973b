#include "pki/crl.h"

#include <string.h>

#include <mbedtls/x509_crl.h>
#include <mbedtls/x509_crt.h>

#include "mesh/base/mem.h"
#include "pki/mbed.h"

struct crl {
    mbedtls_x509_crl x; /* a list of lists */
};

static int parse_into(mbedtls_x509_crl *x, struct str s)
{
    char *text;
    size_t at;
    int rc;

    if (!str_find(s, STR("-----BEGIN X509 CRL-----"), &at))
        return mbedtls_x509_crl_parse_der(x, (const unsigned char *)s.p, s.n);
    text = str_dup(s); /* mbedTLS wants PEM to end in NUL */
    rc = mbedtls_x509_crl_parse(x, (const unsigned char *)text, s.n + 1);
    mem_free(text);
    return rc;
}

struct crl *crl_parse(struct str s, struct err *err)
{
    struct crl *c;
    int rc;

    if (s.n == 0 || s.n > CRL_TEXT_MAX) {
        err_set(err, ERR_LIMIT, "lists of revoked certificates are 1 to %u bytes, this is %zu", CRL_TEXT_MAX, s.n);
        return NULL;
    }
    c = MEM_NEW(struct crl);
    mbedtls_x509_crl_init(&c->x);
    rc = parse_into(&c->x, s);
    if (rc != 0) {
        mbed_err(err, ERR_INVALID, rc, "not a list of revoked certificates in PEM or DER");
        return crl_free(c);
    }
    return c;
}

struct crl *crl_free(struct crl *c)
{
    if (!c)
        return NULL;
    mbedtls_x509_crl_free(&c->x);
    mem_free(c);
    return NULL;
}

struct mbedtls_x509_crl *crl_mbedtls(const struct crl *c)
{
    return (struct mbedtls_x509_crl *)(uintptr_t)&c->x; /* mbedTLS reads, but says non-const */
}

static bool is_by(const mbedtls_x509_crl *l, const mbedtls_x509_crt *x)
{
    return l->issuer_raw.len == x->issuer_raw.len && memcmp(l->issuer_raw.p, x->issuer_raw.p, x->issuer_raw.len) == 0;
}

int crl_check(const struct crl *c, const struct mbedtls_x509_crt *x, struct err *err)
{
    bool found = false;

    for (const mbedtls_x509_crl *l = &c->x; l; l = l->next) {
        if (!is_by(l, x))
            continue;
        found = true;
        if (mbedtls_x509_crt_is_revoked(x, l))
            return err_set(err, ERR_DENIED, "the certificate has been revoked by its authority");
    }
    if (!found)
        return err_set(err, ERR_DENIED, "among the lists of revoked certificates (caCrl) is none of a certificate's authority");
    return 0;
}
