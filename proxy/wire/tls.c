/* One mbedTLS session over memory: its handshake and its bytes. tls_parts.h tells the other files.
 *
 * The random source is getrandom(2), stateless, and the configuration is not written after it is
 * made. So a handshake may run on a helper; only the session cache needs a lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "pki/cert.h"
#include "pki/creds.h"
#include "pki/mbed.h"
#include "proxy/wire/tls_parts.h"

#define EXPECT_MAX 65536u /* bytes of expected names */

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
    char name[TLS_SNI_MAX];
    int rc;

    if (t->context->is_server)
        return 0;
    if (sni.n >= sizeof(name) || (sni.n > 0 && memchr(sni.p, 0, sni.n)))
        return err_set(err, ERR_INVALID, "a server name has at most %d characters", TLS_SNI_MAX - 1);
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
    mbedtls_ssl_set_verify(&t->ssl, tls_verify, t);
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
    mem_free(t->pins);
    mem_free(t->session_key);
    mem_free(t->peer_uri);
    str_free(t->told);
    mem_free(t);
}

void tls_expect(struct tls *t, struct str uris)
{
    mem_free(t->expect);
    /* A list that does not fit must not become a shorter, or empty, one: expect nobody. */
    t->expect = str_dup(uris.n <= EXPECT_MAX ? uris : STR("-"));
}

void tls_expect_pins(struct tls *t, struct str pins)
{
    mem_free(t->pins);
    t->pins = NULL;
    if (pins.n > 0)
        t->pins = str_dup(pins.n <= EXPECT_MAX ? pins : STR("-"));
}

void tls_tell(struct tls *t, enum tls_tell what)
{
    t->tell = what;
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
        tls_fail_text(t, alert_text(t->ssl.MBEDTLS_PRIVATE(in_msg)[1]));
    } else if (rc == MBEDTLS_ERR_SSL_CONN_EOF || rc == 0) {
        tls_fail_text(t, t->established ? "the connection was cut: it ended without close_notify"
                                    : "the connection ended during the TLS handshake");
    } else if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
        tls_fail_text(t, "the peer closed during the TLS handshake");
    } else {
        mbedtls_strerror(rc, text, sizeof(text));
        tls_fail_text(t, text);
    }
    if (!t->established && t->offered)
        tls_forget_session(t);
    return TLS_FAILED;
}

static enum tls_step refuse(struct tls *t, const char *text)
{
    tls_fail_text(t, text);
    /* Best effort: the connection ends in any case. */
    (void)mbedtls_ssl_send_alert_message(&t->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                         MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED);
    tls_forget_session(t);
    t->failed = true;
    return TLS_FAILED;
}

/* --- handshake --- */

static void tell_peer(struct tls *t, const mbedtls_x509_crt *x, const struct cert_info *info)
{
    struct str own = creds_uri(t->context->creds);
    struct buf text;

    buf_init(&text, CERT_URI_MAX + 2 * CERT_FORWARD_MAX);
    if (own.n > 0)
        buf_printf(&text, "By=%.*s;", STR_ARG(own));
    cert_forward(x, info->fingerprint, t->tell == TLS_TELL_CERT, &text);
    t->told = str_copy(buf_str(&text));
    buf_done(&text);
}

static void note_peer(struct tls *t, const mbedtls_x509_crt *x, const struct cert_info *info)
{
    struct buf hex;

    if (t->tell != TLS_TELL_NOTHING)
        tell_peer(t, x, info);

    buf_init(&hex, 2 * TLS_FINGERPRINT_MAX);
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
    if (peer != TLS_PEER_NONE && (x || !tls_may_be_absent(peer))) {
        if (!x)
            return refuse(t, "the peer showed no certificate");
        if (!t->verified && !t->resumed)
            return refuse(t, "the peer's certificate was not verified");
        if (tls_judge_leaf(t, x, &info, &err) != 0)
            return refuse(t, err.text);
        note_peer(t, x, &info);
    }
    t->established = true;
    tls_keep_session(t);
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
        if (t->context->peer == TLS_PEER_WEB && !t->has_sni && !tls_has_expected_names(t))
            return refuse(t, "there is no name to compare the server's certificate with");
        tls_offer_session(t); /* here, because what is expected is known by now */
    }
    t->in = *in;
    tls_tickets_of(t);
    rc = mbedtls_ssl_handshake(&t->ssl);
    tls_tickets_of(NULL);
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

struct str tls_take_peer(struct tls *t)
{
    struct str told = t->told;

    t->told = STR_NONE;
    return told;
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
