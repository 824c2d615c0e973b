#include <mbedtls/ecp.h>
#include <mbedtls/x509_csr.h>

#include "test/unit/odd_pki.h"

struct odd_world {
    struct key *root_key, *issuer_key, *leaf_key;
    struct buf root_pem, issuer_pem;
    struct cert_chain *roots;
};

static const struct odd authority = {.is_ca = true, .usage = MBEDTLS_X509_KU_KEY_CERT_SIGN};

static void odd_init(struct odd_world *w)
{
    struct err err;

    w->root_key = key_new();
    w->issuer_key = key_new();
    w->leaf_key = key_new();
    buf_init(&w->root_pem, 1 << 16);
    buf_init(&w->issuer_pem, 1 << 16);
    odd_sign("CN=root", w->root_key, "CN=root", w->root_key, &authority, &w->root_pem);
    odd_sign("CN=issuer", w->issuer_key, "CN=root", w->root_key, &authority, &w->issuer_pem);
    w->roots = cert_parse(buf_str(&w->root_pem), &err);
    CHECK(w->roots != NULL);
}

static void odd_done(struct odd_world *w)
{
    key_free(w->root_key);
    key_free(w->issuer_key);
    key_free(w->leaf_key);
    buf_done(&w->root_pem);
    buf_done(&w->issuer_pem);
    cert_free(w->roots);
}

/* 2026-01-15, amid the validity. */
static int64_t amid(void)
{
    int64_t ms = 0;

    CHECK(text_untime(STR("2026-01-15T00:00:00Z"), &ms));
    return ms;
}

static int odd_verify(const struct odd_world *w, const struct odd *o, enum cert_role role,
                      struct err *err)
{
    struct buf pem;
    struct cert_chain *chain;
    int rc;

    buf_init(&pem, 1 << 16);
    if (o->direct) {
        odd_sign("CN=leaf", w->leaf_key, "CN=root", w->root_key, o, &pem);
    } else {
        odd_sign("CN=leaf", w->leaf_key, "CN=issuer", w->issuer_key, o, &pem);
        buf_add(&pem, buf_str(&w->issuer_pem));
    }
    chain = cert_parse(buf_str(&pem), err);
    CHECK(chain != NULL);
    rc = cert_verify(chain, w->roots, amid(), role, NULL, err);
    cert_free(chain);
    buf_done(&pem);
    return rc;
}

#define SIGNS MBEDTLS_X509_KU_DIGITAL_SIGNATURE

