/* One mbedTLS session over memory.
 *
 * Where a peer is judged: verify() runs inside a full handshake, so that a wrong peer gets an alert
 * before we are established and before a ticket is made. A resumed handshake skips it; then the
 * ticket's own certificate is judged in take_ticket() (server: a stale one becomes a full
 * handshake) and offer_session() (client: a stale one is not offered). finish() asks once more in
 * all cases.
 *
 * TLS 1.3 is never resumed: mbedTLS 3.6 loses the peer's certificate there, and with it who the
 * peer is.
 *
 * The random source is getrandom(2), stateless, and the configuration is not written after it is
 * made. So a handshake may run on a helper; only the session cache needs a lock.
 */
#include "proxy/wire/tls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/aes.h>
#include <mbedtls/error.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <mbedtls/ssl_ticket.h>
#include <psa/crypto.h>

#include "mesh/base/map.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/identity.h"
#include "pki/cert.h"
#include "pki/creds.h"
#include "pki/key.h"
#include "pki/mbed.h"
#include "proxy/wire/tls_lean.h"

#define TICKET_LIFE_S   (4u * 3600) /* a ticket key seals this long and opens twice as long */
#define SESSIONS_MAX    1024u       /* of a client context; the oldest goes */
#define SESSION_BYTES   (32u << 10) /* a longer one is not kept */
#define EXPECT_MAX      65536u      /* bytes of expected names */
#define FINGERPRINT_MAX (2 * HASH_BYTES + 1)
#define SNI_MAX         256
#define SUITES_MAX      12
#define TLS13_SUITES    3u

struct tls_tickets {
    atomic_uint refs;
    mbedtls_ssl_ticket_context keys; /* locks itself */
};

/* A session that may be resumed. */
struct slot {
    uint8_t *bytes; /* mbedTLS's form; holds the master secret */
    size_t n;
    char *peer_uri;
    int64_t peer_not_after_ms;
};

struct tls_context {
    atomic_uint refs;
    mbedtls_ssl_config conf;
    struct creds *creds;
    struct tls_tickets *tickets; /* server; NULL for none */
    enum tls_peer peer;
    bool is_server;
    uint8_t pin[HASH_BYTES];
    int suites[SUITES_MAX]; /* where others than ours were asked for */
    char *trust_domain;   /* of our own identity, or "" */
    pthread_mutex_t lock; /* sessions */
    struct map sessions;  /* client: key -> struct slot, oldest first */
};

struct tls {
    mbedtls_ssl_context ssl;
    struct tls_context *context;
    struct tls_lean lean;
    struct tls_input in; /* during a call: what is left of the caller's */
    tls_sink_fn *sink;
    void *sink_arg;
    char *expect;
    char *session_key; /* "" for no resumption */
    bool has_sni, started, established, failed, verified, resumed, offered;
    bool transport_eof, peer_closed, closed;
    uint32_t flags; /* of the chain's certificates above the leaf */
    char *peer_uri;
    char peer_fingerprint[FINGERPRINT_MAX];
    int64_t peer_not_after_ms;
    char sni[SNI_MAX];
    char failure[320];
};

/* The session whose handshake runs on this thread: mbedTLS's ticket callbacks do not say. */
static _Thread_local struct tls *current;

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

/* --- who is acceptable --- */

static void fail_text(struct tls *t, const char *text)
{
    if (!t->failure[0]) /* the first reason is the true one */
        snprintf(t->failure, sizeof(t->failure), "%.*s", (int)sizeof(t->failure) - 1, text);
}

/* One pattern of the expected names: the whole URI, or its beginning before a '*'. */
static bool pattern_fits(struct str pattern, struct str uri)
{
    if (pattern.n > 0 && pattern.p[pattern.n - 1] == '*')
        return str_starts(uri, str_sub(pattern, 0, pattern.n - 1));
    return str_eq(pattern, uri);
}

static bool is_expected(const struct tls *t, struct str uri)
{
    struct str rest = str_from(t->expect);
    struct str pattern;
    bool any = false;

    while (str_next(&rest, ' ', &pattern)) {
        if (pattern.n == 0)
            continue;
        any = true;
        if (pattern_fits(pattern, uri))
            return true;
    }
    return !any;
}

