/* What sessions share: the settings of mbedTLS, made once and not written again, so that handshakes may run on helpers. */
#include <string.h>

#include "mesh/base/mem.h"
#include "mesh/identity.h"
#include "pki/cert.h"
#include "pki/creds.h"
#include "pki/crl.h"
#include "pki/key.h"
#include "pki/mbed.h"
#include "proxy/wire/tls_parts.h"

#define TLS13_SUITES 3u

/* P-256 and AES-128-GCM first: what every host of the mesh does, and fastest here. */
static const int mesh_suites[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                                  MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                                  MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                                  MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
                                  MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
                                  MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
                                  0};
/* Outside the mesh others chose their keys: RSA too. */
static const int edge_suites[] = {MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
                                  MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
                                  MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
                                  MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                                  MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                                  MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                                  MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
                                  MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                                  MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
                                  0};
static const uint16_t groups[] = {
    MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
    MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE};
/* --- once per process --- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static bool library_ok;

static void library_init(void)
{
    mbedtls_aes_context aes;
    unsigned char key[16] = {0}, block[16] = {0};

    /* mbedTLS finds out what the processor can do at the first AES operation, without a lock. */
    mbedtls_aes_init(&aes);
    library_ok = mbedtls_aes_setkey_enc(&aes, key, 128) == 0 &&
                 mbedtls_aes_crypt_ecb(&aes, MBEDTLS_AES_ENCRYPT, block, block) == 0 &&
                 psa_crypto_init() == PSA_SUCCESS; /* for TLS 1.3 */
    mbedtls_aes_free(&aes);
}

bool tls_library_start(void)
{
    pthread_once(&library_once, library_init);
    return library_ok;
}

/* --- contexts --- */

static int note_sni(void *arg, mbedtls_ssl_context *ssl, const unsigned char *name, size_t n)
{
    struct tls *t = mbedtls_ssl_get_user_data_p(ssl);

    (void)arg; /* one identity per context: nothing is chosen here */
    if (n >= sizeof(t->sni) || memchr(name, 0, n))
        return -1; /* mbedTLS answers unrecognized_name */
    memcpy(t->sni, name, n);
    t->sni[n] = 0;
    return 0;
}

