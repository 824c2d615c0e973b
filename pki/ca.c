#include "pki/ca.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mbedtls/oid.h>
#include <mbedtls/x509_crt.h>

#include "mesh/base/file.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/identity.h"
#include "pki/mbed.h"

struct ca {
    struct cert_chain *root;
    struct cert_chain *issuer;
    struct key *issuer_key;
    struct cert_info issuer_info;
    uint8_t pin[HASH_BYTES];
    char *root_pem;
    char *issuer_pem;
};

#define CA_SERIAL_BYTES 16
#define CA_PEM_MAX      (64u << 10)
#define CA_PATH_MAX     4096

/* One certificate to be: the template of all three kinds. */
struct template
{
    const struct key_pub *subject_key;
    const char *subject; /* mbedTLS's "O=weft,CN=..." */
    const struct key *issuer_key;
    const char *issuer;
    int64_t not_before_ms;
    int64_t not_after_ms;
    bool is_ca;
    int path_max;                       /* of a CA; -1 is any */
    const mbedtls_x509_san_list *names; /* of a leaf */
};

/* --- writing --- */

static void time_text(char out[16], int64_t ms)
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;

    if (!gmtime_r(&t, &tm) || strftime(out, 16, "%Y%m%d%H%M%S", &tm) == 0)
        abort(); /* only for years past 9999; callers clamp */
}

static int set_usage(mbedtls_x509write_cert *w, const struct template *t)
{
    mbedtls_asn1_sequence client = {.buf = {.tag = MBEDTLS_ASN1_OID}};
    mbedtls_asn1_sequence server = {.buf = {.tag = MBEDTLS_ASN1_OID}};
    char client_oid[] = MBEDTLS_OID_CLIENT_AUTH; /* mbedTLS wants them writable */
    char server_oid[] = MBEDTLS_OID_SERVER_AUTH;
    int rc;

    if (t->is_ca)
        return mbedtls_x509write_crt_set_key_usage(w, MBEDTLS_X509_KU_KEY_CERT_SIGN |
                                                          MBEDTLS_X509_KU_CRL_SIGN);
    server.buf.p = (unsigned char *)server_oid;
    server.buf.len = sizeof(server_oid) - 1;
    server.next = &client;
    client.buf.p = (unsigned char *)client_oid;
    client.buf.len = sizeof(client_oid) - 1;
    rc = mbedtls_x509write_crt_set_key_usage(w, MBEDTLS_X509_KU_DIGITAL_SIGNATURE);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_ext_key_usage(w, &server);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_subject_alternative_name(w, t->names);
    return rc;
}

