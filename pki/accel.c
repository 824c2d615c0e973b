/* AES-GCM and P-256 for mbedTLS, by nettle and hogweed.
 *
 * mbedTLS's portable primitives are ten times slower than the processor allows, so our build of it
 * (test/deps.sh) leaves these functions out by its MBEDTLS_*_ALT options and the linker finds them here. Other
 * curves take the plain way, by mbedTLS's own point arithmetic. `make ACCEL=0` builds without this file.
 *
 * Secrets: scalars go to hogweed and back in fixed-length loops; nettle's AES-GCM and hogweed's P-256 have no
 * branch or address that depends on a secret. mpz_t drops leading zero limbs: what that tells has a chance of
 * 2^-64 a number. Verification handles public values only.
 * Threads: a context belongs to one thread at a time, as in mbedTLS.
 * Errors: mbedTLS's codes.
 */
#define MBEDTLS_ALLOW_PRIVATE_ACCESS /* the coordinate X of a point, for curves without a fast way */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/cipher.h>
#include <mbedtls/ecdh.h>
#include <mbedtls/ecdsa.h>
#include <mbedtls/ecp.h>
#include <mbedtls/gcm.h>
#include <nettle/dsa.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecc.h>
#include <nettle/ecdsa.h>
#include <nettle/gcm.h>
#include <nettle/memops.h>

#include "mesh/base/base.h"

/* ---- AES-GCM ---- */

#define BLOCK 16

/* A key's schedule and tables, 4.3 KB. Making them takes less than a record does, so a connection keeps its key only
 * and each thread has one of these for whatever message is next. */
struct accel_gcm {
    uint64_t id; /* of the key that is in here; 0: none */
    int mode;
    uint8_t key_bytes;
    uint8_t partial[BLOCK]; /* input of mbedtls_gcm_update that is no whole block yet */
    size_t partial_bytes;
    union {
        struct gcm_aes128_ctx k16;
        struct gcm_aes192_ctx k24;
        struct gcm_aes256_ctx k32;
    } u;
};

static _Thread_local struct accel_gcm here;
static atomic_ullong last_id;

void mbedtls_gcm_init(mbedtls_gcm_context *g)
{
    *g = (mbedtls_gcm_context){0};
}

static void stream_free(mbedtls_gcm_context *g)
{
    if (!g->stream)
        return;
    explicit_bzero(g->stream, sizeof(*g->stream));
    free(g->stream);
    g->stream = NULL;
}

void mbedtls_gcm_free(mbedtls_gcm_context *g)
{
    if (!g)
        return;
    stream_free(g);
    if (here.id == g->id)
        explicit_bzero(&here, sizeof(here));
    explicit_bzero(g, sizeof(*g));
}

int mbedtls_gcm_setkey(mbedtls_gcm_context *g, mbedtls_cipher_id_t cipher, const unsigned char *key,
                       unsigned key_bits)
{
    if (cipher != MBEDTLS_CIPHER_ID_AES || (key_bits != 128 && key_bits != 192 && key_bits != 256))
        return MBEDTLS_ERR_GCM_BAD_INPUT;
    mbedtls_gcm_free(g);
    g->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
    g->key_bytes = (uint8_t)(key_bits / 8);
    memcpy(g->key, key, g->key_bytes);
    return 0;
}

static void gcm_key(struct accel_gcm *s, const mbedtls_gcm_context *g)
{
    if (s->id == g->id)
        return;
    s->id = g->id;
    s->key_bytes = g->key_bytes;
    if (s->key_bytes == 16)
        gcm_aes128_set_key(&s->u.k16, g->key);
    else if (s->key_bytes == 24)
        gcm_aes192_set_key(&s->u.k24, g->key);
    else
        gcm_aes256_set_key(&s->u.k32, g->key);
}

static void gcm_begin(struct accel_gcm *s, int mode, const uint8_t *iv, size_t n)
{
    s->mode = mode;
    s->partial_bytes = 0;
    if (s->key_bytes == 16)
        gcm_aes128_set_iv(&s->u.k16, n, iv);
    else if (s->key_bytes == 24)
        gcm_aes192_set_iv(&s->u.k24, n, iv);
    else
        gcm_aes256_set_iv(&s->u.k32, n, iv);
}

