/* Two ends and the bytes between them.
 *
 * Flow:      conn.c starts it with the downstream io; it chooses a cluster and an endpoint,
 * connects (at most 3 endpoints) and relays until both directions have ended. Ownership: the
 * connection's; it notes `done_note` to the connection's task when it is over, and tunnel_close
 * frees it. Pressure:  a side is not read while the other's output is above LIMIT_STREAM_HIGH; it
 * goes on below LIMIT_STREAM_LOW. An end of data is passed on as such (half-close), per direction.
 * Limits:    connect deadlines of the cluster; idle time of the cluster, else of the listener.
 */
#pragma once

#include "proxy/balance.h"
#include "proxy/conn.h"
#include "proxy/upstream.h"

enum tunnel_state { TUNNEL_CHOOSE, TUNNEL_CONNECT, TUNNEL_RELAY, TUNNEL_OVER, TUNNEL_STATES };

struct tunnel {
    struct task task;
    struct timer timer;
    struct reap reap;
    struct link link; /* in worker->tunnels */
    struct conn *conn;
    struct worker *worker;
    enum tunnel_state state;
    enum outcome outcome;
    unsigned done_note;
    struct io down, up;
    struct bytes first; /* read while sniffing */
    bool up_ended, down_ended, down_eof, timed_out;
    struct upstream_wait wait;
    struct cluster_view *view; /* where its connection counts; NULL: it has none yet */
    struct balance_tried tried;
    unsigned tries;
    const struct tcp_route *route; /* NULL on an inbound connection */
    const struct cluster *cluster;
    const struct endpoint *endpoint; /* NULL: an address without one */
    struct endpoint_block *block;
    struct addr upstream_host, upstream_local;
    char failure[160];
    struct str peer_uri;     /* owned: whom we met upstream */
    uint64_t received, sent; /* payload from and to the client */
    uint64_t reported_received, reported_sent;
    struct series *series; /* NULL until connected, or at the end */
    int64_t moved_ms, began_ms; /* last time a byte moved; when both sides were connected */
    size_t unsent;         /* what waited to be written when both sides had ended */
};

/* Takes over the io and the bytes read so far. */
struct tunnel *tunnel_open(struct conn *c, struct io *io, struct bytes *first, bool first_eof,
                           unsigned done_note);
void tunnel_close(struct tunnel *t);  /* reports, closes both sides, frees later */
void tunnel_report(struct tunnel *t); /* bytes since the last report, to the metrics */