TEST(leaves_are_judged_by_the_rules_of_spiffe)
{
    static const struct {
        struct odd leaf;
        enum cert_role role;
        const char *says; /* NULL: accepted */
    } rows[] = {
        {{.names = {"URI:" WEB_URI}, .usage = SIGNS},                                 CERT_CLIENT, NULL             },
        {{.names = {"URI:" WEB_URI}, .no_usage = true},                               CERT_CLIENT, NULL             },
        {{.names = {"URI:" WEB_URI}, .usage = SIGNS, .direct = true},                 CERT_SERVER, NULL             },
        {{.names = {"DNS:a.test", "URI:" WEB_URI, "DNS:b.test"}, .usage = SIGNS},
         CERT_SERVER,                                                                              NULL             },
        {{.names = {"DNS:a.test"}, .usage = SIGNS},                                   CERT_CLIENT, "0 URI names"    },
        {{.usage = SIGNS},                                                            CERT_CLIENT, "0 URI names"    },
        {{.names = {"URI:" WEB_URI, "URI:" DB_URI}, .usage = SIGNS},                  CERT_CLIENT, "2 URI names"    },
        {{.names = {"URI:" WEB_URI, "URI:" WEB_URI}, .usage = SIGNS},                 CERT_CLIENT, "2 URI names"    },
        {{.names = {"URI:" WEB_URI}, .usage = SIGNS, .is_ca = true},                  CERT_CLIENT, "CA:TRUE"        },
        {{.names = {"URI:" WEB_URI}, .usage = MBEDTLS_X509_KU_KEY_CERT_SIGN},
         CERT_CLIENT,                                                                              "key usage"      },
        {{.names = {"URI:" WEB_URI}, .usage = SIGNS | MBEDTLS_X509_KU_KEY_CERT_SIGN},
         CERT_CLIENT,                                                                              "key usage"      },
        {{.names = {"URI:" WEB_URI}, .usage = SIGNS, .eku = MBEDTLS_OID_SERVER_AUTH},
         CERT_SERVER,                                                                              NULL             },
        {{.names = {"URI:" WEB_URI}, .usage = SIGNS, .eku = MBEDTLS_OID_SERVER_AUTH},
         CERT_CLIENT,                                                                              "not for clients"},
        {{.names = {"URI:" WEB_URI}, .usage = SIGNS, .eku = MBEDTLS_OID_CLIENT_AUTH},
         CERT_SERVER,                                                                              "not for servers"},
        {{.names = {"URI:" WEB_URI}, .usage = SIGNS, .eku = MBEDTLS_OID_CLIENT_AUTH},
         CERT_EITHER,                                                                              NULL             },
        {{.names = {"URI:" WEB_URI}, .usage = SIGNS, .sha1 = true},                   CERT_CLIENT, "weak hash"      },
    };
    struct odd_world w;

    odd_init(&w);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err err = {0};
        int rc = odd_verify(&w, &rows[i].leaf, rows[i].role, &err);

        if ((rc == 0) != !rows[i].says || (rows[i].says && !strstr(err.text, rows[i].says)))
            print_error("row %zu: %d %s\n", i, rc, err.text);
        CHECK_INT(rc, rows[i].says ? -1 : 0);
        CHECK(!rows[i].says || strstr(err.text, rows[i].says));
    }
    odd_done(&w);
}

TEST(a_leaf_cannot_issue)
{
    static const struct odd leaf = {.names = {"URI:" WEB_URI}, .usage = SIGNS};
    struct odd_world w;
    struct key *own = key_new();
    struct buf pem;
    struct cert_chain *chain;
    struct err err;

    odd_init(&w);
    buf_init(&pem, 1 << 16);
    odd_sign("CN=forged", own, "CN=leaf", w.leaf_key, &leaf, &pem);
    odd_sign("CN=leaf", w.leaf_key, "CN=issuer", w.issuer_key, &leaf, &pem);
    buf_add(&pem, buf_str(&w.issuer_pem));
    chain = cert_parse(buf_str(&pem), &err);
    CHECK(chain != NULL);
    CHECK_INT(cert_verify(chain, w.roots, amid(), CERT_EITHER, NULL, &err), -1);
    CHECK(strstr(err.text, "not signed by a trusted root") != NULL);
    cert_free(chain);
    buf_done(&pem);
    key_free(own);
    odd_done(&w);
}

TEST(time_is_the_callers)
{
    struct pki_world w;
    struct key *k = key_new();
    struct buf pem;
    struct cert_chain *chain, *roots;
    struct cert_info info;
    struct err err;

    pki_world_init(&w, "cluster.local");
    buf_init(&pem, 1 << 16);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &pem, &info);
    chain = cert_parse(buf_str(&pem), &err);
    roots = cert_parse(ca_roots_pem(w.ca), &err);
    CHECK_INT(cert_verify(chain, roots, info.not_before_ms, CERT_EITHER, NULL, &err), 0);
    CHECK_INT(cert_verify(chain, roots, info.not_after_ms, CERT_EITHER, NULL, &err), 0);
    CHECK_INT(cert_verify(chain, roots, info.not_before_ms - 1, CERT_EITHER, NULL, &err), -1);
    CHECK(strstr(err.text, "not valid yet") != NULL);
    CHECK_INT(cert_verify(chain, roots, info.not_after_ms + 1, CERT_EITHER, NULL, &err), -1);
    CHECK(strstr(err.text, "expired") != NULL);
    CHECK_INT(cert_verify(chain, roots, CERT_ANY_TIME, CERT_EITHER, NULL, &err), 0);
    cert_free(chain);
    cert_free(roots);
    buf_done(&pem);
    key_free(k);
    pki_world_done(&w);
}

