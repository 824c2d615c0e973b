#include "pki/cert.h"

#include <stdlib.h>
#include <string.h>

#include <mbedtls/md.h>
#include <mbedtls/oid.h>
#include <mbedtls/x509_crt.h>
#include <mbedtls/x509_csr.h>

#include "mesh/base/addr.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "pki/mbed.h"

struct cert_chain {
    mbedtls_x509_crt x; /* a list */
};

static const char pem_head[] = "-----BEGIN CERTIFICATE-----";

#define SAN_DNS (MBEDTLS_ASN1_CONTEXT_SPECIFIC | MBEDTLS_X509_SAN_DNS_NAME)
#define SAN_IP  (MBEDTLS_ASN1_CONTEXT_SPECIFIC | MBEDTLS_X509_SAN_IP_ADDRESS)
#define SAN_URI (MBEDTLS_ASN1_CONTEXT_SPECIFIC | MBEDTLS_X509_SAN_UNIFORM_RESOURCE_IDENTIFIER)

/* SHA-2, P-256 and up, RSA of 2048 bits for roots and web servers that others run. */
static const mbedtls_x509_crt_profile profile = {
    .allowed_mds = MBEDTLS_X509_ID_FLAG(MBEDTLS_MD_SHA256) |
                   MBEDTLS_X509_ID_FLAG(MBEDTLS_MD_SHA384) |
                   MBEDTLS_X509_ID_FLAG(MBEDTLS_MD_SHA512),
    .allowed_pks = 0xFFFFFFF, /* any; curve and size below decide */
    .allowed_curves = MBEDTLS_X509_ID_FLAG(MBEDTLS_ECP_DP_SECP256R1) |
                      MBEDTLS_X509_ID_FLAG(MBEDTLS_ECP_DP_SECP384R1) |
                      MBEDTLS_X509_ID_FLAG(MBEDTLS_ECP_DP_SECP521R1),
    .rsa_min_bitlen = 2048,
};

const struct mbedtls_x509_crt_profile *cert_profile(void)
{
    return &profile;
}

/* --- parsing --- */

struct cert_chain *cert_free(struct cert_chain *c)
{
    if (!c)
        return NULL;
    mbedtls_x509_crt_free(&c->x);
    free(c);
    return NULL;
}

static struct cert_chain *chain_alloc(void)
{
    struct cert_chain *c = mem_zalloc(sizeof(*c));

    mbedtls_x509_crt_init(&c->x);
    return c;
}

static int parse_into(mbedtls_x509_crt *x, struct str s)
{
    unsigned char *text;
    size_t at;
    int rc;

    if (!str_find(s, STR(pem_head), &at))
        return mbedtls_x509_crt_parse_der(x, (const unsigned char *)s.p, s.n);
    text = mem_zalloc(s.n + 1); /* mbedTLS wants PEM to end in NUL */
    memcpy(text, s.p, s.n);
    rc = mbedtls_x509_crt_parse(x, text, s.n + 1);
    free(text);
    return rc;
}

struct cert_chain *cert_parse(struct str s, struct err *err)
{
    struct cert_chain *c;
    size_t n = 0;
    int rc;

    if (s.n == 0 || s.n > CERT_TEXT_MAX) {
        err_set(err, ERR_INVALID, "certificates are 1 to %u bytes, this is %zu", CERT_TEXT_MAX,
                s.n);
        return NULL;
    }
    c = chain_alloc();
    rc = parse_into(&c->x, s);
    if (rc > 0) {
        err_set(err, ERR_INVALID, "%d of the certificates cannot be read", rc);
        return cert_free(c);
    }
    if (rc < 0) {
        mbed_err(err, ERR_INVALID, rc, "not a certificate in PEM or DER");
        return cert_free(c);
    }
    for (const mbedtls_x509_crt *x = &c->x; x; x = x->next) {
        if (x->raw.len > CERT_BYTES_MAX || ++n > CERT_ROOTS_MAX) {
            err_set(err, ERR_LIMIT, "more than %u certificates, or one larger than %u bytes",
                    CERT_ROOTS_MAX, CERT_BYTES_MAX);
            return cert_free(c);
        }
    }
    return c;
}

