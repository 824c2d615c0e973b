/* P-256 keys: made on the machine that uses them, kept in 0600 files, wiped when freed.
 *
 * Flow:      agent/certs.c makes keys and requests, ca.c signs with one, creds.c carries one.
 * Ownership: a key has one owner until key_free; it is immutable, so it may be lent.
 * Errors:    for people, through struct err. A failing random source ends the process.
 * Threads:   a key may be read by many.
 * Limits:    KEY_PEM_MAX bytes of PEM.
 */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/err.h"
#include "mesh/base/hash.h"

struct mbedtls_pk_context;
struct key;

#define KEY_PUB_BYTES 91   /* DER SubjectPublicKeyInfo of an uncompressed P-256 point */
#define KEY_PEM_MAX   1024 /* with the NUL */

/* A public key, comparable by memcmp. */
struct key_pub {
    uint8_t der[KEY_PUB_BYTES];
};

struct key *key_new(void);
struct key *key_free(struct key *k); /* wipes; NULL is fine; returns NULL */

/* PEM, SEC 1 ("EC PRIVATE KEY") or PKCS #8, no passphrase. Another curve or kind is refused. */
struct key *key_parse(struct str pem, struct err *err);
/* Also RSA and other curves: the key of an operator's own certificate at a gateway. key_public and
 * key_csr are not for those. */
struct key *key_parse_any(struct str pem, struct err *err);
/* Refuses a file that others than its owner may read (the message says chmod). */
struct key *key_load(const char *path, struct err *err);
int key_save(const struct key *k, const char *path, struct err *err); /* 0600, atomic */
/* The key as PEM; the caller wipes `out` with key_wipe. Returns its length without the NUL. */
size_t key_pem(const struct key *k, char out[KEY_PEM_MAX]);

void key_public(const struct key *k, struct key_pub *out);
void key_pin(const struct key_pub *pub, uint8_t out[HASH_BYTES]); /* SHA-256 of the SPKI */

/* A certificate request (PEM) that proves possession and names nothing. */
int key_csr(const struct key *k, struct buf *out, struct err *err);

void key_wipe(void *p, size_t n); /* clears, and the compiler may not leave it out */

/* For pki and proxy/wire/tls_*.c only. key_random is mbedTLS's random callback, on getrandom(2): it
 * has no state, so it needs no seed and no lock, and survives fork. */
struct mbedtls_pk_context *key_mbedtls(const struct key *k);
bool key_public_of(const struct mbedtls_pk_context *pk, struct key_pub *out) MUST_USE; /* P-256? */
int key_random(void *unused, unsigned char *out, size_t n);