TEST(another_authoritys_chain_is_refused)
{
    struct pki_world w, other;
    struct key *k = key_new();
    struct buf pem;
    struct cert_chain *chain, *roots;
    struct err err;

    pki_world_init(&w, "cluster.local");
    pki_world_init(&other, "cluster.local"); /* same names, other keys */
    buf_init(&pem, 1 << 16);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &pem, NULL);
    chain = cert_parse(buf_str(&pem), &err);
    roots = cert_parse(ca_roots_pem(other.ca), &err);
    CHECK_INT(cert_verify(chain, roots, w.now_ms, CERT_EITHER, NULL, &err), -1);
    CHECK_INT(err.code, ERR_DENIED);
    cert_free(chain);
    cert_free(roots);
    buf_done(&pem);
    key_free(k);
    pki_world_done(&w);
    pki_world_done(&other);
}

TEST(a_chain_without_its_issuer_is_refused)
{
    struct pki_world w;
    struct key *k = key_new();
    struct buf pem;
    struct cert_chain *chain, *leaf, *roots;
    struct err err;

    pki_world_init(&w, "cluster.local");
    buf_init(&pem, 1 << 16);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &pem, NULL);
    chain = cert_parse(buf_str(&pem), &err);
    leaf = cert_parse(cert_der(chain, 0), &err); /* DER, one */
    roots = cert_parse(ca_roots_pem(w.ca), &err);
    CHECK_INT(cert_count(leaf), 1);
    CHECK_INT(cert_verify(leaf, roots, w.now_ms, CERT_EITHER, NULL, &err), -1);
    CHECK_INT(cert_verify(roots, roots, w.now_ms, CERT_EITHER, NULL, &err),
              -1); /* a CA is no peer */
    cert_free(chain);
    cert_free(leaf);
    cert_free(roots);
    buf_done(&pem);
    key_free(k);
    pki_world_done(&w);
}

TEST(a_chain_prints_as_it_was_read)
{
    struct pki_world w;
    struct key *k = key_new();
    struct buf pem, again;
    struct cert_chain *chain;
    struct err err;

    pki_world_init(&w, "cluster.local");
    buf_init(&pem, 1 << 16);
    buf_init(&again, 1 << 16);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &pem, NULL);
    chain = cert_parse(buf_str(&pem), &err);
    cert_pem(chain, &again);
    CHECK(str_eq(buf_str(&pem), buf_str(&again)));
    CHECK_INT(cert_der(chain, 2).n, 0);
    cert_free(chain);
    buf_done(&pem);
    buf_done(&again);
    key_free(k);
    pki_world_done(&w);
}

TEST(the_pin_finds_the_root_and_nothing_else)
{
    struct pki_world w;
    struct creds *c;
    struct cert_chain *root;
    uint8_t wrong[HASH_BYTES] = {1};
    struct err err;

    pki_world_init(&w, "cluster.local");
    c = pki_world_creds(&w, SERVER_URI, w.now_ms);
    CHECK_INT(cert_count(creds_chain(c, 0)), 3);
    root = cert_find_pin(creds_chain(c, 0), ca_pin(w.ca), &err);
    CHECK(root != NULL);
    CHECK_INT(cert_verify(creds_chain(c, 0), root, w.now_ms, CERT_SERVER, NULL, &err), 0);
    CHECK(cert_find_pin(creds_chain(c, 0), wrong, &err) == NULL);
    cert_free(root);
    creds_unref(c);
    pki_world_done(&w);
}

TEST(what_is_no_certificate_is_refused)
{
    static const char empty_der[] =
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    static const char *const texts[] = {"", "hello", "-----BEGIN CERTIFICATE-----\n", empty_der,
                                        "0\x82\x01"};
    struct err err;

    for (size_t i = 0; i < COUNT(texts); i++) {
        err.text[0] = 0;
        CHECK(cert_parse(str_from(texts[i]), &err) == NULL);
        CHECK(err.text[0] != 0);
    }
}

/* --- requests --- */