/* The name rules for a peer of the mesh. */
static int judge_uri(const struct tls *t, struct str uri, struct err *err)
{
    const struct tls_context *c = t->context;
    struct identity id;

    if (identity_parse(uri, &id, err) != 0)
        return err_wrap(err, "the peer's name");
    if (c->peer == TLS_PEER_PINNED && id.kind != IDENTITY_SERVER)
        return err_set(err, ERR_DENIED, "the peer is %.*s, not a server of the mesh",
                       STR_ARG(str_sub(uri, 0, 200)));
    if (t->expect && t->expect[0]) {
        if (!is_expected(t, uri))
            return err_set(err, ERR_DENIED, "the peer is %.*s, which is not expected here",
                           STR_ARG(str_sub(uri, 0, 200)));
        return 0;
    }
    if (c->trust_domain[0] && !str_eq(id.trust_domain, str_from(c->trust_domain)))
        return err_set(err, ERR_DENIED, "the peer %.*s is not of trust domain %s",
                       STR_ARG(str_sub(uri, 0, 200)), c->trust_domain);
    return 0;
}

/* Somebody outside of the mesh who calls a gateway. */
static bool is_foreign_client(enum tls_peer peer)
{
    return peer == TLS_PEER_CLIENT || peer == TLS_PEER_CLIENT_OPTIONAL;
}

static bool may_be_absent(enum tls_peer peer)
{
    return peer == TLS_PEER_OPTIONAL || peer == TLS_PEER_CLIENT_OPTIONAL;
}

static bool must_have_uri(const struct tls_context *c)
{
    return c->peer == TLS_PEER_REQUIRED || c->peer == TLS_PEER_PINNED;
}

/* Without expected names mbedTLS has compared the one that we asked for. */
static int judge_names(const struct tls *t, const mbedtls_x509_crt *x, struct err *err)
{
    struct str rest = str_from(t->expect), name;

    if (!t->expect || rest.n == 0)
        return 0;
    while (str_next(&rest, ' ', &name)) {
        if (name.n > 0 && (str_eq(name, STR("*")) || cert_has_name(x, name)))
            return 0;
    }
    return err_set(err, ERR_DENIED, "the certificate is for another name than %.*s",
                   STR_ARG(str_sub(str_from(t->expect), 0, 200)));
}

static bool has_expected_names(const struct tls *t)
{
    return t->expect && t->expect[0];
}

/* Everything that can be said about a peer's leaf without its chain. */
static int judge_leaf(const struct tls *t, const mbedtls_x509_crt *x, struct cert_info *info,
                      struct err *err)
{
    const struct tls_context *c = t->context;
    enum cert_role role = c->is_server ? CERT_CLIENT : CERT_SERVER;

    if (cert_describe_x509(x, info, err) != 0 || cert_check_time(info, text_wall_ms(), err) != 0)
        return -1;
    if (c->peer == TLS_PEER_WEB || is_foreign_client(c->peer))
        return judge_names(t, x, err);
    if (c->peer == TLS_PEER_ANY)
        return 0;
    if ((must_have_uri(c) || info->uri_count == 1) && cert_check_leaf(x, info, role, err) != 0)
        return -1;
    if (info->uri_count == 1)
        return judge_uri(t, str_from(info->uri), err);
    if (t->expect && t->expect[0])
        return err_set(err, ERR_DENIED, "the peer's certificate names no workload");
    return 0;
}

/* The chain leads to the pinned root: nothing else is trusted yet. */
static int judge_pinned(const struct tls *t, mbedtls_x509_crt *x, struct err *err)
{
    struct cert_chain *root = cert_find_pin_x509(x, t->context->pin, err);
    int rc;

    if (!root)
        return err_wrap(err, "this is not the server of the token");
    rc = cert_verify_x509(x, cert_mbedtls(root), text_wall_ms(), CERT_SERVER, NULL, err);
    cert_free(root);
    return rc;
}

