/* An authority without manners, to make certificates and lists that ours never would. */
#pragma once

#include <mbedtls/md.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

#include "mesh/base/hash.h"
#include "test/unit/pki_world.h"

struct odd {
    const char *names[4]; /* "URI:...", "DNS:..." */
    const char *eku;
    unsigned usage;
    unsigned char serial;      /* 0: 0x1234 */
    const char *from, *to;     /* "20260101000000"; NULL: January of 2026 */
    bool is_ca, no_usage, sha1, direct; /* direct: signed by the root itself */
};

__attribute__((unused)) static void odd_sign(const char *subject, const struct key *key, const char *issuer,
                     const struct key *signer, const struct odd *o, struct buf *pem)
{
    mbedtls_x509write_cert w;
    mbedtls_x509_san_list names[4];
    mbedtls_asn1_sequence eku = {.buf = {.tag = MBEDTLS_ASN1_OID}};
    unsigned char serial[] = {0x12, 0x34}, one = o->serial, text[32768];
    char oid[16] = "";
    size_t n = 0;

    memset(names, 0, sizeof(names));
    mbedtls_x509write_crt_init(&w);
    mbedtls_x509write_crt_set_md_alg(&w, o->sha1 ? MBEDTLS_MD_SHA1 : MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&w, key_mbedtls(key));
    mbedtls_x509write_crt_set_issuer_key(&w, key_mbedtls(signer));
    CHECK_INT(mbedtls_x509write_crt_set_serial_raw(&w, o->serial ? &one : serial, o->serial ? 1 : sizeof(serial)), 0);
    CHECK_INT(mbedtls_x509write_crt_set_subject_name(&w, subject), 0);
    CHECK_INT(mbedtls_x509write_crt_set_issuer_name(&w, issuer), 0);
    CHECK_INT(mbedtls_x509write_crt_set_validity(&w, o->from ? o->from : "20260101000000", o->to ? o->to : "20260201000000"), 0);
    CHECK_INT(mbedtls_x509write_crt_set_basic_constraints(&w, o->is_ca, -1), 0);
    if (!o->no_usage)
        CHECK_INT(mbedtls_x509write_crt_set_key_usage(&w, o->usage), 0);
    if (o->eku) {
        snprintf(oid, sizeof(oid), "%s", o->eku);
        eku.buf.p = (unsigned char *)oid;
        eku.buf.len = strlen(oid);
        CHECK_INT(mbedtls_x509write_crt_set_ext_key_usage(&w, &eku), 0);
    }
    for (; n < COUNT(names) && o->names[n]; n++) {
        bool is_uri = strncmp(o->names[n], "URI:", 4) == 0;

        names[n].node.type =
            is_uri ? MBEDTLS_X509_SAN_UNIFORM_RESOURCE_IDENTIFIER : MBEDTLS_X509_SAN_DNS_NAME;
        names[n].node.san.unstructured_name.p = (unsigned char *)(uintptr_t)(o->names[n] + 4);
        names[n].node.san.unstructured_name.len = strlen(o->names[n] + 4);
        if (n > 0)
            names[n - 1].next = &names[n];
    }
    if (n > 0)
        CHECK_INT(mbedtls_x509write_crt_set_subject_alternative_name(&w, names), 0);
    CHECK_INT(mbedtls_x509write_crt_pem(&w, text, sizeof(text), key_random, NULL), 0);
    buf_adds(pem, (const char *)text);
    mbedtls_x509write_crt_free(&w);
}

/* ---- lists of revoked certificates, RFC 5280 section 5.1 ---- */

__attribute__((unused)) static void odd_tlv(struct buf *out, int tag, struct str body)
{
    buf_addc(out, (char)tag);
    if (body.n > 255)
        buf_addc(out, (char)0x82);
    else if (body.n > 127)
        buf_addc(out, (char)0x81);
    if (body.n > 255)
        buf_addc(out, (char)(body.n >> 8));
    buf_addc(out, (char)(body.n & 255));
    buf_add(out, body);
}

/* Signs with ECDSA and SHA-256: tag 0x30 of what is signed, the algorithm, the signature. */
__attribute__((unused)) static void odd_signed(struct buf *out, const struct key *signer, struct str body)
{
    static const char algorithm[] = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    unsigned char sig[MBEDTLS_PK_SIGNATURE_MAX_SIZE];
    uint8_t digest[HASH_BYTES];
    struct buf all, bits;
    size_t n;

    buf_init(&all, 65536);
    buf_init(&bits, 65536);
    hash_sha256(body, digest);
    CHECK_INT(mbedtls_pk_sign(key_mbedtls(signer), MBEDTLS_MD_SHA256, digest, sizeof(digest), sig, sizeof(sig), &n, key_random,
                              NULL),
              0);
    buf_addc(&bits, 0);
    buf_add(&bits, (struct str){(const char *)sig, n});
    buf_add(&all, body);
    buf_add(&all, (struct str){algorithm, sizeof(algorithm) - 1});
    odd_tlv(&all, 0x03, buf_str(&bits));
    odd_tlv(out, 0x30, buf_str(&all));
    buf_done(&all);
    buf_done(&bits);
}

/* In PEM: certificates of `issuer` with these serial numbers are revoked. `until` is "491231000000Z". */
__attribute__((unused)) static void odd_crl(const struct cert_chain *issuer, const struct key *signer, const char *serials,
                                            const char *until, struct buf *pem)
{
    const mbedtls_x509_buf *name = &cert_mbedtls(issuer)->subject_raw;
    struct buf tbs, revoked, one, der;

    buf_init(&tbs, 65536);
    buf_init(&revoked, 65536);
    buf_init(&one, 65536);
    buf_init(&der, 65536);
    for (const char *s = serials; *s; s++) {
        buf_clear(&one);
        odd_tlv(&one, 0x02, (struct str){s, 1});
        odd_tlv(&one, 0x17, STR("260101000000Z"));
        odd_tlv(&revoked, 0x30, buf_str(&one));
    }
    odd_tlv(&tbs, 0x02, STR("\1"));
    buf_add(&tbs, STR("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"));
    buf_add(&tbs, (struct str){(const char *)name->p, name->len});
    odd_tlv(&tbs, 0x17, STR("260101000000Z"));
    odd_tlv(&tbs, 0x17, str_from(until));
    if (revoked.n > 0)
        odd_tlv(&tbs, 0x30, buf_str(&revoked));
    buf_clear(&one);
    odd_tlv(&one, 0x30, buf_str(&tbs));
    odd_signed(&der, signer, buf_str(&one));
    buf_adds(pem, "-----BEGIN X509 CRL-----\n");
    text_base64(pem, buf_str(&der)); /* one long line will do */
    buf_adds(pem, "\n-----END X509 CRL-----\n");
    buf_done(&tbs);
    buf_done(&revoked);
    buf_done(&one);
    buf_done(&der);
}