static void gcm_authenticate(struct accel_gcm *s, const uint8_t *p, size_t n)
{
    if (s->key_bytes == 16)
        gcm_aes128_update(&s->u.k16, n, p);
    else if (s->key_bytes == 24)
        gcm_aes192_update(&s->u.k24, n, p);
    else
        gcm_aes256_update(&s->u.k32, n, p);
}

/* Whole blocks, but for the last call of a message. */
static void gcm_crypt(struct accel_gcm *s, uint8_t *out, const uint8_t *in, size_t n)
{
    bool seal = s->mode == MBEDTLS_GCM_ENCRYPT;

    if (s->key_bytes == 16)
        (seal ? gcm_aes128_encrypt : gcm_aes128_decrypt)(&s->u.k16, n, out, in);
    else if (s->key_bytes == 24)
        (seal ? gcm_aes192_encrypt : gcm_aes192_decrypt)(&s->u.k24, n, out, in);
    else
        (seal ? gcm_aes256_encrypt : gcm_aes256_decrypt)(&s->u.k32, n, out, in);
}

static void gcm_tag(struct accel_gcm *s, uint8_t *tag, size_t n)
{
    if (s->key_bytes == 16)
        gcm_aes128_digest(&s->u.k16, n, tag);
    else if (s->key_bytes == 24)
        gcm_aes192_digest(&s->u.k24, n, tag);
    else
        gcm_aes256_digest(&s->u.k32, n, tag);
}

/* NIST SP 800-38D 5.2.1.2: tags of 4, 8 and 12 to 16 bytes; as mbedTLS, all from 4 on are taken. */
static bool gcm_lengths_ok(size_t iv_bytes, size_t tag_bytes)
{
    return iv_bytes > 0 && tag_bytes >= 4 && tag_bytes <= GCM_DIGEST_SIZE;
}

int mbedtls_gcm_crypt_and_tag(mbedtls_gcm_context *g, int mode, size_t length,
                              const unsigned char *iv, size_t iv_bytes, const unsigned char *add,
                              size_t add_bytes, const unsigned char *in, unsigned char *out,
                              size_t tag_bytes, unsigned char *tag)
{
    if (g->id == 0 || !gcm_lengths_ok(iv_bytes, tag_bytes))
        return MBEDTLS_ERR_GCM_BAD_INPUT;
    gcm_key(&here, g);
    gcm_begin(&here, mode, iv, iv_bytes);
    gcm_authenticate(&here, add, add_bytes);
    gcm_crypt(&here, out, in, length);
    gcm_tag(&here, tag, tag_bytes);
    return 0;
}

int mbedtls_gcm_auth_decrypt(mbedtls_gcm_context *g, size_t length, const unsigned char *iv,
                             size_t iv_bytes, const unsigned char *add, size_t add_bytes,
                             const unsigned char *tag, size_t tag_bytes, const unsigned char *in,
                             unsigned char *out)
{
    uint8_t made[GCM_DIGEST_SIZE];
    int rc = mbedtls_gcm_crypt_and_tag(g, MBEDTLS_GCM_DECRYPT, length, iv, iv_bytes, add, add_bytes,
                                       in, out, tag_bytes, made);

    if (rc)
        return rc;
    if (!memeql_sec(made, tag, tag_bytes)) {
        explicit_bzero(out, length);
        return MBEDTLS_ERR_GCM_AUTH_FAILED;
    }
    return 0;
}

int mbedtls_gcm_starts(mbedtls_gcm_context *g, int mode, const unsigned char *iv, size_t iv_bytes)
{
    if (g->id == 0 || iv_bytes == 0)
        return MBEDTLS_ERR_GCM_BAD_INPUT;
    if (!g->stream)
        g->stream = calloc(1, sizeof(*g->stream));
    if (!g->stream)
        return MBEDTLS_ERR_CIPHER_ALLOC_FAILED;
    gcm_key(g->stream, g);
    gcm_begin(g->stream, mode, iv, iv_bytes);
    return 0;
}

/* nettle takes additional data in whole blocks but for the last call: so one call a message. */
int mbedtls_gcm_update_ad(mbedtls_gcm_context *g, const unsigned char *add, size_t n)
{
    if (!g->stream)
        return MBEDTLS_ERR_GCM_BAD_INPUT;
    gcm_authenticate(g->stream, add, n);
    return 0;
}