/* mbedTLS calls this for each certificate of a chain, the leaf (depth 0) last. */
static int verify(void *arg, mbedtls_x509_crt *x, int depth, uint32_t *flags)
{
    struct tls *t = arg;
    const struct tls_context *c = t->context;
    struct cert_info info;
    struct err err;
    int rc;

    if (c->peer == TLS_PEER_PINNED || c->peer == TLS_PEER_ANY)
        *flags = 0; /* judged whole at depth 0, or not at all */
    else if (c->peer != TLS_PEER_WEB || has_expected_names(t))
        *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH; /* the SNI is no name of the peer */
    t->flags |= *flags;
    if (depth != 0)
        return 0;
    if (t->flags != 0) {
        fail_text(t, cert_flags_text(t->flags));
        *flags |= MBEDTLS_X509_BADCERT_OTHER;
        return may_be_absent(c->peer) ? MBEDTLS_ERR_X509_FATAL_ERROR : 0;
    }
    rc = judge_leaf(t, x, &info, &err);
    if (rc == 0 && c->peer == TLS_PEER_PINNED)
        rc = judge_pinned(t, x, &err);
    if (rc != 0) {
        fail_text(t, err.text);
        *flags |= MBEDTLS_X509_BADCERT_OTHER;
        return MBEDTLS_ERR_X509_FATAL_ERROR; /* flags alone would not stop an optional peer */
    }
    t->verified = true;
    return 0;
}

/* --- tickets (server) --- */

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *t;

    pthread_once(&library_once, library_init);
    t = MEM_NEW(struct tls_tickets);
    atomic_init(&t->refs, 1);
    mbedtls_ssl_ticket_init(&t->keys);
    /* Fails only without memory or a random source. */
    if (mbedtls_ssl_ticket_setup(&t->keys, key_random, NULL, MBEDTLS_CIPHER_AES_256_GCM,
                                 TICKET_LIFE_S) != 0)
        abort();
    return t;
}

struct tls_tickets *tls_tickets_ref(struct tls_tickets *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

struct tls_tickets *tls_tickets_unref(struct tls_tickets *t)
{
    if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1) {
        mbedtls_ssl_ticket_free(&t->keys); /* wipes */
        mem_free(t);
    }
    return NULL;
}

static int make_ticket(void *arg, const mbedtls_ssl_session *session, unsigned char *start,
                       const unsigned char *end, size_t *n, uint32_t *lifetime)
{
    struct tls_tickets *t = arg;

    if (session->MBEDTLS_PRIVATE(tls_version) != MBEDTLS_SSL_VERSION_TLS1_2)
        return MBEDTLS_ERR_SSL_FEATURE_UNAVAILABLE;
    return mbedtls_ssl_ticket_write(&t->keys, session, start, end, n, lifetime);
}

/* A ticket that no longer holds is refused here, which makes a full handshake of it. */
static int take_ticket(void *arg, mbedtls_ssl_session *session, unsigned char *buf, size_t n)
{
    struct tls_tickets *keys = arg;
    struct tls *t = current;
    const mbedtls_x509_crt *x;
    struct cert_info info;
    struct err err;
    int rc = mbedtls_ssl_ticket_parse(&keys->keys, session, buf, n);

    if (rc != 0)
        return rc;
    x = session->MBEDTLS_PRIVATE(peer_cert);
    if (session->MBEDTLS_PRIVATE(tls_version) != MBEDTLS_SSL_VERSION_TLS1_2 ||
        ((t->context->peer == TLS_PEER_REQUIRED || t->context->peer == TLS_PEER_CLIENT) && !x) || (t->context->peer == TLS_PEER_NONE && x) ||
        (x && judge_leaf(t, x, &info, &err) != 0)) {
        mbedtls_ssl_session_free(session);
        return MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED;
    }
    t->resumed = true;
    return 0;
}

/* --- sessions to resume (client) --- */

static void slot_free(struct slot *s)
{
    if (!s)
        return;
    key_wipe(s->bytes, s->n);
    mem_free(s->bytes);
    mem_free(s->peer_uri);
    mem_free(s);
}