static int fill(mbedtls_x509write_cert *w, mbedtls_pk_context *subject, const struct template *t)
{
    unsigned char serial[CA_SERIAL_BYTES];
    char from[16], to[16];
    int rc;

    text_random(serial, sizeof(serial));
    serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive, always 16 bytes */
    time_text(from, t->not_before_ms);
    time_text(to, t->not_after_ms);
    mbedtls_x509write_crt_set_version(w, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(w, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(w, subject);
    mbedtls_x509write_crt_set_issuer_key(w, key_mbedtls(t->issuer_key));
    rc = mbedtls_x509write_crt_set_serial_raw(w, serial, sizeof(serial));
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_subject_name(w, t->subject);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_issuer_name(w, t->issuer);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_validity(w, from, to);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_basic_constraints(w, t->is_ca, t->is_ca ? t->path_max : -1);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_subject_key_identifier(w);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_authority_key_identifier(w);
    return rc == 0 ? set_usage(w, t) : rc;
}

static int sign(const struct template *t, struct buf *pem, struct err *err)
{
    mbedtls_x509write_cert w;
    mbedtls_pk_context subject;
    unsigned char text[16384];
    int rc;

    mbedtls_x509write_crt_init(&w);
    mbedtls_pk_init(&subject);
    rc = mbedtls_pk_parse_public_key(&subject, t->subject_key->der, sizeof(t->subject_key->der));
    if (rc == 0)
        rc = fill(&w, &subject, t);
    if (rc == 0)
        rc = mbedtls_x509write_crt_pem(&w, text, sizeof(text), key_random, NULL);
    mbedtls_pk_free(&subject);
    mbedtls_x509write_crt_free(&w);
    if (rc != 0)
        return mbed_err(err, ERR_INVALID, rc, "cannot sign a certificate");
    buf_adds(pem, (const char *)text);
    return 0;
}

/* --- the folder --- */

static int path_of(char out[CA_PATH_MAX], const char *dir, const char *name, struct err *err)
{
    if (snprintf(out, CA_PATH_MAX, "%s/%s", dir, name) >= CA_PATH_MAX)
        return err_set(err, ERR_INVALID, "the folder's name is too long");
    return 0;
}

static int save_cert(const char *dir, const char *name, const struct buf *pem, struct err *err)
{
    char path[CA_PATH_MAX];

    if (path_of(path, dir, name, err) != 0)
        return -1;
    return file_write(path, buf_str(pem), 0644, err);
}

static int save_key(const char *dir, const char *name, const struct key *k, struct err *err)
{
    char path[CA_PATH_MAX];

    if (path_of(path, dir, name, err) != 0)
        return -1;
    return key_save(k, path, err);
}

static struct key *load_key(const char *dir, const char *name, struct err *err)
{
    char path[CA_PATH_MAX];

    if (path_of(path, dir, name, err) != 0)
        return NULL;
    return key_load(path, err);
}

static struct cert_chain *load_cert(const char *dir, const char *name, char **pem, struct err *err)
{
    char path[CA_PATH_MAX];
    struct buf text;
    struct cert_chain *c = NULL;

    buf_init(&text, CA_PEM_MAX);
    if (path_of(path, dir, name, err) == 0 && file_read(path, &text, err) == 0) {
        c = cert_parse(buf_str(&text), err);
        if (!c)
            err_wrap(err, "%s", path);
        else
            *pem = buf_steal(&text);
    }
    buf_done(&text);
    return c;
}

/* --- creating --- */

static int sign_root(const struct key *k, struct str trust_domain, int64_t now_ms, struct buf *pem,
                     struct err *err)
{
    struct key_pub pub;
    char name[96];
    struct template t = {.subject_key = &pub,
                         .subject = name,
                         .issuer_key = k,
                         .issuer = name,
                         .not_before_ms = now_ms - LIFETIME_BACKDATE_MS,
                         .not_after_ms = now_ms + CA_ROOT_MS,
                         .is_ca = true,
                         .path_max = -1};

    key_public(k, &pub);
    /* A common name holds 64 characters. */
    snprintf(name, sizeof(name), "O=weft,CN=weft ROOT of %.*s",
             STR_ARG(str_sub(trust_domain, 0, 45)));
    return sign(&t, pem, err);
}

static int sign_issuer(const struct cert_chain *root, const struct key *root_key,
                       const struct key *issuer_key, int64_t now_ms, struct buf *pem,
                       struct err *err)
{
    struct cert_info info;
    struct key_pub pub;
    char name[96];
    char tag[9];
    struct template t = {.subject_key = &pub,
                         .subject = name,
                         .issuer_key = root_key,
                         .not_before_ms = now_ms - LIFETIME_BACKDATE_MS,
                         .is_ca = true,
                         .path_max = 0};

    if (cert_describe(root, 0, &info, err) != 0 || cert_check_time(&info, now_ms, err) != 0)
        return err_wrap(err, "the root");
    key_public(issuer_key, &pub);
    snprintf(tag, sizeof(tag), "%08x", (unsigned)text_random_u64());
    snprintf(name, sizeof(name), "O=weft,CN=weft issuer %s", tag); /* issuers differ by name */
    t.issuer = info.subject;
    t.not_after_ms = MIN(now_ms + CA_ISSUER_MS, info.not_after_ms);
    return sign(&t, pem, err);
}

static int refuse_existing(const char *dir, struct err *err)
{
    static const char *const names[] = {"root.crt", "root.key", "issuer.crt", "issuer.key"};
    char path[CA_PATH_MAX];

    for (size_t i = 0; i < COUNT(names); i++) {
        if (path_of(path, dir, names[i], err) != 0)
            return -1;
        if (file_exists(path))
            return err_set(err, ERR_CONFLICT, "%s exists: there is an authority here already",
                           path);
    }
    return 0;
}

static int create_files(const char *dir, const struct key *root_key, const struct key *issuer_key,
                        struct str trust_domain, int64_t now_ms, struct err *err)
{
    struct buf root_pem, issuer_pem;
    struct cert_chain *root = NULL;
    int rc = -1;

    buf_init(&root_pem, CA_PEM_MAX);
    buf_init(&issuer_pem, CA_PEM_MAX);
    if (sign_root(root_key, trust_domain, now_ms, &root_pem, err) != 0)
        goto out;
    root = cert_parse(buf_str(&root_pem), err);
    if (!root || sign_issuer(root, root_key, issuer_key, now_ms, &issuer_pem, err) != 0)
        goto out;
    if (save_key(dir, "root.key", root_key, err) != 0 ||
        save_key(dir, "issuer.key", issuer_key, err) != 0 ||
        save_cert(dir, "issuer.crt", &issuer_pem, err) != 0 ||
        save_cert(dir, "root.crt", &root_pem, err) != 0)
        goto out;
    rc = 0;
out:
    cert_free(root);
    buf_done(&root_pem);
    buf_done(&issuer_pem);
    return rc;
}

int ca_create(const char *dir, struct str trust_domain, int64_t now_ms, struct err *err)
{
    struct key *root_key, *issuer_key;
    int rc;

    if (!identity_trust_domain_ok(trust_domain))
        return err_set(err, ERR_INVALID,
                       "'%.*s' is no trust domain: use lower-case letters, digits, '.', '-', '_'",
                       STR_ARG(str_sub(trust_domain, 0, 255)));
    if (file_mkdirs(dir, 0700, err) != 0 || refuse_existing(dir, err) != 0)
        return -1;
    root_key = key_new();
    issuer_key = key_new();
    rc = create_files(dir, root_key, issuer_key, trust_domain, now_ms, err);
    key_free(root_key);
    key_free(issuer_key);
    return rc;
}

/* --- opening --- */

static int signed_by(const struct cert_chain *child, const struct cert_chain *root, struct err *err)
{
    mbedtls_x509_crt *x = cert_mbedtls(child);
    uint32_t flags = 0;
    int rc = mbedtls_x509_crt_verify_with_profile(x, cert_mbedtls(root), NULL, cert_profile(), NULL,
                                                  &flags, NULL, NULL);
    /* Time is asked for when signing. */
    flags &= ~(uint32_t)(MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE);
    if (rc != 0 && (rc != MBEDTLS_ERR_X509_CERT_VERIFY_FAILED || flags != 0))
        return err_set(err, ERR_INVALID, "issuer.crt does not fit root.crt: %s",
                       cert_flags_text(flags));
    return 0;
}

static int check_parts(struct ca *ca, struct err *err)
{
    struct key_pub own, named;
    struct cert_info root;

    if (cert_describe(ca->root, 0, &root, err) != 0 ||
        cert_describe(ca->issuer, 0, &ca->issuer_info, err) != 0 ||
        cert_public(ca->issuer, &named, err) != 0)
        return -1;
    key_public(ca->issuer_key, &own);
    if (memcmp(&own, &named, sizeof(own)) != 0)
        return err_set(err, ERR_INVALID, "issuer.key is not the key of issuer.crt");
    if (!root.is_ca || !ca->issuer_info.is_ca)
        return err_set(err, ERR_INVALID, "root.crt and issuer.crt must be authorities (CA:TRUE)");
    memcpy(ca->pin, root.pin, sizeof(ca->pin));
    return signed_by(ca->issuer, ca->root, err);
}

struct ca *ca_open(const char *dir, struct err *err)
{
    struct ca *ca = mem_zalloc(sizeof(*ca));

    ca->root = load_cert(dir, "root.crt", &ca->root_pem, err);
    if (ca->root)
        ca->issuer = load_cert(dir, "issuer.crt", &ca->issuer_pem, err);
    if (ca->issuer)
        ca->issuer_key = load_key(dir, "issuer.key", err);
    if (!ca->issuer_key || check_parts(ca, err) != 0) {
        err_wrap(err, "the certificate authority in %s", dir);
        return ca_close(ca);
    }
    return ca;
}

struct ca *ca_close(struct ca *ca)
{
    if (!ca)
        return NULL;
    cert_free(ca->root);
    cert_free(ca->issuer);
    key_free(ca->issuer_key);
    free(ca->root_pem);
    free(ca->issuer_pem);
    free(ca);
    return NULL;
}

int ca_rotate_issuer(struct ca *ca, const char *dir, int64_t now_ms, struct err *err)
{
    struct key *root_key = load_key(dir, "root.key", err);
    struct key *issuer_key = NULL;
    struct ca *next = NULL;
    struct ca old;
    struct key_pub own, named;
    struct buf pem;
    int rc = -1;

    buf_init(&pem, CA_PEM_MAX);
    if (!root_key) {
        err_wrap(err, "a new issuer needs the root's key");
        goto out;
    }
    if (cert_public(ca->root, &named, err) != 0)
        goto out;
    key_public(root_key, &own);
    if (memcmp(&own, &named, sizeof(own)) != 0) {
        err_set(err, ERR_INVALID, "root.key is not the key of root.crt");
        goto out;
    }
    issuer_key = key_new();
    if (sign_issuer(ca->root, root_key, issuer_key, now_ms, &pem, err) != 0)
        goto out;
    /* Two files cannot change as one; a crash between them is told by ca_open and mended by
     * another rotation. */
    if (save_key(dir, "issuer.key", issuer_key, err) != 0 ||
        save_cert(dir, "issuer.crt", &pem, err) != 0)
        goto out;
    next = ca_open(dir, err);
    if (!next)
        goto out;
    old = *ca;
    *ca = *next;
    *next = old;
    rc = 0;
out:
    ca_close(next);
    key_free(root_key);
    key_free(issuer_key);
    buf_done(&pem);
    return rc;
}

/* --- signing --- */

/* mbedTLS's list of names, in the caller's array of 1 + CA_NAMES_MAX. */
static void list_name(mbedtls_x509_san_list *list, size_t *n, int type, const void *p, size_t len)
{
    mbedtls_x509_san_list *at = &list[*n];

    at->node.type = type;
    at->node.san.unstructured_name.tag = MBEDTLS_ASN1_CONTEXT_SPECIFIC | type;
    at->node.san.unstructured_name.p = (unsigned char *)(uintptr_t)p; /* only read */
    at->node.san.unstructured_name.len = len;
    at->next = NULL;
    if (*n > 0)
        list[*n - 1].next = at;
    (*n)++;
}

static int list_names(const struct ca_leaf *leaf, mbedtls_x509_san_list *list, struct err *err)
{
    size_t n = 0;

    list_name(list, &n, MBEDTLS_X509_SAN_UNIFORM_RESOURCE_IDENTIFIER, leaf->uri.p, leaf->uri.n);
    for (size_t i = 0; i < leaf->dns_count; i++) {
        struct str name = leaf->dns[i];

        if (name.n == 0 || name.n > 253 || memchr(name.p, 0, name.n))
            return err_set(err, ERR_INVALID, "a DNS name has 1 to 253 characters");
        list_name(list, &n, MBEDTLS_X509_SAN_DNS_NAME, name.p, name.n);
    }
    for (size_t i = 0; i < leaf->ip_count; i++)
        list_name(list, &n, MBEDTLS_X509_SAN_IP_ADDRESS, leaf->ips[i].ip,
                  leaf->ips[i].family == 4 ? 4 : 16);
    return 0;
}

static int check_request(const struct ca *ca, const struct ca_leaf *leaf, int64_t now_ms,
                         struct err *err)
{
    struct identity id;

    if (leaf->uri.n >= CERT_URI_MAX || identity_parse(leaf->uri, &id, err) != 0)
        return err_wrap(err, "cannot sign for '%.*s'", STR_ARG(str_sub(leaf->uri, 0, 200)));
    if (leaf->dns_count + leaf->ip_count > CA_NAMES_MAX)
        return err_set(err, ERR_LIMIT, "a certificate has at most %u DNS and IP names",
                       CA_NAMES_MAX);
    if (leaf->lifetime_ms < 0 || leaf->lifetime_ms > CA_ISSUER_MS)
        return err_set(err, ERR_INVALID, "a certificate lives from 1 ms to %lld days",
                       CA_ISSUER_MS / CA_DAY_MS);
    if (cert_check_time(&ca->issuer_info, now_ms, err) != 0)
        return err_wrap(err, "the issuer cannot sign (make a new one)");
    return 0;
}

int ca_sign(const struct ca *ca, const struct ca_leaf *leaf, int64_t now_ms, struct buf *chain_pem,
            struct cert_info *info, struct err *err)
{
    mbedtls_x509_san_list names[1 + CA_NAMES_MAX];
    int64_t life = leaf->lifetime_ms ? leaf->lifetime_ms : CA_LEAF_MS;
    int64_t until_ms = MIN(now_ms + life, ca->issuer_info.not_after_ms);
    struct template t = {.subject_key = &leaf->key,
                         .subject = "O=weft",
                         .issuer_key = ca->issuer_key,
                         .issuer = ca->issuer_info.subject,
                         .not_before_ms = MAX(now_ms - lifetime_backdate_ms(until_ms - now_ms),
                                              ca->issuer_info.not_before_ms),
                         .not_after_ms = until_ms,
                         .names = names};
    struct cert_chain *made = NULL;
    struct buf pem;
    int rc = -1;

    memset(names, 0, sizeof(names));
    buf_init(&pem, CA_PEM_MAX);
    if (check_request(ca, leaf, now_ms, err) != 0 || list_names(leaf, names, err) != 0 ||
        sign(&t, &pem, err) != 0)
        goto out;
    if (info) {
        made = cert_parse(buf_str(&pem), err);
        if (!made || cert_describe(made, 0, info, err) != 0)
            goto out;
    }
    buf_add(chain_pem, buf_str(&pem));
    buf_adds(chain_pem, ca->issuer_pem);
    rc = 0;
out:
    cert_free(made);
    buf_done(&pem);
    return rc;
}

struct str ca_roots_pem(const struct ca *ca)
{
    return str_from(ca->root_pem);
}

const uint8_t *ca_pin(const struct ca *ca)
{
    return ca->pin;
}

int64_t ca_issuer_not_after_ms(const struct ca *ca)
{
    return ca->issuer_info.not_after_ms;
}