struct mbedtls_x509_crt *cert_mbedtls(const struct cert_chain *c)
{
    return (struct mbedtls_x509_crt *)(uintptr_t)&c->x; /* mbedTLS reads, but says non-const */
}

static const mbedtls_x509_crt *nth(const struct cert_chain *c, size_t i)
{
    const mbedtls_x509_crt *x = &c->x;

    while (x && i-- > 0)
        x = x->next;
    return x;
}

static size_t list_count(const mbedtls_x509_crt *x)
{
    size_t n = 0;

    for (; x; x = x->next)
        n++;
    return n;
}

size_t cert_count(const struct cert_chain *c)
{
    return list_count(&c->x);
}

struct str cert_der(const struct cert_chain *c, size_t i)
{
    const mbedtls_x509_crt *x = nth(c, i);

    return x ? (struct str){(const char *)x->raw.p, x->raw.len} : STR_NONE;
}

void cert_pem(const struct cert_chain *c, struct buf *out)
{
    for (size_t i = 0; i < cert_count(c); i++) {
        struct buf b64;
        struct str rest;

        buf_init(&b64, 2 * CERT_BYTES_MAX);
        text_base64(&b64, cert_der(c, i));
        rest = buf_str(&b64);
        buf_printf(out, "%s\n", pem_head);
        for (size_t at = 0; at < rest.n; at += 64) {
            buf_add(out, str_sub(rest, at, 64));
            buf_addc(out, '\n');
        }
        buf_adds(out, "-----END CERTIFICATE-----\n");
        buf_done(&b64);
    }
}

/* --- what a certificate says --- */

/* Days since 1970-01-01 of a date in the Gregorian calendar. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t time_ms(const mbedtls_x509_time *t)
{
    return ((days_of(t->year, t->mon, t->day) * 24 + t->hour) * 60 + t->min) * 60000 +
           (int64_t)t->sec * 1000;
}

static void hex_into(char *out, size_t size, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n && 2 * i + 2 < size; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
        out[2 * i + 2] = 0;
    }
}

static int read_uris(const mbedtls_x509_crt *x, struct cert_info *info, struct err *err)
{
    for (const mbedtls_x509_sequence *s = &x->subject_alt_names; s; s = s->next) {
        if (!s->buf.p || s->buf.tag != SAN_URI)
            continue;
        if (s->buf.len >= sizeof(info->uri) || memchr(s->buf.p, 0, s->buf.len))
            return err_set(
                err, ERR_INVALID,
                "the certificate's URI name is longer than %d bytes or holds a zero byte",
                CERT_URI_MAX - 1);
        if (info->uri_count++ == 0) {
            memcpy(info->uri, s->buf.p, s->buf.len);
            info->uri[s->buf.len] = 0;
        }
    }
    return 0;
}

static bool dns_name_fits(struct str pattern, struct str name)
{
    const char *dot;

    if (pattern.n < 3 || pattern.p[0] != '*' || pattern.p[1] != '.')
        return str_eq_nocase(pattern, name);
    dot = memchr(name.p, '.', name.n);
    return dot && dot > name.p &&
           str_eq_nocase(str_sub(pattern, 1, pattern.n),
                         str_sub(name, (size_t)(dot - name.p), name.n));
}

bool cert_has_name(const struct mbedtls_x509_crt *x, struct str name)
{
    struct addr a;
    bool is_ip = addr_parse_ip(name, &a);

    for (const mbedtls_x509_sequence *s = &x->subject_alt_names; s; s = s->next) {
        struct str san = {(const char *)s->buf.p, s->buf.len};

        if (!san.p)
            continue;
        if (s->buf.tag == SAN_DNS && !is_ip && dns_name_fits(san, name))
            return true;
        if (s->buf.tag == SAN_URI && str_eq(san, name))
            return true;
        if (s->buf.tag == SAN_IP && is_ip && san.n == (a.family == 4 ? 4u : 16u) &&
            memcmp(san.p, a.ip, san.n) == 0)
            return true;
    }
    return false;
}

int cert_describe_x509(const struct mbedtls_x509_crt *x, struct cert_info *out, struct err *err)
{
    struct cert_info info = {0};

    if (x->serial.len > 20)
        return err_set(err, ERR_INVALID, "the certificate's serial number is longer than 20 bytes");
    hex_into(info.serial, sizeof(info.serial), x->serial.p, x->serial.len);
    if (read_uris(x, &info, err) != 0)
        return -1;
    if (mbedtls_x509_dn_gets(info.subject, sizeof(info.subject), &x->subject) < 0)
        info.subject[0] = 0; /* too long for us; it is only shown */
    hash_sha256((struct str){(const char *)x->raw.p, x->raw.len}, info.fingerprint);
    hash_sha256((struct str){(const char *)x->pk_raw.p, x->pk_raw.len}, info.pin);
    info.not_before_ms = time_ms(&x->valid_from);
    info.not_after_ms = time_ms(&x->valid_to);
    info.is_ca = x->MBEDTLS_PRIVATE(ca_istrue) != 0;
    *out = info;
    return 0;
}