static int set_versions(mbedtls_ssl_config *conf, const struct tls_options *o, struct err *err)
{
    unsigned low = o->min_version ? o->min_version : 12;
    unsigned high = o->max_version ? o->max_version : MAX(low, 12);

    if (low < 12 || high > 13 || low > high)
        return err_set(err, ERR_INVALID, "TLS versions are 12 or 13, not %u to %u", low, high);
    mbedtls_ssl_conf_min_tls_version(conf, low == 13 ? MBEDTLS_SSL_VERSION_TLS1_3
                                                     : MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_max_tls_version(conf, high == 13 ? MBEDTLS_SSL_VERSION_TLS1_3
                                                      : MBEDTLS_SSL_VERSION_TLS1_2);
    return 0;
}

static int authmode(enum tls_peer peer)
{
    switch (peer) {
    case TLS_PEER_NONE:
        return MBEDTLS_SSL_VERIFY_NONE;
    case TLS_PEER_OPTIONAL:
    case TLS_PEER_CLIENT_OPTIONAL:
    case TLS_PEER_PINNED: /* mbedTLS has no roots to require; tls_verify() decides */
    case TLS_PEER_ANY:
        return MBEDTLS_SSL_VERIFY_OPTIONAL;
    case TLS_PEER_REQUIRED:
    case TLS_PEER_CLIENT:
    case TLS_PEER_WEB:
        return MBEDTLS_SSL_VERIFY_REQUIRED;
    }
    return MBEDTLS_SSL_VERIFY_REQUIRED;
}

static int check_options(const struct tls_context *c, const struct tls_options *o, struct err *err)
{
    bool for_server = o->peer == TLS_PEER_NONE || o->peer == TLS_PEER_OPTIONAL || tls_is_foreign_client(o->peer);
    bool for_client =
        o->peer == TLS_PEER_PINNED || o->peer == TLS_PEER_WEB || o->peer == TLS_PEER_ANY;

    if ((c->is_server && for_client) || (!c->is_server && for_server))
        return err_set(err, ERR_INVALID, "this way to check the peer is not one of a TLS %s",
                       c->is_server ? "server" : "client");
    if (c->is_server && !creds_chain(c->creds, 0))
        return err_set(err, ERR_INVALID, "a TLS server needs a certificate");
    if (o->peer != TLS_PEER_NONE && o->peer != TLS_PEER_PINNED && o->peer != TLS_PEER_ANY &&
        !creds_roots(c->creds))
        return err_set(err, ERR_INVALID, "trusted roots are needed to verify the peer");
    return 0;
}

static int set_identity(struct tls_context *c, struct err *err)
{
    struct str uri = creds_uri(c->creds);
    struct identity id = {0};
    int rc = 0;

    if (uri.n > 0 && identity_parse(uri, &id, err) != 0)
        return -1;
    c->trust_domain = str_dup(id.trust_domain);
    if (creds_roots(c->creds) && c->peer != TLS_PEER_PINNED)
        mbedtls_ssl_conf_ca_chain(&c->conf, cert_mbedtls(creds_roots(c->creds)),
                                  creds_crl(c->creds) ? crl_mbedtls(creds_crl(c->creds)) : NULL);
    /* Of two, mbedTLS shows the one that fits what the client offers. */
    for (size_t i = 0; i < CREDS_SHOWN_MAX && rc == 0; i++) {
        if (creds_chain(c->creds, i))
            rc = mbedtls_ssl_conf_own_cert(&c->conf, cert_mbedtls(creds_chain(c->creds, i)), key_mbedtls(creds_key(c->creds, i)));
    }
    return rc == 0 ? 0 : mbed_err(err, ERR_INVALID, rc, "cannot use the certificate");
}

/* Those of TLS 1.2 that are asked for and spoken here, in the order asked for; 1.3 has its own. */
static const int *choose_suites(struct tls_context *c, const struct tls_options *o)
{
    static const struct {
        struct str name;
        int suite;
    } known[] = {
        {STR_INIT("ECDHE-ECDSA-AES128-GCM-SHA256"), MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
        {STR_INIT("ECDHE-RSA-AES128-GCM-SHA256"), MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
        {STR_INIT("ECDHE-ECDSA-AES256-GCM-SHA384"), MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
        {STR_INIT("ECDHE-RSA-AES256-GCM-SHA384"), MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
        {STR_INIT("ECDHE-ECDSA-CHACHA20-POLY1305"), MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
        {STR_INIT("ECDHE-RSA-CHACHA20-POLY1305"), MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256},
    };
    struct str rest = o->ciphers, name;
    size_t n = 0;

    for (; edge_suites[n] >= MBEDTLS_TLS1_3_AES_128_GCM_SHA256 && edge_suites[n] <= MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256; n++)
        c->suites[n] = edge_suites[n];
    while (str_next(&rest, ' ', &name)) {
        for (size_t i = 0; i < COUNT(known) && n < COUNT(c->suites) - 1; i++) {
            if (str_eq(known[i].name, name))
                c->suites[n++] = known[i].suite;
        }
    }
    c->suites[n] = 0;
    return n > TLS13_SUITES ? c->suites : edge_suites;
}

static int fill(struct tls_context *c, const struct tls_options *o, struct err *err)
{
    mbedtls_ssl_config *conf = &c->conf;
    bool is_mesh = tls_must_have_uri(c->peer) || o->peer == TLS_PEER_OPTIONAL;
    int rc;

    if (check_options(c, o, err) != 0)
        return -1;
    rc = mbedtls_ssl_config_defaults(conf,
                                     c->is_server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
                                     MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc != 0)
        return mbed_err(err, ERR_INVALID, rc, "cannot set TLS up");
    mbedtls_ssl_conf_rng(conf, key_random, NULL);
    mbedtls_ssl_conf_authmode(conf, authmode(o->peer));
    mbedtls_ssl_conf_cert_profile(conf, cert_profile());
    mbedtls_ssl_conf_ciphersuites(conf, is_mesh && creds_uri(c->creds).n > 0 ? mesh_suites : choose_suites(c, o));
    mbedtls_ssl_conf_groups(conf, groups);
    mbedtls_ssl_conf_renegotiation(conf, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
    mbedtls_ssl_conf_legacy_renegotiation(conf, MBEDTLS_SSL_LEGACY_NO_RENEGOTIATION);
    if (c->is_server) {
        mbedtls_ssl_conf_cert_req_ca_list(conf, MBEDTLS_SSL_CERT_REQ_CA_LIST_DISABLED);
        mbedtls_ssl_conf_new_session_tickets(conf, 0); /* of TLS 1.3 */
        mbedtls_ssl_conf_sni(conf, note_sni, NULL);
        if (c->tickets)
            tls_tickets_use(conf, c->tickets);
    }
    if (o->alpn) {
        /* mbedTLS reads the list but says non-const. */
        rc = mbedtls_ssl_conf_alpn_protocols(conf, (const char **)(uintptr_t)o->alpn);
        if (rc != 0)
            return mbed_err(err, ERR_INVALID, rc, "the list of ALPN protocols");
    }
    if (set_versions(conf, o, err) != 0)
        return -1;
    return set_identity(c, err);
}

static struct tls_context *context_new(bool is_server, struct creds *creds,
                                       struct tls_tickets *tickets,
                                       const struct tls_options *options, struct err *err)
{
    struct tls_context *c;

    if (!tls_library_start()) {
        err_set(err, ERR_IO, "the TLS library could not start");
        return NULL;
    }
    c = MEM_NEW(struct tls_context);
    atomic_init(&c->refs, 1);
    mbedtls_ssl_config_init(&c->conf);
    pthread_mutex_init(&c->lock, NULL);
    map_init(&c->sessions);
    c->is_server = is_server;
    c->peer = options->peer;
    c->creds = creds_ref(creds);
    c->tickets = tickets ? tls_tickets_ref(tickets) : NULL;
    memcpy(c->pin, options->pin, sizeof(c->pin));
    if (fill(c, options, err) != 0)
        return tls_context_unref(c);
    return c;
}

struct tls_context *tls_server_context(struct creds *creds, struct tls_tickets *tickets,
                                       const struct tls_options *options, struct err *err)
{
    return context_new(true, creds, tickets, options, err);
}

struct tls_context *tls_client_context(struct creds *creds, const struct tls_options *options,
                                       struct err *err)
{
    return context_new(false, creds, NULL, options, err);
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

struct tls_context *tls_context_unref(struct tls_context *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return NULL;
    tls_drop_sessions(c);
    pthread_mutex_destroy(&c->lock);
    mbedtls_ssl_config_free(&c->conf);
    tls_tickets_unref(c->tickets);
    creds_unref(c->creds);
    mem_free(c->trust_domain);
    mem_free(c);
    return NULL;
}
