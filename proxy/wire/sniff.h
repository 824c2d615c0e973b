/* The first bytes of a connection: what protocol is it, and what does a ClientHello ask for?
 *
 * Flow:      a pure function of all bytes read so far; call again with more after SNIFF_MORE.
 * Nothing is consumed. Ownership: names are copied into the result; nothing points into the bytes.
 * Errors:    none. What is not recognised, is broken, or stays incomplete is SNIFF_OPAQUE.
 * Limits:    decides at LIMIT_SNIFF_BYTES at the latest: a larger ClientHello is SNIFF_TLS with
 * `whole` false and the names seen so far. Protocols past SNIFF_ALPN_MAX are not listed.
 */
#pragma once

#include "mesh/base/base.h"
#include "mesh/base/str.h"

#define SNIFF_ALPN_MAX       8u
#define SNIFF_ALPN_BYTES_MAX 32u  /* longer names are left out of the list */
#define SNIFF_NAME_MAX       255u /* bytes of a host name */

enum sniff_verdict {
    SNIFF_MORE,          /* read on; never when more_may_come is false */
    SNIFF_TLS,           /* a TLS ClientHello */
    SNIFF_HTTP1,         /* a plausible HTTP/1 request line: METHOD SP target ... */
    SNIFF_HTTP2_PREFACE, /* the client preface of HTTP/2 with prior knowledge, whole */
    SNIFF_OPAQUE, /* anything else; no bytes at all with more_may_come false (server first) */
};

struct sniff_result {
    /* SNIFF_TLS: lower case, without a trailing dot; empty when there is none or it is no host
     * name. */
    char sni[SNIFF_NAME_MAX + 1];
    size_t sni_bytes;
    /* SNIFF_TLS: protocols in the client's order. */
    char alpn[SNIFF_ALPN_MAX][SNIFF_ALPN_BYTES_MAX];
    uint8_t alpn_bytes[SNIFF_ALPN_MAX];
    size_t alpn_count;
    bool whole; /* SNIFF_TLS: the ClientHello was complete and well-formed */
};

/* `p` are the first `n` bytes of the connection. `more_may_come` is false after the peer's end of
 * data or after LIMIT_SNIFF_MS: then the verdict is final. `out` is always written. */
enum sniff_verdict sniff(const uint8_t *p, size_t n, bool more_may_come, struct sniff_result *out);

struct str sniff_sni(const struct sniff_result *r);
struct str sniff_alpn(const struct sniff_result *r, size_t index);
bool sniff_has_alpn(const struct sniff_result *r, struct str protocol);
