#include "pki/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mbedtls/ecp.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_csr.h>

#include "mesh/base/file.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "pki/mbed.h"

struct key {
    mbedtls_pk_context pk;
};

#define KEY_TEXT_MAX 16384 /* RSA keys with their parameters */
#define RSA_BITS_MIN 2048

/* SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING { 04 ... } }: all of a P-256 SPKI
 * but its point. */
static const uint8_t p256_head[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                    0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};

int key_random(void *unused, unsigned char *out, size_t n)
{
    (void)unused; /* mbedTLS's signature */
    text_random(out, n);
    return 0;
}

void key_wipe(void *p, size_t n)
{
    if (n) /* an empty buf has no memory */
        explicit_bzero(p, n);
}

static struct key *key_alloc(void)
{
    struct key *k = mem_zalloc(sizeof(*k));

    mbedtls_pk_init(&k->pk);
    return k;
}

struct key *key_new(void)
{
    struct key *k = key_alloc();

    /* These fail only when memory or the random source is gone. */
    if (mbedtls_pk_setup(&k->pk, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)) != 0 ||
        mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(k->pk), key_random, NULL) != 0)
        abort();
    return k;
}

struct key *key_free(struct key *k)
{
    if (!k)
        return NULL;
    mbedtls_pk_free(&k->pk); /* clears the scalar */
    key_wipe(k, sizeof(*k));
    free(k);
    return NULL;
}

struct mbedtls_pk_context *key_mbedtls(const struct key *k)
{
    /* mbedTLS wants it writable but does not write: the tables of P-256 are static. */
    return (struct mbedtls_pk_context *)(uintptr_t)&k->pk;
}

bool key_public_of(const struct mbedtls_pk_context *pk, struct key_pub *out)
{
    uint8_t der[1024];
    int n = mbedtls_pk_write_pubkey_der(pk, der, sizeof(der)); /* at the end of der */
    const uint8_t *at = der + sizeof(der) - KEY_PUB_BYTES;

    if (n != KEY_PUB_BYTES || memcmp(at, p256_head, sizeof(p256_head)) != 0)
        return false;
    memcpy(out->der, at, KEY_PUB_BYTES);
    return true;
}

void key_public(const struct key *k, struct key_pub *out)
{
    bool is_p256 = key_public_of(&k->pk, out);

    assert(is_p256);
    (void)is_p256; /* read only by assert */
}

void key_pin(const struct key_pub *pub, uint8_t out[HASH_BYTES])
{
    hash_sha256((struct str){(const char *)pub->der, sizeof(pub->der)}, out);
}

struct key *key_parse_any(struct str pem, struct err *err)
{
    struct key *k = key_alloc();
    unsigned char *text = NULL;
    int rc;

    if (pem.n == 0 || pem.n > KEY_TEXT_MAX) {
        err_set(err, ERR_INVALID, "a key is 1 to %d bytes of PEM, this is %zu", KEY_TEXT_MAX,
                pem.n);
        return key_free(k);
    }
    text = mem_zalloc(pem.n + 1);
    memcpy(text, pem.p, pem.n);
    rc = mbedtls_pk_parse_key(&k->pk, text, pem.n + 1, NULL, 0, key_random, NULL);
    key_wipe(text, pem.n + 1);
    free(text);
    if (rc != 0) {
        mbed_err(err, ERR_INVALID, rc, "not a PEM private key without passphrase");
        return key_free(k);
    }
    if (mbedtls_pk_can_do(&k->pk, MBEDTLS_PK_RSA) && mbedtls_pk_get_bitlen(&k->pk) < RSA_BITS_MIN) {
        err_set(err, ERR_INVALID, "the RSA key has %zu bits; use %d or more, or P-256",
                mbedtls_pk_get_bitlen(&k->pk), RSA_BITS_MIN);
        return key_free(k);
    }
    return k;
}

struct key *key_parse(struct str pem, struct err *err)
{
    struct key *k = key_parse_any(pem, err);
    struct key_pub pub;

    if (k && !key_public_of(&k->pk, &pub)) {
        err_set(err, ERR_INVALID,
                "the key is not P-256; make one with: openssl ecparam -genkey "
                "-name prime256v1 -noout");
        k = key_free(k);
    }
    return k;
}

/* Reads into the caller's array, not through a growing buffer, so that no copy of a key is left in
 * freed memory. */
static int read_key_file(const char *path, char *out, size_t max, size_t *n, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    size_t have = 0;
    int rc = -1;

    if (fd < 0)
        return err_errno(err, errno == ENOENT ? ERR_MISSING : ERR_IO, "cannot open the key %s",
                         path);
    if (fstat(fd, &st) != 0) {
        err_errno(err, ERR_IO, "cannot look at the key %s", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0) {
        err_set(err, ERR_DENIED, "the key %s may be read by others; run: chmod 600 %s", path, path);
        goto out;
    }
    for (;;) {
        ssize_t got = read(fd, out + have, max - have);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            err_errno(err, ERR_IO, "cannot read the key %s", path);
            goto out;
        }
        if (got == 0)
            break;
        have += (size_t)got;
        if (have == max) {
            err_set(err, ERR_LIMIT, "the key %s is larger than %zu bytes", path, max - 1);
            goto out;
        }
    }
    *n = have;
    rc = 0;
out:
    close(fd);
    return rc;
}

struct key *key_load(const char *path, struct err *err)
{
    char text[KEY_PEM_MAX];
    size_t n = 0;
    struct key *k = NULL;

    if (read_key_file(path, text, sizeof(text), &n, err) == 0) {
        k = key_parse((struct str){text, n}, err);
        if (!k)
            err_wrap(err, "%s", path);
    }
    key_wipe(text, sizeof(text));
    return k;
}

size_t key_pem(const struct key *k, char out[KEY_PEM_MAX])
{
    int rc = mbedtls_pk_write_key_pem(&k->pk, (unsigned char *)out, KEY_PEM_MAX);

    assert(rc == 0); /* a P-256 key is 240 bytes of PEM */
    (void)rc;        /* read only by assert */
    return strlen(out);
}

int key_save(const struct key *k, const char *path, struct err *err)
{
    char text[KEY_PEM_MAX];
    size_t n = key_pem(k, text);
    int rc = file_write(path, (struct str){text, n}, 0600, err);

    key_wipe(text, sizeof(text));
    return rc;
}

int key_csr(const struct key *k, struct buf *out, struct err *err)
{
    mbedtls_x509write_csr csr;
    unsigned char pem[2048];
    int rc;

    mbedtls_x509write_csr_init(&csr);
    mbedtls_x509write_csr_set_md_alg(&csr, MBEDTLS_MD_SHA256);
    mbedtls_x509write_csr_set_key(&csr, key_mbedtls(k));
    rc = mbedtls_x509write_csr_set_subject_name(&csr, "O=weft"); /* an empty name is refused */
    if (rc == 0)
        rc = mbedtls_x509write_csr_pem(&csr, pem, sizeof(pem), key_random, NULL);
    mbedtls_x509write_csr_free(&csr);
    if (rc != 0)
        return mbed_err(err, ERR_INVALID, rc, "cannot write a certificate request");
    buf_adds(out, (const char *)pem);
    return 0;
}