/* Gives whole blocks out and keeps the rest for the next call or mbedtls_gcm_finish. */
int mbedtls_gcm_update(mbedtls_gcm_context *g, const unsigned char *in, size_t n,
                       unsigned char *out, size_t out_size, size_t *out_bytes)
{
    struct accel_gcm *s = g->stream;
    size_t whole, fill;

    if (!s)
        return MBEDTLS_ERR_GCM_BAD_INPUT;
    whole = (s->partial_bytes + n) / BLOCK * BLOCK;
    if (out_size < whole)
        return MBEDTLS_ERR_GCM_BUFFER_TOO_SMALL;
    *out_bytes = whole;
    if (s->partial_bytes > 0) {
        fill = MIN(BLOCK - s->partial_bytes, n);
        memcpy(s->partial + s->partial_bytes, in, fill);
        s->partial_bytes += fill;
        in += fill;
        n -= fill;
        if (s->partial_bytes < BLOCK)
            return 0;
        gcm_crypt(s, out, s->partial, BLOCK);
        out += BLOCK;
        whole -= BLOCK;
    }
    gcm_crypt(s, out, in, whole);
    s->partial_bytes = n - whole;
    memcpy(s->partial, in + whole, s->partial_bytes);
    return 0;
}

int mbedtls_gcm_finish(mbedtls_gcm_context *g, unsigned char *out, size_t out_size,
                       size_t *out_bytes, unsigned char *tag, size_t tag_bytes)
{
    struct accel_gcm *s = g->stream;

    if (!s || !gcm_lengths_ok(1, tag_bytes))
        return MBEDTLS_ERR_GCM_BAD_INPUT;
    if (out_size < s->partial_bytes)
        return MBEDTLS_ERR_GCM_BUFFER_TOO_SMALL;
    *out_bytes = s->partial_bytes;
    gcm_crypt(s, out, s->partial, s->partial_bytes);
    gcm_tag(s, tag, tag_bytes);
    stream_free(g);
    return 0;
}

/* ---- P-256: numbers and points between the two libraries ---- */

#define P256_BYTES 32
#define LIMB_BYTES (GMP_NUMB_BITS / 8)
#define P256_LIMBS (P256_BYTES / LIMB_BYTES)
#define POINT_BYTES (1 + 2 * P256_BYTES) /* uncompressed, SEC1 2.3.3 */

static void number_load(mpz_t z, const uint8_t b[P256_BYTES])
{
    mp_limb_t *limbs = mpz_limbs_write(z, P256_LIMBS);

    for (size_t i = 0; i < P256_LIMBS; i++) {
        mp_limb_t limb = 0;

        for (size_t k = 0; k < LIMB_BYTES; k++)
            limb = limb << 8 | b[P256_BYTES - (i + 1) * LIMB_BYTES + k];
        limbs[i] = limb;
    }
    mpz_limbs_finish(z, P256_LIMBS);
}

static void number_store(uint8_t b[P256_BYTES], const mpz_t z)
{
    for (size_t i = 0; i < P256_BYTES; i++)
        b[P256_BYTES - 1 - i] =
            (uint8_t)(mpz_getlimbn(z, (mp_size_t)(i / LIMB_BYTES)) >> (i % LIMB_BYTES * 8));
}

static void number_wipe(mpz_t z)
{
    explicit_bzero(mpz_limbs_write(z, P256_LIMBS), P256_LIMBS * sizeof(mp_limb_t));
    mpz_limbs_finish(z, 0);
    mpz_clear(z);
}

/* mbedTLS's number as nettle's; one of more than 256 bits is refused. The caller clears. */
static int number_in(mpz_t z, const mbedtls_mpi *m)
{
    uint8_t b[P256_BYTES];
    int rc = mbedtls_mpi_write_binary(m, b, sizeof(b));

    mpz_init2(z, P256_BYTES * 8);
    if (rc == 0 && mbedtls_mpi_cmp_int(m, 0) < 0)
        rc = MBEDTLS_ERR_MPI_BAD_INPUT_DATA;
    if (rc == 0)
        number_load(z, b);
    explicit_bzero(b, sizeof(b));
    return rc;
}