static void forget_session(struct tls *t)
{
    if (!t->session_key[0])
        return;
    pthread_mutex_lock(&t->context->lock);
    slot_free(map_del(&t->context->sessions, str_from(t->session_key)));
    pthread_mutex_unlock(&t->context->lock);
}

static void drop_oldest(struct map *m)
{
    size_t i = 0;
    struct map_entry *e = map_each(m, &i);

    if (e)
        slot_free(map_del(m, e->key));
}

static bool slot_holds(const struct tls *t, const struct slot *s)
{
    struct err err;

    if (text_wall_ms() > s->peer_not_after_ms)
        return false;
    return t->context->peer != TLS_PEER_REQUIRED || judge_uri(t, str_from(s->peer_uri), &err) == 0;
}

static void offer_session(struct tls *t)
{
    mbedtls_ssl_session session;
    const struct slot *s;

    if (t->context->is_server || !t->session_key[0])
        return;
    mbedtls_ssl_session_init(&session);
    pthread_mutex_lock(&t->context->lock);
    s = map_get(&t->context->sessions, str_from(t->session_key));
    if (s && slot_holds(t, s) && mbedtls_ssl_session_load(&session, s->bytes, s->n) == 0 &&
        mbedtls_ssl_set_session(&t->ssl, &session) == 0)
        t->offered = true;
    pthread_mutex_unlock(&t->context->lock);
    mbedtls_ssl_session_free(&session);
}

static void keep_session(struct tls *t)
{
    mbedtls_ssl_session session;
    struct slot *s;
    size_t n = 0;

    if (t->context->is_server || !t->session_key[0] || t->resumed ||
        mbedtls_ssl_get_version_number(&t->ssl) != MBEDTLS_SSL_VERSION_TLS1_2)
        return;
    mbedtls_ssl_session_init(&session);
    if (mbedtls_ssl_get_session(&t->ssl, &session) != 0)
        goto out;
    if (mbedtls_ssl_session_save(&session, NULL, 0, &n) != MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL ||
        n == 0 || n > SESSION_BYTES)
        goto out;
    s = MEM_NEW(struct slot);
    s->bytes = mem_zalloc(n);
    s->peer_uri = str_dup(str_from(t->peer_uri));
    s->peer_not_after_ms = t->peer_not_after_ms;
    if (mbedtls_ssl_session_save(&session, s->bytes, n, &s->n) != 0) {
        slot_free(s);
        goto out;
    }
    pthread_mutex_lock(&t->context->lock);
    slot_free(map_del(&t->context->sessions, str_from(t->session_key)));
    if (t->context->sessions.count >= SESSIONS_MAX)
        drop_oldest(&t->context->sessions);
    (void)map_put(&t->context->sessions, str_from(t->session_key), s); /* deleted above */
    pthread_mutex_unlock(&t->context->lock);
out:
    mbedtls_ssl_session_free(&session);
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
    case TLS_PEER_PINNED: /* mbedTLS has no roots to require; verify() decides */
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
    bool for_server = o->peer == TLS_PEER_NONE || o->peer == TLS_PEER_OPTIONAL || is_foreign_client(o->peer);
    bool for_client =
        o->peer == TLS_PEER_PINNED || o->peer == TLS_PEER_WEB || o->peer == TLS_PEER_ANY;

    if ((c->is_server && for_client) || (!c->is_server && for_server))
        return err_set(err, ERR_INVALID, "this way to check the peer is not one of a TLS %s",
                       c->is_server ? "server" : "client");
    if (c->is_server && !creds_chain(c->creds))
        return err_set(err, ERR_INVALID, "a TLS server needs a certificate");
    if (o->peer != TLS_PEER_NONE && o->peer != TLS_PEER_PINNED && o->peer != TLS_PEER_ANY &&
        !creds_roots(c->creds))
        return err_set(err, ERR_INVALID, "trusted roots are needed to verify the peer");
    return 0;
}

