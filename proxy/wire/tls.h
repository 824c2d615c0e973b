/* TLS by mbedTLS: one session over memory, plus what sessions share (contexts, tickets, resumption).
 *
 * Flow:      io.c feeds ciphertext and carries away what the session wants to send; nobody else sees
 *            mbedTLS. A full handshake is CPU of milliseconds: because input is a flat range and output
 *            goes to a sink, a session may be moved to a helper thread for tls_handshake and back.
 * Ownership: tls_context and tls_tickets are refcounted (atomic). A session holds its context.
 * Threads:   a context (its RNG and session cache sit in it) and its sessions belong to one thread at a
 *            time, except that a session may do tls_handshake on a helper while its thread does not touch it:
 *            the context's RNG and cache must therefore be safe for that (mutexes inside).
 *            tls_tickets may be shared by the contexts of all threads.
 * Versions:  TLS 1.2 and 1.3; inside the mesh 1.2 with tickets by default (design.md section 11).
 * Identity:  a mesh session proves exactly one SPIFFE URI (tls_peer_uri). A resumed session is checked anew:
 *            certificate still valid, identity still allowed.
 */
#pragma once

#include "mesh/base/err.h"
#include "mesh/base/str.h"

struct creds;
struct tls;
struct tls_context;
struct tls_tickets;

enum tls_step { TLS_OK, TLS_AGAIN, TLS_EOF, TLS_FAILED }; /* TLS_AGAIN: needs more input */

enum tls_peer {
    TLS_PEER_NONE,     /* server: no client certificate asked */
    TLS_PEER_OPTIONAL, /* server: verified if sent */
    TLS_PEER_REQUIRED, /* verified against the creds' roots and must hold one SPIFFE URI of the mesh */
    TLS_PEER_PINNED,   /* client: the chain must end in a root whose SPKI SHA-256 is options.pin, and the leaf
                          must be the server's (spiffe://TD/weft/server); nothing else is trusted */
    TLS_PEER_CLIENT,   /* server: chain to the creds' roots, a name of tls_expect if any are given; no SPIFFE */
    TLS_PEER_CLIENT_OPTIONAL, /* the same, if the client sends one */
    TLS_PEER_WEB,      /* client: chain to the creds' roots; the name is that of tls_expect, or the sni; no SPIFFE */
    TLS_PEER_ANY,      /* client: whoever answers (insecureSkipVerify) */
};

struct tls_options {
    enum tls_peer peer;
    const char *const *alpn; /* NULL-ended, most wanted first; NULL for none. Must outlive the context */
    unsigned min_version, max_version; /* 12 or 13; 0 is 12 and 12 in the mesh default */
    uint8_t pin[32];                   /* TLS_PEER_PINNED */
    struct str ciphers; /* of TLS 1.2, OpenSSL's names, space-separated; unknown ones are left out; empty: ours */
};

/* Ticket keys of one server identity, rotated by age (hours); a ticket is refused under another name. */
struct tls_tickets *tls_tickets_new(void);
struct tls_tickets *tls_tickets_ref(struct tls_tickets *t);
struct tls_tickets *tls_tickets_unref(struct tls_tickets *t);

struct tls_context *tls_server_context(struct creds *creds, struct tls_tickets *tickets /* may be NULL */,
                                       const struct tls_options *options, struct err *err) MUST_USE;
struct tls_context *tls_client_context(struct creds *creds, const struct tls_options *options,
                                       struct err *err) MUST_USE;
struct tls_context *tls_context_ref(struct tls_context *c);
struct tls_context *tls_context_unref(struct tls_context *c);

/* A session. Client: `sni` may be empty; `session_key` names the resumption slot (own SVID and generation,
 * expected peers, endpoint, SNI, ALPN, settings: design.md section 6), empty for no resumption.
 * Server: both are empty. */
struct tls *tls_new(struct tls_context *c, struct str sni, struct str session_key, struct err *err) MUST_USE;
void tls_free(struct tls *t); /* NULL is fine */

/* Accepted peers, a space-separated list of SPIFFE URIs; each may end in '*'. Empty: any of the trust domain.
 * For TLS_PEER_WEB: names of which the certificate must have one, a DNS name, an IP address or a URI; "*" is any.
 * Copied. Checked at the end of the handshake, resumed or not; a mismatch is TLS_FAILED. */
void tls_expect(struct tls *t, struct str uris);

/* A peer that shows a certificate must show one of these, "hash:HEX" for the SHA-256 of its DER, "spki:HEX" for that of its
 * public key; space-separated, lower case; empty: any. Copied, and checked as tls_expect is. */
void tls_expect_pins(struct tls *t, struct str pins);

/* Keep what x-forwarded-client-cert says about the peer, for tls_take_peer. */
enum tls_tell { TLS_TELL_NOTHING, TLS_TELL_NAMES, TLS_TELL_CERT /* and the whole certificate */ };
void tls_tell(struct tls *t, enum tls_tell what);

/* Where input comes from and output goes. `in` is consumed from the front by every call below. */
struct tls_input {
    const uint8_t *p;
    size_t n;
};
typedef void tls_sink_fn(void *arg, const void *bytes, size_t n);
void tls_set_sink(struct tls *t, tls_sink_fn *sink, void *arg);

enum tls_step tls_handshake(struct tls *t, struct tls_input *in); /* TLS_OK once established */
/* Up to `max` plain bytes; *n is 0 unless TLS_OK. TLS_EOF after close_notify; a bare end of the transport is
 * told by tls_transport_eof and then gives TLS_FAILED (truncation) unless close_notify was seen. */
enum tls_step tls_read(struct tls *t, struct tls_input *in, void *out, size_t max, size_t *n);
void tls_transport_eof(struct tls *t); /* the peer's FIN came: no input after what is at hand */
/* All of `plain` becomes records in the sink; never partial. */
enum tls_step tls_write(struct tls *t, const void *plain, size_t n);
void tls_close(struct tls *t);         /* close_notify into the sink; reading goes on */
bool tls_is_established(const struct tls *t);
bool tls_read_pending(const struct tls *t); /* decrypted bytes wait inside */

struct str tls_peer_uri(const struct tls *t);         /* empty if the peer showed none */
struct str tls_peer_fingerprint(const struct tls *t); /* hex SHA-256 of its leaf */
/* An element of x-forwarded-client-cert, ours to name included ("By=...;Hash=..."); empty if no certificate came, or nothing
 * was to be told. Given away at the first call: the caller frees it by str_free. */
struct str tls_take_peer(struct tls *t);
int64_t tls_peer_not_after_ms(const struct tls *t);
struct str tls_alpn(const struct tls *t);             /* chosen protocol or empty */
struct str tls_sni(const struct tls *t);              /* server: what the client asked for */
bool tls_is_resumed(const struct tls *t);
const char *tls_version(const struct tls *t);         /* "TLSv1.2" */
const char *tls_cipher(const struct tls *t);
/* Why it failed, for logs and UPSTREAM_TRANSPORT_FAILURE_REASON: one sentence. */
struct str tls_failure(const struct tls *t);
