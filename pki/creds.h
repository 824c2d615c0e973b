/* What a TLS endpoint shows and whom it trusts: one leaf with its chain and private key, and the
 * trusted roots. Immutable; a renewal makes a new one.
 *
 * Ownership: refcounted (atomic); references may move between threads.
 * Errors:    making one checks that key and leaf fit and that the leaf chains to a root.
 * Secrets:   the key is wiped when the last reference goes; nothing prints it.
 */
#pragma once

#include "mesh/base/err.h"
#include "mesh/base/str.h"

struct buf;
struct creds;
struct key;
struct cert_chain;
struct crl;

#define CREDS_SHOWN_MAX 2u

/* PEM texts, each of which may be empty. */
struct creds_texts {
    struct { /* a server may have two, of different kinds of key: each client gets what it understands */
        struct str chain, key;
    } shown[CREDS_SHOWN_MAX]; /* what is told of a leaf is about the first */
    struct str roots;
    struct str crl; /* revoked certificates of others: pki/crl.h */
};

/* `key_pem` and `chain_pem` may both be empty for a client that only verifies (enrolment
 * with a pin, plain HTTPS). `roots_pem` may be empty for a server that asks for no client
 * certificate. */
struct creds *creds_new(struct str chain_pem, struct str key_pem, struct str roots_pem,
                        struct err *err) MUST_USE;
struct creds *creds_make(const struct creds_texts *t, struct err *err) MUST_USE;
struct creds *creds_ref(struct creds *c);
struct creds *creds_unref(struct creds *c); /* NULL is fine; returns NULL */

struct str creds_uri(const struct creds *c);         /* the leaf's SPIFFE URI, or empty */
struct str creds_fingerprint(const struct creds *c); /* SHA-256 of the leaf, hex, or empty */
struct str creds_serial(const struct creds *c);      /* hex */
int64_t creds_not_before_ms(const struct creds *c);  /* since 1970; 0 without a leaf */
int64_t creds_not_after_ms(const struct creds *c);
const uint8_t *creds_trust(const struct creds *c); /* SHA-256: tells apart whom they trust, by roots and lists */
uint64_t creds_generation(const struct creds *c); /* unique per creds_new in this process, from 1 */
void creds_tell(const struct creds *c, struct buf *out); /* the leaf as x-forwarded-client-cert tells it: cert_forward */
struct str creds_chain_pem(const struct creds *c);
struct str creds_roots_pem(const struct creds *c);

/* For proxy/wire/tls_context.c: the parts, owned by the creds; NULL where a text was empty. */
struct cert_chain *creds_chain(const struct creds *c, size_t i); /* i < CREDS_SHOWN_MAX */
struct cert_chain *creds_roots(const struct creds *c);
struct key *creds_key(const struct creds *c, size_t i);
struct crl *creds_crl(const struct creds *c);
