/* X.509 certificates: parse, verify a chain and whom it names, check a request.
 *
 * Flow:      creds.c and proxy/wire/tls_judge.c verify peers here; server/enrol.c takes requests here.
 * Ownership: cert_parse gives a chain with one owner until cert_free; it is immutable.
 *            cert_info is a value.
 * Errors:    for people, through struct err; they say which certificate and what is wrong.
 * Threads:   a chain may be read by many.
 * Limits:    CERT_BYTES_MAX of DER per certificate, CERT_CHAIN_MAX in a peer's chain,
 *            CERT_ROOTS_MAX roots, CERT_CSR_MAX bytes of request.
 * Units:     *_ms are wall milliseconds since 1970.
 */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/err.h"
#include "mesh/base/hash.h"
#include "pki/key.h"

struct mbedtls_x509_crt;
struct mbedtls_x509_crt_profile;
struct cert_chain;

#define CERT_BYTES_MAX  (16u << 10)
#define CERT_CHAIN_MAX  4u
#define CERT_ROOTS_MAX  512u       /* a whole operating system's bundle */
#define CERT_TEXT_MAX   (1u << 20) /* bytes given to cert_parse */
#define CERT_CSR_MAX    (16u << 10)
#define CERT_URI_MAX    2049 /* SPIFFE's 2048 and the NUL */
#define CERT_NAME_MAX   256
#define CERT_FORWARD_MAX (40u << 10)
#define CERT_SERIAL_MAX 41 /* 20 bytes in hex and the NUL */

/* What a leaf is used for: its extended key usage must allow it, if it has one. */
enum cert_role { CERT_CLIENT, CERT_SERVER, CERT_EITHER };

#define CERT_ANY_TIME INT64_MIN /* as wall_ms: leave time out; the caller asks for it later */

struct cert_info {
    char uri[CERT_URI_MAX];          /* the only URI name, or "" */
    size_t uri_count;                /* SPIFFE allows exactly one */
    char subject[CERT_NAME_MAX];     /* for people; cut if long */
    char serial[CERT_SERIAL_MAX];    /* lower-case hex */
    uint8_t fingerprint[HASH_BYTES]; /* SHA-256 of the DER */
    uint8_t pin[HASH_BYTES];         /* SHA-256 of the SPKI */
    int64_t not_before_ms;
    int64_t not_after_ms;
    bool is_ca;
};

/* One DER certificate, or PEM with one or more; text around PEM blocks is ignored. */
struct cert_chain *cert_parse(struct str pem_or_der, struct err *err);
struct cert_chain *cert_free(struct cert_chain *c); /* NULL is fine; returns NULL */

size_t cert_count(const struct cert_chain *c);
struct str cert_der(const struct cert_chain *c, size_t i);  /* lives as long as the chain */
void cert_pem(const struct cert_chain *c, struct buf *out); /* all of them */
int cert_describe(const struct cert_chain *c, size_t i, struct cert_info *out, struct err *err);

/* The chain's first certificate leads over the others to one of the roots, every one of them is
 * valid at wall_ms, the leaf is no CA, fits the role and has exactly one URI name. *out, if not
 * NULL, tells what it is. Whether that name is the expected one is the caller's question. */
int cert_verify(const struct cert_chain *c, const struct cert_chain *roots, int64_t wall_ms,
                enum cert_role role, struct cert_info *out, struct err *err);
/* Is it valid at that time? For sessions that skipped cert_verify. */
int cert_check_time(const struct cert_info *info, int64_t wall_ms, struct err *err);

/* The certificate of `chain` whose public key has this pin, as roots of its own; NULL if none has.
 * A host that joins trusts nothing but the pin. The caller frees. */
struct cert_chain *cert_find_pin(const struct cert_chain *chain, const uint8_t pin[HASH_BYTES],
                                 struct err *err);

/* The public key of a request (PEM or DER), whose signature proves possession of the private one.
 * Nothing else in the request counts: names and extensions are the CA's to give. P-256 only. */
int cert_csr_key(struct str pem_or_der, struct key_pub *out, struct err *err);

/* The public key of the first certificate; fails if it is not P-256. */
int cert_public(const struct cert_chain *c, struct key_pub *out, struct err *err);

/* For pki and proxy/wire/tls_*.c only. */
struct mbedtls_x509_crt *cert_mbedtls(const struct cert_chain *c);
/* Does one of its subject alternative names say `name`: a DNS name (RFC 6125: "*." stands for one label), a URI or an IP
 * address? */
bool cert_has_name(const struct mbedtls_x509_crt *x, struct str name);
/* The rules for a leaf of the mesh: no CA, usage fits, exactly one URI name. */
int cert_check_leaf(const struct mbedtls_x509_crt *x, const struct cert_info *info,
                    enum cert_role role, struct err *err);
const char *cert_flags_text(uint32_t flags); /* mbedTLS's verification flags as a sentence */
const struct mbedtls_x509_crt_profile *cert_profile(void); /* algorithms that we accept */
int cert_describe_x509(const struct mbedtls_x509_crt *x, struct cert_info *out, struct err *err);
/* The element of x-forwarded-client-cert about a certificate: "Hash=...;Subject=...;URI=...", with Cert on demand. The hash
 * alone, if the rest takes more than CERT_FORWARD_MAX bytes. */
void cert_forward(const struct mbedtls_x509_crt *x, const uint8_t hash[HASH_BYTES], bool with_cert, struct buf *out);
struct cert_chain *cert_find_pin_x509(const struct mbedtls_x509_crt *chain,
                                      const uint8_t pin[HASH_BYTES], struct err *err);
/* cert_verify on mbedTLS's own list. */
int cert_verify_x509(struct mbedtls_x509_crt *chain, struct mbedtls_x509_crt *roots,
                     int64_t wall_ms, enum cert_role role, struct cert_info *out, struct err *err);
