/* Frames of HTTP/2 written by hand, for tests and fuzzers. */
#pragma once

#include <stdlib.h>

#include "mesh/base/buf.h"

enum { H2_END_STREAM = 1, H2_ACK = 1, H2_END_HEADERS = 4, H2_PADDED = 8, H2_PRIORITY = 0x20 };
enum {
    H2_DATA,
    H2_HEADERS,
    H2_PRIORITY_FRAME,
    H2_RST,
    H2_SETTINGS,
    H2_PUSH,
    H2_PING,
    H2_GOAWAY,
    H2_WINDOW,
    H2_CONTINUATION,
    H2_TYPES
};

#define H2_PREFACE STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
#define BYTES_OF(array) ((struct str){(const char *)(array), sizeof(array) - 1}) /* of a literal that may hold zeros */

__attribute__((unused)) static void h2_uint(struct buf *b, uint64_t v, unsigned bytes)
{
    while (bytes-- > 0)
        buf_addc(b, (char)(v >> (8 * bytes)));
}

__attribute__((unused)) static void h2_frame(struct buf *b, unsigned type, unsigned flags, uint32_t id,
                                             struct str payload)
{
    h2_uint(b, payload.n, 3);
    h2_uint(b, type, 1);
    h2_uint(b, flags, 1);
    h2_uint(b, id, 4);
    buf_add(b, payload);
}

/* A frame whose payload is one number of 32 bits: RST_STREAM, WINDOW_UPDATE. */
__attribute__((unused)) static void h2_frame32(struct buf *b, unsigned type, uint32_t id, uint32_t v)
{
    char p[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};

    h2_frame(b, type, 0, id, (struct str){p, sizeof(p)});
}

__attribute__((unused)) static void h2_setting(struct buf *b, unsigned key, uint32_t v)
{
    char p[6] = {(char)(key >> 8), (char)key,        (char)(v >> 24),
                 (char)(v >> 16),  (char)(v >> 8), (char)v};

    h2_frame(b, H2_SETTINGS, 0, 0, (struct str){p, sizeof(p)});
}

/* RFC 7541 5.1: `v` with a prefix of `bits`, the rest of the first byte from `first`. */
__attribute__((unused)) static void h2_int(struct buf *b, unsigned first, unsigned bits, size_t v)
{
    size_t max = (1u << bits) - 1;

    if (v < max) {
        buf_addc(b, (char)(first | v));
        return;
    }
    buf_addc(b, (char)(first | max));
    for (v -= max; v >= 128; v >>= 7)
        buf_addc(b, (char)(0x80 | (v & 127)));
    buf_addc(b, (char)v);
}

/* A field as it is, not indexed. */
__attribute__((unused)) static void h2_field(struct buf *b, struct str name, struct str value)
{
    buf_addc(b, 0);
    h2_int(b, 0, 7, name.n);
    buf_add(b, name);
    h2_int(b, 0, 7, value.n);
    buf_add(b, value);
}

/* "name: value|name: value"; an empty text is no field. */
__attribute__((unused)) static void h2_fields(struct buf *b, const char *text)
{
    struct str all = str_from(text), one;
    size_t at;

    while (all.n > 0 && str_next(&all, '|', &one)) {
        if (!str_find(one, STR(": "), &at))
            abort();
        h2_field(b, str_sub(one, 0, at), str_sub(one, at + 2, one.n));
    }
}

/* HEADERS with all of the block. */
__attribute__((unused)) static void h2_head(struct buf *b, uint32_t id, unsigned flags, const char *fields)
{
    struct buf block;

    buf_init(&block, 1u << 20);
    h2_fields(&block, fields);
    h2_frame(b, H2_HEADERS, flags | H2_END_HEADERS, id, buf_str(&block));
    buf_done(&block);
}

#define H2_GET  ":method: GET|:scheme: http|:path: /|:authority: a"
#define H2_POST ":method: POST|:scheme: http|:path: /|:authority: a"