static int set_identity(struct tls_context *c, struct err *err)
{
    struct cert_chain *chain = creds_chain(c->creds);
    struct str uri = creds_uri(c->creds);
    struct identity id = {0};
    int rc;

    if (uri.n > 0 && identity_parse(uri, &id, err) != 0)
        return -1;
    c->trust_domain = str_dup(id.trust_domain);
    if (creds_roots(c->creds) && c->peer != TLS_PEER_PINNED)
        mbedtls_ssl_conf_ca_chain(&c->conf, cert_mbedtls(creds_roots(c->creds)), NULL);
    if (!chain)
        return 0;
    rc = mbedtls_ssl_conf_own_cert(&c->conf, cert_mbedtls(chain), key_mbedtls(creds_key(c->creds)));
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
    bool is_mesh = must_have_uri(c) || o->peer == TLS_PEER_OPTIONAL;
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
            mbedtls_ssl_conf_session_tickets_cb(conf, make_ticket, take_ticket, c->tickets);
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

    pthread_once(&library_once, library_init);
    if (!library_ok) {
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
    struct map_entry *e;

    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return NULL;
    for (size_t i = 0; (e = map_each(&c->sessions, &i));)
        slot_free(e->value);
    map_done(&c->sessions);
    pthread_mutex_destroy(&c->lock);
    mbedtls_ssl_config_free(&c->conf);
    tls_tickets_unref(c->tickets);
    creds_unref(c->creds);
    mem_free(c->trust_domain);
    mem_free(c);
    return NULL;
}

/* --- sessions --- */

static int to_sink(void *arg, const unsigned char *bytes, size_t n)
{
    struct tls *t = arg;

    if (!t->sink)
        return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    t->sink(t->sink_arg, bytes, n);
    return (int)n; /* mbedTLS gives at most one record */
}

static int from_input(void *arg, unsigned char *out, size_t n)
{
    struct tls *t = arg;

    if (t->in.n == 0)
        return t->transport_eof ? 0 : MBEDTLS_ERR_SSL_WANT_READ;
    n = MIN(n, t->in.n);
    memcpy(out, t->in.p, n);
    t->in.p += n;
    t->in.n -= n;
    return (int)n;
}

static int set_host(struct tls *t, struct str sni, struct err *err)
{
    char name[SNI_MAX];
    int rc;

    if (t->context->is_server)
        return 0;
    if (sni.n >= sizeof(name) || (sni.n > 0 && memchr(sni.p, 0, sni.n)))
        return err_set(err, ERR_INVALID, "a server name has at most %d characters", SNI_MAX - 1);
    if (sni.n > 0)
        memcpy(name, sni.p, sni.n);
    name[sni.n] = 0;
    t->has_sni = sni.n > 0;
    /* NULL must be said, too: otherwise mbedTLS refuses, thinking that we forgot. */
    rc = mbedtls_ssl_set_hostname(&t->ssl, sni.n > 0 ? name : NULL);
    return rc == 0 ? 0 : mbed_err(err, ERR_INVALID, rc, "the server name");
}

struct tls *tls_new(struct tls_context *c, struct str sni, struct str session_key, struct err *err)
{
    struct tls *t = MEM_NEW(struct tls);
    int rc;

    mbedtls_ssl_init(&t->ssl);
    t->context = tls_context_ref(c);
    t->session_key = str_dup(c->peer == TLS_PEER_PINNED ? STR_NONE : session_key);
    rc = mbedtls_ssl_setup(&t->ssl, &c->conf);
    if (rc != 0) {
        mbed_err(err, ERR_IO, rc, "cannot make a TLS session");
        tls_free(t);
        return NULL;
    }
    if (set_host(t, sni, err) != 0) {
        tls_free(t);
        return NULL;
    }
    mbedtls_ssl_set_user_data_p(&t->ssl, t);
    mbedtls_ssl_set_verify(&t->ssl, verify, t);
    mbedtls_ssl_set_bio(&t->ssl, t, to_sink, from_input, NULL);
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    mbedtls_ssl_free(&t->ssl);
    tls_context_unref(t->context);
    mem_free(t->expect);
    mem_free(t->session_key);
    mem_free(t->peer_uri);
    mem_free(t);
}

void tls_expect(struct tls *t, struct str uris)
{
    mem_free(t->expect);
    /* A list that does not fit must not become a shorter, or empty, one: expect nobody. */
    t->expect = str_dup(uris.n <= EXPECT_MAX ? uris : STR("-"));
}

void tls_set_sink(struct tls *t, tls_sink_fn *sink, void *arg)
{
    t->sink = sink;
    t->sink_arg = arg;
}

void tls_transport_eof(struct tls *t)
{
    t->transport_eof = true;
}

/* --- why it failed --- */

static const char *alert_text(unsigned alert)
{
    switch (alert) {
    case MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE:
        return "the peer found no common TLS settings (handshake_failure)";
    case MBEDTLS_SSL_ALERT_MSG_NO_CERT:
    case MBEDTLS_SSL_ALERT_MSG_BAD_CERT:
    case MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT:
    case MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED:
    case MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN:
        return "the peer did not accept our certificate";
    case MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED:
        return "the peer says that our certificate has expired";
    case MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA:
        return "the peer does not trust our certificate's root";
    case MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED:
        return "the peer did not accept our identity";
    case MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION:
        return "the peer does not speak our TLS version";
    case MBEDTLS_SSL_ALERT_MSG_UNRECOGNIZED_NAME:
        return "the peer does not know the server name";
    case MBEDTLS_SSL_ALERT_MSG_NO_APPLICATION_PROTOCOL:
        return "the peer speaks none of our protocols (ALPN)";
    default:
        return "the peer ended TLS with an alert";
    }
}

static enum tls_step fail(struct tls *t, int rc)
{
    char text[160];

    t->failed = true;
    if (rc == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
        fail_text(t, alert_text(t->ssl.MBEDTLS_PRIVATE(in_msg)[1]));
    } else if (rc == MBEDTLS_ERR_SSL_CONN_EOF || rc == 0) {
        fail_text(t, t->established ? "the connection was cut: it ended without close_notify"
                                    : "the connection ended during the TLS handshake");
    } else if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
        fail_text(t, "the peer closed during the TLS handshake");
    } else {
        mbedtls_strerror(rc, text, sizeof(text));
        fail_text(t, text);
    }
    if (!t->established && t->offered)
        forget_session(t);
    return TLS_FAILED;
}

