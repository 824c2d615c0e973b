/* What the files of TLS share; everybody else wants proxy/wire/tls.h. Together with tls_lean.c the only place that includes
 * mbedTLS's headers of TLS.
 *
 * Flow:      tls.c is the session: its handshake and its bytes. tls_context.c makes what sessions share; tls_judge.c says
 *            who is acceptable; tls_resume.c keeps and takes up sessions and tickets.
 * Threads:   as in tls.h.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <mbedtls/aes.h>
#include <mbedtls/error.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <mbedtls/ssl_ticket.h>
#include <psa/crypto.h>

#include "mesh/base/hash.h"
#include "mesh/base/map.h"
#include "proxy/wire/tls.h"
#include "proxy/wire/tls_lean.h"

struct cert_info;

#define TLS_SUITES_MAX      12
#define TLS_FINGERPRINT_MAX (2 * HASH_BYTES + 1)
#define TLS_SNI_MAX         256

struct tls_context {
    atomic_uint refs;
    mbedtls_ssl_config conf;
    struct creds *creds;
    struct tls_tickets *tickets; /* server; NULL for none */
    enum tls_peer peer;
    bool is_server;
    uint8_t pin[HASH_BYTES];
    int suites[TLS_SUITES_MAX]; /* where others than ours were asked for */
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
    char *pins; /* NULL: none */
    char *session_key; /* "" for no resumption */
    bool has_sni, started, established, failed, verified, resumed, offered;
    bool transport_eof, peer_closed, closed;
    uint32_t flags; /* of the chain's certificates above the leaf */
    char *peer_uri;
    char peer_fingerprint[TLS_FINGERPRINT_MAX];
    int64_t peer_not_after_ms;
    enum tls_tell tell;
    struct str told; /* owned */
    char sni[TLS_SNI_MAX];
    char failure[320];
};


bool tls_library_start(void); /* once per process; false: it cannot be used */

/* ---- who is acceptable ---- */

void tls_fail_text(struct tls *t, const char *text); /* the first reason is the true one */
/* Somebody outside of the mesh who calls a gateway. */
bool tls_is_foreign_client(enum tls_peer peer);
bool tls_may_be_absent(enum tls_peer peer);
bool tls_must_have_uri(enum tls_peer peer);
bool tls_has_expected_names(const struct tls *t);
/* The name rules for a peer of the mesh. */
int tls_judge_uri(const struct tls *t, struct str uri, struct err *err);
/* Everything that can be said about a peer's leaf without its chain. */
int tls_judge_leaf(const struct tls *t, const mbedtls_x509_crt *x, struct cert_info *info, struct err *err);
/* mbedTLS calls this for each certificate of a chain, the leaf (depth 0) last. */
int tls_verify(void *session, mbedtls_x509_crt *x, int depth, uint32_t *flags);

/* ---- sessions that are taken up again ---- */

/* The server's. mbedTLS's callbacks do not say whose ticket it is: that of the session whose handshake runs on this thread. */
void tls_tickets_of(struct tls *t); /* NULL when the handshake is over */
void tls_tickets_use(mbedtls_ssl_config *conf, struct tls_tickets *t);
/* The client's. */
void tls_offer_session(struct tls *t);
void tls_keep_session(struct tls *t);
void tls_forget_session(struct tls *t);
void tls_drop_sessions(struct tls_context *c);