static int number_out(mbedtls_mpi *m, const mpz_t z)
{
    uint8_t b[P256_BYTES];
    int rc;

    number_store(b, z);
    rc = mbedtls_mpi_read_binary(m, b, sizeof(b));
    explicit_bzero(b, sizeof(b));
    return rc;
}

/* 1 to order - 1, or MBEDTLS_ERR_ECP_INVALID_KEY. The caller clears. */
static int scalar_in(struct ecc_scalar *s, const mbedtls_mpi *m)
{
    mpz_t z;
    int rc = number_in(z, m);

    ecc_scalar_init(s, nettle_get_secp_256r1());
    if (rc || !ecc_scalar_set(s, z))
        rc = MBEDTLS_ERR_ECP_INVALID_KEY;
    number_wipe(z);
    return rc;
}

/* A point of the curve, not infinity, or MBEDTLS_ERR_ECP_INVALID_KEY. The caller clears. */
static int point_in(struct ecc_point *p, const mbedtls_ecp_group *grp, const mbedtls_ecp_point *q)
{
    uint8_t b[POINT_BYTES];
    size_t n = 0;
    mpz_t x, y;
    int rc =
        mbedtls_ecp_point_write_binary(grp, q, MBEDTLS_ECP_PF_UNCOMPRESSED, &n, b, sizeof(b));

    ecc_point_init(p, nettle_get_secp_256r1());
    if (rc || n != POINT_BYTES)
        return MBEDTLS_ERR_ECP_INVALID_KEY;
    mpz_init(x);
    mpz_init(y);
    number_load(x, b + 1);
    number_load(y, b + 1 + P256_BYTES);
    if (!ecc_point_set(p, x, y))
        rc = MBEDTLS_ERR_ECP_INVALID_KEY;
    mpz_clear(x);
    mpz_clear(y);
    return rc;
}

static bool is_p256(const mbedtls_ecp_group *grp)
{
    return grp->id == MBEDTLS_ECP_DP_SECP256R1;
}

/* ---- ECDH ---- */

int mbedtls_ecdh_gen_public(mbedtls_ecp_group *grp, mbedtls_mpi *d, mbedtls_ecp_point *q,
                            int (*f_rng)(void *, unsigned char *, size_t), void *p_rng)
{
    uint8_t b[POINT_BYTES] = {4};
    struct ecc_scalar s;
    struct ecc_point p;
    mpz_t x, y;
    int rc = mbedtls_ecp_gen_privkey(grp, d, f_rng, p_rng);

    if (rc)
        return rc;
    if (!is_p256(grp))
        return mbedtls_ecp_mul(grp, q, d, &grp->G, f_rng, p_rng);
    rc = scalar_in(&s, d);
    if (rc == 0) {
        ecc_point_init(&p, nettle_get_secp_256r1());
        ecc_point_mul_g(&p, &s);
        mpz_init(x);
        mpz_init(y);
        ecc_point_get(&p, x, y);
        number_store(b + 1, x);
        number_store(b + 1 + P256_BYTES, y);
        rc = mbedtls_ecp_point_read_binary(grp, q, b, sizeof(b));
        mpz_clear(x);
        mpz_clear(y);
        ecc_point_clear(&p);
    }
    ecc_scalar_clear(&s);
    return rc;
}

static int shared_plain(mbedtls_ecp_group *grp, mbedtls_mpi *z, const mbedtls_ecp_point *q,
                        const mbedtls_mpi *d, int (*f_rng)(void *, unsigned char *, size_t),
                        void *p_rng)
{
    mbedtls_ecp_point p;
    int rc;

    mbedtls_ecp_point_init(&p);
    rc = mbedtls_ecp_mul(grp, &p, d, q, f_rng, p_rng);
    if (rc == 0 && mbedtls_ecp_is_zero(&p))
        rc = MBEDTLS_ERR_ECP_BAD_INPUT_DATA;
    if (rc == 0)
        rc = mbedtls_mpi_copy(z, &p.X);
    mbedtls_ecp_point_free(&p);
    return rc;
}