static enum tls_step refuse(struct tls *t, const char *text)
{
    fail_text(t, text);
    /* Best effort: the connection ends in any case. */
    (void)mbedtls_ssl_send_alert_message(&t->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                         MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED);
    forget_session(t);
    t->failed = true;
    return TLS_FAILED;
}

/* --- handshake --- */

static void note_peer(struct tls *t, const struct cert_info *info)
{
    struct buf hex;

    buf_init(&hex, 2 * FINGERPRINT_MAX);
    text_hex(&hex, info->fingerprint, sizeof(info->fingerprint));
    memcpy(t->peer_fingerprint, buf_str(&hex).p, 2 * sizeof(info->fingerprint));
    buf_done(&hex);
    t->peer_not_after_ms = info->not_after_ms;
    if (info->uri_count == 1)
        t->peer_uri = str_dup(str_from(info->uri));
}

/* The handshake is over: who is it? Resumed or not. */
static enum tls_step finish(struct tls *t)
{
    const mbedtls_x509_crt *x = mbedtls_ssl_get_peer_cert(&t->ssl);
    enum tls_peer peer = t->context->peer;
    struct cert_info info;
    struct err err;

    if (!t->context->is_server)
        t->resumed = t->offered && !t->verified;
    if (peer != TLS_PEER_NONE && (x || !may_be_absent(peer))) {
        if (!x)
            return refuse(t, "the peer showed no certificate");
        if (!t->verified && !t->resumed)
            return refuse(t, "the peer's certificate was not verified");
        if (judge_leaf(t, x, &info, &err) != 0)
            return refuse(t, err.text);
        note_peer(t, &info);
    }
    t->established = true;
    keep_session(t);
    tls_lean_drop_peer(&t->ssl);
    tls_lean_give(&t->lean, &t->ssl);
    return TLS_OK;
}

enum tls_step tls_handshake(struct tls *t, struct tls_input *in)
{
    enum tls_step step;
    int rc;

