/* What an mbedTLS session can do without between calls: its two record buffers, 33 KB, and the peer's certificate.
 *
 * Flow:      tls.c takes buffers before a call into mbedTLS and gives them back after it, unless a part of a record
 *            or unread data is in them. So a worker has as many buffers as sessions in the middle of a record, and
 *            an idle connection has none.
 * Ownership: a session owns what it has taken; given back, buffers wait in the thread's stock or are freed.
 * Threads:   the stock is the calling thread's; a session may take on one thread and give on another.
 * Limits:    LEAN_STOCK_MAX pairs a thread.
 * Knows the private layout of mbedTLS 3.6's session: test/unit/tls_test.c sees it work, with every version of TLS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mbedtls_ssl_context;

#define LEAN_STOCK_MAX 8

/* Where the pointers into the buffers stood, while these are away. Cleared: nothing is away. */
struct tls_lean {
    bool is_away;
    uint8_t in_counter[8]; /* the sequence number of incoming records, which mbedTLS keeps in the buffer */
    uint16_t in[5], out[6];
};

void tls_lean_take(struct tls_lean *l, struct mbedtls_ssl_context *ssl);
void tls_lean_give(struct tls_lean *l, struct mbedtls_ssl_context *ssl);

/* After the handshake, when everything about the peer has been noted: drop its certificate. */
void tls_lean_drop_peer(struct mbedtls_ssl_context *ssl);