int cert_describe(const struct cert_chain *c, size_t i, struct cert_info *out, struct err *err)
{
    const mbedtls_x509_crt *x = nth(c, i);

    if (!x)
        return err_set(err, ERR_MISSING, "there is no certificate %zu", i + 1);
    return cert_describe_x509(x, out, err);
}

int cert_public(const struct cert_chain *c, struct key_pub *out, struct err *err)
{
    if (!key_public_of(&c->x.pk, out))
        return err_set(err, ERR_INVALID, "the certificate's key is not P-256");
    return 0;
}

/* --- verifying --- */

const char *cert_flags_text(uint32_t flags)
{
    /* The most telling first. */
    static const struct {
        uint32_t flag;
        const char *text;
    } rows[] = {
        {MBEDTLS_X509_BADCERT_MISSING,       "no certificate was sent"                           },
        {MBEDTLS_X509_BADCERT_REVOKED,       "a certificate of the chain has been revoked"       },
        {MBEDTLS_X509_BADCERT_NOT_TRUSTED,   "the certificate is not signed by a trusted root"   },
        {MBEDTLS_X509_BADCERT_EXPIRED,       "a certificate of the chain has expired"            },
        {MBEDTLS_X509_BADCERT_FUTURE,        "a certificate of the chain is not valid yet"       },
        {MBEDTLS_X509_BADCERT_CN_MISMATCH,   "the certificate is for another name"               },
        {MBEDTLS_X509_BADCERT_KEY_USAGE,     "the certificate's key usage does not allow this"   },
        {MBEDTLS_X509_BADCERT_EXT_KEY_USAGE, "the certificate's extended usage forbids this"     },
        {MBEDTLS_X509_BADCERT_NS_CERT_TYPE,  "the certificate's type does not allow this"        },
        {MBEDTLS_X509_BADCERT_BAD_MD,        "a certificate is signed with a weak hash"          },
        {MBEDTLS_X509_BADCERT_BAD_PK,        "a certificate has a key of a kind we do not accept"},
        {MBEDTLS_X509_BADCERT_BAD_KEY,       "a certificate has a weak key"                      },
        {MBEDTLS_X509_BADCRL_NOT_TRUSTED,    "a list of revoked certificates is not signed by its authority"},
        {MBEDTLS_X509_BADCRL_EXPIRED,        "a list of revoked certificates has expired: fetch a newer one"},
        {MBEDTLS_X509_BADCRL_FUTURE,         "a list of revoked certificates is not valid yet"   },
        {MBEDTLS_X509_BADCRL_BAD_MD,         "a list of revoked certificates is signed with a weak hash"},
        {MBEDTLS_X509_BADCRL_BAD_PK | MBEDTLS_X509_BADCRL_BAD_KEY, "a list of revoked certificates has a key we do not accept"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (flags & rows[i].flag)
            return rows[i].text;
    }
    return flags ? "the certificate chain is not acceptable" : "the certificate chain is fine";
}

int cert_check_time(const struct cert_info *info, int64_t wall_ms, struct err *err)
{
    if (wall_ms < info->not_before_ms)
        return err_set(
            err, ERR_DENIED,
            "the certificate of %s is not valid yet (for %lld s more); compare the clocks",
            info->uri[0] ? info->uri : info->subject,
            (long long)((info->not_before_ms - wall_ms + 999) / 1000));
    if (wall_ms > info->not_after_ms)
        return err_set(err, ERR_DENIED, "the certificate of %s expired %lld s ago",
                       info->uri[0] ? info->uri : info->subject,
                       (long long)((wall_ms - info->not_after_ms) / 1000));
    return 0;
}

int cert_check_leaf(const struct mbedtls_x509_crt *x, const struct cert_info *info,
                    enum cert_role role, struct err *err)
{
    const char *client = MBEDTLS_OID_CLIENT_AUTH;
    const char *server = MBEDTLS_OID_SERVER_AUTH;
    bool has_usage = mbedtls_x509_crt_has_ext_type(x, MBEDTLS_X509_EXT_KEY_USAGE) != 0;

    if (info->is_ca)
        return err_set(err, ERR_DENIED, "an authority's certificate (CA:TRUE) names no workload");
    if (has_usage && (mbedtls_x509_crt_check_key_usage(x, MBEDTLS_X509_KU_DIGITAL_SIGNATURE) != 0 ||
                      mbedtls_x509_crt_check_key_usage(x, MBEDTLS_X509_KU_KEY_CERT_SIGN) == 0))
        return err_set(err, ERR_DENIED, "the certificate's key usage is not that of a workload");
    if (role == CERT_CLIENT && mbedtls_x509_crt_check_extended_key_usage(
                                   x, client, MBEDTLS_OID_SIZE(MBEDTLS_OID_CLIENT_AUTH)) != 0)
        return err_set(err, ERR_DENIED, "the certificate is not for clients (extended key usage)");
    if (role == CERT_SERVER && mbedtls_x509_crt_check_extended_key_usage(
                                   x, server, MBEDTLS_OID_SIZE(MBEDTLS_OID_SERVER_AUTH)) != 0)
        return err_set(err, ERR_DENIED, "the certificate is not for servers (extended key usage)");
    if (info->uri_count != 1)
        return err_set(err, ERR_DENIED,
                       "the certificate has %zu URI names; a workload's has exactly one",
                       info->uri_count);
    return 0;
}

/* mbedTLS judges time by the system's clock; ours is a parameter. */
static int judge_time(void *arg, mbedtls_x509_crt *x, int depth, uint32_t *flags)
{
    const int64_t *wall_ms = arg;

    (void)depth; /* the same at every depth */
    *flags &= ~(uint32_t)(MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE);
    if (*wall_ms == CERT_ANY_TIME)
        return 0;
    if (*wall_ms > time_ms(&x->valid_to))
        *flags |= MBEDTLS_X509_BADCERT_EXPIRED;
    if (*wall_ms < time_ms(&x->valid_from))
        *flags |= MBEDTLS_X509_BADCERT_FUTURE;
    return 0;
}

int cert_verify_x509(struct mbedtls_x509_crt *chain, struct mbedtls_x509_crt *roots,
                     int64_t wall_ms, enum cert_role role, struct cert_info *out, struct err *err)
{
    struct cert_info info;
    uint32_t flags = 0;
    int rc;

    if (list_count(chain) > CERT_CHAIN_MAX)
        return err_set(err, ERR_LIMIT, "the chain has more than %u certificates", CERT_CHAIN_MAX);
    if (cert_describe_x509(chain, &info, err) != 0 || cert_check_leaf(chain, &info, role, err) != 0)
        return -1;
    if (wall_ms != CERT_ANY_TIME && cert_check_time(&info, wall_ms, err) != 0)
        return -1;
    rc = mbedtls_x509_crt_verify_with_profile(chain, roots, NULL, &profile, NULL, &flags,
                                              judge_time, &wall_ms);
    if (rc == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED)
        return err_set(err, ERR_DENIED, "%s: %s", info.uri, cert_flags_text(flags));
    if (rc != 0)
        return mbed_err(err, ERR_DENIED, rc, "the certificate chain cannot be verified");
    if (out)
        *out = info;
    return 0;
}

int cert_verify(const struct cert_chain *c, const struct cert_chain *roots, int64_t wall_ms,
                enum cert_role role, struct cert_info *out, struct err *err)
{
    return cert_verify_x509(cert_mbedtls(c), cert_mbedtls(roots), wall_ms, role, out, err);
}

struct cert_chain *cert_find_pin_x509(const struct mbedtls_x509_crt *chain,
                                      const uint8_t pin[HASH_BYTES], struct err *err)
{
    for (const mbedtls_x509_crt *x = chain; x; x = x->next) {
        uint8_t got[HASH_BYTES];

        hash_sha256((struct str){(const char *)x->pk_raw.p, x->pk_raw.len}, got);
        if (hash_eq(got, pin))
            return cert_parse((struct str){(const char *)x->raw.p, x->raw.len}, err);
    }
    err_set(err, ERR_DENIED, "no certificate of the chain has the pinned public key");
    return NULL;
}

struct cert_chain *cert_find_pin(const struct cert_chain *chain, const uint8_t pin[HASH_BYTES],
                                 struct err *err)
{
    return cert_find_pin_x509(&chain->x, pin, err);
}

/* --- requests --- */

/* The signature over the request by its own key. */
static bool proves_possession(mbedtls_x509_csr *csr)
{
    const mbedtls_md_info_t *md = mbedtls_md_info_from_type(csr->MBEDTLS_PRIVATE(sig_md));
    uint8_t digest[MBEDTLS_MD_MAX_SIZE];

    if (!md || mbedtls_md_get_size(md) < HASH_BYTES)
        return false;
    if (mbedtls_md(md, csr->cri.p, csr->cri.len, digest) != 0)
        return false;
    return mbedtls_pk_verify_ext(csr->MBEDTLS_PRIVATE(sig_pk), csr->MBEDTLS_PRIVATE(sig_opts),
                                 &csr->pk, csr->MBEDTLS_PRIVATE(sig_md), digest,
                                 mbedtls_md_get_size(md), csr->MBEDTLS_PRIVATE(sig).p,
                                 csr->MBEDTLS_PRIVATE(sig).len) == 0;
}

static int parse_csr(mbedtls_x509_csr *csr, struct str s)
{
    unsigned char *text;
    size_t at;
    int rc;

    if (!str_find(s, STR("-----BEGIN "), &at))
        return mbedtls_x509_csr_parse_der(csr, (const unsigned char *)s.p, s.n);
    text = mem_zalloc(s.n + 1);
    memcpy(text, s.p, s.n);
    rc = mbedtls_x509_csr_parse(csr, text, s.n + 1);
    free(text);
    return rc;
}

int cert_csr_key(struct str s, struct key_pub *out, struct err *err)
{
    mbedtls_x509_csr csr;
    struct key_pub pub;
    int rc = -1;
    int parsed;

    if (s.n == 0 || s.n > CERT_CSR_MAX)
        return err_set(err, ERR_LIMIT, "a certificate request is 1 to %u bytes, this is %zu",
                       CERT_CSR_MAX, s.n);
    mbedtls_x509_csr_init(&csr);
    parsed = parse_csr(&csr, s);
    if (parsed != 0)
        mbed_err(err, ERR_INVALID, parsed, "not a certificate request in PEM or DER");
    else if (!key_public_of(&csr.pk, &pub)) /* first, so that we never verify with an odd key */
        err_set(err, ERR_INVALID, "the request's key is not P-256");
    else if (!proves_possession(&csr))
        err_set(err, ERR_INVALID, "the request is not signed by the key it holds");
    else
        rc = 0;
    if (rc == 0)
        *out = pub;
    mbedtls_x509_csr_free(&csr);
    return rc;
}