    if (t->failed)
        return TLS_FAILED;
    if (t->established)
        return TLS_OK;
    if (!t->started) {
        t->started = true;
        if (t->context->peer == TLS_PEER_WEB && !t->has_sni && !has_expected_names(t))
            return refuse(t, "there is no name to compare the server's certificate with");
        offer_session(t); /* here, because what is expected is known by now */
    }
    t->in = *in;
    current = t;
    rc = mbedtls_ssl_handshake(&t->ssl);
    current = NULL;
    if (rc == MBEDTLS_ERR_SSL_WANT_READ)
        step = TLS_AGAIN;
    else if (rc != 0)
        step = fail(t, rc);
    else
        step = finish(t);
    *in = t->in;
    t->in = (struct tls_input){NULL, 0};
    return step;
}

/* --- bytes --- */

enum tls_step tls_read(struct tls *t, struct tls_input *in, void *out, size_t max, size_t *n)
{
    int rc;

    *n = 0;
    if (t->failed || !t->established || max == 0)
        return TLS_FAILED;
    if (t->peer_closed)
        return TLS_EOF;
    t->in = *in;
    tls_lean_take(&t->lean, &t->ssl);
    do {
        rc = mbedtls_ssl_read(&t->ssl, out, max);
        /* mbedTLS also says so after a message that carries no data. */
    } while (rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET ||
             (rc == MBEDTLS_ERR_SSL_WANT_READ && (t->in.n > 0 || t->transport_eof)));
    *in = t->in;
    t->in = (struct tls_input){NULL, 0};
    tls_lean_give(&t->lean, &t->ssl);
    if (rc > 0) {
        *n = (size_t)rc;
        return TLS_OK;
    }
    if (rc == MBEDTLS_ERR_SSL_WANT_READ)
        return TLS_AGAIN;
    if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
        t->peer_closed = true;
        return TLS_EOF;
    }
    return fail(t, rc);
}

enum tls_step tls_write(struct tls *t, const void *plain, size_t n)
{
    const unsigned char *at = plain;

    if (t->failed || !t->established || t->closed)
        return TLS_FAILED;
    tls_lean_take(&t->lean, &t->ssl);
    while (n > 0) {
        int rc = mbedtls_ssl_write(&t->ssl, at, n); /* the sink takes all: never WANT_WRITE */

        if (rc <= 0)
            return fail(t, rc);
        at += rc;
        n -= (size_t)rc;
    }
    tls_lean_give(&t->lean, &t->ssl);
    return TLS_OK;
}

void tls_close(struct tls *t)
{
    if (t->failed || !t->established || t->closed)
        return;
    t->closed = true;
    tls_lean_take(&t->lean, &t->ssl);
    (void)mbedtls_ssl_close_notify(&t->ssl); /* into the sink, which takes all */
    tls_lean_give(&t->lean, &t->ssl);
}

/* --- facts --- */

bool tls_is_established(const struct tls *t)
{
    return t->established;
}

bool tls_read_pending(const struct tls *t)
{
    return t->established && !t->failed && mbedtls_ssl_get_bytes_avail(&t->ssl) > 0;
}

struct str tls_peer_uri(const struct tls *t)
{
    return str_from(t->peer_uri);
}

struct str tls_peer_fingerprint(const struct tls *t)
{
    return str_from(t->peer_fingerprint);
}

int64_t tls_peer_not_after_ms(const struct tls *t)
{
    return t->peer_not_after_ms;
}

struct str tls_alpn(const struct tls *t)
{
    return str_from(mbedtls_ssl_get_alpn_protocol(&t->ssl));
}

struct str tls_sni(const struct tls *t)
{
    return str_from(t->sni);
}

bool tls_is_resumed(const struct tls *t)
{
    return t->resumed;
}

const char *tls_version(const struct tls *t)
{
    return mbedtls_ssl_get_version(&t->ssl);
}

const char *tls_cipher(const struct tls *t)
{
    const char *name = mbedtls_ssl_get_ciphersuite(&t->ssl);

    return name ? name : "";
}

struct str tls_failure(const struct tls *t)
{
    return str_from(t->failure);
}