TEST(a_request_gives_its_key)
{
    struct key *k = key_new();
    struct buf csr;
    struct key_pub want, got;
    struct err err = {0};

    buf_init(&csr, CERT_CSR_MAX);
    CHECK_INT(key_csr(k, &csr, &err), 0);
    CHECK_INT(cert_csr_key(buf_str(&csr), &got, &err), 0);
    key_public(k, &want);
    CHECK(memcmp(&got, &want, sizeof(got)) == 0);
    buf_done(&csr);
    key_free(k);
}

/* A request in DER of any key; returns where it starts in `der`. */
static struct str odd_csr(mbedtls_pk_context *pk, unsigned char *der, size_t max)
{
    mbedtls_x509write_csr w;
    int n;

    mbedtls_x509write_csr_init(&w);
    mbedtls_x509write_csr_set_md_alg(&w, MBEDTLS_MD_SHA256);
    mbedtls_x509write_csr_set_key(&w, pk);
    CHECK_INT(mbedtls_x509write_csr_set_subject_name(&w, "CN=spiffe://cluster.local/weft/server"),
              0);
    CHECK_INT(mbedtls_x509write_csr_set_key_usage(&w, MBEDTLS_X509_KU_KEY_CERT_SIGN), 0);
    n = mbedtls_x509write_csr_der(&w, der, max, key_random, NULL);
    CHECK(n > 0);
    mbedtls_x509write_csr_free(&w);
    return (struct str){(const char *)der + max - n, (size_t)n};
}

TEST(names_and_usages_that_a_request_asks_for_do_not_count)
{
    struct key *k = key_new();
    unsigned char der[4096];
    struct key_pub want, got;
    struct err err = {0};

    CHECK_INT(cert_csr_key(odd_csr(key_mbedtls(k), der, sizeof(der)), &got, &err), 0);
    key_public(k, &want);
    CHECK(memcmp(&got, &want, sizeof(got)) == 0);
    key_free(k);
}

TEST(a_request_that_its_key_did_not_sign_is_refused)
{
    struct key *k = key_new(), *other = key_new();
    struct key_pub mine, stolen, got;
    unsigned char der[4096];
    struct str csr = odd_csr(key_mbedtls(k), der, sizeof(der));
    unsigned char *at = der + sizeof(der) - csr.n;
    struct err err;
    size_t key_at = 0;

    /* Somebody else's public key, our signature. */
    key_public(k, &mine);
    key_public(other, &stolen);
    CHECK(str_find(csr, (struct str){(const char *)mine.der, sizeof(mine.der)}, &key_at));
    memcpy(at + key_at, stolen.der, sizeof(stolen.der));
    CHECK_INT(cert_csr_key(csr, &got, &err), -1);
    CHECK(strstr(err.text, "not signed by the key") != NULL);
    memcpy(at + key_at, mine.der, sizeof(mine.der));
    CHECK_INT(cert_csr_key(csr, &got, &err), 0);
    at[csr.n - 1] ^= 1; /* the signature's last bit */
    CHECK_INT(cert_csr_key(csr, &got, &err), -1);
    key_free(k);
    key_free(other);
}

TEST(requests_of_other_kinds_of_key_are_refused)
{
    static const mbedtls_ecp_group_id curves[] = {
        MBEDTLS_ECP_DP_SECP192R1, MBEDTLS_ECP_DP_SECP256K1, MBEDTLS_ECP_DP_SECP384R1};
    unsigned char der[4096];
    struct key_pub got;
    struct err err;

    for (size_t i = 0; i < COUNT(curves); i++) {
        mbedtls_pk_context pk;

        mbedtls_pk_init(&pk);
        CHECK_INT(mbedtls_pk_setup(&pk, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), 0);
        CHECK_INT(mbedtls_ecp_gen_key(curves[i], mbedtls_pk_ec(pk), key_random, NULL), 0);
        CHECK_INT(cert_csr_key(odd_csr(&pk, der, sizeof(der)), &got, &err), -1);
        CHECK(strstr(err.text, "not P-256") != NULL);
        mbedtls_pk_free(&pk);
    }
}

