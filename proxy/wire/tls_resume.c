/* Sessions that are taken up again: tickets of a server, kept sessions of a client.
 *
 * A resumed handshake shows no certificates: the ticket's own is judged here (a stale one becomes a full handshake), and a
 * session whose peer would not be accepted any more is not offered.
 *
 * TLS 1.3 is never resumed: mbedTLS 3.6 loses the peer's certificate there, and with it who the peer is.
 */
#include <stdlib.h>

#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "pki/cert.h"
#include "pki/key.h"
#include "proxy/wire/tls_parts.h"

#define TICKET_LIFE_S (4u * 3600) /* a ticket key seals this long and opens twice as long */
#define SESSIONS_MAX  1024u       /* of a client context; the oldest goes */
#define SESSION_BYTES (32u << 10) /* a longer one is not kept */

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

static _Thread_local struct tls *current;

void tls_tickets_of(struct tls *t)
{
    current = t;
}

/* --- tickets (server) --- */

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *t;

    (void)tls_library_start(); /* if it fails, making a context says so */
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
        ((t->context->peer == TLS_PEER_REQUIRED || t->context->peer == TLS_PEER_CLIENT) && !x) ||
        (t->context->peer == TLS_PEER_NONE && x) ||
        (x && tls_judge_leaf(t, x, &info, &err) != 0)) {
        mbedtls_ssl_session_free(session);
        return MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED;
    }
    t->resumed = true;
    return 0;
}
void tls_tickets_use(mbedtls_ssl_config *conf, struct tls_tickets *t)
{
    mbedtls_ssl_conf_session_tickets_cb(conf, make_ticket, take_ticket, t);
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

void tls_forget_session(struct tls *t)
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
    return t->context->peer != TLS_PEER_REQUIRED || tls_judge_uri(t, str_from(s->peer_uri), &err) == 0;
}

void tls_offer_session(struct tls *t)
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

void tls_keep_session(struct tls *t)
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
void tls_drop_sessions(struct tls_context *c)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&c->sessions, &i));)
        slot_free(e->value);
    map_done(&c->sessions);
}