int mbedtls_ecdh_compute_shared(mbedtls_ecp_group *grp, mbedtls_mpi *z, const mbedtls_ecp_point *q,
                                const mbedtls_mpi *d,
                                int (*f_rng)(void *, unsigned char *, size_t), void *p_rng)
{
    struct ecc_scalar s;
    struct ecc_point p;
    mpz_t x;
    int rc, bad;

    if (!is_p256(grp))
        return shared_plain(grp, z, q, d, f_rng, p_rng);
    rc = scalar_in(&s, d);
    bad = point_in(&p, grp, q);
    if (rc == 0)
        rc = bad;
    if (rc == 0) {
        /* The order is prime and the point is on the curve: the product is never infinity. */
        ecc_point_mul(&p, &s, &p);
        mpz_init2(x, P256_BYTES * 8);
        ecc_point_get(&p, x, NULL);
        rc = number_out(z, x);
        number_wipe(x);
    }
    ecc_point_clear(&p);
    ecc_scalar_clear(&s);
    return rc;
}

/* ---- ECDSA, SEC1 4.1 ---- */

/* The leftmost bits of a hash as a number below the order. */
static int hash_number(const mbedtls_ecp_group *grp, mbedtls_mpi *e, const uint8_t *hash, size_t n)
{
    size_t used = MIN(n, (grp->nbits + 7) / 8);
    int rc = mbedtls_mpi_read_binary(e, hash, used);

    if (rc == 0 && used * 8 > grp->nbits)
        rc = mbedtls_mpi_shift_r(e, used * 8 - grp->nbits);
    return rc ? rc : mbedtls_mpi_mod_mpi(e, e, &grp->N);
}

/* s = t (e + r d) / (t k): the random t hides what the inversion works on. */
static int sign_plain(mbedtls_ecp_group *grp, mbedtls_mpi *r, mbedtls_mpi *s, const mbedtls_mpi *d,
                      const uint8_t *hash, size_t n, int (*f_rng)(void *, unsigned char *, size_t),
                      void *p_rng)
{
    mbedtls_mpi e, k, t;
    mbedtls_ecp_point p;
    int rc;

    mbedtls_mpi_init(&e);
    mbedtls_mpi_init(&k);
    mbedtls_mpi_init(&t);
    mbedtls_ecp_point_init(&p);
    do {
        rc = mbedtls_ecp_gen_keypair(grp, &k, &p, f_rng, p_rng);
        rc = rc ? rc : mbedtls_mpi_mod_mpi(r, &p.X, &grp->N);
        rc = rc ? rc : mbedtls_ecp_gen_privkey(grp, &t, f_rng, p_rng);
        rc = rc ? rc : hash_number(grp, &e, hash, n);
        rc = rc ? rc : mbedtls_mpi_mul_mpi(s, r, d);
        rc = rc ? rc : mbedtls_mpi_add_mpi(&e, &e, s);
        rc = rc ? rc : mbedtls_mpi_mul_mpi(&e, &e, &t);
        rc = rc ? rc : mbedtls_mpi_mul_mpi(&k, &k, &t);
        rc = rc ? rc : mbedtls_mpi_mod_mpi(&k, &k, &grp->N);
        rc = rc ? rc : mbedtls_mpi_inv_mod(s, &k, &grp->N);
        rc = rc ? rc : mbedtls_mpi_mul_mpi(s, s, &e);
        rc = rc ? rc : mbedtls_mpi_mod_mpi(s, s, &grp->N);
    } while (rc == 0 && (mbedtls_mpi_cmp_int(r, 0) == 0 || mbedtls_mpi_cmp_int(s, 0) == 0));
    mbedtls_ecp_point_free(&p);
    mbedtls_mpi_free(&t);
    mbedtls_mpi_free(&k);
    mbedtls_mpi_free(&e);
    return rc;
}

struct draw {
    int (*f_rng)(void *, unsigned char *, size_t);
    void *p_rng;
    int rc; /* the first failure: what was made from it must not leave */
};

static void draw_bytes(void *arg, size_t n, uint8_t *to)
{
    struct draw *d = arg;

    if (d->rc == 0)
        d->rc = d->f_rng(d->p_rng, to, n);
    if (d->rc)
        memset(to, 1, n); /* any number but 0, which would be drawn again for ever */
}

