/* Lists of revoked certificates: who is on one is refused, though its chain is right.
 *
 * Flow:      creds.c reads them; proxy/wire/tls_judge.c asks, beside mbedTLS, which checks a list's signature and dates.
 * Ownership: crl_parse gives lists with one owner until crl_free; they are immutable.
 * Errors:    for people, through struct err.
 * Threads:   lists may be read by many.
 * Limits:    CRL_TEXT_MAX bytes of text.
 * Source:    RFC 5280 section 5. As with Envoy, whoever gives lists must give one of every authority of a chain: a
 *            certificate of which no list tells is refused.
 */
#pragma once

#include "mesh/base/err.h"
#include "mesh/base/str.h"

struct mbedtls_x509_crl;
struct mbedtls_x509_crt;
struct crl;

#define CRL_TEXT_MAX (4u << 20)

/* PEM with one or more lists, or the DER of one. */
struct crl *crl_parse(struct str pem_or_der, struct err *err) MUST_USE;
struct crl *crl_free(struct crl *c); /* NULL is fine; returns NULL */

/* For pki and proxy/wire/tls_*.c only. */
struct mbedtls_x509_crl *crl_mbedtls(const struct crl *c);
/* Its issuer has given a list, and it is not on it. Whether the list is signed and still valid is mbedTLS's question. */
int crl_check(const struct crl *c, const struct mbedtls_x509_crt *x, struct err *err);
