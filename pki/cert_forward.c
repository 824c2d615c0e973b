/* What the header x-forwarded-client-cert says about a certificate: Hash, Cert, Subject, URI and DNS, in this order.
 *
 * Cert is PEM in the encoding of URLs. Subject is written as in RFC 2253: the last part first. Names are put in quotes
 * where they hold what has a meaning in the header; one that is no printable ASCII is left out, so nothing in a certificate
 * can end the value and begin another.
 */
#include <string.h>

#include <mbedtls/oid.h>
#include <mbedtls/x509_crt.h>

#include "mesh/base/text.h"
#include "pki/cert.h"

#define PARTS_MAX 64 /* of a subject */
#define PEM_LINE  64

/* ---- the subject ---- */

static void put_type(struct buf *out, const mbedtls_x509_buf *oid)
{
    char text[128];
    const char *name;

    if (mbedtls_oid_get_attr_short_name(oid, &name) == 0)
        buf_adds(out, name);
    else if (mbedtls_oid_get_numeric_string(text, sizeof(text), oid) > 0)
        buf_adds(out, text);
    else
        buf_adds(out, "?");
}

static bool is_text(int tag)
{
    return tag == MBEDTLS_ASN1_UTF8_STRING || tag == MBEDTLS_ASN1_PRINTABLE_STRING || tag == MBEDTLS_ASN1_IA5_STRING ||
           tag == MBEDTLS_ASN1_T61_STRING;
}

static void put_value(struct buf *out, const mbedtls_x509_buf *v)
{
    if (!is_text(v->tag)) {
        buf_addc(out, '#');
        text_hex(out, v->p, v->len);
        return;
    }
    for (size_t i = 0; i < v->len; i++) {
        unsigned char c = v->p[i];
        bool at_edge = i == 0 || i + 1 == v->len;

        if (c < 0x20 || c >= 0x7f)
            buf_printf(out, "\\%02X", c);
        else if (strchr(",+\"\\<>;", c) || (c == ' ' && at_edge) || (c == '#' && i == 0))
            buf_printf(out, "\\%c", c);
        else
            buf_addc(out, (char)c);
    }
}

static void put_subject(struct buf *out, const mbedtls_x509_name *first)
{
    const mbedtls_x509_name *parts[PARTS_MAX];
    size_t n = 0;

    for (const mbedtls_x509_name *p = first; p && p->oid.p && n < PARTS_MAX; p = p->next)
        parts[n++] = p;
    buf_adds(out, ";Subject=\"");
    while (n-- > 0) {
        put_type(out, &parts[n]->oid);
        buf_addc(out, '=');
        put_value(out, &parts[n]->val);
        if (n > 0)
            buf_addc(out, parts[n - 1]->MBEDTLS_PRIVATE(next_merged) ? '+' : ',');
    }
    buf_addc(out, '"');
}

/* ---- names, the certificate itself ---- */

static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
            return false;
    }
    return s.n > 0;
}

static void put_name(struct buf *out, struct str name)
{
    bool quoted = false;

    for (size_t i = 0; i < name.n; i++)
        quoted = quoted || str_has(STR(",;=\"\\"), name.p[i]);
    if (quoted)
        buf_addc(out, '"');
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '"' || name.p[i] == '\\')
            buf_addc(out, '\\');
        buf_addc(out, name.p[i]);
    }
    if (quoted)
        buf_addc(out, '"');
}

static size_t put_names(struct buf *out, const mbedtls_x509_crt *x, int kind, const char *key)
{
    size_t n = 0;

    for (const mbedtls_x509_sequence *s = &x->subject_alt_names; s; s = s->next) {
        struct str name = {(const char *)s->buf.p, s->buf.len};

        if (!s->buf.p || s->buf.tag != (MBEDTLS_ASN1_CONTEXT_SPECIFIC | kind) || !is_printable(name))
            continue;
        buf_adds(out, key);
        put_name(out, name);
        n++;
    }
    return n;
}

static void put_urlencoded(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (str_has(STR(" \n+/="), s.p[i]))
            buf_printf(out, "%%%02X", s.p[i]);
        else
            buf_addc(out, s.p[i]);
    }
}

static void put_pem(struct buf *out, const mbedtls_x509_crt *x)
{
    struct buf b64;

    buf_init(&b64, 2 * CERT_BYTES_MAX);
    text_base64(&b64, (struct str){(const char *)x->raw.p, x->raw.len});
    buf_adds(out, ";Cert=\"");
    put_urlencoded(out, STR("-----BEGIN CERTIFICATE-----\n"));
    for (size_t at = 0; at < b64.n; at += PEM_LINE) {
        put_urlencoded(out, str_sub(buf_str(&b64), at, PEM_LINE));
        put_urlencoded(out, STR("\n"));
    }
    put_urlencoded(out, STR("-----END CERTIFICATE-----\n"));
    buf_addc(out, '"');
    buf_done(&b64);
}

static void put_all(struct buf *out, const mbedtls_x509_crt *x, bool with_cert)
{
    if (with_cert)
        put_pem(out, x);
    put_subject(out, &x->subject);
    if (put_names(out, x, MBEDTLS_X509_SAN_UNIFORM_RESOURCE_IDENTIFIER, ";URI=") == 0)
        buf_adds(out, ";URI=");
    put_names(out, x, MBEDTLS_X509_SAN_DNS_NAME, ";DNS=");
}

void cert_forward(const struct mbedtls_x509_crt *x, const uint8_t hash[HASH_BYTES], bool with_cert, struct buf *out)
{
    struct buf more;

    buf_adds(out, "Hash=");
    text_hex(out, hash, HASH_BYTES);
    buf_init(&more, CERT_FORWARD_MAX);
    put_all(&more, x, with_cert);
    if (!more.failed)
        buf_add(out, buf_str(&more));
    buf_done(&more);
}