int mbedtls_ecdsa_sign(mbedtls_ecp_group *grp, mbedtls_mpi *r, mbedtls_mpi *s, const mbedtls_mpi *d,
                       const unsigned char *hash, size_t n,
                       int (*f_rng)(void *, unsigned char *, size_t), void *p_rng)
{
    struct draw draw = {.f_rng = f_rng, .p_rng = p_rng};
    struct dsa_signature sig;
    struct ecc_scalar key;
    int rc;

    if (!mbedtls_ecdsa_can_do(grp->id))
        return MBEDTLS_ERR_ECP_BAD_INPUT_DATA;
    if (mbedtls_mpi_cmp_int(d, 1) < 0 || mbedtls_mpi_cmp_mpi(d, &grp->N) >= 0)
        return MBEDTLS_ERR_ECP_INVALID_KEY;
    if (!is_p256(grp))
        return sign_plain(grp, r, s, d, hash, n, f_rng, p_rng);
    rc = scalar_in(&key, d);
    if (rc == 0) {
        dsa_signature_init(&sig);
        ecdsa_sign(&key, &draw, draw_bytes, n, hash, &sig);
        rc = draw.rc;
        rc = rc ? rc : number_out(r, sig.r);
        rc = rc ? rc : number_out(s, sig.s);
        dsa_signature_clear(&sig);
    }
    ecc_scalar_clear(&key);
    return rc;
}

static bool in_order(const mbedtls_ecp_group *grp, const mbedtls_mpi *m)
{
    return mbedtls_mpi_cmp_int(m, 1) >= 0 && mbedtls_mpi_cmp_mpi(m, &grp->N) < 0;
}

static int verify_plain(mbedtls_ecp_group *grp, const uint8_t *hash, size_t n,
                        const mbedtls_ecp_point *q, const mbedtls_mpi *r, const mbedtls_mpi *s)
{
    mbedtls_mpi e, w, u;
    mbedtls_ecp_point p;
    int rc;

    mbedtls_mpi_init(&e);
    mbedtls_mpi_init(&w);
    mbedtls_mpi_init(&u);
    mbedtls_ecp_point_init(&p);
    rc = hash_number(grp, &e, hash, n);
    rc = rc ? rc : mbedtls_mpi_inv_mod(&w, s, &grp->N);
    rc = rc ? rc : mbedtls_mpi_mul_mpi(&u, &e, &w);
    rc = rc ? rc : mbedtls_mpi_mod_mpi(&u, &u, &grp->N);
    rc = rc ? rc : mbedtls_mpi_mul_mpi(&w, r, &w);
    rc = rc ? rc : mbedtls_mpi_mod_mpi(&w, &w, &grp->N);
    rc = rc ? rc : mbedtls_ecp_muladd(grp, &p, &u, &grp->G, &w, q);
    if (rc == 0 && mbedtls_ecp_is_zero(&p))
        rc = MBEDTLS_ERR_ECP_VERIFY_FAILED;
    rc = rc ? rc : mbedtls_mpi_mod_mpi(&u, &p.X, &grp->N);
    if (rc == 0 && mbedtls_mpi_cmp_mpi(&u, r) != 0)
        rc = MBEDTLS_ERR_ECP_VERIFY_FAILED;
    mbedtls_ecp_point_free(&p);
    mbedtls_mpi_free(&u);
    mbedtls_mpi_free(&w);
    mbedtls_mpi_free(&e);
    return rc;
}

int mbedtls_ecdsa_verify(mbedtls_ecp_group *grp, const unsigned char *hash, size_t n,
                         const mbedtls_ecp_point *q, const mbedtls_mpi *r, const mbedtls_mpi *s)
{
    struct dsa_signature sig;
    struct ecc_point p;
    int rc;

    if (!mbedtls_ecdsa_can_do(grp->id))
        return MBEDTLS_ERR_ECP_BAD_INPUT_DATA;
    if (!in_order(grp, r) || !in_order(grp, s))
        return MBEDTLS_ERR_ECP_VERIFY_FAILED;
    if (!is_p256(grp))
        return verify_plain(grp, hash, n, q, r, s);
    rc = point_in(&p, grp, q);
    if (rc == 0) {
        int bad_r = number_in(sig.r, r), bad_s = number_in(sig.s, s);

        /* hogweed cannot add a point to itself, which a made-up signature can ask for: what it refuses is judged
         * again. */
        if (bad_r || bad_s || !ecdsa_verify(&p, n, hash, &sig))
            rc = verify_plain(grp, hash, n, q, r, s);
        mpz_clear(sig.r);
        mpz_clear(sig.s);
    }
    ecc_point_clear(&p);
    return rc;
}
