/* HTTP/2 on one io (RFC 9113), server or client side: framing, HPACK and stream states are nghttp2's.
 *
 * Heads:     are told as HTTP/1.1 has them (http.h). An extended CONNECT (RFC 8441) is a GET with `upgrade`, and the 200
 *            that accepts it a 101; a WebSocket's key and its proof, which HTTP/2 does not have, are made up here.
 * Credit:    a stream's window is given back when its owner has taken the bytes, the connection's when they arrive, as
 *            long as it holds less than LIMIT_H2_HELD_BYTES. So a stalled stream holds one window, and harms nobody.
 * Floods:    frames that cost us and bring nothing are counted against a bucket that fills with time and with honest
 *            work; when it is empty the connection ends with ENHANCE_YOUR_CALM. Resets have a bucket of their own.
 * Ownership: allocated here; codec_close frees it at the end of the turn. Streams as stream.h has them.
 * Flow:      one task of its own drives it. nghttp2's callbacks only fill streams and note.
 */
#pragma once

#include "proxy/wire/stream.h"

struct http2;

/* Takes over an established io (io_move) with bytes already read (`first`, may be NULL), which begin with the client's
 * connection preface. `asked`: the request of HTTP/1.1 that was answered with 101 (RFC 7540 3.2; copied), it becomes stream 1;
 * NULL for none. */
struct http2 *http2_server_new(struct loop *l, struct io *io, struct bytes *first, const struct http_head *asked,
                               const struct codec_owner_ops *ops, void *owner);
/* `streams_max`: message pairs at a time, 0 for what the peer allows. */
struct http2 *http2_client_new(struct loop *l, struct io *io, uint32_t streams_max,
                               const struct codec_owner_ops *ops, void *owner);
/* Client: ask a silent peer for a sign of life every `interval_ms`; without one within `timeout_ms` it is closed. */
void http2_probe(struct http2 *c, int64_t interval_ms, int64_t timeout_ms);
struct codec *http2_codec(struct http2 *c);
