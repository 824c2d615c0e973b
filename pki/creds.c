#include "pki/creds.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

#include "mesh/base/mem.h"
#include "pki/cert.h"
#include "pki/crl.h"
#include "pki/key.h"

struct creds {
    atomic_uint refs;
    uint64_t generation;
    struct {
        struct cert_chain *chain; /* NULL for a client that only verifies */
        struct key *key;
    } shown[CREDS_SHOWN_MAX];
    struct cert_chain *roots; /* NULL when nobody is verified */
    struct crl *crl; /* NULL: nobody is asked for */
    uint8_t trust[HASH_BYTES];
    struct cert_info leaf;
    char fingerprint[2 * HASH_BYTES + 1];
    char *chain_pem;
    char *roots_pem;
};

static atomic_uint_fast64_t generations;

static void hex(char *out, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = 0;
}

static int parse_shown(struct creds *c, size_t i, struct str chain_pem, struct str key_pem, struct cert_info *leaf,
                       struct err *err)
{
    struct cert_chain *chain = c->shown[i].chain = cert_parse(chain_pem, err);

    if (!chain || cert_describe(chain, 0, leaf, err) != 0)
        return err_wrap(err, "the certificate chain");
    if (cert_count(chain) > CERT_CHAIN_MAX)
        return err_set(err, ERR_LIMIT, "the chain has more than %u certificates", CERT_CHAIN_MAX);
    c->shown[i].key = key_parse_any(key_pem, err);
    if (!c->shown[i].key)
        return -1;
    if (mbedtls_pk_check_pair(&cert_mbedtls(chain)->pk, key_mbedtls(c->shown[i].key), key_random, NULL) != 0)
        return err_set(err, ERR_INVALID, "the key is not the one of the certificate of %s",
                       leaf->uri[0] ? leaf->uri : leaf->subject);
    return 0;
}

static int parse_trust(struct creds *c, const struct creds_texts *t, struct err *err)
{
    uint8_t roots[HASH_BYTES], crl[HASH_BYTES];

    if (t->roots.n > 0) {
        c->roots = cert_parse(t->roots, err);
        if (!c->roots)
            return err_wrap(err, "the trusted roots");
        c->roots_pem = str_dup(t->roots);
    }
    if (t->crl.n > 0) {
        c->crl = crl_parse(t->crl, err);
        if (!c->crl)
            return -1;
    }
    hash_sha256(t->roots, roots);
    hash_sha256(t->crl, crl);
    hash_sha256_2((struct str){(const char *)roots, sizeof(roots)}, (struct str){(const char *)crl, sizeof(crl)}, c->trust);
    return 0;
}

static int parse(struct creds *c, const struct creds_texts *t, struct err *err)
{
    struct cert_info leaf;

    if (parse_trust(c, t, err) != 0)
        return -1;
    for (size_t i = 0; i < CREDS_SHOWN_MAX; i++) {
        struct str chain = t->shown[i].chain, key = t->shown[i].key;

        if ((chain.n == 0) != (key.n == 0))
            return err_set(err, ERR_INVALID, "a certificate chain and its key come together");
        if (chain.n > 0 && parse_shown(c, i, chain, key, i == 0 ? &c->leaf : &leaf, err) != 0)
            return -1;
    }
    if (!c->shown[0].chain)
        return 0;
    hex(c->fingerprint, c->leaf.fingerprint, sizeof(c->leaf.fingerprint));
    c->chain_pem = str_dup(t->shown[0].chain);
    /* An operator's own certificate at a gateway (no URI name) has roots of other people's clients.
     * Time is left out: a host that slept for weeks renews with the certificate it has. */
    if (c->roots && c->leaf.uri_count > 0)
        return cert_verify(c->shown[0].chain, c->roots, CERT_ANY_TIME, CERT_EITHER, NULL, err);
    return 0;
}

static void free_parts(struct creds *c)
{
    for (size_t i = 0; i < CREDS_SHOWN_MAX; i++) {
        cert_free(c->shown[i].chain);
        key_free(c->shown[i].key);
    }
    cert_free(c->roots);
    crl_free(c->crl);
    free(c->chain_pem);
    free(c->roots_pem);
    free(c);
}

struct creds *creds_new(struct str chain_pem, struct str key_pem, struct str roots_pem, struct err *err)
{
    return creds_make(&(struct creds_texts){.shown = {{chain_pem, key_pem}}, .roots = roots_pem}, err);
}

struct creds *creds_make(const struct creds_texts *t, struct err *err)
{
    struct creds *c = mem_zalloc(sizeof(*c));

    atomic_init(&c->refs, 1);
    if (parse(c, t, err) != 0) {
        free_parts(c);
        return NULL;
    }
    c->generation = atomic_fetch_add(&generations, 1) + 1;
    return c;
}

struct creds *creds_ref(struct creds *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

struct creds *creds_unref(struct creds *c)
{
    if (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
        free_parts(c);
    return NULL;
}

struct str creds_uri(const struct creds *c)
{
    return str_from(c->leaf.uri);
}

struct str creds_fingerprint(const struct creds *c)
{
    return str_from(c->fingerprint);
}

struct str creds_serial(const struct creds *c)
{
    return str_from(c->leaf.serial);
}

void creds_tell(const struct creds *c, struct buf *out)
{
    if (c->shown[0].chain)
        cert_forward(cert_mbedtls(c->shown[0].chain), c->leaf.fingerprint, false, out);
}

int64_t creds_not_before_ms(const struct creds *c)
{
    return c->leaf.not_before_ms;
}

int64_t creds_not_after_ms(const struct creds *c)
{
    return c->leaf.not_after_ms;
}

const uint8_t *creds_trust(const struct creds *c)
{
    return c->trust;
}

uint64_t creds_generation(const struct creds *c)
{
    return c->generation;
}

struct str creds_chain_pem(const struct creds *c)
{
    return str_from(c->chain_pem);
}

struct str creds_roots_pem(const struct creds *c)
{
    return str_from(c->roots_pem);
}

struct cert_chain *creds_chain(const struct creds *c, size_t i)
{
    return c->shown[i].chain;
}

struct cert_chain *creds_roots(const struct creds *c)
{
    return c->roots;
}

struct key *creds_key(const struct creds *c, size_t i)
{
    return c->shown[i].key;
}

struct crl *creds_crl(const struct creds *c)
{
    return c->crl;
}
