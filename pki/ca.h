/* The mesh's certificate authority: a root that is rarely used and an issuer that signs leaves.
 *
 * Flow:      `weft server init` creates it; server/enrol.c signs with it. It decides no identity:
 *            callers do, from tokens and policy. ledger.c remembers what was issued.
 * Ownership: ca_open gives one owner until ca_close, which wipes the keys.
 * Errors:    for people.
 * Threads:   ca_sign may be called from several.
 * Limits:    CA_NAMES_MAX DNS and IP names per leaf; a leaf ends when its issuer does.
 * Units:     *_ms are milliseconds.
 *
 * The folder holds root.crt, root.key, issuer.crt, issuer.key. After creation root.key is needed
 * only to make a new issuer: an operator may move it to a safe place.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/base/buf.h"
#include "mesh/base/err.h"
#include "pki/cert.h"
#include "pki/key.h"
#include "pki/lifetime.h"

struct ca;

#define CA_DAY_MS    (24ll * 3600 * 1000)
#define CA_ROOT_MS   (3652 * CA_DAY_MS) /* 10 years */
#define CA_ISSUER_MS (1826 * CA_DAY_MS) /* 5 years */
#define CA_LEAF_MS   (3 * CA_DAY_MS)    /* default life of a leaf */
#define CA_NAMES_MAX 16u

/* What a leaf says. */
struct ca_leaf {
    struct key_pub key;
    struct str uri;        /* spiffe://..., required */
    const struct str *dns; /* DNS names of a server's leaf, or NULL */
    size_t dns_count;
    const struct addr *ips;
    size_t ip_count;
    int64_t lifetime_ms; /* from now on, 0: CA_LEAF_MS; it is backdated beyond that (lifetime.h) */
};

/* Make root and issuer in `dir` (made 0700). Fails if there is an authority already. */
int ca_create(const char *dir, struct str trust_domain, int64_t now_ms, struct err *err);

/* Checks that the parts fit each other. */
struct ca *ca_open(const char *dir, struct err *err);
struct ca *ca_close(struct ca *ca); /* NULL is fine; returns NULL */

/* Sign: appends leaf and issuer to *chain_pem. *info, if not NULL, describes the leaf. */
int ca_sign(const struct ca *ca, const struct ca_leaf *leaf, int64_t now_ms, struct buf *chain_pem,
            struct cert_info *info, struct err *err);

/* Make a new issuer below the same root and use it from now on; root.key must be in `dir`. Old
 * leaves stay valid, since they carry their issuer. */
int ca_rotate_issuer(struct ca *ca, const char *dir, int64_t now_ms, struct err *err);

struct str ca_roots_pem(const struct ca *ca); /* lives as long as the ca */
const uint8_t *ca_pin(const struct ca *ca);   /* HASH_BYTES: the root's, for join tokens */
int64_t ca_issuer_not_after_ms(const struct ca *ca);