TEST(a_request_has_a_size)
{
    static char big[CERT_CSR_MAX + 1];
    struct key_pub got;
    struct err err;

    CHECK_INT(cert_csr_key((struct str){big, sizeof(big)}, &got, &err), -1);
    CHECK_INT(err.code, ERR_LIMIT);
    CHECK_INT(cert_csr_key(STR_NONE, &got, &err), -1);
    CHECK_INT(cert_csr_key(STR("-----BEGIN CERTIFICATE REQUEST-----\n"), &got, &err), -1);
}

/* --- x-forwarded-client-cert --- */

static struct str told_of(const char *subject, const struct odd *o, bool with_cert, struct buf *out)
{
    struct key *key = key_new();
    struct buf pem;
    struct cert_chain *chain;
    struct cert_info info;
    struct err err;

    buf_init(&pem, 1 << 16);
    buf_init(out, 1 << 16);
    odd_sign(subject, key, "CN=issuer", key, o, &pem);
    chain = cert_parse(buf_str(&pem), &err);
    CHECK(chain != NULL);
    CHECK_INT(cert_describe(chain, 0, &info, &err), 0);
    cert_forward(cert_mbedtls(chain), info.fingerprint, with_cert, out);
    cert_free(chain);
    buf_done(&pem);
    key_free(key);
    CHECK(str_starts(buf_str(out), STR("Hash=")));
    return str_sub(buf_str(out), 5 + 2 * HASH_BYTES, buf_str(out).n);
}

TEST(a_certificate_is_told_in_a_header)
{
    static const struct {
        const char *subject;
        struct odd leaf;
        const char *told;
    } rows[] = {
        {"C=DE,O=Weft,CN=friend", {.names = {"DNS:a.test", "URI:" WEB_URI, "DNS:*.b.test"}},
         ";Subject=\"CN=friend,O=Weft,C=DE\";URI=" WEB_URI ";DNS=*.b.test;DNS=a.test"}, /* mbedTLS writes them from the end */
        {"CN=friend", {.names = {NULL}}, ";Subject=\"CN=friend\";URI="}, /* URI is always there, as Subject is */
        {"CN=x", {.names = {"URI:a:b", "URI:c:d"}}, ";Subject=\"CN=x\";URI=c:d;URI=a:b"},
        /* what has a meaning in the header is in quotes, or escaped as RFC 2253 does */
        {"O=A\\, B\\\"C,CN= x", {.names = {"URI:a:b,By=c", "DNS:a\"b"}},
         ";Subject=\"CN=\\ x,O=A\\, B\\\"C\";URI=\"a:b,By=c\";DNS=\"a\\\"b\""},
        {"CN=x", {.names = {"DNS:a b", "URI:a:b\r\nHost: c"}}, ";Subject=\"CN=x\";URI="}, /* no ASCII word: left out */
        {"CN=\xc3\xa4\n", {.names = {NULL}}, ";Subject=\"CN=\\C3\\A4\\0A\";URI="},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf text;

        CHECK_STR(told_of(rows[i].subject, &rows[i].leaf, false, &text), rows[i].told);
        buf_done(&text);
    }
}

TEST(the_whole_certificate_is_told_on_demand)
{
    const struct odd leaf = {.names = {"URI:" WEB_URI}};
    struct buf text;
    struct str told = told_of("CN=x", &leaf, true, &text);

    CHECK(str_starts(told, STR(";Cert=\"-----BEGIN%20CERTIFICATE-----%0AMII")));
    CHECK(strstr(told.p, "%0A-----END%20CERTIFICATE-----%0A\";Subject=\"CN=x\";URI=" WEB_URI) != NULL);
    CHECK(!memchr(told.p, ' ', told.n) && !memchr(told.p, '\n', told.n) && !memchr(told.p, '+', told.n));
    buf_done(&text);
}

TEST(a_certificate_too_large_to_tell_is_told_by_its_hash)
{
    static char name[15000];
    struct odd leaf = {.names = {name}};
    struct buf text;

    snprintf(name, sizeof(name), "DNS:");
    memset(name + 4, '"', 14000); /* twice as long, in quotes, and so in PEM */
    CHECK_STR(told_of("CN=x", &leaf, true, &text), "");
    buf_done(&text);
}
