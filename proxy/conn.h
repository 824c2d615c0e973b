/* One downstream connection, from accept to close.
 *
 * Flow:      listener.c opens it (or upstream.c, for a pair in memory between two services of this
 * host); its state table finds the original destination and the listener, sniffs, shakes hands, and
 * then hosts an HTTP codec (exchange.c makes one exchange per request) or a tunnel. Ownership:
 * itself, until closed: then loop_reap frees it. Owns its codec, tunnel and exchanges. Snapshots:
 * keeps the one it started with; each exchange takes the current one. Limits:    LIMIT_PENDING_MS,
 * LIMIT_SNIFF_MS, LIMIT_HANDSHAKE_MS, the codec's and the tunnel's idle times.
 */
#pragma once

#include "proxy/outcome.h"
#include "proxy/wire/http1.h"
#include "proxy/wire/http2.h"
#include "proxy/wire/sniff.h"
#include "proxy/worker.h"

struct tunnel;

enum conn_state {
    CONN_ACCEPT,
    CONN_HEADER, /* of the PROXY protocol */
    CONN_PARK,
    CONN_SNIFF,
    CONN_HANDSHAKE,
    CONN_HTTP,
    CONN_TUNNEL,
    CONN_CLOSED,
    CONN_STATES
};

struct conn {
    struct task task;
    struct timer timer;
    struct reap reap;
    struct link link; /* in worker->conns */
    struct park park;
    struct worker *worker;
    enum conn_state state;
    enum socket_kind socket; /* where it arrived; a pair in memory counts as inbound */
    enum listener_kind kind; /* of its listener */
    enum outcome outcome; /* the first wins */
    struct snap *snap;
    const struct listener *listener; /* within snap */
    struct addr socket_at;           /* the listening socket's address */
    struct addr original;            /* where the client was going */
    struct addr remote;
    struct io io;
    struct bytes first;  /* read while sniffing */
    struct str peer_uri; /* owned; who the client proved to be, empty if nobody */
    struct str client_cert; /* owned; what x-forwarded-client-cert says about it, empty if no certificate came */
    char sni[SNIFF_NAME_MAX + 1];
    bool is_mutual, is_tls;  /* identity proven; a TLS session of ours */
    bool is_pair, pair_http; /* from this very worker's upstream; it speaks HTTP */
    bool timed_out, woken, child_done, first_eof;
    bool speaks_http2; /* its preface has come */
    bool aborted;
    bool has_header; /* the PROXY protocol's, and it was read */
    bool is_admitted; /* it counts for its address */
    bool by_name; /* its listener is a chain, found by `sni` */
    struct codec *codec; /* of the two below, or NULL */
    struct http1 http1;
    struct http2 *http2;
    struct tunnel *tunnel;
    struct link exchanges; /* under way */
    int64_t started_ms, started_wall_ms;
};

/* Takes the descriptor; worker->load was raised for it. */
void conn_open(struct worker *w, int fd, enum socket_kind socket, const struct addr *socket_at);
/* The other end of `io` becomes an inbound connection to `to` of this host, by a caller who is
 * `identity` (empty: unknown, as over plaintext), and whose certificate `client_cert` tells. */
void conn_open_pair(struct worker *w, struct io *io, struct task *task, unsigned note_shift,
                    const struct addr *to, struct str identity, struct str client_cert,
                    bool is_http);
/* The listener of this connection in a snapshot; NULL for none. */
const struct listener *conn_listener(const struct conn *c, const struct snapshot *s);
/* At a gateway that has several TLS servers at one address: `host` is for another than `l`, the one that this connection has
 * named. It may ask for other certificates of clients, so it is not reached by way of this one. Source: RFC 9110 section
 * 15.5.20. */
bool conn_is_misdirected(const struct conn *c, const struct listener *l, const struct snapshot *s, struct str host);
/* Where the client was going, for clusters that dial just that; NULL if it came to our own socket, which they would
 * call again for ever. */
const struct addr *conn_destination(const struct conn *c);
enum outcome conn_broken_protocol(const struct conn *c); /* of a client that breaks that of its version */
/* There is no room: the idle connections that are here longest are closed, some at a time. How many. */
unsigned conn_evict(struct worker *w);
void conn_abort(struct conn *c, enum outcome why); /* at its next turn */
void conn_drain(struct conn *c);
